"""Every pruner decides and trains on turns on two gloo processes as on one."""

import json

import pytest
import torch
from safetensors.torch import load_file

from qtuning import read_ledger
from qtuning.run.record import BUDGET_FILE

from .test_two_processes import DECISIONS, forked
from .turns_worker import PAIRS

pytestmark = pytest.mark.cpu("several ranks, which talk over gloo")


@pytest.mark.slow
def test_every_pruner_decides_on_turns_on_two_processes_as_on_one(tmp_path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    forked("tests.distributed.turns_worker", 1, str(one), "4")
    forked("tests.distributed.turns_worker", 2, str(two), "2")
    for pair in map(" ".join, PAIRS):
        first, second = (read_ledger(folder / pair) for folder in (one, two))
        columns = [*DECISIONS, "turn", "kind"]
        assert first.select(columns).equals(second.select(columns)), pair
        assert max(first["turn"].to_pylist()) == 3
        budgets = [json.loads((folder / pair / BUDGET_FILE).read_text()) for folder in (one, two)]
        for name in ("samples", "kept_samples", "scored_tokens", "trained_tokens"):
            assert budgets[0][name] == budgets[1][name], (pair, name)
        weights = [load_file(folder / pair / "model.safetensors") for folder in (one, two)]
        for name, values in weights[0].items():
            torch.testing.assert_close(
                weights[1][name], values, rtol=1e-3, atol=1e-4, msg=lambda m, p=pair: f"{p}: {m}"
            )
