"""Where a page comes from, and whether it is still what its sources would give.

The hash of a page covers everything that can change its results: the code cells, the modules of the package that they
use (followed through imports, and those that the run was seen to import), the number of the training of networks, the
claims that the chapter decides, the locked versions, the data and the parameters. It leaves out prose, comments,
docstrings and the press itself, so editing those costs no run, and the code that trains networks, which has the number
instead. The parts of the hash are stored beside it; comparing them tells in words what has changed.

What a run has made (outputs, widgets, provenance) is sealed with the page, and all the rest of a page is what the
notebook's text gives around it: an edit of either shows. :func:`examine` is the one door through which the press takes
a page from disk.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import ledger, page
from .cells import essence, newlines, reads_documentation
from .errors import PressError
from .layout import JUDGED, OWN, PROFILES, PUBLISHED, Project
from .ledger.replication import REPEATS, runs
from .modules import digest, literal, looks_at_itself, modules_used, training
from .parameters import plain
from .parameters import settings as settings_of

__all__ = ["Freshness", "Page", "examine", "fingerprint", "freshness", "latest", "outdated", "seal"]

CONSTRAINTS = ".ci/constraints.txt"
PARTS = ("code", "modules", "training", "rules", "versions", "data", "parameters")


def counts_documentation(source: Any, package: Path) -> bool:
    """Whether comments and docstrings of the package count as code for the chapter ``source``."""
    return shows_documentation(source) or looks_at_itself(package)


def shows_documentation(source: Any) -> bool:
    """Whether a cell of the notebook ``source`` looks at documentation or code, so that comments are results."""
    return any(reads_documentation(newlines(cell.source)) for cell in page.code_cells(source))


def code_digests(notebook: Any) -> list[str]:
    """What the hash takes of each code cell of a notebook or page."""
    whole, codes = shows_documentation(notebook), [newlines(cell.source) for cell in page.code_cells(notebook)]
    return [digest(code if whole else essence(code, cell=True))[:16] for code in codes]


def fingerprint(
    project: Project, name: str, settings: dict[str, Any], source: Any = None, seen: Iterable[str] = ()
) -> dict[str, Any]:
    """The parts of the hash that chapter ``name`` has now, with ``settings`` injected; "hash" is over the others.

    Args:
        project: the book.
        name: the chapter.
        settings: what is injected.
        source: the notebook, if it has been read already: what is executed is what is hashed.
        seen: modules that a run was seen to import.
    """
    source = page.read(project.source(name)) if source is None else source
    modules = modules_used([newlines(cell.source) for cell in page.code_cells(source)], project.package, seen)
    constraints = project.root / CONSTRAINTS
    lines = constraints.read_text(encoding="utf-8", errors="replace").splitlines() if constraints.is_file() else []
    data = sorted(module for module in modules if module.rpartition(".")[2] == "data")
    parts = {
        "code": code_digests(source),
        "modules": {module: value[:16] for module, value in sorted(modules.items())},
        "training": training(project.package)[0],
        "rules": digest(ledger.rules(name))[:16],
        "versions": digest([line.strip() for line in lines if line.strip() and not line.startswith("#")])[:16],
        "data": digest([literal(project.package, module, "IDENTITY") for module in data])[:16] if data else "",
        "parameters": {key: plain(value) for key, value in settings.items() if key != "device"},
    }
    return {"hash": digest(parts), **parts}


# --- the record of a page, and its seal -------------------------------------------------------------------------------


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair)


def _moment(value: Any) -> bool:
    try:
        return datetime.datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def _parts(value: Any) -> bool:
    return (
        isinstance(value, dict) and set(PARTS) == value.keys() and isinstance(value["code"], list)
        and all(isinstance(one, str) for one in value["code"]) and _texts(value["modules"])
        and all(isinstance(value[key], str) for key in ("training", "rules", "versions", "data"))
        and isinstance(value["parameters"], dict)
    )  # fmt: skip


NETWORK = {
    "key": lambda value: isinstance(value, str) and bool(re.fullmatch(r"[0-9a-f]{20,64}", value)),
    "name": lambda value: isinstance(value, str),
    "source": lambda value: value in ("trained", "own", "published"),
    "seconds": _number, "bytes": _number,
    "device": lambda value: isinstance(value, str),
    "date": _moment,
}  # fmt: skip
"""The entries of a record of kept networks, and what each must be."""


def _networks(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, dict) and all(key in one and fits(one[key]) for key, fits in NETWORK.items()) for one in value
    )


FIELDS = {
    "chapter": lambda value: isinstance(value, str),
    "profile": lambda value: value in PROFILES,
    "device": lambda value: isinstance(value, str),
    "device_type": lambda value: value in ("cpu", "cuda"),
    "threads": _number, "seconds": _number, "memory_mib": _number,
    "cells": lambda value: isinstance(value, list) and all(map(_number, value)),
    "versions": _texts,
    "seeds": lambda value: isinstance(value, list) and all(isinstance(seed, int) for seed in value),
    "networks": _networks,
    "commit": lambda value: isinstance(value, str),
    "parameters": lambda value: isinstance(value, dict),
    "date": _moment,
    "parts": _parts,
    "hash": lambda value: isinstance(value, str),
    "seal": lambda value: isinstance(value, str),
}  # fmt: skip
"""The entries of a provenance record, and what each must be."""


def record(notebook: Any) -> dict[str, Any]:
    """The provenance that a page carries, or {} if it has none."""
    noted = notebook.metadata.get("diffnotes", {})
    found = noted.get("provenance", {}) if isinstance(noted, dict) else {}
    return found if isinstance(found, dict) else {}


def faults(notebook: Any, name: str | None = None, place: str | None = None) -> list[str]:
    """What shows that the page is not as a run left it; [] if nothing does.

    Its record is not complete, its seal is broken, it belongs to another chapter than ``name``, or its profile is not
    that of its ``place``.
    """
    found = record(notebook)
    if not found:
        return ["the page does not say where it comes from"]
    if wrong := [key for key, fits in FIELDS.items() if key not in found or not fits(found[key])]:
        return [f"the page does not say where it comes from: its {', '.join(wrong)} cannot be read"]
    problems = []
    if found["seal"] != seal(notebook):
        problems.append("its outputs, edited after the run")
    if found["hash"] != digest(found["parts"]):
        problems.append("its hash, which is not that of its parts")
    if found["parts"]["code"] != code_digests(notebook):
        problems.append("its code, edited after the run")
    if name is not None and found["chapter"] != name:
        problems.append(f"it is a page of {found['chapter']!r}")
    allowed = {PUBLISHED: JUDGED}.get(place, (place,))
    if place is not None and found["profile"] not in allowed:
        problems.append(f"its profile is {found['profile']}, but it lies among the pages of {place}")
    return problems


def seal(notebook: Any) -> str:
    """Hash over all that the run has made: outputs, their order, widgets, and the record itself. Stored in the record.

    The rest of a page is text of the notebook and is compared with that.
    """
    kept = {key: value for key, value in record(notebook).items() if key != "seal"}
    cells = [(cell.outputs, cell.execution_count) for cell in notebook.cells if cell.cell_type == "code"]
    others = {key: value for key, value in notebook.metadata.items() if key != "diffnotes"}
    return digest([cells, others, kept])


def sealed(notebook: Any) -> Any:
    """``notebook`` itself, with the seal that fits it."""
    record(notebook)["seal"] = seal(notebook)
    return notebook


# --- freshness --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Freshness:
    """``state``: "fresh", "stale", "damaged" or "missing"; ``reasons``: what has changed or is wrong, in words."""

    state: str
    reasons: list[str] = field(default_factory=list)


def _changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    reasons = []
    before, after = old["code"], new["code"]
    if len(before) != len(after):
        reasons.append(f"the code cells ({len(before)} then, {len(after)} now)")
    elif changed := [str(i + 1) for i, (one, other) in enumerate(zip(before, after)) if one != other]:
        reasons.append(f"code cell{'s' * (len(changed) > 1)} {', '.join(changed)}")
    before, after = old["modules"], new["modules"]
    if changed := sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key)):
        reasons.append("the package: " + ", ".join(changed))
    if (before := old["training"]) != (after := new["training"]):
        reasons.append(f"the training of the networks ({before or 'none kept'} then, {after or 'none kept'} now)")
    words = {"rules": "the rules of its claims", "versions": "the locked versions", "data": "the data"}
    reasons += [words[key] for key in words if old[key] != new[key]]
    before, after = old["parameters"], new["parameters"]
    if changed := sorted(k for k in before.keys() | after.keys() if digest(before.get(k)) != digest(after.get(k))):
        reasons.append("the parameters: " + ", ".join(changed))
    return reasons


def freshness(
    notebook: Any | None, project: Project, name: str, settings: dict[str, Any] | None = None, device: str = "auto"
) -> Freshness:
    """Whether the executed ``notebook`` is what chapter ``name`` would give now, run with ``settings`` on ``device``.

    Args:
        notebook: the page, or None if there is none.
        project: the book.
        name: the chapter.
        settings: what to inject; by default what the page's own profile and seed say.
        device: "auto" accepts a page from any device.
    """
    if notebook is None:
        return Freshness("missing", ["not run yet"])
    reasons, found = faults(notebook, name), record(notebook)
    if reasons and "seal" not in found:
        return Freshness("stale", reasons)
    if any(key not in found or not fits(found[key]) for key, fits in FIELDS.items()):
        return Freshness("stale", reasons)
    try:
        source = page.read(project.source(name))
        if settings is None:
            seed = found["parts"]["parameters"].get("seed")
            settings = settings_of(project, name, found["profile"], seed, source=source)
        now = fingerprint(project, name, settings, source, seen=found["parts"]["modules"])
    except PressError as error:
        return Freshness("stale", [*reasons, f"its source: {error}"])
    reasons = _changes(found["parts"], now) + reasons
    if device != "auto" and found["device_type"] != device:
        reasons.append(f"the device: {found['device_type']} then, {device} wanted")
    return Freshness("stale" if reasons else "fresh", reasons)


@dataclass(frozen=True)
class Page:
    """A page as it lies at a ``place`` (a profile, or "published"): the notebook, None if it cannot be read; freshness.

    ``usable``: it is a notebook with a record that belongs there, fresh or not.
    """

    place: str
    path: Path
    notebook: Any | None
    freshness: Freshness

    @property
    def usable(self) -> bool:
        return self.freshness.state in ("fresh", "stale")

    @property
    def record(self) -> dict[str, Any]:
        return record(self.notebook) if self.usable else {}


def examine(
    project: Project, name: str, place: str, settings: dict[str, Any] | None = None, device: str = "auto",
    path: Path | None = None,
) -> Page:  # fmt: skip
    """The page of chapter ``name`` at ``place``, with what can be said of it. A page that cannot be read is "damaged".

    Args:
        project: the book.
        name: the chapter.
        place: a profile or "published".
        settings, device: as for :func:`freshness`.
        path: where it lies, if not at its usual place.
    """
    path = path or project.places(name)[place]
    if not path.is_file():
        return Page(place, path, None, freshness(None, project, name))
    try:
        notebook = page.read(path)
    except PressError as error:
        return Page(place, path, None, Freshness("damaged", [str(error).replace(str(project.root) + "/", "")]))
    if wrong := [fault for fault in faults(notebook, name, place) if not fault.endswith("edited after the run")]:
        return Page(place, path, notebook, Freshness("damaged", wrong))
    return Page(place, path, notebook, freshness(notebook, project, name, settings, device))


def latest(project: Project, name: str) -> Path | None:
    """The best page of a chapter: the first fresh one of gpu, cpu, published, and then of the profiles of single
    chapters, which have other data; else the first of them; else smoke. A damaged page is none.
    """
    found = []
    for place in ("gpu", "cpu", PUBLISHED, *OWN, "smoke"):
        one = examine(project, name, place)
        if one.freshness.state == "fresh" and place != "smoke":
            return one.path
        found += [one] if one.usable else []
    best = next((one for one in found if one.place != "smoke"), next(iter(found), None))
    return best.path if best else None


def outdated(project: Project, folder: Path = REPEATS) -> dict[str, list[int]]:
    """Chapter -> the base seeds on which its repetitions are of other code, rules or settings than those of today.

    PressError for a file that is no record of a repetition.
    """
    found: dict[str, list[int]] = {}
    now: dict[tuple[str, str], dict[str, Any]] = {}
    for run in runs(folder):
        for name in project.chapters():
            if name not in run["chapters"] or not project.source(name).is_file():
                continue
            key = name, run["profile"]
            if key not in now:  # it takes a while, and a base seed changes nothing but the one parameter
                try:
                    now[key] = fingerprint(project, name, settings_of(project, name, run["profile"], run["seed"]))
                except PressError:  # its pages cannot be fresh either, and say why
                    continue
                del now[key]["hash"]
            parts = now[key] | {"parameters": now[key]["parameters"] | {"seed": run["seed"]}}
            if run["chapters"][name]["hash"] != digest(parts):
                found.setdefault(name, []).append(run["seed"])
    return found
