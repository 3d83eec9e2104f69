"""What in a cell writes a file whose path was typed; buffers and temporary folders may be written."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

from .reading import assignments, called, is_text, magic_of, tree
from .shell import SUBCOMMANDS, command_writes, shell_writes

__all__ = ["Names", "writes"]

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
        assigned = assignments(module)
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
            if called(node) in MAKES - {"join"} or f"{called(node)}()" in paths or (
                called(node) == "join" and isinstance(node.func, ast.Attribute) and not is_text(node.func.value)
            ):
                if not node.args:
                    return called(node) != "str"
                node = node.args[0]
            elif isinstance(node.func, ast.Attribute):
                if node.func.attr in ("cwd", "home", "getcwd"):
                    return True
                node = node.func.value if node.func.attr in KEEPS else None
                if is_text(node) and node.value.startswith("{"):  # "{}/a".format(folder)
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
    return [f"%{' '.join(magic_of(node))[:40]}" if magic_of(node) else ast.unparse(node)[:60]
            for node in calls if _writes(node, names)]  # fmt: skip


def _writes(node: ast.Call, names: Names) -> bool:
    owner = node.func.value if isinstance(node.func, ast.Attribute) else None
    origin, arguments = names.origin(node.func), node.args
    module, _, name = origin.rpartition(".") if origin else ("", "", called(node))
    words = {word.arg: word.value for word in node.keywords}
    if magic := magic_of(node):
        return _magic_writes(magic)
    if isinstance(owner, ast.Call) and called(owner) == "get_ipython":
        return name in ("system", "getoutput") and any(shell_writes(_command(part, names)) for part in arguments[:1])
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
    return is_text(mode) and bool(set(mode.value.split(":")[0]) & set("wax+"))


def _command(node: ast.AST, names: Names) -> str:
    """The text of a command; what is put into it by an expression is ``$x``."""
    if isinstance(node, ast.Name):
        node = names.values.get(node.id, node)
    if is_text(node):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if is_text(part) else "$x" for part in node.values)
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
        return command_writes([_command(part, names) for part in node.elts])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "split":
        node = node.args[0] if node.args and not is_text(node.func.value) else node.func.value
    return shell_writes(_command(node, names))


def _magic_writes(magic: list[str]) -> bool:
    name, line, body = [*magic, "", ""][:3]
    if name in WRITE_MAGICS:
        return not re.match(r"(?:-\w+\s+)*[${]", line)
    if name in SUBCOMMANDS:
        return command_writes([name, *line.split()])
    if name in SHELLS:
        return shell_writes(body if body else line)
    return False
