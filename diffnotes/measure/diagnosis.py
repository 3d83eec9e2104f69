r"""What a set of samples says of the model that made them, against a reference set of data.

:func:`diagnose` looks at both sets from six sides. With pair fractions B(x, x), B(x, y), B(y, y) of samples x and
reference y at a radius eps, and total variances tr C:

    crowding     B(x, x)/B(y, y) = 1 + shift + unevenness, at radii with .1 %, 1 %, 10 % of the reference's pairs
    spread       tr C_x/tr C_y: below 1 the samples are too narrow, above 1 too wide
    mean         |m_x - m_y|/sqrt(tr C_y), freed of what chance adds
    distance     sliced Wasserstein distance beside its floor, the same between data and data
    duplicates   samples that are equal, or nearer to one another than data are
    memory       the distance from a sample to the nearest reference row, beside that of data that are not in it

Intervals are of 95 %. Those of crowding follow from the neighbours of each sample (the first-order, or Hajek, part of a
U-statistic: 4 Var(c_i)/(n P^2) is the variance of log P for counts c_i/(n - 1) of mean P). Where samples and reference
have one law, the unevenness has no first-order part, and its interval is about 1.4 times too wide: it errs to the safe
side. Those of spread and mean are a jackknife over up to twenty groups of rows. Where rows hang on one another, as
duplicates and distances within the reference do, what hangs together is counted together, which errs to the safe side.

Whole sets are read in blocks of rows, so a memory-mapped file is never in memory at once. What takes time quadratic in
the number of rows is done on random rows, as ``used`` says: at most 20,000, and at most 2^23 numbers. Beyond the arrays
that it is given, :func:`diagnose` takes less than 700 MiB.

References: Hajek 1968; Efron and Stein 1981 (the jackknife, and that it errs to the safe side); DeLong et al. 1988
(closeness); Clopper and Pearson 1934; Meehan et al. 2020, arXiv 2004.05675 (data copying by distances to the training
set).
"""

from __future__ import annotations

import hashlib
import math
import mmap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.numbers import count
from ..core.progress import progress
from .crowding import neighbour_counts, pair_fraction
from .distance import SlicedDistance
from .interval import Interval, mean_interval

__all__ = ["Crowd", "Diagnosis", "Gap", "Memory", "Share", "diagnose", "symptoms"]

SHARES = (0.001, 0.01, 0.1)
"""Radii are told by the share of the reference's pairs that they hold."""

LEAST = 20  # rows, with fewer of which nothing is said
PAIRS = 10  # of the reference, with fewer of which a radius is left out; of samples, with fewer of which it is unsure
ROWS, NUMBERS = 20_000, 2**23  # rows, and numbers in them, that are compared with one another at most
BLOCK = 2**21  # numbers read together
SEARCH = 2**38  # products in a search for nearest rows, at most
GROUPS, SPLITS, PROJECTIONS, DISTANCE_ROWS = 20, 10, 64, 3_000
CURVE = np.geomspace(2e-4, 0.5, 16)  # shares of the reference's pairs, at whose radii the curve is drawn


class Crowd(NamedTuple):
    """Crowding at one radius, which holds ``share`` of the reference's pairs: ratio = 1 + shift + unevenness."""

    share: float
    radius: float
    ratio: Interval
    shift: Interval
    unevenness: Interval


class Gap(NamedTuple):
    """A distance in the units of the data: of ``samples`` and data, ``floor`` of data and data.

    Means over random splits, with the smallest and largest. ``excess`` is sqrt(samples^2 - floor^2), ``scale`` the
    data's deviation a coordinate.
    """

    samples: Interval
    floor: Interval
    excess: float
    scale: float


class Share(NamedTuple):
    """A share of the samples, with its interval, beside that of the data, which was counted in ``rows`` of them."""

    samples: Interval
    data: float
    rows: int


class Memory(NamedTuple):
    """Distances to the nearest reference row: of samples, and of data that are not that row.

    ``closer`` is the probability that a sample is nearer than data are, .5 if it is like them; ``medians`` the median
    distances of samples and of data; ``copied`` the share at most half as far as the nearest 1 % of the data; ``exact``
    that of samples that equal a reference row.
    """

    closer: Interval
    medians: tuple[float, float]
    copied: Share
    exact: Share


@dataclass(frozen=True)
class Diagnosis:
    """All that :func:`diagnose` finds. ``rows`` and ``used`` are numbers of rows, by what they are of and used for."""

    dim: int
    rows: dict[str, int]
    used: dict[str, int]
    crowding: tuple[Crowd, ...]
    stretched: tuple[Crowd, ...]  # of samples stretched to the reference's variance, if theirs is smaller
    radii: list[float]
    curve: dict[str, list[float]]  # average numbers of others within the radii (ANSD), a set of n rows counted as n
    spread: Interval
    mean: Interval
    distance: Gap
    equal: Share
    near: Share
    memory: Memory
    warnings: tuple[str, ...]


# --- reading ----------------------------------------------------------------------------------------------------------


class _Rows:
    """An array (n, ...) as rows of d numbers, read in blocks; checked to be finite, and not constant, by :func:`_sums`.
    """

    def __init__(self, array: np.ndarray | Tensor, name: str) -> None:
        array = _from_tensor(array, name) if isinstance(array, Tensor) else array
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
            found = getattr(array, "dtype", type(array).__name__)
            raise TypeError(f"{name} has the type {found}; allowed: an array of real numbers, floating or whole")
        if array.ndim == 0 or array.ndim > 4 or len(array) < LEAST or not array.size:
            raise ValueError(f"{name} has shape {array.shape}; allowed: (n,), (n, d), (n, h, w) or (n, c, h, w) with "
                             f"n >= {LEAST}")
        self.array, self.name, self.n, self.d = array, name, len(array), array.size // len(array)
        narrow = array.dtype.itemsize <= (4 if array.dtype.kind == "f" else 2)
        self.dtype = torch.float32 if narrow else torch.float64

    def _tensor(self, part: np.ndarray, dtype: torch.dtype) -> Tensor:
        wanted = np.float32 if dtype == torch.float32 else np.float64
        return torch.from_numpy(np.array(part, wanted, order="C").reshape(len(part), self.d))

    def blocks(self, label: str, dtype: torch.dtype) -> Iterator[tuple[int, Tensor]]:
        """(first row, rows) of blocks from the first to the last row."""
        size = max(1, BLOCK // self.d)
        starts: Any = range(0, self.n, size)
        for start in progress(starts, label) if len(starts) > 8 else starts:
            yield start, self._tensor(self.array[start : start + size], dtype)
            self._release()

    def pick(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """The rows ``index``, in their order."""
        order = index.argsort()
        out = torch.empty(len(index), self.d, dtype=dtype)
        out[order] = self._tensor(self.array[index[order].numpy()], dtype)
        self._release()
        return out

    def _release(self) -> None:
        """Let go of the pages of a file that is mapped for reading: they would count as this process's memory."""
        if getattr(self.array, "mode", None) != "r" or not hasattr(mmap, "MADV_DONTNEED"):
            return
        base = self.array
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap):
            base.madvise(mmap.MADV_DONTNEED)


def _from_tensor(value: Tensor, name: str) -> np.ndarray:
    if value.layout != torch.strided or value.is_meta:
        kind = "meta" if value.is_meta else str(value.layout).removeprefix("torch.")
        raise TypeError(f"{name} is a {kind} tensor; allowed: one whose numbers are all there, in rows")
    value = value.detach().resolve_conj().resolve_neg().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()  # numpy has no such dtype


class _Sums(NamedTuple):
    """Of groups of rows: number (k,), sum about ``pivot`` (k, d), sum of squares about it (k,); and each row's hash."""

    count: Tensor
    sum: Tensor
    squares: Tensor
    hashes: list[bytes]

    def without(self, k: int | None) -> tuple[Tensor, Tensor]:
        """The group means, and the total variance, of all groups but the ``k``-th."""
        kept = torch.arange(len(self.count)) != (-1 if k is None else k)
        n, total = self.count[kept].sum(), self.sum[kept].sum(0)
        variance = (self.squares[kept].sum() - total.square().sum() / n) / (n - 1)
        return self.sum[kept] / self.count[kept, None], variance


def _sums(rows: _Rows, pivot: Tensor, groups: int, common: torch.dtype, generator: torch.Generator) -> _Sums:
    """One pass over all rows, which are checked on the way. ``pivot`` (d,) keeps the digits of squares."""
    label = torch.randperm(rows.n, generator=generator) % groups
    number = torch.bincount(label, minlength=groups).double()
    total, squares = torch.zeros(groups, rows.d, dtype=torch.float64), torch.zeros(groups, dtype=torch.float64)
    hashes: list[bytes] = []
    first, different = None, False
    for start, block in rows.blocks(f"reading {rows.name}", common):
        bad = ~block.isfinite().all(1)
        if bool(bad.any()):
            row = start + int(bad.nonzero()[0])
            raise ValueError(f"{rows.name} has nan or infinite numbers, first in row {row}; allowed: finite numbers")
        block += 0.0  # -0 is 0
        first = block[0].clone() if first is None else first
        different = different or bool((block != first).any())
        hashes += [hashlib.blake2b(row, digest_size=12).digest() for row in block.numpy()]
        part = block.double() - pivot
        of = label[start : start + len(block)]
        total.index_add_(0, of, part)
        squares.index_add_(0, of, part.square().sum(1))
    if not different:
        raise ValueError(f"{rows.name} holds {rows.n} equal rows; allowed: rows that differ")
    if not bool(squares.isfinite().all()):
        raise ValueError(f"{rows.name} has numbers whose squares overflow; allowed: numbers of moderate size")
    return _Sums(number, total, squares, hashes)


# --- intervals --------------------------------------------------------------------------------------------------------


def _jackknife(whole: float, without: list[float]) -> Interval:
    """The interval of a smooth statistic from its values without each of k groups: Student's of the pseudo-values."""
    k = len(without)
    found = mean_interval([k * whole - (k - 1) * one for one in without])
    half = (found.high - found.low) / 2
    return Interval(whole, whole - half, whole + half)


def _share(hits: float, of: float) -> Interval:
    """hits/of, of independent rows, with the interval of Clopper and Pearson."""
    from scipy.special import betaincinv

    low = float(betaincinv(hits, of - hits + 1, 0.025)) if hits else 0.0
    high = float(betaincinv(hits + 1, of - hits, 0.975)) if hits < of else 1.0
    return Interval(hits / of, low, high)


def _repeats(hits: int, pairs: int, of: int) -> Interval:
    """hits/of for rows that hit because of one another, ``pairs`` of them two by two.

    Without one of a pair there are two hits less, without one of many there is one, so the jackknife's variance is that
    of 1 + 3 pairs/hits times fewer independent rows.
    """
    fewer = 1 + 3 * pairs / hits if hits else 2
    return _share(hits / fewer, of / fewer)


def _normal(value: float, *influences: Tensor) -> Interval:
    """``value`` -+ 1.96 standard errors, from what each row of several independent sets contributes to it."""
    error = math.sqrt(sum(float(part.var()) / len(part) for part in influences))
    return Interval(value, value - 1.96 * error, value + 1.96 * error)


def _crowd(x: Tensor, y: Tensor, share: float, radius: float) -> Crowd:
    """The split of x against y at one radius, with intervals from the neighbours of each row."""
    n, m = len(x), len(y)
    xx, yy, both = (neighbour_counts(z, radius).double() for z in (x, y, torch.cat([x, y])))
    xy, yx = (both[:n] - xx) / m, (both[n:] - yy) / n
    xx, yy = xx / (n - 1), yy / (m - 1)
    own, base, cross = float(xx.mean()), float(yy.mean()), float(xy.mean())
    at_x, at_y = 2 * xx / base, -2 * own * yy / base**2  # what each row adds to the ratio, less constants
    ratio = _normal(own / base, at_x, at_y)
    if own > 0:
        log = _normal(math.log(own / base), 2 * xx / own, 2 * yy / base)
        ratio = Interval(own / base, math.exp(log.low), math.exp(log.high))
    else:  # no pair at all: fewer than 3.7 are expected
        ratio = Interval(0.0, 0.0, 3.7 / (base * n * (n - 1) / 2))
    shift_x, shift_y = 2 * xy / base, 2 * yx / base - 4 * cross * yy / base**2
    shift = _normal(2 * (cross / base - 1), shift_x, shift_y)
    rest = _normal(ratio.value - 1 - shift.value, at_x - shift_x, at_y - shift_y)
    if own * n * (n - 1) / 2 < PAIRS:  # so few tell too little of their own error
        rest = rest._replace(high=max(rest.high, ratio.high - 1 - shift.value))
    return Crowd(share, radius, ratio, shift, rest)


def _closer(near: Tensor, base: Tensor, hang: tuple[Tensor, Tensor] | None) -> Interval:
    """P(near < base) + P(near = base)/2.

    For draws that are independent, given the rows among which the nearest was looked for, the interval of DeLong et al.
    Distances within one set are not: there ``hang`` has for each distance the row that was nearest, and for those of
    ``base`` also the row itself. What hangs on one row is taken together, so the interval errs to the safe side.
    """
    def rank(values: Tensor, among: Tensor) -> Tensor:
        ordered = among.sort().values
        below, upto = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
        return (below + upto).double() / 2 / len(among)

    first, second = 1 - rank(near, base), rank(base, near)
    value = float(first.mean())
    if hang is None:
        found = _normal(value, first, second)
    else:
        nearest, own = hang
        parts = torch.cat([first - value, second - value, second - value])
        weight = torch.tensor([1 / len(near), 1 / len(base), 1 / len(base)], dtype=torch.float64)
        weight = weight.repeat_interleave(torch.tensor([len(near), len(base), len(base)]))
        rows, at = torch.cat([nearest, own]).unique(return_inverse=True)
        together = torch.zeros(len(rows), dtype=torch.float64).index_add_(0, at, parts * weight)
        error = math.sqrt(float(together.square().sum()))
        found = Interval(value, value - 1.96 * error, value + 1.96 * error)
    return Interval(value, max(0.0, found.low), min(1.0, found.high))


# --- nearest rows -----------------------------------------------------------------------------------------------------


def _nearest(query: Tensor, own: Tensor, rows: _Rows, centre: Tensor, label: str) -> tuple[Tensor, Tensor]:
    """From each query (q, d), the distance to the nearest of ``rows`` but row ``own``, float64 (q,), and which it is.

    Own row -1 leaves none out.
    The nearest is found in float32 about ``centre``; its distance is computed anew in float64.
    """
    a = (query.double() - centre).float()
    best, index = torch.full((len(a),), math.inf), torch.zeros(len(a), dtype=torch.int64)
    for start, block in rows.blocks(label, rows.dtype):
        b = (block.double() - centre).float()
        squares = b.double().square().sum(1).float()
        for part in torch.arange(len(a)).split(max(1, 2**23 // len(b))):
            gap = torch.addmm(squares, a[part], b.T, alpha=-2)
            mine = own[part] - start
            inside = (mine >= 0) & (mine < len(b))
            gap[inside.nonzero()[:, 0], mine[inside]] = math.inf
            found, at = gap.min(1)
            nearer = found < best[part]
            best[part] = torch.where(nearer, found, best[part])
            index[part] = torch.where(nearer, at + start, index[part])
    size = max(1, BLOCK // rows.d)
    parts = zip(query.split(size), index.split(size))
    return torch.cat([(q.double() - rows.pick(i, rows.dtype).double()).norm(dim=1) for q, i in parts]), index


def _limit(base: Tensor) -> float:
    """Below it distances are those of copies: half the lowest 1 % of ``base``."""
    return float(np.quantile(base.numpy(), 0.01)) / 2


# --- the whole --------------------------------------------------------------------------------------------------------


def diagnose(samples: np.ndarray | Tensor, reference: np.ndarray | Tensor,
             held_out: np.ndarray | Tensor | None = None, seed: int = 0) -> Diagnosis:
    """Compare ``samples`` of a model with ``reference`` data, and where given with data ``held_out`` of its training.

    Args:
        samples, reference, held_out: arrays (n,), (n, d), (n, h, w) or (n, c, h, w) of real numbers, n >= 20, of one
            dimension; memory-mapped ones are read in blocks. ``reference`` is best what the model was trained on.
        seed: of the random rows, groups, splits and directions.

    Raises:
        TypeError: for arrays of other things than real numbers.
        ValueError: for other shapes, too few rows, dimensions that differ, nan or infinite numbers, or constant sets.
    """
    generator = torch.Generator().manual_seed(count(seed, "seed", 0, 2**63 - 1))
    given = {"samples": samples, "reference": reference, "held_out": held_out}
    sets = {name: _Rows(value, name) for name, value in given.items() if value is not None}
    x, y = sets["samples"], sets["reference"]
    for rows in sets.values():
        if rows.d != y.d:
            raise ValueError(f"{rows.name} has shape {rows.array.shape}; allowed: the dimension of reference, whose "
                             f"shape is {y.array.shape}")
    wide = any(rows.dtype == torch.float64 for rows in sets.values())
    common = torch.float64 if wide else torch.float32

    _, first = next(y.blocks("", torch.float64))
    pivot = torch.where(first.mean(0).isfinite(), first.mean(0), 0)
    groups = min(GROUPS, x.n // 2, y.n // 2)
    sums = {name: _sums(rows, pivot, groups, common, generator) for name, rows in sets.items()}
    spread, mean = _moments(sums["samples"], sums["reference"])

    few = max(LEAST, min(ROWS, NUMBERS // y.d))
    some = {name: rows.pick(_random(rows.n, few, generator), common) for name, rows in sets.items()}
    a, b = some["samples"], some["reference"]
    shares, radii, curve_radii = _radii(b)
    crowding = tuple(_crowd(a, b, *one) for one in progress(list(zip(shares, radii)), "crowding"))
    stretched: tuple[Crowd, ...] = ()
    if spread.high < 1:
        centre = a.double().mean(0)
        wider = ((a.double() - centre) / math.sqrt(spread.value) + centre).to(common)
        stretched = tuple(_crowd(wider, b, *one) for one in progress(list(zip(shares, radii)), "stretched"))
    curve = {name: (torch.as_tensor(pair_fraction(part, curve_radii)) * (sets[name].n - 1)).tolist()
             for name, part in (("samples", a), ("reference", b))}

    queries = max(LEAST, min(few, SEARCH // (2 * y.n * y.d)))
    memory, searched = _memory(sets, sums, pivot, queries, generator)
    near, compared = _near(a, b, pivot, queries)
    gap, split = _gap(a, b, some.get("held_out"), generator, math.sqrt(float(sums["reference"].without(None)[1]) / y.d))
    used = {"pairs of samples": len(a), "pairs of reference": len(b), "distance": split, "near duplicates": compared,
            "nearest reference rows": searched}  # fmt: skip
    warnings = _alike(sets, spread) + _warnings(sums, shares)
    return Diagnosis(y.d, {name: rows.n for name, rows in sets.items()}, used, crowding, stretched, curve_radii, curve,
                     spread, mean, gap, _equal(sums), near, memory, warnings)  # fmt: skip


def _random(n: int, most: int, generator: torch.Generator) -> Tensor:
    """All of n rows, or ``most`` random ones, in random order."""
    return torch.randperm(n, generator=generator)[:most]


def _moments(x: _Sums, y: _Sums) -> tuple[Interval, Interval]:
    """Ratio of total variances, and distance of means over the reference's deviation freed of chance."""

    def statistics(k: int | None) -> tuple[float, float]:
        (mx, vx), (my, vy) = x.without(k), y.without(k)
        gaps, n = mx - my, len(mx)
        square = (gaps.sum(0).square().sum() - gaps.square().sum()) / (n * (n - 1))  # mean of products of two groups
        return float(vx.log() - vy.log()), float(square / vy)

    for name, one in (("samples", x), ("reference", y)):
        n = int(one.count.sum())
        rounding = 1e-14 * float(one.squares.sum()) / n
        if not all(one.without(k)[1] > rounding for k in range(len(one.count))):
            raise ValueError(f"{name} holds {n} rows that are all but equal; allowed: rows that differ")
    whole, parts = statistics(None), [statistics(k) for k in range(len(x.count))]
    spread, square = (_jackknife(whole[i], [part[i] for part in parts]) for i in (0, 1))
    return spread.exp(), Interval(*(math.sqrt(max(0.0, end)) for end in square))


def _radii(y: Tensor) -> tuple[list[float], list[float], list[float]]:
    """Shares of pairs, the radii within which they lie, and those of the curve; from 2,000 rows."""
    distances = torch.pdist(y[:2000].double()).numpy()
    enough = len(y) * (len(y) - 1) / 2
    shares = [share for share in SHARES if share * enough >= PAIRS]
    return shares, np.quantile(distances, shares).tolist(), np.unique(np.quantile(distances, CURVE)).tolist()


def _repeated(hashes: list[bytes]) -> tuple[int, int]:
    """How many rows equal another one, and how many exactly one."""
    found = Counter(Counter(hashes).values())  # how often there are rows in how many copies
    return sum(copies * times for copies, times in found.items() if copies > 1), 2 * found[2]


def _equal(sums: dict[str, _Sums]) -> Share:
    x, y = (sums[name].hashes for name in ("samples", "reference"))
    return Share(_repeats(*_repeated(x), len(x)), _repeated(y)[0] / len(y), len(y))


def _memory(sets: dict[str, _Rows], sums: dict[str, _Sums], centre: Tensor, queries: int, generator: torch.Generator
            ) -> tuple[Memory, int]:
    """Nearest reference rows of samples, and of held-out rows or else of reference rows among the others."""
    x, y = sets["samples"], sets["reference"]
    base = sets.get("held_out", y)
    index = [_random(rows.n, queries, generator) for rows in (x, base)]
    own = torch.cat([torch.full_like(index[0], -1), index[1] if base is y else torch.full_like(index[1], -1)])
    asked = torch.cat([rows.pick(i, torch.float64) for rows, i in zip((x, base), index)])
    distances, nearest = _nearest(asked, own, y, centre, "nearest rows")
    near, other = distances.split([len(one) for one in index])
    known = set(sums["reference"].hashes)
    exact = [sum(one in known for one in sums["samples"].hashes),
             _repeated(sums["reference"].hashes)[0] / y.n if base is y
             else sum(one in known for one in sums["held_out"].hashes) / base.n]  # fmt: skip
    limit = _limit(other)
    copied = Share(_share(int((near <= limit).sum()), len(near)), float((other <= limit).double().mean()), len(other))
    closer = _closer(near, other, (nearest, index[1]) if base is y else None)
    found = Memory(closer, (float(near.median()), float(other.median())), copied,
                   Share(_share(exact[0], x.n), exact[1], base.n))
    return found, len(index[0])


def _near(a: Tensor, b: Tensor, centre: Tensor, queries: int) -> tuple[Share, int]:
    """The share of samples with another one nearer than data are to one another, among equal numbers of each."""
    n = min(len(a), len(b))
    q = min(n, queries)
    (own, nearest), (data, _) = (_nearest(part[:q], torch.arange(q), _Rows(part[:n], "rows"), centre, "near duplicates")
                                 for part in (a, b))
    hit = own <= (limit := _limit(data))
    among = nearest < q  # whose own nearest row is known
    mutual = torch.zeros(q, dtype=torch.bool)
    mutual[among] = nearest[nearest[among]] == torch.arange(q)[among]
    shown = _repeats(int(hit.sum()), int((hit & mutual).sum()), q)
    return Share(shown, float((data <= limit).double().mean()), q), q


def _gap(x: Tensor, y: Tensor, held_out: Tensor | None, generator: torch.Generator, scale: float) -> tuple[Gap, int]:
    """Sliced Wasserstein distances of samples and of data from the same rows of the reference, over random splits."""
    n = min(len(x), DISTANCE_ROWS, len(y) // 2 if held_out is None else min(len(y), len(held_out)))
    found = []
    for _ in progress(range(SPLITS), "distance"):
        order = torch.randperm(len(y), generator=generator)
        other = y[order[n : 2 * n]] if held_out is None else held_out[_random(len(held_out), n, generator)]
        distance = SlicedDistance(y[order[:n]], PROJECTIONS, generator)
        found.append([float(distance(x[_random(len(x), n, generator)].double())), float(distance(other.double()))])
    values = torch.tensor(found, dtype=torch.float64)
    ends = [Interval(float(v.mean()), float(v.min()), float(v.max())) for v in values.T]
    excess = float((values[:, 0].square().mean() - values[:, 1].square().mean()).clamp(min=0).sqrt())
    return Gap(*ends, excess, scale), n


def _alike(sets: dict[str, _Rows], spread: Interval) -> tuple[str, ...]:
    """Warnings of sets that look like the same images in another layout or other units."""
    base, found = sets["reference"].array.shape[1:], []
    for name, rows in sets.items():
        own = rows.array.shape[1:]
        if own != base and min(len(own), len(base)) > 1:
            found.append(f"{name} are {own} and the reference is {base}: is the order of the axes the same?")
    if not 0.1 < spread.value < 10:
        found.append(f"the variance of samples is {spread.value:.2g} times that of the reference: are both in the same "
                     "units?")
    return tuple(found)


def _warnings(sums: dict[str, _Sums], shares: list[float]) -> tuple[str, ...]:
    found = []
    if sums["samples"].hashes == sums["reference"].hashes:
        found.append("samples and reference hold the same rows: everything compares a set with itself")
    if "held_out" in sums and (inside := set(sums["held_out"].hashes) & set(sums["reference"].hashes)):
        found.append(f"{len(inside)} different rows of held_out are in the reference, too: they are not held out")
    if len(shares) < len(SHARES):
        found.append("the reference has too few pairs for the smaller radii, which are left out")
    return tuple(found)


def symptoms(found: Diagnosis) -> list[str]:
    """What of a :class:`Diagnosis` is beyond chance and large enough to matter, most telling first.

    ==========  =====================================================================================================
    memorised   more than 2 % of samples, than three times the data's share, and than the upper end of the data's
                interval, are (nearly) reference rows
    duplicated  the same of samples and samples
    narrow      a variance ratio below .95 with its interval
    wide        one above 1.05
    clumped     a pair ratio above 1.02 and an unevenness above .02 with their intervals, at some radius; of samples
                stretched to the reference's variance where they are narrow
    thin        at the smallest radius a ratio below .9 with its interval
    shifted     a mean more than .05 deviations away, with its interval
    different   none of these, and at every split farther from the data than data are
    ==========  =====================================================================================================
    """

    def many(*shares: Share) -> bool:
        return any(float(one.samples.low) > max(0.02, 3 * one.data, _share(one.data * one.rows, one.rows).high)
                   for one in shares)

    crowds = found.stretched if found.spread.high < 0.95 and found.stretched else found.crowding
    told = {
        "memorised": many(found.memory.copied, found.memory.exact),
        "duplicated": many(found.near, found.equal),
        "narrow": found.spread.high < 0.95,
        "wide": found.spread.low > 1.05,
        "clumped": any(one.ratio.low > 1.02 and one.unevenness.low > 0.02 for one in crowds),
        "thin": bool(found.crowding) and found.crowding[0].ratio.high < 0.9,
        "shifted": found.mean.low > 0.05,
    }
    named = [name for name, seen in told.items() if seen]
    return named or (["different"] if found.distance.samples.low > found.distance.floor.high else [])
