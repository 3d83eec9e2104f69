r"""Measuring collapse: what the share of close pairs estimates, how far chance moves it, and what it does not see.

The pair fraction of n independent points, the share of pairs at most eps apart, is a U-statistic of order two with
the kernel h(x, y) = 1{|x - y| <= eps}. Its mean is P = P(|X - X'| <= eps), and Hoeffding's decomposition gives its
variance for every n,

    Var = 2/(n (n - 1)) [2 (n - 2) zeta_1 + zeta_2],
    zeta_1 = Var P(|x - X'| <= eps) at x = X,      zeta_2 = P (1 - P).

Pairs that share a point are dependent: this is zeta_1, and it is why the error falls as n^{-1/2}, not as 1/n.

A sampler that only repeats its n training points has the ratio [1/n + (1 - 1/n) C]/P, where C is their pair fraction:
with probability 1/n two samples are the same point (:func:`memory_formula`).

References: Hoeffding 1948; Grassberger and Procaccia 1983; Hill 1975 (the tail index).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..core.data import image_split
from ..core.denoiser import Denoiser, Exact, home_of, members_of
from ..core.generators import generator_of
from ..core.law import Empirical, GaussianMixture, on_line
from ..core.numbers import count, floats, number, samples
from ..core.schedule import Linear
from ..measure.crowding import Radii, law_pair_fraction, law_renyi2, mixture_split, pair_fraction, tid
from ..measure.divergence import integral, knots_around
from ..measure.flow import ode_map
from ..measure.interval import Interval, bootstrap_interval
from ..measure.ranking import rank_correlation
from ..model.both import both_samplers
from ..model.fleet import Table, Trained
from ..model.sample import grid, prior, sde

__all__ = [
    "MEMORY_POINTS", "RADII", "Memory", "Misled", "agreement", "compensated", "farthest", "image_curves", "levels",
    "linear_range", "memory_formula", "memory_ratios", "misled", "pair_fraction_variance", "pair_fractions",
    "smooth_tids", "tids", "tids_of_law",
]  # fmt: skip

RADII = torch.logspace(-3, 1, 81, dtype=torch.float64)
"""Radii from far below the width of a mode to beyond the extent of the data."""


# --- what is estimated, and its error ---------------------------------------------------------------------------------


def linear_range(law: GaussianMixture, radii: Tensor = RADII, tolerance: float = 0.02) -> float:
    """The largest of ``radii`` at which 2 eps int p^2 is within ``tolerance`` of P(|X - X'| <= eps), relatively.

    Raises:
        ValueError: for a law off the line or with std = 0, and where there is no such radius.
    """
    inside = (2 * radii * law_renyi2(law) / law_pair_fraction(law, radii) - 1).abs() < number(tolerance, "tolerance")
    if not bool(inside.any()):
        raise ValueError(f"tolerance = {tolerance}: none of radii is in the linear range; allowed: smaller radii")
    return float(radii[inside].max())


def pair_fractions(
    law: GaussianMixture, sizes: Sequence[int], radii: Radii, repeats: int, generator: torch.Generator | int
) -> Tensor:
    """Pair fractions of ``repeats`` sample sets of each size, float64 (sizes, repeats, radii).

    Raises:
        ValueError: as :func:`diffnotes.pair_fraction`.
    """
    generator, repeats = generator_of(generator, law.device), count(repeats, "repeats", 1)
    return torch.stack([
        torch.stack([pair_fraction(law.sample(n, generator), radii) for _ in range(repeats)]) for n in sizes
    ])  # fmt: skip


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


def farthest(found: Interval, about: float = 1.0) -> Interval:
    """Of several estimates, with their intervals as tensors of one shape, the one farthest from ``about``.

    A percentile interval that misses its own estimate is widened to hold it.
    """
    value, low, high = (floats(end, "found", torch.float64).flatten() for end in found)
    return _holding(Interval(value, low, high).at(int((value - about).abs().argmax())))


def _holding(found: Interval) -> Interval:
    value, low, high = found
    return Interval(value, min(low, value), max(high, value))


# --- memorisation -----------------------------------------------------------------------------------------------------


def memory_formula(data: Tensor, law: GaussianMixture, eps: float) -> float:
    """[1/n + (1 - 1/n) C]/P: the ratio of samples that repeat the points ``data`` (n, 1), with pair fraction C.

    Raises:
        ValueError: as :func:`diffnotes.pair_fraction`, and for a law off the line.
    """
    n = len(samples(data, "data"))
    return (1 / n + (1 - 1 / n) * pair_fraction(data, eps)) / law_pair_fraction(law, eps)


def memory_ratios(
    memorised: Exact, law: GaussianMixture, eps: float, steps: Mapping[str, int], points: int,
    generator: torch.Generator,
) -> dict[str, float]:
    """The ratios of samplers that use the exact score of their training points.

    Args:
        memorised: the exact denoiser of an ``Empirical`` law on the line.
        law: of the data.
        eps: the radius.
        steps: "ODE" -> steps of its flow map by Heun's method; any other name -> steps of an SDE.
        points: quantiles of the flow map, and samples of each SDE, which share their starts.
        generator: of the starts, then of the noise in the order of ``steps``.

    Returns:
        name -> pair fraction over that of the law; and "formula", that of a perfect memory of the very points.

    Raises:
        ValueError: for another kind of law, and as the samplers.
    """
    if not isinstance(memorised.law, Empirical) or memorised.law.dim != 1:
        raise ValueError(f"memorised = {memorised!r}; allowed: the Exact denoiser of an Empirical law on the line")
    schedule, close = memorised.schedule, law_pair_fraction(law, eps)
    start = prior(schedule, (points, 1), generator, dtype=torch.float64)
    found = {}
    for name, n in steps.items():
        times = grid(schedule, n, kind="quadratic")
        if name == "ODE":
            found[name] = float(ode_map(memorised, times, points).ratio(law, eps))
        else:
            found[name] = pair_fraction(sde(memorised, start, times, generator=generator), eps) / close
    return found | {"formula": memory_formula(memorised.law.points, law, eps)}


MEMORY_POINTS = 1000  # quantiles of each flow map, and samples of each SDE


@dataclass(frozen=True)
class Memory:
    """:func:`memory_ratios` of several training sets of each size: an experiment that can be kept.

    Args:
        law: of the data, on the line.
        eps: the radius.
        sizes: numbers of training points.
        sets: training sets of each size.
        steps: of the samplers, as in :func:`memory_ratios`.
        seed: of training sets, starts and noise.
    """

    law: GaussianMixture
    eps: float
    sizes: Sequence[int]
    sets: int
    steps: Mapping[str, int]
    seed: int

    def blank(self) -> dict[str, nn.Module]:
        """The ratios before they are known."""
        return {"ratios": Table(torch.zeros(len(self.steps) + 1, self.sets, len(self.sizes)))}

    def train(self, device: torch.device | str = "cpu") -> Trained:
        """Draw the sets, run the samplers with their exact scores, and count; nothing is trained."""
        generator, rows = torch.Generator().manual_seed(self.seed), []
        for _ in range(self.sets):
            for n in self.sizes:
                memorised = Exact(Empirical(self.law.sample(n, generator)), Linear())
                rows.append(memory_ratios(memorised, self.law, self.eps, self.steps, MEMORY_POINTS, generator))
        found = [torch.tensor([row[name] for row in rows]).reshape(self.sets, -1) for name in (*self.steps, "formula")]
        return Trained({"ratios": Table(torch.stack(found))}, {})

    def read(self, networks: Mapping[str, nn.Module], recipe: str = "") -> dict[str, Tensor]:
        """"formula" and each name of ``steps`` -> ratios (sets, sizes), float64 on the CPU."""
        return dict(zip((*self.steps, "formula"), networks["ratios"].values.cpu(), strict=True))


# --- the tail index, and whether measures agree -----------------------------------------------------------------------


def levels(n: int) -> Tensor:
    """The midpoints (i - 1/2)/n of n equal parts of [0, 1], float64."""
    return (torch.arange(count(n, "n", 1), dtype=torch.float64) + 0.5) / n


def tids(x: Tensor, reference: Tensor, eps: float, share: float) -> Tensor:
    """TID of each row of x (rows, n) against its own of ``reference``, from the ``share`` n fullest counts; (rows,).

    Raises:
        ValueError: as :func:`diffnotes.tid`, and for different numbers of rows.
    """
    x, reference = samples(x, "x"), samples(reference, "reference")
    if x.ndim != 2 or reference.ndim != 2 or len(x) != len(reference):
        raise ValueError(f"x has shape {tuple(x.shape)}, reference {tuple(reference.shape)}; allowed: (rows, n) and "
                         "(rows, m)")
    k = int(number(share, "share") * x.shape[1])
    return torch.tensor([tid(a, b, eps, k) for a, b in zip(x, reference)], dtype=torch.float64)


def smooth_tids(x: Tensor, reference: Tensor, eps: float, share: float) -> Tensor:
    """As :func:`tids`, of rows of quantiles at :func:`levels`, with the mass within ``eps`` in place of a whole count.

    The mass F(x + eps) - F(x - eps) is that of the law whose distribution function joins the quantiles by straight
    lines. Whole counts of a thousand points take so few values among the fullest that they decide the order; masses
    take all.

    Raises:
        ValueError: as :func:`tids`, and for a share outside (0, 1).
    """
    x, reference = samples(x, "x").double(), samples(reference, "reference").double()
    if x.ndim != 2 or reference.ndim != 2 or len(x) != len(reference):
        raise ValueError(f"x has shape {tuple(x.shape)}, reference {tuple(reference.shape)}; allowed: (rows, n) and "
                         "(rows, m)")
    eps, share = number(eps, "eps"), number(share, "share")
    if not (eps > 0 and 0 < share < 1):
        raise ValueError(f"eps = {eps}, share = {share}; allowed: eps > 0, a share between 0 and 1")

    def index(row: Tensor) -> float:
        at = row.sort().values.numpy()
        below, above = (np.interp(at + step, at, levels(len(at)).numpy(), 0.0, 1.0) for step in (-eps, eps))
        mass = np.sort(above - below)[::-1]
        k = max(1, int(share * len(at)))
        return float(np.log(mass[:k]).mean() - math.log(mass[k]))

    return torch.tensor([index(a) - index(b) for a, b in zip(x, reference)], dtype=torch.float64)


def tids_of_law(
    law: GaussianMixture, sizes: Sequence[int], shares: Sequence[float], eps: float, repeats: int,
    generator: torch.Generator | int,
) -> dict[float, Tensor]:
    """TID of samples of a law on the line against as many of its quantiles: share -> (sizes, repeats).

    With many samples and quantiles it is zero; what is found is the noise of the counts. Errors as :func:`tids`.
    """
    generator, repeats = generator_of(generator, law.device), count(repeats, "repeats", 1)
    rows = []
    for n in sizes:
        x = torch.stack([law.sample(n, generator)[:, 0] for _ in range(repeats)])
        exact = law.quantile(levels(n)).expand(repeats, -1)
        rows.append(torch.stack([tids(x, exact, eps, share) for share in shares]))
    return dict(zip(shares, torch.stack(rows, 1)))


def agreement(first: Tensor, second: Tensor, seed: int, resamples: int = 1000) -> Interval:
    """Rank correlation over settings of two measures (settings, seeds), with an interval over settings.

    The order is that of means over seeds. What is said is said of settings, of which these are some: they are what the
    interval resamples. It is widened where it misses the estimate.

    Raises:
        ValueError: for shapes that differ, and as :func:`diffnotes.measure.ranking.rank_correlation` and
            :func:`diffnotes.measure.interval.bootstrap_interval`.
    """
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f"first has shape {tuple(first.shape)}, second {tuple(second.shape)}; allowed: one shape "
                         "(settings, seeds)")

    def statistic(values: Tensor) -> Tensor:
        return rank_correlation(values[..., 0], values[..., 1])

    means = torch.stack([first.mean(1), second.mean(1)], 1)
    return _holding(bootstrap_interval(statistic, means, seed, resamples=resamples, batched=True))


# --- laws that mislead ------------------------------------------------------------------------------------------------


def compensated(law: GaussianMixture, eps: float, narrow: float = 0.12, leaked: float = 0.8) -> GaussianMixture:
    """The modes of ``law`` made ``narrow``, with as much mass leaked around their mean as brings the ratio back to one.

    Args:
        law: on the line.
        eps: the radius of the ratio.
        narrow, leaked: standard deviations of the modes and of the leaked mass, at most half of all.

    Raises:
        ValueError: for a law off the line, and where no leak does it.
    """
    from scipy.optimize import brentq

    law = on_line(law)
    means, width = torch.cat([law.means[:, 0], law.mean]), [narrow] * len(law.means) + [leaked]

    def mixed(leak: float) -> GaussianMixture:
        return GaussianMixture(means, width, [*((1 - leak) * law.weights).tolist(), leak])

    def excess(leak: float) -> float:
        return mixture_split(mixed(leak), law, eps).ratio - 1

    if not excess(0.0) > 0 > excess(0.5):
        raise ValueError(f"narrow = {narrow}, leaked = {leaked}: no leak up to 1/2 brings the ratio to one; "
                         "allowed: modes that crowd more than the law's, and a leak that is wide")
    return mixed(brentq(excess, 0.0, 0.5, xtol=1e-15))


class Misled(NamedTuple):
    """What counts say of a law that a generator might have, and what distances say: all numbers of one law.

    ``ratio`` = 1 + ``shift`` + ``uneven``; ``tid`` of quantiles; ``tv``, total variation; ``w1``, 1-Wasserstein.
    """

    ratio: float
    shift: float
    uneven: float
    tid: float
    tv: float
    w1: float


def misled(case: GaussianMixture, law: GaussianMixture, eps: float, points: int) -> Misled:
    """The measures of ``case`` in place of ``law``, both on the line, without sampling.

    Args:
        case, law: on the line.
        eps: the radius of ratio and TID.
        points: quantiles for TID, of which a twentieth is taken.

    Distances are trapezoidal sums over [-4, 4], or five deviations around all modes where that is more. Raises
    ValueError as :func:`diffnotes.measure.crowding.mixture_split`.
    """
    split = mixture_split(case, law, eps)
    reach = max(4.0, *(float((one.means.abs()[:, 0] + 5 * one.std).max()) for one in (case, law)))
    x = torch.linspace(-reach, reach, 16_001, dtype=torch.float64)
    density = (case.log_prob(x[:, None]).exp() - law.log_prob(x[:, None]).exp()).abs()
    below = (case.cdf(x) - law.cdf(x)).abs()
    tail = tid(case.quantile(levels(points)), law.quantile(levels(points)), eps, k=points // 20)
    return Misled(*split, tail, *(float(part) for part in (torch.trapezoid(density, x) / 2, torch.trapezoid(below, x))))


# --- images -----------------------------------------------------------------------------------------------------------


def image_curves(
    name: str, denoiser: Denoiser, seeds: Sequence[int], shares: Tensor, n: int, steps: int
) -> dict[str, Tensor]:
    """The ratio of pair fractions to the training images, at the radii within which ``shares`` of their pairs lie.

    Args:
        name: of the set of images.
        denoiser: an ensemble, one member for each split.
        seeds: of the splits; the first is that of the starts and of the noise.
        shares: (k,) in (0, 1), of the pairs of the first 1,000 training images.
        n, steps: images of each member; steps of the ODE by Heun's method, the SDE takes as many evaluations.

    Returns:
        "ODE", "SDE", "held out" -> float64 (splits, k).

    Raises:
        ValueError: for shares outside (0, 1), an ensemble of another size, and as the samplers.
    """
    shares = floats(shares, "shares", torch.float64)
    if shares.ndim != 1 or not bool(((shares > 0) & (shares < 1)).all()):
        raise ValueError(f"shares = {shares.tolist()}; allowed: a vector of numbers between 0 and 1")
    if members_of(denoiser) != len(seeds):
        raise ValueError(f"denoiser has {members_of(denoiser)} members; allowed: as many as seeds, {len(seeds)}")
    splits = [image_split(name, seed) for seed in seeds]
    device = home_of(denoiser)[1]
    generator = torch.Generator(device).manual_seed(count(seeds[0], "seeds[0]", 0))
    start = prior(denoiser.schedule, (len(splits), n, splits[0][0].x.shape[-1]), generator, device=device)
    images = both_samplers(denoiser, start, steps, generator, method="heun")
    images["held out"] = [held_out.x[:2000].double() for _, held_out in splits]
    rows: dict[str, list[Tensor]] = {kind: [] for kind in images}
    for i, (train, _) in enumerate(splits):
        base = train.x[:1000].double()
        distances = torch.pdist(base).sort().values
        radii = distances[(shares * len(distances)).long()]
        own = pair_fraction(base, radii)
        for kind, found in rows.items():
            found.append(pair_fraction(images[kind][i], radii) / own)
    return {kind: torch.stack(found) for kind, found in rows.items()}
