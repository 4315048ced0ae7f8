"""Selective IFD against a naive float64 reference."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qtuning.core.selective_ifd import selective_ifd

NATS = st.floats(0.0, 20.0, width=32)


def naive(nll: list[float], alone: list[float]) -> float:
    differences = [a - b for a, b in zip(nll, alone, strict=True)]
    most = sorted(differences, key=abs, reverse=True)[: max(1, len(differences) // 2)]
    return math.exp(sum(most) / len(most))


@given(pairs=st.lists(st.tuples(NATS, NATS), min_size=1, max_size=30))
def test_it_is_exp_of_the_mean_of_the_largest_half(pairs):
    nll, alone = map(list, zip(*pairs, strict=True))
    value = selective_ifd(torch.tensor(nll), torch.tensor(alone))
    assert value.dtype == torch.float64
    assert value.shape == ()
    assert float(value) == pytest.approx(naive(nll, alone), rel=1e-9)


@given(nll=st.lists(NATS, min_size=1, max_size=30))
def test_a_prompt_that_tells_nothing_gives_one(nll):
    assert float(selective_ifd(torch.tensor(nll), torch.tensor(nll))) == 1.0


def test_by_hand():
    # d is -2, 0.1, 1, -0.5: of four tokens the first and the third count.
    value = selective_ifd(torch.tensor([1.0, 1.1, 3.0, 0.5]), torch.tensor([3.0, 1.0, 2.0, 1.0]))
    assert float(value) == pytest.approx(math.exp(-0.5), rel=1e-6)
    one = selective_ifd(torch.tensor([1.0]), torch.tensor([3.0]))
    assert float(one) == pytest.approx(math.exp(-2.0))


def test_what_is_not_known_has_none():
    assert selective_ifd(torch.tensor([1.0, 2.0, 3.0]), torch.full((3,), math.nan)).isnan()
