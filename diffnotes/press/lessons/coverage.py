"""What covers which learning objective: the directive ``{coverage}``, a table for each chapter that has objectives.

An objective is served by sections of its chapter and tested by questions, which ``book/teaching/NAME.yml`` has, and
practised by exercises: those at the end of the chapter, by their lines ``*(objectives 2 and 3)*``, and those of the
chapter's exercise notebook. One that lacks any of the three is an error, which ends the build.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import PressError
from ..exercises import HEAD, LINE
from ..layout import CHAPTERS, Project
from ..markdown import table
from ..page import shared
from .questions import OBJECTIVES, TEACHING, chapter, quiz

__all__ = ["Objective", "coverage", "coverage_markdown", "holes", "setup"]

EXERCISES = "book/exercises"
START = re.compile(r"\{exercise-start\}[^\n]*\n:label: (\S+)")
AIM = re.compile(r"\*\(objectives? ([\d, and]+)\)\*")
COLUMNS = ("After the chapter you can", "Sections", "On the page", "In the notebook", "Questions")


@dataclass(frozen=True)
class Objective:
    """A learning objective, as NAME-1, with what serves it: labels of sections and exercises, numbers of the rest."""

    name: str
    text: str
    sections: tuple[str, ...]
    exercises: tuple[str, ...]
    tasks: tuple[int, ...]
    questions: tuple[int, ...]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in re.findall(r"\d+", text))


def _prose(notebook: Any) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def _on_page(notebook: Any, name: str) -> dict[str, tuple[int, ...]]:
    """The exercises at the end of a chapter: label -> numbers of objectives."""
    prose = "\n\n".join(_prose(notebook))
    starts = [*START.finditer(prose)]
    ends = [one.start() for one in starts[1:]] + [len(prose)]
    found = {one[1]: AIM.search(prose, one.end(), end) for one, end in zip(starts, ends)}
    if bare := [label for label, aim in found.items() if not aim]:
        raise PressError(f"{name}: the exercise {bare[0]} lacks its line; allowed: *(objectives 1 and 2)*")
    return {label: _numbers(aim[1]) for label, aim in found.items()}


def _in_notebook(notebook: Any) -> dict[int, tuple[int, ...]]:
    """The exercises of an exercise notebook, in whatever form it is handed out: number -> numbers of objectives."""
    heads = [(HEAD.search(text), LINE.search(text)) for text in _prose(notebook)]
    return {int(head[1]): _numbers(line[2]) for head, line in heads if head and line}


def coverage(name: str, page: Any, questions: Path, exercises: Any) -> list[Objective]:
    """What covers the objectives of the chapter ``name``.

    Args:
        name: of the chapter.
        page: its notebook, with or without outputs.
        questions: its file in ``book/teaching/``.
        exercises: its notebook of exercises, with or without solutions.

    Raises:
        PressError: for an exercise that names an objective that there is not, and for what :func:`quiz` refuses.
    """
    about = chapter(page)
    found, on_page, in_notebook = quiz(questions, about), _on_page(page, name), _in_notebook(exercises)
    for what, aims in (*on_page.items(), *((f"exercise {k} of the notebook", aims) for k, aims in in_notebook.items())):
        if unknown := [aim for aim in aims if not 1 <= aim <= len(about.objectives)]:
            raise PressError(f"{name}: {what} names objective {unknown[0]}; allowed: 1 to {len(about.objectives)}")
    return [
        Objective(
            f"{name}-{number}", text, found.objectives.get(number, ()),
            tuple(label for label, aims in on_page.items() if number in aims),
            tuple(k for k, aims in in_notebook.items() if number in aims),
            tuple(k for k, one in enumerate(found.questions, 1) if number in one.objectives),
        )
        for number, text in enumerate(about.objectives, 1)
    ]  # fmt: skip


def holes(found: Iterable[Objective]) -> list[str]:
    """What is missing, in words; an exercise may stand on the page or in the notebook."""
    lacks = {"section": lambda one: one.sections, "exercise": lambda one: one.exercises + one.tasks,
             "question": lambda one: one.questions}  # fmt: skip
    return [f"{one.name} has no {what}" for one in found for what, has in lacks.items() if not has(one)]


def covered(source: Path) -> dict[str, list[Objective]]:
    """The objectives of each chapter of the tree ``source`` that has some, in its order.

    Raises:
        PressError: naming each hole, and for a chapter without exercises.
    """
    found = {}
    for name in Project(source).chapters():
        page = shared(source / CHAPTERS / f"{name}.ipynb")
        if not any(OBJECTIVES.search(text) for text in _prose(page)):
            continue
        place = source / EXERCISES / f"{name}.ipynb"
        if not place.is_file():
            raise PressError(f"coverage: {name} has no exercises; allowed: {EXERCISES}/{name}.ipynb")
        found[name] = coverage(name, page, source / TEACHING / f"{name}.yml", shared(place))
    if missing := holes(one for rows in found.values() for one in rows):
        raise PressError(f"coverage: {'; '.join(missing)}; allowed: objectives with one of each at least")
    return found


def coverage_markdown(found: dict[str, Sequence[Objective]]) -> str:
    """A table for each chapter, with links to what covers its objectives."""
    text = []
    for name, rows in found.items():
        text += [f"**{{doc}}`/{CHAPTERS}/{name}`**", "", table(COLUMNS, (_row(name, one) for one in rows)), ""]
    return "\n".join(text)


def _row(name: str, one: Objective) -> tuple[str, ...]:
    return (
        f"**{one.name}:** {one.text}", _listed(f"{{ref}}`{label}`" for label in one.sections),
        _listed(f"{{ref}}`{label}`" for label in one.exercises),
        f"{{doc}}`{_listed(one.tasks)} </{EXERCISES}/{name}>`" if one.tasks else "",
        f"{{ref}}`{_listed(one.questions)} <quiz-{name}>`",
    )  # fmt: skip


def _listed(found: Iterable[Any]) -> str:
    return ", ".join(map(str, found))


def setup(app: Any) -> dict[str, Any]:
    """Register the directive with Sphinx."""
    from sphinx.util.docutils import SphinxDirective

    class Coverage(SphinxDirective):
        def run(self) -> list[Any]:
            source = Path(self.env.app.srcdir)
            for folder in (CHAPTERS, EXERCISES, TEACHING):
                for path in sorted((source / folder).glob("*.*")):
                    self.env.note_dependency(str(path))
            try:
                return self.parse_text_to_nodes(coverage_markdown(covered(source)))
            except PressError as error:
                return [self.state.document.reporter.error(str(error), line=self.lineno)]

    app.add_directive("coverage", Coverage)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
