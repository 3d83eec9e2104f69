"""Marks: a submission is executed in one process and judged in another, which only asks it for values.

``python -m diffnotes.exercises.marking`` reads submissions from its standard input, a line of JSON each, and writes
what came of each as a line of JSON. The code of a submission runs in a process that the command of the submission
starts, in a sandbox of the caller's making; here are the limits on its time, memory, processes and output, and the
keys, which that process cannot see. So a submission can give right values, and nothing else that counts.

A cell that ends the process, or does not end, costs the answers of that cell: the others are executed anew without it.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil

from . import exercise
from .answering import LATE
from .checking import Feedback, Raised, judge
from .wire import FUNCTION, pack, unpack

ATTEMPTS = 4  # of executing a submission, each without the cells that stopped the one before


@dataclass(frozen=True)
class Limits:
    """What a submission may use: seconds of a cell or a call, seconds of all, bytes of memory, processes, output."""

    cell: float = 60.0
    total: float = 300.0
    memory: int = 2 * 2**30
    processes: int = 64
    output: int = 5 * 2**20


@dataclass(frozen=True)
class Submission:
    """What is to be marked.

    Args:
        command: starts the process that executes code, :mod:`.answering`; three numbers are appended to it.
        cells: the code of the notebook, a text a cell.
        answers: exercise -> the variable that holds its answer.
        limits: see :class:`Limits`.
    """

    command: list[str]
    cells: list[str]
    answers: dict[str, str]
    limits: Limits = field(default_factory=Limits)


class Stopped(BaseException):
    """The process that executes a submission has ended or was ended; the message says why."""


class Process:
    """A process that executes a submission, and its limits."""

    def __init__(self, command: list[str], limits: Limits) -> None:
        self.limits, self.reason, self.output = limits, "", ""
        self._buffer, self._ended = b"", threading.Event()
        receive, self._send = os.pipe()
        self._receive, send = os.pipe()
        try:
            self.process = subprocess.Popen(
                [*command, str(receive), str(send), str(limits.cell)], pass_fds=(receive, send),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=self._limit,
            )  # fmt: skip
        finally:
            os.close(receive)
            os.close(send)
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._read, self._watch)]
        for thread in self._threads:
            thread.start()

    def _limit(self) -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**26, 2**26))
        room = 2 * self.limits.memory + 2**32  # addresses, of which libraries take many that hold nothing
        resource.setrlimit(resource.RLIMIT_AS, (room, room))

    def stop(self, reason: str = "") -> None:
        """End it with all its children; the first reason that is given stays."""
        self.reason = self.reason or reason
        self._ended.set()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)

    def _read(self) -> None:
        size = 0
        while data := os.read(self.process.stdout.fileno(), 2**16):
            if size < 4000:
                self.output += data[: 4000 - size].decode(errors="replace")
            size += len(data)
            if size > self.limits.output:
                return self.stop(f"it printed more than {self.limits.output / 2**20:.3g} MiB")

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            with contextlib.suppress(psutil.Error):
                family = psutil.Process(self.process.pid)
                family = [family, *family.children(recursive=True)]
                if len(family) > self.limits.processes:
                    return self.stop(f"it started more than {self.limits.processes} processes")
                if sum(_memory(one) for one in family) > self.limits.memory:
                    return self.stop(f"it used more than {self.limits.memory / 2**30:.3g} GiB of memory")

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Its answer to a request; Stopped if there is none within ``seconds``, or the process is at an end."""
        try:
            os.write(self._send, (json.dumps(request) + "\n").encode())
        except OSError:
            return self._over()
        return self.answer(seconds)

    def answer(self, seconds: float) -> dict[str, Any]:
        """The next line that it answers."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._receive], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self.stop(f"it did not end within {seconds:.0f} s")
                self._over()
            data = os.read(self._receive, 2**20)
            if not data or len(self._buffer) > 2**27:
                self._over()
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            self.stop("it wrote into the line to the marking")
            self._over()
        return found

    def _over(self) -> Any:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
        self.stop("it ended the process")
        raise Stopped(self.reason)

    def close(self) -> None:
        """End it, and let go of all that it holds."""
        self.stop()
        self.process.wait()
        for thread in self._threads:
            thread.join()
        self.process.stdout.close()
        os.close(self._send)
        os.close(self._receive)


def _memory(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:  # it has ended
        return 0


@contextlib.contextmanager
def _executing(submission: Submission) -> Iterator[Process]:
    process = Process(submission.command, submission.limits)
    try:
        process.answer(120)  # torch is being imported
        yield process
    finally:
        process.close()


class Remote:
    """A function of a submission, called there."""

    def __init__(self, process: Process, name: str, seconds: float) -> None:
        self.process, self.name, self.seconds = process, name, seconds

    def __call__(self, *given: Any) -> Any:
        found = self.process.ask({"call": self.name, "with": [pack(one) for one in given]}, self.seconds)
        if "raised" in found:
            raise Raised(str(found["raised"]))
        return _value(found)

    def __repr__(self) -> str:
        return f"the function {self.name}"


def _value(found: dict[str, Any]) -> Any:
    try:
        return unpack(found.get("value"))
    except (ValueError, TypeError, RecursionError):
        raise Raised("something that is no value") from None


def mark(submission: Submission) -> dict[str, Any]:
    """Execute and judge a submission.

    Returns:
        ``exercises``: by name, ``right`` and ``message``; ``stopped``: why the process was ended, once for each time;
        ``errors``: number of a cell from 1 -> what it raised; ``tried``: what no exercise needs; ``output``: the
        beginning of what it printed; ``seconds``.
    """
    began, marking = time.monotonic(), _Marking(submission)
    for _ in range(ATTEMPTS):
        if marking.waiting and marking.left() > 0:
            with contextlib.suppress(Stopped):
                marking.attempt()
    late = f"it did not end within {submission.limits.cell:g} s"
    stopped = marking.stopped + [f"cell {number}: {late}" for number, text in marking.errors.items() if text == LATE]
    for name in marking.waiting:
        why = "; ".join(marking.stopped) or "no time left"
        marking.found[name] = Feedback(False, f"It could not be marked: {why}.")
    told = {name: {"right": marking.found[name].right, "message": marking.found[name].message}
            for name in submission.answers}  # fmt: skip
    return {"exercises": told, "stopped": stopped, "errors": marking.errors, "tried": marking.tried,
            "output": marking.output, "seconds": time.monotonic() - began}  # fmt: skip


class _Marking:
    def __init__(self, submission: Submission) -> None:
        self.submission, self.waiting, self.skipped = submission, list(submission.answers), set()
        self.found: dict[str, Feedback] = {}
        self.stopped: list[str] = []
        self.errors: dict[int, str] = {}
        self.tried: list[str] = []
        self.output = ""
        self.deadline = time.monotonic() + submission.limits.total

    def left(self) -> float:
        return self.deadline - time.monotonic()

    def patience(self) -> float:
        """Seconds to wait for an answer; the process interrupts itself a little earlier."""
        return max(0.1, min(self.submission.limits.cell + 5, self.left()))

    def attempt(self) -> None:
        with _executing(self.submission) as process:
            try:
                self._run(process)
                self._judge(process)
            finally:
                self.output = self.output or process.output
                if not process.reason:
                    with contextlib.suppress(Stopped):
                        found = process.ask({"tried": True}, 5).get("tried", [])
                        self.tried = [str(one)[:200] for one in found[:20]] if isinstance(found, list) else []

    def _run(self, process: Process) -> None:
        for number, source in enumerate(self.submission.cells, 1):
            if number in self.skipped:
                continue
            try:
                error = process.ask({"run": source}, self.patience()).get("error")
            except Stopped as stopped:
                self.skipped.add(number)
                self.stopped.append(f"cell {number}: {stopped}")
                raise
            if error:
                self.errors[number] = str(error)[:500]

    def _judge(self, process: Process) -> None:
        for name in list(self.waiting):
            variable = self.submission.answers[name]
            try:
                self.found[name] = self._feedback(process, name, variable)
            except Stopped as stopped:
                self.found[name] = Feedback(False, f"Asked for an answer, {stopped}.")
                self.stopped.append(f"{name}: {stopped}")
                self.waiting.remove(name)
                raise
            self.waiting.remove(name)

    def _feedback(self, process: Process, name: str, variable: str) -> Feedback:
        sent = process.ask({"get": variable}, self.patience())
        if "value" not in sent:
            return Feedback(False, f"There is no variable {variable}.{self._why()}")
        try:
            value = Remote(process, variable, self.patience()) if sent["value"] == FUNCTION else _value(sent)
        except Raised as error:
            return Feedback(False, f"{variable} is {error}.")
        return judge(exercise(name), value)

    def _why(self) -> str:
        said = [*self.stopped, *(f"cell {number} raised {text}" for number, text in self.errors.items())]
        return f" ({said[0]})" if said else ""


def main() -> None:
    """Mark what comes in, a line each."""
    for line in sys.stdin:
        told = json.loads(line)
        limits = Limits(**told.pop("limits", {}))
        print(json.dumps(mark(Submission(**told, limits=limits))), flush=True)


if __name__ == "__main__":
    main()
