"""Cells of the study from end to end, on a tiny model."""

import dataclasses
import json
from pathlib import Path

import pytest
import quality_evaluate
import quality_prepare
import torch
from quality_cell import decisions, run_cell
from quality_numbers import unpack_bits
from quality_study import (
    HIGH,
    INITIAL,
    LOW,
    METHODS,
    MODEL,
    SMALL,
    Setting,
    missing_fields,
)
from quality_train import make_trainer

from qtuning import read_ledger
from qtuning.io.models import load_causal_lm

from .. import tiny

SETTING = Setting(
    name="A",
    title="tiny",
    datasets=("sums",),
    rows=16,
    nll_rows=6,
    solve_rows=5,
    lora_rank=None,
    learning_rate=1e-3,
    epochs=2,
    batch=4,
    accumulation=2,
)


@pytest.fixture
def job(tmp_path, one_thread) -> dict:
    folder = tmp_path / "data" / "sums"
    folder.mkdir(parents=True)
    for split, seed in (("train", 0), ("test", 1)):
        rows = [{**row, "id": f"{split}-{row['id']}"} for row in tiny.rows(24, seed)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return {
        "kind": "cell",
        "setting": dataclasses.asdict(SETTING),
        "seed": 3,
        "config": {"sample_ratio": 0.25, "token_ratio": 0.5, "bf16": False},
        "trained": True,
        "model": str(tiny.save_model(tmp_path / "model")),
        "data": str(tmp_path / "data"),
    }


def test_a_cell(job, tmp_path) -> None:
    result = json.loads(json.dumps(run_cell(job, tmp_path / "cell")))
    assert result["budget"]["samples"] == 32
    assert result["budget"]["kept_samples"] == 8
    assert result["held_out"]["rows"] == 6
    assert 0 < result["held_out"]["nll"] < 20
    assert result["task"]["rows"] == 5
    rows = read_ledger(tmp_path / "cell" / "run").to_pylist()
    for epoch, found in enumerate(result["decisions"]):
        kept = [row["kept"] for row in rows if row["epoch"] == epoch]
        assert unpack_bits(found["kept"], found["n"]) == kept
        assert sum(kept) == 4


def test_seeds_order_the_data_alike_for_all_methods(job, tmp_path) -> None:
    random = {"sample_pruner": "random", "token_pruner": "random"}
    one = run_cell(job, tmp_path / "1")["decisions"]
    two = run_cell({**job, "config": {**job["config"], **random}}, tmp_path / "2")["decisions"]
    three = run_cell({**job, "seed": 4}, tmp_path / "3")["decisions"]
    assert [a["order"] for a in one] == [b["order"] for b in two]
    assert [a["order"] for a in one] != [c["order"] for c in three]


def test_the_untrained_model(job, tmp_path) -> None:
    result = run_cell({**job, "config": {"bf16": False}, "trained": False}, tmp_path / "cell")
    assert "budget" not in result
    assert "decisions" not in result
    assert result["held_out"]["rows"] == 6


def test_a_lora_cell_without_a_task(job, tmp_path) -> None:
    lora = dataclasses.replace(SETTING, lora_rank=2, solve_rows=0)
    result = run_cell({**job, "setting": dataclasses.asdict(lora)}, tmp_path / "cell")
    assert "task" not in result
    assert result["budget"]["kept_samples"] == 8


@pytest.mark.parametrize("method", [m for m in METHODS if m.trained], ids=lambda m: m.name)
def test_every_method_of_the_study(method, job, tmp_path) -> None:
    if missing := missing_fields(method):
        pytest.skip(f"no {', '.join(missing)} yet")
    config = {**method.config, "bf16": method.config.get("bf16", True)}
    for name, value in config.items():
        if value == INITIAL:
            quality_prepare.score_once(job, tmp_path / "initial")
            config[name] = str(tmp_path / "initial" / "run")
        elif value in (SMALL, MODEL):
            config[name] = job["model"]
    quiet = dataclasses.replace(SETTING, solve_rows=0, nll_rows=2)
    result = run_cell(
        {**job, "setting": dataclasses.asdict(quiet), "config": config}, tmp_path / "cell"
    )
    kept = {"": 16, LOW: 2, HIGH: 12}[method.budget]
    for epoch in result["decisions"]:
        assert sum(unpack_bits(epoch["kept"], epoch["n"])) == kept


def test_held_out_nll_is_the_models_own(job, tmp_path) -> None:
    rows = tiny.rows(7, seed=5)
    trainer = make_trainer(
        SETTING, job["model"], rows, {"x": rows}, output_dir=str(tmp_path / "run"), bf16=False
    )
    found = quality_evaluate.held_out_nll(trainer, "x")
    model, tokenizer = load_causal_lm(job["model"]), tiny.tokenizer()
    total, by_sample, count = 0.0, [], 0
    for row in rows:
        prompt = tokenizer(row["prompt"])["input_ids"]
        answer = [*tokenizer(row["completion"])["input_ids"], tokenizer.eos_token_id]
        ids = torch.tensor([prompt + answer])
        with torch.no_grad():
            log_probs = model(ids).logits[0].double().log_softmax(-1)
        nll = [-float(log_probs[len(prompt) + t - 1, token]) for t, token in enumerate(answer)]
        total, count = total + sum(nll), count + len(nll)
        by_sample.append(sum(nll) / len(nll))
    assert found["tokens"] == count
    assert found["nll"] == pytest.approx(total / count, rel=1e-4)
    assert found["nll_by_sample"] == pytest.approx(sum(by_sample) / len(by_sample), rel=1e-4)


def test_solved_problems_are_those_a_row_at_a_time(job, tmp_path, monkeypatch) -> None:
    """Left padding and batching change no answer; what is right is judged by the number."""
    rows = tiny.rows(9, seed=6)
    trainer = make_trainer(
        SETTING, job["model"], rows, {"x": rows}, output_dir=str(tmp_path / "run"), bf16=False
    )
    model, tokenizer = trainer.model.eval(), trainer.processing_class
    texts = []
    for row in rows:
        ids = torch.tensor([tokenizer(row["prompt"])["input_ids"]])
        out = model.generate(input_ids=ids, max_new_tokens=8, do_sample=False, pad_token_id=0)
        texts.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
    seen = {}
    monkeypatch.setattr(quality_evaluate, "NEW_TOKENS", 8)
    monkeypatch.setattr(quality_evaluate, "SOLVE_BATCH", 4)
    monkeypatch.setattr(
        quality_evaluate, "is_right", lambda text, answer: seen.setdefault(answer, text) == text
    )
    found = quality_evaluate.solved(trainer, rows)
    assert [seen[row["completion"]] for row in rows] == texts
    assert found["accuracy"] == 1.0
    assert found["standard_error"] == 0.0
    assert unpack_bits(found["right"], 9) == [True] * 9


def test_scores_made_beforehand_are_those_of_the_untrained_model(job, tmp_path) -> None:
    quality_prepare.score_once(job, tmp_path / "initial")
    initial = read_ledger(tmp_path / "initial" / "run").to_pylist()
    assert {row["epoch"] for row in initial} == {0}
    run_cell({**job, "config": {**job["config"], "bf16": True}}, tmp_path / "cell")
    first = [r for r in read_ledger(tmp_path / "cell" / "run").to_pylist() if r["step"] == 1]
    known = {row["sample_id"]: row for row in initial}
    assert len(known) == 16
    for row in first:
        assert known[row["sample_id"]]["ppl"] == pytest.approx(row["ppl"], rel=1e-2)


def test_the_smaller_model(job, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(quality_prepare, "SETTINGS", (SETTING,))
    recipe = {**quality_prepare.RECIPE, "layers": 1, "rows_by_setting": 8, "epochs": 1}
    monkeypatch.setattr(quality_prepare, "RECIPE", recipe)
    result = quality_prepare.make_small_model(job, tmp_path / "small")
    small, whole = load_causal_lm(str(tmp_path / "small" / "model")), load_causal_lm(job["model"])
    assert small.config.num_hidden_layers == 1
    assert result["parameters"] == sum(p.numel() for p in small.parameters())
    assert result["parameters"] < sum(p.numel() for p in whole.parameters())
    assert result["budget"]["kept_samples"] == 8
    assert set(result["held_out"]) == {"A"}


def test_cutting_keeps_the_first_layers(job, tmp_path) -> None:
    quality_prepare.cut_down(job["model"], 1, Path(tmp_path / "cut"))
    cut, whole = load_causal_lm(str(tmp_path / "cut")), load_causal_lm(job["model"])
    kept = cut.state_dict()
    assert all(torch.equal(kept[name], whole.state_dict()[name]) for name in kept)
    assert not any("layers.1." in name for name in kept)


def test_no_ledger_rows_no_decisions(tmp_path) -> None:
    (tmp_path / "ledger").mkdir()
    assert decisions(tmp_path) == []
