"""Gates: what a notebook and its executed page must satisfy before a reader sees them.

:func:`check_source` looks at ``notebooks/NAME.ipynb``, :func:`check_page` at an executed page, :func:`check_across` at
all pages together. Each returns a list of :class:`Problem`; an empty list is green. All take time in proportion to the
length of what they look at.

**Numerals in prose** (:func:`numerals`). A number that states a result must come from the run, through {glue}. So no
numeral may stand in prose, be it of digits of any script, a fraction or Roman sign (½, Ⅳ) or an entity, except

* in code, roles (their titles are prose), directive options (but alt and caption), addresses of links, HTML tags (but
  their titles), labels, and numbering at the start of a heading or list item;
* in words that start with a letter (T7, x0, R², min-SNR-5; not loss/0.31, gap-0.31, gap:0.31), in dimensions (2-D), in
  widths (64-bit); the name of a measure with a number behind it is none (FID32);
* after a word that points somewhere: after figure, section, §, equation, theorem, exercise, version, ... a number like
  3 or 3.1 (or A.2), a range, and a list of them after a plural; after objective, source, part, step, row, page,
  lecture, week, question, ... a whole number; after the name of a program (PyTorch 2.6), no unit following;
* as a year after in, since, until, or "paper of" and the like, before punctuation or a capital, or in parentheses;
  behind a month; behind "et al.", or in parentheses behind a name (Ho, 2020), with a letter if need be (2020a);
* in mathematics, which is for constants of the theory: there, digits are a result if they follow an approximate sign
  or are followed by a per-cent sign, or by a final multiplication sign, or if a formula is nothing but a number (with
  sign, error, unit), or has no letters and a number with a decimal point, that is no constant of the chapter: one that
  stands in its code or in the claims it decides.

Numbers in words are for counts and comparisons (two networks, within two per cent, three times as large); above ten
with per cent or "times as", and with a decimal point, they are results like any other.

**Symbols**, held against the notation of the book (:mod:`.reference.lint` has the rule): a symbol in a formula is in
the tables of ``book/notation.yml``, or the chapter says what it is; and it means one thing in the chapter.

**Captions, text alternatives, glued values** are held to the same: nothing in them is typed. In a text alternative a
constant of the chapter or a power of ten may stand (1e-7, which is $10^{-7}$ where there are no formulas).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import conduct, ledger, page, provenance, reference, traces
from .layout import Project
from .parameters import parameters, plain, values
from .prose import foreign, numerals, page_faults, without_code
from .web import Document, elsewhere

__all__ = ["Problem", "check_across", "check_page", "check_source", "numerals"]

LIMIT = 1_500_000  # characters of a page
PROGRESS_BARS = re.compile(
    r"^[ \t]*+(?:from|import)\b[^\n#]*\b(tqdm|progressbar2?|alive_progress|enlighten|rich\.progress)\b", re.M
)
TREND = re.compile(
    r"\d|\b(?:rise|fall|grow|drop|shrink|increas|decreas|declin|climb|peak|diverg|converg|vanish|approach|exceed|cross|"
    r"merge|split|spread|gather|stay|remain|keep|lie|follow|coincide|agree|differ|flat|constant|steep|above|below|larger|"
    r"smaller|higher|lower|wider|narrow|faster|slower|more|fewer|less|equal|same|end|symmetric)",
    re.I,
)


@dataclass(frozen=True)
class Problem:
    """Something a gate refuses: where it is (chapter, then cell), what it is, and what to do about it."""

    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.remedy}."


Found = Iterator[tuple[int | None, str, str]]


def _problems(name: str, notebook: Any, found: Found) -> list[Problem]:
    places: dict[int | None, str] = {None: name}

    def where(index: int | None) -> str:
        if index not in places:
            line = next((line.strip() for line in notebook.cells[index].source.splitlines() if line.strip()), "")
            places[index] = f"{name}, cell {index + 1} ({line[:40]!r})"
        return places[index]

    return [Problem(where(index), what, remedy) for index, what, remedy in found]


def check_source(notebook: Any, name: str, project: Project | None = None) -> list[Problem]:
    """Problems of the source ``notebook`` of chapter ``name``: form, required parts, prose, labels.

    With ``project`` also its symbols, held against the notation of that book.
    """
    return _problems(name, notebook, iter([*_source(notebook, name), *_symbols(notebook, name, project)]))


def _symbols(notebook: Any, name: str, project: Project | None) -> Found:
    """Symbols that nothing explains, or that mean two things in the chapter."""
    path = project and project.root / reference.NOTATION
    if path and path.is_file():
        known = reference.notation(path)
        places = [index for index, cell in enumerate(notebook.cells) if cell.cell_type == "markdown"]
        cells = [notebook.cells[index].source for index in places]
        for place, symbol in reference.undefined(cells, known, name):
            yield places[place], f"the symbol {symbol!r} is not explained", (
                f"Say beside it what it is (let, where, with), or list it in {reference.NOTATION}")
        for place, what in reference.clashes(cells, known, name):
            yield None if place is None else places[place], f"a symbol has two meanings, {what}", (
                f"Give one of them another letter, or say in {reference.NOTATION} where each holds")


def _source(notebook: Any, name: str) -> Found:
    cells = notebook.cells
    prose = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    first = cells[0].source if cells and cells[0].cell_type == "markdown" else ""
    if not re.match(r"(?:\([\w-]+\)=\s*\n)?# \S", first):
        yield None, "the first cell is not a title", "Begin with a Markdown cell '# Title'"
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield None, "the kernel is not called python3", "Set metadata.kernelspec.name to python3"
    ids = [cell.get("id") for cell in cells]
    if None in ids or len(set(ids)) < len(ids):
        yield None, "cells without an id of their own", "Save the notebook with a current Jupyter"
    settings = [i for i, cell in enumerate(cells) if "parameters" in page.tags(cell)]
    if len(settings) != 1 or "hide-input" not in page.tags(cells[settings[0]]):
        yield None, "not exactly one cell tagged parameters and hide-input", "Tag the cell with the settings so"
    elif parameters(notebook).get("profile") != "cpu":
        yield settings[0], "the parameters cell does not hold the cpu profile", "Write profile = 'cpu' there"
    known = _constants(notebook, name)
    for index, cell in enumerate(cells):
        if cell.cell_type == "code":
            if cell.outputs or cell.execution_count is not None:
                yield index, "the source has outputs or execution counts", "Clear all outputs before saving"
            if bars := PROGRESS_BARS.search(cell.source):
                yield index, f"imports {bars[1]}", "Use the package's own progress, which the book can silence"
            for what, numeral in conduct.shown_numerals(cell.source, known):
                kind = "a caption" if what == "caption" else "a text alternative"
                yield index, f"typed numeral in {kind}: {numeral!r}", "Format the value into it"
        else:
            for numeral in numerals(cell.source, known):
                yield index, f"unbound numeral in prose: {numeral!r}", "Bind it with {glue:text}; constants are $...$"
            for what, remedy in foreign(cell.source):
                yield index, what, remedy
            if re.search(r"!\[\s{0,9}\](?=[(\[])", without_code(cell.source)):
                yield index, "an image without text alternative", "Write ![what it shows](...)"
        if trace := traces.machine_path(cell.source, math=cell.cell_type == "markdown"):
            yield index, f"a path of somebody's machine: {trace}", "Use paths relative to the project"
    yield from _conduct(notebook, [i for i, cell in enumerate(cells) if cell.cell_type == "code" and i not in settings])
    for key, units in _units(prose).items():
        if len(units) > 1:
            yield None, f"the value {key!r} has several units: {', '.join(units)}", "Glue one value for each unit"
    for label in _twice(label for _, label in _labels(notebook)):
        yield None, f"duplicate label {label!r}", "Rename one of them"
    yield from _structure(cells, prose)


def _constants(notebook: Any, name: str) -> set[float]:
    """What a chapter is told: the numbers in its code, and in the statements of the sources that it decides."""
    found = conduct.constants(cell.source for cell in notebook.cells if cell.cell_type == "code")
    rows = [row for row in ledger.registry().values() if row["chapter"] == name]
    texts = json.dumps([[row["statement"], row["part"]] for row in rows], ensure_ascii=False)
    return found | {float(number) for number in re.findall(r"(?<![\w.])\d{1,9}(?:\.\d{1,9})?(?![\w])", texts)}


def _conduct(notebook: Any, indices: list[int]) -> Found:
    """What the code cells do that they must not."""
    cells = [(index, notebook.cells[index].source) for index in indices]
    known = parameters(notebook).keys()
    names = conduct.Names()
    for index, code in cells:
        for name in conduct.changes(code, known - {"device"}):  # "auto" becomes a device
            yield index, f"it changes {name}, which is set in the parameters cell", "Give the new value another name"
        for what in conduct.writes(code, names):
            yield index, f"it writes a file: {what}", "A run must leave the checkout as it is; use a buffer"
    for index, key, code in conduct.typed_values(cells, known):
        yield index, f"a typed value is glued: {key} = {code[:40]}", "Glue what the run has computed, or a parameter"


UNITS = re.compile(
    r"\{glue(?::\w*)?\}`([^`:]++)(?::[^`]*+)?`[ \t\n]{1,3}(%|(?:per cent|nats?|bits?|seconds?|s|MiB|times)\b)"
)


def _units(prose: str) -> dict[str, list[str]]:
    """Key of a glued value -> the units that the prose gives it."""
    found: dict[str, dict[str, None]] = {}
    for key, unit in UNITS.findall(prose):
        unit = {"per cent": "%", "nat": "nats", "bit": "bits", "second": "s", "seconds": "s"}.get(unit, unit)
        found.setdefault(key, {})[unit] = None
    return {key: list(units) for key, units in found.items()}


def _structure(cells: list[Any], prose: str) -> Found:
    top = "\n".join(cell.source for cell in cells[:4] if cell.cell_type == "markdown")
    if not re.search(r"learning objectives|:class:.*\bobjectives\b", top, re.I):
        yield None, "no learning objectives at the top", "Add an admonition 'Learning objectives' below the title"
    if not re.search(r"^##+ .*\bsummary\b", prose, re.I | re.M):
        yield None, "no summary", "Add a section '## Summary'"
    options = re.findall(r"\{exercise(?:-start)?\}.*\n((?:[ \t]*:[\w-]+:.*\n?)*)", prose)
    labels = [match[1] if (match := re.search(r":label:\s*(\S+)", text)) else "" for text in options]
    if not 3 <= len(labels) <= 5:
        yield None, f"{len(labels)} exercises", "A chapter has three to five, each in {exercise-start} with a :label:"
    solved = set(re.findall(r"\{solution(?:-start)?\}\s+(\S+)", prose))
    for label in labels:
        if label not in solved:
            yield None, f"exercise {label or 'without a label'} has no solution", "Add {solution-start} with its label"
    start, codes = None, []  # the cell that opened a solution, and the code in it so far
    for index, cell in enumerate(cells):
        if cell.cell_type == "code":
            codes.append(cell.source)
        for mark in re.findall(r"\{solution-(start|end)\}", cell.source if cell.cell_type == "markdown" else ""):
            if mark == "end" and start is not None and conduct.idle(codes):
                yield start, "a solution in which nothing is executed", (
                    "Check it in a code cell before {solution-end}: assert something, or show a result")
            start, codes = (index if mark == "start" else None), []


def check_page(
    notebook: Any, source: Any, name: str, project: Project | None = None, settings: dict[str, Any] | None = None
) -> list[Problem]:
    """Problems of the executed ``notebook`` of chapter ``name``, whose source is ``source``.

    With ``project`` the page must be fresh, too: what the sources would give now, run with ``settings`` (by default
    those that the page names).
    """
    found = [*_page(notebook, source, name, project.root if project else None)]
    if project is not None:
        state = provenance.freshness(notebook, project, name, settings)
        if state.state != "fresh":
            found.append((None, f"the page is stale; changed: {', '.join(state.reasons)}", f"Run diffnotes run {name}"))
    return _problems(name, notebook, iter(found))


def _page(notebook: Any, source: Any, name: str, root: Path | None = None) -> Found:
    record = provenance.record(notebook)
    again = f"Run diffnotes run {name}"
    if not record:
        yield None, "no provenance", again
    elif record.get("seal") != provenance.seal(notebook):
        yield None, "an output was edited after the run", again
    now = page.compact(notebook)
    if len(now) > LIMIT:
        yield None, f"the page has more than {LIMIT} characters", "Make figures smaller, print less"
    mine, theirs = ([cell.source for cell in page.code_cells(book)] for book in (notebook, source))
    if mine != theirs:
        yield None, "its code is not that of the notebook", again
    else:
        try:
            wanted = page.compact(page.with_prose(notebook, source))
        except ValueError as error:  # its notes are not what a run leaves
            yield None, f"it is no page of a run: {error}", again
            return
        if wanted != now:
            yield None, "its text, tags or captions are not those of the notebook", f"{again}, which keeps good results"
    if (tests := _injected(notebook)) is not None and record:
        wanted = {key: plain(value) for key, value in tests.items() if key != "device"}
        if wanted != record.get("parts", {}).get("parameters"):
            yield None, "the injected parameters are not those of its provenance", again
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if counts != list(range(1, len(counts) + 1)):
        yield None, "cells were not executed one after the other, from first to last", again
    yield from ((None, *problem) for problem in _widgets(notebook))
    if trace := traces.first(_strings(notebook.metadata), root):
        yield None, f"a path of somebody's machine in the metadata: {trace}", again
    keys = [key for _, key in _glued(notebook)]
    for what, twice in (("label", _twice(label for _, label in _labels(notebook))), ("glue key", _twice(keys))):
        for label in twice:
            yield None, f"duplicate {what} {label!r}", "Rename one of them"
    recorded = [claim["id"] for _, _, claim in page.records(notebook, "claim")]
    for claim in _twice(recorded):
        yield None, f"claim {claim} is recorded twice", "Record it once"
    rules = ledger.rules(name)
    for claim in rules.keys() - set(recorded):
        yield None, f"claim {claim} belongs to this chapter and is not recorded", "Call ledger.record for it"
    for claim in sorted(set(recorded) - rules.keys()):
        yield None, f"claim {claim} does not belong to this chapter", "Record it where press/claims says"
    yield from ((None, *problem) for problem in _wrong_units(notebook))
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            for document, key in _glue_uses(cell.source):
                if not document and key not in keys:
                    yield index, f"unknown glue key {key!r}", "Name the value with glue(...)"
        if "papermill-error-cell" in json.dumps([cell.source, cell.metadata]):
            yield index, "a banner of a failed run", again
        elif cell.cell_type == "code":
            yield from ((index, *problem) for problem in _cell(cell, root))
    yield from _solutions(notebook)


def _strings(value: Any) -> Iterator[str]:
    """All texts in a value as JSON has them, keys as well."""
    todo = [value]
    while todo:
        value = todo.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            todo += [*value.values(), *value.keys()]
        elif isinstance(value, (list, tuple)):
            todo += value


ADDRESS = re.compile(r"\s*+(?:(?:[a-z][a-z0-9+.-]{0,30}:)?[\\/]{2}|(?:javascript|file|data):)", re.I)
VIEW, STATE = (f"application/vnd.jupyter.widget-{what}+json" for what in ("view", "state"))


def _widgets(notebook: Any) -> Iterator[tuple[str, str]]:
    """Problems of the widgets: progress bars, views and states that lack each other, things loaded from elsewhere."""
    kept = notebook.metadata.get("widgets", {})
    states = kept.get(STATE, {}) if isinstance(kept, dict) else {}
    models = states.get("state", {}) if isinstance(states, dict) else {}
    shown = {
        str(output["data"][VIEW].get("model_id", "") if isinstance(output["data"][VIEW], dict) else "")
        for cell in notebook.cells for output in cell.get("outputs", []) if VIEW in output.get("data", {})
    }  # fmt: skip
    texts = list(_strings(kept))
    if any(traces.progress(text) for text in texts):
        yield "a leftover progress bar", "Use the package's own progress"
    for model in sorted(shown - set(models)):
        yield f"a widget without its state: {model[:40]!r}", "Run the chapter again; do not close the widget"
    if models and not shown:
        yield "the state of widgets that no cell shows", "Show the widget in the last line of its cell, or leave it out"
    for text in texts:
        if ADDRESS.match(text) and elsewhere(text):
            yield f"something loaded from elsewhere: {text[:80]}", "A page must work without a network"
        elif "<" in text:
            yield from page_faults(Document(text))


def _wrong_units(notebook: Any) -> Iterator[tuple[str, str]]:
    """Values in the prose whose unit is not that of the part of a claim that has their name and value."""
    prose = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    units = _units(prose)
    parts = [part for _, _, claim in page.records(notebook, "claim") for part in claim.get("parts", [])]
    for part in parts:
        unit = {"per cent": "%"}.get(part.get("unit", ""), part.get("unit", ""))
        for given in units.get(part.get("name", ""), []):
            if unit and given != "times" and given != unit:
                yield f"{part['name']} is in {unit}, and the prose says {given}", "Write the unit of the record"
        declared = re.search(r"\bin (nats|bits|per cent)\b", part.get("measure", ""))
        if unit and declared and unit != {"per cent": "%"}.get(declared[1], declared[1]):
            yield f"{part['name']} is in {unit}, and declared in {declared[1]}", "Record it in the declared unit"


def _solutions(notebook: Any) -> Found:
    """Solutions whose cells neither assert anything nor show anything."""
    start, cells = None, []
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cells.append(cell)
        for mark in re.findall(r"\{solution-(start|end)\}", cell.source if cell.cell_type == "markdown" else ""):
            if mark == "end" and start is not None and cells:
                if not any(one.outputs or re.search(r"\bassert\b|\bassert_", one.source) for one in cells):
                    yield start, "a solution that checks and shows nothing", "Assert something, or show a result"
            start, cells = (index if mark == "start" else None), []


def _cell(cell: Any, root: Path | None = None) -> Iterator[tuple[str, str]]:
    """Problems of an executed code cell, as (what, remedy)."""
    images = 0
    for output in cell.outputs:
        data = output.get("data", {})
        images += any(kind.startswith("image/") for kind in data)
        if output.output_type == "error":
            yield f"a stored error: {output.get('ename', '')}", "Mend the code and run again"
        if output.get("name") == "stderr":
            yield "output on stderr", "Mend what warns; do not hide it"
        kept = [data[kind] for kind in data if not re.fullmatch(r"image/(?!svg)[\w+-]+", kind)]
        texts = [output.get("text", ""), *_strings(kept), *_strings(output.get("metadata", {}))]
        if trace := traces.first(texts, root):
            yield f"a path of somebody's machine: {trace}", "Print no absolute path"
        shown = [text for text in (output.get("text", ""), *_strings(kept))]
        if any(traces.progress(text) for text in shown):
            yield "a leftover progress bar", "Use the package's own progress, which a run silences"
        for kind, value in data.items():
            if "javascript" in kind or "ecmascript" in kind:
                yield f"something that runs, or loads from elsewhere: {kind}", "Scripts are in book/_static/"
            elif re.fullmatch(r"text/(?:html|markdown|latex|xml)|image/svg\+xml|application/(?:xhtml\+)?xml", kind):
                text = value if isinstance(value, str) else "".join(_strings(value))
                found = page_faults(Document(text)) if "html" in kind or "xml" in kind else foreign(text)
                for what in dict.fromkeys(what for what, _ in found):
                    yield what, "A page must work without a network, and run nothing but the book's own scripts"
    note = cell.metadata.get("mystnb", {})
    for output in cell.outputs:
        given = output.get("metadata", {}).get("diffnotes", {}).get("figure")
        shown = note.get("figure", {}) | note.get("image", {})
        if given and shown.keys() == given.keys() and shown != given:
            yield "a caption or alt text edited after the run", "Edit it in the notebook and run again"
    figure, alt = note.get("figure", {}), str(note.get("image", {}).get("alt") or "").strip()
    if images > 1:
        yield f"{images} images in one cell", "Show one figure a cell, with figures.show"
    if not images and (figure or ("show(" in cell.source and re.search(r"\balt\s{0,9}=", cell.source))):
        yield "a figure without its image", "Show the figure in this cell"
    if images:
        for what in ("name", "caption"):
            if not str(figure.get(what) or "").strip():
                yield f"a figure without {what}", "Show it with figures.show"
        if not alt:
            yield "a figure without alt text", "Say in alt what the figure shows"
        elif re.search(r"\.(?:png|svg|jpe?g)\b|_images/", alt) or len(alt.split()) < 8 or alt[-1] not in ".!?":
            yield f"alt text that is no sentence: {alt[:60]!r}", "Say in a sentence or more what the data show"
        elif not TREND.search(alt):
            yield f"alt text that only names the axes: {alt[:60]!r}", "Say what the data do: rise, fall, cross, ..."
        elif _echoes(alt, str(figure.get("caption") or "")):
            yield f"alt text that only repeats the caption: {alt[:60]!r}", "Say what the data show"


def _echoes(alt: str, caption: str) -> bool:
    """Whether a text alternative says (nearly) nothing that the caption does not say."""
    words, others = (Counter(re.findall(r"\w+", text.lower())) for text in (alt, caption))
    return 5 * (words - others).total() < words.total()


def check_across(pages: dict[str, Any]) -> list[Problem]:
    """Problems between the executed ``pages`` (name -> notebook): labels used twice, values glued from nowhere."""
    problems, owner = [], {}
    glued = {name: {key for _, key in _glued(notebook)} for name, notebook in pages.items()}
    for name, notebook in pages.items():
        for label in dict.fromkeys(label for _, label in _labels(notebook)):
            if owner.setdefault(label, name) != name:
                problems.append(Problem(name, f"label {label!r} is used by {owner[label]}, too", "Rename one of them"))
        for cell in notebook.cells:
            for document, key in _glue_uses(cell.source) if cell.cell_type == "markdown" else ():
                other = re.sub(r"\.ipynb$", "", document.split("/")[-1])
                if other in pages and key not in glued[other]:
                    problems.append(Problem(name, f"{other} glues no value {key!r}", "Name it with glue(...) there"))
    return problems


def _twice(labels: Iterator[str] | list[str]) -> list[str]:
    return sorted(label for label, count in Counter(labels).items() if count > 1)


def _injected(notebook: Any) -> dict[str, Any] | None:
    cells = [cell for cell in notebook.cells if "injected-parameters" in page.tags(cell)]
    return values(cells[0].source) if cells else None


LABELS = (r"^\(([\w:.-]++)\)=[ \t]*$", r"^[ \t]*+:(?:label|name):[ \t]*(\S+)", r"\$\$\s{0,9}\(([\w:.-]++)\)")
FIGURE = re.compile(r"""\bname\s{0,9}=\s{0,9}["'](fig-[\w-]+)["']""")


def _labels(notebook: Any) -> Iterator[tuple[int, str]]:
    """(cell index, label) of everything that text can refer to: targets, directives, equations, figures, claims."""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            text = without_code(cell.source)
            for pattern in LABELS:
                yield from ((index, label) for label in re.findall(pattern, text, re.M))
        elif name := cell.metadata.get("mystnb", {}).get("figure", {}).get("name"):
            yield index, name
        else:  # the notebook before its run
            yield from ((index, name) for name in FIGURE.findall(cell.source))
        for output in cell.get("outputs", []):
            if claim := output.get("metadata", {}).get("diffnotes", {}).get("claim"):
                yield index, f"claim-{claim['id']}"


def _glued(notebook: Any) -> Iterator[tuple[int, str]]:
    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if name := output.get("metadata", {}).get("scrapbook", {}).get("name"):
                yield index, name


def _glue_uses(text: str) -> Iterator[tuple[str, str]]:
    """(document, key) of every glued value in Markdown ``text``; the document is "" for the page itself."""
    for use in re.findall(r"\{glue(?::\w*)?\}`([^`]+)`", text) + re.findall(r"\{glue(?::\w*)?\}[ \t]+(\S+)", text):
        document, _, rest = use.rpartition("::")
        yield document, rest.split(":")[0]
