r"""What a network is told of the time: a :class:`Condition`, and times shared on sub-intervals (E-TSDM).

Source of the sharing: Yang et al., arXiv 2306.11251.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..core.schedule import Chain, Schedule

__all__ = ["Condition", "Shared", "left_ends", "share_timesteps"]


def left_ends(n: int, t_tilde: float) -> Tensor:
    """The left ends of the ``n`` sub-intervals of [0, t_tilde), (n,) float64. Raises as :func:`share_timesteps`."""
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise TypeError(f"n = {n!r}; allowed: integers >= 1")
    if n < 1:
        raise ValueError(f"n = {n}; allowed: integers >= 1")
    if isinstance(t_tilde, Tensor) and t_tilde.numel() == 1:
        t_tilde = t_tilde.item()
    if isinstance(t_tilde, bool) or not isinstance(t_tilde, (int, float, np.number)):
        raise TypeError(f"t_tilde = {t_tilde!r}; allowed: positive, finite numbers")
    if not (math.isfinite(t_tilde) and t_tilde > 0):
        raise ValueError(f"t_tilde = {t_tilde!r}; allowed: positive, finite numbers")
    return float(t_tilde) * torch.arange(n, dtype=torch.float64) / n


@lru_cache(maxsize=64)
def _ends_on(n: int, t_tilde: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    """:func:`left_ends` of arguments known to be right, on a device: sent there once."""
    return left_ends(n, t_tilde).to(device, dtype)


def share_timesteps(t: float | Tensor, n: int, t_tilde: float) -> Tensor:
    """The time that E-TSDM tells a network: the left end of the sub-interval of [0, t_tilde) that holds t; else t.

    Args:
        t: times >= 0, a number or a tensor of any shape.
        n: number of sub-intervals, of length t_tilde/n each.
        t_tilde: end of the shared times, in the units of ``t``; t_tilde itself is not shared.

    Returns:
        A tensor of the shape, device and dtype of ``t`` (float64 for a number). Whole times stay whole numbers where
        all left ends are, and become float64 otherwise.

    Raises:
        ValueError: for n < 1, t_tilde that is not positive and finite, or times that are negative or not finite.
        TypeError: for n that is no integer, or t or t_tilde that are no real numbers.

    Source: Yang et al. 2024 (f_T of E-TSDM).

    >>> share_timesteps(torch.tensor([0, 19, 20, 99, 100, 731]), n=5, t_tilde=100).tolist()
    [0, 0, 20, 80, 100, 731]
    """
    ends = left_ends(n, t_tilde)
    try:
        t = torch.as_tensor(t, dtype=None if isinstance(t, (Tensor, np.ndarray)) else torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"t = {t!r}; allowed: a number or a tensor of numbers") from error
    if t.is_complex() or t.dtype == torch.bool:
        raise TypeError(f"t has dtype {t.dtype}; allowed: real numbers")
    # As for schedules, only the host's times are checked: a comparison on a GPU would be a host sync.
    if t.device.type == "cpu" and not bool(((t >= 0) & (t < math.inf)).all()):
        raise ValueError(f"t = {t.flatten()[:4].tolist()}; allowed: finite numbers >= 0")
    if not t.is_floating_point() and not bool((ends == ends.round()).all()):
        t = t.double()
    # The ends are compared in t's own dtype: what is returned is found again, so that sharing twice changes nothing.
    ends = _ends_on(len(ends), float(t_tilde), t.device, t.dtype)
    left = ends[torch.bucketize(t.contiguous(), ends, right=True) - 1]
    return torch.where(t < t_tilde, left, t)


@dataclass(frozen=True)
class Condition:
    r"""What a network is told of the time t: the features u, sin(k pi u/2), cos(k pi u/2), k = 1..``frequencies``.

    u runs over [-1, 1] whatever the ``kind``:

    =========  =============================  ====================================================================
    "t"        2 t/T - 1                      T = 1 for a schedule (or none), the number of steps for a chain
    "log_snr"  tanh(log SNR(t)/8)             bounded, so that the pure ends (SNR 0 or infinite) are ordinary inputs
    "sigma"    2 sigma_t/sigma_T - 1          the noise level
    =========  =============================  ====================================================================

    The frequencies stay low on purpose: the fastest wave in t/T has ``frequencies`` pi rad over the whole time axis (8:
    25 rad, or 0.025 rad a step for T = 1000), so that a network cannot wiggle between neighbouring times.

    Args:
        kind: "t", "log_snr" or "sigma".
        schedule: needed for "log_snr", "sigma", ``data_std``, and to know a chain's T.
        frequencies: number of waves, >= 0; :attr:`size` = 1 + 2 ``frequencies`` features.
        map: replaces t before anything else, e.g. by the left end of its sub-interval.
        data_std: if given, the network's input is scaled to unit variance, c_t = 1/sqrt(alpha^2 data_std^2 + sigma^2).

    Raises:
        ValueError: for an unknown ``kind``, a missing ``schedule``, or numbers out of range.

    >>> Condition("t", frequencies=1)(torch.tensor([0.0, 1.0])).shape
    torch.Size([2, 3])
    """

    kind: str = "t"
    schedule: Schedule | Chain | None = None
    frequencies: int = 8
    map: Callable[[Tensor], Tensor] | None = None
    data_std: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("t", "log_snr", "sigma"):
            raise ValueError(f"kind = {self.kind!r} is unknown; allowed: 't', 'log_snr', 'sigma'")
        if self.schedule is None and (self.kind != "t" or self.data_std is not None):
            raise ValueError(f"schedule = None: kind = {self.kind!r} with data_std = {self.data_std} needs a schedule")
        if self.frequencies < 0:
            raise ValueError(f"frequencies = {self.frequencies} must be >= 0")
        if self.data_std is not None and not self.data_std > 0:
            raise ValueError(f"data_std = {self.data_std} must be positive")

    @property
    def size(self) -> int:
        """The number of features."""
        return 1 + 2 * self.frequencies

    def _time(self, t: float | Tensor) -> Tensor:
        t = torch.as_tensor(t, dtype=t.dtype if isinstance(t, Tensor) and t.is_floating_point() else torch.float64)
        return t if self.map is None else self.map(t)

    def __call__(self, t: float | Tensor) -> Tensor:
        """The features of ``t``, with one more axis of length :attr:`size`."""
        t = self._time(t)
        last = self.schedule.T if isinstance(self.schedule, Chain) else 1
        if self.kind == "t":
            u = 2 * t / last - 1
        elif self.kind == "log_snr":
            u = torch.tanh(self.schedule.log_snr(t) / 8)
        else:
            u = 2 * self.schedule(t)[1] / self.schedule(last)[1] - 1
        waves = u[..., None] * (math.pi / 2 * torch.arange(1, self.frequencies + 1, dtype=u.dtype, device=u.device))
        return torch.cat([u[..., None], waves.sin(), waves.cos()], -1)

    def scale(self, t: float | Tensor) -> Tensor | None:
        """c_t, the factor on the network's input, of the shape of ``t``; None stands for 1."""
        if self.data_std is None:
            return None
        alpha, sigma = self.schedule(self._time(t))
        return torch.rsqrt((alpha * self.data_std).square() + sigma.square())


@dataclass(frozen=True)
class Shared:
    """A :class:`Condition`'s ``map`` to the left end of a time's sub-interval, :func:`share_timesteps` as a value.

    Raises as that function.

    >>> Shared(5, 100)(torch.tensor([19, 20, 731])).tolist()
    [0, 20, 731]
    """

    n: int
    t_tilde: float

    def __post_init__(self) -> None:
        left_ends(self.n, self.t_tilde)

    def __call__(self, t: Tensor) -> Tensor:
        return share_timesteps(t, self.n, self.t_tilde)
