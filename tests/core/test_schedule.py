"""Schedules and chains against autograd, quadrature, closed forms and diffusers."""

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.integrate import quad

from diffnotes import EDM, Chain, Constant, Cosine, Linear, Quadratic, Sigmoid, ZeroTerminalSNR

VP = [
    Linear(), Linear(0.3, 4.0), Quadratic(), Cosine(), Cosine(0.0), Constant(), Constant(2.0),
    ZeroTerminalSNR(), ZeroTerminalSNR(Constant(3.0)), ZeroTerminalSNR(Quadratic()),
]  # fmt: skip
ALL = [*VP, EDM(), EDM(0.01, 5.0, 3.0)]
CHAINS = [Chain.linear(1000), Chain.linear(7), Chain.cosine(50), Chain.from_betas([0.3]), Chain.from_betas([0.9, 1e-6])]
INSIDE = torch.linspace(0.003, 0.997, 143, dtype=torch.float64)

betas = st.lists(st.floats(1e-8, 1 - 1e-8), min_size=1, max_size=12)


def close(actual, expected, rtol=1e-13, atol=0.0):
    torch.testing.assert_close(actual, torch.as_tensor(expected, dtype=actual.dtype), rtol=rtol, atol=atol)


# --- continuous time -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_drift_is_the_derivative_of_log_alpha(schedule):
    t = INSIDE.clone().requires_grad_()
    log_alpha = schedule.log_alpha(t)
    if not log_alpha.requires_grad:  # EDM: alpha is 1 at all times
        close(schedule.drift(t), torch.zeros_like(t))
        return
    (derivative,) = torch.autograd.grad(log_alpha.sum(), t)
    close(schedule.drift(t).detach(), derivative, rtol=2e-12)
    close(schedule.beta(t).detach(), -2 * derivative, rtol=2e-12)


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_diffusion_follows_from_the_marginals(schedule):
    """g^2 = d sigma^2/dt - 2 f sigma^2, sigma differentiated through the schedule itself."""
    t = INSIDE.clone().requires_grad_()
    variance = schedule(t)[1] ** 2
    (derivative,) = torch.autograd.grad(variance.sum(), t)
    expected = derivative - 2 * schedule.drift(t) * variance
    close(schedule.diffusion(t).detach(), expected.detach(), rtol=1e-11)


@pytest.mark.parametrize("schedule", [Linear(), Quadratic(), Cosine(), ZeroTerminalSNR(), Constant()], ids=repr)
def test_alpha_is_the_exponential_of_the_integrated_drift(schedule):
    for t in (0.1, 0.5, 0.9):
        exponent, _ = quad(lambda s: float(schedule.drift(s)), 0, t, epsabs=1e-14, epsrel=1e-13)
        close(schedule(t)[0], math.exp(exponent), rtol=1e-12)


def test_linear_is_the_published_closed_form():
    alpha, sigma = Linear()(INSIDE)
    integral = 0.1 * INSIDE + 19.9 * INSIDE**2 / 2  # of beta, from 0 to t
    close(alpha, (-integral / 2).exp())
    close(sigma, (1 - (-integral).exp()).sqrt(), rtol=1e-12)
    close(Linear().beta(INSIDE), 0.1 + 19.9 * INSIDE)
    close(Quadratic().beta(INSIDE), (0.1**0.5 + (20**0.5 - 0.1**0.5) * INSIDE) ** 2)


def test_cosine_is_the_published_closed_form():
    f = torch.cos((INSIDE + 0.008) / 1.008 * math.pi / 2)
    close(Cosine()(INSIDE)[0], f / math.cos(0.008 / 1.008 * math.pi / 2), rtol=1e-12)


def test_edm_visits_the_published_grid():
    grid = EDM()(torch.linspace(1, 0, 18, dtype=torch.float64))[1]
    i = torch.arange(18, dtype=torch.float64)
    close(grid, (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7, rtol=1e-12)


@pytest.mark.parametrize("schedule", VP, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vp_variance_is_preserved(schedule, dtype):
    alpha, sigma = schedule(torch.linspace(0, 1, 1001, dtype=dtype))
    close(alpha**2 + sigma**2, torch.ones_like(alpha), rtol=4 * torch.finfo(dtype).eps)
    assert alpha[0] == 1 and sigma[0] == 0


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_snr_falls_and_its_logarithm_agrees(schedule):
    log_snr = schedule.log_snr(INSIDE)
    assert (log_snr.diff() < 0).all()
    close(schedule.snr(INSIDE), log_snr.exp(), rtol=1e-12)


@pytest.mark.parametrize("schedule", ALL, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_and_dtype_follow_the_time(schedule, dtype):
    t = torch.full((2, 3), 0.4, dtype=dtype)
    rates = (schedule.snr, schedule.log_snr, schedule.beta, schedule.drift, schedule.diffusion)
    for value in (*schedule(t), *(rate(t) for rate in rates)):
        assert value.shape == t.shape and value.dtype == dtype
    assert schedule(0.4)[0].dtype == torch.float64 and schedule(0.4)[0].shape == ()
    assert schedule(1)[0].dtype == torch.float64


@pytest.mark.parametrize("schedule", VP, ids=repr)
def test_small_sigma_keeps_its_digits_in_float32(schedule):
    """sqrt(1 - alpha^2) would be wrong by 6e-3 at t = 1e-5 and could be 0."""
    t = torch.logspace(-6, -0.05, 60, dtype=torch.float32)
    exact = schedule(t.double())[1]
    close(schedule(t)[1].double(), exact, rtol=4e-6)
    naive = (1 - schedule(t)[0] ** 2).sqrt().double()
    assert ((naive / exact - 1).abs().max() > 1e-3).item()


@pytest.mark.parametrize("schedule", [s for s in VP if s.beta(0.0) > 1e-9], ids=repr)
def test_small_sigma_keeps_its_digits_in_float64(schedule):
    """sigma^2 = beta(0) t + O(t^2): the limit is known without any cancellation."""
    t = torch.tensor([1e-13, 1e-12], dtype=torch.float64)
    close(schedule(t)[1] ** 2 / t, schedule.beta(0.0).expand(2), rtol=2e-9)


@given(st.sampled_from(ALL), st.floats(0, 1), st.sampled_from([torch.float32, torch.float64]))
def test_time_of_log_snr_inverts_log_snr(schedule, u, dtype):
    first, last = 1e-3, 0.99  # nearer to zero terminal SNR its logarithm has few digits left in float32
    t = torch.tensor(first + u * (last - first), dtype=dtype)
    log_snr = schedule.log_snr(t)
    found = schedule.time_of_log_snr(log_snr)
    assert found.dtype == dtype
    # Compare in log SNR, where the schedule is known; dt is this over the slope.
    tolerance = 1e-10 if dtype == torch.float64 else 3e-4
    assert abs(schedule.log_snr(found.double()) - schedule.log_snr(t.double())) < tolerance


def test_time_of_log_snr_stays_in_the_allowed_range():
    # log SNR at t = 1 of the linear schedule is -10.05; below it there is no time.
    assert float(Linear().time_of_log_snr(-30.0)) == pytest.approx(1, abs=1e-15)
    assert float(Linear().time_of_log_snr(1e3)) == pytest.approx(0, abs=1e-15)
    both = Linear().time_of_log_snr(torch.zeros(2, 3))
    assert both.shape == (2, 3)


@given(st.floats(0.01, 30), st.floats(0.01, 30), st.sampled_from([torch.float32, torch.float64]))
def test_zero_terminal_snr_ends_in_pure_noise_for_every_base(first, last, dtype):
    end = torch.ones((), dtype=dtype)
    for base in (Linear(first, last), Quadratic(first, last), Constant(first)):
        alpha, sigma = ZeroTerminalSNR(base)(end)
        assert alpha == 0 and sigma == 1
        assert ZeroTerminalSNR(base).log_snr(end) == -math.inf


def test_zero_terminal_snr_keeps_the_start_and_kills_the_end():
    for base in (Linear(), Quadratic(), Constant(4.0)):
        schedule = ZeroTerminalSNR(base)
        assert schedule(0.0)[0] == 1 and schedule(0.0)[1] == 0
        assert schedule(1.0)[0] == 0 and schedule(1.0)[1] == 1
        assert (schedule.log_snr(INSIDE) < base.log_snr(INSIDE)).all()
    # diffusers rescales a list of betas and keeps sqrt(alpha_bar) at its first entry: let that entry be t = 0.
    chain = Chain.linear(1000)
    rescaled = rescale_zero_terminal_snr(chain.beta)
    peer = (1 - rescaled).cumprod(0).sqrt()
    a = chain(torch.arange(1001))[0]
    close(peer[:-1], ((a - a[-1]) / (1 - a[-1]))[:-1], rtol=1e-9)
    peer = (1 - rescale_zero_terminal_snr(Chain.from_schedule(Linear(), 1000).beta)).cumprod(0).sqrt()
    levels = torch.linspace(0, 1, 1001, dtype=torch.float64)
    close(ZeroTerminalSNR(Linear())(levels)[0], peer, rtol=1e-9, atol=1e-15)


def test_the_published_rescaling_of_betas_goes_the_wrong_way():
    """Erratum: beta' = beta (1 - abar_1)/(1 - abar_T) leaves abar_T near 1 instead of sending it to 0."""
    chain = Chain.linear(1000)
    printed = Chain.from_betas(chain.beta[1:] * (1 - chain.alpha_bar[1]) / (1 - chain.alpha_bar[-1]))
    assert chain.alpha_bar[-1] < 5e-5
    assert printed.alpha_bar[-1] > 0.998


# --- the chain -------------------------------------------------------------------------------------------------


@given(betas)
def test_arrays_are_indexed_by_the_mathematical_t(betas):
    chain = Chain.from_betas(betas)
    names = ("beta", "alpha", "alpha_bar", "gamma1", "gamma2", "beta_tilde", "tau")
    T = chain.T
    assert T == len(betas)
    for name in names:
        array = getattr(chain, name)
        assert array.shape == (T + 1,) and array.dtype == torch.float64 and array.isfinite().all()
    assert [float(getattr(chain, name)[0]) for name in names] == [0, 1, 1, 0, 0, 0, 0]
    assert chain.beta[1:].tolist() == betas
    assert chain.beta_tilde[1] == 0 and chain.tau[1] == 0 and chain.gamma2[1] == 0
    assert float(chain.gamma1[1]) == pytest.approx(1, rel=1e-13, abs=0)  # beta_1 = 1 - abar_1
    alpha_bar = 1.0
    for t in range(1, T + 1):
        alpha_bar *= 1 - betas[t - 1]
        assert float(chain.alpha_bar[t]) == pytest.approx(alpha_bar, rel=1e-12, abs=0)
        alpha, sigma = chain(t)
        assert float(alpha) == pytest.approx(math.sqrt(alpha_bar), rel=1e-12, abs=0)
        assert float(alpha**2 + sigma**2) == pytest.approx(1, abs=1e-15)
    assert [float(level) for level in chain(0)] == [1, 0]
    levels = chain(torch.tensor([[0, T], [T, 0]]))
    assert levels[0].shape == (2, 2)


@given(betas)
@example([1e-8] * 3)
@example([1e-15, 0.5, 1e-12])
def test_noise_variance_keeps_its_digits(betas):
    """sigma_t^2 = sum_s beta_s prod_{r > s} alpha_r: sums of positive terms, so exact to rounding."""
    sigma = Chain.from_betas(betas)(torch.arange(len(betas) + 1))[1]
    variance = 0.0
    for t, beta in enumerate(betas, start=1):
        variance = beta + (1 - beta) * variance
        assert float(sigma[t] ** 2) == pytest.approx(variance, rel=1e-13, abs=0)


def test_linear_chain_equals_diffusers():
    """diffusers stores float32: agreement to its rounding, here and in add_noise and get_velocity."""
    chain = Chain.linear(1000)
    for peer in (DDPMScheduler(), DDIMScheduler()):
        close(chain.beta[1:].float(), peer.betas, rtol=3e-6)
        close(chain.alpha_bar[1:].float(), peer.alphas_cumprod, rtol=1e-4)
    exact = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    close(chain.alpha_bar[1:], exact, rtol=1e-12)
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 1000, 5, generator=generator)
    t = torch.arange(1, 1001)
    alpha, sigma = (level.float()[:, None] for level in chain(t))
    close(alpha * x0 + sigma * eps, DDPMScheduler().add_noise(x0, eps, t - 1), rtol=0, atol=2e-4)
    close(alpha * eps - sigma * x0, DDPMScheduler().get_velocity(x0, eps, t - 1), rtol=0, atol=2e-4)


@pytest.mark.parametrize("T", [10, 1000])
def test_cosine_chain_equals_diffusers(T):
    chain = Chain.cosine(T)
    peer = DDPMScheduler(num_train_timesteps=T, beta_schedule="squaredcos_cap_v2")
    close(chain.beta[1:].float(), peer.betas, rtol=1e-6)
    close(chain.alpha_bar[1:].float(), peer.alphas_cumprod, rtol=1e-4)
    level = np.cos((np.arange(T + 1) / T + 0.008) / 1.008 * np.pi / 2) ** 2
    expected = np.minimum(1 - level[1:] / level[:-1], 0.999)
    close(chain.beta[1:], expected, rtol=1e-9)
    assert chain.beta[-1] == 0.999


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_reverse_mean_and_variance_equal_diffusers(variance):
    """One step of DDPMScheduler from a known eps is gamma1 x0 + gamma2 x_t plus noise of the stated variance."""
    peer = DDPMScheduler(num_train_timesteps=100, variance_type=variance, clip_sample=False)
    chain = Chain.linear(100)
    x_t, eps = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1))
    for t in (1, 2, 50, 100):
        alpha, sigma = (level.float() for level in chain(t))
        mean = chain.gamma1[t].float() * (x_t - sigma * eps) / alpha + chain.gamma2[t].float() * x_t
        step = peer.step(eps, t - 1, x_t, generator=torch.Generator().manual_seed(2)).prev_sample
        noise = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(2)) if t > 1 else torch.zeros(())
        width = (chain.beta_tilde if variance == "fixed_small" else chain.beta)[t].float().sqrt()
        close(step, mean + width * noise, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chain", CHAINS, ids=repr)
def test_posterior_is_a_product_of_gaussians(chain):
    """q(x_{t-1} | x_t, x_0) is q(x_t | x_{t-1}) q(x_{t-1} | x_0), normalised: mean and variance by quadrature."""
    x0, xt = 0.7, -0.4
    for t in {2, chain.T // 2, chain.T} - {0, 1}:
        if t > chain.T:
            continue
        signal, noise = (float(level) for level in chain(t - 1))
        alpha, beta = float(chain.alpha[t]), float(chain.beta[t])
        mean = float(chain.gamma1[t]) * x0 + float(chain.gamma2[t]) * xt
        width = math.sqrt(chain.beta_tilde[t])

        def log_product(x, alpha=alpha, beta=beta, signal=signal, noise=noise):
            return -((xt - math.sqrt(alpha) * x) ** 2) / (2 * beta) - (x - signal * x0) ** 2 / (2 * noise**2)

        peak = log_product(mean)
        limits = (mean - 12 * width, mean + 12 * width)
        moments = []
        for power in range(3):
            value, _ = quad(
                lambda x, p=power, m=mean, w=width, k=peak: ((x - m) / w) ** p * math.exp(log_product(x) - k) / w,
                *limits, epsabs=1e-13, epsrel=1e-13, points=[mean],
            )  # fmt: skip
            moments.append(value)
        assert moments[0] == pytest.approx(math.sqrt(2 * math.pi), rel=1e-9, abs=0)
        assert moments[1] / moments[0] == pytest.approx(0, abs=1e-8)  # in units of its own width
        assert moments[2] / moments[0] == pytest.approx(1, rel=1e-8, abs=0)


@given(betas)
def test_posterior_coefficients_obey_the_chain(betas):
    """Averaged over x_t given x_0, the posterior is q(x_{t-1} | x_0): its mean and its variance both close."""
    chain = Chain.from_betas(betas)
    alpha, sigma = chain(torch.arange(chain.T + 1))
    close(chain.gamma1[1:] + chain.gamma2[1:] * alpha[1:], alpha[:-1], rtol=2e-15)
    close(chain.beta_tilde[1:] + (chain.gamma2[1:] * sigma[1:]) ** 2, sigma[:-1] ** 2, rtol=5e-15)


@given(st.lists(st.floats(1e-6, 0.999), min_size=2, max_size=12))
def test_tau_is_the_one_step_weight_times_the_propagation(betas):
    """tau_i = gamma2_2 ... gamma2_{i-1} beta_i / sqrt(alpha_i (1 - abar_i)), for i >= 2."""
    chain = Chain.from_betas(betas)
    for i in range(2, chain.T + 1):
        propagation = math.prod(float(gamma) for gamma in chain.gamma2[2:i])
        sigma = float(chain(i)[1])
        weight = float(chain.beta[i]) / (math.sqrt(chain.alpha[i]) * sigma)
        assert float(chain.tau[i]) == pytest.approx(propagation * weight, rel=1e-13, abs=0)


def test_tau_is_the_effect_of_one_error_at_the_end():
    """Run the reverse means down to t = 1 twice, the second time with a unit eps error at step i: tau_i apart."""
    chain = Chain.linear(60)
    for i in (2, 3, 30, 60):
        x = y = 0.9
        for t in range(60, 1, -1):
            alpha, sigma = (float(level) for level in chain(t))
            gamma1, gamma2 = float(chain.gamma1[t]), float(chain.gamma2[t])
            x = gamma1 * 0.37 + gamma2 * x
            y = gamma1 * (0.37 + (t == i) * sigma / alpha) + gamma2 * y
        assert y - x == pytest.approx(float(chain.tau[i]), rel=1e-12, abs=1e-15)


@given(st.integers(1, 60), st.data())
def test_respaced_keeps_alpha_bar(T, data):
    chain = Chain.linear(T, 1e-3, 0.2)
    steps = data.draw(st.integers(1, T))
    visited = chain.visited(steps)
    assert visited[0] == 0 and visited[-1] == T and (visited.diff() >= 1).all() and len(visited) == steps + 1
    assert ((visited - torch.arange(steps + 1).double() * T / steps).abs() <= 0.5).all()  # the nearest level
    short = chain.respaced(steps)
    assert short.T == steps
    close(short.alpha_bar, chain.alpha_bar[visited], rtol=1e-12)
    close(short(torch.arange(steps + 1))[1], chain(visited)[1], rtol=1e-12)
    if steps == T:
        close(short.beta, chain.beta, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("schedule", [Linear(), Quadratic(), Cosine(), Constant()], ids=repr)
def test_a_chain_from_a_schedule_visits_its_levels(schedule):
    chain = Chain.from_schedule(schedule, 40)
    last = 39 if isinstance(schedule, Cosine) else 40  # the cosine's last beta is clipped
    t = torch.arange(last + 1)
    for chained, level in zip(chain(t), schedule(t.double() / 40)):
        close(chained, level, rtol=1e-11)


def test_the_chain_converges_to_the_linear_schedule():
    """T beta_t = beta(t/T): the chain of betas beta(t/T)/T approaches the schedule at first order in 1/T."""
    gaps = []
    for T in (250, 500, 1000, 2000):
        chain = Chain.from_betas(Linear().beta(torch.arange(1, T + 1).double() / T) / T)
        times = torch.linspace(0.1, 1, 10, dtype=torch.float64)
        exact = Linear().log_snr(times)
        gaps.append(float((chain.log_snr((times * T).round().long()) - exact).abs().max()))
    ratios = [a / b for a, b in itertools.pairwise(gaps)]
    assert gaps[-1] < 0.1
    assert all(1.9 < ratio < 2.1 for ratio in ratios)
    # DDPM's own betas, 1e-4 ... 0.02 at T = 1000, are beta(t/T)/T up to the end points of the grid.
    grid = torch.linspace(0, 1, 1000, dtype=torch.float64)
    close(Chain.linear(1000).beta[1:], Linear().beta(grid) / 1000)


def test_a_chain_is_called_like_a_schedule():
    chain = Chain.linear(100)
    t = torch.tensor([[1, 50], [99, 100]])
    alpha, sigma = chain(t)
    close(chain.snr(t), (alpha / sigma) ** 2)
    close(chain.log_snr(t), ((alpha / sigma) ** 2).log(), rtol=1e-12)
    close(chain(t.double())[0], alpha)
    assert chain.log_snr(0) == math.inf
    assert repr(chain).startswith("Chain(T=100, beta=0.0001..0.02")


# --- bad input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [Linear(), Cosine(), EDM(), ZeroTerminalSNR()], ids=repr)
@pytest.mark.parametrize("t", [-1e-9, 1.001, math.nan, torch.tensor([0.5, 2.0])])
def test_times_outside_the_range_are_refused(schedule, t):
    for method in (schedule, schedule.drift, schedule.diffusion, schedule.beta, schedule.snr, schedule.log_snr):
        with pytest.raises(ValueError, match=r"t = .* outside the allowed range \[0, 1\]"):
            method(t)


@pytest.mark.parametrize("t", [-1, 11, 2.5, math.nan, torch.tensor([3, 12])])
def test_steps_outside_the_chain_are_refused(t):
    with pytest.raises(ValueError, match=r"t = .* must be a whole number in 0\.\.10"):
        Chain.linear(10)(t)


@pytest.mark.parametrize("make, message", [
    (lambda: Linear(beta_min=0.0), "beta_min = 0.0 must be a positive, finite"),
    (lambda: Linear(beta_max=math.inf), "beta_max = inf"),
    (lambda: Quadratic(beta_max=math.nan), "beta_max = nan"),
    (lambda: Constant(-1.0), "rate = -1.0"),
    (lambda: Cosine(-0.1), "offset = -0.1"),
    (lambda: EDM(rho=0.0), "rho = 0.0"),
    (lambda: EDM(sigma_min=2.0, sigma_max=1.0), "sigma_min = 2.0 .* sigma_max"),
    (lambda: Chain.linear(0), "T = 0 must be a whole number >= 1"),
    (lambda: Chain.cosine(2.5), "T = 2.5 must be a whole number >= 1"),
    (lambda: Chain.from_betas([]), r"betas has shape \(0,\)"),
    (lambda: Chain.from_betas([[0.1]]), r"betas has shape \(1, 1\)"),
    (lambda: Chain.from_betas([0.1, 0.0]), r"betas range over .*\(0, 1\)"),
    (lambda: Chain.from_betas([0.1, 1.0]), r"betas range over .*\(0, 1\)"),
    (lambda: Chain.from_betas([0.1, math.nan]), r"betas range over .*\(0, 1\)"),
    (lambda: Chain.from_schedule(EDM(), 10), "not variance preserving"),
    (lambda: Chain.linear(10).respaced(0), r"steps = 0 .* 1\.\.10"),
    (lambda: Chain.linear(10).respaced(11), r"steps = 11 .* 1\.\.10"),
    (lambda: Chain.linear(10).respaced(2.5), r"steps = 2.5 .* 1\.\.10"),
    (lambda: Chain.linear(10).visited(11), r"steps = 11 .* 1\.\.10"),
])  # fmt: skip
def test_bad_settings_are_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- the edges of the numbers --------------------------------------------------------------------------------------

EVERY = [Linear(), Linear(0.1, 1e3), Linear(1e-300, 1e-300), Linear(0.1, 1e300), Quadratic(), Quadratic(1e-300, 1e300),
         Cosine(), Cosine(0.0), Cosine(1e17), Constant(), Constant(1e-300), Constant(1e300), EDM(), EDM(rho=1e-3),
         EDM(rho=1e17), EDM(1e-200, 1e200), ZeroTerminalSNR(), ZeroTerminalSNR(Linear(0.1, 1e4)),
         ZeroTerminalSNR(Cosine()), ZeroTerminalSNR(Constant(1e-300)),
         *(Sigmoid(slope=s) for s in (1e-320, 1e-40, 1e-3, 6.0, 50.0, 90.0, 400.0, 710.0, 1e38, 1.7e308))]
EDGES = [0.0, 5e-324, 1e-310, 1e-200, 1e-45, 1e-30, 1e-7, 0.001, 0.3, 0.4999, 0.5, 0.5001, 0.9, 0.99, 1 - 1e-7,
         1 - 2**-53, 1.0]


@pytest.mark.parametrize("schedule", EVERY, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_no_parameter_time_or_dtype_gives_nan(schedule, dtype):
    t = torch.tensor(EDGES, dtype=dtype)
    for name in ("__call__", "drift", "diffusion", "rates", "log_snr", "snr", "log_snr_rate", "beta", "log_alpha"):
        found = getattr(schedule, name)(t)
        for part in found if isinstance(found, tuple) else (found,):
            assert part.dtype == dtype and part.shape == t.shape and not part.isnan().any(), name
    ends = torch.tensor([math.inf, -math.inf, 60.0, -60.0], dtype=dtype)
    times = schedule.time_of_log_snr(ends)
    assert times.dtype == dtype and times[:2].tolist() == [0, 1] and bool(((times >= 0) & (times <= 1)).all())


@pytest.mark.parametrize("slope", [1e-10, 1e-7, 1e-3, 6.0, 50.0, 88.0, 299.0, 301.0, 700.0, 710.0, 1e4])
@pytest.mark.parametrize("dtype, rtol", [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_sigmoid_of_any_slope_against_50_digits(slope, dtype, rtol):
    with mp.workdps(50):
        for t in torch.tensor([1e-30, 1e-4, 0.1, 0.4, 0.5, 0.52, 0.7, 0.9, 1.0], dtype=dtype):
            x = mp.mpf(float(t))
            area = (mp.log1p(mp.exp(slope * (2 * x - 1))) - mp.log1p(mp.exp(-slope))) / (2 * mp.mpf(slope))
            log_alpha = -(mp.mpf(0.1) * x + (20 - mp.mpf(0.1)) * area) / 2
            alpha, sigma = Sigmoid(slope=slope)(t)
            assert float(alpha) == pytest.approx(float(mp.exp(log_alpha)), rel=10 * rtol)
            assert float(sigma) == pytest.approx(float(mp.sqrt(-mp.expm1(2 * log_alpha))), rel=rtol)


def test_sigmoid_of_slope_50_at_a_time_of_0_9():
    assert float(Sigmoid(slope=50.0)(torch.tensor(0.9))[0]) == pytest.approx(0.01786, abs=1e-5)


def test_what_underflows_is_not_taken_for_0():
    far, one = Linear(0.1, 1000.0), torch.tensor(1.0)
    assert float(far(one)[0]) == 0  # e^-250 in float32
    assert float(far.log_snr(one)) == pytest.approx(-500.05, rel=1e-6)
    assert float(Linear()(5e-324)[1]) == pytest.approx(math.sqrt(0.1) * 5e-324**0.5, rel=1e-12)
    assert float(Linear()(torch.tensor(1e-42))[1]) == pytest.approx(math.sqrt(1e-43), rel=1e-3)  # t itself has 3 digits
    faint = ZeroTerminalSNR(Linear(0.1, 100.0))(torch.tensor(0.9))[0]
    assert float(faint) == pytest.approx(math.exp(-0.045 - 99.9 * 0.81 / 4) - math.exp(-25.025), rel=1e-5)
    # A VP schedule with sigma rounded to 1: d sigma/dt = beta alpha^2/(2 sigma).
    rate = Linear(0.1, 60.0).rates(torch.tensor(1.0))[1]
    assert float(rate) == pytest.approx(30 * math.exp(-30.05), rel=1e-5)


@pytest.mark.parametrize("schedule", [Cosine(), ZeroTerminalSNR(), ZeroTerminalSNR(Cosine())], ids=repr)
def test_rates_where_no_signal_is_left_are_the_limits(schedule):
    alpha, sigma = schedule.rates(torch.tensor([1.0, 1 - 1e-7], dtype=torch.float64))
    assert float(alpha[0]) == pytest.approx(float(alpha[1]), rel=1e-5) and float(sigma[0]) == 0


@pytest.mark.parametrize("rho", [1e-3, 0.3, 200.0, 1e6, 1e17])
def test_edm_of_any_rho_against_50_digits(rho):
    low, high = 0.002, 80.0
    with mp.workdps(50):
        for t in (0.0, 1e-9, 0.2, 0.5, 1.0):
            root = [mp.mpf(end) ** (1 / mp.mpf(rho)) for end in (low, high)]
            inner = root[0] + mp.mpf(t) * (root[1] - root[0])
            sigma, rate = inner**rho, rho * (root[1] - root[0]) * inner ** (rho - 1)
            assert float(EDM(low, high, rho)(t)[1]) == pytest.approx(float(sigma), rel=1e-11)
            if t:
                assert float(EDM(low, high, rho).rates(t)[1]) == pytest.approx(float(rate), rel=1e-10)
                assert float(EDM(low, high, rho).diffusion(t)) == pytest.approx(float(2 * sigma * rate), rel=1e-10)


@pytest.mark.parametrize("schedule", [Linear(), Quadratic(), Sigmoid(), Cosine(), Constant(), EDM(), ZeroTerminalSNR()],
                         ids=repr)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_float64_rounded_once(schedule, dtype):
    t = torch.linspace(0, 1, 40).to(dtype)
    for name in ("__call__", "drift", "diffusion", "rates", "log_snr", "snr", "log_snr_rate", "beta"):
        found, exact = (getattr(schedule, name)(v) for v in (t, t.double()))
        for a, b in zip(*(v if isinstance(v, tuple) else (v,) for v in (found, exact))):
            assert torch.equal(a, b.to(dtype)), name
    level = torch.linspace(-8, 8, 20).to(dtype)
    assert torch.equal(schedule.time_of_log_snr(level), schedule.time_of_log_snr(level.double()).to(dtype))


def strange(values, dtype=">f8"):
    """Numbers as numpy may hold them: big-endian, with a negative stride, and read-only."""
    array = np.array(values[::-1], dtype=dtype)[::-1]
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("schedule", [Linear(), Cosine(), EDM(), ZeroTerminalSNR()], ids=repr)
def test_numbers_of_any_kind_are_times(schedule):
    expected = schedule(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    for t in ([0.25, 0.5, 0.75], strange([0.25, 0.5, 0.75]), strange([0.25, 0.5, 0.75], ">f4"),
              np.array([[0.25, 0.5, 0.75]] * 2).T[:, 0], [torch.tensor(0.25), np.float32(0.5), 0.75]):
        for a, b in zip(schedule(t), expected):
            assert torch.equal(a, b)
    for one in (1, np.int64(1), np.uint16(1), np.array(1), torch.tensor(1), torch.tensor(1, dtype=torch.uint8)):
        assert schedule(one)[1].dtype == torch.float64 and float(schedule(one)[1]) == float(schedule(1.0)[1])
        assert float(schedule.time_of_log_snr(one)) == float(schedule.time_of_log_snr(1.0))


def test_parameters_and_counts_of_any_kind_are_numbers():
    a, b = Linear(np.float32(0.5), torch.tensor(4.0)), Linear(0.5, 4.0)
    assert a == b and repr(a) == repr(b) and torch.equal(a(0.3)[0], b(0.3)[0])
    assert EDM(np.array(0.5), np.int32(4), np.float16(2.0)) == EDM(0.5, 4.0, 2.0)
    betas = Chain.linear(10).beta[1:]
    for chain in (Chain.linear(np.int64(10)), Chain.linear(torch.tensor(10)), Chain.linear(10.0),
                  Chain.from_betas(strange(betas.tolist())), Chain(betas.numpy()), Chain.linear(10, np.float64(1e-4))):
        assert torch.equal(chain.beta[1:], betas)
    chain = Chain.linear(10)
    assert torch.equal(chain.respaced(np.int64(3)).beta, chain.respaced(3).beta)
    for t in (np.int64(4), strange([4, 7], ">i4"), strange([4.0, 7.0]), torch.tensor([4, 7]).short(), [4, 7]):
        index = torch.tensor([4, 7]) if np.ndim(t) else torch.tensor(4)
        assert torch.equal(chain(t)[0], chain(index)[0]) and torch.equal(chain.log_snr(t), chain.log_snr(index))


@pytest.mark.parametrize("call, error, word", [
    (lambda: Linear().time_of_log_snr(math.nan), ValueError, "log_snr"),
    (lambda: Cosine().time_of_log_snr(torch.tensor([0.0, math.nan])), ValueError, "log_snr"),
    (lambda: Chain.linear(10).time_of_log_snr(math.nan), ValueError, "log_snr"),
    (lambda: ZeroTerminalSNR(EDM()), ValueError, "base = EDM"),
    (lambda: ZeroTerminalSNR(Chain.linear(10)), TypeError, "base = Chain"),
    (lambda: Linear("0.1"), TypeError, "beta_min = '0.1'"),
    (lambda: Linear()("noon"), TypeError, "t = 'noon'"),
    (lambda: Linear()(torch.tensor(1j)), TypeError, "t is torch.complex64"),
    (lambda: Chain.linear(10)(torch.tensor(True)), TypeError, r"t is torch\.bool"),
    (lambda: Chain.linear(True), ValueError, "T = True must be a whole number"),
])
def test_what_is_no_number_is_named(call, error, word):
    with pytest.raises(error, match=word):
        call()


def test_the_ends_of_log_snr_are_the_ends_of_time():
    for schedule in (Linear(), Cosine(), EDM(), Constant()):
        assert schedule.time_of_log_snr([math.inf, -math.inf]).tolist() == [0, 1]
    assert Chain.linear(10).time_of_log_snr([math.inf, -math.inf]).tolist() == [1, 10]


# --- long chains -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("T, steps", [(4000, 1), (4000, 3), (2000, 1), (20_000, 2), (200_000, 1), (200_000, 100)])
def test_a_respaced_chain_keeps_the_levels_of_a_long_one(T, steps):
    chain = Chain.linear(T)
    short, visited = chain.respaced(steps), chain.visited(steps)
    with mp.workdps(40):  # alpha_bar of this chain's own betas
        total, exact = mp.mpf(0), {0: mp.mpf(0)}
        betas = chain.beta.tolist() if T <= 4000 else []
        for t, beta in enumerate(betas[1:], 1):
            total += mp.log1p(-mp.mpf(beta))
            exact[t] = total
    if exact.keys() != {0}:
        expected = torch.tensor([float(exact[t]) for t in visited.tolist()], dtype=torch.float64)
        torch.testing.assert_close(short._log_alpha_bar, expected, rtol=1e-12, atol=1e-13)
    found = short.log_snr(torch.arange(1, steps + 1))
    torch.testing.assert_close(found, chain.log_snr(visited[1:]), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(short(torch.arange(steps + 1)), chain(visited), rtol=1e-12, atol=0)
    for column in (short.beta, short.alpha, short.gamma1, short.gamma2, short.beta_tilde, short.tau, chain.tau):
        assert bool(column.isfinite().all() & (column >= 0).all())
    assert bool(((short.beta >= 0) & (short.beta <= 1)).all())


EXTREMES = [(Linear(), -1e308), (Linear(1e-100, 1e100), -1e150), (Linear(1e10, 1e12), -1e308)]


@pytest.mark.parametrize("schedule, level", EXTREMES)
def test_the_time_of_a_level_beyond_the_end_is_the_end(schedule, level):
    assert float(schedule.time_of_log_snr(level)) == 1
    assert Linear().time_of_log_snr(torch.tensor([-1e38, -1e37])).tolist() == [1, 1]
