"""Robust z-scores of losses."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtuning.explanation.robust import robust_scores

from . import naive

ODD = st.sampled_from([math.nan, math.inf, -math.inf])


@given(st.lists(st.one_of(st.integers(0, 40).map(lambda n: n / 8), ODD), max_size=80))
def test_they_are_those_of_their_definition(losses) -> None:
    scores, medians = robust_scores(np.array(losses, dtype=np.float64))
    assert scores.tolist() == pytest.approx(naive.z_scores(losses), nan_ok=True)
    assert len(medians) == len(losses)


def noisy(n: int, seed: int = 0) -> np.ndarray:
    """Losses of a run: they fall, first fast and then slowly, with noise of 0.1."""
    steps = np.arange(n)
    return 1 + 3 * np.exp(-steps / 40) + 0.1 * np.random.default_rng(seed).normal(size=n)


def test_noise_has_a_standard_deviation_of_one_where_the_loss_no_longer_falls() -> None:
    scores, _ = robust_scores(noisy(2000)[400:])
    assert np.nanstd(scores) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("at", [10, 30, 199])
def test_a_jump_stands_out_wherever_the_run_is(at) -> None:
    losses = noisy(200)
    losses[at] += 3
    scores, medians = robust_scores(losses)
    assert np.nanargmax(scores) == at
    assert scores[at] > 10
    assert medians[at] == np.median(losses[max(0, at - 25) : at])


def test_neither_a_falling_loss_nor_the_step_after_a_low_one_is_a_jump() -> None:
    losses = noisy(200)
    losses[100] -= 3
    scores, _ = robust_scores(losses)
    assert np.nanmax(scores[101:110]) < 3.5
    assert np.nanmax(robust_scores(np.linspace(9, 1, 60) + noisy(60))[0]) < 3.5


def test_many_jumps_do_not_hide_each_other() -> None:
    losses = noisy(200)
    jumps = np.arange(50, 200, 10)
    losses[jumps] += 3
    scores, _ = robust_scores(losses)
    assert (scores[jumps] > 10).all()


def test_a_plateau_is_found_where_it_begins() -> None:
    losses = noisy(200, seed=1)
    losses[120:] += 2
    assert (robust_scores(losses)[0][120:125] > 10).all()


def test_equal_losses_have_no_scores_and_one_that_differs_has_one() -> None:
    assert np.isnan(robust_scores(np.ones(50))[0]).all()
    losses = np.ones(50)
    losses[30] = 2
    assert np.nanargmax(robust_scores(losses)[0]) == 30


def test_a_loss_that_is_not_finite_is_a_jump_and_is_not_counted() -> None:
    losses = noisy(60)
    losses[[0, 20]] = math.nan, math.inf
    scores, medians = robust_scores(losses)
    assert scores[0] == scores[20] == math.inf
    assert np.isfinite(medians[1:]).sum() == 58, "the second has none before it"
    assert np.isnan(scores[1:6]).all()
    assert np.isfinite(scores[6])
