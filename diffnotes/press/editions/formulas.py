"""Formulas as MathML: set by the MathJax of the site in a headless Chromium, so that what the site can set, a book can.

All formulas of a book are set in one go, in a page of one script that loads nothing but the library beside it.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import PressError
from ..processes import environment

__all__ = ["browser", "mathml"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = ("/Applications/Chromium.app/Contents/MacOS/Chromium",
       "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")  # fmt: skip
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
         "--host-resolver-rules=MAP * ~NOTFOUND", "--allow-file-access-from-files",
         "--virtual-time-budget=600000", "--dump-dom")  # fmt: skip
LIMIT = 300  # seconds that all formulas may take
PAGE = """<!DOCTYPE html><meta charset="utf-8"><title>formulas</title><pre id="made"></pre>
<script>
const formulas = FORMULAS;
MathJax = {tex: {macros: MACROS, packages: {"[-]": ["noundefined"]}}, startup: {typeset: false, async ready() {
  MathJax.startup.defaultReady();
  const made = [];
  for (const [tex, display] of formulas) {  // one by one: what a formula needs besides may have to be loaded first
    try {
      made.push(await MathJax.tex2mmlPromise(tex, {display}));
    } catch (error) { made.push("error: " + error.message); }
  }
  document.getElementById("made").textContent = JSON.stringify(made);
}}};
</script>
<script src="LIBRARY"></script>
"""


def browser() -> str:
    """The path of a Chromium or Chrome; DIFFNOTES_CHROMIUM comes first. PressError that says how to get one."""
    candidates = [os.environ.get("DIFFNOTES_CHROMIUM", ""), *NAMES, *MAC]
    found = next((path for name in candidates if name and (path := shutil.which(name))), None)
    if found is None:
        raise PressError("the EPUB needs Chromium or Chrome, which sets its formulas, and there is none: "
                         "`.ci/system-packages browser`, or set DIFFNOTES_CHROMIUM")
    return found


def mathml(formulas: Iterable[tuple[str, bool]], macros: Mapping[str, Any], library: Path) -> list[str]:
    """The MathML of each formula.

    Args:
        formulas: (TeX, whether it is displayed).
        macros: name -> TeX, or [TeX, number of arguments].
        library: the MathJax to use, `tex-mml-chtml.js`.

    Raises:
        PressError: for a formula that cannot be set, or if no browser answers.
    """
    wanted = list(formulas)
    if not wanted:
        return []

    def script(value: Any) -> str:
        return json.dumps(value).replace("<", "\\u003c")  # nothing in a formula can end the script

    text = PAGE.replace("LIBRARY", html.escape(library.resolve().as_uri()))
    text = text.replace("MACROS", script(dict(macros))).replace("FORMULAS", script(wanted))
    with tempfile.TemporaryDirectory(prefix="diffnotes-formulas-") as folder:
        page = Path(folder) / "formulas.html"
        page.write_text(text, encoding="utf8")
        command = [browser(), *FLAGS, f"--user-data-dir={folder}/profile", page.as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, text=True, encoding="utf8", timeout=LIMIT,
                                  env=environment(folder), check=False)  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise PressError(f"the formulas were not set within {LIMIT} seconds") from error
    found = re.search(r'<pre id="made">(.*?)</pre>', done.stdout, re.S)
    made = json.loads(html.unescape(found[1])) if found and found[1] else []
    if len(made) != len(wanted):
        raise PressError(f"the browser has set {len(made)} of {len(wanted)} formulas: {done.stderr.strip()[-300:]}")
    for (tex, _), one in zip(wanted, made, strict=True):
        if one.startswith("error: ") or "<merror" in one:
            why = re.search(r'data-mjx-error="([^"]*)"', one)
            raise PressError(f"a formula cannot be set: {tex.strip()[:120]}: {why[1] if why else one[:200]}")
    return [tidy(one) for one in made]


def tidy(text: str) -> str:
    """MathML without line breaks, without MathJax's own attributes, and without named entities.

    >>> tidy('<math xmlns="m" display="block">\\n  <mi data-mjx-texclass="OP">a</mi>\\n</math>')
    '<math xmlns="m" display="block"><mi>a</mi></math>'
    """
    text = re.sub(r' (?:data-mjx-[\w-]+|data-latex|class)="[^"]*"', "", text)
    text = re.sub(r">\s*\n\s*<", "><", text)
    return re.sub(r"&(?!(?:amp|lt|gt|quot|apos|#\w+);)(\w+;)", lambda found: html.unescape(found[0]), text)
