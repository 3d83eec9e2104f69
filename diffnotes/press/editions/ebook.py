"""The EPUB: Sphinx's, with formulas in MathML, no script, and only the files that its pages use."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from docutils import nodes
from sphinx import addnodes
from sphinx.builders.epub3 import Epub3Builder
from sphinx.transforms.post_transforms import SphinxPostTransform

from ..directives import unique_ids
from ..finish import JOINT
from ..reference import NOTATION, notation
from .archive import pack
from .cover import cover
from .formulas import mathml
from .tree import ABOUT, above, text_of, trees

__all__ = ["TRANSFORMS", "Epub", "configure"]

STYLE, COVER = "edition.css", "_images/cover.png"
FORMULA = re.compile(
    r'(?P<before>[(\[“‘]*)(?P<open><(?P<tag>span|div) class="math notranslate nohighlight"[^>]*>)'
    r'(?P<number>\s*<span class="eqno">.*?</span>)?(?P<tex>.*?)</(?P=tag)>(?P<after>[^\s\w<&]*)', re.S)  # fmt: skip

LANDMARKS = """    <nav epub:type="landmarks" hidden="hidden">
      <h2>Landmarks</h2>
      <ol>
        <li><a epub:type="toc" href="nav.xhtml">Table of Contents</a></li>
        <li><a epub:type="bodymatter" href="{}">Begin reading</a></li>
      </ol>
    </nav>
"""
ACCESS = "".join(f'    <meta property="schema:{name}">{value}</meta>\n' for name, value in (
    ("accessMode", "textual"), ("accessMode", "visual"), ("accessModeSufficient", "textual"),
    *(("accessibilityFeature", one) for one in (
        "alternativeText", "MathML", "readingOrder", "structuralNavigation", "tableOfContents")),
    ("accessibilityHazard", "none"),
    ("accessibilitySummary", "Every figure has a caption and a text alternative that says what its data show; formulas "
                             "are MathML. Colour is never the only difference."),
))  # fmt: skip


def configure(config: Any, address: str, title: str) -> None:
    """Tell Sphinx what the EPUB says of itself; ``address`` is that of the site on the web, or ""."""
    config.epub_title = title
    config.epub_author, config.epub_publisher = config.author, config.author
    config.epub_description = ABOUT
    config.epub_contributor, config.epub_basename = config.author, "diffnotes"
    config.epub_identifier = address or "diffnotes"
    config.epub_uid, config.epub_scheme, config.epub_show_urls = "book", "URL", "no"
    config.epub_tocdepth, config.epub_tocdup, config.epub_tocscope = 3, False, "includehidden"
    config.epub_use_index = False
    config.epub_cover = (COVER, "epub-cover.html")


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
                first, *more = JOINT.split(node.astext())
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
            texts = [[text_of(cell) for cell in row] for row in (head, *rows)]
            words = [max((len(word) for text in column for word in text.split()), default=0) for column in zip(*texts)]
            if max(sum(words) + 2 * len(words), *(sum(map(len, row)) - 10 for row in texts[1:])) <= NARROW:
                continue
            table["classes"].append("stacked")
            for title, cell in ((title, cell) for row in rows for title, cell in zip(head, row)):
                if title.astext().strip() and cell.astext().strip():
                    if len(text_of(title)) + len(text_of(cell)) <= SHORT:
                        cell["classes"].append("short")
                    copies = [one.deepcopy() for one in title[0].children]
                    cell[0].insert(0, nodes.inline("", "", *copies, nodes.Text(": "), classes=["head"]))


NARROW = 50  # signs of a line of a table in a narrow window
SHORT = 24  # signs of a cell and its head that leave room for another beside them


class Epub(Epub3Builder):
    """Sphinx's EPUB, with formulas in MathML and nothing in it that no page uses."""

    def init_css_files(self) -> None:
        self._css_files = []
        self.add_css_file(STYLE)

    def init_js_files(self) -> None:
        self._js_files = []

    def get_toc(self) -> None:
        """The table of contents: parts, their pages, and the sections of these, each by its number and title."""
        self.refnodes = []
        self.toc_add_files(self.refnodes)
        for tree in trees(self.app, self.config.root_doc):
            pages = [page for _, page in tree["entries"]]
            top = next(self.env.get_doctree(pages[0]).findall(nodes.section))  # no two entries may lead to one place
            self._add(1, tree["caption"], pages[0], "")
            for page in pages:
                numbers = self.env.toc_secnumbers.get(page, {})
                for entry in self.env.tocs[page].findall(addnodes.compact_paragraph):
                    depth = sum(isinstance(above, nodes.bullet_list) for above in above(entry))
                    anchor = next(entry.findall(nodes.reference))["anchorname"]
                    number = "".join(f"{one}." for one in numbers.get(anchor, ()))
                    if depth <= 2:
                        place = anchor or (f"#{top['ids'][0]}" if page == pages[0] else "")
                        self._add(1 + depth, f"{number} {entry.astext()}".strip(), page, place)

    def _add(self, level: int, title: str, page: str, anchor: str) -> None:
        address = f"{page}{self.out_suffix}{self.fix_fragment('', anchor)}"
        self.refnodes.append({"level": level, "refuri": html.escape(address), "text": html.escape(title)})

    def handle_finish(self) -> None:
        folder = Path(self.outdir)
        pages = sorted(folder.rglob("*.xhtml"))
        for path, text in zip(pages, self.formulas([path.read_text(encoding="utf8") for path in pages]), strict=True):
            path.write_text(text, encoding="utf8")
        self.clear(folder, pages)
        (folder / COVER).parent.mkdir(exist_ok=True)
        (folder / COVER).write_bytes(cover(self.config.epub_title, self.config.html_title or self.config.project))
        super().handle_finish()

    def formulas(self, pages: list[str]) -> list[str]:
        """The pages with MathML in place of TeX, the language of the book, and without what no reader needs."""
        wanted = [(_tex(found), found["tag"] == "div") for page in pages for found in FORMULA.finditer(page)]
        macros = notation(Path(self.srcdir) / NOTATION)["macros"]
        library = Path(self.srcdir) / "book/_static/mathjax/tex-mml-chtml.js"
        each = dict.fromkeys(wanted)
        made = dict(zip(each, mathml(each, macros, library), strict=True))

        def one(found: re.Match[str]) -> str:
            formula, before, after = made[_tex(found), found["tag"] == "div"], found["before"], found["after"]
            if before or after:  # readers end lines between a formula and a full stop
                formula = re.sub("<math.*?</math>", r'<span class="near">\g<0></span>', formula, flags=re.S)
                first, last = formula.index("<math"), formula.rindex("</math>") + len("</math>")
                formula = f"{formula[:first]}{before}{formula[first:last]}{after}{formula[last:]}"
            return f"{found['open']}{found['number'] or ''}{formula}</{found['tag']}>"

        unwanted = re.compile(
            r'<a class="headerlink".*?</a>|<script\b.*?</script>|<script\b[^>]*/>| role="doc-biblioentry"'
            r'|(?<=/>)<meta name="viewport"[^>]*>'
            rf'|\s*<link rel="stylesheet"[^>]*href="(?![^"]*/{re.escape(STYLE)})[^>]*>', re.S)  # fmt: skip
        language = f'<html lang="{self.config.language}" xml:lang="{self.config.language}" '
        return [unique_ids(unwanted.sub("", FORMULA.sub(one, page))).replace("<html ", language, 1) for page in pages]

    def clear(self, folder: Path, pages: list[Path]) -> None:
        """Remove what no page shows: scripts, fonts of scripts, styles of the site and of extensions."""
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
        """As Sphinx does, and say which pages have formulas and drawings in them, and who can read the book."""
        super().build_content()
        package = Path(self.outdir) / "content.opf"
        text = package.read_text(encoding="utf8").replace(f'href="{COVER}"', f'href="{COVER}" properties="cover-image"')
        front = Path(self.outdir) / self.coverpage_name
        title = html.escape(f"Cover: {self.env.titles[self.config.root_doc].astext()}")
        [page] = self.formulas([front.read_text(encoding="utf8").replace("Cover image", title)])
        front.write_text(re.sub("<title>.*?</title>", f"<title>{title}</title>", page), encoding="utf8")
        for path in sorted(Path(self.outdir).rglob("*.xhtml")):
            page = path.read_text(encoding="utf8")
            holds = " ".join(word for word, tag in (("mathml", "<math"), ("svg", "<svg")) if tag in page)
            name = quote(path.relative_to(self.outdir).as_posix())
            if holds:
                text = text.replace(f'href="{name}"', f'href="{name}" properties="{holds}"', 1)
        text = text.replace("  </metadata>", f"{ACCESS}  </metadata>")
        text = re.sub(r'\s*<meta property="ibooks:(?:specified-fonts|binding)">true</meta>', "", text)
        text = text.replace("  </spine>", '    <itemref idref="nav" linear="no" />\n  </spine>')
        text = re.sub(r'(<reference type="toc" [^>]*href=")[^"]*', r"\1nav.xhtml", text)
        package.write_text(text, encoding="utf8")

    def build_navigation_doc(self) -> None:
        """As Sphinx does, and say where the contents and the text begin."""
        super().build_navigation_doc()
        path = Path(self.outdir) / "nav.xhtml"
        begin = html.escape(self.refnodes[0]["refuri"])
        path.write_text(path.read_text(encoding="utf8").replace("  </body>", LANDMARKS.format(begin) + "  </body>"),
                        encoding="utf8")  # fmt: skip

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


TRANSFORMS = (Works, Breaks, Stacks)
