"""Marks for a folder of submissions, as one CSV file and, for each of them, what is said of its answers.

A submission is a notebook of exercises as it was handed in: ``STUDENT.ipynb``, or ``STUDENT/anything.ipynb``. It tells
by its metadata, or by what it checks, to which chapter it belongs. Its code is executed in a sandbox
(:mod:`.sandbox`), its answers are judged outside of it (:mod:`diffnotes.exercises.marking`); the checks in the
submission itself count for nothing. Whatever else was handed in has a row that says so, and no submission ends the
marking of the others.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import PressError
from ..exercises import LEVELS, Task, tasks
from ..files import replaceable, require_room, write_whole
from ..layout import Project
from ..page import read
from ..processes import environment, interruptible
from .sandbox import command

__all__ = ["Mark", "exercises_of", "grade"]

LARGEST = 20 * 2**20  # bytes of a submission
DEEPEST = 10  # folders in folders
CHECK = re.compile(r"""\bcheck\(\s*["'](\w+\.\w+)["']""")  # code that is handed in is searched, never parsed
PACKAGE = Path(__file__).resolve().parents[2]
PATIENCE = 600  # seconds, beyond those of a submission, until the process that judges it is given up
POINTS = dict(zip(LEVELS, (1, 2, 3)))


@dataclass(frozen=True)
class Mark:
    """What a submission got: ``told`` is by exercise whether it is right, and what is said of it.

    Its state is "marked", "stopped" if it was ended at least once, "refused" if it is no submission, and "failed" if it
    could not be marked for a reason that is not its own: then it has no points, not zero.
    """

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
        PressError: without submissions, without a sandbox, or without room for what is written.
    """
    known = exercises_of(project)
    if not 0 < seconds <= 3600:
        raise PressError(f"seconds = {seconds:g}; allowed: above 0, at most 3600", 2)
    if not folder.is_dir():
        raise PressError(f"{folder} is no folder of submissions", 2)
    files = _handed_in(folder, {os.path.realpath(path) for path in (table, feedback) if path})
    if not any(_is_notebook(path) for path in files):
        raise PressError(f"{folder} holds no submission; allowed: STUDENT.ipynb, or STUDENT/NAME.ipynb", 2)
    if not replaceable(table):
        raise PressError(f"{table} is {'a folder' if table.is_dir() else 'no ordinary file'}; the marks need a file", 2)
    for place, what in ((table.parent, "the marks"), (feedback, "the feedback")):
        if place is not None:
            require_room(place, what)
    marks: list[Mark] = []
    room = command(project)
    with interruptible(), _marker() as ask:
        for number, file in enumerate(files, 1):
            one = _mark(file, folder, known, seconds, partial(ask, room))
            marks.append(replace(one, student=_line(one.student), remarks=_line(one.remarks)))
            say(f"[{number}/{len(files)}] {_said(marks[-1])}")
        marks = _counted(marks)
        write_whole(table, table_of(marks, known))
        taken: set[str] = set()
        for one in marks if feedback is not None else ():
            write_whole(feedback / _name(one.file.relative_to(folder), taken), report(one, known))
    return marks


def _is_notebook(path: Path) -> bool:
    return path.suffix.lower() == ".ipynb"


def _handed_in(folder: Path, own: set[str]) -> list[Path]:
    """The notebooks below ``folder``, and what lies in it that is none or has none, without the grader's ``own``.

    Links are not followed, and folders in folders only so far (:data:`DEEPEST`).
    """

    def visible(path: Path) -> bool:
        parts = path.relative_to(folder).parts
        return not any(part.startswith(".") or part == "__MACOSX" for part in parts)

    def below(top: Path) -> Iterator[Path]:
        for place, folders, files in os.walk(top):
            here = Path(place)
            inside = [here / name for name in (*folders, *files)]
            yield from (one for one in inside if _is_notebook(one) and visible(one))
            if len(here.relative_to(folder).parts) >= DEEPEST:
                folders.clear()

    found: list[Path] = []
    for path in folder.iterdir():
        if visible(path) and os.path.realpath(path) not in own:  # Path.resolve raises for a link to itself
            found += [path] if path.is_symlink() or not path.is_dir() else list(below(path)) or [path]
    return sorted(found)


def _said(one: Mark) -> str:
    points = f"{one.points} of {one.of} points" if one.state != "failed" else "no points"
    return (f"{one.student}, {one.chapter or '?'}: {points}{f', {one.state}' if one.state != 'marked' else ''}"
            f"{f' ({one.remarks})' if one.remarks else ''}")  # fmt: skip


def _counted(marks: list[Mark]) -> list[Mark]:
    """``marks`` with a remark on those of a student and chapter that are not alone."""
    times = Counter((one.student, one.chapter) for one in marks if one.chapter)
    return [replace(one, remarks="; ".join(filter(None, [one.remarks, f"one of {n} of this student and chapter"])))
            if (n := times[one.student, one.chapter]) > 1 else one for one in marks]  # fmt: skip


def _name(inside: Path, taken: set[str]) -> str:
    """A name for the feedback to a submission that no other one has, also where capitals do not count."""
    stem = os.fsdecode(os.fsencode("-".join(inside.with_suffix("").parts))[:200])
    names = (f"{stem}{'' if n == 1 else f'-{n}'}.md" for n in range(1, len(taken) + 2))
    name = next(one for one in names if one.casefold() not in taken)
    taken.add(name.casefold())
    return name


class _marker:
    """The process that judges; gives a function that has one submission judged. One that fails is replaced."""

    process: subprocess.Popen | None = None

    def __enter__(self) -> Callable[..., dict[str, Any]]:
        return self._ask

    def _ask(
        self, room: list[str], cells: list[str], checks: list[list[str]], answers: dict[str, str], seconds: float
    ) -> dict[str, Any]:
        limits = {"cell": seconds, "total": 5 * seconds + 60}
        submission = {"command": room, "cells": cells, "checks": checks, "answers": answers, "limits": limits}
        if self.process is None:  # in a session of its own: Ctrl-C reaches this process alone, which then ends it
            self.process = subprocess.Popen([sys.executable, "-s", "-m", "diffnotes.exercises.marking"], text=True,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
                                            env=environment(PYTHONPATH=str(PACKAGE.parent)))  # fmt: skip
        late = threading.Timer(limits["total"] + PATIENCE, self.process.kill)
        late.start()
        try:
            self.process.stdin.write(json.dumps(submission) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, ValueError):  # it has ended
            self._end()
            return {"unable": "the process that judges ended, or took too long"}
        finally:
            late.cancel()

    def _end(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            process.stdout.close()
            with contextlib.suppress(OSError):  # what was not sent
                process.stdin.close()

    def __exit__(self, *_: object) -> None:
        self._end()


def _mark(file: Path, folder: Path, known: dict[str, list[Task]], seconds: float, ask: Callable) -> Mark:
    inside = file.relative_to(folder)
    student = inside.parts[0] if len(inside.parts) > 1 else inside.stem or inside.name
    try:
        if why := _refusal(file, folder):
            return Mark(student, file, state="refused", remarks=why)
        notebook = json.loads(file.read_bytes().decode("utf-8-sig"))
        cells = code_of(notebook)
    except OSError as error:
        return Mark(student, file, state="refused", remarks=f"it cannot be read: {error.strerror or error}")
    except (ValueError, RecursionError, MemoryError):
        return Mark(student, file, state="refused", remarks="it cannot be read as a notebook")
    checks = [CHECK.findall(source) for source in cells]
    chapter = _chapter(notebook, checks, known)
    if not chapter:
        return Mark(student, file, state="refused", remarks="it belongs to no chapter: it checks no exercise")
    asked = known[chapter]
    found = ask(cells, checks, {one.name: one.answer for one in asked}, seconds)
    of = sum(POINTS[one.level] for one in asked)
    if "unable" in found:
        return Mark(student, file, chapter, of=of, state="failed", remarks=found["unable"])
    told = found["exercises"]
    remarks = [*found["stopped"], *(f"it tried {one}" for one in found["tried"])]
    points = sum(POINTS[one.level] for one in asked if told[one.name]["right"])
    return Mark(student, file, chapter, points, of, told, "stopped" if found["stopped"] else "marked",
                "; ".join(remarks))  # fmt: skip


def _refusal(file: Path, folder: Path) -> str:
    """Why this cannot be a submission, or nothing."""
    if file.is_symlink() or not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(folder)):
        return "it is a link, not a notebook"
    if file.is_dir():
        return "it is a folder, not a notebook" if _is_notebook(file) else "it holds no notebook (.ipynb)"
    if not _is_notebook(file) or not file.is_file():
        return "it is no notebook (.ipynb)"
    if file.stat().st_size > LARGEST:
        return f"it is larger than {LARGEST // 2**20} MiB"
    return ""


def code_of(notebook: Any) -> list[str]:
    """The code of a notebook that was handed in, a text a cell, whatever else of its format is amiss.

    Raises:
        ValueError: if it is none.
    """
    sheets = notebook.get("worksheets") if isinstance(notebook, dict) else None  # of format 3
    parts = [notebook, *sheets] if isinstance(sheets, list) else [notebook]
    lists = [part["cells"] for part in parts if isinstance(part, dict) and isinstance(part.get("cells"), list)]
    if not lists:
        raise ValueError("no notebook: it has no list of cells")
    texts = [cell.get("source", cell.get("input", "")) for cells in lists for cell in cells
             if isinstance(cell, dict) and cell.get("cell_type") == "code"]  # fmt: skip
    return ["".join(map(str, text)) if isinstance(text, list) else str(text) for text in texts]


def _chapter(notebook: Any, checks: list[list[str]], known: dict[str, list[Task]]) -> str:
    metadata = notebook.get("metadata")
    note = metadata.get("diffnotes") if isinstance(metadata, dict) else None
    named = note.get("exercises") if isinstance(note, dict) else None
    if isinstance(named, str) and named in known:
        return named
    checked = Counter(name.partition(".")[0] for names in checks for name in names)
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
        points = one.points if one.state != "failed" else ""
        given = [one.student, one.file.name, one.chapter, points, one.of, one.state, one.remarks]
        rows.writerow([*map(_plain, given), *right])
    return text.getvalue()


def _line(text: str) -> str:
    """``text`` as one line of signs that can be seen: no control of a terminal or of direction, no half of a pair."""
    return " ".join("".join(one if one.isprintable() or one.isspace() else "\ufffd" for one in text).split())


def _literal(text: str) -> str:
    """``text`` as one line of Markdown that shows it and does nothing else."""
    return re.sub(r"[\\`*]|(?<=\])\(", r"\\\g<0>", _line(text)).replace("<", "&lt;")


def _plain(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(value, str):
        value = _line(value).replace(";", ",")  # some spreadsheets divide at semicolons
        return f"'{value}" if value.startswith(tuple("=+-@＝＋－＠")) else value
    return value


def report(one: Mark, known: dict[str, list[Task]]) -> str:
    """What is said of a submission, as Markdown."""
    return "\n".join(_lines(one, known)) + "\n"


def _lines(one: Mark, known: dict[str, list[Task]]) -> Iterator[str]:
    yield f"# {_literal(one.student)}: {one.chapter or _literal(one.file.name)}"
    yield ""
    points = f"{one.points} of {one.of} points." if one.state != "failed" else "Not marked yet."
    yield points + (f" {one.state.capitalize()}: {_literal(one.remarks)}." if one.remarks else "")
    for task in known.get(one.chapter, ()) if one.told else ():
        found = one.told[task.name]
        points, word = (POINTS[task.level], "Right") if found["right"] else (0, "Not yet")
        yield ""
        yield f"## {task.number}. {task.title}"
        yield ""
        yield f"{points} of {POINTS[task.level]}. {word}. {_literal(found['message'])}"
