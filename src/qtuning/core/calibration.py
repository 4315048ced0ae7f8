"""Calibration of a model's token predictions: pure functions on tensors."""

from typing import NamedTuple

import torch
from torch import Tensor

from .head import tile_logits


class TopPrediction(NamedTuple):
    """A model's most likely token at each position.

    Attributes:
        confidence: Probability of the most likely token, ``(n,)`` float32.
        right: Whether the most likely token is the actual one, ``(n,)`` bool.
    """

    confidence: Tensor
    right: Tensor


@torch.no_grad()
def top_prediction(
    hidden: Tensor,
    weight: Tensor,
    gold: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    chunk_size: int = 128,
) -> TopPrediction:
    """Confidence and correctness of the most likely token at each position.

    Args:
        hidden: Hidden states that predict the tokens, ``(n, D)``.
        weight: Weight of the language model head, ``(V, D)``.
        gold: The actual tokens, ``(n,)``.
        bias: Bias of the head, ``(V,)``.
        softcap: Soft cap of the final logits, after the scale.
        logit_scale: Factor on the logits.
        chunk_size: Positions whose logits are held at once.
    """
    confidence, right = [hidden.new_zeros(0).float()], [gold.new_zeros(0).bool()]
    with torch.autocast(device_type=hidden.device.type, enabled=False):
        for h, y in zip(hidden.split(chunk_size), gold.split(chunk_size), strict=True):
            logits = tile_logits(h.float(), weight, bias, softcap, logit_scale)
            top_logit, top_token = logits.max(1)
            confidence.append((top_logit - logits.logsumexp(1)).exp())
            right.append(top_token == y)
    return TopPrediction(torch.cat(confidence), torch.cat(right))


def calibration_error(confidence: Tensor, right: Tensor, bins: int = 15) -> float:
    """Expected calibration error (arXiv:1706.04599, equation 3).

    The gap between confidence and accuracy in equally wide bins, weighted by the share of the
    positions in each bin.

    Args:
        confidence: Probability of the most likely token, ``(n,)`` in [0, 1].
        right: Whether the most likely token is the actual one, ``(n,)`` bool.
        bins: Number of bins over (0, 1].

    Returns:
        The error in [0, 1]; NaN if there are no positions.
    """
    n = confidence.shape[0]
    if not n:
        return float("nan")
    confidence, hits = confidence.double(), right.double()
    bin_of_position = (confidence * bins).ceil().long().sub_(1).clamp_(0, bins - 1)
    gaps = torch.zeros(bins, dtype=torch.float64).index_add_(0, bin_of_position, confidence - hits)
    return float(gaps.abs().sum() / n)
