"""The runs behind the pages, at one glance: where, how long, how large, with which networks and versions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .markdown import table
from .page import read
from .progress import clock

__all__ = ["RUN", "runs_markdown"]

RUN = "run-"  # the anchor of a chapter's row is this and its name


def runs_markdown(pages: Iterable[Path]) -> str:
    """Two tables, Markdown: the runs of the executed ``pages``, and the versions of what they were made with."""
    found = [(path.stem, read(path).metadata.get("diffnotes", {}).get("provenance")) for path in pages]
    made = [(name, record) for name, record in found if record]
    if not made:
        return "No chapter has been run yet.\n"
    rows = [_row(name, record) for name, record in made]
    networks = [one for _, record in made for one in record.get("networks", [])]
    total, cold = (clock(sum(one["seconds"] for one in of)) for of in ((record for _, record in made), networks))
    size = sum(one["bytes"] for one in networks) / 2**20
    text = [
        f"Running the chapters took {total} in all, one after the other. What they keep, {len(networks)} sets of "
        f"networks and of numbers, was trained and measured before, once, in {cold}; it takes {size:.1f} MiB.",
        "",
        table(("Chapter", "Profile", "Device", "Run", "Memory at the peak", "Networks kept", "Date", "Commit"), rows),
        "", "They were made with these versions:", "",
    ]  # fmt: skip
    sets: dict[tuple, list[str]] = {}
    for name, record in made:
        sets.setdefault(tuple(sorted(record["versions"].items())), []).append(name)
    names = sorted({library for versions in sets for library, _ in versions})
    heads = [", ".join(own) if len(sets) > 1 else "All chapters" for own in sets.values()]
    text += [table(("Library", *heads), [(library, *(dict(versions).get(library, "") for versions in sets))
                                         for library in names]), ""]  # fmt: skip
    return "\n".join(text)


def _row(name: str, record: dict[str, Any]) -> tuple[str, ...]:
    kept = record.get("networks", [])
    trained = f"{len(kept)}, in {clock(sum(one['seconds'] for one in kept))}" if kept else "none"
    commit, _, changed = (record.get("commit") or "unknown").partition(" ")
    commit = f"{commit[:7]} {changed}".strip()
    chapter = f"[{{doc}}`chapters/{name}`]{{#{RUN}{name}}}"
    return (chapter, f"`{record['profile']}`", record["device"], clock(record["seconds"]),
            f"{record['memory_mib']:.0f} MiB", trained, record["date"][:10], commit)  # fmt: skip
