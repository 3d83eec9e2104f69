"""Execution of chapters: papermill, one fresh process each, pages replaced only by better ones.

A chapter that is fresh is not run again; if only its prose has changed, the new prose is put around the old results.
Otherwise its notebook is executed (:mod:`diffnotes.press.child`), made into a page, given its provenance and checked by
all gates; only then does it replace the older page. A run that fails, or is interrupted, leaves the last good page
where it is, and its report under ``reports/``.

A page is held to what made it: the notebook that is executed is the one that is hashed, and the kernel tells which code
of the package it has compiled, which must be that of the package as it was when the run began.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from . import gates, page, provenance
from .cells import CodeError, parse, plain
from .errors import PressError
from .files import at_work, lock, require_room, sweep, write_whole
from .kernel import canonical
from .layout import PROFILES, Project, seeds
from .processes import Owned, end_all, environment, interruptible, workspace

__all__ = ["execute", "run"]

MEMORY_PER_CHAPTER = 1536 * 2**20  # bytes that must be free for each chapter running at the same time
DEVICES = ("auto", "cpu", "cuda")
PATIENCE = 10  # seconds that a scheduler has to answer
CELL_TIMEOUT = 2 * 3600  # seconds; the longest training of a chapter takes a good hour
THREADS = [f"{library}_NUM_THREADS" for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")]
# glibc hands the big temporaries of each training step back to the system, and pays for it in page faults, unless told.
KEEP_MEMORY = {f"MALLOC_{name}_THRESHOLD_": str(1 << 30) for name in ("MMAP", "TRIM")}
CHILD = Path(__file__).with_name("child.py")


def cuda_name() -> str | None:
    """Name of the CUDA GPU that PyTorch can use, or None; asked in a process that ends at once."""
    code = "import torch; print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else '')"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, env=environment())
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
    if wanted not in DEVICES:
        raise PressError(f"unknown device {wanted!r}; allowed: {', '.join(DEVICES)}", 2)
    gpu = cuda_name() if wanted == "cuda" or (wanted == "auto" and _may_have_cuda()) else None
    if wanted == "cuda" and gpu is None:
        raise PressError("--device cuda: PyTorch finds no CUDA GPU here; nothing was run. Use --device auto or cpu.", 2)
    return ("cuda", gpu) if gpu else ("cpu", cpu_name())


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _commit(root: Path) -> str:
    def git(*words: str) -> str:
        command = ["git", "-c", "safe.directory=*", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, env=environment()).stdout.strip()

    if not shutil.which("git") or not (head := git("rev-parse", "--short=12", "HEAD")):
        return "none"
    return head + (" with changes" if git("status", "--porcelain", "--untracked-files=no") else "")


def execute(
    task: dict[str, Any], progress: Callable[[int, int], None] | None = None, wanted: Callable[[], bool] | None = None
) -> dict[str, Any]:
    """Execute one notebook in a process of its own.

    Args:
        task: what :meth:`Chapter.task` gives.
        progress: called with (number of the code cell that starts, number of code cells).
        wanted: asked every second whether the result is still wanted; if not, the run is ended.

    Returns:
        notebook (executed text, or None), error (None or what went wrong), device, threads, versions, seconds,
        memory_mib, cells (seconds of each) and kernel (what it held and touched).

    Raises:
        PressError: if CUDA is wanted where there is none, or there is no room for temporary files.
    """
    device = tuple(task["device"] or find_device(task["wanted"]))
    versions = {name: metadata.version(name) for name in ("torch", "numpy", "diffnotes")}
    outcome: dict[str, Any] = {"device": device, "threads": task["threads"], "seconds": 0, "memory_mib": 0, "cells": []}
    outcome |= {"versions": {"python": platform.python_version()} | versions, "kernel": {}, "notebook": None}
    with workspace() as work:
        here = Path(task["folder"]).is_dir()  # a worker of a cluster has its own checkout, or none
        places = {} if here else {"folder": str(work), "root": str(work), "package": str(Project.package)}
        given = places.get("package", task["package"])
        package = work / "package" / Path(given).name
        env = environment(work, TQDM_DISABLE="1", CUBLAS_WORKSPACE_CONFIG=":4096:8", **KEEP_MEMORY)
        env |= dict.fromkeys(THREADS, str(task["threads"]))
        env |= {"CUDA_VISIBLE_DEVICES": ""} if device[0] == "cpu" else {}
        try:
            # A copy: whatever happens to the package meanwhile, all processes of the chapter have one and the same.
            shutil.copytree(given, package, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            (work / "task.json").write_text(json.dumps({**task, **places, "package": str(package)}), encoding="utf-8")
            stderr = open(work / "stderr", "w+", encoding="utf-8", errors="replace")
        except OSError as error:
            raise PressError(f"no room for temporary files in {work.parent}: {error.strerror}") from error
        with stderr, Owned([str(CHILD), str(work)], work, env, stdout=subprocess.PIPE, stderr=stderr) as owned:
            if wanted is not None:
                threading.Thread(target=_end_unwanted, args=(owned, wanted), daemon=True).start()
            for line in owned.process.stdout:
                message = json.loads(line)
                if "cell" in message and progress:
                    progress(message["cell"], message["of"])
                outcome |= message
            owned.end()
            stderr.seek(0)
            noise = "\n".join(stderr.read().splitlines()[-40:])
        if outcome.get("error"):
            outcome["error"] = outcome["error"].replace(str(package), given)
        outcome.setdefault("error", "the run was ended from outside, or had not enough memory")
        if outcome["error"] and noise.strip() and "\n" not in outcome["error"]:
            cause = f" ({noise.strip().splitlines()[-1]})" if "could not" in outcome["error"] else ""
            outcome["error"] += f"{cause}\n\n{noise}"
        for name, key in (("done.ipynb", "notebook"), ("kernel.json", "kernel")):
            if (work / name).is_file():
                text = (work / name).read_text(encoding="utf-8")
                outcome[key] = text if key == "notebook" else json.loads(text)
        return outcome


def _end_unwanted(owned: Owned, wanted: Callable[[], bool]) -> None:
    while owned.process.poll() is None:
        if not wanted():
            owned.end()
        time.sleep(1)


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
    """A duration: "42 s" or "3 min 05 s"."""
    seconds = round(seconds)
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} min {seconds % 60:02d} s"


class Chapter:
    """One chapter to be brought up to date in one profile."""

    def __init__(
        self, project: Project, name: str, profile: str, device: str, seed: int | None, timeout: int = CELL_TIMEOUT
    ) -> None:
        self.project, self.name, self.profile, self.device, self.timeout = project, name, profile, device, timeout
        self.source = page.read(project.source(name))
        self.settings = project.settings(name, profile, seed, device, self.source)
        self.values = page.parameters(self.source) | self.settings
        self.seeds = seeds(self.values, f"notebooks/{name}.ipynb")
        self.path, self.report = project.page(profile, name), project.report(profile, name)
        self.before: dict[str, Any] = {}

    def check(self) -> list[str]:
        """What is known to be wrong before a run: code that cannot be read, tags that would change what is run."""
        problems = [f"{self.name}, cell {index + 1}: {fault}" for index, fault in page.source_faults(self.source)]
        for index, cell in enumerate(self.source.cells):
            try:
                parse(cell.source if cell.cell_type == "code" else "")
            except CodeError as error:
                problems.append(f"{self.name}, cell {index + 1}: it cannot be read as Python: {error}")
        return problems

    def examine(self, path: Path | None = None) -> provenance.Page:
        return provenance.examine(self.project, self.name, self.profile, self.settings, self.device, path)

    def fresh(self) -> tuple[Any, Path] | None:
        """An executed notebook whose results are still right: the page, or what a run left that only failed a gate."""
        for path in (self.path, self.report):
            found = self.examine(path)
            if found.freshness.state == "fresh":
                return found.notebook, path
        return None

    def why(self) -> str:
        return ", ".join(self.examine().freshness.reasons)

    def earlier(self) -> list[float]:
        """Seconds of each code cell in an earlier run."""
        return next((found.record["cells"] for path in (self.path, self.report)
                     if (found := self.examine(path)).usable), [])  # fmt: skip

    def begin(self) -> None:
        """Take down what the run must be made from."""
        self.whole = provenance.counts_documentation(self.source, self.project.package)
        self.before = {"parts": provenance.fingerprint(self.project, self.name, self.settings, self.source),
                       "modules": provenance.all_modules(self.project.package, self.whole),
                       "rules": provenance.ledger.rules(self.name),
                       "listing": _listing(self.project.root)}  # fmt: skip

    def appeared(self) -> list[str]:
        """Files of the checkout that were made or changed since the run began, by whomever."""
        now = _listing(self.project.root)
        return sorted(path for path in now if now[path] != self.before["listing"].get(path))

    def task(self, threads: int, device: tuple[str, str] | None) -> dict[str, Any]:
        return {"notebook": page.text(self.source), "settings": self.settings, "threads": threads,
                "folder": str(self.project.root / "notebooks"), "root": str(self.project.root), "chapter": self.name,
                "package": str(self.project.package), "names": list(self.values), "timeout": self.timeout,
                "wanted": self.device, "device": device}  # fmt: skip

    def suspicions(self, kernel: dict[str, Any]) -> list[str]:
        """Why the results cannot be taken for those of the sources; ``kernel`` is what the kernel tells of itself."""
        if not kernel:
            return ["the kernel did not say which code it has run"]
        root, modules = self.project.package.name, self.before["modules"]
        found = []
        for module, codes in sorted(self._held(kernel).items()):
            if {modules.get(module)} != {provenance.module_digest(code, self.whole) for code in codes}:
                found.append(f"the code of {root}.{module} that has run is not that of the package as it was when the "
                             "run began: the kernel has another package")
        if kernel["rules"] not in (None, json.loads(json.dumps(self.before["rules"]))):
            found.append("the rules of the claims by which it was judged are not those here")
        for path in kernel["read"]:
            found.append(f"a cell reads {path}, which the page's hash does not cover; data come through the package")
        for path in kernel["written"]:
            found.append(f"a cell writes {path}: a run must leave the checkout as it is")
        for name, value in kernel["values"].items():
            was = canonical(self.values[name])
            if name != "device" and value != was:  # "auto" becomes a device
                found.append(f"a cell changes the parameter {name} from {was} to {value}")
        return found

    def _held(self, kernel: dict[str, Any]) -> dict[str, list[str]]:
        """Module -> the sources that the kernel has compiled for it, the press left out."""
        root = self.project.package.name
        held = {name.removeprefix(root + ".") if name != root else "__init__": codes
                for name, codes in kernel["held"].items() if name.split(".")[0] == root}  # fmt: skip
        held = {name: codes for name, codes in held.items() if name.split(".")[0] != "press"}
        return held if held.keys() - {"__init__"} else {}  # the root alone comes with the press

    def stamped(self, outcome: dict[str, Any]) -> Any:
        """The page from an executed notebook, with its provenance."""
        import nbformat

        notebook = page.normalise(nbformat.reads(outcome["notebook"], as_version=4))
        parts = {key: value for key, value in self.before["parts"].items() if key != "hash"}
        used = parts["modules"].keys() | self._held(outcome["kernel"]).keys()
        parts["modules"] = {name: value[:16] for name, value in sorted(self.before["modules"].items()) if name in used}
        notebook.metadata.setdefault("diffnotes", {})["provenance"] = {
            "chapter": self.name,
            "profile": self.profile,
            "device": outcome["device"][1],
            "device_type": outcome["device"][0],
            **{key: outcome[key] for key in ("threads", "seconds", "cells", "memory_mib", "versions")},
            "seeds": self.seeds,
            "commit": _commit(self.project.root),
            "parameters": {key: plain(value) for key, value in self.settings.items()},
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "hash": provenance.digest(parts),
            "parts": parts,
        }
        return provenance.sealed(notebook)

    def settle(self, notebook: Any) -> list[str]:
        """Check the page and put it in place, or leave a report; returns what is wrong with it."""
        problems = gates.check_source(self.source, self.name)
        problems += gates.check_page(notebook, self.source, self.name, self.project, self.settings)
        across = gates.check_across({**self._others(), self.name: notebook})
        problems += [problem for problem in across if problem.where == self.name]
        if problems:
            found = [str(problem) for problem in problems]
            state = provenance.freshness(notebook, self.project, self.name, self.settings).state
            self.leave(page.text(notebook) if state == "fresh" else None, "\n".join(found))
            return found
        text = page.text(notebook)
        if not self.path.is_file() or self.path.read_text(encoding="utf-8", errors="replace") != text:
            self._write(self.path, text)
        for path in (self.report, self.report.with_suffix(".txt")):
            path.unlink(missing_ok=True)
        return []

    def _others(self) -> dict[str, Any]:
        """The good pages of the other chapters in this profile."""
        found = {}
        for name in self.project.chapters():
            path = self.project.page(self.profile, name)
            if name != self.name and path.is_file():
                with contextlib.suppress(PressError):
                    found[name] = page.read(path)
        return found

    def leave(self, notebook: str | None, why: str) -> None:
        """Leave what a failed run has made, and why it failed; results that can be used again, or none."""
        if notebook:
            self._write(self.report, notebook)
        else:
            self.report.unlink(missing_ok=True)
        self._write(self.report.with_suffix(".txt"), re.sub(r"\x1b\[[0-9;]*m", "", why) + "\n")

    def _write(self, path: Path, text: str) -> None:
        """Write a file whole; where that fails, keep the text where there is room, and say where."""
        try:
            write_whole(path, text)
        except OSError as error:
            kept = _rescue(path.name, text)
            why = error.strerror or error
            raise PressError(f"{path} cannot be written: {why}; its text is kept as {kept}") from error


def _listing(root: Path) -> dict[str, tuple[int, int]]:
    """Time and size of the files below ``root``, without what is hidden, made by the press, or installed."""
    found = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith((".", "_build", "__"))]
        for name in files:
            with contextlib.suppress(OSError):
                path = Path(folder, name)
                if not name.startswith("."):
                    found[path.relative_to(root).as_posix()] = (path.lstat().st_mtime_ns, path.lstat().st_size)
    return found


def _rescue(name: str, text: str) -> str:
    """Put ``text`` into a temporary file and return its path, or a word that says that there is no room at all."""
    for folder in dict.fromkeys((tempfile.gettempdir(), str(Path.home()))):
        with contextlib.suppress(OSError):
            handle, path = tempfile.mkstemp(prefix=f"{Path(name).stem}-", suffix=Path(name).suffix, dir=folder)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            return path
    return "nothing: there is no room anywhere"


def run(
    project: Project, names: Iterable[str] = (), *, profile: str | None = None, device: str = "auto",
    seed: int | None = None, force: bool = False, workers: str | None = None, timeout: int = CELL_TIMEOUT,
    say: Callable[[str], None] = print,
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
        timeout: seconds that a cell may take.
        say: receives the messages.

    Returns:
        0 if all pages are up to date and pass the gates, else 1.

    Raises:
        PressError: before anything is written, for an unknown chapter, profile or device, CUDA where there is none,
            parameters that are no plain values, or a folder that cannot be written.
        KeyboardInterrupt: after the running chapters have been ended.
    """
    names = project.choose(names)
    if profile is not None and profile not in PROFILES:
        raise PressError(f"unknown profile {profile!r}; allowed: {', '.join(PROFILES)}", 2)
    if seed is not None and seed < 0:
        raise PressError(f"seed = {seed}; allowed: whole numbers >= 0", 2)
    if device not in DEVICES:
        raise PressError(f"unknown device {device!r}; allowed: {', '.join(DEVICES)}", 2)
    if timeout < 1:
        raise PressError(f"timeout = {timeout}; allowed: seconds >= 1", 2)
    with contextlib.ExitStack() as stack:
        stack.enter_context(interruptible())
        stack.enter_context(at_work(project.root))
        cluster = stack.enter_context(_cluster(workers)) if workers else None
        here = None if cluster else find_device(device)
        profile = profile or ("gpu" if here and here[0] == "cuda" else "cpu")
        require_room(project.page(profile, "any").parent, "executed pages")
        for name in sorted(names):  # in one order: nobody waits in a circle
            waiting = f"{name}: another run is at work on it; waiting for that"
            stack.enter_context(_locked(project.page(profile, name), lambda text=waiting: say(text)))
            report = project.report(profile, name)
            for path in (project.page(profile, name), report, report.with_suffix(".txt")):
                if path.is_dir():
                    raise PressError(f"{path} is a folder, where a page or a report should lie; nothing was run")
                sweep(path)
        chapters = [Chapter(project, name, profile, device, seed, timeout) for name in names]
        if problems := [problem for chapter in chapters for problem in chapter.check()]:
            raise PressError("\n  ".join(["nothing was run:", *problems]))
        failed = _bring_up_to_date(chapters, here, cluster, force, say)
    for name, problems in failed.items():
        report, stays = project.report(profile, name).with_suffix(".txt"), project.page(profile, name).is_file()
        say(f"{name}: FAILED" + ("; the last good page stays" if stays else ""))
        for problem in problems[:20]:
            say("  " + problem.replace("\n", "\n  "))
        if report.is_file():
            say(f"  report: {report.relative_to(project.root)}")
    return 1 if failed else 0


@contextlib.contextmanager
def _locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        with lock(path, waiting):
            yield
    except PermissionError as error:
        raise PressError(f"{path.parent} cannot be written: {error.strerror}") from error
    finally:
        for folder in made:  # a run that has written nothing leaves nothing
            with contextlib.suppress(OSError):
                folder.rmdir()


def _bring_up_to_date(
    chapters: list[Chapter], here: tuple[str, str] | None, cluster: Any, force: bool, say: Callable[[str], None]
) -> dict[str, list[str]]:
    """Reuse or execute each chapter; returns those that failed, and why."""
    failed: dict[str, list[str]] = {}
    todo: list[Chapter] = []
    for chapter in chapters:
        found = None if force else chapter.fresh()
        if found is None:
            todo.append(chapter)
            continue
        old = page.text(found[0])
        notebook = provenance.sealed(page.with_prose(found[0], chapter.source))
        if problems := _settle(chapter, notebook):
            failed[chapter.name] = problems
        else:
            updated = page.text(notebook) != old or found[1] != chapter.path
            kept = ", prose updated" if updated else ", nothing to run"
            say(f"{chapter.name}: fresh in profile {chapter.profile}{kept}")
    if todo:
        outcomes = _by_cluster(todo, cluster, say) if cluster else _by_machine(todo, here, say)
        with contextlib.closing(outcomes):
            for chapter, outcome, tell in outcomes:
                if problems := _finish(chapter, outcome):
                    failed[chapter.name] = problems
                else:
                    took = f"{clock(outcome['seconds'])}, {outcome['memory_mib']} MiB at the peak"
                    tell(f"{chapter.name}: done in {took}")
                if new := chapter.appeared() if chapter.before else []:
                    shown = ", ".join(new[:5]) + (" and more" if len(new) > 5 else "")
                    tell(f"{chapter.name}: note: changed since the run began: {shown}; a cell must not do that")
    return failed


def _finish(chapter: Chapter, outcome: dict[str, Any]) -> list[str]:
    """Make a page of an outcome, or leave a report; returns what is wrong."""
    try:
        if outcome["error"]:
            chapter.leave(None, outcome["error"])
            return [outcome["error"].strip().split("\n")[0]]
        if suspicions := chapter.suspicions(outcome["kernel"]):
            chapter.leave(None, "\n".join(suspicions))
            return suspicions
        made = chapter.stamped(outcome)
    except Exception as error:
        return [_failure(error)["error"]]
    return _settle(chapter, made)


def _settle(chapter: Chapter, made: Any) -> list[str]:
    """Settle a page; whatever goes wrong, the other chapters go on, and what this one has made is not lost."""
    try:
        return chapter.settle(made)
    except Exception as error:
        words = str(error) if isinstance(error, PressError) else f"{type(error).__name__}: {error}"
        if "its text is kept as" not in words:
            with contextlib.suppress(PressError):
                chapter.leave(page.text(made) if made else None, words)
        return [words]


Outcomes = Iterator[tuple[Chapter, dict[str, Any], Callable[[str], None]]]


def _failure(error: Exception) -> dict[str, Any]:
    words = str(error) if isinstance(error, PressError) else f"{type(error).__name__}: {error}"
    return {"error": words, "notebook": None}


def _by_machine(todo: list[Chapter], here: tuple[str, str], say: Callable[[str], None]) -> Outcomes:
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
        why = chapter.why() or "forced"
        progress.tell(f"{chapter.name}: running, profile {chapter.profile} on {here[1]} ({why})")

        def at(cell: int, of: int) -> None:
            progress.state[chapter.name] = (cell, of)

        try:
            chapter.begin()
            return chapter, execute(chapter.task(threads, here), at)
        except Exception as error:  # the other chapters go on
            return chapter, _failure(error)
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


def _by_cluster(todo: list[Chapter], cluster: Any, say: Callable[[str], None]) -> Outcomes:
    """Execute ``todo`` on the workers of a Dask cluster, one thread a chapter; cancelled when the press ends."""
    from distributed import as_completed

    say(f"{', '.join(chapter.name for chapter in todo)}: sent to {cluster.scheduler.address}")
    for chapter in todo:
        chapter.begin()
    futures = {
        cluster.submit(_on_worker, chapter.task(1, None), cluster.id, pure=False): chapter for chapter in todo
    }  # fmt: skip
    for future in as_completed(futures):
        try:
            outcome = future.result()
        except Exception as error:
            outcome = _failure(error)
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
def _cluster(url: str) -> Iterator[Any]:
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
