"""Norm of the error vector of answer tokens, without full logits (EL2N, arXiv:2107.07075)."""

import torch
from torch import Tensor

from .head import tile_logits


@torch.no_grad()
def error_norm(
    hidden: Tensor,
    weight: Tensor,
    gold: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    vocab_chunk_size: int = 2048,
) -> Tensor:
    """L2 norm of predicted distribution minus one-hot truth, ``sqrt(sum_v p_v^2 - 2 p_y + 1)``.

    The vocabulary is read in tiles of ``vocab_chunk_size`` columns with a running maximum m:
    s = sum exp(l - m) and u = sum exp(2 (l - m)) give sum p^2 = u / s^2. All computations are in
    float32, whatever the dtype of the inputs, and outside autocast.

    Args:
        hidden: Hidden states that predict the tokens, ``(n, D)``.
        weight: Weight of the language model head, ``(V, D)``.
        gold: The actual tokens, ``(n,)``.
        bias: Bias of the head, ``(V,)``.
        softcap: Soft cap of the final logits, after the scale.
        logit_scale: Factor on the logits.
        vocab_chunk_size: Vocabulary columns per tile.

    Returns:
        ``(n,)`` float32 in [0, sqrt 2].
    """
    n = hidden.shape[0]
    maximum = torch.full((n,), torch.finfo(torch.float32).min, device=hidden.device)
    s, u, gold_logit = (torch.zeros(n, device=hidden.device) for _ in range(3))
    with torch.autocast(device_type=hidden.device.type, enabled=False):
        for start in range(0, weight.shape[0], vocab_chunk_size):
            stop = min(start + vocab_chunk_size, weight.shape[0])
            columns = slice(start, stop)
            tile_bias = None if bias is None else bias[columns]
            logits = tile_logits(hidden.float(), weight[columns], tile_bias, softcap, logit_scale)
            in_tile = (gold >= start) & (gold < stop)
            tile_gold = logits.gather(1, (gold - start).clamp(0, stop - start - 1)[:, None])[:, 0]
            gold_logit = torch.where(in_tile, tile_gold, gold_logit)
            new_maximum = torch.maximum(maximum, logits.amax(1))
            decay = (maximum - new_maximum).exp()
            weights = logits.sub_(new_maximum[:, None]).exp_()
            s = s * decay + weights.sum(1)
            u = u * decay.square() + weights.square_().sum(1)
            maximum = new_maximum
    gold_probability = (gold_logit - maximum).exp() / s
    # Rounding can leave a square a little below zero where the prediction is right.
    return (u / s.square() - 2 * gold_probability + 1).clamp(min=0).sqrt()
