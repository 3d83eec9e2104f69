r"""Distances between samples, and divergences between known laws.

Between samples x (n, d) and y (m, d), or members of an ensemble (members, n, d):

    wasserstein1         int_0^1 |F_x^{-1}(u) - F_y^{-1}(u)| du              d = 1, exact by sorting
    sliced_wasserstein   (mean of W_p^p over random directions)^{1/p}        any d
    energy_distance      (2 E|X - Y| - E|X - X'| - E|Y - Y'|)^{1/2}          any d
    frechet_distance     |m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^{1/2})   any d; the square of a distance

Samples stand for their empirical laws: no correction for bias, so two samples of one law are a little apart. All is
computed in float64 and returned in the dtype of x. Divergences between mixtures on the line, :func:`kl_quadrature` and
:func:`chi2_quadrature`, are integrals to about 1e-12.

References: Villani 2003, section 2.2 (the line); Bonneel et al. 2015 (slices); Szekely and Rizzo 2013 (energy);
Dowson and Landau 1982 (Frechet distance between Gaussian laws).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ._numbers import count, number, samples
from .law import BLOCK, GaussianMixture, _generator

__all__ = ["chi2_quadrature", "energy_distance", "frechet_distance", "kl_quadrature", "sliced_wasserstein",
           "wasserstein1", "wasserstein1_to"]


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
    n, m = x.shape[-1], y.shape[-1]
    # The steps end at i/n and j/m: as integers i m and j n in units of 1/(n m) they are exact.
    steps = [torch.arange(1, size + 1, device=x.device) * other for size, other in ((n, m), (m, n))]
    ends = torch.cat(steps).unique()
    width = torch.diff(ends, prepend=ends.new_zeros(1)).to(x.dtype) / (n * m)
    gap = x.sort(-1).values[..., (ends - 1) // m] - y.sort(-1).values[..., (ends - 1) // n]
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


def wasserstein1_to(x: Tensor, law: GaussianMixture) -> Tensor:
    """The 1-Wasserstein distance of a sample x, (n,) or (n, 1), from a mixture on the line, exact: int |F_x - F|.

    F_x is constant between neighbours, F has the antiderivative sum_k w_k s_k (z Phi(z) + phi(z)), and they cross at a
    quantile of the law. Same errors as :func:`wasserstein1`, and ValueError for a law off the line.
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
    cross = law.quantile(level).clamp(left, right)
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
    x, projections, p = samples(x, "x"), count(projections, "projections", 1), number(p, "p")
    a, b = _pair(x, y)
    if not (p >= 1 and math.isfinite(p)):
        raise ValueError(f"p = {p!r}; allowed: numbers >= 1")
    generator = _generator(generator, a.device)
    directions = torch.randn(projections, a.shape[-1], generator=generator, device=generator.device,
                             dtype=torch.float64).to(a.device)
    directions = directions / directions.norm(dim=1, keepdim=True)
    block = max(1, BLOCK // (a.numel() // a.shape[-1] + b.numel() // b.shape[-1]))
    total = sum(_quantile_gap((a @ part.T).mT, (b @ part.T).mT, p).sum(-1) for part in directions.split(block))
    return (total / len(directions)).pow(1 / p).to(x.dtype)


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
    return (shift + spread - 2 * cross).clamp(min=0).to(x.dtype)


def _integral(f: Callable[[Tensor], Tensor], knots: Tensor, tolerance: float = 1e-13) -> float:
    """int f over the range of ``knots``: 16-point Gauss-Legendre, panels halved until halving changes nothing.

    Only rounding noise in f keeps all panels active: halving ends when they have multiplied.
    """
    nodes, weights = (torch.as_tensor(v, device=knots.device) for v in np.polynomial.legendre.leggauss(16))

    def panels(low: Tensor, high: Tensor) -> Tensor:
        half = (high - low) / 2
        return half * (f((low + half)[:, None] + half[:, None] * nodes) @ weights)

    knots = knots.unique()
    low, high, total = knots[:-1], knots[1:], 0.0
    whole = panels(low, high)
    for _ in range(50):
        middle = (low + high) / 2
        left, right = panels(low, middle), panels(middle, high)
        size = total + float((left + right).sum())
        done = (left + right - whole).abs() <= tolerance * size
        total += float((left + right)[done].sum())
        low, high, whole = (torch.cat(ends) for ends in ((low[~done], middle[~done]), (middle[~done], high[~done]),
                                                         (left[~done], right[~done])))
        if not len(low) or len(low) > 8 * len(knots) or not math.isfinite(size):
            break
    return total + float(whole.sum())


def _knots(mean: Tensor, std: Tensor) -> Tensor:
    """Panel ends for an integrand made of Gaussians with these means and widths (any shape), out to 12 widths."""
    return (mean.reshape(-1, 1) + std.reshape(-1, 1) * torch.linspace(-12, 12, 25, dtype=mean.dtype)).flatten()


def _mixtures(p: GaussianMixture, q: GaussianMixture) -> list[GaussianMixture]:
    """Both in float64 on the CPU, without components of weight 0."""
    laws = []
    for name, law in (("p", p), ("q", q)):
        if not isinstance(law, GaussianMixture) or law.dim != 1 or law.has_points:
            raise ValueError(f"{name} = {law!r}; allowed: a GaussianMixture on the line with std > 0")
        law = law.to("cpu", torch.float64)
        there = law.weights > 0
        laws.append(GaussianMixture(law.means[there], law.std[there], law.weights[there]))
    return laws


def kl_quadrature(p: GaussianMixture, q: GaussianMixture) -> float:
    """KL(p || q) = int p log(p/q) in nats for mixtures on the line, to about 1e-12.

    The integrand used, p log(p/q) - p + q, has the same integral and is nowhere negative.

    Raises:
        ValueError: for a law off the line or with std = 0.

    >>> round(kl_quadrature(GaussianMixture([1.0], 1.0), GaussianMixture([0.0], 1.0)), 12)
    0.5
    """
    p, q = _mixtures(p, q)

    def integrand(x: Tensor) -> Tensor:
        log_p, log_q = (law.log_prob(x[..., None]) for law in (p, q))
        ratio, density = log_p - log_q, log_p.exp()
        return torch.where(ratio.abs() < 1, density * (ratio + torch.expm1(-ratio)),
                           density * (ratio - 1) + log_q.exp())

    return _integral(integrand, torch.cat([_knots(law.means, law.std) for law in (p, q)]))


def chi2_quadrature(p: GaussianMixture, q: GaussianMixture) -> float:
    """chi^2(p || q) = int (p - q)^2/q for mixtures on the line, to about 1e-12 relative; ``inf`` where it diverges.

    It is finite exactly if the widest component of p has less than twice the variance of the widest of q.

    Raises:
        ValueError: for a law off the line or with std = 0.
    """
    p, q = _mixtures(p, q)
    if float(p.std.max()) ** 2 >= 2 * float(q.std.max()) ** 2:
        return math.inf

    def integrand(x: Tensor) -> Tensor:
        log_p, log_q = (law.log_prob(x[..., None]) for law in (p, q))
        ratio = log_p - log_q
        # (p/q - 1)^2 q in logarithms where p/q is large, since q may underflow there.
        return torch.where(ratio > 1, (log_q + 2 * ratio + 2 * torch.log1p(-torch.exp(-ratio.clamp(min=1)))).exp(),
                           log_q.exp() * torch.expm1(ratio.clamp(max=1)) ** 2)

    # p^2/q is at most a sum of the Gaussians p_k p_l/q_j, j the widest component of q: they say where to look.
    j = int(q.std.argmax())
    precision = p.std**-2
    total = precision[:, None] + precision - q.std[j] ** -2
    pull = (precision * p.means[:, 0])[:, None] + precision * p.means[:, 0] - q.means[j, 0] / q.std[j] ** 2
    knots = [_knots(pull / total, total**-0.5), _knots(p.means, p.std), _knots(q.means, q.std)]
    return _integral(integrand, torch.cat(knots))
