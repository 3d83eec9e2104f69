"""Pair fractions of samples and of laws, the flow map, the split, and the transport of errors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lines import F64, TIMES, exact, mixture

from diffnotes import Exact, GaussianMixture, Linear, ansd, ansd_ratio, pair_fraction, tid
from diffnotes.chapters.collapse import transport
from diffnotes.measure.crowding import cross_fraction, law_pair_fraction, law_renyi2, neighbour_counts, sample_split
from diffnotes.measure.flow import FlowMap
from diffnotes.model.net import MLP

# ---------------------------------------------------------------- samples


def test_ansd_as_printed():
    x = torch.tensor([0.0, 1.0, 3.0, 3.0])
    assert ansd(x, 1) == 1.0 and isinstance(ansd(x, 1), float)  # neighbours: 1, 1, 1, 1
    assert ansd(x, 0.0) == 0.5 and ansd(x, 2) == 2.0
    assert neighbour_counts(x, 2).tolist() == [1, 3, 2, 2]
    curve = ansd(x[:, None], torch.tensor([2.0, 0.0, 1.0]))
    assert curve.tolist() == [2.0, 0.5, 1.0] and curve.dtype == F64
    assert pair_fraction(x, 2) == pytest.approx(2 / 3, rel=1e-15)
    assert cross_fraction(x, x[:2], 1.0) == 4 / 8


def test_images_are_flattened():
    x = torch.randn(50, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert ansd(x, 5.0) == ansd(x.flatten(1), 5.0) > 0


def test_ratio_corrects_for_the_counts():
    law = mixture()
    x, y = law.sample(3000, 0), law.sample(1000, 1)
    assert ansd_ratio(x, y, 0.2) == pytest.approx(1, abs=0.05)
    assert ansd(x, 0.2) / ansd(y, 0.2) > 2.5
    assert ansd_ratio(x, y, [0.1, 0.2])[1] == ansd_ratio(x, y, 0.2)


@pytest.mark.parametrize("call, message", [
    (lambda x: ansd(x, -1.0), "eps"),
    (lambda x: ansd(x, math.nan), "eps"),
    (lambda x: ansd(x, [0.1, math.inf]), "eps"),
    (lambda x: ansd(x, []), "eps"),
    (lambda x: ansd(x, torch.ones(2, 2)), "eps"),
    (lambda x: ansd(x[:1], 1.0), "n >= 2"),
    (lambda x: ansd(x[0, 0], 1.0), "x has shape"),
    (lambda x: ansd(x[:, :0], 1.0), "x has shape"),
    (lambda x: ansd(torch.cat([x, x / 0]), 1.0), "non-finite"),
    (lambda x: neighbour_counts(x, [1.0, 2.0]), "eps has shape"),
    (lambda x: cross_fraction(x, x[:, :1], 1.0), "y has shape"),
    (lambda x: ansd_ratio(x, x, 0.0), "no pair of reference"),
    (lambda x: tid(x, x, 1.0, 0), "k = 0"),
    (lambda x: tid(x, x, 1.0, 10), "k = 10"),
    (lambda x: tid(x, x, 0.0, 2), "no neighbour"),
    (lambda x: law_pair_fraction(GaussianMixture(x, 1.0), 1.0), "law"),
    (lambda x: law_pair_fraction(mixture(std=0.0), 1.0), "law"),
    (lambda x: sample_split(x, mixture(), 1.0), "x has shape"),
    (lambda x: sample_split(x, x, 0.0), "no pair of law"),
    (lambda x: FlowMap.of(exact(), TIMES, points=3), "points = 3"),
    (lambda x: transport(exact(), exact(), x, TIMES), "start"),
    (lambda x: transport(exact(), exact(GaussianMixture(x, 1.0)), x[:, 0], TIMES), "exact"),
    (lambda x: transport(exact(), exact(), x[:, 0], [1.0, 0.5, 0.0]), "sigma = 0"),
])  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.randn(10, 2, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("call", [lambda: ansd([0.0, 1.0], 1.0), lambda: ansd(torch.arange(3), 1.0),
                                  lambda: ansd(torch.rand(3), "a")])  # fmt: skip
def test_bad_types(call):
    with pytest.raises(TypeError):
        call()


# ---------------------------------------------------------------- tail index


def groups(*sizes):
    """Groups of coinciding points, far from each other: every point of a group of s has s - 1 neighbours."""
    return torch.cat([torch.full((s,), 100.0 * k) for k, s in enumerate(sizes)])


def test_tid_in_closed_form():
    x, y = groups(9, 5, 2), groups(3, 3, 3, 3, 3)  # counts 8 (9 times), 4 (5 times), 1 (twice); all 2
    assert tid(x, y, 1.0, 9) == pytest.approx(math.log(8 / 4))
    assert tid(x, y, 1.0, 12) == pytest.approx(9 / 12 * math.log(2))
    assert tid(x, y, 1.0, 3) == 0 == tid(y, y, 1.0, 5)
    assert tid(y, x, 1.0, 8) == 0 and tid(groups(2, 2, 2, 2, 2, 2), x, 1.0, 9) == pytest.approx(-math.log(2))


# ---------------------------------------------------------------- laws


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(0.05, 2), st.floats(0.1, 1)), min_size=1, max_size=4),
       st.floats(0.01, 3))
def test_law_pair_fraction_is_its_integral(parts, eps):
    means, std, weights = (torch.tensor(v, dtype=F64) for v in zip(*parts))
    law = GaussianMixture(means, std, weights)
    z = torch.linspace(-9, 9, 2001, dtype=F64)
    x = means[:, None] + std[:, None] * z
    near = law.cdf(x + eps) - law.cdf(x - eps)
    density = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi) * float(z[1] - z[0])
    quadrature = (law.weights[:, None] * density * near).sum()
    # the integrand has features of the narrowest component's width, in units of the widest
    assert law_pair_fraction(law, eps) == pytest.approx(float(quadrature), rel=1e-9, abs=1e-12)


def test_law_pair_fraction_against_samples_and_the_known_value():
    law = mixture()
    eps = torch.tensor([0.01, 0.05, 0.2, 1.0], dtype=F64)
    truth = law_pair_fraction(law, eps)
    assert truth[1] == pytest.approx(0.0702, abs=1e-4) and truth[1] == law_pair_fraction(law, 0.05)
    runs = torch.stack([pair_fraction(law.sample(2000, seed), eps) for seed in range(30)])
    assert ((runs.mean(0) - truth).abs() < 4 * runs.std(0) / 30**0.5).all()
    assert law_pair_fraction(law, 0.0) == 0 and law_pair_fraction(law, 1e3) == pytest.approx(1, rel=1e-15)


def test_small_radii_measure_the_renyi_entropy():
    law = mixture((-1.0, 0.3, 1.0), std=[0.2, 0.5, 0.1], weights=[1, 2, 3])
    assert law_renyi2(mixture()) == pytest.approx(0.705, abs=5e-4)
    x = torch.linspace(-6, 6, 200_001, dtype=F64)
    assert law_renyi2(law) == pytest.approx(float((2 * law.log_prob(x)).exp().sum() * (x[1] - x[0])), rel=1e-10)
    errors = [law_pair_fraction(law, e) / (2 * e * law_renyi2(law)) - 1 for e in (1e-2, 1e-3)]
    assert abs(errors[1]) < 1e-4 and errors[0] / errors[1] == pytest.approx(100, rel=0.02)  # the next term is eps^2
    plane = GaussianMixture(torch.zeros(1, 2, dtype=F64), 0.5)
    assert law_renyi2(plane) == pytest.approx(1 / (4 * math.pi * 0.25))


# ---------------------------------------------------------------- the flow map


def gaussian(scale, shift=0.0, points=1000):
    """The flow map x = shift + scale z."""
    z = torch.special.ndtri((torch.arange(points, dtype=F64) + 0.5) / points)
    return FlowMap(z, shift + scale * z)


def net(members=3):
    return MLP(1, width=16, depth=2, members=members, seed=0)


# ---------------------------------------------------------------- the split of samples


def test_split_of_samples_adds_up_and_is_unbiased():
    law, wrong, eps = mixture(), mixture((-0.9, 1.0), 0.15, [2, 1]), 0.1
    gaps = [mixture([m - k], math.hypot(0.2, 0.15)) for m in (-1.0, 1.0) for k in (-0.9, 1.0)]
    e = torch.tensor([eps], dtype=F64)
    near = sum(w / 2 * float(g.cdf(e) - g.cdf(-e)) for g, w in zip(gaps, (2 / 3, 1 / 3, 2 / 3, 1 / 3)))
    base = law_pair_fraction(law, eps)
    shift = 2 * (near / base - 1)
    unevenness = law_pair_fraction(wrong, eps) / base - 1 - shift
    values = []
    for seed in range(30):
        x = wrong.sample(1000, seed)
        split = sample_split(x, law, eps)
        assert split.ratio == pytest.approx(pair_fraction(x, eps) / base, abs=1e-14)
        assert split.ratio == pytest.approx(1 + split.shift + split.unevenness, abs=1e-14)
        values.append(split[1:])
    values = torch.tensor(values, dtype=F64)
    error = (values.mean(0) - torch.tensor([shift, unevenness], dtype=F64)).abs()
    assert (error < 4 * values.std(0) / 30**0.5).all()
    reference = law.sample(20_000, 99)
    by_samples = sample_split(x, reference, eps)
    assert by_samples[1:] == pytest.approx(tuple(values[-1].tolist()), abs=0.05)
    assert by_samples.ratio == pytest.approx(ansd_ratio(x, reference, eps), abs=1e-13)


def test_split_in_the_plane():
    x = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    y = torch.randn(2000, 2, generator=torch.Generator().manual_seed(1), dtype=F64)
    split = sample_split(0.8 * x, y, 0.2)
    assert split.shift > 0.2 and split.ratio == pytest.approx(1 / 0.64, abs=0.1)


# ---------------------------------------------------------------- transport


# ---------------------------------------------------------------- narrow dtypes, numpy, members


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_counts_of_half_precision_points_are_those_of_the_points_they_are(dtype):
    g = torch.Generator().manual_seed(0)
    x, y = (300 * torch.randn(n, 2, generator=g).to(dtype) for n in (200, 150))  # squares overflow float16
    for a, b in ((x, y), (x[:, 0], y[:, 0])):
        for eps in (50.0, [10.0, 200.0]):
            for measure in (ansd, pair_fraction):
                assert np.array_equal(measure(a, eps), measure(a.double(), eps))
            assert np.array_equal(cross_fraction(a, b, eps), cross_fraction(a.double(), b.double(), eps))
        assert torch.equal(neighbour_counts(a, 50.0), neighbour_counts(a.double(), 50.0))
        assert tid(a, b, 200.0, 5) == tid(a.double(), b.double(), 200.0, 5)


def test_numpy_points_radii_and_counts_of_any_layout_are_numbers():
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    given = x.flip(0).numpy().astype(">f8")[::-1]
    given.flags.writeable = False
    radii = np.array([0.1, 0.5], ">f4")[::-1]
    assert ansd(given, radii).tolist() == ansd(x, [0.5, float(np.float32(0.1))]).tolist()
    assert ansd(given, np.float64(0.5)) == ansd(given, np.array(0.5)) == ansd(x, 0.5) == ansd(x, torch.tensor(0.5))
    assert ansd(x, np.int64(1)) == ansd(x, 1.0)
    assert tid(given, given[:30], 1.0, np.int64(3)) == tid(x, x[:30], 1.0, 3)
    assert sample_split(given, given[:30], np.float32(0.5)) == sample_split(x, x[:30], 0.5)
    law = GaussianMixture([-1.0, 1.0], 0.3)
    assert sample_split(given[:, 0], law, 0.5) == sample_split(x[:, 0], law, 0.5)
    denoiser, times = Exact(law, Linear()), np.linspace(0.01, 1, 6)[::-1]
    grids = times, torch.tensor(times.copy()), times.tolist()
    maps = [FlowMap.of(denoiser, one, np.int64(16)) for one in grids]
    maps += [FlowMap.of_sde(denoiser, law, one, np.int32(16), cells=np.int64(128)) for one in grids]
    for group in (maps[:3], maps[3:]):
        assert torch.equal(group[0].x, group[1].x) and torch.equal(group[0].x, group[2].x)
    moved = [transport(denoiser, denoiser, np.array([0.5, -0.5])[::-1], one) for one in grids]
    assert all(torch.equal(moved[0].found, one.found) for one in moved)
    levels = torch.tensor([0.2, 0.7], dtype=torch.float64)
    assert torch.equal(maps[0].quantile(levels.numpy()), maps[0].quantile(levels))
