"""A small archive of the form of CIFAR-10's, made for tests."""

import io
import tarfile

import numpy as np

FOLDER = "cifar-10-batches-bin"
COUNTS = {"data_batch_1.bin": 12, "data_batch_2.bin": 8, "data_batch_3.bin": 10, "data_batch_4.bin": 9,
          "data_batch_5.bin": 11, "test_batch.bin": 7}  # fmt: skip
TRAIN, TEST = list(COUNTS)[:5], list(COUNTS)[5:]


def photographs(counts=COUNTS, side=32):
    """For each batch, images as (n, row, column, channel) and their labels."""
    rng = np.random.default_rng(0)
    made = {name: (rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8), rng.integers(0, 10, n).tolist())
            for name, n in counts.items()}  # fmt: skip
    made["data_batch_1.bin"][0][0, 0, :2] = [[0, 255, 51], [255, 0, 204]]
    made["data_batch_2.bin"][1][0] = 9
    return made


def batches(counts=COUNTS, side=32):
    """The members of the archive: for each image its label, the red pixels row by row, all green, all blue ones."""
    made = {}
    for name, (images, labels) in photographs(counts, side).items():
        records = [bytes([label, *(image[i, j, c] for c in range(3) for i in range(side) for j in range(side))])
                   for image, label in zip(images, labels)]  # fmt: skip
        made[f"{FOLDER}/{name}"] = b"".join(records)
    return made


def entry(name, kind=tarfile.DIRTYPE, target=""):
    """A member without content: a folder, a link, a pipe."""
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


def tarred(members, *more):
    """A tar file of named contents, last first, with its folder, two texts, and whatever is added."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        made.addfile(entry(FOLDER))
        texts = [(f"{FOLDER}/readme.html", b"<html>"), (f"{FOLDER}/batches.meta.txt", b"airplane\n")]
        for name, body in (*reversed(members.items()), *texts, *more):
            if isinstance(body, tarfile.TarInfo):
                made.addfile(body)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(body)
            made.addfile(info, io.BytesIO(body))
    return buffer.getvalue()
