"""Figures of the chapter on collapse errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from ..core.denoiser import Denoiser, Learned
from ..core.law import GaussianMixture, on_line
from ..measure.flow import FlowMap
from ..model.sample import grid
from ..show.explore import Controls, Frame, Key, Panel, Value, _start, _text, _words, explorer

__all__ = ["collapse_explorer", "collapse_frames"]



def collapse_frames(
    fleet: Mapping[Key, Denoiser], law: GaussianMixture, *, train: Callable[[str, int, int], Denoiser] | None = None,
    points: int = 1000, drawn: int = 160,
) -> Callable[..., Frame]:
    """The function of an explorer of flow maps: compute(learning_rate, width, training_steps, sampler, ...).

    Its panels are the map from start z to end x and the densities, exact and generated, its numbers the ANSD ratio at
    the radius, total variation and flat share (:class:`diffnotes.measure.flow.FlowMap`). It keeps what it has trained
    and sampled. Its arguments: learning_rate "constant" or "cosine", how it decays; width and training_steps of the
    network; sampler "ODE" (Heun; the default) or "SDE" (Euler-Maruyama); sampler_steps, quadratic in t (60); radius of
    the ratio (0.05).

    Args:
        fleet: (learning rate, width, training steps) -> denoiser; of an ensemble the first member is shown.
        law: on the line.
        train: the same arguments -> denoiser, for settings that ``fleet`` does not hold.
        points, drawn: quantiles of a map, and points of a curve.

    Raises:
        ValueError: for a law off the line; and the function, for a sampler that is not known, or a setting that
            ``fleet`` does not hold where there is no ``train``.
    """
    law = on_line(law)
    nets: dict[Key, Denoiser] = {}
    maps: dict[tuple, FlowMap] = {}
    z = torch.linspace(-2.5, 2.5, drawn, dtype=torch.float64)
    spread = float((law.means.abs().squeeze(-1) + 3.5 * law.std).max())
    x = torch.linspace(-spread, spread, drawn, dtype=torch.float64)
    density, truth = law.log_prob(x[:, None]).exp(), law.quantile(torch.special.ndtr(z))
    edges = torch.cat([x - (x[1] - x[0]) / 2, x[-1:] + (x[1] - x[0]) / 2])
    tall, wide = 1.8 * float(density.max()), 1.15 * float(truth.abs().max())

    def network(*key: Any) -> Denoiser:
        if key not in nets:
            if key not in fleet and train is None:
                names = "(learning_rate, width, training_steps)"
                raise ValueError(f"{names} = {key}; allowed, as nothing trains: {sorted(fleet)}")
            nets[key] = _first(fleet[key] if key in fleet else train(*key))
        return nets[key]

    def compute(
        learning_rate: str, width: int, training_steps: int,
        sampler: str = "ODE", sampler_steps: int = 60, radius: float = 0.05,
    ) -> Frame:
        if sampler not in ("ODE", "SDE"):
            raise ValueError(f"sampler = {sampler!r} is unknown; allowed: 'ODE', 'SDE'")
        key = (learning_rate, width, training_steps, sampler, sampler_steps)
        if key not in maps:
            net = network(*key[:3])
            times = grid(net.schedule, sampler_steps, kind="quadratic")
            maps[key] = FlowMap.of(net, times, points) if sampler == "ODE" else FlowMap.of_sde(net, law, times, points)
        flow = maps[key]
        # Distribution function of the generated law, by the map's inverse; its differences are an average density.
        below = torch.special.ndtr(torch.from_numpy(np.interp(edges, flow.x, flow.z, left=-40, right=40)))
        return Frame(
            [
                Panel({"exact": (z, truth), "generated": (z, np.interp(z, flow.z, flow.x))}, "start z", "end x",
                      (-2.5, 2.5), (-wide, wide)),
                Panel({"exact": (x, density), "generated": (x, below.diff() / edges.diff())}, "x", "density",
                      (-spread, spread), (0, tall)),
            ],
            {
                "ANSD ratio": float(flow.ratio(law, radius)),
                "total variation": float(flow.total_variation(law)),
                "flat share": float(flow.flat_share(law)),
            },
        )  # fmt: skip

    return compute


def _first(denoiser: Denoiser) -> Denoiser:
    if denoiser.members is None:
        return denoiser
    if not isinstance(denoiser, Learned):
        raise ValueError(f"fleet holds {denoiser!r}; allowed: networks, or ensembles of networks")
    return Learned(denoiser.net.member(0), denoiser.schedule, denoiser.target)


def collapse_explorer(
    fleet: Mapping[Key, Denoiser], law: GaussianMixture, controls: Controls, *, name: str = "fig-collapse-explorer",
    train: Callable[[str, int, int], Denoiser] | None = None, start: Mapping[str, Value] | None = None,
    more: Controls | None = None, live: bool | None = None,
) -> None:
    """An :func:`explorer` of the flow map that a sampler makes of a network; settings as :func:`collapse_frames`.

    ``controls`` needs "learning_rate", "width" and "training_steps"; "sampler", "sampler_steps" and "radius" may be
    left out. Networks that ``fleet`` does not hold are trained by ``train``: for a page all that ``controls`` ask for;
    in a kernel, where ``more`` widens the choice, as the reader asks.
    """
    compute = collapse_frames(fleet, law, train=train)
    first = _start(controls, start)
    shown = compute(**first)
    said = ", ".join(f"{_words(key)} {_text(value)}" for key, value in first.items())
    found = ", ".join(f"{key} {_text(value)}" for key, value in shown.numbers.items())
    explorer(
        compute, controls, name=name, start=start, more=more, live=live,
        caption="An explorer. Left: the map from normal quantiles to the generated ones, exact and by one network; "
        f"where it is flat, samples crowd. Right: the densities. Shown first: {said}.",
        alt=f"Two panels for {said}. {shown.words} Numbers: {found}.",
    )  # fmt: skip
