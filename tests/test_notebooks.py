"""Notebooks keep the standard of CONTRIBUTING: short cells, figures as calls, verdicts in cells of their own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMES = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
HIDDEN = {"hide-input", "hide-cell", "remove-input", "remove-cell"}


def cells(name):
    found = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    return [(cell["cell_type"], set(cell["metadata"].get("tags", ())), "".join(cell["source"])) for cell in found]


def lines(source):
    return [line for line in source.splitlines() if line.strip()]


def code(name):
    return [(tags, source) for kind, tags, source in cells(name) if kind == "code"]


@pytest.mark.parametrize("name", NAMES)
def test_visible_cells_are_short(name):
    sizes = sorted(len(lines(source)) for tags, source in code(name) if not tags & HIDDEN)
    assert median(sizes) <= 8 and sizes[-1] <= 35
    assert sum(size <= 20 for size in sizes) >= 0.9 * len(sizes)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_of_readable_length(name):
    assert sum(len(lines(source)) for _, source in code(name)) <= 450
    wide = [line for _, source in code(name) for line in source.splitlines() if len(line) > 88]
    assert not wide


@pytest.mark.parametrize("name", NAMES)
def test_the_first_figure_comes_soon(name):
    before = 0
    for _, source in code(name):
        before += len(lines(source))
        if "figures_of." in source:
            break
    assert before <= 40


@pytest.mark.parametrize("name", NAMES)
def test_the_head_says_what_to_know_before_and_what_can_be_skipped(name):
    head = next(source for kind, _, source in cells(name) if kind == "markdown")
    found = re.search(r"^:::\{admonition\} Before you read\n:class: before\n\n(.*?)\n:::", head, re.M | re.S)
    rows = [line for line in found[1].splitlines() if line.startswith("| ")]
    assert len(rows) >= 4 and all(line.count(" | ") == 2 for line in rows)  # a head and three concepts
    assert re.search(r"^\*Can be skipped:\* .*\{ref\}`sec-", found[1], re.M)


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_calls_and_nothing_is_drawn_in_a_notebook(name):
    drawn = [source for _, source in code(name) if re.search(r"\baxes\b|\bplt\b|figures\.panels|figures\.show", source)]
    assert not drawn


@pytest.mark.parametrize("name", NAMES)
def test_verdicts_are_recorded_in_visible_cells_that_draw_nothing(name):
    records = [(tags, source) for tags, source in code(name) if "ledger.record(" in source]
    assert records
    for tags, source in records:
        assert not tags & HIDDEN and "figures_of." not in source and len(lines(source)) <= 20


@pytest.mark.parametrize("name", NAMES)
def test_hidden_cells_hold_imports_parameters_and_the_summary_only(name):
    for tags, source in code(name):
        if tags & HIDDEN:
            rest = [line for line in lines(source) if not re.match(r"(from|import)\b|[\s)]|#", line)]
            assert "parameters" in tags or "ledger.summary" in source or not rest


@pytest.mark.parametrize("name", NAMES)
def test_every_chapter_has_something_to_move(name):
    assert any(re.search(r"figures_of\.\w*explorer\(", source) for _, source in code(name))
