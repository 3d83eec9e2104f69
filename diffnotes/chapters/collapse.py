r"""Collapse errors of the deterministic sampler: where they come from, and what the stochastic one does with them.

On the line a step's velocity error is carried to the end of the path by the slopes of all later steps
(:func:`transport`); for a Gaussian and an error of slope at high noise both samplers' laws are known
(:func:`slope_error_variance`).

Source: Zhang et al., arXiv 2508.16154. Closed forms: this book.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.denoiser import Denoiser, Exact, home_of, members_of
from ..core.numbers import floats, number, samples
from ..model.sample import ode

__all__ = ["Transport", "slope_error_variance", "transport"]



@dataclass(frozen=True)
class Transport:
    """Errors at the end of the path: ``found`` and ``predicted`` (..., q), and ``by_time`` (..., steps, q) whose sum
    over the steps is ``predicted``; float64 on the CPU."""

    found: Tensor
    predicted: Tensor
    by_time: Tensor


def transport(denoiser: Denoiser, exact: Exact, start: Tensor, times: Tensor | Sequence[float]) -> Transport:
    """Carry each step's velocity error along the exact 1-D ODE path to its end, to first order.

    d delta/dt = u'(x, t) delta + (u_learned - u)(x, t) on the path of the exact velocity u, which is the same as
    adding up step errors e_k, each multiplied by the slopes of all later steps. Steps are those of Heun's method, and
    so are their slopes, hence found - predicted is of second order in the error, whatever the grid.

    Args:
        denoiser: with the error; an ensemble gives results a leading axis of members.
        exact: the exact denoiser of a law on the line, on the same schedule.
        start: (q,) states at times[0].
        times: decreasing, sigma > 0 at the end. (Near a point between two modes, where paths part, errors grow by
            orders of magnitude, and first order is soon not enough.)

    Raises:
        ValueError: for a start that is not a vector, a law off the line, sigma = 0 at the end, or as
            :func:`diffnotes.ode`.
    """
    start = samples(start, "start")
    if start.ndim != 1:
        raise ValueError(f"start = {start!r}; allowed: a floating-point tensor (q,)")
    if not isinstance(exact, Exact) or exact.law.dim != 1 or exact.schedule != denoiser.schedule:
        raise ValueError(f"exact = {exact!r}; allowed: the Exact denoiser of a law on the line, on the same schedule")
    times = floats(times, "times", torch.float64).cpu()
    if not float(exact.schedule(times[-1])[1]) > 0:
        raise ValueError(f"times end at {float(times[-1]):g}, where sigma = 0; allowed: ends with sigma > 0")
    dtype, device = home_of(denoiser)
    members = members_of(denoiser)

    def learned(x: Tensor, grid: Tensor) -> Tensor:
        x = x[:, None]
        return ode(denoiser, x if members is None else x.repeat(members, 1, 1), grid)[..., 0].double()

    path = ode(exact, start.to(exact.law.device, torch.float64)[:, None], times, trajectory=True)[..., 0].cpu()
    there, ends, slopes = path.to(device, dtype), [], []
    for k in range(len(times) - 1):
        step = times[k : k + 2]
        ends.append(learned(there[k], step))
        slopes.append(_heun_slope(exact, path[k], step))
    errors = [end - after for end, after in zip(torch.stack(ends).cpu().unbind(0), path[1:])]
    after = torch.stack([*slopes[1:], torch.ones_like(path[0])]).flip(0).cumprod(0).flip(0)
    by_time = torch.stack(errors, -2) * after
    return Transport(learned(there[0], times).cpu() - path[-1], by_time.sum(-2), by_time)


def _heun_slope(exact: Exact, x: Tensor, step: Tensor) -> Tensor:
    """d x_s/d x_t of one step of Heun's method for the exact velocity."""
    x = x.to(exact.law.device)[:, None]
    h, slopes = float(step.diff()), []
    for t, at in ((step[0], x), (step[1], ode(exact, x, step, "euler"))):
        (alpha, sigma), drift, g2 = exact.schedule(t), exact.schedule.drift(t), exact.schedule.diffusion(t)
        # With u = f x - g^2 score/2: u' = f + g^2 (1 - alpha^2 Var(x_0 | x)/sigma^2)/(2 sigma^2).
        known = 1 - (alpha / sigma) ** 2 * exact.law.posterior_variance(at, float(alpha), float(sigma)).cpu()
        slopes.append(drift + g2 * known / (2 * sigma**2))
    return 1 + h / 2 * (slopes[0] + slopes[1] * (1 + h * slopes[0]))


def slope_error_variance(delta: float, alpha_bar_start: float, alpha_bar_switch: float) -> tuple[float, float]:
    """Final variances (ODE, SDE) for N(0, 1) data when eps is too large by the factor 1 + delta at high noise.

    The predictor is (1 + delta) sigma x where alpha^2 < alpha_bar_switch = b and exact below; both samplers start from
    N(0, 1) where alpha^2 = alpha_bar_start = a, in continuous time on a variance-preserving schedule:

        V_ODE = (a/b)^delta,    V_SDE = 1 + b (V - 1),    V = (1 + 2 delta (a/b)^(1 + 2 delta))/(1 + 2 delta).

    Raises:
        ValueError: unless 0 < a < b < 1 and delta > -1/2.

    >>> [round(v, 3) for v in slope_error_variance(0.02, 4e-5, 0.3)]
    [0.837, 0.988]
    """
    delta, alpha_bar_start = number(delta, "delta"), number(alpha_bar_start, "alpha_bar_start")
    alpha_bar_switch = number(alpha_bar_switch, "alpha_bar_switch")
    if not (0 < alpha_bar_start < alpha_bar_switch < 1 and delta > -0.5):
        raise ValueError(
            f"delta = {delta}, alpha_bar_start = {alpha_bar_start}, alpha_bar_switch = {alpha_bar_switch}; "
            "allowed: delta > -1/2 and 0 < start < switch < 1"
        )
    ratio, pull = alpha_bar_start / alpha_bar_switch, 1 + 2 * delta
    above = (1 + 2 * delta * ratio**pull) / pull
    return ratio**delta, 1 + alpha_bar_switch * (above - 1)
