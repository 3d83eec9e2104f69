"""What of the texts and values that a reader sees was typed: captions, text alternatives and glued values."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from ..prose import numerals
from .reading import SCOPES, assignments, called, tree

__all__ = ["TYPED", "Texts", "constants", "is_typed", "shown_numerals", "typed_values"]

TEXTS = ("caption", "alt")
TYPED = "\u2060"  # before a number that is formatted although it was typed; nobody sees it
PURE = {"float", "int", "str", "round", "abs", "complex", "Decimal", "Fraction", "tensor", "array", "asarray", "full",
        "float64", "float32", "item", "format", "max", "min", "sum", "mean"}  # fmt: skip  what gives typed numbers back


def constants(codes: Iterable[str]) -> set[float]:
    """The numbers that stand in code: the settings of a chapter, and what else it is told."""
    return {
        abs(float(node.value))
        for code in codes for node in ast.walk(tree(code))
        if isinstance(node, ast.Constant) and type(node.value) in (int, float) and abs(node.value) < 1e300
    }  # fmt: skip


class Texts:
    """The texts that are typed into expressions, and numbers that are formatted although they were typed.

    What is put together is kept for each name, and has at most ``LONGEST`` characters: longer ones stay in pieces.
    """

    LONGEST, MOST, DEEPEST = 1_000, 100, 60

    def __init__(self, names: dict[str, list[ast.expr]]):
        self.names = names
        self.kept: dict[str, list[str]] = {}

    def of(self, node: ast.AST, depth: int = 0) -> list[str]:
        if depth > self.DEEPEST:
            return []
        if isinstance(node, ast.Constant):
            return [node.value] if isinstance(node.value, str) else []
        if isinstance(node, ast.FormattedValue):
            typed = isinstance(node.value, ast.Constant) or is_typed(node.value, {})
            return [f"{TYPED} {ast.unparse(node.value)}"] if typed else []
        if isinstance(node, ast.Name):
            if node.id not in self.kept:
                self.kept[node.id] = []  # a name that is made from itself adds nothing
                shown = (ast.Constant, ast.JoinedStr, ast.BinOp, ast.IfExp, ast.Name)
                values = [value for value in self.names.get(node.id, ()) if isinstance(value, shown)]
                self.kept[node.id] = self._some(text for value in values for text in self.of(value, depth + 1))
            return self.kept[node.id]
        if isinstance(node, ast.JoinedStr):
            parts = [self.of(part, depth + 1) for part in node.values]
            return self._joined(parts, [" " * (not isinstance(part, ast.Constant)) for part in node.values], "\u2009")
        if isinstance(node, (ast.Subscript, ast.Compare)):
            return []
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            terms: list[ast.AST] = []
            while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
                terms.append(node.right)
                node = node.left
            parts = [self.of(part, depth + 1) for part in [node, *reversed(terms)]]
            return self._joined(parts, [""] * len(parts), "")
        if isinstance(node, ast.Call) and called(node) not in ("join", "format", "dedent", "strip", "show", "str"):
            return []
        return self._some(text for child in ast.iter_child_nodes(node) for text in self.of(child, depth + 1))

    def _some(self, texts: Iterable[str]) -> list[str]:
        return list(dict.fromkeys(texts))[: self.MOST]

    def _joined(self, parts: list[list[str]], around: list[str], empty: str) -> list[str]:
        if sum(len(text) + 1 for part in parts for text in part) > self.LONGEST:
            return self._some(text for part in parts for text in part)
        pieces = [f"{space}{' '.join(part)}{space}" if part else empty for part, space in zip(parts, around)]
        return ["".join(pieces)]


def shown_numerals(code: str, known: Iterable[float] = ()) -> Iterator[tuple[str, str]]:
    """(caption or alt, number) of what is typed, not computed, in the captions and text alternatives of a cell.

    A number that is a constant of the chapter (``known``) may stand in a text alternative: it is a setting.
    """
    module = tree(code)
    texts = Texts(assignments(module))
    known = set(known)
    found: dict[str, list[str]] = {}
    for node in ast.walk(module):
        pairs = []
        if isinstance(node, ast.keyword) and node.arg in TEXTS:
            pairs = [(node.arg, node.value)]
        elif isinstance(node, ast.Dict):
            pairs = [(key.value, value) for key, value in zip(node.keys, node.values)
                     if isinstance(key, ast.Constant) and key.value in TEXTS]  # fmt: skip
        for what, value in pairs:
            for text in texts.of(value):
                if text not in found:
                    found[text] = numerals(text, known)
                for numeral in found[text]:
                    if what == "caption" or TYPED in text or not _setting(numeral, known):
                        yield what, numeral


def _setting(numeral: str, known: set[float]) -> bool:
    try:
        value = abs(float(numeral.strip("$ ").rstrip("%").strip().replace("−", "-").replace(",", "")))
    except ValueError:
        return False
    return "%" not in numeral and (value in known or bool(re.fullmatch(r"1e[-+]?\d{1,3}", numeral)))


def is_typed(node: ast.AST, names: dict[str, ast.expr]) -> bool:
    """Whether an expression has nothing in it but what was typed."""
    number = False
    for child in ast.walk(node):
        if isinstance(child, ast.Constant) and not isinstance(child.value, (str, type(None), bool)):
            number = True
        elif isinstance(child, ast.Constant) and isinstance(child.value, str):
            number = number or bool(re.search(r"\d", child.value))
        elif isinstance(child, ast.Call):
            if called(child) not in PURE:
                return False
        elif isinstance(child, ast.Name):
            if child.id in names:
                number = True
            elif child.id not in PURE | {"torch", "np", "numpy", "math"}:
                return False
        elif isinstance(child, (ast.Lambda, ast.Await, ast.NamedExpr, *SCOPES)):
            return False
    return number


def typed_values(cells: list[tuple[int, str]], parameters: Iterable[str] = ()) -> Iterator[tuple[int, str, str]]:
    """(index, key, code) of the values that are glued although they were typed: the run has no part in them.

    Args:
        cells: (index, code) of the code cells but that of the parameters.
        parameters: the names that the parameters cell sets.

    A name counts as typed if it is given one constant in the chapter and nothing but ``glue`` makes use of it.
    """
    trees = [(index, tree(code)) for index, code in cells]
    given: dict[str, list[ast.expr]] = {}
    bound: dict[str, int] = {}
    uses: dict[str, int] = {}
    glued: list[tuple[int, str, ast.expr]] = []
    inside: dict[str, int] = {}
    for index, module in trees:
        for name, values in assignments(module).items():
            given.setdefault(name, []).extend(values)
        for node in ast.walk(module):
            if isinstance(node, ast.Name):
                count = uses if isinstance(node.ctx, ast.Load) else bound
                count[node.id] = count.get(node.id, 0) + 1
            elif isinstance(node, ast.arg):
                bound[node.arg] = bound.get(node.arg, 0) + 2
            elif isinstance(node, ast.Call) and called(node) in ("glue", "paste"):
                pairs = [(word.arg, word.value) for word in node.keywords if word.arg]
                for word in node.keywords:
                    if word.arg is None and isinstance(word.value, ast.Dict):
                        pairs += [(ast.unparse(key) if key else "**", value)
                                  for key, value in zip(word.value.keys, word.value.values)]  # fmt: skip
                    elif word.arg is None and isinstance(word.value, ast.Call) and called(word.value) == "dict":
                        pairs += [(one.arg, one.value) for one in word.value.keywords if one.arg]
                    elif word.arg is None and isinstance(word.value, ast.DictComp):
                        pairs += [(ast.unparse(word.value.key), word.value.value)]
                if len(node.args) > 1:
                    pairs.append((ast.unparse(node.args[0]), node.args[1]))
                glued += [(index, key, value) for key, value in pairs if key != "display"]
                for _, value in pairs:
                    for child in ast.walk(value):
                        if isinstance(child, ast.Name):
                            inside[child.id] = inside.get(child.id, 0) + 1
    lone = {name: values[0] for name, values in given.items()
            if len(values) == 1 and bound.get(name) == 1 and name not in parameters}  # fmt: skip
    names = _lone_constants(lone, uses, inside)
    for index, key, value in glued:
        if not isinstance(value, ast.Constant) or not isinstance(value.value, str) or re.search(r"\d", value.value):
            if is_typed(value, names):
                yield index, key, ast.unparse(value)


def _lone_constants(
    lone: dict[str, ast.expr], uses: dict[str, int], inside: dict[str, int]
) -> dict[str, ast.expr]:
    """Those of the names that are given one constant, or what is made of such ones, and that nothing but glue uses.

    Each name is settled once: those that are made of it are looked at when it is settled, and not before.
    """
    mentioned = {name: Counter(child.id for child in ast.walk(value) if isinstance(child, ast.Name))
                 for name, value in lone.items()}  # fmt: skip
    made_of: dict[str, list[str]] = {}
    for name, others in mentioned.items():
        for other in others:
            made_of.setdefault(other, []).append(name)
    missing, names = {}, {}
    for name, value in lone.items():
        if is_typed(value, dict.fromkeys(mentioned[name].keys() & lone.keys())):  # if those all are
            missing[name] = {other for other in mentioned[name] if other in lone and other != name}
            if name in mentioned[name]:
                del missing[name]
    todo = [name for name, others in missing.items() if not others]
    while todo:
        name = todo.pop()
        names[name] = lone[name]
        for other in made_of.get(name, ()):
            if name in missing.get(other, ()):
                missing[other].remove(name)
                if not missing[other]:
                    todo.append(other)
    within: Counter[str] = Counter()
    for name in names:
        within.update(mentioned[name])
    todo = [name for name in names if uses.get(name, 0) > inside.get(name, 0) + within[name]]
    while todo:
        name = todo.pop()
        if name not in names:
            continue
        del names[name]
        todo += [other for other in made_of.get(name, ()) if other in names]
        within.subtract(mentioned[name])
        todo += [other for other in mentioned[name]
                 if other in names and uses.get(other, 0) > inside.get(other, 0) + within[other]]  # fmt: skip
    return names
