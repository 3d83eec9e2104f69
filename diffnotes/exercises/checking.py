"""Exercises that answer back: what is right, which mistakes are known, and how an answer is compared with both.

An exercise knows a right answer and the answers that typical misconceptions give. An answer that is not right is held
against these: the first that it agrees with says what went wrong. So each misconception is written as the answer that
it leads to, and the tests give it to its own exercise.

There are four kinds: a formula (:class:`Function`), a number or tensor (:class:`Value`), statements that are true
(:class:`Choice`), and something that is built and has to have a property (:class:`Construction`).
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "Choice", "Construction", "Exercise", "Feedback", "Function", "Mistake", "Raised", "Value", "Wrong", "judge",
    "result_of", "tensor_of", "told",
]  # fmt: skip


HUGE = 1e100
"""No answer has a number above this one; squares of larger ones are not finite, and then nothing can be compared."""


class Wrong(Exception):
    """An answer is not right; the message says why, to whoever gave it."""


class Raised(Exception):
    """A function that was given as an answer raised an error, somewhere else; the message is what it said."""


class Exercise(Protocol):
    """Something that can be answered."""

    praise: str
    mistakes: Sequence[Mistake]

    def model(self) -> Any:
        """A right answer."""

    def judge(self, answer: Any) -> None:
        """Return if ``answer`` is right; Wrong with the reason if it is not."""


@dataclass(frozen=True)
class Mistake:
    """A misconception: what is said to whoever has it, and the answer that it leads to."""

    said: str
    answer: Any


@dataclass(frozen=True)
class Feedback:
    """Whether an answer is right, and what is said about it; a notebook shows it as a sentence."""

    right: bool
    message: str

    def __repr__(self) -> str:
        return f"{'Right' if self.right else 'Not yet'}. {self.message}"

    def _repr_html_(self) -> str:
        sign, colour = ("✓", "#1a7f37") if self.right else ("✗", "#b35900")
        return (f'<div role="status" style="border-left: 4px solid {colour}; padding: 0.2em 0.8em">'
                f"{sign} <strong>{'Right' if self.right else 'Not yet'}.</strong> {escape(self.message)}</div>")


def judge(exercise: Exercise, answer: Any) -> Feedback:
    """What is to be said of an answer; never raises for what an answer is or does."""
    if answer is None or answer is Ellipsis:
        return Feedback(False, "There is no answer yet: put yours where the three dots are.")
    try:
        exercise.judge(answer)
    except Wrong as wrong:
        return Feedback(False, str(wrong))
    except Exception as error:
        return Feedback(False, f"The answer cannot be used: {told(error)}")
    return Feedback(True, exercise.praise)


def told(error: BaseException) -> str:
    """Kind and first line of an error, whatever class of whomever it is of."""
    try:
        line = next(iter(str(error).splitlines()), "")
    except Exception:
        line = ""
    return f"{type(error).__name__[:60]}{line and ': '}{line[:300]}"


def shown(value: Any) -> str:
    """A value as it is put into a message: numbers with four digits, of a large tensor the shape."""
    if isinstance(value, (Tensor, np.ndarray)):
        value = torch.as_tensor(value)
        if not 1 <= value.numel() <= 6 or value.ndim > 6:
            return f"a tensor of shape {tuple(value.shape)}"
        return shown(value.tolist())
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        if isinstance(value, (list, tuple)) and len(value) <= 6:
            text = f"[{', '.join(map(shown, value))}]"
            return text if len(text) <= 200 else f"{text[:197]}..."
        text = repr(value)
        return text if len(text) <= 60 else f"{text[:57]}..."
    try:
        return f"{float(value):.4g}"
    except OverflowError:
        return "a number beyond all floats"


def tensor_of(value: Any, what: str = "The answer") -> Tensor:
    """``value`` in float64; Wrong if it is no real number, tensor, or list of numbers, not finite, or above HUGE."""
    if isinstance(value, (str, bytes, bool)) or callable(value):
        raise Wrong(f"{what} is {shown(value)}; it should be a number or a tensor")
    try:
        found = torch.as_tensor(np.asarray(value) if isinstance(value, (list, tuple)) else value)
        if found.is_complex():
            raise Wrong(f"{what} is complex; it should be real")
        found = found.detach().cpu().double().to_dense()
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise Wrong(f"{what} is {shown(value)}; it should be a number or a tensor") from None
    if not bool(torch.isfinite(found).all()):
        raise Wrong(f"{what} is not finite: {shown(value)}")
    if bool((found.abs() > HUGE).any()):
        raise Wrong(f"{what} has numbers above {HUGE:g}: {shown(value)}")
    return found


def alike(found: Tensor, right: Tensor) -> Tensor:
    """``found``; in the shape of ``right`` if both are one number, of which nobody cares how many axes it has."""
    return found.reshape(right.shape) if found.numel() == right.numel() == 1 else found


def close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    """Whether two tensors of one shape agree to ``tolerance`` of the largest entry of ``other``."""
    scale = float(other.abs().max()) if other.numel() else 0.0
    return one.shape == other.shape and bool(((one - other).abs() <= tolerance * max(scale, 1e-12)).all())


def shape(value: Tensor) -> str:
    """The shape of a tensor, in words."""
    return f"the shape {tuple(value.shape)}" if value.ndim else "the shape of a single number"


def rough(one: Tensor, other: Tensor, tolerance: float) -> str:
    """What is said of a result that is right but for its last digits; nothing of another one."""
    if not close(one, other, 1e-4):
        return ""
    off = float((one - other).abs().max()) / max(float(other.abs().max()), 1e-12)
    return (f"is right to {off:.0e} of its size; it should be to {tolerance:.0e}. Numbers in single precision have too "
            "few digits: calculate in torch.float64")  # fmt: skip


def result_of(answer: Any, case: tuple) -> Tensor:
    """What a function that was given as an answer gives for the arguments ``case``; Wrong if it gives no numbers."""
    if not callable(answer):
        raise Wrong(f"The answer is {shown(answer)}; it should be a function")
    given = ", ".join(map(shown, case))
    copies = tuple(one.clone() if isinstance(one, Tensor) else one for one in case)
    try:
        result = answer(*copies)
    except Raised as error:
        raise Wrong(f"For ({given}) it raises {error}") from None
    except NotImplementedError:
        result = None
    except Exception as error:
        raise Wrong(f"For ({given}) it raises {told(error)}") from None
    if result is None or result is Ellipsis:
        raise Wrong("The function returns nothing yet: put your answer where the three dots are.")
    return tensor_of(result, f"The result for ({given})")


@dataclass(frozen=True)
class Function:
    """An answer that is a function of numbers and tensors: it is right if it gives what ``right`` gives.

    Args:
        right: the function.
        cases: arguments to call both with; such that each mistake gives something else in one of them.
        mistakes: functions that typical misconceptions lead to.
        praise: what is said of a right answer.
        tolerance: relative to the largest entry of a result.
    """

    right: Callable[..., Any]
    cases: Sequence[tuple]
    mistakes: Sequence[Mistake]
    praise: str
    tolerance: float = 1e-5

    def model(self) -> Any:
        """The right function."""
        return self.right

    def judge(self, answer: Any) -> None:
        """Call the answer with all cases; see :class:`Exercise`."""
        right = [tensor_of(self.right(*case)) for case in self.cases]
        found = [alike(result_of(answer, case), right[i]) for i, case in enumerate(self.cases)]
        wrong = [i for i in range(len(right)) if not close(found[i], right[i], self.tolerance)]
        if not wrong:
            return
        for mistake in self.mistakes:
            if self._agrees(mistake, found):
                raise Wrong(mistake.said)
        case, one, other = self.cases[wrong[0]], found[wrong[0]], right[wrong[0]]
        given = ", ".join(map(shown, case))
        if one.shape != other.shape:
            raise Wrong(f"For ({given}) the result has {shape(one)}; it should have {shape(other)}")
        if said := rough(one, other, self.tolerance):
            raise Wrong(f"For ({given}) the result {said}")
        raise Wrong(f"For ({given}) the result is {shown(one)}; it should be {shown(other)}")

    def _agrees(self, mistake: Mistake, found: list[Tensor]) -> bool:
        try:
            others = [tensor_of(mistake.answer(*case)) for case in self.cases]
        except (Wrong, ArithmeticError, ValueError):  # what this mistake leads to is not defined in some case
            return False
        return all(close(one, other, self.tolerance) for one, other in zip(found, others))


@dataclass(frozen=True)
class Value:
    """An answer that is a number or a tensor.

    Args:
        right: makes the right one, when it is needed.
        mistakes: their answers are values, or functions that make them.
        praise: what is said of a right answer.
        tolerance: relative to the largest entry.
        far: what is said of an answer that is neither right nor a known mistake.
    """

    right: Callable[[], Any]
    mistakes: Sequence[Mistake]
    praise: str
    tolerance: float = 1e-3
    far: str = ""

    def model(self) -> Any:
        """The right value."""
        return self.right()

    def judge(self, answer: Any) -> None:
        """Compare; see :class:`Exercise`."""
        right = tensor_of(self.right())
        found = alike(tensor_of(answer), right)
        if close(found, right, self.tolerance):
            return
        for mistake in self.mistakes:
            other = mistake.answer() if callable(mistake.answer) else mistake.answer
            if close(found, tensor_of(other), self.tolerance):
                raise Wrong(mistake.said)
        if found.shape != right.shape:
            raise Wrong(f"The answer has {shape(found)}; it should have {shape(right)}")
        if found.numel() == 1:
            far = f"{shown(found)} is too {'large' if bool((found > right).all()) else 'small'}"
        else:
            off = int(((found - right).abs() > self.tolerance * right.abs().max()).sum())
            far = f"{off} of the {found.numel()} numbers are not right"
        raise Wrong(f"{far}. {self.far}".strip())


@dataclass(frozen=True)
class Choice:
    """Those of some statements that are true, as a set or a string of their letters.

    Args:
        reasons: letter -> why the statement is true, or is not.
        true: the letters of those that are.
        praise: what is said of a right answer.
    """

    reasons: Mapping[str, str]
    true: str
    praise: str

    def model(self) -> Any:
        """The letters of the true statements."""
        return set(self.true)

    @property
    def mistakes(self) -> Sequence[Mistake]:
        """One statement taken for what it is not, each."""
        return [Mistake(self._said(letter), set(self.true) ^ {letter}) for letter in self.reasons
                if set(self.true) != {letter}]  # fmt: skip

    def _said(self, letter: str) -> str:
        return f"Look at {letter} again: {self.reasons[letter]}"

    def judge(self, answer: Any) -> None:
        """Compare letter by letter; see :class:`Exercise`."""
        letters = answer.replace(",", " ").replace(" ", "") if isinstance(answer, str) else answer
        if not isinstance(letters, (str, set, frozenset, list, tuple)) or not all(isinstance(a, str) for a in letters):
            raise Wrong(f"The answer is {shown(answer)}; it should be letters, such as {{'a', 'b'}}")
        chosen = {letter.strip().lower() for letter in letters}
        if not chosen:
            raise Wrong("There is no answer yet: name the letters of the statements that are true.")
        if unknown := chosen - set(self.reasons):
            raise Wrong(f"There is no statement {shown(sorted(unknown)[0])}; allowed: {', '.join(self.reasons)}")
        for letter in self.reasons:
            if (letter in chosen) != (letter in self.true):
                raise Wrong(self._said(letter))


@dataclass(frozen=True)
class Construction:
    """Something that has to have a property; there may be many right answers.

    Args:
        test: raises :class:`Wrong` for an answer without it, with the reason.
        example: makes an answer that has it.
        mistakes: answers without it, each with the beginning of what ``test`` says.
        praise: what is said of a right answer.
    """

    test: Callable[[Any], None]
    example: Callable[[], Any]
    mistakes: Sequence[Mistake]
    praise: str

    def model(self) -> Any:
        """The example."""
        return self.example()

    def judge(self, answer: Any) -> None:
        """Test; see :class:`Exercise`."""
        try:
            self.test(answer)
        except Wrong:
            raise
        except Raised as error:
            raise Wrong(f"It raises {error}") from None
        except NotImplementedError:
            raise Wrong("There is no answer yet: put yours where the three dots are.") from None
        except Exception as error:
            raise Wrong(f"The answer cannot be used: {told(error)}") from None


