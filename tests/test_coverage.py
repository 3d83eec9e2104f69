"""What covers which learning objective: no hole in the book, and none that would go unseen."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
import yaml
from sites import ROOT, project

from diffnotes.press import exercises
from diffnotes.press.errors import PressError
from diffnotes.press.layout import Project
from diffnotes.press.lessons.coverage import coverage, coverage_markdown, covered, holes
from diffnotes.press.page import read
from diffnotes.press.site import render

BOOK = Project(ROOT)


def rows(name: str = "targets", page=None, questions: Path | None = None, tasks=None):
    questions = questions or ROOT / f"book/teaching/{name}.yml"
    return coverage(name, page or read(BOOK.source(name)), questions, tasks or read(exercises.files(BOOK)[name]))


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    return project(tmp_path_factory.mktemp("tree") / "book")


@pytest.mark.parametrize("name", BOOK.chapters())
def test_every_objective_has_sections_exercises_and_questions(name: str) -> None:
    found = rows(name)
    assert [one.name for one in found] == [f"{name}-{k}" for k in range(1, len(found) + 1)] and len(found) >= 3
    assert holes(found) == []
    assert all(one.tasks for one in found)  # by which the course is marked


def test_both_forms_of_the_exercises_cover_the_same() -> None:
    whole = read(exercises.files(BOOK)["targets"])
    assert rows(tasks=whole) == rows(tasks=exercises.student(whole))
    assert [one.tasks for one in rows()] == [
        tuple(task.number for task in exercises.tasks(whole, "targets") if k in task.objectives) for k in range(1, 6)]


def test_a_row_links_to_all_that_it_counts() -> None:
    text = coverage_markdown({"targets": rows()})
    assert text.count("\n| **targets-") == 5
    assert "| {ref}`sec-targets-bound` | {ref}`ex-targets-gaussian` | {doc}`2, 3 </book/exercises/targets>` |" in text
    assert "{ref}`3, 4 <quiz-targets>` |" in text


def without(notebook, *words: str):
    """The notebook with nothing said of an objective in its lines."""
    for cell in notebook.cells:
        for word in words:
            cell.source = cell.source.replace(word, "objective 1")
    return notebook


def test_an_objective_without_an_exercise_is_a_hole() -> None:
    page = without(read(BOOK.source("targets")), "objectives 4 and 5", "objectives 2 and 3", "objective 4")
    tasks = without(read(exercises.files(BOOK)["targets"]), "objective 5")
    assert holes(rows(page=page, tasks=tasks)) == ["targets-5 has no exercise"]


@pytest.mark.parametrize(("change", "said"), [
    (lambda found: found["objectives"].update({3: []}), "objective 3: no section"),
    (lambda found: found["objectives"].pop(3), "objectives = 1, 2, 4, 5"),
    (lambda found: [one.update(objectives=[1]) for one in found["quiz"]], "no question on objective 2, 3, 4, 5"),
])  # fmt: skip
def test_an_objective_without_a_section_or_a_question_is_refused(change, said: str, tmp_path: Path) -> None:
    found = yaml.safe_load((ROOT / "book/teaching/targets.yml").read_text(encoding="utf-8"))
    change(found)
    (tmp_path / "targets.yml").write_text(yaml.safe_dump(found))
    with pytest.raises(PressError, match=said):
        rows(questions=tmp_path / "targets.yml")


def test_what_names_no_objective_is_refused() -> None:
    tasks = without(read(exercises.files(BOOK)["targets"]))
    for cell in tasks.cells:
        cell.source = cell.source.replace("objective 5", "objective 9")
    with pytest.raises(PressError, match="exercise 7 of the notebook names objective 9; allowed: 1 to 5"):
        rows(tasks=tasks)
    page = read(BOOK.source("targets"))
    for cell in page.cells:
        cell.source = cell.source.replace("*(objective 3)*", "")
    with pytest.raises(PressError, match="the exercise ex-targets-mean-v lacks its line"):
        rows(page=page)


def test_the_tree_of_a_build_is_covered_chapter_by_chapter(tree: Path) -> None:
    assert [*covered(tree)] == BOOK.chapters()  # not the one made by hand, which promises nothing
    place = tree / "book/exercises/targets.ipynb"
    kept = place.read_text(encoding="utf-8")
    place.unlink()
    try:
        with pytest.raises(PressError, match=r"targets has no exercises; allowed: book/exercises/targets\.ipynb"):
            covered(tree)
    finally:
        place.write_text(kept, encoding="utf-8")


def test_a_hole_ends_the_build(tree: Path, tmp_path: Path) -> None:
    """A small tree: one chapter, whose fifth objective nothing practises any more."""
    for name in ("_config.yml", "book/notation.yml", "book/references.bib"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "book/_static", tmp_path / "book/_static")
    shutil.copytree(ROOT / "book/teaching", tmp_path / "book/teaching")
    page = read(BOOK.published("targets"))
    prose = [cell for cell in page.cells if cell.cell_type == "markdown"]
    page.cells = [cell for cell in prose if "Learning objectives" in cell.source or "(sec-" in cell.source]
    for cell in page.cells:  # nothing but what is counted
        kept = ("(sec-", "#", ":::", "1.", "2.", "3.", "4.", "5.")
        cell.source = "\n".join(line for line in cell.source.splitlines() if line.startswith(kept))
    page.metadata.pop("diffnotes", None)
    made = {"chapters": page, "exercises": without(read(tree / "book/exercises/targets.ipynb"), "objective 5")}
    for folder, notebook in made.items():
        (tmp_path / "book" / folder).mkdir()
        nbformat.write(notebook, tmp_path / "book" / folder / "targets.ipynb")
    (tmp_path / "book/index.md").write_text("# Coverage\n\n```{coverage}\n```\n")
    toc = {"format": "jb-book", "root": "book/index", "chapters": [{"file": "book/chapters/targets"}]}
    (tmp_path / "_toc.yml").write_text(yaml.safe_dump(toc))
    with pytest.raises(PressError, match="targets-5 has no exercise"):
        render(tmp_path, tmp_path / "work")
