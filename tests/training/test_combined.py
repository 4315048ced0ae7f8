"""Pruning arguments among training arguments that somebody else made."""

import copy
import pickle
from dataclasses import fields

import pytest
import torch
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments
from trl import SFTConfig

from qtuning import PruningArguments, with_pruning
from qtuning.training.combined import with_arguments

from .. import device, tiny

PRUNING = PruningArguments(sample_ratio=0.5, sample_pruner="random")


@pytest.mark.parametrize("kind", [Seq2SeqTrainingArguments, SFTConfig])
def test_they_are_both_and_can_be_pickled(tmp_path, kind):
    args = kind(str(tmp_path), **device.arguments(), report_to="none")
    args.learning_rate = 0.125  # changed after it was checked
    before = dict(vars(args))
    made = with_arguments(args, PRUNING)
    assert isinstance(made, PruningArguments)
    assert isinstance(made, kind)
    assert vars(args) == before
    torch.save(made, tmp_path / "args.bin")
    for one in (
        made,
        copy.copy(made),
        pickle.loads(pickle.dumps(made)),
        torch.load(tmp_path / "args.bin", weights_only=False),
    ):
        assert type(one) is type(with_arguments(args, PruningArguments()))
        assert (one.learning_rate, one.sample_ratio, one.sample_pruner) == (0.125, 0.5, "random")
        assert vars(one).keys() == vars(made).keys()
    assert made.to_dict()["sample_ratio"] == 0.5
    assert {one.name for one in fields(made)} >= {one.name for one in fields(kind)}


def test_a_trainer_takes_them_and_saves_them(tmp_path):
    args = Seq2SeqTrainingArguments(
        str(tmp_path), **device.arguments(), report_to="none", max_steps=1, save_steps=1
    )
    rows = [{"input_ids": [5, 6, 7 + i], "labels": [-100, 6, 7 + i]} for i in range(8)]
    trainer = with_pruning(Seq2SeqTrainer)(
        tiny.llama(),
        with_arguments(args, PRUNING),
        train_dataset=rows,
    )
    trainer.save_model(str(tmp_path / "saved"))
    saved = torch.load(tmp_path / "saved" / "training_args.bin", weights_only=False)
    assert saved.sample_ratio == 0.5
