"""A local Sphinx extension: what the pages of the book show about themselves.

* `source-read` on an executed chapter (`book/chapters/NAME.ipynb`) puts a provenance box under its title, and a
  warning above it when the page is stale, i.e. no longer what `notebooks/NAME.ipynb` and the package would give.
* `{ledger}` is the table of all claims with the verdicts that the executed pages recorded.
* `{notation}` is the table of symbols. It and the MathJax macros come from the one file `book/notation.yml`.
* Launch and source buttons of a chapter lead to the notebook it was run from, not to the executed page.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

CHAPTERS = "book/chapters/"
NOTATION = "book/notation.yml"


def project_root(source: str | Path) -> Path | None:
    """The nearest folder at or above `source` (at most three up) that holds `notebooks/`; None without one."""
    source = Path(source).resolve()
    return next((p for p in [source, *source.parents][:4] if (p / "notebooks").is_dir()), None)


def notation(path: str | Path) -> dict[str, Any]:
    """The notation file: `macros`, name -> TeX or [TeX, arguments], and `groups` of rows (symbol, meaning, code)."""
    return yaml.safe_load(Path(path).read_text(encoding="utf8"))


def notation_markdown(table: dict[str, Any]) -> str:
    """One Markdown table a group, with symbols, meanings and the names in the code."""
    lines: list[str] = []
    for group in table["groups"]:
        lines += ["", f"## {group['title']}", "", "| Symbol | Meaning | In the code |", "|---|---|---|"]
        for row in group["rows"]:
            code = f"`{row['code']}`" if row["code"] else ""
            lines.append(f"| ${row['symbol']}$ | {row['meaning']} | {code} |")
    return "\n".join([*lines, ""])


def provenance_markdown(record: dict[str, Any]) -> str:
    """The provenance box of a page: one line that is always visible, the full record on demand."""
    seeds = ", ".join(str(seed) for seed in record["seeds"])
    versions = ", ".join(f"{name} {version}" for name, version in sorted(record["versions"].items()))
    rows = {
        "Profile": f"`{record['profile']}`",
        "Device": record["device"],
        "Run time": f"{record['seconds']:.0f} s",
        "Peak memory": f"{record['memory_mib']:.0f} MiB",
        "Seeds": seeds or "none used",
        "Versions": versions,
        "Date": record["date"][:10],
        "Hash": f"`{record['hash'][:12]}`",
    }
    summary = f"Computed on {record['date'][:10]}: {record['profile']} profile, {rows['Run time']} on {record['device']}"
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    note = "What these entries mean: {doc}`/book/reproduce`."
    return f":::{{dropdown}} {summary}\n:class-container: provenance\n\n| Record | Value |\n|---|---|\n{table}\n\n{note}\n:::\n"


def stale_markdown(name: str, reasons: Iterable[str]) -> str:
    """The warning above a page whose sources changed after its run."""
    changed = ", ".join(reasons)
    return (
        ":::{warning}\n:class: stale\n**This page is stale.** Since it was run, this has changed: "
        f"{changed}. Run `diffnotes run {name}` to bring it up to date.\n:::\n"
    )


def with_boxes(text: str, boxes: Iterable[str]) -> str:
    """The notebook `text` (JSON) with one Markdown cell holding `boxes` inserted right below its title line."""
    notebook = json.loads(text)
    cells = notebook["cells"]
    first = "".join(cells[0]["source"]) if cells and cells[0]["cell_type"] == "markdown" else ""
    lines = first.splitlines(keepends=True)
    title = next((i for i, line in enumerate(lines) if line.startswith("# ")), None)
    if title is None:
        raise ValueError("the first cell of a chapter must be Markdown with its title, '# ...'")

    def markdown(suffix: str, source: str) -> dict[str, Any]:
        return {"cell_type": "markdown", "id": f"{cells[0].get('id', 'title')}-{suffix}", "metadata": {}, "source": source}

    head = {**cells[0], "source": "".join(lines[: title + 1])}
    rest = "".join(lines[title + 1 :]).strip("\n")
    cells[:1] = [head, markdown("boxes", "\n".join(boxes)), *([markdown("rest", rest)] if rest else [])]
    return json.dumps(notebook)


def page_boxes(text: str, name: str, root: Path | None) -> list[str]:
    """What a chapter page says about itself: a warning if it is stale, then its provenance."""
    record = json.loads(text)["metadata"].get("diffnotes", {}).get("provenance")
    if record is None:
        return []
    source = root and root / "notebooks" / f"{name}.ipynb"
    reasons = _reasons(json.loads(text), source) if source and source.exists() else []
    return ([stale_markdown(name, reasons)] if reasons else []) + [provenance_markdown(record)]


def _source_read(app: Any, docname: str, source: list[str]) -> None:
    if docname.startswith(CHAPTERS) and source[0].lstrip().startswith("{"):
        boxes = page_boxes(source[0], docname.removeprefix(CHAPTERS), project_root(app.srcdir))
        if boxes:
            source[0] = with_boxes(source[0], boxes)


def _macros(app: Any, config: Any) -> None:
    path = Path(app.srcdir) / NOTATION
    if path.exists():
        tex = (config.mathjax3_config or {}).get("tex", {})
        macros = {**notation(path)["macros"], **tex.get("macros", {})}
        config.mathjax3_config = {**(config.mathjax3_config or {}), "tex": {**tex, "macros": macros}}


def _launch_source(app: Any, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Buttons of a chapter open the notebook without outputs, with the settings of the cpu profile."""

    def redirect(buttons: list[dict[str, Any]]) -> None:
        for button in buttons:
            if isinstance(button.get("url"), str) and "://" in button["url"]:
                button["url"] = button["url"].replace(CHAPTERS, "notebooks/")
            redirect(button.get("buttons") or [])

    if pagename.startswith(CHAPTERS):
        redirect(context.get("header_buttons", []))


def setup(app: Any) -> dict[str, Any]:
    """Register everything with Sphinx."""
    from sphinx.util.docutils import SphinxDirective

    class Notation(SphinxDirective):
        def run(self) -> list[Any]:
            path = Path(self.env.app.srcdir) / NOTATION
            self.env.note_dependency(str(path))
            return self.parse_text_to_nodes(notation_markdown(notation(path)), allow_section_headings=True)

    class Ledger(SphinxDirective):
        def run(self) -> list[Any]:
            try:
                from .ledger import collect, to_markdown
            except ImportError:
                return []

            pages = sorted((Path(self.env.app.srcdir) / CHAPTERS).glob("*.ipynb"))
            for page in pages:
                self.env.note_dependency(str(page))
            return self.parse_text_to_nodes(to_markdown(collect(pages)), allow_section_headings=True)

    app.add_directive("notation", Notation)
    app.add_directive("ledger", Ledger)
    app.connect("config-inited", _macros)
    app.connect("source-read", _source_read)
    app.connect("html-page-context", _launch_source, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
