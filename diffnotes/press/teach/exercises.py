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
import re
from dataclasses import dataclass
from typing import Any

from ..errors import PressError

__all__ = ["LEVELS", "Task", "student", "tasks"]

LEVELS = ("Understand", "Derive", "Build")
HEAD = re.compile(r"^## (\d+)\. (.+)$", re.M)
LINE = re.compile(r"^\*(\w+) · objectives? ([\d, and]+) · (\d+) minutes\*$", re.M)
INLINE = re.compile(r"^(\s*(?:[\w, ]+ = |return ))(.+?)\s*# SOLUTION\s*$")
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
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    except SyntaxError:
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
