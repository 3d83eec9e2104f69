"""The prose of a chapter: Markdown without its code, the numbers typed into it, and what it takes from elsewhere.

Every function takes time in proportion to the length of the text, whatever the text.
"""

from __future__ import annotations

import bisect
import html
import re
import unicodedata
from collections.abc import Iterable, Iterator

from .web import Document, elsewhere, markdown_addresses, style_loads, unsafe_link

__all__ = ["foreign", "lines", "numerals", "without_code"]

VERBATIM = {"", "code", "code-block", "code-cell", "sourcecode", "literalinclude", "bibliography", "raw", "mermaid",
            "eval-rst"}  # fmt: skip
# What may stand before a block on its line: quotes, and the marks of lists, definitions and footnotes.
BEFORE = r"^(?:[ \t>]|[-+*][ \t]|\d{1,9}[.)][ \t]|:[ \t]|\[\^[^\]\s]{1,99}\]:[ \t])*+"
FENCE = re.compile(BEFORE + r"(`{3,}+|~{3,}+|:{3,}+)[ \t]*+(?:\{([\w:.+-]++)\})?(.*)$", re.S)
OPTION = re.compile(r"^[ \t>]*+:([\w-]++):(.*)$", re.S)
SPOKEN = {"alt", "caption", "title", "header"}  # options that a reader sees
LABELS = re.compile(r"(?:ref|numref|eq|doc|any|download|prf:ref|glue\b.*|cite\b.*|py:\w+|footcite\b.*|bib\b.*)")
CODES = re.compile(r"(?:code|kbd|samp|file|literal|command|option|program)")


def lines(text: str) -> Iterator[tuple[str, str]]:
    """(kind, line) of Markdown: "text", "code", "math", "option" of a directive, and "fence" with its argument.

    The fence of a directive is given with colons, so that it is not taken for a code span.
    """
    opened: list[tuple[str, str]] = []  # fences around the line, from outside in; only the last may be code
    head = False
    for line in text.split("\n"):
        fence = FENCE.match(line)
        if fence and fence[1][0] == "`" and "`" in fence[3]:  # a code span on one line, and no fence
            fence = None
        closes = fence and opened and fence[1].startswith(opened[-1][0]) and not fence[2] and not fence[3].strip()
        inside = opened[-1][1] if opened else "text"
        if closes:
            opened.pop()
            yield ("code" if inside == "code" else "math end" if inside == "math" else "fence"), ":::"
            head = False
        elif fence and inside == "text" and not (fence[1][0] == ":" and not fence[2] and not fence[3].strip()):
            name = (fence[2] or "").lower()  # as docutils has it
            kind = "code" if name in VERBATIM and (name or fence[1][0] != ":") else "math" if name == "math" else "text"
            opened.append((fence[1], kind))
            if kind == "code":
                yield "code", line
            elif kind == "math":
                yield "math start", fence[3]
            else:
                yield "fence", line.replace(fence[1], ":" * len(fence[1]), 1)
            head = True
        elif inside == "text" and head and OPTION.match(line):
            yield "option", line
        else:
            head = head and inside == "math" and bool(OPTION.match(line))
            yield ("option" if head else inside), line
    if opened and opened[-1][1] == "math":
        yield "math end", ":::"


def without_code(text: str, options: bool = True) -> str:
    """Markdown without code: fenced blocks that are no directives, and code spans. Of roles their words stay."""
    kept = []
    for kind, line in lines(text):
        if kind == "option" and not options:
            match = OPTION.match(line)
            line = match[2] if match[1].lower() in SPOKEN else ""
        elif kind.startswith("math "):
            line = "$$" + (line if kind == "math start" else "")
        if kind != "code":
            kept.append(line)
    return "".join(map(_without_spans, re.split(r"(\n[ \t]*\n)", "\n".join(kept))))


def _without_spans(text: str) -> str:
    """A paragraph without code spans: each opens with a run of backticks and ends with the next of the same length."""
    runs = [match.span() for match in re.finditer(r"`++", text)]
    places: dict[int, list[int]] = {}
    for index, (start, end) in enumerate(runs):
        places.setdefault(end - start, []).append(index)
    pieces, done, index = [], 0, 0
    while index < len(runs):
        start, end = runs[index]
        same = places[end - start]
        after = bisect.bisect_right(same, index)
        if after == len(same) or text[max(0, start - 1) : start] == "\\":
            index += 1
            continue
        close = same[after]
        role = re.search(r"\{([\w:.+-]{1,40})\}$", text[max(done, start - 42) : start])
        pieces += [text[done : start - len(role[0]) if role else start]]
        pieces.append(_words(role[1], text[end : runs[close][0]]) if role else " ")
        done, index = runs[close][1], close + 1
    return "".join([*pieces, text[done:]])


def _words(role: str, inside: str) -> str:
    """What a reader sees of a role's text as it was typed."""
    if role == "math":
        return f" ${inside}$ "
    if CODES.fullmatch(role):
        return " "
    title = re.match(r"(.*\S)\s*<[^<>]*>\s*$", inside, re.S) if inside.rstrip().endswith(">") else None
    if title and not role.startswith("glue"):
        return f" {title[1]} "
    return " " if LABELS.fullmatch(role) else f" {inside} "


# --- numbers ----------------------------------------------------------------------------------------------------------


def _class(characters: Iterable[str]) -> str:
    return "".join(re.escape(c) for c in characters)


_NUMERIC = [c for c in map(chr, range(128, 0x20000)) if unicodedata.category(c) in ("Nl", "No")]
RAISED = _class(c for c in _NUMERIC if re.search("SUPERSCRIPT|SUBSCRIPT", unicodedata.name(c, "")))
OTHER = _class(_NUMERIC)  # numerals that are no decimal digits: fractions, Roman, circled, ...
ENDS = _class(c for c in _NUMERIC if c not in RAISED)  # those that end a word; x² is one
WORD = rf"[^\W\d_{OTHER}](?:[^\W{ENDS}])*+"

PLURAL = (
    r"figures?|figs?|sections?|secs?|chapters?|ch|equations?|eqs?|theorems?|lemmas?|propositions?"
    r"|corollar(?:y|ies)|definitions?|remarks?|examples?|exercises?|tables?|algorithms?|appendi(?:x|ces)"
    r"|versions?|python|listings?"
)
WHOLE = (
    r"objectives?|sources?|parts?|steps?|lines?|rows?|cells?|claims?|pages?|pp?|lectures?|weeks?|questions?"
    r"|tasks?|problems?|vols?|volumes?|footnotes?|assumptions?|slides?|box(?:es)?"
)
_DOTTED, _PLAIN = r"[1-9]\d{0,3}+(?:\.\d{1,2}+)*+(?!\d)", r"[1-9]\d{0,3}+(?!\.?\d)"


def _pointer(words: str, number: str) -> str:
    number = rf"\(?+{number}\)?+"
    listed = rf"(?:\s{{0,3}},\s{{0,3}}{number})*+\s{{0,3}},?+\s{{1,3}}(?:and|or|to)\s{{1,3}}{number}"
    several = rf"(?:(?<=s\s)|(?<=s\.\s)|(?<=pp\s)|(?<=pp\.\s)){number}{listed}"
    one = rf"{number}(?:\s?[-–]\s?{number}|\s{{1,3}}to\s{{1,3}}{number})*+"
    return rf"\b(?:{words})\.?(?:\s{{1,2}}|(?=\())(?:{several}|{one})(?!\s{{0,3}}(?:%|per\s?cent\b|times\b|fold\b))"


_NAME = r"(?-i:[^\W\d_a-z])[\w'’-]{1,40}"
_CITED = rf"(?:[a-z]{{2,4}}\s){{0,2}}{_NAME}(?:\s{_NAME}|,?\s(?:and|&)\s{_NAME}|,\s{_NAME}){{0,6}}(?:\set\sal\.?)?"
_LETTERED = r"(?-i:[A-Z])\.?\d{1,2}(?:\.\d{1,2}){0,3}"
_YEAR = r"(?:19|20)\d\d[a-z]?(?!\w|[.,]\d)"
_MONTH = (r"(?-i:January|February|March|April|May|June|July|August|September|October|November|December"
          r"|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b\.?")  # fmt: skip
_PRODUCT = (  # what has versions
    r"(?-i:(?:Py)?Torch|torch|CUDA|cuDNN|ROCm|NumPy|SciPy|Matplotlib|[CI]?Python|PyPy|Jupyter(?:Lab| Book)?|JupyterLab"
    r"|Sphinx|MyST|[Pp]andas|scikit-learn|JAX|Flax|TensorFlow|Keras|Triton|GCC|Clang|LLVM|CMake|Linux|Ubuntu|Debian"
    r"|Fedora|Windows|macOS|Chromium|Chrome|Firefox|Safari|[Gg]it|Dask|Ray|Node(?:\.js)?|Rust|Java|Julia|MATLAB|OpenMP"
    r"|MKL|MathJax|KaTeX|HTML|CSS|Unicode|Docker|Hypothesis|pytest|Ruff|papermill|Papermill|ONNX|NCCL|Slurm)"
)
_UNITS = r"%|per\s?cent\b|times\b|fold\b|[mµn]?s\b|seconds?\b|minutes?\b|hours?\b|[kKMG]i?B\b|x\b|×|points?\b"

_PATTERNS = [
    re.compile(pattern, re.M | re.I)
    for pattern in (
        r"^[ \t>]*+:{3,}+[ \t]*+(?:\{[\w:.+-]++\})?",  # fences; what a directive is given stays
        r"^\([\w:.-]++\)=[ \t]*+$",  # labels
        r"(?<=#)[ \t]*+\d{1,3}+(?:\.\d{1,3}+)*+\.\s",  # numbered headings
        r"(?<=\])\(\s{0,3}<?(?:[^()\s<>]++|\([^()\s]*+\))*+>?|https?://\S++|\[\^[\w-]++\]",  # links, footnotes
        # Citations, dates, versions, bits.
        rf"{_NAME}\set\sal\.?,?\s[(\[]?{_YEAR}",
        rf"(?:(?<=[(\[])|(?<=;\s))(?:see\s|cf\.\s|e\.g\.,?\s)?{_CITED},?\s{_YEAR}(?:,\s{_YEAR})?(?=\s?[;,)\]])",
        rf"(?:\b\d{{1,2}}\.?\s)?\b{_MONTH}\s(?:\d{{1,2}},\s)?{_YEAR}",
        rf"\b{_PRODUCT}\s\d{{1,4}}(?:\.\d{{1,4}}){{0,3}}"
        r"(?:\s?(?:and|or|to|[-–])\s?\d{1,4}\.\d{1,4})?"
        rf"(?![\w%]|[.,]\d)(?!\s{{0,3}}(?:{_UNITS}))",
        r"(?<![\w.,-])[1-9]\d{0,3}-bits?\b",
        rf"\b(?:{PLURAL})\.?\s{{1,2}}\(?{_LETTERED}(?:,?\s(?:and|or|to)\s{_LETTERED}|[-–,]\s?{_LETTERED}){{0,9}}(?![\w%]|\.\d)",
        rf"§{{1,2}}\s?{_DOTTED}(?:\s?(?:[-–,]|to|and)\s?{_DOTTED})*+(?!\s{{0,3}}(?:%|per\s?cent\b|times\b))",
        _pointer(PLURAL, _DOTTED),
        _pointer(WHOLE, _PLAIN),
        r"\b(?:in|since|until|(?:paper|article|work|poster|note|essay|preprint|edition)s? (?:of|from))\s{1,3}"
        r"(?:19|20)\d\d(?=[.,;:)](?!\d)|\s{1,3}(?-i:[A-Z])|\s{0,3}$)"
        r"|\((?:19|20)\d\d[a-z]?(?:,\s(?:19|20)\d\d[a-z]?)*+\)",  # years
        r"(?<![\w.])\d-?D\b",  # dimensions
        # Words, and names like min-SNR-5; a number behind a slash, or with a point, is one.
        rf"(?<![\w.]){WORD}(?!\.\d)(?:[-‑](?:{WORD}|\d++)(?![.,]?\d)|[/.'’]{WORD}(?!\.\d))*+",
    )
]
_FOUND = re.compile(rf"[-−]?(?:\d[\d.,{OTHER}]*(?<![.,])|[{OTHER}]++)(?:e[-+]?\d++)?(?:[ \t\n]{{0,3}}%)?")
_SPACES = r"(?:\\[,;:!> ]|\\(?:math|text)(?:bf|rm|it|sf|tt|normal)?\b|\\(?:boldsymbol|bm|bf|rm|quad|left)\b|[{}(~\s])"
_RESULTS = [re.compile(pattern) for pattern in (
    rf"(?:\\(?:approx(?:eq)?|thickapprox|simeq|cong|doteq|asymp|sim)(?![a-zA-Z])|[≈≃≅∼≐]){_SPACES}{{0,12}}"
    r"[-−+]?(?:\d[\d.]*+|\.\d++)",
    rf"(?<![\d.])\.?\d[\d.]*+{_SPACES}{{0,9}}\\%",
    rf"(?<![\d.])\.?\d[\d.]*+{_SPACES}{{0,6}}(?:\\times\b|×){_SPACES}*+$",
)]  # fmt: skip
# The name of a measure with its value behind it is no name: FID32, but not T7, x0.
_METRICS = re.compile(r"\b(?:FID|KID|PSNR|SSIM|LPIPS|NLL|ELBO|R?MSE|MAE|BPD|MMD|KL|NFE|AUC|(?:[Ll]oss|[Ee]rror"
                      r"|[Gg]ap|[Aa]ccuracy|[Ss]core)(?=-?\d\d))(?=-?\d++(?!\w))")  # fmt: skip
_DOLLARS = re.compile(r"(?<!\\)\$(?:\\.|[^$\\\n]|\n(?![ \t]*\n))++\$|\$\$[^$]++\$\$")
_TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_TEENS = "eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
_ONES = "zero|nought|one|two|three|four|five|six|seven|eight|nine"
_SPELLED = re.compile(
    rf"\b(?:(?:{_TEENS}|(?:{_TENS})(?:[- ](?:{_ONES}))?+|(?:a|{_ONES}) (?:hundred|thousand))"
    rf"(?:[ -]per[ -]?cent\b| times (?:as|more|less|larger|smaller|higher|lower|better|worse|faster|slower)\b)"
    rf"|(?:{_ONES}) point (?:{_ONES})(?: (?:{_ONES}))*+)",
    re.I,
)


def numerals(text: str, known: Iterable[float] = ()) -> list[str]:
    r"""Numbers in Markdown ``text`` that state a result without being bound to the run; the rule is that of the gates.

    Args:
        text: the Markdown.
        known: constants of the chapter; a formula that is nothing but one of these is no result.

    >>> numerals("In 2-D, {glue:text}`gap:.2f` of the $10^4$ samples, by T7 and Figure 3.")
    []
    >>> numerals("The error falls by 12 % from 0.3, i.e. $\\approx 0.26$, or $2.5\\times$.")
    ['12 %', '0.3', '\\approx 0.26', '2.5\\times']
    >>> numerals("It is $0.31$, loss/0.31, ½ and thirty-one per cent.", known=[0.2])
    ['0.31', '½', '$0.31$', 'thirty-one per cent']
    """
    text = without_code(_cut(text, "<!--", "-->"), options=False)
    math: list[str] = []

    def take(match: re.Match[str]) -> str:
        math.append(match[0].strip("$"))
        return " "

    text = re.sub(r"\$\$[^$]++(?:\$(?!\$)[^$]++)*+\$\$", take, text)
    text = _environments(text, math)
    text = _DOLLARS.sub(take, text)
    text = re.sub(r"&#?\w{1,31};", _entity, text)
    text = re.sub(r"<[/!]?[a-zA-Z][^<>]*+>", _spoken, text)
    spelled = _SPELLED.findall(text)
    text = "\n".join(_without_items(text.split("\n")))
    text = _METRICS.sub(" ", text)
    for pattern in _PATTERNS:
        text = pattern.sub(" ", text)
    found = _FOUND.findall(text)
    constants = {float(f"{abs(one):.12g}") for one in known}
    for formula in math:
        before = len(found)
        for pattern in _RESULTS:
            found += pattern.findall(formula)
        numbers = [number] if (number := _bare(formula)) is not None else _decimals(formula)
        if len(found) == before and not constants.issuperset(numbers):
            found.append(f"${formula.strip()}$")
    return found + spelled


def _cut(text: str, start: str, end: str) -> str:
    pieces, place = [], 0
    while (begin := text.find(start, place)) >= 0 and (close := text.find(end, begin)) >= 0:
        pieces += [text[place:begin], " "]
        place = close + len(end)
    return "".join([*pieces, text[place:]])


def _environments(text: str, math: list[str]) -> str:
    r"""``text`` without the blocks \begin{x} ... \end{x}, which are added to ``math``."""
    ends: dict[str, list[int]] = {}
    for match in re.finditer(r"\\end\{(\w{1,30}\*?)\}", text):
        ends.setdefault(match[1], []).append(match.start())
    pieces, place = [], 0
    for match in re.finditer(r"\\begin\{(\w{1,30}\*?)\}", text):
        closing = ends.get(match[1], [])
        after = bisect.bisect(closing, match.start())
        if match.start() < place or after == len(closing):
            continue
        math.append(text[match.end() : closing[after]])
        pieces += [text[place : match.start()], " "]
        place = closing[after] + len(rf"\end{{{match[1]}}}")
    return "".join([*pieces, text[place:]])


def _entity(match: re.Match[str]) -> str:
    character = html.unescape(match[0])
    return character if character.isnumeric() or character in ".,%" else " "


def _spoken(match: re.Match[str]) -> str:
    shown = re.findall(r"""\b(?:alt|title|aria-label|summary)\s{0,3}=\s{0,3}["']([^"'<>]*+)["']""", match[0], re.I)
    return " ".join(["", *shown, ""])


def _without_items(text: list[str]) -> Iterator[str]:
    """Lines without the numbers of list items; a line in the middle of a paragraph begins none."""
    paragraph = False
    for line in text:
        item = re.match(r"^[ \t>]*+(\d{1,9}+)[.)](?=[ \t]|$)", line)
        if item and (not paragraph or int(item[1]) == 1):
            yield line[item.end() :]
        else:
            yield line
        listed = bool(item) or bool(re.match(r"[ \t>]*+(?:[-*+|#]|:{3})|[ \t]{2}", line))
        paragraph = bool(line.strip()) and not listed and (paragraph or not item)


_FORMAT = re.compile(
    r"\\(?:math(?:bf|rm|it|sf|tt)|text(?:bf|rm|it)?|boldsymbol|bm|rm|bf|displaystyle|left|right|quad|qquad|[,;:! ])"
    r"|[{}~\s]|\\%"
)


_WORDLESS = re.compile(
    r"\\(?:cdots?|times|[td]?frac|l?dots|boxed|texttt|operatorname|leq?|geq?|lt|gt|pm|mp|ll|gg)"
    r"(?![a-zA-Z])"
)


def _decimals(formula: str) -> list[float]:
    """The numbers with a decimal point in a formula that has no letters: it computes nothing, it states."""
    text = _WORDLESS.sub(" ", _FORMAT.sub(" ", formula)) if len(formula) <= 200 else "x"
    return [] if re.search(r"[^\W\d_]|\\", text) else [float(one) for one in re.findall(r"\d*\.\d+", text)]


def _bare(formula: str) -> float | None:
    """The number that a formula consists of, formatting, sign, error and unit aside; None if it is more than that."""
    if len(formula) > 200:
        return None
    text = _FORMAT.sub(lambda found: "\0" if found[0].startswith("\\text") else "", formula)
    text, _, unit = text.lstrip("\0").partition("\0")
    match = re.fullmatch(r"[-−+(]?(\d[\d,]*\.?\d*|\.\d+)(?:\\pm[\d.]+)?(?:e[-+]?\d+)?[).,]?", text, re.I)
    if not match or not re.fullmatch(r"[A-Za-z .%]*", unit):
        return None
    try:
        return float(match[1].replace(",", ""))
    except ValueError:
        return None


# --- what is taken from elsewhere -------------------------------------------------------------------------------------

FILES = re.compile(r"include|literalinclude|raw|eval-rst|csv-table|iframe|video|audio|youtube|only|code-cell")
PICTURES = re.compile(r"figure|figure-md|image|download|card|grid-item-card|button-link")
GIVEN = {"file", "url", "link", "target", "img-top", "img-bottom", "img-background", "html", "download"}


def foreign(text: str, own: bool = False) -> Iterator[tuple[str, str]]:
    """What Markdown ``text`` takes from elsewhere or runs, as (what, remedy).

    Args:
        text: the Markdown.
        own: for pages that are no chapters, which may include files of the book.
    """
    elsewhere_ = "Keep it in book/_static/, or leave it out"
    deep = 1 if own else 2
    for kind, line in lines(text):
        fence = FENCE.match(line) if kind in ("fence", "code") else None
        if fence and fence[2]:
            name, argument = fence[2].lower(), fence[3].strip()
            if FILES.fullmatch(name) and not (own and name in ("literalinclude", "csv-table", "include")):
                yield f"a directive that brings what no gate sees: {{{fence[2]}}}", "Write it into the chapter"
            elif (FILES.fullmatch(name) or PICTURES.fullmatch(name)) and outside(argument, deep):
                yield f"a file from outside the book: {argument[:60]}", elsewhere_
            elif PICTURES.fullmatch(name) and elsewhere(argument):
                yield f"something loaded from elsewhere: {argument[:60]}", elsewhere_
        option = OPTION.match(line) if kind in ("option", "code") else None
        if option and option[1].lower() in GIVEN:
            value = option[2].strip()
            if (option[1].lower() in ("file", "url") and not own) or outside(value, deep) or unsafe_link(value) or (
                option[1].lower() not in ("link", "target") and elsewhere(value)
            ):
                yield f"a file from outside the book: {value[:60]}", elsewhere_
        if option and option[1].lower() == "style" and style_loads(option[2]):
            yield "something loaded from elsewhere", elsewhere_
    for role, inside in re.findall(r"\{(download|doc|any|raw[\w-]{0,20})\}`([^`]{1,2000}+)`", text):
        target = inside.rpartition("<")[2].rstrip("> ") if inside.rstrip().endswith(">") else inside
        if role.startswith("raw") or (role != "doc" and outside(target, deep)) or unsafe_link(target):
            yield f"a file from outside the book: {target[:60]}", elsewhere_
    bare = "\n".join(line.lstrip(" \t") for line in without_code(text).split("\n"))
    yield from page_faults(Document(bare))
    for kind, address in markdown_addresses(bare):
        if kind == "image" and elsewhere(address):
            yield f"something loaded from elsewhere: {address[:60]}", elsewhere_
        elif kind == "link" and unsafe_link(address):
            yield f"a link that is none: {address[:60]}", "Link to a web page or a page of the book"
        elif outside(address, deep) and not address.startswith("/book/"):
            yield f"a file from outside the book: {address[:60]}", elsewhere_
    for attributes in re.findall(r"\{([^{}\n]{1,2000})\}", bare):
        if style_loads(attributes):
            yield "something loaded from elsewhere", elsewhere_
        if handler := re.search(r"(?:^|\s)on[a-z]{2,20}\s{0,3}=", attributes):
            yield f"something that runs: {handler[0].strip()}", "Leave it out"
    if substitution := re.search(r"\{\{[^{}]{0,200}\}\}", _DOLLARS.sub(" ", _environments(bare, []))):
        yield f"a substitution: {substitution[0][:40]}", "Write the words themselves, or glue the value"
    macros = r"\\(href|style|cssId|class|require|unicode)(?:\s|%[^\n]{0,99}\n){0,50}\{([^{}]{0,2000})\}"
    for macro, inside in re.findall(macros, text):
        if (macro == "href" and unsafe_link(inside)) or (macro == "style" and style_loads(inside)):
            yield f"a formula that does something: \\{macro}{{{inside[:40]}}}", "Leave it out"


def outside(path: str, deep: int = 2) -> bool:
    """Whether a path that a page of the book gives leads out of the book; the page lies ``deep`` folders deep in it.

    >>> [outside(path) for path in ("_static/a.png", "../_static/a.png", "../../../etc/passwd", "/etc/passwd", "~/a")]
    [False, False, True, True, True]
    """
    path = path.strip().strip("<>\"'").replace("\\", "/")
    if re.match(r"(?:/(?!/)|~|[a-zA-Z]:/|file:)", path, re.I):
        return not re.match(r"/(?:book|_static|notebooks)/(?!.*\.\.(?:/|$))", path)
    depth = 0
    for part in path.split("/"):
        depth += -1 if part == ".." else 1 if part not in ("", ".") else 0
        if depth < -deep:
            return True
    return False


def page_faults(document: Document) -> Iterator[tuple[str, str]]:
    """What HTML in prose or output must not do, as (what, remedy)."""
    for address in document.remote:
        yield f"something loaded from elsewhere: {address[:80]}", "A page must work without a network"
    for what in document.active:
        yield f"something that runs, or loads from elsewhere: {what}", "A page's own scripts are in book/_static/"
    for address in document.unsafe:
        yield f"a link that is none: {address[:60]}", "Link to a web page or a page of the book"
