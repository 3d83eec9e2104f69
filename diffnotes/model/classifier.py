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

from ..core.data import image_split
from .fleet import Trained
from .setting import Run
from .train import Task, minimise

__all__ = ["Classifier", "Recogniser", "train_classifier"]

RUN = Run(steps=1000, rate=2e-3, decay="constant")


class Classifier:
    """A trained classifier: its ``accuracy`` on held-out images, in [0, 1], and features of images.

    Called with images (..., n, d), it returns (..., n, k), the last hidden layer.
    """

    def __init__(self, net: nn.Sequential, held_out: tuple[Tensor, Tensor]) -> None:
        self.net, self.body = net, net[:-1]
        self.accuracy = float((self.odds(held_out[0]).argmax(-1) == held_out[1]).double().mean())

    def __call__(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.body(x)

    def odds(self, x: Tensor) -> Tensor:
        """The probabilities of the classes, (..., n, classes)."""
        with torch.no_grad():
            return self.net(x).softmax(-1)


def perceptron(sizes: Sequence[int], seed: int) -> nn.Sequential:
    """Linear layers of the given sizes with ReLU between; weights uniform with bound 1/sqrt(fan_in), drawn by seed."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layer = nn.Linear(fan_in, fan_out)
        with torch.no_grad():
            for part in layer.parameters():
                part.copy_((2 * torch.rand(part.shape, generator=generator) - 1) / fan_in**0.5)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


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
    x: Tensor, y: Tensor, held_out: tuple[Tensor, Tensor], sizes: Sequence[int] = (64, 32), run: Run = RUN,
    seed: int = 0,
) -> Classifier:
    """Train a perceptron with hidden layers of the given ``sizes`` on cross-entropy.

    Args:
        x, y: images (n, d) and labels (n,), int64 from 0 on; device and dtype are those of the training.
        held_out: images and labels on which the accuracy is measured.
        sizes: of the hidden layers, the last one being the features.
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
    if not sizes or min(sizes) < 1:
        raise ValueError(f"sizes = {tuple(sizes)}; allowed: one or more numbers >= 1")
    if x.ndim != 2 or y.shape != x.shape[:1] or held_out[0].shape[1:] != x.shape[1:]:
        shapes = f"x {tuple(x.shape)}, y {tuple(y.shape)}, held_out[0] {tuple(held_out[0].shape)}"
        raise ValueError(f"shapes {shapes}; allowed: (n, d), (n,) and (m, d)")
    net = perceptron((x.shape[1], *sizes, int(y.max()) + 1), seed).to(x)
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
    sizes: tuple[int, ...] = (64, 32)
    run: Run = field(default_factory=lambda: RUN)
    seed: int = 0

    def blank(self) -> dict[str, nn.Module]:
        """The network before training."""
        train, _ = image_split(self.images, self.split)
        return {"classifier": perceptron((train.x.shape[1], *self.sizes, int(train.y.max()) + 1), self.seed)}

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
