"""A mixture on the line with its exact denoiser, as the tests of crowding, flow maps and collapse have them."""

import torch

from diffnotes import Exact, GaussianMixture, Linear
from diffnotes.model.sample import grid

F64 = torch.float64
SCHEDULE = Linear()
TIMES = grid(SCHEDULE, 60, "quadratic")


def mixture(means=(-1.0, 1.0), std=0.2, weights=None):
    return GaussianMixture(torch.tensor(means, dtype=F64), std, weights)


def exact(law=None):
    return Exact(law or mixture(), SCHEDULE)


def end(law):
    """The law at the end of TIMES."""
    return law.noised(*map(float, SCHEDULE(TIMES[-1])))
