"""Stage 2 against a plain reference: scores, budgets, ties, protection, overflow."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qtuning import keep_tokens, token_scores
from qtuning.core.tokens import keep_lowest

LAMBDAS = [0.0, 0.25, 0.5, 1.0]

# Few distinct values, so that ties are common, and anything a model can give, overflow included.
nlls = st.lists(
    st.one_of(
        st.sampled_from([0.0, 0.5, 2.0]),
        st.floats(0, 30),
        st.sampled_from([800.0, math.inf]),
    ),
    min_size=1,
    max_size=25,
)
ratios = st.one_of(st.sampled_from([0.1, 0.25, 0.29, 0.5, 0.7, 1.0]), st.floats(0.01, 1))


def budget(ratio: float, n: int) -> int:
    return max(1, math.floor(ratio * n + 1e-9))


def exp(nll: float) -> float:
    return math.exp(nll) if nll < 709 else math.inf


def naive_scores(nll: list[float], weight: float, mean: bool = False) -> list[float]:
    ppl = [exp(value) for value in nll]
    padded = [ppl[0], *ppl, ppl[-1]]
    scores = []
    for i in range(1, len(ppl) + 1):
        around = padded[i - 1] + padded[i + 1]
        score = 0.0
        if weight < 1:  # a term of weight 0 is absent, even if it is infinite
            score += (1 - weight) * padded[i]
        if weight > 0:
            score += weight * (around / 2 if mean else around)
        scores.append(score)
    return scores


def kept(keep: Tensor) -> list[int]:
    return keep.nonzero().flatten().tolist()


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("weight", LAMBDAS)
@settings(deadline=None, max_examples=60)
@given(nll=nlls)
def test_scores_are_those_of_the_formula(weight: float, mean: bool, nll: list[float]) -> None:
    scores = token_scores(
        torch.tensor(nll, dtype=torch.float64), neighbor_lambda=weight, neighbor_mean=mean
    )
    assert scores.dtype == torch.float64
    assert scores.shape == (len(nll),)
    assert scores.tolist() == pytest.approx(naive_scores(nll, weight, mean), rel=1e-12)


def test_scores_of_a_hand_made_sample() -> None:
    nll = torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64).log()
    # Ends see themselves: 0.5 * 1 + 0.5 * (1 + 2), ..., 0.5 * 8 + 0.5 * (4 + 8)
    assert token_scores(nll).tolist() == pytest.approx([2.0, 3.5, 7.0, 10.0])
    assert token_scores(nll, neighbor_mean=True).tolist() == pytest.approx([1.25, 2.25, 4.5, 7.0])
    assert token_scores(nll, neighbor_lambda=1.0).tolist() == pytest.approx([3.0, 5.0, 10.0, 12.0])


def test_scores_are_computed_in_float64_from_float32_input() -> None:
    nll = torch.tensor([100.0, 100.0, 1.0])
    assert token_scores(nll)[0].item() == pytest.approx(1.5 * math.exp(100), rel=1e-12)


def test_scores_carry_no_gradient() -> None:
    assert not token_scores(torch.rand(5, requires_grad=True)).requires_grad


@settings(deadline=None, max_examples=150)
@given(nll=nlls, ratio=ratios, weight=st.sampled_from(LAMBDAS), mean=st.booleans())
def test_the_lowest_scores_are_kept_and_the_budget_is_met(
    nll: list[float], ratio: float, weight: float, mean: bool
) -> None:
    tensor = torch.tensor(nll, dtype=torch.float64)
    options = {"neighbor_lambda": weight, "neighbor_mean": mean}
    scores = token_scores(tensor, **options).tolist()
    order = sorted(range(len(nll)), key=lambda i: (scores[i], i))
    keep = keep_tokens(tensor, ratio, **options)
    assert keep.dtype == torch.bool
    assert keep.shape == (len(nll),)
    assert kept(keep) == sorted(order[: budget(ratio, len(nll))])


@settings(deadline=None, max_examples=150)
@given(data=st.data(), nll=nlls, ratio=ratios, weight=st.sampled_from(LAMBDAS))
def test_protected_tokens_are_kept_inside_the_budget(
    data: st.DataObject, nll: list[float], ratio: float, weight: float
) -> None:
    n = len(nll)
    flags = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    tensor = torch.tensor(nll, dtype=torch.float64)
    scores = token_scores(tensor, neighbor_lambda=weight).tolist()
    safe = [i for i in range(n) if flags[i]]
    rest = sorted((i for i in range(n) if not flags[i]), key=lambda i: (scores[i], i))
    before = torch.tensor(flags)
    protected = before.clone()
    keep = keep_tokens(tensor, ratio, neighbor_lambda=weight, protected=protected)
    assert kept(keep) == sorted(safe + rest[: max(0, budget(ratio, n) - len(safe))])
    assert torch.equal(protected, before)


def test_the_worst_token_is_kept_if_protected_and_costs_another_its_place() -> None:
    nll = torch.tensor([1.0, 1.0, 1.0, 9.0])
    end = torch.tensor([False, False, False, True])
    assert kept(keep_tokens(nll, 0.5, neighbor_lambda=0.0)) == [0, 1]
    assert kept(keep_tokens(nll, 0.5, neighbor_lambda=0.0, protected=end)) == [0, 3]


def test_more_protected_than_the_budget_keeps_all_of_them_and_nothing_else() -> None:
    protected = torch.tensor([False, True, True, False, True])
    assert kept(keep_tokens(torch.arange(5.0), 0.2, protected=protected)) == [1, 2, 4]


def test_protecting_nothing_is_as_no_protection() -> None:
    nll = torch.tensor([3.0, 1.0, 2.0, 5.0, 0.5])
    nothing = torch.zeros(5, dtype=torch.bool)
    assert torch.equal(keep_tokens(nll, 0.5, protected=nothing), keep_tokens(nll, 0.5))


@pytest.mark.parametrize(
    ("n", "ratio", "expected"),
    [(100, 0.29, 29), (100, 0.57, 57), (10, 0.5, 5), (9, 0.5, 4), (3, 0.1, 1), (6, 1.0, 6)],
)
def test_the_number_kept(n: int, ratio: float, expected: int) -> None:
    assert int(keep_tokens(torch.linspace(0, 5, n), ratio).sum()) == expected


@pytest.mark.parametrize("n", [1, 2, 7, 40, 300])
@pytest.mark.parametrize("weight", LAMBDAS)
def test_ties_keep_the_earlier_tokens(n: int, weight: float) -> None:
    keep = keep_tokens(torch.full((n,), 2.3), 0.5, neighbor_lambda=weight)
    assert kept(keep) == list(range(budget(0.5, n)))


@settings(deadline=None, max_examples=60)
@given(nll=nlls, ratio=ratios)
def test_without_neighbours_it_is_a_plain_ranking(nll: list[float], ratio: float) -> None:
    tensor = torch.tensor(nll, dtype=torch.float64)
    # exp may round two values that differ to the same: rank by what torch gives.
    values = tensor.exp().tolist()
    order = sorted(range(len(nll)), key=lambda i: (values[i], i))
    assert kept(keep_tokens(tensor, ratio, neighbor_lambda=0.0)) == sorted(
        order[: budget(ratio, len(nll))]
    )


def test_low_is_kept_not_high() -> None:
    nll = torch.tensor([0.1, 0.1, 0.1, 6.0, 6.0, 6.0])
    assert kept(keep_tokens(nll, 0.5)) == [0, 1, 2]


def test_a_low_token_between_high_ones_goes_and_a_high_one_between_low_ones_may_stay() -> None:
    nll = torch.tensor([5.0, 0.0, 5.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    keep = keep_tokens(nll, 0.5)
    assert not keep[1]
    assert keep[5]
    assert not keep_tokens(nll, 0.5, neighbor_lambda=0.0)[5]


def test_the_mean_of_the_neighbours_ranks_differently_from_their_sum() -> None:
    # Scores 4, 3.5, 6.5, 8.5 by the sum, 2.5, 2.75, 3.5, 6.25 by the mean.
    nll = torch.tensor([2.0, 4.0, 1.0, 8.0]).log()
    assert kept(keep_tokens(nll, 0.25)) == [1]
    assert kept(keep_tokens(nll, 0.25, neighbor_mean=True)) == [0]


def test_a_larger_ratio_keeps_a_superset() -> None:
    nll = torch.rand(30, generator=torch.Generator().manual_seed(0)) * 5
    masks = [keep_tokens(nll, tenth / 10) for tenth in range(1, 11)]
    assert all(bool((small <= large).all()) for small, large in pairwise(masks))
    assert bool(masks[-1].all())


@pytest.mark.parametrize("weight", LAMBDAS)
@pytest.mark.parametrize("ratio", [0.01, 0.5, 1.0])
def test_one_token_is_kept(weight: float, ratio: float) -> None:
    assert keep_tokens(torch.tensor([3.0]), ratio, neighbor_lambda=weight).tolist() == [True]
    assert token_scores(torch.tensor([0.0]), neighbor_lambda=weight).tolist() == [1 + weight]


@pytest.mark.parametrize("protected", [None, torch.zeros(0, dtype=torch.bool)])
def test_no_tokens_give_nothing(protected: Tensor | None) -> None:
    nothing = torch.zeros(0)
    assert token_scores(nothing).shape == (0,)
    keep = keep_tokens(nothing, 0.5, protected=protected)
    assert keep.shape == (0,)
    assert keep.dtype == torch.bool


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("weight", LAMBDAS)
def test_overflow_never_gives_nan(weight: float, mean: bool) -> None:
    nll = torch.tensor([1.0, 800.0, 1.0, 1.0, 900.0, 1.0, 1.0, math.inf])
    scores = token_scores(nll, neighbor_lambda=weight, neighbor_mean=mean)
    assert not scores.isnan().any()


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.5])
def test_what_overflows_is_pruned_first(weight: float) -> None:
    nll = torch.tensor([800.0, 20.0, 9.0, 9.0, 9.0, 8.0, 30.0, 2000.0])
    finite = [i for i, score in enumerate(naive_scores(nll.tolist(), weight)) if score < math.inf]
    keep = keep_tokens(nll, len(finite) / 8, neighbor_lambda=weight)
    assert kept(keep) == finite


def test_neighbours_alone_ignore_the_overflow_of_the_token_itself() -> None:
    nll = torch.tensor([1.0, 800.0, 1.0, 3.0, 3.0])
    scores = token_scores(nll, neighbor_lambda=1.0)
    assert scores[1].item() == pytest.approx(2 * math.e)
    assert kept(keep_tokens(nll, 0.2, neighbor_lambda=1.0)) == [1]


def test_infinite_ties_keep_the_earlier() -> None:
    assert kept(keep_tokens(torch.tensor([900.0, 800.0, 1000.0]), 0.4)) == [0]


@pytest.mark.parametrize("weight", [-0.01, 1.01, math.nan, math.inf])
def test_a_lambda_outside_0_1_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="neighbor_lambda must lie in"):
        token_scores(torch.rand(3), neighbor_lambda=weight)
    with pytest.raises(ValueError, match="neighbor_lambda must lie in"):
        keep_tokens(torch.rand(3), 0.5, neighbor_lambda=weight)


@pytest.mark.parametrize("ratio", [0.0, -0.5, 1.5, math.nan])
def test_a_ratio_outside_0_1_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="keep ratio must lie in"):
        keep_tokens(torch.rand(3), ratio)
    with pytest.raises(ValueError, match="keep ratio must lie in"):
        keep_lowest(torch.rand(3), ratio)


@pytest.mark.parametrize("shape", [(), (2, 3), (1, 4)])
def test_what_is_not_one_samples_tokens_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"token_nll must be \(T,\)"):
        keep_tokens(torch.rand(shape), 0.5)


def test_a_mask_of_another_length_is_refused():
    with pytest.raises(ValueError, match="protected"):
        keep_tokens(torch.ones(4), 0.5, protected=torch.ones(3, dtype=torch.bool))
