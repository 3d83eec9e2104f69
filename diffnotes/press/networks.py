"""Networks that are trained once and kept: what lies in the folders, and whether it is what a page was made with.

A file ``KEY.safetensors`` holds the networks of one experiment; its metadata "diffnotes" say how they were trained. The
package trains, writes and reads them. The press moves and compares such files as they lie on the disk: own ones in
``_build/networks``, those that published pages name in ``book/networks``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import PressError
from .files import write_whole
from .layout import CHAPTERS, Project

if TYPE_CHECKING:
    import numpy

__all__ = ["LIMIT", "Kept", "keep", "largest_difference", "named", "place", "publishable", "published_faults", "put",
           "recover", "whereabouts"]  # fmt: skip

LIMIT = 24 * 2**20  # bytes of all published networks together
ENDING = ".safetensors"
JOURNAL = ".publication.json"  # in the folder of published networks, while a publication goes on
KEY = re.compile(r"[0-9a-f]{20,64}")
TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "I64": "int64", "I32": "int32", "I16": "int16",
         "I8": "int8", "U8": "uint8", "BOOL": "bool"}  # fmt: skip  the names of types in files and elsewhere


@dataclass(frozen=True)
class Kept:
    """The file of kept networks at ``path``. Its parts raise ValueError, with the reason, if it is damaged."""

    path: Path

    @cached_property
    def _head(self) -> tuple[dict[str, Any], int]:
        """The header as it lies in the file, and where the numbers begin."""
        try:
            with self.path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                if length > self.path.stat().st_size - 8:
                    raise ValueError("it is cut off")
                head = json.loads(file.read(length))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"it cannot be read: {getattr(error, 'strerror', None) or 'no header'}") from error
        if not isinstance(head, dict):
            raise ValueError("it cannot be read: no header")
        return head, 8 + length

    @cached_property
    def header(self) -> dict[str, Any]:
        """How the networks were trained: training, seconds, device, date, ..."""
        try:
            found = json.loads(self._head[0]["__metadata__"]["diffnotes"])
        except (KeyError, TypeError, json.JSONDecodeError, RecursionError) as error:
            raise ValueError("it does not say how its networks were trained") from error
        if not isinstance(found, dict):
            raise ValueError("it does not say how its networks were trained")
        return found

    @cached_property
    def numbers(self) -> dict[str, numpy.ndarray]:
        """The tensors, by name."""
        import numpy

        head, begin = self._head
        data, found = self.path.read_bytes()[begin:], {}
        try:
            for name, told in head.items():
                if name != "__metadata__":
                    start, end = told["data_offsets"]
                    one = numpy.frombuffer(data[start:end], TYPES[told["dtype"]])
                    found[name] = one.reshape(told["shape"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError("its numbers are not those of its header") from error
        return found

    def fault(self) -> str:
        """What is wrong with the file; "" if nothing is."""
        try:
            if "checksum" in self.header and self.header["checksum"] != checksum(self.numbers):
                return "its numbers are not those that were written"
            return "" if self.numbers else "it holds no numbers"
        except ValueError as error:
            return str(error)

    def is_of(self, record: Mapping[str, Any]) -> bool:
        """Whether it holds the networks of which a page's ``record`` tells: by their numbers, or else by the device."""
        key = "checksum" if "checksum" in record else "device"
        with contextlib.suppress(ValueError):
            return self.header.get(key) == record[key]
        return False


def checksum(numbers: Mapping[str, numpy.ndarray]) -> str:
    """SHA-256 of numbers in the order of their names, as the package has it in its headers."""
    found = hashlib.sha256()
    for name in sorted(numbers):
        one = numbers[name]
        found.update(f"{name} torch.{one.dtype} {tuple(one.shape)};".encode())
        found.update(one.tobytes())
    return found.hexdigest()


def largest_difference(one: Kept, other: Kept) -> float:
    """The largest absolute difference of the weights in two files; infinite where they do not hold the same ones.

    Logs of the training do not count. Raises ValueError for a damaged file.
    """
    import numpy

    parts = [{name: value for name, value in kept.numbers.items() if not name.startswith("log/")}
             for kept in (one, other)]  # fmt: skip
    if {name: value.shape for name, value in parts[0].items()} != {name: v.shape for name, v in parts[1].items()}:
        return math.inf
    found = 0.0
    for name, value in parts[0].items():
        if value.tobytes() != parts[1][name].tobytes():
            gap = numpy.abs(value.astype("float64") - parts[1][name].astype("float64"))
            found = max(found, math.inf if numpy.isnan(gap).any() else float(gap.max(initial=0.0)))
    return found


# --- where they are ---------------------------------------------------------------------------------------------------


def _file(folder: Path, key: str) -> Kept | None:
    path = folder / f"{key}{ENDING}"
    return Kept(path) if path.is_file() else None


def place(project: Project, record: Mapping[str, Any], published: bool = False) -> Kept | None:
    """The file of the networks that a page's ``record`` tells of, own before published; None if there is none.

    For a published page it is the other way round: ``published``.
    """
    folders = (project.networks, project.published_networks)
    for folder in reversed(folders) if published else folders:
        if (found := _file(folder, record["key"])) and found.is_of(record):
            return found
    return None


def whereabouts(project: Project, records: Iterable[Mapping[str, Any]], published: bool = False) -> str:
    """How many networks of a page are where, looked for as by :func:`place`: "3 own, 2 missing"; "-" for none."""
    counts = {"own": 0, "published": 0, "missing": 0}
    for record in records:
        found = place(project, record, published)
        counts["missing" if not found else "own" if found.path.parent == project.networks else "published"] += 1
    return ", ".join(f"{count} {where}" for where, count in counts.items() if count) or "-"


def published_faults(project: Project, records: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is wrong with the published networks of a published page, in words; they would be trained again."""
    problems = []
    for record in records:
        found = _file(project.published_networks, record["key"])
        why = found.fault() if found else "it is missing"
        if found and not why and not found.is_of(record):
            why = "it is of another training"
        if why:
            problems.append(f"{named(record)}: {why}")
    return problems


def named(record: Mapping[str, Any]) -> str:
    """A record of networks in a few words."""
    words = record["name"] if len(record["name"]) <= 50 else record["name"][:49] + "…"
    return f"{words} ({record['key'][:12]})"


# --- publication ------------------------------------------------------------------------------------------------------


def publishable(
    project: Project, names: Iterable[str], pages: Mapping[str, Iterable[Mapping[str, Any]]]
) -> dict[str, Kept]:
    """Key -> file of the networks that are published with the pages of the chapters ``names``.

    Args:
        project: the book.
        names: chapters.
        pages: chapter -> records of the networks, of all pages that will be published.

    Raises:
        PressError: if any of their networks is missing, damaged, or trained again since; if two of the chapters have
            the same networks from different trainings; or if all that the pages name have more bytes together than
            :data:`LIMIT`.
    """
    chosen: dict[str, Kept] = {}
    for name, record in ((one, record) for one in names for record in pages[one]):
        found = place(project, record)
        if found is None:
            there = any(_file(folder, record["key"]) for folder in (project.networks, project.published_networks))
            why = "was trained again since the page was run" if there else "is not in _build/networks any more"
            raise PressError(f"{name}: {named(record)} {why}: first diffnotes run {name} --train")
        if why := found.fault():
            raise PressError(f"{name}: {named(record)} is damaged: {why}; first diffnotes run {name} --train")
        if not chosen.setdefault(record["key"], found).is_of(record):
            raise PressError(f"{name}: {named(record)} is of another training than in a chapter that is published with "
                             f"it: first diffnotes run {name} --force")
    others = {record["key"] for records in pages.values() for record in records} - chosen.keys()
    files = [*chosen.values(), *filter(None, (_file(project.published_networks, key) for key in others))]
    if (size := sum(kept.path.stat().st_size for kept in files)) > LIMIT:
        raise PressError(f"the networks of all published pages together would have {size / 2**20:.1f} MiB; allowed: "
                         f"{LIMIT / 2**20:.0f} MiB. Train fewer or smaller ones, or leave a chapter unpublished")
    return chosen


def put(project: Project, chosen: Mapping[str, Kept], pages: Mapping[Path, str], wanted: set[str]) -> None:
    """Put pages and their networks in their published places, all or none, and remove networks that no page names.

    What is replaced stays aside until all is in place; a journal says what to bring back, and ends with the work.

    Args:
        project: the book.
        chosen: of :func:`publishable`.
        pages: where each page goes, and its text.
        wanted: the keys of all networks that published pages name.
    """
    folder = project.published_networks
    new: dict[Path, bytes] = {path: text.encode() for path, text in pages.items()}
    new |= {folder / f"{key}{ENDING}": kept.path.read_bytes() for key, kept in chosen.items()
            if kept.path.parent != folder}  # fmt: skip
    try:
        for target, content in new.items():
            write_whole(_aside(target, "new"), content)
            if target.exists():
                write_whole(_aside(target, "old"), target.read_bytes())
        told = {path.relative_to(project.root).as_posix(): path.exists() for path in new}
        write_whole(folder / JOURNAL, json.dumps(told))
        for target in new:
            os.replace(_aside(target, "new"), target)
    except BaseException:
        recover(project)
        raise
    (folder / JOURNAL).unlink()
    recover(project)
    for path in folder.glob(f"*{ENDING}"):
        if path.name.removesuffix(ENDING) not in wanted:
            path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()  # if nothing is left in it


def _aside(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{what}")


def recover(project: Project) -> None:
    """Undo a publication that was killed or has failed, and clear away what it had copied.

    While its journal lies there, it has not ended: what it had replaced comes back, what was new goes. May itself be
    cut short and done again.
    """
    journal = project.published_networks / JOURNAL
    if journal.is_file():
        for name, replaced in json.loads(journal.read_text(encoding="utf-8")).items():
            target = project.root / name
            if not replaced:
                target.unlink(missing_ok=True)
            elif (old := _aside(target, "old")).exists():
                os.replace(old, target)
        journal.unlink()
    for folder in (project.published_networks, project.root / CHAPTERS):
        for left in (*folder.glob(".*.old"), *folder.glob(".*.new")):
            left.unlink()
    with contextlib.suppress(OSError):
        project.published_networks.rmdir()  # if nothing is left in it


def keep(files: Mapping[str, bytes], folder: Path) -> None:
    """Put networks that were trained elsewhere, name of the file -> its bytes, into ``folder``."""
    for name, content in files.items():
        if KEY.fullmatch(name.removesuffix(ENDING)) and name.endswith(ENDING):
            write_whole(folder / name, content)
