"""The ledger of claims: rules fixed beforehand, verdicts computed by the run, runs repeated on other seeds.

``press/claims`` lists every claim, its parts and the rule of each part, chapter by chapter (:mod:`.claims`). A chapter
hands the measured effects to :meth:`Ledger.record`, which applies the rules (:mod:`.judging`). The verdict is stored in
the executed page and shown there (:mod:`.box`); :mod:`diffnotes.press.summary` reads it back, so the ledger of the book
is never typed. What the same run gave on other seeds is kept beside the claims (:mod:`.replication`).
"""

from .box import box, errata_markdown, number, part_lines, summary
from .claims import CLAIMS, GROUPS, errata, registry, rules
from .judging import Effect, Unseen, judge, verdict
from .recording import VERDICTS, Ledger, is_record

__all__ = [
    "CLAIMS", "GROUPS", "VERDICTS", "Effect", "Ledger", "Unseen", "box", "errata", "errata_markdown", "is_record",
    "judge", "number", "part_lines", "registry", "rules", "summary", "verdict",
]  # fmt: skip
