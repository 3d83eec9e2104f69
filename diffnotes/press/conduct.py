"""What the code cells of a chapter must not do, read from the code alone.

A number that a reader sees must be the run's: not typed into a caption, a text alternative or a glued value. The
parameters belong to the parameters cell, the checkout to its author, and a solution must show something.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from .cells import CodeError, given, parse
from .prose import numerals

__all__ = ["Names", "changes", "constants", "idle", "shown_numerals", "tree", "typed_values", "writes"]

TEXTS = ("caption", "alt")
TYPED = "\u2060"  # before a number that is formatted although it was typed; nobody sees it
MUTATORS = {"append", "extend", "insert", "pop", "remove", "clear", "update", "sort", "reverse", "add", "discard",
            "setdefault", "popitem"}  # fmt: skip
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, ast.ListComp, ast.SetComp, ast.DictComp,
          ast.GeneratorExp)  # fmt: skip
PURE = {"float", "int", "str", "round", "abs", "complex", "Decimal", "Fraction", "tensor", "array", "asarray", "full",
        "float64", "float32", "item", "format", "max", "min", "sum", "mean"}  # fmt: skip  what gives typed numbers back


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


def _magic(node: ast.AST) -> list[str]:
    """Name, line and perhaps body of the magic that a node calls; nothing if it calls none."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return []
    if node.func.attr not in ("run_line_magic", "run_cell_magic"):
        return []
    return [part.value if _is_text(part) else "" for part in node.args]


def _magic_codes(node: ast.AST) -> Iterator[str]:
    """The code of this notebook that a call of IPython is given."""
    if name := _magic(node)[:1]:
        yield from (text for text in _magic(node)[1:] if text.strip() and name[0] not in OTHERS | TAKES_NAMES)
        if name[0] in TAKES_NAMES:
            yield from _magic(node)[2:]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("ex", "run_cell"):
        yield from (part.value for part in node.args if _is_text(part))


def _is_text(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def constants(codes: Iterable[str]) -> set[float]:
    """The numbers that stand in code: the settings of a chapter, and what else it is told."""
    return {
        abs(float(node.value))
        for code in codes for node in ast.walk(tree(code))
        if isinstance(node, ast.Constant) and type(node.value) in (int, float) and abs(node.value) < 1e300
    }  # fmt: skip


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _assigned(module: ast.Module) -> dict[str, list[ast.expr]]:
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


# --- what a reader sees -----------------------------------------------------------------------------------------------


class _Texts:
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
            typed = isinstance(node.value, ast.Constant) or _is_typed(node.value, {})
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
        if isinstance(node, ast.Call) and _called(node) not in ("join", "format", "dedent", "strip", "show", "str"):
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
    texts = _Texts(_assigned(module))
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


def _is_typed(node: ast.AST, names: dict[str, ast.expr]) -> bool:
    """Whether an expression has nothing in it but what was typed."""
    number = False
    for child in ast.walk(node):
        if isinstance(child, ast.Constant) and not isinstance(child.value, (str, type(None), bool)):
            number = True
        elif isinstance(child, ast.Constant) and isinstance(child.value, str):
            number = number or bool(re.search(r"\d", child.value))
        elif isinstance(child, ast.Call):
            if _called(child) not in PURE:
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
        for name, values in _assigned(module).items():
            given.setdefault(name, []).extend(values)
        for node in ast.walk(module):
            if isinstance(node, ast.Name):
                count = uses if isinstance(node.ctx, ast.Load) else bound
                count[node.id] = count.get(node.id, 0) + 1
            elif isinstance(node, ast.arg):
                bound[node.arg] = bound.get(node.arg, 0) + 2
            elif isinstance(node, ast.Call) and _called(node) in ("glue", "paste"):
                pairs = [(word.arg, word.value) for word in node.keywords if word.arg]
                for word in node.keywords:
                    if word.arg is None and isinstance(word.value, ast.Dict):
                        pairs += [(ast.unparse(key) if key else "**", value)
                                  for key, value in zip(word.value.keys, word.value.values)]  # fmt: skip
                    elif word.arg is None and isinstance(word.value, ast.Call) and _called(word.value) == "dict":
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
            if _is_typed(value, names):
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
        if _is_typed(value, dict.fromkeys(mentioned[name].keys() & lone.keys())):  # if those all are
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


# --- what a cell changes ----------------------------------------------------------------------------------------------


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
    texts = _Texts(_assigned(module))
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


def _touched(node: ast.Call, own: bool, texts: _Texts, names: set[str]) -> list[str]:
    """The names of the notebook that a call sets or changes."""
    name, arguments = _called(node), node.args
    owner = node.func.value if isinstance(node.func, ast.Attribute) else None
    if magic := _magic(node):
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
        if isinstance(code, ast.Call) and _called(code) == "compile" and code.args:
            code = code.args[0]
        codes = [text.replace("\u2009", "0").replace(TYPED, "").strip() for text in texts.of(code)]
        return [name for text in codes for name in changes(text, names)]
    return []


def _keys(node: ast.AST) -> list[str]:
    """The keys of a dictionary, of pairs, or a key itself, as far as they are typed."""
    if _is_text(node):
        return [node.value]
    if isinstance(node, ast.Dict):
        return [key.value for key in node.keys if _is_text(key)]
    if isinstance(node, ast.Call) and _called(node) == "dict":
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
    return (isinstance(node, ast.Name) and node.id == "__main__") or (_is_text(node) and node.value == "__main__")


def _is_globals(node: ast.AST, own: bool = True) -> bool:
    """Whether an expression is the dictionary of the notebook's names; in functions locals() is another one."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id == "vars" and node.args:
            return _is_main(node.args[0])
        return node.func.id == "globals" or (own and node.func.id in ("locals", "vars"))
    return isinstance(node, ast.Attribute) and (
        node.attr == "user_ns" or (node.attr == "__dict__" and _is_main(node.value))
    )


# --- what a cell writes -----------------------------------------------------------------------------------------------

# Functions and methods that write a file, and where their path stands: for methods of objects it is the first.
SAVES = {"savefig", "save", "savez", "savez_compressed", "savetxt", "savemat", "tofile", "dump", "to_csv", "to_json",
         "to_parquet", "to_excel", "to_pickle", "to_hdf", "to_html", "to_feather", "write_image", "write_html",
         "imsave", "imwrite", "save_model", "save_file", "save_image", "save_pretrained", "urlretrieve"}  # fmt: skip
SECOND = {"dump", "save_file", "save_model", "save_image", "urlretrieve"}  # the path is the second; torch.save, too
OS_WRITES = {"remove", "rename", "replace", "mkdir", "makedirs", "rmdir", "unlink", "removedirs", "symlink", "link",
             "truncate", "copy", "copy2", "copyfile", "copytree", "move", "rmtree", "make_archive"}  # fmt: skip
COPIES = {"symlink", "link", "copy", "copy2", "copyfile", "copytree"}  # these leave their first path as it is
PATH_WRITES = {"write_text", "write_bytes", "mkdir", "touch", "unlink", "rmdir", "rename", "replace", "symlink_to",
               "hardlink_to"}  # fmt: skip
FILE_WORDS = ("fname", "file", "f", "path", "filename", "path_or_buf", "fp", "dst")
MAKES = {"Path", "PurePath", "PosixPath", "abspath", "expanduser", "str", "fspath", "join"}
KEEPS = {"joinpath", "with_suffix", "with_name", "with_stem", "resolve", "absolute", "format", "replace"}
FILE_MODULES = ("io", "gzip", "bz2", "lzma", "codecs", "tarfile", "builtins")
USUAL = {"np": "numpy", "plt": "matplotlib.pyplot", "pd": "pandas"} | {name: name for name in (
    "numpy", "torch", "os", "shutil", "subprocess", "pickle", "json", "joblib", *FILE_MODULES)}  # fmt: skip
SHELLS = ("bash", "sh", "script", "system", "sx")
WRITE_MAGICS = {"writefile", "file", "save", "logstart", "notebook", "cp", "mv", "rm", "mkdir", "edit"}


@dataclass
class Names:
    """What the cells of a chapter say of names: which are typed paths, what was imported as what, and last values."""

    paths: set[str] = field(default_factory=set)
    origins: dict[str, str] = field(default_factory=lambda: dict(USUAL))
    values: dict[str, ast.expr] = field(default_factory=dict)

    def add(self, module: ast.Module) -> None:
        """Takes in what a cell says."""
        for node in ast.walk(module):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    name = alias.name if alias.asname else alias.name.split(".")[0]
                    self.origins[alias.asname or name] = name
            elif isinstance(node, ast.ImportFrom) and not node.level:
                for alias in node.names:
                    self.origins[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                    if node.module in ("pathlib", "os.path", "posixpath") and alias.name in MAKES:
                        self.paths.add(f"{alias.asname or alias.name}()")
        assigned = _assigned(module)
        for _ in range(3):
            for name, values in assigned.items():
                self.values[name] = values[-1]
                if name not in self.paths and any(_is_path(value, self.paths) for value in values):
                    self.paths.add(name)

    def origin(self, node: ast.AST) -> str:
        """The full name of a function of a module; "" for anything else."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        root = self.origins.get(node.id, "") if isinstance(node, ast.Name) else ""
        return ".".join([root, *reversed(parts)]) if root else ""


def _is_path(node: ast.AST | None, paths: set[str]) -> bool:
    """Whether an expression is a path that was typed: a text, or one that begins with a typed one."""
    while node is not None:
        if isinstance(node, ast.Constant):
            return isinstance(node.value, (str, bytes)) and node.value not in ("/dev/null", "")
        if isinstance(node, ast.Name):
            return node.id in paths
        if isinstance(node, ast.JoinedStr):
            first = node.values[0] if node.values else None
            if isinstance(first, ast.FormattedValue) and isinstance(first.value, ast.Constant):
                return True
            node = first.value if isinstance(first, ast.FormattedValue) else first
        elif isinstance(node, ast.BinOp):
            node = node.left if isinstance(node.op, (ast.Div, ast.Add, ast.Mod)) else None
        elif isinstance(node, ast.Call):
            if _called(node) in MAKES - {"join"} or f"{_called(node)}()" in paths or (
                _called(node) == "join" and isinstance(node.func, ast.Attribute) and not _is_text(node.func.value)
            ):
                if not node.args:
                    return _called(node) != "str"
                node = node.args[0]
            elif isinstance(node.func, ast.Attribute):
                if node.func.attr in ("cwd", "home", "getcwd"):
                    return True
                node = node.func.value if node.func.attr in KEEPS else None
                if _is_text(node) and node.value.startswith("{"):  # "{}/a".format(folder)
                    return False
            else:
                return False
        elif isinstance(node, ast.Subscript):
            node = node.value if isinstance(node.value, ast.Attribute) else None
        elif isinstance(node, ast.Attribute):
            node = node.value if node.attr in ("parent", "parents") else None
        else:
            return False
    return False


def writes(code: str, names: Names | None = None) -> list[str]:
    """What in a cell writes to a file whose path was typed; buffers and temporary folders may be written.

    Args:
        code: the cell.
        names: what the cells above have said of names; what this cell says is added.
    """
    module = tree(code)
    names = Names() if names is None else names
    names.add(module)
    calls = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
    return [f"%{' '.join(_magic(node))[:40]}" if _magic(node) else ast.unparse(node)[:60]
            for node in calls if _writes(node, names)]  # fmt: skip


def _writes(node: ast.Call, names: Names) -> bool:
    owner = node.func.value if isinstance(node.func, ast.Attribute) else None
    origin, arguments = names.origin(node.func), node.args
    module, _, name = origin.rpartition(".") if origin else ("", "", _called(node))
    words = {word.arg: word.value for word in node.keywords}
    if magic := _magic(node):
        return _magic_writes(magic)
    if isinstance(owner, ast.Call) and _called(owner) == "get_ipython":
        return name in ("system", "getoutput") and any(_shell_writes(_command(part, names)) for part in arguments[:1])
    if name in ("open", "File", "ZipFile", "TarFile") and (owner is None or module or name != "open"):
        if name == "open" and module and module not in FILE_MODULES:
            return False
        mode = words.get("mode", arguments[1] if len(arguments) > 1 else None)
        return _opens(mode) and _is_path(words.get("file", arguments[0] if arguments else None), names.paths)
    if name == "open":
        return _opens(words.get("mode", arguments[0] if arguments else None)) and _is_path(owner, names.paths)
    if module.split(".")[0] == "subprocess" or origin in ("os.system", "os.popen"):
        first = arguments[0] if arguments else words.get("args")
        return first is not None and _process_writes(first, names)
    if module in ("os", "shutil") and name in OS_WRITES:
        chosen = arguments[1:] if name in COPIES else arguments[:1] if name == "make_archive" else arguments
        given = [*chosen, *(words[key] for key in FILE_WORDS if key in words)]
        return any(_is_path(part, names.paths) for part in given)
    if name in SAVES and (owner is not None or module):
        second = bool(module) and (name in SECOND or (name == "save" and module.split(".")[0] == "torch"))
        given = [*arguments[second : second + 1], *(words[key] for key in FILE_WORDS if key in words)]
        return any(_is_path(part, names.paths) for part in given)
    if name in PATH_WRITES and owner is not None and not module:
        if isinstance(owner, (ast.Constant, ast.JoinedStr)):
            return False
        if name == "replace" and len(arguments) + len(words) != 1:  # that of a text has two arguments
            return False
        return _is_path(owner, names.paths)
    return False


def _opens(mode: ast.AST | None) -> bool:
    return _is_text(mode) and bool(set(mode.value.split(":")[0]) & set("wax+"))


# --- commands of a shell ----------------------------------------------------------------------------------------------

COMMANDS = {"tee", "touch", "cp", "mv", "rm", "mkdir", "rmdir", "ln", "dd", "truncate", "unzip", "install", "wget",
            "rsync", "patch", "gzip", "gunzip", "zip", "unlink", "shred", "mkfifo", "mktemp"}  # fmt: skip
LAST = {"cp", "mv", "ln", "install", "rsync"}  # what these write is named last
SUBCOMMANDS = {
    "git": {"add", "am", "apply", "bisect", "checkout", "cherry-pick", "clean", "clone", "commit", "fetch", "gc",
            "init", "merge", "mv", "pull", "push", "rebase", "reset", "restore", "revert", "rm", "stash", "submodule",
            "switch", "worktree"},
    **{name: {"install", "uninstall", "download", "wheel", "update", "upgrade", "remove", "create", "add", "sync"}
       for name in ("pip", "pip3", "conda", "mamba", "uv", "apt", "apt-get", "npm", "brew")},
}  # fmt: skip
BEFORE = {"sudo", "time", "env", "nice", "exec", "command", "nohup", "if", "then", "else", "elif", "do", "while",
          "until", "!", "{", "(", "xargs"}  # fmt: skip
_QUOTED = re.compile(r"\\.|'([^']*+)'|\"((?:\\.|[^\"\\])*+)\"", re.S)
_TESTS = re.compile(r"\[\[[^\n\[\]]*+\]\]|\(\([^\n()]*+\)\)|(?m:^|(?<=\s))#[^\n]*+")
_REDIRECTION = re.compile(r"(?<![<>])(?:\d|&)?>{1,2}\|?[ \t]*+(?![&($>{=]|/dev/|\s|$)")
_BREAKS = re.compile(r"[;|&\n`()]|\$\(")


def _shell_writes(text: str) -> bool:
    """Whether a line or script of a shell writes a file: into one, or by a command that does.

    >>> [_shell_writes(text) for text in ("git log > a", "git log 2>&1", "echo '->'", "touch a", "touch $folder/a")]
    [True, False, False, True, False]
    """
    text = _without_documents(text.replace("\\\n", " "))
    quoted: list[str] = []

    def aside(match: re.Match[str]) -> str:
        inside = match[1] if match[1] is not None else match[2]
        if inside is None:
            return match[0]
        quoted.append(inside)
        return "$" if re.match(r"[${]", inside) else "/dev/" if inside.startswith("/dev/") else f"\0{len(quoted) - 1}\0"

    plain = _TESTS.sub(" ", _QUOTED.sub(aside, text))
    if _REDIRECTION.search(plain):
        return True

    def whole(word: str) -> str:
        return re.sub("\0(\\d+)\0", lambda match: quoted[int(match[1])], word)

    return any(_command_writes([whole(word) for word in part.split()]) for part in _BREAKS.split(plain))


def _without_documents(text: str) -> str:
    """A script without the texts that it hands to commands, from <<EOF to EOF."""
    lines, end = text.split("\n"), None
    alone = {line.strip() for line in lines}
    kept = []
    for line in lines:
        if end is None:
            kept.append(line)
            start = re.search(r"(?<!<)<<-?\s{0,3}['\"\\]?([A-Za-z_]\w*+)", line)
            end = start[1] if start and start[1] in alone else None
        elif line.strip() == end:
            end = None
    return "\n".join(kept)


def _command_writes(words: list[str]) -> bool:
    """Whether a command of these words writes to something that was typed; what begins with $ or { was not."""
    place = 0
    while place < len(words) and (words[place] in BEFORE or re.match(r"\w+=", words[place])):
        place += 1
    words = words[place:]
    if not words:
        return False
    name, rest = words[0].rpartition("/")[2], words[1:]
    if "-c" in rest[:3] and re.fullmatch(r"(?:ba|z|da|k)?sh", name):
        return any(_shell_writes(word) for word in rest[rest.index("-c") + 1 :][:1])
    if re.fullmatch(r"python[\d.]*|\$\w*", name) and rest[:1] == ["-m"]:
        return _command_writes(rest[1:])
    plain = [word for word in rest if not re.match(r"[-<>]|\d?>", word)]
    if name in SUBCOMMANDS:
        places = [word for before, word in zip([name, *rest], rest) if before not in ("-C", "-c")]
        chosen = next((word for word in places if not word.startswith("-")), "")
        if name == "git" and chosen in ("branch", "tag", "config", "remote"):
            reads = {"--list", "-l", "--get", "-v", "show", "get-url"} & set(rest)
            return len(plain) > 1 and not reads
        if name == "git" and chosen in ("stash", "worktree") and "list" in rest:
            return False
        return chosen in SUBCOMMANDS[name] and "--dry-run" not in rest
    if name == "find":
        return "-delete" in rest or any(
            before in ("-exec", "-execdir", "-ok") and word in COMMANDS for before, word in pairwise(rest)
        )
    if name in ("sed", "perl"):
        return any(re.match(r"-[a-z]*i|--in-place", word) for word in rest)
    if name == "curl":
        kept = any(re.match(r"-[a-zA-Z]*[oO]\b|--output|--remote-name", word) for word in rest)
        return kept and "/dev/null" not in rest
    if name == "tar":
        return bool(rest) and bool(re.match(r"-?[a-z]*[xcru]|--(?:extract|create|append)", rest[0]))
    if name == "wget" and any(re.fullmatch(r"-q?O-?|--spider", word) for word in rest):
        return "-O" in rest and not any(word == "-" or re.match(r"[${/]", word) for word in plain)
    if name in ("gzip", "gunzip", "unzip") and any(re.fullmatch(r"-[a-z]*[clptkz]+[a-z]*|--stdout", w) for w in rest):
        return False
    if name == "dd":
        return any(word.startswith("of=") and not re.match(r"of=(?:[${]|/dev/)", word) for word in rest)
    if name in COMMANDS:
        written = plain[-1:] if name in LAST else plain
        if name == "mv":
            written = plain
        return any(not re.match(r"[${]|/dev/", word) for word in written)
    return False


def _command(node: ast.AST, names: Names) -> str:
    """The text of a command; what is put into it by an expression is ``$x``."""
    if isinstance(node, ast.Name):
        node = names.values.get(node.id, node)
    if _is_text(node):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if _is_text(part) else "$x" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Mod)):
        return _command(node.left, names) + (_command(node.right, names) if isinstance(node.op, ast.Add) else "")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return re.sub(r"\{\w{0,40}\}", "$x", _command(node.func.value, names))
    return "$x"


def _process_writes(node: ast.AST, names: Names) -> bool:
    """Whether the command that a process is given, as a list or a text, writes a file."""
    if isinstance(node, ast.Name):
        node = names.values.get(node.id, node)
    if isinstance(node, (ast.List, ast.Tuple)):
        return _command_writes([_command(part, names) for part in node.elts])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "split":
        node = node.args[0] if node.args and not _is_text(node.func.value) else node.func.value
    return _shell_writes(_command(node, names))


def _magic_writes(magic: list[str]) -> bool:
    name, line, body = [*magic, "", ""][:3]
    if name in WRITE_MAGICS:
        return not re.match(r"(?:-\w+\s+)*[${]", line)
    if name in SUBCOMMANDS:
        return _command_writes([name, *line.split()])
    if name in SHELLS:
        return _shell_writes(body if body else line)
    return False


# --- solutions --------------------------------------------------------------------------------------------------------


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
            if isinstance(node, ast.Assert) and says(node.test) and not _is_typed(node.test, {}) and not _always(node):
                return False
            if isinstance(node, ast.Expr) and says(node.value):
                if isinstance(node.value, ast.Call) and _called(node.value) in ("print", "display"):
                    if not any(says(part) for part in [*node.value.args, *(w.value for w in node.value.keywords)]):
                        continue
                return False
    return True
