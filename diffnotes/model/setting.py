r"""What a network is trained on, as values: the objective, the density of times, the run.

Every objective of the book is a weighted regression on a target y = a x_0 + b eps,

    L = E_{t, x_0, eps} w(t) |net(x_t, t) - y|^2 / d,        x_t = alpha x_0 + sigma eps.

A :class:`Setting` says which: a target (:mod:`diffnotes.core.target`), a schedule or chain, a weight, a density of t
and, where it is not this plain one, a loss (:mod:`diffnotes.model.loss`). A :class:`Run` says how long and how. Both
hold values only, no functions made on the spot, so an experiment can be written down and found again
(:mod:`diffnotes.model.store`).

*Weights.* Equal weights on different targets are different objectives. A ``weighting`` is a weight on the error of eps,
one of :data:`WEIGHTINGS`, which is turned into the weight on the target's own error that gives the same objective.

References: Ho et al. 2020 (simple); Choi et al. 2022, arXiv 2204.00227 (P2); Hang et al. 2023, arXiv 2303.09556
(min-SNR); Karras et al. 2022, arXiv 2206.00364 (EDM); Kingma et al. 2021, arXiv 2107.00630 (weight and density).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..core.schedule import Chain, Linear, Schedule
from ..core.target import Target, coefficients, loss_weight
from .condition import Condition
from .loss import Loss, Plain

__all__ = [
    "WEIGHTINGS", "Importance", "LevelsOf", "LogNormal", "LogSnrBand", "Run", "Setting", "Times", "Uniform",
    "UniformLogSnr", "log_snr_density", "matched",
]  # fmt: skip

WEIGHTINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "eps": torch.ones_like,
    "x0": lambda snr: 1 / snr,
    "v": lambda snr: (1 + snr) / snr,
    "p2": lambda snr: 1 / (1 + snr),
    "min_snr_5": lambda snr: (5 / snr).clamp(max=1),
    "inverse_sqrt_snr": lambda snr: snr**-0.5,
}
r"""Weights on |eps - eps_hat|^2 as functions of the SNR. "v" is the plain v-loss of a variance-preserving schedule, and
EDM's weight for data of unit variance; P2 is given for k = gamma = 1, min-SNR for gamma = 5."""


def matched(target: Target, weighting: str, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The weight on the squared error of ``target`` that equals ``weighting`` on that of eps.

    Raises:
        ValueError: for an unknown name.

    >>> alpha, sigma = torch.tensor(0.8), torch.tensor(0.6)
    >>> [round(float(matched(y, "min_snr_5", alpha, sigma)), 4) for y in ("eps", "x0")]
    [1.0, 1.7778]
    """
    if weighting not in WEIGHTINGS:
        raise ValueError(f"weighting = {weighting!r} is unknown; allowed: {', '.join(WEIGHTINGS)}")
    return WEIGHTINGS[weighting]((alpha / sigma) ** 2) * loss_weight(target, alpha, sigma, like="eps")


# --- densities of t ---------------------------------------------------------------------------------------------------


class Times:
    """A density of t, as its inverse distribution function: called with u in (0, 1) and a schedule, it gives t."""

    def __call__(self, u: Tensor, schedule: Schedule | Chain) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class Uniform(Times):
    """t uniform on [t_min, 1], or on 1..T for a chain. ValueError for t_min outside [0, 1)."""

    t_min: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 <= self.t_min < 1:
            raise ValueError(f"t_min = {self.t_min}; allowed: [0, 1)")

    def __call__(self, u: Tensor, schedule: Schedule | Chain) -> Tensor:
        if isinstance(schedule, Chain):
            return (schedule.T * u).ceil().clamp(1, schedule.T)
        return self.t_min + (1 - self.t_min) * u


@dataclass(frozen=True)
class LogSnrBand(Times):
    """log SNR uniform between its values ``first``, at u = 0, and ``last``."""

    first: float
    last: float

    def __call__(self, u: Tensor, schedule: Schedule | Chain) -> Tensor:
        return schedule.time_of_log_snr(self.first + (self.last - self.first) * u)


@dataclass(frozen=True)
class UniformLogSnr(Times):
    """log SNR uniform between its values at ``t_max`` and ``t_min``; when called, ValueError where one is infinite."""

    t_min: float = 1e-3
    t_max: float = 1.0

    def __call__(self, u: Tensor, schedule: Schedule | Chain) -> Tensor:
        high, low = (float(schedule.log_snr(t)) for t in (self.t_min, self.t_max))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"log SNR runs from {low} to {high} on [{self.t_min}, {self.t_max}]; allowed: finite")
        return LogSnrBand(high, low)(u, schedule)


@dataclass(frozen=True)
class LevelsOf(Times):
    """The noise levels that uniform times of ``like`` visit, both restricted to log SNR in [-band, band]."""

    like: Schedule
    band: float = 9.0

    def __call__(self, u: Tensor, schedule: Schedule | Chain) -> Tensor:
        first, last = (float(self.like.time_of_log_snr(level)) for level in (self.band, -self.band))
        t = first + (last - first) * u
        return t if self.like == schedule else schedule.time_of_log_snr(self.like.log_snr(t))


@dataclass(frozen=True)
class LogNormal(Times):
    """EDM's density of t, log(sigma/alpha) ~ N(mean, std^2), cut at the ends (Karras et al. 2022, table 1)."""

    mean: float = -1.2
    std: float = 1.2

    def __call__(self, u: Tensor, schedule: Schedule | Chain) -> Tensor:
        return schedule.time_of_log_snr(-2 * (self.mean + self.std * torch.special.ndtri(u)))


def log_snr_density(schedule: Schedule, log_snr: Tensor, band: float = 9.0) -> Tensor:
    """The density of log SNR for uniform times of ``schedule`` with log SNR in [-band, band]: |dt/d log SNR|.

    0 at levels that the schedule does not reach, of which ``time_of_log_snr`` would give the nearest end.
    """
    first, last = (float(schedule.time_of_log_snr(level)) for level in (band, -band))
    density = 1 / ((last - first) * schedule.log_snr_rate(schedule.time_of_log_snr(log_snr)).abs())
    highest, lowest = (float(schedule.log_snr(t)) for t in (0.0, 1.0))
    rounding = 1e-4  # of a level in float32
    return torch.where((log_snr < lowest - rounding) | (log_snr > highest + rounding), 0.0, density)


@dataclass(frozen=True)
class Importance:
    """The weight that turns the density of the training's schedule into that of ``like``: their ratio."""

    like: Schedule
    band: float = 9.0

    def __call__(self, alpha: Tensor, sigma: Tensor, schedule: Schedule) -> Tensor:
        """w at the levels (alpha, sigma) of ``schedule``."""
        log_snr = 2 * (alpha / sigma).log()
        return log_snr_density(self.like, log_snr, self.band) / log_snr_density(schedule, log_snr, self.band)


# --- settings ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """What one arm of an experiment is trained on.

    Args:
        target: what is regressed on, a name or a function (alpha, sigma) -> (a, b).
        schedule: the noise schedule or chain.
        weighting: None is weight 1 on the target's own error; a name of :data:`WEIGHTINGS` is that weight on the error
            of eps; :class:`Importance` another density of levels.
        times: the density of t.
        loss: plain least squares, or an SA loss :class:`~diffnotes.model.window.Window`, ``Squares``, ``Smooth``.
        condition: how the network is told the time; None is log SNR of ``schedule``.

    Raises:
        ValueError: for unknown names, or a window whose schedule is no chain, whose times are not uniform or which, in
            the paper's form, has a weighting of its own.
    """

    target: Target = "eps"
    schedule: Schedule | Chain = field(default_factory=Linear)
    weighting: str | Importance | None = None
    times: Times = Uniform()
    loss: Loss = field(default_factory=Plain)
    condition: Condition | None = None

    def __post_init__(self) -> None:
        coefficients(self.target, 0.8, 0.6)  # refuses an unknown name
        if isinstance(self.weighting, str) and self.weighting not in WEIGHTINGS:
            raise ValueError(f"weighting = {self.weighting!r} is unknown; allowed: None, {', '.join(WEIGHTINGS)}")
        self.loss.check(self.schedule, isinstance(self.times, Uniform), self.weighting is not None)

    def weight(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """w on the target's squared error at the levels (alpha, sigma)."""
        if self.weighting is None:
            return torch.ones_like(alpha)
        if isinstance(self.weighting, str):
            return matched(self.target, self.weighting, alpha, sigma)
        return self.weighting(alpha, sigma, self.schedule)

    @property
    def told(self) -> Condition:
        """How the network is told the time."""
        return self.condition or Condition("log_snr", self.schedule)


@dataclass(frozen=True)
class Run:
    """How long and how a network is trained, with Adam.

    Args:
        steps, batch: number of steps, and samples a step and member.
        rate, decay: Adam's rate, and "cosine" (to 0 at the last step) or "constant".
        average: decay of the exponential average of the weights, in (0, 1), shortened at the start to
            (1 + k)/(10 + k); None keeps no average.
        seeds: seeds of the draws, one a member; None takes those of the network, so that equal seeds are paired.
        log_every: steps a row of the log, rounded up to a multiple of 32; None gives some 50 rows.
        bins: bins of log SNR in the log.

    Raises:
        ValueError: for numbers out of range or an unknown decay.
    """

    steps: int
    batch: int = 128
    rate: float = 1e-3
    decay: str = "cosine"
    average: float | None = None
    seeds: Sequence[int] | None = None
    log_every: int | None = None
    bins: int = 10

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.rate > 0:
            raise ValueError(f"steps = {self.steps}, rate = {self.rate}; allowed: steps >= 1 and rate > 0")
        if self.batch < 1:
            raise ValueError(f"batch = {self.batch} must be >= 1")
        if self.decay not in ("cosine", "constant"):
            raise ValueError(f"decay = {self.decay!r} is unknown; allowed: 'cosine', 'constant'")
        if self.average is not None and not 0 < self.average < 1:
            raise ValueError(f"average = {self.average}; allowed: None, or a number in (0, 1)")
