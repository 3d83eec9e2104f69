"""Attacks on the press: what is done to it from outside, at the wrong moment, by the wrong hands."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from presses import executed, go, project, save, source
from sites import runnable

from diffnotes.press import chapter, command, execution, page, processes, provenance, site, workers
from diffnotes.press.chapter import Chapter
from diffnotes.press.errors import PressError
from diffnotes.press.files import at_work, lock, require_room, write_whole
from diffnotes.press.layout import Project
from diffnotes.press.parameters import settings
from diffnotes.press.provenance import latest
from diffnotes.press.publish import publish

ROOT = Path(__file__).resolve().parents[1]
GLUE = "from diffnotes.press.page import glue\n"


def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def spelled(path: Path) -> str:
    """Code for ``path`` in which no gate sees a path of this machine."""
    return f"bytes.fromhex({str(path).encode().hex()!r})"


def meeting(folder: Path, name: str) -> str:
    """Code that says it has come to ``name`` and waits to be sent on."""
    return (f"import os, time\nopen({spelled(folder / (name + '.here'))}, 'w').close()\n"
            f"while not os.path.exists({spelled(folder / (name + '.on'))}): time.sleep(0.01)\n")  # fmt: skip


@contextlib.contextmanager
def running(book: Project, **options: Any) -> Iterator[list[tuple[int, str]]]:
    """A run in a thread of its own, finished at the end of the context; its result."""
    result: list[tuple[int, str]] = []
    thread = threading.Thread(target=lambda: result.append(go(book, **options)))
    thread.start()
    try:
        yield result
    finally:
        thread.join(120)
        assert result


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture
def little(tmp_path: Path) -> Project:
    """A book whose chapter takes its number from a little package, through a module that stands in between."""
    package = tmp_path / "little"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "toy.py").write_text("def value():\n    return 1\n")
    (package / "middle.py").write_text("from . import toy\n\ndef twice():\n    return 2 * toy.value()\n")
    book = project(tmp_path / "book", "one", package=package)
    before, after = meeting(tmp_path, "before"), meeting(tmp_path, "after")
    work = f"{GLUE}{before}from little import middle\n{after}glue(gap=middle.twice())"
    save(source(work=work), book.source("one"))
    return book


def gap(book: Project) -> str:
    work = next(cell for cell in page.read(book.page("cpu", "one")).cells if cell.id == "work")
    return work.outputs[0].data["application/papermill.record/text/plain"]


# --- a page belongs to the code that made it --------------------------------------------------------------------------


def test_results_of_other_code_are_never_taken(little: Project, tmp_path: Path) -> None:
    """A run has its own copy of the package: what is edited meanwhile does not reach it, and its page is stale."""
    toy, place = little.package / "toy.py", little.page("cpu", "one")
    with running(little) as edited:  # edited before it is imported, restored only after the run
        until((tmp_path / "before.here").exists)
        edit(toy, "return 1", "return 5")
        (tmp_path / "before.on").touch()
        (tmp_path / "after.on").touch()
    assert edited[0][0] == 1 and "stale; changed: the package: toy" in edited[0][1]
    assert not place.exists() and not little.report("cpu", "one").exists()
    edit(toy, "return 5", "return 1")
    for mark in ("before.on", "before.here", "after.on", "after.here"):
        (tmp_path / mark).unlink()
    with running(little) as restored:  # edited, and restored while the run goes on
        until((tmp_path / "before.here").exists)
        edit(toy, "return 1", "return 7")
        (tmp_path / "before.on").touch()
        until((tmp_path / "after.here").exists)
        edit(toy, "return 7", "return 1")
        (tmp_path / "after.on").touch()
    assert restored[0][0] == 0 and gap(little) == "2"
    place.unlink()
    status, said = go(little)
    assert status == 0 and "done in" in said and gap(little) == "2", said
    record = page.read(place).metadata["diffnotes"]["provenance"]
    assert record["parts"]["modules"].keys() == {"__init__", "middle", "toy"}
    assert go(little) == (0, "one: fresh in profile cpu, nothing to run")


def test_an_edit_for_the_time_of_a_child_process_does_not_reach_it(little: Project, tmp_path: Path) -> None:
    work = f"""{GLUE}import subprocess, sys
from little import toy
{meeting(tmp_path, "before")}
text = "from little import toy; print(toy.value())"
told = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
{meeting(tmp_path, "after")}
glue(gap=int(told.stdout))"""
    save(source(work=work), little.source("one"))
    with running(little) as result:
        until((tmp_path / "before.here").exists)
        edit(little.package / "toy.py", "return 1", "return 5")
        (tmp_path / "before.on").touch()
        until((tmp_path / "after.here").exists)
        edit(little.package / "toy.py", "return 5", "return 1")
        (tmp_path / "after.on").touch()
    assert result[0][0] == 0 and gap(little) == "1", result


def test_code_that_looks_at_itself_or_starts_processes_counts_all(little: Project) -> None:
    (little.package / "words.py").write_text("from . import toy\n\ndef words():\n    return len(toy.value.__doc__)\n")
    (little.package / "toy.py").write_text("def value():\n    'One.'\n    return 1\n")

    def hashes(code: str) -> dict[str, str]:
        return provenance.modules_used([code], little.package)

    before = hashes("from little import words")
    (little.package / "toy.py").write_text("def value():\n    'One, two.'\n    return 1\n")
    assert {name for name, value in hashes("from little import words").items() if value != before[name]} == {"toy"}
    assert hashes("import subprocess").keys() == {"__init__", "toy", "middle", "words"}
    assert hashes("from joblib import Parallel").keys() == {"__init__", "toy", "middle", "words"}


def test_code_that_only_the_run_imports_counts(tmp_path: Path, little: Project) -> None:
    """A name that is put together at run time: no reader of the text can see it, the kernel does."""
    work = f"{GLUE}import importlib\nglue(gap=importlib.import_module('lit' + 'tle.toy').value())"
    save(source(work=work), little.source("one"))
    assert go(little)[0] == 0
    assert record(page.read(little.page("cpu", "one")))["parts"]["modules"].keys() == {"__init__", "toy"}
    edit(little.package / "toy.py", "return 1", "return 2")
    state = provenance.examine(little, "one", "cpu").freshness
    assert state.reasons == ["the package: toy"]
    edit(little.package / "toy.py", "return 2", "return 1  # the same")
    assert provenance.examine(little, "one", "cpu").freshness.state == "fresh"


def test_a_chapter_runs_where_the_press_lies_in_the_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python reads the source of the kernel's main module now and then; in a checkout that is a file of the book."""
    book = project(tmp_path / "book", "one")
    task = Chapter.task
    monkeypatch.setattr(Chapter, "task", lambda self, *a: {**task(self, *a), "root": str(ROOT)})
    look = "import linecache, diffnotes_kernel\nlines = linecache.getlines(diffnotes_kernel.__file__)\nassert lines\n"
    save(source(work=f"{look}{GLUE}glue(gap=size * 0.5)"), book.source("one"))
    status, said = go(book)
    assert status == 0, said


def test_another_package_in_the_kernel_is_noticed(little: Project, tmp_path: Path, monkeypatch: Any) -> None:
    other = tmp_path / "elsewhere" / "little"
    other.mkdir(parents=True)
    for path in little.package.glob("*.py"):
        (other / path.name).write_text(path.read_text().replace("return 1", "return 3"))
    task = Chapter.task
    monkeypatch.setattr(Chapter, "task", lambda self, *a: {**task(self, *a), "package": str(other)})
    (tmp_path / "before.on").touch()
    (tmp_path / "after.on").touch()
    status, said = go(little)
    assert status == 1 and "little.toy" in said and "the kernel has another package" in said, said


def test_the_root_of_the_package_counts(little: Project, tmp_path: Path) -> None:
    (little.package / "__init__.py").write_text("from . import toy\ntoy.value = lambda: 3\n")
    (tmp_path / "before.on").touch()
    (tmp_path / "after.on").touch()
    assert go(little)[0] == 0 and gap(little) == "6"
    edit(little.package / "__init__.py", "3", "4")
    assert provenance.examine(little, "one", "cpu").freshness.reasons == ["the package: __init__"]


def test_a_comment_in_the_package_costs_no_run_even_while_it_goes_on(little: Project, tmp_path: Path) -> None:
    with running(little) as result:
        until((tmp_path / "before.here").exists)
        edit(little.package / "toy.py", "return 1", "return 1  # one")
        (little.root / "notebooks/Untitled.ipynb").write_text("what a user saves meanwhile")
        (tmp_path / "before.on").touch()
        (tmp_path / "after.on").touch()
    assert result[0][0] == 0, result


def test_what_a_cell_starts_has_the_same_package_and_line_ends_do_not_matter(little: Project) -> None:
    """Processes of joblib, multiprocessing and subprocess; a module with Windows' line ends that looks at its code."""
    (little.package / "toy.py").write_bytes(b"import inspect\r\ndef value():\r\n    return 1\r\n")
    work = f"""{GLUE}import multiprocessing, subprocess, sys
from joblib import Parallel, delayed
def far(i):
    from little import middle
    return middle.twice()
text = "from little import middle; print(middle.twice())"
far_off = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
spawned = multiprocessing.get_context("spawn").Pool(1).map(eval, ["__import__('little.middle').middle.twice()"])
glue(gap=sum(Parallel(n_jobs=2)(delayed(far)(i) for i in range(2))) + int(far_off.stdout) + spawned[0])"""
    save(source(work=work), little.source("one"))
    status, said = go(little)
    assert status == 0 and gap(little) == "8", said
    edit(little.package / "toy.py", "import inspect", "import inspect  # comments are results now")
    assert provenance.examine(little, "one", "cpu").freshness.reasons == ["the package: toy"]


def test_a_book_with_a_package_of_its_own_needs_its_own_environment(tmp_path: Path) -> None:
    book = project(tmp_path / "book", "one")
    (book.root / "diffnotes/press").mkdir(parents=True)
    with pytest.raises(PressError, match="make setup"):
        Project.find(book.root)


def test_the_notebook_that_runs_is_the_one_that_is_hashed(tmp_path: Path) -> None:
    book = project(tmp_path / "book", "one")
    save(source(work=meeting(tmp_path, "work") + GLUE + "glue(gap=1.0)"), book.source("one"))
    with running(book) as result:
        until((tmp_path / "work.here").exists)
        edit(book.source("one"), "glue(gap=1.0)", "glue(gap=2.0)")
        (tmp_path / "work.on").touch()
    assert result[0][0] == 1 and "stale; changed: code cell 2" in result[0][1]
    assert not book.page("cpu", "one").exists() and not book.report("cpu", "one").exists()
    edit(book.source("one"), "glue(gap=2.0)", "glue(gap=1.0)")
    assert "running" in go(book)[1]


def test_nothing_of_the_users_environment_reaches_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "settings"
    (settings / "kernels/python3").mkdir(parents=True)
    (settings / "profile_default/startup").mkdir(parents=True)
    (settings / "profile_default/startup/00.py").write_text("size = 99")
    every = "c.InteractiveShell.ast_node_interactivity = 'all'"
    (settings / "profile_default/ipython_kernel_config.py").write_text(every)
    (settings / "kernels/python3/kernel.json").write_text('{"argv": ["false"], "display_name": "x", "language": "x"}')
    (settings / "sitecustomize.py").write_text("import builtins; builtins.len = lambda x: 42")
    (settings / "matplotlibrc").write_text("figure.dpi: 7\n")
    book = project(tmp_path / "book", "one")
    (book.root / "notebooks/matplotlibrc").write_text("figure.dpi: 8\n")
    for name, value in {
        "PYTHONOPTIMIZE": "1", "PYTHONPATH": str(settings), "PYTHONWARNINGS": "error", "PYTHONINSPECT": "1",
        "PYTHONHASHSEED": "7", "PYTHONSTARTUP": str(settings / "sitecustomize.py"), "JUPYTER_PATH": str(settings),
        "JUPYTER_DATA_DIR": str(settings), "IPYTHONDIR": str(settings), "MPLCONFIGDIR": str(settings),
        "MATPLOTLIBRC": str(settings), "MPLBACKEND": "svg", "OMP_NUM_THREADS": "64", "TZ": "Asia/Tokyo",
        "LC_ALL": "C", "TORCH_LOGS": "all", "NVIDIA_TF32_OVERRIDE": "1", "GIT_DIR": str(ROOT / ".git"),
        "DIFFNOTES_DATA": "here",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    look = """import os, sys, time, matplotlib
print(__debug__, len([]), matplotlib.rcParams["figure.dpi"], sys.flags.optimize, time.tzname[0], hash("a"))
leaked = ("PYTHONO", "PYTHONW", "PYTHONI", "TORCH", "NVIDIA_T", "GIT_D")
print(sorted(name for name in os.environ if name.startswith(leaked)))
print(os.environ["OMP_NUM_THREADS"], os.environ["DIFFNOTES_DATA"], matplotlib.get_backend().split(".")[-1])
"alone"
from diffnotes.press.page import glue; glue(gap=size * 0.5)"""
    save(source(work=look), book.source("one"))
    status, said = go(book)
    report = book.report("cpu", "one")
    place = book.page("cpu", "one") if status == 0 else report
    assert place.is_file(), said
    work = next(cell for cell in page.read(place).cells if cell.id == "work")
    seen = work.outputs[0].text.splitlines()
    plain = {**os.environ, "PYTHONHASHSEED": "0"}
    fixed = subprocess.run([sys.executable, "-c", "print(hash('a'))"], capture_output=True, text=True, env=plain).stdout
    assert seen == [f"True 0 100.0 0 UTC {fixed.strip()}", "[]", f"1 {tmp_path / 'here'} backend_inline"]
    assert gap_of(work) == "1.5" and len(work.outputs) == 2
    assert record(page.read(place))["commit"] == "none"
    edited = source(**{"solve-a": "assert size == 99"})
    save(edited, book.source("one"))
    assert "AssertionError" in go(book)[1]


def gap_of(cell: Any) -> str:
    return next(out.data["application/papermill.record/text/plain"] for out in cell.outputs if out.get("data"))


# --- cells that do what they must not ---------------------------------------------------------------------------------

CELLS = {
    "quiet": (
        """import os, sqlite3
globals()['seed'] = 5.0
open('left.txt', 'w').write('x'); text = open('beside.csv').read()
os.rename('beside.old', 'beside.new'); os.remove('beside.gone')
os.mkdir('../made'); os.symlink('x', 'beside.link')
sqlite3.connect('some.db').execute('create table t (x)')
open('/proc/self/cwd/round.txt', 'w').close()""",
        ["changes the parameter seed from int:0 to float:5.0", "writes notebooks/left.txt", "writes made",
         "reads notebooks/beside.csv, which the page's hash does not cover", "writes notebooks/beside.new",
         "writes notebooks/beside.old", "writes notebooks/beside.gone", "writes notebooks/beside.link",
         "writes notebooks/some.db", "writes notebooks/round.txt"]),
    "magic": ("%nosuch 1", ["UsageError: Line magic function `%nosuch` not found."]),
    "leaves": ("import os; os._exit(0)", ["the kernel died in code cell [3] ('import os; os._exit(0)')"]),
    "exits": ("exit()", ["code cell [3] raised RuntimeError: exit() would end the kernel"]),
    "sleeps": ("import time\ntime.sleep(100)", ["code cell [3] ('import time') took longer than 3 s"]),
    "import": ("import beside", ["No module named 'beside'"]),
}


def test_cells_that_do_what_they_must_not(tmp_path: Path) -> None:
    book = project(tmp_path / "book", *CELLS)
    for name, (code, _) in CELLS.items():
        save(source(name, work=code), book.source(name))
    (book.root / "notebooks/beside.csv").write_text("1")
    for kind in ("py", "old", "gone"):
        (book.root / f"notebooks/beside.{kind}").write_text("x = 1")
    status, said = go(book, timeout=3)
    assert status == 1
    for name, (_, complaints) in CELLS.items():
        part = said[said.index(f"{name}: FAILED") :]
        assert all(words in part[: part.index("report:")] for words in complaints), (name, part)
        assert not book.page("cpu", name).exists() and not book.report("cpu", name).exists()


def test_cells_may_do_what_harms_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary folders, the reader's data and caches in the checkout, sets as parameters, names in braces."""
    book = project(tmp_path / "book {a} b", "one")
    (book.root / "data").mkdir()
    (book.root / "data/x.csv").write_text("1")
    monkeypatch.setenv("DIFFNOTES_DATA", str(book.root / "data"))
    monkeypatch.setenv("HOME", str(book.root))
    (tmp_path / "t{c} d").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t{c} d"))
    settings = 'profile = "cpu"\ndevice = "auto"\nseed = 0\nsize = 3\nmodes = {"alpha", "beta", "gamma"}'
    work = """import os, tempfile, pathlib, matplotlib.pyplot as plt
with tempfile.TemporaryDirectory() as folder:
    (pathlib.Path(folder) / "a/b").mkdir(parents=True)
    (pathlib.Path(folder) / "a/b/beside.txt").write_text("x")
    os.symlink("beside.txt", folder + "/link")
os.makedirs(".", exist_ok=True)
place = os.environ["DIFFNOTES_DATA"]
text = open(place + "/x.csv").read() + str(open(place + "/cache.txt", "w").write("y"))
os.makedirs(os.path.expanduser("~/.cache/some"), exist_ok=True)
open(os.path.expanduser("~/.cache/some/x"), "w").close()
with open("passing.txt", "w"): pass
os.remove("passing.txt")
plt.close(plt.figure())
from diffnotes.press.page import glue; glue(gap=size * 0.5)"""
    save(source(settings=settings, work=work), book.source("one"))
    (book.root / "notebooks/beside.txt").write_text("1")
    status, said = go(book)
    # What is written in the text of a cell is the gates' affair; the kernel must find no harm in what was done.
    complaints = [line for line in said.splitlines() if line.startswith("  ") and "report:" not in line]
    assert status == 1 and all("one, cell 3" in line and "it writes a file: " in line for line in complaints), said


def test_a_background_process_of_a_cell_ends_with_the_run(tmp_path: Path) -> None:
    book = project(tmp_path / "book", "one")
    start = ("import subprocess, sys\nkept = [subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
             f" start_new_session=late).pid for late in (False, True)]\nopen({spelled(tmp_path / 'pids')}, 'w').write("
             "' '.join(map(str, kept)))\n")  # fmt: skip
    save(source(work=start + GLUE + "glue(gap=1.0 * size)"), book.source("one"))
    status, said = go(book)
    assert status == 0, said
    pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2 and not any(map(alive, pids))


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# --- kills ------------------------------------------------------------------------------------------------------------


def started(book: Project, temporary: Path, *words: str) -> subprocess.Popen:
    temporary.mkdir(exist_ok=True)
    shell = [sys.executable, "-m", "diffnotes.press", *words]
    env = {**os.environ, "TMPDIR": str(temporary)}
    return subprocess.Popen(shell, cwd=book.root, env=env, start_new_session=True, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def related(folder: Path) -> list[int]:
    """Processes that were told of ``folder`` in their command or environment, but for this one."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            told = " ".join(process.cmdline()) + process.environ().get("TMPDIR", "")
            if str(folder) in told and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


KILLS = [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT]


def test_a_run_that_is_killed_at_any_moment_leaves_nothing_behind(tmp_path: Path) -> None:
    book = project(tmp_path / "book", "one")
    save(executed(book), book.page("cpu", "one"))
    good = book.page("cpu", "one").read_text()
    before = {path for path in book.root.rglob("*") if "locks" not in path.parts and not path.name.endswith(".lock")}
    endless = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'while True: pass'])\nwhile True: pass"
    save(source(work=endless), book.source("one"))
    moments = random.Random(3)
    for number in KILLS:
        process = started(book, tmp_path / "temporary", "run", "--profile", "cpu", "--device", "cpu")
        if number != signal.SIGKILL:  # before it runs, it has nothing to end
            assert "running" in process.stdout.readline()
        time.sleep(moments.uniform(0.1, 2.0))
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)
        assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), stderr
        assert "Traceback" not in stderr
        until(lambda: not related(tmp_path / "temporary"), 10)
        until(lambda: not list((tmp_path / "temporary").iterdir()), 10)
        left = {path for path in book.root.rglob("*") if not path.name.endswith(".lock")}
        assert left == before and book.page("cpu", "one").read_text() == good
    save(source(), book.source("one"))
    assert go(book) == (0, "one: fresh in profile cpu, nothing to run")
    assert not list(book.root.rglob("*.lock"))


def test_an_interruption_in_the_first_moments_is_quiet(page_of: Project, tmp_path: Path) -> None:
    for moment in (0.02, 0.05, 0.1, 0.2, 0.4):
        process = started(page_of, tmp_path / "temporary", "run", "--profile", "cpu", "--device", "cpu", "--force")
        until(lambda pid=process.pid: "press" in " ".join(psutil.Process(pid).cmdline()))
        time.sleep(moment)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
        # In the very first moments Python itself is not ready, and ends in its own way: before the press is there.
        early = "<frozen site>" in stderr or "runpy" in stderr
        assert process.returncode in (130, -signal.SIGINT) or early, stderr
        assert "press/" not in stderr.replace("press/__main__", "")
        until(lambda: not related(tmp_path / "temporary"), 10)


def test_a_kill_of_the_guard_takes_the_kernel_along(tmp_path: Path) -> None:
    book = project(tmp_path / "book", "one")
    save(source(work=meeting(tmp_path, "work")), book.source("one"))
    with running(book) as result:
        until((tmp_path / "work.here").exists)
        guards = [child for child in psutil.Process().children() if "guard.py" in " ".join(child.cmdline())]
        assert len(guards) == 1
        below = [child.pid for child in guards[0].children(recursive=True)]
        assert below
        guards[0].kill()
        until(lambda: not any(map(alive, below)), 10)
    assert result[0][0] == 1 and "the run was ended from outside" in result[0][1]


def test_a_build_that_is_killed_leaves_the_old_site_and_nothing_else(tmp_path: Path) -> None:
    book = runnable(tmp_path / "book")
    target = book.root / "_build/html"
    target.mkdir(parents=True)
    (target / "index.html").write_text("the old site")
    for number in (signal.SIGTERM, signal.SIGKILL):
        process = started(book, tmp_path / "temporary", "build")
        said = process.stdout.readline()
        assert "building" in said, process.communicate(timeout=30)[1]
        until(lambda: related(tmp_path / "temporary"))
        time.sleep(0.5)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)
        assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), stderr
        until(lambda: not related(tmp_path / "temporary"), 10)
        until(lambda: not list((tmp_path / "temporary").iterdir()), 10)
        assert [path.read_text() for path in target.iterdir()] == ["the old site"]


def test_the_swap_of_a_site_survives_any_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C or a kill before, between and after the two renames: the old site or the new one is there, whole."""
    rename = Path.rename

    def folder(name: str, text: str) -> Path:
        path = tmp_path / name
        path.mkdir()
        (path / "index.html").write_text(text)
        return path

    class Killed(BaseException):
        pass

    for cut in (0, 1, 2):
        for error in (KeyboardInterrupt, Killed):
            target, new = folder(f"html-{cut}-{error.__name__}", "old"), folder(f"new-{cut}-{error.__name__}", "new")
            done: list[int] = []

            def cutting(self: Path, to: Path, cut: int = cut, error: type = error, done: list = done) -> Path:
                if len(done) == cut:
                    monkeypatch.setattr(Path, "rename", rename)  # what mends it goes through
                    if error is Killed:
                        monkeypatch.setattr(site, "recover", lambda target: None)  # a killed process mends nothing
                    raise error
                done.append(1)
                return rename(self, to)

            monkeypatch.setattr(Path, "rename", cutting)
            with contextlib.suppress(BaseException):
                site.replace(target, new)
            monkeypatch.undo()
            site.recover(target)  # the next build begins with it
            assert (target / "index.html").read_text() in ("old", "new")
            assert not target.with_name(target.name + ".old").exists()


def test_a_site_that_is_odd_or_damaged_is_built_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lies where the site should be is replaced; the folder that a link leads to is left alone."""
    book, far, made = runnable(tmp_path / ".book"), tmp_path / "far", []
    far.mkdir()
    (far / "precious").touch()

    def render(source: Path, work: Path) -> Path:
        made.append((source / "book/index.md").read_text())
        site.remove(work)
        (work / "_build/html").mkdir(parents=True)
        (work / "_build/html/index.html").write_text("<p>new</p>")
        return work / "_build/html"

    monkeypatch.setattr(site, "render", render)
    target = book.root / "_build/html"

    def build() -> int:
        before = len(made)
        site.build("latest", book.root, say=lambda _: None)
        assert (target / "index.html").read_text() == "<p>new</p>" and not target.is_symlink()
        return len(made) - before

    assert build() == 1 and build() == 0
    for spoil in (lambda: (target / "SHA256SUMS").write_bytes(b"\xff"), lambda: (target / "SHA256SUMS").write_text(""),
                  lambda: (target / "provenance.json").write_text("[]"), lambda: (target / "provenance.json").unlink(),
                  lambda: (target / "index.html").write_text("old")):  # fmt: skip
        spoil()
        assert build() == 1 and build() == 0
    for name in ("html", "site-source", "site-work"):
        for put in (lambda path: path.symlink_to(far), lambda path: path.write_text("")):
            site.remove(book.root / "_build" / name)
            put(book.root / "_build" / name)
            site.remove(target) if name != "html" else None
            assert build() == 1 and (far / "precious").exists()
    edit(book.root / "book/index.md", "# ", "# New ")  # the folder's own name begins with a dot
    assert build() == 1 and "# New " in made[-1]


def test_a_tree_of_the_build_is_the_tree_of_the_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lies below book/, the copy has the fingerprint of the original, but for what is hidden in both."""
    book = runnable(tmp_path / "book")
    press = Path(shutil.copytree(ROOT / "diffnotes/press", book.root / "diffnotes/press"))
    monkeypatch.setattr(site, "__file__", str(press / "site.py"))  # as in a checkout, where the press lies in the book
    for name in ("chapters/img/a.png", "extra/chapters/a.md", "__draft/b.md", ".hidden", "a b/c.md", "_one.md"):
        (book.root / "book" / name).parent.mkdir(parents=True, exist_ok=True)
        (book.root / "book" / name).write_text("x")
    chosen = {"sample": book.page("cpu", "sample")}
    taken = site.assemble(book, chosen, tmp_path / "tree")
    assert site.fingerprint(book, chosen) == site.fingerprint(book, taken, tmp_path / "tree")
    assert (tmp_path / "tree/book/extra/chapters/a.md").exists() and not (tmp_path / "tree/book/__draft").exists()


def test_what_is_built_is_what_was_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page, or the prose, is another just while the build takes its copy."""
    book = runnable(tmp_path / "book")
    copy = site.assemble
    for path, old, new in ((book.page("cpu", "sample"), "0.4213", "0.9999"), (book.root / "book/index.md", "#", "##")):

        def assemble(*given: Any, path: Path = path, old: str = old, new: str = new) -> Any:
            text = path.read_text()
            path.write_text(text.replace(old, new))
            taken = copy(*given)
            path.write_text(text)
            return taken

        monkeypatch.setattr(site, "assemble", assemble)
        with pytest.raises(PressError, match="changed while the build took it"):
            site.build("latest", book.root, say=lambda _: None)
    page_of = project(tmp_path / "other", "one")
    save(executed(page_of), page_of.page("cpu", "one"))
    good = page_of.page("cpu", "one").read_text()
    from diffnotes.press import publish as publishing

    def meanwhile(*_: Any) -> None:
        page_of.page("cpu", "one").write_text(good.replace("1.5", "9.5"))

    monkeypatch.setattr(publishing, "require_room", meanwhile)
    assert publish(page_of, ["one"], "cpu")[0].read_text() == good


def test_what_killed_runs_have_left_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead = tmp_path / f"{processes.PREFIX}dead"
    dead.mkdir()
    (dead / "x").write_text("x")
    foreign = tmp_path / "diffnotes-of-somebody"
    foreign.mkdir()
    with processes.workspace() as one, processes.workspace() as two:
        assert one != two and one.is_dir() and two.is_dir() and not dead.exists()
    assert list(tmp_path.iterdir()) == [foreign]
    page_of = tmp_path / "pages" / "one.ipynb"
    write_whole(page_of, "whole")
    (tmp_path / "pages/.one.ipynb.abc.new").write_text("a part")
    from diffnotes.press.files import sweep

    sweep(page_of)
    assert [path.name for path in page_of.parent.iterdir()] == ["one.ipynb"]


# --- two at once, and faults of the machine ---------------------------------------------------------------------------


def test_two_runs_do_a_chapter_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = project(tmp_path / "book", "one")
    calls: list[int] = []

    def execute(task: dict[str, Any], progress: Any) -> dict[str, Any]:
        calls.append(1)
        time.sleep(0.5)
        kernel = {"held": {}, "read": [], "written": [], "rules": None, "values": {}}
        return {"error": None, "notebook": page.text(executed(book)), "seconds": 1.0, "memory_mib": 1, "cells": [],
                "device": ("cpu", "x"), "threads": 1, "versions": {}, "kernel": kernel}  # fmt: skip

    monkeypatch.setattr(workers, "execute", execute)
    with running(book) as first:
        until(lambda: calls)
        status, said = go(book)
    assert first[0][0] == status == 0 and len(calls) == 1
    assert "another run is at work on it; waiting" in said and "nothing to run" in said
    assert not list(book.root.rglob("*.lock"))


def test_a_lock_is_one_at_a_time_and_goes_with_its_holder(tmp_path: Path) -> None:
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(20):
            with lock(tmp_path / "page"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.0005)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] and not list(tmp_path.iterdir())
    code = ("from pathlib import Path\nfrom diffnotes.press.files import lock\nimport time\n"
            f"with lock(Path({str(tmp_path / 'page')!r})):\n"
            "    print('in', flush=True)\n    time.sleep(60)")  # fmt: skip
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "in\n"
    waited: list[int] = []
    threading.Timer(0.3, holder.kill).start()
    with lock(tmp_path / "page", lambda: waited.append(1)):
        assert waited == [1]
    holder.wait()


def test_no_room_is_seen_before_a_run_and_a_result_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = project(tmp_path / "book", "one")
    (book.root / "_build").write_text("a file")
    with pytest.raises(PressError, match="is a file, and should be a folder"):
        go(book)
    (book.root / "_build").unlink()
    (book.root / "_build").symlink_to(tmp_path / "nowhere")
    with pytest.raises(PressError, match="link that leads nowhere"):
        go(book)
    (book.root / "_build").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1})())
        with pytest.raises(PressError, match=r"no room for executed pages in .*needed are 64"):
            go(book)
    with monkeypatch.context() as patch, pytest.raises(PressError, match=r"cannot be written.*Read-only file system"):
        def refuse(*_: Any, **__: Any) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        patch.setattr("tempfile.TemporaryFile", refuse)
        require_room(tmp_path, "pages")
    assert not (book.root / "_build").exists()

    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    kernel = {"held": {}, "read": [], "written": [], "rules": None, "values": {}}
    outcome = {"error": None, "notebook": page.text(executed(book)), "seconds": 1.0, "memory_mib": 1, "cells": [],
               "device": ("cpu", "x"), "threads": 1, "versions": {}, "kernel": kernel}  # fmt: skip
    monkeypatch.setattr(workers, "execute", lambda task, at: outcome)
    monkeypatch.setattr(chapter, "write_whole", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    status, said = go(book)
    assert status == 1 and "No space left on device; its text is kept as" in said
    kept = Path(said.split("kept as ")[1].split("\n")[0])
    assert kept.parent == tmp_path and "Title of one" in kept.read_text()


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("ipykernel", "the kernel could not be started: .*(No module named 'ipykernel'|broken here)"),
        ("papermill", "the run could not go on: ImportError: broken here"),
        ("nbclient", "the run could not go on: ImportError: broken here"),
    ],
)
def test_the_cause_of_a_broken_kernel_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, words: str
) -> None:
    book, broken = project(tmp_path / "book", "one"), tmp_path / "broken"
    (broken / module).mkdir(parents=True)
    (broken / module / "__init__.py").write_text("raise ImportError('broken here')")
    real = execution.environment
    monkeypatch.setattr(execution, "environment", lambda *a, **k: {**real(*a, **k), "PYTHONPATH": str(broken)})
    status, said = go(book)
    assert status == 1
    assert re.search(words, said), said


# --- on other machines ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Dask scheduler with one worker of one thread, in processes of their own."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as found:
        yield found


def test_workers_do_the_work_and_stop_with_their_client(cluster: Any, tmp_path: Path) -> None:
    book = project(tmp_path / "book", "one")
    save(source(work=f"import os, psutil\nabove = [p.pid for p in psutil.Process().parents()]\n"
                     f"open({spelled(tmp_path / 'above')}, 'w').write(' '.join(map(str, above)))\n"
                     f"{GLUE}glue(gap=size * 0.5)"), book.source("one"))  # fmt: skip
    status, said = go(book, workers=cluster.scheduler_address)
    assert status == 0 and "sent to tcp://" in said, said
    worker = next(iter(cluster.workers.values())).pid
    assert str(worker) in (tmp_path / "above").read_text().split()
    endless = f"import os\nopen({spelled(tmp_path / 'pid')}, 'w').write(str(os.getpid()))\nwhile True: pass"
    save(source(work=endless), book.source("one"))
    words = ["run", "--profile", "cpu", "--workers", cluster.scheduler_address]
    for number in (signal.SIGINT, signal.SIGKILL):
        (tmp_path / "pid").unlink(missing_ok=True)
        process = started(book, tmp_path / "temporary", *words)
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        kernel = int((tmp_path / "pid").read_text())
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)
        assert process.returncode == (130 if number == signal.SIGINT else -9) and "Traceback" not in stderr
        until(lambda kernel=kernel: not alive(kernel), 30)


def test_a_scheduler_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(workers, "PATIENCE", 1)
    book = project(tmp_path / "book", "one")
    for address in ("tcp://127.0.0.1:9", "nonsense", "tcp://127.0.0.1", "http://[::1"):
        with pytest.raises(PressError, match="no Dask scheduler answers there"):
            go(book, workers=address)


# --- pages that something has happened to -----------------------------------------------------------------------------


def record(notebook: Any) -> dict[str, Any]:
    return notebook.metadata["diffnotes"]["provenance"]


def cell(notebook: Any, name: str) -> Any:
    return next(cell for cell in notebook.cells if cell.id == name)


def put(where: Callable[[Any], dict[str, Any]], **values: Any) -> Callable[[Any], None]:
    return lambda notebook: where(notebook).update(values)


def prose(old: str, new: str) -> Callable[[Any], None]:
    def change(notebook: Any) -> None:
        found = next(cell for cell in notebook.cells if old in cell.source)
        found.source = found.source.replace(old, new)

    return change


FAULTS: dict[str, Callable[[Any], Any]] = {
    "prose": prose("The gap is", "The gap, 31 per cent, is"),
    "title": prose("# Title of one", "# Title of two"),
    "caption": lambda n: cell(n, "figure").metadata["mystnb"]["figure"].update(caption="Error grows by 31 %."),
    "alt": lambda n: cell(n, "figure").metadata["mystnb"]["image"].update(alt="A line that falls from one to zero."),
    "figure note": lambda n: cell(n, "figure").outputs[0].metadata["diffnotes"]["figure"].update(caption="Else."),
    "an image": lambda n: cell(n, "figure").outputs[0].data.update({"image/png": "AAAA"}),
    "a number": lambda n: cell(n, "work").outputs[0].data.update({"application/papermill.record/text/plain": "1.6"}),
    "device": put(record, device="a supercomputer"),
    "device type": put(record, device_type="cuda"),
    "seconds": put(record, seconds=2.0),
    "memory": put(record, memory_mib=1),
    "seeds": put(record, seeds=[0, 1, 2, 3, 4]),
    "date": put(record, date="2026-01-02T03:04:05+00:00"),
    "versions": put(record, versions={"python": "4"}),
    "commit": put(record, commit="abc"),
    "threads": put(record, threads=64),
    "cells": put(record, cells=[1.0]),
    "parameters": put(record, parameters={"size": 7}),
    "tags": lambda n: cell(n, "work").metadata.update(tags=["remove-cell"]),
    "a tag less": lambda n: cell(n, "settings").metadata.update(tags=["parameters"]),
    "cell metadata": lambda n: cell(n, "work").metadata.update(mystnb={"remove_code_outputs": True}),
    "a raw cell": lambda n: n.cells.insert(3, {**cell(n, "prose"), "cell_type": "raw", "id": "raw", "source": "<b>"}),
    "a Markdown cell": lambda n: n.cells.insert(3, {**cell(n, "prose"), "id": "more"}),
    "a cell less": lambda n: n.cells.remove(cell(n, "prose")),
    "cells swapped": lambda n: n.cells.insert(0, n.cells.pop(4)),
    "kind of cell": lambda n: cell(n, "prose").update(cell_type="raw"),
    "widgets": lambda n: n.metadata.update(widgets={"application/vnd.jupyter.widget-state+json": {"state": {}}}),
    "notebook metadata": lambda n: n.metadata.update(title="Else"),
    "kernel": lambda n: n.metadata["kernelspec"].update(display_name="Else"),
    "an injected cell": lambda n: n.cells.insert(
        2, {**cell(n, "work"), "id": "injected-parameters", "outputs": [], "source": "size = 9",
            "metadata": {"tags": ["hide-input", "injected-parameters"]}}),
    "counts": lambda n: cell(n, "work").update(execution_count=9),
    "profile": put(record, profile="gpu"),
    "chapter": put(record, chapter="two"),
    "another chapter's": lambda n: provenance.sealed(n) if record(n).update(chapter="two") is None else None,
    "parts": put(record, parts=[]),
    "no parts": lambda n: record(n).pop("parts"),
    "no profile": lambda n: record(n).pop("profile"),
    "no date": lambda n: record(n).pop("date"),
    "a naive date": put(record, date="2026-01-02T03:04:05"),
    "no date at all": put(record, date=7),
    "seconds as text": put(record, seconds="1"),
    "seeds as a number": put(record, seeds=5),
    "parts of other kinds": lambda n: record(n)["parts"].update(modules=["law"]),
    "a hash of others": put(record, hash="0" * 64),
    "no seal": lambda n: record(n).pop("seal"),
    "no record": lambda n: n.metadata.pop("diffnotes"),
    "a record that is none": put(lambda n: n.metadata, diffnotes=[]),
    "provenance that is none": put(lambda n: n.metadata, diffnotes={"provenance": "yes"}),
    "more notes": lambda n: n.metadata["diffnotes"].update(more=1),
}
HEALTHY: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda n: None,
    "keys in another order": lambda n: n.metadata.update(dict(reversed(list(n.metadata.items())))),
}
UNREADABLE = {"cut short": lambda text: text[: len(text) // 2], "empty": lambda text: "", "binary": lambda text: "\0\1",
              "a list": lambda text: "[]", "another table": lambda text: '{"cells": 3}',
              "a name that is a list": lambda text: re.sub(r'"name": "fig-\w+-a"', '"name": ["a"]', text),
              "an older form": lambda text: '{"nbformat": 2, "worksheets": []}'}  # fmt: skip


@pytest.fixture(scope="module")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return project(tmp_path_factory.mktemp("faults") / "book", "one", "two")


def opinion(book: Project) -> list[str]:
    """What the press says of the page that lies among those of the cpu profile, by every way in."""
    from diffnotes.press import gates

    chosen = {"one": book.page("cpu", "one")}
    wrong = []
    found = provenance.examine(book, "one", "cpu")
    if found.freshness.state != "fresh":
        wrong.append("state")
    notebook = page.read(book.page("cpu", "one"))
    if gates.check_page(notebook, page.read(book.source("one")), "one", book):
        wrong.append("gates")
    ways = {"build": lambda: site.check(book, chosen), "publish": lambda: publish(book, ["one"], "cpu")}
    for name, call in ways.items():
        try:
            call()
        except PressError:
            wrong.append(name)
    book.published("one").unlink(missing_ok=True)
    return wrong


@pytest.mark.parametrize("name", [*FAULTS, *HEALTHY])
def test_page_faults(page_of: Project, name: str) -> None:
    notebook = executed(page_of)
    (FAULTS | HEALTHY)[name](notebook)
    page_of.page("cpu", "one").parent.mkdir(parents=True, exist_ok=True)
    page_of.page("cpu", "one").write_text(json.dumps(notebook))
    found = opinion(page_of)
    if name in HEALTHY:
        assert found == []
    else:
        assert {"build", "publish"} <= set(found), found


def test_a_page_among_those_of_another_profile_is_refused(page_of: Project) -> None:
    for profile, place in (("smoke", "cpu"), ("cpu", "gpu"), ("gpu", "cpu")):
        save(executed(page_of, profile=profile), page_of.page(place, "one"))
        found = provenance.examine(page_of, "one", place)
        assert found.freshness.state == "damaged" and f"its profile is {profile}" in found.freshness.reasons[0]
        with pytest.raises(PressError, match="its profile is"):
            site.check(page_of, {"one": page_of.page(place, "one")})
        page_of.page(place, "one").unlink()


def test_a_damaged_page_or_report_stops_nothing(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    book = project(tmp_path / "book", "one", "two")
    for name in ("one", "two"):
        save(executed(book, name), book.published(name))
    monkeypatch.chdir(book.root)
    kernel = {"held": {}, "read": [], "written": [], "rules": None, "values": {}}
    known = {"error": None, "seconds": 1.0, "memory_mib": 1, "cells": [], "device": ("cpu", "x"), "threads": 1,
             "versions": {}, "kernel": kernel, "notebook": page.text(executed(book))}  # fmt: skip
    monkeypatch.setattr(workers, "execute", lambda task, at: known)
    for spoil in UNREADABLE.values():
        for place in (book.page("cpu", "one"), book.report("cpu", "one")):
            write_whole(place, spoil(page.text(executed(book))))
        assert command.main(["status"]) == 0
        said = capsys.readouterr().out
        assert "damaged: " in said and "two      published (cpu)" in said
        assert command.main(["claims"]) == 0 and "is damaged" in capsys.readouterr().err
        assert latest(book, "one") == book.published("one")
        assert go(book, "one")[0] == 0 and provenance.examine(book, "one", "cpu").freshness.state == "fresh"
        assert not book.report("cpu", "one").exists()


def test_a_duplicate_label_never_replaces_a_good_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = project(tmp_path / "book", "one", "two")
    for name in ("one", "two"):
        save(executed(book, name), book.page("cpu", name))
    good = book.page("cpu", "two").read_text()
    edit(book.source("two"), "The gap is", "(ex-one-a)=\\nThe gap is")
    status, said = go(book)
    assert status == 1 and "label 'ex-one-a' is used by one, too" in said and "two: FAILED; the last good page" in said
    assert book.page("cpu", "two").read_text() == good


# --- settings and files by hand ---------------------------------------------------------------------------------------


def test_settings_files_that_cannot_be_read_say_where(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    book = project(tmp_path / "book", "one")
    monkeypatch.chdir(book.root)
    profiles, toc = book.root / "notebooks/profiles.toml", book.root / "_toc.yml"
    good = {path: path.read_bytes() for path in (profiles, toc)}
    for path, text, words in (
        (profiles, b"[one.smoke]\nsize = = 1\n", "profiles.toml: Invalid value (at line 2"),
        (profiles, b"\xff\xfe", "profiles.toml is not UTF-8 text"),
        (profiles, b"one = 3\n", "profiles.toml: [one] must be a table"),
        (profiles, b"[one]\ncpu = 3\n", "profiles.toml: [one.cpu] must be a table"),
        (profiles, b"[one.cpu]\nsize = 2020-01-01\n", "profiles.toml: [one.cpu] sets size = datetime"),
        (profiles, b"[onee.cpu]\nsize = 1\n", "profiles.toml: [onee] is no chapter; allowed: one"),
        (profiles, b"[one.cpus]\nsize = 1\n", "profiles.toml: [one.cpus] is no profile; allowed: smoke, cpu, gpu"),
        (profiles, b"[one.cpu]\nseed = -1\n", "seed = -1; allowed"),
        (profiles, b"[one.cpu]\nseed = 'x'\n", "seed = 'x'; allowed"),
        (toc, b"root: a\nparts: [\n", "_toc.yml, line 3: "),
        (toc, b"", "_toc.yml: it does not hold a table"),
        (toc, b"- a\n- b\n", "_toc.yml: it does not hold a table"),
        (toc, b"parts: [{chapters: [{fil: book/chapters/one}]}]", "_toc.yml: {'fil': 'book/chapters/one'} in a list"),
        (toc, b"parts: [{chapters: 3}]", "_toc.yml: chapters: 3; allowed: a list"),
        (toc, b"parts: 3", "_toc.yml lists no chapter"),
        (toc, b"parts: [{chapters: [{file: book/chapter/one}]}]", "_toc.yml lists no chapter"),
        (toc, b"parts: &a [*a]", "_toc.yml lists no chapter"),
        (toc, b"a: 2020-13-45", "_toc.yml: "),
        (toc, b"\xff", "_toc.yml is not UTF-8"),
        (toc, b"parts: [{chapters: [{file: book/chapters/nine}]}]", "there is no notebooks/nine.ipynb"),
    ):
        path.write_bytes(text)
        assert command.main(["run", "--profile", "cpu", "--device", "cpu"]) != 0, text
        said = capsys.readouterr().err
        assert words in said and "Traceback" not in said, said
        path.write_bytes(good[path])
    toc.write_bytes(good[toc] + b"      - file: book/chapters/nine\n")
    assert command.main(["status"]) == 0 and "there is no notebooks/nine.ipynb" in capsys.readouterr().out


def test_parameters_may_be_computed_and_infinite(tmp_path: Path) -> None:
    book = project(tmp_path / "book", "v1.2")
    cells = 'profile = "cpu"\ndevice = "auto"\nseed = 2\nseeds = list(range(3))\nsize: int = 2 * 2 - 1\nclip = 1.0'
    work = f"%time 1 + 1\n!true\n{GLUE}assert clip == float('inf')\nglue(gap=size * 0.5)"
    made = source("other", settings=cells, work=work)
    made.cells[5].source += "\n\nSee below."
    made.cells.insert(5, nbformat.v4.new_code_cell("%%bash\ntrue", id="bash"))
    save(made, book.source("v1.2"))
    (book.root / "notebooks/profiles.toml").write_text('["v1.2".cpu]\nclip = inf\n')
    assert settings(book, "v1.2", "cpu") == {"clip": float("inf")}
    status, said = go(book)
    assert status == 0, said
    found = page.read(book.page("cpu", "v1.2"))
    assert record(found)["seeds"] == [0, 1, 2] and record(found)["parameters"] == {"clip": "inf", "device": "cpu"}
    json.loads(book.page("cpu", "v1.2").read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert go(book) == (0, "v1.2: fresh in profile cpu, nothing to run")


LINES = ["x = 1 << 20000", "x = list(range(10**9))", "x = 'a' * 10**10", "x = 10**10 * [0]", "seeds = 0",
         "seeds = 10**9", "x = 9**9**9", "x = zip([1], [2])", "seeds = 'abc'", "seeds = [1.5]", "seed = True",
         "seeds = f(3)", "import os", "seed = = 1"]  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_parameters_are_refused_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    book = project(tmp_path / "book", "one")
    save(source(settings=f'profile = "cpu"\ndevice = "auto"\nseed = 0\nsize = 3\n{line}'), book.source("one"))
    monkeypatch.setattr(workers, "execute", lambda *_: pytest.fail("it was run"))
    with pytest.raises(PressError, match=r"notebooks/one\.ipynb"):
        go(book)
    assert not (book.root / "_build").exists()


def test_code_that_is_no_python_names_its_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    book = project(tmp_path / "book", "one", "two")
    save(executed(book, "two"), book.page("cpu", "two"))
    save(executed(book), book.page("cpu", "one"))
    edit(book.source("one"), "size * 0.5", "size * = 0.5")
    monkeypatch.setattr(workers, "execute", lambda *_: pytest.fail("it was run"))
    with pytest.raises(PressError, match=r"one, cell 3: it cannot be read as Python: line 2: invalid syntax"):
        go(book)
    monkeypatch.chdir(book.root)
    assert command.main(["status"]) == 0
    said = capsys.readouterr().out
    assert "stale: code cell 2" in said and said.count("fresh") == 2  # the heading, and the other chapter
    assert command.main(["claims"]) == 0
    with pytest.raises(PressError, match="stale"):
        site.check(book, {"one": book.page("cpu", "one")})


# --- output -----------------------------------------------------------------------------------------------------------


def shell(book: Project, line: str, **env: str) -> subprocess.CompletedProcess:
    line = line.replace("diffnotes", f"{sys.executable} -m diffnotes.press")
    return subprocess.run(["bash", "-c", line], cwd=book.root, capture_output=True, env={**os.environ, **env})


def test_output_fits_where_it_goes(page_of: Project) -> None:
    plain = shell(page_of, "diffnotes claims", PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONUTF8="0")
    assert plain.returncode == 0 and plain.stdout.isascii() and b"Traceback" not in plain.stderr
    cut = shell(page_of, "diffnotes claims --json | head -1; echo ${PIPESTATUS[0]}")
    assert cut.stdout.split() == [b"[", b"141"] and cut.stderr == b""
    full = shell(page_of, "diffnotes status > /dev/full; echo $?")
    assert full.stdout == b"1\n" and full.stderr == b"diffnotes status: No space left on device\n"
    closed = shell(page_of, "diffnotes status >&- 2>&-; echo done")
    assert closed.stdout == b"done\n"


def test_signs_that_a_terminal_lacks() -> None:
    import codecs

    command._speak_plainly()
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="diffnotes.plain")
    stream.write("x ≤ 3 × 10⁻³, é, σ, 漢")
    stream.flush()
    assert stream.buffer.getvalue() == b"x <= 3 x 10-3, e, sigma, ?"
    assert codecs.lookup_error("diffnotes.plain")


def test_clean_and_odd_build_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    book = project(tmp_path / "book", "one")
    monkeypatch.chdir(book.root)
    far = tmp_path / "far"
    (far / "executed").mkdir(parents=True)
    (far / "executed/x").write_text("x")
    (book.root / "_build").symlink_to(far)
    with at_work(book.root), at_work(book.root):  # several runs and builds may be at work, but nobody else
        assert command.main(["clean"]) == 1 and "is at work" in capsys.readouterr().err
    assert command.main(["clean"]) == 0 and "removed _build/ (executed;" in capsys.readouterr().out
    assert (book.root / "_build").is_symlink() and far.is_dir() and not list(far.iterdir())
    save(executed(book), book.page("cpu", "one"))
    assert go(book) == (0, "one: fresh in profile cpu, nothing to run")
    (book.root / "_build").unlink()
    (book.root / "_build").symlink_to(tmp_path / "nowhere")
    assert command.main(["clean"]) == 1 and "link that leads nowhere" in capsys.readouterr().err
    (book.root / "_build").unlink()
    (book.root / "_build").write_text("")
    assert command.main(["clean"]) == 1 and "is a file" in capsys.readouterr().err
