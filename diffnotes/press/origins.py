"""What the kept networks and numbers of a page are and what it took to make them, as their files tell.

The file of an entry holds the text of its experiment and the seconds until it was there, counted from when it was first
asked for. These seconds have the training of all networks that the experiment needed and that were not kept yet. Which
these were is not written down, but can be told of those that have a file of their own: they are part of the text of
the experiment, and their dates say when they were trained.
"""

from __future__ import annotations

import ast
import contextlib
import datetime
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .errors import PressError
from .layout import Project
from .markdown import table
from .networks import place
from .progress import clock

__all__ = ["UNKNOWN", "Origin", "book_at", "once", "origins", "origins_markdown", "seconds", "training"]

UNKNOWN = "not recorded"
TENSOR = re.compile(r"tensor(\([\d, ]*\))\[([^\]]*)\]")
NETWORK = re.compile(r"network\(([0-9a-f]{20,64}/[^)]*)\)")


@dataclass(frozen=True)
class Origin:
    """An entry of a page's ``record``, and the ``text`` of its experiment; "" where its file is not at hand."""

    record: Mapping[str, Any]
    text: str = ""

    @property
    def networks(self) -> bool:
        """Whether it is networks, which are trained, and not numbers that were measured with some."""
        return self.record["bytes"] > 0

    @property
    def span(self) -> tuple[float, float]:
        """When it was first asked for, and when it was there; the second is rounded."""
        end = datetime.datetime.fromisoformat(self.record["date"]).timestamp()
        return end - self.record["seconds"], end

    def holds(self, other: Origin) -> bool:
        """Whether the experiment of ``other`` is a part of this one."""
        return bool(other.text) and other.text != self.text and other.text in self.text

    def trained(self, other: Origin) -> bool:
        """Whether ``other`` is a part of this one, and was made while this one was."""
        (begin, end), (first, last) = self.span, other.span
        return self.holds(other) and begin <= first + 1 and last <= end + 1

    @cached_property
    def values(self) -> dict[str, str]:
        """The settings of the experiment by their place in it: "arms.plain.fleet.run.steps" -> "3500"."""
        return dict(_leaves(_tree(self.text))) if self.text else {}

    @cached_property
    def about(self) -> str:
        """Networks, training and seeds, in short."""
        if not self.text:
            return UNKNOWN
        tree = _tree(self.text)
        told = [_together(found) for key in ("net", "run") if (found := _given(tree, key))]
        for key in ("seeds", "splits", "seed", "split"):
            if found := sorted({number for node in _given(tree, key) for number in _integers(node)}):
                told.append(("seed " if len(found) == 1 else f"{len(found)} seeds: ") + _ranges(found))
                break
        return "; ".join(told)


def book_at(source: str | Path) -> Project | None:
    """The book to which the tree ``source`` belongs; None where it is built away from the notebooks."""
    try:
        return Project(Project.find(source).root)
    except PressError:
        return None


def origins(project: Project | None, records: Iterable[Mapping[str, Any]]) -> list[Origin]:
    """The entries of a page's ``records``; ``project`` has their files, own or published, if they are at hand."""
    found = []
    for record in records:
        kept, text = place(project, record) if project else None, ""
        with contextlib.suppress(ValueError):
            text = str(kept.header.get("experiment", "")) if kept else ""
        found.append(Origin(record, text))
    return found


def once(entries: Iterable[Origin]) -> list[Origin]:
    """The entries without those that are there already: two chapters may share one."""
    return list({entry.record["key"]: entry for entry in entries}.values())


def seconds(entries: Iterable[Origin]) -> float:
    """How long it took to make them all. What was made while another one was is in the time of that one."""
    entries = once(entries)
    return sum(one.record["seconds"] for one in entries if not any(other.trained(one) for other in entries))


def training(entry: Origin, entries: Iterable[Origin]) -> str:
    """How much of the time of an entry was training, as far as that is known, in words."""
    if entry.networks:
        return "all"
    parts = [one for one in once(entries) if entry.holds(one) and one.networks]
    inside = [one for one in parts if entry.trained(one)]
    before = [one for one in parts if one.span[1] <= entry.span[0] + 1]
    told = [f"{clock(one.record['seconds'])} for {_key(one)}" for one in inside]
    told += [f"{_key(one)} trained before" for one in before]
    if not told or not set(_fleets(entry.text)) <= {one.text for one in inside + before}:
        told.append("others " * bool(told) + UNKNOWN)
    return "; ".join(told)


def _key(entry: Origin) -> str:
    return f"`{entry.record['key'][:12]}`"


def origins_markdown(entries: Iterable[Origin]) -> str:
    """The table of the entries of a page, and what it does not tell."""
    entries = list(entries)
    devices = sorted({one.record["device"] for one in entries})
    rows = []
    for one, more in zip(entries, _apart(entries)):
        where = f" on {one.record['device']}" if len(devices) > 1 else ""
        made = f"{one.record['date'][:10]}, {clock(one.record['seconds'])}{where}"
        name = "; ".join([one.record["name"], *more])
        rows.append((name, one.about, made, training(one, entries), _key(one)))
    here = sum(one.record["source"] == "trained" for one in entries)
    read = "all were read where they were kept" if not here else f"{here} of {len(entries)} were made in it"
    note = (
        f"Times are those until an entry was there, {f'on {devices[0]}, ' if len(devices) == 1 else ''}with the "
        "training of what it is made of, where that was not there yet. How much that was is said where it is recorded. "
        f"In the run of this page {read}; reading them is part of its run time and was not recorded apart."
    )
    shown = table(("Networks or numbers", "Size, training, seeds", "Made", "Of it training", "Key"), rows)
    return f":::{{div}} origins\n{shown}\n:::\n\n{note}"


# --- experiments as text ----------------------------------------------------------------------------------------------


def _tree(text: str) -> ast.expr | None:
    """The text of an experiment, read as an expression; None if it is none."""
    text = TENSOR.sub(lambda found: f"tensor({found[2]!r})", text)
    text = NETWORK.sub(lambda found: f"network({found[1]!r})", text)
    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.parse(text, mode="eval").body
    return None


def _children(node: ast.expr | None) -> list[tuple[str, ast.expr]]:
    if isinstance(node, ast.Call):
        return [*((str(i), one) for i, one in enumerate(node.args)), *((one.arg, one.value) for one in node.keywords)]
    if isinstance(node, ast.Dict):
        return [(_short(key), value) for key, value in zip(node.keys, node.values)]
    return [(str(i), one) for i, one in enumerate(node.elts)] if isinstance(node, ast.Tuple) else []


def _leaves(node: ast.expr | None, path: str = "") -> list[tuple[str, str]]:
    """(place, value) of all settings below ``node``; a list of numbers or words is one."""
    children = _children(node)
    if not children or _plain(node):
        return [(path, _short(node))] if node else []
    kind = [(f"{path}.type", _short(node.func))] if isinstance(node, ast.Call) else []
    return kind + [leaf for name, child in children for leaf in _leaves(child, f"{path}.{name}".strip("."))]


def _plain(node: ast.expr | None) -> bool:
    """Whether it is a value that is told in one: a tensor, or a list of plain values."""
    if isinstance(node, ast.Call):
        return _short(node.func) in ("tensor", "network")
    return not isinstance(node, ast.Dict) and all(_plain(child) for _, child in _children(node))


def _given(node: ast.expr | None, key: str) -> list[ast.expr]:
    """All that is given to the argument ``key`` below ``node``, but None."""
    return [found for name, child in _children(node) for found in
            ([child] if name == key and _short(child) != "None" else []) + _given(child, key)]  # fmt: skip


def _integers(node: ast.expr) -> list[int]:
    return [one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, int)]


def _ranges(numbers: list[int]) -> str:
    """Increasing numbers in words.

    >>> _ranges([1, 2, 3, 7])
    '1 to 3, 7'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in runs)


def _short(node: ast.expr | None) -> str:
    """A value in few words."""
    if isinstance(node, ast.Tuple):
        apart = ", " if all(isinstance(one, ast.Constant) for one in node.elts) else "; "
        return apart.join(_short(one).replace(", ", " ") if apart == "; " else _short(one) for one in node.elts)
    if isinstance(node, ast.Call):
        return _together([node])
    return str(node.value) if isinstance(node, ast.Constant) else ast.unparse(node) if node else ""


def _together(nodes: list[ast.expr]) -> str:
    """Several networks, or runs, in one: what differs with strokes between, what is left out not at all."""
    given: dict[str, dict[str, None]] = {}
    for node in nodes:
        for name, child in _children(node):
            text = f"({_short(child)})" if isinstance(child, ast.Tuple) else _short(child)
            if text != "None":
                given.setdefault(name, {})[text] = None
    words = {name: "/".join(sorted(found, key=lambda text: (len(text), text))) for name, found in given.items()}
    kind = "/".join(dict.fromkeys(_short(node.func) if isinstance(node, ast.Call) else _short(node) for node in nodes))
    if kind in ("tensor", "network"):
        return words["0"]
    if kind == "Run":
        ends = [f"rate {words['rate']}", words["decay"], *(["averaged"] if "average" in words else [])]
        return f"{words['steps']} steps of {words['batch']}, {', '.join(ends)}"
    told = ", ".join(text if name.isdigit() else f"{name} {text}" for name, text in words.items())
    return f"{kind}({told})" if told else kind


def _fleets(text: str) -> list[str]:
    """The texts of all fleets of networks in the text of an experiment."""
    found = []
    for start in (match.start() for match in re.finditer(r"\bFleet\(", text)):
        depth = 0
        for end in range(start, len(text)):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            if text[end] == ")" and depth == 0:
                found.append(text[start : end + 1])
                break
    return found


def _apart(entries: list[Origin]) -> list[list[str]]:
    """For each entry, the few short settings that tell it from others of its name that are described alike."""
    told = []
    for one in entries:
        alike = [other for other in entries if other.record["name"] == one.record["name"]
                 and other.about == one.about and other.text != one.text]  # fmt: skip
        names: list[str] = []
        while alike:
            ranks = {name: (sum(other.values.get(name) != value for other in alike), value != "None",
                            -name.count("."), -len(value)) for name, value in one.values.items()}  # fmt: skip
            best = max(ranks, key=ranks.get, default=None)
            if best is None or not ranks[best][0]:
                break
            names.append(best)
            alike = [other for other in alike if other.values.get(best) == one.values[best]]
        told.append([f"{name.rpartition('.')[2].removeprefix('type')} {one.values[name]}".strip() for name in names])
    return told
