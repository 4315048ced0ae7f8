"""Small, odd and unusable pools."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qtuning import select_samples

from .naive_plane import (
    SCALES,
    best,
    cut_of,
    gaussian,
    iterates,
    naive_spearman,
    pools,
    ratios,
    select,
    supports,
    where,
)


@pytest.mark.parametrize("ratio", [0.001, 0.5, 1.0])
def test_a_pool_of_one_is_kept(ratio: float) -> None:
    got = select([7.0], [1.0], ratio)
    assert got.kept.tolist() == [True]
    assert math.isnan(got.rank_correlation)


def test_an_empty_pool_gives_nothing() -> None:
    got = select([], [], 0.5)
    assert got.kept.shape == got.quadrant.shape == got.filled.shape == (0,)


@settings(deadline=None, max_examples=40)
@given(pool=pools())
def test_ratio_one_keeps_all(pool: tuple[list[float], list[float]]) -> None:
    assert bool(select(*pool, 1.0).kept.all())


def test_a_quantile_level_that_binary_rounds_up_is_not_the_next_sample() -> None:
    # The second level is 0.3675, and 0.6325 * 400 is 253.00000000000003 in binary.
    ppl = [float(i) for i in range(1, 401)]
    got = select(ppl, ppl[::-1], 0.75, steps=2)
    assert cut_of(got) == pytest.approx((0.3675, 147.0, 253.0, 147.0, 253.0))


def test_float32_would_tie_where_float64_does_not() -> None:
    # Beside an outlier, PPL 17 and 16 are as one in float32; then the earlier would be kept.
    got = select([17.0, 16.0, 1.0, 1e9, 1e9, 1e9], [1.0] * 6, 5 / 6, dtype=torch.float32)
    assert where(got.kept) == [1, 2, 3, 4, 5]


def test_more_steps_find_a_nearer_level() -> None:
    pool = gaussian(200, 0.0, seed=3)
    counts = [
        int((quadrant == 2).sum() + (quadrant == 4).sum())
        for quadrant in (select(*pool, 0.1, steps=steps).quadrant for steps in (1, 10))
    ]
    assert abs(counts[1] - 20) < abs(counts[0] - 20)
    assert cut_of(select(*pool, 0.1, steps=1))[0] == 0.245


BAD = [math.nan, math.inf, -math.inf]


@settings(deadline=None, max_examples=150)
@given(data=st.data(), pool=pools(), ratio=ratios, scale=st.sampled_from(SCALES))
def test_samples_that_are_not_finite_are_as_if_absent_but_for_the_budget(
    data: st.DataObject, pool: tuple[list[float], list[float]], ratio: float, scale: str
) -> None:
    ppl, ent = list(pool[0]), list(pool[1])
    bad = data.draw(st.sets(st.integers(0, len(ppl) - 1), min_size=1))
    for i in bad:
        axis = data.draw(st.sampled_from([ppl, ent]))
        axis[i] = data.draw(st.sampled_from(BAD))
    good = [i for i in range(len(ppl)) if i not in bad]
    got = select(ppl, ent, ratio, scale=scale)
    k = max(1, math.floor(ratio * len(ppl) + 1e-9))
    assert int(got.kept.sum()) == min(k, len(good))
    assert not got.kept[list(bad)].any()
    assert not got.filled[list(bad)].any()
    assert got.quadrant[list(bad)].tolist() == [0] * len(bad)
    if not good:
        assert got.thresholds is None
        assert math.isnan(got.rank_correlation)
        return
    p, e = [ppl[i] for i in good], [ent[i] for i in good]
    cut = best(iterates(p, e, ratio), min(k, len(good)))
    assert cut_of(got) == cut.values()
    assert got.quadrant[good].tolist() == cut.quadrant
    support = supports(p, e, scale)
    ranked = sorted(range(len(good)), key=lambda i: (cut.quadrant[i] not in (2, 4), -support[i], i))
    assert where(got.kept) == sorted(good[i] for i in ranked[:k])
    assert got.rank_correlation == pytest.approx(naive_spearman(p, e), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("bad", BAD)
def test_nothing_is_kept_of_a_pool_without_a_finite_sample(bad: float) -> None:
    got = select([bad] * 3, [1.0, bad, 2.0], 1.0)
    assert not got.kept.any()
    assert not got.filled.any()
    assert got.quadrant.tolist() == [0, 0, 0]
    assert got.thresholds is None


def test_the_input_is_left_as_it_was() -> None:
    ppl = torch.tensor([3.0, 1.0, math.nan, 2.0], requires_grad=True)
    ent = torch.tensor([0.3, 0.1, 0.0, 0.2])
    before = ppl.detach().clone(), ent.clone()
    got = select_samples(ppl, ent, 0.5)
    assert torch.equal(before[0].nan_to_num(), ppl.detach().nan_to_num())
    assert torch.equal(before[1], ent)
    assert not got.side.requires_grad


@pytest.mark.parametrize("ratio", [0.0, -0.25, 1.01, math.nan])
def test_a_ratio_outside_0_1_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="keep ratio must lie in"):
        select([1.0, 2.0], [1.0, 2.0], ratio)


@pytest.mark.parametrize(
    ("ppl", "entropy"), [((3,), (4,)), ((2, 2), (2, 2)), ((), ()), ((3,), (3, 1)), ((1,), (3,))]
)
def test_shapes_that_do_not_fit_are_refused(ppl: tuple[int, ...], entropy: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \(N,\)"):
        select_samples(torch.ones(ppl), torch.ones(entropy), 0.5)


@pytest.mark.parametrize("steps", [0, -1])
def test_no_bisection_steps_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match="bisect_steps must be at least 1"):
        select([1.0, 2.0], [1.0, 2.0], 0.5, steps=steps)


@pytest.mark.parametrize("scale", ["log", "", "PPL"])
def test_an_unknown_scale_is_refused(scale: str) -> None:
    with pytest.raises(ValueError, match="error_scale must be"):
        select([1.0, 2.0], [1.0, 2.0], 0.5, scale=scale)


def test_the_default_device_does_not_matter():
    ppl, entropy = torch.tensor([1.0, 2.0, 3.0, 9.0]), torch.tensor([0.1, 2.0, 0.3, 1.0])
    expected = select_samples(ppl, entropy, 0.5).kept
    with torch.device("meta"):
        assert torch.equal(select_samples(ppl, entropy, 0.5).kept, expected)
