r"""The four prediction targets and the evidence lower bound of a diffusion chain, term by term.

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

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..core.data import image_split
from ..core.denoiser import Denoiser, Learned, home_of, members_of
from ..core.generators import generator_of
from ..core.law import GaussianMixture, Law
from ..core.numbers import count, floats, number, samples, tensor, working
from ..core.schedule import Chain, Schedule
from ..core.target import TARGETS, Target, coefficients, convert, mean_target
from ..measure import information
from ..measure.distance import frechet_distance, wasserstein1_to
from ..measure.interval import Interval, paired_difference
from ..model import sample
from ..model.condition import Condition
from ..model.fleet import Fleet, Images, Table, Trained
from ..model.net import Dense, Network
from ..model.setting import Run, Setting
from ..model.store import rounded
from ..model.train import gradient_statistics

__all__ = [
    "SWEEP_STEPS", "VARIANCES", "Agreement", "BoundWeight", "Clipped", "Elbo", "Errors", "GradientNoise", "MeanTarget",
    "RateSweep", "agreement", "amplification", "at_ceiling", "bound", "bound_along_paths", "bound_of_law",
    "bounded_distance", "bounds_of_excess", "decoder_excess", "distances", "held_out_error", "increment_gradient",
    "levels_of_log_snr", "log_gap", "mean_shape", "misprint", "noise_to_signal", "on_schedule", "posterior_deviation",
    "regret", "reverse_variance", "size_of", "step_weight", "stretched_chain", "sweep_times", "tilt",
]  # fmt: skip

VARIANCES = ("beta", "beta_tilde", "optimal")
SWEEP_STEPS = 50  # of DDIM
MOST = 2000  # held-out images on which errors are taken


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
    return bound(chain, _least_error(law, chain), float(w @ x**2), variance)


@lru_cache(maxsize=16)
def _least_error(law: GaussianMixture, chain: Chain) -> Tensor:
    """The mmse at t = 0..T, (T+1,) float64; 0 at t = 0."""
    return torch.cat([torch.zeros(1, dtype=torch.float64), information.mmse(law, *chain(torch.arange(1, chain.T + 1)))])


def decoder_excess(law: GaussianMixture, chain: Chain, variance: str = "beta_tilde") -> float:
    """L_1 - h(x_0 | x_1) >= 0 of the best predictor for a 1-D mixture, in nats: what a decoder could still gain.

    The conditional entropy h(x_0 | x_1) = h(x_0) - I(x_0; x_1) depends on the unit of x_0 as L_1 does; their difference
    is the divergence of the true posterior from the Gaussian decoder, and depends on no unit.
    """
    known = float(information.mutual_information(law, "x0", *(level.reshape(1) for level in chain(1)))[0])
    return bound_of_law(law, chain, variance).reconstruction - (information.entropy(law) - known)


def bounds_of_excess(law: GaussianMixture, chain: Chain, excess: Tensor, variance: str = "beta_tilde") -> Tensor:
    """The bound of predictors with the given excess error over the mmse, (..., T) at t = 1..T: (...,) nats, float64.

    ``excess`` is what :func:`diffnotes.measure.information.excess_error` measures for a 1-D mixture ``law``.
    """
    best = _least_error(law, chain)
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


def posterior_deviation(chain: Chain, t: int, x0: float = 0.7, noise: float = 0.4) -> float:
    """How far q(x_{t-1} | x_t, x_0) is from N(gamma1 x_0 + gamma2 x_t, beta_tilde), x_t = alpha x_0 + sigma ``noise``.

    The product of the densities q(x_t | x_{t-1}) q(x_{t-1} | x_0) is normalised on a grid of 24 standard deviations;
    the larger of the deviation of its mean, in standard deviations, and of its variance, relative.

    Raises:
        ValueError: for t outside 2..T, where the posterior has a width.
    """
    t = count(t, "t", 2, chain.T)
    alpha, sigma = chain(t)
    x_t = float(alpha) * x0 + float(sigma) * noise
    mean = float(chain.gamma1[t] * x0 + chain.gamma2[t] * x_t)
    spread = math.sqrt(chain.beta_tilde[t])
    x = mean + spread * torch.linspace(-12, 12, 4001, dtype=torch.float64)
    log_density = -((x_t - (1 - chain.beta[t]).sqrt() * x) ** 2) / (2 * chain.beta[t])
    log_density -= (x - chain.alpha_bar[t - 1].sqrt() * x0) ** 2 / (2 * (1 - chain.alpha_bar[t - 1]))
    weight = torch.softmax(log_density, 0)
    found = float(weight @ x)
    variance = float(weight @ (x - found) ** 2)
    return max(abs(found - mean) / spread, abs(variance / spread**2 - 1))


# --- targets ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MeanTarget:
    """The mean mu_q of q(x_s | x_t, x_0) as a target, s = t - ``step`` on ``schedule``, as a value.

    The coefficients are those of :func:`diffnotes.core.target.mean_target`; t is found from the log SNR.
    """

    schedule: Schedule
    step: float = 1e-3

    def __call__(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return mean_target(self._before)(alpha, sigma)

    def _before(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        time = self.schedule.time_of_log_snr(2 * (alpha / sigma).log())
        return self.schedule((time - self.step).clamp(min=0))[0]


def mean_shape(chain: Chain) -> tuple[Tensor, Tensor]:
    """Of the target mu_q, for data of unit variance at t = 2..T: E mu_q^2, and the share that is not linear in x_t.

    mu_q = alpha_{t-1} x_0 + b eps with b = gamma2 sigma, so E mu_q^2 = abar_{t-1} + b^2; the best linear function of
    x_t leaves gamma1^2 Var(x_0 | x_t) = gamma1^2 sigma^2 of it. Two tensors (T - 1,), float64.
    """
    _, sigma = chain(torch.arange(2, chain.T + 1))
    energy = chain.alpha_bar[1:-1] + (chain.gamma2[2:] * sigma) ** 2
    return energy, chain.gamma1[2:] ** 2 * sigma**2 / energy


class Agreement(NamedTuple):
    """Largest differences: of mu_theta between the targets, absolute; of squared errors from their factors, relative.
    """

    means: float
    factors: float


def agreement(chain: Chain, steps: Sequence[int], seed: int) -> Agreement:
    """Whether one random prediction of 1000 points, read as each target, gives one mean and errors in the known ratios.

    The means are gamma1 x_0 + gamma2 x_t, (x_t - beta/sigma eps)/r, r x_t - beta sqrt(abar_{t-1})/sigma v and
    (x_t + beta s)/r with r = sqrt(1 - beta); the ratios to |d x_0|^2 are SNR, 1 + SNR and SNR/sigma^2.

    Args:
        chain: a variance-preserving chain.
        steps: the steps t at which this is tried.
        seed: of the points, their noise and the prediction.
    """
    generator = torch.Generator().manual_seed(seed)
    x0, noise, guess = torch.randn(3, 1000, 1, generator=generator, dtype=torch.float64)
    means, factors = [], []
    for t in steps:
        alpha, sigma = (float(level) for level in chain(t))
        x_t, beta = alpha * x0 + sigma * noise, float(chain.beta[t])
        by_x0 = chain.gamma1[t] * guess + chain.gamma2[t] * x_t
        eps, v, score = (convert(guess, x_t, alpha, sigma, "x0", to) for to in ("eps", "v", "score"))
        root, before = math.sqrt(1 - beta), float(chain.alpha_bar[t - 1].sqrt())
        for mean in ((x_t - beta / sigma * eps) / root, root * x_t - beta * before / sigma * v,
                     (x_t + beta * score) / root):
            means.append(float((mean - by_x0).abs().max()))
        snr, unit = (alpha / sigma) ** 2, ((guess - x0) ** 2).mean()
        for name, guessed, factor in (("eps", eps, snr), ("v", v, 1 + snr), ("score", score, snr / sigma**2)):
            a, b = coefficients(name, alpha, sigma)
            error = ((guessed - (a * x0 + b * noise)) ** 2).mean()
            factors.append(float((error / (factor * unit) - 1).abs()))
    return Agreement(max(means), max(factors))


def levels_of_log_snr(log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """(alpha, sigma) of a variance-preserving schedule, alpha^2 = 1/(1 + exp(-log SNR)); shape and dtype as given."""
    return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()


def amplification(log_snr: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """By target, the errors of x_0 and of eps that an error of one in the target's own scale becomes.

    sigma/|det| and alpha/|det|, det = alpha b - sigma a, of a variance-preserving schedule; times 1/sigma for the
    score, whose scale that is. Tensors of the shape of ``log_snr``.
    """
    alpha, sigma = levels_of_log_snr(log_snr)
    found = {}
    for name in TARGETS:
        a, b = coefficients(name, alpha, sigma)
        unit = 1 / sigma if name == "score" else torch.ones_like(sigma)
        to_x0, to_eps = ((level / (alpha * b - sigma * a)).abs() * unit for level in (sigma, alpha))
        found[name] = to_x0, to_eps
    return found


def misprint(chain: Chain) -> tuple[Tensor, Tensor]:
    """What v = sqrt(1 - beta_t) eps - sigma x_0 would be at t = 1..T: two tensors (T,), float64.

    The coefficient of eps that x_0 = alpha x_t - sigma v then leaves, sigma (alpha - sqrt(1 - beta_t)), and the
    variance of this v for data of unit variance, 1 - beta_t + sigma^2.
    """
    alpha, sigma = chain(torch.arange(1, chain.T + 1))
    root = chain.alpha[1:].sqrt()
    return sigma * (alpha - root), root**2 + sigma**2


# --- trained networks -------------------------------------------------------------------------------------------------


def distances(net: Denoiser, start: Tensor, times: Tensor, distance: Callable[[Tensor], Tensor | float]
              ) -> tuple[Tensor, Tensor]:
    """Distances of each member's DDIM samples, (members,) float32, and the samples, float64 on the CPU.

    Args:
        net: a stacked ensemble.
        start: noise to start from, (members, n, d).
        times: decreasing times of its schedule.
        distance: of one member's samples (n, d), a number.

    Raises:
        ValueError: if ``start`` has no axis of members.
    """
    if start.ndim != 3 or len(start) != members_of(net):
        raise ValueError(f"start has shape {tuple(start.shape)}; allowed: ({members_of(net)}, n, d)")
    with torch.no_grad():
        drawn = sample.ddim(net, start, times).cpu().double()
    return torch.tensor([float(distance(one)) for one in drawn]), drawn


@dataclass(frozen=True)
class RateSweep:
    """Distances of samples to data after training at each of several learning rates: an experiment that can be kept.

    The networks of a sweep would take megabytes, of which the chapter needs one number each; only these are kept.

    Args:
        fleet: what is trained, once for each rate in place of its run's own.
        rates: the learning rates.
        data: what samples are held against: a law on the line (Wasserstein distance), or images with a seed, of which
            the held-out part counts (Frechet distance of pixels).
        samples, seed: samples of each network, and the seed of their start on images; on the line the start is
            quantiles, so that distances have no noise of sampling.

    The sampler is DDIM in :data:`SWEEP_STEPS` steps evenly spaced in log SNR, on images with the usual clipping of x_0
    to the range of pixels (:class:`Clipped`), without which the first steps decide the distance. Samples that are not
    finite, or farther from the data than zeros are, count as zeros.

    Raises:
        ValueError: for no rate, or images without a seed.
    """

    fleet: Fleet
    rates: Sequence[float]
    data: GaussianMixture | Images
    samples: int
    seed: int = 0

    def __post_init__(self) -> None:
        if not len(self.rates) or (isinstance(self.data, Images) and self.data.seed is None):
            raise ValueError(f"rates = {list(self.rates)}, data = {self.data}; allowed: at least one rate, and images "
                             "with a seed")

    def blank(self) -> dict[str, nn.Module]:
        """The distances before they are known."""
        shape = (len(self.rates), len(self.fleet.arms), len(self.fleet.seeds))
        return {"distances": Table(torch.zeros(shape))}

    def train(self, device: torch.device | str = "cpu") -> Trained:
        """Train at each rate on ``device``, sample, and measure."""
        far = self._distance()
        found = []
        for rate in self.rates:
            made = replace(self.fleet, run=replace(self.fleet.run, rate=rate))
            nets = made.read({name: rounded(net) for name, net in made.train(device).networks.items()})
            schedule = next(iter(nets.values())).schedule
            times = sweep_times(schedule)
            if isinstance(self.data, Images):
                nets = {name: Clipped(net) for name, net in nets.items()}
            start = self._start(float(schedule(times[0])[1])).to(device)
            found.append(torch.stack([distances(net, start, times, far)[0] for net in nets.values()]))
        return Trained({"distances": Table(torch.stack(found))}, {})

    def read(self, networks: Mapping[str, nn.Module], recipe: str = "") -> dict[str, Tensor]:
        """name -> distances (rates, seeds), float32 on the CPU."""
        values = networks["distances"].values.float().cpu()
        return {name: values[:, i] for i, name in enumerate(self.fleet.arms)}

    def _start(self, width: float) -> Tensor:
        shape = len(self.fleet.seeds), self.samples, self.fleet.net.dim
        if isinstance(self.data, Images):
            return width * torch.randn(shape, generator=torch.Generator().manual_seed(self.seed))
        levels = (torch.arange(self.samples, dtype=torch.float64) + 0.5) / self.samples
        return (width * torch.special.ndtri(levels)).float()[:, None].expand(shape).contiguous()

    def _distance(self) -> Callable[[Tensor], float]:
        if isinstance(self.data, Images):
            held_out = image_split(self.data.name, self.data.seed)[1].x.double()
            return bounded_distance(lambda x: frechet_distance(x, held_out))
        return bounded_distance(lambda x: wasserstein1_to(x, self.data))


class Clipped(Denoiser):
    """A denoiser whose x_0 is clipped to [-1, 1], the range of pixels, at every step of a sampler."""

    def __init__(self, base: Denoiser) -> None:
        self.base, self.schedule, self.target = base, base.schedule, "x0"

    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        return self.base.x0(x, t).clamp(-1, 1)


def sweep_times(schedule: Schedule) -> Tensor:
    """The times of DDIM in :class:`RateSweep`, evenly spaced in log SNR."""
    return sample.grid(schedule, SWEEP_STEPS, kind="log_snr")


def bounded_distance(distance: Callable[[Tensor], Tensor | float]) -> Callable[[Tensor], float]:
    """``distance`` of samples (n, d), at most that of as many zeros, which stand for what is not finite as well."""

    def measured(x: Tensor) -> float:
        worst = float(distance(torch.zeros_like(x)))
        return min(float(distance(x)), worst) if bool(x.isfinite().all()) else worst

    return measured


@dataclass(frozen=True)
class Errors:
    """Errors of x_0 by noise level after training: an experiment of which the numbers are kept, not the networks.

    Args:
        fleet: what is trained.
        data: what errors are taken on: a law on the line, E|x_0_hat - E[x_0 | x_t]|^2 by quadrature; or images with a
            seed, E|x_0_hat - x_0|^2 on the held-out part.
        times: (L,) times of the schedule.
        seed: of the noise on images, one draw for all networks and times.

    Raises:
        ValueError: for images without a seed.
    """

    fleet: Fleet
    data: GaussianMixture | Images
    times: Tensor
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.data, Images) and self.data.seed is None:
            raise ValueError(f"data = {self.data}; allowed: a law on the line, or images with a seed")

    def blank(self) -> dict[str, nn.Module]:
        """The errors before they are known."""
        return {"errors": Table(torch.zeros(len(self.fleet.arms), len(self.fleet.seeds), len(self.times)))}

    def train(self, device: torch.device | str = "cpu") -> Trained:
        """Train on ``device``, and measure."""
        nets = self.fleet.read({name: rounded(net) for name, net in self.fleet.train(device).networks.items()})
        if isinstance(self.data, Images):
            clean = image_split(self.data.name, self.data.seed)[1].x[:MOST]
            noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(self.seed))
            found = {name: held_out_error(net, clean, noise, self.times) for name, net in nets.items()}
        else:
            law = self.data.to(dtype=torch.float32)  # that of networks
            found = information.excess_error(nets, law, self.times)
        return Trained({"errors": Table(torch.stack([found[name] for name in self.fleet.arms]))}, {})

    def read(self, networks: Mapping[str, nn.Module], recipe: str = "") -> dict[str, Tensor]:
        """name -> errors (seeds, L), float64 on the CPU."""
        return dict(zip(self.fleet.arms, networks["errors"].values.cpu(), strict=True))


def log_gap(rival: Tensor, champion: Tensor) -> Interval:
    """By how much log distance is larger for ``rival``, a mean over learning rates, paired by seed; (rates, seeds)."""
    return paired_difference(rival.log().mean(0), champion.log().mean(0))


def regret(distances: Tensor) -> Tensor:
    """Mean over learning rates of log distance minus its smallest, (rates, seeds) -> (seeds,): 0 where no rate matters.

    The level of the distances cancels, so a target that samples badly at every rate is none the less stable.
    """
    logs = floats(distances, "distances", torch.float64).log()
    return logs.mean(0) - logs.amin(0)


def at_ceiling(distances: Tensor, share: float = 0.95) -> bool:
    """Whether no rate brings the median seed below ``share`` of the largest distance: (rates, seeds) of no use."""
    return bool(distances.median(1).values.min() >= share * distances.max())


def size_of(found: Interval) -> Interval:
    """The interval of |effect|: from 0 where the interval of the effect holds 0."""
    value, low, high = (float(end) for end in found)
    least = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    return Interval(abs(value), least, max(abs(low), abs(high)))


def held_out_error(net: Denoiser, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """E|x_0_hat - x_0|^2 of each member on held-out data, (members, L) float64 on the CPU.

    Args:
        net: a stacked ensemble.
        clean, noise: x_0 and eps, (n, d).
        times: (L,) times of its schedule.
    """
    dtype, device = home_of(net)
    clean, noise = (samples(value, name).to(device, dtype) for value, name in ((clean, "clean"), (noise, "noise")))
    errors = []
    for t in tensor(times, "times"):
        alpha, sigma = (float(level) for level in net.schedule(t))
        x_t = (alpha * clean + sigma * noise).expand(members_of(net), -1, -1)
        with torch.no_grad():
            errors.append((net.x0(x_t, t) - clean).square().sum(-1).mean(-1).double())
    return torch.stack(errors, 1).cpu()


def tilt(errors: Tensor, log_snr: Tensor) -> Tensor:
    """Mean log error at high noise, log SNR < 0, minus that at low noise: of (..., L) at ``log_snr`` (L,), (...)."""
    return errors[..., log_snr < 0].log().mean(-1) - errors[..., log_snr > 0].log().mean(-1)


@dataclass(frozen=True)
class GradientNoise:
    """Noise and signal of mini-batch gradients of untrained networks, by bins of log SNR: an experiment to be kept.

    Args:
        settings: what the losses are, by name.
        data, net: of a :class:`~diffnotes.model.fleet.Fleet`; networks are told log SNR on ``schedule``.
        batches: its steps are the mini-batches, its batch their size (``gradient_statistics``).
        edges: increasing edges of the bins.
        seeds: one network for each.
    """

    settings: Mapping[str, Setting]
    data: GaussianMixture
    net: Dense
    batches: Run
    edges: Tensor
    seeds: Sequence[int]

    def blank(self) -> dict[str, nn.Module]:
        """The statistics before they are known."""
        return {"gradients": Table(torch.zeros(2, len(self.settings), len(self.seeds), len(self.edges) - 1))}

    def train(self, device: torch.device | str = "cpu") -> Trained:
        """Draw the mini-batches on ``device``, and measure; nothing is trained."""
        found = []
        for setting in self.settings.values():
            nets = self.net.make(setting.told, [*self.seeds]).to(device)
            one = gradient_statistics(nets, self.data, setting, self.batches, self.edges)
            found.append(torch.stack([one.noise, one.signal]))
        return Trained({"gradients": Table(torch.stack(found, 1))}, {})

    def read(self, networks: Mapping[str, nn.Module], recipe: str = "") -> dict[str, tuple[Tensor, Tensor]]:
        """name -> noise and signal, each (seeds, bins), float64; a signal too small for the batches is 0."""
        noise, signal = networks["gradients"].values.cpu()
        return {name: (noise[i], signal[i]) for i, name in enumerate(self.settings)}


def noise_to_signal(noise: Tensor, signal: Tensor) -> Tensor:
    """Noise over signal by bin, (seeds, bins) -> (bins,): the median of seeds, to which one without a signal is inf."""
    return (noise / signal).quantile(0.5, dim=0, interpolation="nearest")


def stretched_chain(increment: float) -> Chain:
    """Some hundred steps from log SNR 9 to -9, of equal increments but for t = 52, which has ``increment``.

    That step leads from log SNR = increment/2 to -increment/2. ValueError unless 0 < increment < 18.
    """
    increment = number(increment, "increment")
    if not 0 < increment < 18:
        raise ValueError(f"increment = {increment}; allowed: numbers between 0 and 18")
    clean, noisy = torch.linspace(9, increment / 2, 51), torch.linspace(-increment / 2, -9, 50)
    alpha_bar = torch.sigmoid(torch.cat([clean, noisy]).double())
    return Chain.from_betas(torch.cat([1 - alpha_bar[:1], 1 - alpha_bar[1:] / alpha_bar[:-1]]))


@dataclass(frozen=True)
class BoundWeight:
    """The bound's weight on the squared error of eps as a ``weighting`` of a Setting on a chain, 0 at t = 1."""

    def __call__(self, alpha: Tensor, sigma: Tensor, schedule: Chain) -> Tensor:
        """w at the levels (alpha, sigma) of the chain ``schedule``."""
        t = schedule.time_of_log_snr(2 * (alpha.double() / sigma.double()).log())
        return step_weight(schedule, "eps").to(t.device)[t].to(alpha.dtype)


def on_schedule(learned: Learned, schedule: Schedule) -> Learned:
    """The same networks, told log SNR, in the times of another variance-preserving ``schedule``; levels stay.

    Raises:
        ValueError: for networks that are told something else.
    """
    told = learned.net.condition
    for one in told if isinstance(told, (list, tuple)) else (told,):
        if (one.kind, one.map, one.data_std, one.frequencies) != ("log_snr", None, None, Condition.frequencies):
            raise ValueError(f"learned is told {one}; allowed: log SNR with the default features")
    net = copy.copy(learned.net)
    net.condition = Condition("log_snr", schedule)
    return Learned(net, schedule, learned.target)


def increment_gradient(net: Network, data: Law | Tensor, run: Run, increment: float, schedule: Schedule
                       ) -> dict[str, Tensor]:
    """Root mean square of mini-batch gradients of step 52 of :func:`stretched_chain`, by loss: "plain" eps, "bound".

    Args:
        net, data, run: as in :func:`diffnotes.model.train.gradient_statistics`.
        increment: of that step in log SNR.
        schedule: in whose times the network is asked; only noise levels matter.

    Returns:
        two tensors (members,).
    """
    chain, t = stretched_chain(increment), 52
    at = float(chain.log_snr(t))
    found = gradient_statistics(net, data, Setting("eps", schedule), run, torch.tensor([at - 0.01, at + 0.01]))
    plain = (found.signal[:, 0] ** 2 + found.noise[:, 0] ** 2).sqrt()
    return {"plain": plain, "bound": plain * float(step_weight(chain, "eps")[t])}
