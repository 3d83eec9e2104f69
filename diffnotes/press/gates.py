"""Gates: what a notebook and its executed page must satisfy before a reader sees them.

:func:`check_source` looks at ``notebooks/NAME.ipynb``, :func:`check_page` at an executed page, :func:`check_across` at
all pages together. Each returns a list of :class:`Problem`; an empty list is green.

**Numerals in prose** (:func:`numerals`). A number that states a result must come from the run, through {glue}. So no
digit may stand in prose, except

* in code, roles, directive options, links, HTML, labels, and numbering at the start of a heading or list item;
* in words that start with a letter (T7, x0, min-SNR-5) and in dimensions (2-D);
* after a word that points somewhere (figure, section, equation, theorem, exercise, objective, source, ...), and as a
  year after in, since, of, from, until, by (and before punctuation or a capital) or in parentheses;
* in mathematics, which is for constants of the theory: there, digits are a result if they follow an approximate sign
  or are followed by a per-cent sign, or by a final multiplication sign.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import ledger, page, provenance
from .cells import plain
from .layout import Project, assignments

__all__ = ["Problem", "check_across", "check_page", "check_source", "numerals"]

LIMIT = 1_500_000  # characters of a page
TRACES = re.compile(r"(?<![\w/.~-])(/home/\w+|/Users/\w+|/root\b|/tmp\b|/var/folders/|/work/\w+|[A-Za-z]:\\+Users\b)")
REMOTE = re.compile(
    r"""<(?:script|link|iframe|frame|img|source|video|audio|embed|object)\b[^>]*?\b(?:src|href|data)\s*=\s*["']?\s*(?:https?:)?//
    |(?:@import|url\()\s*["']?(?:https?:)?//
    |<script\b(?:(?!</script>).)*?https?://
    |!\[[^\]]*\]\(\s*(?:https?:)?//
    |\{(?:figure|image)\}\s*(?:https?:)?//""",
    re.I | re.S | re.X,
)
PROGRESS = re.compile(r"\r(?!\n)|\d+%\||\b(?:it|s|step|batch)/(?:s|it)\b|\b(?:Float|Int)Progress\b")
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
    def where(index: int | None) -> str:
        if index is None:
            return name
        line = next((line.strip() for line in notebook.cells[index].source.splitlines() if line.strip()), "")
        return f"{name}, cell {index + 1} ({line[:40]!r})"

    return [Problem(where(index), what, remedy) for index, what, remedy in found]


def check_source(notebook: Any, name: str) -> list[Problem]:
    """Problems of the source ``notebook`` of chapter ``name``: form, required parts, prose, labels."""
    return _problems(name, notebook, _source(notebook))


def _source(notebook: Any) -> Found:
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
    elif page.parameters(notebook).get("profile") != "cpu":
        yield settings[0], "the parameters cell does not hold the cpu profile", "Write profile = 'cpu' there"
    for index, cell in enumerate(cells):
        if cell.cell_type == "code":
            if cell.outputs or cell.execution_count is not None:
                yield index, "the source has outputs or execution counts", "Clear all outputs before saving"
            if re.search(r"^\s*(?:from|import) tqdm", cell.source, re.M):
                yield index, "imports tqdm", "Use the package's own progress, which the book can silence"
            for caption in _captions(cell.source):
                for numeral in numerals(caption):
                    yield index, f"typed numeral in a caption: {numeral!r}", "Format the value into it"
        else:
            text = _without_code(cell.source)
            for numeral in numerals(cell.source):
                yield index, f"unbound numeral in prose: {numeral!r}", "Bind it with {glue:text}; constants are $...$"
            if REMOTE.search(text) or re.search(r"<(?:script|iframe)\b", text, re.I):
                yield index, "something loaded from elsewhere", "Keep it in book/_static/, or leave it out"
            if "![](" in cell.source:
                yield index, "an image without text alternative", "Write ![what it shows](...)"
        if trace := TRACES.search(cell.source):
            yield index, f"a path of somebody's machine: {trace[0]}", "Use paths relative to the project"
    for label in _twice(label for _, label in _labels(notebook)):
        yield None, f"duplicate label {label!r}", "Rename one of them"
    yield from _structure(cells, prose)


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
    start = None  # the cell that opened a solution in which nothing has been executed yet
    for index, cell in enumerate(cells):
        if cell.cell_type == "code":
            start = None
        for mark in re.findall(r"\{solution-(start|end)\}", cell.source if cell.cell_type == "markdown" else ""):
            if mark == "end" and start is not None:
                yield start, "a solution in which nothing is executed", "Check it in a code cell before {solution-end}"
            start = index if mark == "start" else None


def check_page(
    notebook: Any, source: Any, name: str, project: Project | None = None, settings: dict[str, Any] | None = None
) -> list[Problem]:
    """Problems of the executed ``notebook`` of chapter ``name``, whose source is ``source``.

    With ``project`` the page must be fresh, too: what the sources would give now, run with ``settings`` (by default
    those that the page names).
    """
    found = [*_page(notebook, source, name)]
    if project is not None:
        state = provenance.freshness(notebook, project, name, settings)
        if state.state != "fresh":
            found.append((None, f"the page is stale; changed: {', '.join(state.reasons)}", f"Run diffnotes run {name}"))
    return _problems(name, notebook, iter(found))


def _page(notebook: Any, source: Any, name: str) -> Found:
    record = provenance.record(notebook)
    again = f"Run diffnotes run {name}"
    if not record:
        yield None, "no provenance", again
    elif record.get("seal") != provenance.seal(notebook):
        yield None, "an output was edited after the run", again
    if len(page.text(notebook)) > LIMIT:
        yield None, f"the page has more than {LIMIT} characters", "Make figures smaller, print less"
    mine, theirs = ([cell.source for cell in page.code_cells(book)] for book in (notebook, source))
    if mine != theirs:
        yield None, "its code is not that of the notebook", again
    elif page.text(page.with_prose(notebook, source)) != page.text(notebook):
        yield None, "its text, tags or captions are not those of the notebook", f"{again}, which keeps good results"
    if (tests := _injected(notebook)) is not None and record:
        wanted = {key: plain(value) for key, value in tests.items() if key != "device"}
        if wanted != record.get("parts", {}).get("parameters"):
            yield None, "the injected parameters are not those of its provenance", again
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if counts != list(range(1, len(counts) + 1)):
        yield None, "cells were not executed one after the other, from first to last", again
    if re.search(r"(?:Float|Int)ProgressModel", json.dumps(notebook.metadata.get("widgets", {}))):
        yield None, "a leftover progress bar", "Use the package's own progress"
    if trace := TRACES.search(json.dumps(notebook.metadata)):
        yield None, f"a path of somebody's machine in the metadata: {trace[0]}", again
    keys = [key for _, key in _glued(notebook)]
    for what, twice in (("label", _twice(label for _, label in _labels(notebook))), ("glue key", _twice(keys))):
        for label in twice:
            yield None, f"duplicate {what} {label!r}", "Rename one of them"
    recorded = [claim["id"] for _, _, claim in page.records(notebook, "claim")]
    for claim in _twice(recorded):
        yield None, f"claim {claim} is recorded twice", "Record it once"
    for claim in ledger.rules(name).keys() - set(recorded):
        yield None, f"claim {claim} belongs to this chapter and is not recorded", "Call ledger.record for it"
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            for document, key in _glue_uses(cell.source):
                if not document and key not in keys:
                    yield index, f"unknown glue key {key!r}", "Name the value with glue(...)"
        if "papermill-error-cell" in json.dumps([cell.source, cell.metadata]):
            yield index, "a banner of a failed run", again
        elif cell.cell_type == "code":
            yield from ((index, *problem) for problem in _cell(cell))


def _cell(cell: Any) -> Iterator[tuple[str, str]]:
    """Problems of an executed code cell, as (what, remedy)."""
    images = 0
    for output in cell.outputs:
        data = output.get("data", {})
        images += any(kind.startswith("image/") for kind in data)
        if output.output_type == "error":
            yield f"a stored error: {output.get('ename', '')}", "Mend the code and run again"
        if output.get("name") == "stderr":
            yield "output on stderr", "Mend what warns; do not hide it"
        texts = [str(value) for kind, value in data.items() if kind not in ("image/png", "image/jpeg")]
        for text in [output.get("text", ""), *texts]:
            if trace := TRACES.search(text):
                yield f"a path of somebody's machine: {trace[0]}", "Print no absolute path"
            if PROGRESS.search(text):
                yield "a leftover progress bar", "Use the package's own progress, which a run silences"
        web = [data.get(kind, "") for kind in ("text/html", "image/svg+xml", "text/markdown")]
        if any(REMOTE.search(text) for text in web) or "://" in data.get("application/javascript", ""):
            yield "something loaded from elsewhere", "A page must work without a network"
    note = cell.metadata.get("mystnb", {})
    for output in cell.outputs:
        given = output.get("metadata", {}).get("diffnotes", {}).get("figure")
        shown = note.get("figure", {}) | note.get("image", {})
        if given and shown.keys() == given.keys() and shown != given:
            yield "a caption or alt text edited after the run", "Edit it in the notebook and run again"
    figure, alt = note.get("figure", {}), str(note.get("image", {}).get("alt") or "").strip()
    if images > 1:
        yield f"{images} images in one cell", "Show one figure a cell, with figures.show"
    if not images and (figure or re.search(r"\bshow\((?s:.)*?\balt\s*=", cell.source)):
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
    labels = list(labels)
    return sorted({label for label in labels if labels.count(label) > 1})


def _injected(notebook: Any) -> dict[str, Any] | None:
    cells = [cell for cell in notebook.cells if "injected-parameters" in page.tags(cell)]
    return assignments(cells[0].source) if cells else None


def _labels(notebook: Any) -> Iterator[tuple[int, str]]:
    """(cell index, label) of everything that text can refer to: targets, directives, equations, figures, claims."""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            text = _without_code(cell.source)
            for pattern in (r"^\(([\w:.-]+)\)=\s*$", r"^\s*:(?:label|name):\s*(\S+)", r"\$\$\s*\(([\w:.-]+)\)"):
                yield from ((index, label) for label in re.findall(pattern, text, re.M))
        elif name := cell.metadata.get("mystnb", {}).get("figure", {}).get("name"):
            yield index, name
        else:  # the notebook before its run
            yield from ((index, name) for name in re.findall(r"""\bname\s*=\s*["'](fig-[\w-]+)["']""", cell.source))
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


def _captions(code: str) -> Iterator[str]:
    """What is typed, not computed, in the captions of a cell."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "caption":
            literal = [part for part in ast.walk(node.value) if isinstance(part, ast.Constant)]
            yield "".join(part.value for part in literal if isinstance(part.value, str))


VERBATIM = {"", "code", "code-block", "code-cell", "literalinclude", "bibliography", "raw", "mermaid"}
FENCE = re.compile(r"^\s*(`{3,}|~{3,}|:{3,})\s*(?:\{([\w:.+-]+)\})?(.*)$")
POINTERS = (
    "fig|figs|figure|section|sec|chapter|ch|eq|equation|theorem|lemma|proposition|corollary|definition|remark|example|"
    "exercise|objective|source|part|table|algorithm|appendix|step|line|row|cell|claim|page|p|pp|version|python"
)


def _without_code(text: str) -> str:
    """Markdown without code: fenced blocks that are no directives, and code spans. Roles go, too."""
    kept: list[str] = []
    opened: list[str] = []  # fences around the line, from outside in; only the last may be code
    code = False
    for line in text.split("\n"):
        fence = FENCE.match(line)
        closes = fence and opened and fence[1].startswith(opened[-1]) and not fence[2] and not fence[3].strip()
        if (fence and not code) or closes:
            was, code = code, bool(not closes and (fence[2] or "") in VERBATIM)
            opened = opened[:-1] if closes else [*opened, fence[1]]
            # A directive's own fence must not be taken for a code span.
            kept += [] if was or code else [line.replace(fence[1], ":" * len(fence[1]), 1)]
        elif not code:
            kept.append(line)
    return re.sub(r"(?<!`)(\{[\w:.+-]+\})?(`+)(?!`)(.+?)(?<!`)\2(?!`)", " ", "\n".join(kept), flags=re.S)


def numerals(text: str) -> list[str]:
    r"""Numbers in Markdown ``text`` that state a result without being bound to the run; the rule is the module's.

    >>> numerals("In 2-D, {glue:text}`gap:.2f` of the $10^4$ samples, by T7 and Figure 3.")
    []
    >>> numerals("The error falls by 12 % from 0.3, i.e. $\\approx 0.26$, or $2.5\\times$.")
    ['12 %', '0.3', '\\approx 0.26', '2.5\\times']
    """
    text = _without_code(re.sub(r"<!--.*?-->", " ", text, flags=re.S))
    math: list[str] = []

    def take(match: re.Match[str]) -> str:
        math.append(match[0].strip("$"))
        return " "

    text = re.sub(r"^\s*(:{3,})\{math\}.*?^\s*\1\s*$", take, text, flags=re.M | re.S)
    text = re.sub(r"\$\$.+?\$\$|\\begin\{(\w+\*?)\}.+?\\end\{\1\}", take, text, flags=re.S)
    text = re.sub(r"(?<!\\)\$(?:\\.|[^$\\])+\$", take, text)
    for pattern in (
        r"^\s*:{3,}\s*(?:\{[\w:.+-]+\})?",  # fences; what a directive is given stays
        r"^\s*:[\w-]+:.*$",  # options
        r"^\([\w:.-]+\)=\s*$",  # labels
        r"^(?:\s|>)*\d+[.)]\s",  # list items
        r"(?<=#)\s*\d+(?:\.\d+)*\.\s",  # numbered headings
        r"(?<=\])\([^)]*\)|<[^>]*>|https?://\S+|\[\^\w+\]|&#?\w+;",  # links, HTML, footnotes, entities
        rf"\b(?:{POINTERS})s?\.?\s*\(?\d[\d.]*\)?(?:(?:\s*(?:,|-|–|and|or|to)\s*)+\(?\d[\d.]*\)?)*",
        r"\b(?:in|since|of|from|until|by)\s+(?:19|20)\d\d(?=[.,;:)]|\s+(?-i:[A-Z])|\s*$)|\((?:19|20)\d\d\)",  # years
        r"\b\d-?D\b",  # dimensions
        r"(?<![\w.])[^\W\d]\w*(?:[-‑/_.][\w]+)*",  # words, and names like min-SNR-5
    ):
        text = re.sub(pattern, " ", text, flags=re.M | re.I)
    found = re.findall(r"[-−]?\d[\d.,]*(?<![.,])(?:e[-+]?\d+)?(?:\s*%)?", text)
    for formula in math:
        found += re.findall(r"\\(?:approx|simeq|doteq|sim)\s*-?\d[\d.]*", formula)
        found += re.findall(r"\d[\d.]*(?:\\[,;: ]|\s|~)*\\%", formula)
        found += re.findall(r"\d[\d.]*\s*\\times\s*$", formula)
    return found
