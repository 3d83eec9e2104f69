"""What a chapter's notebook calls, and what becomes of it once it is executed.

A chapter calls :func:`glue` to name numbers for its prose. After the run, :func:`normalise` turns the executed notebook
into a page: nothing of the machine or the session stays, figures get number, caption and text alternative, verdicts
their box. :func:`with_prose` puts newly edited prose around the results of an earlier run.
"""

from __future__ import annotations

import copy
import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from . import ledger
from .errors import PressError
from .ledger.replication import confirmed

__all__ = ["glue", "normalise", "with_prose"]

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
SESSION = {"papermill", "execution", "jupyter", "collapsed", "scrolled", "ExecuteTime"}
PARAMETER_TAGS = {"parameters", "injected-parameters"}


GLUED = "application/papermill.record/"


def glue(**values: Any) -> None:
    """Name values of the run for the prose: ``glue(gap=0.31)``, then {glue:text}`gap:.2f` in a sentence.

    A mapping names a value for each of its keys: ``glue(gap={"eps": 0.31, "v": 0.2})`` makes gap_eps and gap_v.

    Raises:
        TypeError: for a value that is neither a number nor a text.
        ValueError: for a number that is not finite.
    """
    from IPython.display import display

    for name, value in values.items():
        if isinstance(value, Mapping):
            glue(**{f"{name}_{key}".replace(" ", "_"): part for key, part in value.items()})
            continue
        if not isinstance(value, (str, int)):
            try:
                value = float(value)
            except (TypeError, ValueError) as error:
                raise TypeError(f"{name} = {value!r} must be a number or a text") from error
            if not math.isfinite(value):
                raise ValueError(f"{name} = {value} must be finite")
        # What myst_nb's own function displays; importing that one takes seconds.
        note = {"scrapbook": {"name": name, "mime_prefix": GLUED}}
        display({f"{GLUED}text/plain": repr(value)}, metadata=note, raw=True)


def read(path: Path) -> Any:
    """The notebook at ``path``. PressError if it is none."""
    return copy.deepcopy(shared(path))


def shared(path: Path) -> Any:
    """The notebook at ``path`` for whoever changes nothing in it: the same object for all. PressError if it is none."""
    try:
        return _parsed(path.read_text(encoding="utf-8"))
    except Exception as error:  # nbformat raises whatever its own code stumbles over
        raise PressError(f"{path} is not a readable notebook: {_short(error)}") from error


@lru_cache(maxsize=32)
def _parsed(text: str) -> Any:
    """A chapter is read by one check after the other; to validate it takes ten times as long as to copy it."""
    return parse(text)


def parse(text: str) -> Any:
    """The notebook in ``text``, of the form that all of the press relies on.

    Raises:
        Exception: of many kinds, if it is no notebook.
    """
    import nbformat

    ids = [cell.get("id") for cell in json.loads(text).get("cells", []) if isinstance(cell, dict)]
    if twice := sorted({str(one) for one in ids if one is not None and ids.count(one) > 1}):
        raise ValueError(f"two cells have the id {twice[0]!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of is told by the gates
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
    check_notes(notebook)
    return notebook


def check_notes(notebook: Any) -> None:
    """Raise ValueError unless what cells have noted in their metadata has the form that the press relies on."""
    for index, cell in enumerate(notebook.cells):
        where = f"cell {index + 1}"
        for part in (cell, *cell.get("outputs", [])):
            if not isinstance(part.get("metadata", {}).get("diffnotes", {}), dict):
                raise ValueError(f"{where}: metadata.diffnotes is no table")
        options = cell.metadata.get("mystnb", {})
        if not isinstance(options, dict):
            raise ValueError(f"{where}: metadata.mystnb is no table")
        for key in ("figure", "image"):
            shown = options.get(key, {})
            if not isinstance(shown, dict) or not all(isinstance(text, str) for text in shown.values()):
                raise ValueError(f"{where}: metadata.mystnb.{key} is no table of texts")
    for kind, sound in (("figure", _is_figure), ("claim", ledger.is_record), ("summary", _is_summary)):
        for cell, _, record in records(notebook, kind):
            if not sound(record):
                raise ValueError(f"cell {notebook.cells.index(cell) + 1}: its note of a {kind} is not complete")


def _is_summary(note: Any) -> bool:
    return isinstance(note, list) and all(isinstance(claim, str) for claim in note)


def _is_figure(note: Any) -> bool:
    return isinstance(note, dict) and all(isinstance(note.get(key), str) for key in ("name", "caption", "alt"))


def source_faults(notebook: Any) -> Iterator[tuple[int, str]]:
    """(cell index, what is wrong) for tags of a source that would change what is run, or hide it from the hash."""
    several = [index for index, cell in enumerate(notebook.cells) if "parameters" in tags(cell)][1:]
    for index, cell in enumerate(notebook.cells):
        for tag in sorted(tags(cell) & {"skip-execution", "raises-exception", "injected-parameters"}):
            yield index, f"the tag {tag}, with which a cell is not what is run and checked"
        if index in several:
            yield index, "a second cell with the tag parameters"


def _short(error: Exception) -> str:
    text = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def text(notebook: Any) -> str:
    """The notebook as it stands in a file."""
    import nbformat

    return nbformat.writes(notebook, version=4) + "\n"


def compact(notebook: Any) -> str:
    """The notebook as one line of JSON, its keys in order: quick to make, to compare and to measure."""
    return json.dumps(notebook, sort_keys=True, ensure_ascii=False)


def tags(cell: Any) -> set[str]:
    return set(cell.metadata.get("tags", []))


def code_cells(notebook: Any) -> list[Any]:
    """The code cells that come from the author: all but the one that papermill adds."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and "injected-parameters" not in tags(cell)]


def records(notebook: Any, kind: str) -> Iterator[tuple[Any, Any, Any]]:
    """What cells left in the metadata of their outputs under diffnotes.``kind``: (cell, output, record)."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            record = output.get("metadata", {}).get("diffnotes", {}).get(kind)
            if record is not None:
                yield cell, output, record


def normalise(notebook: Any) -> Any:
    """The page made from an executed notebook, as a new notebook. Raises ValueError for notes of another form."""
    check_notes(notebook)
    page = copy.deepcopy(notebook)
    state = {key: page.metadata[key] for key in ("diffnotes", "widgets") if key in page.metadata}
    if "diffnotes" in state:
        noted = state["diffnotes"] if isinstance(state["diffnotes"], dict) else {}
        state["diffnotes"] = {key: value for key, value in noted.items() if key == "provenance"}
    page.metadata = type(page.metadata)({"kernelspec": dict(KERNEL), "language_info": {"name": "python"}, **state})
    page.nbformat, page.nbformat_minor = 4, 5
    judged = {record["id"]: confirmed(record) for _, _, record in records(page, "claim")}
    for index, cell in enumerate(page.cells):
        own = tags(cell)
        if own & PARAMETER_TAGS:
            own.add("hide-input")
        cell.id = "injected-parameters" if "injected-parameters" in own else cell.get("id") or f"cell-{index}"
        cell.metadata = type(cell.metadata)({key: value for key, value in cell.metadata.items() if key not in SESSION})
        cell.metadata.pop("tags", None)
        if own:
            cell.metadata["tags"] = sorted(own)
        if cell.cell_type == "code":
            cell.outputs = _outputs(cell, judged)
    return page


def _mark(cell: Any, **options: Any) -> None:
    """Tell the builder of the site how to show the outputs of ``cell``."""
    cell.metadata["mystnb"] = {**cell.metadata.get("mystnb", {}), **options}


def _outputs(cell: Any, judged: dict[str, dict[str, Any]]) -> list[Any]:
    """The outputs as a page has them; ``judged`` are its claims' records, held against their repetitions."""
    kept, rows = [], ledger.registry()
    for output in cell.outputs:
        note = output.get("metadata", {}).get("diffnotes", {})
        if note.get("echo"):
            continue
        if figure := note.get("figure"):
            named = {"name": figure["name"], "caption": figure["caption"]}
            _mark(cell, figure=named, image={"alt": figure["alt"]})
        if (claim := note.get("claim")) and claim["id"] in rows:
            output.data["text/markdown"] = ledger.box(judged[claim["id"]], rows[claim["id"]])
        if claims := note.get("summary"):
            told = [judged[claim] for claim in claims if claim in judged.keys() & rows.keys()]
            output.data["text/markdown"] = ledger.summary(told, rows)
        if "text/markdown" in output.get("data", {}):  # plain CommonMark knows neither tables nor boxes
            _mark(cell, markdown_format="myst")
        if output.output_type == "stream":
            if kept and kept[-1].output_type == "stream" and kept[-1].name == output.name:
                kept[-1].text += output.text  # where a stream is cut into messages is chance
                continue
        elif plain := output.get("data", {}).get("text/plain"):
            output.data["text/plain"] = re.sub(r" at 0x[0-9a-f]{6,}", "", plain)
        output.pop("transient", None)
        kept.append(output)
    return kept


def with_prose(page: Any, source: Any) -> Any:
    """The results of ``page`` in the present text of ``source``, whose code is the same up to comments.

    Raises:
        ValueError: if the numbers of code cells differ.
    """
    if len(code_cells(page)) != len(code_cells(source)):
        raise ValueError(f"{len(code_cells(page))} code cells in the page, {len(code_cells(source))} in the notebook")
    done, cells = iter(code_cells(page)), []
    injected = [cell for cell in page.cells if "injected-parameters" in tags(cell)]
    for cell in copy.deepcopy(source.cells):
        if cell.cell_type == "code":
            old = next(done)
            cell.outputs, cell.execution_count = old.outputs, old.execution_count
        cells += [cell, *(injected if "parameters" in tags(cell) else [])]
    return normalise(type(page)({**page, "cells": cells}))
