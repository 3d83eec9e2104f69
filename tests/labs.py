"""A chapter in JupyterLab as its reader runs it: opened in Chromium, all its cells run, and what came of it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from browser import Browser

from diffnotes.press.alone import labels
from diffnotes.press.lab import Server

NOTEBOOK = "window.jupyterapp?.shell.currentWidget"
OPEN = f"{NOTEBOOK}?.context?.isReady && {NOTEBOOK}.sessionContext.session?.kernel?.status === 'idle'"
RUN = "void window.jupyterapp.commands.execute('notebook:run-all-cells')"
SAVE = f"window.saved = ''; void {NOTEBOOK}.context.save().then(() => {{ window.saved = 'yes'; }})"
SAVED = "window.saved || document.querySelector('.jp-Dialog')?.innerText"
# Of each code cell: its number, and of each output its kind and the kinds of data it has.
STATE = f"""(() => {{
    const panel = {NOTEBOOK};
    const cells = [...panel.content.model.cells].filter(cell => cell.type === 'code');
    return {{
        status: panel.sessionContext.session?.kernel?.status ?? 'gone',
        prose: [...panel.content.model.cells].filter(cell => cell.type === 'markdown')
            .map(cell => cell.sharedModel.getSource()).join('\\n\\n'),
        counts: cells.map(cell => cell.executionCount),
        outputs: cells.flatMap((cell, index) => cell.outputs.toJSON().map(output => ({{
            cell: index, kind: output.output_type, kinds: Object.keys(output.data ?? {{}}),
            name: output.name ?? '', text: [output.ename, output.evalue, output.text].flat().filter(Boolean).join(' '),
        }}))),
    }};
}})()"""


@dataclass
class Seen:
    """What a run of all cells of a notebook gave; times in seconds from the command to run them.

    ``faults``: error outputs, texts on standard error, console errors and requests to other machines, as texts.
    """

    opened: float = 0.0
    first_figure: float | None = None
    all_cells: float = 0.0
    figures: int = 0
    widgets: int = 0
    faults: list[str] = field(default_factory=list)


def until(ready: Callable[[], Any], seconds: float, what: str, pause: float = 0.2) -> Any:
    """The first true value of ``ready()``. Raises TimeoutError after ``seconds``."""
    end = time.monotonic() + seconds
    while not (value := ready()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(pause)
    return value


def enter(browser: Browser, running: Server, name: str, wait: float = 120.0) -> float:
    """Open the working copy of a chapter and wait for its kernel; seconds it took."""
    begin = time.monotonic()
    browser.open(running.address(name) + "&reset", formulas=False)  # without what was open the last time
    until(lambda: browser.run(OPEN), wait, f"{name} in JupyterLab")
    return time.monotonic() - begin


def run_all(browser: Browser, name: str, wait: float = 3600.0) -> Seen:
    """Run all cells of the open notebook and wait until the kernel has done them."""
    seen, begin = Seen(), time.monotonic()
    browser.run(RUN)
    while True:
        state = browser.run(STATE)
        past = time.monotonic() - begin
        if seen.first_figure is None and any("image/png" in one["kinds"] for one in state["outputs"]):
            seen.first_figure = past
        failed = any(one["kind"] == "error" for one in state["outputs"])
        if state["status"] == "gone" or (state["status"] == "idle" and (failed or all(state["counts"]))):
            break
        if past > wait:
            seen.faults.append(f"not done within {wait} s")
            break
        time.sleep(0.2)
    seen.all_cells = past
    browser.run(SAVE)
    if (told := until(lambda: browser.run(SAVED), 60, f"{name} is saved")) != "yes":
        seen.faults.append(f"a dialog: {told}")
    state = browser.run(STATE)
    for one in state["outputs"]:
        seen.figures += "image/png" in one["kinds"]
        seen.widgets += "application/vnd.jupyter.widget-view+json" in one["kinds"]
        if one["kind"] == "error" or (one["name"] == "stderr" and one["text"].strip()):  # a bar of progress ends blank
            seen.faults.append(f"code cell {one['cell']}: {one['kind']} {one['text'][:300]}")
    if not all(state["counts"]):
        seen.faults.append(f"not run: code cells {[i for i, count in enumerate(state['counts']) if not count]}")
    seen.faults += [f"console: {error}" for error in browser.errors if not _harmless(error, state["prose"])]
    here = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")
    seen.faults += [f"asked for {url}" for url in browser.requests if not url.startswith(here)]
    return seen


# What JupyterLab itself says on the console without harm to anybody: its cell toolbar looks for a part of a Markdown
# cell that jupyterlab_myst has replaced, and a page with unsaved changes that a script leaves is not asked about them.
HARMLESS = re.compile(r"_markdownOverlapsToolbar|Blocked attempt to show a 'beforeunload'")


def _harmless(error: str, prose: str) -> bool:
    """Whether a console error is one of :data:`HARMLESS`, or tells of references to what is rendered a moment later."""
    targets = re.findall(r"Cross reference target was not found: (\S+)", error)
    lines = [line for line in error.splitlines() if line.strip()]
    forward = bool(targets) and len(targets) == len(lines) and set(targets) <= labels(prose)
    return forward or bool(HARMLESS.search(error))


def report(seen: dict[str, Seen]) -> str:
    """A Markdown table of runs."""
    head = ("chapter", "opened", "first figure", "all cells", "figures", "widgets", "faults")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, one in seen.items():
        first = "-" if one.first_figure is None else f"{one.first_figure:.1f} s"
        faults = json.dumps(one.faults, ensure_ascii=False) if one.faults else "-"
        cells = (name, f"{one.opened:.1f} s", first, f"{one.all_cells:.1f} s", one.figures, one.widgets, faults)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)
