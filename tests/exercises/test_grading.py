"""A folder of submissions, good and bad ones, is marked as it should be, and nothing gets out of the sandbox."""

import csv
import http.server
import os
import shutil
import threading

import nbformat
import pytest
from submissions import ANSWER, BLANK, GOOD, PROJECT, SOLVED, WRONG, at_the_end, beside

from diffnotes.press.errors import PressError
from diffnotes.press.teach.grading import exercises_of, grade, table_of
from diffnotes.press.teach.sandbox import command


def table(path):
    """The rows of a table of marks by student."""
    with path.open(newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def marks(tmp_path_factory):
    """Everything that students hand in, marked: the rows by student, what was told, and what the server saw."""
    root = tmp_path_factory.mktemp("marks")
    folder = root / "submissions"
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    secret = root / "secret.txt"
    secret.write_text("the solution")
    partly = at_the_end(
        'ways = {"a"}', ANSWER, 'clean = lambda *given: 1 / 0',
        'weight = __import__("threading").Lock()', "first = float('nan')",
        "def step(x_t, eps, a, b, z):\n    import os\n    os._exit(1)",
        "def verdict(differences, rule):\n    while True: pass")  # fmt: skip
    handed = {
        "good": SOLVED, "blank": BLANK, "partly": partly,
        "wrong": at_the_end(WRONG),
        "crashing": beside("import os\nos._exit(3)"),
        "looping": beside("while True: pass"),
        "stubborn": beside("while True:\n    try:\n        while True: x = 1\n    except BaseException: y = 2"),
        "flooding": beside("while True: print('x' * 100_000)"),
        "breeding": beside("import os\nwhile True: os.fork()"),
        "thief": beside(f"from pathlib import Path\nsecret = Path({str(secret)!r}).read_text()\nprint(secret)", BLANK),
        "peeping": beside("from diffnotes.exercises.keys.targets import EXERCISES\n"
                          "ways = EXERCISES['ways'].model()\ncheck('targets.ways', ways)", BLANK),
        "calling": beside("import urllib.request\n"
                          f"urllib.request.urlopen('http://127.0.0.1:{server.server_port}/', timeout=2)"),
        "forging": beside("import os\nfor fd in range(3, 30):\n    try: os.write(fd, b'{\"value\": 1}\\n' * 50)\n"
                          "    except OSError: pass", BLANK),
        "cheating": beside("import diffnotes.exercises as e\ne.check = check = lambda *_: 'Right'\n"
                           "import builtins, sys\nsys.modules['diffnotes.exercises.checking'] = None", BLANK),
        "raising": beside("this is no Python"),
    }  # fmt: skip
    for name, notebook in handed.items():
        place = folder / (f"{name}/targets.ipynb" if name in ("good", "blank") else f"{name}.ipynb")
        place.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, place)
    (folder / "text.ipynb").write_text("no notebook")
    (folder / "other.ipynb").write_text(nbformat.writes(nbformat.v4.new_notebook()))
    (folder / "link.ipynb").symlink_to(PROJECT.root / "notebooks" / "exercises" / "targets.ipynb")
    said = []
    try:
        grade(PROJECT, folder, root / "marks.csv", root / "feedback", seconds=6, say=said.append)
    finally:
        server.shutdown()
    return table(root / "marks.csv"), root / "feedback", seen, said


def test_a_submission_that_takes_all_memory_is_stopped(tmp_path):
    """It has the time to take it, on a busy machine, too."""
    (tmp_path / "submissions").mkdir()
    hungry = beside("import numpy as np\nkept = []\nwhile True: kept.append(np.ones(10**8))")
    nbformat.write(hungry, tmp_path / "submissions/hungry.ipynb")
    grade(PROJECT, tmp_path / "submissions", tmp_path / "marks.csv", tmp_path / "feedback", seconds=60)
    row = table(tmp_path / "marks.csv")["hungry"]
    assert row["state"] == "stopped" and "cell 2: it used more than 2 GiB of memory" in row["remarks"]
    assert row["points"] == str(GOOD)


def test_each_submission_has_a_row_and_a_line(marks):
    rows, feedback, _, said = marks
    assert len(rows) == len(said) == len(list(feedback.glob("*.md"))) == 18


@pytest.mark.parametrize("name", ["good", "raising"])
def test_right_answers_get_all_points(marks, name):
    row = marks[0][name]
    assert (row["points"], row["of"], row["state"], row["remarks"]) == (str(GOOD), str(GOOD), "marked", "")


@pytest.mark.parametrize("name", ["blank", "wrong", "cheating", "forging"])
def test_no_answers_and_tricks_get_none(marks, name):
    row = marks[0][name]
    assert row["points"] == "0" and row["of"] == str(GOOD)


def test_what_is_wrong_is_said(marks):
    _, feedback, _, _ = marks
    assert "KL of the model from the posterior" in (feedback / "wrong.md").read_text()
    text = (feedback / "partly.md").read_text()
    for said in ("Look at d again", "2 of 2. Right. It is zero for r = 1", "it raises ZeroDivisionError: division",
                 "a value of type lock", "is not finite", "Asked for an answer, it ended the process",
                 "it raises nothing within the time allowed"):  # fmt: skip
        assert said in text, said


@pytest.mark.parametrize("name, reason", [
    ("crashing", "cell 2: it ended the process"),
    ("looping", "cell 2: it did not end within 6 s"),
    ("stubborn", "cell 2: it did not end within"),
    ("flooding", "cell 2: it printed more than 5 MiB"),
    ("breeding", "cell 2: it "),
])  # fmt: skip
def test_what_stops_a_submission_costs_that_cell_and_is_told(marks, name, reason):
    row = marks[0][name]
    assert row["state"] == "stopped" and reason in row["remarks"]
    assert row["points"] == str(GOOD)


def test_nothing_is_read_and_nobody_is_called(marks):
    rows, feedback, seen, _ = marks
    assert seen == [] and "it tried to use the network" in rows["calling"]["remarks"]
    assert "it tried to open" in rows["thief"]["remarks"] and "secret.txt" in rows["thief"]["remarks"]
    assert "it tried to open" in rows["peeping"]["remarks"] or rows["peeping"]["points"] == "0"
    assert rows["thief"]["points"] == rows["peeping"]["points"] == "0"
    assert "the solution" not in "".join(path.read_text() for path in feedback.glob("*.md"))


@pytest.mark.parametrize("name, reason", [("text", "cannot be read"), ("link", "a link"), ("other", "no chapter")])
def test_what_is_no_submission_is_refused(marks, name, reason):
    row = marks[0][name]
    assert row["state"] == "refused" and reason in row["remarks"] and row["points"] == "0"


def test_names_that_a_spreadsheet_would_compute_are_texts(marks):
    from diffnotes.press.teach.grading import Mark

    text = table_of([Mark('=HYPERLINK("x")', PROJECT.root / "a.ipynb")], exercises_of(PROJECT))
    assert text.splitlines()[1].startswith('"\'=HYPERLINK')


@pytest.mark.parametrize("given, said", [
    ({"folder": "nowhere"}, "no folder of submissions"), ({"folder": "."}, "holds no submission"),
    ({"seconds": 0}, "allowed: above 0"), ({"seconds": float("nan")}, "allowed: above 0"),
    ({"table": "pipe"}, "is no ordinary file; the marks need a file"),
])  # fmt: skip
def test_wrong_use_is_told_before_anything_runs(tmp_path, given, said):
    folder = tmp_path / given.get("folder", "subs")
    (tmp_path / "subs").mkdir()
    if "table" in given:
        os.mkfifo(tmp_path / "pipe")  # or a device, which root could replace
        shutil.copy(PROJECT.root / "notebooks/exercises/targets.ipynb", folder / "one.ipynb")
    with pytest.raises(PressError, match=said):
        grade(PROJECT, folder, tmp_path / given.get("table", "marks.csv"), seconds=given.get("seconds", 5))
    assert not (tmp_path / "marks.csv").exists()


def test_without_a_sandbox_nothing_is_executed(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(PressError, match="apt-get install bubblewrap"):
        command(PROJECT)
    monkeypatch.setattr("shutil.which", lambda _: "/bin/false")
    with pytest.raises(PressError, match="cannot make a room here"):
        command(PROJECT)
