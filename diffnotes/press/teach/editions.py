"""The book for a course, twice from one source: for students without a solution, for teachers with all of them.

An edition is a folder with ``notebooks/`` (the chapters, and their exercises in ``notebooks/exercises/``), ``site/``,
and a ``README.md`` that says how to begin. It needs the package, and no repository.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from .. import exercises
from ..errors import PressError
from ..files import at_work, lock, read_yaml, require_room
from ..layout import INSTRUCTOR, Project
from ..page import read
from ..processes import interruptible
from ..site import assemble, check, choose, fingerprint, remove, render, scan, seal

__all__ = ["KINDS", "edition"]

KINDS = ("student", "instructor")
PART = "For teachers"
README = "README.md"
TITLE = "# diffnotes: {kind} edition\n"
WORDS = {
    "student": """
Open `site/index.html` in a browser to read the book. To work on it by hand, with the package installed:

    jupyter lab notebooks

`notebooks/exercises/` has a notebook of exercises for each chapter. Put your answers where the three dots are; the cell
below each says whether an answer is right, and if it is not, often why. Hand in the notebook itself, saved.
""",
    "instructor": """
This edition holds all solutions. Open `site/index.html` in a browser to read the book, and `notebooks/exercises/` in
JupyterLab to work through the exercises as your students will. Its part "For teachers" has answers to the questions of
the guide, the marking schemes, and an exam with solutions.

`diffnotes teach student` writes the edition to hand out, `diffnotes grade FOLDER` marks what comes back.
""",
}


def edition(project: Project, kind: str, folder: Path | None = None, pages: str = "latest",
            say: Callable[[str], None] = print) -> Path:  # fmt: skip
    """Write an edition, whole or not at all, and return its folder.

    Args:
        project: the book.
        kind: one of :data:`KINDS`.
        folder: where to; by default ``_build/teach/KIND``. An edition that lies there is replaced.
        pages: "latest", the best page of each chapter run here or published, or "committed".
        say: is told what is done.

    Raises:
        PressError: for a folder that holds something else, and whatever a build of the site refuses.
    """
    if kind not in KINDS:
        raise PressError(f"kind = {kind!r}; allowed: {', '.join(KINDS)}", 2)
    place = project.root / "_build"
    target = (folder or place / "teach" / kind).resolve()
    _require_place(project, target)
    source, work = place / "teach-source", place / "teach-work"
    require_room(place, "an edition")
    require_room(target.parent, "an edition")
    with interruptible(), at_work(project.root), lock(source, lambda: say("another edition is made; waiting for that")):
        chosen = choose(project, pages)
        taken = assemble(project, chosen, source)
        check(project, chosen, taken)
        inputs = fingerprint(project, chosen)
        dress(project, source, kind, taken)
        say(f"{kind} edition: building {len(taken)} chapters and the pages around them")
        site = render(source, work)
        if problems := scan(site):
            raise PressError("the site has faults:\n  " + "\n  ".join(problems))
        seal(site, taken, inputs)
        with _beside(target) as new:
            _notebooks(project, new / "notebooks", kind, chosen)
            (new / README).write_text(TITLE.format(kind=kind) + WORDS[kind], encoding="utf-8")
            shutil.move(site, new / "site")  # perhaps to another disk
        remove(work)
        remove(source)
    say(f"{kind} edition: {target}")
    return target


def _require_place(project: Project, target: Path) -> None:
    """PressError unless an edition may be put at ``target``, and nothing else is lost by it."""
    if target.exists() and not target.is_dir():
        raise PressError(f"{target} is a file; an edition is a folder", 2)
    if target.exists() and any(target.iterdir()) and not _is_edition(target):
        raise PressError(f"{target} holds something that is no edition; choose another folder, or remove it by hand", 2)
    own = project.root / "_build" / "teach"
    if target.is_relative_to(project.root) and (target == own or not target.is_relative_to(own)):
        raise PressError(f"{target} lies in the book, which is made from what is there; choose a folder outside of it, "
                         f"or below {own}", 2)  # fmt: skip


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A new folder on the disk of ``target``, which it replaces in the end; if there is an error, nothing is left."""
    target.parent.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    new, old = hidden / "new", hidden / "old"
    try:
        new.mkdir()
        yield new
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except BaseException:
            if old.exists():
                old.rename(target)
            raise
    finally:
        remove(hidden)


def _is_edition(folder: Path) -> bool:
    try:
        return any((folder / README).read_text(encoding="utf-8").startswith(TITLE.format(kind=kind)) for kind in KINDS)
    except OSError:
        return False


def dress(project: Project, source: Path, kind: str, taken: dict[str, Path]) -> None:
    """Make the tree ``source`` that of an edition: chapters without solutions, or exercises and pages with them."""
    exercises.add_pages(project, source, solutions=kind == "instructor")
    if kind == "instructor":
        _for_teachers(project, source)
    for path in taken.values() if kind == "student" else ():
        _write(path, exercises.without_solutions(read(path)))


def _for_teachers(project: Project, source: Path) -> None:
    """Add the pages that teachers alone see to the tree ``source``, in a part of their own after the public guide."""
    if not (pages := sorted((project.root / INSTRUCTOR).glob("*.md"))):
        return
    (source / INSTRUCTOR).mkdir(parents=True, exist_ok=True)
    for page in pages:
        shutil.copyfile(page, source / INSTRUCTOR / page.name)
    toc = read_yaml(source / "_toc.yml")
    entries = [{"file": f"{INSTRUCTOR}/{page.stem}"} for page in pages]
    place = next((i for i, part in enumerate(toc["parts"], 1) if "book/teaching/" in str(part)), len(toc["parts"]))
    toc["parts"].insert(place, {"caption": PART, "chapters": entries})
    (source / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _write(path: Path, notebook: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _notebooks(project: Project, folder: Path, kind: str, chosen: dict[str, Path]) -> None:
    """The notebooks of an edition: without outputs, with prose that needs no book around it."""
    from ..alone import alone, glued, sources

    cited = sources(project.root / "book" / "references.bib")
    table = project.root / "book" / "notation.yml"
    macros = (read_yaml(table) or {}).get("macros") if table.is_file() else None
    for name, page in chosen.items():
        notebook = read(project.source(name))
        notebook = exercises.without_solutions(notebook) if kind == "student" else notebook
        _write(folder / f"{name}.ipynb", alone(notebook, glued(read(page)), cited, macros))
    for name, path in exercises.files(project).items():
        notebook = exercises.student(read(path)) if kind == "student" else read(path)
        notebook.metadata["diffnotes"] = {"exercises": name}
        _write(folder / "exercises" / f"{name}.ipynb", alone(notebook, {}, cited, macros))
