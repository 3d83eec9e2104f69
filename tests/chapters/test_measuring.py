"""The chapter's measures against independent formulas: the pair fraction's variance, memorisation, the split, laws that
mislead, the tail index, rank correlations, images; the two errata of the source."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import erf
from scipy.stats import multivariate_normal, norm, spearmanr

from diffnotes import Empirical, Exact, Linear, grid, ode, prior, sde
from diffnotes.chapters import measuring
from diffnotes.chapters.measuring import pair_fraction_variance
from diffnotes.core.data import digits_split
from diffnotes.core.law import GaussianMixture, two_modes
from diffnotes.measure.crowding import ansd, law_pair_fraction, law_renyi2, mixture_split
from diffnotes.measure.interval import Interval

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


# --- what is estimated ------------------------------------------------------------------------------------------------


def test_linear_range_of_one_gaussian():
    """C(eps) = erf(eps/2) and its limit eps/sqrt(pi) part by a given share where scipy says so."""
    end = brentq(lambda r: r / math.sqrt(math.pi) / erf(r / 2) - 1.02, 0.1, 2)
    radii = torch.tensor([0.1, end * 0.999, end * 1.001, 3.0], dtype=torch.float64)
    assert measuring.linear_range(NORMAL, radii) == pytest.approx(end * 0.999, rel=1e-12)
    with pytest.raises(ValueError, match="tolerance = 1e-09"):
        measuring.linear_range(NORMAL, radii, 1e-9)


def test_pair_fractions_are_those_of_the_sets_one_after_the_other():
    found = measuring.pair_fractions(NORMAL, [3, 40], [0.1, 1.0], 50, 7)
    assert found.shape == (2, 50, 2)
    generator = torch.Generator().manual_seed(7)
    for i, n in enumerate((3, 40)):
        for row in found[i]:
            x = NORMAL.sample(n, generator)[:, 0].numpy()
            near = np.abs(x[:, None] - x) <= np.array([0.1, 1.0])[:, None, None]
            assert row.tolist() == pytest.approx(((near.sum((1, 2)) - n) / (n * (n - 1))).tolist(), abs=1e-12)
    gap = (found[1].mean(0) - law_pair_fraction(NORMAL, [0.1, 1.0])).abs()
    assert bool((gap < 4 * found[1].std(0) / 50**0.5).all())


def test_the_farthest_interval_holds_its_estimate():
    ends = [[1.1, 0.7], [1.0, 1.2]], [[1.0, 0.75], [0.0, 0.0]], [[2.0, 2.0], [2.0, 2.0]]
    found = Interval(*(torch.tensor(end, dtype=torch.float64) for end in ends))
    assert measuring.farthest(found) == pytest.approx((0.7, 0.7, 2.0))
    assert measuring.farthest(found, about=0.7) == pytest.approx((1.2, 0.0, 2.0))


# --- memorisation -----------------------------------------------------------------------------------------------------


def test_memory_formula_counts_pairs_of_draws_with_replacement():
    law, x = two_modes(1.0, 0.2), torch.tensor([0.0, 0.04, 0.2, 1.0, 1.03], dtype=torch.float64)
    gap = np.subtract.outer([-1, 1], [-1, 1]).ravel()  # of the modes: X - X' is normal about each
    close = np.mean(norm.cdf((0.05 - gap) / 0.08**0.5) - norm.cdf((-0.05 - gap) / 0.08**0.5))
    near = (np.abs(np.subtract.outer(x.numpy(), x.numpy())) <= 0.05).mean()  # a point with itself, too
    assert measuring.memory_formula(x[:, None], law, 0.05) == pytest.approx(near / close, rel=1e-9)


def test_memory_formula_is_on_average_that_of_the_proposition():
    law, n, eps = two_modes(1.0, 0.2), 20, 0.1
    found = torch.tensor([measuring.memory_formula(law.sample(n, seed).double(), law, eps) for seed in range(400)])
    expected = 1 - 1 / n + 1 / (n * law_pair_fraction(law, eps))
    assert float((found.mean() - expected).abs()) < 4 * float(found.std()) / 20


def test_samplers_with_the_score_of_few_points_repeat_them():
    law, x = two_modes(1.0, 0.2), torch.tensor([[-1.1], [-0.7], [0.8], [1.3]], dtype=torch.float64)
    memorised, generator = Exact(Empirical(x), Linear()), torch.Generator().manual_seed(0)
    steps = {"ODE": 60, "SDE": 200, "coarse SDE": 20}
    found = measuring.memory_ratios(memorised, law, 0.05, steps, 1000, generator)
    assert list(found) == [*steps, "formula"]
    assert found["formula"] == pytest.approx(0.25 / law_pair_fraction(law, 0.05), rel=1e-12)
    assert found["ODE"] == pytest.approx(found["formula"], rel=0.02)
    assert found["SDE"] == pytest.approx(found["formula"], rel=0.06) and found["coarse SDE"] < 0.9 * found["SDE"]
    with pytest.raises(ValueError, match="memorised"):
        measuring.memory_ratios(Exact(law, Linear()), law, 0.05, steps, 1000, generator)


# --- the tail index, and ranks ----------------------------------------------------------------------------------------


def test_memory_keeps_the_ratios_set_by_set(monkeypatch):
    monkeypatch.setattr(measuring, "MEMORY_POINTS", 60)
    law, steps = two_modes(1.0, 0.2).to(dtype=torch.float64), {"ODE": 8, "SDE": 12}
    made = measuring.Memory(law, 0.05, (5, 12), 3, steps, 4)
    found = made.read(made.train().networks)
    assert list(found) == ["ODE", "SDE", "formula"] and {rows.shape for rows in found.values()} == {(3, 2)}
    assert made.blank()["ratios"].values.shape == (3, 3, 2)
    generator = torch.Generator().manual_seed(4)
    points = law.sample(5, generator)
    first = measuring.memory_ratios(Exact(Empirical(points), Linear()), law, 0.05, steps, 60, generator)
    assert {name: float(rows[0, 0]) for name, rows in found.items()} == pytest.approx(first, rel=1e-6)


def test_tids_of_gaussians_are_their_tail_index():
    """For a Gaussian gamma = (z^2 - 1)/2 + z phi(z)/kappa with P(|X| <= z) = kappa, wherever it is and however wide."""
    n, kappa = 20_000, 0.2
    z = norm.ppf((1 + kappa) / 2)
    closed = (z**2 - 1) / 2 + z * norm.pdf(z) / kappa
    x = torch.stack([NORMAL.quantile(measuring.levels(n)) + shift for shift in (0.0, 5.0)])
    even = torch.linspace(0, 1, n, dtype=torch.float64).expand(2, -1)
    for scale in (1.0, 3.0):
        found = measuring.tids(scale * x, even, 0.02 * scale, kappa)
        assert found.tolist() == pytest.approx([closed] * 2, rel=0.05)
    with pytest.raises(ValueError, match=r"reference \(1, 20000\)"):
        measuring.tids(x, even[:1], 0.02, kappa)


def test_counts_of_few_samples_look_peaked():
    found = measuring.tids_of_law(two_modes(1.0, 0.2), [100, 2000], (0.05, 0.2), 0.05, 10, 3)
    again = measuring.tids_of_law(two_modes(1.0, 0.2), [100, 2000], (0.2,), 0.05, 10, 3)
    assert set(found) == {0.05, 0.2} and found[0.2].shape == (2, 10)
    assert torch.equal(found[0.2], again[0.2])  # the same samples, whatever shares are asked for
    for bias in found.values():
        assert bias[0].mean() > 3 * bias[1].mean().abs()


def test_masses_give_the_tail_index_that_counts_tend_to():
    """Of a Gaussian, (z^2 - 1)/2 + z phi(z)/kappa in the limit; whole counts of as many points are far coarser."""
    gauss, n, kappa = GaussianMixture(torch.zeros(1, dtype=torch.float64), 1.0), 4000, 0.2
    x, even = gauss.quantile(measuring.levels(n)), torch.linspace(0, 1, n, dtype=torch.float64)
    z = float(gauss.quantile(torch.tensor((1 + kappa) / 2, dtype=torch.float64)))
    closed = (z**2 - 1) / 2 + z * math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) / kappa
    for scale in (1.0, 3.0):
        found = measuring.smooth_tids(scale * x[None], even[None], 0.02 * scale, kappa)
        assert found.tolist() == pytest.approx([closed], abs=2e-4)
    rows = torch.stack([x, 1.3 * x])
    counted, smooth = (one(rows, torch.stack([x, x]), 0.05, 0.05)
                       for one in (measuring.tids, measuring.smooth_tids))
    torch.testing.assert_close(smooth, counted, rtol=0, atol=0.02)
    for x, share, word in ((rows, 1.0, "share = 1.0"), (rows[0], 0.1, r"x has shape \(4000,\)")):
        with pytest.raises(ValueError, match=word):
            measuring.smooth_tids(x, rows, 0.05, share)


def test_agreement_is_the_rank_correlation_of_means():
    generator = torch.Generator().manual_seed(0)
    first = torch.arange(12.0)[:, None] + 4 * torch.randn(12, 6, generator=generator, dtype=torch.float64)
    second = first + 4 * torch.randn(12, 6, generator=generator, dtype=torch.float64)
    found = measuring.agreement(first, second, 0, resamples=4000)
    assert found.value == pytest.approx(spearmanr(first.mean(1), second.mean(1)).statistic, rel=1e-12)
    means = [table.mean(1).numpy() for table in (first, second)]
    draws = np.random.default_rng(0).integers(12, size=(4000, 12))  # settings, not seeds
    ends = np.quantile([spearmanr(*(one[pick] for one in means)).statistic for pick in draws], [0.025, 0.975])
    assert found[1:] == pytest.approx(ends.tolist(), abs=0.06)
    one = torch.arange(9.0)[:, None].expand(9, 3)
    assert measuring.agreement(one, one.exp(), 0) == pytest.approx((1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match=r"second \(9, 2\)"):
        measuring.agreement(one, one[:, :2], 0)


# --- laws that mislead ------------------------------------------------------------------------------------------------


def test_a_leak_compensates_narrow_modes():
    law = two_modes(1.0, 0.2)
    found = measuring.compensated(law, 0.05)
    assert law_pair_fraction(found, 0.05) == pytest.approx(law_pair_fraction(law, 0.05), rel=1e-12)
    assert found.std.tolist() == pytest.approx([0.12, 0.12, 0.8]) and float(found.weights[-1]) > 0.1
    with pytest.raises(ValueError, match=r"narrow = 0\.3"):
        measuring.compensated(law, 0.05, narrow=0.3)


def test_what_counts_and_distances_say_of_a_translation():
    unit = GaussianMixture(torch.zeros(1, dtype=torch.float64), 1.0)
    found = measuring.misled(GaussianMixture(torch.full((1,), 0.5, dtype=torch.float64), 1.0), unit, 0.1, 500)
    assert found.ratio == pytest.approx(1, abs=1e-12) and found.tid == pytest.approx(0, abs=1e-12)
    assert found.shift == pytest.approx(-found.uneven, abs=1e-12) and found.shift < -0.05
    assert found.w1 == pytest.approx(0.5, rel=1e-5)
    assert found.tv == pytest.approx(2 * norm.cdf(0.25) - 1, rel=1e-5)


# --- images -----------------------------------------------------------------------------------------------------------


def test_curves_of_images():
    """Of a Gaussian whose samples are about as far apart as digits, against the samplers and pairs by hand."""
    net = Exact(GaussianMixture(torch.zeros(1, 64), 0.55), Linear())
    net.members = 2
    shares = torch.tensor([0.01, 0.5], dtype=torch.float64)
    found = measuring.image_curves("digits", net, (3, 4), shares, 40, 4)
    assert list(found) == ["ODE", "SDE", "held out"] and {rows.shape for rows in found.values()} == {(2, 2)}
    assert found["held out"].flatten().tolist() == pytest.approx([1] * 4, abs=0.25)
    generator = torch.Generator().manual_seed(3)
    start = prior(Linear(), (2, 40, 64), generator).double()
    x = {"ODE": ode(net, start, grid(Linear(), 4, kind="quadratic"), method="heun").double()}
    x["SDE"] = sde(net, start, grid(Linear(), 8, kind="quadratic"), generator=generator).double()
    for i, seed in enumerate((3, 4)):
        train = torch.pdist(digits_split(seed)[0].x[:1000].double())
        radii = torch.from_numpy(np.quantile(train.numpy(), shares.numpy()))
        for kind, made in x.items():
            close = (torch.pdist(made[i]) <= radii[:, None]).double().mean(1)
            assert 0 < close[1] < 1
            assert found[kind][i].tolist() == pytest.approx((close / shares).tolist(), rel=1e-3)
    for seeds, wrong, word in (((3,), shares, "2 members"), ((3, 4), shares * 2, "shares")):
        with pytest.raises(ValueError, match=word):
            measuring.image_curves("digits", net, seeds, wrong, 40, 4)
