"""A Sphinx extension: what the book needs to become a PDF or an EPUB. The site does not notice it.

* Drop-downs stand open, code that a page folds away is shown, and where a page can be moved the address of it stands.
* LaTeX gets the macros of `book/notation.yml`, fonts that have all signs of the book, parts with their captions, lists
  of works where the site has them, and verdicts with their pictures.
* The EPUB gets its formulas as MathML, no script, and only the files that its pages use.
"""

from __future__ import annotations

import html
import json
import re
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, unquote, urlsplit

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.parsers.rst.directives.admonitions import Admonition
from sphinx import addnodes
from sphinx.builders.epub3 import Epub3Builder
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx_exercise.nodes import exercise_latex_number_reference

from ..directives import CHAPTERS, unique_ids
from ..reference import NOTATION, notation
from .archive import pack
from .formulas import mathml
from .picture import drawn

PRINTED = ("latex", "epub")
STYLE = "edition.css"
PREAMBLE = r"""
\usepackage{unicode-math}
\setmathfont{texgyretermes-math.otf}
\hypersetup{pdfencoding=auto,psdextra}
\emergencystretch=3em
\AtBeginDocument{\splitmaxdepth=4pt}  % tables hang from their first line; all of them counts where a box is cut
\setcounter{tocdepth}{1}
\usepackage{newunicodechar}
\usepackage{needspace}
\BeforeBeginEnvironment{sphinxadmonition}{\Needspace{15\baselineskip}}
\newunicodechar{^^^^200b}{\hspace{0pt}}
\newunicodechar{ₜ}{\ensuremath{{}_t}}
\AtBeginEnvironment{tabular}{\footnotesize}\AtBeginEnvironment{tabulary}{\footnotesize}
\AtBeginEnvironment{longtable}{\footnotesize}\setlength{\tabcolsep}{4pt}
"""
FONTS = r"""
\setmainfont{FreeSerif}[Extension=.otf,UprightFont=*,ItalicFont=*Italic,BoldFont=*Bold,BoldItalicFont=*BoldItalic]
\setsansfont{FreeSans}[Extension=.otf,UprightFont=*,ItalicFont=*Oblique,BoldFont=*Bold,BoldItalicFont=*BoldOblique]
\setmonofont{DejaVuSansMono}[Extension=.ttf,UprightFont=*,ItalicFont=*-Oblique,BoldFont=*-Bold,
  BoldItalicFont=*-BoldOblique,Scale=0.8]
"""
FORMULA = re.compile(
    r'(?P<before>[(\[“‘]*)(?P<open><(?P<tag>span|div) class="math notranslate nohighlight"[^>]*>)'
    r'(?P<number>\s*<span class="eqno">.*?</span>)?(?P<tex>.*?)</(?P=tag)>(?P<after>[^\s\w<&]*)', re.S)  # fmt: skip


class Opened(Admonition):
    """A drop-down of the site, as a box that stands open."""

    option_spec: ClassVar = {**Admonition.option_spec, **dict.fromkeys(
        ("open", "color", "icon", "animate", "margin", "chevron", "class-container", "class-title", "class-body"),
        directives.unchanged)}  # fmt: skip


def macros_latex(macros: dict[str, Any]) -> str:
    r"""LaTeX that defines the macros of the notation file, whatever packages have made of their names.

    >>> print(macros_latex({"E": r"\mathbb{E}", "norm": [r"\lVert #1 \rVert", 1]}))
    \newcommand{\bookE}{\mathbb{E}}\AtBeginDocument{\let\E\bookE}
    \newcommand{\booknorm}[1]{\lVert #1 \rVert}\AtBeginDocument{\let\norm\booknorm}
    """
    lines = []
    for name, value in macros.items():
        body, count = value if isinstance(value, list) else (value, 0)
        given = f"[{count}]" if count else ""
        lines.append(rf"\newcommand{{\book{name}}}{given}{{{body}}}\AtBeginDocument{{\let\{name}\book{name}}}")
    return "\n".join(lines)


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
    notebook, place = json.loads(text), f"[page of this chapter]({page})" if page else "page of this chapter"
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


def _configured(app: Any, config: Any) -> None:
    config.version = config.release = metadata.version("diffnotes")
    path = Path(app.srcdir) / NOTATION
    macros = notation(path)["macros"] if path.exists() else {}
    config.latex_engine, config.latex_use_xindy = "xelatex", False
    config.latex_show_urls, config.latex_domain_indices = "no", False
    config.latex_table_style = ["booktabs"]
    config.latex_elements = {
        "papersize": "a4paper", "pointsize": "10pt", "fontpkg": FONTS, "fncychap": "", "printindex": "",
        "preamble": PREAMBLE + macros_latex(macros), "maketitle": r"\sphinxmaketitle",
        "tableofcontents": r"\renewcommand{\contentsname}{Contents}\sphinxtableofcontents",
        "extraclassoptions": "openany,oneside",
        "sphinxsetup": "verbatimforcewraps=true,VerbatimColor={gray}{0.97},verbatimwithframe=false,"
                       "hmargin={2.2cm,2.2cm},vmargin={2.4cm,2.4cm}",
        "fvset": r"\fvset{fontsize=\footnotesize}",
    }  # fmt: skip
    config.latex_documents = [(config.root_doc, "diffnotes.tex", config.project, config.author, "manual", False)]
    config.epub_title = config.html_title or config.project  # Jupyter Book puts the title of _config.yml there alone
    config.epub_author, config.epub_publisher = config.author, config.author
    config.epub_description = "On the stability of diffusion models: statements, derivations, measurements."
    config.epub_contributor, config.epub_basename = config.author, "diffnotes"
    config.epub_identifier = address(config) or "diffnotes"
    config.epub_uid, config.epub_scheme, config.epub_show_urls = "book", "URL", "no"
    config.epub_tocdepth, config.epub_tocdup, config.epub_tocscope = 3, False, "includehidden"
    config.epub_use_index = False
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


# --- LaTeX ------------------------------------------------------------------------------------------------------------


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


def _joined(first: nodes.raw) -> None:
    """Make one node of the tags of an SVG, which Markdown gives one by one."""
    parent, text = first.parent, first.astext()
    place = parent.index(first) + 1
    while place < len(parent) and "</svg>" not in text:
        text += parent[place].astext()
        del parent[place]
    first.children, first.rawsource = [], text
    first += nodes.Text(text)


class Lists(SphinxPostTransform):
    """Lists of works stay where the site has them; LaTeX would gather them all at its end."""

    default_priority = 300
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        for node in list(self.document.findall(nodes.citation)):
            words = nodes.paragraph("", "", classes=["work"])
            for identity in node["ids"]:
                words += nodes.target("", "", ids=[identity])
            for child in node.children[1:]:
                words += child.children if isinstance(child, nodes.paragraph) else child
            document = next((one for one in _above(node) if isinstance(one, addnodes.start_of_file)), None)
            words["docname"] = node.get("docname") or (document["docname"] if document else "")
            node.replace_self(words)


def _above(node: nodes.Node) -> Any:
    while node.parent is not None:
        node = node.parent
        yield node


class Exercises(SphinxPostTransform):
    """References to exercises on other pages lead to the labels that sphinx-exercise gives them in LaTeX."""

    default_priority = 302
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        known = getattr(self.env, "sphinx_exercise_registry", {})
        for node in list(self.document.findall(addnodes.number_reference)):
            label = node.get("refuri", "").rpartition("#")[2]
            if label in known:
                node.replace_self(exercise_latex_number_reference("", node.astext(), refid=label))


class Boxes(SphinxPostTransform):
    """A box within a box becomes a heading and its text: LaTeX cannot continue such a one on the next page."""

    default_priority = 303
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        for box in list(self.document.findall(nodes.admonition)):
            if any(isinstance(one, nodes.admonition) for one in _above(box)):
                title, *rest = box.children
                heading = nodes.paragraph("", "", nodes.strong("", "", *title.children))
                box.replace_self([heading, *rest])


class Names(SphinxPostTransform):
    """Long names in code may be broken behind their underscores and colons."""

    default_priority = 305
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        for node in self.document.findall(nodes.literal):
            if len(node.astext()) > 30 and len(node.children) == 1:
                node[:] = [nodes.Text(re.sub(r"(::|[_/.,])(?=\w)", "\\1\u200b", node.astext()))]


class Tables(SphinxPostTransform):
    """Tables of LaTeX: no box is cut in the middle of a table, so a long one in a box becomes several with one head.

    Columns of verdicts, of tables that may be cut, and of those with long formulas get widths by what is in them.
    """

    default_priority = 310
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        for table in list(self.document.findall(nodes.table)):
            group = next(table.findall(nodes.tgroup))
            widths = _widths(group)
            boxed = any(isinstance(one, nodes.Admonition) for one in _above(table))
            rows = [row for body in group.findall(nodes.tbody) for row in body]
            heights = [_height(row, widths) for row in rows]
            most = MOST_LINES // 2 if boxed else MOST_LINES
            drawn = any(node.get("format") == "latex" for node in table.findall(nodes.raw))
            stiff = any(_signs(node.astext()) > STIFF for node in table.findall(nodes.math))
            if sum(heights) <= most and not drawn and not stiff:
                continue
            for column, width in zip(group.findall(nodes.colspec), widths):
                column["colwidth"] = width
            table["classes"] = [one for one in table["classes"] if one != "colwidths-auto"] + ["colwidths-given"]
            if not boxed:
                table["classes"] += ["longtable"] if sum(heights) > MOST_LINES else []
                continue
            pieces, lines = [[]], 0
            for row, height in zip(rows, heights):
                if pieces[-1] and lines + height > most:
                    pieces.append([])
                    lines = 0
                pieces[-1].append(row)
                lines += height
            made = []
            for piece in pieces:
                copy = table.deepcopy()
                for body in copy.findall(nodes.tbody):
                    body.children = []
                    body += [row.deepcopy() for row in piece]
                copy["ids"] = table["ids"] if not made else []
                made.append(copy)
            table.replace_self(made)


MOST_LINES = 24  # of a table that is not cut
LINE = 130  # signs of a line of a table
STIFF = 12  # signs of a formula that LaTeX may set into a column that is too narrow for it


def _signs(tex: str) -> int:
    r"""About how many signs wide a formula is; it is not broken.

    >>> _signs(r"\E\, w(t) \norm{y - \hat y}^2")
    11
    """
    return len(re.sub(r"\\[,;:! ]|[{}^_\s]", "", re.sub(r"\\[A-Za-z]+", "x", tex)))


def _text(node: nodes.Node) -> str:
    """What a cell holds, with a word as long as each formula in its place."""
    if isinstance(node, nodes.math):
        return "x" * _signs(node.astext())
    return node.astext() if not node.children or isinstance(node, nodes.Text) else "".join(map(_text, node.children))


def _widths(group: nodes.tgroup) -> list[int]:
    """How wide the columns of a table should be, of :data:`LINE` signs: as its words need, and as its texts would."""
    rows = [[_text(entry) if not entry.astext().startswith("{\\setlength") else "x" * 22 for entry in row]
            for row in group.findall(nodes.row)]  # fmt: skip
    columns = [[text for text in column if text] or [""] for column in zip(*rows)]
    split = re.compile(r"[\s\u200b]+")
    words = [min(round(1.15 * max(max(map(len, split.split(text))) for text in column)) + 2, 28) for column in columns]
    wanted = [min(max(map(len, column)) + 2, 80) for column in columns]
    spare = LINE - sum(words)
    more = [max(0, want - word) for want, word in zip(wanted, words)]
    return [max(1, word + round(max(0, spare) * extra / (sum(more) or 1))) for word, extra in zip(words, more)]


def _height(row: nodes.row, widths: list[int]) -> int:
    cells = zip(row, widths)
    return max(1 if entry.astext().startswith("{\\setlength") else -(-len(entry.astext()) // max(1, width - 2))
               for entry, width in cells) or 1  # fmt: skip


class Parts(SphinxPostTransform):
    """The front page becomes the first chapter, and the captions of the table of contents become parts."""

    default_priority = 900
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        top = next(self.document.findall(nodes.section), None)
        wrappers = [node for node in top or () if isinstance(node, nodes.compound) and
                    "toctree-wrapper" in node["classes"]]  # fmt: skip
        if top is None or not wrappers:
            return
        title, *own = [node for node in top.children if node not in wrappers]
        first = nodes.section("", nodes.title("", "At a glance"), *own, ids=["at-a-glance"])
        numbered = r"\setcounter{secnumdepth}{%d}"
        pieces: list[nodes.Node] = [nodes.raw("", numbered % -1, format="latex"), first]
        captions = [tree.get("caption", "") for tree in _trees(self.app, self.config.root_doc)]
        for caption, wrapper in zip(captions, wrappers, strict=True):
            back = caption == captions[-1]
            depth = numbered % (-2 if back else 2)
            pieces += [nodes.raw("", f"{depth}\n\\part{{{caption}}}\n{numbered % (-1 if back else 2)}", format="latex"),
                       wrapper]  # fmt: skip
        top.children = []
        top += [title, *pieces]


def _trees(app: Any, root: str) -> list[addnodes.toctree]:
    return [tree for tree in app.env.get_doctree(root).findall(addnodes.toctree) if tree["entries"]]


# --- EPUB -------------------------------------------------------------------------------------------------------------


class Works(SphinxPostTransform):
    """Lists of works have no labels, as on the site: works are cited by authors and year."""

    default_priority = 300
    builders = ("epub",)

    def run(self, **kwargs: Any) -> None:
        for label in list(self.document.findall(nodes.label)):
            if isinstance(label.parent, nodes.citation):
                label.parent.remove(label)


class Breaks(SphinxPostTransform):
    """Long names in code may be broken behind their underscores and colons, by a tag that nobody copies."""

    default_priority = 305
    builders = ("epub",)

    def run(self, **kwargs: Any) -> None:
        for node in list(self.document.findall(nodes.literal)):
            if len(node.astext()) > 30 and len(node.children) == 1:
                first, *more = re.split(r"(?<=[_/.,:])(?=\w)", node.astext())
                node[:] = [nodes.Text(first)]
                for one in more:
                    node += [nodes.raw("", "<wbr/>", format="html"), nodes.Text(one)]


class Stacks(SphinxPostTransform):
    """Cells of wide tables say the head of their column, for narrow windows, where `edition.css` stacks them."""

    default_priority = 304
    builders = ("epub",)

    def run(self, **kwargs: Any) -> None:
        for table in self.document.findall(nodes.table):
            head, *rows = table.findall(nodes.row)
            if not rows or len(head) < 3 or not isinstance(head.parent, nodes.thead):
                continue
            texts = [[_text(cell) for cell in row] for row in (head, *rows)]
            words = [max((len(word) for text in column for word in text.split()), default=0) for column in zip(*texts)]
            if max(sum(words) + 2 * len(words), *(sum(map(len, row)) - 10 for row in texts[1:])) <= NARROW:
                continue
            table["classes"].append("stacked")
            for title, cell in ((title, cell) for row in rows for title, cell in zip(head, row)):
                if title.astext().strip() and cell.astext().strip():
                    copies = [one.deepcopy() for one in title[0].children]
                    cell[0].insert(0, nodes.inline("", "", *copies, nodes.Text(": "), classes=["head"]))


NARROW = 50  # signs of a line of a table in a narrow window


class Epub(Epub3Builder):
    """Sphinx's EPUB, with formulas in MathML and nothing in it that no page uses."""

    def init_css_files(self) -> None:
        self._css_files = []
        for name in ("pygments.css", STYLE):
            self.add_css_file(name)

    def init_js_files(self) -> None:
        self._js_files = []

    def get_toc(self) -> None:
        """The table of contents: parts, their pages, and the sections of these, each by its number and title."""
        self.refnodes = []
        self.toc_add_files(self.refnodes)
        for tree in _trees(self.app, self.config.root_doc):
            pages = [page for _, page in tree["entries"]]
            top = next(self.env.get_doctree(pages[0]).findall(nodes.section))  # no two entries may lead to one place
            self._add(1, tree["caption"], pages[0], f"#{top['ids'][0]}")
            for page in pages:
                numbers = self.env.toc_secnumbers.get(page, {})
                for entry in self.env.tocs[page].findall(addnodes.compact_paragraph):
                    depth = sum(isinstance(above, nodes.bullet_list) for above in _above(entry))
                    anchor = next(entry.findall(nodes.reference))["anchorname"]
                    number = "".join(f"{one}." for one in numbers.get(anchor, ()))
                    if depth <= 2:
                        self._add(1 + depth, f"{number} {entry.astext()}".strip(), page, anchor)

    def _add(self, level: int, title: str, page: str, anchor: str) -> None:
        address = f"{page}{self.out_suffix}{self.fix_fragment('', anchor)}"
        self.refnodes.append({"level": level, "refuri": html.escape(address), "text": html.escape(title)})

    def handle_finish(self) -> None:
        folder = Path(self.outdir)
        pages = sorted(folder.rglob("*.xhtml"))
        for path, text in zip(pages, self.formulas([path.read_text(encoding="utf8") for path in pages]), strict=True):
            path.write_text(text, encoding="utf8")
        self.clear(folder, pages)
        super().handle_finish()

    def formulas(self, pages: list[str]) -> list[str]:
        """The pages with MathML in place of TeX."""
        wanted = [(_tex(found), found["tag"] == "div") for page in pages for found in FORMULA.finditer(page)]
        macros = notation(Path(self.srcdir) / NOTATION)["macros"]
        library = Path(self.srcdir) / "book/_static/mathjax/tex-mml-chtml.js"
        each = dict.fromkeys(wanted)
        made = dict(zip(each, mathml(each, macros, library), strict=True))

        def one(found: re.Match[str]) -> str:
            formula, before, after = made[_tex(found), found["tag"] == "div"], found["before"], found["after"]
            if before or after:  # readers end lines between a formula and a full stop
                pieces = f"{before}{formula}{after}".replace("</math><math", '</math></span><span class="near"><math')
                formula = f'<span class="near">{pieces}</span>'
            return f"{found['open']}{found['number'] or ''}{formula}</{found['tag']}>"

        unwanted = re.compile(r'<a class="headerlink".*?</a>|<script\b.*?</script>|<script\b[^>]*/>'
                              r'| role="doc-biblioentry"', re.S)  # fmt: skip
        return [unique_ids(unwanted.sub("", FORMULA.sub(one, page))) for page in pages]

    def clear(self, folder: Path, pages: list[Path]) -> None:
        """Remove what no page shows: scripts, fonts of scripts, styles of the site and of extensions."""
        foreign = re.compile(rf'\s*<link rel="stylesheet"[^>]*href="(?![^"]*/(?:pygments|{STYLE[:-4]})\.css)[^>]*>')
        for page in pages:
            page.write_text(foreign.sub("", page.read_text(encoding="utf8")), encoding="utf8")
        used = set(pages)
        for page in pages:
            for link in re.findall(r'\b(?:src|href)="([^"]+)"', page.read_text(encoding="utf8")):
                parts = urlsplit(html.unescape(link))
                if not parts.scheme and parts.path:
                    used.add((page.parent / unquote(parts.path)).resolve())
        used = {path.resolve() for path in used}
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_file() and path.resolve() not in used:
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                shutil.rmtree(path)

    def build_content(self) -> None:
        """As Sphinx does, and say which pages have formulas and drawings in them."""
        super().build_content()
        package = Path(self.outdir) / "content.opf"
        text = package.read_text(encoding="utf8")
        for path in sorted(Path(self.outdir).rglob("*.xhtml")):
            page = path.read_text(encoding="utf8")
            holds = " ".join(word for word, tag in (("mathml", "<math"), ("svg", "<svg")) if tag in page)
            name = quote(path.relative_to(self.outdir).as_posix())
            if holds:
                text = text.replace(f'href="{name}"', f'href="{name}" properties="{holds}"', 1)
        package.write_text(text, encoding="utf8")

    def build_toc(self) -> None:
        """As Sphinx does, with the identifier of the package in place of the name of that."""
        super().build_toc()
        contents = Path(self.outdir) / "toc.ncx"
        text = contents.read_text(encoding="utf8")
        identifier = html.escape(self.config.epub_identifier)
        text = re.sub(r'(<meta name="dtb:uid" content=")[^"]*', rf"\g<1>{identifier}", text)
        contents.write_text(text, encoding="utf8")

    def build_epub(self) -> None:
        """Pack the book: the same bytes from the same pages."""
        folder = Path(self.outdir)
        first = ["mimetype", "META-INF/container.xml", "content.opf", "toc.ncx", *self.files]
        target = folder / f"{self.config.epub_basename}.epub"
        pack(target, {name: folder / name for name in dict.fromkeys(first)}, stored={"mimetype"})


def _tex(found: re.Match[str]) -> str:
    text = html.unescape(found["tex"]).strip()
    return text[2:-2] if text.startswith((r"\(", r"\[")) else text


def setup(app: Any) -> dict[str, Any]:
    """Register everything with Sphinx."""
    app.add_builder(Epub, override=True)
    app.connect("config-inited", _configured, priority=950)  # when the table of contents has named the first page
    app.connect("builder-inited", _started, priority=100)
    app.connect("source-read", _source_read, priority=600)  # when the page has been compared with its source
    for one in (Pictures, Lists, Exercises, Boxes, Names, Tables, Parts, Works, Breaks, Stacks):
        app.add_post_transform(one)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
