"""Dry runs: what is said of a chapter's costs, what stops, what is refused, and that nothing is left."""

from __future__ import annotations

from pathlib import Path

import pytest
from presses import project, save, source

from diffnotes.press import command, dry
from diffnotes.press.chapter import Order
from diffnotes.press.errors import PressError
from diffnotes.press.layout import Project

WORK = """from diffnotes import Dense, Fleet, Images, Run, Setting, kept, two_modes
from diffnotes.core.data import image_split
from diffnotes.press.ledger import Ledger
images = image_split("mnist", 1)[0].x
fleet = Fleet({"eps": Setting(), "v": Setting("v")}, two_modes(), Dense(1, 8, 1), Run(64 * size, 16), range(3))
nets = kept(fleet, name="two targets")
Ledger("targets", profile).record("no such claim", part=images)
assert images.shape == (50_000, 784), images.shape
loss = nets["no such arm"]
many = Fleet({"x0": Setting("x0")}, Images("mnist", 1), Dense(784, 8, 1), Run(640, 128), range(2))
more = kept(many, name="images")"""


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = project(tmp_path / "book", "one", "two")
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("DIFFNOTES_DATA", str(tmp_path / "empty"))
    monkeypatch.chdir(made.root)
    return made


def counted(book: Project, *names: str, **options) -> tuple[int, str]:
    said: list[str] = []
    status = dry.dry_run(book, names, Order(**{"profile": "cpu"} | options), said.append)
    return status, "\n".join(said)


def test_experiments_are_told_and_nothing_is_left(book: Project) -> None:
    save(source("one", work=WORK), book.source("one"))
    before = {path: path.read_bytes() for path in book.root.rglob("*") if path.is_file()}
    status, said = counted(book, "one", profile="smoke")
    lines = {line.split("  ")[1]: line.split() for line in said.splitlines() if line.startswith("  ")}
    assert lines["two targets"][2:5] == ["6", "64", "16"]  # networks, steps of the profile smoke, batch
    assert lines["images"][1:4] == ["2", "640", "128"]
    launches = int(lines["images"][4].replace(",", ""))
    assert 640 * 20 < launches < 640 * 200
    flops = 2 * 128 * 640 * (3 * (8 * 784 + 784 * 8) - 8 * 784) * 2
    assert float(lines["images"][5]) * 1e12 == pytest.approx(flops, rel=0.02)
    assert "within 8 min 00 s on the H100: yes" in said and "assumed:" in said and "4.8 TB/s" in said
    assert status == 1 and said.count("not counted") == 1, said  # what is asked of an arm that is not there
    assert "not counted: cell 3, loss = nets['no such arm']: KeyError" in said
    assert {path: path.read_bytes() for path in book.root.rglob("*") if path.is_file()} == before


def test_a_chapter_without_networks_has_nothing_to_count(book: Project) -> None:
    status, said = counted(book)
    assert status == 0 and said.splitlines() == [
        f"{name}, profile cpu: nothing to count, no cell trains or samples" for name in ("one", "two")]  # fmt: skip


def test_a_chapter_that_ends_the_process_is_said_to_fail(book: Project) -> None:
    save(source("one", work="import os\nos._exit(3)"), book.source("one"))
    status, said = counted(book)
    assert status == 1 and "one: FAILED: it was ended" in said and "two, profile cpu: nothing" in said


def test_beyond_the_limit_is_said() -> None:
    seconds = {"H100": 481.0, "2 CPU cores": 4000.0}
    sizes = {"launches": 2e6, "flops": 3e15, "bytes": 5e13}
    one = {"name": "a" * 50, "within": 0, "peak": 2**31, "seconds": seconds, **sizes, "trainings": [
        {"networks": 2, "steps": 1500, "batch": 64}, {"networks": 3, "steps": 300, "batch": 64}]}  # fmt: skip
    inner = one | {"name": "b", "within": 1}
    lines = dry.table({"experiments": [one, inner], "parts": {"host": {"seconds": seconds, **sizes}}, "peak": 2**31,
                       "seconds": seconds, **sizes})  # fmt: skip
    assert lines[1].split() == ["a" * 37 + "...", "5", "300", "to", "1,500", "64", "2,000,000", "3e+03", "50", "2.00",
                                "8", "min", "01", "s", "1", "h", "07", "min"]  # fmt: skip
    assert lines[2].startswith("  b ")  # a part of the one before
    assert lines[3].endswith("1 h 07 min   1 h 07 min")  # the host is the host whatever the device
    assert len({len(line) for line in lines}) == 1
    assert dry.verdict({"seconds": seconds}) == "within 8 min 00 s on the H100: NO, 8 min 01 s"


@pytest.mark.parametrize("options, told", [
    (["--force"], "--force"), (["--train"], "--train"), (["--workers", "tcp://x:1"], "--workers"),
    (["--cell-timeout", "5"], "--cell-timeout"), (["--force", "--train"], "--force, --train"),
])
def test_what_has_no_meaning_in_a_dry_run_is_refused(book: Project, options, told, capsys) -> None:
    assert command.main(["run", "--dry-run", *options]) == 2
    assert f"--dry-run with {told}: it trains nothing" in capsys.readouterr().err


def test_bad_input_is_refused_as_in_a_run(book: Project) -> None:
    with pytest.raises(PressError, match="unknown chapter 'three'; allowed: one, two"):
        counted(book, "three")
    with pytest.raises(PressError, match="--device cuda: costs are counted on the processor; allowed: auto, cpu"):
        counted(book, device="cuda")
    save(source("one", work="size ="), book.source("one"))
    with pytest.raises(PressError, match="nothing was counted"):
        counted(book)
