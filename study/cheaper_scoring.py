"""Make the inputs of the grid cheaper_scoring.yaml, other than the model and the data sets.

    python study/cheaper_scoring.py runs/cheaper_scoring

Writes ``rows.jsonl``, all rows that the grid trains on, for ``qtuning score``; ``others.jsonl``,
word problems that the grid does not train on; and ``cut``, the first layers of the model, which
``qtuning train`` trains on ``others.jsonl`` to a smaller scorer. The commands are in the first
lines of the grid.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from qtuning.compare.grid import read_grid
from qtuning.compare.rows import training_rows
from qtuning.io.models import load_causal_lm, load_tokenizer

GRID = Path(__file__).with_suffix(".yaml")
LAYERS = 10
OTHERS = 500


def main(folder: Path) -> None:
    """Write rows, other rows and the cut model into a folder."""
    grid = read_grid(GRID)
    folder.mkdir(parents=True, exist_ok=True)
    rows = {row["id"]: row for data in grid.data.values() for row in training_rows(data)}
    write_rows(rows.values(), folder / "rows.jsonl")
    word_problems = training_rows(replace(grid.data["word_problems"], train_rows=None))
    others = [row for row in word_problems if row["id"] not in rows]
    write_rows(others[:OTHERS], folder / "others.jsonl")
    cut(next(iter(grid.models.values())), LAYERS, folder / "cut")


def write_rows(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Write rows as JSON Lines, with the prompts of the grid's runs."""
    names = ("id", "prompt", "completion")
    lines = [json.dumps({name: row[name] for name in names}, ensure_ascii=False) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def cut(model: str, layers: int, folder: Path) -> None:
    """Save a model's first layers, with its embeddings, last norm, head and tokenizer."""
    causal_lm = load_causal_lm(model)
    causal_lm.base_model.layers = nn.ModuleList(list(causal_lm.base_model.layers)[:layers])
    causal_lm.config.num_hidden_layers = layers
    if causal_lm.config.to_dict().get("layer_types"):
        causal_lm.config.layer_types = causal_lm.config.layer_types[:layers]
    causal_lm.save_pretrained(folder)
    load_tokenizer(model).save_pretrained(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
