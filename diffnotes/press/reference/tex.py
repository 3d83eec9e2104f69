r"""Symbols in TeX: what a formula names, and how that is read aloud or typed.

A symbol is a letter, Greek or Latin, with its accent, index and raised mark, or a name such as ``\mathrm{ANSD}``.
Numbers, signs, the insides of indices, the differential and Euler's number are none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Symbol", "plain", "symbols"]

GREEK = {unicodedata.name(chr(code)).split()[-1].lower(): chr(code) for code in range(0x3B1, 0x3CA)}
GREEK = {name: letter for name, letter in GREEK.items() if name != "lamda"} | {"lambda": "λ"}
GREEK |= {name.capitalize(): letter.upper() for name, letter in GREEK.items()}
GREEK |= {"sigma": "σ", "varepsilon": "ε", "epsilon": "ϵ", "varphi": "φ", "phi": "ϕ", "ell": "ℓ"}
ACCENTS = {"hat": "\u0302", "widehat": "\u0302", "tilde": "\u0303", "widetilde": "\u0303", "bar": "\u0304",
           "overline": "\u0304", "dot": "\u0307", "ddot": "\u0308", "check": "\u030c"}  # fmt: skip
SAME = {"widehat": "hat", "widetilde": "tilde", "overline": "bar"}
NAMES = {"mathrm", "operatorname", "mathsf", "mathtt"}
STYLES = {"mathcal", "mathbb", "mathbf", "boldsymbol", "mathfrak", "bm"}
WORDS = {"text", "textrm", "textit", "textbf", "mbox", "begin", "end", "label", "tag", "hspace", "vspace", "color"}
SHOWN = {"le": "≤", "ge": "≥", "ne": "≠", "in": "∈", "sim": "~", "int": "∫", "sum": "Σ", "prod": "Π", "sqrt": "√",
         "partial": "∂", "nabla": "∇", "cdot": "·", "mid": "|", "given": "|", "Vert": "‖", "vert": "|", "star": "*",
         "infty": "∞", "to": "→", "times": "×", "langle": "⟨", "rangle": "⟩", "pm": "±", "R": "ℝ", "E": "E",
         "dd": "d", "log": "log "}  # fmt: skip
TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[A-Za-z]|\d+(?:\.\d+)?|\S")


@dataclass(frozen=True)
class Symbol:
    """A symbol: its letter or name, the accent and style on it, its index and raised mark, "" where there is none."""

    base: str
    accent: str = ""
    index: str = ""
    raised: str = ""

    @property
    def head(self) -> str:
        """The symbol without index and raised mark, as a key of tables."""
        return f"{self.accent} {self.base}".strip()

    @property
    def form(self) -> tuple[str, str, str]:
        """What tells symbols of one head apart: an index that runs is like any other, a fixed one is its own."""
        running = re.fullmatch(r"[a-z](?:[-+]\d)?", self.index) is not None
        return self.head, "running" if running else self.index, self.raised

    def spoken(self) -> list[str]:
        """How it may be typed: in words with its index and without, and as a letter."""
        word = {"varepsilon": "epsilon", "varphi": "phi"}.get(self.base, self.base).split()[-1]
        word = f"{word} {self.accent}".strip()
        index = " ".join(re.findall(r"[A-Za-z]+|\d+", self.index))
        found = [f"{word} {index}".strip(), word]
        if letter := GREEK.get(self.base):
            found += [{"ϵ": "ε", "ϕ": "φ"}.get(letter, letter)]
        return list(dict.fromkeys(found))


def symbols(tex: str, macros: dict[str, str] | None = None) -> Iterator[Symbol]:
    r"""The symbols of a formula in the order in which they stand.

    Args:
        tex: the formula.
        macros: name -> what it stands for, of macros that stand for a symbol.

    >>> [symbol.head for symbol in symbols(r"\hat x_0=\mathrm{ANSD}(\bar\alpha_{t-1}\,\mathrm d y)")]
    ['hat x', 'ANSD', 'bar alpha', 'y']
    >>> [(symbol.index, symbol.raised) for symbol in symbols(r"\gamma^{(1)}_t+x_0^2+p'")]
    [('t', '(1)'), ('0', ''), ('', "'")]
    """
    yield from _walk(TOKEN.findall(_expanded(tex, macros or {})))


def _expanded(tex: str, macros: dict[str, str]) -> str:
    """The formula with each macro replaced by what it stands for."""
    return re.sub(r"\\([A-Za-z]+)", lambda match: f"{macros[match[1]]} " if match[1] in macros else match[0], tex)


def _walk(tokens: list[str]) -> Iterator[Symbol]:
    place, accent = 0, ""
    while place < len(tokens):
        token = tokens[place]
        name = token[1:] if token.startswith("\\") else ""
        place += 1
        if name in WORDS:
            place = _group(tokens, place)[1]
            continue
        if name in ACCENTS:
            inside, end = _group(tokens, place)
            if len(inside) > 1 and "_" not in inside and inside[0][1:] not in STYLES | GREEK.keys():
                continue  # a bar over a whole expression
            accent, tokens = SAME.get(name, name), [*tokens[:place], *inside, *tokens[end:]]
            continue
        if name in NAMES | STYLES:
            inside, place = _group(tokens, place)
            word = "".join(inside).replace("\\", "")
            if name in STYLES:
                base = word if name == "boldsymbol" else f"{name.removeprefix('math')} {word}"
            elif len(word) > 1 and word.isalnum():
                base = word
            else:
                continue  # d and e
        elif name in GREEK:
            base = name
        elif re.fullmatch(r"[A-Za-z]", token):
            base = token
        else:
            if token in "_^" and place < len(tokens):  # the bounds of a sum
                place = _group(tokens, place)[1]
            continue
        index = raised = ""
        while place < len(tokens) and tokens[place] in ("_", "^", "'"):
            mark = tokens[place]
            if mark == "'":
                raised, place = raised + "'", place + 1
                continue
            inside, place = _group(tokens, place + 1)
            text = "".join(inside)
            if mark == "_":
                index = text
            elif not re.fullmatch(r"[-+]?[\da-zA-Z/.]+|\\top|\\[dt]?frac.*|.*[-+(].*[A-Za-z].*", text):
                raised += text  # a mark, not a power
        yield Symbol(base, accent, index, raised)
        accent = ""


def _group(tokens: list[str], place: int) -> tuple[list[str], int]:
    """The token or braced tokens at ``place``, without braces, and the place behind them."""
    if place >= len(tokens):
        return [], place
    if tokens[place] == "\\mathrm" or tokens[place] in ("\\text", "\\mathcal", "\\mathbf"):
        inside, end = _group(tokens, place + 1)
        return [tokens[place], "{", *inside, "}"], end
    if tokens[place] != "{":
        return [tokens[place]], place + 1
    depth = 0
    for end in range(place, len(tokens)):
        depth += (tokens[end] == "{") - (tokens[end] == "}")
        if not depth:
            return tokens[place + 1 : end], end + 1
    return tokens[place + 1 :], len(tokens)


def plain(tex: str, macros: dict[str, str] | None = None) -> str:
    r"""A formula as one line of text, for titles.

    >>> plain(r"\tau_i"), plain(r"\hat x_0 = \sqrt{1-\bar\alpha_t}"), plain(r"\gamma^{(1)}_t")
    ('τ_i', 'x̂_0 = √(1-ᾱ_t)', 'γ^(1)_t')
    >>> plain(r"\E\, \norm{\eps}^2", {"E": r"\mathbb{E}", "eps": r"\epsilon"})
    'E‖ε‖^2'
    """
    tex = _expanded(tex, macros or {})
    tex = re.sub(r"\\norm\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}", r"‖\1‖", tex)
    tex = re.sub(rf"\\(?:left|right|[bB]ig[lr]?|{'|'.join(NAMES | STYLES)})(?![A-Za-z])|\\[,;:! ]", " ", tex)
    tex = re.sub(r"\\([A-Za-z]+)", lambda m: m[0] if m[1] in ACCENTS else GREEK.get(m[1], SHOWN.get(m[1], m[1])), tex)
    tex = re.sub(rf"\\({'|'.join(ACCENTS)})[ {{]*([^\W\d_])\}}?", lambda m: m[2] + ACCENTS[m[1]], tex)
    tex = re.sub(r"√\{([^{}]*)\}", r"√(\1)", tex)
    tex = re.sub(r"[{}\\]", "", tex)
    tex = re.sub(r" +(?=[_^(\[)\],‖])|(?<=[_^(\[]) +", "", " ".join(tex.split()))
    return unicodedata.normalize("NFC", tex).replace("ϵ", "ε").replace("ϕ", "φ")
