"""What a reader looks up: symbols, terms and equations are written once, and name what there is."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from sites import built

from diffnotes.press import reference
from diffnotes.press.errors import PressError

ROOT = Path(__file__).parents[1]
FOUND = reference.notation(ROOT / reference.NOTATION)
ROWS = [row for group in FOUND["groups"] for row in group["rows"]]
EQUATIONS = reference.equations(ROOT / reference.EQUATIONS)
CHAPTERS = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}


def prose(path: Path) -> list[str]:
    cells = json.loads(path.read_text(encoding="utf8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]


def importable(name: str) -> Any:
    """What a name of the package stands for: of ``diffnotes`` itself, or of one of its modules."""
    parts = name.split(".")
    for count in range(len(parts), -1, -1):
        try:
            found = importlib.import_module(".".join(["diffnotes", *parts[:count]]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            own = {**getattr(found, "__annotations__", {}), **getattr(found, "__dataclass_fields__", {})}
            if inspect.isclass(found):  # what a class gives its instances when it makes them
                own |= dict.fromkeys(re.findall(r"\bself\.(\w+)(?=[^=\n]*\s=\s)", inspect.getsource(found)), found)
            found = own[part] if part in own else getattr(found, part)
        return found
    raise AssertionError(name)


# Symbols and terms


def test_every_name_in_the_notation_is_one_of_the_package() -> None:
    names = [name for row in ROWS for name in row["where"]]
    assert len(names) > 40
    for name in names:
        assert importable(name) is not None
    with pytest.raises(AttributeError):
        importable("chapters.sequence.gapp")


def test_symbols_have_anchors_of_their_own() -> None:
    ids = [reference.symbol_id(row["symbol"]) for row in ROWS]
    assert len(ids) == len(set(ids)) and all(re.fullmatch(r"symbol-[a-z\d-]+", one) for one in ids)
    page = (built() / "book/notation.html").read_text(encoding="utf8")
    assert not [one for one in ids if f'id="{one}"' not in page]


def test_scopes_are_chapters() -> None:
    assert {name for row in ROWS for name in row["only"]} | FOUND["local"].keys() <= CHAPTERS.keys()


GOOD: dict[str, Any] = {"groups": [{"title": "A", "rows": [{"symbol": "x", "meaning": "a point"}]}],
                        "terms": {"score": "A gradient."}}  # fmt: skip


@pytest.mark.parametrize(("change", "complaint"), [
    ({}, None),
    ({"symbols": []}, "its keys"),
    ({"groups": [{"rows": []}]}, "group"),
    ({"groups": [{"title": "A", "rows": [{"symbol": "x"}]}]}, "row"),
    ({"groups": [{"title": "A", "rows": [{"symbol": "x", "meaning": "m", "were": []}]}]}, "row"),
    ({"groups": [{"title": "A", "rows": [{"symbol": "x", "meaning": "m", "where": "f"}]}]}, "lists"),
    ({"terms": {"score": ""}}, "term 'score'"),
    ({"terms": {"score": "```\nx\n```"}}, "term 'score'"),
    ({"search": [{"words": ["x"]}]}, "search"),
    ({"search": [{"words": ["x"], "term": "no such"}]}, "search"),
])  # fmt: skip
def test_a_fault_in_the_notation_is_named(change: dict[str, Any], complaint: str | None, tmp_path: Path) -> None:
    path = tmp_path / "notation.yml"
    path.write_text(yaml.safe_dump({**GOOD, **change}))
    if complaint is None:
        assert reference.notation(path)["groups"][0]["rows"][0]["code"] == ""
    else:
        with pytest.raises(PressError, match=complaint):
            reference.notation(path)


def test_words_of_readers_lead_to_places_that_exist() -> None:
    """A symptom may have two places, one on the page about diagnosis and one in a chapter; else a word has one."""
    pages = {path.relative_to(ROOT).with_suffix("").as_posix(): path for path in (ROOT / "book").rglob("*.md")}
    told = [path.read_text(encoding="utf8") for path in pages.values()]
    text = "\n".join([*told, *(cell for path in CHAPTERS.values() for cell in prose(path))])
    labels = {"slides", "cite", *pages, *re.findall(r"^\((.+)\)=$", text, re.M)}
    symptoms = set(re.findall(r"^\((.+)\)=$", (ROOT / "book/diagnose.md").read_text(encoding="utf8"), re.M))
    assert {entry["at"] for entry in FOUND["search"] if "at" in entry} <= labels
    for own in (True, False):
        words = [word.lower() for entry in FOUND["search"] if (entry.get("at") in symptoms) is own
                 for word in entry["words"]]  # fmt: skip
        assert words and len(words) == len(set(words)), "one question has two answers of one kind"


def test_what_has_no_place_is_not_offered() -> None:
    claims = [{"id": "C1", "statement": "It grows."}, {"id": "C2", "statement": "It falls."}]
    found = {**FOUND, "search": [{"at": "sec-a", "words": ["one"]}, {"at": "sec-b", "words": ["two"]}]}
    rows = reference.entries(found, claims, {"sec-a": ("book/a", "sec-a", "A"), "ledger-c1": ("book/claims", "c1", "")})
    assert rows[:2] == [[["C1"], "C1: It grows.", "claim", "book/claims", "c1"],
                        [["C2"], "C2: It falls.", "claim", "book/claims", ""]]  # fmt: skip
    assert [row for row in rows if row[2] == "section"] == [[["one"], "A", "section", "book/a", "sec-a"]]
    assert {row[1] for row in rows if row[2] == "glossary"} == FOUND["terms"].keys()
    notation = [row for row in rows if row[2] == "notation"]
    assert len(notation) == len(ROWS) and all(row[0] for row in notation)


# The lint of symbols

TABLES: dict[str, Any] = {
    "macros": {"abar": r"\bar\alpha", "norm": [r"\|#1\|", 1]},
    "terms": {}, "search": [], "local": {"one": {"W": "Brownian motion"}},
    "groups": [{"rows": [
        {"symbol": r"\alpha,\; \sigma", "meaning": "signal and noise factor", "only": []},
        {"symbol": r"\abar_t = \prod_s (1 - \beta_s)", "meaning": "signal power", "only": []},
        {"symbol": "x_t", "meaning": "the noised point", "only": []},
        {"symbol": "K", "meaning": "steps of a window", "only": ["two"]},
        {"symbol": r"\alpha \in [0, 1]", "meaning": "fresh fraction", "only": ["two"]},
    ]}],
}  # fmt: skip


@pytest.mark.parametrize(("text", "missing"), [
    (r"So $x_t=\alpha y$.", ["y"]),
    (r"Here $\abar_{t-1}$ and $\hat x_s$.", ["hat x"]),
    (r"It grows as $\Xi^2$.", ["Xi"]),
    ("and\n\n$$\nx_t+\\mathrm{TID}\n$$", ["TID"]),
    (r"Let $y$ be a point, so $x_t=\alpha y$.", []),
    (r"So $x_t=\alpha y$, where $y$ is a point.", []),
    (r"So $x_t=\alpha y$ for the point $y$.", []),
    (r"With $y=\sigma/\alpha$ it is $y^2+\beta_t$.", []),
    (r"For independent $X\sim p$ and $h\in[0,1]$ it is $X+h+p$.", ["p"]),
    (r"The path is $\mathrm dx=\mathrm dW$, with $\mathrm e^{-x}$ and $\text{words}$.", ["x", "words"][:0]),
    ("Code `$q$` and\n\n```python\n'$q$'\n```\n", []),
    (r"Costs \$5 and $\sum_{i<n}i$.", []),
])  # fmt: skip
def test_a_symbol_that_nothing_explains(text: str, missing: list[str]) -> None:
    assert [symbol for _, symbol in reference.undefined([text], TABLES, "one")] == missing


def test_what_one_chapter_explains_is_not_explained_in_another() -> None:
    assert reference.undefined(["$x_t$", "$K$ and $W$"], TABLES, "one") == [(1, "K")]
    assert reference.undefined(["$x_t$", "$K$ and $W$"], TABLES, "two") == [(1, "W")]


@pytest.mark.parametrize(("text", "chapter", "count"), [
    (r"Let $\alpha$ be the level of a test.", "one", 1),
    (r"Write $\sigma$ for a permutation.", "one", 1),
    (r"Let $\alpha$ be the signal factor.", "one", 0),
    (r"Let $\alpha$ be constant.", "one", 0),
    (r"Let $x_0$ be a clean point.", "one", 0),  # x_t is another
    (r"Let $x_s$ be a clean day.", "one", 1),  # and this is the same
    (r"Let $\alpha$ be the fresh fraction.", "two", 0),
    (r"Let $\alpha$ be the signal factor.", "two", 1),
])  # fmt: skip
def test_a_symbol_with_two_meanings(text: str, chapter: str, count: int) -> None:
    assert len(reference.clashes([text], TABLES, chapter)) == count


def test_two_rows_of_one_symbol_clash_where_it_is_used() -> None:
    rows = [*TABLES["groups"][0]["rows"], {"symbol": r"\sigma", "meaning": "a logistic curve", "only": []}]
    twice = {**TABLES, "groups": [{"rows": rows}]}
    assert len(reference.clashes([r"$\sigma$"], twice, "one")) == 1 and not reference.clashes(["$x_t$"], twice, "one")
    local = {**TABLES, "local": {"two": {"K": "a kernel"}}}
    assert len(reference.clashes(["$K$"], local, "two")) == 1 and not reference.clashes(["$K$"], local, "one")


def test_the_gate_names_the_cell() -> None:
    import nbformat

    from diffnotes.press.gates import check_source
    from diffnotes.press.layout import Project

    notebook = nbformat.read(CHAPTERS["targets"], 4)
    assert check_source(notebook, "targets", Project(ROOT)) == []
    notebook.cells.append(nbformat.v4.new_markdown_cell(r"So $\Xi$. Let $\sigma$ be a permutation."))
    found = [str(problem) for problem in check_source(notebook, "targets", Project(ROOT))]
    assert len(found) == 2 and all(f"cell {len(notebook.cells)}" in one for one in found)
    assert "'Xi' is not explained" in found[0] and "two meanings, sigma" in found[1]
    assert check_source(notebook, "targets") == []


# Equations


def test_every_labelled_equation_has_its_function_and_its_test_or_a_reason() -> None:
    labels = [label for path in CHAPTERS.values() for cell in prose(path) for label, _ in reference.labelled(cell)]
    cells = [cell for path in CHAPTERS.values() for cell in prose(path)]
    written = [label for cell in cells for label in re.findall(r"\((eq-[\w-]+)\)|:label: (eq-[\w-]+)", cell)]
    assert labels == [one or other for one, other in written], "an equation in a form that the table does not know"
    assert len(labels) >= 21
    assert sorted(labels) == sorted(EQUATIONS)


@pytest.mark.parametrize("label", EQUATIONS)
def test_an_equation_names_functions_and_tests_that_exist(label: str) -> None:
    entry = EQUATIONS[label]
    for name in entry["code"]:
        assert importable(name) is not None
    for test in entry["test"]:
        file, name = test.split("::")
        assert re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf8"), re.M), test


@pytest.mark.parametrize("entry", [
    {}, {"code": ["ansd"]}, {"code": "ansd", "test": ["a::b"]}, {"code": ["ansd"], "test": ["a::b"], "why": "so"},
    {"why": "so", "tests": ["a::b"]},
])  # fmt: skip
def test_a_fault_in_the_equations_is_named(entry: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "equations.yml"
    path.write_text(yaml.safe_dump({"eq-a-b": entry}))
    with pytest.raises(PressError, match="eq-a-b"):
        reference.equations(path)


def test_what_is_not_listed_says_so(tmp_path: Path) -> None:
    import nbformat

    text = "# A title\n\n$$\n\\|x\\|\\le|y| .\n$$ (eq-a-b)\n\n$$x=y,\\qquad y=z$$ (eq-a-c)"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)]), tmp_path / "a.ipynb")
    known = {"eq-a-c": {"code": ["ansd"], "test": ["a.py::b", "a.py::c"], "why": ""}}
    lines = reference.equations_markdown([tmp_path / "a.ipynb"], known).splitlines()
    assert lines[:4] == ["## A title", "", r"{eq}`eq-a-b` $\displaystyle \|x\|\le|y|$", ": It is not listed yet."]
    assert r"`eq-a-c` $\displaystyle x=y,\quad$ $\displaystyle  y=z$" in lines[-3]  # a line may end between the two
    assert lines[-2:] == [": Computed by `ansd`.", ": Checked by `a.py::b`, `a.py::c`."]


# Cards

PAGE = """<dl class="glossary"><dt id="term-a">an <em>a</em><a class="headerlink" href="#term-a">#</a></dt>
<dt id="term-b">b</dt><dd><p>One, see <a class="reference internal" href="#term-c">c</a>.</p>
<dl><dd>in</dd></dl></dd></dl>
<figure class="x" id="fig-a"><a href="../i/a.png"><img alt="A &lt; B." src="../i/a.png"/></a><figcaption>
<p><span class="caption-number">Fig. 1 </span>Words.<a class="headerlink" href="#fig-a">#</a></p></figcaption></figure>
<div class="math" id="equation-a"><span class="eqno">(1)<a class="headerlink" href="#e">#</a></span>\\[x\\]</div>
<div class="verdict verdict-holds admonition" id="claim-c1"><p class="admonition-title">C1 holds</p><p>It grows.</p>
<div><p>More.</p></div></div>
<div class="proof theorem admonition" id="thm-a"><p class="admonition-title">Theorem 1</p>
<section class="theorem-content" id="proof-content"><p>Let.</p><div><section id="s"></section></div></section></div>
<div class="citation" id="id1"><span class="label">[<a>A</a>]</span><p>Somebody. <a href="https://x.org">doi</a></p></div>
<section id="sec"><h2>A</h2></section>"""


@pytest.mark.parametrize(("anchor", "kind", "shown"), [
    ("term-a", "term", '<p class="card-title">an <em>a</em></p><p>One, see <span>c</span>.</p>\n<dl><dd>in</dd></dl>'),
    ("term-b", "term", '<p class="card-title">b</p><p>One, see <span>c</span>.</p>\n<dl><dd>in</dd></dl>'),
    ("fig-a", "figure",
     '<img alt="A &lt; B." src="../i/a.png"/><p><span class="caption-number">Fig. 1 </span>Words.</p>'),
    ("equation-a", "equation", '<div class="math"><span class="eqno">(1)</span>\\[x\\]</div>'),
    ("claim-c1", "claim", '<p class="card-title">C1 holds</p><p>It grows.</p>'),
    ("thm-a", "theorem", '<p class="card-title">Theorem 1</p><p>Let.</p><div><section></section></div>'),
    ("id1", "citation", "<p>Somebody. <span>doi</span></p>"),
    ("sec", "", ""),
    ("nothing", "", ""),
])  # fmt: skip
def test_the_card_of_each_kind(anchor: str, kind: str, shown: str) -> None:
    assert reference.card(PAGE, anchor) == (kind, shown)


def test_a_page_has_one_template_for_each_place_elsewhere() -> None:
    link = '<a class="reference internal" href="{}">x</a>'
    other = "b/other.html#fig-a"
    places = (other, other, "b/other.html#sec", "lost.html#fig-a", "#fig-a", "a.html#fig-a")
    text = "<body>" + "".join(map(link.format, places)) + "</body></html>"
    pages = {"book/b/other.html": PAGE, "book/a.html": PAGE}
    made = reference.with_cards("book/a.html", text, pages.get)
    assert re.findall(r'<template[^>]*data-for="([^"]*)" data-kind="(\w+)"', made) == [(other, "figure")]
    assert 'src="i/a.png"' in made and made.endswith("</template>\n</body></html>")
    assert reference.with_cards("book/a.html", "<body>" + link.format("#fig-a"), pages.get).count("template") == 0
