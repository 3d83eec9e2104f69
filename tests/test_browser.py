"""The built book, opened in a browser from disk and without a network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from browser import STILL, Browser
from faults import LOADING, QUIET
from sites import ROOT

from diffnotes.press.directives import POLICY
from diffnotes.press.web import Document

SHOTS = ROOT / "_build" / "screenshots"  # of every page, for the eye; made where DIFFNOTES_SCREENSHOTS is set
LOOK = bool(os.environ.get("DIFFNOTES_SCREENSHOTS"))
LOCAL = ("file:", "data:", "blob:", "about:")

# Number of formulas, of those set, and the text of those that are wrong; an unknown macro is set in red.
FORMULAS = """[
  document.querySelectorAll('.math').length,
  [...document.querySelectorAll('.math')].filter(e => e.querySelector('mjx-container')).length,
  [...document.querySelectorAll('mjx-merror, [data-mjx-error], mjx-assistive-mml [mathcolor="red"]')]
    .map(e => e.closest('.math')?.textContent ?? e.textContent)]"""

# Visible texts whose contrast with their background is below WCAG AA, as "ratio: text".
CONTRAST = """(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
  const over = (top, below) => top.slice(0, 3).map((c, i) => c * top[3] + below[i] * (1 - top[3]));
  const memo = {}, rgba = css => memo[css] ??= read(css);
  const read = css => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = css; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
  const light = c => c.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = e => e ? over(rgba(getComputedStyle(e).backgroundColor), ground(e.parentElement)) : [255, 255, 255];
  const found = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, text = walk.currentNode.textContent.trim();
    if (!text || !e.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
    if (e.closest('script, style, svg, mjx-container, .visually-hidden, .skip-link, .headerlink')) continue;
    const style = getComputedStyle(e), below = ground(e), size = parseFloat(style.fontSize);
    const [a, b] = [light(over(rgba(style.color), below)), light(below)].sort((x, y) => y - x);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (large ? 3 : 4.5)) found.add(ratio.toFixed(2) + ': ' + text.slice(0, 40));
  }
  return [...found];
})()"""

# What is cut: texts, formulas and pictures beyond a box that hides what is outside of it, a cell, the text's width, or
# the window. What a box that scrolls sideways holds can be had, and the box is looked at in its place. A box scrolls
# for readers only where the keyboard reaches it, or where it is a formula. Then the tables that scroll, or are stacked.
CUT = """(() => {
  const memo = new Map(), once = (make, e) => {
    const key = make.name; if (!memo.has(e)) memo.set(e, {}); return memo.get(e)[key] ??= make(e); };
  const style = e => getComputedStyle(e), place = e => e.getBoundingClientRect();
  const edged = e => e.matches('td, th, pre, figure, .admonition, .sd-card, .cell, .bd-article, .bd-article-container');
  const words = text => [...text.trim()].slice(0, 50).join('');
  const cut = [], look = (e, {left, right, top, bottom, width}, told) => {
    if (!width) return;
    for (let up = e; up !== document.body; up = up.parentElement) {
      const {overflowX, overflowY, display, position} = once(style, up);
      if (display === 'inline' || display === 'contents') continue;
      const box = once(place, up), scrolls = /auto|scroll/.test(overflowX) && up.scrollWidth > up.clientWidth + 1;
      const reached = up.matches('[tabindex="0"], mjx-container, .math');
      if (scrolls && !reached) { cut.push(`unreached: ${told}`); return; }
      if (scrolls) ({left, right} = box);
      if (/auto|scroll/.test(overflowY) && up.scrollHeight > up.clientHeight + 1) ({top, bottom} = box);
      const hides = /hidden|clip/;
      const beside = edged(up) || hides.test(overflowX) ? Math.max(right - box.right, box.left - left) : 0;
      const below = hides.test(overflowY) ? Math.max(bottom - box.bottom, box.top - top) : 0;
      if (beside > 1.5 || below > 4) { cut.push(`beyond ${up.tagName}.${up.className}: ${told}`); return; }
      if (position === 'fixed') return;
    }
    if (left < -1 || right > innerWidth + 1) cut.push(`beyond the window: ${told}`);
  };
  const main = document.querySelector('.bd-main'), range = document.createRange();
  const texts = document.createTreeWalker(main, NodeFilter.SHOW_TEXT);
  const shown = e => e.checkVisibility({visibilityProperty: true, opacityProperty: true});
  const apart = 'script, style, noscript, svg, select, mjx-container, .visually-hidden, .bd-sidebar-secondary';
  while (texts.nextNode()) {
    const text = texts.currentNode, e = text.parentElement;
    if (!text.data.trim() || once(function aside(e) { return e.closest(apart) !== null || !shown(e); }, e)) continue;
    range.selectNodeContents(text);
    for (const line of range.getClientRects()) look(e, line, words(text.data));
  }
  for (const e of [...main.querySelectorAll('mjx-math, img')].filter(shown))
    look(e.parentElement, place(e), words(e.closest('.math')?.textContent ?? e.alt ?? e.textContent));
  const tables = [...main.querySelectorAll('.pst-scrollable-table-container')].filter(
    box => box.scrollWidth > box.clientWidth + 1 || box.querySelector('.stacked'));
  return [[...new Set(cut)], tables.map(box => words(box.innerText).replaceAll('\\n', ' '))];
})()"""


def pages(site: Path) -> list[Path]:
    return [
        path
        for path in sorted(site.rglob("*.html"))
        if (path.name not in ("index.html", "search.html") or path.parent != site) and path.parent.name != "slides"
    ]


SETTLED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
WIDTH = "Math.max(document.scrollingElement.scrollWidth, innerWidth)"  # a window may grow with its page
UNLOADED = "[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)"


@pytest.fixture(scope="module")
def visited(site: Path, browser: Browser) -> dict[Path, dict[str, Any]]:
    """What is seen of each page, opened once in a wide window that then becomes narrow: to set formulas takes long."""
    seen = {}
    for path in pages(site):
        browser.view(width=1300)
        browser.open(path.as_uri())
        found = {"formulas": browser.run(FORMULAS), "errors": [*browser.errors], "requests": [*browser.requests],
                 "heading": browser.run("document.querySelector('h1')?.innerText.trim()"),
                 "unloaded": browser.run(UNLOADED), "cut": {}}  # fmt: skip
        browser.run(STILL)
        notebook = path.parent.name == "chapters"
        for width in (1300, 360) if notebook else (1300, 1000, 360):
            browser.view(width=width)
            browser.run(SETTLED)
            found["cut"][width] = (browser.run(WIDTH), *browser.run(CUT))
        if LOOK and notebook:
            browser.screenshot(SHOTS / f"book-chapters-{path.stem}-phone.png")
        seen[path.relative_to(site)] = found
    return seen


def test_every_page_works_from_disk_without_a_network(visited: dict[Path, dict[str, Any]]) -> None:
    faults, total = [], 0
    for where, found in visited.items():
        formulas, done, wrong = found["formulas"]
        total += formulas
        faults += [f"{where}: {error}" for error in found["errors"]]
        faults += [f"{where}: asks for {url}" for url in found["requests"] if not url.startswith(LOCAL)]
        faults += [f"{where}: formula with an error: {text[:80]}" for text in wrong]
        faults += [f"{where}: {formulas - done} of {formulas} formulas not set"] * (formulas != done)
        faults += [f"{where}: no heading"] * (not found["heading"])
        faults += [f"{where}: image not shown: {url}" for url in found["unloaded"]]
    assert not faults, "\n".join(faults)
    assert total > 50, f"only {total} formulas in the whole book: is the notation page there?"


def test_nothing_is_cut_in_a_wide_and_in_a_narrow_window(visited: dict[Path, dict[str, Any]]) -> None:
    """No page is wider than its window, no text is cut, and tables of pages that are no notebooks need no scrolling."""
    faults = []
    for path, found in visited.items():
        for width, (wide, cut, tables) in found["cut"].items():
            where = f"{path} at {width} pixels"
            faults += [f"{where}: {text}" for text in cut] + [f"{where}: {wide} pixels wide"] * (wide > width)
            if width == 1300 and path.parent.name != "chapters":
                faults += [f"{where}: table too wide: {head}" for head in tables]
    assert not faults, "\n".join(faults)


def test_a_fault_would_be_seen(site: Path, browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        f"""<script src="{(site / "_static/mathjax/tex-mml-chtml.js").as_uri()}"></script>
        <i class="math">\\(\\nosuchmacro + x\\)</i> <i class="math">\\(a_b_c\\)</i> <i class="math">x</i>
        <p style="color: #999">faint words</p>
        <script src="https://example.org/x.js"></script><script>throw new Error("staged")</script>"""
    )
    browser.view()
    browser.open(page.as_uri())
    formulas, done, wrong = browser.run(FORMULAS)
    assert (formulas, done, len(wrong) >= 2) == (3, 2, True)
    assert any("staged" in error for error in browser.errors)
    assert "https://example.org/x.js" in browser.requests
    assert any("faint words" in text for text in browser.run(CONTRAST))


def test_what_loads_is_what_a_browser_asks_for(browser: Browser, tmp_path: Path) -> None:
    """Each piece of HTML that makes the browser ask somebody else is known to, and the harmless ones ask nobody.

    In a page with the policy of the book nothing is sent, whatever the page holds; only a refresh leads away from it,
    and a drawing of another site is not drawn anyway.
    """

    def asked(piece: str, policy: str = "") -> tuple[list[str], list[str]]:
        page.write_text(f"<!doctype html><html><head>{policy}<meta charset=utf-8></head><body>{piece}</body></html>")
        browser.open(page.as_uri(), formulas=False)
        browser.listen(0.03)
        found = [url for url in browser.requests if not url.startswith(LOCAL)]
        sent = [url for url in found if url not in browser.blocked]
        browser.open("about:blank")
        return found, sent

    page = tmp_path / "page.html"
    browser.view()
    counts = {name: len(asked(piece)[0]) for name, piece in LOADING.items()}
    assert sum(map(bool, counts.values())) > 40, counts
    assert not [name for name, count in counts.items() if count and not Document(LOADING[name]).remote]
    assert not [name for name, piece in QUIET.items() if asked(piece)[0]]
    through = [name for name, piece in LOADING.items() if asked(piece, POLICY)[1]]
    assert set(through) <= {"a refresh", "a use"}, through


# Links to code and run

OPEN = "document.querySelector('.cell:target > details.hide.above-input')?.open"


def test_the_code_behind_a_figure_and_a_verdict_is_opened(site: Path, browser: Browser) -> None:
    """By a click and by the Enter key, on arrival from elsewhere, and again after the reader has closed it."""
    browser.view()
    address = (site / "book/chapters/sample.html").as_uri()
    for where, says in (("figure", "Code of this figure"), (".verdict", "Code of the verdict on")):
        browser.open(address, formulas=False)
        browser.run("localStorage.clear()")
        link = f"document.querySelector('{where} .made a')"
        assert browser.run(f"{link}.textContent").startswith(says)
        browser.run(f"{link}.focus()")
        browser.press("Enter")
        browser.listen(0.3)
        cell = browser.run("document.querySelector('.cell:target')?.id")
        assert cell and browser.run(f"{link}.hash") == f"#{cell}" and browser.run(OPEN) is True
        assert 0 <= browser.run("document.querySelector('.cell:target').getBoundingClientRect().top") < 900
        browser.run("document.querySelector('.cell:target > details').open = false")
        browser.run(f"{link}.click()")
        browser.listen(0.2)
        assert browser.run(OPEN) is True
        browser.open(f"{address}?again#{cell}", formulas=False)
        browser.listen(0.3)
        assert browser.run(OPEN) is True and not browser.errors


def test_the_run_behind_a_verdict_is_a_row_of_its_page(site: Path, browser: Browser) -> None:
    browser.view()
    browser.open((site / "book/chapters/sample.html").as_uri(), formulas=False)
    browser.run("document.querySelector('.verdict .made a:nth-of-type(2)').click()")
    browser.listen(1)
    assert browser.run("location.pathname").endswith("/book/runs.html")
    assert "A chapter made by hand" in browser.run("document.querySelector('tr:has(:target)').innerText")
    browser.send("Emulation.setEmulatedMedia", media="print")
    try:
        browser.open((site / "book/chapters/sample.html").as_uri(), formulas=False)
        assert browser.run("[...document.querySelectorAll('.made')].filter(e => e.checkVisibility()).length") == 0
    finally:
        browser.send("Emulation.setEmulatedMedia", media="")


def test_a_reader_without_javascript_is_told_about_formulas(site: Path, browser: Browser) -> None:
    note = "getComputedStyle(document.querySelector('.without-script') ?? document.head).display"
    browser.view()
    browser.open((site / "book/chapters/sample.html").as_uri())
    assert browser.run("document.querySelector('.without-script')") is None
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open((site / "book/chapters/sample.html").as_uri(), formulas=False)
        assert browser.run(note) == "block"
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)


# Where the results of a search lead, once there are any, and after five seconds in any case.
RESULTS = """new Promise(done => { const start = Date.now(); const look = () => {
  const links = [...document.querySelectorAll('#search-results ul.search li a')].map(a => a.getAttribute('href'));
  const over = document.querySelector('.search-summary')?.textContent.trim();
  over || Date.now() - start > 5000 ? done(links) : setTimeout(look, 50); }; look(); })"""


def test_search_finds_a_page(site: Path, browser: Browser) -> None:
    browser.view()
    browser.open((site / "search.html").as_uri() + "?q=provenance")
    found = browser.run(RESULTS)
    assert any("reproduce.html" in link for link in found), found
    assert not browser.errors


# Sets the controls of the ledger's filters and says which claims are left, and what is said of their number.
FILTER = """((chosen) => {
  const form = document.querySelector('.ledger-filters');
  form.reset();
  for (const [name, value] of Object.entries(chosen)) form.elements[name].value = value;
  form.dispatchEvent(new Event('input'));
  const rows = [...document.querySelector('.ledger-overview table').tBodies[0].rows].filter(e => e.checkVisibility());
  return [rows.map(row => row.cells[0].textContent.trim()), form.querySelector('output').textContent,
          rows.map(row => row.cells[3].textContent)];
})"""


def test_the_ledger_can_be_filtered(site: Path, browser: Browser) -> None:
    browser.open((site / "book/claims.html").as_uri())
    everything, told, _ = browser.run(f"{FILTER}({{}})")
    assert len(everything) > 50 and told == f"{len(everything)} of {len(everything)} claims"
    found, told, verdicts = browser.run(f"{FILTER}({{verdict: 'mixed'}})")
    assert 0 < len(found) < len(everything) and all(" mixed" in verdict for verdict in verdicts)
    assert told == f"{len(found)} of {len(everything)} claims"
    assert browser.run(f"{FILTER}({{group: 'G'}})")[0] == ["G1", "G2", "G3", "G4"]
    found, _, verdicts = browser.run(f"{FILTER}({{words: 'e-tsdm SMALL'}})")
    assert found == ["L4", "L11", "I7", "I8"]  # in the statements of two, in the boxes of the others
    assert verdicts[0].endswith("on images: ✓ I7")
    found, told, _ = browser.run(f"{FILTER}({{words: 'no such words'}})")
    assert not found and told.startswith(f"0 of {len(everything)} claims; the search of the site")
    names = browser.run("[...document.querySelector('.ledger-filters').elements.group.options].map(one => one.text)")
    assert "Recursive training" in names and len(names) == 8
    assert browser.run("[...document.querySelectorAll('.ledger-filters :is(input, select)')].every(e => e.labels[0])")
    sources = "[...document.querySelector('.ledger-filters').elements.source.options].map(one => one.text)"
    assert browser.run(sources) == ["all", "1", "2", "3", "4", "5", "ours"]


def test_the_filters_of_the_ledger_show_what_is_chosen(site: Path, browser: Browser) -> None:
    """No choice is cut by its field: each is as wide as it would be without any bound."""
    cut = """[...document.querySelectorAll('.ledger-filters select')].filter(e => {
        const shown = e.offsetWidth;
        e.style.cssText = 'width: max-content; max-width: none';
        return e.offsetWidth > shown; }).map(e => e.name)"""
    for width in (1300, 360):
        browser.view(width=width)
        browser.open((site / "book/claims.html").as_uri(), formulas=False)
        assert browser.run(cut) == []


def test_the_filters_of_the_ledger_are_used_by_keyboard(site: Path, browser: Browser) -> None:
    browser.view(width=360)
    browser.open((site / "book/claims.html").as_uri(), formulas=False)
    told = "document.querySelector('.ledger-filters output').textContent"
    focus = "document.activeElement.name || document.activeElement.type"
    everything = browser.run(told)
    browser.run("document.querySelector('.ledger-filters input').focus()")
    browser.send("Input.insertText", text="zzyzx")
    browser.press("Enter")  # which sends nothing, so the page stays
    assert browser.run(told).startswith("0 of ")
    browser.press("Escape")
    assert browser.run(told) == everything
    for name in ("verdict", "source", "group"):
        browser.press("Tab")
        assert browser.run(focus) == name
        before = browser.run(told)
        browser.send("Input.dispatchKeyEvent", type="rawKeyDown", key="ArrowDown", windowsVirtualKeyCode=40)
        assert browser.run(told) != before or name == "group"  # the first source and the first subject are the same
    browser.press("Tab")
    assert browser.run(focus) == "reset"
    browser.press(" ")
    browser.listen(0.1)
    assert browser.run(told) == everything


FIRST = {  # page and anchor of the first result: the words that a student or an engineer would type
    "diagnose.html#sec-diagnose-clumped": [
        "clumped samples", "my samples clump together", "samples look clumped", "mode collapse", "low diversity"],
    "diagnose.html#sec-diagnose-washed": [
        "blurry", "why are my samples blurry", "washed out", "grey images", "gray images"],
    "diagnose.html#sec-diagnose-steps": ["few steps", "fast sampling"],
    "diagnose.html#sec-diagnose-noisy": ["unstable training", "grainy"],
    "diagnose.html#sec-diagnose-loss": ["loss goes down but samples bad"],
    "diagnose.html#sec-diagnose-drift": ["training on own samples"],
    "diagnose.html#sec-diagnose-command": ["stability", "is my model stable"],
    "chapters/measuring.html#sec-measuring-memorisation": ["memorisation", "memorization", "memorizing"],
    "chapters/measuring.html#sec-measuring-definition": ["neighbours", "neighbors", "near duplicates"],
    "chapters/collapse.html#sec-collapse-optimiser": ["optimiser", "optimizer"],
    "chapters/collapse.html#sec-collapse-sign": ["ODE vs SDE"],
    "chapters/targets.html#sec-targets-table": [
        "v-prediction", "v prediction", "eps-prediction", "ε-prediction", "x0 prediction", "parameterization",
        "parametrisation", "score matching"],
    "chapters/targets.html#sec-targets-background": ["diffusion", "diffuson", "reverse process"],
    "chapters/targets.html#sec-targets-stability": ["training diverges", "nan loss"],
    "chapters/sequence.html#sec-sequence-gap": ["exposure bias", "error accumulation"],
    "chapters/sequence.html#sec-sequence-losses": ["SA loss", "sa_loss"],
    "chapters/sequence.html#sec-sequence-covariances": ["learned variance"],
    "chapters/lipschitz.html#sec-lipschitz-sharing": ["timestep sharing", "time step sharing"],
    "glossary.html#term-ANSD": ["ANSD", "ansd"],
    "glossary.html#term-Frechet-distance": ["FID", "Frechet distance"],
    "glossary.html#term-Lipschitz-singularity": ["Lipschitz", "lipshitz"],
    "glossary.html#term-DDIM": ["DDIM"],
    "glossary.html#term-score": ["score", "scores"],
    "glossary.html#term-evidence-lower-bound": ["ELBO"],
    "glossary.html#term-E-TSDM": ["E-TSDM", "etsdm"],
    "glossary.html#term-log-SNR": ["log snr"],
    "glossary.html#term-model-collapse": ["model collapse"],
    "glossary.html#term-recursive-training": ["recursive training", "recursiv trainning"],
    "notation.html#symbol-tau-i": ["tau", "τ", "tau_i", r"$\tau_i$"],
    "notation.html#symbol-abar-t": ["alpha bar", "alpha_bar", "ᾱ"],
    "notation.html#symbol-r-varepsilon": ["ansd_ratio"],
    "claims.html#ledger-c9": ["C9", "c9", "claim C9"],
    "claims.html#ledger-i12": ["I12"],
    "errata.html": ["erratum", "errata"],
    "reproduce.html#by-hand": ["install", "pip install", "colab"],
    "teaching/guide.html#guide-hardware": ["GPU", "graphics card"],
    "index.html#cite": ["cite", "citation", "bibtex"],
    "../slides/index.html": ["slides"],
}  # fmt: skip


@pytest.mark.parametrize("first", FIRST)
def test_the_first_result_of_a_search(site: Path, browser: Browser, first: str) -> None:
    """Sphinx alone drops Greek letters and "C9", knows one spelling of a word, and no other words for a thing."""
    browser.view()
    for query in FIRST[first]:
        browser.open((site / "search.html").as_uri() + "?q=" + quote(query), formulas=False)
        found = browser.run(RESULTS)
        assert found and (site / found[0]).resolve() == (site / "book" / first).resolve(), (query, found[:3])
        assert not browser.errors
    page, _, anchor = first.partition("#")
    assert f'id="{anchor}"' * bool(anchor) in (site / "book" / page).read_text(encoding="utf8")


def test_a_search_says_what_it_has_looked_for_instead(site: Path, browser: Browser) -> None:
    browser.view()
    told = {}
    for query in ("Lipschitz", "lipshitz", "oversaturated lipshitz constants", "zzyzx"):
        browser.open((site / "search.html").as_uri() + "?q=" + quote(query), formulas=False)
        browser.run(RESULTS)
        told[query] = browser.run("document.querySelector('.search-instead')?.textContent")
        assert browser.run("document.querySelector('.search-summary[role=status]') !== null")
    assert told["Lipschitz"] is None
    assert "has “lipshitz”" in told["lipshitz"] and "for “lipschitz”." in told["lipshitz"]
    assert "for “lipschitz”, “constants”." in told["oversaturated lipshitz constants"]
    assert "glossary" in told["zzyzx"]


@pytest.mark.parametrize(("query", "anchor"), [
    ("clumped samples", "sec-diagnose-clumped"),
    ("washed-out samples", "sec-diagnose-washed"),
    ("why are my samples washed out", "sec-diagnose-washed"),
    ("noisy small t", "sec-diagnose-noisy"),
    ("drift over retraining", "sec-diagnose-drift"),
])  # fmt: skip
def test_a_symptom_leads_to_its_diagnosis(site: Path, browser: Browser, query: str, anchor: str) -> None:
    browser.view()
    browser.open((site / "search.html").as_uri() + "?q=" + quote(query))
    found = browser.run(RESULTS)
    assert f"book/diagnose.html#{anchor}" in found[:3], found[:5]
    assert f'id="{anchor}"' in (site / "book/diagnose.html").read_text(encoding="utf8")


def test_what_nobody_wrote_is_not_found(site: Path, browser: Browser) -> None:
    browser.view()
    browser.open((site / "search.html").as_uri() + "?q=zzyzx")
    assert browser.run(RESULTS) == [] and not browser.errors


# Cards beside links

# The middle of a link of the page that is in sight, brought into the middle of the window.
MIDDLE = """(selector => {{
  const link = [...document.querySelectorAll(selector)].find(a => a.getClientRects().length);
  link.scrollIntoView({{block: 'center', behavior: 'instant'}});
  const box = link.getClientRects()[0];
  return [box.left + box.width / 2, box.top + box.height / 2];
}})({0!r})"""
# The card that is seen: its kind, words, formulas and those set, pictures shown, and whether the link says it is there.
CARD = """(() => {
  const card = document.querySelector('.link-card');
  if (!card) return null;
  const link = document.querySelector('[aria-describedby=link-card]');
  const box = card.getBoundingClientRect();
  const inside = box.left >= 0 && box.right <= innerWidth && box.top >= 0;
  const pictures = [...card.querySelectorAll('img')].filter(i => i.complete && i.naturalWidth).length;
  return {kind: card.className.split(' ')[1], text: card.innerText, inside, pictures,
    role: card.role, link: link?.className,
    formulas: [card.querySelectorAll('.math').length, card.querySelectorAll('.math mjx-container').length],
    wrong: card.querySelectorAll('mjx-merror, [data-mjx-error]').length, ids: card.querySelectorAll('[id]').length};
})()"""


def point(browser: Browser, x: float, y: float, wait: float = 0.7) -> None:
    browser.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    browser.listen(wait)


CARDS = {
    "a term": ("chapters/sample", "[href$='#term-score']", "term", "gradient of the logarithm"),
    "an equation here": ("chapters/sample", "[href='#equation-eq-sample-loss']", "equation", ".1)"),
    "a figure here": ("chapters/sample", "[href='#fig-sample-error']", "figure", "Error over time."),
    "a theorem here": ("chapters/sample", "[href='#thm-sample']", "theorem", "Rotation"),
    "a work": ("chapters/sample", "[href^='#id']", "citation", "diffusion"),
    "an equation elsewhere": ("equations", "[href$='#equation-eq-recursion-coherent']", "equation", "("),
    "a figure elsewhere": ("chapters/collapse", "[href$='targets.html#fig-targets-digits']", "figure", "Fig."),
    "a claim here": ("claims", "[href='#ledger-c9']", "claim", "SDE sampler with the same net collapses less"),
    "a claim elsewhere": ("claims", "[href$='#claim-c1']", "claim", "C1 holds"),
    "a number quoted": ("index", ".effect[href$='#claim-l4']", "claim", "The part quoted here: "),
}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("case", CARDS)
def test_a_card_shows_what_a_link_leads_to(site: Path, browser: Browser, case: str, dark: bool) -> None:
    page, selector, kind, words = CARDS[case]
    browser.view(dark=dark)
    browser.open((site / f"book/{page}.html").as_uri())
    point(browser, 1, 1, 0)
    point(browser, *browser.run(MIDDLE.format(f"a.reference.internal{selector}")))
    card = browser.run(CARD)
    assert card and card["kind"] == f"link-card-{kind}" and words in card["text"], card
    assert card["inside"] and card["role"] == "tooltip" and "reference" in card["link"] and not card["ids"]
    assert card["formulas"][0] == card["formulas"][1] and not card["wrong"]
    assert bool(card["formulas"][0]) >= (kind == "equation") and card["pictures"] == (kind == "figure")
    shown = browser.run(CONTRAST)
    assert not [text for text in shown if text.split(": ", 1)[1] in card["text"]], shown
    assert not browser.errors and not [url for url in browser.requests if not url.startswith(LOCAL)]


def test_the_card_of_a_number_says_its_interval(site: Path, browser: Browser) -> None:
    """Two numbers of one claim have one card, and each its own interval in it; the tooltip comes back afterwards."""
    browser.view()
    browser.open((site / "book/index.html").as_uri())
    told = []
    for which in (0, 1):
        link = f"[...document.querySelectorAll(\".effect[href$='#claim-l4']\")][{which}]"
        title = browser.run(f"{link}.title")
        browser.press("Tab")
        browser.run(f"{link}.focus()")
        text = browser.run(CARD)["text"]
        assert title and f"The part quoted here: {title}." in text and text.count("quoted here") == 1
        browser.press("Escape")
        assert browser.run(f"{link}.title") == title
        told.append(title)
    assert told[0] != told[1]


def test_a_card_stays_while_it_is_read_and_goes_on_escape(site: Path, browser: Browser) -> None:
    browser.view()
    browser.open((site / "book/chapters/sample.html").as_uri())
    point(browser, 1, 1, 0)
    x, y = browser.run(MIDDLE.format("a.reference.internal[href$='#term-score']"))
    point(browser, x, y, 0.1)
    assert browser.run(CARD) is None, "a pointer that passes opens nothing"
    point(browser, x, y)
    box = "(({left, top, width, height}) => [left + width / 2, top + height / 2])"
    point(browser, *browser.run(f"{box}(document.querySelector('.link-card').getBoundingClientRect())"))
    assert browser.run(CARD), "the pointer may move onto a card"
    browser.send("Input.dispatchKeyEvent", type="keyDown", key="Escape", code="Escape", windowsVirtualKeyCode=27)
    assert browser.run(CARD) is None
    point(browser, 1, 1)
    point(browser, x, y)
    assert browser.run(CARD)
    point(browser, 1, 1)
    assert browser.run(CARD) is None and browser.run("document.querySelector('[aria-describedby=link-card]')") is None


def test_the_keyboard_opens_cards_as_well(site: Path, browser: Browser) -> None:
    browser.view()
    browser.open((site / "book/chapters/sample.html").as_uri())
    point(browser, 1, 1, 0)
    focus = "document.querySelector(\"a.reference.internal[href$='{}']\").focus()"
    tab = {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
    browser.send("Input.dispatchKeyEvent", type="keyDown", **tab)
    browser.run(focus.format("#term-score"))
    assert browser.run(CARD)["kind"] == "link-card-term"
    browser.send("Input.dispatchKeyEvent", type="keyDown", key="Escape", code="Escape", windowsVirtualKeyCode=27)
    assert browser.run(CARD) is None
    assert browser.run("document.activeElement.getAttribute('href')").endswith("#term-score")
    browser.run(focus.format("#thm-sample"))
    assert browser.run(CARD)["kind"] == "link-card-theorem"
    browser.run("document.activeElement.blur()")
    assert browser.run(CARD) is None


def test_a_tap_follows_the_link(site: Path, browser: Browser) -> None:
    browser.view(width=390, height=800)
    browser.send("Emulation.setTouchEmulationEnabled", enabled=True)
    try:
        browser.open((site / "book/chapters/sample.html").as_uri())
        x, y = browser.run(MIDDLE.format("a.reference.internal[href='#thm-sample']"))
        browser.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        browser.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        browser.listen(0.7)
        assert browser.run("location.hash") == "#thm-sample" and browser.run(CARD) is None
    finally:
        browser.send("Emulation.setTouchEmulationEnabled", enabled=False)


def test_the_front_page_fits_one_screen(site: Path, browser: Browser) -> None:
    browser.view(width=1280, height=900)
    browser.open((site / "book/index.html").as_uri(), formulas=False)
    browser.run("localStorage.clear(); sessionStorage.clear()")  # a search before would add a line of the theme
    browser.open((site / "book/index.html").as_uri())
    assert 0 < browser.run("document.querySelector('.doors').getBoundingClientRect().bottom") <= 900


def test_a_link_in_a_door_leads_where_it_says(site: Path, browser: Browser) -> None:
    """A card that is a link lies over its words, but not over a link among them."""
    browser.view(width=1280, height=900)
    browser.open((site / "book/index.html").as_uri())
    under = """[...document.querySelectorAll('.doors a.reference:not(.sd-stretched-link)')].map(link => {
      const {left, top, width, height} = link.getBoundingClientRect();
      return link.contains(document.elementFromPoint(left + width / 2, top + height / 2)); })"""
    assert browser.run(under) == [True]


def test_widgets_are_drawn(site: Path, browser: Browser) -> None:
    browser.view()
    page = next(path for path in pages(site) if "jupyter.widget-view" in path.read_text(encoding="utf8"))
    browser.open(page.as_uri())
    slider = browser.run(
        """new Promise(done => { const start = Date.now(); const look = () => {
        const found = document.querySelectorAll('.widget-slider').length;
        found || Date.now() - start > 15000 ? done(found) : setTimeout(look, 50); }; look(); })"""
    )
    assert slider == 1
    settled = "document.querySelector('.widget-label mjx-container') !== null"
    assert browser.run(f"new Promise(done => setTimeout(() => done({settled}), 500))"), "the label is not set"
    assert "noise" in browser.run("document.querySelector('.noUi-handle').ariaLabel")
    assert browser.run("[...document.fonts].filter(f => f.status === 'error').map(f => f.family)") == []
    assert not browser.errors
    assert not [url for url in browser.requests if not url.startswith(LOCAL)]


# Heights that the figure of a player has had while all its controls were moved, and whether one does not fit its line.
MOVED = """(() => {
  const stage = document.querySelector('.player-stage'), heights = new Set();
  const rows = [...stage.querySelectorAll('.player-control')];
  for (const control of stage.querySelectorAll('.player-control :is(input, select)')) {
    const many = control.options?.length ?? Number(control.max) + 1;
    for (let k = 0; k < many; k++) {
      control.value = k;
      control.dispatchEvent(new Event('input', {bubbles: true}));
      heights.add(Math.round(stage.getBoundingClientRect().height));
    }
  }
  return [[...heights], rows.filter(row => row.scrollWidth > row.clientWidth + 1).map(row => row.innerText)];
})()"""


def test_a_player_keeps_its_size_while_it_is_moved(site: Path, browser: Browser) -> None:
    """Also on a telephone, where numbers would need more lines or fewer: what is below must not jump."""
    found = {path.stem: path for path in pages(site) if 'class="player"' in path.read_text(encoding="utf8")}
    assert len(found) >= 7
    for name, path in found.items():
        for width in (1280, 360):
            browser.view(width=width, height=800)
            browser.open(path.as_uri(), formulas=False)
            browser.run(STILL)
            heights, beyond = browser.run(MOVED)
            assert len(heights) == 1 and not beyond, (name, width, heights, beyond)


def test_a_chapter_is_not_styled_anew_for_each_formula(site: Path, browser: Browser) -> None:
    """A selector that asks a section what it holds cost more than half of the time in which the formulas are set."""
    browser.view(width=360, height=740)
    browser.send("Performance.enable")
    browser.open((site / "book/chapters/targets.html").as_uri())
    spent = {one["name"]: one["value"] for one in browser.send("Performance.getMetrics")["metrics"]}
    assert spent["RecalcStyleDuration"] < 0.35 * spent["TaskDuration"], spent


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_is_legible(site: Path, browser: Browser, dark: bool) -> None:
    browser.view(dark=dark)
    faults = []
    for path in pages(site):
        browser.open(path.as_uri(), formulas=LOOK)  # formulas have the colour of the text around them
        assert browser.run("document.documentElement.dataset.theme") == ("dark" if dark else "light")
        browser.run(STILL)
        faults += [f"{path.relative_to(site)}: {text}" for text in browser.run(CONTRAST)]
        name = "-".join(path.relative_to(site).with_suffix("").parts)
        if LOOK and path.parent.name in ("book", "chapters"):
            browser.screenshot(SHOTS / f"{name}-{'dark' if dark else 'light'}.png")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(("piece", "fault"), [
    ('<p style="width: 90px; overflow: hidden; white-space: nowrap">a long line of words</p>', "beyond P"),
    ('<p style="height: 20px; overflow: hidden">two<br>lines</p>', "beyond P"),
    ('<table><td style="max-width: 50px">a_word_that_is_as_long_as_a_name</td></table>', "beyond TD"),
    ('<p style="white-space: nowrap">' + "words " * 99, "beyond DIV"),
    ('<p style="white-space: nowrap; overflow-x: auto">' + "words " * 99, "unreached"),
    ('<p tabindex="0" style="white-space: nowrap; overflow-x: auto">' + "words " * 99, ""),
])  # fmt: skip
def test_what_is_cut_would_be_seen(browser: Browser, tmp_path: Path, piece: str, fault: str) -> None:
    page = tmp_path / "page.html"
    page.write_text(f'<main class="bd-main"><div class="bd-article" style="max-width: 300px">{piece}</div></main>')
    browser.view()
    browser.open(page.as_uri())
    cut, _ = browser.run(CUT)
    assert cut[0].startswith(fault) if fault else not cut


def test_a_table_that_does_not_fit_stands_cell_below_cell(site: Path, browser: Browser) -> None:
    """Each cell with its head, no empty ones, hidden rows stay hidden; and a table again where there is room."""
    browser.view(width=360)
    browser.open((site / "book/claims.html").as_uri())
    table = "document.querySelector('.ledger-overview table')"
    heads = f"[...{table}.rows[1].querySelectorAll('[data-head]')].map(e => getComputedStyle(e, '::before').content)"
    assert browser.run(heads) == [f'"{head}: "' for head in ("Claim", "Statement", "Source", "Verdict")]
    assert browser.run(f"{FILTER}({{group: 'G'}})")[0] == ["G1", "G2", "G3", "G4"]
    browser.open((site / "book/notation.html").as_uri())
    bare = "[...document.querySelectorAll('.stacked td')].some(e => !e.textContent.trim() && e.checkVisibility())"
    assert browser.run("document.querySelectorAll('.stacked').length") > 3 and not browser.run(bare)
    browser.view(width=1300)
    browser.run(SETTLED)
    assert browser.run("document.querySelectorAll('.stacked').length") == 0


def test_no_code_is_lost_beside_its_cell(site: Path, browser: Browser) -> None:
    """Long lines of a cell are wrapped: nobody has to scroll sideways to read code, opened or folded away."""
    scrolling = """(() => { const cells = [...document.querySelectorAll(".cell_input pre")];
        return cells.filter(cell => cell.scrollWidth > cell.clientWidth + 1).length })()"""
    for path in pages(site):
        browser.open(path.as_uri(), formulas=False)
        browser.run(STILL)
        for width in (1280, 360):
            browser.view(width=width, height=900)
            browser.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            assert browser.run(scrolling) == 0, f"{path.relative_to(site)} at {width} pixels"
