"""What two sets of decisions disagree about, in numbers."""

import math
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from qtuning.errors import UsageError
from qtuning.offline.diff import QUADRANTS, agreement


def table(rows):
    """Of (name, ppl, kept, quadrant); entropy is a tenth of the perplexity."""
    names, ppl, kept, quadrant = zip(*rows, strict=True)
    return pa.table(
        {
            "sample_id": list(names),
            "ppl": pa.array(ppl, pa.float64()),
            "entropy": pa.array([None if x is None else x / 10 for x in ppl], pa.float64()),
            "n_tokens": [4] * len(names),
            "kept": list(kept),
            "quadrant": list(quadrant),
            "filled": [False] * len(names),
        }
    )


A = table(
    [
        ("a", 2.0, True, 4),
        ("b", 9.0, True, 2),
        ("c", 3.0, False, 3),
        ("d", 5.0, False, 0),
        ("e", 8.0, True, 2),
        ("only here", 1.0, True, 4),
    ]
)
B = table(
    [
        ("e", 80.0, False, 1),
        ("d", 5.5, True, 0),
        ("c", 3.0, False, 3),
        ("new", 1.0, False, 3),
        ("b", 8.0, True, 2),
        ("a", 2.5, False, 3),
    ]
)


def test_samples_are_matched_by_name_and_counted():
    found = agreement(A, B)
    assert found.both == 5
    assert (found.only_a, found.only_b) == (("only here",), ("new",))
    kept = (found.kept_by_both, found.kept_by_a, found.kept_by_b, found.kept_by_neither)
    assert kept == (1, 2, 1, 1)
    assert found.jaccard == 1 / 4
    # A keeps 3 of 5, B 2 of 5: blindly 6/25 by both, 19/25 by either.
    assert found.chance_jaccard == pytest.approx(6 / 19)


def test_quadrants_are_crossed_a_in_rows():
    found = agreement(A, B)
    crossed = {
        (QUADRANTS[i], QUADRANTS[j]): n
        for i, row in enumerate(found.quadrants)
        for j, n in enumerate(row)
        if n
    }
    assert crossed == {(4, 3): 1, (2, 2): 1, (3, 3): 1, (0, 0): 1, (2, 1): 1}


def test_those_decided_differently_come_with_both_decisions_largest_ratio_first():
    found = agreement(A, B)
    assert [one.sample_id for one in found.differing] == ["e", "a", "d"]
    first = found.differing[0]
    assert (first.a.ppl, first.b.ppl, first.a.kept, first.b.kept) == (8.0, 80.0, True, False)
    assert (first.a.quadrant, first.b.quadrant) == (2, 1)
    assert first.change == pytest.approx(math.log(10))


@pytest.mark.parametrize("unknown", [None, math.nan, math.inf, 0.0])
def test_unknown_perplexities_come_last_and_do_not_correlate(unknown):
    before = table([("x", unknown, True, 0), ("y", 1.0, True, 0), ("z", 2.0, False, 0)])
    after = table([("x", 5.0, False, 0), ("y", 1.0, False, 0), ("z", 2.0, False, 0)])
    found = agreement(before, after)
    assert [one.sample_id for one in found.differing] == ["y", "x"]
    assert found.ppl_correlation == pytest.approx(1.0 if unknown != 0.0 else -0.5)


def test_the_same_twice_agrees():
    found = agreement(A, A)
    assert (found.jaccard, found.kappa, found.differing) == (1.0, 1.0, ())
    assert (found.ppl_correlation, found.entropy_correlation) == (pytest.approx(1.0),) * 2


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_kappa_is_that_of_its_definition(pairs):
    first = table([(str(i), 2.0 + i, one, 0) for i, (one, _) in enumerate(pairs)])
    second = table([(str(i), 2.0 + i, other, 0) for i, (_, other) in enumerate(pairs)])
    found = agreement(first, second)
    mine, yours = zip(*pairs, strict=True)
    assert found.both == len(pairs)
    assert len(found.differing) == found.kept_by_a + found.kept_by_b
    assert agreement(second, first).jaccard == pytest.approx(found.jaccard, nan_ok=True)
    observed = Fraction(sum(one == other for one, other in pairs), len(pairs))
    # Blind choice at the same shares: any of A's decisions beside any of B's.
    blind = Fraction(sum(one == other for one in mine for other in yours), len(pairs) ** 2)
    if blind == 1:
        assert math.isnan(found.kappa)
    else:
        assert found.kappa == pytest.approx(float((observed - blind) / (1 - blind)))


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=3, max_size=40).filter(
        lambda pairs: all(len(set(column)) > 1 for column in zip(*pairs, strict=True))
    )
)
def test_rank_correlations_are_those_of_scipy(pairs):
    first = table([(str(i), float(x), True, 0) for i, (x, _) in enumerate(pairs)])
    second = table([(str(i), float(y), True, 0) for i, (_, y) in enumerate(pairs)])
    expected = spearmanr(*zip(*pairs, strict=True)).statistic
    assert agreement(first, second).ppl_correlation == pytest.approx(expected)
    assert agreement(first, second).entropy_correlation == pytest.approx(expected)


def test_another_number_of_tokens_is_counted():
    longer = A.set_column(3, "n_tokens", pa.array([4, 5, 4, 4, 6, 4]))
    assert agreement(A, longer).other_length == 2


def test_nothing_in_common_is_an_error_that_names_some():
    other = table([("x", 1.0, True, 0)])
    with pytest.raises(UsageError, match=r"no sample is in both: A names them 'a', 'b', \.\.\., B"):
        agreement(A, other)


def test_two_samples_of_one_name_cannot_be_compared():
    twice = table([("a", 1.0, True, 0), ("a", 2.0, True, 0)])
    with pytest.raises(UsageError, match="B: 2 samples are called 'a'"):
        agreement(A, twice)


def test_as_plain_data_there_is_no_nan():
    nothing = table([("a", None, False, 0)])
    plain = agreement(nothing, nothing).to_dict()
    assert plain["kept"]["jaccard"] is None
    assert plain["kept"]["kappa"] is None
    assert plain["rank_correlation"] == {"ppl": None, "entropy": None}
    assert plain["samples"]["both"] == 1
