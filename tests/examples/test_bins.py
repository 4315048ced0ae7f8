"""Bins read as packed rows, and rows and samples put back into bins."""

from hypothesis import given
from hypothesis import strategies as st

from qtuning.examples.bins import BinCollator, Bins, as_rows, collator_of
from qtuning.examples.example import unpack
from qtuning.step.binning import deal_bins

LENGTH = 20


def sample(number: int, length: int, **more):
    tokens = [100 * number + place for place in range(length)]
    return {
        "input_ids": tokens,
        "labels": list(tokens),
        "position_ids": list(range(length)),
        **more,
    }


@given(lengths=st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1))
def test_a_bin_comes_out_of_its_row_as_it_went_in(lengths) -> None:
    """Also samples of one token, and as many samples as tokens."""
    bins = [
        [sample(i, length, sample_id=f"s{number}-{i}") for i, length in enumerate(of_bin)]
        for number, of_bin in enumerate(lengths)
    ]
    rows = as_rows(bins)
    assert [len(row["input_ids"]) for row in rows] == [sum(of_bin) for of_bin in lengths]
    assert [unpack(row) for row in rows] == bins
    nameless = [[{k: v for k, v in one.items() if k != "sample_id"} for one in b] for b in bins]
    assert BinCollator(lambda bins: {"bins": bins}, 5)(as_rows(nameless)) == {"bins": nameless}


def test_what_is_no_bin_stays_as_it_is() -> None:
    rows = [sample(1, 3), sample(2, 4)]
    assert as_rows(rows) == rows
    assert collator_of(len, None) is len


@given(
    lengths=st.lists(st.integers(2, LENGTH), min_size=1, max_size=30),
    rows=st.integers(1, 3),
    ranks=st.integers(1, 3),
)
def test_samples_come_out_in_the_bins_that_they_were_dealt_into(lengths, rows, ranks) -> None:
    bins = Bins(LENGTH, rows)
    homes = [(i % ranks, i) for i in range(len(lengths))]  # a bin of its own for each
    dealt = deal_bins(lengths, homes, len(lengths), ranks, bins)
    collate = collator_of(lambda bins: {"bins": bins}, bins)
    for groups in dealt:
        for group in groups:
            out = collate([sample(i, lengths[i]) for i in group])["bins"]
            assert len(out) <= rows
            assert all(sum(len(one["input_ids"]) for one in b) <= LENGTH for b in out)
            kept = [one for of_bin in out for one in of_bin]
            assert [one["input_ids"][0] // 100 for one in kept] == group
            assert all(one["position_ids"] == list(range(len(one["labels"]))) for one in kept)


def test_the_first_token_of_a_sample_is_not_predicted_from_the_sample_before() -> None:
    [of_bin] = BinCollator(lambda bins: {"bins": bins}, 9)([sample(1, 3), sample(2, 4)])["bins"]
    assert [one["labels"] for one in of_bin] == [[-100, 101, 102], [-100, 201, 202, 203]]
    assert BinCollator(lambda bins: {"n": len(bins)}, 6)([sample(1, 3), sample(2, 4)]) == {"n": 2}
