r"""How much the share of close pairs fluctuates.

The pair fraction of n independent points, the share of pairs at most eps apart, is a U-statistic of order two with
the kernel h(x, y) = 1{|x - y| <= eps}. Its mean is P = P(|X - X'| <= eps), and Hoeffding's decomposition gives its
variance for every n,

    Var = 2/(n (n - 1)) [2 (n - 2) zeta_1 + zeta_2],
    zeta_1 = Var P(|x - X'| <= eps) at x = X,      zeta_2 = P (1 - P).

Pairs that share a point are dependent: this is zeta_1, and it is why the error falls as n^{-1/2}, not as 1/n.

Reference: Hoeffding 1948.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.law import GaussianMixture
from ..core.numbers import count, number
from ..measure.divergence import integral, knots_around

__all__ = ["pair_fraction_variance"]


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
    knots = knots_around(edges, law.std.expand_as(edges))

    def moment(power: int) -> float:
        def integrand(x: Tensor) -> Tensor:
            return law.log_prob(x[..., None]).exp() * (law.cdf(x + eps) - law.cdf(x - eps)) ** power

        return integral(integrand, knots)

    close, square = moment(1), moment(2)
    return 2 / (n * (n - 1)) * (2 * (n - 2) * (square - close**2) + close * (1 - close))



