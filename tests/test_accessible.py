"""The pages of the book for screen readers, keyboards, narrow screens, slow machines and paper."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from browser import STILL, Browser
from sites import ROOT, picture

from diffnotes.press import finish, imprint
from diffnotes.press.errors import PressError
from diffnotes.show import report

AXE = ROOT / "tests" / "axe" / "axe.min.js"
# Findings of axe-core at these levels and above are faults; "minor" ones are matters of taste, or of MathJax.
GRAVE = ("moderate", "serious", "critical")
FOUND = """axe.run(document, OPTIONS).then(({violations}) => violations.map(
    ({impact, id, nodes}) => [impact, id, nodes.length, nodes[0].target.join(" "), nodes[0].failureSummary]))"""
ONLY = '{{resultTypes: ["violations"], runOnly: {rules}}}'


@pytest.fixture
def sample(site: Path, browser: Browser) -> str:
    """The address of a page that has one of everything, with nothing remembered from other tests."""
    browser.view()
    browser.open((site / "book/notation.html").as_uri(), formulas=False)
    browser.run("localStorage.clear()")
    return (site / "book/chapters/sample.html").as_uri()


def pages(site: Path) -> list[Path]:
    """The pages that a reader can come to."""
    listed = [path for path in sorted(site.rglob("*.html")) if not {"_static", "slides"} & {*path.parts}
              and path.parent != site]
    return [*listed, site / "search.html"]


def faults(browser: Browser, *rules: str) -> list[str]:
    """What axe-core finds in the open page; by all its rules, or the named ones."""
    browser.run(STILL)
    browser.run(AXE.read_text(encoding="utf8"))
    options = ONLY.format(rules=list(rules)) if rules else '{resultTypes: ["violations"]}'
    found = browser.run(FOUND.replace("OPTIONS", options))
    return [f"{impact} {name}, {count} times: {where}: {why}" for impact, name, count, where, why in found
            if impact in GRAVE]  # fmt: skip


# What screen readers get


@pytest.mark.parametrize(
    ("dark", "width", "rules"),
    [
        (False, 1280, ()),
        (True, 1280, ("color-contrast",)),
        (False, 360, ("scrollable-region-focusable", "target-size")),
    ],
    ids=["light", "dark", "phone"],
)
def test_axe_finds_nothing_grave(site: Path, browser: Browser, dark: bool, width: int, rules: tuple[str, ...]) -> None:
    found = []
    browser.view(dark=dark, width=width)
    for path in pages(site):
        browser.open(path.as_uri(), formulas=width == 360 or not rules)
        assert browser.run("document.documentElement.dataset.theme") == ("dark" if dark else "light")
        found += [f"{path.relative_to(site)}: {fault}" for fault in faults(browser, *rules)]
    assert not found, "\n".join(found)


@pytest.fixture(scope="module")
def diagnosed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on samples, with all symptoms and long numbers."""
    import numpy as np

    from diffnotes.measure.diagnosis import diagnose

    x, y = (np.random.default_rng(seed).standard_normal((150, 3)) for seed in (1, 2))
    table = report.record(diagnose(0.7 * x - 123.4, y))
    place = tmp_path_factory.mktemp("report") / "report.html"
    place.write_text(report.page(table | {"symptoms": list(report.READINGS)}), encoding="utf8")
    return place


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 800, 1280])
def test_a_report_on_samples_is_read_whole(browser: Browser, diagnosed: Path, width: int, dark: bool) -> None:
    """Nothing lies outside of a box, a part keeps its indent, and the letters of figures are 9 pixels high at least."""
    browser.view(dark=dark, width=width)
    browser.open(diagnosed.as_uri())
    assert not faults(browser)
    outside = browser.run("""[...document.querySelectorAll('main *')].filter(e => !e.closest('thead') &&
        (e.scrollWidth > e.clientWidth + 1 && e.clientWidth || e.getBoundingClientRect().right > innerWidth))
        .map(e => e.outerHTML.slice(0, 99))""")
    assert not outside
    assert browser.run("document.documentElement.scrollWidth") == width
    wide = min(browser.run("[...document.images].map(e => e.width)"))
    assert 10 / 72 * wide / report.SIZE["width"] >= 9  # of ten points
    assert browser.run("parseFloat(getComputedStyle(document.querySelector('th.part')).paddingLeft)") > 10
    named = browser.run("getComputedStyle(document.querySelector('td'), '::before').content")
    assert named == ("none" if width > 640 else "\"radius: \"")  # where the heads of columns are out of sight


@pytest.mark.parametrize(
    ("piece", "fault"),
    [
        ('<img src="x.png">', "image-alt"),
        ('<button aria-label="Find">Search</button>', "label-content-name-mismatch"),
        ('<p style="color: #aaa">pale</p>', "color-contrast"),
        ('<div role="list"><b>one</b><a href="#">two</a></div>', "aria-required-children"),
    ],
)
def test_axe_sees_a_staged_fault(browser: Browser, tmp_path: Path, piece: str, fault: str) -> None:
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><html lang=en><title>t</title><body><main><h1>A</h1>{piece}</main></body></html>")
    browser.view()
    browser.open(page.as_uri())
    assert any(fault in one for one in faults(browser))


def test_axe_is_the_published_one_and_in_no_page(site: Path) -> None:
    digest = hashlib.sha256(AXE.read_bytes()).hexdigest()
    assert digest in (AXE.parent / "README.md").read_text()
    assert "Mozilla Public License" in (AXE.parent / "LICENSE").read_text()
    assert not [path for path in site.rglob("*") if "axe" in path.stem]


def test_roles_and_names_are_mended() -> None:
    text = '<div class="citation" id="a" role="doc-biblioentry"><th class="head">\n</th><th><p></p></th><th>a</th>'
    mended = '<div class="citation" id="a" role="listitem"><td class="head">\n</td><td><p></p></td><th>a</th>'
    assert finish.accessible(text) == mended == finish.accessible(mended)
    thead = "<thead><tr><th></th></tr></thead>"
    assert finish.accessible(thead) == "<thead><tr><td></td></tr></thead>"


# Icons and pictures


def test_icons_are_those_of_font_awesome(browser: Browser, tmp_path: Path) -> None:
    """Each icon of the book's pages beside the one that the library's own script draws."""
    import pydata_sphinx_theme

    theme = Path(pydata_sphinx_theme.__file__).parent / "theme/pydata_sphinx_theme/static/vendor/fontawesome"
    script = next(theme.glob("*/js/all.min.js"))
    names = ["fas fa-rocket", "fab fa-github", "fa-solid fa-moon fa-lg", "far fa-moon", "fas fa-list"]
    page = tmp_path / "page.html"
    page.write_text("".join(f'<i class="{name}"></i>' for name in names) + f'<script src="{script.as_uri()}"></script>')
    browser.open(page.as_uri())
    browser.listen(0.5)
    theirs = browser.run("[...document.querySelectorAll('svg')].map(s => [s.getAttribute('viewBox'), "
                         "s.querySelector('path').getAttribute('d')])")  # fmt: skip
    mine = [finish.icon(name, script) for name in names]
    assert [list(re.search(r'viewBox="([^"]*)".* d="([^"]*)"', one).groups()) for one in mine] == theirs
    for wrong in ("fas fa-nothing-like-it", "fa-moon", "fas"):
        with pytest.raises(PressError, match="icon"):
            finish.icon(wrong, script)


def test_icons_are_in_the_page_and_their_script_is_not(site: Path, browser: Browser, sample: str) -> None:
    browser.open(sample)
    assert browser.run("document.querySelectorAll('.article-header-buttons svg.svg-inline--fa').length") >= 4
    assert browser.run("document.querySelectorAll('i[class*=fa-], span[class*=fa-]').length") == 0
    assert not [url for url in browser.requests if "fontawesome" in url and url.endswith(".js")]
    assert not list(site.rglob("fontawesome/*/js/*.js"))


def test_pictures_say_their_size(tmp_path: Path) -> None:
    import base64

    (tmp_path / "a.png").write_bytes(base64.b64decode(picture()))
    (tmp_path / "b.png").write_text("no picture")
    text = '<img alt="x" src="a.png" /><img alt="y" src="b.png"/><img src="c.png"><img height="1" src="a.png">'
    after = finish.sized(text, tmp_path)
    assert after == text.replace('<img alt="x"', '<img width="480" height="240" alt="x"')


def test_a_picture_keeps_its_place_while_it_loads(sample: str, browser: Browser) -> None:
    browser.send("Network.setBlockedURLs", urls=["*.png"])
    browser.open(sample, formulas=False)
    ratio = "(() => { const {width, height} = document.querySelector('figure img').getBoundingClientRect();"
    browser.run("document.querySelector('figure img').scrollIntoView()")
    assert browser.run(ratio + "return document.querySelector('figure img').height > 0 && width / height })()") > 1


# The keyboard


FOCUS = "document.activeElement"


def test_a_figure_is_enlarged_by_enter_and_closed_by_escape(sample: str, browser: Browser) -> None:
    browser.open(sample)
    browser.run("document.querySelector('a.image-reference:has(img:not(.player-still))').focus()")
    alt = browser.run(f"{FOCUS}.querySelector('img').alt")
    assert alt and browser.run(f"{FOCUS}.ariaHasPopup") == "dialog"
    for closing in ("Escape", "Enter", " "):  # the focus lies on the button that closes
        browser.press("Enter")
        assert browser.run("document.querySelector('dialog').open && document.querySelector('dialog img').alt") == alt
        assert browser.run(f"{FOCUS}.textContent") == "Close"
        assert browser.run("document.querySelector('dialog').ariaLabel").endswith("enlarged")
        assert browser.run("document.querySelector('dialog img').offsetWidth") >= 700
        browser.press(closing)
        browser.listen(0.1)
        assert browser.run("document.querySelector('dialog') === null")
        assert browser.run(f"{FOCUS}.matches('a.image-reference')")
    assert browser.run("location.href") == sample and not browser.errors


def test_a_figure_is_enlarged_by_a_click_and_closed_beside_it(sample: str, browser: Browser) -> None:
    browser.open(sample)
    browser.run("document.querySelector('a.image-reference img').click()")
    assert browser.run("document.querySelectorAll('dialog[open] img').length") == 1
    assert "Fig." in browser.run("document.querySelector('dialog').ariaLabel")
    assert faults(browser) == []
    browser.run("document.querySelector('dialog').click()")
    browser.listen(0.1)
    assert browser.run("document.querySelector('dialog') === null")


@pytest.mark.parametrize("width", [1280, 360])
def test_what_has_the_focus_is_seen(site: Path, browser: Browser, sample: str, width: int) -> None:
    """Each stop of the Tab key has an outline, and nothing that is folded away or beside the window has the focus."""
    browser.view(width=width)
    browser.open(sample)
    seen = set()
    for _ in range(400):
        browser.press("Tab")
        stop = browser.run(
            f"""(() => {{ const e = {FOCUS}, s = getComputedStyle(e), box = e.getBoundingClientRect();
            if (e === document.body) return null;
            const number = [...document.querySelectorAll('*')].indexOf(e);
            const drawn = s.outlineStyle !== 'none' || s.boxShadow !== 'none';
            const shown = e.checkVisibility({{visibilityProperty: true}});
            const inside = box.width > 0 && box.left < innerWidth && box.right > 0;
            return [number, drawn, shown, inside, e.outerHTML.slice(0, 90)] }})()"""
        )
        if stop is None or stop[0] in seen:
            break
        seen.add(stop[0])
        assert all(stop[1:4]), stop
    browser.view()
    assert len(seen) > 40


# Code


FOLDED = "[...document.querySelectorAll('.cell_input')].filter(e => !e.checkVisibility()).length"
CELLS = "document.querySelectorAll('.cell_input').length"
BUTTON = "document.querySelector('.code-button')"


def test_code_is_folded_throughout_the_book(site: Path, sample: str, browser: Browser) -> None:
    other = (site / "book/chapters/targets.html").as_uri()
    browser.open(sample)
    written, cells = browser.run(FOLDED), browser.run(CELLS)
    assert 0 < written < cells
    assert browser.run(f"{BUTTON}.textContent") == "Hide all code"
    browser.run(f"{BUTTON}.focus()")
    browser.press("Enter")
    assert browser.run(FOLDED) == cells and browser.run(f"{BUTTON}.textContent") == "Show all code"
    browser.open(other, formulas=False)
    assert browser.run(FOLDED) == browser.run(CELLS) > 5
    browser.run("document.querySelector('.code-fold > summary').click()")  # one by itself
    assert browser.run(FOLDED) == browser.run(CELLS) - 1
    browser.run(f"{BUTTON}.focus()")
    browser.press(" ")
    assert browser.run(FOLDED) == 0 and browser.run(f"{BUTTON}.textContent") == "Hide all code"
    browser.open(sample)
    assert browser.run(FOLDED) == 0
    browser.run("localStorage.clear()")
    browser.open(sample)
    assert browser.run(FOLDED) == written
    browser.open((site / "book/notation.html").as_uri(), formulas=False)
    assert browser.run(f"{BUTTON}") is None


def test_a_browser_that_keeps_nothing_is_served(sample: str, browser: Browser) -> None:
    """Where the storage is refused, the theme and the buttons work for as long as the page is open."""
    refuse = "Object.defineProperty(window, 'localStorage', {configurable: true, get() { throw new Error('refused') }})"
    number = browser.send("Page.addScriptToEvaluateOnNewDocument", source=refuse)["identifier"]
    try:
        browser.open(sample)
        assert not browser.errors
        assert browser.run("document.documentElement.dataset.theme") == "light"
        browser.run(f"{BUTTON}.click()")
        assert browser.run(FOLDED) == browser.run(CELLS)
        browser.run("document.querySelector('.theme-switch-button').click()")
        assert browser.run("document.documentElement.dataset.theme") == "dark" and not browser.errors
    finally:
        browser.send("Page.removeScriptToEvaluateOnNewDocument", identifier=number)


# Paper


def test_a_page_is_printed_light_whole_and_without_what_is_around_it(sample: str, browser: Browser) -> None:
    browser.view(dark=True)
    browser.open(sample)
    folded = browser.run("document.querySelectorAll('details:not([open])').length")
    assert folded > 2
    scheme = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.send("Emulation.setEmulatedMedia", media="print", features=scheme)
    browser.run("dispatchEvent(new Event('beforeprint'))")
    try:
        shown = "[...document.querySelectorAll('{}')].filter(e => e.checkVisibility()).length"
        around = ".bd-sidebar-primary, .bd-sidebar-secondary, .bd-header-article, .bd-footer-content, button"
        assert browser.run(shown.format(around)) == 0
        assert browser.run(shown.format(".cell_input")) == browser.run(CELLS)
        assert browser.run(shown.format("template, details.hide.above-input > summary")) == 0
        assert browser.run(shown.format(".solution p:not(.admonition-title)")) == browser.run(
            "document.querySelectorAll('.solution p:not(.admonition-title)').length")  # fmt: skip
        inks = "getComputedStyle(document.querySelector('.bd-article section > p')).color"
        assert max(map(int, re.findall(r"\d+", browser.run(inks))[:3])) < 100
        cut = "[...document.querySelectorAll('pre, figure img')].filter(e => e.scrollWidth > e.clientWidth + 26).length"
        assert browser.run(cut) == 0
        data = browser.send("Page.printToPDF", printBackground=False)["data"]
        assert len(data) > 20_000
    finally:
        browser.run("dispatchEvent(new Event('afterprint'))")
        browser.view()
    assert browser.run("document.documentElement.dataset.theme") == "dark"


# Slow machines


WATCH = """window.order = [];
new MutationObserver(list => { for (const {addedNodes, target} of list) for (const node of addedNodes)
  if (node.nodeName === "MJX-CONTAINER" && target.closest(".bd-article .math")) {
    const formula = target.closest(".math");  // what is not shown has no place, near or far
    order.push(formula.getClientRects().length > 0 && formula.getBoundingClientRect().top < 2 * innerHeight);
  }
}).observe(document, {childList: true, subtree: true});"""


def test_formulas_near_the_window_are_set_first(site: Path, browser: Browser) -> None:
    number = browser.send("Page.addScriptToEvaluateOnNewDocument", source=WATCH)["identifier"]
    try:
        browser.view(width=360, height=740)
        browser.open((site / "book/chapters/targets.html").as_uri())
        order = browser.run("order")
    finally:
        browser.send("Page.removeScriptToEvaluateOnNewDocument", identifier=number)
    near = sum(order)
    assert 2 < near < len(order) / 4
    assert sum(order[:near]) >= 0.8 * near


def test_what_is_printed_at_once_has_its_formulas(site: Path, browser: Browser) -> None:
    browser.view()
    browser.open((site / "book/notation.html").as_uri(), formulas=False)
    browser.send("Network.setBlockedURLs", urls=[])
    browser.send("Page.navigate", url=(site / "book/notation.html").as_uri())
    left = """new Promise(done => { const look = () => window.MathJax?.typesetPromise
        ? (dispatchEvent(new Event("beforeprint")), dispatchEvent(new Event("afterprint")),
           done([...document.querySelectorAll(".math")].filter(e => !e.querySelector("mjx-container")).length))
        : setTimeout(look, 5); look(); })"""
    browser.listen(0.3)
    assert browser.run(left) == 0


def test_far_parts_wait_for_their_reader(site: Path, browser: Browser) -> None:
    """Sections out of sight are skipped, and a link into one of them leads there."""
    browser.view(width=360, height=740)
    address = (site / "book/chapters/targets.html").as_uri()
    browser.open(address)
    sections = "[...document.querySelectorAll('.bd-article > section > section')]"
    assert browser.run(f"{sections}.filter(s => getComputedStyle(s).contentVisibility === 'auto').length") > 5
    last = browser.run(f"{sections}.at(-1).id")
    top = f"document.getElementById({last!r}).getBoundingClientRect().top"
    come = f"""new Promise(done => {{ const start = Date.now(); const look = () => {{
        -2 <= {top} && {top} < 740 || Date.now() - start > 5000 ? done({top}) : setTimeout(look, 50); }}; look(); }})"""
    browser.run(f"document.querySelector('.bd-toc-nav a[href=\"#{last}\"]').click()")
    assert -2 <= browser.run(come) < 740  # parts of a pixel are lost
    browser.open(f"{address}?again#{last}")
    browser.listen(0.5)
    assert -2 <= browser.run(top) < 740


# The imprint


def git(folder: Path, *words: str) -> str:
    options = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *options, "-C", folder, *words], check=True, capture_output=True, text=True).stdout


def test_the_edition_is_the_last_change_of_a_source(tmp_path: Path) -> None:
    version = imprint.edition(ROOT).version
    assert imprint.edition(tmp_path) == (version, "", "", False, "")
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "a.md").write_text("a")
    git(tmp_path, "init", "-q")
    assert imprint.edition(tmp_path) == (version, "", "", False, "")
    git(tmp_path, "add", "."), git(tmp_path, "commit", "-qm", "one", "--date=2026-01-02T03:04:05")
    first = imprint.edition(tmp_path)
    assert first.commit == git(tmp_path, "rev-parse", "--short", "HEAD").strip() and not first.changed
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", first.date)
    assert first.revision == git(tmp_path, "rev-parse", "HEAD").strip()
    (tmp_path / "elsewhere").write_text("b")
    git(tmp_path, "add", "."), git(tmp_path, "commit", "-qm", "two")
    assert imprint.edition(tmp_path) == first
    (tmp_path / "book" / "a.md").write_text("c")
    assert imprint.edition(tmp_path) == first._replace(changed=True)


def test_a_page_is_cited_so_that_others_can_read_it() -> None:
    from pybtex.database import parse_string

    book = imprint.Edition("1.2", "abc1234", "2026-01-02", True)
    unset = imprint.footer("a", "A", {"author": "A", "copyright": "2025", "address": ""}, book)
    assert "with changes.</pre>" in unset and "url = " not in unset
    config = {"author": "The A & B authors", "copyright": "2025", "address": "https://example.org/a_b"}
    title = '<span class="section-number">4. </span>Gap &amp; loss of <span class="math">\\(x_0\\)</span>, 5 %'
    text = imprint.footer("book/chapters/gap", title, config, book)
    assert '<p class="edition">diffnotes 1.2, revision abc1234 of 2026-01-02 with changes.</p>' in text
    import html

    plain, bibtex = map(html.unescape, re.findall(r"<pre>(.*?)</pre>", text, re.S))
    assert plain == (f"The A & B authors (2026). Gap & loss of \\(x_0\\), 5 %. In: {imprint.BOOK}, version 1.2, "
                     "revision abc1234 of 2026-01-02 with changes. https://example.org/a_b")  # fmt: skip
    (key, entry), = parse_string(bibtex, "bibtex").entries.items()
    assert key == "diffnotes-gap" and entry.fields["title"] == r"{Gap \& loss of $x_0$, 5 \%}"
    assert entry.fields["year"] == "2026" and entry.fields["url"] == "https://example.org/a_b"
    assert str(entry.persons["author"][0]) == r"{The A \& B authors}"
    assert imprint.footer("a", "A", config, imprint.Edition("1.2")).count("(2025)") == 1
    assert "(2026). Is it stable? In: " in imprint.footer("a", "Is it stable?", config, book)


def test_the_book_is_called_as_in_its_citation_file() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert citation["title"] == imprint.BOOK and citation["authors"] == [{"name": config["author"]}]
    assert citation.get("repository-code", "") == config["repository"]["url"]


def test_every_page_has_its_imprint_and_it_is_copied(site: Path, sample: str, browser: Browser) -> None:
    keys = []
    for path in pages(site)[:-1]:
        text = path.read_text(encoding="utf8")
        assert text.count('<details class="cite">') == 1, path
        keys += re.findall(r"@misc\{(diffnotes-[\w-]+),", text)
    assert len(set(keys)) == len(keys) == len(pages(site)) - 1  # exercises are not cited as their chapter
    assert {"diffnotes-lipschitz", "diffnotes-exercises-lipschitz"} <= set(keys)
    assert 'details class="cite"' not in (site / "search.html").read_text(encoding="utf8")
    browser.open(sample)
    browser.run("document.querySelector('details.cite > summary').focus()")
    browser.press("Enter")
    assert browser.run("document.querySelector('details.cite').open")
    copied = """new Promise(done => { document.addEventListener('copy', () => done(getSelection().toString()
        || document.activeElement.value)); document.querySelectorAll('details.cite .copybtn')[1].click() })"""
    browser.listen(0.5)
    assert "@misc{diffnotes-sample," in browser.run(copied)
