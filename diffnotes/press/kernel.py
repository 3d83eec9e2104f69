"""The kernel of a chapter: IPython's, without its user's settings, and it remembers what it has read and written.

``python kernel.py PACKAGE ROOT -f CONNECTION``: PACKAGE is the folder of the package under study, ROOT the book's. The
package is always compiled from its source files; each is kept, so a page can be held to the very code that made it.
:func:`report` tells that, which kept networks the cells have asked for, and which files of the book they have read or
written, as far as Python itself opens them: what a program does that a cell starts, nobody sees. The file is run by its
path: it must be there before the package is.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import types
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path

FREE = ("TMPDIR", "DIFFNOTES_DATA", "DIFFNOTES_NETWORKS", "DIFFNOTES_PUBLISHED")  # name folders that belong to no cell
held: dict[str, list[str]] = {}  # module -> each source that was compiled for it
sources: set[str] = set()  # their files
read: set[str] = set()
written: set[str] = set()
removed: set[str] = set()


class Remembering(SourceFileLoader):
    """Loads a module from its source, never from cached bytecode, and keeps what it has compiled."""

    def get_code(self, fullname: str):
        path = self.get_filename(fullname)
        sources.add(os.path.realpath(path))
        data = self.get_data(path)
        held.setdefault(fullname, []).append(data.decode("utf-8", "surrogateescape"))
        return self.source_to_code(data, path)


class Finder:
    """Finds the package at its folder, whatever else is installed under its name."""

    def __init__(self, package: Path) -> None:
        self.name, self.above = package.name, str(package.parent)

    def find_spec(self, fullname: str, path=None, target=None) -> ModuleSpec | None:
        if fullname != self.name and not fullname.startswith(self.name + "."):
            return None
        spec = PathFinder.find_spec(fullname, [self.above] if path is None else path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Remembering(spec.loader.name, spec.loader.path)
        return spec


def observe(root: Path, package: Path) -> None:
    """Keep in mind which files below ``root`` are read or written, but for what is installed there, data, kept networks
    and caches."""
    inside = os.path.join(os.path.realpath(root), "")
    home = os.environ.get("HOME", os.sep)
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    free = [sys.prefix, caches, os.path.join(package, "press"), os.path.dirname(__file__),
            *(os.environ[name] for name in FREE if os.environ.get(name))]  # fmt: skip
    free = [os.path.realpath(place) for place in free]

    def place_of(path: object, folder: object = -1) -> str | None:
        """Where ``path`` lies, if that is in the book; a bare name may be meant below the open ``folder``."""
        if not isinstance(path, (str, bytes, os.PathLike)):
            return None
        path = os.fsdecode(path)
        if isinstance(folder, int) and folder >= 0 and not os.path.isabs(path):
            path = os.path.join(f"/proc/self/fd/{folder}", path)
        place = os.path.realpath(path)
        if not place.startswith(inside) or any(place == one or place.startswith(one + os.sep) for one in free):
            return None
        return place

    def hook(event: str, arguments: tuple) -> None:
        if event == "open":
            path, mode, flags = arguments
            if (place := place_of(path)) is None:
                return
            creating = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if creating or any(letter in (mode if isinstance(mode, str) else "") for letter in "wax+"):
                written.add(place)
            elif os.path.isfile(place):
                read.add(place)
        elif event == "sqlite3.connect":
            name = os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes, os.PathLike)) else ""
            if place := place_of(name.removeprefix("file:").split("?")[0]):
                (read if os.path.exists(place) else written).add(place)
        elif event in ("os.remove", "os.rmdir"):
            if place := place_of(*arguments[:2]):
                removed.add(place)
        elif event == "os.mkdir":
            if (place := place_of(arguments[0], arguments[2])) and not os.path.isdir(place):
                written.add(place)
        elif event in ("os.rename", "os.link"):
            old, new = place_of(arguments[0], arguments[2]), place_of(arguments[1], arguments[3])
            removed.update({old} - {None} if event == "os.rename" else ())
            written.update({new} - {None})
        elif event == "os.symlink":
            if place := place_of(os.path.dirname(os.path.abspath(os.fsdecode(arguments[1]))), -1):
                written.add(os.path.join(place, os.path.basename(os.fsdecode(arguments[1]))))
        elif event == "os.truncate" and (place := place_of(arguments[0])):
            written.add(place)

    sys.addaudithook(hook)


def canonical(value: object) -> str:
    """A parameter's value as text, the same in every process: sets have no order of their own."""
    if isinstance(value, (set, frozenset)):
        return f"{type(value).__name__}({sorted(map(canonical, value))})"
    if isinstance(value, dict):
        return f"dict({[(canonical(key), canonical(item)) for key, item in value.items()]})"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({[canonical(item) for item in value]})"
    return f"{type(value).__name__}:{value!r}"


def _told(value: object) -> str:
    try:
        return canonical(value)
    except Exception as error:
        return f"something that cannot be told: {type(error).__name__}"


def loaded(ending: str, function: str) -> types.ModuleType | None:
    """The module whose name ends so, if it has been imported and has that function."""
    found = (module for name, module in list(sys.modules.items()) if name.endswith(ending))
    return next((module for module in found if hasattr(module, function)), None)


def report(place: str, root: str, names: list[str], chapter: str) -> None:
    """Write to ``place`` what this kernel holds: modules, files and networks, the values of ``names``, the rules of a
    chapter."""
    from IPython import get_ipython

    space, above = get_ipython().user_ns, os.path.realpath(root)
    left = {path for path in written if os.path.lexists(path)}  # what is gone again was nobody's harm
    left |= {path for path in removed - written if not os.path.lexists(path)}
    ledger, store = loaded(".press.ledger", "rules"), loaded(".model.store", "used")
    told = {"held": held, "rules": ledger.rules(chapter) if ledger else None,
            "networks": store.used() if store else [], "values": {name: _told(space.get(name)) for name in names},
            "read": sorted(os.path.relpath(path, above) for path in read - sources - written),
            "written": sorted(os.path.relpath(path, above) for path in left)}  # fmt: skip
    Path(place).write_text(json.dumps(told), encoding="utf-8")


def end_with_parent() -> None:
    """Have the system kill this process when its parent ends, where it can do that (Linux); ipykernel looks, too."""
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG, SIGKILL
        if os.getppid() == 1:
            os._exit(1)


def plain_figures() -> None:
    """Import matplotlib with the settings that come with it: none of the user's, nor of the folder we are in.

    What it has to say of fonts and folders it says now, not in the chapter.
    """
    here = os.getcwd()
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    os.chdir(os.environ.get("TMPDIR", here))
    try:
        import matplotlib
        import matplotlib.font_manager

        matplotlib.rcdefaults()
    except ImportError:  # a chapter without figures
        pass
    finally:
        os.chdir(here)


def refuse_exit() -> None:
    raise RuntimeError("exit() would end the kernel before the chapter is done")


def main(package: Path, root: Path) -> None:
    end_with_parent()
    sys.modules["diffnotes_kernel"] = sys.modules["__main__"]  # for the call that ends a run
    sys.meta_path.insert(0, Finder(package))
    # What a cell starts finds the same package: the run's own copy, beside which nothing lies.
    sys.path.insert(0, str(package.parent))
    os.environ["PYTHONPATH"] = str(package.parent)
    plain_figures()
    from ipykernel.kernelapp import IPKernelApp

    class App(IPKernelApp):
        """A kernel application that reads no file of settings and runs no commands of the user's."""

        def load_config_file(self, *_: object, **__: object) -> None:
            pass

        def init_code(self) -> None:
            pass

    app = App.instance(ignore_cwd=True, exec_PYTHONSTARTUP=False, log_level=logging.ERROR)
    app.initialize(sys.argv[3:])
    app.shell.ask_exit = refuse_exit
    observe(root, package)
    app.start()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
