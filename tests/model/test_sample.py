"""Samplers against exact answers: the flow map and the moments of a Gaussian, diffusers and torchdiffeq."""

import functools
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffnotes import EDM, Chain, Constant, Cosine, Exact, Learned, Linear, Perturbed, ZeroTerminalSNR, convert
from diffnotes.core.denoiser import Denoiser
from diffnotes.core.law import Empirical, GaussianMixture
from diffnotes.model.condition import Condition
from diffnotes.model.net import MLP
from diffnotes.model.sample import (
    ddim,
    ddim_steps,
    ddpm,
    ddpm_steps,
    grid,
    ode,
    optimal_variance,
    predicted_variance,
    prior,
    sampled_variance,
    sde,
    sde_steps,
)

DOUBLE = torch.float64
MEAN, STD = 0.7, 0.5
GAUSS = GaussianMixture(torch.tensor([[MEAN]], dtype=DOUBLE), STD)
MIXTURE = GaussianMixture(torch.tensor([[-1.0, 0.3], [1.2, 0.0], [0.0, -1.0]], dtype=DOUBLE), 0.3)
SCHEDULES = [(Linear(), 0.02, 1.0), (Cosine(), 0.02, 0.99), (Constant(), 0.02, 1.0), (EDM(), 0.3, 1.0)]
euler, heun, dpm2m = (functools.partial(ode, method=method) for method in ("euler", "heun", "dpm2m"))


class As(Denoiser):
    """``base`` read through another native target."""

    def __init__(self, base, target):
        self.base, self.schedule, self.target = base, base.schedule, target

    def predict(self, x, t):
        return convert(self.base.predict(x, t), x, *self.schedule(t), source=self.base.target, to=self.target)


def noise(*shape, seed=0, dtype=DOUBLE):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def spread(schedule, t):
    """Mean and variance of x_t for data N(MEAN, STD^2)."""
    alpha, sigma = (float(level) for level in schedule(t))
    return alpha * MEAN, alpha**2 * STD**2 + sigma**2


def slope(steps, errors):
    """Order of convergence: minus the least-squares slope of log(error) over log(steps)."""
    x, y = torch.tensor(steps, dtype=DOUBLE).log(), torch.tensor(errors, dtype=DOUBLE).log()
    return -float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


# --- deterministic samplers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule, t_min, t_max", SCHEDULES)
@pytest.mark.parametrize("sampler, order", [(ddim, 1), (euler, 1), (heun, 2), (dpm2m, 2)])
def test_order_of_convergence_to_the_exact_flow_of_a_gaussian(schedule, t_min, t_max, sampler, order):
    """x_s = mean_s + (x_t - mean_t) std_s/std_t solves the probability-flow ODE; DPM-2M on its own log-SNR grid."""
    (m1, v1), (m0, v0) = spread(schedule, t_max), spread(schedule, t_min)
    x = noise(20, 1) * math.sqrt(v1) + m1
    exact = m0 + (x - m1) * math.sqrt(v0 / v1)
    steps = (128, 256, 512, 1024)
    kind = "log_snr" if sampler is dpm2m else "uniform"
    denoiser = Exact(GAUSS, schedule)
    errors = [float((sampler(denoiser, x, grid(schedule, n, kind, t_min, t_max)) - exact).abs().max()) for n in steps]
    assert slope(steps, errors) == pytest.approx(order, abs=0.12)
    assert errors[-1] < {1: 0.05, 2: 1e-3}[order]


@pytest.mark.parametrize("sampler", [ddim, euler, heun, dpm2m, functools.partial(ddpm, generator=3)])
@pytest.mark.parametrize("target", ["eps", "v", "score", lambda alpha, sigma: (-alpha, 2 * sigma)])
def test_samplers_do_not_depend_on_the_native_target(sampler, target):
    times = grid(Linear(), 12, t_min=0.01)
    x = noise(9, 2)
    exact = Exact(MIXTURE, Linear())
    torch.testing.assert_close(sampler(As(exact, target), x, times), sampler(exact, x, times), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method, peer, steps", [("euler", "euler", 40), ("heun", "heun2", 40)])
def test_euler_and_heun_equal_torchdiffeq(method, peer, steps):
    from torchdiffeq import odeint

    times, x = grid(Linear(), steps, "quadratic", 0.01), noise(20, 2)
    denoiser = Exact(MIXTURE, Linear())
    path = odeint(functools.partial(velocity, denoiser), x, times, method=peer)
    ours = ode(denoiser, x, times, method, trajectory=True)
    torch.testing.assert_close(ours, path, rtol=1e-12, atol=1e-12)


def velocity(denoiser, t, x):
    """dx/dt = f x - g^2 score/2, from the score: not the form the sampler uses."""
    return denoiser.schedule.drift(t) * x - denoiser.schedule.diffusion(t) / 2 * denoiser.score(x, t)


@pytest.mark.parametrize("sampler, order", [(ddim, 1), (euler, 1), (heun, 2), (dpm2m, 2)])
def test_order_of_convergence_on_a_mixture_against_dopri5(sampler, order):
    from torchdiffeq import odeint

    schedule, x = Cosine(), noise(10, 2)
    denoiser, ends = Exact(MIXTURE, schedule), torch.tensor([0.98, 0.05], dtype=DOUBLE)
    exact = odeint(functools.partial(velocity, denoiser), x, ends, method="dopri5", rtol=1e-9, atol=1e-10)[-1]
    steps = (64, 128, 256)
    grids = [grid(schedule, n, "log_snr", 0.05, 0.98) for n in steps]
    errors = [float((sampler(denoiser, x, times) - exact).abs().max()) for times in grids]
    assert slope(steps, errors) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("sampler", [ddim, euler, heun, dpm2m, sde], ids=["ddim", "euler", "heun", "dpm2m", "sde"])
def test_deterministic_samplers_draw_nothing(sampler):
    sampler = functools.partial(sde, strength=0.0) if sampler is sde else sampler
    before = torch.get_rng_state()
    sampler(Exact(MIXTURE, Linear()), noise(4, 2), grid(Linear(), 5))
    assert torch.equal(torch.get_rng_state(), before)


def test_one_step_from_noise_to_data_is_the_prediction():
    """To sigma = 0 in one step: DDIM, DPM-2M, and DDPM with either variance return x0 itself, without noise."""
    chain, x = Chain.linear(50), noise(6, 2)
    denoiser = Exact(MIXTURE, chain)
    for result in (
        ddim(denoiser, x, [50, 0]), dpm2m(denoiser, x, [50, 0]), ddpm(denoiser, x, [50, 0], 0),
        ddpm(denoiser, x, [50, 0], 0, variance="beta"), ddpm(denoiser, x, [50, 0], 0, variance=lambda x, t, s: x**2),
    ):
        torch.testing.assert_close(result, denoiser.x0(x, 50), rtol=1e-12, atol=1e-12)


def test_euler_and_heun_reach_time_zero():
    """At t = 0 the slope is not finite: the last step of Heun is Euler's."""
    x, denoiser = noise(10, 1), Exact(GAUSS, Linear())
    v1 = spread(Linear(), 1.0)
    exact = MEAN + (x - v1[0]) * STD / math.sqrt(v1[1])
    for method in ("euler", "heun"):
        torch.testing.assert_close(ode(denoiser, x, grid(Linear(), 400, t_min=0.0), method), exact, rtol=0, atol=5e-3)


# --- stochastic samplers ----------------------------------------------------------------------------------------------


def linear_moments(schedule, times, steps):
    """Mean and variance that a table (p, q, r) of steps gives from the exact ones at times[0], for the exact denoiser.

    E[x0|x] = MEAN + k (x - alpha MEAN) is affine, so the moments obey a closed recursion: no sampling.
    """
    alpha, sigma = schedule(times.double())
    mean, variance = spread(schedule, times[0])
    for a, s, p, q, r in zip(alpha.tolist(), sigma.tolist(), *(column.tolist() for column in steps)):
        k = a * STD**2 / (a**2 * STD**2 + s**2)
        centre = MEAN + k * (mean - a * MEAN)
        mean = p * centre + q * (mean - a * centre) / s
        variance = (p * k + q * (1 - a * k) / s) ** 2 * variance + r**2
    return mean, variance


STOCHASTIC = {
    "ddpm beta": lambda schedule, times: ddpm_steps(schedule, times, "beta"),
    "ddpm beta_tilde": lambda schedule, times: ddpm_steps(schedule, times, "beta_tilde"),
    "ddim eta 1/2": lambda schedule, times: ddim_steps(schedule, times, 0.5),
    "sde 1": lambda schedule, times: sde_steps(schedule, times, 1.0),
    "sde 1/2": lambda schedule, times: sde_steps(schedule, times, 0.5),
    "sde 2": lambda schedule, times: sde_steps(schedule, times, 2.0),
}


@pytest.mark.parametrize("name", STOCHASTIC)
@pytest.mark.parametrize("schedule, t_min, t_max", SCHEDULES)
def test_weak_order_one_of_the_variance(name, schedule, t_min, t_max):
    steps = (512, 1024, 2048, 4096)
    _, exact = spread(schedule, t_min)
    errors = []
    for n in steps:
        times = grid(schedule, n, t_min=t_min, t_max=t_max)
        errors.append(abs(linear_moments(schedule, times, STOCHASTIC[name](schedule, times))[1] - exact))
    assert slope(steps, errors) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("schedule", [Linear(), Cosine(), EDM(), Chain.linear(100)])
@pytest.mark.parametrize("count", [1, 7, 40])
def test_with_the_true_reverse_variance_gaussian_data_are_sampled_exactly(schedule, count):
    """q(x_s | x_t) is Gaussian then, so the moments are right at any number of steps."""
    ends = dict(t_min=3, t_max=100) if isinstance(schedule, Chain) else dict(t_min=0.1, t_max=0.97)
    times = grid(schedule, count, **ends)
    alpha, sigma = schedule(times.double())
    posterior = STD**2 * sigma**2 / (alpha**2 * STD**2 + sigma**2)
    var = sigma[:-1] ** 2 - (alpha[:-1] / alpha[1:] * sigma[1:]) ** 2
    optimal = var * (sigma[1:] / sigma[:-1]) ** 2 + (alpha[1:] * var / sigma[:-1] ** 2) ** 2 * posterior[:-1]
    moments = linear_moments(schedule, times, ddpm_steps(schedule, times, optimal))
    assert moments == pytest.approx(spread(schedule, times[-1]), rel=1e-10)
    # and optimal_variance estimates just that, from the squared errors of 40,000 samples
    x0 = GAUSS.sample(40_000, 0)
    estimate = optimal_variance(Exact(GAUSS, schedule), x0, times, 1)
    torch.testing.assert_close(estimate, optimal, rtol=5 * math.sqrt(2 / 40_000), atol=0)


@pytest.mark.parametrize("sampler, steps", [
    (functools.partial(ddpm, variance="beta"), STOCHASTIC["ddpm beta"]),
    (ddpm, STOCHASTIC["ddpm beta_tilde"]),
    (functools.partial(ddim, eta=0.5), STOCHASTIC["ddim eta 1/2"]),
    (functools.partial(sde, strength=2.0), STOCHASTIC["sde 2"]),
])
def test_samplers_follow_their_tables(sampler, steps):
    """x_s = p x0 + q eps + r z with one z a step for the whole batch, drawn from the generator in order."""
    schedule, x = Linear(), noise(7, 2)
    denoiser, times = Exact(MIXTURE, schedule), grid(Linear(), 10)
    ours = sampler(denoiser, x, times, torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(5)
    for t, p, q, r in zip(times, *steps(schedule, times)):
        z = torch.randn(7, 2, generator=generator, dtype=DOUBLE)
        x = p * denoiser.x0(x, t) + q * denoiser.eps(x, t) + r * z
    torch.testing.assert_close(ours, x, rtol=1e-9, atol=1e-9)
    assert torch.equal(sampler(denoiser, noise(7, 2), times, 5), ours)  # a seed is its generator


def test_ddpm_steps_are_the_posterior_of_the_chain():
    chain = Chain.cosine(100)
    times = torch.arange(100, -1, -1)
    p, q, r = ddpm_steps(chain, times, "beta_tilde")
    alpha, sigma = chain(times[:-1])
    t = times[:-1]
    torch.testing.assert_close(q / sigma, chain.gamma2[t], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(p - q * alpha / sigma, chain.gamma1[t], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(r**2, chain.beta_tilde[t], rtol=1e-9, atol=1e-15)
    full = ddpm_steps(chain, times, "beta")[2]
    torch.testing.assert_close(full[:-1] ** 2, chain.beta[t][:-1], rtol=1e-9, atol=0)
    assert full[-1] == 0  # the step to clean data returns the mean


def test_eta_one_is_ddpm_and_strength_zero_is_euler():
    x = noise(5, 2)
    for schedule in (Linear(), Chain.linear(60)):
        denoiser, times = Exact(MIXTURE, schedule), grid(schedule, 12)
        torch.testing.assert_close(
            ddim(denoiser, x, times, 3, eta=1.0), ddpm(denoiser, x, times, 3), rtol=1e-10, atol=1e-10
        )
    denoiser, times = Exact(MIXTURE, Linear()), grid(Linear(), 12)
    assert torch.equal(sde(denoiser, x, times, strength=0.0), euler(denoiser, x, times))


@pytest.mark.parametrize("given", ["tensor", "function"])
def test_variances_given_as_tensor_or_function_equal_the_named_one(given):
    schedule, x = Linear(), noise(6, 2)
    denoiser, times = Exact(MIXTURE, schedule), grid(schedule, 9)
    squared = ddpm_steps(schedule, times, "beta")[2] ** 2
    at = {t: v for t, v in zip(times.tolist(), squared)}
    variance = squared if given == "tensor" else lambda x, t, s: at[t].expand(len(x), 1)
    reference = ddpm(denoiser, x, times, 2, variance="beta")
    torch.testing.assert_close(ddpm(denoiser, x, times, 2, variance=variance), reference, rtol=1e-12, atol=1e-12)


# --- diffusers --------------------------------------------------------------------------------------------------------


def peer(name, chain, **options):
    """A diffusers scheduler with our chain in float64; its step i is our t = i + 1, its -1 our 0."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = getattr(diffusers, name)(
        num_train_timesteps=chain.T, trained_betas=chain.beta[1:].tolist(), prediction_type="epsilon", **options
    )
    scheduler.betas, scheduler.alphas = chain.beta[1:], chain.alpha[1:]
    scheduler.alphas_cumprod, scheduler.one = chain.alpha_bar[1:], torch.tensor(1.0, dtype=DOUBLE)
    scheduler.final_alpha_cumprod = torch.tensor(1.0, dtype=DOUBLE)
    return scheduler


def run_peer(scheduler, denoiser, x, **options):
    for i in scheduler.timesteps:
        x = scheduler.step(denoiser.eps(x, int(i) + 1), i, x, **options).prev_sample
    return x


@pytest.mark.parametrize("count", [200, 20])
@pytest.mark.parametrize("variance, theirs", [("beta_tilde", "fixed_small"), ("beta", "fixed_large")])
def test_ddpm_equals_diffusers(count, variance, theirs):
    chain, x = Chain.linear(200), noise(5, 2)
    denoiser = Exact(MIXTURE, chain)
    scheduler = peer("DDPMScheduler", chain, variance_type=theirs, clip_sample=False)  # ends at our t = 1, 0
    scheduler.set_timesteps(count)
    expected = run_peer(scheduler, denoiser, x, generator=torch.Generator().manual_seed(4))
    ours = ddpm(denoiser, x, [*(scheduler.timesteps + 1).tolist(), 0], 4, variance=variance)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_ddim_equals_diffusers(eta):
    chain, x = Chain.linear(1000), noise(5, 2)
    denoiser = Exact(MIXTURE, chain)
    scheduler = peer("DDIMScheduler", chain, clip_sample=False)
    scheduler.set_timesteps(50)
    expected = run_peer(scheduler, denoiser, x, eta=eta, generator=torch.Generator().manual_seed(4))
    ours = ddim(denoiser, x, [*(scheduler.timesteps + 1).tolist(), 0], 4, eta=eta)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


def test_dpm_solver_equals_diffusers():
    chain, x = Chain.linear(1000), noise(5, 2)
    denoiser = Exact(MIXTURE, chain)
    scheduler = peer("DPMSolverMultistepScheduler", chain, algorithm_type="dpmsolver++", solver_order=2)
    scheduler.set_timesteps(20)
    times = [*(scheduler.timesteps + 1).tolist(), 0]
    alpha, sigma = chain(torch.tensor(times))
    scheduler.sigmas = sigma / alpha
    # their step works in float32, whatever it is given
    torch.testing.assert_close(dpm2m(denoiser, x, times), run_peer(scheduler, denoiser, x), rtol=2e-6, atol=2e-6)


# --- nets, ensembles, blocks, trajectories ----------------------------------------------------------------------------

SAMPLERS = {
    "ddpm": functools.partial(ddpm, generator=1),
    "state-dependent": functools.partial(ddpm, generator=1, variance=lambda x, t, s: 0.01 * (1 + x**2)),
    "ddim": ddim, "heun": heun, "dpm2m": dpm2m, "sde": functools.partial(sde, generator=1),
}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("n", [2500, 1001])
def test_blocks_of_rows_change_nothing(name, n):
    denoiser = Learned(MLP(2, width=128, seed=0), Linear(), "v")
    x, times = noise(n, 2, dtype=torch.float32), grid(Linear(), 3)
    whole = SAMPLERS[name](denoiser, x, times, rows=n)
    for rows in (None, 400, 1000):
        assert torch.equal(SAMPLERS[name](denoiser, x, times, rows=rows), whole)


@pytest.mark.parametrize("name", ["ddim", "heun", "dpm2m"])
def test_an_ensemble_samples_as_its_members(name):
    net = MLP(2, width=16, seed=(0, 1, 2), condition=Condition("log_snr", Linear(), data_std=0.5)).double()
    x, times = noise(3, 700, 2), grid(Linear(), 8)
    together = SAMPLERS[name](Learned(net, Linear(), "v"), x, times)
    for i in range(3):
        alone = SAMPLERS[name](Learned(net.member(i), Linear(), "v"), x[i], times)
        torch.testing.assert_close(together[i], alone, rtol=1e-11, atol=1e-11)


def test_a_network_folded_over_the_grid_is_the_network():
    net = MLP(2, width=16).double()
    x, times = noise(9, 2), grid(Linear(), 8)
    folded = ddim(Learned(net, Linear(), "v"), x, times)
    plain = ddim(Learned(lambda x, t: net(x, t), Linear(), "v"), x, times)
    torch.testing.assert_close(folded, plain, rtol=1e-12, atol=1e-12)
    assert not folded.requires_grad


@pytest.mark.parametrize("name", SAMPLERS)
def test_trajectory_and_callback(name):
    denoiser, times, seen = Exact(MIXTURE, Linear()), grid(Linear(), 5), []
    x = noise(4, 2)
    path = SAMPLERS[name](denoiser, x, times, trajectory=True, callback=lambda *state: seen.append(state))
    assert path.shape == (6, 4, 2) and torch.equal(path[0], x)
    assert torch.equal(path[-1], SAMPLERS[name](denoiser, x, times))
    for (t, state, x0), time, visited in zip(seen, times[:-1], path, strict=False):
        assert t == float(time) and torch.equal(state, visited)
        torch.testing.assert_close(x0, denoiser.x0(state, t), rtol=1e-10, atol=1e-10)
    assert len(seen) == 5


def test_images_are_sampled_like_vectors():
    flat = GaussianMixture(torch.zeros(1, 12, dtype=DOUBLE), 0.5)
    x = noise(5, 3, 2, 2)

    class Reshaped(Exact):
        def predict(self, x, t):
            return super().predict(x.reshape(-1, 12), t).reshape(x.shape)

    times = grid(Linear(), 6)
    ours = ddim(Reshaped(flat, Linear()), x, times, rows=2)
    torch.testing.assert_close(ours, ddim(Exact(flat, Linear()), x.reshape(5, 12), times).reshape(x.shape))


def test_a_perturbed_denoiser_drifts_and_an_unperturbed_one_does_not():
    x, times, base = noise(50, 2), grid(Linear(), 20), Exact(MIXTURE, Linear())
    same = Perturbed(base, lambda x, t: torch.zeros_like(x), "v")
    torch.testing.assert_close(ddim(same, x, times), ddim(base, x, times), rtol=1e-9, atol=1e-9)
    other = Perturbed(base, lambda x, t: torch.full_like(x, 0.1), "v")
    assert float((ddim(other, x, times) - ddim(base, x, times)).abs().mean()) > 0.05


# --- grids and start --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [Linear(), Cosine(), EDM()])
def test_grids_are_uniform_in_what_they_say(schedule):
    sigma_over_alpha = lambda t: (schedule(t)[1] / schedule(t)[0])  # noqa: E731
    for kind, coordinate in {
        "uniform": lambda t: t, "quadratic": lambda t: (t - 0.02).sqrt(), "log_snr": schedule.log_snr,
        "karras": lambda t: sigma_over_alpha(t) ** (1 / 7),
    }.items():
        times = grid(schedule, 9, kind, 0.02, 0.98)
        assert (times[0], times[-1], len(times), times.dtype) == (0.98, 0.02, 10, DOUBLE)
        gaps = coordinate(times).diff()
        torch.testing.assert_close(gaps, gaps.mean().expand(9), rtol=1e-6, atol=0)


@given(T=st.integers(1, 60), data=st.data())
def test_grids_of_chains_are_whole_distinct_and_complete(T, data):
    kind = data.draw(st.sampled_from(["uniform", "quadratic", "log_snr", "karras"]))
    t_min = data.draw(st.integers(0, T - 1))
    t_max = data.draw(st.integers(t_min + 1, T))
    steps = data.draw(st.integers(1, t_max - t_min))
    times = grid(Chain.linear(T), steps, kind, t_min, t_max)
    assert (times[0], times[-1], len(times), times.dtype) == (t_max, t_min, steps + 1, torch.int64)
    assert bool((times.diff() < 0).all())


def test_prior_has_the_sigma_of_its_time():
    unit = noise(5, 2, seed=3)
    chain = Chain.from_betas([0.5, 0.5])
    for schedule, t, squared in ((EDM(), None, 6400), (Linear(), 0.3, -math.expm1(-0.9255)), (chain, None, 0.75)):
        start = prior(schedule, (5, 2), 3, t, dtype=DOUBLE)
        torch.testing.assert_close(start, math.sqrt(squared) * unit, rtol=1e-12, atol=0)
    assert prior(Linear(), (2, 3, 4), 0).dtype == torch.float32


# --- bad input --------------------------------------------------------------------------------------------------------

EXACT, X, TIMES = Exact(MIXTURE, Linear()), torch.zeros(3, 2, dtype=DOUBLE), [1.0, 0.5, 0.1]
CHAIN = Exact(MIXTURE, Chain.linear(10))


@pytest.mark.parametrize("call, error, word", [
    (lambda: ddim(EXACT, X, [0.1, 0.5]), ValueError, "times"),
    (lambda: ddim(EXACT, X, [0.5]), ValueError, "times"),
    (lambda: ddim(EXACT, X, [1.5, 0.5]), ValueError, "t = "),
    (lambda: ddim(EXACT, X, [0.5, float("nan")]), ValueError, "times"),
    (lambda: ddim(CHAIN, X, [9.5, 2]), ValueError, "whole"),
    (lambda: ddim(EXACT, X / 0, TIMES), ValueError, "finite"),
    (lambda: ddim(EXACT, X.long(), TIMES), ValueError, "int64"),
    (lambda: ddim(EXACT, X[0], TIMES), ValueError, r"x of shape \(2,\)"),
    (lambda: ddim(EXACT, X, TIMES, eta=1.5), ValueError, "eta = 1.5"),
    (lambda: ddim(EXACT, X, TIMES, eta=0.5), TypeError, "generator = None"),
    (lambda: ddim(EXACT, X, TIMES, rows=0), ValueError, "rows = 0"),
    (lambda: ddpm(EXACT, X, TIMES, None), TypeError, "generator = None"),
    (lambda: ddpm(EXACT, X, TIMES, 0, variance="small"), ValueError, "variance = 'small'"),
    (lambda: ddpm(EXACT, X, TIMES, 0, variance=torch.ones(3)), ValueError, r"variance has shape \(3,\)"),
    (lambda: ddpm(EXACT, X, TIMES, 0, variance=-torch.ones(2)), ValueError, "entries >= 0"),
    (lambda: sde(EXACT, X, TIMES, 0, strength=-1.0), ValueError, "strength = -1.0"),
    (lambda: sde(CHAIN, X, [10, 0], 0), TypeError, "continuous"),
    (lambda: ode(CHAIN, X, [10, 0], "heun"), TypeError, "continuous"),
    (lambda: ode(EXACT, X, TIMES, "rk4"), ValueError, "method = 'rk4'"),
    (lambda: ddim(As(Exact(MIXTURE, ZeroTerminalSNR()), "eps"), X, TIMES), ValueError, "t = 1 with target = 'eps'"),
    (lambda: grid(Linear(), 0), ValueError, "steps = 0"),
    (lambda: grid(Chain.linear(10), 11), ValueError, "steps = 11"),
    (lambda: grid(Linear(), 5, "cubic"), ValueError, "kind = 'cubic'"),
    (lambda: grid(Linear(), 5, t_min=0.5, t_max=0.5), ValueError, "t_min = 0.5"),
    (lambda: grid(Linear(), 5, t_max=1.5), ValueError, "t_max = 1.5"),
    (lambda: grid(Cosine(), 5, "log_snr"), ValueError, "log SNR runs from -inf"),
    (lambda: optimal_variance(EXACT, X / 0, TIMES, 0), ValueError, "finite"),
])
def test_bad_input_is_named(call, error, word):
    with pytest.raises(error, match=word):
        call()


# --- variances of the state -------------------------------------------------------------------------------------------


def test_optimal_variance_by_norm_is_bao_s_formula():
    """Printed form of Analytic-DPM, with abar and Gamma from quadrature-free closed forms of a Gaussian."""
    chain, std = Chain.linear(20, 1e-3, 0.3), 0.7
    law = GaussianMixture(torch.zeros(1, 1, dtype=DOUBLE), std)
    times, x0 = grid(chain, 20)[:-1], law.sample(50_000, 0)
    n = times[:-1]
    beta_bar, before = 1 - chain.alpha_bar[n], 1 - chain.alpha_bar[n - 1]
    gamma = 1 / (chain.alpha_bar[n] * std**2 + beta_bar)  # E |score|^2
    lam = chain.beta_tilde[n]
    expected = lam + ((beta_bar / chain.alpha[n]).sqrt() - (before - lam).sqrt()) ** 2 * (1 - beta_bar * gamma)
    for estimate in ("norm", "residual"):
        found = optimal_variance(Exact(law, chain), x0, times, 1, estimate=estimate)
        torch.testing.assert_close(found, expected, rtol=0.04, atol=0)
    small = optimal_variance(Exact(law, chain), x0, times, 1, reach=1e-6)
    torch.testing.assert_close(small, lam, rtol=1e-6, atol=1e-12)


def test_norm_and_residual_differ_for_a_biased_predictor():
    """A predictor shrunk by k: the residual grows by (1 - k)^2 E|f|^2, Analytic-DPM's estimate by (1 - k^2) E|f|^2."""
    chain = Chain.linear(100)
    law = GaussianMixture(torch.zeros(1, 1, dtype=DOUBLE), 1.0)
    exact, x0, times = Exact(law, chain), law.sample(100_000, 0), [60, 40]
    half = Perturbed(exact, lambda x, t: -0.5 * exact.eps(x, t), "eps")
    found = {e: float(optimal_variance(half, x0, times, 1, estimate=e)) for e in ("norm", "residual")}
    (at, st), (as_, ss) = chain(60), chain(40)
    var = st**2 - (at / as_ * ss) ** 2
    unit, square = (as_ * var / (st * at)) ** 2, float(st) ** 2  # E f^2 = sigma^2 for N(0, 1)
    for estimate, extra in (("norm", 0.75), ("residual", 0.25)):
        expected = var * (ss / st) ** 2 + unit * (1 - square + extra * square)
        assert found[estimate] == pytest.approx(float(expected), rel=0.01)


def test_predicted_variance_of_exact_squares_is_the_variance_of_the_step():
    """For a mixture on the line, against the true Var(x_s | x_t) by quadrature of the joint law."""
    chain = Chain.linear(100)
    law = GaussianMixture(torch.tensor([-1.0, 0.8], dtype=DOUBLE), [0.3, 0.5], [0.4, 0.6])
    exact, t, s = Exact(law, chain), 70, 40
    (at, st), (as_, ss) = chain(t), chain(s)
    x = torch.linspace(-2, 2, 9, dtype=DOUBLE)[:, None]
    residual = lambda x, t: (law.posterior_variance(x, at, st) * (at / st) ** 2)[:, None]  # noqa: E731
    square = lambda x, t: residual(x, t) + exact.eps(x, t).square()  # noqa: E731
    z = torch.linspace(-8, 8, 40_001, dtype=DOUBLE)
    var = st**2 - (at / as_ * ss) ** 2
    density = law.noised(float(as_), float(ss)).log_prob(z[:, None]).exp()
    joint = density * torch.exp(-((x - at / as_ * z) ** 2) / (2 * var))
    weight = joint / joint.sum(1, keepdim=True)
    mean = (weight * z).sum(1, keepdim=True)
    truth = (weight * (z - mean) ** 2).sum(1, keepdim=True)
    for made in (predicted_variance(chain, residual), predicted_variance(chain, square, exact)):
        torch.testing.assert_close(made(x, t, s), truth, rtol=1e-8, atol=0)
    assert float(predicted_variance(chain, lambda x, t: -torch.ones_like(x))(x, t, s)[0]) == pytest.approx(
        float(var * (ss / st) ** 2))


@pytest.mark.parametrize("options, word", [(dict(estimate="score"), "estimate = 'score'"), (dict(reach=0.0), "reach")])
def test_optimal_variance_names_bad_input(options, word):
    with pytest.raises(ValueError, match=word):
        optimal_variance(EXACT, X, TIMES, 0, **options)


# --- members, narrow dtypes, empty batches, numpy, ends -----------------------------------------------------------


def lengths(x, t):
    """A function of samples (n, c, l) that mixes channels: cut apart, they give another answer."""
    return x - x.mean(-1, keepdim=True) + x.roll(1, -2)


def all_samplers(denoiser, x, times, **options):
    return {"ddpm": ddpm(denoiser, x, times, 3, **options), "ddpm beta": ddpm(denoiser, x, times, 3, variance="beta"),
            "ddpm state": ddpm(denoiser, x, times, 3, variance=lambda x, t, s: 0.01 + 0 * x),
            "ddim": ddim(denoiser, x, times, **options), "eta": ddim(denoiser, x, times, 3, eta=0.7, **options),
            "sde": sde(denoiser, x, times, 3, **options), "euler": ode(denoiser, x, times, "euler", **options),
            "heun": ode(denoiser, x, times, "heun", **options), "dpm2m": ode(denoiser, x, times, "dpm2m", **options)}


@pytest.mark.parametrize("shape", [(300, 4, 16), (40, 3, 5, 5)])
def test_samples_with_channels_are_no_ensemble(shape):
    denoiser, times = Learned(lengths, Linear(), "x0"), grid(Linear(), 4)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    whole = all_samplers(denoiser, x, times, rows=10**9)
    for rows in (None, 7):
        for name, found in all_samplers(denoiser, x, times, rows=rows).items():
            torch.testing.assert_close(found, whole[name], rtol=1e-5, atol=1e-5)


def test_members_say_which_axis_holds_the_samples():
    class Stack:
        members = 3

        def __call__(self, x, t):  # an answer that depends on the member: one that is cut apart has the wrong gain
            assert len(x) == 3
            return x * torch.arange(1.0, 4.0).reshape(3, *[1] * (x.ndim - 1))

    for shape in ((3, 40, 2), (3, 40, 1, 4, 4)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        for base in (Learned(Stack(), Linear(), "v"), As(Learned(Stack(), Linear(), "v"), "eps")):
            found = ddim(base, x, grid(Linear(), 4), rows=7)
            torch.testing.assert_close(found, ddim(base, x, grid(Linear(), 4), rows=10**9))
    with pytest.raises(ValueError, match=r"x has shape \(3, 2\).*3 members"):
        ddim(Learned(Stack(), Linear(), "v"), torch.zeros(3, 2), grid(Linear(), 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("schedule", [EDM(), Linear()], ids=repr)
def test_half_precision_samples_are_float64_s_rounded_once(schedule, dtype):
    """d = 32 on EDM's levels: squares of 80 times 32 overflow float16 on the way."""
    g = torch.Generator().manual_seed(0)
    centres = torch.randn(5, 32, generator=g)
    x, times = prior(schedule, (6, 32), 1, dtype=dtype), grid(schedule, 6)
    assert torch.equal(x, prior(schedule, (6, 32), 1, dtype=DOUBLE).to(dtype))
    for law in (GaussianMixture(centres, 0.3), Empirical(centres)):
        exact = all_samplers(Exact(law, schedule), x.double(), times)
        for name, found in all_samplers(Exact(law, schedule), x, times).items():
            assert torch.equal(found, exact[name].to(dtype)) and not found.isnan().any(), name
        wide = optimal_variance(Exact(law, schedule), x.double(), times, 2)
        torch.testing.assert_close(optimal_variance(Exact(law, schedule), x, times, 2), wide, rtol=1e-12, atol=0)
    seen = []
    ddim(Exact(law, schedule), x, times, callback=lambda t, x, x0: seen.extend((x.dtype, x0.dtype)))
    assert set(seen) == {dtype}


def test_an_empty_batch_gives_an_empty_result():
    def never(x, t):
        raise AssertionError("asked about no sample")

    for denoiser, shape in ((EXACT, (0, 2)), (Learned(never, Linear(), "v"), (0, 1, 4, 4))):
        for name, found in all_samplers(denoiser, torch.empty(shape), TIMES).items():
            assert found.shape == shape, name
        assert ddim(denoiser, torch.empty(shape), TIMES, trajectory=True).shape == (3, *shape)
    assert prior(Linear(), (0, 2), 0).shape == (0, 2)
    with pytest.raises(ValueError, match=r"x0 has shape \(0, 2\)"):
        optimal_variance(EXACT, torch.empty(0, 2), TIMES, 0)


def test_numpy_numbers_are_numbers():
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    times = grid(Linear(), 5)
    back = np.linspace(1e-3, 1, 6)[::-1]
    back.flags.writeable = False
    for form in (back, back.astype(">f8"), back.tolist(), [torch.tensor(v, dtype=DOUBLE) for v in back]):
        torch.testing.assert_close(ddim(EXACT, x.numpy()[::-1], form), ddim(EXACT, x.flip(0), times))
    assert torch.equal(ddpm(EXACT, x, back, np.int64(3), rows=np.int32(2)), ddpm(EXACT, x, back, 3, rows=2))
    assert torch.equal(ddim(EXACT, x, back, 3, eta=np.float32(0.5)), ddim(EXACT, x, back, 3, eta=0.5))
    assert torch.equal(sde(EXACT, x, back, 3, strength=np.array(2)), sde(EXACT, x, back, 3, strength=2.0))
    variance = np.full(5, 0.01)[::-1]
    same = torch.full((5,), 0.01, dtype=DOUBLE)
    assert torch.equal(ddpm(EXACT, x, back, 3, variance=variance), ddpm(EXACT, x, back, 3, variance=same))
    found = grid(Linear(), np.int64(5), t_min=np.float64(0.1), t_max=torch.tensor(1))
    assert torch.equal(found, grid(Linear(), 5, t_min=0.1))
    assert torch.equal(prior(EDM(), np.array([3, 2]), np.int64(0), t=np.float32(0.5)), prior(EDM(), (3, 2), 0, t=0.5))
    steps = np.array([10, 5, 0], dtype=">i2")
    assert torch.equal(ddim(CHAIN, x, steps), ddim(CHAIN, x, [10, 5, 0]))
    c = torch.linspace(0.5, 1, 11, dtype=DOUBLE)
    chain = CHAIN.schedule
    assert sampled_variance(chain, c.numpy()[::-1], steps) == sampled_variance(chain, c.flip(0), [10, 5, 0])


@pytest.mark.parametrize("make, names", [
    (lambda: grid(Chain.linear(10), 3, t_min=0.5), "t_min = 0.5"),
    (lambda: grid(Chain.linear(10), 3, t_max=9.5), "t_max = 9.5"),
    (lambda: grid(Linear(), 3, t_min=math.nan), "t_min = nan"),
    (lambda: grid(Linear(), 2.5), "steps = 2.5"),
    (lambda: ddim(CHAIN, X, [12, 0]), "whole number in 0..10"),
    (lambda: ddim(CHAIN, X, [10, -1]), "whole number in 0..10"),
    (lambda: ddim(CHAIN, X, [math.inf, 0]), "whole number in 0..10"),
    (lambda: ddim(EXACT, X, TIMES, eta=math.nan), "eta = nan"),
    (lambda: ddim(EXACT, X, TIMES, rows=1.5), "rows = 1.5"),
    (lambda: sde(EXACT, X, TIMES, 0, strength=math.inf), "strength = inf"),
    (lambda: prior(Linear(), (2, -1), 0), "shape = -1"),
])
def test_ends_and_counts_are_named(make, names):
    with pytest.raises(ValueError, match=re.escape(names)):
        make()


def test_noise_has_a_floating_dtype():
    with pytest.raises(TypeError, match=r"dtype = torch\.int64"):
        prior(Linear(), (2, 1), 0, dtype=torch.int64)


@pytest.mark.parametrize("kind", ["uniform", "quadratic", "log_snr", "karras"])
def test_a_grid_on_a_chain_has_whole_times_whatever_number_gives_its_ends(kind):
    times = grid(Chain.linear(50), 6, kind, t_min=2.0, t_max=np.float32(40))
    assert times.dtype == torch.int64 and times[0] == 40 and times[-1] == 2 and bool((times.diff() < 0).all())


@pytest.mark.parametrize("sampler", [ddim, lambda *a: ddpm(*a, 0), lambda *a: ode(*a, "dpm2m")])
def test_a_chain_so_long_that_alpha_underflows(sampler):
    """alpha = e^-1000 at the start; x_0 predicted there is the mean of the law, and the end is as from alpha = 0."""
    chain = Chain.linear(200_000)
    law = GaussianMixture(torch.zeros(1, 2, dtype=DOUBLE), 0.5)
    x = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    found = sampler(Exact(law, chain), x, grid(chain, 400, "quadratic"))
    assert float(found.std()) == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("own", [torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_samples_of_a_network_are_its_own_dtype_s_rounded_once(own, dtype):
    net = MLP(2, width=8, depth=1, seed=0).to(own) if own == torch.float64 else MLP(2, width=8, depth=1, seed=0)
    denoiser, times = Learned(net, Linear(), "v"), grid(Linear(), 5)
    x = torch.randn(30, 2, generator=torch.Generator().manual_seed(0)).to(dtype)
    exact = all_samplers(denoiser, x.to(own), times)
    for name, found in all_samplers(denoiser, x, times).items():
        assert torch.equal(found, exact[name].to(dtype)), name


def test_karras_grids_between_extreme_levels():
    for schedule in (Chain.linear(10**6), Constant(1e5)):
        times = grid(schedule, 5, "karras")
        assert bool((times[1:] < times[:-1]).all()) and bool(times.double().isfinite().all())


@pytest.mark.parametrize("steps", [2, 10, 20, 50, 100, 1000])
def test_skipped_times_are_those_of_the_published_code(steps):
    """range(0, T, T/n), one later, as DDIM's published code counts from 0; and the clean end."""
    expected = [*(t + 1 for t in reversed(range(0, 1000, 1000 // steps))), 0]
    assert grid(Chain.linear(1000), steps, kind="skip").tolist() == expected


@pytest.mark.parametrize("schedule, options", [
    (Linear(), {}), (Chain.linear(10), dict(t_min=1)), (Chain.linear(10), dict(t_max=9)),
])
def test_skipping_needs_all_of_a_chain(schedule, options):
    with pytest.raises(ValueError, match="kind = 'skip'"):
        grid(schedule, 5, kind="skip", **options)
