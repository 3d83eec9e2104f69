r"""Slides: the decks ``book/slides/NAME.md`` in, one for a chapter, and reveal.js pages ``slides/NAME.html`` out.

A deck is Markdown. It begins with ``title`` and ``minutes`` between two lines ``---``, and a line ``---`` parts its
slides. The first slide, with the title, is made; each of the others begins with its only heading, ``## ...``.

* ``+ item``: a list with this sign appears item by item, one with ``-`` at once.
* ``Answer:`` begins what appears at one step, and goes on to the notes or the end of the slide.
* ``Note: 4 min`` begins the notes of the speaker, which every slide has; minutes come first, and all together may not
  be more than ``minutes``. Formulas in notes are told as text, which is all that the window of the notes can show.
* A fenced block ``derivation`` is one aligned display that grows by a line at each step. A line of the block is a line
  of the display, ``&`` is where they are aligned, and an indented line goes on with the one above.
* ``![](fig-targets-rates)`` is the figure of a chapter with that label, with the alternative text of the run. A title
  says more: ``"beside"`` puts it at the right of the text, ``"columns 0 0.5"`` or ``"rows 0 0.5"`` takes a part of its
  width or height, which then needs an alternative text of its own in the brackets.
* ``{effect}`C9.mixture as times` ``, ``{claim}`C9` `` and ``{glue:text}`gap:.2f` `` quote the runs, as pages do; a
  value that is glued is one of the deck's own chapter. Numbers typed by hand that state a result are refused.
* ``$...$`` and ``$$...$$`` are formulas, with the macros of ``book/notation.yml``.

A fault ends the build before anything is written; the message names deck and slide, and says what is allowed.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..directives import POLICY
from ..errors import PressError
from ..files import write_whole
from ..layout import Project
from ..page import read
from ..quoting import collected, pages
from ..reference import NOTATION, notation
from .decks import DECKS, Deck, Sources, deck, known_commands

__all__ = ["files", "write"]

PLACE, MATHJAX = "slides", "book/_static/mathjax/tex-mml-chtml.js"
STYLES, SCRIPTS = ("reveal/reveal.css", "slides.css"), ("reveal/reveal.js", "reveal/notes.js", "slides.js")


def _page(title: str, body: str, scripts: Iterable[str], styles: Iterable[str] = STYLES) -> str:
    links = "\n".join(f'<link rel="stylesheet" href="../_static/{path}">' for path in styles)
    last = "\n".join(f'<script src="../_static/{path}"></script>' for path in scripts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{POLICY}
<title>{html.escape(title)}</title>
<link rel="icon" href="../_static/favicon.svg">
{links}
</head>
<body>
{body}
{last}
</body>
</html>
"""


def _deck_page(made: Deck, chapter: str, macros: dict[str, Any]) -> str:
    tex = {"macros": macros, "inlineMath": [["\\(", "\\)"]], "displayMath": [["\\[", "\\]"]]}
    settings = {"tex": tex, "chtml": {"matchFontHeight": False, "scale": 1.16}, "startup": {"typeset": False},
                "options": {"enableMenu": False}}  # fmt: skip
    title = html.escape(made.title)
    first = f"""<section>
<div class="slide first">
<h2>{title}</h2>
<p>Slides for {made.minutes} minutes, to the chapter
<a href="../book/chapters/{made.name}.html">{html.escape(chapter)}</a></p>
<p class="keys">Space goes on, S opens the notes of the speaker, and ? lists all keys.
<a href="index.html">All decks</a></p>
</div>
<aside class="notes"><p>What is said and how long it takes stands here, slide by slide. All numbers and figures are
those of the run that the chapter's page describes.</p></aside>
</section>"""
    body = f"""<noscript><p>Without JavaScript the slides stand below one another, and formulas as LaTeX
source.</p></noscript>
<main class="reveal">
<h1 class="unseen">{title}</h1>
<div class="slides">
{first}
{chr(10).join(made.slides)}
</div>
</main>
<script>window.MathJax = {json.dumps(settings).replace("</", "<" + chr(92) + "/")}</script>"""
    return _page(f"Slides: {made.title}", body, ("mathjax/tex-mml-chtml.js", *SCRIPTS))


def _index_page(decks: list[Deck]) -> str:
    rows = "\n".join(
        f'<li><a href="{one.name}.html">{html.escape(one.title)}</a>: {len(one.slides) + 1} slides, '
        f'{one.minutes} minutes, to the chapter <a href="../book/chapters/{one.name}.html">{one.name}</a></li>'
        for one in decks
    )  # fmt: skip
    body = f"""<main class="decks">
<h1>Slides</h1>
<p>One deck for each chapter, made for a lesson with exercises. Figures and numbers are those of the runs behind the
<a href="../book/index.html">book</a>.</p>
<ol>
{rows}
</ol>
<p>Space goes on, S opens the notes of the speaker in a window of their own, O shows all slides, F fills the screen, and
? lists all keys. For a PDF, add <code>?print-pdf</code> to the address of a deck and print the page.</p>
</main>"""
    return _page("Slides", body, (), ("slides.css",))


def _title(path: Path) -> str:
    """The title of a chapter."""
    found = next((re.search(r"^# (.+)$", cell.source, re.M) for cell in read(path).cells), None)
    return found[1] if found else path.stem


def files(source: Path) -> dict[str, bytes]:
    """What the site gets from the decks in the tree ``source``: paths in the site, and what they hold.

    Raises:
        PressError: for a deck of no chapter, and for whatever :func:`deck` refuses.
    """
    found = sorted((source / DECKS).glob("*.md"))
    if not found:
        return {}
    order = Project(source).chapters()
    for path in found:
        if path.stem not in order:
            raise PressError(f"{DECKS}/{path.name}: a deck of no chapter; allowed: {', '.join(order)}")
    known = {path.stem: path for path in pages(source)}
    macros = notation(source / NOTATION)["macros"]
    commands = known_commands(source / MATHJAX)
    sources = Sources(known, collected(source), macros, commands)
    decks = [deck(path.stem, path.read_text(encoding="utf8"), sources)
             for path in sorted(found, key=lambda path: order.index(path.stem))]  # fmt: skip
    made: dict[str, bytes] = {f"{PLACE}/index.html": _index_page(decks).encode()}
    for one in decks:
        made[f"{PLACE}/{one.name}.html"] = _deck_page(one, _title(known[one.name]), macros).encode()
        made |= {f"{PLACE}/figures/{name}": png for name, png in one.figures.items()}
    return made


def write(made: dict[str, bytes], site: Path) -> None:
    """Put what :func:`files` has made into the site."""
    for name, content in made.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        write_whole(site / name, content)
