r"""Rank correlation: whether two measures put the same things in the same order.

Spearman's coefficient is the correlation of ranks, ties sharing the mean of theirs. It ignores the scales of the
measures, so a ratio can be compared with a distance. Many pairs of rows are done at once, as a bootstrap needs.

References: Spearman 1904; Kendall and Gibbons 1990.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["rank_correlation"]


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's rank correlation along the last axis, float64 on the CPU, of the shape of the leading axes.

    Args:
        a, b: (..., n) values of two measures, with n >= 2.

    Raises:
        ValueError: for shapes that differ, fewer than two values, non-finite ones, or values that are all equal (there
            is no order to compare).

    >>> rank_correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 10.0, 5.0]))
    tensor(0.5000, dtype=torch.float64)
    """
    from scipy.stats import rankdata

    a, b = (torch.as_tensor(values, dtype=torch.float64).detach().cpu() for values in (a, b))
    if a.shape != b.shape or a.ndim < 1 or a.shape[-1] < 2:
        raise ValueError(f"a and b have shapes {tuple(a.shape)} and {tuple(b.shape)}; allowed: one (..., n), n >= 2")
    if not bool(a.isfinite().all() and b.isfinite().all()):
        raise ValueError("a or b has non-finite entries; allowed: finite numbers")
    middle = (a.shape[-1] + 1) / 2
    x, y = (torch.from_numpy(rankdata(values.numpy(), axis=-1)) - middle for values in (a, b))
    size = (x.square().sum(-1) * y.square().sum(-1)).sqrt()
    if bool((size == 0).any()):
        raise ValueError("a or b has a row of equal values; allowed: rows with at least two different values")
    return (x * y).sum(-1) / size
