r"""Networks conditioned on time, one or many at once.

A :class:`Network` is what training and samplers talk to: samples as rows, a time, members. Of its two kinds
one, :mod:`diffnotes.model.unet`, is for images. The other, a :class:`MLP`, maps a noisy sample x and its time t to a
prediction. The time enters the first layer only,

    h = act([f(t), c_t x] W + b) = act(c_t x W_x + f(t) W_t + b),

through a short vector of features f(t), a :class:`Condition`. For one t per batch the time part is therefore just a
first bias: :meth:`Network.at` computes it once for a whole grid of times, which is what samplers use.

An ensemble holds the weights of all its members, whatever their seeds and settings, in tensors with a leading axis and
replaces every matrix product by a batched one. Since members never meet, training the sum of their losses with
Adam, which works element by element, *is* training each of them alone, at a fraction of the overhead for small nets.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .condition import Condition

__all__ = ["MLP", "Dense", "Network"]

# name -> (function, the same function overwriting its argument, for use where no gradient is asked)
_ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "silu": (F.silu, partial(F.silu, inplace=True)),
    "tanh": (torch.tanh, torch.tanh_),
    "relu": (F.relu, partial(F.relu, inplace=True)),
}

_MEAN_SQUARE = {"silu": 0.35567, "tanh": 0.39429, "relu": 0.5}  # E act(z)^2 for z ~ N(0, 1)


class Network(nn.Module, ABC):
    """A time-conditioned network on samples of d numbers each, or an ensemble of ``members`` of them.

    A kind of network says how it reads samples once it knows the time (:meth:`tell`, :meth:`reader`), and how to build
    another one of its sizes. Its parameters have the members on the first axis.

    Args:
        dim: dimension d of the samples.
        members: None for one network on x of shape (n, d); otherwise their number, on x of shape (members, n, d).
        condition: how the time enters; a sequence gives each member its own, all with the same number of features.
        seed: draws the initial weights, and nothing else does. For an ensemble, one seed a member (equal seeds mean
            equal weights), or the first of consecutive seeds.

    Raises:
        ValueError: for sizes < 1, or sequences not of length ``members``.
    """

    def __init__(
        self,
        dim: int,
        members: int | None = None,
        condition: Condition | Sequence[Condition] | None = None,
        seed: int | Sequence[int] = 0,
    ) -> None:
        super().__init__()
        if members is None and not isinstance(seed, int):
            members = len(seed)
        count = 1 if members is None else members
        for name, value in dict(dim=dim, members=count).items():
            if value < 1:
                raise ValueError(f"{name} = {value} must be >= 1")
        self.dim, self.members = dim, members
        self.seeds = tuple(range(seed, seed + count)) if isinstance(seed, int) else tuple(seed)
        if condition is None or isinstance(condition, Condition):
            self.condition: Condition | tuple[Condition, ...] = condition or Condition()
            features = self.condition.size
        else:
            self.condition = tuple(condition)
            features = self.condition[0].size
            if len(self.condition) != members or any(c.size != features for c in self.condition):
                raise ValueError(
                    f"condition has {len(self.condition)} entries of sizes {[c.size for c in self.condition]}; "
                    f"allowed: one, or one of equal size for each of {members} members"
                )
        if len(self.seeds) != count:
            raise ValueError(f"seed has {len(self.seeds)} entries; allowed: one, or one for each of {members} members")
        self.features = features

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return next(self.parameters()).dtype

    @abstractmethod
    def tell(self, features: Tensor) -> Tensor:
        """All that the layers need to know of the time, given features of the shapes of :meth:`see`; same axes."""

    @abstractmethod
    def reader(self) -> Callable[..., Tensor]:
        """The function (x, told) -> prediction, with (scaled) samples and what :meth:`tell` gave."""

    @abstractmethod
    def _blank(self, **options) -> Network:
        """A network of the same sizes, with ``condition`` and ``seed`` as given."""

    def forward(self, x: Tensor, t: float | Tensor) -> Tensor:
        """The prediction at ``x``, (n, d) or (members, n, d); ``t`` is a number or has the leading axes of ``x``."""
        lead = (None,) if self.members is None else (self.members, None)
        if x.ndim != len(lead) + 1 or x.shape[-1] != self.dim or x.shape[0] != (self.members or x.shape[0]):
            shape = ", ".join(str(n or "n") for n in (*lead, self.dim))
            raise ValueError(f"x has shape {tuple(x.shape)}; allowed: ({shape})")
        t = torch.as_tensor(t, dtype=None if isinstance(t, Tensor) else torch.float64)
        if t.shape != x.shape[: t.ndim] or t.ndim == x.ndim:
            raise ValueError(f"t has shape {tuple(t.shape)}; allowed: a number, or leading axes of x {tuple(x.shape)}")
        if self.members is not None:
            t = t.reshape(t.shape + (1,) * (2 - t.ndim))
        features, scale = self.see(t)  # where t is: a number needs no float64 on a GPU
        features = features.to(x.device, self.dtype)
        return self.read(x if scale is None else x * scale[..., None].to(x), features)

    def at(self, times: Tensor) -> list[Callable[[Tensor], Tensor]]:
        """For each of ``times`` (a vector), the function x -> forward(x, t) with its time part computed beforehand.

        Meant for sampling: no gradient flows through the time part, and shapes are not checked again.
        """
        reader = self.reader()
        with torch.no_grad():
            features, scales = self.see(times if self.members is None else times[None])
            each = self._each(self.tell(features.to(self.device, self.dtype)))
            if scales is None:
                return [partial(reader, told=told) for told in each]
            scales = self._each(scales[..., None].to(self.device, self.dtype))
        return [lambda x, c=c, told=told: reader(x * c, told) for c, told in zip(scales, each)]

    def _each(self, values: Tensor) -> tuple[Tensor, ...]:
        """``values`` at one time after another, with axes that go with those of samples."""
        return values.unbind(0) if self.members is None else values.split(1, 1)

    def see(self, t: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features and input scale at ``t``: () or (n,) for one network, (members or 1, n or 1) for an ensemble."""
        if isinstance(self.condition, Condition):
            return self.condition(t), self.condition.scale(t)
        rows = t.expand(self.members, -1)
        scales = [c.scale(row) for c, row in zip(self.condition, rows)]
        ones = torch.ones_like(rows[0])
        scale = None if all(s is None for s in scales) else torch.stack([ones if s is None else s for s in scales])
        return torch.stack([c(row) for c, row in zip(self.condition, rows)]), scale

    def read(self, x: Tensor, features: Tensor) -> Tensor:
        """The prediction, given (scaled) samples and their features, of the shapes of :meth:`see`."""
        return self.reader()(x, self.tell(features))

    def _like(self, keep: int | Sequence[int]) -> Self:
        """A network with the weights of the members ``keep`` of this one: an index for one network."""
        several = not isinstance(keep, int)
        per_member = not isinstance(self.condition, Condition)
        pick = (lambda values: tuple(values[i] for i in keep)) if several else (lambda values: values[keep])
        condition = pick(self.condition) if per_member else self.condition
        net = self._blank(condition=condition, seed=pick(self.seeds)).to(self.device, self.dtype)
        index = torch.tensor(keep, device=self.device) if several else keep
        with torch.no_grad():
            for mine, theirs in zip(net.parameters(), self.parameters()):
                mine.copy_(theirs[index].reshape(mine.shape))
        return net

    def member(self, i: int) -> Self:
        """Member ``i`` as a network of its own, with a copy of its weights."""
        self._check(i)
        return self._like(int(i))

    def select(self, indices: Sequence[int]) -> Self:
        """The ensemble of the members ``indices``, with copies of their weights."""
        self._check(*indices)
        return self._like([int(i) for i in indices])

    def _check(self, *indices: int) -> None:
        if self.members is None or not indices or not all(-self.members <= i < self.members for i in indices):
            raise ValueError(f"members {list(indices)} do not exist; this network has members = {self.members}")


_NARROW = 4  # columns of a product

_Layers = tuple[Callable[..., Tensor], tuple[Callable, Callable], Tensor, list[tuple[Tensor, Tensor]]]


def _read(x: Tensor, told: Tensor, layers: _Layers) -> Tensor:
    affine, acts, first, rest = layers
    act = acts[not torch.is_grad_enabled()]
    h = affine(told, x, first)
    for weight, bias in rest:
        narrow = weight.ndim == 3 and weight.shape[-1] <= _NARROW and not torch.is_grad_enabled()
        h = _narrow(bias, act(h), weight) if narrow else affine(bias, act(h), weight)
    return h


def _narrow(bias: Tensor, h: Tensor, weight: Tensor) -> Tensor:
    """h weight + bias for few columns, with the rows of ``h`` on the long side of the product: twice as fast."""
    return torch.baddbmm(bias.mT, weight.mT, h.mT).mT.contiguous()


class MLP(Network):
    """A time-conditioned multi-layer perceptron, or an ensemble of ``members`` of them.

    Args:
        dim: dimension d of the samples.
        width: units of each hidden layer.
        depth: number of hidden layers, >= 1.
        members: None for one network on x of shape (n, d); otherwise their number, on x of shape (members, n, d).
        condition: how the time enters; a sequence gives each member its own, all with the same number of features.
        activation: "silu", "tanh" or "relu".
        gain: initial weights and biases are uniform, with bound gain/sqrt(fan_in) for the weights that lead to a
            hidden layer and 1/sqrt(fan_in) for the rest. None keeps the variance of the hidden layers, gain^2 =
            3/E[act(z)^2], z ~ N(0, 1) (He et al. 2015, arXiv 1502.01852); 1 is PyTorch's default for a linear layer.
        waves: w in radians a unit of x; the network is given sin(w x_i) and cos(w x_i) of each coordinate besides x, so
            that it can follow edges and thin arms that it would need many steps to bend to.
        seed: draws the initial weights, and nothing else does. For an ensemble, one seed a member (equal seeds mean
            equal weights), or the first of consecutive seeds.

    Raises:
        ValueError: for sizes < 1, an unknown activation, waves <= 0, or sequences not of length ``members``.

    >>> MLP(2, seed=(0, 1, 2))(torch.zeros(3, 5, 2), 0.5).shape
    torch.Size([3, 5, 2])
    """

    def __init__(
        self,
        dim: int,
        width: int = 128,
        depth: int = 3,
        *,
        members: int | None = None,
        condition: Condition | Sequence[Condition] | None = None,
        activation: str = "silu",
        gain: float | None = None,
        waves: Sequence[float] = (),
        seed: int | Sequence[int] = 0,
    ) -> None:
        super().__init__(dim, members, condition, seed)
        for name, value in dict(width=width, depth=depth).items():
            if value < 1:
                raise ValueError(f"{name} = {value} must be >= 1")
        if activation not in _ACTIVATIONS:
            raise ValueError(f"activation = {activation!r} is unknown; allowed: {', '.join(_ACTIVATIONS)}")
        gain = math.sqrt(3 / _MEAN_SQUARE[activation]) if gain is None else gain
        if not gain > 0:
            raise ValueError(f"gain = {gain} must be positive")
        waves = tuple(float(wave) for wave in waves)
        if not all(math.isfinite(wave) and wave > 0 for wave in waves):
            raise ValueError(f"waves = {waves}; allowed: finite numbers > 0")
        self.width, self.depth, self.activation, self.waves = width, depth, activation, waves
        self.register_buffer("_waves", torch.tensor(waves), persistent=False)

        units = [dim * (1 + 2 * len(waves)), *[width] * depth, dim]
        fan_in = [units[0] + self.features, *units[1:-1]]
        shapes = [*zip(fan_in, units[1:]), *((n,) for n in units[1:])]
        gains = [gain] * depth + [1.0] * (depth + 2)  # weights of hidden layers; last weights and biases
        bounds = [g / math.sqrt(n) for g, n in zip(gains, (*fan_in, *fan_in))]
        networks = []
        for one in self.seeds:
            generator = torch.Generator().manual_seed(one)
            networks.append([(2 * torch.rand(n, generator=generator) - 1) * c for n, c in zip(shapes, bounds)])
        if self.members is None:
            tensors = networks[0]
        else:  # biases (members, 1, width), to be added to (members, n, width)
            tensors = [torch.stack([t.reshape(-1, t.shape[-1]) for t in same]) for same in zip(*networks)]
        self.weights, self.biases = nn.ParameterList(tensors[: depth + 1]), nn.ParameterList(tensors[depth + 1 :])

    def read(self, x: Tensor, features: Tensor) -> Tensor:
        """The layers, given (scaled) samples and their features, of the shapes of :meth:`see`."""
        features = features.to(x.dtype)
        if features.shape[:-1] == x.shape[:-1]:  # a time of its own for each sample: one product does both
            return _read(torch.cat([features, self._with_waves(x)], -1), self.biases[0], self._layers(folded=False))
        return super().read(x, features)

    def _with_waves(self, x: Tensor) -> Tensor:
        """x and, coordinate by coordinate, its sines and cosines, on the last axis."""
        if not self.waves:
            return x
        angle = (x[..., None] * self._waves.to(x.dtype)).flatten(-2)
        return torch.cat([x, angle.sin(), angle.cos()], -1)

    def tell(self, features: Tensor) -> Tensor:
        """f(t) W_t + b, the part of the first layer that knows the time."""
        return features.to(self.dtype) @ self.weights[0][..., : self.features, :] + self.biases[0]

    def reader(self) -> Callable[..., Tensor]:
        read = partial(_read, layers=self._layers(folded=True))
        return read if not self.waves else lambda x, told: read(self._with_waves(x), told)

    def _blank(self, **options) -> MLP:
        return MLP(self.dim, self.width, self.depth, activation=self.activation, waves=self.waves, **options)

    def _layers(self, folded: bool) -> _Layers:
        affine = torch.addmm if self.members is None else torch.baddbmm
        first, *weights = self.weights
        if folded:
            first = first[..., self.features :, :]
        return affine, _ACTIVATIONS[self.activation], first, list(zip(weights, list(self.biases)[1:]))


@dataclass(frozen=True)
class Dense:
    """The sizes of an :class:`MLP`, as a value: its arguments but for ``members``, ``condition`` and ``seed``."""

    dim: int
    width: int = 128
    depth: int = 3
    activation: str = "silu"
    gain: float | None = None
    waves: Sequence[float] = field(default=(), metadata={"later": True})

    def make(self, condition: Condition | Sequence[Condition], seed: int | Sequence[int]) -> MLP:
        """A network of these sizes."""
        return MLP(self.dim, self.width, self.depth, condition=condition, activation=self.activation, gain=self.gain,
                   waves=self.waves, seed=seed)
