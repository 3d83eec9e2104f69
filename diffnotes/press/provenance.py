"""Where a page comes from, and whether it is still what its sources would give.

The hash of a page covers everything that can change its results: the code cells, the modules of the package that they
use (followed through imports), the rules of the chapter's claims, the locked versions, the data and the parameters.
It leaves out prose, comments, docstrings and the press itself, so editing those costs no run. The parts of the hash are
stored beside it; comparing them tells in words what has changed.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import tokenize
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import ledger, page

if TYPE_CHECKING:
    from .layout import Project

__all__ = ["Freshness", "fingerprint", "freshness", "modules_used", "outputs_hash", "source_reasons"]

CONSTRAINTS = ".ci/constraints.txt"


def digest(value: Any) -> str:
    """SHA-256 of a text, or of the JSON of anything else; hexadecimal."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=512)
def essence(code: str) -> str:
    """``code`` without comments, docstrings and blank lines; code that is no plain Python stays as it is.

    The text is cut, not regenerated, so every Python version gives the same answer.
    """
    try:
        tree = ast.parse(code)
        comments = [
            (token.start, token.end)
            for token in tokenize.generate_tokens(io.StringIO(code).readline)
            if token.type == tokenize.COMMENT
        ]
    except (SyntaxError, tokenize.TokenError):
        return code
    lines = code.split("\n")
    for (row, start), (_, end) in comments:
        lines[row - 1] = lines[row - 1][:start] + lines[row - 1][end:]
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.body:
            first = node.body[0]
            text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and first.value.value
            if isinstance(text, str) and not lines[first.lineno - 1][: first.col_offset].strip():
                lines[first.lineno - 1 : first.end_lineno] = [""] * (first.end_lineno - first.lineno + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _file(package: Path, module: str) -> Path | None:
    path = package.joinpath(*module.split("."))
    options = (path.with_suffix(".py"), path / "__init__.py")
    return next((option for option in options if option.is_file()), None)


@lru_cache(maxsize=8)
def _exports(code: str, root: str) -> dict[str, str]:
    """Name -> module, from the imports in ``code``, the ``__init__`` of the package ``root``."""
    names: dict[str, str] = {}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            module = (node.module or "").removeprefix(root).lstrip(".")
            names |= {alias.asname or alias.name: module or alias.name for alias in node.names}
        elif isinstance(node, ast.Dict):  # a table for lazy imports
            for key, value in zip(node.keys, node.values):
                if isinstance(key, ast.Constant) and isinstance(value, ast.Constant):
                    names[str(key.value)] = str(value.value).removeprefix(root).lstrip(".")
    return names


@lru_cache(maxsize=1024)
def _mentions(code: str, root: str, inside: str | None) -> tuple[frozenset[str], frozenset[tuple[str, str]]]:
    """What ``code`` takes of the package ``root``: names of the package itself, and (module, name) of its modules."""
    try:
        tree = ast.parse(code)
    except SyntaxError:  # a cell with a magic line: leave such lines out
        tree = ast.parse("\n".join(line for line in code.splitlines() if not line.lstrip().startswith(("%", "!"))))
    names, pairs, aliases, attributes = set(), set(), set(), []
    for node in ast.walk(tree):
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
                above = inside.split(".")[: -node.level] if node.level <= len(inside.split(".")) else []
                module = ".".join([root, *above, *filter(None, [module])])
            elif node.level:
                continue
            if module == root:
                names |= {alias.name for alias in node.names}
            elif module.startswith(root + "."):
                pairs |= {(module.removeprefix(root + "."), alias.name) for alias in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and not node.attr.startswith("__"):
            attributes.append((node.value.id, node.attr))
    return frozenset(names | {attr for owner, attr in attributes if owner in aliases}), frozenset(pairs)


def _imports(code: str, package: Path, inside: str | None = None) -> set[str]:
    """Modules of the package that ``code`` imports; ``inside`` is the module it belongs to, if it does to one.

    A name taken from the package itself that cannot be traced to a module counts as a use of them all.
    """
    everything = {path.stem for path in package.glob("*.py")} - {"__init__"}
    exports = _exports((package / "__init__.py").read_text(encoding="utf-8"), package.name)
    names, pairs = _mentions(code, package.name, inside)
    found = set()
    for text in names:
        found |= {text} if _file(package, text) else {exports[text]} if text in exports else everything
    for module, text in pairs:
        found.add(f"{module}.{text}" if _file(package, f"{module}.{text}") else module)
    return {module for module in found if not module.startswith("press") and _file(package, module)}


def modules_used(codes: list[str], package: Path) -> dict[str, str]:
    """Module -> hash of its code, for all modules of ``package`` that ``codes`` use, directly or through others."""
    todo = set().union(set(), *(_imports(code, package) for code in codes))
    done: dict[str, str] = {}
    while todo:
        module = todo.pop()
        code = _file(package, module).read_text(encoding="utf-8")
        done[module] = digest(essence(code))
        todo |= _imports(code, package, module) - done.keys()
    return done


def data_identity(package: Path) -> str:
    """The literal ``IDENTITY`` of the package's ``data`` module: what the data are, e.g. their checksums."""
    path = package / "data.py"
    code = path.read_text(encoding="utf-8") if path.is_file() else ""
    for node in ast.parse(code).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "IDENTITY" for target in targets) and node.value:
            return ast.get_source_segment(code, node.value)
    return ""


def fingerprint(project: Project, name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The parts of the hash that chapter ``name`` has now, with ``settings`` injected; "hash" is over the others."""
    codes = [essence(cell.source) for cell in page.code_cells(page.read(project.source(name)))]
    modules = modules_used(codes, project.package)
    constraints = project.root / CONSTRAINTS
    lines = constraints.read_text(encoding="utf-8").splitlines() if constraints.is_file() else []
    parts = {
        "code": [digest(code)[:16] for code in codes],
        "modules": {module: value[:16] for module, value in sorted(modules.items())},
        "rules": digest(ledger.rules(name))[:16],
        "versions": digest([line.strip() for line in lines if line.strip() and not line.startswith("#")])[:16],
        "data": digest(data_identity(project.package))[:16] if "data" in modules else "",
        "parameters": {key: value for key, value in settings.items() if key != "device"},
    }
    return {"hash": digest(parts), **parts}


def outputs_hash(notebook: Any) -> str:
    """Hash over the outputs of all cells, stored in the page: an edited result no longer fits it."""
    return digest([cell.outputs for cell in notebook.cells if cell.cell_type == "code"])


@dataclass(frozen=True)
class Freshness:
    """``state``: "fresh", "stale" or "missing"; ``reasons``: what has changed, in words."""

    state: str
    reasons: list[str] = field(default_factory=list)


def _changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    reasons = []
    before, after = old.get("code", []), new["code"]
    if len(before) != len(after):
        reasons.append(f"the code cells ({len(before)} then, {len(after)} now)")
    elif changed := [str(i + 1) for i, (one, other) in enumerate(zip(before, after)) if one != other]:
        reasons.append(f"code cell{'s' * (len(changed) > 1)} {', '.join(changed)}")
    before, after = old.get("modules", {}), new["modules"]
    if changed := sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key)):
        reasons.append("the package: " + ", ".join(changed))
    words = {"rules": "the rules of its claims", "versions": "the locked versions", "data": "the data"}
    reasons += [words[key] for key in words if old.get(key) != new[key]]
    before, after = old.get("parameters", {}), new["parameters"]
    if changed := sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key)):
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
    record = notebook.metadata.get("diffnotes", {}).get("provenance")
    if not record or "parts" not in record:
        return Freshness("stale", ["the page does not say where it comes from"])
    if settings is None:
        settings = project.settings(name, record["profile"], record["parts"].get("parameters", {}).get("seed"))
    reasons = _changes(record["parts"], fingerprint(project, name, settings))
    if record.get("outputs") != outputs_hash(notebook):
        reasons.append("its outputs, edited after the run")
    if device != "auto" and record["device_type"] != device:
        reasons.append(f"the device: {record['device_type']} then, {device} wanted")
    return Freshness("stale" if reasons else "fresh", reasons)


def source_reasons(notebook: Any, root: Path, name: str) -> list[str]:
    """Why the page ``notebook`` of chapter ``name`` in the book at ``root`` is stale; empty if it is fresh."""
    from .layout import Project

    return freshness(notebook, Project(root), name).reasons
