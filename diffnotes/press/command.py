"""The command ``diffnotes``: run, publish, build, status, claims, clean."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from .errors import PressError
from .layout import PROFILES, Project


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="diffnotes",
        description="Runs the chapters of the book, checks their pages and makes the site.",
        epilog="A first time:  diffnotes run --profile smoke   then   diffnotes status",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, words: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")

    run = command("run", "execute the chapters that are out of date")
    run.add_argument("chapters", nargs="*", metavar="CHAPTER", help="default: all chapters")
    run.add_argument("--profile", choices=PROFILES, help="size of the run (default: gpu where CUDA is found, else cpu)")
    run.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    run.add_argument("--seed", type=int, help="replaces the seed in the parameters cell")
    run.add_argument("--force", action="store_true", help="execute fresh chapters, too")
    run.add_argument("--workers", metavar="URL", help="a Dask scheduler that shares the work, e.g. tcp://host:8786")

    publish = command("publish", "put finished pages into book/chapters/")
    publish.add_argument("chapters", nargs="+", metavar="CHAPTER")
    publish.add_argument("--profile", choices=PROFILES, default="cpu", help="default: cpu")

    build = command("build", "make the site from executed pages; executes nothing")
    build.add_argument("--pages", choices=("latest", "committed"), default="latest", help="default: latest")
    build.add_argument("--force", action="store_true", help="build even if nothing has changed")

    command("status", "show profile, device, duration, age and freshness of each page")
    claims = command("claims", "print the ledger of claims with their verdicts")
    claims.add_argument("--json", action="store_true", help="for machines")
    command("clean", "remove _build/, i.e. executed pages and the site")
    return top


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 0 success, 1 failure, 2 wrong use, 130 interrupted."""
    options = parser().parse_args(argv)
    try:
        return globals()[f"_{options.command}"](Project.find(), options)
    except PressError as error:
        print(f"diffnotes {options.command}: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print(f"\ndiffnotes {options.command}: interrupted; the last good pages are untouched", file=sys.stderr)
        return 130


def _run(project: Project, options: argparse.Namespace) -> int:
    from .run import run

    return run(
        project, options.chapters, profile=options.profile, device=options.device, seed=options.seed,
        force=options.force, workers=options.workers,
    )  # fmt: skip


def _publish(project: Project, options: argparse.Namespace) -> int:
    from .publish import publish

    for name in project.choose(options.chapters):
        print(f"{name}: published as {publish(project, name, options.profile).relative_to(project.root)}")
    return 0


def _build(project: Project, options: argparse.Namespace) -> int:
    from .site import build

    build(options.pages, project.root, force=options.force)
    return 0


def _status(project: Project, options: argparse.Namespace) -> int:
    from .page import read
    from .provenance import freshness

    rows = [("chapter", "page", "device", "seconds", "age", "freshness")]
    for name in project.choose():
        places = {profile: project.page(profile, name) for profile in PROFILES} | {"published": project.published(name)}
        pages = {place: read(path) for place, path in places.items() if path.is_file()}
        for place, notebook in pages.items():
            record: dict[str, Any] = notebook.metadata.get("diffnotes", {}).get("provenance", {})
            state = freshness(notebook, project, name)
            label = f"{place} ({record.get('profile', '?')})" if place == "published" else place
            word = state.state + (f": {'; '.join(state.reasons)}" if state.reasons else "")
            rows.append((name, label, record.get("device", "?"), f"{record.get('seconds', 0):.0f}", _age(record), word))
        if not pages:
            rows.append((name, "-", "-", "-", "-", "missing: not run yet"))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    for row in rows:
        print("  ".join([*(text.ljust(width) for text, width in zip(row, widths)), row[5]]))
    return 0


def _age(record: dict[str, Any]) -> str:
    import datetime

    try:
        then = datetime.datetime.fromisoformat(record["date"])
    except (KeyError, ValueError):
        return "?"
    minutes = int((datetime.datetime.now(datetime.UTC) - then).total_seconds() // 60)
    for size, unit in ((60 * 24, "day"), (60, "hour"), (1, "minute")):
        if minutes >= size:
            return f"{minutes // size} {unit}{'s' if minutes >= 2 * size else ''}"
    return "now"


def _claims(project: Project, options: argparse.Namespace) -> int:
    from .ledger import collect, table_text
    from .page import read
    from .provenance import freshness

    pages = {name: path for name in project.chapters() if (path := project.latest(name))}
    rows = collect(pages.values())
    for name, path in pages.items():
        if freshness(read(path), project, name).state != "fresh":
            print(f"note: the page of {name} is stale; diffnotes status says why", file=sys.stderr)
    if options.json:
        import json

        print(json.dumps(rows, ensure_ascii=False, indent=1))
    else:
        print(table_text(rows))
    return 0


def _clean(project: Project, options: argparse.Namespace) -> int:
    import shutil

    folder: Path = project.root / "_build"
    if not folder.exists():
        print("nothing to remove: there is no _build/")
        return 0
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    parts = ", ".join(sorted(path.name for path in folder.iterdir())) or "empty"
    shutil.rmtree(folder)
    print(f"removed _build/ ({parts}; {size / 2**20:.1f} MiB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
