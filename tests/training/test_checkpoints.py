"""What is pushed is whole, and what is read of a checkpoint is all of it."""

from pathlib import Path
from typing import ClassVar

import pytest
import torch
from transformers import TrainerCallback
from trl import SFTTrainer

from qtuning import QTuningConfig, read_ledger, with_pruning
from qtuning.run.checkpoints import damage

from .. import architectures, runs, tiny


class Pushing(SFTTrainer):
    """Notes what is wrong with a checkpoint when it is pushed, and pushes nothing."""

    def init_hf_repo(self, *args, **kwargs):
        self.found = []

    def _push_from_checkpoint(self, checkpoint_folder):
        self.found.append((Path(checkpoint_folder).name, damage(Path(checkpoint_folder))))


def test_a_checkpoint_is_pushed_when_it_is_sealed(tmp_path) -> None:
    settings = {**runs.SETTINGS, "save_strategy": "epoch", "hub_strategy": "all_checkpoints"}
    trainer = with_pruning(Pushing)(
        tiny.llama(),
        QTuningConfig(str(tmp_path), **settings, push_to_hub=True, hub_model_id="me/it"),
        train_dataset=tiny.dataset(),
        processing_class=tiny.tokenizer(),
    )
    trainer.push_to_hub = lambda *args, **kwargs: None
    trainer.train()
    assert trainer.found == [("checkpoint-3", None), ("checkpoint-6", None)]


def experts():
    # Its experts have other names in a checkpoint than in the model.
    settings = {"vocab_size": 100, "eos_token_id": 1, "bos_token_id": None}
    return architectures.build("mixtral", output_router_logits=False, **settings).train()


def test_a_mixture_of_experts_is_resumed_with_the_experts_of_the_checkpoint(tmp_path) -> None:
    whole = runs.pruning(tmp_path / "whole", model=experts())
    whole.train()
    saving = {"save_strategy": "steps", "save_steps": 4}
    stopped = runs.pruning(tmp_path / "again", model=experts(), **saving)
    stopped.add_callback(runs.StopAfter(5))
    with pytest.raises(runs.Stop):
        stopped.train()
    again = runs.pruning(tmp_path / "again", model=experts(), **saving)
    again.train(resume_from_checkpoint=True)
    assert runs.same_weights(whole, again)
    assert read_ledger(tmp_path / "whole").equals(read_ledger(tmp_path / "again"))


def test_the_best_mixture_of_experts_is_that_of_its_step(tmp_path) -> None:
    settings = {
        "eval_data": tiny.dataset(4, seed=1),
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_strategy": "steps",
        "save_steps": 1,
        "metric_for_best_model": "loss",
        "greater_is_better": True,  # so the first is the best
    }
    trainer = runs.pruning(tmp_path, model=experts(), load_best_model_at_end=True, **settings)
    trainer.add_callback(Copying())
    trainer.train()
    weights = Copying.weights
    best = trainer.state.best_global_step
    assert best == 1
    now = copied(trainer.model)
    assert all(torch.equal(now[name], weights[best - 1][name]) for name in now)


class Copying(TrainerCallback):
    """Keeps the weights of every step."""

    weights: ClassVar[list] = []

    def on_step_end(self, args, state, control, model, **kwargs):
        self.weights.append(copied(model))


def copied(model):
    return {name: weight.clone() for name, weight in model.state_dict().items()}
