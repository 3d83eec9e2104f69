"""Where things are: the project's folders, its chapters and their pages.

A chapter NAME is an entry ``book/chapters/NAME`` of ``_toc.yml``; its source is ``notebooks/NAME.ipynb``, its pages are
``_build/executed/PROFILE/NAME.ipynb`` (from a run here) and ``book/chapters/NAME.ipynb`` (published). Trained networks
are kept in ``_build/networks`` and, those of published pages, in ``book/networks``. ``book/teaching/instructor`` holds
pages for teachers alone, which no tree of a build has but that of their edition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import PressError
from .files import read_toml, read_yaml

__all__ = ["CHAPTERS", "INSTRUCTOR", "JUDGED", "NETWORKS", "OWN", "PROFILES", "PUBLISHED", "Project"]

COMMON = ("smoke", "cpu", "gpu")  # the profiles that every chapter has
OWN = ("cifar10",)  # those of the chapters that have a table for it in profiles.toml
PROFILES = COMMON + OWN
JUDGED = PROFILES[1:]  # those whose claims are judged, and whose pages can be published
PUBLISHED = "published"
CHAPTERS, NETWORKS = "book/chapters", "book/networks"
INSTRUCTOR = "book/teaching/instructor"


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

    def choose(self, names: Iterable[str] = (), profile: str | None = None) -> list[str]:
        """``names``, or all chapters if there are none. PressError for one that is no chapter, or has no notebook or
        not the ``profile``."""
        known, names = self.chapters(), list(dict.fromkeys(names))
        if unknown := [name for name in names if name not in known]:
            hint = "; a notebook of that name exists, but _toc.yml does not list it"
            hint = hint if self.source(unknown[0]).is_file() else ""
            raise PressError(f"unknown chapter {unknown[0]!r}{hint}; allowed: {', '.join(known) or 'none yet'}", 2)
        names = names or known
        if missing := [name for name in names if not self.source(name).is_file()]:
            listed = ", ".join(f"notebooks/{name}.ipynb" for name in missing)
            raise PressError(f"_toc.yml lists {', '.join(missing)}, but there is no {listed}")
        self.require(profile, names)
        return names

    def require(self, profile: str | None, names: list[str]) -> None:
        """PressError for a profile that there is not, or that one of the chapters ``names`` does not have."""
        if profile in (None, *COMMON):
            return
        if profile not in PROFILES:
            raise PressError(f"unknown profile {profile!r}; allowed: {', '.join(PROFILES)}", 2)
        tables = read_toml(self.tables) if self.tables.is_file() else {}
        having = [name for name, table in tables.items() if isinstance(table, dict) and profile in table]
        if bare := [name for name in names if name not in having]:
            raise PressError(f"no profile {profile!r} for {', '.join(bare)}; allowed there: {', '.join(COMMON)}; "
                             f"{profile!r} has a table in profiles.toml for: {', '.join(having) or 'no chapter'}", 2)

    @property
    def tables(self) -> Path:
        """What the profiles change, chapter by chapter."""
        return self.root / "notebooks" / "profiles.toml"

    def source(self, name: str) -> Path:
        return self.root / "notebooks" / f"{name}.ipynb"

    def page(self, profile: str, name: str) -> Path:
        return self.root / "_build" / "executed" / profile / f"{name}.ipynb"

    def report(self, profile: str, name: str) -> Path:
        """Where a run that failed leaves what it had, beside a text of the same name that says why."""
        return self.root / "_build" / "executed" / profile / "reports" / f"{name}.ipynb"

    def published(self, name: str) -> Path:
        return self.root / CHAPTERS / f"{name}.ipynb"

    @property
    def networks(self) -> Path:
        """Where own networks are kept."""
        return self.root / "_build" / "networks"

    @property
    def published_networks(self) -> Path:
        """Where the networks of published pages are kept."""
        return self.root / NETWORKS

    def places(self, name: str) -> dict[str, Path]:
        """Where pages of a chapter may lie: by profile, and published."""
        return {profile: self.page(profile, name) for profile in PROFILES} | {PUBLISHED: self.published(name)}


def _entries(node: dict[str, Any], key: str) -> list[Any]:
    found = node.get(key, [])
    if not isinstance(found, list):
        raise PressError(f"_toc.yml: {key}: {found!r}; allowed: a list of entries with file:")
    return found
