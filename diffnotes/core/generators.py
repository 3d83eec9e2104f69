"""Where randomness comes from: an explicit generator or a seed, on the device of what is drawn."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["generator_of"]


def generator_of(generator: torch.Generator | int, device: torch.device) -> torch.Generator:
    if isinstance(generator, torch.Generator):
        return generator
    whole = isinstance(generator, (int, np.integer)) or (
        isinstance(generator, (np.ndarray, Tensor)) and not generator.ndim and "int" in str(generator.dtype))
    if whole and not isinstance(generator, bool):
        return torch.Generator(device).manual_seed(int(generator))
    raise TypeError(f"generator = {generator!r}; allowed: a torch.Generator or an integer seed")
