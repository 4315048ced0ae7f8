"""The NLL of chosen positions with its gradient, without full logits.

``stats.token_stats`` measures every answer token without a gradient; ``summed_nll`` is the loss of
some answer tokens.
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .stats import IGNORE_INDEX

_LOGITS = 1 << 24  # logits per chunk: 64 MiB in float32, whatever the size of the vocabulary


def summed_nll(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    keep: Tensor,
    *,
    token_weights: Tensor | None = None,
    bias: Tensor | None = None,
    chunk_size: int | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
) -> Tensor:
    """Sum of ``-log p(y_i | x, y_<i)`` over the kept answer tokens, in nats, with gradients.

    The same as, for ``logits = softcap * tanh(logit_scale * (hidden @ weight.T + bias) / softcap)``
    and ``logp = logits[:, :-1].log_softmax(-1)``::

        -logp.gather(-1, labels[:, 1:, None]).squeeze(-1)[keep].sum()

    but only kept positions are projected, ``chunk_size`` of them at a time, and their logits are
    recomputed in the backward pass. The product is computed in the dtype that the model's own head
    would use, autocast included; everything after it is float32.

    Args:
        hidden: Last hidden states, ``(B, L, D)``.
        weight: Weight of the language model head, ``(V, D)``.
        labels: Token ids, ``(B, L)``; -100 is ignored.
        keep: ``(B, L-1)`` bool; entry ``t`` keeps the prediction of ``labels[:, t+1]``.
        token_weights: ``(B, L-1)``, factor on each NLL; None is 1 for all.
        bias: Bias of the head, ``(V,)``.
        chunk_size: Positions per chunk; by default as many as have 2^24 logits, at most 512.
        softcap: Soft cap of the final logits (Gemma 2), after the scale.
        logit_scale: Factor on the logits (Cohere, Granite).

    Returns:
        A float32 scalar. Hidden states and head are part of its graph even if nothing is kept, so
        that a backward pass reaches all parameters that DDP waits for; the gradients are then zero.

    Raises:
        ValueError: Shapes do not fit, an ignored token is kept, or ``chunk_size`` is not positive.
    """
    targets = labels[:, 1:]
    if hidden.shape[:2] != labels.shape or keep.shape != targets.shape:
        raise ValueError(
            f"hidden {tuple(hidden.shape)}, labels {tuple(labels.shape)} and keep "
            f"{tuple(keep.shape)} do not fit (B, L, D), (B, L) and (B, L-1)"
        )
    chunk_size = positions_per_chunk(weight, chunk_size)
    rows, gold = hidden[:, :-1][keep], targets[keep]
    if bool((gold == IGNORE_INDEX).any()):
        raise ValueError("keep holds a token whose label is ignored")
    factors = torch.ones_like(gold, dtype=torch.float32)
    if token_weights is not None:
        factors = token_weights.float()[keep]
    total = torch.zeros((), dtype=torch.float32, device=hidden.device)
    parts = (rows.split(chunk_size), gold.split(chunk_size), factors.split(chunk_size))
    for h, y, w in zip(*parts, strict=True):
        total = total + checkpoint(
            _chunk_nll,
            h,
            weight,
            y,
            w,
            bias,
            softcap,
            logit_scale,
            use_reentrant=False,
            preserve_rng_state=False,
        )
    return total


def _chunk_nll(
    hidden: Tensor,  # (n, D)
    weight: Tensor,  # (V, D)
    gold: Tensor,  # (n,)
    factors: Tensor,  # (n,)
    bias: Tensor | None,
    softcap: float | None,
    logit_scale: float,
) -> Tensor:
    logits = chunk_logits(hidden, weight, bias, softcap, logit_scale)
    nll: Tensor = nn.functional.cross_entropy(logits, gold, reduction="none")
    return (nll * factors).sum()


def positions_per_chunk(weight: Tensor, chunk_size: int | None) -> int:
    """Positions per chunk: ``chunk_size``, by default as many as have 2^24 logits, at most 512.

    Raises:
        ValueError: ``chunk_size`` is not positive.
    """
    if chunk_size is None:
        return max(1, min(512, _LOGITS // weight.shape[0]))
    if chunk_size < 1:
        raise ValueError(f"chunk_size ({chunk_size}) must be positive")
    return chunk_size


def chunk_logits(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    softcap: float | None,
    logit_scale: float,
) -> Tensor:
    """Logits of a chunk with their graph, ``(n, V)`` float32, multiplied as the model's head would.

    Args:
        hidden: Hidden states, ``(n, D)``.
        weight: Weight of the language model head, ``(V, D)``.
        bias: Bias of the head, ``(V,)``.
        softcap: Soft cap of the final logits, after the scale.
        logit_scale: Factor on the logits.
    """
    logits = nn.functional.linear(hidden.to(weight.dtype), weight, bias).float()
    if logit_scale != 1.0:
        logits = logits * logit_scale
    if softcap is not None:
        logits = softcap * (logits / softcap).tanh()
    return logits
