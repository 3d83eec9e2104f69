"""The PDF: what LaTeX needs of the pages of the site, and how they are set on paper.

LaTeX gets the macros of `book/notation.yml`, fonts that have all signs of the book, parts with their captions, lists of
works where the site has them, tables with widths by what is in them, and a form for paper of what only a screen has.
"""

from __future__ import annotations

import math
import re
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx_exercise.nodes import exercise_latex_number_reference
from sphinx_proof.nodes import proof_node

from .tree import ABOUT, PICTURE, above, signs_of, text_of, trees

__all__ = ["TRANSFORMS", "configure"]

PREAMBLE = r"""
\usepackage{unicode-math}
\setmathfont{texgyretermes-math.otf}
\hypersetup{pdfencoding=auto,psdextra,pdflang=en,pdfsubject={@ABOUT@}}
\emergencystretch=3em
\renewcommand{\bottomtitlespace}{0.1\textheight}  % with less than that below it a heading goes to the next page
\AtBeginDocument{\splitmaxdepth=4pt}  % tables hang from their first line; all of them counts where a box is cut
\setcounter{tocdepth}{1}
\usepackage{newunicodechar}
\newunicodechar{^^^^200b}{\hspace{0pt}}
\newunicodechar{ₜ}{\ensuremath{{}_t}}
\AtBeginEnvironment{tabular}{\footnotesize}\AtBeginEnvironment{tabulary}{\footnotesize}
\AtBeginEnvironment{longtable}{\footnotesize}\setlength{\tabcolsep}{4pt}\setlength{\extrarowheight}{2.5pt}
\makeatletter
\newcolumntype{T}{L}
\newcolumntype{\X}[2]{>{\raggedright\arraybackslash}p{\dimexpr
  (\linewidth-\spx@arrayrulewidth)*#1/#2-\tw@\tabcolsep-\spx@arrayrulewidth\relax}}
\renewcommand{\sphinxtablecontinued}[1]{\textsf{\book@unnumbered#1\textendash\textendash\@nil}}
\def\book@unnumbered#1\textendash#2\textendash#3\@nil{\ifx\relax#2\relax#1\else#2\fi}  % the words behind a number
\setlength{\lineskip}{3pt}\setlength{\normallineskip}{3pt}  % between lines with fractions in them
\makeatother
""".replace("@ABOUT@", ABOUT)
BREAKS = r"""
\makeatletter
% What stands before \bookkeep stays on the page of what follows, as a heading does.
\newcommand{\bookkeep}{\par\nobreak\@afterheading}
% Where a page has no room for a heading and the first lines of a box, it ends.
\newcommand{\bookroomy}{\par\ifdim\pagegoal<\maxdimen
  \ifdim\dimexpr\pagegoal-\pagetotal<0.2\textheight \newpage\fi\fi}
% The title of a box stays with its first lines, and a short box or listing is not cut. A long one that needs the page
% to the last point would go to the next one whole; so it is to leave some of them.
\newcommand{\bookfailed}{\PackageError{book}{a command of Sphinx or framed is not as it was}{}}
% A box that starts a page has lost the space at its top; so a rule without height stands before that.
\patchcmd{\sphinxdotitlerowwithicon}{\kern-}{\hrule\@height\z@\nobreak\kern-}{}{\bookfailed}
\patchcmd{\sphinxdotitlerowwithicon}{\vskip-\parskip}{\nobreak\vskip-\parskip}{}{\bookfailed}
\apptocmd{\sphinxdotitlerowwithicon}{\nobreak\@afterheading}{}{\bookfailed}
\let\bookcut\fb@put@frame
\patchcmd{\bookcut}{\advance\dimen@-\pagetotal}{\advance\dimen@-\pagetotal \advance\dimen@-6pt}{}{\bookfailed}
\renewcommand{\fb@put@frame}[2]{%
  \ifdim\ht\@tempboxa<10\baselineskip \fb@putboxa#1\fb@afterframe \else \bookcut#1#2\fi}
% Between two rows of a table in a box it is ended and begun again, so that the page can end there.
\newcommand{\bookrow}[1]{\end{tabular}\par\nointerlineskip\vskip-\parskip\begin{tabular}[t]{#1}}
% A figure for which there is not enough room becomes smaller if it then fits. \bookroom is what the page has for it
% without #1 lines of its caption.
\newdimen\bookroom
\bookroom\maxdimen
\newcommand{\bookfigure}[1]{\par\ifinner\else
  \global\bookroom\dimexpr\pagegoal-\pagetotal-#1\baselineskip-3\intextsep\relax\fi}
\renewcommand{\sphinxincludegraphics}[2][]{\begingroup
  \setbox\z@\hbox{\sphinxsafeincludegraphics[#1]{#2}}%
  \ifdim\ht\z@>\bookroom \ifdim0.7\ht\z@<\bookroom
    \spx@image@maxheight\bookroom \setbox\z@\hbox{\sphinxsafeincludegraphics[#1]{#2}}\fi\fi
  \global\bookroom\maxdimen \leavevmode\box\z@\endgroup}
% A chapter whose last page would have a few lines only gets pages that are a line longer, and two if that is not
% enough: what one run of LaTeX finds, the next one reads. At the penalty a page that is too full ends.
\newcount\bookchapter
\newif\ifbookopen
\newcommand{\booklonger}[2]{\global\@namedef{book@longer@#1}{#2}}
\newcommand{\bookextra}{\ifcsname book@longer@\the\bookchapter\endcsname
  \@nameuse{book@longer@\the\bookchapter}\else0\fi}
\newcommand{\bookheight}[1]{\clearpage\global\advance\textheight#1\bookextra\bookline
  \global\@colht\textheight\global\@colroom\textheight\global\vsize\textheight}
\newdimen\bookline
\bookline12pt
\newcommand{\bookends}{\par\penalty\z@\ifbookopen
  \@tempcnta\bookextra\relax
  \ifnum\@tempcnta<2 \ifdim\pagetotal>\z@ \ifdim\pagetotal<0.2\textheight \advance\@tempcnta\@ne\fi\fi\fi
  \ifnum\@tempcnta>\z@
    \immediate\write\@auxout{\string\booklonger{\the\bookchapter}{\the\@tempcnta}}\fi
  \bookheight{-}\global\bookopenfalse\fi}
\pretocmd{\part}{\bookends}{}{\bookfailed}
\pretocmd{\chapter}{\bookends\global\advance\bookchapter\@ne\bookheight{}\global\bookopentrue}{}{\bookfailed}
\AtEndDocument{\bookends}
\newcommand{\bookqed}{\unskip\nobreak\hfill\penalty50\hskip1em\null\nobreak\hfill\ensuremath{\square}}
\makeatother
"""
HEADS = r"""
\makeatletter
\fancypagestyle{normal}{\fancyhf{}\renewcommand{\headrulewidth}{0.4pt}\renewcommand{\footrulewidth}{0.4pt}%
  \fancyhead[L]{\py@HeaderFamily\nouppercase{\leftmark}}\fancyhead[R]{\py@HeaderFamily @PROJECT@\ \version}%
  \fancyfoot[L]{\py@HeaderFamily\nouppercase{\rightmark}}\fancyfoot[R]{\py@HeaderFamily\thepage}}
\AtBeginDocument{\renewcommand{\chaptermark}[1]{\markboth{\ifnum\c@secnumdepth>\m@ne\thechapter.\ \fi#1}{}}}
\makeatother
"""
FONTS = r"""
\setmainfont{FreeSerif}[Extension=.otf,UprightFont=*,ItalicFont=*Italic,BoldFont=*Bold,BoldItalicFont=*BoldItalic]
\setsansfont{FreeSans}[Extension=.otf,UprightFont=*,ItalicFont=*Oblique,BoldFont=*Bold,BoldItalicFont=*BoldOblique]
\setmonofont{DejaVuSansMono}[Extension=.ttf,UprightFont=*,ItalicFont=*-Oblique,BoldFont=*-Bold,
  BoldItalicFont=*-BoldOblique,Scale=0.8]
"""
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


def configure(config: Any, macros: dict[str, Any], title: str) -> None:
    """Tell Sphinx how the PDF is made; ``macros`` are those of the notation file, ``title`` is that of the book."""
    config.latex_engine, config.latex_use_xindy = "xelatex", False
    config.latex_show_urls, config.latex_domain_indices = "no", False
    config.latex_table_style = ["booktabs"]
    heads = HEADS.replace("@PROJECT@", config.html_title or config.project)
    named = rf"\AtBeginDocument{{\title{{{title}}}}}"  # Jupyter Book says another one before
    config.latex_elements = {
        "preamble": PREAMBLE + heads + BREAKS + named + macros_latex(macros),
        "papersize": "a4paper", "pointsize": "10pt", "fontpkg": FONTS, "fncychap": "", "printindex": "",
        "figure_align": "H", "maketitle": r"\sphinxmaketitle",
        "tableofcontents": r"\renewcommand{\contentsname}{Contents}\sphinxtableofcontents",
        "extraclassoptions": "openany,oneside",
        "sphinxsetup": "verbatimforcewraps=true,VerbatimColor={gray}{0.97},verbatimwithframe=false,"
                       "hmargin={2.2cm,2.2cm},vmargin={2.4cm,2.4cm}",
        "fvset": r"\fvset{fontsize=\footnotesize}",
    }  # fmt: skip
    config.latex_documents = [(config.root_doc, "diffnotes.tex", config.project, config.author, "manual", False)]


class Lists(SphinxPostTransform):
    """Lists of works stay where the site has them; LaTeX would gather them all at its end."""

    default_priority = 300
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        for node in list(self.document.findall(nodes.citation)):
            words = nodes.paragraph("", "", nodes.raw("", r"{\small{}", format="latex"), classes=["work"])
            for identity in node["ids"]:
                words += nodes.target("", "", ids=[identity])
            for child in node.children[1:]:
                words += child.children if isinstance(child, nodes.paragraph) else child
            words += nodes.raw("", r"\par}", format="latex")
            document = next((one for one in above(node) if isinstance(one, addnodes.start_of_file)), None)
            words["docname"] = node.get("docname") or (document["docname"] if document else "")
            node.replace_self(words)


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


class Figures(SphinxPostTransform):
    """Each figure is told how many lines its caption has, about, for which the page must have room."""

    default_priority = 303
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        for figure in list(self.document.findall(nodes.figure)):
            signs = sum(len(text_of(one)) for one in figure.findall(nodes.caption))
            start = rf"\bookfigure{{{-(-signs // CAPTION)}}}"
            figure.parent.insert(figure.parent.index(figure), nodes.raw("", start, format="latex"))


CAPTION = 100  # signs of a line of a caption


class Boxes(SphinxPostTransform):
    """A box within a box becomes a heading and its text: LaTeX cannot continue such a one on the next page."""

    default_priority = 303
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        for box in list(self.document.findall(nodes.admonition)):
            if any(isinstance(one, nodes.admonition) for one in above(box)):
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


class Headings(SphinxPostTransform):
    """A heading that a box or a listing follows has room for its first lines, too.

    A long box that finds no room goes to the next page and leaves behind what stands before it.
    """

    default_priority = 320
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        labels: dict[nodes.Node, nodes.Node] = {}  # of a section its first one, between which and it nothing may come
        for target in self.document.findall(nodes.target):
            after = target.next_node(ascend=True)
            while isinstance(after, nodes.target):
                after = after.next_node(ascend=True)
            labels.setdefault(after, target)
        for section in list(self.document.findall(nodes.section)):
            first = next((one for one in section[1:] if not isinstance(one, PASSED)), None)
            while isinstance(first, nodes.container) and first.children:
                first = first[0]
            if isinstance(first, (nodes.Admonition, nodes.literal_block)):
                before = labels.get(section, section)
                before.parent.insert(before.parent.index(before), nodes.raw("", r"\bookroomy", format="latex"))


PASSED = (nodes.Invisible, nodes.raw, nodes.target, addnodes.index)


class Names(SphinxPostTransform):
    """Long names in code may be broken behind their underscores and colons, and no spaces are stretched beside them.

    Sphinx lets a line end behind each slash and point in code; behind its last sign that would part it from a comma.
    """

    default_priority = 305
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        for node in list(self.document.findall(nodes.literal)):
            text, line = node.astext(), node.parent
            if len(node.children) != 1:
                continue
            if text[-1] in "/.,;?!":
                node[:] = [nodes.Text(text[:-1]), nodes.raw("", rf"\string{text[-1]}", format="latex")]
            if len(text) > 30:
                node[0] = nodes.Text(re.sub(r"(::|[_/.,])(?=\w)", "\\1\u200b", node[0].astext()))
                if isinstance(line, nodes.paragraph) and not isinstance(line[0], nodes.raw):
                    line.insert(0, nodes.raw("", r"{\raggedright{}", format="latex"))
                    line += nodes.raw("", r"\par}", format="latex")


class Numbers(SphinxPostTransform):
    """Numbers have a minus, an interval stays on its line, in a table with the value that its cell begins with."""

    default_priority = 305
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        verbatim = (nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.raw)
        for text in list(self.document.findall(nodes.Text)):
            if isinstance(text.parent, verbatim):
                continue
            words = typed(text)
            if any(isinstance(one, nodes.entry) for one in above(text)):
                words = re.sub(r"^(\W?\d\S*) (?=\[\W?\d)", "\\1\N{NO-BREAK SPACE}", words)
            if words != text:
                text.parent.replace(text, nodes.Text(words))


def typed(text: str) -> str:
    """``text`` with a minus before its numbers and no break within an interval.

    >>> typed("-1.5 [-2×10⁻⁵, 0.5], 2026-11-29, DDIM-50")
    '\u22121.5 [\u22122×10⁻⁵,\xa00.5], 2026-11-29, DDIM-50'
    """
    text = re.sub(r"(?<![\w)\]-])-(?=\d)", "\N{MINUS SIGN}", text)
    return re.sub(r"(\[\W?\d[^][\s]*), (?=\W?\d[^][\s]*\])", "\\1,\N{NO-BREAK SPACE}", text)


class Tables(SphinxPostTransform):
    """Tables of LaTeX: no box is cut in the middle of a table, so one in a box becomes several between its rows.

    Columns of verdicts, of tables wider than a line or longer than :data:`MOST_LINES` (in a box half of that), and of
    those with long formulas get widths by what is in them.
    """

    default_priority = 310
    builders = ("latex",)

    def run(self, **kwargs: Any) -> None:
        for table in list(self.document.findall(nodes.table)):
            group = next(table.findall(nodes.tgroup))
            cells = [[text_of(entry) for entry in row] for row in group.findall(nodes.row)]
            for entry in group.findall(nodes.entry):
                if not text_of(entry):
                    entry.children = []  # a paragraph without words would be a line
            rows = [row for body in group.findall(nodes.tbody) for row in body]
            widths = _widths(cells)
            lines = sum(_height(row, widths) for row in cells[-len(rows):])
            wide = sum(max(map(len, column)) + 2 for column in zip(*cells)) > LINE
            drawn = any(node.get("format") == "latex" for node in table.findall(nodes.raw))
            stiff = any(signs_of(node.astext()) > STIFF for node in table.findall(nodes.math))
            boxed = any(isinstance(one, nodes.Admonition) for one in above(table))
            if not (wide or drawn or stiff or lines > (MOST_LINES // 2 if boxed else MOST_LINES)):
                continue
            for column, width in zip(group.findall(nodes.colspec), widths):
                column["colwidth"] = width
            table["classes"] = [one for one in table["classes"] if one != "colwidths-auto"] + ["colwidths-given"]
            if boxed:
                columns = "".join(rf"\X{{{width}}}{{{sum(widths)}}}" for width in widths)
                made = []
                for start in range(0, len(rows), MOST_ROWS):
                    copy = table.deepcopy()
                    for body in copy.findall(nodes.tbody):
                        body.children = []
                    body += [row.deepcopy() for row in rows[start : start + MOST_ROWS]]
                    for row in body[1:]:
                        row[0].insert(0, nodes.raw("", rf"\bookrow{{{columns}}}", format="latex"))
                    copy["ids"] = [] if start else table["ids"]
                    made.append(copy)
                table.replace_self(made)
            elif lines > MOST_LINES:
                table["classes"] += ["longtable"]


MOST_LINES = 24  # of a table that is not cut
MOST_ROWS = 29  # below the head of a table that Sphinx does not make one that no box can hold
LINE = 130  # signs of a line of a table
SHORT = (28, 22, 16)  # signs of a cell that is not broken: the most that leaves the others room
HEAD = 1.2  # as wide as that times those of other rows are the letters of a head
ROOM = 1.34  # times the fewest lines may be there for it
STIFF = 12  # signs of a formula that LaTeX may set into a column that is too narrow for it


def _widths(cells: list[list[str]]) -> list[int]:
    """How wide the columns of a table should be, of :data:`LINE` signs; the first of the rows is the head.

    Each is as wide as its words need, or its cells where they are short. What is left goes, sign by sign, to the column
    where it lowers the rows most.

    >>> _widths([["Name", "Meaning", "Use"], ["a", "word " * 40, "few words " * 9], ["b", "word " * 60, ""]])
    [9, 83, 38]
    >>> _widths([["Effect", "Commit"], ["4 [3,\xa05]", "9f2b91f with changes"], ["5", "d010adb"]])
    [11, 23]
    """
    made = []
    for most in SHORT:
        widths = _filled(cells, most)
        lines = sum(_height(row, widths) for row in cells)
        if sum(widths) <= LINE:
            made.append((lines, widths))
    fewest = min((lines for lines, _ in made), default=0)
    return next((widths for lines, widths in made if lines <= ROOM * fewest), widths)


def _filled(cells: list[list[str]], most: int) -> list[int]:
    """The widths of the columns where cells with at most ``most`` signs are not broken."""
    split = re.compile(r"[^\S\xa0]+|\u200b")
    columns = list(zip(*cells))
    short = [max(map(len, column[1:]), default=0) <= most for column in columns]
    needs = [max(_signs(word) * (1 if number else HEAD) for number, text in enumerate(column) for word in (
             [text] if whole and number else split.split(text))) for column, whole in zip(columns, short)]  # fmt: skip
    widths = [min(math.ceil(need + 2.4), 36) for need in needs]  # with the space between columns
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


def _signs(text: str) -> float:
    """How wide ``text`` is, of signs of usual width: capitals are wider, spaces narrower."""
    return sum(0.6 if sign.isspace() else 1.6 if sign.isupper() else 1.05 if sign.islower() else 1.12 for sign in text)


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
        parts = trees(self.app, self.config.root_doc)
        for tree, wrapper in zip(parts, wrappers, strict=True):
            part, chapters = (-2, -1) if tree is parts[-1] else (2, 2 if tree.get("numbered") else 0)
            text = f"{numbered % part}\n\\part{{{tree.get('caption', '')}}}\n{numbered % chapters}"
            pieces += [nodes.raw("", text, format="latex"), wrapper]
        top.children = []
        top += [title, *pieces]


TRANSFORMS = (Lists, Exercises, Figures, Boxes, Proofs, Cards, Names, Numbers, Tables, Leads, Headings,
              Parts)  # fmt: skip
