"""Repetitions on other base seeds: what is run, what is kept, and how one that was stopped goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from presses import project, save, source

from diffnotes.press import command, ledger
from diffnotes.press.chapter import Order
from diffnotes.press.errors import PressError
from diffnotes.press.layout import Project
from diffnotes.press.ledger.replication import runs
from diffnotes.press.provenance import outdated
from diffnotes.press.replicate import replicate

CLAIM = """from diffnotes.press.page import glue
from IPython.display import display
glue(gap=size * 0.5)
part = {"name": "slope", "measure": "", "rule": "> 0", "role": "primary", "value": seed + 0.5, "low": float(seed),
        "high": seed + 1.0, "unit": "", "state": "holds", "exact": False, "narrow": False}
record = {"id": "C1", "chapter": "one", "profile": "cpu", "state": "holds", "verdict": "holds", "parts": [part]}
display({"text/markdown": "C1", "text/plain": "C1"}, metadata={"diffnotes": {"claim": record}}, raw=True)"""


@pytest.fixture
def book(tmp_path: Path) -> Project:
    made = project(tmp_path / "book", "one", "two")
    for name in ("one", "two"):
        save(source(name, work=CLAIM), made.source(name))
    return made


def repeat(book: Project, *names: str, seeds: tuple[int, ...] = (8000, 9000)) -> tuple[int, str]:
    said: list[str] = []
    status = replicate(book, seeds, names, Order(device="cpu"), book.root / "repeats", said.append)
    return status, "\n".join(said)


def test_every_seed_is_run_and_its_numbers_kept(book: Project) -> None:
    before = {path for path in book.root.rglob("*") if path.suffix in (".ipynb", ".toml")}
    status, said = repeat(book)
    assert status == 0 and "base seed 8000: 2 of 2 chapters to run" in said and "one: done on base seed 9000" in said
    found = runs(book.root / "repeats")
    assert [run["seed"] for run in found] == [8000, 9000] and {run["profile"] for run in found} == {"cpu"}
    for run in found:
        seed = run["seed"]
        assert run["chapters"].keys() == {"one", "two"}
        assert run["chapters"]["one"]["claims"] == {"C1": {"slope": [seed + 0.5, seed, seed + 1.0]}}
    assert {path for path in book.root.rglob("*") if path.suffix in (".ipynb", ".toml")} == before  # no pages


def test_a_repetition_goes_on_where_it_was(book: Project) -> None:
    status, said = repeat(book, "one", seeds=(8000,))
    assert status == 0 and "1 of 1" in said
    status, said = repeat(book, seeds=(8000,))
    assert status == 0 and "1 of 2 chapters to run" in said and "one:" not in said and "two: done" in said
    kept = (book.root / "repeats/8000.json").read_text()
    assert "0 of 2 chapters to run" in repeat(book, seeds=(8000,))[1]
    assert (book.root / "repeats/8000.json").read_text() == kept
    save(source("two", work=CLAIM.replace("0.5}", "0.25}") + "\nmore = 1"), book.source("two"))  # other code: run again
    assert "1 of 2 chapters to run" in repeat(book, seeds=(8000,))[1]


def test_a_chapter_that_fails_leaves_the_records_of_the_others(book: Project) -> None:
    save(source("two", work="raise RuntimeError('no luck')"), book.source("two"))
    status, said = repeat(book, seeds=(8000,))
    assert status == 1 and "two: FAILED on base seed 8000" in said and "no luck" in said
    assert json.loads((book.root / "repeats/8000.json").read_text())["chapters"].keys() == {"one"}


@pytest.mark.parametrize(
    "seeds, words",
    [
        ((), "one or more"),
        ((8000, 8000), "each once"),
        ((0,), r"needs other seeds, and one uses 0 on the base seeds 0 and 0"),
        ((999,), r"999 and 0 \(one\) are less than 1000 apart"),
        ((8000, 8999), r"8999 and 8000 \(given as well\) are less than 1000 apart"),
        ((9000, 8001), r"8001 and 9000 \(given as well\)"),
    ],
)
def test_refusals(book: Project, seeds: tuple[int, ...], words: str) -> None:
    with pytest.raises(PressError, match=words):
        repeat(book, seeds=seeds)
    assert not (book.root / "repeats").exists()


def test_smoke_and_another_profile_are_refused(book: Project) -> None:
    with pytest.raises(PressError, match="profile smoke judges no verdicts"):
        replicate(book, [8000], [], Order("smoke", "cpu"), book.root / "repeats")
    (book.root / "repeats").mkdir()
    (book.root / "repeats/8000.json").write_text('{"seed": 8000, "profile": "gpu", "chapters": {}}')
    with pytest.raises(PressError, match="is of profile gpu, not cpu"):
        repeat(book, seeds=(8000,))


def test_a_base_seed_near_an_earlier_repetition_is_refused(book: Project) -> None:
    """The networks of 8000 are on the seeds 8000, 8001, ...: a run on 8500 could have some of them."""
    assert repeat(book, "one", seeds=(8000,))[0] == 0
    with pytest.raises(PressError, match=r"8500 and 8000 \(an earlier repetition\)"):
        repeat(book, "one", seeds=(8500,))
    assert "0 of 1 chapters to run" in repeat(book, "one", seeds=(8000,))[1]  # itself again


def test_seeds_that_do_not_follow_the_base_seed_are_refused(book: Project) -> None:
    settings = 'profile = "cpu"\ndevice = "auto"\nseed = 0\nsize = 3\nseeds = [7, 9000]'
    save(source("two", work=CLAIM, settings=settings), book.source("two"))
    with pytest.raises(PressError, match="two uses 7 on the base seeds 0 and 8000: its seeds must follow"):
        repeat(book, seeds=(8000,))


def test_a_source_that_would_not_run_is_refused_before_any_run(book: Project) -> None:
    save(source("two", work="x = ("), book.source("two"))
    with pytest.raises(PressError, match="nothing was run:\n  two, cell 3: it cannot be read as Python"):
        repeat(book)
    assert not (book.root / "repeats").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"seed": 8000, "profile": "cpu", "chapters": {"one"'])
def test_a_damaged_record_is_said_before_any_run(book: Project, text: str) -> None:
    """Whichever base seed is wanted: with it no verdict could be shown."""
    (book.root / "repeats").mkdir()
    (book.root / "repeats/8000.json").write_text(text)
    for seed in (8000, 9000):
        with pytest.raises(PressError, match=r"8000\.json is no record"):
            repeat(book, seeds=(seed,))
    assert (book.root / "repeats/8000.json").read_text() == text


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_cannot_be_written_is_said_before_any_run(book: Project) -> None:
    (book.root / "repeats").mkdir(mode=0o500)
    with pytest.raises(PressError, match="repetitions cannot be written"):
        repeat(book)


def test_a_file_in_place_of_the_folder_is_said_before_any_run(book: Project) -> None:
    (book.root / "repeats").write_text("")
    with pytest.raises(PressError, match="is a file, and should be a folder for repetitions"):
        repeat(book)


def test_notes_that_no_page_can_have_fail_one_chapter_alone(book: Project) -> None:
    save(source("two", work=CLAIM.replace('"unit": "", ', "")), book.source("two"))
    status, said = repeat(book, seeds=(8000,))
    assert status == 1 and "one: done" in said and "two: FAILED" in said and "note of a claim is not complete" in said


def test_a_claim_of_the_chapter_that_is_not_recorded_is_a_failure(
    book: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = {"C1": [], "C2": []}
    monkeypatch.setattr("diffnotes.press.replicate.rules", lambda name: rules if name == "two" else {})
    status, said = repeat(book, seeds=(8000,))
    assert status == 1 and "one: done" in said and "claim C2 belongs to this chapter and is not recorded" in said


def test_who_comes_second_waits_and_says_so(book: Project) -> None:
    said: dict[int, list[str]] = {1: [], 2: []}

    def go(number: int) -> None:
        replicate(book, [8000], ["one"], Order("cpu", "cpu"), book.root / "repeats", said[number].append)

    both = [threading.Thread(target=go, args=(number,)) for number in said]
    for one in both:
        one.start()
    for one in both:
        one.join()
    told = sorted("\n".join(lines) for lines in said.values())
    assert sum("waiting for that" in text for text in told) == 1
    assert sum("0 of 1 chapters to run" in text for text in told) == 1 == sum("one: done" in text for text in told)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_one_that_was_ended_goes_on_and_leaves_nothing(book: Project, number: int) -> None:
    save(source("two", work="import time\ntime.sleep(60)\n" + CLAIM), book.source("two"))
    folder = book.root / "repeats"
    code = (
        "import sys; from pathlib import Path; from diffnotes.press.layout import Project\n"
        "from diffnotes.press.replicate import replicate; from diffnotes.press.chapter import Order\n"
        "root = Path(sys.argv[1]); replicate(Project(root), [8000], [], Order('cpu', 'cpu'), root / 'repeats')"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(book.root)], stderr=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL)  # fmt: skip
    try:
        for _ in range(600):
            if (folder / "8000.json").exists():
                break
            time.sleep(0.1)
        assert runs(folder)[0]["chapters"].keys() == {"one"}
        child.send_signal(number)
        child.wait(30)
    finally:
        child.kill()
        child.wait()
    (folder / ".8000.json.abc.new").write_text("cut off")  # what a kill during the writing would leave
    save(source("two", work=CLAIM), book.source("two"))
    status, said = repeat(book, seeds=(8000,))
    assert status == 0 and "1 of 2 chapters to run" in said and "two: done" in said
    assert [path.name for path in folder.iterdir()] == ["8000.json"]
    assert runs(folder)[0]["chapters"].keys() == {"one", "two"}


def test_repetitions_of_other_code_are_told(
    book: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert repeat(book)[0] == 0
    assert outdated(book, book.root / "repeats") == {}
    save(source("two", work=CLAIM + "\nmore = 1"), book.source("two"))
    assert outdated(book, book.root / "repeats") == {"two": [8000, 9000]}
    monkeypatch.chdir(book.root)
    monkeypatch.setattr("diffnotes.press.provenance.outdated", lambda project: {"two": [8000, 9000]})
    assert command.main(["status"]) == 0
    told = "repetitions of two are stale: diffnotes replicate --seeds 8000,9000 two"
    assert told in capsys.readouterr().err


def test_another_rule_asks_for_the_repetition_again(book: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert repeat(book, "one", seeds=(8000,))[0] == 0
    monkeypatch.setattr(ledger, "rules", lambda name: {"C1": [{"name": "slope", "rule": "> 1"}]})
    assert outdated(book, book.root / "repeats") == {"one": [8000]}
