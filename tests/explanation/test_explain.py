"""``qtuning.explain`` of real runs: settings, logs, texts, and what is refused."""

import json
import math

import numpy as np
import pytest

import qtuning
from qtuning import UsageError, explain, read_ledger
from qtuning.explanation.losses import LOG
from qtuning.run.ledger import LedgerRow

from .. import runs, tiny
from . import naive
from .made import row, write

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of two epochs with a checkpoint at its end, and its data."""
    folder = tmp_path_factory.mktemp("run")
    data = tiny.dataset(24)
    data.to_json(folder / "rows.jsonl")
    trainer = runs.pruning(folder, data=data, save_strategy="steps", save_steps=100)
    trainer.train()
    return folder, runs.losses(trainer)


def rows_of(folder) -> list[LedgerRow]:
    return [LedgerRow(**one) for one in read_ledger(folder).to_pylist()]


def test_losses_are_those_that_the_trainer_logged(run) -> None:
    folder, losses = run
    told = explain(folder)
    assert [one.loss for one in told.logged] == losses
    assert [(one.first_step, one.step) for one in told.logged] == [(s, s) for s in range(1, 7)]
    found = told.spikes()
    assert found.losses.source == LOG
    assert told.step(3).logged.loss == losses[2]


def test_steps_and_samples_are_those_of_the_ledger(run) -> None:
    folder, _ = run
    told, rows = explain(folder), rows_of(folder)
    for number in range(1, 7):
        visits = told.step(number).visits
        of_step = {one.sample_id: one for one in rows if one.step == number}
        assert {visit.sample_id for visit in visits} == of_step.keys()
        assert [v.ppl for v in visits] == sorted((v.ppl for v in visits), reverse=True)
        for visit in visits:
            one = of_step[visit.sample_id]
            for name in ("ppl", "entropy", "quadrant", "n_tokens", "tokens_kept", "epoch"):
                assert vars(visit)[name] == one._asdict()[name]
            assert (visit.decision != "dropped") == one.kept
            assert visit.reason.startswith("kept" if one.kept else "dropped")
            assert visit.loss_before == pytest.approx(math.log(one.ppl))
    found = {one["sample_id"]: one for one in told.summary().table.to_pylist()}
    for name, expected in naive.samples(rows).items():
        assert {key: found[name][key] for key in expected} == expected


def test_texts_are_those_of_the_data(run) -> None:
    folder, _ = run
    told = explain(folder, rows=folder / "rows.jsonl")
    by_name = {one["id"]: one for one in tiny.rows(24)}
    for visit in told.step(1).visits:
        assert visit.text.prompt == by_name[visit.sample_id]["prompt"]
        assert visit.text.answer == by_name[visit.sample_id]["completion"]
    assert told.sample("s5").text.prompt == by_name["s5"]["prompt"]
    assert [text.prompt for text in told.texts_of(["s2", "s1"])] == [
        by_name["s2"]["prompt"],
        by_name["s1"]["prompt"],
    ]
    assert explain(folder).texts_of(["s2"]) == [None]
    assert explain(folder).step(1).visits[0].text is None


def test_rows_may_lack_some_samples_but_not_all(run, tmp_path) -> None:
    folder, _ = run
    some = tmp_path / "some.jsonl"
    some.write_text('{"id": "s5", "instruction": "add", "input": "1 2", "output": "3"}\n')
    told = explain(folder, rows=some)
    assert told.sample("s5").text.prompt == "add\n\n1 2"
    assert told.sample("s6").text is None
    other = tmp_path / "other.jsonl"
    other.write_text('{"id": "x", "prompt": "a", "completion": "b"}\n')
    with pytest.raises(UsageError, match="have none of the samples"):
        explain(folder, rows=other)
    tokens = tmp_path / "tokens.jsonl"
    tokens.write_text('{"id": "s5", "input_ids": [1], "labels": [1]}\n')
    with pytest.raises(UsageError, match="no column of a known format has text"):
        explain(folder, rows=tokens)


def test_a_run_that_reads_no_scores_has_steps_and_samples(tmp_path) -> None:
    trainer = runs.pruning(tmp_path, sample_pruner="random", token_pruner="random")
    trainer.train()
    told = explain(tmp_path)
    step = told.step(1)
    assert all(math.isnan(visit.ppl) and math.isnan(visit.loss_before) for visit in step.visits)
    assert {visit.reason for visit in step.visits} == {"kept: by random", "dropped: by random"}
    assert {path.path for path in told.summary().paths} == {"no plane"}
    json.dumps(step.to_dict(), allow_nan=False)
    with pytest.raises(UsageError, match="no losses on record"):
        told.spikes()
    trainer.save_state()
    assert explain(tmp_path).spikes().losses.source == LOG


def test_steps_before_pruning_starts_say_so(tmp_path) -> None:
    runs.pruning(tmp_path, prune_start=0.5).train()
    told = explain(tmp_path)
    assert {v.reason for v in told.step(1).visits} == {"kept: nothing was pruned in this step"}
    assert any(path.path.startswith("not pruned > Q") for path in told.summary().paths)


def test_the_ledger_itself_may_be_named(run) -> None:
    folder, _ = run
    assert explain(folder / "ledger").folder == folder
    assert explain(str(folder)).logged == explain(folder / "ledger").logged


def test_what_is_not_a_run_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"no ledger in .*: give a training run's output folder"):
        explain(tmp_path)
    with pytest.raises(UsageError, match="no ledger in"):
        explain(tmp_path / "nowhere")
    (tmp_path / "ledger").mkdir()
    with pytest.raises(UsageError, match="has no rows yet"):
        explain(tmp_path)
    with pytest.raises(UsageError, match="column quadrant has 9"):
        explain(write(tmp_path / "odd", row(1, "a", quadrant=9)))


def test_it_is_there_under_its_name() -> None:
    assert qtuning.explain is explain
    assert callable(qtuning.explain), "no module may hide it"
    assert "explain" in qtuning.__all__


def test_a_run_of_several_chunks_is_read_whole(tmp_path) -> None:
    rows = [row(1 + i // 10, f"s{i % 1000}", kept=i % 3 == 0) for i in range(10_000)]
    told = explain(write(tmp_path, *rows))
    assert told.summary().table["visits"].to_numpy().sum() == 10_000
    assert len(told.history.steps) == 1000
    assert np.all(told.history.next_scored[-1000:] == -1)
