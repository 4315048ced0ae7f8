"""Where nothing is pruned, nothing may differ from the stock trainer."""

from dataclasses import dataclass

import pytest
from transformers import (
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
    set_seed,
)

from qtuning import PruningArguments, with_pruning

from .. import runs, tiny


@pytest.mark.parametrize(
    "settings",
    [
        {"sample_pruner": "full", "sample_ratio": 1.0, "token_ratio": 1.0},
        {"sample_pruner": "full", "token_pruner": "none"},
        {"sample_ratio": 1.0, "token_ratio": 1.0},
        {"prune_start": 0.99999, "prune_end": 1.0},
    ],
    ids=["full", "full by name", "both ratios 1", "outside the window"],
)
@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"per_device_train_batch_size": 5},
        {"padding_free": True, "max_length": None},
        {"packing": True, "max_length": 64},
        {"gradient_checkpointing": True},
        {"dataloader_num_workers": 1, "num_train_epochs": 1},
    ],
    ids=["padded", "last batch short", "padding-free", "packed", "checkpointing", "workers"],
)
def test_full_is_the_stock_trainer_bit_by_bit(tmp_path, settings, layout) -> None:
    theirs = runs.stock(tmp_path / "stock", **layout)
    theirs.train()
    ours = runs.pruning(tmp_path / "full", **layout, **settings)
    ours.train()
    assert runs.losses(ours) == runs.losses(theirs)
    assert len(runs.losses(ours)) == theirs.state.max_steps
    assert runs.same_weights(ours, theirs)


@dataclass
class PlainArguments(PruningArguments, TrainingArguments):
    pass


def plain_data():
    ids = tiny.tokenizer()
    texts = [row["prompt"] + row["completion"] for row in tiny.rows()]
    return [{"input_ids": ids(text)["input_ids"] + [1]} for text in texts]


@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_a_plain_trainer_prunes_and_at_ratio_1_is_the_stock_trainer(tmp_path, ratio) -> None:
    settings = {**runs.SETTINGS}
    shared = {
        "data_collator": DataCollatorForLanguageModeling(tiny.tokenizer(), mlm=False),
        "train_dataset": plain_data(),
    }
    set_seed(1)
    theirs = Trainer(
        tiny.llama(attention_dropout=0.1),
        TrainingArguments(str(tmp_path / "stock"), **settings),
        **shared,
    )
    theirs.train()
    set_seed(1)
    ours = with_pruning(Trainer)(
        tiny.llama(attention_dropout=0.1),
        PlainArguments(str(tmp_path / "ours"), **settings, sample_ratio=ratio, token_ratio=ratio),
        **shared,
    )
    ours.train()
    assert len(runs.losses(ours)) == theirs.state.max_steps == 6
    assert (runs.losses(ours) == runs.losses(theirs)) == (ratio == 1.0)
    assert runs.same_weights(ours, theirs) == (ratio == 1.0)
