"""Rank correlation against scipy, and what it must not accept."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from diffnotes.measure.ranking import rank_correlation

rows = st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=3, max_size=12)


@given(rows)
def test_rank_correlation_against_scipy(pairs: list[tuple[int, int]]) -> None:
    a, b = torch.tensor(pairs, dtype=torch.float64).T
    if len(a.unique()) == 1 or len(b.unique()) == 1:
        with pytest.raises(ValueError, match="equal values"):
            rank_correlation(a, b)
    else:
        assert float(rank_correlation(a, b)) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)


def test_many_rows_at_once() -> None:
    a, b = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    each = torch.stack([rank_correlation(x, y) for x, y in zip(a, b)])
    assert torch.equal(rank_correlation(a, b), each)
    assert torch.allclose(rank_correlation(a, a.exp()), torch.ones(5, dtype=torch.float64))


@pytest.mark.parametrize(
    ("a", "b"), [([1.0], [1.0]), ([1.0, 2.0], [1.0, 2.0, 3.0]), ([1.0, float("nan")], [1.0, 2.0])]
)
def test_refusals(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="a "):
        rank_correlation(torch.tensor(a), torch.tensor(b))
