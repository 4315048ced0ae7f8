"""Functions that keep the samples or tokens that rank first, for most pruners."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..core.order import argsort
from ..core.plane import Selection
from ..core.ratio import keep_count
from ..core.tokens import keep_lowest
from .protocols import TokenPool, TokenSample


def keep_highest(scores: Tensor, sample_ratio: float) -> Selection:
    """Selection of exactly k samples, those with the highest scores.

    Args:
        scores: ``(N,)``; NaN comes last, the earlier of two equals first.
        sample_ratio: Share of the samples to keep, in (0, 1].
    """
    n = scores.shape[0]
    kept = torch.zeros(n, dtype=torch.bool)
    # By the negative: descending order would put NaN first.
    kept[argsort(-scores.double())[: keep_count(n, sample_ratio)]] = True
    return Selection.without_plane(kept)


def keep_lowest_tokens(
    pool: TokenPool, token_ratio: float, score: Callable[[TokenSample], Tensor]
) -> list[Tensor]:
    """Keep masks of the ``max(1, floor(token_ratio * T))`` lowest scores of each sample.

    Args:
        pool: The kept samples; one without scores keeps all its tokens.
        token_ratio: Share of each sample's tokens to keep, in (0, 1].
        score: Returns the scores of a sample's answer tokens, ``(T,)``.
    """
    return [
        torch.ones(sample.n_tokens, dtype=torch.bool)
        if sample.nll is None
        else keep_lowest(score(sample).double(), token_ratio, sample.protected)
        for sample in pool.samples
    ]


def minmax(scores: Tensor) -> Tensor:
    """Scores scaled to [0, 1], float64; all 0 where they are constant.

    Args:
        scores: ``(T,)``. Infinite scores become 0 or 1; NaN stays NaN.
    """
    scores = scores.double()
    finite = scores[scores.isfinite()]
    low, high = (float(finite.min()), float(finite.max())) if finite.numel() else (0.0, 0.0)
    spread = max(high - low, torch.finfo(torch.float64).tiny)
    scaled = (scores.clamp(low, high) - low) / spread
    return scaled.masked_fill(scores == torch.inf, 1.0)


def nth(keys: Tensor, n: int) -> Tensor:
    """The keys, ``(K,)``, of the ``n``-th token by the keys ``(K, T)``, counted from 1.

    The first key decides, on a tie the next one. Over the tokens of all ranks this says how far
    each rank goes among its own, see ``up_to``.
    """
    keys_of_nth = []
    for row in range(len(keys)):
        value = keys[row].kthvalue(n).values
        n -= int((keys[row] < value).sum())
        keys = keys[:, keys[row] == value]  # among these, the next key decides
        keys_of_nth.append(value)
    return torch.stack(keys_of_nth)


def up_to(keys: Tensor, last: Tensor) -> Tensor:
    """Which tokens come no later than one with the keys ``last``, ``(K,)``: ``(T,)`` bool."""
    is_up_to = torch.ones(keys.shape[1], dtype=torch.bool)
    for key, end in zip(keys.flip(0), last.flip(0), strict=True):
        is_up_to = (key < end) | ((key == end) & is_up_to)
    return is_up_to
