"""What is logged and saved beside the decisions says what was trained on."""

import pytest
import torch

from qtuning import read_ledger
from qtuning.training import mixin

from .. import runs, tiny

METRICS = ("loss", "entropy", "mean_token_accuracy")


def test_micro_batches_that_are_run_empty_do_not_dilute_the_metrics(tmp_path, monkeypatch) -> None:
    def run(name: str):
        settings = {"gradient_accumulation_steps": 4, "sample_ratio": 0.125, "max_steps": 2}
        settings |= {"data": tiny.dataset(32), "model": tiny.llama()}
        trainer = runs.pruning(tmp_path / name, **settings)
        passes = 0
        own = trainer.compute_loss

        def counting(*args, **kwargs):
            nonlocal passes
            passes += 1
            return own(*args, **kwargs)

        trainer.compute_loss = counting
        trainer.train()
        logs = [entry for entry in trainer.state.log_history if "loss" in entry]
        return [{name: entry[name] for name in METRICS} for entry in logs], passes

    skipping, n_skipping = run("skipping")
    own = mixin.marked
    # DeepSpeed counts the passes of a step, so there all micro-batches are run
    monkeypatch.setattr(mixin, "marked", lambda *args, skips: own(*args, skips=False))
    running, n_running = run("running")
    assert (n_skipping, n_running) == (2, 8)
    assert running == skipping


def test_an_evaluation_of_any_name_leaves_the_pruning_metrics_alone(tmp_path) -> None:
    """The window of the step metrics is emptied by the log of training, not by an evaluation's."""
    trainer = runs.pruning(tmp_path, eval_data=tiny.dataset(4), logging_steps=2, max_steps=2)

    class Evaluates(runs.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 1:
                for prefix in ("test", "train", "eval"):
                    trainer.evaluate(metric_key_prefix=prefix)

    trainer.add_callback(Evaluates())
    trainer.train()
    history = trainer.state.log_history
    evaluations = [e for e in history if any(key.endswith("_runtime") for key in e)][:3]
    assert len(evaluations) == 3
    for entry in evaluations:
        assert not any(key.startswith("pruning/") for key in entry)
    logged = next(entry for entry in history if "loss" in entry)
    kept = [row["tokens_kept"] for row in read_ledger(tmp_path).to_pylist()]
    assert logged["pruning/kept_tokens"] == sum(kept) / 2, "the mean of both steps"


@pytest.mark.parametrize("limits", [{"max_steps": 2}, {"num_train_epochs": 1}], ids=str)
def test_the_speed_counts_all_samples_that_were_seen(tmp_path, limits) -> None:
    trainer = runs.pruning(tmp_path, pool_factor=3, data=tiny.dataset(48), **limits)
    metrics = trainer.train().metrics
    seen = metrics["train_samples_per_second"] * metrics["train_runtime"]
    assert seen == pytest.approx(read_ledger(tmp_path).num_rows, rel=0.02)


def test_a_checkpoint_has_the_arguments_as_the_user_set_them(tmp_path) -> None:
    trainer = runs.pruning(tmp_path, save_strategy="steps", save_steps=1, save_total_limit=2)
    trainer.train()
    folders = sorted(tmp_path.glob("checkpoint-*"))
    assert len(folders) == 2
    for folder in folders:
        args = torch.load(folder / "training_args.bin", weights_only=False)
        assert args.save_total_limit == 2
        assert args.to_dict() == trainer.args.to_dict()
