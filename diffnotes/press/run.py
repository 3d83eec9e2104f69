"""Execution of chapters: papermill, one fresh process each, pages replaced only by better ones.

A chapter that is fresh is not run again; if only its prose has changed, the new prose is put around the old results.
Otherwise its notebook is executed (:mod:`diffnotes.press.execution`), made into a page, given its provenance and
checked by all gates; only then does it replace the older page. A run that fails, or is interrupted, leaves the last
good page where it is, and its report under ``reports/``.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from . import page, provenance
from .chapter import Chapter, Order
from .devices import find_device
from .errors import PressError
from .files import at_work, lock, require_room, sweep
from .layout import Project
from .ledger.replication import runs
from .networks import keep
from .processes import interruptible
from .progress import clock
from .workers import by_cluster, by_machine, cluster, failure

__all__ = ["run"]


def run(
    project: Project, names: Iterable[str] = (), order: Order | None = None, *, force: bool = False,
    workers: str | None = None, say: Callable[[str], None] = print,
) -> int:  # fmt: skip
    """Bring the pages of the named chapters (default: all) up to date.

    Args:
        project: the book.
        names: chapters.
        order: how they are run.
        force: run what is fresh, too; where all networks are trained anew, everything is run.
        workers: address of a Dask scheduler that is to share the work.
        say: receives the messages.

    Returns:
        0 if all pages are up to date and pass the gates, else 1.

    Raises:
        PressError: before anything is written, for an unknown chapter, a profile that a chapter does not have, CUDA
            where there is none, parameters that are no plain values, or a folder that cannot be written.
        KeyboardInterrupt: after the running chapters have been ended.
    """
    order = order or Order()
    names = project.choose(names, order.profile)
    with contextlib.ExitStack() as stack:
        stack.enter_context(interruptible())
        stack.enter_context(at_work(project.root))
        client = stack.enter_context(cluster(workers)) if workers else None
        here = None if client else find_device(order.device)
        profile = order.profile or ("gpu" if here and here[0] == "cuda" else "cpu")
        order = dataclasses.replace(order, profile=profile)
        require_room(project.page(profile, "any").parent, "executed pages")
        runs()  # one that is damaged would stop every page, once it is made
        for name in sorted(names):  # in one order: nobody waits in a circle
            waiting = f"{name}: another run is at work on it; waiting for that"
            stack.enter_context(_locked(project.page(profile, name), lambda text=waiting: say(text)))
            report = project.report(profile, name)
            for path in (project.page(profile, name), report, report.with_suffix(".txt")):
                if path.is_dir():
                    raise PressError(f"{path} is a folder, where a page or a report should lie; nothing was run")
                sweep(path)
        chapters = [Chapter(project, name, order) for name in names]
        if problems := [problem for chapter in chapters for problem in chapter.check()]:
            raise PressError("\n  ".join(["nothing was run:", *problems]))
        failed = _bring_up_to_date(chapters, here, client, force or order.train, say)
    for name, problems in failed.items():
        report, stays = project.report(profile, name).with_suffix(".txt"), project.page(profile, name).is_file()
        say(f"{name}: FAILED" + ("; the last good page stays" if stays else ""))
        for problem in problems[:20]:
            say("  " + problem.replace("\n", "\n  "))
        if report.is_file():
            say(f"  report: {report.relative_to(project.root)}")
    return 1 if failed else 0


@contextlib.contextmanager
def _locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        with lock(path, waiting):
            yield
    except PermissionError as error:
        raise PressError(f"{path.parent} cannot be written: {error.strerror}") from error
    finally:
        for folder in made:  # a run that has written nothing leaves nothing
            with contextlib.suppress(OSError):
                folder.rmdir()


def _bring_up_to_date(
    chapters: list[Chapter], here: tuple[str, str] | None, client: Any, force: bool, say: Callable[[str], None]
) -> dict[str, list[str]]:
    """Reuse or execute each chapter; returns those that failed, and why."""
    failed: dict[str, list[str]] = {}
    todo: list[Chapter] = []
    for chapter in chapters:
        found = None if force else chapter.fresh()
        if found is None:
            todo.append(chapter)
            continue
        old = page.compact(found[0])
        notebook = provenance.sealed(page.with_prose(found[0], chapter.source))
        if problems := _settle(chapter, notebook):
            failed[chapter.name] = problems
        else:
            updated = page.compact(notebook) != old or found[1] != chapter.path
            kept = ", prose updated" if updated else ", nothing to run"
            say(f"{chapter.name}: fresh in profile {chapter.profile}{kept}")
    if todo:
        outcomes = by_cluster(todo, client, say) if client else by_machine(todo, here, say)
        with contextlib.closing(outcomes):
            for chapter, outcome, tell in outcomes:
                if problems := _finish(chapter, outcome):
                    failed[chapter.name] = problems
                else:
                    took = f"{clock(outcome['seconds'])}, {outcome['memory_mib']} MiB at the peak"
                    tell(f"{chapter.name}: done in {took}")
                if new := chapter.appeared() if chapter.before else []:
                    shown = ", ".join(new[:5]) + (" and more" if len(new) > 5 else "")
                    tell(f"{chapter.name}: note: changed since the run began: {shown}; a cell must not do that")
    return failed


def _finish(chapter: Chapter, outcome: dict[str, Any]) -> list[str]:
    """Make a page of an outcome, or leave a report; returns what is wrong."""
    try:
        if outcome["error"]:
            chapter.leave(None, outcome["error"])
            return [outcome["error"].strip().split("\n")[0]]
        if suspicions := chapter.suspicions(outcome["kernel"]):
            chapter.leave(None, "\n".join(suspicions))
            return suspicions
        keep(outcome.get("networks", {}), chapter.networks)
        made = chapter.stamped(outcome)
    except Exception as error:
        return [failure(error)["error"]]
    return _settle(chapter, made)


def _settle(chapter: Chapter, made: Any) -> list[str]:
    """Settle a page; whatever goes wrong, the other chapters go on, and what this one has made is not lost."""
    try:
        return chapter.settle(made)
    except Exception as error:
        words = str(error) if isinstance(error, PressError) else f"{type(error).__name__}: {error}"
        if "its text is kept as" not in words:
            with contextlib.suppress(PressError):
                chapter.leave(page.text(made) if made else None, words)
        return [words]
