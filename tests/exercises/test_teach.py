"""The editions for a course: nothing of a solution is in the students', everything is in the teachers'."""

import json
import re

import nbformat
import pytest

from diffnotes.press import exercises
from diffnotes.press.errors import PressError
from diffnotes.press.layout import Project
from diffnotes.press.teach.editions import dress, edition

PROJECT = Project.find()


def secrets():
    """Lines of solutions that are long enough to be told from other text, of chapters and exercises."""
    pairs = [(PROJECT.source(name), exercises.without_solutions) for name in PROJECT.chapters()]
    pairs += [(path, exercises.student) for path in exercises.files(PROJECT).values()]
    sources = [(nbformat.read(path, 4), cut) for path, cut in pairs]
    kept = "\n".join(cell.source for notebook, cut in sources for cell in cut(notebook).cells)
    lines = {line.removesuffix("  # SOLUTION").removeprefix("    return").strip()
             for notebook, _ in sources for cell in notebook.cells for line in cell.source.splitlines()}  # fmt: skip
    return sorted(line for line in lines if len(line) > 25 and line not in kept and "{solution-" not in line)


@pytest.fixture(scope="module")
def handed_out(tmp_path_factory):
    return edition(PROJECT, "student", tmp_path_factory.mktemp("teach") / "student", "committed")


def words(text):
    """Letters and digits alone: what is left of a sentence whatever marks it up."""
    return re.sub(r"\W+", "", text)


def test_there_are_solutions_to_hide():
    assert len(secrets()) > 100


def test_nothing_of_a_solution_is_in_the_bytes_of_the_students_edition(handed_out):
    hidden = {line: words(line).encode() for line in secrets()}
    for path in sorted(handed_out.rglob("*")):
        if path.is_file() and path.suffix in (".html", ".ipynb", ".js", ".json", ".md", ".txt", ".inv", ".xml"):
            text = path.read_bytes()
            plain = words(text.decode("utf-8", "replace").replace("\\n", " ")).encode()
            for line, bare in hidden.items():
                assert line.encode() not in text, f"{path}: {line}"
                assert len(bare) < 20 or bare not in plain, f"{path}: {line}"


def test_the_students_edition_has_all_notebooks_and_pages(handed_out):
    names = PROJECT.chapters()
    for name in names:
        assert (handed_out / "notebooks" / f"{name}.ipynb").is_file()
        assert (handed_out / "site" / "book" / "chapters" / f"{name}.html").is_file()
    for name in exercises.files(PROJECT):
        notebook = nbformat.read(handed_out / "notebooks" / "exercises" / f"{name}.ipynb", 4)
        nbformat.validate(notebook)
        assert notebook.metadata["diffnotes"] == {"exercises": name}
        assert (handed_out / "site" / "book" / "exercises" / f"{name}.html").is_file()
    assert "jupyter lab notebooks" in (handed_out / "README.md").read_text()
    site = json.loads((handed_out / "site" / "provenance.json").read_text())
    assert set(site["pages"]) == set(names)


def test_exercises_stay_where_their_solutions_go(handed_out):
    for name in PROJECT.chapters():
        source, given = PROJECT.source(name).read_text(), (handed_out / "notebooks" / f"{name}.ipynb").read_text()
        assert source.count("{exercise-start}") == given.count("{exercise-start}") > 0
        assert source.count("{solution-start}") > 0 == given.count("{solution-start}")


def test_teachers_have_all_solutions(tmp_path):
    (tmp_path / "_toc.yml").write_text((PROJECT.root / "_toc.yml").read_text())
    dress(PROJECT, tmp_path, "instructor", {})
    for name, path in exercises.files(PROJECT).items():
        page = nbformat.read(tmp_path / "book" / "exercises" / f"{name}.ipynb", 4)
        del page.cells[1]  # how to open it
        assert [cell.source for cell in page.cells] == [cell.source for cell in nbformat.read(path, 4).cells]
    toc = (tmp_path / "_toc.yml").read_text()
    assert toc.index("book/chapters/gradients") < toc.index("caption: Exercises") < toc.index("caption: Back matter")


def test_a_folder_with_something_else_is_not_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(PressError, match="no edition"):
        edition(PROJECT, "student", tmp_path)
    with pytest.raises(PressError, match="allowed: student, instructor"):
        edition(PROJECT, "parents")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("code, given", [
    ("x = 3  # SOLUTION", "x = ..."),
    ("    return x + 1  # SOLUTION", "    return ..."),
    ("a, b = f(1), 2  # SOLUTION", "a, b = ..."),
    ("def f():\n    # BEGIN SOLUTION\n    y = 1\n    return y\n    # END SOLUTION\n\n\nz = 1",
     "def f():\n    ...\n\n\nz = 1"),
    ("# BEGIN SOLUTION\ny = 1\n# END SOLUTION\nx = y  # SOLUTION", "x = ..."),
    ("x = 3", "x = 3"),
])  # fmt: skip
def test_solutions_become_dots(code, given):
    assert exercises.blank(code) == given


@pytest.mark.parametrize("code, said", [
    ("# BEGIN SOLUTION\nx = 1", "without # END"), ("x = 1\n# END SOLUTION", "without # BEGIN"),
    ("# BEGIN SOLUTION\n# BEGIN SOLUTION\n# END SOLUTION", "twice"), ("print(3)  # SOLUTION", "allowed before"),
])  # fmt: skip
def test_marks_that_do_not_fit_are_told(code, said):
    with pytest.raises(PressError, match=re.escape(said)):
        exercises.blank(code)


def staged(head, *cells, tags=("solution",)):
    new = nbformat.v4
    made = [new.new_markdown_cell(head), *(new.new_code_cell(code) for code in cells)]
    return new.new_notebook(cells=[*made, new.new_markdown_cell("why", metadata={"tags": list(tags)})])


HEAD = "## 1. Title\n\n*Derive · objectives 1 and 2 · 10 minutes*\n\n:::{admonition} Hint\nThink.\n:::"
CODE = ("x = 1  # SOLUTION", 'check("targets.one", x)')


def test_a_task_is_read_from_its_cells():
    (task,) = exercises.tasks(staged(HEAD, *CODE), "targets")
    assert (task.number, task.title, task.level, task.objectives, task.minutes) == (1, "Title", "Derive", (1, 2), 10)
    assert (task.name, task.answer) == ("targets.one", "x")


@pytest.mark.parametrize("notebook, said", [
    (staged("# Title"), "no exercise"),
    (staged(HEAD.replace("## 1", "## 2"), *CODE), "its number is 2; it should be 1"),
    (staged(HEAD.replace("Derive", "Guess"), *CODE), "one of Understand, Derive, Build"),
    (staged(HEAD.replace(" · 10 minutes", ""), *CODE), "lacks its line"),
    (staged(HEAD.replace("Hint", "Help"), *CODE), "lacks a hint"),
    (staged(HEAD, CODE[0]), "it checks nothing"),
    (staged(HEAD, *CODE, 'check("targets.two", x)'), "targets.one, targets.two"),
    (staged(HEAD, CODE[0], 'check("collapse.one", x)'), "allowed: one"),
    (staged(HEAD, "x = 1", CODE[1]), "no line of it is marked"),
    (staged(HEAD, *CODE, tags=()), "lacks a Markdown cell with the tag solution"),
])  # fmt: skip
def test_exercises_that_are_not_as_they_should_be_are_told(notebook, said):
    with pytest.raises(PressError, match=re.escape(said)):
        exercises.tasks(notebook, "targets")
