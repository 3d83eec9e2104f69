"""The code of a cell as a tree, with the code that its magics are given."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache

from ..cells import CodeError, given, parse

__all__ = ["SCOPES", "TAKES_NAMES", "assignments", "called", "is_text", "magic_of", "tree"]

SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, ast.ListComp, ast.SetComp, ast.DictComp,
          ast.GeneratorExp)  # fmt: skip
# Magics that are given something else than code of this notebook.
OTHERS = {"bash", "sh", "script", "system", "sx", "cmd", "perl", "ruby", "python", "python2", "python3", "pypy",
          "html", "HTML", "latex", "markdown", "javascript", "js", "svg", "SVG", "writefile", "file", "env",
          "set_env", "config", "alias", "alias_magic", "pip", "conda", "mamba", "uv", "matplotlib", "load_ext",
          "reload_ext", "cd", "ls", "R", "cython", "macro", "logstart"}  # fmt: skip
TAKES_NAMES = {"capture", "xdel", "reset_selective"}  # magics that set or delete the variables they are given


@lru_cache(maxsize=256)
def tree(code: str) -> ast.Module:
    """The syntax tree of a cell and of the code its magics are given; an empty one if it cannot be read.

    The run says what cannot be read.
    """
    try:
        todo = [parse(code)]
    except CodeError:
        return ast.Module(body=[], type_ignores=[])
    body: list[ast.stmt] = []
    while todo:
        module = todo.pop()
        body += module.body
        for node in ast.walk(module):
            for text in _magic_codes(node):
                part = next(given(text))
                if isinstance(part, ast.Module):
                    todo.append(part)
    return ast.Module(body=body, type_ignores=[])


def magic_of(node: ast.AST) -> list[str]:
    """Name, line and perhaps body of the magic that a node calls; nothing if it calls none."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return []
    if node.func.attr not in ("run_line_magic", "run_cell_magic"):
        return []
    return [part.value if is_text(part) else "" for part in node.args]


def _magic_codes(node: ast.AST) -> Iterator[str]:
    """The code of this notebook that a call of IPython is given."""
    if name := magic_of(node)[:1]:
        yield from (text for text in magic_of(node)[1:] if text.strip() and name[0] not in OTHERS | TAKES_NAMES)
        if name[0] in TAKES_NAMES:
            yield from magic_of(node)[2:]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("ex", "run_cell"):
        yield from (part.value for part in node.args if is_text(part))


def is_text(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def assignments(module: ast.Module) -> dict[str, list[ast.expr]]:
    """Name -> the values that it is given in a cell, outside and inside of functions."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(module):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.NamedExpr)) and node.value is not None:
            for target in targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(node.value)
                elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    for one, value in zip(target.elts, node.value.elts):
                        if isinstance(one, ast.Name):
                            found.setdefault(one.id, []).append(value)
    return found
