"""Functions that keep the samples or tokens that rank first, for most pruners."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..core.order import argsort
from ..core.plane import Selection
from ..core.ratio import keep_count
from ..core.tokens import keep_lowest
from .protocols import SamplePool, TokenPool, TokenSample


def keep_highest(scores: Tensor, sample_ratio: float) -> Selection:
    """Selection of exactly k samples, those with the highest scores.

    Args:
        scores: ``(N,)``; NaN comes last, the earlier of two equals first.
        sample_ratio: Share of the samples to keep, in (0, 1].
    """
    # By the negative: descending order would put NaN first.
    return keep_first(argsort(-scores.double()), sample_ratio)


def keep_first(order: Tensor, sample_ratio: float) -> Selection:
    """Selection of exactly k samples, the first in an order.

    Args:
        order: The places of all samples of the pool, ``(N,)`` int64.
        sample_ratio: Share of the samples to keep, in (0, 1].
    """
    n = order.shape[0]
    kept = torch.zeros(n, dtype=torch.bool)
    kept[order[: keep_count(n, sample_ratio)]] = True
    return Selection.without_plane(kept)


def last_without_prompt(scores: Tensor, pool: SamplePool) -> Tensor:
    """Scores for ``keep_highest``, in which samples without a prompt come behind all others.

    Behind them come only those of a bad loss, which stay NaN.

    Args:
        scores: What compares an answer with itself without its prompt, ``(N,)``; NaN without one.
        pool: The candidates.
    """
    return scores.masked_fill(scores.isnan() & ~pool.ppl.isnan(), -torch.inf)


def order_up_to_one(ratios: Tensor, pool: SamplePool) -> Tensor:
    """Order of the samples for ``keep_first``, ``(N,)`` int64: the highest ratio up to 1 is first.

    Ratios above 1, of prompts that hurt, come behind all others, the nearest to 1 first; behind
    these the samples without a prompt, in the order of the data, and last those of a bad loss.

    Args:
        ratios: Perplexity of each answer given its prompt over that without, or alike, ``(N,)``.
        pool: The candidates.
    """
    return argsort(-last_without_prompt(torch.where(ratios > 1, -ratios, ratios), pool))


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
