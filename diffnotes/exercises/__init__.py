"""The exercises of the course: ``check`` says of an answer whether it is right, and if not, why.

What is right lies in ``keys/NAME.py`` for the chapter NAME; the texts are ``notebooks/exercises/NAME.ipynb``.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from .checking import Exercise, Feedback, judge

__all__ = ["GRADING", "check", "exercise"]

GRADING = "DIFFNOTES_GRADING"
"""Set in the environment where a submission is executed for marking: answers are judged elsewhere."""


def exercise(name: str) -> Exercise:
    """The exercise CHAPTER.NAME.

    Raises:
        ValueError: if there is none of that name.
    """
    chapter, _, rest = name.partition(".")
    try:
        known = importlib.import_module(f"{__name__}.keys.{chapter}").EXERCISES
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.keys.{chapter}":
            raise
        raise ValueError(f"name = {name!r}; allowed: CHAPTER.NAME, such as 'targets.posterior'") from None
    if rest not in known:
        raise ValueError(f"name = {name!r}; allowed: {', '.join(f'{chapter}.{one}' for one in known)}")
    return known[rest]


def check(name: str, answer: Any) -> Feedback:
    """Whether ``answer`` is right, and if not, why.

    >>> check("targets.price", ...)
    Not yet. There is no answer yet: put yours where the three dots are.
    """
    if os.environ.get(GRADING):
        return Feedback(False, "It is marked after the notebook has been executed.")
    return judge(exercise(name), answer)
