"""The site: executed pages in, a directory that opens from disk out.

`build` assembles a source tree from the prose, the configuration and the best executed page of each chapter, lets the
gates look at the pages, builds everything in an empty directory with warnings as errors, scans the HTML, and only then
replaces the site. If no input changed since the site was made, it does nothing. It never executes a notebook.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml

CHAPTERS = "book/chapters"
BUILDERS = ("jupyter-book", "sphinx", "myst-nb", "sphinx-book-theme", "sphinx-exercise", "sphinx-proof")


class BuildError(RuntimeError):
    """The site could not be made; the old one is untouched."""


def chapters(root: Path) -> list[str]:
    """Names of the chapters in the table of contents, in order."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf8"))
    files = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    return [file.removeprefix(CHAPTERS + "/") for file in files if file.startswith(CHAPTERS + "/")]


def render(source: Path, work: Path) -> Path:
    """Build the tree `source` below the empty directory `work`; returns the directory of the HTML.

    Raises BuildError with the warnings if there are any: a fresh directory is essential, since a second build
    in the same place would skip the pages that were faulty.
    """
    shutil.rmtree(work, ignore_errors=True)
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    options = ["build", str(source), "--path-output", str(work), "-W", "-n", "--keep-going", "--quiet"]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": "0", "NO_COLOR": "1"}
    )
    if done.returncode:
        raise BuildError("jupyter-book failed:\n" + (done.stderr or done.stdout).strip())
    return work / "_build" / "html"
