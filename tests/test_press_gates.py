"""Every gate turns red on a staged failure, and green again when the failure is taken back."""

from __future__ import annotations

import copy
import gc
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults import (
    CHANGES,
    GOOD_MARKDOWN,
    LOADING,
    MARKDOWN,
    NO_CHANGES,
    NO_PATHS,
    NO_PROGRESS,
    NO_WRITES,
    PATHS,
    PROGRESS,
    QUIET,
    RUNNING,
    WRITES,
)
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from presses import ALT, executed, project, source, stamped

from diffnotes.press import conduct, page, prose, site, traces, web
from diffnotes.press.conduct.shell import shell_writes
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
    data = {kind.replace("_", "/", 1): value for kind, value in data.items()}
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
    assert len(problems) <= 4


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
    extra.metadata["tags"] = ["hide-input", "injected-parameters"]
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
    claim = {"id": "T1", "parts": [], "state": "holds", "verdict": "holds", "profile": "cpu"}
    output = new_output("display_data", {"text/plain": "T1"}, metadata={"diffnotes": {"claim": claim}})
    cell(notebook, "solve-a").outputs.append(output)
    assert check_page(stamped(page.normalise(notebook), book), chapter, "one", book) == []
    cell(notebook, "solve-a").outputs.append(output)
    assert "recorded twice" in str(check_page(stamped(notebook, book), chapter, "one", book))
    monkeypatch.setattr("diffnotes.press.ledger.rules", lambda name: {})
    assert "claim T1 does not belong to this chapter" in str(check_page(notebook, chapter, "one"))


def test_notes_that_no_run_leaves_are_a_problem_and_no_traceback(book: Project) -> None:
    for note in ([], {"figure": 3}, {"claim": {"id": "T1"}}):
        notebook = executed(book)
        output = new_output("display_data", {"text/plain": "T1"}, metadata={"diffnotes": note})
        cell(notebook, "solve-a").outputs.append(output)
        assert "it is no page of a run" in str(check_page(notebook, page.read(book.source("one")), "one"))


def test_a_value_keeps_the_unit_of_its_record(book: Project) -> None:
    def units(prose: str, unit: str, measure: str = "") -> str:
        notebook = executed(book)
        cell(notebook, "prose").source = prose
        part = {"name": "gap", "unit": unit, "measure": measure, "rule": "> 0", "state": "holds"}
        part |= dict.fromkeys(("value", "low", "high"), 1.5)
        claim = {"id": "Z9", "state": "holds", "verdict": "holds", "profile": "cpu", "parts": [part]}
        output = new_output("display_data", {"text/plain": "T1"}, metadata={"diffnotes": {"claim": claim}})
        cell(notebook, "solve-a").outputs.append(output)
        return "\n".join(problem.what for problem in check_page(notebook, page.read(book.source("one")), "one"))

    assert "gap is in nats, and the prose says bits" in units("It is {glue:text}`gap:.2f` bits.", "nats")
    assert "gap is in nats, and the prose says %" in units("It is {glue:text}`gap:.2f` %.", "nats")
    assert "declared in bits" in units("It is {glue:text}`gap:.2f`.", "nats", "gap in bits | dimension")
    for words, unit in (("nats", "nats"), ("per cent", "%"), ("times", "nats"), ("of all", "nats"), ("%", "")):
        assert "gap is in" not in units(f"It is {{glue:text}}`gap:.2f` {words}.", unit, f"gap in {unit or 'nats'}")


# More of what a source must not be: an edit of its cells, and a word of the complaint, "" if it is as it should be.
CODE = {
    "a typed value": ("work", "glue(gap=size * 0.5)", "glue(gap=0.31)", "typed value is glued: gap = 0.31"),
    "a typed sum": ("work", "size * 0.5", "round(0.3 + 0.01, 2)", "typed value"),
    "a typed text": ("work", "size * 0.5", 'f"{0.31:.2f}"', "typed value"),
    "a typed tensor": ("work", "size * 0.5", "torch.tensor(0.31).item()", "typed value"),
    "a typed name": ("work", "glue(gap=size * 0.5)", "found = 0.31\nglue(gap=found)", "typed value"),
    "a name of a typed name": ("work", "glue(gap=size * 0.5)", "a = 0.31\nb = a\nglue(gap=2 * b)", "typed value"),
    "typed values": ("work", "glue(gap=size * 0.5)", 'glue(**{"gap": 0.31, "size": size})', "typed value"),
    "a parameter": ("work", "size * 0.5", "size", ""),
    "a setting in use": ("work", "glue(gap=size * 0.5)", "fine = 100\nx = list(range(fine))\nglue(gap=fine)", ""),
    "words": ("work", "glue(gap=size * 0.5)", 'glue(gap=size * 0.5, name="plain")', ""),
    "a number in alt": ("figure", "the error grows", "the error grows by 31 per cent", "text alternative: '31'"),
    "a decimal in alt": ("figure", "from zero to one", "from 0.17 to one", "text alternative: '0.17'"),
    "a number formatted in alt": ("figure", '"alt": "One', '"alt": f"{0.17:.2f} of one', "text alternative"),
    "a setting in alt": ("figure", "from zero to one", "in 3 steps from zero to one", ""),
    "a computed number in alt": ("figure", '"alt": "One', '"alt": f"{size / 7:.2f} of one', ""),
    "a power of ten in alt": ("figure", "from zero", "from 1e-7", ""),
    "a number in a caption": ("figure", '"Error over time."', '"Error after 31 steps."', "in a caption: '31'"),
    "a number in a caption's name": (
        "figure",
        "note = ",
        'c = "By 31 %."\nd = dict(caption=c)\nnote = ',
        "in a caption",
    ),
    "a computed caption": ("figure", '"Error over time."', 'f"Error after {size:.0f} steps."', ""),
    "a parameter set": ("work", "glue(", "size = 4\nglue(", "it changes size"),
    "a parameter added to": ("work", "glue(", "size += 1\nglue(", "it changes size"),
    "a parameter in a loop": ("work", "glue(", "for seed in range(3):\n    pass\nglue(", "it changes seed"),
    "a parameter in a walrus": ("work", "glue(", "print(seed := 3)\nglue(", "it changes seed"),
    "a parameter in a comprehension's walrus": (
        "work",
        "glue(",
        "[seed := i for i in (1, 2)]\nglue(",
        "it changes seed",
    ),
    "a parameter unpacked": ("work", "glue(", "a, (seed, *b) = 1, (2, 3)\nglue(", "it changes seed"),
    "a parameter deleted": ("work", "glue(", "del seed\nseed_ = 1\nglue(", "it changes seed"),
    "a parameter with": ("work", "glue(", "with open(name) as seed:\n    pass\nglue(", "it changes seed"),
    "a parameter imported": ("work", "glue(", "import math as size\nglue(", "it changes size"),
    "a parameter defined": ("work", "glue(", "def size():\n    pass\nglue(", "it changes size"),
    "a parameter caught": ("work", "glue(", "try:\n    x\nexcept E as seed:\n    pass\nglue(", "it changes seed"),
    "a parameter matched": ("work", "glue(", "match x:\n    case [seed]:\n        pass\nglue(", "it changes seed"),
    "a parameter of globals": ("work", "glue(", 'globals()["seed"] = 3\nglue(', "it changes seed"),
    "a parameter of globals updated": ("work", "glue(", "globals().update(seed=3)\nglue(", "it changes seed"),
    "a parameter of a function": ("work", "glue(", "def f():\n    global seed\n    seed = 3\nglue(", "it changes seed"),
    "a parameter executed": ("work", "glue(", 'exec("seed = 3")\nglue(', "it changes seed"),
    "a parameter timed": ("work", "glue(", "%time seed = 3\nglue(", "it changes seed"),
    "a parameter's item": ("work", "glue(", "size[0] = 3\nglue(", "it changes size"),
    "a parameter's method": ("work", "glue(", "size.append(3)\nglue(", "it changes size"),
    "a name inside": ("work", "glue(", "def f(seed):\n    size = seed\n    return size\nglue(", ""),
    "a comprehension": ("work", "glue(", "[seed + size for seed in range(3)]\nglue(", ""),
    "an argument": ("work", "glue(", "dict(seed=3, size=size)\nglue(", ""),
    "the device found": ("work", "glue(", "device = choose(device)\nglue(", ""),
    "a file": ("work", "glue(", 'open("a.txt", "w").write("a")\nglue(', "it writes a file"),
    "a file by mode": ("work", "glue(", 'open("a.txt", mode="ab")\nglue(', "it writes a file"),
    "a file of a name": ("work", "glue(", 'p = "a.txt"\nopen(p, "w")\nglue(', "it writes a file"),
    "a path": ("work", "glue(", 'from pathlib import Path\nPath("a").write_text("a")\nglue(', "it writes a file"),
    "a path opened": ("work", "glue(", '(Path("a") / "b").open("w")\nglue(', "it writes a file"),
    "a folder": ("work", "glue(", 'Path("a").mkdir()\nglue(', "it writes a file"),
    "a folder of os": ("work", "glue(", 'os.makedirs("a")\nglue(', "it writes a file"),
    "an array": ("work", "glue(", 'np.save("a.npy", x)\nglue(', "it writes a file"),
    "a tensor": ("work", "glue(", 'torch.save(x, f"a{size}.pt")\nglue(', "it writes a file"),
    "a figure": ("work", "glue(", 'fig.savefig("a.png")\nglue(', "it writes a file"),
    "a table": ("work", "glue(", 'frame.to_csv("a.csv")\nglue(', "it writes a file"),
    "a shell": ("work", "glue(", "!echo a > a.txt\nglue(", "it writes a file"),
    "a subprocess": ("work", "glue(", 'subprocess.run("cp a b", shell=True)\nglue(', "it writes a file"),
    "a cell into a file": ("solve-a", "assert size > 0", "%%writefile a.py\nx = 1", "it writes a file"),
    "a buffer": ("work", "glue(", 'fig.savefig(buffer, format="png")\ntorch.save(x, io.BytesIO())\nglue(', ""),
    "a file read": ("work", "glue(", 'open("a.txt").read()\nopen("a.txt", "rb")\nPath("a").open()\nglue(', ""),
    "a text replaced": ("work", "glue(", '"a".replace("b", "c")\nglue(', ""),
    "only pass": ("solve-a", "assert size > 0", "pass", "nothing is executed"),
    "only dots": ("solve-a", "assert size > 0", "...", "nothing is executed"),
    "only a comment": ("solve-a", "assert size > 0", "# as above", "nothing is executed"),
    "only a constant": ("solve-a", "assert size > 0", "x = 3", "nothing is executed"),
    "only words": ("solve-a", "assert size > 0", '"as above"', "nothing is executed"),
    "only an import": ("solve-a", "assert size > 0", "import math", "nothing is executed"),
    "a true assertion": ("solve-a", "assert size > 0", "assert True", "nothing is executed"),
    "an assertion of constants": ("solve-a", "assert size > 0", "assert abs(1 + 1 - 2) < 1e-9", "nothing is executed"),
    "a print of words": ("solve-a", "assert size > 0", 'print("holds")', "nothing is executed"),
    "a test": ("solve-a", "assert size > 0", "torch.testing.assert_close(f(size), g(size))", ""),
    "a result": ("solve-a", "assert size > 0", "f(size)", ""),
    "a print": ("solve-a", "assert size > 0", "print(f(size))", ""),
    "another bar": ("work", "glue(", "import os, tqdm.auto\nglue(", "imports tqdm"),
    "a bar of rich": ("work", "glue(", "from rich.progress import track\nglue(", "imports rich.progress"),
    "two units": (
        "prose",
        "The gap is",
        "{glue:text}`gap` nats are {glue:text}`gap:.0f` %. The gap is",
        "several units",
    ),
    "one unit": ("prose", "The gap is", "{glue:text}`gap` nats are {glue:text}`gap:.0f` nats. The gap is", ""),
    "an image without alt": ("prose", "The gap", "![ ](a.png) The gap", "without text alternative"),
}


@pytest.mark.parametrize("name", CODE)
def test_code_gate(name: str) -> None:
    where, old, new, complaint = CODE[name]
    notebook = source()
    replaced(where, old, new)(notebook)
    problems = [str(problem) for problem in check_source(notebook, "one")]
    assert any(complaint in problem for problem in problems) if complaint else problems == [], problems


@pytest.mark.parametrize("code", CHANGES + NO_CHANGES)
def test_what_changes_a_parameter(code: str) -> None:
    assert conduct.changes(code, {"size", "seed"}) == ["size"] * (code in CHANGES)


@pytest.mark.parametrize("code", WRITES + NO_WRITES)
def test_what_writes_a_file(code: str) -> None:
    assert bool(conduct.writes(code)) == (code in WRITES)


def test_names_are_known_in_later_cells() -> None:
    names = conduct.Names()
    assert conduct.writes("from torch import save\nfolder = 'a'", names) == []
    assert conduct.writes("save(x, 'a.pt')", names) and conduct.writes("open(f'{folder}/x', 'w')", names)


# --- what a page must not load, run, or bring ---------------------------------------------------------------------


@pytest.mark.parametrize("name", [*LOADING, *RUNNING])
def test_no_output_and_no_prose_loads_or_runs_anything(book: Project, name: str) -> None:
    bad = (LOADING | RUNNING)[name]
    for kind in ("text/html", "image/svg+xml", "text/markdown"):
        notebook = executed(book)
        shown(**{kind: bad})(notebook)
        found = [problem.what for problem in check_page(notebook, page.read(book.source("one")), "one")]
        assert any("elsewhere" in what or "runs" in what or "a link that is none" in what for what in found), found
    assert [*prose.foreign(f"Words.\n\n{bad}\n\nWords.")]
    notebook = source()
    replaced("prose", "The gap", f"{bad} The gap")(notebook)
    assert check_source(notebook, "one")


@pytest.mark.parametrize("name", LOADING)
def test_the_scan_sees_what_the_gates_see(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "page.html").write_text(f"<html><body>{LOADING[name]}</body></html>")
    assert any(problem.startswith("page.html: loads from the network") for problem in site.scan(tmp_path))


@pytest.mark.parametrize("name", QUIET)
def test_harmless_html_is_no_fault(book: Project, name: str, tmp_path: Path) -> None:
    notebook, good = executed(book), QUIET[name]
    shown(text_html=good)(notebook)
    assert [problem.what for problem in check_page(notebook, page.read(book.source("one")), "one")] == [
        "an output was edited after the run"
    ]
    for picture in ("a.png", "b.png", "a.html"):
        (tmp_path / picture).touch()
    (tmp_path / "page.html").write_text(f"<html><body id=c>{good}</body></html>")
    assert site.scan(tmp_path) == []


@pytest.mark.parametrize("name", [*MARKDOWN, *GOOD_MARKDOWN])
def test_what_markdown_brings(book: Project, name: str) -> None:
    text = (MARKDOWN | GOOD_MARKDOWN)[name]
    notebook = source()
    replaced("prose", "The gap", f"Words.\n\n{text}\n\nThe gap")(notebook)
    assert bool(check_source(notebook, "one")) == (name in MARKDOWN), check_source(notebook, "one")
    assert bool([*prose.foreign(text)]) == (name in MARKDOWN)
    page_ = executed(book)
    shown(text_markdown=text)(page_)
    found = {problem.what for problem in check_page(page_, page.read(book.source("one")), "one")}
    harmless = {"an output was edited after the run", "its text, tags or captions are not those of the notebook"}
    assert bool(found - harmless) == (name in MARKDOWN)


def test_code_for_a_browser_is_refused_whatever_it_does(book: Project) -> None:
    for kind in ("application/javascript", "text/javascript", "application/ecmascript"):
        notebook = executed(book)
        shown(**{kind: "1 + 1"})(notebook)
        assert kind in str(check_page(notebook, page.read(book.source("one")), "one"))


@pytest.mark.parametrize("text", PROGRESS + NO_PROGRESS)
def test_progress(book: Project, text: str) -> None:
    assert bool(traces.progress(text)) == (text in PROGRESS)
    notebook = executed(book)
    printed(text)(notebook)
    problems = check_page(notebook, page.read(book.source("one")), "one")
    assert ("progress bar" in str(problems)) == (text in PROGRESS)


@pytest.mark.parametrize("text", PATHS + NO_PATHS)
def test_paths_of_a_machine(book: Project, text: str) -> None:
    assert bool(traces.machine_path(text, math=True)) == (text in PATHS)
    notebook = source()
    replaced("prose", "The gap", f"{text} and\n\nthe gap")(notebook)
    found = "path of somebody" in str(check_source(notebook, "one"))
    assert found == (text in PATHS)


def test_the_folders_of_this_machine_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, link = tmp_path / "odd place" / "book", tmp_path / "ways" / "to it"
    real.mkdir(parents=True)
    link.parent.mkdir()
    link.symlink_to(real)
    for folder in (link, real):
        spelled = str(folder).replace("/tmp/", "/zz/")  # as if it were no place that is known by its name
        monkeypatch.setattr(traces, "_folders", lambda root, spelled=spelled: (spelled,))
        assert traces.machine_path(f"see {spelled}/a.txt", folder) == spelled
        assert traces.machine_path(f"see {spelled}s/a.txt", folder) is None
    monkeypatch.undo()
    found = traces._folders(str(link))
    assert {str(link), str(real), tempfile.gettempdir(), sys.prefix} <= {*found, "/tmp"}
    book = project(tmp_path / "here" / "book", "one")
    notebook = executed(book)
    printed(f"from {book.root}")(notebook)
    assert str(book.root) in str(check_page(notebook, page.read(book.source("one")), "one", book))


# --- figures and widgets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "alt, caption, echo",
    [
        (ALT, ALT, True),
        (ALT, f"{ALT} Zero seeds.", True),
        (ALT, ALT.replace("grows", "GREW").replace(":", ","), True),
        (f"{ALT} Yes.", ALT, True),
        (ALT, "Error over time.", False),
        (ALT, "The error of one line over time.", False),
        (ALT, "", False),
    ],
)
def test_alt_text_says_more_than_the_caption(book: Project, alt: str, caption: str, echo: bool) -> None:
    notebook = executed(book)
    figure(notebook)["figure"]["caption"], figure(notebook)["image"]["alt"] = caption, alt
    problems = check_page(notebook, page.read(book.source("one")), "one")
    assert ("only repeats the caption" in str(problems)) == echo


def widget(view: str | None, *models: str, value: str = "a") -> Callable[[Any], None]:
    def change(notebook: Any) -> None:
        if view is not None:
            data = {"application/vnd.jupyter.widget-view+json": {"model_id": view}, "text/plain": "slider"}
            cell(notebook, "solve-a").outputs.append(new_output("display_data", data))
        state = {model: {"model_name": "HTMLModel", "state": {"value": value}} for model in models}
        notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": state}} if models else {}

    return change


@pytest.mark.parametrize(
    "change, complaint",
    [
        (widget("a"), "without its state"),
        (widget("a", "b"), "without its state"),
        (widget(None, "a"), "that no cell shows"),
        (widget("a", "a", value="<img src='https://example.org/x'>"), "elsewhere"),
        (widget("a", "a", value="https://example.org/x.png"), "elsewhere"),
        (widget("a", "a", value="<b onclick=x()>"), "runs"),
        (widget("a", "a", value="/home/jane/x"), "/home/jane"),
        (widget("a", "a", "b", value="<b>a</b>"), ""),
        (widget("a", "a", value="noise: strong"), ""),
        (widget(None), ""),
    ],
)
def test_widgets_come_with_their_state(book: Project, change: Any, complaint: str) -> None:
    notebook = executed(book)
    change(notebook)
    problems = check_page(stamped(notebook, book), page.read(book.source("one")), "one")
    found = [str(problem) for problem in problems if "its text, tags or captions" not in str(problem)]
    assert any(complaint in problem for problem in found) if complaint else found == [], found


# --- numerals -----------------------------------------------------------------------------------------------------


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

Figures 3, 4 and 5, Eqs. (3) and (4), Table 3.1, Python 3.11, pages 3-5, x² and R², two per cent, three times as large,
{eq}`eq-1`, {math}`x = 1`, an essay of 2024. `` a ` 3 ``

:::{math}
:label: eq-13
a = 4
:::
"""


@pytest.mark.parametrize("text", [
    "as shown (Ho, 2020)", "by Ho et al., 2020, too", "Song et al. (2021a) say",
    "(Ho & Salimans, 2021; Song et al., 2020b)",
    "in June 2020 we", "12 June 2020", "see appendix A.2", "line 3 to 5", "§3", "§§ 3.1–3.4", "Lecture 4", "Week 3",
    "Question 1", "Task 3", "Listing 2", "Vol. 3", "PyTorch 2.6", "CUDA 12", "with Python 3.11.", "a 64-bit float",
    "[Ho, 2020]", "Ho (2020, 2021)",
    "appendices A.1 and A.2", "Python 3.11 and 3.12", "Assumption 2", "Nichol et al. [2021]", "(De Bortoli, 2021)",
    "(Ho, Jain & Abbeel, 2020)", "(Ho, Jain, and Abbeel, 2020)", "(see van den Oord et al., 2016)", "FID-50k",
    "CIFAR10, SHA256, T7, min-SNR-5", r"$x \sim p_0$, $a\times 3$",
])  # fmt: skip
def test_pointers_citations_and_versions(text: str) -> None:
    assert numerals(text) == []


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
        ("The gap is $0.31$.", ["$0.31$"]),
        (r"$\mathbf{0.31}$, $0.31\,\text{nats}$, $0{.}31$", [r"$\mathbf{0.31}$", r"$0.31\,\text{nats}$", "$0{.}31$"]),
        (r"$0.31 \pm 0.02$ and {math}`0.31`", [r"$0.31 \pm 0.02$", "$0.31$"]),
        ("significant (p 0.03), see p. 31 and p 3.5", ["0.03", "3.5"]),
        ("falls by 2000. And\n2000. Then of 1999, from 2001", ["2000", "2000", "1999", "2001"]),
        ("Table 0.31, step 0.5, part 31 %", ["0.31", "0.5", "31 %"]),
        ("In Figure 3, 12 runs fail", ["12"]),
        ("loss/0.31, gap-0.31, gap:0.31, gap_0.31, gap=0.31, x0.31", ["0.31", "-0.31", "0.31", "0.31", "0.31", "0.31"]),
        ("½ of it, 3½, the Ⅳ, ① and ²", ["½", "3½", "Ⅳ", "①", "²"]),
        ("٣ of ０.３１", ["٣", "０.３１"]),
        ("&#48;.&#51;&#49; or &#x33;", ["0.31", "3"]),
        ("a <0.31 and> b, <b title='7 %'>b</b>", ["0.31", "7 %"]),
        ('[a](b9 "gap 0.31"), {ref}`the 0.31 gap <sec-1>`', ["0.31", "0.31"]),
        ("```{figure} a9.png\n:alt: gap 0.31\n:width: 100\n```", ["0.31"]),
        (":Gap: 0.31", ["0.31"]),
        ("a ` b\n\nThe error was 0.31 ` c", ["0.31"]),
        ("costs $5 a\n\n 0.31 $x$", ["5", "0.31"]),
        ("1. One\n2. Two\n\nText\n31. of them", ["31"]),
        (
            "twelve per cent, thirty-one per cent, zero point three one",
            ["twelve per cent", "thirty-one per cent", "zero point three one"],
        ),
        (r"$\approx\,0.31$, $\approx{0.31}$", [r"\approx\,0.31", r"\approx{0.31"]),
        (r"$\approx \mathbf{0.31}$, $≈ 0.31$", [r"\approx \mathbf{0.31", "≈ 0.31"]),
        (r"$\asymp 0.31$, $\cong 0.31$", [r"\asymp 0.31", r"\cong 0.31"]),
        (r"$\simeq .31$, $2.5\times{}$", [r"\simeq .31", r"2.5\times{}"]),
        ("an FID32, MSE31, FID-32", ["32", "31", "-32"]),
        ("PyTorch 2.6 times faster, CUDA 12 ms, PyTorch 31 %", ["2.6", "12", "31 %"]),
        ("Appendix 0.31, §31 %, 64 bits, (to 2020)", ["0.31", "31 %", "64", "2020"]),
        ("twenty times as large, a hundred per cent", ["twenty times as", "a hundred per cent"]),
    ],
)
def test_numerals_that_may_not(text: str, found: list[str]) -> None:
    assert numerals(text) == found


def test_a_formula_may_be_a_constant_of_the_chapter() -> None:
    assert numerals("modes of width $0.2$, up to $10$ or $1,000$", known=[0.2, 10.0, 1000]) == []
    assert numerals("modes of width $0.2$", known=[0.3]) == ["$0.2$"]
    notebook = source()
    replaced("prose", "The gap", "At size $3$, the gap")(notebook)
    assert check_source(notebook, "one") == []
    replaced("prose", "$3$", "$4$")(notebook)
    assert "'$4$'" in str(check_source(notebook, "one"))


NOTE = "\n\n```{note}\n:class: a-1\nText\n```\n\n"
PIECES = ["Plain words.", "`code 1`", "$x_1 + 2$", "{eq}`eq-1`", NOTE, "\n\n$$\nx = 3\n$$\n\n", "\n\n```\n4\n```\n\n"]


@given(st.lists(st.sampled_from(PIECES), max_size=6), st.lists(st.sampled_from(PIECES), max_size=6))
def test_a_numeral_is_found_wherever_it_stands(before: list[str], after: list[str]) -> None:
    assert numerals(" ".join([*before, "the error was 0.31", *after])) == ["0.31"]


# --- time ---------------------------------------------------------------------------------------------------------

SEEDS = [
    "1",
    " ",
    "`",
    "$",
    "[",
    "]",
    "(",
    "](",
    "{",
    "```\n",
    ":::\n",
    "```{note}\n",
    ":::{math}\n",
    "\\begin{a}",
    "step 1 , ",
    "step 1, ",
    "Figures 3, ",
    "in 2",
    "<",
    "<a ",
    "<!--",
    "-->",
    "&#1;",
    "\n",
    "\n\n",
    "a",
    "a-",
    "a.",
    "½",
    "²",
    "$$",
    "\\$",
    "`` ` ",
    "\\approx ",
    "1\\,",
    "#",
    ">",
    ":a:",
    "(a)=",
    "![",
    "![a][",
    "[a]:",
    "1,",
    "1e",
    "%",
    "twenty ",
    "two point one ",
    "{a}`b`",
    "~",
    "-",
    "steps 1 and ",
    "\r",
    '<a b="',
    "<a b='\"",
    "</",
    "<!",
    "<script>",
    "<style>",
    "<![CDATA[",
    "/*",
    "url(",
    '"',
    "\\",
    '<img srcset="a,',
    "=",
    "https:",
    "//",
    "@import",
    "fetch(",
    "/home/",
    "~a",
    "\\\\a",
    "a:",
    "[=",
    "|",
    "█",
    "━",
    "⠋",
    "x/",
    "class='",
    "epoch ",
    "1/1 ",
    "file:/",
    "show(",
    "{glue}`",
    "{solution-start}",
    "{exercise}\n:a:",
    "step 1" + " , " * 16,
    "'",
    "c:\\",
    "é",
    "½1",
    "{on",
    "\\href{",
    "A",
    "Ho ",
    "(Ho, ",
    "de ",
    "A.1, ",
    "appendix A.1 and ",
    "Python 3.1 and ",
    "§3-",
    "May 2020, ",
    "$\\approx{",
    "$1\\times ",
    "FID-1",
    "epoch 1/1 ",
    "1/1 1 s/",
    "%|  ",
]
GATES = {
    "numerals": numerals, "foreign": lambda text: [*prose.foreign(text)], "without_code": prose.without_code,
    "Document": web.Document, "style_loads": web.style_loads, "script_loads": lambda text: web.script_loads(text, True),
    "markdown": lambda text: [*web.markdown_addresses(text)], "progress": traces.progress,
    "machine_path": lambda text: traces.machine_path(text, math=True),
}  # fmt: skip


def seconds(gate: Callable[[str], Any], text: str) -> float:
    gc.disable()  # the collector's time grows with what other tests have left in memory
    try:
        start = time.process_time()
        gate(text)
        return time.process_time() - start
    finally:
        gc.enable()


@pytest.mark.parametrize("name", GATES)
def test_time_grows_with_the_length_and_no_faster(name: str) -> None:
    """Eight times the text takes eight times the time, not sixty-four: what is repeated may be anything."""
    slow = {}
    for seed in SEEDS:
        short, long = (seconds(GATES[name], seed * (length // len(seed) + 1)) for length in (2_000, 16_000))
        if long > 24 * short + 0.05:
            slow[seed] = short, long
    assert not slow


@given(st.lists(st.sampled_from(SEEDS), min_size=1, max_size=4))
def test_time_of_mixed_repeats(seeds: list[str]) -> None:
    text = "".join(seeds)
    text *= 6_000 // len(text) + 1
    for name, gate in GATES.items():
        assert seconds(gate, text) < 1.0, name


@pytest.mark.parametrize(
    "seed", ["1", "%|", "`", "<", "show(", "\n", "{solution-start}", "1 %", "[=", "(a)=\n", ":label: a\n"]
)
def test_time_of_a_whole_page(book: Project, seed: str) -> None:
    chapter = page.read(book.source("one"))

    def whole(text: str) -> None:
        notebook = executed(book)
        printed(text)(notebook)
        shown(text_html=text)(notebook)
        check_page(notebook, chapter, "one")
        notebook = source()
        cell(notebook, "prose").source += text
        check_source(notebook, "one")

    short, long = (seconds(whole, seed * (length // len(seed))) for length in (10_000, 80_000))
    assert long < 24 * short + 0.1, (short, long)


def chain(first: str, step: str, last: str, reverse: bool = False) -> Callable[[int], str]:
    def code(length: int) -> str:
        steps = [first, *(step.format(a=f"a{i}", b=f"a{i + 1}") for i in range(length))]
        return "\n".join([*(reversed(steps) if reverse else steps), last.format(a=f"a{length}")])

    return code


def conduct_all(code: str) -> None:
    [*conduct.shown_numerals(code)]
    [*conduct.typed_values([(0, code)])]
    conduct.writes(code)
    conduct.changes(code, {"size"})


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("step", ["{b} = {a} + {a}", "{b} = f'{{{a}}}{{{a}}}'", "{b} = {a} if {a} else 'x' + {a}",
                                  "{b} = 2 * {a}", "a0 = {a} / a0", "f(caption={a} + '1')"])  # fmt: skip
def test_time_of_chains_of_names(step: str, reverse: bool) -> None:
    code = chain("a0 = '0.31'", step, "f(caption={a})\nglue(x={a})\nopen({a}, 'w')\nexec({a})", reverse)
    short, long = (seconds(conduct_all, code(length)) for length in (100, 800))
    assert long < 24 * short + 0.3, (short, long)


def test_what_a_chain_of_names_says() -> None:
    assert {*conduct.shown_numerals("a0 = '0.31 '\na1 = a0 + a0\na2 = a1 + a1\nf(caption=a2)")} == {("caption", "0.31")}
    code = chain("a0 = 0.31", "{b} = {a}", "glue(x={a})", reverse=True)(300)
    assert [*conduct.typed_values([(0, code)])] == [(0, "x", "a300")]
    assert [*conduct.typed_values([(0, f"{code}\nprint(a0)")])] == []


@pytest.mark.parametrize("seed", ["'", '"', "\\\\\"", "[[", "((", "> ", "a;", "# ", "$(", "rm -", "2>&1 "])
def test_time_of_shell_code(seed: str) -> None:
    short, long = (seconds(shell_writes, seed * length) for length in (1_000, 8_000))
    assert long < 24 * short + 0.05


def test_three_hundred_thousand_digits_take_no_time() -> None:
    assert seconds(traces.progress, "1" * 300_000) < 1
    assert seconds(numerals, "step 1" + " , " * 100_000) < 2


def test_every_chapter_of_the_book_passes() -> None:
    book = Project(Path(__file__).resolve().parents[1])
    for name in book.chapters():
        chapter, done = page.read(book.source(name)), page.read(book.published(name))
        assert check_source(chapter, name, book) == []
        stale = ("edited after the run", "its code is not", "its text, tags")
        problems = [str(problem) for problem in check_page(done, chapter, name)]
        assert [problem for problem in problems if not any(words in problem for words in stale)] == []


def test_what_is_no_fence_hides_nothing() -> None:
    assert numerals("```a`b\n\nthe error was 0.31\n\n```a`b") == ["0.31"]


@pytest.mark.parametrize(
    "code, says_something",
    [
        ("assert size", True), ("print(size)", True), ("for i in range(3): assert size", True), ("size", True),
        ("if size: print(size)", True), ("try:\n    assert size\nexcept ValueError as e:\n    print(e)", True),
        ("for _ in []: assert size", False), ("if False: print(size)", False), ("assert size or True", False),
        ("try:\n    assert size\nexcept Exception:\n    pass", False), ("check = lambda: size", False),
        ("while 0: assert size", False),
    ],
)  # fmt: skip
def test_a_solution_that_can_say_nothing_is_idle(code: str, says_something: bool) -> None:
    assert conduct.idle([code]) != says_something


@pytest.mark.parametrize("code, typed", [
    ("glue(gap=max(0.31, 0.2))", True), ("glue(gap=sum([0.31]))", True), ("x, y = 0.31, 2\nglue(gap=x)", True),
    ("glue(gap=max(found))", False), ("x, y = measure(), 2\nglue(gap=x)", False),
])  # fmt: skip
def test_values_that_were_typed_by_another_way(code: str, typed: bool) -> None:
    assert bool([*conduct.typed_values([(0, code)])]) == typed


STATING = [r"3.1\cdot10^{-3}", r"1.2\times 10^{-3}", "< 0.012", "=0.31", "0.31/2", "[0.31, 0.42]", r"0.31\ldots",
           r"\boxed{0.31}", "0.31^{+0.02}_{-0.01}"]  # fmt: skip


@pytest.mark.parametrize("formula", STATING)
def test_a_formula_without_letters_states_a_result(formula: str) -> None:
    assert numerals(f"It is ${formula}$.") == [f"${formula}$"]
    assert numerals(f"It is ${formula}$.", known=[3.1, 1.2, 0.012, 0.31, 0.42, 0.02, 0.01]) == []


@pytest.mark.parametrize("formula", ["10^{-3}", "[0, 1]", "1/2", "2\\pi", "0.5 x", "x_{0.5}", r"\tfrac12", "t = 0.5"])
def test_formulas_of_the_theory_may_stand(formula: str) -> None:
    assert numerals(f"It is ${formula}$.") == []
