"""Many networks at once: every setting of an experiment, each with several seeds, trained as one ensemble.

An experiment of this book compares *settings* (a target, a weight, a density of times) over *seeds*. All its
networks are one stacked ensemble, so the comparison costs one training, and networks of equal seed share initial
weights, data and noise: differences between settings are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .denoiser import Learned
from .law import Law
from .net import MLP, Condition, Network
from .schedule import Chain, Schedule
from .sequence import Window
from .target import Target
from .train import Times, Weight, fit

__all__ = ["Setting", "train_fleet"]


@dataclass(frozen=True)
class Setting:
    """What one arm of an experiment regresses on: its target, its weight on that target's error, its density of t, the
    SA loss that is added; and, if they are not those of the experiment, its schedule and how it is told the time.

    ``None`` means weight 1, t uniform, the plain loss (see :func:`diffnotes.train.fit`), and the common schedule and
    condition.
    """

    target: Target = "eps"
    weight: Weight | None = None
    times: Times | None = None
    window: Window | None = None
    schedule: Schedule | Chain | None = None
    condition: Condition | None = None

    @property
    def size(self) -> int:
        """Network evaluations for each sample of a batch."""
        return 1 if self.window is None else self.window.size


def train_fleet(
    settings: Mapping[str, Setting],
    data: Law | Tensor,
    schedule: Schedule | Chain,
    *,
    seeds: Sequence[int],
    dim: int | None = None,
    width: int | None = None,
    depth: int | None = None,
    gain: float | None = None,
    activation: str = "silu",
    condition: Condition | None = None,
    net: Callable[..., Network] | None = None,
    device: torch.device | str = "cpu",
    **options,
) -> dict[str, Learned]:
    """Train ``len(settings)`` x ``len(seeds)`` networks together; for each setting the ensemble of its seeds.

    Args:
        settings: name -> setting.
        data: a law, samples (n, dim) for all, or samples (len(seeds), n, dim), the own ones of each seed.
        schedule: as in :func:`diffnotes.train.fit`, which also takes ``options`` (steps, batch, rate, ...).
        seeds: one network of each setting for each seed, of initial weights and draws alike.
        dim, width, depth, gain, activation: of the networks, see :class:`diffnotes.net.MLP`.
        condition: how the networks are told the time; log SNR by default. A setting's own has the same number of
            features.
        net: makes other networks than MLPs, given ``condition`` and ``seed``, such as ``partial(UNet, (1, 28, 28))``;
            takes the place of ``dim``, ``width`` and ``depth``.

    Returns:
        name -> denoiser on samples of shape (len(seeds), n, dim). With ``ema`` among the options, "name, averaged"
        holds the denoiser of the averaged weights beside it.

    Raises:
        ValueError: if ``settings`` or ``seeds`` is empty, for both or neither of sizes and ``net``, and as
            :func:`diffnotes.train.fit`.
    """
    if not settings or not len(seeds):
        raise ValueError(f"settings = {list(settings)}, seeds = {list(seeds)}; allowed: at least one of each")
    given = (dim, width, depth)
    if any(size is None for size in given) if net is None else given != (None, None, None):
        raise ValueError(f"dim, width, depth = {given} with net = {net}; allowed: the three sizes, or a net instead")
    if len(sizes := sorted({setting.size for setting in settings.values()})) > 1:  # one stack for each K
        common = dict(
            seeds=seeds, dim=dim, width=width, depth=depth, gain=gain, activation=activation, condition=condition,
            net=net, device=device, **options,
        )  # fmt: skip
        parts: dict[str, Learned] = {}
        for size in sizes:
            group = {name: setting for name, setting in settings.items() if setting.size == size}
            parts |= train_fleet(group, data, schedule, **common)
        names = [name + suffix for suffix in ("", ", averaged") for name in settings]
        return {name: parts[name] for name in names if name in parts}
    arms = [setting for setting in settings.values() for _ in seeds]
    if isinstance(data, Tensor) and data.ndim == 3:
        data = data.repeat(len(settings), 1, 1)
    told = condition or Condition("log_snr", schedule)
    if any(arm.condition or arm.schedule for arm in arms):
        told = [arm.condition or condition or Condition("log_snr", arm.schedule or schedule) for arm in arms]
    seeds_of = [*seeds] * len(settings)
    make = net or partial(MLP, dim, width, depth, gain=gain, activation=activation)
    net = make(condition=told, seed=seeds_of).to(device)
    history = fit(
        net, data, [arm.schedule or schedule for arm in arms],
        target=[arm.target for arm in arms], weight=[arm.weight for arm in arms],
        times=[arm.times for arm in arms], window=[arm.window for arm in arms], **options,
    )  # fmt: skip
    fleet, count = {}, len(seeds)
    for suffix, trained in (("", net), (", averaged", history.average)):
        for i, (name, setting) in enumerate(settings.items() if trained is not None else ()):
            members = trained.select(range(i * count, (i + 1) * count))
            fleet[name + suffix] = Learned(members, setting.schedule or schedule, setting.target)
    return fleet
