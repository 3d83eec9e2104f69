"""The diagnosis against closed forms of Gaussian samples, brute force and scikit-learn; its intervals over seeds."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, chi2
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from diffnotes.measure import diagnosis
from diffnotes.measure.crowding import sample_split
from diffnotes.measure.diagnosis import diagnose, symptoms

SEEDS = range(20)


def normal(seed, n, *shape, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal((n, *shape)).astype(dtype)


@pytest.fixture(scope="module")
def alike():
    """Diagnoses of samples of the reference's own law, by seed."""
    return [diagnose(normal(seed, 500, 2), normal(1000 + seed, 600, 2), normal(2000 + seed, 300, 2), seed)
            for seed in SEEDS]


@pytest.fixture(scope="module")
def shrunk():
    """Diagnoses of samples .8 as wide as the reference, beside it by .5 on the first axis, by seed."""
    beside = np.array([0.5, 0.0])
    return [diagnose(0.8 * normal(seed, 600, 2) + beside, normal(1000 + seed, 600, 2), seed=seed) for seed in SEEDS]


def covered(intervals, truth):
    """In how many of the intervals the truth lies."""
    return sum(one.low <= truth <= one.high for one in intervals)


def test_samples_of_the_same_law_show_nothing(alike):
    """Intervals of 95 % miss in few of twenty: more than three misses have a chance of less than .02."""
    for i, share in enumerate((0.001, 0.01, 0.1)):
        assert {found.crowding[i].share for found in alike} == {share}
        for name, truth in (("ratio", 1), ("shift", 0), ("unevenness", 0)):
            assert covered([getattr(found.crowding[i], name) for found in alike], truth) >= 17
    assert covered([found.spread for found in alike], 1) >= 17
    assert covered([found.mean for found in alike], 0) >= 17
    assert covered([found.memory.closer for found in alike], 0.5) >= 17
    assert sum(not symptoms(found) for found in alike) >= 18
    assert all(found.equal.samples.value == found.memory.exact.samples.value == 0 for found in alike)
    assert all(found.distance.samples.low < found.distance.floor.high for found in alike)


def test_a_gaussian_that_is_shrunk_and_moved_has_the_closed_forms(shrunk):
    """|X - X'|^2 is chi-square; beside the reference, noncentral; the split follows. Coverage and error over seeds."""
    from scipy.stats import ncx2

    for i in range(3):
        errors = []
        for found in shrunk:
            eps = found.crowding[i].radius
            base, own = chi2.cdf(eps**2 / 2, 2), chi2.cdf(eps**2 / (2 * 0.64), 2)
            cross = ncx2.cdf(eps**2 / 1.64, 2, 0.25 / 1.64)
            truth = own / base, 2 * (cross / base - 1), own / base + 1 - 2 * cross / base
            parts = found.crowding[i][2:]
            assert parts[0].value == pytest.approx(1 + parts[1].value + parts[2].value, abs=1e-9)
            errors.append([(one.low <= true <= one.high) for one, true in zip(parts, truth)])
        assert (np.sum(errors, 0) >= 17).all()
    assert covered([found.spread for found in shrunk], 0.64) >= 17
    assert covered([found.mean for found in shrunk], 0.5 / math.sqrt(2)) >= 17
    # a shift by a and a scale s are sqrt(a_k^2 + (1 - s)^2) apart along an axis k
    away = math.sqrt((0.25 / 2) + 0.2**2)
    assert np.mean([found.distance.excess for found in shrunk]) == pytest.approx(away, rel=0.1)
    assert all(symptoms(found) == ["narrow", "shifted"] for found in shrunk)


def test_intervals_are_no_wider_than_they_need_be(shrunk):
    """Half of the length over the deviation of the estimates over seeds, which is 1.96 for an exact interval."""
    for i in range(3):
        for name in ("ratio", "shift"):
            ends = [getattr(found.crowding[i], name) for found in shrunk]
            half = np.mean([(one.high - one.low) / 2 for one in ends])
            assert 1.2 < half / np.std([one.value for one in ends], ddof=1) < 3.2


def test_the_split_is_that_of_the_book(shrunk):
    x, y = 0.8 * normal(0, 600, 2) + np.array([0.5, 0.0]), normal(1000, 600, 2)
    for one in shrunk[0].crowding:
        expected = sample_split(torch.tensor(x), torch.tensor(y), one.radius)
        np.testing.assert_allclose([one.ratio.value, one.shift.value, one.unevenness.value], expected, rtol=1e-9,
                                   atol=1e-12)


def test_samples_on_points_are_duplicates():
    """A law that has collapsed onto thirty points, exactly and blurred: one in thirty pairs is close."""
    points, pick = normal(1, 30, 2), np.random.default_rng(2).integers(0, 30, 600)
    exact, reference = diagnose(points[pick], normal(3, 600, 2)), normal(3, 600, 2)
    assert exact.equal.samples.value == exact.near.samples.value == 1
    assert "duplicated" in symptoms(exact)
    blurred = diagnose(points[pick] + 1e-4 * normal(4, 600, 2), reference)
    assert blurred.equal.samples.value == 0 and blurred.near.samples.low > 0.9 and blurred.near.data <= 0.01
    first = blurred.crowding[0]
    close = (np.bincount(pick) * (np.bincount(pick) - 1)).sum() / (600 * 599)  # pairs on one point
    base = first.ratio.value / ((np.linalg.norm((points[pick])[:, None] - points[pick], axis=-1) < first.radius).sum()
                                - 600) * 600 * 599
    assert first.ratio.value > 0.9 * close * base  # the pairs on one point make nearly all of the ratio
    assert {"duplicated", "clumped"} <= set(symptoms(blurred))


def test_clumps_are_told_from_a_smaller_spread():
    centres, pick = normal(1, 100, 2), np.random.default_rng(2).integers(0, 100, 1500)
    clumps = centres[pick] + 0.05 * normal(3, 1500, 2)
    assert "clumped" in symptoms(diagnose(clumps, normal(4, 1500, 2)))
    both = diagnose(0.7 * clumps, normal(4, 1500, 2))
    assert symptoms(both)[0] == "narrow" and "clumped" in symptoms(both) and both.stretched
    only = diagnose(0.7 * normal(5, 1500, 2), normal(4, 1500, 2))
    assert symptoms(only) == ["narrow"]
    assert all(one.ratio.low < 1.02 for one in only.stretched) and all(one.ratio.low > 1.2 for one in only.crowding)


def test_copies_of_the_reference_are_at_distance_zero():
    reference = normal(1, 800, 3, 4, 4, dtype=np.float32)
    found = diagnose(reference[:300], reference, normal(2, 200, 3, 4, 4, dtype=np.float32))
    assert found.dim == 48 and found.memory.medians[0] == 0 and found.memory.exact.samples.value == 1
    assert found.memory.closer.value == 1 and found.memory.copied.samples.low > 0.98
    assert symptoms(found)[0] == "memorised"
    noisy = reference[:300] + 0.01 * normal(3, 300, 3, 4, 4, dtype=np.float32)
    found = diagnose(noisy, reference)  # without held-out data: reference rows and the others
    assert found.memory.exact.samples.value == 0 and found.memory.copied.samples.low > 0.98
    assert found.memory.medians[0] == pytest.approx(0.01 * math.sqrt(48), rel=0.1)
    part = np.concatenate([reference[:30], normal(4, 270, 3, 4, 4, dtype=np.float32)])  # one in ten
    found = diagnose(part, reference)
    assert found.memory.exact.samples.value == pytest.approx(0.1) and "memorised" in symptoms(found)


def test_whole_numbers_that_repeat_are_no_symptom():
    """Where data themselves hold equal rows, equal samples say nothing."""
    rows = [np.random.default_rng(seed).integers(0, 6, (500, 2), dtype=np.uint8) for seed in (1, 2)]
    found = diagnose(*rows)
    assert found.equal.samples.value == found.memory.exact.samples.value == 1 and symptoms(found) == []


def test_spread_and_noise_are_told():
    assert symptoms(diagnose(1.2 * normal(1, 2000, 2), normal(2, 2000, 2)))[0] == "wide"
    line = np.repeat(normal(1, 1500, 1), 2, 1)  # data on a line, samples a little beside it
    noisy = np.repeat(normal(2, 1500, 1), 2, 1) + 0.05 * normal(3, 1500, 2)
    assert symptoms(diagnose(noisy, line)) == ["thin"]
    skew = np.random.default_rng(4).exponential(1, (4000, 1))  # and its mirror image: the same pairs, mean and variance
    assert symptoms(diagnose(2 - skew[:2000], skew[2000:])) == ["different"]


# --- parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim, block", [(2, 64), (50, 1000)])
def test_nearest_rows_are_those_of_scikit_learn(dim, block, monkeypatch):
    monkeypatch.setattr(diagnosis, "BLOCK", block)  # many blocks
    x, y = normal(1, 70, dim), normal(2, 90, dim) + 100  # far from 0, where digits are lost
    x += 100
    rows = diagnosis._Rows(y, "y")
    centre = torch.full((dim,), 100.0, dtype=torch.float64)
    tree = NearestNeighbors(n_neighbors=2, algorithm="kd_tree").fit(y)
    for query, own, k in ((x, torch.full((70,), -1), 0), (y[:40], torch.arange(40), 1)):
        for found, expected in zip(diagnosis._nearest(torch.tensor(query), own, rows, centre, ""),
                                   tree.kneighbors(query)):
            np.testing.assert_allclose(found, expected[:, k], rtol=1e-12)


@pytest.mark.parametrize("hits, of", [(0, 30), (1, 30), (29, 30), (30, 30), (7, 400)])
def test_shares_have_the_interval_of_scipy(hits, of):
    expected = binomtest(hits, of).proportion_ci(method="exact")
    np.testing.assert_allclose(diagnosis._share(hits, of), (hits / of, expected.low, expected.high), rtol=1e-10)


def test_closer_is_the_area_under_the_curve():
    near, base = torch.tensor(np.random.default_rng(1).integers(0, 9, 60)), torch.arange(80) % 11
    found = diagnosis._closer(near.double(), base.double(), None)
    label = np.r_[np.zeros(60), np.ones(80)]
    assert found.value == pytest.approx(roc_auc_score(label, torch.cat([near, base]).numpy()), rel=1e-12)
    wins = (near[:, None] < base).double() + 0.5 * (near[:, None] == base)
    error = math.sqrt(float(wins.mean(1).var()) / 60 + float(wins.mean(0).var()) / 80)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=1e-12)


def test_distances_within_the_reference_hang_together():
    """Taken as independent, which they are not, they would have intervals that miss one time in six."""
    hits = 0
    for seed in range(200):
        x, y = torch.tensor(normal(seed, 400, 2)), torch.tensor(normal(1000 + seed, 40, 2))
        own = torch.cat([torch.full((400,), -1), torch.arange(40)])
        distances, nearest = diagnosis._nearest(torch.cat([x, y]), own, diagnosis._Rows(y, "y"), torch.zeros(2), "")
        found = diagnosis._closer(distances[:400], distances[400:], (nearest, torch.arange(40)))
        hits += found.low <= 0.5 <= found.high
    assert hits >= 190


@pytest.mark.parametrize("share, points", [(0.1, 50), (0.5, 100), (0.1, 5)])
def test_rows_that_repeat_come_together(share, points):
    """A share of the rows falls onto some points; the mean share of repeated ones over seeds is the truth."""
    found = []
    for seed in range(500):
        random = np.random.default_rng(seed)
        places = np.where(random.random(400) < share, random.integers(0, points, 400), -1 - np.arange(400))
        found.append(diagnosis._repeats(*diagnosis._repeated(places.tolist()), 400))
    truth = np.mean([one.value for one in found])
    assert covered(found, truth) >= 470  # three deviations below 95 %; as independent rows 440 at worst


def test_pairs_count_half():
    """Thirty pairs of nearly equal samples are sixty rows, and tell as little as the jackknife says."""
    x, y = normal(1, 600, 4), normal(2, 600, 4)
    x[30:60] = x[:30] + 1e-6
    found = diagnose(x, y).near.samples
    np.testing.assert_allclose(found, diagnosis._share(60 / 4, 600 / 4))
    assert found.high - found.low > 1.5 * np.diff(diagnosis._share(60, 600)[1:])[0]


def test_few_samples_or_few_data_are_no_symptom():
    """At the smallest radius forty samples have no pair; of forty data the nearest hundredth is one row."""
    few = [diagnose(normal(seed, 40, 2), normal(1000 + seed, 2000, 2), seed=seed) for seed in SEEDS]
    assert covered([found.crowding[0].unevenness for found in few], 0) >= 17
    many = [diagnose(normal(seed, 2000, 2), normal(1000 + seed, 40, 2), seed=seed) for seed in SEEDS]
    assert not {"memorised", "duplicated"} & {name for found in few + many for name in symptoms(found)}


def test_moments_are_those_of_numpy():
    x, y = 1.3 * normal(1, 101, 4), normal(2, 77, 4) + 5
    found = diagnose(x, y)
    assert found.spread.value == pytest.approx(x.var(0, ddof=1).sum() / y.var(0, ddof=1).sum(), rel=1e-12)
    gap = ((x.mean(0) - y.mean(0)) ** 2).sum() - x.var(0, ddof=1).sum() / 101 - y.var(0, ddof=1).sum() / 77
    assert found.mean.value == pytest.approx(math.sqrt(gap / y.var(0, ddof=1).sum()), rel=0.01)


@pytest.mark.parametrize("change", ["float32", "(n,)", "Fortran", "tensor", "order of bytes"])
def test_any_layout_gives_the_same(change):
    x, y = normal(1, 120, 1), normal(2, 150, 1)
    make = {"float32": lambda a: a.astype(np.float32).astype(np.float64), "(n,)": lambda a: a[:, 0],
            "Fortran": np.asfortranarray, "tensor": torch.tensor, "order of bytes": lambda a: a.astype(">f8")}[change]
    one, other = diagnose(x, y, seed=3), diagnose(make(x), make(y), seed=3)
    rel = 1e-3 if change == "float32" else 0
    assert one.spread.value == pytest.approx(other.spread.value, rel=rel or 1e-15)
    assert one.distance.samples.value == pytest.approx(other.distance.samples.value, rel=rel or 1e-15)
    assert diagnose(x, y, seed=3) == one and diagnose(x, y, seed=4) != one


@pytest.mark.parametrize("change, error, words", [
    (lambda a: a[:19], ValueError, r"samples has shape \(19, 2\); allowed: .* n >= 20"),
    (lambda a: a[:, :1], ValueError, r"samples has shape \(100, 1\); allowed: the dimension of reference"),
    (lambda a: a[:, :, None, None, None], ValueError, "samples has shape"),
    (lambda a: a[:, :0], ValueError, "samples has shape"),
    (lambda a: a[0, 0], TypeError, "samples has the type float64|samples has shape"),
    (lambda a: np.full_like(a, 3), ValueError, "samples holds 100 equal rows"),
    (lambda a: np.where(a == a[70, 1], np.nan, a), ValueError, "nan or infinite numbers, first in row 70"),
    (lambda a: np.where(a == a[7, 1], -np.inf, a), ValueError, "nan or infinite numbers, first in row 7"),
    (lambda a: a * 1e200, ValueError, "squares overflow"),
    (lambda a: np.where(np.arange(100)[:, None] < 99, 1.0, a), ValueError, "100 rows that are all but equal"),
    (lambda a: a * 1e-300, ValueError, "samples holds 100 rows that are all but equal"),
    (lambda a: torch.tensor(a).to_sparse(), TypeError, "samples is a sparse_coo tensor"),
    (lambda a: torch.tensor(a).to("meta"), TypeError, "samples is a meta tensor"),
    (lambda a: torch.tensor(a) > 0, TypeError, "samples has the type bool"),
    (lambda a: a > 0, TypeError, "samples has the type bool; allowed: an array of real numbers"),
    (lambda a: a + 1j, TypeError, "samples has the type complex128"),
    (lambda a: a.astype("U5"), TypeError, "samples has the type <U5"),
    (lambda a: a.astype(object), TypeError, "samples has the type object"),
    (lambda a: a.tolist(), TypeError, "samples has the type list"),
])  # fmt: skip
def test_what_cannot_be_diagnosed_is_refused(change, error, words):
    with pytest.raises(error, match=words):
        diagnose(change(normal(1, 100, 2)), normal(2, 100, 2))
    with pytest.raises(ValueError, match="seed = -1"):
        diagnose(normal(1, 100, 2), normal(2, 100, 2), seed=-1)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.longdouble, np.uint8, np.int64, ">i2", torch.bfloat16])
def test_any_real_dtype_is_taken(dtype):
    x, y = (np.round(20 * normal(seed, 200, 3)).clip(-90, 90) + 100 for seed in (1, 2))  # whole numbers, exact in all
    kept = (lambda a: torch.tensor(a).to(dtype)) if isinstance(dtype, torch.dtype) else (lambda a: a.astype(dtype))
    one = x if dtype is not torch.bfloat16 else torch.tensor(x).to(dtype).double().numpy()
    other = y if dtype is not torch.bfloat16 else torch.tensor(y).to(dtype).double().numpy()
    found, expected = diagnose(kept(x), kept(y)), diagnose(one, other)
    assert found.spread.value == pytest.approx(expected.spread.value, rel=1e-12)
    assert [one.ratio.value for one in found.crowding] == [one.ratio.value for one in expected.crowding]
    assert found.equal == expected.equal and symptoms(found) == symptoms(expected)


def test_what_is_odd_is_warned_of():
    x, y = normal(1, 100, 2), normal(2, 100, 2)
    assert "the same rows" in diagnose(x, x).warnings[0]
    assert "12 different rows of held_out" in diagnose(x, y, np.concatenate([y[:12], normal(3, 50, 2)])).warnings[0]
    assert not any("same" in one for other in (y, y[:, :, None]) for one in diagnose(x, other).warnings)
    turned = diagnose(normal(1, 100, 48).reshape(100, 3, 4, 4), normal(2, 100, 48).reshape(100, 4, 4, 3)).warnings
    assert "samples are (3, 4, 4) and the reference is (4, 4, 3)" in turned[0]
    for scale in (255, 1 / 255):
        assert "same units" in diagnose(scale * x, y).warnings[0]
    few = diagnose(x[:20], y[:20])
    assert [one.share for one in few.crowding] == [0.1] and "too few pairs" in few.warnings[0]


MEASURE = """
import sys, resource
import numpy as np
from diffnotes.measure import diagnosis
n, d, folder = 100_000, 96, sys.argv[1]
for name in "xy":
    made = np.lib.format.open_memmap(f"{folder}/{name}.npy", mode="w+", dtype=np.float32, shape=(n, d))
    block = np.random.default_rng(ord(name)).standard_normal((5000, d), dtype=np.float32)
    for start in range(0, n, 5000):
        made[start : start + 5000] = block + start / n
    del made
diagnosis.ROWS, diagnosis.SEARCH = 2000, 2**32
x, y = (np.load(f"{folder}/{name}.npy", mmap_mode="r") for name in "xy")
diagnosis.diagnose(x[:500].copy(), y[:500].copy())  # what libraries take is there
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = diagnosis.diagnose(x, y)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, found.rows["samples"])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is told in other units")
def test_a_mapped_file_is_never_in_memory(tmp_path):
    """Two files of 37 MiB each, and the digests of their rows, 10 MiB: blocks are of 16 MiB."""
    done = subprocess.run([sys.executable, "-c", MEASURE, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    grown, rows = done.stdout.split()
    assert int(rows) == 100_000 and float(grown) < 200


def test_subsets_stay_within_their_bounds():
    """At the largest sizes: rows that are compared with one another, and what a search multiplies."""
    for n, d in ((100_000, 3072), (100_000, 1), (20, 3072)):
        few = max(diagnosis.LEAST, min(diagnosis.ROWS, diagnosis.NUMBERS // d))
        assert few * d <= diagnosis.NUMBERS or few == diagnosis.LEAST
        assert min(few, n) >= 20 and (n < 1000 or few > 2000)
