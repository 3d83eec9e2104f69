r"""What a noisy sample says about the clean one: errors and information by quadrature, for 1-D mixtures.

For x_t = alpha x_0 + sigma eps with x_0 a mixture of Gaussians, the law of x_t is again one, and every expectation
over it is a sum over components of a Gaussian integral, done by the trapezoidal rule in the component's own
standard units. The rule is spectrally accurate for such integrands: with the nodes below, differences from
adaptive quadrature are of the order of 1e-12.

* minimal mean square error (the part of x_0 no predictor can know): mmse = E Var(x_0 | x_t);
* differential entropy h and Fisher information J = E (d log p/dx)^2, in nats;
* mutual information with x_t of each target, from entropies alone. (x_t, v) is a rotation of (x_0, eps), so
  h(x_t, v) = h(x_0) + h(eps) and

      I(x_0; x_t) = h(x_t) - h(eps) - log sigma,      I(eps; x_t) = h(x_t) - h(x_0) - log alpha,
      I(v; x_t)   = h(x_t) + h(v) - h(x_0) - h(eps).

References: Guo, Shamai and Verdu 2005 (dI/dSNR = mmse/2); Cover and Thomas 2006, chapter 8 and 17.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from .denoiser import Denoiser
from .law import GaussianMixture
from .target import Target, coefficients

__all__ = [
    "GAUSSIAN_ENTROPY", "entropy", "excess_error", "expectation_nodes", "fisher_information", "mmse",
    "mutual_information", "nonlinearity", "target_mmse",
]  # fmt: skip

GAUSSIAN_ENTROPY = 0.5 * math.log(2 * math.pi * math.e)
"""Differential entropy of N(0, 1) in nats."""


def _step(law: GaussianMixture) -> float:
    """Spacing of the nodes in standard deviations of their component: the widest must still resolve the narrowest."""
    return 0.06 * min(1.0, 3 * float(law.std.min() / law.std.max()))


def expectation_nodes(
    law: GaussianMixture, half_width: float = 9.0, step: float | None = None
) -> tuple[Tensor, Tensor]:
    """Nodes x (k m,) and weights w (k m,) with E f(X) = sum_i w_i f(x_i) for X of the 1-D mixture ``law``, float64.

    ``half_width`` and ``step`` are in standard deviations of the component a node belongs to; the default step is 0.06,
    or less where components differ in width by more than a factor of 3.

    Raises:
        ValueError: if ``law`` is not one-dimensional.
    """
    if law.means.shape[1] != 1:
        raise ValueError(f"law has dimension {law.means.shape[1]}; allowed: 1")
    law = _double(law)  # its parameters, not their float32 roundings
    means, std, weights = law.means[:, 0], law.std, law.weights
    step = step or _step(law)
    z = torch.arange(-half_width, half_width + step / 2, step, dtype=torch.float64, device=means.device)
    gauss = step * torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    x = means[:, None] + std.expand(len(means))[:, None] * z
    return x.flatten(), (weights[:, None] * gauss).flatten()


def _double(law: GaussianMixture) -> GaussianMixture:
    return law.to(dtype=torch.float64)


def entropy(law: GaussianMixture) -> float:
    """Differential entropy -E log p(X) of a 1-D mixture, in nats.

    >>> from diffnotes.law import GaussianMixture
    >>> round(entropy(GaussianMixture([0.0], 1.0)) - GAUSSIAN_ENTROPY, 12)
    0.0
    """
    law = _double(law)
    x, w = expectation_nodes(law)
    return -float(w @ law.log_prob(x[:, None]))


def fisher_information(law: GaussianMixture) -> float:
    """J = E (d log p/dx)^2 of a 1-D mixture (1/J is the variance of the most spread-out Gaussian with that J)."""
    law = _double(law)
    x, w = expectation_nodes(law)
    return float(w @ law.score(x[:, None])[:, 0] ** 2)


def nonlinearity(law: GaussianMixture) -> float:
    """The share of the score's energy that no linear function of x explains: 1 - 1/(Var(X) J), in [0, 1).

    The best linear predictor of the score is -(x - mean)/Var, by Stein's identity E[(X - mean) score(X)] = -1. What it
    leaves is integrated as such, so that shares far below the rounding of 1 come out right; 0 for a Gaussian only.
    """
    law = _double(law)
    x, w = expectation_nodes(law)
    score, mean = law.score(x[:, None])[:, 0], w @ x
    left = score + (x - mean) / (w @ (x - mean).square())
    return float((w @ left.square()) / (w @ score.square()))


def mmse(law: GaussianMixture, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
    """E Var(x_0 | x_t) for a 1-D mixture at the levels ``alpha``, ``sigma`` (numbers or (L,)); float64, their shape.

    Raises:
        ValueError: if some sigma is not positive.
    """
    law = law.to("cpu", torch.float64)
    alpha, sigma = (torch.as_tensor(level, dtype=torch.float64) for level in (alpha, sigma))
    if not bool((sigma > 0).all()):
        raise ValueError(f"sigma has the minimum {sigma.min():g}; allowed: positive numbers")
    values = []
    for a, s in zip(alpha.flatten().split(500), sigma.flatten().split(500)):
        laws = [law.noised(*level) for level in zip(a.tolist(), s.tolist())]
        step = min(map(_step, laws))  # one for all, so that nodes stack
        nodes = [expectation_nodes(noised, step=step) for noised in laws]
        x, w = (torch.stack(part) for part in zip(*nodes))  # (levels, nodes)
        spread = [level[:, None].expand_as(x).flatten() for level in (a, s)]
        values.append((w * law.posterior_variance(x.reshape(-1, 1), *spread).reshape(x.shape)).sum(1))
    return torch.cat(values).reshape(alpha.shape)


def excess_error(
    fleet: Mapping[str, Denoiser], law: GaussianMixture, times: Tensor, step: float = 0.1
) -> dict[str, Tensor]:
    """E|x_0_hat(x_t) - E[x_0 | x_t]|^2, what each predictor loses beyond the mmse, for a 1-D mixture.

    Args:
        fleet: name -> predictor; all of one schedule. A stacked ensemble gives a leading axis of members.
        law: the law of x_0; its dtype is the one the predictors are asked in.
        times: (L,) times of the schedule.
        step: spacing of the nodes, in standard deviations of a component: coarser than for the exact quantities,
            since a trained network has an error of its own.

    Returns:
        name -> (L,) or (members, L), float64 on the CPU.
    """
    exact_law, values = law.to("cpu", torch.float64), {name: [] for name in fleet}
    schedule = next(iter(fleet.values())).schedule
    for t in times:
        alpha, sigma = (float(level) for level in schedule(t))
        x, w = expectation_nodes(exact_law.noised(alpha, sigma), half_width=6.0, step=step)
        best = exact_law.posterior_mean(x[:, None], alpha, sigma)[:, 0]
        batch = x.to(law.device, law.dtype)[:, None]
        for name, denoiser in fleet.items():
            shape = batch.shape if denoiser.members is None else (denoiser.members, *batch.shape)
            with torch.no_grad():
                guess = denoiser.x0(batch.expand(shape), t)[..., 0].double().cpu()
            values[name].append((guess - best).square() @ w)
    return {name: torch.stack(curve, -1) for name, curve in values.items()}


def target_mmse(law: GaussianMixture, target: Target, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
    """E Var(y | x_t) for the target y = a x_0 + b eps: (det/sigma)^2 mmse, det = alpha b - sigma a. Same shape."""
    alpha, sigma = (torch.as_tensor(level, dtype=torch.float64) for level in (alpha, sigma))
    a, b = coefficients(target, alpha, sigma)
    return ((alpha * b - sigma * a) / sigma) ** 2 * mmse(law, alpha, sigma)


def mutual_information(law: GaussianMixture, target: str, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
    """I(target; x_t) in nats for target "x0", "eps", "v" or "score" and a 1-D mixture; levels as in :func:`mmse`.

    The score target is a rescaled eps, so it shares eps's information.

    Raises:
        ValueError: for another target, or a level at which the information is infinite.
    """
    alpha, sigma = (torch.as_tensor(level, dtype=torch.float64) for level in (alpha, sigma))
    if target not in ("x0", "eps", "v", "score"):
        raise ValueError(f"target = {target!r} is unknown; allowed: x0, eps, v, score")
    name, level = ("sigma", sigma) if target == "x0" else ("alpha", alpha)
    if target != "v" and not bool((level > 0).all()):
        raise ValueError(f"{name} has the minimum {level.min():g}; allowed: positive numbers for {target}")
    law, values = _double(law), []
    clean = entropy(law)
    for a, s in zip(alpha.flatten().tolist(), sigma.flatten().tolist()):
        noisy = entropy(law.noised(a, s))
        if target == "x0":
            values.append(noisy - GAUSSIAN_ENTROPY - math.log(s))
        elif target == "v":
            # v = alpha eps - sigma x_0; the sign of eps does not change its law, that of x_0 is a reflection.
            values.append(noisy + entropy(law.noised(s, a)) - clean - GAUSSIAN_ENTROPY)
        else:
            values.append(noisy - clean - math.log(a))
    return torch.tensor(values, dtype=torch.float64).reshape(alpha.shape)
