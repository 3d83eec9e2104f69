"""The two samplers of one network side by side: the same starts, and as many evaluations of the network.

:class:`Together` lets several ensembles be sampled as one, so that they share one stream of starts and noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ..core.denoiser import Denoiser, home_of, members_of
from ..core.numbers import samples
from .sample import grid, ode, sde

__all__ = ["Together", "both_samplers"]

CALLS = {"euler": 1, "heun": 2}
"""Evaluations of the network in a step of the ODE's method; the SDE's Euler-Maruyama takes one."""


def both_samplers(
    denoiser: Denoiser, start: Tensor, steps: int, generator: torch.Generator | int, method: str = "euler"
) -> dict[str, Tensor]:
    """Samples by the probability-flow ODE and by the reverse SDE, from the same starts: {"ODE": ..., "SDE": ...}.

    Args:
        denoiser: exact, a network or an ensemble, on a schedule in continuous time.
        start: (n, d), or (members, n, d) of an ensemble; taken in the dtype of the network (float64 of an exact one).
        steps: of the ODE, on the grid that is quadratic in t; the SDE takes as many evaluations.
        generator: of the SDE's noise, or its seed.
        method: "euler" or "heun", of the ODE.

    Returns:
        Tensors of the shape of ``start``, float64 on the CPU.

    Raises:
        ValueError: for another method, and as the samplers.
    """
    if method not in CALLS:
        raise ValueError(f"method = {method!r} is unknown; allowed: {', '.join(map(repr, CALLS))}")
    dtype, device = home_of(denoiser)
    start = samples(start, "start").to(device, dtype)
    times, more = (grid(denoiser.schedule, calls * steps, kind="quadratic") for calls in (1, CALLS[method]))
    found = {
        "ODE": ode(denoiser, start, times, method=method),
        "SDE": sde(denoiser, start, more, generator=generator),
    }
    return {kind: x.double().cpu() for kind, x in found.items()}


class Together(Denoiser):
    """Several ensembles as one, whose members are theirs one after the other; target and schedule are the first's.

    Raises:
        ValueError: for parts that are no ensembles, or differ in target or schedule.
    """

    def __init__(self, parts: Sequence[Denoiser]) -> None:
        self.parts = list(parts)
        sizes = [members_of(part) for part in self.parts]
        kinds = {(part.target, part.schedule) for part in self.parts}
        if None in sizes or len(kinds) != 1:
            raise ValueError(f"parts have members {sizes}, (target, schedule) {kinds}; allowed: ensembles of one kind")
        ((self.target, self.schedule),) = kinds
        self.sizes, self.members, self.base = sizes, sum(sizes), self.parts[0]

    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        if isinstance(t, Tensor) and t.ndim:
            raise ValueError(f"t has shape {tuple(t.shape)}; allowed: one number for the whole batch")
        return self._joined([partial(part.predict, t=t) for part in self.parts], x)

    def at(self, times: Tensor) -> list[Callable[[Tensor], Tensor]]:
        return [partial(self._joined, reads) for reads in zip(*(part.at(times) for part in self.parts))]

    def _joined(self, reads: Sequence[Callable[[Tensor], Tensor]], x: Tensor) -> Tensor:
        return torch.cat([read(own) for read, own in zip(reads, x.split(self.sizes))])
