"""Data sets: what is loaded, from where, and that nothing wrong or half-written is ever kept."""

import gzip
import hashlib
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from photographs import COUNTS, FOLDER, TEST, TRAIN, batches, entry, photographs, tarred

from diffnotes.core import data


def test_digits_are_scaled_labelled_and_identified():
    x, y = data.digits()
    assert x.shape == (1797, 64) and x.dtype == torch.float32 and (x.min(), x.max()) == (-1, 1)
    assert y.dtype == torch.int64 and y.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert torch.equal((x + 1) * 8, ((x + 1) * 8).round())  # seventeen grey levels
    assert set(data.IDENTITY) == {"digits", "mnist", "cifar10"} and all(len(v) == 64 for v in data.IDENTITY.values())


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
    path.parent.mkdir(exist_ok=True)
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
    with pytest.raises(ValueError, match="name = 'letters'; allowed: 'digits', 'mnist14', 'mnist', 'cifar10'"):
        data.image_split("letters")


def test_mnist14_has_the_means_of_four_pixels(npz, monkeypatch):
    monkeypatch.setenv("DIFFNOTES_DATA", str(npz))
    for coarse, fine in zip(data.image_split("mnist14", 2), data.image_split("mnist", 2)):
        assert coarse.x.shape == (len(fine.y), 196) and coarse.x.dtype == torch.float32
        assert torch.equal(coarse.y, fine.y)
        for small, large in zip(coarse.x.reshape(-1, 14, 14).tolist(), fine.x.reshape(-1, 28, 28).tolist()):
            for i in range(14):
                for j in range(14):
                    four = [large[2 * i + a][2 * j + b] for a in (0, 1) for b in (0, 1)]
                    assert small[i][j] == pytest.approx(sum(four) / 4, abs=1e-6)
    assert data.SHAPES["mnist14"] == (1, 14, 14)


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


# ---------------------------------------------------------------- CIFAR-10, from a small stand-in

def expect(monkeypatch, body):
    monkeypatch.setitem(data.CIFAR10_SHA256, "cifar-10-binary.tar.gz", hashlib.sha256(body).hexdigest())
    return body


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A small archive of the right form, whose bytes the loader is made to expect; an empty cache; no data folder."""
    path = tmp_path / "source" / "cifar-10-binary.tar.gz"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(expect(monkeypatch, gzip.compress(tarred(batches()), mtime=0)))
    monkeypatch.delenv("DIFFNOTES_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(data, "CIFAR10_MIRRORS", ("http://127.0.0.1:9/never",))
    return path


def test_the_archive_is_the_published_one():
    assert data.IDENTITY["cifar10"] == "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
    assert data.SHAPES["cifar10"] == (3, 32, 32)


def test_cifar10_from_a_folder_or_a_file_of_any_name(archive, monkeypatch, tmp_path):
    other = tmp_path / "photographs"
    other.write_bytes(archive.read_bytes())
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for place in (archive.parent, archive, other):
        monkeypatch.setenv("DIFFNOTES_DATA", str(place))
        for split, names in (("train", TRAIN), ("test", TEST)):
            x, y = data.cifar10(split)
            parts = [photographs()[name] for name in names]
            assert x.shape == (sum(COUNTS[name] for name in names), 3, 32, 32)
            assert x.dtype == torch.float32 and y.dtype == torch.int64
            assert y.tolist() == [label for _, labels in parts for label in labels]
            right = np.concatenate([images for images, _ in parts]).astype(float) / 127.5 - 1
            np.testing.assert_allclose(x.permute(0, 2, 3, 1).numpy(), right, atol=1e-6)
    red, green, blue = data.cifar10()[0][0]
    assert [red[0, 0], green[0, 0], blue[0, 0]] == pytest.approx([-1, 1, -0.6])
    assert [red[0, 1], green[0, 1], blue[0, 1]] == pytest.approx([1, -1, 0.6])
    assert sorted(tmp_path.rglob("*")) == before  # nothing is unpacked, nothing is stored
    with pytest.raises(ValueError, match="split = 'all'"):
        data.cifar10("all")


def test_photographs_are_split_at_random(archive, monkeypatch):
    monkeypatch.setenv("DIFFNOTES_DATA", str(archive))
    train, held_out = data.image_split("cifar10", 1)
    assert train.x.shape == (40, 3072) and held_out.x.shape == (10, 3072)  # a fifth of 50 is held out
    x, y = data.cifar10("train")
    label = {tuple(image.flatten().tolist()): int(one) for image, one in zip(x, y)}
    both = [(tuple(row.tolist()), int(one)) for part in (train, held_out) for row, one in zip(*part)]
    assert len(label) == 50 and sorted(both) == sorted(label.items())
    assert all(torch.equal(a, b) for a, b in zip(train, data.image_split("cifar10", 1)[0]))
    other = data.image_split("cifar10", 2)[1]
    assert {tuple(row) for row in other.x.tolist()} != {tuple(row) for row in held_out.x.tolist()}


@pytest.mark.parametrize("change", [
    lambda b: bytes([*b[:500], b[500] ^ 1, *b[501:]]), lambda b: b + b"\0", lambda b: b[:-1], lambda b: b"",
    lambda b: gzip.compress(gzip.decompress(b), 1, mtime=1),  # the same members, packed otherwise
], ids=["flipped", "longer", "shorter", "empty", "packed anew"])
def test_an_archive_of_other_bytes_is_not_opened(archive, monkeypatch, change):
    wanted = data.CIFAR10_SHA256["cifar-10-binary.tar.gz"]
    archive.write_bytes(change(archive.read_bytes()))
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setenv("DIFFNOTES_DATA", str(archive))
    opened = []
    monkeypatch.setattr(data.tarfile, "open", lambda *args, **kwargs: opened.append(args))
    with pytest.raises(ValueError, match=rf"cifar-10-binary\.tar\.gz has the SHA-256 {found}; expected {wanted}"):
        data.cifar10()
    assert opened == []


THIRD = f"{FOLDER}/data_batch_3.bin"


def without(name=THIRD):
    return {key: body for key, body in batches().items() if key != name}


def labelled(label):
    body = bytearray(batches()[THIRD])
    body[3 * 3073] = label
    return batches() | {THIRD: bytes(body)}


def third(body):
    return tarred(batches() | {THIRD: body})


FORMS = {
    "missing": (lambda: tarred(without()), "has no member 'cifar-10-batches-bin/data_batch_3.bin'"),
    "no test": (lambda: tarred(without(f"{FOLDER}/test_batch.bin")), "has no member .*test_batch"),
    "a byte less": (lambda: third(batches()[THIRD][:-1]), r"_3\.bin' has 30729 bytes; allowed: records of 3073 bytes"),
    "a byte more": (lambda: third(batches()[THIRD] + b"\0"), r"_3\.bin' has 30731 bytes; allowed: records of 3073"),
    "empty": (lambda: third(b""), r"_3\.bin' has 0 bytes"),
    "label 10": (lambda: tarred(labelled(10)), r"_3\.bin' has the label 10; allowed: 0 to 9"),
    "label 255": (lambda: tarred(labelled(255)), "has the label 255"),
    "twice": (lambda: tarred(batches(), (THIRD, batches()[THIRD])), r"_3\.bin' is there twice"),
    "symbolic link": (lambda: tarred(without(), (THIRD, entry(THIRD, tarfile.SYMTYPE, "data_batch_2.bin"))),
                      r"member '\S*data_batch_3\.bin' is not a plain file"),
    "hard link": (lambda: tarred(without(), (THIRD, entry(THIRD, tarfile.LNKTYPE, f"{FOLDER}/data_batch_2.bin"))),
                  r"member '\S*data_batch_3\.bin' is not a plain file"),
    "another link": (lambda: tarred(batches(), ("", entry(f"{FOLDER}/note", tarfile.SYMTYPE, "/etc/hostname"))),
                     "member '\\S*note' is not a plain file"),
    "pipe": (lambda: tarred(batches(), ("", entry(f"{FOLDER}/pipe", tarfile.FIFOTYPE))), "pipe' is not a plain file"),
    "folder": (lambda: tarred(without(), (THIRD, entry(THIRD))), "is not a plain file"),
    "sparse": (lambda: tarred(without(), (THIRD, entry(THIRD, tarfile.GNUTYPE_SPARSE))), "is not a plain file"),
    "outside": (lambda: tarred(batches(), ("data_batch_3.bin", b"x")), "member 'data_batch_3.bin' is not a plain file"),
    "above": (lambda: tarred(batches(), (f"{FOLDER}/../x", b"x")), r"x' is not a plain file in the folder"),
    "root": (lambda: tarred(batches(), (f"/{FOLDER}/x", b"x")), "is not a plain file in the folder"),
    "below": (lambda: tarred(batches(), (f"{FOLDER}/more/x", b"x")), "is not a plain file in the folder"),
    "parent": (lambda: tarred(batches(), (f"{FOLDER}/..", b"x")), "is not a plain file in the folder"),
    "other folder": (lambda: tarred({f"cifar/{key.partition('/')[2]}": body for key, body in batches().items()}),
                     "member 'cifar/test_batch.bin' is not a plain file in the folder 'cifar-10-batches-bin'"),
    "cut": (lambda: tarred(batches())[:100_000], r"is not a readable tar\.gz file"),
    "no tar": (lambda: b"<html>", r"is not a readable tar\.gz file"),
}


@pytest.mark.parametrize("name", FORMS)
def test_an_archive_of_another_form_is_refused_though_its_hash_is_right(archive, monkeypatch, tmp_path, name):
    made, says = FORMS[name]
    archive.write_bytes(expect(monkeypatch, gzip.compress(made(), mtime=0)))
    monkeypatch.setenv("DIFFNOTES_DATA", str(archive))
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=rf"cifar-10-binary\.tar\.gz.*{says}"):
        data.cifar10()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("change", [lambda b: b[: len(b) // 2], gzip.decompress, lambda b: b"PK"])
def test_what_is_no_whole_gzip_file_is_refused_though_its_hash_is_right(archive, monkeypatch, change):
    archive.write_bytes(expect(monkeypatch, change(archive.read_bytes())))
    monkeypatch.setenv("DIFFNOTES_DATA", str(archive))
    with pytest.raises(ValueError, match=r"cifar-10-binary\.tar\.gz is not a readable tar\.gz file"):
        data.cifar10()


def test_cifar10_is_downloaded_verified_cached_and_not_fetched_again(archive, server, monkeypatch, tmp_path, capfd):
    body = archive.read_bytes()
    server.pages["/good"] = body, len(body)
    monkeypatch.setattr(data, "CIFAR10_MIRRORS", (server.url + "/missing", server.url + "/good"))
    x, _ = data.cifar10("test")
    assert server.asked == ["/missing", "/good"] and cached(tmp_path) == ["cifar-10-binary.tar.gz"]
    assert torch.equal(data.cifar10("test")[0], x) and len(server.asked) == 2
    own = tmp_path / "cache" / "diffnotes" / "cifar-10-binary.tar.gz"
    for damaged in (body[:-50], body + b"\0", b""):  # damaged later: fetched anew
        own.write_bytes(damaged)
        server.asked.clear()
        assert torch.equal(data.cifar10("test")[0], x) and server.asked == ["/missing", "/good"]
        assert own.read_bytes() == body and cached(tmp_path) == ["cifar-10-binary.tar.gz"]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("damage, says", [
    (lambda body: (body[:-200], len(body)), "bytes"),  # the connection broke
    (lambda body: (body[:-200], len(body) - 200), "the file has the SHA-256"),
    (lambda body: (body + b"\0", len(body) + 1), "the file has the SHA-256"),
    (lambda body: (b"<html>", 6), "the file has the SHA-256"),
])
def test_a_wrong_download_of_cifar10_leaves_nothing(archive, server, monkeypatch, tmp_path, damage, says):
    server.pages["/bad"] = damage(archive.read_bytes())
    monkeypatch.setattr(data, "CIFAR10_MIRRORS", (server.url + "/bad",))
    allowed = r"a folder with cifar-10-binary\.tar\.gz, or such a file"
    with pytest.raises(ConnectionError, match=rf"(?s)CIFAR-10 .*nothing was stored.*{allowed}.*/bad: .*({says})"):
        data.cifar10()
    assert cached(tmp_path) == []


def test_one_place_serves_both_data_sets_or_says_which_file_is_missing(npz, archive, monkeypatch):
    """Both stand-ins lie in the same folder."""
    assert npz.parent == archive.parent
    monkeypatch.setenv("DIFFNOTES_DATA", str(npz.parent))
    assert len(data.mnist("test")[0]) == 4 and len(data.cifar10("test")[0]) == 7
    monkeypatch.setenv("DIFFNOTES_DATA", str(npz))
    assert len(data.mnist("test")[0]) == 4
    missing = r"cifar-10-binary\.tar\.gz of CIFAR-10 is missing"
    allowed = r"allowed: a folder with cifar-10-binary\.tar\.gz, or such a file"
    with pytest.raises(FileNotFoundError, match=rf"mnist\.npz is of the kind npz.*{missing}; {allowed}"):
        data.cifar10()
    monkeypatch.setenv("DIFFNOTES_DATA", str(archive))
    assert len(data.cifar10("test")[0]) == 7
    with pytest.raises(FileNotFoundError, match=r"\.tar\.gz is of the kind tar\.gz.*mnist\.npz of MNIST is missing"):
        data.mnist()
    monkeypatch.setenv("DIFFNOTES_DATA", str(archive.parent))
    archive.unlink()
    with pytest.raises(FileNotFoundError, match=rf"there is no file \S*cifar-10-binary\.tar\.gz; {allowed}"):
        data.cifar10()
    assert len(data.mnist("test")[0]) == 4
