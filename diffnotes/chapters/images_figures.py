"""Figures of the chapter on images, with their captions and text alternatives.

An arm has the same colour, dashes and marker in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..measure.interval import mean_interval
from ..show import figures
from ..show.explore import Frame, Panel, Sheet
from ..show.explore import explorer as explorer_of
from ..show.figures import COLOURS, trend
from .images import Closest, Exhibit
from .lipschitz import Case
from .recursion import ImageCourse

__all__ = [
    "closest", "constants", "course", "crowded", "explorer", "frames", "grids", "levels", "quality", "rates", "sharing",
]  # fmt: skip

CAPTIONS = {
    "data": "Held-out images of the first split, which its network and its classifier have never seen.",
    "samplers": "Held-out images, and images of the networks of the first split, by sampler and number of steps; all "
    "images of one number of steps are drawn from the same noise.",
    "weights": "Images by DDIM: last weights of the constant learning rate, of the decayed rate, and averaged weights.",
    "course": "Images of the generations without fresh data, by the SDE.",
    "own": "New images of the networks of several splits from one noise.",
}
SAMPLERS = {"ddim": "ODE (DDIM)", "ddpm": "SDE (DDPM)", "dpm": "DPM-Solver"}
LOOKS = (("blue", "o", "-"), ("orange", "s", "--"), ("green", "^", "-."), ("pink", "D", ":"),
         ("amber", "v", (0, (5, 1, 1, 1))), ("sky", "X", (0, (3, 1, 1, 1, 1, 1))), ("black", "P", "-"))  # fmt: skip


def _look(i: int) -> dict:
    colour, marker, line = LOOKS[i % len(LOOKS)]
    return {"color": COLOURS[colour], "marker": marker, "linestyle": line}


def _line(i: int) -> dict:
    """The look without its marker, for curves of many points."""
    return {key: value for key, value in _look(i).items() if key != "marker"}


def _pictures(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Images x (n, c h w) as they are drawn: grey ones (n, h, w) in [-1, 1], coloured ones (n, h, w, 3) in [0, 1]."""
    x = x.reshape(-1, *shape)
    return x[:, 0] if shape[0] == 1 else ((x.movedim(1, -1) + 1) / 2).clamp(0, 1)


def grids(rows: Mapping[str, Tensor], shape: tuple[int, int, int], name: str) -> None:
    """Images (n, c h w) of the first split by label, one row each, under the label ``fig-images-NAME``."""
    drawn = {label: _pictures(x, shape) for label, x in rows.items()}
    size = shape[1:] if shape[0] == 1 else (*shape[1:], shape[0])
    kind = "grey-scale" if shape[0] == 1 else "colour"
    figures.show(
        figures.images(drawn, size, columns=12, height=0.66), name=f"fig-images-{name}", caption=CAPTIONS[name],
        alt=f"Rows of {shape[1]} by {shape[2]} {kind} images, from the top: {', '.join(rows)}.",
    )  # fmt: skip


def closest(found: Mapping[str, Closest], shape: tuple[int, int, int]) -> None:
    """The closest two images of each kind, (c h w) each, and the training image nearest to each."""
    fig, axes = figures.panels(4, len(found), width=5.2, height=1.15)
    for i, (name, one) in enumerate(found.items()):
        row = axes[4 * i : 4 * i + 4]
        for axis, picture in zip(row, _pictures(torch.cat([one.pair, one.neighbours]), shape)):
            axis.imshow(picture, cmap="gray", vmin=-1, vmax=1)  # the range is that of grey ones
            figures.bare(axis)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axis, far in zip(row[1:], one.distances):
            axis.set_xlabel(f"{far:.1f}", fontsize=8)
    for axis, title in zip(axes, ("one", "the other", "data near\nthe one", "data near\nthe other")):
        axis.set_title(title, fontsize=8)
    told = "; ".join(f"{name} {one.distances[0]:.2g} apart, {one.distances[1]:.2g} and {one.distances[2]:.2g} from "
                     "their neighbours" for name, one in found.items())  # fmt: skip
    figures.show(
        fig, name="fig-images-closest",
        caption="The closest two images of each kind, first split, and the training image nearest to each. Below: the "
        "distance of the pair, and of each from its neighbour, in pixels.",
        alt=f"Four images a row. Distances: {told}.",
    )  # fmt: skip


def crowded(shares: Sequence[float], found: Mapping[str, Exhibit]) -> None:
    """Pair-fraction ratios and their uneven parts over radii, in pixels and in features, by kind of images."""
    fig, axes = figures.panels(2, 2, width=7.6, height=2.7, sharex=True)
    told = []
    for k, space in enumerate(("pixels", "features")):
        for i, (name, one) in enumerate(found.items()):
            for axis, key in ((axes[k], space), (axes[2 + k], f"{space}_uneven")):
                values = getattr(one.measures, key)
                figures.mean_band(axis, shares, values, dim=0, label=name, **_look(i))
            told.append(f"{space}, {name} {trend(getattr(one.measures, space).mean(0))}")
        axes[k].axhline(1, color=COLOURS["grey"], linewidth=0.8)
        axes[2 + k].axhline(0, color=COLOURS["grey"], linewidth=0.8)
        axes[k].set(title=space, xscale="log", yscale="log")
        axes[2 + k].set(xlabel="share of the data's pairs within the radius")
    axes[0].set_ylabel("ratio of pair fractions")
    axes[2].set_ylabel("uneven part")
    axes[1].legend(fontsize=7)
    figures.show(
        fig, name="fig-images-crowded",
        caption="The share of close pairs of images over that of training images (top), and the part of the excess "
        "that is no shift of mass (bottom), against the radius; mean and interval over splits. A ratio of zero is "
        "below the axis.",
        alt=f"Ratios over growing radii: {'; '.join(told)}.",
    )  # fmt: skip


def frames(
    drawn: Mapping[str, Mapping[Case, Exhibit]], held: Exhibit, shares: Sequence[float], shape: tuple[int, int, int]
) -> Callable[..., Frame]:
    """The frames of :func:`explorer`: (images, steps) -> twelve images and means over splits of what is measured."""
    of = {(name, case[1]): one for name, found in drawn.items() for case, one in found.items()}
    radii = [math.log10(share) for share in shares]

    def frame(images: str, steps: int) -> Frame:
        one = of[images, steps]
        ratios = {f"{space}{end}": (radii, getattr(exhibit.measures, space).mean(0))
                  for space in ("pixels", "features") for end, exhibit in (("", one), (", held out", held))}
        numbers = {"Fréchet distance over held-out": one.measures.distance / held.measures.distance,
                   "variance over the data's": one.measures.spread,
                   "nearest training image over held-out": one.measures.nearest}
        return Frame([Sheet(_pictures(one.pictures[:12], shape), "images of the first split"),
                      Panel(ratios, "log10 of the share of the data's pairs in the radius", "ratio of close pairs")],
                     {name: float(value.mean()) for name, value in numbers.items()})  # fmt: skip

    return frame


def explorer(
    drawn: Mapping[str, Mapping[Case, Exhibit]], held: Exhibit, shares: Sequence[float], shape: tuple[int, int, int]
) -> None:
    """Images of each kind beside their measures, kind and number of steps to be chosen."""
    compute, steps = frames(drawn, held, shares, shape), sorted({n for found in drawn.values() for _, n in found})
    first = {"images": list(drawn)[-1], "steps": steps[-2:][0]}
    explorer_of(
        compute, {"images": list(drawn), "steps": steps}, start=first, name="fig-images-explorer",
        caption="An explorer. Images by sampler, arm and number of steps, and the share of close pairs over that of "
        "training images, against the radius, beside that of held-out images; means over splits. In few steps "
        "images are washed out, which by itself raises the ratio.",
        alt=f"Images, and ratios, for {first['images']} in {first['steps']} steps. {compute(**first).words}",
    )  # fmt: skip


def quality(rows: Mapping[str, Mapping[Case, Exhibit]], floor: Tensor, sampler: str) -> None:
    """Frechet distance and spread against the steps of a sampler, by arm; ``floor`` is of held-out images."""
    fig, axes = figures.panels(2, width=8.4, height=3.1)
    told = []
    for i, (arm, found) in enumerate(rows.items()):
        steps = [n for kind, n in found if kind == sampler]
        for axis, key in zip(axes, ("distance", "spread")):
            values = torch.stack([getattr(found[sampler, n].measures, key) for n in steps])
            figures.mean_band(axis, steps, values, label=arm, **_look(i))
            told.append(f"{key} of {arm} {trend(values.mean(1))}")
    axes[0].axhline(float(floor.mean()), color=COLOURS["grey"], linewidth=0.8)
    axes[1].axhline(1, color=COLOURS["grey"], linewidth=0.8)
    axes[0].set(xscale="log", yscale="log", xlabel=f"steps, {SAMPLERS[sampler]}", ylabel="Fréchet distance")
    axes[1].set(xscale="log", xlabel=f"steps, {SAMPLERS[sampler]}", ylabel="variance of a pixel over the data's")
    axes[0].legend(fontsize=7)
    figures.show(
        fig, name="fig-images-steps",
        caption="Fréchet distance of images to held-out ones, and the variance of their pixels, by arm. Grey: held-out "
        "images (left), the data (right). Bands hold the differences between splits, which cancel in the verdicts' "
        "ratios.",
        alt=f"Against the number of steps: {'; '.join(told)}. Held-out images are at {float(floor.mean()):.2g}.",
    )  # fmt: skip


def constants(times: Sequence[int], found: Mapping[str, Tensor]) -> None:
    """Constants of eps between neighbouring times, (splits, times - 1) by arm."""
    fig, axes = figures.panels(1, width=6.2, height=3.1)
    for i, (name, values) in enumerate(found.items()):
        figures.mean_band(axes[0], times[:-1], values, dim=0, label=name, **_line(i))
    axes[0].set(xscale="log", yscale="log", xlabel="step $t$ of the chain", ylabel=r"change of $\epsilon$ per step")
    axes[0].legend(fontsize=8)
    told = "; ".join(f"{name} {trend(values.mean(0))}" for name, values in found.items())
    figures.show(
        fig, name="fig-images-constants",
        caption="Lipschitz constants in time of the networks' noise predictions at held-out images, between "
        "neighbouring steps; mean and interval over splits. Shared times, and with them the prediction, change only "
        "where one sub-interval ends; elsewhere their constant is zero, below the axis.",
        alt=f"Constants from the first steps on: {told}.",
    )  # fmt: skip


def sharing(
    by_count: Mapping[int, str], by_end: Mapping[int, str], found: Mapping[str, Mapping[Case, Exhibit]]
) -> None:
    """Frechet distances of networks with shared times over those of the arm "plain", by sampler.

    Args:
        by_count: number of sub-intervals -> arm.
        by_end: the time up to which times are shared -> arm.
        found: arm -> sampler -> exhibit.
    """
    fig, axes = figures.panels(2, width=8.4, height=3.1)
    told = []
    for axis, arms, what in zip(axes, (by_count, by_end), ("sub-intervals", "the end of sharing")):
        for i, case in enumerate(found["plain"]):
            plain = found["plain"][case].measures.distance
            values = torch.stack([found[arm][case].measures.distance / plain for arm in arms.values()])
            label = f"{SAMPLERS[case[0]]}, {case[1]} steps"
            figures.mean_band(axis, [*arms], values, label=label, **_look(i))
            told.append(f"over {what}, {label} {trend(values.mean(1))}")
        axis.axhline(1, color=COLOURS["grey"], linewidth=0.8)
    axes[0].set(xscale="log", xlabel="sub-intervals up to $t=100$", ylabel="Fréchet distance / plain")
    axes[0].set_xticks([*by_count], by_count)
    axes[0].minorticks_off()
    axes[1].set(xlabel=r"$\tilde t$, with five sub-intervals")
    axes[0].legend(fontsize=7)
    figures.show(
        fig, name="fig-images-sharing",
        caption="Fréchet distance of images of networks with shared times over that of plain ones, by the number of "
        "sub-intervals (left) and by the time up to which times are shared (right); mean and interval over splits. A "
        "hundred sub-intervals, and sharing up to zero, are the plain networks. The claim below compares with five "
        "sub-intervals up to the time 100.",
        alt=f"Ratios to plain networks: {'; '.join(told)}.",
    )  # fmt: skip


def rates(learning_rates: Sequence[float], found: Mapping[str, Tensor]) -> None:
    """Frechet distances (rates, seeds) of pixels by target against the learning rate."""
    fig, axes = figures.panels(1, width=5.6, height=3.2)
    told = []
    for name, values in found.items():
        other = {"color": COLOURS["grey"], "linestyle": ":", "marker": "P", "label": name}
        figures.mean_band(axes[0], learning_rates, values, **figures.TARGET_STYLE.get(name, other))
        told.append(f"{name} {trend(values.mean(1))}")
    axes[0].set(xscale="log", yscale="log", xlabel="learning rate", ylabel="Fréchet distance (pixels)")
    axes[0].legend(fontsize=8)
    figures.show(
        fig, name="fig-images-rates",
        caption="Distance of samples to held-out images against the learning rate, by target; mean and interval over "
        "seeds.",
        alt=f"Over growing learning rates: {'; '.join(told)}.",
    )  # fmt: skip


def levels(log_snr: Tensor, found: Mapping[str, Tensor]) -> None:
    """Errors on held-out images (seeds, L) relative to the plain eps-loss, by weighting."""
    fig, axes = figures.panels(1, width=5.6, height=3.0)
    for i, (name, values) in enumerate(found.items()):
        figures.mean_band(axes[0], log_snr, values, dim=0, label=name, **_line(i))
    axes[0].axhline(1, color=COLOURS["grey"], linewidth=0.8)
    axes[0].set(yscale="log", xlabel=r"$\log\mathrm{SNR}$", ylabel=r"error relative to plain $\epsilon$")
    axes[0].legend(fontsize=8)
    told = "; ".join(f"{name} {trend(values.mean(0))}" for name, values in found.items())
    figures.show(
        fig, name="fig-images-levels",
        caption=r"Error on held-out images relative to the plain $\epsilon$-loss, by noise level; mean and interval "
        "over seeds.",
        alt=f"From high to low noise: {told}.",
    )  # fmt: skip


def course(courses: Mapping[str, ImageCourse], fractions: Mapping[str, Sequence[float]]) -> None:
    """Frechet distances over the generations, a panel for each sampler, a line for each fresh fraction."""
    fig, axes = figures.panels(len(courses), width=3.9 * len(courses), height=3.1, sharey=True)
    told, every = [], sorted({alpha for one in fractions.values() for alpha in one})
    for axis, (name, found) in zip(axes, courses.items()):
        rounds = range(1, len(found.generated) + 1)
        for i, alpha in enumerate(fractions[name]):
            values = found.generated[:, i]
            figures.mean_band(axis, rounds, values, label=rf"$\alpha={alpha:g}$", **_look(every.index(alpha)))
            told.append(f"{name}, alpha {alpha:g} {trend(values.mean(1))}")
        axis.axhline(float(found.fresh.mean()), color=COLOURS["grey"], linewidth=0.8)
        axis.set(title=name, xlabel="generation", yscale="log", xticks=rounds)
    axes[0].set_ylabel("Fréchet distance")
    axes[0].legend(fontsize=8)
    fresh = mean_interval(next(iter(courses.values())).fresh).value
    figures.show(
        fig, name="fig-images-generations",
        caption="Fréchet distance of generated to held-out images over the generations, by fresh fraction and sampler "
        "(mean and interval over networks). The grey line is that of as many training images, which are more than the "
        "images of the other figures.",
        alt=f"Over the generations: {'; '.join(told)}. Training images are at {fresh:.2g}.",
    )  # fmt: skip
