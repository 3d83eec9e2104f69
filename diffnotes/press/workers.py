"""Where chapters are executed: side by side on this machine, or by the workers of a cluster."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from .chapter import Chapter
from .devices import cores
from .errors import PressError
from .execution import execute
from .processes import end_all
from .progress import Progress

__all__ = ["by_cluster", "by_machine", "cluster", "failure"]

MEMORY_PER_CHAPTER = 1536 * 2**20  # bytes that must be free for each chapter running at the same time
PATIENCE = 10  # seconds that a scheduler has to answer

Outcomes = Iterator[tuple[Chapter, dict[str, Any], Callable[[str], None]]]


def failure(error: Exception) -> dict[str, Any]:
    """The outcome of an execution that ``error`` has ended."""
    words = str(error) if isinstance(error, PressError) else f"{type(error).__name__}: {error}"
    return {"error": words, "notebook": None}


def by_machine(todo: list[Chapter], here: tuple[str, str], say: Callable[[str], None]) -> Outcomes:
    """Execute ``todo`` on the device ``here``: on the processor side by side, as far as cores and memory go."""
    import joblib
    import psutil

    room = max(1, psutil.virtual_memory().available // MEMORY_PER_CHAPTER)
    jobs = min(len(todo), cores(), room) if here[0] == "cpu" else 1
    # One thread a chapter: small batched products gain little from a second one, and on a machine with other work the
    # threads' waiting for each other costs many times that. A GPU's host has nothing else to do.
    threads = 1 if here[0] == "cpu" else cores()
    stopping = threading.Event()

    def work(chapter: Chapter) -> tuple[Chapter, dict[str, Any]]:
        if stopping.is_set():
            return chapter, {"error": "interrupted", "notebook": None}
        progress.begun[chapter.name] = time.monotonic()
        progress.earlier[chapter.name] = chapter.earlier()
        why = "all networks anew" if chapter.order.train else chapter.why() or "forced"
        progress.tell(f"{chapter.name}: running, profile {chapter.profile} on {here[1]} ({why})")

        def at(cell: int, of: int) -> None:
            progress.state[chapter.name] = (cell, of)

        try:
            chapter.begin()
            return chapter, execute(chapter.task(threads, here), at)
        except Exception as error:  # the other chapters go on
            return chapter, failure(error)
        finally:
            progress.state.pop(chapter.name, None)

    with Progress(say) as progress:
        pool = joblib.Parallel(n_jobs=jobs, backend="threading", return_as="generator_unordered")
        try:
            for chapter, outcome in pool(joblib.delayed(work)(chapter) for chapter in todo):
                yield chapter, outcome, progress.tell
        finally:
            stopping.set()
            end_all()


def by_cluster(todo: list[Chapter], client: Any, say: Callable[[str], None]) -> Outcomes:
    """Execute ``todo`` on the workers of a Dask cluster, one thread a chapter; cancelled when the press ends."""
    from distributed import as_completed

    say(f"{', '.join(chapter.name for chapter in todo)}: sent to {client.scheduler.address}")
    for chapter in todo:
        chapter.begin()
    futures = {
        client.submit(_on_worker, chapter.task(1, None), client.id, pure=False): chapter for chapter in todo
    }  # fmt: skip
    for future in as_completed(futures):
        try:
            outcome = future.result()
        except Exception as error:
            outcome = failure(error)
        yield futures[future], outcome, say


def _on_worker(task: dict[str, Any], client: str) -> dict[str, Any]:
    """Execute a task on a worker, as long as the client that has sent it is connected to the scheduler."""
    from distributed import get_client

    here = get_client()

    def connected(dask_scheduler: Any = None) -> bool:
        return client in dask_scheduler.clients

    def wanted() -> bool:
        try:
            return here.run_on_scheduler(connected)
        except Exception:  # whatever it is: without a scheduler nobody can fetch the result
            return False

    return execute(task, wanted=wanted)


@contextlib.contextmanager
def cluster(url: str) -> Iterator[Any]:
    """A client of the Dask scheduler at ``url``. PressError if none answers there, or has no workers."""
    try:
        from distributed import Client
    except ImportError as error:
        raise PressError("--workers needs Dask: pip install 'diffnotes[cluster]'", 2) from error
    except Exception as error:  # settings of Dask's that it cannot read
        raise PressError(f"--workers: Dask cannot be loaded: {error}") from error
    for name in ("distributed", "tornado", "asyncio"):  # what matters of theirs is told in our words
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        client = Client(url, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise PressError(f"--workers {url}: no Dask scheduler answers there ({error})") from error
    try:
        if not client.scheduler_info()["workers"]:
            raise PressError(f"--workers {url}: the scheduler there has no workers")
        yield client
    finally:
        client.close()
