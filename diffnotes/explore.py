r"""Explorers: one function of a few settings, moved by hand in a kernel, and pre-computed on a page.

:func:`explorer` takes ``compute(**settings) -> Frame``. In a notebook that somebody watches it shows widgets that call
``compute``; on a page it shows the figure of the first setting, numbered and captioned as every other, and beneath it
the frames of all settings as data, which `player.js` turns into sliders and a drawing in place of that figure. A
:class:`Frame` is rounded when it is made, to what can be seen, so both show the same curves and the same numbers.
Without JavaScript the figure remains, and all numbers in a table.

:func:`collapse_explorer` shows how a learned flow map on the line flattens; its ODE and its SDE are both known without
sampling noise, the latter through :meth:`diffnotes.collapse.FlowMap.of_sde`.
"""

from __future__ import annotations

import html
import itertools
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .collapse import FlowMap, _on_line
from .denoiser import Denoiser, Learned
from .helmholtz import LINEAR_ERRORS, covariance_kl, euler_covariance, gaussian_split, linear_errors, noised_covariance
from .law import GaussianMixture
from .recursion import Cells, Generation, kernel_model, recurse
from .sample import grid

__all__ = [
    "Frame", "Panel", "collapse_explorer", "collapse_frames", "draw", "explorer", "gradient_frames", "player",
    "recursion_frames",
]  # fmt: skip

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


@dataclass(frozen=True)
class Frame:
    """What one setting gives: panels, and numbers, name -> value, kept with four digits.

    >>> Frame([Panel({"line": ([0, 1], [0, 2])}, "x", "y")], {"slope": 2.00004}).numbers
    {'slope': 2.0}

    Raises:
        ValueError: for no panel, or a number that is not finite.
    """

    panels: Sequence[Panel]
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
    from .figures import COLOURS, panels

    fig, axes = panels(len(frame.panels), height=3.0)
    named: set[str] = set()
    for axis, panel in zip(axes, frame.panels):
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
    compute: Callable[..., Frame], controls: Controls, *, name: str, caption: str, alt: str,
    start: Mapping[str, Value] | None = None, more: Controls | None = None, live: bool | None = None,
) -> None:
    """Show ``compute(**settings)`` for settings that the reader moves: widgets in a kernel, a player on a page.

    Args:
        compute: settings -> frame; called with one value of each control.
        controls: name -> the values offered; numbers become a slider, words a list.
        name, caption, alt: of the figure, see :func:`diffnotes.figures.show`; ``alt`` describes the frame of ``start``.
        start: the settings shown first; the first value of a control that it leaves out.
        more: what a kernel offers besides, where a frame costs a moment and not a part of the page: further values,
            further controls.
        live: widgets (True) or the page (False); None: widgets where a kernel has a reader, not in a run of the book.

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

    made = player(compute, controls, name=name, start=start)
    show(draw(compute(**first)), name=name, caption=caption, alt=alt)
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
            {"x": panel.x_label, "y": panel.y_label, "curves": list(panel.curves)}
            | dict(zip(("xlim", "ylim"), _limits([frame.panels[i] for frame in frames])))
            for i, panel in enumerate(frames[0].panels)
        ],
        "names": frames[0].names,
        "numbers": list(frames[0].numbers),
        "frames": [
            {
                "curves": [[[place(x), place(y)] for x, y in panel.curves.values()] for panel in frame.panels],
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
    return tuple((p.x_label, p.y_label, tuple(p.curves)) for p in frame.panels), tuple(frame.numbers)


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
    import io

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


# --- the collapse explorer --------------------------------------------------------------------------------------------


def collapse_frames(
    fleet: Mapping[Key, Denoiser], law: GaussianMixture, *, train: Callable[[str, int, int], Denoiser] | None = None,
    points: int = 1000, drawn: int = 160,
) -> Callable[..., Frame]:
    """The function of an explorer of flow maps: compute(learning_rate, width, training_steps, sampler, ...).

    Its panels are the map from start z to end x and the densities, exact and generated, its numbers the ANSD ratio at
    the radius, total variation and flat share, see :class:`diffnotes.collapse.FlowMap`. It keeps what it has trained
    and sampled. Its arguments: learning_rate "constant" or "cosine", how it decays; width and training_steps of the
    network; sampler "ODE" (Heun; the default) or "SDE" (Euler-Maruyama); sampler_steps, quadratic in t (60); radius of
    the ratio (0.05).

    Args:
        fleet: (learning rate, width, training steps) -> denoiser; of an ensemble the first member is shown.
        law: on the line.
        train: the same arguments -> denoiser, for settings that ``fleet`` does not hold.
        points, drawn: quantiles of a map, and points of a curve.

    Raises:
        ValueError: for a law off the line; and the function, for a sampler that is not known, or a setting that
            ``fleet`` does not hold where there is no ``train``.
    """
    law = _on_line(law)
    nets: dict[Key, Denoiser] = {}
    maps: dict[tuple, FlowMap] = {}
    z = torch.linspace(-2.5, 2.5, drawn, dtype=torch.float64)
    spread = float((law.means.abs().squeeze(-1) + 3.5 * law.std).max())
    x = torch.linspace(-spread, spread, drawn, dtype=torch.float64)
    density, truth = law.log_prob(x[:, None]).exp(), law.quantile(torch.special.ndtr(z))
    edges = torch.cat([x - (x[1] - x[0]) / 2, x[-1:] + (x[1] - x[0]) / 2])
    tall, wide = 1.8 * float(density.max()), 1.15 * float(truth.abs().max())

    def network(*key: Any) -> Denoiser:
        if key not in nets:
            if key not in fleet and train is None:
                names = "(learning_rate, width, training_steps)"
                raise ValueError(f"{names} = {key}; allowed, as nothing trains: {sorted(fleet)}")
            nets[key] = _first(fleet[key] if key in fleet else train(*key))
        return nets[key]

    def compute(
        learning_rate: str, width: int, training_steps: int,
        sampler: str = "ODE", sampler_steps: int = 60, radius: float = 0.05,
    ) -> Frame:
        if sampler not in ("ODE", "SDE"):
            raise ValueError(f"sampler = {sampler!r} is unknown; allowed: 'ODE', 'SDE'")
        key = (learning_rate, width, training_steps, sampler, sampler_steps)
        if key not in maps:
            net = network(*key[:3])
            times = grid(net.schedule, sampler_steps, kind="quadratic")
            maps[key] = FlowMap.of(net, times, points) if sampler == "ODE" else FlowMap.of_sde(net, law, times, points)
        flow = maps[key]
        # Distribution function of the generated law, by the map's inverse; its differences are an average density.
        below = torch.special.ndtr(torch.from_numpy(np.interp(edges, flow.x, flow.z, left=-40, right=40)))
        return Frame(
            [
                Panel({"exact": (z, truth), "generated": (z, np.interp(z, flow.z, flow.x))}, "start z", "end x",
                      (-2.5, 2.5), (-wide, wide)),
                Panel({"exact": (x, density), "generated": (x, below.diff() / edges.diff())}, "x", "density",
                      (-spread, spread), (0, tall)),
            ],
            {
                "ANSD ratio": float(flow.ratio(law, radius)),
                "total variation": float(flow.total_variation(law)),
                "flat share": float(flow.flat_share(law)),
            },
        )  # fmt: skip

    return compute


def _first(denoiser: Denoiser) -> Denoiser:
    if denoiser.members is None:
        return denoiser
    if not isinstance(denoiser, Learned):
        raise ValueError(f"fleet holds {denoiser!r}; allowed: networks, or ensembles of networks")
    return Learned(denoiser.net.member(0), denoiser.schedule, denoiser.target)


def collapse_explorer(
    fleet: Mapping[Key, Denoiser], law: GaussianMixture, controls: Controls, *, name: str = "fig-collapse-explorer",
    train: Callable[[str, int, int], Denoiser] | None = None, start: Mapping[str, Value] | None = None,
    more: Controls | None = None, live: bool | None = None,
) -> None:
    """An :func:`explorer` of the flow map that a sampler makes of a network; settings as :func:`collapse_frames`.

    ``controls`` needs "learning_rate", "width" and "training_steps"; "sampler", "sampler_steps" and "radius" may be
    left out. Networks that ``fleet`` does not hold are trained by ``train``: for a page all that ``controls`` ask for;
    in a kernel, where ``more`` widens the choice, as the reader asks.
    """
    compute = collapse_frames(fleet, law, train=train)
    first = _start(controls, start)
    shown = compute(**first)
    said = ", ".join(f"{_words(key)} {_text(value)}" for key, value in first.items())
    found = ", ".join(f"{key} {_text(value)}" for key, value in shown.numbers.items())
    explorer(
        compute, controls, name=name, start=start, more=more, live=live,
        caption="An explorer. Left: the map from normal quantiles to the generated ones, exact and by one network; "
        f"where it is flat, samples crowd. Right: the densities. Shown first: {said}.",
        alt=f"Two panels for {said}. {shown.words} Numbers: {found}.",
    )  # fmt: skip


# --- the recursion explorer -------------------------------------------------------------------------------------------

ERRORS = ("same error", "new error", "kernel density", "perfect, stopped early")


def recursion_frames(cells: Cells, law: GaussianMixture, *, most: int = 16, energy: float = 0.02, width: float = 0.2,
                     samples: int = 1000, seed: int = 0) -> Callable[..., Frame]:
    """The function of an explorer of recursive training: compute(fresh_fraction, error, generations) -> Frame.

    Its panels are the densities of data and of the last model, and chi^2 to the data over the generations with the
    discounted and the coherent sum of the steps J (:mod:`diffnotes.recursion`). It keeps what it has computed.
    ``error``: "same error" and "new error", a smooth score error of the given ``energy``, one for all generations or a
    new one in each; "kernel density", the score of a kernel density estimate of ``width`` from ``samples`` points;
    "perfect, stopped early", the exact score stopped at the noise ``width``.

    Raises:
        ValueError: and the function, for an unknown error, or generations not in 1..``most``.
    """
    law = _on_line(law)
    data = cells.masses(law)
    courses: dict[tuple[float, str], Any] = {}
    smooth = torch.softmax(-0.5 * ((cells.x - math.sqrt(1 - width**2) * cells.x[:, None]) / width) ** 2, -1)

    def model(error: str) -> Callable[[int, Tensor], Tensor | Generation]:
        if error == "kernel density":
            return kernel_model(cells, samples, width, seed)
        if error == "perfect, stopped early":
            return lambda i, q: q @ smooth
        field = {"same error": lambda i: 0, "new error": lambda i: i}[error]
        return lambda i, q: cells.generate(q, cells.scaled(q, cells.fields(1, seed + field(i)), energy))

    shown = slice(len(cells.x) // 5, len(cells.x) - len(cells.x) // 5, 2)

    def compute(fresh_fraction: float, error: str, generations: int) -> Frame:
        if error not in ERRORS:
            raise ValueError(f"error = {error!r} is unknown; allowed: {', '.join(map(repr, ERRORS))}")
        if not 1 <= generations <= most:
            raise ValueError(f"generations = {generations}; allowed: 1 to {most}")
        key = (fresh_fraction, error)
        if key not in courses:
            alpha = torch.tensor([fresh_fraction], dtype=torch.float64)
            courses[key] = recurse(data, alpha, most, model(error))
        course, x, n = courses[key], cells.x[shown], generations
        rounds = list(range(1, n + 1))
        return Frame(
            [
                Panel({"data": (x, data[shown] / cells.width),
                       "generated": (x, course.laws[n - 1, 0, shown] / cells.width)}, "x", "density"),
                Panel({"generated": (rounds, course.divergence[:n, 0]), "discounted sum": (rounds,
                       course.discounted[:n, 0]), "coherent sum": (rounds, course.coherent[:n, 0])},
                      "generation", "chi-square to the data", (0.5, most + 0.5)),
            ],
            {
                "chi-square": float(course.divergence[n - 1, 0]),
                "KL": float(course.kl[n - 1, 0]),
                "over discounted sum": float(course.divergence[n - 1, 0] / course.discounted[n - 1, 0]),
                "over coherent sum": float(course.divergence[n - 1, 0] / course.coherent[n - 1, 0]),
            },
        )  # fmt: skip

    return compute


# --- the explorer of invisible errors ---------------------------------------------------------------------------------


def gradient_frames(covariance: Tensor, *, counts: Sequence[int] = (50, 100, 200, 400), end: float = 4.0
                    ) -> Callable[..., Frame]:
    """The function of an explorer of score errors under N(0, covariance): compute(error, size, sampler, steps).

    ``error`` is one of :data:`diffnotes.helmholtz.LINEAR_ERRORS`, ``size`` its factor, ``sampler`` "SDE" or "ODE" with
    ``steps`` Euler steps. Its panels are the ellipses of one standard deviation of the data and of what is generated,
    and the KL divergence at the end over the numbers of steps ``counts``, with and without the error. All is exact.
    Numbers: that divergence, and half the energy of the error on the true path with its gradient part, in nats.

    Raises:
        ValueError: by the function, for unknown names, a negative size or fewer than one step.
    """
    covariance = covariance.double()
    times = (torch.arange(100, dtype=torch.float64) + 0.5) * end / 100
    each = torch.stack([linear_errors(covariance, t) for t in times.tolist()])
    true = torch.stack([noised_covariance(covariance, t) for t in times.tolist()])[:, None]
    split = gaussian_split(each, true)[1]
    energy, seen = (end / 2 * part.mean(0) for part in (split.total, split.gradient))
    angle = torch.linspace(0, 2 * math.pi, 33, dtype=torch.float64)
    circle = torch.stack([angle.cos(), angle.sin()])
    made: dict[tuple, Tensor] = {}

    def generated(error: str, size: float, sampler: str, steps: int) -> Tensor:
        key = (error if size else "", size, sampler, steps)
        if key not in made:
            kind, strength = LINEAR_ERRORS.index(error), {"SDE": 1.0, "ODE": 0.0}[sampler]
            made[key] = euler_covariance(covariance, lambda t: size * linear_errors(covariance, t)[kind], steps,
                                         strength, end)
        return made[key]

    def compute(error: str, size: float, sampler: str, steps: int) -> Frame:
        for name, value, allowed in (("error", error, LINEAR_ERRORS), ("sampler", sampler, ("SDE", "ODE"))):
            if value not in allowed:
                raise ValueError(f"{name} = {value!r} is unknown; allowed: {', '.join(map(repr, allowed))}")
        if not size >= 0:
            raise ValueError(f"size = {size}; allowed: numbers >= 0")
        laws = {"data": covariance, "generated": generated(error, size, sampler, steps)}
        rings = {name: torch.linalg.cholesky(law) @ circle for name, law in laws.items()}
        reach = 2 * float(covariance.diagonal().max().sqrt())

        def course(factor: float) -> tuple[list[float], list[float]]:
            found = [float(covariance_kl(generated(error, factor, sampler, n), covariance)) for n in counts]
            return [math.log10(n) for n in counts], [math.log10(value) for value in found]

        kind = LINEAR_ERRORS.index(error)
        return Frame(
            [
                Panel({name: (ring[0], ring[1].clamp(-reach, reach)) for name, ring in rings.items()},
                      "first coordinate", "second coordinate", (-reach, reach), (-reach, reach)),
                Panel({"no error": course(0.0), "generated": course(size)}, "log10 of the Euler steps",
                      "log10 of the KL (nats)"),
            ],
            {
                "KL": float(covariance_kl(laws["generated"], covariance)),
                "half the energy": size**2 * float(energy[kind]),
                "its gradient part": size**2 * float(seen[kind]),
            },
        )  # fmt: skip

    return compute
