"""JupyterLab on working copies of the chapters: to run a chapter by hand, change it, and move its explorers.

A reader works on ``_build/lab/NAME.ipynb``, never on ``notebooks/``. A copy has no outputs in the beginning, its
parameters cell is the cpu profile, and its prose needs no book around it (:mod:`diffnotes.press.alone`). It carries two
digests, of its source and of itself as it was made: so it is known later which of them has changed.

The server listens on 127.0.0.1 alone and still asks for a token: other users of the machine reach that address as well,
and whoever reaches the server runs code as its owner. Nobody copies the token: the browser is sent through a page that
only the owner can read, so that it stands in no list of processes either.
"""

from __future__ import annotations

import contextlib
import hashlib
import html
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import PressError
from .files import at_work, read_yaml, require_room, write_whole
from .layout import Project
from .processes import Interrupted, Owned, environment, interruptible, workspace

__all__ = ["Server", "changed", "folder", "lab", "prepare", "server"]

EXERCISES = "exercises/"  # what the names of notebooks of exercises begin with
PORT = 8888  # the first that is tried
READY, END = 120.0, 15.0  # seconds in which the server must answer, and must have ended

# What a reader of the book begins with, and may change in JupyterLab.
FIRST_SETTINGS: dict[str, dict[str, Any]] = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},  # reading needs no network
    "cell-toolbar-extension/plugin": {"showToolbar": False},  # it stumbles over cells that jupyterlab_myst renders
}


# --- working copies -----------------------------------------------------------------------------------------------


def folder(project: Project) -> Path:
    """Where the working copies lie."""
    return project.root / "_build" / "lab"


def digest(notebook: Any) -> str:
    """SHA-256 of what a reader writes in a notebook: cells, their kinds, tags and attachments; no outputs."""
    cells = [[cell.cell_type, cell.source, cell.metadata.get("tags", []), cell.get("attachments", {})]
             for cell in notebook.cells]  # fmt: skip
    return hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest()


def prepare(project: Project, name: str, fresh: bool = False) -> str:
    """Make sure of a working copy of a chapter; returns what its reader should be told, or an empty text.

    A copy that its reader has not changed follows its source. One that has been changed stays, whatever became of its
    source; ``fresh`` moves it aside, and so is a file moved that is no notebook.

    Raises:
        PressError: if the source is no notebook, or the copy cannot be written.
    """
    from .page import read

    place, said = folder(project) / f"{name}.ipynb", ""
    new = _copy(project, name)
    note = new.metadata["diffnotes"]
    if place.is_symlink() or (place.exists() and not place.is_file()):
        raise PressError(f"{_short(project, place)} is no file; move it away by hand")
    if place.exists():
        try:
            old = read(place)
        except PressError:
            said = f"{name}: the working copy was no readable notebook and is now {_aside(place)}; you have a new one"
        else:
            is_new, untouched = digest(old) == note["copied"], digest(old) == _note(old).get("copied")
            if fresh and (not is_new or any(cell.get("outputs") for cell in old.cells)):
                said = f"{name}: you start over; what you had is now {_aside(place)}"
            elif is_new and _note(old) == note:
                return ""
            elif not is_new and not untouched:
                if _note(old).get("source") == note["source"]:
                    return f"{name}: your working copy is as you left it, with your changes"
                return (f"{name}: the chapter has changed since you changed your copy of it; yours stays as it is, "
                        "--fresh gives you the new one and keeps yours beside it")  # fmt: skip
            elif not is_new:
                said = f"{name}: the chapter has changed, and so has your working copy, which you had not touched"
    require_room(place.parent, "the working copies")
    try:
        write_whole(place, json.dumps(new, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise PressError(f"{_short(project, place)} cannot be written: {error.strerror or error}") from error
    return said


def _copy(project: Project, name: str) -> Any:
    """A new working copy: no outputs, prose that needs no book around it, and the digests of its source and itself."""
    from .alone import alone, glued, sources
    from .exercises import student
    from .page import read
    from .provenance import latest

    notebook = read(project.source(name))
    source = digest(notebook)
    page = None if name.startswith(EXERCISES) else latest(project, name)
    notebook = student(notebook) if name.startswith(EXERCISES) else notebook
    table = project.root / "book" / "notation.yml"
    alone(notebook, glued(read(page)) if page else {}, sources(project.root / "book" / "references.bib"),
          (read_yaml(table) or {}).get("macros") if table.is_file() else None)  # fmt: skip
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.metadata["diffnotes"] = {"source": source, "copied": digest(notebook)}
    return notebook


def changed(project: Project) -> list[str]:
    """Files among the working copies that their reader has made or changed, and that nobody could make again."""
    from .page import read

    found = []
    for place in sorted(folder(project).rglob("*")):
        parts = place.relative_to(folder(project)).parts
        if not place.is_file() or any(part.startswith(".") for part in parts):  # settings and checkpoints
            continue
        try:
            copy = read(place)
            own = digest(copy) != _note(copy).get("copied")
        except PressError:
            own = True
        if own:
            found.append("/".join(parts))
    return found


def _note(copy: Any) -> dict[str, str]:
    note = copy.metadata.get("diffnotes")
    return note if isinstance(note, dict) else {}


def _aside(place: Path) -> str:
    """Move the file away; the name it has now."""
    number = 1
    while (other := place.with_name(f"{place.stem}-{number}{place.suffix}")).exists():
        number += 1
    place.rename(other)
    return other.name


def _short(project: Project, place: Path) -> str:
    return place.relative_to(project.root).as_posix()


# --- the server ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Server:
    """A JupyterLab that answers: its ``port``, its ``token`` and its ``process``."""

    port: int
    token: str
    process: subprocess.Popen

    def address(self, name: str | None = None) -> str:
        """Where a browser finds the working copy of a chapter, or the folder of all."""
        return f"http://127.0.0.1:{self.port}/lab{f'/tree/{name}.ipynb' if name else ''}?token={self.token}"


@contextlib.contextmanager
def server(project: Project, port: int = PORT) -> Iterator[Server]:
    """JupyterLab at the working copies, on ``port`` or the next that is free, until the context ends.

    It uses nothing of its user's settings and extensions for Jupyter and IPython. What a reader sets in it is kept in
    ``_build/lab/.jupyter``. Its kernels are this Python, and find the networks that the book keeps.

    Raises:
        PressError: if JupyterLab is not installed or does not start.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise PressError("JupyterLab is not installed beside this command; install it with `make setup`, or with "
                         f"`{sys.executable} -m pip install jupyterlab`")  # fmt: skip
    if not 0 < port < 65536:
        raise PressError(f"port {port}; allowed: 1 to 65535", 2)
    place = folder(project)
    kept = place / ".jupyter"
    kept.mkdir(parents=True, exist_ok=True)
    kept.chmod(0o700)  # the log names the token
    log = kept / "server.log"
    with workspace() as private, log.open("w", encoding="utf-8") as output:
        arguments = ["-m", "jupyterlab", f"--config={_settings(project, private, kept, port)}"]
        env = _environment(project, private, kept)
        with Owned(arguments, private, env, cwd=place, stdout=output, stderr=output) as owned:
            try:
                yield _answering(owned.process, private, log)
            finally:
                _stop(owned.process)


def _environment(project: Project, private: Path, kept: Path) -> dict[str, str]:
    """Settings of a reader lie in ``kept``; what ends with the server, and may hold its token, in ``private``."""
    env = environment(
        kept, TMPDIR=str(private), JUPYTER_RUNTIME_DIR=str(private), JUPYTER_PATH=str(private), JUPYTER_NO_CONFIG="1",
        JUPYTERLAB_SETTINGS_DIR=str(kept / "settings"), JUPYTERLAB_WORKSPACES_DIR=str(kept / "workspaces"),
        PYTHONPATH=str(project.package.parent), DIFFNOTES_NETWORKS=str(project.root / "_build" / "networks"),
        DIFFNOTES_PUBLISHED=str(project.root / "book" / "networks"),
    )  # fmt: skip
    del env["NO_COLOR"]  # somebody is looking
    return env


def _settings(project: Project, private: Path, kept: Path, port: int) -> Path:
    """Write what the server and its kernels are told; the file with it."""
    kernel = {
        "argv": [sys.executable, "-s", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3 (diffnotes)", "language": "python", "metadata": {"debugger": True},
    }  # fmt: skip
    write_whole(private / "kernels" / "python3" / "kernel.json", json.dumps(kernel))
    for name, values in FIRST_SETTINGS.items():
        if not (file := kept / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings").exists():
            write_whole(file, json.dumps(values))
    extensions = dict.fromkeys(("jupyterlab", "jupyter_lsp", "jupyter_server_terminals", "notebook_shim"), True)
    told = {
        "ServerApp": {
            "ip": "127.0.0.1", "port": port, "port_retries": 50, "open_browser": False, "allow_root": True,
            "root_dir": str(folder(project)), "jpserver_extensions": extensions,
        },
        "LabApp": {
            "labextensions_path": [str(Path(sys.prefix) / "share" / "jupyter" / "labextensions")],
            "extension_manager": "readonly", "news_url": None,
            "expose_app_in_browser": True,  # for whoever drives it by a script
            "check_for_updates_class": "jupyterlab.handlers.announcements.NeverCheckForUpdate",
        },
        "KernelSpecManager": {"allowed_kernelspecs": ["python3"]},
        "KernelManager": {"shutdown_wait_time": 3.0},
    }  # fmt: skip
    write_whole(private / "lab.json", json.dumps(told))
    return private / "lab.json"


def _answering(process: subprocess.Popen, private: Path, log: Path) -> Server:
    """The server once it answers, which tells its port in a file."""
    deadline = time.monotonic() + READY
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline and process.poll() is None:
        for file in private.glob("jpserver-*.json"):
            with contextlib.suppress(OSError, ValueError, KeyError):
                told = json.loads(file.read_text(encoding="utf-8"))
                found = Server(told["port"], told["token"], process)
                asked = urllib.request.Request(f"http://127.0.0.1:{found.port}/api/status",
                                               headers={"Authorization": f"token {found.token}"})  # fmt: skip
                with direct.open(asked, timeout=10):
                    return found
        time.sleep(0.1)
    raise PressError(f"JupyterLab did not start: {_last(log)}")


def _last(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return f"{lines[-1].strip() if lines else 'it said nothing'} (all of it: {log})"


def _stop(process: subprocess.Popen) -> None:
    """Have the server end its kernels and itself; whoever owns the process ends what does not obey."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END)


# --- the command --------------------------------------------------------------------------------------------------


def lab(project: Project, name: str | None = None, *, fresh: bool = False, port: int = PORT, browser: bool = True,
        say: Callable[[str], None] = print) -> int:  # fmt: skip
    """Serve JupyterLab until it is shut down or interrupted; returns the exit status.

    Args:
        project: the book.
        name: the chapter to open; None prepares all of them.
        fresh: begin with new copies of what is chosen.
        port: the first to try.
        browser: open one, where there is a screen.
        say: takes what the reader is told.

    Raises:
        PressError: for a chapter that does not exist, or a JupyterLab that is not there or ends by a fault.
    """
    names = _names(project, name)
    with interruptible(), at_work(project.root):
        try:
            for one in names:
                if said := prepare(project, one, fresh):
                    say(said)
            say("JupyterLab is starting ...")
            with server(project, port) as running, _page(project, running, name) as page:
                _announce(running, name, browser and _open(page), say)
                status = running.process.wait()
        except Interrupted as interrupt:
            if interrupt.number != signal.SIGINT:
                raise
            status = 0  # the way to end it
    if status:
        raise PressError(f"JupyterLab ended by a fault: {_last(folder(project) / '.jupyter' / 'server.log')}")
    say(f"JupyterLab has ended; the working copies are in {_short(project, folder(project))}/")
    return 0


def _names(project: Project, name: str | None) -> list[str]:
    """What is opened: a chapter, its exercises, or all chapters with all exercises."""
    from .exercises import files

    found = [f"{EXERCISES}{one}" for one in files(project)]
    if name is not None and name.startswith(EXERCISES):
        if name not in found:
            raise PressError(f"there is no {name!r}; allowed: {', '.join(found) or 'no exercises yet'}", 2)
        return [name]
    return project.choose([name]) if name else project.choose() + found


@contextlib.contextmanager
def _page(project: Project, running: Server, name: str | None) -> Iterator[Path]:
    """A page that only its owner can read and that leads to the lab; some browsers see no temporary or hidden files."""
    place = project.root / "_build" / f"lab-{running.port}.html"
    address = html.escape(running.address(name))
    with contextlib.suppress(FileNotFoundError):
        place.unlink()
    with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(f'<!DOCTYPE html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={address}">'
                   f'<title>JupyterLab</title><p><a href="{address}">JupyterLab</a></p>')  # fmt: skip
    try:
        yield place
    finally:
        with contextlib.suppress(FileNotFoundError):
            place.unlink()


def _open(page: Path) -> bool:
    """Show ``page`` in the user's browser; whether there was a screen and a browser."""
    seen = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    if not seen and (sys.platform != "darwin" or os.environ.get("SSH_CONNECTION")):
        return False
    opened: list[bool] = []

    def show() -> None:
        with contextlib.suppress(webbrowser.Error, OSError):
            opened.append(webbrowser.open(page.as_uri()))

    thread = threading.Thread(target=show, daemon=True)  # some browsers return when they are closed
    thread.start()
    thread.join(5)
    return thread.is_alive() or opened == [True]


def _announce(running: Server, name: str | None, shown: bool, say: Callable[[str], None]) -> None:
    address = running.address(name)
    if shown:
        say(f"JupyterLab is open in your browser; if it is not, the address is\n  {address}")
    else:
        say(f"No browser was opened. Open this address in one on this machine:\n  {address}\n"
            "From another machine, first connect its port with this one, then open the same address there:\n"
            f"  ssh -N -L {running.port}:127.0.0.1:{running.port} {socket.gethostname()}")  # fmt: skip
    say("Ctrl-C ends it, with all its kernels.")
