"""A full disk ends a run in one line, and the last whole checkpoint is as it was."""

import json
import os
import shutil
import subprocess

import pytest

from qtuning import UsageError, read_ledger
from qtuning.commands import main as cli
from qtuning.run.checkpoints import damage
from qtuning.run.record import RunRecord

from .. import device, runs, tiny

SIZE = 4 << 20


@pytest.fixture
def disk(tmp_path):
    """A disk of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder])
    if made.returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(disk, free):
    """Leave so many bytes."""
    room = shutil.disk_usage(disk).free
    (disk / "filler").write_bytes(bytes(max(0, room - free)))


def saving(folder, **settings):
    return runs.pruning(folder, save_strategy="steps", save_steps=1, **settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    trainer = saving(tmp_path_factory.mktemp("whole"), num_train_epochs=1)
    trainer.train()
    return trainer


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# Shares of a checkpoint for which there is room: each fails in another file.
@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.5, 0.9])
def test_a_checkpoint_that_does_not_fit(disk, whole, share) -> None:
    run = disk / "run"
    stopped = saving(run, num_train_epochs=1)
    stopped.add_callback(runs.StopAfter(1))
    with pytest.raises(runs.Stop):
        stopped.train()
    first = run / "checkpoint-1"
    fill(disk, int(size_of(first) * share))
    with pytest.raises(UsageError, match="cannot write") as caught:
        saving(run, num_train_epochs=1).train(resume_from_checkpoint=True)
    assert "\n" not in str(caught.value)
    assert "make room" in str(caught.value)
    assert damage(first) is None
    assert not (run / "checkpoint-2").exists()
    (disk / "filler").unlink()
    again = saving(run, num_train_epochs=1)
    again.train(resume_from_checkpoint=True)
    assert runs.same_weights(again, whole)
    assert read_ledger(run).equals(read_ledger(whole.args.output_dir))


def test_a_ledger_that_does_not_fit(disk) -> None:
    trainer = runs.pruning(disk / "run", num_train_epochs=1)
    trainer.add_callback(Filler(disk))
    with pytest.raises(UsageError, match=r"cannot write in .*run.*make room"):
        trainer.train()
    assert not list((disk / "run" / "ledger").iterdir())


class Filler(runs.TrainerCallback):
    def __init__(self, disk) -> None:
        self.disk = disk

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if state.global_step == 2:
            fill(self.disk, 0)


def test_what_ended_the_run_is_not_hidden(disk, caplog) -> None:
    trainer = runs.pruning(disk / "run")
    trainer.add_callback(Filler(disk))
    trainer.add_callback(runs.StopAfter(2))
    with pytest.raises(runs.Stop):
        trainer.train()
    assert "the last decisions are lost: cannot write in" in caplog.text


def test_the_command_says_it_in_a_line(disk, tmp_path, capfd) -> None:
    model = tiny.save_model(tmp_path / "model")
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in tiny.rows()))
    arguments = ["train", "--model_name_or_path", str(model), "--dataset_name", str(data)]
    arguments += ["--output_dir", str(disk / "out"), *device.flags(), "--bf16", "false"]
    arguments += ["--report_to", "none", "--disable_tqdm", "true", "--save_steps", "1"]
    fill(disk, 200_000)
    assert cli.main(arguments) == 2
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("qtuning: ")]
    assert len(said) == 1
    assert "cannot write" in said[0]
    (disk / "filler").unlink()
    fill(disk, 60_000)
    assert cli.main([*arguments, "--save_strategy", "no"]) == 2  # now in saving the model
    assert "cannot write" in capfd.readouterr().err


def test_an_error_in_closing_is_told_where_nothing_else_ended_the_run(tmp_path, monkeypatch):
    record = RunRecord(tmp_path, {})

    def refuse() -> None:
        raise UsageError("cannot write")

    monkeypatch.setattr(record, "close", refuse)
    with pytest.raises(UsageError, match="cannot write"), record:
        pass
    with pytest.raises(runs.Stop), record:
        raise runs.Stop
