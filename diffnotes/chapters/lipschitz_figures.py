"""Figures of the chapter on Lipschitz singularities and shared time steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..core.denoiser import Exact
from ..core.law import Law
from ..core.schedule import Schedule
from ..measure.interval import Interval
from ..model.condition import Shared, left_ends
from ..show import figures
from ..show.explore import Frame, Panel
from ..show.explore import explorer as explorer_of
from ..show.figures import COLOURS, TARGET_STYLE
from .lipschitz import Case, FirstInterval, SharedExact, SharingCost, answers_at, end_slopes

__all__ = [
    "alternatives", "budget", "constants", "explorer", "images", "price", "quality", "rates", "schedules",
    "sharing_frames", "table", "target",
]  # fmt: skip

KINDS = {"smooth": "modes of width 0.2", "points": "two points"}
SCHEDULES = {
    "linear": ("linear", "blue", "-"),
    "quadratic": ("quadratic", "orange", "--"),
    "sigmoid": ("sigmoid", "green", "-."),
    "flat": ("constant", "pink", ":"),
    "cosine": ("cosine, with offset", "sky", "-"),
    "zero_terminal": ("zero terminal SNR", "amber", "--"),
    "cosine_zero": ("cosine, no offset", "black", "-"),
    "edm": ("EDM-like", "grey", "--"),
}
CLOCKS = {"t": ("$t$", "blue", "-"), "sigma": (r"$\sigma$", "orange", "--"), "log_snr": ("log SNR", "green", "-.")}
ARMS = {"plain": ("blue", "-", "o"), "shared": ("orange", "--", "s")}
LOOKS = (("blue", "-", "o"), ("orange", "--", "s"), ("green", "-.", "^"), ("pink", ":", "D"))
SAMPLERS = {"ddpm": "DDPM", "ddim": "DDIM", "dpm": "DPM-Solver"}


def _listed(values: Mapping, text: Callable[[object], str]) -> str:
    """ "name 1.20; other 0.80", for a text alternative."""
    return "; ".join(f"{' '.join(map(str, key)) if isinstance(key, tuple) else key} {text(value)}"
                     for key, value in values.items())  # fmt: skip


def _two(value: float) -> str:
    return f"{round(float(value), 2) + 0.0:.2f}"  # no negative zero


def _width(width: float) -> str:
    return f"width {width:g}" if width else "points"


# --- exact functions --------------------------------------------------------------------------------------------------


def target(times: Tensor, x: Tensor, answers: Mapping[tuple[str, str], Tensor]) -> None:
    """fig-lipschitz-target: eps(x, t) at fixed x near t = 0, exact and best shared.

    Args:
        times: (L,).
        x: (points,) on the line.
        answers: (kind of data, "exact" or "best shared") -> (points, L).
    """
    fig, axes = figures.panels(2, height=3.3)
    for axis, (kind, title) in zip(axes, KINDS.items()):
        for i, (at, (colour, _, _)) in enumerate(zip(x.tolist(), LOOKS)):
            axis.plot(times, answers[kind, "exact"][i], color=COLOURS[colour], label=f"$x$ = {at:g}")
            axis.plot(times, answers[kind, "best shared"][i], color=COLOURS[colour], linestyle="--", linewidth=1.2)
        axis.set(xlabel="time $t$", title=title)
    axes[1].legend()
    axes[0].set_ylabel(r"$\epsilon(x,t)$")
    axes[1].set_ylim(-6, 6)
    told = {(kind, f"x = {at:g}"): (rows[i], answers[kind, "best shared"][i]) for (kind, who), rows in answers.items()
            if who == "exact" for i, at in enumerate(x.tolist())}  # fmt: skip
    figures.show(
        fig,
        name="fig-lipschitz-target",
        caption=r"What a network that predicts $\epsilon$ has to learn near $t=0$, at three fixed $x$. Solid: exact, "
        "with a vertical start. Dashed: the best one that is told the sub-interval only. Points: cut at "
        r"$\pm6$.",
        alt="Solid curves against t: "
        + "; ".join(f"{' '.join(key)} {figures.trend(exact)}, its first tenth of the axis covering "
                    f"{_early(exact):.0%} of its range, shared {figures.trend(best)}"
                    for key, (exact, best) in told.items())
        + ".",
    )  # fmt: skip


def _early(values: Tensor) -> float:
    """The share of the range of a curve that its first tenth covers."""
    head = values[: max(2, len(values) // 10)]
    return float((head.max() - head.min()) / (values.max() - values.min()).clamp(min=1e-300))


def rates(times: Tensor, curves: Mapping[tuple[str, str], Tensor]) -> None:
    """fig-lipschitz-rates: the constant K(t) at ``times`` by (kind of data, target)."""
    slopes = end_slopes(times, curves)
    fig, axes = figures.panels(2, height=3.3)
    for axis, (kind, title) in zip(axes, KINDS.items()):
        for (own, target), values in curves.items():
            if own == kind and (own, target) in slopes:
                axis.plot(times, values, **TARGET_STYLE[target] | {"marker": ""})
        axis.set(xscale="log", yscale="log", xlabel="time $t$", title=title)
        axis.legend()
    axes[0].set_ylabel("constant $K(t)$")
    figures.show(
        fig,
        name="fig-lipschitz-rates",
        caption="Exact time-Lipschitz constants of the four targets on the linear schedule. The posterior mean of data "
        "on points is constant near $t=0$ and is not shown there.",
        alt=f"Constants against time, doubly logarithmic. Slopes between t = {float(times[0]):g} and "
        f"{float(times[2]):g}: {_listed(slopes, _two)}.",
    )


def schedules(
    times: Tensor, by_schedule: Mapping[tuple[str, str], Tensor], by_clock: Mapping[tuple[str, str], Tensor]
) -> None:
    """fig-lipschitz-schedules: the constant of eps at ``times`` by (kind of data, schedule) and (kind, clock)."""
    fig, axes = figures.panels(2, 2, height=2.9)
    for row, (looks, curves) in enumerate(((SCHEDULES, by_schedule), (CLOCKS, by_clock))):
        for column, (kind, title) in enumerate(KINDS.items()):
            axis = axes[2 * row + column]
            for name, (label, colour, line) in looks.items():
                axis.plot(times, curves[kind, name], color=COLOURS[colour], linestyle=line, label=label)
            axis.set(xscale="log", yscale="log", **({"xlabel": "time $t$"} if row else {"title": title}))
    axes[0].set_ylabel(r"$K$ of $\epsilon$ in $t$")
    axes[2].set_ylabel(r"$K$ of $\epsilon$ in a clock")
    axes[1].legend(fontsize=7)
    axes[3].legend(fontsize=8)
    top = {(kind, SCHEDULES[name][0]): k for (kind, name), k in by_schedule.items()}
    bottom = {(kind, "in", clock): k for (kind, clock), k in by_clock.items()}
    figures.show(
        fig,
        name="fig-lipschitz-schedules",
        caption=r"Constants of $\epsilon$, smooth data on the left and points on the right. Top: eight schedules, with "
        r"$t$ as time. Bottom: the linear schedule, with time measured in $t$, in $\sigma$ and in log SNR.",
        alt="Constants against t, doubly logarithmic. Slopes near zero, top: "
        f"{_listed(end_slopes(times, top), _two)}. Bottom: {_listed(end_slopes(times, bottom), _two)}.",
    )


def price(
    first: FirstInterval, by_count: Mapping[int, SharingCost], bolted: float,
    by_dim: Mapping[tuple[float, int], SharingCost], digits: SharingCost, shared: Shared,
) -> None:
    """fig-lipschitz-price: the excess error of sharing by length, by number of sub-intervals, and by data.

    Args:
        first: of the first sub-interval.
        by_count: number of sub-intervals -> cost.
        bolted: the excess of the exact predictor asked at the left end.
        by_dim: (width of the modes, dimension) -> cost.
        digits: the cost for the digits, as points.
        shared: the sub-intervals of ``bolted``, ``by_dim`` and ``digits``.
    """
    n, until = shared.n, shared.t_tilde
    fig, axes = figures.panels(3, width=9.2, height=3.1)
    axes[0].plot(first.length, first.excess, color=COLOURS["blue"], marker="o", label="first sub-interval")
    axes[0].plot(first.length, first.predicted, color=COLOURS["black"], linestyle=":", label=r"$\beta\Delta J/18$")
    axes[0].set(xlabel=r"length $\Delta$ (whole axis = 1)", ylabel=r"excess error of $\epsilon$")
    counts, excess = list(by_count), [cost.price for cost in by_count.values()]
    axes[1].plot(counts, excess, color=COLOURS["blue"], marker="o", label="trained for it")
    axes[1].axhline(bolted, color=COLOURS["orange"], linestyle="--", label=f"bolted on, n = {n}")
    axes[1].set(xlabel="sub-intervals $n$")
    rows: dict[float, dict[int, float]] = {}
    for (width, d), cost in by_dim.items():
        rows.setdefault(width, {})[d] = cost.price
    looks = (("blue", "-", "o"), ("orange", "--", "s"), ("green", "-.", "^"))
    for (width, row), (colour, line, mark) in zip(rows.items(), looks):
        look = dict(color=COLOURS[colour], linestyle=line, marker=mark)
        axes[2].plot(*zip(*row.items()), label=_width(width), **look)
    axes[2].scatter([64], [digits.price], color=COLOURS["black"], marker="*", s=60, zorder=3, label="digits")
    axes[2].set(xlabel="dimension $d$")
    for axis in axes:
        axis.set(xscale="log", yscale="log")
        axis.legend(fontsize=7)
    axes[1].set_xticks(counts, counts)
    axes[1].minorticks_off()
    trends = {_width(width): figures.trend(row.values()) for width, row in rows.items()}
    over = (first.excess / first.predicted).tolist()
    figures.show(
        fig,
        name="fig-lipschitz-price",
        caption="The exact price of sharing per coordinate. Left: the first sub-interval of continuous time. Middle: "
        f"the mean over $t<{until}$ of the chain, by number of sub-intervals. Right: the same for $n={n}$, by "
        "dimension and width of the data.",
        alt=f"Left: the excess error {figures.trend(first.excess)} as the length grows "
        f"{float(first.length[-1] / first.length[0]):.0f} times; it is {over[0]:.1f} times the predicted one for the "
        f"shortest and {over[-1]:.1f} times for the longest. Middle: it "
        f"{figures.trend(excess)} with more sub-intervals; the exact predictor asked at the left end has {bolted:.2g}. "
        f"Right, with the dimension: {_listed(trends, str)}; the digits lie at {digits.price:.2g}.",
    )


# --- networks ---------------------------------------------------------------------------------------------------------


def constants(
    times: Tensor, ring: Mapping[str, Tensor], line: Mapping[str, Tensor], response: Mapping[str, Tensor], n: int
) -> None:
    """fig-lipschitz-nets: step constants from each of ``times`` to the next, and responses to perturbed inputs.

    Args:
        times: (L,).
        ring: "plain", "plain, long", "slow waves", "shared", "regularised" -> (members, L); "exact" -> (L,).
        line: "exact" and "best shared" -> (L,).
        response: "plain", "shared" and "exact" at every k-th of ``times``.
        n: number of sub-intervals.
    """
    fig, axes = figures.panels(2, 2, height=2.8)

    def curves(axis, values: Mapping[str, Tensor], looks: Mapping[str, tuple[str, str, str]], every: int = 1) -> None:
        for name, (colour, style, label) in looks.items():
            look = dict(color=COLOURS[colour], linestyle=style, label=label)
            if values[name].ndim == 1:
                axis.plot(times[::every], values[name], **look)
            else:
                figures.mean_band(axis, times[::every], values[name], dim=0, linewidth=1.3, **look)

    exact = {"exact": ("black", "-", "exact")}
    told = {"plain": ("blue", "-", "plain"), "plain, long": ("sky", "--", "plain, long"),
            "slow waves": ("pink", ":", "plain, slow waves")}  # fmt: skip
    curves(axes[0], ring, exact | told)
    sharing = {"shared": ("orange", "-", f"shared, n = {n}"), "regularised": ("green", "--", "regularised")}
    curves(axes[1], ring, exact | sharing)
    curves(axes[2], line, exact | {"best shared": ("orange", "-", f"best shared, n = {n}")})
    answers = {"plain": ("blue", "-", "plain"), "shared": ("orange", "-", "shared")}
    curves(axes[3], response, answers | exact, every=-(-len(times) // len(response["exact"])))
    titles = ("ring: training and embedding", "ring: sharing and a regulariser", "line: no error of a network",
              "ring: perturbed inputs")  # fmt: skip
    for axis, title in zip(axes, titles):
        axis.set(title=title, xlabel="step $t$")
        axis.legend(fontsize=7, loc="upper right", framealpha=0.9, frameon=True, edgecolor="none")
    axes[0].set(ylabel="constant per step", yscale="log")
    axes[1].set(yscale="log", ylim=(1e-4, 3))
    axes[2].set(ylabel="constant per step", ylim=(None, 1.45 * float(line["best shared"].max())))
    axes[3].set(ylabel="response")
    means = {name: float(values.mean()) for name, values in response.items()}
    best, known = line["best shared"], line["exact"]
    shared = ring["shared"].mean(0)
    figures.show(
        fig,
        name="fig-lipschitz-nets",
        caption="Step constants of trained networks (mean and interval over networks) beside the exact ones, and the "
        "response to perturbed inputs. Lower left: exact predictors on the line, so that no training error is in play.",
        alt=f"Exact constant on the ring: {figures.trend(ring['exact'])}. Plain networks: "
        f"{figures.trend(ring['plain'].mean(0))}; trained long: {figures.trend(ring['plain, long'].mean(0))}; with "
        f"slow waves: {figures.trend(ring['slow waves'].mean(0))}. Shared "
        f"networks have {float(shared.median()):.2g} at most steps and jumps up to {float(shared.max()):.3f} at the "
        f"borders. On the line the best shared predictor has a mean of {float(best.mean()):.3f} against "
        f"{float(known.mean()):.3f} and a maximum of {float(best.max()):.3f} against {float(known.max()):.3f}. "
        f"Response to perturbations, means over t: {_listed(means, _two)}.",
    )


def quality(
    line: Mapping[str, Mapping[int, float]], ring: Mapping[str, Mapping[Case, Tensor]],
    exact: Mapping[Case, Tensor], gain: Mapping[Case, Interval],
) -> None:
    """fig-lipschitz-quality: distances of samples from the law, by number of steps.

    Args:
        line: name of a predictor without error -> steps of DDIM -> distance.
        ring: "plain" and "shared" -> case -> (members,) distances.
        exact: case -> (sets,) distances of the exact predictor's samples.
        gain: case -> ratio of shared to plain networks.
    """
    looks = (("black", "-", "o"), *LOOKS[1:])
    fig, axes = figures.panels(4, width=10.0, height=3.1)
    for (name, values), (colour, style, mark) in zip(line.items(), looks):
        axes[0].plot(*zip(*values.items()), color=COLOURS[colour], linestyle=style, marker=mark, label=name)
    axes[0].set(title="line, exact, DDIM", ylabel="distance to the law")
    for axis, (kind, title) in zip(axes[1:], SAMPLERS.items()):
        for name in ("plain", "shared"):
            colour, style, mark = ARMS[name]
            own = sorted((n, values) for (of, n), values in ring[name].items() if of == kind)
            look = dict(color=COLOURS[colour], linestyle=style, marker=mark, label=name)
            figures.mean_band(axis, [n for n, _ in own], torch.stack([values for _, values in own]), **look)
        own = sorted((n, value) for (of, n), value in exact.items() if of == kind)
        means = [float(values.mean()) for _, values in own]
        axis.plot([n for n, _ in own], means, color=COLOURS["black"], linestyle=":", label="exact")
        axis.set(title=f"ring, {title}")
    for axis in axes:
        axis.set(xscale="log", yscale="log", xlabel="steps of the sampler")
        axis.tick_params(axis="x", which="minor", labelbottom=False)
        axis.legend(fontsize=7)
    steps = list(next(iter(line.values())))[-3:]
    on_line = "; ".join(
        f"at {n} steps " + ", ".join(f"{name} {values[n]:.2g}" for name, values in line.items()) for n in steps
    )
    ratios = {(kind, n, "steps"): found.value for (kind, n), found in gain.items()}
    figures.show(
        fig,
        name="fig-lipschitz-quality",
        caption="Distance of samples by number of steps. First panel: predictors without error on the line, narrow "
        "modes. Others: networks on the ring after the short training, plain and shared, mean and interval over "
        "networks, and the exact predictor, whose distance is the error of the sampler and of finite samples.",
        alt=f"On the line: {on_line}. On the ring, ratio of shared to plain: {_listed(ratios, _two)}.",
    )


def table(
    distances: Mapping[str, Mapping[str, Tensor]], overall: Mapping[str, Interval], constants: Mapping[str, Tensor],
    errors: Mapping[str, Tensor],
) -> None:
    """The table of alternatives: "plain" and the settings of ``overall``, their ratios to plain networks.

    Args:
        distances: head of a column -> name -> (members,).
        overall: name -> ratio of the last of these.
        constants: name -> (members, L) step constants.
        errors: name -> (members,) errors of eps.
    """
    from IPython.display import display

    head = ["setting", *distances, "its ratio to plain", "constant, mean", "constant, largest", "error of eps"]
    lines = [head, ["---"] * len(head)]
    for name in ("plain", *overall):
        cells = [f"{float(column[name].mean()):.3f}" for column in distances.values()]
        cells.append(f"{overall[name]:.2f}" if name in overall else "1")
        mean, largest = constants[name].mean(), constants[name].max(1).values.mean()
        lines.append([name, *cells, f"{mean:.4f}", f"{largest:.3f}", f"{errors[name].mean():.3f}"])
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    display({"text/markdown": text, "text/plain": text}, raw=True)


def _interval(axis, at: float, found: Interval, *, upright: bool, **style) -> None:
    """An interval at a place on the other axis."""
    value, low, high = (float(end) for end in found)
    ends = [[value - low], [high - value]]
    if upright:
        axis.errorbar(at, value, yerr=ends, capsize=3, **style)
    else:
        axis.errorbar(value, at, xerr=ends, capsize=3, **style)


def alternatives(ratios: Mapping[str, Mapping[str, Interval]]) -> None:
    """fig-lipschitz-alternatives: ratios of distances to plain networks: what is compared -> setting -> interval."""
    fig, axes = figures.panels(len(ratios), width=9.2, height=3.7)
    for axis, (title, found) in zip(axes, ratios.items()):
        for i, (name, one) in enumerate(found.items()):
            sharing = name == "shared" or name.startswith(("n =", "until"))
            look = dict(fmt="s", color=COLOURS["orange"]) if sharing else dict(fmt="o", color=COLOURS["blue"])
            _interval(axis, i, one, upright=False, **look)
        axis.axvline(1, color=COLOURS["black"], linewidth=0.8)
        axis.set(title=title, xscale="log", xlabel="distance / plain")
        axis.set_xticks([0.5, 0.7, 1, 1.5, 2, 3], ["0.5", "0.7", "1", "1.5", "2", "3"])
        axis.minorticks_off()
        axis.set_yticks(range(len(found)), found if axis is axes[0] else [""] * len(found))
        axis.invert_yaxis()
    told = (f"{title}: {_listed({name: one.value for name, one in found.items()}, _two)}"
            for title, found in ratios.items())  # fmt: skip
    figures.show(
        fig,
        name="fig-lipschitz-alternatives",
        caption="Distance of samples on the ring over that of plain networks after the short training, mean and "
        "interval over networks. Squares: sharing; circles: alternatives.",
        alt=f"Ratios to plain networks. {'. '.join(told)}.",
    )


def budget(
    steps: Sequence[int], off: Mapping[str, Mapping[str, Tensor]], exact: Mapping[str, float],
    contrast: Mapping[str, Tensor],
) -> None:
    """fig-lipschitz-budget: distances of samples, plain and shared, and the contrast of constants, by training steps.

    Args:
        steps: of training, (budgets,).
        off: law -> "plain" and "shared" -> (budgets, members) distances.
        exact: law -> distance of the exact predictor's samples.
        contrast: law -> (budgets, members), the constant near zero over that far from it; law + ", exact" -> ().
    """
    fig, axes = figures.panels(len(off) + 1, width=9.2, height=3.2)
    notes = []
    for axis, (law, found) in zip(axes, off.items()):
        for name, (colour, line, mark) in ARMS.items():
            look = dict(color=COLOURS[colour], linestyle=line, marker=mark, label=name)
            figures.mean_band(axis, steps, found[name], **look)
        axis.axhline(exact[law], color=COLOURS["black"], linestyle=":", label="exact")
        axis.set(title=law, yscale="log")
        ratio = (found["shared"].log() - found["plain"].log()).mean(1).exp()
        notes.append(f"{law}: plain {figures.trend(found['plain'].mean(1))}, ratio of shared to plain "
                     f"{figures.trend(ratio)}, exact {exact[law]:.2g}")  # fmt: skip
    axes[0].set_ylabel("distance of the radii")
    for (law, (colour, line, mark)) in zip(off, LOOKS):
        look = dict(color=COLOURS[colour], linestyle=line, marker=mark, label=law)
        figures.mean_band(axes[-1], steps, contrast[law], **look)
        known = float(contrast[f"{law}, exact"])
        axes[-1].axhline(known, color=COLOURS[colour], linestyle=":", linewidth=1)
        notes.append(f"constants of plain networks, near over far, {law}: {figures.trend(contrast[law].mean(1))}, "
                     f"exact {known:.1f}")  # fmt: skip
    axes[-1].set(title="plain: constant near 0 / far", ylim=(0, None))
    for axis in axes:
        axis.set(xscale="log", xlabel="training steps")
        axis.set_xticks(list(steps), [f"{n:,}" for n in steps])
        axis.minorticks_off()
        axis.legend(fontsize=7)
    figures.show(
        fig,
        name="fig-lipschitz-budget",
        caption="What training does. Left and middle: distance of the radii of samples, DPM-Solver in 50 steps, for "
        "plain and shared networks and the exact predictor. Right: the constant of plain networks near $t=0$ over "
        "that at $t\\geq50$; dotted: exact. Mean and interval over networks.",
        alt=f"{'; '.join(notes)}.",
    )


def images(
    times: Tensor, constants: Mapping[str, Mapping[str, Tensor]],
    ratios: Mapping[str, Mapping[str, Mapping[Case, Interval]]],
) -> None:
    """fig-lipschitz-images: for each set of images step constants, and ratios of distances to plain networks.

    Args:
        times: (L,).
        constants: set -> "plain" and "shared" -> (members, L).
        ratios: set -> training -> case -> interval of shared over plain.
    """
    fig, axes = figures.panels(2, len(constants), height=3.1, width=8.6)
    notes = []
    for k, name in enumerate(constants):
        left, right = axes[2 * k : 2 * k + 2]
        for arm, (colour, style, _) in ARMS.items():
            look = dict(color=COLOURS[colour], linestyle=style, label=arm, linewidth=1.3)
            figures.mean_band(left, times, constants[name][arm], dim=0, **look)
        for shift, look, (training, found) in zip((-0.12, 0.12), LOOKS, ratios[name].items()):
            for i, one in enumerate(found.values()):
                style = dict(fmt=look[2], color=COLOURS[look[0]], label=None if i else training)
                _interval(right, i + shift, one, upright=True, **style)
            told = ", ".join(f"{kind} {n} {_two(one.value)}" for (kind, n), one in found.items())
            notes.append(f"{name}, {training}: {told}")
        cases = list(next(iter(ratios[name].values())))
        left.set(xlabel="step $t$", ylabel="constant per step", title=name, yscale="log", ylim=(1e-3, 10))
        right.axhline(1, color=COLOURS["black"], linewidth=0.8)
        right.set(ylabel="feature distance, shared / plain", title=name)
        right.set_xticks(range(len(cases)), [f"{SAMPLERS[kind]}\n{n}" for kind, n in cases])
        left.legend(fontsize=7, loc="upper right")
        right.legend(fontsize=7, loc="upper center")
    trends = "; ".join(
        f"{name}, {arm}, constant {figures.trend(constants[name][arm].mean(0))}" for name in constants for arm in ARMS
    )
    figures.show(
        fig,
        name="fig-lipschitz-images",
        caption="Images: step constants of the networks' output after the long training, and feature distances of "
        "samples of shared networks over those of plain ones of the same seed, mean and interval over networks and "
        "splits.",
        alt=f"Left: {trends}. Right, ratios of distances: {'; '.join(notes)}.",
    )


# --- to be moved by hand --------------------------------------------------------------------------------------------


def sharing_frames(laws: Mapping[str, Law], schedule: Schedule, until: float) -> Callable[[str, int], Frame]:
    """(data, sub-intervals of [0, until)) -> eps(x, t) at a fixed x over t, exact and shared, and their difference."""
    points = torch.tensor([0.9], dtype=torch.float64)

    def compute(data: str, sub_intervals: int) -> Frame:
        times = 1.25 * until * torch.linspace(0.2, 1, 97, dtype=torch.float64).square()
        exact = answers_at(Exact(laws[data], schedule), points, times)[0]
        ends = left_ends(sub_intervals, until)  # within a sub-interval the shared answer is one
        within = answers_at(SharedExact(laws[data], schedule, sub_intervals, until), points, ends)[0]
        own = within[torch.bucketize(times, ends, right=True) - 1]
        answers = {"exact": exact, "shared": torch.where(times < until, own, exact)}
        slopes = {name: one.diff().abs() / times.diff() for name, one in answers.items()}
        off = {"shared": (times, answers["shared"] - exact)}
        panels = [Panel({name: (times, one) for name, one in answers.items()}, "time", "noise predicted at 0.9"),
                  Panel(off, "time", "shared less exact")]  # fmt: skip
        return Frame(panels, {"largest change, exact": float(slopes["exact"].max()),
                              "shared, at a border": float(slopes["shared"].max()),
                              "shared, median": float(slopes["shared"].median())})  # fmt: skip

    return compute


def explorer(laws: Mapping[str, Law], schedule: Schedule, sub_intervals: Sequence[int], until: float) -> None:
    """What sharing time steps does to the function that a network has to learn."""
    named = {KINDS[kind]: law for kind, law in laws.items()}
    frames = sharing_frames(named, schedule, until)
    first = {"data": [*named][-1], "sub_intervals": sub_intervals[-1]}
    explorer_of(
        frames, {"data": list(named), "sub_intervals": sub_intervals}, start=first,
        name="fig-lipschitz-explorer",
        caption=r"An explorer. Left: the best prediction of $\epsilon$ at a fixed point against time, and the best one "
        "that is told the sub-interval alone. Right: what that costs at each time. Shown first: two points.",
        alt=f"Two panels for {first['data']}, {sub_intervals[-1]} sub-intervals. {frames(**first).words}",
    )  # fmt: skip
