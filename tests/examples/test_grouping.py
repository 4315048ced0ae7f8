"""Grouping by length: the groups of the quadratic search, in steps in proportion to the rows."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtuning.examples.grouping import group_by_length


def naive(lengths: Sequence[int], size: int, overhead: int) -> list[list[int]]:
    """Of all places where a group may start, the first at the least cost: n^2 of them."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    falling = np.array([lengths[i] for i in order], dtype=np.int64)
    lowest = np.zeros(len(order) + 1, dtype=np.int64)
    starts = []
    for i in range(len(order)):
        padded = falling[: i + 1] * (i + 1 - np.arange(i + 1))
        fits = padded <= size
        fits[i] = True
        costs = np.where(fits, lowest[: i + 1] + padded + overhead, np.iinfo(np.int64).max)
        starts.append(int(costs.argmin()))
        lowest[i + 1] = costs.min()
    groups = []
    stop = len(order)
    while stop:
        groups.append(order[starts[stop - 1] : stop])
        stop = starts[stop - 1]
    return groups[::-1]


@settings(max_examples=500)
@given(data=st.data(), longest=st.sampled_from([1, 3, 12, 400]), overhead=st.integers(0, 80))
def test_the_groups_are_those_of_the_quadratic_search_ties_included(data, longest, overhead):
    lengths = data.draw(st.lists(st.integers(0, longest), max_size=60))
    size = data.draw(st.integers(0, 12 * longest))
    assert group_by_length(lengths, size, overhead) == naive(lengths, size, overhead)


@pytest.mark.parametrize("overhead", [0, 64, 512])
@pytest.mark.parametrize("rows", [1, 8, 10_000])
def test_so_they_are_for_thousands_of_rows(rows, overhead):
    draw = random.Random(0)
    lengths = [1 + int(draw.lognormvariate(4.5, 1.0)) for _ in range(3000)]
    size = rows * max(lengths)
    assert group_by_length(lengths, size, overhead) == naive(lengths, size, overhead)


class Counted(int):
    """A length that counts how often it is multiplied: once or twice for every cost looked at."""

    n = 0

    def __mul__(self, other: int) -> int:
        Counted.n += 1
        return int(self) * other


@pytest.mark.parametrize("one_long", [False, True])
def test_the_costs_looked_at_are_in_proportion_to_the_rows(one_long):
    """Also where a group may hold all the short rows, since one is long."""
    draw, n = random.Random(0), 30_000
    lengths = [Counted(draw.randint(20, 1000)) for _ in range(n)]
    if one_long:
        lengths = [Counted(10**6), *(Counted(2 + length % 3) for length in lengths[1:])]
    Counted.n = 0
    groups = group_by_length(lengths, 8 * max(lengths), 64)
    assert sum(map(len, groups)) == n
    assert n <= Counted.n <= 6 * n
