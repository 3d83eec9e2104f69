"""The ledger: rules, verdicts, what it refuses, and the way from a run to the book's table."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook, new_output
from presses import save

from diffnotes.press import ledger, page
from diffnotes.press.ledger import Effect, Ledger, errata_table, judge, reach, registry, verdict
from diffnotes.press.summary import collect, table_text

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
source = "1"
quotation = "a | b"
correction = "b"
chapter = ""
test = ""
"""


@pytest.fixture
def claims(tmp_path: Path) -> Path:
    (tmp_path / "claims.toml").write_text(CLAIMS)
    return tmp_path / "claims.toml"


@pytest.mark.parametrize(
    "rule, low, high, state",
    [
        ("> 1", 1.0, 2.0, "unresolved"),
        ("> 1", 1.1, 2.0, "holds"),
        ("> 1", 0.0, 1.0, "fails"),
        (">= 1", 1.0, 2.0, "holds"),
        (">= 1", 0.0, 1.0, "unresolved"),
        (">= 1", 0.0, 0.9, "fails"),
        ("< 1", 0.0, 1.0, "unresolved"),
        ("< 1", 0.0, 0.9, "holds"),
        ("< 1", 1.0, 2.0, "fails"),
        ("<= 1", 1.0, 1.0, "holds"),
        ("<= 1", 1.0, 1.1, "unresolved"),
        ("<= 1e-9", 2e-9, 3e-9, "fails"),
        ("in [0, 1]", 0.0, 1.0, "holds"),
        ("in [0, 1]", -0.1, 1.0, "unresolved"),
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
    assert judge(f"{denial} {c}", *interval) == ledger.OPPOSITE[judge(f"{sign} {c}", *interval)]


@given(signs, numbers, intervals, numbers)
def test_a_verdict_speaks_for_every_point_of_the_interval(sign: str, c: float, interval: list[float], x: float) -> None:
    """Judged as an exact result, each point of an interval that holds (fails) holds (fails); ends decide the rest."""
    low, high = interval
    at = judge(f"{sign} {c}", *[min(max(x, low), high)] * 2)
    state = judge(f"{sign} {c}", low, high)
    assert at in ("holds", "fails")
    ends = {judge(f"{sign} {c}", low, low), judge(f"{sign} {c}", high, high)}
    assert (state == "unresolved" and ends == {"holds", "fails"}) or ({state} == ends and state == at)


@pytest.mark.parametrize("rule", ["= 1", "> x", "in [0]", "about 3", ""])
def test_rules_that_are_none(rule: str) -> None:
    with pytest.raises(ValueError):
        judge(rule, 0, 1)


def parts(states: str) -> list[dict[str, str]]:
    names = {"h": "holds", "f": "fails", "u": "unresolved"}
    return [{"name": f"{s}_{i}", "condition": f"case {i}", "state": names[s]} for i, s in enumerate(states)]


@pytest.mark.parametrize(
    "states, state, words",
    [
        ("hh", "holds", {}),
        ("ff", "fails", {}),
        ("u", "untestable", {"Open": "case 0"}),
        ("uf", "untestable", {"Open": "case 0", "Fails": "case 1"}),
        ("hf", "holds-if", {"Holds": "case 0", "Fails": "case 1"}),
        ("hu", "holds-if", {"Holds": "case 0", "Open": "case 1"}),
        ("hhfu", "holds-if", {"Holds": "case 0; case 1", "Fails": "case 2", "Open": "case 3"}),
    ],
)
def test_verdicts(states: str, state: str, words: dict[str, str]) -> None:
    assert verdict(parts(states)) == state
    found = reach({"state": state, "parts": parts(states)})
    assert {key.split()[0].strip(","): text for key, text in found.items()} == words


@given(st.text("hfu", min_size=1, max_size=6))
def test_a_verdict_depends_on_the_states_alone_and_names_what_does_not_hold(states: str) -> None:
    state = verdict(parts(states))
    assert state == verdict(parts("".join(sorted(states)))) and state in ledger.VERDICTS
    assert (state == "holds") == (set(states) == {"h"}) and (state == "fails") == (set(states) == {"f"})
    named = "; ".join(reach({"state": state, "parts": parts(states)}).values())
    if state in ("holds-if", "untestable"):
        assert sorted(named.split("; ")) == [f"case {i}" for i in range(len(states))]
    else:
        assert not named


@pytest.mark.parametrize(
    "arguments",
    [(float("nan"),), (1, float("inf"), 2), (1, 2, 3), (1, 0, 0.5), (1, 0), (1, None, 2), (0, 1, -1)],
)
def test_effects_that_are_none(arguments: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"value|low|high"):
        Effect(*arguments)


def test_record(claims: Path) -> None:
    record = Ledger("one", "cpu", claims).judge("C1", slope=Effect(0.5, 0.1, 0.9, "nats"), end_value=Effect(2))
    assert record["state"] == "holds-if" and record["verdict"] == "holds if restricted"
    assert [part["state"] for part in record["parts"]] == ["holds", "fails"]
    assert json.loads(json.dumps(record)) == record
    assert [part["exact"] for part in record["parts"]] == [False, True]
    smoke = Ledger("one", "smoke", claims).judge("C1", slope=Effect(0.5, 0.1, 0.9), end_value=Effect(2))
    assert smoke["state"] == "unjudged" and smoke["verdict"] == "not judged"


def test_a_measured_interval_without_width_is_not_called_exact(claims: Path) -> None:
    parts_ = Ledger("one", "cpu", claims).judge("C1", slope=Effect(0, 0, 0), end_value=Effect(0))["parts"]
    assert [ledger.effect_text(part) for part in parts_] == ["0 [0, 0]", "0 (exact)"]


def test_a_part_for_one_profile_is_asked_of_that_profile_alone(claims: Path) -> None:
    claims.write_text(CLAIMS.replace('name = "end_value"', 'name = "end_value"\nonly = "gpu"'))
    ledger._read.cache_clear()
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
    words = "holds if restricted. Holds for small t. Fails for end value"
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
    table = errata_table(claims)
    assert r"a \| b" in table and {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()} == {6}
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
    assert lines[0] == f"(claim-{row['id']})=" and lines[1] == f":::{{admonition}} {row['id']} {record['verdict']}"
    assert lines[2] == f":class: verdict verdict-{record['state']}" and lines[-1] == ":::"


def test_a_table_on_a_page_is_read_as_one() -> None:
    output = new_output("display_data", {"text/markdown": "| a |\n|---|\n| b |", "text/plain": "a b"})
    cell = page.normalise(new_notebook(cells=[new_code_cell("", outputs=[output])])).cells[0]
    assert cell.metadata["mystnb"]["markdown_format"] == "myst"


def test_all_claims_are_listed() -> None:
    """Every row of the list of claims is there from the start, in order, with rules that can be applied."""
    rows = registry()
    counts = {"C": 17, "S": 11, "L": 12, "M": 10, "G": 4, "T": 12, "X": 3}
    assert list(rows) == [f"{group}{i}" for group, n in counts.items() for i in range(1, n + 1)]
    for row in rows.values():
        assert row["statement"] and row["kind"] and row["source"] in {"1", "2", "3", "4", "5", "ours"}
        assert bool(row["chapter"]) == bool(row["part"]), row["id"]
        names = [part["name"] for part in row["part"]]
        assert len(set(names)) == len(names) and all(name.isidentifier() for name in names)
        for part in row["part"]:
            judge(part["rule"], 0.0, 0.0)
            assert part["measure"]
            assert set(part) <= {"name", "measure", "rule", "condition", "only"}
            assert part.get("only", "gpu") == "gpu"  # what every machine can run is asked of every machine
    assert [row["source"] for row in ledger.errata()] == ["5", "1", "1", "2", "2", "2", "2", "3", "3", "4"]


def test_guarding_tests_exist() -> None:
    """The test that a row names is one that there is."""
    root = Path(__file__).resolve().parents[1]
    for row in [*registry().values(), *ledger.errata()]:
        if row["test"]:
            file, name = row["test"].split("::")
            assert re.search(rf"^def {name}\(", (root / file).read_text(), re.M), row["test"]
