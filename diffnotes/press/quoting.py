"""What prose quotes from the runs: verdicts, effects and figures of the executed pages, by name.

* ``{claim}`C9` `` leads to the box of a claim, and says its verdict.
* ``{effect}`C9.mixture` `` is a measured number, with its interval in a tooltip and a link to the box; after ``as``
  stands how it is told: ``percent``, ``times``, ``less`` (a ratio below one as what is missing, in per cent) or
  ``interval``. It is the number of the page that the link leads to; where all base seeds together judge the part, the
  tooltip has theirs as well.
* ``{making}`images` `` is how long it took to make all that this chapter keeps, ``{making}`all` `` what the book keeps.
* ``{quoted} fig-collapse-planes`` is a figure of a chapter, or a part of its height (``:part: 0 0.35``), with a caption
  and an alternative text of its own.

Nothing is copied by hand, so what is quoted changes with the runs; a claim, part or figure that there is not is a
warning, which ends the build.
"""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from .layout import Project
from .ledger.box import effect_text, number
from .origins import book_at, origins, seconds
from .page import read, records
from .progress import clock
from .provenance import record
from .summary import collect

__all__ = ["claim_words", "collected", "effect_words", "figure", "making", "setup"]

CHAPTERS = "book/chapters/"
MANNERS = ("value", "percent", "times", "less", "interval")


def collected(srcdir: str | Path) -> dict[str, dict[str, Any]]:
    """The rows of the ledger of the executed pages in the tree ``srcdir``, by id; they are read once."""
    return _collected(tuple((path, path.stat().st_mtime_ns) for path in pages(srcdir)))


def pages(srcdir: str | Path) -> list[Path]:
    """The executed pages in the tree ``srcdir``."""
    return sorted((Path(srcdir) / CHAPTERS).glob("*.ipynb"))


@lru_cache(maxsize=8)
def _collected(known: tuple[tuple[Path, int], ...]) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in collect(path for path, _ in known)}


def claim_words(row: dict[str, Any]) -> str:
    """What a link to a claim says: its id and verdict."""
    return f"{row['id']}, {row['record']['verdict'] if row['record'] else 'not run yet'}"


def effect_words(rows: dict[str, dict[str, Any]], text: str) -> tuple[str, str, str]:
    """(claim, what is said, the same with interval and state) of a quotation "CLAIM.PART" or "CLAIM.PART as MANNER".

    Raises:
        ValueError: for a claim that no page has recorded, a part that it has not, one that was not seen, and another
            manner.
    """
    found = re.fullmatch(r"(\w+)\.(\w+)(?: as (\w+))?", text.strip())
    if not found or (manner := found[3] or "value") not in MANNERS:
        raise ValueError(f"effect = {text!r}; allowed: CLAIM.PART, and after it 'as' with one of {', '.join(MANNERS)}")
    claim, name = found[1], found[2]
    record = (rows.get(claim) or {}).get("record")
    if not record:
        raise ValueError(f"effect = {text!r}: no page has recorded the claim {claim}")
    part = next((one for one in record["parts"] if one["name"] == name), None)
    if part is None or "unseen" in part:
        raise ValueError(f"effect = {text!r}: the claim {claim} has no measured part {name}")
    state = part["state"]
    if "pooled" in part:
        every = {**part, **dict(zip(("value", "low", "high"), part["pooled"])), "exact": False}
        state = f"all base seeds together {effect_text(every)}, {state}"
    value = part["value"]
    said = {"value": number(value), "percent": f"{number(100 * value, 2)} %", "times": f"{number(value, 2)} times",
            "less": f"{number(100 * (1 - value), 2)} %", "interval": effect_text(part)}[manner]  # fmt: skip
    return claim, said, f"{effect_text(part)}, {state}"


def making(paths: Iterable[Path], name: str, project: Project | None = None) -> str:
    """How long it took to make all that the page of the chapter ``name`` keeps, or that "all" pages keep.

    Raises:
        ValueError: for a chapter that has no page among ``paths``.
    """
    chosen = [path for path in paths if name in ("all", path.stem)]
    if not chosen:
        raise ValueError(f"making = {name!r}; allowed: all, and chapters that have been run")
    kept = [record(read(path)).get("networks", []) for path in chosen]
    return clock(seconds(origins(project, (one for records in kept for one in records))))


def figure(paths: Iterable[Path], name: str, part: tuple[float, float] = (0.0, 1.0)) -> bytes:
    """PNG of the figure with the label ``name`` on one of the pages, cut to a ``part`` of its height.

    Raises:
        ValueError: where no page shows that figure, or for a part that is none.
    """
    if not 0 <= part[0] < part[1] <= 1:
        raise ValueError(f"part = {part}; allowed: two increasing numbers between 0 and 1")
    for path in paths:
        for _, output, told in records(read(path), "figure"):
            if told["name"] == name and "image/png" in output["data"]:
                whole = base64.b64decode(output["data"]["image/png"])
                return whole if part == (0.0, 1.0) else _cut(whole, part)
    raise ValueError(f"figure = {name!r}; allowed: labels of figures that the pages show")


def _cut(png: bytes, part: tuple[float, float]) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(png)) as whole:
        rows = [round(whole.height * end) for end in part]
        out = io.BytesIO()
        whole.crop((0, rows[0], whole.width, rows[1])).save(out, "PNG", optimize=True)
    return out.getvalue()


def setup(app: Any) -> None:
    """Register the roles and the directive with Sphinx."""
    from docutils import nodes
    from docutils.parsers.rst import directives as options
    from sphinx import addnodes
    from sphinx.util.docutils import SphinxDirective, SphinxRole

    class Quotation(SphinxRole):
        def lead(self, claim: str, words: Any) -> list[Any]:
            for page in pages(self.env.app.srcdir):
                self.env.note_dependency(str(page))
            return [addnodes.pending_xref("", words, refdomain="std", reftype="ref", refexplicit=True, refwarn=True,
                                          reftarget=f"claim-{claim.lower()}", refdoc=self.env.docname)]  # fmt: skip

        def fault(self, words: str) -> tuple[list[Any], list[Any]]:
            return [], [self.inliner.reporter.error(words, line=self.lineno)]

    class Claim(Quotation):
        def run(self) -> tuple[list[Any], list[Any]]:
            row = collected(self.env.app.srcdir).get(self.text)
            if row is None:
                return self.fault(f"there is no claim {self.text}")
            words = nodes.inline("", claim_words(row))
            return (self.lead(self.text, words) if row["record"] else [words]), []

    class Effect(Quotation):
        def run(self) -> tuple[list[Any], list[Any]]:
            try:
                claim, said, told = effect_words(collected(self.env.app.srcdir), self.text)
            except ValueError as error:
                return self.fault(str(error))
            if self.env.app.builder.format != "html":
                return self.lead(claim, nodes.inline("", said)), []
            page = f"{CHAPTERS}{collected(self.env.app.srcdir)[claim]['page']}"
            uri = f"{self.env.app.builder.get_relative_uri(self.env.docname, page)}#claim-{claim.lower()}"
            link = nodes.reference("", said, refuri=uri, internal=True, reftitle=told, classes=["effect"])
            return [link], []

    class Making(SphinxRole):
        def run(self) -> tuple[list[Any], list[Any]]:
            known = pages(self.env.app.srcdir)
            for page in known:
                self.env.note_dependency(str(page))
            try:
                return [nodes.Text(making(known, self.text, book_at(self.env.app.srcdir)))], []
            except ValueError as error:
                return [], [self.inliner.reporter.error(str(error), line=self.lineno)]

    class Quoted(SphinxDirective):
        required_arguments, has_content = 1, True
        option_spec: ClassVar = {"part": str, "alt": options.unchanged_required}

        def run(self) -> list[Any]:
            known = pages(self.env.app.srcdir)
            for page in known:
                self.env.note_dependency(str(page))
            try:
                ends = tuple(float(end) for end in self.options.get("part", "0 1").split())
                png = figure(known, self.arguments[0], ends)
            except ValueError as error:
                return [self.state.document.reporter.error(str(error), line=self.lineno)]
            place = Path(self.env.app.outdir).parent / "quoted" / f"{self.arguments[0]}-{ends[0]:g}-{ends[1]:g}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(png)
            uri = "/" + Path(os.path.relpath(place, self.env.app.srcdir)).as_posix()
            image = nodes.image(uri=uri, alt=self.options.get("alt", ""))
            caption = nodes.caption()
            words, _ = self.state.inline_text("\n".join(self.content), self.lineno)
            caption += words
            return [nodes.figure("", image, caption, classes=["quoted"])]

    app.add_role("claim", Claim())
    app.add_role("effect", Effect())
    app.add_role("making", Making())
    app.add_directive("quoted", Quoted)
