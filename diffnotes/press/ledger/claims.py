"""The claims and the rules by which they are judged, as the files in ``press/claims`` have them, one a chapter."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from ..errors import PressError
from ..files import read_toml

__all__ = ["CLAIMS", "GROUPS", "errata", "registry", "rules"]

CLAIMS = Path(__file__).parents[1] / "claims"
GROUPS = {
    "C": "Collapse errors", "S": "Estimation gap and sequence-aware loss", "L": "Lipschitz singularities",
    "M": "Recursive training", "G": "Gradient part of score errors",
    "T": "The ELBO and the four prediction targets", "X": "Across the sources",
}  # fmt: skip
DECISIVE = ("name", "rule", "role", "only")  # what a verdict hangs on; the rest of a part explains


@cache
def _read(folder: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {"claim": [], "erratum": []}
    for path in sorted(folder.glob("*.toml")):
        for kind, rows in read_toml(path).items():
            if kind not in found or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise PressError(f"{path.name}: {kind}; allowed: [[claim]] and [[erratum]]")
            found[kind] += rows
        for number, row in enumerate(found["claim"], 1):
            if missing := sorted({"id", "statement", "source", "kind", "chapter"} - row.keys()):
                raise PressError(f"{path.name}: claim {row.get('id', number)} lacks {', '.join(missing)}")
    found["claim"].sort(key=lambda row: ([*GROUPS].index(row["id"][0]), int(row["id"][1:])))
    return found


def registry(folder: Path = CLAIMS) -> dict[str, dict[str, Any]]:
    """All claims by id, group by group; each with its parts and its changes of rules after a run.

    Raises:
        PressError: for a file that cannot be read, or a claim that lacks a key.
    """
    return {row["id"]: {"test": "", "part": [], "change": [], **row} for row in _read(Path(folder))["claim"]}


def errata(folder: Path = CLAIMS) -> list[dict[str, str]]:
    """The errata of the sources, in the order in which they are listed."""
    return _read(Path(folder))["erratum"]


def rules(chapter: str, folder: Path = CLAIMS) -> dict[str, list[dict[str, str]]]:
    """What decides the verdicts of a chapter: by claim, the names, rules and roles of its parts."""
    return {
        row["id"]: [{key: part[key] for key in DECISIVE if key in part} for part in row["part"]]
        for row in registry(folder).values() if row["chapter"] == chapter
    }  # fmt: skip
