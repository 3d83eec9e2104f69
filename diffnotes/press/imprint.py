"""The imprint in the footer of each page: the edition of the book, and how the page is cited."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from .processes import environment

__all__ = ["BOOK", "Edition", "bibtex", "edition", "footer", "plain"]

BOOK = "diffnotes: an executable book on the stability of diffusion models"  # as in CITATION.cff
SOURCES = ("_config.yml", "_toc.yml", "book", "notebooks", "diffnotes")
SPECIAL = {"\\": r"\textbackslash{}", **{sign: "\\" + sign for sign in "&%#_{}"}}


class Edition(NamedTuple):
    """Version of the package; commit that last changed what the book is made of, its date, and if there is more.

    ``commit`` is short, as it is shown; ``revision`` is all of it.
    """

    version: str
    commit: str = ""
    date: str = ""
    changed: bool = False
    revision: str = ""


def edition(root: Path) -> Edition:
    """The edition of the book whose files lie at ``root``.

    The commit is the last one that changed a source of the book, so that the same sources give the same site; where
    they have been changed since, it says so.
    """

    def git(*words: str) -> str:
        command = ["git", "-c", "safe.directory=*", "-C", str(root), *words, "--", *SOURCES]
        return subprocess.run(command, capture_output=True, text=True, env=environment()).stdout.strip()

    version = metadata.version("diffnotes")
    if not shutil.which("git") or not (root / ".git").exists() or not (last := git("log", "-1", "--format=%h %cs %H")):
        return Edition(version)
    commit, date, revision = last.split()
    return Edition(version, commit, date, bool(git("status", "--porcelain", "-uno")), revision)


def _title(text: str) -> str:
    """A page's title as plain text and without its number, from HTML."""
    text = re.sub(r'<span class="section-number">.*?</span>', "", text)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", text)).split())


def _revision(book: Edition) -> str:
    changed = " with changes" if book.changed else ""
    return f", revision {book.commit} of {book.date}{changed}" if book.commit else ""


def plain(title: str, author: str, address: str, book: Edition, year: str) -> str:
    """How a page is cited in a list of references, as text.

    >>> plain("Collapse", "Somebody", "https://example.org", Edition("1.0", "abc", "2026-01-02"), "2026")[-60:]
    'version 1.0, revision abc of 2026-01-02. https://example.org'
    """
    end = "" if title.endswith(("?", "!", ".")) else "."
    return f"{author} ({year}). {title}{end} In: {BOOK}, version {book.version}{_revision(book)}. {address}".rstrip()


def bibtex(key: str, title: str, author: str, address: str, book: Edition, year: str) -> str:
    """How a page is cited in BibTeX; signs that TeX would read are escaped, and formulas stand between dollars."""

    def tex(text: str) -> str:
        parts = re.split(r"\\\((.*?)\\\)", text)
        words = ["".join(SPECIAL.get(sign, sign) for sign in part) for part in parts[::2]]
        return "".join(word + f"${formula}$" for word, formula in zip(words, parts[1::2])) + words[-1]

    fields = {
        "author": f"{{{tex(author)}}}",
        "title": f"{{{tex(title)}}}",
        "year": year,
        "howpublished": f"In: {tex(BOOK)}",
        "note": tex(f"Version {book.version}{_revision(book)}"),
        "url": address,
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@misc{{{key},", *lines, "}"])


def footer(page: str, title: str, config: dict[str, str], book: Edition) -> str:
    """The imprint of a page as HTML.

    Args:
        page: its name, such as "book/chapters/targets".
        title: its title, HTML.
        config: author, copyright and address of the book.
        book: its edition.
    """
    title, year = _title(title), (book.date or config["copyright"])[:4]
    key = "-".join(["diffnotes", *page.removeprefix("book/").removeprefix("chapters/").split("/")])
    who, address = config["author"], config["address"]
    shown = [("As text", plain(title, who, address, book, year)),
             ("BibTeX", bibtex(key, title, who, address, book, year))]  # fmt: skip
    blocks = "".join(f'<p>{name}</p><div class="highlight"><pre>{html.escape(text)}</pre></div>'
                     for name, text in shown)  # fmt: skip
    number = f"diffnotes {book.version}{_revision(book)}."
    return (f'<p class="edition">{html.escape(number)}</p><details class="cite"><summary>Cite this page</summary>'
            f'<div id="cite">{blocks}</div></details>')  # fmt: skip
