"""examples/own_collator.py runs, and prunes by the labels that its collator makes."""

import json
import runpy
import sys
from pathlib import Path

from transformers import Trainer, TrainingArguments

from qtuning import PruningArguments, read_ledger, with_pruning

from .. import runs, tiny

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "own_collator.py")


def test_it_runs_and_prunes(tmp_path, monkeypatch) -> None:
    tiny.save_model(tmp_path / "model")
    words = ["--model", str(tmp_path / "model"), "--output", str(tmp_path / "out"), "--steps", "3"]
    monkeypatch.setattr(sys, "argv", [EXAMPLE, *words])
    runpy.run_path(EXAMPLE, run_name="__main__")
    ledger = read_ledger(tmp_path / "out").to_pydict()
    assert sum(ledger["kept"]) * 4 == len(ledger["kept"]) == 24
    assert all(name.startswith("sum-") for name in ledger["sample_id"])
    answers = {f"sum-{i}": answer(i) for i in range(64)}
    assert ledger["n_tokens"] == [len(answers[name]) for name in ledger["sample_id"]]
    budget = json.loads((tmp_path / "out" / "budget.json").read_text())
    assert 0 < budget["kept_answer_tokens"] < budget["answer_tokens"] / 4


def answer(i: int) -> str:
    a, b = 3 * i % 17, 7 * i % 23
    return (f" First {a}, then {b} more:" if i % 3 else "") + f" {a + b}"


def test_at_ratio_1_it_is_the_plain_trainer(tmp_path) -> None:
    names = runpy.run_path(EXAMPLE)
    tokenizer = tiny.tokenizer()
    separator = tokenizer("=")["input_ids"][-1]
    nothing = PruningArguments(sample_ratio=1.0, token_ratio=1.0)
    trainers = []
    for name, kind in (("stock", Trainer), ("ours", with_pruning(Trainer, nothing))):
        trainer = kind(
            tiny.llama(),
            TrainingArguments(
                str(tmp_path / name),
                **{**runs.SETTINGS, "remove_unused_columns": False, "max_steps": 3},
            ),
            data_collator=names["AfterSeparator"](separator, 0),
            train_dataset=names["Sums"](tokenizer, 24),
        )
        trainer.train()
        trainers.append(trainer)
    stock, ours = trainers
    assert runs.losses(stock) == runs.losses(ours)
    assert runs.same_weights(stock, ours)
