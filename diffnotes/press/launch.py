"""Chapters opened elsewhere: their notebooks in the site, the first cell of these, and the buttons that open them.

The site holds each chapter twice, ``notebooks/NAME.ipynb`` without outputs and ``executed/NAME.ipynb`` with them.
Their prose needs no book around it (:mod:`diffnotes.press.alone`), their formulas no macros, and below the title stands
a cell that gets the package and the trained networks where the package is missing, and does nothing where it is there.
The notebooks in ``notebooks/`` of the repository have no such cell: there all is at hand.

The address of the repository is told once, as ``repository: url`` of ``_config.yml``. Without it a page has no buttons
that need it, and the cell says how to come by the package. Colab opens the notebooks of the site, which
``.ci/launch-branch`` puts on a branch of their own; Binder makes the environment of ``environment.yml`` and opens the
notebook of the repository in JupyterLab.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .alone import alone, glued, sources, spelled_out
from .files import read_yaml
from .imprint import Edition
from .page import read, tags, text

__all__ = ["BRANCH", "FOLDERS", "IMPORTS", "buttons", "downloads", "first_cell", "opened_elsewhere", "sentence",
           "write_notebooks"]  # fmt: skip

BRANCH = "launch"  # of the repository, with the notebooks of the site
FOLDERS = {"notebooks": "without outputs", "executed": "with outputs"}  # in the site
# What a chapter imports. Where these are installed they stay as they are: Colab would break with another Jupyter.
IMPORTS = ("torch", "numpy", "scipy", "matplotlib", "seaborn", "scikit-learn", "safetensors", "ipywidgets", "nbformat",
           "joblib", "pooch", "tqdm")  # fmt: skip

FETCH = '''\
# @title Get the package `diffnotes`, where it is missing { display-mode: "form" }
# As on Colab: fetch this edition of the book and install the package from it. Its trained networks come along.
import importlib.util, os, subprocess, sys
from pathlib import Path

book = Path.home() / "diffnotes-EDITION"
if importlib.util.find_spec("diffnotes") is None:
    book.mkdir(exist_ok=True)
    git, pip = ["git", "-C", book], [sys.executable, "-m", "pip", "install", "--quiet"]
    for command in (
        [*git, "init", "--quiet"],
        [*git, "fetch", "--quiet", "--depth=1", ADDRESS, REVISION],
        [*git, "checkout", "--quiet", "--force", "FETCH_HEAD"],
        [*pip, "--no-deps", book],
        [*pip, "--no-warn-conflicts", *IMPORTS.split()],
    ):
        subprocess.run(command, check=True)
    importlib.invalidate_caches()
if (book / "book" / "networks").is_dir():
    os.environ.setdefault("DIFFNOTES_PUBLISHED", str(book / "book" / "networks"))
'''
ASK = '''\
# This notebook needs the package `diffnotes` and the trained networks of its book.
import importlib.util

if importlib.util.find_spec("diffnotes") is None:
    raise ModuleNotFoundError(
        "diffnotes is not installed here, and its book has no public address to fetch it from. In a copy of the "
        "book's folder `make lab CHAPTER=NAME` sets up all that is needed and opens this chapter. Or install it with "
        "`pip install FOLDER`, and set DIFFNOTES_PUBLISHED to FOLDER/book/networks, so that nothing is trained again."
    )
'''


def first_cell(name: str, address: str, book: Edition) -> str:
    """The code that gets the package in the notebook of the chapter ``name``, from the repository at ``address``.

    Without an address, it says what to do. The revision that it fetches is the commit of the edition, or else the tag
    of its version.

    >>> "v1.0" in first_cell("targets", "https://example.org/a", Edition("1.0"))
    True
    """
    if not address:
        return ASK.replace("NAME", name)
    told = {"EDITION": book.commit or book.version, "ADDRESS": repr(address), "IMPORTS": repr(" ".join(IMPORTS)),
            "REVISION": repr(book.revision or f"v{book.version}")}  # fmt: skip
    return re.sub("|".join(told), lambda match: told[match[0]], FETCH)


def opened_elsewhere(page: Any, name: str, cell: str, root: Path, outputs: bool) -> Any:
    """The executed ``page`` of a chapter as a notebook that needs neither book nor package around it.

    Args:
        page: the notebook; it stays as it is.
        name: the chapter.
        cell: the code that gets the package, of :func:`first_cell`.
        root: where the book lies, for the sources that its prose cites and what its macros stand for.
        outputs: keep them; else also what another profile has changed is left out.
    """
    from nbformat.v4 import new_code_cell

    notebook = copy.deepcopy(page)
    table = root / "book" / "notation.yml"
    alone(notebook, glued(page), sources(root / "book" / "references.bib"))
    macros = (read_yaml(table) or {}).get("macros", {}) if table.is_file() else {}
    for one in notebook.cells:
        if one.cell_type == "markdown":
            one.source = spelled_out(one.source, macros)
    if not outputs:
        notebook.cells = [one for one in notebook.cells if "injected-parameters" not in tags(one)]
        notebook.metadata.pop("diffnotes", None)
        notebook.metadata.pop("widgets", None)
        for one in notebook.cells:
            if one.cell_type == "code":
                one.outputs, one.execution_count = [], None
            one.metadata.pop("mystnb", None)
    metadata = {"tags": ["hide-input", "launch"], "jupyter": {"source_hidden": True}, "cellView": "form"}
    notebook.cells.insert(1, new_code_cell(cell.rstrip("\n"), id=f"{name}-launch", metadata=metadata))
    return notebook


def write_notebooks(pages: dict[str, Path], site: Path, root: Path, address: str, book: Edition) -> None:
    """Put the notebooks of the chapters whose executed ``pages`` lie in a tree at ``root`` into the ``site``."""
    for name, path in pages.items():
        page, cell = read(path), first_cell(name, address, book)
        for folder in FOLDERS:
            made = opened_elsewhere(page, name, cell, root, outputs=folder == "executed")
            place = site / folder / f"{name}.ipynb"
            place.parent.mkdir(exist_ok=True)
            place.write_text(text(made), encoding="utf8")


def downloads(name: str, pathto: Callable[[str, int], str]) -> list[dict[str, str]]:
    """The buttons that download a chapter's notebooks; ``pathto`` of Sphinx gives the address of a file of the site."""
    return [{"type": "link", "url": pathto(f"{folder}/{name}.ipynb", 1), "text": f".ipynb, {words}", "icon": icon,
             "tooltip": f"Download the notebook {words}", "label": f"download-{folder}-button"}
            for (folder, words), icon in zip(FOLDERS.items(), ("fas fa-file", "fas fa-file-code"))]  # fmt: skip


def sentence(name: str, top: str, source: Path) -> str:
    """What else there is of a chapter, as links in a sentence, HTML: its notebooks, its exercises, its slides.

    Args:
        name: the chapter.
        top: leads from its page to the site's own folder.
        source: the tree that the site is built from.
    """
    links = " or ".join(f'<a href="{top}{folder}/{name}.ipynb" download>{words}</a>'
                        for folder, words in FOLDERS.items())  # fmt: skip
    more = {f"book/exercises/{name}.html": ("book/exercises/{}.ipynb", "Exercises that are checked"),
            f"slides/{name}.html": ("book/slides/{}.md", "Slides")}  # fmt: skip
    others = "".join(f' <a href="{top}{page}">{words}</a>.' for page, (file, words) in more.items()
                     if (source / file.format(name)).is_file())  # fmt: skip
    return f'<span class="download"> The notebook, {links}.{others}</span>'


def buttons(name: str, address: str, branch: str, local: str) -> list[dict[str, str]]:
    """The buttons that open a chapter elsewhere; none without an ``address``, and Colab's only on GitHub.

    Args:
        name: the chapter.
        address: of the repository.
        branch: of the repository, from which Binder makes its environment.
        local: address of the section that says how to open it in JupyterLab on one's own machine.
    """
    if not address:
        return []
    place = address.removeprefix("https://github.com/").removesuffix(".git").strip("/")
    github = address.startswith("https://github.com/") and place.count("/") == 1
    source = f"gh/{place}" if github else f"git/{quote(address, safe='')}"
    opened = {
        "Colab": f"https://colab.research.google.com/github/{place}/blob/{BRANCH}/{name}.ipynb" if github else "",
        "Binder": f"https://mybinder.org/v2/{source}/{branch}?urlpath=lab/tree/notebooks/{name}.ipynb",
        "JupyterLab": local,
    }
    icons = {"Colab": "_static/images/logo_colab.png", "Binder": "_static/images/logo_binder.svg",
             "JupyterLab": "fas fa-laptop"}  # fmt: skip
    told = {"Colab": "Open in Colab", "Binder": "Open on Binder, in JupyterLab",
            "JupyterLab": "How to open it in JupyterLab on your machine"}  # fmt: skip
    return [{"type": "link", "url": url, "text": name, "icon": icons[name], "tooltip": told[name]}
            for name, url in opened.items() if url]  # fmt: skip
