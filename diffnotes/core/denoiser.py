r"""Denoisers: what is known about the clean sample given a noisy one, under one interface.

The best guess in mean square at x_t is a conditional expectation, and it answers for every target at once:

    x0(x, t) = E[x_0 | x_t = x],    eps(x, t) = E[eps | x_t = x],    v(x, t) = alpha eps(x, t) - sigma x0(x, t),
    score(x, t) = grad log p_t(x) = -eps(x, t)/sigma.

A :class:`Denoiser` predicts one of them, its native ``target``; :func:`diffnotes.convert` gives the others.
:class:`Exact` knows the law, :class:`Learned` asks a network, and the rest are made of other denoisers: a
sampler cannot tell them apart.

References: Robbins 1956 and Efron 2011 (Tweedie's formula); Vincent 2011 (denoising score matching).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .numbers import count, floats, number, samples, working
from .schedule import Chain, Schedule
from .shape import expand_like
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
    members: int | None = None  # of a stacked ensemble, whose samples are (members, n, ...); None: samples are (n, ...)

    @abstractmethod
    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        """The native prediction, of the shape of ``x``."""

    def at(self, times: Tensor) -> list[Callable[[Tensor], Tensor]]:
        """For each of ``times`` (a vector), the function x -> predict(x, t); what a sampler asks for."""
        return [partial(self.predict, t=t) for t in times.tolist()]

    def read(self, to: Target, x: Tensor, t: float | Tensor) -> Tensor:
        """The prediction as the target ``to``, of the shape of ``x``; a number ``t`` or one for each sample."""
        if (work := working_of(self, x.dtype)) != x.dtype:
            return self.read(to, x.to(work), t).to(x.dtype)
        alpha, sigma = self.schedule(t)
        return convert(self.predict(x, t), x, alpha, sigma, source=self.target, to=to)

    def x0(self, x: Tensor, t: float | Tensor) -> Tensor:
        """E[x_0 | x_t = x], the denoised sample."""
        return self.read("x0", samples(x, "x"), t)

    def eps(self, x: Tensor, t: float | Tensor) -> Tensor:
        """E[eps | x_t = x], the predicted noise."""
        return self.read("eps", samples(x, "x"), t)

    def v(self, x: Tensor, t: float | Tensor) -> Tensor:
        """E[alpha eps - sigma x_0 | x_t = x], the v-prediction."""
        return self.read("v", samples(x, "x"), t)

    def score(self, x: Tensor, t: float | Tensor) -> Tensor:
        """grad log p_t(x)."""
        return self.read("score", samples(x, "x"), t)


def members_of(denoiser: Denoiser) -> int | None:
    """The number of stacked members, also of a denoiser made of others that does not say it itself."""
    if denoiser.members is not None:
        return denoiser.members
    parts = [part for part in vars(denoiser).values() if isinstance(part, Denoiser)]
    return next((one for part in parts if (one := members_of(part)) is not None), None)


def _members_in(net: object) -> int | None:
    """The number of members that a network says it has, or one inside it."""
    parts = net.modules() if isinstance(net, torch.nn.Module) else [net]
    told = (getattr(part, "members", None) for part in parts)
    return next((one for one in told if isinstance(one, int)), None)


def home_of(denoiser: Denoiser) -> tuple[torch.dtype, torch.device]:
    """Dtype and device in which a denoiser computes: those of its network; float64, where its law is, without one."""
    inner = [value for name in ("net", "high", "low", "base") if (value := getattr(denoiser, name, None)) is not None]
    for part in inner:
        if isinstance(part, torch.nn.Module):
            if (weight := next(part.parameters(), None)) is not None:
                return weight.dtype, weight.device
        elif isinstance(part, Denoiser) and (home := home_of(part))[0] != torch.float64:
            return home
    law = getattr(denoiser, "law", None)
    return torch.float64, getattr(law, "device", torch.device("cpu"))


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

    def read(self, to: Target, x: Tensor, t: float | Tensor) -> Tensor:
        if (work := working(x.dtype)) != x.dtype:
            return self.read(to, x.to(work), t).to(x.dtype)
        levels = self.schedule(t)
        if to == "score":
            return self.law.score_at(x, *levels)
        alpha, sigma = (expand_like(level, x) for level in levels)
        if to == "eps":
            return -sigma * self.score(x, t)
        if to == "v":
            return alpha * self.eps(x, t) - sigma * self.x0(x, t)
        return super().read(to, x, t)


class Learned(Denoiser):
    """A network read as a denoiser: ``net(x, t)`` predicts ``target``.

    Where x or the network's parameters are narrower than float32, a module is asked in the dtype of its parameters, and
    its answer is read in the dtype of x.

    Args:
        net: a function (x, t) -> prediction of the shape of x, such as a :class:`diffnotes.model.net.Network`.
        schedule: the schedule or chain whose times the network was trained on.
        target: a name of :data:`diffnotes.TARGETS`, or a function (alpha, sigma) -> (a, b).
        members: of a stacked ensemble; told by a module that has ``members`` itself or in a part, else to be given.

    Raises:
        ValueError: for an unknown target.
    """

    def __init__(
        self, net: Callable[[Tensor, float | Tensor], Tensor], schedule: Schedule | Chain, target: Target,
        members: int | None = None,
    ) -> None:  # fmt: skip
        coefficients(target, 0.8, 0.6)  # refuses an unknown name now rather than in the first step
        self.net, self.schedule, self.target = net, schedule, target
        self.members = _members_in(net) if members is None else count(members, "members", 1)

    def _own(self) -> torch.dtype | None:
        """The dtype of the network's parameters, if it has any."""
        weights = self.net.parameters() if isinstance(self.net, torch.nn.Module) else ()
        return next((weight.dtype for weight in weights if weight.is_floating_point()), None)

    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        return _asked(self.net, x, self._own(), _plain(t))

    def at(self, times: Tensor) -> list[Callable[[Tensor], Tensor]]:
        if not hasattr(self.net, "at"):
            return super().at(times)
        own = self._own()
        return [partial(_asked, read, own=own) for read in self.net.at(times)]


def _asked(read: Callable[..., Tensor], x: Tensor, own: torch.dtype | None, *t: float | Tensor) -> Tensor:
    narrow = own is not None and own != x.dtype and not (working(own) == own and working(x.dtype) == x.dtype)
    return read(x.to(own), *t).to(x.dtype) if narrow else read(x, *t)


def working_of(denoiser: Denoiser, dtype: torch.dtype) -> torch.dtype:
    """float32 or float64, in which ``denoiser`` is asked about samples of ``dtype``: its own for narrow ones."""
    if working(dtype) == dtype:
        return dtype
    return torch.float32 if home_of(denoiser)[0] == torch.float32 else torch.float64


def _plain(t: float | Tensor) -> float | Tensor:
    """A time as networks take it: a plain number or a tensor."""
    if isinstance(t, np.generic) or (isinstance(t, np.ndarray) and not t.ndim):
        return t.item()
    return t if isinstance(t, (int, float, Tensor)) else floats(t, "t")


class Hybrid(Denoiser):
    """``high`` where t > ``t_switch`` (high noise), ``low`` below: one and the same t for the whole batch.

    The two may differ in target; the prediction is given as the target of ``high``.
    """

    def __init__(self, high: Denoiser, low: Denoiser, t_switch: float) -> None:
        self.high, self.low, self.t_switch = high, low, number(t_switch, "t_switch")
        self.schedule, self.target = high.schedule, high.target
        self.members = next((count for part in (high, low) if (count := members_of(part)) is not None), None)

    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        t = _plain(t)
        if isinstance(t, Tensor) and t.ndim:
            raise ValueError(f"t has shape {tuple(t.shape)}; allowed: one number for the whole batch")
        return (self.high if t > self.t_switch else self.low).read(self.target, x, t)


class Mirrored(Denoiser):
    """``base`` in a mirror, -base(-x): with the same start and noise, minus its samples are ``base``'s for minus both.

    Antithetic samples: half of a set from ``base`` and half, negated, from its mirror image. For a law symmetric about
    0 the two halves balance, and much of what chance does to the set cancels.
    """

    def __init__(self, base: Denoiser) -> None:
        self.base, self.target, self.schedule, self.members = base, base.target, base.schedule, members_of(base)

    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        return -self.base.predict(-x, t)

    def at(self, times: Tensor) -> list[Callable[[Tensor], Tensor]]:
        return [lambda x, read=read: -read(-x) for read in self.base.at(times)]


class Perturbed(Denoiser):
    """``base`` with an error added to its prediction of ``target``: ``error(x, t)`` of the shape of x.

    ``members``: of an ensemble, where ``base`` is none and a function ``error`` cannot say it.
    """

    def __init__(
        self, base: Denoiser, error: Callable[[Tensor, float | Tensor], Tensor], target: Target = "eps",
        members: int | None = None,
    ) -> None:  # fmt: skip
        coefficients(target, 0.8, 0.6)
        self.base, self.error, self.target, self.schedule = base, error, target, base.schedule
        found = members_of(base)
        self.members = (found or _members_in(error)) if members is None else count(members, "members", 1)

    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        if (work := working_of(self, x.dtype)) != x.dtype:
            return self.predict(x.to(work), t).to(x.dtype)
        return self.base.read(self.target, x, t) + self.error(x, t)
