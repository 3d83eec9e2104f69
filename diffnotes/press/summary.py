"""The ledger of the book: what the executed pages have recorded, read back from them, and as a terminal shows it."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .ledger import CLAIMS, GROUPS, part_lines, registry
from .ledger.replication import REPEATS, SHARE, confirmed, steady
from .page import read, records

__all__ = ["collect", "table_text", "totals"]


def collect(
    pages: Iterable[Path | str], folder: Path = CLAIMS, repeats: Path = REPEATS
) -> list[dict[str, Any]]:
    """The rows of the ledger: every claim; ``record``, ``steady``, ``device``, ``page``, ``cell`` where one told it.

    Args:
        pages: executed pages, named like their chapters.
        folder: where the claims are listed.
        repeats: the folder of the repetitions, which each record is held against.
    """
    rows = {key: {**row, "record": None} for key, row in registry(folder).items()}
    for page in map(Path, pages):
        notebook = read(page)
        provenance = notebook.metadata.get("diffnotes", {}).get("provenance", {})
        for cell, _, record in records(notebook, "claim"):
            if record["id"] in rows:
                rows[record["id"]] |= {
                    "record": confirmed(record, repeats), "steady": steady(record, repeats), "page": page.stem,
                    "cell": cell.get("execution_count"), "device": provenance.get("device", "unknown"),
                }  # fmt: skip
    return list(rows.values())


def totals(rows: Iterable[dict[str, Any]]) -> list[str]:
    """What the ledger holds in all, in sentences: parts measured and narrow, chance, repetitions, changed rules."""
    done = [row for row in rows if row["record"]]
    parts = [part for row in done for part in row["record"]["parts"]]
    measured = [part for part in parts if "unseen" not in part and not part.get("exact")]
    judged = [part for row in done if row["record"]["state"] != "unjudged" for part in row["record"]["parts"]]
    narrow = sum(bool(part.get("narrow")) and part["state"] != "open" for part in judged)
    again = [part["repeats"] for part in judged if part.get("repeats") and "unseen" not in part]
    good = sum(count >= SHARE * of for count, of in again)
    changes = sum(len(row["change"]) for row in done)
    repeated = "No part has been repeated on other base seeds yet."
    if again:
        fewest, most = min(of for _, of in again), max(of for _, of in again)
        on = f"{fewest} to {most}" if fewest < most else str(most)
        repeated = (
            f"{_parts(len(again), 'measured ')} repeated on {on} other base seed{'s' * (most > 1)} with all networks "
            f"trained anew; {good} of {len(again)} ({good / len(again):.0%}) came out as here in four of five or more."
        )
    if together := [part for part in judged if "pooled" in part]:
        decided = sum(part["state"] != "open" for part in together)
        repeated += (f" {_parts(len(together), '')} open or did not come again so often; all base seeds together "
                     f"decide {decided} of these.")  # fmt: skip
    if left := [found for row in done for found in row.get("steady", {}).values()]:
        firm = sum(count >= SHARE * of for count, of in left)
        repeated += (f" With one repetition left out, whichever it is in four of five or more, {firm} of {len(left)} "
                     f"({firm / len(left):.0%}) of the measured parts end as they do here.")  # fmt: skip
    changed = "No rule or setting was changed after a run that it judges."
    if changes:
        changed = (
            f"Rules and settings were changed {_times(changes)} after a run that they judge; the boxes of their claims "
            "say when, from what, to what and why."
        )
    return [
        f"{len(parts)} parts: {len(parts) - len(measured)} exact or not to be seen, {len(measured)} measured with an "
        f"interval, of which {narrow} are decided narrowly.",
        f"An interval of 95 % misses what it estimates in one run of twenty, so of {len(measured)} about "
        f"{round(0.05 * len(measured))} do; a part whose truth lies on the edge of its rule is decided wrongly in one "
        "run of forty.",
        repeated,
        changed,
    ]


def _parts(count: int, kind: str) -> str:
    return f"{count} {kind}part{'s were' if count != 1 else ' was'}"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _status(row: dict[str, Any]) -> str:
    return row["record"]["verdict"] if row["record"] else "no chapter yet" if not row["chapter"] else "not run yet"


def table_text(rows: list[dict[str, Any]]) -> str:
    """The ledger for a terminal: one line a claim, its effects below it."""
    width, lines = max(60, min(shutil.get_terminal_size((110, 24)).columns, 140)), []
    for group, title in GROUPS.items():
        members = [row for row in rows if row["id"][0] == group]
        lines += ["", title] if members else []
        for row in members:
            head = f"  {row['id']:<4}{_status(row)}. {row['statement']}"
            lines += textwrap.wrap(head, width, subsequent_indent=" " * 6)
            if record := row["record"]:
                run = f"{row['page']}, cell {row['cell']}; {record['profile']} on {row['device']}"
                lines += [" " * 8 + line for line in [*part_lines(record), run, row["test"]] if line]
    judged = sum(1 for row in rows if row["record"])
    ends = [one for line in totals(rows) for one in textwrap.wrap(line, width)] if judged else []
    return "\n".join([*lines[1:], "", *ends, f"{judged} of {len(rows)} claims recorded"])
