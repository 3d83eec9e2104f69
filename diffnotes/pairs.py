r"""How many pairs of points are at most a radius apart: exact counts, by the engine that measured fastest.

Two points are neighbours if their distance, sqrt(sum_k (x_k - y_k)^2) in float64 of the given coordinates, is at most
eps. Every engine below counts exactly these pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ._progress import progress
from .law import BLOCK

__all__ = ["count_neighbours", "count_pairs"]

TREE = 10  # dimensions up to which the tree is used


def count_pairs(x: Tensor, radii: Sequence[float], y: Tensor | None = None) -> Tensor:
    """Pairs at most a radius apart, for each of ``radii``, (len(radii),) int64: i < j of x, or all (i, j) of x and y.

    Args:
        x, y: finite points (n, d) and (m, d), float32 or float64, on one device.
        radii: numbers >= 0.
    """
    radii = [float(r) for r in radii]
    if x.shape[1] == 1:
        a, b = x[:, 0].double().sort().values, None if y is None else y[:, 0].double().sort().values
        return torch.stack([_line(a, a if b is None else b, r, b is not None).sum() for r in radii]).cpu()
    if x.shape[1] <= TREE:
        return torch.as_tensor(_tree(x, radii, y))
    return _dense(x, radii, y)


def count_neighbours(x: Tensor, eps: float) -> Tensor:
    """For each point of x (n, d), how many others are at most ``eps`` away: (n,) int64 on the device of x."""
    if x.shape[1] == 1:
        a, order = x[:, 0].double().sort()
        above = _line(a, a, eps, False)
        below = _line(-a.flip(0), -a.flip(0), eps, False).flip(0)
        return torch.empty_like(order).scatter_(0, order, above + below)
    counts = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    for rows, _, near in _blocks(x, x, [eps], triangle=False):
        counts[rows] += near[0].sum(1)
    return counts - 1


def _line(a: Tensor, b: Tensor, eps: float, cross: bool) -> Tensor:
    """For sorted a and b: how many of b lie within eps of each a; if not ``cross``, a is b and later ones count."""
    ends = [_reach(a, b, eps)]
    if cross:
        ends.append(len(b) - _reach(-a.flip(0), -b.flip(0), eps).flip(0))
        return ends[0] - ends[1]
    return ends[0] - torch.arange(1, len(a) + 1, device=a.device)


def _reach(a: Tensor, b: Tensor, eps: float) -> Tensor:
    """For each of a, the number of the sorted b with b - a <= eps as float64 computes it."""
    ends = torch.searchsorted(b, a + eps, right=True)
    # a + eps is rounded, and so is b - a: where they disagree, bisect on the difference, which increases with b.
    last = b[(ends - 1).clamp(min=0)] - a
    after = b[ends.clamp(max=len(b) - 1)] - a
    wrong = ((ends > 0) & (last > eps)) | ((ends < len(b)) & (after <= eps))
    if bool(wrong.any()):
        start = a[wrong]
        low, high = torch.zeros_like(ends[wrong]), torch.full_like(ends[wrong], len(b))
        while bool((low < high).any()):
            middle = (low + high) // 2
            near = (b[middle.clamp(max=len(b) - 1)] - start <= eps) & (low < high)
            low, high = torch.where(near, middle + 1, low), torch.where(near | (low >= high), high, middle)
        ends[wrong] = low
    return ends


def _tree(x: Tensor, radii: Sequence[float], y: Tensor | None) -> np.ndarray:
    from scipy.spatial import cKDTree

    order = np.argsort(radii)
    counts = np.empty(len(radii), dtype=np.int64)
    tree = cKDTree(x.double().cpu().numpy())
    other = tree if y is None else cKDTree(y.double().cpu().numpy())
    counts[order] = tree.count_neighbors(other, np.asarray(radii)[order])
    return counts if y is not None else (counts - len(x)) // 2


def _blocks(x: Tensor, y: Tensor, radii: Sequence[float], triangle: bool):
    size = max(16, min(1024, int(math.sqrt(BLOCK)), 4 * BLOCK // x.shape[1]))
    for i in progress(range(0, len(x), size), "pairs"):
        for j in range(i if triangle else 0, len(y), size):
            rows, columns = slice(i, i + size), slice(j, j + size)
            distance = torch.cdist(x[rows].double(), y[columns].double(), compute_mode="donot_use_mm_for_euclid_dist")
            yield rows, columns, [distance <= r for r in radii]


def _dense(x: Tensor, radii: Sequence[float], y: Tensor | None) -> Tensor:
    counts = torch.zeros(len(radii), dtype=torch.int64)
    for rows, columns, near in _blocks(x, x if y is None else y, radii, triangle=y is None):
        for k, mask in enumerate(near):
            count = int(mask.sum())
            counts[k] += (count - len(mask)) // 2 if y is None and rows == columns else count
    return counts
