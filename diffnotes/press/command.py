"""The command ``diffnotes``: run, verify, replicate, publish, build, lab, diagnose, status, claims, clean."""

from __future__ import annotations

import argparse
import codecs
import gc
import os
import sys
import unicodedata
from functools import partial
from pathlib import Path
from typing import Any

from .errors import PressError
from .files import at_work
from .layout import JUDGED, PROFILES, PUBLISHED, Project

# How a terminal that knows ASCII alone shows what the book says.
PLAIN = {"≤": "<=", "≥": ">=", "≈": "~", "×": "x", "−": "-", "–": "-", "—": "-", "→": "->", "✓": "+", "✗": "x",
         "“": '"', "”": '"', "’": "'", "…": "...", "²": "^2", "α": "alpha", "β": "beta", "ε": "eps", "σ": "sigma",
         "τ": "tau", "π": "pi", "·": "*"} | dict(zip("⁻⁰¹³⁴⁵⁶⁷⁸⁹", "-013456789"))  # fmt: skip


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
    run.add_argument("--profile", choices=PROFILES,
                     help="size of the run; cifar10, other data, is not for every chapter (default: gpu where CUDA is "
                          "found, else cpu)")  # fmt: skip
    run.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    run.add_argument("--seed", type=int, help="replaces the seed in the parameters cell")
    run.add_argument("--build", action="store_true", help="build the site when all is up to date")
    run.add_argument("--force", action="store_true", help="execute fresh chapters, too")
    run.add_argument("--train", action="store_true", help="train all networks anew, whichever are kept; runs all")
    run.add_argument("--cell-timeout", type=int, metavar="SECONDS", help="what a cell may take (default: four hours)")
    run.add_argument("--workers", metavar="URL", help="a Dask scheduler that shares the work, e.g. tcp://host:8786")
    run.add_argument("--dry-run", action="store_true", help="train and execute nothing in full; say what it would cost")

    verify = command("verify", "train all networks anew elsewhere, and compare with what is kept")
    verify.add_argument("chapters", nargs="*", metavar="CHAPTER", help="default: all chapters")
    verify.add_argument("--profile", choices=PROFILES, default="cpu", help="default: cpu")
    verify.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")

    replicate = command("replicate", "run the book again on other base seeds, and keep what it measures")
    replicate.add_argument("chapters", nargs="*", metavar="CHAPTER", help="default: all chapters")
    replicate.add_argument("--seeds", required=True, metavar="N,N,...", help="base seeds, one after the other")
    replicate.add_argument("--profile", choices=JUDGED, default="cpu", help="default: cpu")
    replicate.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")

    publish = command("publish", "put finished pages into book/chapters/, networks into book/networks/: all or none")
    publish.add_argument("chapters", nargs="+", metavar="CHAPTER")
    publish.add_argument("--profile", choices=PROFILES, default="cpu", help="default: cpu")

    build = command("build", "make the site, a PDF or an EPUB from executed pages; executes nothing")
    build.add_argument("--format", choices=("html", "pdf", "epub", "all"), default="html", help="default: html")
    build.add_argument("--archive", action="store_true", help="pack the site into one ZIP that opens from disk, too")
    build.add_argument("--pages", choices=("latest", "committed"), default="latest", help="default: latest")
    build.add_argument("--force", action="store_true", help="build even if nothing has changed")

    lab = command("lab", "open JupyterLab on working copies of the chapters, in _build/lab/")
    lab.add_argument("chapter", nargs="?", metavar="CHAPTER", help="the chapter to open (default: the folder of all)")
    lab.add_argument("--fresh", action="store_true", help="start over; what you have changed is moved aside")
    lab.add_argument("--port", type=int, default=8888, help="the first port to try (default: 8888)")
    lab.add_argument("--no-browser", action="store_true", help="print the address only")

    teach = command("teach", "write the book for a course: notebooks and site, for students without solutions")
    teach.add_argument("kind", choices=("student", "instructor"), help="without or with solutions")
    teach.add_argument("--to", type=Path, metavar="FOLDER", help="where to (default: _build/teach/KIND)")
    teach.add_argument("--pages", choices=("latest", "committed"), default="latest", help="default: latest")

    grade = command("grade", "mark a folder of exercise notebooks that were handed in")
    grade.add_argument("folder", type=Path, metavar="FOLDER", help="of STUDENT.ipynb, or STUDENT/NAME.ipynb")
    grade.add_argument("--csv", type=Path, default=Path("marks.csv"), metavar="FILE", help="default: marks.csv")
    grade.add_argument("--feedback", type=Path, metavar="FOLDER", help="write what is said of each submission there")
    grade.add_argument("--seconds", type=float, default=60, help="what a cell or a call may take (default: 60)")

    diagnose = command("diagnose", "say what a model's samples, beside data, tell of its stability")
    diagnose.add_argument("samples", type=Path, metavar="SAMPLES.npy", help="what the model made, one sample a row")
    diagnose.add_argument("reference", type=Path, metavar="REFERENCE.npy", help="data, best those it was trained on")
    diagnose.add_argument("--held-out", type=Path, metavar="FILE", help="data that it was not trained on")
    diagnose.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, for machines")
    diagnose.add_argument("--html", type=Path, metavar="FILE", help="write the report there, with figures")
    diagnose.add_argument("--seed", type=int, default=0, help="of random rows and splits (default: 0)")

    command("status", "show profile, device, duration, age, networks and freshness of each page")
    claims = command("claims", "print the ledger of claims with their verdicts")
    claims.add_argument("--json", action="store_true", help="for machines")
    command("clean", "remove _build/: executed pages, own networks, the site; working copies that were changed stay")
    return top


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 0 success, 1 failure, 2 wrong use, 128 + n ended by signal n."""
    _speak_plainly()
    # jsonschema, which reads notebooks for us, would build grammars of web addresses for a second and a half; it does
    # without where it does not find them.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    gc.set_threshold(200_000, 20, 100)  # trees of code are many, and stay: to look them over takes a sixth of a run
    command = "diffnotes"
    try:
        options = parser().parse_args(argv)
        command = f"diffnotes {options.command}"
        if options.command == "diagnose":  # of anybody's samples, anywhere: no book is needed
            status = _diagnose(options)
        else:
            status = globals()[f"_{options.command}"](Project.find(), options)
        _flush()
        return status
    except PressError as error:
        _complain(f"{command}: {error}")
        return error.status
    except KeyboardInterrupt as interrupt:
        left = "the last good pages are untouched" if "diagnose" not in command else "no report was left half-written"
        _complain(f"\n{command}: interrupted; {left}")
        return 128 + getattr(interrupt, "number", 2)
    except BrokenPipeError:  # whoever reads has had enough, as `head` has
        _give_up_output()
        return 141
    except OSError as error:
        _give_up_output()
        _complain(f"{command}: {error.strerror or error}" + (f": {error.filename}" if error.filename else ""))
        return 1


def _speak_plainly() -> None:
    """Let no sign that the terminal's encoding lacks stop the command."""
    codecs.register_error("diffnotes.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="diffnotes.plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    plain = (PLAIN.get(s) or unicodedata.normalize("NFKD", s).encode("ascii", "ignore").decode() for s in found)
    return "".join(sign or "?" for sign in plain), error.end


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _complain(text: str) -> None:
    if sys.stderr is not None:
        try:
            print(text, file=sys.stderr, flush=True)
        except OSError:
            pass


def _give_up_output() -> None:
    """Send what is still waiting to be written nowhere, so that the interpreter does not stumble over it at its end."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except OSError:
        pass


def _run(project: Project, options: argparse.Namespace) -> int:
    from .chapter import CELL_TIMEOUT, Order
    from .run import run

    if options.dry_run:
        return _dry_run(project, options)
    timeout = CELL_TIMEOUT if options.cell_timeout is None else options.cell_timeout
    order = Order(options.profile, options.device, options.seed, timeout, options.train)
    status = run(project, options.chapters, order, force=options.force, workers=options.workers)
    if options.build and not status:
        from .site import build

        build("latest", project.root)
    return status


def _dry_run(project: Project, options: argparse.Namespace) -> int:
    from .chapter import Order
    from .dry import dry_run

    others = {"--force": options.force, "--train": options.train, "--workers": options.workers is not None,
              "--cell-timeout": options.cell_timeout is not None}  # fmt: skip
    if given := [name for name, wanted in others.items() if wanted]:
        raise PressError(f"--dry-run with {', '.join(given)}: it trains nothing, keeps nothing and makes no page; "
                         "allowed beside it: chapters, --profile, --device, --seed", 2)
    return dry_run(project, options.chapters, Order(options.profile, options.device, options.seed))


def _verify(project: Project, options: argparse.Namespace) -> int:
    from .chapter import Order
    from .verify import verify

    return verify(project, options.chapters, Order(options.profile, options.device))


def _replicate(project: Project, options: argparse.Namespace) -> int:
    from .chapter import Order
    from .replicate import replicate

    words = options.seeds.split(",")
    if not all(word.strip().isascii() and word.strip().isdigit() for word in words):
        raise PressError(f"seeds = {options.seeds!r}; allowed: whole numbers >= 0 with commas between them", 2)
    seeds = [int(word) for word in words]
    return replicate(project, seeds, options.chapters, Order(options.profile, options.device))


def _publish(project: Project, options: argparse.Namespace) -> int:
    from .publish import publish

    for path in publish(project, options.chapters, options.profile):
        print(f"{path.stem}: published as {path.relative_to(project.root)}")
    return 0


def _build(project: Project, options: argparse.Namespace) -> int:
    formats = ("html", "pdf", "epub") if options.format == "all" else (options.format,)
    if "html" in formats or options.archive:
        from .site import build

        build(options.pages, project.root, force=options.force)
    if printed := [kind for kind in formats if kind != "html"]:
        from .editions.making import editions

        editions(printed, options.pages, project.root)
    if options.archive:
        from .editions.archive import archive

        print(f"archive: {archive(project)}")
    return 0


def _lab(project: Project, options: argparse.Namespace) -> int:
    from .lab import lab

    say = partial(print, flush=True)  # whoever reads it through a pipe waits for the address
    return lab(project, options.chapter, fresh=options.fresh, port=options.port, browser=not options.no_browser,
               say=say)  # fmt: skip


def _teach(project: Project, options: argparse.Namespace) -> int:
    from .teach.editions import edition

    edition(project, options.kind, options.to, options.pages, partial(print, flush=True))
    return 0


def _grade(project: Project, options: argparse.Namespace) -> int:
    from .teach.grading import grade

    marks = grade(project, options.folder, options.csv, options.feedback, options.seconds, partial(print, flush=True))
    refused = sum(one.state == "refused" for one in marks)
    failed = sum(one.state == "failed" for one in marks)
    print(f"{len(marks)} submissions: {options.csv}" + (f"; {refused} could not be read" if refused else "")
          + (f"; {failed} could not be marked: grade them again" if failed else ""))  # fmt: skip
    return int(failed > 0)


def _diagnose(options: argparse.Namespace) -> int:
    from .diagnose import Files, diagnose

    if not 0 <= options.seed < 2**63:
        raise PressError(f"seed = {options.seed}; allowed: whole numbers >= 0", 2)
    files = Files(options.samples, options.reference, options.held_out, options.json, options.html)
    print(diagnose(files, options.seed), end="")
    return 0


def _status(project: Project, options: argparse.Namespace) -> int:
    from .networks import published_faults, whereabouts
    from .provenance import examine, outdated

    rows, notes = [("chapter", "page", "device", "seconds", "age", "networks", "freshness")], []
    for name in project.chapters():
        if not project.source(name).is_file():
            rows.append((name, "-", "-", "-", "-", "-", f"missing: there is no notebooks/{name}.ipynb"))
            continue
        pages = [examine(project, name, place) for place in project.places(name)]
        pages = [page for page in pages if page.freshness.state != "missing"]
        for page in pages:
            record, state = page.record, page.freshness
            label = f"{page.place} ({record.get('profile', '?')})" if page.place == PUBLISHED else page.place
            word = state.state + (f": {'; '.join(state.reasons)}" if state.reasons else "")
            seconds = f"{record['seconds']:.0f}" if record else "?"
            networks = record.get("networks", [])
            rows.append((name, label, record.get("device", "?"), seconds, _age(record),
                         whereabouts(project, networks, page.place == PUBLISHED), word))  # fmt: skip
            faults = published_faults(project, networks) if page.place == PUBLISHED else []
            notes += [f"published networks of {name}: {fault}; they would be trained again" for fault in faults]
        if not pages:
            rows.append((name, "-", "-", "-", "-", "-", "missing: not run yet"))
    try:
        for name, seeds in outdated(project).items():
            listed = ",".join(map(str, seeds))
            notes.append(f"repetitions of {name} are stale: diffnotes replicate --seeds {listed} {name}")
    except PressError as error:
        notes.append(str(error))
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    for row in rows:
        print("  ".join([*(text.ljust(width) for text, width in zip(row, widths)), row[6]]))
    for note in notes:
        print(f"warning: {note}", file=sys.stderr)
    return 0


def _age(record: dict[str, Any]) -> str:
    import datetime

    try:
        then = datetime.datetime.fromisoformat(record["date"])
    except (KeyError, ValueError):  # a damaged page
        return "?"
    minutes = int((datetime.datetime.now(datetime.UTC) - then).total_seconds() // 60)
    for size, unit in ((60 * 24, "day"), (60, "hour"), (1, "minute")):
        if minutes >= size:
            return f"{minutes // size} {unit}{'s' if minutes >= 2 * size else ''}"
    return "now"


def _claims(project: Project, options: argparse.Namespace) -> int:
    from .provenance import examine, latest
    from .summary import collect, table_text

    pages = {name: path for name in project.chapters() if (path := latest(project, name))}
    rows = collect(pages.values())
    for name in project.chapters():
        for place, path in project.places(name).items():
            if path.is_file():
                state = examine(project, name, place).freshness
                if state.state == "damaged":
                    print(f"note: the page {path.relative_to(project.root)} is damaged", file=sys.stderr)
                elif path == pages.get(name) and state.state != "fresh":
                    print(f"note: the page of {name} is stale; diffnotes status says why", file=sys.stderr)
    if options.json:
        import json

        print(json.dumps(rows, ensure_ascii=False, indent=1))
    else:
        print(table_text(rows))
    return 0


def _clean(project: Project, options: argparse.Namespace) -> int:
    import shutil

    from .lab import changed

    folder: Path = project.root / "_build"
    if not folder.exists() and not folder.is_symlink():
        print("nothing to remove: there is no _build/")
        return 0
    if not folder.is_dir():
        raise PressError(f"_build is {'a link that leads nowhere' if folder.is_symlink() else 'a file'}, not a folder; "
                         "remove it by hand")
    with at_work(project.root, alone=True):
        mine = changed(project)  # what a reader has written is not made by runs and builds
        gone = sorted(path for path in folder.iterdir() if not (mine and path.name == "lab"))
        files = (file for path in gone for file in (path, *path.rglob("*")) if file.is_file())
        size = sum(file.lstat().st_size for file in files)
        if folder.is_symlink() or mine:  # where somebody wants the results elsewhere, the link stays
            for path in gone:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        else:
            shutil.rmtree(folder)
    print(f"removed _build/ ({', '.join(path.name for path in gone) or 'empty'}; {size / 2**20:.1f} MiB)")
    if mine:
        print(f"kept _build/lab/, with what you have made or changed: {', '.join(mine)}; remove it by hand")
    return 0


if __name__ == "__main__":
    sys.exit(main())
