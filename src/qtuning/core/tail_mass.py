"""How much of a distribution is no more probable than the actual token, without full logits."""

import torch
from torch import Tensor

from .head import shaped_, tile_logits


@torch.no_grad()
def tail_mass(
    hidden: Tensor,
    weight: Tensor,
    gold: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    chunk_size: int = 1024,
    vocab_chunk_size: int = 2048,
) -> Tensor:
    """``sum of p(v) over all v with p(v) <= p(y)``, for the actual token y (arXiv:2606.09396).

    In float32, in tiles of ``chunk_size`` tokens by ``vocab_chunk_size`` columns with a running
    maximum; nothing is copied to the host.

    Args:
        hidden: Hidden states that predict the tokens, ``(T, D)``.
        weight: Weight of the language model head, ``(V, D)``.
        gold: The actual tokens, ``(T,)`` int64 in [0, V); not checked.
        bias: Bias of the head, ``(V,)``.
        softcap: Soft cap of the final logits, after the scale.
        logit_scale: Factor on the logits.
        chunk_size: Tokens per tile.
        vocab_chunk_size: Vocabulary columns per tile.

    Returns:
        ``(T,)`` float32 in (0, 1].
    """
    parts = [torch.zeros(0, dtype=torch.float32, device=hidden.device)]
    with torch.autocast(device_type=hidden.device.type, enabled=False):
        for h, y in zip(hidden.split(chunk_size), gold.split(chunk_size), strict=True):
            parts.append(_chunk(h.float(), weight, y, bias, vocab_chunk_size, softcap, logit_scale))
    return torch.cat(parts)


def _chunk(
    hidden: Tensor,  # (n, D)
    weight: Tensor,  # (V, D)
    gold: Tensor,  # (n,)
    bias: Tensor | None,
    vocab_chunk_size: int,
    softcap: float | None,
    logit_scale: float,
) -> Tensor:
    """Tail mass of ``n`` positions, ``(n,)``: the ratio of two sums that share their maximum."""
    own_bias = None if bias is None else bias[gold]
    own = shaped_((hidden * weight[gold].float()).sum(1), own_bias, softcap, logit_scale)  # (n,)
    top, total, tail = own, torch.ones_like(own), torch.ones_like(own)  # the actual token counts
    for start in range(0, weight.shape[0], vocab_chunk_size):
        columns = slice(start, start + vocab_chunk_size)
        tile_bias = None if bias is None else bias[columns]
        logits = tile_logits(hidden, weight[columns], tile_bias, softcap, logit_scale)
        # Summed in another order, the actual token's own logit may differ in the last digit.
        others = torch.arange(start, start + logits.shape[1], device=gold.device) != gold[:, None]
        new_top = torch.maximum(top, logits.amax(1))
        decay = (top - new_top).exp()
        weights = (logits - new_top[:, None]).exp().where(others, 0.0)
        total = total * decay + weights.sum(1)
        tail = tail * decay + weights.where(logits <= own[:, None], 0.0).sum(1)
        top = new_top
    return tail / total
