"""Pruning arguments beside, or among, the training arguments of any trainer class."""

import json
from dataclasses import dataclass

import pytest
import trl
from transformers import Trainer, TrainingArguments, set_seed
from trl import SFTConfig, SFTTrainer

from qtuning import (
    PruningArguments,
    QTuningConfig,
    QTuningTrainer,
    UsageError,
    read_ledger,
    with_pruning,
)

from .. import device, runs, tiny

SETTINGS = {**runs.SETTINGS, "max_steps": 3}


def test_arguments_beside_train_as_arguments_among(tmp_path):
    given = {"sample_ratio": 0.5, "token_ratio": 0.5, "probe_samples": 4, "score_refresh": 0.5}
    among = runs.pruning(tmp_path / "among", max_steps=3, **given)
    among.train()
    set_seed(42)
    beside = with_pruning(SFTTrainer, PruningArguments(**given))(
        tiny.llama(attention_dropout=0.1),
        SFTConfig(str(tmp_path / "beside"), **SETTINGS),
        train_dataset=tiny.dataset(),
        processing_class=tiny.tokenizer(),
    )
    beside.train()
    assert read_ledger(tmp_path / "beside").equals(read_ledger(tmp_path / "among"))
    assert runs.same_weights(beside, among)
    for name in ("pruning_settings.json", "budget.json"):
        ours, theirs = (
            json.loads((tmp_path / one / name).read_text()) for one in ("beside", "among")
        )
        assert ours.keys() == theirs.keys()
    assert ours["kept_answer_tokens"] == theirs["kept_answer_tokens"]


def test_a_class_is_made_once_and_one_that_prunes_stays():
    assert with_pruning(Trainer) is with_pruning(Trainer)
    assert with_pruning(QTuningTrainer) is QTuningTrainer
    one, other = (
        with_pruning(Trainer, PruningArguments(sample_ratio=ratio)) for ratio in (0.5, 1.0)
    )
    assert issubclass(one, with_pruning(Trainer))
    assert (one.pruning.sample_ratio, other.pruning.sample_ratio) == (0.5, 1.0)
    assert with_pruning(Trainer).pruning is None


def make(trainer_class, args):
    return trainer_class(
        tiny.llama(), args, train_dataset=tiny.dataset(), processing_class=tiny.tokenizer()
    )


def test_arguments_in_two_places_or_none_are_refused(tmp_path):
    twice = with_pruning(SFTTrainer, PruningArguments())
    with pytest.raises(UsageError, match="stand in two places"):
        make(twice, QTuningConfig(str(tmp_path), **SETTINGS))
    with pytest.raises(UsageError, match="needs pruning arguments"):
        make(with_pruning(SFTTrainer), SFTConfig(str(tmp_path), **SETTINGS))


@dataclass
class Own(PruningArguments, TrainingArguments):
    """Training arguments of another class."""


def test_arguments_alone_are_plain_data():
    made = PruningArguments(sample_pruner=len).to_dict()
    assert made["sample_pruner"] == repr(len)
    assert PruningArguments(**{**made, "sample_pruner": "random"}).token_ratio == 0.5


def test_arguments_among_others_come_with_them(tmp_path):
    made = Own(str(tmp_path), **device.arguments()).to_dict()
    assert made["sample_ratio"] == 0.25
    assert made["output_dir"] == str(tmp_path)


def test_what_a_loader_is_asked_for_is_passed_on(tmp_path):
    class Skips(Trainer):
        asked = ()

        def get_train_dataloader(self, skip_batches=0, *, more=None):
            self.asked = (skip_batches, more)
            return super().get_train_dataloader()

    args = Own(str(tmp_path), **device.arguments())
    rows = [{"input_ids": [5, 6], "labels": [-100, 6]}] * 4
    trainer = with_pruning(Skips)(tiny.llama(), args, train_dataset=rows)
    trainer.get_train_dataloader(3, more="x")
    assert trainer.asked == (3, "x")


@pytest.mark.parametrize("name", ["DPOTrainer", "GRPOTrainer", "RewardTrainer"])
def test_other_trainers_of_trl_are_refused_in_one_line(name) -> None:
    try:
        theirs = getattr(trl, name)
    except RuntimeError as error:  # TRL 0.24's trainers of preferences import mergekit
        pytest.skip(f"TRL cannot import it here: {error}")
    mine = type("Mine", (theirs,), {})
    for kind in (theirs, mine):
        with pytest.raises(UsageError, match="only SFTTrainer") as refused:
            with_pruning(kind, PruningArguments())
        assert "\n" not in str(refused.value)
