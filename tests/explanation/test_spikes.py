"""Steps whose loss jumps, and the rows that lift it; where the losses of a run come from."""

import json
import math

import numpy as np
import pytest

from qtuning import UsageError, explain
from qtuning.explanation.losses import LEDGER, LOG

from . import naive
from .made import course, row, write

SPIKES = {33: 4.0, 77: 6.0, 78: 2.0}


def log(folder, entries, name="checkpoint-9", **more) -> None:
    """A trainer's log of (step, loss, kept tokens)."""
    place = folder / name
    place.mkdir(exist_ok=True)
    history = [
        {"step": step, "loss": loss, "pruning/kept_tokens": kept} for step, loss, kept in entries
    ]
    state = {"log_history": [*history, {"step": 1, "eval_loss": 1.0}], **more}
    (place / "trainer_state.json").write_text(json.dumps(state))


@pytest.fixture
def run(tmp_path):
    return write(tmp_path, *course(120, SPIKES))


def test_spikes_of_a_ledger_are_found_highest_first(run) -> None:
    found = explain(run).spikes()
    assert found.losses.source == LEDGER
    assert [spike.step for spike in found.spikes] == [77, 33, 78]
    scores = [spike.score for spike in found.spikes]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) > 10


def test_z_scores_losses_and_lifts_are_those_of_loops(run) -> None:
    rows = course(120, SPIKES)
    kept = [[one for one in rows if one.step == s and one.kept] for s in range(1, 121)]
    losses = [naive.answer_loss(step) for step in kept]
    scores = naive.z_scores(losses)
    for spike in explain(run).spikes(threshold=-4.0).spikes:
        at = spike.step - 1
        assert spike.loss == pytest.approx(losses[at])
        assert spike.score == pytest.approx(scores[at])
        assert spike.score >= -4.0
        assert sum(spike.lifts) == pytest.approx(spike.loss - spike.usual)
        share = 1 / 3  # all answers are as long
        for visit, lift in zip(spike.rows, spike.lifts, strict=True):
            assert lift == pytest.approx(share * (math.log(visit.ppl) - spike.usual))
    n = sum(score >= -4.0 for score in scores)
    assert len(explain(run).spikes(threshold=-4.0).spikes) == n > 3


def test_the_row_that_lifts_the_loss_comes_first(run) -> None:
    spike = explain(run).spikes().spikes[0]
    assert [visit.decision for visit in spike.rows] == ["kept"] * 3, "what was trained on"
    assert spike.rows[0].sample_id == "s64"
    assert spike.rows[0].ppl == max(visit.ppl for visit in spike.rows)
    assert [one.sample_id for one, _ in spike.lifting(3)] == ["s64"], "the others lower it"


def test_a_log_of_every_step_comes_before_the_ledger(run) -> None:
    losses = 1.0 + 0.1 * np.random.default_rng(0).normal(size=120)
    losses[50] = 9.0
    log(run, [(step + 1, float(loss), 30) for step, loss in enumerate(losses)])
    found = explain(run).spikes()
    assert found.losses.source == LOG
    assert [spike.step for spike in found.spikes] == [51]
    assert found.spikes[0].loss == 9.0


def test_a_log_of_some_steps_comes_after_the_ledger(run) -> None:
    log(run, [(step, 1.0, 30) for step in range(10, 121, 10)])
    assert explain(run).spikes().losses.source == LEDGER


def unscored(n_steps=120):
    """A run whose pruners read no scores."""
    return [
        row(step, f"s{step}-{place}", quadrant=0, ppl=None, entropy=None, scored=False)
        for step in range(1, n_steps + 1)
        for place in range(2)
    ]


def test_without_scores_the_log_of_some_steps_is_taken_and_all_their_rows_are_named(
    tmp_path,
) -> None:
    run = write(tmp_path, *unscored())
    entries = [(step, 1.0 + step / 1000, 8) for step in range(10, 121, 10)]
    entries[8] = (90, 5.0, 8)
    log(run, entries)
    (spike,) = explain(run).spikes().spikes
    assert (spike.first_step, spike.step, spike.steps) == (81, 90, "81-90")
    assert len(spike.rows) == 20
    assert all(math.isnan(lift) for lift in spike.lifts)
    assert len(spike.lifting(3)) == 1
    assert spike.to_dict()["rows"][0]["lift"] is None


def test_losses_of_another_model_are_not_those_of_the_run(run) -> None:
    settings = {"sample_pruner": "q-tuning", "token_pruner": "q-tuning", "sample_ratio": 0.5}
    settings |= {"token_ratio": 0.5, "scorer_model_name_or_path": "small"}
    (run / "pruning_settings.json").write_text(json.dumps(settings))
    with pytest.raises(UsageError, match="no losses on record"):
        explain(run).spikes()
    log(run, [(step, 1.0 + step % 3, 30) for step in range(10, 121, 10)])
    assert explain(run).spikes().losses.source == LOG


def test_a_run_without_losses_is_told_of(tmp_path) -> None:
    run = write(tmp_path, *unscored(10))
    with pytest.raises(UsageError, match=r"no losses on record.*trainer\.save_state"):
        explain(run).spikes()
    log(run, [(step, 1.0, 777) for step in range(1, 11)])
    with pytest.raises(UsageError, match="no losses on record"):
        explain(run).spikes()  # the log is of another run


def test_a_logged_loss_that_is_not_finite_is_a_spike(run) -> None:
    losses = [1.0 + step % 2 for step in range(120)]
    losses[60] = math.nan
    log(run, [(step + 1, loss, 30) for step, loss in enumerate(losses)])
    first = explain(run).spikes().spikes[0]
    assert first.step == 61
    assert first.score == math.inf
    told = first.to_dict()
    assert told["loss"] is told["score"] is None
    json.dumps(told, allow_nan=False)


def test_a_few_steps_have_no_spikes(tmp_path) -> None:
    run = write(tmp_path, *course(5, {5: 9.0}))
    assert explain(run).spikes().spikes == ()
