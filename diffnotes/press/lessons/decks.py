"""From the Markdown of a deck to its slides as HTML; :mod:`.slides` says how a deck is written."""

from __future__ import annotations

import ast
import html
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from ..errors import PressError
from ..finish import accessible
from ..page import read, records
from ..prose import numerals
from ..quoting import claim_words, effect_words, figure
from ..reference import NOTATION
from ..reference.tex import plain

__all__ = ["DECKS", "Deck", "Sources", "deck", "known_commands"]

DECKS = "book/slides"
GLUED = "application/papermill.record/text/plain"
LANGUAGES = ("derivation", "python", "bash")
MINUTES = re.compile(r"(\d{1,3}) min\b[.:,]?\s*")


@dataclass
class Deck:
    """The deck of the chapter ``name``: what it is called and takes, its slides as HTML, and the figures it shows."""

    name: str
    title: str
    minutes: int
    slides: list[str] = field(default_factory=list)
    figures: dict[str, bytes] = field(default_factory=dict)  # file name -> PNG


@dataclass
class Sources:
    """What decks quote: the pages of the chapters, the rows of the ledger, and what may stand in a formula."""

    pages: dict[str, Path]
    rows: dict[str, dict[str, Any]]
    macros: dict[str, Any]
    commands: frozenset[str]

    def glued(self, chapter: str) -> dict[str, Any]:
        return _glued(self.pages[chapter], self.pages[chapter].stat().st_mtime_ns)

    def told(self, label: str) -> tuple[str, str] | None:
        """Alternative text and chapter of the figure ``label``; None where no page shows it."""
        for name, path in self.pages.items():
            for _, output, record in _figures(path, path.stat().st_mtime_ns):
                if record["name"] == label and "image/png" in output["data"]:
                    return record["alt"], name
        return None


@lru_cache(maxsize=16)
def _figures(path: Path, _: int) -> tuple[Any, ...]:
    return tuple(records(read(path), "figure"))


@lru_cache(maxsize=16)
def _glued(path: Path, _: int) -> dict[str, Any]:
    found = {}
    for cell in read(path).cells:
        for output in cell.get("outputs", []):
            note = output.get("metadata", {}).get("scrapbook", {})
            if "name" in note and GLUED in output.get("data", {}):
                found[note["name"]] = ast.literal_eval(output["data"][GLUED])
    return found


# Formulas


@lru_cache(maxsize=4)
def known_commands(script: Path) -> frozenset[str]:
    r"""The commands that the site's MathJax has: those in the tables of its script, and of the extensions beside it."""
    text, found = script.read_text(encoding="utf8"), {"begin", "end", "left", "right", "middle"}
    for start in re.finditer(r"\.(?:Character|Command|Macro|Delimiter)Map\(\"[\w-]+\",(?:[\w.]+,)?\{", text):
        found |= set(_keys(text, start.end()))
    for path in (script.parent / "input/tex/extensions").glob("*.js"):
        found.add(path.stem)
    return frozenset(found)


def _keys(text: str, place: int) -> Iterator[str]:
    """The keys of the object of a script that is open at ``place``, without a backslash before them."""
    depth, token = 1, re.compile(r'"((?:\\.|[^"\\])*)"|([A-Za-z]\w*)(?=:)|([\[{(])|([\]})])')
    while depth and (match := token.search(text, place)):
        place = match.end()
        depth += bool(match[3]) - bool(match[4])
        if depth == 1 and not match[3] and not match[4] and text[place : place + 1] == ":":
            yield (match[1] or match[2]).lstrip("\\")


def _unknown(tex: str, source: Sources) -> list[str]:
    """Commands in a formula that neither MathJax nor the book's notation has."""
    names = re.findall(r"\\([A-Za-z]+)", tex)
    return [name for name in dict.fromkeys(names) if name not in source.commands and name not in source.macros]


def _aligned(text: str) -> str:
    r"""The lines of a derivation as one display.

    >>> print(_aligned("a &= b\n   + c\n  &= d\n"))
    \begin{aligned}
    a &= b + c\\[0.35em]
    &= d
    \end{aligned}
    """
    lines: list[str] = []
    for line in text.rstrip().split("\n"):
        if lines and line.startswith(" ") and not line.lstrip().startswith("&"):
            lines[-1] += " " + line.strip()
        elif line.strip():
            lines.append(line.strip())
    return "\\begin{aligned}\n" + "\\\\[0.35em]\n".join(lines) + "\n\\end{aligned}"


# From Markdown to slides


class _Slides:
    """One deck on its way from Markdown to HTML; it knows where it is, and so where a fault lies."""

    def __init__(self, name: str, source: Sources, made: Deck) -> None:
        self.name, self.source, self.made = name, source, made
        self.number, self.spent = 1, 0
        self.speaking = False  # in the notes
        self.reader = _reader()
        for rule in ("math_inline", "math_block", "myst_role", "image", "fence", "list_item_open"):
            self.reader.add_render_rule(rule, self._rule(rule))

    def _rule(self, rule: str) -> Any:
        def render(renderer: Any, tokens: list[Any], index: int, options: Any, env: Any) -> str:
            return getattr(self, f"_{rule}")(tokens, index)

        return render

    def fault(self, what: str, allowed: str) -> NoReturn:
        raise PressError(f"{DECKS}/{self.name}.md, slide {self.number}: {what}; allowed: {allowed}")

    def convert(self, text: str) -> None:
        tokens = self.reader.parse(text)
        for part in _parted(tokens):
            self.number += 1
            self.made.slides.append(self._slide(part))
        if self.spent > self.made.minutes:
            self.number = len(self.made.slides) + 1
            self.fault(f"the notes take {self.spent} minutes together", f"at most minutes = {self.made.minutes}")

    def _slide(self, tokens: list[Any]) -> str:
        if not tokens:
            self.fault("it is empty", "a heading '## ...' and what belongs to it")
        levels = [token.tag for token in tokens if token.type == "heading_open"]
        if tokens[0].type != "heading_open" or levels != ["h2"]:
            self.fault("no heading of its own" if not levels else f"its headings are {', '.join(levels)}",
                       "one heading '## ...', at the beginning")  # fmt: skip
        body, notes = self._cut(tokens, "Note:")
        body, answer = self._cut(body, "Answer:")
        if len(body) == 3 and not answer:
            self.fault("nothing below its heading", "text, a formula, a list or a figure")
        if len(notes) < 3 or not (spent := MINUTES.match(notes[1].content)):
            self.fault("no notes with minutes", "a paragraph 'Note: 4 min ...' at its end")
        self.spent += int(spent[1])
        _begin(notes[1], spent.end())
        body, aside = _beside(body)
        shown, head = self._html(body[3:]), self._html(body[:3])
        if answer:
            shown += f'<div class="answer fragment"><p class="label">Answer</p>\n{self._html(answer)}</div>\n'
        shown = f'{head}<div class="text">\n{shown}</div>\n{self._html(aside)}' if aside else head + shown
        shown = accessible(re.sub(r"(\d(?:</a>)?) %", r"\1&#160;%", shown))
        told = self._notes(notes, spent[1])
        kind = "slide beside" if aside else "slide"
        return f'<section>\n<div class="{kind}">\n{shown}</div>\n<aside class="notes">{told}</aside>\n</section>'

    def _html(self, tokens: list[Any]) -> str:
        return self.reader.renderer.render(tokens, self.reader.options, {})

    def _cut(self, tokens: list[Any], word: str) -> tuple[list[Any], list[Any]]:
        """The tokens before the paragraph that begins with ``word``, and those from it on, without the word."""
        for i, token in enumerate(tokens[:-1]):
            if token.type == "paragraph_open" and not token.level and tokens[i + 1].content.startswith(word):
                after = tokens[i:]
                _begin(after[1], len(word))
                if not after[1].content:
                    after = after[3:]
                return tokens[:i], after
        return tokens, []

    def _notes(self, tokens: list[Any], minutes: str) -> str:
        if any(token.type in ("fence", "math_block") or "![" in token.content for token in tokens):
            self.fault("its notes hold a display or a figure", "text, lists and short formulas in notes")
        self.speaking = True
        told = self._html(tokens)
        self.speaking = False
        return f"<p><b>{minutes} min</b></p>\n{told}"

    def _formula(self, tex: str) -> str:
        if unknown := _unknown(tex, self.source):
            known = ", ".join(f"\\{name}" for name in self.source.macros)
            self.fault(f"unknown macro \\{unknown[0]}", f"commands of MathJax, and the macros of {NOTATION}: {known}")
        return html.escape(tex, quote=False)

    def _math_inline(self, tokens: list[Any], index: int) -> str:
        tex = self._formula(tokens[index].content)
        if self.speaking:
            words = {name: one for name, one in self.source.macros.items() if isinstance(one, str)}
            return html.escape(plain(tokens[index].content, words), quote=False)
        follows = tokens[index + 1] if index + 1 < len(tokens) else None
        mark = re.match(r"[,.;:?!)]+", follows.content) if follows is not None and follows.type == "text" else None
        if not mark:
            return f'<span class="math">\\({tex}\\)</span>'
        follows.content = follows.content[mark.end() :]  # no line ends between a formula and its punctuation
        return f'<span class="together"><span class="math">\\({tex}\\)</span>{mark[0]}</span>'

    def _math_block(self, tokens: list[Any], index: int) -> str:
        return f'<div class="math">\\[{self._formula(tokens[index].content.strip())}\\]</div>\n'

    def _fence(self, tokens: list[Any], index: int) -> str:
        kind, text = tokens[index].info.strip(), tokens[index].content
        if kind not in LANGUAGES or not text.strip():
            self.fault(f"a block ```{kind}" + " that is empty" * (not text.strip()), ", ".join(LANGUAGES))
        if kind == "derivation":
            return f'<div class="math derivation">\\[{self._formula(_aligned(text))}\\]</div>\n'
        return f'<pre tabindex="0"><code>{html.escape(text, quote=False)}</code></pre>\n'

    def _list_item_open(self, tokens: list[Any], index: int) -> str:
        return '<li class="fragment">' if tokens[index].markup == "+" else "<li>"

    def _myst_role(self, tokens: list[Any], index: int) -> str:
        role, text = tokens[index].meta["name"], tokens[index].content
        try:
            if role == "effect":
                claim, said, told = effect_words(self.source.rows, text)
                return self._link(claim, said, told)
            if role == "claim":
                if text not in self.source.rows:
                    raise ValueError(f"there is no claim {text}; allowed: {', '.join(sorted(self.source.rows))}")
                return self._link(text, claim_words(self.source.rows[text]), self.source.rows[text]["statement"])
            if role == "glue:text":
                return html.escape(self._value(text), quote=False)
        except ValueError as error:
            self.fault(str(error).partition("; allowed: ")[0],
                       str(error).partition("; allowed: ")[2] or "what the pages have recorded")  # fmt: skip
        self.fault(f"the role {{{role}}}", "{effect}, {claim} and {glue:text}")

    def _value(self, text: str) -> str:
        name, _, form = text.partition(":")
        values = self.source.glued(self.name)
        if name not in values:
            raise ValueError(f"nothing of the name {name!r} is glued; allowed: {', '.join(sorted(values))}")
        try:
            return format(values[name], form)
        except (TypeError, ValueError):
            raise ValueError(f"glue = {text!r}; allowed: a format for {values[name]!r}") from None

    def _link(self, claim: str, said: str, told: str) -> str:
        said, told = (html.escape(words.replace("`", "")) for words in (said, told))
        if self.speaking or not self.source.rows[claim]["record"]:
            return said
        address = f"../book/chapters/{self.source.rows[claim]['page']}.html#claim-{claim.lower()}"
        return f'<a class="effect" href="{address}" title="{told}">{said}</a>'

    def _image(self, tokens: list[Any], index: int) -> str:
        token = tokens[index]
        label, title = token.attrs.get("src", ""), str(token.attrs.get("title", ""))
        found = re.fullmatch(r"(beside)?\s*(?:(rows|columns) ([\d.]+) ([\d.]+))?", title)
        if not found or (found[2] and not 0 <= float(found[3]) < float(found[4]) <= 1):
            self.fault(f"figure {label}: {title!r}", "'beside', and 'rows' or 'columns' with two numbers from 0 to 1")
        known = self.source.told(label)
        if known is None:
            self.fault(f"no page shows the figure {label!r}", "labels of figures of the chapters, as fig-NAME-what")
        if bool(found[2]) != bool(token.content.strip()):
            self.fault(f"figure {label}: " + ("a part without" if found[2] else "the whole with") + " text of its own",
                       "a text in the brackets for a part; the whole has the one of its page")  # fmt: skip
        png, suffix = figure([self.source.pages[known[1]]], label), ""
        if found[2]:
            ends = float(found[3]), float(found[4])
            png, suffix = _cut(png, found[2], ends), f"-{found[2]}-{ends[0]:g}-{ends[1]:g}"
        self.made.figures[f"{label}{suffix}.png"] = png
        alt = html.escape(token.content.strip() or known[0])
        width, height = (int.from_bytes(png[place : place + 4], "big") for place in (16, 20))
        return f'<img src="figures/{label}{suffix}.png" width="{width}" height="{height}" alt="{alt}">'


def _beside(tokens: list[Any]) -> tuple[list[Any], list[Any]]:
    """The tokens without the paragraph of the figure that stands beside them, and that paragraph."""
    for i, token in enumerate(tokens):
        alone = token.children if token.type == "inline" else None
        if alone and len(alone) == 1 and str(alone[0].attrs.get("title", "")).startswith("beside"):
            return [*tokens[: i - 1], *tokens[i + 2 :]], tokens[i - 1 : i + 2]
    return tokens, []


def _begin(token: Any, place: int) -> None:
    """Take the first ``place`` characters, and the white space after them, off an inline token."""
    gone = len(token.content) - len(token.content[place:].lstrip())
    token.content = token.content[gone:]
    first = token.children[0] if token.children else None
    if first is not None and first.type == "text":
        first.content = first.content[gone:]
    if token.children and first is not None and not first.content and len(token.children) > 1 \
            and token.children[1].type == "softbreak":  # fmt: skip
        token.content, token.children = token.content.lstrip("\n"), token.children[2:]


def _cut(png: bytes, way: str, ends: tuple[float, float]) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(png)) as whole:
        width, height = whole.size
        box = (0, ends[0] * height, width, ends[1] * height)
        if way == "columns":
            box = (ends[0] * width, 0, ends[1] * width, height)
        out = io.BytesIO()
        whole.crop(tuple(map(round, box))).save(out, "PNG", optimize=True)
    return out.getvalue()


def _reader() -> Any:
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin
    from mdit_py_plugins.myst_role import myst_role_plugin

    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    reader.disable(["lheading", "html_block", "html_inline"])  # a line --- under a text begins a slide
    return reader.use(dollarmath_plugin, allow_labels=False, double_inline=False).use(myst_role_plugin)


def _parted(tokens: list[Any]) -> Iterator[list[Any]]:
    part: list[Any] = []
    for token in tokens:
        if token.type == "hr" and not token.level and set(token.markup) == {"-"}:
            yield part
            part = []
        else:
            part.append(token)
    yield part


def _front(name: str, text: str) -> tuple[dict[str, Any], str]:
    """What stands between the first two lines ``---``, and the rest."""
    import yaml

    where, wanted = f"{DECKS}/{name}.md", "title and minutes between two lines '---' at the beginning"
    found = re.match(r"---[ \t]*\n(.*?)\n---[ \t]*\n", text, re.S)
    try:
        head = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError:
        head = None
    if not isinstance(head, dict):
        raise PressError(f"{where}, slide 1: no title; allowed: {wanted}")
    if not isinstance(title := head.get("title"), str) or not title.strip():
        raise PressError(f"{where}, slide 1: title = {title!r}; allowed: a text")
    if not isinstance(minutes := head.get("minutes"), int) or not 0 < minutes <= 600:
        raise PressError(f"{where}, slide 1: minutes = {minutes!r}; allowed: a whole number from 1 to 600")
    if others := head.keys() - {"title", "minutes"}:
        raise PressError(f"{where}, slide 1: {', '.join(sorted(others))}; allowed: {wanted}")
    return head, text[found.end() :]


def _typed(name: str, text: str) -> None:
    """Refuse results that are typed into a deck, by the rule of the gates."""
    for number, slide in enumerate(re.split(r"(?m)^---[ \t]*$", text), 2):
        bare = re.sub(r"(?m)^Note: \d+ min", "Note: ", slide)
        bare = re.sub(r"(?m)^```derivation\n(.*?)^```", r"$$\n\1$$", bare, flags=re.S)
        bare = re.sub(r'(!\[[^\]]*\])\([^)]*\)', r"\1", bare)
        if found := numerals(bare):
            raise PressError(f"{DECKS}/{name}.md, slide {number}: numbers typed by hand: {', '.join(found)}; allowed: "
                             "{effect}, {glue:text}, and numbers that state no result")  # fmt: skip


def deck(name: str, text: str, source: Sources) -> Deck:
    """The deck of the chapter ``name`` from its Markdown ``text``.

    Raises:
        PressError: naming the deck, the slide, what is wrong with it, and what is allowed.
    """
    head, body = _front(name, text)
    made = Deck(name, head["title"].strip(), head["minutes"])
    _Slides(name, source, made).convert(body)
    _typed(name, body)
    return made
