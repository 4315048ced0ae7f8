"""The statistics of answer tokens on CUDA: tiles of logits over the whole vocabulary, read once.

On one H200 this took the time of TRL's fused head at 200 to 1,800 times less error, since logits
stay in float32: see benchmarks/gpu-notes.md.
"""

import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor

from .head import shaped_

Fold = Callable[[Tensor, Tensor, Tensor], None]

_TILE_BYTES = 1 << 28  # smaller tiles were slower, larger ones hardly faster
_ROWS = 64  # tiles have a multiple of so many positions, as the tensor cores like them
_HALVES = (torch.bfloat16, torch.float16)
# torch multiplies halves to float32 since 2.8, on NVIDIA's GPUs.
_MULTIPLIES_HALVES = hasattr(torch.ops.aten.mm, "dtype_out") and torch.version.hip is None
# exp(-200) is 0 in float32; clamping there keeps 0 * -inf out of the entropy sum.
_MIN_SHIFTED = -200.0


@torch.no_grad()
def head_stats(
    hidden: Tensor,
    weight: Tensor,
    gold: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    more: bool = False,
    tile_bytes: int = _TILE_BYTES,
    fold: Fold | None = None,
) -> Tensor:
    """Statistics of the predictions of answer tokens, without full logits.

    Factors in half precision are multiplied as such, with float32 sums and logits; under autocast,
    factors are rounded as the model's own head would round them. Others are multiplied in float32,
    with TF32 if the user has allowed it. No value is copied to the host.

    Args:
        hidden: Hidden states that predict the tokens, ``(T, D)``.
        weight: Weight of the language model head, ``(V, D)``.
        gold: The actual tokens, ``(T,)`` int64 in [0, V); not checked.
        bias: Bias of the head, ``(V,)``.
        softcap: Soft cap of the final logits, after the scale.
        logit_scale: Factor on the logits.
        more: Whether to compute the last three rows of the result.
        tile_bytes: Size of the tile of logits held at once.
        fold: Reduces a tile; by default the Triton kernel on CUDA, if there is Triton.

    Returns:
        ``(5, T)`` float32, or ``(2, T)`` without ``more``: NLL in nats; entropy in nats; sum of the
        squares of all probabilities; highest probability; 1 where the actual token has it, else 0.
    """
    if fold is None:
        fold = _fold_of(hidden)
    device, vocabulary = hidden.device, weight.shape[0]
    hidden, weight = _factors(hidden, weight)
    with torch.autocast(device.type, enabled=False):
        bias = None if bias is None else bias.float()
        n = min(len(hidden), max(_ROWS, tile_bytes // (4 * vocabulary) // _ROWS * _ROWS))
        tile = torch.empty(n, vocabulary, dtype=torch.float32, device=device)
        out = torch.empty(5 if more else 2, len(hidden), dtype=torch.float32, device=device)
        for start in range(0, len(hidden), max(1, n)):
            part = slice(start, start + n)
            logits = tile[: len(hidden[part])]
            _multiply(hidden[part], weight, logits)
            fold(shaped_(logits, bias, softcap, logit_scale), gold[part], out[:, part])
    return out


def plain_fold(logits: Tensor, gold: Tensor, out: Tensor) -> None:
    """Write the statistics of each row of logits in plain torch, for where Triton is missing.

    Args:
        logits: ``(n, V)`` float32; changed in place.
        gold: ``(n,)`` int64 in [0, V).
        out: ``(2, n)`` or ``(5, n)``, the rows as ``head_stats`` returns them.
    """
    gold_logit = logits.gather(1, gold[:, None]).squeeze(1)
    top = logits.amax(1)
    shifted = logits.sub_(top[:, None]).clamp_(min=_MIN_SHIFTED)
    weights = shifted.exp()
    total = weights.sum(1)
    out[0] = top - gold_logit + total.log()
    out[1] = total.log() - _dot(weights, shifted) / total
    if len(out) > 2:
        out[2] = _dot(weights, weights) / total.square()
        out[3] = 1.0 / total
        out[4] = gold_logit >= top


def has_triton() -> bool:
    """Whether Triton is installed."""
    return importlib.util.find_spec("triton") is not None


def _fold_of(hidden: Tensor) -> Fold:
    if not (hidden.is_cuda and has_triton()):
        return plain_fold
    from .cuda_kernel import fold

    return fold


def _factors(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden states and weight in the dtype that they are multiplied in, converted once a pass."""
    device = hidden.device.type
    dtype = torch.promote_types(hidden.dtype, weight.dtype)
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    if dtype not in _HALVES or (hidden.is_cuda and not _MULTIPLIES_HALVES):
        dtype = torch.float32
    return hidden.to(dtype), weight.to(dtype)


def _multiply(hidden: Tensor, weight: Tensor, out: Tensor) -> None:
    """Write ``hidden @ weight.T`` in float32, ``(n, V)``, to ``out``."""
    if hidden.dtype == torch.float32:
        torch.mm(hidden, weight.T, out=out)
    elif hidden.is_cuda:
        torch.mm(hidden, weight.T, out_dtype=torch.float32, out=out)
    else:  # the CPU has no such product; tests come here
        torch.mm(hidden.float(), weight.float().T, out=out)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Dot product of each row, ``(n,)``, without a product as large as the factors."""
    return torch.bmm(a[:, None], b[:, :, None])[:, 0, 0]
