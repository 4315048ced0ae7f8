"""A trainer class that packs samples into bins as it loads them, as Axolotl's does."""

from dataclasses import dataclass

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader
from transformers import Trainer, TrainingArguments, set_seed

from qtuning import PruningArguments, read_ledger, with_pruning
from qtuning.examples.bins import Bins

from .. import runs, tiny

IN_BIN = 4
LENGTH = 200


def flat(bins):
    """A row of each bin, its samples one after the other; without a mask, positions tell them."""
    width = max(sum(len(one["input_ids"]) for one in of_bin) for of_bin in bins)
    batch = {}
    for key, padding in (("input_ids", 0), ("labels", -100), ("position_ids", None)):
        rows = [[value for one in of_bin for value in one[key]] for of_bin in bins]
        batch[key] = torch.tensor(
            [
                row + list(range(width - len(row)))
                if padding is None
                else row + [padding] * (width - len(row))
                for row in rows
            ]
        )
    return batch


class OfBins(torch.utils.data.Dataset):
    def __init__(self, rows):
        self.rows = list(rows)

    def __len__(self):
        return len(self.rows) // IN_BIN

    def __getitem__(self, number):
        return self.rows[number * IN_BIN : (number + 1) * IN_BIN]


class Shuffled(BatchSampler):
    """Keeps an order from when it was asked for its length, until it hears of an epoch."""

    def __init__(self, n, rows):
        super().__init__(range(n), rows, drop_last=True)
        self.order = torch.randperm(n).tolist()

    def set_epoch(self, epoch):
        self.order = None

    def __iter__(self):
        if self.order is None:
            self.order = torch.randperm(len(self.sampler)).tolist()
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield self.order[start : start + self.batch_size]


class BinTrainer(Trainer):
    shuffles = True

    def get_train_dataloader(self):
        self.bins = Bins(LENGTH, self.args.per_device_train_batch_size)
        keys = ("input_ids", "labels", "position_ids", "sample_id")
        data = OfBins([{k: row[k] for k in keys if k in row} for row in self.train_dataset])
        how = {"batch_size": self.bins.rows}
        if self.shuffles:
            how = {"batch_sampler": Shuffled(len(data), self.bins.rows)}
        return self.accelerator.prepare(DataLoader(data, collate_fn=self.data_collator, **how))


class InOrder(BinTrainer):
    shuffles = False


class RowTrainer(Trainer):
    """The same rows in the same order, padded."""

    def get_train_dataloader(self):
        loader = DataLoader(
            list(self.train_dataset),
            batch_size=IN_BIN * self.args.per_device_train_batch_size,
            collate_fn=self.data_collator,
        )
        return self.accelerator.prepare(loader)


def padded(rows):
    return flat([[row] for row in rows])


@dataclass
class Arguments(PruningArguments, TrainingArguments):
    pass


def data():
    from datasets import Dataset

    ids = tiny.tokenizer()
    made = []
    for row in tiny.rows(48):
        prompt, text = ids(row["prompt"])["input_ids"], ids(row["completion"])["input_ids"] + [1]
        made.append(
            {
                "input_ids": prompt + text,
                "labels": [-100] * len(prompt) + text,
                "position_ids": list(range(len(prompt + text))),
            }
        )
    return Dataset.from_list(made)


def trained(folder, trainer_class, collator, resume=None, **settings):
    set_seed(1)
    kind = Arguments if issubclass(trainer_class, with_pruning(Trainer).__bases__[0]) else None
    arguments = (kind or TrainingArguments)(
        str(folder),
        **{**runs.SETTINGS, "per_device_train_batch_size": 2, "max_steps": 3, **settings},
    )
    trainer = trainer_class(
        tiny.llama(attention_dropout=0.0),
        arguments,
        data_collator=collator,
        train_dataset=data(),
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def test_where_nothing_is_pruned_the_bins_are_the_stock_ones(tmp_path) -> None:
    theirs = trained(tmp_path / "stock", BinTrainer, flat)
    ours = trained(
        tmp_path / "ours", with_pruning(BinTrainer), flat, sample_ratio=1.0, token_ratio=1.0
    )
    assert runs.losses(ours) == runs.losses(theirs)
    assert runs.same_weights(ours, theirs)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"token_mode": "drop"},
        {"sample_pruner": "infobatch", "token_pruner": "none"},
        {"one_pass": True, "pool_scope": "micro"},
    ],
    ids=["mask", "drop", "weighted", "one pass"],
)
def test_bins_are_pruned_as_rows_are(tmp_path, options) -> None:
    """A sample in a bin has the scores that it has alone, and the loss that it has alone."""
    settings = {"sample_ratio": 0.5, **options}
    bins = trained(tmp_path / "bins", with_pruning(InOrder), flat, **settings)
    rows = trained(tmp_path / "rows", with_pruning(RowTrainer), padded, **settings)
    ledgers = [read_ledger(tmp_path / name) for name in ("bins", "rows")]
    for column in ("step", "sample_id", "quadrant", "tokens_kept"):
        assert ledgers[0][column].to_pylist() == ledgers[1][column].to_pylist(), column
    torch.testing.assert_close(runs.losses(bins), runs.losses(rows), rtol=1e-4, atol=1e-4)


def test_micro_batches_are_as_many_as_asked_for_and_no_bin_is_longer(tmp_path) -> None:
    seen = []

    class Watched(with_pruning(BinTrainer)):
        def get_batch_samples(self, *args):
            batches, n_items = super().get_batch_samples(*args)
            seen.append(batches)
            return batches, n_items

    trained(tmp_path, Watched, flat, sample_ratio=0.5, gradient_accumulation_steps=3)
    assert [len(batches) for batches in seen] == [3, 3, 3]
    for batches in seen:
        full = [batch for batch in batches if len(batch["input_ids"])]
        assert len(full) == 1, "half of the samples of six bins of 200 fit into two"
        for batch in full:
            assert batch["input_ids"].shape[0] <= 2
            assert batch["input_ids"].shape[1] <= LENGTH
            starts = batch["position_ids"] == 0
            assert int(starts.sum()) >= IN_BIN
            assert bool((batch["labels"][starts] == -100).all())


def test_a_resumed_run_goes_on_with_the_bins_of_its_epoch(tmp_path) -> None:
    """Where a sampler draws its order when it hears of the epoch."""
    settings = {"sample_ratio": 0.5, "max_steps": 8, "save_strategy": "steps", "save_steps": 4}
    whole = trained(tmp_path / "whole", with_pruning(BinTrainer), flat, **settings)
    resumed = trained(
        tmp_path / "resumed",
        with_pruning(BinTrainer),
        flat,
        resume=str(tmp_path / "whole" / "checkpoint-4"),
        **settings,
    )
    assert runs.same_weights(whole, resumed)


def test_the_start_tells_the_mean_number_of_candidates(tmp_path, capsys) -> None:
    trained(tmp_path, with_pruning(BinTrainer), flat, sample_ratio=0.5, max_steps=1)
    line = capsys.readouterr().out.splitlines()[0]
    assert "on average, an optimizer step has 16 candidates and trains on 8." in line
