"""Publication: a finished page goes into ``book/chapters/``, where it is committed."""

from __future__ import annotations

from pathlib import Path

from . import gates, page
from .errors import PressError
from .layout import Project, write_whole

__all__ = ["publish"]


def publish(project: Project, name: str, profile: str) -> Path:
    """Copy the page of chapter ``name`` from a run in ``profile`` to its published place, and return that.

    Raises:
        PressError: if there is no such page, it is a smoke run or one with another seed, or a gate refuses it.
    """
    if profile == "smoke":
        raise PressError("the smoke profile shows that the code runs, its numbers mean nothing; publish cpu or gpu", 2)
    path, place = project.page(profile, name), project.published(name)
    if not path.is_file():
        raise PressError(f"{name} was not run in profile {profile}: first diffnotes run {name} --profile {profile}")
    notebook, source = page.read(path), page.read(project.source(name))
    others = {other: page.read(project.published(other)) for other in project.chapters()
              if other != name and project.published(other).is_file()}  # fmt: skip
    problems = gates.check_source(source, name)
    problems += gates.check_page(notebook, source, name, project, project.settings(name, profile))
    problems += gates.check_across({**others, name: notebook})
    if problems:
        raise PressError("the gates refuse:\n  " + "\n  ".join(map(str, problems)))
    write_whole(place, path.read_text(encoding="utf-8"))
    return place
