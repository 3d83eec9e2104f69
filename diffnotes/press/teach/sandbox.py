"""A room of its own for code that is not trusted: bubblewrap's, with a few folders to read and nothing else.

The process sees this Python, the package without the keys of the exercises, and published networks, all read-only; two
small folders of its own in memory; no network, no other process, nothing of the environment. It has no capability, also
where root grades: with one it could take away what lies over the keys, or make the rest writable. What the kernel shows
of itself in /proc is read-only, too: root could change it without a capability.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from ..errors import PressError
from ..layout import Project

__all__ = ["command"]

SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts")
ROOM = 2**28  # bytes of files that it may write to /tmp, and to the shared memory of its processes
SOURCES = (".git", "notebooks", "tests", "_build")  # of a book, with solutions


def command(project: Project) -> list[str]:
    """The command that starts the process that executes a submission.

    Raises:
        PressError: if bubblewrap is not installed, or may not make a room here.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise PressError("submissions are executed inside bubblewrap, which is not installed; on Debian: sudo apt-get "
                         "install bubblewrap; on other systems grade in a Linux container or virtual machine")
    # Its first process is bwrap's own, and shows the environment that it was started with in /proc.
    told = subprocess.run([bwrap, "--help"], capture_output=True, text=True)
    alone = ["--unshare-user", "--disable-userns"] if "--disable-userns" in told.stdout else []  # from 0.8 on
    room = ["/usr/bin/env", "-i", bwrap, *alone, *_room(project)]
    tried = subprocess.run([*room, "/usr/bin/env", "true"], capture_output=True, text=True)
    if tried.returncode:
        raise PressError(f"bubblewrap cannot make a room here: {tried.stderr.strip() or tried.returncode}; it needs "
                         "user namespaces, or to be started as root")
    return [*room, sys.executable, "-s", "-m", "diffnotes.exercises.answering"]


def _room(project: Project) -> list[str]:
    package = project.package
    python = (sys.base_prefix, sys.prefix, Path(sys.executable).resolve().parent)
    read = dict.fromkeys(map(str, (*SYSTEM, *python, package, project.published_networks)))
    told = {
        "HOME": "/tmp/work", "TMPDIR": "/tmp/work", "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "USER": "student",
        "MPLBACKEND": "agg", "MPLCONFIGDIR": "/tmp/work/.matplotlib", "IPYTHONDIR": "/tmp/work/.ipython",
        "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(package.parent),
        "DIFFNOTES_GRADING": "1", "DIFFNOTES_NETWORKS": "/tmp/work/networks",
        "DIFFNOTES_PUBLISHED": str(project.published_networks),
    }  # fmt: skip
    bound = [word for path in read if Path(path).exists() for word in ("--ro-bind", path, path)]
    covers = [word for path in _hidden(project, read) for word in ("--tmpfs", path, "--remount-ro", path)]
    return ["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv",
            *(word for name, value in told.items() for word in ("--setenv", name, value)),
            "--size", str(ROOM), "--tmpfs", "/tmp", "--dir", "/tmp/work", "--proc", "/proc", "--dev", "/dev",
            "--size", str(ROOM), "--tmpfs", "/dev/shm", *bound, *covers,
            *(word for path in ("/proc", "/dev", "/") for word in ("--remount-ro", path)),
            "--chdir", "/tmp/work"]  # fmt: skip


def _hidden(project: Project, read: Iterable[str]) -> list[str]:
    """Folders with keys or solutions that lie in what may be read: of the package, of others like it, of the book."""
    places = [Path(entry) / "diffnotes" for entry in sys.path if entry]
    found = [place / "exercises" / "keys" for place in (project.package, *places)]
    found += [project.root / name for name in SOURCES]
    inside = [path.resolve() for path in found if path.is_dir()]
    roots = [Path(path).resolve() for path in read]
    return list(dict.fromkeys(str(path) for path in inside if any(path.is_relative_to(root) for root in roots)))
