"""Places of answer tokens select what a mask selects."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qtuning.core.places import AnswerPlaces


@given(b=st.integers(1, 4), length=st.integers(1, 12), seed=st.integers(0, 99))
def test_they_select_what_a_mask_selects(b: int, length: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    hidden = torch.randn(b, length, 3, generator=g)
    labels = torch.randint(9, (b, length), generator=g)
    labels[torch.rand(b, length, generator=g) < 0.5] = -100
    mask = labels[:, 1:] != -100
    places = AnswerPlaces.of(labels)
    assert torch.equal(hidden.flatten(0, 1)[places.at], hidden[:, :-1][mask])
    assert torch.equal(places.gold, labels[:, 1:][mask])
    places.check(9)


@pytest.mark.parametrize("label", [-1, 9])
def test_a_token_outside_the_vocabulary_is_refused(label: int) -> None:
    with pytest.raises(ValueError, match=r"lie in \[0, 9\)"):
        AnswerPlaces.of(torch.tensor([[-100, 3, label]])).check(9)
    AnswerPlaces.of(torch.tensor([[label, 3, -100]])).check(9)  # nothing predicts the first


def test_nothing_is_in_any_vocabulary() -> None:
    AnswerPlaces.of(torch.full((2, 3), -100)).check(0)
