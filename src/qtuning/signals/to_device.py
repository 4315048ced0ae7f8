"""Batches from the host to the device."""

from typing import Any

import torch
from accelerate.utils import recursively_apply, send_to_device
from torch import Tensor


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The batch on a device; the host does not wait for copies to CUDA.

    Args:
        batch: Tensors on the host, also in tuples; other values stay as they are.
        device: The device.
    """
    if device.type != "cuda":
        return dict(send_to_device(batch, device))
    # The host would wait for a copy out of memory that the system may move.
    pinned = recursively_apply(_pinned, batch)
    return dict(send_to_device(pinned, device, non_blocking=True))


def _pinned(value: Tensor) -> Tensor:
    return value.pin_memory() if value.device.type == "cpu" else value
