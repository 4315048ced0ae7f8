"""The config of a training run: TRL's with the pruning arguments.

Apart from them, since importing TRL's takes seconds, and not every command trains.
"""

from dataclasses import dataclass
from typing import Any

from trl import SFTConfig

from ..arguments import PruningArguments
from ..precision import device_in_use, use_bf16


@dataclass
class QTuningConfig(PruningArguments, SFTConfig):
    """TRL's ``SFTConfig`` with the pruning arguments.

    Every other default is TRL's: learning rate 2e-5, activation checkpointing on,
    ``logging_steps`` 10, ``max_length`` 1024. ``bf16`` is on where the device multiplies bfloat16
    natively, which TRL takes for granted; where it is given, nothing differs.
    """

    def __post_init__(self) -> None:
        """Choose the precision before TRL does."""
        own: Any = self  # to mypy, TRL's fields have no type
        if own.bf16 is None:
            own.bf16 = use_bf16(None, use_cpu=own.use_cpu, fp16=own.fp16)
            # transformers takes bf16 on the CPU only where it is told that the CPU is meant.
            own.use_cpu = own.use_cpu or device_in_use().type == "cpu"
        super().__post_init__()
