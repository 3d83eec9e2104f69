"""What a run leaves in texts that a reader should not see: paths of a machine, and what a moving progress bar was."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

__all__ = ["machine_path", "progress"]

_TOP = (
    "home|Users|root|tmp|var/(?:folders|tmp|lib|log|run|www|home|spool)|work|opt|scratch|mnt|media|Volumes|srv|etc|private|gpfs|lustre|"
    "nfs|storage|workspaces?|content|kaggle|usr/(?:local|lib|share|bin|home)|data|datasets|projects?|cluster|proc/\\d+|run/user|"
    "export|dbfs|app|Library|Applications|System|nix|snap|builds?|cygdrive|wsl"
)
_ALONE = "root|tmp|opt|scratch|mnt|Volumes"  # as a path of their own
_BEFORE = r"(?<![\w/.~\\})\]-])"
_PATHS = re.compile(
    rf"{_BEFORE}/(?:(?:{_TOP})/[\w.@~%-]+|(?:{_ALONE})\b(?![-(]))"
    r"|\bfile:/{1,3}[\w.~%-]+"
    rf"|{_BEFORE}[A-Za-z]:(?:\\{{1,4}}|/)(?:Users|Windows|Program ?Files|ProgramData|Documents|Temp|tmp|home|work|data|"
    r"dev|src|projects?|repos?|python\w{0,5})\b"
    rf"|{_BEFORE}~(?:(?-i:[a-z_][a-z0-9_-]{{1,31}}))?/\w+"
    r"|(?:^|(?<=[\s\"'(=,:]))\\\\[A-Za-z][\w.-]+\\{1,2}[A-Za-z][\w.-]*[$\\\w]"
    r"|(?:^|(?<=[\"'(=,:]))\\{4}[A-Za-z][\w.-]+\\{2}[A-Za-z]\w+",
    re.I | re.M,
)
# Commands of TeX, whose backslashes may be doubled in a text: no names of servers or of what they share.
_TEX = re.compile(
    r"(?:var)?(?:alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|pi|rho|sigma|tau|upsilon|phi|"
    r"chi|psi|omega)|math[a-z]{1,6}|text[a-z]{0,6}|[dtc]?frac|d?binom|[a-z]{0,4}sqrt|i{1,3}nt|oint|sum|(?:co)?prod|lim"
    r"(?:sup|inf)?|sup|inf|min|max|arg|exp|log|ln|sin|cos|tan|sinh|cosh|tanh|det|dim|ker|tr|Pr|left|right|[bB]ig{1,2}[lr]?"
    r"|partial|nabla|infty|cdot|[lcvd]?dots|times|div|pm|mp|approx|simeq|sim|cong|equiv|propto|leq?|geq?|neq?|ll|gg|in|"
    r"notin|ni|subset(?:eq)?|supset(?:eq)?|cup|cap|to|gets|mapsto|(?:long)?(?:left|right)arrow|implies|iff|forall|exists|"
    r"ell|hbar|hat|bar|tilde|vec|dot|ddot|wide(?:hat|tilde)|over(?:line|set|brace)|under(?:line|set|brace)|quad|qquad|"
    r"begin|end|label|ref|eqref|cite|bm|boldsymbol|rm|bf|it|operatorname|circ|bullet|star|ast|mid|Vert|[lr]?vert|"
    r"langle|rangle|[lr]floor|[lr]ceil|[lr]brace|not|neg|emptyset|Re|Im|top|bot|perp|prime|star|oplus|otimes|color|"
    r"displaystyle|limits|mathbb|phantom|hspace|vspace|par|item|newline|stackrel|substack|tag|nonumber|KL"
)
_MATHS = re.compile(r"\$\$[^$]++\$\$|(?<!\\)\$(?:\\.|[^$\\\n]|\n(?![ \t]*\n))++\$")


@cache
def _folders(root: str | None) -> tuple[str, ...]:
    given = [Path(__file__).parents[2], Path.home(), sys.prefix, sys.base_prefix, tempfile.gettempdir(), os.getcwd()]
    given += [root] if root else []
    found = {form for path in given for form in (os.path.abspath(path), os.path.realpath(path))}
    found |= {path.replace("\\", "/") for path in found}
    deep = [path for path in found if re.fullmatch(r"(?:[A-Za-z]:)?(?:[\\/][^\\/]+){2,}", path)]  # "/usr" says nothing
    return tuple(sorted(deep, key=len, reverse=True))


def machine_path(text: str, root: Path | None = None, math: bool = False) -> str | None:
    r"""The first path of a machine in ``text``; None if there is none.

    Args:
        text: what is looked at.
        root: the folder of the book. It is looked for, as are the home, the environment and the temporary folder, as
            given and with links resolved; and whatever is written like the path of a machine.
        math: whether formulas between dollar signs are left out.

    >>> [machine_path(text) for text in ("see /opt/x/y", "c:\\users\\jo", "https://x.org/opt/x", "and/or, a/b")]
    ['/opt/x', 'c:\\users', None, None]
    """
    for folder in _folders(str(root) if root else None):
        place = text.find(folder)
        while place >= 0:
            before, after = text[max(0, place - 1) : place], text[place + len(folder) :][:1]
            if not re.match(r"[\w.]", before) and not re.match(r"[\w-]", after):
                return folder
            place = text.find(folder, place + 1)
    for found in _PATHS.finditer(_MATHS.sub(" ", text) if math else text):
        names = re.findall(r"[A-Za-z]+", found[0])[:2] if found[0].startswith("\\\\") else []
        if not any(_TEX.fullmatch(name) or _TEX.fullmatch(name.lower()) for name in names):
            return found[0]
    return None


_RATES = "it|s|ms|sec|min|steps?|batch|batches|epochs?|samples?|examples?|img|images?|tokens?|rows?"
_PROGRESS = re.compile(
    r"\r(?!\n)|\x08|\x1b|\x9b"  # carriage returns, backspaces, codes for a terminal
    r"|%\s?[█-▏]|%\|(?:[#=>█-▏]|\s{2,200}+\|\s{0,3}\d{1,9}/)|%\s\|[#=>█-▏]{2}"  # a share, and a bar behind it
    r"|\d\s?it/s\b|\d\s?s/it\b"  # of other rates only those beside a counter
    rf"|\d/\d{{1,9}}\b[^\n]{{0,80}}?\d\s?(?:{_RATES})/(?:s|sec|it|step|batch|epoch|sample|example)\b"
    # A counter of epochs that nothing is said about.
    r"|\bepochs?:?\s{1,3}\[?\d{1,9}+\s?(?:/|of\s)\s?\d{1,9}+(?!\]?\s{0,3}(?:[:,;–—-]{1,2}\s{0,3})?[\w.+(])"
    r"|\b(?-i:ETA):?\s{0,3}\d|\beta:?\s{0,3}\d{1,3}:\d\d|\d{1,3}:\d\d<(?:\d|\?)"
    r"|\d/\d{1,9}:?\s{0,3}\[(?=[-. ]{0,200}[=#>*█])[-=#>.*█ ]{2,200}+(?:\]|$)"
    r"|[█-▏]{2,}+|(?<![━╸╺])[━╸╺]{3,}+\s{0,3}[\d•]|[⠀-⣿](?=\s?[\w.])|[◐◓◑◒◴◷◶◵⣾⣽⣻⢿⡿⣟⣯⣷]"
    r"|<(?:progress|meter)\b|\brole\s{0,3}=\s{0,3}[\"']?progressbar|\bclass\s{0,3}=\s{0,3}[\"'][^\"'<>]{0,200}\bprogress"
    r"|\b(?:Float|Int)Progress\b|\bProgressModel\b|(?<=Float)ProgressModel|(?<=Int)ProgressModel",
    re.I,
)
_BAR = re.compile(r"\[([-=#>*.•○●_ ]{3,200}+)\]|\|([#> ]{3,200}+)\|")


def progress(text: str) -> str | None:
    """The first remains of a progress bar or spinner in ``text``; None if there are none.

    >>> [progress(text) for text in (" 40%|####   |", "Epoch 3/10 [==>..]", "[=====]", "a / b, [0, 1], 40 %")]
    ['%|#', 'Epoch 3/10', '[=====]', None]
    """
    if found := _PROGRESS.search(text):
        return found[0]
    for bar in _BAR.finditer(text):
        if _is_bar(bar[1] or bar[2]):
            return bar[0]
    return None


def _is_bar(inside: str) -> bool:
    full = inside.rstrip(" .-_○")
    return len(full) >= 2 and set(full) in ({"="}, {"#"}, {"="} | {">"}, {"●"}, {"•"}, {"-"} | {">"}) and (
        len(inside) > 3 or ">" in full or set(full) == {"#"}
    )


def first(texts: Iterable[str], root: Path | None = None) -> str | None:
    """The first path of a machine in any of ``texts``."""
    return next((found for text in texts if (found := machine_path(text, root))), None)
