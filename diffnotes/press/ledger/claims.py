"""The claims and the rules by which they are judged, as ``claims.toml`` has them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from ..errors import PressError
from ..files import read_toml

__all__ = ["CLAIMS", "GROUPS", "errata", "registry", "rules"]

CLAIMS = Path(__file__).parents[1] / "claims.toml"
GROUPS = {
    "C": "Collapse errors", "S": "Estimation gap and sequence-aware loss", "L": "Lipschitz singularities",
    "M": "Recursive training", "G": "Gradient part of score errors",
    "T": "The ELBO and the four prediction targets", "X": "Across the sources",
}  # fmt: skip
DECISIVE = ("name", "rule", "role", "only")  # what a verdict hangs on; the rest of a part explains


@cache
def _read(path: Path) -> dict[str, Any]:
    return read_toml(path)


def registry(path: Path = CLAIMS) -> dict[str, dict[str, Any]]:
    """All claims of the file by id, in its order; each with its parts and its changes of rules after a run."""
    path = Path(path)
    rows = _read(path).get("claim", [])
    needed = {"id", "statement", "source", "kind", "chapter"}
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
        if not isinstance(row, dict) or not needed <= row.keys():
            raise PressError(f"{path.name}: claim {number} lacks {', '.join(sorted(needed - set(row)))}")
    return {row["id"]: {"test": "", "part": [], "change": [], **row} for row in rows}


def errata(path: Path = CLAIMS) -> list[dict[str, str]]:
    """The errata of the sources, in the file's order."""
    return _read(Path(path)).get("erratum", [])


def rules(chapter: str, path: Path = CLAIMS) -> dict[str, list[dict[str, str]]]:
    """What decides the verdicts of a chapter: by claim, the names, rules and roles of its parts."""
    return {
        row["id"]: [{key: part[key] for key in DECISIVE if key in part} for part in row["part"]]
        for row in registry(path).values() if row["chapter"] == chapter
    }  # fmt: skip
