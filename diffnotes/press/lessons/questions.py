"""Questions on a chapter, as ``book/teaching/NAME.yml`` has them.

| key | what it holds |
|---|---|
| ``objectives`` | number of a learning objective of the chapter -> labels of the sections that serve it, at least one |
| ``quiz`` | the questions, six or more; each objective has one at least |
| a question | ``question``, the ``objectives`` that it tests, and three or four ``options`` |
| an option | ``text``, ``feedback`` (why it is right, or what is wrong with it), and ``right: true`` for one of them |

Texts are Markdown of one paragraph, with the roles and the macros of the book.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import PressError
from ..files import read_yaml

__all__ = ["TEACHING", "Chapter", "Option", "Question", "Quiz", "chapter", "quiz"]

TEACHING = "book/teaching"
KEYS = ("objectives", "quiz")
OF_QUESTION, OF_OPTION = ("question", "objectives", "options"), ("text", "feedback", "right")
LEAST, FEWEST, MOST = 6, 3, 4  # questions of a chapter; options of a question
OBJECTIVES = re.compile(r"^:::+\{admonition\} Learning objectives\n(.*?)^:::", re.M | re.S)


@dataclass(frozen=True)
class Chapter:
    """What a chapter promises: its learning objectives in their order, and the labels of its sections."""

    objectives: tuple[str, ...]
    sections: tuple[str, ...]


@dataclass(frozen=True)
class Option:
    """An answer that can be chosen, with what is said to whoever has chosen it; both in Markdown."""

    text: str
    feedback: str
    right: bool = False


@dataclass(frozen=True)
class Question:
    """A question in Markdown, the numbers of the objectives that it tests, and its options, of which one is right."""

    text: str
    objectives: tuple[int, ...]
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Quiz:
    """The questions on a chapter, and the labels of the sections that serve each of its objectives."""

    objectives: dict[int, tuple[str, ...]]
    questions: tuple[Question, ...]


def chapter(notebook: Any) -> Chapter:
    """The learning objectives and the labelled sections of a chapter's notebook or page.

    Raises:
        PressError: if the notebook has no list of learning objectives.
    """
    prose = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    if not (found := OBJECTIVES.search(prose)):
        raise PressError("a chapter with questions needs a list of learning objectives, in an admonition of that title")
    told = re.findall(r"^\d+\.\s+(.*?)[;.]?$", found[1], re.M)
    return Chapter(tuple(told), tuple(re.findall(r"^\((sec-[\w-]+)\)=[ \t]*$", prose, re.M)))


def quiz(path: Path, about: Chapter) -> Quiz:
    """The questions in the file ``path`` on the chapter ``about``.

    Raises:
        PressError: naming the file, the question and what is allowed, for a file that is not of this form, or names
            an objective or a section that the chapter has not.
    """
    where = f"{TEACHING}/{path.name}"
    if not path.is_file():
        known = ", ".join(sorted(one.name for one in path.parent.glob("*.yml"))) or "none yet"
        raise PressError(f"{where}: there is no such file; allowed: {known}")
    found = read_yaml(path)
    _table(found, KEYS, where)
    numbers = range(1, len(about.objectives) + 1)
    served = _served(found["objectives"], about, where)
    if not isinstance(found["quiz"], list) or len(found["quiz"]) < LEAST:
        raise _fault(where, "quiz has too few questions", f"a list of {LEAST} or more")
    questions = tuple(_question(one, numbers, f"{where}, question {i}") for i, one in enumerate(found["quiz"], 1))
    asked = {number for one in questions for number in one.objectives}
    if missing := [number for number in numbers if number not in asked]:
        raise _fault(where, f"no question on objective {_listed(missing)}", "one or more for each objective")
    return Quiz(served, questions)


def _served(found: Any, about: Chapter, where: str) -> dict[int, tuple[str, ...]]:
    numbers = list(range(1, len(about.objectives) + 1))
    if not isinstance(found, dict) or sorted(found, key=str) != sorted(numbers, key=str):
        named = _listed(found) if isinstance(found, dict) else repr(found)
        raise _fault(where, f"objectives = {named}", f"{_listed(numbers)}, as in the chapter, each with its sections")
    for number, sections in found.items():
        unknown = [one for one in sections if one not in about.sections] if isinstance(sections, list) else [sections]
        if unknown or not sections:
            what = f"section {unknown[0]!r}" if unknown else "no section"
            raise _fault(f"{where}, objective {number}", what, f"one or more of {', '.join(about.sections)}")
    return {number: tuple(found[number]) for number in numbers}


def _question(found: Any, numbers: range, where: str) -> Question:
    _table(found, OF_QUESTION, where)
    text, objectives, options = _text(found, "question", where), found["objectives"], found["options"]
    if not isinstance(objectives, list) or not objectives or any(
            type(one) is not int or one not in numbers for one in objectives):  # fmt: skip
        raise _fault(where, f"objectives = {objectives!r}", f"a list of numbers from {numbers[0]} to {numbers[-1]}")
    if not isinstance(options, list) or not FEWEST <= len(options) <= MOST:
        raise _fault(where, "options are too few or too many", f"a list of {FEWEST} to {MOST}")
    made = tuple(_option(one, f"{where}, option {letter}") for letter, one in zip("abcd", options))
    right = [letter for letter, one in zip("abcd", made) if one.right]
    if len(right) != 1:
        said = f"options {_listed(right)} are right" if right else "no option is right"
        raise _fault(where, said, "right: true for exactly one option")
    if len({one.text for one in made}) < len(made):
        raise _fault(where, "two options say the same", "options that differ")
    return Question(text, tuple(objectives), made)


def _option(found: Any, where: str) -> Option:
    _table(found, OF_OPTION, where, needed=OF_OPTION[:2])
    if found.get("right", True) is not True:
        raise _fault(where, f"right = {found['right']!r}", "true for the right one, and no such key for the others")
    return Option(_text(found, "text", where), _text(found, "feedback", where), "right" in found)


def _table(found: Any, allowed: tuple[str, ...], where: str, needed: tuple[str, ...] | None = None) -> None:
    """Refuse what is no table with the ``needed`` keys, by default all that are ``allowed``, and no others."""
    needed = allowed if needed is None else needed
    if not isinstance(found, dict):
        raise _fault(where, "it is empty" if found is None else f"{found!r:.60}", f"a table with {_listed(needed)}")
    if unknown := [key for key in found if key not in allowed]:
        raise _fault(where, f"unknown key {unknown[0]!r}", _listed(allowed))
    if missing := [key for key in needed if key not in found]:
        raise _fault(where, f"no {missing[0]}", f"a table with {_listed(needed)}")


def _text(found: dict[str, Any], key: str, where: str) -> str:
    text = found[key]
    if not isinstance(text, str) or not text.strip() or re.search(r"\n[ \t]*\n", text.strip()):
        raise _fault(where, f"{key} = {text!r:.60}", "a text of one paragraph")
    return text.strip()


def _listed(found: Any) -> str:
    return ", ".join(map(str, found)) or "nothing"


def _fault(where: str, what: str, allowed: str) -> PressError:
    return PressError(f"{where}: {what}; allowed: {allowed}")
