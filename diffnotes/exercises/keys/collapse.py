"""Exercises to "Collapse errors of the deterministic sampler"."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...chapters.collapse import slope_error_variance
from ...core.law import two_modes
from ..checking import Choice, Exercise, Function, Mistake

maps = Choice(
    {
        "a": "the density is phi(z) over the slope of the map, so half the slope is twice the density. Both maps start "
             "from the same z, and phi(z) cancels.",
        "b": "an increasing map carries quantiles to quantiles, so the law fixes it: x(z) is the Phi(z)-quantile. Two "
             "increasing maps from one start to one law are equal.",
        "c": "paths of one ordinary differential equation cannot meet where its velocity is Lipschitz, however wrong "
             "the score is. What a wrong score changes is the distances between paths.",
        "d": "with a Lipschitz score the map has a finite slope everywhere and reaches the whole line, so its density "
             "phi/x' is above zero in the gap as well. Some mass must stay there.",
    },
    "ab",
    "The law and the map say the same, and a map with a finite slope leaves no place without mass.",
)  # fmt: skip


def _steepness(mu: float, s: float) -> float:
    law = two_modes(mu, s).to(dtype=torch.float64)
    return math.exp(-float(law.log_prob(torch.zeros(1, 1, dtype=torch.float64)))) / math.sqrt(2 * math.pi)


steepness = Function(
    _steepness,
    [(1.0, 0.5), (0.5, 0.4), (1.5, 0.6), (0.3, 0.9)],
    [
        Mistake("Turned over: this is p(0)/phi(0). Where the density is low, the map is steep.",
                lambda mu, s: 1 / _steepness(mu, s)),
        Mistake("Only one of the two modes is counted in p(0). Each has the weight 1/2, and at 0 both have the same "
                "density, so together they give that of one normal law.", lambda mu, s: 2 * _steepness(mu, s)),
        Mistake("This is 1/p(0), the slope of a map that starts from the uniform law. The start is normal: phi(0) "
                "stands in the numerator.", lambda mu, s: math.sqrt(2 * math.pi) * _steepness(mu, s)),
        Mistake("Here s is taken for a variance. It is the standard deviation of a mode.",
                lambda mu, s: _steepness(mu, math.sqrt(s))),
    ],
    "For modes that are far apart the two sides of the gap are carried away from each other by orders of magnitude.",
)  # fmt: skip


def _masses(levels: Tensor, below: Tensor) -> tuple[Tensor, Tensor]:
    """What each interval between the points, and beyond the last ones, holds of the generated law and of the true."""
    edge = levels.new_zeros(1)
    own, true = (torch.cat([edge, row, edge + 1]).diff() for row in (levels, below))
    return own, true


def _total_variation(levels: Tensor, below: Tensor) -> float:
    own, true = _masses(levels, below)
    return 1 - float(torch.minimum(own, true).sum())


_even = (torch.arange(9, dtype=torch.float64) + 1) / 10
_uneven = torch.tensor([0.02, 0.1, 0.4, 0.5, 0.9], dtype=torch.float64)
_maps = [(_even, torch.tensor([0.05, 0.25, 0.35, 0.4, 0.45, 0.62, 0.65, 0.85, 0.88], dtype=torch.float64)),
         (_uneven, torch.tensor([0.1, 0.15, 0.3, 0.55, 0.8], dtype=torch.float64)),
         (_even, _even.square())]  # fmt: skip

distance = Function(
    _total_variation,
    _maps,
    [
        Mistake("The factor 1/2 is missing: mass that is too much in one place is missing in another, and is counted "
                "twice.", lambda levels, below: 2 * _total_variation(levels, below)),
        Mistake("This is the largest difference of the distribution functions, the Kolmogorov distance. It looks at "
                "sets of the form (-infinity, x] alone, and total variation at all sets.",
                lambda levels, below: (levels - below).abs().max()),
        Mistake("The two tails are missing: the mass below the first point and that above the last one.",
                lambda levels, below: (levels.diff() - below.diff()).abs().sum() / 2),
        Mistake("This adds up differences of the distribution functions. Differences of the masses of intervals are "
                "asked for.", lambda levels, below: (levels - below).abs().sum() / 2),
        Mistake("Here each interval is given the same generated mass. It is the difference of neighbouring levels.",
                lambda levels, below: float((_masses(levels, below)[1] - 1 / (len(levels) + 1)).abs().sum()) / 2),
    ],
    "Nothing of it is random: the map gives the mass of each interval.",
)  # fmt: skip


def _late(delta: float, alpha_bar: float) -> list[float]:
    return list(slope_error_variance(delta, alpha_bar, 1 - 2**-53))  # an error from the start to the very end


def _late_by(pull):
    def answer(delta, alpha_bar):
        c = 1 + pull * delta
        return [alpha_bar**delta, 1 / c + (1 - 1 / c) * alpha_bar**c]

    return answer


late = Function(
    _late,
    [(0.1, 0.3), (-0.2, 0.6), (0.5, 0.05), (-0.1, 0.9)],
    [
        Mistake("The SDE's variance is multiplied back towards one, as in the theorem. There the score was exact after "
                "the error; here the error lasts to the end, and no time is left.",
                lambda d, a: [_late(d, a)[0], 1 + a * (_late(d, a)[1] - 1)]),
        Mistake("The SDE's variance is taken to have relaxed fully, to 1/(1 + 2 delta). The integral of beta from 0 to "
                "t_* is finite, it is -log alpha_bar_*.", lambda d, a: [_late(d, a)[0], 1 / (1 + 2 * d)]),
        Mistake("The SDE's pull has 1 + delta for 1 + 2 delta. 1/(1 + delta) is the variance of the law whose score "
                "this is. The drift has x/2 beside the score: V' has 1 - 2 (1 + delta) = -(1 + 2 delta) as the factor "
                "of V.", _late_by(1)),
        Mistake("The ODE's variance has the wrong sign in its exponent. A predictor of eps that is too large takes "
                "away too much, so that the samples shrink.", lambda d, a: [a**-d, _late(d, a)[1]]),
        Mistake("The ODE's number is that of a standard deviation: dx = -1/2 beta delta x gives V' = -beta "
                "delta V.", lambda d, a: [a ** (d / 2), _late(d, a)[1]]),
    ],
    "The ODE keeps an error whenever it is made. The SDE has little time left to forget a late one.",
)  # fmt: skip


def _carried(s: float, alpha: float, sigma: float) -> float:
    return s / math.hypot(alpha * s, sigma)


carried = Function(
    _carried,
    [(0.2, 0.6, 0.8), (2.0, 0.28, 0.96), (0.5, 1.0, 3.0), (0.1, 0.96, 0.28)],
    [
        Mistake("Turned over: this carries from 0 to t. Sampling runs from t to 0.",
                lambda s, a, b: 1 / _carried(s, a, b)),
        Mistake("This is what the drift f x does alone. The score depends on x, too: d u/d x = f + g^2/(2 v) with the "
                "variance v of x_t.", lambda s, a, b: 1 / a),
        Mistake("This is the slope of E[x_0 | x_t], one jump from x_t to the mean of all x_0 that it may come from. "
                "The path of the ODE ends elsewhere.", lambda s, a, b: a * s**2 / (a**2 * s**2 + b**2)),
        Mistake("This is the ratio of the variances. Distances grow like standard deviations.",
                lambda s, a, b: _carried(s, a, b) ** 2),
    ],
    "For narrow data an early error shrinks on its way, as all distances do.",
)  # fmt: skip


def _contributions(times: Tensor, slopes: Tensor, errors: Tensor) -> Tensor:
    """Each error alone, carried by Euler's steps to the end."""
    h, ends = times.diff(), []
    for own in range(len(errors)):
        delta = 0.0
        for k in range(len(errors)):
            delta = (1 + h[k] * slopes[k]) * delta + h[k] * errors[k] * (k == own)
        ends.append(delta)
    return torch.stack(ends)


def _products(times: Tensor, slopes: Tensor) -> Tensor:
    return 1 + times.diff() * slopes


def _later(factors: Tensor) -> Tensor:
    """For each step the product of the factors of those after it."""
    return torch.cat([factors[1:], factors.new_ones(1)]).flip(0).cumprod(0).flip(0)


_times = torch.tensor([1.0, 0.7, 0.5, 0.2, 0.0], dtype=torch.float64)
_slopes = torch.tensor([0.8, -1.5, 2.0, -3.0], dtype=torch.float64)
_errors = torch.tensor([0.3, -0.2, 0.5, 0.1], dtype=torch.float64)

contributions = Function(
    _contributions,
    [(_times, _slopes, _errors), (_times.square(), _slopes.flip(0), _errors), (_times[-2:], _slopes[:1], _errors[:1])],
    [
        Mistake("The error of a step is multiplied by the slope of its own step as well. It is made in that step, and "
                "only the later steps carry it.",
                lambda t, a, e: t.diff() * e * _later(_products(t, a)) * _products(t, a)),
        Mistake("Here an error is multiplied by the slopes of the steps before it. These have happened already: the "
                "later steps carry it.", lambda t, a, e: t.diff() * e * torch.cat(
                    [t.new_ones(1), _products(t, a)[:-1]]).cumprod(0)),
        Mistake("The errors are added up as they are made. On the way each is multiplied by 1 + h_j a_j of all later "
                "steps.", lambda t, a, e: t.diff() * e),
        Mistake("The step size is taken as positive. The times fall, so h is negative, in the error and in its "
                "transport.", lambda t, a, e: -t.diff() * e * _later(1 - t.diff() * a)),
        Mistake("This carries errors by exp(h a), as the exact path does. Euler's step multiplies by 1 + h a.",
                lambda t, a, e: t.diff() * e * _later((t.diff() * a).exp())),
    ],
    "Their sum is the error of the end, exactly where the velocity is linear in x and its error does not depend on x.",
)  # fmt: skip

forgets = Choice(
    {
        "a": "with eps too large, dx = -1/2 beta delta x on the way to the data, so all distances shrink for delta > 0 "
             "and grow for delta < 0.",
        "b": "where the score is exact the ODE for N(0, 1) leaves x where it is, and above that log V falls by beta "
             "delta dt. Only the integral counts.",
        "c": "what the SDE has left of an error made above t_* is multiplied by alpha_bar_*, which is nearly one close "
             "to the data. It is an early error that it forgets.",
        "d": "with an error at all times the variance of the SDE relaxes towards 1/(1 + 2 delta). It forgets where it "
             "started, and not the error of the score that it uses.",
    },
    "ab",
    "The ODE adds errors up, the SDE multiplies what is left of them by alpha_bar.",
)  # fmt: skip


def _between(delta: float, start: float, switch: float, strength: float) -> float:
    eta2 = strength**2
    pull = delta + eta2 * (1 + delta)
    rest = eta2 / pull
    above = rest + (1 - rest) * (start / switch) ** pull
    return 1 + switch**eta2 * (above - 1)


def _unsquared(d, a, b, eta):
    return _between(d, a, b, math.sqrt(eta))


def _relaxed(d, a, b, eta):
    return 1 + (_between(d, a, b, eta) - 1) / b ** (eta**2)


def _mixed(d, a, b, eta):
    ode, sde = slope_error_variance(d, a, b)
    return (1 - eta**2) * ode + eta**2 * sde


strength = Function(
    _between,
    [(0.02, 4e-5, 0.3, 0.5), (0.2, 0.01, 0.5, 1.5), (-0.1, 0.05, 0.4, 0.7), (0.1, 1e-3, 0.3, 0.0),
     (0.1, 0.02, 0.3, 1.0)],
    [
        Mistake("The noise eta sqrt(beta) dw adds eta^2 beta to the variance, and the extra drift has eta^2 as well. "
                "Here eta stands in their place.", _unsquared),
        Mistake("This is the variance at the switch. Below it the score is exact, and for eta > 0 the variance relaxes "
                "towards one on the way to the data.", _relaxed),
        Mistake("Below the switch the difference from one is multiplied by alpha_bar_* here, as for eta = 1. With "
                "other noise the rate is eta^2 beta, and the factor alpha_bar_*^(eta^2).",
                lambda d, a, b, eta: 1 + b * (_relaxed(d, a, b, eta) - 1)),
        Mistake("This mixes the variances of the ODE and of the SDE. The rate of relaxation stands in an exponent, so "
                "the variance is no mixture of the two.", _mixed),
    ],
    "At eta = 0 it is the ODE's formula, at eta = 1 the SDE's, and more noise forgets faster.",
)  # fmt: skip


def _left(m: float, rho: float) -> float:
    return (1 - m) / (1 + m) * (1 + m * rho) / (1 - m * rho)


averaged = Function(
    _left,
    [(0.9, 0.0), (0.9, 0.9), (0.999, 0.99), (0.5, 0.7), (0.99, -0.5)],
    [
        Mistake("This is right for weights that are independent from step to step. With a small rate they move "
                "slowly, the average sees many times almost the same weight, and removes less.",
                lambda m, rho: _left(m, 0.0)),
        Mistake("This counts 1/(1 - m) weights of equal weight and no correlation. The squares of the weights "
                "(1 - m) m^j add up to (1 - m)/(1 + m), and weights of near steps are alike.", lambda m, rho: 1 - m),
        Mistake("This is the ratio of standard deviations. Variances are asked for.",
                lambda m, rho: math.sqrt(_left(m, rho))),
        Mistake("The covariance of the steps i and j enters twice for i < j, as (i, j) and as (j, i).",
                lambda m, rho: (1 - m) / (1 + m) / (1 - m * rho)),
    ],
    "Fast motion is averaged away, and motion slower than 1/(1 - m) steps stays.",
)  # fmt: skip

blame = Choice(
    {
        "a": "with the exact score nothing is left but the sampler and its steps. If they leave no unevenness then, "
             "the unevenness with the network comes of the network's error.",
        "b": "the SDE forgets early errors of the same score, so it can be even although the score is wrong.",
        "c": "network, loss, data, run and sampler are the same. What the average takes away is the motion of the "
             "weights, which is the optimiser's.",
        "d": "the ratio is one plus shift plus unevenness, and a blur makes the shift negative. The two can cancel.",
        "e": "both weights come of the same data, so neither comparison changes them. Networks of other data sets, or "
             "of more points, are needed to see their part.",
    },
    "ac",
    "Each control changes one thing and leaves the others as they are.",
)  # fmt: skip

EXERCISES: dict[str, Exercise] = {
    "maps": maps, "steepness": steepness, "distance": distance, "late": late, "carried": carried,
    "contributions": contributions, "forgets": forgets, "strength": strength, "averaged": averaged, "blame": blame,
}  # fmt: skip
