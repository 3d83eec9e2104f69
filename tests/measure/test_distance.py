"""Distances against scipy, closed forms and each other."""

import math

import numpy as np
import pytest
import scipy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from diffnotes.core.law import GaussianMixture, two_modes
from diffnotes.measure.distance import (
    SlicedDistance,
    energy_distance,
    frechet_distance,
    sliced_wasserstein,
    wasserstein1,
    wasserstein1_to,
)

F64 = torch.float64


def draws(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


def gauss(mean, std):
    return GaussianMixture(torch.tensor([mean], dtype=F64), std)


def near(a, b, rel=1e-12, abs_=1e-13):
    assert float(a) == pytest.approx(float(b), rel=rel, abs=abs_)


# ---------------------------------------------------------------- Wasserstein on the line

numbers = st.lists(st.floats(-100, 100), min_size=1, max_size=30)


@settings(deadline=None, max_examples=80)
@given(numbers, numbers)
def test_wasserstein1_and_energy_are_scipys_on_the_line(x, y):
    a, b = torch.tensor(x, dtype=F64), torch.tensor(y, dtype=F64)
    near(wasserstein1(a, b), stats.wasserstein_distance(x, y), rel=1e-10, abs_=1e-11)
    near(energy_distance(a, b), stats.energy_distance(x, y), rel=1e-7, abs_=1e-6)


@pytest.mark.parametrize("n, m", [(1000, 1000), (1000, 17), (6, 9), (1, 5)])
def test_wasserstein1_sizes_and_members(n, m):
    x, y = draws(4, n, 1), 2 * draws(4, m, 1, seed=1) + 1
    together = wasserstein1(x, y)
    assert together.shape == (4,)
    for i in range(4):
        near(together[i], stats.wasserstein_distance(x[i, :, 0], y[i, :, 0]))
    torch.testing.assert_close(wasserstein1(x, y[0]), torch.stack([wasserstein1(x[i], y[0]) for i in range(4)]))


def test_wasserstein1_of_shift_scale_and_float32():
    x = draws(500)
    near(wasserstein1(x, x + 0.25), 0.25)
    near(wasserstein1(x, 3 * x), 2 * x.abs().mean())
    assert wasserstein1(x.float(), x.float()).dtype == torch.float32
    # Sums are done in float64: a small shift of a large float32 sample is not lost.
    big = (draws(10_000) + 1000).float()
    near(wasserstein1(big, big + 0.5), float((big.double() - (big + 0.5).double()).abs().mean()), rel=1e-6)


def test_wasserstein1_to_a_law_is_the_limit_of_samples_and_exact_for_one_point():
    # One point c against N(m, s^2) is E|c - X|.
    c, m, s = 0.3, -0.5, 0.7
    z = (c - m) / s
    near(wasserstein1_to(torch.tensor([c], dtype=F64), gauss(m, s)),
         s * (2 * stats.norm.pdf(z) + z * (2 * stats.norm.cdf(z) - 1)))
    law, x = two_modes(), two_modes().sample(200, 0).double()
    n = 200_000
    fine = law.quantile((torch.arange(n, dtype=F64) + 0.5) / n)
    near(wasserstein1_to(x, law), wasserstein1(x[:, 0], fine), rel=1e-5)
    far = torch.tensor([-1e3, 1e3], dtype=F64)
    near(wasserstein1_to(far, gauss(0.0, 1.0)), 1e3 - math.sqrt(2 / math.pi), rel=1e-12)


def test_wasserstein1_to_falls_as_the_root_of_n():
    law = gauss(0.0, 1.0)
    means = [np.mean([float(wasserstein1_to(draws(n, seed=s), law)) for s in range(20)]) for n in (100, 10_000)]
    assert 7 < means[0] / means[1] < 14


# ---------------------------------------------------------------- sliced Wasserstein

def test_sliced_wasserstein_is_the_mean_over_its_directions():
    x, y = draws(60, 3), draws(45, 3, seed=1) + 0.5
    g = torch.Generator().manual_seed(7)
    direction = torch.randn(20, 3, generator=g, dtype=F64)
    direction = direction / direction.norm(dim=1, keepdim=True)
    slices = [stats.wasserstein_distance((x @ d).numpy(), (y @ d).numpy()) for d in direction]
    near(sliced_wasserstein(x, y, 20, 7, p=1), np.mean(slices))


@pytest.mark.parametrize("p", [1, 2])
def test_sliced_wasserstein_of_a_shift(p):
    """For y = x + s every slice is |<d, s>|: in the plane the means are 2|s|/pi and |s|^2/2."""
    x, s = draws(30, 2), torch.tensor([3.0, 4.0], dtype=F64)
    exact = 5 * 2 / math.pi if p == 1 else 5 / math.sqrt(2)
    near(sliced_wasserstein(x, x + s, 20_000, 0, p=p), exact, rel=0.01)


def test_sliced_wasserstein_members_blocks_and_line(monkeypatch):
    x, y = draws(3, 50, 2), draws(3, 40, 2, seed=1)
    together = sliced_wasserstein(x, y, 64, 5)
    assert torch.allclose(together, torch.stack([sliced_wasserstein(x[i], y[i], 64, 5) for i in range(3)]), rtol=1e-12)
    monkeypatch.setattr("diffnotes.distance.BLOCK", 1000)
    assert torch.allclose(sliced_wasserstein(x, y, 64, 5), together, rtol=1e-12)
    near(sliced_wasserstein(x[0, :, :1], y[0, :, :1], 3, 0, p=1), wasserstein1(x[0, :, :1], y[0, :, :1]))
    near(sliced_wasserstein(x, x, 8, 0)[1], 0)


# ---------------------------------------------------------------- energy

def test_energy_distance_in_the_plane_against_all_pairs(monkeypatch):
    x, y = draws(40, 2), draws(30, 2, seed=1) + 0.3

    def gap(a, b):
        return (a[:, None] - b[None]).norm(dim=-1).mean()

    exact = (2 * gap(x, y) - gap(x, x) - gap(y, y)).sqrt()
    near(energy_distance(x, y), exact, rel=1e-10)
    monkeypatch.setattr("diffnotes.distance.BLOCK", 30)
    near(energy_distance(x, y), exact, rel=1e-10)
    near(energy_distance(torch.stack([x, 2 * x]), y)[0], exact, rel=1e-10)


def test_energy_distance_on_a_line_in_the_plane_is_that_on_the_line():
    x, y = draws(70), draws(50, seed=1) + 0.4
    turn = torch.tensor([0.6, 0.8], dtype=F64)
    near(energy_distance(x[:, None] * turn, y[:, None] * turn), energy_distance(x, y), rel=1e-9)
    near(energy_distance(x, x), 0)


# ---------------------------------------------------------------- Frechet

@pytest.mark.parametrize("d", [1, 3, 20])
def test_frechet_distance_against_the_matrix_root(d):
    x, y = draws(100, d) @ draws(d, d, seed=5), draws(80, d, seed=1) + 1
    cx, cy = (np.cov(v.numpy().T).reshape(d, d) for v in (x, y))
    root = scipy.linalg.sqrtm(cx @ cy).real
    exact = np.sum((x.mean(0) - y.mean(0)).numpy() ** 2) + np.trace(cx + cy - 2 * root)
    near(frechet_distance(x, y), exact, rel=1e-10)
    near(frechet_distance(y, x), exact, rel=1e-10)


def test_frechet_distance_of_commuting_and_singular_covariances():
    x = draws(200, 4)
    scale = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=F64)
    x = torch.linalg.qr(x - x.mean(0)).Q * math.sqrt(199)  # mean 0, covariance I, exactly
    near(frechet_distance(x, x * scale + 2), 16 + float(((scale - 1) ** 2).sum()))
    flat = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=F64)
    near(frechet_distance(x * flat, x), 3)
    near(frechet_distance(x * flat, x * flat.roll(1)), 2)
    near(frechet_distance(x, x), 0, abs_=1e-12)
    few = draws(5, 50)  # fewer samples than dimensions
    near(frechet_distance(few, few + 1), 50, rel=1e-12)
    near(frechet_distance(few, 2 * few - few.mean(0)), float((few - few.mean(0)).square().sum() / 4), rel=1e-12)


def test_frechet_distance_of_members():
    x, y = draws(3, 30, 4), draws(25, 4, seed=1)
    members = torch.stack([frechet_distance(x[i], y) for i in range(3)])
    assert torch.allclose(frechet_distance(x, y), members, rtol=1e-12)


# ---------------------------------------------------------------- bad input

X = torch.zeros(3, 2)


@pytest.mark.parametrize("make, names", [
    (lambda: wasserstein1(X, X), "samples"),
    (lambda: wasserstein1(torch.zeros(0), torch.zeros(3)), "x"),
    (lambda: wasserstein1(torch.zeros(3), torch.tensor([0.0, math.nan])), "y"),
    (lambda: wasserstein1(torch.zeros(2, 3, 1), torch.zeros(3, 3, 1)), "y"),
    (lambda: wasserstein1_to(torch.zeros(2, 3, 1), two_modes()), "x"),
    (lambda: wasserstein1_to(torch.zeros(3), GaussianMixture([0.0], 0.0)), "quantile"),
    (lambda: sliced_wasserstein(X, torch.zeros(3, 3), 8, 0), "y"),
    (lambda: sliced_wasserstein(X, X, 0, 0), "projections"),
    (lambda: sliced_wasserstein(X, X, 8, 0, p=0.5), "p"),
    (lambda: energy_distance(X, torch.zeros(3, 3)), "y"),
    (lambda: frechet_distance(X[:1], X), "x"),
])
def test_bad_values_are_named(make, names):
    with pytest.raises(ValueError, match=rf"^{names}\b"):
        make()


def test_bad_types_are_named():
    with pytest.raises(TypeError, match=r"^x is list"):
        wasserstein1([0.0], torch.zeros(1))
    with pytest.raises(TypeError, match=r"^generator"):
        sliced_wasserstein(X, X, 8, None)


# ---------------------------------------------------------------- narrow dtypes, numpy

def every(x, y, line):
    return {"line": wasserstein1(x[:, 0], y[:, 0]), "law": wasserstein1_to(x[:, 0], line),
            "sliced": sliced_wasserstein(x, y, 20, 3), "energy": energy_distance(x, y),
            "energy on the line": energy_distance(x[:, 0], y[:, 0]), "frechet": frechet_distance(x, y)}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_the_float64_result_rounded_once(dtype):
    g = torch.Generator().manual_seed(0)
    x, y = (300 * torch.randn(n, 3, generator=g).to(dtype) for n in (40, 31))  # squares overflow float16
    exact = every(x.double(), y.double(), two_modes())
    for name, found in every(x, y, two_modes()).items():
        assert torch.equal(found, exact[name].to(dtype)), name


def test_numpy_samples_and_counts_of_any_layout_are_numbers():
    g = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, 3, generator=g, dtype=F64) for n in (40, 31))
    expected = every(x.flip(0), y, two_modes())
    given = x.numpy().astype(">f8")[::-1]
    given.flags.writeable = False
    for name, found in every(given, np.asfortranarray(y.numpy()), two_modes()).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-12, atol=0)
    assert torch.equal(sliced_wasserstein(x, y, np.int64(8), np.int32(1), p=np.float32(2)),
                       sliced_wasserstein(x, y, 8, 1, p=2))


def test_distances_from_one_sample_are_those_of_pairs():
    """Sizes that divide one another and sizes that do not; each member against the others' loop."""
    generator = torch.Generator().manual_seed(0)
    for n, m, d, p in ((40, 120, 2, 1.0), (40, 110, 3, 2.0), (30, 10, 2, 1.5)):
        x, y = torch.randn(3, n, d, generator=generator), torch.randn(m, d, generator=generator) + 0.3
        found = SlicedDistance(y, 32, 7, p)(x)
        assert found.dtype == x.dtype and found.shape == (3,)
        for one, value in zip(x, found):
            rows = torch.randn(32, d, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
            rows = rows / rows.norm(dim=1, keepdim=True)
            gaps = [
                abs(np.quantile(one.double() @ row, u, method="inverted_cdf")
                    - np.quantile(y.double() @ row, u, method="inverted_cdf")) ** p
                for row in rows for u in [(np.arange(n * m) + 0.5) / (n * m)]
            ]
            assert float(value) == pytest.approx(np.mean(gaps) ** (1 / p), rel=1e-5)
    with pytest.raises(ValueError, match=r"allowed: \(m, d\)"):
        SlicedDistance(torch.zeros(2, 5, 2), 4, 0)
    with pytest.raises(ValueError, match=r"allowed: \(..., n, 3\)"):
        SlicedDistance(torch.zeros(5, 3), 4, 0)(torch.zeros(5, 2))
