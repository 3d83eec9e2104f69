"""Exercises to "Lipschitz singularities and shared time steps"."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...chapters.lipschitz import SharedExact, seen, time_lipschitz
from ...core.law import GaussianMixture
from ...core.schedule import Chain, Constant
from ...measure.interval import mean_interval, ratio_interval
from ..checking import Choice, Construction, Exercise, Function, Mistake, Wrong, result_of

_MEAN = math.sqrt(2 / math.pi)  # of |z|, z standard normal


def _normal(s: float) -> GaussianMixture:
    return GaussianMixture(torch.zeros(1, dtype=torch.float64), s)


belongs = Choice(
    {
        "a": "its derivative in t is a continuous function on [0, 1], and so has a largest value. What the network was "
             "trained on does not matter for that.",
        "b": "x_0(x, t) = (x + sigma^2 s_t(x))/alpha changes with sigma^2, which has a bounded rate on the linear "
             "schedule. The factor sigma, whose rate has no bound, is in eps = -sigma s_t alone.",
        "c": "the constant on points is E|z| sigma'/sigma. Divided by the rate of log SNR, about 2 sigma'/sigma, it is "
             "E|z|/2; divided by that of sigma it is E|z|/sigma.",
        "d": "each constant of a chain is finite, but the first step has the length 1/T and sigma there is of the "
             "order of T^(-1/2): the quotient grows like the root of T.",
        "e": "a network with slow waves or little training may fail to follow a target that changes infinitely fast. "
             "Only the exact predictor says what the target does.",
    },
    "ac",
    "The singularity is one of a target, a law and a clock. A network has none, whatever it was trained on.",
)  # fmt: skip


@lru_cache
def _speed(s: float, sigma: float, rate: float) -> float:
    """By the package, on the schedule of constant beta that has this level and this rate at some time."""
    beta = 2 * sigma * rate / (1 - sigma**2)
    time = torch.tensor([-math.log1p(-(sigma**2)) / beta], dtype=torch.float64)
    return float(time_lipschitz(_normal(s), Constant(beta), "eps", time)[0])


def _level(s: float, sigma: float) -> float:
    """The variance of x_t."""
    return (1 - sigma**2) * s**2 + sigma**2


def _slope(s: float, sigma: float) -> float:
    """|d/d sigma of sigma/(variance of x_t)|."""
    return abs(s**2 - (1 - s**2) * sigma**2) / _level(s, sigma) ** 2


speed = Function(
    _speed,
    [(1.0, 0.6, 1.5), (0.3, 0.1, 2.0), (0.2, 0.5, 1.0), (2.0, 0.7, 1.0), (0.05, 0.02, 3.0)],
    [
        Mistake("This is the term -sigma' s_t alone. The score changes with time as well, by the product rule, and "
                "this second term is small for small sigma only.",
                lambda s, sigma, rate: rate * _MEAN / math.sqrt(_level(s, sigma))),
        Mistake("This is the limit at sigma = 0. At a time t > 0 the variance of x_t is not that of the data.",
                lambda s, sigma, rate: rate * _MEAN / s),
        Mistake("Here alpha is held fixed. On a variance-preserving schedule it moves with sigma, and x_t loses the "
                "part alpha^2 s^2 of its variance.",
                lambda s, sigma, rate: rate * _MEAN * abs((1 - sigma**2) * s**2 - sigma**2)
                / _level(s, sigma) ** 1.5),
        Mistake("This is a root mean square. The constant is a mean of |x|, and E|x| is the root of 2/pi times the "
                "standard deviation.",
                lambda s, sigma, rate: rate * _slope(s, sigma) * math.sqrt(_level(s, sigma))),
        Mistake("The mean is taken over clean data. The network is asked at noised points, x ~ p_t.",
                lambda s, sigma, rate: rate * _slope(s, sigma) * _MEAN * s),
    ],
    "For sigma far below s it is sigma' E|s_0|, for sigma far above s it is sigma'/sigma E|z|: width decides.",
    tolerance=1e-5,
)  # fmt: skip

_sigma = torch.cat([torch.zeros(1, dtype=torch.float64),
                    torch.logspace(-5, math.log10(80), 4000, dtype=torch.float64)])  # fmt: skip
_INFINITE = "The clock is not finite at sigma = 0: it takes infinitely long to reach the data"
_BACKWARDS = "The clock has to increase with sigma"
_LONG = "The clock runs too far: seen from it the function hardly changes, because it is stretched"
_STEEP = "In this clock the constant is too large near the data, where sigma is below s"
_STILL = "In this clock the constant is too large at much noise: the clock nearly stands still there"


def _test_clock(answer: Any) -> None:
    for s in (0.01, 0.1, 1.0):
        c = result_of(answer, (_sigma[1:], s))
        if c.shape != _sigma[1:].shape:
            raise Wrong(f"the clock has the shape {tuple(c.shape)}; it should be that of sigma")
        try:
            c = torch.cat([result_of(answer, (_sigma[:1], s)), c])
        except Wrong:
            raise Wrong(f"{_INFINITE}.") from None
        step = c.diff()
        if not bool((step > 0).all()):
            raise Wrong(f"{_BACKWARDS}, for s = {s:g} it does not everywhere.")
        middle = (_sigma[1:] + _sigma[:-1]) / 2
        constant = _MEAN * (s**2 - middle**2).abs() / (s**2 + middle**2) ** 1.5 * _sigma.diff() / step
        top = int(constant.argmax())
        if float(constant[top]) > 1.001:
            where = _STEEP if float(middle[top]) < s else _STILL
            raise Wrong(f"{where}. For s = {s:g} it is {float(constant[top]):.3g} at sigma = {float(middle[top]):.3g}.")
        if float(c[-1] - c[0]) > 20:
            raise Wrong(f"{_LONG}. For s = {s:g} its range is {float(c[-1] - c[0]):.3g}.")


clock = Construction(
    _test_clock,
    lambda: lambda sigma, s: torch.asinh(sigma / s),
    [
        Mistake(_STEEP, lambda: lambda sigma, s: sigma),
        Mistake(_INFINITE, lambda: lambda sigma, s: torch.log(sigma)),
        Mistake(_BACKWARDS, lambda: lambda sigma, s: -torch.log(sigma**2 + s**2)),
        Mistake(_LONG, lambda: lambda sigma, s: 100 * sigma),
        Mistake(_STILL, lambda: lambda sigma, s: sigma / (sigma + s)),
    ],
    "Below the width of the data it runs like sigma, above it like log sigma.",
)  # fmt: skip


def _blind(x: Tensor, alpha: Tensor, sigma: Tensor, s: float) -> Tensor:
    """By the package, on a chain that has these levels and one more."""
    kept = alpha.square() / torch.cat([torch.ones(1, dtype=torch.float64), alpha[:-1].square()])
    chain = Chain.from_betas(torch.cat([1 - kept, torch.full((1,), 0.5, dtype=torch.float64)]))
    best = SharedExact(_normal(s), chain, 1, len(alpha) + 1)
    return best.eps(x[:, None], 1)[:, 0]


def _each(x: Tensor, alpha: Tensor, sigma: Tensor, s: float) -> tuple[Tensor, Tensor]:
    """eps(x, t) at each level, and the variances."""
    variance = (alpha.square() * s**2 + sigma.square())[:, None]
    return sigma[:, None] * x / variance, variance


def _weighted(weight):
    def answer(x, alpha, sigma, s):
        each, variance = _each(x, alpha, sigma, s)
        share = weight(x, variance).expand(each.shape)
        return (share / share.sum(0) * each).sum(0)

    return answer


def _at_mean_level(x, alpha, sigma, s):
    return _each(x, alpha.mean()[None], sigma.mean()[None], s)[0][0]


_chain = Chain.linear(1000)
_points = torch.linspace(-0.4, 0.4, 9, dtype=torch.float64)


def _case(first: int, last: int, s: float) -> tuple:
    alpha, sigma = _chain(torch.arange(first, last))
    return _points, alpha, sigma, s


blind = Function(
    _blind,
    [_case(1, 20, 0.05), _case(20, 40, 0.05), _case(1, 100, 0.3)],
    [
        Mistake("All times count alike here. Given x they do not: a point far out comes from a late time, so each time "
                "has the weight p_t(x).", _weighted(lambda x, v: torch.ones_like(v))),
        Mistake("This is the exact prediction at the left end. A network that is trained is not asked for it: its loss "
                "is smallest at the mean over the times of the sub-interval.",
                lambda x, alpha, sigma, s: _each(x, alpha, sigma, s)[0][0]),
        Mistake("This is the exact prediction at a mean noise level. The mean is over predictions, with weights that "
                "depend on x.", _at_mean_level),
        Mistake("The weights lack the factor in front of the exponential. p_t(x) has the constant 1/sqrt(v_t), which "
                "changes with t.", _weighted(lambda x, v: (-x.square() / (2 * v)).exp())),
        Mistake("The weights are turned over: a time under which x is unlikely has to count little.",
                _weighted(lambda x, v: v.sqrt() * (x.square() / (2 * v)).exp())),
    ],
    "A conditional mean over what is not known, as always with squared errors.",
)  # fmt: skip


def _excess(a: float, b: float, beta: float, J: float) -> float:
    """beta J Var(sqrt t) for t uniform in [a, b], by Gauss-Legendre in the root of t, where it is exact."""
    u, w = np.polynomial.legendre.leggauss(8)
    low, high = math.sqrt(a), math.sqrt(b)
    root = low + (high - low) * (u + 1) / 2
    density = w / 2 * (high - low) * 2 * root / (b - a)
    return float(beta * J * (density @ (root - density @ root) ** 2))


excess = Function(
    _excess,
    [(0.0, 0.01, 0.1, 1.0), (0.01, 0.02, 0.1, 1.0), (0.0, 0.04, 2.0, 25.0), (0.002, 0.05, 1.0, 4.0)],
    [
        Mistake("This is right in the first sub-interval alone. Elsewhere sigma changes much less over the same "
                "length.", lambda a, b, beta, J: beta * (b - a) * J / 18),
        Mistake("This is the limit far from zero, where sigma is nearly linear in the sub-interval. Here it is not.",
                lambda a, b, beta, J: beta * (b - a) ** 2 * J / (24 * (a + b))),
        Mistake("This is the error of the prediction at the left end. The best prediction without the time is a mean, "
                "so what is left is a variance.",
                lambda a, b, beta, J: _excess(a, b, beta, J) + beta * J * (
                    2 / 3 * (b**1.5 - a**1.5) / (b - a) - math.sqrt(a)) ** 2),
        Mistake("This is the root mean square. The excess is a mean of squares.",
                lambda a, b, beta, J: math.sqrt(_excess(a, b, beta, J))),
        Mistake("This is the mean of sigma^2, not its spread: what is the same at all times costs nothing.",
                lambda a, b, beta, J: beta * J * (a + b) / 2),
    ],
    "For a = 0 it is a share of 1/18, and for a far above b - a it falls like 1/t.",
)  # fmt: skip

LEAST = {2: 0.015480025, 5: 0.0026660836, 20: 0.00017338519}
"""The least mean excess of n sub-intervals of [0, 1] for beta = J = 1, by numerical minimisation over their borders."""

_EQUAL = "These sub-intervals are equally long. The first ones cost most: sigma changes fastest there"
_SPREAD = "These sub-intervals have equal parts of sigma. The first are too short: little time is spent in them"
_FIRST = "The first borders crowd at zero, and the last sub-interval pays for it: next to no time is spent near zero"
_DEAR = "The mean excess is too large"


def _mean_excess(t: Tensor) -> float:
    ends = t.tolist()
    return sum((b - a) * _excess(a, b, 1.0, 1.0) for a, b in itertools.pairwise(ends))


def _test_borders(answer: Any) -> None:
    for n, least in LEAST.items():
        t = result_of(answer, (n,))
        if t.shape != (n + 1,):
            raise Wrong(f"for n = {n} there are {t.numel()} numbers; it should be {n + 1} borders, with both ends")
        if abs(float(t[0])) > 1e-12 or abs(float(t[-1]) - 1) > 1e-9 or not bool((t.diff() > 0).all()):
            raise Wrong(f"for n = {n} the borders do not increase from 0 to 1")
        if (over := _mean_excess(t) / least) > 1.05:
            u = torch.linspace(0, 1, n + 1, dtype=torch.float64)
            why = (_EQUAL if bool((t - u).abs().max() < 1e-6) else _SPREAD if bool((t - u**2).abs().max() < 1e-6)
                   else _FIRST if float(t[1]) < n**-2.0 else _DEAR)  # fmt: skip
            raise Wrong(f"{why}. For n = {n} the mean excess is {over:.2f} times the least.")


borders = Construction(
    _test_borders,
    lambda: lambda n: torch.linspace(0, 1, n + 1, dtype=torch.float64) ** 1.5,
    [
        Mistake(_EQUAL, lambda: lambda n: torch.linspace(0, 1, n + 1, dtype=torch.float64)),
        Mistake(_SPREAD, lambda: lambda n: torch.linspace(0, 1, n + 1, dtype=torch.float64) ** 2),
        Mistake(_FIRST, lambda: lambda n: torch.cat([torch.zeros(1, dtype=torch.float64),
                                                     torch.logspace(-3, 0, n, dtype=torch.float64)])),
    ],
    "Lengths that grow like the cube root of t: the logarithm in the price is gone.",
)  # fmt: skip


def _quotients(y: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Changes of y from each time to the next at the points of the first, and the lengths of the steps."""
    k = torch.arange(len(times) - 1)
    return y[k, k + 1] - y[k, k], times.diff()


def _constants(y: Tensor, times: Tensor) -> Tensor:
    change, step = _quotients(y, times)
    return torch.linalg.vector_norm(change, dim=-1).mean(-1) / step


def _along(y, times):
    k = torch.arange(len(times))
    return y[k, k].diff(dim=0).norm(dim=-1).mean(-1) / times.diff()


_draw = torch.Generator().manual_seed(1)
_y = torch.randn(4, 4, 6, 2, generator=_draw, dtype=torch.float64)
_z = torch.randn(3, 3, 5, 3, generator=_draw, dtype=torch.float64)

constants = Function(
    _constants,
    [(_y, torch.tensor([1.0, 2.0, 3.0, 7.0], dtype=torch.float64)),
     (_z, torch.tensor([0.1, 0.3, 0.4], dtype=torch.float64))],
    [
        Mistake("This follows the points as they are noised. The constant is at fixed x: both predictions are asked at "
                "the points of the first time.", _along),
        Mistake("This is not divided by the length of the step, and so depends on the grid.",
                lambda y, times: _constants(y, times) * times.diff()),
        Mistake("This is the norm of the mean change, in which changes of opposite signs cancel. The norm comes first.",
                lambda y, times: _quotients(y, times)[0].mean(-2).norm(dim=-1) / times.diff()),
        Mistake("This is a root mean square over the points, which a few of them rule. The constant is a mean of "
                "norms.", lambda y, times: _quotients(y, times)[0].square().sum(-1).mean(-1).sqrt() / times.diff()),
        Mistake("This is a mean over coordinates. The norm of a change is Euclidean, over all coordinates together.",
                lambda y, times: _quotients(y, times)[0].abs().mean((-2, -1)) / times.diff()),
    ],
    "The estimate of the source, and it may be asked of an exact predictor as of a network.",
)  # fmt: skip

reading = Choice(
    {
        "a": "by the triangle inequality a change of f differs from that of eps by the two errors at its ends, at each "
             "x, and so in the mean.",
        "b": "a network that was trained little may change fast anywhere. The exact curve is needed to say what the "
             "target does.",
        "c": "inside a sub-interval it is zero, but at a border the network jumps by all that it did not change "
             "before.",
        "d": "the target changes with K. What f changes beyond it is an error of f, which the waves allow and the "
             "training has not removed.",
        "e": "a constant function has the least constant of all and predicts nothing.",
    },
    "ad",
    "An estimate needs the exact curve beside it.",
)  # fmt: skip


def _gain(shared: Tensor, plain: Tensor, exact: Tensor) -> int:
    if not seen(exact, plain):
        return 0
    _, low, high = (float(end) for end in ratio_interval(shared, plain))
    return (high < 1) - (low > 1)


def _alone(shared, plain, exact):
    """The interval of a difference of two independent means of logarithms, n - 1 degrees of freedom."""
    if not seen(exact, plain):
        return 0
    parts = [mean_interval(one.log()) for one in (shared, plain)]
    middle = float(parts[0][0] - parts[1][0])
    half = math.hypot(*(float(one[2] - one[0]) for one in parts))
    return (middle + half < 0) - (middle - half > 0)


def _blindly(shared, plain, exact):
    return _gain(shared, plain, 0 * plain)


def _easily(shared, plain, exact):
    return _gain(shared, plain, 0 * plain) if float(exact.mean()) < float(plain.mean()) else 0


def _by_mean(shared, plain, exact):
    ratio = float((shared.log() - plain.log()).mean())
    return (ratio < 0) - (ratio > 0) if seen(exact, plain) else 0


def _by_half(half):
    """The rule with another half of the interval: ``half`` takes that of the mean logarithm, and the logarithms."""

    def judged(shared, plain, exact):
        found = shared.log() - plain.log()
        middle, low, high = (float(end) for end in mean_interval(found))
        reach = half((high - low) / 2, found)
        return (middle + reach < 0) - (middle - reach > 0) if seen(exact, plain) else 0

    return judged


_seeds = torch.tensor([0.6, 0.9, 1.5, 2.4, 1.1, 0.7], dtype=torch.float64) / 10
_wiggle = torch.tensor([0.97, 1.04, 1.0, 0.98, 1.03, 0.99], dtype=torch.float64)
_wide = torch.tensor([0.6, 1.5, 0.8, 1.3, 0.7, 1.2], dtype=torch.float64)
_floor = torch.tensor([0.02, 0.03], dtype=torch.float64)
_four = torch.tensor([1.0, 1.2, 0.9, 1.1], dtype=torch.float64) / 10
_near = torch.tensor([0.62, 0.91, 0.86, 0.70], dtype=torch.float64)  # its interval just contains one
_clear = torch.tensor([0.73, 0.79, 0.84, 0.92], dtype=torch.float64)  # its interval just does not
_uneven = torch.tensor([0.3, 0.4, 0.5, 0.4, 0.6, 12.0], dtype=torch.float64) / 10
_alike = torch.tensor([0.80, 0.84, 0.78, 0.82, 0.79, 0.90], dtype=torch.float64)

gain = Function(
    _gain,
    [(0.8 * _seeds * _wiggle, _seeds, _floor), (1.2 * _seeds * _wiggle, _seeds, _floor),
     (0.9 * _seeds * _wide, _seeds, _floor), (0.8 * _seeds * _wiggle, _seeds, 4 * _floor),
     (0.8 * _seeds * _wiggle, _seeds, 8 * _floor), (_near * _four, _four, _floor), (_clear * _four, _four, _floor),
     (_alike * _uneven, _uneven, _floor), (0.8 * _seeds * _wiggle, _seeds, 2.2 * _floor)],
    [
        Mistake("Both groups are taken as independent. A shared and a plain network of one seed have the same weights "
                "at the start, data and noise, and the ratio of each pair is free of what they have in common.",
                _alone),
        Mistake("The exact predictor is not looked at. Where it is as far from the law as the networks are, distances "
                "tell of the sampler and of noise.", _blindly),
        Mistake("Every distance above the exact predictor's counts as seen here. The rule asks for twice that.",
                _easily),
        Mistake("The mean ratio decides here. It is nothing while its interval contains one.", _by_mean),
        Mistake("This is the spread of single seeds. The mean of n of them has an error smaller by the root of n.",
                _by_half(lambda half, logs: half * math.sqrt(len(logs)))),
        Mistake("With few seeds the normal quantile 1.96 is too small: take Student's t with n - 1 degrees of freedom.",
                _by_half(lambda half, logs: 1.96 * float(logs.std()) / math.sqrt(len(logs)))),
    ],
    "The rule can come out for sharing, against it, or for neither.",
)  # fmt: skip

EXERCISES: dict[str, Exercise] = {
    "belongs": belongs, "speed": speed, "clock": clock, "blind": blind, "excess": excess, "borders": borders,
    "constants": constants, "reading": reading, "gain": gain,
}  # fmt: skip
