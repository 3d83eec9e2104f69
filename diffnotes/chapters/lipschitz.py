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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from ..core import cost
from ..core.denoiser import Denoiser, Exact, home_of
from ..core.generators import generator_of
from ..core.law import GaussianMixture, Law
from ..core.schedule import Chain, Schedule
from ..core.shape import expand_like
from ..core.target import Target, coefficients
from ..measure.distance import SlicedDistance, wasserstein1, wasserstein1_to
from ..measure.divergence import integral, knots_around
from ..measure.information import expectation_nodes, fisher_information
from ..measure.interval import Interval, ratio_interval
from ..model.condition import Condition, left_ends, share_timesteps
from ..model.fleet import Fleet, Table, Trained
from ..model.sample import ddim, ddpm, grid, ode, prior
from ..model.setting import Times, Uniform
from ..model.store import kept

__all__ = [
    "CLOCKS", "Distances", "FirstInterval", "LeftEnd", "Radii", "SharedExact", "SharedTimes", "SharingCost",
    "StepWaves", "answers_at", "distances", "end_slopes", "first_interval", "left_end_error", "line_distance",
    "mean_score", "misfit", "opposite_corners", "perturbation_response", "plane_measures", "ratio", "sampled", "seen",
    "shared_over_plain", "sharing_cost", "sine_chain", "slope", "step_constants", "time_derivative", "time_lipschitz",
]  # fmt: skip

CLOCKS = ("t", "sigma", "log_snr")
_NODES = 16  # of Gauss-Legendre in a sub-interval of continuous time
_DRAWS = 1000  # of a Monte Carlo
_FINE = 0.01  # spacing of quadrature nodes for means of |y|, whose kinks leave an error of its square


# --- what a network is told ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StepWaves(Condition):
    r"""DDPM's embedding of the time: sin(w_k s), cos(w_k s), with w_k = 10000^(-k/(frequencies - 1)), k = 0, 1, ...

    s is the time in steps of the chain ``schedule``: t for the kind "t", and T (u + 1)/2 in the u of
    :class:`~diffnotes.model.condition.Condition` for the others. The fastest wave turns by 1 rad a step.

    Raises:
        ValueError: without a chain, for fewer than two frequencies, and as Condition.

    Source: Ho et al. 2020, arXiv 2006.11239 (32 frequencies there for 64 features; after Vaswani et al. 2017).

    >>> StepWaves(schedule=Chain.linear(1000), frequencies=2)(torch.tensor([0])).tolist()
    [[0.0, 0.0, 1.0, 1.0]]
    """

    frequencies: int = 32

    def __post_init__(self) -> None:
        if not isinstance(self.schedule, Chain):
            raise ValueError(f"schedule = {self.schedule!r}; allowed: a chain, in whose steps the waves are told")
        if self.frequencies < 2:
            raise ValueError(f"frequencies = {self.frequencies}; allowed: integers >= 2")
        super().__post_init__()

    @property
    def size(self) -> int:
        """The number of features."""
        return 2 * self.frequencies

    def __call__(self, t: float | Tensor) -> Tensor:
        """The features of ``t``, with one more axis of length :attr:`size`."""
        u = Condition(self.kind, self.schedule, 0, self.map)(t)
        k = torch.arange(self.frequencies, dtype=u.dtype, device=u.device)
        angles = (u + 1) * (self.schedule.T / 2) * 10_000 ** (-k / (self.frequencies - 1))
        return torch.cat([angles.sin(), angles.cos()], -1)


# --- sharing ----------------------------------------------------------------------------------------------------------


class LeftEnd(Denoiser):
    """``base`` asked for eps at the shared time instead of t: sharing bolted on to a denoiser not trained for it."""

    target = "eps"

    def __init__(self, base: Denoiser, n: int, t_tilde: float) -> None:
        left_ends(n, t_tilde)
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
        times, weights = self._bins[int(torch.bucketize(float(t), left_ends(self.n, self.t_tilde), right=True)) - 1]
        return _blind(self._exact, self.law, x, times, weights)[0]


@dataclass(frozen=True)
class SharedTimes(Times):
    """Training and sampling at the shared times alone, a reviewer's proposal: each with its own alpha and sigma.

    A chain's times below ``t_tilde`` become the left end of their sub-interval, and the first one t = 1, which has
    noise. As the density of a :class:`~diffnotes.model.setting.Setting` it moves uniform times.

    Raises:
        ValueError, TypeError: as :func:`share_timesteps`.

    >>> SharedTimes(5, 100).visited(torch.tensor([1, 19, 20, 150])).tolist()
    [1, 1, 20, 150]
    """

    n: int
    t_tilde: float

    def __post_init__(self) -> None:
        left_ends(self.n, self.t_tilde)

    def visited(self, t: Tensor) -> Tensor:
        """The time visited in place of t."""
        return share_timesteps(t, self.n, self.t_tilde).clamp(min=1)

    def __call__(self, u: Tensor, schedule: Schedule | Chain) -> Tensor:
        return self.visited(Uniform()(u, schedule))

    def grid(self, chain: Chain, steps: int) -> Tensor:
        """The times visited in place of those of the grid "skip" (:func:`diffnotes.grid`): at most ``steps`` steps."""
        times = self.visited(grid(chain, steps, "skip")[:-1]).unique().flip(0)
        return torch.cat([times, torch.zeros(1, dtype=times.dtype)])


def sine_chain(T: int, share: float = 0.995) -> Chain:
    """The chain of T steps with sigma_t = sin(share pi t/(2T)): sigma ~ t, without a singularity for smooth data.

    Raises:
        ValueError: for T < 1 or a share outside (0, 1).
    """
    if T < 1 or not 0 < share < 1:
        raise ValueError(f"T = {T}, share = {share}; allowed: T >= 1 and shares in (0, 1)")
    angle = share * math.pi / 2 * torch.arange(T + 1, dtype=torch.float64) / T
    return Chain.from_betas(1 - (angle[1:].cos() / angle[:-1].cos()).square())



def _bins(schedule: Schedule | Chain, n: int, t_tilde: float) -> list[tuple[Tensor, Tensor]]:
    """Times and their weights (of sum 1) in each sub-interval."""
    ends = [*left_ends(n, t_tilde).tolist(), float(t_tilde)]
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
    levels = exact.schedule(times)
    odds, score = law.log_prob_and_score_at(everywhere, *levels)
    each = -expand_like(levels[1], everywhere) * score
    share = (odds + weights.log().to(odds).reshape(-1, *[1] * (odds.ndim - 1))).softmax(0)
    return (share.reshape(share.shape + (1,) * (each.ndim - share.ndim)) * each).sum(0), each


class SharingCost(NamedTuple):
    """Mean squared errors of eps per coordinate at ``times`` < t_tilde, each (L,) float64, and their ``weights``.

    ``excess``: what the best shared predictor loses beyond eps(x, t); ``bayes``: what eps(x, t) itself leaves.
    ``price`` is the mean excess over uniform t, ``share`` its ratio to the mean Bayes error (inf where that is 0).
    """

    times: Tensor
    weights: Tensor
    excess: Tensor
    bayes: Tensor

    @property
    def price(self) -> float:
        return float(self.weights @ self.excess)

    @property
    def share(self) -> float:
        bayes = float(self.weights @ self.bayes)
        return self.price / bayes if bayes else math.inf


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
        generator = generator_of(generator, law.device)
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


class FirstInterval(NamedTuple):
    """The price of one sub-interval [0, length) of continuous time, for several lengths: (L,) float64 each.

    ``excess``: the mean excess error; ``predicted``: its limit beta_0 length J/18, J the data's Fisher information.
    """

    length: Tensor
    excess: Tensor
    predicted: Tensor


def first_interval(law: GaussianMixture, schedule: Schedule, lengths: Tensor) -> FirstInterval:
    """What it costs not to know t in the first sub-interval, beside the limit of short ones; ``law`` is on the line.

    Raises:
        ValueError: as :func:`sharing_cost`, and for a law with points.
    """
    excess = torch.tensor([sharing_cost(law, schedule, 1, length).price for length in lengths.tolist()]).double()
    predicted = float(schedule.beta(0.0)) * fisher_information(law) / 18 * lengths.double()
    return FirstInterval(lengths, excess, predicted)


def left_end_error(law: GaussianMixture, chain: Chain, n: int, t_tilde: int) -> float:
    """Mean excess over t = 1..t_tilde - 1 of the exact predictor asked at the left end: sharing bolted on.

    Raises:
        ValueError: for a law off the line, and as :func:`share_timesteps`.
    """
    exact, errors = Exact(law, chain), []
    bolted = LeftEnd(exact, n, t_tilde)
    for t in range(1, t_tilde):
        x, w = expectation_nodes(law.noised(*(float(level) for level in chain(t))))
        errors.append(float(w @ (bolted.eps(x[:, None], t) - exact.eps(x[:, None], t))[:, 0].square()))
    return sum(errors) / len(errors)


def opposite_corners(d: int, width: float) -> GaussianMixture:
    """Two modes of standard deviation ``width`` at +-(1, ..., 1) in d dimensions, float64."""
    corner = torch.ones(d, dtype=torch.float64)
    return GaussianMixture(torch.stack([-corner, corner]), width)



def _at_level(
    law: Law, level: tuple[Tensor, Tensor], samples: int, generator: torch.Generator | None, step: float | None = None
) -> tuple[Tensor, Tensor]:
    """Points x with weights w for expectations over p_t, float64: quadrature on the line, else samples."""
    alpha, sigma = (float(v) for v in level)
    if isinstance(law, GaussianMixture) and law.dim == 1:
        # How many nodes there are hangs on the law's numbers: they are made on the host.
        x, w = expectation_nodes(law.on(torch.device("cpu")).noised(alpha, sigma), step=step)
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


def _levels(
    schedule: Schedule, times: Tensor, target: Target
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(alpha, sigma) at ``times`` and their rates; refuses chains, unknown targets and times without noise."""
    if isinstance(schedule, Chain):
        raise TypeError(f"schedule = {schedule}; allowed: a schedule in continuous time (for a chain, step_constants)")
    coefficients(target, 0.8, 0.6)
    levels = schedule(times)
    if not bool((levels[1] > 0).all()):
        raise ValueError(f"t = {times.flatten()[:6].tolist()}; allowed: times with sigma > 0")
    return levels, schedule.rates(times)


def time_derivative(
    law: Law, schedule: Schedule, target: Target, x: Tensor, t: float, clock: str = "t"
) -> Tensor:
    """dy(x, t)/dc at fixed x, of the shape of ``x``, for the exact prediction y of ``target``; c is t or another clock.

    Forward-mode differentiation through the law's closed forms: no step size, float64 accuracy for float64 ``x``.

    Args:
        law: of the clean samples.
        schedule: in continuous time.
        target: a name of :data:`diffnotes.TARGETS`, or a function (alpha, sigma) -> (a, b).
        x: points (n, d).
        t: one time with sigma_t > 0.
        clock: "t", "sigma" or "log_snr" (:data:`CLOCKS`).

    Raises:
        TypeError: for a chain.
        ValueError: for an unknown target or clock, or sigma_t = 0.
    """
    levels, rates = _levels(schedule, torch.as_tensor(t, dtype=torch.float64), target)
    rate = _clock_rate(schedule, t, clock)
    return _derivative(law, target, x, levels, rates) / rate


def _derivative(
    law: Law, target: Target, x: Tensor, levels: tuple[Tensor, Tensor], rates: tuple[Tensor, Tensor]
) -> Tensor:
    """dy/dt at the rows of x, for levels and their rates that are numbers or have a value for each row."""
    with forward_ad.dual_level():
        alpha, sigma = (
            forward_ad.make_dual(*(part.to(x).reshape(-1).expand(len(x)).contiguous() for part in pair))
            for pair in zip(levels, rates)
        )
        a, b = coefficients(target, alpha[:, None], sigma[:, None])
        # x_0 and eps each in the form that does not cancel.
        y = a * law.posterior_mean(x, alpha, sigma) - b * sigma[:, None] * law.score_at(x, alpha, sigma)
        change = forward_ad.unpack_dual(y).tangent
    return torch.zeros_like(x) if change is None else change


def time_lipschitz(
    law: Law, schedule: Schedule, target: Target, times: Tensor, clock: str = "t",
    generator: torch.Generator | int | None = None,
) -> Tensor:
    """K(t) = E|dy(x_t, t)/dc| (Euclidean norm) of the exact prediction at ``times``, (L,) float64.

    For a mixture on the line by quadrature; otherwise by Monte Carlo with 1000 samples a time, for which ``generator``
    is needed. Other arguments, and errors, as in :func:`time_derivative`.
    """
    if not (isinstance(law, GaussianMixture) and law.dim == 1):
        generator = generator_of(generator, law.device)
    times = torch.as_tensor(times, dtype=torch.float64).flatten().cpu()
    levels, rates = _levels(schedule, times, target)
    parts = [_at_level(law, schedule(t), _DRAWS, generator, _FINE) for t in times.tolist()]
    per_time = torch.tensor([len(w) for _, w in parts])
    wide = [tuple(part.repeat_interleave(per_time) for part in pair) for pair in (levels, rates)]
    change = _derivative(law, target, torch.cat([x for x, _ in parts]), *wide).norm(dim=-1)
    clock_rates = torch.tensor([_clock_rate(schedule, t, clock) for t in times.tolist()], dtype=torch.float64)
    means = [w @ one for (_, w), one in zip(parts, change.split(per_time.tolist()))]
    return torch.stack(means).cpu() / clock_rates.abs()


def mean_score(law: GaussianMixture, shift: float = 0.0) -> float:
    """E|s_0(x) + shift x|, the mean size of the score of a law on the line with a density; the shift 1 is for v.

    Raises:
        ValueError: for a law off the line, or with points.
    """
    if law.dim != 1 or law.has_points:
        raise ValueError(f"law = {law!r}; allowed: a mixture on the line with std > 0")
    law = law.to("cpu", torch.float64)

    def size(x: Tensor) -> Tensor:
        rows = x.reshape(-1, 1)
        return ((law.score(rows)[:, 0] + shift * rows[:, 0]).abs() * law.log_prob(rows).exp()).reshape(x.shape)

    return integral(size, knots_around(law.means[:, 0], law.std.expand(len(law.means))), 1e-12)


def slope(x: Tensor | Sequence[float], y: Tensor | Sequence[float]) -> float:
    """The least-squares slope of log y over log x.

    Raises:
        ValueError: for fewer than two points, other lengths, or numbers that are not positive.

    >>> round(slope([1, 2, 4], [3, 12, 48]), 12)
    2.0
    """
    x, y = (torch.as_tensor(values, dtype=torch.float64) for values in (x, y))
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2 or not bool((x > 0).all() and (y > 0).all()):
        raise ValueError(f"x = {x.tolist()}, y = {y.tolist()}; allowed: two or more pairs of positive numbers")
    x, y = x.log(), y.log()
    return float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


def end_slopes(times: Tensor, curves: Mapping[object, Tensor], points: int = 3) -> dict:
    """The slope of each curve over its first ``points`` times; curves that vanish there (< 1e-12) are left out."""
    return {
        name: slope(times[:points], values[:points]) for name, values in curves.items() if float(values[0]) > 1e-12
    }



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
    generator = generator_of(generator, data.device)
    noise = torch.randn(data.shape, generator=generator, dtype=data.dtype, device=data.device)
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
            change = denoiser.read(target, x, after) - denoiser.read(target, x, t)
            values.append(change.double().norm(dim=-1) @ w / (after - t))
    return cost.plausible(torch.stack(values, -1)).cpu()


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
    shakes = torch.Generator(device).manual_seed(generator_of(generator, device).initial_seed() + 1)
    with torch.no_grad():
        for t in torch.as_tensor(times).tolist():
            x, w = at(t)
            z = torch.randn(x.shape[-2:], generator=shakes, dtype=dtype, device=device).expand(x.shape)
            change = denoiser.eps(x + size * z, t) - denoiser.eps(x, t)
            values.append((change.double().norm(dim=-1) @ w) / (size * (z.double().norm(dim=-1) @ w)))
    return torch.stack(values, -1).cpu()


def misfit(denoiser: Denoiser, law: Law, clean: Tensor, times: Sequence[int], seed: int) -> Tensor:
    """Mean squared error per coordinate of a prediction of eps against the exact one, a mean over ``times``.

    Args:
        denoiser: exact or learned, one or an ensemble.
        law: of the clean samples, whose exact predictor on the denoiser's own schedule is asked in float64.
        clean: samples (n, d) of it, noised with one noise for all times.
        times: of the denoiser's schedule.
        seed: draws the noise.

    Returns:
        () or (members,) float64 on the CPU.
    """
    best, errors = Exact(law.to(clean.device, torch.float64), denoiser.schedule), []
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed)).to(clean)
    members = () if denoiser.members is None else (denoiser.members,)
    with torch.no_grad():
        for t in times:
            alpha, sigma = (float(level) for level in denoiser.schedule(t))
            x_t = alpha * clean + sigma * noise
            error = denoiser.eps(x_t.expand(*members, *x_t.shape), t).double() - best.eps(x_t.double(), t)
            errors.append(error.square().mean((-2, -1)))
    return torch.stack(errors).mean(0).cpu()


def answers_at(denoiser: Denoiser, x: Tensor, times: Tensor) -> Tensor:
    """eps(x, t) at fixed points ``x`` on the line, (points,), and each of ``times``, (L,): (points, L)."""
    return torch.stack([denoiser.eps(x[:, None], float(t))[:, 0] for t in times], 1)


# --- samples ----------------------------------------------------------------------------------------------------------

Case = tuple[str, int]


class Radii:
    """The 1-Wasserstein distance between the laws of |x| of samples and of ``law``, of which ``n`` draws are taken.

    On a ring, and for modes on a circle, it is the spread across the circle that is compared, which is made in the
    last steps of a sampler. Its noise is that of the width, not of the whole law.
    """

    def __init__(self, law: Law, n: int, generator: torch.Generator | int) -> None:
        self._reference = law.sample(n, generator).double().norm(dim=-1)

    def __call__(self, x: Tensor) -> Tensor:
        """Distances of samples (members, n, d): (members,) float64."""
        return torch.stack([wasserstein1(one.double().norm(dim=-1), self._reference) for one in x])


def seen(exact: Tensor, found: Tensor, share: float = 0.5) -> bool:
    """Whether a distance says something of networks: that of the exact predictor, the sampler's error and the noise of
    finite samples, is on average less than ``share`` of theirs.

    >>> seen(torch.tensor([0.1]), torch.tensor([0.3, 0.5]))
    True
    """
    return bool(exact.mean() < share * found.mean())



def sampled(
    denoiser: Denoiser, case: Case, shape: Sequence[int], seed: int, times: Tensor | None = None
) -> Tensor:
    """Samples of all members in n steps of a sampler; equal shapes and seeds start from the same noise.

    Args:
        denoiser: on a chain, exact or learned, one or an ensemble.
        case: ("ddpm" or "ddim", n) on the grid "skip", or ("dpm", n), second order and uniform in log SNR.
        shape: of the samples, members first: of all denoisers that are compared the same.
        seed: the draws are those of seed + n.
        times: another grid than that of the case.

    Raises:
        ValueError: for another sampler, and as :func:`diffnotes.grid`.
    """
    kind, n = case
    if kind not in ("ddpm", "ddim", "dpm"):
        raise ValueError(f"case = {case}; allowed: ('ddpm', n), ('ddim', n), ('dpm', n)")
    if times is None:
        times = grid(denoiser.schedule, n, "log_snr" if kind == "dpm" else "skip")
    device = home_of(denoiser)[1]
    generator = torch.Generator(device).manual_seed(seed + n)
    start = prior(denoiser.schedule, shape, generator, int(times[0]), device=device)
    if kind == "ddpm":
        return ddpm(denoiser, start, times, generator)
    return ddim(denoiser, start, times) if kind == "ddim" else ode(denoiser, start, times, "dpm2m")


def distances(
    nets: Mapping[str, Denoiser], measures: Mapping[str, Callable[[Tensor], Tensor]], cases: Sequence[Case],
    shape: Sequence[int], seed: int, times: Tensor | None = None,
) -> dict[str, dict[str, dict[Case, Tensor]]]:
    """Distances of the samples of :func:`sampled` by each of ``measures``: measure -> network -> case -> (members,).

    Raises as that function.
    """
    found = {kind: {name: {} for name in nets} for kind in measures}
    for name, net in nets.items():
        for case in cases:
            x = sampled(net, case, shape, seed, times).double().cpu()
            for kind, measure in measures.items():
                found[kind][name][case] = measure(x)
    return found


def plane_measures(law: Law, seed: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """Two distances of samples in the plane from ``law``: "whole", sliced Wasserstein, and "radii", :class:`Radii`."""
    return {"whole": SlicedDistance(law.sample(8000, seed + 99), 64, seed, p=1), "radii": Radii(law, 20_000, seed + 98)}


@dataclass(frozen=True)
class Distances:
    """:func:`distances` of a fleet in the plane by :func:`plane_measures`: an experiment whose numbers are kept.

    Args:
        fleet: on a law in the plane and a chain; its networks are trained, or read, where the numbers are not known.
        cases: samplers and their steps.
        samples: of each network.
        seed: of the samples and of the measures.
        stops: the times at which alone the samplers stop, where they do not take the grid of the case.
        names: of the networks that are measured; None takes all.

    Raises:
        ValueError: for no case, one twice, or a name that the fleet has not.
    """

    fleet: Fleet
    cases: Sequence[Case]
    samples: int
    seed: int
    stops: SharedTimes | None = None
    names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if unknown := [name for name in self.names or () if name not in self.fleet.names]:
            raise ValueError(f"names = {unknown}; allowed: {', '.join(map(repr, self.fleet.names))}")
        if not self.cases or len({*self.cases}) < len(self.cases):
            raise ValueError(f"cases = {list(self.cases)}; allowed: at least one, each once")

    @property
    def _measured(self) -> list[str]:
        return [*(self.names or self.fleet.names)]

    def blank(self) -> dict[str, nn.Module]:
        """The numbers before they are known, (networks by name, cases, members) for each measure."""
        shape = len(self._measured), len(self.cases), len(self.fleet.seeds)
        return {kind: Table(torch.zeros(shape)) for kind in ("whole", "radii")}

    def train(self, device: torch.device | str = "cpu") -> Trained:
        """Sample, with the networks of the fleet on ``device``, and measure."""
        known, measures = kept(self.fleet, device), plane_measures(self.fleet.data, self.seed)
        nets, shape = {name: known[name] for name in self._measured}, (len(self.fleet.seeds), self.samples, 2)
        found: dict[str, list[Tensor]] = {kind: [] for kind in measures}
        for case in self.cases:
            times = None if self.stops is None else self.stops.grid(nets[self._measured[0]].schedule, case[1])
            for kind, of in distances(nets, measures, [case], shape, self.seed, times).items():
                found[kind].append(torch.stack([one[case] for one in of.values()]))
        return Trained({kind: Table(torch.stack(rows, 1)) for kind, rows in found.items()}, {})

    def read(self, networks: Mapping[str, nn.Module], recipe: str = "") -> dict[str, dict[str, dict[Case, Tensor]]]:
        """Measure -> network -> case -> (members,), float64 on the CPU, as :func:`distances` gives them."""
        return {kind: {name: dict(zip(self.cases, rows)) for name, rows in zip(self._measured, table.values.cpu())}
                for kind, table in networks.items()}  # fmt: skip


def shared_over_plain(found: Mapping, of: Callable[[Tensor], Tensor]) -> dict:
    """Interval of the ratio of a number ``of`` shared networks to that of plain ones, for each entry of ``found``."""
    return {at: ratio_interval(of(both["shared"]), of(both["plain"])) for at, both in found.items()}


def ratio(
    distances: Mapping[str, Mapping[Case, Tensor]], name: str, cases: Sequence[Case], base: str = "plain"
) -> Interval:
    """Interval of the ratio of distances, ``name`` over ``base``, network by network; geometric means over ``cases``.

    Raises:
        KeyError: for a name or case without distances.
        ValueError: as :func:`diffnotes.measure.interval.ratio_interval`.
    """
    above, below = (
        torch.stack([distances[one][case].double() for case in cases]).log().mean(0).exp() for one in (name, base)
    )
    return ratio_interval(above, below)


def line_distance(denoiser: Denoiser, law: GaussianMixture, steps: int, points: int) -> float:
    """The 1-Wasserstein distance from ``law`` of what DDIM makes of normal quantiles in ``steps`` of the grid "skip".

    ``denoiser`` is on the line; its ``points`` quantiles (k - 1/2)/points leave no sampling noise.
    """
    times = grid(denoiser.schedule, steps, "skip")
    u = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    start = float(denoiser.schedule(int(times[0]))[1]) * torch.special.ndtri(u)[:, None]
    return float(wasserstein1_to(ddim(denoiser, start, times)[:, 0], law))
