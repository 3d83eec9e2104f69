"""The process in which a submission is executed, apart from everything else: ``python -m ... IN OUT SECONDS``.

It reads requests from the file descriptor IN and answers on OUT, a line of JSON each:

* ``{"run": SOURCE}`` executes the code of a cell: ``{"error": TEXT or null}``
* ``{"hold": NAME}`` keeps the value that a variable has now: ``{}``
* ``{"get": NAME}`` is a variable as it is: ``{"value": ...}``, or ``{}`` if there is none
* ``{"held": NAME}`` is it as it was kept, in the same way; ``{}`` also if it is still the same
* ``{"call": NAME, "as": "get" or "held", "with": [...]}`` calls a function: ``{"value": ...}`` or ``{"raised": TEXT}``
* ``{"tried": true}`` lists what the code has tried that no exercise needs: ``{"tried": [...]}``

A request has a number ``n``, which its answer repeats.

What takes longer than SECONDS is interrupted. All limits that must hold are held from outside; see
:mod:`diffnotes.exercises.marking`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import Any

from .checking import told
from .wire import pack, unpack

OPEN = ("/usr/", "/lib", "/etc/", "/proc/", "/dev/", "/sys/", "/tmp/work")  # what programs look at by themselves


LATE = "nothing within the time allowed"


class OutOfTime(BaseException):
    """A request takes too long."""


def watch(tried: list[str]) -> None:
    """Note in ``tried`` what the process opens, connects to and starts from now on; nothing is prevented here."""
    allowed = (*OPEN, sys.prefix, sys.base_prefix, os.path.dirname(os.path.dirname(__file__)), *filter(None, (
        os.environ.get("DIFFNOTES_PUBLISHED"), os.environ.get("DIFFNOTES_NETWORKS"))))  # fmt: skip
    keys = os.path.join(os.path.dirname(__file__), "keys")

    def hook(event: str, args: tuple) -> None:
        said = None
        if event == "open" and isinstance(args[0], (str, bytes)):
            path = os.path.abspath(os.fsdecode(args[0]))
            if path.startswith(keys) or not path.startswith(allowed):
                said = f"to open {path}"
        elif event == "socket.getaddrinfo" or (event == "socket.connect" and args[0].family != socket.AF_UNIX):
            said = "to use the network"
        elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"):
            said = "to start a program"
        if said and said not in tried and len(tried) < 20:
            tried.append(said[:200])

    sys.addaudithook(hook)


class Host:
    """What executes cells and answers for their variables."""

    def __init__(self) -> None:
        import matplotlib.font_manager  # starts a program the first time
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        class Shell(InteractiveShell):
            """One without windows, which nothing closes."""

            def enable_gui(self, gui: str | None = None) -> None: ...

            def ask_exit(self) -> None: ...

        matplotlib.use("agg")
        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "NoColor"
        config.InteractiveShell.xmode = "Minimal"
        self.shell = Shell.instance(config=config)
        self.shell.register_magic_function(lambda line: None, "line", "matplotlib")  # whatever it asks for
        self.known = {"get": self.shell.user_ns, "held": {}}
        self.tried: list[str] = []

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request:
            case {"run": source}:
                result = self.shell.run_cell(source, store_history=False)
                error = result.error_before_exec or result.error_in_exec
                return {"error": None if error is None else _told(error)}
            case {"hold": name}:
                if name in self.known["get"]:
                    self.known["held"][name] = self.known["get"][name]
                return {}
            case {"get": name}:
                return self._found("get", name)
            case {"held": name}:
                now, held = (self.known[way].get(name) for way in ("get", "held"))
                return {} if held is now else self._found("held", name)
            case {"call": name, "as": way, "with": given}:
                try:
                    return {"value": _packed(self.known[way][name](*map(unpack, given)))}
                except (Exception, OutOfTime, SystemExit) as error:
                    return {"raised": _told(error)}
            case {"tried": True}:
                return {"tried": self.tried}
        raise ValueError(f"unknown request {sorted(request)}")

    def _found(self, way: str, name: str) -> dict[str, Any]:
        space = self.known[way]
        return {"value": _packed(space[name])} if name in space else {}


def _packed(value: Any) -> Any:
    """``value`` as it is sent; of a class of the student's own that fails at this, its name."""
    try:
        return pack(value)
    except Exception:
        return {"other": f"a value of type {type(value).__name__} that cannot be read"[:100]}


def _told(error: BaseException) -> str:
    if isinstance(error, OutOfTime):
        return LATE
    return told(error)


def main(receive: int, send: int, seconds: float) -> None:
    """Answer requests until there are no more."""
    def late(*_: Any) -> None:
        raise OutOfTime

    signal.signal(signal.SIGALRM, late)
    host = Host()
    with open(receive, encoding="utf-8") as requests, open(send, "w", encoding="utf-8") as answers:
        print(json.dumps({"ready": True}), file=answers, flush=True)
        watch(host.tried)
        for line in requests:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            asked = json.loads(line)
            try:
                found = host.answer(asked)
            except OutOfTime as error:
                found = {"error": _told(error), "raised": _told(error)}
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            print(json.dumps({**found, "n": asked.get("n")}), file=answers, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
