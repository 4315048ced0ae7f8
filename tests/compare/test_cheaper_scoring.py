"""The rows that the grid of docs/cheaper-scoring.md has scored beforehand."""

import importlib.util
import json
from pathlib import Path

import yaml

from qtuning.compare.grid import read_grid
from qtuning.compare.rows import training_rows

from .test_grid import GRID, folder  # noqa: F401 - a fixture

SCRIPT = Path(__file__).parents[2] / "study" / "cheaper_scoring.py"


def test_the_rows_to_score_are_those_that_the_grid_trains_on(folder, monkeypatch):  # noqa: F811
    spec = importlib.util.spec_from_file_location("cheaper_scoring", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(GRID))
    monkeypatch.setattr(script, "GRID", path)
    script.main(folder / "made")
    lines = (folder / "made" / "rows.jsonl").read_text().splitlines()
    trained_on = training_rows(read_grid(path).data["sums"])
    names = ("id", "prompt", "completion")
    assert list(map(json.loads, lines)) == [
        {name: row[name] for name in names} for row in trained_on
    ]
