r"""What a noisy sample says about the clean one: errors and information by quadrature, for 1-D mixtures.

For x_t = alpha x_0 + sigma eps with x_0 a mixture of Gaussians, the law of x_t is again one, and every expectation
over it is a sum over components of a Gaussian integral, done by the trapezoidal rule in the component's own
standard units. The rule is spectrally accurate for such integrands: with the nodes below, differences from
adaptive quadrature are of the order of 1e-12. A component of std 0 is one node with its weight; where widths differ by
more than a factor of 300, Gauss-Legendre panels that grow with the distance from every component take over.

* minimal mean square error, the part of a target y that no predictor can know: mmse = E Var(y | x_t);
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

import numpy as np
import torch
from torch import Tensor

from ..core.denoiser import Denoiser, home_of, members_of
from ..core.law import GaussianMixture
from ..core.numbers import floats, number, tensor
from ..core.target import Target, coefficients

__all__ = [
    "GAUSSIAN_ENTROPY", "entropy", "excess_error", "expectation_nodes", "fisher_information", "mmse",
    "mutual_information", "nonlinearity",
]  # fmt: skip

GAUSSIAN_ENTROPY = 0.5 * math.log(2 * math.pi * math.e)
"""Differential entropy of N(0, 1) in nats."""


_UNEVEN = 300  # the ratio of widths from which on evenly spaced nodes would be too many


def _ratio(law: GaussianMixture) -> float:
    """The widest over the narrowest width of the components that have one."""
    spread = law.std[law.std > 0]
    return float(spread.max() / spread.min()) if len(spread) else 1.0


def _step(law: GaussianMixture) -> float:
    """Spacing of the nodes in standard deviations of their component: the widest must still resolve the narrowest."""
    spread = law.std[law.std > 0]
    return 0.06 * min(1.0, 3 * float(spread.min() / spread.max())) if len(spread) else 0.06


def expectation_nodes(
    law: GaussianMixture, half_width: float = 9.0, step: float | None = None
) -> tuple[Tensor, Tensor]:
    """Nodes x (k m,) and weights w (k m,) with E f(X) = sum_i w_i f(x_i) for X of the 1-D mixture ``law``, float64.

    ``half_width`` and ``step`` are in standard deviations of the component a node belongs to; the default step is 0.06,
    or less where components differ in width by more than a factor of 3. Beyond a factor of 300 nodes are Gauss-Legendre
    panels whatever the step. A component of std 0 puts its weight on its mean.

    Raises:
        ValueError: if ``law`` is not one-dimensional.
    """
    half_width = number(half_width, "half_width")
    law = _line(law)  # its parameters, not their float32 roundings
    means, std, weights = law.means[:, 0], law.std, law.weights
    if _ratio(law) > _UNEVEN:
        return _panels(means, std, weights, half_width)
    step = _step(law) if step is None else number(step, "step")
    z, gauss = (part.to(means.device) for part in _even_nodes(half_width, step))
    x = means[:, None] + std.expand(len(means))[:, None] * z
    return x.flatten(), (weights[:, None] * gauss).flatten()


def _even_nodes(half_width: float, step: float) -> tuple[Tensor, Tensor]:
    """Nodes z and weights of the trapezoidal rule for N(0, 1)."""
    z = torch.arange(-half_width, half_width + step / 2, step, dtype=torch.float64)
    return z, step * torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)


def _panels(means: Tensor, std: Tensor, weights: Tensor, half_width: float) -> tuple[Tensor, Tensor]:
    """Nodes and weights of 16-point Gauss-Legendre panels, and of the components that are points.

    Panels end at half a standard deviation from one another near a component, and in doubling distances farther out: a
    posterior weight turns from 0 to 1 within s/u, u < 8 or so, at a distance of u standard deviations s.
    """
    points, m, s, w = std == 0, means[std > 0], std[std > 0], weights[std > 0]
    low, high = (m - half_width * s).min(), (m + half_width * s).max()
    near = torch.arange(0.5, 12.5, 0.5, dtype=torch.float64, device=means.device)
    doublings = max(1, math.ceil(math.log2(float((high - low) / s.min())))) + 1
    far = 12 * 2.0 ** torch.arange(1, doublings, dtype=torch.float64, device=means.device)
    u = torch.cat([-far.flip(0), -near.flip(0), near.new_zeros(1), near, far])
    knots = (m[:, None] + s[:, None] * u).flatten()
    knots = torch.cat([knots[(knots > low) & (knots < high)], torch.stack([low, high])]).unique()
    nodes, legendre = (torch.as_tensor(v, device=means.device) for v in np.polynomial.legendre.leggauss(16))
    half = knots.diff()[:, None] / 2
    x = (knots[:-1, None] + half * (nodes + 1)).flatten()
    density = torch.zeros_like(x)
    for mean, width, weight in zip(m.tolist(), s.tolist(), w.tolist()):
        density += weight / (width * math.sqrt(2 * math.pi)) * torch.exp(-0.5 * ((x - mean) / width) ** 2)
    return torch.cat([x, means[points]]), torch.cat([(half * legendre).flatten() * density, weights[points]])


def _double(law: GaussianMixture) -> GaussianMixture:
    return law.to(dtype=torch.float64)


def _line(law: GaussianMixture) -> GaussianMixture:
    """``law`` in float64, checked to be one-dimensional."""
    if law.dim != 1:
        raise ValueError(f"law has dimension {law.dim}; allowed: 1")
    return _double(law)


def _smooth(law: GaussianMixture, what: str) -> GaussianMixture:
    """``law`` in float64, checked to have a density."""
    if law.has_points:
        raise ValueError(f"law = {law!r} has a component of std 0, where its {what} is infinite; allowed: std > 0")
    return _double(law)


def entropy(law: GaussianMixture) -> float:
    """Differential entropy -E log p(X) of a 1-D mixture, in nats. Raises ValueError for a component of std 0.

    >>> from diffnotes.core.law import GaussianMixture
    >>> round(entropy(GaussianMixture([0.0], 1.0)) - GAUSSIAN_ENTROPY, 12)
    0.0
    """
    law = _smooth(law, "entropy")
    x, w = expectation_nodes(law)
    return -float(w @ law.log_prob(x[:, None]))


def fisher_information(law: GaussianMixture) -> float:
    """J = E (d log p/dx)^2 of a 1-D mixture (1/J is the variance of the most spread-out Gaussian with that J)."""
    law = _smooth(law, "Fisher information")
    x, w = expectation_nodes(law)
    return float(w @ law.score(x[:, None])[:, 0] ** 2)


def nonlinearity(law: GaussianMixture) -> float:
    """The share of the score's energy that no linear function of x explains: 1 - 1/(Var(X) J), in [0, 1).

    The best linear predictor of the score is -(x - mean)/Var, by Stein's identity E[(X - mean) score(X)] = -1. What it
    leaves is integrated as such, so that shares far below the rounding of 1 come out right; 0 for a Gaussian only.
    """
    law = _smooth(law, "Fisher information")
    x, w = expectation_nodes(law)
    score, mean = law.score(x[:, None])[:, 0], w @ x
    left = score + (x - mean) / (w @ (x - mean).square())
    return float((w @ left.square()) / (w @ score.square()))


def mmse(law: GaussianMixture, alpha: Tensor | float, sigma: Tensor | float, target: Target = "x0") -> Tensor:
    """E Var(y | x_t) of the target y = a x_0 + b eps for a 1-D mixture; float64, of the shape of the levels.

    That of x_0 is integrated; at fixed x_t the others are multiples of it, by (det/sigma)^2, det = alpha b - sigma a.

    Args:
        law: the law of x_0.
        alpha, sigma: noise levels, numbers or tensors that broadcast.
        target: a name or a function, see :func:`diffnotes.core.target.coefficients`.

    Raises:
        ValueError: if some sigma is not positive or a level not finite, for an unknown target, or a law off the line.
    """
    law = _line(law).to("cpu")
    alpha, sigma = _levels(alpha, sigma)
    if not bool((sigma > 0).all()):
        raise ValueError(f"sigma has the minimum {sigma.min():g}; allowed: positive numbers")
    a, b = coefficients(target, alpha, sigma)
    return ((alpha * b - sigma * a) / sigma) ** 2 * _clean_mmse(law, alpha, sigma)


def _clean_mmse(law: GaussianMixture, alpha: Tensor, sigma: Tensor) -> Tensor:
    """E Var(x_0 | x_t), all in float64 on the CPU."""
    means, values = law.means[:, 0], []
    for a, s in zip(alpha.flatten().split(500), sigma.flatten().split(500)):
        widths = torch.hypot(a[:, None] * law.std, s[:, None])  # of the components of x_t, (levels, k)
        ratio = widths.amax(1) / widths.amin(1)
        found, even = torch.empty_like(a), ratio <= _UNEVEN
        if bool(even.any()):  # one step for all, so that nodes stack
            z, gauss = _even_nodes(9.0, 0.06 * min(1.0, 3 / float(ratio[even].max())))
            x = ((a[even, None] * means)[..., None] + widths[even, :, None] * z).flatten(1)
            found[even] = _mean_variance(law, x, (law.weights[:, None] * gauss).flatten(), a[even], s[even])
        for k in (~even).nonzero():
            x, w = expectation_nodes(law.noised(float(a[k]), float(s[k])))
            found[k] = _mean_variance(law, x[None], w, a[k], s[k])
        values.append(found)
    return torch.cat(values).reshape(alpha.shape) if values else torch.empty_like(alpha)


def _mean_variance(law: GaussianMixture, x: Tensor, w: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """sum_i w_i Var(x_0 | x_t = x_i) at each level, (levels,); x (levels, nodes), w (nodes,)."""
    spread = [level[:, None].expand_as(x).flatten() for level in (alpha, sigma)]
    return (w * law.posterior_variance(x.reshape(-1, 1), *spread).reshape(x.shape)).sum(1)


def _levels(alpha: Tensor | float, sigma: Tensor | float) -> tuple[Tensor, Tensor]:
    """Both levels in float64 on the CPU, of one shape; ValueError where shapes do not fit or one is not finite."""
    alpha, sigma = floats(alpha, "alpha", torch.float64).cpu(), floats(sigma, "sigma", torch.float64).cpu()
    for name, level in (("alpha", alpha), ("sigma", sigma)):
        if not bool(level.isfinite().all()):
            raise ValueError(f"{name} has non-finite entries; allowed: finite numbers")
    try:
        return tuple(level.contiguous() for level in torch.broadcast_tensors(alpha, sigma))
    except RuntimeError as error:
        raise ValueError(f"alpha has shape {tuple(alpha.shape)}, sigma {tuple(sigma.shape)}; allowed: numbers, or "
                         "shapes that broadcast") from error


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
    step = number(step, "step")
    for t in tensor(times, "times"):
        alpha, sigma = (float(level) for level in schedule(t))
        noised = exact_law.noised(alpha, sigma)
        x, w = expectation_nodes(noised, half_width=6.0, step=min(step, 5 * _step(noised)))
        best = exact_law.posterior_mean(x[:, None], alpha, sigma)[:, 0]
        batch = x.to(law.dtype)[:, None]
        for name, denoiser in fleet.items():
            members = members_of(denoiser)
            shape = batch.shape if members is None else (members, *batch.shape)
            with torch.no_grad():
                guess = denoiser.x0(batch.to(home_of(denoiser)[1]).expand(shape), t)[..., 0].double()
            values[name].append((guess - best.to(guess.device)).square() @ w.to(guess.device))
    return {name: torch.stack(curve, -1).cpu() for name, curve in values.items()}


def mutual_information(law: GaussianMixture, target: str, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
    """I(target; x_t) in nats for target "x0", "eps", "v" or "score" and a 1-D mixture; levels as in :func:`mmse`.

    The score target is a rescaled eps, so it shares eps's information.

    Raises:
        ValueError: for another target, or a level or a law (std = 0, but for "x0") at which it is infinite.
    """
    alpha, sigma = _levels(alpha, sigma)
    if target not in ("x0", "eps", "v", "score"):
        raise ValueError(f"target = {target!r} is unknown; allowed: x0, eps, v, score")
    name, level = ("sigma", sigma) if target == "x0" else ("alpha", alpha)
    if target != "v" and not bool((level > 0).all()):
        raise ValueError(f"{name} has the minimum {level.min():g}; allowed: positive numbers for {target}")
    law, values = _double(law), []
    # With a component of std 0 only the information on x_0 is finite: given x_t, the noise is known now and then.
    clean = math.nan if target == "x0" else entropy(_smooth(law, "information"))
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
