"""The study's arithmetic against plain references."""

import math
import statistics

import pytest
import quality_numbers as numbers
from hypothesis import given
from hypothesis import strategies as st

FLAGS = st.lists(st.booleans(), max_size=40)


@given(FLAGS)
def test_bits_come_back(flags: list[bool]) -> None:
    packed = numbers.pack_bits(flags)
    assert numbers.unpack_bits(packed, len(flags)) == flags
    assert len(packed) == math.ceil(len(flags) / 4)


def test_bits_are_readable() -> None:
    assert numbers.pack_bits([True, False, False, True, True]) == "98"


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40))
def test_jaccard_is_that_of_sets(pairs: list[tuple[bool, bool]]) -> None:
    a = {i for i, (x, _) in enumerate(pairs) if x}
    b = {i for i, (_, y) in enumerate(pairs) if y}
    expected = len(a & b) / len(a | b) if a | b else 1.0
    assert numbers.jaccard([x for x, _ in pairs], [y for _, y in pairs]) == expected
    assert numbers.jaccard([y for _, y in pairs], [x for x, _ in pairs]) == expected


def test_jaccard_of_different_pools_is_refused() -> None:
    with pytest.raises(ValueError, match="longer"):
        numbers.jaccard([True], [True, False])


def test_chance_jaccard() -> None:
    # Of 1,000,000 items two choices of 1/8 share 1/64, and have 15/64 between them.
    assert numbers.chance_jaccard(0.125) == pytest.approx((1 / 64) / (15 / 64))
    assert numbers.chance_jaccard(1.0) == 1.0


def test_interval_of_three_seeds() -> None:
    values = [1.0, 2.0, 4.5]
    mean, half = numbers.t_interval(values)
    assert mean == pytest.approx(2.5)
    assert half == pytest.approx(4.303 * statistics.stdev(values) / math.sqrt(3))


def test_interval_of_one_seed_is_not_known() -> None:
    interval = numbers.t_interval([3.0])
    assert interval.mean == 3.0
    assert math.isnan(interval.half_width)
    assert not interval.excludes_zero


@pytest.mark.parametrize("n", [0, 22])
def test_interval_needs_some_values(n: int) -> None:
    with pytest.raises(ValueError, match="values"):
        numbers.t_interval([1.0] * n)


def test_excluding_zero() -> None:
    assert numbers.Interval(-2.0, 1.0).excludes_zero
    assert not numbers.Interval(-2.0, 2.5).excludes_zero


def test_t_table_against_the_density() -> None:
    """Each entry has 97.5% of Student's density below it, integrated numerically."""
    for df, quantile in enumerate(numbers._T, start=1):
        log_scale = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
        n = 20_000
        width = quantile / n
        middles = ((i + 0.5) * width for i in range(n))
        half = math.fsum(
            math.exp(log_scale) * (1 + x * x / df) ** (-(df + 1) / 2) * width for x in middles
        )
        assert half == pytest.approx(0.475, abs=4e-5), df
