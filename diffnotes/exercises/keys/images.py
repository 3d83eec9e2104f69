"""Exercises to "Do the verdicts survive on images?"."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from ...chapters.images import nearest as to_nearest
from ...core.schedule import Chain
from ...measure.crowding import pair_fraction
from ...model.sample import sampled_variance
from ..checking import Choice, Construction, Exercise, Function, Mistake, Wrong, tensor_of

_double = torch.float64
_draw = torch.Generator().manual_seed(0)

blind = Choice(
    {
        "a": "each image is a training image, so its distance to the nearest one is zero, and so is the median.",
        "b": "differences of images do not change: neither their distances nor the variances of pixels do.",
        "c": "the variance of each pixel is that of the data, so the mean of these variances is as well. How pixels "
             "depend on each other does not enter it.",
        "d": "it compares means and covariances of the features. Other laws have the same ones.",
        "e": "images that are all a little paler are nearer to each other, and none is a copy of another one.",
        "f": "a kind of digit with a tenth of the images is missing among twenty by chance in more than one grid of "
             "ten, and a grid without it looks as good as any other.",
    },
    "abc",
    "Each number has something that it does not see, and so have eyes.",
)  # fmt: skip

_NEAR = 0.2
_SAME = "Some of the points are equal. Copies would be found as pairs at the distance zero"
_MEAN = "The mean is not that of the data"
_COVARIANCE = "The covariance is not the unit matrix"
_EVEN = "Mean and covariance are right, and the points do not crowd"


def _test_clumps(answer: Any) -> None:
    x = tensor_of(answer)
    if x.ndim != 2 or x.shape[1] != 2 or not 100 <= len(x) <= 1000:
        raise Wrong(f"The answer has the shape {tuple(x.shape)}; it should be (n, 2) with 100 <= n <= 1000")
    if len(x.unique(dim=0)) < len(x):
        raise Wrong(f"{_SAME}: move each point a little.")
    shift = float(x.mean(0).square().sum())
    widths = torch.linalg.eigvalsh(x.T.cov()).clamp(min=0).sqrt()
    far = shift + float((widths - 1).square().sum())
    if far > 0.01:
        said = _MEAN if shift > 0.005 else _COVARIANCE
        raise Wrong(f"{said}. The Fréchet distance is to be at most 0.01, and is {far:.3g}, of which the means make "
                    f"{shift:.3g}.")
    ratio = pair_fraction(x, _NEAR) / -math.expm1(-(_NEAR**2) / 4)
    if ratio < 5:
        raise Wrong(f"{_EVEN}. The ratio of close pairs is to be at least 5, and is {ratio:.3g}. Put many points into "
                    "few places.")


def _corners(at: float, width: float, corners: str = "abcd") -> Tensor:
    """400 points close to some of the corners of a square, of half the side ``at``."""
    places = {"a": (1.0, 1.0), "b": (1.0, -1.0), "c": (-1.0, 1.0), "d": (-1.0, -1.0)}
    x = at * torch.tensor([places[one] for one in corners], dtype=_double).repeat(400 // len(corners), 1)
    return x + width * torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=_double)


def _whitened() -> Tensor:
    x = torch.randn(400, 2, generator=torch.Generator().manual_seed(2), dtype=_double)
    x = x - x.mean(0)
    return torch.linalg.solve_triangular(torch.linalg.cholesky(x.T.cov()), x.T, upper=False).T


clumps = Construction(
    _test_clumps,
    lambda: _corners(1.0, 0.05),
    [
        Mistake(_SAME, lambda: _corners(1.0, 0.0)),
        Mistake(_MEAN, lambda: _corners(1.0, 0.05, "a")),
        Mistake(_COVARIANCE, lambda: _corners(1.0, 0.05, "ad")),
        Mistake(_EVEN, _whitened),
    ],
    "The Fréchet distance takes it for the data, and one look at the points does not.",
)  # fmt: skip


def _memory(x: Tensor, train: Tensor, held: Tensor) -> float:
    return float(to_nearest(x, train)[0].median() / to_nearest(held, train)[0].median())


def _far(x: Tensor, y: Tensor) -> Tensor:
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _some_images(n: int, copies: int) -> tuple[Tensor, Tensor, Tensor]:
    """n images in eight pixels, of which some are washed-out copies, 90 training images, and 31 held-out ones."""
    train, x, held = (torch.randn(k, 8, generator=_draw, dtype=_double) for k in (90, n, 31))
    x[:copies] = train[:copies]
    return 0.9 * x, train, held


memory = Function(
    _memory,
    [_some_images(41, 0), _some_images(25, 11), _some_images(35, 20)],
    [
        Mistake("The smallest distance is taken over the wrong axis: this is how far each training image is from the "
                "nearest of the others.",
                lambda x, train, held: float(_far(x, train).min(0).values.median()
                                             / _far(held, train).min(0).values.median())),
        Mistake("These are means. A few images that are far from all others move a mean, and the median is asked for.",
                lambda x, train, held: float(_far(x, train).min(1).values.mean()
                                             / _far(held, train).min(1).values.mean())),
        Mistake("This is the ratio of squared distances.", lambda x, train, held: _memory(x, train, held) ** 2),
        Mistake("This is the distance itself. Only over that of held-out images does it say something.",
                lambda x, train, held: float(_far(x, train).min(1).values.median())),
        Mistake("The generated images are compared with the held-out ones here. Who remembers is near to what the "
                "training has seen.",
                lambda x, train, held: float(_far(x, held).min(1).values.median()
                                             / _far(held, train).min(1).values.median())),
        Mistake("The ratio is turned over: below one should mean nearer than held-out images are.",
                lambda x, train, held: 1 / _memory(x, train, held)),
    ],
    "It is one for held-out images by its definition, and zero as soon as half of the images are copies.",
)  # fmt: skip


def _shrunk(n: int) -> float:
    """The mean of the deviation of n values of a standard normal law."""
    return float(stats.chi.mean(n - 1)) / math.sqrt(n - 1)


def _floor(n: int, m: int) -> float:
    return 1 / n + 1 / m + 2 * (1 - _shrunk(n) * _shrunk(m))


floor = Function(
    _floor,
    [(2, 2), (5, 20), (10, 3), (50, 200), (400, 2000)],
    [
        Mistake("This is the part of the means. The deviations of two samples differ as well.",
                lambda n, m: 1 / n + 1 / m),
        Mistake("This holds for many images; a closed form for all numbers of images is asked for. The mean of a "
                "deviation is in the hint.", lambda n, m: 1.5 * (1 / n + 1 / m)),
        Mistake("The held-out images are taken for the law itself. They are a sample, too.",
                lambda n, m: 1 / n + 2 * (1 - _shrunk(n))),
        Mistake("The difference of the mean deviations is squared. What is needed is the mean of the squared "
                "difference, which is not zero for n = m.",
                lambda n, m: 1 / n + 1 / m + (_shrunk(n) - _shrunk(m)) ** 2),
        Mistake("This has the squared difference of the variances. On the line the Fréchet distance has that of the "
                "deviations.", lambda n, m: 1 / n + 1 / m + 2 / (n - 1) + 2 / (m - 1)),
    ],
    "For many images it is 3/2 (1/n + 1/m), two thirds of it from the means.",
)  # fmt: skip


def _halves(a: Tensor, b: Tensor) -> list[float]:
    one, other = (x.double().log().numpy() for x in (a, b))
    found = stats.ttest_rel(one, other), stats.ttest_ind(one, other)
    return [(ends.high - ends.low) / 2 for ends in (test.confidence_interval(0.95) for test in found)]


def _half(a: Tensor, b: Tensor, quantiles: Sequence[float]) -> list[float]:
    """Both half lengths, of what is given, with other quantiles."""
    n = len(a)
    errors = (a - b).std() / n**0.5, ((a.var() + b.var()) / n).sqrt()
    return [float(error) * quantile for error, quantile in zip(errors, quantiles)]


def _student(n: int, level: float = 0.975) -> list[float]:
    return [float(stats.t.ppf(level, df)) for df in (n - 1, 2 * n - 2)]


def _two_arms(splits: int, common: float) -> tuple[Tensor, Tensor]:
    """Distances of two arms, which splits have in common."""
    shared, one, other = torch.randn(3, splits, generator=_draw, dtype=_double)
    return (3 + common * shared + 0.1 * one).exp(), (2.9 + common * shared + 0.1 * other).exp()


paired = Function(
    _halves,
    [_two_arms(5, 0.3), _two_arms(8, 0.0), _two_arms(12, 1.0)],
    [
        Mistake("The intervals are those of differences. A ratio is a difference of logarithms.",
                lambda a, b: _half(a, b, _student(len(a)))),
        Mistake("Both have the degrees of freedom n - 1. Two groups of n leave 2 n - 2.",
                lambda a, b: _half(a.log(), b.log(), [_student(len(a))[0]] * 2)),
        Mistake("Both have the degrees of freedom 2 n - 2. Of the n differences n - 1 are left.",
                lambda a, b: _half(a.log(), b.log(), [_student(len(a))[1]] * 2)),
        Mistake("This takes the quantiles of the normal law. Of few splits the deviation is badly known, and Student's "
                "law has the larger ones.", lambda a, b: _half(a.log(), b.log(), [float(stats.norm.ppf(0.975))] * 2)),
        Mistake("These are the lengths. Half of each is asked for.", lambda a, b: [2 * one for one in _halves(a, b)]),
        Mistake("Each end may miss with the probability of 2.5 per cent: the quantile is that of 0.975.",
                lambda a, b: _half(a.log(), b.log(), _student(len(a), 0.95))),
        Mistake("The two numbers are exchanged: first the interval split by split.",
                lambda a, b: _halves(a, b)[::-1]),
    ],
    "What both arms of a split have in common cancels split by split.",
)  # fmt: skip


def _drifts(alpha: float, n: int) -> tuple[float, float]:
    """The squared drift after n generations with unit errors: of one error that comes back, and of new ones."""
    back = new = 0.0
    for _ in range(n):
        back, new = (1 - alpha) * back + 1, (1 - alpha) ** 2 * new + 1
    return back**2, new


def _growth(alpha: float, n: int, floor: float) -> list[float]:
    return [(drift + floor) / (1 + floor) for drift in _drifts(alpha, n)]


growth = Function(
    _growth,
    [(0.0, 4, 0.0), (0.1, 4, 0.5), (0.5, 6, 0.2), (1.0, 3, 1.0), (0.3, 1, 0.3)],
    [
        Mistake("The floor is left out. It is part of both distances, and pulls their ratio towards one.",
                lambda alpha, n, floor: _growth(alpha, n, 0.0)),
        Mistake("The floor is added to the last distance alone. The first one has it as well.",
                lambda alpha, n, floor: [drift + floor for drift in _drifts(alpha, n)]),
        Mistake("The first number is a length. The Fréchet distance has the square of the shift.",
                lambda alpha, n, floor: [(math.sqrt(_drifts(alpha, n)[0]) + floor) / (1 + floor),
                                         _growth(alpha, n, floor)[1]]),
        Mistake("The squares of new errors are damped by 1 - alpha here. A shift is damped by it, and its square by "
                "the square.", lambda alpha, n, floor: [_growth(alpha, n, floor)[0], (
                    sum((1 - alpha) ** i for i in range(n)) + floor) / (1 + floor)]),
        Mistake("Nothing is forgotten here. Fresh images pull each generation back.",
                lambda alpha, n, floor: _growth(0.0, n, floor)),
        Mistake("This is one generation too many: generation one has made one error, and n of them are made in all.",
                lambda alpha, n, floor: _growth(alpha, n + 1, floor)),
        Mistake("The two numbers are exchanged: first the growth for the error that comes back.",
                lambda alpha, n, floor: _growth(alpha, n, floor)[::-1]),
    ],
    "Without fresh images and without a floor, new errors make it grow like n, and one that comes back like n^2.",
)  # fmt: skip


def _spread(levels: Tensor, variances: Tensor, kappa: float) -> float:
    """By the package: the variance of samples in each direction of its own, with one factor for all."""
    power = levels.double().flip(0)
    chain = Chain(1 - power[1:] / power[:-1])
    times = torch.arange(chain.T, -1, -1)
    alpha, sigma = chain(times.flip(0))
    mean, found = variances.double().mean(), []
    for own in variances.double():
        divisor = 1 + kappa * alpha**2 * mean / (alpha**2 * mean + sigma**2)
        found.append(sampled_variance(chain, sigma / (alpha**2 * own + sigma**2) / divisor, times))
    return float(torch.tensor(found, dtype=_double).mean() / mean)


def _by_hand(levels: Tensor, variances: Tensor, kappa: float, but: str) -> float:
    """Step by step, with one thing changed."""
    levels, v, mean = levels.double().tolist(), variances.double(), variances.double().mean()
    found = levels[0] * v + 1 - levels[0] if but == "start" else torch.full_like(v, 1 - levels[0])
    for a, b in itertools.pairwise(levels):
        kept, noise, signal = a / b, 1 - a, a * (v if but == "own" else mean)
        factor = 1 + kappa * signal / (signal + noise)
        slope = math.sqrt(noise) / (a * v + noise) * (factor if but == "times" else 1 / factor)
        clean = (1 - math.sqrt(noise) * slope) / math.sqrt(a)
        step = math.sqrt(b) * (1 - kept) / noise * clean + math.sqrt(kept) * (1 - b) / noise
        found = step**2 * found + (but != "quiet") * (1 - b) / noise * (1 - kept)
    return float((found / v).mean() if but == "ratios" else found.mean() / mean)


_ten = torch.tensor([0.01, 0.05, 0.2, 0.45, 0.7, 0.9, 0.99, 1.0], dtype=_double)
_three = torch.tensor([0.1, 0.5, 0.95, 1.0], dtype=_double)
_pixels = torch.tensor([2.0, 0.5, 0.1, 0.02], dtype=_double)

scaled = Function(
    _spread,
    [(_three, _pixels, 0.0), (_three, _pixels, 1 / 3), (_ten, _pixels, 1 / 3), (_ten, _pixels[:2], 0.1)],
    [
        Mistake("The factor has the variance of each direction here. It has one number for all of them, the mean.",
                lambda levels, v, kappa: _by_hand(levels, v, kappa, "own")),
        Mistake("The noise is multiplied by the factor. It is divided by it: less noise is taken away.",
                lambda levels, v, kappa: _by_hand(levels, v, kappa, "times")),
        Mistake("The ratio is taken in each direction and then averaged. The measure is a mean variance over a mean "
                "variance.", lambda levels, v, kappa: _by_hand(levels, v, kappa, "ratios")),
        Mistake("All directions have the mean variance here. The predictor is the best one for the variance of its "
                "own direction.", lambda levels, v, kappa: _spread(levels, v.mean()[None], kappa)),
        Mistake("It starts from the law of the noised data. The sampler starts from N(0, sigma^2).",
                lambda levels, v, kappa: _by_hand(levels, v, kappa, "start")),
        Mistake("The noise that each step adds is missing.",
                lambda levels, v, kappa: _by_hand(levels, v, kappa, "quiet")),
        Mistake("The factor is left out: this is the spread for kappa = 0.",
                lambda levels, v, kappa: _spread(levels, v, 0.0)),
    ],
    "One factor for all directions is what images get.",
)  # fmt: skip


def _age(average: float, steps: int) -> float:
    """By the weight of each step in the average."""
    k = torch.arange(steps, dtype=_double)
    keep = ((1 + k) / (10 + k)).clamp(max=average)
    later = torch.cat([keep.flip(0).cumprod(0).flip(0), torch.ones(1, dtype=_double)])
    weight = torch.cat([later[:1], (1 - keep) * later[1:]])  # of the start, and of each step
    return float((weight * torch.arange(steps, -1, -1)).sum())


def _constant(average: float, steps: int) -> float:
    return average * (1 - average**steps) / (1 - average)


def _aged(average: float, steps: int, keep: Callable[[int], float]) -> float:
    found = 0.0
    for k in range(steps):
        found = keep(k) * (found + 1)
    return found


age = Function(
    _age,
    [(0.999, 200), (0.9, 300), (0.999, 3000), (0.99, 4000), (0.999, 12_000)],
    [
        Mistake("The decay is taken for constant. At the start the smaller number holds.", _constant),
        Mistake("This is the age after a long time. The rule of the start holds for about 9/(1 - average) "
                "steps, and fewer have been taken in most cases.", lambda average, n: average / (1 - average)),
        Mistake("This is one over one minus the decay, whatever the number of steps.",
                lambda average, n: 1 / (1 - average)),
        Mistake("The rule of the start is right, and it ends: from then on the decay is `average`.",
                lambda average, n: n / 10),
        Mistake("The larger of the two numbers is taken. The decay is the smaller one.",
                lambda average, n: _aged(average, n, lambda k: max(average, (1 + k) / (10 + k)))),
        Mistake("This is the mean of all weights with equal shares.", lambda average, n: n / 2),
    ],
    "While the rule of the start holds, the mean age is a tenth of the training.",
)  # fmt: skip


def _cost(arms: Sequence[int], drawn: int, images: int, counts: Sequence[int], each: Sequence[int]) -> list[int]:
    """Evaluations: ``each`` has the splits, the cost of a step and of its batch."""
    splits, passes, steps, batch = each
    return [splits * passes * steps * batch * sum(arms), splits * drawn * images * sum(counts)]


def _all(splits: int, steps: int, batch: int, K: int, images: int, counts: Sequence[int]) -> list[int]:
    return _cost([1, K, K], 3, images, counts, [splits, 3, steps, batch])


cost = Function(
    _all,
    [(5, 100, 64, 2, 40, [10, 50, 100, 1000]), (3, 2000, 32, 3, 300, [10, 100]), (8, 500, 16, 4, 90, [20])],
    [
        Mistake("A step goes forward and back, which costs as much as three evaluations.",
                lambda s, n, b, K, m, c: _cost([1, K, K], 3, m, c, [s, 1, n, b])),
        Mistake("The control is missing: it is trained, and drawn from, as well.",
                lambda s, n, b, K, m, c: _cost([1, K], 2, m, c, [s, 3, n, b])),
        Mistake("Only one arm costs K times the plain one here. The windows do, and so does the control.",
                lambda s, n, b, K, m, c: _cost([1, 1, K], 3, m, c, [s, 3, n, b])),
        Mistake("This draws in the largest number of steps only. For each number the images are drawn anew.",
                lambda s, n, b, K, m, c: _cost([1, K, K], 3, m, [max(c)], [s, 3, n, b])),
        Mistake("This is for one split. Each split has networks and images of its own.",
                lambda s, n, b, K, m, c: _all(1, n, b, K, m, c)),
        Mistake("Images are drawn from one arm here; all three of them are compared.",
                lambda s, n, b, K, m, c: _cost([1, K, K], 1, m, c, [s, 3, n, b])),
    ],
    "A comparison at equal cost trains the cost once more.",
)  # fmt: skip

verdicts = Choice(
    {
        "a": "K = 2 evaluates the network twice as often. What longer training does as well is no merit of the loss.",
        "b": "the scaled networks are the plain ones, trained as they are. What they can do needs no other training.",
        "c": "the SDE evaluates its network ten times as often here. The source's budgets are compared, and at equal "
             "numbers of steps the answer may be another one.",
        "d": "the interval may be wide. That two arms are alike needs an interval that lies within a range around one.",
        "e": "of the times that it visits, t = 1 is the only one below a hundred; the one before it is t = 101. In "
             "ten steps sharing acts by what the training has made of the network, or at this one time.",
        "f": "the law, the network and the measure are others. Both may be right, and where they part is the finding.",
    },
    "abe",
    "What a comparison says depends on what its arms have in common.",
)  # fmt: skip

EXERCISES: dict[str, Exercise] = {
    "blind": blind, "clumps": clumps, "memory": memory, "floor": floor, "paired": paired, "growth": growth,
    "scaled": scaled, "age": age, "cost": cost, "verdicts": verdicts,
}  # fmt: skip
