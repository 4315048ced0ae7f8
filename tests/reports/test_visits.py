import numpy as np
import pyarrow as pa
import pytest

from qtuning.core.plane import BAND, Q1, Q2, Q3, Q4
from qtuning.reports.over_time import migrations, most_often_dropped, quadrant_shares
from qtuning.reports.visits import thinned, visits_of


def ledger(rows):
    """Rows of (epoch, step, id, quadrant, kept)."""
    epoch, step, ids, quadrant, kept = zip(*rows, strict=True)
    n = len(rows)
    return pa.table(
        {
            "epoch": epoch,
            "step": step,
            "sample_id": ids,
            "ppl": [2.0] * n,
            "entropy": [1.0] * n,
            "n_tokens": [4] * n,
            "quadrant": quadrant,
            "kept": kept,
            "filled": [False] * n,
            "tokens_kept": [4 * k for k in kept],
        }
    )


TWO_EPOCHS = ledger(
    [
        (0, 1, "a", Q1, False),
        (0, 1, "b", Q2, True),
        (0, 2, "c", Q3, False),
        (1, 3, "b", Q4, True),
        (1, 3, "c", Q3, False),
        (1, 4, "a", Q1, False),
    ]
)


def visits(table=TWO_EPOCHS):
    return visits_of(table, by_id=True)[0]


def test_visits_of_a_ledger_share_their_sample():
    found, names, first = visits_of(TWO_EPOCHS, by_id=True)
    assert names == ["a", "b", "c"]
    assert found.sample.tolist() == [0, 1, 2, 1, 2, 0]
    assert first.tolist() == [0, 1, 2]


def test_rows_of_scores_are_samples_each_even_with_the_same_name():
    table = ledger([(0, 0, "a", Q1, True)] * 2)
    found, names, _ = visits_of(table, by_id=False)
    assert names == ["a", "a"]
    assert found.sample.tolist() == [0, 1]


def test_rows_without_answer_tokens_are_no_candidates():
    table = TWO_EPOCHS.set_column(5, "n_tokens", pa.array([4, 0, 4, 4, 4, 4]))
    assert len(visits(table)) == 5


def test_shares_of_each_step_sum_to_one():
    shares = quadrant_shares(visits())
    assert shares["steps"] == [1, 2, 3, 4]
    assert np.allclose(np.sum(shares["layers"], axis=0), 1)
    assert shares["layers"][0] == [0.5, 0, 0, 1], "Q1"
    assert quadrant_shares(visits(TWO_EPOCHS.slice(0, 2))) is None, "one step is no course"


def test_migrations_follow_samples():
    (only,) = migrations(visits())
    assert (only["from"], only["to"]) == (0, 1)
    counts = np.array(only["counts"])
    assert counts.sum() == 3
    assert counts[Q1, Q1] == counts[Q2, Q4] == counts[Q3, Q3] == 1
    assert counts[BAND].sum() == 0


def test_most_often_dropped():
    found = most_often_dropped(visits(), 5)
    assert found == {"samples": [0, 2], "dropped": {0: 2, 2: 2}, "visits": {0: 2, 2: 2}}
    assert most_often_dropped(visits(TWO_EPOCHS.slice(0, 3)), 5) is None


@pytest.mark.parametrize("most", [30, 55, 99])
def test_thinning_keeps_whole_steps(most):
    table = ledger([(0, 1 + i // 10, f"s{i}", BAND, False) for i in range(100)])
    found = thinned(visits(table), most)
    assert 0 < len(found) <= most
    steps, counts = np.unique(found.step, return_counts=True)
    assert set(counts) == {10}
    assert steps[0] == 1


def test_a_single_pool_is_thinned_at_random():
    table = ledger([(0, 1, f"s{i}", BAND, False) for i in range(100)])
    found = thinned(visits(table), 30)
    assert len(found) == 30
    assert len(set(found.sample.tolist())) == 30
    assert thinned(visits(table), 100) is not None
    assert len(thinned(visits(table), 100)) == 100
