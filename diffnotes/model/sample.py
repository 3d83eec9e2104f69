r"""Samplers: from noise to data along an explicit grid of times.

A grid t_0 > t_1 > ... > t_K is given, never implied, and every step goes from t to the next time s < t. A denoiser's
prediction at x_t stands for a pair (x_0, eps) with alpha_t x_0 + sigma_t eps = x_t, and the one-step samplers are all

    x_s = p x_0 + q eps + r z,        z ~ N(0, I),

with numbers p, q, r that depend on the schedule alone. With var = sigma_t^2 - (alpha_t/alpha_s)^2 sigma_s^2, h = s - t:

    ====  =========================  =========================================================  =======================
          p                          q                                                          r^2
    ====  =========================  =========================================================  =======================
    ddpm  alpha_s                    (alpha_t/alpha_s) sigma_s^2/sigma_t                        var, var s_s^2/s_t^2, ..
    ddim  alpha_s                    sqrt(sigma_s^2 - r^2)                                      eta^2 var s_s^2/s_t^2
    sde   alpha_t + h alpha_t'       sigma_t + h (sigma_t' + strength^2 g^2/(2 sigma_t))        strength^2 g^2 \|h\|
    ====  =========================  =========================================================  =======================

For a network that predicts y = a x_0 + b eps this is x_s = A x_t + B y + r z with two numbers a step, computed
beforehand. :func:`ode` adds two methods of order 2. Deterministic samplers do not touch any generator; stochastic ones
draw the noise of a step for the whole batch, so that results do not depend on ``rows``, the number of rows the network
sees at a time (about 1,000 keep its layers in the processor's cache). float32 and float64 states are computed as they
are; narrower ones in float64, or in float32 where that is the network's dtype, rounded once at the end. An empty batch
gives an empty result without a call of the network.

References: Ho et al. 2020 (ddpm); Song et al. 2021, arXiv 2010.02502 (ddim) and arXiv 2011.13456 (ODE, SDE);
Zhang and Chen 2021, arXiv 2106.01357 (strength); Karras et al. 2022 (Heun, grid); Lu et al. 2022, arXiv 2211.01095
(DPM-Solver++); Bao et al. 2022, arXiv 2201.06503 (optimal variance) and 2206.07309 (variances of
the state).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core import cost
from ..core.denoiser import Denoiser, home_of, members_of, working_of
from ..core.generators import generator_of
from ..core.numbers import count, floating, number, samples, tensor, working
from ..core.schedule import Chain, Schedule
from ..core.target import coefficients

__all__ = [
    "Walk", "ddim", "ddim_steps", "ddpm", "ddpm_steps", "grid", "ode", "optimal_variance", "predicted_variance",
    "prior", "sampled_variance", "sde", "sde_steps",
]  # fmt: skip

Steps = tuple[Tensor, Tensor, Tensor]
Callback = Callable[[float, Tensor, Tensor], None]
Variance = str | Tensor | Callable[[Tensor, float, float], Tensor]
_ROWS = 1000


# --- grids and start -------------------------------------------------------------------------------------------------


def grid(
    schedule: Schedule | Chain,
    steps: int,
    kind: str = "uniform",
    t_min: float | None = None,
    t_max: float | None = None,
) -> Tensor:
    """A decreasing grid of ``steps`` + 1 times from ``t_max`` to ``t_min``, both included.

    Args:
        schedule: a schedule gives float64 times, a chain whole times (int64), nearest to the rule.
        steps: number of steps, at least 1, for a chain at most t_max - t_min.
        kind: "uniform" in t; "quadratic", uniform in sqrt(t - t_min); "log_snr", uniform in log SNR; "karras",
            uniform in (sigma/alpha)^(1/7); "skip", for a whole chain the times 1, 1 + T/n, 1 + 2T/n, ..., and 0, as the
            published code of DDIM has them.
        t_min, t_max: ends; by default 1e-3 and 1 for a schedule, 0 and T for a chain.

    The last two kinds need finite log SNR at both ends; for a chain with ``t_min`` = 0 they run to t = 1 and then to 0.

    Raises:
        ValueError: for an unknown kind, ends out of order, too many steps, or an infinite log SNR.

    >>> grid(Chain.linear(10), 5).tolist()
    [10, 8, 6, 4, 2, 0]
    """
    chain = isinstance(schedule, Chain)
    t_min = (0 if chain else 1e-3) if t_min is None else number(t_min, "t_min")
    t_max = (schedule.T if chain else 1.0) if t_max is None else number(t_max, "t_max")
    if not 0 <= t_min < t_max <= (schedule.T if chain else 1):
        raise ValueError(f"t_min = {t_min}, t_max = {t_max}; allowed: 0 <= t_min < t_max <= the schedule's last time")
    if chain and not (t_min == int(t_min) and t_max == int(t_max)):
        raise ValueError(f"t_min = {t_min}, t_max = {t_max}; allowed: whole times on a chain")
    if chain:
        t_min, t_max = int(t_min), int(t_max)
    steps = count(steps, "steps", 1)
    if chain and steps > t_max - t_min:
        raise ValueError(f"steps = {steps}; allowed: at least 1, for a chain at most t_max - t_min = {t_max - t_min}")
    if kind == "skip":
        if not chain or (t_min, t_max) != (0, schedule.T) or steps < 2:
            raise ValueError(f"kind = 'skip' with t_min = {t_min}, t_max = {t_max}, steps = {steps}; allowed: all of a "
                             "chain, in at least 2 steps")
        above = grid(schedule, steps - 1, t_min=1, t_max=schedule.T + 1 - round(schedule.T / steps))
        return torch.cat([above, torch.zeros(1, dtype=torch.int64)])
    u = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    if kind == "uniform":
        times = t_min + (t_max - t_min) * u
    elif kind == "quadratic":
        times = t_min + (t_max - t_min) * u**2
    elif kind in ("log_snr", "karras"):
        to_zero = chain and t_min == 0
        noisy, clean = (float(schedule.log_snr(t)) for t in (t_max, max(t_min, 1) if to_zero else t_min))
        if not (math.isfinite(noisy) and math.isfinite(clean)):
            ends = f"log SNR runs from {noisy} to {clean} on [{t_min}, {t_max}]"
            raise ValueError(f"{ends}; kind = {kind!r} needs it finite")
        if to_zero:
            u = torch.cat([torch.linspace(1, 0, steps, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])
        if kind == "log_snr":
            levels = clean + (noisy - clean) * u
        else:
            if noisy < -9000:  # beyond which the first noise level overflows
                share = math.exp((noisy - clean) / 14)
                levels = noisy - 14 * (share + (1 - share) * u).log()
            else:
                first, last = (math.exp(-level / 14) for level in (noisy, clean))
                levels = -14 * (last + (first - last) * u).log()
        times = schedule.time_of_log_snr(levels)
    else:
        raise ValueError(f"kind = {kind!r} is unknown; allowed: uniform, quadratic, log_snr, karras, skip")
    times[0], times[-1] = t_max, t_min
    if chain:
        # Whole times must not coincide: push later ones down, then lift those that fell below the end.
        times, down = times.round().long(), torch.arange(steps + 1)
        times = (times + down).cummin(0).values - down
        times = torch.maximum(times, t_min + steps - down)
    return times


def prior(
    schedule: Schedule | Chain, shape: Sequence[int], generator: torch.Generator | int, t: float | None = None,
    dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
) -> Tensor:
    """Noise to start from, N(0, sigma_t^2 I) of ``shape``; ``t`` is the schedule's last time by default.

    This drops alpha_t E[x_0] and the data's alpha_t^2 Var[x_0], which is the prior term of the bound.
    """
    t = (schedule.T if isinstance(schedule, Chain) else 1.0) if t is None else number(t, "t")
    dtype, sizes = floating(dtype), tuple(count(size, "shape", 0) for size in shape)
    generator = generator_of(generator, torch.device(device))
    noise = torch.randn(sizes, generator=generator, dtype=working(dtype), device=device)
    return (float(schedule(t)[1]) * noise).to(dtype)


# --- one-step samplers as tables --------------------------------------------------------------------------------------


def _levels(schedule: Schedule | Chain, times: Tensor | Sequence[float]) -> tuple[Tensor, Tensor, Tensor]:
    """(times, alpha, sigma) on the host in float64 (whole times for a chain), checked to decrease."""
    given = tensor(times, "times").cpu()
    if given.ndim != 1 or len(given) < 2 or not bool((given[1:] < given[:-1]).all()):
        raise ValueError(f"times = {given.flatten()[:6].tolist()}...; allowed: at least two, strictly decreasing")
    alpha, sigma = schedule(given.double())
    return given.long() if isinstance(schedule, Chain) else given.double(), alpha, sigma


def _transition(schedule: Schedule | Chain, times: Tensor) -> tuple[Tensor, ...]:
    """alpha and sigma at t and at s, and the variance of q(x_t | x_s), for each step."""
    times, alpha, sigma = _levels(schedule, times)
    at, st, as_, ss = alpha[:-1], sigma[:-1], alpha[1:], sigma[1:]
    return at, st, as_, ss, st**2 - (_kept(schedule, times, at, as_) * ss) ** 2


def _kept(schedule: Schedule | Chain, times: Tensor, at: Tensor, as_: Tensor) -> Tensor:
    """alpha_t/alpha_s of each step, also where both are below the smallest number, as at the end of a long chain."""
    ratio, faint = at / as_, as_ < torch.finfo(as_.dtype).tiny
    if bool(faint.any()):
        ratio = torch.where(faint, (-schedule.log_of_alpha(times).diff()).exp(), ratio)
    return ratio


def _number(value: float, name: str, allowed: str, low: float, high: float) -> float:
    found = number(value, name)
    if not low <= found <= high:
        raise ValueError(f"{name} = {found}; allowed: {allowed}")
    return found


def ddpm_steps(schedule: Schedule | Chain, times: Tensor, variance: str | Tensor = "beta_tilde") -> Steps:
    """(p, q, r) of ancestral sampling, each (steps,) float64; see :func:`ddpm`."""
    at, st, as_, ss, var = _transition(schedule, times)
    if isinstance(variance, str) and variance not in ("beta", "beta_tilde"):
        raise ValueError(f"variance = {variance!r}; allowed: 'beta', 'beta_tilde', a tensor or a function")
    if not isinstance(variance, str):
        variance = tensor(variance, "variance")
        if variance.shape != var.shape or not bool((variance >= 0).all()):
            raise ValueError(f"variance has shape {tuple(variance.shape)}; allowed: {tuple(var.shape)}, entries >= 0")
        squared = variance.cpu().double()
    else:
        squared = var if variance == "beta" else var * (ss / st) ** 2
    kept = _kept(schedule, _levels(schedule, times)[0], at, as_)
    return as_, kept * ss**2 / st, torch.where(ss > 0, squared, 0).sqrt()


def ddim_steps(schedule: Schedule | Chain, times: Tensor, eta: float = 0.0) -> Steps:
    """(p, q, r) of DDIM, each (steps,) float64; see :func:`ddim`."""
    eta = _number(eta, "eta", "[0, 1]", 0, 1)
    _, st, as_, ss, var = _transition(schedule, times)
    squared = eta**2 * var * (ss / st) ** 2
    return as_, (ss**2 - squared).sqrt(), squared.sqrt()


def _rates(schedule: Schedule, times: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """alpha', sigma' and g^2 at ``times``."""
    if isinstance(schedule, Chain):
        raise TypeError(f"schedule = {schedule}; allowed: a schedule in continuous time (for a chain use ddim or ddpm)")
    return *schedule.rates(times), schedule.diffusion(times)


def sde_steps(schedule: Schedule, times: Tensor, strength: float = 1.0) -> Steps:
    """(p, q, r) of Euler-Maruyama, each (steps,) float64; see :func:`sde`."""
    strength = _number(strength, "strength", "finite numbers >= 0", 0, torch.finfo(torch.float64).max)
    times, alpha, sigma = _levels(schedule, times)
    h = times.diff()
    alpha, sigma = alpha[:-1], sigma[:-1]
    alpha_rate, sigma_rate, g2 = _rates(schedule, times[:-1], alpha, sigma)
    q = sigma + h * (sigma_rate + strength**2 * g2 / (2 * sigma))
    return alpha + h * alpha_rate, q, strength * (g2 * h.abs()).sqrt()


# --- the walk ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Walk:
    """The options of all samplers, given as keywords of each.

    Args:
        trajectory: return all states, (steps + 1, *x.shape), not only the last.
        callback: called as callback(t, x, x0) at each state that is left, with the x_0 predicted there.
        rows: rows given to the network at a time; the result does not depend on it. None: 1,000 on a CPU, else all.

    Raises:
        ValueError: for rows < 1.
    """

    trajectory: bool = False
    callback: Callback | None = None
    rows: int | None = None

    def __post_init__(self) -> None:
        if self.rows is not None:
            count(self.rows, "rows", 1)


class _Path:
    """A denoiser on a grid: its predictions, and what they mean, at each time."""

    def __init__(self, denoiser: Denoiser, x: Tensor, times: Tensor | Sequence[float], options: Walk) -> None:
        x = x if isinstance(x, Tensor) else samples(x, "x")
        if x.ndim < 2 or not x.is_floating_point() or not bool(x.isfinite().all()):
            raise ValueError(f"x of shape {tuple(x.shape)}, {x.dtype}; allowed: finite floats (n, d) or with more axes")
        self.options, rows = options, options.rows
        members = members_of(denoiser)
        if members is not None and (x.ndim < 3 or len(x) != members):
            raise ValueError(f"x has shape {tuple(x.shape)}; allowed: ({members}, n, ...) for {members} members")
        self.dtype, x = x.dtype, x.to(working_of(denoiser, x.dtype))
        self.x, self.schedule, self.target = x, denoiser.schedule, denoiser.target
        self.times, self.alpha, self.sigma = _levels(denoiser.schedule, times)
        self.a, self.b = coefficients(denoiser.target, self.alpha, self.sigma)
        self.det = self.alpha * self.b - self.sigma * self.a
        self._predictors = denoiser.at(self.times)
        self._part = "sampling" if home_of(denoiser)[0] == torch.float32 else "host"  # of the costs: a network, or none
        self._axis = 0 if members is None else 1  # an ensemble's samples are on axis 1
        n = x.shape[self._axis]
        if rows is None:
            split = x.device.type == "cpu" and not cost.dry()  # what is counted is what a GPU would do
            rows = max(1, _ROWS * n * x.shape[-1] // max(1, x.numel())) if split else max(1, n)
        self._blocks = -(-n // rows)

    def predict(self, k: int, x: Tensor) -> Tensor:
        """The native prediction at time k, a block of rows at a time."""
        if not x.numel():
            return torch.empty_like(x)
        if self._blocks == 1:
            return self._predictors[k](x)
        y = torch.empty_like(x)
        # Blocks of equal size, to within one row: a short last block would be multiplied by another kernel.
        for part, out in zip(x.tensor_split(self._blocks, self._axis), y.tensor_split(self._blocks, self._axis)):
            answer = self._predictors[k](part)
            if answer.shape != part.shape:
                raise ValueError(f"the prediction at x of shape {tuple(part.shape)} has shape {tuple(answer.shape)}; "
                                 "allowed: the shape of x (a function on an ensemble needs members = their number)")
            out.copy_(answer)
        return y

    def combine(self, p: Tensor, q: Tensor) -> tuple[list[float], list[float]]:
        """(A, B) with p x_0 + q eps = A x_t + B y, for the first len(p) times."""
        n = len(p)
        alpha, sigma, a, b, det = (part[:n] for part in (self.alpha, self.sigma, self.a, self.b, self.det))
        A, B = (p * b - q * a) / det, (q * alpha - p * sigma) / det
        bad = ~(A.isfinite() & B.isfinite())
        if bool(bad.any()):
            k = int(bad.nonzero()[0])
            raise ValueError(
                f"no finite step from t = {self.times[k]:g} with target = {self.target!r}: there alpha = {alpha[k]:g}, "
                f"sigma = {sigma[k]:g}, det = {det[k]:g}; start later or end earlier, or use another target"
            )
        return A.tolist(), B.tolist()

    def walk(self, states: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
        """Run the steps, which yield (y at x_t, x_s); the last state, or all of them."""
        x, visited, trajectory, callback = self.x, [self.x], self.options.trajectory, self.options.callback
        if callback is not None:
            A, B = self.combine(torch.ones_like(self.alpha[:-1]), torch.zeros_like(self.alpha[:-1]))
        with torch.no_grad():
            for k, (y, after) in enumerate(cost.repeated(states, len(self.times) - 1, self._part)):
                if callback is not None:
                    callback(self.times[k].item(), x.to(self.dtype), (A[k] * x + B[k] * y).to(self.dtype))
                x = after
                if trajectory:
                    visited.append(x)
        return (torch.stack(visited) if trajectory else x).to(self.dtype)


def _one_step(path: _Path, steps: Steps, generator: torch.Generator | int | None) -> Iterator[tuple[Tensor, Tensor]]:
    p, q, r = steps
    x, noisy = path.x, bool((r > 0).any())
    generator = generator_of(generator, x.device) if noisy else None
    for k, (A, B, width) in enumerate(zip(*path.combine(p, q), r.tolist())):
        y = path.predict(k, x)
        x = (A * x).add_(y, alpha=B)
        if width > 0:
            x = x.add_(_noise_like(x, generator), alpha=width)
        yield y, x


def _noise_like(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)


def ddpm(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor | Sequence[float],
    generator: torch.Generator | int,
    variance: Variance = "beta_tilde",
    **walk: Any,
) -> Tensor:
    """Ancestral sampling: x_s ~ N(mean of q(x_s | x_t, x_0 predicted), variance).

    Args:
        denoiser: exact or learned.
        x: start at times[0], (n, d), (n, c, h, w) or an ensemble's (members, n, d); see :func:`prior`.
        times: decreasing times of the denoiser's schedule; see :func:`grid`.
        generator: source of the noise, a generator or a seed.
        variance: "beta", the variance of q(x_t | x_s); "beta_tilde", that of q(x_s | x_t, x_0); a tensor of one
            variance a step (see :func:`optimal_variance`); or a function (x, t, s) -> variances that broadcast with
            x (see :func:`predicted_variance`). A step to sigma_s = 0 always returns the mean.
        walk: trajectory, callback and rows, see :class:`Walk`.

    Returns:
        The samples at times[-1], of the shape of ``x``, or the trajectory.

    Raises:
        ValueError: for times that do not decrease, a step that is not finite, or any argument out of range.
        TypeError: without a generator or seed.
    """
    path = _Path(denoiser, x, times, Walk(**walk))
    if callable(variance):
        states = _state_dependent(path, variance, generator_of(generator, path.x.device))
    else:
        states = _one_step(path, ddpm_steps(path.schedule, path.times, variance), generator)
    return path.walk(states)


def _state_dependent(path: _Path, variance: Callable, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    p, q, _ = ddpm_steps(path.schedule, path.times)
    x, times = path.x, path.times.tolist()
    for k, (A, B) in enumerate(zip(*path.combine(p, q))):
        y = path.predict(k, x)
        mean = torch.add(A * x, y, alpha=B)
        if path.sigma[k + 1] > 0:
            mean += variance(x, times[k], times[k + 1]).sqrt() * _noise_like(x, generator)
        x = mean
        yield y, x


def ddim(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor | Sequence[float],
    generator: torch.Generator | int | None = None,
    eta: float = 0.0,
    **walk: Any,
) -> Tensor:
    """DDIM: x_s = alpha_s x_0 + sqrt(sigma_s^2 - r^2) eps + r z, r = ``eta`` times ddpm's "beta_tilde" deviation.

    ``eta`` = 0 is deterministic, draws nothing, and converges to the probability-flow ODE with order 1; ``eta`` = 1 is
    :func:`ddpm` with "beta_tilde". Other arguments as there.
    """
    path = _Path(denoiser, x, times, Walk(**walk))
    return path.walk(_one_step(path, ddim_steps(path.schedule, path.times, eta), generator))


def sde(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor | Sequence[float],
    generator: torch.Generator | int | None = None,
    strength: float = 1.0,
    **walk: Any,
) -> Tensor:
    """Euler-Maruyama in t for dx = [f x - (1 + strength^2)/2 g^2 score] dt + strength g dw, run backwards.

    Every ``strength`` has the same marginals in the limit of small steps: 1 is the reverse SDE, 0 is Euler's method for
    the probability-flow ODE and draws nothing. Needs a schedule in continuous time; other arguments as :func:`ddpm`.
    """
    path = _Path(denoiser, x, times, Walk(**walk))
    return path.walk(_one_step(path, sde_steps(path.schedule, path.times, strength), generator))


# --- methods of order 2 for the probability-flow ODE ------------------------------------------------------------------


def ode(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor | Sequence[float],
    method: str = "heun",
    **walk: Any,
) -> Tensor:
    """Solve the probability-flow ODE dx/dt = f x - g^2 score/2 = alpha' x_0 + sigma' eps along ``times``.

    ======  =====  ==============  =========================================================================
    method  order  calls per step  rule
    ======  =====  ==============  =========================================================================
    euler   1      1               Euler in t
    heun    2      2               trapezoid in t after an Euler step; Euler alone in a step to sigma_s = 0
    dpm2m   2      1               DPM-Solver++(2M): exact in the linear part, x_0 extrapolated in log SNR;
                                   the first step, and one to sigma_s = 0, are DDIM's
    ======  =====  ==============  =========================================================================

    Deterministic. "euler" and "heun" need a schedule in continuous time. Other arguments as :func:`ddpm`.

    Raises:
        ValueError: for an unknown method, times that do not decrease, or a step that is not finite.
        TypeError: for "euler" or "heun" on a chain.
    """
    path = _Path(denoiser, x, times, Walk(**walk))
    if method == "euler":
        states = _one_step(path, sde_steps(path.schedule, path.times, 0.0), None)
    elif method in ("heun", "dpm2m"):
        states = (_heun if method == "heun" else _dpm2m)(path)
    else:
        raise ValueError(f"method = {method!r} is unknown; allowed: 'euler', 'heun', 'dpm2m'")
    return path.walk(states)


def _heun(path: _Path) -> Iterator[tuple[Tensor, Tensor]]:
    alpha_rate, sigma_rate, _ = _rates(path.schedule, path.times, path.alpha, path.sigma)
    full = bool(path.sigma[-1] > 0)  # otherwise there is no slope at the end
    keep = len(path.times) if full else -1
    A, B = path.combine(alpha_rate[:keep], sigma_rate[:keep])
    x = path.x
    for k, h in enumerate(path.times.diff().tolist()):
        y = path.predict(k, x)
        slope = torch.add(A[k] * x, y, alpha=B[k])
        after = torch.add(x, slope, alpha=h)
        if k + 1 < len(A):
            slope += torch.add(A[k + 1] * after, path.predict(k + 1, after), alpha=B[k + 1])
            after = torch.add(x, slope, alpha=h / 2)
        x = after
        yield y, x


def _dpm2m(path: _Path) -> Iterator[tuple[Tensor, Tensor]]:
    alpha, sigma = path.alpha, path.sigma
    A, B = path.combine(torch.ones_like(alpha[:-1]), torch.zeros_like(alpha[:-1]))
    shrink = (sigma[1:] / sigma[:-1]).tolist()
    gain = (alpha[1:] - alpha[:-1] * sigma[1:] / sigma[:-1]).tolist()
    h = (alpha / sigma).log().diff()
    extra = torch.cat([h.new_zeros(1), torch.where(h[1:].isfinite(), h[1:] / (2 * h[:-1]), 0)]).tolist()
    x = before = path.x
    for k in range(len(gain)):
        y = path.predict(k, x)
        x0 = torch.add(A[k] * x, y, alpha=B[k])
        ahead = torch.add((1 + extra[k]) * x0, before, alpha=-extra[k])
        x, before = torch.add(shrink[k] * x, ahead, alpha=gain[k]), x0
        yield y, x


def optimal_variance(
    denoiser: Denoiser,
    x0: Tensor,
    times: Tensor | Sequence[float],
    generator: torch.Generator | int,
    *,
    estimate: str = "residual",
    reach: float | None = None,
) -> Tensor:
    """The variances that maximise the likelihood bound of :func:`ddpm` for this denoiser, (steps,) float64.

    r^2 = beta_tilde + (alpha_s var/sigma_t^2)^2 m, with m = E|x_0 - x_0 predicted|^2/d = (sigma_t/alpha_t)^2
    E|eps - eps predicted|^2/d estimated on the clean samples ``x0`` (n, d), with one noise for all times. For the exact
    denoiser this is the true variance of q(x_s | x_t), averaged over x_t.

    Args:
        denoiser, times: as for the sampler.
        x0: clean samples; of an ensemble (members, n, d), which shares one variance a step.
        generator: source of the noise.
        estimate: "residual", from the errors themselves; or "norm", Analytic-DPM's: E|eps - eps predicted|^2/d =
            1 - E|eps predicted|^2/d, which holds for the conditional mean only and needs no x_0 beside x_t.
        reach: half the width of the data's range, if known: m <= reach^2, as Analytic-DPM clips.

    Raises:
        ValueError: for an unknown estimate, reach <= 0, or as the sampler.

    Source: Bao et al. 2022, arXiv 2201.06503 (theorem 1, eq. 8; bounds: theorem 2).
    """
    if estimate not in ("residual", "norm"):
        raise ValueError(f"estimate = {estimate!r} is unknown; allowed: 'residual', 'norm'")
    if reach is not None and not number(reach, "reach") > 0:
        raise ValueError(f"reach = {reach} must be positive")
    path = _Path(denoiser, x0, times, Walk())
    if not (x0 := path.x).numel():
        raise ValueError(f"x0 has shape {tuple(x0.shape)}; allowed: at least one sample")
    noise = _noise_like(x0, generator_of(generator, x0.device))
    at, st, as_, ss, var = _transition(path.schedule, path.times)
    one, zero = torch.ones_like(at), torch.zeros_like(at)
    A, B = path.combine(one, zero) if estimate == "residual" else path.combine(zero, one)
    errors = []
    with torch.no_grad():
        for k, (alpha, sigma) in enumerate(zip(at.tolist(), st.tolist())):
            x = alpha * x0 + sigma * noise
            guess = torch.add(A[k] * x, path.predict(k, x), alpha=B[k])
            if estimate == "residual":
                errors.append((guess - x0).double().square().mean())
            else:
                errors.append((1 - guess.double().square().mean()).clamp(0, 1) * (sigma / alpha) ** 2)
    m = torch.stack(errors).cpu().clamp(max=math.inf if reach is None else number(reach, "reach") ** 2)
    return var * (ss / st) ** 2 + (as_ * var / st**2) ** 2 * m


def predicted_variance(
    schedule: Schedule | Chain, squares: Callable[[Tensor, float], Tensor], denoiser: Denoiser | None = None
) -> Callable[[Tensor, float, float], Tensor]:
    """Variances of :func:`ddpm` that depend on the state, from predicted squares of the noise, by coordinate.

    r^2 = beta_tilde + (alpha_s var/(sigma_t alpha_t))^2 m(x, t), where m is ``squares`` itself if it predicts
    E[(eps - eps predicted)^2 | x_t] (NPR-DPM), or, given the ``denoiser``, squares - denoiser.eps^2 if it predicts
    E[eps^2 | x_t] (SN-DPM, right for the conditional mean only). Negative m count as 0.

    Returns:
        A function (x, t, s) for the argument ``variance``; see :func:`diffnotes.model.train.fit_squares`.

    Source: Bao et al. 2022, arXiv 2206.07309 (theorems 1 to 3).
    """

    def variance(x: Tensor, t: float, s: float) -> Tensor:
        at, st, as_, ss, var = (float(v) for v in _transition(schedule, torch.tensor([t, s], dtype=torch.float64)))
        m = squares(x, t)
        if denoiser is not None:
            m = m - denoiser.eps(x, t).square()
        return var * (ss / st) ** 2 + (as_ * var / (st * at)) ** 2 * m.clamp(min=0)

    return variance


def sampled_variance(chain: Chain, c: Tensor, times: Tensor, *, variance: str | Tensor = "beta_tilde") -> float:
    """The variance of samples drawn with the linear predictor eps = c_t x, exactly: a step is x_s = A x_t + r z.

    Args:
        c: (T + 1,) coefficients by t.
        times: decreasing whole times, as for the sampler; the start is N(0, sigma^2).
        variance: as :func:`ddpm`, or "ddim" for the deterministic sampler.

    Raises:
        ValueError: as the sampler, and for c that is not (T + 1,).
    """
    c = tensor(c, "c").cpu()
    if c.shape != (chain.T + 1,):
        raise ValueError(f"c has shape {tuple(c.shape)}; allowed: ({chain.T + 1},)")
    given = _levels(chain, times)[0]
    ddim = isinstance(variance, str) and variance == "ddim"
    p, q, r = ddim_steps(chain, given) if ddim else ddpm_steps(chain, given, variance)
    alpha, sigma = chain(given[:-1])
    slope = c[given[:-1]]
    factor = p * (1 - sigma * slope) / alpha + q * slope
    found = float(sigma[0]) ** 2
    for a, width in zip(factor.tolist(), r.tolist()):
        found = a**2 * found + width**2
    return found
