"""Turns as units offline: scores, decisions and exports, and the same decisions as a run's."""

import itertools
import json

import pytest
import torch
from datasets import Dataset

import qtuning
from qtuning import UsageError, read_ledger
from qtuning.commands.main import main
from qtuning.core.ratio import keep_count

from .. import device, tiny, turned

SCORING = {"assistant_only_loss": True, "prune_unit": "turn", "progress": False, "bf16": False}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return turned.save(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def scored(model):
    return qtuning.score(Dataset.from_list(turned.rows()), model, per_token=True, **SCORING)


def test_scores_are_of_each_turn(scored) -> None:
    for row, told in zip(turned.rows(), scored, strict=True):
        turns = told["turn_scores"]
        assert [one["turn"] for one in turns] == list(range(1, turned.turns_of(row) + 1))
        assert sum(one["n_tokens"] for one in turns) == told["n_tokens"]
        start = 0
        for one in turns:
            nll = torch.tensor(told["token_nll"][start : start + one["n_tokens"]])
            assert one["ppl"] == pytest.approx(float(nll.mean().exp()), rel=1e-5)
            start += one["n_tokens"]
    assert [one["kind"] for one in scored[1]["turn_scores"]] == ["call", "answer"]


@pytest.mark.parametrize(("sample", "token"), [("q-tuning", "q-tuning"), ("random", "ppl")])
def test_decisions_are_those_of_the_first_step_of_a_run(tmp_path, scored, sample, token) -> None:
    if device.chosen() != device.CPU:
        pytest.skip("the last bits of scores decide between turns that are as good")
    methods = {"sample_pruner": sample, "token_pruner": token}
    rows = qtuning.prune(scored, sample_ratio=0.5, prune_unit="turn", with_dropped=True, **methods)
    trainer = turned.pruning(
        tmp_path, model=tiny.llama(), gradient_accumulation_steps=6, max_steps=1, **methods
    )
    trainer.train()
    ledger = read_ledger(tmp_path).to_pylist()
    if sample == "random":  # drawn in the order of the data, which a run shuffles
        n_turns = sum(map(turned.turns_of, turned.rows()))
        decided = [one["kept"] for row in rows for one in row["turn_decisions"]]
        assert sum(decided) == keep_count(n_turns, 0.5)
        return
    run = {(row["sample_id"], row["turn"]): (row["kept"], row["tokens_kept"]) for row in ledger}
    for row in rows:
        for one in row["turn_decisions"]:
            assert run[row["id"], one["turn"]] == (one["kept"], one["tokens_kept"])
        assert row["kept"] == any(one["kept"] for one in row["turn_decisions"])
        kept = row["n_tokens"] if row["token_kept"] is None else sum(row["token_kept"])
        if row["kept"]:
            assert kept == sum(one["tokens_kept"] for one in row["turn_decisions"])


def test_pools_are_of_conversations(scored) -> None:
    rows = qtuning.prune(
        scored, sample_ratio=0.5, token_ratio=1.0, prune_unit="turn", pool_size=3, with_dropped=True
    )
    for start in range(0, len(rows), 3):
        turns = [
            one for row in rows.select(range(start, start + 3)) for one in row["turn_decisions"]
        ]
        assert sum(one["kept"] for one in turns) == keep_count(len(turns), 0.5)


def test_exports_mask_what_was_dropped(tmp_path, scored) -> None:
    settings = {"sample_ratio": 0.4, "token_ratio": 1.0, "prune_unit": "turn"}
    kept = qtuning.prune(scored, output=tmp_path / "trl", format="trl", **settings)
    train = Dataset.from_parquet(str(tmp_path / "trl" / "train.parquet"))
    assert len(train) == len(kept)
    for row, example in zip(kept, train, strict=True):
        n = sum(one["tokens_kept"] for one in row["turn_decisions"])
        assert sum(label != -100 for label in example["labels"][1:]) == n
    qtuning.prune(scored, output=tmp_path / "x", format="axolotl", **settings)
    lines = [json.loads(line) for line in (tmp_path / "x" / "data.jsonl").open()]
    assert [line["labels"] for line in lines] == list(train["labels"])
    qtuning.prune(scored, output=tmp_path / "rows.jsonl", format="jsonl", **settings)
    for line in map(json.loads, (tmp_path / "rows.jsonl").open()):
        own = [m for m in line["messages"] if m["role"] == "assistant"]
        flags = [one["kept"] for one in line["turn_decisions"]]
        assert [message.get("weight") != 0 for message in own] == flags


def test_what_was_dropped_is_not_trained_on_again(tmp_path, scored) -> None:
    settings = {"sample_ratio": 0.4, "token_ratio": 1.0, "prune_unit": "turn"}
    rows = qtuning.prune(scored, output=tmp_path / "rows.jsonl", format="jsonl", **settings)
    lines = list(map(json.loads, (tmp_path / "rows.jsonl").open()))
    for message in itertools.chain.from_iterable(line["messages"] for line in lines):
        message.setdefault("content", "")  # a template prints None with transformers 5.16 and 5.17
    data = Dataset.from_list([{"id": line["id"], "messages": line["messages"]} for line in lines])
    trainer = turned.pruning(tmp_path / "out", data=data, sample_ratio=1.0, token_ratio=1.0)
    labels = [sum(y != -100 for y in row["labels"][1:]) for row in trainer.train_dataset]
    assert labels == [sum(one["tokens_kept"] for one in row["turn_decisions"]) for row in rows]


def test_scores_without_turns_are_refused(model) -> None:
    plain = qtuning.score(
        Dataset.from_list(turned.rows(4)), model, **{**SCORING, "prune_unit": "sample"}
    )
    with pytest.raises(UsageError, match="score with --prune_unit turn"):
        qtuning.prune(plain, prune_unit="turn", token_ratio=1.0)


def test_damaged_turns_are_refused(scored) -> None:
    def damaged(row):
        return {"turn_scores": row["turn_scores"][1:]}

    with pytest.raises(UsageError, match="turn_scores does not tell the turns of each row"):
        qtuning.prune(scored.map(damaged), prune_unit="turn", token_ratio=1.0)


def test_the_command_scores_and_prunes_turns(tmp_path, model, capsys) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in turned.rows()))
    options = ["--prune_unit", "turn"]
    words = ["--model_name_or_path", str(model), "--dataset_name", str(data), "--bf16", "false"]
    scores = str(tmp_path / "s.parquet")
    more = ["--assistant_only_loss", "true", "--output", scores, "--per_token"]
    assert main(["score", *words, *more, *options]) == 0
    words = ["--sample_ratio", "0.5", "--output", str(tmp_path / "kept.parquet")]
    assert main(["prune", scores, *words, *options]) == 0
    n = sum(map(turned.turns_of, turned.rows()))
    assert f"{keep_count(n, 0.5)} of {n} turns" in capsys.readouterr().out
