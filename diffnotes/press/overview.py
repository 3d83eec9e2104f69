"""The runs behind the pages, at one glance: where, how long, how large, with which networks and versions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .layout import Project
from .markdown import table
from .origins import UNKNOWN, Origin, once, origins, seconds
from .page import read
from .progress import clock

__all__ = ["RUN", "runs_markdown"]

RUN = "run-"  # the anchor of a chapter's row is this and its name


def runs_markdown(pages: Iterable[Path], project: Project | None = None) -> str:
    """Two tables, Markdown: the runs of the executed ``pages``, and the versions of what they were made with.

    ``project`` has the files of their networks.
    """
    found = [(path.stem, read(path).metadata.get("diffnotes", {}).get("provenance")) for path in pages]
    made = [(name, record) for name, record in found if record]
    if not made:
        return "No chapter has been run yet.\n"
    kept = {name: origins(project, record.get("networks", [])) for name, record in made}
    rows = [_row(name, record, kept[name]) for name, record in made]
    entries = once(one for found in kept.values() for one in found)
    total = clock(sum(record["seconds"] for _, record in made))
    cold, training = (clock(seconds(found)) for found in (entries, [one for one in entries if one.networks]))
    size = sum(one.record["bytes"] for one in entries) / 2**20
    text = [
        f"Running the chapters took {total} in all, one after the other. In that time they also read what is kept: "
        f"{len(entries)} sets of networks and of numbers, {size:.1f} MiB.",
        "",
        f"Making these sets took {cold}, once; a set that two chapters share counts once. Training the sets of "
        f"networks took {training} of that. The sets of numbers took the rest, with the training of those networks "
        f"that they were measured with and that were not there yet, which is {UNKNOWN} apart for most. The times do "
        "not have the training of networks that were there already and that the book does not keep.",
        "",
        table(("Chapter", "Profile", "Device", "Run", "Memory at the peak", "Kept", "Date", "Commit"), rows),
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


def _row(name: str, record: dict[str, Any], kept: list[Origin]) -> tuple[str, ...]:
    trained = f"{len(kept)}, made in {clock(seconds(kept))}" if kept else "none"
    commit, _, changed = (record.get("commit") or "unknown").partition(" ")
    commit = f"{commit[:7]} {changed}".strip()
    chapter = f"[{{doc}}`chapters/{name}`]{{#{RUN}{name}}}"
    return (chapter, f"`{record['profile']}`", record["device"], clock(record["seconds"]),
            f"{record['memory_mib']:.0f} MiB", trained, record["date"][:10], commit)  # fmt: skip
