"""Exercises to "Recursive training"."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from scipy.integrate import quad
from torch import Tensor

from ...chapters.recursion import Cells, coherent_sum, discounted_sum, limit_ratio, orthogonal_directions, recurse
from ...core.law import GaussianMixture
from ...measure.divergence import chi2, kl
from ..checking import Choice, Construction, Exercise, Function, Mistake, Wrong, tensor_of

_double = torch.float64

exact = Choice(
    {
        "a": "p_N - p is the sum of the errors, damped by powers of 1 - alpha, and Pythagoras' theorem gives its "
             "squared norm.",
        "b": "what has to vanish is the discounted sum of the cross terms. Cross terms of opposite signs may cancel "
             "each other.",
        "c": "chi^2(. || p) is the squared norm of the difference from p in L^2(1/p). Orthogonality has to be meant in "
             "that space, with the weight 1/p.",
        "d": "with alpha = 1 a generation sees fresh data alone, q_i = p, so that nothing of an older error is left.",
        "e": "it holds for chi^2, which is a squared norm. KL is none, and for 0 < alpha < 1 the two sides differ "
             "unless p_i = p.",
    },
    "ad",
    "Where the discounted sum of the cross terms vanishes, that of the J_i is exact.",
)  # fmt: skip


@lru_cache
def _line() -> tuple[Tensor, Tensor]:
    """Masses of a law on cells, and two directions p f that are orthonormal in L^2(1/p)."""
    cells = Cells(cells=81, steps=2, first=0.2)
    p = cells.masses(GaussianMixture(torch.tensor([-1.0, 1.0], dtype=_double), 1.0))
    return p, p * orthogonal_directions(cells, p, 2)


def _turn(D: float, J: float, cosine: float, alpha: float) -> float:
    """By the package: two generations that leave p by these lengths and at this angle."""
    p, (one, other) = _line()
    away = [math.sqrt(D) * one, math.sqrt(J) * (cosine * one + math.sqrt(1 - cosine**2) * other)]
    return float(recurse(p, torch.tensor([alpha], dtype=_double), 2, lambda i, q: q + away[i]).divergence[-1, 0])


turn = Function(
    _turn,
    [(0.01, 0.004, 0.5, 0.3), (0.02, 0.01, -0.8, 0.1), (0.005, 0.02, 0.0, 0.9), (0.01, 0.01, 1.0, 0.0)],
    [
        Mistake("The cross term is missing. This is right for a new error that is orthogonal to the old drift.",
                lambda D, J, c, a: J + (1 - a) ** 2 * D),
        Mistake("The cross term is taken with the old model. The new error is added to the mixture q_i, and q_i - p is "
                "(1 - alpha)(p_i - p).",
                lambda D, J, c, a: J + (1 - a) ** 2 * D + 2 * c * math.sqrt(J * D)),
        Mistake("The old drift is damped once here. The difference from p is damped by 1 - alpha, and the drift is a "
                "square of it.", lambda D, J, c, a: J + (1 - a) * D + 2 * (1 - a) * c * math.sqrt(J * D)),
        Mistake("The square of a sum has its mixed term twice.",
                lambda D, J, c, a: J + (1 - a) ** 2 * D + (1 - a) * c * math.sqrt(J * D)),
        Mistake("The lengths are added up. They do so for the cosine one alone; this is the largest drift possible.",
                lambda D, J, c, a: (math.sqrt(J) + (1 - a) * math.sqrt(D)) ** 2),
    ],
    "The law of cosines in L^2(1/p).",
)  # fmt: skip


def _order(alpha: float, rho: float) -> float:
    return 1 - rho + rho * float(limit_ratio(alpha))


order = Function(
    _order,
    [(0.1, 0.3), (0.5, 0.5), (0.05, 0.02), (0.9, 0.8), (0.2, 1.0)],
    [
        Mistake("This is the drift in units of J. Its ratio to the discounted sum is asked for.",
                lambda a, r: (1 - r) / (1 - (1 - a) ** 2) + r / a**2),
        Mistake("The common part and the new ones are added as if they had one direction. They are orthogonal: their "
                "squares are added.", lambda a, r: (math.sqrt(1 - r) + math.sqrt(r * (2 / a - 1))) ** 2),
        Mistake("The roots of the shares are used. J is a squared length, and of this the common part has the share "
                "rho.", lambda a, r: 1 - math.sqrt(r) + math.sqrt(r) * (2 / a - 1)),
        Mistake("The parts are exchanged: rho is the share of what comes back in each generation, and that part piles "
                "up.", lambda a, r: r + (1 - r) * (2 / a - 1)),
        Mistake("This is the coherent sum, the case rho = 1.", lambda a, r: 2 / a - 1),
    ],
    "A small share of bias rules the drift where alpha is small against it.",
)  # fmt: skip


def _bias(p: Tensor, laws: Tensor, alpha: float) -> float:
    """By the package: a course whose models give these laws."""
    course = recurse(p, torch.tensor([alpha], dtype=_double), len(laws), lambda i, q: laws[i][None])
    D, low, high = (float(found[-1, 0]) for found in (course.divergence, course.discounted, course.coherent))
    return (D - low) / (high - low)


def _errors(p: Tensor, laws: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """q_i and p_{i+1} - q_i."""
    q = alpha * p + (1 - alpha) * torch.cat([p[None], laws[:-1]])
    return q, laws - q


def _bias_of(steps: Callable, sums: Callable | None = None):
    """The share by other J_i, or by other sums (discounted, coherent) of these."""

    def answer(p, laws, alpha):
        J, D = steps(p, laws, alpha), float(((laws[-1] - p) ** 2 / p).sum())
        low, high = (sums or _sums)(J, alpha)
        return (D - low) / (high - low)

    return answer


def _sums(J: Tensor, alpha: float) -> tuple[float, float]:
    return float(discounted_sum(J, alpha)[-1]), float(coherent_sum(J, alpha)[-1])


def _steps(p: Tensor, laws: Tensor, alpha: float) -> Tensor:
    return (_errors(p, laws, alpha)[1] ** 2 / p).sum(-1)


def _own(p: Tensor, laws: Tensor, alpha: float) -> Tensor:
    q, error = _errors(p, laws, alpha)
    return (error**2 / q).sum(-1)


def _once(J: Tensor, alpha: float) -> tuple[float, float]:
    """The discounted sum with the damping 1 - alpha."""
    return float((J * (1 - alpha) ** torch.arange(len(J)).flip(0)).sum()), float(coherent_sum(J, alpha)[-1])


def _unsquared(J: Tensor, alpha: float) -> tuple[float, float]:
    low, high = _sums(J, alpha)
    return low, math.sqrt(high)


def _limiting(J: Tensor, alpha: float) -> tuple[float, float]:
    low = _sums(J, alpha)[0]
    return low, low * (2 / alpha - 1)


_draw = torch.Generator().manual_seed(2)
_masses = torch.tensor([0.1, 0.25, 0.3, 0.2, 0.15], dtype=_double)


def _laws(generations: int, size: float) -> Tensor:
    common, new = torch.randn(5, generator=_draw, dtype=_double), torch.randn(
        generations, 5, generator=_draw, dtype=_double)
    grown = torch.arange(1, generations + 1)[:, None] ** 0.7 * common
    return torch.softmax(_masses.log() + size * (grown + new), -1)


bias = Function(
    _bias,
    [(_masses, _laws(3, 0.1), 0.5), (_masses, _laws(4, 0.1), 0.1), (_masses, _laws(6, 0.2), 0.3)],
    [
        Mistake("The errors are measured against q_i, by I_i. The identity is one in L^2(1/p), with J_i in it.",
                _bias_of(_own)),
        Mistake("Every model is compared with the data. Generation i has seen the mixture q_i, and errs against that.",
                _bias_of(lambda p, laws, alpha: ((laws - p) ** 2 / p).sum(-1))),
        Mistake("Every model is compared with the last one. Generation i has seen fresh data as well, and errs against "
                "the mixture q_i.",
                _bias_of(lambda p, laws, alpha: _steps(p, laws, 0.0))),
        Mistake("The discounted sum has the damping (1 - alpha)^2 for each generation: it is one of squared lengths.",
                _bias_of(_steps, _once)),
        Mistake("The coherent sum lacks its square: lengths are added up, and the drift is the square of their sum.",
                _bias_of(_steps, _unsquared)),
        Mistake("The ratio 2/alpha - 1 is that of the limits. After few generations the two sums are nearer to each "
                "other.", _bias_of(_steps, _limiting)),
    ],
    "It places a course between errors that are all new and one that always comes back.",
)  # fmt: skip


def _shift(T: float, size: Callable[[float], float]) -> float:
    """How far an error ``size`` of the score in time moves the end: a push at t is damped by e^{-t/2} on the way."""
    return quad(lambda t: size(t) * math.exp(-t / 2), 0, T, epsabs=1e-13)[0]


def _ends(m: float, T: float) -> Tensor:
    def error(t: float) -> float:
        return m * math.exp(-t / 2)

    made = GaussianMixture(torch.tensor([_shift(T, error)], dtype=_double), 1.0)
    path = quad(lambda t: error(t) ** 2, 0, T, epsabs=1e-13)[0] / 2
    return torch.tensor([float(kl(made, GaussianMixture(torch.zeros(1, dtype=_double), 1.0))), path], dtype=_double)


def _two(end: Callable, path: Callable):
    return lambda m, T: torch.tensor([m**2 * end(T), m**2 * path(T)], dtype=_double)


def _gone(T: float) -> float:
    return -math.expm1(-T)


ends = Function(
    _ends,
    [(0.5, 1.0), (1.0, 4.0), (2.0, 0.5), (0.1, 8.0)],
    [
        Mistake("The sampler starts from N(0, 1), not from the shifted law at T. It ends short of the mean m.",
                _two(lambda T: 0.5, lambda T: _gone(T) / 2)),
        Mistake("The two scores differ by m at all times here. The shifted law is noised as well: at time t its mean "
                "is m exp(-t/2).", _two(lambda T: 2 * math.expm1(-T / 2) ** 2, lambda T: T / 2)),
        Mistake("The second number is the energy. The divergence of the paths is half of it.",
                _two(lambda T: _gone(T) ** 2 / 2, _gone)),
        Mistake("The bound is taken for the divergence of the ends. Forgetting the path loses something, here a "
                "factor.",
                _two(lambda T: _gone(T) / 2, lambda T: _gone(T) / 2)),
        Mistake("The first number is the square of the mean. The divergence of Gaussians of unit variance is half of "
                "it.", _two(lambda T: _gone(T) ** 2, lambda T: _gone(T) / 2)),
    ],
    "Their ratio is 1 - exp(-T): nearly nothing is lost but by the wrong start.",
)  # fmt: skip


def _share(weight: Callable[[float, float], float], power: int = 2, by: Callable[[float], float] = lambda T: 1.0):
    """(int c w)^power/(int c^2 by(T)) for c = e^{-at}, with the weight w(t, T)."""

    def answer(a: float, T: float) -> float:
        seen, energy = (quad(f, 0, T, epsabs=1e-13)[0] for f in (
            lambda t: math.exp(-a * t) * weight(t, T), lambda t: math.exp(-2 * a * t)))
        return seen**power / energy / by(T)

    return answer


def _reaches(t: float, T: float) -> float:
    return math.exp(-t / 2)


observed = Function(
    _share(_reaches),
    [(0.5, 2.0), (2.0, 1.0), (-0.3, 3.0), (1.5, 6.0)],
    [
        Mistake("A noise of time t reaches the end with the factor exp(-t/2). Its square is what the variance gets.",
                _share(lambda t, T: math.exp(-t))),
        Mistake("Time is turned round: t is the time that is left for the reverse path, so that errors at small t are "
                "seen best.", _share(lambda t, T: math.exp(-(T - t) / 2))),
        Mistake("The conditional mean is linear in the covariance, and its variance has the square of it.",
                _share(_reaches, power=1)),
        Mistake("This is divided by the variance that the noise since T gives to the end. The end has unit variance, "
                "with the part that comes from the start.", _share(_reaches, by=_gone)),
        Mistake("Nothing is forgotten here: this is the share that would be seen of the noise itself, over T.",
                _share(lambda t, T: 1.0, by=lambda T: T)),
    ],
    "For a = 1/2 it is 1 - exp(-T), the most that an error in time alone can have.",
)  # fmt: skip


def _stopped(v: Tensor, v0: float, alpha: float, sigma: float) -> Tensor:
    """By the package: the variance of the mixture at the level where the sampler stops."""
    a, found, zeros = math.sqrt(1 - sigma**2), [], torch.zeros(2, dtype=_double)
    for before in [v0, *v[:-1].tolist()]:
        q = GaussianMixture(zeros, [math.sqrt(v0), math.sqrt(before)], [alpha, 1 - alpha])
        found.append(float(q.noised(a, sigma).covariance))
    return v - torch.tensor(found, dtype=_double)


def _before(v: Tensor, v0: float) -> Tensor:
    return torch.cat([torch.full((1,), v0, dtype=v.dtype), v[:-1]])


def _against_perfect(v, v0, alpha, sigma):
    one, found = v0, []
    for _ in v:
        one = (1 - sigma**2) * (alpha * v0 + (1 - alpha) * one) + sigma**2
        found.append(one)
    return v - torch.tensor(found, dtype=v.dtype)


_v = torch.tensor([0.53, 0.61, 0.63, 0.72], dtype=_double)
_w = torch.tensor([3.9, 3.7, 3.8], dtype=_double)

stopped = Function(
    _stopped,
    [(_v, 0.5, 0.1, 0.2), (_w, 4.0, 0.5, 0.4), (_v, 0.5, 0.9, 0.1)],
    [
        Mistake("This compares with q_i itself, so that stopping early is counted as an error of the model.",
                lambda v, v0, a, s: v - (a * v0 + (1 - a) * _before(v, v0))),
        Mistake("This is the drift from the data. A model with a perfect score drifts as well, by what it has seen and "
                "by stopping.", lambda v, v0, a, s: v - v0),
        Mistake("This compares with a lineage of perfect models, which holds the errors of all earlier generations "
                "against this one. What generation i has seen is measured.", _against_perfect),
        Mistake("The signal factor is forgotten. At the level sigma a sample is sqrt(1 - sigma^2) x + sigma z, which "
                "shrinks x.", lambda v, v0, a, s: v - (a * v0 + (1 - a) * _before(v, v0) + s**2)),
        Mistake("Only the old samples are noised here. The model learns the mixture, and stops at the noised mixture, "
                "fresh data and all.",
                lambda v, v0, a, s: v - (a * v0 + (1 - a) * ((1 - s**2) * _before(v, v0) + s**2))),
        Mistake("The sign is turned: a law that is too wide should have a positive number.",
                lambda v, v0, a, s: -_stopped(v, v0, a, s)),
    ],
    "What is left is the model's own; the rest a perfect score would do as well.",
)  # fmt: skip

chi = Choice(
    {
        "a": "the integrand p^2/q has the exponent -x^2/v + x^2/2, which does not fall from v = 2 on.",
        "b": "here the wide law is in the denominator: the exponent is -x^2 + x^2/(2v), which falls for all v > 1/2.",
        "c": "the square of the density contains w^2 times that of N(0, 2), whose integral against 1/N(0, 1) is "
             "infinite. No w > 0 makes it finite.",
        "d": "Jensen's inequality: the mean of the logarithm of p/q under p is at most the logarithm of its mean, "
             "which is 1 + chi^2.",
        "e": "a little mass far out changes KL by little and chi^2 by as much as one likes: KL takes a logarithm of "
             "p/q where chi^2 takes p/q itself.",
    },
    "acd",
    "A bound of chi^2 bounds KL, and no bound of KL bounds chi^2.",
)  # fmt: skip

_INFINITE = "chi^2 is infinite here: from v = 2 on it is so for every weight"
_SEEN = "KL is too large: this difference is seen in the samples. Take a smaller weight"
_LITTLE = "chi^2 is too small. The weight enters with its square, so a small weight needs a v close below 2"
_NARROW = "A narrow component adds no tail: its density over that of the data is bounded. Take v above 1"


def _test_tail(answer: Any) -> None:
    found = tensor_of(answer)
    if found.shape != (2,):
        raise Wrong(f"the answer has the shape {tuple(found.shape)}; it should be two numbers, w and v")
    w, v = found.tolist()
    if not (0 < w <= 1 and 0 < v < 1e6):
        raise Wrong(f"w = {w:.4g} and v = {v:.4g}; w should be above 0 and at most 1, v above 1")
    data = GaussianMixture(torch.zeros(1, dtype=_double), 1.0)
    model = GaussianMixture(torch.zeros(2, dtype=_double), [1.0, math.sqrt(v)], [1 - w, w])
    far, hidden = float(kl(model, data)), float(chi2(model, data))
    told = f" KL is {far:.3g}, chi^2 {hidden:.3g}."
    if not math.isfinite(hidden):
        raise Wrong(f"{_INFINITE}.")
    if v <= 1:
        raise Wrong(f"{_NARROW}.{told}")
    if far >= 0.01:
        raise Wrong(f"{_SEEN}.{told}")
    if hidden <= 10:
        raise Wrong(f"{_LITTLE}.{told}")


tail = Construction(
    _test_tail,
    lambda: torch.tensor([0.1, 2 - 1e-7], dtype=_double),
    [
        Mistake(_INFINITE, lambda: [0.001, 3.0]),
        Mistake(_SEEN, lambda: [1.0, 1.999]),
        Mistake(_LITTLE, lambda: [0.1, 1.9]),
        Mistake(_NARROW, lambda: [0.05, 0.01]),
    ],
    "What makes chi^2 large here lies so far out that samples do not come there.",
)  # fmt: skip

EXERCISES: dict[str, Exercise] = {
    "exact": exact, "turn": turn, "order": order, "bias": bias, "ends": ends, "observed": observed,
    "stopped": stopped, "chi": chi, "tail": tail,
}  # fmt: skip
