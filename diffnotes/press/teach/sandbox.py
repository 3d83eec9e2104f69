"""A room of its own for code that is not trusted: bubblewrap's, with a few folders to read and nothing else.

The process sees this Python, the package without the keys of the exercises, and published networks, all read-only; an
empty folder of its own in memory; no network, no other process, nothing of the environment.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from ..errors import PressError
from ..layout import Project

__all__ = ["command"]

SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts")
ROOM = 2**28  # bytes of files that it may write


def command(project: Project) -> list[str]:
    """The command that starts the process that executes a submission.

    Raises:
        PressError: if bubblewrap is not installed, or may not make a room here.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise PressError("submissions are executed inside bubblewrap, which is not installed; on Debian: sudo apt-get "
                         "install bubblewrap; on other systems grade in a Linux container or virtual machine")
    room = [bwrap, *_room(project)]
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
    return ["--unshare-all", "--die-with-parent", "--new-session", "--clearenv",
            *(word for name, value in told.items() for word in ("--setenv", name, value)),
            "--size", str(ROOM), "--tmpfs", "/tmp", "--dir", "/tmp/work", "--proc", "/proc", "--dev", "/dev", *bound,
            "--tmpfs", str(package / "exercises" / "keys"), "--chdir", "/tmp/work"]  # fmt: skip
