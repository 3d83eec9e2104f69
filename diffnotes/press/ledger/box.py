"""How a verdict is shown: on a page, in the ledger, in a terminal.

A box has the verdict in its title; the claim; a table of the primary parts, each with its interval drawn against the
region of its rule; a table of the reach; the reasons of the rules; what would decide what is open; and the changes
that rules have seen after a run.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

from ..markdown import table
from .claims import CLAIMS, errata
from .judging import effort, judge, primary, region

__all__ = ["box", "counted", "errata_markdown", "number", "part_lines", "parts_table", "picture", "summary"]

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
BLANK = "\N{NO-BREAK SPACE}"
MOST = 25  # times the repetitions; beyond, more of them are no answer


# --- words ------------------------------------------------------------------------------------------------------------


def number(x: float, digits: int = 3) -> str:
    """A number to three significant digits, or as many as ``digits`` says.

    >>> [number(x) for x in (0.0, 0.12345, 999.9, 1234.5, -1.5e-7)]
    ['0', '0.123', '1000', '1234', '-1.5×10⁻⁷']
    """
    if x == 0 or 1e-3 <= abs(x) < 1e5:
        short = f"{x:.{digits}g}"
        return short if "e" not in short else f"{x:.0f}"
    mantissa, power = f"{x:.{digits - 1}e}".split("e")
    return f"{float(mantissa):.15g}×10{str(int(power)).translate(RAISED)}"


def effect_text(part: dict[str, Any]) -> str:
    """An effect with its unit and interval, or "(exact)": an interval may have no width and still be measured.

    Three significant digits, and more where the rounded numbers would be judged otherwise.
    """
    if "unseen" in part:
        return f"not seen: {part['unseen']}"

    def judged(digits: int) -> str:
        return judge(part["rule"], *(float(f"{part[end]:.{digits - 1}e}") for end in ("low", "high")))

    digits = next((digits for digits in range(3, 10) if judged(digits) == judged(17)), 10)
    value, low, high = (number(part[key], digits) for key in ("value", "low", "high"))
    value += f" {part['unit']}" if part["unit"] else ""
    return f"{value} (exact)" if part.get("exact", part["low"] == part["high"]) else f"{value} [{low}, {high}]"


def rule_text(rule: str) -> str:
    """A rule as it is read, its numbers in full.

    >>> [rule_text(rule) for rule in ("< 1e-9", "> 1.1e+6", ">= 2.5", "<= 1.000001", "in [-0.5, 1]")]
    ['< 10⁻⁹', '> 1.1×10⁶', '≥ 2.5', '≤ 1.000001', 'in [-0.5, 1]']
    """
    rule = rule.replace("<=", "≤").replace(">=", "≥")
    found = re.sub(r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", lambda found: number(float(found[0]), 15), rule)
    return re.sub(r"(?<![\d.])1×10", "10", found)


def counted(state: str, parts: Iterable[dict[str, Any]]) -> str:
    """What follows the word of a verdict: how many of the parts hold, where that is not said by the word itself.

    >>> counted("mixed", [{"state": "holds"}, {"state": "fails"}, {"state": "holds", "role": "reach"}])
    ' (1 of 2 hold); reach 1 of 1'
    """
    parts = list(parts)
    deciding, beside = primary(parts), [part for part in parts if part not in primary(parts)]
    states = [part["state"] for part in deciding]
    words = ""
    if state == "unjudged":
        return ""
    if state == "open" and not deciding:
        words = " (not measured in its source's setting)"
    elif state in ("mixed", "open") and len(states) > 1:
        words = f" ({states.count('holds')} of {len(states)} hold"
        words += f", {states.count('open')} open)" if "open" in states else ")"
    elif state == "fails" and "open" in states:
        words = f" ({states.count('fails')} of {len(states)} fail, {states.count('open')} open)"
    if beside:
        words += f"; reach {sum(part['state'] == 'holds' for part in beside)} of {len(beside)}"
    return words


def state_text(part: dict[str, Any]) -> str:
    """The state of a part, "narrow" for a near miss, and how often it came out so on other seeds.

    Of a part that is judged by all base seeds together, what these say, and then what this run says alone.
    """
    words = part["state"] + (", narrow" if part.get("narrow") and part["state"] != "open" else "")
    if not (found := part.get("repeats")):
        return words
    if "pooled" not in part:
        return f"{words}; repeats in {found[0]} of {found[1]}"
    together = effect_text(part | dict(zip(("value", "low", "high"), part["pooled"])) | {"exact": False})
    alone = f"this run alone {part['measured']}, as {found[0]} of {found[1]} others"
    return f"{words}, by all {found[1] + 1} base seeds together: {together}; {alone}"


def part_lines(record: dict[str, Any]) -> list[str]:
    """One line of plain text for each part of a record."""
    lines = []
    for part in record["parts"]:
        beside = " (reach)" if part.get("role") == "reach" else ""
        words = f"{effect_text(part)}, rule {rule_text(part['rule'])}: {state_text(part)}"
        lines.append(f"{part['name']}{beside}: {words}")
    return lines


# --- the picture ------------------------------------------------------------------------------------------------------

WIDTH, HEIGHT = 120, 18


def picture(part: dict[str, Any]) -> str:
    """The interval of a part against the region of its rule: one line of SVG, and nothing for what was not seen.

    The axis is that of the effect, logarithmic where all that is shown is positive and spans more than a factor of 50.
    """
    if "unseen" in part:
        return ""
    ends = [end for end in region(part["rule"]) if math.isfinite(end)]
    shown = [part["low"], part["high"], part["value"], *part.get("pooled", ()), *ends]
    log = min(shown) > 0 and max(shown) > 50 * min(shown)
    size = max(map(abs, shown)) or 1.0  # so that nothing overflows, or is lost beside what is large

    def scale(x: float) -> float:
        return math.log(x) if log else x / size

    first, last = scale(min(shown)), scale(max(shown))
    room = 0.2 * (last - first) or 1.0
    first, last = first - room, last + room

    def at(x: float) -> float:
        if not math.isfinite(x):
            return WIDTH if x > 0 else 0.0
        return round(WIDTH * (scale(x) - first) / (last - first), 1)

    a, b = map(at, region(part["rule"]))
    low, high, value = (at(part[key]) for key in ("low", "high", "value"))
    ink = 'stroke="currentColor"'  # where no style sheet says otherwise
    edges = "".join(f'<path class="edge" d="M{at(end)} 1V{HEIGHT - 1}" {ink}/>' for end in ends)
    axis = ", logarithmic axis" if log else ""
    label = html.escape(f"{effect_text(part)} against {rule_text(part['rule'])}{axis}", quote=True)
    middle = HEIGHT / 2
    pooled = [at(x) for x in part.get("pooled", ())]  # a lozenge with its interval, below
    below = f'<path class="pooled" d="M{pooled[1]} {HEIGHT - 3}H{pooled[2]}" {ink}/><path class="estimate" d="M' \
            f'{pooled[0] - 3} {HEIGHT - 3}l3 -3l3 3l-3 3z" fill="currentColor"/>' if pooled else ""  # fmt: skip
    middle = HEIGHT / 3 if pooled else middle
    return (
        f'<svg class="against-rule state-{part["state"]}" role="img" aria-label="{label}" width="{WIDTH}" '
        f'height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"><rect class="region" x="{a}" y="1" '
        f'width="{round(b - a, 1)}" height="{HEIGHT - 2}" fill="currentColor" fill-opacity="0.15"/>{edges}'
        f'<path class="interval" d="M{low} {middle}H{high}" {ink}/>'
        f'<circle class="estimate" cx="{value}" cy="{middle}" r="3.2" fill="currentColor"/>{below}</svg>'
    )


# --- tables and boxes -------------------------------------------------------------------------------------------------


def _about(part: dict[str, Any], row: dict[str, Any], key: str = "measure") -> str:
    declared = next((one for one in row["part"] if one["name"] == part["name"]), {})
    return declared.get(key) or (part["name"].replace("_", " ") if key in ("measure", "condition") else "")


def _table(parts: list[dict[str, Any]], row: dict[str, Any], judged: bool, pictures: bool) -> str:
    head = ["Measured", "Effect", "Rule", *(["Interval and rule"] if pictures else []), "State"]
    rows = []
    for part in parts:
        cells = [_about(part, row), effect_text(part), rule_text(part["rule"]).replace(" ", BLANK)]
        rows.append([*cells, *([picture(part)] if pictures else []), state_text(part) if judged else "not judged"])
    return table(head, rows)


def parts_table(record: dict[str, Any], row: dict[str, Any], pictures: bool = False) -> str:
    """The parts of a record: primary ones above, the reach below in a table of its own."""
    judged = record["state"] != "unjudged"
    deciding = primary(record["parts"])
    beside = [part for part in record["parts"] if part not in deciding]
    blocks = [_table(deciding, row, judged, pictures)] if deciding else []
    if beside:
        blocks += ["*Reach*, which is no part of the verdict:", _table(beside, row, judged, pictures)]
    return "\n\n".join(blocks)


def _conditions(record: dict[str, Any], row: dict[str, Any]) -> list[str]:
    """For a claim that is not decided as a whole: which of its primary parts hold, fail and are open."""
    if record["state"] not in ("mixed", "open") or len(primary(record["parts"])) < 2:
        return []
    lines = []
    for state, words in (("holds", "Holds for"), ("fails", "Fails for"), ("open", "Open for")):
        if named := [_about(part, row, "condition") for part in primary(record["parts"]) if part["state"] == state]:
            lines += [f"*{words}* {'; '.join(named)}.", ""]
    return lines


def what_would_decide(part: dict[str, Any], row: dict[str, Any]) -> str:
    """What would decide a part that is open, in a sentence."""
    if own := _about(part, row, "decides"):
        return own
    if "unseen" in part:
        return "A measurement that can see it."
    if part.get("measured") in ("holds", "fails") and "pooled" not in part:
        count, of = part["repeats"]
        return f"More seeds or longer training: this run says {part['measured']}, and {count} of {of} agree."
    times = effort(part["rule"], *part.get("pooled", (part["value"], part["low"], part["high"])))
    if times > MOST:
        return "Not more seeds alone: the estimate lies too near to the edge of the rule."
    return f"About {max(2, math.ceil(times))} times as many repetitions, were the effect as it was measured."


def _undecided(record: dict[str, Any], row: dict[str, Any]) -> list[str]:
    if record["state"] == "unjudged":
        return []
    found = [part for part in primary(record["parts"]) if part["state"] == "open"]
    if not found:
        return []
    told = [f"- {_about(part, row, 'condition')}: {what_would_decide(part, row)}" for part in found]
    return ["", "*What would decide what is open*", "", *told]


def _reasons(row: dict[str, Any], names: set[str]) -> list[str]:
    told = [(part.get("condition") or part["name"].replace("_", " "), part["rule"], part["why"])
            for part in row["part"] if part.get("why") and part["name"] in names]  # fmt: skip
    if not told:
        return []
    lines = [f"- {about}, {rule_text(rule)}: {why}" for about, rule, why in told]
    return ["", ":::{dropdown} Why these rules", *lines, ":::"]


def _shown(text: str) -> str:
    """A rule as it is read, or a setting as it is written."""
    try:
        region(text)
    except ValueError:
        return text
    return rule_text(text)


def _changes(row: dict[str, Any]) -> list[str]:
    told = []
    for one in row.get("change", []):
        moved = f"from {_shown(one['from'])} to {_shown(one['to'])}" if one.get("to") else one["from"]
        told.append(f"- {one['date']}, {one['part'].replace('_', ' ')}: {moved}. {one['why']}")
    return ["", ":::{dropdown} Changed after a run", *told, ":::"] if told else []


def _related(row: dict[str, Any]) -> list[str]:
    """The claims that this one is of, and those that are of it: the same on other data."""
    told = ((row.get("of"), "Elsewhere:"), (row.get("elsewhere"), "On images:"))
    return [line for ids, words in told if ids
            for line in (f"*{words}* {', '.join(f'{{claim}}`{one}`' for one in ids)}.", "")]  # fmt: skip


def box(record: dict[str, Any], row: dict[str, Any]) -> str:
    """The verdict as it stands on a page, MyST Markdown with the label ``claim-ID``."""
    lines = [f"(claim-{record['id']})=", f"::::{{admonition}} {record['id']} {record['verdict']}"]
    lines += [f":class: verdict verdict-{record['state']}", "", row["statement"], "", *_related(row)]
    lines += _conditions(record, row)
    lines += [parts_table(record, row, pictures=True), *_undecided(record, row)]
    lines += [*_reasons(row, {part["name"] for part in record["parts"]}), *_changes(row), "::::"]
    return "\n".join(lines)


def summary(records: Iterable[dict[str, Any]], rows: dict[str, dict[str, Any]]) -> str:
    """The table of a chapter's verdicts, Markdown."""
    shown = [(record["id"], rows[record["id"]]["statement"], record["verdict"]) for record in records]
    return table(("Claim", "Statement", "Verdict"), shown)


def errata_markdown(chapters: Container[str], folder: Path = CLAIMS) -> str:
    """The errata of the sources, a section each: what is printed where, the correction, what shows and what checks it.

    Only where its chapter is one of ``chapters`` there is a section to link to.
    """
    lines: list[str] = []
    for row in errata(folder):
        shown = f"{{ref}}`{row['section']}`, in the chapter {{ref}}`chapter-{row['chapter']}`."
        shown = shown if row["chapter"] in chapters else row["chapter"] or "No chapter yet."
        lines += [f"(erratum-{row['id']})=", f"### {row['title']}", "", "As printed"]
        lines += [f": {{cite:t}}`{row['work']}`, {row['place']}:", "", f"  > {row['quotation']}", ""]
        lines += ["Correction", f": {row['correction']}", "", "Shown in", f": {shown}", ""]
        lines += ["Checked by", f": `{row['test']}`", ""] if row["test"] else []
    return "\n".join(lines)
