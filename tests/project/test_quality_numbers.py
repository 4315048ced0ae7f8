"""The study's arithmetic against plain references."""

import math

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
