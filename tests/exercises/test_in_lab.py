"""A student's notebook in a real JupyterLab: answers typed in, wrong ones and right ones, and what is said of them."""

import json

import pytest
from browser import Browser
from labs import enter, run_all, until
from presses import project

from diffnotes.press import lab
from diffnotes.press.layout import Project

REAL = Project.find()
# answer cell -> what it is after a wrong and a right attempt, and what the student reads then
ATTEMPTS = {
    "ways = ...": [
        ("ways = {'a', 'c', 'd'}", "Not yet. Look at c again"),
        ("ways = {'a', 'd'}", "Right. Marginals are shared"),
    ],
    "def price(r, d):": [
        ("def price(r, d):\n    return d / 2 * (r - 1 - math.log(r))", "KL of the model from the posterior"),
        ("def price(r, d):\n    return d / 2 * (1 / r - 1 + math.log(r))", "Right. It is zero for r = 1 alone"),
    ],
    "def weight(alpha, sigma):": [
        ("def weight(alpha, sigma):\n    return 1 / alpha", "Losses are squares"),
        ("def weight(alpha, sigma):\n    return 1 / alpha**2", "Right. At the noise end"),
    ],
}
CELL = """(() => {{ const all = window.jupyterapp.shell.currentWidget.content.widgets;
  const cell = all.find(one => one.model.type === 'code' && one.model.sharedModel.getSource().startsWith({start}));
  if (!cell) return false; cell.model.sharedModel.setSource({code}); return true; }})()"""


@pytest.fixture
def book(tmp_path):
    copied = project(tmp_path / "book", "targets")
    place = copied.source("exercises/targets")
    place.parent.mkdir()
    place.write_bytes(REAL.source("exercises/targets").read_bytes())
    (copied.root / "book").mkdir(exist_ok=True)
    (copied.root / "book" / "notation.yml").write_bytes((REAL.root / "book" / "notation.yml").read_bytes())
    (copied.root / "book" / "networks").symlink_to(REAL.published_networks)
    return copied


def test_a_student_answers_in_jupyterlab(book):
    lab.prepare(book, "exercises/targets")
    with Browser() as browser, lab.server(book, 18900) as running:
        browser.view(width=1200, height=2000)
        enter(browser, running, "exercises/targets")
        seen = run_all(browser, "exercises/targets", 120)
        assert seen.faults == [] and seen.figures == 0
        text = "document.querySelector('.jp-Notebook').innerText"
        assert "There is no answer yet" in browser.run(text)
        for attempt in (0, 1):
            for start, tried in ATTEMPTS.items():
                start = start if not attempt else tried[0][0].split("{'a', 'c'")[0].split("\n")[0]
                assert browser.run(CELL.format(start=json.dumps(start), code=json.dumps(tried[attempt][0])))
            assert run_all(browser, "exercises/targets", 120).faults == []
            for tried in ATTEMPTS.values():
                until(lambda said=tried[attempt][1]: said in browser.run(text), 20, tried[attempt][1])
    saved = json.loads((lab.folder(book) / "exercises" / "targets.ipynb").read_text())
    assert any("1 / alpha**2" in "".join(cell["source"]) for cell in saved["cells"])
    assert lab.prepare(book, "exercises/targets").endswith("with your changes")
