"""Repetitions on other base seeds: what is run, what is kept, and how one that was stopped goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from presses import project, save, source

from diffnotes.press.chapter import Order
from diffnotes.press.errors import PressError
from diffnotes.press.layout import Project
from diffnotes.press.ledger.replication import runs
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
    [((), "one or more"), ((8000, 8000), "each once"), ((0,), "needs another seed: 0 is that of one")],
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
