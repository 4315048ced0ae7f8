"""What must hold at every optimizer step, whatever is pruned; most of it fails silently if not."""

import itertools

import pytest
import torch
from datasets import Dataset, IterableDataset
from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments
from trl import SFTTrainer

from qtuning import PruningArguments, QTuningConfig, UsageError, read_ledger, with_pruning
from qtuning.examples.example import RawBatch

from .. import runs, tiny
from .test_stock import PlainArguments, plain_data

PRUNINGS = [
    {},
    {"sample_ratio": 0.05},
    {"token_mode": "drop"},
    {"pool_factor": 2},
    {"pool_scope": "micro"},
    {"sample_pruner": "random", "token_pruner": "random"},
    {"prune_start": 0.3, "prune_end": 0.7},
    {"packing": True, "max_length": 64},
]


def watched(trainer):
    """Record what get_batch_samples is asked for, gives, counts, draws and leaves behind."""
    steps = []
    get_batch_samples, count = trainer.get_batch_samples, trainer._get_num_items_in_batch

    def counting(batches, device):
        items = count(batches, device)
        steps[-1]["counted"].append(sum(int((b["labels"][:, 1:] != -100).sum()) for b in batches))
        return items

    def get(iterator, n, device):
        # The loader draws an epoch's order when it starts, so fetch first and look afterwards.
        fetched = list(itertools.islice(iterator, n))
        left = iter(fetched)
        modes = [module.training for module in trainer.model.modules()]
        before = torch.random.get_rng_state()
        steps.append({"counted": []})
        batches, items = get_batch_samples(left, n, device)
        steps[-1] |= {
            "asked": n,
            "pulled": len(fetched) - len(list(left)),
            "given": len(batches),
            "items": int(items),
            "drew": not torch.equal(before, torch.random.get_rng_state()),
            "modes kept": modes == [module.training for module in trainer.model.modules()],
            "raw": all(isinstance(batch, RawBatch) for batch in fetched),
        }
        return batches, items

    trainer.get_batch_samples, trainer._get_num_items_in_batch = get, counting
    return steps


@pytest.mark.parametrize("pruning", PRUNINGS, ids=str)
def test_invariants_of_every_step(tmp_path, pruning) -> None:
    trainer = runs.pruning(tmp_path, data=tiny.dataset(22), **pruning)
    steps = watched(trainer)
    trainer.train()
    assert len(steps) == trainer.state.global_step == trainer.state.max_steps
    for step in steps:
        assert step["asked"] == step["pulled"] == step["given"]
        assert step["counted"] == [step["items"]], "items are counted once, on pruned labels"
        assert step["raw"]
        assert step["modes kept"]
        assert not step["drew"], "no global random number is drawn"
    ledger = read_ledger(tmp_path).to_pylist()
    for number, step in enumerate(steps, 1):
        assert step["items"] == sum(r["tokens_kept"] for r in ledger if r["step"] == number)


@pytest.mark.parametrize("pruning", PRUNINGS[:3] + PRUNINGS[4:6], ids=str)
def test_steps_epochs_and_learning_rates_are_the_stock_trainers(tmp_path, pruning) -> None:
    theirs, ours = runs.stock(tmp_path / "a"), runs.pruning(tmp_path / "b", **pruning)
    for trainer in (theirs, ours):
        trainer.train()

    def schedule(trainer):
        return [
            (entry["step"], entry["epoch"], entry["learning_rate"])
            for entry in trainer.state.log_history
            if "learning_rate" in entry
        ]

    assert schedule(ours) == schedule(theirs)


@pytest.mark.parametrize("wrong", ["returns fewer", "pulls more"])
def test_the_loop_loses_steps_silently_where_the_contract_is_broken(tmp_path, wrong) -> None:
    """Why exactly n: this is what transformers does otherwise; the day it stops, we may relax."""
    trainer = runs.pruning(tmp_path, num_train_epochs=1)
    get = trainer.get_batch_samples

    def broken(iterator, n, device):
        if wrong == "pulls more":
            list(zip(range(n), iterator, strict=False))
        batches, items = get(iterator, n, device)
        return batches[: n // 2] if wrong == "returns fewer" else batches, items

    trainer.get_batch_samples = broken
    trainer.train()
    assert trainer.state.global_step < trainer.state.max_steps


@pytest.mark.parametrize("token_mode", ["mask", "drop"])
def test_accumulation_does_not_matter(tmp_path, token_mode) -> None:
    """8 x 1, 4 x 2 and 1 x 8 make the same pools, decisions and, but for rounding, weights."""
    trained = []
    for size, accumulation in ((8, 1), (4, 2), (1, 8)):
        trainer = runs.pruning(
            tmp_path / str(size),
            model=tiny.llama(),
            per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulation,
            token_mode=token_mode,
        )
        trainer.train()
        trained.append(trainer)
    first, *others = trained
    columns = ["step", "sample_id", "quadrant", "kept", "filled", "tokens_kept"]
    ledger = read_ledger(first.args.output_dir).select(columns)
    for other in others:
        assert read_ledger(other.args.output_dir).select(columns).equals(ledger)
        for name, weight in first.model.state_dict().items():
            torch.testing.assert_close(other.model.state_dict()[name], weight, rtol=1e-3, atol=1e-4)


def test_drop_trains_on_shorter_sequences(tmp_path) -> None:
    lengths = {}
    for mode in ("mask", "drop"):
        trainer = runs.pruning(tmp_path / mode, token_mode=mode, max_steps=1)
        trainer.train()
        lengths[mode] = (
            trainer._record.counts.trained_tokens,
            trainer._record.counts.kept_answer_tokens,
        )
    assert lengths["drop"][0] < lengths["mask"][0]
    assert lengths["drop"][1] == lengths["mask"][1]


def test_outside_the_window_everything_is_trained_on(tmp_path) -> None:
    runs.pruning(tmp_path, prune_start=1 / 3, prune_end=2 / 3).train()
    kept = {}
    for row in read_ledger(tmp_path).to_pylist():
        kept.setdefault(row["step"], []).append(row["kept"])
    assert [sum(kept[step]) for step in range(1, 7)] == [8, 8, 4, 4, 8, 8]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stream_with_max_steps(tmp_path, workers) -> None:
    stream = IterableDataset.from_generator(tiny.rows)
    trainer = runs.pruning(
        tmp_path, data=stream, max_steps=5, num_train_epochs=1, dataloader_num_workers=workers
    )
    trainer.train()
    ledger = read_ledger(tmp_path)
    assert trainer.state.global_step == 5
    assert ledger["sample_id"].to_pylist()[:3] == ["s0", "s1", "s2"]


def test_a_plain_trainer_with_a_stream(tmp_path) -> None:
    stream = Dataset.from_list([row | {"labels": row["input_ids"]} for row in plain_data()])
    trainer = with_pruning(Trainer)(
        tiny.llama(),
        PlainArguments(str(tmp_path), **runs.SETTINGS | {"max_steps": 4}),
        data_collator=DataCollatorForSeq2Seq(tiny.tokenizer()),
        train_dataset=stream.to_iterable_dataset(),
    )
    trainer.train()
    assert read_ledger(tmp_path).num_rows == 32


def test_pruning_arguments_are_asked_for(tmp_path) -> None:
    with pytest.raises(UsageError, match="PruningArguments"):
        with_pruning(Trainer)(
            tiny.llama(), TrainingArguments(str(tmp_path)), train_dataset=plain_data()
        )


def test_a_stream_without_arguments_meets_the_trainers_own_error() -> None:
    stream = Dataset.from_list(plain_data()).to_iterable_dataset()
    with pytest.raises(ValueError, match="max_steps"):
        with_pruning(Trainer)(tiny.llama(), train_dataset=stream)


def test_with_pruning_gives_one_class_and_leaves_pruning_classes_alone() -> None:
    pruning = with_pruning(SFTTrainer)
    assert issubclass(pruning, SFTTrainer)
    assert with_pruning(SFTTrainer) is pruning
    assert with_pruning(pruning) is pruning
    assert issubclass(QTuningConfig, PruningArguments)


def test_evaluation_and_its_metrics_are_the_stock_trainers(tmp_path) -> None:
    trainer = runs.pruning(
        tmp_path,
        sample_pruner="full",
        token_pruner="none",
        eval_data=tiny.dataset(8, seed=1),
        eval_strategy="epoch",
        num_train_epochs=1,
    )
    trainer.train()
    (evaluated,) = [e for e in trainer.state.log_history if "eval_loss" in e]
    assert not any("pruning" in key for key in evaluated)


def test_metrics_tell_what_was_kept_and_where_the_plane_was_cut(tmp_path) -> None:
    trainer = runs.pruning(tmp_path, num_train_epochs=1)
    trainer.train()
    first = trainer.state.log_history[0]
    rows = [row for row in read_ledger(tmp_path).to_pylist() if row["step"] == 1]
    assert first["pruning/kept_samples"] == sum(row["kept"] for row in rows) == 4
    assert first["pruning/kept_tokens"] == sum(row["tokens_kept"] for row in rows)
    assert first["pruning/sample_share"] == 0.5
    shares = [first[f"pruning/{name}_share"] for name in ("q1", "q2", "q3", "q4", "band")]
    assert sum(shares) == pytest.approx(1.0)
    assert first["pruning/q2_share"] == sum(row["quadrant"] == 2 for row in rows) / 8
    assert first["pruning/filled_share"] == sum(row["filled"] for row in rows) / 4
    assert first["pruning/ppl_lo"] <= first["pruning/ppl_hi"]
    assert -1 <= first["pruning/rank_correlation"] <= 1
    assert first["pruning/scoring_seconds"] > 0
