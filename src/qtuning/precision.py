"""Precision of forward and backward passes: bfloat16 where the device multiplies it natively.

Elsewhere bfloat16 is emulated: on a processor with only AVX2, a matrix product in bfloat16 took 7
times as long as one in float32.
"""

import functools
import os

import torch

NATIVE = "bfloat16"
FULL = "float32"


def device_in_use(use_cpu: bool = False) -> torch.device:
    """The device that a ``Trainer`` would use: torch's accelerator if there is one, else the CPU.

    Args:
        use_cpu: As in ``TrainingArguments``: use the CPU even if there is an accelerator.
    """
    accelerator = None if use_cpu else torch.accelerator.current_accelerator(check_available=True)
    return torch.device("cpu") if accelerator is None else accelerator


def bf16_is_native(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices itself, as far as torch knows.

    CPUs do so with AVX512-BF16, AMX or Arm's BF16 instructions, unless ``ONEDNN_MAX_CPU_ISA``
    limits oneDNN, which computes the products, to older instructions.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "mps":
        return bool(torch.backends.mps.is_macos_or_newer(14, 0))
    if device.type == "cpu":
        return _cpu_has_bf16() and not _onednn_is_limited()
    return True  # accelerators of other makers: TRL's default


@functools.cache
def _cpu_has_bf16() -> bool:
    """Whether the processor has instructions that multiply bfloat16."""
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    functions = vars(torch.cpu)
    if "get_capabilities" in functions:
        capabilities = functions["get_capabilities"]()
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return any(functions[f"_is_{name}_supported"]() for name in ("avx512_bf16", "amx_tile"))


def _onednn_is_limited() -> bool:
    """Whether the environment limits oneDNN to instructions without bfloat16."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    return bool(limit) and not any(name in limit for name in ("BF16", "AMX", "ALL", "DEFAULT"))


def use_bf16(asked: bool | None, *, use_cpu: bool = False, fp16: bool = False) -> bool:
    """Whether to compute in bfloat16: the user's setting, else whether it is native to the device.

    Args:
        asked: The user's setting of ``bf16``; None if the user has set nothing.
        use_cpu: As in ``TrainingArguments``.
        fp16: Whether the user has chosen float16, which rules out bfloat16 as a default.
    """
    if asked is not None:
        return asked
    return not fp16 and bf16_is_native(device_in_use(use_cpu))


def dtype_name(bf16: bool, fp16: bool = False) -> str:
    """Name of a pass's precision in messages and records."""
    return f"{NATIVE} autocast" if bf16 else "float16 autocast" if fp16 else FULL


def precision_line(device: torch.device, *, bf16: bool, fp16: bool = False) -> str | None:
    """A line on the precision where it is not what a user of TRL would expect, else None.

    Args:
        device: The device in use.
        bf16: Whether passes are in bfloat16.
        fp16: Whether passes are in float16.
    """
    if fp16 or bf16_is_native(device):
        return None
    if bf16:
        return (
            f"Warning: bf16 on a {device.type} that does not multiply bfloat16 itself: it is "
            "emulated, on processors up to 7 times slower than float32. Set bf16 to false."
        )
    if device.type == "cpu":
        return "Precision: float32, since this processor does not multiply bfloat16 itself."
    return None
