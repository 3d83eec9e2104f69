"""Marks: a submission is executed in one process and judged in another, which only asks it for values.

``python -m diffnotes.exercises.marking`` reads submissions from its standard input, a line of JSON each, and writes
what came of each as a line of JSON. The code of a submission runs in a process that the command of the submission
starts, in a sandbox of the caller's making; here are the limits on its time, memory, processes and output, and the
keys, which that process cannot see. So a submission can give right values, and nothing else that counts.

A cell that ends the process, or does not end, costs the answers of that cell: the others are executed anew without it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import resource
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import psutil

from . import exercise
from .answering import LATE
from .checking import Feedback, Raised, judge
from .wire import FUNCTION, pack, unpack

ATTEMPTS = 4  # of executing a submission, each without the cells that stopped the one before
START = 120  # seconds until code can be executed
LINE = 2**26  # bytes of an answer
MEMORY = 2**33  # bytes of addresses of the process that judges
LONGEST = 1000  # signs of a message
KEYCTL = {"x86_64": 250, "aarch64": 219}.get(platform.machine())  # number of the call
LIBC = ctypes.CDLL(None)


@dataclass(frozen=True)
class Limits:
    """What a submission may use: seconds of a cell or a call, seconds of all, bytes of memory, processes, open files of
    each, bytes of output."""

    cell: float = 60.0
    total: float = 300.0
    memory: int = 2 * 2**30
    processes: int = 64
    files: int = 256
    output: int = 5 * 2**20


@dataclass(frozen=True)
class Submission:
    """What is to be marked.

    Args:
        command: starts the process that executes code, :mod:`.answering`; three numbers are appended to it.
        cells: the code of the notebook, a text a cell.
        answers: exercise -> the variable that holds its answer.
        checks: the exercises that each cell checks.
        limits: see :class:`Limits`.
    """

    command: list[str]
    cells: list[str]
    answers: dict[str, str]
    checks: list[list[str]] = field(default_factory=list)
    limits: Limits = field(default_factory=Limits)


class Stopped(BaseException):
    """The process that executes a submission has ended or was ended; the message says why."""


class Unable(Exception):
    """Nothing can be executed here, for no fault of the submission."""


class Process:
    """A process that executes a submission, and its limits."""

    def __init__(self, command: list[str], limits: Limits) -> None:
        self.limits, self.reason, self.output = limits, "", ""
        self._buffer, self._ended, self._asked = bytearray(), threading.Event(), 0
        memory = psutil.virtual_memory()
        self._least = min(memory.total // 16, memory.available // 2)
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
        os.set_blocking(self._send, False)
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._read, self._watch)]
        for thread in self._threads:
            thread.start()

    def _limit(self) -> None:
        if KEYCTL is not None:  # a new session keyring: nothing is left in the one of who grades
            LIBC.syscall(KEYCTL, 1, None)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**26, 2**26))
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.limits.files, self.limits.files))
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
            if psutil.virtual_memory().available < self._least:  # memory that belongs to no process: shared, of files
                return self.stop("it left next to no memory to this machine")

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Its answer to a request; Stopped if there is none within ``seconds``, or the process is at an end."""
        self._asked += 1
        text = json.dumps({**request, "n": self._asked}) + "\n"
        deadline, line = time.monotonic() + seconds, memoryview(text.encode())
        while line:
            _, ready, _ = select.select([], [self._send], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self._over(f"it did not end within {seconds:.0f} s")
            try:
                line = line[os.write(self._send, line) :]
            except BlockingIOError:
                continue
            except OSError:
                self._over()
        found = self.answer(deadline - time.monotonic(), seconds)
        if found.get("n") != self._asked:
            self._over("it wrote into the line to the marking")
        return found

    def answer(self, seconds: float, told: float | None = None) -> dict[str, Any]:
        """The next line that it answers; a line that does not come is late after ``told`` seconds."""
        deadline, seen = time.monotonic() + seconds, 0
        while (end := self._buffer.find(b"\n", seen)) < 0:
            seen, left = len(self._buffer), deadline - time.monotonic()
            ready, _, _ = select.select([self._receive], [], [], max(0.0, left))
            if not ready or left < -1:  # also of a line that never ends
                self._over(f"it did not end within {seconds if told is None else told:.0f} s")
            data = os.read(self._receive, 2**20)
            if not data:
                self._over()
            if seen > LINE:
                self._over("its answer is too large to be marked")
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        try:
            found = json.loads(line)
        except (ValueError, RecursionError, MemoryError):
            found = None
        if not isinstance(found, dict):
            self._over("it wrote into the line to the marking")
        return found

    def _over(self, reason: str = "") -> NoReturn:
        """Stopped, for ``reason`` or because it has ended by itself."""
        if reason:
            self.stop(reason)
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.stop("it closed the line to the marking")
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
        try:
            process.answer(START)  # torch is being imported
        except Stopped as stopped:
            said = " ".join(process.output.split())[-300:]
            raise Unable(f"what executes submissions did not start: {stopped}{said and f'; it said: {said}'}") from None
        yield process
    finally:
        process.close()


class Remote:
    """A function of a submission, called there."""

    def __init__(self, process: Process, name: str, way: str, patience: Callable[[], float]) -> None:
        self.process, self.name, self.way, self.patience = process, name, way, patience
        self.late = False

    def __call__(self, *given: Any) -> Any:
        found = self.process.ask({"call": self.name, "as": self.way, "with": [*map(pack, given)]}, self.patience())
        if "raised" in found:
            self.late = self.late or found["raised"] == LATE
            raise Raised(str(found["raised"])[:LONGEST])
        return _value(found)

    def __repr__(self) -> str:
        return f"the function {self.name}"


def _value(found: dict[str, Any]) -> Any:
    try:
        return unpack(found.get("value"))
    except (ValueError, TypeError, RecursionError, OverflowError, MemoryError, RuntimeError):
        raise Raised("something that is no value") from None


def mark(submission: Submission) -> dict[str, Any]:
    """Execute and judge a submission.

    Returns:
        ``exercises``: by name, ``right`` and ``message``; ``stopped``: why the process was ended, once for each time;
        ``errors``: number of a cell from 1 -> what it raised; ``tried``: what no exercise needs; ``output``: the
        beginning of what it printed; ``seconds``.

    Raises:
        Unable: if nothing can be executed here.
    """
    began, marking = time.monotonic(), _Marking(submission)
    for _ in range(ATTEMPTS):
        if marking.waiting and marking.left() > 0:
            with contextlib.suppress(Stopped):
                marking.attempt()
    late = f"it did not end within {submission.limits.cell:g} s"
    stopped = marking.stopped + [f"cell {number}: {late}" for number, text in marking.errors.items() if text == LATE]
    if marking.waiting and not stopped:
        stopped = [f"it did not end within {submission.limits.total:g} s"]
    for name in marking.waiting:
        why = "; ".join(stopped)
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
        began = time.monotonic()
        with _executing(self.submission) as process:
            self.deadline += time.monotonic() - began  # until then it is not the submission that takes time
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
            checked = self.submission.checks[number - 1] if self.submission.checks else ()
            for name in {*checked} & self.submission.answers.keys():
                process.ask({"hold": self.submission.answers[name]}, self.patience())

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
        said = self._judged(process, name, variable, "get")
        if not said.right:  # the name may have been used again for something else
            earlier = self._judged(process, name, variable, "held")
            said = earlier if earlier.right else said
        return said

    def _judged(self, process: Process, name: str, variable: str, way: str) -> Feedback:
        """What is said of a variable as it is at the end, or as it was "held" where it was last checked."""
        sent = process.ask({way: variable}, self.patience())
        if "value" not in sent:
            return Feedback(False, f"There is no variable {variable}.{self._why()}")
        try:
            value = Remote(process, variable, way, self.patience) if sent["value"] == FUNCTION else _value(sent)
        except Raised as error:
            return Feedback(False, f"{variable} is {error}.")
        said = judge(exercise(name), value)
        if isinstance(value, Remote) and value.late:
            self.stopped.append(f"{name}: a call did not end within {self.submission.limits.cell:g} s")
        return Feedback(said.right, said.message[:LONGEST])

    def _why(self) -> str:
        said = [*self.stopped, *(f"cell {number} raised {text}" for number, text in self.errors.items())]
        return f" ({'; '.join(said[:3])})" if said else ""


def main() -> None:
    """Mark what comes in, a line each; within limits, as what is judged is of a student's making."""
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG: what grades may be killed
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for line in sys.stdin:
        told = json.loads(line)
        limits = Limits(**told.pop("limits", {}))
        try:
            found = mark(Submission(**told, limits=limits))
        except Unable as unable:
            found = {"unable": str(unable)}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
