r"""The estimation gap of a sampler and the sequence-aware (SA) loss that is meant to close it.

A sampler's error in one step, e_t = f(x_t, t) - eps_t, is carried on by all later steps. With the reference chain that
draws from q(x_s | x_t, x_0) with the same noises, D_t = y_t - x_t obeys

    D_s = gamma2 D_t + gamma1 (sigma_t/alpha_t) e_t,      eps_t = (x_t - alpha_t x_0)/sigma_t at the model's own x_t,

so D_1 = sum_{i>=2} tau_i e_i (:func:`gap`, :attr:`~diffnotes.schedule.Chain.tau`). The SA loss adds to the plain
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ._shape import expand_like
from .denoiser import Denoiser
from .law import GaussianMixture, _generator
from .schedule import Chain, Schedule

__all__ = [
    "COUPLINGS", "Bounds", "Gap", "Losses", "Scaled", "Tabulated", "Window", "bounds", "correlation", "gap",
    "gaussian_minimiser", "implied_variance", "population_minimiser", "sa_loss", "shrinkage", "window_noise",
    "windows",
]  # fmt: skip

COUPLINGS = ("independent", "shared", "markov")


# --- windows and their noises -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    r"""One SA loss: L = L_simple + ``weight`` L_sa over windows of ``K`` steps.

    Args:
        K: steps in a window, >= 1.
        weight: lambda >= 0. With 0, or with K = 1, only L_simple is left.
        tau: "one" (published code) or "literal" (the weights of Theorem 1).
        coupling: joint law of the noises, one of :data:`COUPLINGS`.
        form: "code": windows t, t-1, ..., t-K+1 from t uniform on 1..T; "paper": t, ..., t+K-1 from t uniform on
            1-K..T, with w = 0 at s = 1. In both, steps outside 1..T count as zero and the divisor stays K.
        alone: leave L_simple out.

    Raises:
        ValueError: for numbers out of range or unknown names.

    >>> Window(2, 1.0).size, Window(4, 0.0).size
    (2, 1)
    """

    K: int = 2
    weight: float = 1.0
    tau: str = "one"
    coupling: str = "independent"
    form: str = "code"
    alone: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.K, bool) or not isinstance(self.K, int) or self.K < 1:
            raise ValueError(f"K = {self.K!r} must be a whole number >= 1")
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(f"weight = {self.weight} must be a finite number >= 0")
        allowed = {"tau": ("one", "literal"), "coupling": COUPLINGS, "form": ("code", "paper")}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} = {getattr(self, name)!r} is unknown; allowed: {', '.join(values)}")
        if self.alone and not self.weight > 0:
            raise ValueError(f"weight = {self.weight} with alone = True leaves no loss; allowed: weight > 0")

    @property
    def size(self) -> int:
        """Network evaluations a sample: K, or 1 where only the plain loss is left."""
        return 1 if (self.weight == 0 or self.K == 1) and not self.alone else self.K

    def times(self, t: Tensor, chain: Chain) -> tuple[Tensor, Tensor, Tensor]:
        """What windows that begin at ``t`` (...) hold, each (..., K).

        Returns:
            s: the times, moved to 1..T where a window reaches beyond.
            w: the weights of the errors in L_sa, 0 beyond the ends.
            plain: the weights of the squared errors in L_simple.
        """
        steps = torch.arange(self.K, device=t.device)
        s = t[..., None].long() + (steps if self.form == "paper" else -steps)
        inside = (s >= 1) & (s <= chain.T)
        s = s.clamp(1, chain.T)
        if self.tau == "literal":
            w = chain._table("tau", t.device)[s] * inside
        else:
            w = (inside & (s >= 2)).double() if self.form == "paper" else inside.double()
        if self.form == "paper":  # every step lies in K of the T + K windows
            plain = inside.double() * (chain.T + self.K) / (chain.T * self.K)
        else:
            plain = (steps == 0).double().expand(s.shape)
        return s, w, plain

    def starts(self, chain: Chain) -> Tensor:
        """All values of t that windows begin at."""
        return torch.arange(1 - self.K if self.form == "paper" else 1, chain.T + 1)

    def start(self, u: Tensor, chain: Chain) -> Tensor:
        """The t that a uniform ``u`` in [0, 1) picks, in the shape of u."""
        if self.form == "paper":
            return ((chain.T + self.K) * u).floor().clamp(max=chain.T + self.K - 1) + 1 - self.K
        return (chain.T * u).ceil().clamp(1, chain.T)


def windows(chain: Chain, window: Window) -> tuple[Tensor, Tensor]:
    """All windows: times (N, K) int64 and weights (N, K) float64; N = T (code) or T + K (paper).

    >>> windows(Chain.linear(3), Window(2))[0].tolist()
    [[1, 1], [2, 1], [3, 2]]
    >>> windows(Chain.linear(3), Window(2))[1].tolist()
    [[1.0, 0.0], [1.0, 1.0], [1.0, 1.0]]
    """
    s, w, _ = window.times(window.starts(chain), chain)
    return s, w


def correlation(chain: Chain, s: Tensor, t: Tensor, coupling: str) -> Tensor:
    """rho of the noises at times s and t (broadcast together), float64; 1 where s = t.

    Raises:
        ValueError: for an unknown coupling, or times on the host outside 1..T.
    """
    if coupling not in COUPLINGS:
        raise ValueError(f"coupling = {coupling!r} is unknown; allowed: {', '.join(COUPLINGS)}")
    s, t = torch.broadcast_tensors(torch.as_tensor(s), torch.as_tensor(t))
    for name, value in (("s", s), ("t", t)):
        # As for schedules, only the host's times are checked: a comparison on a GPU would be a host sync.
        if value.device.type == "cpu" and not bool(((value >= 1) & (value <= chain.T)).all()):
            raise ValueError(f"{name} ranges over [{value.min()}, {value.max()}]; allowed: 1..{chain.T}")
    if coupling != "markov":
        other = 1.0 if coupling == "shared" else 0.0
        return torch.where(s == t, torch.ones((), dtype=torch.float64, device=s.device), other)
    early, late = torch.minimum(s, t), torch.maximum(s, t)
    return (0.5 * (chain.log_snr(late) - chain.log_snr(early))).exp()


def window_noise(first: Tensor, fresh: Tensor, rho: Tensor) -> Tensor:
    """The noises of windows, (K, ...), from that of their first step and K - 1 fresh ones.

    eps_j = rho_j eps_{j-1} + sqrt(1 - rho_j^2) z_j: for Gaussian noises this gives each coupling its joint law, in
    either direction of time, since both are determined by the correlations of neighbours.

    Args:
        first: (...) the noise of step 0.
        fresh: (K - 1, ...) independent noises.
        rho: (K - 1, ...) correlations of neighbours, with as many axes as ``fresh``.
    """
    noises = [first]
    for z, r in zip(fresh, rho):
        noises.append(r * noises[-1] + (1 - r.square()).clamp(min=0).sqrt() * z)
    return torch.stack(noises)


class Losses(NamedTuple):
    """The two parts of the SA loss, means per dimension; the joint loss is simple + lambda sequence."""

    simple: Tensor
    sequence: Tensor


def combine(errors: Tensor, w: Tensor, plain: Tensor, dims: int) -> Losses:
    """Both losses, sample by sample, from the errors of windows: (K, ...) with ``dims`` axes of one sample last."""
    axes = tuple(range(-dims, 0))
    lead = w.shape + (1,) * dims
    mean = (w.reshape(lead) * errors).sum(0) / len(errors)
    return Losses((plain * errors.square().mean(axes)).sum(0), mean.square().mean(axes))


def sa_loss(
    f: Callable[[Tensor, Tensor], Tensor],
    x0: Tensor,
    chain: Chain,
    window: Window | None = None,
    *,
    generator: torch.Generator | int,
    t: Tensor | None = None,
) -> Losses:
    r"""L_simple and L_sa of a noise predictor at clean samples ``x0``: one draw of t and of the noises a sample.

        L_simple = E |f(x_t, t) - eps_t|^2/d,      L_sa = E |(1/K) sum_s w_s (f(x_s, s) - eps_s)|^2/d

    *Cost.* A sample needs its K noised versions evaluated, K times the cost of the plain loss. ``f`` is called once,
    with all K n of them in one batch. L_simple takes its error from the same evaluations.

    Args:
        f: (x, t) -> predicted noise, t of shape (K n,), such as :meth:`diffnotes.denoiser.Denoiser.eps`. A stacked
            ensemble (``f.members``) gets (members, K n, ...) and t of (members, K n).
        x0: (n, d), (n, c, h, w); for an ensemble one more leading axis.
        chain: the chain whose steps windows run over.
        window: the loss; by default that of the published code with K = 2 and lambda = 1.
        generator: draws t (unless given) and the noises.
        t: where windows begin, (n,) whole numbers.

    Returns:
        (simple, sequence), scalars; for an ensemble (members,).

    Raises:
        ValueError: for shapes that do not fit and, on the host, a t outside the window's range or samples that are
            not finite.
        TypeError: without a generator or seed, or for a schedule that is no chain.

    Source: Nguyen et al. 2024, section 3.2; functions/losses.py of the published code.

    >>> f = lambda x, t: torch.zeros_like(x)
    >>> simple, sequence = sa_loss(f, torch.zeros(100_000, 1), Chain.linear(1000), Window(2), generator=0)
    >>> round(float(simple), 1), round(float(sequence), 1)
    (1.0, 0.5)
    """
    window = Window() if window is None else window
    if not isinstance(chain, Chain):
        raise TypeError(f"chain = {chain!r} is no Chain: windows run over the steps of one")
    stacked = getattr(f, "members", None) is not None or getattr(getattr(f, "__self__", None), "members", None)
    axis, here = 1 if stacked else 0, x0.device.type == "cpu"  # elsewhere a look at the numbers would be a host sync
    if x0.ndim < 2 + axis or not x0.is_floating_point() or (here and not bool(x0.isfinite().all())):
        raise ValueError(f"x0 of shape {tuple(x0.shape)}, {x0.dtype}; allowed: finite floats (n, d) or (n, c, h, w)")
    generator, n = _generator(generator, x0.device), x0.shape[axis]
    if t is None:
        u = torch.rand(n, generator=generator, device=x0.device, dtype=torch.float64)
        t = window.start(u, chain)
    first = int(window.starts(chain)[0])
    known = t.device.type != "cpu" or bool(((t >= first) & (t <= chain.T) & (t == t.round())).all())
    if t.shape != (n,) or not known:
        raise ValueError(f"t = {t.flatten()[:4].tolist()} of shape {tuple(t.shape)}; allowed: {n} whole numbers in "
                         f"{first}..{chain.T}")
    s, w, plain = (part.movedim(-1, 0) for part in window.times(t.to(x0.device), chain))  # (K, n)
    rho = correlation(chain, s[1:], s[:-1], window.coupling)
    draw = lambda *k: torch.randn(*k, *x0.shape, generator=generator, device=x0.device, dtype=x0.dtype)  # noqa: E731
    first_noise, fresh = draw(), draw(window.K - 1)

    def along(value: Tensor) -> Tensor:
        """(.., n) laid against x0, in its dtype."""
        shape = value.shape[:-1] + (1,) * axis + (n,) + (1,) * (x0.ndim - axis - 1)
        return value.to(x0.device, x0.dtype).reshape(shape)

    eps = window_noise(first_noise, fresh, along(rho))
    alpha, sigma = (along(level) for level in chain(s))
    x = alpha * x0 + sigma * eps  # (K, [members,] n, ...)
    batch = x.movedim(0, axis).flatten(axis, axis + 1)
    given = s.flatten().to(x0.dtype)
    y = f(batch, given.expand(len(x0), -1) if stacked else given)
    if y.shape != batch.shape:
        raise ValueError(f"f returned shape {tuple(y.shape)}; allowed: that of its input, {tuple(batch.shape)}")
    errors = y.unflatten(axis, (window.K, n)).movedim(axis, 0) - eps
    if stacked:
        w, plain = w[:, None], plain[:, None]
    losses = combine(errors, w.to(x0), plain.to(x0), x0.ndim - axis - 1)
    return Losses(*(part.mean(-1) for part in losses))


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
        path: (steps + 1, n, d) or with more axes, from :func:`diffnotes.sample.ddpm` with ``trajectory=True``.
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
        base: the exact denoiser (:class:`diffnotes.denoiser.Exact`) of a mixture on the line and a chain.
        kappas: values >= 0 of :func:`shrinkage`.
        times: whole times.
        points, reach, nodes: of the grid in x/sd_t, and of the quadrature.

    Raises:
        ValueError: for a law that is no mixture on the line with std > 0, or kappas out of range.
    """
    law, chain = getattr(base, "law", None), base.schedule
    if not isinstance(law, GaussianMixture) or law.dim != 1 or not bool((law._s > 0).all()):
        raise ValueError(f"base.law = {law!r}; allowed: mixtures on the line with std > 0")
    kappa = torch.as_tensor(kappas, dtype=torch.float64)
    if kappa.ndim != 1 or not bool(((kappa >= 0) & kappa.isfinite()).all()):
        raise ValueError(f"kappas = {kappas}; allowed: a list of finite numbers >= 0")
    times = torch.as_tensor(times).cpu()
    alpha, sigma = chain(times)
    mu, s2, weight = law._mu[:, 0].cpu(), law._s.cpu().square(), law._w.cpu()
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
