"""The AND rule of the paper's text: which tokens may be pruned at all."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qtuning.core.tokens import detrimental_tokens

nlls = st.lists(st.floats(0.0, 30.0), min_size=1, max_size=40)


def naive(nll: list[float]) -> list[bool]:
    """Each token by itself: above the median, and so is the mean of its two neighbours."""
    ppl = [math.exp(value) for value in nll]
    threshold = sorted(ppl)[(len(ppl) + 1) // 2 - 1]
    padded = [ppl[0], *ppl, ppl[-1]]
    return [
        padded[i] > threshold and (padded[i - 1] + padded[i + 1]) / 2 > threshold
        for i in range(1, len(ppl) + 1)
    ]


@settings(deadline=None, max_examples=200)
@given(nll=nlls)
def test_the_rule_is_that_of_the_text_and_takes_half_at_most(nll: list[float]) -> None:
    rule = detrimental_tokens(torch.tensor(nll, dtype=torch.float64))
    assert rule.tolist() == naive(nll)
    assert int(rule.sum()) <= len(nll) // 2


def test_of_a_hand_made_answer_the_lone_peak_stays() -> None:
    ppl = [1.0, 9.0, 1.0, 1.0, 6.0, 7.0, 8.0, 1.0]
    # Median: the fourth of eight, 1. All the others are above it, and so are their neighbours.
    rule = detrimental_tokens(torch.tensor(ppl, dtype=torch.float64).log())
    assert rule.nonzero().flatten().tolist() == [4, 5, 6]
    with_nothing_above = detrimental_tokens(torch.tensor([2.0, 2.0, 2.0]))
    assert not bool(with_nothing_above.any())


@pytest.mark.parametrize(
    ("nll", "expected"),
    [
        ([], []),
        ([3.0], [False]),
        ([1.0, 2.0], [False, True]),  # the last token is its own neighbour beyond the end
        ([1.0, math.inf, math.inf, 0.5], [False, True, True, False]),
        ([math.nan, 1.0, 2.0], [False] * 3),  # nothing exceeds NaN
        ([0.0, 800.0, 900.0, 900.0], [False] * 4),  # the median overflows: nothing is above it
    ],
    ids=str,
)
def test_odd_values_are_decided(nll: list[float], expected: list[bool]) -> None:
    assert detrimental_tokens(torch.tensor(nll)).tolist() == expected


def test_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"token_nll must be \(T,\)"):
        detrimental_tokens(torch.zeros(2, 2))
