"""One chapter on its way to a page: what it is made from, whether a run was sound, the gates, the place.

A page is held to what made it: the notebook that is executed is the one that is hashed, and the kernel tells which code
of the package it has compiled, which must be that of the package as it was when the run began.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import gates, ledger, page, provenance
from .cells import CodeError, parse
from .devices import DEVICES
from .errors import PressError
from .files import write_whole
from .kernel import canonical
from .layout import PROFILES, Project
from .modules import all_modules, digest, module_digest, training
from .parameters import parameters, plain, seeds
from .parameters import settings as settings_of
from .processes import environment

__all__ = ["Chapter", "Order"]

CELL_TIMEOUT = 4 * 3600  # seconds; what takes longest, generations of images, took more than two hours


@dataclass(frozen=True)
class Order:
    """How chapters are run.

    ``profile``: "smoke", "cpu", "gpu", or one of single chapters such as "cifar10"; by default gpu where CUDA is found,
    else cpu. ``device``: "auto", "cpu" or "cuda". ``seed`` replaces that of the parameters cell. ``timeout``: seconds
    that a cell may take. ``train``: all networks are trained anew, whichever are kept. ``networks``: the folder of own
    networks, by default the book's.

    Raises:
        PressError: for anything else.
    """

    profile: str | None = None
    device: str = "auto"
    seed: int | None = None
    timeout: int = CELL_TIMEOUT
    train: bool = False
    networks: Path | None = None

    def __post_init__(self) -> None:
        if self.profile is not None and self.profile not in PROFILES:
            raise PressError(f"unknown profile {self.profile!r}; allowed: {', '.join(PROFILES)}", 2)
        if self.seed is not None and self.seed < 0:
            raise PressError(f"seed = {self.seed}; allowed: whole numbers >= 0", 2)
        if self.device not in DEVICES:
            raise PressError(f"unknown device {self.device!r}; allowed: {', '.join(DEVICES)}", 2)
        if self.timeout < 1:
            raise PressError(f"timeout = {self.timeout}; allowed: seconds >= 1", 2)


class Chapter:
    """One chapter to be run as an :class:`Order` with a profile says."""

    def __init__(self, project: Project, name: str, order: Order) -> None:
        self.project, self.name, self.order, self.profile = project, name, order, order.profile
        self.networks = order.networks or project.networks
        self.source = page.read(project.source(name))
        self.settings = settings_of(project, name, order.profile, order.seed, order.device, self.source)
        self.values = parameters(self.source) | self.settings
        self.seeds = seeds(self.values, f"notebooks/{name}.ipynb")
        self.path, self.report = project.page(order.profile, name), project.report(order.profile, name)
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
        return provenance.examine(self.project, self.name, self.profile, self.settings, self.order.device, path)

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
                       "modules": all_modules(self.project.package, self.whole),
                       "rules": ledger.rules(self.name),
                       "listing": _listing(self.project.root)}  # fmt: skip

    def appeared(self) -> list[str]:
        """Files of the checkout that were made or changed since the run began, by whomever."""
        now = _listing(self.project.root)
        return sorted(path for path in now if now[path] != self.before["listing"].get(path))

    def task(self, threads: int, device: tuple[str, str] | None) -> dict[str, Any]:
        return {"notebook": page.text(self.source), "settings": self.settings, "threads": threads,
                "folder": str(self.project.root / "notebooks"), "root": str(self.project.root), "chapter": self.name,
                "package": str(self.project.package), "names": list(self.values), "timeout": self.order.timeout,
                "wanted": self.order.device, "device": device, "train": self.order.train,
                "networks": str(self.networks), "published": str(self.project.published_networks)}  # fmt: skip

    def suspicions(self, kernel: dict[str, Any]) -> list[str]:
        """Why the results cannot be taken for those of the sources; ``kernel`` is what the kernel tells of itself."""
        if not kernel:
            return ["the kernel did not say which code it has run"]
        root, modules = self.project.package.name, self.before["modules"]
        found = []
        for module, codes in sorted(self._held(kernel).items()):
            if {modules.get(module)} != {module_digest(code, self.whole) for code in codes}:
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
        used = parts["modules"].keys() | self._held(outcome["kernel"]).keys() - training(self.project.package)[1]
        parts["modules"] = {name: value[:16] for name, value in sorted(self.before["modules"].items()) if name in used}
        notebook.metadata.setdefault("diffnotes", {})["provenance"] = {
            "chapter": self.name,
            "profile": self.profile,
            "device": outcome["device"][1],
            "device_type": outcome["device"][0],
            **{key: outcome[key] for key in ("threads", "seconds", "cells", "memory_mib", "versions")},
            "seeds": self.seeds,
            "networks": outcome["kernel"].get("networks", []),
            "commit": _commit(self.project.root),
            "parameters": {key: plain(value) for key, value in self.settings.items()},
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "hash": digest(parts),
            "parts": parts,
        }
        return provenance.sealed(notebook)

    def settle(self, notebook: Any) -> list[str]:
        """Check the page and put it in place, or leave a report; returns what is wrong with it."""
        problems = gates.check_source(self.source, self.name, self.project)
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
                    found[name] = page.shared(path)
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


def _commit(root: Path) -> str:
    def git(*words: str) -> str:
        command = ["git", "-c", "safe.directory=*", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, env=environment()).stdout.strip()

    if not shutil.which("git") or not (head := git("rev-parse", "--short=12", "HEAD")):
        return "none"
    return head + (" with changes" if git("status", "--porcelain", "--untracked-files=no") else "")
