r"""Collapse: samples that crowd together more than the data do, measured by counting close pairs.

ANSD, the average number of samples within a radius eps of a sample, divided by n - 1 is the fraction of close pairs:
an unbiased estimate of the correlation integral P(eps) = P(|X - X'| <= eps). On the line, for small eps, that is
2 eps int p^2, so the ratio of generated to true compares Renyi-2 entropies. It splits into two parts,

    P_gen/P - 1 = shift + unevenness,      shift = 2 (E_gen P(|x - X| <= eps)/P - 1),

mass moved to dense places of the law (either sign), and the local unevenness of the generated density, for small eps
int (p_gen - p)^2/int p^2. A law and its samples are compared by :func:`sample_split`, two laws on the line by
:func:`mixture_split`. With B(p, q) = P(|X - Y| <= eps), X ~ p and Y ~ q independent, B is bilinear and symmetric, so
the excess of the ratio splits without remainder,

    B(q, q)/B(p, p) - 1 = 2 [B(q, p)/B(p, p) - 1] + B(q - p, q - p)/B(p, p) = shift + unevenness.

References: Zhang et al., arXiv 2508.16154 (ANSD); Grassberger and Procaccia 1983 (correlation integral); Hill 1975.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.law import BLOCK, GaussianMixture, on_line
from ..core.numbers import count, floats, samples
from .pairs import count_neighbours, count_pairs

__all__ = [
    "Split", "ansd", "ansd_ratio", "cross_fraction", "law_pair_fraction", "law_renyi2", "mixture_split",
    "neighbour_counts", "pair_fraction", "sample_split", "tid",
]  # fmt: skip

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


def radii_of(eps: Radii) -> Tensor:
    """``eps`` as a float64 tensor of its own shape, () or (k,), on the CPU."""
    radii = floats(eps, "eps", torch.float64).cpu()
    if radii.ndim > 1 or not radii.numel() or not bool(((radii >= 0) & radii.isfinite()).all()):
        raise ValueError(f"eps = {eps!r}; allowed: finite numbers >= 0, one or a vector")
    return radii


def _shares(x: Tensor, eps: Radii, y: Tensor | None, scale: float) -> float | Tensor:
    """Close pairs times ``scale``: a float for a number eps, a float64 tensor for a vector."""
    radii = radii_of(eps)
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


def radius_of(eps: float) -> float:
    radius = radii_of(eps)
    if radius.ndim:
        raise ValueError(f"eps has shape {tuple(radius.shape)}; allowed: one number")
    return float(radius)


def neighbour_counts(x: Tensor, eps: float) -> Tensor:
    """#{j != i: |x_i - x_j| <= eps} for each sample, (n,) int64 on the device of x; one radius, else as :func:`ansd`.

    >>> neighbour_counts(torch.tensor([0.0, 1.0, 3.0]), 1.0)
    tensor([1, 1, 0])
    """
    return count_neighbours(_points(x, "x"), radius_of(eps))


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
    weight, gap, variance = _couples(on_line(law))
    radii, spread = radii_of(eps), variance.sqrt()
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


def near_law(x: Tensor, law: GaussianMixture, eps: float) -> Tensor:
    """P(|x - X| <= eps) for X of the law, elementwise, float64."""
    return law.cdf(x + eps) - law.cdf(x - eps)


class Split(NamedTuple):
    """The ratio of pair fractions and the two parts of its excess: ratio = 1 + shift + unevenness."""

    ratio: float
    shift: float
    unevenness: float


def sample_split(x: Tensor, law: GaussianMixture | Tensor, eps: float) -> Split:
    """The split of samples against a law, or against samples of it.

    The pair fractions are the unbiased ones, and E_gen P(|x - X| <= eps) is the cross fraction of both samples.

    Args:
        x: (n,) or (n, d) samples.
        law: a mixture on the line (exact), or samples of the law in any dimension.
        eps: one radius > 0.

    Raises:
        ValueError: as :func:`ansd`, and where no pair of the law's samples is within eps.
    """
    eps = radius_of(eps)
    if isinstance(law, (Tensor, np.ndarray)):
        base, cross = pair_fraction(law, eps), cross_fraction(x, law, eps)
    else:
        law = on_line(law)
        x = samples(x, "x")
        if _points(x, "x").shape[1] != 1:
            raise ValueError(f"x has shape {tuple(x.shape)}; allowed: (n,) or (n, 1) for a law on the line")
        base, cross = law_pair_fraction(law, eps), float(near_law(x.double().cpu(), law, eps).mean())
    if not base > 0:
        raise ValueError(f"eps = {eps!r}: no pair of law is that close; allowed: radii that some pair is within")
    ratio, shift = pair_fraction(x, eps) / base, 2 * (cross / base - 1)
    return Split(ratio, shift, ratio - 1 - shift)


def mixture_split(generated: GaussianMixture, law: GaussianMixture, eps: float) -> Split:
    """The split for two mixtures on the line, in closed form.

    The cross term follows from the pair fraction of the half-and-half mixture m of both, by polarisation:
    B(q, p) = 2 B(m, m) - (B(p, p) + B(q, q))/2.

    Raises:
        ValueError: as :func:`diffnotes.measure.crowding.law_pair_fraction`.

    >>> law = GaussianMixture([0.0], 1.0)
    >>> [round(part, 12) + 0.0 for part in mixture_split(law, law, 0.1)]
    [1.0, 0.0, 0.0]
    """
    laws = [one.to("cpu", torch.float64) for one in (generated, law)]
    both = GaussianMixture(*(torch.cat([getattr(one, name) for one in laws]) for name in ("means", "std", "weights")))
    own, true, mixed = (law_pair_fraction(one, eps) for one in (*laws, both))
    cross = 2 * mixed - (own + true) / 2
    return Split(own / true, 2 * (cross / true - 1), (own - 2 * cross + true) / true)
