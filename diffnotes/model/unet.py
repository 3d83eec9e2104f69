r"""A small U-Net for images, one or many at once.

An image passes through levels of resolution, each half of the one before, and comes back up; what a level held on the
way down is added on the way up. A level is a residual block x + f(x) (plus a 1 x 1 convolution of x where the number of
channels changes), in which f is twice

    convolution(silu((1 + g(t)) norm(h) + s(t))),

with group norm, and with gains g and shifts s, one a channel, that a small perceptron makes of the features of t. All
that depends on t is thus known before the image is seen, as for an MLP.

An ensemble is one network: the channels of all its members lie side by side, (n, members c, h, w), and convolutions and
norms are done in groups, so that members never meet.

References: Ronneberger et al. 2015, arXiv 1505.04597; Ho et al. 2020, arXiv 2006.11239; for gains and shifts Dhariwal
and Nichol 2021, arXiv 2105.05233.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .condition import Condition
from .net import Network

__all__ = ["Convolutional", "UNet"]

_GROUP = 8  # channels that are normalised together


class _Weights(nn.Module):
    """Weights (members, out, in, ...) and biases (members, out), uniform with bound 1/sqrt(fan_in)."""

    def __init__(self, members: int, outside: int, inside: int, *size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, outside, inside, *size))
        self.bias = nn.Parameter(torch.empty(members, outside))

    def draw(self, member: int, generator: torch.Generator) -> None:
        bound = self.weight[0, 0].numel() ** -0.5
        with torch.no_grad():
            for values in (self.weight[member], self.bias[member]):
                values.copy_((2 * torch.rand(values.shape, generator=generator) - 1) * bound)


class _Linear(_Weights):
    """(members or 1, n, in) -> (members, n, out)."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.mT + self.bias[:, None]


class _Convolution(_Weights):
    """(n, members in, h, w) -> (n, members out, h, w), zeros beyond the border."""

    def __init__(self, members: int, outside: int, inside: int, size: int = 3) -> None:
        super().__init__(members, outside, inside, size, size)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.flatten(0, 1)
        return F.conv2d(x, weight, self.bias.flatten(), padding=weight.shape[-1] // 2, groups=len(self.weight))


def _tuned(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """silu(gain norm(x) + shift), with gains and shifts (n or 1, members, c, 1, 1)."""
    h = F.group_norm(x, x.shape[1] // _GROUP).unflatten(1, gain.shape[1:3])
    return F.silu(torch.addcmul(shift, gain, h).flatten(1, 2), inplace=not torch.is_grad_enabled())


class _Block(nn.Module):
    """A residual block, which takes the gains and shifts of its two norms from an iterator."""

    def __init__(self, members: int, outside: int, inside: int) -> None:
        super().__init__()
        self.first = _Convolution(members, outside, inside)
        self.second = _Convolution(members, outside, outside)
        self.past = nn.Identity() if inside == outside else _Convolution(members, outside, inside, 1)

    def forward(self, x: Tensor, told: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
        h = self.first(_tuned(x, *next(told)))
        return self.past(x) + self.second(_tuned(h, *next(told)))


class UNet(Network):
    """A time-conditioned U-Net, or an ensemble of ``members`` of them, on images given as rows.

    Args:
        shape: (c, h, w) of an image; samples are rows of d = c h w numbers, channel by channel and line by line.
        channels: channels of the first level, a multiple of 8.
        levels: for each level of resolution its channels as a multiple of ``channels``. Height and width are halved
            from one level to the next: three levels make 28 x 28, 14 x 14 and 7 x 7.
        members, condition, seed: as for :class:`diffnotes.MLP`. Initial weights and biases of every layer, the last
            one included, are uniform with bound 1/sqrt(fan_in), so a fresh network predicts numbers well below 1.

    Raises:
        ValueError: for sizes out of range, an image that cannot be halved that often, or sequences not of length
            ``members``.

    >>> UNet((1, 8, 8), channels=8, levels=(1, 2), seed=(0, 1, 2))(torch.zeros(3, 5, 64), 0.5).shape
    torch.Size([3, 5, 64])
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels: int = 32,
        levels: Sequence[int] = (1, 2, 2),
        *,
        members: int | None = None,
        condition: Condition | Sequence[Condition] | None = None,
        seed: int | Sequence[int] = 0,
    ) -> None:
        shape, levels = tuple(shape), tuple(levels)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"shape = {shape}; allowed: (c, h, w), each >= 1")
        if channels < 1 or channels % _GROUP:
            raise ValueError(f"channels = {channels}; allowed: multiples of {_GROUP}")
        if not levels or min(levels) < 1:
            raise ValueError(f"levels = {levels}; allowed: one or more numbers >= 1")
        factor = 2 ** (len(levels) - 1)
        if shape[1] % factor or shape[2] % factor:
            raise ValueError(
                f"shape = {shape} with {len(levels)} levels; allowed: height and width that are multiples of {factor}"
            )
        super().__init__(math.prod(shape), members, condition, seed)
        self.shape, self.channels, self.levels = shape, channels, levels

        count, widths = len(self.seeds), [channels * level for level in levels]
        self.enter = _Convolution(count, widths[0], shape[0])
        self.down = nn.ModuleList(_Block(count, c, before) for before, c in zip(widths[:1] + widths, widths))
        self.middle = _Block(count, widths[-1], widths[-1])
        # On the way up a 1 x 1 convolution before each doubling of the resolution makes the channels fit.
        pairs = list(itertools.pairwise(widths))[::-1]
        self.lift = nn.ModuleList(_Convolution(count, c, below, 1) for c, below in pairs)
        self.up = nn.ModuleList(_Block(count, c, c) for c, _ in pairs)
        self.leave = _Convolution(count, shape[0], widths[0])
        # Channels of each norm, in the order in which they are met.
        blocks = [*self.down, self.middle, *self.up]
        self._norms = [conv.weight.shape[2] for block in blocks for conv in (block.first, block.second)] + [widths[0]]
        self.time = nn.ModuleList([
            _Linear(count, 2 * channels, self.features), _Linear(count, 2 * sum(self._norms), 2 * channels),
        ])  # fmt: skip
        for i, one in enumerate(self.seeds):
            generator = torch.Generator().manual_seed(one)
            for layer in self.modules():
                if isinstance(layer, _Weights):
                    layer.draw(i, generator)

    def tell(self, features: Tensor) -> Tensor:
        """Gains 1 + g(t) and shifts s(t) of all norms, on the last axis."""
        features = features.to(self.dtype)
        h = features if self.members else features.reshape(1, -1, self.features)
        for layer, act in zip(self.time, (F.silu, nn.Identity())):
            h = act(layer(h))
        gains, shifts = h.chunk(2, -1)
        told = torch.cat([1 + gains, shifts], -1)
        return told if self.members else told.reshape(*features.shape[:-1], -1)

    def reader(self) -> Callable[..., Tensor]:
        return self._through

    def _through(self, x: Tensor, told: Tensor) -> Tensor:
        count = len(self.seeds)
        told = told.reshape(count, -1, told.shape[-1]).transpose(0, 1)[..., None, None]
        pairs = zip(*(part.split(self._norms, 2) for part in told.chunk(2, 2)))
        rows = x.reshape(count, -1, self.dim).transpose(0, 1)
        h = self.enter(rows.reshape(-1, count * self.shape[0], *self.shape[1:]))
        held = []
        for i, block in enumerate(self.down):
            h = block(F.avg_pool2d(h, 2) if i else h, pairs)
            held.append(h)
        h = self.middle(h, pairs)
        for lift, block, before in zip(self.lift, self.up, held[-2::-1]):
            h = block(before + F.interpolate(lift(h), scale_factor=2), pairs)
        h = self.leave(_tuned(h, *next(pairs)))
        return h.reshape(-1, count, self.dim).transpose(0, 1).reshape(x.shape)

    def _blank(self, **options) -> UNet:
        return UNet(self.shape, self.channels, self.levels, **options)


@dataclass(frozen=True)
class Convolutional:
    """The sizes of a :class:`UNet`, as a value: its arguments but for ``members``, ``condition`` and ``seed``."""

    shape: tuple[int, int, int]
    channels: int = 32
    levels: tuple[int, ...] = (1, 2, 2)

    @property
    def dim(self) -> int:
        """The number of pixels and channels."""
        return math.prod(self.shape)

    def make(self, condition: Condition | Sequence[Condition], seed: int | Sequence[int]) -> UNet:
        """A network of these sizes."""
        return UNet(self.shape, self.channels, self.levels, condition=condition, seed=seed)
