"""The editions for a course: nothing of a solution is in the students', everything is in the teachers'."""

import json
import os
import re
import tempfile
from pathlib import Path

import nbformat
import pytest

from diffnotes.press import exercises
from diffnotes.press.errors import PressError
from diffnotes.press.layout import INSTRUCTOR, Project
from diffnotes.press.page import read
from diffnotes.press.provenance import record
from diffnotes.press.teach import editions
from diffnotes.press.teach.editions import dress, edition

PROJECT = Project.find()


GATED = re.compile(r"\{solution-start\}.*?\{solution-end\}", re.S)
MARKED = re.compile(r"# BEGIN SOLUTION\n.*?# END SOLUTION|^[^\n]*# SOLUTION$", re.S | re.M)


def solutions(path):
    """The text of the solutions in a notebook and that of the rest, read without the code that takes them out."""
    cells = nbformat.read(path, 4).cells
    tagged = [cell.source for cell in cells if "solution" in cell.metadata.get("tags", [])]
    whole = "\n".join(cell.source for cell in cells if "solution" not in cell.metadata.get("tags", []))
    cut = re.compile(f"{GATED.pattern}|{MARKED.pattern}", re.S | re.M)
    return "\n".join([*tagged, *cut.findall(whole)]), cut.sub("", whole)


def secrets():
    """Lines of solutions that are long enough to be told from other text, of chapters and exercises."""
    paths = [*map(PROJECT.source, PROJECT.chapters()), *exercises.files(PROJECT).values()]
    hidden, kept = ("\n".join(texts) for texts in zip(*map(solutions, paths)))
    lines = {line.removesuffix("# SOLUTION").strip().removeprefix("return").strip() for line in hidden.splitlines()}
    told = {line for line in lines if len(line) > 25 and line not in kept and "solution-" not in line}
    alone = (path.read_text(encoding="utf-8") for path in (PROJECT.root / INSTRUCTOR).glob("*.md"))
    pages = {line.strip() for text in alone for line in text.splitlines() if not line.startswith("#")}
    return sorted(told | {line for line in pages if len(line) > 40})


@pytest.fixture(scope="module")
def handed_out(tmp_path_factory):
    return edition(PROJECT, "student", tmp_path_factory.mktemp("teach") / "student", "committed")


def words(text):
    """Letters and digits alone: what is left of a sentence whatever marks it up."""
    return re.sub(r"\W+", "", text)


def test_there_are_solutions_to_hide():
    for name in PROJECT.chapters():
        assert len(solutions(PROJECT.source(name))[0]) > 1000
    for path in exercises.files(PROJECT).values():
        assert len(solutions(path)[0]) > 1000
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
    order = ["book/chapters/images", "book/diagnose", "caption: Exercises", "book/exercises/images", "caption: Teach"]
    assert sorted(order, key=toc.index) == order
    assert toc.index("book/teaching/guide") < toc.index("caption: For teachers") < toc.index("caption: Back matter")
    for page in ("answers", "exam"):
        assert f"{INSTRUCTOR}/{page}" in toc and (tmp_path / INSTRUCTOR / f"{page}.md").is_file()


def test_the_teachers_edition_has_answers_and_the_exam(tmp_path):
    made = edition(PROJECT, "instructor", tmp_path / "instructor", "committed")
    place = made / "site" / "book" / "teaching" / "instructor"
    assert "Solutions with partial credit" in (place / "exam.html").read_text(encoding="utf-8")
    assert "Marking the projects" in (place / "answers.html").read_text(encoding="utf-8")
    contents = (made / "site" / "book" / "index.html").read_text(encoding="utf-8")
    assert "For teachers" in contents and "teaching/instructor/exam.html" in contents


def test_a_folder_with_something_else_is_not_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(PressError, match="no edition"):
        edition(PROJECT, "student", tmp_path)
    with pytest.raises(PressError, match="allowed: student, instructor"):
        edition(PROJECT, "parents")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.fixture
def quickly(monkeypatch, tmp_path):
    """Editions in no time: the site is one page, which lies on the disk of the book."""
    book = tmp_path / "disk" / "book"
    book.mkdir(parents=True)

    def rendered(*_):
        site = book / "_build" / "rendered"
        site.mkdir(parents=True)
        (site / "index.html").write_text("a page")
        return site

    for name in ("choose", "assemble", "fingerprint", "check", "dress", "seal", "_notebooks"):
        monkeypatch.setattr(editions, name, lambda *_: {})
    monkeypatch.setattr(editions, "scan", lambda _: [])
    monkeypatch.setattr(editions, "render", rendered)
    return Project(book)


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


WHOLE = ["README.md", "site", "site/index.html"]


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs a second disk")
def test_an_edition_may_lie_on_another_disk(quickly):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        assert os.stat(other).st_dev != os.stat(quickly.root).st_dev
        assert everything(edition(quickly, "student", Path(other) / "new" / "folder")) == WHOLE
        assert everything(Path(other)) == ["new", "new/folder", *(f"new/folder/{name}" for name in WHOLE)]


def test_an_edition_replaces_its_forerunner_and_nothing_beside_it(quickly, tmp_path):
    for name in ("course.old", "course.new", ".course.new"):
        (tmp_path / "to" / name).mkdir(parents=True)
        (tmp_path / "to" / name / "thesis.tex").write_text("mine")
    for kind in editions.KINDS:
        assert everything(edition(quickly, kind, tmp_path / "to" / "course")) == WHOLE
        assert (tmp_path / "to" / "course" / "README.md").read_text().startswith(f"# diffnotes: {kind}")
    assert len(list((tmp_path / "to").rglob("thesis.tex"))) == 3 and len(list((tmp_path / "to").iterdir())) == 4


@pytest.mark.parametrize("when", ["scan", "seal", "_notebooks", "rename"])
def test_what_fails_leaves_the_old_edition_and_nothing_else(quickly, tmp_path, monkeypatch, when):
    target = edition(quickly, "student", tmp_path / "to" / "course")

    def fail(*_):
        raise OSError("no")

    if when == "rename":
        true = Path.rename
        monkeypatch.setattr(Path, "rename", lambda one, to: fail() if one.name == "new" else true(one, to))
    else:
        monkeypatch.setattr(editions, when, fail)
    editions.remove(quickly.root / "_build" / "rendered")
    with pytest.raises(OSError, match="no"):
        edition(quickly, "instructor", target)
    assert everything(target) == WHOLE and list(target.parent.iterdir()) == [target]
    assert (target / "README.md").read_text().startswith("# diffnotes: student")


def test_places_where_no_edition_belongs_are_refused_before_anything_is_built(quickly, tmp_path):
    (tmp_path / "file").write_text("mine")
    for place, said in (
        (tmp_path / "file", "is a file"), (tmp_path / "file" / "below", "a file, and should be a folder"),
        (quickly.root / "book" / "course", "lies in the book"), (quickly.root / "_build" / "site", "lies in the book"),
        (quickly.root / "_build" / "teach-source", "lies in the book"),
        (quickly.root / "_build" / "teach", "lies in the book"), (quickly.root.parent, "no edition"),
    ):  # fmt: skip
        with pytest.raises(PressError, match=said):
            edition(quickly, "student", place)
    assert everything(tmp_path) == ["disk", "disk/book", "file"]
    assert edition(quickly, "student") == quickly.root / "_build" / "teach" / "student"


def test_a_link_is_followed_and_stays(quickly, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert everything(edition(quickly, "student", tmp_path / "link")) == WHOLE
    assert (tmp_path / "link").is_symlink() and everything(tmp_path / "real") == WHOLE


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


# --- a class of students with small machines ---------------------------------------------------------------------


@pytest.mark.parametrize("name", PROJECT.chapters())
def test_a_chapter_runs_in_under_a_minute_and_four_gigabytes_with_its_networks_at_hand(name):
    told = record(read(PROJECT.published(name)))
    assert told["profile"] == "cpu" and {one["source"] for one in told["networks"]} <= {"own", "published"}
    assert told["seconds"] < 60 and told["memory_mib"] < 4096
