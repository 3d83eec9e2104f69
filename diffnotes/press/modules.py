"""The modules of the package that code uses, followed through imports, and what of each can change a result.

A module counts with its code, without comments and docstrings, unless something reads these. The press counts for
nothing: it knows none of the mathematics. The modules that train networks count by the number that :func:`training`
finds, not by their code: their results are kept, and a test holds the code to them.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from .cells import CodeError, docstrings, essence, given, newlines, parse, reads_documentation, trees

__all__ = ["all_modules", "digest", "literal", "looks_at_itself", "module_digest", "modules_used", "training"]

STORE = "model.store"  # the module that keeps trained networks
TRAINING_ROOMS = ("model.train", "model.loss")  # the modules that its number TRAINING stands for
STARTS = re.compile(r"\b(?:subprocess|multiprocessing|joblib|concurrent\.futures|os\.(?:fork|system|popen|exec|spawn))")


def digest(value: Any) -> str:
    """SHA-256 of a text, or of the JSON of anything else; hexadecimal."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def file_of(package: Path, module: str) -> Path | None:
    """The source file of a module of ``package``, named from there ("core.law"); None if it has none."""
    path = package.joinpath(*module.split("."))
    options = (path.with_name(f"{path.name}.py"), path / "__init__.py")
    return next((option for option in options if option.is_file()), None)


class Sources:
    """The modules of a package as they lie now: one look at the folder for all questions of one answer."""

    def __init__(self, package: Path) -> None:
        self.package, self.root = package, package.name
        self.files: dict[str, Path] = {}  # module -> file
        for path in sorted(package.rglob("*.py")):  # "law/__init__.py" comes before "law.py", which counts
            self.files[".".join(path.relative_to(package).with_suffix("").parts).removesuffix(".__init__")] = path

    def __contains__(self, module: str) -> bool:
        return module in self.files

    @property
    def studied(self) -> set[str]:
        """All modules but those that stand above the chapters: the press, and the exercises."""
        return {module for module in self.files if module.split(".")[0] not in ("press", "exercises")}

    def code(self, module: str) -> str:
        return self.files[module].read_text(encoding="utf-8", errors="surrogateescape")

    @cached_property
    def exports(self) -> dict[str, str]:
        """Name -> module, from what the ``__init__`` of the package imports and from its table for lazy imports.

        An entry of the table is a name and its module, or a module and its names with spaces between them.
        """
        imported, table = _handed_on(self.code("__init__"), self.root)
        names = dict(imported)
        for one, other in table:
            names |= dict.fromkeys(other.split(), one) if one in self else {one: other}
        return names

    def home(self, module: str) -> str:
        """The package that the relative imports of ``module`` start from."""
        own = self.files[module].name == "__init__.py" and module != "__init__"
        return module if own else module.rpartition(".")[0]


@lru_cache(maxsize=64)
def _handed_on(code: str, root: str) -> tuple[tuple[tuple[str, str], ...], ...]:
    """(name, module) of the imports in ``code``, and the pairs of texts in its tables."""
    imported, table = [], []
    try:
        tree = parse(code)
    except CodeError:
        return (), ()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = (node.module or "").removeprefix(root).lstrip(".")
            imported += [(alias.asname or alias.name, module or alias.name) for alias in node.names]
        elif isinstance(node, ast.Dict):
            pairs = [(key, value) for key, value in zip(node.keys, node.values)
                     if isinstance(key, ast.Constant) and isinstance(value, ast.Constant)]  # fmt: skip
            table += [(str(key.value), str(value.value).removeprefix(root).lstrip(".")) for key, value in pairs]
    return tuple(imported), tuple(table)


@lru_cache(maxsize=1024)
def _mentions(code: str, root: str, inside: str | None) -> tuple[frozenset, frozenset, frozenset]:
    """What ``code`` takes of the package ``root``: names of the package itself, (module, name) of its modules, and
    texts that read like a module of it.

    ``inside`` is the package that relative imports start from, "" for the root. "*" stands for all of the package.
    """
    names, pairs, spelled, aliases, attributes = set(), set(), set(), set(), []
    for node in _nodes(code, root, names, cell=inside is None):
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


def _nodes(code: str, root: str, names: set[str], cell: bool) -> Iterable[ast.AST]:
    """The nodes of ``code`` and of what its magics are given; what cannot be read but names the package takes all.

    Texts that import the package are read as code, too, but for the docstrings of modules.
    """
    try:
        waiting = list(trees(code))
        while waiting:
            tree = waiting.pop()
            if isinstance(tree, str):
                names |= {"*"} if re.search(rf"\b{re.escape(root)}\b", tree) else set()
                continue
            told = set() if cell else {id(text) for text in docstrings(tree)}
            for node in ast.walk(tree):
                yield node
                text = node.value if isinstance(node, ast.Constant) and id(node) not in told else None
                if isinstance(text, str) and re.search(rf"\b(?:import|from)\s+{re.escape(root)}\b", text):
                    waiting += given(text)  # code for another process, perhaps
    except CodeError:  # the run will say so; until then nothing is left out
        if re.search(rf"\b{re.escape(root)}\b", code):
            names.add("*")


def _imports(code: str, sources: Sources, inside: str | None = None) -> set[str]:
    """Modules of the package that ``code`` imports; ``inside`` is the package it belongs to, if it does to one.

    A name taken from the package itself that cannot be traced to a module counts as a use of them all.
    """
    names, pairs, spelled = _mentions(code, sources.root, inside)
    found = set(spelled)
    for text in names:
        found |= {text} if text in sources else {sources.exports.get(text, "*")}
    for module, text in pairs:
        found.add(f"{module}.{text}" if f"{module}.{text}" in sources else module)
    if "*" in found:
        found |= sources.studied
    above = {".".join(module.split(".")[:i]) for module in found for i in range(1, module.count(".") + 1)}
    return (found | above) & sources.studied


def modules_used(codes: list[str], package: Path, seen: Iterable[str] = ()) -> dict[str, str]:
    """Module -> hash of its code, for all modules of ``package`` that ``codes`` use, directly or through others.

    ``seen`` are further modules, such as a run was seen to import. Where a cell reads documentation, that counts, too.
    Modules of the training are left out.
    """
    sources = Sources(package)
    todo = {module for module in seen if module in sources}.union(*(_imports(code, sources) for code in codes))
    if any(map(STARTS.search, codes)):  # what another process imports, nobody sees
        todo |= sources.studied
    whole = any(map(reads_documentation, codes)) or _looks_at_itself(sources)
    done: dict[str, str] = {}
    rooms = training(package)[1]
    while todo:
        module = todo.pop()
        if module in rooms:
            continue
        code = sources.code(module)
        done[module] = module_digest(code, whole)
        # The root's own imports are not followed: it names everything, and the run tells what of that was loaded.
        todo |= (_imports(code, sources, sources.home(module)) if module != "__init__" else set()) - done.keys()
        todo |= {"__init__"} - done.keys()
    return done


@lru_cache(maxsize=1024)
def module_digest(code: str, whole: bool = False) -> str:
    """What the hash takes of a module; ``whole``: with its documentation."""
    code = newlines(code)
    return digest(code if whole or reads_documentation(code) else essence(code))


def looks_at_itself(package: Path) -> bool:
    """Whether a module of the package looks at documentation or code, perhaps that of another one."""
    return _looks_at_itself(Sources(package))


def _looks_at_itself(sources: Sources) -> bool:
    return any(reads_documentation(sources.code(module)) for module in sources.studied)


def all_modules(package: Path, whole: bool = False) -> dict[str, str]:
    """Module -> hash of its code, for all of ``package`` but the press: what a run may have imported."""
    sources = Sources(package)
    return {module: module_digest(sources.code(module), whole) for module in sources.studied}


def literal(package: Path, module: str, name: str) -> str:
    """The code of what a module gives to ``name`` at its top level; "" if it does not, all of its code if that is none.

    It is read, not run.
    """
    place = file_of(package, module)
    return _given(place.read_text(encoding="utf-8", errors="replace"), name) if place else ""


@lru_cache(maxsize=64)
def _given(code: str, name: str) -> str:
    try:
        tree = parse(code)
    except CodeError:  # no chapter can run with it
        return code
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets) and node.value:
            return ast.get_source_segment(newlines(code), node.value)
    return ""


def training(package: Path) -> tuple[str, frozenset[str]]:
    """The number of the training of networks, "" if none are kept, and the modules that it stands for.

    The number is the literal ``TRAINING`` of the module that keeps networks.
    """
    number = literal(package, STORE, "TRAINING")
    return number, frozenset(TRAINING_ROOMS) if number else frozenset()
