"""The rule that lays a time against a batch: leading axes, never trailing ones."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffnotes.core.shape import expand_like


def test_a_number_applies_to_every_sample():
    x = torch.zeros(3, 2)
    for value in (0.5, 1, torch.tensor(0.5), torch.tensor([0.5])):
        assert torch.broadcast_shapes(expand_like(value, x).shape, x.shape) == x.shape


@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), data=st.data())
def test_any_prefix_of_the_shape_is_accepted_and_lands_on_the_leading_axes(shape, data):
    x = torch.zeros(shape)
    value = torch.rand(shape[: data.draw(st.integers(0, len(shape)))])
    full = expand_like(value, x) + x
    index = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    assert full.shape == x.shape
    assert full[index] == value[index[: value.ndim]]


def test_one_time_per_sample_when_batch_equals_dimension():
    # The trap: (n,) against (n, n) would broadcast along the wrong axis without any error.
    t = torch.arange(3.0)
    assert torch.equal(expand_like(t, torch.zeros(3, 3)) + torch.zeros(3, 3), t[:, None].repeat(1, 3))


def test_members_of_an_ensemble_are_a_leading_axis():
    x = torch.zeros(2, 3, 4)
    assert expand_like(torch.zeros(2), x).shape == (2, 1, 1)
    assert expand_like(torch.zeros(2, 3), x).shape == (2, 3, 1)


def test_dtype_and_device_follow_the_samples():
    for dtype in (torch.float32, torch.float64):
        assert expand_like(torch.tensor([1, 2]), torch.zeros(2, 3, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 3, 4, 1), (4, 3, 2)])
def test_shapes_that_do_not_fit_are_refused_by_name(shape):
    with pytest.raises(ValueError, match=r"alpha has shape .* leading axes of x, which has shape \(2, 3, 4\)"):
        expand_like(torch.zeros(shape), torch.zeros(2, 3, 4), "alpha")


def test_a_level_laid_against_integers_keeps_its_digits():
    x = torch.ones(2, 3, dtype=torch.int64)
    assert expand_like(0.8, x).dtype == torch.float64 and float(expand_like(0.8, x)) == 0.8
    reversed_ = np.array([1.0, 2.0], dtype=">f8")[::-1]
    assert expand_like(reversed_, torch.zeros(2, 3)).tolist() == [[2.0], [1.0]]
    with pytest.raises(TypeError, match="sigma = 'much'"):
        expand_like("much", x, "sigma")


def test_one_number_goes_to_a_device_without_a_copy(monkeypatch):
    """A number is written by the device itself; a vector is copied."""
    copied, to = [], torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *a: (copied.append(self.device.type), to(self, *a))[1])
    x = torch.zeros(3, 2, device="meta")
    for value in (0.8, torch.tensor(0.8), torch.tensor([0.8], dtype=torch.float64)):
        copied.clear()
        full = expand_like(value, x)
        assert full.device.type == "meta" and full.dtype == x.dtype and full.numel() == 1
        assert "cpu" not in copied
    assert expand_like(torch.ones(3), x).shape == (3, 1)
