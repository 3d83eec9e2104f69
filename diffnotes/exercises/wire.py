"""Values between the process that executes a submission and the one that marks it: as text, never as code.

What comes from a submission is not trusted, so nothing is pickled. Numbers, texts, tensors, arrays and their lists,
tuples, sets and dictionaries are sent as they are; a function is sent as a sign that it is one, and anything else as
the name of its type.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["FUNCTION", "Foreign", "pack", "unpack"]

LARGEST = 32 * 2**20  # bytes of all tensors and texts of a value
DEEPEST, MOST = 8, 100_000  # lists in lists, entries of all
DTYPES = ("float64", "float32", "int64", "int32", "int16", "int8", "uint8", "bool")
FUNCTION = {"function": True}


@dataclass(frozen=True)
class Foreign:
    """Something that was not sent; ``what`` says what it is."""

    what: str

    def __repr__(self) -> str:
        return self.what


def pack(value: Any) -> Any:
    """``value`` as JSON takes it."""
    return _pack(value, DEEPEST, [MOST, LARGEST])


def _pack(value: Any, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if depth < 0 or left[0] < 0:
        return {"other": "something too large to be sent"}
    if value is None or isinstance(value, (bool, str, float)) or (isinstance(value, int) and abs(value) < 2**63):
        return _text(value, left) if isinstance(value, str) else value
    if value is Ellipsis:
        return {"dots": True}
    if isinstance(value, np.generic):
        item = value.item()
        return {"other": f"a number of {value.dtype}"} if isinstance(item, np.generic) else _pack(item, depth - 1, left)
    if isinstance(value, (Tensor, np.ndarray)):
        return _array(value, left)
    for kind, name in ((list, "list"), (tuple, "tuple"), ((set, frozenset), "set")):
        if isinstance(value, kind):
            return {name: [_pack(one, depth - 1, left) for one in value]}
    if isinstance(value, dict):
        return {"dict": [[_pack(one, depth - 1, left) for one in pair] for pair in value.items()]}
    if callable(value):
        return FUNCTION if depth == DEEPEST else {"other": "a function"}
    return {"other": f"a value of type {type(value).__name__}"}


def _text(value: str, left: list[int]) -> Any:
    left[1] -= len(value)
    return value if len(value) <= MOST and left[1] >= 0 else {"other": "a text too long to be sent"}


def _array(value: Tensor | np.ndarray, left: list[int]) -> dict[str, Any]:
    try:
        if isinstance(value, Tensor):
            value = value.detach().cpu().to_dense().resolve_neg()
            value = (value.float() if value.dtype in (torch.bfloat16, torch.float16) else value).numpy()
        own = np.dtype(np.float64) if value.dtype == np.float16 else value.dtype.newbyteorder("=")
        value = np.asarray(value, dtype=own, order="C")
    except (TypeError, RuntimeError) as error:
        return {"other": f"a tensor that cannot be sent ({error})"}
    left[1] -= value.itemsize * _room(value.shape)
    if value.dtype.name not in DTYPES or left[1] < 0:
        return {"other": f"an array of {value.dtype.name} and {value.nbytes} bytes"}
    return {"tensor": base64.b64encode(value.tobytes()).decode(), "dtype": value.dtype.name, "shape": list(value.shape)}


def unpack(sent: Any) -> Any:
    """The value that was sent; arrays are tensors. ValueError for what :func:`pack` does not make."""
    if not isinstance(sent, dict):
        if sent is None or isinstance(sent, (bool, str, int, float)):
            return sent
        raise ValueError("not a value")
    match sent:
        case {"dots": True}:
            return ...
        case {"other": str(what)}:
            return Foreign(what[:100])
        case {"list": list(items)}:
            return [unpack(one) for one in items]
        case {"tuple": list(items)}:
            return tuple(unpack(one) for one in items)
        case {"set": list(items)}:
            return {_hashable(unpack(one)) for one in items}
        case {"dict": list(pairs)} if all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            return {_hashable(unpack(key)): unpack(value) for key, value in pairs}
        case {"tensor": str(data), "dtype": str(dtype), "shape": list(shape)} if dtype in DTYPES:
            if not all(isinstance(n, int) and n >= 0 for n in shape) or _room(shape) > LARGEST:
                raise ValueError("not a shape")
            array = np.frombuffer(base64.b64decode(data, validate=True), dtype=dtype)
            return torch.from_numpy(array.reshape(shape).copy())
    raise ValueError("not a value")


def _room(shape: Iterable[int]) -> int:
    """The entries of an array, as if none of its sides were empty: lists of such a one are many."""
    return math.prod(max(n, 1) for n in shape)


def _hashable(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, tuple, type(None))) else Foreign(str(type(value)))
