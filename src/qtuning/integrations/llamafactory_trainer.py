"""The class that takes the place of LLaMA-Factory's trainer; it needs no LLaMA-Factory."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..arguments import PruningArguments
from ..errors import StoppedError, UsageError
from ..run.card import TAG
from ..run.stopping import stop_on_signals
from ..training.combined import with_arguments
from ..training.trainer import with_pruning

if TYPE_CHECKING:  # super() is a Trainer, since the class is combined with one
    from transformers import Trainer as _Trainer
else:
    _Trainer = object


def trainer_class(
    stock: type[_Trainer],
    pruning: PruningArguments,
    *,
    named: bool,
    when_made: Callable[[Any], object] = lambda trainer: None,
) -> Any:
    """The class that takes the place of LLaMA-Factory's trainer.

    Args:
        stock: LLaMA-Factory's trainer.
        pruning: The pruning arguments.
        named: Whether the user has named a checkpoint to resume from.
        when_made: Called with each trainer once it is constructed.
    """

    def __init__(self: Any, **kwargs: Any) -> None:
        PruningOfLlamaFactory.__init__(self, **kwargs)
        when_made(self)

    bases = (PruningOfLlamaFactory, with_pruning(stock))
    attributes = {"chosen": pruning, "named": named, "__init__": __init__}
    return type(f"Pruning{stock.__name__}", bases, attributes)


class PruningOfLlamaFactory(_Trainer):
    """What is particular to LLaMA-Factory's trainer; the first base of the subclass that prunes.

    Attributes:
        chosen: The pruning arguments of the run.
        named: Whether the user has named a checkpoint to resume from. If not, LLaMA-Factory names
            the last one in the output folder, whole or not.
    """

    chosen: PruningArguments
    named: bool

    def __init__(self, *, args: Any, processor: Any = None, **kwargs: Any) -> None:
        """Construct the trainer; the arguments are those of LLaMA-Factory's.

        Raises:
            UsageError: The model has a processor of images or sound, or the combination is not
                supported.
        """
        if processor is not None:
            raise UsageError(
                f"pruning does not support models with a processor ({type(processor).__name__}): "
                "LLaMA-Factory averages their loss by micro-batches; train a model of text alone"
            )
        args = with_arguments(args, self.chosen)
        super().__init__(args=args, processor=processor, **kwargs)
        self.model.add_model_tags([TAG])  # what is pushed to the Hub has them

    def train(self, resume_from_checkpoint: Any = None, **kwargs: Any) -> Any:
        """Train as LLaMA-Factory does; SIGTERM and Ctrl-C write a checkpoint first.

        Args:
            resume_from_checkpoint: The checkpoint that the user or LLaMA-Factory has named. In the
                latter case the last whole one is taken.
            **kwargs: Other arguments of ``Trainer.train``.

        Raises:
            UsageError: There is no whole checkpoint.
            StoppedError: A signal ended the training, and the checkpoint is written.
        """
        checkpoint = resume_from_checkpoint
        if checkpoint is not None and not self.named:
            checkpoint = True
        try:
            with stop_on_signals(self):
                return super().train(resume_from_checkpoint=checkpoint, **kwargs)
        except StoppedError:
            self.accelerator.end_training()
            raise
