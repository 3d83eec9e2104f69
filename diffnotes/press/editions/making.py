"""PDF and EPUB: the pages of the site, through other builders, checked, and put in place whole."""

from __future__ import annotations

import datetime
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from .. import exercises
from ..errors import PressError
from ..files import at_work, lock, require_room, write_whole
from ..layout import Project
from ..page import read
from ..processes import environment, interruptible, workspace
from ..provenance import record
from ..site import assemble, check, choose, fingerprint, remove, render
from .checking import epub_faults, log_faults

__all__ = ["FORMATS", "bound", "editions", "typeset"]

FORMATS = ("pdf", "epub")
LIMIT = 1500  # seconds that LaTeX may take


def editions(
    formats: Iterable[str], pages: str, root: Path, *, say: Callable[[str], None] = print
) -> list[Path]:
    """Make ``_build/diffnotes.pdf`` and ``_build/diffnotes.epub`` and return the paths of those in ``formats``.

    Args:
        formats: of :data:`FORMATS`.
        pages: "latest", the best page of each chapter run here or published, or "committed".
        root: the folder of the book.
        say: is told what is done.

    Raises:
        PressError: what :func:`diffnotes.press.site.build` refuses, LaTeX or a browser that is missing, and what is
            wrong with what was made. The old files are still there.
    """
    if unknown := sorted(set(formats) - set(FORMATS)):
        raise PressError(f"formats = {unknown[0]!r}; allowed: {', '.join(FORMATS)}", 2)
    project = Project(Path(root).resolve())
    folder = project.root / "_build"
    source, work, made = folder / "editions-source", folder / "editions-work", []
    require_room(folder, "the PDF and the EPUB")
    waiting = "editions: another build is at work; waiting for that"
    with interruptible(), at_work(project.root), lock(source, lambda: say(waiting)):
        chosen = choose(project, pages)
        inputs = fingerprint(project, chosen)
        taken = assemble(project, chosen, source)
        if fingerprint(project, taken, source) != inputs:
            raise PressError("a page or the prose was changed while the build took it; build again")
        check(project, chosen, taken)
        exercises.add_pages(project, source)
        dates = [record(read(page)).get("date", "") for page in taken.values()]
        make = {"pdf": typeset, "epub": bound}
        for kind in (kind for kind in FORMATS if kind in formats):
            target = folder / f"diffnotes.{kind}"
            say(f"{kind}: building {len(chosen)} chapters and the pages around them")
            write_whole(target, make[kind](source, work, when=_seconds(dates)).read_bytes())
            made.append(target)
            say(f"{kind}: {target}")
        remove(work)
        remove(source)
    return made


def _seconds(dates: Iterable[str]) -> int:
    """The newest of the ``dates`` in seconds: the time that a file carries is that of its pages."""
    newest = max(dates, default="")
    return int(datetime.datetime.fromisoformat(newest).timestamp()) if newest else 0


def bound(source: Path, work: Path, *, when: int = 0) -> Path:
    """The EPUB of the tree ``source``, built below ``work``. PressError if it breaks the rules of an EPUB."""
    made = render(source, work, "epub", SOURCE_DATE_EPOCH=str(when)) / "diffnotes.epub"
    if problems := epub_faults(made):
        raise PressError("the EPUB has faults:\n  " + "\n  ".join(problems))
    return made


def typeset(source: Path, work: Path, *, when: int = 0) -> Path:
    """The PDF of the tree ``source``, built below ``work``.

    Raises:
        PressError: where LaTeX is missing or fails, and for signs that no font has, references that lead nowhere, and
            lines that are too long.
    """
    if shutil.which("latexmk") is None or shutil.which("xelatex") is None:
        raise PressError("the PDF needs LaTeX (xelatex and latexmk), and it is not there: `.ci/system-packages print`")
    folder = render(source, work, "latex", SOURCE_DATE_EPOCH=str(when))
    command = ["latexmk", "-xelatex", "-interaction=nonstopmode", "-halt-on-error", "-file-line-error", "diffnotes.tex"]
    with workspace() as private:
        settings = environment(private, SOURCE_DATE_EPOCH=str(when), FORCE_SOURCE_DATE="1", max_print_line="1000")
        try:
            done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, timeout=LIMIT, check=False)
        except subprocess.TimeoutExpired as error:
            raise PressError(f"LaTeX did not end within {LIMIT} seconds") from error
    log = folder / "diffnotes.log"
    said = log.read_text(encoding="utf8", errors="replace") if log.is_file() else ""
    if done.returncode:
        lines = re.findall(r"^(?:!|\./\S+?:\d+:) .*(?:\n.*){0,2}", said, re.M)
        text = "\n".join(lines[:3]) or done.stdout.decode(errors="replace")[-600:]
        raise PressError(f"LaTeX reports:\n  {text}")
    if problems := log_faults(said):
        raise PressError("the PDF has faults:\n  " + "\n  ".join(problems))
    return folder / "diffnotes.pdf"
