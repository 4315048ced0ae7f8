"""``tail`` against plain Python: what it drops, and how the share rises."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qtuning import PruningArguments
from qtuning.core.ratio import keep_count
from qtuning.pruners.pair import Pruners
from qtuning.pruners.protocols import BASE_MEAN, SamplePool
from qtuning.pruners.registry import SAMPLE_PRUNERS
from qtuning.run.messages import start_lines

NATS = st.floats(0.0, 9.0).map(lambda x: round(x, 3))
RATIOS = st.floats(0.05, 0.99)


def kept(now, before, progress=0.0, **changes) -> set[int]:
    """Places kept of samples with a mean NLL in nats now and before training."""
    ppl = torch.tensor(now, dtype=torch.float64).exp()
    extras = {BASE_MEAN: torch.tensor(before, dtype=torch.float64)[:, None]}
    names = [f"s{i}" for i in range(len(now))]
    lengths = torch.ones(len(now), dtype=torch.int64)
    pool = SamplePool(ppl, ppl, lengths, names, 1, 0, progress=progress, extras=extras)
    selection = SAMPLE_PRUNERS["tail"](pool, PruningArguments(sample_pruner="tail", **changes))
    return set(selection.kept.nonzero().squeeze(1).tolist())


@given(
    pairs=st.lists(st.tuples(NATS, NATS), min_size=1, max_size=24),
    ratio=RATIOS,
    progress=st.floats(0, 0.999),
    schedule=st.sampled_from(["linear", "fixed"]),
)
def test_what_has_fallen_most_is_dropped(pairs, ratio, progress, schedule):
    now, before = map(list, zip(*pairs, strict=True))
    chosen = kept(now, before, progress, sample_ratio=ratio, tail_schedule=schedule)
    dropped = (1 - ratio) * (progress if schedule == "linear" else 1.0)
    assert len(chosen) == keep_count(len(pairs), 1 - dropped)
    change = [round(a - b, 3) for a, b in pairs]
    lowest_kept = min(change[i] for i in chosen)
    assert all(change[i] <= lowest_kept for i in range(len(pairs)) if i not in chosen)


def test_the_share_rises_from_nothing_to_what_the_ratio_leaves_out():
    now, before = [float(i) for i in range(8)], [4.0] * 8
    n = [len(kept(now, before, p / 8, sample_ratio=0.5)) for p in range(8)]
    assert n == [8, 7, 7, 6, 6, 5, 5, 4]
    fixed = [kept(now, before, p / 8, sample_ratio=0.5, tail_schedule="fixed") for p in range(8)]
    assert fixed == [{4, 5, 6, 7}] * 8


def test_what_is_not_known_of_the_model_before_comes_last():
    assert kept([1.0, 5.0, 2.0], [1.0, math.nan, 9.0], 0.5, sample_ratio=0.34) == {0, 2}


@pytest.mark.parametrize(
    ("settings", "told", "bound"),
    [
        ({}, "at 100.0% falling to 50.0% x 50.0%; each optimizer step has 32 candidates and "
         "trains on 32 at first and 16 in the end.", 3 / (1 + 3 * 0.75)),
        ({"tail_schedule": "fixed"}, "at 50.0% x 50.0%; each optimizer step has 32 candidates and "
         "trains on 16.", 3 / (1 + 3 * 0.5)),
    ],
)  # fmt: skip
def test_the_start_tells_both_ends_of_the_schedule_and_a_bound_between(settings, told, bound):
    args = PruningArguments(sample_pruner="tail", sample_ratio=0.5, **settings)
    first, second, *_ = start_lines(args, Pruners.of(args), 32, 32, 3.0)
    assert first == f"Pruning: tail x q-tuning {told}"
    assert f"at most {bound:.2f}x" in second
