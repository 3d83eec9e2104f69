"""Every gate turns red on a staged failure, and green again when the failure is taken back."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from presses import executed, project, source, stamped

from diffnotes.press import page
from diffnotes.press.gates import check_across, check_page, check_source, numerals
from diffnotes.press.layout import Project


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return project(tmp_path_factory.mktemp("gates") / "book", "one", "two")


def cell(notebook: Any, name: str) -> Any:
    return next(cell for cell in notebook.cells if cell.id == name)


def figure(notebook: Any) -> dict[str, Any]:
    return cell(notebook, "figure").metadata["mystnb"]


def printed(text: str, name: str = "stdout") -> Callable[[Any], None]:
    return lambda notebook: cell(notebook, "solve-a").outputs.append(new_output("stream", name=name, text=text))


def shown(**data: str) -> Callable[[Any], None]:
    data = {kind.replace("_", "/"): value for kind, value in data.items()}
    return lambda notebook: cell(notebook, "solve-a").outputs.append(new_output("display_data", data))


def error(notebook: Any) -> None:
    cell(notebook, "solve-a").outputs.append(new_output("error", ename="ValueError", evalue="no", traceback=[]))


def banner(notebook: Any) -> None:
    note = new_markdown_cell("An exception occurred", metadata={"tags": ["papermill-error-cell-tag"]})
    notebook.cells.insert(0, note)


def second_image(notebook: Any) -> None:
    cell(notebook, "figure").outputs.append(new_output("display_data", {"image/png": "iVBORw0KGgo="}))


def bar(notebook: Any) -> None:
    notebook.metadata["widgets"] = {"state": {"1": {"model_name": "FloatProgressModel"}}}


def trace(notebook: Any) -> None:
    notebook.metadata["path"] = "/home/jane/book"


def replaced(name: str, old: str, new: str) -> Callable[[Any], None]:
    def change(notebook: Any) -> None:
        assert old in cell(notebook, name).source
        cell(notebook, name).source = cell(notebook, name).source.replace(old, new)

    return change


# What a page must not be, how to make it so, and a word of the complaint. The hash of the outputs is made to fit again,
# so that each gate is seen to work without it.
PAGE = {
    "a stored error": (error, "stored error: ValueError"),
    "a banner of papermill": (banner, "banner of a failed run"),
    "stderr": (printed("UserWarning: no", "stderr"), "stderr"),
    "a text progress bar": (printed("\r 40%|####      | 4/10 [00:01<00:02, 3.1it/s]"), "progress bar"),
    "a widget progress bar": (bar, "progress bar"),
    "a home in the output": (printed("saved to /home/jane/x.npz"), "/home/jane"),
    "a temporary folder": (printed("see /tmp/x"), "/tmp"),
    "a Windows home": (printed(r"C:\Users\jane"), "Users"),
    "a path in the metadata": (trace, "/home/jane"),
    "an external script": (shown(text_html='<script src="https://cdn.example.org/x.js"></script>'), "elsewhere"),
    "an external style": (shown(text_html='<link rel="stylesheet" href="//example.org/x.css">'), "elsewhere"),
    "an external image": (shown(text_html='<img src="http://example.org/x.png">'), "elsewhere"),
    "a frame": (shown(text_html='<iframe width=1 src="https://example.org"></iframe>'), "elsewhere"),
    "a loader": (shown(text_html="<script>require(['https://example.org/x'])</script>"), "elsewhere"),
    "an import of style": (shown(text_html="<style>@import 'https://example.org/x'</style>"), "elsewhere"),
    "no alt text": (lambda notebook: figure(notebook).pop("image"), "without alt text"),
    "a path as alt text": (lambda notebook: figure(notebook)["image"].update(alt="_images/0a1b.png"), "no sentence"),
    "a short alt text": (lambda notebook: figure(notebook)["image"].update(alt="Error rises."), "no sentence"),
    "axes as alt text": (
        lambda notebook: figure(notebook)["image"].update(alt="A plot of the error against the time of the process."),
        "only names the axes",
    ),
    "an edited caption": (lambda notebook: figure(notebook)["figure"].update(caption="Else."), "edited after the run"),
    "no caption": (lambda notebook: figure(notebook)["figure"].update(caption=" "), "without caption"),
    "no name": (lambda notebook: figure(notebook)["figure"].pop("name"), "without name"),
    "a bare image": (lambda notebook: cell(notebook, "figure").metadata.pop("mystnb"), "without"),
    "two images": (second_image, "2 images"),
    "a missing figure": (lambda notebook: cell(notebook, "figure").outputs.clear(), "without its image"),
    "other code": (replaced("work", "0.5", "0.6"), "not that of the notebook"),
    "a gap in the counts": (lambda notebook: cell(notebook, "work").update(execution_count=7), "one after the other"),
    "a cell not run": (lambda notebook: cell(notebook, "work").update(execution_count=None), "one after the other"),
    "no glue value": (lambda notebook: cell(notebook, "work").outputs.clear(), "unknown glue key 'gap'"),
    "a glue key twice": (
        lambda notebook: cell(notebook, "work").outputs.append(cell(notebook, "work").outputs[0]),
        "duplicate glue key 'gap'",
    ),
    "a label twice": (replaced("prose", "The gap", "(fig-one-a)=\nThe gap"), "duplicate label 'fig-one-a'"),
    "a heavy page": (printed("x" * 1_500_001), "characters"),
}


@pytest.mark.parametrize("name", PAGE)
def test_page_gate(book: Project, name: str) -> None:
    spoil, complaint = PAGE[name]
    good, chapter = executed(book), page.read(book.source("one"))
    assert check_page(good, chapter, "one", book) == []
    bad = copy.deepcopy(good)
    spoil(bad)
    problems = check_page(stamped(bad, book), chapter, "one")
    assert any(complaint in str(problem) for problem in problems), problems
    assert all(str(problem).startswith("one") and problem.remedy for problem in problems)
    assert len(problems) <= 3


def test_edited_number_and_missing_provenance(book: Project) -> None:
    good, chapter = executed(book), page.read(book.source("one"))
    bad = copy.deepcopy(good)
    data = cell(bad, "work").outputs[0].data
    data["application/papermill.record/text/plain"] = "1.6"
    assert ["edited" in problem.what for problem in check_page(bad, chapter, "one")] == [True]
    assert "its outputs, edited after the run" in str(check_page(bad, chapter, "one", book))
    data["application/papermill.record/text/plain"] = "1.5"
    assert check_page(bad, chapter, "one", book) == []
    del bad.metadata["diffnotes"]
    assert "no provenance" in str(check_page(bad, chapter, "one"))


def test_injected_parameters_are_those_of_the_record(book: Project) -> None:
    notebook = executed(book)
    extra = new_code_cell('profile = "smoke"\nsize = 1', id="injected-parameters", execution_count=2)
    extra.metadata["tags"] = ["injected-parameters"]
    notebook.cells.insert(2, extra)
    for count, code in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1):
        code.execution_count = count
    notebook, chapter = stamped(notebook, book, profile="smoke"), page.read(book.source("one"))
    assert check_page(notebook, chapter, "one", book) == []
    extra.source = 'profile = "smoke"\nsize = 2'
    assert "injected parameters" in str(check_page(notebook, chapter, "one", book))


SOURCE = {
    "an unbound numeral": (replaced("prose", "The gap", "The gap of 0.31"), "unbound numeral in prose: '0.31'"),
    "a typed caption": (replaced("work", "glue(", 'show(caption="Over 12 runs")\nglue('), "numeral in a caption: '12'"),
    "a script": (replaced("prose", "The gap", "<script>x</script> The gap"), "elsewhere"),
    "a remote image": (replaced("prose", "The", "![a gap](https://example.org/a.png) The"), "elsewhere"),
    "an image without alt": (replaced("prose", "The", "![](a.png) The"), "text alternative"),
    "a machine's path": (replaced("work", "glue(", "open('/root/x')\nglue("), "/root"),
    "tqdm": (replaced("work", "glue(", "from tqdm.auto import tqdm\nglue("), "tqdm"),
    "outputs": (lambda notebook: cell(notebook, "work").update(execution_count=1), "has outputs"),
    "another kernel": (lambda notebook: notebook.metadata["kernelspec"].update(name="mine"), "python3"),
    "one id for two cells": (lambda notebook: cell(notebook, "work").update(id="figure"), "id of their own"),
    "no title": (replaced("title", "# Title", "Title"), "not a title"),
    "no objectives": (replaced("title", "Learning objectives", "Hello"), "no learning objectives"),
    "no summary": (replaced("end", "## Summary", "## End"), "no summary"),
    "two exercises": (replaced("end", "```{exercise-start}\n:label: ex-one-c", "```text\n"), "2 exercises"),
    "no solution": (replaced("start-b", "ex-one-b", "ex-one-x"), "exercise ex-one-b has no solution"),
    "an idle solution": (
        lambda notebook: notebook.cells.remove(cell(notebook, "solve-b")),
        "a solution in which nothing is executed",
    ),
    "no parameters": (lambda notebook: cell(notebook, "settings").metadata.pop("tags"), "parameters"),
    "another profile": (replaced("settings", '"cpu"', '"gpu"'), "cpu profile"),
    "a label twice": (replaced("prose", "The gap", "(ex-one-a)=\nThe gap"), "duplicate label 'ex-one-a'"),
}


@pytest.mark.parametrize("name", SOURCE)
def test_source_gate(name: str) -> None:
    spoil, complaint = SOURCE[name]
    notebook = source()
    assert check_source(notebook, "one") == []
    spoil(notebook)
    problems = check_source(notebook, "one")
    assert any(complaint in str(problem) for problem in problems), problems
    assert len(problems) <= 2


def test_labels_and_values_across_pages(book: Project) -> None:
    pages = {name: executed(book, name) for name in ("one", "two")}
    assert check_across(pages) == []
    replaced("prose", "The gap", "From elsewhere {glue:text}`one.ipynb::gap:.1f`. The gap")(pages["two"])
    assert check_across(pages) == []
    replaced("prose", "one.ipynb::gap", "one.ipynb::gip")(pages["two"])
    assert "one glues no value 'gip'" in str(check_across(pages)[0])
    replaced("prose", "one.ipynb::gip", "one.ipynb::gap")(pages["two"])
    figure(pages["two"])["figure"]["name"] = "fig-one-a"
    assert [(problem.where, "fig-one-a" in problem.what) for problem in check_across(pages)] == [("two", True)]


def test_claims_of_the_chapter_must_be_recorded(book: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chapter = page.read(book.source("one"))
    monkeypatch.setattr("diffnotes.press.ledger.rules", lambda name: {"T1": [["a", "> 0", ""]]})
    notebook = executed(book)
    assert "claim T1 belongs to this chapter and is not recorded" in str(check_page(notebook, chapter, "one", book))
    output = new_output("display_data", {"text/plain": "T1"}, metadata={"diffnotes": {"claim": {"id": "T1"}}})
    cell(notebook, "solve-a").outputs.append(output)
    assert check_page(stamped(notebook, book), chapter, "one", book) == []
    cell(notebook, "solve-a").outputs.append(output)
    assert "recorded twice" in str(check_page(stamped(notebook, book), chapter, "one", book))


ALLOWED = """
## 2. Second part

1. In 2-D and by T7, $x_0$ falls below $10^{-3}$, see Figure 3, Sections 2 and 3, (objectives 1-3) and {cite}`ho2020`.

[A link](https://example.org/2020/12) to `code 12`, min-SNR-5, DPM-Solver-2M, float64, as in 2019, or later (2021).

(eq-x-1)=
```{prf:theorem} Name
:label: thm-1
:class: w-50
Text with {glue:text}`gap:.2f` and <b style="x:1">html</b>&nbsp;&#160;.
```

```python
print(12)
```

$$
a \\approx b = 0.3
$$ (eq-12)
"""


def test_numerals_that_may_stand() -> None:
    assert numerals(ALLOWED) == []


@pytest.mark.parametrize(
    "text, found",
    [
        ("falls by 12 % in 500 steps", ["12 %", "500"]),
        ("in 2000 steps", ["2000"]),
        ("5x faster, -0.3 and 1e-3, or 12,000", ["5", "-0.3", "1e-3", "12,000"]),
        (r"$\alpha \approx 0.3$ and $12\,\%$, thus $2.5\times$", [r"\approx 0.3", r"12\,\%", r"2.5\times"]),
        ("```{note}\nabout 7 of them\n```\n\nand 8", ["7", "8"]),
        ("| a | 4.5 |", ["4.5"]),
        ("## 3 seeds", ["3"]),
    ],
)
def test_numerals_that_may_not(text: str, found: list[str]) -> None:
    assert numerals(text) == found


NOTE = "\n\n```{note}\n:class: a-1\nText\n```\n\n"
PIECES = ["Plain words.", "`code 1`", "$x_1 + 2$", "{eq}`eq-1`", NOTE, "\n\n$$\n3\n$$\n\n", "\n\n```\n4\n```\n\n"]


@given(st.lists(st.sampled_from(PIECES), max_size=6), st.lists(st.sampled_from(PIECES), max_size=6))
def test_a_numeral_is_found_wherever_it_stands(before: list[str], after: list[str]) -> None:
    assert numerals(" ".join([*before, "the error was 0.31", *after])) == ["0.31"]
