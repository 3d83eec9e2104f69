"""Exercise notebooks as they are written, and the two forms in which they are handed out.

``notebooks/exercises/NAME.ipynb`` belongs to the chapter NAME and holds everything, solutions too. Each exercise is

1. a Markdown cell: ``## 3. Title``, the line ``*Derive · objectives 2 and 3 · 15 minutes*``, the task, a hint;
2. code cells for the answer, whose solutions are marked as otter-grader marks them: a line ``name = ...  # SOLUTION``
   or ``return ...  # SOLUTION`` has three dots for its value in the student's form, lines between ``# BEGIN SOLUTION``
   and ``# END SOLUTION`` are gone, with three dots in the place of a function's body;
3. a code cell ``check("NAME.exercise", answer)``;
4. a Markdown cell with the tag ``solution``, which the student's form does not have.
"""

from __future__ import annotations

import ast
import copy
import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from nbformat import v4

from .errors import PressError
from .files import read_yaml
from .layout import Project
from .page import read

__all__ = ["LEVELS", "Task", "add_pages", "files", "student", "tasks", "without_solutions"]

LEVELS = ("Understand", "Derive", "Build")
HEAD = re.compile(r"^## (\d+)\. (.+)$", re.M)
LINE = re.compile(r"^\*(\w+) · objectives? ([\d, and]+) · (\d+) minutes\*$", re.M)
INLINE = re.compile(r"^(\s*(?:[\w, ]+ = |return ))(.+?)\s*# SOLUTION\s*$")
GATE = re.compile(r"^\s*(`{3,}|:{3,})\{solution-(start|end)\}")
PART = "Exercises"
BEFORE = ("book/chapters/", "book/diagnose")  # pages that a reader should find before the exercises
HOW = """:::{{tip}}
`make lab CHAPTER=exercises/{name}` opens this page as a notebook to work in, where the cells can be run and say whether
an answer is right; on the site, the button at the top of the page downloads it. What the chapter says is in
{{doc}}`/book/chapters/{name}`.
:::"""
BEGIN, END = "# BEGIN SOLUTION", "# END SOLUTION"


@dataclass(frozen=True)
class Task:
    """One exercise of a notebook: where it stands, and what its head and its check say."""

    number: int
    title: str
    level: str
    objectives: tuple[int, ...]
    minutes: int
    name: str
    """CHAPTER.NAME, as the package knows it."""
    answer: str
    """The variable that holds the answer."""
    first: int
    """Index of its first cell; its last one is that before the next exercise."""


def files(project: Project) -> dict[str, Path]:
    """The exercise notebooks of a book, by chapter, in its order."""
    places = {name: project.source(f"exercises/{name}") for name in project.chapters()}
    return {name: path for name, path in places.items() if path.is_file()}


def add_pages(project: Project, source: Path, solutions: bool = False) -> None:
    """Add a page of exercises for each chapter that has some to the tree ``source``, in a part of their own."""
    found = files(project)
    entries = []
    for name, path in found.items():
        page = read(path) if solutions else student(read(path))
        title = re.search(r"^# Exercises: (.+)$", page.cells[0].source, re.M)
        if not title:
            raise PressError(f"exercises of {name}: the first cell lacks its title; allowed: # Exercises: WORDS")
        page.cells.insert(1, v4.new_markdown_cell(HOW.format(name=name), id=f"ex-{name}-how"))
        entries.append({"file": f"book/exercises/{name}", "title": title[1][0].upper() + title[1][1:]})
        place = source / "book" / "exercises" / f"{name}.ipynb"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(page, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    toc = read_yaml(source / "_toc.yml")
    if found and not any(part.get("caption") == PART for part in toc.get("parts", ())):
        toc.setdefault("parts", []).insert(_place(toc["parts"]), {"caption": PART, "chapters": entries})
        (source / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _place(parts: list[dict]) -> int:
    """After the last part that has chapters of the book or what readers do with them, before what is for teachers."""
    read_before = [i for i, part in enumerate(parts) if any(page in str(part) for page in BEFORE)]
    return max(read_before, default=len(parts) - 1) + 1


def tasks(notebook: Any, chapter: str) -> list[Task]:
    """The exercises of a notebook, in order.

    Raises:
        PressError: for a head without its line, an exercise without exactly one check, a level, number or name that
            is not allowed, or an exercise without a marked solution or hint.
    """
    starts = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "markdown" and HEAD.search(cell.source)]
    if not starts:
        raise PressError(f"exercises of {chapter}: no exercise; allowed: Markdown cells with ## 1. Title")
    return [_task(notebook, chapter, number, *span)
            for number, span in enumerate(zip(starts, [*starts[1:], len(notebook.cells)]), 1)]  # fmt: skip


def _task(notebook: Any, chapter: str, number: int, first: int, end: int) -> Task:
    text = notebook.cells[first].source
    given, title = HEAD.search(text).groups()
    where = f"exercises of {chapter}: {given}. {title}"
    if int(given) != number:
        raise PressError(f"{where}: its number is {given}; it should be {number}")
    found = LINE.search(text)
    if not found or found[1] not in LEVELS:
        raise PressError(f"{where}: it lacks its line; allowed: *LEVEL · objectives 1 and 2 · 10 minutes*, with one of "
                         f"{', '.join(LEVELS)}")
    if "{admonition} Hint" not in text:
        raise PressError(f"{where}: it lacks a hint; allowed: :::{{admonition}} Hint, with :class: dropdown")
    cells = notebook.cells[first + 1 : end]
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    checks = list(dict.fromkeys(call for source in code for call in checks_of(source)))
    if len(checks) != 1 or not checks[0][0].startswith(f"{chapter}."):
        raise PressError(f"{where}: it checks {', '.join(name for name, _ in checks) or 'nothing'}; allowed: one "
                         f'check("{chapter}.NAME", ANSWER)')  # fmt: skip
    if not any("# SOLUTION" in source or BEGIN in source for source in code):
        raise PressError(f"{where}: no line of it is marked # SOLUTION or {BEGIN}")
    if not any("solution" in cell.metadata.get("tags", []) for cell in cells):
        raise PressError(f"{where}: it lacks a Markdown cell with the tag solution")
    objectives = tuple(int(word) for word in re.findall(r"\d+", found[2]))
    return Task(number, title, found[1], objectives, int(found[3]), *checks[0], first)


def checks_of(source: str) -> list[tuple[str, str]]:
    """(name, variable) of each ``check("name", variable)`` in the code of a cell."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # whatever it is, it checks nothing
        return []
    return [(call.args[0].value, call.args[1].id) for call in calls
            if isinstance(call.func, ast.Name) and call.func.id == "check" and len(call.args) == 2
            and isinstance(call.args[0], ast.Constant) and isinstance(call.args[1], ast.Name)]  # fmt: skip


def student(notebook: Any) -> Any:
    """A copy of a notebook of exercises without anything of its solutions, and without outputs."""
    new = copy.deepcopy(notebook)
    new.cells = [cell for cell in new.cells if "solution" not in cell.metadata.get("tags", [])]
    for cell in new.cells:
        if cell.cell_type == "code":
            cell.source, cell.outputs, cell.execution_count = blank(cell.source), [], None
    return new


def without_solutions(notebook: Any) -> Any:
    """A copy of a chapter without the solutions of its own exercises: what stands between their gates."""
    new, inside = copy.deepcopy(notebook), False
    for cell in new.cells:
        if cell.cell_type == "markdown":
            cell.source, inside = _outside(cell.source, inside)
        elif inside:
            cell.source = ""
    new.cells = [cell for cell in new.cells if cell.source.strip()]
    return new


def _outside(text: str, inside: bool) -> tuple[str, bool]:
    """The lines of ``text`` that lie outside of solutions, and whether its end lies within one."""
    kept, fence = [], ""
    for line in text.splitlines():
        if fence:  # of the gate itself
            fence = "" if line.strip() == fence else fence
        elif found := GATE.match(line):
            inside, fence = found[2] == "start", found[1]
        elif not inside:
            kept.append(line)
    return "\n".join(kept).strip("\n"), inside


def blank(source: str) -> str:
    """The code of a cell with three dots in the place of its solutions.

    >>> print(blank("x = 3  # SOLUTION"))
    x = ...
    """
    lines, inside = [], False
    for line in source.splitlines():
        if line.strip() == BEGIN:
            if inside:
                raise PressError(f"{BEGIN} twice without {END} between")
            inside, indent = True, line[: len(line) - len(line.lstrip())]
            if indent:  # a body; at the top level what is asked for has a line of its own
                lines.append(f"{indent}...")
        elif line.strip() == END:
            if not inside:
                raise PressError(f"{END} without {BEGIN}")
            inside = False
        elif not inside:
            found = INLINE.match(line)
            if "# SOLUTION" in line and not found:
                raise PressError(f"{line.strip()!r}: allowed before # SOLUTION: NAME = VALUE, or return VALUE")
            lines.append(f"{found[1]}..." if found else line)
    if inside:
        raise PressError(f"{BEGIN} without {END}")
    return "\n".join(lines)
