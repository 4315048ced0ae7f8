"""Precision of forward and backward passes: bfloat16 where the device multiplies it natively.

Elsewhere it is emulated: on a processor with AVX2 alone a matrix product in bfloat16 took 7 times
as long as one in float32.
"""

import functools
import os

import torch

NATIVE = "bfloat16"
FULL = "float32"


def device_in_use(use_cpu: bool = False) -> torch.device:
    """The device that a ``Trainer`` would take: the accelerator that torch has, else the CPU.

    Args:
        use_cpu: As in ``TrainingArguments``: the CPU whatever there is.
    """
    found = None if use_cpu else torch.accelerator.current_accelerator(check_available=True)
    return torch.device("cpu") if found is None else found


def bf16_is_native(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices itself, as far as torch knows.

    CPUs do with AVX512-BF16, AMX or Arm's BF16 instructions, unless oneDNN, which multiplies, was
    held to older ones (``ONEDNN_MAX_CPU_ISA``).
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "mps":
        return bool(torch.backends.mps.is_macos_or_newer(14, 0))
    if device.type == "cpu":
        return _cpu_has_bf16() and not _held_back()
    return True  # accelerators of other makers: TRL's default


@functools.cache
def _cpu_has_bf16() -> bool:
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    known = vars(torch.cpu)
    if "get_capabilities" in known:
        found = known["get_capabilities"]()
        return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return any(known[f"_is_{name}_supported"]() for name in ("avx512_bf16", "amx_tile"))


def _held_back() -> bool:
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    return bool(allowed) and not any(name in allowed for name in ("BF16", "AMX", "ALL", "DEFAULT"))


def use_bf16(asked: bool | None, *, use_cpu: bool = False, fp16: bool = False) -> bool:
    """Whether to compute in bfloat16: as asked, else where it is native.

    Args:
        asked: What the user set; None is nothing.
        use_cpu: As in ``TrainingArguments``.
        fp16: float16 was asked for, so that nothing is left to choose.
    """
    if asked is not None:
        return asked
    return not fp16 and bf16_is_native(device_in_use(use_cpu))


def dtype_name(bf16: bool, fp16: bool = False) -> str:
    """The precision of a pass, as it is told and put on record."""
    return f"{NATIVE} autocast" if bf16 else "float16 autocast" if fp16 else FULL


def precision_line(device: torch.device, *, bf16: bool, fp16: bool = False) -> str | None:
    """A line on the precision where it is not what a user of TRL would expect, else None.

    Args:
        device: The device in use.
        bf16: Whether passes are in bfloat16.
        fp16: Whether they are in float16.
    """
    if fp16 or bf16 == bf16_is_native(device):
        return None
    if bf16:
        return (
            f"Warning: bf16 on a {device.type} that does not multiply bfloat16 itself: it is "
            "emulated, on processors up to 7 times slower than float32. Set bf16 to false."
        )
    if device.type == "cpu":
        return "Precision: float32, since this processor does not multiply bfloat16 itself."
    return None
