"""Whether the code of a solution shows or checks anything."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from .reading import called, tree
from .showing import is_typed

__all__ = ["idle"]


def _reached(module: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a cell that can come to run, and to something: not below a false condition or an empty loop, and not
    where every failure is passed over."""
    todo = [module]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ast.Lambda):
            continue
        dead = isinstance(node, (ast.If, ast.While)) and isinstance(node.test, ast.Constant) and not node.test.value
        dead |= isinstance(node, ast.For) and isinstance(node.iter, (ast.List, ast.Tuple)) and not node.iter.elts
        dead |= isinstance(node, ast.Try) and bool(node.handlers) and all(
            isinstance(line, ast.Pass) for handler in node.handlers for line in handler.body
        )  # fmt: skip
        skipped = {id(child) for child in node.body} if dead else set()
        todo += [child for child in ast.iter_child_nodes(node) if id(child) not in skipped]


def _always(node: ast.Assert) -> bool:
    """Whether an assertion cannot fail: it is "... or" something constant that holds."""
    test = node.test
    return isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or) and any(
        isinstance(part, ast.Constant) and part.value for part in test.values
    )  # fmt: skip


def idle(codes: Iterable[str]) -> bool:
    """Whether code shows and checks nothing: ``pass``, comments, constants, imports, or assertions of constants."""

    def says(node: ast.AST) -> bool:
        return any(isinstance(child, (ast.Name, ast.Call, ast.Attribute)) and not (
            isinstance(child, ast.Name) and child.id in ("print", "display", "None", "NotImplemented")
        ) for child in ast.walk(node))  # fmt: skip

    for code in codes:
        for node in _reached(tree(code)):
            if isinstance(node, ast.Assert) and says(node.test) and not is_typed(node.test, {}) and not _always(node):
                return False
            if isinstance(node, ast.Expr) and says(node.value):
                if isinstance(node.value, ast.Call) and called(node.value) in ("print", "display"):
                    if not any(says(part) for part in [*node.value.args, *(w.value for w in node.value.keywords)]):
                        continue
                return False
    return True
