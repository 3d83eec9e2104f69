r"""Distances of images in the features of small classifiers, one for each split of a data set.

Networks of several seeds are trained on a split each; the classifier of the same split was trained on the same images
and is asked about those held out. The Frechet distance of its features from the held-out images' is what images are
compared by. Numbers compare within one classifier only, so intervals are of ratios, split by split.

Reference: Heusel et al. 2017, arXiv 1706.08500 (FID).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.data import image_split
from ..core.numbers import samples
from ..model.classifier import recogniser
from ..model.store import kept
from .distance import frechet_distance

__all__ = ["Judges"]

_MOST = 2000  # held-out images


class Judges:
    """The classifiers of the splits ``seeds`` of the set of images ``name``, kept or trained now; on the CPU.

    Attributes:
        accuracy: mean share of held-out images that are recognised, in [0, 1].
        train, held_out: the images of each split, (n, d) float32.
        dim: d, the number of pixels.
    """

    def __init__(self, name: str, seeds: Sequence[int]) -> None:
        splits = [image_split(name, seed) for seed in seeds]
        self.train, self.held_out = ([part.x for part in parts] for parts in zip(*splits))
        self.dim = self.train[0].shape[1]
        self.classifiers = [kept(recogniser(name, seed), name=f"classifier of {name}") for seed in seeds]
        self.accuracy = sum(one.accuracy for one in self.classifiers) / len(self.classifiers)
        self._held = [one(x[:_MOST]) for one, x in zip(self.classifiers, self.held_out)]

    def distance(self, x: Tensor) -> Tensor:
        """The distance of each split's images, x (splits, n, d), from its held-out ones: (splits,) float64.

        Raises:
            ValueError: for another number of splits, and as :func:`diffnotes.measure.distance.frechet_distance`.
        """
        x = samples(x, "x").cpu()
        if x.ndim != 3 or len(x) != len(self.classifiers):
            raise ValueError(f"x has shape {tuple(x.shape)}; allowed: ({len(self.classifiers)}, n, d)")
        found = [frechet_distance(one(part), there) for one, part, there in zip(self.classifiers, x, self._held)]
        return torch.stack(found).double()

    def floor(self, n: int) -> Tensor:
        """The distance of the first n training images of each split: what perfect samples would have."""
        return self.distance(torch.stack([x[:n] for x in self.train]))
