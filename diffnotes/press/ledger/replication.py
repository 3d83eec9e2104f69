"""Runs repeated on other base seeds, networks trained anew: what they measured, and how often a verdict comes again.

One small file for each base seed, ``press/repeats/SEED.json``, written by ``diffnotes replicate``:

    {"seed": 8000, "profile": "cpu", "chapters": {NAME: {"hash": ..., "claims": {ID: {PART: [value, low, high]}}}}}

A part that was not seen has the reason in place of the numbers. States are judged when the file is read, by the rules
of today.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import PressError
from .box import counted
from .claims import CLAIMS
from .judging import judge, verdict
from .recording import VERDICTS

__all__ = ["ENOUGH", "REPEATS", "SHARE", "confirmed", "measurements", "repeats", "runs"]

REPEATS = CLAIMS.with_name("repeats")
ENOUGH, SHARE = 5, 0.8  # from so many repetitions on, a state must have come again in so large a share of them


def runs(folder: Path = REPEATS) -> list[dict[str, Any]]:
    """All repetitions in ``folder``, by base seed. PressError for a file that is none."""
    found = []
    for path in sorted(Path(folder).glob("*.json"), key=lambda path: (len(path.stem), path.stem)):
        try:
            run = json.loads(path.read_text(encoding="utf-8"))
            whole = str(run["seed"]) == path.stem and isinstance(run["profile"], str)
            whole = whole and all(isinstance(one["claims"], dict) for one in run["chapters"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PressError(f"{path} is no record of a repetition: {type(error).__name__}: {error}") from error
        if not whole:
            raise PressError(f"{path} is no record of a repetition of the base seed {path.stem}")
        found.append(run)
    return found


def measurements(records: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What is kept of the records of a page: by claim and part the numbers, or why there are none."""
    return {record["id"]: {part["name"]: part.get("unseen") or [_short(part[key]) for key in ("value", "low", "high")]
                           for part in record["parts"]} for record in records}  # fmt: skip


def _short(x: float) -> float:
    """Eight significant digits, so that what is judged again comes out as it did."""
    return float(f"{x:.8g}")


def repeats(record: dict[str, Any], folder: Path = REPEATS) -> dict[str, list[str]]:
    """For each part of a record, its states in the repetitions of the record's profile."""
    found: dict[str, list[str]] = {part["name"]: [] for part in record["parts"]}
    for run in runs(folder):
        chapter = run["chapters"].get(record.get("chapter"), {}) if run["profile"] == record["profile"] else {}
        told = chapter.get("claims", {}).get(record["id"], {})
        for part in record["parts"]:
            one = told.get(part["name"])
            if isinstance(one, str):
                found[part["name"]].append("open")
            elif one is not None:
                found[part["name"]].append(judge(part["rule"], *one[1:]))
    return found


def confirmed(record: dict[str, Any], folder: Path = REPEATS) -> dict[str, Any]:
    """The record with what its repetitions say.

    A measured part gets ``repeats``, (how often its state came again, of how many). One that came again in less than
    four of five, of at least five, is open; its own state is kept as ``measured``. The verdict follows the parts.
    """
    if record["state"] == "unjudged":
        return record
    states, parts = repeats(record, folder), []
    for part in record["parts"]:
        again = states[part["name"]]
        if again and not part.get("exact"):
            count = again.count(part["state"])
            part = {**part, "repeats": [count, len(again)]}
            if len(again) >= ENOUGH and count < SHARE * len(again):
                part |= {"measured": part["state"], "state": "open"}
        parts.append(part)
    state = verdict(parts)
    return {**record, "state": state, "verdict": VERDICTS[state] + counted(state, parts), "parts": parts}
