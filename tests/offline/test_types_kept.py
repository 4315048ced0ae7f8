"""Values of a user's file come through score, prune and reports as they stand in it."""

import csv
import json

import pyarrow.parquet as pq
import pytest

from qtuning.commands.main import main
from qtuning.offline.read import read_table

from ..io.loading import rows_of
from .conftest import run_score

ROWS = [
    {"id": "00501", "prompt": "Sodium", "completion": "NA"},
    {"id": "1e3", "prompt": "2020-01-01", "completion": "1969-07-20"},
    {"id": "", "prompt": "Half of 8", "completion": "4"},
    {"id": "x", "prompt": "None", "completion": "null"},
]


@pytest.fixture(params=["csv", "jsonl"])
def data(request, tmp_path):
    path = tmp_path / f"data.{request.param}"
    with path.open("w", newline="") as file:
        if request.param == "jsonl":
            file.writelines(json.dumps(row) + "\n" for row in ROWS)
        else:
            writer = csv.DictWriter(file, list(ROWS[0]))
            writer.writeheader()
            writer.writerows(ROWS)
    return path


@pytest.mark.parametrize("streaming", ["false", "true"])
def test_through_score_and_prune(model, data, tmp_path, streaming):
    scores = tmp_path / "scores.parquet"
    assert run_score(model, data, scores, "--dataset_streaming", streaming) == 0
    assert pq.read_table(scores).select(list(ROWS[0])).to_pylist() == ROWS
    for kind in ("parquet", "jsonl"):
        kept = tmp_path / f"kept.{kind}"
        options = ["--format", kind, "--sample_ratio", "1.0", "--token_ratio", "1.0"]
        assert main(["prune", str(scores), *options, "--output", str(kept)]) == 0
        assert [{name: row[name] for name in ROWS[0]} for row in rows_of(kept)] == ROWS


def test_as_rows_of_a_report(data):
    assert read_table(data).to_pylist() == ROWS
