"""Files: read with a message that says what is wrong and where, written whole or not at all, locked while in use."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .errors import PressError

__all__ = ["at_work", "lock", "read_toml", "read_yaml", "replaceable", "require_room", "write_whole"]

ROOM = 64 * 2**20  # bytes that must be free before a run or a build begins


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise PressError(f"{path.name} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise PressError(f"{path.name} is not UTF-8 text: {error}") from error


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file. PressError with file and line if it is none."""
    try:
        return tomllib.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise PressError(f"{path.name}: {error}") from error


def read_yaml(path: Path) -> Any:
    """What a YAML file holds. PressError with file and line if it cannot be read."""
    import yaml

    try:
        return yaml.safe_load(_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise PressError(f"{path.name}{where}: {getattr(error, 'problem', None) or error}") from error


def replaceable(path: Path) -> bool:
    """Whether there is nothing at ``path``, or an ordinary file: for root, /dev/null can be replaced like any other."""
    return path.is_file() or not path.exists()


def write_whole(path: Path, content: str | bytes) -> None:
    """Put ``content`` at ``path`` all at once: a reader sees the old file or the new one, never a part.

    Raises:
        PressError: where a folder, a device or a pipe is at ``path``, which must not be replaced.
    """
    if not replaceable(path):
        raise PressError(f"{path} is no ordinary file, and is not replaced by one", 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def sweep(path: Path) -> None:
    """Remove what a killed :func:`write_whole` left beside ``path``; only for who holds the lock of it."""
    for left in path.parent.glob(f".{path.name}.*.new") if path.parent.is_dir() else ():
        with contextlib.suppress(OSError):
            left.unlink()


def require_room(folder: Path, what: str) -> None:
    """PressError unless files can be made in ``folder``, or where it will be, and there is room for them."""
    place = folder
    while not place.exists() and not place.is_symlink() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        kind = "a link that leads nowhere" if place.is_symlink() else "a file"
        raise PressError(f"{place} is {kind}, and should be a folder for {what}; nothing was done")
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
        free = shutil.disk_usage(place).free
    except OSError as error:
        why = error.strerror or error
        raise PressError(f"{what} cannot be written to {folder}: {why}; nothing was done") from error
    if free < ROOM:
        raise PressError(f"no room for {what} in {folder}: {free // 2**20} MiB are free, needed are {ROOM // 2**20}; "
                         "nothing was done")


@contextlib.contextmanager
def lock(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Be the only process that works on ``path``, as long as the context lasts.

    Whoever comes second waits, and ``waiting`` is called once before it does. The lock is the system's, on a file
    beside ``path``: it goes with the process that holds it, however that ends.
    """
    import fcntl

    place = path.with_name(f".{path.name}.lock")
    place.parent.mkdir(parents=True, exist_ok=True)
    told = False
    while True:
        handle = os.open(place, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not told:
                    waiting()
                told = True
                time.sleep(0.2)  # not a blocking wait, which a signal's handler could not end on every system
                continue
            if not _same(handle, place):  # the one before removed the file in between
                continue
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    place.unlink()
            return
        finally:
            os.close(handle)


@contextlib.contextmanager
def at_work(root: Path, alone: bool = False) -> Iterator[None]:
    """Work on what is made below ``root``: with others who do, or ``alone``.

    Raises:
        PressError: if somebody is at work who wants to be alone, or anybody where ``alone`` is wanted.
    """
    import fcntl

    handle = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            who = "a run, a build or a publication" if alone else "diffnotes clean"
            raise PressError(f"{who} is at work here; nothing was done") from error
        yield
    finally:
        os.close(handle)


def _same(handle: int, place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(place))
    except FileNotFoundError:
        return False
