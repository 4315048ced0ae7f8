"""One forward trains as two do that decide alike, and every invariant of a step holds in it."""

import json
import math
from pathlib import Path

import pytest
import torch
from datasets import IterableDataset
from peft import LoraConfig
from transformers import DataCollatorForLanguageModeling, Trainer, set_seed

from qtuning import read_ledger, with_pruning
from qtuning.run.record import BUDGET_FILE

from .. import architectures, runs, tiny
from ..invariants.test_resume import stop_and_resume
from ..invariants.test_step import watched
from ..invariants.test_stock import PlainArguments, plain_data

DECISIONS = ["epoch", "step", "sample_id", "n_tokens", "quadrant", "kept", "filled", "tokens_kept"]
MICRO = {"pool_scope": "micro"}
# Neither SGD nor this norm hides a wrong factor on the gradients, as Adam and clipping would.
SETTINGS = {**MICRO, "optim": "sgd", "learning_rate": 0.02, "max_grad_norm": 1e9}
# An answer can lose all its tokens: it is in the one forward, and in none of two passes.
RELEASED = {"entropy_over": "all", "token_budget": "pool", "fill_tokens": "side"}
RELEASED |= {"protect_eos": False, "token_ratio": 0.3}


def gemma2():
    model = architectures.build("gemma2", vocab_size=100, eos_token_id=1, bos_token_id=None)
    return model.train()


def lora():
    return LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights="gaussian")


def train(folder: Path, *, one_pass: bool, model=None, **settings):
    trainer = runs.pruning(
        folder / ("one" if one_pass else "two"),
        model=model or tiny.llama(),
        one_pass=one_pass,
        **{**SETTINGS, **settings},
    )
    trainer.train()
    return trainer


def both(folder: Path, make_model=tiny.llama, **settings):
    """The same run in two passes and in one."""
    return [train(folder, one_pass=x, model=make_model(), **settings) for x in (False, True)]


def ledger(trainer):
    return read_ledger(trainer.args.output_dir)


def column(trainer, name: str) -> torch.Tensor:
    return torch.tensor([entry[name] for entry in trainer.state.log_history if name in entry])


def assert_same_run(two, one, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    assert ledger(one).select(DECISIONS).equals(ledger(two).select(DECISIONS))
    for name in ("loss", "grad_norm"):
        assert len(column(one, name))
        torch.testing.assert_close(column(one, name), column(two, name), rtol=rtol, atol=atol)
    weights = one.model.state_dict()
    for name, weight in two.model.state_dict().items():
        torch.testing.assert_close(weights[name], weight, rtol=rtol, atol=atol, equal_nan=True)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"sample_ratio": 1.0},
        {"sample_ratio": 0.05, "token_ratio": 0.3},
        {"per_device_train_batch_size": 5, "gradient_accumulation_steps": 3},
        {"gradient_accumulation_steps": 1, "pool_factor": 2},
        {"padding_free": True, "max_length": None},
        {"packing": True, "max_length": 64, "per_device_train_batch_size": 2},
        {"gradient_checkpointing": True},
        {"sample_pruner": "random"},
        {"token_pruner": "random"},
        {"fill_tokens": "side", "error_scale": "log_ppl", "neighbor_mean": True},
        {"entropy_over": "all", "padding_free": True, "max_length": None},
        {"token_rule": "and", "per_device_train_batch_size": 6},
        {**RELEASED, "per_device_train_batch_size": 6},
        {**RELEASED, "token_rule": "and", "sample_ratio": 0.8, "token_ratio": 0.1},
        {"prune_start": 0.3, "prune_end": 0.7},
        {"optim": "adamw_torch", "learning_rate": 1e-3, "max_grad_norm": 1.0},
    ],
    ids=str,
)
def test_it_trains_as_two_passes_do(tmp_path, settings) -> None:
    two, one = both(tmp_path, **settings)
    assert_same_run(two, one)
    kept = ledger(one)["tokens_kept"].to_pylist()
    assert 0 < sum(kept) < sum(ledger(one)["n_tokens"].to_pylist())


@pytest.mark.parametrize(
    ("make_model", "settings"),
    [(gemma2, {}), (tiny.llama, {"peft": True})],
    ids=["soft cap", "LoRA"],
)
def test_so_do_other_models(tmp_path, make_model, settings) -> None:
    settings = {"peft": lora()} if settings else {}
    two, one = both(tmp_path, make_model, **settings)
    before = runs.pruning(tmp_path / "new", model=make_model(), **settings).model
    new = before.state_dict()
    assert any(not torch.equal(new[n], w) for n, w in one.model.state_dict().items())
    assert_same_run(two, one)


def test_so_does_bfloat16(tmp_path) -> None:
    two, one = both(tmp_path, bf16=True, max_steps=1, token_pruner="none")
    torch.testing.assert_close(column(one, "loss"), column(two, "loss"), rtol=0.02, atol=0)
    torch.testing.assert_close(column(one, "grad_norm"), column(two, "grad_norm"), rtol=0.1, atol=0)


def test_so_does_a_plain_trainer_whose_collator_makes_the_labels(tmp_path) -> None:
    trained = []
    for one_pass in (False, True):
        args = {**runs.SETTINGS, **SETTINGS, "sample_ratio": 0.5, "one_pass": one_pass}
        trainer = with_pruning(Trainer)(
            tiny.llama(),
            PlainArguments(str(tmp_path / str(one_pass)), **args),
            data_collator=DataCollatorForLanguageModeling(tiny.tokenizer(), mlm=False),
            train_dataset=plain_data(),
        )
        counted = trainer._get_num_items_in_batch([{"labels": torch.tensor([[5, 5]])}], "cpu")
        if counted == 2:
            pytest.skip(
                "this transformers also counts a first token with a label, one pass does not"
            )
        trainer.train()
        trained.append(trainer)
    assert_same_run(*trained)


def test_so_does_a_stream(tmp_path) -> None:
    def rows():
        return IterableDataset.from_generator(tiny.rows)

    two, one = (
        train(tmp_path, one_pass=x, data=rows(), max_steps=5, num_train_epochs=1)
        for x in (False, True)
    )
    assert_same_run(two, one)


def everything(pool, args):
    """Asks for scores and prunes nothing."""
    return torch.ones(len(pool), dtype=torch.bool)


def test_where_nothing_is_pruned_it_is_the_stock_trainer_dropout_and_all(tmp_path) -> None:
    """So no random number is drawn but by the model's own forward."""
    settings = {"optim": "sgd", "learning_rate": 0.02, "max_grad_norm": 1e9}
    set_seed(42)
    theirs = runs.stock(tmp_path / "stock", model=tiny.llama(attention_dropout=0.1), **settings)
    theirs.train()
    model = tiny.llama(attention_dropout=0.1)
    ours = train(
        tmp_path, one_pass=True, model=model, sample_pruner=everything, token_pruner="none"
    )
    assert column(ours, "loss").tolist() == pytest.approx(runs.losses(theirs), rel=1e-5)
    for name, weight in theirs.model.state_dict().items():
        torch.testing.assert_close(ours.model.state_dict()[name], weight, rtol=1e-4, atol=1e-5)
    assert column(ours, "num_tokens").tolist() == column(theirs, "num_tokens").tolist()


@pytest.mark.parametrize(
    "settings",
    [{}, {"pool_factor": 2}, {"padding_free": True, "max_length": None}, {"prune_start": 0.4}],
    ids=str,
)
def test_invariants_of_every_step(tmp_path, settings) -> None:
    trainer = runs.pruning(tmp_path, data=tiny.dataset(22), one_pass=True, **MICRO, **settings)
    steps = watched(trainer)
    forwards = []
    trainer.model.register_forward_hook(lambda module, *_: forwards.append(module.training))
    trainer.train()
    assert len(steps) == trainer.state.global_step == trainer.state.max_steps
    for step in steps:
        assert step["asked"] == step["pulled"] == step["given"]
        assert step["counted"] == [step["items"]], "once, on the labels that the batches carry"
        assert step["modes kept"]
        assert not step["drew"]
    rows = ledger(trainer).to_pylist()
    assert len(rows) == 22 * 2, "every candidate of every epoch"
    for number, step in enumerate(steps, 1):
        own = [r for r in rows if r["step"] == number]
        whole = (number - 1) / len(steps) >= settings.get("prune_start", 0)
        if whole:
            assert step["items"] == sum(r["n_tokens"] for r in own)
        assert (own[0]["ppl"] is None) != whole
    # The first forward of all checks the head on eight tokens.
    assert forwards.count(False) == 1
    assert forwards.count(True) == sum(step["given"] for step in steps)


@pytest.mark.parametrize("stop_after", [1, 4])
@pytest.mark.parametrize("peft", [None, LoraConfig(r=2, lora_dropout=0.1)])
def test_resumed_is_uninterrupted(tmp_path, stop_after, peft) -> None:
    settings = {**MICRO, "one_pass": True, "peft": peft}
    whole = runs.pruning(tmp_path / "whole", **settings)  # with dropout
    whole.train()
    resumed = stop_and_resume(tmp_path / "again", stop_after, **settings)
    assert runs.same_weights(whole, resumed)
    assert runs.losses(whole) == runs.losses(resumed)
    assert ledger(resumed).equals(ledger(whole))
    budgets = [
        json.loads((Path(t.args.output_dir) / BUDGET_FILE).read_text()) for t in (whole, resumed)
    ]
    counts = [{k: v for k, v in b.items() if not k.endswith("seconds")} for b in budgets]
    assert counts[0] == counts[1]


def nothing(pool, args):
    return torch.zeros(len(pool), dtype=torch.bool)


def test_a_step_that_keeps_nothing_changes_nothing(tmp_path) -> None:
    before = {n: w.clone() for n, w in tiny.llama().state_dict().items()}
    trainer = train(tmp_path, one_pass=True, sample_pruner=nothing)
    assert trainer.state.global_step == 6
    assert column(trainer, "loss").tolist() == [0.0] * 6
    assert column(trainer, "grad_norm").tolist() == [0.0] * 6
    assert all(torch.equal(w.cpu(), before[n]) for n, w in trainer.model.state_dict().items())
    assert not any(ledger(trainer)["kept"].to_pylist())


def test_a_bad_sample_does_not_spoil_the_others_of_its_micro_batch(tmp_path) -> None:
    two, one = both(tmp_path, lambda: tiny.poisoned("7"), max_steps=3)
    assert_same_run(two, one)
    rows = ledger(one).to_pylist()
    bad = [r for r in rows if math.isnan(r["ppl"])]
    assert 0 < len(bad) < len(rows)
    assert not any(r["kept"] for r in bad)
    finite = {n: w for n, w in one.model.state_dict().items() if "embed" not in n}
    assert all(bool(w.isfinite().all()) for w in finite.values())
    counts = one._record.counts
    assert counts.bad_samples == len(bad)
    assert 0 < counts.scored_tokens <= counts.input_tokens  # what went forward in vain
    assert counts.trained_tokens < counts.input_tokens


def test_a_step_of_bad_samples_alone_changes_nothing(tmp_path) -> None:
    trainer = train(tmp_path, one_pass=True, model=tiny.poisoned("+"), max_steps=2)
    before = tiny.poisoned("+").state_dict()
    for name, weight in trainer.model.state_dict().items():
        assert torch.equal(weight.cpu().nan_to_num(9.0), before[name].nan_to_num(9.0))
    assert column(trainer, "loss").tolist() == [0.0, 0.0]
    assert trainer._record.counts.bad_samples == 16


def test_its_budget_is_that_of_a_full_run(tmp_path, capsys) -> None:
    trainer = train(tmp_path, one_pass=True, sample_ratio=0.75)
    counts = trainer._record.counts
    assert counts.scored_tokens == 0
    assert counts.trained_tokens == counts.input_tokens > 0
    assert 0 < counts.kept_answer_tokens < counts.answer_tokens
    assert counts.kept_answer_tokens == sum(ledger(trainer)["tokens_kept"].to_pylist())
    assert counts.scoring_seconds > 0
    assert counts.selection_seconds > 0
    assert counts.training_seconds > 0
    told = capsys.readouterr().out
    assert "at most 1.00x" in told
    assert "100.0% (942 of 942)" in told
    first = trainer.state.log_history[0]
    kept = [r for r in ledger(trainer).to_pylist() if r["step"] == 1 and r["kept"]]
    assert first["pruning/kept_samples"] == len(kept)
    assert first["pruning/scoring_seconds"] > 0
    assert 0 < first["entropy"] < math.log(100)
    assert "mean_token_accuracy" not in first


def test_pruners_without_scores_train_as_ever(tmp_path) -> None:
    two, one = both(tmp_path, sample_pruner="random", token_pruner="random")
    assert runs.same_weights(two, one)
    assert one._record.counts.trained_tokens < one._record.counts.input_tokens


def test_evaluation_is_the_stock_trainers(tmp_path) -> None:
    settings = {"eval_data": tiny.dataset(8, seed=1), "eval_strategy": "epoch"}
    two, one = both(tmp_path, **settings)
    for entry, other in zip(one.state.log_history, two.state.log_history, strict=True):
        if "eval_loss" in entry:
            names = {name for name in entry if name.startswith("eval_")}
            assert names == {name for name in other if name.startswith("eval_")}
            assert entry["eval_loss"] == pytest.approx(other["eval_loss"], rel=1e-4)
            seen = one._record.counts.trained_tokens * entry["epoch"] / 2
            assert entry["eval_num_tokens"] == seen
