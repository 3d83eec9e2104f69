"""Publication: finished pages go into ``book/chapters/``, where they are committed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import gates, page, provenance
from .errors import PressError
from .files import at_work, lock, require_room, sweep
from .layout import JUDGED, Project
from .networks import publishable, put, recover
from .parameters import settings as settings_of

__all__ = ["publish"]


def publish(project: Project, names: Iterable[str], profile: str) -> list[Path]:
    """Copy the pages of the chapters ``names`` from runs in ``profile`` to their published places, and return those.

    The networks that they were made with come along, and published ones that no page names any more go. What is checked
    is the book as it will be, and all of the chapters are published or none.

    Raises:
        PressError: if there is no such page, it is a smoke run or one with another seed, or a gate refuses it; or if
            its networks are not kept any more, or all published ones would be too many.
    """
    if profile == "smoke":
        raise PressError("the smoke profile shows that the code runs, its numbers mean nothing; publish "
                         + " or ".join(JUDGED), 2)
    found, problems = {}, []
    for name in project.choose(names, profile):
        found[name], wrong = _checked(project, name, profile)
        problems += wrong
    others = {other: page.read(project.published(other)) for other in project.chapters()
              if other not in found and project.published(other).is_file()}  # fmt: skip
    problems += map(str, gates.check_across(others | {name: one.notebook for name, one in found.items()}))
    if problems:
        raise PressError("the gates refuse:\n  " + "\n  ".join(problems))
    named = {other: provenance.record(one).get("networks", []) for other, one in others.items()}
    named |= {name: one.record["networks"] for name, one in found.items()}
    # What was checked is what is written, whatever lies there by now.
    places = {project.published(name): page.text(one.notebook) for name, one in found.items()}
    for place in places:
        require_room(place.parent, "published pages")
    with contextlib.ExitStack() as stack:
        stack.enter_context(at_work(project.root))
        for place in sorted(places):  # in one order: nobody waits in a circle
            stack.enter_context(lock(place))
        stack.enter_context(lock(project.published_networks))
        recover(project)
        for place in places:
            sweep(place)
        wanted = {record["key"] for records in named.values() for record in records}
        put(project, publishable(project, found, named), places, wanted)
    return list(places)


def _checked(project: Project, name: str, profile: str) -> tuple[Any, list[str]]:
    """The page of chapter ``name`` that a run in ``profile`` has left, and why it cannot be published."""
    source = page.read(project.source(name))
    settings = settings_of(project, name, profile, source=source)
    found = provenance.examine(project, name, profile, settings)
    if found.freshness.state == "missing":
        raise PressError(f"{name} was not run in profile {profile}: first diffnotes run {name} --profile {profile}")
    if found.notebook is None:
        raise PressError(f"{'; '.join(found.freshness.reasons)}: run diffnotes run {name} --profile {profile}")
    problems = gates.check_source(source, name, project)
    problems += gates.check_page(found.notebook, source, name, project, settings)
    return found, [*found.freshness.reasons] * (not found.usable) + [*map(str, problems)]
