"""Data sets: what is loaded, from where, and that nothing wrong or half-written is ever kept."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffnotes.core import data


def test_digits_are_scaled_labelled_and_identified():
    x, y = data.digits()
    assert x.shape == (1797, 64) and x.dtype == torch.float32 and (x.min(), x.max()) == (-1, 1)
    assert y.dtype == torch.int64 and y.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert torch.equal((x + 1) * 8, ((x + 1) * 8).round())  # seventeen grey levels
    assert set(data.IDENTITY) == {"digits", "mnist"} and all(len(v) == 64 for v in data.IDENTITY.values())


def test_other_digits_are_refused(monkeypatch):
    monkeypatch.setitem(data.DIGITS_SHA256, "y", "0" * 64)
    with pytest.raises(ValueError, match=r"load_digits.*'y'.*expected 000"):
        data.digits()


def test_digits_split_is_stratified_disjoint_and_fixed_by_the_seed():
    (train, test), whole = data.digits_split(3), data.digits()
    assert len(train.y) + len(test.y) == 1797
    assert (test.y.bincount() - whole.y.bincount() / 5).abs().max() <= 0.5
    rows = {tuple(row) for row in whole.x.tolist()}
    assert len(rows) == 1797  # no two digits are equal, so rows identify samples
    assert {tuple(row) for row in torch.cat([train.x, test.x]).tolist()} == rows
    label = {tuple(row): int(c) for row, c in zip(whole.x.tolist(), whole.y)}
    assert all(label[tuple(row)] == int(c) for row, c in zip(test.x.tolist(), test.y))
    assert all(torch.equal(a, b) for a, b in zip(train, data.digits_split(3)[0]))
    assert not torch.equal(test.x, data.digits_split(4)[1].x)


# ---------------------------------------------------------------- MNIST, from a small stand-in

@pytest.fixture
def npz(tmp_path, monkeypatch):
    """A small file of the right form, whose hashes the loader is made to expect; an empty cache; no data folder."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 6), ("test", 4)):
        arrays[f"x_{split}"] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        arrays[f"y_{split}"] = rng.integers(0, 10, n, dtype=np.uint8)
    arrays["x_train"][0, 0, :2] = 0, 255
    path = tmp_path / "source" / "mnist.npz"
    path.parent.mkdir()
    np.savez(path, **arrays)
    for name, values in arrays.items():
        monkeypatch.setitem(data.MNIST_SHA256, name, hashlib.sha256(values.tobytes()).hexdigest())
    monkeypatch.delenv("DIFFNOTES_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(data, "MIRRORS", ("http://127.0.0.1:9/never",))
    return path


@pytest.fixture
def server(monkeypatch):
    """A local server: ``pages`` maps a path to (body, length to announce); ``asked`` collects the requests."""
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            if self.path not in self.server.pages:
                self.send_error(404)
                return
            body, length = self.server.pages[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        running.pages, running.asked = {}, []
        running.url = f"http://127.0.0.1:{running.server_port}"
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "127.0.0.1")
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def cached(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


def test_mnist_from_a_folder_or_a_file(npz, monkeypatch, tmp_path):
    raw = np.load(npz)
    for place in (npz.parent, npz):
        monkeypatch.setenv("DIFFNOTES_DATA", str(place))
        x, y = data.mnist("train")
        assert x.shape == (6, 1, 28, 28) and x.dtype == torch.float32 and y.dtype == torch.int64
        assert x[0, 0, 0, :2].tolist() == [-1, 1]
        np.testing.assert_allclose(x[:, 0].numpy(), raw["x_train"] / 127.5 - 1, atol=1e-6)
        assert y.tolist() == raw["y_train"].tolist()
        assert data.mnist("test")[0].shape == (4, 1, 28, 28)
    assert cached(tmp_path) == []


def test_images_are_split_at_random(npz, monkeypatch):
    monkeypatch.setenv("DIFFNOTES_DATA", str(npz))
    train, held_out = data.image_split("mnist", 1)
    assert train.x.shape == (5, 784) and held_out.x.shape == (1, 784)
    x, y = data.mnist("train")
    rows = {tuple(image.tolist()): int(label) for image, label in zip(x.flatten(1), y)}
    both = [(tuple(image.tolist()), int(label)) for part in (train, held_out) for image, label in zip(*part)]
    assert sorted(both) == sorted(rows.items())
    assert any(not torch.equal(train.x, data.image_split("mnist", other)[0].x) for other in (2, 3, 4))
    assert torch.equal(data.image_split("digits", 1)[0].x, data.digits_split(1)[0].x)
    with pytest.raises(ValueError, match="name = 'letters'; allowed: 'digits', 'mnist'"):
        data.image_split("letters")


def test_a_given_file_with_other_arrays_is_refused(npz, monkeypatch):
    monkeypatch.setenv("DIFFNOTES_DATA", str(npz))
    wanted = data.MNIST_SHA256["x_test"]
    arrays = dict(np.load(npz))
    arrays["x_test"] = arrays["x_test"] ^ 1
    found = hashlib.sha256(arrays["x_test"].tobytes()).hexdigest()
    np.savez(npz, **arrays)
    with pytest.raises(ValueError, match=rf"'x_test' has the SHA-256 {found}; expected {wanted}"):
        data.mnist()
    del arrays["y_test"]
    arrays["x_test"] = arrays["x_test"] ^ 1
    np.savez(npz, **arrays)
    with pytest.raises(ValueError, match="no array 'y_test'"):
        data.mnist()


@pytest.mark.parametrize("body", [b"", b"no npz", b"PK\x03\x04 cut", b"\x93NUMPY"])
def test_a_given_file_that_is_no_npz_is_refused(npz, monkeypatch, body):
    monkeypatch.setenv("DIFFNOTES_DATA", str(npz))
    npz.write_bytes(body)
    with pytest.raises(ValueError, match=r"mnist\.npz is not a readable npz"):
        data.mnist()


def test_objects_in_a_file_are_never_unpickled(npz, monkeypatch):
    monkeypatch.setenv("DIFFNOTES_DATA", str(npz))
    np.savez(npz, **dict(np.load(npz)) | {"x_train": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match="allow_pickle"):
        data.mnist()


def test_a_given_place_without_a_file_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("DIFFNOTES_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="DIFFNOTES_DATA"):
        data.mnist()


def test_download_is_verified_cached_and_not_repeated(npz, server, monkeypatch, tmp_path, capfd):
    body = npz.read_bytes()
    server.pages["/good"] = body, len(body)
    monkeypatch.setattr(data, "MIRRORS", (server.url + "/missing", server.url + "/good"))
    x, _ = data.mnist("test")
    assert server.asked == ["/missing", "/good"] and cached(tmp_path) == ["mnist.npz"]
    assert torch.equal(data.mnist("test")[0], x) and len(server.asked) == 2
    (tmp_path / "cache" / "diffnotes" / "mnist.npz").write_bytes(body[:-50])  # damaged later: fetched anew
    assert torch.equal(data.mnist("test")[0], x) and server.asked[2:] == ["/missing", "/good"]
    assert capfd.readouterr().err == ""  # no progress bar where nobody watches


@pytest.mark.parametrize("damage, says", [
    (lambda body: (body[:-200], len(body)), "bytes"),  # the connection broke
    (lambda body: (body.replace(b"x_test", b"x_tost"), len(body)), "x_test"),
    (lambda body: (bytes([*body[:200], body[200] ^ 1, *body[201:]]), len(body)), "readable npz|SHA-256"),
    (lambda body: (b"<html>", 6), "readable npz"),
])
def test_a_broken_or_wrong_download_leaves_nothing(npz, server, monkeypatch, tmp_path, damage, says):
    server.pages["/bad"] = damage(npz.read_bytes())
    monkeypatch.setattr(data, "MIRRORS", (server.url + "/bad",))
    with pytest.raises(ConnectionError, match=rf"(?s)nothing was stored.*DIFFNOTES_DATA.*/bad: .*({says})"):
        data.mnist()
    assert cached(tmp_path) == []


def test_no_network_is_said_plainly_and_leaves_nothing(npz, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(ConnectionError, match=r"DIFFNOTES_DATA(?s:.*)127\.0\.0\.1:9/never"):
        data.mnist()
    assert cached(tmp_path) == []


def test_interrupt_during_download_leaves_nothing(npz, tmp_path, monkeypatch):
    def interrupted(url, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "_fetch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        data.mnist()
    assert cached(tmp_path) == []


def test_the_cache_gets_a_file_only_by_one_move(npz, server, tmp_path, monkeypatch):
    def refused(source, target):
        assert cached(tmp_path) == [source.rpartition("/")[2]]
        raise OSError("no room")

    server.pages["/good"] = npz.read_bytes(), npz.stat().st_size
    monkeypatch.setattr(data, "MIRRORS", (server.url + "/good",))
    monkeypatch.setattr(data.os, "replace", refused)
    with pytest.raises(ConnectionError, match="no room"):
        data.mnist()
    assert cached(tmp_path) == []


def test_unknown_split_is_named():
    with pytest.raises(ValueError, match="split = 'all'"):
        data.mnist("all")


# ---------------------------------------------------------------- what identifies the data, and damage of every kind

def test_the_identity_is_of_dtypes_shapes_and_bytes():
    for name, sums in (("digits", data.DIGITS_SHA256), ("mnist", data.MNIST_SHA256)):
        form = {"digits": {"x": "(n, *(64,))"}, "mnist": {"x": "(n, *(28, 28))"}}[name] | {"y": "(n, *())"}
        text = "".join(f"{key} uint8 {form[key[0]]} {value}\n" for key, value in sums.items())
        assert data.IDENTITY[name] == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("name", ["x_train", "y_train", "x_test", "y_test"])
@pytest.mark.parametrize("other", [
    lambda a: a.reshape(len(a), -1), lambda a: a.reshape(-1), lambda a: a.view(np.int8), lambda a: a[None],
    lambda a: a.reshape(len(a) // 2, 2, *a.shape[1:]), lambda a: a.view(np.bool_), lambda a: a.astype(np.int64),
])
def test_the_same_bytes_in_another_form_are_other_data(npz, monkeypatch, name, other):
    """The bytes and their hash are right, what they mean is not."""
    arrays = dict(np.load(npz))
    changed = other(arrays[name])
    if changed.shape == arrays[name].shape and changed.dtype == np.uint8:
        return  # labels have one axis already
    np.savez(npz, **arrays | {name: changed})
    monkeypatch.setenv("DIFFNOTES_DATA", str(npz))
    with pytest.raises(ValueError, match=rf"array '{name}' is .* expected uint8 of shape \(n"):
        data.mnist()


def test_digits_in_another_form_are_refused(monkeypatch):
    from sklearn import datasets

    source = datasets.load_digits()
    for changed in (source.data.reshape(-1, 8, 8), source.data + 0.25, source.data + 256):
        monkeypatch.setattr(datasets, "load_digits", lambda x=changed: type(source)(data=x, target=source.target))
        with pytest.raises(ValueError, match=r"load_digits.* array 'x'"):
            data.digits()


def central(body, offset, value):
    """The archive with one byte changed in its directory's first entry."""
    at = body.index(b"PK\x01\x02") + offset
    return body[:at] + bytes([value]) + body[at + 1 :]


def flagged(body):
    """The archive with the encryption flag of its first member set, in both places where a zip file keeps it."""
    return central(body[:6] + bytes([body[6] | 1]) + body[7:], 8, 1)


DAMAGE = {"encrypted": flagged, "cut": lambda b: b[:-200], "short": lambda b: b[:30], "empty": lambda b: b"",
          "text": lambda b: b"<html>", "method": lambda b: central(b, 10, 0x63),
          "header": lambda b: b.replace(b"NUMPY\x01", b"NUMPY\x09", 1),
          "name": lambda b: b.replace(b"x_test", b"x_tost"), "descr": lambda b: b.replace(b"'|u1'", b"'|u9'", 1),
          "shape": lambda b: b.replace(b"(6, 28, 28)", b"(6, 28, 29)", 1),
          "version": lambda b: central(b, 6, 0xFF)}


@pytest.mark.parametrize("name", DAMAGE)
def test_every_damage_is_a_value_error_and_an_own_copy_is_fetched_again(npz, server, monkeypatch, tmp_path, name):
    body = npz.read_bytes()
    damaged = DAMAGE[name](body)
    assert damaged != body
    bad = tmp_path / "bad.npz"
    bad.write_bytes(damaged)
    monkeypatch.setenv("DIFFNOTES_DATA", str(bad))
    with pytest.raises(ValueError, match=r"bad\.npz"):
        data.mnist()
    monkeypatch.delenv("DIFFNOTES_DATA")
    own = tmp_path / "cache" / "diffnotes" / "mnist.npz"
    own.parent.mkdir(parents=True)
    own.write_bytes(damaged)
    server.pages["/good"] = body, len(body)
    monkeypatch.setattr(data, "MIRRORS", (server.url + "/good",))
    assert len(data.mnist("test")[0]) == 4 and own.read_bytes() == body and len(server.asked) == 1


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_is_a_value_error_or_harms_nothing(npz, monkeypatch, tmp_path, place, bit):
    body = bytearray(npz.read_bytes())
    body[int(place * len(body))] ^= 1 << bit
    bad = tmp_path / "bad.npz"
    bad.write_bytes(body)
    monkeypatch.setenv("DIFFNOTES_DATA", str(bad))
    try:
        x, y = data.mnist("test")
    except ValueError:
        return
    monkeypatch.setenv("DIFFNOTES_DATA", str(npz))
    for found, right in zip((x, y), data.mnist("test")):
        assert torch.equal(found, right)


def test_a_folder_in_the_place_of_the_copy(npz, server, monkeypatch, tmp_path):
    own = tmp_path / "cache" / "diffnotes" / "mnist.npz"
    own.mkdir(parents=True)
    (own / "note").write_text("mine")
    server.pages["/good"] = npz.read_bytes(), npz.stat().st_size
    monkeypatch.setattr(data, "MIRRORS", (server.url + "/good",))
    with pytest.raises(IsADirectoryError, match=r"mnist\.npz is a folder in the place of the file"):
        data.mnist()
    assert (own / "note").read_text() == "mine" and server.asked == []
    (own / "note").unlink()
    assert len(data.mnist("test")[0]) == 4 and own.is_file()
    monkeypatch.setenv("DIFFNOTES_DATA", str(tmp_path / "given"))
    (tmp_path / "given" / "mnist.npz").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"mnist\.npz is not a readable npz"):
        data.mnist()


@pytest.mark.parametrize("place", ["~nosuch/x", "/nowhere/at/all", "x" * 5000, "~"])
def test_a_place_that_cannot_be_is_named(monkeypatch, place, tmp_path):
    monkeypatch.setenv("DIFFNOTES_DATA", place)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="DIFFNOTES_DATA = "):
        data.mnist()


def test_no_home_and_a_cache_that_cannot_be_written_are_said_plainly(npz, monkeypatch, tmp_path):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(data.Path, "home", homeless)
    with pytest.raises(FileNotFoundError, match=r"no home folder.*XDG_CACHE_HOME.*DIFFNOTES_DATA"):
        data.mnist()
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"cannot be written.*XDG_CACHE_HOME.*DIFFNOTES_DATA"):
        data.mnist()
