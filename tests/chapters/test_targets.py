"""The bound, term by term, against closed forms, torch.distributions, sampled paths and numerical minimisation."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from torch.distributions import Independent, Normal, kl_divergence

from diffnotes import (
    TARGETS,
    Chain,
    Condition,
    Dense,
    Exact,
    Fleet,
    Images,
    Learned,
    Linear,
    Run,
    Setting,
    convert,
    ddim,
    grid,
    two_modes,
)
from diffnotes.chapters import targets
from diffnotes.chapters.targets import (
    VARIANCES,
    Elbo,
    MeanTarget,
    agreement,
    amplification,
    bound,
    bound_along_paths,
    bound_of_law,
    bounds_of_excess,
    distances,
    held_out_error,
    increment_gradient,
    levels_of_log_snr,
    log_gap,
    mean_shape,
    misprint,
    noise_to_signal,
    posterior_deviation,
    reverse_variance,
    step_weight,
    stretched_chain,
    tilt,
)
from diffnotes.core.data import image_split
from diffnotes.core.law import GaussianMixture
from diffnotes.measure.distance import wasserstein1_to
from diffnotes.measure.information import GAUSSIAN_ENTROPY, entropy, expectation_nodes, mmse
from diffnotes.measure.interval import Interval
from diffnotes.model.store import rounded, text_of


def mixture(means, std, weights=None):
    return GaussianMixture(means, std, weights).to(dtype=torch.float64)


TWO = mixture([-1.0, 1.0], 0.3)
UNIT = mixture([0.0], 1.0)
CHAINS = [Chain.linear(1000), Chain.linear(10), Chain.cosine(1000), Chain.cosine(7), Chain.from_betas([0.4, 0.7])]

mixtures = st.builds(
    lambda parts: mixture(*(list(column) for column in zip(*parts))),
    st.lists(st.tuples(st.floats(-2, 2), st.floats(0.1, 1.5), st.floats(0.1, 1)), min_size=1, max_size=3),
)
chains = st.builds(Chain.from_betas, st.lists(st.floats(1e-4, 0.999), min_size=1, max_size=10))


def least_error(law, chain):
    """e_t of the best predictor, e_0 = 0."""
    return torch.cat([torch.zeros(1, dtype=torch.float64), mmse(law, *chain(torch.arange(1, chain.T + 1)))])


def second_moment(law):
    x, w = expectation_nodes(law)
    return float(w @ x**2)


# --- the bound as a whole --------------------------------------------------------------------------------------


@pytest.mark.parametrize("chain", [*CHAINS, *(Chain.linear(T) for T in (1, 2, 100))], ids=repr)
def test_gaussian_data_with_optimal_variance_make_the_bound_tight(chain):
    """For N(0, 1) the reverse chain is Gaussian, so the bound *is* the entropy, whatever the chain."""
    elbo = bound_of_law(UNIT, chain, "optimal")
    assert elbo.total == pytest.approx(GAUSSIAN_ENTROPY, abs=1e-12)
    if chain.T > 1:
        assert bound_of_law(UNIT, chain, "beta_tilde").total > GAUSSIAN_ENTROPY + 1e-4


@pytest.mark.parametrize("dim", [2, 5])
def test_independent_dimensions_add(dim):
    """d independent unit Gaussians cost d times as much."""
    chain = Chain.linear(50)
    error = least_error(UNIT, chain)
    for variance in VARIANCES:
        one, many = (bound(chain, k * error, float(k), variance, dim=k) for k in (1, dim))
        assert many.reconstruction == pytest.approx(dim * one.reconstruction, rel=1e-12, abs=0)
        assert many.prior == pytest.approx(dim * one.prior, abs=1e-14)
        torch.testing.assert_close(many.denoising, dim * one.denoising, rtol=1e-12, atol=1e-15)


@given(mixtures, chains)
@settings(max_examples=40)
def test_bound_exceeds_the_entropy(law, chain):
    """A bound is a bound: for every law, chain and reverse variance; and the optimal variance is the tightest."""
    totals = {variance: bound_of_law(law, chain, variance).total for variance in VARIANCES}
    assert min(totals.values()) >= entropy(law) - 1e-10
    assert totals["optimal"] <= min(totals.values()) + 1e-12
    # Any other predictor, here the constant 0, gives a looser bound still.
    worse = torch.full((chain.T + 1,), second_moment(law), dtype=torch.float64)
    assert bound(chain, worse, second_moment(law), "optimal").total >= totals["optimal"] - 1e-12


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("betas", [[0.3, 0.5, 0.9], [0.05, 0.1, 0.2, 0.4, 0.6, 0.8]], ids=["T=3", "T=6"])
def test_terms_add_up_to_the_joint_bound(betas, variance):
    """E[log q(x_1..T | x_0) - log p(x_0..T)] over sampled paths, from torch.distributions alone."""
    chain = Chain.from_betas(betas)
    width = reverse_variance(chain, variance, least_error(TWO, chain))
    generator = torch.Generator().manual_seed(7)
    n = 100_000
    x = x0 = TWO.sample(n, generator)
    value = torch.zeros(n, 1, dtype=torch.float64)
    for t in range(1, chain.T + 1):
        before, step = x, Normal(chain.alpha[t].sqrt() * x, chain.beta[t].sqrt())
        x = step.mean + step.stddev * torch.randn(x.shape, generator=generator, dtype=torch.float64)
        guess = TWO.posterior_mean(x, *chain(t))
        model = Normal(chain.gamma1[t] * guess + chain.gamma2[t] * x, width[t].sqrt())
        value += step.log_prob(x) - model.log_prob(before)
    value -= Normal(0.0, 1.0).log_prob(x)
    expected = bound_of_law(TWO, chain, variance).total
    error = float(value.std()) / math.sqrt(n)
    assert abs(float(value.mean()) - expected) < 4 * error
    assert error < 0.006
    # The package's own sum along paths, on the same numbers of the generator.
    paths = bound_along_paths(Exact(TWO, chain), chain, x0, width, torch.Generator().manual_seed(8))
    error = float(paths.std()) / math.sqrt(n)
    assert paths.shape == (n,) and abs(float(paths.mean()) - expected) < 4 * error


def test_terms_add_up_for_a_wrong_predictor_too():
    """The sum holds for any predictor, not for the best one alone: here x_0 is guessed as x_t / 2, in 2-D."""
    chain = Chain.from_betas([0.2, 0.4, 0.6])
    n = 100_000
    x0 = torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    guess = Learned(lambda x, t: x / 2, chain, "x0")
    alpha, sigma = chain(torch.arange(4))
    # x_0 - x_t/2 = (1 - alpha/2) x_0 - sigma/2 eps
    error = 2 * ((1 - alpha / 2) ** 2 + sigma**2 / 4)
    for variance in ("beta", "beta_tilde"):
        paths = bound_along_paths(guess, chain, x0, variance, torch.Generator().manual_seed(1))
        expected = bound(chain, error, 2.0, variance, dim=2).total
        assert abs(float(paths.mean()) - expected) < 4 * float(paths.std()) / math.sqrt(n)
        assert float(paths.std()) / math.sqrt(n) < 0.02


def test_the_gap_is_the_divergence_of_the_paths():
    """For Gaussian data of any variance the model's marginal is Gaussian, so its exact likelihood is known."""
    law, chain = mixture([0.0], 0.5), Chain.linear(20, 0.01, 0.3)
    width = reverse_variance(chain, "beta")
    variance = 1.0  # of the model's x_t, from p(x_T) = N(0, 1) downwards
    for t in range(chain.T, 0, -1):
        alpha, sigma = (float(level) for level in chain(t))
        slope = float(chain.gamma1[t]) * alpha * 0.25 / (alpha**2 * 0.25 + sigma**2) + float(chain.gamma2[t])
        variance = slope**2 * variance + float(width[t])
    likelihood = 0.5 * (math.log(2 * math.pi * variance) + 0.25 / variance)
    assert entropy(law) <= likelihood <= bound_of_law(law, chain, "beta").total


# --- the terms -------------------------------------------------------------------------------------------------


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.01, 5), st.floats(0.01, 5), st.integers(1, 4))
def test_equal_variance_kl_is_a_scaled_distance(m1, m2, s1, s2, dim):
    """KL = |difference of means|^2/(2 s^2) at equal variance; d/2 (r - 1 - log r) more at the ratio r."""

    def law(mean, std):
        mean, std = (torch.full((dim,), value, dtype=torch.float64) for value in (mean, std))
        return Independent(Normal(mean, std), 1)

    distance = dim * (m1 - m2) ** 2 / (2 * s2**2)
    assert float(kl_divergence(law(m1, s2), law(m2, s2))) == pytest.approx(distance, rel=1e-12, abs=1e-14)
    r = (s1 / s2) ** 2
    full = distance + 0.5 * dim * (r - 1 - math.log(r))
    assert float(kl_divergence(law(m1, s1), law(m2, s2))) == pytest.approx(full, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("variance", VARIANCES)
def test_denoising_terms_are_expected_divergences(variance):
    """denoising_t = E KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)), sampled, by torch.distributions."""
    chain = Chain.from_betas([0.1, 0.3, 0.2, 0.6])
    elbo, width = bound_of_law(TWO, chain, variance), reverse_variance(chain, variance, least_error(TWO, chain))
    generator = torch.Generator().manual_seed(3)
    for t in (2, 3, 4):
        x0 = TWO.sample(200_000, generator)
        alpha, sigma = chain(t)
        x_t = alpha * x0 + sigma * torch.randn(x0.shape, generator=generator, dtype=torch.float64)
        guesses = (x0, TWO.posterior_mean(x_t, alpha, sigma))
        means = (chain.gamma1[t] * guess + chain.gamma2[t] * x_t for guess in guesses)
        posterior, model = (Normal(m, s.sqrt()) for m, s in zip(means, (chain.beta_tilde[t], width[t])))
        terms = kl_divergence(posterior, model)
        error = float(terms.std()) / math.sqrt(len(terms))
        assert abs(float(terms.mean()) - float(elbo.denoising[t])) < 4 * error
        assert error < 0.01 * float(terms.mean())


@pytest.mark.parametrize("variance", VARIANCES)
def test_reconstruction_term_by_double_quadrature(variance):
    """E[-log p(x_0 | x_1)], with the log density written out and both integrals done by the rule or by scipy."""
    chain = Chain.from_betas([0.2, 0.5])
    width = float(reverse_variance(chain, variance, least_error(TWO, chain))[1])
    alpha, sigma = (float(level) for level in chain(1))
    x0, p0 = expectation_nodes(TWO)

    def inner(z):
        guess = TWO.posterior_mean((alpha * x0 + sigma * z)[:, None], alpha, sigma)[:, 0]
        minus_log = 0.5 * math.log(2 * math.pi * width) + (x0 - guess) ** 2 / (2 * width)
        return float(p0 @ minus_log) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    value, _ = quad(inner, -9, 9, epsabs=1e-11)
    assert bound_of_law(TWO, chain, variance).reconstruction == pytest.approx(value, abs=1e-9)


@given(mixtures, chains)
@settings(max_examples=40)
def test_prior_term_closed_form(law, chain):
    """E KL(q(x_T | x_0) || N(0, I)) by torch.distributions at each node of x_0."""
    x, w = expectation_nodes(law)
    alpha, sigma = chain(chain.T)
    expected = float(w @ kl_divergence(Normal(alpha * x, sigma), Normal(torch.zeros_like(x), 1.0)))
    assert bound_of_law(law, chain).prior == pytest.approx(expected, rel=1e-9, abs=1e-13)


def test_prior_term_keeps_its_digits_when_the_signal_is_gone():
    """abar E x^2/2 + abar^2/4 + ...: of the order of 1e-9, not the rounding of a sum of ones."""
    chain = Chain.from_betas([0.999, 0.999, 0.999])
    signal = 1e-9
    expected = 0.5 * signal * second_moment(TWO) + signal**2 / 4
    assert bound_of_law(TWO, chain).prior == pytest.approx(expected, rel=1e-6, abs=0)


def test_variances_by_name():
    chain = Chain.linear(20)
    error = least_error(TWO, chain)
    assert torch.equal(reverse_variance(chain, "beta"), chain.beta)
    tilde = reverse_variance(chain, "beta_tilde")
    assert torch.equal(tilde[2:], chain.beta_tilde[2:]) and tilde[1] == chain.beta[1]
    optimal = reverse_variance(chain, "optimal", error)
    # beta is right for Gaussian data of unit variance, beta_tilde for a single point.
    gaussian = reverse_variance(chain, "optimal", least_error(UNIT, chain))
    torch.testing.assert_close(gaussian[1:], chain.beta[1:], rtol=1e-9, atol=0)
    assert (optimal[2:] > chain.beta_tilde[2:]).all()
    torch.testing.assert_close(reverse_variance(chain, "optimal", 0 * error), chain.beta_tilde, rtol=0, atol=0)
    kept = reverse_variance(chain, "beta")
    kept[1] = 7.0
    assert chain.beta[1] < 1  # a copy, not the chain's own array


@pytest.mark.parametrize("chain", [Chain.linear(12), Chain.cosine(12)], ids=repr)
def test_optimal_variance_minimises_each_term(chain):
    """Minimise KL and reconstruction over s^2 numerically, term by term."""
    error = least_error(TWO, chain)
    optimal = reverse_variance(chain, "optimal", error)
    elbo = bound_of_law(TWO, chain, "optimal")
    for t in range(1, chain.T + 1):
        tilde, energy = float(chain.beta_tilde[t]), float(chain.gamma1[t] ** 2 * error[t])

        def term(log_s2, t=t, tilde=tilde, energy=energy):
            s2 = math.exp(log_s2)
            if t == 1:
                return 0.5 * math.log(2 * math.pi * s2) + energy / (2 * s2)
            return 0.5 * (tilde / s2 - 1 - math.log(tilde / s2)) + energy / (2 * s2)

        best = minimize_scalar(term, bounds=(math.log(1e-7), math.log(5.0)), method="bounded", options={"xatol": 1e-9})
        assert best.x == pytest.approx(math.log(float(optimal[t])), abs=1e-6)
        value = elbo.reconstruction if t == 1 else float(elbo.denoising[t])
        assert value == pytest.approx(best.fun, abs=1e-12)


@pytest.mark.parametrize("chain", CHAINS, ids=repr)
def test_step_weights_are_snr_differences(chain):
    """beta_tilde: (SNR_{t-1} - SNR_t)/2 on |d x0|^2, and the same term through every target."""
    weight = step_weight(chain)
    snr = chain.snr(torch.arange(chain.T + 1))
    assert (weight[:2] == 0).all() and weight.shape == (chain.T + 1,)
    torch.testing.assert_close(weight[2:], (snr[1:-1] - snr[2:]) / 2, rtol=1e-9, atol=0)
    # A finite change of the predictor: the same number of nats whatever it is written in.
    alpha, sigma = chain(torch.arange(2, chain.T + 1))
    zero = torch.zeros(chain.T - 1, 1, dtype=torch.float64)
    x_t = zero + 0.4
    for variance in ("beta", "beta_tilde"):
        nats = step_weight(chain, "x0", variance)[2:] * 0.09
        for target in TARGETS:
            moved = [convert(x0, x_t, alpha, sigma, "x0", target) for x0 in (zero, zero + 0.3)]
            change = (moved[1] - moved[0])[:, 0].square()
            torch.testing.assert_close(step_weight(chain, target, variance)[2:] * change, nats, rtol=1e-7, atol=0)


def test_weights_times_errors_are_the_denoising_terms():
    """With beta_tilde the terms are the weight times the mmse and nothing else."""
    chain = Chain.linear(100)
    torch.testing.assert_close(
        bound_of_law(TWO, chain).denoising, step_weight(chain) * least_error(TWO, chain), rtol=1e-9, atol=1e-15
    )


def test_denoising_sum_tends_to_the_integral_of_the_mmse():
    """T -> infinity: the sum is 1/2 int mmse dSNR, first order in 1/T (Kingma et al. 2021)."""
    gaps = []
    for T in (250, 500, 1000):
        betas = 0.1 / T + 19.9 * (torch.arange(1, T + 1, dtype=torch.float64) - 0.5) / T**2
        chain = Chain.from_betas(betas)
        t = torch.arange(T // 10, T + 1)
        snr, error = chain.snr(t), mmse(TWO, *chain(t))
        steps = snr[:-1] - snr[1:]
        integral = float(steps @ (error[1:] + error[:-1])) / 4  # trapezoidal, second order
        gaps.append(float(step_weight(chain)[t[1:]] @ error[1:]) - integral)
    assert 0 < gaps[-1] < 0.04
    for a, b in itertools.pairwise(gaps):
        assert a / b == pytest.approx(2, abs=0.05)


# --- figures known from elsewhere ------------------------------------------------------------------------------

KNOWN = [  # std, chain, reconstruction, prior, denoising by beta_tilde and by beta, gap to the entropy by both
    (0.3, Chain.linear(1000), -3.187, 2.2e-5, 4.545, 4.098, 0.451, 0.004),
    (0.3, Chain.linear(100, 1e-3, 0.2), -2.040, 1.1e-5, 4.133, 2.986, 1.186, 0.039),
    (0.3, Chain.from_betas(torch.linspace(0.01, 2, 10).clamp(max=0.999)), -0.928, 0.0, 9.37, 2.19, 7.54, 0.36),
    (0.3, Chain.cosine(1000), -3.629, 1.3e-9, 4.935, 4.538, 0.400, 0.0021),
    (0.05, Chain.linear(1000), -3.205, 2.0e-5, 2.640, 2.367, 0.318, 0.046),
]


@pytest.mark.parametrize("std, chain, reconstruction, prior, tilde, beta, gap_tilde, gap_beta", KNOWN)
def test_known_values(std, chain, reconstruction, prior, tilde, beta, gap_tilde, gap_beta):
    """Figures computed once, elsewhere, by other code, to the digits they were written down with."""
    law = mixture([-1.0, 1.0], std)
    for variance, denoising, gap in (("beta_tilde", tilde, gap_tilde), ("beta", beta, gap_beta)):
        elbo = bound_of_law(law, chain, variance)
        assert elbo.reconstruction == pytest.approx(reconstruction, abs=6e-4)
        assert elbo.prior == pytest.approx(prior, rel=0.03, abs=1e-12)
        assert float(elbo.denoising.sum()) == pytest.approx(denoising, abs=6e-4 if chain.T > 10 else 6e-3)
        assert elbo.total - entropy(law) == pytest.approx(gap, abs=6e-4 if chain.T > 10 else 6e-3)
    if chain.T == 1000 and std == 0.3 and prior > 1e-6:
        assert entropy(law) == pytest.approx(0.907, abs=5e-4)
        eps = step_weight(chain, "eps")
        for t, weight in {2: 0.60, 10: 0.086, 100: 0.010, 500: 0.0055, 1000: 0.010}.items():
            assert float(eps[t]) == pytest.approx(weight, rel=0.06, abs=0)


# --- bad input and the container -------------------------------------------------------------------------------


def test_total_is_the_sum_of_the_terms():
    elbo = Elbo(1.0, 0.5, torch.tensor([0.0, 0.0, 2.0, 3.0], dtype=torch.float64))
    assert elbo.total == 6.5


@pytest.mark.parametrize("call, message", [
    (lambda c: reverse_variance(c, "optimal"), "variance = 'optimal'; allowed: beta, beta_tilde, or optimal with"),
    (lambda c: reverse_variance(c, "gamma"), "variance = 'gamma'; allowed"),
    (lambda c: bound_of_law(TWO, c, "gamma"), "variance = 'gamma'; allowed"),
    (lambda c: step_weight(c, "x0", "optimal"), "variance = 'optimal'; allowed"),
    (lambda c: step_weight(c, "noise"), "target = 'noise' is unknown"),
    (lambda c: bound(c, torch.zeros(3), 1.0), r"error has shape \(3,\).*allowed: 6 finite numbers >= 0"),
    (lambda c: bound(c, -torch.ones(6), 1.0), "minimum -1; allowed: 6 finite numbers >= 0"),
    (lambda c: bound(c, torch.full((6,), math.nan), 1.0), "allowed: 6 finite numbers >= 0"),
    (lambda c: bound_of_law(GaussianMixture(torch.zeros(1, 2), 1.0), c), "law has dimension 2; allowed: 1"),
])  # fmt: skip
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call(Chain.linear(5))


def test_bounds_of_excess_add_to_the_best_bound():
    law, chain = GaussianMixture([-1.0, 1.0], 0.3), Chain.linear(20, 1e-3, 0.3)
    excess = torch.rand(2, 3, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = bounds_of_excess(law, chain, excess) - bound_of_law(law, chain).total
    weight = step_weight(chain)[1:].clone()
    weight[0] = 1 / (2 * chain.beta[1])
    torch.testing.assert_close(found, excess @ weight, rtol=1e-10, atol=1e-10)


def test_the_bound_of_a_law_with_a_point():
    """Limit of a narrow component; the reference value is from adaptive quadrature of each step's error."""
    law, chain = GaussianMixture([0.0, 3.0], [0.0, 1.0]), Chain.linear(10)
    assert bound_of_law(law, chain).total == pytest.approx(6.72662, abs=5e-6)
    for variance in ("beta", "beta_tilde", "optimal"):
        found = bound_of_law(law, chain, variance)
        narrow = bound_of_law(GaussianMixture([0.0, 3.0], [1e-6, 1.0]), chain, variance)
        assert found.total == pytest.approx(narrow.total, rel=1e-7)
        assert found.denoising.tolist() == pytest.approx(narrow.denoising.tolist(), rel=1e-6, abs=1e-12)
    points = bound_of_law(GaussianMixture([-1.0, 1.0], 0.0), Chain.linear(200, 1e-4, 0.1), "optimal")
    assert points.reconstruction == points.total == -math.inf and bool(points.denoising.isfinite().all())
    excess = torch.zeros(10, dtype=torch.float64)
    assert float(bounds_of_excess(law, chain, excess)) == pytest.approx(bound_of_law(law, chain).total, rel=1e-12)


def test_numbers_of_any_kind_and_dtype_are_numbers():
    chain, law = Chain.linear(6), GaussianMixture([-1.0, 1.0], 0.3)
    error = torch.linspace(0, 0.6, 7, dtype=torch.float64)
    given = error.flip(0).numpy().astype(">f8")[::-1]
    given.flags.writeable = False
    for variance in ("beta", "beta_tilde", "optimal"):
        found = bound(chain, given, np.float64(1), variance, np.int64(2))
        assert found.total == bound(chain, error, 1.0, variance, 2).total
    assert torch.equal(bounds_of_excess(law, chain, given[1:]), bounds_of_excess(law, chain, error[1:]))
    exact = Exact(law, chain)
    for dtype in (torch.float16, torch.bfloat16):
        x = law.sample(20, 0).to(dtype)
        wide = bound_along_paths(exact, chain, x.double(), "beta", torch.Generator().manual_seed(1))
        assert torch.equal(bound_along_paths(exact, chain, x, "beta", torch.Generator().manual_seed(1)), wide.to(dtype))
    found = bound_along_paths(exact, chain, x.double().numpy(), chain.beta.numpy(), np.int64(1))
    assert torch.equal(found, wide)
    assert bound_along_paths(exact, chain, torch.empty(0, 1), "beta", 1).shape == (0,)


# --- the posterior, the mean and the table ---------------------------------------------------------------------


@pytest.mark.parametrize("chain", [Chain.linear(1000), Chain.cosine(50)], ids=repr)
def test_the_posterior_is_the_product_of_the_densities(chain):
    assert max(posterior_deviation(chain, t) for t in (2, 10, chain.T // 2, chain.T - 1)) < 1e-9


@pytest.mark.parametrize("name, factor", [("gamma1", 1.01), ("gamma2", 1.01), ("beta_tilde", 1.1)])
def test_a_wrong_posterior_is_seen(name, factor):
    chain = Chain.linear(100)
    getattr(chain, name)[50] *= factor
    assert posterior_deviation(chain, 50) > 1e-3
    assert posterior_deviation(chain, 51) < 1e-9


def test_the_mean_as_a_target_is_that_of_the_chain():
    """On the chain of the schedule's own levels, mu_q = gamma1 x_0 + gamma2 x_t, written in x_0 and eps."""
    linear = Linear()
    chain = Chain.from_schedule(linear, 1000)
    t = torch.tensor([1, 2, 30, 500, 1000])
    alpha, sigma = chain(t)
    a, b = MeanTarget(linear, 1 / 1000)(alpha, sigma)
    torch.testing.assert_close(a, chain.gamma1[t] + chain.gamma2[t] * alpha, rtol=1e-9, atol=0)
    torch.testing.assert_close(b, chain.gamma2[t] * sigma, rtol=1e-9, atol=1e-12)
    assert MeanTarget(linear) == MeanTarget(Linear())
    assert text_of(MeanTarget(linear)) != text_of(MeanTarget(linear, 0.1))


def test_the_shape_of_the_mean_by_sampling():
    """Its second moment, and what least squares on x_t leave of it."""
    chain = Chain.linear(30, 1e-3, 0.3)
    energy, unknown = mean_shape(chain)
    assert energy.shape == unknown.shape == (29,)
    x0, eps = torch.randn(2, 400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for t in (2, 12, 30):
        alpha, sigma = chain(t)
        x_t = alpha * x0 + sigma * eps
        mean = chain.gamma1[t] * x0 + chain.gamma2[t] * x_t
        left = mean - (mean @ x_t) / (x_t @ x_t) * x_t
        assert float(mean.square().mean()) == pytest.approx(float(energy[t - 2]), rel=0.01)
        assert float(left.square().mean() / mean.square().mean()) == pytest.approx(float(unknown[t - 2]), rel=0.01)


def test_targets_agree_on_the_mean_and_a_wrong_conversion_is_seen(monkeypatch):
    chain = Chain.linear(1000)
    found = agreement(chain, (2, 500, 999), 0)
    assert found.means < 1e-12 and found.factors < 1e-12
    for name in ("eps", "v", "score"):
        with monkeypatch.context() as patch:
            patch.setattr(targets, "convert", lambda value, *a, to=name: convert(value, *a) * (1 + (a[-1] == to) / 100))
            wrong = agreement(chain, (500,), 0)
        assert wrong.means > 1e-6 and wrong.factors > 1e-4


def test_levels_of_log_snr():
    log_snr = torch.tensor([-30.0, -2.0, 0.0, 5.0, 30.0], dtype=torch.float64)
    alpha, sigma = levels_of_log_snr(log_snr)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha), rtol=1e-14, atol=0)
    torch.testing.assert_close(2 * (alpha / sigma).log(), log_snr, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("target", TARGETS)
def test_amplification_is_a_change_of_the_converted_prediction(target):
    """One unit of error, of the size of 1/sigma for the score, goes through the conversion."""
    log_snr = torch.tensor([-6.0, -1.0, 0.0, 4.0], dtype=torch.float64)
    alpha, sigma = levels_of_log_snr(log_snr)
    x_t = torch.full((4, 1), 0.3, dtype=torch.float64)
    error = (1 / sigma if target == "score" else torch.ones(4, dtype=torch.float64))[:, None]
    for to, found in zip(("x0", "eps"), amplification(log_snr)[target]):
        changes = [convert(value, x_t, alpha, sigma, target, to) for value in (0 * error, error)]
        torch.testing.assert_close((changes[1] - changes[0]).abs()[:, 0], found, rtol=1e-9, atol=0)


def test_misprint_leaves_what_its_inversion_leaves():
    chain = Chain.linear(100)
    left, variance = misprint(chain)
    for t in (1, 40, 100):
        alpha, sigma, root = float(chain(t)[0]), float(chain(t)[1]), math.sqrt(1 - float(chain.beta[t]))
        by_noise, by_data = ((alpha * x0 + sigma * eps, root * eps - sigma * x0) for x0, eps in ((0, 1), (1, 0)))
        assert alpha * by_noise[0] - sigma * by_noise[1] == pytest.approx(float(left[t - 1]), abs=1e-12)
        assert by_noise[1] ** 2 + by_data[1] ** 2 == pytest.approx(float(variance[t - 1]), rel=1e-12)


# --- trained networks ------------------------------------------------------------------------------------------


class Constant:
    """Two networks that answer with a number each."""

    members = 2

    def __init__(self, *values):
        self.values = torch.tensor(values)

    def __call__(self, x, t):
        return self.values.to(x)[:, None, None].expand_as(x).clone()


def test_distances_of_samples_that_are_known():
    """With eps = 0 DDIM multiplies by alpha_s/alpha_t, from the first time to the last."""
    linear, start = Linear(), torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    found, drawn = distances(Learned(Constant(0.0, 0.0), linear, "eps"), start, grid(linear, 20),
                             lambda one: one.abs().max())
    ratio = float(linear(1e-3)[0] / linear(1.0)[0])
    torch.testing.assert_close(drawn, ratio * start.double(), rtol=1e-4, atol=0)
    torch.testing.assert_close(found, ratio * start.abs().amax((1, 2)), rtol=1e-4, atol=0)
    with pytest.raises(ValueError, match=r"start has shape \(5, 3\); allowed: \(2, n, d\)"):
        distances(Learned(Constant(0.0, 0.0), linear, "eps"), start[0], grid(linear, 2), torch.sum)


def test_held_out_error_of_constants():
    """A guess c of x_0 has the error |x_0 - c|^2, at every level."""
    clean, noise = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.ones(2, 2)
    two = Learned(Constant(0.0, 1.0), Linear(), "x0")
    found = held_out_error(two, clean, noise, torch.tensor([0.2, 0.7]))
    assert found.dtype == torch.float64 and found.tolist() == [[2.5, 2.5], [1.5, 1.5]]
    of_eps = Learned(Constant(0.0, 0.0), Linear(), "eps")  # x_0 is read as x_t/alpha
    seen = held_out_error(of_eps, clean, noise, torch.tensor([0.5]))
    alpha, sigma = (float(level) for level in Linear()(0.5))
    expected = torch.full((2, 1), 2 * (sigma / alpha) ** 2, dtype=torch.float64)
    torch.testing.assert_close(seen, expected, rtol=1e-5, atol=0)


def test_log_gap_and_tilt_of_known_ratios():
    champion = torch.rand(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1
    gap = log_gap(champion * math.exp(0.4), champion)
    assert gap.value == pytest.approx(0.4, rel=1e-12) and gap.high - gap.low < 1e-12
    log_snr = torch.tensor([3.0, 1.0, 0.0, -1.0, -2.0])
    errors = torch.tensor([[1.0, 1.0, 7.0, math.e, math.e**3], [2.0, 2.0, 7.0, 2.0, 2.0]], dtype=torch.float64)
    assert tilt(errors, log_snr).tolist() == pytest.approx([2.0, 0.0], rel=1e-6, abs=1e-12)


def test_a_seed_without_a_signal_is_infinitely_noisy():
    noise, signal = (torch.tensor(rows, dtype=torch.float64) for rows in (
        [[2.0, 4.0], [3.0, 4.0], [9.0, 4.0]], [[1.0, 0.0], [1.0, 2.0], [1.0, 0.0]]))
    assert noise_to_signal(noise, signal).tolist() == [3.0, math.inf]


def test_gradient_noise_is_that_of_the_networks_before_training():
    law, edges = TWO.to(dtype=torch.float32), torch.tensor([-2.0, 0.0, 2.0], dtype=torch.float64)
    settings = {"eps": Setting(), "v": Setting("v")}
    made = targets.GradientNoise(settings, law, Dense(1, 4, 1), Run(6, 16), edges, (3, 4))
    found = made.read(made.train().networks)
    assert made.blank()["gradients"].values.shape == (2, 2, 2, 2)
    for name, setting in settings.items():
        net = Dense(1, 4, 1).make(Condition("log_snr", Linear()), [3, 4])
        alone = targets.gradient_statistics(net, law, setting, Run(6, 16), edges)
        for one, other in zip(found[name], (alone.noise, alone.signal)):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def test_regret_forgets_the_level_and_keeps_the_cost_of_a_wrong_rate():
    flat, steep = (torch.tensor(rows).double()[:, None] for rows in ([7.0, 7.0, 7.0], [1.0, math.e, math.e]))
    assert float(targets.regret(flat)) == pytest.approx(0, abs=1e-12)
    assert [float(targets.regret(one)) for one in (steep, 50 * steep)] == pytest.approx([2 / 3, 2 / 3])
    assert targets.at_ceiling(flat) and not targets.at_ceiling(steep)


@pytest.mark.parametrize("effect, size", [((-0.3, -0.4, -0.2), (0.3, 0.2, 0.4)), ((0.1, -0.2, 0.4), (0.1, 0.0, 0.4)),
                                          ((0.3, 0.2, 0.4), (0.3, 0.2, 0.4))])
def test_the_size_of_an_effect(effect, size):
    assert tuple(targets.size_of(Interval(*effect))) == size


def test_samples_worse_than_zeros_count_as_zeros():
    far = targets.bounded_distance(lambda x: (x - 2).abs().mean())
    near, worse, broken = torch.full((3, 1), 1.5), torch.full((3, 1), 9.0), torch.tensor([[math.nan], [0.0], [0.0]])
    assert [far(x) for x in (near, worse, broken)] == [0.5, 2.0, 2.0]


def test_clipped_predictions_are_those_of_pixels():
    base = Exact(GaussianMixture([-3.0, 3.0], 0.1).to(dtype=torch.float64), Linear())
    x = torch.tensor([[-3.0], [0.1], [3.0]], dtype=torch.float64)
    assert targets.Clipped(base).x0(x, 0.05).flatten().tolist() == pytest.approx([-1, 1, 1], abs=1e-9)


def test_what_a_better_decoder_could_gain_depends_on_no_unit():
    """The divergence of the posterior from the decoder, by quadrature over x_0 and x_1."""
    law, chain = TWO.to(dtype=torch.float64), Chain.from_schedule(Linear(), 10)
    alpha, sigma = (float(level) for level in chain(1))
    x1 = torch.linspace(-9, 9, 1501, dtype=torch.float64)[:, None]
    x0 = torch.linspace(-6, 6, 2001, dtype=torch.float64)
    joint = law.log_prob(x0[:, None]) - (x1 - alpha * x0) ** 2 / (2 * sigma**2) - math.log(sigma * math.sqrt(math.tau))
    posterior = torch.softmax(joint, 1)
    mean, width = posterior @ x0, float(targets.reverse_variance(chain, "beta_tilde")[1])
    cross = 0.5 * math.log(math.tau * width) + (posterior * (x0 - mean[:, None]) ** 2).sum(1) / (2 * width)
    step = float(x0[1] - x0[0])
    entropy = -(posterior * (posterior / step).clamp(min=1e-300).log()).sum(1)
    weight = torch.softmax(torch.logsumexp(joint, 1), 0)
    assert targets.decoder_excess(law, chain) == pytest.approx(float(weight @ (cross - entropy)), rel=1e-3)


def test_the_bounds_weight_is_that_of_the_chain():
    chain = stretched_chain(3.0)
    levels = chain(torch.tensor([1, 2, 52, 101]))
    weight = targets.BoundWeight()(*levels, chain)
    assert weight.tolist() == pytest.approx(targets.step_weight(chain, "eps")[[1, 2, 52, 101]].tolist(), rel=1e-9)
    assert float(weight[2]) == pytest.approx(math.expm1(3.0) / 2, rel=1e-4)


def test_networks_on_another_schedule_are_the_same_function_of_the_level():
    chain, linear = stretched_chain(3.0), Linear()
    net = Dense(1, 4, 1).make(Condition("log_snr", chain), [0, 1])
    learned = Learned(net, chain, "eps")
    x, t = torch.randn(2, 5, 1, generator=torch.Generator().manual_seed(0)), 60
    moved = targets.on_schedule(learned, linear)
    there = float(linear.time_of_log_snr(chain.log_snr(t)))
    torch.testing.assert_close(moved.predict(x, there), learned.predict(x, t), rtol=1e-4, atol=1e-5)
    assert net.condition == Condition("log_snr", chain)  # the first one stays what it was
    with pytest.raises(ValueError, match="log SNR"):
        targets.on_schedule(Learned(Dense(1, 4, 1).make(Condition(), [0]), linear, "eps"), linear)


@pytest.mark.parametrize("increment", [0.001, 0.18, 6.0])
def test_the_stretched_chain_has_one_increment_of_that_size(increment):
    steps = -stretched_chain(increment).log_snr(torch.arange(1, 102)).diff()
    assert float(steps[50]) == pytest.approx(increment, rel=2e-5)  # from t = 51 to t = 52
    torch.testing.assert_close(steps[:50], torch.full((50,), (9 - increment / 2) / 50, dtype=torch.float64),
                               rtol=1e-4, atol=0)


def test_the_bounds_term_grows_with_the_increment():
    """Its weight in eps units is (exp(increment) - 1)/2."""
    net = Dense(1, 8, 2).make(Condition("log_snr", Linear()), [0, 1])
    for increment in (0.01, 0.18, 3.0):
        found = increment_gradient(net, TWO.to(dtype=torch.float32), Run(4, 64), increment, Linear())
        assert found["plain"].shape == (2,) and bool((found["plain"] > 0).all())
        torch.testing.assert_close(found["bound"], found["plain"] * math.expm1(increment) / 2, rtol=1e-4, atol=0)


@pytest.mark.parametrize("call, message", [
    (lambda: posterior_deviation(Chain.linear(5), 1), "t = 1"),
    (lambda: stretched_chain(0.0), "increment = 0.0; allowed: numbers between 0 and 18"),
])  # fmt: skip
def test_bad_input_of_the_measures_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_rate_sweep_is_its_fleets_trained_and_measured_one_by_one():
    law, linear = two_modes().to(dtype=torch.float64), Linear()
    fleet = Fleet({"eps": Setting(), "v": Setting("v")}, law, Dense(1, 4, 1), Run(5, 8), (0, 1))
    sweep = targets.RateSweep(fleet, (1e-3, 1e-2), law, samples=40, seed=3)
    found = sweep.read(sweep.train().networks)
    assert {name: values.shape for name, values in found.items()} == {"eps": (2, 2), "v": (2, 2)}
    assert sweep.blank()["distances"].values.shape == (2, 2, 2)
    slow = Fleet(fleet.arms, law, fleet.net, Run(5, 8, 1e-2), (0, 1))
    nets = slow.read({name: rounded(net) for name, net in slow.train().networks.items()})
    start = float(linear(1.0)[1]) * torch.special.ndtri((torch.arange(40, dtype=torch.float64) + 0.5) / 40)
    drawn = ddim(nets["v"], start.float()[:, None].expand(2, -1, -1), grid(linear, 50, "log_snr")).double()
    for i in range(2):
        far = min(float(wasserstein1_to(x, law)) for x in (drawn[i, :, 0], torch.zeros(40, dtype=torch.float64)))
        assert float(found["v"][1, i]) == pytest.approx(far, rel=1e-5)
    with pytest.raises(ValueError, match="images with a seed"):
        targets.RateSweep(fleet, (1e-3,), Images("digits"), 10)


def test_errors_are_those_of_the_networks_that_are_not_kept():
    law, times = two_modes().to(dtype=torch.float64), torch.tensor([0.2, 0.7], dtype=torch.float64)
    fleet = Fleet({"eps": Setting(), "v": Setting("v")}, law, Dense(1, 4, 1), Run(5, 8), (0, 1))
    made = targets.Errors(fleet, law, times)
    found = made.read(made.train().networks)
    nets = fleet.read({name: rounded(net) for name, net in fleet.train().networks.items()})
    generator = torch.Generator().manual_seed(0)
    x0 = law.sample(40_000, generator)
    noise = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    for i, t in enumerate(times.tolist()):
        alpha, sigma = (float(level) for level in Linear()(t))
        x = alpha * x0 + sigma * noise
        with torch.no_grad():
            guess = nets["v"].x0(x.float().expand(2, -1, -1), t).double()
        far = (guess - Exact(law, Linear()).x0(x, t)).square().mean((1, 2))
        torch.testing.assert_close(found["v"][:, i], far, rtol=0.05, atol=0)
    assert made.blank()["errors"].values.shape == (2, 2, 2) and list(found) == ["eps", "v"]
    with pytest.raises(ValueError, match="images with a seed"):
        targets.Errors(fleet, Images("digits"), times)


def test_errors_on_images_are_on_the_part_held_out():
    times = torch.tensor([0.5], dtype=torch.float64)
    fleet = Fleet({"v": Setting("v")}, Images("digits", 3), Dense(64, 4, 1), Run(2, 8), (0,))
    made = targets.Errors(fleet, Images("digits", 3), times, seed=5)
    found = made.read(made.train().networks)["v"]
    net = fleet.read({name: rounded(net) for name, net in fleet.train().networks.items()})["v"]
    clean = image_split("digits", 3)[1].x
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(5))
    alpha, sigma = (float(level) for level in Linear()(0.5))
    with torch.no_grad():
        guess = net.x0((alpha * clean + sigma * noise)[None], 0.5)[0]
    assert float(found) == pytest.approx(float((guess - clean).square().sum(-1).mean()), rel=1e-4)


# --- what a wrong learning rate costs ---------------------------------------------------------------------------------


def test_regret_is_the_mean_log_distance_above_the_best_rate():
    far = torch.tensor([[4.0, 1.0], [1.0, 8.0], [2.0, 2.0]], dtype=torch.float64)  # three rates, two seeds
    wanted = torch.tensor([(math.log(4) + 0 + math.log(2)) / 3, (0 + math.log(8) + math.log(2)) / 3],
                          dtype=torch.float64)  # fmt: skip
    torch.testing.assert_close(targets.regret(far), wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(targets.regret(7.5 * far), wanted, rtol=1e-12, atol=0)  # the level cancels


def test_a_target_is_at_the_ceiling_if_no_rate_leaves_it():
    """Zeros are at distance 10: median seeds at 9 are off it, median seeds at 9.7 and more are not."""
    off = torch.tensor([[10.0, 9.2, 9.1], [9.0, 9.0, 9.3], [1.0, 9.0, 9.2]])
    on = torch.tensor([[10.0, 10.0, 9.8], [9.8, 9.9, 1.0], [10.0, 9.7, 9.7]])
    assert not targets.at_ceiling(off) and targets.at_ceiling(on)
