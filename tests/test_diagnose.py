"""The command ``diffnotes diagnose`` from files to reports, what it refuses, and the page that tells of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from diffnotes.measure.diagnosis import diagnose as measured
from diffnotes.measure.diagnosis import symptoms
from diffnotes.press.command import main
from diffnotes.show import report

ROOT = Path(__file__).resolve().parents[1]
KEYS = """format diffnotes seed dim rows used crowding stretched curve variance_ratio mean_shift distance equal near
memory symptoms warnings""".split()


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Samples that clump, data, and held-out data, in a folder that holds no book."""
    centres = normal(1, 60, 2)
    centres = (centres - centres.mean(0)) / centres.std(0)
    clumps = centres[np.random.default_rng(2).integers(0, 60, 900)] + 0.05 * normal(3, 900, 2)
    for name, array in (("samples", clumps), ("data", normal(4, 1000, 2)), ("held", normal(5, 400, 2))):
        np.save(tmp_path / f"{name}.npy", array.astype(np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Page(HTMLParser):
    """Tags in their order, what is loaded, and whether all that is opened is closed."""

    EMPTY = ("meta", "img", "link", "br", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.loads, self.alts, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "poster")]
        self.alts += [values.get("alt", "")] if tag == "img" else []
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_report_is_made_of_two_files(files, capsys):
    options = ["diagnose", "samples.npy", "data.npy", "--held-out", "held.npy", "--json", "r.json", "--html", "r.html"]
    assert main([*options, "--seed", "3"]) == 0
    said = capsys.readouterr()
    assert "THE SAMPLES CLUMP" in said.out and "Sample by the SDE" in said.out and not said.err
    assert "Rows: 900 samples, 1,000 reference, 400 held-out; dimension 2; seed 3" in said.out
    assert max(map(len, said.out.splitlines())) <= 120

    table = json.loads((files / "r.json").read_text())
    assert list(table) == KEYS and table["format"] == "diffnotes-diagnosis-1" and table["symptoms"] == ["clumped"]
    found = measured(*(np.load(f"{name}.npy") for name in ("samples", "data", "held")), seed=3)
    assert table == json.loads(json.dumps(report.record(found, 3)))
    assert table["crowding"][0]["ratio"]["low"] < table["crowding"][0]["ratio"]["value"]

    text = (files / "r.html").read_text()
    made = Page(text)
    assert not made.open and made.tags.count("img") == 2 == made.tags.count("figcaption") and made.tags.count("h1") == 1
    assert all(one.startswith("data:image/png;base64,") for one in made.loads) and len(made.loads) == 2
    assert not re.search(r"\d %", text[text.index("<table") : text.index("* mean over")])  # no line begins with a sign
    assert "//" not in re.sub(r"base64,[\w+/=]+", "", text)  # no address at all
    assert all(len(alt) > 60 and "." in alt for alt in made.alts)
    assert "prefers-color-scheme: dark" in text and "The samples clump" in text
    assert '<th role="rowheader" scope="row" class="part">of it beyond the floor</th>' in text

    assert main([*options, "--seed", "3"]) == 0  # again, over what is there
    assert json.loads((files / "r.json").read_text()) == table and (files / "r.html").read_text() == text
    assert sorted(path.name for path in files.iterdir()) == ["data.npy", "held.npy", "r.html", "r.json", "samples.npy"]


def test_the_page_documents_the_keys_and_the_symptoms():
    text = (ROOT / "book/diagnose.md").read_text(encoding="utf-8")
    table = text[text.index("| Key |") : text.index("From Python the same")]
    named = re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| `")))
    assert named == KEYS
    assert all(name in table for name in report.READINGS)
    assert set(report.READINGS) == set(re.findall(r"^    (\w+) {2,}", symptoms.__doc__, re.M))


def test_what_the_readings_name_is_in_the_book():
    """Titles of chapters and sections, as the notebooks have them."""
    titles = set()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            titles |= set(re.findall(r"^#+ (.+)$", "".join(cell["source"]), re.M))
    for one in (*report.READINGS.values(), report.NOTHING):
        named = re.findall(r'"([^"]+)"', one.where)
        assert named and set(named) <= titles, set(named) - titles


def test_every_symptom_has_its_words_in_every_form():
    found = report.record(measured(normal(1, 60, 2), normal(2, 60, 2)))
    assert "Nothing is seen" in report.text(found) and "Nothing is seen" in report.page(found)
    everything = found | {"symptoms": list(report.READINGS), "warnings": ["a <b> & c"]}
    text, page = report.text(everything), report.page(everything)
    for one in report.READINGS.values():
        assert one.title.upper() in text and " ".join(one.cure.split())[:40] in " ".join(text.split())
    assert "a &lt;b&gt; &amp; c" in page and not Page(page).open and "warning: a <b> & c" in text


def test_parts_of_large_sets_are_told(monkeypatch, files, capsys):
    from diffnotes.measure import diagnosis

    monkeypatch.setattr(diagnosis, "ROWS", 300)
    assert main(["diagnose", "samples.npy", "data.npy", "--json", "r.json"]) == 0
    said = capsys.readouterr().out
    for words in ("pairs of samples: 300 random rows of 900", "pairs of reference: 300 random rows of 1,000",
                  "nearest reference rows: 300 random rows of 900", "distance: 150 random rows of each set"):
        assert words in said
    assert json.loads(Path("r.json").read_text())["used"]["pairs of samples"] == 300


def test_a_set_beside_itself_is_warned_of(files, capsys):
    os.link("data.npy", "same.npy")
    assert main(["diagnose", "same.npy", "data.npy"]) == 0
    said = capsys.readouterr().out
    assert "warning: samples and reference are one and the same file" in said and "hold the same rows" in said
    assert "THE SAMPLES REPEAT THE TRAINING DATA" in said


def objects(path: Path) -> None:
    np.save(path, np.array([Boom()] * 30, dtype=object), allow_pickle=True)


class Boom:
    """What must not come out of a file."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


BAD = {
    "missing": (lambda p: None, "samples = bad.npy does not exist"),
    "a folder": (lambda p: p.mkdir(), "samples = bad.npy is no file"),
    "text": (lambda p: p.write_text("1,2\n3,4\n"), "is no .npy file; allowed: a file of numpy.save"),
    "npz": (lambda p: p.write_bytes(zipped()), "is no .npy file"),
    "empty": (lambda p: p.touch(), "is no .npy file"),
    "objects": (objects, "samples = bad.npy holds objects"),
    "cut off": (lambda p: p.write_bytes(whole()[:2000]), "samples = bad.npy is damaged"),
    "a broken header": (lambda p: p.write_bytes(whole()[:10] + b"xxxx" + whole()[14:]), "samples = bad.npy is damaged"),
    "structured": (lambda p: np.save(p, np.zeros(30, "f4,f4")), "samples has the type"),
    "text array": (lambda p: np.save(p, np.array(["a"] * 30)), "samples has the type <U1"),
    "complex": (lambda p: np.save(p, normal(1, 30, 2) * 1j), "samples has the type complex128"),
    "bools": (lambda p: np.save(p, normal(1, 30, 2) > 0), "samples has the type bool"),
    "nan": (lambda p: np.save(p, np.where(np.eye(30, 2), np.nan, 1.0)), "nan or infinite numbers, first in row 0"),
    "a number": (lambda p: np.save(p, 3.0), "samples has shape ()"),
    "no rows": (lambda p: np.save(p, np.zeros((0, 2))), "samples has shape (0, 2)"),
    "few": (lambda p: np.save(p, normal(1, 19, 2)), "samples has shape (19, 2); allowed"),
    "five axes": (lambda p: np.save(p, normal(1, 30, 2, 1, 1, 1)), "samples has shape (30, 2, 1, 1, 1)"),
    "wide": (lambda p: np.save(p, normal(1, 30, 3)), "allowed: the dimension of reference, whose shape is (1000, 2)"),
    "constant": (lambda p: np.save(p, np.ones((30, 2))), "samples holds 30 equal rows"),
}  # fmt: skip


def zipped() -> bytes:
    from io import BytesIO

    out = BytesIO()
    np.savez(out, a=normal(1, 30, 2))
    return out.getvalue()


def whole() -> bytes:
    from io import BytesIO

    out = BytesIO()
    np.save(out, normal(1, 300, 2))
    return out.getvalue()


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_and_nothing_is_written(name, files, capsys):
    make, words = BAD[name]
    make(Path("bad.npy"))
    before = sorted(path.name for path in files.iterdir())
    assert main(["diagnose", "bad.npy", "data.npy", "--json", "r.json", "--html", "r.html"]) == 2
    said = capsys.readouterr()
    assert words in said.err and said.err.startswith("diffnotes diagnose: ") and said.err.count("\n") == 1
    assert not said.out and sorted(path.name for path in files.iterdir()) == before  # nothing was unpickled, either


@pytest.mark.parametrize("options, status, words", [
    (["--json", "nowhere/r.json"], 2, "json = nowhere/r.json; allowed: an ordinary file in a folder that exists"),
    (["--html", "."], 2, "html = .; allowed: an ordinary file in a folder"),
    (["--html", "pipe"], 2, "html = pipe; allowed: an ordinary file in a folder"),
    (["--json", "data.npy"], 2, "json = data.npy is what is to be read"),
    (["--json", "r", "--html", "./r"], 2, "html = r; allowed: another file than json"),
    (["--seed", "-1"], 2, "seed = -1; allowed: whole numbers >= 0"),
    (["--held-out", "none.npy"], 2, "held_out = none.npy does not exist"),
])  # fmt: skip
def test_wrong_options_are_told_before_the_work(options, status, words, files, capsys, monkeypatch):
    from diffnotes.measure import diagnosis

    monkeypatch.setattr(diagnosis, "diagnose", lambda **_: pytest.fail("it has begun"))
    content = (files / "data.npy").read_bytes()
    os.mkfifo("pipe")  # or a device such as /dev/null, which root could replace by a report
    assert main(["diagnose", "samples.npy", "data.npy", *options]) == status
    assert words in capsys.readouterr().err and (files / "data.npy").read_bytes() == content


def test_a_report_that_cannot_be_written_leaves_the_old_one(files, capsys, monkeypatch):
    Path("r.json").write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device", "r.json")

    monkeypatch.setattr("os.replace", full)
    assert main(["diagnose", "samples.npy", "data.npy", "--json", "r.json"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert Path("r.json").read_text() == "old" and len(list(files.iterdir())) == 4


def test_progress_is_on_stderr_alone(files):
    """Without a terminal there is none; the command runs where no book is."""
    done = subprocess.run([sys.executable, "-m", "diffnotes.press", "diagnose", "samples.npy", "data.npy"],
                          capture_output=True, text=True, check=False, cwd=files)
    assert done.returncode == 0 and done.stdout.startswith("Rows: ") and not done.stderr


def test_the_fences_of_the_page_run(tmp_path, monkeypatch, capsys):
    """All of them, top to bottom, as a reader would: Python in one process, the command by its entry."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "book/diagnose.md").read_text(encoding="utf-8")
    names: dict = {}
    fences = re.findall(r"```(python|bash)\n(.*?)```", text, re.S)
    assert [kind for kind, _ in fences] == ["python", "bash", "python", "python", "python"]
    for kind, code in fences:
        if kind == "python":
            exec(compile(code, "diagnose.md", "exec"), names)
        else:
            for line in code.splitlines():
                assert main(line.split()[1:]) == 0
    assert "THE SAMPLES CLUMP" in capsys.readouterr().out
    assert Path("report.html").stat().st_size > 20_000 and np.load("by-sde.npy").shape == (500, 2)
