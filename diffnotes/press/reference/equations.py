"""The labelled equations of the chapters: which function computes one, and which test checks it.

The equations are read from the chapters, the rest from ``book/equations.yml``: label -> ``code``, names of the package,
and ``test``, each file::function; or a sentence ``why`` for an equation that nothing computes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import PressError
from ..files import read_yaml
from ..page import shared

__all__ = ["EQUATIONS", "equations", "equations_markdown", "labelled"]

EQUATIONS = "book/equations.yml"
LABELLED = re.compile(r"\$\$((?:[^$]|\$(?!\$))*+)\$\$[ \t]*\((eq-[\w-]+)\)")
KEYS = {"code": list, "test": list, "why": str}


def equations(path: str | Path) -> dict[str, dict[str, Any]]:
    """What computes and checks each equation, by label.

    Raises:
        PressError: naming the label whose entry has other keys, or neither names what computes it nor says why nothing.
    """
    found = read_yaml(Path(path)) or {}
    for label, entry in found.items():
        good = isinstance(entry, dict) and all(isinstance(entry[key], KEYS.get(key, ())) for key in entry)
        code, why = (entry.get("code"), entry.get("why")) if good else (None, None)
        if bool(code) == bool(why) or (code and not entry.get("test")):
            raise PressError(f"{EQUATIONS}: {label}; allowed: lists code and test, or a text why with or without tests")
    return {label: {"code": [], "test": [], "why": "", **entry} for label, entry in found.items()}


def labelled(text: str) -> Iterator[tuple[str, str]]:
    r"""(label, TeX) of the labelled equations in Markdown.

    >>> list(labelled("as\n\n$$\na = b ,\n$$ (eq-x-y)\n\nand $$c$$"))
    [('eq-x-y', 'a = b')]
    """
    for match in LABELLED.finditer(text):
        yield match[2], " ".join(match[1].split()).rstrip(" .,;")


def equations_markdown(pages: Iterable[Path], known: dict[str, dict[str, Any]]) -> str:
    """A list a chapter: each labelled equation of ``pages`` with its number, formula, functions and tests."""
    lines: list[str] = []
    for page in pages:
        cells = [cell.source for cell in shared(page).cells if cell.cell_type == "markdown"]
        found = [pair for cell in cells for pair in labelled(cell)]
        if found:
            title = next(line for cell in cells for line in cell.splitlines() if line.startswith("# "))
            lines += [f"#{title}", ""]
        for label, formula in found:
            entry = known.get(label, {"code": [], "test": [], "why": "It is not listed yet."})
            code, tests = (", ".join(f"`{name}`" for name in entry[key]) for key in ("code", "test"))
            pieces = formula.replace(r"\qquad", "\\quad$ $\\displaystyle ")  # a line may end between two
            lines += [f"{{eq}}`{label}` $\\displaystyle {pieces}$"]
            lines += [f": Computed by {code}." if code else f": {entry['why']}"]
            lines += [*([f": Checked by {tests}."] if tests else []), ""]
    return "\n".join(lines)
