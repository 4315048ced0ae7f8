"""Samples whose loss is weighted: the gradient is that of the weighted mean."""

import json
from dataclasses import replace

import pytest
import torch

from qtuning import read_ledger
from qtuning.core.plane import Selection
from qtuning.pruners.protocols import WEIGHTS
from qtuning.run.record import BUDGET_FILE

from .. import runs, tiny

SGD = {"optim": "sgd", "learning_rate": 0.05, "max_grad_norm": 1e9, "num_train_epochs": 1}
SGD |= {"lr_scheduler_type": "constant", "max_steps": 1, "warmup_steps": 0}


class Every:
    """Keeps all, the first half of them at another weight."""

    needs = frozenset({WEIGHTS})

    def __init__(self, weight):
        self.weight = weight

    def __call__(self, pool, args):
        n = len(pool)
        weight = torch.ones(n, dtype=torch.float64)
        weight[: n // 2] = self.weight
        return replace(Selection.without_plane(torch.ones(n, dtype=torch.bool)), weight=weight)


def train(folder, pruner, **settings):
    trainer = runs.pruning(
        folder,
        model=tiny.llama(),
        sample_pruner=pruner,
        token_pruner="none",
        **{**SGD, **settings},
    )
    trainer.train()
    return trainer


def change(trainer):
    before = tiny.llama().state_dict()
    after = trainer.model.state_dict()
    return torch.cat([(v.cpu() - before[k]).flatten() for k, v in after.items()])


@pytest.mark.parametrize(
    "settings", [{}, {"padding_free": True, "max_length": None}, {"token_mode": "drop"}]
)
def test_equal_weights_are_no_weights(tmp_path, settings):
    plain = train(tmp_path / "a", "full", **settings)
    weighed = train(tmp_path / "b", Every(1.0 + 1e-12), **settings)
    torch.testing.assert_close(change(weighed), change(plain), rtol=1e-3, atol=1e-7)
    a, b = runs.losses(plain), runs.losses(weighed)
    assert a == pytest.approx(b, rel=1e-4)


def test_a_weight_scales_a_samples_part_of_the_gradient(tmp_path):
    """g(w) is linear in w but for the sum of weights, so three runs determine a fourth."""
    parts = {w: change(train(tmp_path / f"{w}", Every(w))) for w in (1.0 + 1e-12, 3.0, 1e9, 1e-9)}
    tokens = [row["n_tokens"] for row in read_ledger(tmp_path / "3.0").to_pylist()]
    half = len(tokens) // 2
    first, second = sum(tokens[:half]), sum(tokens[half:])
    # Alone, either half gives the mean gradient over its own tokens.
    expected = (3 * first * parts[1e9] + second * parts[1e-9]) / (3 * first + second)
    torch.testing.assert_close(parts[3.0], expected, rtol=1e-3, atol=1e-7)


def test_infobatch_trains_on_less_once_samples_are_known(tmp_path):
    trainer = runs.pruning(tmp_path, sample_pruner="infobatch", token_pruner="none")
    trainer.train()
    ledger = read_ledger(tmp_path).to_pylist()
    first = [row for row in ledger if row["epoch"] == 0]
    second = [row for row in ledger if row["epoch"] == 1]
    assert all(row["kept"] for row in first)
    assert not all(row["kept"] for row in second)
    assert all(row["ppl"] is not None for row in second)
    counts = json.loads((tmp_path / BUDGET_FILE).read_text())
    assert counts["scored_samples"] == counts["kept_samples"], "what is left out costs no forward"
    assert counts["scored_tokens"] == counts["trained_tokens"]
