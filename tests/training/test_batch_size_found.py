"""``auto_find_batch_size`` finds one, and everything reads the size in force."""

import json

import pytest

from qtuning import read_ledger

from .. import runs, tiny

LIMIT = 2
"""Rows of a micro-batch that the memory holds."""


def with_little_memory(trainer):
    """The trainer on a machine whose memory holds micro-batches of ``LIMIT`` rows; their sizes."""
    sizes: list[tuple[int, int]] = []
    own = trainer.compute_loss

    def limited(model, inputs, *args, **kwargs):
        sizes.append((trainer._train_batch_size, len(inputs["input_ids"])))
        if len(inputs["input_ids"]) > LIMIT:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        return own(model, inputs, *args, **kwargs)

    trainer.compute_loss = limited
    return sizes


SETTINGS = {
    "data": None,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 4,
    "max_steps": 2,
    "auto_find_batch_size": True,
}


@pytest.mark.parametrize(
    "pruning",
    [
        {"sample_ratio": 1.0, "token_pruner": "random"},
        {"sample_ratio": 0.75},
        {"sample_ratio": 0.5, "token_pruner": "none", "pool_factor": 2},
    ],
    ids=str,
)
def test_the_size_that_fits_is_found_and_used(tmp_path, pruning, capsys) -> None:
    # rows of equal length, so that no micro-batch holds more of shorter ones
    rows = [{"prompt": f"{i:02d} + 1 =", "completion": f" {i + 1:03d}"} for i in range(64)]
    data = tiny.Dataset.from_list(rows)
    trainer = runs.pruning(tmp_path, **{**SETTINGS, "data": data}, **pruning)
    sizes = with_little_memory(trainer)
    trainer.train()
    found = trainer._train_batch_size
    assert found == LIMIT
    assert trainer.state.global_step == 2
    last = [rows for size, rows in sizes if size == found]
    assert last
    assert max(last) <= LIMIT
    candidates = found * pruning.get("pool_factor", 1) * 4
    assert f"each optimizer step has {candidates} candidates" in capsys.readouterr().out
    ledger = read_ledger(tmp_path).to_pylist()
    assert [row["step"] for row in ledger] == [1] * candidates + [2] * candidates
    budget = json.loads((tmp_path / "budget.json").read_text())
    assert budget["samples"] == 2 * candidates
