"""Formulas as MathML: set by the MathJax of the site in a headless Chromium, so that what the site can set, a book can.

All formulas of a book are set in one go, in a page of one script that loads nothing but the library beside it. Readers
know MathML Core and have rules of their own for the rest, so letters, spaces, columns and places to end a line are
written down as TeX has them.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import tempfile
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
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
LONG = 12  # signs of a formula in a line of text that may be broken
INSIDE = 24  # signs in a bracket that may be broken too
BREAK = '<mspace linebreak="goodbreak"></mspace>'
PART = '<mspace linebreak="newline"></mspace>'  # between formulas that stand side by side
PAGE = """<!DOCTYPE html><meta charset="utf-8"><title>formulas</title><pre id="made"></pre>
<script>
const formulas = FORMULAS, accents = {"^": "\u02C6", "~": "\u02DC"};
const widths = {thinmathspace: "0.1667em", mediummathspace: "0.2222em", thickmathspace: "0.2778em"};
function spaced(node) {  // what TeX puts between signs is written down: readers of MathML have rules of their own
  if (node.isKind("mo")) for (const side of ["lspace", "rspace"]) {
    if (!node.attributes.isSet(side)) node.attributes.set(side, "0");
  }
  const above = node.isKind("mover") && node.childNodes[1];
  if (above && (above.getProperty("mathaccent") || above.attributes.get("accent"))) {
    node.attributes.set("accent", true);
    const narrow = above.isKind("mo") && !above.attributes.get("stretchy") && accents[above.getText()];
    if (narrow) above.childNodes[0].setText(narrow);
  }
  if (node.isKind("mtd")) {
    const {attributes} = node.parent.parent, place = node.parent.childIndex(node);
    const of = (name, index) => (all => all[Math.min(index, all.length - 1)])(attributes.get(name).split(" "));
    const gap = place ? of("columnspacing", place - 1) : "0";
    node.attributes.set("style", `text-align: ${of("columnalign", place)}; padding-left: ${gap}; padding-right: 0`);
  }
  for (const child of [...node.childNodes]) spaced(child);
  const width = widths[node.texSpacing()];
  if (!width) return;
  const place = node.parent.childIndex(node), before = node.parent.childNodes[place - 1];
  if (node.isEmbellished) node.coreMO().attributes.set("lspace", width);
  else if (before && before.isEmbellished) before.coreMO().attributes.set("rspace", width);
  else {
    const space = node.factory.create("mspace", {width});
    space.parent = node.parent;
    node.parent.childNodes.splice(place, 0, space);
  }
}
function signs(node) {
  let count = 0;
  node.walkTree(one => count += one.isToken);
  return count;
}
function loosened(row) {  // long brackets that grow with what they hold become signs of a row, of one size
  for (const node of [...row.childNodes]) {
    if (!node.isKind("mrow") || node.getProperty("open") === undefined || signs(node) <= INSIDE) continue;
    let high = false;
    node.walkTree(one => high = high || ["mfrac", "munder", "munderover"].some(kind => one.isKind(kind)));
    for (const fence of [node.childNodes[0], node.childNodes[node.childNodes.length - 1]]) {
      for (const name of ["minsize", "maxsize"]) fence.attributes.set(name, high ? "2.4em" : "1.2em");
    }
    for (const one of node.childNodes) one.parent = row;
    row.childNodes.splice(row.childIndex(node), 1, ...node.childNodes);
  }
}
function wide(row, {OPEN, CLOSE}) {  // the opening signs of brackets that are too long for one line
  const found = new Set();
  let depth = 0, count = 0, first;
  for (const node of row.childNodes) {
    if (node.texClass === CLOSE && depth && !--depth && count > INSIDE) found.add(first);
    if (node.texClass === OPEN && !depth++) [first, count] = [node, 0];
    count += signs(node);
  }
  return found;
}
function quad(node) {
  let found = false;
  node.walkTree(one => found = found || (one.isKind("mspace") && parseFloat(one.attributes.get("width")) >= 1));
  return node.isSpacelike && found;
}
function broken(tree, classes) {
  const {ORD, REL, BIN, PUNCT, OPEN, CLOSE} = classes, row = tree.childNodes[0];
  const only = row.childNodes.length === 1 && row.childNodes[0];
  if (only && only.isKind("mstyle") && only.attributes.get("displaystyle")) {
    tree.attributes.set("displaystyle", true);
    row.setChildren(only.childNodes[0].childNodes);
  }
  loosened(row);
  const long = wide(row, classes);
  let depth = 0, allowed = 0, bars = false, comma = false, begins = true;
  for (const node of [...row.childNodes]) {  // a line may begin with a relation or a sum, and behind a comma or a quad
    const kind = node.texClass, sign = node.isEmbellished ? node.coreMO().getText() : "", place = row.childIndex(node);
    depth -= kind === CLOSE;
    const after = row.childNodes[place + 1], over = sign === "/" && after && after.texClass === OPEN;
    const joins = comma || over || kind === BIN || (kind === REL && sign !== "\u2223");
    if (after && !begins && !depth && quad(node)) {
      row.childNodes.splice(place, 1, node.factory.create("mspace", {linebreak: "newline"}));
      [comma, begins] = [false, true];
      continue;
    }
    if (joins && !begins && depth <= allowed && !bars && !node.isSpacelike) {
      row.childNodes.splice(place, 0, node.factory.create("mspace", {linebreak: "goodbreak"}));
    }
    comma = kind === PUNCT || (comma && node.isSpacelike);
    bars = bars !== (!depth && kind === ORD && ["|", "\u2016"].includes(sign));
    if (kind === OPEN && !depth) allowed = Number(long.has(node));
    depth += kind === OPEN;
    allowed *= Number(depth > 0);
    begins = begins && node.isSpacelike;
  }
}
MathJax = {tex: {macros: MACROS, packages: {"[-]": ["noundefined"]}}, startup: {typeset: false, async ready() {
  MathJax.startup.defaultReady();
  const {handleRetriesFor} = MathJax._.mathjax.mathjax, {STATE} = MathJax._.core.MathItem;
  const {TEXCLASS} = MathJax._.core.MmlTree.MmlNode;
  const made = [];
  for (const [tex, display] of formulas) {  // one by one: what a formula needs besides may have to be loaded first
    try {
      const tree = await handleRetriesFor(() => MathJax.startup.document.convert(tex, {display, end: STATE.CONVERT}));
      tree.setTeXclass(null);
      spaced(tree);
      if (display || signs(tree) > LONG) broken(tree, TEXCLASS);
      made.push(MathJax.startup.toMML(tree));
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
    given = {"LONG": str(LONG), "INSIDE": str(INSIDE), "MACROS": script(dict(macros)), "FORMULAS": script(wanted)}
    for name, value in given.items():
        text = text.replace(name, value)
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
    """MathML without line breaks, MathJax's own attributes and named entities, with letters that show their style.

    >>> tidy('<math xmlns="m" display="block">\\n  <mi data-mjx-texclass="OP" mathvariant="bold">a</mi>\\n</math>')
    '<math xmlns="m" display="block"><mi>𝐚</mi></math>'
    """
    text = re.sub(r' (?:data-mjx-[\w-]+|data-latex|class)="[^"]*"', "", text)
    text = re.sub(r">\s*\n\s*<", "><", text)
    text = re.sub(r"&(?!(?:amp|lt|gt|quot|apos|#\w+);)(\w+;)", lambda found: html.unescape(found[0]), text)
    if BREAK in text or PART in text:  # no reader breaks a formula: it becomes a row of them, with the same opening tag
        opening = re.match("<math[^>]*>", text)[0]
        row = opening.replace(' display="block"', "" if "displaystyle" in opening else ' displaystyle="true"')
        parts = text.replace(opening, row).replace(BREAK, f"</math>{row}").split(PART)
        if len(parts) > 1:
            whole = f'</math></span> <span class="whole">{row}'
            parts = ['<span class="whole">', whole.join(parts), "</span>"]
        text = "".join(parts)
    return STYLED.sub(lambda found: f"<{found[1]}{found[2]}{found[4]}>{letters(found[5], found[3])}<", text)


STYLED = re.compile(r'<(m\w+)([^>]*?) mathvariant="(?!normal")([\w-]+)"([^>]*)>([^<]*)<')


def letters(text: str, style: str) -> str:
    """Mathematical letters in place of plain ones, for readers that know no ``mathvariant`` but "normal".

    Args:
        text: as XML has it.
        style: a value of ``mathvariant``. What Unicode does not have in it stays as it is.

    >>> letters("ER1", "double-struck"), letters("LN", "script"), letters("x&#x3BC;", "bold-italic")
    ('𝔼ℝ𝟙', 'ℒ𝒩', '𝒙𝝁')
    """
    known = _alphabets()[frozenset(style.split("-"))]
    return html.escape("".join(known.get(one, one) for one in html.unescape(text)))


@cache
def _alphabets() -> defaultdict[frozenset[str], dict[str, str]]:
    """The words of a style -> plain letter -> mathematical letter, from the names and decompositions of Unicode."""
    found: defaultdict[frozenset[str], dict[str, str]] = defaultdict(dict)
    for sign in map(chr, [*range(0x1D400, 0x1D800), *range(0x2100, 0x2150)]):
        kind, _, plain = unicodedata.decomposition(sign).partition(" ")
        name = unicodedata.name(sign, "").replace("BLACK-LETTER", "FRAKTUR").replace("PLANCK CONSTANT", "ITALIC SMALL")
        style = re.match(r"(?:MATHEMATICAL )?([A-Z -]+?) (?:CAPITAL|SMALL|DIGIT|NABLA|PARTIAL|\w+ SYMBOL)", name)
        if kind == "<font>" and style:
            found[frozenset(re.split("[ -]", style[1].lower()))].setdefault(chr(int(plain, 16)), sign)
    return found
