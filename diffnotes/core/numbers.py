"""The border of the package: what a caller gives as numbers becomes plain numbers and tensors, in one place.

Numbers are Python's, numpy's (scalars and arrays of any stride, byte order, and writable or not), and tensors of any
dtype. Arithmetic is done in float32 or float64; a narrower dtype is computed in float64 and rounded once.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

_EXACT = (torch.float32, torch.float64)


def working(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which results of ``dtype`` are computed: float32 and float64 are their own, else float64."""
    return dtype if dtype in _EXACT else torch.float64


def floating(dtype: torch.dtype, name: str = "dtype") -> torch.dtype:
    """``dtype`` itself, which must be a real floating one. Raises TypeError."""
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"{name} = {dtype}; allowed: floating-point dtypes of torch")
    return dtype


def _from_numpy(array: np.ndarray) -> Tensor:
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "f" and size > 8:
        wanted = np.dtype(np.float64)
    elif kind == "u" and size > 1:
        wanted = np.dtype(np.float64 if size == 8 else np.int64)
    else:
        wanted = array.dtype.newbyteorder("=")
    if wanted != array.dtype or not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.astype(wanted, order="C")
    return torch.from_numpy(array)


def tensor(value: Any, name: str) -> Tensor:
    """``value`` as a real tensor: a tensor as it is, arrays in their own dtype, Python's numbers in float64 or int64.

    Raises:
        TypeError: if it is no array of real numbers.
    """
    if isinstance(value, Tensor) and not value.is_complex():
        return value
    if type(value) is float:
        return torch.tensor(value, dtype=torch.float64)
    if isinstance(value, (list, tuple)):
        value = [one.detach().cpu().tolist() if isinstance(one, Tensor) else one for one in value]
    if not isinstance(value, Tensor):
        try:
            array = np.asarray(value)
            value = _from_numpy(array.astype(np.float64) if array.dtype == object else array)
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise TypeError(f"{name} = {value!r} is not a number or an array of numbers") from error
    if value.is_complex():
        raise TypeError(f"{name} is {value.dtype}; allowed: real numbers")
    return value


def floats(value: Any, name: str, dtype: torch.dtype | None = None) -> Tensor:
    """``value`` as floats: floating tensors as they are, all else in float64; or all of it in ``dtype``."""
    if dtype is None and isinstance(value, Tensor) and value.is_floating_point():
        return value
    return tensor(value, name).to(dtype or torch.float64)


def samples(value: Any, name: str) -> Tensor:
    """Samples in their own dtype: a floating-point tensor or numpy array. Raises TypeError for anything else."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        value = _from_numpy(value)
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise TypeError(f"{name} is {getattr(value, 'dtype', type(value).__name__)}; allowed: a floating-point tensor")
    return value


def shown(value: Any) -> str:
    """``value`` for a message, numpy's scalars and 0-dim tensors as the numbers that they are."""
    return repr(value.item() if isinstance(value, (np.generic, np.ndarray, Tensor)) and not value.ndim else value)


def _single(value: Any) -> bool:
    """Whether ``value`` is one number of any kind, and no bool."""
    if isinstance(value, (bool, np.bool_, str, bytes)) or getattr(value, "ndim", 0):
        return False
    return not (isinstance(value, Tensor) and (value.dtype == torch.bool or value.is_complex()))


def number(value: Any, name: str) -> float:
    """One number as a float; nan and infinities pass. Raises TypeError where it is none."""
    try:
        if not _single(value):
            raise TypeError(type(value).__name__)
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"{name} = {value!r} is not a number") from error


def count(value: Any, name: str, least: int, most: int | None = None) -> int:
    """A whole number in least..most as an int, whatever type holds it. Raises ValueError, naming what is allowed."""
    whole = None
    if _single(value):
        try:
            whole = operator.index(value)
        except TypeError:
            try:
                whole = int(value) if float(value).is_integer() else None
            except (TypeError, ValueError, OverflowError):
                whole = None
    if whole is None or whole < least or (most is not None and whole > most):
        allowed = f">= {least}" if most is None else f"in {least}..{most}"
        raise ValueError(f"{name} = {shown(value)} must be a whole number {allowed}")
    return whole


def positive(**values: Any) -> list[float]:
    """The named numbers as floats, checked to be positive and finite."""
    found = [number(value, name) for name, value in values.items()]
    for name, value in zip(values, found):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} = {value} must be a positive, finite number")
    return found


def rounded(result: Any, dtype: torch.dtype) -> Any:
    """A tensor, or a tuple of them, in ``dtype``."""
    return tuple(rounded(part, dtype) for part in result) if isinstance(result, tuple) else result.to(dtype)


def wide(compute: Callable[..., Any], dtype: torch.dtype, *values: Tensor) -> Any:
    """``compute(*values)`` in the dtype that does for ``dtype``, rounded once to it."""
    work = working(dtype)
    return compute(*values) if work == dtype else rounded(compute(*(v.to(work) for v in values)), dtype)
