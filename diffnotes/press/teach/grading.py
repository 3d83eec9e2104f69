"""Marks for a folder of submissions, as one CSV file and, for each of them, what is said of its answers.

A submission is a notebook of exercises as it was handed in: ``STUDENT.ipynb``, or ``STUDENT/anything.ipynb``. It tells
by its metadata, or by what it checks, to which chapter it belongs. Its code is executed in a sandbox
(:mod:`.sandbox`), its answers are judged outside of it (:mod:`diffnotes.exercises.marking`); the checks in the
submission itself count for nothing.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import PressError
from ..exercises import LEVELS, Task, checks_of, tasks
from ..files import write_whole
from ..layout import Project
from ..page import read
from .sandbox import command

__all__ = ["Mark", "exercises_of", "grade"]

LARGEST = 20 * 2**20  # bytes of a submission
POINTS = dict(zip(LEVELS, (1, 2, 3)))


@dataclass(frozen=True)
class Mark:
    """What a submission got: ``told`` is by exercise whether it is right, and what is said of it."""

    student: str
    file: Path
    chapter: str = ""
    points: int = 0
    of: int = 0
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    state: str = "marked"
    remarks: str = ""


def exercises_of(project: Project) -> dict[str, list[Task]]:
    """The exercises of each chapter that has some. PressError if there are none, or one is not as it should be."""
    folder = project.root / "notebooks" / "exercises"
    names = [name for name in project.chapters() if (folder / f"{name}.ipynb").is_file()]
    if not names:
        raise PressError("there are no exercises: no notebooks/exercises/NAME.ipynb of a chapter")
    return {name: tasks(read(folder / f"{name}.ipynb"), name) for name in names}


def grade(project: Project, folder: Path, table: Path, feedback: Path | None = None, seconds: float = 60,
          say: Callable[[str], None] = print) -> list[Mark]:  # fmt: skip
    """Mark all submissions below ``folder``.

    Args:
        project: the book.
        folder: where the submissions lie.
        table: the CSV file to write: a line a submission, a column an exercise.
        feedback: a folder for what is said of each submission, as Markdown.
        seconds: what a cell, and a call of an answer, may take; all of a submission has five times as long.
        say: takes a line a submission.

    Raises:
        PressError: without submissions, or without a sandbox.
    """
    known = exercises_of(project)
    if not 0 < seconds <= 3600:
        raise PressError(f"seconds = {seconds:g}; allowed: above 0, at most 3600", 2)
    if not folder.is_dir():
        raise PressError(f"{folder} is no folder of submissions", 2)
    files = sorted(path for path in folder.rglob("*.ipynb") if not any(
        part.startswith(".") for part in path.relative_to(folder).parts))  # fmt: skip
    if not files:
        raise PressError(f"{folder} holds no submission; allowed: STUDENT.ipynb, or STUDENT/NAME.ipynb", 2)
    marks: list[Mark] = []
    with _marker() as ask:
        room = command(project)
        for number, file in enumerate(files, 1):
            marks.append(_mark(file, folder, known, seconds, partial(ask, room)))
            one = marks[-1]
            say(f"[{number}/{len(files)}] {one.student}, {one.chapter or '?'}: {one.points} of {one.of} points"
                f"{f', {one.state}' if one.state != 'marked' else ''}{f' ({one.remarks})' if one.remarks else ''}")
    write_whole(table, table_of(marks, known))
    for one in marks if feedback is not None else ():
        name = "-".join(one.file.relative_to(folder).with_suffix("").parts)
        write_whole(feedback / f"{name}.md", report(one, known))
    return marks


class _marker:
    """The process that judges; gives a function that has one submission judged."""

    def __enter__(self) -> Callable[..., dict[str, Any]]:
        self.process = subprocess.Popen([sys.executable, "-s", "-m", "diffnotes.exercises.marking"], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        return self._ask

    def _ask(self, room: list[str], cells: list[str], answers: dict[str, str], seconds: float) -> dict[str, Any]:
        limits = {"cell": seconds, "total": 5 * seconds + 60}
        submission = {"command": room, "cells": cells, "answers": answers, "limits": limits}
        try:
            self.process.stdin.write(json.dumps(submission) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise PressError("the marking ended by a fault; its message is above")
        return json.loads(line)

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.terminate()
        self.process.wait()


def _mark(file: Path, folder: Path, known: dict[str, list[Task]], seconds: float, ask: Callable) -> Mark:
    inside = file.relative_to(folder)
    student = inside.parts[0] if len(inside.parts) > 1 else inside.stem
    if file.is_symlink() or not file.resolve().is_relative_to(folder.resolve()):
        return Mark(student, file, state="refused", remarks="it is a link, not a notebook")
    if file.stat().st_size > LARGEST:
        return Mark(student, file, state="refused", remarks=f"it is larger than {LARGEST // 2**20} MiB")
    try:
        notebook = read(file)
        cells = [str(cell.source) for cell in notebook.cells if cell.cell_type == "code"]
    except (PressError, AttributeError):
        return Mark(student, file, state="refused", remarks="it cannot be read as a notebook")
    chapter = _chapter(notebook, cells, known)
    if not chapter:
        return Mark(student, file, state="refused", remarks="it belongs to no chapter: it checks no exercise")
    asked = known[chapter]
    found = ask(cells, {one.name: one.answer for one in asked}, seconds)
    told = found["exercises"]
    remarks = [*found["stopped"], *(f"it tried {one}" for one in found["tried"])]
    points = sum(POINTS[one.level] for one in asked if told[one.name]["right"])
    return Mark(student, file, chapter, points, sum(POINTS[one.level] for one in asked), told,
                "stopped" if found["stopped"] else "marked", "; ".join(remarks))  # fmt: skip


def _chapter(notebook: Any, cells: list[str], known: dict[str, list[Task]]) -> str:
    note = notebook.metadata.get("diffnotes")
    named = note.get("exercises") if isinstance(note, dict) else None
    if named in known:
        return named
    checked = Counter(name.partition(".")[0] for source in cells for name, _ in checks_of(source))
    return next((name for name, _ in checked.most_common() if name in known), "")


def table_of(marks: list[Mark], known: dict[str, list[Task]]) -> str:
    """The CSV file: student, file, chapter, points, of, state, remarks, and 1 or 0 by exercise of the chapters seen."""
    chapters = {one.chapter for one in marks}
    names = [task.name for name, one in known.items() if name in chapters for task in one]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["student", "file", "chapter", "points", "of", "state", "remarks", *names])
    for one in marks:
        right = [int(one.told[name]["right"]) if name in one.told else "" for name in names]
        given = [one.student, one.file.name, one.chapter, one.points, one.of, one.state, one.remarks]
        rows.writerow([*map(_plain, given), *right])
    return text.getvalue()


def _plain(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(value, str):
        value = " ".join(value.split())
        return f"'{value}" if value.startswith(("=", "+", "-", "@")) else value
    return value


def report(one: Mark, known: dict[str, list[Task]]) -> str:
    """What is said of a submission, as Markdown."""
    return "\n".join(_lines(one, known)) + "\n"


def _lines(one: Mark, known: dict[str, list[Task]]) -> Iterator[str]:
    yield f"# {one.student}: {one.chapter or one.file.name}"
    yield ""
    yield f"{one.points} of {one.of} points." + (f" {one.state.capitalize()}: {one.remarks}." if one.remarks else "")
    for task in known.get(one.chapter, ()):
        found = one.told[task.name]
        points = POINTS[task.level] if found["right"] else 0
        yield ""
        yield f"## {task.number}. {task.title}"
        yield ""
        yield f"{points} of {POINTS[task.level]}. {'Right' if found['right'] else 'Not yet'}. {found['message']}"
