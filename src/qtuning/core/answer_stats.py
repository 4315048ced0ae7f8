"""NLL and entropy of answer tokens whose hidden states are at hand, on any device."""

import torch
from torch import Tensor

from .cuda_head import head_stats
from .head import tile_logits

# exp(-200) is 0 in float32; clamping there keeps 0 * -inf out of the entropy sum.
_MIN_SHIFTED = -200.0


@torch.no_grad()
def answer_stats(
    hidden: Tensor,
    weight: Tensor,
    gold: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    chunk_size: int = 1024,
    vocab_chunk_size: int | None = None,
) -> Tensor:
    """NLL and entropy of answer tokens, without full logits; nothing is copied to the host.

    On CUDA this is ``cuda_head.head_stats``. Elsewhere all computations are in float32, whatever
    the dtype of the inputs, and outside autocast, in tiles of ``chunk_size`` tokens by
    ``vocab_chunk_size`` columns with a running maximum.

    Args:
        hidden: Hidden states that predict the tokens, ``(T, D)``.
        weight: Weight of the language model head, ``(V, D)``.
        gold: The actual tokens, ``(T,)`` int64 in [0, V); not checked.
        bias: Bias of the head, ``(V,)``.
        softcap: Soft cap of the final logits, after the scale.
        logit_scale: Factor on the logits.
        chunk_size: Tokens per tile; CUDA has tiles of its own.
        vocab_chunk_size: Vocabulary columns per tile; by default 512 on the CPU, where a tile
            should stay in the cache, else 2048; CUDA has tiles of its own.

    Returns:
        ``(2, T)`` float32: NLL and entropy in nats.
    """
    if hidden.is_cuda:
        return head_stats(hidden, weight, gold, bias=bias, softcap=softcap, logit_scale=logit_scale)
    if vocab_chunk_size is None:
        vocab_chunk_size = 512 if hidden.device.type == "cpu" else 2048
    parts = [torch.zeros(2, 0, dtype=torch.float32, device=hidden.device)]
    with torch.autocast(device_type=hidden.device.type, enabled=False):
        for h, y in zip(hidden.split(chunk_size), gold.split(chunk_size), strict=True):
            part = _tile_stats(h, weight, y, bias, vocab_chunk_size, softcap, logit_scale)
            parts.append(torch.stack(part))
    return torch.cat(parts, dim=1)


def _tile_stats(
    hidden: Tensor,  # (n, D)
    weight: Tensor,  # (V, D)
    gold: Tensor,  # (n,)
    bias: Tensor | None,
    vocab_chunk_size: int,
    softcap: float | None,
    logit_scale: float,
) -> tuple[Tensor, Tensor]:
    """NLL and entropy of ``n`` positions, each ``(n,)``, by one pass over the vocabulary.

    With m the running maximum, s = sum exp(l - m) and t = sum exp(l - m) (l - m):
    nll = m + log s - l_gold and entropy = log s - t / s. When m rises to m', s and t are rescaled
    by exp(m - m'), and t also takes s (m - m').
    """
    hidden = hidden.float()
    n = hidden.shape[0]
    maximum = hidden.new_full((n,), torch.finfo(torch.float32).min)
    s = hidden.new_zeros(n)
    t = torch.zeros_like(s)
    gold_logit = torch.zeros_like(s)
    for start in range(0, weight.shape[0], vocab_chunk_size):
        stop = min(start + vocab_chunk_size, weight.shape[0])
        columns = slice(start, stop)
        tile_bias = None if bias is None else bias[columns]
        logits = tile_logits(hidden, weight[columns], tile_bias, softcap, logit_scale)

        in_tile = (gold >= start) & (gold < stop)
        index = (gold - start).clamp(0, stop - start - 1)
        gold_logit = torch.where(in_tile, logits.gather(1, index[:, None]).squeeze(1), gold_logit)

        new_maximum = torch.maximum(maximum, logits.amax(1))
        step = (maximum - new_maximum).clamp_(min=_MIN_SHIFTED)
        differences = logits.sub_(new_maximum[:, None]).clamp_(min=_MIN_SHIFTED)
        weights = differences.exp()
        t = step.exp() * (t + s * step) + differences.mul_(weights).sum(1)
        s = s * step.exp() + weights.sum(1)
        maximum = new_maximum
    return (maximum - gold_logit) + s.log(), s.log() - t / s
