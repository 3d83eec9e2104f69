"""Real data: the 8 x 8 digits that come with scikit-learn, and MNIST and CIFAR-10, which are fetched once.

MNIST and the 8 x 8 ones are handwritten digits 0-9, CIFAR-10 has colour photographs of ten kinds of things; pixels are
scaled to [-1, 1]. A data set is what its bytes are, and they are compared with a known SHA-256 whenever they are read,
wherever they came from: for the digits and MNIST those of each array, with its shape and dtype, for CIFAR-10 those of
the archive of its binary version, whose members are then read in memory and checked for their form.

``DIFFNOTES_DATA``, a folder with ``mnist.npz``, ``cifar-10-binary.tar.gz`` or both, or one such file itself, is read
instead of any download; else a file is kept in the user's cache folder (``$XDG_CACHE_HOME/diffnotes`` or
``~/.cache/diffnotes``), where it appears complete and verified or not at all, and a damaged one is replaced.

References: Alpaydin and Kaynak 1998 (Optical Recognition of Handwritten Digits, UCI); LeCun, Cortes and Burges 1998
(MNIST); Krizhevsky 2009 (Learning Multiple Layers of Features from Tiny Images: CIFAR-10).
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["IDENTITY", "SHAPES", "Digits", "cifar10", "digits", "digits_split", "image_split", "mnist"]

DIGITS_SHA256 = {
    "x": "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3",
    "y": "8ba4f891220f5e4c9c819638d1602d74b83618f167043c6da52a2a247841ddf0",
}
MNIST_SHA256 = {
    "x_train": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "y_train": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    "x_test": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    "y_test": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
}
CIFAR10_SHA256 = {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"}
"""Of the archive itself, as TensorFlow Datasets publishes it; the page of the data set gives its MD5 only."""

FORMS = {"digits": {"x": (64,), "y": ()}, "mnist": {"x": (28, 28), "y": ()}}
"""The shape of one image and of one label, by data set: arrays are (n, *form), uint8; n follows from the bytes."""

IDENTITY = {
    name: hashlib.sha256("".join(f"{key} uint8 (n, *{FORMS[name][key[0]]}) {sums[key]}\n" for key in sums).encode())
    .hexdigest()
    for name, sums in (("digits", DIGITS_SHA256), ("mnist", MNIST_SHA256))
} | {"cifar10": CIFAR10_SHA256["cifar-10-binary.tar.gz"]}
"""One SHA-256 for each data set, of the dtypes, shapes and SHA-256 of its arrays, or, for CIFAR-10, of its archive:
what a page's provenance records."""

SHAPES = {"digits": (1, 8, 8), "mnist14": (1, 14, 14), "mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
"""Channels, height and width of an image, by data set; "mnist14" are the means of 2 x 2 pixels of MNIST."""

MIRRORS = (
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
    "https://s3.amazonaws.com/img-datasets/mnist.npz",
)
CIFAR10_MIRRORS = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "https://cave.cs.toronto.edu/kriz/cifar-10-binary.tar.gz",
)
CIFAR10_FOLDER = "cifar-10-batches-bin"
CIFAR10_BATCHES = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}
"""The members of the archive, by split: records of one byte, the label, and 3072, the red, green and blue pixels."""


class Digits(NamedTuple):
    """Images ``x`` (n, 64), float32 in [-1, 1], row by row, and labels ``y`` (n,), int64."""

    x: Tensor
    y: Tensor


def _verify(arrays: Mapping[str, np.ndarray], expected: Mapping[str, str], forms: Mapping[str, tuple[int, ...]],
            where: str) -> dict[str, np.ndarray]:
    """The named arrays as they are, or ValueError naming the first that is missing or differs."""
    checked = {}
    for name, wanted in expected.items():
        if name not in arrays:
            raise ValueError(f"{where} has no array {name!r}; allowed: {', '.join(expected)}")
        array, form = arrays[name], forms[name[0]]
        if array.dtype != np.uint8 or array.ndim != 1 + len(form) or array.shape[1:] != form:
            raise ValueError(f"{where}: array {name!r} is {array.dtype} of shape {array.shape}; expected uint8 of "
                             f"shape ({', '.join(map(str, ('n', *form)))})")
        checked[name] = np.ascontiguousarray(array)
        found = hashlib.sha256(checked[name].tobytes()).hexdigest()
        if found != wanted:
            raise ValueError(f"{where}: array {name!r} has the SHA-256 {found}; expected {wanted}")
    return checked


def digits() -> Digits:
    """All 1797 digits of scikit-learn.

    Raises:
        ValueError: if the installed scikit-learn holds other data.
    """
    from sklearn.datasets import load_digits

    source = load_digits()
    where = "scikit-learn's load_digits()"
    arrays = {"x": source.data.astype(np.uint8), "y": source.target.astype(np.uint8)}
    for name, given in (("x", source.data), ("y", source.target)):
        if not np.array_equal(given, arrays[name]):
            raise ValueError(f"{where}: array {name!r} holds other numbers than whole ones in 0..255")
    arrays = _verify(arrays, DIGITS_SHA256, FORMS["digits"], where)
    return Digits(torch.from_numpy(arrays["x"]).float() / 8 - 1, torch.from_numpy(arrays["y"]).long())


def digits_split(seed: int = 0) -> tuple[Digits, Digits]:
    """The digits as (train, test), 80 % and 20 % of each class, in random order; a seed fixes the split."""
    x, y = digits()
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    test = torch.zeros(len(y), dtype=torch.bool)
    for label in range(10):
        members = order[y[order] == label]
        test[members[: round(len(members) / 5)]] = True
    chosen = order[~test[order]], order[test[order]]
    return Digits(x[chosen[0]], y[chosen[0]]), Digits(x[chosen[1]], y[chosen[1]])


# --- files that are fetched once --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Archive:
    """A data set's file.

    Attributes:
        title: what the data set is called.
        file: the name of the file.
        mirrors: where it can be fetched, in the order in which they are tried.
        sha256: what identifies it, by name: the SHA-256 of each of its arrays, or of the file itself.
        read: from a file that is open, ``sha256`` and the path, for messages, to the verified arrays ``x_train``,
            ``y_train``, ``x_test`` and ``y_test``; ValueError for whatever is wrong.
    """

    title: str
    file: str
    mirrors: tuple[str, ...]
    sha256: Mapping[str, str]
    read: Callable[[BinaryIO, Mapping[str, str], Path], dict[str, np.ndarray]]

    @property
    def kind(self) -> str:
        """What the name of the file ends in."""
        return self.file.partition(".")[2]

    @property
    def given(self) -> str:
        """What DIFFNOTES_DATA may be for it."""
        return f"a folder with {self.file}, or such a file"


def _archives() -> dict[str, _Archive]:
    """The files that are fetched, by data set."""
    return {
        "mnist": _Archive("MNIST", "mnist.npz", MIRRORS, MNIST_SHA256, _npz),
        "cifar10": _Archive("CIFAR-10", "cifar-10-binary.tar.gz", CIFAR10_MIRRORS, CIFAR10_SHA256, _batches),
    }


@contextmanager
def _readable(path: Path, kind: str) -> Iterator[None]:
    """Whatever goes wrong inside becomes ValueError; FileNotFoundError stays."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged file may raise anything: numpy, zipfile, tarfile, zlib each have their own
        raise ValueError(f"{path} is not a readable {kind} file: {error}") from error


def _npz(file: BinaryIO, expected: Mapping[str, str], path: Path) -> dict[str, np.ndarray]:
    """The arrays of MNIST's file."""
    with _readable(path, "npz"), np.load(file, allow_pickle=False) as source:
        arrays = {name: source[name] for name in expected if name in source}
    return _verify(arrays, expected, FORMS["mnist"], str(path))


def _batches(file: BinaryIO, expected: Mapping[str, str], path: Path) -> dict[str, np.ndarray]:
    """The arrays of CIFAR-10's archive, which is not opened before its bytes are known to be the right ones."""
    with _readable(path, "tar.gz"):
        found = hashlib.file_digest(file, "sha256").hexdigest()
    (wanted,) = expected.values()
    if found != wanted:
        raise ValueError(f"{path} has the SHA-256 {found}; expected {wanted}")
    with _readable(path, "tar.gz"):
        file.seek(0)
        records = _records(file)
    arrays = {}
    for split, names in CIFAR10_BATCHES.items():
        for name in names:
            if name not in records:
                raise ValueError(f"{path} has no member '{CIFAR10_FOLDER}/{name}'")
            if (label := records[name][:, 0].max()) > 9:
                raise ValueError(f"{path}: member '{CIFAR10_FOLDER}/{name}' has the label {label}; allowed: 0 to 9")
        arrays[f"x_{split}"] = np.concatenate([records[name][:, 1:] for name in names]).reshape(-1, *SHAPES["cifar10"])
        arrays[f"y_{split}"] = np.concatenate([records[name][:, 0] for name in names])
    return arrays


def _records(file: BinaryIO) -> dict[str, np.ndarray]:
    """The batches of CIFAR-10 by name, uint8 of shape (n, 3073); ValueError for a member that has no place there."""
    size = 1 + math.prod(SHAPES["cifar10"])
    wanted = {f"{CIFAR10_FOLDER}/{name}": name for names in CIFAR10_BATCHES.values() for name in names}
    records = {}
    with tarfile.open(fileobj=file, mode="r:gz") as source:
        for member in source:
            if member.isdir() and member.name == CIFAR10_FOLDER:
                continue
            folder, _, name = member.name.rpartition("/")
            if not member.isreg() or member.issparse() or folder != CIFAR10_FOLDER or name in ("", ".", ".."):
                raise ValueError(f"member {member.name!r} is not a plain file in the folder {CIFAR10_FOLDER!r}")
            if member.name not in wanted:  # its two texts
                continue
            if name in records:
                raise ValueError(f"member {member.name!r} is there twice")
            if member.size == 0 or member.size % size:
                raise ValueError(f"member {member.name!r} has {member.size} bytes; allowed: records of {size} bytes")
            records[name] = np.frombuffer(source.extractfile(member).read(), np.uint8).reshape(-1, size)
    return records


def _read(archive: _Archive, path: Path) -> dict[str, np.ndarray]:
    """The verified arrays of a file; FileNotFoundError where there is none, ValueError for whatever is wrong."""
    with _readable(path, archive.kind):
        file = path.open("rb")
    with file:
        return archive.read(file, archive.sha256, path)


def _fetch(url: str, path: Path) -> None:
    """Download ``url`` to ``path``; OSError if it cannot be reached or ends early."""
    import pooch

    watched = sys.stderr.isatty()
    pooch.HTTPDownloader(progressbar=watched, timeout=30)(url, str(path), None)  # requests' errors are OSErrors


def _temporary(archive: _Archive, folder: Path) -> str:
    """The name of a new, empty file for a download."""
    handle, name = tempfile.mkstemp(prefix=f".{archive.file.partition('.')[0]}-", suffix=f".{archive.kind}", dir=folder)
    os.close(handle)
    return name


def _download(archive: _Archive, target: Path) -> dict[str, np.ndarray]:
    """Try the mirrors in turn; the file is moved to ``target`` only when it is verified."""
    advice = f"DIFFNOTES_DATA to {archive.given}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        Path(_temporary(archive, target.parent)).unlink()
    except OSError as error:
        raise OSError(f"the cache folder {target.parent} cannot be written: {error}. Set XDG_CACHE_HOME to another "
                      f"folder, or {advice}") from error
    if target.is_dir() and not target.is_symlink():
        try:
            target.rmdir()  # an empty one only
        except OSError as error:
            raise IsADirectoryError(f"{target} is a folder in the place of the file; remove it, or set "
                                    f"{advice}") from error
    failures = []
    for url in archive.mirrors:
        name = _temporary(archive, target.parent)
        try:
            _fetch(url, Path(name))
            arrays = _read(archive, Path(name))
            os.replace(name, target)
            return arrays
        except (OSError, ValueError) as error:
            failures.append(f"{url}: {str(error).replace(name, 'the file')}")
        finally:
            Path(name).unlink(missing_ok=True)
    raise ConnectionError(f"{archive.title} could not be downloaded; nothing was stored. Set {advice}.\n  "
                          + "\n  ".join(failures))


def _cache(archive: _Archive) -> Path:
    """The user's cache folder."""
    given = os.environ.get("XDG_CACHE_HOME")
    if given and Path(given).is_absolute():  # the XDG rules say that a relative one is to be ignored
        return Path(given)
    try:
        return Path.home() / ".cache"
    except RuntimeError as error:
        raise FileNotFoundError(f"there is no home folder to keep {archive.title} in; set XDG_CACHE_HOME to a folder, "
                                f"or DIFFNOTES_DATA to {archive.given}") from error


def _given(archive: _Archive, value: str) -> Path:
    """The file that DIFFNOTES_DATA names for a data set, or FileNotFoundError."""
    allowed = f"allowed: {archive.given}"
    try:
        path = Path(value).expanduser()
        path = path / archive.file if path.is_dir() else path
        there = path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # no such user, no home, a name too long, a zero byte
        raise FileNotFoundError(f"DIFFNOTES_DATA = {value!r}: {error}; {allowed}") from error
    if not there:
        raise FileNotFoundError(f"DIFFNOTES_DATA = {value!r}: there is no file {path}; {allowed}")
    for other in _archives().values():  # a file with any other name is judged by what is in it
        if other.kind != archive.kind and path.name.lower().endswith(f".{other.kind}"):
            raise FileNotFoundError(f"DIFFNOTES_DATA = {value!r}: {path} is of the kind {other.kind}, as that of "
                                    f"{other.title}; {archive.file} of {archive.title} is missing; {allowed}")
    return path


def _arrays(archive: _Archive) -> dict[str, np.ndarray]:
    """The verified arrays of a data set, wherever it is."""
    if given := os.environ.get("DIFFNOTES_DATA"):
        return _read(archive, _given(archive, given))
    cached = _cache(archive) / "diffnotes" / archive.file
    try:
        return _read(archive, cached)
    except (FileNotFoundError, ValueError):  # absent, or damaged since: fetch it anew
        return _download(archive, cached)


def _images(name: str, split: str) -> tuple[Tensor, Tensor]:
    """Scaled images (n, channels, height, width) and labels of a data set that is fetched."""
    if split not in ("train", "test"):
        raise ValueError(f"split = {split!r}; allowed: 'train', 'test'")
    arrays = _arrays(_archives()[name])
    x = torch.from_numpy(arrays[f"x_{split}"]).reshape(-1, *SHAPES[name]).float().div_(127.5).sub_(1)
    return x, torch.from_numpy(arrays[f"y_{split}"]).long()


def mnist(split: str = "train") -> tuple[Tensor, Tensor]:
    """MNIST: images (n, 1, 28, 28), float32 in [-1, 1], and labels (n,), int64; n = 60,000 or 10,000 ("test").

    Raises:
        ValueError: for another split, or a file given by ``DIFFNOTES_DATA`` whose arrays are not MNIST's.
        FileNotFoundError: if ``DIFFNOTES_DATA`` names no file, or there is no home folder.
        OSError: if the cache folder cannot be written.
        ConnectionError: if no mirror gave the right file; nothing is stored then.
    """
    return _images("mnist", split)


def cifar10(split: str = "train") -> tuple[Tensor, Tensor]:
    """CIFAR-10: images (n, 3, 32, 32), float32 in [-1, 1], and labels (n,), int64; n = 50,000 or 10,000 ("test").

    Channels are red, green, blue; labels 0-9 are airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck.

    Raises:
        ValueError: for another split, or a file given by ``DIFFNOTES_DATA`` that is not CIFAR-10's archive.
        FileNotFoundError, OSError, ConnectionError: as :func:`mnist`.
    """
    return _images("cifar10", split)


def image_split(name: str, seed: int = 0) -> tuple[Digits, Digits]:
    """(training images, held-out images) of a data set as rows, in an order that the seed fixes.

    Args:
        name: "digits", split as in :func:`digits_split`; "mnist", 50,000 and 10,000 of its training images; "mnist14",
            the same with 14 x 14 pixels, each the mean of four; or "cifar10", 40,000 and 10,000 of its training images
            as rows of 3072, all red pixels before all green and all blue ones.
        seed: of the split.

    Raises:
        ValueError: for another name, and as :func:`mnist` and :func:`cifar10`.
    """
    if name == "digits":
        return digits_split(seed)
    if name not in SHAPES:
        raise ValueError(f"name = {name!r}; allowed: {', '.join(map(repr, SHAPES))}")
    x, y = cifar10("train") if name == "cifar10" else mnist("train")
    if name == "mnist14":
        x = torch.nn.functional.avg_pool2d(x, 2)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    held_out = len(y) // (5 if name == "cifar10" else 6)
    parts = order[held_out:], order[:held_out]
    return tuple(Digits(x[part].flatten(1), y[part]) for part in parts)
