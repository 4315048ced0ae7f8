"""The plug-in for ms-swift: ``swift sft --external_plugins "$(qtuning swift)"``.

ms-swift runs this file by its path, before it makes training arguments or looks for a trainer. It
is run for ``swift infer`` and ``swift export`` of what was trained, too, and then changes nothing.
"""

import sys

from swift.trainers import TrainerFactory

from qtuning.errors import UsageError
from qtuning.integrations.one_line import ending_in_one_line
from qtuning.integrations.swift_options import ARGUMENTS, NOT_PRUNED, TASK, TRAINER

with ending_in_one_line():
    if "swift.megatron" in sys.modules:
        raise UsageError(
            "pruning does not support Megatron-SWIFT, which has trainers of its own: run "
            "`swift sft`, or take qtuning out of external_plugins"
        )

TrainerFactory.TRAINING_ARGS_MAPPING |= dict.fromkeys(
    TrainerFactory.TRAINING_ARGS_MAPPING, NOT_PRUNED
) | {TASK: ARGUMENTS}
TrainerFactory.TRAINER_MAPPING[TASK] = TRAINER
