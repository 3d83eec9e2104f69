"""Figures of the chapter on collapse errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.denoiser import Denoiser, Learned
from ..core.law import GaussianMixture, on_line
from ..measure.crowding import neighbour_counts
from ..measure.flow import FlowMap, ode_map, sde_map
from ..measure.interval import mean_interval
from ..model.sample import grid
from ..show import figures
from ..show.explore import Controls, Frame, Key, Panel, Value, explorer
from ..show.figures import COLOURS
from .collapse import Crowding, Transport, near_radius, off_cells

__all__ = [
    "answer", "collapse_explorer", "collapse_frames", "cures", "early", "factors", "filaments", "maps", "planes",
    "radii", "seesaw", "spread", "transport",
]  # fmt: skip

LINES = ("-", "--", ":")
LAST, AVERAGED = 0, 1


def _listed(values: Mapping[Any, Tensor | float], digits: int = 2) -> str:
    """ "name 1.2; other 0.8" of means, for a text alternative."""
    means = {name: float(torch.as_tensor(value, dtype=torch.float64).mean()) for name, value in values.items()}
    return "; ".join(f"{name} {mean:.{digits}g}" for name, mean in means.items())


def _ticks(axis: Any, which: str, ticks: Sequence[float], labels: Sequence[str] | None = None) -> None:
    """Ticks at these places alone, "x" or "y"."""
    getattr(axis, f"set_{which}ticks")(ticks, labels or [f"{tick:g}" for tick in ticks])
    axis.tick_params(axis=which, which="minor", length=0, labelleft=False, labelbottom=False)


# --- the answer -------------------------------------------------------------------------------------------------------


def _dots(axis: Any, place: float, values: Tensor, colour: str = "blue") -> None:
    """The values of the networks in a column, and their mean with its interval beside it."""
    axis.scatter(torch.full_like(values, place), values, s=9, color=COLOURS[colour], alpha=0.45, linewidths=0)
    middle, low, high = mean_interval(values)
    axis.errorbar(place + 0.22, middle, [[middle - low], [high - middle]], fmt="o", color=COLOURS["black"], capsize=3)


def answer(law: GaussianMixture, truth: FlowMap, flows: Mapping[str, FlowMap], radius: float) -> None:
    """fig-collapse-answer: densities that samplers make of one network, ANSD ratio and unevenness of all networks.

    Args:
        law: of the data, on the line.
        truth: the map of the exact score.
        flows: kind of samples -> the laws of an ensemble; of the first and the last the first network's is drawn.
        radius: of the pair counts.
    """
    fig, axes = figures.panels(3, height=3.0, width=9.0)
    edges = torch.linspace(-1.8, 1.8, 145, dtype=torch.float64)
    middle, kinds = (edges[1:] + edges[:-1]) / 2, list(flows)
    axes[0].plot(middle, law.cdf(edges).diff() / edges.diff(), color=COLOURS["black"], linewidth=2.2, label="data")
    for kind, style in ((kinds[0], "-"), (kinds[-1], "--")):
        mass = flows[kind].cdf(edges).diff(dim=-1)[0]
        axes[0].plot(middle, mass / edges.diff(), style, linewidth=1.2, label=kind)
    axes[0].set(xlabel="$x$", ylabel="density", title="first network")
    axes[0].legend(fontsize=7)
    parts = {kind: flow.split(law, radius) for kind, flow in flows.items()}
    ratio = {kind: 1 + shift + uneven for kind, (shift, uneven) in parts.items()}
    uneven = {kind: own for kind, (_, own) in parts.items()}
    shift, own = truth.split(law, radius)
    for axis, found, title, line in (
        (axes[1], ratio, "ANSD ratio", float(1 + shift + own)), (axes[2], uneven, "unevenness", float(own)),
    ):  # fmt: skip
        for i, values in enumerate(found.values()):
            _dots(axis, i, values)
        axis.axhline(line, color=COLOURS["black"], linewidth=1, linestyle=":")
        axis.set_title(title)
        axis.set_xticks(range(len(kinds)), [kind.replace(", ", "\n") for kind in kinds], fontsize=8)
    figures.show(
        fig,
        name="fig-collapse-answer",
        caption="Two samplers, two sets of weights of the same training runs, on the two-mode mixture. Left: the "
        "density that a sampler makes of one network. Middle and right: ANSD ratio and unevenness of all networks, "
        "their mean and its interval; dotted, the ODE with the exact score.",
        alt=f"Left: the density by {kinds[0]} has peaks and holes that the data have not, that by {kinds[-1]} is "
        f"nearer to them. Mean ANSD ratio: {_listed(ratio, 3)}. Mean unevenness: {_listed(uneven)}; with the exact "
        f"score {float(own):.2g}.",
    )


# --- samples in the plane ---------------------------------------------------------------------------------------------


def planes(
    clouds: Mapping[str, Mapping[str, Tensor]], data: Mapping[str, Tensor], found: Mapping[str, Mapping[str, Crowding]]
) -> None:
    """fig-collapse-planes: data and samples, a row for each data set, crowded samples in another colour.

    A sample is crowded that has more others near than 99 of 100 of as many data, within the radius of one per cent of
    the pairs.

    Args:
        clouds: data set -> kind of samples -> (members, n, 2); the first member is drawn.
        data: data set -> (m, 2), as many are drawn.
        found: data set -> kind -> its crowding, for the text.
    """
    kinds = ("ODE", "SDE", "averaged ODE", "exact ODE")
    fig, axes = figures.panels(1 + len(kinds), len(clouds), height=1.75, width=8.6)
    for row, (name, own) in enumerate(clouds.items()):
        alike = data[name][: own["ODE"].shape[1]]
        shown = {"data": alike} | {kind: own[kind][0] for kind in kinds}
        reach, near = 1.15 * float(data[name].abs().max()), near_radius(data[name][:1500])
        most = float(neighbour_counts(alike, near).double().quantile(0.99))
        for column, (kind, cloud) in enumerate(shown.items()):
            axis, crowded = axes[(1 + len(kinds)) * row + column], neighbour_counts(cloud, near) > most
            axis.scatter(*cloud[~crowded].T, s=1.2, color=COLOURS["black" if kind == "data" else "blue"], linewidths=0)
            axis.scatter(*cloud[crowded].T, s=4, color=COLOURS["orange"], marker="s", linewidths=0)
            figures.bare(axis, xlim=(-reach, reach), ylim=(-reach, reach))
            axis.set(title=kind if row == 0 else "", ylabel=name if column == 0 else "")
    told = {name: ", ".join(f"{kind} {100 * float(of[kind].empty.mean()):.2g} % and "
                            f"{float(of[kind].densest.mean()):.2g}" for kind in kinds)
            for name, of in found.items()}  # fmt: skip
    figures.show(
        fig,
        name="fig-collapse-planes",
        caption="Data (first column), samples of the first network by the ODE, by the SDE, and by the ODE with "
        "averaged weights, and the ODE with the exact score (last column), for three data sets in the plane. Orange "
        "squares are crowded samples: they have more others near than all but one in a hundred of the data have.",
        alt="Scatter plots, a row for each data set. Mean share of the data with no sample near, and neighbours of the "
        "densest tenth over those of the data: " + "; ".join(f"{name} {text}" for name, text in told.items()) + ".",
    )


def radii(shares: Sequence[float], found: Mapping[str, Mapping[str, Tensor]]) -> None:
    """fig-collapse-radii: the ANSD ratio over the radius, a panel for each data set.

    Args:
        shares: of the pairs of the data that the radii have within them.
        found: data set -> kind of samples -> (sets, radii), as
            :func:`diffnotes.chapters.collapse.ratio_curves`.
    """
    fig, axes = figures.panels(len(found), height=2.9, width=3.1 * len(found))
    percent, told = [100 * share for share in shares], []
    for axis, (name, kinds) in zip(axes, found.items()):
        for (kind, curves), style in zip(kinds.items(), ("-", "--", "-.", ":")):
            if len(curves) > 1:
                figures.mean_band(axis, percent, curves.T, linestyle=style, label=kind)
            else:
                axis.plot(percent, curves[0], style, color=COLOURS["black"], label=kind)
            told.append(f"{name}, {kind}: {figures.trend(curves.mean(0))}")
        axis.axhline(1, color=COLOURS["grey"], linewidth=0.8)
        axis.set(xscale="log", xlabel="pairs of the data within the radius (%)", title=name)
        axis.legend(fontsize=7)
    axes[0].set_ylabel("ANSD ratio")
    figures.show(
        fig,
        name="fig-collapse-radii",
        caption="The ANSD ratio against the radius, told by the share of the pairs of the data within it: mean and "
        "interval over networks.",
        alt="Curves of the mean ratio from small radii to large ones. " + "; ".join(told) + ".",
    )


def filaments(clouds: Mapping[str, Tensor]) -> None:
    """fig-collapse-filaments: samples of the chessboard by kind, (n, 2) each, those off its cells in another colour."""
    fig, axes = figures.panels(len(clouds), height=3.2, width=9.0)
    shares = {kind: float(off_cells(cloud)) for kind, cloud in clouds.items()}
    for axis, (kind, cloud) in zip(axes, clouds.items()):
        off = off_cells(cloud[:, None]) > 0
        axis.scatter(*cloud[~off].T, s=0.5, color=COLOURS["sky"], linewidths=0)
        axis.scatter(*cloud[off].T, s=3, color=COLOURS["black"], linewidths=0)
        figures.bare(axis, xlim=(-2.4, 2.4), ylim=(-2.4, 2.4), title=kind)
    figures.show(
        fig,
        name="fig-collapse-filaments",
        caption="Samples of the chessboard by one network, and by the exact score: on the cells (light) and off them "
        "(black).",
        alt="Scatter plots of the chessboard, points off the cells marked. Share of them in per cent: "
        + _listed({kind: 100 * share for kind, share in shares.items()}) + ".",
    )


# --- flow maps --------------------------------------------------------------------------------------------------------


def maps(truth: FlowMap, learned: FlowMap, law: GaussianMixture, ratios: Mapping[str, Tensor]) -> None:
    """fig-collapse-maps: flow maps and density ratios of three networks, and the ANSD ratios of all.

    Args:
        truth, learned: the maps of the exact score, and of an ensemble.
        law: of the data.
        ratios: setting -> (networks,).
    """
    fig, axes = figures.panels(3, height=3.0, width=8.6)
    axes[0].plot(truth.z, truth.x, color=COLOURS["black"], linewidth=2.5, label="exact")
    relative, middle = learned.density_ratio(law), (learned.x[:, 1:] + learned.x[:, :-1]) / 2
    for i, style in zip(range(len(learned.x)), LINES):
        axes[0].plot(learned.z, learned.x[i], style, linewidth=1.2, label=f"network {i + 1}")
        axes[1].semilogy(middle[i], relative[i], style, linewidth=1.2)
    axes[0].set(xlabel="start $z$", ylabel="end $x(z)$", title="flow map", xlim=(-2.5, 2.5), ylim=(-2, 2))
    axes[0].legend()
    axes[1].set(xlabel="$x$", ylabel=r"$\hat p/p$", title="density ratio", xlim=(-2, 2), ylim=(0.05, 20))
    for i, values in enumerate(ratios.values()):
        axes[2].scatter(torch.full_like(values, i), values, s=14, color=COLOURS["blue"], zorder=3)
    axes[2].set(title="ANSD ratio of all networks", yscale="log")
    _ticks(axes[2], "y", [0.7, 1, 1.5, 2, 3, 5])
    axes[2].set_xticks(range(len(ratios)), list(ratios), rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
    for axis in axes[1:]:
        axis.axhline(1, color=COLOURS["black"])
    figures.show(
        fig,
        name="fig-collapse-maps",
        caption="Left: the flow map of the exact score and of three networks ($\\epsilon$-prediction, constant "
        "learning rate). Middle: density of what they generate over the true density. Right: the ANSD ratio of all "
        "networks, by setting.",
        alt="Left: the exact map is a smooth staircase with two treads; the networks' maps wobble around it and are "
        f"flatter in places, on {100 * float(learned.flat_share(law).mean()):.2g} % of the mass. Middle: density "
        f"ratios scatter around one. Right, mean ratio by setting: {_listed(ratios, 3)}.",
    )


def early(
    times: Sequence[float], along: Mapping[str, Tensor], tv: Mapping[str, Tensor], ratio: Mapping[str, Tensor],
    switches: Sequence[float],
) -> None:
    """fig-collapse-early: the distance along the ODE, and two measures of hybrid samplers by their switch time.

    Args:
        times: of ``along``, from high noise on.
        along: "eps" and "averaged" -> (times, networks), total variation to the law of the same time.
        tv, ratio: total variation and ANSD ratio at the end, of samplers that are learned "above" and "below" a time
            -> (switches, networks), and throughout, "whole" -> (1, networks).
        switches: these times.
    """
    fig, axes = figures.panels(3, height=2.9, width=8.6)
    figures.mean_band(axes[0], times, along["eps"], marker="o", label="last weights")
    figures.mean_band(axes[0], times, along["averaged"], marker="s", linestyle="--", label="averaged weights")
    axes[0].set(xlabel="time $t$", ylabel="total variation", title="along the ODE")
    axes[0].legend()
    for axis, (title, found) in zip(axes[1:], {"total variation": tv, "ANSD ratio": ratio}.items()):
        figures.mean_band(axis, switches, found["above"], marker="o", label="learned above $t^*$")
        figures.mean_band(axis, switches, found["below"], marker="s", linestyle="--", label="learned below $t^*$")
        whole = float(found["whole"].mean())
        axis.axhline(whole, color=COLOURS["grey"], linestyle=":", label="learned throughout")
        axis.set(xlabel="switch time $t^*$", title=f"{title} at the end")
    axes[1].legend(fontsize=7)
    above, below = (
        "; ".join(f"{float(row.mean()):.2g} at {t:g}" for t, row in zip(switches, tv[side]))
        for side in ("above", "below")
    )
    figures.show(
        fig,
        name="fig-collapse-early",
        caption="Left: how far the ODE's law is from the law of the same time, along the path (it runs from right to "
        "left). Middle and right: hybrid samplers with the learned score above the switch time and the exact one "
        "below, or the reverse. Mean and interval over networks.",
        alt="Left: from the noise end to the data end the distance with the last weights "
        f"{figures.trend(along['eps'].mean(1))}. Middle, total variation with the learned score above the switch: "
        f"{above}. With the learned score below: {below}.",
    )


def transport(starts: Tensor, times: Tensor, moved: Transport, ranked: Tensor) -> None:
    """fig-collapse-transport: errors at the end, found and transported, and the time at which they are made.

    Args:
        starts: (q,); times: of the path.
        moved: of an ensemble, its errors.
        ranked: (members,) rank correlations, for the text.
    """
    fig, axes = figures.panels(2)
    axes[0].plot(starts, moved.found[0], label="found")
    axes[0].plot(starts, moved.predicted[0], "--", label="transported")
    axes[0].set(xlabel="start $z$", ylabel="error of the end point", title="first network", xlim=(-2.5, 2.5),
                ylim=(-0.5, 0.5))  # fmt: skip
    axes[0].legend()
    rate = moved.by_time.square().mean(-1).sqrt().mean(0) / times.diff().abs()
    axes[1].plot(times[1:], rate)
    axes[1].set(xlabel="time $t$", ylabel="error at the end per unit time", title="where it is made", yscale="log")
    figures.show(
        fig,
        name="fig-collapse-transport",
        caption="Left: error of the end point of the ODE, found and predicted by linear transport of the velocity "
        "error. Right: root mean square contribution of each time to the error at the end, mean over networks.",
        alt="Left: the two curves follow each other outside the gap; the mean rank correlation over networks is "
        f"{float(ranked.mean()):.2f}. Right: the contribution per unit time {figures.trend(rate.flip(0))} from the "
        "data end to the noise end.",
    )


def spread(predicted: Tensor, found: Tensor, uneven: Tensor, correlations: Sequence[float]) -> None:
    """fig-collapse-spread: what the slope error at high noise tells of each network's law.

    Args:
        predicted: (networks,) log of the excess variance by the sign law.
        found, uneven: (networks,) log of the excess spread, squared, and the unevenness of the ODE's law.
        correlations: of ``predicted`` with ``found`` and with ``uneven``, for the text.
    """
    fig, axes = figures.panels(2, height=2.9, width=7.6)
    for axis, values, name in ((axes[0], found, "twice the log of the spread"), (axes[1], uneven, "unevenness")):
        axis.scatter(predicted, values, s=18, color=COLOURS["blue"])
        axis.set(xlabel="log variance by the sign law", ylabel=name)
    ends = [float(predicted.min()), float(predicted.max())]
    axes[0].plot(ends, ends, color=COLOURS["black"], linewidth=1, linestyle="--")
    figures.show(
        fig,
        name="fig-collapse-spread",
        caption="The slope error of each trained network above the switch, integrated as the sign law says, against "
        "the spread (left; the dashed line is equality) and the unevenness (right) of the law that the ODE makes.",
        alt="Scatter plots, a point for each network. The correlation with the spread is "
        f"{float(correlations[0]):.2f}, with the unevenness {float(correlations[1]):.2f}.",
    )


# --- what makes it worse, and cures -----------------------------------------------------------------------------------

FACTORS = {"width": "width", "depth": "hidden layers", "points": "training points"}
MEASURES = {
    "at 0.4": "total var., $t=0.4$", "ratio": "ANSD ratio", "uneven": "unevenness", "tv": "total variation",
}  # fmt: skip


def factors(columns: Mapping[str, Mapping[int, Mapping[str, Tensor]]]) -> None:
    """fig-collapse-factors: four measures when one factor is varied.

    Args:
        columns: "width", "depth", "points", or "steps, ..." -> value of the factor -> measure, as
            :func:`diffnotes.chapters.collapse.end_measures` gives them for last and averaged weights.
    """
    fig, axes = figures.panels(len(columns), len(MEASURES), height=1.75, width=9.0, sharey="row")
    told = []
    for i, (column, found) in enumerate(columns.items()):
        factor, _, title = column.partition(", ")
        label, values = FACTORS.get(factor, factor), list(found)
        for j, (measure, name) in enumerate(MEASURES.items()):
            axis = axes[len(columns) * j + i]
            last, averaged = torch.stack([one[measure] for one in found.values()], 1)
            figures.mean_band(axis, values, last, marker="o", label="last weights")
            figures.mean_band(axis, values, averaged, marker="s", linestyle="--", label="averaged")
            axis.set(xscale="linear" if factor == "depth" else "log")
            ticks = values if len(values) < 4 or factor == "depth" else values[::3]
            _ticks(axis, "x", ticks, [f"{tick:,}" for tick in ticks])
            if j == 0:
                axis.set_title(title)
                first, second = (figures.trend(kind.mean(1)) for kind in (last, averaged))
                told.append(f"{label}{' with ' + title if title else ''}: the first {first}, the second {second}")
            axis.set(xlabel=label if j == len(MEASURES) - 1 else "", ylabel="" if i else name)
    axes[0].legend(fontsize=7)
    figures.show(
        fig,
        name="fig-collapse-factors",
        caption="Four measures (rows) of the ODE's law when one factor is varied (columns): mean and interval over "
        "networks, constant learning rate, last and averaged weights.",
        alt="A grid of panels. Mean total variation at time 0.4 with the last weights and with averaged ones: "
        + "; ".join(told) + ".",
    )


def seesaw(
    sizes: Mapping[str, Mapping[int, Mapping[str, Tensor]]], times: Tensor, errors: Mapping[str, Tensor],
    border: float, traded: Mapping[str, float],
) -> None:
    """fig-collapse-seesaw: the excess error at low and high noise by the size of the network, and of specialists.

    Args:
        sizes: "hidden layers" or "width" -> its value -> "low noise", "high noise" -> (networks,).
        times: (L,).
        errors: "all times", "high noise only", "low noise only" -> (networks, L).
        border: between the sides.
        traded: "seesaw", "low" -> the error of the network for all times over that of the one for high, or low noise.
    """
    sides = {"all times": times > 0, "high noise only": times >= border, "low noise only": times <= border}
    fig, axes = figures.panels(len(sizes) + 1, width=9.0, height=3.0)
    told = []
    for axis, (size, found) in zip(axes, sizes.items()):
        for side, look in (("low noise", {"marker": "s", "linestyle": "--"}), ("high noise", {"marker": "o"})):
            values = torch.stack([of[side] for of in found.values()])
            figures.mean_band(axis, list(found), values / values[0].mean(), label=side, **look)
            told.append(f"{size}, {side}: {figures.trend(values.mean(1) / values[0].mean())}")
        axis.set(xlabel=size, ylabel="error over that of the smallest", yscale="log",
                 xscale="log" if size == "width" else "linear")  # fmt: skip
        _ticks(axis, "x", list(found))
        axis.axhline(1, color=COLOURS["grey"], linewidth=0.8)
        axis.legend(fontsize=7)
    for (name, mine), style in zip(sides.items(), ("-", "--", ":")):
        looks = {"linestyle": style, "marker": "o", "markersize": 3, "label": name}
        figures.mean_band(axes[-1], times[mine], errors[name].T[mine], **looks)
    axes[-1].axvline(border, color=COLOURS["grey"], linewidth=0.8)
    axes[-1].set(xlabel="time $t$", ylabel=r"error of $\epsilon$", yscale="log", title="specialists")
    axes[-1].legend(fontsize=7)
    figures.show(
        fig,
        name="fig-collapse-seesaw",
        caption="Squared error of $\\epsilon$ beyond that of the exact predictor. Left and middle: at low and at high "
        "noise, by the size of the network (constant rate, last weights), over that of the smallest. Right: networks "
        "trained on all times and on one side of the border alone, each with as many samples of its side (narrow "
        "modes, decayed rate). Mean and interval over networks.",
        alt="Mean error over that of the smallest network: " + "; ".join(told) + ". Right: the network for all times "
        f"has {float(traded['seesaw']):.2g} times the error of the one for high noise at high noise, and "
        f"{float(traded['low']):.2g} times the error of the one for low noise at low noise.",
    )


def cures(measures: Mapping[str, Mapping[str, Tensor]]) -> None:
    """fig-collapse-cures: measures ("ANSD ratio", ...) by cure -> (networks,), rows in the order of the first."""
    names = list(next(iter(measures.values())))
    ticks = {"ANSD ratio": [0.8, 1, 1.5, 2, 4], "unevenness": [0.01, 0.1, 1], "total variation": [0.05, 0.1, 0.2, 0.5]}
    fig, axes = figures.panels(len(measures), height=3.8, width=9.0)
    for axis, (title, values) in zip(axes, measures.items()):
        for i, name in enumerate(names):
            middle, low, high = mean_interval(values[name])
            colour, mark = ("orange", "s") if name.endswith("SDE") else ("blue", "o")
            bar = [[middle - low], [high - middle]]
            axis.errorbar(middle, i, xerr=bar, fmt=mark, color=COLOURS[colour], capsize=3)
        axis.set(title=title, xscale="log")
        _ticks(axis, "x", ticks[title])
        axis.set_yticks(range(len(names)), names if axis is axes[0] else [""] * len(names))
        axis.invert_yaxis()
    axes[0].axvline(1, color=COLOURS["black"])
    told = "; ".join(f"{title}: {_listed(values)}" for title, values in measures.items())
    figures.show(
        fig,
        name="fig-collapse-cures",
        caption="Three measures of the generated law by cure: mean and interval over networks (ODE, "
        "$\\epsilon$-prediction, constant rate and last weights unless the name says otherwise; squares are the "
        "SDE's).",
        alt=f"Panels of intervals. Means. {told}.",
    )


# --- the explorer -----------------------------------------------------------------------------------------------------


def collapse_frames(
    fleet: Mapping[Key, Denoiser], law: GaussianMixture, *, train: Callable[[str, int, int], Denoiser] | None = None,
    points: int = 1000, drawn: int = 160,
) -> Callable[..., Frame]:
    """The function of an explorer of flow maps: compute(learning_rate, width, training_steps, sampler, ...).

    Its panels are the map from start z to end x and the densities, exact and generated, its numbers the ANSD ratio at
    the radius, total variation and flat share (:class:`diffnotes.measure.flow.FlowMap`). It keeps what it has trained
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
    law = on_line(law)
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
            maps[key] = ode_map(net, times, points) if sampler == "ODE" else sde_map(net, law, times, points)
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
    fleet: Mapping[Key, Denoiser], law: GaussianMixture, controls: Controls,
    train: Callable[[str, int, int], Denoiser] | None = None, start: Mapping[str, Value] | None = None,
    **options: Any,
) -> None:
    """fig-collapse-explorer: the flow map that a sampler makes of a network; settings as :func:`collapse_frames`.

    ``controls`` needs "learning_rate", "width" and "training_steps"; "sampler", "sampler_steps" and "radius" may be
    left out. Networks that ``fleet`` does not hold are given by ``train``: for a page all that ``controls`` ask for;
    in a kernel, where ``more`` widens the choice, as the reader asks. ``options`` are those of :func:`explorer`.
    """
    compute = collapse_frames(fleet, law, train=train)
    first = {key: values[0] for key, values in controls.items()} | dict(start or {})
    shown = compute(**first)
    said = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in first.items())
    found = ", ".join(f"{key} {value:g}" for key, value in shown.numbers.items())
    explorer(
        compute, controls, start=start,
        caption="An explorer. Left: the map from normal quantiles to the generated ones, exact and by one network; "
        f"where it is flat, samples crowd. Right: the densities. Shown first: {said}.",
        alt=f"Two panels for {said}. {shown.words} Numbers: {found}.",
        **{"name": "fig-collapse-explorer"} | options,
    )  # fmt: skip
