"""The one place where a time, an alpha or a sigma is laid against a batch of samples."""

from __future__ import annotations

import torch
from torch import Tensor

from .numbers import tensor


def expand_like(value: float | Tensor, x: Tensor, name: str = "t", dtype: torch.dtype | None = None) -> Tensor:
    """Give ``value`` trailing axes so that it broadcasts against ``x``, on its device and in its dtype.

    For integer x that is float64; another ``dtype`` may be given.

    A number or 0-dim tensor applies to every sample. A tensor must have the shape of the *leading* axes of
    ``x``: ``(n,)`` for ``x`` of shape ``(n, d)`` or ``(n, c, h, w)``; ``(members, n)`` or ``(members,)`` for an
    ensemble ``(members, n, d)``. Matching leading axes only, never trailing ones, is what keeps a batch of n
    samples in n dimensions right.

    Raises:
        ValueError: if the shapes do not fit.
        TypeError: if ``value`` is no number.

    >>> expand_like(torch.tensor([1.0, 2.0]), torch.zeros(2, 3, 4)).shape
    torch.Size([2, 1, 1])
    """
    value = value if isinstance(value, Tensor) else tensor(value, name)
    dtype = dtype or (x.dtype if x.is_floating_point() else torch.float64)
    if x.device.type != "cpu" and value.device.type == "cpu" and value.numel() == 1 and not value.requires_grad:
        # A copy from the host would wait for the device; a fill with a number does not.
        value = torch.full(value.shape, float(value), dtype=dtype, device=x.device)
    value = value.to(dtype).to(x.device)
    lead = x.shape[: value.ndim]
    if value.ndim > x.ndim or any(v not in (1, s) for v, s in zip(value.shape, lead)):
        raise ValueError(
            f"{name} has shape {tuple(value.shape)}; allowed: a number, or the leading axes of x, "
            f"which has shape {tuple(x.shape)}"
        )
    return value.reshape(value.shape + (1,) * (x.ndim - value.ndim))
