"""Projects to build in the tests: the book with the pages that are committed, plus one chapter made by hand."""

from __future__ import annotations

import atexit
import base64
import re
import shutil
import tempfile
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
import torch
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from diffnotes.press import exercises, ledger, page, provenance, site
from diffnotes.press.files import write_whole
from diffnotes.press.layout import Project
from diffnotes.show.explore import Frame, Panel, player

ROOT = Path(__file__).resolve().parents[1]
OF_CHAPTERS = ("book/chapters", "book/exercises")
RECORD = "application/papermill.record/"  # the prefix of values that are stored and not shown
STATES = {
    "holds": "holds",
    "mixed": "mixed (1 of 2 hold)",
    "fails": "does not hold here",
    "open": "open",
    "unjudged": "not judged (smoke)",
}

PROVENANCE: dict[str, Any] = {
    "chapter": "sample",
    "commit": "none",
    "threads": 1,
    "networks": [
        {
            "key": "0123456789abcdef01234567", "name": "eps | v", "source": "own", "seconds": 61.4, "bytes": 5696,
            "device": "a processor", "date": "2025-01-02T03:04:05+00:00",
        },
    ],
    "cells": [],
    "profile": "cpu",
    "device": "a processor, 2 cores",
    "device_type": "cpu",
    "parameters": {},
    "seconds": 61.4,
    "memory_mib": 512.0,
    "seeds": [0, 1, 2, 3, 4],
    "versions": {"python": "3.11.2", "torch": "2.6.0"},
    "date": "2025-01-02T03:04:05+00:00",
    "hash": "0123456789abcdef" * 4,
}


def picture() -> str:
    """A small PNG, base64, drawn without a plotting library's caches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1, 2], [0, 1, 4])
    axes.set(xlabel="time", ylabel="error")
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return base64.b64encode(buffer.getvalue()).decode()


def slider() -> tuple[nbformat.NotebookNode, dict[str, Any]]:
    """A cell that shows a slider, and the widget state that goes into the page."""
    import ipywidgets
    from ipywidgets.embed import embed_data

    widget = ipywidgets.FloatSlider(description="noise $\\sigma$")
    data = embed_data([widget])
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    output = new_output("display_data", data={"application/vnd.jupyter.widget-view+json": view, "text/plain": "slider"})
    state = {"version_major": 2, "version_minor": 0, "state": data["manager_state"]["state"]}
    return new_code_cell("explore()", outputs=[output]), {"application/vnd.jupyter.widget-state+json": state}


def power(exponent: int, sign: str) -> Frame:
    """What the made explorer shows: a power on [-1, 1], and the place and height of its end."""
    x = torch.linspace(-1, 1, 21)
    y = (-1 if sign == "falling" else 1) * x**exponent
    curves = {"line": (x, x), "power": (x, y)}
    return Frame([Panel(curves, "place", "height"), Panel(curves, "x", "y")], {"end": y[-1], "a third": 1 / 3})


POWERS = {"sign": ["rising", "falling"], "exponent": [1, 2, 3]}


def moved(name: str) -> nbformat.NotebookNode:
    """A cell with an explorer: its figure, and the player that takes the place of it."""
    alt = "Two panels with a line and a curve: both rise from the lower left to the upper right."
    made = player(power, POWERS, name=f"fig-{name}-moved", start={"exponent": 2})
    outputs = [
        new_output("display_data", data={"image/png": picture(), "text/plain": "<Figure>"}),
        new_output("display_data", data={"text/html": made, "text/plain": "a player"}),
    ]
    options = {"figure": {"name": f"fig-{name}-moved", "caption": "An explorer."}, "image": {"alt": alt}}
    return new_code_cell("explore_powers()", outputs=outputs, metadata={"mystnb": options})


def verdict(name: str, state: str) -> nbformat.NotebookNode:
    """A cell that recorded a claim with the given state."""
    part = {"name": "gap", "measure": "gap in nats | dimension", "rule": "< 0.5", "state": "holds", "unit": ""}
    record = {"id": f"{name}-{state}", "state": state, "verdict": STATES.get(state, state)}
    record["parts"] = [{**part, "value": 0.4, "low": 0.3, "high": 0.45}]
    row = {"statement": "The gap is small.", "part": [{**part, "why": "half of what the source reports"}]}
    text = ledger.box(record, row)
    output = new_output("display_data", data={"text/markdown": text, "text/plain": "a claim"})
    options = {"tags": ["hide-input"], "mystnb": {"markdown_format": "myst"}}
    return new_code_cell(f"ledger.record({state!r})", outputs=[output], metadata=options)


TITLE = """# A chapter made by hand (NAME)

:::{admonition} After this chapter you can
:class: objectives
- see every element of a page
:::"""

TEXT = r"""## Text

Inline $\abar_t = \prod_s (1 - \beta_s)$ and the value {glue:text}`NAME-gap:.2f`,
and $a + b + c + d + e + f + g + h + i + j + k + l + m + n + o + p + q + r + s + t + u + v$;
{cite:t}`ho2020ddpm`, {term}`score`.

$$\E\, w(t) \norm{\eps - \hat\eps(x_t, t)}^2$$ (eq-NAME-loss)

See {eq}`eq-NAME-loss`, {numref}`fig-NAME-error` and {prf:ref}`thm-NAME`.

:::{prf:theorem} Rotation
:label: thm-NAME
$(x_t, v)$ is a rotation of $(x_0, \eps)$, see {eq}`eq-NAME-loss` and {cite}`salimans2022progressive`.

$$a + b + c + d + e + f + g + h + i + j + k + l + m + n + o + p + q + r + s + t + u + v + w$$
:::

:::{prf:proof}
By computing $\alpha^2 + \sigma^2 = 1$.
:::"""

EXERCISE = """## Exercises

```{exercise-start}
:label: ex-NAME
```
Compute $1 + 1$.
```{exercise-end}
```"""

SOLUTION = """```{solution-start} ex-NAME
:class: dropdown
```"""

REFERENCES = """## References

```{bibliography}
:filter: docname in docnames
```"""


def chapter(name: str) -> nbformat.NotebookNode:
    """An executed chapter with one of everything a page may hold."""
    alt = "A curve: the error grows with time, and grows faster and faster."
    caption = {"name": f"fig-{name}-error", "caption": "Error over time."}
    glued = new_output("display_data", data={RECORD + "text/plain": "0.4213"})
    glued.metadata["scrapbook"] = {"name": f"{name}-gap", "mime_prefix": RECORD}
    figure = new_output("display_data", data={"image/png": picture(), "text/plain": "<Figure>"})
    widget, state = slider()
    drawn = verdict(name, "figure")
    drawn["source"] = "draw()"
    drawn["outputs"].insert(0, figure)
    drawn.metadata["mystnb"] |= {"figure": caption, "image": {"alt": alt}}
    cells = [
        new_markdown_cell(TITLE),
        new_code_cell('profile = "cpu"\ndevice = "auto"\nseed = 0', metadata={"tags": ["parameters", "hide-input"]}),
        new_code_cell(f"gap = 0.4213  # {'a long line ' * 12}", outputs=[glued]),
        new_markdown_cell(TEXT),
        drawn,
        moved(name),
        *(verdict(name, state) for state in STATES),
        widget,
        new_markdown_cell(EXERCISE),
        new_markdown_cell(SOLUTION),
        new_code_cell("1 + 1", outputs=[new_output("execute_result", data={"text/plain": "2"})]),
        new_markdown_cell("```{solution-end}\n```"),
        new_markdown_cell(REFERENCES),
    ]
    count = 0
    for i, cell in enumerate(cells):
        cell["id"] = f"cell-{i}"
        if cell.cell_type == "code":
            count += 1
            cell["execution_count"] = count
        else:
            cell["source"] = cell["source"].replace("NAME", name)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    page = new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})
    page.metadata |= {"diffnotes": {"provenance": PROVENANCE}, "widgets": state}
    return nbformat.from_dict(page)


def project(root: Path) -> Path:
    """The book's files at `root`, with every chapter of its table of contents present and one made by hand."""
    shutil.copytree(ROOT / "book", root / "book")
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, root / name)
    toc = yaml.safe_load((root / "_toc.yml").read_text())
    files = [Path(entry["file"]) for part in toc["parts"] for entry in part["chapters"]]
    names = [file.name for file in files if file.parent.name == "chapters"]
    missing = [name for name in names if not (root / f"book/chapters/{name}.ipynb").exists()]
    toc["parts"][0]["chapters"].append({"file": "book/chapters/sample"})
    (root / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False))
    (root / "book/chapters").mkdir(exist_ok=True)
    for name in [*missing, "sample"]:
        nbformat.write(chapter(name), root / f"book/chapters/{name}.ipynb")
    exercises.add_pages(Project(ROOT), root)
    return root


def runnable(root: Path) -> Project:
    """A project at ``root`` with one chapter, "sample", whose fresh page lies where a run would have left it.

    Its first page quotes nothing: the chapters whose results it tells are not there.
    """
    project(root)
    toc = yaml.safe_load((root / "_toc.yml").read_text())
    for part in toc["parts"]:
        part["chapters"] = [entry for entry in part["chapters"] if not entry["file"].startswith(OF_CHAPTERS)]
    toc["parts"][0]["chapters"] = [{"file": "book/chapters/sample"}]
    toc["parts"] = [part for part in toc["parts"] if part["chapters"]]
    (root / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False))
    for folder in (*OF_CHAPTERS, "book/slides"):
        shutil.rmtree(root / folder)
    (root / "book/index.md").write_text("# A book of tests\n\nOne chapter: {doc}`chapters/sample`.\n")
    for name in ("diagnose", "teaching/guide", "teaching/projects"):  # their links lead into all chapters
        (root / f"book/{name}.md").write_text(f"# The page {name}\n\nOn another page: {{ref}}`ex-sample`.\n")
    for prose in (root / "book").glob("*.md"):
        prose.write_text(re.sub(r"(chapters/|\{making\}`)\w+", r"\1sample", prose.read_text()))
    symbols = root / "book/notation.yml"  # those of one chapter lead to it
    symbols.write_text(re.sub(r"\n\s*only: .*", "", symbols.read_text()))
    made = Project(root)
    source = chapter("sample")
    for cell in source.cells:
        if cell.cell_type == "code":
            cell["outputs"], cell["execution_count"] = [], None
    write_whole(made.source("sample"), nbformat.writes(source))
    executed = page.normalise(chapter("sample"))
    parts = provenance.fingerprint(made, "sample", {})
    record = {**PROVENANCE, "chapter": "sample", "hash": parts.pop("hash"), "parts": parts}
    executed.metadata["diffnotes"]["provenance"] = record
    provenance.sealed(executed)
    write_whole(made.page("cpu", "sample"), nbformat.writes(executed))
    return made


@cache
def built() -> Path:
    """The site of such a project, built once in a process and removed at its end."""
    folder = tempfile.mkdtemp(prefix="diffnotes-site-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    root = project(Path(folder) / "project")
    return site.render(root, root / "_build" / "work")
