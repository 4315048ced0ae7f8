"""All ranks decide alike, whatever their number, and only on real candidates."""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qtuning.arguments import PruningArguments
from qtuning.core.plane import Selection
from qtuning.core.ratio import keep_count
from qtuning.errors import UsageError
from qtuning.examples.candidate import CandidateRow as Row
from qtuning.pruners.protocols import (
    BASE_MEAN,
    EL2N,
    LOGITS,
    S_IFD,
    SCORES,
    WITHOUT_IMAGE,
    WITHOUT_PROMPT,
)
from qtuning.pruners.registry import SAMPLE_PRUNERS, resolve_sample_pruner
from qtuning.step.decide import Decision, Decisions, decide
from qtuning.step.moment import Moment

SCORING = [name for name, pruner in SAMPLE_PRUNERS.items() if SCORES in pruner.needs]
# A pool is decided on by itself, but by those that remember earlier pools; one_pass refuses them.
ALONE = [name for name, pruner in SAMPLE_PRUNERS.items() if LOGITS not in pruner.needs]
Scores = Sequence[tuple[float, float]]

scores = st.tuples(st.floats(1, 50), st.floats(0, 8))


def row(name: int, ppl: float = 2.0, entropy: float = 1.0, micro: int = 0, **changes) -> Row:
    extras = (
        (EL2N, (entropy,)),
        (LOGITS, (ppl, entropy, *[0.0] * 1023)),
        (WITHOUT_PROMPT, (1.0 + entropy, ppl)),
        (WITHOUT_IMAGE, (1.0 + entropy, ppl)),
        (S_IFD, (ppl / 25,)),
        (BASE_MEAN, (entropy,)),
    )
    return Row(micro, f"s{name}", ppl, entropy, 5, 9, False, True, extras)._replace(**changes)


def deal_out(values: Scores, ranks: int, batch: int) -> list[list[Row]]:
    """As accelerate deals a sampler's batches: batch g goes to rank g mod R as its g // R-th."""
    dealt: list[list[Row]] = [[] for _ in range(ranks)]
    for i, (ppl, entropy) in enumerate(values):
        g = i // batch
        dealt[g % ranks].append(row(i, ppl, entropy, micro=g // ranks))
    return dealt


def run(gathered: Sequence[Sequence[Row]], pruner: str = "q-tuning", **changes) -> Decisions:
    args = PruningArguments(**{"sample_ratio": 0.5, "tail_schedule": "fixed", **changes})
    return decide(gathered, resolve_sample_pruner(pruner), args, Moment(3, 7))


def by_id(decisions: Decisions) -> dict[str, Decision]:
    names = [r.sample_id for r in decisions.rows]
    return dict(zip(names, decisions.decided, strict=True))


@pytest.mark.parametrize("scope", ["step", "micro"])
@pytest.mark.parametrize("pruner", SAMPLE_PRUNERS)
@settings(max_examples=20)
@given(values=st.lists(scores, min_size=12, max_size=12), ratio=st.floats(0.1, 1.0))
def test_ranks_with_n_samples_each_decide_as_one_rank_with_all(pruner, scope, values, ratio):
    one, *others = [
        run(deal_out(values, ranks, 2), pruner, pool_scope=scope, sample_ratio=ratio)
        for ranks in (1, 2, 3)
    ]
    for other in others:
        assert by_id(other) == by_id(one)
        assert [r.sample_id for r in other.rows] == [f"s{i}" for i in range(12)]


@pytest.mark.parametrize("pruner", SAMPLE_PRUNERS)
@settings(max_examples=10)
@given(values=st.lists(scores, min_size=8, max_size=8))
def test_a_larger_micro_batch_on_one_rank_decides_as_two_ranks(pruner, values):
    assert by_id(run(deal_out(values, 1, 4), pruner)) == by_id(run(deal_out(values, 2, 2), pruner))


@pytest.mark.parametrize("pruner", ALONE)
@given(
    values=st.lists(st.one_of(scores, st.just((math.nan, 1.0))), min_size=1, max_size=24),
    ranks=st.integers(1, 3),
    n_repeated=st.integers(0, 2),
)
def test_micro_batches_decided_apart_make_the_decisions_of_the_step(
    pruner, values, ranks, n_repeated
):
    gathered = deal_out(values, ranks, 2)
    n_micro = max(len(gathered[0]) + 1, 2) // 2
    last = gathered[-1]
    last += [row(90 + i, micro=n_micro - 1, repeated=True) for i in range(n_repeated)]
    whole = run(gathered, pruner, pool_scope="micro")
    args = PruningArguments(sample_ratio=0.5, pool_scope="micro", tail_schedule="fixed")
    apart = [
        decide(
            [[r for r in rows if r.micro == micro] for rows in gathered],
            resolve_sample_pruner(pruner),
            args,
            Moment(3, 7),
            first_group=micro * ranks,
        )
        for micro in range(n_micro)
    ]
    merged = Decisions.of_micro_batches(apart)
    assert merged.decided == whole.decided
    assert merged.places == whole.places
    assert merged.bad == whole.bad
    assert [r.sample_id for r in merged.rows] == [r.sample_id for r in whole.rows]
    assert len(merged.selections) == len(whole.selections)
    for mine, theirs in zip(merged.selections, whole.selections, strict=True):
        assert torch.equal(mine.kept, theirs.kept)


def of_pool(decision):
    """The decision without the number that its pool has within the step."""
    return decision._replace(pool=decision.pool._replace(group=0))


def test_in_micro_scope_every_micro_batch_of_every_rank_is_a_pool_of_its_own():
    values = [(1.0 + i, (7.3 * i) % 5) for i in range(24)]
    gathered = deal_out(values, 2, 4)
    whole = run(gathered, pool_scope="micro")
    assert len(whole.selections) == 6
    apart = {}
    for rows in gathered:
        for micro in range(3):
            alone = run([[r for r in rows if r.micro == micro]])
            assert sum(d.kept for d in alone.decided) == 2
            apart |= by_id(alone)
    assert {name: of_pool(d) for name, d in by_id(whole).items()} == apart
    assert {d.pool.group for d in whole.decided} == set(range(6))


@pytest.mark.parametrize("pruner", SAMPLE_PRUNERS)
def test_repeated_rows_are_neither_candidates_nor_rows(pruner):
    gathered = deal_out([(1.0 + i, (7.3 * i) % 5) for i in range(8)], 2, 2)
    clean = run(gathered, pruner)
    again = [[*gathered[0]], [*gathered[1], row(0, 99.0, 9.0, micro=1, repeated=True)]]
    decisions = run(again, pruner)
    assert by_id(decisions) == by_id(clean)
    assert decisions.rows == clean.rows
    assert decisions.of_rank(1, 5) == [*clean.of_rank(1, 4), Decision()]


@pytest.mark.parametrize("scope", ["step", "micro"])
@pytest.mark.parametrize("pruner", SAMPLE_PRUNERS)
def test_samples_without_answer_tokens_do_not_count(pruner, scope):
    values = [(1.0 + i, (7.3 * i) % 5) for i in range(8)]
    rows = [row(i, *v, micro=i // 4) for i, v in enumerate(values)]
    empty = [row(90 + i, math.nan, math.nan, micro=i, n_tokens=0, scored=False) for i in range(3)]
    mixed = run([[empty[0], *rows[:4], empty[1], *rows[4:], empty[2]]], pruner, pool_scope=scope)
    decided = by_id(mixed)
    assert [decided.pop(r.sample_id) for r in empty] == [Decision()] * 3
    assert decided == by_id(run([rows], pruner, pool_scope=scope))
    assert mixed.bad == []
    assert len(mixed.rows) == 11


@pytest.mark.parametrize("pruner", SAMPLE_PRUNERS)
def test_a_step_without_candidates_keeps_nothing(pruner):
    decisions = run([[row(0, n_tokens=0)], []], pruner)
    assert decisions.decided == [Decision()]
    assert decisions.selections == []
    assert decisions.of_rank(1, 0) == []


@pytest.mark.parametrize("pruner", [*SCORING, "own"])
@pytest.mark.parametrize("ratio", [0.5, 1.0])
@given(broken=st.lists(st.sampled_from([math.nan, math.inf, 2.0]), min_size=6, max_size=6))
def test_samples_with_a_broken_loss_are_named_and_never_kept(pruner, ratio, broken):
    own = resolve_sample_pruner(keep_all if pruner == "own" else pruner)
    rows = [
        row(i, *((x, 1.0) if i % 2 else (2.0 + i, x)), n_tokens=5) for i, x in enumerate(broken)
    ]
    args = PruningArguments(sample_ratio=ratio, tail_schedule="fixed")
    decisions = decide([rows], own, args, Moment(1, 0))
    bad = [f"s{i}" for i, x in enumerate(broken) if not math.isfinite(x)]
    assert decisions.bad == bad
    decided = by_id(decisions)
    assert not any(decided[name].kept or decided[name].filled for name in bad)
    if pruner != "own":
        kept = sum(d.kept for d in decisions.decided)
        assert kept == min(keep_count(6, ratio), 6 - len(bad))


@pytest.mark.parametrize("pruner", sorted(set(SAMPLE_PRUNERS) - set(SCORING)))
def test_without_a_scoring_pass_no_sample_is_bad(pruner):
    decisions = run([[row(i, math.nan, math.nan, scored=False) for i in range(4)]], pruner)
    assert decisions.bad == []
    assert any(d.kept for d in decisions.decided)


def keep_all(pool, args):
    return torch.ones(len(pool), dtype=torch.bool)


def test_a_function_of_the_user_decides_with_a_bool_tensor():
    rows = [row(i, ppl=1.0 + i) for i in range(4)]
    pruner = resolve_sample_pruner(lambda pool, args: pool.ppl > 2.5)
    decisions = decide([rows[:2], rows[2:]], pruner, PruningArguments(), Moment(1, 0))
    assert [d.kept for d in decisions.decided] == [False, False, True, True]
    assert [d.quadrant for d in decisions.decided] == [0] * 4


WRONG = {
    "too long": lambda n: torch.ones(n + 1, dtype=torch.bool),
    "a column": lambda n: torch.ones(n, 1, dtype=torch.bool),
    "indices": lambda n: torch.arange(n),
    "floats": lambda n: torch.ones(n),
    "a selection": lambda n: Selection.without_plane(torch.ones(n - 1, dtype=torch.bool)),
    "a list": lambda n: [True] * n,
    "nothing": lambda n: None,
}


@pytest.mark.parametrize(
    "wrong",
    list(WRONG),
)
def test_anything_else_that_a_function_returns_is_a_usage_error(wrong):
    pruner = resolve_sample_pruner(lambda pool, args: WRONG[wrong](len(pool)))
    with pytest.raises(UsageError, match=r"bool tensor of shape \(3,\)"):
        decide([[row(i) for i in range(3)]], pruner, PruningArguments(), Moment(1, 0))


def test_a_rank_finds_its_own_decisions_in_the_order_of_its_own_rows():
    gathered = deal_out([(1.0 + i, (7.3 * i) % 5) for i in range(11)], 2, 2)
    decisions = run(gathered)
    decided = by_id(decisions)
    for rank, rows in enumerate(gathered):
        own = decisions.of_rank(rank, len(rows))
        assert own == [decided[r.sample_id] for r in rows]
    assert [gathered[rank][place] for rank, place in decisions.places] == decisions.rows
    assert sum(d.kept for d in decisions.decided) == 5


def test_the_pruner_is_told_step_seed_group_and_the_samples_in_order():
    pools = []

    def spy(pool, args):
        pools.append(pool)
        return keep_all(pool, args)

    gathered = deal_out([(float(i + 1), 1.0) for i in range(4)], 2, 1)
    args = PruningArguments(pool_scope="micro")
    decide(gathered, resolve_sample_pruner(spy), args, Moment(3, 7))
    assert [(p.step, p.seed, p.group, *p.sample_ids) for p in pools] == [
        (3, 7, g, f"s{g}") for g in range(4)
    ]
    assert [p.ppl.tolist() for p in pools] == [[1.0], [2.0], [3.0], [4.0]]
    assert {(p.ppl.dtype, p.entropy.dtype) for p in pools} == {(torch.float64, torch.float64)}
