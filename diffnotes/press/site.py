"""The site: executed pages in, a directory that opens from disk out.

:func:`build` assembles a source tree from the prose, the configuration and the best executed page of each chapter,
lets the gates look at the pages, builds everything in an empty directory with warnings as errors, scans the HTML, and
only then replaces the site. If no input changed since the site was made it does nothing. It never runs a notebook.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from html.parser import HTMLParser
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .errors import PressError
from .files import lock, require_room
from .layout import CHAPTERS, PUBLISHED, Project
from .processes import Owned, environment, interruptible, workspace

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
    with interruptible(), lock(target, lambda: say("site: another build is at work; waiting for that")):
        recover(target)
        chosen = choose(project, pages)
        inputs = fingerprint(project, chosen)
        if not force and intact(target) and json.loads((target / RECORDS).read_text())["inputs"] == inputs:
            say(f"site: nothing changed since it was built, see {target / 'index.html'}")
            return target
        assemble(project, chosen, source)
        check(project, chosen)
        say(f"site: building {len(chosen)} chapter{'s' * (len(chosen) != 1)} and the pages around them")
        site = render(source, work)
        if problems := scan(site):
            raise PressError("the site has faults:\n  " + "\n  ".join(problems))
        seal(site, chosen, inputs)
        replace(target, site)
        shutil.rmtree(work)
    say(f"site: {target / 'index.html'}")
    return target


def _aside(target: Path) -> Path:
    return target.with_name(f"{target.name}.old")


def replace(target: Path, new: Path) -> None:
    """Put the folder ``new`` in the place of ``target``; if that is cut short, :func:`recover` mends it."""
    try:
        if target.exists():
            target.rename(_aside(target))
        new.rename(target)
    finally:
        recover(target)


def recover(target: Path) -> None:
    """Bring back the folder that a killed :func:`replace` had put aside, or clear it away where the new one is in."""
    if _aside(target).exists():
        if target.exists():
            shutil.rmtree(_aside(target))
        else:
            _aside(target).rename(target)


def choose(project: Project, pages: str) -> dict[str, Path]:
    """The page of each chapter that the site shows. PressError naming the command for chapters that have none."""
    found = {
        name: project.latest(name) if pages == "latest" else project.published(name) for name in project.chapters()
    }
    usable = {name: page for name, page in found.items() if page and page.is_file() and page.parent.name != "smoke"}
    if missing := [name for name in found if name not in usable]:
        verb = "run" if pages == "latest" else "publish"
        raise PressError(f"no {pages} page of {', '.join(missing)}: first `diffnotes {verb} {' '.join(missing)}`")
    return usable


def check(project: Project, chosen: dict[str, Path]) -> None:
    """Let the gates look at the chosen pages. PressError listing what they refuse."""
    from . import gates
    from .page import read
    from .provenance import faults

    pages = {name: read(path) for name, path in chosen.items()}
    problems = list(map(str, gates.check_across(pages)))
    for name, page in pages.items():
        place = PUBLISHED if chosen[name] == project.published(name) else chosen[name].parent.name
        problems += [f"{name}: {fault}" for fault in faults(page, name, place)]
        problems += map(str, gates.check_page(page, read(project.source(name)), name, project))
    if problems:
        raise PressError("the gates refuse:\n  " + "\n  ".join(problems))


def fingerprint(project: Project, chosen: dict[str, Path]) -> str:
    """SHA-256 over everything the site is made of: prose, pages and whether they are fresh, the press, the builder."""
    from .page import read
    from .provenance import freshness

    digest = hashlib.sha256()
    prose = [path for name in PROSE for path in _files(project.root / name)]
    press = [path for path in _files(Path(__file__).parent) if path.suffix in (".py", ".toml")]
    for path in [p for p in prose if p.parent != project.root / CHAPTERS] + press + list(chosen.values()):
        digest.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    for name, page in chosen.items():
        digest.update(f"{name}\0{freshness(read(page), project, name)}\n".encode())
    for name in BUILDERS:
        digest.update(f"{name}\0{metadata.version(name)}\n".encode())
    return digest.hexdigest()


def assemble(project: Project, chosen: dict[str, Path], source: Path) -> None:
    """Make ``source`` a tree that ``jupyter-book build`` takes: the prose and the chosen page of each chapter."""
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copyfile(project.root / name, source / name)
    shutil.copytree(project.root / "book", source / "book", ignore=shutil.ignore_patterns(".*", "chapters"))
    (source / CHAPTERS).mkdir()
    for name, page in chosen.items():
        shutil.copyfile(page, source / CHAPTERS / f"{name}.ipynb")


def render(source: Path, work: Path) -> Path:
    """Build the tree ``source`` below the empty directory ``work`` and return the directory of the HTML.

    The directory must be empty: a second build in the same place skips the pages that were faulty, and is green.

    Raises:
        PressError: with the warnings, if there are any.
    """
    shutil.rmtree(work, ignore_errors=True)
    command = ["-c", "from jupyter_book.cli.main import main; main()", "build", str(source)]
    options = ["--path-output", str(work), "-W", "-n", "--keep-going", "--quiet"]
    with workspace() as private:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with Owned([*command, *options], private, environment(private), **streams) as builder:
            said = builder.process.stdout.read()
        status = builder.process.returncode
    if status:
        text = re.sub(r"\x1b\[[0-9;]*m", "", said)
        lines = [line for line in text.splitlines() if re.search(r"WARNING|ERROR|error", line)] or text.splitlines()
        raise PressError("the builder reports:\n  " + "\n  ".join(lines).replace(str(source) + "/", ""))
    return work / "_build" / "html"


LOADS = {name: "src" for name in ("script", "img", "iframe", "source", "video", "audio", "embed")} | {"object": "data"}
LINKS = {"stylesheet", "icon", "preload", "modulepreload", "preconnect", "dns-prefetch", "manifest"}


class _Page(HTMLParser):
    """What a page of HTML defines and needs: anchors, links, things it loads, and faults of its images."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.faults: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.anchors.update(given[key] for key in ("id", "name") if key in given)
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        elif tag == "link" and LINKS & set(given.get("rel", "").split()):
            self.loads.add(given.get("href", ""))
        elif source := given.get(LOADS.get(tag, ""), ""):
            self.loads.add(source)
        if tag == "img":
            alt = given.get("alt", "").strip()
            if not alt:
                self.faults.append(f"image without alternative text: {given.get('src', '')[:80]}")
            elif re.search(r"\.(png|svg|jpe?g|gif|webp)$", alt):
                self.faults.append(f"alternative text is a file name: {alt}")
        if "style" in given:
            self.faults += _remote_css(given["style"])


def _remote(address: str) -> bool:
    return bool(re.match(r"(?:https?:)?//", address.strip()))


def _remote_css(text: str) -> list[str]:
    plain = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    found = re.findall(r"""url\(\s*["']?((?:https?:)?//[^)"']+)|@import\s+["']((?:https?:)?//[^"']+)""", plain)
    return [f"style loads from the network: {a or b}" for a, b in found]


def scan(site: Path) -> list[str]:
    """What would keep the site below ``site`` from working on a disk without a network, or unseen; [] if nothing.

    Scripts, styles, fonts, frames and images from elsewhere; missing or empty alternative text, or a file name in its
    place; files and anchors that are linked and do not exist.
    """
    pages = {path.resolve(): _Page(path.read_text(encoding="utf8")) for path in sorted(site.rglob("*.html"))}
    problems: list[str] = []
    for css in sorted(site.rglob("*.css")):
        problems += [f"{css.relative_to(site)}: {fault}" for fault in _remote_css(css.read_text(encoding="utf8"))]
    for path, page in pages.items():
        where = path.relative_to(site.resolve()).as_posix()
        problems += [f"{where}: {fault}" for fault in page.faults]
        problems += [
            f"{where}: loads from the network: {address}" for address in sorted(page.loads) if _remote(address)
        ]
        for address in sorted(page.links | page.loads):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc or not (parts.path or parts.fragment):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            fragment = unquote(parts.fragment)
            if not target.is_file():
                problems.append(f"{where}: link to a file that is not there: {address}")
            elif fragment and target in pages and fragment not in pages[target].anchors:
                problems.append(f"{where}: link to an anchor that is not there: {address}")
    return problems


def seal(site: Path, chosen: dict[str, Path], inputs: str) -> None:
    """Write the records of all pages and the SHA-256 of every file into the site."""
    from .page import read

    records = {name: read(page).metadata.get("diffnotes", {}).get("provenance") for name, page in chosen.items()}
    text = json.dumps({"inputs": inputs, "diffnotes": metadata.version("diffnotes"), "pages": records}, indent=1)
    (site / RECORDS).write_text(text + "\n", encoding="utf8")
    (site / ".nojekyll").touch()
    (site / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in _sums(site)), encoding="utf8")


def intact(site: Path) -> bool:
    """Whether ``site`` is sealed and each of its files is as it was then."""
    sums = site / SUMS
    return sums.is_file() and sums.read_text(encoding="utf8") == "".join(f"{d}  {n}\n" for n, d in _sums(site))


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    return sorted(
        p for p in place.rglob("*") if p.is_file() and not any(s.startswith((".", "__")) for s in p.parts[-3:])
    )


def _sums(site: Path) -> Iterable[tuple[str, str]]:
    for path in sorted(p for p in site.rglob("*") if p.is_file() and p.name != SUMS):
        yield path.relative_to(site).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()
