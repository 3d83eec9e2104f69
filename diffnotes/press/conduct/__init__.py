"""What the code cells of a chapter must not do, read from the code alone.

A number that a reader sees must be the run's: not typed into a caption, a text alternative or a glued value. The
parameters belong to the parameters cell, the checkout to its author, and a solution must show something.
"""

from .changing import changes
from .showing import constants, shown_numerals, typed_values
from .solving import idle
from .writing import Names, writes

__all__ = ["Names", "changes", "constants", "idle", "shown_numerals", "typed_values", "writes"]
