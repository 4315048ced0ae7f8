"""Logits of a part of the vocabulary: the one formula that all statistics use."""

from torch import Tensor


def tile_logits(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    softcap: float | None,
    logit_scale: float,
) -> Tensor:
    """``softcap * tanh(logit_scale * (hidden @ weight.T + bias) / softcap)`` of some columns.

    Args:
        hidden: ``(n, D)`` float32.
        weight: Rows of the head's weight, ``(columns, D)``.
        bias: Bias of these columns, ``(columns,)``.
        softcap: Soft cap of the final logits, after the scale.
        logit_scale: Factor on the logits.

    Returns:
        ``(n, columns)`` float32, a new tensor that the caller may change in place.
    """
    return shaped_(hidden @ weight.float().T, bias, softcap, logit_scale)


def shaped_(
    products: Tensor, bias: Tensor | None, softcap: float | None, logit_scale: float
) -> Tensor:
    """Logits in place of the products of hidden states and weight, ``(n, columns)`` float32.

    The other arguments are those of ``tile_logits``.
    """
    logits = products
    if bias is not None:
        logits += bias.float()
    if logit_scale != 1.0:
        logits *= logit_scale
    if softcap is not None:
        logits = logits.div_(softcap).tanh_().mul_(softcap)
    return logits
