"""The trainers: TRL's ``SFTTrainer`` that prunes, and any other one."""

import functools
from pathlib import Path
from typing import Any

from transformers import Trainer
from trl import SFTTrainer

from ..arguments import PruningArguments
from .config import QTuningConfig
from .mixin import PruningMixin


def with_pruning(
    trainer_class: type[Trainer], pruning: PruningArguments | None = None
) -> type[Trainer]:
    """A subclass of any ``transformers.Trainer`` class that prunes (arXiv:2509.23873).

    Example::

        Pruning = with_pruning(Seq2SeqTrainer, PruningArguments(sample_ratio=0.25))
        Pruning(model, Seq2SeqTrainingArguments("out"), train_dataset=rows).train()

    Args:
        trainer_class: The class. One that prunes already is returned as it is, unless it is
            given other arguments.
        pruning: What to prune, for trainers whose training arguments are of any class; None reads
            it off training arguments that carry ``PruningArguments``.
    """
    known: Any = trainer_class  # to mypy, a class of transformers cannot be hashed
    made = _pruning(known)
    return made if pruning is None else type(made.__name__, (made,), {"pruning": pruning})


@functools.cache
def _pruning(trainer_class: Any) -> type[Trainer]:
    made: type[Trainer] = trainer_class
    if issubclass(made, PruningMixin):
        return made
    return type(f"Pruning{trainer_class.__name__}", (PruningMixin, trainer_class), {})


class QTuningTrainer(PruningMixin, SFTTrainer):
    """TRL's ``SFTTrainer`` that trains at every step only on what is worth training on.

    The constructor is SFTTrainer's; without ``args`` the paper's settings are taken, at a sample
    ratio of 0.25.
    """

    _tag_names = ["trl", "sft", "q-tuning"]  # noqa: RUF012 - TRL's own way of tagging
    _name = "Q-Tuning"
    _paper = {  # noqa: RUF012
        "title": "Winning the Pruning Gamble: A Unified Approach to Joint Sample and Token "
        "Pruning for Efficient Supervised Fine-Tuning",
        "id": "2509.23873",
    }

    def __init__(self, model: Any, args: QTuningConfig | None = None, *more: Any, **kwargs: Any):
        """See ``SFTTrainer``."""
        if args is None:
            name = model if isinstance(model, str) else model.config.name_or_path
            args = QTuningConfig(f"{Path(name).name or 'model'}-Q-Tuning")
        super().__init__(model, args, *more, **kwargs)
