r"""Explorers: one function of a few settings, moved by hand in a kernel, and pre-computed on a page.

:func:`explorer` takes ``compute(**settings) -> Frame``. In a notebook that somebody watches it shows widgets that call
``compute``; on a page it shows the figure of the first setting, numbered and captioned as every other, and beneath it
the frames of all settings as data, which `player.js` turns into sliders and a drawing in place of that figure. A
:class:`Frame` is rounded when it is made, to what can be seen, so both show the same curves and the same numbers.
Without JavaScript the figure remains, and all numbers in a table.
"""

from __future__ import annotations

import base64
import html
import io
import itertools
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

__all__ = ["Frame", "Panel", "Sheet", "draw", "explorer", "player"]

MOST_FRAMES, MOST_CHARACTERS = 400, 400_000
Value = str | int | float
Controls = Mapping[str, Sequence[Value]]
Key = tuple[str, int, int]


# --- frames -----------------------------------------------------------------------------------------------------------


def _rounded(values: Any, digits: int, name: str) -> list[float]:
    values = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=float)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"{name} has shape {values.shape}; allowed: a vector of finite numbers")
    return [float(f"{value:.{digits}g}") for value in values]


@dataclass(frozen=True)
class Panel:
    """One pair of axes: ``curves``, name -> (x, y), kept with five digits; axis labels in plain words; limits.

    Raises:
        ValueError: if there is no curve, or x and y are not finite vectors of one length.
    """

    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    x_label: str
    y_label: str
    x_limits: tuple[float, float] | None = None
    y_limits: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        kept = {name: tuple(_rounded(part, 5, f"curve {name!r}") for part in xy) for name, xy in self.curves.items()}
        if not kept or any(len(x) != len(y) or not x for x, y in kept.values()):
            lengths = {name: [len(part) for part in xy] for name, xy in kept.items()}
            raise ValueError(f"curves have lengths {lengths}; allowed: at least one, x and y of one length")
        object.__setattr__(self, "curves", kept)

    @property
    def words(self) -> str:
        """What the curves do, for readers who do not see them."""
        from .figures import trend

        said = ", ".join(f"{name} {trend(y)}" for name, (_, y) in self.curves.items())
        return f"{self.y_label} against {self.x_label}: {said}"


@dataclass(frozen=True, eq=False)
class Sheet:
    """Small images in the place of a panel: grey ones (n, h, w) in [-1, 1], or coloured ones (n, h, w, 3) in [0, 1], in
    rows of ``columns``, under a label in plain words. Kept as whole numbers from 0 to 255.

    Raises:
        ValueError: for no images, another shape, or numbers outside of the range.
    """

    images: Tensor
    x_label: str
    columns: int = 4
    curves: ClassVar[Mapping[str, Any]] = {}
    y_label: ClassVar[str] = ""

    def __post_init__(self) -> None:
        x = np.asarray(self.images.detach().cpu() if isinstance(self.images, Tensor) else self.images, dtype=float)
        grey, coloured = x.ndim == 3, x.ndim == 4 and x.shape[-1] == 3
        if not (grey or coloured) or not x.size or self.columns < 1:
            raise ValueError(f"images has shape {x.shape}; allowed: (n, h, w) or (n, h, w, 3), n >= 1")
        x = (x + 1) / 2 if grey else x
        if not (x >= 0).all() or not (x <= 1).all():
            raise ValueError("images has numbers outside of their range; allowed: [-1, 1] if grey, [0, 1] if coloured")
        object.__setattr__(self, "images", np.rint(255 * x).astype(np.uint8))

    @property
    def words(self) -> str:
        """What is shown, for readers who do not see it."""
        return f"{len(self.images)} {self.x_label}"

    @property
    def whole(self) -> np.ndarray:
        """All images as one, with a white line between them: (h, w) or (h, w, 3), uint8."""
        n, h, w, *colours = self.images.shape
        columns = min(self.columns, n)
        whole = np.full((-(-n // columns) * (h + 1) - 1, columns * (w + 1) - 1, *colours), 255, dtype=np.uint8)
        for k, image in enumerate(self.images):
            top, left = k // columns * (h + 1), k % columns * (w + 1)
            whole[top : top + h, left : left + w] = image
        return whole

    @property
    def png(self) -> str:
        """The address of :attr:`whole` that has the picture in itself."""
        from PIL import Image

        Image.fromarray(self.whole).save(file := io.BytesIO(), format="png", optimize=True)
        return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


@dataclass(frozen=True)
class Frame:
    """What one setting gives: panels, and numbers, name -> value, kept with four digits.

    >>> Frame([Panel({"line": ([0, 1], [0, 2])}, "x", "y")], {"slope": 2.00004}).numbers
    {'slope': 2.0}

    Raises:
        ValueError: for no panel, or a number that is not finite.
    """

    panels: Sequence[Panel | Sheet]
    numbers: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.panels:
            raise ValueError("panels is empty; allowed: at least one")
        values = _rounded([float(value) for value in self.numbers.values()], 4, f"numbers = {dict(self.numbers)}")
        object.__setattr__(self, "numbers", dict(zip(self.numbers, values)))

    @property
    def names(self) -> list[str]:
        """The curves of all panels, each once: their order gives the colours."""
        return list(dict.fromkeys(name for panel in self.panels for name in panel.curves))

    @property
    def words(self) -> str:
        """What the curves do, for readers who do not see them."""
        return "; ".join(panel.words for panel in self.panels) + "."


def _text(value: Value) -> str:
    """A setting or a number as it is read: 0.00012, not 1.2e-04."""
    return value if isinstance(value, str) else np.format_float_positional(value, trim="-")


def _words(name: str) -> str:
    return name.replace("_", " ")


STYLES = (("black", "-", 2.4), ("orange", "--", 1.8), ("blue", "-.", 1.8), ("green", ":", 1.8))  # as in player.css


def draw(frame: Frame) -> Any:
    """The frame as a matplotlib figure in the book's style."""
    from .figures import COLOURS, bare, panels

    fig, axes = panels(len(frame.panels), height=3.0)
    named: set[str] = set()
    for axis, panel in zip(axes, frame.panels):
        if isinstance(panel, Sheet):
            axis.imshow(panel.whole, cmap="gray", vmin=0, vmax=255)
            bare(axis, xlabel=panel.x_label)
            continue
        for name, (x, y) in panel.curves.items():
            colour, dashes, width = STYLES[frame.names.index(name) % len(STYLES)]
            axis.plot(x, y, color=COLOURS[colour], linestyle=dashes, linewidth=width, label=name)
        axis.set(xlabel=panel.x_label, ylabel=panel.y_label, xlim=panel.x_limits, ylim=panel.y_limits)
        if not panel.curves.keys() <= named:
            axis.legend()
        named |= panel.curves.keys()
    return fig


# --- the explorer -----------------------------------------------------------------------------------------------------


def explorer(
    compute: Callable[..., Frame], controls: Controls, start: Mapping[str, Value] | None = None,
    more: Controls | None = None, live: bool | None = None, **text: str,
) -> None:
    """Show ``compute(**settings)`` for settings that the reader moves: widgets in a kernel, a player on a page.

    Args:
        compute: settings -> frame; called with one value of each control.
        controls: name -> the values offered; numbers become a slider, words a list.
        start: the settings shown first; the first value of a control that it leaves out.
        more: what a kernel offers besides, where a frame costs a moment and not a part of the page: further values,
            further controls.
        live: widgets (True) or the page (False); None: widgets where a kernel has a reader, not in a run of the book.
        text: name, caption and alt of the figure, see :func:`diffnotes.show.figures.show`; alt describes the frame of
            ``start``.

    Raises:
        ValueError: for controls without values or with values twice, a start that is not among them, frames whose
            panels or numbers differ in name, and what :func:`player` refuses.
    """
    first = _start(controls, start)
    if _watched() if live is None else live:
        more = more or {}
        every = {key: _union(controls.get(key, ()), more.get(key, ())) for key in {**controls, **more}}
        _live(compute, every, {key: values[0] for key, values in more.items()} | first)
        return
    from IPython.display import display

    from .figures import show

    name = text["name"]
    made = player(compute, controls, name=name, start=start)
    show(draw(compute(**first)), **text)
    plain = f"The figure {name} for other values of {', '.join(map(_words, controls))}."
    display({"text/html": made, "text/plain": plain}, metadata={"diffnotes": {"player": name}}, raw=True)


def player(
    compute: Callable[..., Frame], controls: Controls, *, name: str, start: Mapping[str, Value] | None = None
) -> str:
    """The HTML that lets `player.js` animate the figure ``name``: the frames of all settings, and a table of numbers.

    Raises:
        ValueError: for more than 400 frames or 400,000 characters of data, a name that is not in lower case, and as
            :func:`explorer`.
    """
    if not re.fullmatch(r"fig-[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(f"name = {name!r}; allowed: 'fig-' and words in lower case with hyphens between")
    first = _start(controls, start)
    count = math.prod(len(values) for values in controls.values())
    if count > MOST_FRAMES:
        raise ValueError(f"controls give {count} frames; allowed: at most {MOST_FRAMES}; offer fewer values")
    settings = list(_settings(controls))
    frames = [compute(**setting) for setting in settings]
    shape = _shape(frames[0])
    for setting, frame in zip(settings, frames):
        if _shape(frame) != shape:
            raise ValueError(f"compute gives other panels, curves or numbers for {setting}; allowed: the same for all")
    stored: dict[tuple[float, ...], int] = {}  # each array once: exact curves and grids are those of every frame

    def place(values: Sequence[float]) -> int:
        return stored.setdefault(tuple(values), len(stored))

    data = {
        "figure": name,
        "controls": [
            {"name": key, "label": _words(key), "values": list(values), "start": list(values).index(first[key])}
            for key, values in controls.items()
        ],
        "panels": [
            {"x": panel.x_label, "sheet": [*panel.whole.shape[1::-1]]}
            if isinstance(panel, Sheet)
            else {"x": panel.x_label, "y": panel.y_label, "curves": list(panel.curves)}
            | dict(zip(("xlim", "ylim"), _limits([frame.panels[i] for frame in frames])))
            for i, panel in enumerate(frames[0].panels)
        ],
        "names": frames[0].names,
        "numbers": list(frames[0].numbers),
        "frames": [
            {
                "curves": [
                    panel.png if isinstance(panel, Sheet) else [[place(x), place(y)] for x, y in panel.curves.values()]
                    for panel in frame.panels
                ],
                "numbers": list(frame.numbers.values()),
                "alt": [panel.words for panel in frame.panels],
            }
            for frame in frames
        ],
    }
    text = json.dumps(data | {"arrays": [list(values) for values in stored]}, separators=(",", ":"), allow_nan=False)
    if len(text) > MOST_CHARACTERS:
        raise ValueError(
            f"{count} frames take {len(text)} characters; allowed: at most {MOST_CHARACTERS}; "
            "offer fewer values, or curves of fewer points"
        )
    text = text.replace("<", "\\u003c")  # nothing in the data can end the script element
    return (
        f'<div class="player" data-figure="{html.escape(name)}">\n'
        f'<script type="application/json">{text}</script>\n'
        "<noscript><p>With JavaScript the figure above can be moved; here it shows the first setting, and the table "
        "below has the numbers of all.</p></noscript>\n"
        f"<details><summary>The numbers of all {count} settings</summary>\n{_table(settings, frames)}\n</details>\n"
        "</div>"
    )


def _start(controls: Controls, start: Mapping[str, Value] | None) -> dict[str, Value]:
    """The settings shown first, checked with the controls."""
    for key, values in controls.items():
        if not key.isidentifier() or not len(values) or len(set(values)) < len(values):
            raise ValueError(f"controls[{key!r}] = {list(values)}; allowed: a name of an argument, different values")
    wrong = {k: v for k, v in (start or {}).items() if v not in controls.get(k, ())}
    if not controls or wrong:
        raise ValueError(f"start = {start}; allowed: one value of controls each: {dict(controls)}")
    return {key: values[0] for key, values in controls.items()} | dict(start or {})


def _settings(controls: Controls) -> Iterator[dict[str, Value]]:
    """All settings, the last control moving fastest."""
    return (dict(zip(controls, values)) for values in itertools.product(*controls.values()))


def _shape(frame: Frame) -> tuple:
    sheets = tuple(panel.images.shape for panel in frame.panels if isinstance(panel, Sheet))
    return tuple((p.x_label, p.y_label, tuple(p.curves)) for p in frame.panels), tuple(frame.numbers), sheets


def _limits(panels: Sequence[Panel]) -> tuple[list[float], list[float]]:
    """Limits of a panel in all frames: as given, or around all of its curves, so that frames can be compared."""
    found = []
    for axis, given in enumerate((panels[0].x_limits, panels[0].y_limits)):
        values = [value for panel in panels for xy in panel.curves.values() for value in xy[axis]]
        low, high = given or (min(values), max(values))
        margin = 0.0 if given else 0.04 * (high - low) or 1.0
        found.append([float(f"{bound:.5g}") for bound in (low - margin, high + margin)])
    return found[0], found[1]


def _table(settings: Sequence[Mapping[str, Value]], frames: Sequence[Frame]) -> str:
    head = [_words(key) for key in settings[0]] + list(frames[0].numbers)
    rows = [[*map(_text, s.values()), *map(_text, f.numbers.values())] for s, f in zip(settings, frames)]
    cells = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in head)
    body = "\n".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{cells}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def _watched() -> bool:
    """Whether somebody sees widgets: in a kernel, unless progress is silenced, as it is in a run of the book."""
    return "ipykernel" in sys.modules and os.environ.get("TQDM_DISABLE", "0") in ("", "0")


def _union(values: Sequence[Value], more: Sequence[Value]) -> list[Value]:
    every = list(dict.fromkeys([*values, *more]))
    return every if any(isinstance(value, str) for value in every) else sorted(every)


def _live(compute: Callable[..., Frame], controls: Controls, first: Mapping[str, Value]) -> Any:
    """Show the widgets, and return the box of them."""
    import ipywidgets as widgets
    import matplotlib.pyplot as plt
    from IPython.display import display

    made = {}
    for key, values in controls.items():
        words = any(isinstance(value, str) for value in values)
        kind = widgets.Dropdown if words else widgets.SelectionSlider
        options = [(_text(value), value) for value in values]
        extra = {} if words else {"continuous_update": False}
        made[key] = kind(
            options=options, value=first[key], description=_words(key), style={"description_width": "9em"}, **extra
        )
    image, numbers, busy = widgets.Image(format="png"), widgets.HTML(), widgets.Output()

    def update(_: Any = None) -> None:
        busy.clear_output()
        with busy:  # training on the way shows its progress here
            frame = compute(**{key: control.value for key, control in made.items()})
            fig, png = draw(frame), io.BytesIO()
            fig.savefig(png, format="png", dpi=100)
            plt.close(fig)
            image.value, image.alt = png.getvalue(), frame.words
            numbers.value = "; ".join(f"{key} <b>{_text(value)}</b>" for key, value in frame.numbers.items())

    for control in made.values():
        control.observe(update, "value")
    box = widgets.VBox([*made.values(), image, numbers, busy])
    display(box)
    update()
    return box
