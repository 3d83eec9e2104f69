r"""The estimation gap of a sampler and the sequence-aware (SA) loss that is meant to close it.

A sampler's error in one step, e_t = f(x_t, t) - eps_t, is carried on by all later steps. With the reference chain that
draws from q(x_s | x_t, x_0) with the same noises, D_t = y_t - x_t obeys

    D_s = gamma2 D_t + gamma1 (sigma_t/alpha_t) e_t,      eps_t = (x_t - alpha_t x_0)/sigma_t at the model's own x_t,

so D_1 = sum_{i>=2} tau_i e_i (:func:`gap`, :attr:`~diffnotes.Chain.tau`). The SA loss adds to the plain
loss the square of a mean error over K consecutive steps,

    L = E |e_t|^2 + lambda E |(1/K) sum_{s in window} w_s e_s|^2,

and its minimiser depends on the joint law of the noises in a window (:data:`COUPLINGS`): for any two times eps_s
and eps_t are Gaussian with correlation rho, where rho = 0 (independent), 1 (shared) or, on one path of the forward
process, rho = alpha_t sigma_s/(alpha_s sigma_t) for s < t (Markov).

With independent noises E[e_s e_t | x_0] does not vanish at f = E[eps | x_t], so that is not the minimiser. For data
N(0, s^2) and windows short on the scale on which f changes, it is the predictor for data of the variance
s^2 (1 + kappa), kappa = lambda (1 - 1/K)/(1 + lambda/K) (:func:`shrinkage`, :func:`gaussian_minimiser`).

Source: Nguyen et al. 2024 (arXiv 2312.12431) and its published code (SA-DPM). The paper's windows run upwards from t in
1-K..T with w = tau; the code's run downwards from t in 1..T with w = 1. Minimisers: this book.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.denoiser import Denoiser
from ..core.law import GaussianMixture
from ..core.schedule import Chain, Schedule
from ..core.shape import expand_like
from ..model.window import Window, correlation, windows

__all__ = [
    "Bounds", "Gap", "Scaled", "Tabulated", "bounds", "gap", "gaussian_minimiser", "implied_variance",
    "population_minimiser", "shrinkage",
]  # fmt: skip


# --- the gap ----------------------------------------------------------------------------------------------------------


class Gap(NamedTuple):
    """The gap along sampled paths: see :func:`gap`. Each (steps, ...) float64, ... the shape of the samples.

    Attributes:
        errors: e_k = f(x_k, t_k) - eps_k at the times t_k that steps start from.
        running: D after step k: reference minus model at t_{k+1}.
        parts: what e_k adds to D at the time ``end``; 0 for steps below it.
        total: D at ``end``, (...): the sum of the parts.
    """

    errors: Tensor
    running: Tensor
    parts: Tensor
    total: Tensor


def _transition(schedule: Schedule | Chain, times: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For steps along ``times``: gamma2, gamma1 sigma_t/alpha_t, alpha_t and sigma_t, each (steps,) float64."""
    alpha, sigma = schedule(times)
    a, b, sigma2 = alpha[:-1], alpha[1:], sigma.square()
    var = sigma2[:-1] - (a / b).square() * sigma2[1:]
    return a / b * sigma2[1:] / sigma2[:-1], b * var / (sigma[:-1] * a), a, sigma[:-1]


def gap(denoiser: Denoiser, path: Tensor, times: Tensor | Sequence[float], x0: Tensor) -> Gap:
    r"""The estimation gap to ``x0`` along sampled paths, step by step.

    The reference chain y starts where the path does and takes each step with q(x_s | x_t, x_0) and the noise that
    the path took: D = y - x obeys D_s = gamma2 D_t + gamma1 (sigma_t/alpha_t) e_t and D = 0 at the start. A step to
    t = 0 forgets D (gamma2 = 0), so the total is read at the last time with sigma > 0, as in the theorem at t = 1.

    Args:
        denoiser: whose eps is meant.
        path: (steps + 1, n, d) or with more axes, from :func:`diffnotes.ddpm` with ``trajectory=True``.
        times: the steps + 1 times of the path.
        x0: clean samples that the gap refers to, of the shape of ``path[0]``.

    Raises:
        ValueError: for shapes that do not fit, or times that do not decrease.

    Source: Nguyen et al. 2024, Theorem 1 (which prints -D, and leaves open which eps is meant) and section 4.3.
    """
    given = torch.as_tensor(times).cpu()
    if given.ndim != 1 or len(given) < 2 or not bool((given.diff() < 0).all()):
        raise ValueError(f"times = {given.flatten()[:6].tolist()}; allowed: at least two decreasing times")
    if len(path) != len(given) or path.shape[1:] != x0.shape:
        shapes = f"path has shape {tuple(path.shape)}, x0 {tuple(x0.shape)}"
        raise ValueError(f"{shapes}; allowed: ({len(given)}, *x0.shape)")
    carry, gain, alpha, sigma = _transition(denoiser.schedule, given)
    clean, errors = x0.double(), []
    with torch.no_grad():
        for k, t in enumerate(given[:-1].tolist()):
            eps = (path[k].double() - alpha[k] * clean) / sigma[k]
            errors.append(denoiser.eps(path[k], t).double() - eps)
    running = [torch.zeros_like(clean)]
    for k, e in enumerate(errors):
        running.append(carry[k] * running[-1] + gain[k] * e)
    last = int((carry > 0).sum())  # steps before the one that forgets
    weights = gain[:last] * torch.cat([carry[:last].flip(0).cumprod(0).flip(0)[1:], carry.new_ones(min(last, 1))])
    weights = torch.cat([weights, carry.new_zeros(len(carry) - last)])
    stacked = torch.stack(errors)
    parts = weights.reshape(-1, *(1,) * clean.ndim).to(stacked) * stacked
    return Gap(stacked, torch.stack(running[1:]), parts, running[last])


class Bounds(NamedTuple):
    """Both sides of Theorem 2 and what is between them, for given errors: see :func:`bounds`."""

    upper: float
    sequence: float
    lower: float
    plain: float
    total: float


def bounds(errors: Tensor, chain: Chain, K: int) -> Bounds:
    r"""The terms of Theorem 2, (T-1)/(T+K) L_simple^tau >= L_sa >= L_theta/(T+K)^2, for any joint law of the errors.

    Args:
        errors: (n, T, d): e_t = f - eps of n draws (a joint law that gives each 1/n), t = 1..T.
        chain: its tau are the weights.
        K: steps in a window.

    Returns:
        upper = (T-1)/(T+K) ``plain``, sequence = L_sa, lower = ``total``/(T+K)^2; plain = L_simple^tau, the mean over
        t = 2..T of E tau_t^2 |e_t|^2; total = L_theta = E |sum tau_t e_t|^2. Norms are sums over d.

    Raises:
        ValueError: for errors that are not finite or not (n, T, d), or K < 1.
    """
    if errors.ndim != 3 or errors.shape[1] != chain.T or not bool(errors.isfinite().all()):
        raise ValueError(f"errors has shape {tuple(errors.shape)}; allowed: finite numbers (n, {chain.T}, d)")
    s, w = (part.to(errors.device) for part in windows(chain, Window(K, tau="literal", form="paper")))
    weighted = chain.tau[1:, None].to(errors.device) * errors.double()  # (n, T, d)
    inside = (w != 0).double()[..., None]
    means = (weighted[:, s - 1] * inside).sum(2) / K  # (n, T + K, d)
    plain = float(weighted[:, 1:].square().sum(-1).mean())
    total = float(weighted.sum(1).square().sum(-1).mean())
    T = chain.T
    sequence = float(means.square().sum(-1).mean())
    return Bounds((T - 1) / (T + K) * plain, sequence, total / (T + K) ** 2, plain, total)


# --- minimisers -------------------------------------------------------------------------------------------------------


def shrinkage(window: Window) -> float:
    r"""kappa = lambda (1 - 1/K)/(1 + lambda/K) of the SA loss with tau = 1 and independent noises; 0 for K = 1.

    For data N(0, s^2) the minimiser is the best predictor divided by 1 + kappa alpha^2 s^2/(alpha^2 s^2 + sigma^2): the
    best predictor for data of variance s^2 (1 + kappa) = s^2 (1 + lambda)/(1 + lambda/K). L_sa alone: kappa = K - 1.

    >>> [round(shrinkage(Window(K, weight)), 4) for K, weight in ((2, 1.0), (3, 0.3), (4, 0.2))]
    [0.3333, 0.1818, 0.1429]
    """
    if window.alone:
        return window.K - 1.0
    return window.weight * (1 - 1 / window.K) / (1 + window.weight / window.K)


def gaussian_minimiser(chain: Chain, std: float, window: Window) -> Tensor:
    r"""The minimiser of the SA loss for data N(0, std^2), exactly: f(x, t) = c_t x, as c (T + 1,) float64, c_0 = 0.

    The loss is quadratic in c, so c solves A c = b over all t = 1..T at once: with X_st = E x_s x_t, R_st = E x_s eps_t
    and M_st the sum of w_s w_t over the windows that hold both,
    A = diag(X)/T + lambda/(N K^2) M * X and b = diag(R)/T + lambda/(N K^2) (M * R) 1. No window is taken to be short.

    Raises:
        ValueError: for std that is not positive.
    """
    if not (math.isfinite(std) and std > 0):
        raise ValueError(f"std = {std} must be a positive, finite number")
    t = torch.arange(1, chain.T + 1)
    alpha, sigma = chain(t)
    noise = torch.outer(sigma, sigma) * correlation(chain, t[:, None], t, window.coupling)
    X = std**2 * torch.outer(alpha, alpha) + noise
    R = noise / sigma  # E x_s eps_t = sigma_s rho
    s, w = windows(chain, window)
    M = torch.zeros_like(X)
    for i in range(window.K):
        for j in range(window.K):
            M.index_put_((s[:, i] - 1, s[:, j] - 1), w[:, i] * w[:, j], accumulate=True)
    M *= window.weight / (len(s) * window.K**2)
    plain = torch.full_like(alpha, 0.0 if window.alone else 1 / chain.T)
    c = torch.linalg.solve(torch.diag(plain * X.diagonal()) + M * X, plain * R.diagonal() + (M * R).sum(1))
    return torch.cat([c.new_zeros(1), c])


def implied_variance(chain: Chain, c: Tensor) -> Tensor:
    """The data variance for which f(x, t) = c_t x is the best predictor, (T + 1,) float64; NaN at t = 0.

    c_t = sigma/(alpha^2 v + sigma^2), solved for v.
    """
    alpha, sigma = (level.to(c.device) for level in chain(torch.arange(chain.T + 1)))
    return (sigma / c - sigma.square()) / alpha.square()


class Scaled(Denoiser):
    r"""``base`` with its noise divided by 1 + kappa alpha^2 s^2/(alpha^2 s^2 + sigma^2): the SA bias without training.

    Args:
        base: any denoiser.
        kappa: > -1; see :func:`shrinkage`.
        std: s > 0, the standard deviation of the data (the root of the mean variance of a coordinate).

    Raises:
        ValueError: for numbers out of range.
    """

    target = "eps"

    def __init__(self, base: Denoiser, kappa: float, std: float) -> None:
        if not (math.isfinite(kappa) and kappa > -1):
            raise ValueError(f"kappa = {kappa} must be a finite number > -1")
        if not (math.isfinite(std) and std > 0):
            raise ValueError(f"std = {std} must be a positive, finite number")
        self.base, self.kappa, self.std = base, float(kappa), float(std)
        self.schedule, self.members = base.schedule, base.members

    def factor(self, t: float | Tensor) -> Tensor:
        """What the noise is divided by, of the shape of ``t``."""
        alpha, sigma = self.schedule(t)
        signal = (alpha * self.std).square()
        return 1 + self.kappa * signal / (signal + sigma.square())

    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        return self.base.eps(x, t) / expand_like(self.factor(t), x)


class Tabulated(Denoiser):
    """A noise predictor on the line, read off a table: linear between grid points, which are even in x/sd_t.

    Args:
        schedule: the chain.
        values: (times, points) of eps at x = sd_t u, u even over [-reach, reach]; constant beyond.
        times: the times of the table, whole numbers.
        reach: half the width of the grid.
        std: (times,) sd_t.
    """

    target = "eps"

    def __init__(self, schedule: Chain, values: Tensor, times: Tensor, reach: float, std: Tensor) -> None:
        self.schedule, self.values, self.reach, self.std = schedule, values, reach, std
        self._row = {int(t): i for i, t in enumerate(torch.as_tensor(times).tolist())}
        self._copies: dict[tuple[torch.device, torch.dtype], Tensor] = {}  # the table where samples have been
        self._scales = std.tolist()

    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        if (isinstance(t, Tensor) and t.ndim) or int(t) not in self._row:
            raise ValueError(f"t = {t}; allowed: one of the {len(self._row)} times of the table")
        row, where = self._row[int(t)], (x.device, x.dtype)
        if where not in self._copies:
            self._copies[where] = self.values.to(x)
        values = self._copies[where][row]
        below, share = _place(x / self._scales[row], self.reach, len(values))
        return torch.lerp(values[below], values[below + 1], share)


def _place(u: Tensor, reach: float, points: int) -> tuple[Tensor, Tensor]:
    """Index of the grid point below each u, and the share of the one above."""
    position = ((u + reach) * ((points - 1) / (2 * reach))).clamp(0, points - 1)
    below = position.floor().clamp(max=points - 2)
    return below.long(), position - below


def population_minimiser(
    base: Denoiser, kappas: Sequence[float], times: Tensor, *, points: int = 257, reach: float = 6.0, nodes: int = 24
) -> list[Tabulated]:
    r"""Minimisers of the SA loss with tau = 1 and independent noises for a mixture on the line, by quadrature.

    For windows short on the scale on which f changes, the loss is stationary where

        f + kappa Lambda f = E[eps | x_t],        Lambda g(x) = E[ E[g(x_t) | x_0] | x_t = x ].

    Given x_t, a second noising of the same x_0 is a mixture, so Lambda is a Gauss-Hermite sum for each component, on
    functions linear between ``points`` grid points. Its spectrum lies in [0, 1], so f is found by relaxation at the
    rate kappa/(2 + kappa). The tables hold f on a grid four times as fine; kappa = 0 tabulates ``base``.

    Args:
        base: the exact denoiser (:class:`diffnotes.Exact`) of a mixture on the line and a chain.
        kappas: values >= 0 of :func:`shrinkage`.
        times: whole times.
        points, reach, nodes: of the grid in x/sd_t, and of the quadrature.

    Raises:
        ValueError: for a law that is no mixture on the line with std > 0, or kappas out of range.
    """
    law, chain = getattr(base, "law", None), base.schedule
    if not isinstance(law, GaussianMixture) or law.dim != 1 or law.has_points:
        raise ValueError(f"base.law = {law!r}; allowed: mixtures on the line with std > 0")
    kappa = torch.as_tensor(kappas, dtype=torch.float64)
    if kappa.ndim != 1 or not bool(((kappa >= 0) & kappa.isfinite()).all()):
        raise ValueError(f"kappas = {kappas}; allowed: a list of finite numbers >= 0")
    times = torch.as_tensor(times).cpu()
    alpha, sigma = chain(times)
    law = law.to("cpu", torch.float64)
    mu, s2, weight = law.means[:, 0], law.std.square(), law.weights
    std = (alpha.square() * float(weight @ (s2 + (mu - weight @ mu).square())) + sigma.square()).sqrt()
    u, fine = (torch.linspace(-reach, reach, n, dtype=torch.float64) for n in (points, 4 * points - 3))
    z, mass = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(nodes))
    below_fine, share_fine = _place(fine, reach, points)
    tables = []
    for a, b, scale in zip(alpha, sigma, std):
        v = a.square() * s2 + b.square()

        def look(x: Tensor, a: Tensor = a, b: Tensor = b, v: Tensor = v) -> tuple[Tensor, Tensor, Tensor]:
            """x - a mu, the posterior weights of the components, and E[eps | x]."""
            diff = x[:, None] - a * mu
            r = (weight.log() - 0.5 * (diff.square() / v + v.log())).softmax(-1)
            return diff, r, b * (r * diff / v).sum(-1)

        diff, r, best = look(u * scale)
        centre = a * (mu + a * s2 / v * diff)
        width = (a.square() * s2 * b.square() / v + b.square()).sqrt()
        below, share = _place((centre[..., None] + width[:, None] * z) / scale, reach, points)
        each = r[..., None] * (mass / mass.sum())  # (points, components, nodes)
        operator = torch.zeros(points, points, dtype=torch.float64)
        operator.scatter_add_(1, below.flatten(1), (each * (1 - share)).flatten(1))
        operator.scatter_add_(1, below.flatten(1) + 1, (each * share).flatten(1))
        f = best[:, None].repeat(1, len(kappa))
        for _ in range(500):
            step = (best[:, None] - f - kappa * (operator @ f)) * (2 / (2 + kappa))
            f += step
            if float(step.abs().max()) < 1e-12:
                break
        change = torch.lerp((f - best[:, None])[below_fine], (f - best[:, None])[below_fine + 1], share_fine[:, None])
        tables.append(look(fine * scale)[2][:, None] + change)
    values = torch.stack(tables)  # (times, fine points, kappas)
    return [Tabulated(chain, table.contiguous(), times, reach, std) for table in values.unbind(-1)]
