"""``diffnotes diagnose``: two files of samples become a report. Files are read and written here, and nothing is
measured."""

from __future__ import annotations

import importlib
import json
import os
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import PressError
from .files import replaceable, write_whole

__all__ = ["Files", "diagnose"]


@dataclass(frozen=True)
class Files:
    """What is read, and where the report goes: as JSON and as HTML, where wanted."""

    samples: Path
    reference: Path
    held_out: Path | None = None
    json: Path | None = None
    html: Path | None = None


def diagnose(files: Files, seed: int = 0) -> str:
    """Write what is wanted and return the report as text.

    Raises:
        PressError: for files that cannot be read, do not fit or cannot be written, before anything is measured where
            that can be seen.
    """
    import matplotlib

    inputs = {"samples": files.samples, "reference": files.reference, "held_out": files.held_out}
    arrays = {name: _array(path, name) for name, path in inputs.items() if path is not None}
    for name in ("json", "html"):
        if (path := getattr(files, name)) is not None:
            _may_write(path, name, [one for one in inputs.values() if one is not None])
    if files.json is not None and files.html is not None and files.json.resolve() == files.html.resolve():
        raise PressError(f"html = {files.html}; allowed: another file than json", 2)
    matplotlib.use("agg")  # no window, on whatever screen
    measures, report = (importlib.import_module(f"diffnotes.{name}") for name in ("measure.diagnosis", "show.report"))
    try:
        table = report.record(measures.diagnose(**arrays, seed=seed), seed)
    except (ValueError, TypeError) as error:
        raise PressError(str(error), 2) from error
    table["warnings"] = _same_file(inputs) + table["warnings"]
    ready = [(files.json, json.dumps(table, indent=1, allow_nan=False) + "\n") if files.json is not None else None,
             (files.html, report.page(table)) if files.html is not None else None]  # fmt: skip
    for path, content in filter(None, ready):  # both are made before one is written
        write_whole(path, content)
    return report.text(table)


def _array(path: Path, name: str) -> Any:
    """The array in a file of numpy, not read yet. Objects, which would have to be unpickled, are refused."""
    import numpy

    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise PressError(f"{name} = {path} {what}; allowed: a file of numpy.save", 2)
    try:
        with path.open("rb") as file:
            if file.read(6) != b"\x93NUMPY":
                raise PressError(f"{name} = {path} is no .npy file; allowed: a file of numpy.save", 2)
        return numpy.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise PressError(f"{name} = {path} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, OverflowError, SyntaxError, tokenize.TokenError) as error:  # objects, a broken header
        why = "holds objects" if "bject" in str(error) else f"is damaged ({error})"
        raise PressError(f"{name} = {path} {why}; allowed: an array of real numbers, saved by numpy.save", 2) from error


def _may_write(path: Path, name: str, inputs: list[Path]) -> None:
    """PressError where a report cannot go to ``path``: seen before the work, not after it."""
    folder = path.parent
    if not replaceable(path) or not folder.is_dir():
        raise PressError(f"{name} = {path}; allowed: an ordinary file in a folder that exists", 2)
    if any(path.exists() and path.samefile(one) for one in inputs):
        raise PressError(f"{name} = {path} is what is to be read; allowed: another file", 2)
    if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise PressError(f"{name} = {path} cannot be written: permission denied")


def _same_file(inputs: dict[str, Path | None]) -> list[str]:
    """Warnings of files given twice."""
    names = [name for name, path in inputs.items() if path is not None]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    return [f"{a} and {b} are one and the same file" for a, b in pairs if inputs[a].samefile(inputs[b])]
