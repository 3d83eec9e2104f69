"""The ledger of claims: rules fixed beforehand, verdicts computed by the run.

``claims.toml`` lists every claim, its parts and the rule of each part. A chapter hands the measured effects to
:meth:`Ledger.record`, which applies the rules. With the interval I = [low, high] of an effect and the set R that its
rule describes,

* a part *holds* if I lies in R, *fails* if I and R do not meet, and is *unresolved* otherwise (exact: I is a point);
* a claim *holds* if all its parts hold, *does not hold here* if all fail, is *not testable here* if none holds and
  some are unresolved, and else *holds if restricted* to the conditions of the parts that hold; the others are named.

A part with ``only = "gpu"`` is measured and judged in that profile alone.

The verdict is stored in the executed page; :mod:`diffnotes.press.summary` reads it back, so the ledger of the book is
never typed.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from .errors import PressError
from .files import read_toml
from .markdown import table

__all__ = ["Effect", "Ledger", "box", "errata", "errata_table", "registry", "rules"]

CLAIMS = Path(__file__).with_name("claims.toml")
GROUPS = {
    "C": "Collapse errors", "S": "Estimation gap and sequence-aware loss", "L": "Lipschitz singularities",
    "M": "Recursive training", "G": "Gradient part of score errors",
    "T": "The ELBO and the four prediction targets", "X": "Across the sources",
}  # fmt: skip
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
VERDICTS = {
    "holds": "holds", "holds-if": "holds if restricted", "fails": "does not hold here",
    "untestable": "not testable here", "unjudged": "not judged",
}  # fmt: skip
OPPOSITE = {"holds": "fails", "fails": "holds", "unresolved": "unresolved"}


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


def judge(rule: str, low: float, high: float) -> str:
    """Whether a part holds, fails or is unresolved, for the interval [low, high].

    >>> [judge("> 1", *interval) for interval in ((1.5, 2), (0.5, 1), (0.9, 1.2))]
    ['holds', 'fails', 'unresolved']
    """
    if match := re.fullmatch(r"in \[(.+), *(.+)\]", rule):
        a, b = float(match[1]), float(match[2])
        return "holds" if a <= low and high <= b else "fails" if high < a or low > b else "unresolved"
    match = re.fullmatch(r"([<>]=?) *(\S+)", rule)
    if not match:
        raise ValueError(f"rule = {rule!r}; allowed: '> c', '< c', '>= c', '<= c' or 'in [a, b]'")
    sign, c = match[1], float(match[2])
    if sign in (">", "<="):  # "<=" is the denial of ">"
        state = "holds" if low > c else "fails" if high <= c else "unresolved"
        return state if sign == ">" else OPPOSITE[state]
    state = "holds" if high < c else "fails" if low >= c else "unresolved"
    return state if sign == "<" else OPPOSITE[state]


def verdict(parts: list[dict[str, Any]]) -> str:
    """The state of a claim from its judged parts: holds, holds-if, fails or untestable."""
    states = {part["state"] for part in parts}
    if len(states) == 1 and states != {"unresolved"}:
        return states.pop()
    return "holds-if" if "holds" in states else "untestable"


def reach(record: dict[str, Any]) -> dict[str, str]:
    """For what a claim that is not decided as a whole holds, fails and stays open: words before and after each list."""
    if record["state"] not in ("holds-if", "untestable"):
        return {}
    words = {"holds": "Holds for", "fails": "Fails for"}
    words["unresolved"] = "Open, with an interval across the threshold, for"
    named = {state: "; ".join(_about(part) for part in record["parts"] if part["state"] == state) for state in words}
    return {words[state]: text for state, text in named.items() if text}


def _about(part: dict[str, Any]) -> str:
    return part.get("condition") or part["name"].replace("_", " ")


def _full(record: dict[str, Any]) -> str:
    """The verdict with its reach, in one line."""
    return ". ".join([record["verdict"], *(f"{words} {text}" for words, text in reach(record).items())])


@cache
def _read(path: Path) -> dict[str, Any]:
    return read_toml(path)


def registry(path: Path = CLAIMS) -> dict[str, dict[str, Any]]:
    """All claims of the file by id, in its order."""
    path = Path(path)
    rows = _read(path).get("claim", [])
    needed = {"id", "statement", "source", "kind", "chapter"}
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
        if not isinstance(row, dict) or not needed <= row.keys():
            raise PressError(f"{path.name}: claim {number} lacks {', '.join(sorted(needed - set(row)))}")
    return {row["id"]: {"test": "", "part": [], **row} for row in rows}


def errata(path: Path = CLAIMS) -> list[dict[str, str]]:
    """The errata of the sources, in the file's order."""
    return _read(Path(path)).get("erratum", [])


def rules(chapter: str, path: Path = CLAIMS) -> dict[str, dict[str, Any]]:
    """What decides the verdicts of a chapter, and what its page says of them: statement and parts, by claim."""
    kept = ("statement", "part")
    return {
        row["id"]: {key: row[key] for key in kept} for row in registry(path).values() if row["chapter"] == chapter
    }


class Ledger:
    """Judges the claims of one chapter.

    Args:
        chapter: the chapter's name, as in ``claims.toml``.
        profile: "smoke", "cpu" or "gpu"; claims are recorded but not judged by "smoke".
        path: the file of the claims.

    Raises:
        ValueError: for a chapter that no claim belongs to, or an unknown profile.
    """

    def __init__(self, chapter: str, profile: str, path: Path = CLAIMS) -> None:
        self.chapter, self.profile, self._done = chapter, profile, {}
        self._rows = {key: row for key, row in registry(path).items() if row["chapter"] == chapter}
        if not self._rows:
            known = sorted({row["chapter"] for row in registry(path).values()} - {""})
            raise ValueError(f"chapter = {chapter!r} has no claims; allowed: {', '.join(known) or 'none yet'}")
        if profile not in ("smoke", "cpu", "gpu"):
            raise ValueError(f"profile = {profile!r} is unknown; allowed: smoke, cpu, gpu")

    def judge(self, claim: str, **parts: Effect) -> dict[str, Any]:
        """The record of a claim: its id, state, verdict and judged parts, ready to be stored in a page.

        Raises:
            ValueError: if the claim is unknown or another chapter's, or ``parts`` are not exactly the declared ones.
            TypeError: if a part is no :class:`Effect`.
        """
        row = self._rows.get(claim)
        if row is None:
            raise ValueError(f"claim = {claim!r} is none of chapter {self.chapter!r}; allowed: {', '.join(self._rows)}")
        rows = [part for part in row["part"] if part.get("only", self.profile) == self.profile]
        declared = [part["name"] for part in rows]
        if not declared or set(declared) != parts.keys():
            allowed = ", ".join(declared) or "none: claims.toml declares no [[claim.part]] for it"
            raise ValueError(f"parts of {claim} = {', '.join(parts) or 'none'}; needed are exactly: {allowed}")
        judged = []
        for part in rows:
            effect = parts[part["name"]]
            if not isinstance(effect, Effect):
                raise TypeError(f"{part['name']} = {effect!r} must be an Effect")
            state = judge(part["rule"], effect.low, effect.high)
            judged.append({"measure": "", "condition": "", **part, **asdict(effect), "state": state})
        state = verdict(judged) if self.profile != "smoke" else "unjudged"
        return {"id": claim, "chapter": self.chapter, "profile": self.profile, "state": state,
                "verdict": VERDICTS[state], "parts": judged}  # fmt: skip

    def record(self, claim: str, **parts: Effect | tuple[float, float, float] | float) -> None:
        """Judge ``claim`` by the measured ``parts`` and put its verdict on the page. Raises as :meth:`judge` does.

        A part is an effect, an interval (value, low, high), or an exact number.
        """
        from IPython.display import display

        if claim in self._done:
            raise ValueError(f"claim = {claim!r} is recorded twice")
        record = self.judge(claim, **{name: _effect(part) for name, part in parts.items()})
        self._done[claim] = record
        row = self._rows[claim]
        plain = [f"{claim} {record['verdict']}: {row['statement']}", *(f"  {line}" for line in part_lines(record))]
        shown = f"**{claim} {record['verdict']}.** {row['statement']}\n\n{_table(record)}"
        data = {"text/markdown": shown, "text/plain": "\n".join(plain)}
        display(data, metadata={"diffnotes": {"claim": record}}, raw=True)

    def summary(self) -> None:
        """Put a table of the verdicts recorded so far on the page, in the order of the ledger."""
        from IPython.display import display

        done = [(self._rows[claim], self._done[claim]) for claim in self._rows if claim in self._done]
        shown = table(("Claim", "Statement", "Verdict"),
                      [(row["id"], row["statement"], _full(record)) for row, record in done])  # fmt: skip
        plain = [f"{row['id']} {_full(record)}: {row['statement']}" for row, record in done]
        display({"text/markdown": shown, "text/plain": "\n".join(plain)}, raw=True)


def _effect(part: Effect | tuple[float, float, float] | float) -> Effect:
    if isinstance(part, Effect):
        return part
    return Effect(*part) if isinstance(part, tuple) else Effect(part)


def number(x: float) -> str:
    """A number to three significant digits.

    >>> [number(x) for x in (0.0, 0.12345, 1234.5, -1.5e-7)]
    ['0', '0.123', '1234', '-1.5×10⁻⁷']
    """
    if x == 0 or 1e-3 <= abs(x) < 1e5:
        return f"{x:.3g}" if abs(x) < 1000 else f"{x:.0f}"
    mantissa, power = f"{x:.2e}".split("e")
    return f"{float(mantissa):g}×10{str(int(power)).translate(RAISED)}"


def effect_text(part: dict[str, Any]) -> str:
    """An effect with its unit and interval, or "(exact)": an interval may have no width and still be measured."""
    value = number(part["value"]) + (f" {part['unit']}" if part["unit"] else "")
    low, high = number(part["low"]), number(part["high"])
    return f"{value} (exact)" if part.get("exact", part["low"] == part["high"]) else f"{value} [{low}, {high}]"


def rule_text(rule: str) -> str:
    """A rule as it is read.

    >>> [rule_text(rule) for rule in ("< 1e-9", ">= 2.5", "in [-0.5, 1]")]
    ['< 10⁻⁹', '≥ 2.5', 'in [-0.5, 1]']
    """
    rule = rule.replace("<=", "≤").replace(">=", "≥")
    return re.sub(r"-?\d[\d.]*(?:e-?\d+)?", lambda found: number(float(found[0])).replace("1×10", "10"), rule)


def part_lines(record: dict[str, Any]) -> list[str]:
    """One line of plain text for each part of a record."""
    parts = record["parts"]
    return [f"{part['name']}: {effect_text(part)}, rule {rule_text(part['rule'])}: {part['state']}" for part in parts]


def box(record: dict[str, Any], row: dict[str, Any]) -> str:
    """The verdict as it stands on a page, MyST Markdown with the label ``claim-ID``."""
    lines = [f"(claim-{record['id']})=", f":::{{admonition}} {record['id']} {record['verdict']}"]
    lines += [f":class: verdict verdict-{record['state']}", "", row["statement"], ""]
    lines += [line for words, text in reach(record).items() for line in (f"*{words}* {text}.", "")]
    lines += [_table(record), ":::"]
    return "\n".join(lines)


def _table(record: dict[str, Any]) -> str:
    rows = []
    for part in record["parts"]:
        measure = part["measure"] or part["name"].replace("_", " ")
        state = part["state"] if record["state"] != "unjudged" else "not judged"
        rows.append((measure, effect_text(part), rule_text(part["rule"]).replace(" ", "\N{NO-BREAK SPACE}"), state))
    return table(("Measured", "Effect", "Rule", ""), rows)


def is_record(record: Any) -> bool:
    """Whether ``record`` is complete, as :meth:`Ledger.judge` makes it."""
    texts = {"id", "state", "verdict", "profile"}
    parts = record.get("parts") if isinstance(record, dict) else None
    return (
        isinstance(parts, list) and all(isinstance(record.get(key), str) for key in texts)
        and record["state"] in VERDICTS and all(isinstance(part, dict) for part in parts)
        and all(isinstance(part.get(k), str) for part in parts for k in ("name", "measure", "rule", "state", "unit"))
        and all(isinstance(part.get(key), (int, float)) for part in parts for key in ("value", "low", "high"))
    )  # fmt: skip


def errata_table(path: Path = CLAIMS) -> str:
    """The errata of the sources, a Markdown table."""
    rows = [(row["source"], row["quotation"], row["correction"], row["chapter"] or "no chapter yet",
             f"`{row['test']}`" if row["test"] else "") for row in errata(path)]  # fmt: skip
    return table(("Source", "As printed", "Correction", "Shown in", "Test"), rows)
