"""Real data: the 8 x 8 digits that come with scikit-learn, and MNIST, which is fetched once.

Both are handwritten digits 0-9 with pixels scaled to [-1, 1]. A data set is what its bytes, shapes and dtypes are: each
array is compared with a known form and SHA-256 whenever it is read, wherever it came from. ``DIFFNOTES_DATA``, a folder
with ``mnist.npz`` or such a file itself, is read instead of any download; else MNIST is kept in the user's cache folder
(``$XDG_CACHE_HOME/diffnotes`` or ``~/.cache/diffnotes``), where a file appears complete and verified or not at all, and
a damaged one is replaced.

References: Alpaydin and Kaynak 1998 (Optical Recognition of Handwritten Digits, UCI); LeCun, Cortes and Burges 1998
(MNIST).
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["IDENTITY", "SHAPES", "Digits", "digits", "digits_split", "image_split", "mnist"]

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
FORMS = {"digits": {"x": (64,), "y": ()}, "mnist": {"x": (28, 28), "y": ()}}
"""The shape of one image and of one label, by data set: arrays are (n, *form), uint8; n follows from the bytes."""

IDENTITY = {
    name: hashlib.sha256("".join(f"{key} uint8 (n, *{FORMS[name][key[0]]}) {sums[key]}\n" for key in sums).encode())
    .hexdigest()
    for name, sums in (("digits", DIGITS_SHA256), ("mnist", MNIST_SHA256))
}
"""One SHA-256 for each data set, of the dtypes, shapes and SHA-256 of its arrays: what a page's provenance records."""

SHAPES = {"digits": (1, 8, 8), "mnist14": (1, 14, 14), "mnist": (1, 28, 28)}
"""Channels, height and width of an image, by data set; "mnist14" are the means of 2 x 2 pixels of MNIST."""

MIRRORS = (
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
    "https://s3.amazonaws.com/img-datasets/mnist.npz",
)


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


def _read(path: Path) -> dict[str, np.ndarray]:
    """The verified arrays of an npz file; FileNotFoundError where there is none, ValueError for whatever is wrong."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as source:
            arrays = {name: source[name] for name in MNIST_SHA256 if name in source}
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged archive may raise anything: numpy, zipfile and zlib each have their own
        raise ValueError(f"{path} is not a readable npz file: {error}") from error
    return _verify(arrays, MNIST_SHA256, FORMS["mnist"], str(path))


def _fetch(url: str, path: Path) -> None:
    """Download ``url`` to ``path``; OSError if it cannot be reached or ends early."""
    import pooch

    watched = sys.stderr.isatty()
    pooch.HTTPDownloader(progressbar=watched, timeout=30)(url, str(path), None)  # requests' errors are OSErrors


def _download(target: Path) -> dict[str, np.ndarray]:
    """Try the mirrors in turn; the file is moved to ``target`` only when its arrays are verified."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".mnist-", suffix=".npz", dir=target.parent)
        os.close(handle)
        Path(name).unlink()
    except OSError as error:
        raise OSError(f"the cache folder {target.parent} cannot be written: {error}. Set XDG_CACHE_HOME to another "
                      "folder, or DIFFNOTES_DATA to a folder with mnist.npz, or to such a file") from error
    if target.is_dir() and not target.is_symlink():
        try:
            target.rmdir()  # an empty one only
        except OSError as error:
            raise IsADirectoryError(f"{target} is a folder in the place of the file; remove it, or set DIFFNOTES_DATA "
                                    "to a folder with mnist.npz, or to such a file") from error
    failures = []
    for url in MIRRORS:
        handle, name = tempfile.mkstemp(prefix=".mnist-", suffix=".npz", dir=target.parent)
        os.close(handle)
        try:
            _fetch(url, Path(name))
            arrays = _read(Path(name))
            os.replace(name, target)
            return arrays
        except (OSError, ValueError) as error:
            failures.append(f"{url}: {str(error).replace(name, 'the file')}")
        finally:
            Path(name).unlink(missing_ok=True)
    raise ConnectionError("MNIST could not be downloaded; nothing was stored. Set DIFFNOTES_DATA to a folder with "
                          "mnist.npz, or to such a file.\n  " + "\n  ".join(failures))


def _cache() -> Path:
    """The user's cache folder."""
    given = os.environ.get("XDG_CACHE_HOME")
    if given and Path(given).is_absolute():  # the XDG rules say that a relative one is to be ignored
        return Path(given)
    try:
        return Path.home() / ".cache"
    except RuntimeError as error:
        raise FileNotFoundError("there is no home folder to keep MNIST in; set XDG_CACHE_HOME to a folder, or "
                                "DIFFNOTES_DATA to a folder with mnist.npz, or to such a file") from error


def _mnist_arrays() -> dict[str, np.ndarray]:
    if given := os.environ.get("DIFFNOTES_DATA"):
        try:
            path = Path(given).expanduser()
            path = path / "mnist.npz" if path.is_dir() else path
            there = path.exists()
        except (OSError, RuntimeError, ValueError) as error:  # no such user, no home, a name too long, a zero byte
            raise FileNotFoundError(f"DIFFNOTES_DATA = {given!r}: {error}; allowed: a folder with mnist.npz, or such a "
                                    "file") from error
        if not there:
            raise FileNotFoundError(f"DIFFNOTES_DATA = {given!r}: there is no file {path}; allowed: a folder with "
                                    "mnist.npz, or such a file")
        return _read(path)
    cached = _cache() / "diffnotes" / "mnist.npz"
    try:
        return _read(cached)
    except (FileNotFoundError, ValueError):  # absent, or damaged since: fetch it anew
        return _download(cached)


def mnist(split: str = "train") -> tuple[Tensor, Tensor]:
    """MNIST: images (n, 1, 28, 28), float32 in [-1, 1], and labels (n,), int64; n = 60,000 or 10,000 ("test").

    Raises:
        ValueError: for another split, or a file given by ``DIFFNOTES_DATA`` whose arrays are not MNIST's.
        FileNotFoundError: if ``DIFFNOTES_DATA`` names no file, or there is no home folder.
        OSError: if the cache folder cannot be written.
        ConnectionError: if no mirror gave the right file; nothing is stored then.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split = {split!r}; allowed: 'train', 'test'")
    arrays = _mnist_arrays()
    x = torch.from_numpy(arrays[f"x_{split}"]).unsqueeze(1).float().div_(127.5).sub_(1)
    return x, torch.from_numpy(arrays[f"y_{split}"]).long()


def image_split(name: str, seed: int = 0) -> tuple[Digits, Digits]:
    """(training images, held-out images) of a data set as rows, in an order that the seed fixes.

    Args:
        name: "digits", split as in :func:`digits_split`; "mnist", 50,000 and 10,000 of its training images; or
            "mnist14", the same with 14 x 14 pixels, each the mean of four.
        seed: of the split.

    Raises:
        ValueError: for another name, and as :func:`mnist`.
    """
    if name == "digits":
        return digits_split(seed)
    if name not in SHAPES:
        raise ValueError(f"name = {name!r}; allowed: {', '.join(map(repr, SHAPES))}")
    x, y = mnist("train")
    if name == "mnist14":
        x = torch.nn.functional.avg_pool2d(x, 2)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    held_out = len(y) // 6
    parts = order[held_out:], order[:held_out]
    return tuple(Digits(x[part].flatten(1), y[part]) for part in parts)
