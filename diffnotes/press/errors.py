"""The one way in which the press says that it cannot go on."""

from __future__ import annotations


class PressError(Exception):
    """A message for the user of the command, and the exit status that goes with it (2: wrong use, 1: failure)."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status
