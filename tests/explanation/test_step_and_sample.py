"""One step with its candidates, and one sample over its visits."""

import math

import pytest

from qtuning import UsageError, explain
from qtuning.explanation.sample import close_names

from . import naive
from .made import course, row, write


@pytest.fixture
def run(tmp_path):
    return write(
        tmp_path,
        row(1, "a", ppl=math.e**3),
        row(1, "b", ppl=math.e**2, kept=False, quadrant=1),
        row(2, "c", ppl=math.nan, kept=False, quadrant=0),
        row(2, "a", ppl=math.e**2.5, scored=False, filled=True, quadrant=3),
        row(2, "d", ppl=None, scored=False, kept=False, quadrant=0),
        row(2, "e", ppl=math.inf, kept=False, quadrant=0),
        row(4, "a", ppl=math.e, epoch=1),
        row(4, "b", ppl=math.e**1.5, kept=False, epoch=1),
        row(4, "f", ppl=None, kept=False, n_tokens=0, scored=False, quadrant=0, epoch=1),
    )


def test_candidates_come_highest_perplexity_first_bad_ones_before_and_unknown_ones_last(
    run,
) -> None:
    step = explain(run).step(2)
    assert [visit.sample_id for visit in step.visits] == ["c", "e", "a", "d"]
    assert [visit.decision for visit in step.visits] == ["dropped", "dropped", "filled", "dropped"]
    assert step.visits[2].reason == "kept to fill the budget (redundant knowledge)"
    assert not step.visits[2].scored


def test_loss_before_and_after_are_those_of_this_visit_and_the_next_scored_one(run) -> None:
    a, b = explain(run).step(1).visits
    assert (a.sample_id, b.sample_id) == ("a", "b")
    assert a.loss_before == pytest.approx(3.0)
    assert (a.loss_after, a.step_after) == (pytest.approx(1.0), 4), "not scored at step 2"
    assert (b.loss_after, b.step_after) == (pytest.approx(1.5), 4)
    last = explain(run).step(4).visits[1]
    assert (last.sample_id, last.step_after) == ("a", None)
    assert math.isnan(last.loss_after)


def test_losses_of_a_step_are_those_of_loops(tmp_path) -> None:
    rows = course(12, {6: 2.0})
    run = write(tmp_path, *rows)
    step = explain(run).step(6)
    losses = [naive.answer_loss([r for r in rows if r.step == s and r.kept]) for s in (5, 6, 7)]
    found = [step.loss_kept_before, step.loss_kept, step.loss_kept_after]
    assert found == pytest.approx(losses)
    everything = naive.answer_loss([r for r in rows if r.step == 6])
    assert step.loss_candidates == pytest.approx(everything)
    assert math.isnan(explain(run).step(1).loss_kept_before)
    assert math.isnan(explain(run).step(12).loss_kept_after)


def test_a_step_that_is_not_there_names_those_that_are(run) -> None:
    with pytest.raises(UsageError, match=r"no step 5 in .*: its ledger has steps 1 to 4$"):
        explain(run).step(5)
    with pytest.raises(UsageError, match=r"steps 1 to 4, without this one$"):
        explain(run).step(3)


def test_a_sample_has_its_visits_in_order(run) -> None:
    sample = explain(run).sample("a")
    assert (sample.fate, sample.path) == ("always", "Q2 > Q3 > Q2")
    assert [visit.step for visit in sample.visits] == [1, 2, 4]
    assert explain(run).sample("b").fate == "never"
    assert explain(run).sample("f").visits[0].reason == "dropped: no answer tokens"


def test_a_sample_that_is_not_there_has_close_ones_suggested(tmp_path) -> None:
    run = write(tmp_path, *course(20, {}))
    with pytest.raises(UsageError, match=r"no sample 's777' in .*: did you mean 's77', 's7'\?"):
        explain(run).sample("s777")
    with pytest.raises(UsageError, match=r"no sample 'zzz' in [^?]*: Name one by its sample_id"):
        explain(run).sample("zzz")


def test_of_many_names_those_are_compared_that_begin_alike(monkeypatch) -> None:
    import pyarrow as pa

    monkeypatch.setattr("qtuning.explanation.sample._COMPARED", 50)
    names = pa.array([f"row-{i}" for i in range(500)])
    assert close_names(names, "row-4999")[0] == "row-499"
    assert "row-12" in close_names(names, "row-12x")
    assert close_names(names, "") == []
