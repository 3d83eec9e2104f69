"""What the code cells of a chapter must not do, read from the code alone.

A number that a reader sees must be the run's: not typed into a caption, a text alternative or a glued value. The
parameters belong to the parameters cell, the checkout to its author, and a solution must show something.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from .cells import CodeError, parse
from .prose import numerals

__all__ = ["changes", "constants", "idle", "shown_numerals", "tree", "typed_values", "writes"]

TEXTS = ("caption", "alt")
TYPED = "\u2060"  # before a number that is formatted although it was typed; nobody sees it
MUTATORS = {"append", "extend", "insert", "pop", "remove", "clear", "update", "sort", "reverse", "add", "discard",
            "setdefault", "popitem"}  # fmt: skip
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, ast.ListComp, ast.SetComp, ast.DictComp,
          ast.GeneratorExp)  # fmt: skip
PURE = {"float", "int", "str", "round", "abs", "complex", "Decimal", "Fraction", "tensor", "array", "asarray", "full",
        "float64", "float32", "item", "format"}  # fmt: skip  what gives a number back as it is


def tree(code: str) -> ast.Module:
    """The syntax tree of a cell; an empty one if it cannot be read, which the run says."""
    try:
        return parse(code)
    except CodeError:
        return ast.Module(body=[], type_ignores=[])


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
    return found


# --- what a reader sees -----------------------------------------------------------------------------------------------


def _typed(node: ast.AST, names: dict[str, list[ast.expr]], seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """The texts that are typed into an expression, and numbers that are formatted although they were typed."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield node.value
    elif isinstance(node, ast.FormattedValue):
        if isinstance(node.value, ast.Constant) or _is_typed(node.value, {}):
            yield f"{TYPED} {ast.unparse(node.value)}"
    elif isinstance(node, ast.Name):
        if node.id not in seen:
            for value in names.get(node.id, ()):
                if isinstance(value, (ast.Constant, ast.JoinedStr, ast.BinOp, ast.IfExp)):
                    yield from _typed(value, names, seen | {node.id})
    elif isinstance(node, ast.JoinedStr):
        yield "".join(text if isinstance(part, ast.Constant) else f" {text} " if text else "\u2009"
                      for part in node.values for text in [" ".join(_typed(part, names, seen))])  # fmt: skip
    elif isinstance(node, (ast.Subscript, ast.Compare)):
        return
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [" ".join(_typed(part, names, seen)) for part in (node.left, node.right)]
        yield "".join(parts)
    elif isinstance(node, ast.Call) and _called(node) not in ("join", "format", "dedent", "strip", "show", "str"):
        return
    else:
        for child in ast.iter_child_nodes(node):
            yield from _typed(child, names, seen)


def shown_numerals(code: str, known: Iterable[float] = ()) -> Iterator[tuple[str, str]]:
    """(caption or alt, number) of what is typed, not computed, in the captions and text alternatives of a cell.

    A number that is a constant of the chapter (``known``) may stand in a text alternative: it is a setting.
    """
    module = tree(code)
    names = _assigned(module)
    known = set(known)
    for node in ast.walk(module):
        pairs = []
        if isinstance(node, ast.keyword) and node.arg in TEXTS:
            pairs = [(node.arg, node.value)]
        elif isinstance(node, ast.Dict):
            pairs = [(key.value, value) for key, value in zip(node.keys, node.values)
                     if isinstance(key, ast.Constant) and key.value in TEXTS]  # fmt: skip
        for what, value in pairs:
            for text in _typed(value, names):
                for numeral in numerals(text, known):
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
    # Names of one constant, or of one made of such, that nothing but glue uses.
    names: dict[str, ast.expr] = {}
    lone = {name: values[0] for name, values in given.items()
            if len(values) == 1 and bound.get(name) == 1 and name not in parameters}  # fmt: skip
    while more := {name: value for name, value in lone.items() if name not in names and _is_typed(value, names)}:
        names |= more
    while True:
        within: dict[str, int] = {}
        for value in names.values():
            for child in ast.walk(value):
                if isinstance(child, ast.Name):
                    within[child.id] = within.get(child.id, 0) + 1
        used = [name for name in names if uses.get(name, 0) > inside.get(name, 0) + within.get(name, 0)]
        if not used:
            break
        for name in used:
            del names[name]
        names = {name: value for name, value in names.items() if _is_typed(value, names)}
    for index, key, value in glued:
        if not isinstance(value, ast.Constant) or not isinstance(value.value, str) or re.search(r"\d", value.value):
            if _is_typed(value, names):
                yield index, key, ast.unparse(value)


# --- what a cell changes ----------------------------------------------------------------------------------------------


def _statements(node: ast.AST, names: frozenset[str] = frozenset()) -> Iterator[ast.AST]:
    """Nodes of the cell's own scope; of functions only what they say of global ``names``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, SCOPES):
            yield child
            declared = {name for inner in ast.walk(child) if isinstance(inner, ast.Global) for name in inner.names}
            if declared:
                yield from (inner for inner in ast.walk(child) if getattr(inner, "id", None) in declared)
            yield from (inner for inner in ast.walk(child) if isinstance(inner, ast.NamedExpr)
                        and not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)))  # fmt: skip
        else:
            yield child
            yield from _statements(child, names)


def _root(node: ast.AST) -> str:
    while isinstance(node, (ast.Subscript, ast.Attribute, ast.Starred)):
        node = node.value
    return getattr(node, "id", "")


def changes(code: str, parameters: Iterable[str]) -> list[str]:
    """Names of the ``parameters`` that a cell sets, deletes or changes, in any way that can be read from its code."""
    names, found = set(parameters), []
    for node in _statements(tree(code)):
        touched: list[str] = []
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            touched = [node.id]
        elif isinstance(node, (ast.Subscript, ast.Attribute)) and not isinstance(node.ctx, ast.Load):
            touched = [_root(node)]
            if isinstance(node, ast.Subscript) and _is_globals(node.value):
                touched = [str(getattr(node.slice, "value", ""))]
        elif isinstance(node, ast.NamedExpr):
            touched = [node.target.id]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            touched = [node.name]
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            touched = [(alias.asname or alias.name).split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ExceptHandler):
            touched = [node.name or ""]
        elif isinstance(node, (ast.MatchAs, ast.MatchStar)):
            touched = [node.name or ""]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if _is_globals(node.func.value) and node.func.attr in MUTATORS | {"__setitem__", "__delitem__"}:
                touched = [word.arg or "" for word in node.keywords]
                touched += [str(child.value) for part in node.args for child in ast.walk(part)
                            if isinstance(child, ast.Constant)]  # fmt: skip
            elif node.func.attr in MUTATORS:
                touched = [_root(node.func.value)]
            elif node.func.attr in ("run_line_magic", "run_cell_magic", "ex", "push", "run_cell"):
                text = " ".join(part.value for part in node.args if isinstance(getattr(part, "value", None), str))
                touched = re.findall(r"\b(\w+)\s{0,3}(?:[-+*/|&^%@]|//|\*\*|<<|>>)?=(?!=)", text)
        elif isinstance(node, ast.Call) and _called(node) in ("exec", "setattr", "delattr") and node.args:
            text = " ".join(part.value for part in node.args if isinstance(getattr(part, "value", None), str))
            touched = re.findall(r"\b\w+\b", text)
        found += [name for name in touched if name in names]
    return list(dict.fromkeys(found))


def _is_globals(node: ast.AST) -> bool:
    return (isinstance(node, ast.Call) and _called(node) in ("globals", "locals", "vars")) or (
        isinstance(node, ast.Attribute) and node.attr == "user_ns"
    )


SAVES = {"savefig": 0, "save": None, "savez": 0, "savez_compressed": 0, "savetxt": 0, "tofile": 0, "dump": 1,
         "to_csv": 0, "to_json": 0, "to_parquet": 0, "to_excel": 0, "to_pickle": 0, "to_hdf": 0, "to_html": 0,
         "to_feather": 0, "write_image": 0, "write_html": 0, "imsave": 0, "imwrite": 0, "save_model": None,
         "save_file": None, "urlretrieve": 1, "NamedTemporaryFile": 9}  # fmt: skip
OS_WRITES = {"remove", "rename", "replace", "mkdir", "makedirs", "rmdir", "unlink", "removedirs", "symlink", "link",
             "truncate", "copy", "copy2", "copyfile", "copytree", "move", "rmtree", "make_archive"}  # fmt: skip
PATH_WRITES = {"write_text", "write_bytes", "mkdir", "touch", "unlink", "rmdir", "rename", "replace", "symlink_to",
               "hardlink_to"}  # fmt: skip
FILE_WORDS = ("fname", "file", "f", "path", "filename", "path_or_buf", "fp")
FILE_MODULES = ("io", "gzip", "bz2", "lzma", "codecs")
SHELLS = ("bash", "sh", "script", "system", "sx")
SHELL = re.compile(r">|\b(?:tee|touch|cp|mv|rm|mkdir|ln|dd|wget|curl|sed\s+-i|git|pip|truncate|install|unzip|tar)\b")
WRITE_MAGICS = {"writefile", "file", "save", "logstart", "notebook", "cp", "mv", "rm", "mkdir", "edit"}


def _is_path(node: ast.AST | None, names: dict[str, list[ast.expr]], depth: int = 0) -> bool:
    """Whether an expression is a path that was typed: a text, or one made from texts."""
    if isinstance(node, (ast.Constant, ast.JoinedStr)):
        return isinstance(node, ast.JoinedStr) or isinstance(node.value, str)
    if isinstance(node, ast.Name) and depth < 3:
        return any(_is_path(value, names, depth + 1) for value in names.get(node.id, ()))
    if isinstance(node, ast.BinOp):
        left = node.left
        return _is_path(left, names, depth) if isinstance(node.op, (ast.Div, ast.Add, ast.Mod)) else False
    if isinstance(node, ast.Call):
        if _called(node) in ("Path", "PurePath", "PosixPath", "join", "abspath", "expanduser", "str", "fspath"):
            return not node.args or _is_path(node.args[0], names, depth)
        if isinstance(node.func, ast.Attribute):
            if node.func.attr in ("joinpath", "with_suffix", "with_name", "resolve", "absolute", "format"):
                return _is_path(node.func.value, names, depth)
            return node.func.attr in ("cwd", "home", "getcwd")
    if isinstance(node, ast.Attribute):
        return node.attr in ("parent", "parents") and _is_path(node.value, names, depth)
    return False


def writes(code: str, names: dict[str, list[ast.expr]] | None = None) -> list[str]:
    """What in a cell writes to a file whose path was typed; buffers and temporary folders may be written.

    Args:
        code: the cell.
        names: the values that the cells above have given to names; those of this cell are added.
    """
    module, found = tree(code), []
    names = {} if names is None else names
    for name, values in _assigned(module).items():
        names.setdefault(name, []).extend(values)
    for node in ast.walk(module):
        if not isinstance(node, ast.Call):
            continue
        name, arguments = _called(node), node.args
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        words = {word.arg: word.value for word in node.keywords}
        shell = isinstance(owner, ast.Call) and _called(owner) == "get_ipython"
        if shell:
            text = " ".join(part.value for part in arguments if isinstance(getattr(part, "value", None), str))
            magic = text.split()[0] if text.split() else ""
            if name in ("system", "getoutput") and SHELL.search(text):
                found.append(f"!{text[:40]}")
            elif name.startswith("run_"):
                if magic in WRITE_MAGICS or (magic in SHELLS and SHELL.search(text)):
                    found.append(f"%{text[:40]}")
        elif name == "open":
            plain = owner is None or _of(owner, *FILE_MODULES)
            path = words.get("file", arguments[0] if arguments else None) if plain else owner
            mode = words.get("mode", (arguments[plain : plain + 1] or [None])[0])
            letters = getattr(mode, "value", "")
            if isinstance(letters, str) and set(letters) & set("wax+") and _is_path(path, names):
                found.append(ast.unparse(node)[:60])
        elif name in PATH_WRITES and owner is not None and _is_path(owner, names) and not isinstance(
            owner, (ast.Constant, ast.JoinedStr)
        ):
            if not (name == "replace" and not any(isinstance(part, ast.Call) for part in ast.walk(owner))):
                found.append(ast.unparse(node)[:60])
        elif name in OS_WRITES and owner is not None and _of(owner, "os", "shutil"):
            if any(_is_path(part, names) for part in arguments):
                found.append(ast.unparse(node)[:60])
        elif name in SAVES and owner is not None:
            place = SAVES[name]
            chosen = arguments if place is None else arguments[place : place + 1]
            given = [*chosen, *(words[key] for key in FILE_WORDS if key in words)]
            if any(_is_path(part, names) for part in given):
                found.append(ast.unparse(node)[:60])
        elif _of(owner, "subprocess") or (_of(owner, "os") and name in ("system", "popen")):
            if SHELL.search(" ".join(str(child.value) for child in ast.walk(node) if isinstance(child, ast.Constant))):
                found.append(ast.unparse(node)[:60])
    return found


def _of(owner: ast.AST | None, *modules: str) -> bool:
    return isinstance(owner, ast.Name) and owner.id in modules


# --- solutions --------------------------------------------------------------------------------------------------------


def idle(codes: Iterable[str]) -> bool:
    """Whether code shows and checks nothing: ``pass``, comments, constants, imports, or assertions of constants."""

    def says(node: ast.AST) -> bool:
        return any(isinstance(child, (ast.Name, ast.Call, ast.Attribute)) and not (
            isinstance(child, ast.Name) and child.id in ("print", "display", "None", "NotImplemented")
        ) for child in ast.walk(node))  # fmt: skip

    for code in codes:
        for node in ast.walk(tree(code)):
            if isinstance(node, ast.Assert) and says(node.test) and not _is_typed(node.test, {}):
                return False
            if isinstance(node, ast.Expr) and says(node.value):
                if isinstance(node.value, ast.Call) and _called(node.value) in ("print", "display"):
                    if not any(says(part) for part in [*node.value.args, *(w.value for w in node.value.keywords)]):
                        continue
                return False
    return True
