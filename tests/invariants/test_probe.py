"""The probe set shows how a run goes, and leaves the run as it is."""

import math

import pytest
import torch
from datasets import IterableDataset
from transformers import DataCollatorForLanguageModeling, Trainer, TrainerCallback

from qtuning import UsageError, read_ledger, read_probe, with_pruning
from qtuning.examples.labels import Labels
from qtuning.run.probe import PROBE_ENTROPY, PROBE_PPL, ProbeRow, draw_probe, probe_metrics
from qtuning.run.probe_rows import PROBE_SCHEMA

from .. import runs, tiny
from .test_stock import PlainArguments, plain_data

PROBE = {"probe_samples": 5, "probe_steps": 2}


def train(folder, **settings):
    trainer = runs.pruning(folder, **settings)
    trainer.train()
    return trainer


def rows(folder) -> list[dict]:
    return read_probe(folder).to_pylist()


def regular_logs(trainer) -> list[dict]:
    """What was logged but for the probe and for times."""
    logs = [log for log in trainer.state.log_history if PROBE_PPL not in log]
    return [
        {k: v for k, v in log.items() if "second" not in k and "runtime" not in k} for log in logs
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"one_pass": True, "pool_scope": "micro"},
        {"packing": True, "max_length": 64, "per_device_train_batch_size": 2},
        {"gradient_checkpointing": True, "token_mode": "drop"},
        {"sample_pruner": "random", "token_pruner": "random"},
        {"sample_ratio": 1.0, "token_ratio": 1.0},
    ],
    ids=["plain", "one pass", "packed", "checkpointing", "random", "everything"],
)
def test_training_with_and_without_it_is_the_same_bit_by_bit(tmp_path, settings) -> None:
    """The model has dropout, so a single random number drawn would show."""
    without = train(tmp_path / "without", **settings)
    probed = train(tmp_path / "probed", probe_samples=5, probe_steps=1, **settings)
    assert runs.losses(probed) == runs.losses(without)
    assert regular_logs(probed) == regular_logs(without)
    assert runs.same_weights(probed, without)
    assert read_ledger(tmp_path / "probed").equals(read_ledger(tmp_path / "without"))
    assert not (tmp_path / "without" / "probe").exists()
    assert {row["step"] for row in rows(tmp_path / "probed")} == set(
        range(probed.state.global_step + 1)
    )


def test_it_is_scored_before_now_and_then_and_at_the_end(tmp_path) -> None:
    trainer = train(tmp_path, probe_samples=5, probe_steps=4)
    table = read_probe(tmp_path)
    assert table.schema == PROBE_SCHEMA
    assert table["step"].to_pylist() == [0] * 5 + [4] * 5 + [6] * 5
    assert table["epoch"].to_pylist()[::5] == pytest.approx([0, 4 / 3, 2])
    names = table["sample_id"].to_pylist()
    assert len(set(names[:5])) == 5
    assert names == names[:5] * 3
    logs = [log for log in trainer.state.log_history if PROBE_PPL in log]
    assert [log["step"] for log in logs] == [0, 4, 6]
    for log, start in zip(logs, (0, 5, 10), strict=True):
        of_visit = table.slice(start, 5)
        for metric, column in ((PROBE_PPL, "ppl"), (PROBE_ENTROPY, "entropy")):
            assert log[metric] == pytest.approx(sum(of_visit[column].to_pylist()) / 5)
    assert logs[0][PROBE_PPL] != logs[-1][PROBE_PPL]


def test_scores_are_those_of_the_untouched_model(tmp_path) -> None:
    """Before the first step they are what a run that keeps everything finds in its first step."""
    train(tmp_path / "probed", **PROBE)
    train(tmp_path / "all", per_device_train_batch_size=24, gradient_accumulation_steps=1)
    known = {row["sample_id"]: row for row in read_ledger(tmp_path / "all").to_pylist()[:24]}
    for row in rows(tmp_path / "probed")[:5]:
        of_run = known[row["sample_id"]]
        assert row["ppl"] == pytest.approx(of_run["ppl"], rel=1e-4)
        assert row["entropy"] == pytest.approx(of_run["entropy"], rel=1e-4)
        assert row["n_tokens"] == of_run["n_tokens"]


def test_the_model_being_trained_is_scored_not_another_scorer(tmp_path) -> None:
    other = tiny.save_model(tmp_path / "smaller", seed=3, num_hidden_layers=1)
    train(tmp_path / "a", **PROBE)
    train(tmp_path / "b", **PROBE, scorer_model_name_or_path=str(other))
    assert rows(tmp_path / "a")[:5] == rows(tmp_path / "b")[:5]
    by_step = {row["step"]: row["ppl"] for row in rows(tmp_path / "b")}
    assert len(set(by_step.values())) == 4, "it learns"


def test_the_seed_draws_it() -> None:
    data = tiny.dataset(24).map(lambda row, i: {"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, 1)
    labels = Labels(DataCollatorForLanguageModeling(tiny.tokenizer(), mlm=False))

    def drawn(n, seed):
        before = torch.get_rng_state()
        names = [one.name for one in draw_probe(data, n, seed, labels, {"input_ids", "labels"})]
        assert torch.equal(torch.get_rng_state(), before)
        return names

    assert drawn(8, 1) == drawn(8, 1)
    assert drawn(8, 1) != drawn(8, 2)
    assert drawn(8, 1)[:3] == drawn(3, 1)
    assert sorted(drawn(100, 1), key=int) == list(map(str, range(24)))


def test_it_is_not_what_is_trained_on_first(tmp_path) -> None:
    trainer = train(tmp_path, data=tiny.dataset(200), probe_samples=32, probe_steps=4, max_steps=4)
    probed = {row["sample_id"] for row in rows(tmp_path)}
    trained_on = {row["sample_id"] for row in read_ledger(tmp_path).to_pylist()}
    assert (trainer.state.global_step, len(probed), len(trained_on)) == (4, 32, 32)
    assert len(probed & trained_on) < 16, "by chance about 5"


def test_samples_without_answers_are_not_drawn() -> None:
    labels = Labels(DataCollatorForLanguageModeling(tiny.tokenizer(), mlm=False))
    empty = {"input_ids": [5, 6], "labels": [-100, -100], "sample_id": "empty"}
    full = {"input_ids": [5, 6], "labels": [-100, 6], "sample_id": "full"}
    assert [one.name for one in draw_probe([empty, full, empty], 3, 0, labels)] == ["full"]
    with pytest.raises(UsageError, match="probe_samples: no sample has answer tokens"):
        draw_probe([empty], 3, 0, labels)


@pytest.mark.parametrize("stop_after", [1, 2, 3, 5])
def test_a_resumed_run_has_every_row_once(tmp_path, stop_after) -> None:
    saving = {**PROBE, "save_strategy": "steps", "save_steps": 2 if stop_after > 2 else 1}
    train(tmp_path / "whole", **saving)
    stopped = runs.pruning(tmp_path / "again", **saving)
    stopped.add_callback(runs.StopAfter(stop_after))
    with pytest.raises(runs.Stop):
        stopped.train()
    resumed = runs.pruning(tmp_path / "again", **saving)
    resumed.train(resume_from_checkpoint=True)
    assert read_probe(tmp_path / "again").equals(read_probe(tmp_path / "whole"))
    logged = [log["step"] for log in resumed.state.log_history if PROBE_PPL in log]
    assert logged == [0, 2, 4, 6]


def test_rows_after_the_checkpoint_go_when_it_is_resumed(tmp_path) -> None:
    saving = {**PROBE, "save_strategy": "steps", "save_steps": 3}
    train(tmp_path, **saving)
    whole = read_probe(tmp_path)
    again = runs.pruning(tmp_path, **saving)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert read_probe(tmp_path).equals(whole)


def test_a_new_run_moves_the_old_record_aside(tmp_path) -> None:
    for _ in range(2):
        train(tmp_path, **PROBE, num_train_epochs=1)
    assert len(rows(tmp_path)) == len(rows(tmp_path / "probe-1")) == 3 * 5


class StopEarly(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs) -> None:
        control.should_training_stop = state.global_step == 3


def test_a_run_that_stops_early_has_its_end_on_record(tmp_path) -> None:
    trainer = runs.pruning(tmp_path, **PROBE)
    trainer.add_callback(StopEarly)
    trainer.train()
    assert [row["step"] for row in rows(tmp_path)][::5] == [0, 2, 3]


def test_a_plain_trainer_has_it_too(tmp_path) -> None:
    """Its collator takes no other columns than the model's."""
    named = [{**row, "comment": "not for the model"} for row in plain_data()]
    with_pruning(Trainer)(
        tiny.llama(),
        PlainArguments(str(tmp_path), **runs.SETTINGS, **PROBE),
        data_collator=DataCollatorForLanguageModeling(tiny.tokenizer(), mlm=False),
        train_dataset=named,
    ).train()
    assert len(rows(tmp_path)) == 4 * 5


def test_a_stream_has_no_fixed_set(tmp_path) -> None:
    stream = IterableDataset.from_generator(tiny.rows)
    with pytest.raises(UsageError, match="probe_samples on a stream"):
        runs.pruning(tmp_path, data=stream, max_steps=2, **PROBE)


def test_bad_losses_are_on_record_and_out_of_the_means(tmp_path) -> None:
    visit = [
        ProbeRow(0, 0.0, "a", 2.0, 1.0, 3),
        ProbeRow(0, 0.0, "b", math.nan, math.nan, 3),
        ProbeRow(0, 0.0, "c", 4.0, 3.0, 3),
    ]
    assert probe_metrics(visit) == {PROBE_PPL: 3.0, PROBE_ENTROPY: 2.0}
    assert probe_metrics(visit[1:2]) == {}
    trainer = train(tmp_path, model=tiny.poisoned("7"), probe_samples=24, probe_steps=6)
    found = rows(tmp_path)[:24]
    assert 0 < sum(math.isnan(row["ppl"]) for row in found) < 24
    assert any(PROBE_PPL in log for log in trainer.state.log_history)


def test_there_is_none_to_read(tmp_path) -> None:
    with pytest.raises(UsageError, match="no probe in"):
        read_probe(tmp_path)
