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
from sphinx_proof.nodes import proof_node

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
\newunicodechar{^^^^200b}{\hspace{0pt}}
\newunicodechar{ₜ}{\ensuremath{{}_t}}
\AtBeginEnvironment{tabular}{\footnotesize}\AtBeginEnvironment{tabulary}{\footnotesize}
\AtBeginEnvironment{longtable}{\footnotesize}\setlength{\tabcolsep}{4pt}
\makeatletter
\newcolumntype{T}{L}
\newcolumntype{\X}[2]{>{\raggedright\arraybackslash}p{\dimexpr
  (\linewidth-\spx@arrayrulewidth)*#1/#2-\tw@\tabcolsep-\spx@arrayrulewidth\relax}}
\renewcommand{\sphinxtablecontinued}[1]{\textsf{\book@unnumbered#1\textendash\textendash\@nil}}
\def\book@unnumbered#1\textendash#2\textendash#3\@nil{\ifx\relax#2\relax#1\else#2\fi}  % the words behind a number
\setlength{\lineskip}{3pt}\setlength{\normallineskip}{3pt}  % between lines with fractions in them
\makeatother
"""
BREAKS = r"""
\makeatletter
% What stands before \bookkeep stays on the page of what follows, as a heading does.
\newcommand{\bookkeep}{\par\nobreak\@afterheading}
% The title of a box stays with its first lines, and a short box or listing is not cut. A long one that needs the page
% to the last point would go to the next one whole; so it is to leave some of them.
\newcommand{\bookfailed}{\PackageError{book}{a command of Sphinx or framed is not as it was}{}}
\patchcmd{\sphinxdotitlerowwithicon}{\vskip-\parskip}{\nobreak\vskip-\parskip}{}{\bookfailed}
\apptocmd{\sphinxdotitlerowwithicon}{\nobreak\@afterheading}{}{\bookfailed}
\let\bookcut\fb@put@frame
\patchcmd{\bookcut}{\advance\dimen@-\pagetotal}{\advance\dimen@-\pagetotal \advance\dimen@-6pt}{}{\bookfailed}
\renewcommand{\fb@put@frame}[2]{%
  \ifdim\ht\@tempboxa<10\baselineskip \fb@putboxa#1\fb@afterframe \else \bookcut#1#2\fi}
\newcommand{\bookqed}{\unskip\nobreak\hfill\penalty50\hskip1em\null\nobreak\hfill\ensuremath{\square}}
\makeatother
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
        "figure_align": "H", "preamble": PREAMBLE + BREAKS + macros_latex(macros), "maketitle": r"\sphinxmaketitle",
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


class Proofs(SphinxPostTransform):
    """A proof is text that a square ends: a box of sphinx-proof has no title for it."""

    default_priority = 303
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        for proof in list(self.document.findall(proof_node)):
            box = proof[0]
            first, last = box[0], box[-1]
            words = first[0].removeprefix("Proof. ")
            first[:1] = [nodes.emphasis("", "Proof."), nodes.Text(f" {words}")]
            if not isinstance(last, nodes.paragraph):
                last = nodes.paragraph()
                box += last
            last += nodes.raw("", r"\bookqed{}", format="latex")
            proof.replace_self(box.children)


class Cards(SphinxPostTransform):
    """A grid of cards becomes a list: the title of a card, what it says, and the page that it leads to."""

    default_priority = 303
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        for grid in list(_components(self.document, "grid-container")):
            items = nodes.bullet_list()
            for card in _components(grid, "card"):
                title, body = next(_components(card, "card-title")), next(_components(card, "card-body"))
                links = [link for one in card.children[card.index(body) + 1 :] for link in one.findall(nodes.reference)]
                body.remove(title)
                body[0].insert(0, [nodes.strong("", f"{title.astext()}."), nodes.Text(" ")])
                body[-1] += [child for link in links for child in (nodes.Text(" → "), link)]
                items += nodes.list_item("", *body.children)
            grid.replace_self(items)


def _components(node: nodes.Node, name: str) -> Any:
    """What sphinx-design calls ``name`` in ``node``."""
    return (one for one in node.findall(nodes.container) if one.get("design_component") == name)


class Leads(SphinxPostTransform):
    """What leads to a table or a list stays on its page: the line before a table, one with a colon, a small heading."""

    default_priority = 320
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        for line in list(self.document.findall(nodes.paragraph)):
            after = line.next_node(descend=False, siblings=True)
            heading = len(line) == 1 and isinstance(line[0], (nodes.strong, nodes.emphasis))
            if after and (heading or isinstance(after, nodes.table) or line.astext().endswith(":")):
                line.parent.insert(line.parent.index(line) + 1, nodes.raw("", r"\bookkeep", format="latex"))


class Names(SphinxPostTransform):
    """Long names in code may be broken behind their underscores and colons."""

    default_priority = 305
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        for node in self.document.findall(nodes.literal):
            if len(node.astext()) > 30 and len(node.children) == 1:
                node[:] = [nodes.Text(re.sub(r"(::|[_/.,])(?=\w)", "\\1\u200b", node.astext()))]


class Numbers(SphinxPostTransform):
    """Numbers have a minus, an interval stays on its line, and letters have their indices below and above."""

    default_priority = 305
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        verbatim = (nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.raw)
        for text in list(self.document.findall(nodes.Text)):
            if not isinstance(text.parent, verbatim) and (made := raised(typed(text))) != [text]:
                text.parent.replace(text, made)


def typed(text: str) -> str:
    """``text`` with a minus before its numbers and no break within an interval.

    >>> typed("-1.5 [-2×10⁻⁵, 0.5], 2026-11-29, DDIM-50")
    '\u22121.5 [\u22122×10⁻⁵,\xa00.5], 2026-11-29, DDIM-50'
    """
    text = re.sub(r"(?<![\w)\]-])-(?=\d)", "\N{MINUS SIGN}", text)
    return re.sub(r"(\[\W?\d[^][\s]*), (?=\W?\d[^][\s]*\])", "\\1,\N{NO-BREAK SPACE}", text)


def raised(text: str) -> list[nodes.Node]:
    """``text`` with what stands behind ``_`` and ``^`` of a letter below and above it.

    >>> raised("condition on σ_t, not on loss_weight")
    [<#text: 'condition on σ'>, <subscript: <#text: 't'>>, <#text: ', not on loss_weight'>]
    """
    made, end = [], 0
    for found in MARKED.finditer(text):
        made.append(nodes.Text(text[end : found.end("letter")]))
        made += [kind("", word) for kind, word in zip((nodes.subscript, nodes.superscript), found.group(2, 3)) if word]
        end = found.end()
    return [*made, nodes.Text(text[end:])] if text[end:] else made


MARKED = re.compile(r"(?<!\w)(?P<letter>[^\W\d_]|SNR)(?=[_^])(?:_([^\W_]+))?(?:\^(\w+(?:\.\d+)?))?(?![\w^])")


class Tables(SphinxPostTransform):
    """Tables of LaTeX: no box is cut in the middle of a table, so a long one in a box becomes several with one head.

    Columns of verdicts, of tables wider than a line or longer than :data:`MOST_LINES`, and of those with long formulas
    get widths by what is in them.
    """

    default_priority = 310
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        for table in list(self.document.findall(nodes.table)):
            group = next(table.findall(nodes.tgroup))
            cells = [[_text(entry) for entry in row] for row in group.findall(nodes.row)]
            for entry in group.findall(nodes.entry):
                if not _text(entry):
                    entry.children = []  # a paragraph without words would be a line
            rows = [row for body in group.findall(nodes.tbody) for row in body]
            widths = _widths(cells)
            heights = [_height(row, widths) for row in cells[-len(rows):]]
            wide = sum(max(map(len, column)) + 2 for column in zip(*cells)) > LINE
            drawn = any(node.get("format") == "latex" for node in table.findall(nodes.raw))
            stiff = any(_signs(node.astext()) > STIFF for node in table.findall(nodes.math))
            if not (wide or drawn or stiff or sum(heights) > MOST_LINES):
                continue
            for column, width in zip(group.findall(nodes.colspec), widths):
                column["colwidth"] = width
            table["classes"] = [one for one in table["classes"] if one != "colwidths-auto"] + ["colwidths-given"]
            if not any(isinstance(one, nodes.Admonition) for one in _above(table)):
                table["classes"] += ["longtable"] if sum(heights) > MOST_LINES else []
                continue
            made = []
            for piece in _pieces(rows, heights):
                copy = table.deepcopy()
                for body in copy.findall(nodes.tbody):
                    body.children = []
                    body += [row.deepcopy() for row in piece]
                copy["ids"] = table["ids"] if not made else []
                made.append(copy)
            table.replace_self(made)


MOST_LINES = 24  # of a table that is not cut
LINE = 130  # signs of a line of a table
SHORT = 16  # signs of a cell that is not broken
STIFF = 12  # signs of a formula that LaTeX may set into a column that is too narrow for it
PICTURE = "x" * 15  # as wide as the picture of a verdict
WIDTHS = {  # of what is no single sign in a formula
    **dict.fromkeys(r"{ } ^ _ \, \; \: \! \mathrm \mathcal \mathbb \mathbf \operatorname \displaystyle".split(), 0),
    **dict.fromkeys(r"\hat \bar \tilde \left \right \bigl \bigr".split(), 0),
    **dict.fromkeys(r"= < > ~ + - \sim \in \mid \le \to \approx \log \exp \min \max".split(), 3),
}


def _pieces(rows: list[Any], heights: list[int]) -> list[list[Any]]:
    """The rows of a table in as few pieces of at most :data:`MOST_LINES` as can be, about equally high.

    >>> [len(piece) for piece in _pieces(["row"] * 30, [1] * 30)]
    [15, 15]
    """
    most = sum(heights) / -(-sum(heights) // MOST_LINES)
    pieces, lines = [[]], 0
    for row, height in zip(rows, heights):
        if pieces[-1] and lines + height / 2 > most * len(pieces):
            pieces.append([])
        pieces[-1].append(row)
        lines += height
    return pieces


def _signs(tex: str) -> int:
    r"""About how many signs wide a formula is; it is not broken.

    >>> _signs(r"\E\, w(t) \norm{y - \hat y}^2"), _signs(r"\mathrm{SNR}(t) = \alpha_t^2")
    (12, 12)
    """
    return sum(WIDTHS.get(token, 1) for token in re.findall(r"\\[A-Za-z]+|\\.|\S", tex))


def _text(node: nodes.Node) -> str:
    """What a cell holds, with a word as long as each formula and picture in its place."""
    if isinstance(node, nodes.math):
        return "x" * _signs(node.astext())
    if isinstance(node, nodes.raw):
        return PICTURE
    return node.astext() if not node.children or isinstance(node, nodes.Text) else "".join(map(_text, node.children))


def _widths(cells: list[list[str]]) -> list[int]:
    """How wide the columns of a table should be, of :data:`LINE` signs.

    Each is as wide as its words need, or its cells where they are short. What is left goes, sign by sign, to the column
    where it lowers the rows most.

    >>> _widths([["Name", "Meaning", "Use"], ["a", "word " * 40, "few words " * 9], ["b", "word " * 60, ""]])
    [7, 84, 39]
    """
    split = re.compile(r"[^\S\xa0]+|\u200b")
    columns = list(zip(*cells))
    short = [max(map(len, column)) <= SHORT for column in columns]
    needs = [max(len(word) for text in column for word in ([text] if whole else split.split(text)))
             for column, whole in zip(columns, short)]  # fmt: skip
    widths = [min(round(1.15 * need) + 2, 36) for need in needs]
    for _ in range(LINE - sum(widths)):
        wants = [0.0] * len(widths)
        for row in cells:
            lines = [len(text) / max(1, width - 2) for text, width in zip(row, widths)]
            if (highest := max(lines)) > 1:
                wants[lines.index(highest)] += highest / widths[lines.index(highest)]
        if not any(wants):
            break
        widths[wants.index(max(wants))] += 1
    return widths


def _height(row: list[str], widths: list[int]) -> int:
    return max(1 if text == PICTURE else -(-len(text) // max(1, width - 2)) for text, width in zip(row, widths)) or 1


class Parts(SphinxPostTransform):
    """The front page becomes the first chapter, and the captions of the table of contents become parts.

    Sections have numbers where the site has them; those of exercises are numbered by hand.
    """

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
        trees = _trees(self.app, self.config.root_doc)
        for tree, wrapper in zip(trees, wrappers, strict=True):
            part, chapters = (-2, -1) if tree is trees[-1] else (2, 2 if tree.get("numbered") else 0)
            text = f"{numbered % part}\n\\part{{{tree.get('caption', '')}}}\n{numbered % chapters}"
            pieces += [nodes.raw("", text, format="latex"), wrapper]
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
    for one in (Pictures, Lists, Exercises, Boxes, Proofs, Cards, Names, Numbers, Tables, Leads, Parts, Works, Breaks,
                Stacks):  # fmt: skip
        app.add_post_transform(one)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
