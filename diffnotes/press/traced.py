"""Links beside each figure and each verdict: to the code that made it, on the same page, and to the run, on "Runs".

They stand in the finished document, for the site alone: quiet, at the end of a caption or of a verdict's title, with
words for screen readers that say whose code and run they lead to. ``book/_static/diffnotes.js`` opens the fold of the
code that a link leads to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["CODE", "trace"]

CODE = "code-"  # the anchor of a cell is this and its number among those of the page that show code


def trace(document: Any, run: str) -> None:
    """Give the cells of ``document`` anchors, and its figures and verdicts links to their cells and to ``run``.

    Args:
        document: a chapter's page as docutils has it; changed in place.
        run: the address of the run, or "" where none was recorded.
    """
    from docutils import nodes

    number = 0
    for cell in _containers(document, "cell"):
        if next(_containers(cell, "cell_input"), None):  # else an output of the cell before, see directives.separated
            number += 1
            cell["ids"].append(f"{CODE}{number}")
        if not number:
            continue
        for figure in list(cell.findall(nodes.figure)):
            figure += nodes.legend("", _links(number, run, "this figure"))
        for box in list(cell.findall(nodes.admonition)):
            if "verdict" in box["classes"]:
                claim = box[0].astext().split()[0]
                box.insert(1, _links(number, run, f"the verdict on {claim}"))


def _containers(node: Any, name: str) -> Iterator[Any]:
    from docutils import nodes

    return (one for one in node.findall(nodes.container) if name in one["classes"])


def _links(number: int, run: str, whose: str) -> Any:
    """The links as a node. No word of them stands alone for a screen reader, and none is long for the eye."""
    from docutils import nodes

    told = [(f"#{CODE}{number}", "Code", "of"), *([(run, "Run", "behind")] if run else [])]
    links = "".join(f'<a href="{address}">{word}<span class="visually-hidden"> {joint} {whose}</span></a>'
                    for address, word, joint in told)  # fmt: skip
    return nodes.raw("", f'<div class="made">{links}</div>', format="html")
