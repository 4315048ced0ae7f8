"""Nuclear norm and sketch of a sample's logits, without full logits (arXiv:2510.16882, 3)."""

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from .head import tile_logits

ROWS, COLUMNS = 8, 128
"""Shape of a sketch before it is flattened."""
# The published code pads answers to this length, which is part of the scale of its projection.
_LENGTH = 512


class LogitStats(NamedTuple):
    """Statistics of the logits of one sample's answer, the ``(T, V)`` matrix X.

    Attributes:
        nuclear_norm: Sum of the singular values of X, float64.
        sketch: ``R_l X R_r`` with random signs R, scaled, ``(8 * 128,)`` float32.
    """

    nuclear_norm: Tensor
    sketch: Tensor


@torch.no_grad()
def logit_stats(
    hidden: Tensor,
    weight: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    vocab_chunk_size: int = 2048,
) -> LogitStats:
    """Nuclear norm and sketch of ``softcap * tanh(scale * (hidden @ weight.T + bias) / softcap)``.

    The singular values are the roots of the eigenvalues of ``X X^T``, summed over tiles of the
    vocabulary in float64: in a float32 sum the small eigenvalues would be lost to rounding.

    Args:
        hidden: Hidden states that predict the answer tokens of one sample, ``(T, D)``.
        weight: Weight of the language model head, ``(V, D)``.
        bias: Bias of the head, ``(V,)``.
        softcap: Soft cap of the final logits.
        logit_scale: Factor on the logits.
        vocab_chunk_size: Vocabulary columns per tile.
    """
    n, vocab = hidden.shape[0], weight.shape[0]
    left_signs, right_signs = _row_signs(n), _column_signs(vocab, hidden.device)
    gram = torch.zeros(n, n, dtype=torch.float64, device=hidden.device)
    projection = torch.zeros(n, COLUMNS, dtype=torch.float32, device=hidden.device)
    with torch.autocast(device_type=hidden.device.type, enabled=False):
        for start in range(0, vocab, vocab_chunk_size):
            tile = slice(start, start + vocab_chunk_size)
            tile_bias = None if bias is None else bias[tile]
            logits = tile_logits(hidden.float(), weight[tile], tile_bias, softcap, logit_scale)
            projection += logits @ right_signs[tile].to(logits)
            logits = logits.double()
            gram += logits @ logits.T
        sketch = left_signs.to(projection) @ projection
    scale = (_LENGTH / ROWS * vocab / COLUMNS) ** 0.5
    # eigvalsh raises on values that are not finite; the norm is then NaN.
    values = torch.linalg.eigvalsh(gram.nan_to_num(0.0, 0.0, 0.0))
    norm = values.clamp(min=0).sqrt().sum().masked_fill(~gram.isfinite().all(), torch.nan)
    return LogitStats(norm, scale * sketch.flatten())


@functools.lru_cache(maxsize=2)
def _column_signs(vocab: int, device: torch.device) -> Tensor:
    """Random signs for the columns of the logits, the same in every call, ``(V, 128)`` int8."""
    generator = torch.Generator().manual_seed(vocab)
    bits = torch.randint(0, 2, (vocab, COLUMNS), generator=generator, dtype=torch.int8)
    return (bits * 2 - 1).to(device)


def _row_signs(n: int) -> Tensor:
    """Random signs for the rows of the logits, ``(8, T)``; longer answers append columns."""
    bits = torch.randint(0, 2, (n, ROWS), generator=torch.Generator().manual_seed(0))
    return bits.T * 2 - 1
