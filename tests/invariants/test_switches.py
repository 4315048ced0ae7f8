"""What spares scoring or training must leave everything else as it was."""

import json
import math
from functools import partial

import pytest
import torch
from datasets import IterableDataset
from torch.utils.data import IterableDataset as TorchIterableDataset
from transformers import DataCollatorForLanguageModeling, Trainer, TrainerCallback

from qtuning import UsageError, read_ledger, with_pruning
from qtuning.run.record import BUDGET_FILE
from qtuning.training.idle import marked

from .. import runs, tiny
from .test_stock import PlainArguments, plain_data

DECIDED = ["step", "sample_id", "ppl", "entropy", "quadrant", "kept", "filled", "tokens_kept"]


def ledger(folder) -> list[dict]:
    return read_ledger(folder).to_pylist()


def counts(folder) -> dict:
    return json.loads((folder / BUDGET_FILE).read_text())


def train(folder, **settings):
    trainer = runs.pruning(folder, **settings)
    trainer.train()
    return trainer


# Scored last time, or by another model


def test_a_refresh_of_nearly_everything_is_exact(tmp_path) -> None:
    """99% of a pool of 8, rounded up, is all of it: the other way round to the same decisions."""
    exact = train(tmp_path / "exact")
    again = train(tmp_path / "again", score_refresh=0.99)
    assert read_ledger(tmp_path / "again").equals(read_ledger(tmp_path / "exact"))
    assert runs.same_weights(exact, again)


@pytest.mark.parametrize("scope", ["step", "micro"])
def test_from_the_second_epoch_on_only_the_share_is_scored(tmp_path, scope) -> None:
    train(
        tmp_path,
        score_refresh=0.25,
        num_train_epochs=3,
        pool_scope=scope,
        token_pruner="none",
        # Pools of 4 with scope micro, of 8 with scope step: a quarter is 1 of 4, 2 of 8.
    )
    rows = ledger(tmp_path)
    for epoch, share in ((0, 1.0), (1, 0.25), (2, 0.25)):
        scored = [row["scored"] for row in rows if row["epoch"] == epoch]
        assert sum(scored) == share * len(scored)
    last: dict[str, tuple] = {}
    for row in rows:  # what was not scored keeps its last scores, to the bit
        assert row["scored"] or last[row["sample_id"]] == (row["ppl"], row["entropy"])
        last[row["sample_id"]] = row["ppl"], row["entropy"]


def test_what_is_kept_unscored_is_scored_for_its_tokens(tmp_path) -> None:
    train(tmp_path, score_refresh=0.01, num_train_epochs=3)
    rows = [row for row in ledger(tmp_path) if row["epoch"] > 0]
    assert all(row["scored"] for row in rows if row["kept"])
    assert sum(row["scored"] for row in rows) < len(rows)
    assert counts(tmp_path)["scored_samples"] == 24 + sum(row["scored"] for row in rows)


def test_random_samples_are_scored_only_where_their_tokens_are_pruned(tmp_path) -> None:
    train(tmp_path, sample_pruner="random")
    for row in ledger(tmp_path):
        assert row["scored"] == row["kept"] == (row["ppl"] is not None)


@pytest.mark.parametrize(
    "settings",
    [
        {"score_refresh": 0.25},
        {"score_refresh": 0.25, "sample_pruner": "random"},
        {"score_refresh": 0.25, "sample_pruner": "ifd"},
        {"score_refresh": 0.25, "sample_pruner": "uds"},
        {"score_refresh": 0.5, "pool_scope": "micro"},
        {"scorer_model_name_or_path": "smaller"},
    ],
    ids=str,
)
@pytest.mark.parametrize("stop", [2, 4])
def test_resume_is_exact(tmp_path, settings, stop) -> None:
    if "scorer_model_name_or_path" in settings:
        smaller = tiny.save_model(tmp_path / "smaller", num_hidden_layers=1)
        settings = {"scorer_model_name_or_path": str(smaller)}
    settings |= {"num_train_epochs": 3, "save_strategy": "steps", "save_steps": 1}
    whole = train(tmp_path / "whole", **settings)
    stopped = runs.pruning(tmp_path / "again", **settings)
    stopped.add_callback(runs.StopAfter(stop))
    with pytest.raises(runs.Stop):
        stopped.train()
    again = runs.pruning(tmp_path / "again", **settings)
    again.train(resume_from_checkpoint=str(tmp_path / "again" / f"checkpoint-{stop}"))
    assert runs.same_weights(whole, again)
    assert read_ledger(tmp_path / "again").equals(read_ledger(tmp_path / "whole"))
    assert (
        counts(tmp_path / "again")["scored_tokens"] == counts(tmp_path / "whole")["scored_tokens"]
    )


def test_a_checkpoint_without_scores_is_resumed_with_a_warning(tmp_path, caplog) -> None:
    train(tmp_path, save_strategy="steps", save_steps=3)
    trainer = runs.pruning(tmp_path, score_refresh=0.5)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert "no pruning_scores.parquet" in caplog.text
    assert trainer.state.global_step == 6


def test_initial_scores_are_known_from_the_first_step(tmp_path) -> None:
    train(tmp_path / "before", sample_ratio=1.0, learning_rate=0.0, num_train_epochs=1)
    scored = ledger(tmp_path / "before")
    train(
        tmp_path / "after",
        initial_scores=str(tmp_path / "before"),
        score_refresh=0.25,
        token_pruner="none",
    )
    first = ledger(tmp_path / "after")[:8]
    assert sum(row["scored"] for row in first) == 2
    known = {row["sample_id"]: row["ppl"] for row in scored}
    for row in first:
        assert row["ppl"] == pytest.approx(known[row["sample_id"]], rel=1e-5)


def test_initial_scores_of_other_data_are_refused(tmp_path) -> None:
    train(tmp_path / "before", num_train_epochs=1)
    other = tiny.dataset(24).map(lambda row: {"id": "other " + row["id"]})
    with pytest.raises(UsageError, match=r"initial_scores .*: none of its samples"):
        runs.pruning(
            tmp_path, data=other, initial_scores=str(tmp_path / "before"), score_refresh=0.5
        )


@pytest.mark.parametrize("switch", [{"score_refresh": 0.5}, {"scorer_model_name_or_path": "x"}])
def test_one_pass_has_no_scores_to_spare(tmp_path, switch) -> None:
    with pytest.raises(UsageError, match="one_pass scores all candidates"):
        runs.pruning(tmp_path, one_pass=True, pool_scope="micro", **switch)


def test_initial_scores_without_a_refresh_have_no_effect_and_are_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"initial_scores has no effect at score_refresh 1\.0"):
        runs.pruning(tmp_path, initial_scores=str(tmp_path))


def test_another_model_scores_each_sample_once(tmp_path) -> None:
    folder = tiny.save_model(tmp_path / "smaller", seed=3, num_hidden_layers=1)
    trainer = train(tmp_path / "run", scorer_model_name_or_path=str(folder), token_pruner="none")
    rows = ledger(tmp_path / "run")
    assert [row["scored"] for row in rows] == [True] * 24 + [False] * 24
    reference = runs.pruning(
        tmp_path / "itself", model=tiny.llama(3, num_hidden_layers=1), token_pruner="none"
    )
    reference.train()
    for theirs, ours in zip(ledger(tmp_path / "itself")[:8], rows[:8], strict=True):
        assert {k: theirs[k] for k in DECIDED} == {k: ours[k] for k in DECIDED}
    assert not any(p.requires_grad for p in trainer._loaded.scorer.parameters())


def test_a_scorer_of_another_tokenizer_is_refused(tmp_path) -> None:
    folder = tiny.save_model(tmp_path / "other")
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace('"a": ', '"aa": ', 1))
    with pytest.raises(UsageError, match="its tokenizer is another one"):
        runs.pruning(tmp_path, scorer_model_name_or_path=str(folder))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_scoring_in_half_precision_trains_in_full(tmp_path, dtype) -> None:
    exact, rounded = train(tmp_path / "a"), train(tmp_path / "b", score_dtype=dtype)
    theirs, ours = ledger(tmp_path / "a")[:8], ledger(tmp_path / "b")[:8]
    for a, b in zip(theirs, ours, strict=True):
        assert a["ppl"] != b["ppl"]
        assert math.isclose(a["ppl"], b["ppl"], rel_tol=0.1)
    assert all(
        p.dtype == torch.float32 for p in (*exact.model.parameters(), *rounded.model.parameters())
    )


class Nameless(TorchIterableDataset):
    def __iter__(self):
        return iter(plain_data())


def test_samples_of_a_torch_stream_are_remembered_by_their_tokens(tmp_path) -> None:
    arguments = PlainArguments(
        str(tmp_path),
        **runs.SETTINGS | {"max_steps": 6, "score_refresh": 0.5, "token_pruner": "none"},
    )
    collator = DataCollatorForLanguageModeling(tiny.tokenizer(), mlm=False)
    with_pruning(Trainer)(
        tiny.llama(), arguments, train_dataset=Nameless(), data_collator=collator
    ).train()
    rows = ledger(tmp_path)
    assert len({row["sample_id"] for row in rows}) == 24
    assert sum(row["scored"] for row in rows[24:]) == 12


def test_a_stream_has_last_scores(tmp_path) -> None:
    stream = IterableDataset.from_generator(tiny.rows)
    train(tmp_path, data=stream, max_steps=6, score_refresh=0.25, token_pruner="none")
    scored = [row["scored"] for row in ledger(tmp_path)]
    assert scored == [True] * 24 + scored[24:]
    assert sum(scored[24:]) == 6


def test_what_looks_back_remembers_from_the_first_step(tmp_path) -> None:
    """So with ``prune_start`` pruning starts there, not an epoch later."""

    def kept(folder, **settings) -> list[float]:
        settings |= {"sample_pruner": "infobatch", "token_pruner": "none", "num_train_epochs": 3}
        train(folder, model=tiny.llama(), data=tiny.dataset(64), **settings)
        rows = ledger(folder)
        return [sum(row["kept"] for row in rows if row["epoch"] == e) / 64 for e in range(3)]

    at_once, later = kept(tmp_path / "0"), kept(tmp_path / "1", prune_start=0.33)
    assert at_once[0] == later[0] == 1.0
    assert later[1] < 0.85
    # what is remembered is the same, since nothing is pruned before in either
    assert later[1] == at_once[1]
    first = [row for row in ledger(tmp_path / "1") if row["epoch"] == 0]
    assert all(row["scored"] for row in first)


# What no rank has anything to train on in


class Forwards(TrainerCallback):
    def __init__(self, trainer) -> None:
        self.of_step: list[int] = []
        trainer.model.register_forward_pre_hook(self.count)

    def count(self, module, *_) -> None:
        if module.training:
            self.of_step[-1] += 1

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        self.of_step.append(0)


def test_kept_samples_share_a_forward_and_empty_micro_batches_have_none(tmp_path) -> None:
    trainer = runs.pruning(
        tmp_path, per_device_train_batch_size=4, gradient_accumulation_steps=2, sample_ratio=0.25
    )
    forwards = Forwards(trainer)
    trainer.add_callback(forwards)
    trainer.train()
    assert forwards.of_step == [1] * 6  # 2 of 8 samples fit one micro-batch of 4


def marked_never_to_skip(own, *args, skips):
    return own(*args, skips=False)


def test_weights_are_those_of_running_the_empty_ones_as_well(tmp_path, monkeypatch) -> None:
    settings = {"model": tiny.llama(), "sample_ratio": 0.25}
    skipping = train(tmp_path / "a", **settings)
    monkeypatch.setattr("qtuning.training.mixin.marked", partial(marked_never_to_skip, marked))
    running = train(tmp_path / "b", **{**settings, "model": tiny.llama()})
    for name, weight in running.model.state_dict().items():
        torch.testing.assert_close(skipping.model.state_dict()[name], weight, rtol=0, atol=1e-6)
    assert runs.losses(skipping) == pytest.approx(runs.losses(running), abs=1e-3)


def test_a_step_of_bad_samples_alone_still_runs_one_forward(tmp_path) -> None:
    def none(pool, args):
        return torch.zeros(len(pool), dtype=torch.bool)

    trainer = runs.pruning(tmp_path, sample_pruner=none, token_pruner="none")
    forwards = Forwards(trainer)
    trainer.add_callback(forwards)
    trainer.train()
    assert forwards.of_step == [1] * 6
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())
