"""Macros, symbols and terms of the book, as ``book/notation.yml`` has them.

| key | what it holds |
|---|---|
| ``macros`` | name -> TeX, or [TeX, number of arguments]: the macros of MathJax in the whole book |
| ``groups`` | tables of symbols: ``title``, ``rows`` and, where they hold in some chapters only, ``only`` |
| a row | ``symbol`` (TeX), ``meaning``, ``code`` (the variable), ``where`` (what computes it), ``only`` |
| ``terms`` | the glossary: term -> Markdown |
| ``search`` | ``words`` of readers and the ``term``, label or page (``at``) they mean; the first is shown first |
| ``local`` | chapter -> {symbol -> meaning}: what one chapter alone writes, and no table has |
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..errors import PressError
from ..files import read_yaml
from ..markdown import table

__all__ = ["NOTATION", "glossary_markdown", "meant", "notation", "notation_markdown", "symbol_id"]

NOTATION = "book/notation.yml"
KEYS = {"macros", "groups", "terms", "search", "local"}
OF_ROW = {"symbol", "meaning", "code", "where", "only"}


def notation(path: str | Path) -> dict[str, Any]:
    """The notation file, with every key there and every row whole.

    Raises:
        PressError: naming the entry that lacks something, or holds something that is not allowed.
    """
    found = read_yaml(Path(path))
    if not isinstance(found, dict) or found.keys() - KEYS:
        raise _fault("its keys are not what they should be", ", ".join(sorted(KEYS)))
    found = {"macros": {}, "groups": [], "terms": {}, "search": [], "local": {}, **found}
    for group in found["groups"]:
        if not isinstance(group, dict) or group.keys() - {"title", "only", "rows"} or not group.get("title"):
            raise _fault(f"group {group!r:.60}", "title, rows and perhaps only")
        for row in group.get("rows", []):
            if not isinstance(row, dict) or row.keys() - OF_ROW or not row.get("symbol") or not row.get("meaning"):
                raise _fault(f"row {row!r:.60}", f"symbol, meaning and perhaps {', '.join(sorted(OF_ROW))}")
            row.setdefault("code", "")
            row.setdefault("only", group.get("only", []))
            row.setdefault("where", [])
            if not all(isinstance(row[key], list) for key in ("only", "where")):
                raise _fault(f"row {row['symbol']}: only and where", "lists of names")
    for term, text in found["terms"].items():
        if not isinstance(text, str) or not text.strip() or "```" in text:
            raise _fault(f"term {term!r}", "a text in Markdown, without a fence")
    for entry in found["search"]:
        goal = entry.keys() & {"term", "at"} if isinstance(entry, dict) else ()
        if len(goal) != 1 or not entry.get("words") or entry.get("term", term) not in found["terms"]:
            raise _fault(f"search {entry!r:.60}", "words, and a term of the glossary, a label or a page (at)")
    return found


def _fault(what: str, allowed: str) -> PressError:
    return PressError(f"{NOTATION}: {what}; allowed: {allowed}")


def meant(macros: dict[str, Any]) -> dict[str, str]:
    r"""The macros that stand for a symbol or a name, and take nothing: name -> TeX.

    >>> meant({"eps": r"\epsilon", "norm": [r"\|#1\|", 1]})
    {'eps': '\\epsilon'}
    """
    return {name: tex for name, tex in macros.items() if isinstance(tex, str)}


def symbol_id(symbol: str) -> str:
    r"""The anchor of a symbol on the page on notation.

    >>> symbol_id(r"\gamma^{(1)}_t,\; \gamma^{(2)}_t"), symbol_id(r"\hat C(\varepsilon)")
    ('symbol-gamma-1-t-gamma-2-t', 'symbol-hat-c-varepsilon')
    """
    plain = re.sub(r"\\[,;:! ]", " ", symbol.split("=")[0])
    return "symbol-" + "-".join(re.findall(r"[A-Za-z]+|\d+", plain)).lower()


def notation_markdown(symbols: dict[str, Any]) -> str:
    """One Markdown table a group: symbols, meanings, how the code writes them, and what computes them."""
    lines: list[str] = []
    for group in symbols["groups"]:
        rows = [(f"[${row['symbol']}$]{{#{symbol_id(row['symbol'])}}}", row["meaning"],
                 f"`{row['code']}`" if row["code"] else "", ", ".join(f"`{name}`" for name in row["where"]))
                for row in group["rows"]]  # fmt: skip
        lines += ["", f"## {group['title']}", ""]
        if chapters := group.get("only"):
            places = " and ".join(f"{{ref}}`chapter-{name}`" for name in chapters)
            lines += [f"In the chapter {places}.", ""]
        lines += [table(("Symbol", "Meaning", "In the code", "Computed by"), rows)]
    return "\n".join([*lines, ""])


def glossary_markdown(terms: dict[str, str]) -> str:
    """The terms as a glossary that the role ``{term}`` leads to.

    >>> print(glossary_markdown({"score": "A gradient."}))
    ```{glossary}
    score
      A gradient.
    ```
    """
    entries = [f"{term}\n  " + text.strip().replace("\n", "\n  ") for term, text in terms.items()]
    return "\n".join(["```{glossary}", "\n\n".join(entries), "```"])
