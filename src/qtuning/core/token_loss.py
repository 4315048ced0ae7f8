"""The NLL of each answer token with its gradient, and what weights of the loss read beside it.

``head_loss.summed_nll`` is the loss where weights are known before the forward.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .head_loss import chunk_logits, positions_per_chunk


class TokenLosses(NamedTuple):
    """The losses of answer tokens; all but ``nll`` without gradients.

    Attributes:
        nll: NLL in nats, ``(T,)`` float32, with its graph.
        entropy: Entropy of each prediction in nats, ``(T,)`` float32; None unless asked for.
        top: The highest logits, highest first, ``(T, k)`` float32; None unless asked for.
    """

    nll: Tensor
    entropy: Tensor | None
    top: Tensor | None


def token_losses(
    hidden: Tensor,
    weight: Tensor,
    gold: Tensor,
    *,
    entropy: bool = False,
    top: int = 0,
    bias: Tensor | None = None,
    chunk_size: int | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
) -> TokenLosses:
    """NLL of each token with gradients, its entropy and highest logits, without full logits.

    The logits are those of ``head_loss.summed_nll``: of ``chunk_size`` tokens at a time, recomputed
    in the backward pass.

    Args:
        hidden: Hidden states that predict the tokens, ``(T, D)``.
        weight: Weight of the language model head, ``(V, D)``.
        gold: The actual tokens, ``(T,)`` int64 in [0, V); not checked.
        entropy: Whether to compute the entropy.
        top: Number of the highest logits to return; fewer if the vocabulary is smaller.
        bias: Bias of the head, ``(V,)``.
        chunk_size: Tokens per chunk; by default as many as have 2^24 logits, at most 512.
        softcap: Soft cap of the final logits, after the scale.
        logit_scale: Factor on the logits.

    Returns:
        The losses. Hidden states and head are part of the graph of ``nll`` even if T is 0.

    Raises:
        ValueError: ``chunk_size`` is not positive.
    """
    chunk_size = positions_per_chunk(weight, chunk_size)
    nlls, entropies, tops = [], [], []
    for h, y in zip(hidden.split(chunk_size), gold.split(chunk_size), strict=True):
        nll, one_entropy, one_top = checkpoint(
            _chunk,
            h,
            weight,
            y,
            entropy,
            min(top, weight.shape[0]),
            bias,
            softcap,
            logit_scale,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        nlls.append(nll)
        entropies.append(one_entropy)
        tops.append(one_top)
    return TokenLosses(
        torch.cat(nlls),
        torch.cat(entropies) if entropy else None,
        torch.cat(tops) if top else None,
    )


def _chunk(
    hidden: Tensor,  # (n, D)
    weight: Tensor,  # (V, D)
    gold: Tensor,  # (n,)
    entropy: bool,
    top: int,
    bias: Tensor | None,
    softcap: float | None,
    logit_scale: float,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    logits = chunk_logits(hidden, weight, bias, softcap, logit_scale)
    nll: Tensor = nn.functional.cross_entropy(logits, gold, reduction="none")
    # The backward pass repeats the chunk up to here only, since it saves nothing of what follows.
    highest = spread = None
    with torch.no_grad():
        if top:
            highest = logits.topk(top, dim=-1).values
        if entropy:
            log_p = logits.detach().log_softmax(-1)
            # A probability of 0 has an infinite logarithm where the logits do.
            spread = -(log_p.exp() * log_p.clamp(min=-200.0)).sum(-1)
    return nll, spread, highest
