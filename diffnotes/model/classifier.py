r"""Features of images from a small classifier, in which a Frechet distance means more than in pixels.

The FID compares images by the features of a large network trained on other images. Here the features are those of a
small classifier trained on the labels of the data at hand: its last hidden layer. Its accuracy on held-out images says
what they are worth; numbers compare within one classifier only.

References: Heusel et al. 2017, arXiv 1706.08500 (FID).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..core.data import SHAPES, image_split
from .fleet import Trained
from .setting import Run
from .train import Task, minimise

__all__ = ["Classifier", "Kernels", "Recogniser", "recogniser", "train_classifier"]

RUN = Run(steps=1000, rate=2e-3, decay="constant")
BLOCK = 4096  # images that go through a network at once


class Classifier:
    """A trained classifier: its ``accuracy`` on held-out images, in [0, 1], and features of images.

    Called with images (..., n, d), it returns (..., n, k), the last hidden layer.
    """

    def __init__(self, net: nn.Sequential, held_out: tuple[Tensor, Tensor]) -> None:
        self.net, self.body = net, net[:-1]
        self.accuracy = float((self.odds(held_out[0]).argmax(-1) == held_out[1]).double().mean())

    def __call__(self, x: Tensor) -> Tensor:
        return self._through(self.body, x)

    def odds(self, x: Tensor) -> Tensor:
        """The probabilities of the classes, (..., n, classes)."""
        return self._through(self.net, x).softmax(-1)

    @staticmethod
    def _through(net: nn.Sequential, x: Tensor) -> Tensor:
        """Rows of pixels a block at a time: the channels of all of them would take gigabytes."""
        with torch.no_grad():
            rows = torch.cat([net(block) for block in x.reshape(-1, x.shape[-1]).split(BLOCK)])
        return rows.reshape(*x.shape[:-1], -1)


def perceptron(sizes: Sequence[int], seed: int) -> nn.Sequential:
    """Linear layers of the given sizes with ReLU between; weights uniform with bound 1/sqrt(fan_in), drawn by seed."""
    layers = [layer for pair in itertools.pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
    return _drawn(nn.Sequential(*layers[:-1]), seed)


def _drawn(net: nn.Sequential, seed: int) -> nn.Sequential:
    """The net, its weights and biases drawn by ``seed``: uniform with bound 1/sqrt(fan_in)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in net:
            for part in layer.parameters():
                fan_in = layer.weight[0].numel()
                part.copy_((2 * torch.rand(part.shape, generator=generator) - 1) / fan_in**0.5)
    return net


@dataclass(frozen=True)
class Kernels:
    """The sizes of a convolutional classifier, as a value.

    Each of ``channels`` stands for two convolutions of 3 x 3 pixels with ReLU, after which the largest of 2 x 2 pixels
    is taken; ``features`` are the width of the hidden layer that follows.

    Raises:
        ValueError: for sizes < 1, or an image that cannot be halved so often.
    """

    shape: tuple[int, int, int]
    channels: tuple[int, ...] = (16, 32)
    features: int = 64

    def __post_init__(self) -> None:
        least = 2 ** len(self.channels)
        if not self.channels or min(*self.channels, self.features, self.shape[0]) < 1 or min(self.shape[1:]) < least:
            raise ValueError(f"shape = {self.shape}, channels = {self.channels}, features = {self.features}; allowed: "
                             f"numbers >= 1, and height and width of at least {least}")

    def make(self, classes: int, seed: int) -> nn.Sequential:
        """The untrained network, which takes rows of pixels."""
        layers: list[nn.Module] = [nn.Unflatten(1, self.shape)]
        for inside, outside in itertools.pairwise((self.shape[0], *self.channels)):
            layers += [nn.Conv2d(inside, outside, 3, padding=1), nn.ReLU(),
                       nn.Conv2d(outside, outside, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        half = [side // 2 ** len(self.channels) for side in self.shape[1:]]
        layers += [nn.Flatten(), nn.Linear(self.channels[-1] * half[0] * half[1], self.features), nn.ReLU(),
                   nn.Linear(self.features, classes)]
        return _drawn(nn.Sequential(*layers), seed)


def _made(sizes: Sequence[int] | Kernels, x: Tensor, y: Tensor, seed: int) -> nn.Sequential:
    """The untrained classifier of images x with labels y."""
    classes = int(y.max()) + 1
    if isinstance(sizes, Kernels):
        return sizes.make(classes, seed)
    return perceptron((x.shape[1], *sizes, classes), seed)


class _Labels(Task):
    """Cross-entropy on labelled images, in batches drawn by a seed."""

    members = None

    def __init__(self, net: nn.Module, x: Tensor, y: Tensor, run: Run, seed: torch.Generator) -> None:
        self.net, self.x, self.y, self.batch, self.device, self.generator = net, x, y, run.batch, x.device, seed

    def draw(self, steps: int) -> Tensor:
        return torch.randint(len(self.x), (steps, self.batch), generator=self.generator).to(self.device)

    def errors(self, chunk: Tensor, k: int) -> tuple[Tensor, Tensor]:
        loss = nn.functional.cross_entropy(self.net(self.x[chunk[k]]), self.y[chunk[k]], reduction="none")[None]
        return loss, loss


def train_classifier(
    x: Tensor, y: Tensor, held_out: tuple[Tensor, Tensor], sizes: Sequence[int] | Kernels = (64, 32),
    run: Run = RUN, seed: int = 0,
) -> Classifier:
    """Train a perceptron, or a convolutional network, of the given ``sizes`` on cross-entropy.

    Args:
        x, y: images (n, d) and labels (n,), int64 from 0 on; device and dtype are those of the training.
        held_out: images and labels on which the accuracy is measured.
        sizes: of a perceptron's hidden layers, the last one being the features; or of a convolutional network.
        run: how long and how.
        seed: draws the initial weights and the batches.

    Raises:
        ValueError: for shapes that do not fit, or sizes < 1.

    >>> x = torch.randn(64, 2)
    >>> y = (x[:, 0] > 0).long()
    >>> classifier = train_classifier(x, y, (x, y), run=Run(steps=100, rate=2e-3, decay="constant"))
    >>> classifier.accuracy > 0.9, classifier(x).shape
    (True, torch.Size([64, 32]))
    """
    if not isinstance(sizes, Kernels) and (not sizes or min(sizes) < 1):
        raise ValueError(f"sizes = {tuple(sizes)}; allowed: one or more numbers >= 1")
    if x.ndim != 2 or y.shape != x.shape[:1] or held_out[0].shape[1:] != x.shape[1:]:
        shapes = f"x {tuple(x.shape)}, y {tuple(y.shape)}, held_out[0] {tuple(held_out[0].shape)}"
        raise ValueError(f"shapes {shapes}; allowed: (n, d), (n,) and (m, d)")
    net = _made(sizes, x, y, seed).to(x)
    # The stream of the batches goes on where that of the weights ended.
    generator = torch.Generator().manual_seed(seed)
    for part in net.parameters():
        torch.rand(part.shape, generator=generator)
    minimise(net, _Labels(net, x, y, run, generator), run)
    return Classifier(net, held_out)


@dataclass(frozen=True)
class Recogniser:
    """A classifier of a set of images as an experiment that can be kept: arguments as in :func:`train_classifier`.

    ``split`` is the seed of the split into training and held-out images (:func:`diffnotes.core.data.image_split`).
    """

    images: str
    split: int = 0
    sizes: tuple[int, ...] | Kernels = (64, 32)
    run: Run = field(default_factory=lambda: RUN)
    seed: int = 0

    def blank(self) -> dict[str, nn.Module]:
        """The network before training."""
        train, _ = image_split(self.images, self.split)
        return {"classifier": _made(self.sizes, *train, self.seed)}

    def train(self, device: torch.device | str = "cpu") -> Trained:
        """Train it on ``device``."""
        parts = [(part.x.to(device), part.y.to(device)) for part in image_split(self.images, self.split)]
        return Trained({"classifier": train_classifier(*parts[0], parts[1], self.sizes, self.run, self.seed).net}, {})

    def read(self, networks: Mapping[str, nn.Module], recipe: str = "") -> Classifier:
        """The classifier, with its accuracy on the held-out images."""
        _, held_out = image_split(self.images, self.split)
        net = networks["classifier"]
        device = next(net.parameters()).device
        return Classifier(net, (held_out.x.to(device), held_out.y.to(device)))


def recogniser(images: str, split: int) -> Recogniser:
    """The classifier by whose features the book compares a set of images: a perceptron for the digits, else
    convolutions; its seed is that of the split."""
    if images == "digits":
        return Recogniser(images, split, seed=split)
    return Recogniser(images, split, Kernels(SHAPES[images], (24, 48)), Run(4000, 128, 2e-3), split)
