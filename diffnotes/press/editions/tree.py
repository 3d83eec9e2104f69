"""What both printed editions say of the book and ask of a document: what stands above a node, and how wide it is."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx import addnodes

__all__ = ["ABOUT", "PICTURE", "above", "signs_of", "text_of", "trees"]

ABOUT = "On the stability of diffusion models: statements, derivations, measurements."
PICTURE = "x" * 15  # as wide as the picture of a verdict
WIDTHS = {  # of what is no single sign in a formula
    **dict.fromkeys(r"{ } ^ _ \, \; \: \! \mathrm \mathcal \mathbb \mathbf \operatorname \displaystyle".split(), 0),
    **dict.fromkeys(r"\hat \bar \tilde \left \right \bigl \bigr".split(), 0),
    **dict.fromkeys(r"= < > ~ + - \sim \in \mid \le \to \approx \log \exp \min \max".split(), 3),
}


def above(node: nodes.Node) -> Any:
    """What ``node`` lies in, the nearest first."""
    while node.parent is not None:
        node = node.parent
        yield node


def signs_of(tex: str) -> int:
    r"""About how many signs wide a formula is; it is not broken.

    >>> signs_of(r"\E\, w(t) \norm{y - \hat y}^2"), signs_of(r"\mathrm{SNR}(t) = \alpha_t^2")
    (12, 12)
    """
    return sum(WIDTHS.get(token, 1) for token in re.findall(r"\\[A-Za-z]+|\\.|\S", tex))


def text_of(node: nodes.Node) -> str:
    """What a cell holds, with a word as long as each formula and picture in its place."""
    if isinstance(node, nodes.math):
        return "x" * signs_of(node.astext())
    if isinstance(node, nodes.raw):
        return PICTURE
    return node.astext() if not node.children or isinstance(node, nodes.Text) else "".join(map(text_of, node.children))


def trees(app: Any, root: str) -> list[addnodes.toctree]:
    """The tables of contents of the first page, one for each part."""
    return [tree for tree in app.env.get_doctree(root).findall(addnodes.toctree) if tree["entries"]]
