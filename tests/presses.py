"""A tiny book to run and to break: one chapter that satisfies every gate."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from diffnotes.press import page, provenance, run
from diffnotes.press.chapter import Order
from diffnotes.press.layout import Project
from diffnotes.press.parameters import settings as settings_of

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
ALT = "One rising line: the error grows from zero to one as time goes on."
FIGURE = f'''import base64
from IPython.display import display
note = {{"figure": {{"name": "fig-NAME-a", "caption": "Error over time.", "alt": "{ALT}"}}}}
display({{"image/png": "iVBORw0KGgo="}}, metadata={{"diffnotes": note}}, raw=True)'''
GLUE = "from diffnotes.press.page import glue\nglue(gap=size * 0.5)"


def source(name: str = "one", **code: str) -> Any:
    """A chapter; ``code`` replaces the source of cells by id."""
    exercises = "\n\n".join(
        f"```{{exercise-start}}\n:label: ex-{name}-{i}\n```\nShow it.\n```{{exercise-end}}\n```" for i in "abc"
    )
    cells = [
        new_markdown_cell(f"# Title of {name}\n\n:::{{admonition}} Learning objectives\n- see\n:::", id="title"),
        new_code_cell(
            'profile = "cpu"\ndevice = "auto"\nseed = 0\nsize = 3',
            metadata={"tags": ["parameters", "hide-input"]}, id="settings",
        ),
        new_code_cell(GLUE, id="work"),
        new_code_cell(FIGURE.replace("NAME", name), id="figure"),
        new_markdown_cell("The gap is {glue:text}`gap:.2f`, see T7 and {numref}`fig-" + name + "-a`.", id="prose"),
        new_markdown_cell(f"## Summary\n\nIt grows.\n\n## Exercises\n\n{exercises}", id="end"),
    ]  # fmt: skip
    for i in "abc":
        cells.append(new_markdown_cell(f"```{{solution-start}} ex-{name}-{i}\n```\nLike this.", id=f"start-{i}"))
        cells.append(new_code_cell("assert size > 0", id=f"solve-{i}"))
        cells.append(new_markdown_cell("```{solution-end}\n```", id=f"stop-{i}"))
    for cell in cells:
        cell.source = code.pop(cell.id, cell.source)
    assert not code
    return new_notebook(cells=cells, metadata={"kernelspec": KERNEL})


def go(book: Project, *names: str, **options: Any) -> tuple[int, str]:
    """Run chapters, by default in profile cpu on the processor; (exit status, what was said)."""
    said: list[str] = []
    wanted = {"profile": "cpu", "device": "cpu"} | options
    others = {key: wanted.pop(key) for key in ("force", "workers") if key in wanted}
    return run.run(book, names, Order(**wanted), say=said.append, **others), "\n".join(said)


def save(notebook: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def project(root: Path, *names: str, package: Path | None = None) -> Project:
    """A book at ``root`` with the chapters ``names``."""
    toc = "".join(f"      - file: book/chapters/{name}\n" for name in names)
    (root / "notebooks").mkdir(parents=True)
    (root / "_toc.yml").write_text(f"format: jb-book\nroot: book/index\nparts:\n  - chapters:\n{toc}")
    (root / "notebooks/profiles.toml").write_text("".join(f"[{name}.smoke]\nsize = 1\n" for name in names))
    for name in names:
        save(source(name), root / f"notebooks/{name}.ipynb")
    return Project(root, package) if package else Project(root)


def executed(book: Project, name: str = "one", profile: str = "cpu") -> Any:
    """The page that a run of :func:`source` would give, made by hand."""
    notebook = copy.deepcopy(page.read(book.source(name)))
    note = {"figure": {"name": f"fig-{name}-a", "caption": "Error over time.", "alt": ALT}}
    outputs = {
        "work": new_output(
            "display_data", {"application/papermill.record/text/plain": "1.5"},
            metadata={"scrapbook": {"name": "gap", "mime_prefix": "application/papermill.record/"}},
        ),
        "figure": new_output("display_data", {"image/png": "iVBORw0KGgo="}, metadata={"diffnotes": note}),
    }  # fmt: skip
    for count, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1):
        cell.execution_count, cell.outputs = count, [outputs[cell.id]] if cell.id in outputs else []
    return stamped(page.normalise(notebook), book, name, profile)


def stamped(
    notebook: Any, book: Project, name: str = "one", profile: str = "cpu", networks: list[dict] | None = None
) -> Any:
    """``notebook`` with the provenance that makes it fresh as it is."""
    settings = settings_of(book, name, profile)
    parts = provenance.fingerprint(book, name, settings)
    record = {
        "chapter": name, "profile": profile, "device": "a processor", "device_type": "cpu", "seconds": 1.0,
        "cells": [0.1] * 6,
        "memory_mib": 100, "seeds": [0], "networks": networks or [],
        "versions": {"python": "3"}, "commit": "none", "threads": 1,
        "date": "2025-01-02T03:04:05+00:00", "parameters": settings,
        "hash": parts.pop("hash"), "parts": parts,
    }  # fmt: skip
    notebook.metadata["diffnotes"] = {"provenance": record}
    return provenance.sealed(notebook)
