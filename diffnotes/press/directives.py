"""A local Sphinx extension: what the pages of the book show about themselves.

* `source-read` on an executed chapter (`book/chapters/NAME.ipynb`) puts a provenance box under its title, and a
  warning above it when the page is stale, i.e. no longer what `notebooks/NAME.ipynb` and the package would give.
* `{ledger}` is the table of all claims with the verdicts that the executed pages recorded, `{runs}` that of the runs
  behind the pages, `{errata}` the list of the errata of the sources.
* Roles and a directive quote verdicts, effects and figures of the pages (:mod:`diffnotes.press.quoting`).
* `{notation}` is the table of symbols, `{terms}` the glossary. They and the MathJax macros come from the one file
  `book/notation.yml`.
* `{equations}` is the table of the labelled equations, with what computes and what checks them (`book/equations.yml`).
* Beside each figure and verdict of a chapter are links to its code and its run (:mod:`diffnotes.press.traced`).
* A chapter's page leads to its notebooks, and to where they can be run (:mod:`diffnotes.press.launch`).
* Every page tells the browser to load nothing from elsewhere, and readers without JavaScript how to read its formulas.
* The footer of every page has the edition of the book, and how the page is cited.
* What a page takes from outside the book, or would run, is a warning, and warnings end the build.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from . import quoting, reference
from .errors import PressError
from .finish import accessible, breakable, drawn, sized
from .imprint import Edition, edition, footer
from .launch import buttons, downloads, sentence, write_notebooks
from .layout import Project
from .ledger import GROUPS, VERDICTS, box, errata_markdown, registry
from .markdown import table
from .origins import book_at, origins, origins_markdown
from .overview import RUN, runs_markdown
from .page import shared
from .progress import clock
from .prose import foreign
from .provenance import freshness
from .summary import totals
from .traced import trace
from .web import elsewhere, unsafe_link

CHAPTERS = "book/chapters/"
RUNS = "book/runs"
REPRODUCE, LAB = "book/reproduce", "by-hand"  # the page and the section on opening a chapter in JupyterLab
SIGNS = "✓≈✗??"  # of the verdicts, as in the style sheet
# What a browser may load for a page: files beside it, and what the page itself holds. From disk these are "file:".
POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'self\' file: data: blob: \'unsafe-inline\' '
    "'unsafe-eval'; base-uri 'none'; object-src 'none'\" />"
)
# A browser may refuse to keep anything for pages from disk; then the theme and the book's script would stop half-way.
STORE = (
    "<script>try { localStorage.getItem('mode') } catch { const kept = new Map(); "
    "Object.defineProperty(window, 'localStorage', {configurable: true, value: { "
    "getItem: (key) => kept.get(key) ?? null, "
    "setItem: (key, value) => kept.set(key, String(value)), removeItem: (key) => kept.delete(key)}}) }</script>"
)
NO_SCRIPT = (
    '<noscript><p class="without-script">Without JavaScript the formulas of this page stand as LaTeX source, between '
    "<code>\\(</code> and <code>\\)</code>; figures, numbers and text are complete.</p></noscript>"
)
REPEATED = re.compile(r'(<[a-z][^<>]*?\sid=")((?:proof|exercise|solution)(?:-content)?|search-input)(?=")')
PROMPTS = {"parameters": "the parameters", "injected-parameters": "what this profile changes"}


def provenance_markdown(record: dict[str, Any], project: Project | None = None) -> str:
    """The provenance box of a page: one line that is always visible, the full record on demand.

    ``project`` has the files of its networks, which say more of them than the record.
    """
    seeds = ", ".join(str(seed) for seed in record["seeds"])
    changed = ", ".join(f"`{name} = {value!r}`" for name, value in sorted(record.get("parameters", {}).items()))
    versions = ", ".join(f"{name} {version}" for name, version in sorted(record["versions"].items()))
    rows = {
        "Profile": f"`{record['profile']}`",
        "Changed parameters": changed or "none",
        "Device": record["device"],
        "Run time": f"{record['seconds']:.0f} s",
        "Peak memory": f"{record['memory_mib']:.0f} MiB",
        "Seeds": seeds or "none used",
        "Versions": versions,
        "Date": record["date"][:10],
        "Hash": f"`{record['hash'][:12]}`",
    }
    summary = f"Computed on {record['date'][:10]}: {record['profile']} profile, "
    summary += f"{rows['Run time']} on {record['device']}"
    note = "What these entries mean: {doc}`/book/reproduce`."
    shown = table(("Record", "Value"), rows.items())
    if networks := record.get("networks"):
        shown += f"\n\n{origins_markdown(origins(project, networks))}"
    return f"::::{{dropdown}} {summary}\n:class-container: provenance\n\n{shown}\n\n{note}\n::::\n"


def reading_minutes(notebook: Any) -> int:
    """About how long a page takes to read: 200 words a minute, a quarter of one for a displayed formula or a figure.

    Words are those of the prose without its exercises, code and formulas; a cell of code counts for a quarter, too.
    """
    words, looks = 0, 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            hidden = {"hide-input", "remove-input", "remove-cell"} & set(cell.metadata.get("tags", []))
            looks += not hidden
            looks += any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
        elif "{exercise-start}" in cell.source or re.match(r"#+ Exercises", cell.source):
            break
        else:
            looks += cell.source.count("$$") // 2
            words += len(re.sub(r"\$\$.*?\$\$|\$[^$]*\$|```.*?```", " ", cell.source, flags=re.S).split())
    return max(1, round(words / 200 + looks / 4))


def times_markdown(notebook: Any, record: dict[str, Any], links: str = "") -> str:
    """What a chapter costs: minutes to read, seconds to run; and ``links`` to its notebooks."""
    return (f"About {reading_minutes(notebook)} minutes to read without the exercises. Running all of it took "
            f"{clock(record['seconds'])}, with its networks at hand.{links}\n")  # fmt: skip


def stale_markdown(name: str, reasons: Iterable[str]) -> str:
    """The warning above a page whose sources changed after its run."""
    changed = ", ".join(reasons)
    return (
        ":::{warning}\n:class: stale\n**This page is stale.** Since it was run, this has changed: "
        f"{changed}. Run `diffnotes run {name}` to bring it up to date.\n:::\n"
    )


def separated(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """The cell, or one cell for each of its outputs if it shows a figure among others.

    A figure's number and caption belong to its cell; in one cell with a verdict they would frame the verdict, too.
    """
    options, outputs = cell["metadata"].get("mystnb", {}), cell.get("outputs", [])
    if "figure" not in options or len(outputs) < 2:
        return [cell]
    rest = {key: value for key, value in options.items() if key not in ("figure", "image")}
    pieces = []
    for i, output in enumerate(outputs):
        image = any(kind.startswith("image/") for kind in output.get("data", {}))
        metadata = {**cell["metadata"], "mystnb": options if image else rest}
        piece = {**cell, "metadata": metadata, "outputs": [output]}
        if i:  # a cell without any source would be left out
            metadata["tags"] = ["remove-input"]
            piece |= {"id": f"{cell.get('id', 'cell')}-{i}", "source": "# shown above"}
        pieces.append(piece)
    return pieces


def with_boxes(text: str, boxes: Iterable[str]) -> str:
    """The page `text` (JSON) with a Markdown cell of `boxes` below its title, and its cells made ready to show.

    Raises:
        ValueError: if the page does not begin with a title.
    """
    notebook = json.loads(text)
    cells = notebook["cells"]
    first = "".join(cells[0]["source"]) if cells and cells[0]["cell_type"] == "markdown" else ""
    lines = first.splitlines(keepends=True)
    title = next((i for i, line in enumerate(lines) if line.startswith("# ")), None)
    if title is None:
        raise ValueError("the first cell of a chapter must be Markdown with its title, '# ...'")

    def markdown(suffix: str, source: str) -> dict[str, Any]:
        return {
            "cell_type": "markdown",
            "id": f"{cells[0].get('id', 'title')}-{suffix}",
            "metadata": {},
            "source": source,
        }

    for cell in cells:
        if prompt := next((PROMPTS[tag] for tag in cell["metadata"].get("tags", []) if tag in PROMPTS), None):
            options = {"code_prompt_show": f"Show {prompt}", "code_prompt_hide": f"Hide {prompt}"}
            cell["metadata"]["mystnb"] = {**options, **cell["metadata"].get("mystnb", {})}
    cells[:] = [piece for cell in cells for piece in separated(cell)]
    head = {**cells[0], "source": "".join(lines[: title + 1])}
    rest = "".join(lines[title + 1 :]).strip("\n")
    cells[:1] = [head, markdown("boxes", "\n".join(boxes)), *([markdown("rest", rest)] if rest else [])]
    return json.dumps(notebook)


def page_boxes(text: str, name: str, source: Path, links: str = "") -> list[str]:
    """What a chapter page in the tree ``source`` says about itself: that it is stale, if it is, and its provenance.

    ``links`` lead to its notebooks.
    """
    import nbformat

    notebook = nbformat.reads(text, as_version=4)
    record = notebook.metadata.get("diffnotes", {}).get("provenance")
    if record is None:
        return []
    project = book_at(source)
    reasons = freshness(notebook, project, name).reasons if project else []
    stale = [stale_markdown(name, reasons)] if reasons else []
    times = f":::{{div}} times\n{times_markdown(notebook, record, links)}:::\n"
    return [*stale, times, provenance_markdown(record, project)]


def source_link(row: dict[str, Any]) -> str:
    """The number of a claim's source, as a link to what the page of the ledger says of the sources."""
    return f"{{ref}}`{row['source']} <claim-sources>`"


def ledger_markdown(rows: Iterable[dict[str, Any]]) -> str:
    """The ledger's page: totals and an overview of the verdicts, each in full, changed rules, and the rest."""
    signs = dict(zip(VERDICTS, SIGNS, strict=True))

    rows = list(rows)
    done, waiting = [row for row in rows if row["record"]], [row for row in rows if not row["record"]]
    states = [row["record"]["state"] for row in done]
    counts = [
        f"{signs[state]} {words} for {states.count(state)}" for state, words in VERDICTS.items() if state in states
    ]
    text = ["## Verdicts so far", ""]
    if done:
        text += [f"Of {len(rows)} claims {len(done)} have been measured. The verdict is {', '.join(counts)}.", ""]
        text += [*(f"- {line}" for line in totals(done)), ""]
    else:
        text += ["No claim has been measured yet."]
    marks = {row["id"]: f"{signs[state]} {{ref}}`{row['id']} <ledger-{row['id']}>`" for row, state in zip(done, states)}
    shown = [
        (
            f"{{ref}}`{row['id']} <ledger-{row['id']}>`",
            row["statement"],
            source_link(row),
            "; on images: ".join([
                f"{signs[state]} {row['record']['verdict']}",
                *filter(None, [", ".join(marks[one] for one in row.get("elsewhere", []) if one in marks)]),
            ]),
        )
        for row, state in zip(done, states, strict=True)
    ]
    overview = table(("Claim", "Statement", "Source", "Verdict"), shown)
    text += ["", "::::{div} ledger-overview", overview, "::::", ""] if done else []
    for group, title in GROUPS.items():
        members = [row for row in done if row["id"][0] == group]
        text += ["", f"## {title}"] if members else []
        for row in members:
            record = row["record"]
            place = f"{{ref}}`{row['page']}, cell {row['cell']} <claim-{row['id']}>`"
            foot = f"Source: {source_link(row)}. Measured in {place}, profile {record['profile']}, on {row['device']}. "
            foot += f"Guarded by `{row['test']}`." if row["test"] else ""
            full = box(record, row).removeprefix(f"(claim-{row['id']})=\n").removesuffix("::::")
            text += ["", f"(ledger-{row['id']})=", full.rstrip(), "", foot, "::::"]
    text += ["", "## Claims that wait for their chapter"] if waiting else []
    for group, title in GROUPS.items():
        if members := [
            (row["id"], row["statement"], source_link(row), row["kind"]) for row in waiting if row["id"][0] == group
        ]:
            text += ["", f"**{title}**", "", table(("Claim", "Statement", "Source", "Kind"), members), ""]
    return "\n".join([*text, ""])


def _source_read(app: Any, docname: str, source: list[str]) -> None:
    if not source[0].lstrip().startswith("{"):
        from sphinx.util import logging

        for what, remedy in foreign(source[0], own=True):
            logging.getLogger(__name__).warning("%s. %s.", what, remedy, location=docname)
    if docname.startswith(CHAPTERS) and source[0].lstrip().startswith("{"):
        name = docname.removeprefix(CHAPTERS)
        links = sentence(name, "../../", Path(app.srcdir)) if app.builder.name == "html" else ""
        boxes = page_boxes(source[0], name, Path(app.srcdir), links)
        if boxes:
            source[0] = with_boxes(source[0], boxes)


def _doctree_read(app: Any, doctree: Any) -> None:
    """Warn of what the finished document has taken from outside, however its text managed to say so."""
    from docutils import nodes
    from sphinx.util import logging

    warn, name = logging.getLogger(__name__).warning, app.env.docname
    # The book, what the builder has made of its cells, and what is installed.
    own = [Path(place).resolve() for place in (app.srcdir, Path(app.outdir).parent, sys.prefix)]
    for dependency in sorted(app.env.dependencies.get(name, ())):
        place = (own[0] / dependency).resolve()
        if not any(place.is_relative_to(one) for one in own):
            warn("the page takes in a file from outside the book: %s", place.name, location=name)
    for node in doctree.findall(nodes.image):
        if elsewhere(str(node.get("uri", ""))):
            warn("the page loads an image from elsewhere: %s", node["uri"], location=name)
    for node in doctree.findall(nodes.reference):
        if unsafe_link(str(node.get("refuri", ""))):
            warn("a link of the page does something: %s", node["refuri"], location=name)


def _traced(app: Any, doctree: Any, docname: str) -> None:
    if app.builder.name != "html" or not docname.startswith(CHAPTERS):
        return
    name, page, run = docname.removeprefix(CHAPTERS), Path(app.srcdir, f"{docname}.ipynb"), ""
    if page.is_file() and RUNS in app.env.all_docs and "provenance" in shared(page).metadata.get("diffnotes", {}):
        run = f"{app.builder.get_relative_uri(docname, RUNS)}#{RUN}{name}"
    trace(doctree, run)


def _macros(app: Any, config: Any) -> None:
    path = Path(app.srcdir) / reference.NOTATION
    if path.exists():
        tex = (config.mathjax3_config or {}).get("tex", {})
        macros = {**reference.notation(path)["macros"], **tex.get("macros", {})}
        config.mathjax3_config = {**(config.mathjax3_config or {}), "tex": {**tex, "macros": macros}}


def _repository(app: Any, config: Any) -> None:
    """The buttons that lead to the repository, on every page, where its address is told."""
    options = config.html_theme_options
    options.update(dict.fromkeys(("use_repository_button", "use_issues_button"), bool(_address(app))))


def _address(app: Any) -> str:
    """The address of the repository, or "" where the book has none."""
    return str(app.config.html_theme_options.get("repository_url") or "").rstrip("/")


def _edition(app: Any) -> Edition:
    if not hasattr(app, "edition"):
        try:
            app.edition = edition(Project.find(Path(app.srcdir)).root)
        except PressError:  # built away from the notebooks
            app.edition = Edition(metadata.version("diffnotes"))
    return app.edition


def _open_elsewhere(app: Any, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """The head of a chapter has its notebooks without and with outputs, and buttons that open it elsewhere."""
    if not pagename.startswith(CHAPTERS) or app.builder.name != "html":
        return
    name, shown = pagename.removeprefix(CHAPTERS), context["header_buttons"]
    pathto = context["pathto"]
    for group in shown:
        if group.get("label") == "download-buttons":
            kept = [button for button in group["buttons"] if button["label"] == "download-pdf-button"]
            group["buttons"] = [*downloads(name, pathto), *kept]
    branch = app.config.html_theme_options.get("repository_branch") or "main"
    if opened := buttons(name, _address(app), branch, f"{pathto(REPRODUCE)}#{LAB}"):
        shown.insert(0, {"type": "group", "tooltip": "Open this chapter to run it", "icon": "fas fa-rocket",
                         "buttons": opened, "label": "launch-buttons"})  # fmt: skip


def _safe_without_script(
    app: Any, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    context["metatags"] = POLICY + STORE + context.get("metatags", "")
    if 'class="math' in context.get("body", ""):
        context["body"] = NO_SCRIPT + context["body"]


def _front(app: Any, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """The front page has a style of its own."""
    if pagename == app.config.root_doc:
        app.add_css_file("front.css")


def _imprint(app: Any, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    if doctree is None:  # the search
        return
    config = {name: str(app.config[name]) for name in ("author", "copyright")}
    config["address"] = _address(app)
    made = footer(pagename, context.get("title", ""), config, _edition(app))
    context["theme_extra_footer"] = str(context.get("theme_extra_footer") or "") + made


def _searchable(app: Any, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Give the page of the search what can be looked up: terms, symbols, claims and the words of readers."""
    path = Path(app.srcdir) / reference.NOTATION
    if pagename == "search" and path.exists():
        std = app.env.get_domain("std")
        labels = {doc: (doc, "", title.astext()) for doc, title in app.env.titles.items()}
        labels |= {"slides": ("slides/index", "", "Slides"), "cite": (app.config.root_doc, "cite", "Cite this book")}
        labels |= {name: (doc, anchor, "") for name, (doc, anchor) in std.anonlabels.items()}
        for name, (doc, anchor, title) in std.labels.items():
            page = app.env.titles[doc].astext() if doc in app.env.titles else title
            labels[name] = (doc, anchor, title if page == title else f"{page} > {title}")
        shown = json.dumps(reference.entries(reference.notation(path), registry().values(), labels), ensure_ascii=False)
        app.add_js_file(None, body="const diffnotesSearch = " + shown.replace("</", r"<\/"))
        app.add_js_file("search.js")


def unique_ids(text: str) -> str:
    """The HTML ``text`` with the ids that the builder gives to every proof, exercise and solution made different.

    >>> unique_ids('<p id="proof-content"></p><p id="proof-content"></p><p id="proof"></p>')
    '<p id="proof-content"></p><p id="proof-content-2"></p><p id="proof"></p>'
    """
    seen: dict[str, int] = {}

    def one(match: re.Match[str]) -> str:
        seen[match[2]] = count = seen.get(match[2], 0) + 1
        return match[0] + (f"-{count}" if count > 1 else "")

    return REPEATED.sub(one, text)


def _tidy(app: Any, exception: Exception | None) -> None:
    """Take out of the pages what a browser refuses when they are opened from disk, and what hides words from readers.

    Fonts may not be *preloaded* from disk (they load all the same); the constants of the live-code button, which is
    off, are declared twice, an error in the console; a label on folded cells would hide their text in screen readers;
    one id on several elements leads nowhere. What else is mended is in :mod:`diffnotes.press.finish`.
    """
    unwanted = re.compile(
        r'\s*<link rel="preload" as="font"[^>]*>'
        r"|\s*<script>const THEBE_JS_URL.*?</script>"
        r"|\s*<(?:script|link)[^>]*sphinx-thebe\.(?:js|css)[^>]*>(?:</script>)?"
        r'|(?<=<summary) aria-label="Toggle hidden content"'
    )
    if exception is None and app.builder.format == "html":
        for template in Path(app.outdir, "_static").glob("*webpack-macros.html"):
            template.unlink()  # copied by the theme, of no use to a reader
        for path in Path(app.outdir).rglob("*.html"):
            text = breakable(unique_ids(accessible(unwanted.sub("", path.read_text(encoding="utf8")))))
            path.write_text(drawn(sized(text, path.parent), path.parent), encoding="utf8")
        for script in Path(app.outdir).glob("_static/vendor/fontawesome/*/js/*.js"):
            script.unlink()  # its icons are in the pages now
        reference.add_cards(Path(app.outdir))
    if exception is None and app.builder.name == "html":
        pages = {page.stem: page for page in quoting.pages(app.srcdir) if f"{CHAPTERS}{page.stem}" in app.env.all_docs}
        write_notebooks(pages, Path(app.outdir), Path(app.srcdir), _address(app), _edition(app))
        for name in pages:
            (Path(app.outdir, "_sources", CHAPTERS) / f"{name}.ipynb").unlink(missing_ok=True)  # no link leads to it


def setup(app: Any) -> dict[str, Any]:
    """Register everything with Sphinx."""
    from sphinx.util.docutils import SphinxDirective

    class Notation(SphinxDirective):
        def run(self) -> list[Any]:
            path = Path(self.env.app.srcdir) / reference.NOTATION
            self.env.note_dependency(str(path))
            return self.parse_text_to_nodes(self.text(reference.notation(path)), allow_section_headings=True)

        def text(self, found: dict[str, Any]) -> str:
            return reference.notation_markdown(found)

    class Terms(Notation):
        def text(self, found: dict[str, Any]) -> str:
            return reference.glossary_markdown(found["terms"])

    class Equations(SphinxDirective):
        def run(self) -> list[Any]:
            source = Project(Path(self.env.app.srcdir))
            pages = [source.published(name) for name in source.chapters()]
            for path in (*pages, source.root / reference.EQUATIONS):
                self.env.note_dependency(str(path))
            text = reference.equations_markdown(pages, reference.equations(source.root / reference.EQUATIONS))
            return self.parse_text_to_nodes(text, allow_section_headings=True)

    class Ledger(SphinxDirective):
        def run(self) -> list[Any]:
            for page in quoting.pages(self.env.app.srcdir):
                self.env.note_dependency(str(page))
            rows = quoting.collected(self.env.app.srcdir).values()
            return self.parse_text_to_nodes(ledger_markdown(rows), allow_section_headings=True)

    class Runs(SphinxDirective):
        def run(self) -> list[Any]:
            known = {page.stem: page for page in quoting.pages(self.env.app.srcdir)}
            for page in known.values():
                self.env.note_dependency(str(page))
            order = [known[name] for name in Project(Path(self.env.app.srcdir)).chapters() if name in known]
            return self.parse_text_to_nodes(runs_markdown(order, book_at(self.env.app.srcdir)))

    class Errata(SphinxDirective):
        def run(self) -> list[Any]:
            chapters = {page.stem for page in quoting.pages(self.env.app.srcdir)}
            return self.parse_text_to_nodes(errata_markdown(chapters), allow_section_headings=True)

    quoting.setup(app)
    app.add_directive("notation", Notation)
    app.add_directive("terms", Terms)
    app.add_directive("equations", Equations)
    app.add_directive("ledger", Ledger)
    app.add_directive("runs", Runs)
    app.add_directive("errata", Errata)
    app.connect("config-inited", _macros)
    app.connect("config-inited", _repository)
    app.connect("source-read", _source_read)
    app.connect("doctree-read", _doctree_read)
    app.connect("doctree-resolved", _traced)
    app.connect("html-page-context", _open_elsewhere, priority=900)
    app.connect("html-page-context", _safe_without_script, priority=950)
    app.connect("html-page-context", _imprint, priority=950)
    app.connect("html-page-context", _searchable)
    app.connect("html-page-context", _front)
    app.connect("build-finished", _tidy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
