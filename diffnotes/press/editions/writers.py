"""A Sphinx extension: what the book needs to become a PDF or an EPUB. The site does not notice it.

Drop-downs stand open, code that a page folds away is shown, and where a page can be moved the address of it stands.
What each of the two needs besides is in :mod:`paper` and in :mod:`ebook`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import metadata
from itertools import takewhile
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.parsers.rst.directives.admonitions import Admonition
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform

from ..directives import CHAPTERS
from ..reference import NOTATION, notation
from . import ebook, paper
from .picture import drawn
from .tree import above

PRINTED = ("latex", "epub")


class Opened(Admonition):
    """A drop-down of the site, as a box that stands open."""

    option_spec: ClassVar = {**Admonition.option_spec, **dict.fromkeys(
        ("open", "color", "icon", "animate", "margin", "chevron", "class-container", "class-title", "class-body"),
        directives.unchanged)}  # fmt: skip

    def run(self) -> list[nodes.Node]:
        """The box, with the classes that the drop-down would have."""
        self.options["class"] = [*self.options.get("class", []), *self.options.get("class-container", "").split()]
        return super().run()


def address(config: Any) -> str:
    """Where the site of the book lies on the web, as GitHub makes it of the repository's name; "" if there is none."""
    repository = config.html_theme_options.get("repository_url", "")
    found = re.fullmatch(r"https://github\.com/([\w.-]+)/([\w.-]+?)/?", repository)
    return f"https://{found[1].lower()}.github.io/{found[2]}/" if found else ""


def without_moving(text: str, page: str) -> str:
    """The chapter ``text`` (JSON), with a sentence in place of all that only moves on the site.

    Args:
        text: the executed notebook.
        page: the address of its page on the web, "" if it has none.
    """
    notebook = json.loads(text)
    place = f"[page of this chapter]({page})" if page else "page of this chapter in the site that `make book` builds"
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "application/vnd.jupyter.widget-view+json" in data:
                words = f"Here the {place} has controls that a reader can move."
            elif "text/html" in data and 'class="player"' in "".join(data["text/html"]):
                named = re.search(r"for other values of (.*?)\.\s*$", "".join(data.get("text/plain", "")), re.S)
                others = f", for other values of {named[1]}" if named else ""
                words = f"The figure shows one setting. On the {place} it can be moved{others}."
            else:
                continue
            output["data"] = {"text/markdown": words, "text/plain": words}
            cell["metadata"].setdefault("mystnb", {})["markdown_format"] = "myst"
    return json.dumps(notebook)


def _source_read(app: Any, docname: str, source: list[str]) -> None:
    if app.builder.name in PRINTED and docname.startswith(CHAPTERS) and source[0].lstrip().startswith("{"):
        site = address(app.config)
        source[0] = without_moving(source[0], f"{site}{docname}.html" if site else "")


def title_of(page: Path) -> str:
    """What stands in the first heading of a page in Markdown, "" where there is none."""
    found = re.search(r"^# (.+)", page.read_text(encoding="utf8") if page.exists() else "", re.M)
    return found[1].strip() if found else ""


def _configured(app: Any, config: Any) -> None:
    config.version = config.release = metadata.version("diffnotes")
    path = Path(app.srcdir) / NOTATION
    macros = notation(path)["macros"] if path.exists() else {}
    title = title_of(Path(app.srcdir) / f"{config.root_doc}.md") or config.project
    paper.configure(config, macros, title)
    ebook.configure(config, address(config), title)
    moving = ("application/vnd.jupyter.widget-view+json", "application/javascript", "text/html")
    config.nb_mime_priority_overrides = [*config.nb_mime_priority_overrides, *(("epub", kind, None) for kind in moving)]


def _started(app: Any) -> None:
    """Leave out of printed editions what folds and what needs a browser."""
    if app.builder.name not in PRINTED:
        return
    from myst_nb.sphinx_ import HideInputCells

    HideInputCells.formats = ("none",)
    directives.register_directive("dropdown", Opened)
    for name, heard in app.events.listeners.items():  # of the theme of the site: buttons, navigation
        theme = ("sphinx_book_theme", "pydata_sphinx_theme", "sphinx_thebe", "sphinx_copybutton", "sphinx_togglebutton")
        own = ("_launch_source", "_safe_without_script")
        heard[:] = [one for one in heard if not (name == "html-page-context" and (
            one.handler.__module__.startswith(theme) or one.handler.__name__ in own))]  # fmt: skip


class Pictures(SphinxPostTransform):
    """Verdicts' pictures for LaTeX, which drops HTML; SVG that XHTML can read for the EPUB."""

    default_priority = 300

    def run(self, **kwargs: Any) -> None:
        if self.app.builder.name not in PRINTED:
            return
        for node in list(self.document.findall(nodes.raw)):
            if "html" not in node.get("format", "").split():
                continue
            if not node.astext().startswith("<svg"):
                continue
            if node.astext().count("<svg") and "</svg>" not in node.astext():
                _joined(node)
            if self.app.builder.name == "latex":
                node.replace_self(nodes.raw("", drawn(node.astext()), format="latex"))
            else:
                text = node.astext()
                if "xmlns=" not in text:
                    text = text.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
                node.replace_self(nodes.raw("", text, format="html"))


class Records(SphinxPostTransform):
    """The box that says how a chapter was made, which the site folds away, stands at the chapter's end."""

    default_priority = 299

    def run(self, **kwargs: Any) -> None:
        if self.app.builder.name not in PRINTED:
            return
        for box in list(self.document.findall(nodes.admonition)):
            if "provenance" in box["classes"]:
                page = takewhile(lambda one: not isinstance(one, addnodes.start_of_file), above(box))
                *_, chapter = (one for one in page if isinstance(one, nodes.section))
                box.parent.remove(box)
                chapter += box


class Indices(SphinxPostTransform):
    """Indices and exponents of symbols in plain text, such as statements of claims have, below and above the line."""

    default_priority = 301
    code = (nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.raw)

    def run(self, **kwargs: Any) -> None:
        if self.app.builder.name not in PRINTED:
            return
        for node in list(self.document.findall(nodes.Text)):
            if SYMBOL.search(node) and not any(isinstance(one, self.code) for one in above(node)):
                node.parent.replace(node, list(indexed(node)))


SYMBOL = re.compile(r"(?<!\w)([^\W\d_](?=[_^])|[A-Z]+(?=\^))((?:[_^](?:\d+\.\d+|[^\W_]+))+)(?!\w)")


def indexed(text: str) -> Iterator[nodes.Node]:
    """What ``text`` is with indices and exponents as such.

    >>> "".join(map(str, indexed("L_simple^τ of larger_K")))
    'L<subscript>simple</subscript><superscript>τ</superscript> of larger_K'
    """
    end = 0
    for found in SYMBOL.finditer(text):
        yield nodes.Text(text[end : found.end(1)])
        for mark, words in re.findall(r"([_^])([^_^]+)", found[2]):
            yield (nodes.subscript if mark == "_" else nodes.superscript)("", words)
        end = found.end()
    yield nodes.Text(text[end:])


def _joined(first: nodes.raw) -> None:
    """Make one node of the tags of an SVG, which Markdown gives one by one."""
    parent, text = first.parent, first.astext()
    place = parent.index(first) + 1
    while place < len(parent) and "</svg>" not in text:
        text += parent[place].astext()
        del parent[place]
    first.children, first.rawsource = [], text
    first += nodes.Text(text)


def setup(app: Any) -> dict[str, Any]:
    """Register everything with Sphinx."""
    app.add_builder(ebook.Epub, override=True)
    app.connect("config-inited", _configured, priority=950)  # when the table of contents has named the first page
    app.connect("builder-inited", _started, priority=100)
    app.connect("source-read", _source_read, priority=600)  # when the page has been compared with its source
    for one in (Pictures, Records, Indices, *paper.TRANSFORMS, *ebook.TRANSFORMS):
        app.add_post_transform(one)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
