"""Where a page comes from, and whether it is still what its sources would give.

The hash of a page covers everything that can change its results: the code cells, the modules of the package that they
use (followed through imports, and those that the run was seen to import), the claims that the chapter decides, the
locked versions, the data and the parameters. It leaves out prose, comments, docstrings and the press itself, so editing
those costs no run. The parts of the hash are stored beside it; comparing them tells in words what has changed.

What a run has made (outputs, widgets, provenance) is sealed with the page, and all the rest of a page is what the
notebook's text gives around it: an edit of either shows. :func:`examine` is the one door through which the press takes
a page from disk.
"""

from __future__ import annotations

import ast
import datetime
import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import ledger, page
from .cells import CodeError, essence, given, newlines, parse, plain, reads_documentation, trees
from .errors import PressError

if TYPE_CHECKING:
    from .layout import Project

__all__ = ["Freshness", "Page", "examine", "fingerprint", "freshness", "modules_used", "seal", "source_reasons"]

CONSTRAINTS = ".ci/constraints.txt"
STARTS = re.compile(r"\b(?:subprocess|multiprocessing|joblib|concurrent\.futures|os\.(?:fork|system|popen|exec|spawn))")
PARTS = ("code", "modules", "rules", "versions", "data", "parameters")


def digest(value: Any) -> str:
    """SHA-256 of a text, or of the JSON of anything else; hexadecimal."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# --- what code takes of the package -----------------------------------------------------------------------------------


def _file(package: Path, module: str) -> Path | None:
    path = package.joinpath(*module.split("."))
    options = (path.with_name(f"{path.name}.py"), path / "__init__.py")
    return next((option for option in options if option.is_file()), None)


def _code(package: Path, module: str) -> str:
    return _file(package, module).read_text(encoding="utf-8", errors="surrogateescape")


@lru_cache(maxsize=64)
def _exports(code: str, root: str) -> dict[str, str]:
    """Name -> module, from the imports in ``code``, the ``__init__`` of the package ``root``."""
    names: dict[str, str] = {}
    try:
        tree = parse(code)
    except CodeError:
        return names
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = (node.module or "").removeprefix(root).lstrip(".")
            names |= {alias.asname or alias.name: module or alias.name for alias in node.names}
        elif isinstance(node, ast.Dict):  # a table for lazy imports
            for key, value in zip(node.keys, node.values):
                if isinstance(key, ast.Constant) and isinstance(value, ast.Constant):
                    names[str(key.value)] = str(value.value).removeprefix(root).lstrip(".")
    return names


@lru_cache(maxsize=1024)
def _mentions(code: str, root: str, inside: str | None) -> tuple[frozenset, frozenset, frozenset]:
    """What ``code`` takes of the package ``root``: names of the package itself, (module, name) of its modules, and
    texts that read like a module of it.

    ``inside`` is the package that relative imports start from, "" for the root. "*" stands for all of the package.
    """
    names, pairs, spelled, aliases, attributes = set(), set(), set(), set(), []
    for node in _nodes(code, root, names):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == root:
                    aliases.add(alias.asname or root)
                elif alias.name.startswith(root + "."):
                    names.add(alias.name.removeprefix(root + "."))
                    aliases |= set() if alias.asname else {root}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level and inside is not None:
                above = inside.split(".") if inside else []
                above = above[: max(0, len(above) - (node.level - 1))]
                module = ".".join([root, *above, *filter(None, [module])])
            elif node.level:
                continue
            if module == root:
                names |= {alias.name for alias in node.names}
            elif module.startswith(root + "."):
                pairs |= {(module.removeprefix(root + "."), alias.name) for alias in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and not node.attr.startswith("__"):
            attributes.append((node.value.id, node.attr))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # importlib.import_module("root.module")
            if re.fullmatch(rf"{re.escape(root)}(?:\.\w+)+", node.value):
                spelled.add(node.value.removeprefix(root + "."))
    names |= {attr for owner, attr in attributes if owner in aliases}
    return frozenset(names), frozenset(pairs), frozenset(spelled)


def _nodes(code: str, root: str, names: set[str]) -> Iterable[ast.AST]:
    """The nodes of ``code`` and of what its magics are given; what cannot be read but names the package takes all."""
    try:
        waiting = list(trees(code))
        while waiting:
            tree = waiting.pop()
            if isinstance(tree, str):
                names |= {"*"} if re.search(rf"\b{re.escape(root)}\b", tree) else set()
                continue
            for node in ast.walk(tree):
                yield node
                text = node.value if isinstance(node, ast.Constant) else None
                if isinstance(text, str) and re.search(rf"\b(?:import|from)\s+{re.escape(root)}\b", text):
                    waiting += given(text)  # code for another process, perhaps
    except CodeError:  # the run will say so; until then nothing is left out
        if re.search(rf"\b{re.escape(root)}\b", code):
            names.add("*")


def _imports(code: str, package: Path, inside: str | None = None) -> set[str]:
    """Modules of the package that ``code`` imports; ``inside`` is the package it belongs to, if it does to one.

    A name taken from the package itself that cannot be traced to a module counts as a use of them all.
    """
    exports = _exports(_code(package, "__init__"), package.name)
    names, pairs, spelled = _mentions(code, package.name, inside)
    found = {text for text in spelled if _file(package, text)}
    for text in names:
        found |= {text} if _file(package, text) else {exports[text]} if text in exports else _everything(package)
    for module, text in pairs:
        found.add(f"{module}.{text}" if _file(package, f"{module}.{text}") else module)
    above = {".".join(module.split(".")[:i]) for module in found for i in range(1, module.count(".") + 1)}
    return {module for module in found | above if not _of_press(module) and _file(package, module)}


def _everything(package: Path) -> set[str]:
    files = (path.relative_to(package).with_suffix("") for path in package.rglob("*.py"))
    return {".".join(file.parts).removesuffix(".__init__") for file in files}


def _of_press(module: str) -> bool:
    return module.split(".")[0] == "press"


def _home(package: Path, module: str) -> str:
    """The package that the relative imports of ``module`` start from."""
    own = _file(package, module).name == "__init__.py" and module != "__init__"
    return module if own else module.rpartition(".")[0]


def modules_used(codes: list[str], package: Path, seen: Iterable[str] = ()) -> dict[str, str]:
    """Module -> hash of its code, for all modules of ``package`` that ``codes`` use, directly or through others.

    ``seen`` are further modules, such as a run was seen to import. Where a cell reads documentation, that counts, too.
    """
    todo = set().union({module for module in seen if _file(package, module)}, *(_imports(c, package) for c in codes))
    if any(map(STARTS.search, codes)):  # what another process imports, nobody sees
        todo |= {module for module in _everything(package) if not _of_press(module)}
    whole = any(map(reads_documentation, codes)) or _looks_at_itself(package)
    done: dict[str, str] = {}
    while todo:
        module = todo.pop()
        code = _code(package, module)
        done[module] = module_digest(code, whole)
        # The root's own imports are not followed: it names everything, and the run tells what of that was loaded.
        todo |= (_imports(code, package, _home(package, module)) if module != "__init__" else set()) - done.keys()
        todo |= {"__init__"} - done.keys()
    return done


@lru_cache(maxsize=1024)
def module_digest(code: str, whole: bool = False) -> str:
    """What the hash takes of a module; ``whole``: with its documentation."""
    code = newlines(code)
    return digest(code if whole or reads_documentation(code) else essence(code))


def _looks_at_itself(package: Path) -> bool:
    """Whether a module of the package looks at documentation or code, perhaps that of another one."""
    return any(reads_documentation(_code(package, m)) for m in _everything(package) if not _of_press(m))


def counts_documentation(source: Any, package: Path) -> bool:
    """Whether comments and docstrings of the package count as code for the chapter ``source``."""
    return shows_documentation(source) or _looks_at_itself(package)


def shows_documentation(source: Any) -> bool:
    """Whether a cell of the notebook ``source`` looks at documentation or code, so that comments are results."""
    return any(reads_documentation(newlines(cell.source)) for cell in page.code_cells(source))


def all_modules(package: Path, whole: bool = False) -> dict[str, str]:
    """Module -> hash of its code, for all of ``package`` but the press: what a run may have imported."""
    modules = [module for module in _everything(package) if not _of_press(module)]
    return {module: module_digest(_code(package, module), whole) for module in modules}


def data_identity(package: Path) -> str:
    """The literal ``IDENTITY`` of the package's ``data`` module: what the data are, e.g. their checksums."""
    path = package / "data.py"
    code = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    try:
        tree = parse(code)
    except CodeError:  # no chapter can run with it
        return digest(code)
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "IDENTITY" for target in targets) and node.value:
            return ast.get_source_segment(newlines(code), node.value)
    return ""


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
    parts = {
        "code": code_digests(source),
        "modules": {module: value[:16] for module, value in sorted(modules.items())},
        "rules": digest(ledger.rules(name))[:16],
        "versions": digest([line.strip() for line in lines if line.strip() and not line.startswith("#")])[:16],
        "data": digest(data_identity(project.package))[:16] if "data" in modules else "",
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
        and all(isinstance(value[key], str) for key in ("rules", "versions", "data"))
        and isinstance(value["parameters"], dict)
    )  # fmt: skip


FIELDS = {
    "chapter": lambda value: isinstance(value, str),
    "profile": lambda value: value in ("smoke", "cpu", "gpu"),
    "device": lambda value: isinstance(value, str),
    "device_type": lambda value: value in ("cpu", "cuda"),
    "threads": _number, "seconds": _number, "memory_mib": _number,
    "cells": lambda value: isinstance(value, list) and all(map(_number, value)),
    "versions": _texts,
    "seeds": lambda value: isinstance(value, list) and all(isinstance(seed, int) for seed in value),
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
    allowed = {"published": ("cpu", "gpu")}.get(place, (place,))
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
            settings = project.settings(name, found["profile"], seed, source=source)
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


def source_reasons(notebook: Any, root: Path, name: str) -> list[str]:
    """Why the page ``notebook`` of chapter ``name`` in the book at ``root`` is stale; empty if it is fresh."""
    from .layout import Project

    return freshness(notebook, Project(root), name).reasons
