"""Intervals against scipy, by closed form and by coverage."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from diffnotes.measure.interval import (
    bootstrap_interval,
    mean_interval,
    median_interval,
    paired_difference,
    ratio_interval,
)


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("n", [2, 5, 30])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_mean_interval_is_students(n, level):
    values = draws(n).numpy()
    result = mean_interval(values, level)
    low, high = stats.t.interval(level, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert np.allclose(result, (values.mean(), low, high), rtol=1e-12, atol=1e-12)
    assert all(isinstance(end, float) for end in result)


def test_mean_interval_along_an_axis():
    values = draws(4, 6)
    columns = mean_interval(values)
    assert columns.value.shape == (6,)
    for other in (mean_interval(values.T, dim=1), mean_interval(values.T, dim=-1)):
        assert all(torch.equal(a, b) for a, b in zip(columns, other))
    single = mean_interval(values[:, 2])
    assert math.isclose(float(columns.high[2]), single.high, rel_tol=1e-14)


def test_coverage_of_mean_and_median():
    """Over 4000 experiments of 9 normal draws the intervals hold the truth as often as they say."""
    values = draws(9, 4000)
    mean, median = mean_interval(values), median_interval(values)
    covered = [float(((i.low <= 0) & (i.high >= 0)).double().mean()) for i in (mean, median)]
    assert abs(covered[0] - 0.95) < 0.011
    exact = 1 - 2 * stats.binom.cdf(1, 9, 0.5)  # the second smallest and second largest of nine
    assert exact >= 0.95 and abs(covered[1] - exact) < 0.011


def test_median_interval_order_statistics():
    assert median_interval(np.arange(6.0)) == (2.5, 0.0, 5.0)
    n = 40
    result = median_interval(np.arange(float(n)))
    k = int(stats.binom.ppf(0.025, n, 0.5))  # the classical rank: k-th smallest, counted from 1
    assert result == (19.5, k - 1, n - k)
    with pytest.raises(ValueError, match="values holds 5 repetitions"):
        median_interval(np.arange(5.0))


def test_paired_difference_removes_what_seeds_share():
    seed_effect, a, b = 10 * draws(8), 0.1 * draws(8, seed=1), 0.1 * draws(8, seed=2)
    paired = paired_difference(seed_effect + a + 1, seed_effect + b)
    assert paired.low > 0.7 and paired.high < 1.3
    low, high = stats.ttest_rel((seed_effect + a + 1).numpy(), (seed_effect + b).numpy()).confidence_interval()
    assert np.allclose(paired[1:], (low, high), rtol=1e-10)


def test_ratio_interval_is_geometric_and_inverts():
    a, b = draws(7).exp(), draws(7, seed=3).exp()
    ratio, inverse = ratio_interval(a, b), ratio_interval(b, a)
    assert math.isclose(ratio.value, float((a / b).log().mean().exp()), rel_tol=1e-12)
    assert np.allclose((1 / inverse.value, 1 / inverse.high, 1 / inverse.low), ratio, rtol=1e-12)
    assert np.allclose(ratio_interval(3 * b, b), 3, rtol=1e-12)


def test_bootstrap_of_the_mean_is_close_to_the_normal_interval_and_repeatable():
    values = draws(200)
    result = bootstrap_interval(torch.mean, values, seed=0)
    half = 1.96 * float(values.std()) / 200**0.5
    assert np.allclose(result, (values.mean(), values.mean() - half, values.mean() + half), atol=0.02)
    assert result == bootstrap_interval(torch.mean, values, seed=0) != bootstrap_interval(torch.mean, values, seed=1)
    both = bootstrap_interval(lambda v: v.mean(0), draws(50, 3), seed=0)
    assert both.low.shape == (3,) and (both.low < both.value).all() and (both.value < both.high).all()


def test_a_batched_statistic_gives_the_same_interval():
    values = draws(50, 2)
    one = bootstrap_interval(lambda v: (v[..., 0] * v[..., 1]).mean(-1), values, seed=3, batched=True)
    other = bootstrap_interval(lambda v: (v[:, 0] * v[:, 1]).mean(), values, seed=3)
    assert one == pytest.approx(other, rel=1e-12)


def test_bootstrap_coverage():
    hits = 0
    for i in range(150):
        interval = bootstrap_interval(lambda v: v.std(), draws(60, seed=100 + i), seed=i, resamples=200)
        hits += interval.low <= 1 <= interval.high
    assert hits / 150 > 0.85


@pytest.mark.parametrize("make, names", [
    (lambda: mean_interval([1.0]), "values"),
    (lambda: mean_interval([1.0, math.nan]), "values"),
    (lambda: mean_interval([1.0, 2.0], level=1.0), "level"),
    (lambda: mean_interval([1.0, 2.0], dim=1), "dim"),
    (lambda: paired_difference([1.0, 2.0], [1.0, 2.0, 3.0]), "b"),
    (lambda: ratio_interval([1.0, 2.0], [1.0, 0.0]), "b"),
    (lambda: bootstrap_interval(torch.mean, [1.0, 2.0], seed=0, resamples=5), "resamples"),
])
def test_bad_input_is_named(make, names):
    with pytest.raises(ValueError, match=rf"^{names}\b"):
        make()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64], ids=str)
def test_intervals_of_any_dtype_are_those_of_the_float64_values(dtype):
    values = (100 * draws(9, seed=0)).to(dtype)
    for interval in (mean_interval, median_interval, lambda v: bootstrap_interval(torch.mean, v, seed=0)):
        assert tuple(interval(values)) == tuple(interval(values.double())) == tuple(interval(values.double().numpy()))


def test_numpy_numbers_are_numbers():
    values = np.array([1.0, 4.0, 2.0, 8.0, 5.0, 7.0], ">f8")[::-1]
    values.flags.writeable = False
    same, level = values.tolist(), np.float64(0.9)
    assert mean_interval(values, level, np.int64(0)) == mean_interval(same, 0.9)
    assert median_interval(values, level) == median_interval(same, 0.9)
    assert ratio_interval(values, values[::-1]) == ratio_interval(same, same[::-1])
    found = bootstrap_interval(torch.mean, values, np.int64(3), np.float32(0.5), np.int64(200))
    assert found == bootstrap_interval(torch.mean, same, 3, 0.5, 200)
