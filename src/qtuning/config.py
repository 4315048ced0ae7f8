"""The config of a training run: TRL's with the pruning arguments.

Apart from them, since importing TRL's takes seconds, and not every command trains.
"""

from dataclasses import dataclass

from trl import SFTConfig

from .pruning_arguments import PruningArguments


@dataclass
class QTuningConfig(PruningArguments, SFTConfig):
    """TRL's ``SFTConfig`` with the pruning arguments.

    Every other default is TRL's: learning rate 2e-5, bf16 on, activation checkpointing on,
    ``logging_steps`` 10, ``max_length`` 1024.
    """
