r"""The estimation gap of a sampler and the sequence-aware (SA) loss that is meant to close it.

A sampler's error in one step, e_t = f(x_t, t) - eps_t, is carried on by all later steps. With the reference chain that
draws from q(x_s | x_t, x_0) with the same noises, D_t = y_t - x_t obeys

    D_s = gamma2 D_t + gamma1 (sigma_t/alpha_t) e_t,      eps_t = (x_t - alpha_t x_0)/sigma_t at the model's own x_t,

so D_1 = sum_{i>=2} tau_i e_i (:func:`gap`, :attr:`~diffnotes.Chain.tau`). The SA loss adds to the plain
loss the square of a mean error over K consecutive steps,

    L = E |e_t|^2 + lambda E |(1/K) sum_{s in window} w_s e_s|^2,

and its minimiser depends on the joint law of the noises in a window, independent, shared or on one path of the forward
process (:mod:`diffnotes.model.window`).

With independent noises E[e_s e_t | x_0] does not vanish at f = E[eps | x_t], so that is not the minimiser. For data
N(0, s^2) and windows short on the scale on which f changes, it is the predictor for data of the variance
s^2 (1 + kappa), kappa = lambda (1 - 1/K)/(1 + lambda/K) (:func:`shrinkage`, :func:`gaussian_minimiser`).

Source: Nguyen et al. 2024 (arXiv 2312.12431) and its published code (SA-DPM). The paper's windows run upwards from t in
1-K..T with w = tau; the code's run downwards from t in 1..T with w = 1. Minimisers: this book.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..core.data import image_split
from ..core.denoiser import Denoiser, Mirrored, home_of, members_of
from ..core.generators import generator_of
from ..core.law import GaussianMixture, Law
from ..core.numbers import count
from ..core.schedule import Chain, Schedule
from ..core.shape import expand_like
from ..core.target import convert
from ..measure.distance import wasserstein1_to
from ..measure.information import mmse
from ..measure.interval import Interval, mean_interval, ratio_interval
from ..measure.judges import Judges
from ..model.fleet import Table, Trained
from ..model.net import MLP
from ..model.sample import Variance, ddpm, grid, prior, sampled_variance
from ..model.setting import Run, Setting
from ..model.train import fit
from ..model.window import Window, correlation, windows

__all__ = [
    "KINDS", "BatchGaps", "Bounds", "Gap", "Gaps", "Heard", "ImageGaps", "Known", "LongSamples", "Recalled", "Scaled",
    "Shaped", "Tabulated", "TwoChains", "Worst", "antithetic", "batch_gaps", "best_weights", "bounds",
    "check_inflation", "check_weights", "crossings", "distances", "drawn", "gap", "gap_from", "gap_ratio", "gaps",
    "gaussian_minimiser", "identity_error", "implied_variance", "judged", "misfit", "needed_inflation", "pixel_spread",
    "population_minimiser", "posterior_squares", "random_errors", "ratios", "ratios_of_settings",
    "ratios_of_variances", "refuses", "repaired_variance", "residual", "seconds_a_step", "share_of_gain",
    "share_of_squares", "shrinkage", "spread", "two_chains", "wider", "worst", "worst_cases",
]  # fmt: skip

_MOST = 2000  # images of a split whose gaps are measured
Key = TypeVar("Key", bound=Hashable)
KINDS = ("random", "aligned", "sparse")
"""Kinds of :func:`random_errors`."""


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


def gap(
    denoiser: Denoiser, path: Tensor, times: Tensor | Sequence[float], x0: Tensor,
    asked: Sequence[Tensor] | None = None,
) -> Gap:
    r"""The estimation gap to ``x0`` along sampled paths, step by step.

    The reference chain y starts where the path does and takes each step with q(x_s | x_t, x_0) and the noise that
    the path took: D = y - x obeys D_s = gamma2 D_t + gamma1 (sigma_t/alpha_t) e_t and D = 0 at the start. A step to
    t = 0 forgets D (gamma2 = 0), so the total is read at the last time with sigma > 0, as in the theorem at t = 1.

    Args:
        denoiser: whose eps is meant.
        path: (steps + 1, n, d) or with more axes, from :func:`diffnotes.ddpm` with ``trajectory=True``.
        times: the steps + 1 times of the path.
        x0: clean samples that the gap refers to, of the shape of ``path[0]``.
        asked: its native predictions at the states that steps start from, where they are known; else it is asked.

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
            if asked is None:
                guess = denoiser.eps(path[k], t)
            else:
                guess = convert(asked[k], path[k], alpha[k], sigma[k], source=denoiser.target, to="eps")
            errors.append(guess.double() - eps)
    running = [torch.zeros_like(clean)]
    for k, e in enumerate(errors):
        running.append(carry[k] * running[-1] + gain[k] * e)
    last = int((carry > 0).sum())  # steps before the one that forgets
    weights = gain[:last] * torch.cat([carry[:last].flip(0).cumprod(0).flip(0)[1:], carry.new_ones(min(last, 1))])
    weights = torch.cat([weights, carry.new_zeros(len(carry) - last)])
    stacked = torch.stack(errors)
    parts = weights.reshape(-1, *(1,) * clean.ndim).to(stacked) * stacked
    return Gap(stacked, torch.stack(running[1:]), parts, running[last])


class TwoChains(NamedTuple):
    """The gap y_1 - x_1, and the sums of tau_i e_i at the model's own states x_i and at the reference chain's y_i."""

    gap: Tensor
    own: Tensor
    reference: Tensor


def two_chains(
    f: Callable[[Tensor, float], Tensor], chain: Chain, x0: Tensor, generator: torch.Generator | int
) -> TwoChains:
    """The model's chain x and the reference chain y from one start with the same noises, and both sums of errors.

    Args:
        f: (x, i/T) -> predicted noise, any function of states (2, n, d), those of both chains.
        chain: whose T steps are taken down to i = 1.
        x0: what the reference chain knows, (n, d) float64.
        generator: draws the start and the noises.

    Source: Nguyen et al. 2024, Theorem 1.
    """
    generator = generator_of(generator, x0.device)
    alpha, sigma = (level.tolist() for level in chain(torch.arange(chain.T + 1)))
    tau, g1, g2 = chain.tau.tolist(), chain.gamma1.tolist(), chain.gamma2.tolist()
    width = chain.beta_tilde.sqrt().tolist()
    x = y = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    own = other = torch.zeros_like(x0)
    for i in range(chain.T, 1, -1):
        guess, there = f(torch.stack([x, y]), i / chain.T)
        clean = alpha[i] * x0
        own = own + tau[i] * (guess - (x - clean) / sigma[i])
        other = other + tau[i] * (there - (y - clean) / sigma[i])
        z = width[i] * torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
        x = g1[i] * (x - sigma[i] * guess) / alpha[i] + g2[i] * x + z
        y = g1[i] * x0 + g2[i] * y + z
    return TwoChains(y - x, own, other)


def identity_error(chain: Chain, generator: torch.Generator) -> tuple[float, float]:
    """How far both sums of :func:`two_chains` are off the gap, over its size, for a random nonlinear f in the plane.

    f(x, t) = sin(x a + t) b + 0.3 x c with random matrices a, b, c: nobody's posterior mean.
    """
    a, b, c = torch.randn(3, 2, 2, generator=generator, dtype=torch.float64)
    x0 = torch.randn(8, 2, generator=generator, dtype=torch.float64)
    found = two_chains(lambda x, t: torch.sin(x @ a + t) @ b + 0.3 * x @ c, chain, x0, generator)
    size = found.gap.abs().max()
    return tuple(float((found.gap - one).abs().max() / size) for one in (found.own, found.reference))


def share_of_squares(chain: Chain) -> Tensor:
    """The share of sum tau^2 on the steps up to i, for i = 2..T, (T - 1,) float64."""
    squares = chain.tau.square()
    return (squares.cumsum(0) / squares.sum())[2:]


class Bounds(NamedTuple):
    """Both sides of Theorem 2 and what is between them, for given errors: see :func:`bounds`."""

    upper: float
    sequence: float
    lower: float
    plain: float
    total: float

    @property
    def slack(self) -> tuple[float, float]:
        """By which share L_sa lies below the left side, and the right side below L_sa."""
        return 1 - self.sequence / self.upper, 1 - self.lower / self.sequence

    @property
    def over_plain(self) -> float:
        """The SA bound (T+K)^2 L_sa over the one that needs no windows, (T-1)^2 L_simple^tau."""
        return self.sequence * self.plain / self.upper**2


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


def random_errors(kind: str, chain: Chain, draws: int, generator: torch.Generator) -> Tensor:
    """Errors e (draws, T, 2) float64 whose u = tau e are normal, all steps alike; 0 at t = 1, which has no tau.

    Args:
        kind: "random", independent; "aligned", nearly the same at all steps; "sparse", 0 where |u| <= 1.5.
        chain, draws, generator: whose tau, how many, and from where.

    Raises:
        ValueError: for an unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind = {kind!r} is unknown; allowed: {', '.join(KINDS)}")
    u = torch.randn(draws, chain.T, 2, generator=generator, dtype=torch.float64)
    if kind == "aligned":
        u = u[:, :1] + 0.1 * u
    elif kind == "sparse":
        u = u * (u.abs() > 1.5)
    inverse = 1 / chain.tau[1:, None].clamp(min=1e-300)
    inverse[0] = 0
    return u * inverse


class Worst(NamedTuple):
    """The extremes of Theorem 2 over all errors: see :func:`worst_cases`."""

    top: float
    bottom: float
    looser: float


def worst_cases(chain: Chain, K: int) -> Worst:
    """The largest L_sa over the left side of Theorem 2, right side over L_sa, and SA bound over the one by steps.

    With the matrix B that maps u to its T + K window means: lambda_max(B^T B), 1^T (B^T B)^{-1} 1/(T + K), and the
    first one times (T + K)/(T - 1), the largest (T + K)^2 L_sa/((T - 1)^2 L_simple^tau).

    Raises:
        ValueError: for K < 1.
    """
    T = chain.T
    index, mask = windows(chain, Window(K, tau="literal", form="paper"))
    B = torch.zeros(len(index), T, dtype=torch.float64)
    B.scatter_add_(1, index - 1, (mask > 0).double() / K)
    gram, one = B[:, 1:].T @ B[:, 1:], torch.ones(T - 1, dtype=torch.float64)
    top = float(torch.linalg.eigvalsh(gram)[-1])
    return Worst(top, float(one @ torch.linalg.solve(gram, one)) / (T + K), (T + K) / (T - 1) * top)


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


def wider(chain: Chain, kappa: float) -> Tensor:
    """The best predictor for data N(0, 1 + kappa), f(x, t) = c_t x, as c (T + 1,) float64."""
    alpha, sigma = chain(torch.arange(chain.T + 1))
    return sigma / (alpha.square() * (1 + kappa) + sigma.square())


def needed_inflation(chain: Chain, steps: int) -> float:
    """The kappa of :func:`wider` with which ``steps`` steps of the grid "skip" return N(0, 1) with its right variance.

    Raises:
        ValueError: as :func:`diffnotes.model.sample.grid`, and where no kappa in [0, 20] will do.
    """
    from scipy.optimize import brentq

    times = grid(chain, steps, "skip")
    return brentq(lambda kappa: sampled_variance(chain, wider(chain, kappa), times) - 1, 0.0, 20.0, xtol=1e-14)


def repaired_variance(chain: Chain, steps: int) -> float:
    """The variance of samples of N(0, 1) in ``steps`` steps with the exact predictor and the optimal variances."""
    times = grid(chain, steps, "skip")
    (alpha, sigma), (clean, left) = chain(times[:-1]), chain(times[1:])
    step = sigma.square() - (alpha / clean * left).square()
    posterior = sigma.square() / (alpha.square() + sigma.square())
    full = step * (left / sigma).square() + (clean * step / sigma.square()).square() * posterior
    return sampled_variance(chain, wider(chain, 0.0), times, variance=full)


def _inflation(kappa: float) -> float:
    """``kappa``, which may be divided by one more than it."""
    if not (math.isfinite(kappa) and kappa > -1):
        raise ValueError(f"kappa = {kappa} must be a finite number > -1")
    return float(kappa)


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
        if not (math.isfinite(std) and std > 0):
            raise ValueError(f"std = {std} must be a positive, finite number")
        self.base, self.kappa, self.std = base, _inflation(kappa), float(std)
        self.schedule, self.members = base.schedule, base.members

    def factor(self, t: float | Tensor) -> Tensor:
        """What the noise is divided by, of the shape of ``t``."""
        alpha, sigma = self.schedule(t)
        signal = (alpha * self.std).square()
        return 1 + self.kappa * signal / (signal + sigma.square())

    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        return self.base.eps(x, t) / expand_like(self.factor(t), x)


class Shaped(Denoiser):
    r"""``base`` with its noise divided as :class:`Scaled` divides it, along each principal component of the data.

    Along a component of variance lambda the divisor is 1 + kappa alpha^2 lambda/(alpha^2 lambda + sigma^2). For normal
    data that is the minimiser of the SA loss with tau = 1 and independent noises: the squared norm is a sum over the
    components, and each is a law on the line. With covariance s^2 I it is :class:`Scaled`.

    Args:
        base: any denoiser of samples (n, d), or of (members, n, d).
        kappa: > -1; see :func:`shrinkage`.
        covariance: of the data, (d, d), or (members, d, d) with one for each member.

    Raises:
        ValueError: for numbers out of range, or a covariance that is not symmetric, finite and positive semidefinite.
    """

    target = "eps"

    def __init__(self, base: Denoiser, kappa: float, covariance: Tensor) -> None:
        shape, c = tuple(covariance.shape), covariance.double()
        if len(shape) not in (2, 3) or shape[-1] != shape[-2]:
            raise ValueError(f"covariance has shape {shape}; allowed: (d, d), (members, d, d)")
        if not bool(c.isfinite().all()) or not torch.allclose(c, c.mT):
            raise ValueError("covariance is not finite and symmetric")
        variances, self.axes = torch.linalg.eigh(c)
        if float(variances.min()) < -1e-8 * float(variances.abs().max()):
            raise ValueError(f"covariance has the eigenvalue {float(variances.min()):.3g}; allowed: none below zero")
        self.variances = variances.clamp_min(0)[..., None, :]
        self.base, self.kappa = base, _inflation(kappa)
        self.schedule, self.members = base.schedule, base.members

    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        alpha, sigma = (expand_like(level, x) for level in self.schedule(t))
        signal = alpha.square() * self.variances.to(x)
        axes = self.axes.to(x)
        divisor = 1 + self.kappa * signal / (signal + sigma.square())
        return (self.base.eps(x, t) @ axes / divisor) @ axes.mT


class Heard(Denoiser):
    """``base``, whose answers to a sampler are kept in ``answers``, in turn: nothing has to be asked twice."""

    def __init__(self, base: Denoiser) -> None:
        self.base, self.target, self.schedule, self.members = base, base.target, base.schedule, members_of(base)
        self.answers: list[Tensor] = []

    def _kept(self, answer: Tensor) -> Tensor:
        self.answers.append(answer)
        return answer

    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        return self._kept(self.base.predict(x, t))

    def at(self, times: Tensor) -> list[Callable[[Tensor], Tensor]]:
        return [lambda x, read=read: self._kept(read(x)) for read in self.base.at(times)]


class Recalled(Denoiser):
    """``base``, with its last answer at hand: who asks again, at the same states and time, is given that one.

    For variances of a sampler that want the prediction which the sampler has just asked for. On a GPU, where comparing
    states would be waited for in each step, it is asked again.
    """

    def __init__(self, base: Denoiser) -> None:
        self.base, self.target, self.schedule, self.members = base, base.target, base.schedule, members_of(base)
        self._last: tuple[Tensor, float, Tensor] | None = None

    def _answer(self, x: Tensor, t: float, ask: Callable[[Tensor], Tensor]) -> Tensor:
        known = self._last is not None and self._last[1] == t and x.device.type == "cpu"
        if not known or not torch.equal(self._last[0], x):
            self._last = x, t, ask(x)
        return self._last[2]

    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        if isinstance(t, Tensor) and t.ndim:
            return self.base.predict(x, t)
        return self._answer(x, float(t), lambda x: self.base.predict(x, t))

    def at(self, times: Tensor) -> list[Callable[[Tensor], Tensor]]:
        return [
            lambda x, t=t, ask=ask: self._answer(x, t, ask)
            for t, ask in zip(times.tolist(), self.base.at(times))
        ]


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
        f = best.repeat(len(kappa), 1)
        for _ in range(500):
            step = (best - f - kappa[:, None] * (f @ operator.T)) * (2 / (2 + kappa))[:, None]
            f += step
            if float(step.abs().max()) < 1e-12:
                break
        change = torch.lerp((f - best)[:, below_fine], (f - best)[:, below_fine + 1], share_fine)
        tables.append(look(fine * scale)[2] + change)
    values = torch.stack(tables, 1)  # (kappas, times, fine points)
    return [Tabulated(chain, table.clone(), times, reach, std) for table in values]


# --- sampling and measuring -------------------------------------------------------------------------------------------


def drawn(
    denoiser: Denoiser, steps: int, shape: Sequence[int], seed: int, variance: Variance = "beta_tilde"
) -> Tensor:
    """Samples of ``shape`` by :func:`diffnotes.ddpm` in ``steps`` steps of the grid "skip", on the host.

    The noise is drawn by ``seed + steps``, so that all denoisers of one shape and place meet the same.
    """
    chain, device = denoiser.schedule, home_of(denoiser)[1]
    times, generator = grid(chain, steps, "skip"), torch.Generator(device).manual_seed(seed + steps)
    start = prior(chain, shape, generator, int(times[0]), device=device)
    whole = {"rows": shape[-2]} if callable(variance) else {}  # a variance may ask again at the states of a step
    return ddpm(denoiser, start, times, generator, variance, **whole).cpu()


def antithetic(
    denoiser: Denoiser, steps: int, sizes: tuple[int, int], seed: int, variance: Variance = "beta_tilde"
) -> Tensor:
    """Sets of samples on the line in antithetic pairs, each noise once with either sign; as :func:`drawn`.

    For a law symmetric about 0 the halves balance, and chance says less about the distance of a set from the law.

    Args:
        denoiser: an ensemble has a member for each set.
        steps, seed: as there.
        sizes: the number of sets, and of samples of each, an even number.
        variance: of the sampler; see :func:`diffnotes.ddpm`.

    Returns:
        (sets, n) float64 on the host.

    Raises:
        ValueError: for an odd n.
    """
    sets, n = sizes
    if n % 2:
        raise ValueError(f"sizes = {sizes}; allowed: an even number of samples")
    chain, device = denoiser.schedule, home_of(denoiser)[1]
    shape = (sets * n // 2, 1) if members_of(denoiser) is None else (sets, n // 2, 1)
    times, halves = grid(chain, steps, "skip"), []
    for one, sign in ((denoiser, 1), (Mirrored(denoiser), -1)):
        generator, own = torch.Generator(device).manual_seed(seed + steps), variance
        if sign < 0 and callable(variance):
            own = lambda x, t, s: variance(-x, t, s)  # noqa: E731
        start = prior(chain, shape, generator, int(times[0]), device=device)
        made = ddpm(one, start, times, generator, own, rows=shape[-2])
        halves.append((sign * made).reshape(sets, -1))
    return torch.cat(halves, 1).cpu().double()


def spread(x: Tensor, law: Law) -> float:
    """The variance of sets of samples (sets, n) over that of a law on the line, mean over the sets."""
    return float((x.var(1) / float(law.covariance)).mean())


def distances(x: Tensor, law: GaussianMixture) -> Tensor:
    """The Wasserstein distance of each set of samples, x (sets, n), from a law on the line: (sets,) float64."""
    n = x.shape[1]
    quantiles = law.quantile(torch.arange(1, n, dtype=torch.float64) / n)
    return torch.stack([wasserstein1_to(one, law, quantiles) for one in x])


def ratios(rows: Mapping[str, Mapping[int, Tensor]], name: str, base: str = "plain") -> dict[int, Interval]:
    """Steps -> interval of the ratio of distances, ``name`` over ``base``, set by set."""
    return {n: ratio_interval(found, rows[base][n]) for n, found in rows[name].items()}


def crossings(counts: Sequence[int], needed: Tensor, arms: Mapping[str, Window]) -> dict[str, float]:
    """Arm -> the number of steps at which the falling ``needed`` inflation is what the arm supplies.

    Between two ``counts`` on a straight line in both logarithms; arms whose inflation is not reached are left out.
    """
    steps, curve = torch.tensor(counts, dtype=torch.float64).log(), needed.double().log()
    found = {}
    for name, window in arms.items():
        kappa = shrinkage(window)
        above = int((needed > kappa).sum())
        if kappa > 0 and 0 < above < len(counts):
            i = above - 1
            share = (curve[i] - math.log(kappa)) / (curve[i] - curve[above])
            found[name] = float(torch.lerp(steps[i], steps[above], share).exp())
    return found


def worst(found: Iterable[Interval]) -> Interval:
    """The interval of the largest of several numbers: the largest estimate, lower end and upper end.

    Below a bound only if all intervals are, and above it if one of them is.
    """
    return Interval(*(max(float(end) for end in ends) for ends in zip(*found)))


def best_weights(path: Sequence[float], rows: Mapping[int, Sequence[Tensor]]) -> dict[int, float]:
    """Steps -> the weight in ``path`` whose distances, one tensor (sets,) for each weight, are least in the mean."""
    means = {n: [float(one.mean()) for one in found] for n, found in rows.items()}
    return {n: path[found.index(min(found))] for n, found in means.items()}


def ratios_of_variances(rows: Mapping[tuple[str, str, int], Tensor]) -> dict[str, Interval]:
    """ "KIND_STEPS" -> ratio of distances, "K=2" over "plain", from (kind of variance, arm, steps) -> distances."""
    return {
        f"{kind}_{n}": ratio_interval(found, rows[kind, "plain", n])
        for (kind, arm, n), found in rows.items() if arm == "K=2" and kind != "tilde"
    }


def ratios_of_settings(rows: Mapping[str, Mapping[int, Tensor]]) -> dict[str, Interval]:
    """The published settings over the plain loss at their worst number of steps, and a large lambda over 1.

    "k2", "k3", "k4" -> :func:`worst` of the :func:`ratios`; "large_few" and "large_many" -> ratio in 10, 1000 steps.
    """
    large = ratios(rows, "large", "K=2")
    found = {f"k{K}": worst(ratios(rows, f"K={K}").values()) for K in (2, 3, 4)}
    return found | {"large_few": large[10], "large_many": large[1000]}


def share_of_gain(rows: Mapping[str, Mapping[int, Tensor]], steps: int = 10) -> Interval:
    """What "scaled" gives of the gain of "K=2" over "plain" in ``steps`` steps, seed by seed."""
    plain, scaled, window = (rows[name][steps] for name in ("plain", "scaled", "K=2"))
    return mean_interval((plain - scaled) / (plain - window))


def posterior_squares(law: GaussianMixture, chain: Chain) -> Callable[[Tensor, float], Tensor]:
    """(x, t) -> E[(eps - E[eps | x_t])^2 | x_t = x] for a law on the line: what NPR-DPM would learn without error.

    For :func:`diffnotes.model.sample.predicted_variance`; x (n, 1), any dtype.
    """

    def squares(x: Tensor, t: float) -> Tensor:
        variance = law.posterior_variance(x.double(), *chain(int(t)))
        return variance.to(x)[:, None] * float(chain.snr(int(t)))

    return squares


def _forty(chain: Chain) -> Tensor:
    """Forty whole times of a chain, evenly spaced."""
    return torch.linspace(1, chain.T, 40).round().long()


def residual(law: GaussianMixture, chain: Chain) -> float:
    """E|eps - E[eps | x_t]|^2 of a law on the line, by quadrature, a mean over the times of :func:`misfit`."""
    alpha, sigma = chain(_forty(chain))
    return float(mmse(law, alpha, sigma, "eps").mean())


def misfit(denoiser: Denoiser, best: Denoiser, law: Law, seed: int) -> Tensor:
    """Mean squared difference of eps between an ensemble and a predictor, over 40 times and 1,000 samples: (members,).

    All members meet the same samples, drawn by ``seed``.
    """
    chain, device = denoiser.schedule, home_of(denoiser)[1]
    generator, total = torch.Generator().manual_seed(seed), 0.0
    x0 = law.sample(1000, generator)
    times = _forty(chain).tolist()
    for t in times:
        alpha, sigma = (float(level) for level in chain(t))
        x = alpha * x0 + sigma * torch.randn(x0.shape, generator=generator)
        with torch.no_grad():
            guess = denoiser.eps(x.to(device).expand(denoiser.members, -1, -1), t)
        total = total + (guess.double() - best.eps(x.double(), t).to(device)).square().mean((1, 2))
    return (total / len(times)).cpu()


def gap_from(denoiser: Denoiser, x0: Tensor, start: int, seed: int) -> tuple[Gap, Tensor]:
    """The gap to ``x0`` along paths sampled from its noised version at ``start`` down to t = 1, and these paths."""
    generator = torch.Generator(x0.device).manual_seed(seed)
    alpha, sigma = (float(level) for level in denoiser.schedule(start))
    begin = alpha * x0 + sigma * torch.randn(x0.shape, generator=generator, device=x0.device)
    times, heard = torch.arange(start, 0, -1), Heard(denoiser)
    path = ddpm(heard, begin, times, generator, trajectory=True, rows=x0.shape[-2])
    asked = heard.answers
    asked += asked[-1:] * (len(times) - 1 - len(asked))  # where costs are counted, a sampler asks in two steps alone
    return gap(denoiser, path, times, x0, asked), path


class Gaps(NamedTuple):
    """Gaps of sets of samples, float64 on the host: see :func:`gaps`.

    Attributes:
        times: (steps,) from which steps start.
        running: (steps,) root mean square of the gap after each.
        rms: (sets,) that of the gap at the end.
        mean: (sets,) absolute mean of the gap at the end.
        parts: (steps, sets) mean squares of what each step adds to the gap at the end.
        bias: (sets,) root mean square of the sum of tau (f - f*); 0 without a best predictor f*.
        alignment: (sets,) its mean square over that of uncorrelated errors of the same sizes; NaN without f*.
    """

    times: Tensor
    running: Tensor
    rms: Tensor
    mean: Tensor
    parts: Tensor
    bias: Tensor
    alignment: Tensor


def gaps(
    denoiser: Denoiser, law: Law, start: int, sizes: tuple[int, int], seed: int, best: Denoiser | None = None
) -> Gaps:
    """Gaps on the line along a denoiser's own paths from noised data at ``start``, for sets of samples.

    Args:
        denoiser: an ensemble has a member for each set.
        law: of the data.
        start: the time from which paths are sampled.
        sizes: the number of sets, and of samples of each.
        seed: draws noises by ``seed + 1`` and data by ``seed + 2``.
        best: f*, asked at the same states.
    """
    sets, n = sizes
    x0 = law.sample(sets * n, seed + 2).to(home_of(denoiser)[1])
    x0 = x0 if members_of(denoiser) is None else x0.reshape(sets, n, 1)
    own, path = gap_from(denoiser, x0, start, seed + 1)
    times, shape = torch.arange(start, 0, -1), (start - 1, sets, n)
    parts, total = own.parts.reshape(shape).cpu(), own.total.reshape(shape[1:]).cpu()
    bias = torch.zeros_like(parts)
    if best is not None:
        with torch.no_grad():
            bias = parts - gap(best, path.cpu(), times, x0.cpu()).parts.reshape(shape)
    summed = bias.sum(0).square().mean(1)
    return Gaps(
        times[:-1], own.running.reshape(shape).cpu().square().mean((1, 2)).sqrt(), total.square().mean(1).sqrt(),
        total.mean(1).abs(), parts.square().mean(2), summed.sqrt(), summed / bias.square().mean(2).sum(0),
    )  # fmt: skip


class Known(Denoiser):
    """Answers with the clean samples ``x0`` themselves: sampled with it, a chain is the reference chain."""

    target = "x0"

    def __init__(self, x0: Tensor, like: Denoiser) -> None:
        self.given, self.schedule, self.members = x0, like.schedule, members_of(like)

    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        return self.given


class BatchGaps(NamedTuple):
    """Total gaps of sets of images, (sets,) float64: see :func:`batch_gaps`.

    Attributes:
        rms: root mean square over draws, images and pixels.
        mean: that over pixels of the mean over draws and images, in which errors of different samples cancel.
        chance: what noise leaves of ``mean``: the deviations between draws of one image over the root of all draws.
    """

    rms: Tensor
    mean: Tensor
    chance: Tensor

    @property
    def systematic(self) -> Tensor:
        """``mean`` without what chance adds to its square, (sets,); 0 where that is all."""
        return (self.mean.square() - self.chance.square()).clamp(min=0).sqrt()

    @property
    def seen(self) -> bool:
        """Whether in every set less than half of the square of ``mean`` is chance."""
        return bool((self.systematic > self.chance).all())


def batch_gaps(nets: Mapping[str, Denoiser], x0: Tensor, start: int, draws: int, seed: int) -> dict[str, BatchGaps]:
    """Gaps at t = 1 to the images x0 (sets, n, d), on ``draws`` paths each from their noised versions at ``start``.

    The reference chain is sampled as the others are, from the same start and with the same noises, drawn by ``seed``.

    Args:
        nets: on one chain and device, with a member for each set.
        x0: clean images.
        start: a whole time.
        draws: at least 2, to tell chance.
        seed: of the first draw; the others follow.

    Raises:
        ValueError: for fewer than two draws.

    Source: Nguyen et al. 2024, section 4.3; ``get_loss_value`` of the published code averages over the batch.
    """
    count(draws, "draws", 2)
    like = next(iter(nets.values()))
    x0 = x0.to(home_of(like)[1])
    alpha, sigma = (float(level) for level in like.schedule(start))

    def end(denoiser: Denoiser, k: int) -> Tensor:
        generator = torch.Generator(x0.device).manual_seed(seed + k)
        begin = alpha * x0 + sigma * torch.randn(x0.shape, generator=generator, device=x0.device)
        return ddpm(denoiser, begin, torch.arange(start, 0, -1), generator, rows=x0.shape[-2]).double().cpu()

    reference, found = [end(Known(x0, like), k) for k in range(draws)], {}
    for name, net in nets.items():
        total = torch.stack([there - end(net, k) for k, there in enumerate(reference)])  # (draws, sets, n, d)
        chance = total.var(0).mean((1, 2)) / (draws * x0.shape[1])
        mean = total.mean((0, 2)).square().mean(1).sqrt()
        found[name] = BatchGaps(total.square().mean((0, 2, 3)).sqrt(), mean, chance.sqrt())
    return found


def gap_ratio(found: Mapping[str, BatchGaps], name: str, base: str) -> Interval | None:
    """The ratio of systematic gaps, ``name`` over ``base``, set by set; None where noise hides one of them."""
    if not (found[name].seen and found[base].seen):
        return None
    return ratio_interval(found[name].systematic, found[base].systematic)


def pixel_spread(x: Tensor, data: Tensor) -> Tensor:
    """The mean variance of a pixel of sets of images x (sets, n, d) over that of ``data``, (sets,)."""
    return x.var(1).mean(1) / data.var(1).mean(1)


def judged(judge: Judges, samples: Mapping[Key, Tensor]) -> tuple[dict[Key, Tensor], dict[Key, float]]:
    """Distances (splits,) of images (splits, n, d), and their variance over that of training images, by key."""
    train = torch.stack(judge.train)
    far = {key: judge.distance(x) for key, x in samples.items()}
    return far, {key: float(pixel_spread(x, train).mean()) for key, x in samples.items()}


@dataclass(frozen=True)
class LongSamples:
    """Distances and variances of images that are sampled in many steps: an experiment of which these are kept.

    Args:
        nets: kept networks with a member for each split.
        images: the name of a set of images.
        splits: the splits that networks and :class:`~diffnotes.measure.judges.Judges` were trained on.
        steps, samples, seed: as :func:`drawn` has them.
    """

    nets: Mapping[str, Denoiser]
    images: str
    splits: Sequence[int]
    steps: int
    samples: int
    seed: int

    def blank(self) -> dict[str, Table]:
        """The results before they are known, (2, arms, splits)."""
        return {"distance and spread": Table(torch.zeros(2, len(self.nets), len(self.splits)))}

    def train(self, device: torch.device | str = "cpu") -> Trained:
        """Sample, where the networks are, and measure."""
        judge = Judges(self.images, self.splits)
        size, train = (len(self.splits), self.samples, judge.dim), torch.stack(judge.train)
        drawn_by = [drawn(net, self.steps, size, self.seed) for net in self.nets.values()]
        rows = [[judge.distance(x), pixel_spread(x, train).double()] for x in drawn_by]
        return Trained({"distance and spread": Table(torch.stack([torch.stack(one) for one in zip(*rows)]))}, {})

    def read(self, networks: Mapping[str, Table], recipe: str = "") -> tuple[dict[str, Tensor], dict[str, float]]:
        """Arm -> distances (splits,), and arm -> mean variance over that of the data."""
        distance, spread = networks["distance and spread"].values.cpu()
        return dict(zip(self.nets, distance)), dict(zip(self.nets, spread.mean(1).tolist()))


@dataclass(frozen=True)
class ImageGaps:
    """:func:`batch_gaps` of kept networks at the training images of their splits, of which the results are kept.

    Args:
        nets, images, splits: as for :class:`LongSamples`.
        start, draws, seed: as :func:`batch_gaps` has them.
    """

    nets: Mapping[str, Denoiser]
    images: str
    splits: Sequence[int]
    start: int
    draws: int
    seed: int

    def blank(self) -> dict[str, Table]:
        """The results before they are known, (3, splits) for each arm."""
        return {name: Table(torch.zeros(3, len(self.splits))) for name in self.nets}

    def train(self, device: torch.device | str = "cpu") -> Trained:
        """Sample, where the networks are, and measure."""
        x0 = torch.stack([image_split(self.images, split)[0].x[:_MOST] for split in self.splits])
        found = batch_gaps(self.nets, x0, self.start, self.draws, self.seed)
        return Trained({name: Table(torch.stack(one)) for name, one in found.items()}, {})

    def read(self, networks: Mapping[str, Table], recipe: str = "") -> dict[str, BatchGaps]:
        """Arm -> gaps."""
        return {name: BatchGaps(*networks[name].values.cpu()) for name in self.nets}


def seconds_a_step(net: MLP, law: Law, setting: Setting, batch: int, steps: int = 32) -> float:
    """Seconds of the processor that a training step of ``net`` takes, a mean over ``steps``; it goes on from there."""
    began = time.process_time()
    fit(net, law, setting, Run(count(steps, "steps", 1), batch))
    return (time.process_time() - began) / steps


# --- checkers of the exercises ----------------------------------------------------------------------------------------


def check_weights(weights: Callable[[Chain], Sequence[float]]) -> None:
    """AssertionError unless ``weights(chain)`` gives tau_2, ..., tau_T: against two chains that differ in one guess."""
    chain = Chain.from_betas([0.2, 0.1, 0.3, 0.05, 0.4])  # a first step so large that no factor can hide
    alpha, sigma = (level.tolist() for level in chain(torch.arange(chain.T + 1)))
    measured = []
    for i in range(2, chain.T + 1):
        x = y = 0.3
        for j in range(i, 1, -1):
            noise = (x - alpha[j]) / sigma[j] + (j == i)  # for x_0 = 1, with an error of 1 at step i
            x = float(chain.gamma1[j]) * (x - sigma[j] * noise) / alpha[j] + float(chain.gamma2[j]) * x
            y = float(chain.gamma1[j]) + float(chain.gamma2[j]) * y
        measured.append(y - x)
    answer = [float(value) for value in weights(chain)]
    if len(answer) != len(measured):
        raise AssertionError(f"{len(answer)} weights; there are {len(measured)}, for i = 2, ..., T")
    for i, (mine, true) in enumerate(zip(answer, measured), start=2):
        if not abs(mine - true) < 1e-12:
            raise AssertionError(f"tau_{i} = {mine:.6f}; two chains that differ in this step end {true:.6f} apart")


def check_inflation(factor: Callable[[int, float], float]) -> None:
    """AssertionError unless ``factor(K, weight)`` is the minimiser's variance ratio: against the exact solve."""
    chain = Chain.linear(1000)
    for K, weight in ((2, 1.0), (3, 0.3), (4, 0.2), (5, 3.0)):
        solved = float(implied_variance(chain, gaussian_minimiser(chain, 1.0, Window(K, weight)))[150])
        mine = float(factor(K, weight))
        if not abs(mine / solved - 1) < 0.01:
            raise AssertionError(f"K = {K}, lambda = {weight}: {mine:.3f}; the exact solve gives {solved:.3f}")


def refuses(check: Callable[[Callable], None], answer: Callable) -> bool:
    """Whether a checker finds an answer wrong."""
    try:
        check(answer)
    except AssertionError:
        return True
    return False
