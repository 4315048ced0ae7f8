"""ms-swift's trainer and training arguments, with pruning; only ms-swift loads this module."""

import os
import sys
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from swift.trainers import Seq2SeqTrainer, Seq2SeqTrainingArguments, TrainerFactory

from ..arguments import PruningArguments, pruning_values
from ..errors import UsageError
from ..run.stopping import stop_on_signals
from ..training.mixin import PruningMixin
from .one_line import ending_in_one_line
from .swift_options import TASK, TRAINER, TRIED, options_of, refuse_options


@dataclass
class QTuningSwiftArguments(PruningArguments, Seq2SeqTrainingArguments):
    """ms-swift's training arguments, and those of pruning that the environment names.

    ms-swift fills in every field that it has an option for, before a model is loaded. The fields
    here are options that its own training arguments lack, for what is refused.

    Attributes:
        packing: ms-swift's option.
        padding_free: ms-swift's option.
        streaming: ms-swift's option.
        sequence_parallel_size: ms-swift's option.
        loss_scale: ms-swift's option.
        use_ray: ms-swift's option.
    """

    packing: bool = False
    padding_free: bool = False
    streaming: bool = False
    sequence_parallel_size: int = 1
    loss_scale: str = "default"
    use_ray: bool = False

    def __post_init__(self) -> None:
        """Check ms-swift's options, and read those of pruning.

        Raises:
            SystemExit: With code 2, for what the user can put right.
        """
        with ending_in_one_line():
            refuse_options(vars(self))
            if TrainerFactory.TRAINER_MAPPING[TASK] != TRAINER:
                raise UsageError(
                    f"the trainer is {TrainerFactory.TRAINER_MAPPING[TASK]} of another plug-in, "
                    "which would not prune: take one of the two out of external_plugins"
                )
            for name, value in pruning_values(options_of(os.environ)).items():
                setattr(self, name, value)
        found = version("ms_swift")
        if found != TRIED and os.environ.get("LOCAL_RANK", "0") == "0":
            print(
                f"qtuning: ms-swift {found} was not tried with pruning, only {TRIED} was: compare "
                "a short run at sample_ratio 1.0 with one without the plug-in",
                file=sys.stderr,
            )
        Seq2SeqTrainingArguments.__post_init__(self)


class NotPruned:
    """In the place of the training arguments of what is not pruned."""

    def __init__(self) -> None:
        """Refuse.

        Raises:
            SystemExit: With code 2.
        """
        with ending_in_one_line():
            raise UsageError(
                f"only `swift sft` and `swift pt` with task_type {TASK} are pruned: take qtuning "
                "out of external_plugins"
            )


class QTuningSwiftTrainer(PruningMixin, Seq2SeqTrainer):
    """ms-swift's trainer with samples and tokens pruned at every optimizer step.

    What the user can put right ends the program in one line. SIGTERM and Ctrl-C end it after the
    step, with a checkpoint.
    """

    def __init__(self, model: Any, **kwargs: Any) -> None:
        """Construct the trainer; the arguments are those of ms-swift's."""
        with ending_in_one_line():
            if model.model_meta.is_multimodal:
                raise UsageError(
                    "pruning does not support models of images, video or sound under ms-swift: "
                    "train a model of text alone"
                )
            super().__init__(model=model, **kwargs)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train as ms-swift does; the arguments are those of its trainer."""
        with ending_in_one_line(), stop_on_signals(self):
            result = super().train(*args, **kwargs)
        self.create_model_card()  # ms-swift writes one only where it pushes
        return result
