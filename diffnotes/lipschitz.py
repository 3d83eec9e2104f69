r"""How fast a denoiser's answer changes with the time it is told, and what it costs not to tell it.

The prediction y(x, t) = E[target | x_t = x] changes with t at fixed x. Its *time-Lipschitz constant* at t is

    K(t) = E |dy(x, t)/dt|, x ~ p_t,        on a grid  K(t, t') = E |y(x, t') - y(x, t)|/(t' - t).

With s_t the score, eps(x, t) = -sigma s_t(x), so near t = 0 and for a smooth density K ~ sigma'(t) E|s_0(x)|: it
diverges like t^(-1/2) wherever sigma^2 ~ t, stays bounded where sigma ~ t, and for data on points, where
eps = (x - alpha x_k)/sigma, it is E|z| sigma'/sigma, which is of order 1/t on every schedule. Measured in another
*clock* c(t) the constant is K/|c'|: in sigma it is bounded for smooth data, in log SNR for points as well.

*E-TSDM* cuts [0, t_tilde) into n equal sub-intervals and tells a network the left end of the one that holds t
(:func:`share_timesteps`), while noising and sampling keep the true t. Inside a sub-interval the constant of the network
is 0. The price is information: the best predictor that knows x and the sub-interval B, with t uniform on B, is

    E[eps | x, B] = sum_t P(t | x, B) eps(x, t),        P(t | x, B) proportional to p_t(x),

and :func:`sharing_cost` is its error beyond that of eps(x, t).

References: Yang et al. 2024, "Lipschitz singularities in diffusion models", arXiv 2306.11251.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from .denoiser import Denoiser, Exact
from .information import expectation_nodes
from .law import GaussianMixture, Law, _generator
from .schedule import Chain, Schedule
from .target import Target, coefficients

__all__ = [
    "CLOCKS", "LeftEnd", "SharedExact", "SharingCost", "perturbation_response", "share_timesteps", "sharing_cost",
    "step_constants", "time_derivative", "time_lipschitz",
]  # fmt: skip

CLOCKS = ("t", "sigma", "log_snr")
_NODES = 16  # of Gauss-Legendre in a sub-interval of continuous time
_FINE = 0.01  # spacing of quadrature nodes for means of |y|, whose kinks leave an error of its square


# --- sharing ----------------------------------------------------------------------------------------------------------


def _ends(n: int, t_tilde: float) -> Tensor:
    """The left ends of the ``n`` sub-intervals of [0, t_tilde), float64."""
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise TypeError(f"n = {n!r}; allowed: integers >= 1")
    if n < 1:
        raise ValueError(f"n = {n}; allowed: integers >= 1")
    if isinstance(t_tilde, Tensor) and t_tilde.numel() == 1:
        t_tilde = t_tilde.item()
    if isinstance(t_tilde, bool) or not isinstance(t_tilde, (int, float, np.number)):
        raise TypeError(f"t_tilde = {t_tilde!r}; allowed: positive, finite numbers")
    if not (math.isfinite(t_tilde) and t_tilde > 0):
        raise ValueError(f"t_tilde = {t_tilde!r}; allowed: positive, finite numbers")
    return float(t_tilde) * torch.arange(n, dtype=torch.float64) / n


@lru_cache(maxsize=64)
def _ends_on(n: int, t_tilde: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    """:func:`_ends` of arguments known to be right, on a device: sent there once."""
    return _ends(n, t_tilde).to(device, dtype)


def share_timesteps(t: float | Tensor, n: int, t_tilde: float) -> Tensor:
    """The time that E-TSDM tells a network: the left end of the sub-interval of [0, t_tilde) that holds t; else t.

    Args:
        t: times >= 0, a number or a tensor of any shape.
        n: number of sub-intervals, of length t_tilde/n each.
        t_tilde: end of the shared times, in the units of ``t``; t_tilde itself is not shared.

    Returns:
        A tensor of the shape, device and dtype of ``t`` (float64 for a number). Whole times stay whole numbers where
        all left ends are, and become float64 otherwise.

    Raises:
        ValueError: for n < 1, t_tilde that is not positive and finite, or times that are negative or not finite.
        TypeError: for n that is no integer, or t or t_tilde that are no real numbers.

    Source: Yang et al. 2024 (f_T of E-TSDM).

    >>> share_timesteps(torch.tensor([0, 19, 20, 99, 100, 731]), n=5, t_tilde=100).tolist()
    [0, 0, 20, 80, 100, 731]
    """
    ends = _ends(n, t_tilde)
    try:
        t = torch.as_tensor(t, dtype=None if isinstance(t, (Tensor, np.ndarray)) else torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"t = {t!r}; allowed: a number or a tensor of numbers") from error
    if t.is_complex() or t.dtype == torch.bool:
        raise TypeError(f"t has dtype {t.dtype}; allowed: real numbers")
    # As for schedules, only the host's times are checked: a comparison on a GPU would be a host sync.
    if t.device.type == "cpu" and not bool(((t >= 0) & (t < math.inf)).all()):
        raise ValueError(f"t = {t.flatten()[:4].tolist()}; allowed: finite numbers >= 0")
    if not t.is_floating_point() and not bool((ends == ends.round()).all()):
        t = t.double()
    # The ends are compared in t's own dtype: what is returned is found again, so that sharing twice changes nothing.
    ends = _ends_on(len(ends), float(t_tilde), t.device, t.dtype)
    left = ends[torch.bucketize(t.contiguous(), ends, right=True) - 1]
    return torch.where(t < t_tilde, left, t)


class LeftEnd(Denoiser):
    """``base`` asked for eps at the shared time instead of t: sharing bolted on to a denoiser not trained for it."""

    target = "eps"

    def __init__(self, base: Denoiser, n: int, t_tilde: float) -> None:
        _ends(n, t_tilde)
        self.base, self.n, self.t_tilde = base, n, t_tilde
        self.schedule, self.members = base.schedule, base.members

    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        shared = share_timesteps(t, self.n, self.t_tilde)
        return self.base.eps(x, shared if isinstance(t, Tensor) else shared.item())


class SharedExact(Denoiser):
    """The best predictor of eps that knows x and the sub-interval, for times uniform in it: perfectly trained E-TSDM.

    On a chain a sub-interval holds its whole times >= 1; in continuous time the mean over it is a Gauss-Legendre sum in
    the square root of the time since its left end, in which eps is smooth. One t for the whole batch.

    Args:
        law: of the clean samples.
        schedule: schedule or chain.
        n, t_tilde: as in :func:`share_timesteps`.

    Raises:
        ValueError: as :func:`share_timesteps`, for t_tilde beyond the schedule, or sub-intervals without a time.
    """

    target = "eps"

    def __init__(self, law: Law, schedule: Schedule | Chain, n: int, t_tilde: float) -> None:
        self._bins = _bins(schedule, n, t_tilde)
        self.law, self.schedule, self.n, self.t_tilde = law, schedule, n, t_tilde
        self._exact = Exact(law, schedule)

    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        if isinstance(t, Tensor) and t.ndim:
            raise ValueError(f"t has shape {tuple(t.shape)}; allowed: one number for the whole batch")
        if t >= self.t_tilde:
            return self._exact.eps(x, t)
        times, weights = self._bins[int(torch.bucketize(float(t), _ends(self.n, self.t_tilde), right=True)) - 1]
        return _blind(self._exact, self.law, x, times, weights)[0]


def _bins(schedule: Schedule | Chain, n: int, t_tilde: float) -> list[tuple[Tensor, Tensor]]:
    """Times and their weights (of sum 1) in each sub-interval."""
    ends = [*_ends(n, t_tilde).tolist(), float(t_tilde)]
    last = schedule.T if isinstance(schedule, Chain) else 1
    if t_tilde > last:
        raise ValueError(f"t_tilde = {t_tilde}; allowed: at most the schedule's last time, {last}")
    bins = []
    for low, high in itertools.pairwise(ends):
        if isinstance(schedule, Chain):
            times = torch.arange(max(1, math.ceil(low)), math.ceil(high))
            if not len(times):
                raise ValueError(f"n = {n}; allowed: numbers with a whole t >= 1 in each part of [0, {t_tilde})")
            bins.append((times, torch.full((len(times),), 1 / len(times), dtype=torch.float64)))
        else:
            u, w = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(_NODES))
            u, w = (u + 1) / 2, w / 2
            bins.append((low + (high - low) * u**2, 2 * u * w))
    return bins


def _blind(exact: Exact, law: Law, x: Tensor, times: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """E[eps | x, B], of the shape of x, and eps(x, t) at each time of B, with an axis of times in front."""
    times, everywhere = times.to(x.device), x.expand(len(times), *x.shape)
    each = exact.eps(everywhere, times)
    odds = law.log_prob_at(everywhere, *exact.schedule(times))
    share = (odds + weights.log().to(odds).reshape(-1, *[1] * (odds.ndim - 1))).softmax(0)
    return (share.reshape(share.shape + (1,) * (each.ndim - share.ndim)) * each).sum(0), each


class SharingCost(NamedTuple):
    """Mean squared errors of eps per coordinate at ``times`` < t_tilde, each (L,) float64, and their ``weights``.

    ``excess``: what the best shared predictor loses beyond eps(x, t); ``bayes``: what eps(x, t) itself leaves.
    Their means over uniform t are ``weights @ excess`` and ``weights @ bayes``.
    """

    times: Tensor
    weights: Tensor
    excess: Tensor
    bayes: Tensor


def sharing_cost(
    law: Law, schedule: Schedule | Chain, n: int, t_tilde: float, samples: int = 1000,
    generator: torch.Generator | int | None = None,
) -> SharingCost:
    """The price of not knowing t inside the sub-intervals: excess error of E[eps | x, B] over E[eps | x, t].

    For a mixture on the line by quadrature, exactly; otherwise by Monte Carlo, with ``samples`` noisy samples a time.

    Args:
        law, schedule, n, t_tilde: as for :class:`SharedExact`.
        samples, generator: of the Monte Carlo.

    Raises:
        ValueError: as :class:`SharedExact`.
        TypeError: where Monte Carlo is needed and there is no generator.
    """
    exact, known, rows = Exact(law, schedule), [], []
    line = isinstance(law, GaussianMixture) and law.dim == 1
    if not line:
        generator = _generator(generator, law.device)
    for times, weights in _bins(schedule, n, t_tilde):
        for i, t in enumerate(times):
            x, w = _at_level(law, schedule(t), samples, generator)
            best, each = _blind(exact, law, x, times, weights)
            alpha, sigma = (float(level) for level in schedule(t))
            excess = (best - each[i]).square().flatten(1).mean(1)
            bayes = (alpha / sigma) ** 2 * law.posterior_variance(x, alpha, sigma)
            known.append([float(t), float(weights[i]) / n])
            rows.append(torch.stack([w @ excess.double(), w @ bayes.double()]))
    # On a chain sub-intervals may differ by a time, and every time counts alike.
    times, weights = torch.tensor(known, dtype=torch.float64).T
    excess, bayes = torch.stack(rows).cpu().T
    weights = torch.full_like(weights, 1 / len(weights)) if isinstance(schedule, Chain) else weights
    return SharingCost(times, weights, excess, bayes)


def _at_level(
    law: Law, level: tuple[Tensor, Tensor], samples: int, generator: torch.Generator | None, step: float | None = None
) -> tuple[Tensor, Tensor]:
    """Points x with weights w for expectations over p_t, float64: quadrature on the line, else samples."""
    alpha, sigma = (float(v) for v in level)
    if isinstance(law, GaussianMixture) and law.dim == 1:
        # How many nodes there are hangs on the law's numbers: they are made on the host.
        x, w = expectation_nodes(law._on(torch.device("cpu")).noised(alpha, sigma), step=step)
        return x[:, None].to(law.device), w.to(law.device)
    x0 = law.sample(samples, generator).double()
    noise = torch.randn(x0.shape, generator=generator, dtype=torch.float64, device=x0.device)
    return alpha * x0 + sigma * noise, torch.full((samples,), 1 / samples, dtype=torch.float64, device=x0.device)


# --- Lipschitz constants ----------------------------------------------------------------------------------------------


def _clock_rate(schedule: Schedule, t: float, clock: str) -> float:
    """dc/dt of the clock c."""
    if clock not in CLOCKS:
        raise ValueError(f"clock = {clock!r} is unknown; allowed: {', '.join(CLOCKS)}")
    if clock == "t":
        return 1.0
    return float(schedule.rates(t)[1] if clock == "sigma" else schedule.log_snr_rate(t))


def time_derivative(
    law: Law, schedule: Schedule, target: Target, x: Tensor, t: float, clock: str = "t"
) -> Tensor:
    """dy(x, t)/dc at fixed x, of the shape of ``x``, for the exact prediction y of ``target``; c is t or another clock.

    Forward-mode differentiation through the law's closed forms: no step size, float64 accuracy for float64 ``x``.

    Args:
        law: of the clean samples.
        schedule: in continuous time.
        target: a name of :data:`diffnotes.target.TARGETS`, or a function (alpha, sigma) -> (a, b).
        x: points (n, d).
        t: one time with sigma_t > 0.
        clock: "t", "sigma" or "log_snr" (:data:`CLOCKS`).

    Raises:
        TypeError: for a chain.
        ValueError: for an unknown target or clock, or sigma_t = 0.
    """
    if isinstance(schedule, Chain):
        raise TypeError(f"schedule = {schedule}; allowed: a schedule in continuous time (for a chain, step_constants)")
    coefficients(target, 0.8, 0.6)
    rate = _clock_rate(schedule, t, clock)
    (alpha, sigma), rates = schedule(t), schedule.rates(t)
    if not float(sigma) > 0:
        raise ValueError(f"t = {t}; allowed: times with sigma > 0")
    with forward_ad.dual_level():
        alpha, sigma = (
            forward_ad.make_dual(level.reshape(1, 1).to(x), change.reshape(1, 1).to(x))
            for level, change in zip((alpha, sigma), rates)
        )
        a, b = coefficients(target, alpha, sigma)
        level = alpha[:, 0].expand(len(x)), sigma[:, 0].expand(len(x))
        # x_0 and eps each in the form that does not cancel.
        y = a * law.posterior_mean(x, *level) - b * sigma * law.score_at(x, *level)
        change = forward_ad.unpack_dual(y).tangent
    return (torch.zeros_like(x) if change is None else change) / rate


def time_lipschitz(
    law: Law, schedule: Schedule, target: Target, times: Tensor, clock: str = "t", samples: int = 1000,
    generator: torch.Generator | int | None = None,
) -> Tensor:
    """K(t) = E|dy(x_t, t)/dc| (Euclidean norm) of the exact prediction at ``times``, (L,) float64.

    For a mixture on the line by quadrature; otherwise by Monte Carlo. Arguments as in :func:`time_derivative` and
    :func:`sharing_cost`.
    """
    if not (isinstance(law, GaussianMixture) and law.dim == 1):
        generator = _generator(generator, law.device)
    values = []
    for t in torch.as_tensor(times, dtype=torch.float64).flatten().tolist():
        x, w = _at_level(law, schedule(t), samples, generator, _FINE)
        values.append(w @ time_derivative(law, schedule, target, x, t, clock).norm(dim=-1))
    return torch.stack(values).cpu()


def _noised(
    denoiser: Denoiser, data: GaussianMixture | Tensor, generator: torch.Generator | int
) -> tuple[Callable[[float], tuple[Tensor, Tensor]], torch.dtype]:
    """The function t -> (x_t, weights) for expectations at t, with one noise for all times, and the dtype asked in."""
    members = () if denoiser.members is None else (denoiser.members,)
    if isinstance(data, GaussianMixture):
        if data.dim != 1:
            raise ValueError(f"data = {data!r}; allowed: a mixture on the line, or clean samples")

        home = data.to("cpu")

        def nodes(t: float) -> tuple[Tensor, Tensor]:
            x, w = expectation_nodes(home.noised(*(float(v) for v in denoiser.schedule(t))), 6.0, 0.1)
            return x[:, None].to(data.device, data.dtype).expand(*members, -1, -1), w.to(data.device)

        return nodes, data.dtype
    if not isinstance(data, Tensor) or not data.is_floating_point() or data.ndim < 2:
        raise TypeError(f"data = {type(data).__name__}; allowed: a mixture on the line, or clean samples (n, d)")
    noise = torch.randn(data.shape, generator=_generator(generator, data.device), dtype=data.dtype, device=data.device)
    weights = torch.full((data.shape[-2],), 1 / data.shape[-2], dtype=torch.float64, device=data.device)

    def draws(t: float) -> tuple[Tensor, Tensor]:
        alpha, sigma = (float(v) for v in denoiser.schedule(t))
        x = alpha * data + sigma * noise
        return (x if x.ndim == 2 + len(members) else x.expand(*members, *x.shape)), weights

    return draws, data.dtype


def step_constants(
    denoiser: Denoiser, data: GaussianMixture | Tensor, times: Tensor, generator: torch.Generator | int = 0,
    target: Target = "eps",
) -> Tensor:
    """K(t_k, t_{k+1}) = E|y(x, t_{k+1}) - y(x, t_k)|/(t_{k+1} - t_k), x ~ p at t_k, between neighbours of ``times``.

    The mean and the maximum over k are the mean and the largest constant of the source's estimate.

    Args:
        denoiser: exact or learned, one or an ensemble.
        data: a mixture on the line (quadrature), or clean samples (n, d), of an ensemble also (members, n, d).
        times: (L,) increasing times of the denoiser's schedule.
        generator: draws one noise for all times.
        target: whose prediction y is meant; Euclidean norm over the coordinates.

    Returns:
        (L - 1,) or (members, L - 1), float64 on the CPU.

    Raises:
        ValueError: for times that do not increase, or an unknown target.
        TypeError: for other data.
    """
    times = torch.as_tensor(times).cpu()
    if times.ndim != 1 or len(times) < 2 or not bool((times[1:] > times[:-1]).all()):
        raise ValueError(f"times = {times.flatten()[:6].tolist()}...; allowed: at least two, strictly increasing")
    coefficients(target, 0.8, 0.6)
    at, _ = _noised(denoiser, data, generator)
    values = []
    with torch.no_grad():
        for t, after in itertools.pairwise(times.tolist()):
            x, w = at(t)
            change = denoiser._read(target, x, after) - denoiser._read(target, x, t)
            values.append(change.double().norm(dim=-1) @ w / (after - t))
    return torch.stack(values, -1).cpu()


def perturbation_response(
    denoiser: Denoiser, data: GaussianMixture | Tensor, times: Tensor, size: float,
    generator: torch.Generator | int = 0,
) -> Tensor:
    """E|eps(x_t + size z, t) - eps(x_t, t)|/(size E|z|), z ~ N(0, I): how a prediction answers a perturbed input.

    Returns (L,) or (members, L) for ``times`` (L,), float64 on the CPU. Other arguments as in :func:`step_constants`.

    Raises:
        ValueError: for size <= 0.
        TypeError: for data that are neither samples nor a mixture on the line.
    """
    if not (math.isfinite(size) and size > 0):
        raise ValueError(f"size = {size}; allowed: positive, finite numbers")
    at, dtype = _noised(denoiser, data, generator)
    values, device = [], data.device
    shakes = torch.Generator(device).manual_seed(_generator(generator, device).initial_seed() + 1)
    with torch.no_grad():
        for t in torch.as_tensor(times).tolist():
            x, w = at(t)
            z = torch.randn(x.shape[-2:], generator=shakes, dtype=dtype, device=device).expand(x.shape)
            change = denoiser.eps(x + size * z, t) - denoiser.eps(x, t)
            values.append((change.double().norm(dim=-1) @ w) / (size * (z.double().norm(dim=-1) @ w)))
    return torch.stack(values, -1).cpu()
