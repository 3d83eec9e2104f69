"""Dry runs: what chapters would cost on the devices at hand, counted without training anything in full.

``python -m diffnotes.press.dry WORK`` executes the cells of one chapter, statement by statement, in a process in which
the package counts (``DIFFNOTES_DRY``, see ``diffnotes/core/cost.py``): trainings and samplers run a few of their steps,
kept networks are neither read nor written, and all numbers are nonsense. A statement that such numbers stop is noted;
verdicts are not recorded. The folder WORK holds ``task.json`` and receives ``cost.json`` and ``stopped.json``.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from .chapter import Chapter, Order
from .devices import find_device
from .errors import PressError
from .execution import THREADS
from .layout import Project
from .processes import Owned, environment, interruptible, workspace
from .progress import clock

__all__ = ["LIMIT", "dry_run", "table", "verdict"]

LIMIT = 8 * 60
"""Seconds that a chapter may take on the first of the machines."""


def dry_run(
    project: Project, names: Iterable[str] = (), order: Order | None = None, say: Callable[[str], None] = print
) -> int:
    """Count what the named chapters (default: all) would cost, and say it.

    Args:
        project: the book.
        names: chapters.
        order: profile, seed and device; the counting itself is done on the processor.
        say: receives a table for each chapter, and what was assumed.

    Returns:
        0 if all of each chapter was counted, else 1.

    Raises:
        PressError: before anything is counted, for an unknown chapter, a device other than the processor, or
            parameters that are no plain values.
    """
    names, order = project.choose(names), order or Order()
    if order.device == "cuda":
        raise PressError("--dry-run with --device cuda: costs are counted on the processor; allowed: auto, cpu", 2)
    profile = order.profile or ("gpu" if find_device(order.device)[0] == "cuda" else "cpu")
    chapters = [Chapter(project, name, replace(order, profile=profile, device="cpu")) for name in names]
    if problems := [problem for chapter in chapters for problem in chapter.check()]:
        raise PressError("\n  ".join(["nothing was counted:", *problems]))
    failed, assumed = 0, []
    with interruptible():
        for chapter in chapters:
            try:
                found, stopped = _counted(chapter)
            except PressError as error:
                say(f"{chapter.name}: FAILED: {error}")
                failed += 1
                continue
            if found is None:
                say(f"{chapter.name}, profile {profile}: nothing to count, no cell trains or samples")
                continue
            say(f"{chapter.name}, profile {profile}, counted in {clock(found['took'])}:")
            for line in [*table(found), verdict(found), *stopped]:
                say(f"  {line}")
            failed, assumed = failed + bool(stopped), found["assumed"]
    for number, line in enumerate(assumed):
        say(f"{'        ' if number else 'assumed:'} {line}")
    return 1 if failed else 0


def _counted(chapter: Chapter) -> tuple[dict[str, Any] | None, list[str]]:
    """The costs of a chapter, None where it has none, and the statements that could not be executed. PressError where
    the process did not get to the end."""
    with workspace() as work:
        (work / "task.json").write_text(json.dumps(chapter.task(1, None)), encoding="utf-8")
        env = environment(work, DIFFNOTES_DRY=str(work / "cost.json"), MPLBACKEND="agg", TQDM_DISABLE="1",
                          CUDA_VISIBLE_DEVICES="", PYTHONPATH=str(chapter.project.package.parent))  # fmt: skip
        env |= dict.fromkeys(THREADS, "1")
        folder = str(chapter.project.root / "notebooks")
        with (
            (work / "stderr").open("w+", encoding="utf-8", errors="replace") as stderr,
            Owned(["-m", "diffnotes.press.dry", str(work)], work, env, stdout=subprocess.DEVNULL, stderr=stderr,
                  cwd=folder) as owned,
        ):  # fmt: skip
            owned.process.wait()
            stderr.seek(0)
            said = stderr.read().strip().splitlines()
        if not (work / "stopped.json").is_file():
            raised = any(line.startswith("Traceback") for line in said)
            raise PressError(said[-1] if raised else "it was ended from outside, or had not enough memory")
        stopped = json.loads((work / "stopped.json").read_text(encoding="utf-8"))
        cost = work / "cost.json"
        return (json.loads(cost.read_text(encoding="utf-8")) if cost.is_file() else None), stopped


# --- what is said -----------------------------------------------------------------------------------------------------


def table(found: dict[str, Any]) -> list[str]:
    """Costs as lines: of each experiment, of the parts of the chapter, of all; ``found`` is the package's summary."""
    machines = list(found["seconds"])
    head = ["experiment", "networks", "steps", "batch", "launches", "TFLOP", "TB moved", "peak GiB", *machines]
    rows = [head]
    for one in found["experiments"]:
        label = "  " * one["within"] + one["name"]
        rows.append([_cut(label), *_trained(one["trainings"]), *_sizes(one), f"{one['peak'] / 2**30:.2f}",
                     *(clock(one["seconds"][name]) for name in machines)])  # fmt: skip
    for name, part in found["parts"].items():
        rows.append([f"all {name}", "", "", "", *_sizes(part), "",
                     *(clock(part["seconds"][machine if name != "host" else machines[-1]]) for machine in machines)])
    rows.append(["the chapter", "", "", "", *_sizes(found), f"{found['peak'] / 2**30:.2f}",
                 *(clock(found["seconds"][name]) for name in machines)])  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return ["  ".join([row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:]))])
            for row in rows]  # fmt: skip


def _cut(name: str, most: int = 40) -> str:
    return name if len(name) <= most else f"{name[: most - 3]}..."


def _trained(trainings: list[dict[str, int]]) -> list[str]:
    """Networks, steps and batch of the trainings of one experiment, each perhaps as a range."""
    if not trainings:
        return ["-", "-", "-"]
    found = [str(sum(one["networks"] for one in trainings))]
    for key in ("steps", "batch"):
        least, most = min(one[key] for one in trainings), max(one[key] for one in trainings)
        found.append(f"{least:,}" if least == most else f"{least:,} to {most:,}")
    return found


def _sizes(cost: dict[str, Any]) -> list[str]:
    return [f"{cost['launches']:,.0f}", f"{cost['flops'] / 1e12:.3g}", f"{cost['bytes'] / 1e12:.3g}"]


def verdict(found: dict[str, Any]) -> str:
    """Whether the chapter stays within :data:`LIMIT` on the first of the machines."""
    machine, seconds = next(iter(found["seconds"].items()))
    word = "yes" if seconds <= LIMIT else "NO"
    return f"within {clock(LIMIT)} on the {machine}: {word}, {clock(seconds)}"


# --- the process that counts ------------------------------------------------------------------------------------------


def _execute(task: dict[str, Any]) -> list[str]:
    """Execute the cells of a chapter; what could not be executed."""
    import matplotlib.pyplot

    from . import ledger, page

    ledger.Ledger.record = page.glue = lambda *_, **__: None  # what would be judged and told is nonsense
    space: dict[str, Any] = {"__name__": "__main__"}
    stopped = []
    for number, cell in enumerate(json.loads(task["notebook"])["cells"], 1):
        if cell["cell_type"] != "code":
            continue
        for statement in ast.parse("".join(cell["source"])).body:
            try:
                exec(compile(ast.Module([statement], []), f"cell {number}", "exec"), space)
            except AssertionError:
                pass  # it judges numbers
            except Exception as error:
                words = ast.unparse(statement).splitlines()[0]
                stopped.append(f"not counted: cell {number}, {_cut(words, 60)}: {type(error).__name__}: {error}")
        matplotlib.pyplot.close("all")
        if "parameters" in cell["metadata"].get("tags", ()):
            space |= task["settings"]
    return stopped


def main(work: Path) -> None:
    """Count one chapter."""
    task = json.loads((work / "task.json").read_text(encoding="utf-8"))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    stopped = _execute(task)
    (work / "stopped.json").write_text(json.dumps(stopped), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
