r"""The evidence lower bound of a diffusion chain, term by term.

For a chain q(x_1..T | x_0) and a model p(x_T) prod_t p(x_{t-1} | x_t),

    -log p(x_0)  <=  E[-log p(x_0 | x_1)]                                        reconstruction
                     + E KL(q(x_T | x_0) || p(x_T))                              prior
                     + sum_{t=2..T} E KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t))    denoising_t.

With p(x_T) = N(0, I) and reverse kernels N(gamma1_t x0_hat(x_t) + gamma2_t x_t, s_t^2 I) of a predictor x0_hat, all
of it is closed form but for one number per step, the predictor's mean square error e_t = E|x_0 - x0_hat(x_t)|^2:

    denoising_t = d/2 (r - 1 - log r) + gamma1_t^2 e_t / (2 s_t^2),      r = beta_tilde_t/s_t^2,
    reconstruction = d/2 log(2 pi s_1^2) + e_1 / (2 s_1^2).

Units are nats per sample; no constant is hidden. For 1-D mixtures and the exact predictor, e_t is the minimal mean
square error, by quadrature. The s_t^2 that minimises each term is s_t^2 = beta_tilde_t + gamma1_t^2 e_t/d.

References: Ho et al. 2020, eq. 5; Kingma et al. 2021 (arXiv 2107.00630), section 4; Bao et al. 2022 (arXiv 2201.06503).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.denoiser import Denoiser
from ..core.generators import generator_of
from ..core.law import GaussianMixture
from ..core.numbers import count, floats, number, samples, tensor, working
from ..core.schedule import Chain
from ..core.target import Target, coefficients
from ..measure import information

__all__ = [
    "VARIANCES", "Elbo", "bound", "bound_along_paths", "bound_of_law", "bounds_of_excess", "law_error",
    "reverse_variance", "step_weight",
]  # fmt: skip

VARIANCES = ("beta", "beta_tilde", "optimal")


@dataclass(frozen=True)
class Elbo:
    """The terms of the bound on E[-log p(x_0)], in nats per sample, float64.

    ``denoising`` is indexed by the mathematical t, length T + 1; entries 0 and 1 are 0.
    """

    reconstruction: float
    prior: float
    denoising: Tensor

    @property
    def total(self) -> float:
        """The bound itself: an upper bound on the negative log-likelihood."""
        return self.reconstruction + self.prior + float(self.denoising.sum())


def reverse_variance(chain: Chain, variance: str, error: Tensor | None = None, dim: int = 1) -> Tensor:
    """s_t^2 of the reverse kernels, (T+1,) float64: "beta", "beta_tilde" or "optimal" (needs ``error``; see above).

    beta_tilde_1 = 0 would give the decoder no width at all, so at t = 1 "beta_tilde" uses beta_1, as DDPM does.

    Raises:
        ValueError: for another name, or "optimal" without ``error``.
    """
    if variance == "beta":
        return chain.beta.clone()
    if variance == "beta_tilde":
        return torch.where(torch.arange(chain.T + 1) == 1, chain.beta, chain.beta_tilde)
    if variance == "optimal" and error is not None:
        return chain.beta_tilde + chain.gamma1**2 * floats(error, "error", torch.float64) / count(dim, "dim", 1)
    raise ValueError(f"variance = {variance!r}; allowed: beta, beta_tilde, or optimal with the predictor's error given")


def bound(chain: Chain, error: Tensor, second_moment: float, variance: str = "beta_tilde", dim: int = 1) -> Elbo:
    """The terms of the bound for a predictor with mean square error ``error``.

    Args:
        chain: the forward chain.
        error: e_t = E|x_0 - x0_hat(x_t)|^2 for t = 0..T, (T+1,), summed over dimensions; entry 0 is not used.
        second_moment: E|x_0|^2, for the prior term.
        variance: the reverse variance, one of :data:`VARIANCES`.
        dim: dimension d of the data.

    Raises:
        ValueError: if ``error`` has another shape or is negative or not finite.
    """
    error = floats(error, "error", torch.float64).cpu()
    second_moment, dim = number(second_moment, "second_moment"), count(dim, "dim", 1)
    if error.shape != (chain.T + 1,) or not bool((error[1:] >= 0).all() & error[1:].isfinite().all()):
        raise ValueError(
            f"error has shape {tuple(error.shape)} and minimum {error.min():g}; "
            f"allowed: {chain.T + 1} finite numbers >= 0, indexed t = 0..T"
        )
    width = reverse_variance(chain, variance, error, dim)
    signal = float(chain.alpha_bar[-1])
    prior = 0.5 * (signal * second_moment - dim * (signal + math.log1p(-signal)))
    ratio = chain.beta_tilde[2:] / width[2:]
    denoising = torch.zeros_like(chain.beta)
    denoising[2:] = 0.5 * dim * (ratio - 1 - ratio.log()) + chain.gamma1[2:] ** 2 * error[2:] / (2 * width[2:])
    # "optimal" without any error at t = 1: a law of points, whose density the decoder makes as high as it likes.
    sharp = float(width[1]) == 0
    reconstruction = -math.inf if sharp else (
        0.5 * dim * math.log(2 * math.pi * width[1]) + float(error[1] / (2 * width[1])))
    return Elbo(reconstruction, prior, denoising)


def bound_of_law(law: GaussianMixture, chain: Chain, variance: str = "beta_tilde") -> Elbo:
    """The bound of the *best possible* predictor E[x_0 | x_t] for a 1-D mixture, exact by quadrature.

    What it exceeds the data's entropy by is the price of the chain (its length and reverse variance), not of learning.
    """
    x, w = information.expectation_nodes(law)
    return bound(chain, law_error(law, chain), float(w @ x**2), variance)


def law_error(law: GaussianMixture, chain: Chain) -> Tensor:
    """e_t = E Var(x_0 | x_t) of the best predictor for a 1-D mixture, (T+1,) float64; e_0 = 0."""
    alpha, sigma = chain(torch.arange(1, chain.T + 1))
    return torch.cat([torch.zeros(1, dtype=torch.float64), information.mmse(law, alpha, sigma)])


def bounds_of_excess(law: GaussianMixture, chain: Chain, excess: Tensor, variance: str = "beta_tilde") -> Tensor:
    """The bound of predictors with the given excess error over the mmse, (..., T) at t = 1..T: (...,) nats, float64.

    ``excess`` is what :func:`diffnotes.measure.information.excess_error` measures for a 1-D mixture ``law``.
    """
    best = law_error(law, chain)
    x, w = information.expectation_nodes(law)
    excess = floats(excess, "excess", torch.float64).cpu()
    rows = excess.reshape(-1, chain.T)
    totals = [bound(chain, torch.cat([best[:1], best[1:] + row]), float(w @ x**2), variance).total for row in rows]
    return torch.tensor(totals, dtype=torch.float64).reshape(excess.shape[:-1])


def bound_along_paths(
    denoiser: Denoiser, chain: Chain, x0: Tensor, variance: str | Tensor, generator: torch.Generator
) -> Tensor:
    """log q(x_1..T | x_0) - log p(x_0..T) on one forward path per row of ``x0`` (n, d): (n,) nats, dtype of ``x0``.

    Its mean is the bound itself, from the joint densities alone: the check on the sum of the terms.

    Args:
        denoiser: the model's predictor on the times of ``chain``.
        variance: a name of :data:`VARIANCES` other than "optimal", or s_t^2 itself, (T+1,).
    """
    width = reverse_variance(chain, variance) if isinstance(variance, str) else tensor(variance, "variance")
    x0 = samples(x0, "x0")
    if (work := working(x0.dtype)) != x0.dtype:
        return bound_along_paths(denoiser, chain, x0.to(work), variance, generator).to(x0.dtype)
    generator = generator_of(generator, x0.device)

    def log_normal(x: Tensor, mean: Tensor, var: float) -> Tensor:
        return -0.5 * ((x - mean) ** 2 / var + math.log(2 * math.pi * var)).sum(-1)

    value, x = torch.zeros(len(x0), dtype=x0.dtype, device=x0.device), x0
    for t in range(1, chain.T + 1):
        beta = float(chain.beta[t])
        noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
        before, x = x, math.sqrt(1 - beta) * x + math.sqrt(beta) * noise
        mean = float(chain.gamma1[t]) * denoiser.x0(x, t) + float(chain.gamma2[t]) * x
        value += log_normal(x, math.sqrt(1 - beta) * before, beta) - log_normal(before, mean, float(width[t]))
    return value - log_normal(x, torch.zeros_like(x), 1.0)


def step_weight(chain: Chain, target: Target = "x0", variance: str = "beta_tilde") -> Tensor:
    """The factor of |d target|^2 in denoising_t, (T+1,) float64, 0 at t < 2: gamma1^2/(2 s^2) (sigma/det)^2.

    For x0 and beta_tilde it is (SNR_{t-1} - SNR_t)/2 (Kingma et al. 2021, eq. 13).
    """
    width = reverse_variance(chain, variance)
    alpha, sigma = chain(torch.arange(2, chain.T + 1))
    a, b = coefficients(target, alpha, sigma)
    weight = torch.zeros_like(chain.beta)
    weight[2:] = chain.gamma1[2:] ** 2 / (2 * width[2:]) * (sigma / (alpha * b - sigma * a)) ** 2
    return weight
