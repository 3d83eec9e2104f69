"""Repetition of the book on other base seeds: every network trained anew, every measured part judged again.

One base seed after the other; the record of a chapter is written as soon as it is done, so a repetition that was
stopped goes on where it was. Pages are not kept: what a repetition leaves is its numbers.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import page, provenance
from .chapter import Chapter, Order
from .devices import find_device
from .errors import PressError
from .files import at_work, lock, write_whole
from .layout import Project
from .ledger.replication import REPEATS, measurements
from .networks import keep
from .processes import interruptible
from .progress import clock
from .workers import by_machine

__all__ = ["replicate"]


def replicate(
    project: Project, seeds: Sequence[int], names: Iterable[str] = (), order: Order | None = None,
    folder: Path = REPEATS, say: Callable[[str], None] = print,
) -> int:  # fmt: skip
    """Run chapters (default: all) on each of the base ``seeds``, and keep what they measured.

    Args:
        project: the book.
        seeds: base seeds, each in place of that of the parameters cells.
        names: chapters.
        order: how they are run; the profile is cpu by default.
        folder: where the records lie.
        say: receives the messages.

    Returns:
        0 if all chapters were run on all seeds, else 1.

    Raises:
        PressError: for seeds that are none, given twice, or a chapter's own; for the profile smoke, whose verdicts
            are not judged; and as :func:`diffnotes.press.run.run`.
    """
    names, order, failed = project.choose(names), order or Order(), 0
    order = replace(order, profile=order.profile or "cpu")
    if order.profile == "smoke":
        raise PressError("profile smoke judges no verdicts; allowed: cpu, gpu", 2)
    if not seeds or len(set(seeds)) < len(seeds):
        raise PressError(f"seeds = {list(seeds)}; allowed: one or more, each once", 2)
    own = {name: Chapter(project, name, order).values.get("seed") for name in names}
    if taken := [f"{seed} is that of {name}" for seed in seeds for name in names if own[name] == seed]:
        raise PressError(f"a repetition needs another seed: {', '.join(taken)}", 2)
    with interruptible(), at_work(project.root), lock(folder / "replicate"):
        here = find_device(order.device)
        for seed in seeds:
            path = folder / f"{seed}.json"
            run = _read(path, seed, order.profile)
            chapters = [Chapter(project, name, replace(order, seed=seed)) for name in names]
            todo = [one for one in chapters if run["chapters"].get(one.name, {}).get("hash") != _version(one)]
            say(f"base seed {seed}: {len(todo)} of {len(chapters)} chapters to run")
            if not todo:
                continue
            with closing(by_machine(todo, here, say)) as outcomes:
                for chapter, outcome, tell in outcomes:
                    problems = [outcome["error"].strip().split("\n")[0]] if outcome["error"] else (
                        chapter.suspicions(outcome["kernel"]))  # fmt: skip
                    if problems:
                        tell("\n  ".join([f"{chapter.name}: FAILED on base seed {seed}", *problems]))
                        failed += 1
                        continue
                    keep(outcome.get("networks", {}), chapter.networks)
                    run["chapters"][chapter.name] = _entry(chapter, outcome)
                    run["chapters"] = {name: run["chapters"][name] for name in sorted(run["chapters"])}
                    write_whole(path, json.dumps(run, ensure_ascii=False, indent=1) + "\n")
                    tell(f"{chapter.name}: done on base seed {seed} in {clock(outcome['seconds'])}")
    return 1 if failed else 0


def _version(chapter: Chapter) -> str:
    return provenance.fingerprint(chapter.project, chapter.name, chapter.settings, chapter.source)["hash"]


def _read(path: Path, seed: int, profile: str) -> dict[str, Any]:
    """The record of a base seed as far as it goes."""
    if not path.is_file():
        return {"seed": seed, "profile": profile, "chapters": {}}
    run = json.loads(path.read_text(encoding="utf-8"))
    if run["profile"] != profile:
        raise PressError(f"{path} is of profile {run['profile']}, not {profile}; take another seed")
    return run


def _entry(chapter: Chapter, outcome: dict[str, Any]) -> dict[str, Any]:
    made = chapter.stamped(outcome)
    return {
        "hash": chapter.before["parts"]["hash"],
        "date": datetime.date.today().isoformat(),
        "device": outcome["device"][1],
        "seconds": round(outcome["seconds"]),
        "claims": measurements(record for _, _, record in page.records(made, "claim")),
    }
