"""KL and chi^2 against closed forms, scipy's quadrature and sums written out."""

import math

import pytest
import scipy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffnotes.core.law import GaussianMixture, two_modes
from diffnotes.measure.divergence import chi2, covariance_kl, integral, kl

F64 = torch.float64


def gauss(mean, std):
    return GaussianMixture(torch.tensor([mean], dtype=F64), std)


def near(a, b, rel=1e-12, abs_=1e-13):
    assert float(a) == pytest.approx(float(b), rel=rel, abs=abs_)


# ---------------------------------------------------------------- mixtures on the line


@settings(deadline=None, max_examples=40)
@given(st.floats(-5, 5), st.floats(0.05, 5), st.floats(-5, 5), st.floats(0.05, 5))
def test_divergences_of_gaussians(m, s, n, r):
    near(kl(gauss(m, s), gauss(n, r)), math.log(r / s) + (s**2 + (m - n) ** 2) / (2 * r**2) - 0.5, rel=1e-9, abs_=1e-12)
    found = chi2(gauss(m, s), gauss(n, r))
    left = 2 * r**2 - s**2
    if left <= 0:
        assert found == math.inf
    elif left > 1e-3 * r**2 and (exponent := (m - n) ** 2 / left) < 500:
        near(found, r**2 / (s * math.sqrt(left)) * math.exp(exponent) - 1, rel=1e-8, abs_=1e-11)


def test_divergences_of_mixtures_against_adaptive_quadrature():
    p, q = two_modes().to(dtype=F64), GaussianMixture(torch.tensor([-1.0, 1.2], dtype=F64), [0.25, 0.3], [0.3, 0.7])

    def log(law, x):
        return float(law.log_prob(torch.tensor([x], dtype=F64)))

    options = {"limit": 400, "epsabs": 1e-13, "epsrel": 1e-13, "points": [-1.0, 0.0, 1.0]}
    of_kl = scipy.integrate.quad(lambda x: math.exp(log(p, x)) * (log(p, x) - log(q, x)), -4, 4, **options)[0]
    of_chi2 = scipy.integrate.quad(lambda x: math.exp(2 * log(p, x) - log(q, x)), -4, 4, **options)[0] - 1
    near(kl(p, q), of_kl, rel=1e-10)
    near(chi2(p, q), of_chi2, rel=1e-10)
    assert kl(p, p) == chi2(p, p) == 0
    assert kl(p.to(dtype=torch.float32), q).dtype == chi2(p, q).dtype == F64


def test_divergences_with_very_different_widths():
    """A kink of width .0002 in log q, and p 1000 times narrower than q."""
    q = GaussianMixture(torch.tensor([-1.0, 1.0], dtype=F64), 0.02)
    z = 1 / math.sqrt(2 * math.pi)
    # log q = -log(2 .02 sqrt(2 pi)) - (|x| - 1)^2/(2 .02^2) up to log(1 + exp(-2|x|/.02^2)), whose mean over N(0, 1)
    # is density(0) 2 (.02^2/2) pi^2/12 + O(.02^6).
    expected = (-0.5 * math.log(2 * math.pi * math.e) + math.log(2 * 0.02 * math.sqrt(2 * math.pi))
                + (2 - 4 * z) / (2 * 0.02**2) - z * 0.02**2 * math.pi**2 / 12)
    near(kl(gauss(0.0, 1.0), q), expected, rel=1e-12)
    near(kl(gauss(0.0, 1e-3), gauss(0.0, 1.0)), -math.log(1e-3) + 1e-6 / 2 - 0.5, rel=1e-12)
    near(chi2(gauss(0.0, 1e-3), gauss(0.0, 1.0)), 1e3 / math.sqrt(2 - 1e-6) - 1, rel=1e-11)


def test_small_divergences_keep_their_digits():
    """KL ~ chi^2/2 ~ shift^2/2 for a small shift: neither is a difference of large numbers."""
    shift = 1e-5
    near(kl(gauss(shift, 1.0), gauss(0.0, 1.0)), shift**2 / 2, rel=1e-8, abs_=0)
    near(chi2(gauss(shift, 1.0), gauss(0.0, 1.0)), math.expm1(shift**2), rel=1e-8, abs_=0)


def test_chi2_is_infinite_for_tails_twice_as_wide_and_zero_weights_do_not_count():
    assert chi2(gauss(0.0, math.sqrt(2.0) + 1e-12), gauss(0.0, 1.0)) == math.inf
    near(kl(gauss(0.0, math.sqrt(2.0)), gauss(0.0, 1.0)), (1 - math.log(2)) / 2)
    # Just inside: the integrand has its maximum at 2/(2 - 1.4^2) = 50, far from both laws.
    near(chi2(gauss(1.0, 1.4), gauss(0.0, 1.0)), math.exp(25) / (1.4 * 0.2) - 1, rel=1e-10)
    p = GaussianMixture(torch.tensor([0.0, 0.0], dtype=F64), [1.0, 5.0], [1.0, 0.0])
    near(chi2(p, gauss(0.5, 1.0)), math.expm1(0.25), rel=1e-10)
    assert chi2(gauss(40.0, 1.0), gauss(0.0, 1.0)) == math.inf  # e^1600: beyond float64


def test_the_integral_of_what_has_an_antiderivative():
    knots = torch.linspace(-3.0, 5.0, 4, dtype=F64)
    # a kink that is no knot, and a jump
    near(integral(lambda x: torch.exp(-x.abs()), knots), 2 - math.exp(-3) - math.exp(-5), rel=1e-12)
    near(integral(lambda x: (x > 0.3).double(), knots), 4.7, rel=1e-9)


# ---------------------------------------------------------------- masses


def test_masses_of_finely_cut_laws_have_the_divergences_of_the_laws():
    p, q = GaussianMixture(torch.tensor([-0.5, 1.0], dtype=F64), 0.6, [0.3, 0.7]), gauss(0.2, 1.1)
    edges = torch.linspace(-9, 9, 6001, dtype=F64)
    cut = [law.cdf(edges).diff().clamp(min=1e-300) for law in (p, q)]
    cut = [mass / mass.sum() for mass in cut]
    near(kl(*cut), kl(p, q), rel=1e-5)
    near(chi2(*cut), chi2(p, q), rel=1e-5)


def test_masses_by_hand():
    p, q = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]]), torch.tensor([0.25, 0.25, 0.5])
    assert kl(p, q).shape == chi2(p, q).shape == (2,) and kl(p, q).dtype == F64
    near(kl(p, q)[0], math.log(2))
    near(chi2(p, q)[0], 2 * 0.25 + 0.5)
    assert kl(q, p)[0] == chi2(q, p)[0] == math.inf  # mass where the other has none
    assert bool((kl(p, p) == 0).all() and (chi2(p, p) == 0).all())


# ---------------------------------------------------------------- covariances


def test_covariances_against_torchs_own():
    a = torch.randn(5, 3, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    first, second = a @ a.mT + 0.1 * torch.eye(3, dtype=F64), torch.diag(torch.tensor([0.5, 1.0, 2.0], dtype=F64))
    zero = torch.zeros(3, dtype=F64)
    laws = [torch.distributions.MultivariateNormal(zero, c) for c in (first, second)]
    torch.testing.assert_close(covariance_kl(first, second), torch.distributions.kl_divergence(*laws))
    one = torch.tensor([[1.7]], dtype=F64)
    near(covariance_kl(one, torch.eye(1, dtype=F64)), kl(gauss(0.0, 1.7**0.5), gauss(0.0, 1.0)), rel=1e-10)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("make, names", [
    (lambda: kl(GaussianMixture(torch.zeros(3, 2), 1.0), two_modes()), "p"),
    (lambda: chi2(two_modes(), GaussianMixture([0.0], 0.0)), "q"),
    (lambda: chi2(torch.ones(3), torch.ones(3) / 3), "p"),
    (lambda: kl(torch.ones(2) / 2, torch.tensor([1.5, -0.5])), "q"),
    (lambda: covariance_kl(torch.eye(2), torch.eye(3)), "first"),
    (lambda: covariance_kl(torch.ones(2), torch.eye(2)), "first"),
])
def test_bad_values_are_named(make, names):
    with pytest.raises(ValueError, match=rf"^{names}\b.*allowed"):
        make()


@pytest.mark.parametrize("p, q", [
    ([0.5, 0.5], torch.ones(2) / 2), (two_modes(), torch.ones(2) / 2), (1.0, 2.0),
    (torch.tensor([0, 1]), torch.tensor([0.5, 0.5])),
])
def test_bad_types_are_named(p, q):
    for divergence in (kl, chi2):
        with pytest.raises(TypeError, match=r"^p = .*allowed"):
            divergence(p, q)
