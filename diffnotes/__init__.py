"""diffnotes: an executable book on the stability of diffusion models, and the tested package behind it.

The rooms, in the order in which data flows: :mod:`~diffnotes.law`, :mod:`~diffnotes.data`,
:mod:`~diffnotes.schedule`, :mod:`~diffnotes.target`, :mod:`~diffnotes.net`, :mod:`~diffnotes.unet`,
:mod:`~diffnotes.denoiser`, :mod:`~diffnotes.sequence`, :mod:`~diffnotes.train`, :mod:`~diffnotes.fleet`,
:mod:`~diffnotes.sample`, :mod:`~diffnotes.information`, :mod:`~diffnotes.elbo`, :mod:`~diffnotes.lipschitz`,
:mod:`~diffnotes.distance`, :mod:`~diffnotes.features`, :mod:`~diffnotes.pairs`, :mod:`~diffnotes.collapse`,
:mod:`~diffnotes.crowding`, :mod:`~diffnotes.interval`, :mod:`~diffnotes.recursion`, :mod:`~diffnotes.helmholtz`,
:mod:`~diffnotes.ranking`, :mod:`~diffnotes.figures`; :mod:`~diffnotes.press` makes the book.
"""

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
