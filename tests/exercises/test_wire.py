"""Values that go between processes arrive as they were, and nothing else does."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffnotes.exercises.wire import DTYPES, FUNCTION, Foreign, pack, unpack

PLAIN = st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats() | st.text(max_size=20)
HASHED = st.booleans() | st.integers(0, 9) | st.text(max_size=5)
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner)
                      | st.dictionaries(HASHED, inner, max_size=4) | st.sets(HASHED, max_size=4), max_leaves=12)


def sent(value):
    return unpack(json.loads(json.dumps(pack(value))))


def same(one, other):
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


@given(VALUES)
def test_plain_values_come_back(value):
    assert same(value, sent(value))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)])
def test_tensors_and_arrays_come_back_bit_for_bit(dtype, shape):
    array = np.asarray((np.random.default_rng(0).standard_normal(shape) * 50).astype(dtype))
    tensor = torch.from_numpy(np.asarray(array))
    for value in (array, tensor, tensor.permute(tuple(reversed(range(tensor.ndim))))):
        found = sent(value)
        assert isinstance(found, torch.Tensor) and found.dtype == torch.from_numpy(np.asarray(array)).dtype
        assert np.array_equal(found.numpy(), np.asarray(value))
    assert sent(np.float64(0.1)) == 0.1 and sent(np.int64(3)) == 3


def test_half_precision_and_gradients_come_as_numbers():
    value = torch.tensor([0.5, 1.5], dtype=torch.bfloat16)
    assert torch.equal(sent(value), value.float())
    assert torch.equal(sent(torch.ones(2, requires_grad=True)), torch.ones(2))
    assert torch.equal(sent(np.ones(2, dtype=np.float16)), torch.ones(2).double())
    assert torch.equal(sent(np.array([1.5, -2.0], dtype=">f8")), torch.tensor([1.5, -2.0]).double())


def test_what_is_no_value_comes_as_its_name():
    loop = []
    loop.append(loop)
    assert pack(len) == FUNCTION and sent(...) is ...
    for value, said in (
        (1j, "complex"), (object(), "object"), (2**70, "int"), (torch.ones(2, dtype=torch.complex64), "complex64"),
        (np.array(["a"]), "array"), (np.zeros(2**23), "67108864"), ("x" * 10**6, "too long"),
        (np.longdouble(1), "a number of float"), (torch.zeros(10**9, 0), "array of float32"),
    ):  # fmt: skip
        found = sent(value)
        assert isinstance(found, Foreign) and said in repr(found)
    assert "too large" in repr(sent(loop)) and "too large" in repr(sent([0] * 200_000))
    assert repr(next(iter(sent({frozenset({1})}))))  # a set in a set has a name, and no more


@pytest.mark.parametrize("line", [
    [1], {"tensor": "AAAA", "dtype": "object", "shape": [1]}, {"tensor": "!", "dtype": "int8", "shape": [1]},
    {"tensor": "AAAA", "dtype": "int8", "shape": [2]}, {"tensor": "AAAA", "dtype": "int8", "shape": [-1]}, {},
    {"dict": [[1]]}, {"tensor": "", "dtype": "int8", "shape": [10**9, 0]},
    {"list": 3}, {"other": 3}, {"function": True}, {"tensor": "AAAA"},
])  # fmt: skip
def test_what_was_not_packed_is_refused(line):
    with pytest.raises(ValueError):
        unpack(line)
