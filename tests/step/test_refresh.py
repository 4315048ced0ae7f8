"""Which candidates are scored anew: never seen ones, then those nearest to another decision."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qtuning import PruningArguments
from qtuning.core.boundary import boundary_distance
from qtuning.core.plane import select_samples
from qtuning.examples.candidate import CandidateRow as Row
from qtuning.pruners.registry import resolve_sample_pruner
from qtuning.signals.score_store import ScoreStore
from qtuning.step.decide import decide
from qtuning.step.moment import Moment
from qtuning.step.refresh import Refresh

PRUNER = resolve_sample_pruner("q-tuning")


def row(i: int, ppl: float = math.nan, entropy: float = math.nan, **changes) -> Row:
    scored = math.isfinite(ppl)
    return Row(i // 8, f"s{i}", ppl, entropy, 5, 9, False, scored)._replace(**changes)


def scores(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    ppl, entropy = torch.rand(2, n, generator=draw, dtype=torch.float64)
    return 1 + 9 * ppl, 4 * entropy


def knowing(n: int, share: float, step: int = 1) -> Refresh:
    refresh = Refresh(ScoreStore(), share)
    ppl, entropy = scores(n)
    refresh.store.learn([row(i, float(ppl[i]), float(entropy[i])) for i in range(n)], step)
    return refresh


def choose(refresh: Refresh, gathered, **changes) -> list[set[int]]:
    args = PruningArguments(**{"sample_ratio": 0.25, **changes})
    return refresh.choose(gathered, PRUNER, args, Moment(2, 0))


def test_never_seen_samples_are_all_scored():
    fresh = [[row(i) for i in range(12)]]
    assert choose(Refresh(ScoreStore(), 0.1), fresh) == [set(range(12))]


@given(known=st.integers(0, 16), share=st.floats(0.01, 1.0))
@settings(max_examples=40)
def test_of_the_known_the_share_is_scored_rounded_up(known, share):
    (chosen,) = choose(knowing(known, share), [[row(i) for i in range(16)]])
    new = set(range(known, 16))
    assert new <= chosen
    assert len(chosen - new) == math.ceil(share * known - 1e-9)


def test_a_share_of_nothing_scores_only_what_was_never_seen():
    """As with a scorer that does not learn."""
    assert choose(knowing(10, 0.0), [[row(i) for i in range(12)]]) == [{10, 11}]


def test_the_nearest_to_another_decision_come_first():
    n, k = 24, 6
    ppl, entropy = scores(n)
    kept = select_samples(ppl, entropy, 0.25).kept
    nearest = torch.sort(boundary_distance(ppl, entropy, kept), stable=True).indices[:k]
    (chosen,) = choose(knowing(n, k / n), [[row(i) for i in range(n)]])
    assert chosen == set(nearest.tolist())


def test_where_distance_does_not_tell_the_ones_scored_longest_ago_do():
    refresh = knowing(8, 0.5, step=5)
    ppl, entropy = scores(8)
    older = (1, 4, 6, 7)
    refresh.store.learn([row(i, float(ppl[i]), float(entropy[i])) for i in older], step=2)
    # At ratio 1.0 all are kept, and so all alike.
    assert choose(refresh, [[row(i) for i in range(8)]], sample_ratio=1.0) == [set(older)]


@pytest.mark.parametrize("scope", ["step", "micro"])
def test_ranks_choose_as_one_process_does(scope):
    """Micro-batch g of one process goes to rank g mod 2."""
    n = 32
    one = choose(knowing(n, 0.3), [[row(i) for i in range(n)]], pool_scope=scope)
    halves = [
        [row(i, micro=i // 16) for i in range(n) if (i // 8) % 2 == rank] for rank in range(2)
    ]
    two = choose(knowing(n, 0.3), halves, pool_scope=scope)
    names = {halves[rank][place].sample_id for rank in range(2) for place in two[rank]}
    assert names == {f"s{i}" for i in one[0]}


def test_what_is_no_candidate_is_not_chosen():
    rows = [row(0), row(1, n_tokens=0), row(2, repeated=True), row(3)]
    assert choose(Refresh(ScoreStore(), 0.5), [rows]) == [{0, 3}]


def test_filling_gives_last_scores_only_to_what_was_not_scored():
    refresh = knowing(3, 0.5)
    ppl, entropy = scores(3)
    filled = refresh.fill([[row(0), row(1, 50.0, 3.0), row(2, n_tokens=7), row(9)]])[0]
    assert (filled[0].ppl, filled[0].entropy) == (float(ppl[0]), float(entropy[0]))
    assert (filled[1].ppl, filled[1].entropy) == (50.0, 3.0)
    assert not filled[0].scored
    assert all(not r.is_known for r in filled[2:])


def test_decisions_from_last_scores_are_those_of_the_same_scores_made_anew():
    n = 16
    refresh, (ppl, entropy) = knowing(n, 0.5), scores(n)
    args = PruningArguments(sample_ratio=0.25)
    old = decide(refresh.fill([[row(i) for i in range(n)]]), PRUNER, args, Moment(2, 0))
    fresh = [[row(i, float(ppl[i]), float(entropy[i])) for i in range(n)]]
    assert old.decided == decide(fresh, PRUNER, args, Moment(2, 0)).decided
    assert old.bad == []


# Scored after the decision, for the tokens


def unscored(n: int = 8):
    rows = [[row(i) for i in range(n)]]
    random = resolve_sample_pruner("random")
    return decide(rows, random, PruningArguments(sample_ratio=0.5), Moment(1, 0))


def test_scores_that_come_after_the_decision_leave_it_as_it_is():
    decisions = unscored()
    where = next(w for w, d in zip(decisions.places, decisions.decided, strict=True) if d.kept)
    later = decisions.with_scores({where: row(where[1], 3.0, 1.0)})
    assert later.decided == decisions.decided
    assert later.rows[where[1]].ppl == 3.0  # nothing was known before
    assert [r.scored for r in later.rows].count(True) == 1


def test_the_scores_a_decision_was_made_from_stay():
    known = [[row(i, 2.0 + i, 1.0, scored=False) for i in range(8)]]
    decisions = decide(known, PRUNER, PruningArguments(), Moment(1, 0))
    later = decisions.with_scores({(0, 3): row(3, 99.0, 1.0)})
    assert later.rows[3].ppl == 5.0
    assert later.rows[3].scored


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_turns_out_bad_is_never_kept(bad):
    decisions = unscored()
    where = next(w for w, d in zip(decisions.places, decisions.decided, strict=True) if d.kept)
    later = decisions.with_scores({where: row(where[1], bad, 1.0, scored=True)})
    assert not later.decided[where[1]].kept
    assert later.bad == [f"s{where[1]}"]
    assert sum(d.kept for d in later.decided) == 3
