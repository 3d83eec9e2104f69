"""The lint of symbols: what a chapter writes in formulas is explained, and means one thing.

A symbol (:mod:`.tex`: a letter with its accent, or a name) is explained

* if a table of the notation has it, or the chapter's own list (``local``), or everybody does (``COMMON``);
* or if the chapter says what it is: in a sentence with let, where, with, for, write, ... before the formula that it
  begins; behind the noun that names it ("the radius $r$"); or by a formula that defines it (it stands left of a sign of
  equality, of a law, or of a set).

Two explanations of one symbol in the same chapter clash, if they are two rows of the tables, a row and an entry of the
chapter's list, or a row and a sentence "let $x$ be ...", "write $x$ for ...". A table with ``only`` takes the place of
a row for all chapters. Indices that run are alike; a fixed index, an accent or a mark makes another symbol.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from ..prose import without_code
from .notation import meant
from .tex import Symbol, symbols

__all__ = ["clashes", "undefined"]

# Indices and numbers of things, the names of functions, what an operator works on.
COMMON = set("i j k l m e d pi exp log sin cos tanh min max tr Var Cov E P N R KL I".split()) | {
    "bb E", "bb P", "bb R", "bb N", "cal N", "cal O", "cal L", "bf I", "delta", "Delta", "SNR", "mmse",
}  # fmt: skip
MATH = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$(?!\$)((?:\\.|[^$\\])+)\$", re.S)
SAID = re.compile(
    r"\b(?:let|where|with|for|write|writes|set|sets|call|called|denotes?|given|if|suppose|take|any|every|each|say|when|"
    r"while|being|draw|of size|of length|choose|fix)\b[^.;:!?]{0,90}$", re.I | re.S)  # fmt: skip
NOUN = re.compile(r"\b(?!(?:the|and|or|to|in|is|are|than|from|on|as|that|which|it|was|has|have|not|be|then|so|but|"
                  r"only|into|this|these|its|over|also|equals|becomes|gives|times|plus|minus)\b)"
                  r"[A-Za-zé-]{3,}\s*$")  # fmt: skip
RELATION = re.compile(r"(?<![<>!:])(?::?=)(?!=)|\\(?:sim|in|equiv|le|ge|to|longrightarrow)(?![a-zA-Z])|[<>]")
FILLING = set("the and its for with that which any some are one two all each not".split())
NAMED = re.compile(r"(?:\b[Ll]et|\b[Ww]rite|\b[Dd]enote(?: by)?|\b[Cc]all)\s*$")
MEANT = re.compile(r"\s*(?:(?:be|denote|stand for)\s+(?:an?|the)|for)\s+([^.;]*)")


def formulas(text: str) -> Iterator[tuple[str, str, str]]:
    """(what stands before it in its paragraph, TeX, what stands behind it) of the formulas in Markdown, each short."""
    text = without_code(text, options=False)
    for paragraph in re.split(r"\n[ \t]*\n(?!\$\$)", text):
        for match in MATH.finditer(paragraph):
            start, end = match.span()
            yield paragraph[max(0, start - 200) : start], match[1] or match[2], paragraph[end : end + 200]


def known(found: dict[str, Any], chapter: str) -> dict[str, list[tuple[Symbol, str]]]:
    """What the notation says of each symbol in a chapter: head -> [(symbol, meaning)]."""
    macros, rows = meant(found["macros"]), []
    for row in (row for group in found["groups"] for row in group["rows"]):
        if not row["only"] or chapter in row["only"]:
            head = re.split(r"=|\\in\b|\\sim\b", row["symbol"])[0]
            parts = [one for one in head.split(r",\;") if not re.match(r"\s*\d", one)]
            firsts = [list(symbols(one, macros))[:1] for one in parts]
            rows += [(one[0], row["meaning"], bool(row["only"])) for one in firsts if one]
    own = {symbol.form for symbol, _, only in rows if only}
    result: dict[str, list[tuple[Symbol, str]]] = {}
    for symbol, meaning, only in rows:
        if only or symbol.form not in own:
            result.setdefault(symbol.head, []).append((symbol, meaning))
    for tex, meaning in found["local"].get(chapter, {}).items():
        for symbol in list(symbols(tex, macros))[:1]:
            result.setdefault(symbol.head, []).append((symbol, meaning))
    return result


def undefined(cells: Iterable[str], found: dict[str, Any], chapter: str) -> list[tuple[int, str]]:
    """(cell, symbol) of the symbols in a chapter's Markdown that nothing explains, each where it stands first."""
    macros = meant(found["macros"])
    told = known(found, chapter).keys() | COMMON | {"mathcal L"}
    for row in (row for group in found["groups"] for row in group["rows"]):
        if not row["only"] or chapter in row["only"]:  # what a row explains on the way
            texts = [row["symbol"], *re.findall(r"\$([^$]+)\$", row["meaning"])]
            told |= {symbol.head for text in texts for symbol in symbols(text, macros)}
    first: dict[str, int] = {}
    for place, cell in enumerate(cells):
        for before, tex, _ in formulas(cell):
            told |= _explained(before, tex, macros)
            for symbol in symbols(tex, macros):
                first.setdefault(symbol.head, place)
    return [(place, head) for head, place in first.items() if head not in told]


def _explained(before: str, tex: str, macros: dict[str, str]) -> set[str]:
    """The symbols that a formula with the text before it explains."""
    parts = re.split(r",(?:\\[,;: ]|\\q?quad|\s)|\\q?quad|\\\\|&|,", tex)
    heads = [(list(symbols(part, macros))[:1], part) for part in parts]
    told = {one[0].head for one, part in heads if one and _defining(part)}
    last = re.split(r"[.;:!?]\s", before)[-1]
    if NOUN.search(last) or SAID.search(last):
        told |= {one[0].head for one, _ in heads if one}
    return told


def _defining(part: str) -> bool:
    """Whether a part of a formula says of its left side what it is, or where it lies."""
    left = RELATION.split(part)
    return len(left) > 1 and "+" not in left[0] and "-" not in re.sub(r"[_^]\{[^{}]*\}", "", left[0])


def clashes(cells: Iterable[str], found: dict[str, Any], chapter: str) -> list[tuple[int | None, str]]:
    """(cell, what clashes) where a symbol of a chapter has two meanings."""
    macros, tables, cells = meant(found["macros"]), known(found, chapter), list(cells)
    tables = {head: entries for head, entries in tables.items() if head not in COMMON}
    used = {symbol.form for cell in cells for _, tex, _ in formulas(cell) for symbol in symbols(tex, macros)}
    result: list[tuple[int | None, str]] = []
    for entries in tables.values():
        seen: dict[tuple[str, str, str], str] = {}
        for symbol, meaning in entries:
            other = seen.setdefault(symbol.form, meaning)
            if other != meaning and symbol.form in used:
                result.append((None, f"{symbol.head}: {other[:50]!r} and {meaning[:50]!r}"))
    for place, cell in enumerate(cells):
        for before, tex, behind in formulas(cell):
            named = NAMED.search(before) and MEANT.match(behind)
            all_ = list(symbols(tex, macros)) if named else []
            for symbol, meaning in tables.get(all_[0].head, []) if len(all_) == 1 else ():
                if symbol.form == all_[0].form and not _words(meaning) & _words(named[1]):
                    result.append((place, f"{symbol.head}: {meaning[:50]!r} and {named[1][:50]!r}"))
    return result


def _words(text: str) -> set[str]:
    words = re.findall(r"[a-z]{3,}", re.sub(r"\$[^$]*\$", " ", text.lower()))
    return {word.removesuffix("s") for word in words} - FILLING
