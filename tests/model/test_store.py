"""Networks are kept whole or not at all, found again under one key, and trained again where they cannot serve."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import partial

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from diffnotes import (
    Chain,
    Dense,
    Exact,
    Fleet,
    GaussianMixture,
    Linear,
    Run,
    Sampled,
    Setting,
    Squares,
    chessboard,
    moons,
    spiral,
    standardised,
    two_modes,
)
from diffnotes.core.law import Boxes, Law
from diffnotes.model import store
from diffnotes.model.condition import Condition, Shared
from diffnotes.model.fleet import Trained
from diffnotes.model.setting import Importance

LAW = two_modes().to(dtype=torch.float64)
FLEET = Fleet({"eps": Setting(), "v": Setting("v")}, Sampled(LAW, 30), Dense(1, 4, 1), Run(33, 8, average=0.9), (0, 1))
X = torch.linspace(-1, 1, 5)[None, :, None].expand(2, -1, -1)


class Color(IntEnum):
    RED = 2


class Secret(Law):
    """A law that does not tell its parameter."""

    dtype, device, shape = torch.float32, torch.device("cpu"), (1,)
    _draw = _log_prob = _score = _mean = _variance = _both = None

    def __init__(self, spread):
        self._spread = spread


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    own, published = tmp_path / "own", tmp_path / "published"
    monkeypatch.setenv("DIFFNOTES_NETWORKS", str(own))
    monkeypatch.setenv("DIFFNOTES_PUBLISHED", str(published))
    monkeypatch.delenv("DIFFNOTES_TRAIN", raising=False)
    monkeypatch.setattr(store, "_used", {})
    published.mkdir()
    return own, published


@pytest.fixture
def trainings(monkeypatch):
    """How often networks were trained."""
    calls, train = [], Fleet.train
    monkeypatch.setattr(Fleet, "train", lambda self, device="cpu": calls.append(self) or train(self, device))
    return calls


def place(folder, experiment=FLEET):
    return folder / f"{store.key_of(experiment)}.safetensors"


def outputs(found):
    return {name: denoiser.eps(X, 0.4).detach() for name, denoiser in found.items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# --- text and key -----------------------------------------------------------------------------------------------------


def test_the_key_is_stable():
    """A change of this key loses all kept networks: it needs a reason."""
    assert store.text_of(Run(64)) == (
        "Run(steps=64, batch=128, rate=0.001, decay='cosine', average=None, seeds=None, log_every=None, bins=10)"
    )
    assert store.text_of(LAW) == (
        "GaussianMixture(torch.float64, means=tensor(2, 1)[-1 1], std=tensor(2,)[0.2 0.2], weights=tensor(2,)[0.5 0.5])"
    )


CHANGES = {
    "a rate": replace(FLEET, run=Run(33, 8, 1e-2, average=0.9)),
    "a seed": replace(FLEET, seeds=(0, 2)),
    "a target": replace(FLEET, arms={"eps": Setting("x0"), "v": Setting("v")}),
    "a name": replace(FLEET, arms={"eps": Setting(), "w": Setting("v")}),
    "the order": replace(FLEET, arms={"v": Setting("v"), "eps": Setting()}),
    "a weighting": replace(FLEET, arms={"eps": Setting(weighting="p2"), "v": Setting("v")}),
    "importance": replace(FLEET, arms={"eps": Setting(weighting=Importance(Linear())), "v": Setting("v")}),
    "a schedule": replace(FLEET, arms={"eps": Setting(schedule=Chain.linear(20)), "v": Setting("v")}),
    "a chain to the end": replace(FLEET, arms={"eps": Setting(schedule=Chain.linear(1000).respaced(1))}),
    "another to the end": replace(FLEET, arms={"eps": Setting(schedule=Chain.linear(1001).respaced(1))}),
    "boxes": replace(FLEET, data=Boxes([[0.0]], 0.5)),
    "other boxes": replace(FLEET, data=Boxes([[0.0]], 0.25)),
    "another chain": replace(FLEET, arms={"eps": Setting(schedule=Chain.linear(21)), "v": Setting("v")}),
    "shared times": replace(FLEET, arms={"eps": Setting(condition=Condition(map=Shared(2, 0.5))), "v": Setting("v")}),
    "a width": replace(FLEET, net=Dense(1, 5, 1)),
    "a law": replace(FLEET, data=Sampled(two_modes(std=0.21).to(dtype=torch.float64), 30)),
    "its dtype": replace(FLEET, data=Sampled(two_modes(), 30)),
    "fresh data": replace(FLEET, data=LAW),
    "one sample for all": replace(FLEET, data=Sampled(LAW, 30, seed=0)),
    "points": replace(FLEET, data=LAW.sample(30, 0)),
    "an exact denoiser": replace(FLEET, arms={"eps": Setting(loss=Squares(Exact(LAW, Linear())))}),
}  # fmt: skip


def test_every_change_of_an_experiment_is_another_key():
    keys = [store.key_of(one) for one in (FLEET, *CHANGES.values())]
    assert len(set(keys)) == len(keys) and all(len(key) == 24 for key in keys)


def test_equal_values_are_one_key_whatever_holds_them():
    assert store.key_of(replace(FLEET, seeds=range(2))) == store.key_of(replace(FLEET, seeds=[0, 1]))
    planes = [standardised(spiral()), chessboard(), moons()]
    assert [store.text_of(law) for law in planes] == [
        store.text_of(law) for law in (standardised(spiral()), chessboard(), moons())
    ]
    nearly = GaussianMixture(LAW.means * (1 + 1e-15), LAW.std)  # as another processor may round
    assert store.text_of(nearly) == store.text_of(LAW)
    noise = torch.tensor([1.0, -0.0, 6.1e-17], dtype=torch.float64)  # a cosine of pi/2
    assert store.text_of(noise) == store.text_of(torch.tensor([1.0, 0.0, -1.8e-16]))
    assert store.text_of(torch.tensor([1e-12, float("nan"), float("inf")])) == "tensor(3,)[1e-12 nan inf]"


@pytest.mark.parametrize("one, other", [
    (np.float64(0.1), 0.1), (np.float32(0.1), 0.1), (np.int64(3), 3), (np.str_("a"), "a"), (np.True_, True),
    (-0.0, 0.0), (float(torch.tensor(0.1)), 0.1), (Dense(1, waves=[]), Dense(1)),
    (Dense(1, waves=[2]), Dense(1, waves=(2.0,))), (Color.RED, 2),
])  # fmt: skip
def test_equal_numbers_and_texts_are_one_key_whoever_made_them(one, other):
    assert store.text_of(one) == store.text_of(other)


@pytest.mark.parametrize("value", [lambda x: x, partial(int, 3), object(), {1, 2}, Run, Secret(0.3)])
def test_what_has_no_text_is_refused(value):
    with pytest.raises(TypeError, match="in an experiment"):
        store.text_of(Setting(condition=Condition(map=value)))


def test_training_is_part_of_the_key(monkeypatch):
    before = store.key_of(FLEET)
    monkeypatch.setattr(store, "TRAINING", store.TRAINING + 1)
    assert store.key_of(FLEET) != before


# --- keeping ----------------------------------------------------------------------------------------------------------


def test_networks_are_trained_once_and_found_again(folders, trainings):
    first, again = store.kept(FLEET), store.kept(FLEET)
    assert len(trainings) == 1 and list(first) == ["eps", "v", "eps, averaged", "v, averaged"]
    assert same(outputs(first), outputs(again))
    plain = FLEET.train().networks
    assert not same(outputs(first), outputs(FLEET.read(plain)))
    assert same(outputs(first), outputs(FLEET.read({name: store.rounded(net) for name, net in plain.items()})))
    assert [path.name for path in folders[0].iterdir()] == [place(folders[0]).name]  # no lock, nothing half written


def test_the_header_says_what_when_where_and_how_long(folders):
    store.kept(FLEET)
    with safe_open(place(folders[0]), "pt") as file:
        header = json.loads(file.metadata()["diffnotes"])
    assert header["experiment"] == store.text_of(FLEET) and header["training"] == store.TRAINING
    assert header["seconds"] > 0 and header["versions"]["torch"] == torch.__version__ and "T" in header["date"]
    log = store.log_of(FLEET)
    assert log["v/step"].tolist() == [32, 33] and log["eps/error"].shape == (2, 2, 10)


def test_published_networks_serve_where_there_are_no_own_ones(folders, trainings):
    own, published = folders
    first = outputs(store.kept(FLEET))
    os.replace(place(own), place(published))
    assert same(first, outputs(store.kept(FLEET))) and len(trainings) == 1
    assert not list(own.iterdir())


@dataclass(frozen=True)
class Weighed:
    """The sum of a fleet's weights: an experiment of which another one is a part."""

    fleet: Fleet

    def blank(self):
        return {"sum": Table(torch.zeros(1, dtype=torch.float64))}

    def train(self, device="cpu"):
        net = store.kept(self.fleet, device)["eps"].net
        return Trained({"sum": Table(sum(part.detach().double().sum() for part in net.parameters())[None])}, {})

    def read(self, networks, recipe=""):
        return float(networks["sum"].column0)


def test_what_is_part_of_another_experiment_is_not_told(folders, monkeypatch):
    monkeypatch.setattr(store, "_used", {})
    found = store.kept(Weighed(FLEET), name="sums")
    assert [told["name"] for told in store.used()] == ["sums"] and len(list(folders[0].glob("*.safetensors"))) == 2
    net = store.kept(FLEET)["eps"].net  # now it is asked for by name
    assert found == pytest.approx(float(sum(part.detach().double().sum() for part in net.parameters())), rel=1e-5)
    assert len(store.used()) == 2 and all("part" not in told for told in store.used())
    store.kept(Weighed(FLEET))
    assert len(store.used()) == 2


def test_what_was_used_is_told(folders, monkeypatch):
    store.kept(FLEET, name="a fleet")
    store.kept(FLEET)
    (told,) = store.used()
    assert told["source"] == "trained" and told["key"] == store.key_of(FLEET)
    monkeypatch.setattr(store, "_used", {})
    store.kept(FLEET)
    (told,) = store.used()
    assert told["source"] == "own" and told["bytes"] == 2 * sum(
        value.numel() for name, value in load_file(place(folders[0])).items() if name.startswith("net/")
    )


def test_networks_trained_on_others_remember_which(trainings):
    base = store.kept(FLEET)
    squares = Fleet({"squares": Setting(loss=Squares(base["eps"]))}, LAW, Dense(1, 4, 1), Run(3), (0, 1))
    key = store.key_of(squares)
    assert key == store.key_of(replace(squares, arms={"squares": Setting(loss=Squares(store.kept(FLEET)["eps"]))}))
    assert key != store.key_of(replace(squares, arms={"squares": Setting(loss=Squares(base["v"]))}))
    with pytest.raises(TypeError, match="in an experiment"):
        store.key_of(replace(squares, arms={"a": Setting(loss=Squares(FLEET.read(FLEET.blank())["eps"]))}))


# --- what cannot serve ------------------------------------------------------------------------------------------------


def flipped(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def rewritten(path, **changes):
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["diffnotes"]) | changes
    save_file(load_file(path), path, metadata={"diffnotes": json.dumps(header)})


def of_other_sizes(path):
    tensors = {name: value[..., :1].contiguous() for name, value in load_file(path).items()}
    header = header_of(path) | {"checksum": store._checksum(tensors)}
    save_file(tensors, path, metadata={"diffnotes": json.dumps(header)})


def with_header(text):
    return lambda path: save_file(load_file(path), path, metadata={"diffnotes": text})


def of_another_dtype(path):
    tensors = {name: value.double() for name, value in load_file(path).items()}
    header = header_of(path) | {"checksum": store._checksum(tensors)}
    save_file(tensors, path, metadata={"diffnotes": json.dumps(header)})


def without_seconds(path):
    with_header(json.dumps({name: value for name, value in header_of(path).items() if name != "seconds"}))(path)


def header_of(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["diffnotes"])


DAMAGE = {
    "one bit": flipped,
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:200]),
    "empty": lambda path: path.write_bytes(b""),
    "a text": lambda path: path.write_text("not a network"),
    "no header": lambda path: save_file(load_file(path), path),
    "an older training": lambda path: rewritten(path, training=store.TRAINING - 1),
    "another experiment": lambda path: rewritten(path, experiment="Fleet()"),
    "other sizes": of_other_sizes,
    "another dtype": of_another_dtype,
    "a header that is a list": with_header("[1]"),
    "a header that is nothing": with_header("null"),
    "a header without end": with_header("[" * 100_000),
    "a header with less in it": without_seconds,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_cannot_serve_is_trained_again_and_mended(folders, trainings, damage, monkeypatch):
    first = outputs(store.kept(FLEET))
    DAMAGE[damage](place(folders[0]))
    said = []
    monkeypatch.setattr(store, "_say", said.append)
    assert same(first, outputs(store.kept(FLEET))) and len(trainings) == 2
    assert said or damage == "a folder"
    if damage != "a folder":
        assert same(first, outputs(store.kept(FLEET))) and len(trainings) == 2


def test_damaged_own_networks_give_way_to_published_ones(folders, trainings):
    first = outputs(store.kept(FLEET))
    place(folders[1]).write_bytes(place(folders[0]).read_bytes())
    flipped(place(folders[0]))
    assert same(first, outputs(store.kept(FLEET))) and len(trainings) == 1


def test_a_failed_training_leaves_nothing(folders):
    bad = replace(FLEET, data=Sampled(GaussianMixture([0.0, 1.0], 0.1), 30), net=Dense(2, 4, 1))
    with pytest.raises(ValueError, match="data has shape"):
        store.kept(bad)
    assert not list(folders[0].iterdir())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left")])
def test_a_failed_write_leaves_nothing_and_the_networks_serve(folders, monkeypatch, error):
    def full(tensors, name, metadata):
        open(name, "wb").write(b"half")
        raise error

    monkeypatch.setattr(store, "save_file", full)
    assert list(store.kept(FLEET)) == FLEET.names
    assert not list(folders[0].iterdir())


@pytest.mark.parametrize("kind", ["read-only", "a file in its place"])
def test_where_nothing_can_be_written_networks_serve_all_the_same(folders, kind, trainings):
    """Root may write anywhere, so the read-only folder is one that a file stands in the way of, and /proc."""
    own = folders[0]
    if kind == "read-only":
        os.environ["DIFFNOTES_NETWORKS"] = "/proc/networks"
    else:
        own.write_text("")
    assert list(store.kept(FLEET)) == FLEET.names and len(trainings) == 1
    assert store.used()[0]["source"] == "trained"


def test_a_folder_removed_during_the_training_is_made_again(folders, monkeypatch):
    train = Fleet.train
    monkeypatch.setattr(Fleet, "train", lambda self, device: shutil.rmtree(folders[0]) or train(self, device))
    store.kept(FLEET)
    assert place(folders[0]).is_file()


@pytest.mark.parametrize("device", ["cuda", "cuda:99", "cdua", 1.5])
def test_a_device_that_is_not_there_is_named_before_any_training(folders, trainings, device):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match=r"device = .* cannot be used here"):
        store.kept(FLEET, device)
    assert not trainings and not folders[0].exists()


def test_networks_trained_once_more_in_a_process_are_told_as_trained(folders):
    store.kept(FLEET)
    store._used.clear()
    store.kept(FLEET)
    assert store.used()[0]["source"] == "own"
    flipped(place(folders[0]))
    store.kept(FLEET)
    store.used()[0]["source"] = "a copy, which changes nothing"
    assert store.used()[0]["source"] == "trained"


def test_names_may_begin_with_one_another(trainings):
    fleet = replace(FLEET, arms={"a": Setting(), "a/b": Setting("v")})
    assert same(outputs(store.kept(fleet)), outputs(store.kept(fleet))) and len(trainings) == 1


def test_train_anew_trains_once_in_a_process(folders, trainings, monkeypatch):
    store.kept(FLEET)
    monkeypatch.setattr(store, "_used", {})
    monkeypatch.setenv("DIFFNOTES_TRAIN", "1")
    before = place(folders[0]).stat().st_mtime_ns
    store.kept(FLEET)
    store.kept(FLEET)
    assert len(trainings) == 2 and place(folders[0]).stat().st_mtime_ns > before


# --- two at once ------------------------------------------------------------------------------------------------------

WORKER = """
import sys, time
sys.path.insert(0, {tests!r})
import test_store
from diffnotes.model import store
train = test_store.Fleet.train
def slow(self, device="cpu"):
    print("training", flush=True)
    time.sleep(1.5)
    return train(self, device)
test_store.Fleet.train = slow
store.kept(test_store.FLEET)
print(store.used()[0]["source"], flush=True)
"""


def test_two_processes_that_want_the_same_train_it_once(folders):
    code = WORKER.format(tests=os.path.dirname(__file__))
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = sorted(process.communicate(timeout=120)[0].split() for process in both)
    assert told == [["own"], ["training", "trained"]]
    assert [path.name for path in folders[0].iterdir()] == [place(folders[0]).name]


def test_a_process_that_dies_in_training_leaves_nothing_in_the_way(folders, trainings):
    code = WORKER.format(tests=os.path.dirname(__file__)).replace("time.sleep(1.5)", "import os; os._exit(1)")
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, timeout=120, check=False)
    store.kept(FLEET)
    assert len(trainings) == 1 and [path.suffix for path in folders[0].iterdir()] == [".safetensors"]


def test_what_a_process_killed_in_writing_left_is_cleared_away(folders):
    folders[0].mkdir()
    left, another = (folders[0] / f".{name}-x.tmp" for name in (store.key_of(FLEET), "a" * 24))
    left.touch(), another.touch()
    store.kept(FLEET)
    assert not left.exists() and another.exists()


def test_a_lock_whose_file_is_gone_locks_nobody(folders):
    """Whoever waited for it while its holder removed it takes the file that is there by now."""
    held, found = store._lock(folders[0], "key"), []
    waiting = threading.Thread(target=lambda: found.append(store._lock(folders[0], "key")))
    waiting.start()
    waiting.join(0.2)
    os.unlink(held.name)
    second = store._lock(folders[0], "key")
    held.close()
    waiting.join(0.5)
    assert waiting.is_alive() and not found
    second.close()
    waiting.join(10)
    assert found
    found[0].close()


# --- other experiments ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """An experiment that is no fleet."""

    slope: float

    def blank(self):
        return {"line": torch.nn.Linear(1, 1)}

    def train(self, device="cpu"):
        net = torch.nn.Linear(1, 1).requires_grad_(False)
        net.weight.fill_(self.slope), net.bias.fill_(0.0)
        return store.Trained({"line": net.to(device)}, {})

    def read(self, networks, recipe=""):
        return float(networks["line"](torch.ones(1, 1)).detach())


def test_any_frozen_dataclass_of_values_can_be_kept():
    assert [store.kept(Line(2.5)), store.kept(Line(2.5)), store.kept(Line(1.0))] == [2.5, 2.5, 1.0]
    with pytest.raises(LookupError, match="no networks"):
        store.log_of(Line(7.0))


class Table(torch.nn.Module):
    """Numbers that are kept as networks are."""

    def __init__(self, *columns):
        super().__init__()
        for i, column in enumerate(columns):
            self.register_buffer(f"column{i}", column)


@dataclass(frozen=True)
class Tabled:
    """An experiment without weights, whose blank columns are one."""

    last: float

    def blank(self):
        none = torch.zeros(2, dtype=torch.float64)
        return {"table": Table(none, none)}

    def train(self, device="cpu"):
        return store.Trained({"table": Table(*torch.tensor([[1.0, 2.0], [3.0, self.last]], dtype=torch.float64))}, {})

    def read(self, networks, recipe=""):
        return [column.tolist() for column in networks["table"].buffers()]


def test_numbers_are_kept_as_networks_are():
    assert [store.kept(Tabled(0.1)), store.kept(Tabled(0.1))] == [[[1.0, 2.0], [3.0, 0.1]]] * 2


@dataclass(frozen=True)
class Bent(Line):
    """An experiment that trains what it does not announce."""

    def blank(self):
        return {"line": torch.nn.Linear(2, 1)}


def test_an_experiment_that_does_not_agree_with_itself_is_refused(folders):
    with pytest.raises(ValueError, match=r"Bent\.train and \.blank do not agree: its networks are of other sizes"):
        store.kept(Bent(1.0))
    assert not list(folders[0].iterdir())


def test_weights_beyond_half_precision_are_kept_whole():
    assert [store.kept(Line(70_000.0)), store.kept(Line(70_000.0)), store.kept(Line(0.1))] == [
        70_000.0, 70_000.0, float(torch.tensor(0.1).half())
    ]


def test_folders_of_a_book_and_of_none(tmp_path, monkeypatch):
    for name in ("DIFFNOTES_NETWORKS", "DIFFNOTES_PUBLISHED"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert store._folders() == (tmp_path / "cache" / "diffnotes" / "networks", None)
    (tmp_path / "notebooks").mkdir(), (tmp_path / "_toc.yml").touch()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert store._folders() == (tmp_path / "_build" / "networks", tmp_path / "book" / "networks")
