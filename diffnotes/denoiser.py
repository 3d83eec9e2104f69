r"""Denoisers: what is known about the clean sample given a noisy one, under one interface.

The best guess in mean square at x_t is a conditional expectation, and it answers for every target at once:

    x0(x, t) = E[x_0 | x_t = x],    eps(x, t) = E[eps | x_t = x],    v(x, t) = alpha eps(x, t) - sigma x0(x, t),
    score(x, t) = grad log p_t(x) = -eps(x, t)/sigma.

A :class:`Denoiser` predicts one of them, its native ``target``; :func:`diffnotes.target.convert` gives the others.
:class:`Exact` knows the law, :class:`Learned` asks a network, and the rest are made of other denoisers: a
sampler cannot tell them apart.

References: Robbins 1956 and Efron 2011 (Tweedie's formula); Vincent 2011 (denoising score matching).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Protocol

from torch import Tensor

from ._shape import expand_like
from .schedule import Chain, Schedule
from .target import Target, coefficients, convert

__all__ = ["Denoiser", "Exact", "Hybrid", "Learned", "Mirrored", "Perturbed"]


class Noisable(Protocol):
    """A law whose noised versions are known in closed form."""

    def posterior_mean(self, x_t: Tensor, alpha: float | Tensor, sigma: float | Tensor) -> Tensor: ...
    def score_at(self, x_t: Tensor, alpha: float | Tensor, sigma: float | Tensor) -> Tensor: ...


class Denoiser(ABC):
    """Predictions at noisy samples x of shape (n, d) or (n, c, h, w) (an ensemble: one more leading axis).

    ``t`` is a number, or a tensor of the leading axes of ``x``: times of ``schedule``.
    """

    schedule: Schedule | Chain
    target: Target
    members: int | None = None  # of a stacked ensemble, whose samples are (members, n, d)

    @abstractmethod
    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        """The native prediction, of the shape of ``x``."""

    def at(self, times: Tensor) -> list[Callable[[Tensor], Tensor]]:
        """For each of ``times`` (a vector), the function x -> predict(x, t); what a sampler asks for."""
        return [partial(self.predict, t=t) for t in times.tolist()]

    def _read(self, to: Target, x: Tensor, t: float | Tensor) -> Tensor:
        alpha, sigma = self.schedule(t)
        return convert(self.predict(x, t), x, alpha, sigma, source=self.target, to=to)

    def x0(self, x: Tensor, t: float | Tensor) -> Tensor:
        """E[x_0 | x_t = x], the denoised sample."""
        return self._read("x0", x, t)

    def eps(self, x: Tensor, t: float | Tensor) -> Tensor:
        """E[eps | x_t = x], the predicted noise."""
        return self._read("eps", x, t)

    def v(self, x: Tensor, t: float | Tensor) -> Tensor:
        """E[alpha eps - sigma x_0 | x_t = x], the v-prediction."""
        return self._read("v", x, t)

    def score(self, x: Tensor, t: float | Tensor) -> Tensor:
        """grad log p_t(x)."""
        return self._read("score", x, t)


class Exact(Denoiser):
    """The denoiser of a known ``law``: no learning, no error.

    The posterior mean and the score are both asked from the law, each in its own well-conditioned form, so that x0 is
    accurate where sigma is small and eps where alpha is small.
    """

    target = "x0"

    def __init__(self, law: Noisable, schedule: Schedule | Chain) -> None:
        self.law, self.schedule = law, schedule

    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        return self.law.posterior_mean(x, *self.schedule(t))

    def _read(self, to: Target, x: Tensor, t: float | Tensor) -> Tensor:
        alpha, sigma = (expand_like(level, x) for level in self.schedule(t))
        if to == "score":
            return self.law.score_at(x, alpha, sigma)
        if to == "eps":
            return -sigma * self.score(x, t)
        if to == "v":
            return alpha * self.eps(x, t) - sigma * self.x0(x, t)
        return super()._read(to, x, t)


class Learned(Denoiser):
    """A network read as a denoiser: ``net(x, t)`` predicts ``target``.

    Args:
        net: a function (x, t) -> prediction of the shape of x, such as a :class:`diffnotes.net.Network`.
        schedule: the schedule or chain whose times the network was trained on.
        target: a name of :data:`diffnotes.target.TARGETS`, or a function (alpha, sigma) -> (a, b).

    Raises:
        ValueError: for an unknown target.
    """

    def __init__(self, net: Callable[[Tensor, float | Tensor], Tensor], schedule: Schedule | Chain, target: Target):
        coefficients(target, 0.8, 0.6)  # refuses an unknown name now rather than in the first step
        self.net, self.schedule, self.target = net, schedule, target
        self.members = getattr(net, "members", None)

    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        return self.net(x, t)

    def at(self, times: Tensor) -> list[Callable[[Tensor], Tensor]]:
        return self.net.at(times) if hasattr(self.net, "at") else super().at(times)


class Hybrid(Denoiser):
    """``high`` where t > ``t_switch`` (high noise), ``low`` below: one and the same t for the whole batch.

    The two may differ in target; the prediction is given as the target of ``high``.
    """

    def __init__(self, high: Denoiser, low: Denoiser, t_switch: float) -> None:
        self.high, self.low, self.t_switch = high, low, float(t_switch)
        self.schedule, self.target = high.schedule, high.target
        self.members = low.members if high.members is None else high.members

    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        if isinstance(t, Tensor) and t.ndim:
            raise ValueError(f"t has shape {tuple(t.shape)}; allowed: one number for the whole batch")
        return (self.high if t > self.t_switch else self.low)._read(self.target, x, t)


class Mirrored(Denoiser):
    """``base`` in a mirror, -base(-x): with the same start and noise, minus its samples are ``base``'s for minus both.

    Antithetic samples: half of a set from ``base`` and half, negated, from its mirror image. For a law symmetric about
    0 the two halves balance, and much of what chance does to the set cancels.
    """

    def __init__(self, base: Denoiser) -> None:
        self.base, self.target, self.schedule, self.members = base, base.target, base.schedule, base.members

    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        return -self.base.predict(-x, t)

    def at(self, times: Tensor) -> list[Callable[[Tensor], Tensor]]:
        return [lambda x, read=read: -read(-x) for read in self.base.at(times)]


class Perturbed(Denoiser):
    """``base`` with an error added to its prediction of ``target``: ``error(x, t)`` of the shape of x."""

    def __init__(self, base: Denoiser, error: Callable[[Tensor, float | Tensor], Tensor], target: Target = "eps"):
        coefficients(target, 0.8, 0.6)
        self.base, self.error, self.target, self.schedule = base, error, target, base.schedule
        self.members = base.members

    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        return self.base._read(self.target, x, t) + self.error(x, t)
