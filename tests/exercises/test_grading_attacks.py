"""No submission gets points by a trick, and none ends or changes the marking of the others, whatever it is."""

import contextlib
import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from submissions import ANSWER, BLANK, PROJECT, at_the_end, beside

from diffnotes.exercises.marking import Limits, Process, Stopped
from diffnotes.press.exercises import checks_of
from diffnotes.press.teach import grading
from diffnotes.press.teach.grading import code_of, exercises_of, grade

WRITE = "import os, time\nfor fd in range(3, 30):\n    try: os.write(fd, {line!r})\n    except OSError: pass\n"
BEYOND = b'{"value": {"tensor": "", "dtype": "int8", "shape": [0, ' + b"9" * 30 + b"]}}\n"
SAYS = ("\\ud800 \\x1b[31mred <script>1</script> ![a](http://b.org/c.png)\\r## 8. Bonus\\n\\n"
        "## 9. Bonus\\n\\n3 of 3. Right.")
ODD = [
    "class L(list): pass\nways = L([L])", "posterior = type('D', (dict,), {'items': lambda self: 1 / 0})(a=1)",
    "class E(Exception):\n    def __str__(self): raise RuntimeError\ndef price(r, d): raise E",
    "import torch\nfirst = torch.zeros([1] * 60)", "weight = lambda a, s: [[1], [2, 3]]",
    "clean = lambda *given: [torch.zeros(2**22)] * 20", "verdict = lambda d, r: 10**4000",
    "step = lambda *given: torch.ones(2).to_sparse()",
]


@pytest.fixture(scope="module")
def marks(tmp_path_factory):
    """Marked in a folder that a student has filled: the rows by file, the feedback, and what the terminal saw."""
    root = tmp_path_factory.mktemp("marks")
    folder, said = root / "handed in", []
    handed = {
        "waiting": at_the_end(WRITE.format(line=b'{"error": null}\n' * 20) + "time.sleep(9999)", "#" + "x" * 300_000),
        "beyond": at_the_end(WRITE.format(line=BEYOND * 20)),
        "endless": beside(WRITE.format(line=b"[" * 60_000).replace("    try", "    for _ in range(9999):\n      try")
                          .replace("    except OSError: pass", "      except OSError: break"), BLANK),
        "saying": at_the_end(f"def price(r, d): raise ValueError('{SAYS}')\nopen('/nowhere\\x1b[2J\\udcff', 'w')"),
        "odd": at_the_end(*ODD),
        "anna/one": at_the_end(ANSWER), "anna/two": BLANK,
        "again": at_the_end(f"%matplotlib inline\n%matplotlib widget\n{ANSWER}", 'check("targets.price", price)',
                            "price = 3.5\nexit()", "%gui qt"),
        "much": at_the_end("import torch\nways = torch.zeros(10**9, 0)",
                           f"{'E' * 9}, long = type('E' * 10**6, (Exception,), {{}}), ['z' * 10**4] * 6",
                           f"def price(r, d): raise {'E' * 9}", "first = [[long] * 6] * 6"),
        "lost": nbformat.v4.new_notebook(metadata={"diffnotes": {"exercises": ["targets"]}}),
    }  # fmt: skip
    for name, notebook in handed.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.ipynb").write_text(nbformat.writes(notebook))
    (folder / "torch.py").write_text(f"open({str(root / 'imported')!r}, 'w')\nraise SystemExit")
    (folder / "anna-one.ipynb").write_text("not JSON")
    (folder / "Anna-One.IPYNB").write_text("not JSON either")
    (folder / os.fsdecode(b"\xff\x1b[2J.ipynb")).write_text("1")
    (folder / ("x" * 240 + ".ipynb")).write_text("[" * 100_000)
    (folder / "essay.pdf").write_text("on diffusion")
    (folder / "nothing" / "inside").mkdir(parents=True)
    (folder / "folder.ipynb").mkdir()
    (folder / "loop.ipynb").symlink_to("loop.ipynb")
    down = os.open(folder, os.O_RDONLY)
    for _ in range(250):  # deeper than a path can say
        os.mkdir("b" * 20, dir_fd=down)
        inner = os.open("b" * 20, os.O_RDONLY, dir_fd=down)
        os.close(down)
        down = inner
    os.close(down)
    os.mkfifo(folder / "pipe.ipynb")
    with contextlib.chdir(folder):  # where Python would look first for what it imports
        grade(PROJECT, folder, folder / "marks.csv", folder / "feedback", seconds=12, say=said.append)
    with (folder / "marks.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    return rows, {path.name: path.read_text() for path in (folder / "feedback").iterdir()}, said, root


def test_everything_that_was_handed_in_has_a_row(marks):
    rows, feedback, said, _ = marks
    assert len(rows) == len(said) == len(feedback) == 21
    for name, reason in {"essay.pdf": "no notebook", "nothing": "holds no notebook", "folder.ipynb": "a folder",
                         "pipe.ipynb": "no notebook", "loop.ipynb": "a link", "b" * 20: "holds no notebook",
                         "anna-one.ipynb": "cannot be read", "torch.py": "no notebook",
                         "Anna-One.IPYNB": "cannot be read", "lost.ipynb": "no chapter"}.items():  # fmt: skip
        assert rows[name]["state"] == "refused" and reason in rows[name]["remarks"], name


def test_what_was_checked_counts_though_its_name_is_used_again_and_magics_ask_for_windows(marks):
    rows, feedback, _, _ = marks
    assert rows["again.ipynb"]["points"] == "2" and rows["again.ipynb"]["state"] == "marked", feedback["again.md"]


def test_messages_have_a_length(marks):
    rows, feedback, _, _ = marks
    assert rows["much.ipynb"]["state"] == "marked"
    assert len(feedback["much.md"]) < 4000 and max(map(len, feedback["much.md"].split("\n"))) < 1200
    assert "bytes" in feedback["much.md"]


def test_nothing_of_a_student_is_imported(marks):
    assert not (marks[3] / "imported").exists()


@pytest.mark.parametrize("name, said", [
    ("waiting", "wrote into the line"), ("beyond", "wrote into the line"), ("endless", "too large to be marked")])
def test_what_is_written_into_the_line_gets_nothing_and_stops_nothing(marks, name, said):
    row = marks[0][f"{name}.ipynb"]
    assert row["points"] == "0" and row["state"] == "stopped" and said in row["remarks"]


def test_odd_answers_are_told_what_they_are(marks):
    row, text = marks[0]["odd.ipynb"], marks[1]["odd.md"]
    assert row["points"] == "0" and row["state"] == "marked"
    for said in ("should be letters", "a value of type D that cannot be read", "it raises E", "[tensor([0., 0., ",
                 "0 is too small", "[[1], [2, 3]]; it should be a number", "it should be a number"):  # fmt: skip
        assert said in text, said


def test_what_a_student_says_stays_one_line_of_text(marks):
    rows, feedback, said, _ = marks
    for text in (*feedback.values(), *said):
        assert all(one.isprintable() or one == "\n" for one in text)
    for line in said:
        line.encode("utf-8")
    text = feedback["saying.md"]
    assert "it raises ValueError: \ufffd \ufffd[31mred &lt;script>" in text
    assert "Bonus" not in text and "<script" not in text and "](http" not in text
    assert "it tried to open /nowhere" in rows["saying.ipynb"]["remarks"]


def test_who_hands_in_twice_is_told_to_the_teacher_and_keeps_both_texts(marks):
    rows, feedback, _, _ = marks
    assert {rows[name]["points"] for name in ("one.ipynb", "two.ipynb")} == {"2", "0"}
    assert "one of 2 of this student and chapter" in rows["one.ipynb"]["remarks"]
    names = sorted(name for name in feedback if name.casefold().startswith("anna-one"))
    assert len(names) == 3 and sum("2 of 16" in feedback[name] for name in names) == 1


def test_notebooks_are_read_whatever_is_amiss_in_them():
    new = {"cells": [{"cell_type": "code", "source": ["a\n", "b"]}, {"cell_type": "raw", "source": "c"}, 3, {},
                     {"cell_type": "code"}, {"cell_type": "code", "source": 4}], "metadata": None}  # fmt: skip
    assert code_of(new) == ["a\nb", "", "4"]
    assert code_of({"worksheets": [{"cells": [{"cell_type": "code", "input": "a"}]}, 1]}) == ["a"]
    for other in ([], 3, None, {}, {"cells": 3}, {"worksheets": []}):
        with pytest.raises(ValueError, match="no list of cells"):
            code_of(other)


def test_no_cell_of_a_spreadsheet_begins_with_a_formula():
    for text in ("=1", "＝1", "@a", "x;=1+1"):
        assert not grading._plain(text).startswith(tuple("=＝@")) and ";" not in grading._plain(text)


@pytest.mark.parametrize("code", ["a\0b", "(" * 5000, "-" * 100_000 + "1", "\ud800", "x = '\\d'", "1" + "+1" * 50_000])
@pytest.mark.filterwarnings("error")
def test_code_that_is_none_checks_nothing(code):
    assert checks_of(code) == []


def test_where_nothing_can_be_executed_nobody_gets_zero_points(tmp_path, monkeypatch):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "anna.ipynb").write_text(nbformat.writes(BLANK))
    monkeypatch.setattr(grading, "command", lambda _: ["/bin/sh", "-c", "echo no room; exit 1"])
    (mark,) = grade(PROJECT, tmp_path / "s", tmp_path / "m.csv", tmp_path / "f", say=str)
    assert mark.state == "failed" and "did not start" in mark.remarks and "no room" in mark.remarks
    row = next(csv.DictReader((tmp_path / "m.csv").open()))
    assert row["points"] == "" and row["state"] == "failed" and row["targets.ways"] == ""
    assert "Not marked yet" in (tmp_path / "f" / "anna.md").read_text()


def test_a_judge_that_ends_or_takes_too_long_is_replaced(tmp_path, monkeypatch):
    (tmp_path / "s").mkdir()
    for name in ("anna", "berta"):
        (tmp_path / "s" / f"{name}.ipynb").write_text(nbformat.writes(BLANK))
    monkeypatch.setattr(grading, "PATIENCE", -359.9)
    marks = grade(PROJECT, tmp_path / "s", tmp_path / "m.csv", say=str)
    assert [one.state for one in marks] == ["failed"] * 2 and "took too long" in marks[0].remarks


@pytest.mark.parametrize("table, feedback, said", [
    (".", None, "is a folder"), ("file/m.csv", None, "a file, and should be a folder"),
    ("m.csv", "file/f", "a file, and should be a folder")])
def test_a_place_that_cannot_be_written_is_told_before_anything_runs(tmp_path, table, feedback, said):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "anna.ipynb").write_text(nbformat.writes(BLANK))
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match=said):
        grade(PROJECT, tmp_path / "s", tmp_path / table, feedback and tmp_path / feedback, say=pytest.fail)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_marking_leaves_nothing(tmp_path, number):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "anna.ipynb").write_text(nbformat.writes(beside("import time\ntime.sleep(987)", BLANK)))
    command = [str(Path(sys.executable).with_name("diffnotes")), "grade", str(tmp_path / "s"), "--csv",
               str(tmp_path / "m.csv"), "--seconds", "500"]  # fmt: skip
    process = subprocess.Popen(command, cwd=PROJECT.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    family, deadline = [], time.monotonic() + 200
    while len(family) < 4 and time.monotonic() < deadline:  # the judge, bubblewrap twice, and what executes
        family = psutil.Process(process.pid).children(recursive=True)
        time.sleep(0.2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=100)
    _, left = psutil.wait_procs(family, timeout=20)
    assert len(family) >= 4 and left == []
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    if number != signal.SIGKILL:
        assert process.returncode == 128 + number and "interrupted" in errors and "Traceback" not in errors


def test_what_is_still_the_same_is_not_judged_twice():
    process = Process([sys.executable, "-m", "diffnotes.exercises.answering"], Limits(cell=30))
    try:
        process.answer(120)
        for source in ("a, b = [1], [2]", "b = [3]"):
            assert process.ask({"run": source}, 30)["error"] is None
            if "a" in source.split(" = ")[0]:
                assert [process.ask({"hold": name}, 30).keys() for name in "abc"] == [{"n"}] * 3
        assert process.ask({"held": "a"}, 30).keys() == process.ask({"held": "c"}, 30).keys() == {"n"}
        assert process.ask({"held": "b"}, 30)["value"] == {"list": [2]}
        assert process.ask({"get": "b"}, 30)["value"] == {"list": [3]}
    finally:
        process.close()


def test_exercises_have_points():
    assert all(one.level in grading.POINTS for tasks in exercises_of(PROJECT).values() for one in tasks)


def test_a_request_larger_than_a_pipe_waits_no_longer_than_it_may():
    process = Process([sys.executable, "-c", "import time; time.sleep(99)"], Limits())
    began = time.monotonic()
    with pytest.raises(Stopped, match="did not end within 1 s"):
        process.ask({"run": "x" * 2**20}, 1)
    assert time.monotonic() - began < 10
    process.close()


def test_a_line_that_grows_slowly_ends_at_its_time():
    code = "import os, sys, time\nwhile True: os.write(int(sys.argv[2]), b'[' * 9)"
    process = Process([sys.executable, "-c", code], Limits())
    began = time.monotonic()
    with pytest.raises(Stopped, match=r"did not end within 1 s|too large"):
        process.answer(1)
    assert time.monotonic() - began < 20
    process.close()
