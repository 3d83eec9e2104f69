"""Exact counts of close pairs, by every engine, against brute force on random and adversarial points."""

import math
import time
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffnotes.measure import pairs
from diffnotes.measure.crowding import ansd, cross_fraction, neighbour_counts, pair_fraction
from diffnotes.measure.pairs import count_neighbours, count_pairs

F64 = torch.float64


def draws(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


def distances(x, y):
    """All distances by differences in float64, one row at a time."""
    x, y = x.double(), y.double()
    return torch.stack([(y - row).square().sum(-1).sqrt() for row in x])


def blob(n, d, seed=0):
    """Half of the points crowd about one of them, as samples of a collapsed sampler."""
    x = draws(n, d, seed=seed)
    return torch.cat([x[: n // 2], x[0] + 1e-3 * draws(n - n // 2, d, seed=seed + 1)])


def whole(low, high, n, d):
    return torch.randint(low, high, (n, d), generator=torch.Generator().manual_seed(1)).double()


CLOUDS = {
    "normal": lambda n, d: (draws(n, d), [0.1, 0.5 * d**0.5, 1.4 * d**0.5]),
    "float32": lambda n, d: (draws(n, d, dtype=torch.float32), [0.3, 1.2 * d**0.5]),
    "duplicates": lambda n, d: (draws(n // 4, d).repeat(4, 1), [0.0, 1e-9, d**0.5]),
    "lattice": lambda n, d: (whole(-2, 3, n, d), [1.0, 5.0, 2.0**0.5, d**0.5, (2 * d) ** 0.5, 2 * d**0.5]),
    "tenths": lambda n, d: (whole(-2, 3, n, d) * 0.1, [0.1, 0.2, 0.3, 0.5]),
    "collapsed": lambda n, d: (blob(n, d), [1e-3 * d**0.5, 1.4e-3 * d**0.5, d**0.5]),
    "far from the origin": lambda n, d: (1e6 + blob(n, d), [1e-3 * d**0.5, 1.4e-3 * d**0.5]),
    "two clusters": lambda n, d: (torch.cat([s * 1e4 + 1e-3 * draws(n // 2, d) for s in (1, -1)]), [1.4e-3 * d**0.5]),
    "one outlier": lambda n, d: (torch.cat([draws(n, d), torch.full((1, d), 1e8, dtype=F64)]), [1.4 * d**0.5]),
    "one point": lambda n, d: (torch.ones(n // 4, d, dtype=F64), [0.0, 1.0]),
    "tiny": lambda n, d: (1e-60 * draws(n, d), [1.2e-60 * d**0.5]),
}


@pytest.mark.parametrize("d", [1, 2, 3, 6, 10, 64, 784])
@pytest.mark.parametrize("cloud", CLOUDS)
def test_counts_are_those_of_brute_force(cloud, d, monkeypatch):
    x, radii = CLOUDS[cloud](300 if d < 100 else 100, d)
    gaps = distances(x, x)
    if cloud in ("normal", "float32") and d <= 3:  # distances that occur (for d > 3 they depend on the order of sums)
        radii = [*radii, float(gaps[3, 4]), float(gaps[5].kthvalue(20).values)]
    y, small = x[::3], x.to(torch.float32).double().equal(x)
    for kind in ("line",) if d == 1 else ("boxes", "dense") if d <= 3 or (d == 6 and cloud != "tenths") else ("dense",):
        monkeypatch.setattr(pairs, "_engine", lambda n, d, kind=kind: kind)
        monkeypatch.setattr(pairs, "_WIDTH", 64)  # several blocks
        triangle = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
        assert count_pairs(x, radii).tolist() == [int((gaps <= r)[triangle].sum()) for r in radii]
        assert count_pairs(x, radii, y).tolist() == [int((gaps[:, ::3] <= r).sum()) for r in radii]
        for r in radii:
            assert torch.equal(count_neighbours(x, r), (gaps <= r).sum(1) - 1)
        if small:
            assert torch.equal(count_pairs(x.float(), radii), count_pairs(x, radii))


def test_near_duplicates_that_a_float32_product_loses():
    x = draws(200, 784, dtype=torch.float32)
    x = torch.cat([x, x + 1.785e-4 * draws(200, 784, seed=1, dtype=torch.float32)])
    truth = int((distances(x, x) <= 5e-3).sum() - len(x)) // 2
    naive = int((torch.cdist(x, x) <= 5e-3).sum() - len(x)) // 2
    assert 50 < truth < 150 and naive != truth
    assert count_pairs(x, [5e-3]).item() == truth


def test_float32_points_near_the_radius(monkeypatch):
    # Distances within a few float32 roundings of the radius, on both sides: only float64 tells them apart.
    monkeypatch.setattr(pairs, "_engine", lambda n, d: "dense")
    direction = torch.nn.functional.normalize(draws(500, 64), dim=1)
    x = (direction * (1 + 1e-7 * draws(500, 1, seed=3))).float()
    y = torch.zeros(1, 64)
    near = distances(x, y) <= 1.0
    assert 0.3 < near.double().mean() < 0.7
    assert count_pairs(x, [1.0], y).item() == int(near.sum())


def test_the_bound_holds_where_products_are_allowed_less_precision():
    x = draws(500, 20, dtype=torch.float32)
    exact = count_pairs(x, [4.0])
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert torch.equal(count_pairs(x, [4.0]), exact)
    finally:
        torch.set_float32_matmul_precision(before)


def test_two_threads_count_what_one_does(monkeypatch):
    x = blob(3000, 2)
    alone = count_pairs(x, [1e-3, 0.5]).tolist(), count_neighbours(x, 0.5)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(pairs, "_THREADED", 0)
    assert count_pairs(x, [1e-3, 0.5]).tolist() == alone[0] and torch.equal(count_neighbours(x, 0.5), alone[1])


def test_large_samples_against_the_tree_of_scipy():
    from scipy.spatial import cKDTree

    for d, eps in ((2, 0.05), (3, 0.2), (5, 0.8)):
        x = blob(20_000, d)
        tree = cKDTree(x.numpy())
        assert count_pairs(x, [eps]).item() == (tree.count_neighbors(tree, eps) - len(x)) // 2


def test_memory_stays_bounded(monkeypatch):
    import tracemalloc

    # Boxes: a radius for which very many pairs of boxes stay open. (numpy's memory is traced, torch's is not.)
    x = draws(100_000, 2)
    tracemalloc.start()
    count_pairs(x, [1.0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**28


# ---------------------------------------------------------------- laws for all inputs

clouds = st.tuples(st.integers(1, 4), st.integers(2, 60), st.integers(0, 2**31)).map(
    lambda v: torch.from_numpy(np.random.default_rng(v[2]).integers(-6, 7, (v[1], v[0])) / 4))
radius = st.integers(0, 60).map(lambda k: k / 8)


@settings(max_examples=60)
@given(clouds, st.lists(radius, min_size=1, max_size=5))
def test_curve_is_its_points_and_increases(x, radii):
    curve = pair_fraction(x, radii)
    assert curve.tolist() == [pair_fraction(x, r) for r in radii]
    assert (curve[np.argsort(radii)].diff() >= 0).all() and 0 <= curve.min() and curve.max() <= 1
    assert pair_fraction(x, 100.0) == 1.0
    torch.testing.assert_close(ansd(x, radii), curve * (len(x) - 1))


@settings(max_examples=60)
@given(clouds, radius, st.integers(0, 1000))
def test_moves_that_are_exact_change_nothing(x, eps, seed):
    # Multiples of 1/4: translations by them, permutations, reflections and quarter turns are exact.
    rng = np.random.default_rng(seed)
    value = pair_fraction(x, eps)
    moved = x[:, rng.permutation(x.shape[1])] * torch.from_numpy(rng.choice([-1.0, 1.0], x.shape[1]))
    assert pair_fraction(moved[rng.permutation(len(x))] + rng.integers(-1000, 1000) / 4, eps) == value
    assert pair_fraction(4 * x, 4 * eps) == value


@settings(max_examples=60)
@given(clouds, radius, st.integers(1, 59))
def test_counts_add_up(x, eps, cut):
    cut = min(cut, len(x) - 1)
    a, b = x[:cut], x[cut:]
    whole, parts = count_pairs(x, [eps]), count_pairs(a, [eps]) + count_pairs(b, [eps])
    assert whole == parts + count_pairs(a, [eps], b)
    assert int(neighbour_counts(x, eps).sum()) == 2 * whole
    assert cross_fraction(a, b, eps) == cross_fraction(b, a, eps)
    assert cross_fraction(x, x, eps) * len(x) ** 2 == pytest.approx(2 * int(whole) + len(x))


# ---------------------------------------------------------------- threads


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def elsewhere(run):
    """Processor time that other threads spend on ``run``, as a share of the calling thread's; the least of 5."""
    shares = []
    for _ in range(5):
        time.sleep(0.05)
        whole, own = time.process_time(), time.thread_time()
        run()
        own = time.thread_time() - own
        shares.append((time.process_time() - whole - own) / own)
    return min(shares)


def test_a_count_on_the_line_is_the_work_of_one_thread(two_threads):
    x = draws(200_000, 1)
    count_pairs(x, [1e-3])
    assert elsewhere(lambda: count_pairs(x, [1e-3])) < 0.1
    assert elsewhere(lambda: count_pairs(x, [1e-3], x[:1000] + 0.1)) < 0.1
    assert elsewhere(lambda: count_neighbours(x, 1e-3)) < 0.1


def test_products_run_on_one_thread_each_and_leave_the_setting_as_it_was(two_threads, monkeypatch):
    seen, decide, x, y = set(), pairs._decide, draws(3000, 16), draws(1500, 16) + 0.1
    monkeypatch.setattr(pairs, "_decide", lambda *a: (seen.add(torch.get_num_threads()), decide(*a))[1])
    found = {}
    for pooled in (0, 10**9):
        monkeypatch.setattr(pairs, "_POOLED", pooled)
        found[pooled] = (count_pairs(x, [3.0, 4.0]), count_pairs(x, [3.0], y), count_neighbours(x, 3.0))
    distance = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist")
    expected = [(int((distance <= r).sum()) - 3000) // 2 for r in (3.0, 4.0)]
    assert found[0][0].tolist() == expected
    assert all(torch.equal(a, b) for a, b in zip(found[0], found[10**9]))
    assert seen == {1} and torch.get_num_threads() == 2
    monkeypatch.setattr(pairs, "_decide", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        count_pairs(x, [3.0])
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("n, d", [(300, 1), (300, 2), (300, 9)])
def test_points_of_any_kind_and_none_at_all(n, d):
    x = draws(n, d).half()
    eps, expected = 0.3 * d, count_pairs(x.double(), [0.3 * d])
    given = x.double().flip(0).numpy().astype(">f8")[::-1]
    given.flags.writeable = False
    for points in (x, x.float(), given):
        assert torch.equal(count_pairs(points, np.array([eps])), expected)
        assert torch.equal(count_pairs(points, [np.float64(eps)], points), 2 * expected + n)
        assert torch.equal(count_neighbours(points, torch.tensor(eps, dtype=F64)), count_neighbours(x.double(), eps))
    none = torch.empty(0, d)
    assert count_pairs(none, [0.1, 1.0]).tolist() == count_pairs(x, [0.1, 1.0], none).tolist() == [0, 0]
    assert count_pairs(none, [0.1], x).tolist() == [0] and count_neighbours(none, 1.0).shape == (0,)
    with pytest.raises(ValueError, match=r"x has shape \(300,\)"):
        count_pairs(x[:, 0], [1.0])


# ---------------------------------------------------------------- what is allowed, and sizes of every order


@pytest.mark.parametrize("d", [1, 2, 3, 9])
@pytest.mark.parametrize("bad", [-1, -1e-300, -math.inf, math.nan, np.float32("nan"), torch.tensor(-2.0)])
def test_radii_that_are_negative_or_nan_are_refused(d, bad):
    x = draws(50, d)
    none, pairs_of = x[:0], count_pairs
    for call in (lambda: pairs_of(x, [0.5, bad]), lambda: pairs_of(x, [bad], x), lambda: pairs_of(none, [bad])):
        with pytest.raises(ValueError, match=r"radii = (-|nan).*allowed: numbers >= 0"):
            call()
    with pytest.raises(ValueError, match=r"eps = (-|nan).*allowed: numbers >= 0"):
        count_neighbours(x, bad)


@pytest.mark.parametrize("bad", [0.5, np.float64(0.5), np.array(0.5), torch.tensor(0.5), torch.ones(1, 1), "12", None,
                                 ["a"], [None], [[0.5]], [True]])  # fmt: skip
def test_radii_that_are_no_sequence_of_numbers_are_refused(bad):
    with pytest.raises(TypeError, match="radii = "):
        count_pairs(draws(50, 2), bad)


@pytest.mark.parametrize("d", [1, 2, 3, 9])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_points_that_are_not_finite_are_refused(d, dtype, bad):
    x = draws(50, d, dtype=dtype)
    y = x.clone()
    y[17, d - 1] = bad
    for call in (lambda: count_pairs(y, [0.5]), lambda: count_pairs(y, [math.inf]), lambda: count_neighbours(y, 0.5)):
        with pytest.raises(ValueError, match=r"x has entries from .*(nan|inf).*allowed: finite"):
            call()
    with pytest.raises(ValueError, match=r"y has entries from .*(nan|inf).*allowed: finite"):
        count_pairs(x, [0.5], y)


@pytest.mark.parametrize(("d", "other"), [(1, 2), (2, 1), (2, 3), (3, 2), (9, 8), (2, 9)])
def test_points_of_two_dimensions_are_refused(d, other):
    for n in (30, 0):
        with pytest.raises(ValueError, match=rf"y has shape \({n}, {other}\) .*which has \(50, {d}\)"):
            count_pairs(draws(50, d), [0.5], draws(n, other))


@pytest.mark.parametrize("d", [1, 2, 3, 9])
def test_infinite_radii_are_all_pairs_and_gradients_are_left_alone(d):
    x, y = draws(50, d), draws(30, d, seed=1)
    near = [count_pairs(x, [0.5]).item(), count_pairs(x, [0.5], y).item()]
    x.requires_grad_()
    assert count_pairs(x, [math.inf, 0.5, np.inf]).tolist() == [1225, near[0], 1225]
    assert count_pairs(x, torch.tensor([0.5, math.inf]), y).tolist() == [near[1], 1500]
    assert count_neighbours(x, math.inf).tolist() == [49] * 50
    assert count_neighbours(x, 0.5).sum().item() == 2 * near[0] and x.requires_grad
    assert count_pairs(x, []).tolist() == [] and count_pairs(x[:1], [0.0, math.inf]).tolist() == [0, 0]


def engines(d):
    return ("line",) if d == 1 else ("boxes", "dense")


@pytest.mark.parametrize("power", [-1060, -1000, -600, -450, 450, 600, 1000, 1022])
@pytest.mark.parametrize("d", [1, 2, 3, 9])
def test_counts_do_not_change_with_the_unit(d, power, monkeypatch):
    # Multiples of 1/4 times a power of two, as far as numbers reach: every coordinate is exact.
    x = torch.from_numpy(np.random.default_rng(d).integers(-6, 7, (80, d)) / 4)
    moved = x.numpy() * 2.0 ** (power // 2) * 2.0 ** (power - power // 2)
    radii = [0.0, 0.75, 1.0, 2.0 * d**0.5 + 0.01]
    unit = [r * 2.0 ** (power // 2) * 2.0 ** (power - power // 2) for r in radii[:3]]
    gaps = distances(x, x)
    triangle = torch.ones(80, 80, dtype=torch.bool).triu(1)
    for kind in engines(d):
        monkeypatch.setattr(pairs, "_engine", lambda n, d, kind=kind: kind)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert count_pairs(moved, unit).tolist() == [int((gaps <= r)[triangle].sum()) for r in radii[:3]]
            assert count_pairs(moved, unit, moved[::3]).tolist() == [int((gaps[:, ::3] <= r).sum()) for r in radii[:3]]
            for r, u in zip(radii, unit):
                assert torch.equal(count_neighbours(moved, u), (gaps <= r).sum(1) - 1)


@pytest.mark.parametrize("d", [1, 2, 3, 9])
def test_points_of_very_different_sizes(d, monkeypatch):
    # Against fractions, which know no largest and no smallest number.
    rng = np.random.default_rng(d)
    sizes = 10.0 ** rng.choice([-320, -300, -170, -20, 0, 170, 300, 308], 60)
    x = rng.uniform(-1.7, 1.7, (60, d)) * sizes[:, None]
    x[40:] = x[:20] * (1 + 1e-3 * rng.uniform(size=(20, 1)))
    x[:3] = x[3:6]
    radii = [0.0, 5e-324, 1e-322, 1e-300, 1e-170, 1e-162, 1e-20, 1.0, 1e154, 1e200, 1e300, 1.7e308]
    exact = [[Fraction(float(v)) for v in row] for row in x]
    squares = {(i, j): sum((a - b) ** 2 for a, b in zip(exact[i], exact[j])) for i in range(60) for j in range(i)}
    expected = [sum(square <= Fraction(r) ** 2 for square in squares.values()) for r in radii]
    assert len(set(expected)) > 5
    for kind in engines(d):
        monkeypatch.setattr(pairs, "_engine", lambda n, d, kind=kind: kind)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert count_pairs(x, radii).tolist() == expected
            for r, count in zip(radii, expected):
                assert count_neighbours(x, r).sum().item() == 2 * count


def test_the_largest_square_below_is_found_or_refused():
    for eps in (0.0, 5e-324, 1e-170, 1e-155, 0.3, 1e154, 1e200, 1.7e308):
        square = pairs._square_below(eps)
        assert math.sqrt(square) <= eps and (square == 1.7976931348623157e308 or
                                             math.sqrt(math.nextafter(square, math.inf)) > eps)  # fmt: skip
    for eps in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="allowed: finite numbers >= 0"):
            pairs._square_below(eps)
