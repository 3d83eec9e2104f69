"""The book's frame and the site made from it: contents, bibliography, vendored files, the scan, the build."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
import yaml
from faults import LOADING
from sites import PROVENANCE, ROOT, built, chapter, runnable

from diffnotes.press import directives, provenance, quoting, site
from diffnotes.press.errors import PressError
from diffnotes.press.layout import Project
from diffnotes.press.overview import runs_markdown
from diffnotes.press.progress import clock
from diffnotes.press.reference import NOTATION, notation
from diffnotes.press.summary import collect

STATIC = ROOT / "book" / "_static"
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf8"))
LISTED = [TOC["root"], *(entry["file"] for part in TOC["parts"] for entry in part["chapters"])]
# Entries that have neither DOI nor arXiv number, and why; they must carry an address instead.
NO_NUMBER = {
    "hyvarinen2005score": "the journal gives none",
    "huang2025stability": "a web page",
    "renyi1961": "older than either",
}


# The frame


def test_the_contents_list_every_page_once() -> None:
    public = [*(ROOT / "book").glob("*.md"), *(ROOT / "book/teaching").glob("*.md")]
    prose = sorted(path.relative_to(ROOT).with_suffix("").as_posix() for path in public)
    chapters = [file for file in LISTED if file.startswith("book/chapters/")]
    assert sorted(file for file in LISTED if file not in chapters) == prose
    assert len(LISTED) == len(set(LISTED))
    sources = {f"book/chapters/{path.stem}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert sources == set(chapters)
    assert {f"book/chapters/{path.stem}" for path in (ROOT / "book/chapters").glob("*.ipynb")} <= set(chapters)


def test_the_build_executes_nothing_and_loads_nothing_from_elsewhere() -> None:
    options = CONFIG["sphinx"]["config"]
    assert CONFIG["execute"] == {"execute_notebooks": "off", "stderr_output": "remove-warn"}
    assert CONFIG["only_build_toc_files"] and CONFIG["sphinx"]["recursive_update"] and "launch_buttons" not in CONFIG
    local = [
        options["mathjax_path"],
        *options["nb_ipywidgets_js"],
        *options["html_css_files"],
        *options["html_js_files"],
    ]
    assert all((STATIC / path).is_file() for path in local)
    assert not {"analytics", "comments"} & CONFIG["html"].keys()


def test_every_reference_can_be_looked_up() -> None:
    from pybtex.database import parse_file

    entries = parse_file(str(ROOT / "book" / "references.bib")).entries
    assert len(entries) >= 30
    numbers: list[str] = []
    for key, entry in entries.items():
        fields = entry.fields
        if key in NO_NUMBER:
            assert fields["url"].startswith("https://"), key
            continue
        number = fields.get("doi") or fields.get("eprint")
        assert number, f"{key} has neither doi nor eprint"
        assert re.fullmatch(r"10\.\d{4,9}/\S+", fields.get("doi", "10.1000/x")), key
        assert re.fullmatch(r"\d{4}\.\d{4,5}", fields.get("eprint", "2001.00001")), key
        assert entry.persons["author"] and re.fullmatch(r"(19|20)\d\d", fields["year"]) and fields["title"], key
        numbers.append(number)
    assert len(numbers) == len(set(numbers)), "one work is listed twice"


def test_vendored_files_are_the_published_ones_and_carry_their_licences() -> None:
    listed = dict(
        line.split()[::-1] for line in (STATIC / "NOTICE").read_text().splitlines() if re.match(r"[0-9a-f]{64} ", line)
    )
    present = [
        path
        for folder in ("mathjax", "reveal", "widgets")
        for path in (STATIC / folder).rglob("*")
        if path.suffix in (".css", ".js", ".woff", ".woff2")
    ]
    assert {path.relative_to(STATIC).as_posix() for path in present} == set(listed)
    for path in present:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == listed[path.relative_to(STATIC).as_posix()], path
    for licence, words in {
        "mathjax/LICENSE": "Apache License",
        "reveal/LICENSE": "Hakim El Hattab",
        "reveal/LICENSE.marked": "Copyright (c) 2018+, MarkedJS",
        "widgets/LICENSE.requirejs": "MIT License",
        "widgets/LICENSE.html-manager": "Redistribution and use in source and binary forms",
        "widgets/LICENSE.html-manager-bundled": "Released under the MIT",
        "widgets/LICENSE.fontawesome": "SIL OFL 1.1",
    }.items():
        assert words in (STATIC / licence).read_text(encoding="utf8")
        assert licence in (STATIC / "NOTICE").read_text()


def test_notation_and_macros_come_from_one_table() -> None:
    table = notation(ROOT / NOTATION)
    page = (built() / "book/notation.html").read_text(encoding="utf8")
    for name, definition in table["macros"].items():
        assert json.dumps(definition)[1:-1] in page and f'"{name}"' in page
    assert page.count("<tr") == sum(len(group["rows"]) + 1 for group in table["groups"])
    with_backslash = set(re.findall(r"\\([A-Za-z]+)", json.dumps(table["groups"]).replace("\\\\", "\\")))
    assert {"abar", "SNR", "norm"} <= with_backslash & table["macros"].keys()


def test_the_example_for_users_of_the_tools_is_right() -> None:
    text = (ROOT / "book" / "about.md").read_text(encoding="utf8")
    names: dict[str, Any] = {}
    exec(re.search(r"```python\n(.*?)```", text, flags=re.S)[1], names)
    torch.testing.assert_close(names["x0"], names["law"].posterior_mean(names["x"], names["alpha"], names["sigma"]))


# What pages say about themselves


def test_provenance_box_shows_the_record() -> None:
    text = directives.provenance_markdown({**PROVENANCE, "parameters": {"steps": 7}})
    for shown in (
        "cpu profile",
        "a processor",
        "61 s",
        "512 MiB",
        "0, 1, 2, 3, 4",
        "torch 2.6.0",
        "2025-01-02",
        "`0123456789ab`",
        "`steps = 7`",
        "| eps \\| v | not recorded | 2025-01-02, 1 min 01 s | all | `0123456789ab` |",
    ):
        assert shown in text
    page = (built() / "book/chapters/sample.html").read_text(encoding="utf8")
    assert page.index("</h1>") < page.index("Computed on 2025-01-02") < page.index("After this chapter you can")
    assert page.count("Computed on") == 1 and "is stale" not in page
    assert "Show the parameters" in page and "<p>eps | v</p>" in page


def test_boxes_keep_every_cell_and_come_right_after_the_title() -> None:
    before = chapter("targets")
    after = json.loads(directives.with_boxes(json.dumps(before), ["one", "two"]))
    assert [cell["source"] for cell in after["cells"][:2]] == ["# A chapter made by hand (targets)\n", "one\ntwo"]
    shown = [cell for cell in after["cells"][3:] if cell["source"] != "# shown above"]
    assert [cell["source"] for cell in shown] == [cell["source"] for cell in before["cells"][1:]]
    assert len({cell["id"] for cell in after["cells"]}) == len(after["cells"])
    with pytest.raises(ValueError, match="title"):
        directives.with_boxes(json.dumps({"cells": before["cells"][1:]}), [])


def test_verdicts_differ_by_words() -> None:
    page = (built() / "book/chapters/sample.html").read_text(encoding="utf8")
    titles = dict(
        re.findall(r'class="verdict verdict-([a-z-]+) admonition"[^>]*>\s*<p class="admonition-title">([^<]+)', page)
    )
    assert len(titles) == 6 and len(set(titles.values())) == 6


def test_a_figure_does_not_frame_the_verdict_beside_it() -> None:
    page = (built() / "book/chapters/sample.html").read_text(encoding="utf8")
    figures = re.findall(r"<figure.*?</figure>", page, flags=re.S)
    assert len(figures) == 2 and "Error over time." in figures[0] and "admonition" not in figures[0]
    assert page.index("</figure>") < page.index('id="claim-sample-figure"')


# The scan


Change = Callable[[str], str]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(built(), tmp_path_factory.mktemp("scan") / "html")


def test_the_book_passes_the_scan(copy: Path) -> None:
    assert site.scan(copy) == []


HEAD = "</head>"
CHAPTER = "book/chapters/sample.html"


def alt(new: str) -> Change:
    return lambda text: re.sub(r'(<img [^>]*)alt="[^"]*"', rf"\1{new}", text)


def before(mark: str, new: str) -> Change:
    return lambda text: text.replace(mark, new + mark)


@pytest.mark.parametrize(
    ("file", "change", "complaint"),
    [
        ("book/index.html", before(HEAD, '<script src="https://example.org/a.js"></script>'), "network"),
        ("book/index.html", before(HEAD, '<link rel="stylesheet" href="//example.org/a.css">'), "network"),
        ("book/index.html", before("</body>", '<iframe src="http://example.org/"></iframe>'), "network"),
        ("book/index.html", before("</h1>", '<b style="background: url(https://example.org/a.png)">x</b>'), "network"),
        ("_static/diffnotes.css", lambda s: s + '@font-face { src: url("https://example.org/a.woff2") }', "network"),
        ("_static/diffnotes.css", lambda s: s + '@import "https://example.org/a.css";', "network"),
        (CHAPTER, alt(""), "without alternative"),
        (CHAPTER, alt('alt=" "'), "without alternative"),
        (CHAPTER, alt('alt="_images/a.png"'), "file name"),
        ("book/notation.html", lambda s: s.replace('<section id="targets"', '<section id="target"'), "anchor"),
        ("book/index.html", lambda s: s.replace('href="claims.html"', 'href="claim.html"'), "file that is not there"),
    ],
)
def test_the_scan_sees_a_staged_fault(copy: Path, file: str, change: Change, complaint: str) -> None:
    path = copy / file
    before = path.read_text(encoding="utf8")
    after = change(before)
    assert after != before, "the fault was not staged"
    path.write_text(after, encoding="utf8")
    try:
        assert any(complaint in problem and problem.startswith(file) for problem in site.scan(copy))
    finally:
        path.write_text(before, encoding="utf8")


def test_the_scan_is_green_again(copy: Path) -> None:
    assert site.scan(copy) == []


SMALL = {
    "book/index.html": "<html><body><h1 id=a>A</h1><a href='#a'>a</a></body></html>",
    "_static/a.css": "p { color: red }",
    "_static/a.js": "const a = 'https://example.org';",
    "_static/a.svg": '<svg xmlns="http://www.w3.org/2000/svg"></svg>',
}


@pytest.mark.parametrize(
    ("file", "change", "complaint"),
    [
        ("book/index.html", before("</h1>", '<a href="../../outside.html">x</a>'), "file that is not there"),
        ("book/index.html", before("</h1>", '<a href="javascript:x()">x</a>'), "a link that is none"),
        ("book/index.html", before("</h1>", '<a href="file:///etc/passwd">x</a>'), "a link that is none"),
        ("book/index.html", before("</h1>", '<b id="twice"></b><i id="twice"></i>'), "2 elements have the id 'twice'"),
        ("_static/a.css", lambda s: s + 'p { background: image-set("//example.org/a.png" 1x) }', "network"),
        ("_static/a.css", lambda s: s + r"p { background: u\72l(https://example.org/a.png) }", "network"),
        ("_static/a.js", lambda s: s + 'fetch("https://example.org")', "network"),
        ("_static/a.js", lambda s: s + "new WebSocket('wss://example.org')", "network"),
        ("_static/a.js", lambda s: 'import x from "https://example.org/x.js"\n' + s, "network"),
        ("_static/a.svg", before("</svg>", '<image href="https://example.org/a.png"/>'), "network"),
        ("_static/a.svg", before("</svg>", "<script>x()</script>"), "runs something"),
        *(("book/index.html", before("</h1>", LOADING[name]), "network") for name in ("a poster", "a use", "a ping")),
    ],
)
def test_the_scan_sees_more_faults(tmp_path: Path, file: str, change: Change, complaint: str) -> None:
    for name, text in SMALL.items():
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_text(text)
    (tmp_path / "outside.html").touch()
    assert site.scan(tmp_path / "site") == []
    assert change(SMALL[file]) != SMALL[file]
    (tmp_path / "site" / file).write_text(change(SMALL[file]))
    assert any(complaint in problem and problem.startswith(file) for problem in site.scan(tmp_path / "site"))


def test_the_scan_takes_odd_files(tmp_path: Path) -> None:
    site_, outside = tmp_path / "site", tmp_path / "outside.txt"
    site_.mkdir()
    outside.write_text("secret")
    (site_ / "bytes.html").write_bytes(b"<p id=a>\xff\xfe\0</p>")
    assert site.scan(site_) == []
    (site_ / "link.txt").symlink_to(outside)
    (site_ / "lost.txt").symlink_to("nothing.txt")
    (site_ / "around").symlink_to(site_)
    os.mkfifo(site_ / "pipe")
    assert site.scan(site_) == [
        "link.txt: a link to a file outside the site",
        "lost.txt: neither a file nor a folder",
        "pipe: neither a file nor a folder",
    ]


def test_the_seal_takes_odd_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "lost").symlink_to("nothing")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / os.fsdecode(b"\xff.txt")).write_text("a")
    assert not site.intact(tmp_path) and not site.intact(tmp_path / "none")
    site.seal(tmp_path, {}, "inputs")
    assert site.intact(tmp_path)
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("lost")
    assert not site.intact(tmp_path)
    site.seal(tmp_path, {}, "inputs")
    (tmp_path / "SHA256SUMS").unlink()
    (tmp_path / "SHA256SUMS").mkdir()
    assert not site.intact(tmp_path)


def test_what_a_site_is_made_of(tmp_path: Path) -> None:
    book = tmp_path / ".book" / "__of__" / "book"
    for name in ("index.md", "_static/a.css", ".hidden/a.md", "__pycache__/a.pyc", "deep/er/still/b.md"):
        (book / name).parent.mkdir(parents=True, exist_ok=True)
        (book / name).touch()
    found = [path.relative_to(book).as_posix() for path in site._files(book)]
    assert found == ["_static/a.css", "deep/er/still/b.md", "index.md"]
    (book / "same.md").symlink_to("index.md")
    assert book / "same.md" in site._files(book)
    for target in ("/etc/hostname", "nothing.md", "../../../b.md", "/etc"):
        (tmp_path / "b.md").touch()
        (book / "away.md").symlink_to(target)
        with pytest.raises(PressError, match=r"away\.md: a link to .* which is not in the book"):
            site._files(book)
        (book / "away.md").unlink()
    (book / "folder").symlink_to("_static")
    with pytest.raises(PressError, match="folder: neither a file nor a folder"):
        site._files(book)
    with pytest.raises(PressError, match="deep cannot be read"):
        site._sha256(book / "deep")


def test_ids_of_the_builder_are_made_different() -> None:
    text = '<section id="proof-content">id="proof-content"</section><div class="a" id="proof"><div id="proof">'
    text += '<section id="proof-content"></section><i id="proofs"></i><i id="other"></i><i id="other"></i>'
    after = directives.unique_ids(text)
    assert re.findall(r'<[^>]*id="([^"]*)"', after) == [
        *("proof-content", "proof", "proof-2", "proof-content-2", "proofs", "other", "other")
    ]
    assert '>id="proof-content"<' in after
    page = (built() / "book/chapters/sample.html").read_text(encoding="utf8")
    assert 'id="proof-content"' in page and page.count('<p class="without-script">') == 1
    assert page.index("without-script") < page.rindex("</h1>")
    assert "without-script" not in (built() / "book/bibliography.html").read_text(encoding="utf8")
    assert all("Content-Security-Policy" in path.read_text() for path in (built() / "book").rglob("*.html"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```{include} ../../secret.md\n```", "outside the book"),
        ("```{include} ../README.md\n```", None),
        ("```{include} /etc/hostname\n```", "outside the book"),
        ("```{literalinclude} ../../../secret.py\n```", "outside the book"),
        ("<script>x()</script>", "runs"),
        ("[a](javascript:x())", "a link that is none"),
        ("![a](https://example.org/a.png)", "elsewhere"),
        ("A [link](claims.md) and $x < y$, {doc}`reproduce`.", None),
    ],
)
def test_prose_that_brings_or_runs_something_is_a_warning(text: str, complaint: str | None) -> None:
    said: list[str] = []
    handler = type("Kept", (logging.Handler,), {"emit": lambda self, record: said.append(record.getMessage())})()
    logger = logging.getLogger("sphinx.diffnotes.press.directives")
    logger.addHandler(handler)
    try:
        directives._source_read(None, "book/index", [f"# Title\n\n{text}\n"])
    finally:
        logger.removeHandler(handler)
    assert bool(said) == bool(complaint) and all((complaint or "") in line for line in said)


# The build


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = runnable(tmp_path_factory.mktemp("build") / "book of tests")
    site.build("latest", made.root, say=lambda _: None)
    return made


@pytest.fixture
def put() -> Iterator[Callable[[Path, Change], None]]:
    """Change files for the length of a test."""
    before: dict[Path, str] = {}

    def change(path: Path, how: Change) -> None:
        before[path] = path.read_text(encoding="utf8")
        assert how(before[path]) != before[path], "nothing was changed"
        path.write_text(how(before[path]), encoding="utf8")

    yield change
    for path, text in before.items():
        path.write_text(text, encoding="utf8")


def test_the_site_is_sealed(project: Project) -> None:
    html = project.root / "_build/html"
    sums = dict(line.split("  ")[::-1] for line in (html / "SHA256SUMS").read_text().splitlines())
    files = {path.relative_to(html).as_posix() for path in html.rglob("*") if path.is_file()} - {"SHA256SUMS"}
    assert sums.keys() == files and {"index.html", "book/index.html", "provenance.json"} <= files
    for name, digest in sums.items():
        assert hashlib.sha256((html / name).read_bytes()).hexdigest() == digest
    record = json.loads((html / "provenance.json").read_text())["pages"]["sample"]
    assert record["profile"] == "cpu" and len(record["hash"]) == 64
    assert not (project.root / "_build/site-work").exists()


def test_nothing_is_built_when_nothing_changed(project: Project, put: Any) -> None:
    said: list[str] = []
    start = time.perf_counter()
    html = site.build("latest", project.root, say=said.append)
    assert time.perf_counter() - start < 1.5
    assert len(said) == 1 and "nothing changed" in said[0]
    put(html / "book/index.html", lambda text: text + "<!-- -->")
    assert not site.intact(html)
    for path in (project.root / "book/index.md", project.root / "_config.yml", project.page("cpu", "sample")):
        chosen = {"sample": project.page("cpu", "sample")}
        before = site.fingerprint(project, chosen)
        put(path, lambda text: text + "\n")
        assert site.fingerprint(project, chosen) != before


def test_a_new_repetition_is_a_change(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger says how often a verdict came again."""
    monkeypatch.setattr(site, "__file__", str(tmp_path / "site.py"))
    (tmp_path / "repeats").mkdir()
    before = site.fingerprint(project, {})
    (tmp_path / "repeats/8000.json").write_text("{}")
    assert site.fingerprint(project, {}) != before


def test_a_warning_of_the_builder_leaves_the_old_site(project: Project, put: Any) -> None:
    html = project.root / "_build/html"
    put(project.root / "book/index.md", lambda text: text + "\nSee {numref}`fig-that-is-not-there`.\n")
    with pytest.raises(PressError, match="fig-that-is-not-there"):
        site.build("latest", project.root, say=lambda _: None)
    assert site.intact(html)


def test_a_page_that_a_gate_refuses_is_not_built(project: Project, put: Any) -> None:
    put(project.page("cpu", "sample"), lambda text: re.sub(r'"alt": "[^"]*"', '"alt": ""', text))
    with pytest.raises(PressError, match="alt text"):
        site.build("latest", project.root, say=lambda _: None)


def test_a_stale_page_is_refused_and_says_so_to_readers(project: Project, put: Any) -> None:
    text = project.page("cpu", "sample").read_text()
    assert len(directives.page_boxes(text, "sample", project.root)) == 2
    put(project.source("sample"), lambda text: text.replace("gap = 0.4213", "gap = 0.5"))
    warning, *_ = directives.page_boxes(text, "sample", project.root / "_build" / "site-source")
    assert "This page is stale" in warning and "cell 2" in warning and "`diffnotes run sample`" in warning
    with pytest.raises(PressError, match="stale"):
        site.build("latest", project.root, say=lambda _: None)


@pytest.mark.parametrize(
    ("pages", "command"), [("latest", "diffnotes run sample"), ("committed", "diffnotes publish sample")]
)
def test_a_chapter_without_a_page_names_the_command(project: Project, tmp_path: Path, pages: str, command: str) -> None:
    page = project.page("cpu", "sample")
    page.rename(tmp_path / page.name)
    try:
        with pytest.raises(PressError, match=command):
            site.build(pages, project.root, say=lambda _: None)
    finally:
        (tmp_path / page.name).rename(page)


def test_an_unknown_choice_of_pages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PressError, match="'latest' or 'committed', not 'best'"):
        site.build("best", tmp_path)


def test_the_ledger_page_leads_with_what_is_judged() -> None:
    rows = collect([])
    part = {"name": "gap", "measure": "", "rule": "< 1", "value": 2.0, "low": 1.5, "high": 3.0, "unit": ""}
    record = {"id": rows[0]["id"], "state": "fails", "verdict": "does not hold here", "profile": "cpu"}
    record["parts"] = [{**part, "state": "fails"}]
    rows[0] |= {"record": record, "page": "targets", "cell": 3, "device": "a processor", "test": "tests/test_a.py"}
    text = directives.ledger_markdown(rows)
    assert f"Of {len(rows)} claims 1 have been measured. The verdict is ✗ does not hold here for 1." in text
    for shown in ("✗ does not hold here |", "2 [1.5, 3]", "<\N{NO-BREAK SPACE}1", "targets, cell 3", "on a processor"):
        assert shown in text
    assert text.count(f"{{ref}}`{rows[0]['source']} <claim-sources>`") > 1  # the number of a source leads to its name
    order = [text.index(part) for part in ("✗ does not", "(ledger-", "## Claims that wait")]
    assert order == sorted(order)
    assert all(text.count(f"| {row['id']} |") == 1 for row in rows[1:])
    assert "No claim has been measured yet." in directives.ledger_markdown(collect([]))


def test_a_finished_document_is_looked_at_once_more(tmp_path: Path) -> None:
    """What got past the text: a file from outside, an image from elsewhere, a link that runs something."""
    from types import SimpleNamespace

    from docutils import nodes, utils

    said: list[str] = []
    handler = type("Kept", (logging.Handler,), {"emit": lambda self, record: said.append(record.getMessage())})()
    logger = logging.getLogger("sphinx.diffnotes.press.directives")
    logger.addHandler(handler)
    env = SimpleNamespace(docname="a", dependencies={"a": {"b.md", "../built/a.png", "../../etc/passwd"}})
    document = utils.new_document("a")
    for uri in ("https://example.org/a.png", "_images/a.png"):
        document += nodes.image(uri=uri)
    for uri in ("javascript:x()", "https://example.org", "b.html#c"):
        document += nodes.reference(refuri=uri)
    try:
        app = SimpleNamespace(srcdir=tmp_path / "book", outdir=tmp_path / "built/html", env=env)
        directives._doctree_read(app, document)
    finally:
        logger.removeHandler(handler)
    assert len(said) == 3 and all(any(word in line for line in said) for word in ("passwd", "a.png", "javascript"))


def test_a_page_says_how_long_it_takes_to_read_and_to_run() -> None:
    """400 words, two displayed formulas, a figure and two visible cells: 2 + 5/4 minutes; exercises do not count."""
    figure = nbformat.v4.new_output("display_data", {"image/png": "x"})
    cells = [nbformat.v4.new_markdown_cell("# Title\n\n" + "word " * 399 + "\n\n$$a b c$$\n\n$$d$$ $inline words$"),
             nbformat.v4.new_code_cell("x = 1", outputs=[figure]), nbformat.v4.new_code_cell("y = 1"),
             nbformat.v4.new_code_cell("z = 1", metadata={"tags": ["hide-input"]}),
             nbformat.v4.new_markdown_cell("## Exercises\n\n" + "word " * 4000)]  # fmt: skip
    notebook = nbformat.v4.new_notebook(cells=cells)
    assert directives.reading_minutes(notebook) == 3
    assert directives.times_markdown(notebook, {"seconds": 75.2}) == (
        "About 3 minutes to read without the exercises. Running all of it took 1 min 15 s, with its networks at hand.\n"
    )


def test_the_page_of_the_runs_adds_up_what_they_recorded(tmp_path: Path) -> None:
    date = "2025-01-02T03:04:05+00:00"
    one = {"seconds": 30.0, "bytes": 2**20, "name": "a", "key": "k", "date": date, "device": "", "checksum": ""}
    numbers = one | {"key": "l", "bytes": 0, "seconds": 3600.0}
    other = {"networks": [one], "versions": {"torch": "9.9"}}  # shared with the first
    for name, changes in (("first", {"networks": [one, numbers]}), ("second", other)):
        record = {**PROVENANCE, "seconds": 60.0, "memory_mib": 100.4, "commit": "0123456789ab with changes"} | changes
        notebook = nbformat.v4.new_notebook(metadata={"diffnotes": {"provenance": record}})
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    text = runs_markdown([tmp_path / "first.ipynb", tmp_path / "second.ipynb"])
    assert "took 2 min 00 s in all" in text and "2 sets of networks and of numbers, 1.0 MiB" in text
    assert "Making these sets took 1 h 00 min" in text and "the sets of networks took 30 s" in text
    assert "2, made in 1 h 00 min" in text and "1, made in 30 s" in text and "for most" in text
    assert "0123456 with changes" in text and "100 MiB" in text
    assert "| first | second |" in text and re.search(r"\| torch \| [^|]+ \| 9.9 \|", text)
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "third.ipynb")
    assert runs_markdown([tmp_path / "third.ipynb"]) == "No chapter has been run yet.\n"


# What prose quotes from the runs


def _row(**parts: Any) -> dict[str, Any]:
    found = [{"name": name, "value": 0.4, "low": 0.3, "high": 0.5, "rule": "< 1", "state": "holds", "unit": ""} | part
             for name, part in parts.items()]  # fmt: skip
    return {"id": "C1", "page": "one", "record": {"verdict": "holds; reach 1 of 2", "parts": found}}


@pytest.mark.parametrize(
    ("manner", "said"),
    [("", "0.4"), (" as value", "0.4"), (" as percent", "40 %"), (" as times", "0.4 times"), (" as less", "60 %"),
     (" as interval", "0.4 [0.3, 0.5]")],
)  # fmt: skip
def test_an_effect_is_told_in_its_manner_with_its_interval_beside(manner: str, said: str) -> None:
    rows = {"C1": _row(gap={}), "C2": {"id": "C2", "record": None}}
    assert quoting.effect_words(rows, f"C1.gap{manner}") == ("C1", said, "0.4 [0.3, 0.5], holds")


def test_an_effect_is_that_of_its_page_also_where_all_base_seeds_judge() -> None:
    rows = {"C1": _row(gap={"pooled": [0.2, 0.1, 0.35], "state": "open"})}
    told = "0.4 [0.3, 0.5], all base seeds together 0.2 [0.1, 0.35], open"
    assert quoting.effect_words(rows, "C1.gap as less") == ("C1", "60 %", told)


@pytest.mark.parametrize(
    ("text", "words"),
    [("C1.other", "has no measured part other"), ("C1.blind", "has no measured part blind"),
     ("C1", "allowed: CLAIM.PART"), ("C2.gap", "no page has recorded the claim C2"),
     ("C9.gap", "no page has recorded the claim C9"),
     ("C1.gap as cake", "one of value, percent, times, less, interval"), ("C1.gap, C1.gap", "allowed: CLAIM.PART")],
)  # fmt: skip
def test_what_there_is_not_is_not_quoted(text: str, words: str) -> None:
    rows = {"C1": _row(gap={}, blind={"unseen": "no pairs"}), "C2": {"id": "C2", "record": None}}
    with pytest.raises(ValueError, match=re.escape(words)):
        quoting.effect_words(rows, text)


def test_a_link_to_a_claim_says_its_verdict() -> None:
    assert quoting.claim_words(_row()) == "C1, holds; reach 1 of 2"
    assert quoting.claim_words({"id": "I1", "record": None}) == "I1, not run yet"


def test_the_time_of_making_is_that_of_the_records() -> None:
    pages, project = quoting.pages(ROOT), Project(ROOT)
    records = provenance.record(nbformat.read(ROOT / "book/chapters/images.ipynb", 4))["networks"]
    told = {one["key"]: one["seconds"] for one in records}
    within = told["172e8d96216a7a8c5c699f24"]  # trained while the images of "plain" were drawn
    assert quoting.making(pages, "images", project) == clock(sum(told.values()) - within)
    hours = [int(quoting.making(pages, name, project).partition(" h ")[0]) for name in ("images", "all")]
    assert 8 <= hours[0] <= hours[1]
    said = re.search(r"on images keeps took (\d+ h \d\d min) at least",
                     (built() / "book/reproduce.html").read_text(encoding="utf8").replace("\n", " "))  # fmt: skip
    assert said and int(said[1].partition(" h ")[0]) in (hours[0], hours[0] + 1)  # there without the files
    with pytest.raises(ValueError, match="making = 'nothing'; allowed: all, and chapters"):
        quoting.making(pages, "nothing")


def test_what_a_reader_does_with_the_chapters_comes_before_the_exercises() -> None:
    def following(page: str) -> str:
        text = (built() / f"{page}.html").read_text(encoding="utf8")
        return re.search(r'<a class="right-next"\s+href="([^"]*)"', text)[1]

    assert following("book/chapters/images") == "../diagnose.html"
    assert following("book/diagnose") == "exercises/targets.html"
    assert following("book/exercises/images") == "../teaching/guide.html"


def test_a_quoted_figure_is_that_of_the_page_or_a_part_of_it() -> None:
    from PIL import Image

    pages = quoting.pages(ROOT)
    whole = quoting.figure(pages, "fig-collapse-planes")
    outputs = [output for cell in json.loads((ROOT / "book/chapters/collapse.ipynb").read_text())["cells"]
               for output in cell.get("outputs", [])]  # fmt: skip
    shown = [output.get("data", {}).get("image/png", "").strip() for output in outputs]
    assert base64.b64encode(whole).decode() in shown
    full, cut = (Image.open(io.BytesIO(png)) for png in
                 (whole, quoting.figure(pages, "fig-collapse-planes", (0.25, 0.5))))  # fmt: skip
    assert cut.width == full.width and abs(cut.height - full.height / 4) <= 1
    top = round(full.height / 4)
    assert cut.tobytes() == full.crop((0, top, full.width, top + cut.height)).tobytes()
    for name, part in (("fig-collapse-none", (0.0, 1.0)), ("fig-collapse-planes", (0.5, 0.5))):
        with pytest.raises(ValueError, match="allowed"):
            quoting.figure(pages, name, part)


def test_the_front_page_says_what_was_found() -> None:
    """Five results, each with a number of a run and a link to it; a picture; three doors."""
    book = built() / "book"
    text = (book / "index.html").read_text(encoding="utf-8")
    numbers = re.findall(r'<a class="effect reference internal" href="([^"]+)" title="([^"]+)">([^<]+)</a>', text)
    assert len(numbers) >= 5 and all(re.search(r"\[.*\]|exact", told) for _, told, _ in numbers)
    for address, _, _ in numbers:
        page, _, anchor = address.partition("#")
        assert f'id="{anchor}"' in (book / page).read_text(encoding="utf-8")
    assert text.count("<li><p><strong>") == 5 and 'class="quoted' in text
    assert len(re.findall(r'class="sd-card[ "]', text)) == 3
