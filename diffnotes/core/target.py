r"""What a network is asked to predict, as one table.

With x_t = alpha x_0 + sigma eps, every prediction target in use is a combination

    y = a x_0 + b eps

with coefficients (a, b) that depend on the noise level only:

    ======  ==========  ==========  ==================================================
    target  a           b           remark
    ======  ==========  ==========  ==================================================
    x0      1           0           the clean sample
    eps     0           1           the noise (Ho et al. 2020)
    v       -sigma      alpha       (x_t, v) is a rotation of (x_0, eps) (Salimans and Ho 2022)
    score   0           -1/sigma    grad log q(x_t | x_0) (Song et al. 2021)
    ======  ==========  ==========  ==================================================

Given x_t, the pair (x_t, y) determines (x_0, eps) exactly when det = alpha b - sigma a is not 0:

    x_0 = (b x_t - sigma y)/det,        eps = (alpha y - a x_t)/det.

So one table converts every target into every other, and 1/det says how an error of the network is amplified.
A custom target is a function (alpha, sigma) -> (a, b), accepted wherever a name is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .numbers import floats, number, tensor, wide, working
from .shape import expand_like

__all__ = ["TARGETS", "EDMTarget", "Target", "coefficients", "convert", "edm_target", "loss_weight", "mean_target"]

Target = str | Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

_TABLE: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "x0": lambda alpha, sigma: (torch.ones_like(alpha), torch.zeros_like(alpha)),
    "eps": lambda alpha, sigma: (torch.zeros_like(alpha), torch.ones_like(alpha)),
    "v": lambda alpha, sigma: (-sigma, alpha),
    "score": lambda alpha, sigma: (torch.zeros_like(alpha), -1 / sigma),
}
TARGETS: tuple[str, ...] = tuple(_TABLE)


def coefficients(target: Target, alpha: float | Tensor, sigma: float | Tensor) -> tuple[Tensor, Tensor]:
    """(a, b) of ``target`` = a x_0 + b eps at the noise level (alpha, sigma); tensors of their shape.

    Integers and numbers count as float64; half precision is computed in float64 and rounded once.

    Raises:
        ValueError: if ``target`` is neither a name of :data:`TARGETS` nor a function of (alpha, sigma).
    """
    alpha, sigma = floats(alpha, "alpha"), floats(sigma, "sigma")
    if not callable(target) and target not in _TABLE:
        raise ValueError(f"target = {target!r} is unknown; allowed: {', '.join(TARGETS)}, or a function")
    make = target if callable(target) else _TABLE[target]
    return wide(make, torch.result_type(alpha, sigma), alpha, sigma)


def convert(
    value: Tensor, x_t: Tensor, alpha: float | Tensor, sigma: float | Tensor, source: Target, to: Target
) -> Tensor:
    """Read a prediction ``value`` of the target ``source`` at x_t as the target ``to``.

    Args:
        value: the prediction, of the shape of ``x_t``.
        x_t: noisy samples, (n, d), (n, c, h, w) or with a leading ensemble axis.
        alpha, sigma: the noise level; numbers, or tensors of the leading axes of ``x_t``.
        source, to: names "x0", "eps", "v", "score", or functions (alpha, sigma) -> (a, b).

    Returns:
        The shape of ``x_t`` in the wider dtype of ``value`` and ``x_t``, float64 for integers; half precision is
        computed in float64 and rounded once.

    Raises:
        ValueError: for an unknown name, or shapes that do not broadcast.

    >>> x_t = torch.tensor([[2.0]], dtype=torch.float64)
    >>> convert(torch.zeros_like(x_t), x_t, 0.8, 0.6, source="eps", to="x0")
    tensor([[2.5000]], dtype=torch.float64)
    """
    value, x_t = floats(tensor(value, "value"), "value"), floats(tensor(x_t, "x_t"), "x_t")
    if value.shape != x_t.shape:
        raise ValueError(f"value has shape {tuple(value.shape)}; allowed: the shape of x_t, {tuple(x_t.shape)}")
    dtype = torch.promote_types(value.dtype, x_t.dtype)
    if (work := working(dtype)) != dtype:
        return convert(value.to(work), x_t.to(work), alpha, sigma, source, to).to(dtype)
    if x_t.dtype != working(x_t.dtype):
        x_t = x_t.to(dtype)
    alpha, sigma = expand_like(alpha, x_t, "alpha"), expand_like(sigma, x_t, "sigma")
    a, b = coefficients(source, alpha, sigma)
    if source == to:
        return value
    det = alpha * b - sigma * a
    a_to, b_to = coefficients(to, alpha, sigma)
    return ((a_to * b - b_to * a) * x_t + (b_to * alpha - a_to * sigma) * value) / det


def loss_weight(
    target: Target, alpha: float | Tensor, sigma: float | Tensor, like: Target = "eps"
) -> Tensor:
    r"""The factor w with w \|d target\|^2 = \|d like\|^2 for one and the same change of the predictor.

    At fixed x_t a change dx_0 goes with d eps = -(alpha/sigma) dx_0, so \|d target\| = \|det\|/sigma \|dx_0\| and
    w = (det_like / det_target)^2. Weighting each target's squared error by this factor makes all of them the same
    function of the predictor ("matched" losses): what is left of a difference is parameterisation.

    >>> [round(float(loss_weight(name, 0.8, 0.6)), 4) for name in TARGETS]
    [1.7778, 1.0, 0.64, 0.36]
    """
    alpha, sigma = floats(alpha, "alpha"), floats(sigma, "sigma")

    def weight(alpha: Tensor, sigma: Tensor) -> Tensor:
        (a, b), (a_like, b_like) = coefficients(target, alpha, sigma), coefficients(like, alpha, sigma)
        return ((alpha * b_like - sigma * a_like) / (alpha * b - sigma * a)) ** 2

    return wide(weight, torch.result_type(alpha, sigma), alpha, sigma)


@dataclass(frozen=True)
class EDMTarget:
    """EDM's target for data of standard deviation ``data_std``, see :func:`edm_target`."""

    data_std: float

    def __call__(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        total = (alpha * self.data_std).square() + sigma.square()
        return sigma / (self.data_std * total.sqrt()), -alpha * self.data_std / total.sqrt()


def edm_target(data_std: float) -> EDMTarget:
    """EDM's preconditioned target F = (x_0 - c_skip x_t)/c_out, of unit variance at every level (Karras et al. 2022).

    Written for any (alpha, sigma), with data of standard deviation ``data_std``: c_skip is the best linear predictor
    of x_0 from x_t and c_out the standard deviation of what it leaves,
    c_skip = alpha s^2/(alpha^2 s^2 + sigma^2), c_out = sigma s/sqrt(alpha^2 s^2 + sigma^2).
    For data of unit variance on a variance-preserving schedule this is -v.
    """
    data_std = number(data_std, "data_std")
    if not data_std > 0:
        raise ValueError(f"data_std = {data_std} must be positive")
    return EDMTarget(data_std)


def mean_target(alpha_s: Callable[[Tensor, Tensor], Tensor]) -> Target:
    """The mean mu_q of q(x_s | x_t, x_0) as a target, s the step below t; ``alpha_s(alpha, sigma)`` gives alpha at s.

    mu_q = alpha_s x_0 + (sigma_s^2 alpha_{t|s}/sigma_t) eps with alpha_{t|s} = alpha_t/alpha_s, on a
    variance-preserving schedule: the target of the text's section on regressing the mean itself.
    """

    def mean(alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        before = alpha_s(alpha, sigma)
        return before, (1 - before.square()) * alpha / (before * sigma)

    return mean
