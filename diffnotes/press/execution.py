"""One notebook, executed in a process of its own with a copy of the package; what came of it."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from .devices import find_device
from .errors import PressError
from .layout import Project
from .processes import Owned, environment, workspace

__all__ = ["execute"]

THREADS = [f"{library}_NUM_THREADS" for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")]
# glibc hands the big temporaries of each training step back to the system, and pays for it in page faults, unless told.
KEEP_MEMORY = {f"MALLOC_{name}_THRESHOLD_": str(1 << 30) for name in ("MMAP", "TRIM")}
CHILD = Path(__file__).with_name("child.py")


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
        memory_mib, cells (seconds of each), kernel (what it held and touched) and networks (name -> bytes of the files
        that were made where the book is not).

    Raises:
        PressError: if CUDA is wanted where there is none, or there is no room for temporary files.
    """
    device = tuple(task["device"] or find_device(task["wanted"]))
    versions = {name: metadata.version(name) for name in ("torch", "numpy", "diffnotes")}
    outcome: dict[str, Any] = {"device": device, "threads": task["threads"], "seconds": 0, "memory_mib": 0, "cells": []}
    outcome |= {"versions": {"python": platform.python_version()} | versions, "kernel": {}, "notebook": None}
    with workspace() as work:
        here = Path(task["folder"]).is_dir()  # a worker of a cluster has its own checkout, or none
        places = {} if here else {"folder": str(work), "root": str(work), "package": str(Project.package),
                                  "networks": str(work / "networks"), "published": str(work / "none")}  # fmt: skip
        given = places.get("package", task["package"])
        package = work / "package" / Path(given).name
        env = environment(work, TQDM_DISABLE="1", CUBLAS_WORKSPACE_CONFIG=":4096:8", **KEEP_MEMORY)
        env |= dict.fromkeys(THREADS, str(task["threads"]))
        env |= {"CUDA_VISIBLE_DEVICES": ""} if device[0] == "cpu" else {}
        env |= {"DIFFNOTES_NETWORKS": places.get("networks", task["networks"]),
                "DIFFNOTES_PUBLISHED": places.get("published", task["published"]),
                "DIFFNOTES_TRAIN": "1" if task["train"] else "0"}  # fmt: skip
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
        kept = [] if here else (work / "networks").glob("*.safetensors")
        return outcome | {"networks": {path.name: path.read_bytes() for path in kept}}


def _end_unwanted(owned: Owned, wanted: Callable[[], bool]) -> None:
    while owned.process.poll() is None:
        if not wanted():
            owned.end()
        time.sleep(1)
