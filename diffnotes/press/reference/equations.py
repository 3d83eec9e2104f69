"""The labelled equations of the chapters: which function computes one, and which test checks it.

The equations are read from the notebooks, the rest from ``book/equations.yml``: label -> ``code`` (names of the package)
and ``test`` (file::function), or ``why`` nothing computes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import PressError
from ..files import read_yaml
from ..markdown import table
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
        if not good or bool(entry.get("code")) == bool(entry.get("why")) or (entry.get("code") and not entry.get("test")):
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
    """A table a chapter: each labelled equation of ``pages`` with its number, formula, function and tests."""
    lines: list[str] = []
    for page in pages:
        cells = [cell.source for cell in shared(page).cells if cell.cell_type == "markdown"]
        rows = []
        for label, formula in (pair for cell in cells for pair in labelled(cell)):
            entry = known.get(label, {"code": [], "test": [], "why": "not listed yet"})
            code = ", ".join(f"`{name}`" for name in entry["code"]) or f"nothing: {entry['why']}"
            shown = re.sub(r"(?<!\\)\\\|", r"\\Vert ", formula).replace("|", r"\vert ")  # a stroke would end the cell
            tests = "<br>".join(f"`{test}`" for test in entry["test"])
            rows.append((f"{{eq}}`{label}` $\\displaystyle {shown}$", code, tests))
        if rows:
            title = next(line for cell in cells for line in cell.splitlines() if line.startswith("# "))[2:]
            lines += ["", f"## {title}", "", table(("Equation", "Computed by", "Checked by"), rows)]
    return "\n".join([*lines, ""])
