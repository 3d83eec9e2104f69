"""Figures of the chapter on recursive training, with their captions and text alternatives.

A fresh fraction has the same colour and dashes in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..core.law import GaussianMixture, on_line
from ..measure.interval import mean_interval
from ..show import figures
from ..show.explore import Frame, Panel
from ..show.explore import explorer as explorer_of
from ..show.figures import COLOURS, trend
from .recursion import Cells, Course, Generation, ImageCourse, error_model, kernel_model, recurse

__all__ = [
    "ERRORS", "explorer", "floor", "images", "models", "observability", "recursion_frames", "stopped", "sums",
]  # fmt: skip

LINES = {
    0.0: ("black", "-"), 0.1: ("orange", "--"), 0.25: ("pink", "-."), 0.5: ("blue", "-."), 0.75: ("sky", ":"),
    0.9: ("green", ":"), 1.0: ("grey", (0, (1, 1, 4, 1))),
}  # fmt: skip


def _line(alpha: float, label: str = "") -> dict[str, Any]:
    """The line of a fresh fraction."""
    colour, dashes = LINES.get(alpha, ("amber", "-"))
    return {"color": COLOURS[colour], "linestyle": dashes, "label": rf"{label}$\alpha={alpha:g}$"}


def _rounds(values: Sequence[Any] | Tensor) -> range:
    """The generations of values (generations, ...), counted from one."""
    return range(1, len(values) + 1)


def observability(eta: Mapping[str, Tensor], made: Course, energies: Sequence[float]) -> None:
    """Observability by kind of error, and chi^2 of one generation over the energy against it.

    Args:
        eta: kind -> observabilities (draws,).
        made: row k with errors of the k-th energy, a member a draw of a kind.
        energies: of the errors.
    """
    fig, (left, right) = figures.panels(2, height=3.6, width=8.6)
    for i, values in enumerate(eta.values()):
        middle, low, high = mean_interval(values)
        left.errorbar(middle, i, xerr=[[middle - low], [high - middle]], fmt="o", color=COLOURS["blue"], capsize=3)
    left.set_yticks(range(len(eta)), list(eta))
    left.invert_yaxis()
    left.set(xlabel=r"observability $\eta$", xlim=(-0.03, 1.1))
    marks = (("black", "x"), ("blue", "o"), ("green", "^"), ("orange", "s"))
    shares = made.own / torch.tensor(energies, dtype=torch.float64)[:, None]
    for k, (size, (colour, mark)) in enumerate(zip(energies, marks)):
        right.scatter(made.observability[k], shares[k], s=12, marker=mark, color=COLOURS[colour], linewidths=0.8,
                      label=rf"$\varepsilon_\star^2={size:g}$")
    grid = torch.logspace(-4, 0, 30, dtype=torch.float64)
    right.plot(grid, grid, color=COLOURS["grey"], label=r"$\eta$")
    right.plot(grid, grid / 8, color=COLOURS["grey"], linestyle="--", label=r"$\eta/8$")
    right.set(xscale="log", yscale="log", xlabel=r"$\eta$",
              ylabel=r"$\chi^2(p_{i+1}\Vert q_i)/\varepsilon_\star^2$")
    right.legend(fontsize=8)
    means = ", ".join(f"{kind} {float(values.mean()):.2f}" for kind, values in eta.items())
    away = (shares / made.observability).log10().abs().amax(1)
    figures.show(
        fig,
        name="fig-recursion-observability",
        caption=r"Left: observability of eight kinds of score error (mean and interval over draws). Right: $\chi^2$ of "
        r"one generation over the energy, against the observability, for four energies; the lines are $\eta$ and the "
        r"source's lower bound $\eta/8$.",
        alt=f"Left: mean observability by kind: {means}. Right: doubly logarithmic points that lie "
        + ("along the line through the origin for small energies and leave it for large ones"
           if away[0] < away[-1] else "no closer to the line through the origin for small energies than for large ones")
        + ".",
    )  # fmt: skip


def sums(same: Course, fresh: Course, fractions: Sequence[float]) -> None:
    """Drift by one error and by new ones, beside the two sums, a panel for each of the ``fractions``."""
    fig, axes = figures.panels(len(fractions), height=3.2, width=8.6, sharey=True)
    said = []
    for axis, alpha in zip(axes, fractions):
        one, new = same.at(alpha), fresh.at(alpha)
        for label, course, colour, mark in (("one error", one, "orange", "s"), ("new errors", new, "blue", "o")):
            turn = _rounds(course.divergence)
            figures.mean_band(axis, turn, course.divergence, color=COLOURS[colour], marker=mark, label=label)
            axis.plot(turn, course.discounted.mean(1), color=COLOURS[colour], linestyle=":",
                      label=f"{label}, discounted")
            if course is one:
                axis.plot(turn, course.coherent.mean(1), color=COLOURS["black"], linestyle="--",
                          label=f"{label}, coherent")
        axis.set(title=rf"$\alpha={alpha:g}$", xlabel="generation", yscale="log")
        said.append(f"With alpha {alpha:g} the drift by one error {trend(one.divergence.mean(1))}, by new errors it "
                    f"{trend(new.divergence.mean(1))}.")
    axes[0].set_ylabel(r"$\chi^2$ to the data, $D$")
    axes[0].legend(fontsize=8)
    figures.show(
        fig,
        name="fig-recursion-sums",
        caption="Drift over the generations with one smooth score error in all of them, and with a new one in each "
        "(mean and interval over draws), beside the discounted and the coherent sum, for two fresh fractions.",
        alt=f"Two panels, logarithmic. {' '.join(said)}",
    )


def floor(divergent: Course, still: Course, bound: Tensor) -> None:
    """Drift under fading energies over the generations, and under constant ones over the fresh fraction.

    Args:
        divergent: with energies like the inverse of the generation.
        still: with one energy in all generations.
        bound: (members of ``still``,) lower bounds of its last drift.
    """
    fig, (left, right) = figures.panels(2, height=3.0)
    for alpha in divergent.fractions:
        left.plot(_rounds(divergent.divergence), divergent.at(alpha).divergence.mean(1), **_line(alpha))
    left.set(xscale="log", yscale="log", xlabel="generation", ylabel="$D$, energies $c/i$")
    left.legend()
    drift = torch.stack([still.at(alpha).divergence[-1] for alpha in still.fractions])
    below = bound.reshape(len(drift), -1).mean(1)
    figures.mean_band(right, still.fractions, drift, color=COLOURS["orange"], marker="s", label="drift")
    right.plot(still.fractions, below, color=COLOURS["grey"], linestyle="--", label="lower bound of the source")
    right.set(yscale="log", xlabel=r"fresh fraction $\alpha$", ylabel="$D$, equal energies")
    right.legend()
    figures.show(
        fig,
        name="fig-recursion-floor",
        caption="Left: drift under new errors whose energies fall like the inverse of the generation. Right: drift "
        "after the last generation under one error of constant energy, and the source's lower bound, against the fresh "
        "fraction.",
        alt="Left: doubly logarithmic; at alpha one half the drift "
        f"{trend(divergent.at(0.5).divergence.mean(1))}. Right: the drift {trend(drift.mean(1))}, the lower bound "
        f"{trend(below)}.",
    )


def models(courses: Mapping[str, Course]) -> None:
    """KL to the data over the generations, a panel for each kind of model, a line for each fresh fraction."""
    fig, axes = figures.panels(len(courses), height=3.0, width=9.0)
    for axis, (name, course) in zip(axes, courses.items()):
        for alpha in course.fractions:
            axis.plot(_rounds(course.kl), course.at(alpha).kl.mean(1), **_line(alpha))
        axis.set(title=name, xlabel="generation", yscale="log")
        low, high = axis.get_ylim()
        ticks = [m * 10.0**power for power in range(-4, 2) for m in (1, 2, 3, 5) if low < m * 10.0**power < high]
        axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.tick_params(axis="y", which="minor", left=False, labelleft=False)
    axes[0].set_ylabel(r"$\mathrm{KL}$ to the data (nats)")
    most = max(axes, key=lambda axis: len(axis.lines))
    axes[len(axes) // 2].legend(*most.get_legend_handles_labels(), fontsize=7, loc="upper left")
    shares = {0.0: "no fresh data", 0.1: "a tenth", 0.9: "nine tenths"}
    said = (f"{name}: " + ", ".join(f"with {words} it {trend(course.at(alpha).kl.mean(1))}"
                                    for alpha, words in shares.items()) for name, course in courses.items())
    figures.show(
        fig,
        name="fig-recursion-models",
        caption="Divergence from the data over the generations for three kinds of model and several fresh "
        "fractions (means over repetitions).",
        alt=f"Three panels, logarithmic. {'. '.join(said)}.",
    )


def images(courses: Mapping[str, ImageCourse], fractions: Sequence[float]) -> None:
    """Frechet distances over the generations, a panel for each set of images, a line for each fresh fraction."""
    fig, axes = figures.panels(len(courses), height=3.0, width=4.6 * len(courses))
    for axis, (name, course) in zip(axes, courses.items()):
        for k, alpha in enumerate(fractions):
            figures.mean_band(axis, _rounds(course.generated), course.generated[:, k], **_line(alpha))
        axis.axhline(float(course.fresh.mean()), color=COLOURS["grey"], linewidth=0.8)
        axis.set(title={"digits": "digits", "mnist": "MNIST"}[name], xlabel="generation", ylabel="Fréchet distance",
                 yscale="log", xticks=_rounds(course.generated))
    axes[0].legend(fontsize=8)
    said = (f"{name}: " + ", ".join(f"alpha {alpha:g} {trend(course.generated[:, k].mean(1))}"
                                    for k, alpha in enumerate(fractions))
            + f"; training images {float(course.fresh.mean()):.2g}." for name, course in courses.items())
    figures.show(
        fig,
        name="fig-recursion-images",
        caption="Fréchet distance of generated to held-out images over the generations (mean and interval over "
        "networks); the grey line is that of training images.",
        alt=f"Distances over the generations. {' '.join(said)}",
    )


def stopped(drift: Mapping[float, Sequence[float]], variances: Tensor, of_chi2: Tensor, of_kl: Tensor) -> None:
    """Drift of a perfect score that is stopped early, and what chi^2 hides.

    Args:
        drift: fresh fraction -> chi^2 to the data over the generations.
        variances: (n,) of Gaussian laws, and their divergences (n,) from the one of unit variance.
    """
    fig, (left, right) = figures.panels(2, height=3.1, width=8.6)
    for alpha, values in drift.items():
        left.plot(_rounds(values), values, **_line(alpha, r"$\chi^2$, "))
    left.set(xlabel="generation", ylabel="divergence from the data", yscale="log", title="perfect score, stopped early")
    left.legend(fontsize=8)
    finite = of_chi2.isfinite()
    right.plot(variances[finite], of_chi2[finite], color=COLOURS["orange"], linestyle="--", label=r"$\chi^2$")
    right.plot(variances, of_kl, color=COLOURS["blue"], label=r"$\mathrm{KL}$")
    right.axvline(2, color=COLOURS["grey"], linewidth=0.8)
    right.set(xlabel="variance $v$", ylim=(0, 4), title=r"$\mathcal{N}(0,v)$ against $\mathcal{N}(0,1)$")
    right.legend(fontsize=8)
    said = ", ".join(f"with alpha {alpha:g} chi-square {trend(values)}" for alpha, values in drift.items())
    figures.show(
        fig,
        name="fig-recursion-stopped",
        caption="Left: drift of a perfect score that is stopped early. Right: the two divergences of a Gaussian law "
        r"from one of unit variance; the grey line is where $\chi^2$ becomes infinite.",
        alt=f"Left, logarithmic: {said}. Right: chi-square {trend(of_chi2[finite])} before it becomes infinite, the KL "
        f"divergence {trend(of_kl)}.",
    )


# --- the explorer -----------------------------------------------------------------------------------------------------

ERRORS = ("same error", "new error", "kernel density", "perfect, stopped early")


ENERGY, WIDTH, SAMPLES = 0.02, 0.2, 1000  # of a score error; of a kernel or of the noise left; of an estimate


def recursion_frames(cells: Cells, law: GaussianMixture, *, most: int = 16, seed: int = 0) -> Callable[..., Frame]:
    """The function of an explorer of recursive training: compute(fresh_fraction, error, generations) -> Frame.

    Its panels are the densities of data and of the last model, and chi^2 to the data over the generations with the
    discounted and the coherent sum of the steps J (:mod:`diffnotes.chapters.recursion`). It keeps what it has computed.
    ``error``: "same error" and "new error", a smooth score error of energy 0.02, one for all generations or a new one
    in each; "kernel density", the score of a kernel density estimate of width 0.2 from 1000 points; "perfect, stopped
    early", the exact score stopped at the noise 0.2.

    Raises:
        ValueError: and the function, for an unknown error, or generations not in 1..``most``.
    """
    law = on_line(law)
    data = cells.masses(law)
    courses: dict[tuple[float, str], Any] = {}
    smooth = torch.softmax(-0.5 * ((cells.x - math.sqrt(1 - WIDTH**2) * cells.x[:, None]) / WIDTH) ** 2, -1)

    def model(error: str) -> Callable[[int, Tensor], Tensor | Generation]:
        if error == "kernel density":
            return kernel_model(cells, SAMPLES, WIDTH, seed)
        if error == "perfect, stopped early":
            return lambda i, q: q @ smooth
        field = {"same error": lambda i: 0, "new error": lambda i: i}[error]
        return error_model(cells, ENERGY, lambda i, q: cells.fields(1, seed + field(i)))

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


def explorer(cells: Cells, law: GaussianMixture, fractions: Sequence[float], rounds: Sequence[int], seed: int) -> None:
    """The explorer of the recursion; in a kernel it offers every twentieth as a fraction, and every generation."""
    most = max(rounds)
    frames = recursion_frames(cells, law, most=most, seed=seed)
    explorer_of(
        frames,
        {"fresh_fraction": fractions, "error": ERRORS, "generations": rounds},
        name="fig-recursion-explorer",
        start={"fresh_fraction": 0.1, "generations": most},
        more={"fresh_fraction": [k / 20 for k in range(21)], "generations": list(range(1, most + 1))},
        caption="An explorer. Left: densities of the data and of the last model. Right: drift over the generations, "
        "with the discounted and the coherent sum. Shown first: one error in all generations, a tenth of fresh data.",
        alt=f"Two panels. {frames(0.1, ERRORS[0], most).words}",
    )
