"""Exercises to "Measuring collapse"."""

from __future__ import annotations

import math

import torch
from scipy import stats
from torch import Tensor

from ...core.law import GaussianMixture, two_modes
from ...measure.crowding import ansd, mixture_split, pair_fraction
from ...measure.ranking import rank_correlation
from ..checking import Choice, Construction, Exercise, Function, Mistake, Wrong, tensor_of

_draw = torch.Generator().manual_seed(0)

estimates = Choice(
    {
        "a": "its expectation is (N - 1) C(eps), since each sample has N - 1 others. Ten times as many samples have "
             "about ten times as many neighbours.",
        "b": "each pair is close with the probability C(eps), and an expectation of a mean needs no independence.",
        "c": "a quotient of two unbiased estimates is biased in general: 1/C-hat is larger on average than 1/C.",
        "d": "pairs that share a point are not independent. Unless all places have as many neighbours on average, the "
             "error falls like N^(-1/2).",
        "e": "every place has as many neighbours on average, so h_1 is constant, zeta_1 = 0, and the variance is that "
             "of N (N - 1)/2 pairs without correlation.",
    },
    "abe",
    "Count per pair, and let zeta_1 say how much the pairs know of each other.",
)  # fmt: skip


def _uniform(eps: float) -> list[float]:
    """C and zeta_1 from the moments of h_1(x) = min(x + eps, 1) - max(x - eps, 0), on three pieces."""
    first = 2 * eps * (1 - 2 * eps) + 2 * (2 * eps**2 - eps**2 / 2)
    second = 4 * eps**2 * (1 - 2 * eps) + 2 * (8 * eps**3 - eps**3) / 3
    return [first, second - first**2]


uniform = Function(
    _uniform,
    [(0.1,), (0.25,), (0.4,), (0.5,)],
    [
        Mistake("The ends are left out: within eps of 0 or 1 a point has fewer neighbours. Without them h_1 would be "
                "constant, and zeta_1 zero.", lambda eps: [2 * eps, 0.0]),
        Mistake("C is right, the second number is E h_1^2. zeta_1 is the variance of h_1: take C^2 off.",
                lambda eps: [_uniform(eps)[0], _uniform(eps)[1] + _uniform(eps)[0] ** 2]),
        Mistake("C is right, the second number is C (1 - C), the variance of the indicator of one pair. zeta_1 is the "
                "variance of the mean over one of the two points.",
                lambda eps: [_uniform(eps)[0], _uniform(eps)[0] * (1 - _uniform(eps)[0])]),
        Mistake("Only one of the two ends is counted.", lambda eps: [
            2 * eps - eps**2 / 2, 4 * eps**2 - 5 * eps**3 / 3 - (2 * eps - eps**2 / 2) ** 2]),
        Mistake("C is right, the second number is a standard deviation.",
                lambda eps: [_uniform(eps)[0], math.sqrt(_uniform(eps)[1])]),
    ],
    "Only the ends make the number of neighbours vary, so zeta_1 is of the order eps^3.",
)  # fmt: skip

_whole = torch.tensor([0.0, 2.0, 2.0, 3.0, 5.0, 7.0, 7.0], dtype=torch.float64)
_many = torch.randn(500, generator=_draw, dtype=torch.float64)

share = Function(
    pair_fraction,
    [(_whole, 1.0), (_whole, 2.0), (_whole, 0.0), (_many, 0.05), (_many.flip(0), 0.7)],
    [
        Mistake("A sample is counted as its own neighbour. Take the N pairs (i, i) off, and divide by N (N - 1).",
                lambda x, eps: (len(x) + ansd(x, eps) * len(x)) / len(x) ** 2),
        Mistake("Pairs at the distance eps are close as well: the definition has <= eps.",
                lambda x, eps: pair_fraction(x, eps - 1e-9) if eps else 0.0),
        Mistake("This is ANSD. It grows with the number of samples: divide by N - 1.", ansd),
        Mistake("Each pair is counted once, and divided by N (N - 1). There are N (N - 1)/2 pairs.",
                lambda x, eps: pair_fraction(x, eps) / 2),
    ],
    "Sorting finds all pairs without looking at each.",
)  # fmt: skip

never = Choice(
    {
        "a": "int p^2 = 1/|S| is the least that a density on S can have, by the Cauchy-Schwarz inequality.",
        "b": "samples that leave the cells can spread over a larger set than S, where int p-hat^2 may be below 1/|S|.",
        "c": "a wider normal law has the smaller int p-hat^2, so its ratio is below one.",
        "d": "equality in the Cauchy-Schwarz inequality needs a density that is constant on S.",
        "e": "the corollary is about small radii. Half of the mass at either end of an interval of length one has the "
             "pair fraction 1/2, and uniform samples have 3/4 for eps = 1/2.",
    },
    "ad",
    "Uniform data on their own support are the only ones of which no error lowers the limit.",
)  # fmt: skip


def _modes(weights: Tensor, widths: Tensor, s: float, d: int) -> float:
    return float(len(weights) * (weights.square() * (s / widths) ** d).sum())


_weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
_widths = torch.tensor([0.1, 0.3, 0.25], dtype=torch.float64)

modes = Function(
    _modes,
    [(_weights, _widths, 0.2, 1), (_weights, _widths.flip(0), 0.2, 3), (torch.tensor([1.0, 0.0]), _widths[:2], 0.1, 2)],
    [
        Mistake("Weights enter with their squares: both samples of a close pair have to be in the same mode.",
                lambda w, r, s, d: float((w * (s / r) ** d).sum())),
        Mistake("The widths are turned over. A narrow mode has the higher density, and more pairs.",
                lambda w, r, s, d: float(len(w) * (w.square() * (r / s) ** d).sum())),
        Mistake("In d dimensions the volume of a mode is s^d.", lambda w, r, s, d: _modes(w, r, s, 1)),
        Mistake("This is int p-hat^2 in units of one mode of the data. The data have K of them: int p^2 is 1/K of it.",
                lambda w, r, s, d: _modes(w, r, s, d) / len(w)),
    ],
    "The ratio sees which share of the mass is where, and how narrow it is there, and not where that is.",
)  # fmt: skip


def _split(edges: Tensor, p: Tensor, q: Tensor) -> Tensor:
    own, true, cross = ((a * b / edges.diff()).sum() for a, b in ((q, q), (p, p), (q, p)))
    shift = 2 * (cross / true - 1)
    return torch.stack([shift, own / true - 1 - shift])


def _only(part: int, change):
    """The right answer, with a change of one part."""

    def answer(edges, p, q):
        found = _split(edges, p, q)
        found[part] = change(found[part], edges, p, q)
        return found

    return answer


_edges = torch.tensor([0.0, 0.5, 0.7, 1.5, 2.0, 3.5], dtype=torch.float64)
_p = torch.tensor([0.1, 0.3, 0.2, 0.25, 0.15], dtype=torch.float64)
_q = torch.tensor([0.2, 0.1, 0.25, 0.3, 0.15], dtype=torch.float64)

split = Function(
    _split,
    [(_edges, _p, _q), (_edges, _q, _p), (_edges, _p, _p.flip(0))],
    [
        Mistake("This adds up masses. Pairs depend on densities: the integral of p^2 over a cell is its mass squared, "
                "over its length.", lambda e, p, q: _split(torch.arange(len(e), dtype=e.dtype), p, q)),
        Mistake("The shift has the factor 2: B(p, q - p) and B(q - p, p) both stand in the excess.",
                _only(0, lambda part, e, p, q: part / 2)),
        Mistake("The unevenness is relative to the pairs of the data, not of the samples.",
                _only(1, lambda part, e, p, q: part * (p**2 / e.diff()).sum() / (q**2 / e.diff()).sum())),
        Mistake("The second number is all of the excess, R - 1. The unevenness is what the shift leaves of it.",
                _only(1, lambda part, e, p, q: part + _split(e, p, q)[0])),
        Mistake("The shift here is 2 [B(q, p)/B(q, q) - 1]. It is relative to the pairs of the data.",
                _only(0, lambda part, e, p, q: 2 * ((q * p / e.diff()).sum() / (q * q / e.diff()).sum() - 1))),
    ],
    "The two parts add up to R - 1, and the second one is never negative here.",
)  # fmt: skip

_law = two_modes(1.0, 0.2).to(dtype=torch.float64)


def _hides(answer) -> None:
    found = tensor_of(answer)
    if found.ndim != 2 or len(found) != 3 or not 1 <= found.shape[1] <= 50:
        raise Wrong(f"The answer has the shape {tuple(found.shape)}; it should be (3, k): means, deviations, weights, "
                    "with at most 50 modes")
    means, widths, weights = found
    if not bool((widths > 0).all() and (weights >= 0).all()) or abs(float(weights.sum()) - 1) > 1e-3:
        raise Wrong("Deviations have to be above zero, and weights at least zero with the sum one.")
    law = GaussianMixture(means[:, None], widths, weights / weights.sum())
    mean, variance = float(law.mean), float(law.covariance)
    if abs(mean) > 0.01:
        raise Wrong("The mean is not that of the data. A translated law has the ratio one at all radii, and the mean "
                    f"tells it: it is {mean:.3f}.")
    if abs(variance / 1.04 - 1) > 0.01:
        raise Wrong("The variance is not that of the data, which is 1 + 0.2^2. It adds the variance within modes and "
                    f"that of their means, and is {variance:.3f}.")
    ratio = float(mixture_split(law, _law, 0.05).ratio)
    if abs(ratio - 1) > 0.02:
        raise Wrong("Mean and variance are right, and the ratio tells the two laws apart. For modes far apart it is "
                    f"given by exercise 5. Here it is {ratio:.3f}.")
    x = torch.linspace(-8, 8, 16_001, dtype=torch.float64)
    density = [one.log_prob(x[:, None]).exp() for one in (law, _law)]
    apart = float(torch.trapezoid((density[0] - density[1]).abs(), x)) / 2
    if apart < 0.3:
        raise Wrong("Mean, variance and ratio agree, and so do the laws by and large. The total variation is to be at "
                    f"least 0.3, and is {apart:.3f}.")


def _three(width: float) -> Tensor:
    at = math.sqrt((1.04 - width**2) * 3 / 2)
    return torch.tensor([[-at, 0.0, at], [width] * 3, [1 / 3] * 3], dtype=torch.float64)


hides = Construction(
    _hides,
    lambda: _three(0.4 / 3),
    [
        Mistake("Mean, variance and ratio agree, and so do the laws by and large",
                torch.tensor([[-1.0, 1.0], [0.2, 0.2], [0.5, 0.5]])),
        Mistake("The mean is not that of the data. A translated law", torch.tensor([[0, 2.0], [0.2, 0.2], [0.5, 0.5]])),
        Mistake("The variance is not that of the data", torch.tensor([[-2.0, 2.0], [0.2, 0.2], [0.5, 0.5]])),
        Mistake("Mean and variance are right, and the ratio tells", lambda: _three(0.2)),
        Mistake("Deviations have to be above zero, and weights", torch.tensor([[-1.0, 1.0], [0.2, 0.2], [1, 1]])),
    ],
    "Mean, variance and ratio agree, and another law it is: three modes in place of two.",
)  # fmt: skip


def _copies(q: float, n: int, close: float) -> float:
    both = q**2
    return ((1 - both) * close + both * (1 / n + (1 - 1 / n) * close)) / close


copies = Function(
    _copies,
    [(1.0, 20, 0.05), (0.3, 100, 0.02), (0.7, 7, 0.4), (0.05, 1000, 1e-4)],
    [
        Mistake("Both samples of a pair have to be copies, which has the probability q^2.",
                lambda q, n, c: _copies(math.sqrt(q), n, c)),
        Mistake("The pairs of copies of one point are close for sure and are added here to those that would be close "
                "anyway: they take the place of random pairs, of which the share C was close already.",
                lambda q, n, c: 1 + q**2 / (n * c)),
        Mistake("Two copies are of the same training point with the probability 1/N only.",
                lambda q, n, c: 1 + q**2 * (1 / c - 1)),
        Mistake("This is for samples that are all copies.", lambda q, n, c: _copies(1.0, n, c)),
    ],
    "Copies raise the ratio at small radii most, where C is small.",
)  # fmt: skip

defects = Choice(
    {
        "a": "all mass lies in one mode, so both samples of a pair always do: int p-hat^2 is twice int p^2.",
        "b": "distances between samples stay what they are. Shift and unevenness cancel.",
        "c": "a blurred density is lower where the data are dense. At small radii the ratio falls below one.",
        "d": "copies add pairs at the distance zero, a share of all pairs that does not depend on the radius. Over C "
             "it is large where C is small.",
        "e": "coarse steps of an SDE leave noise behind, which blurs copies of training points. The ratio is one again "
             "although the network knows nothing but its training set.",
    },
    "ab",
    "A ratio is read with its radius, its two parts, and a control.",
)  # fmt: skip

_a, _b = (torch.randn(9, generator=_draw, dtype=torch.float64) for _ in range(2))
_tied = torch.tensor([1.0, 2.0, 2.0, 3.0, 8.0, 8.0, 8.0, 9.0, 0.5], dtype=torch.float64)


def _of_ranks(ranks):
    def answer(a, b):
        return torch.corrcoef(torch.stack([ranks(a).double(), ranks(b).double()]))[0, 1]

    return answer


ranks = Function(
    rank_correlation,
    [(_a, _b), (_a.exp(), _a + _b / 2), (_tied, _b), (_tied, _tied.square() - _a), (-_a, _a**3)],
    [
        Mistake("This is the correlation of the values. One setting that is far off decides it; of ranks none can.",
                _of_ranks(lambda x: x)),
        Mistake("argsort gives the places of the smallest, the second smallest and so on. The rank of each value is "
                "its inverse, argsort of argsort.", _of_ranks(torch.argsort)),
        Mistake("Equal values have different ranks here, by the order in which they stand. They share the mean of "
                "their ranks.", _of_ranks(lambda x: x.argsort(stable=True).argsort())),
        Mistake("This is Kendall's coefficient, which counts pairs in the same order. The correlation of "
                "ranks is another number.", lambda a, b: float(stats.kendalltau(a.numpy(), b.numpy()).statistic)),
    ],
    "It asks for the order alone, and is the same for a measure and for any increasing function of it.",
)  # fmt: skip

agree = Choice(
    {
        "a": "an increasing function changes no rank.",
        "b": "a coefficient near one leaves room for neighbours that are exchanged. Of two settings of nearly equal "
             "quality it says little.",
        "c": "the claim is about settings, of which these are some. With others the order could be another, and only "
             "resampled settings show how much.",
        "d": "ratios of 1/2 and of 2 are both wrong. By the ratio itself the first would be the best setting and the "
             "second the worst.",
        "e": "the order of the settings that are left is what it was, but the coefficient is about all pairs, and the "
             "pairs with the settings that are gone may have made it.",
    },
    "acde",
    "What two measures agree on depends on which settings they are asked about.",
)  # fmt: skip

EXERCISES: dict[str, Exercise] = {
    "estimates": estimates, "uniform": uniform, "share": share, "never": never, "modes": modes, "split": split,
    "hides": hides, "copies": copies, "defects": defects, "ranks": ranks, "agree": agree,
}  # fmt: skip
