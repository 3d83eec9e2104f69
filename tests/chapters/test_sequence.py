"""The estimation gap, the SA loss and its minimisers against brute force, Monte Carlo, autograd and closed forms."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import diffnotes
from diffnotes import Chain, Exact, Linear
from diffnotes.chapters.sequence import (
    Scaled,
    bounds,
    gap,
    gaussian_minimiser,
    implied_variance,
    population_minimiser,
    shrinkage,
)
from diffnotes.core.denoiser import Perturbed
from diffnotes.core.law import GaussianMixture, two_modes
from diffnotes.model.net import MLP
from diffnotes.model.sample import ddim, ddpm, grid, prior, sampled_variance
from diffnotes.model.window import COUPLINGS, Window, correlation, sa_loss, window_noise, windows

DOUBLE = torch.float64
CHAINS = {
    "linear 1000": Chain.linear(1000), "linear 50": Chain.linear(50, 2e-3, 0.4), "cosine 100": Chain.cosine(100),
    "respaced 10": Chain.linear(1000).respaced(10), "cosine 10": Chain.cosine(10),
}  # fmt: skip
SMALL = Chain.linear(12, 0.02, 0.3)
LAW = GaussianMixture(torch.tensor([-1.0, 0.3, 1.2], dtype=DOUBLE), [0.3, 0.2, 0.5], [0.3, 0.3, 0.4])


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


class Field:
    """A nonlinear noise predictor that is nobody's posterior mean."""

    target = "eps"

    def __init__(self, chain, seed):
        self.schedule, self.members = chain, None
        self.w = noise(3, 2, 2, seed=seed)

    def eps(self, x, t):
        return torch.sin(x @ self.w[0] + 0.01 * t) @ self.w[1] + 0.3 * x @ self.w[2]

    predict = eps

    def at(self, times):
        return [lambda x, t=t: self.eps(x, t) for t in times.tolist()]


# --- Theorem 1 --------------------------------------------------------------------------------------------------------


def two_chains(field, chain, x0, seed):
    """The model's chain x and the reference chain y, from one start and with the same noises, down to t = 1."""
    generator = torch.Generator().manual_seed(seed)
    x = y = torch.randn(x0.shape, generator=generator, dtype=DOUBLE)
    total, other, path = torch.zeros_like(x0), torch.zeros_like(x0), [x]
    for i in range(chain.T, 1, -1):
        alpha, sigma = chain(i)
        f = field.eps(x, i)
        total += chain.tau[i] * (f - (x - alpha * x0) / sigma)
        other += chain.tau[i] * (f - (y - alpha * x0) / sigma)
        z = torch.randn(x0.shape, generator=generator, dtype=DOUBLE) * chain.beta_tilde[i].sqrt()
        guess = (x - sigma * f) / alpha
        x = chain.gamma1[i] * guess + chain.gamma2[i] * x + z
        y = chain.gamma1[i] * x0 + chain.gamma2[i] * y + z
        path.append(x)
    return x, y, total, other, torch.stack(path)


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("seed", [0, 1])
def test_theorem_1_with_sign_and_own_noise(name, seed):
    """y_1 - x_1 = + sum tau_i (f - eps_i), eps_i at the model's own x_i; with the reference chain's it is wrong."""
    chain = CHAINS[name]
    field, x0 = Field(chain, seed), noise(20, 2, seed=seed + 10)
    x, y, total, other, path = two_chains(field, chain, x0, seed)
    scale = float((y - x).abs().max())
    torch.testing.assert_close(y - x, total, rtol=0, atol=1e-11 * scale)
    assert float((y - x - other).abs().max()) > 0.1 * scale
    found = gap(field, path, torch.arange(chain.T, 0, -1), x0)
    torch.testing.assert_close(found.total, y - x, rtol=0, atol=1e-11 * scale)
    torch.testing.assert_close(found.parts.sum(0), found.total, rtol=0, atol=1e-11 * scale)
    assert float((found.total + (y - x)).abs().max()) > scale  # the sign matters


def test_tau_is_not_what_misreadings_give():
    """tau = one-step weight carried down to t = 1: not without 1 - abar_1, not carried down to t = 0, not the rate."""
    chain = CHAINS["linear 1000"]
    i = torch.arange(2, 1001)
    sigma2 = -torch.expm1(chain.alpha_bar.log())
    step = chain.beta[i] / (chain.alpha[i].sqrt() * sigma2[i].sqrt())
    carried = torch.cat([chain.gamma2.new_ones(1), chain.gamma2[2:-1].cumprod(0)])
    torch.testing.assert_close(chain.tau[i], carried * step, rtol=1e-9, atol=0)
    for wrong in (chain.tau[i] / sigma2[1], carried * chain.gamma2[1] * step, step):
        assert float((wrong / chain.tau[i] - 1).abs().max()) > 0.5


@pytest.mark.parametrize("steps", [10, 100, 1000])
def test_gap_along_sampled_paths_is_the_difference_of_two_chains(steps):
    """Respaced sampling, down to t = 0: the last step forgets the gap, and D follows the recursion of its own tau."""
    chain, law = Chain.linear(1000), GaussianMixture(torch.zeros(1, 2, dtype=DOUBLE), 0.6)
    denoiser = Perturbed(Exact(law, chain), lambda x, t: 0.1 * torch.sin(3 * x) + 0.05, "eps")
    times, x0 = grid(chain, steps), law.sample(30, 1)
    path = ddpm(denoiser, prior(chain, (30, 2), 2, dtype=DOUBLE), times, 3, trajectory=True)
    found = gap(denoiser, path, times, x0)
    short = chain.respaced(steps)
    expected = torch.einsum("k,knd->nd", short.tau[1:].flip(0), found.errors)
    torch.testing.assert_close(found.total, expected, rtol=1e-9, atol=1e-12)
    # The reference chain, rebuilt from the path's own noises.
    y = path[0]
    for k, i in enumerate(range(steps, 0, -1)):
        alpha, sigma = short(i)
        guess = (path[k] - sigma * denoiser.eps(path[k], int(times[k]))) / alpha
        z = path[k + 1] - short.gamma1[i] * guess - short.gamma2[i] * path[k]
        y = short.gamma1[i] * x0 + short.gamma2[i] * y + z
        torch.testing.assert_close(found.running[k], y - path[k + 1], rtol=0, atol=1e-9)
    last = -(short(1)[1] / short(1)[0]) * found.errors[-1]  # x_0 - x_0 true: only the error of step 1 is left
    torch.testing.assert_close(path[-1] - x0, last, rtol=0, atol=1e-9)


def test_the_gap_prefers_a_collapsed_generator():
    """From pure noise: E|D_1|^2 is about 2 Var for the exact predictor and Var for one that always draws the mean."""
    chain, law = Chain.linear(100, 1e-3, 0.2), two_modes(1.0, 0.3).to(dtype=DOUBLE)
    x0, start, times = law.sample(4000, 0), prior(chain, (4000, 1), 1, dtype=DOUBLE), torch.arange(100, 0, -1)
    mean = GaussianMixture(torch.zeros(1, 1, dtype=DOUBLE), 0.0)
    sizes = []
    for one in (law, mean):
        denoiser = Exact(one, chain)
        path = ddpm(denoiser, start, times, 2, trajectory=True)
        sizes.append(float(gap(denoiser, path, times, x0).total.square().mean()) / float(law.covariance))
    assert sizes[0] == pytest.approx(2, rel=0.1) and sizes[1] == pytest.approx(1, rel=0.1)


# --- Theorem 2 --------------------------------------------------------------------------------------------------------


def by_loops(errors, chain, K):
    """The three terms of Theorem 2, as they are written."""
    T, n = chain.T, len(errors)
    tau = lambda s: float(chain.tau[s]) if 2 <= s <= T else 0.0  # noqa: E731
    e = lambda i, s: errors[i, s - 1] if 1 <= s <= T else torch.zeros_like(errors[0, 0])  # noqa: E731
    plain = sum(tau(t) ** 2 * float(e(i, t) @ e(i, t)) for i in range(n) for t in range(2, T + 1)) / n / (T - 1)
    sa = total = 0.0
    for i in range(n):
        for t in range(1 - K, T + 1):
            mean = sum(tau(s) * e(i, s) for s in range(t, t + K)) / K
            sa += float(mean @ mean) / n / (T + K)
        whole = sum(tau(s) * e(i, s) for s in range(2, T + 1))
        total += float(whole @ whole) / n
    return (T - 1) / (T + K) * plain, sa, total / (T + K) ** 2


@given(st.integers(2, 5), st.integers(2, 14), st.integers(0, 10**6), st.sampled_from(["normal", "aligned", "spiky"]))
def test_theorem_2_on_arbitrary_fields(K, T, seed, kind):
    chain = Chain.linear(T, 0.02, 0.3)
    errors = noise(3, T, 2, seed=seed)
    if kind == "aligned":
        errors = errors[:, :1] / chain.tau[1:, None].clamp(min=1e-12)
    elif kind == "spiky":
        errors = errors * (errors.abs() > 1.5)
    found = bounds(errors, chain, K)
    for ours, expected in zip(found, by_loops(errors, chain, K)):
        assert ours == pytest.approx(expected, rel=1e-9, abs=1e-300)
    assert found.upper >= found.sequence * (1 - 1e-12) and found.sequence >= found.lower * (1 - 1e-12)


def test_theorem_2_is_tight_in_the_limit_but_not_tighter_than_cauchy_schwarz():
    """A constant tau e makes the first side nearly equal, a train of spikes the second; then (T+K)^2 L_sa is looser."""
    chain, K = Chain.linear(50, 2e-3, 0.4), 2
    constant = (1 / chain.tau[1:].clamp(min=1e-300))[None, :, None]
    constant[:, 0] = 0
    found = bounds(constant, chain, K)
    assert found.sequence / found.upper == pytest.approx((48 + 2 / 4) / 49, rel=1e-9)
    assert (chain.T + K) ** 2 * found.sequence > (chain.T - 1) ** 2 * found.plain > found.total * (1 - 1e-12)
    spikes = constant.clone()
    spikes[:, [t for t in range(1, chain.T) if (t - 1) % K]] = 0
    found = bounds(spikes, chain, K)
    assert found.lower / found.sequence == pytest.approx(25**2 * 4 / (52 * 50), rel=1e-9)
    uncorrelated = noise(20_000, chain.T, 1) * constant
    found = bounds(uncorrelated, chain, K)
    assert found.sequence / found.upper == pytest.approx(1 / K, rel=0.02)


# --- windows and couplings --------------------------------------------------------------------------------------------


def test_windows_of_the_paper_and_of_the_code():
    chain = Chain.linear(5, 0.01, 0.2)
    s, w = windows(chain, Window(3, tau="literal", form="paper"))
    assert len(s) == 8
    for t, times, weights in zip(range(-2, 6), s.tolist(), w):
        expected = [float(chain.tau[i]) if 2 <= i <= 5 else 0.0 for i in range(t, t + 3)]
        assert weights.tolist() == expected
        assert all(a == b for a, b in zip(times, range(t, t + 3)) if 1 <= b <= 5)
    s, w = windows(chain, Window(3))
    assert s.tolist() == [[1, 1, 1], [2, 1, 1], [3, 2, 1], [4, 3, 2], [5, 4, 3]]
    assert w.tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 1, 1]]
    assert windows(chain, Window(2, form="paper"))[1].tolist()[:4] == [[0, 0], [0, 0], [0, 1], [1, 1]]


@pytest.mark.parametrize("form", ["code", "paper"])
def test_starts_are_uniform(form):
    window = Window(3, form=form)
    u = (torch.arange(15 * 700, dtype=DOUBLE) + 0.5) / (15 * 700)
    values, counts = window.start(u, SMALL).long().unique(return_counts=True)
    assert values.tolist() == window.starts(SMALL).tolist()
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("form, step", [("code", -1), ("paper", 1)])
def test_couplings_have_the_joint_law_of_the_forward_process(form, step):
    """Markov noises against the chain itself, x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) z, at three times."""
    n, t = 400_000, 5
    x, paths = torch.zeros(n, dtype=DOUBLE), {}
    for i in range(1, 8):
        x = SMALL.alpha[i].sqrt() * x + SMALL.beta[i].sqrt() * noise(n, seed=i)
        paths[i] = x / SMALL(i)[1]
    times = torch.tensor([t, t + step, t + 2 * step])
    truth = torch.corrcoef(torch.stack([paths[int(i)] for i in times]))
    for coupling in COUPLINGS:
        rho = correlation(SMALL, times[1:], times[:-1], coupling)[:, None]
        ours = torch.corrcoef(window_noise(noise(n, seed=20), noise(2, n, seed=21), rho))
        table = correlation(SMALL, times[:, None], times, coupling)
        torch.testing.assert_close(ours, table, rtol=0, atol=6 / n**0.5)
        if coupling == "markov":
            torch.testing.assert_close(table, truth, rtol=0, atol=6 / n**0.5)


# --- the loss ---------------------------------------------------------------------------------------------------------


class Counted:
    """A nonlinear predictor that remembers what it was asked."""

    def __init__(self):
        self.calls = []

    def __call__(self, x, t):
        self.calls.append((x, t))
        return torch.tanh(x + 0.1 * t.reshape(-1, *(1,) * (x.ndim - 1)))


@pytest.mark.parametrize("window", [
    Window(2), Window(3, 0.3, "literal"), Window(4, 0.2, "one", "markov", "paper"), Window(3, 1.0, "literal", "shared"),
])
@pytest.mark.parametrize("shape", [(7, 2), (7, 1, 3, 3)])
def test_sa_loss_is_its_definition_in_one_call(window, shape):
    """Recomputed with loops from the noised samples that the predictor was given."""
    f, x0 = Counted(), noise(*shape)
    t = torch.tensor([1, 2, 3, 6, 11, 12, -1 if window.form == "paper" else 5])
    simple, sequence = sa_loss(f, x0, SMALL, window, generator=3, t=t)
    assert len(f.calls) == 1 and len(f.calls[0][0]) == window.K * 7
    x, s = (part.unflatten(0, (window.K, 7)) for part in f.calls[0])
    expected_simple = expected = 0.0
    for i in range(7):
        total = torch.zeros_like(x0[0])
        for j in range(window.K):
            time = int(t[i]) + (j if window.form == "paper" else -j)
            if not 1 <= time <= SMALL.T:
                continue
            assert int(s[j, i]) == time
            alpha, sigma = SMALL(time)
            eps = (x[j, i] - alpha * x0[i]) / sigma
            e = torch.tanh(x[j, i] + 0.1 * time) - eps
            if not (window.form == "paper" and time == 1):
                total = total + (float(SMALL.tau[time]) if window.tau == "literal" else 1.0) * e
            if window.form == "paper":
                expected_simple += float(e.square().mean()) * (SMALL.T + window.K) / (SMALL.T * window.K) / 7
            elif j == 0:
                expected_simple += float(e.square().mean()) / 7
        expected += float((total / window.K).square().mean()) / 7
    assert float(simple) == pytest.approx(expected_simple, rel=1e-9)
    assert float(sequence) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("window", [Window(2), Window(3, form="paper", coupling="markov"), Window(2, tau="literal")])
def test_the_expected_loss_is_the_quadratic_form_of_the_gaussian_solve(window):
    """Monte Carlo over x_0, t and the noises for f = c_t x against sums of covariances: values of both parts."""
    c = torch.cat([torch.zeros(1, dtype=DOUBLE), 0.3 + 0.2 * torch.sin(torch.arange(1, 13, dtype=DOUBLE))])
    f = lambda x, t: c[t.long()][:, None] * x  # noqa: E731
    runs = torch.tensor([
        [float(v) for v in sa_loss(f, 0.8 * noise(20_000, 1, seed=s), SMALL, window, generator=s + 100)]
        for s in range(20)
    ], dtype=DOUBLE)
    t = torch.arange(1, 13)
    alpha, sigma = SMALL(t)
    rho = correlation(SMALL, t[:, None], t, window.coupling)
    a, b = c[1:] * alpha * 0.8, (c[1:] - 1 / sigma) * sigma  # e_t = a x_0/0.8 + b eps_t
    E = torch.outer(a, a) + torch.outer(b, b) * rho
    s, w = windows(SMALL, window)
    expected = sum(
        float(ws @ E[idx - 1][:, idx - 1] @ ws) for idx, ws in zip(s, w)
    ) / len(s) / window.K**2
    for found, exact in zip(runs.T, (float(E.diagonal().mean()), expected)):
        assert abs(float(found.mean()) - exact) < 4 * float(found.std()) / 20**0.5


def test_sa_loss_of_an_ensemble_is_that_of_its_members():
    net = MLP(2, width=8, depth=1, seed=(0, 1, 2)).double()
    x0 = noise(9, 2)
    together = sa_loss(net, x0.expand(3, -1, -1).contiguous(), SMALL, Window(3), generator=4)
    assert together.simple.shape == (3,)
    # Members draw their own noises, so compare with a loss whose ensemble is three copies of one member.
    copies = net.select([1, 1, 1])
    same = sa_loss(copies, x0.expand(3, -1, -1).contiguous(), SMALL, Window(3), generator=4)
    torch.testing.assert_close(same.sequence[1], together.sequence[1], rtol=1e-12, atol=0)
    assert not torch.equal(same.sequence[0], together.sequence[0])


# --- minimisers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("K, weight, coupling, form, tau", [
    (2, 1.0, "independent", "code", "one"), (3, 0.3, "markov", "paper", "one"), (2, 5.0, "shared", "code", "literal"),
    (4, 0.2, "independent", "paper", "literal"),
])
def test_the_gaussian_minimiser_makes_the_gradient_vanish(K, weight, coupling, form, tau):
    """The loss as a sum over windows of variances of explicit linear forms, its gradient by autograd."""
    window, std = Window(K, weight, tau, coupling, form), 0.7
    t = torch.arange(1, SMALL.T + 1)
    alpha, sigma = SMALL(t)
    values, vectors = torch.linalg.eigh(correlation(SMALL, t[:, None], t, coupling))
    root = vectors * values.clamp(min=0).sqrt()
    s, w = windows(SMALL, window)

    def slope(c):
        c = c.clone().requires_grad_()
        e = torch.cat([(c * alpha * std)[:, None], (c * sigma - 1)[:, None] * root], 1)  # e_t in independent normals
        loss = e.square().sum(1).mean()
        loss = loss + weight * ((w[..., None] * e[s - 1]).sum(1) / K).square().sum(1).mean()
        return float(torch.autograd.grad(loss, c)[0].abs().max())

    c = gaussian_minimiser(SMALL, std, window)[1:]
    assert slope(c) < 1e-8 and slope(1.1 * c) > 1e-3


@pytest.mark.parametrize("K, weight", [(2, 1.0), (3, 0.3), (4, 0.2), (2, 10.0)])
def test_independent_noises_inflate_the_variance(K, weight):
    """Full solve over all t against s^2 (1 + lambda)/(1 + lambda/K), away from the window that is cut at t < K."""
    chain, std = Chain.linear(1000), 0.8
    expected = std**2 * (1 + weight) / (1 + weight / K)
    found = implied_variance(chain, gaussian_minimiser(chain, std, Window(K, weight)))
    assert expected == pytest.approx(std**2 * (1 + shrinkage(Window(K, weight))), rel=1e-12)
    middle = found[20:400]
    assert float((middle / expected - 1).abs().max()) < 0.02
    best = implied_variance(chain, gaussian_minimiser(chain, std, Window(K, 0.0)))
    torch.testing.assert_close(best[1:], torch.full_like(best[1:], std**2), rtol=1e-8, atol=0)
    for coupling in ("markov", "shared"):
        coupled = implied_variance(chain, gaussian_minimiser(chain, std, Window(K, weight, coupling=coupling)))
        assert float((coupled[20:400] / std**2 - 1).abs().max()) < 0.1 * shrinkage(Window(K, weight))


def test_literal_tau_changes_nothing_at_the_published_weights():
    chain = Chain.linear(1000)
    best = gaussian_minimiser(chain, 1.0, Window(2, 0.0))[1:]
    literal = gaussian_minimiser(chain, 1.0, Window(2, 1.0, tau="literal", form="paper"))[1:]
    assert float((literal / best - 1).abs().max()) < 1e-3


def test_population_minimiser_of_a_gaussian_is_the_closed_form():
    chain, std = Chain.linear(200, 5e-4, 0.1), 0.8
    base = Exact(GaussianMixture(torch.zeros(1, dtype=DOUBLE), std), chain)
    times = torch.tensor([1, 3, 20, 100, 200])
    for kappa, found in zip((1 / 3, 0.8), population_minimiser(base, (1 / 3, 0.8), times)):
        scaled = Scaled(base, kappa, std)
        for t in times.tolist():
            x = torch.linspace(-2.5, 2.5, 41, dtype=DOUBLE)[:, None]
            torch.testing.assert_close(found.eps(x, t), scaled.eps(x, t), rtol=0, atol=2e-3)


def test_population_minimiser_against_its_own_loss():
    """Stationarity by Monte Carlo: E[phi(x) ((1 + lambda/K^2 K) f(x) + ... - eps)] = 0 for test functions phi.

    With two independent noisings x, x' of one x_0 the loss of K = 2 is stationary where
    E[phi(x) (f(x) - eps + lambda/2 (f(x) - eps + f(x')))] = 0, since E[eps' | x] = 0.
    """
    chain, weight, n = Chain.linear(1000), 1.0, 1_000_000
    base = Exact(LAW, chain)
    t = 120
    (found,) = population_minimiser(base, [shrinkage(Window(2, weight))], torch.tensor([t]))
    alpha, sigma = chain(t)
    x0, eps = LAW.sample(n, 1), noise(n, 1, seed=2)
    x, other = alpha * x0 + sigma * eps, alpha * x0 + sigma * noise(n, 1, seed=3)
    for f, small in ((found.eps, True), (base.eps, False)):
        slope = f(x, t) - eps + weight / 2 * (f(x, t) - eps + f(other, t))
        worst = 0.0
        for k in range(4):
            values = (torch.cos(k * x) + torch.sin((k + 1) * x)) * slope
            worst = max(worst, abs(float(values.mean())) / (float(values.std()) / n**0.5))
        assert (worst < 4.5) is small


class Line:
    """The linear predictor eps = c_t x."""

    target, members = "eps", None

    def __init__(self, chain, c):
        self.schedule, self.c = chain, c

    def at(self, times):
        return [lambda x, t=t: self.c[t] * x for t in times.tolist()]


@pytest.mark.parametrize("steps", [10, 50])
@pytest.mark.parametrize("variance", ["beta", "beta_tilde", "ddim"])
def test_sampled_variance_is_that_of_samples(steps, variance):
    chain, n = Chain.linear(1000), 100_000
    c = gaussian_minimiser(chain, 0.8, Window(2, 1.0))
    start, times = prior(chain, (n, 1), 1, dtype=DOUBLE), grid(chain, steps)
    if variance == "ddim":
        samples = ddim(Line(chain, c), start, times)
    else:
        samples = ddpm(Line(chain, c), start, times, 2, variance=variance)
    exact = sampled_variance(chain, c, times, variance=variance)
    assert float(samples.square().mean()) == pytest.approx(exact, rel=5 * (2 / n) ** 0.5)


def test_few_steps_shrink_and_the_bias_inflates():
    """The argument of the chapter in four numbers: variance ratios for N(0, 1), beta-tilde."""
    chain = Chain.linear(1000)
    ratio = {
        (weight, steps): sampled_variance(chain, gaussian_minimiser(chain, 1.0, Window(2, weight)), grid(chain, steps))
        for weight, steps in itertools.product((0.0, 1.0), (10, 1000))
    }
    assert ratio[0.0, 10] < ratio[1.0, 10] < 1 and 0.98 < ratio[0.0, 1000] < 1.0 < ratio[1.0, 1000]


def test_scaled_is_the_predictor_of_the_wider_gaussian():
    for schedule in (Linear(), Chain.linear(100)):
        t = 0.3 if isinstance(schedule, Linear) else 30
        base, wide = (Exact(GaussianMixture(torch.zeros(1, 1, dtype=DOUBLE), s), schedule) for s in (0.6, 0.6 * 1.5))
        x = noise(5, 1)
        torch.testing.assert_close(Scaled(base, 1.25, 0.6).eps(x, t), wide.eps(x, t), rtol=1e-12, atol=0)


# --- bad input --------------------------------------------------------------------------------------------------------

F, X0 = (lambda x, t: x), torch.zeros(3, 1)
PATH, EXACT = torch.zeros(3, 4, 1), Exact(GaussianMixture([0.0], 1.0), SMALL)


@pytest.mark.parametrize("call, error, word", [
    (lambda: Window(0), ValueError, "K = 0"),
    (lambda: Window(2.0), ValueError, "K = 2.0"),
    (lambda: Window(2, -1.0), ValueError, "weight = -1.0"),
    (lambda: Window(2, tau="none"), ValueError, "tau = 'none'"),
    (lambda: Window(2, coupling="free"), ValueError, "coupling = 'free'"),
    (lambda: Window(2, form="book"), ValueError, "form = 'book'"),
    (lambda: Window(2, 0.0, alone=True), ValueError, "no loss"),
    (lambda: sa_loss(F, X0, Linear(), generator=0), TypeError, "no Chain"),
    (lambda: sa_loss(F, X0, SMALL, generator=None), TypeError, "generator = None"),
    (lambda: sa_loss(F, X0[0], SMALL, generator=0), ValueError, r"x0 of shape \(1,\)"),
    (lambda: sa_loss(F, X0 / 0, SMALL, generator=0), ValueError, "finite"),
    (lambda: sa_loss(F, X0, SMALL, generator=0, t=torch.tensor([1, 2, 13])), ValueError, r"1\.\.12"),
    (lambda: sa_loss(F, X0, SMALL, generator=0, t=torch.tensor([1])), ValueError, r"shape \(1,\)"),
    (lambda: sa_loss(lambda x, t: x[:1], X0, SMALL, generator=0), ValueError, "f returned shape"),
    (lambda: correlation(SMALL, 0, 3, "markov"), ValueError, r"s ranges"),
    (lambda: correlation(SMALL, 1, 13, "shared"), ValueError, r"t ranges"),
    (lambda: correlation(SMALL, 1, 2, "free"), ValueError, "coupling"),
    (lambda: gap(EXACT, PATH, [3, 2], X0), ValueError, "path has shape"),
    (lambda: gap(EXACT, PATH, [1, 2, 3], PATH[0]), ValueError, "decreasing"),
    (lambda: bounds(torch.zeros(2, 3, 1), SMALL, 2), ValueError, "errors has shape"),
    (lambda: gaussian_minimiser(SMALL, 0.0, Window(2)), ValueError, "std = 0.0"),
    (lambda: sampled_variance(SMALL, torch.zeros(3), grid(SMALL, 3)), ValueError, "c has shape"),
    (lambda: Scaled(EXACT, -1.0, 1.0), ValueError, "kappa = -1.0"),
    (lambda: Scaled(EXACT, 1.0, 0.0), ValueError, "std = 0.0"),
    (lambda: population_minimiser(Exact(GaussianMixture([[0.0, 0.0]], 1.0), SMALL), [0.3], torch.tensor([1])),
     ValueError, "on the line"),
    (lambda: population_minimiser(EXACT, [0.3, -0.1], torch.tensor([1])), ValueError, "kappas"),
    (lambda: population_minimiser(EXACT, [0.3], torch.tensor([2]))[0].eps(X0, 3), ValueError, "t = 3"),
])  # fmt: skip
def test_bad_input_is_named(call, error, word):
    with pytest.raises(error, match=word):
        call()


def test_it_is_exported():
    assert diffnotes.sa_loss is sa_loss and diffnotes.Window is Window
    assert np.isfinite(float(sa_loss(F, X0, SMALL, generator=0).simple))
