"""The cover of the EPUB: the title above the points of a chessboard, the data of the first figure."""

from __future__ import annotations

import io
import textwrap

__all__ = ["cover"]

SIZE = (6.0, 9.0)  # inches, at 160 dots
POINTS = 1600


def cover(title: str, below: str) -> bytes:
    """A PNG with ``title`` and, at the foot, ``below``: the same bytes for the same words."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(SIZE, dpi=160, facecolor="#12243f")
    FigureCanvasAgg(figure)
    words = textwrap.fill(title, 20)
    figure.text(0.1, 0.93, words, color="white", fontsize=30, va="top", linespacing=1.3, family="DejaVu Sans")
    figure.text(0.1, 0.06, below, color="#c9d6ea", fontsize=15, family="DejaVu Sans")
    random = np.random.default_rng(0)
    column = random.integers(0, 4, POINTS)
    row = 2 * random.integers(0, 2, POINTS) + column % 2
    axes = figure.add_axes((0.1, 0.12, 0.8, 0.8 * SIZE[0] / SIZE[1]), frameon=False, xticks=[], yticks=[])
    axes.scatter(column + random.random(POINTS), row + random.random(POINTS), s=5, color="#7fb2ff", linewidth=0)
    made = io.BytesIO()
    figure.savefig(made, format="png", facecolor=figure.get_facecolor(), metadata={"Software": None})
    return made.getvalue()
