r"""Kullback-Leibler and chi^2 divergences, of masses and of mixtures on the line; that of Gaussians in closed form.

    KL(p || q) = E_p log(p/q) in nats,      chi^2(p || q) = int (p - q)^2/q.

Integrals are sums of Gauss-Legendre panels evaluated all at once, which takes some milliseconds where scipy's adaptive
rules, asked for the same digits of the same integrands, take from a tenth of a second to several.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..core.law import GaussianMixture

__all__ = ["as_masses", "chi2", "covariance_kl", "integral", "kl", "knots_around"]


def integral(f: Callable[[Tensor], Tensor], knots: Tensor, tolerance: float = 1e-13) -> float:
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


def knots_around(mean: Tensor, std: Tensor) -> Tensor:
    """Panel ends for an integrand made of Gaussians with these means and widths (any shape), out to 12 widths."""
    return (mean.reshape(-1, 1) + std.reshape(-1, 1) * torch.linspace(-12, 12, 25, dtype=mean.dtype)).flatten()


# --- divergences ------------------------------------------------------------------------------------------------------


def kl(p: Tensor | GaussianMixture, q: Tensor | GaussianMixture) -> Tensor:
    """KL(p || q) = E_p log(p/q) in nats, of masses or of mixtures on the line.

    Args:
        p, q: masses (..., cells) that sum to 1, or mixtures with std > 0; these are integrated to about 1e-12.

    Returns:
        (...) float64, for mixtures one number.

    Raises:
        TypeError: unless both are masses or both are mixtures.
        ValueError: for negative masses, sums other than 1, a law off the line or with std = 0.

    >>> round(float(kl(GaussianMixture([1.0], 1.0), GaussianMixture([0.0], 1.0))), 12)
    0.5
    """
    if _are_masses(p, q):
        p, q = as_masses(p=p, q=q)
        return (torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum(-1).clamp(min=0)
    p, q = _mixtures(p, q)

    def integrand(x: Tensor) -> Tensor:
        # p log(p/q) - p + q has the same integral and is nowhere negative
        log_p, log_q = (law.log_prob(x[..., None]) for law in (p, q))
        ratio, density = log_p - log_q, log_p.exp()
        return torch.where(ratio.abs() < 1, density * (ratio + torch.expm1(-ratio)),
                           density * (ratio - 1) + log_q.exp())

    return _number(integral(integrand, torch.cat([knots_around(law.means, law.std) for law in (p, q)])))


def chi2(p: Tensor | GaussianMixture, q: Tensor | GaussianMixture) -> Tensor:
    """chi^2(p || q) = int (p - q)^2/q, of masses or of mixtures on the line; ``inf`` where it diverges.

    Of masses it is infinite where p has some and q has none; of mixtures exactly if the widest component of p has twice
    the variance of the widest of q, or more. Arguments, result and errors as :func:`kl`.

    >>> chi2(torch.tensor([0.6, 0.4]), torch.tensor([0.5, 0.5]))
    tensor(0.0400, dtype=torch.float64)
    """
    if _are_masses(p, q):
        p, q = as_masses(p=p, q=q)
        return torch.where(p == q, 0.0, (p - q) ** 2 / q).sum(-1)
    p, q = _mixtures(p, q)
    if float(p.std.max()) ** 2 >= 2 * float(q.std.max()) ** 2:
        return _number(math.inf)

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
    knots = [knots_around(pull / total, total**-0.5), knots_around(p.means, p.std), knots_around(q.means, q.std)]
    return _number(integral(integrand, torch.cat(knots)))


def covariance_kl(first: Tensor, second: Tensor) -> Tensor:
    """KL(N(0, first) || N(0, second)) = (tr(S^-1 C) - d - log det(S^-1 C))/2 in nats, with C, S the two in this order.

    Args:
        first, second: positive definite covariances (..., d, d); leading axes broadcast.

    Returns:
        (...) in their dtype.

    Raises:
        ValueError: for matrices that are not square and of one size.

    >>> covariance_kl(torch.eye(2), torch.eye(2))
    tensor(0.)
    """
    if first.ndim < 2 or second.ndim < 2 or len({*first.shape[-2:], *second.shape[-2:]}) > 1:
        raise ValueError(f"first {tuple(first.shape)}, second {tuple(second.shape)}; allowed: both (..., d, d)")
    ratio = torch.linalg.solve(second, first)
    trace = ratio.diagonal(dim1=-2, dim2=-1).sum(-1)
    return (trace - ratio.shape[-1] - torch.linalg.slogdet(ratio).logabsdet) / 2


# --- what they are of -------------------------------------------------------------------------------------------------


def as_masses(**laws: Tensor) -> list[Tensor]:
    """The named masses in float64, checked to be >= 0 and to sum to 1 along the last axis.

    Raises:
        TypeError: for what is no floating-point tensor.
        ValueError: for negative masses, or sums other than 1.
    """
    for name, law in laws.items():
        if not isinstance(law, Tensor) or not law.is_floating_point() or law.ndim < 1:
            raise TypeError(f"{name} = {law!r}; allowed: a floating-point tensor of masses (..., cells)")
        if not bool((law >= 0).all()) or not bool(((law.sum(-1) - 1).abs() < 1e-6).all()):
            raise ValueError(f"{name} has the minimum {law.min():g} and sums {law.sum(-1).flatten()[:3].tolist()}; "
                             "allowed: masses >= 0 that sum to 1")
    return [law.double() for law in laws.values()]


def _are_masses(p: Tensor | GaussianMixture, q: Tensor | GaussianMixture) -> bool:
    """Whether both are masses rather than mixtures."""
    for kind in (Tensor, GaussianMixture):
        if isinstance(p, kind) and isinstance(q, kind):
            return kind is Tensor
    raise TypeError(f"p = {p!r}, q = {q!r}; allowed: two tensors of masses, or two mixtures on the line")


def _mixtures(p: GaussianMixture, q: GaussianMixture) -> list[GaussianMixture]:
    """Both in float64 on the CPU, without components of weight 0."""
    laws = []
    for name, law in (("p", p), ("q", q)):
        if law.dim != 1 or law.has_points:
            raise ValueError(f"{name} = {law!r}; allowed: a GaussianMixture on the line with std > 0")
        law = law.to("cpu", torch.float64)
        there = law.weights > 0
        laws.append(GaussianMixture(law.means[there], law.std[there], law.weights[there]))
    return laws


def _number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)
