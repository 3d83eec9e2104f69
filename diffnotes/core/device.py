"""Where the arithmetic runs."""

from __future__ import annotations

import torch

__all__ = ["choose"]


def choose(device: str = "auto") -> torch.device:
    """The device named "auto" (a CUDA GPU where there is one, else the CPU), "cpu" or "cuda".

    Raises:
        ValueError: for another name, or "cuda" where there is none.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device = {device!r} is unknown; allowed: auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device = 'cuda', but PyTorch finds no CUDA GPU here; allowed: auto or cpu")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
