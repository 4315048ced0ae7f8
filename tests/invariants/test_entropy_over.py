"""``entropy_over`` all: what decides is the entropy of the whole sample, wherever it is written."""

import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import torch

import qtuning
from qtuning import UsageError, read_ledger, read_probe
from qtuning.core.plane import select_samples
from qtuning.examples.candidate import ENTROPY_ALL
from qtuning.examples.example import unpack
from qtuning.run.record import BUDGET_FILE

from .. import runs, tiny
from .test_resume import stop_and_resume

ALL = {"entropy_over": "all"}
RELEASED = {
    **ALL,
    "token_budget": "pool",
    "fill_tokens": "side",
    "protect_eos": False,
    "token_ratio": 0.3,
}


def train(folder, **settings):
    trainer = runs.pruning(folder, **{"model": tiny.llama(), **settings})
    trainer.train()
    return trainer


def ledger(folder) -> list[dict]:
    return read_ledger(folder).to_pylist()


@torch.no_grad()
def naive(trainer) -> dict[str, tuple[float, float]]:
    """Perplexity of each answer and entropy of each whole sample, in float64, one by one."""
    model = trainer.model.eval()
    found = {}
    for sample in (sample for row in trainer.train_dataset for sample in unpack(dict(row))):
        example = trainer._labels.of(sample)
        ids = torch.tensor([example["input_ids"]], device=model.device)
        logp = model(ids).logits[0].double().log_softmax(-1).cpu()
        labels = torch.tensor(example["labels"])[1:]
        nll = -logp[:-1].gather(1, labels.clamp(min=0)[:, None]).squeeze(1)[labels >= 0]
        entropy = -(logp.exp() * logp).sum(-1)
        found[example["sample_id"]] = float(nll.mean().exp()), float(entropy.mean())
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"padding_free": True, "max_length": None},
        {"pool_scope": "micro"},
        {"pool_scope": "micro", "one_pass": True},
        {"pool_scope": "micro", "one_pass": True, "padding_free": True, "max_length": None},
        {"packing": True, "max_length": 64, "per_device_train_batch_size": 2},
        {"sample_pruner": "random"},
        {"sample_pruner": "entropy"},
    ],
    ids=str,
)
def test_the_ledger_has_what_the_plane_was_cut_by(tmp_path, settings) -> None:
    trainer = train(tmp_path, learning_rate=0.0, **ALL, **settings)
    expected, rows = naive(trainer), ledger(tmp_path)
    assert rows
    for row in rows:
        if row["scored"]:
            assert row["ppl"] == pytest.approx(expected[row["sample_id"]][0], rel=1e-4)
            assert row["entropy"] == pytest.approx(expected[row["sample_id"]][1], rel=1e-4)
    if settings:
        return
    pool = rows[:8]
    selection = select_samples(
        *(torch.tensor([row[name] for row in pool]).double() for name in ("ppl", "entropy")), 0.5
    )
    assert selection.kept.tolist() == [row["kept"] for row in pool]


def test_the_other_entropy_decides_otherwise_and_the_default_is_as_ever(tmp_path) -> None:
    default = train(tmp_path / "default")
    named = train(
        tmp_path / "named", entropy_over="answer", token_budget="sample", token_rule="score"
    )
    train(tmp_path / "all", **ALL)
    assert runs.same_weights(default, named)
    assert runs.losses(default) == runs.losses(named)
    assert read_ledger(tmp_path / "default").equals(read_ledger(tmp_path / "named"))
    assert ENTROPY_ALL not in default._step_pruner.scorer.needs, "what is not asked for"
    kept = [[row["kept"] for row in ledger(tmp_path / name)] for name in ("default", "all")]
    assert kept[0] != kept[1]


def test_the_probe_has_it_too(tmp_path) -> None:
    trainer = train(tmp_path, learning_rate=0.0, probe_samples=5, **ALL)
    expected = naive(trainer)
    for row in read_probe(tmp_path).to_pylist():
        assert row["entropy"] == pytest.approx(expected[row["sample_id"]][1], rel=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"score_refresh": 0.25},
        {"pool_scope": "micro", "one_pass": True},
        {"token_rule": "and", "token_budget": "sample"},
    ],
    ids=str,
)
def test_resumed_is_uninterrupted(tmp_path, settings) -> None:
    settings = {**RELEASED, **settings}
    whole = runs.pruning(
        tmp_path / "whole", save_strategy="steps", save_steps=1, num_train_epochs=3, **settings
    )
    whole.train()
    again = stop_and_resume(tmp_path / "again", 4, num_train_epochs=3, **settings)
    assert runs.same_weights(whole, again)
    assert read_ledger(tmp_path / "again").equals(read_ledger(tmp_path / "whole"))


def test_what_was_not_scored_keeps_its_last_entropy(tmp_path) -> None:
    train(tmp_path, score_refresh=0.25, token_pruner="none", **ALL)
    rows = ledger(tmp_path)
    last: dict[str, float] = {}
    for row in rows:
        assert row["scored"] or row["entropy"] == last[row["sample_id"]]
        last[row["sample_id"]] = row["entropy"]
    assert not all(row["scored"] for row in rows)


def test_scores_made_before_are_read_by_the_same_positions(tmp_path) -> None:
    model = tiny.save_model(tmp_path / "model")
    scores = tmp_path / "s.parquet"
    options = {"output": scores, "bf16": False, "progress": False}
    qtuning.score(tiny.dataset(), model, entropy_over="all", **options)
    columns = pq.read_table(scores).to_pydict()
    given = {"initial_scores": str(scores), "score_refresh": 0.25, "token_pruner": "none"}
    for over, name in (("answer", "entropy"), ("all", "entropy_all")):
        train(tmp_path / over, entropy_over=over, **given)
        known = dict(zip(columns["sample_id"], columns[name], strict=True))
        first = [row for row in ledger(tmp_path / over)[:8] if not row["scored"]]
        assert len(first) == 6
        assert all(row["entropy"] == known[row["sample_id"]] for row in first)
    decided = qtuning.prune(scores, token_ratio=1.0, with_dropped=True, **ALL)
    decided.to_parquet(tmp_path / "decided.parquet")
    given["initial_scores"] = str(tmp_path / "decided.parquet")
    for over, name in (("answer", "entropy"), ("all", "entropy_all")):
        train(tmp_path / f"decided {over}", entropy_over=over, **given)
        known = dict(zip(columns["sample_id"], columns[name], strict=True))
        first = [row for row in ledger(tmp_path / f"decided {over}")[:8] if not row["scored"]]
        assert all(row["entropy"] == known[row["sample_id"]] for row in first)


def test_scores_over_other_positions_are_refused_in_one_line(tmp_path) -> None:
    model = tiny.save_model(tmp_path / "model")
    scores = tmp_path / "s.parquet"
    qtuning.score(tiny.dataset(), model, output=scores, bf16=False, progress=False)
    train(tmp_path / "run", num_train_epochs=1)
    for path, message in ((scores, "no column entropy_all"), (tmp_path / "run", "over answer")):
        with pytest.raises(UsageError, match=message) as told:
            train(tmp_path / "x", initial_scores=str(path), score_refresh=0.5, **ALL)
        assert "\n" not in str(told.value)
    train(tmp_path / "all", num_train_epochs=1, **ALL)
    with pytest.raises(UsageError, match="set entropy_over to all"):
        train(tmp_path / "x", initial_scores=str(tmp_path / "all"), score_refresh=0.5)


@pytest.mark.parametrize("mode", ["mask", "drop"])
def test_an_answer_that_lost_all_tokens_is_kept_counted_and_in_no_forward(tmp_path, mode) -> None:
    settings = {**RELEASED, "token_ratio": 0.1, "sample_ratio": 0.5, "token_mode": mode}
    trainer = runs.pruning(tmp_path, model=tiny.llama(), **settings)
    sizes: list[tuple[int, bool]] = []

    def watch(module, args, inputs):
        if module.training:
            sizes.extend(
                (int(mask.sum()), bool((labels != -100).any()))
                for mask, labels in zip(inputs["attention_mask"], inputs["labels"], strict=True)
            )

    trainer.model.register_forward_pre_hook(watch, with_kwargs=True)
    trainer.train()
    assert all(has_labels for size, has_labels in sizes if size > 2), "2 are a rank's placeholder"
    rows = ledger(tmp_path)
    emptied = [row for row in rows if row["kept"] and not row["tokens_kept"]]
    counts = json.loads((tmp_path / BUDGET_FILE).read_text())
    assert counts["emptied_samples"] == len(emptied) > 0
    assert counts["kept_samples"] == sum(row["kept"] for row in rows) == 24
    logs = [log for log in trainer.state.log_history if "pruning/emptied_samples" in log]
    assert sum(log["pruning/emptied_samples"] for log in logs) == len(emptied)
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())
    assert all(map(torch.isfinite, torch.tensor(runs.losses(trainer))))
    if mode == "mask":
        lengths = {row["sample_id"]: len(row["input_ids"]) for row in trainer.train_dataset}
        in_forward = [r for r in rows if r["kept"] and r["tokens_kept"]]
        assert counts["trained_tokens"] == sum(lengths[r["sample_id"]] for r in in_forward)


def nothing(pool, args):
    return [torch.zeros(sample.n_tokens, dtype=torch.bool) for sample in pool.samples]


def test_a_step_whose_answers_all_lost_their_tokens_changes_nothing(tmp_path) -> None:
    before = tiny.llama().state_dict()
    trainer = train(tmp_path, token_pruner=nothing, weight_decay=0.0)
    assert trainer.state.global_step == 6
    for name, weight in trainer.model.state_dict().items():
        assert torch.equal(weight.cpu(), before[name])


@pytest.mark.parametrize("scope", ["step", "micro"])
def test_a_pool_keeps_its_budget_in_a_run(tmp_path, scope) -> None:
    settings = {**RELEASED, "sample_ratio": 1.0, "sample_pruner": keep_all, "token_ratio": 0.3}
    train(tmp_path, **settings, pool_scope=scope)
    rows = ledger(tmp_path)
    size = 8 if scope == "step" else 4
    for start in range(0, len(rows), size):
        pool = rows[start : start + size]
        n_tokens = sum(row["n_tokens"] for row in pool)
        assert sum(row["tokens_kept"] for row in pool) == int(0.3 * n_tokens + 1e-9)


def keep_all(pool, args):
    """No plane, so that the tokens of all samples may be pruned."""
    return torch.ones(len(pool), dtype=torch.bool)


def test_an_own_pruner_sees_where_a_sample_stands_in_its_pool(tmp_path) -> None:
    seen = []

    def watch(pool, args):
        seen.append([replace(sample).pool for sample in pool.samples])
        return [torch.ones(sample.n_tokens, dtype=torch.bool) for sample in pool.samples]

    train(tmp_path, token_pruner=watch, pool_scope="micro")
    rows = ledger(tmp_path)
    for step, places in enumerate(seen):
        own = rows[8 * step : 8 * step + 8]
        kept = [i for i, row in enumerate(own) if row["kept"]]
        assert [4 * one.group + one.place for one in places] == kept
        for one in places:
            members = own[4 * one.group : 4 * one.group + 4]
            assert one.n_tokens == sum(row["n_tokens"] for row in members)
