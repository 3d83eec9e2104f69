"""The claims and the rules by which they are judged, as the files in ``press/claims`` have them, one a chapter."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import PressError
from ..files import read_toml
from ..layout import JUDGED
from .judging import region

__all__ = ["CLAIMS", "GROUPS", "errata", "registry", "rules"]

CLAIMS = Path(__file__).parents[1] / "claims"
GROUPS = {
    "C": "Collapse errors", "S": "Estimation gap and sequence-aware loss", "L": "Lipschitz singularities",
    "M": "Recursive training", "G": "Gradient part of score errors",
    "T": "The ELBO and the four prediction targets", "I": "On images", "X": "Across the sources",
}  # fmt: skip
KEYS = {
    "claim": {"id", "statement", "source", "kind", "chapter", "test", "of", "part", "change"},
    "part": {"name", "role", "measure", "rule", "why", "condition", "decides", "only"},
    "change": {"date", "part", "from", "to", "why"},
}  # a key that is misspelt would be none: a part with "rol" is primary
DECISIVE = ("name", "rule", "role", "only")  # what a verdict hangs on; the rest of a part explains


@cache
def _read(folder: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {"claim": [], "erratum": []}
    for path in sorted(folder.glob("*.toml")):
        for kind, rows in read_toml(path).items():
            if kind not in found or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise PressError(f"{path.name}: {kind}; allowed: [[claim]] and [[erratum]]")
            found[kind] += map(_plain, rows)
        for number, row in enumerate(found["claim"], 1):
            if fault := _fault(row):
                raise PressError(f"{path.name}: claim {row.get('id', number)} {fault}")
        (most, times), *_ = Counter(row["id"] for row in found["claim"]).most_common(1) or [("", 0)]
        if times > 1:
            raise PressError(f"{path.name}: claim {most} is listed twice")
    known = {row["id"] for row in found["claim"]}
    for row in found["claim"]:
        if unknown := {*row.get("of", "").split()} - known | {*row.get("of", "").split()} & {row["id"]}:
            raise PressError(f"claim {row['id']} is of {', '.join(sorted(unknown))}; allowed: ids of other claims")
    found["claim"].sort(key=lambda row: ([*GROUPS].index(row["id"][0]), int(row["id"][1:])))
    return found


def _plain(value: Any) -> Any:
    """A value of a file with all its texts on one line: they stand in tables, lists and titles."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return " ".join(value.split()) if isinstance(value, str) else value


def _fault(row: dict[str, Any]) -> str:
    """What is wrong with a claim, in words; "" if nothing is."""
    if missing := sorted({"id", "statement", "source", "kind", "chapter"} - row.keys()):
        return f"lacks {', '.join(missing)}"
    if not re.fullmatch(rf"[{''.join(GROUPS)}][1-9]\d*", str(row["id"])):
        return f"has no id of the form {'/'.join(GROUPS)} and a number"
    for kind, tables in (("claim", [row]), *((kind, row.get(kind, [])) for kind in ("part", "change"))):
        if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
            return f"has {kind} = {tables!r}; allowed: [[claim.{kind}]]"
        for key, value in ((key, value) for one in tables for key, value in one.items()):
            if key not in KEYS[kind]:
                return f"has the unknown key {key}; allowed for a {kind}: {', '.join(sorted(KEYS[kind]))}"
            if key not in KEYS and not (isinstance(value, str) and ":::" not in value and "```" not in value):
                return f"has {key} = {value!r}; allowed: a text without ::: and ```"
    names = [part.get("name", "") for part in row.get("part", [])]
    for part, name in zip(row.get("part", []), names):
        if not name.isidentifier() or names.count(name) > 1:
            return f"has a part with the name {name!r}; allowed: a name in Python, once"
        if part.get("role", "reach") != "reach" or part.get("only", "gpu") not in JUDGED:
            return f"has a part {name} with a role that is not reach, or an only that is no profile"
        try:
            region(part.get("rule", ""))
        except ValueError as error:
            return f"has a part {name} with no rule: {error}"
    return ""


def registry(folder: Path = CLAIMS) -> dict[str, dict[str, Any]]:
    """All claims by id, group by group; each with its parts, its changes of rules after a run, the ids of the claims
    that it is ``of``, and ``elsewhere`` those of the claims that are of it.

    Raises:
        PressError: for a file that cannot be read, a claim that lacks a key, or one of a claim that there is not.
    """
    rows = _read(Path(folder))["claim"]
    of = {row["id"]: row.get("of", "").split() for row in rows}
    return {row["id"]: {"test": "", "part": [], "change": [], **row, "of": of[row["id"]],
                        "elsewhere": [one for one, ids in of.items() if row["id"] in ids]} for row in rows}  # fmt: skip


def errata(folder: Path = CLAIMS) -> list[dict[str, str]]:
    """The errata of the sources, in the order in which they are listed."""
    return _read(Path(folder))["erratum"]


def rules(chapter: str, folder: Path = CLAIMS) -> dict[str, list[dict[str, str]]]:
    """What decides the verdicts of a chapter: by claim, the names, rules and roles of its parts."""
    return {
        row["id"]: [{key: part[key] for key in DECISIVE if key in part} for part in row["part"]]
        for row in registry(folder).values() if row["chapter"] == chapter
    }  # fmt: skip
