"""Figures of the chapter on measuring collapse."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import torch
from torch import Tensor

from ..core.law import GaussianMixture, on_line
from ..measure.crowding import Split, law_pair_fraction, law_renyi2, mixture_split, pair_fraction
from ..measure.flow import FlowMap
from ..measure.interval import Interval, mean_interval
from ..show import figures
from ..show.explore import Frame, Panel
from ..show.explore import explorer as explorer_of
from ..show.figures import COLOURS, TARGET_STYLE, trend
from .measuring import RADII, linear_range

__all__ = [
    "DEFECTS", "defect", "error", "explorer", "fleet", "images", "integral", "maps", "memory", "sensitivity", "split",
    "split_frames", "tid",
]  # fmt: skip

Key = tuple[str, str, int]
"""A setting of the fleet: target, kind of training, training steps."""

LOOKS = (("orange", "-", "s"), ("blue", "--", "o"), ("green", "-.", "^"))
RATIO = r"$R_\varepsilon$"


def _bars(axis, x, found: Sequence[Interval] | Interval, sideways: bool = False, **style) -> None:
    """Estimates with their intervals as error bars, at heights x where ``sideways``."""
    value, low, high = found if isinstance(found, Interval) else map(torch.tensor, zip(*found))
    ends = torch.stack([value - low, high - value])
    place, error = ((value, x), {"xerr": ends}) if sideways else ((x, value), {"yerr": ends})
    axis.errorbar(*place, **error, **{"linestyle": "none", "capsize": 3} | style)


def _own_ticks(axis, ticks: Sequence[float]) -> None:
    """Ticks of a logarithmic axis at these places alone."""
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)


# --- the estimate and its error ---------------------------------------------------------------------------------------


def integral(readings: Mapping[str, GaussianMixture], clouds: Mapping[str, Tensor]) -> None:
    """fig-measuring-integral: the correlation integral of laws by name, and the pair fractions of their samples."""
    fig, axes = figures.panels(1, width=6.4, height=3.2)
    some, reach = RADII[::8], {}
    for (name, law), colour in zip(readings.items(), ("blue", "orange")):
        axes[0].plot(RADII, law_pair_fraction(law, RADII), color=COLOURS[colour], label=f"0.2 is the {name}")
        axes[0].plot(some, pair_fraction(clouds[name], some), "o", color=COLOURS[colour], markerfacecolor="white")
        axes[0].plot(RADII[:60], 2 * RADII[:60] * law_renyi2(law), ":", color=COLOURS[colour])
        reach[name] = linear_range(law)
    axes[0].set(xscale="log", yscale="log", xlabel=r"radius $\varepsilon$", ylabel=r"$C(\varepsilon)$", ylim=(5e-4, 2))
    axes[0].legend()
    (upper, _), (lower, _) = sorted(readings.items(), key=lambda each: -law_renyi2(each[1]))
    told = ", ".join(f"{name} {radius:.2g}" for name, radius in reach.items())
    figures.show(
        fig, name="fig-measuring-integral",
        caption="The correlation integral of both readings in closed form (lines), the pair fraction of one set of "
        f"{len(clouds[upper])} samples (circles), and the limit for small radii, $2\\varepsilon\\int p^2$ (dotted).",
        alt="Doubly logarithmic plot of the share of close pairs against the radius. Both curves rise with slope one, "
        f"for small radii that of the {upper} above that of the {lower}. They follow their limit to two per cent up to "
        f"the radii: {told}. They bend at the width of a mode and the distance of the modes, and end at one.",
    )  # fmt: skip


def error(
    sizes: Sequence[int], radii: Sequence[float], measured: Interval, predicted: Tensor, repeats: int
) -> None:
    """fig-measuring-error: relative standard deviations of the pair fraction.

    Args:
        sizes: samples N of a set; radii: of the pair fractions.
        measured: over ``repeats`` sets, tensors (sizes, radii); predicted: by the theorem.
    """
    fig, axes = figures.panels(1, width=6.4, height=3.2)
    for i, (radius, (colour, _, mark)) in enumerate(zip(radii, LOOKS)):
        found = Interval(*(end[:, i] for end in measured))
        _bars(axes[0], sizes, found, marker=mark, color=COLOURS[colour], label=f"radius {radius:g}")
        axes[0].plot(sizes, predicted[:, i], color=COLOURS[colour])
    axes[0].set(xscale="log", yscale="log", xlabel="samples $N$", ylabel="relative standard deviation")
    axes[0].legend()
    off = 100 * float((measured.value / predicted - 1).abs().max())
    told = "; ".join(f"at the radius {radius:g} it {trend(predicted[:, i])}" for i, radius in enumerate(radii))
    figures.show(
        fig, name="fig-measuring-error",
        caption=f"Relative standard deviation of the pair fraction over {repeats} sets of $N$ samples, with intervals "
        "(marks), and as predicted by the theorem (lines).",
        alt=f"Doubly logarithmic plot: the measured deviations are within {off:.0f} per cent of the predicted lines. "
        f"The prediction against the number of samples: {told}.",
    )  # fmt: skip


# --- flow maps --------------------------------------------------------------------------------------------------------


def maps(exact: FlowMap, learned: Mapping[str, FlowMap], law: GaussianMixture, eps: float) -> None:
    """fig-measuring-map: flow maps by name, of the member with the largest ratio, and their density ratios."""
    fig, axes = figures.panels(2, height=3.0)
    spans = []
    for (name, flow), (colour, line, _) in zip(learned.items(), LOOKS):
        member = int(flow.ratio(law, eps).argmax())
        density = flow.density_ratio(law)
        axes[0].plot(flow.z, flow.x[member], line, color=COLOURS[colour], label=f"learned, {name}")
        share = torch.linspace(0, 1, density.shape[-1])
        axes[1].plot(share, density[member], line, color=COLOURS[colour], linewidth=1.2)
        low, high = density.quantile(density.new_tensor([0.05, 0.95])).tolist()
        spans.append(f"between {low:.2g} and {high:.2g} with the {name}")
    axes[0].plot(exact.z, exact.x, ":", color=COLOURS["black"], label="exact")
    axes[0].set(xlabel="start $z$", ylabel="sample $x(z)$", ylim=(-2.2, 2.2))
    axes[0].legend()
    axes[1].axhline(1, color=COLOURS["black"], linestyle=":")
    axes[1].set(xlabel="share of generated mass to the left", ylabel=r"$\hat p/p$", yscale="log", ylim=(0.1, 10))
    figures.show(
        fig, name="fig-measuring-map",
        caption=r"Left: flow maps of the exact score and of two learned ones ($\epsilon$-prediction, the seed of the "
        "largest ratio). Right: generated over true density along the samples; a flat piece of the map is a peak here "
        "(axes cut).",
        alt="Left: three rising curves with a steep step in the middle between the two modes, close to each other. "
        "Right: the density ratio fluctuates about one; nine tenths of its values, over all networks, lie "
        f"{' and '.join(spans)}.",
    )  # fmt: skip


def split(parts: Mapping[Key, tuple[Tensor, Tensor]], eps: float) -> None:
    """fig-measuring-split: (shift, unevenness) of each setting, each (seeds,), from the bottom in the order given."""
    fig, axes = figures.panels(1, height=4.4)
    rows = torch.arange(len(parts))
    for j, (label, colour, mark) in enumerate((("shift", "blue", "o"), ("unevenness", "orange", "s"))):
        found = [mean_interval(both[j]) for both in parts.values()]
        look = dict(marker=mark, color=COLOURS[colour], label=label, capsize=2)
        _bars(axes[0], rows + 0.15 * (2 * j - 1), found, sideways=True, **look)
    axes[0].axvline(0, color=COLOURS["black"], linewidth=0.8)
    axes[0].set_yticks(rows, [", ".join(map(str, key)) for key in parts])
    axes[0].set_xscale("symlog", linthresh=0.1)
    axes[0].set_xlabel("part of $R-1$")
    axes[0].legend()
    shift, uneven = (torch.stack(each) for each in zip(*parts.values()))
    least, negative = float(uneven.min()), int((shift.mean(1) < 0).sum())
    above = "above zero in every setting, at least" if least > 0 else "not above zero everywhere, as low as"
    ends = [mean_interval(part, dim=1) for part in (shift, uneven)]
    width, other = (float((found.high - found.low).median()) for found in ends)
    wider = "wider" if width > other else "narrower"
    figures.show(
        fig, name="fig-measuring-split",
        caption=f"Shift and unevenness of {len(parts)} settings at the radius {eps:g} (mean and interval over "
        f"{shift.shape[1]} seeds), sorted by total variation, best at the bottom; the axis is linear near zero and "
        "logarithmic beyond.",
        alt=f"Points with intervals for each setting. The unevenness is {above} {least:.2g} for any network; the shift "
        f"is negative on average in {negative} of {len(parts)} settings, and its intervals are {wider} in the median.",
    )  # fmt: skip


def sensitivity(
    radii: Tensor, curves: Mapping[str, Tensor], stops: Sequence[float], stopped: Mapping[str, Tensor], eps: float
) -> None:
    """fig-measuring-sensitivity: the ratio against the radius, and against the stopping time.

    Args:
        radii: (k,) of ``curves``, name -> (seeds, k); the first is the one of ``stopped``.
        stops: times of ``stopped``, "data" or "noised data" -> (times,), at the radius ``eps``.
    """
    fig, axes = figures.panels(2, height=3.0)
    for (name, curve), (colour, line, _) in zip(curves.items(), LOOKS):
        figures.mean_band(axes[0], radii, curve, dim=0, color=COLOURS[colour], linestyle=line, label=name)
    axes[0].axhline(1, color=COLOURS["black"], linestyle=":")
    axes[0].set(xscale="log", xlabel=r"radius $\varepsilon$", ylabel=RATIO)
    axes[0].legend()
    for (name, values), colour, style in zip(stopped.items(), ("orange", "green"), ("s-", "^--")):
        axes[1].plot(stops, values, style, color=COLOURS[colour], label=f"against the {name}")
    axes[1].set(xscale="log", xlabel=r"stopping time $t_{\min}$", ylabel=f"{RATIO}, {next(iter(curves))}")
    axes[1].legend()
    left = ", and ".join(f"{trend(curve.mean(0))} with a {name}" for name, curve in curves.items())
    right = ", ".join(f"against the {name} it {trend(values)}" for name, values in stopped.items())
    figures.show(
        fig, name="fig-measuring-sensitivity",
        caption="Left: the ratio against the radius, mean and interval over seeds. Right: against the stopping time at "
        f"the radius {eps:g}, compared with the data and with the data noised to the same time.",
        alt=f"Left: the ratio {left}. Right: {right}.",
    )  # fmt: skip


# --- memorisation and the tail index ----------------------------------------------------------------------------------


def memory(sizes: Sequence[int], found: Mapping[str, Tensor], close: float, eps: float) -> None:
    """fig-measuring-memory: ratios of samplers with the exact score of N points.

    Args:
        sizes: the numbers N.
        found: "ODE", "SDE", "formula" -> (training sets, sizes).
        close: P(|X - X'| <= eps) of the law; eps: the radius.
    """
    fig, axes = figures.panels(2, height=3.0, width=7.6)
    n = torch.logspace(math.log10(0.75 * min(sizes)), math.log10(1.3 * max(sizes)), 50)
    axes[0].plot(n, 1 - 1 / n + 1 / (n * close), color=COLOURS["black"], label="proposition")
    exact, off = found["formula"], {}
    for name, (colour, _, mark), aside in zip(("ODE", "SDE"), LOOKS, (0.95, 1.05)):
        look = dict(marker=mark, color=COLOURS[colour])
        _bars(axes[0], aside * torch.tensor(sizes), mean_interval(found[name]), label=name, **look)
        axes[1].plot(exact.flatten(), found[name].flatten(), linestyle="none", markerfacecolor="none", **look)
        off[name] = 100 * float((found[name] / exact - 1).abs().mean())
    axes[0].set(xscale="log", xlabel="training points $N$", ylabel=RATIO)
    _own_ticks(axes[0], sizes)
    axes[0].legend()
    ends = [float(exact.min()), float(exact.max())]
    axes[1].plot(ends, ends, color=COLOURS["black"], linewidth=0.8)
    axes[1].set(xlabel="formula for these very points", ylabel=RATIO)
    one, other = (mean_interval(found[name]) for name in ("ODE", "SDE"))
    meet = int(((one.low <= other.high) & (other.low <= one.high)).sum())
    figures.show(
        fig, name="fig-measuring-memory",
        caption=f"The ratio at the radius {eps:g} of samplers that use the exact score of $N$ training points: mean "
        f"and interval over {len(exact)} training sets (left), and each set against the formula (right).",
        alt="Left: the curve of the proposition falls towards one; on average the ODE "
        f"{trend(found['ODE'].mean(0))}, the SDE {trend(found['SDE'].mean(0))}, and their intervals overlap at {meet} "
        f"of {len(sizes)} sizes. Right: the points of both lie along the diagonal, off it by {off['ODE']:.1f} per cent "
        f"for the ODE and {off['SDE']:.1f} for the SDE on average.",
    )  # fmt: skip


def tid(sizes: Sequence[int], bias: Mapping[float, Tensor], eps: float) -> None:
    """fig-measuring-tid: TID of the true law by the share k/N -> (sizes, sets)."""
    fig, axes = figures.panels(1, width=6.4, height=3.0)
    looks = (("blue", "-", "o"), ("orange", "--", "s"), ("green", "-.", "^"))
    for (share, found), (colour, line, mark) in zip(bias.items(), looks):
        look = dict(color=COLOURS[colour], linestyle=line, marker=mark)
        figures.mean_band(axes[0], sizes, found, label=f"$k/N$ = {share:g}", **look)
    axes[0].axhline(0, color=COLOURS["black"], linestyle=":")
    axes[0].set(xscale="log", xlabel="samples $N$", ylabel="TID of the true law")
    _own_ticks(axes[0], sizes)
    axes[0].legend()
    told = "; ".join(f"with k/N = {share:g} the bias {trend(found.mean(1))}" for share, found in bias.items())
    figures.show(
        fig, name="fig-measuring-tid",
        caption=f"TID of samples of the true law against its exact quantiles, radius {eps:g}: mean and interval over "
        f"{next(iter(bias.values())).shape[1]} sets.",
        alt=f"TID against the number of samples: {told}.",
    )  # fmt: skip


# --- agreement, and images --------------------------------------------------------------------------------------------


def fleet(
    values: Mapping[str, Mapping[Key, Tensor]], ranks: Mapping[str, Interval], without: Mapping[str, Interval]
) -> None:
    """fig-measuring-fleet: two measures against total variation.

    Args:
        values: "total variation", "size of log ratio", "TID" -> setting -> (seeds,).
        ranks: of each measure with total variation, over all settings; without: those of x0.
    """
    fig, axes = figures.panels(2, height=3.3, sharex=True)
    measures = ("size of log ratio", "TID")
    for axis, measure in zip(axes, measures):
        for target in ("eps", "v", "x0"):
            mine = [key for key in values[measure] if key[0] == target]
            x, y = (torch.stack([values[name][key] for key in mine]) for name in ("total variation", measure))
            style = {**TARGET_STYLE[target], "linestyle": "none"}
            axis.plot(x.mean(1), y.mean(1), **style)
            axis.plot(x.flatten(), y.flatten(), ".", color=style["color"], alpha=0.3, markersize=3)
        axis.set(xscale="log", xlabel="total variation")
    axes[0].set(ylabel=r"$|\log R_\varepsilon|$", yscale="log")
    axes[1].set(ylabel="TID (reconstruction)")
    axes[0].legend()
    for axis in axes:
        _own_ticks(axis, [0.05, 0.1, 0.2, 0.5])
    size, tail = ([f"{table[name].value:.2f}" for table in (ranks, without)] for name in measures)
    figures.show(
        fig, name="fig-measuring-fleet",
        caption="ANSD ratio and TID against total variation: means of the settings (large) and single networks "
        "(small).",
        alt=f"Two scatter plots over settings. The size of the log ratio has the rank correlation {size[0]} with total "
        f"variation, TID {tail[0]}; without the x0 settings they are {size[1]} and {tail[1]}.",
    )  # fmt: skip


def images(curves: Mapping[str, Mapping[str, Tensor]], shares: Tensor, n: int) -> None:
    """fig-measuring-images: the ratio against the radius, by set of images and kind -> (splits, radii).

    Args:
        curves: as :func:`~diffnotes.chapters.measuring.image_curves` gives them.
        shares: of the training pairs within the radii; n: images of a network.
    """
    fig, axes = figures.panels(len(curves), height=3.3, width=3.4 + 3.2 * len(curves))
    looks, words = (("orange", "-", "s"), ("blue", "--", "o"), ("black", ":", "x")), []
    for axis, (name, rows) in zip(axes, curves.items()):
        for (kind, found), (colour, line, mark) in zip(rows.items(), looks):
            look = dict(color=COLOURS[colour], linestyle=line, marker=mark, label=kind)
            figures.mean_band(axis, 100 * shares, found, dim=0, **look)
            words.append(f"{name}, {kind}: the ratio {trend(found.mean(0))}")
        axis.set(xscale="log", xlabel="training pairs within the radius (%)", ylabel=RATIO, title=name)
    axes[0].legend()
    splits = len(next(iter(next(iter(curves.values())).values())))
    figures.show(
        fig, name="fig-measuring-images",
        caption=f"The ratio of pair fractions to the training images against the radius: {n} samples of the ODE and of "
        f"the SDE at equal network evaluations, and held-out images; mean and interval over {splits} splits and seeds.",
        alt="; ".join(words) + ".",
    )  # fmt: skip


# --- to be moved by hand --------------------------------------------------------------------------------------------

DEFECTS = ("narrow modes", "a lost mode", "clumps", "washed out")


def defect(law: GaussianMixture, kind: str, strength: float) -> GaussianMixture:
    """The mixture on the line with one of :data:`DEFECTS`, of a strength in [0, 1); none at 0.

    Modes are narrower by the strength; the first mode loses that share of its weight; that share of each mode is drawn
    together in clumps, an eighth as wide and as heavy as the mode is there; the variance of each mode grows by it.

    Raises:
        ValueError: for another kind or strength.
    """
    if kind not in DEFECTS or not 0 <= strength < 1:
        raise ValueError(f"kind = {kind!r}, strength = {strength}; allowed: one of {', '.join(DEFECTS)}, [0, 1)")
    means, std, weights = law.means, law.std, law.weights
    if kind == "narrow modes":
        std = std * (1 - strength)
    elif kind == "washed out":
        std = std * (1 + strength) ** 0.5
    elif kind == "a lost mode":
        weights = weights.clone()
        weights[0] *= 1 - strength
    elif strength:
        comb = 0.75 * torch.arange(-5, 6, dtype=means.dtype)
        heavy = (-(comb**2) / 2).softmax(0)
        at = (means + std[:, None] * comb).reshape(-1, 1)
        means, std = torch.cat([means, at]), torch.cat([std, (std / 8).repeat_interleave(len(comb))])
        weights = torch.cat([(1 - strength) * weights, strength * torch.outer(weights, heavy).flatten()])
    return GaussianMixture(means, std, weights / weights.sum())


def split_frames(law: GaussianMixture, strengths: Sequence[float]) -> Callable[[str, float, float], Frame]:
    """(kind, strength, radius) -> densities, and what the excess of close pairs is made of over the strengths."""
    law = on_line(law)
    x = torch.linspace(-2.2, 2.2, 111, dtype=torch.float64)

    @cache
    def parts(kind: str, strength: float, radius: float) -> Split:
        return mixture_split(defect(law, kind, strength), law, radius)

    def compute(kind: str, strength: float, radius: float) -> Frame:
        made = defect(law, kind, strength)
        densities = {name: (x, one.log_prob(x[:, None]).exp()) for name, one in (("data", law), ("generated", made))}
        over = [parts(kind, one, radius) for one in strengths]
        curves = {"ratio less one": [one.ratio - 1 for one in over], "shift": [one.shift for one in over],
                  "unevenness": [one.unevenness for one in over]}  # fmt: skip
        excess = {name: (strengths, values) for name, values in curves.items()}
        panels = [Panel(densities, "sample", "density"), Panel(excess, "strength", "excess of close pairs")]
        now = parts(kind, strength, radius)
        numbers = {"ratio": now.ratio, "shift": now.shift, "unevenness": now.unevenness}
        return Frame(panels, {name: round(value, 9) + 0.0 for name, value in numbers.items()})  # no rounding errors

    return compute


def explorer(law: GaussianMixture, strengths: Sequence[float], radii: Sequence[float]) -> None:
    """What each defect of a generated law does to the ratio and to its two parts."""
    frames = split_frames(law, strengths)
    first = {"kind": "clumps", "strength": strengths[-1], "radius": radii[0]}
    explorer_of(
        frames, {"kind": DEFECTS, "strength": strengths, "radius": radii}, start=first, name="fig-measuring-explorer",
        caption="An explorer. Left: the density of the data and of a generated law with one defect. Right: the excess "
        "of the ratio over one, and the two parts that add up to it, over the strength of the defect. Shown first: "
        "clumps.",
        alt=f"Two panels for clumps at the radius {radii[0]:g}. {frames(**first).words}",
    )  # fmt: skip
