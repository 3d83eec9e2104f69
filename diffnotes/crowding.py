r"""Close pairs of known laws: how much their share fluctuates, and what its excess is made of.

The pair fraction of n independent points, the share of pairs at most eps apart, is a U-statistic of order two with
the kernel h(x, y) = 1{|x - y| <= eps}. Its mean is P = P(|X - X'| <= eps), and Hoeffding's decomposition gives its
variance for every n,

    Var = 2/(n (n - 1)) [2 (n - 2) zeta_1 + zeta_2],
    zeta_1 = Var P(|x - X'| <= eps) at x = X,      zeta_2 = P (1 - P).

Pairs that share a point are dependent: this is zeta_1, and it is why the error falls as n^{-1/2}, not as 1/n.

For two laws p (data) and q (generated) let B(p, q) = P(|X - Y| <= eps), X ~ p and Y ~ q independent. B is bilinear
and symmetric, so the excess of the ratio splits without remainder,

    B(q, q)/B(p, p) - 1 = 2 [B(q, p)/B(p, p) - 1] + B(q - p, q - p)/B(p, p) = shift + unevenness.

Reference: Hoeffding 1948.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ._numbers import count, number
from .collapse import law_pair_fraction
from .distance import _integral, _knots
from .law import GaussianMixture

__all__ = ["Split", "mixture_split", "pair_fraction_variance"]


def pair_fraction_variance(law: GaussianMixture, eps: float, n: int) -> float:
    """The variance of the pair fraction of ``n`` independent points of a mixture on the line, to about 1e-12.

    Args:
        law: a mixture on the line with std > 0.
        eps: the radius, > 0.
        n: the number of points, >= 2.

    Raises:
        ValueError: for a law off the line or with std = 0, and for eps or n out of range.

    >>> 0 < pair_fraction_variance(GaussianMixture([0.0], 1.0), 0.1, 100) < 1e-4
    True
    """
    if law.dim != 1 or law.has_points:
        raise ValueError(f"law = {law!r}; allowed: a GaussianMixture on the line with std > 0")
    eps, n = number(eps, "eps"), count(n, "n", 2)
    if not (math.isfinite(eps) and eps > 0):
        raise ValueError(f"eps = {eps!r}; allowed: numbers > 0")
    law = law.to("cpu", torch.float64)
    edges = torch.tensor([-eps, 0.0, eps], dtype=torch.float64)[:, None] + law.means[:, 0]
    knots = _knots(edges, law.std.expand_as(edges))

    def moment(power: int) -> float:
        def integrand(x: Tensor) -> Tensor:
            return law.log_prob(x[..., None]).exp() * (law.cdf(x + eps) - law.cdf(x - eps)) ** power

        return _integral(integrand, knots)

    close, square = moment(1), moment(2)
    return 2 / (n * (n - 1)) * (2 * (n - 2) * (square - close**2) + close * (1 - close))


class Split(NamedTuple):
    """The ratio of pair fractions and the two parts of its excess: ratio = 1 + shift + unevenness."""

    ratio: float
    shift: float
    unevenness: float


def mixture_split(generated: GaussianMixture, law: GaussianMixture, eps: float) -> Split:
    """The split for two mixtures on the line, in closed form.

    The cross term follows from the pair fraction of the half-and-half mixture m of both, by polarisation:
    B(q, p) = 2 B(m, m) - (B(p, p) + B(q, q))/2.

    Raises:
        ValueError: as :func:`diffnotes.collapse.law_pair_fraction`.

    >>> law = GaussianMixture([0.0], 1.0)
    >>> [round(part, 12) + 0.0 for part in mixture_split(law, law, 0.1)]
    [1.0, 0.0, 0.0]
    """
    laws = [one.to("cpu", torch.float64) for one in (generated, law)]
    both = GaussianMixture(*(torch.cat([getattr(one, name) for one in laws]) for name in ("means", "std", "weights")))
    own, true, mixed = (law_pair_fraction(one, eps) for one in (*laws, both))
    cross = 2 * mixed - (own + true) / 2
    return Split(own / true, 2 * (cross / true - 1), (own - 2 * cross + true) / true)
