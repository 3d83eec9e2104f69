r"""Distances between samples.

Between samples x (n, d) and y (m, d), or members of an ensemble (members, n, d):

    wasserstein1         int_0^1 |F_x^{-1}(u) - F_y^{-1}(u)| du              d = 1, exact by sorting
    sliced_wasserstein   (mean of W_p^p over random directions)^{1/p}        any d
    energy_distance      (2 E|X - Y| - E|X - X'| - E|Y - Y'|)^{1/2}          any d
    frechet_distance     |m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^{1/2})   any d; the square of a distance

Samples stand for their empirical laws: no correction for bias, so two samples of one law are a little apart. All is
computed in float64 and returned in the dtype of x.

References: Villani 2003, section 2.2 (the line); Bonneel et al. 2015 (slices); Szekely and Rizzo 2013 (energy);
Dowson and Landau 1982 (Frechet distance between Gaussian laws).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..core import cost
from ..core.generators import generator_of
from ..core.law import BLOCK, GaussianMixture
from ..core.numbers import count, number, samples

__all__ = [
    "SlicedDistance", "energy_distance", "frechet_distance", "sliced_wasserstein", "wasserstein1", "wasserstein1_to",
]  # fmt: skip


def _samples(value: Tensor, name: str, least: int = 1) -> Tensor:
    """``value`` as (..., n, d) in float64; a tensor of one axis is n numbers."""
    value = samples(value, name)
    points = value.to(torch.float64).unsqueeze(-1) if value.ndim == 1 else value.to(torch.float64)
    if points.ndim < 2 or points.shape[-2] < least or not points.numel():
        raise ValueError(f"{name} has shape {tuple(value.shape)}; allowed: (..., n, d) with n >= {least}")
    if not bool(points.isfinite().all()):
        raise ValueError(f"{name} has non-finite entries; allowed: finite samples")
    return points


def _pair(x: Tensor, y: Tensor, least: int = 1) -> tuple[Tensor, Tensor]:
    a, b = _samples(x, "x", least), _samples(y, "y", least)
    try:
        lead = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except RuntimeError:
        lead = None
    if lead is None or a.shape[-1] != b.shape[-1]:
        raise ValueError(f"y has shape {tuple(y.shape)}; allowed: shapes that fit x, which has {tuple(x.shape)}")
    return a.expand(lead + a.shape[-2:]), b.expand(lead + b.shape[-2:])


def _line(*values: Tensor) -> list[Tensor]:
    for value in values:
        if value.shape[-1] != 1:
            raise ValueError(f"samples have dimension {value.shape[-1]}; allowed: 1")
    return [value.squeeze(-1) for value in values]


def _quantile_gap(x: Tensor, y: Tensor, p: float) -> Tensor:
    """int_0^1 |F_x^{-1} - F_y^{-1}|^p du for x (..., n) and y (..., m): a sum over the steps of both."""
    return _sorted_gap(_ascending(x), _ascending(y), p)


def _ascending(x: Tensor) -> Tensor:
    """x sorted along its last axis; on a CPU by numpy, whose sort is several times as fast."""
    if x.device.type != "cpu" or x.requires_grad:
        return x.sort(-1).values
    return torch.from_numpy(np.sort(x.numpy(), -1))


def _sorted_gap(x: Tensor, y: Tensor, p: float) -> Tensor:
    """:func:`_quantile_gap` of sorted x and y, whose leading axes broadcast."""
    n, m = x.shape[-1], y.shape[-1]
    if m % n == 0:  # each step of x faces m/n steps of y, one of which is taken at a time: no large temporary
        gaps = ((x - part).abs() for part in y.unflatten(-1, (n, m // n)).unbind(-1))
        return sum((gap if p == 1 else gap**p).sum(-1) for gap in gaps) / m
    # The steps end at i/n and j/m: as integers i m and j n in units of 1/(n m) they are exact.
    steps = [torch.arange(1, size + 1, device=x.device) * other for size, other in ((n, m), (m, n))]
    ends = torch.cat(steps).unique()
    width = torch.diff(ends, prepend=ends.new_zeros(1)).to(x.dtype) / (n * m)
    gap = x[..., (ends - 1) // m] - y[..., (ends - 1) // n]
    return (gap.abs() ** p) @ width


def wasserstein1(x: Tensor, y: Tensor) -> Tensor:
    """The 1-Wasserstein distance of samples on the line, exact, for any two sizes; O(n log n).

    Args:
        x, y: (n,) and (m,); or (..., n, 1) and (..., m, 1).

    Returns:
        The distance in the units of x, of the shape of the leading axes.

    Raises:
        ValueError: for d > 1, empty or non-finite samples, or leading axes that do not fit.

    >>> wasserstein1(torch.tensor([0.0, 1.0]), torch.tensor([0.5]))
    tensor(0.5000)
    """
    x = samples(x, "x")
    return _quantile_gap(*_line(*_pair(x, y)), p=1).to(x.dtype)


def wasserstein1_to(x: Tensor, law: GaussianMixture, quantiles: Tensor | None = None) -> Tensor:
    """The 1-Wasserstein distance of a sample x, (n,) or (n, 1), from a mixture on the line, exact: int |F_x - F|.

    F_x is constant between neighbours, F has the antiderivative sum_k w_k s_k (z Phi(z) + phi(z)), and they cross at a
    quantile of the law. ``quantiles``, (n - 1,) float64 at i/n, may be given for many samples of one size: they take
    most of the time. Same errors as :func:`wasserstein1`, and ValueError for a law off the line.
    """
    x = samples(x, "x")
    (points,) = _line(_samples(x, "x"))
    if points.ndim != 1:
        raise ValueError(f"x has shape {tuple(x.shape)}; allowed: (n,) or (n, 1)")
    law = law.to(points.device, torch.float64)
    points = points.sort().values

    def below(q: Tensor, sign: float = 1.0) -> Tensor:
        """int_{-inf}^q F for sign 1; int_q^inf (1 - F) for sign -1."""
        z = sign * (q[:, None] - law.means[:, 0]) / law.std
        density = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
        return (law.std * (z * torch.special.ndtr(z) + density)) @ law.weights

    level = torch.arange(1, len(points), dtype=torch.float64, device=points.device) / len(points)
    left, right = points[:-1], points[1:]
    if quantiles is None:
        quantiles = law.quantile(level)
    elif quantiles.shape != level.shape:
        raise ValueError(f"quantiles has shape {tuple(quantiles.shape)}; allowed: ({len(level)},)")
    cross = quantiles.to(level).clamp(left, right)
    under = level * (cross - left) - (below(cross) - below(left))
    over = below(right) - below(cross) - level * (right - cross)
    return (under.sum() + over.sum() + below(points[:1]).sum() + below(points[-1:], -1.0).sum()).to(x.dtype)


def sliced_wasserstein(x: Tensor, y: Tensor, projections: int, generator: torch.Generator | int,
                       p: float = 2) -> Tensor:
    """(mean over random unit directions of W_p^p of the projections)^{1/p}; every member sees the same directions.

    Args:
        x, y: (..., n, d) and (..., m, d).
        projections: the number of directions; the error of the mean falls as projections^{-1/2}.
        generator: a torch.Generator or a seed.
        p: order >= 1.

    Raises:
        ValueError: for shapes that do not fit, non-finite samples, projections < 1 or p < 1.
    """
    x = samples(x, "x")
    a, b = _pair(x, y)
    directions, p = _directions(a, projections, generator, p)
    block = max(1, BLOCK // (a.numel() // a.shape[-1] + b.numel() // b.shape[-1]))
    total = sum(_quantile_gap((a @ part.T).mT, (b @ part.T).mT, p).sum(-1) for part in directions.split(block))
    return (total / len(directions)).pow(1 / p).to(x.dtype)


def _directions(x: Tensor, projections: int, generator: torch.Generator | int, p: float) -> tuple[Tensor, float]:
    """Random unit directions (projections, d) for points x (..., n, d), and the order p, checked."""
    projections, p = count(projections, "projections", 1), number(p, "p")
    if not (p >= 1 and math.isfinite(p)):
        raise ValueError(f"p = {p!r}; allowed: numbers >= 1")
    generator = generator_of(generator, x.device)
    directions = torch.randn(projections, x.shape[-1], generator=generator, device=generator.device,
                             dtype=torch.float64).to(x.device)
    return directions / directions.norm(dim=1, keepdim=True), p


class SlicedDistance:
    """:func:`sliced_wasserstein` of many samples x from one y (m, d), whose projections are made and sorted once.

    Called with x (..., n, d) it returns (...), in the dtype of x; fast where n divides m. Other arguments and errors as
    there.

    >>> y = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    >>> bool(SlicedDistance(y, 16, 0)(y[None] + 3) == sliced_wasserstein(y[None] + 3, y, 16, 0))
    True
    """

    def __init__(self, y: Tensor, projections: int, generator: torch.Generator | int, p: float = 2) -> None:
        y = _samples(y, "y")
        if y.ndim != 2:
            raise ValueError(f"y has shape {tuple(y.shape)}; allowed: (m, d)")
        self.directions, self.p = _directions(y, projections, generator, p)
        self.y = _ascending((y @ self.directions.T).mT)

    def __call__(self, x: Tensor) -> Tensor:
        x = samples(x, "x")
        points = _samples(x, "x")
        if points.shape[-1] != self.directions.shape[1]:
            raise ValueError(f"x has shape {tuple(x.shape)}; allowed: (..., n, {self.directions.shape[1]})")
        total = 0.0
        block = max(1, BLOCK // (points.numel() // points.shape[-1] + self.y.shape[1]))
        for part, y in zip(self.directions.split(block), self.y.split(block)):
            total = total + _sorted_gap(_ascending((points @ part.T).mT), y, self.p).sum(-1)
        return (total / len(self.directions)).pow(1 / self.p).to(x.dtype)


def _mean_gap(a: Tensor, b: Tensor) -> Tensor:
    """E|A - B| over all pairs, by differences (a matrix product would lose near-duplicates), in blocks of rows."""
    rows = max(1, 4 * BLOCK // (b.numel() // b.shape[-1]))
    exact = "donot_use_mm_for_euclid_dist"
    total = sum(torch.cdist(part, b, compute_mode=exact).sum((-2, -1)) for part in a.split(rows, -2))
    return total / (a.shape[-2] * b.shape[-2])


def energy_distance(x: Tensor, y: Tensor) -> Tensor:
    """The energy distance (2 E|X - Y| - E|X - X'| - E|Y - Y'|)^{1/2}, means over all pairs, self-pairs included.

    The square root makes it a metric and equal to ``scipy.stats.energy_distance`` on the line, where it is
    (2 int (F_x - F_y)^2)^{1/2}, done by sorting; else O(n m) time in blocks of bounded memory.

    Args:
        x, y: (n,) and (m,); or (..., n, d) and (..., m, d).

    Raises:
        ValueError: for shapes that do not fit, empty or non-finite samples.
    """
    x = samples(x, "x")
    a, b = _pair(x, y)
    if a.shape[-1] > 1:
        square = 2 * _mean_gap(a, b) - _mean_gap(a, a) - _mean_gap(b, b)
    else:
        a, b = _line(a, b)
        values, order = torch.cat([a, b], -1).sort(-1)
        jump = torch.cat([a.new_full(a.shape, 1 / a.shape[-1]), b.new_full(b.shape, -1 / b.shape[-1])], -1)
        gap = jump.gather(-1, order).cumsum(-1)[..., :-1]
        square = 2 * (gap**2 * values.diff(dim=-1)).sum(-1)
    return square.clamp(min=0).sqrt().to(x.dtype)


def frechet_distance(x: Tensor, y: Tensor) -> Tensor:
    """|m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^{1/2}), the squared Frechet distance of the fitted Gaussians.

    With C = R^T R from a QR of the centred sample, the trace of the root is the sum of the singular values of
    R_x R_y^T: no root of a matrix is taken, and singular covariances (n <= d, constant features) lose no accuracy.

    Args:
        x, y: features (..., n, d) and (..., m, d), n, m >= 2; C has the divisor n - 1.

    Raises:
        ValueError: for shapes that do not fit, fewer than two samples or non-finite ones.
    """
    x = samples(x, "x")
    a, b = _pair(x, y, least=2)
    roots = [torch.linalg.qr((v - v.mean(-2, keepdim=True)) / math.sqrt(v.shape[-2] - 1), mode="r").R for v in (a, b)]
    shift = (a.mean(-2) - b.mean(-2)).square().sum(-1)
    spread = sum(root.square().sum((-2, -1)) for root in roots)
    cross = torch.linalg.svdvals(roots[0] @ roots[1].mT).sum(-1)
    return cost.plausible((shift + spread - 2 * cross).clamp(min=0)).to(x.dtype)



