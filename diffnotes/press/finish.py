"""The last touch on the pages of the site: what the builder leaves undone for screen readers, and for slow machines.

* Roles and names: a list of references is a list, an empty corner of a table is no heading, the button that says
  "Search" is called so, and all of a page lies in a landmark.
* Pictures say their size, so that the text below them stays where it is when they come in.
* Long names in code may be broken at their joints, by a tag that nobody copies.
* Icons are drawn in the page. The builder's theme brings them as a script of 1.5 MB that every page would run; a page
  needs about ten of its two thousand icons.
"""

from __future__ import annotations

import re
import struct
from functools import cache
from pathlib import Path

from .errors import PressError

__all__ = ["JOINT", "accessible", "breakable", "drawn", "icon", "sized"]

ROLES = (
    # A reference is an item of its list; the role that the builder gives it is deprecated, and allowed in no list.
    (re.compile(r'(<div class="citation"[^>]*) role="doc-biblioentry"'), r'\1 role="listitem"'),
    # Empty corners of tables.
    (re.compile(r"<th(?=[\s>])([^>]*)>(\s*(?:<p>\s*</p>)?\s*)</th>"), r"<td\1>\2</td>"),
    # A name that says less than the words on the button, which are "Search Ctrl+K".
    (re.compile(r'(<button class="btn search-button-field[^>]*?) aria-label="Search"'), r"\1"),
    # The side bar and the search have no landmark; the names tell them from the contents of the book and of the page.
    (re.compile(r'<div (class="bd-sidebar-primary[^"]*")'), r'<div role="navigation" aria-label="Book" \1'),
    (re.compile(r'<form class="bd-search'), r'<form role="search" class="bd-search'),
    (re.compile(r'<nav class="bd-toc-nav page-toc"'), r'<nav aria-label="On this page" class="bd-toc-nav page-toc"'),
    (re.compile(r'title="light/dark" aria-label="light/dark"'), 'title="Light or dark" aria-label="Light or dark"'),
)  # fmt: skip
ICON = re.compile(r'<(i|span) class="([^"]*\bfa-[a-z][^"]*)"([^>]*)></\1>')
SCRIPT = re.compile(r'\s*<script src="([^"?]*/fontawesome/[^"?]*\.js)[^"]*"[^>]*></script>')
FAMILIES = {"fab": 0, "fa-brands": 0, "far": 1, "fa-regular": 1, "fas": 2, "fa-solid": 2}
SIZES = {"fa-lg", "fa-sm", "fa-xs", "fa-xl", "fa-fw"}
JOINT = re.compile(r"(?<=[_/.,:(])(?=\w)")
NAME = re.compile(r'(?<=<span class="pre">)[^<]{12,}(?=</span>)')
PICTURE = re.compile(r'<img (?![^>]*\bheight=)[^>]*?src="([^":?#]+\.png)"')


def accessible(text: str) -> str:
    """The HTML ``text`` with roles and names that fit what is shown.

    >>> accessible('<tr><th class="head"><p></p></th><th><p>mean</p></th></tr>')
    '<tr><td class="head"><p></p></td><th><p>mean</p></th></tr>'
    """
    for pattern, mended in ROLES:
        text = pattern.sub(mended, text)
    return text


def breakable(text: str) -> str:
    """The HTML ``text`` with places in its long names of code where a line may end.

    >>> breakable('<code><span class="pre">chain.alpha_bar[t]</span></code>')
    '<code><span class="pre">chain.<wbr>alpha_<wbr>bar[t]</span></code>'
    """
    return NAME.sub(lambda name: JOINT.sub("<wbr>", name[0]), text)


def sized(text: str, folder: Path) -> str:
    """The HTML ``text`` of a page in ``folder`` with width and height of each PNG it shows, in pixels."""

    def one(match: re.Match[str]) -> str:
        found = _size(folder / match[1])
        return f'<img width="{found[0]}" height="{found[1]}" {match[0][5:]}' if found else match[0]

    return PICTURE.sub(one, text)


def _size(path: Path) -> tuple[int, int] | None:
    """Width and height of a PNG; None for what is none."""
    try:
        with path.open("rb") as file:
            head = file.read(24)
    except OSError:
        return None
    return struct.unpack(">II", head[16:]) if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) == 24 else None


@cache
def _icons(path: Path) -> dict[str, tuple[tuple[str, str, str], ...]]:
    """Name -> (width, height, path) of the icons in Font Awesome's script, families in the order of the script."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for match in re.finditer(r'[{,]"?([a-z0-9-]+)"?:\[(\d+),(\d+),\[[^\]]*\],"[0-9a-f]+","([^"]+)"\]',
                             path.read_text(encoding="utf8")):  # fmt: skip
        found.setdefault(match[1], []).append(match.group(2, 3, 4))
    return {name: tuple(icons) for name, icons in found.items()}


def icon(classes: str, script: Path) -> str:
    """The icon with the ``classes`` of Font Awesome as SVG, from its ``script``.

    Raises:
        PressError: if the script has no such icon.
    """
    names = classes.split()
    families = [FAMILIES[name] for name in names if name in FAMILIES]
    name = next((one[3:] for one in names if one.startswith("fa-") and one not in {*FAMILIES, *SIZES}), "")
    known = _icons(script).get(name, ())
    if not known or len(families) != 1:
        raise PressError(f"an icon that is not in {script.name}: {classes!r}; take another, or mend the list of sizes")
    width, height, path = known[-1 if families[0] == 2 else 0]  # the solid ones are the last of a name
    return (f'<svg class="svg-inline--fa {classes}" aria-hidden="true" viewBox="0 0 {width} {height}">'
            f'<path fill="currentColor" d="{path}"/></svg>')  # fmt: skip


def drawn(text: str, folder: Path) -> str:
    """The HTML ``text`` of a page in ``folder`` with its icons in place of the script that would draw them."""
    if not (link := SCRIPT.search(text)):
        return text
    script = (folder / link[1]).resolve()

    def one(match: re.Match[str]) -> str:
        return icon(match[2], script).replace(' aria-hidden="true"', f' aria-hidden="true"{match[3]}', 1)

    return ICON.sub(one, SCRIPT.sub("", text))
