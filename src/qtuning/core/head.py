"""Logits of some columns of a language model's head, as all who read logits compute them."""

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
        bias: Their bias, ``(columns,)``.
        softcap: Soft cap of the final logits, after the scale.
        logit_scale: Factor on the logits.

    Returns:
        ``(n, columns)`` float32, the caller's to change.
    """
    logits = hidden @ weight.float().T
    if bias is not None:
        logits += bias.float()
    if logit_scale != 1.0:
        logits *= logit_scale
    if softcap is not None:
        logits = logits.div_(softcap).tanh_().mul_(softcap)
    return logits
