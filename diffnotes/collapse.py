r"""Collapse: samples that crowd together more than the data do, measured by counting close pairs.

ANSD, the average number of samples within a radius eps of a sample, divided by n - 1 is the fraction of close pairs:
an unbiased estimate of the correlation integral P(eps) = P(|X - X'| <= eps). On the line, for small eps, that is
2 eps int p^2, so the ratio of generated to true compares Renyi-2 entropies. It splits into two parts,

    P_gen/P - 1 = shift + unevenness,      shift = 2 (E_gen P(|x - X| <= eps)/P - 1),

mass moved to dense places of the law (either sign), and the local unevenness of the generated density, for small eps
int (p_gen - p)^2/int p^2. A law and its samples are compared by :func:`sample_split`; the law generated on the line is
known without sampling noise, as a :class:`FlowMap`: a deterministic sampler maps normal quantiles to generated
quantiles, for scalar solutions do not cross, and the law of a stochastic one can be carried along.

References: Zhang et al., arXiv 2508.16154 (ANSD); Grassberger and Procaccia 1983 (correlation integral); Hill 1975.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ._numbers import count, floats, number, samples
from .denoiser import Denoiser, Exact, home_of, members_of
from .distance import wasserstein1_to
from .law import BLOCK, GaussianMixture
from .pairs import count_neighbours, count_pairs
from .sample import ode, sde_steps
from .target import convert

__all__ = ["FlowMap", "Transport", "ansd", "ansd_ratio", "cross_fraction", "law_pair_fraction", "law_renyi2",
           "neighbour_counts", "pair_fraction", "sample_split", "tid", "transport"]  # fmt: skip

Radii = float | Sequence[float] | Tensor


# --- counts of samples ------------------------------------------------------------------------------------------------


def _points(value: Tensor, name: str, least: int = 2) -> Tensor:
    """``value`` as checked points (n, d) in float32 or float64, images flattened."""
    value = samples(value, name)
    points = value.detach().flatten(1) if value.ndim > 1 else value.detach().unsqueeze(-1)
    if value.ndim == 0 or len(points) < least or not points.numel():
        raise ValueError(f"{name} has shape {tuple(value.shape)}; allowed: (n,) or (n, d) with n >= {least}")
    if not all(bool(part.isfinite().all()) for part in points.split(max(1, BLOCK // points.shape[1]))):
        raise ValueError(f"{name} has non-finite entries; allowed: finite samples")
    return points if points.dtype in (torch.float32, torch.float64) else points.float()


def _radii(eps: Radii) -> Tensor:
    """``eps`` as a float64 tensor of its own shape, () or (k,), on the CPU."""
    radii = floats(eps, "eps", torch.float64).cpu()
    if radii.ndim > 1 or not radii.numel() or not bool(((radii >= 0) & radii.isfinite()).all()):
        raise ValueError(f"eps = {eps!r}; allowed: finite numbers >= 0, one or a vector")
    return radii


def _shares(x: Tensor, eps: Radii, y: Tensor | None, scale: float) -> float | Tensor:
    """Close pairs times ``scale``: a float for a number eps, a float64 tensor for a vector."""
    radii = _radii(eps)
    shares = count_pairs(x, radii.flatten().tolist(), y).double() * scale
    return shares if radii.ndim else float(shares)


def ansd(x: Tensor, eps: Radii) -> float | Tensor:
    """(1/n) sum_i #{j != i: |x_i - x_j| <= eps}: the average number of other samples within ``eps``, exact.

    Args:
        x: (n,) or (n, d) samples, n >= 2.
        eps: a radius >= 0, or a vector of radii: the whole curve in one pass.

    Returns:
        A float for one radius, a float64 tensor on the CPU for a vector.

    Raises:
        ValueError: for a negative or non-finite eps, fewer than two samples or non-finite ones.

    >>> ansd(torch.tensor([0.0, 1.0, 3.0]), [1.0, 2.0])
    tensor([0.6667, 1.3333], dtype=torch.float64)
    """
    x = _points(x, "x")
    return _shares(x, eps, None, 2 / len(x))


def pair_fraction(x: Tensor, eps: Radii) -> float | Tensor:
    """The share of the n (n - 1)/2 pairs at most ``eps`` apart, ANSD/(n - 1): unbiased for P(|X - X'| <= eps).

    Arguments, result and errors as :func:`ansd`.
    """
    x = _points(x, "x")
    return _shares(x, eps, None, 2 / (len(x) * (len(x) - 1)))


def cross_fraction(x: Tensor, y: Tensor, eps: Radii) -> float | Tensor:
    """The share of the pairs (x_i, y_j) at most ``eps`` apart; x (n, d), y (m, d), else as :func:`ansd`."""
    a, b = _points(x, "x", 1), _points(y, "y", 1)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"y has shape {tuple(y.shape)}; allowed: the dimension of x, which has {tuple(x.shape)}")
    return _shares(a, eps, b.to(a.device), 1 / (len(a) * len(b)))


def ansd_ratio(generated: Tensor, reference: Tensor, eps: Radii) -> float | Tensor:
    """Pair fraction of ``generated`` over that of ``reference``: the ratio of ANSD at equal counts, for any counts.

    Raises:
        ValueError: as :func:`ansd`, and where no pair of the reference is within eps.
    """
    below = pair_fraction(reference, eps)
    if not bool((torch.as_tensor(below) > 0).all()):
        raise ValueError(f"eps = {eps!r}: no pair of reference is that close; allowed: radii that some pair is within")
    return pair_fraction(generated, eps) / below


def _radius(eps: float) -> float:
    radius = _radii(eps)
    if radius.ndim:
        raise ValueError(f"eps has shape {tuple(radius.shape)}; allowed: one number")
    return float(radius)


def neighbour_counts(x: Tensor, eps: float) -> Tensor:
    """#{j != i: |x_i - x_j| <= eps} for each sample, (n,) int64 on the device of x; one radius, else as :func:`ansd`.

    >>> neighbour_counts(torch.tensor([0.0, 1.0, 3.0]), 1.0)
    tensor([1, 1, 0])
    """
    return count_neighbours(_points(x, "x"), _radius(eps))


def tid(generated: Tensor, reference: Tensor, eps: float, k: int) -> float:
    """Tail index difference: Hill's estimate from the neighbour counts of ``generated`` minus that of ``reference``.

    With counts n_(1) >= n_(2) >= ..., gamma = (1/k) sum_{i <= k} log(n_(i)/n_(k+1)). The formula is our reconstruction:
    the source names Hill's estimator of counts within eps and the k largest, but its text was not to be had.

    Raises:
        ValueError: as :func:`ansd`, for k outside 1..n - 1, and where n_(k+1) is 0 (eps too small or k too large).
    """
    gammas = []
    for name, x in (("generated", generated), ("reference", reference)):
        counts = neighbour_counts(_points(x, name), eps).sort(descending=True).values.double()
        k = count(k, "k", 1, len(counts) - 1)
        if counts[k] == 0:
            raise ValueError(f"eps = {eps!r}, k = {k}: sample {k + 1} of {name} by count has no neighbour; "
                             "allowed: a larger eps or a smaller k")
        gammas.append((counts[:k] / counts[k]).log().mean())
    return float(gammas[0] - gammas[1])


# --- the law's own pairs ----------------------------------------------------------------------------------------------


def _on_line(law: GaussianMixture) -> GaussianMixture:
    if not isinstance(law, GaussianMixture) or law.dim != 1 or law.has_points:
        raise ValueError(f"law = {law!r}; allowed: a GaussianMixture on the line with std > 0")
    return law.to("cpu", torch.float64)


def _couples(law: GaussianMixture) -> tuple[Tensor, Tensor, Tensor]:
    """Of all pairs of components: weight w_k w_l, |mu_k - mu_l|, variance s_k^2 + s_l^2, each (k, k)."""
    law = law.to("cpu", torch.float64)
    gap = torch.cdist(law.means, law.means, compute_mode="donot_use_mm_for_euclid_dist")
    return law.weights[:, None] * law.weights, gap, law.std[:, None] ** 2 + law.std**2


def law_pair_fraction(law: GaussianMixture, eps: Radii) -> float | Tensor:
    """P(|X - X'| <= eps) of a mixture on the line: sum_kl w_k w_l [Phi((eps - m)/s) - Phi((-eps - m)/s)].

    X - X' is a mixture of N(m, s^2) with m = mu_k - mu_l and s^2 = s_k^2 + s_l^2.

    Returns:
        A float, or a float64 tensor for a vector of radii.

    Raises:
        ValueError: for a law off the line or with std = 0, and for eps as :func:`ansd`.
    """
    weight, gap, variance = _couples(_on_line(law))
    radii, spread = _radii(eps), variance.sqrt()
    ndtr = torch.special.ndtr
    parts = [(weight * (ndtr((r - gap) / spread) - ndtr((-r - gap) / spread))).sum() for r in radii.flatten()]
    return torch.stack(parts) if radii.ndim else float(parts[0])


def law_renyi2(law: GaussianMixture) -> float:
    """int p^2 = sum_kl w_k w_l N(mu_k; mu_l, (s_k^2 + s_l^2) I) of a mixture in any dimension; -log of it is the
    Renyi-2 entropy in nats. On the line P(|X - X'| <= eps) -> 2 eps int p^2.

    Raises:
        ValueError: for a law with std = 0.

    >>> round(law_renyi2(GaussianMixture([0.0], 1.0)) * 2 * math.pi**0.5, 12)
    1.0
    """
    if not isinstance(law, GaussianMixture) or law.has_points:
        raise ValueError(f"law = {law!r}; allowed: a GaussianMixture with std > 0")
    weight, gap, variance = _couples(law)
    return float((weight * torch.exp(-0.5 * gap**2 / variance) / (2 * math.pi * variance) ** (law.dim / 2)).sum())


def _near_law(x: Tensor, law: GaussianMixture, eps: float) -> Tensor:
    """P(|x - X| <= eps) for X of the law, elementwise, float64."""
    return law.cdf(x + eps) - law.cdf(x - eps)


def sample_split(x: Tensor, law: GaussianMixture | Tensor, eps: float) -> tuple[float, float]:
    """(shift, unevenness) of samples against a law: pair-fraction ratio - 1 = shift + unevenness.

    The pair fractions are the unbiased ones, and E_gen P(|x - X| <= eps) is the cross fraction of both samples.

    Args:
        x: (n,) or (n, d) samples.
        law: a mixture on the line (exact), or samples of the law in any dimension.
        eps: one radius > 0.

    Raises:
        ValueError: as :func:`ansd`, and where no pair of the law's samples is within eps.
    """
    eps = _radius(eps)
    if isinstance(law, (Tensor, np.ndarray)):
        base, cross = pair_fraction(law, eps), cross_fraction(x, law, eps)
    else:
        law = _on_line(law)
        x = samples(x, "x")
        if _points(x, "x").shape[1] != 1:
            raise ValueError(f"x has shape {tuple(x.shape)}; allowed: (n,) or (n, 1) for a law on the line")
        base, cross = law_pair_fraction(law, eps), float(_near_law(x.double().cpu(), law, eps).mean())
    if not base > 0:
        raise ValueError(f"eps = {eps!r}: no pair of law is that close; allowed: radii that some pair is within")
    shift = 2 * (cross / base - 1)
    return shift, pair_fraction(x, eps) / base - 1 - shift


# --- the law a deterministic sampler generates on the line ------------------------------------------------------------


def _levels(count: int) -> Tensor:
    """The midpoints (i - 1/2)/count of ``count`` equal parts of [0, 1]."""
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


@dataclass(frozen=True)
class FlowMap:
    """The law that a sampler generates on the line, known through its increasing map x(z) of normal quantiles.

    For a deterministic sampler this is the sampler itself, from its start to its end (:meth:`of`); the law of a
    stochastic one is carried along (:meth:`of_sde`). Between the points, and beyond the last ones, the map is linear in
    z; all quantities below are those of this law, without sampling noise. Results have a leading axis of members where
    ``x`` has one; float64 on the CPU.

    Attributes:
        z: (points,) standard normal quantiles Phi^{-1}((i - 1/2)/points).
        x: (points,) or (members, points), increasing.
    """

    z: Tensor
    x: Tensor

    @classmethod
    def of(cls, denoiser: Denoiser, times: Tensor | Sequence[float], points: int = 1000,
           method: str = "heun") -> FlowMap:
        """Run :func:`diffnotes.sample.ode` from the normal quantiles at times[0]; ``denoiser`` may be an ensemble.

        The start is sigma z with sigma that of times[0], in the dtype of the network (float64 for an exact denoiser).

        Raises:
            ValueError: for fewer than 8 points, and as :func:`diffnotes.sample.ode`.
        """
        points, times = count(points, "points", 8), floats(times, "times", torch.float64).cpu()
        z, members = torch.special.ndtri(_levels(points)), members_of(denoiser)
        dtype, device = home_of(denoiser)
        start = (float(denoiser.schedule(times[0])[1]) * z).to(device, dtype)[:, None]
        if members is not None:
            start = start.expand(members, -1, -1).contiguous()
        return cls(z, ode(denoiser, start, times, method)[..., 0].double().cpu().sort(-1).values)

    @classmethod
    def of_sde(cls, denoiser: Denoiser, law: GaussianMixture, times: Tensor, points: int = 1000,
               cells: int = 2048) -> FlowMap:
        """The law that Euler-Maruyama (:func:`diffnotes.sample.sde`) generates, as the increasing map to its quantiles.

        No sample is drawn: the law itself is carried along the steps, from N(0, sigma^2) at times[0],

            law of x_s = (T # law of x_t) * N(0, r^2),   T(x) = p x0(x, t) + q eps(x, t),

        as masses on ``cells`` cells of an interval that holds law and noise. A cell's mass is moved and shared between
        two cells, and what this adds to its variance is taken off the noise of the step, a Fourier transform. The
        result is exact up to the cells; mass that would leave the interval stays at its ends.

        Args:
            denoiser: exact, a network or an ensemble, on a schedule in continuous time.
            law: on the line; it only gives the interval.
            times: decreasing; points: quantiles of the result; cells: at least 64.

        Raises:
            ValueError: for a law off the line, or fewer than 64 cells.
        """
        law = _on_line(law)
        cells, points = count(cells, "cells", 64), count(points, "points", 1)
        times = floats(times, "times", torch.float64).cpu()
        schedule, members, (dtype, device) = denoiser.schedule, members_of(denoiser), home_of(denoiser)
        first = float(schedule(times[0])[1])
        reach = 1.25 * max(float((law.means.abs().squeeze(-1) + 5 * law.std).max()), 5 * first)
        x = torch.linspace(-reach, reach, cells, dtype=torch.float64)
        h, at = float(x[1] - x[0]), x.to(device, dtype)[:, None]
        at = at if members is None else at.repeat(members, 1, 1)
        frequency = 2 * math.pi * torch.fft.rfftfreq(cells, h, dtype=torch.float64)
        mass = torch.exp(-0.5 * (x / first) ** 2).expand(members or 1, -1)
        mass = mass / mass.sum(-1, keepdim=True)
        steps, ends = list(zip(times.tolist(), *(part.tolist() for part in sde_steps(schedule, times)))), []
        for t, p, q, _ in steps:  # where a step's drift takes the cells does not depend on the masses in them
            with torch.no_grad():
                y = denoiser.predict(at, t)
                x0, eps = (convert(y, at, *schedule(t), source=denoiser.target, to=to) for to in ("x0", "eps"))
            ends.append((p * x0 + q * eps).double())
        for (_, _, _, r), moved in zip(steps, torch.stack(ends).cpu().reshape(len(steps), members or 1, cells)):
            place = ((moved + reach) / h).clamp(0, cells - 1.001)
            left = place.long()
            share = place - left
            added = h**2 * (mass * share * (1 - share)).sum(-1, keepdim=True)
            after = torch.zeros_like(mass).scatter_add_(-1, left, mass * (1 - share))
            after.scatter_add_(-1, left + 1, mass * share)
            spread = torch.exp(-0.5 * (r**2 - added).clamp(min=0) * frequency**2)
            mass = torch.fft.irfft(torch.fft.rfft(after) * spread, cells).clamp(min=0)
            mass = mass / mass.sum(-1, keepdim=True)
        below, edges = mass.cumsum(-1), x + h / 2
        ends = torch.stack([torch.from_numpy(np.interp(_levels(points), row, edges)) for row in below])
        return cls(torch.special.ndtri(_levels(points)), ends[0] if members is None else ends)

    def _each(self, measure: Callable[[Tensor], Tensor | float]) -> Tensor:
        """``measure`` of the points (points,) of each member; () without members."""
        rows = [torch.as_tensor(measure(x), dtype=torch.float64) for x in self.x.reshape(-1, len(self.z))]
        return torch.stack(rows).reshape(self.x.shape[:-1] + rows[0].shape)

    def _between(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """The piecewise linear, increasing map through (source, target) at x, continued linearly beyond its ends."""
        k = (torch.searchsorted(source, x, right=True) - 1).clamp(0, len(source) - 2)
        width = (source[k + 1] - source[k]).clamp(min=torch.finfo(torch.float64).tiny)
        return target[k] + (x - source[k]) / width * (target[k + 1] - target[k])

    def quantile(self, u: Tensor) -> Tensor:
        """Quantiles of the generated law at the levels u (m,): (m,) or (members, m)."""
        z = torch.special.ndtri(floats(u, "u", torch.float64).cpu())
        return self._each(lambda x: self._between(z, self.z, x))

    def cdf(self, x: Tensor) -> Tensor:
        """The generated distribution function at x (m,): (m,) or (members, m)."""
        at = floats(x, "x", torch.float64).cpu()
        return self._each(lambda row: self._below(at, row))

    def _below(self, q: Tensor, x: Tensor) -> Tensor:
        return torch.special.ndtr(self._between(q, x, self.z))

    def _pairs(self, x: Tensor, eps: Tensor, levels: Tensor) -> Tensor:
        nodes = self._between(torch.special.ndtri(levels), self.z, x)
        shares = [(self._below(nodes + r, x) - self._below(nodes - r, x)).mean() for r in eps.flatten()]
        return torch.stack(shares).reshape(eps.shape)

    def pair_fraction(self, eps: Radii, refine: int = 40_000) -> Tensor:
        """P(|X - X'| <= eps) of the generated law: (members,), for a vector of radii (members, radii).

        The mean over ``refine`` levels u of F(x_u + eps) - F(x_u - eps), F the generated distribution function.
        """
        radii, levels = _radii(eps), _levels(count(refine, "refine", 1))
        return self._each(lambda x: self._pairs(x, radii, levels))

    def ratio(self, law: GaussianMixture, eps: Radii, refine: int = 40_000) -> Tensor:
        """The pair-fraction ratio, generated over ``law``: > 1 where the sampler crowds its samples."""
        return self.pair_fraction(eps, refine) / law_pair_fraction(law, eps)

    def split(self, law: GaussianMixture, eps: float, refine: int = 40_000) -> tuple[Tensor, Tensor]:
        """(shift, unevenness), with ratio - 1 = shift + unevenness."""
        law, eps = _on_line(law), _radius(eps)
        near = _near_law(self.quantile(_levels(count(refine, "refine", 1))), law, eps).mean(-1)
        shift = 2 * (near / law_pair_fraction(law, eps) - 1)
        return shift, self.ratio(law, eps, refine) - 1 - shift

    def total_variation(self, law: GaussianMixture, bins: int = 200) -> Tensor:
        """1/2 sum |1/bins - P(bin)| over ``bins`` bins of equal generated mass: a lower bound, close for many bins."""
        law, bins = _on_line(law), count(bins, "bins", 1)
        edges = self.quantile(torch.arange(1, bins, dtype=torch.float64) / bins)
        ends = edges.new_zeros((*edges.shape[:-1], 1))
        mass = torch.cat([ends, law.cdf(edges), ends + 1], -1).diff(dim=-1)
        return (mass - 1 / bins).abs().sum(-1) / 2

    def wasserstein1(self, law: GaussianMixture) -> Tensor:
        """int |F_gen - F| dx, in the units of x, of 4,000 generated quantiles."""
        law, nodes = _on_line(law), self.quantile(_levels(4_000))
        rows = [wasserstein1_to(row, law) for row in nodes.reshape(-1, nodes.shape[-1])]
        return torch.stack(rows).reshape(nodes.shape[:-1])

    def flat_share(self, law: GaussianMixture) -> Tensor:
        """The share of the mass where dx/dz is below a third of that of the exact monotone map F^{-1}(Phi(z))."""
        exact = _on_line(law).quantile(torch.special.ndtr(self.z)).diff()
        return (self.x.diff(dim=-1) < exact / 3).double().mean(-1)

    def density_ratio(self, law: GaussianMixture) -> Tensor:
        """p_gen/p as the ratio of masses on each interval between neighbours, (..., points - 1)."""
        return 1 / (len(self.z) * _on_line(law).cdf(self.x).diff(dim=-1))


# --- where the error comes from ---------------------------------------------------------------------------------------


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
            :func:`diffnotes.sample.ode`.
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
    there, ends, slopes = path.to(device, dtype), [], []
    for k in range(len(times) - 1):
        step = times[k : k + 2]
        ends.append(learned(there[k], step))
        slopes.append(_heun_slope(exact, path[k], step))
    errors = [end - after for end, after in zip(torch.stack(ends).cpu().unbind(0), path[1:])]
    after = torch.stack([*slopes[1:], torch.ones_like(path[0])]).flip(0).cumprod(0).flip(0)
    by_time = torch.stack(errors, -2) * after
    return Transport(learned(there[0], times).cpu() - path[-1], by_time.sum(-2), by_time)


def _heun_slope(exact: Exact, x: Tensor, step: Tensor) -> Tensor:
    """d x_s/d x_t of one step of Heun's method for the exact velocity."""
    x = x.to(exact.law.device)[:, None]
    h, slopes = float(step.diff()), []
    for t, at in ((step[0], x), (step[1], ode(exact, x, step, "euler"))):
        (alpha, sigma), drift, g2 = exact.schedule(t), exact.schedule.drift(t), exact.schedule.diffusion(t)
        # With u = f x - g^2 score/2: u' = f + g^2 (1 - alpha^2 Var(x_0 | x)/sigma^2)/(2 sigma^2).
        known = 1 - (alpha / sigma) ** 2 * exact.law.posterior_variance(at, float(alpha), float(sigma)).cpu()
        slopes.append(drift + g2 * known / (2 * sigma**2))
    return 1 + h / 2 * (slopes[0] + slopes[1] * (1 + h * slopes[0]))


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
