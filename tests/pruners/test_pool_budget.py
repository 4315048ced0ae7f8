"""Q-Tuning's switches of tokens: one budget a pool, the AND rule, and who reads them."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qtuning import TOKEN_PRUNERS, PruningArguments, UsageError, keep_tokens
from qtuning.core.plane import BAND, Q2, Q4
from qtuning.core.tokens import detrimental_tokens
from qtuning.pruners.protocols import PoolPlace, TokenPool, TokenSample

Q_TUNING = TOKEN_PRUNERS["q-tuning"]


@st.composite
def pools(draw) -> list[TokenSample]:
    """Kept samples of one or two pools; some ties, some ends, some of all kinds."""
    groups = draw(st.integers(1, 2))
    samples: list[TokenSample] = []
    for group in range(groups):
        lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
        dropped = draw(st.integers(0, 30))  # answer tokens of the pool's dropped candidates
        for place, length in enumerate(lengths):
            nll = draw(
                st.lists(
                    st.sampled_from([0.0, 0.3, 1.0, 2.5, 4.0]), min_size=length, max_size=length
                )
            )
            filled = draw(st.booleans())
            samples.append(
                TokenSample(
                    sample_id=f"{group}/{place}",
                    nll=torch.tensor(nll) if draw(st.integers(0, 9)) else None,
                    entropy=torch.zeros(length),
                    protected=torch.tensor([*[False] * (length - 1), draw(st.booleans())]),
                    quadrant=BAND if filled else draw(st.sampled_from([Q2, Q4])),
                    filled=filled,
                    side=draw(st.sampled_from([-0.5, 0.5])),
                    pool=PoolPlace(group, place, sum(lengths) + dropped),
                )
            )
    return samples


def naive_scores(nll: Tensor) -> list[float]:
    ppl = [math.exp(value) for value in nll.tolist()]
    padded = [ppl[0], *ppl, ppl[-1]]
    return [0.5 * padded[i] + 0.5 * (padded[i - 1] + padded[i + 1]) for i in range(1, len(ppl) + 1)]


def may_go(sample: TokenSample, args: PruningArguments) -> list[bool]:
    """Which tokens a pool's budget may take."""
    of_q2 = sample.filled and args.fill_tokens == "side" and sample.side > 0
    of_q2 |= not sample.filled and sample.quadrant == Q2
    if not of_q2 or sample.nll is None:
        return [False] * sample.n_tokens
    rule = [True] * sample.n_tokens
    if args.token_rule == "and":
        rule = detrimental_tokens(sample.nll).tolist()
    return [one and not kept for one, kept in zip(rule, sample.protected.tolist(), strict=True)]


def naive(samples: Sequence[TokenSample], args: PruningArguments) -> list[list[bool]]:
    """Token by token in Python floats: of each pool the worst goes until the budget is met."""
    keeps = [[True] * sample.n_tokens for sample in samples]
    for group in {sample.pool.group for sample in samples}:
        own = [i for i, sample in enumerate(samples) if sample.pool.group == group]
        budget = max(
            1,
            math.floor(args.sample_ratio * args.token_ratio * samples[own[0]].pool.n_tokens + 1e-9),
        )
        left = sum(samples[i].n_tokens for i in own)
        rivals = []
        for i in own:
            allowed = may_go(samples[i], args)
            scores = naive_scores(samples[i].nll) if any(allowed) else []
            rivals += [(scores[t], i, t) for t, one in enumerate(allowed) if one]
        for _, i, t in sorted(rivals, reverse=True):  # of equal scores the later goes first
            if left <= budget:
                break
            keeps[i][t] = False
            left -= 1
    return keeps


ratios = st.sampled_from([0.1, 0.3, 0.5, 0.9, 1.0])
rules = st.sampled_from(["score", "and"])
fills = st.sampled_from(["whole", "side"])


def arguments(sample_ratio=0.5, token_ratio=0.5, rule="score", fill="side", **more):
    return PruningArguments(
        sample_ratio=sample_ratio,
        token_ratio=token_ratio,
        token_rule=rule,
        fill_tokens=fill,
        **{"token_budget": "pool", **more},
    )


@settings(deadline=None, max_examples=150)
@given(samples=pools(), sample_ratio=ratios, token_ratio=ratios, rule=rules, fill=fills)
def test_a_pool_keeps_what_the_naive_budget_keeps(
    samples, sample_ratio, token_ratio, rule, fill
) -> None:
    args = arguments(sample_ratio, token_ratio, rule, fill)
    masks = Q_TUNING(TokenPool(samples, step=1, seed=0), args)
    assert [mask.tolist() for mask in masks] == naive(samples, args)


@settings(deadline=None, max_examples=100)
@given(samples=pools(), sample_ratio=ratios, token_ratio=ratios, rule=rules)
def test_the_budget_is_exact_where_the_tokens_suffice(
    samples, sample_ratio, token_ratio, rule
) -> None:
    args = arguments(sample_ratio, token_ratio, rule)
    masks = Q_TUNING(TokenPool(samples, step=1, seed=0), args)
    for group in {sample.pool.group for sample in samples}:
        own = [i for i, sample in enumerate(samples) if sample.pool.group == group]
        n_kept = sum(int(masks[i].sum()) for i in own)
        before = sum(samples[i].n_tokens for i in own)
        free = sum(sum(may_go(samples[i], args)) for i in own)
        of_pool = samples[own[0]].pool.n_tokens
        budget = max(1, math.floor(sample_ratio * token_ratio * of_pool + 1e-9))
        assert n_kept == min(before, max(budget, before - free))


@settings(deadline=None, max_examples=60)
@given(samples=pools(), cut=st.integers(0, 10), rule=rules)
def test_two_ranks_keep_what_one_does(samples, cut, rule) -> None:
    args = arguments(0.3, 0.5, rule)
    whole = Q_TUNING(TokenPool(samples, step=1, seed=0), args)
    shares = [samples[:cut], samples[cut:]]
    assert [m.tolist() for m in chain(*on_ranks(shares, args))] == [m.tolist() for m in whole]


def on_ranks(shares, args) -> list[list[Tensor]]:
    """The masks of each rank: all gather once to hear what each sends, then with all of it."""
    calls: list[list[list[float]]] = []
    for share in shares:
        calls.append([])

        def tell(values: list[float]) -> list[float]:
            calls[-1].append(values)
            return values

        Q_TUNING(TokenPool(share, step=1, seed=0, gather=tell), args)
    together = [list(chain(*parts)) for parts in zip(*calls, strict=True)]
    masks = []
    for share in shares:
        answers = iter(together)
        pool = TokenPool(share, step=1, seed=0, gather=partial(told, answers))
        masks.append(Q_TUNING(pool, args))
    return masks


def told(answers: Iterator[list[float]], values: list[float]) -> list[float]:
    return next(answers)


def test_a_micro_batch_is_a_pool_of_its_device_and_asks_no_other() -> None:
    def no_one(values: list[float]) -> list[float]:
        raise AssertionError("asked the other ranks")

    one = made([0.1, 4.0, 0.2, 3.0], n_tokens=4)
    args = arguments(1.0, 0.5, pool_scope="micro")
    (mask,) = Q_TUNING(TokenPool([one], step=1, seed=0, gather=no_one), args)
    assert mask.tolist() == [True, False, False, True]


def made(nll: list[float], place: int = 0, n_tokens: int = 8, **changes) -> TokenSample:
    values = {
        "sample_id": f"s{place}",
        "nll": torch.tensor(nll),
        "entropy": torch.zeros(len(nll)),
        "protected": torch.zeros(len(nll), dtype=torch.bool),
        "quadrant": Q2,
        "filled": False,
        "side": 0.5,
        "pool": PoolPlace(0, place, n_tokens),
    }
    return TokenSample(**{**values, **changes})


def test_an_answer_can_lose_all_its_tokens_and_a_short_pool_none() -> None:
    worst, best = made([5.0, 5.0, 5.0, 5.0]), made([0.1, 0.1, 0.1, 0.1], 1)
    masks = Q_TUNING(TokenPool([worst, best], step=1, seed=0), arguments(1.0, 0.5))
    assert [int(mask.sum()) for mask in masks] == [0, 4]
    ends = made([5.0, 5.0, 5.0, 5.0], protected=torch.tensor([False, False, False, True]))
    masks = Q_TUNING(TokenPool([ends, best], step=1, seed=0), arguments(1.0, 0.5))
    assert [mask.tolist() for mask in masks] == [[False] * 3 + [True], [True, True, True, False]]
    short = Q_TUNING(
        TokenPool([made([5.0, 1.0], n_tokens=16)], step=1, seed=0), arguments(0.5, 0.5)
    )
    assert short[0].tolist() == [True, True], "what was dropped has made room for all of it"


def test_the_rule_alone_prunes_at_most_what_the_ratio_asks_for() -> None:
    nll = [0.1, 5.0, 0.1, 0.1, 3.0, 3.1, 3.2, 0.1]
    for ratio, kept in ((0.9, 7), (0.8, 6), (0.5, 5), (0.1, 5)):
        args = PruningArguments(token_ratio=ratio, token_rule="and")
        (mask,) = Q_TUNING(TokenPool([made(nll)], step=1, seed=0), args)
        assert int(mask.sum()) == kept
        assert bool(mask[[0, 1, 2, 3, 7]].all()), "a lone peak is no detrimental token"


@settings(deadline=None, max_examples=100)
@given(samples=pools(), ratio=ratios, budget=st.sampled_from(["sample", "pool"]))
def test_the_rule_never_takes_a_token_below_the_threshold(samples, ratio, budget) -> None:
    args = arguments(0.5, ratio, "and", token_budget=budget)
    for sample, mask in zip(
        samples, Q_TUNING(TokenPool(samples, step=1, seed=0), args), strict=True
    ):
        if sample.nll is not None:
            threshold = sample.nll.sort().values[(sample.n_tokens + 1) // 2 - 1]
            assert bool((sample.nll[~mask] > threshold).all())
        assert not bool((sample.protected & ~mask).any())


@settings(deadline=None, max_examples=60)
@given(samples=pools(), ratio=ratios, fill=fills)
def test_without_the_switches_each_sample_is_pruned_as_ever(samples, ratio, fill) -> None:
    args = PruningArguments(token_ratio=ratio, fill_tokens=fill)
    for sample, mask in zip(
        samples, Q_TUNING(TokenPool(samples, step=1, seed=0), args), strict=True
    ):
        pruned = any(may_go(sample, args)) or (
            sample.nll is not None and sample.quadrant == Q2 and not sample.filled
        )
        expected = torch.ones(sample.n_tokens, dtype=torch.bool)
        if pruned:
            expected = keep_tokens(sample.nll, ratio, protected=sample.protected)
        assert torch.equal(mask, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"token_budget": "pool", "token_pruner": "random"}, "token_budget pool is read by"),
        ({"token_rule": "and", "token_pruner": "ppl"}, "token_rule and is read by"),
        ({"token_budget": "pool", "sample_pruner": "infobatch"}, "set token_budget to sample"),
        ({"token_budget": "pool", "sample_pruner": "full"}, r"set sample_ratio to 1\.0"),
    ],
    ids=str,
)
def test_what_would_be_ignored_is_refused_in_one_line(settings, message) -> None:
    with pytest.raises(UsageError, match=message) as told:
        PruningArguments(**settings)
    assert "\n" not in str(told.value)


def test_what_is_read_is_taken() -> None:
    PruningArguments(token_budget="pool", sample_pruner="full", sample_ratio=1.0)
    PruningArguments(token_budget="pool", sample_pruner="infobatch", token_ratio=1.0)
    own = PruningArguments(
        token_budget="pool", token_pruner="qtuning.pruners.q_tuning:QTuningTokens"
    )
    assert own.token_budget == "pool"
