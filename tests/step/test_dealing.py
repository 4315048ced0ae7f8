"""Grouping by length against all possible cuts, dealing at most n, sharing out between ranks."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtuning.examples.grouping import group_by_length
from qtuning.examples.pass_size import pass_overhead
from qtuning.step.dealing import deal, share_near, share_out

LENGTHS = st.lists(st.integers(1, 40), max_size=24)
FEW = st.lists(st.integers(1, 12), max_size=7)
OVERHEAD = st.integers(0, 20)


def padded(lengths: Sequence[int], group: Sequence[int]) -> int:
    return max(lengths[i] for i in group) * len(group)


def cost(lengths: Sequence[int], groups: Sequence[Sequence[int]], overhead: int) -> int:
    return sum(padded(lengths, group) + overhead for group in groups)


def cuts(order: list[int]) -> Iterator[list[list[int]]]:
    """All ways to cut ``order`` into parts."""
    if not order:
        yield []
    for cut in range(1, len(order) + 1):
        for rest in cuts(order[cut:]):
            yield [order[:cut], *rest]


def best_cost(lengths: Sequence[int], size: int, overhead: int, n: int) -> int | None:
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    costs = [
        cost(lengths, groups, overhead)
        for groups in cuts(order)
        if len(groups) <= n
        and all(len(group) == 1 or padded(lengths, group) <= size for group in groups)
    ]
    return min(costs, default=None)


@given(lengths=LENGTHS, size=st.integers(1, 200), overhead=OVERHEAD)
def test_every_sample_is_in_one_group_that_fits_the_longest_first(lengths, size, overhead):
    groups = group_by_length(lengths, size, overhead)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    assert all(len(group) == 1 or padded(lengths, group) <= size for group in groups)
    in_order = [lengths[i] for group in groups for i in group]
    assert in_order == sorted(lengths, reverse=True)


@given(lengths=FEW, size=st.integers(1, 60), overhead=OVERHEAD)
def test_grouping_is_the_cheapest_cut_of_the_sorted_lengths(lengths, size, overhead):
    groups = group_by_length(lengths, size, overhead)
    assert cost(lengths, groups, overhead) == best_cost(lengths, size, overhead, len(lengths))


@given(lengths=LENGTHS, size=st.integers(1, 200))
def test_grouping_is_the_same_every_time(lengths, size):
    assert group_by_length(lengths, size, 5) == group_by_length(list(lengths), size, 5)


def test_padding_is_paid_for_only_where_a_pass_of_its_own_costs_more():
    assert group_by_length([10, 100, 12, 98], 400, overhead=30) == [[1, 3], [2, 0]]
    assert group_by_length([10, 100, 12, 98], 400, overhead=300) == [[1, 3, 2, 0]]
    assert group_by_length([10, 100, 12, 98], 400, overhead=0) == [[1], [3], [2], [0]]


@given(lengths=LENGTHS, n=st.integers(1, 8), size=st.integers(1, 200), overhead=st.integers(0, 100))
def test_dealing_gives_at_most_n_micro_batches_with_every_sample_once(lengths, n, size, overhead):
    groups = deal(lengths, n, size, overhead)
    assert len(groups) <= n
    assert all(groups)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))


@given(lengths=FEW, n=st.integers(1, 4), size=st.integers(1, 60))
def test_micro_batches_grow_beyond_the_size_only_as_far_as_n_of_them_must(lengths, n, size):
    """The naive way: of all cuts into at most n parts, the smallest costliest part."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    needed = min(
        (
            max((padded(lengths, group) for group in groups), default=0)
            for groups in cuts(order)
            if len(groups) <= n
        ),
    )
    groups = deal(lengths, n, size, 0)
    assert all(padded(lengths, group) <= max(size, needed) for group in groups)


@given(lengths=FEW, n=st.integers(1, 4), size=st.integers(1, 60), overhead=OVERHEAD)
def test_where_n_do_not_bind_dealing_is_grouping(lengths, n, size, overhead):
    free = group_by_length(lengths, size, overhead)
    if len(free) <= n:
        dealt = deal(lengths, n, size, overhead)
        assert cost(lengths, dealt, overhead) <= cost(lengths, free, overhead)


def test_few_samples_share_a_micro_batch_rather_than_taking_one_each():
    assert deal([50, 60, 55, 40], n=4, size=8 * 60, overhead=64) == [[1, 2, 0, 3]]
    assert deal([50, 60, 55, 40], n=4, size=60, overhead=64) == [[1], [2], [0], [3]]
    assert deal([], 3, 10, 1) == []
    assert deal([7], 1, 1, 0) == [[0]]


@given(lengths=LENGTHS, ranks=st.integers(1, 6))
def test_sharing_out_leaves_no_rank_with_much_more_than_the_others(lengths, ranks):
    shares = share_out(lengths, ranks)
    assert len(shares) == ranks
    assert sorted(i for share in shares for i in share) == list(range(len(lengths)))
    assert all(share == sorted(share) for share in shares)
    loads = [sum(lengths[i] for i in share) for share in shares]
    # Longest first: nobody is ahead by more than the sample that was dealt last to it.
    assert max(loads) - min(loads) <= max(lengths, default=0)


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_a_pass_costs_something_on_any_device(device):
    assert pass_overhead(device) > 0


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 3)), max_size=40),
)
def test_sharing_near_moves_little_and_leaves_no_move_that_would_help(samples) -> None:
    lengths, homes = [n for n, _ in samples], [home for _, home in samples]
    shares = share_near(lengths, homes, 4)
    assert sorted(i for share in shares for i in share) == list(range(len(lengths)))
    loads = [sum(lengths[i] for i in share) for share in shares]
    before = [sum(n for n, home in samples if home == rank) for rank in range(4)]
    assert max(loads) <= max(before)
    gap = max(loads) - min(loads)
    fullest = shares[loads.index(max(loads))]
    assert not any(0 < lengths[i] < gap for i in fullest)
    even = share_near([5, 5, 7, 7], [0, 1, 0, 1], 2)
    assert even == [[0, 2], [1, 3]], "where nothing would be gained nothing is moved"
