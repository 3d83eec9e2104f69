"""The slides of the chapters: their Markdown, what is refused, and the decks themselves in a browser."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import pytest
from browser import Browser
from sites import ROOT, built
from test_accessible import faults

from diffnotes.press import site as sites
from diffnotes.press.errors import PressError
from diffnotes.press.layout import Project
from diffnotes.press.lessons import slides
from diffnotes.press.lessons.decks import known_commands

DECKS = sorted(path.stem for path in (ROOT / "book/slides").glob("*.md"))
HEAD = "---\ntitle: A deck\nminutes: 90\n---\n\n"
NOTE = "\n\nNote: 4 min. Say it.\n"
# How far what a slide holds sticks out of it, at the right and at the bottom; large signs have boxes of their own.
OUT = """(() => {
  const slide = Reveal.getCurrentSlide().querySelector(".slide"), box = slide.getBoundingClientRect();
  const scale = box.width / 1280, tables = ["MJX-CONTAINER", "MJX-ITABLE", "MJX-MATH"];
  let right = 0, bottom = slide.scrollHeight;
  for (const part of slide.querySelectorAll("*")) {
    if (part.closest("mjx-container") && !tables.includes(part.tagName)) continue;
    const {right: r, bottom: b, width} = part.getBoundingClientRect();
    if (width) [right, bottom] = [Math.max(right, (r - box.left) / scale), Math.max(bottom, (b - box.top) / scale)];
  }
  return [Math.round(right), Math.round(bottom)];
})()"""
READY = "slides.then(() => Reveal.getTotalSlides())"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source tree of the book with one deck, which tests write."""
    root = tmp_path_factory.mktemp("slides")
    shutil.copytree(ROOT / "book", root / "book", ignore=shutil.ignore_patterns("networks", "widgets", "slides"))
    (root / "book/slides").mkdir()
    shutil.copy(ROOT / "_toc.yml", root)
    return root


@pytest.fixture(scope="module")
def decks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all decks of the book, with what they load beside it."""
    root = tmp_path_factory.mktemp("decks")
    shutil.copytree(ROOT / "book/_static", root / "_static", ignore=shutil.ignore_patterns("widgets"))
    slides.write(slides.files(ROOT), root)
    return root / "slides"


def made(tree: Path, text: str, head: str = HEAD) -> str:
    """The page of the deck ``text`` of the chapter on collapse."""
    (tree / "book/slides/collapse.md").write_text(head + text)
    return slides.files(tree)["slides/collapse.html"].decode()


# From Markdown to slides


def test_a_deck_has_a_first_slide_and_one_for_each_part(tree: Path) -> None:
    page = made(tree, "## One\n\nText" + NOTE + "\n---\n\n## Two\n\nA line\n---- and more" + NOTE)
    assert page.count("<section>") == 3 and page.count('<aside class="notes">') == 3
    assert "<title>Slides: A deck</title>" in page and 'href="../book/chapters/collapse.html"' in page
    assert '<html lang="en">' in page and "Content-Security-Policy" in page
    assert re.findall(r"<h2>(.*?)</h2>", page) == ["A deck", "One", "Two"]
    assert "<p><b>4 min</b></p>\n<p>Say it.</p>" in page


def test_what_appears_step_by_step(tree: Path) -> None:
    page = made(tree, "## One\n\n+ a\n+ b\n\n- c\n\nAnswer: It is.\n\n- d" + NOTE)
    assert page.count('<li class="fragment">') == 2 and page.count("<li>") == 2
    answer = page[page.index('<div class="answer fragment">') : page.index("</aside>", page.index("answer fragment"))]
    assert "<p>It is.</p>" in answer and "<li>d</li>" in answer and "Answer:" not in page
    assert answer.index("</div>") < answer.index("notes")  # the notes are no part of the answer


def test_a_derivation_has_a_line_a_step(tree: Path) -> None:
    page = made(tree, "## One\n\n```derivation\na &= b\n  + c\n&< \\norm{d}\n```" + NOTE)
    assert '<div class="math derivation">\\[\\begin{aligned}\na &amp;= b + c\\\\[0.35em]\n&amp;&lt; \\norm{d}\n' in page


def test_formulas_keep_their_punctuation_and_notes_have_none(tree: Path) -> None:
    page = made(tree, "## One\n\nLet $x < y$, and $z$ too.\n\nNote: 4 min. Say $\\eps^2$.")
    assert '<span class="together"><span class="math">\\(x &lt; y\\)</span>,</span> and' in page
    assert '<span class="math">\\(z\\)</span> too' in page and "Say ε^2." in page


def test_values_are_those_of_the_run(tree: Path) -> None:
    page = made(tree, "## One\n\n{effect}`C16.over` and {claim}`C16`, {glue:text}`networks` networks, "
                "{glue:text}`q_sde:.2f` and {glue:text}`removed_averaged:.0f` %" + NOTE)  # fmt: skip
    assert re.search(r'<a class="effect" href="../book/chapters/collapse.html#claim-c16" title="[^"]+">0\.83', page)
    assert ">C16, holds" in page and re.search(r"\d+ networks, 0\.04 and \d+&#160;%", page)


def test_figures_come_from_the_pages_with_their_words(tree: Path) -> None:
    from PIL import Image

    body = '## One\n\n![](fig-collapse-answer)\n\n![The left half.](fig-collapse-answer "beside columns 0 0.5")'
    page = made(tree, body + NOTE)
    files = slides.files(tree)
    whole = Image.open(io.BytesIO(files["slides/figures/fig-collapse-answer.png"]))
    half = Image.open(io.BytesIO(files["slides/figures/fig-collapse-answer-columns-0-0.5.png"]))
    assert half.height == whole.height and half.width == round(whole.width / 2)
    assert f'width="{whole.width}" height="{whole.height}" alt="Left: the density that a sampler makes' in page or \
        re.search(r'alt="Left: the density by ODE', page)  # fmt: skip
    assert 'alt="The left half."' in page and '<div class="slide beside">' in page


def test_raw_html_stays_text(tree: Path) -> None:
    assert "&lt;script&gt;" in made(tree, "## One\n\n<script>alert()</script>" + NOTE)


def test_commands_of_formulas_are_those_that_the_site_has() -> None:
    known = known_commands(ROOT / slides.MATHJAX)
    assert {"alpha", "frac", "underbrace", "operatorname", "mathbb", "le", "lVert", "text", "boldsymbol", "Bigl",
            "sum", "log", "quad", "Longrightarrow", "implies", "given"} - known == {"given"}  # fmt: skip
    assert not {"epss", "prototype", "length", "constructor"} & known


# What is refused


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("## One\n\n![](fig-collapse-nothing)" + NOTE, "slide 2: no page shows the figure 'fig-collapse-nothing'"),
        ("## One\n\n![mine](fig-collapse-answer)" + NOTE, "slide 2: .* the whole with text of its own; allowed: "),
        ('## One\n\n![](fig-collapse-answer "rows 0 0.5")' + NOTE, "slide 2: .* a part without text of its own"),
        ('## One\n\n![a](fig-collapse-answer "rows 1 0.5")' + NOTE, "'rows 1 0.5'; allowed: 'beside', and 'rows'"),
        ("## One\n\n{effect}`C9.nothing`" + NOTE, "slide 2: .*the claim C9 has no measured part nothing; allowed: "),
        ("## One\n\n{effect}`C99.a`" + NOTE, "no page has recorded the claim C99; allowed: "),
        ("## One\n\n{claim}`C99`" + NOTE, "slide 2: there is no claim C99; allowed: C1, "),
        ("## One\n\n{glue:text}`nothing:.2f`" + NOTE, "nothing of the name 'nothing' is glued; allowed: .*q_sde"),
        ("## One\n\n{glue:text}`q_sde:d`" + NOTE, "glue = 'q_sde:d'; allowed: a format for 0"),
        ("## One\n\n{term}`score`" + NOTE, r"the role \{term\}; allowed: \{effect\}, \{claim\} and \{glue:text\}"),
        ("## One\n\n$\\epss$" + NOTE, r"slide 2: unknown macro \\epss; allowed: commands of MathJax, .*\\eps, "),
        ("## One\n\n```derivation\na &= \\nrom{b}\n```" + NOTE, r"slide 2: unknown macro \\nrom"),
        ("## One\n\n```derivation\n```" + NOTE, "slide 2: a block ```derivation that is empty"),
        ("## One\n\n```java\na\n```" + NOTE, "slide 2: a block ```java; allowed: derivation, python, bash"),
        ("## One\n\nA" + NOTE + "\n---\n\n---\n", "slide 3: it is empty; allowed: a heading"),
        ("## One\n\nA" + NOTE + "\n---\n", "slide 3: it is empty"),
        ("## One" + NOTE, "slide 2: nothing below its heading; allowed: text"),
        ("Text" + NOTE, "slide 2: no heading of its own; allowed: one heading '## ...'"),
        ("# One\n\nText" + NOTE, "slide 2: its headings are h1"),
        ("## One\n\nText\n\n## Two" + NOTE, "slide 2: its headings are h2, h2"),
        ("## One\n\nText", "slide 2: no notes with minutes; allowed: a paragraph 'Note: 4 min ...'"),
        ("## One\n\nText\n\nNote: Say it.", "slide 2: no notes with minutes"),
        ("## One\n\nText\n\nNote: 91 min. Say it.", "notes take 91 minutes together; allowed: at most minutes = 90"),
        ("## One\n\nText\n\nNote: 4 min.\n\n$$x$$", "slide 2: its notes hold a display or a figure"),
        ("## One\n\nThe ratio is 1.13." + NOTE, "slide 2: numbers typed by hand: 1.13; allowed: "),
        ("## One\n\nText\n\nNote: 4 min. It falls by 12 %.", "slide 2: numbers typed by hand: 12 %"),
    ],
)
def test_a_fault_names_deck_slide_and_what_is_allowed(tree: Path, text: str, words: str) -> None:
    with pytest.raises(PressError, match=rf"(?s)book/slides/collapse\.md, slide \d+: .*{words.split(': ', 1)[-1]}"
                       if words.startswith("slide") else words) as error:  # fmt: skip
        made(tree, text)
    if words.startswith("slide"):
        assert words.split(":")[0] + ":" in str(error.value)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("", "no title; allowed: title and minutes between two lines '---'"),
        ("---\nminutes: 90\n---\n", "title = None; allowed: a text"),
        ("---\ntitle: ''\nminutes: 90\n---\n", "title = ''; allowed: a text"),
        ("---\ntitle: A\n---\n", "minutes = None; allowed: a whole number"),
        ("---\ntitle: A\nminutes: long\n---\n", "minutes = 'long'; allowed: a whole number"),
        ("---\ntitle: A\nminutes: 90\nauthor: me\n---\n", "author; allowed: title and minutes"),
        ("---\ntitle: [\n---\n", "no title"),
    ],
)
def test_a_deck_without_its_head_is_refused(tree: Path, head: str, words: str) -> None:
    with pytest.raises(PressError, match=f"book/slides/collapse.md, slide 1: {words}"):
        made(tree, "## One\n\nText" + NOTE, head)


def test_a_deck_of_no_chapter_is_refused(tree: Path) -> None:
    (tree / "book/slides/nothing.md").write_text(HEAD + "## One\n\nText" + NOTE)
    try:
        with pytest.raises(PressError, match=r"nothing\.md: a deck of no chapter; allowed: targets, collapse, "):
            slides.files(tree)
    finally:
        (tree / "book/slides/nothing.md").unlink()


def test_a_fault_ends_the_build_before_anything_is_written(tree: Path, tmp_path: Path) -> None:
    (tree / "book/slides/collapse.md").write_text(HEAD + "## One\n\n$\\epss$" + NOTE)
    (tmp_path / "work").mkdir()
    (tmp_path / "work/old").touch()
    with pytest.raises(PressError, match=r"unknown macro \\epss"):
        sites.render(tree, tmp_path / "work")
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["old"]


# The decks of the book


def test_every_chapter_has_a_deck_for_a_lesson() -> None:
    assert DECKS == sorted(Project(ROOT).chapters())
    for name in DECKS:
        text = (ROOT / f"book/slides/{name}.md").read_text(encoding="utf8")
        assert 18 <= text.count("\nNote: ") <= 26 and text.count("```derivation") >= 4
        assert text.count("\n## Stop and think") >= 2 and "\n## Exercise" in text and "\n## Summary" in text
        assert 80 <= sum(map(int, re.findall(r"^Note: (\d+) min", text, re.M))) <= 90


def test_the_site_has_the_slides_and_its_scan_finds_nothing_in_them() -> None:
    site = built()
    assert {path.stem for path in (site / "slides").glob("*.html")} == {*DECKS, "index"}
    mine = ("slides/", "_static/reveal", "_static/slides")
    assert not [fault for fault in sites.scan(site) if fault.startswith(mine)]


@pytest.mark.parametrize("name", DECKS)
def test_no_slide_overflows_and_no_page_asks_a_network(name: str, decks: Path, browser: Browser) -> None:
    browser.view(width=1280, height=720)
    browser.open((decks / f"{name}.html").as_uri())
    total, faulty = browser.run(READY), []
    assert total == (decks / f"{name}.html").read_text().count("<section>")
    for i in range(total):
        browser.run(f"Reveal.slide({i}, 0, 99)")
        right, bottom = browser.run(OUT)
        if right > 1230 or bottom > 720:
            faulty.append((i + 1, right, bottom))
    assert not faulty
    assert browser.run("document.querySelectorAll('mjx-merror, [data-mml-node=merror]').length") == 0
    assert browser.run("[...document.images].every(one => one.complete && one.naturalWidth > 100)")
    assert not browser.errors
    assert not [url for url in browser.requests if not url.startswith(("file:", "data:"))]


def test_a_derivation_grows_by_a_line(decks: Path, browser: Browser) -> None:
    browser.view(width=1280, height=720)
    browser.open((decks / "targets.html").as_uri())
    browser.run(READY)
    browser.run("Reveal.slide(4, 0, -1)")
    shown = """[...Reveal.getCurrentSlide().querySelectorAll(".derivation mjx-mtr")]
        .filter(row => row.checkVisibility({visibilityProperty: true, opacityProperty: true})).length"""
    counts = [browser.run(shown)]
    for _ in range(3):
        browser.press(" ")
        browser.listen(0.1)
        counts.append(browser.run(shown))
    assert counts == [1, 2, 3, 4] and browser.run("Reveal.getIndices().h") == 4
    browser.press(" ")
    browser.listen(0.1)
    assert browser.run("Reveal.getIndices().h") == 5


def test_without_formulas_the_deck_still_runs(decks: Path, browser: Browser) -> None:
    browser.open((decks / "targets.html").as_uri(), formulas=False)
    assert browser.run(READY) == 26


def test_the_window_of_the_notes_opens_from_disk(decks: Path, browser: Browser) -> None:
    browser.open((decks / "targets.html").as_uri())
    browser.run(READY)
    told = browser.run("""(() => { let given = ""; const real = window.open;
        window.open = () => { const page = document.implementation.createHTMLDocument("");
            page.write = (text) => { given = text }; page.close = () => {};
            return {document: page, close() {}, focus() {}, addEventListener() {}, postMessage() {}, closed: false} };
        try { Reveal.getPlugin("notes").open() } finally { window.open = real }
        return given })()""")
    assert "speaker-controls" in told and "http://" not in re.sub(r"http://(www\.w3|'|\$)", "", told)
    assert not browser.errors


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", [*DECKS, "index"])
def test_axe_finds_nothing_grave(name: str, dark: bool, decks: Path, browser: Browser) -> None:
    """On all slides at once, as they are printed, and on one as it is shown."""
    rules = ("color-contrast",) if dark else ()
    browser.view(dark=dark, width=1280, height=720)
    found = []
    for ending in ("", "?print-pdf") if name != "index" and not dark else ("",):
        browser.open((decks / f"{name}.html").as_uri() + ending)
        if name != "index":
            browser.run(READY)
            browser.run("Reveal.slide(1, 0, 99)")
        found += faults(browser, *rules)
    assert not found, "\n".join(found)


def test_a_deck_prints_a_page_a_slide(decks: Path, browser: Browser) -> None:
    import base64

    browser.view(dark=True, width=1280, height=720)
    browser.open((decks / "targets.html").as_uri() + "?print-pdf")
    assert browser.run(READY) == 26
    data = browser.send("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"]
    assert len(re.findall(rb"/Type\s*/Page\b", base64.b64decode(data))) == 26
    shown = "[...document.querySelectorAll('.fragment')].every(e => e.checkVisibility({opacityProperty: true}))"
    assert browser.run(shown)
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    browser.view()
