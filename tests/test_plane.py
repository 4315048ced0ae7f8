"""Stage 1 against a second implementation of Algorithm 1, written naively from its statement."""

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qtuning import Selection, rank_correlation, select_samples

SCALES = ["ppl", "log_ppl"]


# The reference: Python lists and floats, one sample at a time.


@dataclass
class Cut:
    alpha: float
    ppl_lo: float
    ppl_hi: float
    ent_lo: float
    ent_hi: float
    quadrant: list[int]

    @property
    def count(self) -> int:
        return sum(q in (2, 4) for q in self.quadrant)

    def values(self) -> tuple[float, ...]:
        return self.alpha, self.ppl_lo, self.ppl_hi, self.ent_lo, self.ent_hi


def quantile(values: list[float], g: float) -> float:
    return sorted(values)[max(0, math.ceil(g * len(values) - 1e-9) - 1)]


def level(value: float, lo: float, hi: float) -> str:
    if value >= hi and value <= lo:
        return "high" if value > (hi + lo) / 2 else "low"
    if value >= hi:
        return "high"
    return "low" if value <= lo else "middle"


def quadrant_of(error: str, uncertainty: str) -> int:
    corners = {("high", "high"): 1, ("high", "low"): 2, ("low", "low"): 3, ("low", "high"): 4}
    return corners.get((error, uncertainty), 0)


def iterates(ppl: list[float], ent: list[float], ratio: float, steps: int = 10) -> list[Cut]:
    low, high = 0.0, 0.49
    cuts = []
    for _ in range(steps):
        alpha = (low + high) / 2
        cut = Cut(
            alpha,
            quantile(ppl, alpha),
            quantile(ppl, 1 - alpha),
            quantile(ent, alpha),
            quantile(ent, 1 - alpha),
            [],
        )
        for p, e in zip(ppl, ent, strict=True):
            error = level(p, cut.ppl_lo, cut.ppl_hi)
            cut.quadrant.append(quadrant_of(error, level(e, cut.ent_lo, cut.ent_hi)))
        cuts.append(cut)
        if cut.count / len(ppl) < ratio:
            low = alpha
        else:
            high = alpha
    return cuts


def best(cuts: list[Cut], k: int) -> Cut:
    found = cuts[0]
    for cut in cuts[1:]:
        distance, before = abs(cut.count - k), abs(found.count - k)
        # Nearest; on a tie the one with more kept; then the later.
        if distance < before or (distance == before and cut.count >= found.count):
            found = cut
    return found


def normalise(values: list[float]) -> list[float]:
    low, high = min(values), max(values)
    return [0.5 if low == high else (v - low) / (high - low) for v in values]


def supports(ppl: list[float], ent: list[float], scale: str = "ppl") -> list[float]:
    # The logarithm is torch's: another library's may differ in the last bit and so break a tie.
    error = torch.tensor(ppl, dtype=torch.float64).log().tolist() if scale == "log_ppl" else ppl
    return [abs(p - e) for p, e in zip(normalise(error), normalise(ent), strict=True)]


def naive(
    ppl: list[float], ent: list[float], ratio: float, steps: int = 10, scale: str = "ppl"
) -> tuple[list[int], list[int], Cut]:
    """(kept, filled, cut) of a finite pool."""
    k = max(1, math.floor(ratio * len(ppl) + 1e-9))
    cut = best(iterates(ppl, ent, ratio, steps), k)
    support = supports(ppl, ent, scale)
    ranked = sorted(range(len(ppl)), key=lambda i: (-support[i], i))
    named = [i for i in ranked if cut.quadrant[i] in (2, 4)]
    rest = [i for i in ranked if cut.quadrant[i] not in (2, 4)]
    filled = rest[: max(0, k - len(named))]
    return sorted(named[:k] + filled), sorted(filled), cut


def naive_spearman(x: list[float], y: list[float]) -> float:
    def ranks(values: list[float]) -> list[float]:
        return [
            sum(other < v for other in values) + (sum(other == v for other in values) + 1) / 2
            for v in values
        ]

    a, b = ranks(x), ranks(y)
    middle = (len(x) + 1) / 2
    cov = sum((p - middle) * (q - middle) for p, q in zip(a, b, strict=True))
    var = math.prod(sum((r - middle) ** 2 for r in side) for side in (a, b))
    return cov / math.sqrt(var) if var else math.nan


# Pools


axes: dict[str, Callable[[int], st.SearchStrategy[list[float]]]] = {
    "ties": lambda n: st.lists(st.integers(1, 4).map(float), min_size=n, max_size=n),
    "constant": lambda n: st.floats(1, 50).map(lambda v: [v] * n),
    "wide": lambda n: st.lists(st.floats(1, 1e6), min_size=n, max_size=n),
    "distinct": lambda n: st.permutations([1 + i / 7 for i in range(n)]),
    "outlier": lambda n: st.permutations([1.5 + i / 100 for i in range(n - 1)] + [32_000.0]),
}


@st.composite
def pools(draw: st.DrawFn, kinds: tuple[str, ...] = tuple(axes)) -> tuple[list[float], list[float]]:
    """(ppl, entropy) of 1 to 40 samples: ties, constants, outliers, correlated or not."""
    n = draw(st.integers(1, 40))
    ppl = draw(axes[draw(st.sampled_from(kinds))](n))
    relation = draw(st.sampled_from(["free", "free", "same", "opposite", "noisy"]))
    if relation == "free":
        return ppl, draw(axes[draw(st.sampled_from(kinds))](n))
    noise = random.Random(draw(st.integers(0, 99)))
    sign = -1 if relation == "opposite" else 1
    spread = 0.5 if relation == "noisy" else 0.0
    return ppl, [5 + sign * math.log(p) / 3 + spread * noise.random() for p in ppl]


ratios = st.one_of(
    st.sampled_from([0.0625, 0.125, 0.25, 0.29, 0.3, 0.5, 0.7, 1.0]), st.floats(0.005, 1)
)


def select(
    ppl: list[float],
    ent: list[float],
    ratio: float,
    dtype: torch.dtype = torch.float64,
    steps: int = 10,
    scale: str = "ppl",
) -> Selection:
    return select_samples(
        torch.tensor(ppl, dtype=dtype),
        torch.tensor(ent, dtype=dtype),
        ratio,
        bisect_steps=steps,
        error_scale=scale,
    )


def where(mask: torch.Tensor) -> list[int]:
    assert mask.dtype == torch.bool
    return mask.nonzero().flatten().tolist()


def cut_of(selection: Selection) -> tuple[float, ...]:
    t = selection.thresholds
    assert t is not None
    return t.alpha, t.ppl_lo, t.ppl_hi, t.ent_lo, t.ent_hi


def gaussian(n: int, rho: float, seed: int) -> tuple[list[float], list[float]]:
    """Pool whose log PPL and entropy are jointly normal with correlation ``rho``."""
    draw = random.Random(seed)
    x = [draw.gauss(0, 1) for _ in range(n)]
    y = [rho * v + math.sqrt(1 - rho**2) * draw.gauss(0, 1) for v in x]
    return [math.exp(2 + 0.5 * v) for v in x], [2 + 0.3 * v for v in y]


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


# Edges


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


# Spearman's rho


@settings(deadline=None, max_examples=80)
@given(pool=pools())
def test_rank_correlation_is_spearmans(pool: tuple[list[float], list[float]]) -> None:
    x, y = (torch.tensor(axis, dtype=torch.float64) for axis in pool)
    rho = rank_correlation(x, y)
    assert rho == pytest.approx(naive_spearman(*pool), abs=1e-12, nan_ok=True)
    assert math.isnan(rho) == (len(set(pool[0])) == 1 or len(set(pool[1])) == 1)
    assert not abs(rho) > 1 + 1e-12


@pytest.mark.parametrize(
    ("x", "y", "rho"),
    [
        ([1, 2, 3], [10, 20, 1000], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([1, 2, 3, 4], [2, 1, 4, 3], 0.6),
        ([1, 1, 2], [1, 2, 3], math.sqrt(3) / 2),  # ranks 1.5, 1.5, 3
        ([1, 2, 3, 4], [1, 4, 4, 1], 0.0),
        ([5, 5, 5], [1, 2, 3], math.nan),
        ([1], [1], math.nan),
    ],
)
def test_rank_correlation_by_hand(x: list[float], y: list[float], rho: float) -> None:
    got = rank_correlation(torch.tensor(x, dtype=torch.float64), torch.tensor(y).double())
    assert got == pytest.approx(rho, abs=1e-12, nan_ok=True)


def test_the_default_device_does_not_matter():
    ppl, entropy = torch.tensor([1.0, 2.0, 3.0, 9.0]), torch.tensor([0.1, 2.0, 0.3, 1.0])
    expected = select_samples(ppl, entropy, 0.5).kept
    with torch.device("meta"):
        assert torch.equal(select_samples(ppl, entropy, 0.5).kept, expected)
