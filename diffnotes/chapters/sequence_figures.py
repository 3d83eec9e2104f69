"""Figures of the chapter on the estimation gap and the sequence-aware loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..core.law import GaussianMixture
from ..core.schedule import Chain
from ..measure.interval import Interval, mean_interval, ratio_interval
from ..model.sample import grid, sampled_variance
from ..model.window import Window
from ..show import figures
from ..show.explore import Frame, Panel
from ..show.explore import explorer as explorer_of
from ..show.figures import COLOURS, trend
from .sequence import Gaps, best_weights, crossings, gaussian_minimiser, implied_variance, share_of_squares, shrinkage

__all__ = [
    "compensation", "covariances", "explorer", "gaps", "images", "implied", "mixture", "step_frames", "tau", "trained",
    "weights",
]  # fmt: skip

ARMS = {
    "exact": ("black", "-", "", "exact predictor"),
    "plain": ("blue", "-", "o", "plain loss"),
    "K=2": ("orange", "--", "s", r"$K=2$, $\lambda=1$"),
    "K=3": ("green", "-.", "^", r"$K=3$, $\lambda=0.3$"),
    "K=4": ("pink", ":", "D", r"$K=4$, $\lambda=0.2$"),
    "large": ("amber", "-", "v", r"$K=2$, $\lambda=10$"),
    "path": ("sky", (0, (1, 2)), "*", r"$K=2$, one noise path"),
    "doubled": ("sky", "-", "P", "plain, twice the steps"),
    "scaled": ("grey", "--", "x", "plain, scaled"),
    "both": ("green", ":", "X", "plain, twice the steps, scaled"),
}
LINES = (("blue", "-"), ("orange", "--"), ("green", "-."), ("pink", ":"))
COUPLINGS = {"independent": ("orange", "--", "independent"), "markov": ("sky", "-", "one path"),
             "shared": ("black", ":", "shared")}  # fmt: skip
VARIANCES = {"tilde": r"$\tilde\beta$", "analytic": "Analytic", "npr": "NPR", "sn": "SN"}
METHODS = {"tilde": "beta-tilde", "analytic": "Analytic-DPM", "npr": "NPR", "sn": "SN"}
STEPS = "steps of the sampler"
DISTANCE = "Wasserstein distance to the data"


def _look(name: str, **changes: Any) -> dict[str, Any]:
    """Colour, line, marker and label of an arm."""
    colour, line, marker, label = ARMS[name]
    return {"color": COLOURS[colour], "linestyle": line, "marker": marker, "label": label} | changes


def _said(name: str) -> str:
    """An arm's label without signs of mathematics."""
    return ARMS[name][3].replace("$", "").replace("\\lambda", "lambda")


def _means(rows: Mapping[int, Tensor]) -> list[float]:
    return [float(found.mean()) for found in rows.values()]


def _curves(axis, rows: Mapping[str, Mapping[int, Tensor]], names: Sequence[str]) -> None:
    """Distances against steps, mean and interval over the sets."""
    for name in names:
        middle = [mean_interval(found) for found in rows[name].values()]
        figures.band(axis, list(rows[name]), *zip(*middle), **_look(name))
    axis.set(xscale="log", yscale="log", xlabel=STEPS)


# --- exact results ----------------------------------------------------------------------------------------------------


def tau(chains: Mapping[str, Chain]) -> None:
    """fig-sequence-tau: the weights of each chain, and the share of their squares up to each step."""
    fig, axes = figures.panels(2)
    said = []
    for (name, chain), (colour, line) in zip(chains.items(), LINES):
        index, share = torch.arange(2, chain.T + 1), 100 * share_of_squares(chain)
        look = dict(color=COLOURS[colour], linestyle=line, label=name)
        axes[0].plot(index, chain.tau[2:], **look)
        axes[1].plot(index, share, **look)
        ten = min(8, len(share) - 1)
        said.append(f"{name}: the weight {trend(chain.tau[2:])}, the share {float(share[0]):.0f} per cent at step 2 "
                    f"and {float(share[ten]):.0f} at step {ten + 2}")
    axes[0].set(xscale="log", yscale="log", xlabel="step $i$", ylabel=r"$\tau_i$")
    axes[1].set(xscale="log", xlabel="step $i$", ylabel=r"share of $\sum\tau^2$ up to $i$ (%)", ylim=(0, 104))
    axes[0].legend()
    figures.show(
        fig,
        name="fig-sequence-tau",
        caption=r"Left: the weights $\tau_i$ of the theorem. Right: the share of $\sum_i\tau_i^2$ that lies on the "
        "steps up to $i$.",
        alt=f"Left, doubly logarithmic, weights against the step; right, shares that rise to one. {'; '.join(said)}.",
    )


def implied(by_window: Mapping[str, Tensor], by_coupling: Mapping[str, Tensor], arms: Mapping[str, Window]) -> None:
    """fig-sequence-implied: implied over true variance, (T + 1,), by setting with its closed form, and by coupling.

    Args:
        by_window: arm -> ratios, for the settings ``arms``.
        by_coupling: coupling -> ratios.
        arms: arm -> its window.
    """
    fig, axes = figures.panels(2)
    index = torch.arange(2, 701)
    for name, values in by_window.items():
        look = _look(name, marker="")
        axes[0].plot(index, values[2:701], **look)
        axes[0].axhline(1 + shrinkage(arms[name]), color=look["color"], linewidth=0.8, alpha=0.5)
    for name, values in by_coupling.items():
        colour, line, label = COUPLINGS[name]
        axes[1].plot(index, values[2:701], color=COLOURS[colour], linestyle=line, label=label)
    axes[0].set(xlabel="step $t$", ylabel="implied variance / variance of the data", title="independent noises")
    axes[1].set(xlabel="step $t$", title=r"$K=2$, $\lambda=1$: the law of the noises")
    for axis in axes:
        axis.legend()
    left = ", ".join(f"{_said(name)} {float(values[100]):.2f} at t = 100, closed form {1 + shrinkage(arms[name]):.2f}"
                     for name, values in by_window.items())  # fmt: skip
    right = "; ".join(f"{COUPLINGS[name][2]} {trend(values[2:401])}" for name, values in by_coupling.items())
    figures.show(
        fig,
        name="fig-sequence-implied",
        caption="The variance of the data for which the exact minimiser of the SA loss would be the best predictor, "
        "over the true one. Left: the published settings with independent noises, and the closed form (thin lines). "
        "Right: three joint laws of the noises.",
        alt=f"Left: {left}. Right, from step 2 to 400: {right}.",
    )


def compensation(
    counts: Sequence[int], spread: Mapping[str, Tensor], repaired: Tensor, needed: Tensor, arms: Mapping[str, Window]
) -> None:
    """fig-sequence-compensation: variances of samples of N(0, 1), and the inflation that makes them right.

    Args:
        counts: (L,) steps of the sampler.
        spread: arm -> variances (L,).
        repaired: (L,) with the exact predictor and the optimal variances.
        needed: (L,) inflations, falling.
        arms: the settings whose inflation is shown.
    """
    fig, axes = figures.panels(2, height=4.1)
    axes[0].axhspan(0, 1, color=COLOURS["sky"], alpha=0.12, linewidth=0)
    axes[0].axhspan(1, 2, color=COLOURS["amber"], alpha=0.12, linewidth=0)
    for name, values in spread.items():
        axes[0].plot(counts, values, **_look(name, marker=""))
    axes[0].plot(counts, repaired, color=COLOURS["grey"], linewidth=3, alpha=0.6, label="exact, optimal variance")
    axes[0].set(xscale="log", xlabel=STEPS, ylabel="variance of samples / of data", ylim=(0.3, 1.9))
    axes[0].text(180, 0.6, "too few steps shrink", ha="center", va="center", style="italic")
    axes[0].text(14, 1.7, "the bias inflates", ha="center", va="center", style="italic")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncol=4, fontsize=8)
    axes[1].plot(counts, needed, color=COLOURS["black"])
    met = crossings(counts, needed, arms)
    for name, window in arms.items():
        axes[1].axhline(shrinkage(window), **_look(name, marker="", label=None))
    for name, n in met.items():
        axes[1].plot([n], [shrinkage(arms[name])], "o", color=COLOURS["black"], markersize=6)
    axes[1].text(7, 0.02, "what the sampler needs\n(black), what each\nsetting supplies", fontsize=8, va="center")
    axes[1].set(xscale="log", yscale="log", ylim=(4e-3, 3), xlabel=STEPS, ylabel=r"inflation $\kappa$")
    crossed = ", ".join(f"{_said(name)} near {n:.0f} steps" for name, n in met.items())
    figures.show(
        fig,
        name="fig-sequence-compensation",
        caption="Gaussian data, everything exact, no network. Left: variance of the samples over that of the data. "
        r"Below one the sampler shrinks, above one the bias inflates. Right: the inflation $\kappa$ that makes the "
        "variance right at a given number of steps, and what the published settings supply; they are right where the "
        "lines cross (dots).",
        alt=f"Left, from {counts[0]} to {counts[-1]} steps: "
        + "; ".join(f"{_said(name)} {trend(values)}" for name, values in spread.items())
        + f"; with optimal variances the line {trend(repaired)}. Right: the inflation that is needed {trend(needed)} "
        f"and is that of {crossed}.",
    )


# --- the mixture ------------------------------------------------------------------------------------------------------


def mixture(rows: Mapping[str, Mapping[int, Tensor]], samples: Mapping[str, Tensor], law: GaussianMixture) -> None:
    """fig-sequence-mixture: distances of exact minimisers by steps, and densities of samples in ten steps.

    Args:
        rows: arm -> steps -> distances (sets,).
        samples: arm -> samples in ten steps, (sets, n) float64.
        law: of the data.
    """
    fig, axes = figures.panels(2, height=3.4)
    _curves(axes[0], rows, list(rows))
    axes[0].set(ylabel=DISTANCE)
    axes[0].legend(fontsize=7)
    line, edges = (torch.linspace(-2, 2, n, dtype=torch.float64) for n in (401, 81))
    axes[1].fill_between(line, law.log_prob(line[:, None]).exp(), color=COLOURS["grey"], alpha=0.25, label="data",
                         linewidth=0)
    for name, x in samples.items():
        height = torch.histogram(x.flatten(), edges, density=True).hist
        axes[1].stairs(height, edges, color=COLOURS[ARMS[name][0]], linewidth=1.3, label=f"{ARMS[name][3]}, 10 steps")
    axes[1].set(xlabel="$x$", ylabel="density", ylim=(0, 2.4))
    axes[1].legend(fontsize=7, loc="upper center", ncol=1)
    grids = list(next(iter(rows.values())))
    least = {n: min(rows, key=lambda name, n=n: float(rows[name][n].mean())) for n in grids}
    modes = "; ".join(f"{_said(name)} at {float(x.abs().mean()):.2f} with a deviation of "
                      f"{float(x.abs().std()):.2f}" for name, x in samples.items())  # fmt: skip
    sets, size = next(iter(samples.values())).shape
    figures.show(
        fig,
        name="fig-sequence-mixture",
        caption=f"The mixture with exact minimisers, no training. Left: distance of {size} samples to the data, mean "
        f"and interval over {sets} sets. Right: what ten steps make of the two modes.",
        alt="Left, doubly logarithmic, distances: "
        + "; ".join(f"{_said(name)} {trend(_means(found))}" for name, found in rows.items())
        + ". The lowest curve is "
        + ", ".join(f"{_said(name)} at {n} steps" for n, name in least.items())
        + f". Right, the two modes lie symmetrically: {modes}.",
    )


def weights(path: Sequence[float], rows: Mapping[int, Sequence[Tensor]]) -> None:
    """fig-sequence-weights: distances against lambda.

    Args:
        path: values of lambda.
        rows: steps -> distances (sets,) at each of them.
    """
    fig, axes = figures.panels(1, width=6.0, height=3.3)
    looks = (("orange", "s", "--"), ("green", "^", "-."), ("pink", "D", ":"), ("blue", "o", "-"))
    best, said = best_weights(path, rows), []
    for (n, found), (colour, marker, line) in zip(rows.items(), looks):
        middle, means = [mean_interval(one) for one in found], [float(one.mean()) for one in found]
        look = dict(color=COLOURS[colour], marker=marker, linestyle=line, label=f"{n} steps")
        figures.band(axes[0], path, *zip(*middle), **look)
        said.append(f"at {n} steps the distance {trend(means)} and is least at lambda = {best[n]:g}")
    axes[0].set_xscale("symlog", linthresh=0.1)
    axes[0].set(yscale="log", xlabel=r"$\lambda$ ($K=2$)", ylabel=DISTANCE)
    axes[0].legend(fontsize=8)
    figures.show(
        fig,
        name="fig-sequence-weights",
        caption=r"Distance to the data against the weight $\lambda$ of the SA loss with $K=2$, exact minimisers on "
        "the mixture.",
        alt=f"{'; '.join(said)}.",
    )


# --- networks ---------------------------------------------------------------------------------------------------------


def trained(rows: Mapping[str, Mapping[int, Tensor]]) -> None:
    """fig-sequence-trained: distances of trained networks, arm -> steps -> (seeds,); "exact" among them."""
    left = ("exact", "plain", "K=2", "K=3", "K=4", "large", "path")
    right = ("exact", "doubled", "K=2", "scaled", "both")
    fig, axes = figures.panels(2, height=3.5, sharey=True)
    for axis, names, title in zip(axes, (left, right), ("equal training steps", "controls")):
        _curves(axis, rows, names)
        axis.set(title=title)
        axis.legend(fontsize=7, loc="lower left")
    axes[0].set(ylabel=DISTANCE)
    told = [f"{_said(name)} {trend(_means(found))}" for name, found in rows.items()]
    over = [(name, n, ratio_interval(rows[name][n], rows["plain"][n]).value)
            for name in ("K=2", "path") for n in (min(rows[name]), max(rows[name]))]  # fmt: skip
    ratios = [f"{_said(name)} {found:.2f} at {n} steps" for name, n, found in over]
    figures.show(
        fig,
        name="fig-sequence-trained",
        caption=f"Trained networks on the mixture, mean and interval over {len(next(iter(rows['plain'].values())))} "
        "seeds. Left: arms with the same number of training steps. Right: $K=2$ and the controls: the plain loss at "
        "the same number of network evaluations, the plain networks scaled, and both.",
        alt=f"Doubly logarithmic, distances against steps: {'; '.join(told)}. Ratios to the plain loss: "
        f"{'; '.join(ratios)}.",
    )


def gaps(found: Mapping[str, Gaps], sizes: Mapping[str, Tensor], share: Tensor) -> None:
    """fig-sequence-gaps: gaps along the sampler, at the end of sampling from noise, and by step.

    Args:
        found: arm, or "mean" for the predictor that always draws the mean of the data -> gaps from noised data.
        sizes: "exact" and "mean" -> gaps from noise (sets,) over the standard deviation of the data.
        share: (T,) share of the gap at the end that comes from the steps up to i, for i = 2, 3, ...
    """
    fig, axes = figures.panels(3, width=8.2, height=3.0)
    always = dict(color=COLOURS["amber"], linestyle=(0, (5, 1)), label="always the mean")
    for name, one in found.items():
        axes[0].plot(one.times, one.running, **(always if name == "mean" else _look(name, marker="")))
    start = int(next(iter(found.values())).times[0])
    axes[0].set(xlabel="step $t$", ylabel="root mean square gap", xlim=(start, 0), ylim=(0, None))
    axes[0].legend(fontsize=7)
    for i, (name, mark, colour) in enumerate((("exact", "o", "black"), ("mean", "s", "amber"))):
        middle = mean_interval(sizes[name])
        _bar(axes[1], [i], [middle], fmt=mark, color=COLOURS[colour])
    for level in (math.sqrt(2), 1):
        axes[1].axhline(level, color=COLOURS["grey"], linestyle=":", linewidth=1)
    axes[1].set(xticks=[0, 1], xticklabels=["exact", "always\nthe mean"], xlim=(-0.5, 1.5), ylim=(0.9, 1.6),
                ylabel="gap from noise / std of data")
    axes[2].plot(torch.arange(2, len(share) + 2), 100 * share, color=COLOURS["blue"])
    axes[2].set(xscale="log", xlabel="step $i$", ylabel="share of the gap up to $i$ (%)", ylim=(0, 104))
    ends = "; ".join(f"{'always the mean' if name == 'mean' else _said(name)} {float(one.running[-1]):.2f}"
                     for name, one in found.items())  # fmt: skip
    exact, mean = (float(sizes[name].mean()) for name in ("exact", "mean"))
    ten = min(8, len(share) - 1)
    figures.show(
        fig,
        name="fig-sequence-gaps",
        caption="Left: the gap along the sampler, from noised data. Middle: the gap when sampling starts from noise, "
        "for the exact predictor and for one that always draws the mean of the data, over the standard deviation of "
        "the data. Right: which steps the gap at the end comes from, summing squares.",
        alt=f"Left, gaps at the end: {ends}. Middle: the exact predictor's gap is {exact:.2f}, that of the predictor "
        f"that always draws the mean {mean:.2f}, the {'smaller' if mean < exact else 'larger'} one; the root of two "
        f"and one are marked. Right: the share rises to {100 * float(share[ten]):.0f} per cent at step {ten + 2}.",
    )


def _bar(axis, at: Sequence[float], found: Sequence[Interval], **look: Any) -> None:
    """Intervals as bars at places of the other axis."""
    value, low, high = (torch.tensor([float(one[i]) for one in found]) for i in range(3))
    axis.errorbar(at, value, torch.stack([value - low, high - value]), capsize=3, **look)


IMAGE_PANELS = {
    "equal training steps": ("plain", "K=2", "K=3", "K=4", "large", "path"),
    "controls": ("plain", "doubled", "K=2", "scaled", "both"),
    "variance": ("plain", "K=2", "large", "path", "scaled"),
}


def images(
    distance: Mapping[str, Mapping[str, Mapping[int, Tensor]]], spread: Mapping[str, Mapping[str, Mapping[int, float]]],
    floor: Mapping[str, float], samples: int,
) -> None:
    """fig-sequence-images: for each set of images feature distances and pixel variances by number of steps.

    Args:
        distance: set -> arm -> steps -> (seeds,).
        spread: set -> arm -> steps -> variance of a pixel over that of the data.
        floor: set -> distance of training images.
        samples: of each network, for the caption.
    """
    fig, axes = figures.panels(3 * len(distance), height=3.9, width=8.6 * len(distance))
    words = []
    for k, (name, arms) in enumerate(distance.items()):
        own = dict(zip(IMAGE_PANELS, axes[3 * k : 3 * k + 3]))
        for title, axis in own.items():
            for arm in (arm for arm in IMAGE_PANELS[title] if arm in arms):
                if title == "variance":
                    axis.plot(list(arms[arm]), list(spread[name][arm].values()), **_look(arm))
                else:
                    middle = [mean_interval(found) for found in arms[arm].values()]
                    figures.band(axis, list(arms[arm]), *zip(*middle), **_look(arm))
            axis.axhline(1 if title == "variance" else floor[name], color=COLOURS["grey"], linewidth=0.8)
            axis.set(xscale="log", xlabel=STEPS, title=f"{name}: {title}")
            if title != "variance":
                axis.set(yscale="log")
        own["equal training steps"].set(ylabel="Fréchet distance of features")
        own["variance"].set(ylabel="variance of a pixel / data")
        words += [
            f"{name}, {_said(arm)}: the distance {trend(_means(rows))}, "
            f"the variance {trend(list(spread[name][arm].values()))}" for arm, rows in arms.items()
        ]
    both = [axis.get_legend_handles_labels() for axis in axes[:2]]
    marks = {label: mark for found in both for mark, label in zip(*found)}
    fig.legend(marks.values(), marks.keys(), loc="outside lower center", ncol=3, fontsize=8)
    seeds = len(next(iter(next(iter(next(iter(distance.values())).values())).values())))
    figures.show(
        fig,
        name="fig-sequence-images",
        caption=f"Images. Fréchet distance of classifier features between {samples} samples and held-out images, mean "
        f"and interval over {seeds} seeds and splits, for the settings of the loss and for the controls; the line is "
        "the distance of training images. And the mean variance of a pixel over that of the data.",
        alt=f"{'; '.join(words)}.",
    )


def covariances(
    far: Mapping[tuple[str, str, int], Tensor], spread: Mapping[tuple[str, str, int], float],
    exact: Mapping[int, Tensor] | None = None,
) -> None:
    """fig-sequence-covariances: four variances of the sampler with networks of the plain loss and of K = 2.

    Without ``exact`` it is fig-sequence-image-covariances, of the distance of images.

    Args:
        far: (variance, arm, steps) -> distances (seeds,).
        spread: the same -> variance of samples over that of the data.
        exact: steps -> distances of the exact predictor with the exact variance of each state.
    """
    kinds, few = list(VARIANCES), sorted({n for _, _, n in far})
    ticks = dict(xticks=range(4), xticklabels=list(VARIANCES.values()))
    fig, axes = figures.panels(len(few) + 1, width=8.4, height=3.4)
    for axis, n in zip(axes, few):
        for shift, name in ((-0.12, "plain"), (0.12, "K=2")):
            middle = [mean_interval(far[kind, name, n]) for kind in kinds]
            look = _look(name)
            _bar(axis, [i + shift for i in range(4)], middle, fmt=look["marker"], color=look["color"],
                 label=look["label"])
        if exact is not None:
            axis.axhline(float(exact[n].mean()), color=COLOURS["black"], linewidth=0.9,
                         label="exact predictor and variance")
        axis.set(**ticks, title=f"{n} steps", ylim=(0, None))
    for name in ("plain", "K=2"):
        axes[-1].plot(range(4), [spread[kind, name, few[0]] for kind in kinds], **_look(name))
    axes[-1].axhline(1, color=COLOURS["grey"], linewidth=0.8)
    axes[-1].set(**ticks, title=f"{few[0]} steps", ylabel="variance of samples / of data")
    for axis in axes:
        axis.tick_params(axis="x", labelsize=8)
    axes[0].set(ylabel="Fréchet distance of features" if exact is None else DISTANCE)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncol=3, fontsize=8)
    said = [
        f"at {n} steps the distance of {_said(name)} is "
        + ", ".join(f"{float(far[kind, name, n].mean()):.3g} with {METHODS[kind]}" for kind in kinds)
        for n in few for name in ("plain", "K=2")
    ]  # fmt: skip
    above = [METHODS[kind] for kind in kinds if spread[kind, "K=2", few[0]] > spread[kind, "plain", few[0]]]
    line = "" if exact is None else " The line is the exact predictor with the exact variance of each state."
    figures.show(
        fig,
        name="fig-sequence-image-covariances" if exact is None else "fig-sequence-covariances",
        caption=f"{'Images' if exact is None else 'The mixture'}: four variances of the sampler, with networks of the "
        f"plain loss and of $K=2$, mean and interval over {len(far[kinds[0], 'plain', few[0]])} seeds.{line}",
        alt=f"{'; '.join(said)}. The variance of K = 2 at {few[0]} steps is above that of the plain networks with "
        f"{', '.join(above) if above else 'no method'}.",
    )


# --- to be moved by hand --------------------------------------------------------------------------------------------


def step_frames(chain: Chain, counts: Sequence[int]) -> Callable[[int, float, int], Frame]:
    """(K, lambda, steps) -> the exact law of samples of data N(0, 1) by the predictor that a loss is minimised by."""
    x = torch.linspace(-3.5, 3.5, 57, dtype=torch.float64)

    @cache
    def solved(K: int, weight: float) -> Tensor:
        return gaussian_minimiser(chain, 1.0, Window(K, weight))

    @cache
    def variance(K: int, weight: float, n: int) -> float:
        return sampled_variance(chain, solved(K, weight), grid(chain, n, "skip"))

    def density(v: float) -> Tensor:
        return torch.exp(-(x**2) / (2 * v)) / math.sqrt(2 * math.pi * v)

    def compute(K: int, weight: float, steps: int) -> Frame:
        plain, own = variance(2, 0.0, steps), variance(K, weight, steps)
        curves = {"data": (x, density(1.0)), "plain loss": (x, density(plain)), "this loss": (x, density(own))}
        over = {name: (range(len(counts)), [variance(*loss, n) for n in counts])
                for name, loss in (("plain loss", (2, 0.0)), ("this loss", (K, weight)))}  # fmt: skip
        data = {"data": (range(len(counts)), [1.0] * len(counts))}
        panels = [Panel(curves, "sample", "density", y_limits=(0, 0.75)),
                  Panel(data | over, f"number of steps: {', '.join(map(str, counts))}", "variance of samples")]
        believed = float(implied_variance(chain, solved(K, weight))[chain.T // 2])  # far from the ends of windows
        return Frame(panels, {"variance": own, "with the plain loss": plain, "of data, as believed": believed})

    return compute


def explorer(chain: Chain, counts: Sequence[int], weights: Sequence[float]) -> None:
    """What the number of steps takes away, and what the bias of the loss gives back, on Gaussian data."""
    frames = step_frames(chain, counts)
    first = {"K": 2, "weight": 1.0, "steps": counts[0]}
    explorer_of(
        frames, {"K": [2, 4], "weight": weights, "steps": counts}, start=first, name="fig-sequence-explorer",
        caption=r"An explorer, for data $N(0, 1)$. Left: densities of the data and of samples. Right: the variance of "
        r"samples against the number of steps. Shown first: $K=2$ and $\lambda=1$ in the fewest steps.",
        alt=f"Two panels for K = 2, weight 1 and {counts[0]} steps. {frames(**first).words}",
    )  # fmt: skip
