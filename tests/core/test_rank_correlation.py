import math

import pytest
import torch
from hypothesis import given, settings

from qtuning import rank_correlation

from .naive_plane import (
    naive_spearman,
    pools,
)


@settings(deadline=None, max_examples=80)
@given(pool=pools())
def test_rank_correlation_is_spearmans(pool: tuple[list[float], list[float]]) -> None:
    x, y = (torch.tensor(axis, dtype=torch.float64) for axis in pool)
    rho = rank_correlation(x, y)
    assert rho == pytest.approx(naive_spearman(*pool), abs=1e-12, nan_ok=True)
    assert math.isnan(rho) == (len(set(pool[0])) == 1 or len(set(pool[1])) == 1)
    assert not abs(rho) > 1 + 1e-12


@pytest.mark.parametrize(
    ("x", "y", "rho"),
    [
        ([1, 2, 3], [10, 20, 1000], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([1, 2, 3, 4], [2, 1, 4, 3], 0.6),
        ([1, 1, 2], [1, 2, 3], math.sqrt(3) / 2),  # ranks 1.5, 1.5, 3
        ([1, 2, 3, 4], [1, 4, 4, 1], 0.0),
        ([5, 5, 5], [1, 2, 3], math.nan),
        ([1], [1], math.nan),
    ],
)
def test_rank_correlation_by_hand(x: list[float], y: list[float], rho: float) -> None:
    got = rank_correlation(torch.tensor(x, dtype=torch.float64), torch.tensor(y).double())
    assert got == pytest.approx(rho, abs=1e-12, nan_ok=True)
