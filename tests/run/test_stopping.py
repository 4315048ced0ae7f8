"""SIGTERM and Ctrl-C save a checkpoint at the end of the step, and what is resumed is the same."""

import json
import os
import signal

import pytest
import torch
from transformers import TrainerCallback

import qtuning
from qtuning import StoppedError, read_ledger
from qtuning.commands import main as cli
from qtuning.run import stopping
from qtuning.run.checkpoints import damage

from .. import device, runs, tiny

SIGNALS = [signal.SIGTERM, signal.SIGINT]


class Signals(TrainerCallback):
    """Sends signals to this process while it is in the middle of a step."""

    def __init__(self, step, *numbers) -> None:
        self.step, self.numbers = step, numbers

    def on_pre_optimizer_step(self, args, state, control, **kwargs) -> None:
        if state.global_step + 1 == self.step:
            for number in self.numbers:
                os.kill(os.getpid(), number)


def stopped(folder, step, *numbers, **settings):
    trainer = runs.pruning(folder, **settings)
    trainer.add_callback(Signals(step, *numbers))
    before = [signal.getsignal(number) for number in SIGNALS]
    try:
        with qtuning.stop_on_signals(trainer):
            trainer.train()
    finally:
        assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    trainer = runs.pruning(tmp_path_factory.mktemp("whole"))
    trainer.train()
    return trainer


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("step", [1, 3, 6], ids=["first", "end of an epoch", "last"])
def test_a_signal_saves_at_the_end_of_the_step(tmp_path, whole, number, step) -> None:
    with pytest.raises(StoppedError, match=f"stopped by {number.name}; .*checkpoint-") as caught:
        stopped(tmp_path, step, number)
    assert caught.value.exit_code == 128 + number
    assert caught.value.checkpoint == tmp_path / f"checkpoint-{step}"
    assert damage(tmp_path / f"checkpoint-{step}") is None
    again = runs.pruning(tmp_path)
    again.train(resume_from_checkpoint=True)
    assert runs.same_weights(again, whole)
    assert read_ledger(tmp_path).equals(read_ledger(whole.args.output_dir))


def test_a_second_sigterm_does_nothing(tmp_path) -> None:
    with pytest.raises(StoppedError):
        stopped(tmp_path, 2, signal.SIGTERM, signal.SIGTERM)
    assert damage(tmp_path / "checkpoint-2") is None


def test_a_second_ctrl_c_stops_at_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(stopping, "_ECHO_SECONDS", 900.0)
    with pytest.raises(StoppedError):  # what a launcher passes on is no second one
        stopped(tmp_path, 2, signal.SIGINT, signal.SIGINT)
    monkeypatch.setattr(stopping, "_ECHO_SECONDS", -1.0)
    with pytest.raises(KeyboardInterrupt):
        stopped(tmp_path / "at once", 2, signal.SIGINT, signal.SIGINT)
    assert not list((tmp_path / "at once").glob("checkpoint-*"))


def test_without_a_signal_nothing_changes(tmp_path, whole) -> None:
    trainer = runs.pruning(tmp_path)
    with qtuning.stop_on_signals(trainer):
        trainer.train()
    assert runs.same_weights(trainer, whole)
    assert not list(tmp_path.glob("checkpoint-*"))


def test_the_checkpoint_stays_where_another_is_the_best(tmp_path) -> None:
    settings = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps"}
    settings |= {"save_steps": 1, "load_best_model_at_end": True, "save_total_limit": 1}
    # the evaluation loss grows, so that the first is the best
    settings |= {"learning_rate": 1.0, "eval_data": tiny.dataset(4)}
    with pytest.raises(StoppedError):
        stopped(tmp_path, 3, signal.SIGTERM, **settings)
    assert damage(tmp_path / "checkpoint-3") is None


def test_another_process_ignores_what_it_inherits() -> None:
    request = stopping._Request()
    request._process += 1
    request(signal.SIGTERM, None)
    assert request.signal == 0


def keep_and_signal(pool, args):
    """A pruner that is called when the terminal's user loses patience."""
    if pool.step == 2:
        os.kill(os.getpid(), signal.SIGINT)
    return torch.ones(len(pool), dtype=torch.bool)


@pytest.fixture
def arguments(tmp_path):
    model = tiny.save_model(tmp_path / "model")
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in tiny.rows()))
    return [
        *("train", "--model_name_or_path", str(model), "--dataset_name", str(data)),
        *("--output_dir", str(tmp_path / "out"), *device.flags(), "--bf16", "false"),
        *("--report_to", "none", "--disable_tqdm", "true", "--num_train_epochs", "1"),
    ]


def test_the_command_stops_and_goes_on(tmp_path, arguments, capfd) -> None:
    named = ["--sample_pruner", "tests.run.test_stopping:keep_and_signal"]
    assert cli.main([*arguments, *named]) == 130
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("qtuning: ")]
    assert len(said) == 2
    assert "checkpoint-2 is whole" in said[1]
    assert cli.main([*arguments, *named, "--resume_from_checkpoint", "true"]) == 0
    assert (tmp_path / "out" / "model.safetensors").is_file()
    optimizer = tmp_path / "out" / "checkpoint-2" / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-1])
    capfd.readouterr()
    assert cli.main([*arguments, "--resume_from_checkpoint", str(optimizer.parent)]) == 2
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("qtuning: ")]
    assert len(said) == 1
    assert "checkpoint-2 is damaged (optimizer.pt has" in said[0]


def test_an_interrupted_command_says_so_in_a_line(arguments, monkeypatch, capfd) -> None:
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("qtuning.commands.train.load_rows", interrupted)
    assert cli.main(arguments) == 130
    assert capfd.readouterr().err.endswith("qtuning: interrupted\n")
