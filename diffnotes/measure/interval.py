r"""Intervals for effects measured over seeds: what n repetitions allow to be said, and no more.

For the mean of n normal values x_i with sample deviation s, the interval is mean -+ t_{n-1} s/sqrt(n), t the quantile
of Student's law. Settings compared on the same seeds are compared by differences (or logarithms of ratios) seed by
seed, which removes what the seeds share. The median's interval lies between two order statistics and assumes nothing
about the law; the bootstrap serves statistics that have no formula.

References: Student 1908; David and Nagaraja 2003, section 7.1 (order statistics); Efron 1979 (bootstrap).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.numbers import count, floats, number

__all__ = [
    "Interval", "bootstrap_interval", "largest", "mean_interval", "median_interval", "paired_difference",
    "ratio_interval",
]  # fmt: skip


class Interval(NamedTuple):
    """An estimate and its interval: numbers, or float64 tensors where there are several estimates."""

    value: float | Tensor
    low: float | Tensor
    high: float | Tensor

    def exp(self) -> Interval:
        """The interval of the exponential: from logarithms of ratios to ratios."""
        return _interval(*(torch.as_tensor(end, dtype=torch.float64).exp() for end in self))

    def __format__(self, spec: str) -> str:
        """Estimate and interval in the format of a number.

        >>> f"{Interval(1.2, 1.125, 1.3):.2f}"
        '1.20 [1.12, 1.30]'
        """
        value, low, high = (format(float(end), spec) for end in self)
        return f"{value} [{low}, {high}]"

    def at(self, i: int) -> Interval:
        """The ``i``-th of several estimates."""
        return Interval(*(float(end[i]) for end in self))


def largest(found: Iterable[Interval]) -> Interval:
    """The interval with the largest estimate, of several that are single numbers."""
    return max(found, key=lambda one: float(one.value))


def _interval(*ends: Tensor) -> Interval:
    return Interval(*(float(end) if end.ndim == 0 else end for end in ends))


def _values(values, name: str = "values", dim: int = 0) -> Tensor:
    """``values`` in float64 with the repetitions on axis 0."""
    values = floats(values, name, torch.float64)
    dim = count(dim, "dim", -values.ndim, values.ndim - 1) if values.ndim else 0
    if not -values.ndim <= dim < values.ndim:
        raise ValueError(f"dim = {dim}; allowed: an axis of {name}, which has shape {tuple(values.shape)}")
    values = values.movedim(dim, 0)
    if len(values) < 2:
        raise ValueError(f"{name} holds {len(values)} repetitions; allowed: at least 2")
    if not bool(values.isfinite().all()):
        raise ValueError(f"{name} has non-finite entries; allowed: finite numbers")
    return values


def _level(level: float) -> float:
    found = number(level, "level")
    if not 0 < found < 1:
        raise ValueError(f"level = {found}; allowed: numbers between 0 and 1")
    return found


def mean_interval(values, level: float = 0.95, dim: int = 0) -> Interval:
    """Student's interval of the mean over the repetitions on axis ``dim``.

    Raises:
        ValueError: for fewer than two repetitions, non-finite values, or a level outside (0, 1).

    >>> interval = mean_interval([1.0, 2.0, 3.0])
    >>> round(interval.value, 2), round(interval.low, 2), round(interval.high, 2)
    (2.0, -0.48, 4.48)
    """
    from scipy.special import stdtrit

    values, level = _values(values, dim=dim), _level(level)
    mean, half = values.mean(0), float(stdtrit(len(values) - 1, (1 + level) / 2)) * values.std(0) / len(values) ** 0.5
    return _interval(mean, mean - half, mean + half)


def paired_difference(a, b, level: float = 0.95, dim: int = 0) -> Interval:
    """Interval of the mean of a - b, repetition by repetition. Raises ValueError also where the shapes differ."""
    a, b = _values(a, "a", dim), _values(b, "b", dim)
    if a.shape != b.shape:
        raise ValueError(f"b has the shape {tuple(b.shape)} (repetitions first); allowed: that of a, {tuple(a.shape)}")
    return mean_interval(a - b, level)


def ratio_interval(a, b, level: float = 0.95, dim: int = 0) -> Interval:
    """Interval of the geometric mean of a/b, repetition by repetition, for positive values.

    Student's interval of log a - log b, exponentiated: a ratio and its inverse say the same.
    """
    a, b = _values(a, "a", dim), _values(b, "b", dim)
    for name, values in (("a", a), ("b", b)):
        if not bool((values > 0).all()):
            raise ValueError(f"{name} has the minimum {values.min():g}; allowed: numbers > 0")
    return paired_difference(a.log(), b.log(), level).exp()


def median_interval(values, level: float = 0.95, dim: int = 0) -> Interval:
    """Interval of the median between two order statistics, of coverage >= ``level`` for every continuous law.

    The k-th smallest and k-th largest value miss the median with probability 2 P(Bin(n, 1/2) < k) together; k is the
    largest that keeps this within 1 - level.

    Raises:
        ValueError: as :func:`mean_interval`, and where n is too small for the level (n < 6 for 95 %).
    """
    from scipy.special import bdtr

    values, level = _values(values, dim=dim).sort(0).values, _level(level)
    n = len(values)
    k = sum(2 * bdtr(j, n, 0.5) <= 1 - level for j in range(n // 2))
    if k == 0:
        raise ValueError(f"values holds {n} repetitions: too few for an interval of the median at level {level:g}")
    return _interval((values[(n - 1) // 2] + values[n // 2]) / 2, values[k - 1], values[n - k])


def bootstrap_interval(statistic: Callable[[Tensor], float | Tensor], values, seed: int, level: float = 0.95,
                       resamples: int = 2000, batched: bool = False) -> Interval:
    """Percentile bootstrap of ``statistic``, a function of a float64 tensor whose axis 0 is resampled.

    ``seed`` is an integer; the same seed gives the same interval. For fewer than some 20 repetitions the coverage
    falls below ``level``. A ``batched`` statistic is given all resamples at once, on an axis before that of the
    repetitions, and answers with that axis in front.

    Raises:
        ValueError: as :func:`mean_interval`, and for fewer than 100 resamples.
    """
    values, level = _values(values), _level(level)
    resamples = count(resamples, "resamples", 100)
    generator = torch.Generator().manual_seed(count(seed, "seed", -(2**63)))
    picks = torch.randint(len(values), (resamples, len(values)), generator=generator).to(values.device)
    if batched:
        draws = floats(statistic(values[picks]), "statistic", torch.float64)
    else:
        draws = torch.stack([floats(statistic(values[pick]), "statistic", torch.float64) for pick in picks])
    ends = torch.quantile(draws, draws.new_tensor([(1 - level) / 2, (1 + level) / 2]), dim=0)
    return _interval(floats(statistic(values), "statistic", torch.float64), *ends)
