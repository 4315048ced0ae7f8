"""Inspections tell users' weights, and which rows are out of the loss by them."""

import json

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from qtuning.inspection.lengths import weight_facts
from qtuning.inspection.terminal import show
from qtuning.inspection.tokens import TokenRows
from qtuning.reports.inspection import _encoded

from .. import weighed
from ..talks import answer, user
from .test_figures import dataset, figures

OUT = {"messages": [user("a"), {**answer("b"), "train": False}]}
PLAIN = {"messages": [user("a"), answer("b")]}
ROWS = [{"messages": weighed.TURNS, "loss_weight": None}, OUT, {**PLAIN, "loss_weight": 2.0}, PLAIN]


@pytest.fixture
def found(look, calls):
    return look(Dataset.from_list(ROWS), calls, assistant_only_loss=True, show=4)


def test_weights_and_rows_that_are_out_are_told(found) -> None:
    facts = found.facts["weights"]
    assert facts["rows with a weight"] == 2
    assert facts["mean of a row, lowest"] == 0.5
    assert facts["mean of a row, highest"] == 2.0
    assert facts["mean"] == round((5 * 0.5 + 2 * 2.0 + 2) / 9, 4)
    assert found.facts["rows"]["left out, by weight 0"] == 1
    assert found.facts["rows"]["left out, no answer tokens"] == 0
    (one,) = [finding for finding in found.findings if finding.name == "out-by-weight"]
    assert (one.level, one.count, one.rows) == ("note", 1, (2,))
    assert not [finding for finding in found.findings if finding.name == "labels-masked"]


def test_rows_are_shown_with_their_weights(found) -> None:
    first, out, twice, plain = found.shown
    trained = [w for w, is_on in zip(first.weights, first.trained, strict=True) if is_on]
    assert trained == [0.5] * 5
    assert 0.0 in out.weights
    assert set(twice.weights) == {2.0}
    assert plain.weights == ()
    assert _encoded(twice)["weights"] == twice.weights
    assert "weights" not in _encoded(plain)
    console = Console(width=200, record=True, color_system=None)
    show(console, found)
    text = console.export_text()
    assert "5 of 52 tokens are trained, with weight 0.5" in text
    assert "by weight 0 1" in text
    assert json.loads(json.dumps(found.to_dict()))["shown"][2]["weights"][0] == 2.0


def test_data_without_weights_have_no_word_of_them(look, calls) -> None:
    plain = look([PLAIN] * 2, calls)
    assert "weights" not in plain.facts
    assert "left out, by weight 0" not in plain.facts["rows"]


_TOKENS = st.tuples(st.integers(0, 9), st.booleans(), st.sampled_from([0.0, 0.5, 1.0, 3.0]))


@given(st.lists(st.lists(_TOKENS, max_size=6), min_size=1, max_size=5), st.integers(1, 6))
def test_figures_of_weights_are_those_of_plain_python(rows, longest) -> None:
    rows = [[(token, on and weight > 0, weight) for token, on, weight in row] for row in rows]
    data = dataset(
        [[(token, on) for token, on, _ in row] for row in rows],
        loss_weight=[[weight for _, _, weight in row] for row in rows],
    )
    made = figures(data, longest)
    for i, row in enumerate(rows):
        left = [weight for _, on, weight in row[1:longest] if on]
        assert made.weight[i] == pytest.approx(np.mean(left) if left else 1.0)
        zeros = sum(weight == 0 for _, _, weight in row)
        assert made.unweighted[i] == zeros
        assert made.out_by_weight[i] == (zeros > 0 and not any(on for _, on, _ in row[1:]))
    weights = TokenRows(data, completion_only=True).batch(0, len(rows)).weights
    assert weights.tolist() == [weight for row in rows for _, _, weight in row]
    plain = all(w == 1 for w in made.weight[made.trained]) and not made.unweighted.any()
    assert (weight_facts(made) == {}) == plain
