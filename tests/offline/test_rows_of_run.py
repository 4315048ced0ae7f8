"""The rows of a run's data by the names that training gave them, and reasons in words."""

import json

import pyarrow as pa
import pytest

from qtuning import PruningArguments, UsageError
from qtuning.core.plane import QUADRANT_NAMES
from qtuning.offline.prune import decide_offline
from qtuning.offline.reasons import BAD, EMPTY, reason, why_of
from qtuning.offline.rows_of_run import places_of, read_rows_of_run


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        ([{"prompt": "a"}, {"prompt": "b"}], ["0", "1"]),
        ([{"id": 7, "prompt": "a"}, {"id": 9, "prompt": "b"}], ["7", "9"]),
        ([{"id": "x", "sample_id": "y"}, {"id": "z", "sample_id": None}], ["y", "z"]),
    ],
)
def test_rows_have_the_names_of_training(tmp_path, rows, names) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    table, origin = read_rows_of_run(path)
    assert table["sample_id"].to_pylist() == names
    assert origin is None


def test_places_are_found_by_name_and_null_where_there_is_none() -> None:
    rows = pa.table({"sample_id": ["a", "b", "c"]})
    places, differing = places_of(pa.array(["c", "x", "a"]), rows)
    assert places.to_pylist() == [2, None, 0]
    assert differing == []
    with pytest.raises(UsageError, match="give the data that the run was of"):
        places_of(pa.array(["x"]), rows)


def test_a_name_of_rows_that_differ_has_no_place() -> None:
    rows = pa.table({"sample_id": ["a", "b", "a", "b"], "text": ["1", "2", "1", "3"]})
    places, differing = places_of(pa.array(["b", "a"]), rows)
    assert places.to_pylist() == [None, 0]
    assert differing == ["b"]


def test_each_decision_has_its_reason() -> None:
    assert reason(True, False, QUADRANT_NAMES[2]) == "kept: valuable misconception"
    assert reason(False, False, why_of(1)) == "dropped: harmful noise"
    assert reason(True, True, why_of(3)) == "kept to fill the budget (redundant knowledge)"
    assert why_of(0) == "middle band, or chosen without it"
    assert why_of(0, bad=True) == BAD
    assert why_of(0, bad=True, empty=True) == EMPTY


def test_a_scored_row_without_an_answer_is_dropped_for_that() -> None:
    scores = pa.table(
        {
            "sample_id": ["a", "b", "c"],
            "ppl": [2.0, None, 3.0],
            "entropy": [1.0, None, 2.0],
            "n_tokens": [4, 0, 4],
        }
    )
    args = PruningArguments(sample_ratio=0.5, token_ratio=1.0)
    assert decide_offline(scores, args).reasons()[1] == "dropped: no answer tokens"
