"""Many networks at once: every setting of an experiment, each with several seeds, trained as one ensemble.

An experiment of this book compares *settings* (a target, a weight, a density of times) over *seeds*. All its
networks are one stacked ensemble, so the comparison costs one training, and networks of equal seed share initial
weights, data and noise: differences between settings are paired. A :class:`Fleet` is such an experiment as a value, so
that its networks can be kept (:mod:`diffnotes.model.store`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..core.data import SHAPES, image_split
from ..core.denoiser import Learned
from ..core.law import Law
from .loss import Plain, Squares
from .net import Dense, Network
from .setting import Run, Setting
from .train import History, fit
from .unet import Convolutional
from .window import Window

__all__ = ["Fleet", "Images", "Pictures", "Sampled", "Table", "Trained", "image_net"]

AVERAGED = ", averaged"  # how the name of a network with averaged weights ends


@dataclass(frozen=True)
class Sampled:
    """``n`` samples of a law as training data: each seed's own, drawn with it; with ``seed``, the same for all."""

    law: Law
    n: int
    seed: int | None = None

    def draw(self, seeds: Sequence[int]) -> Tensor:
        """float32 (len(seeds), n, d), or (n, d) where all have the same."""
        if self.seed is not None:
            return self.law.sample(self.n, self.seed).float()
        return torch.stack([self.law.sample(self.n, seed) for seed in seeds]).float()


@dataclass(frozen=True)
class Images:
    """The training part of a set of images (:func:`diffnotes.core.data.image_split`): each seed's own split; with
    ``seed``, the same for all."""

    name: str
    seed: int | None = None

    def draw(self, seeds: Sequence[int]) -> Tensor:
        """float32 (len(seeds), n, d), or (n, d) where all have the same."""
        if self.seed is not None:
            return image_split(self.name, self.seed)[0].x
        return torch.stack([image_split(self.name, seed)[0].x for seed in seeds])

    def std(self, seeds: Sequence[int]) -> float:
        """The root of the pixels' variance, a mean over pixels and splits: ``data_std`` of a condition.

        Computed in float64 and rounded to float32, so that it is the same number on every machine.
        """
        x = self.draw(seeds).double()
        n, total, squares = x.shape[-2], x.sum(-2), x.square().sum(-2)
        return float(((squares - total.square() / n) / (n - 1)).mean().float()) ** 0.5


def image_net(name: str, width: int) -> Dense | Convolutional:
    """The sizes of the book's networks for a set of images: three layers of ``width`` for the digits, else a U-Net of
    width/16 channels (a multiple of 8, at least 8)."""
    if name == "digits":
        return Dense(math.prod(SHAPES[name]), width, 3)
    return Convolutional(SHAPES[name], channels=8 * max(1, width // 128))


class Trained(NamedTuple):
    """Networks by name, and the logs of their trainings by name: "step", "loss", "error" and "edges" of each."""

    networks: dict[str, nn.Module]
    log: dict[str, Tensor]


class Table(nn.Module):
    """Numbers that are kept as networks are, in float64: of an experiment of which the results alone are needed."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.register_buffer("values", values.double())


class Pictures(nn.Module):
    """Images that are kept as networks are, in 255 steps from -1 to 1."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.register_buffer("levels", ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8))

    @property
    def x(self) -> Tensor:
        """The images, float32 in [-1, 1], on the CPU."""
        return self.levels.cpu().float() / 127.5 - 1


@dataclass(frozen=True)
class Fleet:
    """Networks of each setting for each seed, trained together.

    Args:
        arms: name -> setting; no name ends in ", averaged".
        data: a law, from which every batch is drawn anew; samples (n, d) for all; or what says how to draw them.
        net: the sizes of the networks.
        run: how long and how they are trained; its own ``seeds``, if given, are one for each of ``seeds``.
        seeds: one network of each setting for each seed, of initial weights and draws alike.

    Raises:
        ValueError: if ``arms`` or ``seeds`` is empty, for a name that is not allowed, or another number of
            seeds in ``run``.
        TypeError: for data of another kind.
    """

    arms: Mapping[str, Setting]
    data: Law | Tensor | Sampled | Images
    net: Dense | Convolutional
    run: Run
    seeds: Sequence[int]

    def __post_init__(self) -> None:
        if not self.arms or not len(self.seeds):
            raise ValueError(f"arms = {list(self.arms)}, seeds = {list(self.seeds)}; allowed: at least one of each")
        for name in self.arms:
            if not isinstance(name, str) or name.endswith(AVERAGED):
                raise ValueError(f"arms has the name {name!r}; allowed: texts that do not end in {AVERAGED!r}")
        if self.run.seeds is not None and len(self.run.seeds) != len(self.seeds):
            raise ValueError(f"run.seeds = {list(self.run.seeds)}; allowed: None, or one for each of {len(self.seeds)} "
                             "seeds")
        if not isinstance(self.data, Law | Tensor) and not hasattr(self.data, "draw"):
            raise TypeError(f"data = {self.data!r}; allowed: a law, a tensor of samples, Sampled, Images")

    @property
    def names(self) -> list[str]:
        """The names of the networks: those of the arms and, with averaged weights, "ARM, averaged"."""
        suffixes = ("",) if self.run.average is None else ("", AVERAGED)
        return [name + suffix for suffix in suffixes for name in self.arms]

    def blank(self) -> dict[str, Network]:
        """The networks before their training, by name."""
        return {name: self._stack([self.arms[name.removesuffix(AVERAGED)]]) for name in self.names}

    def _stack(self, settings: Sequence[Setting]) -> Network:
        """The untrained networks of some settings as one ensemble."""
        told = [setting.told for setting in settings for _ in self.seeds]
        same = all(one == told[0] for one in told)
        return self.net.make(condition=told[0] if same else told, seed=[*self.seeds] * len(settings))

    def train(self, device: torch.device | str = "cpu") -> Trained:
        """Train all networks on ``device``, one stack for each kind of loss.

        Raises:
            ValueError: as :func:`diffnotes.model.train.fit`.
        """
        data = self.data if isinstance(self.data, Law | Tensor) else self.data.draw(self.seeds)
        data = data.to(device)
        count, networks, log = len(self.seeds), {}, {}
        for arms in self._stacks():
            net = self._stack([self.arms[name] for name in arms]).to(device)
            settings = [self.arms[name] for name in arms for _ in self.seeds]
            own = data.repeat(len(arms), 1, 1) if isinstance(data, Tensor) and data.ndim == 3 else data
            seeds = None if self.run.seeds is None else [*self.run.seeds] * len(arms)
            history = fit(net, own, settings, replace(self.run, seeds=seeds))
            for i, name in enumerate(arms):
                mine = range(i * count, (i + 1) * count)
                networks[name] = net.select(mine)
                if history.average is not None:
                    networks[f"{name}{AVERAGED}"] = history.average.select(mine)
                log |= {f"{name}/{part}": value for part, value in _log(history, slice(i * count, (i + 1) * count))}
        return Trained({name: networks[name] for name in self.names}, log)

    def _stacks(self) -> list[list[str]]:
        """The arms that are trained as one stack: windows of one size, or equal losses, but no two with an ensemble."""
        kinds: dict[object, list[str]] = {}
        for name, setting in self.arms.items():
            loss = setting.loss
            kind = loss.size if isinstance(loss, Plain | Window) else loss
            if isinstance(loss, Squares) and loss.denoiser is not None and loss.denoiser.members is not None:
                kind = name  # the denoiser's members are those of one arm
            kinds.setdefault(kind, []).append(name)
        return list(kinds.values())

    def read(self, networks: Mapping[str, Network], recipe: str = "") -> dict[str, Learned]:
        """The networks as denoisers on samples of shape (len(seeds), n, d), by name; they remember their ``recipe``."""
        found = {}
        for name, net in networks.items():
            setting = self.arms[name.removesuffix(AVERAGED)]
            found[name] = Learned(net, setting.schedule, setting.target)
            if recipe:
                found[name].recipe = f"{recipe}/{name}"
        return found


def _log(history: History, members: slice) -> list[tuple[str, Tensor]]:
    return [("step", history.step), ("loss", history.loss[:, members]), ("error", history.error[:, members]),
            ("edges", history.edges)]
