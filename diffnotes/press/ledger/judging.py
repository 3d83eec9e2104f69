r"""From measured effects to states of parts, and from those to the verdict of a claim.

With the interval I = [low, high] of an effect and the set R that its rule describes, a part *holds* if I lies in R,
*fails* if I and R do not meet, and is *open* otherwise. An exact effect is a point. What a measurement cannot see, for
want of pairs or because it sits at a floor or a ceiling, is open as well. A part that is decided with its estimate less
than :data:`NARROW` half-widths from the rule's edge is *narrow*.

A claim is judged by its primary parts, what its source says in the source's setting. It

* *holds* if all of them hold;
* *does not hold here* if none holds and more than half of them fail;
* is *mixed* if some hold and some fail;
* is *open* in all other cases.

The other parts are its *reach*: other data, other measures, controls. They are counted beside the verdict.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["NARROW", "Effect", "Unseen", "effort", "is_narrow", "judge", "primary", "region", "verdict"]

NARROW = 1.3
OPPOSITE = {"holds": "fails", "fails": "holds", "open": "open"}


@dataclass(frozen=True)
class Effect:
    """A measured value with its interval [low, high] in ``unit``; an exact value has none.

    Raises:
        ValueError: for a value that is not finite, one end without the other, or an interval that misses the value.

    >>> Effect(0.3, 0.2, 0.5)
    Effect(value=0.3, low=0.2, high=0.5, unit='')
    >>> Effect(2).low
    2.0
    """

    value: float
    low: float | None = None
    high: float | None = None
    unit: str = ""
    exact: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise ValueError(f"low = {self.low}, high = {self.high}: give both ends of the interval, or neither")
        object.__setattr__(self, "exact", self.low is None)
        for name in ("value", "low", "high"):
            number = float(self.value if getattr(self, name) is None else getattr(self, name))
            if not math.isfinite(number):
                raise ValueError(f"{name} = {number} must be finite")
            object.__setattr__(self, name, number)
        if not self.low <= self.value <= self.high:
            raise ValueError(f"value = {self.value} must lie in the interval [{self.low}, {self.high}]")


@dataclass(frozen=True)
class Unseen:
    """What a measurement could not see, and ``why``: its part is open whatever the rule.

    >>> Unseen("no pair of samples lies inside the radius")
    Unseen(why='no pair of samples lies inside the radius')
    """

    why: str

    def __post_init__(self) -> None:
        if not isinstance(self.why, str) or not self.why.strip():
            raise ValueError(f"why = {self.why!r}; allowed: the reason, in words")
        object.__setattr__(self, "why", " ".join(self.why.split()))  # it stands in the cell of a table


def region(rule: str) -> tuple[float, float]:
    """The ends of the set that a rule describes.

    Raises:
        ValueError: for a text that is no rule.

    >>> region("> 1"), region("in [-0.5, 1]")
    ((1.0, inf), (-0.5, 1.0))
    """
    if match := re.fullmatch(r"in \[(.+), *(.+)\]", rule):
        ends = float(match[1]), float(match[2])
        if not -math.inf < ends[0] < ends[1] < math.inf:
            raise ValueError(f"rule = {rule!r}; allowed: 'in [a, b]' with finite a < b")
        return ends
    match = re.fullmatch(r"([<>]=?) *(\S+)", rule)
    if not match:
        raise ValueError(f"rule = {rule!r}; allowed: '> c', '< c', '>= c', '<= c' or 'in [a, b]'")
    c = float(match[2])
    if not math.isfinite(c):
        raise ValueError(f"rule = {rule!r}; allowed: finite numbers")
    return (c, math.inf) if match[1][0] == ">" else (-math.inf, c)


def judge(rule: str, low: float, high: float) -> str:
    """Whether a part holds, fails or is open, for the interval [low, high].

    >>> [judge("> 1", *interval) for interval in ((1.5, 2), (0.5, 1), (0.9, 1.2))]
    ['holds', 'fails', 'open']
    """
    a, b = region(rule)
    if rule.startswith("in"):
        return "holds" if a <= low and high <= b else "fails" if high < a or low > b else "open"
    sign, c = re.match("[<>]=?", rule)[0], a if math.isfinite(a) else b
    if sign in (">", "<="):  # "<=" is the denial of ">"
        state = "holds" if low > c else "fails" if high <= c else "open"
        return state if sign == ">" else OPPOSITE[state]
    state = "holds" if high < c else "fails" if low >= c else "open"
    return state if sign == "<" else OPPOSITE[state]


def _gaps(rule: str, value: float, low: float, high: float) -> list[tuple[float, float]]:
    """How far the value is from each edge of the rule, and the half of the interval that points there.

    From outside a range only the nearer edge counts: beyond the other one the part would fail as well.
    """
    edges = [end for end in region(rule) if math.isfinite(end)]
    if len(edges) == 2 and not edges[0] <= value <= edges[1]:
        edges = [min(edges, key=lambda edge: abs(edge - value))]
    upward = {edge: edge > value or (edge == value and edge == edges[-1]) for edge in edges}
    return [(abs(value - edge), high - value if upward[edge] else value - low) for edge in edges]


def is_narrow(rule: str, value: float, low: float, high: float) -> bool:
    """Whether a decided part is a near miss: less than :data:`NARROW` half-widths from the edge of its rule.

    >>> is_narrow("> 1", 1.5, 1.1, 1.9), is_narrow("> 1", 2, 1.6, 2.4)
    (True, False)
    """
    decided = judge(rule, low, high) != "open"
    return decided and any(half > 0 and gap < NARROW * half for gap, half in _gaps(rule, value, low, high))


def effort(rule: str, value: float, low: float, high: float) -> float:
    """How many times as many repetitions would decide an open part clearly, were the effect as it was measured.

    Half-widths shrink with the root of the number of repetitions. Infinite for a value on the edge.

    >>> round(effort("> 0", 1, -1, 3), 2)
    6.76
    """
    return max((NARROW * half / gap) ** 2 if gap else math.inf for gap, half in _gaps(rule, value, low, high))


def primary(parts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parts that decide."""
    return [part for part in parts if part.get("role", "primary") == "primary"]


def verdict(parts: Iterable[dict[str, Any]]) -> str:
    """The state of a claim from its judged parts: holds, fails, mixed or open."""
    states = [part["state"] for part in primary(parts)]
    holds, fails = states.count("holds"), states.count("fails")
    if states and holds == len(states):
        return "holds"
    if holds and fails:
        return "mixed"
    return "fails" if not holds and fails > len(states) / 2 else "open"
