"""The command: chapters run in processes of their own, pages replaced only by better ones, an honest exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from presses import executed, go, project, save, source

from diffnotes.press import command, devices, page, provenance, workers
from diffnotes.press.errors import PressError
from diffnotes.press.layout import Project
from diffnotes.press.ledger import replication
from diffnotes.press.overview import runs_markdown
from diffnotes.press.progress import Progress
from diffnotes.press.publish import publish
from diffnotes.press.site import choose


def files(book: Project) -> set[str]:
    return {str(path.relative_to(book.root)) for path in book.root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, int, str]]:
    """A book with two chapters run side by side once, for all tests: (book, exit status, what was said)."""
    book = project(tmp_path_factory.mktemp("run") / "book", "one", "two")
    yield book, *go(book, profile="smoke")


@pytest.fixture
def book(tmp_path: Path) -> Project:
    """A book whose one chapter has a fresh page, made by hand."""
    book = project(tmp_path / "book", "one")
    save(executed(book), book.page("cpu", "one"))
    return book


def edit(book: Project, old: str, new: str) -> None:
    path = book.source("one")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_first_run(done: tuple[Project, int, str]) -> None:
    book, status, said = done
    assert status == 0, said
    assert files(book) - files(project(book.root.parent / "like", "one", "two")) == {
        "_build/executed/smoke/one.ipynb", "_build/executed/smoke/two.ipynb",
    }  # fmt: skip
    for name in ("one", "two"):
        assert f"{name}: running, profile smoke" in said and f"{name}: done in" in said
        notebook = page.read(book.page("smoke", name))
        record = notebook.metadata["diffnotes"]["provenance"]
        assert record["profile"] == "smoke" and record["device"] == devices.cpu_name() and record["chapter"] == name
        assert record["seeds"] == [0]
        assert record["parameters"] == {"device": "cpu", "profile": "smoke", "size": 1}
        assert 0 < record["seconds"] < 60 and 20 < record["memory_mib"] < 4000 and len(record["cells"]) == 7
        assert {"python", "torch", "numpy", "diffnotes"} <= record["versions"].keys() and len(record["hash"]) == 64
        injected = next(cell for cell in notebook.cells if cell.id == "injected-parameters")
        assert injected.metadata["tags"] == ["hide-input", "injected-parameters"]
        work = next(cell for cell in notebook.cells if cell.id == "work")
        assert work.outputs[0].data == {"application/papermill.record/text/plain": "0.5"}


def test_second_run_runs_nothing(done: tuple[Project, int, str]) -> None:
    book, _, _ = done
    before = {path: path.read_bytes() for path in book.root.rglob("*.ipynb")}
    begin = time.monotonic()
    status, said = go(book, profile="smoke")
    assert status == 0 and said.count("fresh in profile smoke, nothing to run") == 2
    assert {path: path.read_bytes() for path in book.root.rglob("*.ipynb")} == before
    assert time.monotonic() - begin < 2


def test_prose_is_updated_without_a_run(book: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "execute", None)
    edit(book, "It grows.", "It grows, and how.")
    status, said = go(book)
    assert status == 0 and "fresh in profile cpu, prose updated" in said
    assert "It grows, and how." in book.page("cpu", "one").read_text()
    assert go(book) == (0, "one: fresh in profile cpu, nothing to run")


def test_a_result_that_only_failed_a_gate_is_kept(book: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad prose keeps the last good page; once the prose is right, the results are used without another run."""
    monkeypatch.setattr(workers, "execute", None)
    good = book.page("cpu", "one").read_text()
    edit(book, "It grows.", "It grows by 31.")
    status, said = go(book)
    assert status == 1 and "unbound numeral in prose: '31'" in said and "the last good page stays" in said
    assert book.page("cpu", "one").read_text() == good and book.report("cpu", "one").is_file()
    edit(book, "It grows by 31.", "It shrinks.")
    book.page("cpu", "one").unlink()
    status, said = go(book)
    assert status == 0 and "It shrinks." in book.page("cpu", "one").read_text()
    assert not list(book.report("cpu", "one").parent.iterdir())


def test_a_failed_run_keeps_the_last_good_page(book: Project) -> None:
    good = book.page("cpu", "one").read_text()
    edit(book, "glue(gap=size * 0.5)", "1 / 0")
    status, said = go(book)
    assert status == 1 and "one: FAILED; the last good page stays" in said
    assert "code cell [3] raised ZeroDivisionError: division by zero" in said and "(code cell 2)" in said
    assert book.page("cpu", "one").read_text() == good
    assert "ZeroDivisionError" in book.report("cpu", "one").with_suffix(".txt").read_text()
    assert "\x1b[" not in book.report("cpu", "one").with_suffix(".txt").read_text()
    assert {path.name for path in book.page("cpu", "one").parent.iterdir()} == {"one.ipynb", "reports"}
    assert not [path for path in book.root.rglob(".*") if path.is_file()]


def test_a_dying_kernel_and_a_noisy_page(tmp_path: Path) -> None:
    """Side by side: one kernel is killed, the other chapter warns; both are told, nothing is published."""
    book = project(tmp_path / "book", "one", "two")
    save(source("one", work="import os\nos.kill(os.getpid(), 9)"), book.source("one"))
    save(source("two", work="import sys\nprint('careful', file=sys.stderr)"), book.source("two"))
    status, said = go(book)
    assert status == 1 and "the kernel died in code cell [3]" in said and "output on stderr" in said
    assert not book.page("cpu", "one").exists() and not book.page("cpu", "two").exists()


def test_interruption_ends_everything_and_keeps_the_last_good_page(book: Project) -> None:
    good = book.page("cpu", "one").read_text()
    before = files(book)
    mark = book.root.parent / "mark"
    wait = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    edit(book, "glue(gap=size * 0.5)", wait)
    shell = [sys.executable, "-m", "diffnotes.press.command", "run", "--profile", "cpu", "--device", "cpu"]
    process = subprocess.Popen(
        shell, cwd=book.root, start_new_session=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (mark.exists() and mark.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    kernel = int(mark.read_text())
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130 and "interrupted; the last good pages are untouched" in stderr
    assert "Traceback" not in stderr
    assert not psutil.pid_exists(kernel) or psutil.Process(kernel).status() == psutil.STATUS_ZOMBIE
    assert files(book) == before and book.page("cpu", "one").read_text() == good


def test_cuda_is_refused_before_anything_is_written(book: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cuda_name", lambda: None)
    monkeypatch.setattr(workers, "execute", None)
    before = files(book)
    with pytest.raises(PressError, match="PyTorch finds no CUDA GPU here; nothing was run") as raised:
        go(book, device="cuda", force=True)
    assert raised.value.status == 2 and files(book) == before


def test_a_gpu_is_preferred_and_serves_one_chapter_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = project(tmp_path / "book", "one", "two")
    monkeypatch.setattr(devices, "cuda_name", lambda: "Some GPU")
    monkeypatch.setattr(devices, "may_have_cuda", lambda: True)
    running, most = [], []

    def execute(task: dict[str, Any], progress: Any) -> dict[str, Any]:
        assert task["device"] == ("cuda", "Some GPU") and task["threads"] == devices.cores()
        running.append(1)
        most.append(len(running))
        time.sleep(0.05)
        running.pop()
        text = page.text(executed(book, "two" if "ex-two" in task["notebook"] else "one"))
        known = {"device": task["device"], "threads": task["threads"], "versions": {}}
        known["kernel"] = {"held": {}, "read": [], "written": [], "rules": None, "values": {}}
        return {"error": None, "notebook": text, "seconds": 1.0, "memory_mib": 1, "cells": [], **known}

    monkeypatch.setattr(workers, "execute", execute)
    status, said = go(book, profile=None, device="auto")
    assert status == 0, said
    assert most == [1, 1] and "profile gpu on Some GPU" in said
    record = page.read(book.page("gpu", "one")).metadata["diffnotes"]["provenance"]
    assert (record["device"], record["device_type"], record["profile"]) == ("Some GPU", "cuda", "gpu")


def test_wrong_use(book: Project) -> None:
    for options, words in (
        ({"profile": "big"}, "unknown profile 'big'; allowed: smoke, cpu, gpu"),
        ({"device": "tpu"}, "unknown device 'tpu'; allowed: auto, cpu, cuda"),
    ):
        with pytest.raises(PressError, match=words):
            go(book, **options)
    with pytest.raises(PressError, match="unknown chapter 'three'; allowed: one"):
        go(book, "three")


def test_workers_need_dask(book: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(PressError, match=r"pip install 'diffnotes\[cluster\]'"):
        go(book, workers="tcp://127.0.0.1:1")


def test_time_left() -> None:
    progress = Progress(lambda text: None)
    progress.begun["one"] = time.monotonic() - 20
    progress.state["one"] = (3, 4)
    assert progress.line("one") == "one: cell 3 of 4, 20 s, about 20 s left"
    progress.earlier["one"] = [5.0, 5.0, 80.0, 10.0]
    assert progress.line("one") == "one: cell 3 of 4, 20 s, about 3 min 00 s left"
    progress.state["one"] = (1, 4)
    progress.earlier["one"] = []
    assert progress.line("one") == "one: cell 1 of 4, 20 s"


def test_publish(book: Project) -> None:
    assert publish(book, ["one"], "cpu") == [book.published("one")]
    assert book.published("one").read_bytes() == book.page("cpu", "one").read_bytes()
    with pytest.raises(PressError, match="smoke"):
        publish(book, ["one"], "smoke")
    with pytest.raises(PressError, match="was not run in profile gpu"):
        publish(book, ["one"], "gpu")
    good = book.published("one").read_bytes()
    edit(book, "0.5", "0.6")
    with pytest.raises(PressError, match="stale"):
        publish(book, ["one"], "cpu")
    edit(book, "0.6", "0.5")
    edit(book, "It grows.", "It grows by 31.")
    with pytest.raises(PressError, match="unbound numeral"):
        publish(book, ["one"], "cpu")
    assert book.published("one").read_bytes() == good


def test_a_profile_of_one_chapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """It is refused, before anything is written, for a chapter without a table for it; its pages are like any."""
    book = project(tmp_path / "book", "one", "two")
    with pytest.raises(PressError, match=r"no profile 'cifar10' for one, two; allowed there: smoke, .* no chapter"):
        go(book, profile="cifar10")
    table = book.tables
    table.write_text(table.read_text() + "[one.cifar10]\nsize = 2\n")
    refused = "no profile 'cifar10' for two; allowed there: smoke, cpu, gpu; 'cifar10' has a table .* for: one"
    for names in ([], ["two"], ["one", "two"]):
        with pytest.raises(PressError, match=refused):
            go(book, *names, profile="cifar10")
        assert not (book.root / "_build").exists()
    assert shell(book, monkeypatch, "run", "two", "--profile", "cifar10") == 2
    assert "no profile 'cifar10' for two" in capsys.readouterr().err
    with pytest.raises(PressError, match=refused):
        publish(book, ["two"], "cifar10")
    save(executed(book, profile="cifar10"), book.page("cifar10", "one"))
    assert "nothing to run" in go(book, "one", profile="cifar10")[1]
    assert publish(book, ["one"], "cifar10") == [book.published("one")]
    found = provenance.examine(book, "one", "published")
    assert found.freshness.state == "fresh" and found.record["parameters"] == {"profile": "cifar10", "size": 2}
    assert "| `cifar10` |" in runs_markdown([book.published("one")])
    save(executed(book, "two"), book.published("two"))
    assert choose(book, "committed") == {name: book.published(name) for name in ("one", "two")}
    assert shell(book, monkeypatch, "status") == 0
    assert "published (cifar10)" in capsys.readouterr().out


def shell(book: Project, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.chdir(book.root)
    return command.main(list(words))


def test_command(book: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert shell(book, monkeypatch, "status") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["chapter", "page", "device", "seconds", "age", "networks", "freshness"]
    assert out[1].startswith("one      cpu   a processor  1") and out[1].endswith("fresh")
    assert shell(book, monkeypatch, "publish", "one") == 0
    assert shell(book, monkeypatch, "publish", "nobody") == 2
    assert "unknown chapter 'nobody'; allowed: one" in capsys.readouterr().err
    edit(book, "0.5", "0.6")
    shell(book, monkeypatch, "status")
    assert "stale: code cell 2" in capsys.readouterr().out
    assert shell(book, monkeypatch, "claims") == 0
    said = capsys.readouterr()
    assert "T1" in said.out and "the page of one is stale" in said.err
    assert shell(book, monkeypatch, "claims", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 81
    assert shell(book, monkeypatch, "clean") == 0
    assert "removed _build/ (executed;" in capsys.readouterr().out
    assert not (book.root / "_build").exists() and book.published("one").exists() and book.source("one").exists()
    assert shell(book, monkeypatch, "clean") == 0
    shell(book, monkeypatch, "status")
    assert "published (cpu)" in capsys.readouterr().out


def test_a_damaged_repetition_stops_a_run_before_it_begins_and_no_status(
    book: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every page shows how often its verdicts came again, so a run would be lost in the end."""
    (tmp_path / "repeats").mkdir()
    (tmp_path / "repeats/8000.json").write_text("{")
    for function in (replication.runs, replication.repeats, replication.confirmed, provenance.outdated):
        folder = tmp_path / "repeats"
        monkeypatch.setattr(function, "__defaults__", tuple(folder for _ in function.__defaults__))
    monkeypatch.setattr("diffnotes.press.run._bring_up_to_date", lambda *_: pytest.fail("it was run"))
    assert shell(book, monkeypatch, "run", "--force") == 1
    assert "8000.json is no record of a repetition" in capsys.readouterr().err
    assert shell(book, monkeypatch, "status") == 0
    said = capsys.readouterr()
    assert "8000.json is no record of a repetition" in said.err and "fresh" in said.out


def test_a_run_builds_when_asked_to_and_when_all_is_up_to_date(book: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[tuple[str, Path]] = []
    monkeypatch.setattr("diffnotes.press.site.build", lambda pages, root: built.append((pages, root)))
    for status, wanted in ((1, []), (0, [("latest", book.root)])):
        monkeypatch.setattr("diffnotes.press.run.run", lambda *_, status=status, **__: status)
        assert shell(book, monkeypatch, "run", "--build") == status and built == wanted
    assert shell(book, monkeypatch, "run") == 0 and len(built) == 1


def test_build_and_interruption_speak_through_the_exit_status(
    book: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from diffnotes.press import site

    called: list[tuple[str, Path, bool]] = []
    monkeypatch.setattr(site, "build", lambda pages, root, force: called.append((pages, root, force)))
    assert shell(book, monkeypatch, "build", "--pages", "committed", "--force") == 0
    assert called == [("committed", book.root, True)]

    def refuse(*_: Any, **__: Any) -> None:
        raise PressError("no page")

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(site, "build", refuse)
    assert shell(book, monkeypatch, "build") == 1 and "diffnotes build: no page" in capsys.readouterr().err
    monkeypatch.setattr(site, "build", interrupt)
    assert shell(book, monkeypatch, "build") == 130


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        command.main(["--help"])
    text = capsys.readouterr().out
    assert raised.value.code == 0 and all(f"    {name} " in text for name in ("run", "publish", "build", "status"))
