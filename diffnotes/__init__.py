"""diffnotes: an executable book on the stability of diffusion models, and the tested package behind it.

The rooms, in the order in which data flow; each imports only from those before it:

    core       schedules, targets, laws, denoisers, data
    model      networks, their training and keeping, samplers
    measure    distances, divergences, close pairs, information, intervals
    show       figures and explorers in general
    chapters   a module NAME of mathematics and a module NAME_figures for each chapter
    press      makes the book; knows none of the mathematics

A name is loaded with its module when it is first used, so the command ``diffnotes`` does not wait for PyTorch.
"""

from __future__ import annotations

import importlib

from . import moved

TYPE_CHECKING = False  # as type checkers read it; the import of typing would cost the command a moment
if TYPE_CHECKING:
    from .chapters.lipschitz import LeftEnd, SharedExact
    from .core.denoiser import Denoiser, Exact, Hybrid, Learned, Mirrored, Perturbed
    from .core.law import Empirical, GaussianMixture, chessboard, moons, ring, spiral, standardised, two_modes
    from .core.schedule import EDM, Chain, Constant, Cosine, Linear, Quadratic, Schedule, Sigmoid, ZeroTerminalSNR
    from .core.target import TARGETS, coefficients, convert, edm_target, loss_weight, mean_target
    from .measure.crowding import ansd, ansd_ratio, pair_fraction, tid
    from .measure.flow import FlowMap
    from .model.classifier import Recogniser
    from .model.condition import Condition, Shared, share_timesteps
    from .model.fleet import Fleet, Images, Sampled, image_net
    from .model.loss import Smooth, Squares
    from .model.net import MLP, Dense
    from .model.sample import ddim, ddpm, grid, ode, prior, sde
    from .model.setting import Importance, LevelsOf, LogNormal, Run, Setting, Uniform, UniformLogSnr
    from .model.store import kept
    from .model.train import fit
    from .model.unet import Convolutional, UNet
    from .model.window import Window, sa_loss

__version__ = "0.1.0"

_ROOMS = {
    "chapters.lipschitz": "LeftEnd SharedExact",
    "core.denoiser": "Denoiser Exact Hybrid Learned Mirrored Perturbed",
    "core.law": "Empirical GaussianMixture chessboard moons ring spiral standardised two_modes",
    "core.schedule": "EDM Chain Constant Cosine Linear Quadratic Schedule Sigmoid ZeroTerminalSNR",
    "core.target": "TARGETS coefficients convert edm_target loss_weight mean_target",
    "measure.crowding": "ansd ansd_ratio pair_fraction tid",
    "measure.flow": "FlowMap",
    "model.classifier": "Recogniser",
    "model.condition": "Condition Shared share_timesteps",
    "model.fleet": "Fleet Images Sampled image_net",
    "model.loss": "Smooth Squares",
    "model.net": "MLP Dense",
    "model.sample": "ddim ddpm grid ode prior sde",
    "model.setting": "Importance LevelsOf LogNormal Run Setting Uniform UniformLogSnr",
    "model.store": "kept",
    "model.train": "fit",
    "model.unet": "Convolutional UNet",
    "model.window": "Window sa_loss",
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names.split()}
__all__ = sorted(_HOME)
moved.install(__name__)


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
