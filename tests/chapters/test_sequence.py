"""The estimation gap, the SA loss and its minimisers against brute force, Monte Carlo, autograd and closed forms."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffnotes import Chain, Exact, Fleet, Images, Linear, Run, image_net, kept
from diffnotes.chapters import sequence as seq
from diffnotes.chapters.sequence import (
    Scaled,
    Shaped,
    bounds,
    gap,
    gaussian_minimiser,
    implied_variance,
    population_minimiser,
    shrinkage,
)
from diffnotes.core.data import image_split
from diffnotes.core.denoiser import Denoiser, Learned, Perturbed
from diffnotes.core.law import GaussianMixture, two_modes
from diffnotes.measure.distance import wasserstein1_to
from diffnotes.measure.interval import Interval
from diffnotes.measure.judges import Judges
from diffnotes.model.loss import Plain
from diffnotes.model.net import MLP
from diffnotes.model.sample import ddim, ddpm, grid, predicted_variance, prior, sampled_variance
from diffnotes.model.setting import Setting
from diffnotes.model.window import Window, correlation, windows
from diffnotes.press.ledger import judge

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
        other += chain.tau[i] * (field.eps(y, i) - (y - alpha * x0) / sigma)
        z = torch.randn(x0.shape, generator=generator, dtype=DOUBLE) * chain.beta_tilde[i].sqrt()
        guess = (x - sigma * f) / alpha
        x = chain.gamma1[i] * guess + chain.gamma2[i] * x + z
        y = chain.gamma1[i] * x0 + chain.gamma2[i] * y + z
        path.append(x)
    return x, y, total, other, torch.stack(path)


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("seed", [0, 1])
def test_theorem_1_with_sign_and_own_noise(name, seed):
    """y_1 - x_1 = + sum tau_i (f - eps_i), both at the model's own x_i; along the reference chain it is wrong."""
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


@pytest.mark.parametrize("name", ["linear 50", "cosine 10"])
def test_two_chains_are_those_of_the_theorem(name):
    chain = CHAINS[name]
    field, x0 = Field(chain, 3), noise(20, 2, seed=4)
    x, y, own, other, _ = two_chains(field, chain, x0, 5)
    found = seq.two_chains(lambda x, t: field.eps(x, t * chain.T), chain, x0, 5)
    for ours, theirs in zip(found, (y - x, own, other)):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_the_identity_holds_with_the_models_own_noise_only():
    generator = torch.Generator().manual_seed(0)
    own, reference = zip(*(seq.identity_error(chain, generator) for chain in CHAINS.values()))
    assert max(own) < 1e-10 and min(reference) > 0.05 and len(set(own)) == len(CHAINS)


def test_shares_of_tau_squared_by_loops():
    squares = [float(SMALL.tau[i]) ** 2 for i in range(2, 13)]
    expected = [sum(squares[: k + 1]) / sum(squares) for k in range(11)]
    torch.testing.assert_close(seq.share_of_squares(SMALL), torch.tensor(expected, dtype=DOUBLE))


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


def test_the_worst_cases_are_the_extremes_of_the_three_terms():
    """With window means by loops; the second one as a generalised eigenvalue."""
    chain, K = Chain.linear(9, 0.02, 0.3), 3
    means = torch.zeros(12, 8, dtype=DOUBLE)  # of u_2, ..., u_9
    for row, t in enumerate(range(1 - K, 10)):
        for s in range(t, t + K):
            if 2 <= s <= 9:
                means[row, s - 2] += 1 / K
    gram = means.T @ means
    found = seq.worst_cases(chain, K)
    values, vectors = torch.linalg.eigh(gram)
    assert found.top == pytest.approx(float(values[-1]), rel=1e-12)
    root = torch.linalg.inv(vectors * values.sqrt())  # whitens the means
    assert found.bottom == pytest.approx(float((root.sum(1)).square().sum()) / 12, rel=1e-9)
    u = torch.cat([torch.zeros(1, dtype=DOUBLE), vectors[:, -1]])
    worst = bounds((u / chain.tau[1:].clamp(min=1e-300))[None, :, None], chain, K)
    assert worst.over_plain == pytest.approx(found.looser, rel=1e-9)
    assert worst.slack[0] == pytest.approx(1 - found.top, abs=1e-9)
    other = bounds(noise(5, 9, 1), chain, K)
    assert other.over_plain < found.looser and other.slack[0] > 1 - found.top
    assert other.over_plain == pytest.approx(12**2 * other.sequence / (8**2 * other.plain), rel=1e-12)
    assert 1 - found.bottom < other.slack[1] == pytest.approx(1 - other.lower / other.sequence)


def test_random_errors_are_of_their_kinds():
    generator = torch.Generator().manual_seed(0)
    u = {kind: SMALL.tau[1:, None] * seq.random_errors(kind, SMALL, 4000, generator) for kind in seq.KINDS}
    assert all(one.shape == (4000, 12, 2) and not one[:, 0].any() for one in u.values())
    near = {kind: float(torch.corrcoef(one[:, 3:5, 0].T)[0, 1]) for kind, one in u.items()}
    assert near["random"] == pytest.approx(0, abs=0.06) and near["aligned"] == pytest.approx(1 / 1.01, abs=0.01)
    assert float((u["sparse"][:, 1:] == 0).double().mean()) == pytest.approx(0.8664, abs=0.01)
    assert float(u["random"][:, 1:].var()) == pytest.approx(1, abs=0.03)


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


class Normal(Denoiser):
    """The exact noise of N(0, covariance): eps = sigma (alpha^2 C + sigma^2)^-1 x."""

    target = "eps"

    def __init__(self, schedule, covariance):
        self.schedule, self.covariance = schedule, covariance

    def predict(self, x, t):
        alpha, sigma = self.schedule(t)
        noised = alpha**2 * self.covariance + sigma**2 * torch.eye(len(self.covariance), dtype=DOUBLE)
        return sigma * torch.linalg.solve(noised, x.mT).mT


ROOT = torch.tensor([[1.1, 0.0, 0.0], [0.7, 0.4, 0.0], [0.0, -0.3, 0.0]], dtype=DOUBLE)
COVARIANCE = ROOT @ ROOT.mT  # of rank two


@pytest.mark.parametrize("schedule, t", [(Linear(), 0.3), (Chain.linear(100), 30), (Chain.linear(100), 1)])
def test_shaped_is_the_predictor_of_the_wider_normal_law_in_all_directions(schedule, t):
    x = noise(5, 3)
    shaped = Shaped(Normal(schedule, COVARIANCE), 1.25, COVARIANCE)
    torch.testing.assert_close(shaped.eps(x, t), Normal(schedule, 2.25 * COVARIANCE).eps(x, t), rtol=1e-10, atol=1e-12)
    even = Shaped(shaped.base, 0.7, 0.36 * torch.eye(3, dtype=DOUBLE))
    torch.testing.assert_close(even.eps(x, t), Scaled(shaped.base, 0.7, 0.6).eps(x, t), rtol=1e-12, atol=1e-14)


def test_shaped_is_stationary_for_the_loss_of_two_steps():
    """E[(f(x) - eps + weight/2 (f(x) - eps + f(x'))) x^T] = 0 for two noisings x, x' of one normal x_0, exactly."""
    chain, t, weight = Chain.linear(100), 40, 0.8
    alpha, sigma = chain(t)
    eye = torch.eye(3, dtype=DOUBLE)
    own, cross = alpha**2 * COVARIANCE + sigma**2 * eye, alpha**2 * COVARIANCE
    for kappa, right in ((shrinkage(Window(2, weight)), True), (0.0, False)):
        f = Shaped(Normal(chain, COVARIANCE), kappa, COVARIANCE).eps(eye, t).mT
        slope = (1 + weight / 2) * (f @ own - sigma * eye) + weight / 2 * f @ cross
        assert (float(slope.abs().max()) < 1e-12) is right


def test_shaped_has_a_covariance_for_each_member():
    chain, x = Chain.linear(100), noise(2, 4, 3)
    covariances = torch.stack([COVARIANCE, torch.eye(3, dtype=DOUBLE)])

    class Two(Normal):
        members = 2

        def predict(self, x, t):
            return torch.stack([Normal(chain, COVARIANCE).predict(part, t) for part in x])

    both = Shaped(Two(chain, COVARIANCE), 0.5, covariances).eps(x, 20)
    for part, covariance, found in zip(x, covariances, both):
        alone = Shaped(Normal(chain, COVARIANCE), 0.5, covariance).eps(part, 20)
        torch.testing.assert_close(found, alone, rtol=1e-12, atol=1e-14)


def test_wider_is_the_predictor_of_more_variance():
    found = implied_variance(SMALL, seq.wider(SMALL, 0.7))[1:]
    torch.testing.assert_close(found, torch.full_like(found, 1.7), rtol=1e-9, atol=0)


def test_the_needed_inflation_gives_samples_the_right_variance():
    chain, n = Chain.linear(1000), 200_000
    needed = {steps: seq.needed_inflation(chain, steps) for steps in (5, 20, 200)}
    assert needed[5] > needed[20] > needed[200] > 0
    times = grid(chain, 20, "skip")
    start = prior(chain, (n, 1), 1, int(times[0]), dtype=DOUBLE)
    for kappa, right in ((needed[20], True), (0.0, False)):
        samples = ddpm(Line(chain, seq.wider(chain, kappa)), start, times, 2)
        assert (abs(float(samples.square().mean()) - 1) < 4 * (2 / n) ** 0.5) is right


@pytest.mark.parametrize("steps", [5, 50])
def test_the_optimal_variances_repair_any_number_of_steps(steps):
    assert seq.repaired_variance(Chain.linear(1000), steps) == pytest.approx(1, abs=2e-3)


# --- sampling and measuring -------------------------------------------------------------------------------------------


def by_hand(denoiser, start, times, noises, variance):
    """Ancestral sampling with given noises."""
    x = start.double()
    for k, (t, s) in enumerate(itertools.pairwise(times.tolist())):
        (a, b), (c, d) = ((float(level) for level in denoiser.schedule(time)) for time in (t, s))
        step = b**2 - (a / c * d) ** 2
        x0 = denoiser.x0(x, t)
        width = 0 if s == 0 else step * d**2 / b**2 if variance is None else variance(x, t, s)
        mean = c * step / b**2 * x0 + a / c * d**2 / b**2 * x
        x = mean + torch.as_tensor(width, dtype=DOUBLE).sqrt() * noises[k]
    return x


@pytest.mark.parametrize("variance", [None, lambda x, t, s: 0.02 * (1 + x.sin())])
def test_antithetic_samples_are_those_of_both_signs_of_the_noise(variance):
    chain, steps = Chain.linear(100, 1e-3, 0.2), 8
    base, times = Exact(LAW, chain), grid(chain, steps, "skip")
    generator = torch.Generator().manual_seed(3 + steps)
    start = float(chain(int(times[0]))[1]) * torch.randn(9, 1, generator=generator)
    noises = [torch.randn(9, 1, generator=generator) for _ in range(steps - 1)] + [torch.zeros(9, 1)]
    found = seq.antithetic(base, steps, (3, 6), 3, **({} if variance is None else {"variance": variance}))
    assert found.shape == (3, 6) and found.dtype == DOUBLE
    for sign, half in zip((1, -1), found.split(3, 1)):
        expected = by_hand(base, sign * start, times, [sign * z for z in noises], variance)
        torch.testing.assert_close(half, expected.reshape(3, 3), rtol=0, atol=1e-4)


def test_drawn_samples_share_their_noise():
    chain = Chain.linear(100, 1e-3, 0.2)
    times, start = grid(chain, 5, "skip"), torch.Generator().manual_seed(7)
    x = prior(chain, (50, 1), start, int(times[0]))
    expected = ddpm(Exact(LAW, chain), x, times, start)
    assert torch.equal(seq.drawn(Exact(LAW, chain), 5, (50, 1), 2), expected)


def test_measures_of_sets_of_samples():
    law = two_modes(1.0, 0.3).to(dtype=DOUBLE)
    x = law.sample(60_000, 1).reshape(3, -1)
    assert seq.spread(x, law) == pytest.approx(1, abs=0.02)
    assert seq.spread(2 * x, law) == pytest.approx(4 * seq.spread(x, law), rel=1e-12)
    assert float(seq.distances(x, law)[1]) == float(wasserstein1_to(x[1], law))
    apart = seq.distances(torch.cat([x, x + 0.5]), law)
    torch.testing.assert_close(apart, torch.tensor([0.0, 0, 0, 0.5, 0.5, 0.5], dtype=DOUBLE), rtol=0, atol=0.02)


def test_comparisons_are_set_by_set():
    plain = torch.tensor([1.0, 2.0, 4.0], dtype=DOUBLE)
    rows = {"plain": {10: plain, 20: plain}, "K=2": {10: plain / 2}, "scaled": {10: 0.75 * plain}}
    (found,) = seq.ratios(rows, "K=2").values()
    assert found.value == pytest.approx(0.5) and found.low == pytest.approx(0.5)
    assert seq.share_of_gain(rows).value == pytest.approx(0.5)
    assert seq.best_weights([0.0, 1.0], {10: [plain, plain / 2], 20: [plain, 2 * plain]}) == {10: 1.0, 20: 0.0}
    needed = torch.tensor([2.0, 0.5, 2 / 9], dtype=DOUBLE)  # 1/3 is their middle on a logarithmic scale
    found = seq.crossings([5, 10, 40], needed, {"a": Window(2, 1.0), "none": Window(2, 0.0), "little": Window(2, 0.1)})
    assert found == {"a": pytest.approx(20)}


def test_the_worst_of_several_ratios_holds_only_if_all_do_and_fails_if_one_does():
    one, other = Interval(0.5, 0.4, 0.97), Interval(0.8, 0.75, 0.9)
    assert seq.worst([one, other]) == (0.8, 0.75, 0.97)
    assert judge("< 0.95", *seq.worst([one, other])[1:]) == "open"
    assert judge("< 0.95", *seq.worst([one, Interval(1.2, 1.0, 1.3)])[1:]) == "fails"


def test_ratios_of_settings_and_of_variances():
    base = torch.tensor([1.0, 2.0, 4.0], dtype=DOUBLE)
    sizes = {"plain": (1, 1), "K=2": (0.5, 0.75), "K=3": (2, 0.5), "K=4": (1, 0.25), "large": (0.25, 1.5)}
    rows = {name: {10: a * base, 1000: b * base} for name, (a, b) in sizes.items()}
    found = {name: round(one.value, 6) for name, one in seq.ratios_of_settings(rows).items()}
    assert found == {"k2": 0.75, "k3": 2, "k4": 1, "large_few": 0.5, "large_many": 2}
    rows = {("sn", "plain", 10): base, ("sn", "K=2", 10): 3 * base, ("tilde", "plain", 10): base,
            ("tilde", "K=2", 10): base}
    (found,) = seq.ratios_of_variances(rows).items()
    assert found[0] == "sn_10" and found[1].value == pytest.approx(3)


def test_posterior_squares_of_a_gaussian_are_the_closed_form():
    law, x = GaussianMixture(torch.zeros(1, dtype=DOUBLE), 0.7), noise(4, 1)
    alpha, sigma = SMALL(5)
    signal = (alpha * 0.7).square()
    expected = (signal / (signal + sigma.square())).expand(4, 1)
    torch.testing.assert_close(seq.posterior_squares(law, SMALL)(x, 5.0), expected)


class Shifted:
    """An ensemble of two: the exact noise and a constant more, one for each member."""

    target = "eps"
    members = 2

    def __init__(self, base, shift):
        self.base, self.schedule, self.shift = base, base.schedule, torch.tensor(shift, dtype=DOUBLE)[:, None, None]

    def eps(self, x, t):
        return (self.base.eps(x.double().flatten(0, 1), t).reshape(x.shape) + self.shift).to(x)

    predict = eps

    def at(self, times):
        return [lambda x, t=t: self.eps(x, t) for t in times.tolist()]


def test_the_misfit_is_the_mean_squared_error():
    base = Exact(two_modes(1.0, 0.2).to(dtype=DOUBLE), Chain.linear(100, 1e-3, 0.2))
    found = seq.misfit(Shifted(base, [0.1, -0.3]), base, two_modes(1.0, 0.2), 0)
    torch.testing.assert_close(found, torch.tensor([0.01, 0.09], dtype=DOUBLE), rtol=1e-5, atol=0)


def test_gaps_of_aligned_errors():
    """With e = f* + a constant the errors of a member add up fully: (sum tau)^2/sum tau^2 of uncorrelated ones."""
    chain, law, start = Chain.linear(60, 1e-3, 0.3), two_modes(1.0, 0.2), 40
    base = Exact(law.to(dtype=DOUBLE), chain)
    found = seq.gaps(Shifted(base, [0.1, -0.3]), law, start, (2, 300), 0, base)
    tau = chain.tau[2 : start + 1]
    torch.testing.assert_close(found.bias, tau.sum() * torch.tensor([0.1, 0.3], dtype=DOUBLE), rtol=1e-4, atol=0)
    expected = (tau.sum().square() / tau.square().sum()).expand(2)
    torch.testing.assert_close(found.alignment, expected, rtol=1e-4, atol=0)
    assert found.times.tolist() == list(range(start, 1, -1)) and found.parts.shape == (start - 1, 2)
    both = found.rms.square().mean().sqrt()  # all samples of both sets
    torch.testing.assert_close(found.running[-1], both, rtol=1e-9, atol=0)
    assert bool((found.mean <= found.rms).all())
    alone = seq.gaps(base, law, start, (2, 300), 0)
    assert not alone.bias.any() and bool(alone.alignment.isnan().all()) and alone.rms.shape == (2,)


def test_gaps_of_batches_are_those_of_the_paths():
    """Against the recursion along the path; a shift of all answers is systematic, and the rest is chance."""
    chain, start, x0 = Chain.linear(60, 1e-3, 0.3), 40, noise(2, 500, 1, seed=3)
    base = Exact(GaussianMixture(torch.zeros(1, dtype=DOUBLE), 1.0), chain)
    nets = {"exact": Shifted(base, [0.0, 0.0]), "shifted": Shifted(base, [0.4, -0.8])}
    found = seq.batch_gaps(nets, x0, start, 2, 5)
    for name, net in nets.items():
        total = torch.stack([seq.gap_from(net, x0, start, seed)[0].total for seed in (5, 6)])
        torch.testing.assert_close(found[name].rms, total.square().mean((0, 2, 3)).sqrt(), rtol=1e-4, atol=0)
        torch.testing.assert_close(found[name].mean, total.mean((0, 2, 3)).abs(), rtol=1e-3, atol=1e-6)
    within = (total[0] - total[1]).square().mean((1, 2)) / 2  # the variance of two draws
    torch.testing.assert_close(found["shifted"].chance, (within / 1000).sqrt(), rtol=1e-4, atol=0)
    assert found["shifted"].seen and not found["exact"].seen
    assert seq.gap_ratio(found, "shifted", "exact") is None
    twice = {"one": found["shifted"], "two": seq.BatchGaps(*(2 * part for part in found["shifted"]))}
    assert seq.gap_ratio(twice, "two", "one").value == pytest.approx(2)


def test_what_chance_adds_to_a_mean_is_taken_off_its_square():
    found = seq.BatchGaps(torch.ones(2), torch.tensor([5.0, 3.0]), torch.tensor([4.0, 4.0]))
    assert found.systematic.tolist() == [3.0, 0.0] and not found.seen


@pytest.fixture
def image_fleet(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFNOTES_NETWORKS", str(tmp_path))
    settings = {name: Setting("v", SMALL, loss=loss) for name, loss in (("plain", Plain()), ("K=2", Window(2)))}
    return kept(Fleet(settings, Images("digits"), image_net("digits", 4), Run(2, 8), (0, 1)))


def test_long_samples_are_kept_as_they_are_measured(image_fleet):
    experiment = seq.LongSamples(image_fleet, "digits", (0, 1), 6, 30, 3)
    far, wide = kept(experiment)
    judge = Judges("digits", (0, 1))
    x = seq.drawn(image_fleet["K=2"], 6, (2, 30, 64), 3)
    torch.testing.assert_close(far["K=2"], judge.distance(x))
    pixels = torch.stack(judge.train)
    assert wide["K=2"] == pytest.approx(float((x.var(1).mean(1) / pixels.var(1).mean(1)).mean()), rel=1e-5)
    again, spread = seq.judged(judge, {6: x})
    assert torch.equal(again[6], far["K=2"]) and spread[6] == pytest.approx(wide["K=2"])
    assert list(far) == ["plain", "K=2"] and torch.equal(kept(experiment)[0]["plain"], far["plain"])


def test_gaps_of_images_are_kept_as_they_are_measured(image_fleet):
    found = kept(seq.ImageGaps(image_fleet, "digits", (0, 1), 3, 2, 1))
    x0 = torch.stack([image_split("digits", split)[0].x for split in (0, 1)])
    expected = seq.batch_gaps(image_fleet, x0, 3, 2, 1)
    for name in ("plain", "K=2"):
        for ours, theirs in zip(found[name], expected[name]):
            torch.testing.assert_close(ours, theirs)


def test_samples_with_a_variance_share_their_noise():
    chain = Chain.linear(100, 1e-3, 0.2)
    base, calls = Exact(LAW, chain), []

    def none(x, t, s):
        calls.append(x.shape)
        return torch.zeros_like(x)

    x = seq.drawn(base, 5, (50, 1), 2, none)
    start = torch.Generator().manual_seed(7)
    times = grid(chain, 5, "skip")
    given = prior(chain, (50, 1), start, int(times[0]))
    torch.testing.assert_close(x, ddpm(base, given, times, start, torch.zeros(5)))
    assert set(calls) == {(50, 1)}


@pytest.mark.parametrize("target", ["eps", "v"])
def test_answers_that_were_heard_give_the_gap_of_asking_again(target):
    net = Learned(MLP(2, width=8, depth=1, seed=(0, 1)).double(), SMALL, target)
    found, path = seq.gap_from(net, noise(2, 7, 2), 9, 1)
    again = gap(net, path, torch.arange(9, 0, -1), noise(2, 7, 2))
    for ours, theirs in zip(found, again):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_timing_trains():
    net = MLP(1, width=4, depth=1, seed=0)
    before = [p.clone() for p in net.parameters()]
    assert seq.seconds_a_step(net, two_modes(1.0, 0.2), Setting("eps", SMALL), 8, 2) > 0
    assert not any(torch.equal(a, b) for a, b in zip(before, net.parameters()))


def test_a_recalled_denoiser_is_asked_once_for_each_step_and_changes_no_sample():
    calls = []

    class Counted(Denoiser):
        target, schedule = "eps", Chain.linear(20)

        def predict(self, x, t):
            calls.append(t)
            return torch.sin(x) * (0.1 * torch.as_tensor(t, dtype=x.dtype)).reshape(-1, 1)

    chain, base = Counted.schedule, Counted()
    kept = seq.Recalled(base)
    made = {}
    for name, one in (("once", kept), ("twice", base)):
        calls.clear()
        variance = predicted_variance(chain, lambda x, t: torch.full_like(x, 2.0), one)
        made[name] = seq.antithetic(one, 4, (1, 6), 0, variance), len(calls)
    torch.testing.assert_close(made["once"][0], made["twice"][0], rtol=1e-5, atol=1e-6)  # samples are float32
    assert (made["once"][1], made["twice"][1]) == (8, 14)  # of two halves; the last of four steps has no noise
    x = torch.tensor([[0.5], [1.0]], dtype=DOUBLE)
    first = kept.predict(x, 3)
    assert not torch.equal(kept.predict(x, 9), first)  # another time
    assert not torch.equal(kept.predict(-x, 9), kept.predict(x, 9))  # other states
    assert torch.equal(kept.predict(x, torch.tensor([3, 9])), base.predict(x, torch.tensor([3, 9])))


def test_the_residual_is_the_error_of_the_exact_predictor():
    chain, law = Chain.linear(100), two_modes(1.0, 0.2).to(dtype=DOUBLE)
    generator, best = torch.Generator().manual_seed(0), Exact(law, chain)
    x0 = law.sample(20_000, generator)
    noise = torch.randn(x0.shape, generator=generator, dtype=DOUBLE)
    errors = []
    for t in torch.linspace(1, 100, 40).round().tolist():
        alpha, sigma = (float(level) for level in chain(int(t)))
        errors.append(float((best.eps(alpha * x0 + sigma * noise, int(t)) - noise).square().mean()))
    assert seq.residual(law, chain) == pytest.approx(sum(errors) / 40, rel=0.03)


# --- exercises --------------------------------------------------------------------------------------------------------


def test_checkers_accept_right_answers_and_refuse_wrong_ones():
    seq.check_weights(lambda chain: chain.tau[2:])
    seq.check_inflation(lambda K, weight: 1 + shrinkage(Window(K, weight)))
    with pytest.raises(AssertionError, match="there are 4"):
        seq.check_weights(lambda chain: chain.tau)
    with pytest.raises(AssertionError, match="tau_2"):
        seq.check_weights(lambda chain: -chain.tau[2:])
    assert seq.refuses(seq.check_inflation, lambda K, weight: 1 + weight)
    assert not seq.refuses(seq.check_weights, lambda chain: chain.tau[2:])


# --- bad input --------------------------------------------------------------------------------------------------------

F, X0 = (lambda x, t: x), torch.zeros(3, 1)
PATH, EXACT = torch.zeros(3, 4, 1), Exact(GaussianMixture([0.0], 1.0), SMALL)


@pytest.mark.parametrize("call, error, word", [
    (lambda: gap(EXACT, PATH, [3, 2], X0), ValueError, "path has shape"),
    (lambda: gap(EXACT, PATH, [1, 2, 3], PATH[0]), ValueError, "decreasing"),
    (lambda: bounds(torch.zeros(2, 3, 1), SMALL, 2), ValueError, "errors has shape"),
    (lambda: gaussian_minimiser(SMALL, 0.0, Window(2)), ValueError, "std = 0.0"),
    (lambda: sampled_variance(SMALL, torch.zeros(3), grid(SMALL, 3)), ValueError, "c has shape"),
    (lambda: Scaled(EXACT, -1.0, 1.0), ValueError, "kappa = -1.0"),
    (lambda: Scaled(EXACT, 1.0, 0.0), ValueError, "std = 0.0"),
    (lambda: Shaped(EXACT, -1.0, torch.eye(1)), ValueError, "kappa = -1.0"),
    (lambda: Shaped(EXACT, 1.0, torch.ones(1)), ValueError, r"covariance has shape \(1,\)"),
    (lambda: Shaped(EXACT, 1.0, torch.tensor([[1.0, 2.0], [0.0, 1.0]])), ValueError, "not finite and symmetric"),
    (lambda: Shaped(EXACT, 1.0, torch.tensor([[-1.0]])), ValueError, "eigenvalue -1; allowed: none below zero"),
    (lambda: population_minimiser(Exact(GaussianMixture([[0.0, 0.0]], 1.0), SMALL), [0.3], torch.tensor([1])),
     ValueError, "on the line"),
    (lambda: population_minimiser(EXACT, [0.3, -0.1], torch.tensor([1])), ValueError, "kappas"),
    (lambda: population_minimiser(EXACT, [0.3], torch.tensor([2]))[0].eps(X0, 3), ValueError, "t = 3"),
    (lambda: wasserstein1_to(X0, LAW, torch.zeros(3)), ValueError, r"quantiles has shape \(3,\)"),
    (lambda: seq.random_errors("odd", SMALL, 2, None), ValueError, "kind = 'odd'"),
    (lambda: seq.antithetic(EXACT, 3, (2, 5), 0), ValueError, "an even number"),
    (lambda: seq.worst_cases(SMALL, 0), ValueError, "K = 0"),
    (lambda: seq.needed_inflation(SMALL, 1), ValueError, "steps = 1"),
    (lambda: seq.batch_gaps({"exact": EXACT}, PATH, 3, 1, 0), ValueError, "draws = 1"),
    (lambda: seq.seconds_a_step(None, LAW, None, 8, 0), ValueError, "steps = 0"),
])  # fmt: skip
def test_bad_input_is_named(call, error, word):
    with pytest.raises(error, match=word):
        call()
