"""PDF, EPUB and archive: one small chapter through both builders, and staged faults that the checks must see."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import unicodedata
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
import sites
import yaml
from browser import Browser
from PIL import Image

from diffnotes.press.command import main
from diffnotes.press.editions import archive, checking, formulas, making, picture, writers
from diffnotes.press.errors import PressError
from diffnotes.press.layout import Project
from diffnotes.press.ledger.box import picture as svg_of
from diffnotes.press.reference import notation
from diffnotes.press.site import SUMS, assemble, build, choose

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "book/_static/mathjax/tex-mml-chtml.js"
MACROS = notation(ROOT / "book/notation.yml")["macros"]
MATH = "{http://www.w3.org/1998/Math/MathML}"
TEX = shutil.which("latexmk") and shutil.which("xelatex") and shutil.which("pdftotext")
# Where the tests are to decide, as in continuous integration, LaTeX that is missing is a failure.
needs_tex = pytest.mark.skipif(not TEX and not os.environ.get("DIFFNOTES_PRINT"), reason="no LaTeX: "
                               "`.ci/system-packages print`; DIFFNOTES_PRINT=1 makes this a failure")  # fmt: skip
EPUBCHECK = Path("/usr/share/java/epubcheck.jar")  # where Debian has it; its command needs a kernel that runs archives


# --- formulas -------------------------------------------------------------------------------------------------------


def test_formulas_are_what_their_tex_says():
    """By hand: a fraction, a macro with an argument, one of an extension that is loaded on demand, signs of XML."""
    made = formulas.mathml([(r"\frac{a}{b}", False), (r"\norm{x} < 1", True), (r"\boldsymbol{\mu} \& y", False)],
                           MACROS, LIBRARY)  # fmt: skip
    trees = [ElementTree.fromstring(f"<span>{one}</span>") for one in made]
    fraction = trees[0].find(f"{MATH}math/{MATH}mfrac")
    assert ["".join(child.itertext()) for child in fraction] == ["a", "b"] and "display" not in made[0]
    assert "".join(trees[1].itertext()).replace("(", "") == "‖x‖<1" and "display" in made[1]
    assert "".join(trees[2].itertext()) == "𝝁&y"
    assert formulas.mathml([], MACROS, LIBRARY) == []


def test_letters_of_formulas_show_their_style():
    """Against the names of Unicode, also where its rows of letters have gaps; upright letters stay as they are."""
    tex = r"\E \R \N \mathcal{B} \I \boldsymbol{\mu} \mathbb{1} \mathfrak{C} \mathsf{a} \mathit{h} \Gamma x"
    [made] = formulas.mathml([(tex, False)], MACROS, LIBRARY)
    found = [unicodedata.name(sign) for sign in "".join(ElementTree.fromstring(made).itertext())]
    assert [name.removeprefix("MATHEMATICAL ") for name in found] == [
        "DOUBLE-STRUCK CAPITAL E", "DOUBLE-STRUCK CAPITAL R", "SCRIPT CAPITAL N", "SCRIPT CAPITAL B", "BOLD CAPITAL I",
        "BOLD ITALIC SMALL MU", "DOUBLE-STRUCK DIGIT ONE", "BLACK-LETTER CAPITAL C", "SANS-SERIF SMALL A",
        "PLANCK CONSTANT", "GREEK CAPITAL LETTER GAMMA", "LATIN SMALL LETTER X"]  # fmt: skip
    assert re.findall(r'mathvariant="[^"]*"', made) == ['mathvariant="normal"']
    assert formulas.letters("Ab1", "bold-sans-serif") == "𝗔𝗯𝟭" and formulas.letters("μ<", "bold-italic") == "𝝁&lt;"


@pytest.mark.parametrize("tex, sides", [
    (r"-x", [(0, 0)]),
    (r"a - b = c", [(4, 4), (5, 5)]),
    (r"\log \SNR", [(0, 3)]),  # the sign that applies a function, which nobody sees
    (r"\log(x)", [(0, 0), (0, 0), (0, 0)]),
    (r"x \given y, z", [(5, 5), (0, 3)]),
    (r"a / b", [(0, 0)]),
    (r"x^{a + b}", [(0, 0)]),
    (r"a + \sum x", [(4, 0), (4, 3)]),
])  # fmt: skip
def test_formulas_have_the_spaces_of_tex(tex, sides):
    """Against The TeXbook, chapter 18: thin, medium and thick are 3, 4 and 5 eighteenths of an em."""
    [made] = formulas.mathml([(tex, False)], MACROS, LIBRARY)
    found = [[one.get(side).removesuffix("em") for side in ("lspace", "rspace")]
             for one in ElementTree.fromstring(made).iter(f"{MATH}mo")]  # fmt: skip
    assert [[round(18 * float(side)) for side in one] for one in found] == [list(one) for one in sides]


@pytest.mark.parametrize("tex, display, rows", [
    (r"a + b = c", False, ["a+b=c"]),  # short, so it stays in one piece
    (r"a + b = c", True, ["a", "+b", "=c"]),
    (r"x = -(a + b) [c = d], \quad f(y \given z) < \|a - b\| - |c + d| + 1", False,
     ["x", "=−(a+b)[c=d],", "f(y∣z)", "<‖a−b‖", "−|c+d|", "+1"]),
    (r"\displaystyle \sum_i \Bigl(a + \frac{b + c}{d + e}\Bigr) \le \left[p - q\right] + r", False,
     ["∑i(a+b+cd+e)", "≤[p−q]", "+r"]),
    (r"\sigma(a + b)/[c + d] a/b", True, ["σ(a+b)", "/[c+d]a/b"]),
    (r"\begin{aligned} a &= b \\ &= c \end{aligned}", True, ["a=b=c"]),
    (r"y = f\left[a + b + (c + d) + e + f + g - h - i - j - k - l - m\right] \mid z", True,
     ["y", "=f[a", "+b", "+(c+d)", "+e", "+f", "+g", "−h", "−i", "−j", "−k", "−l", "−m]∣z"]),
])  # fmt: skip
def test_long_formulas_can_be_broken_outside_short_brackets(tex, display, rows):
    """By hand: no reader breaks a formula, so that one becomes several where a line may end."""
    [made] = formulas.mathml([(tex, display)], MACROS, LIBRARY)
    pieces = list(ElementTree.fromstring(f"<span>{made}</span>").iter(f"{MATH}math"))
    assert ["".join(one.itertext()) for one in pieces] == rows
    if len(rows) > 1:
        assert all(one.get("display") is None for one in pieces)
        assert {one.get("displaystyle") for one in pieces} == {"true" if display or "displaystyle" in tex else None}


def test_brackets_that_a_line_ends_in_are_of_one_size():
    """Those around a long sum of fractions: each reader would fit them to what stands in their line."""
    long = r"\left(\frac{a}{b} + c + d + e + f + g + h + i + j + k + l + m + n\right) + (o)"
    [made] = formulas.mathml([(long, True)], MACROS, LIBRARY)
    assert re.findall(r'<mo[^>]*? minsize="([^"]*)" maxsize="([^"]*)"[^>]*>(.)<', made) == [
        ("2.4em", "2.4em", "("), ("2.4em", "2.4em", ")")]  # fmt: skip


@pytest.mark.parametrize("tex, parts", [
    (r"x = a, \qquad y = b, \quad z = c", ["x=a,", "y=b,", "z=c"]),
    (r"x = a,\; y = b", []),
])  # fmt: skip
def test_formulas_side_by_side_keep_together(tex, parts):
    [made] = formulas.mathml([(tex, True)], MACROS, LIBRARY)
    found = ElementTree.fromstring(f"<p>{made}</p>").findall("span[@class='whole']")
    assert ["".join(one.itertext()) for one in found] == parts


def test_columns_of_a_derivation_are_aligned():
    """Readers of MathML know neither ``columnalign`` nor ``columnspacing``."""
    [made] = formulas.mathml([(r"\begin{aligned} a &= b & c &= d \end{aligned}", True)], MACROS, LIBRARY)
    found = [one.get("style") for one in ElementTree.fromstring(made).iter(f"{MATH}mtd")]
    assert [re.search(r"text-align: (\w+)", one)[1] for one in found] == ["right", "left", "right", "left"]
    assert [re.search(r"padding-left: (\w+)", one)[1] for one in found] == ["0", "0em", "2em", "0em"]


def test_a_space_that_no_operator_has_and_an_accent():
    space, accent, line = formulas.mathml([(r"d \log x", False), (r"\hat x", False), (r"\overline x", False)],
                                          MACROS, LIBRARY)  # fmt: skip
    assert '<mi>d</mi><mspace width="0.1667em"></mspace><mi>log</mi>' in space
    assert '<mover accent="true">' in accent and '<mover accent="true">' in line
    assert "&#x2C6;" in accent  # no wider than its letter


@pytest.mark.parametrize("tex", [r"\frac{a}", r"\nothing", r"x}"])
def test_a_formula_that_cannot_be_set_is_named(tex):
    with pytest.raises(PressError, match=re.escape(tex[:6])):
        formulas.mathml([("x", False), (tex, False)], MACROS, LIBRARY)


def test_without_a_browser_it_is_said_how_to_get_one(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("DIFFNOTES_CHROMIUM", raising=False)
    monkeypatch.setattr(formulas, "MAC", ())
    with pytest.raises(PressError, match=r"system-packages browser"):
        formulas.browser()


def test_the_picture_of_a_verdict_has_its_numbers():
    part = {"name": "gap", "rule": "< 0.5", "state": "open", "unit": "", "value": 0.4, "low": 0.3, "high": 0.6,
            "pooled": [0.42, 0.35, 0.55]}  # fmt: skip
    svg = svg_of(part)
    made = picture.drawn(svg)
    assert made.count(r"\line(1,0)") == 2 and made.count(r"\line(0,1)") == 1 and made.count(r"\circle*") == 1
    assert r"\blacklozenge" in made
    centre = float(re.search(r'cx="([\d.]+)"', svg)[1])
    assert rf"\put({centre:g},12){{\circle*" in made  # a third from the top of 18
    low, high = map(float, re.search(r'class="interval" d="M([\d.]+) [\d.]+H([\d.]+)"', svg).groups())
    length = float(re.search(rf"\\put\({low:g},12\){{\\line\(1,0\){{([\d.]+)}}", made)[1])
    assert length == pytest.approx(high - low, abs=1e-6)


def test_a_book_without_an_address_names_the_page_without_a_link():
    output = {"output_type": "display_data", "metadata": {}, "data": {"text/html": '<div class="player"></div>'}}
    page = json.dumps({"cells": [{"metadata": {}, "outputs": [output]}]})
    for address, words in (("", "On the page of this chapter in the site that `make book` builds it"),
                           ("https://a.org/b", "[page of this chapter](https://a")):  # fmt: skip
        assert words in json.dumps(json.loads(writers.without_moving(page, address)), ensure_ascii=False)


# --- both books -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A book of one chapter, whose repository has an address, ready for a builder."""
    folder = tmp_path_factory.mktemp("editions")
    project = sites.runnable(folder / "project")
    chosen = choose(project, "latest")
    assemble(project, chosen, folder / "source")
    config = folder / "source/_config.yml"
    config.write_text(config.read_text().replace('  url: ""', "  url: https://github.com/diffnotes/diffnotes"))
    return folder


@pytest.fixture(scope="module")
def epub(tree):
    return making.bound(tree / "source", tree / "epub-work", when=1_700_000_000)


def read(path):
    with zipfile.ZipFile(path) as book:
        return {one.filename: book.read(one) for one in book.infolist()}


def test_the_epub_holds_the_chapter(epub):
    assert checking.epub_faults(epub) == []
    with zipfile.ZipFile(epub) as archive:
        package = ElementTree.fromstring(archive.read(next(n for n in archive.namelist() if n.endswith(".opf"))))
    title = package.find(".//{http://purl.org/dc/elements/1.1/}title")
    files = read(epub)
    assert title.text == text_of(ElementTree.fromstring(files["book/index.xhtml"]).find(".//h:h1", SPACES))
    page = files["book/chapters/sample.xhtml"].decode()
    assert page.count("<math") >= 8 and r"\(" not in page and r"\abar" not in page
    assert "0.42" in page and "Fig. " in page and page.count("<svg xmlns") >= 5  # a number, a caption, verdicts
    assert "it can be moved." in page  # the staged player does not name its controls
    assert "[page of this chapter]" not in page and "github.io/diffnotes/book/chapters/sample.html" in page
    assert 0 < page.index("Exercise 1.1") < page.index("Computed on")  # which the site has under the title
    assert "<details" not in page and '<span class="mi">1</span>' in page  # code stands open
    assert not [name for name in files if name.endswith((".js", ".woff", ".woff2", ".html"))]
    assert "Theorem" in page and "Jonathan Ho" in page and "This page is stale" not in page


@pytest.mark.skipif(not EPUBCHECK.exists() and not os.environ.get("DIFFNOTES_PRINT"), reason="no epubcheck: "
                    "`.ci/system-packages epubcheck`; DIFFNOTES_PRINT=1 makes this a failure")
def test_epubcheck_finds_nothing(epub):
    done = subprocess.run(["java", "-jar", EPUBCHECK, epub], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "0 fatals / 0 errors / 0 warnings" in done.stdout, done.stderr


def test_the_book_says_what_it_is_and_who_can_read_it(epub):
    """The cover, where the contents and the text begin, the language of each page, and what a reader needs."""
    files = read(epub)
    package = files["content.opf"].decode()
    assert re.search(r'href="_images/cover\.png" properties="cover-image"', package)
    title = text_of(ElementTree.fromstring(files["book/index.xhtml"]).find(".//h:h1", SPACES))
    assert f"<title>Cover: {title}<" in files["epub-cover.xhtml"].decode()
    said = dict(re.findall(r'<meta property="(?:schema|dcterms):(\w+)">([^<]*)<', package))
    assert said["accessModeSufficient"] == "textual" and said["accessibilityHazard"] == "none"
    assert said["modified"] == "2023-11-14T22:13:20Z"  # 1,700,000,000 seconds
    marks = ElementTree.fromstring(files["nav.xhtml"]).findall(".//h:nav[@hidden]//h:a", SPACES)
    assert [one.get("href") for one in marks] == ["nav.xhtml", "book/index.xhtml"]
    places = [one.get("href") for one in ElementTree.fromstring(files["nav.xhtml"]).iterfind(".//h:a", SPACES)]
    toc = places[: -len(marks)]
    assert len(set(toc)) == len(toc)
    first = {}  # an entry of a whole page comes before those of its sections: readers go through the list in order
    for place in toc:
        assert first.setdefault(place.partition("#")[0], place) == place or "#" in place
    for name, text in files.items():
        if name.endswith(".xhtml"):
            page = ElementTree.fromstring(text)
            assert page.get("lang") == page.get("{http://www.w3.org/XML/1998/namespace}lang") == "en", name
            assert len(page.findall(".//h:meta[@name='viewport']", SPACES)) <= 1, name


def luminance(colour):
    """Of WCAG 2, from "#rrggbb"."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_all_can_be_read_on_white_and_on_black(epub):
    """Readers choose the background: contrasts by WCAG 2, no ground of our own, figures on a ground of theirs."""
    files = read(epub)
    styles = "".join(text.decode() for name, text in files.items() if name.endswith(".css"))
    colours = re.findall(r"[^-]color: (#\w+)", styles)
    assert len(colours) >= 4
    for one in colours:
        light = luminance(one) + 0.05
        assert min(1.05 / light, light / 0.05) >= 4.5, one
    assert set(re.findall(r"background[^:]*: ([^;]+)", styles)) <= {"none"}
    pictures = [Image.open(io.BytesIO(text)) for name, text in files.items() if name.endswith(".png")]
    assert pictures and all(one.convert("RGBA").getextrema()[3] == (255, 255) for one in pictures)
    pages = b"".join(text for name, text in files.items() if name.endswith(".xhtml")).decode()
    assert set(re.findall(r'(?:fill|stroke)="([^"]*)"', pages)) <= {"currentColor", "none"}


SPACES = {"h": "http://www.w3.org/1999/xhtml", "n": "http://www.daisy.org/z3986/2005/ncx/"}


def text_of(element):
    return " ".join("".join(element.itertext()).split()) if element is not None else ""


def test_the_contents_have_parts_pages_and_sections(epub, tree):
    """Against the table of contents of the tree, and the headings that the pages themselves have."""
    files = read(epub)

    def headings(page):
        root = ElementTree.fromstring(files[page])
        return text_of(root.find(".//h:h1", SPACES)), [(text_of(one), []) for one in root.iterfind(".//h:h2", SPACES)]

    parts = yaml.safe_load((tree / "source/_toc.yml").read_text())["parts"]
    wanted = [(part["caption"], [headings(f"{one['file']}.xhtml") for one in part["chapters"]]) for part in parts]
    assert any(title.startswith("1. ") for _, pages in wanted for title, _ in pages)

    def nested(entry, title, below):
        return [(text_of(one.find(title, SPACES)), nested(one, title, below)) for one in entry.iterfind(below, SPACES)]

    nav = ElementTree.fromstring(files["nav.xhtml"]).find(".//h:nav", SPACES)
    assert nested(nav, "h:a", "h:ol/h:li")[1:] == wanted
    old = ElementTree.fromstring(files["toc.ncx"]).find("n:navMap", SPACES)
    assert nested(old, "n:navLabel/n:text", "n:navPoint")[1:] == wanted


def test_nothing_is_wider_than_a_narrow_window(epub, tmp_path):
    """Every page in the width of a telephone; rows of wide tables stand cell below cell, each with its head."""
    with zipfile.ZipFile(epub) as book:
        book.extractall(tmp_path)
    pages = sorted(tmp_path.rglob("*.xhtml"))
    assert len(pages) > 10
    heads = "[...document.querySelectorAll('.stacked thead')].map(one => one.getBoundingClientRect().height > 0)"
    labels = "[...document.querySelectorAll('.stacked td .head')].map(one => one.getBoundingClientRect().width > 0)"
    alone = """[...document.querySelectorAll('.stacked td:not(:has(svg)) .head')].some(
        one => one.textContent.trim() === one.closest('td').textContent.trim())"""  # a head of an empty cell
    scrolled = """[...document.querySelectorAll('body *')].filter(one => one.scrollWidth > one.clientWidth + 1 &&
        getComputedStyle(one).overflowX !== 'visible').map(one => one.textContent)"""  # pages of readers do not scroll
    beside = """[...document.querySelectorAll('.stacked td.short + td.short')].some(
        one => one.offsetTop === one.previousElementSibling.offsetTop)"""  # short cells of a stacked row
    whole = "[...document.querySelectorAll('.near')].every(one => one.getClientRects().length === 1)"
    with Browser() as browser:
        for width in (340, 420, 800):
            found = set()
            browser.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1,
                         mobile=False)  # else a page without a viewport of its own would be laid out wide and shrunk
            for page in pages:
                browser.open(page.as_uri())
                assert browser.run("document.documentElement.scrollWidth") <= width, page.name
                assert not browser.run(scrolled), page.name
                assert not browser.run(alone), page.name
                assert browser.run(whole), page.name
                found.add(browser.run(beside))
                if page.name == "notation.xhtml":
                    assert set(browser.run(heads)) == {width > 500} and set(browser.run(labels)) == {width < 500}
            assert True in found, width


def test_long_names_are_broken_at_their_joints(epub):
    files = read(epub)
    name = "tests/core/test_target.py::test_misprinted_v_does_not_invert"
    codes = {"".join(one.itertext()): one for one in ElementTree.fromstring(files["book/errata.xhtml"]).iterfind(
        ".//h:code", SPACES)}  # fmt: skip
    pieces = [one.text for one in codes[name].iterfind("h:span", SPACES)]
    assert pieces[:5] == ["tests/", "core/", "test_", "target.", "py::"] and len(codes[name]) == 2 * len(pieces) - 1
    assert b"<wbr" not in files["book/index.xhtml"]  # make lab is short


def test_no_line_ends_between_a_formula_and_a_full_stop(epub):
    page = read(epub)["book/chapters/sample.xhtml"].decode()
    near = [re.sub("<[^>]*>", "", one) for one in re.findall(r'<span class="near">(.*?</math>.*?)</span>', page, re.S)]
    assert "+v;" in near and "+b" in near  # of a long formula each piece
    assert not re.search(r"</math></span>[.,;:)]", page)


def test_lists_of_works_have_no_labels(epub):
    files = read(epub)
    page = ElementTree.fromstring(files["book/bibliography.xhtml"])
    works = page.findall(".//h:div[@class='citation']", SPACES)
    assert len(works) > 5 and all([child.tag.rpartition("}")[2] for child in one] == ["p"] for one in works)
    assert text_of(works[0])[0].isalpha()
    assert "Ho <em>et al.</em>" in files["book/chapters/sample.xhtml"].decode()


def test_the_epub_comes_again_byte_for_byte(epub, tree):
    again = making.bound(tree / "source", tree / "epub-again", when=1_700_000_000)
    assert again.read_bytes() == epub.read_bytes()


def rewritten(epub, target, change, order=None):
    """A copy of the book after ``change`` of its files."""
    files = read(epub)
    change(files)
    archive.pack(target, {name: files[name] for name in order or files}, stored={"mimetype"})
    return checking.epub_faults(target)


PAGE = "book/chapters/sample.xhtml"


def sub(name, old, new):
    def change(files):
        assert re.search(old.encode(), files[name])
        files[name] = re.sub(old.encode(), new.encode(), files[name], count=1)

    return change


@pytest.mark.parametrize("change, said", [
    (lambda files: files.pop(PAGE), "lists book/chapters/sample.xhtml, which is not there"),
    (lambda files: files.update({"more.xhtml": b"<html xmlns='http://www.w3.org/1999/xhtml'/>"}), "does not list more"),
    (sub(PAGE, "</p>", ""), "not well-formed"),
    (sub(PAGE, "</body>", "<script>1</script></body>"), "has <script>"),
    (sub(PAGE, "</body>", "<img alt='a' src='https://example.org/a.png'/></body>"), "loads from the network"),
    (sub(PAGE, "</body>", "<a href='nowhere.xhtml'>a</a></body>"), "link to a page that is not there"),
    (sub(PAGE, "</head>", "<link rel='stylesheet' href='a.css'/></head>"), "a file that is not in the book: a.css"),
    (sub(PAGE, "</body>", "<a href='#nowhere'>a</a></body>"), "link to an anchor that is not there"),
    (sub(PAGE, "</body>", "<p id='a'/><p id='a'/></body>"), "2 elements have the id 'a'"),
    (sub(PAGE, 'alt="[^"]+"', 'alt=""'), "image without alternative text"),
    (sub(PAGE, "</body>", r"<span class='math'>\\\\(x\\\\)</span></body>"), "a formula that is not MathML"),
    (sub(PAGE, "<mi>", "<mi mathvariant='script'>"), "a style of letters that few readers know: script"),
    (sub("nav.xhtml", 'sample.xhtml"', 'sample.xhtml#nowhere"'), "nav.xhtml: link to an anchor that is not there"),
    (sub("content.opf", ' properties="mathml svg"', ""), "has mathml, and its item says otherwise"),
    (sub("content.opf", "<dc:language>.*?</dc:language>", ""), "no language"),
    (sub("toc.ncx", "github.io", "elsewhere"), "toc.ncx: the identifier is"),
    (sub("_static/edition.css", "body", "@import 'https://example.org/a.css'; body"), "loads what is not in the book"),
])  # fmt: skip
def test_faults_of_an_epub_are_seen(epub, tmp_path, change, said):
    found = rewritten(epub, tmp_path / "a.epub", change)
    assert any(said in one for one in found), found


def test_the_first_entry_of_an_epub_is_its_type(epub, tmp_path):
    order = sorted(read(epub), key=lambda name: name == "mimetype")
    assert "the first entry is not mimetype" in rewritten(epub, tmp_path / "a.epub", lambda files: None, order)
    (tmp_path / "b.epub").write_bytes(b"nothing")
    assert "no ZIP archive" in checking.epub_faults(tmp_path / "b.epub")[0]


@needs_tex
def test_the_pdf_holds_the_chapter(tree):
    made = making.typeset(tree / "source", tree / "pdf-work", when=1_700_000_000)
    assert made.read_bytes().startswith(b"%PDF")
    text = subprocess.run(["pdftotext", "-layout", made, "-"], capture_output=True, text=True, check=True).stdout
    assert "A book of tests" in text.split("\f")[0]  # the heading of the first page
    for words in ("Contents", "At a glance", "Part I", "A chapter made by hand", "Fig. 1.1", "Error over time.",
                  "value 0.42", "Theorem 1.1", "Exercise 1.1", "The gap is small", "does not hold here", "Solution",
                  "Bibliography", "Denoising diffusion probabilistic models", "can move",
                  "a long line a long line"):  # fmt: skip
        assert words in text, words
    assert "??" not in text and "�" not in text
    assert text.index("The gap is small") < text.rindex("Solution") < text.index("Computed on")
    assert text.count("On another page: Exercise 1.1.") == 3
    source = (tree / "pdf-work/_build/latex/diffnotes.tex").read_text()
    assert source.count(r"\hyperref[exercise:ex-sample]{Exercise 1.1}") >= 3
    assert source.count(r"\begin{picture}") >= 5 and "<svg" not in source and r"\booknorm" in source
    assert "This page is stale" not in source


DOORS = """# Trials

:::::{grid} 1 1 2 2
::::{grid-item-card} Read
:link: ../chapters/sample
:link-type: doc
It opens with its answer.
::::
:::::
"""
ROWS = f"""
| name | value | what it is |
|---|---|---|
{"".join(f"| row {n} | -{n}.5 [-{n + 1}, 0.25] | {'words that are many ' * (n % 9)} |" + chr(10) for n in range(1, 81))}
"""
VERDICT = f"""
:::{{admonition}} A verdict
| measured | effect | what it is |
|---|---|---|
{"".join(f"| part {n} | {n}.5 [{n}, {n + 1}] | {'words that are many ' * 12} |" + chr(10) for n in range(1, 41))}
:::
"""
NAMED = """
From `book/networks/`, and checked by `tests/chapters/test_sample.py::test_that_has_a_long_name`.
"""
LONG = """
FILLING

(long-NUMBER)=
## Long box NUMBER

:::{admonition} Some words
WORDS
:::
"""
FALLS = """## NUMBER. A heading

*A line in italics*

:::{admonition} Hint
Two lines of text. They are here so that the box has something to hold, and more than a line of it, as boxes have.
:::

```python
first = 1
second = 2
```

### Another heading

These words lead to a table of which they say:

| name | value |
|---|---|
| first | 1 |
| second | 2 |
| third | 3 |
"""


@pytest.fixture(scope="module")
def paper(tree):
    """The LaTeX of a book with a page of trials, and the lines of each page of it without head and foot."""
    shutil.copytree(tree / "source", tree / "paper-source")
    falls = "\n".join(f"{FALLS.replace('NUMBER', str(n))}\n{'Filling words. ' * 40 * (n % 5)}\n" for n in range(1, 31))
    pictured = "\n".join(f"{'A line. ' * 13 * n}\n\n```{{figure}} drawn.png\nPicture {n}\n```\n" for n in range(1, 40))
    tall = r"\begin{aligned}" + r"\\".join(f"a &= {n}" for n in range(5)) + r"\end{aligned}"  # is not cut
    long = "\n".join(LONG.replace("NUMBER", str(n)).replace("FILLING", "A short line.\n\n" * (2 * n % 17)).replace(
        "WORDS", f"Let\n$$\n{tall}\n$$\n{'Words of the box. ' * 90}") for n in range(1, 41))  # fmt: skip
    Image.new("L", (600, 400)).save(tree / "paper-source/book/teaching/drawn.png")
    (tree / "paper-source/book/teaching/projects.md").write_text(
        f"{DOORS}\n{ROWS}\n{VERDICT}\n{NAMED}\n{falls}\n{pictured}\n{long}")  # fmt: skip
    made = making.typeset(tree / "paper-source", tree / "paper-work")
    text = subprocess.run(["pdftotext", "-layout", made, "-"], capture_output=True, text=True, check=True).stdout
    pages = [[line.strip() for line in page.splitlines() if line.strip()][1:-1] for page in text.split("\f")]
    return (tree / "paper-work/_build/latex/diffnotes.tex").read_text(), pages


@needs_tex
def test_cards_and_proofs_have_a_form_for_paper(paper):
    source, pages = paper
    lines = [line for page in pages for line in page]
    assert "• Read. It opens with its answer. → A chapter made by hand (sample)" in lines
    assert [line for line in lines if re.fullmatch(r"Proof\. By computing .*□", line)]
    assert not re.search(r"\\begin{sphinxadmonition}{note}(?!{)", source)  # a box without a title


@needs_tex
def test_what_leads_to_something_stands_on_its_page(paper):
    _, pages = paper
    ends = [page[-1] for page in pages if page]
    leads = re.compile(r"\d+\. A heading|Another heading|A line in italics|Hint|These words lead .*")
    assert not [line for line in ends if leads.fullmatch(line)]
    assert {f"{n}. A heading" for n in range(1, 31)} <= {line for page in pages for line in page}
    filled = [len(page) for page in pages if any("Filling words." in line for line in page)]
    assert min(filled[1:-1]) > 25  # none is near to empty


@needs_tex
def test_a_heading_stands_with_the_long_box_that_follows(paper):
    _, pages = paper
    ends = [page[-1] for page in pages if page]
    assert not [line for line in ends if re.fullmatch(r"(.* )?Long box \d+", line)]
    assert sum(bool(re.fullmatch(r"(.* )?Long box \d+", line)) for page in pages for line in page) >= 40


@needs_tex
def test_a_long_table_has_rows_as_high_as_their_words(paper):
    source, pages = paper
    lines = [line for page in pages for line in page]
    assert "continued from previous page" in lines and "continues on next page" in lines  # and no number before it
    assert [line for line in lines if re.match(r"row 40\s+−40\.5 \[−41,\s0\.25\]\s+words that are many", line)]
    rows = source.split("row 9\n", 1)[1].split("row 10\n", 1)[0]
    assert r"\sphinxAtStartPar" not in rows.rsplit("&", 1)[1].split(r"\\", 1)[0]  # a cell without words is no line


@needs_tex
def test_a_table_in_a_box_is_cut_between_its_rows(paper):
    """None of its pages but the last ends before it has to."""
    source, pages = paper
    held = [page for page in pages if any(re.match(r"part \d+ ", line) for line in page)]
    lines = [line for page in held for line in page]
    assert sum(bool(re.match(r"part \d+ ", line)) for line in lines) == 40 and len(held) > 1
    assert sum(line.startswith("measured ") for line in lines) == 2  # a head for each 29 rows
    assert min(map(len, held[:-1])) > 40
    assert "12.5\u00a0{[}12,\u00a013{]}" in source  # a value stays with its interval


@needs_tex
def test_a_figure_becomes_smaller_where_it_then_fits(tree, paper):
    """A picture of 96 dots an inch has as many where there is room, and at most 96 / 0.7."""
    listed = subprocess.run(["pdfimages", "-list", tree / "paper-work/_build/latex/diffnotes.pdf"],
                            capture_output=True, text=True, check=True).stdout  # fmt: skip
    dots = [int(words[12]) for line in listed.splitlines()[2:] if (words := line.split())[3:5] == ["600", "400"]]
    natural = min(dots)
    assert len(dots) == 39 and dots.count(natural) > 20
    assert natural < max(dots) < natural / 0.69


@needs_tex
def test_names_in_code_are_broken_where_they_may(paper):
    source, _ = paper
    line = next(line for line in source.splitlines() if "test\\_\u200bthat" in line)
    assert line.startswith(r"{\raggedright{}") and line.endswith(r"\par}")
    assert r"book/networks\string/}}, and" in line  # no line ends before the comma


@needs_tex
def test_pages_say_of_which_chapter_they_are(tree, paper):
    text = subprocess.run(["pdftotext", "-layout", tree / "paper-work/_build/latex/diffnotes.pdf", "-"],
                          capture_output=True, text=True, check=True).stdout  # fmt: skip
    heads = [re.sub(r"\s+", " ", page.strip().splitlines()[0]) for page in text.split("\f") if page.strip()]
    assert sum(bool(re.fullmatch(r"\d+\. Trials diffnotes [\d.]+", head)) for head in heads) > 20
    assert "Glossary" in heads  # a first page has its title alone


@needs_tex
def test_no_chapter_ends_with_a_few_lines_on_a_page(tree, paper):
    """Twenty chapters of some three hundred lines, each three lines longer than the one before."""
    folder = tree / "ends"
    shutil.copytree(tree / "paper-work/_build/latex", folder)
    head = (folder / "diffnotes.tex").read_text().split(r"\begin{document}")[0]
    lines = r"\newcount\n\newcommand{\lines}[1]{\n=1 \loop line \the\n\par \ifnum\n<#1 \advance\n by 1 \repeat}"
    chapters = "\n".join(rf"\chapter{{One}}\lines{{{n}}}" for n in range(300, 360, 3))
    (folder / "ends.tex").write_text(rf"{head}{lines}\pagestyle{{normal}}\begin{{document}}{chapters}\end{{document}}")
    subprocess.run(["latexmk", "-xelatex", "-interaction=nonstopmode", "ends.tex"], cwd=folder, check=True,
                   capture_output=True)  # fmt: skip
    text = subprocess.run(["pdftotext", folder / "ends.pdf", "-"], capture_output=True, text=True, check=True).stdout
    held = [len(re.findall(r"^line \d+", page, re.M)) for page in text.split("\f")[:-1]]
    assert sum(held) == sum(range(300, 360, 3)) and min(held) > 6
    usual = max(set(held), key=held.count)
    assert usual < max(held) <= usual + 2 and held.count(usual) > len(held) / 3  # longer only where that helps


@needs_tex
def test_sections_have_numbers_where_the_site_has_them(paper):
    source, pages = paper
    lines = [line for page in pages for line in page]
    assert "3. A heading" in lines and "1.1 Text" in [re.sub(r"\s+", " ", line) for line in lines]
    assert r"\begin{figure}[H]" in source and r"\begin{figure}[htbp]" not in source  # figures float into no listing


@needs_tex
def test_a_sign_that_no_font_has_is_a_fault(tree, tmp_path):
    shutil.copytree(tree / "source", tmp_path / "source")
    index = tmp_path / "source/book/glossary.md"
    index.write_text(index.read_text() + "\n\nA sign: 𓀀.\n")
    with pytest.raises(PressError, match="no font has the sign 𓀀"):
        making.typeset(tmp_path / "source", tmp_path / "work")


def test_faults_in_the_log_of_latex():
    log = ("LaTeX Warning: Hyper reference `a:b' on page 3 undefined on input line 7.\n"
           "LaTeX Warning: Label `eq:x' multiply defined.\n"
           "Overfull \\hbox (99.5pt too wide) in paragraph at lines 3--4\n[]\\TU/a|\n"
           "Overfull \\hbox (3.5pt too wide) in paragraph at lines 3--4\n")  # fmt: skip
    found = checking.log_faults(log)
    assert len(found) == 3 and "a:b" in found[0] and "eq:x" in found[1] and "99.5" in found[2]


def test_without_latex_it_is_said_how_to_get_it(tree, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(PressError, match=r"system-packages print"):
        making.typeset(tree / "source", tree / "none")


def test_moving_figures_become_sentences():
    page = sites.chapter("sample")
    made = nbformat.reads(writers.without_moving(nbformat.writes(page), "https://example.org/p.html"), as_version=4)
    texts = [output.data["text/markdown"] for cell in made.cells for output in cell.get("outputs", [])
             if "https://example.org/p.html" in output.get("data", {}).get("text/markdown", "")]  # fmt: skip
    assert len(texts) == 2 and "controls" in texts[1]  # a player and a slider
    outputs = str([cell.get("outputs") for cell in made.cells])
    assert 'class="player' not in outputs and "widget-view" not in outputs
    assert 'class="player' in str([cell.get("outputs") for cell in page.cells])


# --- the archive, and the command -----------------------------------------------------------------------------------


def test_the_archive_opens_and_comes_again(tree):
    project = Project(tree / "project")
    site = build("latest", project.root, say=lambda text: None)
    first = archive.archive(project)
    data = first.read_bytes()
    for path in site.rglob("*"):  # other times, same bytes
        os.utime(path, (1_000_000_000, 1_000_000_000))
    assert archive.archive(project).read_bytes() == data
    top = first.stem
    files = read(first)
    assert list(files) == sorted(files) and all(name.startswith(f"{top}/") for name in files)
    unpacked = tree / "unpacked"
    with zipfile.ZipFile(first) as made:
        made.extractall(unpacked)
    checked = subprocess.run(["sha256sum", "--check", "--quiet", "--strict", SUMS], cwd=unpacked / top, check=False)
    assert checked.returncode == 0
    listed = {line.split("  ", 1)[1] for line in (unpacked / top / SUMS).read_text().splitlines()}
    assert listed == {name.removeprefix(f"{top}/") for name in files} - {SUMS}
    source, clean, executed = (nbformat.read(path, as_version=4) for path in (
        project.source("sample"), *(unpacked / top / folder / "sample.ipynb" for folder in ("notebooks", "executed"))))
    code = [cell.source for cell in source.cells if cell.cell_type == "code"]
    assert [cell.source for cell in clean.cells if cell.cell_type == "code"][1:] == code
    assert any(cell.get("outputs") for cell in executed.cells)
    (site / "index.html").write_text("changed")
    with pytest.raises(PressError, match="no intact site"):
        archive.archive(project)


def test_the_command_makes_what_is_asked_for(monkeypatch, tmp_path):
    asked = []
    project = sites.runnable(tmp_path / "project")
    monkeypatch.chdir(project.root)
    monkeypatch.setattr("diffnotes.press.site.build", lambda pages, root, force: asked.append(("html", pages)))
    monkeypatch.setattr(making, "editions", lambda formats, pages, root: asked.append((tuple(formats), pages)))
    monkeypatch.setattr(archive, "archive", lambda project: asked.append("archive"))
    assert main(["build"]) == 0 and asked == [("html", "latest")]
    asked.clear()
    assert main(["build", "--format", "pdf", "--pages", "committed"]) == 0 and asked == [(("pdf",), "committed")]
    asked.clear()
    assert main(["build", "--format", "all", "--archive"]) == 0
    assert asked == [("html", "latest"), (("pdf", "epub"), "latest"), "archive"]


def test_a_format_that_there_is_not(tmp_path):
    with pytest.raises(PressError, match="formats = 'doc'; allowed: pdf, epub"):
        making.editions(["doc"], "latest", tmp_path)


# --- publishing -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("chapters", ["nothing", "--force", "targets .*", "targets;ls"])
def test_the_script_for_a_graphics_card_refuses_what_is_no_chapter(chapters):
    done = subprocess.run([ROOT / ".ci/gpu-pages", "neither"], env={**os.environ, "CHAPTERS": chapters},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 2 and "unknown chapter" in done.stderr
    known = subprocess.run([ROOT / ".ci/gpu-pages", "neither"], env={**os.environ, "CHAPTERS": "targets collapse"},
                           capture_output=True, text=True, check=False)  # fmt: skip
    assert known.returncode == 2 and known.stderr.startswith("usage")


def test_a_tag_that_is_not_the_version_makes_no_release():
    done = subprocess.run([ROOT / ".ci/release", "make", "v99.0.0"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "v99.0.0" in done.stderr


def test_dead_links_are_listed_and_fail_nothing(tmp_path):
    site = tmp_path / "html"
    site.mkdir()
    (site / "a.html").write_text('<a href="http://127.0.0.1:9/x#y">x</a> <a href="b.html">inside</a>'
                                 '<a class="b" href="https://host.invalid/z">z</a>')  # fmt: skip
    command = [sys.executable, ROOT / ".ci/external-links", site]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "2 external links, 0 answer" in done.stdout
    lines = [line.split("\t")[1:] for line in (tmp_path / "external-links.txt").read_text().splitlines()]
    assert lines == [["http://127.0.0.1:9/x", "a.html"], ["https://host.invalid/z", "a.html"]]
