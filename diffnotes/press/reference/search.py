"""What the search knows beside the words of the pages: terms, symbols, claims, and how readers may call them.

Sphinx cuts queries into words, drops short ones and Greek letters, and has no synonyms. Here each entry has names and a
place; ``book/_static/search.js`` puts the entries whose name is what the reader wrote before the pages found by Sphinx.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from .notation import meant, symbol_id
from .tex import plain, symbols

__all__ = ["entries"]

Place = tuple[str, str, str]  # document, anchor, title


def entries(found: dict[str, Any], claims: Iterable[dict[str, Any]], labels: Mapping[str, Place]) -> list[list[Any]]:
    """[names, title, kind, document, anchor] of everything that can be looked up, the more telling kinds first.

    Args:
        found: the notation file.
        claims: the rows of the ledger.
        labels: label -> where it leads, of the whole book; what has no place there is left out.
    """
    rows: list[list[Any]] = []
    macros = meant(found["macros"])
    for claim in claims:
        document, anchor, _ = labels.get(f"ledger-{claim['id'].lower()}", ("book/claims", "", ""))
        rows.append([[claim["id"]], f"{claim['id']}: {claim['statement']}", "claim", document, anchor])
    for term in found["terms"]:
        words = [word for entry in found["search"] if entry.get("term") == term for word in entry["words"]]
        rows.append([[term, *words], term, "glossary", "book/glossary", _term_id(term)])
    for entry in found["search"]:
        if entry.get("at") in labels:
            document, anchor, title = labels[entry["at"]]
            rows.append([entry["words"], title, "section", document, anchor])
    for row in (row for group in found["groups"] for row in group["rows"]):
        head = re.split(r"=|\\in\b|\\sim\b", row["symbol"])[0]
        said = [name for one in head.split(r",\;") for name in _said(one, macros)]
        names = list(dict.fromkeys([*said, *(name.split(".")[-1] for name in row["where"])]))
        meaning = re.sub(r"\$([^$]*)\$", lambda match: plain(match[1], macros), row["meaning"])
        names.append(re.split(r"[,;:.]", meaning)[0])
        title = f"{plain(head, macros)}: {meaning.replace('*', '')}"
        rows.append([names, title, "notation", "book/notation", symbol_id(row["symbol"])])
    return [row for row in rows if row[0]]


def _term_id(term: str) -> str:
    """The anchor that Sphinx gives to a term of the glossary, in which letters have lost their accents.

    >>> _term_id("Fréchet distance")
    'term-Frechet-distance'
    """
    return "term-" + re.sub(r"\s+", "-", unicodedata.normalize("NFKD", term).encode("ascii", "ignore").decode())


def _said(tex: str, macros: dict[str, str]) -> list[str]:
    """How the first symbol of a formula may be typed; that of an operator is its macro's name."""
    macro = re.match(r"\\([A-Za-z]+)", tex.strip())
    if macro and macro[1] in macros and not list(symbols(macros[macro[1]])):
        return [macro[1]]
    return next((symbol.spoken() for symbol in symbols(tex, macros)), [])
