"""What a course needs beside the chapters: exercises without and with their solutions, marks, questions, and coverage.

``book/teaching/NAME.yml`` says which sections of a chapter serve which of its learning objectives, and asks questions
on them (:mod:`.questions` has its form); the directive ``{quiz}`` shows the questions (:mod:`.quiz`).
"""

from .questions import TEACHING, Chapter, Option, Question, Quiz, chapter, quiz

__all__ = ["TEACHING", "Chapter", "Option", "Question", "Quiz", "chapter", "quiz"]
