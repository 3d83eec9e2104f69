r"""Features of images from a small classifier, in which a Frechet distance means more than in pixels.

The FID compares images by the features of a large network trained on other images. Here the features are those of a
small classifier trained on the labels of the data at hand: its last hidden layer. Its accuracy on held-out images says
what they are worth; numbers compare within one classifier only.

References: Heusel et al. 2017, arXiv 1706.08500 (FID).
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

__all__ = ["Classifier", "train_classifier"]


class Classifier:
    """A trained classifier: its ``accuracy`` on held-out images, in [0, 1], and features of images.

    Called with images (..., n, d), it returns (..., n, k), the last hidden layer.
    """

    def __init__(self, body: nn.Module, accuracy: float) -> None:
        self.body, self.accuracy = body, accuracy

    def __call__(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.body(x)


def train_classifier(
    x: Tensor,
    y: Tensor,
    held_out: tuple[Tensor, Tensor],
    *,
    width: int = 64,
    features: int = 32,
    steps: int = 1000,
    batch: int = 128,
    rate: float = 2e-3,
    seed: int = 0,
) -> Classifier:
    """Train a perceptron with two hidden layers, of ``width`` and of ``features`` units, by Adam on cross-entropy.

    Args:
        x, y: images (n, d) and labels (n,), int64 from 0 on; device and dtype are those of the training.
        held_out: images and labels on which the accuracy is measured.
        width, features, steps, batch, rate: sizes.
        seed: draws the initial weights and the batches.

    Raises:
        ValueError: for shapes that do not fit, or sizes < 1.

    >>> x = torch.randn(64, 2)
    >>> y = (x[:, 0] > 0).long()
    >>> classifier = train_classifier(x, y, (x, y), steps=100)
    >>> classifier.accuracy > 0.9, classifier(x).shape
    (True, torch.Size([64, 32]))
    """
    for name, value in dict(width=width, features=features, steps=steps, batch=batch).items():
        if value < 1:
            raise ValueError(f"{name} = {value} must be >= 1")
    if x.ndim != 2 or y.shape != x.shape[:1] or held_out[0].shape[1:] != x.shape[1:]:
        shapes = f"x {tuple(x.shape)}, y {tuple(y.shape)}, held_out[0] {tuple(held_out[0].shape)}"
        raise ValueError(f"shapes {shapes}; allowed: (n, d), (n,) and (m, d)")
    generator = torch.Generator().manual_seed(seed)
    sizes = (x.shape[1], width, features, int(y.max()) + 1)
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layer = nn.Linear(fan_in, fan_out)
        with torch.no_grad():
            for part in layer.parameters():
                part.copy_((2 * torch.rand(part.shape, generator=generator) - 1) / fan_in**0.5)
        layers += [layer, nn.ReLU()]
    net = nn.Sequential(*layers[:-1]).to(x)
    optimiser = torch.optim.Adam(net.parameters(), lr=rate)
    for rows in torch.randint(len(x), (steps, batch), generator=generator).to(x.device):
        nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        optimiser.step()
        optimiser.zero_grad()
    with torch.no_grad():
        accuracy = float((net(held_out[0]).argmax(1) == held_out[1]).double().mean())
    return Classifier(net[:-1], accuracy)
