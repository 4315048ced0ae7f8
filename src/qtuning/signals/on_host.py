"""Tensors from the device to the host, all of them in one copy."""

from collections.abc import Sequence

import torch
from torch import Tensor


def on_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies of tensors on the CPU, each in memory of its own.

    A copy to the host waits for all work before it, so there is one for all of them.

    Args:
        tensors: At least one tensor; all of one dtype.
    """
    device = tensors[0].device
    values = torch.cat([one.to(device, non_blocking=True).flatten() for one in tensors]).cpu()
    parts = values.split([one.numel() for one in tensors])
    return [part.clone().view(one.shape) for part, one in zip(parts, tensors, strict=True)]
