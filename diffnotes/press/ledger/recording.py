"""What a chapter calls while it runs: measured effects in, judged records out, on the page."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..layout import JUDGED, PROFILES
from .box import counted, part_lines, parts_table, summary
from .claims import CLAIMS, registry
from .judging import Effect, Unseen, is_narrow, judge, verdict

__all__ = ["VERDICTS", "Ledger", "is_record"]

VERDICTS = {
    "holds": "holds", "mixed": "mixed", "fails": "does not hold here", "open": "open", "unjudged": "not judged",
}  # fmt: skip


class Ledger:
    """Judges the claims of one chapter.

    Args:
        chapter: the chapter's name, as in ``press/claims``.
        profile: one of the press; claims are recorded but not judged by "smoke".
        folder: where the claims are listed.

    Raises:
        ValueError: for a chapter that no claim belongs to, or an unknown profile.
    """

    def __init__(self, chapter: str, profile: str, folder: Path = CLAIMS) -> None:
        self.chapter, self.profile, self._done = chapter, profile, {}
        self._rows = {key: row for key, row in registry(folder).items() if row["chapter"] == chapter}
        if not self._rows:
            known = sorted({row["chapter"] for row in registry(folder).values()} - {""})
            raise ValueError(f"chapter = {chapter!r} has no claims; allowed: {', '.join(known) or 'none yet'}")
        if profile not in PROFILES:
            raise ValueError(f"profile = {profile!r} is unknown; allowed: {', '.join(PROFILES)}")

    def judge(self, claim: str, **parts: Effect | Unseen) -> dict[str, Any]:
        """The record of a claim: its id, state, verdict and judged parts, ready to be stored in a page.

        Raises:
            ValueError: if the claim is unknown or another chapter's, or ``parts`` are not exactly the declared ones.
            TypeError: if a part is no :class:`Effect` and no :class:`Unseen`.
        """
        row = self._rows.get(claim)
        if row is None:
            raise ValueError(f"claim = {claim!r} is none of chapter {self.chapter!r}; allowed: {', '.join(self._rows)}")
        rows = [part for part in row["part"] if part.get("only", self.profile) == self.profile]
        declared = [part["name"] for part in rows]
        if not declared or set(declared) != parts.keys():
            allowed = ", ".join(declared) or "none: press/claims declares no [[claim.part]] for it"
            raise ValueError(f"parts of {claim} = {', '.join(parts) or 'none'}; needed are exactly: {allowed}")
        judged = [_judged(part, parts[part["name"]]) for part in rows]
        state = verdict(judged) if self.profile in JUDGED else "unjudged"
        return {"id": claim, "chapter": self.chapter, "profile": self.profile, "state": state,
                "verdict": VERDICTS[state] + counted(state, judged), "parts": judged}  # fmt: skip

    def record(self, claim: str, **parts: Effect | Unseen | tuple[float, float, float] | float) -> None:
        """Judge ``claim`` by the measured ``parts`` and put its verdict on the page. Raises as :meth:`judge` does.

        A part is an effect, an interval (value, low, high), an exact number, or what could not be seen.
        """
        from IPython.display import display

        if claim in self._done:
            raise ValueError(f"claim = {claim!r} is recorded twice")
        record = self.judge(claim, **{name: _effect(part) for name, part in parts.items()})
        self._done[claim] = record
        row = self._rows[claim]
        plain = [f"{claim} {record['verdict']}: {row['statement']}", *(f"  {line}" for line in part_lines(record))]
        shown = f"**{claim} {record['verdict']}.** {row['statement']}\n\n{parts_table(record, row)}"
        data = {"text/markdown": shown, "text/plain": "\n".join(plain)}
        display(data, metadata={"diffnotes": {"claim": record}}, raw=True)

    def summary(self) -> None:
        """Put a table of the verdicts recorded so far on the page, in the order of the ledger."""
        from IPython.display import display

        done = [self._done[claim] for claim in self._rows if claim in self._done]
        plain = [f"{record['id']} {record['verdict']}: {self._rows[record['id']]['statement']}" for record in done]
        data = {"text/markdown": summary(done, self._rows), "text/plain": "\n".join(plain)}
        display(data, metadata={"diffnotes": {"summary": [record["id"] for record in done]}}, raw=True)


def _effect(part: Any) -> Any:
    if isinstance(part, (Effect, Unseen)):
        return part
    return Effect(*part) if isinstance(part, tuple) else Effect(part)


def _judged(part: dict[str, str], effect: Effect | Unseen) -> dict[str, Any]:
    known = {"name": part["name"], "measure": part.get("measure", ""), "rule": part["rule"],
             "role": part.get("role", "primary")}  # fmt: skip
    if isinstance(effect, Unseen):
        return {**known, "unseen": effect.why, "state": "open"}
    if not isinstance(effect, Effect):
        raise TypeError(f"{part['name']} = {effect!r} must be an Effect or Unseen")
    ends = effect.value, effect.low, effect.high
    judged = {"state": judge(part["rule"], *ends[1:]), "narrow": is_narrow(part["rule"], *ends)}
    return {**known, **asdict(effect), **judged}


def is_record(record: Any) -> bool:
    """Whether ``record`` is complete, as :meth:`Ledger.judge` makes it."""
    texts = {"id", "state", "verdict", "profile"}
    parts = record.get("parts") if isinstance(record, dict) else None
    return (
        isinstance(parts, list) and all(isinstance(record.get(key), str) for key in texts)
        and record["state"] in VERDICTS and all(isinstance(part, dict) for part in parts)
        and all(isinstance(part.get(key), str) for part in parts for key in ("name", "measure", "rule", "state"))
        and all(isinstance(part.get("unseen"), str) or _is_measured(part) for part in parts)
    )  # fmt: skip


def _is_measured(part: dict[str, Any]) -> bool:
    return isinstance(part.get("unit"), str) and all(
        isinstance(part.get(key), (int, float)) for key in ("value", "low", "high")
    )
