"""Every pruner decides and trains on two gloo processes as on one."""

import pytest
import torch
from safetensors.torch import load_file

from qtuning import read_ledger

from .. import tiny
from .test_two_processes import DECISIONS, forked

pytestmark = pytest.mark.cpu("several ranks, which talk over gloo")


@pytest.mark.slow
def test_every_pruner_decides_and_trains_on_two_processes_as_on_one(tmp_path) -> None:
    reference = tiny.save_model(tmp_path / "reference", seed=3)
    one, two = tmp_path / "one", tmp_path / "two"
    module = "tests.distributed.every_pruner"
    forked(module, 1, str(one), str(reference), "4")
    forked(module, 2, str(two), str(reference), "2")
    pairs = sorted(folder.name for folder in one.iterdir())
    assert len(pairs) > 20
    for pair in pairs:
        first, second = read_ledger(one / pair), read_ledger(two / pair)
        assert first.select(DECISIONS).equals(second.select(DECISIONS)), pair
        weights = [load_file(folder / pair / "model.safetensors") for folder in (one, two)]
        for name, values in weights[0].items():
            torch.testing.assert_close(
                weights[1][name], values, rtol=1e-3, atol=1e-4, msg=lambda m, p=pair: f"{p}: {m}"
            )
