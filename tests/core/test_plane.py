"""Stage 1 against a second implementation of Algorithm 1, written naively from its statement."""

import math
import random
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from .naive_plane import (
    SCALES,
    cut_of,
    gaussian,
    iterates,
    naive,
    naive_spearman,
    normalise,
    pools,
    ratios,
    select,
    supports,
    where,
)

# Against the reference


@settings(deadline=None, max_examples=300)
@given(pool=pools(), ratio=ratios, scale=st.sampled_from(SCALES), steps=st.sampled_from([1, 3, 10]))
def test_every_decision_is_that_of_the_reference(
    pool: tuple[list[float], list[float]], ratio: float, scale: str, steps: int
) -> None:
    kept, filled, cut = naive(*pool, ratio, steps, scale)
    got = select(*pool, ratio, steps=steps, scale=scale)
    assert cut_of(got) == cut.values()
    assert got.quadrant.dtype == torch.int64
    assert got.quadrant.tolist() == cut.quadrant
    assert where(got.kept) == kept
    assert where(got.filled) == filled
    assert got.rank_correlation == pytest.approx(naive_spearman(*pool), abs=1e-12, nan_ok=True)


@settings(deadline=None, max_examples=50)
@given(pool=pools(), ratio=ratios)
def test_float32_values_are_compared_in_float64(
    pool: tuple[list[float], list[float]], ratio: float
) -> None:
    rounded = [torch.tensor(axis, dtype=torch.float32).tolist() for axis in pool]
    kept, filled, cut = naive(*rounded, ratio)
    got = select(*pool, ratio, dtype=torch.float32)
    assert cut_of(got) == cut.values()
    assert (where(got.kept), where(got.filled)) == (kept, filled)


@settings(deadline=None, max_examples=150)
@given(pool=pools(), ratio=ratios, scale=st.sampled_from(SCALES))
def test_exactly_k_are_kept_and_each_for_its_reason(
    pool: tuple[list[float], list[float]], ratio: float, scale: str
) -> None:
    got = select(*pool, ratio, scale=scale)
    n = len(pool[0])
    assert int(got.kept.sum()) == max(1, math.floor(ratio * n + 1e-9))
    assert bool((got.kept | ~got.filled).all())
    named = (got.quadrant == 2) | (got.quadrant == 4)
    assert not (got.filled & named).any()
    assert torch.equal(got.kept & ~got.filled, got.kept & named)
    # Never both too many and too few.
    assert not got.filled.any() or bool(got.kept[named].all())
    assert set(got.quadrant.tolist()) <= {0, 1, 2, 3, 4}


# What each step does, by hand


CORNERS = [1.0, 1.0, 10.0, 10.0, 5.0], [0.0, 2.0, 0.0, 2.0, 1.0]


def test_the_four_corners_and_the_middle_have_their_names() -> None:
    got = select(*CORNERS, 0.4)
    assert got.quadrant.tolist() == [3, 4, 2, 1, 0]
    assert where(got.kept) == [1, 2]
    assert where(got.filled) == []


def test_the_fill_takes_the_largest_support_from_noise_redundancy_and_the_middle_alike() -> None:
    # 4 (middle) lies farthest from the diagonal, then 0 (redundant), then 3 (noise).
    ppl, ent = [1.3, 1.0, 10.0, 10.0, 5.0], [0.0, 2.0, 0.0, 1.99, 1.6]
    by_ratio = {ratio: select(ppl, ent, ratio) for ratio in (0.4, 0.6, 0.8, 1.0)}
    assert by_ratio[0.4].quadrant.tolist() == [0, 4, 2, 0, 0]
    assert where(by_ratio[0.4].filled) == []
    assert where(by_ratio[0.6].filled) == [4]
    assert where(by_ratio[0.8].filled) == [0, 4]
    assert where(by_ratio[1.0].filled) == [0, 3, 4]


def test_too_many_are_trimmed_by_the_smallest_support() -> None:
    # Ties hold four in the quadrants at every level.
    ppl, ent = [1.0, 1.0, 9.0, 9.0], [5.0, 5.0, 1.0, 1.0]
    assert where(select(ppl, ent, 0.75).kept) == [0, 1, 2]
    assert where(select([2.0, 1.0, 9.0, 9.0], [5.0, 5.0, 1.0, 1.0], 0.75).kept) == [1, 2, 3]


def test_the_best_iterate_is_kept_not_the_last() -> None:
    ppl, ent = [2.0, 1.0, 2.0], [2.0, 3.0, 1.0]
    assert [cut.count for cut in iterates(ppl, ent, 0.75)] == [2, *[1] * 9]  # k = 2
    got = select(ppl, ent, 0.75)
    assert cut_of(got)[0] == 0.245
    assert where(got.kept) == [1, 2]
    assert where(got.filled) == []


def test_of_equally_near_iterates_the_fuller_wins_and_of_those_the_latest() -> None:
    ppl, ent = [4.0, 4.0, 5.0, 5.0, 5.0], [1.0, 3.0, 2.0, 3.0, 2.0]
    cuts = iterates(ppl, ent, 0.5)
    assert [cut.count for cut in cuts] == [3, 1, 1, 3, 1, 3, 3, 3, 3, 1]  # k = 2
    got = select(ppl, ent, 0.5)
    assert cut_of(got)[0] == cuts[8].alpha
    assert int(((got.quadrant == 2) | (got.quadrant == 4)).sum()) == 3
    assert where(got.filled) == []


def test_equal_supports_keep_the_earlier() -> None:
    got = select([4.0] * 6, [2.0] * 6, 0.5)
    assert where(got.kept) == where(got.filled) == [0, 1, 2]


def test_what_is_high_and_low_at_once_is_low() -> None:
    # On a constant axis both quantiles are the one value, which does not lie above itself.
    assert select([3.0] * 4, [2.0] * 4, 0.5).quadrant.tolist() == [3] * 4
    assert select([3.0] * 4, [1.0, 2.0, 3.0, 4.0], 0.5).quadrant.tolist() == [3, 3, 4, 4]
    assert select([1.0, 2.0, 3.0, 4.0], [3.0] * 4, 0.5).quadrant.tolist() == [3, 3, 2, 2]


def test_the_quantile_is_a_value_of_the_pool() -> None:
    t = select([1.0, 2.0, 4.0, 8.0], [4.0, 3.0, 2.0, 1.0], 0.5).thresholds
    assert t is not None
    assert {t.ppl_lo, t.ppl_hi} <= {1.0, 2.0, 4.0, 8.0}
    assert {t.ent_lo, t.ent_hi} <= {1.0, 2.0, 3.0, 4.0}


def test_the_middle_band_is_not_calibration_data() -> None:
    # Counting it as Q4 leaves nothing to relax: the search ends with everything kept.
    ppl, ent = gaussian(400, 0.0, seed=1)
    got = select(ppl, ent, 0.25)
    t = got.thresholds
    assert t is not None
    # Two corners of alpha * alpha each hold a quarter of independent data.
    assert t.alpha == pytest.approx(math.sqrt(0.125), abs=0.05)
    between = [
        i for i in range(400) if t.ppl_lo < ppl[i] < t.ppl_hi or t.ent_lo < ent[i] < t.ent_hi
    ]
    assert len(between) > 150
    assert {got.quadrant[i].item() for i in between} == {0}
    assert 98 <= int((got.quadrant == 2).sum() + (got.quadrant == 4).sum()) <= 102
    assert int(got.kept.sum()) == 100
    assert int(got.filled.sum()) <= 2


@pytest.mark.parametrize("rho", [0.5, 0.8, 0.95])
def test_correlated_data_is_filled_and_the_fill_is_reported(rho: float) -> None:
    n = 1000
    ppl, ent = gaussian(n, rho, seed=2)
    got = select(ppl, ent, 0.5)
    counts = Counter(got.quadrant.tolist())
    named = counts[2] + counts[4]
    assert named / n <= math.acos(rho) / math.pi + 0.03
    assert named / n >= math.acos(rho) / math.pi - 0.06
    assert int(got.kept.sum()) == 500
    assert int(got.filled.sum()) == 500 - named
    assert got.rank_correlation == pytest.approx(6 / math.pi * math.asin(rho / 2), abs=0.05)
    # The fill comes from all three others, not from the middle alone.
    assert {got.quadrant[i].item() for i in where(got.filled)} == {0, 1, 3}


def test_perfectly_correlated_data_is_all_fill() -> None:
    values = [1.0 + i for i in range(16)]
    got = select(values, values, 0.25)
    assert where(got.kept) == where(got.filled) == [0, 1, 2, 3]
    assert got.rank_correlation == pytest.approx(1.0)


def test_perfectly_opposed_data_needs_no_fill() -> None:
    values = [1.0 + i for i in range(16)]
    got = select(values, values[::-1], 0.25)
    assert where(got.kept) == [0, 1, 14, 15]
    assert got.quadrant.tolist() == [4, 4, *[0] * 12, 2, 2]
    assert where(got.filled) == []


# Symmetries that follow from the statement


@settings(deadline=None, max_examples=80)
@given(pool=pools(), ratio=ratios, seed=st.integers(0, 999))
def test_the_order_of_the_pool_changes_names_of_none_and_kept_only_at_ties(
    pool: tuple[list[float], list[float]], ratio: float, seed: int
) -> None:
    ppl, ent = pool
    order = list(range(len(ppl)))
    random.Random(seed).shuffle(order)
    got = select(ppl, ent, ratio)
    shuffled = select([ppl[i] for i in order], [ent[i] for i in order], ratio)
    assert cut_of(shuffled) == cut_of(got)
    assert torch.equal(shuffled.quadrant, got.quadrant[order])
    support = supports(ppl, ent)
    assert sorted(support[i] for i in where(got.kept)) == sorted(
        support[order[i]] for i in where(shuffled.kept)
    )
    if len(set(support)) == len(support):
        assert torch.equal(shuffled.kept, got.kept[order])
        assert torch.equal(shuffled.filled, got.filled[order])


@settings(deadline=None, max_examples=60)
@given(pool=pools(), ratio=ratios)
def test_swapping_the_axes_swaps_misconception_and_calibration(
    pool: tuple[list[float], list[float]], ratio: float
) -> None:
    got, swapped = select(*pool, ratio), select(*pool[::-1], ratio)
    mirror = {0: 0, 1: 1, 2: 4, 3: 3, 4: 2}
    assert [mirror[q] for q in got.quadrant.tolist()] == swapped.quadrant.tolist()
    assert torch.equal(got.kept, swapped.kept)
    assert torch.equal(got.filled, swapped.filled)


MAPS: dict[str, Callable[[float], float]] = {
    "log": math.log,
    "cube": lambda v: v**3,
    "affine": lambda v: 3 * v + 40,
    "reciprocal": lambda v: -1 / v,
}


# Thresholds are order statistics, and low, high and both are comparisons with them.
@pytest.mark.parametrize("name", list(MAPS))
@settings(deadline=None, max_examples=40)
@given(pool=pools(("ties", "constant", "distinct", "outlier")), ratio=ratios)
def test_names_depend_on_the_ranks_alone(
    name: str, pool: tuple[list[float], list[float]], ratio: float
) -> None:
    ppl, ent = pool
    mapped = [MAPS[name](v) for v in ppl], [MAPS[name](v) for v in ent]
    assume(all(len(set(a)) == len(set(b)) for a, b in zip(pool, mapped, strict=True)))
    before, after = select(ppl, ent, ratio), select(*mapped, ratio)
    assert torch.equal(before.quadrant, after.quadrant)
    assert cut_of(before)[0] == cut_of(after)[0]
    assert torch.equal(before.filled.sum(), after.filled.sum())


@settings(deadline=None, max_examples=60)
@given(pool=pools(), ratio=ratios)
def test_the_error_scale_changes_the_support_alone(
    pool: tuple[list[float], list[float]], ratio: float
) -> None:
    plain, log = (select(*pool, ratio, scale=scale) for scale in SCALES)
    assert plain.thresholds == log.thresholds
    assert torch.equal(plain.quadrant, log.quadrant)
    assert torch.equal(plain.filled.sum(), log.filled.sum())


def test_an_outlier_squashes_the_raw_error_axis_but_not_the_logarithmic_one() -> None:
    # A PPL of 200 lies near the bottom of [2, 32000], but in the middle of its logarithm.
    ppl, ent = [32_000.0, 200.0, 2.0, 2.0, 60.0], [4.0, 0.5, 0.0, 0.1, 3.0]
    plain, log = (select(ppl, ent, 0.2, scale=scale) for scale in SCALES)
    assert plain.side[1].item() == pytest.approx(0.006 - 0.125, abs=1e-3)
    assert log.side[1].item() == pytest.approx(math.log(100) / math.log(16_000) - 0.125)


@settings(deadline=None, max_examples=60)
@given(pool=pools(), ratio=ratios, scale=st.sampled_from(SCALES))
def test_side_is_the_signed_support(
    pool: tuple[list[float], list[float]], ratio: float, scale: str
) -> None:
    side = select(*pool, ratio, scale=scale).side
    assert side.dtype == torch.float64
    assert side.abs().tolist() == supports(*pool, scale)
    ppl, ent = normalise(pool[0]), normalise(pool[1])
    if scale == "ppl":
        assert side.tolist() == [p - e for p, e in zip(ppl, ent, strict=True)]
