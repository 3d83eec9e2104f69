"""Figures of the chapter on the bound and the prediction targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ..core.denoiser import Exact
from ..core.law import GaussianMixture
from ..core.schedule import Schedule
from ..core.target import TARGETS, convert
from ..measure.information import fisher_information
from ..measure.interval import Interval
from ..model.setting import LogNormal, log_snr_density
from ..show import figures
from ..show.explore import Frame, Panel
from ..show.explore import explorer as explorer_of
from .targets import Elbo

__all__ = [
    "conditioning", "densities", "digits", "erratum", "explorer", "forward", "gradients", "increments", "information",
    "mean", "rates", "score", "step_weights", "target_frames", "terms", "trained_bounds", "training", "variance",
    "weightings",
]  # fmt: skip

C = figures.COLOURS
DOUBLE = torch.float64
LOG_SNR = "log SNR (noise to data)"
ENDS = torch.tensor([0.0, 0.5, 1.0], dtype=DOUBLE)  # the quantiles of a median with its range


def _line(target: str) -> dict:
    """A target's style without markers, for dense curves."""
    return figures.TARGET_STYLE[target] | {"marker": ""}


def _trends(curves: Mapping[str, Iterable[float]]) -> str:
    return "; ".join(f"{name} {figures.trend(values)}" for name, values in curves.items())


def _middle(values: Tensor) -> Tensor:
    """Geometric mean over seeds, the first axis."""
    return values.log().mean(0).exp()


def _range(values: Tensor) -> Tensor:
    """Lowest, median and highest over seeds, (3, rows) of (rows, seeds)."""
    return values.double().quantile(ENDS, dim=1)


# --- background -------------------------------------------------------------------------------------------------------


def _swaps(states: Tensor) -> int:
    """Pairs of paths, columns of (times, paths), whose order at the end is not that at the start."""
    first, last = (states[k][:, None] < states[k] for k in (0, -1))
    return int((first != last).sum()) // 2


def forward(law: GaussianMixture, schedule: Schedule, times: Tensor, paths: Mapping[str, Tensor]) -> None:
    """Paths (times, n, 1) from noise to data by name, over the density of p_t."""
    grid_t = torch.linspace(0, 1, 300, dtype=DOUBLE)
    grid_x = torch.linspace(-3, 3, 300, dtype=DOUBLE)[:, None]
    density = torch.stack([law.noised(*map(float, schedule(t))).log_prob(grid_x).exp() for t in grid_t], 1)
    fig, axes = figures.panels(len(paths), sharey=True, height=3.0)
    for axis, (name, states) in zip(axes, paths.items()):
        axis.pcolormesh(grid_t, grid_x[:, 0], density.clamp(max=1.2), cmap="Greys", rasterized=True)
        axis.plot(times, states[..., 0], color=C["orange"], linewidth=0.8, alpha=0.9)
        axis.set(title=name, xlabel="time $t$ (0 data, 1 noise)", xlim=(0, 1), ylim=(-3, 3))
        axis.grid(False)
    axes[0].set_ylabel("$x_t$")
    pairs = math.comb(next(iter(paths.values())).shape[1], 2)
    told = "; ".join(f"{name} {_swaps(states[..., 0])} of {pairs}" for name, states in paths.items())
    figures.show(
        fig, name="fig-targets-forward",
        caption="The density $p_t$ of the two-mode mixture under the linear schedule (grey), and sixteen paths from "
        "noise to data by the exact probability-flow ODE and by the exact reverse SDE, from the same starting points.",
        alt="Two heat maps of density over time: two narrow bands at the left, at t = 0, merge into one broad band at "
        "t = 1. The ODE paths are smooth, the SDE paths are jagged; both end inside the two bands. Pairs of paths that "
        f"end in another order than they started in: {told}.",
    )  # fmt: skip


def score(law: GaussianMixture, schedule: Schedule, shown: Sequence[float], curve: tuple[Tensor, Sequence[float]]
          ) -> None:
    """The score at the times ``shown``, and ``curve``, times and the share of energy that is not linear."""
    x = torch.linspace(-3, 3, 300, dtype=DOUBLE)
    fig, axes = figures.panels(2)
    for t, style in zip(shown, ("-", "--", "-.", ":")):
        noised = law.noised(*map(float, schedule(torch.tensor(t, dtype=DOUBLE))))
        unit = math.sqrt(fisher_information(noised))
        axes[0].plot(x, noised.score(x[:, None])[:, 0] / unit, style, label=f"$t={t:g}$")
    axes[0].set(xlabel="$x$", ylabel="score / its root mean square", ylim=(-4, 4), title="shape of the score")
    axes[0].legend(loc="upper right")
    axes[1].semilogy(*curve)
    axes[1].set(xlabel="time $t$", ylabel=r"$\nu_t$", title="share of its energy that is not linear")
    figures.show(
        fig, name="fig-targets-score",
        caption="Left: the exact score of the two-mode mixture at four times, each scaled to unit energy. Right: the "
        r"share $\nu_t$ of its energy that no linear function explains, {eq}`eq-targets-nonlinearity`.",
        alt="Left: the score is a saw-tooth with two steep falling branches near t = 0 and a straight falling line at "
        f"t = 1. Right: the nonlinear share {figures.trend(curve[1])}, on a logarithmic axis.",
    )  # fmt: skip


# --- the bound --------------------------------------------------------------------------------------------------------


def step_weights(weights: Mapping[str, Tensor]) -> None:
    """The bound's weight of the squared error at t = 2.., by target."""
    fig, axes = figures.panels(1, width=6.4)
    for name, weight in weights.items():
        axes[0].loglog(torch.arange(2, 2 + len(weight)), weight, **_line(name))
    axes[0].set(xlabel="step $t$", ylabel="weight of the squared error in $L_t$")
    axes[0].legend(ncols=2, title="error measured in")
    figures.show(
        fig, name="fig-targets-step-weights",
        caption=r"The factor that the bound puts before the squared error of step $t$ (linear chain of a thousand "
        r"steps, $s_t^2=\tilde\beta_t$), when the error is measured in each of the four targets. None is flat.",
        alt=f"Curves on doubly logarithmic axes, over the steps. The weight by target: {_trends(weights)}.",
    )  # fmt: skip


def terms(parts: Mapping[str, Mapping[int, Elbo]]) -> None:
    """The three parts of the bound against the length of the chain, by schedule: ``parts[schedule][length]``."""
    fig, axes = figures.panels(3, height=3.2)
    told = {"reconstruction": {}, "the prior term": {}, "the denoising sum": {}}
    for (name, runs), style in zip(parts.items(), ("o-", "s--", "^-.", "D:", "x-")):
        values = ([run.reconstruction for run in runs.values()], [max(run.prior, 1e-12) for run in runs.values()],
                  [float(run.denoising.sum()) for run in runs.values()])
        for axis, curve, said in zip(axes, values, told.values()):
            axis.plot([*runs], curve, style, label=name if axis is axes[0] else None)
            said[name] = curve
    for axis, title in zip(axes, ("reconstruction", "prior", "sum of denoising terms")):
        axis.set(title=title, xlabel="length $T$", xscale="log", yscale="linear" if axis is axes[0] else "log")
    axes[0].set_ylabel("nats per sample")
    fig.legend(loc="outside lower center", ncols=5)
    figures.show(
        fig, name="fig-targets-terms",
        caption="The three parts of the bound for the exact predictor of the two-mode mixture, by schedule and length "
        r"(reverse variance $\tilde\beta_t$). The prior term vanishes if the chain ends in noise; the reconstruction "
        "term is as large as the rest.",
        alt="Three panels against the length of the chain, in nats by schedule. "
        + " ".join(f"{what[0].upper() + what[1:]}: {_trends(curves)}." for what, curves in told.items()),
    )  # fmt: skip


def variance(lengths: Sequence[int], gap: Mapping[str, Sequence[float]]) -> None:
    """The bound of the best predictor minus the entropy, by reverse variance, against the length of the chain."""
    labels = {"beta": r"$\beta_t$", "beta_tilde": r"$\tilde\beta_t$", "optimal": "optimal"}
    fig, axes = figures.panels(1, width=6.4)
    for (kind, values), style in zip(gap.items(), ("o-", "s--", "^-.")):
        axes[0].loglog(lengths, values, style, label=labels[kind])
    axes[0].set(xlabel="length $T$", ylabel="bound minus entropy (nats)")
    axes[0].legend(title="reverse variance $s_t^2$")
    told = _trends({kind.replace("_", " "): values for kind, values in gap.items()})
    figures.show(
        fig, name="fig-targets-variance",
        caption="What a perfect predictor still loses, by length of the chain and reverse variance (linear schedule, "
        "two-mode mixture).",
        alt=f"Curves on doubly logarithmic axes. With the length of the chain the loss in nats by variance: {told}.",
    )  # fmt: skip


def mean(energy: Tensor, unknown: Tensor) -> None:
    """Second moment of mu_q at t = 2.., and the share of it that is not linear in x_t."""
    step = torch.arange(2, 2 + len(energy))
    fig, axes = figures.panels(2)
    axes[0].plot(step, energy, color=C["black"])
    axes[0].set(xlabel="step $t$", ylabel=r"$\mathbb{E}\,\mu_q^2$", ylim=(0, 1.3), title="scale of the target")
    axes[1].loglog(step, unknown, color=C["black"])
    axes[1].set(xlabel="step $t$", ylabel="share of variance", title="what $x_t$ does not give linearly")
    figures.show(
        fig, name="fig-targets-mean",
        caption=r"The target $\mu_q$ for data of unit variance on the linear chain. Left: its second moment. Right: "
        "the share of it that is left after the best linear function of $x_t$.",
        alt=f"Left: the second moment of the mean {figures.trend(energy)}. Right: the share that is not linear in x_t "
        f"{figures.trend(unknown)}.",
    )  # fmt: skip


# --- the table --------------------------------------------------------------------------------------------------------


def conditioning(log_snr: Tensor, errors: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """What an error becomes in x_0 and in eps, by target (:func:`~diffnotes.chapters.targets.amplification`)."""
    fig, axes = figures.panels(2, sharey=True)
    for name, both in errors.items():
        for axis, values in zip(axes, both):
            axis.semilogy(log_snr, values, **_line(name))
    axes[0].set(xlabel=LOG_SNR, ylabel="amplification", title="error in $x_0$")
    axes[1].set(xlabel=LOG_SNR, title=r"error in $\epsilon$")
    axes[0].legend()
    to_x0, to_eps = (_trends({name: both[k] for name, both in errors.items()}) for k in (0, 1))
    figures.show(
        fig, name="fig-targets-conditioning",
        caption=r"How an error of the network is amplified on its way to $x_0$ (left) and to $\epsilon$ (right), per "
        "unit of error in the target's own scale (the score's scale is $1/\\sigma$). Only $v$ stays at or below one in "
        "both.",
        alt=f"From noise to data, on logarithmic axes. Left, the error in x0: {to_x0}. Right, the error in eps: "
        f"{to_eps}.",
    )  # fmt: skip


def erratum(left: Tensor, variances: Tensor) -> None:
    """What the misprinted v leaves and its variance at t = 1.., of :func:`~diffnotes.chapters.targets.misprint`."""
    step = torch.arange(1, 1 + len(left))
    fig, axes = figures.panels(2)
    axes[0].plot(step, left, color=C["green"])
    axes[0].set(xlabel="step $t$", ylabel=r"coefficient of $\epsilon$ in $\hat x_0$",
                title="noise left in the inversion")
    axes[1].plot(step, variances, color=C["green"])
    axes[1].axhline(1, color=C["grey"], linestyle=":")
    axes[1].set(xlabel="step $t$", ylabel="variance", title="variance of the misprinted $v$")
    figures.show(
        fig, name="fig-targets-erratum",
        caption=r"The misprinted $v$ on the linear chain, for data of unit variance. Left: the multiple of $\epsilon$ "
        "that its inversion leaves in the clean sample (the correct one leaves none). Right: its variance (the correct "
        "one has one).",
        alt=f"Left: the noise left {figures.trend(left)} over the steps. Right: the variance "
        f"{figures.trend(variances)} instead of staying at one.",
    )  # fmt: skip


# --- difficulty and densities -----------------------------------------------------------------------------------------


def information(log_snr: Tensor, known: Mapping[str, Tensor], residual: Mapping[str, Tensor]) -> None:
    """Mutual information of x_t with each target, and its Bayes residual."""
    fig, axes = figures.panels(2)
    for name in known:
        axes[0].plot(log_snr, known[name], **_line(name))
        axes[1].plot(log_snr, residual[name], **_line(name))
    axes[0].set(xlabel=LOG_SNR, ylabel="nats", title="mutual information with $x_t$", ylim=(0, 5))
    axes[1].set(xlabel=LOG_SNR, ylabel="share of variance", title="Bayes residual")
    axes[0].legend(loc="upper center", ncols=3)
    figures.show(
        fig, name="fig-targets-information",
        caption=r"What $x_t$ says about each target, for the two-mode mixture with unit variance: mutual information "
        r"(left; the score shares the curve of $\epsilon$) and the share of the target that no predictor can know "
        "(right).",
        alt=f"From noise to data. Left, information in nats: {_trends(known)}. Right, residual: {_trends(residual)}.",
    )  # fmt: skip


def densities(schedules: Mapping[str, Schedule], band: float) -> None:
    """Densities of log SNR in [-band, band] for uniform times, and EDM's."""
    log_snr = torch.linspace(-band + 0.01, band - 0.01, 400, dtype=DOUBLE)
    curves = {name: log_snr_density(schedule, log_snr, band) for name, schedule in schedules.items()}
    edm = LogNormal()
    z = (-log_snr / 2 - edm.mean) / edm.std
    curves["EDM, log-normal"] = torch.exp(-0.5 * z**2) / (2 * edm.std * math.sqrt(2 * math.pi))
    fig, axes = figures.panels(1, width=6.4)
    for (name, values), style in zip(curves.items(), ("-", "--", "-.", ":")):
        axes[0].plot(log_snr, values, style, color=C["pink"] if name.startswith("EDM") else None, label=name)
    axes[0].set(xlabel=LOG_SNR, ylabel=r"density $\rho(\lambda)$")
    axes[0].legend()
    told = "; ".join(
        f"{name} has {100 * float(values[log_snr < 0].sum() / values.sum()):.0f} per cent of its mass below zero and "
        f"is highest at {float(log_snr[values.argmax()]) :z.1f}" for name, values in curves.items()
    )  # fmt: skip
    figures.show(
        fig, name="fig-targets-density",
        caption="Noise schedules as sampling densities over the log signal-to-noise ratio (uniform time; linear, "
        "quadratic and cosine restricted to the levels shown).",
        alt=f"Densities over log SNR: {told}.",
    )  # fmt: skip


# --- training ---------------------------------------------------------------------------------------------------------


def training(log_snr: Tensor, excess: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Excess error of x_0 (seeds, levels) by loss and target, drawn in units of v: |dv|^2 = (1 + SNR) |dx_0|^2.

    These are of order one at every level. ``log_snr`` falls.
    """
    fig, axes = figures.panels(len(excess), sharey=True, height=3.3)
    told = []
    for axis, (kind, curves) in zip(axes, excess.items()):
        middle = {name: _middle(values) * (1 + log_snr.exp()) for name, values in curves.items()}
        for name, values in middle.items():
            axis.semilogy(log_snr, values, **_line(name))
        axis.set(xlabel=LOG_SNR, title=f"{kind} losses")
        told.append(f"With {kind} losses: " + "; ".join(
            f"{name} {values[-1]:.2g} and {values[0]:.2g}" for name, values in middle.items()))
    axes[0].set_ylabel(r"excess error ($v$ units)")
    axes[-1].legend(ncols=2)
    figures.show(
        fig, name="fig-targets-training",
        caption=r"Excess error of trained networks over the noise level, geometric mean over seeds, in units of "
        r"$\|\delta v\|^2$. Left: each target with its plain, unweighted loss. Right: all weighted to the same "
        r"$w_\epsilon=1$.",
        alt=f"Panels of excess error against log SNR, at the noisiest and the cleanest level. {'. '.join(told)}.",
    )  # fmt: skip


def trained_bounds(bounds: Mapping[str, Tensor], best: float) -> None:
    """Bounds (targets, seeds) that plain and matched losses reach, above the best."""
    fig, axes = figures.panels(1, width=6.4)
    for offset, (kind, values) in zip((-0.15, 0.15), bounds.items()):
        for i, name in enumerate(TARGETS):
            style, seeds = figures.TARGET_STYLE[name], values.shape[1]
            axes[0].scatter(torch.full((seeds,), i + offset), values[i] - best, color=style["color"],
                            marker=style["marker"], s=28,
                            facecolors="none" if kind == "plain" else style["color"])
    axes[0].set_yscale("log")
    axes[0].set_xticks(range(len(TARGETS)), [figures.TARGET_STYLE[name]["label"] for name in TARGETS])
    axes[0].set(ylabel="bound above the best (nats)", xlabel="target")
    for kind in bounds:  # the colour is the target's, the filling the kind's
        axes[0].scatter([], [], color=C["grey"], label=kind, facecolors="none" if kind == "plain" else C["grey"])
    axes[0].legend()
    told = "; ".join(f"{name} " + ", ".join(f"{values[i].mean() - best:.2g}" for values in bounds.values())
                     for i, name in enumerate(TARGETS))
    figures.show(
        fig, name="fig-targets-bounds",
        caption="The bound that trained networks reach, above that of the best predictor (one marker a seed; open: "
        r"plain losses, filled: matched losses with $w_\epsilon=1$).",
        alt=f"For each of four targets columns of markers. Mean excess in nats, {' then '.join(bounds)}: {told}.",
    )  # fmt: skip


def gradients(edges: Tensor, ratio: Mapping[str, Tensor]) -> None:
    """Noise over signal of gradients (bins,) by target, at the middles of the bins of log SNR; inf is not drawn."""
    fig, axes = figures.panels(1, width=6.4)
    for name, values in ratio.items():
        axes[0].semilogy((edges[1:] + edges[:-1]) / 2, values, **figures.TARGET_STYLE[name])
    axes[0].set(xlabel=LOG_SNR, ylabel="gradient noise / signal")
    axes[0].legend(ncols=2)
    seen = {name: values[values.isfinite()] for name, values in ratio.items()}
    lost = {name: int((~values.isfinite()).sum()) for name, values in ratio.items()}
    lost = ", ".join(f"{name} in {n}" for name, n in lost.items() if n)
    figures.show(
        fig, name="fig-targets-gradients",
        caption="Noise of a mini-batch gradient relative to the norm of its mean, at initialisation, by noise level "
        "(median over seeds).",
        alt=f"Four curves over log SNR: {_trends(seen)}. " + (
            f"Bins in which the signal is not told from zero, left out: {lost}." if lost else
            "In every bin the signal of most networks is told from zero."),
    )  # fmt: skip


def rates(mixture: tuple[Sequence[float], Mapping[str, Tensor]], digit: tuple[Sequence[float], Mapping[str, Tensor]]
          ) -> None:
    """Distances (rates, seeds) by target against the learning rate, on the mixture and on the digits."""
    fig, axes = figures.panels(2, height=3.3)
    told = []
    for axis, (over, found), title in zip(axes, (mixture, digit), ("mixture, Wasserstein", "digits, Fréchet")):
        for name in TARGETS:
            low, middle, high = _range(found[name])
            figures.band(axis, over, middle, low, high, **figures.TARGET_STYLE[name])
        axis.set(xscale="log", yscale="log", xlabel="learning rate", title=title)
        told.append(f"{title.split(',')[0].capitalize()}: " + "; ".join(
            f"{name} {values[0]:.2g}, {values.min():.2g} and {values[-1]:.2g}"
            for name, values in ((name, found[name].median(1).values) for name in TARGETS)))
    axes[0].set_ylabel("distance of samples to data")
    axes[0].legend(ncols=2)
    figures.show(
        fig, name="fig-targets-rates",
        caption="Distance between DDIM samples and data against the learning rate, for plain losses: median and range "
        "over seeds. Left: the two-mode mixture. Right: the digits, with $x_0$ clipped. Samples worse than zeros count "
        "as zeros.",
        alt="Two panels of distance against learning rate with one curve a target. Median distances at the lowest, "
        f"the best and the highest rate. {'. '.join(told)}.",
    )  # fmt: skip


def digits(held_out: Tensor, made: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Held-out digits and samples (n, 64) by target, whose Fréchet distances by seed are ``found``."""
    rows = {"data": held_out} | {figures.TARGET_STYLE[name]["label"]: made[name] for name in TARGETS}
    told = "; ".join(f"{name} {found[name].mean():.2g}" for name in TARGETS)
    figures.show(
        figures.images(rows, (8, 8)), name="fig-targets-digits",
        caption="Held-out digits (first row) and samples of the networks of the first seed at the middle learning "
        "rate, by target.",
        alt="Rows of eight-by-eight grey-scale digits. Fréchet distances to the held-out digits, averaged over seeds: "
        f"{told}.",
    )  # fmt: skip


def weightings(errors: Mapping[str, tuple[Tensor, Mapping[str, Tensor]]], shift: Mapping[str, Mapping[str, Interval]]
               ) -> None:
    """Errors relative to the plain eps-loss by weighting.

    Args:
        errors: title, such as "digits: held-out error" -> log SNR (L,) and, by weighting, ratios (seeds, L).
        shift: data, the first word of the title -> by weighting, the shift of the error to the clean end.
    """
    fig, axes = figures.panels(len(errors), height=3.3)
    for axis, (title, (log_snr, found)) in zip(axes, errors.items()):
        for (name, ratios), style in zip(found.items(), ("-", "--", "-.", ":")):
            axis.plot(log_snr, _middle(ratios), style, label=name)
        axis.axhline(1, color=C["grey"], linewidth=1)
        axis.set(yscale="log", xlabel=LOG_SNR, title=title)
    axes[0].set_ylabel(r"relative to plain $\epsilon$")
    axes[0].legend()
    told = "; ".join(f"{data} " + ", ".join(f"{name} {by.value:.2g}" for name, by in found.items())
                     for data, found in shift.items())
    figures.show(
        fig, name="fig-targets-weightings",
        caption=r"Error of four weightings relative to the plain $\epsilon$-loss, by noise level (geometric mean over "
        "seeds). Left: excess error on the mixture. Right: error on held-out digits.",
        alt="Two panels of relative error against log SNR. Mean shift of the log error from the noisy to the clean "
        f"end: {told}. Negative: better at high noise.",
    )  # fmt: skip


def increments(sizes: Sequence[float], relative: Mapping[str, Tensor], reference: float,
               trained: tuple[Sequence[float], Mapping[str, Tensor]]) -> None:
    """Gradients of a step by loss and increment, relative to those at the increment ``reference``.

    Args:
        sizes, relative: increments, and by loss (increments, seeds), of fresh networks.
        reference: the increment to which they are relative.
        trained: the same two of networks trained with that loss.
    """
    fig, axes = figures.panels(2, height=3.2, sharey=True)
    told = []
    for axis, when, (over, found) in zip(axes, ("at the start", "after training"), ((sizes, relative), trained)):
        for (name, values), marker, line in zip(found.items(), "os", ("-", "--")):
            low, middle, high = _range(values)
            figures.band(axis, over, middle, low, high, marker=marker, linestyle=line, label=name)
            told.append(f"{when} that of the {name} loss {figures.trend(middle)}")
        law = torch.tensor(sizes).double().expm1() / math.expm1(reference)
        axis.plot(sizes, law, ":", color=C["black"], label=r"$\mathrm{e}^{\Delta\lambda}-1$")
        axis.set(xscale="log", yscale="log", xlabel=r"increment $\Delta\lambda$ of the step", title=when)
    axes[0].set_ylabel("gradient, relative")
    axes[0].legend(title="loss of the step")
    figures.show(
        fig, name="fig-targets-increments",
        caption="Root mean square of the mini-batch gradients of one step against its increment in log SNR, relative "
        "to the increment of an evenly spaced chain: plain $\\epsilon$-loss and the bound's own weight (median and "
        "range over seeds). Left: fresh networks. Right: networks trained with that loss on that chain.",
        alt=f"Doubly logarithmic plots of the gradient against the increment: {', '.join(told)}.",
    )  # fmt: skip


# --- to be moved by hand --------------------------------------------------------------------------------------------


def target_frames(law: GaussianMixture, schedule: Schedule, error: float = 0.1) -> Callable[[str, float], Frame]:
    """(target, time) -> the best prediction of the target, and that with a constant ``error``; both read as x0.

    x0 is affine in the target, so that a constant error stays one; its size is the number "error of the clean sample".
    """
    exact, x = Exact(law, schedule), torch.linspace(-2.5, 2.5, 61, dtype=DOUBLE)

    def compute(target: str, time: float) -> Frame:
        alpha, sigma = (float(level) for level in schedule(time))
        best = convert(exact.eps(x[:, None], time)[:, 0], x, alpha, sigma, "eps", target)
        off = best + error
        as_x0 = {name: convert(value, x, alpha, sigma, target, "x0")
                 for name, value in (("best", best), ("with the error", off))}  # fmt: skip
        panels = [Panel({"best": (x, best), "with the error": (x, off)}, "noisy sample", "prediction",
                        y_limits=(-5, 5)),
                  Panel({name: (x, value) for name, value in as_x0.items()}, "noisy sample", "clean sample it means",
                        y_limits=(-3, 3))]  # fmt: skip
        grown = float((as_x0["with the error"] - as_x0["best"]).abs().max())
        return Frame(panels, {"signal": alpha, "noise": sigma, "error of the clean sample": grown})

    return compute


def explorer(law: GaussianMixture, schedule: Schedule, times: Sequence[float]) -> None:
    """What each target asks for, and what an error in it does to the clean sample."""
    frames = target_frames(law, schedule)
    first = {"target": "eps", "time": times[-2]}
    explorer_of(
        frames, {"target": TARGETS, "time": times}, start=first, name="fig-targets-explorer",
        caption="An explorer. Left: the best prediction of a target, and one that is off by a tenth everywhere. Right: "
        r"the clean sample that each means. Shown first: $\epsilon$ with much noise, where the error grows.",
        alt=f"Two panels for eps at time {first['time']:g}. {frames(**first).words}",
    )  # fmt: skip
