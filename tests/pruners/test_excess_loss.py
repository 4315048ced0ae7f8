"""``rho-1`` and ``token-cleaning``: the tensor way decides as the naive one, on any ranks."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qtuning.arguments import PruningArguments
from qtuning.core.ratio import keep_count
from qtuning.core.seeds import seeded_generator
from qtuning.pruners import excess_loss
from qtuning.pruners.excess_loss import ExcessLoss
from qtuning.pruners.protocols import REFERENCE, TokenPool, TokenSample

Pruner = Callable[[TokenPool, PruningArguments], list[Tensor]]


def naive(pool: TokenPool, args: PruningArguments) -> list[Tensor]:
    """A row for each token, all rows sorted: by score, then the sample's number, then the place."""
    rows = []
    for sample in pool.samples:
        excess = (sample.nll - sample.extras[REFERENCE]).nan_to_num(nan=-torch.inf)
        excess = excess.masked_fill(sample.protected, torch.inf)
        for place, score in enumerate(excess.tolist()):
            generator = seeded_generator(sample.sample_id)
            number = float(torch.rand((), generator=generator, dtype=torch.float64))
            rows.append((-score, number, float(place)))
    columns = [pool.gather([row[i] for row in rows]) for i in range(3)]
    all_rows = list(zip(*columns, strict=True))
    protected = pool.gather([float(sample.protected.sum()) for sample in pool.samples])
    if not rows:
        return []
    n = max(keep_count(len(all_rows), args.token_ratio), int(sum(protected)))
    threshold = sorted(all_rows)[n - 1]
    kept = torch.tensor([row <= threshold for row in rows])
    return list(kept.split([sample.n_tokens for sample in pool.samples]))


def on_ranks(
    pruner: Pruner, shares: Sequence[Sequence[TokenSample]], ratio: float
) -> list[list[Tensor]]:
    """The masks of each rank: all gather once to hear what each sends, then with all of it."""
    args = PruningArguments(token_ratio=ratio)
    calls: list[list[list[float]]] = []
    for share in shares:
        calls.append([])

        def tell(values: list[float]) -> list[float]:
            calls[-1].append(values)
            return values

        pruner(TokenPool(share, step=1, seed=0, gather=tell), args)
    together = [list(chain(*parts)) for parts in zip(*calls, strict=True)]
    masks = []
    for share in shares:
        told = iter(together)
        pool = TokenPool(share, step=1, seed=0, gather=lambda _, told=told: next(told))
        masks.append(pruner(pool, args))
    return masks


def sample(name: str, excess: Sequence[float], protected: Sequence[bool] | None = None):
    nll = torch.tensor(excess)
    guarded = torch.tensor(protected or [False] * len(nll), dtype=torch.bool)
    return TokenSample(name, nll, nll, guarded, 0, False, 0.0, {REFERENCE: torch.zeros(len(nll))})


@st.composite
def samples(draw: st.DrawFn) -> TokenSample:
    """Few values and names, so that many tokens tie, some of them to the last key."""
    values = st.sampled_from([0.0, -0.0, 1.0, -1.5, 0.1, math.nan, math.inf, -math.inf])
    excess = draw(st.lists(values, min_size=1, max_size=8))
    protected = draw(st.lists(st.booleans(), min_size=len(excess), max_size=len(excess)))
    return sample(draw(st.sampled_from("abc")), excess, protected)


@settings(max_examples=150)
@given(
    shares=st.lists(st.lists(samples(), max_size=3), min_size=1, max_size=3),
    ratio=st.floats(0.01, 1.0),
)
def test_the_same_tokens_are_kept_as_by_sorting_rows(shares, ratio):
    for ours, theirs in zip(
        on_ranks(ExcessLoss(), shares, ratio), on_ranks(naive, shares, ratio), strict=True
    ):
        assert len(ours) == len(theirs)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.5, 0.99])
@pytest.mark.parametrize("digits", [1, 8])
def test_long_samples_of_several_ranks_decide_as_one_process(digits, ratio):
    draw = torch.Generator().manual_seed(1)
    parts = [
        sample(f"s{i}", torch.randn(60 + 7 * i, generator=draw).round(decimals=digits).tolist())
        for i in range(12)
    ]
    (alone,) = on_ranks(ExcessLoss(), [parts], ratio)
    apart = on_ranks(ExcessLoss(), [parts[:5], [], parts[5:]], ratio)
    assert all(torch.equal(a, b) for a, b in zip(alone, chain(*apart), strict=True))
    (expected,) = on_ranks(naive, [parts], ratio)
    assert all(torch.equal(a, b) for a, b in zip(alone, expected, strict=True))
    n_all = sum(one.n_tokens for one in parts)
    assert sum(int(mask.sum()) for mask in alone) == keep_count(n_all, ratio)


def test_scores_in_float64_are_not_rounded():
    nll = torch.tensor([1.0 + 1e-12, 1.0, 1.0 + 2e-12, 1.0 - 1e-12], dtype=torch.float64)
    one = replace(sample("a", [0.0] * 4), nll=nll)
    assert on_ranks(ExcessLoss(), [[one]], 0.5)[0][0].tolist() == [True, False, True, False]


def test_the_number_of_a_sample_is_drawn_once_and_what_is_told_is_a_float_a_token(monkeypatch):
    names: list[str] = []

    def counting(*key: str) -> torch.Generator:
        names.extend(key)
        return seeded_generator(*key)

    monkeypatch.setattr(excess_loss, "seeded_generator", counting)
    told: list[int] = []

    def gather(values: list[float]) -> list[float]:
        told.append(len(values))
        return values

    parts = [sample(f"s{i}", [0.1 * j for j in range(500)]) for i in range(4)]
    ExcessLoss()(TokenPool(parts, step=1, seed=0, gather=gather), PruningArguments())
    assert names == ["s0", "s1", "s2", "s3"]
    assert sorted(told) == [4, 4, 4, 4 * 500]
