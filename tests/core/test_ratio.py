"""The budget is max(1, floor(ratio * n)), as the ratio was written, not as binary rounds it."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtuning.core.ratio import keep_count


@pytest.mark.parametrize(
    ("n", "ratio", "expected"),
    [
        (8, 0.125, 1),
        (8, 0.25, 2),
        (8, 0.3, 2),
        (8, 0.99, 7),
        (8, 1.0, 8),
        (8, 1, 8),
        (1, 0.5, 1),
        (3, 0.1, 1),
        (7, 1e-12, 1),
        (100, 0.29, 29),  # 28.999999999999996
        (100, 0.57, 57),  # 56.99999999999999
        (100, 0.58, 58),  # 57.99999999999999
        (100, 0.07, 7),  # 7.000000000000001
        (1000, 0.001, 1),
        (1000, 0.009, 9),
        (3, 1 / 3, 1),
        (3, 2 / 3, 2),
        (10, 0.29, 2),
        (10, 0.2999999, 2),
        (1_000_000, 0.999999, 999_999),
        (0, 0.5, 0),
        (0, 1.0, 0),
    ],
)
def test_table(n: int, ratio: float, expected: int) -> None:
    assert keep_count(n, ratio) == expected


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 10_000), st.integers(1, 1000), st.data())
def test_a_fraction_is_floored_as_a_fraction(n: int, whole: int, data: st.DataObject) -> None:
    part = data.draw(st.integers(1, whole))
    assert keep_count(n, part / whole) == max(1, part * n // whole)


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.0000001, 2.0, math.nan, math.inf, -math.inf])
def test_a_ratio_outside_0_1_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match=r"keep ratio must lie in \(0, 1\]"):
        keep_count(10, ratio)
