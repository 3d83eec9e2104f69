"""Variance of the pair fraction and split of its ratio against independent formulas; the two errata of the source."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm

from diffnotes.chapters.measuring import pair_fraction_variance
from diffnotes.core.law import GaussianMixture, two_modes
from diffnotes.measure.crowding import ansd, law_pair_fraction, law_renyi2, mixture_split

NORMAL = GaussianMixture(torch.zeros(1, dtype=torch.float64), 1.0)


def test_variance_against_orthants_of_the_bivariate_normal() -> None:
    """For one Gaussian, E h(X, X') h(X, X'') is a probability of the bivariate normal law of the two differences."""
    eps, n = 0.5, 7
    close = 2 * norm.cdf(eps / math.sqrt(2)) - 1
    both = multivariate_normal([0, 0], [[2, 1], [1, 2]])
    corners = {(a, b): both.cdf([a * eps, b * eps]) for a in (-1, 1) for b in (-1, 1)}
    triple = corners[1, 1] - corners[-1, 1] - corners[1, -1] + corners[-1, -1]
    expected = 2 / (n * (n - 1)) * (2 * (n - 2) * (triple - close**2) + close * (1 - close))
    assert pair_fraction_variance(NORMAL, eps, n) == pytest.approx(expected, rel=1e-6)


def test_variance_of_a_mixture_against_scipy() -> None:
    law, eps, n = two_modes(1.0, 0.2).to(dtype=torch.float64), 0.05, 100

    def density(x: float) -> float:
        return (norm.pdf(x, -1, 0.2) + norm.pdf(x, 1, 0.2)) / 2

    def near(x: float) -> float:
        return sum(norm.cdf(x + eps, m, 0.2) - norm.cdf(x - eps, m, 0.2) for m in (-1, 1)) / 2

    close, square = (quad(lambda x, k=k: density(x) * near(x) ** k, -3, 3, points=(-1, 0, 1), epsabs=1e-13)[0]
                     for k in (1, 2))
    expected = 2 / (n * (n - 1)) * (2 * (n - 2) * (square - close**2) + close * (1 - close))
    assert pair_fraction_variance(law, eps, n) == pytest.approx(expected, rel=1e-9)


def test_variance_against_simulation() -> None:
    eps, n, repeats = 0.3, 20, 20_000
    x = torch.randn(repeats, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    near = (x[:, :, None] - x[:, None]).abs() <= eps
    fraction = (near.sum((1, 2)) - n) / (n * (n - 1))
    assert float(fraction.var()) == pytest.approx(pair_fraction_variance(NORMAL, eps, n), rel=0.05)


def test_two_points_are_one_coin() -> None:
    close = 2 * norm.cdf(0.2 / math.sqrt(2)) - 1
    assert pair_fraction_variance(NORMAL, 0.2, 2) == pytest.approx(close * (1 - close), rel=1e-12)


@pytest.mark.parametrize(("law", "eps", "n", "word"), [
    (GaussianMixture(np.zeros((1, 2)), 1.0), 0.1, 5, "law"), (GaussianMixture([0.0], 0.0), 0.1, 5, "law"),
    (NORMAL, 0.0, 5, "eps"), (NORMAL, math.inf, 5, "eps"), (NORMAL, 0.1, 1, "n = "), (NORMAL, 0.1, 2.5, "n = "),
])  # fmt: skip
def test_refusals(law: GaussianMixture, eps: float, n: int, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        pair_fraction_variance(law, eps, n)


def test_split_against_quadrature() -> None:
    law, generated, eps = two_modes(1.0, 0.2), GaussianMixture([-0.9, 1.1], [0.15, 0.3], [0.6, 0.4]), 0.05

    def close(p: GaussianMixture, q: GaussianMixture) -> float:
        def integrand(x: float) -> float:
            at = torch.tensor([x], dtype=torch.float64)
            return float(p.log_prob(at[:, None]).exp() * (q.cdf(at + eps) - q.cdf(at - eps)))

        return quad(integrand, -4, 4, points=(-1, 0, 1), epsabs=1e-12)[0]

    true, cross, own = close(law, law), close(generated, law), close(generated, generated)
    split = mixture_split(generated, law, eps)
    assert split.ratio == pytest.approx(own / true, rel=1e-7)
    assert split.shift == pytest.approx(2 * (cross / true - 1), abs=1e-7)
    assert split.ratio == pytest.approx(1 + split.shift + split.unevenness, abs=1e-12)


def test_unevenness_can_be_negative() -> None:
    """The indicator is not positive definite: a comb of period 2 eps/1.5 has fewer close pairs than its envelope."""
    eps = 0.3
    comb = torch.arange(-40, 41, dtype=torch.float64) * (2 * eps / 1.5 * 1.05)
    weights = torch.exp(-comb.square() / 2)
    smooth, rough = GaussianMixture(comb, 0.5 * eps, weights), GaussianMixture(comb, 0.1 * eps, weights)
    assert mixture_split(rough, smooth, eps).unevenness < 0
    assert mixture_split(rough, smooth, 1e-4).unevenness > 0


def test_ansd_averages_over_all_samples() -> None:
    """The printed formula divides by the number of samples: dividing by a neighbourhood's size gives another number."""
    x = torch.tensor([0.0, 0.1, 0.2, 5.0], dtype=torch.float64)
    counts = [2, 2, 2, 0]  # neighbours within 0.3
    assert ansd(x, 0.3) == sum(counts) / len(x)
    assert ansd(x, 0.3) != sum(counts) / max(counts)


def test_two_readings_of_the_spread() -> None:
    """0.2 as a deviation or as a variance: different laws, different pair fractions."""
    for std, square, close in ((0.2, 0.7052, 0.0141), (math.sqrt(0.2), 0.3175, 0.0064)):
        law = two_modes(1.0, std)
        x = torch.linspace(-6, 6, 40_001, dtype=torch.float64)
        density = torch.as_tensor(norm.pdf(x, -1, std) + norm.pdf(x, 1, std)) / 2
        assert law_renyi2(law) == pytest.approx(float(torch.trapezoid(density**2, x)), rel=1e-9)
        assert law_renyi2(law) == pytest.approx(square, abs=1e-4)
        assert law_pair_fraction(law, 0.01) == pytest.approx(close, abs=1e-4)


def test_numbers_of_any_kind() -> None:
    expected = pair_fraction_variance(NORMAL, 0.5, 50)
    for eps, n in ((np.float32(0.5), np.int64(50)), (torch.tensor(0.5), torch.tensor(50)), (np.array(0.5), 50.0)):
        assert pair_fraction_variance(NORMAL, eps, n) == expected
