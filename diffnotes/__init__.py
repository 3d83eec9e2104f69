"""diffnotes: an executable book on the stability of diffusion models, and the tested package behind it.

The rooms, in the order in which data flows: :mod:`~diffnotes.law`, :mod:`~diffnotes.data`, :mod:`~diffnotes.schedule`,
:mod:`~diffnotes.target`, :mod:`~diffnotes.net`, :mod:`~diffnotes.unet`, :mod:`~diffnotes.denoiser`,
:mod:`~diffnotes.sequence`, :mod:`~diffnotes.train`, :mod:`~diffnotes.fleet`, :mod:`~diffnotes.sample`,
:mod:`~diffnotes.information`, :mod:`~diffnotes.elbo`, :mod:`~diffnotes.lipschitz`, :mod:`~diffnotes.distance`,
:mod:`~diffnotes.features`, :mod:`~diffnotes.pairs`, :mod:`~diffnotes.collapse`, :mod:`~diffnotes.crowding`,
:mod:`~diffnotes.interval`, :mod:`~diffnotes.recursion`, :mod:`~diffnotes.helmholtz`, :mod:`~diffnotes.ranking`,
:mod:`~diffnotes.figures`; :mod:`~diffnotes.press` makes the book.

A name is loaded with its module when it is first used, so the command ``diffnotes`` does not wait for PyTorch.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # as type checkers read it; the import of typing would cost the command a moment
if TYPE_CHECKING:
    from .collapse import ansd, ansd_ratio, pair_fraction, tid
    from .denoiser import Denoiser, Exact, Hybrid, Learned, Perturbed
    from .law import Empirical, GaussianMixture, chessboard, moons, ring, spiral, standardised, two_modes
    from .lipschitz import share_timesteps
    from .net import MLP, Condition
    from .schedule import EDM, Chain, Constant, Cosine, Linear, Quadratic, Schedule, Sigmoid, ZeroTerminalSNR
    from .sequence import Window, sa_loss
    from .target import TARGETS, coefficients, convert, edm_target, loss_weight, mean_target
    from .unet import UNet

__version__ = "0.1.0"

_ROOMS = {
    "collapse": "ansd ansd_ratio pair_fraction tid",
    "denoiser": "Denoiser Exact Hybrid Learned Perturbed",
    "law": "Empirical GaussianMixture chessboard moons ring spiral standardised two_modes",
    "lipschitz": "share_timesteps",
    "net": "MLP Condition",
    "schedule": "EDM Chain Constant Cosine Linear Quadratic Schedule Sigmoid ZeroTerminalSNR",
    "sequence": "Window sa_loss",
    "target": "TARGETS coefficients convert edm_target loss_weight mean_target",
    "unet": "UNet",
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names.split()}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name in _HOME:
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
        globals()[name] = value
        return value
    try:
        return importlib.import_module(f".{name}", __name__)
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
