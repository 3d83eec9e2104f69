"""Which parameters of a chapter a cell changes: they are set in the parameters cell and nowhere else."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from itertools import pairwise

from .reading import SCOPES, TAKES_NAMES, assignments, called, is_text, magic_of, tree
from .showing import TYPED, Texts

__all__ = ["changes"]

MUTATORS = {"append", "extend", "insert", "pop", "remove", "clear", "update", "sort", "reverse", "add", "discard",
            "setdefault", "popitem"}  # fmt: skip


def _statements(module: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
    """(node, whether it is in the cell's own scope); of functions only what they say of names of the notebook."""
    todo = [*reversed([*ast.iter_child_nodes(module)])]
    while todo:
        node = todo.pop()
        yield node, True
        if not isinstance(node, SCOPES):
            todo += reversed([*ast.iter_child_nodes(node)])
            continue
        declared = {name for inner in ast.walk(node) if isinstance(inner, ast.Global) for name in inner.names}
        function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for inner in ast.walk(node):
            if getattr(inner, "id", None) in declared or (isinstance(inner, ast.NamedExpr) and not function):
                yield inner, True
            elif isinstance(inner, (ast.Subscript, ast.Call)):
                yield inner, False


def _root(node: ast.AST) -> str:
    while isinstance(node, (ast.Subscript, ast.Attribute, ast.Starred)):
        node = node.value
    return getattr(node, "id", "")


def changes(code: str, parameters: Iterable[str]) -> list[str]:
    """Names of the ``parameters`` that a cell sets, deletes or changes, in any way that can be read from its code."""
    module = tree(code)
    names, found = set(parameters), []
    texts = Texts(assignments(module))
    for node, own in _statements(module):
        touched: list[str] = []
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load) and _is_globals(node.value, own):
            touched = _keys(node.slice)
        elif isinstance(node, ast.Call):
            touched = _touched(node, own, texts, names)
        elif not own:
            continue
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            touched = [node.id]
        elif isinstance(node, (ast.Subscript, ast.Attribute)) and not isinstance(node.ctx, ast.Load):
            touched = [node.attr if isinstance(node, ast.Attribute) and _is_main(node.value) else _root(node)]
        elif isinstance(node, ast.NamedExpr):
            touched = [node.target.id]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            touched = [node.name]
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            touched = [(alias.asname or alias.name).split(".")[0] for alias in node.names]
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
            touched = [node.name or ""]
        elif isinstance(node, ast.MatchMapping):
            touched = [node.rest or ""]
        found += [name for name in touched if name in names]
    return list(dict.fromkeys(found))


def _touched(node: ast.Call, own: bool, texts: Texts, names: set[str]) -> list[str]:
    """The names of the notebook that a call sets or changes."""
    name, arguments = called(node), node.args
    owner = node.func.value if isinstance(node.func, ast.Attribute) else None
    if magic := magic_of(node):
        words = " ".join(magic[1:2]).split()
        if magic[0] in TAKES_NAMES:
            return words
        return [word for before, word in pairwise(words) if before in ("--out", "--err")]
    if owner is not None and _is_globals(owner, own) and name in MUTATORS | {"__setitem__", "__delitem__"}:
        return [word.arg or "" for word in node.keywords] + [key for part in (
            [*arguments, *(word.value for word in node.keywords if not word.arg)] if name == "update" else arguments[:1]
        ) for key in _keys(part)]  # fmt: skip
    if name in ("setitem", "delitem") and len(arguments) > 1 and _is_globals(arguments[0], own):
        return _keys(arguments[1])
    if owner is not None and name == "push" and isinstance(owner, (ast.Call, ast.Name)):
        return [key for part in arguments[:1] for key in _keys(part)]
    if name in ("setattr", "delattr") and len(arguments) > 1 and _is_main(arguments[0]):
        return _keys(arguments[1])
    if not own:
        return []
    if owner is not None and name in MUTATORS:
        return [_root(owner)]
    if name in ("exec", "eval") and owner is None and arguments:
        if len(arguments) > 1 and not _is_globals(arguments[1], own):  # in a namespace of its own
            return []
        code = arguments[0]
        if isinstance(code, ast.Call) and called(code) == "compile" and code.args:
            code = code.args[0]
        codes = [text.replace("\u2009", "0").replace(TYPED, "").strip() for text in texts.of(code)]
        return [name for text in codes for name in changes(text, names)]
    return []


def _keys(node: ast.AST) -> list[str]:
    """The keys of a dictionary, of pairs, or a key itself, as far as they are typed."""
    if is_text(node):
        return [node.value]
    if isinstance(node, ast.Dict):
        return [key.value for key in node.keys if is_text(key)]
    if isinstance(node, ast.Call) and called(node) == "dict":
        return [word.arg or "" for word in node.keywords]
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return [key for part in node.elts for key in (_keys(part)[:1] if isinstance(part, ast.Tuple) else _keys(part))]
    return []


def _is_main(node: ast.AST) -> bool:
    """Whether an expression is the module that a notebook is."""
    if isinstance(node, ast.Call):  # import_module("__main__"), __import__("__main__")
        node = node.args[0] if node.args else node
    if isinstance(node, ast.Subscript):  # sys.modules["__main__"], sys.modules[__name__]
        node = node.slice
        if isinstance(node, ast.Name) and node.id == "__name__":
            return True
    return (isinstance(node, ast.Name) and node.id == "__main__") or (is_text(node) and node.value == "__main__")


def _is_globals(node: ast.AST, own: bool = True) -> bool:
    """Whether an expression is the dictionary of the notebook's names; in functions locals() is another one."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id == "vars" and node.args:
            return _is_main(node.args[0])
        return node.func.id == "globals" or (own and node.func.id in ("locals", "vars"))
    return isinstance(node, ast.Attribute) and (
        node.attr == "user_ns" or (node.attr == "__dict__" and _is_main(node.value))
    )
