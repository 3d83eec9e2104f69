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

from . import page
from .chapter import Chapter, Order
from .devices import find_device
from .errors import PressError
from .files import at_work, lock, require_room, sweep, write_whole
from .layout import JUDGED, Project
from .ledger import rules
from .ledger.replication import REPEATS, measurements, runs
from .ledger.replication import run as run_of
from .networks import keep
from .processes import interruptible
from .progress import clock
from .provenance import fingerprint
from .workers import by_machine, failure

__all__ = ["DISTANCE", "replicate"]

DISTANCE = 1000  # between base seeds: a chapter uses the seeds that follow its own, for networks, data and noise


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
        PressError: for seeds that are none, or nearer than :data:`DISTANCE` to each other, to those of earlier
            repetitions, or to a chapter's own; for the profile smoke, whose verdicts are not judged; for a record that
            is damaged; and as :func:`diffnotes.press.run.run`.
    """
    order, failed = order or Order(), 0
    order = replace(order, profile=order.profile or "cpu")
    if order.profile not in JUDGED:
        raise PressError(f"profile {order.profile} judges no verdicts; allowed: {', '.join(JUDGED)}", 2)
    names = project.choose(names, order.profile)
    if not seeds or len(set(seeds)) < len(seeds):
        raise PressError(f"seeds = {list(seeds)}; allowed: one or more, each once", 2)
    chapters = {seed: [Chapter(project, name, replace(order, seed=seed)) for name in names] for seed in seeds}
    _check_distances(project, seeds, names, order, folder)
    if problems := [problem for chapter in chapters[seeds[0]] for problem in chapter.check()]:
        raise PressError("\n  ".join(["nothing was run:", *problems]))
    require_room(folder, "repetitions")
    here = find_device(order.device)

    def waiting() -> None:
        say("another repetition is at work; waiting for that")

    with interruptible(), at_work(project.root), lock(folder / "replicate", waiting):
        for seed in seeds:
            path = folder / f"{seed}.json"
            sweep(path)
            run = _read(path, seed, order.profile)
            todo = [one for one in chapters[seed] if run["chapters"].get(one.name, {}).get("hash") != _version(one)]
            say(f"base seed {seed}: {len(todo)} of {len(names)} chapters to run")
            if not todo:
                continue
            with closing(by_machine(todo, here, say)) as outcomes:
                for chapter, outcome, tell in outcomes:
                    problems, entry = _finish(chapter, outcome)
                    if problems:
                        tell("\n  ".join([f"{chapter.name}: FAILED on base seed {seed}", *problems]))
                        failed += 1
                        continue
                    run["chapters"] = dict(sorted((run["chapters"] | {chapter.name: entry}).items()))
                    write_whole(path, json.dumps(run, ensure_ascii=False, indent=1) + "\n")
                    tell(f"{chapter.name}: done on base seed {seed} in {clock(outcome['seconds'])}")
    return 1 if failed else 0


def _check_distances(
    project: Project, seeds: Sequence[int], names: Iterable[str], order: Order, folder: Path
) -> None:  # fmt: skip
    """PressError if a run on one of ``seeds`` would use a seed of another run."""
    known = {run["seed"]: "an earlier repetition" for run in runs(folder)}
    for name in names:
        own, other = (Chapter(project, name, replace(order, seed=seed)) for seed in (None, seeds[0]))
        known.setdefault(own.values["seed"], name)
        if shared := sorted({*own.seeds} & {*other.seeds}):
            raise PressError(f"a repetition needs other seeds, and {name} uses {shared[0]} on the base seeds "
                             f"{own.values['seed']} and {seeds[0]}: its seeds must follow the base seed", 2)
    for i, seed in enumerate(seeds):
        others = known | dict.fromkeys(seeds[:i], "given as well")
        for other, whose in others.items():
            if abs(seed - other) < DISTANCE and not (seed == other and whose == "an earlier repetition"):
                raise PressError(f"a repetition needs other seeds: the base seeds {seed} and {other} ({whose}) are "
                                 f"less than {DISTANCE} apart, and a run uses those that follow its own", 2)


def _version(chapter: Chapter) -> str:
    return fingerprint(chapter.project, chapter.name, chapter.settings, chapter.source)["hash"]


def _read(path: Path, seed: int, profile: str) -> dict[str, Any]:
    """The record of a base seed as far as it goes."""
    if not path.exists():
        return {"seed": seed, "profile": profile, "chapters": {}}
    found = run_of(path)
    if found["profile"] != profile:
        raise PressError(f"{path} is of profile {found['profile']}, not {profile}; take another seed")
    return found


def _finish(chapter: Chapter, outcome: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Why the outcome cannot be taken, and the record of what it has measured."""
    try:
        if outcome["error"]:
            return [outcome["error"].strip().split("\n")[0]], {}
        if suspicions := chapter.suspicions(outcome["kernel"]):
            return suspicions, {}
        keep(outcome.get("networks", {}), chapter.networks)
        entry = _entry(chapter, outcome)
    except Exception as error:  # the other chapters go on
        return [failure(error)["error"]], {}
    missing = sorted(rules(chapter.name).keys() - entry["claims"].keys())
    return [f"claim {claim} belongs to this chapter and is not recorded" for claim in missing], entry


def _entry(chapter: Chapter, outcome: dict[str, Any]) -> dict[str, Any]:
    made = chapter.stamped(outcome)
    return {
        "hash": chapter.before["parts"]["hash"],
        "date": datetime.date.today().isoformat(),
        "device": outcome["device"][1],
        "seconds": round(outcome["seconds"]),
        "claims": measurements(record for _, _, record in page.records(made, "claim")),
    }
