"""A chapter's prose away from its book: what only the whole book or a finished run can fill in, written as plain text.

JupyterLab shows one notebook. Theorems, exercises, equations and references within the notebook it sets itself, with
jupyterlab_myst, which reads macros for formulas in the first cell; numbers of the run, sources, terms of the glossary,
other chapters and the labels of figures it cannot know. :func:`alone` writes them out: numbers as they are on the
latest page, figures by their names, which stand in the cells that draw them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["alone", "glued", "labels", "sources", "spelled_out"]

ROLE = re.compile(r"\{(glue:text|term|numref|cite(?::\w+)?|doc|ref|prf:ref|eq)\}`([^`\n]+)`")
QUIZ = re.compile(r"^```\{quiz\} \w+\n```[ \t]*$", re.M)  # of diffnotes.press.lessons
LABEL = re.compile(r"^\(([\w-]+)\)=\s*$|^:label:\s*(\S+)\s*$|\$\$\s*\(([\w-]+)\)\s*$", re.M)


def alone(
    notebook: Any, values: Mapping[str, str], cited: Mapping[str, str], macros: Mapping[str, str | list] | None = None
) -> Any:
    """``notebook`` with the roles in its Markdown cells written out that it cannot resolve by itself; changed in place.

    Args:
        notebook: a chapter.
        values: of :func:`glued`; a number that is not among them keeps its role.
        cited: of :func:`sources`; a source that is not among them is called by its key.
        macros: of formulas, name -> definition, or [definition, number of arguments].
    """
    own = labels("\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown"))

    def written(match: re.Match[str]) -> str:
        role, inside = match[1], match[2]
        title, _, target = inside.rpartition("<") if inside.endswith(">") else ("", "", inside + ">")
        title, target = title.strip(), target[:-1].strip()
        if role == "glue:text":
            name, _, form = inside.partition(":")
            return _formed(values[name], form) if name in values else match[0]
        if role.startswith("cite"):
            words = "; ".join(cited.get(key.strip(), key.strip()) for key in inside.split(","))
            return words if role == "cite:t" else f"({words})"
        if role == "term":
            return title or target
        if target in own:
            return match[0]
        if role == "numref":
            return f"figure `{target}`"
        return title or target.rpartition("/")[2].removeprefix("chapter-")

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = ROLE.sub(written, cell.source)
            cell.source = QUIZ.sub("The questions stand on the page of this chapter in the book.", cell.source)
    if macros and notebook.cells and notebook.cells[0].cell_type == "markdown":
        told = {f"\\{name}": value if isinstance(value, str) else value[0] for name, value in macros.items()}
        notebook.cells[0].source = f"---\nmath: {json.dumps(told)}\n---\n{notebook.cells[0].source}"
    return notebook


def spelled_out(prose: str, macros: Mapping[str, str | list]) -> str:
    r"""``prose`` whose formulas need no ``macros``: each is replaced by what it stands for, its argument put in.

    >>> macros = {"eps": r"\epsilon", "norm": [r"\|#1\|", 1]}
    >>> print(spelled_out(r"$x^\eps + \norm{a_{1}}^2 + \norm\eps$, \epsilon", macros))
    $x^{\epsilon} + {\|a_{1}\|}^2 + {\|\epsilon\|}$, \epsilon
    """
    for name, value in macros.items():
        definition, count = (value, 0) if isinstance(value, str) else value
        start = 0
        while found := re.compile(rf"\\{name}(?![A-Za-z])").search(prose, start):
            end, told = found.end(), definition
            for number in range(1, count + 1):
                argument, end = _argument(prose, end)
                told = told.replace(f"#{number}", argument)
            told = told if told.startswith(r"\operatorname") else f"{{{told}}}"  # which keeps its space as an operator
            prose, start = prose[: found.start()] + told + prose[end:], found.start() + 1
    return prose


def _argument(text: str, start: int) -> tuple[str, int]:
    """The argument of a macro that ends at ``start``, without its braces, and where it ends."""
    first = re.compile(r"\s*(\\[A-Za-z]+|\S)").match(text, start)
    if not first or first[1] != "{":
        return (first[1], first.end()) if first else ("", start)
    depth = 0
    for mark in re.compile(r"(?<!\\)[{}]").finditer(text, first.start(1)):
        depth += 1 if mark[0] == "{" else -1
        if not depth:
            return text[first.end() : mark.start()], mark.end()
    return text[first.end() :], len(text)


def labels(prose: str) -> set[str]:
    """What the prose of a notebook itself can be referred to by: sections, theorems, exercises, equations."""
    return {next(filter(None, match.groups())) for match in LABEL.finditer(prose)}


def _formed(value: str, form: str) -> str:
    """A value as it stands in a sentence: ``form`` is a format specification, for numbers."""
    try:
        return format(int(value) if re.fullmatch(r"-?\d+", value) and form.endswith("d") else float(value), form) \
            if form else value  # fmt: skip
    except ValueError:
        return value


def glued(page: Any) -> dict[str, str]:
    """What the cells of an executed page have named for its prose, as texts."""
    found = {}
    for cell in page.cells:
        for output in cell.get("outputs", ()):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            value = output.get("data", {}).get("application/papermill.record/text/plain")
            if name and isinstance(value, str):
                found[name] = value[1:-1] if value[:1] in "'\"" and value[-1:] == value[:1] else value
    return found


def sources(bibliography: Path) -> dict[str, str]:
    """Key -> "Authors Year", linked where the BibTeX file ``bibliography`` knows an address; empty if there is none."""
    if not bibliography.is_file():
        return {}
    from pybtex.database import parse_file

    return {key: _source(entry.persons.get("author", []), entry.fields)
            for key, entry in parse_file(str(bibliography)).entries.items()}  # fmt: skip


def _source(authors: list[Any], fields: Mapping[str, str]) -> str:
    names = [" ".join(person.last_names) for person in authors] or [fields.get("title", "?")]
    names = [re.sub(r"[{}]|\\.", "", name) for name in names]  # what is left of TeX
    who = names[0] if len(names) == 1 else " and ".join(names) if len(names) == 2 else f"{names[0]} et al."
    words = f"{who} {fields.get('year', '')}".strip()
    if "doi" in fields:
        return f"[{words}](https://doi.org/{fields['doi']})"
    if "eprint" in fields:
        return f"[{words}](https://arxiv.org/abs/{fields['eprint']})"
    return f"[{words}]({fields['url']})" if "url" in fields else words
