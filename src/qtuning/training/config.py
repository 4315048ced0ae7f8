"""The config of a training run: TRL's ``SFTConfig`` with the pruning arguments.

It is in a module of its own, since importing TRL takes seconds, and not every command trains.
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
    ``logging_steps`` 10, ``max_length`` 1024. Only the default of ``bf16`` differs: it is on where
    the device multiplies bfloat16 natively, while TRL's does not depend on the device.
    """

    def __post_init__(self) -> None:
        """Set ``bf16`` by the device, before TRL sets its own default."""
        config: Any = self  # to mypy, TRL's fields have no type
        if config.bf16 is None:
            config.bf16 = use_bf16(None, use_cpu=config.use_cpu, fp16=config.fp16)
            # transformers accepts bf16 on the CPU only with use_cpu.
            config.use_cpu = config.use_cpu or device_in_use().type == "cpu"
        super().__post_init__()
