"""The glossary: chapters link their terms to it, and every link leads to an entry."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from diffnotes.press.reference import NOTATION, notation

ROOT = Path(__file__).parents[1]
ENTRIES = list(notation(ROOT / NOTATION)["terms"])


def test_entries_are_in_order_and_unique() -> None:
    names = [entry.lower() for entry in ENTRIES]
    assert len(names) > 30 and names == sorted(set(names))


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_chapter_links_its_terms_once(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    linked = [target or shown for shown, target in re.findall(r"\{term\}`([^`<]+?)(?: <([^>]+)>)?`", text)]
    assert len(linked) >= 3 and len(linked) == len(set(linked)) and set(linked) <= set(ENTRIES)
