"""The kernel of a chapter: IPython's, without its user's settings, and it remembers what it has read and written.

``python kernel.py PACKAGE ROOT -f CONNECTION``: PACKAGE is the folder of the package under study, ROOT the book's. The
package is always compiled from its source files; of each the SHA-256 is kept, so a page can be held to the very code
that made it. :func:`report` tells that, and which files of the book the cells have read or written. The file is run by
its path: it must be there before the package is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path

held: dict[str, list[str]] = {}  # module -> SHA-256 of each source that was compiled for it
read: set[str] = set()
written: set[str] = set()


class Remembering(SourceFileLoader):
    """Loads a module from its source, never from cached bytecode, and keeps the hash of what it has compiled."""

    def get_code(self, fullname: str):
        path = self.get_filename(fullname)
        data = self.get_data(path)
        held.setdefault(fullname, []).append(hashlib.sha256(data).hexdigest())
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
    """Keep in mind which files below ``root`` are read or written; ``package`` and what is installed may be read."""
    inside, free = str(root.resolve()) + os.sep, (str(package) + os.sep, os.path.join(sys.prefix, ""))
    free += (os.environ["DIFFNOTES_DATA"],) if os.environ.get("DIFFNOTES_DATA") else ()  # known by its checksums
    private = tuple(os.path.join(os.path.realpath(os.environ[name]), "") for name in ("TMPDIR",) if name in os.environ)
    writes = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}

    def note(path: object, writing: bool) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        place = os.path.abspath(os.fsdecode(path))
        if place.startswith(inside) and not place.startswith(private):
            if writing:
                written.add(place[len(inside) :])
            elif not place.startswith(free) and not os.path.isdir(place):
                read.add(place[len(inside) :])

    def hook(event: str, arguments: tuple) -> None:
        if event == "open":
            path, mode, flags = arguments
            words = mode if isinstance(mode, str) else ""
            creating = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            note(path, bool(creating) or any(letter in words for letter in "wax+"))
        elif event in writes:
            for argument in arguments[:2]:
                note(argument, True)

    sys.addaudithook(hook)


def report(place: str, names: list[str], chapter: str) -> None:
    """Write to ``place`` what this kernel holds: modules and files, the values of ``names``, the rules of a chapter."""
    from IPython import get_ipython

    space = get_ipython().user_ns
    ledger = next((module for name, module in sys.modules.items() if name.endswith(".press.ledger")), None)
    rules = ledger.rules(chapter) if ledger is not None and hasattr(ledger, "rules") else None
    told = {"held": held, "read": sorted(read), "written": sorted(written), "rules": rules,
            "values": {name: repr(space.get(name)) for name in names}}  # fmt: skip
    Path(place).write_text(json.dumps(told), encoding="utf-8")


def end_with_parent() -> None:
    """Have the system kill this process when its parent ends, where it can do that (Linux); ipykernel looks, too."""
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG, SIGKILL
        if os.getppid() == 1:
            os._exit(1)


def plain_figures() -> None:
    """Import matplotlib with the settings that come with it: none of the user's, nor of the folder we are in."""
    here = os.getcwd()
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    os.chdir(os.environ.get("TMPDIR", here))
    try:
        import matplotlib

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
    plain_figures()
    from ipykernel.kernelapp import IPKernelApp

    class App(IPKernelApp):
        """A kernel application that reads no file of settings and runs no commands of the user's."""

        def load_config_file(self, *_: object, **__: object) -> None:
            pass

        def init_code(self) -> None:
            pass

    app = App.instance(ignore_cwd=True, exec_PYTHONSTARTUP=False)
    app.initialize(sys.argv[3:])
    app.shell.ask_exit = refuse_exit
    observe(root, package)
    app.start()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
