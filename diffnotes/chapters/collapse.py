r"""Collapse errors of the deterministic sampler: where they come from, and what the stochastic one does with them.

Samples are judged by their crowding against the data (:func:`crowding`), laws on the line by their flow maps. On the
line a step's velocity error is carried to the end of the path by the slopes of all later steps (:func:`transport`);
for a Gaussian and an error of slope at high noise both samplers' laws are known (:func:`slope_error_variance`).

Source: Zhang et al., arXiv 2508.16154. Closed forms: this book.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..core.data import image_split
from ..core.denoiser import Denoiser, Exact, home_of, members_of
from ..core.law import GaussianMixture, Law, on_line
from ..core.numbers import floats, number, samples
from ..core.schedule import Chain, Schedule
from ..core.target import coefficients
from ..measure.crowding import neighbour_counts, pair_fraction, sample_split
from ..measure.flow import FlowMap, ode_map
from ..measure.information import excess_error, expectation_nodes
from ..measure.interval import Interval
from ..model.both import Together, both_samplers
from ..model.fleet import Fleet, Table, Trained
from ..model.sample import grid, ode, prior, sde_steps
from ..model.setting import Times
from ..model.store import kept, log_of

__all__ = [
    "FEW_PAIRS", "MEASURES", "Between", "Crowding", "Factors", "ImagePairs", "Transport", "between_modes",
    "correlation", "crowding", "end_measures", "final_variance", "image_pairs", "largest_fall", "learning_curve",
    "least_squares_slope", "mean_errors", "near_radius", "off_cells", "plane_clouds", "plane_crowding",
    "ratio_curves", "slope_error_spread", "slope_error_variance", "thread_crowding", "to_law_of_time", "transport",
]  # fmt: skip

NOISE = 7
"""Added to the seed of the starts, for the noise of the SDE."""

FEW_PAIRS = 20
"""With fewer close pairs in a set of samples, their number says nothing of it: its noise is a fifth of it and more."""


# --- samples in the plane, and images ---------------------------------------------------------------------------------


def near_radius(x: Tensor, share: float | Sequence[float] = 0.01) -> float | list[float]:
    """The distance within which a ``share`` of the pairs of x (n, d) lies; a list of distances for several shares.

    Raises:
        ValueError: for a share outside (0, 1).
    """
    wanted = floats(share, "share", torch.float64)
    if not bool(((wanted > 0) & (wanted < 1)).all()):
        raise ValueError(f"share = {share}; allowed: numbers between 0 and 1")
    distances = torch.pdist(samples(x, "x").double()).cpu().numpy()  # torch's quantile takes no more than 2^24 numbers
    return np.quantile(distances, wanted.cpu().numpy()).tolist()


class Crowding(NamedTuple):
    """Of several sets of samples against the data, each (sets,).

    Pair-fraction ``ratio``, ``unevenness`` as a part of its excess; ``empty``, the share of the data with no sample
    near; ``densest``, the neighbours of the densest tenth of the samples over those of the densest tenth of the data.
    """

    ratio: Tensor
    unevenness: Tensor
    empty: Tensor
    densest: Tensor


def crowding(clouds: Iterable[Tensor], data: Tensor, share: float = 0.01) -> Crowding:
    """The crowding of each of ``clouds`` (n, d) against samples ``data`` (m, d), m > n; float64 (clouds,).

    The radius has a ``share`` of the pairs of the first 1,500 data within it. Ratio - 1 = shift + unevenness, as
    :func:`diffnotes.measure.crowding.sample_split`. ``empty`` is the share of the first n data without a sample within
    the radius of a quarter of that share of pairs. ``densest`` compares the mean number of others within the radius,
    over the tenth of the samples that have most, with that of the first n data.

    Raises:
        ValueError: for fewer data than samples, and as :func:`near_radius` and ``sample_split``.
    """
    near, nearer = near_radius(data[:1500], (share, share / 4))
    found = []
    for cloud in clouds:
        if len(cloud) > len(data):
            raise ValueError(f"data has {len(data)} rows; allowed: at least as many as samples, {len(cloud)}")
        alike = data[: len(cloud)]
        split, alone = sample_split(cloud, data, near), torch.cdist(alike, cloud).amin(1) > nearer
        found.append([split.ratio, split.unevenness, float(alone.double().mean()),
                      _densest(cloud, near) / _densest(alike, near)])  # fmt: skip
    return Crowding(*torch.tensor(found, dtype=torch.float64).T)


def _densest(x: Tensor, radius: float) -> float:
    """The mean number of others within the radius, over the tenth of x that has most of them."""
    counts = neighbour_counts(x, radius).double()
    return float(counts.topk(max(1, len(counts) // 10)).values.mean())


def plane_clouds(
    planes: Mapping[str, Law], nets: Mapping[str, Mapping[str, Denoiser]], n: int, steps: int, seed: int
) -> dict[str, dict[str, Tensor]]:
    """``n`` samples of each network in the plane, by data set and kind: "ODE", "SDE", and with averaged weights
    "averaged ODE", "averaged SDE"; "exact ODE" of the exact score.

    Args:
        planes: name of the data set -> law.
        nets: the same name -> ensembles "eps" and "eps, averaged", whose schedule the exact samplers share.
        n, steps: samples of each member; steps of both samplers.
        seed: of the starts, the same for all kinds, and of the SDE's noise.

    Returns:
        Tensors (members, n, 2), float64; of the exact score one set, (1, n, 2), from the first member's starts.
    """
    clouds: dict[str, dict[str, Tensor]] = {name: {} for name in planes}
    sizes = [members_of(nets[name]["eps"]) or 1 for name in planes]
    schedule = nets[next(iter(planes))]["eps"].schedule
    start = prior(schedule, (sum(sizes), n, 2), seed)
    for arm, prefix in (("eps", ""), ("eps, averaged", "averaged ")):
        together = Together([nets[name][arm] for name in planes])
        for kind, x in both_samplers(together, start, steps, seed + NOISE).items():
            for name, own in zip(planes, x.split(sizes)):
                clouds[name][prefix + kind] = own
    for (name, law), own in zip(planes.items(), start.split(sizes)):
        times = grid(schedule, steps, kind="quadratic")
        clouds[name]["exact ODE"] = ode(Exact(law, schedule), own[0].double(), times, "euler")[None]
    return clouds


def plane_crowding(
    clouds: Mapping[str, Mapping[str, Tensor]], data: Mapping[str, Tensor], share: float = 0.01
) -> dict[str, dict[str, Crowding]]:
    """The :func:`crowding` of samples by data set and kind, as :func:`plane_clouds` gives them, and of "data".

    ``data``: data set -> (m, 2) samples; the last n of them are the kind "data", one set of samples, and the samples
    are compared with the others.
    """
    found = {}
    for name, kinds in clouds.items():
        others, apart = data[name].tensor_split([-next(iter(kinds.values())).shape[1]])
        found[name] = {kind: crowding(cloud, others, share) for kind, cloud in {**kinds, "data": apart[None]}.items()}
    return found


def ratio_curves(clouds: Mapping[str, Tensor], data: Tensor, shares: Sequence[float]) -> dict[str, Tensor]:
    """Pair-fraction ratios over radii: kind of samples -> float64 (sets, radii).

    Args:
        clouds: kind -> (sets, n, d).
        data: (m, d); the radii have ``shares`` of the pairs of the first 1,500 within them.
        shares: numbers between 0 and 1.
    """
    radii = near_radius(data[:1500], shares)
    base = pair_fraction(data, radii)
    return {kind: torch.stack([pair_fraction(cloud, radii) for cloud in own]) / base for kind, own in clouds.items()}


class ImagePairs(NamedTuple):
    """Of images by kind: pair-fraction ``ratio`` to the training images, and close ``pairs``, (splits, radii) each."""

    ratio: dict[str, Tensor]
    pairs: dict[str, Tensor]


def image_pairs(
    name: str, denoiser: Denoiser, seeds: Sequence[int], n: int, steps: int, shares: Sequence[float]
) -> ImagePairs:
    """Close pairs of images, over radii, against those of the training images of their split.

    Args:
        name: of the set of images.
        denoiser: an ensemble, one member for each split.
        seeds: of the splits; the first is that of the starts and of the SDE's noise.
        n, steps: images of each member; steps of both samplers.
        shares: of the pairs of the first 2,000 training images that the radii have within them.

    Returns:
        For "ODE", "SDE" and "held out" float64 (splits, radii).
    """
    splits = [[part.x.double() for part in image_split(name, seed)] for seed in seeds]
    start = prior(denoiser.schedule, (len(splits), n, splits[0][0].shape[-1]), seeds[0])
    images = {**both_samplers(denoiser, start, steps, seeds[0] + NOISE), "held out": [held for _, held in splits]}
    ratio: dict[str, list[Tensor]] = {kind: [] for kind in images}
    pairs: dict[str, list[Tensor]] = {kind: [] for kind in images}
    for i, (train, _) in enumerate(splits):
        radii = near_radius(train[:2000], shares)
        base = pair_fraction(train, radii)
        for kind, sets in images.items():
            near = pair_fraction(sets[i], radii)
            ratio[kind].append(near / base)
            pairs[kind].append(near * (len(sets[i]) * (len(sets[i]) - 1) / 2))
    return ImagePairs(*({kind: torch.stack(rows) for kind, rows in of.items()} for of in (ratio, pairs)))


def off_cells(cloud: Tensor, cells: int = 4, half_width: float = 2.0) -> Tensor:
    """Share of the points (..., n, 2) off the dark cells of :func:`diffnotes.chessboard`; float64 (...)."""
    cell = torch.floor((samples(cloud, "cloud") + half_width) * (cells / (2 * half_width)))
    inside = (cell >= 0).all(-1) & (cell < cells).all(-1) & (cell.sum(-1) % 2 == 0)
    return 1 - inside.double().mean(-1)


def thread_crowding(clouds: Tensor, radius: float = 0.1) -> Tensor:
    """The pair fraction, at ``radius``, of the points of each cloud (n, 2) off the chessboard's cells; (clouds,).

    Points on threads are near to one another, points off a blurred edge lie anywhere along it; zero for fewer than two.
    """
    off = [cloud[[bool(lone) for lone in off_cells(cloud[:, None])]] for cloud in clouds]
    return torch.tensor([pair_fraction(x, radius) if len(x) > 1 else 0.0 for x in off], dtype=torch.float64)


# --- laws on the line -------------------------------------------------------------------------------------------------


def between_modes(law: FlowMap | GaussianMixture, edge: float = 0.4) -> Tensor:
    """The mass of a law on the line, exact or generated, on [-edge, edge]; (members,) of an ensemble."""
    edge = number(edge, "edge")
    return law.cdf(torch.tensor([-edge, edge], dtype=torch.float64)).diff(dim=-1)[..., 0]


def to_law_of_time(denoiser: Denoiser, law: GaussianMixture, t: float, steps: int, points: int) -> Tensor:
    """Total variation between the ODE's law at time t and the data noised to t: (members,).

    Args:
        denoiser: a network or an ensemble.
        law: of the data, on the line.
        t: where the path of ``steps`` steps ends; points: quantiles of the flow map.
    """
    path = grid(denoiser.schedule, steps, kind="quadratic", t_min=t)
    levels = (float(level) for level in denoiser.schedule(t))
    return ode_map(denoiser, path, points).total_variation(law.noised(*levels))


def end_measures(
    nets: Mapping[str, Denoiser], law: GaussianMixture, radius: float, steps: int, points: int
) -> dict[str, Tensor]:
    """Four measures of the ODE's law, each (networks by name, members).

    "ratio", "uneven" and "tv", the ANSD ratio and the unevenness at ``radius`` and the total variation at the end;
    "at 0.4", the total variation to the law of that time. The path has ``steps`` steps of Heun's method, the flow map
    ``points`` quantiles.
    """
    maps = [ode_map(net, grid(net.schedule, steps, kind="quadratic"), points) for net in nets.values()]
    split = [one.split(law, radius) for one in maps]
    return {
        "ratio": torch.stack([1 + shift + uneven for shift, uneven in split]),
        "uneven": torch.stack([uneven for _, uneven in split]),
        "tv": torch.stack([one.total_variation(law) for one in maps]),
        "at 0.4": torch.stack([to_law_of_time(net, law, 0.4, steps, points) for net in nets.values()]),
    }


def mean_errors(nets: Mapping[str, Denoiser], law: GaussianMixture, times: Tensor) -> Tensor:
    """Squared error of eps beyond the exact predictor's, a mean over ``times``: (networks by name, members)."""
    errors = excess_error(nets, law, times)
    snr = next(iter(nets.values())).schedule.snr(times)
    return torch.stack([(curve * snr).mean(-1) for curve in errors.values()])


MEASURES = ("ratio", "uneven", "tv", "at 0.4")
"""The measures of :func:`end_measures`."""


@dataclass(frozen=True)
class Factors:
    """:func:`end_measures` and :func:`mean_errors` of several fleets: an experiment whose numbers are kept.

    Args:
        fleets: by name, on a law on the line; their networks are trained, or read, where the numbers are not known.
        law, radius, steps, points: as :func:`end_measures` has them.
        sides: name -> times, over which errors are averaged.
    """

    fleets: Mapping[str, Fleet]
    law: GaussianMixture
    radius: float
    steps: int
    points: int
    sides: Mapping[str, Tensor]

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of all measures."""
        return (*MEASURES, *self.sides)

    def blank(self) -> dict[str, nn.Module]:
        """The numbers before they are known, (measures, networks by name, members) for each fleet."""
        return {name: Table(torch.zeros(len(self.measures), len(fleet.names), len(fleet.seeds)))
                for name, fleet in self.fleets.items()}  # fmt: skip

    def train(self, device: torch.device | str = "cpu") -> Trained:
        """Measure, with the networks of each fleet on ``device``."""
        return Trained({name: Table(self._of(kept(fleet, device), device)) for name, fleet in self.fleets.items()}, {})

    def _of(self, nets: Mapping[str, Denoiser], device: torch.device | str) -> Tensor:
        found = end_measures(nets, self.law, self.radius, self.steps, self.points)
        single = self.law.to(device, torch.float32)  # the dtype of networks
        found |= {name: mean_errors(nets, single, times) for name, times in self.sides.items()}
        return torch.stack([found[name].double().cpu() for name in self.measures])

    def read(self, networks: Mapping[str, nn.Module], recipe: str = "") -> dict[str, dict[str, Tensor]]:
        """Fleet -> measure -> (networks by name, members), float64 on the CPU."""
        return {name: dict(zip(self.measures, networks[name].values.cpu())) for name in self.fleets}


def largest_fall(values: Tensor) -> Tensor:
    """How far ``values`` (stops, networks) fall below what they have been before, at most: (networks,), >= 0."""
    values = floats(values, "values", torch.float64)
    return (values.cummax(0).values - values).amax(0)


def least_squares_slope(x: Sequence[float], values: Tensor) -> Tensor:
    """Least-squares slopes in x of ``values`` (len(x), networks): (networks,) float64.

    Raises:
        ValueError: for shapes that do not fit, or fewer than two different x.
    """
    x, values = floats(x, "x", torch.float64), floats(values, "values", torch.float64)
    if x.ndim != 1 or values.shape[:1] != x.shape or not bool((x != x[:1]).any()):
        raise ValueError(f"x = {x.tolist()}, values of shape {tuple(values.shape)}; allowed: (k,) with two different "
                         "numbers, and (k, networks)")
    x = x - x.mean()
    return (x[:, None] * values).sum(0) / x.square().sum()


@dataclass(frozen=True)
class Between(Times):
    """t uniform on [first, last]. ValueError unless 0 <= first < last."""

    first: float
    last: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.first < self.last:
            raise ValueError(f"first = {self.first}, last = {self.last}; allowed: 0 <= first < last")

    def __call__(self, u: Tensor, schedule: Schedule | Chain) -> Tensor:
        return self.first + (self.last - self.first) * u


# --- errors carried along ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Transport:
    """Errors at the end of the path: ``found`` and ``predicted`` (..., q), and ``by_time`` (..., steps, q) whose sum
    over the steps is ``predicted``; float64 on the CPU."""

    found: Tensor
    predicted: Tensor
    by_time: Tensor


def transport(denoiser: Denoiser, exact: Exact, start: Tensor, times: Tensor | Sequence[float]) -> Transport:
    """Carry each step's velocity error along the exact 1-D ODE path to its end, to first order.

    d delta/dt = u'(x, t) delta + (u_learned - u)(x, t) on the path of the exact velocity u, which is the same as
    adding up step errors e_k, each multiplied by the slopes of all later steps. Steps are those of Heun's method, and
    so are their slopes, hence found - predicted is of second order in the error, whatever the grid.

    Args:
        denoiser: with the error; an ensemble gives results a leading axis of members.
        exact: the exact denoiser of a law on the line, on the same schedule.
        start: (q,) states at times[0].
        times: decreasing, sigma > 0 at the end. (Near a point between two modes, where paths part, errors grow by
            orders of magnitude, and first order is soon not enough.)

    Raises:
        ValueError: for a start that is not a vector, a law off the line, sigma = 0 at the end, or as
            :func:`diffnotes.ode`.
    """
    start = samples(start, "start")
    if start.ndim != 1:
        raise ValueError(f"start = {start!r}; allowed: a floating-point tensor (q,)")
    if not isinstance(exact, Exact) or exact.law.dim != 1 or exact.schedule != denoiser.schedule:
        raise ValueError(f"exact = {exact!r}; allowed: the Exact denoiser of a law on the line, on the same schedule")
    times = floats(times, "times", torch.float64).cpu()
    if not float(exact.schedule(times[-1])[1]) > 0:
        raise ValueError(f"times end at {float(times[-1]):g}, where sigma = 0; allowed: ends with sigma > 0")
    dtype, device = home_of(denoiser)
    members = members_of(denoiser)

    def learned(x: Tensor, grid: Tensor) -> Tensor:
        x = x[:, None]
        return ode(denoiser, x if members is None else x.repeat(members, 1, 1), grid)[..., 0].double()

    path = ode(exact, start.to(exact.law.device, torch.float64)[:, None], times, trajectory=True)[..., 0].cpu()
    there = path.to(device, dtype)
    ends = [learned(there[k], times[k : k + 2]) for k in range(len(times) - 1)]
    errors = [end - after for end, after in zip(torch.stack(ends).cpu().unbind(0), path[1:])]
    slopes = _heun_slopes(exact, path[:-1], times)
    after = torch.cat([slopes[1:], torch.ones_like(path[:1])]).flip(0).cumprod(0).flip(0)
    by_time = torch.stack(errors, -2) * after
    return Transport(learned(there[0], times).cpu() - path[-1], by_time.sum(-2), by_time)


def _heun_slopes(exact: Exact, x: Tensor, times: Tensor) -> Tensor:
    """d x_s/d x_t of the steps of Heun's method for the exact velocity, from each of times at its own states x."""
    x, (steps, q) = x.to(exact.law.device), x.shape
    h, slopes = times.diff()[:, None].to(x), []
    for t in (times[:-1], times[1:]):
        levels = [level[:, None].expand(steps, q).to(x) for level in exact.schedule(t)]
        drift, g2 = (rate[:, None].to(x) for rate in (exact.schedule.drift(t), exact.schedule.diffusion(t)))
        # With u = f x - g^2 score/2: u' = f + g^2 (1 - alpha^2 Var(x_0 | x)/sigma^2)/(2 sigma^2).
        known = 1 - (levels[0] / levels[1]) ** 2 * exact.law.posterior_variance(x[..., None], *levels)
        slopes.append(drift + g2 * known / (2 * levels[1] ** 2))
        x = x + h * (drift * x - g2 / 2 * exact.law.score_at(x[..., None], *levels)[..., 0])  # Euler, to the step's end
    return (1 + h / 2 * (slopes[0] + slopes[1] * (1 + h * slopes[0]))).cpu()


def slope_error_variance(delta: float, alpha_bar_start: float, alpha_bar_switch: float) -> tuple[float, float]:
    """Final variances (ODE, SDE) for N(0, 1) data when eps is too large by the factor 1 + delta at high noise.

    The predictor is (1 + delta) sigma x where alpha^2 < alpha_bar_switch = b and exact below; both samplers start from
    N(0, 1) where alpha^2 = alpha_bar_start = a, in continuous time on a variance-preserving schedule:

        V_ODE = (a/b)^delta,    V_SDE = 1 + b (V - 1),    V = (1 + 2 delta (a/b)^(1 + 2 delta))/(1 + 2 delta).

    Raises:
        ValueError: unless 0 < a < b < 1 and delta > -1/2.

    >>> [round(v, 3) for v in slope_error_variance(0.02, 4e-5, 0.3)]
    [0.837, 0.988]
    """
    delta, alpha_bar_start = number(delta, "delta"), number(alpha_bar_start, "alpha_bar_start")
    alpha_bar_switch = number(alpha_bar_switch, "alpha_bar_switch")
    if not (0 < alpha_bar_start < alpha_bar_switch < 1 and delta > -0.5):
        raise ValueError(
            f"delta = {delta}, alpha_bar_start = {alpha_bar_start}, alpha_bar_switch = {alpha_bar_switch}; "
            "allowed: delta > -1/2 and 0 < start < switch < 1"
        )
    ratio, pull = alpha_bar_start / alpha_bar_switch, 1 + 2 * delta
    above = (1 + 2 * delta * ratio**pull) / pull
    return ratio**delta, 1 + alpha_bar_switch * (above - 1)


def slope_error_spread(denoiser: Denoiser, law: GaussianMixture, times: Tensor) -> Tensor:
    """log of the variance that the ODE's law has in excess, as the sign law tells it from the slope error: (members,).

    - int beta(t) delta(t) dt over the times, by the trapezoidal rule, with

        delta = Cov(eps_hat - eps, x)/(sigma Var x) under the law of x_t,

    the factor by which a predictor is too steep. Of (1 + delta) sigma x for N(0, 1) it is the log of V_ODE in
    :func:`slope_error_variance`.

    Args:
        denoiser: a network or an ensemble, in continuous time on a variance-preserving schedule.
        law: of the data, on the line; times: (L,), of the part of the path at which the slope counts.
    """
    times, exact = floats(times, "times", torch.float64).cpu(), Exact(on_line(law), denoiser.schedule)
    dtype, device = home_of(denoiser)
    shape, deltas = (members_of(denoiser) or 1, -1, 1), []
    for t in times:
        alpha, sigma = (float(level) for level in denoiser.schedule(t))
        noised = exact.law.noised(alpha, sigma)
        x, weights = expectation_nodes(noised, half_width=6.0)
        with torch.no_grad():
            guess = denoiser.eps(x.to(device, dtype)[:, None].expand(shape), t)[..., 0].double().cpu()
        error = guess - exact.eps(x[:, None], t)[:, 0]
        centred = weights * (x - weights @ x)
        deltas.append(error @ centred / (sigma * (centred @ x)))
    return -torch.trapezoid(denoiser.schedule.beta(times) * torch.stack(deltas, -1), times)


def correlation(x: Tensor, y: Tensor) -> Interval:
    """Linear correlation of two vectors with Fisher's interval, at least four numbers each."""
    from scipy.stats import pearsonr

    x, y = (floats(one, name, torch.float64).cpu() for one, name in ((x, "x"), (y, "y")))
    if x.ndim != 1 or x.shape != y.shape or len(x) < 4:
        raise ValueError(f"x, y have shapes {tuple(x.shape)}, {tuple(y.shape)}; allowed: twice (n,) with n >= 4")
    found = pearsonr(x, y)
    return Interval(float(found.statistic), *(float(end) for end in found.confidence_interval()))


def final_variance(
    schedule: Schedule, times: Tensor, delta: float, t_switch: float, strength: float = 1.0
) -> float:
    """Variance of samples of N(0, 1) data after the sampler's own steps, when eps is off by 1 + delta at high noise.

    The predictor is linear, eps = (1 + delta) sigma x for t > t_switch and sigma x below, so the recursion is exact,
    from variance 1 at times[0] on a variance-preserving schedule.

    Args:
        schedule, times: of the sampler.
        delta, t_switch: the error, and where it ends.
        strength: of the noise, as :func:`diffnotes.sde`: 0 is the ODE by Euler's method.
    """
    variance = 1.0
    levels = [level.tolist() for level in schedule(floats(times, "times", torch.float64)[:-1])]
    steps = (part.tolist() for part in sde_steps(schedule, times, strength))
    for t, alpha, sigma, keep, push, kick in zip(times.tolist(), *levels, *steps):
        eps = (1 + delta * (t > t_switch)) * sigma
        variance = (keep * (1 - sigma * eps) / alpha + push * eps) ** 2 * variance + kick**2
    return variance


# --- how well the networks have learned -------------------------------------------------------------------------------


def learning_curve(fleet: Fleet, arm: str, samples: int = 40_000, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(steps, excess): by how much the logged error of a kept arm exceeds that of the exact predictor.

    The log has the mean squared error of the target in bins of log SNR; that of the exact predictor in the same bins,
    under the same density of times, is a Monte-Carlo mean. Excess is the mean of the difference over bins and seeds:
    good to about a hundredth of the error itself, as the networks are logged on their own training points.

    Args:
        fleet: kept networks whose data are drawn from a law with an exact score.
        arm: a name of its arms.
        samples, seed: of the Monte-Carlo mean.

    Returns:
        Two tensors (rows,), of whole steps and float64.

    Raises:
        LookupError: where the networks are not kept.
    """
    log, setting = log_of(fleet), fleet.arms[arm]
    law = fleet.data.law.to(dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(samples, generator=generator, dtype=torch.float64)
    t, x0 = setting.times(u, setting.schedule), law.sample(samples, generator)
    noise = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    alpha, sigma = (level[:, None] for level in setting.schedule(t))
    best = Exact(law, setting.schedule).read(setting.target, alpha * x0 + sigma * noise, t)
    a, b = coefficients(setting.target, alpha, sigma)
    error = (best - a * x0 - b * noise).square().mean(1)
    edges = log[f"{arm}/edges"][1:-1]
    place = torch.bucketize(2 * (alpha / sigma).log().flatten(), edges)
    floor = torch.stack([error[place == k].mean() for k in range(len(edges) + 1)])
    return log[f"{arm}/step"], (log[f"{arm}/error"].double() - floor).nanmean((1, 2))
