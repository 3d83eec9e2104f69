"""What a network is told of the time: sharing against the floor of whole times and its laws; sharing as a value."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import diffnotes
from diffnotes import MLP, Chain, Condition, Learned, Shared, share_timesteps
from diffnotes.model.condition import left_ends
from diffnotes.model.store import text_of

DOUBLE = torch.float64

times = st.floats(0, 2, allow_nan=False)


@given(t=st.lists(times, min_size=1, max_size=20), n=st.integers(1, 40), t_tilde=st.floats(1e-3, 2),
       dtype=st.sampled_from([torch.float32, torch.float64]))
def test_laws_of_sharing(t, n, t_tilde, dtype):
    t = torch.tensor(t, dtype=dtype)
    shared = share_timesteps(t, n, t_tilde)
    assert shared.dtype == dtype and shared.shape == t.shape
    assert bool((shared <= t).all()) and bool((shared >= 0).all())
    assert torch.equal(share_timesteps(shared, n, t_tilde), shared)
    inside = t < t_tilde
    assert torch.equal(shared[~inside], t[~inside])
    assert bool((t - shared <= t_tilde / n * (1 + 1e-5)).all())
    order = t.argsort()
    assert bool((shared[order].diff() >= 0).all())


@given(n=st.integers(1, 60), t_tilde=st.floats(1e-2, 1e3))
def test_sharing_knows_exactly_n_times(n, t_tilde):
    t = torch.linspace(0, t_tilde * (1 - 1e-9), 50 * n, dtype=DOUBLE)
    left = share_timesteps(t, n, t_tilde).unique()
    assert len(left) == n
    assert torch.allclose(left, torch.arange(n, dtype=DOUBLE) * t_tilde / n, rtol=1e-12)
    assert torch.equal(share_timesteps(left, n, t_tilde), left)


def test_sharing_against_the_floor_of_whole_times():
    t = torch.arange(1001)
    for n in (1, 2, 5, 10, 20, 50, 100):
        size = 100 // n
        by_hand = torch.where(t < 100, t // size * size, t)
        shared = share_timesteps(t, n, 100)
        assert shared.dtype == torch.int64 and torch.equal(shared, by_hand)
    assert share_timesteps(t, 3, 100).dtype == DOUBLE
    assert share_timesteps(t, 3, 100)[34] == 100 / 3


def test_sharing_keeps_shape_and_takes_numbers():
    assert share_timesteps(torch.rand(3, 4, 1), 5, 0.1).shape == (3, 4, 1)
    shared = share_timesteps(0.07, 5, 0.1)
    assert shared.dtype == DOUBLE and shared.ndim == 0 and float(shared) == pytest.approx(0.06)
    assert float(share_timesteps(0.1, 5, 0.1)) == 0.1 and float(share_timesteps(0, 5, 0.1)) == 0
    assert torch.equal(share_timesteps(torch.rand(6)[::2], 1, 2.0), torch.zeros(3))
    assert diffnotes.share_timesteps is share_timesteps and diffnotes.Shared is Shared


@pytest.mark.parametrize(
    "t, n, t_tilde, error, word",
    [
        (0.1, 0, 0.1, ValueError, "n = 0"), (0.1, -1, 0.1, ValueError, "n = -1"), (0.1, 1.5, 0.1, TypeError, "n = 1.5"),
        (0.1, True, 0.1, TypeError, "n = True"), (0.1, 5, 0.0, ValueError, "t_tilde"),
        (0.1, 5, math.nan, ValueError, "t_tilde"), (0.1, 5, math.inf, ValueError, "t_tilde"),
        (0.1, 5, "x", TypeError, "t_tilde"), (-0.1, 5, 0.1, ValueError, "t ="), (math.nan, 5, 0.1, ValueError, "t ="),
        (math.inf, 5, 0.1, ValueError, "t ="), ("now", 5, 0.1, TypeError, "t ="), (None, 5, 0.1, TypeError, "t ="),
        (torch.tensor([0.1, -1.0]), 5, 0.1, ValueError, "t ="), (torch.tensor([True]), 5, 0.1, TypeError, "bool"),
        (torch.tensor([1j]), 5, 0.1, TypeError, "complex"),
    ],
)  # fmt: skip
def test_sharing_refuses(t, n, t_tilde, error, word):
    with pytest.raises(error, match=word):
        share_timesteps(t, n, t_tilde)


# --- sharing as a value ----------------------------------------------------------------------------------------------


def test_sharing_as_a_value_is_the_function():
    shared = Shared(5, 100)
    t = torch.arange(1001)
    assert torch.equal(shared(t), share_timesteps(t, 5, 100))
    assert shared == Shared(5, 100) and shared != Shared(5, 99) and hash(shared) == hash(Shared(5, 100))
    assert text_of(shared) == "Shared(n=5, t_tilde=100)"


def test_left_ends_are_what_sharing_gives():
    assert left_ends(4, 100).tolist() == [0.0, 25.0, 50.0, 75.0]
    t = torch.linspace(0, 1 - 1e-9, 999, dtype=DOUBLE)
    assert torch.allclose(share_timesteps(t, 7, 1.0).unique(), left_ends(7, 1.0), rtol=1e-14)


@pytest.mark.parametrize("n, t_tilde, error, word", [
    (0, 100, ValueError, "n = 0"), (2.5, 100, TypeError, "n = 2.5"), (5, -1, ValueError, "t_tilde = -1"),
    (5, "all", TypeError, "t_tilde = 'all'"),
])
def test_a_wrong_sharing_is_refused_when_it_is_made(n, t_tilde, error, word):
    with pytest.raises(error, match=word):
        Shared(n, t_tilde)


def test_a_shared_network_knows_no_more_than_the_left_end():
    """The condition's features and input scale at t are those of the plain condition at the left end."""
    chain = Chain.linear(1000)
    for kind in ("t", "log_snr", "sigma"):
        plain = Condition(kind, chain, frequencies=3, data_std=0.7)
        told = Condition(kind, chain, frequencies=3, map=Shared(5, 100), data_std=0.7)
        t = torch.tensor([39, 99, 100, 640])
        left = torch.tensor([20, 80, 100, 640])
        assert torch.equal(told(t), plain(left)) and torch.equal(told.scale(t), plain.scale(left))
    net = Learned(MLP(2, 8, 1, condition=Condition(schedule=chain, map=Shared(5, 100))), chain, "eps")
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(net.predict(x, 37), net.predict(x, 20))
    assert not torch.equal(net.predict(x, 37), net.predict(x, 40))
