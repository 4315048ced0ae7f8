"""Token and sample statistics: NLL, entropy, perplexity (arXiv:2509.23873, 3.1).

Alignment, here and everywhere in qtuning: per-token tensors have shape ``(B, L-1)`` and entry ``t``
describes the prediction **of** ``labels[:, t+1]``. Only answer tokens count: labels that are not
-100. Units are nats.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .answer_stats import answer_stats

IGNORE_INDEX = -100


class TokenStats(NamedTuple):
    """Statistics of every answer token; each tensor is ``(B, L-1)``, 0 where the label is ignored.

    Attributes:
        nll: ``-log p(y_i | x, y_<i)`` in nats, float32.
        entropy: ``-sum_v p(v) log p(v)`` over the full vocabulary in nats, float32.
        mask: True at answer tokens, bool.
    """

    nll: Tensor
    entropy: Tensor
    mask: Tensor


class SampleStats(NamedTuple):
    """Statistics of every sample; each tensor is ``(B,)``.

    Attributes:
        ppl: Perplexity ``exp(mean_i nll_i)``, float64; NaN without answer tokens.
        entropy: ``mean_i H_i`` in nats, float64; NaN without answer tokens.
        n_tokens: Number of answer tokens, int64.
    """

    ppl: Tensor
    entropy: Tensor
    n_tokens: Tensor


@torch.no_grad()
def token_stats(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    bias: Tensor | None = None,
    chunk_size: int = 1024,
    vocab_chunk_size: int | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
) -> TokenStats:
    """Token NLL and entropy from hidden states and the head's weight, without full logits.

    The same as, for ``logits = softcap * tanh(logit_scale * (hidden @ weight.T + bias) / softcap)``
    and ``logp = logits[:, :-1].log_softmax(-1)``::

        nll = -logp.gather(-1, labels[:, 1:, None]).squeeze(-1)
        entropy = -(logp.exp() * logp).sum(-1)

    but only label positions are projected, a tile of logits at a time. Logits are float32, whatever
    the dtype of the inputs, and outside autocast: logits rounded to bfloat16 would be off by up to
    half a nat. See ``answer_stats`` for the precision of their products.

    Args:
        hidden: Last hidden states, ``(B, L, D)``.
        weight: Weight of the language model head, ``(V, D)``.
        labels: Token ids, ``(B, L)``; -100 is ignored.
        bias: Bias of the head, ``(V,)``.
        chunk_size: Tokens per tile; CUDA has tiles of its own.
        vocab_chunk_size: Vocabulary columns per tile; by default 512 on the CPU, where a tile
            should stay in the cache, else 2048; CUDA has tiles of its own.
        softcap: Soft cap of the final logits (Gemma 2), after the scale.
        logit_scale: Factor on the logits (Cohere, Granite).

    Returns:
        ``TokenStats`` of shape ``(B, L-1)``.

    Raises:
        ValueError: The shapes do not fit, a label lies outside the vocabulary, or a chunk size or
            the soft cap is not positive.
    """
    fits = hidden.ndim == 3 and weight.ndim == 2 and hidden.shape[:2] == labels.shape
    if not fits or hidden.shape[2] != weight.shape[1]:
        raise ValueError(
            f"hidden {tuple(hidden.shape)}, weight {tuple(weight.shape)} and labels "
            f"{tuple(labels.shape)} do not fit (B, L, D), (V, D) and (B, L)"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias {tuple(bias.shape)} does not fit weight {tuple(weight.shape)}")
    sizes = (chunk_size, vocab_chunk_size, softcap)
    if any(size is not None and size <= 0 for size in sizes):
        raise ValueError(
            f"chunk_size ({chunk_size}), vocab_chunk_size ({vocab_chunk_size}) and softcap "
            f"({softcap}) must be positive"
        )
    targets = labels[:, 1:]
    mask = targets != IGNORE_INDEX
    rows, gold = hidden[:, :-1][mask], targets[mask]
    if gold.numel() and not 0 <= int(gold.min()) <= int(gold.max()) < weight.shape[0]:
        raise ValueError(f"labels must be -100 or lie in [0, {weight.shape[0]})")

    nll = torch.zeros(mask.shape, dtype=torch.float32, device=hidden.device)
    entropy = torch.zeros_like(nll)
    if gold.numel():
        nll[mask], entropy[mask] = answer_stats(
            rows,
            weight,
            gold,
            bias=bias,
            softcap=softcap,
            logit_scale=logit_scale,
            chunk_size=chunk_size,
            vocab_chunk_size=vocab_chunk_size,
        )
    return TokenStats(nll, entropy, mask)


def stats_of_one(nll: Tensor, entropy: Tensor) -> SampleStats:
    """``sample_stats`` of one sample from its answer tokens alone; each tensor is ``(1,)``.

    Args:
        nll: NLL of the answer tokens in nats, ``(T,)``.
        entropy: Entropy of the answer tokens in nats, ``(T,)``.
    """
    mask = torch.ones(1, len(nll), dtype=torch.bool)
    return sample_stats(TokenStats(nll[None], entropy[None], mask))


def sample_stats(token_stats: TokenStats) -> SampleStats:
    """Perplexity and mean entropy of each sample over its answer tokens (arXiv:2509.23873, 3.1).

    Args:
        token_stats: Statistics of shape ``(B, T)``, one sample a row.

    Returns:
        ``SampleStats`` of shape ``(B,)``; perplexity and entropy in float64, since
        ``exp`` of a mean NLL above 88 nats overflows float32.
    """
    mask = token_stats.mask
    n_tokens = mask.sum(-1)
    mean_nll = token_stats.nll.double().where(mask, 0.0).sum(-1) / n_tokens
    mean_entropy = token_stats.entropy.double().where(mask, 0.0).sum(-1) / n_tokens
    return SampleStats(mean_nll.exp(), mean_entropy, n_tokens)
