"""Where things are: the project's folders, its chapters, their pages and their settings.

A chapter NAME is an entry ``book/chapters/NAME`` of ``_toc.yml``; its source is ``notebooks/NAME.ipynb``, its pages are
``_build/executed/PROFILE/NAME.ipynb`` (from a run here) and ``book/chapters/NAME.ipynb`` (published).
The parameters cell of the source holds the cpu profile; ``notebooks/profiles.toml`` has a table ``[NAME.PROFILE]``
with what the other profiles change.
"""

from __future__ import annotations

import ast
import os
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import PressError

PROFILES = ("smoke", "cpu", "gpu")
CHAPTERS = "book/chapters"


@dataclass(frozen=True)
class Project:
    """A book at ``root``; ``package`` is the folder of the package its chapters import."""

    root: Path
    package: Path = Path(__file__).resolve().parents[1]

    @classmethod
    def find(cls, start: str | Path = ".") -> Project:
        """The project at or above the folder ``start``. PressError if there is none."""
        start = Path(start).resolve()
        for folder in (start, *start.parents):
            if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
                return cls(folder)
        raise PressError(f"no book here: neither {start} nor a folder above it holds _toc.yml and notebooks/", 2)

    def chapters(self) -> list[str]:
        """Names of the chapters that have a notebook, in the order of the table of contents."""
        import yaml

        def files(node: Any) -> Iterator[str]:
            if isinstance(node, dict):
                yield from (value for key, value in node.items() if key == "file")
            for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
                yield from files(child)

        toc = yaml.safe_load((self.root / "_toc.yml").read_text(encoding="utf-8"))
        names = [Path(file).stem for file in files(toc) if Path(file).parent.as_posix() == CHAPTERS]
        return [name for name in names if self.source(name).is_file()]

    def choose(self, names: Iterable[str] = ()) -> list[str]:
        """``names``, or all chapters if there are none. PressError for a name that is no chapter."""
        known, names = self.chapters(), list(dict.fromkeys(names))
        if unknown := [name for name in names if name not in known]:
            hint = "; a notebook of that name exists, but _toc.yml does not list it"
            hint = hint if self.source(unknown[0]).is_file() else ""
            raise PressError(f"unknown chapter {unknown[0]!r}{hint}; allowed: {', '.join(known) or 'none yet'}", 2)
        return names or known

    def source(self, name: str) -> Path:
        return self.root / "notebooks" / f"{name}.ipynb"

    def page(self, profile: str, name: str) -> Path:
        return self.root / "_build" / "executed" / profile / f"{name}.ipynb"

    def report(self, profile: str, name: str) -> Path:
        """Where a run that failed leaves what it had, beside a text of the same name that says why."""
        return self.root / "_build" / "executed" / profile / "reports" / f"{name}.ipynb"

    def published(self, name: str) -> Path:
        return self.root / CHAPTERS / f"{name}.ipynb"

    def latest(self, name: str) -> Path | None:
        """The best page there is: the first fresh one of gpu, cpu, published; else the first of them; else smoke."""
        from .page import read
        from .provenance import freshness

        places = [self.page("gpu", name), self.page("cpu", name), self.published(name)]
        places = [place for place in places if place.is_file()]
        fresh = (place for place in places if freshness(read(place), self, name).state == "fresh")
        smoke = self.page("smoke", name)
        return next(fresh, None) or (places[0] if places else smoke if smoke.is_file() else None)

    def settings(self, name: str, profile: str, seed: int | None = None, device: str = "auto") -> dict[str, Any]:
        """What a run injects below the parameters cell: the values that differ from it.

        Raises:
            PressError: if a profile sets a name that the parameters cell does not have.
        """
        from .page import parameters, read

        if profile not in PROFILES:
            raise PressError(f"unknown profile {profile!r}; allowed: {', '.join(PROFILES)}", 2)
        own = parameters(read(self.source(name)))
        if missing := {"profile", "device", "seed"} - own.keys():
            raise PressError(f"notebooks/{name}.ipynb: its parameters cell does not set {', '.join(sorted(missing))}")
        table = self.root / "notebooks" / "profiles.toml"
        tables = tomllib.loads(table.read_text(encoding="utf-8")) if table.is_file() else {}
        wanted = dict(tables.get(name, {}).get(profile, {}))
        if unknown := sorted(wanted.keys() - own.keys()):
            allowed = ", ".join(own)
            raise PressError(f"profiles.toml: [{name}.{profile}] sets unknown {unknown[0]!r}; allowed: {allowed}")
        wanted |= {"profile": profile, "device": device} | ({} if seed is None else {"seed": seed})
        return {key: value for key, value in wanted.items() if value != own[key]}


def assignments(code: str) -> dict[str, Any]:
    """The literal values that the lines of ``code`` give to names.

    >>> assignments("a = 1\\nb, c = 'x', [2]")
    {'a': 1, 'b': 'x', 'c': [2]}
    """
    found: dict[str, Any] = {}
    for line in ast.parse(code).body:
        if isinstance(line, ast.Assign) and len(line.targets) == 1:
            target, value = line.targets[0], line.value
            several = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            for name, item in zip(target.elts, value.elts) if several else [(target, value)]:
                if isinstance(name, ast.Name):
                    try:
                        found[name.id] = ast.literal_eval(item)
                    except ValueError:
                        found[name.id] = ast.unparse(item)
    return found


def write_whole(path: Path, text: str) -> None:
    """Put ``text`` at ``path`` all at once: a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
