"""The ledger of the book: what the executed pages have recorded, read back from them, and as a terminal shows it."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .ledger import CLAIMS, GROUPS, part_lines, registry
from .page import read, records

__all__ = ["collect", "table_text"]


def collect(pages: Iterable[Path | str], path: Path = CLAIMS) -> list[dict[str, Any]]:
    """The rows of the ledger: every claim, with ``record``, ``device``, ``page``, ``cell`` where a page recorded it.

    Args:
        pages: executed pages, named like their chapters.
        path: the file of the claims.
    """
    rows = {key: {**row, "record": None} for key, row in registry(path).items()}
    for page in map(Path, pages):
        notebook = read(page)
        provenance = notebook.metadata.get("diffnotes", {}).get("provenance", {})
        for cell, _, record in records(notebook, "claim"):
            if record["id"] in rows:
                found = {"record": record, "device": provenance.get("device", "unknown"), "page": page.stem}
                rows[record["id"]] |= found | {"cell": cell.get("execution_count")}
    return list(rows.values())


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
    return "\n".join([*lines[1:], "", f"{judged} of {len(rows)} claims recorded"])
