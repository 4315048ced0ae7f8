"""The loader of training examples, which are scored before they are collated."""

from typing import TYPE_CHECKING, Any

from ..arguments import PruningArguments
from ..examples.example import SAMPLE_ID, TURN, RawBatch
from ..io.weights import LOSS_WEIGHT

if TYPE_CHECKING:  # super() is a Trainer, since the mixin is combined with a Trainer class
    from transformers import Trainer as _Trainer
else:
    _Trainer = object


class LoadingMixin(_Trainer):
    """Loads raw examples; a base of ``PruningMixin``."""

    data_collator: Any
    _pruning_args: PruningArguments
    _train_batch_size: int
    _signature_columns: Any

    def get_train_dataloader(self, *args: Any, **kwargs: Any) -> Any:
        """The trainer class' loader, with raw examples in batches ``pool_factor`` times larger.

        Args:
            *args: What the trainer class' own method takes.
            **kwargs: The same; some classes have one for the batches to skip when they resume.
        """
        self._set_signature_columns_if_needed()
        attributes: Any = (self.data_collator, self._train_batch_size, self._signature_columns)
        self.data_collator = RawBatch
        self._train_batch_size *= self._pruning_args.pool_factor
        self._signature_columns = [*attributes[2], SAMPLE_ID, LOSS_WEIGHT, TURN]
        try:
            return super().get_train_dataloader(*args, **kwargs)
        finally:
            self.data_collator, self._train_batch_size, self._signature_columns = attributes
