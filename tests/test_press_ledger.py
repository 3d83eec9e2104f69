"""The ledger: rules, verdicts, what it refuses, and the way from a run to the book's table."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook, new_output
from presses import save

from diffnotes.press import ledger, page
from diffnotes.press.errors import PressError
from diffnotes.press.ledger import Effect, Ledger, Unseen, box, errata_markdown, judge, registry, verdict
from diffnotes.press.ledger.box import _shown, counted, effect_text, picture, what_would_decide
from diffnotes.press.ledger.claims import _read
from diffnotes.press.ledger.judging import OPPOSITE, effort, is_narrow, region
from diffnotes.press.ledger.replication import confirmed, measurements, pooled, repeats, runs, steady
from diffnotes.press.summary import collect, table_text, totals

CLAIMS = """
[[claim]]
id = "C1"
statement = "It rises | falls"
source = "1"
kind = "Exact"
chapter = "one"
test = "tests/test_x.py::test_y"
[[claim.part]]
name = "slope"
measure = "the slope"
rule = "> 0"
condition = "small t"
[[claim.part]]
name = "end_value"
rule = "in [-1, 1]"

[[claim]]
id = "S1"
statement = "Nothing yet"
source = "2"
kind = "Toy"
chapter = ""

[[erratum]]
id = "e"
title = "A stroke"
source = "1"
work = "ho2020ddpm"
place = "abstract"
quotation = "a | b"
correction = "b"
chapter = "one"
section = "sec-one-stroke"
test = "tests/test_x.py::test_y"
"""

CHANGE = '''[[claim.change]]
date = "2026-11-20"
part = "slope"
from = "> 0.1"
to = "> 0"
why = "The threshold had no reason."

'''


@pytest.fixture
def claims(tmp_path: Path) -> Path:
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims/one.toml").write_text(CLAIMS)
    _read.cache_clear()
    return tmp_path / "claims"


@pytest.mark.parametrize(
    "rule, low, high, state",
    [
        ("> 1", 1.0, 2.0, "open"),
        ("> 1", 1.1, 2.0, "holds"),
        ("> 1", 0.0, 1.0, "fails"),
        (">= 1", 1.0, 2.0, "holds"),
        (">= 1", 0.0, 1.0, "open"),
        (">= 1", 0.0, 0.9, "fails"),
        ("< 1", 0.0, 1.0, "open"),
        ("< 1", 0.0, 0.9, "holds"),
        ("< 1", 1.0, 2.0, "fails"),
        ("<= 1", 1.0, 1.0, "holds"),
        ("<= 1", 1.0, 1.1, "open"),
        ("<= 1e-9", 2e-9, 3e-9, "fails"),
        ("in [0, 1]", 0.0, 1.0, "holds"),
        ("in [0, 1]", -0.1, 1.0, "open"),
        ("in [0, 1]", 1.1, 1.2, "fails"),
        ("in [-2.5, -1]", -0.9, 3.0, "fails"),
    ],
)
def test_rules(rule: str, low: float, high: float, state: str) -> None:
    assert judge(rule, low, high) == state


numbers = st.floats(-5, 5).map(lambda x: round(x, 1))
intervals = st.tuples(numbers, numbers).map(sorted)
signs = st.sampled_from([">", "<", ">=", "<="])


@given(signs, numbers, intervals)
def test_a_rule_and_its_denial_are_opposites(sign: str, c: float, interval: list[float]) -> None:
    denial = {">": "<=", "<=": ">", "<": ">=", ">=": "<"}[sign]
    assert judge(f"{denial} {c}", *interval) == OPPOSITE[judge(f"{sign} {c}", *interval)]


@given(signs, numbers, intervals, numbers)
def test_a_verdict_speaks_for_every_point_of_the_interval(sign: str, c: float, interval: list[float], x: float) -> None:
    """Judged as an exact result, each point of an interval that holds (fails) holds (fails); ends decide the rest."""
    low, high = interval
    at = judge(f"{sign} {c}", *[min(max(x, low), high)] * 2)
    state = judge(f"{sign} {c}", low, high)
    assert at in ("holds", "fails")
    ends = {judge(f"{sign} {c}", low, low), judge(f"{sign} {c}", high, high)}
    assert (state == "open" and ends == {"holds", "fails"}) or ({state} == ends and state == at)


@pytest.mark.parametrize("rule", ["= 1", "> x", "in [0]", "about 3", ""])
def test_rules_that_are_none(rule: str) -> None:
    with pytest.raises(ValueError):
        judge(rule, 0, 1)


def parts(states: str) -> list[dict[str, str]]:
    """Parts with the states h, f and o; those of the reach in capitals."""
    names = {"h": "holds", "f": "fails", "o": "open"}
    role = {True: "reach", False: "primary"}
    return [{"name": f"{s}_{i}", "state": names[s.lower()], "role": role[s.isupper()]} for i, s in enumerate(states)]


@pytest.mark.parametrize(
    "states, state, words",
    [
        ("h", "holds", ""),
        ("hh", "holds", ""),
        ("hhFFO", "holds", "; reach 0 of 3"),
        ("ff", "fails", ""),
        ("fHHF", "fails", "; reach 2 of 3"),
        ("o", "open", ""),
        ("HH", "open", " (not measured in its source's setting); reach 2 of 2"),
        ("of", "open", " (0 of 2 hold, 1 open)"),
        ("off", "fails", " (2 of 3 fail, 1 open)"),
        ("ho", "open", " (1 of 2 hold, 1 open)"),
        ("hf", "mixed", " (1 of 2 hold)"),
        ("hhfoF", "mixed", " (2 of 4 hold, 1 open); reach 0 of 1"),
    ],
)
def test_verdicts(states: str, state: str, words: str) -> None:
    assert verdict(parts(states)) == state and counted(state, parts(states)) == words


@given(st.text("hfoHFO", min_size=1, max_size=7))
def test_a_verdict_is_that_of_the_primary_parts_in_any_order(states: str) -> None:
    state, deciding = verdict(parts(states)), [s for s in states if s.islower()]
    assert state == verdict(parts("".join(sorted(states)))) == verdict(parts("".join(deciding)))
    assert (state == "holds") == (set(deciding) == {"h"})
    assert (state == "mixed") == ({"h", "f"} <= set(deciding))
    if state == "fails":
        assert "h" not in deciding and deciding.count("f") > deciding.count("o")


@given(st.text("hfo", min_size=1, max_size=6), st.integers(0, 5))
def test_deciding_what_is_open_never_turns_a_verdict_into_its_opposite(states: str, i: int) -> None:
    i %= len(states)
    if states[i] == "o":
        after = {verdict(parts(states[:i] + s + states[i + 1 :])) for s in "hf"}
        before = verdict(parts(states))
        assert before != "holds" and (before != "mixed" or after == {"mixed"})
        assert before != "fails" or after <= {"fails", "mixed"}


@pytest.mark.parametrize("rule, ends", [("> 1", (1, float("inf"))), ("<= -2.5", (-float("inf"), -2.5)),
                                        ("in [0, 1e-3]", (0, 1e-3))])  # fmt: skip
def test_the_region_of_a_rule(rule: str, ends: tuple[float, float]) -> None:
    assert region(rule) == ends


@pytest.mark.parametrize("rule", ["> nan", "< inf", "in [0, inf]", "in [-inf, 1]", "in [nan, 1]", "in [1, 1]"])
def test_rules_without_finite_edges_are_none(rule: str) -> None:
    with pytest.raises(ValueError, match=r"finite|a < b"):
        region(rule)


def test_either_edge_of_a_range_can_be_a_near_miss() -> None:
    """The edge that is nearer to the estimate need not be the one that a lopsided interval nearly reaches."""
    assert is_narrow("in [0, 1]", 0.4, 0.35, 0.99) and is_narrow("in [0, 1]", 0.6, 0.01, 0.65)
    assert not is_narrow("in [0, 1]", 0.4, 0.35, 0.8)
    assert is_narrow("in [0, 1]", 1.5, 1.1, 9.0) and not is_narrow("in [0, 1]", 1.5, 1.2, 9.0)
    assert is_narrow("in [0, 1]", -0.5, -9.0, -0.1) and not is_narrow("in [0, 1]", -0.5, -9.0, -0.2)


@given(st.floats(0.05, 0.95), st.floats(0.01, 3), st.floats(0.01, 3))
def test_the_effort_for_a_range_makes_it_clear_on_both_sides(value: float, below: float, above: float) -> None:
    low, high = value - below, value + above
    if judge("in [0, 1]", low, high) == "open":
        root = effort("in [0, 1]", value, low, high) ** 0.5
        less = value, value - 0.99 * below / root, value + 0.99 * above / root
        assert judge("in [0, 1]", *less[1:]) == "holds" and not is_narrow("in [0, 1]", *less)
        more = value, value - 1.01 * below / root, value + 1.01 * above / root
        assert judge("in [0, 1]", *more[1:]) == "open" or is_narrow("in [0, 1]", *more)


def test_a_near_miss_is_narrow() -> None:
    """1.3 half-widths from the nearest edge, on the side of the interval that points there."""
    assert is_narrow("> 1", 1.5, 1.1, 3.0) and not is_narrow("> 1", 1.5, 1.2, 3.0)
    assert is_narrow("> 1", 0.5, 0.1, 0.99) and not is_narrow("> 1", 0.5, -3.0, 0.8)
    assert is_narrow("in [0, 1]", 0.9, 0.7, 0.98) and not is_narrow("in [0, 1]", 0.5, 0.2, 0.8)
    assert not is_narrow("> 1", 1.2, 0.9, 1.5) and not is_narrow("> 1", 1.001, 1.001, 1.001)


@given(st.floats(0.1, 3), st.floats(0.1, 5))
def test_the_effort_is_what_makes_an_open_part_clear(value: float, half: float) -> None:
    """With the half-width over the root of the effort, the part is decided and stands at the border of narrow."""
    if judge("> 0", value - half, value + half) == "open":
        less = half / effort("> 0", value, value - half, value + half) ** 0.5
        assert judge("> 0", value - less, value + less) == "holds"
        assert is_narrow("> 0", value, value - 1.01 * less, value + less)
        assert not is_narrow("> 0", value, value - 0.99 * less, value + less)


@pytest.mark.parametrize(
    "arguments",
    [(float("nan"),), (1, float("inf"), 2), (1, 2, 3), (1, 0, 0.5), (1, 0), (1, None, 2), (0, 1, -1)],
)
def test_effects_that_are_none(arguments: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"value|low|high"):
        Effect(*arguments)


def test_record(claims: Path) -> None:
    record = Ledger("one", "cpu", claims).judge("C1", slope=Effect(0.5, 0.1, 0.9, "nats"), end_value=Effect(2))
    assert record["state"] == "mixed" and record["verdict"] == "mixed (1 of 2 hold)"
    assert [part["state"] for part in record["parts"]] == ["holds", "fails"]
    assert json.loads(json.dumps(record)) == record and ledger.is_record(record)
    assert [part["exact"] for part in record["parts"]] == [False, True]
    assert [part["narrow"] for part in record["parts"]] == [True, False]
    own = Ledger("one", "cifar10", claims).judge("C1", slope=Effect(0.5, 0.1, 0.9), end_value=Effect(2))
    assert own["profile"] == "cifar10" and own["state"] == "mixed"
    smoke = Ledger("one", "smoke", claims).judge("C1", slope=Effect(0.5, 0.1, 0.9), end_value=Effect(2))
    assert smoke["state"] == "unjudged" and smoke["verdict"] == "not judged"


def test_what_is_not_seen_is_open_whatever_the_rule(claims: Path) -> None:
    record = Ledger("one", "cpu", claims).judge("C1", slope=Unseen("no pairs"), end_value=Effect(2))
    assert record["state"] == "open" and ledger.is_record(record)
    part = record["parts"][0]
    assert part["state"] == "open" and effect_text(part) == "not seen: no pairs" and picture(part) == ""
    assert "value" not in part and "A measurement that can see it." in box(record, registry(claims)["C1"])
    for why in ("", " ", None):
        with pytest.raises(ValueError, match="why = "):
            Unseen(why)


def test_the_reach_stands_beside_the_verdict(claims: Path) -> None:
    (claims / "one.toml").write_text(CLAIMS.replace('name = "end_value"', 'name = "end_value"\nrole = "reach"'))
    _read.cache_clear()
    record = Ledger("one", "cpu", claims).judge("C1", slope=Effect(0.5, 0.1, 0.9), end_value=Effect(2))
    assert record["state"] == "holds" and record["verdict"] == "holds; reach 0 of 1"
    text = box(record, registry(claims)["C1"])
    assert text.index("the slope") < text.index("*Reach*") < text.index("end value")
    assert "*Holds for*" not in text


def test_a_measured_interval_without_width_is_not_called_exact(claims: Path) -> None:
    parts_ = Ledger("one", "cpu", claims).judge("C1", slope=Effect(0, 0, 0), end_value=Effect(0))["parts"]
    assert [effect_text(part) for part in parts_] == ["0 [0, 0]", "0 (exact)"]


def test_a_part_for_one_profile_is_asked_of_that_profile_alone(claims: Path) -> None:
    (claims / "one.toml").write_text(CLAIMS.replace('name = "end_value"', 'name = "end_value"\nonly = "gpu"'))
    _read.cache_clear()
    e = Effect(0.5)
    assert [part["name"] for part in Ledger("one", "cpu", claims).judge("C1", slope=e)["parts"]] == ["slope"]
    assert len(Ledger("one", "gpu", claims).judge("C1", slope=e, end_value=e)["parts"]) == 2
    with pytest.raises(ValueError, match="needed are exactly: slope"):
        Ledger("one", "cpu", claims).judge("C1", slope=e, end_value=e)
    with pytest.raises(ValueError, match="needed are exactly: slope, end_value"):
        Ledger("one", "gpu", claims).judge("C1", slope=e)


def test_the_summary_of_a_chapter(claims: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda data, **options: shown.append(data))
    one = Ledger("one", "cpu", claims)
    one.record("C1", slope=Effect(0.5, 0.1, 0.9), end_value=Effect(2))
    one.summary()
    words = "mixed (1 of 2 hold)"
    assert shown[-1]["text/plain"] == f"C1 {words}: It rises | falls"
    assert shown[-1]["text/markdown"].splitlines()[-1] == rf"| C1 | It rises \| falls | {words} |"


def test_refusals(claims: Path) -> None:
    one, e = Ledger("one", "cpu", claims), Effect(1)
    for arguments, parts_, words in [
        (("C9",), {"slope": e, "end_value": e}, "C9.*allowed: C1"),
        (("S1",), {"slope": e}, "none of chapter 'one'"),
        (("C1",), {"slope": e}, "needed are exactly: slope, end_value"),
        (("C1",), {"slope": e, "end_value": e, "more": e}, "more"),
        (("C1",), {}, "none; needed"),
    ]:
        with pytest.raises(ValueError, match=words):
            one.judge(*arguments, **parts_)
    with pytest.raises(TypeError, match="slope = 1"):
        one.judge("C1", slope=1, end_value=e)
    with pytest.raises(ValueError, match="chapter = 'two' has no claims; allowed: one"):
        Ledger("two", "cpu", claims)
    with pytest.raises(ValueError, match="profile = 'huge'"):
        Ledger("one", "huge", claims)


def test_from_the_run_to_the_table(claims: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[tuple[Any, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("IPython.display.display", lambda data, metadata, raw: shown.append((data, metadata)))
        one = Ledger("one", "cpu", claims)
        one.record("C1", slope=Effect(0.5, 0.1, 0.9, "nats"), end_value=Effect(1.5e-7))
        with pytest.raises(ValueError, match="twice"):
            one.record("C1", slope=Effect(1), end_value=Effect(1))
    (data, metadata), = shown  # fmt: skip
    assert "C1 holds" in data["text/plain"] and "0.5 nats [0.1, 0.9]" in data["text/plain"]
    assert data["text/markdown"].startswith("**C1 holds.**") and "1.5×10⁻⁷ (exact)" in data["text/markdown"]

    output = new_output("display_data", data, metadata=metadata)
    cell = new_code_cell("ledger.record()", outputs=[output], execution_count=4)
    notebook = page.normalise(new_notebook(cells=[cell]))
    notebook.metadata["diffnotes"] = {"provenance": {"device": "a processor"}}
    save(notebook, tmp_path / "one.ipynb")
    rows = collect([tmp_path / "one.ipynb"], claims)
    assert [row["id"] for row in rows] == ["C1", "S1"]
    assert rows[0]["record"]["verdict"] == "holds" and rows[0]["device"] == "a processor" and rows[0]["cell"] == 4
    text = table_text(rows)
    assert "C1  holds. It rises" in text and "one, cell 4; cpu on a processor" in text
    assert "S1  no chapter yet" in text and text.endswith("1 of 2 claims recorded")
    listed = errata_markdown({"one"}, claims)
    assert listed.startswith("(erratum-e)=\n### A stroke\n\nAs printed\n: {cite:t}`ho2020ddpm`, abstract:\n\n  > a | b")
    assert "\n: b\n" in listed and "`tests/test_x.py::test_y`" in listed
    assert ": {ref}`sec-one-stroke`, in the chapter {ref}`chapter-one`." in listed
    assert "{ref}" not in errata_markdown(set(), claims)
    assert "not run yet" in table_text(collect([], claims))


def test_box_on_the_page() -> None:
    """The box of a real claim, as the page gets it: a label to link to, and an admonition with its state as class."""
    row = next(row for row in registry().values() if row["part"])
    effects = {part["name"]: Effect(0.0) for part in row["part"]}
    record = Ledger(row["chapter"], "cpu").judge(row["id"], **effects)
    output = new_output("display_data", {"text/plain": ""}, metadata={"diffnotes": {"claim": record}})
    cell = page.normalise(new_notebook(cells=[new_code_cell("", outputs=[output])])).cells[0]
    assert cell.metadata["mystnb"]["markdown_format"] == "myst"
    lines = cell.outputs[0].data["text/markdown"].splitlines()
    record = confirmed(record)  # by the repetitions that there are
    assert lines[0] == f"(claim-{row['id']})=" and lines[1] == f"::::{{admonition}} {row['id']} {record['verdict']}"
    assert lines[2] == f":class: verdict verdict-{record['state']}" and lines[-1] == "::::"


def test_a_table_on_a_page_is_read_as_one() -> None:
    output = new_output("display_data", {"text/markdown": "| a |\n|---|\n| b |", "text/plain": "a b"})
    cell = page.normalise(new_notebook(cells=[new_code_cell("", outputs=[output])])).cells[0]
    assert cell.metadata["mystnb"]["markdown_format"] == "myst"


def test_all_claims_are_listed() -> None:
    """Every row of the list of claims is there from the start, in order, with rules that can be applied."""
    rows = registry()
    counts = {"C": 17, "S": 11, "L": 12, "M": 10, "G": 4, "T": 12, "I": 12, "X": 3}
    assert list(rows) == [f"{group}{i}" for group, n in counts.items() for i in range(1, n + 1)]
    for row in rows.values():
        assert row["statement"] and row["kind"] and row["source"] in {"1", "2", "3", "4", "5", "ours"}
        assert bool(row["chapter"]) == bool(row["part"]), row["id"]
        names = [part["name"] for part in row["part"]]
        assert len(set(names)) == len(names) and all(name.isidentifier() for name in names)
        for part in row["part"]:
            judge(part["rule"], 0.0, 0.0)
            assert part["measure"]
            assert set(part) <= {"name", "measure", "rule", "condition", "only", "role", "why", "decides"}
            assert part.get("role", "reach") == "reach"
            assert part.get("only", "gpu") == "gpu"  # what every machine can run is asked of every machine
    assert [row["source"] for row in ledger.errata()] == ["5", "1", "1", "2", "2", "2", "2", "3", "3", "4"]


def test_changes_of_rules_are_told_in_full() -> None:
    for row in registry().values():
        for one in row["change"]:
            assert set(one) <= {"date", "part", "from", "to", "why"} and {"date", "part", "from", "why"} <= set(one)
            assert re.fullmatch(r"2026-\d\d-\d\d", one["date"]), (row["id"], one)
            assert all(name.isidentifier() for name in one["part"].split(", ")), (row["id"], one)  # some are gone


def test_each_erratum_leads_to_its_source_and_to_where_it_is_shown() -> None:
    root = Path(__file__).resolve().parents[1]
    works = re.findall(r"^@\w+\{(\w+),", (root / "book/references.bib").read_text(encoding="utf8"), re.M)
    rows = ledger.errata()
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        assert row["work"] in works and row["place"] and row["title"], row["id"]
        notebook = json.loads((root / f"notebooks/{row['chapter']}.ipynb").read_text(encoding="utf8"))
        text = "\n".join("".join(cell["source"]) for cell in notebook["cells"])
        assert f"({row['section']})=" in text and f"(chapter-{row['chapter']})=" in text, row["id"]


def test_guarding_tests_exist() -> None:
    """The test that a row names is one that there is."""
    root = Path(__file__).resolve().parents[1]
    for row in [*registry().values(), *ledger.errata()]:
        if row["test"]:
            file, name = row["test"].split("::")
            assert re.search(rf"^def {name}\(", (root / file).read_text(), re.M), row["test"]


# --- the box ----------------------------------------------------------------------------------------------------------


def part_of(rule: str, value: float, low: float, high: float, **more: Any) -> dict[str, Any]:
    found = {"name": "gap", "measure": "", "rule": rule, "value": value, "low": low, "high": high, "unit": ""}
    found |= {"exact": False, "state": judge(rule, low, high), "narrow": is_narrow(rule, value, low, high)}
    return {**found, **more}


def places(svg: str) -> dict[str, float]:
    """Where the parts of a picture lie, on its axis from 0 to 120."""
    rect = re.search(r'rect class="region" x="(\S+)" y="1" width="(\S+)"', svg)
    line, dot = re.search(r'd="M(\S+) 9.0H(\S+)"', svg), re.search(r'cx="(\S+)"', svg)
    return {"from": float(rect[1]), "to": float(rect[1]) + float(rect[2]), "low": float(line[1]),
            "high": float(line[2]), "value": float(dot[1])}  # fmt: skip


@given(st.sampled_from(["> 1", "< 1", "<= 1", "in [0.5, 2]"]), numbers, intervals)
def test_the_picture_shows_the_state(rule: str, value: float, interval: list[float]) -> None:
    low, high = interval
    at = places(picture(part_of(rule, min(max(value, low), high), low, high)))
    assert 0 <= at["low"] <= at["value"] <= at["high"] <= 120 and 0 <= at["from"] < at["to"] <= 120.1
    inside = at["from"] - 0.11 <= at["low"] and at["high"] <= at["to"] + 0.11
    outside = at["high"] <= at["from"] + 0.11 or at["low"] >= at["to"] - 0.11
    state = judge(rule, low, high)
    assert (state != "holds" or inside) and (state != "fails" or outside)


HUGE = st.floats(-1e300, 1e300) | st.floats(-1e-300, 1e-300) | st.sampled_from([0.0, 1e20, 5e-324, -1e17])
RULES = ["> 0", "< 1e20", ">= -1e-12", "in [-1e300, 1e300]", "in [0.05, 4]", "<= 1e-9", "> 1e-300"]


@given(st.sampled_from(RULES), st.tuples(HUGE, HUGE, HUGE).map(sorted))
def test_no_size_of_numbers_takes_a_picture_apart(rule: str, ends: list[float]) -> None:
    low, value, high = ends
    at = places(picture(part_of(rule, value, low, high)))
    assert 0 <= at["low"] <= at["value"] <= at["high"] <= 120 and 0 <= at["from"] <= at["to"] <= 120.1


@pytest.mark.parametrize("rule", ["> 1", "< -2", "<= 1e20", "in [-1, 1]"])
def test_an_exact_effect_on_the_edge_is_drawn_on_the_edge(rule: str) -> None:
    edge = next(end for end in region(rule) if abs(end) < float("inf"))
    svg = picture(part_of(rule, edge, edge, edge, exact=True))
    assert places(svg)["value"] == float(re.search(r'class="edge" d="M(\S+) ', svg)[1])


def test_a_picture_without_its_style_sheet_hides_nothing() -> None:
    """By default what is filled is black: the region would cover the interval that lies in it."""
    svg = picture(part_of("> 1", 1.5, 1.2, 1.8))
    assert re.search(r'class="region"[^>]* fill="currentColor" fill-opacity="0\.1', svg)
    assert re.search(r'class="interval"[^>]* stroke="', svg) and re.search(r'class="edge"[^>]* stroke="', svg)


def test_a_logarithmic_axis_is_said() -> None:
    assert 'against &lt; 0.001, logarithmic axis"' in picture(part_of("< 1e-3", 1.0, 0.5, 2.0))
    assert "logarithmic" not in picture(part_of("< 1e-3", 1.0, -0.5, 2.0)) + picture(part_of("> 1", 1.5, 1.2, 1.8))


def test_rounded_numbers_do_not_gainsay_the_state() -> None:
    assert effect_text(part_of("> 1", 1.0004, 1.0001, 1.0007)) == "1.0004 [1.0001, 1.0007]"
    assert effect_text(part_of("< 1", 0.9, 0.8, 0.9999)) == "0.9 [0.8, 0.9999]"
    assert effect_text(part_of("> 2", 2.5678, 2.1234, 3.5678)) == "2.57 [2.12, 3.57]"
    exact = part_of("<= 1.000001", 1.0000009, 1.0000009, 1.0000009, exact=True, unit="nats")
    assert effect_text(exact) == "1 nats (exact)" and "≤ 1.000001" in picture(exact)
    assert effect_text({**exact, "rule": "<= 1", "state": "fails"}) == "1.000001 nats (exact)"


def test_the_picture_says_in_words_what_it_shows() -> None:
    svg = picture(part_of("> 1", 1.5, 1.2, 1.8))
    assert 'role="img" aria-label="1.5 [1.2, 1.8] against &gt; 1"' in svg and "|" not in svg and "\n" not in svg
    wide = places(picture(part_of("< 1e-3", 1.0, 0.5, 2.0)))  # logarithmic: the threshold is not at the interval's end
    assert 0 < wide["to"] < wide["low"] - 60


def test_the_box_gives_reasons_changes_and_what_would_decide(claims: Path) -> None:
    told = CLAIMS.replace('rule = "> 0"', 'rule = "> 0"\nwhy = "the source says it rises"')
    (claims / "one.toml").write_text(told.replace('[[claim]]\nid = "S1"', CHANGE + '[[claim]]\nid = "S1"'))
    _read.cache_clear()
    row = registry(claims)["C1"]
    record = Ledger("one", "cpu", claims).judge("C1", slope=Effect(0.5, -0.1, 1.1), end_value=Effect(0.2))
    text = box(record, row)
    assert "small t, > 0: the source says it rises" in text
    assert "2026-11-20, slope: from > 0.1 to > 0. The threshold had no reason." in text
    assert "*Holds for* end value." in text and "*Open for* small t." in text
    assert "small t: About 3 times as many repetitions" in text  # (1.3 * 0.6 / 0.5)^2 = 2.4
    assert text.count(":::{dropdown}") == 2 and text.splitlines()[-1] == "::::"
    assert _shown("6 seeds, version 1.2.3") == "6 seeds, version 1.2.3"  # a setting, no rule


@pytest.mark.parametrize("key", ["measure", "why", "condition", "decides"])
def test_no_text_of_a_claim_takes_the_box_apart(claims: Path, key: str) -> None:
    """A line end in a text would end a row or an item; a stroke, a cell."""
    hard = '"""of `a | b`\n\n  $|x|$, <b>c</b>\n| d"""'
    told = re.sub(rf"(?m)^{key} = .*\n", "", CLAIMS, count=1).replace('rule = "> 0"', f'rule = "> 0"\n{key} = {hard}')
    (claims / "one.toml").write_text(told)
    _read.cache_clear()
    seen = {"slope": Unseen("no\npairs | none"), "end_value": Effect(0.2)}
    text = box(Ledger("one", "cpu", claims).judge("C1", **seen), registry(claims)["C1"])
    told = "of `a | b` $|x|$, <b>c</b> | d"
    assert (told.replace("|", r"\|") if key == "measure" else told) in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {6} and len(table) == 4
    fences = [line for line in text.splitlines() if line.startswith(":::")]
    assert all(re.fullmatch(r"::::(?:\{admonition\} C1 .*)?|:::(?:\{dropdown\} .*)?", line) for line in fences)


@pytest.mark.parametrize(
    "old, new, words",
    [
        ('id = "S1"', 'id = "C1"', "claim C1 is listed twice"),
        ('id = "S1"', 'id = "Z1"', "claim Z1 has no id of the form C/S/L/M/G/T/I/X and a number"),
        ('id = "S1"', 'id = "S"', "has no id"),
        ('condition = "small t"', 'rol = "reach"', "unknown key rol; allowed for a part: condition"),
        ('condition = "small t"', 'role = "raech"', "part slope with a role that is not reach"),
        ('condition = "small t"', 'only = "cuda"', "an only that is no profile"),
        ('condition = "small t"', "condition = 3", "condition = 3; allowed: a text"),
        ('condition = "small t"', 'why = ":::"', "allowed: a text without :::"),
        ('rule = "> 0"', 'rule = "about 0"', "part slope with no rule: rule = 'about 0'"),
        ('rule = "> 0"', "", "part slope with no rule"),
        ('name = "end_value"', 'name = "slope"', "a part with the name 'slope'"),
        ('name = "end_value"', 'name = "end value"', "a part with the name 'end value'"),
        ("[[claim.part]]", "[claim.part]", "allowed: [[claim.part]]"),
    ],
)
def test_a_list_of_claims_with_a_fault_is_refused(claims: Path, old: str, new: str, words: str) -> None:
    text = CLAIMS.replace(old, new, 1)
    if new == "[claim.part]":
        text = text.replace('[[claim.part]]\nname = "end_value"\nrule = "in [-1, 1]"\n', "")
    (claims / "one.toml").write_text(text)
    _read.cache_clear()
    with pytest.raises(PressError, match=r"one\.toml: .*" + re.escape(words)):
        registry(claims)


@pytest.mark.parametrize(
    "new, decides",
    [
        ('rule = "> 0"\nwhy = "the source says so"', False),
        ('rule = "> 0"\ndecides = "A longer chain."', False),
        ('rule = "> 0.1"', True),
        ('rule = "> 0"\nrole = "reach"', True),
        ('rule = "> 0"\nonly = "gpu"', True),
    ],
)
def test_what_decides_makes_pages_stale_and_what_explains_does_not(claims: Path, new: str, decides: bool) -> None:
    before = ledger.rules("one", claims)
    for old, text in ((('rule = "> 0"'), new), ('measure = "the slope"', 'measure = "the rise"'), ("small t", "t")):
        changed = CLAIMS.replace(old, text)
        assert changed != CLAIMS
        (claims / "one.toml").write_text(changed)
        _read.cache_clear()
        assert (ledger.rules("one", claims) != before) == (decides and text == new)


def test_what_would_decide() -> None:
    row = {"part": [{"name": "gap", "decides": "A longer chain."}]}
    near = part_of("> 0", 0.01, -1.0, 1.02)
    assert what_would_decide(near, row) == "A longer chain."
    assert "Not more seeds alone" in what_would_decide(near, {"part": []})
    again = part_of("> 0", 1.0, 0.5, 1.5, state="open", measured="holds", repeats=[3, 5])
    assert "3 of 5 agree" in what_would_decide(again, {"part": []})


def test_claims_on_images_and_those_they_are_of_lead_to_each_other(claims: Path) -> None:
    more = CLAIMS.replace("[[erratum]]", '[[claim]]\nid = "I1"\nstatement = "The same"\nsource = "1"\nkind = "Images"\n'
                          'chapter = "two"\nof = "C1 S1"\n\n[[erratum]]')  # fmt: skip
    (claims / "one.toml").write_text(more)
    _read.cache_clear()
    rows = registry(claims)
    assert rows["C1"]["elsewhere"] == rows["S1"]["elsewhere"] == ["I1"] and rows["I1"]["elsewhere"] == []
    assert rows["C1"]["of"] == [] and rows["I1"]["of"] == ["C1", "S1"]
    record = Ledger("one", "cpu", claims).judge("C1", slope=Effect(*GOOD), end_value=Effect(0.0))
    assert "*On images:* {claim}`I1`.\n" in box(record, rows["C1"])
    assert "*Elsewhere:* {claim}`C1`, {claim}`S1`.\n" in box(record, rows["I1"])
    for wrong in ("C7", "I1"):
        (claims / "one.toml").write_text(more.replace('"C1 S1"', f'"C1 {wrong}"'))
        _read.cache_clear()
        with pytest.raises(PressError, match=f"claim I1 is of {wrong}; allowed: ids of other claims"):
            registry(claims)


# --- repetitions ------------------------------------------------------------------------------------------------------


def repeated(folder: Path, *slopes: Any, profile: str = "cpu") -> Path:
    """A folder with a repetition for each effect of the part "slope"."""
    folder.mkdir(exist_ok=True)
    for seed, slope in enumerate(slopes, 8000):
        told = {"C1": {"slope": slope, "end_value": [0.0, 0.0, 0.0]}}
        run = {"seed": seed, "profile": profile, "chapters": {"one": {"hash": "x", "claims": told}}}
        (folder / f"{seed}.json").write_text(json.dumps(run))
    return folder


GOOD, BAD, WIDE = [0.5, 0.1, 0.9], [-0.5, -0.9, -0.1], [0.1, -0.5, 0.7]


@pytest.mark.parametrize(
    "slopes, state, count",
    [
        ([GOOD] * 5, "holds", [5, 5]),
        ([GOOD] * 4 + [WIDE], "holds", [4, 5]),
        ([GOOD] * 3 + [WIDE] * 2, "holds", [3, 5]),  # all six together: 0.37 [0.15, 0.58]
        ([GOOD] * 3 + [BAD] * 2, "open", [3, 5]),  # 0.17 [-0.38, 0.71]
        ([GOOD] * 3 + ["no pairs", GOOD], "holds", [4, 5]),
        ([GOOD] * 3 + ["no pairs", BAD], "open", [3, 5]),
        ([GOOD] * 2 + [WIDE] * 2, "holds", [2, 4]),  # too few repetitions to speak
        ([], "holds", None),
    ],
)
def test_a_part_must_come_again(
    claims: Path, tmp_path: Path, slopes: list[Any], state: str, count: list[int] | None
) -> None:
    record = Ledger("one", "cpu", claims).judge("C1", slope=Effect(*GOOD), end_value=Effect(0.0))
    found = confirmed(record, repeated(tmp_path / "repeats", *slopes))
    assert found["parts"][0].get("repeats") == count and found["parts"][0]["state"] == state
    assert "repeats" not in found["parts"][1]  # exact
    assert found["state"] == state and record["state"] == "holds"
    assert ("measured" in found["parts"][0]) == (count == [3, 5])
    if state == "open":
        assert found["parts"][0]["measured"] == "holds" and found["verdict"] == "open (1 of 2 hold, 1 open)"


def test_all_runs_together_are_a_mean_with_students_interval() -> None:
    from scipy import stats

    values = [0.3, 0.9, 0.5, 0.1, 0.7, -0.2]
    wanted = stats.t.interval(0.95, 5, np.mean(values), stats.sem(values))
    found = pooled([(value, value - 1, value + 2) for value in values])
    np.testing.assert_allclose(found, (np.mean(values), *wanted), rtol=1e-12)
    ratios = np.exp(values)  # of intervals that are symmetric in the logarithm: geometric means
    found = pooled([(ratio, ratio / 1.7, ratio * 1.7) for ratio in ratios])
    np.testing.assert_allclose(found, np.exp([np.mean(values), *wanted]), rtol=1e-12)
    found = pooled([(ratio, ratio / 1.7, ratio * (1.7 + (i == 3))) for i, ratio in enumerate(ratios)])
    np.testing.assert_allclose(found[0], ratios.mean(), rtol=1e-12)


def test_an_open_part_is_decided_by_all_runs_together(claims: Path, tmp_path: Path) -> None:
    record = Ledger("one", "cpu", claims).judge("C1", slope=Effect(*WIDE), end_value=Effect(0.0))
    assert record["state"] == "open"
    folder = repeated(tmp_path / "repeats", GOOD, *[WIDE] * 4)
    found = confirmed(record, folder)
    part = found["parts"][0]
    assert part["repeats"] == [4, 5] and part["measured"] == "open" and part["state"] == "open"  # 0.17 [0.0, 0.34]
    folder = repeated(tmp_path / "more", *[[0.1 + 0.01 * i, -0.5, 0.7] for i in range(5)])
    found = confirmed(record, folder)
    part, row = found["parts"][0], registry(claims)["C1"]
    assert part["state"] == found["state"] == "holds" and part["measured"] == "open" and part["repeats"] == [5, 5]
    assert (part["value"], part["low"], part["high"]) == tuple(WIDE)  # what this run measured stays
    said = box(found, row)
    assert "holds, by all 6 base seeds together: 0.117 [" in said and "this run alone open, as 5 of 5 others" in said
    assert 'class="pooled"' in said and "What would decide" not in said
    told = totals([{**row, "record": found}])
    assert "1 part was open or did not come again so often; all base seeds together decide 1 of these." in told[2]
    few = confirmed(record, repeated(tmp_path / "few", *[[0.1 + 0.01 * i, -0.5, 0.7] for i in range(4)]))
    assert "pooled" not in few["parts"][0] and few["state"] == "open"


def test_how_firmly_a_part_stands_when_a_repetition_is_left_out(claims: Path, tmp_path: Path) -> None:
    record = Ledger("one", "cpu", claims).judge("C1", slope=Effect(*WIDE), end_value=Effect(0.0))
    folder = repeated(tmp_path / "repeats", GOOD, *[WIDE] * 4)  # without the first all say 0.1: it holds
    assert confirmed(record, folder)["parts"][0]["state"] == "open"
    assert steady(record, folder) == {"slope": (4, 5)}  # the other part is exact
    row = registry(claims)["C1"] | {"record": confirmed(record, folder), "steady": steady(record, folder)}
    assert "in four of five or more, 1 of 1 (100%) of the measured parts end as they do" in totals([row])[2]
    assert steady(record, repeated(tmp_path / "again", *[GOOD] * 2, *[BAD] * 2, GOOD)) == {"slope": (5, 5)}
    row["steady"] = {"slope": (3, 5)}
    assert "0 of 1 (0%) of the measured parts end as they do" in totals([row])[2]
    assert steady(record, repeated(tmp_path / "few", *[GOOD] * 4)) == {}
    blind = Ledger("one", "cpu", claims).judge("C1", slope=Unseen("no pairs"), end_value=Effect(0.0))
    assert steady(blind, folder) == {} and "left out" not in totals([row | {"steady": {}}])[2]
    smoke = Ledger("one", "smoke", claims).judge("C1", slope=Effect(*GOOD), end_value=Effect(0.0))
    assert steady(smoke, folder) == {}


def test_what_is_called_exact_and_differs_on_other_seeds_is_none(claims: Path, tmp_path: Path) -> None:
    record = Ledger("one", "cpu", claims).judge("C1", slope=Effect(1), end_value=Effect(0.0))
    found = confirmed(record, repeated(tmp_path / "a", *[[1.0, 1.0, 1.0]] * 5))
    assert not any("repeats" in part for part in found["parts"]) and found["state"] == "holds"
    found = confirmed(record, repeated(tmp_path / "b", *[[1.0, 1.0, 1.0]] * 4, [-1.0, -1.0, -1.0]))
    assert found["parts"][0]["repeats"] == [4, 5] and found["state"] == "holds"
    found = confirmed(record, repeated(tmp_path / "c", *[[1.0, 1.0, 1.0]] * 3, *[[-1.0, -1.0, -1.0]] * 2))
    assert found["parts"][0]["repeats"] == [3, 5] and found["state"] == "open"


def test_repetitions_that_lack_a_part_or_are_of_another_chapter_do_not_count(claims: Path, tmp_path: Path) -> None:
    record = Ledger("one", "cpu", claims).judge("C1", slope=Effect(*GOOD), end_value=Effect(0.0))
    folder = repeated(tmp_path / "repeats", *[GOOD] * 5)
    for seed, change in ((8000, {"one": {"hash": "x", "claims": {"C1": {"end_value": [0, 0, 0]}}}}),
                         (8001, {"two": {"hash": "x", "claims": {"C1": {"slope": BAD}}}}),
                         (8002, {"one": {"hash": "x", "claims": {}}})):  # fmt: skip
        run = {"seed": seed, "profile": "cpu", "chapters": change}
        (folder / f"{seed}.json").write_text(json.dumps(run))
    assert confirmed(record, folder)["parts"][0]["repeats"] == [2, 2]
    repeated(tmp_path / "gpu", *[BAD] * 5, profile="gpu")
    assert "repeats" not in confirmed(record, tmp_path / "gpu")["parts"][0]


def test_kept_numbers_are_judged_as_they_were(claims: Path, tmp_path: Path) -> None:
    """However near to the edge: a repetition keeps all digits."""
    near = Effect(1 + 3e-12, 1 + 1e-12, 1 + 5e-12)
    (claims / "one.toml").write_text(CLAIMS.replace('"> 0"', '"> 1"'))
    _read.cache_clear()
    record = Ledger("one", "cpu", claims).judge("C1", slope=near, end_value=Effect(0.0))
    kept = json.loads(json.dumps(measurements([record])))["C1"]["slope"]
    assert repeats(record, repeated(tmp_path / "repeats", kept))["slope"] == ["holds"] == [record["parts"][0]["state"]]


def test_totals_say_what_there_is(claims: Path, tmp_path: Path) -> None:
    (claims / "one.toml").write_text(CLAIMS.replace('[[claim]]\nid = "S1"', CHANGE + '[[claim]]\nid = "S1"'))
    _read.cache_clear()
    record = Ledger("one", "cpu", claims).judge("C1", slope=Effect(*GOOD), end_value=Effect(0.2, 0.1, 0.3))
    row = registry(claims)["C1"]
    once = totals([{**row, "record": record}])
    assert "2 parts: 0 exact" in once[0] and "of which 1 are decided narrowly" in once[0]
    assert once[2].startswith("No part") and "changed once after a run" in once[3]
    folder = repeated(tmp_path / "repeats", *[WIDE] * 5)  # the other part comes again as another: 0 is in its rule
    run = json.loads((folder / "8004.json").read_text())
    del run["chapters"]["one"]["claims"]["C1"]["slope"]
    (folder / "8004.json").write_text(json.dumps(run))
    found = confirmed(record, folder)
    (folder / "8004.json").unlink()
    told = totals([{**row, "record": found, "change": []}])
    assert "2 measured parts were repeated on 4 to 5 other base seeds" in told[2] and "1 of 2 (50%)" in told[2]
    assert told[3].startswith("No rule or setting was changed")
    blind = Ledger("one", "cpu", claims).judge("C1", slope=Unseen("no pairs"), end_value=Effect(0.2, 0.1, 0.3))
    told = totals([{**row, "record": confirmed(blind, folder)}])
    assert "1 measured part was repeated on 4 other base seeds" in told[2] and "1 of 1 (100%)" in told[2]
    opened = confirmed(record, repeated(tmp_path / "five", *[WIDE] * 5))
    assert opened["parts"][0]["state"] == "open" and "of which 0 are" in totals([{**row, "record": opened}])[0]


def test_repetitions_are_judged_by_the_rules_of_the_record(claims: Path, tmp_path: Path) -> None:
    record = Ledger("one", "cpu", claims).judge("C1", slope=Effect(*GOOD), end_value=Effect(0.0))
    assert measurements([record]) == {"C1": {"slope": GOOD, "end_value": [0.0, 0.0, 0.0]}}
    folder = repeated(tmp_path / "repeats", GOOD, BAD)
    assert repeats(record, folder)["slope"] == ["holds", "fails"]
    record["parts"][0]["rule"] = "< 0"
    assert repeats(record, folder)["slope"] == ["fails", "holds"]
    assert repeats({**record, "profile": "gpu"}, folder)["slope"] == []
    smoke = Ledger("one", "smoke", claims).judge("C1", slope=Effect(*GOOD), end_value=Effect(0.0))
    assert confirmed(smoke, folder) == smoke


def of_parts(*effects: str) -> str:
    parts = ", ".join(f'"slope{i}": {effect}' for i, effect in enumerate(effects))
    one = f'{{"hash": "x", "claims": {{"C1": {{{parts}}}}}}}'
    return f'{{"seed": 8000, "profile": "cpu", "chapters": {{"one": {one}}}}}'


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "\x00", "[" * 100_000, '{"seed": 1, "profile": "cpu", "chapters": {}}',
        '{"seed": "8000", "profile": "cpu", "chapters": {}}', '{"seed": 8000, "profile": "smoke", "chapters": {}}',
        '{"seed": 8000, "profile": "cpu", "chapters": []}', of_parts("[1, 0, 2]").replace('"hash": "x", ', ""),
        of_parts("[1, 2]"), of_parts("[NaN, NaN, NaN]"), of_parts("[1, 0, Infinity]"), of_parts("[1, 2, 3]"),
        of_parts("1"), of_parts("null"), of_parts('["1", "1", "1"]'), of_parts("[1, 0, 2]", "[true, true, true]"),
        of_parts("[1, 0, 2]")[:-9],
    ],
)  # fmt: skip
def test_a_damaged_repetition_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "8000.json").write_text(text)
    with pytest.raises(PressError, match=r"8000\.json is no record"):
        runs(tmp_path)


def test_what_is_no_file_or_no_record_beside_them(tmp_path: Path) -> None:
    (tmp_path / "8000.json").write_text(of_parts("[1, 0, 2]", '"no pairs"'))
    (tmp_path / ".8000.json.abc.new").write_text("cut")
    (tmp_path / ".9000.json").write_text("cut")
    assert [run["seed"] for run in runs(tmp_path)] == [8000] and runs(tmp_path / "none") == []
    (tmp_path / "9000.json").mkdir()
    with pytest.raises(PressError, match=r"9000\.json is no record of a repetition: IsADirectoryError"):
        runs(tmp_path)


def test_the_repetitions_of_the_book_can_be_read() -> None:
    for run in runs():
        for chapter, found in run["chapters"].items():
            rows = {key for key, row in registry().items() if row["chapter"] == chapter}
            assert found["claims"].keys() <= rows and found["hash"], (run["seed"], chapter)


def test_a_change_in_a_chapter_that_is_not_repeated_says_whether_its_rule_came_before_the_run() -> None:
    repeated = {name for run in runs() for name in run["chapters"]}
    told = {(row["id"], one["part"]): one["why"] for row in registry().values() for one in row["change"]
            if row["chapter"] not in repeated}  # fmt: skip
    assert any(claim == "I7" for claim, _ in told)
    words = r"(written|measured again) (before|after)|before these parts were written"
    assert [key for key, why in told.items() if not re.search(words, why)] == []
