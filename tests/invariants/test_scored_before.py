"""Runs whose sample pruners read answers without prompts, scored before training or in it."""

import json

import pyarrow.parquet as pq
import pytest
from datasets import Dataset

import qtuning
from qtuning import QTuningTrainer, UsageError, read_ledger
from qtuning.run.record import BUDGET_FILE

from .. import runs, tiny

pytestmark = pytest.mark.usefixtures("one_thread")
COMPARING = ("gain-high", "gain-random", "q-tuning-gain", "ifd", "s-ifd")
DECIDED = ("sample_id", "kept", "quadrant", "filled")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("model"))


def scored(model, path, data=None, **more):
    rows = tiny.dataset() if data is None else data
    qtuning.score(rows, model, output=path, bf16=False, progress=False, **more)
    return str(path)


@pytest.fixture(scope="module")
def alone(model, tmp_path_factory):
    return scored(model, tmp_path_factory.mktemp("scores") / "s.parquet", alone=True)


def train(folder, **settings) -> QTuningTrainer:
    trainer = runs.pruning(folder, model=tiny.llama(), **settings)
    trainer.train()
    return trainer


def ledger(folder) -> list[dict]:
    return read_ledger(folder).to_pylist()


def counts(folder) -> dict:
    return json.loads((folder / BUDGET_FILE).read_text())


@pytest.mark.parametrize("pruner", COMPARING)
def test_initial_scores_decide_on_the_first_step_as_live_and_are_never_made_anew(
    tmp_path, alone, pruner
) -> None:
    settings = {"sample_pruner": pruner, "token_pruner": "none", "num_train_epochs": 3}
    train(tmp_path / "live", **settings)
    train(tmp_path / "before", **settings, initial_scores=alone, score_refresh=0.0)
    live, before = ledger(tmp_path / "live"), ledger(tmp_path / "before")
    for theirs, ours in zip(live[:8], before[:8], strict=True):
        assert {k: theirs[k] for k in DECIDED} == {k: ours[k] for k in DECIDED}
        assert ours["ppl"] == pytest.approx(theirs["ppl"], rel=1e-5)
    assert not any(row["scored"] for row in before)
    assert counts(tmp_path / "before")["scored_tokens"] == 0
    of_first = {row["sample_id"]: row["ppl"] for row in before[:24]}
    assert all(row["ppl"] == of_first[row["sample_id"]] for row in before)


def test_what_is_kept_is_scored_for_its_tokens_alone_and_keeps_its_scores(tmp_path, alone) -> None:
    settings = {"initial_scores": alone, "score_refresh": 0.0, "num_train_epochs": 2}
    trainer = train(tmp_path, sample_pruner="gain-high", **settings)
    rows = ledger(tmp_path)
    assert all(row["scored"] == row["kept"] for row in rows)
    lengths = {r["sample_id"]: len(r["input_ids"]) for r in trainer.train_dataset}
    passes = sum(lengths[row["sample_id"]] for row in rows if row["kept"])
    assert counts(tmp_path)["scored_tokens"] == passes, "no second pass over the answers"
    first = {row["sample_id"]: row["ppl"] for row in pq.read_table(alone).to_pylist()}
    store = trainer._step_pruner.refresh.store
    for row in rows:
        assert row["ppl"] == first[row["sample_id"]]
        assert store._known[row["sample_id"]].ppl == row["ppl"]


def test_samples_that_were_not_scored_before_are_scored_once(tmp_path, model) -> None:
    half = tiny.dataset().select(range(12))
    path = scored(model, tmp_path / "s.parquet", half, alone=True)
    settings = {"initial_scores": path, "score_refresh": 0.0, "token_pruner": "none"}
    train(tmp_path / "run", sample_pruner="q-tuning-gain", **settings)
    rows = ledger(tmp_path / "run")
    known = set(half["id"])
    assert all(row["scored"] == (row["sample_id"] not in known) for row in rows[:24])
    assert not any(row["scored"] for row in rows[24:])


@pytest.mark.parametrize("pruner", COMPARING)
def test_scores_without_the_column_are_refused_in_one_line(tmp_path, model, pruner) -> None:
    path = scored(model, tmp_path / "s.parquet")
    train(tmp_path / "earlier", num_train_epochs=1, sample_pruner="random")
    for source in (path, str(tmp_path / "earlier")):
        with pytest.raises(UsageError, match=rf"{pruner} reads .*`qtuning score --alone`") as told:
            train(tmp_path, sample_pruner=pruner, initial_scores=source, score_refresh=0.0)
        assert "\n" not in str(told.value)
        assert source in str(told.value)


def test_noisy_copies_are_refused_in_training_in_one_line(tmp_path) -> None:
    with pytest.raises(UsageError, match="s_ifd_noisy in training") as told:
        train(tmp_path, sample_pruner="s-ifd", s_ifd_noisy=True)
    assert "\n" not in str(told.value)


def test_a_sample_without_a_prompt_among_others_is_taken_last(tmp_path) -> None:
    ids = [[4 + i, 5, 6, 7 + i, 8] for i in range(8)]
    labels = [[-100, -100, *row[2:]] if i else row for i, row in enumerate(ids)]
    data = Dataset.from_dict(
        {"input_ids": ids, "labels": labels, "id": [f"s{i}" for i in range(8)]}
    )
    for pruner in COMPARING:
        train(
            tmp_path / pruner,
            data=data,
            sample_pruner=pruner,
            token_pruner="none",
            sample_ratio=0.8,
            num_train_epochs=1,
        )
        kept = {row["sample_id"] for row in ledger(tmp_path / pruner) if row["kept"]}
        assert len(kept) == 6
        assert "s0" not in kept


@pytest.mark.parametrize(
    "settings",
    [
        {"sample_pruner": "gain-high", "score_refresh": 0.0},
        {"sample_pruner": "q-tuning-gain", "score_refresh": 0.25},
        {"sample_pruner": "s-ifd", "score_refresh": 0.25},
        {"sample_pruner": "gain-random"},
        {"sample_pruner": "tail"},
        {"sample_pruner": "tail", "score_refresh": 0.25, "token_pruner": "ss-token"},
    ],
    ids=str,
)
def test_resume_is_exact(tmp_path, alone, settings) -> None:
    settings |= {"num_train_epochs": 3, "save_strategy": "steps", "save_steps": 1}
    if settings.get("score_refresh") == 0.0:
        settings["initial_scores"] = alone
    whole = train(tmp_path / "whole", **settings)
    stopped = runs.pruning(tmp_path / "again", model=tiny.llama(), **settings)
    stopped.add_callback(runs.StopAfter(4))
    with pytest.raises(runs.Stop):
        stopped.train()
    again = runs.pruning(tmp_path / "again", model=tiny.llama(), **settings)
    again.train(resume_from_checkpoint=str(tmp_path / "again" / "checkpoint-4"))
    assert runs.same_weights(whole, again)
    assert read_ledger(tmp_path / "again").equals(read_ledger(tmp_path / "whole"))
    for name in ("scored_tokens", "scored_samples"):
        assert counts(tmp_path / "again")[name] == counts(tmp_path / "whole")[name]
