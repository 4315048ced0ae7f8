"""The visits of a run as columns, with their places and reasons."""

import math

import numpy as np
import pytest
from hypothesis import given

from qtuning.core.plane import QUADRANT_NAMES
from qtuning.explanation.history import PLACE_LABELS, History
from qtuning.explanation.losses import answer_losses

from . import naive
from .made import ledgers, row, table


@given(ledgers())
def test_places_are_those_of_loops(rows) -> None:
    history = History.of(table(*rows))
    steps = [[other for other in rows if other.step == one.step] for one in rows]
    expected = [naive.place(one, step) for one, step in zip(rows, steps, strict=True)]
    assert [PLACE_LABELS[place] for place in history.place] == expected


@given(ledgers())
def test_the_next_visit_that_scored_is_that_of_loops(rows) -> None:
    assert History.of(table(*rows)).next_scored.tolist() == naive.next_scored(rows)


@given(ledgers())
def test_losses_of_steps_are_those_of_loops(rows) -> None:
    history = History.of(table(*rows))
    for chosen in (np.ones(len(rows), bool), history.kept):
        expected = [
            naive.answer_loss([r for r, c in zip(rows, chosen, strict=True) if c and r.step == s])
            for s in history.steps
        ]
        assert answer_losses(history, chosen).tolist() == pytest.approx(expected, nan_ok=True)


@given(ledgers())
def test_visits_of_steps_are_those_of_the_ledger(rows) -> None:
    history = History.of(table(*rows))
    first, last = rows[0].step, rows[len(rows) // 2].step
    places = [place for place, one in enumerate(rows) if first <= one.step <= last]
    assert history.of_steps(first, last).tolist() == places
    assert [history.names[i].as_py() for i in history.sample] == [one.sample_id for one in rows]


def reasons(*rows, pruner=None) -> list[str]:
    history = History.of(table(*rows), pruner)
    return history.reasons(np.arange(len(rows)))


def test_reasons_on_a_plane_are_those_of_prune() -> None:
    assert reasons(
        row(1, "a", quadrant=2),
        row(1, "b", quadrant=1, kept=False),
        row(1, "c", quadrant=3, filled=True),
        row(1, "d", quadrant=0, kept=False),
        row(1, "e", quadrant=0, kept=False, ppl=math.inf),
        row(1, "f", quadrant=0, kept=False, n_tokens=0, ppl=None, scored=False),
    ) == [
        f"kept: {QUADRANT_NAMES[2]}",
        f"dropped: {QUADRANT_NAMES[1]}",
        f"kept to fill the budget ({QUADRANT_NAMES[3]})",
        "dropped: middle band",
        "dropped: NaN or infinite loss",
        "dropped: no answer tokens",
    ]


def test_without_a_plane_the_pruner_is_named_if_it_is_known() -> None:
    rows = [row(1, "a", quadrant=0), row(1, "b", quadrant=0, kept=False)]
    assert reasons(*rows, pruner="longest") == ["kept: by longest", "dropped: by longest"]
    assert reasons(*rows) == ["kept: without the plane", "dropped: without the plane"]


def test_a_step_that_keeps_all_was_not_pruned() -> None:
    rows = [row(1, "a", quadrant=0), row(1, "b", quadrant=0), row(2, "a", quadrant=0)]
    rows.append(row(2, "b", quadrant=0, kept=False))
    assert reasons(*rows, pruner="random") == [
        "kept: nothing was pruned in this step",
        "kept: nothing was pruned in this step",
        "kept: by random",
        "dropped: by random",
    ]


def test_a_kept_sample_of_infinite_loss_is_not_called_dropped() -> None:
    """Pruners that read no scores keep it; a ledger may still have its score."""
    rows = [row(1, "a", quadrant=0, ppl=math.inf), row(1, "b", quadrant=0, kept=False)]
    assert reasons(*rows, pruner="random") == ["kept: by random", "dropped: by random"]


def test_steps_out_of_order_are_put_in_order() -> None:
    history = History.of(table(row(2, "a"), row(1, "b"), row(2, "c")))
    assert history.step.tolist() == [1, 2, 2]
    assert history.names.take(history.sample).to_pylist() == ["b", "a", "c"]
