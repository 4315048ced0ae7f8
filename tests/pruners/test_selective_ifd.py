"""``s-ifd`` against plain Python, with and without noisy copies."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from qtuning import PruningArguments
from qtuning.core.ratio import keep_count
from qtuning.pruners.protocols import S_IFD, SamplePool
from qtuning.pruners.registry import SAMPLE_PRUNERS

NAN = math.nan
RATIO = st.one_of(st.none(), st.floats(0.01, 3.0).map(lambda x: round(x, 3)))
RATIOS = st.floats(0.01, 1.0)


def kept(values, **changes) -> set[int]:
    n = len(values)
    ones, lengths = torch.ones(n, dtype=torch.float64), torch.ones(n, dtype=torch.int64)
    extras = {S_IFD: torch.tensor(values, dtype=torch.float64).reshape(n, -1)}
    pool = SamplePool(2 * ones, ones, lengths, [f"s{i}" for i in range(n)], 1, 0, extras=extras)
    selection = SAMPLE_PRUNERS["s-ifd"](pool, PruningArguments(**changes))
    return set(selection.kept.nonzero().squeeze(1).tolist())


def order(means) -> list[int]:
    """Up to 1 the highest first; then above 1, the nearest first; then those without a prompt."""

    def rank(i: int) -> tuple[int, float]:
        if means[i] is None:
            return 2, 0.0
        return (0, -means[i]) if means[i] <= 1 else (1, means[i])

    return sorted(range(len(means)), key=rank)


def number(value: float | None) -> float:
    return NAN if value is None else value


@given(values=st.lists(RATIO, min_size=1, max_size=24), ratio=RATIOS)
def test_the_highest_up_to_one_are_kept_and_what_is_dropped_comes_back_in_order(values, ratio):
    k = keep_count(len(values), ratio)
    chosen = kept([number(v) for v in values], sample_ratio=ratio)
    assert chosen == set(order(values)[:k])


@given(values=st.lists(st.tuples(RATIO, st.floats(0, 1)), min_size=1, max_size=24), ratio=RATIOS)
def test_of_the_2k_of_highest_mean_the_k_of_least_deviation_are_kept(values, ratio):
    k = keep_count(len(values), ratio)
    means = [mean for mean, _ in values]
    table = [(number(mean), NAN if mean is None else deviation) for mean, deviation in values]
    chosen = kept(table, sample_ratio=ratio, s_ifd_noisy=True)
    assert len(chosen) == k
    ranking = order(means)
    sound = [i for i in ranking if means[i] is not None and means[i] <= 1]
    if len(sound) <= k:
        assert chosen == set(ranking[:k])
        return
    pool = sound[: 2 * k]
    assert chosen == set(sorted(pool, key=lambda i: values[i][1])[:k])
