"""A run goes on in the order that its epoch began with, however often it is stopped."""

import pytest
import torch

from qtuning import UsageError, read_ledger
from qtuning.run.epoch_order import EpochOrder

from .. import runs

DRAWN = [
    {"train_sampling_strategy": "group_by_length"},
    {"accelerator_config": {"use_seedable_sampler": False}},
]


def trainer(folder, settings):
    saving = {"num_train_epochs": 3, "save_strategy": "steps", "save_steps": 1}
    return runs.pruning(folder, **saving, **settings)


@pytest.mark.parametrize("settings", DRAWN, ids=str)
@pytest.mark.parametrize("stops", [[4], [3, 5], [1, 2, 8]], ids=str)
def test_stopped_anywhere_it_goes_on_in_the_same_order(tmp_path, settings, stops) -> None:
    """An epoch has three steps: stopped within one, and between two and within the next."""
    whole = trainer(tmp_path / "whole", settings)
    whole.train()
    for number, step in enumerate(stops):
        stopped = trainer(tmp_path / "again", settings)
        stopped.add_callback(runs.StopAfter(step))
        with pytest.raises(runs.Stop):
            stopped.train(resume_from_checkpoint=number > 0)
    again = trainer(tmp_path / "again", settings)
    again.train(resume_from_checkpoint=True)
    ledger = read_ledger(tmp_path / "again")
    assert ledger.equals(read_ledger(tmp_path / "whole"))
    assert runs.same_weights(whole, again)
    for epoch in range(3):  # and every row is in every epoch once
        names = [row["sample_id"] for row in ledger.to_pylist() if row["epoch"] == epoch]
        assert len(set(names)) == len(names) == 24


def test_a_checkpoint_of_an_older_version_has_none(tmp_path) -> None:
    before = torch.get_rng_state()
    EpochOrder(0).load(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_damaged_one_is_refused_in_one_line(tmp_path) -> None:
    order = EpochOrder(0)
    order.save(tmp_path)
    (path,) = tmp_path.iterdir()
    for content in (path.read_bytes(), b"no tensors"):  # nothing noted, and no file of tensors
        path.write_bytes(content)
        with pytest.raises(UsageError, match="resume from another checkpoint") as refused:
            order.load(tmp_path)
        assert "\n" not in str(refused.value)
