"""Verification: all networks of a chapter trained anew, and what comes of it held against what is kept.

Nothing that is kept is changed. Numbers of one machine agree bit for bit with those of the same machine; those of
another may differ in their last digits, and then it is the verdicts that must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import page, provenance
from .alone import glued
from .chapter import Chapter, Order
from .devices import find_device
from .errors import PressError
from .files import at_work
from .layout import PUBLISHED, Project
from .networks import ENDING, Kept, largest_difference, place
from .processes import interruptible, workspace
from .progress import clock
from .workers import by_machine

__all__ = ["Comparison", "compare", "verify"]


@dataclass
class Comparison:
    """Two pages of a chapter and their networks held against each other: lines for a reader, and what disagrees."""

    lines: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, line: str, fault: bool = False) -> None:
        """A line, perhaps one of what disagrees."""
        self.lines.append(f"  {line}")
        self.faults += [line] * fault


def compare(project: Project, old: Any, new: Any, folder: Path) -> Comparison:
    """The page ``old`` and its kept networks against the page ``new`` with networks in ``folder``."""
    found = Comparison()
    _networks(found, project, provenance.record(old)["networks"], provenance.record(new)["networks"], folder)
    states = [{(claim["id"], part["name"]): part["state"] for _, _, claim in page.records(one, "claim")
               for part in claim["parts"]} for one in (old, new)]  # fmt: skip
    _values(found, "verdicts", {" ".join(key): state for key, state in states[0].items()},
            {" ".join(key): state for key, state in states[1].items()}, decides=True)  # fmt: skip
    _values(found, "values in the text", glued(old), glued(new), decides=False)
    return found


def _networks(
    found: Comparison, project: Project, old: list[dict[str, Any]], new: list[dict[str, Any]], folder: Path
) -> None:
    before, equal = {record["key"]: record for record in old}, 0
    for key in before.keys() - {record["key"] for record in new}:
        found.add(f"{before[key]['name']}: not asked for any more", fault=True)
    for record in new:
        words = f"{record['name']} ({record['key'][:12]})"
        kept = place(project, before[record["key"]]) if record["key"] in before else None
        if kept is None:
            found.add(f"{words}: not kept, nothing to compare with")
            continue
        made = Kept(folder / f"{record['key']}{ENDING}")
        try:
            gap, alike = largest_difference(kept, made), kept.header.get("device") == made.header.get("device")
        except ValueError as error:
            found.add(f"{words}: {error}", fault=True)
            continue
        equal += gap == 0
        if gap:
            where = "on the same device" if alike else f"on {made.header.get('device')}, kept from another device"
            found.add(f"{words}: weights differ by up to {gap:.2g} {where}", fault=alike)
    found.add(f"networks: {equal} of {len(new)} are the kept ones bit for bit")


def _values(found: Comparison, what: str, old: dict[str, str], new: dict[str, str], decides: bool) -> None:
    names = list(dict.fromkeys([*old, *new]))
    differ = [name for name in names if old.get(name) != new.get(name)]
    for name in differ:
        found.add(f"{name}: {old.get(name, 'nothing')} is kept, {new.get(name, 'nothing')} came now", fault=decides)
    found.add(f"{what}: {len(names) - len(differ)} of {len(names)} agree")


def _kept_page(chapter: Chapter) -> Any:
    """The fresh page of a chapter in its profile, from a run here or published. PressError if there is none."""
    pages = [chapter.examine()]
    published = provenance.examine(chapter.project, chapter.name, PUBLISHED, chapter.settings)
    pages += [published] if published.record.get("profile") == chapter.profile else []
    if fresh := next((one for one in pages if one.freshness.state == "fresh"), None):
        return fresh.notebook
    why = "; ".join(dict.fromkeys(reason for one in pages for reason in one.freshness.reasons))
    raise PressError(f"{chapter.name}: no fresh page to compare with in profile {chapter.profile} ({why}): "
                     f"first diffnotes run {chapter.name} --profile {chapter.profile}")


def verify(
    project: Project, names: Iterable[str] = (), order: Order | None = None, say: Callable[[str], None] = print
) -> int:
    """Run chapters (default: all) with all networks trained anew, and compare with what is kept.

    Args:
        project: the book.
        names: chapters.
        order: how they are run; the profile is cpu by default, and networks go into a scratch folder.
        say: receives the table, chapter by chapter.

    Returns:
        0 if all verdicts agree and networks from the same device do bit for bit, else 1.

    Raises:
        PressError: for a chapter without a fresh page, and as :func:`diffnotes.press.run.run`.
    """
    order, failed = order or Order(), 0
    names = project.choose(names, order.profile)
    with interruptible(), at_work(project.root), workspace() as scratch:
        here = find_device(order.device)
        asked = replace(order, profile=order.profile or "cpu", device="auto")
        pages = {name: _kept_page(Chapter(project, name, asked)) for name in names}
        asked = replace(asked, device=order.device, train=True)
        chapters = [Chapter(project, name, replace(asked, networks=scratch / name)) for name in names]
        with closing(by_machine(chapters, here, say)) as outcomes:
            for chapter, outcome, tell in outcomes:
                problems = [outcome["error"].strip().split("\n")[0]] if outcome["error"] else (
                    chapter.suspicions(outcome["kernel"]))  # fmt: skip
                if problems:
                    tell("\n  ".join([f"{chapter.name}: FAILED", *problems]))
                    failed += 1
                    continue
                found = compare(project, pages[chapter.name], chapter.stamped(outcome), chapter.networks)
                word = "DISAGREES" if found.faults else "agrees"
                tell("\n".join([f"{chapter.name}: {word}, run in {clock(outcome['seconds'])}", *found.lines]))
                failed += bool(found.faults)
    return 1 if failed else 0
