"""Execution of chapters: papermill, one fresh process each, pages replaced only by better ones.

A chapter that is fresh is not run again; if only its prose has changed, the new prose is put around the old results.
Otherwise its notebook is executed (:mod:`diffnotes.press.child`), made into a page, given its provenance and checked by
all gates; only then does it replace the older page. A run that fails, or is interrupted, leaves the last good page
where it is, and its report under ``reports/``.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from . import gates, page, provenance
from .errors import PressError
from .layout import Project, write_whole

__all__ = ["execute", "run"]

MEMORY_PER_CHAPTER = 1536 * 2**20  # bytes that must be free for each chapter running at the same time
THREADS = [f"{library}_NUM_THREADS" for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")]
# glibc hands the big temporaries of each training step back to the system, and pays for it in page faults, unless told.
KEEP_MEMORY = {f"MALLOC_{name}_THRESHOLD_": str(1 << 30) for name in ("MMAP", "TRIM")}
_running: set[subprocess.Popen] = set()


def cuda_name() -> str | None:
    """Name of the CUDA GPU that PyTorch can use, or None; asked in a process that ends at once."""
    code = "import torch; print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else '')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.stdout.strip() or None


def _may_have_cuda() -> bool:
    """Cheap and cautious: whether it is worth the time to ask PyTorch."""
    drivers = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/dxg", "/dev/kfd")
    return bool(shutil.which("nvidia-smi")) or any(Path(driver).exists() for driver in drivers)


def cpu_name() -> str:
    """The processor's model and the number of cores this process may use."""
    with contextlib.suppress(OSError):
        if models := re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M):
            return f"{' '.join(models[0].split())}, {cores()} cores"
    name = ""
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        name = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return f"{name or platform.processor() or platform.machine()}, {cores()} cores"


def find_device(wanted: str) -> tuple[str, str]:
    """Kind ("cpu" or "cuda") and name of the device that "auto", "cpu" or "cuda" stands for here.

    Raises:
        PressError: for another word, or for "cuda" where there is none.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise PressError(f"unknown device {wanted!r}; allowed: auto, cpu, cuda", 2)
    gpu = cuda_name() if wanted == "cuda" or (wanted == "auto" and _may_have_cuda()) else None
    if wanted == "cuda" and gpu is None:
        raise PressError("--device cuda: PyTorch finds no CUDA GPU here; nothing was run. Use --device auto or cpu.", 2)
    return ("cuda", gpu) if gpu else ("cpu", cpu_name())


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _commit(root: Path) -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True).stdout.strip()

    if not shutil.which("git") or not (head := git("rev-parse", "--short=12", "HEAD")):
        return "none"
    return head + (" with changes" if git("status", "--porcelain", "--untracked-files=no") else "")


def execute(task: dict[str, Any], progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Execute one notebook in a process of its own.

    Args:
        task: notebook (its text), settings (to inject), folder (to run in), threads, wanted (device), device (kind and
            name, or None: to be found where this runs).
        progress: called with (number of the code cell that starts, number of code cells).

    Returns:
        notebook (executed text, or None), error (None or what went wrong), device, threads, versions, seconds,
        memory_mib and cells (seconds of each).

    Raises:
        PressError: if CUDA is wanted where there is none.
    """
    device = tuple(task["device"] or find_device(task["wanted"]))
    with tempfile.TemporaryDirectory(prefix="diffnotes-") as folder:
        work = Path(folder)
        place = task["folder"] if Path(task["folder"]).is_dir() else folder
        (work / "task.json").write_text(json.dumps({**task, "folder": place}), encoding="utf-8")
        quiet = {"TQDM_DISABLE": "1", "PYTHONHASHSEED": "0", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        private = {"IPYTHONDIR": folder, "JUPYTER_RUNTIME_DIR": folder, "JUPYTER_PREFER_ENV_PATH": "1"}
        env = os.environ | quiet | private | KEEP_MEMORY | dict.fromkeys(THREADS, str(task["threads"]))
        env |= {"CUDA_VISIBLE_DEVICES": ""} if device[0] == "cpu" else {}
        command = [sys.executable, "-P", str(Path(__file__).with_name("child.py")), folder]
        with open(work / "stderr", "w+", encoding="utf-8", errors="replace") as stderr:
            # In a session of its own: Ctrl-C reaches the parent alone, which then ends the child and its kernel.
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=stderr, env=env, text=True, start_new_session=True
            )
            _running.add(process)
            versions = {name: metadata.version(name) for name in ("torch", "numpy", "diffnotes")}
            outcome: dict[str, Any] = {"device": device, "threads": task["threads"]}
            outcome["versions"] = {"python": platform.python_version()} | versions
            try:
                for line in process.stdout:
                    message = json.loads(line)
                    if "cell" in message and progress:
                        progress(message["cell"], message["of"])
                    outcome |= message
                process.wait()
            finally:
                _end(process)
                _running.discard(process)
            stderr.seek(0)
            noise = stderr.read()
        if "error" not in outcome:
            outcome |= {"error": f"the run ended without a result\n{noise}", "seconds": 0, "memory_mib": 0, "cells": []}
        done = work / "done.ipynb"
        return {**outcome, "notebook": done.read_text(encoding="utf-8") if done.is_file() else None}


def _end(process: subprocess.Popen) -> None:
    """End a child and its kernel, if they still run."""
    import psutil

    if process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(process.pid)
            for member in (*parent.children(recursive=True), parent):
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
        process.wait()


class Progress:
    """Where each running chapter is and how long it will take: one line that changes, or now and then a plain line."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say, self.live = say, sys.stdout.isatty() and say is print
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
        while not self._stop.wait(1 if self.live else 15):
            lines = [self.line(name) for name in list(self.state)]
            if self.live and lines:
                width = shutil.get_terminal_size().columns - 1
                print("\r\x1b[K" + "  |  ".join(lines)[:width], end="", flush=True)
            elif not self.live:
                for line in lines:
                    self.say("  " + line)


def clock(seconds: float) -> str:
    """A duration: "42 s" or "3 min 05 s"."""
    seconds = round(seconds)
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} min {seconds % 60:02d} s"


class Chapter:
    """One chapter to be brought up to date in one profile."""

    def __init__(self, project: Project, name: str, profile: str, device: str, seed: int | None) -> None:
        self.project, self.name, self.profile, self.device = project, name, profile, device
        self.source = page.read(project.source(name))
        self.settings = project.settings(name, profile, seed, device)
        self.path, self.report = project.page(profile, name), project.report(profile, name)

    def fresh(self) -> tuple[Any, Path] | None:
        """An executed notebook whose results are still right: the page, or what a run left that only failed a gate."""
        for path in (self.path, self.report):
            if path.is_file():
                notebook = page.read(path)
                if provenance.freshness(notebook, self.project, self.name, self.settings, self.device).state == "fresh":
                    return notebook, path
        return None

    def why(self) -> str:
        old = page.read(self.path) if self.path.is_file() else None
        reasons = provenance.freshness(old, self.project, self.name, self.settings, self.device).reasons
        return ", ".join(reasons)

    def earlier(self) -> list[float]:
        """Seconds of each code cell in an earlier run."""
        for path in (self.path, self.report):
            if path.is_file():
                return page.read(path).metadata.get("diffnotes", {}).get("provenance", {}).get("cells", [])
        return []

    def task(self, threads: int, device: tuple[str, str] | None) -> dict[str, Any]:
        return {"notebook": page.text(self.source), "settings": self.settings, "threads": threads,
                "folder": str(self.project.root / "notebooks"), "wanted": self.device, "device": device}  # fmt: skip

    def stamped(self, outcome: dict[str, Any], before: dict[str, Any]) -> Any:
        """The page from an executed notebook, with its provenance; ``before``: the fingerprint before the run."""
        import nbformat

        notebook = page.normalise(nbformat.reads(outcome["notebook"], as_version=4))
        values = page.parameters(self.source) | self.settings
        seeds = values.get("seeds", 1)
        record = {
            "profile": self.profile,
            "device": outcome["device"][1],
            "device_type": outcome["device"][0],
            **{key: outcome[key] for key in ("threads", "seconds", "cells", "memory_mib", "versions")},
            "seeds": [values["seed"] + i for i in range(seeds)] if isinstance(seeds, int) else list(seeds),
            "commit": _commit(self.project.root),
            "parameters": self.settings,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "hash": before["hash"],
            "parts": {key: value for key, value in before.items() if key != "hash"},
            "outputs": provenance.outputs_hash(notebook),
        }
        notebook.metadata.setdefault("diffnotes", {})["provenance"] = record
        return notebook

    def settle(self, notebook: Any) -> list[str]:
        """Check the page and put it in place, or leave a report; returns what is wrong with it."""
        problems = gates.check_source(self.source, self.name)
        problems += gates.check_page(notebook, self.source, self.name, self.project, self.settings)
        if problems:
            found = [str(problem) for problem in problems]
            self.leave(page.text(notebook), "\n".join(found))
            return found
        text = page.text(notebook)
        if not self.path.is_file() or self.path.read_text(encoding="utf-8") != text:
            write_whole(self.path, text)
        for path in (self.report, self.report.with_suffix(".txt")):
            path.unlink(missing_ok=True)
        return []

    def leave(self, notebook: str | None, why: str) -> None:
        """Leave what a failed run has made, and why it failed."""
        if notebook:
            write_whole(self.report, notebook)
        write_whole(self.report.with_suffix(".txt"), re.sub(r"\x1b\[[0-9;]*m", "", why) + "\n")


def run(
    project: Project, names: Iterable[str] = (), *, profile: str | None = None, device: str = "auto",
    seed: int | None = None, force: bool = False, workers: str | None = None, say: Callable[[str], None] = print,
) -> int:  # fmt: skip
    """Bring the pages of the named chapters (default: all) up to date.

    Args:
        project: the book.
        names: chapters.
        profile: "smoke", "cpu" or "gpu"; by default gpu where CUDA is found, else cpu.
        device: "auto", "cpu" or "cuda".
        seed: replaces the seed in the parameters cell.
        force: run what is fresh, too.
        workers: address of a Dask scheduler that is to share the work.
        say: receives the messages.

    Returns:
        0 if all pages are up to date and pass the gates, else 1.

    Raises:
        PressError: before anything is written, for an unknown chapter, profile or device, or CUDA where there is none.
        KeyboardInterrupt: after the running chapters have been ended.
    """
    names = project.choose(names)
    cluster = _cluster(workers) if workers else None
    here = None if cluster else find_device(device)
    profile = profile or ("gpu" if here and here[0] == "cuda" else "cpu")
    chapters = [Chapter(project, name, profile, device, seed) for name in names]

    failed: dict[str, list[str]] = {}
    todo: list[Chapter] = []
    for chapter in chapters:
        found = None if force else chapter.fresh()
        if found is None:
            todo.append(chapter)
            continue
        old = page.text(found[0])
        notebook = page.with_prose(found[0], chapter.source)
        notebook.metadata["diffnotes"]["provenance"]["outputs"] = provenance.outputs_hash(notebook)
        if problems := chapter.settle(notebook):
            failed[chapter.name] = problems
        else:
            updated = page.text(notebook) != old or found[1] != chapter.path
            say(f"{chapter.name}: fresh in profile {profile}" + (", prose updated" if updated else ", nothing to run"))
    if todo:
        failed |= _execute_all(todo, here, cluster, say)
    done = {name: page.read(project.page(profile, name)) for name in names if project.page(profile, name).is_file()}
    for problem in gates.check_across(done):
        failed.setdefault(problem.where, []).append(str(problem))
    for name, problems in failed.items():
        report, stays = project.report(profile, name).with_suffix(".txt"), project.page(profile, name).is_file()
        say(f"{name}: FAILED" + ("; the last good page stays" if stays else ""))
        for problem in problems[:20]:
            say("  " + problem.replace("\n", "\n  "))
        if report.is_file():
            say(f"  report: {report.relative_to(project.root)}")
    return 1 if failed else 0


def _cluster(url: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise PressError("--workers needs Dask: pip install 'diffnotes[cluster]'", 2) from error
    try:
        return Client(url, timeout=10)
    except (OSError, ValueError) as error:
        raise PressError(f"--workers {url}: no Dask scheduler answers there ({error})") from error


def _execute_all(
    todo: list[Chapter], here: tuple[str, str] | None, cluster: Any, say: Callable[[str], None]
) -> dict[str, list[str]]:
    """Execute ``todo`` on the device ``here`` or on a Dask cluster; returns the chapters that failed, and why.

    On the processor chapters run side by side as far as cores and memory go; on a GPU, and on a worker of a cluster,
    one after the other. A worker gives a chapter one thread.
    """
    import joblib
    import psutil

    room = max(1, psutil.virtual_memory().available // MEMORY_PER_CHAPTER)
    jobs = min(len(todo), cores(), room) if here and here[0] == "cpu" else 1
    # One thread a chapter: small batched products gain little from a second one, and on a machine with other work the
    # threads' waiting for each other costs many times that. A GPU's host has nothing else to do.
    threads = 1 if not here or here[0] == "cpu" else cores()
    before = {chapter.name: provenance.fingerprint(chapter.project, chapter.name, chapter.settings) for chapter in todo}
    failed: dict[str, list[str]] = {}
    stopping = threading.Event()

    def stop(*_: object) -> None:
        stopping.set()
        for process in list(_running):
            _end(process)

    def interrupt(*_: object) -> None:
        stop()
        raise KeyboardInterrupt

    def work(chapter: Chapter) -> tuple[Chapter, dict[str, Any]]:
        if stopping.is_set():
            return chapter, {"error": "interrupted", "notebook": None}
        progress.begun[chapter.name] = time.monotonic()
        progress.earlier[chapter.name] = chapter.earlier()
        why = chapter.why() or "forced"
        progress.tell(f"{chapter.name}: running, profile {chapter.profile} on {here[1]} ({why})")

        def at(cell: int, of: int) -> None:
            progress.state[chapter.name] = (cell, of)

        outcome = execute(chapter.task(threads, here), at)
        progress.state.pop(chapter.name, None)
        return chapter, outcome

    main = threading.current_thread() is threading.main_thread()
    old = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)} if main else {}
    try:
        with Progress(say) as progress:
            if cluster is not None:
                progress.tell(f"{', '.join(chapter.name for chapter in todo)}: sent to {cluster.scheduler.address}")
                with joblib.parallel_config(backend="dask"):
                    pool = joblib.Parallel()
                    results = zip(todo, pool(joblib.delayed(execute)(chapter.task(threads, None)) for chapter in todo))
            else:
                pool = joblib.Parallel(n_jobs=jobs, backend="threading", return_as="generator_unordered")
                results = pool(joblib.delayed(work)(chapter) for chapter in todo)
            for chapter, outcome in results:
                if outcome["error"]:
                    chapter.leave(outcome["notebook"], outcome["error"])
                    failed[chapter.name] = [outcome["error"].strip().split("\n")[0]]
                    continue
                if problems := chapter.settle(chapter.stamped(outcome, before[chapter.name])):
                    failed[chapter.name] = problems
                else:
                    took = f"{clock(outcome['seconds'])}, {outcome['memory_mib']} MiB at the peak"
                    progress.tell(f"{chapter.name}: done in {took}")
    finally:
        stop()
        for number, handler in old.items():
            signal.signal(number, handler)
    return failed
