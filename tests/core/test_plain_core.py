"""The fast core decides exactly as the plain one; its figures are equal, not nearly so."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qtuning import keep_tokens, rank_correlation, select_samples
from qtuning.core.order import FIRST, LAST, argsort, sort_keys
from qtuning.core.tokens import keep_lowest, keep_tokens_many

from .naive_plane import SCALES, naive, pools, ratios, where
from .plain_core import (
    plain_keep_lowest,
    plain_keep_tokens,
    plain_rank_correlation,
    plain_select,
)

ODD = [0.0, -0.0, 5e-324, 1.0, 1.0 + 2**-52, -3.0, 1e308, -1e308, math.inf, -math.inf, math.nan]
odd = st.one_of(st.sampled_from(ODD), st.floats())
few = st.sampled_from([0.0, -0.0, 1.0, 2.0])


def same_values(a: Tensor, b: Tensor) -> bool:
    """Exactly equal, NaN where the other is NaN."""
    nan = a.isnan()
    same = torch.equal(nan, b.isnan()) and torch.equal(a[~nan], b[~nan])
    return same and a.dtype == b.dtype


def assert_same_selection(ppl: Tensor, entropy: Tensor, ratio: float, scale: str = "ppl") -> None:
    got = select_samples(ppl, entropy, ratio, error_scale=scale)
    expected = plain_select(ppl, entropy, ratio, error_scale=scale)
    for field in ("kept", "quadrant", "filled"):
        assert torch.equal(getattr(got, field), getattr(expected, field)), field
        assert getattr(got, field).dtype == getattr(expected, field).dtype
    assert same_values(got.side, expected.side)
    assert got.thresholds == expected.thresholds
    assert got.rank_correlation == pytest.approx(
        expected.rank_correlation, abs=0, rel=0, nan_ok=True
    )


# Keys


@settings(deadline=None, max_examples=200)
@given(values=st.lists(st.one_of(odd, few), max_size=40), descending=st.booleans())
def test_the_order_of_the_keys_is_that_of_torch(values: list[float], descending: bool) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    expected = torch.sort(x, stable=True, descending=descending).indices
    assert torch.equal(argsort(x, descending=descending), expected)
    keys = sort_keys(x)
    assert bool(((keys > FIRST) & (keys < LAST)).all())


def test_every_nan_ties_and_is_last_whatever_its_bits() -> None:
    bits = torch.tensor([-1, 0x7FF0 << 48, LAST, -(2**51), 0x7FF0 << 48 | 1])
    assert argsort(bits.view(torch.float64)).tolist() == [1, 0, 2, 3, 4]


def test_a_long_vector_that_torch_sorts_by_radix_keeps_its_ties_in_order() -> None:
    x = torch.randint(-3, 4, (100_000,), generator=torch.Generator().manual_seed(0)).double() / 3
    assert torch.equal(argsort(x), torch.sort(x, stable=True).indices)
    expected = torch.sort(x, stable=True, descending=True).indices
    assert torch.equal(argsort(x, descending=True), expected)


# Samples


@settings(deadline=None, max_examples=200)
@given(pool=pools(), ratio=ratios, scale=st.sampled_from(SCALES))
def test_small_pools(pool: tuple[list[float], list[float]], ratio: float, scale: str) -> None:
    ppl, entropy = (torch.tensor(axis, dtype=torch.float64) for axis in pool)
    assert_same_selection(ppl, entropy, ratio, scale)


@settings(deadline=None, max_examples=300)
@given(
    pool=st.lists(st.tuples(st.one_of(odd, few), st.one_of(odd, few)), max_size=30),
    ratio=ratios,
    scale=st.sampled_from(SCALES),
)
def test_pools_of_anything_a_float_can_be(
    pool: list[tuple[float, float]], ratio: float, scale: str
) -> None:
    ppl, entropy = torch.tensor(pool, dtype=torch.float64).reshape(-1, 2).unbind(1)
    assert_same_selection(ppl, entropy, ratio, scale)


def scores(n: int, *, step: float = 0.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """PPL with median 7, entropy correlated with it; rounded to multiples of ``step``."""
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, n, generator=generator, dtype=torch.float64).unbind()
    ppl, entropy = 7 * (0.6 * a).exp(), 1.5 + 0.4 * (0.8 * a + 0.6 * b)
    if step:
        ppl, entropy = (ppl / step).round() * step, (entropy / step).round() * step
    return ppl, entropy


@pytest.mark.parametrize("step", [0.0, 0.25, 20.0])
@pytest.mark.parametrize("ratio", [0.01, 0.125, 0.5, 0.9, 1.0])
def test_pools_long_enough_for_a_radix_sort(ratio: float, step: float) -> None:
    ppl, entropy = scores(50_000, step=step)
    assert_same_selection(ppl, entropy, ratio)
    bad = torch.rand(50_000, generator=torch.Generator().manual_seed(1)) < 0.1
    assert_same_selection(ppl.masked_fill(bad, math.nan), entropy, ratio, "log_ppl")


@pytest.mark.parametrize("step", [0.0, 0.25])
def test_20000_samples_against_the_method_in_plain_lists(step: float) -> None:
    ppl, entropy = scores(20_000, step=step)
    got = select_samples(ppl, entropy, 0.3)
    kept, filled, cut = naive(ppl.tolist(), entropy.tolist(), 0.3)
    assert where(got.kept) == kept
    assert where(got.filled) == filled
    assert got.quadrant.tolist() == cut.quadrant


@settings(deadline=None, max_examples=100)
@given(pool=st.lists(st.tuples(few, st.floats(-9, 9)), min_size=1, max_size=30))
def test_rank_correlation(pool: list[tuple[float, float]]) -> None:
    for dtype in (torch.float32, torch.float64):
        x, y = torch.tensor(pool, dtype=dtype).unbind(1)
        expected = plain_rank_correlation(x, y)
        assert rank_correlation(x, y) == pytest.approx(expected, abs=0, rel=0, nan_ok=True)


# Tokens


@settings(deadline=None, max_examples=200)
@given(data=st.data(), values=st.lists(st.one_of(odd, few), max_size=30), ratio=ratios)
def test_keep_lowest(data: st.DataObject, values: list[float], ratio: float) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    flags = data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    protected = torch.tensor(flags, dtype=torch.bool)
    assert torch.equal(keep_lowest(x, ratio), plain_keep_lowest(x, ratio))
    assert torch.equal(keep_lowest(x, ratio, protected), plain_keep_lowest(x, ratio, protected))


def assert_same_masks(
    nll: Tensor,
    lengths: list[int],
    ratio: float,
    protected: Tensor | None,
    weight: float = 0.5,
    mean: bool = False,
) -> None:
    keep = keep_tokens_many(
        nll, lengths, ratio, neighbor_lambda=weight, neighbor_mean=mean, protected=protected
    )
    assert keep.dtype == torch.bool
    safe = [None] * len(lengths) if protected is None else protected.split(lengths)
    for part, one, flags in zip(keep.split(lengths), nll.split(lengths), safe, strict=True):
        assert torch.equal(part, plain_keep_tokens(one, ratio, weight, mean, flags))


@settings(deadline=None, max_examples=200)
@given(
    data=st.data(),
    lengths=st.lists(st.integers(0, 12), max_size=12),
    ratio=ratios,
    weight=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    mean=st.booleans(),
    block=st.sampled_from([1, 16, 2**17]),
)
def test_many_samples_at_once(
    data: st.DataObject, lengths: list[int], ratio: float, weight: float, mean: bool, block: int
) -> None:
    n = sum(lengths)
    values = st.one_of(few, st.sampled_from([math.nan, math.inf, 800.0]), st.floats(0, 30))
    nll = torch.tensor(data.draw(st.lists(values, min_size=n, max_size=n)))
    flags = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qtuning.core.tokens._BLOCK", block)
        for protected in (None, torch.tensor(flags, dtype=torch.bool)):
            assert_same_masks(nll, lengths, ratio, protected, weight, mean)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("ratio", [0.125, 0.5, 0.7])
def test_several_blocks_with_one_very_long_sample(ratio: float, tied: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    lengths = [*torch.randint(1, 400, (1500,), generator=generator).tolist(), 150_000, 0, 1]
    nll = torch.rand(sum(lengths), generator=generator) * 8
    protected = torch.rand(sum(lengths), generator=generator) < 0.02
    assert_same_masks(nll.round() if tied else nll, lengths, ratio, protected)


def test_one_sample_is_the_same_one_or_many() -> None:
    nll = torch.rand(300, generator=torch.Generator().manual_seed(0)) * 8
    assert torch.equal(keep_tokens_many(nll, [300], 0.3), keep_tokens(nll, 0.3))


@pytest.mark.parametrize("lengths", [[2, 2], [6], []])
def test_lengths_that_do_not_fit_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="lengths' sum"):
        keep_tokens_many(torch.ones(5), lengths, 0.5)


def test_a_mask_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="protected"):
        keep_tokens_many(torch.ones(5), [2, 3], 0.5, protected=torch.ones(4, dtype=torch.bool))


def test_the_input_is_left_as_it_was() -> None:
    nll, protected = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([True, False, False])
    keep_tokens_many(nll, [1, 2], 0.5, protected=protected)
    assert nll.tolist() == [3.0, 1.0, 2.0]
    assert protected.tolist() == [True, False, False]
    values = torch.tensor([-0.0, -math.nan])
    before = values.view(torch.int32).clone()
    sort_keys(values)
    assert torch.equal(values.view(torch.int32), before)
