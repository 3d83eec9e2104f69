"""Cards: what a link of the book leads to, kept in the page that has the link, to be shown beside it.

A browser may not read another page from disk, so :func:`with_cards` puts what a card shows of other pages into the page
itself, each as a ``<template>``, which a reader sees only where ``book/_static/cards.js`` opens it. What stands on the
same page is taken from there. Terms, equations, figures, claims, theorems and citations have cards.
"""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

__all__ = ["add_cards", "card", "with_cards"]

LINK = re.compile(r'<a class="(?:effect )?reference internal" href="([^"#]+)#([^"]+)"')
START = re.compile(r"<(\w+)\b([^<>]*?)>")
TITLE = re.compile(r'<p class="admonition-title">(.*?)</p>', re.S)
MADE = r'<div class="made">.*?</div>'  # links to code and run, of diffnotes.press.traced
UNWANTED = re.compile(r'<a class="headerlink"[^>]*>.*?</a>|<span class="backrefs">.*?</span>', re.S)


def add_cards(site: Path) -> None:
    """Give every page below ``site`` the cards of its links to other pages."""
    pages = {path.relative_to(site).as_posix(): path.read_text(encoding="utf8") for path in site.rglob("*.html")}
    for name, text in pages.items():
        if (new := with_cards(name, text, pages.get)) != text:
            (site / name).write_text(new, encoding="utf8")


def with_cards(name: str, text: str, read: Callable[[str], str | None]) -> str:
    """The page ``text`` with a template for each place of another page that it links to and that has a card.

    Args:
        name: where the page lies in the site.
        text: its HTML.
        read: gives the HTML of a page by its place in the site, or None.
    """
    here, made = posixpath.dirname(name), {}
    for file, anchor in LINK.findall(text):
        other = posixpath.normpath(posixpath.join(here, unquote(file)))
        link = f"{file}#{anchor}"
        if link not in made and ":" not in file and other != name and (there := read(other)):
            kind, shown = card(there, unquote(html.unescape(anchor)))
            made[link] = shown and _template(link, kind, _moved(shown, posixpath.dirname(other), here))
    templates = "".join(template for template in made.values() if template)
    head, end, tail = text.rpartition("</body>")
    return f"{head}{templates}{end}{tail}" if templates and end else text


def _template(link: str, kind: str, shown: str) -> str:
    return f'<template class="card" data-for="{link}" data-kind="{kind}">{shown}</template>\n'


def card(page: str, anchor: str) -> tuple[str, str]:
    """(kind, HTML) of the card of what has the id ``anchor`` on ``page``; ("", "") if it is nothing with a card.

    >>> card('<dl><dt id="term-a">a<a class="headerlink" href="#x">#</a></dt><dd><p>One.</p></dd></dl>', "term-a")
    ('term', '<p class="card-title">a</p><p>One.</p>')
    >>> card('<h1 id="a">A</h1>', "a")
    ('', '')
    """
    found = re.search(rf'<\w+\b[^<>]*? id="{re.escape(anchor)}"[^<>]*>', page)
    if not found:
        return "", ""
    start = found.start()
    tag, attributes = START.match(page, start).groups()
    classes = set(" ".join(re.findall(r'\bclass="([^"]*)"', attributes)).split())
    whole = _element(page, start, tag)
    kind, shown = "", ""
    if tag == "dt":
        rest = re.match(r"(?:\s*<dt\b.*?</dt>)*\s*(?=<dd)", page[start + len(whole) :], re.S)
        if rest:
            term = f'<p class="card-title">{_inside(whole)}</p>'
            kind, shown = "term", term + _inside(_element(page, start + len(whole) + rest.end(), "dd"))
    elif tag == "figure":
        image, caption = (re.search(one, whole, re.S) for one in (r"<img\b[^>]*>", r"<figcaption>\s*(<p>.*?</p>)"))
        kind, shown = ("figure", image[0] + caption[1]) if image and caption else ("", "")
    elif tag == "div" and "math" in classes:
        kind, shown = "equation", whole
    elif tag == "div" and "verdict" in classes:
        told = re.match(rf"\s*(?:{MADE})?\s*(<p>.*?</p>)", whole[TITLE.search(whole).end() :], re.S)
        kind, shown = "claim", _titled(whole) + (told[1] if told else "")
    elif tag == "div" and "citation" in classes:
        kind, shown = "citation", "".join(re.findall(r"<p>.*?</p>", whole, re.S))
    elif tag == "div" and "proof" in classes:
        content = re.search(r"<section\b[^>]*>", whole)
        kind = "theorem" if content else ""
        shown = _titled(whole) + _inside(_element(whole, content.start(), "section")) if content else ""
    return kind, _clean(shown)


def _titled(box: str) -> str:
    return f'<p class="card-title">{TITLE.search(box)[1]}</p>'


def _element(text: str, start: int, tag: str) -> str:
    """The element of ``text`` that begins at ``start``, with its end."""
    depth = 0
    for mark in re.compile(rf"<(/?){tag}\b").finditer(text, start):
        depth += -1 if mark[1] else 1
        if not depth:
            return text[start : text.index(">", mark.start()) + 1]
    return text[start:]


def _inside(element: str) -> str:
    return re.sub(r"^<[^>]*>|</\w+>\s*$", "", element).strip()


def _clean(shown: str) -> str:
    """HTML without ids, and without links: a card is read, and its link followed."""
    shown = UNWANTED.sub("", shown)
    shown = re.sub(r"<a\b[^>]*>", "<span>", shown).replace("</a>", "</span>")
    return re.sub(r'(<[a-z][^<>]*?) id="[^"]*"', r"\1", shown)


def _moved(shown: str, there: str, here: str) -> str:
    """HTML with the addresses of its images as they are from the folder ``here`` instead of ``there``."""

    def address(match: re.Match[str]) -> str:
        where = match[2] if ":" in match[2] else posixpath.relpath(posixpath.join(there, match[2]), here or ".")
        return match[1] + where

    return re.sub(r'(<img\b[^<>]*? src=")([^"]*)', address, shown)
