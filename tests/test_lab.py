"""The lab: working copies that keep what a reader has done, and a JupyterLab that runs chapters as a reader does."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from browser import Browser
from labs import enter, report, run_all, until
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from presses import executed, project, save, source

from diffnotes.press import command, lab, page
from diffnotes.press.alone import alone, glued, sources
from diffnotes.press.errors import PressError
from diffnotes.press.layout import Project
from diffnotes.press.parameters import settings as settings_of

EXPLORE = """import ipywidgets
from IPython.display import display
slider, shown = ipywidgets.IntSlider(value=2, max=9), ipywidgets.Label()
ipywidgets.dlink((slider, "value"), (shown, "value"), lambda value: f"the square is {value**2}")
display(ipywidgets.VBox([slider, shown]))"""
DRAW = """import os
from pathlib import Path
import matplotlib.pyplot as plt
import torch
import diffnotes
assert Path(os.environ["DIFFNOTES_NETWORKS"]).parts[-2:] == ("_build", "networks")
assert Path(os.environ["DIFFNOTES_PUBLISHED"]).parts[-2:] == ("book", "networks")
plt.plot(torch.linspace(0, 1, 5) * size)
plt.show()"""
PROSE = """(sec-one-here)=
## Here

$$
x_t = \\alpha x_0
$$ (eq-one-a)

```{prf:theorem} Growth
:label: thm-one
It grows to {glue:text}`gap:.1f`, by {cite}`one2020`; see {prf:ref}`thm-one`, {eq}`eq-one-a` and {ref}`sec-one-here`.
```"""


@pytest.fixture
def book(tmp_path: Path) -> Project:
    """A book with one chapter and its page, in which gap is 1.5."""
    book = project(tmp_path / "book", "one")
    save(executed(book), book.page("cpu", "one"))
    return book


def copy(book: Project, name: str = "one") -> Path:
    return lab.folder(book) / f"{name}.ipynb"


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    notebook = page.read(path)
    change(notebook)
    save(notebook, path)


def by_id(notebook: Any, name: str) -> Any:
    return next(cell for cell in notebook.cells if cell.id == name)


def reader(notebook: Any) -> None:
    by_id(notebook, "work").source = "size * 2"


def author(notebook: Any) -> None:
    by_id(notebook, "end").source += "\n\nA new sentence."


def ran(notebook: Any) -> None:
    cell = by_id(notebook, "work")
    cell.outputs, cell.execution_count = [new_output("stream", text="seen")], 7


# --- working copies -----------------------------------------------------------------------------------------------


def test_a_first_copy_has_no_outputs_and_leaves_the_source_as_it_is(book: Project) -> None:
    edit(book.source("one"), ran)
    before = book.source("one").read_bytes()
    assert lab.prepare(book, "one") == ""
    made = page.read(copy(book))
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in made.cells)
    assert [cell.source for cell in made.cells if cell.cell_type == "code"] == \
        [cell.source for cell in page.read(book.source("one")).cells if cell.cell_type == "code"]  # fmt: skip
    assert "The gap is 1.50, see T7 and figure `fig-one-a`." in by_id(made, "prose").source
    assert book.source("one").read_bytes() == before and lab.changed(book) == []


@pytest.mark.parametrize("theirs, ours, kept, words", [
    ((), (), True, ""),
    ((ran,), (), True, ""),
    ((), (author,), False, "which you had not touched"),
    ((ran,), (author,), False, "which you had not touched"),
    ((reader,), (), True, "with your changes"),
    ((reader, ran), (author,), True, "--fresh"),
    ((author,), (author,), True, ""),
])  # fmt: skip
def test_what_becomes_of_a_copy(book: Project, theirs: tuple, ours: tuple, kept: bool, words: str) -> None:
    """A reader's changes always stay; a copy that nobody has changed follows its source."""
    lab.prepare(book, "one")
    for change in theirs:
        edit(copy(book), change)
    for change in ours:
        edit(book.source("one"), change)
    before = [(cell.source, cell.get("outputs")) for cell in page.read(copy(book)).cells]
    said = lab.prepare(book, "one")
    after = [(cell.source, cell.get("outputs")) for cell in page.read(copy(book)).cells]
    assert (words in said) if words else said == ""
    assert (after == before) == kept or (theirs == ours == (author,))
    assert ("A new sentence." in copy(book).read_text()) == ((author in ours) and (not kept or author in theirs))
    assert lab.changed(book) == (["one.ipynb"] if reader in theirs else [])
    assert lab.prepare(book, "one") == (said if kept else "")  # the same once more


def test_starting_over_keeps_what_was_there(book: Project) -> None:
    lab.prepare(book, "one")
    assert lab.prepare(book, "one", fresh=True) == ""  # nothing of the reader's is in it
    for number in (1, 2):
        edit(copy(book), reader)
        mine = copy(book).read_bytes()
        assert f"one-{number}.ipynb" in lab.prepare(book, "one", fresh=True)
        assert copy(book).with_name(f"one-{number}.ipynb").read_bytes() == mine
        assert "size * 2" not in copy(book).read_text()
    edit(copy(book), ran)
    assert "one-3.ipynb" in lab.prepare(book, "one", fresh=True)  # results of hours, perhaps
    assert lab.changed(book) == ["one-1.ipynb", "one-2.ipynb"]


def test_odd_files_where_a_copy_should_be(book: Project) -> None:
    copy(book).parent.mkdir(parents=True)
    copy(book).write_text("{ half a")
    assert "no readable notebook" in lab.prepare(book, "one")
    assert copy(book).with_name("one-1.ipynb").read_text() == "{ half a" and page.read(copy(book))
    copy(book).unlink()
    copy(book).symlink_to(book.source("one"))
    with pytest.raises(PressError, match=r"_build/lab/one\.ipynb is no file"):
        lab.prepare(book, "one")
    copy(book).unlink()
    save(page.read(book.source("one")), copy(book))  # somebody's own copy, without a note of ours
    edit(copy(book), reader)
    assert "yours stays" in lab.prepare(book, "one") and "size * 2" in copy(book).read_text()


def test_clean_keeps_what_a_reader_has_changed(
    book: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(book.root)
    lab.prepare(book, "one")
    edit(copy(book), reader)
    mine = copy(book).read_bytes()
    assert command.main(["clean"]) == 0
    assert copy(book).read_bytes() == mine and not book.page("cpu", "one").exists()
    assert "kept _build/lab/" in capsys.readouterr().out
    copy(book).unlink()
    lab.prepare(book, "one")
    assert command.main(["clean"]) == 0 and not (book.root / "_build").exists()


# --- prose without its book ---------------------------------------------------------------------------------------


def test_prose_says_what_only_the_book_knows(book: Project, tmp_path: Path) -> None:
    bibliography = tmp_path / "references.bib"
    bibliography.write_text(
        "@article{a, author={Ho, J. and Li, K.}, year={2020}, eprint={2006.1}}\n"
        '@article{b, author={R{\\\'e}nyi, A.}, year={1961}, doi={10.1/x}}\n@book{c, author={A and B and C}, year={1}}'
    )
    cited = sources(bibliography)
    assert cited["a"] == "[Ho and Li 2020](https://arxiv.org/abs/2006.1)" and cited["c"] == "A et al. 1"
    assert cited["b"].endswith("nyi 1961](https://doi.org/10.1/x)") and "{" not in cited["b"]
    assert sources(tmp_path / "none.bib") == {}
    notebook = source("one", prose=(
        "{glue:text}`gap:.1f`, {glue:text}`word`, {glue:text}`count:d`, {glue:text}`none:.2f`; {cite}`a,z`, "
        "{cite:t}`c`; {term}`score`, *{term}`noising <forward process>`*; {doc}`ledger </book/claims>`, "
        "{doc}`/book/claims`; "
        "{ref}`chapter-two`, {ref}`here <sec-here>`, {eq}`eq-here`, {prf:ref}`thm-there`\n\n(sec-here)=\n# H\n\n"
        "$$\nx\n$$ (eq-here)\n"
    ))  # fmt: skip
    prose = by_id(alone(notebook, {"gap": "1.25", "word": "two", "count": "3"}, cited), "prose").source
    assert prose.startswith(
        "1.2, two, 3, {glue:text}`none:.2f`; ([Ho and Li 2020](https://arxiv.org/abs/2006.1); z), A et al. 1; "
        "score, *noising*; ledger, claims; two, {ref}`here <sec-here>`, {eq}`eq-here`, thm-there\n"
    )
    assert glued(page.read(book.page("cpu", "one"))) == {"gap": "1.5"}


# --- the command --------------------------------------------------------------------------------------------------


def test_wrong_use(book: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(book.root)
    assert command.main(["lab", "two"]) == 2
    assert "unknown chapter 'two'; allowed: one" in capsys.readouterr().err
    assert command.main(["lab", "one", "--port", "70000"]) == 2
    assert "port 70000; allowed: 1 to 65535" in capsys.readouterr().err
    monkeypatch.setattr(lab.importlib.util, "find_spec", lambda name: None)
    assert command.main(["lab", "one"]) == 1
    told = capsys.readouterr().err
    assert "JupyterLab is not installed" in told and "pip install jupyterlab" in told and "make setup" in told


def start(book: Project, *words: str, **env: str) -> subprocess.Popen:
    clean = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")}
    return subprocess.Popen(
        [sys.executable, "-m", "diffnotes.press", "lab", *words], cwd=book.root, env=clean | env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def listen(process: subprocess.Popen, last: str) -> str:
    """What it says up to a line with ``last``."""
    said = ""
    while last not in said:
        line = process.stdout.readline()
        assert line, f"it ended: {said}"
        said += line
    return said


def ask(url: str, token: str = "", body: Any = None) -> Any:
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode())
    if token:
        request.add_header("Authorization", f"token {token}")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read() or b"null")


def left(processes: list[psutil.Process]) -> list[psutil.Process]:
    return psutil.wait_procs(processes, timeout=20)[1]


def test_no_screen_a_taken_port_foreign_settings_and_a_clean_end(book: Project, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".jupyter").mkdir(parents=True)
    (home / ".ipython/profile_default/startup").mkdir(parents=True)
    (home / ".jupyter/jupyter_server_config.py").write_text("raise SystemExit('read')")
    (home / ".ipython/profile_default/startup/a.py").write_text(f"open({str(tmp_path / 'read')!r}, 'w')")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(book, "one", "--port", str(port), HOME=str(home), JUPYTER_CONFIG_DIR=str(home / ".jupyter"),
                        TMPDIR=str(tmp_path))  # fmt: skip
        try:
            said = listen(process, "Ctrl-C")
            found, token = re.search(r"http://127\.0\.0\.1:(\d+)/lab/tree/one\.ipynb\?token=(\w{32,})", said).groups()
            assert port < int(found) <= port + 50
            assert "No browser was opened" in said and f"ssh -N -L {found}:127.0.0.1:{found} " in said
            address = f"http://127.0.0.1:{found}/api"
            with pytest.raises(urllib.error.HTTPError, match="403"):
                ask(f"{address}/contents")
            assert list(ask(f"{address}/kernelspecs", token)["kernelspecs"]) == ["python3"]
            body = {"path": "one.ipynb", "name": "", "type": "notebook", "kernel": {"name": "python3"}}
            ask(f"{address}/sessions", token, body)
            family = psutil.Process(process.pid).children(recursive=True)
            assert any("ipykernel_launcher" in " ".join(one.cmdline()) for one in family)
            assert not any(token in " ".join(one.cmdline()) for one in family)
            server = next(one for one in family if one.net_connections("tcp"))
            assert {one.laddr.ip for one in server.net_connections("tcp")} == {"127.0.0.1"}
            until((lab.folder(book) / ".jupyter/profile_default/history.sqlite").exists, 60, "the kernel")
            time.sleep(1.0)  # what it would read next, the commands at its start
        finally:
            os.killpg(process.pid, signal.SIGINT)
            rest = process.communicate(timeout=40)[0]
    assert process.returncode == 0 and "JupyterLab has ended; the working copies are in _build/lab/" in rest
    assert not left(family) and "Traceback" not in said + rest
    assert not (tmp_path / "read").exists() and not list(tmp_path.glob("diffnotes-work-*"))
    assert [path.name for path in (book.root / "_build").iterdir() if "lab" in path.name] == ["lab"]
    kept = lab.folder(book) / ".jupyter"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700  # its log names the token
    assert "Shutting down 1 kernel" in (kept / "server.log").read_text()  # told to end, not killed


def test_the_browser_is_led_there_by_a_page_of_ones_own(book: Project, tmp_path: Path) -> None:
    """And a command that is killed leaves no server and no kernel."""
    seen, browser = tmp_path / "seen", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nf="${{1#file://}}"; stat -c %a "$f" > {seen}.new; cat "$f" >> {seen}.new\n'
                       f"mv {seen}.new {seen}\n")  # fmt: skip
    browser.chmod(0o755)
    process = start(book, "--port", "18888", BROWSER=str(browser), TMPDIR=str(tmp_path))
    try:
        said = listen(process, "Ctrl-C")
        (address,) = re.findall(r"http://127\.0\.0\.1:\d+/lab\?token=\w+", said)
        assert "is open in your browser" in said
        mode, html = until(seen.exists, 10, "the browser") and seen.read_text().split("\n", 1)
        assert mode == "600" and f'href="{address}"' in html and f"url={address}" in html
        family = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.communicate(timeout=20)
    assert family and not left(family)


# --- as a reader does ---------------------------------------------------------------------------------------------


def test_a_reader_runs_all_cells_and_moves_a_widget(book: Project) -> None:
    def change(notebook: Any) -> None:
        notebook.cells[3:3] = [new_code_cell(EXPLORE, id="explore"), new_code_cell(DRAW, id="draw")]
        notebook.cells.append(new_markdown_cell(PROSE, id="more"))

    edit(book.source("one"), change)
    lab.prepare(book, "one")
    with Browser() as browser, lab.server(book, 18900) as running:
        browser.view(width=1200, height=2000)
        enter(browser, running, "one")
        seen = run_all(browser, "one", 120)
        assert seen.faults == [] and seen.figures >= 1 and seen.widgets == 1 and seen.first_figure <= seen.all_cells
        until(lambda: "the square is 4" in browser.run("document.body.innerText"), 20, "the widget")
        browser.run("document.querySelector('.jupyter-widgets .noUi-handle').focus()")
        for kind in ("rawKeyDown", "keyUp"):
            browser.send("Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight",
                         windowsVirtualKeyCode=39)  # fmt: skip
        until(lambda: "the square is 9" in browser.run("document.body.innerText"), 20, "the kernel's answer")
        words = " ".join(browser.run("document.querySelector('.jp-Notebook').innerText").split())
        assert "The gap is 1.50" in words and "{glue" not in words and "{prf" not in words and "{exercise" not in words
        assert "Theorem 1 (Growth)" in words and "Learning objectives" in words
    assert by_id(page.read(copy(book)), "explore").outputs  # saved


def test_what_a_reader_would_see_is_reported(book: Project) -> None:
    """The harness itself: an exception, a warning and a request to another machine are faults."""
    lab.prepare(book, "one")
    edit(copy(book), lambda notebook: notebook.cells.insert(3, new_code_cell(
        "import sys\nfrom IPython.display import HTML, display\nprint('careful', file=sys.stderr)\n"
        "display(HTML('<img src=\"http://example.org/a.png\">'))\n1 / 0", id="bad")))  # fmt: skip
    with Browser() as browser, lab.server(book, 18900) as running:
        enter(browser, running, "one")
        faults = "\n".join(run_all(browser, "one", 60).faults)
    for part in ("ZeroDivisionError", "careful", "not run: code cells", "http://example.org/a.png"):
        assert part in faults


@pytest.mark.skipif("DIFFNOTES_LAB" not in os.environ, reason="all chapters take minutes: DIFFNOTES_LAB=smoke or cpu")
def test_every_chapter_in_jupyterlab(tmp_path: Path) -> None:
    """DIFFNOTES_LAB is the profile; chapters run on one core, and DIFFNOTES_LAB_CHAPTERS may name some of them."""
    real = Project.find(Path(__file__).parent)
    names = real.choose(os.environ.get("DIFFNOTES_LAB_CHAPTERS", "").split())
    copied = project(tmp_path / "book", *real.chapters())
    for name in names:
        copied.source(name).write_bytes(real.source(name).read_bytes())
    (copied.root / "book").mkdir(exist_ok=True)
    for table in ("notation.yml", "references.bib"):
        (copied.root / "book" / table).write_bytes((real.root / "book" / table).read_bytes())
    for kept in ("_build/networks", "book/networks"):
        if (real.root / kept).is_dir():
            (copied.root / kept).parent.mkdir(parents=True, exist_ok=True)
            (copied.root / kept).symlink_to(real.root / kept)
    seen = {}
    with Browser() as browser:
        if hasattr(os, "sched_setaffinity"):
            mine = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {max(mine)})
        try:
            with lab.server(copied, 18900) as running:
                for name in names:
                    lab.prepare(copied, name)
                    settings = settings_of(real, name, os.environ["DIFFNOTES_LAB"])
                    edit(copy(copied, name), lambda notebook, settings=settings: inject(notebook, settings))
                    opened = enter(browser, running, name)
                    seen[name] = run_all(browser, name)
                    seen[name].opened = opened
        finally:
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, mine)
    print("\n" + report(seen))
    assert not any(one.faults for one in seen.values()), report(seen)


def inject(notebook: Any, settings: dict[str, Any]) -> None:
    if not settings:  # an empty cell never gets a number
        return
    index = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    code = "\n".join(f"{name} = {value!r}" for name, value in settings.items())
    notebook.cells.insert(index + 1, new_code_cell(code, id="injected"))
