"""Figures of the chapter on gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..measure.divergence import covariance_kl
from ..measure.ranking import rank_correlation
from ..show import figures
from ..show.explore import Frame, Panel, explorer
from .gradients import (
    LINEAR_ERRORS,
    Energies,
    GaussianCourse,
    euler_covariance,
    gaussian_split,
    linear_errors,
    noised_covariance,
)

__all__ = ["answer", "bounds", "clouds", "critics", "euler", "gradient_explorer", "gradient_frames", "split"]

C = figures.COLOURS


def answer(alone: Mapping[str, GaussianCourse], factors: Tensor, mixed: Mapping[str, GaussianCourse]) -> None:
    """Invisible alone, not beside another error: divergences against the size of an error, and of what is added.

    Args:
        alone: courses with one error, by name, of several sizes.
        factors: (k,) of the turned score.
        mixed: courses with the turned score times ``factors`` beside an error, by its name.
    """
    fig, axes = figures.panels(2, height=3.1, width=8.6)
    floor = 1e-16  # a divergence is a difference of numbers near one, and float64 has no smaller digits of it
    styles = list(zip(("blue", "orange", "green", "pink"), "os^D"))
    for (name, course), (colour, mark) in zip(alone.items(), styles):
        seen = course.kl > 10 * floor
        some = bool(seen.any())
        axes[0].plot(course.girsanov[seen], course.kl[seen], color=C[colour], marker=mark, label=name if some else "")
        axes[0].scatter(course.girsanov[~seen], torch.full_like(course.kl[~seen], floor), marker="v", facecolors="none",
                        edgecolors=C[colour], label="" if some else f"{name}: none seen")
    axes[0].axhspan(floor / 30, 10 * floor, color=C["black"], alpha=0.08, linewidth=0)
    axes[0].set(xscale="log", yscale="log", xlabel="Girsanov's bound (nats)", ylabel="KL at the end (nats)",
                title="one error alone", ylim=(floor / 30, 10))
    for (name, course), (colour, mark) in zip(mixed.items(), styles[1:]):
        axes[1].plot(factors, course.kl, color=C[colour], marker=mark, label=name)
    axes[1].set_xscale("symlog", linthresh=0.3)
    axes[1].set(yscale="log", xlabel="times the turned score beside it", title="an invisible error added")
    axes[1].set_xticks([-10, -1, 0, 1, 10], ["-10", "-1", "0", "1", "10"])
    for axis in axes:
        axis.legend(fontsize=8)
    seen = [f"{name} {figures.trend(course.kl)}" if float(course.kl.max()) > 10 * floor else
            f"{name} stays at rounding" for name, course in alone.items()]
    right = factors >= 0
    told = [f"{name} {figures.trend(course.kl[right])}" for name, course in mixed.items()]
    figures.show(
        fig, name="fig-gradients-answer",
        caption="Gaussian data, exact. Left: divergence at the end against Girsanov's bound for errors alone; open "
        "triangles in the grey band are rounding. Right: two gradient errors with the turned score "
        "added, turned to the left (positive factors) or to the right.",
        alt=f"Left, divergence against the size of an error: {'; '.join(seen)}. Right, divergence as more of the score "
        f"turned to the left is added to another error: {'; '.join(told)}.",
    )  # fmt: skip


def split(error: Tensor, covariance: Tensor) -> Energies:
    """A linear error E x under N(0, S), its gradient part and the rest as arrows over the density; the energies."""
    part, energies = gaussian_split(error, covariance)
    across, up = (torch.linspace(-end, end, n, dtype=torch.float64) for end, n in ((2.6, 13), (1.5, 9)))
    points = torch.cartesian_prod(across, up)
    fine = torch.cartesian_prod(torch.linspace(-3.3, 3.3, 89), torch.linspace(-2.1, 2.1, 57)).double()
    weight = torch.exp(-0.5 * torch.einsum("ni,ij,nj->n", fine, torch.linalg.inv(covariance), fine)).reshape(89, 57)
    fig, axes = figures.panels(3, height=2.5, width=9.2)
    fields = {"error": error, "gradient part": part, "invisible part": error - part}
    longest = float((points @ error.T).norm(dim=1).max())
    for axis, (title, field) in zip(axes, fields.items()):
        axis.contourf(*fine.reshape(89, 57, 2).unbind(-1), weight, levels=[0.01, 0.1, 0.3, 0.6, 1.0], cmap="Greys",
                      vmin=0, vmax=1.6)
        axis.quiver(*points.T, *(points @ field.T).T, color=C["blue"], pivot="mid", angles="xy", scale_units="xy",
                    scale=longest / 0.9, width=0.006)
        figures.bare(axis, title=title, xlim=(-3.3, 3.3), ylim=(-2.1, 2.1))
    share = float(energies.gradient / energies.total)
    figures.show(
        fig, name="fig-gradients-split",
        caption="A linear error under correlated Gaussian data (grey: density), its gradient part, and the rest, which "
        "circulates along lines of equal density.",
        alt=f"Three vector fields on one grid. The gradient part holds {100 * share:.0f} per cent of the energy; the "
        "invisible part runs around the ellipses of equal density.",
    )  # fmt: skip
    return energies


def clouds(drawn: Mapping[str, Tensor], far: Mapping[str, Tensor]) -> None:
    """The first of each sampler's sets of samples; ``far`` are the distances of all sets to the data."""
    fig, axes = figures.panels(len(drawn), height=2.5, width=9.2)
    for axis, (name, cloud) in zip(axes, drawn.items()):
        axis.scatter(*cloud[0, :1500].T, s=1.2, color=C["blue"], linewidths=0)
        figures.bare(axis, title=name, xlim=(-2, 2), ylim=(-2, 2))
    told = ", ".join(f"{name} {float(values.mean()):.3f}" for name, values in far.items())
    figures.show(
        fig, name="fig-gradients-ring",
        caption="Samples of the reverse SDE for a ring: with the exact score, with two invisible errors, and with a "
        "gradient error of the same energy as the turned score.",
        alt=f"Four clouds. Mean sliced Wasserstein distance to the data: {told}.",
    )  # fmt: skip


def bounds(random: GaussianCourse) -> None:
    """Bounds over the divergence against the divergence: split and expectation at the learned or at the true law."""
    fig, axes = figures.panels(4, height=2.7, width=9.8, sharey=True)
    kinds = {"Girsanov": random.girsanov, "split and mean learned": random.gradient,
             "split true, mean learned": random.gradient_split,
             "split and mean true": random.gradient_true}  # fmt: skip
    told = []
    for axis, (name, bound), colour in zip(axes, kinds.items(), ("orange", "blue", "green", "pink")):
        ratio = bound / random.kl
        axis.scatter(random.kl, ratio, s=8, color=C[colour], linewidths=0)
        axis.axhline(1, color=C["black"], linewidth=1)
        axis.set(xscale="log", yscale="log", xlabel="KL at the end (nats)")
        axis.set_title(name, fontsize=9)
        told.append(f"{name}, median {float(ratio.median()):.2g} and {int((ratio < 1).sum())} points below one")
    axes[0].set_ylabel("bound over KL")
    figures.show(
        fig, name="fig-gradients-bounds",
        caption="Gaussian data and random linear errors, exact: four candidates for a bound over the divergence at the "
        "end. A point below the line refutes the candidate. Its split and its mean are taken under the learned or the "
        "true law.",
        alt=f"Four scatter plots, doubly logarithmic: {'; '.join(told)}.",
    )  # fmt: skip


def euler(counts: Sequence[int], stepped: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Divergence of Euler's method against its steps, of :func:`~diffnotes.chapters.gradients.euler_divergences`."""
    fig, axes = figures.panels(2, height=3.0, width=8.2, sharey=True)
    for axis, (kind, found) in zip(axes, stepped.items()):
        for (name, values), (colour, mark) in zip(found.items(), (("black", "o"), ("blue", "s"))):
            axis.plot(counts, values, color=C[colour], marker=mark, label=name)
        axis.set(xscale="log", yscale="log", title=kind, xlabel="Euler steps")
        axis.set_xticks(counts, [str(n) for n in counts])
        axis.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    axes[0].set_ylabel("KL at the end (nats)")
    axes[0].legend(fontsize=8)
    told = " ".join(
        f"{kind}: with no error the divergence {figures.trend(found['no error'].tolist())}, with the turned score it "
        f"{figures.trend(found['turned score'].tolist())}." for kind, found in stepped.items()
    )  # fmt: skip
    figures.show(
        fig, name="fig-gradients-steps",
        caption="Divergence of Euler's method from Gaussian data with the exact score and with an invisible error, "
        "against the number of steps.",
        alt=f"Two panels, doubly logarithmic. {told}",
    )  # fmt: skip


def critics(measured: Mapping[str, Mapping[str, Tensor]], sizes: Sequence[int]) -> None:
    """Distance of samples against squared error and critic, and the critic against the exact gradient part.

    Args:
        measured: fleet -> measure -> (networks,) values, the networks ordered by their numbers of training points.
        sizes: these numbers.
    """
    from matplotlib.ticker import LogLocator

    fig, axes = figures.panels(3, rows=len(measured), height=2.7, width=9.4)
    columns = (("squared error", "distance"), ("network critic", "distance"), ("gradient part", "network critic"))
    tones, told = ("orange", "amber", "sky", "blue"), []
    for row, (name, found) in enumerate(measured.items()):
        for column, (one, other) in enumerate(columns):
            axis = axes[3 * row + column]
            parts = zip(sizes, found[one].chunk(len(sizes)), found[other].chunk(len(sizes)))
            for k, (n, x, y) in enumerate(parts):
                seen = (x > 0) & (y > 0)  # a bound below zero says nothing
                axis.scatter(x[seen], y[seen], s=14, color=C[tones[k % 4]], marker="os^D"[k % 4], label=f"{n} points")
            scale = "log" if bool(((found[one] > 0) & (found[other] > 0)).any()) else "linear"
            axis.set(xscale=scale, yscale=scale, xlabel=one, ylabel=other, title=name if column == 1 else "")
            if scale == "log":  # where less than a decade is shown, labels at all of 2 to 9 would run into one another
                axis.xaxis.set_minor_locator(LogLocator(subs=(3,)))
            told.append(f"{name}, {one} with {other}: {float(rank_correlation(found[one], found[other])):.2f}")
        ends = [float(found["gradient part"].min()), float(found["gradient part"].max())]
        axes[3 * row + 2].plot(ends, ends, color=C["black"], linewidth=1)
        shares = [float(part.mean()) for part in (found["network critic"] / found["gradient part"]).chunk(len(sizes))]
        told.append(f"{name}, the critic's share of the gradient part {figures.trend(shares)} from {sizes[0]} to "
                    f"{sizes[-1]} points")  # fmt: skip
    axes[0].legend(fontsize=7)
    figures.show(
        fig, name="fig-gradients-critic",
        caption="Networks of four amounts of training data, as trained (upper row) and with invisible errors added "
        "(lower row): distance of samples against squared error and critic, and the critic against the exact gradient "
        "part, with the line on which they are equal.",
        alt=f"Six scatter plots, doubly logarithmic. Rank correlations and shares: {'; '.join(told)}.",
    )  # fmt: skip


# --- the explorer -----------------------------------------------------------------------------------------------------


def gradient_frames(
    covariance: Tensor, *, counts: Sequence[int] = (50, 100, 200, 400), end: float = 4.0
) -> Callable[..., Frame]:
    """The function of an explorer of score errors under N(0, covariance): compute(error, size, sampler, steps).

    ``error`` is one of :data:`diffnotes.chapters.gradients.LINEAR_ERRORS`, ``size`` its factor, ``sampler`` "SDE" or
    "ODE" with ``steps`` Euler steps. Its panels are the ellipses of one standard deviation of the data and of what is
    generated, and the KL divergence at the end over the numbers of steps ``counts``, with and without the error. All is
    exact. Numbers: that divergence, and half the energy of the error on the true path with its gradient part, in nats.

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


def gradient_explorer(covariance: Tensor, sizes: Sequence[float], counts: Sequence[int]) -> None:
    """An explorer of :func:`gradient_frames` over the given sizes of error and numbers of steps."""
    frames = gradient_frames(covariance, counts=counts)
    first = {"error": LINEAR_ERRORS[0], "size": 2.0, "sampler": "SDE", "steps": counts[-1]}
    shown = frames(**first)
    explorer(
        frames, {"error": LINEAR_ERRORS[:3], "size": sizes, "sampler": ["SDE", "ODE"], "steps": counts}, first,
        {"error": LINEAR_ERRORS, "size": [k / 4 for k in range(17)]}, name="fig-gradients-explorer",
        caption="An explorer. Left: ellipses of one standard deviation of the data and of what Euler's method "
        "generates with an error of the score. Right: the divergence against the number of steps. Shown first: the "
        f"turned score, factor {first['size']:g}.",
        alt=f"Left: two ellipses around the origin; the generated law is {shown.numbers['KL']:.2g} nats from the data, "
        f"where the error has {shown.numbers['half the energy']:.3g} nats of half energy with a gradient part of "
        f"{shown.numbers['its gradient part']:.1g}. Right: {shown.panels[1].words}.",
    )  # fmt: skip
