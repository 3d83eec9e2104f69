"""Runs a Python program that must not outlive its owner: ``python guard.py FOLDER SCRIPT|-c CODE|-m MODULE [ARG...]``.

When standard input closes, because the owner wants it or is no more, this process ends with all that it has started,
and removes FOLDER, the private folder of both. What the program leaves running when it ends by itself is ended, too.
The file is run by its path and imports nothing of the package, so that it is the same for every package it runs.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import shutil
import signal
import sys
import threading
from pathlib import Path


def adopt() -> None:
    """Have the processes that lose their parent become children of this one, where the system can do that (Linux)."""
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def end_children() -> None:
    """End all processes that this one has started, and those that they have started."""
    import psutil

    for _ in range(100):
        children = psutil.Process().children(recursive=True)
        living = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
        if not living:
            return
        for child in living:
            with contextlib.suppress(psutil.Error):
                child.kill()
        psutil.wait_procs(living, timeout=0.1)


def watch(owner: int, folder: Path) -> None:
    """Wait for the owner's end of the pipe ``owner`` to close, then end everything."""
    with contextlib.suppress(OSError):
        while os.read(owner, 1):
            pass
    with contextlib.suppress(Exception):
        end_children()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def ended(number: int, frame: object) -> None:
    """End with all that was started, as by the signal ``number``."""
    end_children()
    os._exit(128 + number)


def hold(folder: Path) -> None:
    """Mark ``folder`` as in use as long as this process lives."""
    with contextlib.suppress(OSError):
        import fcntl

        fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_SH)


def main(folder: Path, program: list[str]) -> None:
    owner = os.dup(0)  # not inherited
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    adopt()
    hold(folder)
    for name in ("SIGTERM", "SIGHUP", "SIGQUIT"):
        signal.signal(getattr(signal, name), ended)
    threading.Thread(target=watch, args=(owner, folder), daemon=True).start()
    kind, *rest = program
    try:
        if kind == "-c":
            sys.argv = ["-c", *rest[1:]]
            exec(compile(rest[0], "<command>", "exec"), {"__name__": "__main__"})
        elif kind == "-m":
            sys.argv = rest
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            sys.argv = program
            runpy.run_path(kind, run_name="__main__")
    finally:
        end_children()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
