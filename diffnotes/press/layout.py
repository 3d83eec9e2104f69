"""Where things are: the project's folders, its chapters, their pages and their settings.

A chapter NAME is an entry ``book/chapters/NAME`` of ``_toc.yml``; its source is ``notebooks/NAME.ipynb``, its pages are
``_build/executed/PROFILE/NAME.ipynb`` (from a run here) and ``book/chapters/NAME.ipynb`` (published).
The parameters cell of the source holds the cpu profile; ``notebooks/profiles.toml`` has a table ``[NAME.PROFILE]``
with what the other profiles change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cells import plain
from .cells import values as assignments
from .errors import PressError
from .files import read_toml, read_yaml, write_whole

__all__ = ["CHAPTERS", "PROFILES", "PUBLISHED", "Project", "assignments", "write_whole"]

PROFILES = ("smoke", "cpu", "gpu")
PUBLISHED = "published"
CHAPTERS = "book/chapters"


@dataclass(frozen=True)
class Project:
    """A book at ``root``; ``package`` is the folder of the package its chapters import."""

    root: Path
    package: Path = Path(__file__).resolve().parents[1]

    @classmethod
    def find(cls, start: str | Path = ".") -> Project:
        """The project at or above the folder ``start``.

        Raises:
            PressError: if there is none, or if it has a package of its own that is not the one at work.
        """
        start = Path(start).resolve()
        for folder in (start, *start.parents):
            if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
                own = folder / cls.package.name
                if (own / "press").is_dir() and own.resolve() != cls.package:
                    raise PressError(f"the book here has the package {own}, but this command belongs to {cls.package}; "
                                     "set up the book's own environment with `make setup` and use that", 2)
                return cls(folder)
        raise PressError(f"no book here: neither {start} nor a folder above it holds _toc.yml and notebooks/", 2)

    def chapters(self) -> list[str]:
        """Names of all chapters, in the order of the table of contents. PressError if that cannot be read."""

        seen: set[int] = set()

        def files(node: Any) -> Iterator[str]:
            if id(node) in seen:  # YAML's aliases may run in a circle
                return
            if isinstance(node, (dict, list)):
                seen.add(id(node))
            if isinstance(node, dict):
                yield from (str(value) for key, value in node.items() if key == "file")
                for entry in (one for key in ("chapters", "sections") for one in _entries(node, key)):
                    if not isinstance(entry, dict) or not entry.keys() & {"file", "url", "glob"}:
                        raise PressError(f"_toc.yml: {entry!r} in a list; allowed: - file: book/chapters/NAME")
            for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
                yield from files(child)

        toc = read_yaml(self.root / "_toc.yml")
        if not isinstance(toc, dict):
            raise PressError("_toc.yml: it does not hold a table with root: and parts:")
        listed = [file.removesuffix(".ipynb") for file in files(toc)]
        names = [Path(file).name for file in listed if Path(file).parent.as_posix() == CHAPTERS]
        if not names:
            raise PressError("_toc.yml lists no chapter; allowed: entries - file: book/chapters/NAME in a part")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise PressError(f"_toc.yml lists the chapter {twice[0]} twice")
        return names

    def choose(self, names: Iterable[str] = ()) -> list[str]:
        """``names``, or all chapters if there are none. PressError for one that is no chapter or has no notebook."""
        known, names = self.chapters(), list(dict.fromkeys(names))
        if unknown := [name for name in names if name not in known]:
            hint = "; a notebook of that name exists, but _toc.yml does not list it"
            hint = hint if self.source(unknown[0]).is_file() else ""
            raise PressError(f"unknown chapter {unknown[0]!r}{hint}; allowed: {', '.join(known) or 'none yet'}", 2)
        names = names or known
        if missing := [name for name in names if not self.source(name).is_file()]:
            listed = ", ".join(f"notebooks/{name}.ipynb" for name in missing)
            raise PressError(f"_toc.yml lists {', '.join(missing)}, but there is no {listed}")
        return names

    def source(self, name: str) -> Path:
        return self.root / "notebooks" / f"{name}.ipynb"

    def page(self, profile: str, name: str) -> Path:
        return self.root / "_build" / "executed" / profile / f"{name}.ipynb"

    def report(self, profile: str, name: str) -> Path:
        """Where a run that failed leaves what it had, beside a text of the same name that says why."""
        return self.root / "_build" / "executed" / profile / "reports" / f"{name}.ipynb"

    def published(self, name: str) -> Path:
        return self.root / CHAPTERS / f"{name}.ipynb"

    def places(self, name: str) -> dict[str, Path]:
        """Where pages of a chapter may lie: by profile, and published."""
        return {profile: self.page(profile, name) for profile in PROFILES} | {PUBLISHED: self.published(name)}

    def latest(self, name: str) -> Path | None:
        """The best page there is: the first fresh one of gpu, cpu, published; else the first of them; else smoke.

        A damaged page is none.
        """
        from .provenance import examine

        found = [examine(self, name, place) for place in ("gpu", "cpu", PUBLISHED, "smoke")]
        found = [page for page in found if page.usable]
        good = [page for page in found if page.place != "smoke"]
        best = next((page for page in good if page.freshness.state == "fresh"), None) or next(iter(good or found), None)
        return best.path if best else None

    def settings(
        self, name: str, profile: str, seed: int | None = None, device: str = "auto", source: Any = None
    ) -> dict[str, Any]:
        """What a run injects below the parameters cell: the values that differ from it.

        Args:
            name: the chapter.
            profile: "smoke", "cpu" or "gpu".
            seed: replaces the seed in the parameters cell.
            device: "auto", "cpu" or "cuda".
            source: the chapter's notebook, if it has been read already.

        Raises:
            PressError: if a profile sets a name that the parameters cell does not have, or the cell is no plain values.
        """
        from .page import parameters, read

        if profile not in PROFILES:
            raise PressError(f"unknown profile {profile!r}; allowed: {', '.join(PROFILES)}", 2)
        own = parameters(read(self.source(name)) if source is None else source, f"notebooks/{name}.ipynb")
        if missing := {"profile", "device", "seed"} - own.keys():
            raise PressError(f"notebooks/{name}.ipynb: its parameters cell does not set {', '.join(sorted(missing))}")
        table = self.root / "notebooks" / "profiles.toml"
        tables = read_toml(table) if table.is_file() else {}
        if strange := sorted(tables.keys() - set(self.chapters())):
            raise PressError(f"profiles.toml: [{strange[0]}] is no chapter; allowed: {', '.join(self.chapters())}")
        if isinstance(tables.get(name), dict) and (odd := sorted(tables[name].keys() - set(PROFILES))):
            raise PressError(f"profiles.toml: [{name}.{odd[0]}] is no profile; allowed: {', '.join(PROFILES)}")
        wanted = tables.get(name, {})
        for key in (None, profile):
            wanted = wanted if key is None else wanted.get(key, {})
            if not isinstance(wanted, dict):
                raise PressError(f"profiles.toml: [{name}{'' if key is None else '.' + key}] must be a table")
        if unknown := sorted(wanted.keys() - own.keys()):
            allowed = ", ".join(own)
            raise PressError(f"profiles.toml: [{name}.{profile}] sets unknown {unknown[0]!r}; allowed: {allowed}")
        for key, value in wanted.items():
            if not _injectable(value):
                raise PressError(f"profiles.toml: [{name}.{profile}] sets {key} = {value!r}; allowed: numbers, texts, "
                                 "true, false, and lists of them")
        wanted = wanted | {"profile": profile, "device": device} | ({} if seed is None else {"seed": seed})
        seeds(own | wanted, f"notebooks/{name}.ipynb in profile {profile}")
        # Told apart by what is written, not by ==: 1 is not true, NaN is NaN.
        return {key: value for key, value in wanted.items() if repr(plain(value)) != repr(plain(own[key]))}


def _entries(node: dict[str, Any], key: str) -> list[Any]:
    found = node.get(key, [])
    if not isinstance(found, list):
        raise PressError(f"_toc.yml: {key}: {found!r}; allowed: a list of entries with file:")
    return found


def _injectable(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_injectable, value))
    return isinstance(value, (bool, int, float, str))


def seeds(parameters: dict[str, Any], where: str) -> list[int]:
    """The seeds of a run: seed, seed + 1, ... if ``seeds`` says how many, or those that ``seeds`` lists.

    Raises:
        PressError: for anything else.
    """
    seed, many = parameters["seed"], plain(parameters.get("seeds", 1))
    if not _whole(seed):
        raise PressError(f"{where}: seed = {seed!r}; allowed: a whole number >= 0", 2)
    if _whole(many) and 0 < many <= 1_000_000:
        return [seed + i for i in range(many)]
    if isinstance(many, list) and many and all(map(_whole, many)):
        return many
    allowed = "how many (1 to a million), or a list of whole numbers >= 0"
    raise PressError(f"{where}: seeds = {many!r}; allowed: {allowed}", 2)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
