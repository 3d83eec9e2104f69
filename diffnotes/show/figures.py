"""One style for every figure, and one way to put a figure on a page.

Colours are the eight of Okabe and Ito, told apart by readers with any kind of colour vision; each prediction target
keeps its colour, line style and marker throughout the book, so no figure depends on colour alone. Backgrounds are
opaque white, which keeps figures legible on a dark page.

:func:`show` gives a figure its number on the page (``name``), its caption and its text alternative (``alt``), which
says what the data show. All three come from the run, so they can quote its numbers.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from ..measure.interval import mean_interval

__all__ = ["COLOURS", "TARGET_STYLE", "band", "bare", "images", "mean_band", "panels", "show", "trend"]

COLOURS = {
    "blue": "#0072B2", "orange": "#D55E00", "green": "#009E73", "pink": "#CC79A7",
    "sky": "#56B4E9", "amber": "#E69F00", "yellow": "#F0E442", "black": "#000000", "grey": "#6E6E6E",
}  # fmt: skip

TARGET_STYLE: dict[str, dict] = {
    "x0": {"color": COLOURS["blue"], "linestyle": "-", "marker": "o", "label": r"$x_0$"},
    "eps": {"color": COLOURS["orange"], "linestyle": "--", "marker": "s", "label": r"$\epsilon$"},
    "v": {"color": COLOURS["green"], "linestyle": "-.", "marker": "^", "label": r"$v$"},
    "score": {"color": COLOURS["pink"], "linestyle": ":", "marker": "D", "label": "score"},
    "mean": {"color": COLOURS["black"], "linestyle": (0, (5, 1, 1, 1, 1, 1)), "marker": "x", "label": r"$\mu_q$"},
}
"""Colour, line, marker and label of each prediction target, the same in every chapter."""

STYLE = {
    "figure.dpi": 100, "savefig.dpi": 160, "figure.facecolor": "white", "savefig.facecolor": "white",
    "axes.facecolor": "white", "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "#D9D9D9", "grid.linewidth": 0.6,
    "axes.spines.top": False, "axes.spines.right": False, "font.size": 10, "axes.titlesize": 10, "axes.labelsize": 10,
    "legend.frameon": False, "legend.fontsize": 9, "lines.linewidth": 1.8, "lines.markersize": 5,
    "axes.prop_cycle": matplotlib.cycler(color=[COLOURS[name] for name in
                                                ("blue", "orange", "green", "pink", "sky", "amber", "black")]),
}  # fmt: skip


def panels(
    columns: int = 1, rows: int = 1, *, width: float = 7.6, height: float = 2.9, **kwargs
) -> tuple[Figure, list]:
    """A figure in the book's style with ``rows`` x ``columns`` axes, as (figure, flat list of axes); inches."""
    matplotlib.rcParams.update(STYLE)  # for good: legends and labels are made after this function has returned
    size = (width, height * rows)
    fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **kwargs)
    return fig, list(axes.flat)


def band(axis, x, value, low, high, **style) -> None:
    """A line with its interval as a shaded band of the same colour."""
    (line,) = axis.plot(x, value, **style)
    axis.fill_between(x, low, high, color=line.get_color(), alpha=0.18, linewidth=0)


def mean_band(axis, x, values, dim: int = 1, **style) -> None:
    """:func:`band` of the mean over repetitions, on axis ``dim`` of ``values``, with its interval."""
    band(axis, x, *mean_interval(values, dim=dim), **style)


def images(
    rows: Mapping[str, Tensor], shape: tuple[int, int], columns: int = 10, height: float = 0.78
) -> Figure:
    """A row of pictures for each label: the first ``columns`` of its images, grey ones (n, h w) in [-1, 1], or coloured
    ones (n, h, w, 3) in [0, 1] of the shape (h, w, 3)."""
    fig, axes = panels(columns, len(rows), height=height)
    for i, (label, pictures) in enumerate(rows.items()):
        for axis, picture in zip(axes[i * columns : (i + 1) * columns], pictures):
            axis.imshow(picture.reshape(shape), cmap="gray", vmin=-1, vmax=1)
        for axis in axes[i * columns : (i + 1) * columns]:
            bare(axis)
        axes[i * columns].set_ylabel(label, rotation=0, ha="right", va="center")
    return fig


def bare(axis, **settings) -> None:
    """Make ``axis`` a map or an image: equal units, no ticks, grid or frame. ``settings`` go to ``axis.set``."""
    axis.set(xticks=[], yticks=[], aspect="equal", **settings)
    axis.grid(False)
    axis.spines[:].set_visible(False)


def trend(values: Iterable[float]) -> str:
    """In words, for a text alternative: "rises from a to b", "falls ...", "rises ... and falls", "stays near ...".

    Values that are not finite are left out, and the words say so.
    """
    given = [float(value) for value in (values.tolist() if hasattr(values, "tolist") else values)]
    values = [value for value in given if math.isfinite(value)]
    if not values:
        return "has no finite values"
    return _course(values) + (" where finite" if len(values) < len(given) else "")


def _course(values: list[float]) -> str:
    first, last, top, bottom = values[0], values[-1], max(values), min(values)
    span = top - bottom
    if span <= 0.05 * max(abs(top), abs(bottom), 1e-300):
        return f"stays near {sum(value / len(values) for value in values):.2g}"
    if top - max(first, last) > 0.25 * span:
        return f"rises from {first:.2g} to a peak of {top:.2g} and falls to {last:.2g}"
    if min(first, last) - bottom > 0.25 * span:
        return f"falls from {first:.2g} to {bottom:.2g} and rises to {last:.2g}"
    return f"{'rises' if last > first else 'falls'} from {first:.2g} to {last:.2g}"


def show(fig: Figure, *, name: str, caption: str, alt: str) -> None:
    """Put ``fig`` on the page as a numbered figure, then close it.

    Args:
        fig: a matplotlib figure.
        name: the label by which the text refers to it, ``fig-<chapter>-<subject>``.
        caption: one or two sentences, MyST Markdown.
        alt: the text alternative: what is plotted and what the data show.

    Raises:
        ValueError: if one of the three is empty, or ``name`` does not start with "fig-".
    """
    for argument, text in (("name", name), ("caption", caption), ("alt", alt)):
        if not text.strip():
            raise ValueError(f"{argument} = {text!r} must not be empty")
    if not name.startswith("fig-"):
        raise ValueError(f"name = {name!r} must start with 'fig-'")
    from IPython.display import display
    from PIL import Image

    raw, small = io.BytesIO(), io.BytesIO()
    fig.savefig(raw, format="png")
    width = int(fig.get_size_inches()[0] * 100)
    plt.close(fig)
    # A palette of 256 colours keeps a page's figures at a quarter of their size, without a visible difference.
    Image.open(raw).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    note = {"figure": {"name": name, "caption": " ".join(caption.split()), "alt": " ".join(alt.split())}}
    display(
        {"image/png": small.getvalue(), "text/plain": " ".join(alt.split())},
        metadata={"image/png": {"width": width}, "diffnotes": note},
        raw=True,
    )
    display({"text/markdown": f"*{note['figure']['caption']}*"}, metadata={"diffnotes": {"echo": True}}, raw=True)
