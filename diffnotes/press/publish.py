"""Publication: a finished page goes into ``book/chapters/``, where it is committed."""

from __future__ import annotations

from pathlib import Path

from . import gates, page, provenance
from .errors import PressError
from .files import at_work, lock, require_room, sweep
from .layout import Project
from .networks import publishable, put, recover
from .parameters import settings as settings_of

__all__ = ["publish"]


def publish(project: Project, name: str, profile: str) -> Path:
    """Copy the page of chapter ``name`` from a run in ``profile`` to its published place, and return that.

    The networks that it was made with come along, and published ones that no page names any more go.

    Raises:
        PressError: if there is no such page, it is a smoke run or one with another seed, or a gate refuses it; or if
            its networks are not kept any more, or all published ones would be too many.
    """
    if profile == "smoke":
        raise PressError("the smoke profile shows that the code runs, its numbers mean nothing; publish cpu or gpu", 2)
    place, source = project.published(name), page.read(project.source(name))
    settings = settings_of(project, name, profile, source=source)
    found = provenance.examine(project, name, profile, settings)
    if found.freshness.state == "missing":
        raise PressError(f"{name} was not run in profile {profile}: first diffnotes run {name} --profile {profile}")
    if found.notebook is None:
        raise PressError(f"{'; '.join(found.freshness.reasons)}: run diffnotes run {name} --profile {profile}")
    others = {other: page.read(project.published(other)) for other in project.chapters()
              if other != name and project.published(other).is_file()}  # fmt: skip
    problems = gates.check_source(source, name)
    problems += gates.check_page(found.notebook, source, name, project, settings)
    problems += gates.check_across({**others, name: found.notebook})
    if problems or not found.usable:
        listed = [*found.freshness.reasons] * (not found.usable) + [*map(str, problems)]
        raise PressError("the gates refuse:\n  " + "\n  ".join(listed))
    named = {other: provenance.record(one).get("networks", []) for other, one in others.items()}
    named[name] = found.record["networks"]
    require_room(place.parent, "published pages")
    with at_work(project.root), lock(place), lock(project.published_networks):
        sweep(place)
        recover(project.published_networks)
        chosen = publishable(project, name, named)
        wanted = {record["key"] for records in named.values() for record in records}
        put(project, chosen, (place, page.text(found.notebook)), wanted)  # what was checked, whatever lies there by now
    return place
