"""The training loss: the trainer class' own, or ours where tokens are weighted."""

from typing import TYPE_CHECKING, Any

from trl import SFTTrainer

from ..examples.example import NothingAnywhere, NothingHere
from ..io.weights import LOSS_WEIGHT
from ..ranks import Ranks
from ..run.messages import TOKEN_WEIGHT
from ..run.record import RunRecord
from ..step.one_pass import OnePassStep
from ..step.weighted_loss import WeightedLoss
from .handed_on import hands_on_loss
from .idle import nothing_added
from .router_loss import more_router_loss

if TYPE_CHECKING:  # super() is a Trainer, since the mixin is combined with a Trainer class
    from transformers import Trainer as _Trainer
else:
    _Trainer = object


class LossMixin(_Trainer):
    """Computes the loss of micro-batches; a base of ``PruningMixin``."""

    _ranks: Ranks
    _record: RunRecord
    _weighted_loss: WeightedLoss
    _one_pass: OnePassStep | None
    _router_in_model: bool
    _router_weight: float
    _metrics: Any
    _total_train_tokens: Any

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a micro-batch.

        It is the trainer class' own loss, a weighted loss where tokens or samples are weighted,
        and in one-pass mode the loss of the kept answer tokens.
        """
        if self._one_pass is not None and self.model.training:
            return self._one_pass.loss(self.model, model, inputs, num_items_in_batch)
        if LOSS_WEIGHT not in inputs:
            return self._own_loss(model, inputs, return_outputs, num_items_in_batch)
        with self.accelerator.autocast():  # the head in the precision of the model
            nll = self._weighted_loss.of_batch(self.model, model, inputs)
        return nll.to(self.args.device) * self._ranks.size / num_items_in_batch

    def _has_stock_loss(self) -> bool:
        """Whether the trainer class at most hands on the loss of ``Trainer`` or ``SFTTrainer``."""
        theirs: Any = super()
        return hands_on_loss(self, theirs.compute_loss)

    def _own_loss(self, model: Any, inputs: Any, return_outputs: bool, n_items: Any) -> Any:
        """The trainer class' loss; that of routers weighs as much as if no pass was left out.

        What the class notes down for its log is dropped if no rank has a label.
        """
        weight = 0.0 if isinstance(inputs, NothingHere) else self._router_weight
        if not self.model.training or weight == 1.0:
            return super().compute_loss(model, inputs, return_outputs, n_items)
        is_empty = isinstance(inputs, NothingAnywhere)
        metrics = self._metrics["train"] if isinstance(self, SFTTrainer) and is_empty else {}
        with nothing_added(metrics):
            if not self._router_in_model:
                return super().compute_loss(model, inputs, return_outputs, n_items)
            loss, outputs = super().compute_loss(model, inputs, True, n_items)
        loss = loss + more_router_loss(self.model, outputs, self._ranks.size, weight)
        return (loss, outputs) if return_outputs else loss

    def _note_weights(self) -> None:
        """End the weighted loss of a step, and log what it was made of; every rank must call it."""
        weight, entropy = self._weighted_loss.finish()
        if weight is not None:
            self._record.window.add({TOKEN_WEIGHT: weight})
        if entropy is not None and self._one_pass is None:
            self._log_entropy(entropy)

    def _log_entropy(self, entropy: float) -> None:
        """Log an entropy in nats as SFTTrainer's own loss does; token accuracy would cost more."""
        if isinstance(self, SFTTrainer):
            self._metrics["train"]["entropy"].append(entropy)

    def _count_tokens(self, n: int) -> None:
        """Count trained tokens as SFTTrainer's own loss does, for steps that do not call it."""
        if isinstance(self, SFTTrainer):
            self._total_train_tokens += n
            self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
