"""Stage 2, tokens: smoothed scores and keep masks (arXiv:2509.23873, 3.3, Algorithm 1)."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .order import FIRST, LAST, sort_keys
from .ratio import keep_count

# Padded tokens per block: about what the cache of a processor holds.
_BLOCK = 2**17


def token_scores(
    token_nll: Tensor, *, neighbor_lambda: float = 0.5, neighbor_mean: bool = False
) -> Tensor:
    """Smoothed perplexity of each answer token of one sample.

    ``s_i = (1 - lambda) PPL_i + lambda (PPL_{i-1} + PPL_{i+1})`` with ``PPL_i = exp(nll_i)`` and
    replicate padding at both ends.

    Args:
        token_nll: NLL of the sample's answer tokens in nats, ``(T,)``.
        neighbor_lambda: Weight of the neighbours, in [0, 1]; 0 ranks by the token alone.
        neighbor_mean: Take the mean of the two neighbours; the paper's formula has their sum.

    Returns:
        Scores, ``(T,)`` float64; a high score is a token to prune.

    Raises:
        ValueError: ``token_nll`` is not ``(T,)`` or ``neighbor_lambda`` lies outside [0, 1].
    """
    if token_nll.ndim != 1:
        raise ValueError(f"token_nll must be (T,), got {tuple(token_nll.shape)}")
    return _scores(token_nll, neighbor_lambda, neighbor_mean)


def detrimental_tokens(token_nll: Tensor) -> Tensor:
    """Which answer tokens of one sample the paper's AND rule allows to prune (3.2, stage 2).

    Those whose own perplexity and whose two neighbours' mean perplexity both exceed the median
    perplexity of the answer. The first and the last token are their own neighbours beyond the ends.
    The median is the inverse CDF at 1/2: of an even number of tokens the lower middle one.

    Args:
        token_nll: NLL of the sample's answer tokens in nats, ``(T,)``.

    Returns:
        ``(T,)`` bool; at most half of the tokens. NaN exceeds nothing.

    Raises:
        ValueError: ``token_nll`` is not ``(T,)``.
    """
    neighbours = token_scores(token_nll, neighbor_lambda=1.0, neighbor_mean=True)
    ppl = token_nll.detach().double().exp()
    if not len(ppl):
        return torch.zeros(0, dtype=torch.bool, device=ppl.device)
    threshold = ppl.median()
    return (ppl > threshold) & (neighbours > threshold)


def keep_lowest(scores: Tensor, token_ratio: float, protected: Tensor | None = None) -> Tensor:
    """Keep the ``max(1, floor(token_ratio * T))`` lowest scores; ties keep the earlier token.

    Protected tokens are kept first and count against the budget. More tokens than the budget are
    kept only if more are protected.

    Args:
        scores: Score of each token, ``(T,)``.
        token_ratio: Share of the tokens to keep, in (0, 1].
        protected: ``(T,)`` bool, tokens that are never pruned.

    Returns:
        ``(T,)`` bool, True where kept.

    Raises:
        ValueError: The ratio lies outside (0, 1], or ``protected`` and ``scores`` differ in shape.
    """
    if protected is not None and protected.shape != scores.shape:
        raise ValueError(
            f"protected {tuple(protected.shape)} and scores {tuple(scores.shape)} must be (T,)"
        )
    device = scores.device
    budget = torch.tensor([keep_count(scores.shape[0], token_ratio)], device=device)
    protected_row = None if protected is None else protected.to(device)[None]
    keep = torch.zeros(scores.shape[0], dtype=torch.bool, device=device)
    return keep.index_fill_(0, _lowest(sort_keys(scores)[None], budget, protected_row), True)


def keep_tokens(
    token_nll: Tensor,
    token_ratio: float,
    *,
    neighbor_lambda: float = 0.5,
    neighbor_mean: bool = False,
    protected: Tensor | None = None,
) -> Tensor:
    """Which answer tokens of one Q2 sample keep their label: those with the lowest scores.

    Args:
        token_nll: NLL of the sample's answer tokens in nats, ``(T,)``.
        token_ratio: Share of the tokens to keep, in (0, 1].
        neighbor_lambda: See ``token_scores``.
        neighbor_mean: See ``token_scores``.
        protected: See ``keep_lowest``.

    Returns:
        ``(T,)`` bool, True where kept.

    Raises:
        ValueError: ``token_nll`` is not ``(T,)``, ``protected`` has another shape, or
            ``token_ratio`` or ``neighbor_lambda`` is out of range.
    """
    scores = token_scores(token_nll, neighbor_lambda=neighbor_lambda, neighbor_mean=neighbor_mean)
    return keep_lowest(scores, token_ratio, protected)


def keep_tokens_many(
    token_nll: Tensor,
    lengths: Sequence[int],
    token_ratio: float,
    *,
    neighbor_lambda: float = 0.5,
    neighbor_mean: bool = False,
    protected: Tensor | None = None,
) -> Tensor:
    """``keep_tokens`` of many samples at once: the same masks, without a loop over the samples.

    Args:
        token_nll: NLL of the answer tokens of all samples, one after another, in nats, ``(T,)``.
        lengths: Number of answer tokens of each sample; they sum to ``T``.
        token_ratio: Share of each sample's tokens to keep, in (0, 1].
        neighbor_lambda: See ``token_scores``.
        neighbor_mean: See ``token_scores``.
        protected: ``(T,)`` bool, see ``keep_lowest``.

    Returns:
        ``(T,)`` bool, True where kept; ``split(lengths)`` gives one mask per sample.

    Raises:
        ValueError: The lengths do not sum to ``T``, ``protected`` is not ``(T,)``, or
            ``token_ratio`` or ``neighbor_lambda`` is out of range.
    """
    n_tokens = sum(lengths)
    if token_nll.shape != (n_tokens,) or (protected is not None and protected.shape != (n_tokens,)):
        shape = None if protected is None else tuple(protected.shape)
        raise ValueError(
            f"token_nll {tuple(token_nll.shape)} and protected {shape} must be (T,) with the "
            f"lengths' sum T = {n_tokens}"
        )
    device = token_nll.device
    protected = None if protected is None else protected.to(device)
    sizes = torch.tensor(lengths, dtype=torch.int64, device=device)
    starts = sizes.cumsum(0) - sizes
    budgets = torch.tensor([keep_count(n, token_ratio) for n in lengths], device=device)
    keep = torch.zeros(n_tokens, dtype=torch.bool, device=device)
    for block in _blocks(lengths):
        samples = torch.tensor(block, device=device)
        start, size = starts[samples, None], sizes[samples, None]
        column = torch.arange(lengths[block[-1]], device=device)
        # A row is padded with its last token, as the smoothing pads a sample.
        token = start + column.minimum(size - 1)
        scores = _scores(token_nll[token], neighbor_lambda, neighbor_mean)
        keys = sort_keys(scores).masked_fill_(column >= size, LAST)
        protected_rows = None if protected is None else protected[token] & (column < size)
        keep.index_fill_(0, _lowest(keys, budgets[samples], protected_rows, start), True)
    return keep


def _blocks(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Samples of similar length, together at most ``_BLOCK`` tokens when padded, or one sample.

    Sorted by length, so that padding stays small: with blocks of B tokens it is less than
    B ln(longest / shortest) in all.
    """
    block: list[int] = []
    for sample in sorted(range(len(lengths)), key=lengths.__getitem__):
        if block and (len(block) + 1) * lengths[sample] > _BLOCK:
            yield block
            block = []
        if lengths[sample]:
            block.append(sample)
    if block:
        yield block


def _scores(token_nll: Tensor, neighbor_lambda: float, neighbor_mean: bool) -> Tensor:
    """``token_scores`` of each row of ``(..., T)``."""
    if not 0.0 <= neighbor_lambda <= 1.0:
        raise ValueError(f"neighbor_lambda must lie in [0, 1], got {neighbor_lambda}")
    ppl = token_nll.detach().double().exp()
    if neighbor_lambda == 0.0:  # 0 * inf would turn a neighbour's overflow into NaN
        return ppl
    left = torch.cat([ppl[..., :1], ppl[..., :-1]], dim=-1)
    right = torch.cat([ppl[..., 1:], ppl[..., -1:]], dim=-1)
    neighbours = left + right
    if neighbor_mean:
        neighbours = neighbours / 2
    if neighbor_lambda == 1.0:
        return neighbours
    return neighbor_lambda * neighbours + (1 - neighbor_lambda) * ppl


def _lowest(
    keys: Tensor, budgets: Tensor, protected: Tensor | None, start: Tensor | int = 0
) -> Tensor:
    """``keep_lowest`` of each row: positions of the kept tokens of all rows, ``(K,)`` int64.

    Args:
        keys: ``sort_keys`` of the scores, ``(B, T)``; ``LAST`` in the padding.
        budgets: Number of tokens to keep of each row, ``(B,)`` int64, at most the row's tokens.
        protected: ``(B, T)`` bool, False in the padding; or None.
        start: Position of the first token of each row, ``(B, 1)``.
    """
    if protected is not None:
        keys = keys.masked_fill(protected, FIRST)
        budgets = budgets.maximum(protected.sum(1))
    order = keys.sort(dim=1, stable=True).indices
    rank = torch.arange(keys.shape[1], device=keys.device)
    return (start + order)[rank < budgets[:, None]]
