"""Errors and information of 1-D mixtures against adaptive quadrature, closed forms and identities between them."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from scipy.integrate import dblquad, quad

from diffnotes import TARGETS, Chain, Exact, Learned, Linear, Perturbed, coefficients
from diffnotes.core.law import GaussianMixture, two_modes
from diffnotes.measure.information import (
    GAUSSIAN_ENTROPY,
    entropy,
    excess_error,
    expectation_nodes,
    fisher_information,
    mmse,
    mutual_information,
    nonlinearity,
)


def mixture(means, std, weights=None):
    return GaussianMixture(means, std, weights).to(dtype=torch.float64)


UNIT = math.sqrt(1.04)
TWO = mixture([-1 / UNIT, 1 / UNIT], 0.2 / UNIT)  # the two modes +-1 of std 0.2, scaled to unit variance
SKEW = mixture([-1.0, 0.3, 2.0], [0.4, 0.15, 0.6], [0.5, 0.2, 0.3])
GAUSS = mixture([0.7], 1.3)
LAWS = {"two": TWO, "skew": SKEW, "gauss": GAUSS}
laws = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS.keys())

mixtures = st.builds(
    lambda parts: mixture(*(list(column) for column in zip(*parts))),
    st.lists(st.tuples(st.floats(-3, 3), st.floats(0.05, 2), st.floats(0.1, 1)), min_size=1, max_size=4),
)


def density(law, x):
    """The density by scipy alone."""
    return sum(
        w * stats.norm.pdf(x, m, s)
        for m, s, w in zip(law.means[:, 0].tolist(), law.std.tolist(), law.weights.tolist())
    )


def level(alpha_bar):
    return math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)


# --- the rule --------------------------------------------------------------------------------------------------


@given(mixtures)
def test_nodes_give_the_moments(law):
    x, w = expectation_nodes(law)
    parts = list(zip(law.means[:, 0].tolist(), law.std.tolist(), law.weights.tolist()))
    assert float(w.sum()) == pytest.approx(1, abs=1e-14)
    assert float(w @ x) == pytest.approx(sum(q * m for m, s, q in parts), abs=1e-13)
    assert float(w @ x**2) == pytest.approx(sum(q * (m**2 + s**2) for m, s, q in parts), rel=1e-13, abs=0)
    fourth = sum(q * (m**4 + 6 * m**2 * s**2 + 3 * s**4) for m, s, q in parts)
    assert float(w @ x**4) == pytest.approx(fourth, rel=1e-12, abs=0)


@laws
def test_halving_the_step_changes_nothing(law):
    """The trapezoidal rule has converged: the chosen step is not a compromise."""
    x, w = expectation_nodes(law, half_width=10.0, step=0.01)
    assert entropy(law) == pytest.approx(-float(w @ law.log_prob(x[:, None])), abs=1e-13)
    assert fisher_information(law) == pytest.approx(float(w @ law.score(x[:, None])[:, 0] ** 2), rel=1e-10, abs=0)


@pytest.mark.parametrize("ratio", [3.0, 5.0, 40.0])
def test_a_narrow_component_in_a_wide_one_is_resolved(ratio):
    law = mixture([0.0, 0.3], [1.0, 1 / ratio])
    x, w = expectation_nodes(law, half_width=10.0, step=0.05 / ratio)
    assert entropy(law) == pytest.approx(-float(w @ law.log_prob(x[:, None])), abs=1e-12)
    assert fisher_information(law) == pytest.approx(float(w @ law.score(x[:, None])[:, 0] ** 2), rel=1e-8, abs=0)
    alpha, sigma = level(0.999)
    tweedie = sigma**2 / alpha**2 * (1 - sigma**2 * fisher_information(law.noised(alpha, sigma)))
    assert float(mmse(law, alpha, sigma)) == pytest.approx(tweedie, rel=1e-8, abs=0)


# --- entropy and Fisher information ----------------------------------------------------------------------------


@laws
def test_entropy_against_scipy(law):
    value, _ = quad(lambda x: float(special.entr(density(law, x))), -12, 13, limit=400, epsabs=1e-13, epsrel=1e-12)
    assert entropy(law) == pytest.approx(value, abs=1e-10)


@given(st.floats(-5, 5), st.floats(0.01, 100))
def test_entropy_of_a_gaussian(mean, std):
    assert entropy(mixture([mean], std)) == pytest.approx(float(stats.norm(mean, std).entropy()), abs=1e-12)
    assert fisher_information(mixture([mean], std)) == pytest.approx(1 / std**2, rel=1e-12, abs=0)
    assert pytest.approx(float(stats.norm.entropy()), abs=1e-15) == GAUSSIAN_ENTROPY


@laws
def test_fisher_information_against_scipy(law):
    """J = int p'^2/p, with p' from scipy's density by central differences."""

    def integrand(x, h=1e-5):
        slope = (density(law, x + h) - density(law, x - h)) / (2 * h)
        return slope**2 / max(density(law, x), 1e-200)

    value, _ = quad(integrand, -12, 13, limit=400, epsabs=1e-11)
    assert fisher_information(law) == pytest.approx(value, rel=1e-7, abs=0)


@laws
def test_fisher_information_is_the_slope_of_the_entropy(law):
    """de Bruijn: d h(X + sqrt(s) Z)/ds = J/2, by central differences of the entropy."""
    s, h = 0.1, 1e-4
    slope = (entropy(law.noised(1.0, math.sqrt(s + h))) - entropy(law.noised(1.0, math.sqrt(s - h)))) / (2 * h)
    assert fisher_information(law.noised(1.0, math.sqrt(s))) / 2 == pytest.approx(slope, rel=1e-6, abs=0)


# --- nonlinearity ----------------------------------------------------------------------------------------------


@given(st.floats(-5, 5), st.floats(0.05, 20))
def test_nonlinearity_of_a_gaussian_is_zero(mean, std):
    for law in (mixture([mean], std), GaussianMixture([mean], std), mixture([mean, mean], std)):
        assert 0 <= nonlinearity(law) < 1e-24 * (1 + (mean / std) ** 2)  # squares of roundings, not of their roots


@laws
def test_nonlinearity_against_least_squares(law):
    """The share of the score's energy left by the best linear fit, by weighted least squares on scipy's density."""
    x = torch.linspace(-8, 9, 40_001, dtype=torch.float64)
    w = torch.as_tensor(density(law, x.numpy()))
    w = w / w.sum()
    score = law.score(x[:, None])[:, 0]
    design = torch.stack([torch.ones_like(x), x], 1) * w.sqrt()[:, None]
    fit = torch.linalg.lstsq(design, (w.sqrt() * score)[:, None], driver="gelsd").solution
    left = (w.sqrt() * score - (design @ fit)[:, 0]).square().sum() / (w @ score**2)
    assert nonlinearity(law) == pytest.approx(float(left), abs=1e-9)


@given(mixtures)
def test_nonlinearity_is_a_share(law):
    assert -1e-12 <= nonlinearity(law) < 1


# --- minimal mean square error ---------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha_bar", [0.9, 0.5, 0.1])
@pytest.mark.parametrize("law", [TWO, SKEW], ids=["two", "skew"])
def test_mmse_by_double_quadrature(law, alpha_bar):
    """E x_0^2 - E E[x_0|x_t]^2, the posterior mean itself an integral: no formula of the law is used."""
    alpha, sigma = level(alpha_bar)
    x0 = torch.linspace(-6, 7, 13_001, dtype=torch.float64)
    p0 = torch.as_tensor(density(law, x0.numpy())) * 1e-3

    def energy(x):
        joint = p0 * torch.exp(-0.5 * ((x - alpha * x0) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
        return float((joint @ x0) ** 2 / joint.sum())

    explained, _ = quad(energy, -6, 7, limit=300, epsabs=1e-11)
    second = float(p0 @ x0**2)
    assert float(mmse(law, alpha, sigma)) == pytest.approx(second - explained, abs=1e-8)


def test_mmse_by_scipys_double_integral():
    """Once by dblquad on the joint density, E (x_0 - E[x_0|x_t])^2 with the law's own posterior mean."""
    alpha, sigma = level(0.5)

    def integrand(eps, x0):
        x = torch.tensor([[alpha * x0 + sigma * eps]], dtype=torch.float64)
        miss = x0 - float(SKEW.posterior_mean(x, alpha, sigma))
        return density(SKEW, x0) * stats.norm.pdf(eps) * miss**2

    value, _ = dblquad(integrand, -3, 4.5, -4.5, 4.5, epsabs=2e-3, epsrel=2e-3)
    assert float(mmse(SKEW, alpha, sigma)) == pytest.approx(value, rel=1e-3, abs=0)


def test_mmse_of_a_gaussian_is_the_wiener_error():
    alpha, sigma = Linear()(torch.linspace(1e-4, 1, 50, dtype=torch.float64))
    expected = 1.3**2 * sigma**2 / (1.3**2 * alpha**2 + sigma**2)
    torch.testing.assert_close(mmse(GAUSS, alpha, sigma), expected, rtol=1e-12, atol=0)


@laws
@pytest.mark.parametrize("snr", [0.05, 0.5, 1.0, 5.0, 50.0])
def test_i_mmse(law, snr):
    """Guo, Shamai and Verdu: dI(x_0; x_t)/dSNR = mmse/2, by Richardson-extrapolated central differences."""

    def slope(h):
        up, down = (float(mutual_information(law, "x0", *level(s / (1 + s)))) for s in (snr + h, snr - h))
        return (up - down) / (2 * h)

    h = 0.02 * snr
    extrapolated = (4 * slope(h / 2) - slope(h)) / 3
    value = float(mmse(law, *level(snr / (1 + snr))))
    assert extrapolated == pytest.approx(value / 2, rel=3e-6, abs=0)


@given(mixtures, st.floats(0.02, 0.98))
def test_mmse_obeys_its_bounds(law, alpha_bar):
    """Below the best linear predictor, above what a law of the same Fisher information allows; and as E J tells."""
    alpha, sigma = level(alpha_bar)
    error = float(mmse(law, alpha, sigma))
    x, w = expectation_nodes(law)
    variance = float(w @ x**2 - (w @ x) ** 2)
    assert 0 < error <= variance * sigma**2 / (alpha**2 * variance + sigma**2) * (1 + 1e-11)
    # Tweedie: mmse = sigma^2/alpha^2 (1 - sigma^2 J(x_t)).
    tweedie = sigma**2 / alpha**2 * (1 - sigma**2 * fisher_information(law.noised(alpha, sigma)))
    assert error == pytest.approx(tweedie, rel=1e-8, abs=1e-11 * (sigma / alpha) ** 2)


@laws
@pytest.mark.parametrize("target", TARGETS)
def test_mmse_is_the_variance_of_the_target(law, target):
    """E Var(y | x_t) of y = a x_0 + b eps from samples of the posterior, by regression on the exact prediction."""
    alpha, sigma = level(0.6)
    generator = torch.Generator().manual_seed(0)
    x0 = law.sample(400_000, generator)
    eps = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    a, b = coefficients(target, alpha, sigma)
    x_t, y = alpha * x0 + sigma * eps, a * x0 + b * eps
    mean0 = law.posterior_mean(x_t, alpha, sigma)
    miss = (y - (a * mean0 + b * (x_t - alpha * mean0) / sigma)).square()
    mean, error = float(miss.mean()), float(miss.std()) / math.sqrt(len(miss))
    assert abs(mean - float(mmse(law, alpha, sigma, target))) < 4 * error
    assert error < 0.005 * mean


@pytest.mark.parametrize("alpha_bar", [0.05, 0.5, 0.98])
def test_the_residual_of_v_is_the_sum_of_the_others(alpha_bar):
    """Variances of x_0, eps and v given x_t, each summed over a grid of the joint density of x_0 and x_t."""
    alpha, sigma = level(alpha_bar)
    x0, x_t = (torch.linspace(-6, 6, 2401, dtype=torch.float64)[:, None], torch.linspace(-8, 8, 801)[None].double())
    joint = torch.as_tensor(density(TWO, x0.numpy())) * torch.exp(-(((x_t - alpha * x0) / sigma) ** 2) / 2)
    joint, eps = joint / joint.sum(), (x_t - alpha * x0) / sigma

    def residual(y):
        mean = (joint * y).sum(0) / joint.sum(0)
        return float((joint * (y - mean) ** 2).sum())

    of = {"x0": residual(x0), "eps": residual(eps), "v": residual(alpha * eps - sigma * x0)}
    assert of["v"] == pytest.approx(of["x0"] + of["eps"], rel=1e-9, abs=0)
    for target, expected in of.items():
        assert float(mmse(TWO, alpha, sigma, target)) == pytest.approx(expected, rel=1e-6, abs=0)


def test_mmse_of_points():
    """Two points +-1: E[x_0 | x] = tanh(alpha x/sigma^2), so mmse = 1 - E tanh^2; one more with a Gaussian."""
    alpha, sigma = level(0.3)
    noisy = mixture([-1.0, 1.0], 0.0).noised(alpha, sigma)
    x, w = expectation_nodes(noisy)
    expected = 1 - float(w @ torch.tanh(alpha * x / sigma**2) ** 2)
    assert float(mmse(mixture([-1.0, 1.0], 0.0), alpha, sigma)) == pytest.approx(expected, rel=1e-12, abs=0)
    mixed = mixture([-1.0, 1.0], [0.0, 1.0])
    levels = Chain.linear(10)(torch.arange(1, 11))
    together = mmse(mixed, *levels)
    for i, pair in enumerate(zip(*(part.tolist() for part in levels))):
        assert float(mmse(mixed, *pair)) == pytest.approx(float(together[i]), rel=1e-8, abs=0)


def test_levels_keep_their_shape():
    alpha, sigma = Linear()(torch.tensor([[0.2, 0.4], [0.6, 0.8]], dtype=torch.float64))
    of_v = mutual_information(TWO, "v", alpha, sigma)
    for values in (mmse(TWO, alpha, sigma), mmse(TWO, alpha, sigma, "v"), of_v):
        assert values.shape == (2, 2) and values.dtype == torch.float64
    assert mmse(TWO, 0.8, 0.6).shape == ()


def test_a_float32_law_loses_no_digits():
    """The law keeps its parameters in float64: both dtypes give one answer."""
    rough, fine = GaussianMixture([-0.3, 1.1], 0.2), mixture([-0.3, 1.1], 0.2)
    for measure in (entropy, fisher_information, nonlinearity):
        assert measure(rough) == measure(fine)
    assert mmse(rough, 0.8, 0.6) == mmse(fine, 0.8, 0.6)
    for target in TARGETS:
        assert mutual_information(rough, target, 0.8, 0.6) == mutual_information(fine, target, 0.8, 0.6)


# --- information -----------------------------------------------------------------------------------------------


@given(st.floats(1e-3, 0.999), st.floats(0.1, 5))
def test_gaussian_information_closed_form(alpha_bar, std):
    """I(x_0; x_t) = log(1 + SNR)/2 and, for data of unit variance, I(v; x_t) = 0."""
    alpha, sigma = level(alpha_bar)
    snr = (std * alpha / sigma) ** 2
    law = mixture([0.3], std)
    assert float(mutual_information(law, "x0", alpha, sigma)) == pytest.approx(0.5 * math.log1p(snr), abs=1e-12)
    assert float(mutual_information(law, "eps", alpha, sigma)) == pytest.approx(0.5 * math.log1p(1 / snr), abs=1e-12)
    unit = mixture([0.0], 1.0)
    assert float(mutual_information(unit, "v", alpha, sigma)) == pytest.approx(0, abs=1e-12)
    assert float(mmse(unit, alpha, sigma, "v")) == pytest.approx(1, rel=1e-11)  # x_t tells nothing of v
    # v and x_t are jointly Gaussian, of correlation alpha sigma (1 - s^2)/(std of each).
    spread = math.sqrt((std**2 * alpha**2 + sigma**2) * (std**2 * sigma**2 + alpha**2))
    rho = alpha * sigma * (1 - std**2) / spread
    assert float(mutual_information(law, "v", alpha, sigma)) == pytest.approx(-0.5 * math.log1p(-(rho**2)), abs=1e-12)


@given(mixtures, st.floats(0.02, 0.98))
def test_information_of_v_is_symmetric(law, alpha_bar):
    """I(v; x_t) does not change when alpha_bar and 1 - alpha_bar change places."""
    alpha, sigma = level(alpha_bar)
    one, other = (float(mutual_information(law, "v", *pair)) for pair in ((alpha, sigma), (sigma, alpha)))
    assert one == pytest.approx(other, abs=1e-13)
    assert one >= -1e-12


@pytest.mark.parametrize("target", ["x0", "eps", "v"])
def test_information_by_its_definition(target):
    """I(y; x_t) = E log p(y, x_t)/(p(y) p(x_t)) on a grid of the joint density, which is that of (x_0, eps) moved."""
    alpha, sigma = level(0.7)
    law = SKEW
    a, b = (float(c) for c in coefficients(target, alpha, sigma))
    x0, p0 = expectation_nodes(law, 8.0, 0.05)
    eps, q = expectation_nodes(mixture([0.0], 1.0), 8.0, 0.05)
    x_t, y = alpha * x0[:, None] + sigma * eps, a * x0[:, None] + b * eps
    log_joint = law.log_prob(x0[:, None])[:, None] - 0.5 * (eps**2 + math.log(2 * math.pi))
    log_joint = log_joint - math.log(abs(alpha * b - sigma * a))  # change of variables (x_0, eps) -> (y, x_t)
    marginals = (law.noised(m, n).log_prob(value.reshape(-1, 1)).reshape(value.shape)
                 for m, n, value in ((alpha, sigma, x_t), (a, abs(b), y)))  # fmt: skip
    expected = float(p0 @ (log_joint - sum(marginals)) @ q)
    assert float(mutual_information(law, target, alpha, sigma)) == pytest.approx(expected, abs=1e-11)


@laws
def test_information_rises_and_falls_with_the_snr(law):
    alpha, sigma = Linear()(torch.linspace(0.02, 1, 30, dtype=torch.float64))
    assert (mutual_information(law, "x0", alpha, sigma).diff() < 0).all()
    assert (mutual_information(law, "eps", alpha, sigma).diff() > 0).all()
    assert torch.equal(mutual_information(law, "eps", alpha, sigma), mutual_information(law, "score", alpha, sigma))


KNOWN = {  # abar: I(x0), I(eps), I(v); mmse of x0, eps, v, score
    0.999: (2.530, 0.013, 0.012, 9.8e-4, 0.97, 0.98, 970),
    0.9: (0.826, 0.663, 0.611, 0.038, 0.34, 0.38, 3.4),
    0.5: (0.339, 1.275, 0.920, 0.46, 0.46, 0.92, 0.92),
    0.1: (0.053, 2.087, 0.611, 0.90, 0.10, 1.00, 0.11),
    0.01: (0.005, 3.238, 0.112),
}


@pytest.mark.parametrize("alpha_bar", KNOWN)
def test_known_values(alpha_bar):
    """Figures computed once, elsewhere, by other code, to the digits they were written down with."""
    alpha, sigma = level(alpha_bar)
    bits = KNOWN[alpha_bar][:3]
    for target, value in zip(("x0", "eps", "v"), bits):
        assert float(mutual_information(TWO, target, alpha, sigma)) == pytest.approx(value, abs=5.1e-4)
    for target, value in zip(TARGETS, KNOWN[alpha_bar][3:]):
        half = 0.51 * 10.0 ** (math.floor(math.log10(value)) - 1)
        assert float(mmse(TWO, alpha, sigma, target)) == pytest.approx(value, abs=half)


def test_far_modes_leave_the_wiener_error_of_one():
    """At abar = .999 nobody doubts the mode: mmse = s^2 sigma^2/(alpha^2 s^2 + sigma^2), 9.756e-4, in closed form."""
    alpha, sigma = level(0.999)
    s2 = 0.04 / 1.04
    assert float(mmse(TWO, alpha, sigma)) == pytest.approx(s2 * sigma**2 / (alpha**2 * s2 + sigma**2), rel=1e-6, abs=0)


# --- excess error ----------------------------------------------------------------------------------------------


def test_excess_error_of_the_exact_denoiser_is_zero():
    times = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    value = excess_error({"exact": Exact(SKEW, Linear())}, SKEW, times)["exact"]
    assert value.shape == (3,) and float(value.max()) < 1e-25


def test_excess_error_of_a_known_error():
    """An error of size c in eps costs c^2 sigma^2/alpha^2 in x_0; an x-dependent one is integrated."""
    times = torch.tensor([0.2, 0.6], dtype=torch.float64)
    alpha, sigma = Linear()(times)
    constant = Perturbed(Exact(SKEW, Linear()), lambda x, t: torch.full_like(x, 0.3), "eps")
    linear = Perturbed(Exact(SKEW, Linear()), lambda x, t: 0.1 * x, "x0")
    x, w = expectation_nodes(SKEW)
    second = alpha**2 * float(w @ x**2) + sigma**2
    excess = excess_error({"constant": constant, "linear": linear}, SKEW, times)
    assert list(excess) == ["constant", "linear"]
    torch.testing.assert_close(excess["constant"], (0.3 * sigma / alpha) ** 2, rtol=1e-8, atol=0)
    torch.testing.assert_close(excess["linear"], 0.01 * second, rtol=1e-6, atol=0)


def test_excess_error_adds_up_with_the_mmse():
    """E|x_0 - guess|^2 = mmse + excess: the best constant, on a chain, in float32."""
    law, chain = GaussianMixture([-1.0, 1.0], 0.2), Chain.linear(100)
    zero = Learned(lambda x, t: torch.zeros_like(x), chain, "x0")
    times = torch.tensor([10, 50, 100])
    total = excess_error({"zero": zero}, law, times)["zero"] + mmse(law, *chain(times))
    torch.testing.assert_close(total, torch.full((3,), 1.04, dtype=torch.float64), rtol=1e-8, atol=0)


def test_excess_error_of_an_ensemble_has_a_leading_axis():
    offsets = torch.tensor([0.0, 0.1, 0.2], dtype=torch.float64)

    class Net:
        members = 3

        def __call__(self, x, t):
            alpha, sigma = (float(v) for v in Linear()(t))
            return torch.stack([TWO.posterior_mean(part, alpha, sigma) for part in x]) + offsets[:, None, None]

    fleet = {"one": Exact(TWO, Linear()), "three": Learned(Net(), Linear(), "x0")}
    value = excess_error(fleet, TWO, torch.tensor([0.3, 0.5], dtype=torch.float64))
    assert value["one"].shape == (2,)
    torch.testing.assert_close(value["three"], (offsets**2)[:, None].expand(3, 2), rtol=1e-8, atol=1e-25)


# --- bad input -------------------------------------------------------------------------------------------------


def test_bad_input_is_refused_by_name():
    plane = GaussianMixture(torch.zeros(1, 2), 1.0)
    for measure in (entropy, fisher_information, nonlinearity, expectation_nodes):
        with pytest.raises(ValueError, match="law has dimension 2; allowed: 1"):
            measure(plane)
    with pytest.raises(ValueError, match="law has dimension 2; allowed: 1"):
        mmse(plane, 0.8, 0.6)
    with pytest.raises(ValueError, match="alpha has non-finite entries; allowed: finite numbers"):
        mmse(TWO, torch.tensor([0.8, math.nan]), 0.6)
    for target in ("x0", "v"):
        with pytest.raises(ValueError, match="sigma has the minimum 0; allowed: positive numbers"):
            mmse(TWO, torch.tensor([0.5, 1.0]), torch.tensor([0.5, 0.0]), target)
    with pytest.raises(ValueError, match="target = 'mean' is unknown; allowed: x0, eps, v, score"):
        mutual_information(TWO, "mean", 0.8, 0.6)
    with pytest.raises(ValueError, match="target = 'mean' is unknown"):
        mmse(TWO, 0.8, 0.6, "mean")
    # Where the information is infinite, it is said which level is the cause.
    with pytest.raises(ValueError, match="sigma has the minimum 0; allowed: positive numbers for x0"):
        mutual_information(TWO, "x0", 1.0, 0.0)
    for target in ("eps", "score"):
        with pytest.raises(ValueError, match=f"alpha has the minimum 0; allowed: positive numbers for {target}"):
            mutual_information(TWO, target, 0.0, 1.0)
    for ends in ((1.0, 0.0), (0.0, 1.0)):
        assert float(mutual_information(TWO, "v", *ends)) == pytest.approx(0, abs=1e-12)


# --- components that are points, and widths far apart -------------------------------------------------------------

POINTED = {"point and width": GaussianMixture([0.0, 3.0], [0.0, 1.0]), "two points": GaussianMixture([0.0, 3.0], 0.0),
           "points beside widths": GaussianMixture([-2.0, 0.5, 0.6, 3.0], [0.3, 0.0, 1e-3, 0.0], [0.4, 0.1, 0.2, 0.3])}


def by_scipy(law, alpha, sigma, moment):
    """E moment(E[x_0|x], Var[x_0|x], p(x)) by scipy, from Bayes' rule written out, in pieces about each component."""
    law = law.to(dtype=torch.float64)
    mu, s, w = (v.flatten().numpy() for v in (law.means, law.std, law.weights))
    v = alpha**2 * s**2 + sigma**2

    def at(x):
        log = np.log(w) - 0.5 * np.log(2 * np.pi * v) - 0.5 * (x - alpha * mu) ** 2 / v
        p = np.exp(log - log.max())
        r, density = p / p.sum(), np.exp(log.max()) * p.sum()
        centre, within = mu + alpha * s**2 / v * (x - alpha * mu), s**2 * sigma**2 / v
        mean = r @ centre
        return density * moment(mean, r @ (within + (centre - mean) ** 2), density)

    steps = np.concatenate([np.arange(13), 12 * 1.5 ** np.arange(1, 45)])
    knots = np.unique(np.concatenate([alpha * m + np.sqrt(one) * u for m, one in zip(mu, v) for u in (steps, -steps)]))
    reach = alpha * np.abs(mu).max() + 10 * np.sqrt(v.max())
    knots = knots[np.abs(knots) < reach]
    return sum(quad(at, a, b, epsabs=1e-16, epsrel=1e-12)[0] for a, b in itertools.pairwise(knots))


@pytest.mark.filterwarnings("ignore::scipy.integrate.IntegrationWarning")
@pytest.mark.parametrize("name", POINTED)
@pytest.mark.parametrize("alpha, sigma", [(0.9, 0.43), (0.99, 0.02), (1.0, 1e-4), (0.7, 1e-7)])
def test_mmse_and_information_of_laws_with_points_against_scipy(name, alpha, sigma):
    law = POINTED[name]
    expected = by_scipy(law, alpha, sigma, lambda mean, variance, p: variance)
    assert float(mmse(law, alpha, sigma)) == pytest.approx(expected, rel=1e-9, abs=1e-15)
    entropy_ = by_scipy(law, alpha, sigma, lambda mean, variance, p: -np.log(p) if p else 0)
    found = float(mutual_information(law, "x0", alpha, sigma))
    # At sigma = 1e-7 the rounding of x itself is 1e-9 sigma.
    assert found == pytest.approx(entropy_ - GAUSSIAN_ENTROPY - math.log(sigma), rel=1e-10 + 1e-15 / sigma)


def test_information_of_points_is_their_entropy_where_noise_is_small():
    weights = [0.2, 0.3, 0.5]
    found = float(mutual_information(GaussianMixture([0.0, 1.0, 2.0], 0.0, weights), "x0", 1.0, 1e-3))
    assert found == pytest.approx(-sum(w * math.log(w) for w in weights), rel=1e-12)


def test_levels_even_and_uneven_come_together():
    law = POINTED["point and width"]
    alpha, sigma = torch.tensor([0.9, 1.0, 0.5, 0.99]), torch.tensor([0.43, 1e-6, 0.86, 1e-3])
    both = torch.stack([mmse(law, a, s) for a, s in zip(alpha, sigma)])
    torch.testing.assert_close(mmse(law, alpha, sigma), both, rtol=1e-10, atol=1e-18)
    assert mmse(law, torch.empty(0), torch.empty(0)).shape == (0,)


@pytest.mark.parametrize("name", POINTED)
def test_expectation_nodes_put_a_point_s_weight_on_it(name):
    law = POINTED[name]
    x, w = expectation_nodes(law)
    mu, s, p = (v.double().flatten() for v in (law.means, law.std, law.weights))
    assert float(w.sum()) == pytest.approx(1, rel=1e-12)
    assert float(w @ x**2) == pytest.approx(float(p @ (mu**2 + s**2)), rel=1e-7)  # float32 std of 1e-3
    atoms = {float(m): float(sum(p[(mu == m) & (s == 0)])) for m in mu[s == 0]}
    for place, weight in atoms.items():
        assert float(w[x == place].sum()) == pytest.approx(weight, abs=0.1 * weight)


@pytest.mark.parametrize("call", [entropy, fisher_information, nonlinearity,
                                  lambda law: mutual_information(law, "eps", 0.8, 0.6),
                                  lambda law: mutual_information(law, "v", 0.8, 0.6)])
def test_what_is_infinite_for_a_point_is_named(call):
    with pytest.raises(ValueError, match=r"law = .* has a component of std 0"):
        call(POINTED["point and width"])


def test_excess_error_sees_a_narrow_component_beside_a_wide_one():
    """A predictor that is wrong by 1 within 3 sigma of the point, and nowhere else."""
    law, schedule, t = POINTED["point and width"], Linear(), 1e-3
    alpha, sigma = (float(level) for level in schedule(t))
    exact = Exact(law, schedule)
    wrong = Perturbed(exact, lambda x, t: (1 + torch.cos(x / sigma)) * (x.abs() < math.pi * sigma), "x0")
    found = excess_error({"wrong": wrong}, law, torch.tensor([t], dtype=torch.float64))["wrong"]
    noised = law.noised(alpha, sigma)
    expected = quad(lambda x: (1 + math.cos(x / sigma)) ** 2 * density(noised, x), -math.pi * sigma, math.pi * sigma)[0]
    assert float(found) == pytest.approx(expected, rel=0.02)


def test_levels_may_be_numpy_s():
    law = GaussianMixture([-1.0, 1.0], 0.3)
    alpha, sigma = np.array([0.9, 0.5])[::-1], np.array([0.43, 0.86], ">f8")[::-1]
    same = torch.tensor([0.5, 0.9], dtype=torch.float64), torch.tensor([0.86, 0.43], dtype=torch.float64)
    assert torch.equal(mmse(law, alpha, sigma), mmse(law, *same))
    assert torch.equal(mutual_information(law, "v", alpha, sigma), mutual_information(law, "v", *same))
    assert float(mmse(law, 1, np.int64(1))) == float(mmse(law, 1.0, 1.0))


def test_levels_broadcast_or_say_that_they_do_not():
    law, levels = two_modes(), torch.tensor([0.5, 0.6, 0.7], dtype=torch.float64)
    each = torch.stack([mmse(law, a, 0.5) for a in levels])
    assert torch.equal(mmse(law, levels, 0.5), each)
    assert torch.equal(mmse(law, 0.5, levels), torch.stack([mmse(law, 0.5, s) for s in levels]))
    assert mmse(law, levels[:, None], levels[:2]).shape == (3, 2)
    assert mmse(law, levels, 0.5, "v").shape == mutual_information(law, "x0", levels, 0.5).shape == (3,)
    with pytest.raises(ValueError, match=r"alpha has shape \(3,\), sigma \(2,\)"):
        mmse(law, levels, levels[:2])


def test_a_density_is_told_from_the_parameters_not_from_their_rounding():
    narrow = GaussianMixture([0.0], 1e-50)  # 0 in float32
    assert narrow.std == 0 and not narrow.has_points
    assert entropy(narrow) == pytest.approx(GAUSSIAN_ENTROPY + math.log(1e-50), abs=1e-12)
    with pytest.raises(ValueError, match="squares are finite"):
        GaussianMixture([0.0, 3.0], [1.0, 1e200])
