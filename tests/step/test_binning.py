"""Samples in bins of a fixed length, and bins in at most n micro-batches a rank."""

from hypothesis import given
from hypothesis import strategies as st

from qtuning.examples.bins import Bins
from qtuning.step.binning import deal_bins, first_fit

SIZE = 20
LENGTHS = st.lists(st.integers(1, SIZE), max_size=40)


@given(lengths=LENGTHS)
def test_first_fit_fills_bins_that_filling_in_turn_fills_alike(lengths) -> None:
    filled = first_fit(lengths, SIZE)
    assert sorted(i for members in filled for i in members) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in members) <= SIZE for members in filled)
    loads = [sum(lengths[i] for i in members) for members in filled]
    for one, (members, load) in enumerate(zip(filled, loads, strict=True)):
        for later in filled[one + 1 :]:
            # At the time it came, the later bin's first sample had no room here; what came to this
            # bin afterwards only makes it fuller.
            assert load + lengths[later[0]] > SIZE, (members, later)


@given(
    kept=st.lists(st.booleans(), min_size=60, max_size=60),
    bins=st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=12, max_size=12),
    rows=st.integers(1, 3),
    ranks=st.integers(1, 2),
)
def test_what_came_in_n_micro_batches_is_dealt_into_n(kept, bins, rows, ranks) -> None:
    """Whatever is kept of the bins that came, in the same order on all ranks."""
    n = -(-len(bins) // (rows * ranks))
    samples = [
        ((number % ranks, number // ranks), length)
        for number, of_bin in enumerate(bins)
        for length in of_bin
    ]
    samples = sorted(one for one, keep in zip(samples, kept, strict=False) if keep)
    homes, lengths = [home for home, _ in samples], [length for _, length in samples]
    dealt = deal_bins(lengths, homes, n, ranks, Bins(SIZE, rows))
    assert len(dealt) == ranks
    assert sorted(i for groups in dealt for group in groups for i in group) == list(
        range(len(lengths))
    )
    for groups in dealt:
        assert len(groups) <= n
        assert all(groups)


def test_samples_stay_at_home_where_first_fit_needs_more_bins() -> None:
    lengths = [5, 3, 2, 4, 3, 3]
    homes = [(0, "a"), (0, "a"), (0, "a"), (0, "b"), (0, "b"), (0, "b")]
    assert len(first_fit(lengths, 10)) == 3
    assert deal_bins(lengths, homes, 1, 1, Bins(10, 2)) == [[[0, 1, 2, 3, 4, 5]]]
    assert deal_bins(lengths, homes, 2, 1, Bins(10, 1)) == [[[0, 1, 2], [3, 4, 5]]]
    assert len(deal_bins(lengths, homes, 3, 1, Bins(10, 1))[0]) == 3


def test_few_samples_are_few_passes_on_every_rank() -> None:
    homes = [(0, i) for i in range(4)]
    assert deal_bins([9, 9, 9, 9], homes, 4, 2, Bins(20, 1)) == [[[0, 2]], [[1, 3]]]
    assert deal_bins([9], homes[:1], 4, 2, Bins(20, 1)) == [[[0]], []]
    # Three bins in micro-batches of at most two: two and one, not three passes.
    assert [len(g) for g in deal_bins([20] * 3, homes[:3], 4, 1, Bins(20, 2))[0]] == [2, 1]
