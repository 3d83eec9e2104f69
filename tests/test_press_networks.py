"""Kept networks: trained once, published with their page, verified; what is damaged or gone harms nobody."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy
import pytest
from presses import executed, go, project, save, source, stamped

from diffnotes.press import command, directives, networks, page, provenance, publish, site
from diffnotes.press import origins as origins_module
from diffnotes.press.chapter import Order
from diffnotes.press.errors import PressError
from diffnotes.press.layout import Project
from diffnotes.press.modules import modules_used, training
from diffnotes.press.networks import Kept, largest_difference
from diffnotes.press.origins import Origin, origins, origins_markdown, seconds
from diffnotes.press.publish import publish as publish_page
from diffnotes.press.verify import verify

ROOT = Path(__file__).parents[1]
# A store after the interface of the package's: environment in, files and a list out.
STORE = '''
import hashlib, json, os
from pathlib import Path
from safetensors.numpy import load_file, save_file
from .train import fit

TRAINING = 1
_used = {}

def checksum(tensors):
    found = hashlib.sha256()
    for name in sorted(tensors):
        one = tensors[name]
        found.update(f"{name} torch.{one.dtype} {tuple(one.shape)};".encode() + one.tobytes())
    return found.hexdigest()

def kept(experiment):
    key = hashlib.sha256(f"{TRAINING} {experiment}".encode()).hexdigest()[:24]
    own, published = (Path(os.environ[f"DIFFNOTES_{name}"]) for name in ("NETWORKS", "PUBLISHED"))
    for source, folder in (("own", own), ("published", published)):
        path = folder / f"{key}.safetensors"
        if os.environ["DIFFNOTES_TRAIN"] == "0" and path.is_file():
            try:
                weights = load_file(path)
            except Exception:
                continue
            break
    else:
        source, weights = "trained", fit(experiment)
    head = {"training": TRAINING, "experiment": experiment, "seconds": 2.5, "device": "a processor",
            "date": "2025-01-02T03:04:05+00:00", "checksum": checksum(weights), "versions": {}}
    if source == "trained":
        try:
            own.mkdir(parents=True, exist_ok=True)
            with open(own / f"{key}.lock", "w"):
                save_file(weights, own / f".{key}.tmp", metadata={"diffnotes": json.dumps(head)})
                os.replace(own / f".{key}.tmp", own / f"{key}.safetensors")
            os.unlink(own / f"{key}.lock")
        except OSError:
            pass
    told = {name: head[name] for name in ("seconds", "device", "date", "checksum")}
    _used[key] = {"key": key, "name": experiment, "source": source, "bytes": 8, **told}
    return float(weights["net/w"][0])

def used():
    return list(_used.values())
'''
TRAIN = '''
import numpy

def fit(experiment):
    return {"net/w": numpy.array([len(experiment), 0.5], "float32"), "log/loss": numpy.ones(3)}
'''
WORK = "from diffnotes.press.page import glue\nfrom little.model.store import kept\nglue(gap=kept('a toy') + size)"


def book_of(root: Path, *names: str) -> Project:
    """A book whose chapters ask a little package for networks."""
    package = root / "little"
    (package / "model").mkdir(parents=True)
    for name, code in {"__init__": "", "model/__init__": "", "model/store": STORE, "model/train": TRAIN,
                       "model/loss": "x = 1\n"}.items():  # fmt: skip
        (package / f"{name}.py").write_text(code)
    book = project(root / "book", *names, package=package)
    for name in names:
        save(source(name, work=WORK), book.source(name))
    return book


@pytest.fixture
def book(tmp_path: Path) -> Project:
    return book_of(tmp_path, "one")


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Such a book, run once."""
    book = book_of(tmp_path_factory.mktemp("networks"), "one")
    status, said = go(book)
    assert status == 0, said
    return book


@pytest.fixture
def done(once: Project, tmp_path: Path) -> Project:
    """A copy of that book."""
    shutil.copytree(once.root.parent, tmp_path / "copy")
    return Project(tmp_path / "copy" / "book", tmp_path / "copy" / "little")


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def record(book: Project, path: Path | None = None) -> list[dict[str, Any]]:
    return provenance.record(page.read(path or book.page("cpu", "one")))["networks"]


def gap(book: Project) -> str:
    work = next(cell for cell in page.read(book.page("cpu", "one")).cells if cell.id == "work")
    return work.outputs[0].data["application/papermill.record/text/plain"]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def shell(book: Project, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.chdir(book.root)
    monkeypatch.setattr(Project, "find", classmethod(lambda cls, start=".": book))
    return command.main(list(words))


def weights(path: Path, *, of: Path, plus: float) -> None:
    """Write to ``path`` the networks of another file, with other numbers that its checksum fits."""
    from safetensors.numpy import load_file, save_file

    numbers = {name: one + numpy.float32(plus) for name, one in load_file(of).items()}
    head = Kept(of).header | {"checksum": networks.checksum(numbers)}
    save_file(numbers, path, metadata={"diffnotes": json.dumps(head)})


# --- a run ------------------------------------------------------------------------------------------------------------


def test_networks_are_trained_once_and_the_page_says_so(done: Project) -> None:
    (trained,) = record(done)
    assert trained["source"] == "trained" and trained["name"] == "a toy" and gap(done) == "8.0"
    assert files(done.networks) == [f"{trained['key']}.safetensors"]  # no lock, no temporary file
    edit(done.package / "model/train.py", "len(experiment)", "100")  # nobody will ask it
    status, said = go(done, force=True)
    assert status == 0 and "note: changed since" not in said, said
    assert record(done) == [trained | {"source": "own"}] and gap(done) == "8.0"


def test_train_trains_anew_and_implies_force(done: Project) -> None:
    edit(done.package / "model/train.py", "len(experiment)", "100")
    status, said = go(done, train=True)
    assert status == 0 and "running" in said and gap(done) == "103.0"
    assert record(done)[0]["source"] == "trained"


def test_published_networks_serve_where_there_are_no_own_ones(done: Project) -> None:
    publish_page(done, ["one"], "cpu")
    shutil.rmtree(done.networks)
    edit(done.package / "model/train.py", "len(experiment)", "100")
    assert go(done, force=True)[0] == 0 and gap(done) == "8.0" and record(done)[0]["source"] == "published"
    assert not done.networks.exists()


def test_a_folder_that_cannot_be_written_stops_no_run(book: Project) -> None:
    book.networks.parent.mkdir()
    book.networks.write_text("a file where a folder should be")
    status, said = go(book)
    assert status == 0 and record(book)[0]["source"] == "trained", said
    with pytest.raises(PressError, match=r"a toy .* is not in _build/networks any more: first diffnotes run one"):
        publish_page(book, ["one"], "cpu")
    assert not book.published("one").exists() and not book.published_networks.exists()


def test_cells_may_touch_kept_networks_and_nothing_beside_them(tmp_path: Path) -> None:
    book = book_of(tmp_path, "one", "two")
    beside = WORK + "\nimport os, pathlib\nplace = pathlib.Path(os.environ['DIFFNOTES_NETWORKS'])\n"
    save(source("two", work=beside + "(place.parent / ('b' + 'eside')).write_text('x')"), book.source("two"))
    status, said = go(book)
    assert status == 1 and "two: FAILED" in said and "a cell writes _build/beside" in said and "one: done" in said


def test_a_worker_without_the_book_sends_its_networks_back(done: Project, tmp_path: Path) -> None:
    from diffnotes.press.chapter import Chapter
    from diffnotes.press.execution import execute

    shutil.copytree(done.package, tmp_path / "diffnotes")
    chapter = Chapter(done, "one", Order("cpu", "cpu"))
    task = chapter.task(1, ("cpu", "x")) | {"folder": str(tmp_path / "nowhere")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Project, "package", done.package)
        outcome = execute(task)
    assert outcome["error"] is None, outcome["error"]
    (name,) = files(done.networks)
    assert outcome["networks"] == {name: (done.networks / name).read_bytes()}
    networks.keep(outcome["networks"] | {"../x.safetensors": b"", "short.safetensors": b""}, tmp_path / "kept")
    assert files(tmp_path / "kept") == [name] and not (tmp_path / "x.safetensors").exists()


# --- freshness --------------------------------------------------------------------------------------------------------


def test_the_number_of_the_training_counts_and_not_its_code(done: Project) -> None:
    def state() -> str:
        found = provenance.examine(done, "one", "cpu").freshness
        return found.state + "".join(f": {reason}" for reason in found.reasons)

    model = done.package / "model"
    assert state() == "fresh" and training(done.package) == ("1", {"model.train", "model.loss"})
    for name in ("train", "loss"):
        text = (model / f"{name}.py").read_text()
        (model / f"{name}.py").write_text(text + "\nimport little.model.loss\nmore = 2\n")
        assert state() == "fresh"
        (model / f"{name}.py").write_text(text)
    edit(model / "store.py", "TRAINING = 1", "TRAINING = 2")
    assert state() == "stale: the package: model.store: the training of the networks (1 then, 2 now)"
    edit(model / "store.py", "TRAINING = 2", "TRAINING = 1")
    assert state() == "fresh"
    edit(model / "store.py", "2.5", "2.6")
    assert state() == "stale: the package: model.store"


def test_the_run_must_have_had_the_training_code_that_is_here(done: Project, tmp_path: Path) -> None:
    """It counts for no hash, but the code that has run is still held to that of the package."""
    from diffnotes.press.chapter import Chapter

    chapter = Chapter(done, "one", Order("cpu", "cpu"))
    chapter.begin()
    held = {f"little.{name}": [(done.package / f"{name.replace('.', '/')}.py").read_text()]
            for name in ("model.store", "model.train")}  # fmt: skip
    kernel = {"held": held, "rules": None, "read": [], "written": [], "values": {}}
    assert chapter.suspicions(kernel) == []
    held["little.model.train"] = [TRAIN.replace("0.5", "0.6")]
    assert "the code of little.model.train that has run is not that" in chapter.suspicions(kernel)[0]
    assert modules_used(["from little.model import train"], done.package).keys() == {"__init__", "model"}


@pytest.mark.parametrize(
    "change",
    [{"key": "../x"}, {"source": "bought"}, {"seconds": -1}, {"date": "today"}, {"name": None}, {"bytes": "8"},
     {"device": 1}],
)
def test_a_record_of_networks_is_whole_and_sealed(done: Project, change: dict[str, Any]) -> None:
    notebook = page.read(done.page("cpu", "one"))
    assert provenance.faults(notebook) == []
    notebook.metadata["diffnotes"]["provenance"]["networks"][0].update(change)
    assert provenance.faults(provenance.sealed(notebook)) == [
        "the page does not say where it comes from: its networks cannot be read"
    ]
    notebook = page.read(done.page("cpu", "one"))
    notebook.metadata["diffnotes"]["provenance"]["networks"][0]["name"] = "another"
    assert provenance.faults(notebook) == ["its outputs, edited after the run"]


def test_readers_are_told(done: Project) -> None:
    notebook = page.read(done.page("cpu", "one"))
    shown = directives.provenance_markdown(provenance.record(notebook))
    key = record(done)[0]["key"]
    assert f"| a toy | not recorded | 2025-01-02, 2 s | all | `{key[:12]}` |" in shown
    assert "on a processor, " in shown and "| Networks or numbers | Size, training, seeds | Made |" in shown
    assert "1 of 1 were made in it" in shown
    assert "Networks" not in directives.provenance_markdown(provenance.record(notebook) | {"networks": []})


def origin(key: str, text: str, seconds: float, minute: int, size: int = 0) -> Origin:
    """An entry that was there in that minute of an hour."""
    told = {"key": key * 24, "name": f"name {key}", "source": "own", "seconds": seconds, "bytes": size}
    return Origin(told | {"date": f"2025-01-02T03:{minute:02d}:00+00:00", "device": "here", "checksum": ""}, text)


def fleet(steps: int) -> str:
    run = f"Run(steps={steps}, batch=64, rate=0.1, decay='cosine')"
    return f"Fleet(arms={{'eps': Setting(target='eps')}}, run={run}, seeds=(7, 8, 9))"


def test_training_within_another_time_counts_once_and_what_is_not_recorded_is_said() -> None:
    plain = origin("a", fleet(10), 60, 10, size=4)
    within = origin("b", f"Drawn(arms={{'x': {fleet(10)}}}, cases=(('ddim', 10)))", 600, 12)  # asked for it in minute 2
    after = origin("c", f"Drawn(arms={{'x': {fleet(10)}}}, cases=(('ddpm', 10)))", 60, 20)
    other = origin("d", f"Drawn(arms={{'x': {fleet(99)}}}, cases=(('ddpm', 10)))", 60, 30)
    both = origin("e", f"Gaps(arms=({fleet(10)}, {fleet(99)}))", 60, 40)
    early = origin("f", f"Sweep(fleet={fleet(10)}, rates=(1, 2))", 60, 5)  # its networks are its own
    entries = [plain, within, after, other, both, early]
    assert seconds([*entries, plain]) == 600 + 4 * 60
    assert [origins_module.training(one, entries) for one in entries] == [
        "all", "1 min 00 s for `aaaaaaaaaaaa`", "`aaaaaaaaaaaa` trained before", "not recorded",
        "`aaaaaaaaaaaa` trained before; others not recorded", "not recorded",
    ]  # fmt: skip
    assert plain.about == "10 steps of 64, rate 0.1, cosine; 3 seeds: 7 to 9"
    assert both.about == "10/99 steps of 64, rate 0.1, cosine; 3 seeds: 7 to 9"


def test_entries_of_one_name_are_told_apart() -> None:
    def drawn(key: str, cases: str) -> Origin:
        entry = origin(key, f"Drawn(arms={{'x': {fleet(10)}}}, cases={cases}, samples=4)", 60, 10)
        return Origin({**entry.record, "name": "images"}, entry.text)

    shown = origins_markdown([drawn("a", "(('ddim', 10), ('ddim', 50))"), drawn("b", "(('ddpm', 10), ('ddpm', 50))")])
    assert "| images; cases ddim 10; ddim 50 |" in shown and "| images; cases ddpm 10; ddpm 50 |" in shown
    assert "samples" not in shown


@pytest.mark.parametrize("name", Project(ROOT).chapters())
def test_every_entry_of_a_published_page_can_be_told_from_the_others(name: str) -> None:
    entries = origins(Project(ROOT), provenance.record(page.read(Project(ROOT).published(name)))["networks"])
    assert entries and all(entry.text for entry in entries)
    lines = [line for line in origins_markdown(entries).splitlines() if line.startswith("| ")][1:]
    told = [tuple(line.split(" | ")[:2]) for line in lines]
    assert len(set(told)) == len(told) == len(entries)


# --- files ------------------------------------------------------------------------------------------------------------


def damaged(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "a bit":
        data[-1] ^= 1
    elif how == "cut":
        data = data[:-3]
    elif how == "empty":
        data = bytearray()
    elif how == "text":
        data = bytearray(b"no networks at all, but a text that is long enough")
    elif how == "no header":
        from safetensors.numpy import load_file, save_file

        save_file(load_file(path), path)
        return
    elif how == "a list":
        data = bytearray((2).to_bytes(8, "little") + b"[]")
    elif how == "a deep list":
        data = bytearray((100_000).to_bytes(8, "little") + b"[" * 100_000)
    path.write_bytes(data)


DAMAGES = ["a bit", "cut", "empty", "text", "no header", "a list", "a deep list"]


@pytest.mark.parametrize("how", DAMAGES)
def test_damage_is_seen_said_and_published_by_nobody(done: Project, monkeypatch: Any, capsys: Any, how: str) -> None:
    publish_page(done, ["one"], "cpu")
    assert shell(done, monkeypatch, "status") == 0
    said = capsys.readouterr()
    assert "1 own" in said.out and "1 published" in said.out and "warning" not in said.err
    (name,) = files(done.published_networks)
    good = (done.published_networks / name).read_bytes()
    damaged(done.published_networks / name, how)
    assert shell(done, monkeypatch, "status") == 0
    assert "warning: published networks of one: a toy" in capsys.readouterr().err
    publish_page(done, ["one"], "cpu")  # own ones mend it
    assert (done.published_networks / name).read_bytes() == good
    damaged(done.networks / name, how)
    (done.published_networks / name).unlink()
    with pytest.raises(PressError, match="a toy"):
        publish_page(done, ["one"], "cpu")


def test_the_difference_of_weights(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    rows = {"a": {"net/w": numpy.arange(6.0).reshape(2, 3), "log/loss": numpy.ones(2)}}
    rows["same"] = rows["a"] | {"log/loss": numpy.zeros(2)}
    rows["near"] = {"net/w": rows["a"]["net/w"] + numpy.array([0, 0, 1e-6])}
    rows["nan"] = {"net/w": rows["a"]["net/w"] * float("nan")}
    rows["other"] = {"net/v": rows["a"]["net/w"]}
    rows["shape"] = {"net/w": numpy.arange(6.0)}
    kept = {}
    for name, row in rows.items():
        save_file(row, tmp_path / name)
        kept[name] = Kept(tmp_path / name)
    found = {name: largest_difference(kept["a"], one) for name, one in kept.items()}
    assert found == {"a": 0, "same": 0, "near": pytest.approx(1e-6), "nan": float("inf"), "other": float("inf"),
                     "shape": float("inf")}  # fmt: skip


def test_the_checksum_is_that_of_the_package(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    store = pytest.importorskip("diffnotes.model.store")
    from safetensors.torch import save_file

    tensors = {"net/a": torch.randn(2, 3), "log/b": torch.tensor(1.5, dtype=torch.float64), "c": torch.arange(3),
               "d": torch.tensor([True, False])}  # fmt: skip
    head = {"checksum": store._checksum(tensors)}
    save_file(tensors, tmp_path / "x", metadata={"diffnotes": json.dumps(head)})
    assert Kept(tmp_path / "x").fault() == ""


# --- publication ------------------------------------------------------------------------------------------------------


def two(tmp_path: Path) -> Project:
    """A book of two chapters with pages by hand: "one" has the networks a and b, "two" has b and c; all are kept."""
    book = book_of(tmp_path, "one", "two")
    book.networks.mkdir(parents=True)
    from safetensors.numpy import save_file

    records = {}
    for letter in "abc":
        numbers = {"net/w": numpy.full(1000, ord(letter), "float32")}
        head = {"device": "a processor", "checksum": networks.checksum(numbers)}
        key = letter * 24
        save_file(numbers, book.networks / f"{key}.safetensors", metadata={"diffnotes": json.dumps(head)})
        records[letter] = head | {"key": key, "name": letter, "source": "trained", "seconds": 1.0, "bytes": 4000,
                                  "date": "2025-01-02T03:04:05+00:00"}  # fmt: skip
    for name, letters in (("one", "ab"), ("two", "bc")):
        made = stamped(executed(book, name), book, name, networks=[records[letter] for letter in letters])
        save(made, book.page("cpu", name))
    return book


def letters(book: Project) -> str:
    assert not [name for name in files(book.published_networks) if name.startswith(".")]
    return "".join(name[0] for name in files(book.published_networks))


def without(book: Project, name: str, letter: str) -> None:
    notebook = page.read(book.page("cpu", name))
    left = [one for one in provenance.record(notebook)["networks"] if one["name"] != letter]
    save(stamped(notebook, book, name, networks=left), book.page("cpu", name))


def test_publication_copies_what_pages_name_and_prunes_the_rest(tmp_path: Path) -> None:
    book = two(tmp_path)
    publish_page(book, ["one"], "cpu")
    assert letters(book) == "ab"
    publish_page(book, ["two"], "cpu")
    assert letters(book) == "abc"
    without(book, "one", "b")
    publish_page(book, ["one"], "cpu")
    assert letters(book) == "abc"  # the other page still names it
    without(book, "two", "b")
    publish_page(book, ["two"], "cpu")
    assert letters(book) == "ac"
    (book.networks / f"{'a' * 24}.safetensors").unlink()
    publish_page(book, ["one"], "cpu")  # published before, and still the same
    assert letters(book) == "ac"
    for name, letter in (("one", "a"), ("two", "c")):
        without(book, name, letter)
        publish_page(book, [name], "cpu")
    assert not book.published_networks.exists()


def test_publication_refuses_what_is_too_much_and_what_was_trained_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = two(tmp_path)
    size = (book.networks / f"{'a' * 24}.safetensors").stat().st_size
    monkeypatch.setattr(networks, "LIMIT", 3 * size - 1)
    publish_page(book, ["one"], "cpu")
    before = {path: path.read_bytes() for path in (book.root / "book").rglob("*") if path.is_file()}
    with pytest.raises(PressError, match=r"all published pages together would have 0\.0 MiB; allowed: 0 MiB"):
        publish_page(book, ["two"], "cpu")
    monkeypatch.setattr(networks, "LIMIT", 3 * size)
    c = book.networks / f"{'c' * 24}.safetensors"
    weights(c, of=c, plus=1)
    with pytest.raises(PressError, match=r"two: c \(c{12}\) was trained again since the page was run"):
        publish_page(book, ["two"], "cpu")
    assert {path: path.read_bytes() for path in (book.root / "book").rglob("*") if path.is_file()} == before
    weights(c, of=c, plus=-1)
    publish_page(book, ["two"], "cpu")
    assert letters(book) == "abc"


@pytest.mark.parametrize("cut", range(1, 12))
def test_publication_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    """Wherever a publication is cut short, the page and the networks of before are there, and nothing else."""
    book = two(tmp_path)
    publish_page(book, ["one"], "cpu")
    b = book.published_networks / f"{'b' * 24}.safetensors"
    weights(b, of=b, plus=1)  # what is published is of another training, and would be replaced
    before = {path: path.read_bytes() for path in (book.root / "book").rglob("*") if path.is_file()}
    moves, replace = [], os.replace

    def failing(*places: Any) -> None:
        moves.append(places)
        if len(moves) == cut:
            raise OSError("disk full")
        replace(*places)

    monkeypatch.setattr("os.replace", failing)
    try:
        publish_page(book, ["two"], "cpu")
    except OSError:
        monkeypatch.undo()
        assert {path: path.read_bytes() for path in (book.root / "book").rglob("*") if path.is_file()} == before
    else:
        assert len(moves) < cut and letters(book) == "abc"


def publish_and_die(book: Project, names: list[str], cut: int) -> int:
    """Publish in a process that dies at its move number ``cut``: 9 if it did, else the number of its moves."""
    child = os.fork()
    if not child:
        moves, move = [], os.replace

        def dying(*places: Any) -> None:
            moves.append(places)
            if len(moves) == cut:
                os._exit(9)
            move(*places)

        os.replace = dying
        try:
            publish_page(book, names, "cpu")
        finally:
            os._exit(len(moves))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("cut", range(1, 12))
def test_after_a_killed_publication_the_next_one_finds_all(tmp_path: Path, cut: int) -> None:
    """The process dies at each of its moves; the page of before has its networks, though there are no own ones."""
    book = two(tmp_path)
    publish_page(book, ["one"], "cpu")
    b = book.published_networks / f"{'b' * 24}.safetensors"
    content, head = b.read_bytes(), Kept(b).header
    weights(book.networks / b.name, of=b, plus=1)
    newer = head | {"checksum": Kept(book.networks / b.name).header["checksum"]}
    made = page.read(book.page("cpu", "two"))
    told = [one | newer if one["name"] == "b" else one for one in provenance.record(made)["networks"]]
    save(stamped(made, book, "two", networks=told), book.page("cpu", "two"))
    ended = publish_and_die(book, ["two"], cut)
    shutil.rmtree(book.networks)
    if ended == 9:
        publish_page(book, ["one"], "cpu")
        assert letters(book) == "ab" and b.read_bytes() == content
    else:
        assert ended < cut and letters(book) == "abc" and b.read_bytes() != content


def test_chapters_are_published_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is the size in the end: one chapter may grow where another of the same publication shrinks."""
    book = two(tmp_path)
    publish_page(book, ["one"], "cpu")
    size = (book.networks / f"{'a' * 24}.safetensors").stat().st_size
    monkeypatch.setattr(networks, "LIMIT", 2 * size)
    without(book, "one", "a")  # b is left, and two brings c along
    with pytest.raises(PressError, match="would have"):
        publish_page(book, ["two"], "cpu")
    before = {path: path.read_bytes() for path in (book.root / "book").rglob("*") if path.is_file()}
    assert publish_page(book, ["two", "one"], "cpu") == [book.published("two"), book.published("one")]
    assert letters(book) == "bc" and {path: path.read_bytes() for path in before if path.exists()} != before


def test_one_bad_chapter_stops_a_publication(tmp_path: Path) -> None:
    book = two(tmp_path)
    notebook = page.read(book.page("cpu", "two"))
    notebook.cells[0].source = "# Other"
    save(notebook, book.page("cpu", "two"))
    with pytest.raises(PressError, match=r"two: .*not those of the notebook"):
        publish_page(book, ["one", "two"], "cpu")
    assert not (book.root / "book").exists()


def test_a_published_page_that_cannot_be_read_is_replaced(tmp_path: Path) -> None:
    """Pages of an older press, in a form that is no longer read, do not stand in each other's way."""
    book = two(tmp_path)
    for name in ("one", "two"):
        book.published(name).parent.mkdir(parents=True, exist_ok=True)
        book.published(name).write_text("{}")
    with pytest.raises(PressError, match=r"two\.ipynb is not a readable notebook"):
        publish_page(book, ["one"], "cpu")
    publish_page(book, ["one", "two"], "cpu")
    assert letters(book) == "abc"


def test_chapters_of_one_publication_agree_on_their_networks(tmp_path: Path) -> None:
    book = two(tmp_path)
    publish_page(book, ["one"], "cpu")
    b = book.networks / f"{'b' * 24}.safetensors"
    weights(b, of=b, plus=1)
    newer = {"checksum": Kept(b).header["checksum"]}
    made = page.read(book.page("cpu", "two"))
    told = [one | newer if one["name"] == "b" else one for one in provenance.record(made)["networks"]]
    save(stamped(made, book, "two", networks=told), book.page("cpu", "two"))
    with pytest.raises(PressError, match=r"two: b .*of another training than in a chapter"):
        publish_page(book, ["one", "two"], "cpu")


@pytest.mark.parametrize("cut", [*range(1, 14), 99])
def test_a_killed_publication_of_several_chapters_is_undone(tmp_path: Path, cut: int) -> None:
    """The process dies at its moves; the next publication finds the book as it was, without the pages that were new."""
    book = two(tmp_path)
    publish_page(book, ["one"], "cpu")
    first = {path: path.read_bytes() for path in (book.root / "book").rglob("*") if path.is_file()}
    without(book, "one", "a")
    ended = publish_and_die(book, ["two", "one"], cut)
    networks.recover(book)
    found = {path: path.read_bytes() for path in (book.root / "book").rglob("*") if path.suffix != ".lock"
             and path.is_file()}  # fmt: skip
    if ended == 9:
        assert found == first
    else:
        assert 6 < ended < cut and letters(book) == "bc" and found != first


def test_networks_are_no_part_of_the_site(done: Project) -> None:
    publish_page(done, ["one"], "cpu")
    (done.root / "book/index.md").write_text("# Book\n")
    (done.root / "_config.yml").write_text("title: Book\n")
    assert files(done.published_networks)
    chosen = {"one": done.published("one")}
    before = site.fingerprint(done, chosen)
    site.assemble(done, chosen, done.root / "_build/site-source")
    assert not (done.root / "_build/site-source/book/networks").exists()
    shutil.rmtree(done.published_networks)
    assert site.fingerprint(done, chosen) == before


def test_clean_leaves_published_networks(done: Project, monkeypatch: Any, capsys: Any) -> None:
    publish_page(done, ["one"], "cpu")
    assert shell(done, monkeypatch, "clean") == 0 and files(done.published_networks) and not done.networks.exists()
    assert shell(done, monkeypatch, "status") == 0
    assert "1 published" in capsys.readouterr().out
    shutil.rmtree(done.published_networks)
    assert shell(done, monkeypatch, "status") == 0
    said = capsys.readouterr()
    assert "1 missing" in said.out and "it is missing; they would be trained again" in said.err


# --- verification -----------------------------------------------------------------------------------------------------


def checked(book: Project, **options: Any) -> tuple[int, str]:
    said: list[str] = []
    before = {path: path.read_bytes() for path in book.root.rglob("*") if path.is_file()}
    status = verify(book, ["one"], Order(device="cpu", **options), said.append)
    assert {path: path.read_bytes() for path in book.root.rglob("*") if path.is_file()} == before
    return status, "\n".join(said)


def test_verification_agrees_with_what_it_finds_again(done: Project) -> None:
    status, said = checked(done)
    assert status == 0 and "one: agrees" in said and "networks: 1 of 1 are the kept ones bit for bit" in said, said
    assert "values in the text: 1 of 1 agree" in said


def test_verification_tells_apart_devices(done: Project) -> None:
    """Other weights on the same device are a fault; on another one they are told, and the verdicts decide."""
    edit(done.package / "model/train.py", "0.5", "0.75")
    status, said = checked(done)
    assert status == 1 and "one: DISAGREES" in said and "weights differ by up to 0.25 on the same device" in said
    edit(done.package / "model/train.py", "0.75", "0.5")
    edit(done.package / "model/train.py", "len(experiment)", "len(experiment) + 1")
    (name,) = files(done.networks)
    kept = Kept(done.networks / name)
    from safetensors.numpy import save_file

    head = kept.header | {"device": "another processor"}
    save_file({n: one.copy() for n, one in kept.numbers.items()}, done.networks / name,
              metadata={"diffnotes": json.dumps(head)})  # fmt: skip
    status, said = checked(done)
    assert status == 0 and "weights differ by up to 1 on a processor, kept from another device" in said, said
    assert "gap: 8.0 is kept, 9.0 came now" in said and "values in the text: 0 of 1 agree" in said


def test_verification_needs_a_fresh_page(done: Project) -> None:
    with pytest.raises(PressError, match=r"no fresh page to compare with in profile smoke .*: first diffnotes run one"):
        checked(done, profile="smoke")
    edit(done.source("one"), "kept('a toy')", "kept('a boy')")
    with pytest.raises(PressError, match="code cell 2"):
        checked(done)


def test_verdicts_that_differ_are_a_fault(done: Project) -> None:
    from diffnotes.press.verify import compare

    old = page.read(done.page("cpu", "one"))

    def judged(state: str) -> Any:
        notebook = page.read(done.page("cpu", "one"))
        part = {"name": "gap", "measure": "", "rule": "> 1", "state": state, "unit": ""}
        part |= {"value": 2, "low": 1, "high": 3}
        claim = {"id": "T1", "state": state, "verdict": state, "profile": "cpu", "parts": [part]}
        output = next(cell for cell in notebook.cells if cell.id == "figure").outputs[0]
        output.metadata["diffnotes"]["claim"] = claim
        return notebook

    found = compare(done, judged("holds"), judged("fails"), done.networks)
    assert found.faults == ["T1 gap: holds is kept, fails came now"]
    assert compare(done, judged("holds"), judged("holds"), done.networks).faults == []
    assert compare(done, old, judged("holds"), done.networks).faults == ["T1 gap: nothing is kept, holds came now"]


def test_the_command_verifies(done: Project, monkeypatch: Any, capsys: Any) -> None:
    assert shell(done, monkeypatch, "verify", "one", "--device", "cpu") == 0
    assert "one: agrees" in capsys.readouterr().out
    assert shell(done, monkeypatch, "verify", "nobody") == 2
    assert shell(done, monkeypatch, "run", "--train", "--profile", "cpu", "--device", "cpu") == 0
    assert record(done)[0]["source"] == "trained"
    assert publish.publish is publish_page
