"""What a reader looks up: symbols, terms, labelled equations, and the words that lead to them.

``book/notation.yml`` defines macros, symbols and terms once (:mod:`.notation`); the pages on notation and terms, the
macros of MathJax, the lint of symbols (:mod:`.lint`) and the search (:mod:`.search`) are made from it.
``book/equations.yml`` says which function computes a labelled equation and which test checks it (:mod:`.equations`).
:mod:`.cards` gives a page what its links lead to, to be shown beside them.
"""

from .cards import add_cards, card, with_cards
from .equations import EQUATIONS, equations, equations_markdown, labelled
from .lint import clashes, undefined
from .notation import NOTATION, glossary_markdown, notation, notation_markdown, symbol_id
from .search import entries

__all__ = [
    "EQUATIONS", "NOTATION", "add_cards", "card", "clashes", "entries", "equations", "equations_markdown",
    "glossary_markdown", "labelled", "notation", "notation_markdown", "symbol_id", "undefined", "with_cards",
]  # fmt: skip
