r"""The law that a sampler generates on the line, without sampling noise.

A deterministic sampler maps normal quantiles to generated quantiles, for scalar solutions do not cross; the law of a
stochastic one can be carried along its steps. Either way the generated law is known as an increasing map x(z).

:func:`ode_map` and :func:`sde_map` make such a :class:`FlowMap`, which measures its law.

Reference: Zhang et al., arXiv 2508.16154.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..core.denoiser import Denoiser, home_of, members_of
from ..core.law import GaussianMixture, on_line
from ..core.numbers import count, floats
from ..core.target import convert
from ..model.sample import ode, sde_steps
from .crowding import Radii, law_pair_fraction, near_law, radii_of, radius_of
from .distance import wasserstein1_to

__all__ = ["FlowMap", "ode_map", "sde_map"]


def _levels(count: int) -> Tensor:
    """The midpoints (i - 1/2)/count of ``count`` equal parts of [0, 1]."""
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


# --- the map of a sampler ---------------------------------------------------------------------------------------------


def ode_map(
    denoiser: Denoiser, times: Tensor | Sequence[float], points: int = 1000, method: str = "heun"
) -> FlowMap:
    """The map that :func:`diffnotes.ode` makes of normal quantiles at times[0]; ``denoiser`` may be an ensemble.

    The start is sigma z with sigma that of times[0], in the dtype of the network (float64 for an exact denoiser).

    Raises:
        ValueError: for fewer than 8 points, and as :func:`diffnotes.ode`.
    """
    points, times = count(points, "points", 8), floats(times, "times", torch.float64).cpu()
    z, members = torch.special.ndtri(_levels(points)), members_of(denoiser)
    dtype, device = home_of(denoiser)
    start = (float(denoiser.schedule(times[0])[1]) * z).to(device, dtype)[:, None]
    if members is not None:
        start = start.expand(members, -1, -1).contiguous()
    return FlowMap(z, ode(denoiser, start, times, method)[..., 0].double().cpu().sort(-1).values)


def sde_map(
    denoiser: Denoiser, law: GaussianMixture, times: Tensor | Sequence[float], points: int = 1000, cells: int = 2048
) -> FlowMap:
    """The law that Euler-Maruyama (:func:`diffnotes.sde`) generates, as the increasing map to its quantiles.

    No sample is drawn: the law itself is carried along the steps, from N(0, sigma^2) at times[0],

        law of x_s = (T # law of x_t) * N(0, r^2),   T(x) = p x0(x, t) + q eps(x, t),

    as masses on ``cells`` cells of an interval that holds law and noise. A cell's mass is moved and shared between two
    cells, and what this adds to its variance is taken off the noise of the step, a Fourier transform. The result is
    exact up to the cells; mass that would leave the interval stays at its ends.

    Args:
        denoiser: exact, a network or an ensemble, on a schedule in continuous time.
        law: on the line; it only gives the interval.
        times: decreasing; points: quantiles of the result; cells: at least 64.

    Raises:
        ValueError: for a law off the line, or fewer than 64 cells.
    """
    law, cells, points = on_line(law), count(cells, "cells", 64), count(points, "points", 1)
    times = floats(times, "times", torch.float64).cpu()
    first = float(denoiser.schedule(times[0])[1])
    reach = 1.25 * max(float((law.means.abs().squeeze(-1) + 5 * law.std).max()), 5 * first)
    x = torch.linspace(-reach, reach, cells, dtype=torch.float64)
    h = float(x[1] - x[0])
    mass = torch.exp(-0.5 * (x / first) ** 2)
    mass = (mass / mass.sum()).expand(members_of(denoiser) or 1, -1)
    for moved, r in _drifts(denoiser, x, times):
        mass = _stepped(mass, (moved + reach) / h, h, r)
    below, edges = mass.cumsum(-1), x + h / 2
    ends = torch.stack([torch.from_numpy(np.interp(_levels(points), row, edges)) for row in below])
    return FlowMap(torch.special.ndtri(_levels(points)), ends[0] if members_of(denoiser) is None else ends)


def _drifts(denoiser: Denoiser, x: Tensor, times: Tensor) -> list[tuple[Tensor, float]]:
    """For each step where its drift takes the points x, (members or 1, cells), and the deviation of its noise.

    This does not depend on the masses, so a device is asked for all steps before it is waited for.
    """
    members, (dtype, device) = members_of(denoiser), home_of(denoiser)
    at = x.to(device, dtype)[:, None]
    at = at if members is None else at.repeat(members, 1, 1)
    p, q, r = (part.tolist() for part in sde_steps(denoiser.schedule, times))
    ends = []
    for k, t in enumerate(times[:-1].tolist()):
        with torch.no_grad():
            y, levels = denoiser.predict(at, t), denoiser.schedule(t)
            x0, eps = (convert(y, at, *levels, source=denoiser.target, to=to) for to in ("x0", "eps"))
        ends.append((p[k] * x0 + q[k] * eps).double())
    return list(zip(torch.stack(ends).cpu().reshape(len(ends), members or 1, len(x)), r))


def _stepped(mass: Tensor, place: Tensor, h: float, r: float) -> Tensor:
    """Masses (members, cells) moved to ``place``, in cells of width ``h``, and spread by noise of deviation ``r``."""
    cells = mass.shape[-1]
    place = place.clamp(0, cells - 1.001)
    left = place.long()
    share = place - left
    added = h**2 * (mass * share * (1 - share)).sum(-1, keepdim=True)
    after = torch.zeros_like(mass).scatter_add_(-1, left, mass * (1 - share))
    after.scatter_add_(-1, left + 1, mass * share)
    frequency = 2 * math.pi * torch.fft.rfftfreq(cells, h, dtype=torch.float64)
    spread = torch.exp(-0.5 * (r**2 - added).clamp(min=0) * frequency**2)
    mass = torch.fft.irfft(torch.fft.rfft(after) * spread, cells).clamp(min=0)
    return mass / mass.sum(-1, keepdim=True)


# --- its law, measured ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FlowMap:
    """The law that a sampler generates on the line, known through its increasing map x(z) of normal quantiles.

    Between the points, and beyond the last ones, the map is linear in z; all quantities below are those of this law,
    without sampling noise. Results have a leading axis of members where ``x`` has one; float64 on the CPU.

    Attributes:
        z: (points,) standard normal quantiles Phi^{-1}((i - 1/2)/points).
        x: (points,) or (members, points), increasing.
    """

    z: Tensor
    x: Tensor

    @classmethod
    def of(cls, denoiser: Denoiser, *args, **options) -> FlowMap:
        """:func:`ode_map`, with its arguments."""
        return ode_map(denoiser, *args, **options)

    @classmethod
    def of_sde(cls, denoiser: Denoiser, law: GaussianMixture, *args, **options) -> FlowMap:
        """:func:`sde_map`, with its arguments."""
        return sde_map(denoiser, law, *args, **options)

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

    def pair_fraction(self, eps: Radii, refine: int = 10_000) -> Tensor:
        """P(|X - X'| <= eps) of the generated law: (members,), for a vector of radii (members, radii).

        The mean over ``refine`` levels u of F(x_u + eps) - F(x_u - eps), F the generated distribution function.
        """
        radii, levels = radii_of(eps), _levels(count(refine, "refine", 1))
        return self._each(lambda x: self._pairs(x, radii, levels))

    def ratio(self, law: GaussianMixture, eps: Radii, refine: int = 10_000) -> Tensor:
        """The pair-fraction ratio, generated over ``law``: > 1 where the sampler crowds its samples."""
        return self.pair_fraction(eps, refine) / law_pair_fraction(law, eps)

    def split(self, law: GaussianMixture, eps: float, refine: int = 10_000) -> tuple[Tensor, Tensor]:
        """(shift, unevenness), with ratio - 1 = shift + unevenness."""
        law, eps = on_line(law), radius_of(eps)
        near = near_law(self.quantile(_levels(count(refine, "refine", 1))), law, eps).mean(-1)
        shift = 2 * (near / law_pair_fraction(law, eps) - 1)
        return shift, self.ratio(law, eps, refine) - 1 - shift

    def total_variation(self, law: GaussianMixture, bins: int = 200) -> Tensor:
        """1/2 sum |1/bins - P(bin)| over ``bins`` bins of equal generated mass: a lower bound, close for many bins."""
        law, bins = on_line(law), count(bins, "bins", 1)
        edges = self.quantile(torch.arange(1, bins, dtype=torch.float64) / bins)
        ends = edges.new_zeros((*edges.shape[:-1], 1))
        mass = torch.cat([ends, law.cdf(edges), ends + 1], -1).diff(dim=-1)
        return (mass - 1 / bins).abs().sum(-1) / 2

    def wasserstein1(self, law: GaussianMixture) -> Tensor:
        """int |F_gen - F| dx, in the units of x, of 4,000 generated quantiles."""
        law, n = on_line(law), 4_000
        nodes, between = self.quantile(_levels(n)), law.quantile(torch.arange(1, n, dtype=torch.float64) / n)
        rows = [wasserstein1_to(row, law, between) for row in nodes.reshape(-1, n)]
        return torch.stack(rows).reshape(nodes.shape[:-1])

    def flat_share(self, law: GaussianMixture) -> Tensor:
        """The share of the mass where dx/dz is below a third of that of the exact monotone map F^{-1}(Phi(z))."""
        exact = on_line(law).quantile(torch.special.ndtr(self.z)).diff()
        return (self.x.diff(dim=-1) < exact / 3).double().mean(-1)

    def density_ratio(self, law: GaussianMixture) -> Tensor:
        """p_gen/p as the ratio of masses on each interval between neighbours, (..., points - 1)."""
        return 1 / (len(self.z) * on_line(law).cdf(self.x).diff(dim=-1))
