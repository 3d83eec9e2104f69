"""The site: executed pages in, a directory that opens from disk out.

:func:`build` assembles a source tree from the prose, the configuration and the best executed page of each chapter,
lets the gates look at the pages, builds everything, slides too, in an empty directory with warnings as errors, scans
the HTML, and only then replaces the site. If no input changed since the site was made it does nothing. It never runs a
notebook.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from . import exercises, gates
from .errors import PressError
from .files import at_work, lock, require_room
from .imprint import edition
from .layout import CHAPTERS, INSTRUCTOR, NETWORKS, PUBLISHED, Project
from .lessons import slides
from .networks import published_faults
from .page import read, shared
from .processes import Owned, environment, interruptible, workspace
from .provenance import faults, freshness, latest, record
from .web import Document, script_loads, style_loads

PROSE = ("_config.yml", "_toc.yml", "book")
BUILDERS = (
    "jupyter-book",
    "sphinx",
    "myst-nb",
    "sphinx-book-theme",
    "sphinx-exercise",
    "sphinx-proof",
    "sphinx-design",
)
SUMS, RECORDS = "SHA256SUMS", "provenance.json"


def build(pages: str, root: Path, *, force: bool = False, say: Callable[[str], None] = print) -> Path:
    """Make the site below ``_build/html`` of the project at ``root`` and return its directory.

    ``pages`` is "latest", the best page of each chapter run here or published, or "committed", the published ones only.
    Nothing is done, unless ``force``, if the site was made from the same inputs and is intact.

    Raises:
        PressError: a chapter without a page, a page that a gate refuses, a warning of the builder, or a page of
            the site that would not open from disk. The old site is still there.
    """
    if pages not in ("latest", "committed"):
        raise PressError(f"pages must be 'latest' or 'committed', not {pages!r}", 2)
    project = Project(Path(root).resolve())
    folder = project.root / "_build"
    target, source, work = folder / "html", folder / "site-source", folder / "site-work"
    require_room(folder, "the site")
    waiting = "site: another build is at work; waiting for that"
    with interruptible(), at_work(project.root), lock(target, lambda: say(waiting)):
        recover(target)
        chosen = choose(project, pages)
        inputs = fingerprint(project, chosen)
        if not force and intact(target) and _inputs(target) == inputs:
            say(f"site: nothing changed since it was built, see {target / 'index.html'}")
            return target
        taken = assemble(project, chosen, source)
        if fingerprint(project, taken, source) != inputs:
            raise PressError("a page or the prose was changed while the build took it; build again")
        check(project, chosen, taken)
        exercises.add_pages(project, source)
        for name in chosen:
            if chosen[name] == project.published(name):
                for fault in published_faults(project, record(read(taken[name])).get("networks", [])):
                    say(f"site: note: published networks of {name}: {fault}; they would be trained again")
        say(f"site: building {len(chosen)} chapter{'s' * (len(chosen) != 1)} and the pages around them")
        site = render(source, work)
        if problems := scan(site):
            raise PressError("the site has faults:\n  " + "\n  ".join(problems))
        seal(site, taken, inputs)
        replace(target, site)
        remove(work)
    say(f"site: {target / 'index.html'}")
    return target


def remove(path: Path) -> None:
    """Remove what lies at ``path``, if anything does: a folder with all it holds, of a link the link alone."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _inputs(site: Path) -> str | None:
    """What the site says it was made from; None if that cannot be read."""
    try:
        return json.loads((site / RECORDS).read_text(encoding="utf8"))["inputs"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _aside(target: Path) -> Path:
    return target.with_name(f"{target.name}.old")


def replace(target: Path, new: Path) -> None:
    """Put the folder ``new`` in the place of ``target``; if that is cut short, :func:`recover` mends it."""
    try:
        if os.path.lexists(target):
            target.rename(_aside(target))
        new.rename(target)
    finally:
        recover(target)


def recover(target: Path) -> None:
    """Bring back the folder that a killed :func:`replace` had put aside, or clear it away where the new one is in."""
    if os.path.lexists(_aside(target)):
        if os.path.lexists(target):
            remove(_aside(target))
        else:
            _aside(target).rename(target)


def choose(project: Project, pages: str) -> dict[str, Path]:
    """The page of each chapter that the site shows. PressError naming the command for chapters that have none."""
    found = {
        name: latest(project, name) if pages == "latest" else project.published(name) for name in project.chapters()
    }
    usable = {name: page for name, page in found.items() if page and page.is_file() and page.parent.name != "smoke"}
    if missing := [name for name in found if name not in usable]:
        verb = "run" if pages == "latest" else "publish"
        raise PressError(f"no {pages} page of {', '.join(missing)}: first `diffnotes {verb} {' '.join(missing)}`")
    return usable


def check(project: Project, chosen: dict[str, Path], taken: dict[str, Path] | None = None) -> None:
    """Let the gates look at the chosen pages. PressError listing what they refuse.

    Args:
        project: the book.
        chosen: chapter -> where its page lies.
        taken: chapter -> the copy to look at, if there is one.
    """
    pages = {name: read(path) for name, path in (taken or chosen).items()}
    problems = list(map(str, gates.check_across(pages)))
    for name, page in pages.items():
        place = PUBLISHED if chosen[name] == project.published(name) else chosen[name].parent.name
        problems += [f"{name}: {fault}" for fault in faults(page, name, place)]
        problems += map(str, gates.check_page(page, read(project.source(name)), name, project))
    if problems:
        raise PressError("the gates refuse:\n  " + "\n  ".join(problems))


def fingerprint(project: Project, chosen: dict[str, Path], root: Path | None = None) -> str:
    """SHA-256 over all the site is made of: prose, pages and whether they are fresh, edition, the press, the builder.

    ``root`` is where the prose lies, by default in the book itself.
    """
    digest, root = hashlib.sha256(repr(edition(project.root)).encode()), root or project.root
    own = Path(__file__).parent
    press = [(path, own) for path in _files(own) if path.suffix in (".py", ".toml", ".json")]
    press += [(path, project.root) for path in exercises.files(project).values()]
    for path, above in [(path, root) for path in _prose(root)] + press:
        digest.update(f"{path.relative_to(above).as_posix()}\0{_sha256(path)}\n".encode())
    for name, page in chosen.items():
        digest.update(f"{name}\0{_sha256(page)}\0{freshness(shared(page), project, name)}\n".encode())
    for name in BUILDERS:
        digest.update(f"{name}\0{metadata.version(name)}\n".encode())
    return digest.hexdigest()


def _prose(root: Path) -> list[Path]:
    """The files of the site that are no pages of chapters or of teachers alone, and no networks."""
    made = (root / CHAPTERS, root / NETWORKS, root / INSTRUCTOR)
    return [path for name in PROSE for path in _files(root / name) if path.parent not in made]


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise PressError(f"{path} cannot be read: {error.strerror}") from error


def assemble(project: Project, chosen: dict[str, Path], source: Path) -> dict[str, Path]:
    """Make ``source`` a tree that ``jupyter-book build`` takes, of the prose and the chosen pages; where these lie."""
    remove(source)
    source.mkdir(parents=True)
    for path in _prose(project.root):
        copy = source / path.relative_to(project.root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    (source / CHAPTERS).mkdir(parents=True, exist_ok=True)
    taken = {name: source / CHAPTERS / f"{name}.ipynb" for name in chosen}
    for name, page in chosen.items():
        shutil.copyfile(page, taken[name])
    return taken


def render(source: Path, work: Path, builder: str = "html", **settings: str) -> Path:
    """Build the tree ``source`` below the empty directory ``work`` and return the directory of the HTML.

    The directory must be empty: a second build in the same place skips the pages that were faulty, and is green.

    Args:
        source: the tree.
        work: where to build.
        builder: "html", or another builder of Sphinx, whose directory is returned instead.
        settings: variables of the environment.

    Raises:
        PressError: with the warnings, if there are any, and for a faulty deck of slides.
    """
    made = slides.files(source) if builder == "html" else {}
    remove(work)
    command = ["-c", "from jupyter_book.cli.main import main; main()", "build", str(source)]
    options = ["--path-output", str(work), "-W", "-n", "--keep-going", "--quiet"]
    if builder != "html":
        options += ["--builder", *(["latex"] if builder == "latex" else ["custom", "--custom-builder", builder])]
    with workspace() as private:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with Owned([*command, *options], private, environment(private, **settings), **streams) as child:
            said = child.process.stdout.read()
        status = child.process.returncode
    if status:
        text = re.sub(r"\x1b\[[0-9;]*m", "", said)
        lines = [line for line in text.splitlines() if re.search(r"WARNING|ERROR|error", line)] or text.splitlines()
        raise PressError("the builder reports:\n  " + "\n  ".join(lines).replace(str(source) + "/", ""))
    slides.write(made, work / "_build" / builder)
    return work / "_build" / builder


def _read(path: Path) -> str:
    return path.read_bytes().decode("utf-8", errors="replace")


def _page_faults(page: Document) -> Iterable[str]:
    """What is wrong with a page by itself."""
    for address, alt in page.images:
        if not (alt or "").strip():
            yield f"image without alternative text: {address[:80]}"
        elif re.search(r"\.(png|svg|jpe?g|gif|webp)$", alt.strip(), re.I):
            yield f"alternative text is a file name: {alt.strip()}"
    for name, count in sorted(Counter(page.ids).items()):
        if count > 1:
            yield f"{count} elements have the id {name!r}"
    yield from (f"loads from the network: {address}" for address in sorted(page.remote))
    yield from (f"a link that is none: {address}" for address in sorted(page.unsafe))


def scan(site: Path) -> list[str]:
    """What would keep the site below ``site`` from working on a disk without a network, or unseen; [] if nothing.

    Whatever loads from elsewhere (:mod:`diffnotes.press.web` lists what loads); links that run something; missing or
    empty alternative text, or a file name in its place; ids given twice; files and anchors that are linked and do not
    exist, or lie outside the site; files that cannot be read, and links to files elsewhere.
    """
    site, pages, problems = site.resolve(), {}, []
    for path in sorted(site.rglob("*")):
        where = path.relative_to(site).as_posix()
        if not path.resolve().is_relative_to(site):
            problems.append(f"{where}: a link to a file outside the site")
            continue
        if not path.is_file():
            if not path.is_dir():
                problems.append(f"{where}: neither a file nor a folder")
            continue
        try:
            if path.suffix == ".html":
                pages[path] = Document(_read(path))
            elif path.suffix in (".svg", ".xml", ".xhtml"):
                page = Document(_read(path))
                problems += [f"{where}: loads from the network: {address}" for address in sorted(page.remote)]
                problems += [f"{where}: runs something: {one}" for one in page.active if one.startswith(("<s", "on"))]
            elif path.suffix == ".css":
                problems += [f"{where}: style loads from the network: {one}" for one in style_loads(_read(path))]
            elif path.suffix in (".js", ".mjs"):
                problems += [f"{where}: loads from the network: {one}" for one in script_loads(_read(path))]
        except OSError as error:
            problems.append(f"{where}: cannot be read: {error.strerror}")
    anchors = {path: {*page.ids, *page.names} for path, page in pages.items()}
    for path, page in pages.items():
        where = path.relative_to(site).as_posix()
        problems += [f"{where}: {fault}" for fault in _page_faults(page)]
        for address in sorted({*page.links, *page.loads}):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc or not (parts.path or parts.fragment):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            fragment = unquote(parts.fragment)
            if not target.is_file() or not target.is_relative_to(site):
                problems.append(f"{where}: link to a file that is not there: {address}")
            elif fragment and target in pages and fragment not in anchors[target]:
                problems.append(f"{where}: link to an anchor that is not there: {address}")
    return problems


def seal(site: Path, chosen: dict[str, Path], inputs: str) -> None:
    """Write the records of all pages and the SHA-256 of every file into the site."""
    records = {name: read(page).metadata.get("diffnotes", {}).get("provenance") for name, page in chosen.items()}
    text = json.dumps({"inputs": inputs, "diffnotes": metadata.version("diffnotes"), "pages": records}, indent=1)
    (site / RECORDS).write_text(text + "\n", encoding="utf8")
    (site / ".nojekyll").touch()
    (site / SUMS).write_bytes(_sealing(site))


def intact(site: Path) -> bool:
    """Whether ``site`` is sealed and each of its files is as it was then; what cannot be read is not."""
    try:
        return (site / SUMS).read_bytes() == _sealing(site)
    except OSError:
        return False


def _sealing(site: Path) -> bytes:
    return "".join(f"{digest}  {name}\n" for name, digest in _sums(site)).encode(errors="surrogateescape")


def _files(place: Path, inside: Path | None = None) -> list[Path]:
    """All files of ``place``, but those whose names, or folders' names within it, begin with a dot or two underscores.

    Raises:
        PressError: for a link that leads out of ``inside``, by default the folder of ``place``, or nowhere, and for
            what is no file, such as a link to a folder.
    """
    inside = (inside or place.parent).resolve()
    found = [place] if place.is_file() or place.is_symlink() else sorted(_walk(place))
    for path in found:
        real = path.resolve()
        if not real.is_relative_to(inside) or not real.exists():
            raise PressError(f"{path}: a link to {real}, which is not in the book; put a copy in its place")
        if not path.is_file():
            raise PressError(f"{path}: neither a file nor a folder; take it away, or put a copy in its place")
    return list(found)


def _walk(place: Path) -> Iterable[Path]:
    for path in place.iterdir() if place.is_dir() else ():
        if not path.name.startswith((".", "__")):
            if path.is_dir() and not path.is_symlink():
                yield from _walk(path)
            else:
                yield path


def _sums(site: Path) -> Iterable[tuple[str, str]]:
    """(path, SHA-256) of everything below ``site`` but the sums; of a link, where it leads."""
    for path in sorted(p for p in site.rglob("*") if p.is_symlink() or (not p.is_dir() and p != site / SUMS)):
        if path.is_symlink():
            content = b"link to " + os.fsencode(path.readlink())
        else:
            content = path.read_bytes() if path.is_file() else b"no file"
        yield path.relative_to(site).as_posix(), hashlib.sha256(content).hexdigest()
