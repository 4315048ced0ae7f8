"""Turns as units: every sample pruner decides on them exactly, again, and on all ranks alike."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qtuning.arguments import PruningArguments
from qtuning.core.ratio import keep_count
from qtuning.examples.candidate import Candidate, row_of
from qtuning.examples.turns import ANSWER, Turn
from qtuning.pruners.protocols import (
    BASE_MEAN,
    EL2N,
    LOGITS,
    S_IFD,
    WITHOUT_IMAGE,
    WITHOUT_PROMPT,
    ChangingBudget,
    OwnBudget,
)
from qtuning.pruners.registry import SAMPLE_PRUNERS, resolve_sample_pruner
from qtuning.step.decide import Decisions, decide
from qtuning.step.moment import Moment
from qtuning.step.units import give_back, put_together, trained_tokens, units_of, wholes_of

EXTRAS = {EL2N: 1, WITHOUT_PROMPT: 2, WITHOUT_IMAGE: 2, S_IFD: 1, BASE_MEAN: 1, LOGITS: 1025}
GAP = 2
"""Tokens without a label before each turn."""


def conversation(place: int, lengths: list[int], micro: int = 0) -> Candidate:
    """A scored conversation whose turns have so many answer tokens; statistics differ by place."""
    draw = torch.Generator().manual_seed(place)
    labels = [y for n in lengths for y in [*[-100] * GAP, *[7] * n]]
    answers = torch.tensor(labels).ne(-100).nonzero()[:, 0]
    return Candidate(
        {"input_ids": [7] * len(labels), "labels": labels},
        f"c{place}",
        micro,
        False,
        answers,
        nll=torch.rand(len(answers), generator=draw) * 4,
        entropy=torch.rand(len(answers), generator=draw) * 4,
        extras={
            name: torch.rand(len(lengths), size, generator=draw, dtype=torch.float64) + 0.1
            for name, size in EXTRAS.items()
        },
        scored_tokens=len(labels),
        turns=tuple(Turn(n, ANSWER, size) for n, size in enumerate(lengths, 1)),
    )


def decisions_on(
    name: str, data: list[list[int]], ranks: int, scope: str, ratio: float
) -> Decisions:
    """What a pruner decides of conversations that are dealt two by two to so many ranks."""
    rows_of_ranks = []
    for rank in range(ranks):
        mine = [
            conversation(place, lengths, place // 2 // ranks)
            for place, lengths in enumerate(data)
            if place // 2 % ranks == rank
        ]
        rows_of_ranks.append([row_of(unit) for unit in units_of(mine)])
    args = PruningArguments(
        sample_pruner=name,
        sample_ratio=ratio,
        pool_scope=scope,
        prune_unit="turn",
        tail_schedule="fixed",
    )
    return decide(rows_of_ranks, resolve_sample_pruner(name), args, Moment(3, 7))


TALKS = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4), min_size=1, max_size=12)


@pytest.mark.parametrize("scope", ["step", "micro"])
@pytest.mark.parametrize("name", SAMPLE_PRUNERS)
@settings(max_examples=15)
@given(data=TALKS, ratio=st.floats(0.1, 1.0))
def test_every_pruner_decides_on_turns_exactly_and_on_ranks_alike(name, scope, data, ratio):
    first, *others = [decisions_on(name, data, ranks, scope, ratio) for ranks in (1, 1, 2, 3)]
    units = [(f"c{i}", n) for i, lengths in enumerate(data) for n in range(1, len(lengths) + 1)]
    for decisions in (first, *others):
        assert [(row.sample_id, row.turn) for row in decisions.rows] == units
        assert decisions.decided == first.decided
    pools = (
        [sum(map(len, data))]
        if scope == "step"
        else [sum(map(len, data[i : i + 2])) for i in range(0, len(data), 2)]
    )
    assert [len(one.kept) for one in first.selections] == pools
    if name != "full" and not isinstance(SAMPLE_PRUNERS[name], OwnBudget | ChangingBudget):
        for one, n in zip(first.selections, pools, strict=True):
            assert int(one.kept.sum()) == keep_count(n, ratio)


@given(lengths=st.lists(st.integers(1, 4), min_size=1, max_size=5), data=st.data())
def test_costs_of_a_conversation_are_counted_once_whatever_is_kept(lengths, data):
    whole = conversation(0, lengths)
    units = units_of([whole])
    assert sum(unit.scored_tokens for unit in units) == whole.scored_tokens
    assert sum(row_of(unit).n_input for unit in units) == len(whole.example["input_ids"])
    kept = data.draw(st.lists(st.sampled_from(range(len(units))), min_size=1, unique=True))
    chosen = [units[place] for place in sorted(kept)]
    examples = [unit.example for unit in chosen]
    assert wholes_of([whole], chosen) == [whole]
    (joined,) = put_together(chosen, examples, cut=True)
    expected = set(torch.cat([unit.answers for unit in chosen]).tolist())
    assert {i for i, y in enumerate(joined["labels"]) if y != -100} == expected
    assert len(joined["input_ids"]) == max(expected) + 1
    assert sum(trained_tokens(chosen, examples, cut=True)) == len(joined["input_ids"])


def test_what_is_computed_of_turns_is_given_back_to_the_conversation():
    wholes = [conversation(0, [2, 1]), conversation(1, [3])]
    expected = [{name: values.clone() for name, values in one.extras.items()} for one in wholes]
    units = units_of(wholes)
    for one in wholes:
        one.extras = {}
    for unit in units:
        unit.scored_tokens += 1
    give_back(wholes, units)
    assert [one.scored_tokens for one in wholes] == [7 + 2, 5 + 1]
    for one, extras in zip(wholes, expected, strict=True):
        assert one.extras.keys() == extras.keys()
        assert all(torch.equal(one.extras[name], values) for name, values in extras.items())
