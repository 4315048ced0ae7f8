"""Stage 2, tokens: smoothed scores and keep masks (arXiv:2509.23873, 3.3, Algorithm 1)."""

import torch
from torch import Tensor

from .ratio import keep_count


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
    if not 0.0 <= neighbor_lambda <= 1.0:
        raise ValueError(f"neighbor_lambda must lie in [0, 1], got {neighbor_lambda}")
    ppl = token_nll.detach().double().exp()
    if neighbor_lambda == 0.0:  # 0 * inf would turn a neighbour's overflow into NaN
        return ppl
    neighbours = torch.cat([ppl[:1], ppl[:-1]]) + torch.cat([ppl[1:], ppl[-1:]])
    if neighbor_mean:
        neighbours = neighbours / 2
    if neighbor_lambda == 1.0:
        return neighbours
    return neighbor_lambda * neighbours + (1 - neighbor_lambda) * ppl


def keep_lowest(scores: Tensor, token_ratio: float, protected: Tensor | None = None) -> Tensor:
    """Keep the ``max(1, floor(token_ratio * T))`` lowest scores; ties keep the earlier token.

    Protected tokens are kept first and count against the budget; only if there are more of them
    than the budget allows is more than the budget kept.

    Args:
        scores: ``(T,)``.
        token_ratio: Share of the tokens to keep, in (0, 1].
        protected: ``(T,)`` bool, tokens that are never pruned.

    Returns:
        ``(T,)`` bool, True where kept.

    Raises:
        ValueError: The ratio lies outside (0, 1], or the mask has another shape.
    """
    if protected is not None and protected.shape != scores.shape:
        raise ValueError(
            f"protected {tuple(protected.shape)} and scores {tuple(scores.shape)} must be (T,)"
        )
    n_kept = keep_count(scores.shape[0], token_ratio)
    order = torch.sort(scores, stable=True).indices
    keep = torch.zeros(scores.shape[0], dtype=torch.bool, device=scores.device)
    if protected is not None:
        protected = protected.to(scores.device)
        keep |= protected
        order = order[~protected[order]]
    keep[order[: max(0, n_kept - int(keep.sum()))]] = True
    return keep


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
        ValueError: As ``token_scores`` and ``keep_lowest``.
    """
    scores = token_scores(token_nll, neighbor_lambda=neighbor_lambda, neighbor_mean=neighbor_mean)
    return keep_lowest(scores, token_ratio, protected)
