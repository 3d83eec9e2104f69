"""The code of cells and modules as text: one parser for Python and for what a notebook adds to it.

A cell may hold IPython's magics and shell escapes (``%time``, ``%%bash``, ``!ls``); :func:`parse` turns them into the
calls that IPython makes of them. :func:`essence` is what of a code can change its results.
"""

from __future__ import annotations

import ast
import io
import re
import threading
import tokenize
from collections.abc import Iterator
from functools import lru_cache

__all__ = ["CodeError", "docstrings", "essence", "given", "newlines", "parse", "reads_documentation", "trees"]

# What these read of a code at run time is its documentation: there, docstrings and comments are results.
READS_DOCUMENTATION = re.compile(
    r"__doc__(?!\s*=[^=])|\bgetdoc\b|getsource|\bgetcomments\b|\bdoctest\b|\bhelp\s*\(|\bpydoc\b|\binspect\b|\btraceback\b"
    r"|_exc\b|_exception\b|(?:extract|format|print)_stack\b|\blinecache\b|get_source"
    r"|^\s*%p(?:doc|source|info|file)|^\s*\?{1,2}\w|^\s*[\w.]+\?{1,2}\s*$"
    r"|__file__|lineno\b|__code__|\bco_\w|\bIn\[|\b_ih?\b|%hist|\bdis\b|spec_from_file_location",
    re.M,
)
COOKIE = re.compile(r"^(?:[^\n]*\n)?[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")  # of the first two lines
@lru_cache(maxsize=4096)
def reads_documentation(code: str) -> bool:
    """Whether ``code`` looks at code or its documentation when it runs, so that comments and docstrings are results."""
    return bool(READS_DOCUMENTATION.search(code))


class CodeError(ValueError):
    """Code that cannot be read, or is not what it should be; says in which line, and why."""


def newlines(code: str) -> str:
    """``code`` with the line ends that Python sees: a bare carriage return is one, too."""
    return code.replace("\r\n", "\n").replace("\r", "\n")


_one_at_a_time = threading.Lock()


@lru_cache(maxsize=4096)  # a cell is read by the gates, for its imports, and for its hash
def _python(code: str) -> ast.Module:
    try:
        with _one_at_a_time:  # threads that make trees together upset each other's count of levels in Python 3.11
            return ast.parse(code)
    except (ValueError, RecursionError, MemoryError) as error:  # SyntaxError is none of them
        raise SyntaxError(str(error) or type(error).__name__) from error


def parse(code: str) -> ast.Module:
    """The syntax tree of a cell or module, magics and shell escapes as the calls that IPython makes of them.

    Raises:
        CodeError: for code that neither Python nor IPython can read.
    """
    return _tree(code)[0]


@lru_cache(maxsize=1024)
def _tree(code: str) -> tuple[ast.Module, bool]:
    """The tree, and whether it may hold calls of IPython's shell."""
    code = newlines(code)
    try:
        return _python(code), "get_ipython" in code
    except SyntaxError as error:
        if not re.search(r"[%!?]", code):
            raise CodeError(_what(error)) from error
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        return _python(TransformerManager().transform_cell(code)), True
    except SyntaxError as error:
        raise CodeError(_what(error)) from error


def _what(error: SyntaxError) -> str:
    line = f"line {error.lineno}: " if error.lineno else ""
    return f"{line}{error.msg or 'not Python'}" + (f" ({error.text.strip()[:60]!r})" if error.text else "")


def trees(code: str) -> Iterator[ast.AST | str]:
    """The tree of ``code`` and those of all code that its magics are given; a text where such a part is no Python.

    >>> [type(part).__name__ for part in trees("%time import os")]
    ['Module', 'Module']
    """
    tree, magic = _tree(code)
    yield tree
    for node in ast.walk(tree) if magic else ():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_shell(node.func.value):
            for argument in node.args[node.func.attr.startswith("run_") :]:  # the first names the magic
                text = argument.value if isinstance(argument, ast.Constant) else ast.unparse(argument)
                if isinstance(text, str) and text.strip():
                    yield from given(text)


def _is_shell(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "get_ipython"


def given(text: str) -> Iterator[ast.AST | str]:
    """The trees of code that somebody else is given as a text, perhaps after options; the text if it is no Python."""
    for code in (text, re.sub(r"^(?:\s*-{1,2}\w+(?:[ =]\d+)?)+\s*", "", text)):  # options come before a magic's code
        try:
            yield from trees(code)
            return
        except CodeError:
            continue
    yield text


@lru_cache(maxsize=1024)
def essence(code: str, cell: bool = False) -> str:
    """``code`` without comments, docstrings, blank lines and spacing; code that is no plain Python stays as it is.

    Only the span of a docstring is left out, not its line. A cell has no docstring of its own: a text there is shown.
    The code is cut, not regenerated, so every Python version gives the same answer.
    """
    code = newlines(code)
    if not cell and COOKIE.match(code):  # a comment that decides what all other letters mean
        return code
    try:
        tree = _python(code)
        tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
    except (SyntaxError, tokenize.TokenError):
        return code
    lines = code.split("\n")
    starts = {_place(lines, one.lineno, one.col_offset): _place(lines, one.end_lineno, one.end_col_offset)
              for one in docstrings(tree, cell)}  # fmt: skip
    return "\n".join(_logical_lines(lines, tokens, starts))


BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")  # where a statement holds others


def docstrings(tree: ast.AST, cell: bool = False) -> Iterator[ast.Constant]:
    """The docstrings in a tree; a cell has none of its own."""
    documented = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, *(() if cell else (ast.Module,)))
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        first = node.body[0] if isinstance(node, documented) and node.body else None
        if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
            yield first.value
        waiting += [part for key in BLOCKS for part in getattr(node, key, ())]


def _place(lines: list[str], row: int, offset: int) -> tuple[int, int]:
    """(row, column) in characters, as tokens count; trees count bytes."""
    return row, len(lines[row - 1].encode()[:offset].decode())


def _logical_lines(lines: list[str], tokens: list, cut: dict) -> Iterator[str]:
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    opening, closing = (getattr(tokenize, f"FSTRING_{end}", -1) for end in ("START", "END"))
    kept, last, until, depth, begin = "", None, (0, 0), 0, (0, 0)
    for token in tokens:
        if token.type == tokenize.NEWLINE:
            if kept.strip():
                yield kept
            kept, last = "", None
            continue
        if token.start in cut and depth == 0:
            until = cut[token.start]
        if token.type in skipped or token.start < until:
            continue
        if token.type == opening:  # Python 3.12 cuts f-strings to pieces, 3.11 does not
            begin, depth = (token.start if depth == 0 else begin), depth + 1
        if depth:
            if token.type == closing:
                depth -= 1
            if depth:
                continue
            start, text = begin, _between(lines, begin, token.end) if token.type == closing else token.string
        else:
            start, text = token.start, token.string
        if last is None:
            row = lines[start[0] - 1][: start[1]]
            kept = row if not row.strip() else ""
        kept += (" " if last is not None and last != start else "") + text
        last = token.end
    if kept.strip():
        yield kept


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    if start[0] == end[0]:
        return lines[start[0] - 1][start[1] : end[1]]
    middle = lines[start[0] : end[0] - 1]
    return "\n".join([lines[start[0] - 1][start[1] :], *middle, lines[end[0] - 1][: end[1]]])
