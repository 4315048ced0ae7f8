"""Selective IFD: how far the prompt helps with the tokens that it matters to (arXiv:2506.01317)."""

import torch
from torch import Tensor

from .order import argsort
from .ratio import keep_count

_SHARE = 0.5  # of the answer tokens


def selective_ifd(nll: Tensor, nll_alone: Tensor) -> Tensor:
    """Exp of the mean of ``d = nll - nll_alone`` over the half of the tokens with the largest |d|.

    1 is a prompt that tells nothing; below 1 it helps, above 1 it hurts. The half is ``max(1,
    floor(T / 2))`` tokens; of two equals the earlier counts.

    Args:
        nll: NLL of the answer tokens of one sample given its prompt in nats, ``(T,)``, T >= 1.
        nll_alone: NLL of the same tokens without the prompt in nats, ``(T,)``.

    Returns:
        A scalar, float64.
    """
    difference = nll.double() - nll_alone.double()
    most = argsort(difference.abs(), descending=True)[: keep_count(len(difference), _SHARE)]
    return torch.exp(difference[most].mean())
