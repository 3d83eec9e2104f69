"""The parameters of a chapter, known before any run: what its cell sets, what a profile changes, which seeds follow.

The cell tagged ``parameters`` holds the cpu profile, as plain values; ``notebooks/profiles.toml`` has a table
``[NAME.PROFILE]`` with what the other profiles change.
"""

from __future__ import annotations

import ast
import copy
import math
from pathlib import Path
from typing import Any, ClassVar

from .cells import CodeError, newlines, parse
from .errors import PressError
from .files import read_toml
from .layout import PROFILES, Project
from .page import read, tags

__all__ = ["parameters", "plain", "seeds", "settings", "values"]

SAFE = {name: __builtins__[name] if isinstance(__builtins__, dict) else getattr(__builtins__, name)
        for name in ("abs", "bool", "dict", "float", "int", "len", "list", "max", "min", "range", "round", "set",
                     "sorted", "str", "sum", "tuple")}  # fmt: skip
PLAIN_NODES = (
    ast.Module, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr, ast.expr_context, ast.operator, ast.unaryop,
    ast.boolop, ast.cmpop, ast.Constant, ast.Name, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.UnaryOp, ast.BinOp,
    ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.keyword, ast.Starred, ast.Subscript, ast.Slice, ast.ListComp,
    ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.comprehension,
)  # fmt: skip


def values(code: str) -> dict[str, Any]:
    """The plain values that ``code`` gives to names: the parameters of a chapter, without running the chapter.

    Numbers, texts, lists and the like, and what arithmetic, comprehensions and a few built-in functions (``range``,
    ``list``, ``float``, ...) make of them.

    Raises:
        CodeError: for anything else, naming the line.

    >>> values("a = 1\\nb, c = 'x', [2]\\nseeds = list(range(a, 4))")
    {'a': 1, 'b': 'x', 'c': [2], 'seeds': [1, 2, 3]}
    """
    tree = parse(code)
    for node in ast.walk(tree):
        allowed = isinstance(node, PLAIN_NODES) and not (isinstance(node, ast.Expr) and not _is_text(node.value))
        if allowed and isinstance(node, ast.Call):
            allowed = isinstance(node.func, ast.Name) and node.func.id in SAFE
        if not allowed:
            line = newlines(code).split("\n")[getattr(node, "lineno", 1) - 1].strip()
            raise CodeError(f"line {getattr(node, 'lineno', 1)}: {line[:60]!r} is no plain value; allowed: numbers, "
                            f"texts, lists, arithmetic, {', '.join(sorted(SAFE))}")
    own = {"__power__": _power, "__times__": _times, "range": _range}
    found: dict[str, Any] = {"__builtins__": {**SAFE, **own}}
    tree = ast.fix_missing_locations(_Limited().visit(copy.deepcopy(tree)))
    try:
        exec(compile(tree, "<parameters>", "exec"), found)
    except Exception as error:
        raise CodeError(f"{type(error).__name__}: {error}") from error
    return {name: value for name, value in found.items() if not name.startswith("__")}


class _Limited(ast.NodeTransformer):
    """Has powers, shifts and products in a tree computed by functions that refuse what would fill the memory."""

    NAMES: ClassVar = {ast.Pow: "__power__", ast.LShift: "__power__", ast.Mult: "__times__"}

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if type(node.op) not in self.NAMES:
            return node
        left, right = node.left, node.right
        if isinstance(node.op, ast.LShift):  # a << b is a 2^b
            right = ast.Call(ast.Name("__power__", ast.Load()), [ast.Constant(2), node.right], [])
        name = "__times__" if isinstance(node.op, ast.LShift) else self.NAMES[type(node.op)]
        return ast.copy_location(ast.Call(ast.Name(name, ast.Load()), [left, right], []), node)


MOST = 1_000_000  # entries of a parameter


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and exponent * base.bit_length() > 10_000:
        raise ValueError(f"{base} ** {exponent} has thousands of digits")
    return base**exponent


def _times(left: Any, right: Any) -> Any:
    for many, times in ((left, right), (right, left)):
        if isinstance(many, (str, bytes, list, tuple)) and isinstance(times, int) and len(many) * times > MOST:
            raise ValueError(f"more than {MOST} entries")
    return left * right


def _range(*ends: int) -> range:
    found = range(*ends)
    if len(found) > MOST:
        raise ValueError(f"{found} has more than {MOST} entries")
    return found


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def plain(value: Any) -> Any:
    """``value`` as it can stand in JSON: ranges, tuples and sets as lists, infinite numbers and NaN as texts.

    >>> plain({"clip": float("inf"), "seeds": range(2)})
    {'clip': 'inf', 'seeds': [0, 1]}
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        value = sorted(value, key=repr)
    if isinstance(value, (list, tuple, range)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


# --- of a chapter -----------------------------------------------------------------------------------------------------


def parameters(notebook: Any, where: str = "the notebook") -> dict[str, Any]:
    """The settings in the cell tagged "parameters". PressError naming cell and line if they are no plain values."""
    found = [(i, cell) for i, cell in enumerate(notebook.cells) if "parameters" in tags(cell)]
    try:
        return values(found[0][1].source) if found else {}
    except CodeError as error:
        raise PressError(f"{where}, cell {found[0][0] + 1} (parameters): {error}") from error


def settings(
    project: Project, name: str, profile: str, seed: int | None = None, device: str = "auto", source: Any = None
) -> dict[str, Any]:
    """What a run injects below the parameters cell: the values that differ from it.

    Args:
        project: the book.
        name: the chapter.
        profile: "smoke", "cpu", "gpu", or one that the chapter has of its own.
        seed: replaces the seed in the parameters cell.
        device: "auto", "cpu" or "cuda".
        source: the chapter's notebook, if it has been read already.

    Raises:
        PressError: if the chapter does not have the profile, the profile sets a name that the parameters cell does not
            have, or the cell is no plain values.
    """
    project.require(profile, [name])
    own = parameters(read(project.source(name)) if source is None else source, f"notebooks/{name}.ipynb")
    if missing := {"profile", "device", "seed"} - own.keys():
        raise PressError(f"notebooks/{name}.ipynb: its parameters cell does not set {', '.join(sorted(missing))}")
    table = project.tables
    wanted = _changed(table, project.chapters(), name, profile, own) if table.is_file() else {}
    wanted = wanted | {"profile": profile, "device": device} | ({} if seed is None else {"seed": seed})
    seeds(own | wanted, f"notebooks/{name}.ipynb in profile {profile}")
    # Told apart by what is written, not by ==: 1 is not true, NaN is NaN.
    return {key: value for key, value in wanted.items() if repr(plain(value)) != repr(plain(own[key]))}


def _changed(table: Path, chapters: list[str], name: str, profile: str, own: dict[str, Any]) -> dict[str, Any]:
    """What a profile changes of a chapter's ``own`` parameters, by the file ``table``. PressError where that errs."""
    tables = read_toml(table)
    if strange := sorted(tables.keys() - set(chapters)):
        raise PressError(f"profiles.toml: [{strange[0]}] is no chapter; allowed: {', '.join(chapters)}")
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
    return wanted


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
