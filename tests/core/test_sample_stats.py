import math

import pytest
import torch

from qtuning import TokenStats, sample_stats

# Beyond the error of a straightforward float32 computation, as Apple's CCE is tested: two units in
# the last place of the result, and what two orders of summation may differ by.


def stats(nll: list[list[float]], entropy: list[list[float]], mask: list[list[int]]) -> TokenStats:
    return TokenStats(torch.tensor(nll), torch.tensor(entropy), torch.tensor(mask).bool())


def test_sample_statistics_are_means_over_answer_tokens() -> None:
    got = sample_stats(
        stats(
            [[0.0, 1.0, 3.0, 0.0], [0.0, 0.0, 0.5, 0.0]],
            [[0.0, 0.25, 0.5, 0.0], [0.0, 0.0, 2.0, 0.0]],
            [[0, 1, 1, 0], [0, 0, 1, 0]],
        )
    )
    assert got.ppl.tolist() == pytest.approx([math.exp(2.0), math.exp(0.5)], rel=1e-15)
    assert got.entropy.tolist() == [0.375, 2.0]
    assert got.n_tokens.tolist() == [2, 1]


def test_an_answer_token_of_zero_nll_counts() -> None:
    got = sample_stats(stats([[0.0, 2.0]], [[0.0, 1.0]], [[1, 1]]))
    assert got.ppl.item() == pytest.approx(math.e)
    assert got.entropy.item() == 0.5
    assert got.n_tokens.item() == 2


def test_perplexity_is_float64_and_does_not_overflow_at_100_nats() -> None:
    got = sample_stats(stats([[100.0, 100.0]], [[1.0, 1.0]], [[1, 1]]))
    assert got.ppl.dtype == got.entropy.dtype == torch.float64
    assert got.n_tokens.dtype == torch.int64
    assert got.ppl.item() == pytest.approx(math.exp(100), rel=1e-12)


def test_the_mean_is_accumulated_in_float64() -> None:
    nll = torch.full((1, 100_000), 0.1)
    got = sample_stats(TokenStats(nll, nll, torch.ones_like(nll).bool()))
    assert got.entropy.item() == pytest.approx(nll[0, 0].item(), rel=1e-13)
    assert got.ppl.item() == pytest.approx(math.exp(nll[0, 0].item()), rel=1e-13)


@pytest.mark.parametrize("junk", [7.0, math.nan, math.inf])
def test_what_is_masked_has_no_influence(junk: float) -> None:
    got = sample_stats(stats([[junk, 1.0]], [[junk, 2.0]], [[0, 1]]))
    assert got.ppl.item() == pytest.approx(math.e)
    assert got.entropy.item() == 2.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_broken_answer_token_shows_in_its_sample_alone(bad: float) -> None:
    got = sample_stats(stats([[bad, 1.0], [1.0, 1.0]], [[bad, 1.0], [1.0, 1.0]], [[1, 1], [1, 1]]))
    assert got.ppl.isfinite().tolist() == [False, True]
    assert got.entropy.isfinite().tolist() == [False, True]


def test_a_sample_without_answer_tokens_is_nan() -> None:
    got = sample_stats(stats([[0.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]], [[0, 0], [0, 1]]))
    assert got.ppl.isnan().tolist() == [True, False]
    assert got.entropy.isnan().tolist() == [True, False]
    assert got.n_tokens.tolist() == [0, 1]


def test_samples_of_no_positions_are_nan() -> None:
    got = sample_stats(TokenStats(torch.zeros(2, 0), torch.zeros(2, 0), torch.zeros(2, 0).bool()))
    assert got.ppl.isnan().tolist() == got.entropy.isnan().tolist() == [True, True]
    assert got.n_tokens.tolist() == [0, 0]
