"""Attention whose time does not depend on whether a shape was seen before."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from torch.backends import cuda
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def steady_attention(device_type: str) -> Iterator[None]:
    """Context without cuDNN's attention on CUDA; nothing changes on other devices.

    With a mask, cuDNN plans anew for each number of rows and each length, which takes 40 to 75 ms,
    sometimes a second (benchmarks/gpu-notes.md). Pruned batches have a new shape nearly each time.
    The other kernels need no plan, so lengths need not be padded to a few sizes either. Backward
    passes belong into the context where activations are recomputed in them.

    Args:
        device_type: Type of the device.
    """
    if device_type != "cuda":
        yield
        return
    kernels = [
        kernel
        for kernel, is_on in (
            (SDPBackend.FLASH_ATTENTION, cuda.flash_sdp_enabled()),
            (SDPBackend.EFFICIENT_ATTENTION, cuda.mem_efficient_sdp_enabled()),
            (SDPBackend.MATH, cuda.math_sdp_enabled()),
        )
        if is_on
    ]
    with sdpa_kernel(kernels) if kernels else nullcontext():  # none but cuDNN's: the user's wish
        yield
