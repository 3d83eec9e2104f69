r"""How many pairs of points are at most a radius apart: exact counts, by the engine that measured fastest.

Two points are neighbours if their distance, sqrt(sum_k (x_k - y_k)^2) computed in float64 from the given coordinates,
is at most the radius. (At a distance that equals the radius up to its last bit, d > 3, the order of the sum decides.)
Three engines count exactly these pairs:

    line    d = 1           sort, then a binary search for each point: O(n log n)
    boxes   few dimensions  a balanced k-d tree; two boxes are discarded, or counted whole, where their distances allow
                            it, and only what is left is compared point by point, a batch of leaves at a time
    dense   otherwise       |x|^2 + |y|^2 - 2 x.y as float32 matrix products over blocks of points sorted by norm; pairs
                            nearer to the radius than the rounding error are decided again in float64

A matrix product alone loses near-duplicates: its error is of the order of d 6e-8 (|x| + |y|)^2, however close x and y
are. Here that bound is used: where it decides nothing (a blob of samples far from the mean) a block is multiplied again
in float64 about its own mean, and what then is still open is decided by differences.

Matrix products take less than 256 MiB beyond the points, whatever their number; sorting on the line, some 50 bytes a
point, and boxes, some 150, lists of pairs being bounded.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from ..core import cost
from ..core.numbers import number, samples
from ..core.progress import progress

__all__ = ["count_neighbours", "count_pairs"]


def count_pairs(x: Tensor, radii: Sequence[float], y: Tensor | None = None) -> Tensor:
    """Pairs at most a radius apart, for each of ``radii``: i < j of x, or all (i, j) of x and y. (len(radii),) int64.

    Args:
        x, y: finite points (n, d) and (m, d), on one device; narrower dtypes count as the float32 numbers they are.
        radii: numbers >= 0, in a sequence or vector; every pair is within inf.

    Raises:
        TypeError: for points or radii that are no numbers, and for one radius that is in no sequence.
        ValueError: for points that are not (n, d) or not finite, y of another dimension or device than x, and for
            radii that are negative or nan.
    """
    x, y, radii = _given(x, "x"), None if y is None else _given(y, "y"), _radii(radii)
    if y is not None and (y.shape[1] != x.shape[1] or y.device != x.device):
        raise ValueError(f"y has shape {tuple(y.shape)} on {y.device}; allowed: dimension and device of x, which has "
                         f"{tuple(x.shape)} on {x.device}")
    every = len(x) * (len(x) - 1) // 2 if y is None else len(x) * len(y)
    finite = [r for r in radii if r < math.inf]
    found = iter(_counts(x, finite, y) if every and finite else [0] * len(finite))
    return torch.tensor([next(found) if r < math.inf else every for r in radii], dtype=torch.int64)


def _counts(x: Tensor, radii: list[float], y: Tensor | None) -> list[int]:
    """What :func:`count_pairs` gives, for finite radii and at least one pair."""
    kind = _engine(len(x) if y is None else max(len(x), len(y)), x.shape[1])
    if kind == "line":
        a, b = _sorted(x), None if y is None else _sorted(y)
        counts = [_total(_later(a, r) if b is None else _within(a, b, r)) for r in radii]
    elif kind == "boxes":
        boxes = _Boxes(x, y)
        counts = [boxes.total(r) for r in radii]
    else:
        if cost.dry():  # what stands in for points is all alike, and each of its pairs would be decided in detail
            x, y = torch.randn_like(x), None if y is None else torch.randn_like(y)
        counts = [0] * len(radii)
        for k, rows, columns, near, extra, _ in _dense(x, radii, y):
            count = _count(near) + len(extra)
            counts[k] += (count - len(rows)) // 2 if y is None and rows is columns else count
        if cost.dry():
            counts = [max(1, n) for n in counts]  # of which there are ratios
    return counts


def count_neighbours(x: Tensor, eps: float) -> Tensor:
    """For each point of x (n, d), how many others are at most ``eps`` away: (n,) int64 on the device of x.

    Raises:
        TypeError, ValueError: as :func:`count_pairs`, for x and for ``eps``, which is one number >= 0 or inf.
    """
    x, eps = _given(x, "x"), _radius(eps, "eps")
    if eps == math.inf or len(x) < 2:
        return torch.full((len(x),), max(0, len(x) - 1), dtype=torch.int64, device=x.device)
    kind = _engine(len(x), x.shape[1])
    if kind == "line":
        if x.device.type == "cpu":
            line = x[:, 0].numpy().astype(np.float64)
            order = np.argsort(line)
            counts = np.empty_like(order)
            a = torch.from_numpy(line[order])
            counts[order] = _within(a, a, eps).numpy() - 1
            return torch.from_numpy(counts)
        a, order = x[:, 0].double().sort()
        return torch.empty_like(order).scatter_(0, order, _within(a, a, eps) - 1)
    if kind == "boxes":
        return torch.from_numpy(_Boxes(x).each(eps)).to(x.device)
    counts = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    for _, rows, columns, near, i, j in _dense(x, [eps]):
        counts.index_add_(0, rows, near.sum(1)).index_add_(0, rows[i], torch.ones_like(i))
        if rows is not columns:
            counts.index_add_(0, columns, near.sum(0)).index_add_(0, columns[j], torch.ones_like(j))
    return counts - 1


def _given(x: Tensor, name: str) -> Tensor:
    x = samples(x, name)
    if x.ndim != 2 or not x.shape[1]:
        raise ValueError(f"{name} has shape {tuple(x.shape)}; allowed: (n, d)")
    x = x.detach() if x.dtype in (torch.float32, torch.float64) else x.detach().float()
    if x.numel():
        if x.device.type == "cpu":  # on the calling thread alone, without a copy; nan is the least and the largest
            with np.errstate(invalid="ignore"):
                ends = [float(x.numpy().min()), float(x.numpy().max())]
        else:
            ends = torch.stack(torch.aminmax(x)).tolist()
        if not all(map(math.isfinite, ends)):
            raise ValueError(f"{name} has entries from {ends[0]} to {ends[1]}; allowed: finite points")
    return x


def _radius(value: float, name: str) -> float:
    radius = number(value, name)
    if not radius >= 0:
        raise ValueError(f"{name} = {radius}; allowed: numbers >= 0, or inf")
    return radius


def _radii(values: Sequence[float]) -> list[float]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) != 1:
        raise TypeError(f"radii = {values!r}; allowed: a sequence of numbers >= 0")
    if isinstance(values, Tensor):
        values = values.tolist()
    return [_radius(value, "radii") for value in values]


def _scale(eps: float) -> float:
    """A power of two by which differences are multiplied before they are squared, so that those about ``eps`` neither
    overflow nor vanish; 1 for every ordinary radius. A larger one may become inf, a smaller one 0: it counts as such.
    """
    if 2.0**-480 < eps < 2.0**480:
        return 1.0
    return 2.0 ** min(1023, -math.frexp(eps)[1]) if eps else 2.0**1023


def _total(counts: Tensor) -> int:
    return int(counts.numpy().sum() if counts.device.type == "cpu" else counts.sum())


def _engine(n: int, d: int) -> str:
    if d == 1:
        return "line"
    return "boxes" if n >= _CROSSOVER.get(d, math.inf) else "dense"


# From how many points on boxes are faster, by dimension; measured at 30 neighbours a point, one thread
# (benchmarks/bench_pairs.py --crossover). In 2 and 3 dimensions from the smallest sample on.
_CROSSOVER = {2: 0, 3: 0, 4: 3_000, 5: 30_000, 6: 150_000}


def _count(mask: Tensor) -> int:
    return int(np.count_nonzero(mask.numpy())) if mask.device.type == "cpu" else int(torch.count_nonzero(mask))


# --- line -------------------------------------------------------------------------------------------------------------


def _sorted(x: Tensor) -> Tensor:
    if x.device.type == "cpu":  # several times faster than torch's
        return torch.from_numpy(np.sort(x[:, 0].numpy()).astype(np.float64))
    return x[:, 0].sort().values.double()


def _reach(a: Tensor, b: Tensor, eps: float) -> Tensor:
    """For each of the sorted a, how many of the sorted b have b - a <= eps as float64 computes it."""
    if a.device.type == "cpu":
        return torch.from_numpy(_reach_on_host(a.numpy(), b.numpy(), eps))
    ends = torch.searchsorted(b, a + eps, right=True)
    # Both a + eps and b - a are rounded. Where they disagree, bisect on the difference, which increases with b.
    padded = torch.cat([b.new_full((1,), -math.inf), b, b.new_full((1,), math.inf)])
    last, after = padded.index_select(0, ends), padded.index_select(0, ends + 1)
    wrong = (last - a > eps) | (after - a <= eps)
    if bool(wrong.any()):
        wrong = wrong.nonzero()[:, 0]
        start, low, high = a[wrong], torch.zeros_like(wrong), torch.full_like(wrong, len(b))
        for _ in range(len(b).bit_length()):
            middle = (low + high) // 2
            near = padded[middle + 1] - start <= eps
            low, high = torch.where(near & (low < high), middle + 1, low), torch.where(near, high, middle)
        ends[wrong] = low
    return ends


def _reach_on_host(a: np.ndarray, b: np.ndarray, eps: float) -> np.ndarray:
    """:func:`_reach` by numpy, on the calling thread alone: these loops are so short that a second thread, which a busy
    machine may not run at once, costs more than it brings at every size."""
    with np.errstate(over="ignore"):  # a sum beyond all numbers is beyond all points
        ends = np.searchsorted(b, a + eps, side="right")
        padded = np.concatenate([[-math.inf], b, [math.inf]])
        # Both a + eps and b - a are rounded, as in :func:`_reach`.
        wrong = (padded[ends] - a > eps) | (padded[ends + 1] - a <= eps)
    if wrong.any():
        wrong = wrong.nonzero()[0]
        start, low, high = a[wrong], np.zeros_like(wrong), np.full_like(wrong, len(b))
        for _ in range(len(b).bit_length()):
            middle = (low + high) // 2
            near = padded[middle + 1] - start <= eps
            low, high = np.where(near & (low < high), middle + 1, low), np.where(near, high, middle)
        ends[wrong] = low
    return ends


def _later(a: Tensor, eps: float) -> Tensor:
    """For each of the sorted a, how many later ones are within eps."""
    if a.device.type == "cpu":
        return torch.from_numpy(_reach_on_host(a.numpy(), a.numpy(), eps) - np.arange(1, len(a) + 1))
    return _reach(a, a, eps) - torch.arange(1, len(a) + 1, device=a.device)


def _within(a: Tensor, b: Tensor, eps: float) -> Tensor:
    """For each of the sorted a, how many of the sorted b are within eps: b - a <= eps less those with a - b > eps."""
    if a.device.type == "cpu":
        x, y = a.numpy(), b.numpy()
        back = _reach_on_host(-x[::-1], -y[::-1], eps)[::-1]
        return torch.from_numpy(_reach_on_host(x, y, eps) + back - len(y))
    return _reach(a, b, eps) + _reach(-a.flip(0), -b.flip(0), eps).flip(0) - len(b)


# --- boxes ------------------------------------------------------------------------------------------------------------

_LEAF = 32  # points in a leaf, at most
_PIECE = 2**16  # pairs of boxes looked at together
_BATCH = 2**16  # pairs of points compared together: what the processor's second cache holds
_THREADED = 50_000  # points from which on threads are worth their handing over


class _Tree:
    """A k-d tree as arrays: ``leaves`` (d, leaf, 2^levels), filled up with infinities, the index ``order`` of points
    in them (2^levels, leaf), and for each level the boxes' corners (d, 2^level) and number of points (2^level,)."""

    def __init__(self, x: np.ndarray, levels: int) -> None:
        from scipy.spatial import cKDTree

        n = len(x)
        ends = np.array([0, n])
        for _ in range(levels):  # halves of halves, as the balanced tree has them
            ends = np.insert(ends, range(1, len(ends)), (ends[:-1] + ends[1:]) // 2)
        size = np.diff(ends)
        sorted_ = np.append(cKDTree(x, leafsize=_LEAF, compact_nodes=False).indices, n)
        slot = np.arange(size.max())
        self.order = sorted_[np.where(slot < size[:, None], ends[:-1, None] + slot, n)]
        self.leaves = np.empty((x.shape[1], *self.order.shape[::-1]))
        for axis, leaf in zip(x.T, self.leaves):
            leaf[:] = np.append(axis, np.inf)[self.order].T
        low, high = self.leaves.min(1), np.where(np.isinf(self.leaves), -np.inf, self.leaves).max(1)
        self.low, self.high, self.size = [low], [high], [size]
        for _ in range(levels):
            self.low.insert(0, np.minimum(self.low[0][:, ::2], self.low[0][:, 1::2]))
            self.high.insert(0, np.maximum(self.high[0][:, ::2], self.high[0][:, 1::2]))
            self.size.insert(0, self.size[0][::2] + self.size[0][1::2])


class _Boxes:
    """Close pairs by a walk down two trees at once (one, if y is not given), level by level on arrays of boxes."""

    def __init__(self, x: Tensor, y: Tensor | None = None) -> None:
        x, y = (None if v is None else v.double().cpu().numpy() for v in (x, y))
        self.self, n = y is None, len(x) if y is None else max(len(x), len(y))
        self.n, self.levels = len(x), max(0, math.ceil(math.log2(n / _LEAF)))
        self.a = _Tree(x, self.levels)
        self.b = self.a if y is None else _Tree(y, self.levels)

    def _walk(self, eps: float, whole: Callable[[int, np.ndarray, np.ndarray], None]) -> Iterator[tuple]:
        """Call ``whole(level, i, j)`` where all points of two boxes are close; yield the undecided leaves (i, j)."""
        a, b, scale = self.a, self.b, _scale(eps)
        square = (eps * scale) ** 2
        slack = square * (len(a.leaves) + 8) * 2.0**-52  # more than the rounding error of a squared distance
        stack = [(0, np.zeros(1, np.int64), np.zeros(1, np.int64))]
        while stack:
            level, i, j = stack.pop()
            near, far = np.zeros(len(i)), np.zeros(len(i))
            for low, high, low_, high_ in zip(a.low[level], a.high[level], b.low[level], b.high[level]):
                right, left = low_[j] - high[i], low[i] - high_[j]
                if scale != 1:
                    right, left = right * scale, left * scale
                near += np.maximum(np.maximum(right, left), 0) ** 2
                far += np.minimum(right, left) ** 2
            # The farthest corners are high_ - low and high - low_, whichever is larger.
            close, apart = far <= square - slack, near > square + slack
            whole(level, i[close], j[close])
            i, j = (v[~(close | apart)] for v in (i, j))
            if level == self.levels:
                if len(i):
                    yield i, j
                continue
            i = np.concatenate([2 * i, 2 * i, 2 * i + 1, 2 * i + 1])
            j = np.concatenate([2 * j, 2 * j + 1, 2 * j, 2 * j + 1])
            if self.self:
                i, j = i[i <= j], j[i <= j]
            stack += [(level + 1, i[k : k + _PIECE], j[k : k + _PIECE]) for k in range(0, len(i), _PIECE)]

    def _batches(self, eps: float, whole: Callable[[int, np.ndarray, np.ndarray], None],
                 tally: Callable[[np.ndarray, np.ndarray, np.ndarray], object]) -> list:
        """``tally(i, j, near)`` for batches of undecided leaves, near (leaf, leaf, batch) bool, on several threads."""
        a, b, scale = self.a.leaves, self.b.leaves, _scale(eps)
        square = _square_below(eps * scale)
        size = max(1, _BATCH // (a.shape[1] * b.shape[1]))

        def run(pairs: tuple[np.ndarray, np.ndarray]) -> list:
            gap, total = np.empty((2, a.shape[1], b.shape[1], size))
            near, results = np.empty(gap.shape, bool), []
            for k in range(0, len(pairs[0]), size):
                i, j = (v[k : k + size] for v in pairs)
                part, s, t = (v[..., : len(i)] for v in (near, gap, total))
                for axis, (p, q) in enumerate(zip(a, b)):
                    np.subtract(p[:, None, i], q[None, :, j], out=s if axis else t)
                    if scale != 1:
                        np.multiply(s if axis else t, scale, out=s if axis else t)
                    if axis:
                        np.multiply(s, s, out=s)
                        np.add(t, s, out=t)
                    else:
                        np.multiply(t, t, out=t)
                np.less_equal(t, square, out=part)
                results.append(tally(i, j, part))
            return results

        def pieces() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for i, j in self._walk(eps, whole):
                for k in range(0, len(i), 16 * size):
                    yield i[k : k + 16 * size], j[k : k + 16 * size]

        workers = torch.get_num_threads() if self.n >= _THREADED else 1
        with np.errstate(invalid="ignore", over="ignore"):
            if workers == 1:
                return [r for piece in pieces() for r in run(piece)]

        def quietly(piece: tuple[np.ndarray, np.ndarray]) -> list:
            with np.errstate(invalid="ignore", over="ignore"):  # holds for one thread
                return run(piece)

        with np.errstate(invalid="ignore", over="ignore"), ThreadPoolExecutor(workers) as pool:
            return [r for results in pool.map(quietly, pieces()) for r in results]

    def total(self, eps: float) -> int:
        """The number of close pairs."""
        count = 0

        def whole(level: int, i: np.ndarray, j: np.ndarray) -> None:
            nonlocal count
            p, q = self.a.size[level][i], self.b.size[level][j]
            same = (i == j) & self.self
            count += int((p * np.where(same, q - 1, 2 * q)).sum())

        def tally(i: np.ndarray, j: np.ndarray, near: np.ndarray) -> int:
            if not self.self:
                return 2 * np.count_nonzero(near)
            same = i == j
            both = np.count_nonzero(near)
            if not same.any():
                return 2 * both
            within = np.count_nonzero(near[..., same])
            return 2 * (both - within) + within - int(self.a.size[-1][i[same]].sum())

        parts = self._batches(eps, whole, tally)
        return (count + sum(parts)) // 2

    def each(self, eps: float) -> np.ndarray:
        """For each point the number of others close to it."""
        tree = self.a
        boxes = [np.zeros(1 << level, np.int64) for level in range(self.levels + 1)]
        points = np.zeros(tree.leaves.shape[1:], np.int64)

        def whole(level: int, i: np.ndarray, j: np.ndarray) -> None:
            other = i != j
            np.add.at(boxes[level], i, tree.size[level][j])
            np.add.at(boxes[level], j[other], tree.size[level][i[other]])

        def tally(i: np.ndarray, j: np.ndarray, near: np.ndarray) -> tuple:
            return i, j, near.sum(1), near.sum(0)[:, i != j]

        for i, j, rows, columns in self._batches(eps, whole, tally):
            np.add.at(points.T, i, rows.T)
            np.add.at(points.T, j[i != j], columns.T)
        for level in range(self.levels):
            boxes[level + 1] += boxes[level].repeat(2)
        counts = np.empty(self.n + 1, np.int64)
        counts[np.minimum(tree.order, self.n)] = points.T + boxes[-1][:, None]
        return counts[: self.n] - 1


def _square_below(eps: float) -> float:
    """The largest s with sqrt(s) <= eps in float64: comparing squares with it is comparing distances with eps."""
    if not 0 <= eps < math.inf:
        raise ValueError(f"eps = {eps}; allowed: finite numbers >= 0")
    square = eps * eps
    while math.sqrt(math.nextafter(square, math.inf)) <= eps:
        square = math.nextafter(square, math.inf)
    while math.sqrt(square) > eps:
        square = math.nextafter(square, 0)
    return square


# --- dense ------------------------------------------------------------------------------------------------------------

_WIDTH = 1024  # points in a block, at most
_NUMBERS = 2**20  # coordinates in a block, at most
_POOLED = 2**14  # points from which on blocks are given to several threads
_KEPT = 2**24  # coordinates of all factors together, up to which they are kept


class _Sorted:
    """Points in blocks by distance from ``centre``, all scaled by ``scale``."""

    def __init__(self, x: Tensor, scale: float, centre: Tensor, size: int) -> None:
        self.x, self.scale, self.centre = x, scale, centre
        index = torch.arange(len(x), device=x.device).split(size)
        norms = torch.cat([self.rows(part, centre).norm(dim=1) for part in index])
        self.norms, self.order = norms.sort()
        self.blocks = list(self.order.split(size))
        self.reach = [float(part[-1]) for part in self.norms.split(size)]
        self.kept: dict[int, Tensor] | None = {} if x.numel() <= _KEPT else None

    def rows(self, index: Tensor, centre: Tensor | float = 0.0) -> Tensor:
        """The points ``index`` in float64, seen from ``centre``."""
        return self.x[index].double().mul_(self.scale).sub_(centre)

    def factor(self, k: int, left: bool, dtype: torch.dtype) -> Tensor:
        """Block k as a factor of the squared distances: (-2 x, |x|^2, 1) on the left, (y, 1, |y|^2) on the right."""
        if self.kept is None or left:  # a left factor is asked for once
            return _factor(self.rows(self.blocks[k], self.centre), left, dtype)
        if k not in self.kept:
            self.kept[k] = _factor(self.rows(self.blocks[k], self.centre), left, dtype)
        return self.kept[k]


def _factor(x: Tensor, left: bool, dtype: torch.dtype) -> Tensor:
    n, d = x.shape
    out = torch.ones(n, d + 2, dtype=dtype, device=x.device)
    out[:, :d] = x
    if left:
        out[:, :d] *= -2
    out[:, d if left else d + 1] = x.square().sum(1)
    return out


def _bound(reach: float, d: int, dtype: torch.dtype) -> float:
    """A bound for the error of |x|^2 + |y|^2 - 2 x.y as a product of d + 2 terms, for |x| + |y| <= reach: rounding of
    the factors and of the sum, in whatever order; and underflow."""
    return 1.01 * (d + 16) * torch.finfo(dtype).eps / 2 * reach**2 + 1e3 * torch.finfo(dtype).tiny


def _dense(x: Tensor, radii: Sequence[float], y: Tensor | None = None) -> Iterator[tuple]:
    """For blocks of rows and columns and each radius number k: (k, rows, columns, near, i, j).

    ``near`` (rows, columns) holds pairs that are close; the pairs (i, j) within the block are close, too. ``rows`` and
    ``columns`` index x and y; for y = None only the upper triangle of blocks comes, its diagonal with both orders.
    """
    if x.device.type != "cpu":
        yield from _blocks_of(x, radii, y, lambda decide, products: (decide(*product) for product in products))
        return
    workers = torch.get_num_threads()

    def spread(decide: Callable[..., list], products: Iterable[tuple]) -> Iterator[list]:
        if workers == 1 or len(x) < _POOLED:
            yield from (decide(*product) for product in products)
            return
        with ThreadPoolExecutor(workers) as pool:
            ahead: deque[Future] = deque()
            for product in products:
                ahead.append(pool.submit(decide, *product))
                if len(ahead) > 2 * workers:
                    yield ahead.popleft().result()
            yield from (one.result() for one in ahead)

    # One block to a thread: threads inside a product wait for each other, and on a busy machine for the slowest one.
    with _one_thread_inside():
        yield from _blocks_of(x, radii, y, spread)


def _blocks_of(x: Tensor, radii: Sequence[float], y: Tensor | None, spread: Callable[..., Iterable[list]]
               ) -> Iterator[tuple]:
    """What :func:`_dense` yields, block by block as ``spread`` runs them."""
    d = x.shape[1]
    size = max(1, min(_WIDTH, _NUMBERS // d))
    both = [x] if y is None else [x, y]
    largest = max(float(part.abs().max()) for v in both for part in v.split(size))
    scale = 2.0 ** min(1023, -math.frexp(largest)[1]) if largest > 0 else 1.0
    centre = sum((part.double() * scale).sum(0) for part in x.split(size)) / len(x)
    a = _Sorted(x, scale, centre, size)
    b = a if y is None else _Sorted(y, scale, centre, size)
    # Two points are nearer to each other than 4 sqrt(d) when scaled: a larger radius is like this one.
    squares = [min(r * scale, 4 * d**0.5) ** 2 for r in radii]
    # A user who allows TF32 or bfloat16 products would break the error bound.
    dtype = torch.float32 if torch.get_float32_matmul_precision() == "highest" else torch.float64

    def products() -> Iterator[tuple]:
        steps: Iterable[int] = range(len(a.blocks))
        for p in progress(steps, "pairs") if len(a.blocks) > 20 else steps:
            left = a.factor(p, True, dtype)
            for q in range(p if y is None else 0, len(b.blocks)):
                yield p, q, left, b.factor(q, False, dtype)

    def decide(p: int, q: int, left: Tensor, right: Tensor) -> list[tuple]:
        bound = _bound(a.reach[p] + b.reach[q], d, dtype)
        return list(_decide(a, p, b, q, left @ right.T, radii, squares, bound))

    for results in spread(decide, products()):
        yield from results


@contextmanager
def _one_thread_inside() -> Iterator[None]:
    """torch's own loops on one thread, for the time of a count."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _decide(a: _Sorted, p: int, b: _Sorted, q: int, square: Tensor, radii: list[float], squares: list[float],
            bound: float) -> Iterator[tuple]:
    rows, columns = a.blocks[p], b.blocks[q]
    none = rows[:0]
    finer = None
    for k, (r, s) in enumerate(zip(radii, squares)):
        near, far = _below(square, s - bound), _below(square, s + bound)
        open_ = _count(far) - _count(near)
        if open_ * 64 > square.numel():
            if finer is None:
                finer = _again(a, rows, b, columns)
            near, far = (_below(finer[0], s + side) for side in (-finer[1], finer[1]))
            open_ = _count(far) - _count(near)
        i = j = none
        if open_:
            i, j = (far ^ near).nonzero().T
            close = _close(a, rows[i], b, columns[j], r)
            i, j = i[close], j[close]
        yield k, rows, columns, near, i, j


def _below(square: Tensor, limit: float) -> Tensor:
    """square <= limit, rounded so that it errs by less than the bound allows."""
    if square.device.type == "cpu":  # much faster than torch's
        return torch.from_numpy(square.numpy() <= square.numpy().dtype.type(limit))
    return square <= limit


def _again(a: _Sorted, rows: Tensor, b: _Sorted, columns: Tensor) -> tuple[Tensor, float]:
    """Squared distances of a block in float64, seen from the block's own mean, and their bound."""
    x = a.rows(rows)
    centre = x.mean(0)
    x, y = x.sub_(centre), b.rows(columns, centre)
    reach = sum(float(v.norm(dim=1).max()) for v in (x, y))
    square = _factor(x, True, torch.float64) @ _factor(y, False, torch.float64).T
    return square, _bound(reach, x.shape[1], torch.float64)


def _close(a: _Sorted, i: Tensor, b: _Sorted, j: Tensor, r: float) -> Tensor:
    """Which of the pairs (i, j) are within r, by differences of the points as they were given."""
    size, scale, parts = max(1, _NUMBERS // (4 * a.x.shape[1])), _scale(r), []
    for m, n in zip(i.split(size), j.split(size)):
        gaps = a.x[m].double().sub_(b.x[n].double())
        gaps = gaps if scale == 1 else gaps.mul_(scale)
        parts.append(gaps.square_().sum(1).sqrt() <= r * scale)
    return torch.cat(parts)
