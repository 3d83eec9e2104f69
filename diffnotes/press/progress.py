"""What a run shows of its progress: where each chapter is, and how long it will take."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Callable

__all__ = ["Progress", "clock"]


class Progress:
    """Where each running chapter is and how long it will take: one line that changes, or now and then a plain line."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say, self.live = say, say is print and sys.stdout is not None and sys.stdout.isatty()
        self.state: dict[str, tuple[int, int]] = {}
        self.begun: dict[str, float] = {}
        self.earlier: dict[str, list[float]] = {}
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self.live:
            print("\r\x1b[K", end="", flush=True)

    def tell(self, text: str) -> None:
        with self._lock:
            if self.live:
                print("\r\x1b[K", end="")
            self.say(text)

    def line(self, name: str) -> str:
        cell, of = self.state[name]
        passed = time.monotonic() - self.begun[name]
        earlier = self.earlier.get(name, [])
        total = None
        if len(earlier) == of:  # the earlier run says how the time is shared among the cells
            before = sum(earlier[: cell - 1])
            total = sum(earlier) * (passed / before if before > 2 else 1)
        elif cell > 1:
            total = passed / (cell - 1) * of
        left = f", about {clock(max(total - passed, 0))} left" if total else ""
        return f"{name}: cell {cell} of {of}, {clock(passed)}{left}"

    def _watch(self) -> None:
        with contextlib.suppress(OSError):  # nobody reads any more; the next message of a chapter ends the run
            self._show()

    def _show(self) -> None:
        while not self._stop.wait(1 if self.live else 15):
            lines = [self.line(name) for name in list(self.state)]
            if self.live and lines:
                width = shutil.get_terminal_size().columns - 1
                print("\r\x1b[K" + "  |  ".join(lines)[:width], end="", flush=True)
            elif not self.live:
                for line in lines:
                    self.say("  " + line)


def clock(seconds: float) -> str:
    """A duration.

    >>> [clock(seconds) for seconds in (0.2, 42, 185, 7500)]
    ['under 1 s', '42 s', '3 min 05 s', '2 h 05 min']
    """
    if 0 < seconds < 0.5:
        return "under 1 s"
    seconds = round(seconds)
    if seconds >= 3600:
        minutes = round(seconds / 60)
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} min {seconds % 60:02d} s"
