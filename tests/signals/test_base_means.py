"""The mean NLL under the model before training: of all candidates, once, and kept."""

import json

import pytest
import torch
from peft import LoraConfig

from qtuning import read_ledger
from qtuning.pruners.protocols import BASE_MEAN, SCORES
from qtuning.run.record import BUDGET_FILE, REFERENCE_FILE
from qtuning.signals.reference_store import ReferenceStore

from .. import runs, tiny
from .test_reference import nll_of


class Seen:
    """Keeps half of each pool, and what it was shown."""

    needs = frozenset({SCORES, BASE_MEAN})

    def __init__(self):
        self.pools = []

    def __call__(self, pool, args):
        self.pools.append(pool)
        return torch.arange(len(pool)) % 2 == 0


@pytest.mark.parametrize("peft", [None, LoraConfig(r=2, target_modules=["q_proj"])])
def test_it_is_that_of_the_model_before_training(tmp_path, peft):
    seen = Seen()
    settings = {"sample_pruner": seen, "token_pruner": "none", "learning_rate": 0.05}
    trainer = runs.pruning(tmp_path, model=tiny.llama(), peft=peft, **settings)
    trainer.train()
    untrained = tiny.llama()
    assert sum(map(len, seen.pools)) == 48
    for pool in seen.pools:
        assert pool.extras[BASE_MEAN].shape == (len(pool), 1)
        for name, mean in zip(pool.sample_ids, pool.extras[BASE_MEAN][:, 0], strict=True):
            expected = nll_of(untrained, trainer, name).double().mean()
            assert float(mean) == pytest.approx(float(expected), rel=1e-4)
    changes = [pool.ppl.log() - pool.extras[BASE_MEAN][:, 0] for pool in seen.pools]
    assert float(changes[0].abs().max()) < 1e-4, "nothing is learnt before the first step"
    assert float(changes[-1].abs().max()) > 1e-2


def test_a_named_reference_scores_every_candidate_once_and_checkpoints_hold_it(tmp_path):
    folder = tiny.save_model(tmp_path / "reference", seed=5)
    seen = Seen()
    trainer = runs.pruning(
        tmp_path / "run",
        model=tiny.llama(),
        sample_pruner=seen,
        token_pruner="ss-token",  # reads the same NLL, token by token
        num_train_epochs=3,
        reference_model_name_or_path=str(folder),
        save_strategy="steps",
        save_steps=3,
    )
    trainer.train()
    other = tiny.llama(seed=5)
    for name, mean in zip(seen.pools[-1].sample_ids, seen.pools[-1].extras[BASE_MEAN], strict=True):
        expected = float(nll_of(other, trainer, name).double().mean())
        assert float(mean) == pytest.approx(expected, rel=1e-4)
    n_input = sum(len(row["input_ids"]) for row in trainer.train_dataset)
    counts = json.loads((tmp_path / "run" / BUDGET_FILE).read_text())
    assert counts["scored_tokens"] == 3 * n_input + n_input
    store = ReferenceStore()
    store.load(tmp_path / "run" / "checkpoint-3" / REFERENCE_FILE)
    assert len(store) == 24


def test_tail_drops_what_has_been_learnt_most(tmp_path):
    trainer = runs.pruning(
        tmp_path,
        model=tiny.llama(),
        sample_pruner="tail",
        token_pruner="none",
        tail_schedule="fixed",
        learning_rate=0.05,
    )
    trainer.train()
    untrained, rows = tiny.llama(), read_ledger(tmp_path).to_pylist()
    for step in range(1, 7):
        pool = [row for row in rows if row["step"] == step]
        change = {
            row["sample_id"]: float(torch.tensor(row["ppl"]).log())
            - float(nll_of(untrained, trainer, row["sample_id"]).mean())
            for row in pool
        }
        kept = [change[row["sample_id"]] for row in pool if row["kept"]]
        dropped = [change[row["sample_id"]] for row in pool if not row["kept"]]
        assert len(kept) == len(dropped) == 4
        if step > 1:  # before the first step only rounding tells them apart
            assert min(kept) >= max(dropped) - 1e-4


def test_the_share_that_tail_drops_rises_over_the_run(tmp_path):
    trainer = runs.pruning(tmp_path, model=tiny.llama(), sample_pruner="tail", num_train_epochs=4)
    trainer.train()
    rows = read_ledger(tmp_path).to_pylist()
    kept = [sum(row["kept"] for row in rows if row["step"] == step) for step in range(1, 13)]
    assert kept == [max(1, int((1 - 0.5 * (step - 1) / 12) * 8 + 1e-9)) for step in range(1, 13)]
