"""What the grid of docs/cheaper-scoring.md reads beside the model and the data sets."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
import yaml

from qtuning.compare.grid import read_grid
from qtuning.compare.rows import training_rows
from qtuning.io.models import load_causal_lm, load_tokenizer

from .test_grid import GRID, folder  # noqa: F401 - a fixture

SCRIPT = Path(__file__).parents[2] / "study" / "cheaper_scoring.py"


@pytest.fixture
def script(folder, monkeypatch):  # noqa: F811
    spec = importlib.util.spec_from_file_location("cheaper_scoring", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump({**GRID, "data": {"word_problems": GRID["data"]["sums"]}}))
    monkeypatch.setattr(module, "GRID", path)
    monkeypatch.setattr(module, "LAYERS", 1)
    monkeypatch.setattr(module, "OTHERS", 5)
    return module


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_scorer_learns_nothing_that_the_grid_trains_on(script, tmp_path):
    script.main(tmp_path / "made")
    trained_on = training_rows(read_grid(script.GRID).data["word_problems"])
    scored = rows_of(tmp_path / "made" / "rows.jsonl")
    names = ("id", "prompt", "completion")
    assert scored == [{name: row[name] for name in names} for row in trained_on]
    others = rows_of(tmp_path / "made" / "others.jsonl")
    assert len(others) == 5
    assert not {row["id"] for row in others} & {row["id"] for row in scored}


def test_the_smaller_scorer_is_the_models_beginning(script, folder, tmp_path):  # noqa: F811
    script.cut(str(folder / "model"), 1, tmp_path / "cut")
    whole, cut = (load_causal_lm(str(path)) for path in (folder / "model", tmp_path / "cut"))
    kept, weights = cut.state_dict(), whole.state_dict()
    assert len(cut.base_model.layers) == 1 < len(whole.base_model.layers)
    assert all(torch.equal(weights[name], weight) for name, weight in kept.items())
    ids = [
        load_tokenizer(str(path))("3 plus 4 =").input_ids
        for path in (folder / "model", tmp_path / "cut")
    ]
    assert ids[0] == ids[1]
