"""Processes that the press starts: in a cleaned environment, and none outlives the press, however that ends.

A process started by :class:`Owned` runs under :mod:`diffnotes.press.guard`, which ends it and all it has started as
soon as its standard input closes: the press holds the other end, and the system closes it even after a SIGKILL.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from .errors import PressError
from .files import require_room

__all__ = ["Interrupted", "Owned", "end_all", "environment", "interruptible", "workspace"]

GUARD = Path(__file__).with_name("guard.py")
MARK = "DIFFNOTES_OWNER"  # in the environment of all that one Owned has started, wherever it went
PREFIX = "diffnotes-work-"

# What a process needs of its user's environment: where things are, and what is reachable. Nothing else gets through:
# settings of Python, Jupyter, IPython, git, matplotlib, of thread pools or of numerical libraries would change pages.
KEPT = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "SYSTEMROOT", "DIFFNOTES_DATA", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR",
    "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
    "http_proxy", "https_proxy", "no_proxy", "all_proxy",
)  # fmt: skip


def environment(folder: str | Path | None = None, **settings: str) -> dict[str, str]:
    """The environment of every process of the press: what it needs of the user's, and fixed ``settings``.

    Args:
        folder: a private folder; temporary files, caches and settings of libraries go there.
        settings: further variables.
    """
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    if kept.get("DIFFNOTES_DATA"):  # relative to where the user stands, not to where a chapter runs
        kept["DIFFNOTES_DATA"] = os.path.abspath(os.path.expanduser(kept["DIFFNOTES_DATA"]))
    fixed = {
        "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC", "NO_COLOR": "1", "PYTHONHASHSEED": "0", "PYTHONUTF8": "1",
        "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1", "JUPYTER_PREFER_ENV_PATH": "1",
        "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
    }  # fmt: skip
    if folder is not None:
        names = ("TMPDIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR",
                 "XDG_CONFIG_HOME", "MPLCONFIGDIR")  # fmt: skip
        fixed |= dict.fromkeys(names, str(folder))
    return kept | fixed | settings


class Interrupted(KeyboardInterrupt):
    """The user, or the system, wants the press to end; ``number`` is the signal."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """While the context lasts, every signal that asks the press to end raises :class:`Interrupted`.

    A signal that is ignored, as under nohup, stays ignored. Only the main thread may be asked.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    old: dict[int, Any] = {}
    with contextlib.suppress(ValueError):  # not the main thread
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                old[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


# --- private folders --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """A private temporary folder, removed in the end; those that killed runs have left are removed, too.

    Raises:
        PressError: if there is no room for it.
    """
    place = Path(tempfile.gettempdir())
    require_room(place, "temporary files (TMPDIR)")
    sweep(place)
    made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=place))
    held = os.open(made, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_SH)
    folder = made.rename(place / made.name[1:])  # it takes its name when it is held: nobody sweeps it in between
    try:
        yield folder
    finally:
        os.close(held)
        shutil.rmtree(folder, ignore_errors=True)


def sweep(place: Path) -> None:
    """Remove private folders below ``place`` that no living process holds."""
    for folder in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.getuid():
                continue
            held = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the guard of a live run holds it as well
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(held)


# --- owned processes --------------------------------------------------------------------------------------------------

_owned: set[Owned] = set()


class Owned:
    """A process that ends with its owner: this process, or the context it is used in.

    Args:
        arguments: of the Python interpreter: a script or ``-c`` or ``-m``, and what follows.
        folder: a private folder, which the guard removes if its owner is killed.
        env: its environment, see :func:`environment`.
        streams: ``stdout``, ``stderr`` and ``cwd`` of :class:`subprocess.Popen`.
    """

    def __init__(self, arguments: list[str], folder: Path, env: Mapping[str, str], **streams: Any) -> None:
        self.mark = secrets.token_hex(8)
        command = [sys.executable, "-s", "-P", str(GUARD), str(folder), *arguments]
        try:
            # In a session of its own: Ctrl-C reaches the owner alone, which then ends it.
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True,
                                            env={**env, MARK: self.mark}, **streams)  # fmt: skip
        except OSError as error:
            raise PressError(f"Python could not be started: {error}") from error
        _owned.add(self)

    def __enter__(self) -> Owned:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End the process and all that it has started; nothing if it has ended by itself and left nothing."""
        import psutil

        below: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            below = psutil.Process(self.process.pid).children(recursive=True)
        with contextlib.suppress(OSError, ValueError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        # What its guard could not end: it was killed itself, or has no way to find those that went their own way.
        for other in [*below, *psutil.process_iter()]:
            with contextlib.suppress(psutil.Error, OSError):
                if other in below or (other.pid != os.getpid() and other.environ().get(MARK) == self.mark):
                    other.kill()
        _owned.discard(self)


def end_all() -> None:
    """End all owned processes of this one."""
    for owned in list(_owned):
        owned.end()
