"""Laws against closed forms, quadrature, scipy and torch.distributions."""

import math
import pickle

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial.legendre import leggauss
from scipy import stats
from scipy.stats import norm

from diffnotes.core import law as room
from diffnotes.core.law import (
    Boxes,
    Empirical,
    GaussianMixture,
    chessboard,
    moons,
    ring,
    spiral,
    standardised,
    two_modes,
)

F64 = torch.float64


def close(a, b, rtol=1e-12, atol=1e-12):
    torch.testing.assert_close(torch.as_tensor(a, dtype=F64), torch.as_tensor(b, dtype=F64), rtol=rtol, atol=atol)


def points(*shape, seed=0, scale=2.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def mixture(dim=2, k=3, seed=1):
    g = torch.Generator().manual_seed(seed)
    return GaussianMixture(torch.randn(k, dim, generator=g, dtype=F64),
                           0.1 + torch.rand(k, generator=g, dtype=F64), 0.2 + torch.rand(k, generator=g, dtype=F64))


def tensor(values):
    return torch.tensor(values, dtype=F64)


SMOOTH = {"mixture": mixture(), "line": mixture(1), "moons": moons()}
ALL = SMOOTH | {"points": Empirical(points(7, 2, seed=3)), "chessboard": chessboard()}
SHAPES = {"ring": ring(), "eight": ring(components=8), "spiral": spiral(), "moons": moons(), "modes": two_modes(),
          "chessboard": chessboard()}
LEVELS = [(0.9, 0.436), (0.5, 0.866), (1.0, 1.5), (0.05, 1.0)]


# ---------------------------------------------------------------- density and score

@pytest.mark.parametrize("dim", [1, 2, 5])
def test_log_prob_agrees_with_torch_distributions(dim):
    law, x = mixture(dim), points(50, dim)
    parts = torch.distributions.Independent(
        torch.distributions.Normal(law.means, law.std[:, None].expand(-1, dim)), 1)
    peer = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(law.weights), parts)
    close(law.log_prob(x), peer.log_prob(x))


def test_log_prob_agrees_with_scipy():
    law, x = mixture(3), points(40, 3)
    density = sum(w * stats.multivariate_normal(m, s**2 * np.eye(3)).pdf(x)
                  for w, m, s in zip(law.weights.numpy(), law.means.numpy(), law.std.numpy()))
    close(law.log_prob(x), np.log(density))


@pytest.mark.parametrize("name", ALL)
def test_score_is_the_gradient_of_log_prob(name):
    law = ALL[name]
    x = points(30, law.dim, seed=5, scale=1.5).requires_grad_()
    alpha, sigma = 0.8, 0.6
    (gradient,) = torch.autograd.grad(law.log_prob_at(x, alpha, sigma).sum(), x)
    close(law.score_at(x, alpha, sigma), gradient, rtol=1e-10, atol=1e-10)
    h = 1e-5 * torch.eye(law.dim, dtype=F64)
    moved = [(law.log_prob_at(x + e, alpha, sigma) - law.log_prob_at(x - e, alpha, sigma)) / 2e-5 for e in h]
    close(law.score_at(x, alpha, sigma), torch.stack(moved, -1), rtol=1e-7, atol=1e-7)


def test_own_score_and_density_are_those_at_no_noise():
    law, x = mixture(), points(20, 2)
    assert torch.equal(law.log_prob(x), law.log_prob_at(x, 1, 0))
    assert torch.equal(law.score(x), law.score_at(x, 1, 0))
    y = x.clone().requires_grad_()
    close(law.score(x), torch.autograd.grad(law.log_prob(y).sum(), y)[0])


# ---------------------------------------------------------------- noising

@pytest.mark.parametrize("name", ["mixture", "line", "moons", "points"])
@pytest.mark.parametrize("alpha, sigma", LEVELS)
def test_noised_law_is_the_law_at_that_noise(name, alpha, sigma):
    law, x = ALL[name], points(25, ALL[name].dim)
    noised = law.noised(alpha, sigma)
    close(noised.log_prob(x), law.log_prob_at(x, alpha, sigma), rtol=1e-11)
    close(noised.score(x), law.score_at(x, alpha, sigma), rtol=1e-11, atol=1e-11)


@settings(deadline=None, max_examples=60)
@given(st.tuples(*[st.floats(0.05, 2)] * 4))
def test_noising_twice_is_noising_once(levels):
    a, s, b, r = levels
    law, x = mixture(), points(10, 2)
    twice, once = law.noised(a, s).noised(b, r), law.noised(a * b, math.hypot(b * s, r))
    close(twice.means, once.means)
    close(twice.std, once.std)
    close(twice.log_prob(x), once.log_prob(x), rtol=1e-9)


def test_noising_with_a_negative_alpha_reflects():
    close(two_modes().noised(-0.8, 0.6).log_prob(points(9, 1)), two_modes().noised(0.8, 0.6).log_prob(-points(9, 1)))


# ---------------------------------------------------------------- posterior

@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("alpha, sigma", LEVELS)
def test_tweedie(name, alpha, sigma):
    law = ALL[name]
    x = points(40, law.dim, seed=8)
    score, mean = law.score_at(x, alpha, sigma), law.posterior_mean(x, alpha, sigma)
    close(alpha * mean, x + sigma**2 * score, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ALL)
def test_posterior_variance_is_the_derivative_of_the_mean(name):
    """Cov(x_0 | x_t) = sigma^2/alpha dE[x_0 | x_t]/dx_t: the second-order Tweedie formula, trace over d."""
    law = ALL[name]
    x = points(20, law.dim, seed=9).requires_grad_()
    alpha, sigma = tensor(0.8), tensor(0.6)
    mean = law.posterior_mean(x, alpha, sigma)
    trace = sum(torch.autograd.grad(mean[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(law.dim))
    close(law.posterior_variance(x, alpha, sigma), sigma**2 / alpha * trace / law.dim, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("alpha, sigma", [*LEVELS, (0.999, 0.01)])
def test_posterior_against_quadrature(alpha, sigma):
    law, x = two_modes(), tensor([-3.0, -1.1, -0.3, 0.0, 0.2, 0.9, 2.5])
    nodes, weights = leggauss(40)
    panels = np.linspace(-4, 4, 101)  # of width .08
    x0 = torch.as_tensor((panels[:-1, None] + 0.04 * (nodes + 1)).ravel())
    weights = np.tile(weights, 100)
    log = law.log_prob(x0) - 0.5 * ((x[:, None] - alpha * x0) / sigma) ** 2
    r = torch.exp(log - log.amax(1, keepdim=True)) * torch.as_tensor(weights)
    r = r / r.sum(1, keepdim=True)
    mean = r @ x0
    close(law.posterior_mean(x, alpha, sigma), mean, rtol=1e-10, atol=1e-11)
    close(law.posterior_variance(x, alpha, sigma), (r * (x0 - mean[:, None]) ** 2).sum(1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["mixture", "line", "moons", "chessboard"])
def test_law_of_total_variance(name):
    """E Var(x_0 | x_t) + Var E[x_0 | x_t] = Var x_0, by sampling."""
    law, n = ALL[name], 40_000
    g = torch.Generator().manual_seed(2)
    x0 = law.sample(n, g).double()
    x_t = 0.7 * x0 + 0.5 * torch.randn(n, law.dim, generator=g, dtype=F64)
    within, mean = law.posterior_variance(x_t, 0.7, 0.5), law.posterior_mean(x_t, 0.7, 0.5)
    close(within.mean() + mean.var(0).mean(), x0.var(0).mean(), rtol=0.015)
    close(((mean - x0) ** 2).mean(), within.mean(), rtol=0.015)  # the posterior mean's error is the MMSE


@pytest.mark.parametrize("name", ["mixture", "line", "moons"])
def test_posterior_at_the_ends(name):
    law = SMOOTH[name]
    x = points(15, law.dim)
    close(law.posterior_mean(x, 0.8, 0.0), x / 0.8)
    close(law.posterior_mean(x, 0.8, 1e-9), x / 0.8, rtol=1e-9)
    close(law.posterior_mean(x, 0.0, 1.0), law.mean.double().expand_as(x), rtol=1e-6, atol=1e-7)
    close(law.posterior_mean(x, 1e-9, 1.0), law.posterior_mean(x, 0.0, 1.0), rtol=1e-7, atol=1e-7)
    close(law.posterior_variance(x, 0.0, 1.0), (law.covariance.double().trace() / law.dim).expand(15), rtol=1e-6)
    close(law.posterior_variance(x, 0.8, 0.0), torch.zeros(15))


# ---------------------------------------------------------------- shapes, dtype, bad input

@pytest.mark.parametrize("name", ALL)
def test_levels_belong_to_leading_axes_even_where_n_is_d(name):
    law = ALL[name]
    n = law.dim
    x, alpha = points(n, law.dim), torch.linspace(0.3, 0.9, n, dtype=F64)
    sigma = (1 - alpha**2).sqrt()
    for function in (law.score_at, law.posterior_mean, law.log_prob_at, law.posterior_variance):
        rows = torch.cat([function(x[i : i + 1], float(alpha[i]), float(sigma[i])) for i in range(n)])
        close(function(x, alpha, sigma), rows)


@pytest.mark.parametrize("name", ALL)
def test_ensembles_are_their_members(name):
    law = ALL[name]
    x, alpha = points(3, 5, law.dim), tensor([0.9, 0.6, 0.2])
    sigma = (1 - alpha**2).sqrt()
    for function in (law.score_at, law.posterior_mean, law.log_prob_at):
        members = torch.stack([function(x[i], alpha[i], sigma[i]) for i in range(3)])
        close(function(x, alpha, sigma), members)
        close(function(x, alpha[:, None].expand(3, 5), sigma[:, None].expand(3, 5)), members)


def test_one_axis_is_n_points_on_the_line():
    law, x = two_modes(), torch.linspace(-2, 2, 6)
    assert law.log_prob(x).shape == law.score(x).shape == law.cdf(x).shape == (6,)
    assert torch.equal(law.score(x), law.score(x[:, None])[:, 0])
    assert law.posterior_mean(x, torch.rand(6), 0.5).shape == (6,)


def test_blocks_do_not_change_results(monkeypatch):
    x, alpha = points(101, 2), torch.rand(101, dtype=F64)
    whole = [law.posterior_mean(x, alpha, 0.5) for law in ALL.values() if law.dim == 2]
    monkeypatch.setattr(room, "BLOCK", 64)
    parts = [law.posterior_mean(x, alpha, 0.5) for law in ALL.values() if law.dim == 2]
    for a, b in zip(whole, parts):
        close(a, b, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", ALL)
def test_float32_in_float32_out_and_close_to_float64(name):
    law = ALL[name]
    x = points(50, law.dim).float()
    for function in (law.score_at, law.posterior_mean, law.log_prob_at, law.posterior_variance):
        single, double = function(x, 0.8, 0.6), function(x.double(), tensor(0.8).float().double(), 0.6)
        assert single.dtype == torch.float32 and double.dtype == F64
        close(single.double(), double, rtol=2e-4, atol=2e-5)


def test_parameters_given_as_numbers_are_exact_in_float64_whatever_the_sample_dtype():
    law = GaussianMixture([-1.0, 1.0], 0.2)
    assert law.dtype == law.sample(1, 0).dtype == law.means.dtype == torch.float32
    x = points(10, 1)
    close(law.log_prob(x), GaussianMixture(tensor([-1.0, 1.0]), 0.2).log_prob(x), rtol=0, atol=0)
    assert law.to(dtype=F64).std[0].item() == 0.2
    assert GaussianMixture(np.zeros((2, 3)), 1.0).sample(2, 0).dtype == F64


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("alpha, sigma", [(1.0, 1e-6), (1e-6, 1.0), (0.0, 1.0), (0.7, 0.7)])
def test_extreme_values_stay_finite(name, alpha, sigma):
    law = ALL[name]
    x = torch.cat([points(5, law.dim), 1e4 * points(5, law.dim), torch.zeros(1, law.dim, dtype=F64)])
    for dtype in (F64, torch.float32):
        for function in (law.score_at, law.posterior_mean, law.log_prob_at, law.posterior_variance):
            assert function(x.to(dtype), alpha, sigma).isfinite().all()


@pytest.mark.parametrize("make, names", [
    (lambda: GaussianMixture([], 1.0), "means"),
    (lambda: GaussianMixture([[math.nan]], 1.0), "means"),
    (lambda: GaussianMixture(torch.zeros(2, 2, 2), 1.0), "means"),
    (lambda: GaussianMixture([0.0, 1.0], -1.0), "std"),
    (lambda: GaussianMixture([0.0, 1.0], [1.0, 1.0, 1.0]), "std"),
    (lambda: GaussianMixture([0.0, 1.0], 1.0, [1.0]), "weights"),
    (lambda: GaussianMixture([0.0, 1.0], 1.0, [-1.0, 2.0]), "weights"),
    (lambda: GaussianMixture([0.0, 1.0], 1.0, [0.0, 0.0]), "weights"),
    (lambda: two_modes().noised(1.0, -0.1), "sigma"),
    (lambda: two_modes().noised(math.inf, 0.1), "alpha"),
    (lambda: two_modes().log_prob(torch.zeros(3, 2)), "x"),
    (lambda: mixture(2).log_prob(torch.zeros(3)), "x"),
    (lambda: mixture(2).score_at(torch.zeros(4, 2), torch.ones(3), 1.0), "alpha"),
    (lambda: mixture(2).score_at(torch.zeros(4, 2), torch.ones(4, 2), 1.0), "alpha"),
    (lambda: mixture(2).score_at(torch.zeros(4, 2), 1.0, -1.0), "sigma"),
    (lambda: mixture(2).score_at(torch.zeros(4, 2), 1.0, math.nan), "sigma"),
    (lambda: mixture(2).score_at(torch.zeros(4, 2), 0.0, 0.0), "alpha and sigma"),
    (lambda: Empirical(torch.zeros(2, 2)).score_at(torch.zeros(4, 2), 1.0, 0.0), "sigma"),
    (lambda: GaussianMixture([0.0], 0.0).log_prob(torch.zeros(4, 1)), "sigma"),
    (lambda: Empirical(torch.zeros(3)), "points"),
    (lambda: Empirical(torch.full((3, 2), math.inf)), "points"),
    (lambda: mixture(2).cdf(torch.zeros(3)), "cdf"),
    (lambda: two_modes().quantile(torch.tensor([1.1])), "u"),
    (lambda: two_modes().sample(0, 0), "n"),
    (lambda: two_modes(std=-0.2), "std"),
    (lambda: standardised(GaussianMixture([1.0], 0.0)), "law"),
    (lambda: ring(std=0.0), "std"),
    (lambda: ring(components=0), "components"),
    (lambda: spiral(turns=-1), "turns"),
    (lambda: moons(noise=math.nan), "noise"),
    (lambda: chessboard(cells=1), "cells"),
    (lambda: Boxes(torch.zeros(2), 1.0), "centres"),
    (lambda: Boxes(torch.zeros(2, 2), 0.0), "half"),
])
def test_bad_values_are_named(make, names):
    with pytest.raises(ValueError, match=rf"^{names}\b"):
        make()


@pytest.mark.parametrize("make, names", [
    (lambda: two_modes().log_prob([0.0]), "x"),
    (lambda: two_modes().log_prob(torch.zeros(3, 1, dtype=torch.int64)), "x"),
    (lambda: two_modes().sample(3, None), "generator"),
    (lambda: GaussianMixture("abc", 1.0), "means"),
])
def test_bad_types_are_named(make, names):
    with pytest.raises(TypeError, match=rf"^{names}\b"):
        make()


# ---------------------------------------------------------------- cdf, quantile, moments, samples

def test_cdf_against_quadrature_and_quantile_inverts_it():
    law = mixture(1)
    x = torch.linspace(-3, 3, 13, dtype=F64)
    nodes, weights = (torch.as_tensor(v) for v in leggauss(400))
    low = -12.0
    panels = (x[:, None] - low) / 2
    integral = (panels * law.log_prob((low + panels * (nodes + 1)).reshape(-1, 1)).exp().reshape(13, -1)) @ weights
    close(law.cdf(x), integral.reshape(13), rtol=1e-11)
    u = torch.linspace(0.001, 0.999, 99, dtype=F64)
    close(law.cdf(law.quantile(u)), u, rtol=1e-14, atol=1e-15)
    close(GaussianMixture([0.5], 2.0).quantile(u), norm(0.5, 2).ppf(u), rtol=1e-13, atol=1e-14)
    assert law.quantile(tensor([0.0, 1.0])).tolist() == [-math.inf, math.inf]
    assert law.quantile(tensor([1e-200])).item() > -100


def test_mean_and_covariance():
    law = mixture(3, 4)
    w, m, s = law.weights.numpy(), law.means.numpy(), law.std.numpy()
    close(law.mean, w @ m)
    close(law.covariance, np.cov(m.T, aweights=w, ddof=0) + (w @ s**2) * np.eye(3))


@pytest.mark.parametrize("name", SHAPES)
def test_sample_moments_agree_with_the_law(name):
    law, n = SHAPES[name], 40_000
    x = law.sample(n, torch.Generator().manual_seed(4)).double()
    assert x.shape == (n, law.dim)
    if isinstance(law, Boxes):
        mean, covariance = law._c.mean(0), law._c.T.cov(correction=0) + law.half**2 / 3 * torch.eye(2, dtype=F64)
    else:
        mean, covariance = law.mean.double(), law.covariance.double()
    error = x.std(0) / n**0.5
    assert ((x.mean(0) - mean).abs() < 4 * error).all()
    close(x.T.cov().reshape(law.dim, law.dim), covariance, rtol=0.02, atol=0.02 * float(covariance.max()))


def test_samples_follow_the_cdf_and_the_seed():
    law = GaussianMixture([-1.0, 0.5], [0.2, 0.6], [0.3, 0.7])
    x = law.sample(20_000, 11)
    assert stats.kstest(x[:, 0].numpy(), lambda v: law.cdf(torch.as_tensor(v, dtype=F64)).numpy()).pvalue > 0.01
    assert torch.equal(x, law.sample(20_000, torch.Generator().manual_seed(11)))
    assert not torch.equal(x, law.sample(20_000, 12))
    state = torch.get_rng_state()
    law.sample(5, 0)
    assert torch.equal(state, torch.get_rng_state())


def test_standardised_has_mean_zero_and_unit_variance():
    for law in (mixture(3), moons(), two_modes()):
        new = standardised(law).to(dtype=F64)
        close(new.mean, torch.zeros(law.dim))
        close(new.covariance.trace() / law.dim, 1.0)
    close(standardised(two_modes()).to(dtype=F64).means[:, 0], np.array([-1, 1]) / math.sqrt(1.04))


# ---------------------------------------------------------------- invariances

@settings(deadline=None, max_examples=50)
@given(st.floats(-5, 5), st.floats(0.1, 10), st.permutations(range(3)))
def test_translation_scaling_and_permutation(shift, scale, order):
    law, x = mixture(), points(12, 2)
    moved = GaussianMixture(scale * law.means[order] + shift, scale * law.std[order], law.weights[order])
    y = scale * x + shift
    close(moved.log_prob(y), law.log_prob(x) - 2 * math.log(scale), rtol=1e-8, atol=1e-8)
    close(scale * moved.score(y), law.score(x), rtol=1e-8, atol=1e-8)
    posterior = moved.posterior_mean(0.6 * y + 0.0, 0.6, 0.8 * scale)
    close((posterior - shift) / scale, law.posterior_mean(0.6 * x, 0.6, 0.8), rtol=1e-7, atol=1e-8)


def test_relative_weights_and_duplicate_components_do_not_matter():
    x = points(9, 1)
    a = GaussianMixture([0.0, 1.0], 0.5, [1.0, 3.0]).log_prob(x)
    close(a, GaussianMixture([0.0, 1.0, 1.0, 7.0], 0.5, [0.25, 0.5, 0.25, 0.0]).log_prob(x))


# ---------------------------------------------------------------- points

@pytest.mark.parametrize("alpha, sigma", [*LEVELS, (1.0, 0.01)])
def test_empirical_is_the_mixture_of_points(alpha, sigma):
    data = points(23, 3, seed=6)
    law, peer, x = Empirical(data), GaussianMixture(data, 0.0), points(17, 3)
    for name in ("log_prob_at", "score_at", "posterior_mean", "posterior_variance"):
        close(getattr(law, name)(x, alpha, sigma), getattr(peer, name)(x, alpha, sigma), rtol=1e-9, atol=1e-10)


def test_empirical_in_pieces_on_images_and_far_from_the_origin(monkeypatch):
    data = points(50, 2, 3, 3, seed=6)
    x = points(11, 2, 3, 3)
    whole = Empirical(data).posterior_mean(x, 0.8, 0.6)
    assert whole.shape == x.shape
    monkeypatch.setattr(room, "BLOCK", 16)  # one row and three points at a time
    close(Empirical(data).posterior_mean(x, 0.8, 0.6), whole)
    close(Empirical(data + 1e4).posterior_mean(x + 0.8e4, 0.8, 0.6) - 1e4, whole, rtol=1e-7, atol=1e-7)
    flat = Empirical(data.flatten(1)).score_at(x.flatten(1), 0.8, 0.6)
    close(Empirical(data).score_at(x, 0.8, 0.6).flatten(1), flat)


def test_empirical_samples_are_its_points_and_little_noise_recalls_them():
    data = points(20, 4)
    law = Empirical(data)
    draws = law.sample(500, 0)
    nearest = torch.cdist(draws, data, compute_mode="donot_use_mm_for_euclid_dist").min(1)
    assert nearest.values.max() == 0 and nearest.indices.bincount(minlength=20).min() > 5
    noisy = draws + 1e-5 * points(500, 4, seed=1)
    close(law.posterior_mean(noisy, 1.0, 1e-5), draws)
    assert (law.posterior_variance(noisy, 1.0, 1e-5) < 1e-12).all()


# ---------------------------------------------------------------- boxes

@pytest.mark.parametrize("alpha, sigma", [(0.8, 0.6), (1.0, 0.2), (0.3, 0.95)])
def test_boxes_density_is_the_difference_of_normal_cdfs(alpha, sigma):
    law, x = chessboard(), points(200, 2, scale=1.2)
    edges = [(x.numpy()[:, None] - alpha * (law._c.numpy() + side * law.half)) / sigma for side in (-1, 1)]
    density = ((norm.cdf(edges[0]) - norm.cdf(edges[1])) / (2 * alpha * law.half)).prod(-1).mean(-1)
    inside = density > 1e-3
    close(law.log_prob_at(x, alpha, sigma)[inside], np.log(density[inside]), rtol=1e-11)


def interval_peer(x, alpha, sigma):
    """log density, mean and variance for a uniform law on [-1, 1] with 60 digits."""
    mp.mp.dps = 60
    x, alpha, sigma = mp.mpf(x), mp.mpf(alpha), mp.mpf(sigma)
    b, z = alpha / sigma, x / sigma
    low, high = -b - z, b - z
    mass = (mp.erfc(-high / mp.sqrt(2)) - mp.erfc(-low / mp.sqrt(2))) / 2
    if z < 0:
        mass = (mp.erfc(low / mp.sqrt(2)) - mp.erfc(high / mp.sqrt(2))) / 2
    first = (mp.npdf(low) - mp.npdf(high)) / mass
    second = 1 + (low * mp.npdf(low) - high * mp.npdf(high)) / mass - first**2
    return [float(v) for v in (mp.log(mass / (2 * alpha)), (z + first) / b, second / b**2, first / sigma)]


@pytest.mark.parametrize("alpha, sigma", [(1.0, 0.01), (1.0, 0.3), (0.6, 0.8), (0.01, 1.0), (1e-4, 1.0), (1.0, 20.0)])
def test_one_interval_against_sixty_digits(alpha, sigma):
    law, x = Boxes(tensor([[0.0]]), 1.0), tensor([-6.0, -1.02, -0.3, 0.0, 0.7, 1.0, 1.3, 3.0])
    peer = torch.tensor([interval_peer(v, alpha, sigma) for v in x.tolist()], dtype=F64)
    close(law.log_prob_at(x, alpha, sigma), peer[:, 0])
    close(law.posterior_mean(x, alpha, sigma), peer[:, 1])
    close(law.posterior_variance(x, alpha, sigma), peer[:, 2], rtol=1e-10, atol=1e-16)
    close(law.score_at(x, alpha, sigma), peer[:, 3], rtol=1e-10, atol=1e-10)


def test_chessboard_cells():
    law = chessboard(cells=4)
    x = law.sample(5000, 0)
    cell = torch.floor(x + 2).long()
    assert cell.min() == 0 and cell.max() == 3 and (cell.sum(1) % 2 == 0).all()
    counts = torch.bincount(cell[:, 0] * 4 + cell[:, 1], minlength=16)
    assert (counts > 0).sum() == 8 and stats.chisquare(counts[counts > 0].numpy()).pvalue > 0.01
    centres = law.centres.double()
    close(law.posterior_mean(centres, 1.0, 1e-3), centres)
    assert law.to(dtype=F64).sample(1, 0).dtype == F64


# ---------------------------------------------------------------- shapes along curves

def test_ring_is_smooth():
    """Seen along the circle, the density of the default ring varies by less than 1e-7."""
    law = ring(radius=1.0, std=0.1)
    angle = torch.linspace(0, 2 * math.pi, 1001, dtype=F64)
    values = law.log_prob(torch.stack([angle.cos(), angle.sin()], 1))
    assert values.max() - values.min() < 1e-7


def test_moons_are_those_of_scikit_learn():
    from sklearn.datasets import make_moons

    peer = torch.as_tensor(make_moons(4000, noise=0.1, random_state=0)[0])
    law = moons(0.1)
    close(peer.mean(0), law.mean, rtol=0.02, atol=0.02)
    close(peer.T.cov(), law.covariance, rtol=0.05, atol=0.02)
    sample = law.sample(4000, 0).double()
    assert abs(float(law.log_prob(peer).mean() - law.log_prob(sample).mean())) < 0.05


def test_spiral_lies_on_its_curve_evenly():
    law = spiral(turns=2, noise=0.05).to(dtype=F64)
    r = law.means.norm(dim=1)
    angle = 2 * math.pi * 2 * r
    close(law.means, torch.stack([r * angle.cos(), r * angle.sin()], 1), rtol=0, atol=2e-5)
    steps = law.means.diff(dim=0).norm(dim=1)
    assert steps.max() < 0.05 and steps.max() / steps.min() < 1.05


# ---------------------------------------------------------------- where the samples are

META = torch.device("meta")  # shapes without numbers; refuses tensors of another device as a GPU does


@pytest.mark.parametrize("name", ALL)
def test_a_law_follows_its_samples_to_another_device(name):
    """On "meta" values cannot be looked at, so a look at one (a host sync on a GPU) would raise as well."""
    law, before = ALL[name], ALL[name].device
    x = torch.empty(5, law.dim, dtype=F64, device=META)
    for method in (law.score_at, law.posterior_mean, law.log_prob_at, law.posterior_variance):
        for alpha, sigma in ((0.8, 0.6), (tensor(0.8), tensor(0.6)), (torch.full((5,), 0.8, device=META), 0.6)):
            assert method(x, alpha, sigma).device.type == "meta"
    assert law.device == before and law.score_at(points(5, law.dim), 0.8, 0.6).device == before


def test_the_copy_on_a_device_is_made_once_and_stays_out_of_pickles():
    law = mixture(1)
    alone = len(pickle.dumps(law))
    assert law.on(META) is law.on(META) and law.on(torch.device("cpu")) is law
    assert {value.device for value in vars(law.on(META)).values() if isinstance(value, torch.Tensor)} == {META}
    assert law.on(META).device == META and len(pickle.dumps(law)) == alone
    assert law.cdf(torch.empty(3, device=META)).device == META
    with pytest.raises(ValueError, match=r"sigma has the minimum -0\.6"):  # a level on the host is still checked
        law.score_at(torch.empty(3, 1, device=META), 0.8, -0.6)


# ---------------------------------------------------------------- narrow dtypes, empty batches, numpy

METHODS = ["score_at", "posterior_mean", "log_prob_at", "posterior_variance"]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_the_float64_result_rounded_once(name, dtype):
    law = ALL[name]
    x, level = law.sample(20, 0).to(dtype), torch.linspace(0.1, 0.9, 20).to(dtype)
    for method in METHODS:
        for alpha, sigma in ((0.8, 0.6), (level, 0.3), (level.double(), level)):
            exact = getattr(law, method)(x.double(), *(v.double() if isinstance(v, torch.Tensor) else v
                                                       for v in (alpha, sigma)))
            assert torch.equal(getattr(law, method)(x, alpha, sigma), exact.to(dtype))


@pytest.mark.parametrize("law", [mixture(), chessboard()], ids=repr)
def test_samples_of_a_half_precision_law_are_float64_s_rounded_once(law):
    wide = law.to(dtype=F64).sample(500, 3)
    for dtype in (torch.float16, torch.bfloat16):
        assert torch.equal(law.to(dtype=dtype).sample(500, 3), wide.to(dtype))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("lead", [(0,), (2, 0), (0, 3)])
def test_an_empty_batch_gives_an_empty_result(name, lead):
    law, x = ALL[name], torch.empty(*lead, ALL[name].dim)
    for method in METHODS:
        for level in (0.6, torch.full(lead, 0.6), torch.full(lead[:1], 0.6)):
            expected = x.shape if method in ("score_at", "posterior_mean") else lead
            assert getattr(law, method)(x, 0.8, level).shape == expected


@pytest.mark.parametrize("form", [lambda v: v[::-1].copy()[::-1], lambda v: v.astype(">f8"), np.asfortranarray])
def test_numpy_arrays_of_any_layout_are_numbers(form):
    mu, x = points(3, 2, seed=5), points(6, 2, seed=6)
    std, weights = np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.2, 0.3])

    def given(value):
        array = form(np.array(value.tolist() if isinstance(value, torch.Tensor) else value))
        array.flags.writeable = False
        return array

    law, same = GaussianMixture(mu, tensor(std.tolist()), tensor(weights.tolist())), GaussianMixture(
        given(mu), given(std), given(weights))
    assert same.dtype == F64
    pairs = [(law, same), (Empirical(mu), Empirical(given(mu))), (Boxes(mu, 0.5), Boxes(given(mu), np.float64(0.5)))]
    for law, same in pairs:
        for method in METHODS:
            expected = getattr(law, method)(x, 0.8, tensor([0.3] * 6))
            assert torch.equal(getattr(same, method)(given(x), np.float64(0.8), given([0.3] * 6)), expected)
        assert torch.equal(law.sample(np.int64(4), np.int64(1)), law.sample(4, 1))
    assert torch.equal(two_modes().cdf(given([0.5, 1.5])), two_modes().cdf(tensor([0.5, 1.5])))
    assert torch.equal(ring(np.float32(1.0), 0.1, np.int64(8)).means, ring(components=8).means)


@pytest.mark.parametrize("law", [mixture(), chessboard()], ids=repr)
def test_samples_have_a_floating_dtype(law):
    with pytest.raises(TypeError, match=r"dtype = torch\.int64"):
        law.to(dtype=torch.int64)


def test_float32_arrays_make_float32_laws_in_either_byte_order():
    assert GaussianMixture(np.zeros((2, 1), ">f4"), 1.0).dtype == torch.float32
    assert GaussianMixture(np.zeros((2, 1), np.int64), 1.0).dtype == torch.float32


@pytest.mark.parametrize("sigma", [1e-30, 1e-20, 1e17, 1e20, 1e30])
def test_levels_whose_squares_float32_does_not_hold(sigma):
    """Posterior mean, score and variance are those of float64, rounded once."""
    law, x = GaussianMixture([0.0, 3.0], 1.0), torch.tensor([[0.1], [2.0]])
    for name in ("posterior_mean", "score_at", "posterior_variance", "log_prob_at"):
        wide = getattr(law, name)(x.double(), 1.0, sigma)
        assert torch.equal(getattr(law, name)(x, 1.0, sigma), wide.float()), name
        assert bool(wide.isfinite().all())


@pytest.mark.parametrize("law", [mixture(), Empirical(points(9, 2)), chessboard(), GaussianMixture([0.0, 2.0], 0.3)],
                         ids=["mixture", "points", "boxes", "line"])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_density_and_score_at_once_are_those_of_each_alone(law, dtype):
    x = points(4, 5, law.dim).to(dtype)
    for alpha, sigma in ((0.8, 0.6), (torch.tensor([0.9, 0.8, 0.7, 0.1]), torch.tensor([0.1, 0.3, 0.7, 1.0])),
                         (1.0, 1e-20)):
        density, score = law.log_prob_and_score_at(x, alpha, sigma)
        assert torch.equal(density, law.log_prob_at(x, alpha, sigma))
        assert torch.equal(score, law.score_at(x, alpha, sigma)) and score.dtype == dtype
    if law.dim == 1:
        density, score = law.log_prob_and_score_at(x[0, :, 0], 0.8, 0.6)
        assert torch.equal(density, law.log_prob_at(x[0, :, 0], 0.8, 0.6)) and score.shape == (5,)
