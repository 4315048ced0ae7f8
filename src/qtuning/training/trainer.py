"""The trainers that prune: a subclass of TRL's ``SFTTrainer``, and one of any other trainer."""

import functools
from pathlib import Path
from typing import Any

from transformers import Trainer
from trl import SFTTrainer

from ..arguments import PruningArguments
from ..errors import UsageError
from .config import QTuningConfig
from .mixin import PruningMixin


def with_pruning(
    trainer_class: type[Trainer], pruning: PruningArguments | None = None
) -> type[Trainer]:
    """Make a subclass of any ``transformers.Trainer`` class that prunes (arXiv:2509.23873).

    Examples:
        ```python
        Pruning = with_pruning(Seq2SeqTrainer, PruningArguments(sample_ratio=0.25))
        Pruning(model, Seq2SeqTrainingArguments("out"), train_dataset=rows).train()
        ```

    Args:
        trainer_class: The trainer class. A class that prunes already is returned as it is, unless
            ``pruning`` is given.
        pruning: The pruning arguments, for training arguments of any class; None takes them from
            training arguments that are ``PruningArguments`` as well.

    Returns:
        The subclass, whose constructor is that of ``trainer_class``. The constructor raises
        UsageError for unsupported combinations, without pruning arguments, and if no sample has
        answer tokens.

    Raises:
        UsageError: The class is a trainer of TRL for something else than supervised fine-tuning.
    """
    if _is_of_trl(trainer_class) and not issubclass(trainer_class, SFTTrainer):
        raise UsageError(
            f"{trainer_class.__name__} is not pruned: of TRL's trainers only SFTTrainer and its "
            "subclasses are, whose rows have one answer each; train with it as it is"
        )
    hashable_class: Any = trainer_class  # mypy takes classes of transformers for unhashable
    pruning_class = _pruning(hashable_class)
    return (
        pruning_class
        if pruning is None
        else type(pruning_class.__name__, (pruning_class,), {"pruning": pruning})
    )


def _is_of_trl(trainer_class: type[Trainer]) -> bool:
    return any(base.__module__.partition(".")[0] == "trl" for base in trainer_class.__mro__)


@functools.cache
def _pruning(trainer_class: Any) -> type[Trainer]:
    """The subclass that prunes; cached, so that a class has one."""
    base: type[Trainer] = trainer_class
    if issubclass(base, PruningMixin):
        return base
    return type(f"Pruning{trainer_class.__name__}", (PruningMixin, trainer_class), {})


class QTuningTrainer(PruningMixin, SFTTrainer):
    """TRL's ``SFTTrainer`` with samples and tokens pruned at every optimizer step.

    The constructor is SFTTrainer's; without ``args`` the settings are the paper's
    (arXiv:2509.23873), at a sample ratio of 0.25.

    Raises:
        UsageError: The combination is not supported, or no sample has answer tokens.
    """

    _tag_names = ["trl", "sft", "q-tuning"]  # noqa: RUF012 - TRL's own way of tagging
    _name = "Q-Tuning"
    _paper = {  # noqa: RUF012
        "title": "Winning the Pruning Gamble: A Unified Approach to Joint Sample and Token "
        "Pruning for Efficient Supervised Fine-Tuning",
        "id": "2509.23873",
    }

    def __init__(self, model: Any, args: QTuningConfig | None = None, *more: Any, **kwargs: Any):
        """Construct the trainer; the arguments are those of ``SFTTrainer``."""
        if args is None:
            name = model if isinstance(model, str) else model.config.name_or_path
            args = QTuningConfig(f"{Path(name).name or 'model'}-Q-Tuning")
        super().__init__(model, args, *more, **kwargs)
