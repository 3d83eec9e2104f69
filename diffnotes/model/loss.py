r"""The losses that networks are trained with: one method, from the draws of a step to losses and errors.

    Plain            w |net(x_t, t) - y|^2/d
    Squares          |net(x_t, t) - (eps - eps_hat)^2|^2/d, squares coordinate by coordinate
    Smooth           |net(x_t, t) - y|^2/d + strength |net(x_t, t + reach) - net(x_t, t)|^2/d
    Window           the SA loss, in :mod:`diffnotes.model.window`

References: Bao et al. 2022, arXiv 2206.07309, sections 3 and 4 (squares).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.denoiser import Denoiser
from ..core.schedule import Chain, Schedule

__all__ = ["Loss", "Plain", "Smooth", "Squares", "Step"]


@dataclass(frozen=True)
class Step:
    """The draws of one step, tensors of shape (members, batch, ...), and the network.

    Attributes:
        x0, eps: (members, batch, d).
        alpha, sigma, a, b: levels and the target's coefficients, (members, batch, 1).
        weight: (members, batch).
        times, last: (members, batch), and the last time of each member's schedule.
        read: x_t -> the network's output at the step's own times.
        ask: (function, x_t, t) -> function(x_t, t), for a function that knows the network's members.
        net: the network itself.
    """

    x0: Tensor
    eps: Tensor
    alpha: Tensor
    sigma: Tensor
    a: Tensor
    b: Tensor
    weight: Tensor
    times: Tensor
    last: Sequence[float]
    read: Callable[[Tensor], Tensor]
    ask: Callable[[Callable[..., Tensor], Tensor, Tensor], Tensor]
    net: Callable[..., Tensor]

    @property
    def x_t(self) -> Tensor:
        """The noised samples."""
        return self.alpha * self.x0 + self.sigma * self.eps

    @property
    def y(self) -> Tensor:
        """The target."""
        return self.a * self.x0 + self.b * self.eps


class Loss:
    """Called with a :class:`Step`: (losses, squared errors per dimension), each (members, batch)."""

    @property
    def size(self) -> int:
        """Network evaluations for each sample of a batch."""
        return 1

    def __call__(self, step: Step) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def check(self, schedule: Schedule | Chain, uniform: bool, weighted: bool) -> None:
        """ValueError for a schedule that this loss cannot serve, or for times that are not uniform, or a weighting."""


@dataclass(frozen=True)
class Plain(Loss):
    """Weighted least squares on the target."""

    def __call__(self, step: Step) -> tuple[Tensor, Tensor]:
        error = (step.read(step.x_t) - step.y).square().mean(-1)
        return step.weight * error, error


@dataclass(frozen=True)
class Squares(Loss):
    r"""Least squares on squares of noises coordinate by coordinate, with weight 1.

        without ``denoiser``   E[eps^2 | x_t]                          SN-DPM
        with it                E[(eps - denoiser.eps(x_t, t))^2 | x_t]   NPR-DPM

    What is learned is turned into the variances of a sampler by :func:`diffnotes.model.sample.predicted_variance`.
    ``denoiser`` stays as it is, and has as many members as the network or none.
    """

    denoiser: Denoiser | None = None

    def __call__(self, step: Step) -> tuple[Tensor, Tensor]:
        x_t, residual = step.x_t, step.eps
        if self.denoiser is not None:
            with torch.no_grad():
                residual = step.eps - step.ask(self.denoiser.eps, x_t, step.times)
        error = (step.read(x_t) - residual.square()).square().mean(-1)
        return error, error


@dataclass(frozen=True)
class Smooth(Loss):
    r"""Least squares with a penalty on how much the answer changes with the time that the network is told.

        E |net(x_t, t) - y|^2/d + strength E |net(x_t, t + reach) - net(x_t, t)|^2/d

    The penalty is a regulariser of the time-Lipschitz constant, at the cost of a second evaluation a sample. Times
    t + reach beyond the schedule's last one are set to it.

    Raises:
        ValueError: for a negative or non-finite strength, or reach <= 0.
    """

    strength: float
    reach: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength) and self.strength >= 0):
            raise ValueError(f"strength = {self.strength}; allowed: finite numbers >= 0")
        if not (math.isfinite(self.reach) and self.reach > 0):
            raise ValueError(f"reach = {self.reach}; allowed: positive, finite numbers")

    def __call__(self, step: Step) -> tuple[Tensor, Tensor]:
        x_t = step.x_t
        y = step.read(x_t)
        later = torch.stack([(t + self.reach).clamp(max=end) for t, end in zip(step.times, step.last)])
        moved = step.ask(step.net, x_t, later) - y
        error = (y - step.y).square().mean(-1)
        return error + self.strength * moved.square().mean(-1), error
