"""Tables in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["table"]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""A Markdown table. A stroke in a cell ends no cell; one that is escaped already stays as it is.

    >>> print(table(["a", ""], [["1 | 2", r"\|x\|"]]))
    | a |  |
    |---|---|
    | 1 \| 2 | \|x\| |
    """
    lines = [" | ".join(re.sub(r"(?<!\\)[|]", r"\\|", cell) for cell in row) for row in (head, *rows)]
    first, *rest = [f"| {line} |" for line in lines]
    return "\n".join([first, "|---" * len(head) + "|", *rest])
