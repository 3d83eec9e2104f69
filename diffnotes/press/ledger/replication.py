"""Runs repeated on other base seeds, networks trained anew: what they measured, and how often a verdict comes again.

One small file for each base seed, ``press/repeats/SEED.json``, written by ``diffnotes replicate``:

    {"seed": 8000, "profile": "cpu", "chapters": {NAME: {"hash": ..., "claims": {ID: {PART: [value, low, high]}}}}}

A part that was not seen has the reason in place of the numbers. States are judged when the file is read, by the rules
of today.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import PressError
from ..layout import JUDGED
from .box import counted
from .claims import CLAIMS
from .judging import is_narrow, judge, verdict
from .recording import VERDICTS

__all__ = ["ENOUGH", "REPEATS", "SHARE", "confirmed", "effects", "measurements", "pooled", "repeats", "run", "runs",
           "steady"]  # fmt: skip

REPEATS = CLAIMS.with_name("repeats")
ENOUGH, SHARE = 5, 0.8  # from so many repetitions on, a state must have come again in so large a share of them


def runs(folder: Path = REPEATS) -> list[dict[str, Any]]:
    """All repetitions in ``folder``, by base seed; each is read once. PressError for a file that is none."""
    paths = sorted(Path(folder).glob("[!.]*.json"), key=lambda path: (len(path.stem), path.stem))
    return [_known(path, path.stat().st_mtime_ns, path.stat().st_size) for path in paths]


@lru_cache(maxsize=64)
def _known(path: Path, written: int, size: int) -> dict[str, Any]:
    return run(path)


def run(path: Path) -> dict[str, Any]:
    """The repetition in the file ``path``. PressError, naming it, if that holds none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not _is_run(found, path.stem):
            raise ValueError(f"it has not the form of one on the base seed {path.stem}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        raise PressError(f"{path} is no record of a repetition: {why}; mend it, or remove it and repeat") from error
    return found


def _is_run(found: Any, stem: str) -> bool:
    effects = [effect for chapter in found["chapters"].values() for parts in chapter["claims"].values()
               for effect in parts.values()]  # fmt: skip
    return (
        type(found["seed"]) is int and str(found["seed"]) == stem and found["profile"] in JUDGED
        and all(isinstance(chapter["hash"], str) for chapter in found["chapters"].values())
        and all(map(_is_effect, effects))
    )  # fmt: skip


def _is_effect(found: Any) -> bool:
    if isinstance(found, str):  # why nothing was seen
        return True
    value, low, high = found
    return all(type(end) in (int, float) and math.isfinite(end) for end in found) and low <= value <= high


def measurements(records: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What is kept of the records of a page: by claim and part the numbers, or why there are none.

    The numbers are kept in full: what is judged again comes out as it did.
    """
    return {record["id"]: {part["name"]: part.get("unseen") or [part[key] for key in ("value", "low", "high")]
                           for part in record["parts"]} for record in records}  # fmt: skip


def repeats(record: dict[str, Any], folder: Path = REPEATS) -> dict[str, list[str]]:
    """For each part of a record, its states in the repetitions of the record's profile."""
    return _states(record, effects(record, folder))


def _states(record: dict[str, Any], found: dict[str, list[Any]]) -> dict[str, list[str]]:
    rules = {part["name"]: part["rule"] for part in record["parts"]}
    return {name: ["open" if isinstance(one, str) else judge(rules[name], *one[1:]) for one in own]
            for name, own in found.items()}  # fmt: skip


def effects(record: dict[str, Any], folder: Path = REPEATS) -> dict[str, list[Any]]:
    """For each part of a record, what the repetitions of its profile measured: [value, low, high], or why nothing."""
    found: dict[str, list[Any]] = {part["name"]: [] for part in record["parts"]}
    for one in runs(folder):
        chapter = one["chapters"].get(record.get("chapter"), {}) if one["profile"] == record["profile"] else {}
        told = chapter.get("claims", {}).get(record["id"], {})
        for part in record["parts"]:
            if part["name"] in told:
                found[part["name"]].append(told[part["name"]])
    return found


def pooled(runs: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """(value, low, high) of the mean over ``runs``, each (value, low, high) on a base seed of its own, two or more.

    A run counts as one observation: mean +- t sd/sqrt(n), Student's t for 95 %. Values whose intervals are symmetric
    in their logarithms, as those of ratios are, are averaged there.

    >>> [round(x, 2) for x in pooled([(1.0, 0.0, 2.0), (3.0, 2.0, 4.0), (2.0, 1.0, 3.0)])]
    [2.0, -0.48, 4.48]
    """
    from scipy.special import stdtrit

    log = all(low > 0 and math.isclose(low * high, value**2, rel_tol=1e-6) and low < high for value, low, high in runs)
    values = [math.log(value) if log else value for value, _, _ in runs]
    mean, root = statistics.fmean(values), len(values) ** 0.5
    half = float(stdtrit(len(values) - 1, 0.975)) * statistics.stdev(values) / root
    value, low, high = (math.exp(x) if log else x for x in (mean, mean - half, mean + half))
    return value, min(low, value), max(high, value)


def confirmed(record: dict[str, Any], folder: Path = REPEATS) -> dict[str, Any]:
    """The record with what its repetitions say.

    A measured part gets ``repeats``, (how often its state came again, of how many). After at least five repetitions,
    one that is open, or came again in less than four of five, is judged by all runs together, this one included
    (:func:`pooled`); it is open where one of them saw nothing. Its own state is kept as ``measured``, what all runs say
    as ``pooled``. The verdict follows the parts. An exact part is left out, unless it came out otherwise on another
    seed and is therefore none.
    """
    return record if record["state"] == "unjudged" else _confirmed(record, effects(record, folder), ENOUGH)


def _confirmed(record: dict[str, Any], others: dict[str, list[Any]], enough: int) -> dict[str, Any]:
    states, parts = _states(record, others), []
    for part in record["parts"]:
        if "value" in part:  # of the numbers, as all the rest
            part = {**part, "narrow": is_narrow(part["rule"], part["value"], part["low"], part["high"])}
        again = states[part["name"]]
        count = again.count(part["state"])
        if again and (count < len(again) or not part.get("exact")):
            part = {**part, "repeats": [count, len(again)]}
            if len(again) >= enough and (count < SHARE * len(again) or part["state"] == "open"):
                part |= {"measured": part["state"], "state": "open"}
                own = [part[key] for key in ("value", "low", "high")] if "value" in part else part["unseen"]
                seen = [own, *others[part["name"]]]
                if not any(isinstance(one, str) for one in seen):
                    found = pooled(seen)
                    part |= {"pooled": list(found), "state": judge(part["rule"], *found[1:]),
                             "narrow": is_narrow(part["rule"], *found)}  # fmt: skip
        parts.append(part)
    state = verdict(parts)
    return {**record, "state": state, "verdict": VERDICTS[state] + counted(state, parts), "parts": parts}


def steady(record: dict[str, Any], folder: Path = REPEATS) -> dict[str, tuple[int, int]]:
    """How firmly the parts of a record as its page has it stand after at least five repetitions: for each measured
    part, (with how many of the repetitions left out its last state stays, of how many).

    What is left out is one repetition at a time; the others, and the run of the page, judge as :func:`confirmed` does.
    """
    if record["state"] == "unjudged":
        return {}
    found = effects(record, folder)
    last, stays = {part["name"]: part["state"] for part in confirmed(record, folder)["parts"]}, {}
    exact = {part["name"] for part in record["parts"] if part.get("exact") or "unseen" in part}
    for i in range(max(map(len, found.values()), default=0)):
        fewer = {name: own[:i] + own[i + 1 :] for name, own in found.items()}
        for part in _confirmed(record, fewer, ENOUGH - 1)["parts"]:
            name = part["name"]
            if name not in exact and ENOUGH <= len(found[name]) > i:
                stays.setdefault(name, []).append(part["state"] == last[name])
    return {name: (sum(own), len(own)) for name, own in stays.items()}
