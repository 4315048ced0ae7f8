"""A run that was stopped and resumed is the run that was never stopped."""

import json

import pyarrow.compute as pc
import pytest
from transformers import set_seed

from qtuning import read_ledger
from qtuning.run.record import BUDGET_FILE

from .. import runs, tiny

STEPS_AN_EPOCH = 3  # 24 rows in steps of 4 x 2
ALL_STEPS = 6


def saving(folder, every=1, **settings):
    return runs.pruning(folder, save_strategy="steps", save_steps=every, **settings)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    trainer = saving(tmp_path_factory.mktemp("whole"))
    trainer.train()
    return trainer


def stop_and_resume(folder, stop_after, every=1, **settings):
    stopped = saving(folder, every, **settings)
    stopped.add_callback(runs.StopAfter(stop_after))
    with pytest.raises(runs.Stop):
        stopped.train()
    set_seed(12345)  # the new process does not start where the old one stopped
    resumed = saving(folder, every, **settings)
    resumed.train(resume_from_checkpoint=True)
    return resumed


@pytest.mark.parametrize("stop_after", range(1, ALL_STEPS))
def test_resumed_after_any_step_equals_uninterrupted(tmp_path, uninterrupted, stop_after) -> None:
    assert uninterrupted.state.max_steps == ALL_STEPS
    resumed = stop_and_resume(tmp_path, stop_after)
    assert runs.same_weights(resumed, uninterrupted)
    assert runs.losses(resumed) == runs.losses(uninterrupted)
    assert read_ledger(tmp_path).equals(read_ledger(uninterrupted.args.output_dir))


@pytest.mark.parametrize("stop_after", [3, 5])
def test_steps_after_the_last_checkpoint_are_in_the_ledger_once(
    tmp_path, uninterrupted, stop_after
):
    resumed = stop_and_resume(tmp_path, stop_after, every=2)
    assert runs.same_weights(resumed, uninterrupted)
    ledger = read_ledger(tmp_path)
    assert ledger.equals(read_ledger(uninterrupted.args.output_dir))
    assert ledger.num_rows == 24 * 2
    assert pc.count_distinct(ledger["step"]).as_py() == ALL_STEPS


def test_the_budget_counts_over_the_stop(tmp_path, uninterrupted) -> None:
    stop_and_resume(tmp_path, 4)
    counts = json.loads((tmp_path / BUDGET_FILE).read_text())
    whole = json.loads((type(tmp_path)(uninterrupted.args.output_dir) / BUDGET_FILE).read_text())
    for name in counts:
        if not name.endswith("seconds"):
            assert counts[name] == whole[name], name
    assert counts["samples"] == 48


@pytest.mark.parametrize(("sample_pruner", "token_pruner"), runs.PAIRS)
def test_every_pruner_trains_resumes_and_repeats_itself(
    tmp_path, sample_pruner, token_pruner
) -> None:
    names = {"sample_pruner": sample_pruner, "token_pruner": token_pruner}
    if token_pruner in runs.COMPARING:
        folder = tiny.save_model(tmp_path / "reference", seed=3)
        names["reference_model_name_or_path"] = str(folder)
    whole = runs.pruning(tmp_path / "whole", **names)
    whole.train()
    again = stop_and_resume(tmp_path / "again", 4, every=2, **names)
    assert runs.same_weights(whole, again)
    assert read_ledger(tmp_path / "whole").equals(read_ledger(tmp_path / "again"))


def test_a_new_run_moves_the_old_ledger_aside(tmp_path) -> None:
    for _ in range(2):
        trainer = runs.pruning(tmp_path, num_train_epochs=1)
        trainer.train()
    assert read_ledger(tmp_path).num_rows == 24
    assert read_ledger(tmp_path / "ledger-1").num_rows == 24


def test_resume_with_drop_packing_and_lora(tmp_path) -> None:
    from peft import LoraConfig

    lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], lora_dropout=0.1)
    settings = {
        "token_mode": "drop",
        "packing": True,
        "max_length": 64,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "peft": lora,
    }
    whole = runs.pruning(tmp_path / "whole", **settings)
    whole.train()
    again = stop_and_resume(tmp_path / "again", 4, every=2, **settings)
    assert runs.same_weights(whole, again)
    assert read_ledger(tmp_path / "whole").equals(read_ledger(tmp_path / "again"))
