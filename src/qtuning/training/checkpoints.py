"""Checkpoints of a training run: whole ones are written, and all of one is read."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate.utils import is_peft_model
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..io.renamed_weights import load_renamed
from ..ranks import Ranks
from ..run.epoch_order import EpochOrder
from ..run.record import RunRecord
from ..run.saving import whole_checkpoint
from ..signals.pass_limit import PassLimit

if TYPE_CHECKING:  # super() is a Trainer, since the mixin is combined with a Trainer class
    from transformers import Trainer as _Trainer
else:
    _Trainer = object


class CheckpointMixin(_Trainer):
    """Writes and reads the checkpoints of a ``Trainer`` subclass; a base of ``PruningMixin``."""

    _record: RunRecord
    _ranks: Ranks
    _epoch_order: EpochOrder
    _pass_limit: PassLimit
    _to_push: str | None = None

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Save a checkpoint with all that pruning needs to resume from it."""
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        folder = Path(vars(self.args)["output_dir"]) / name
        with whole_checkpoint(
            folder, self._ranks, self.args, lambda: self.state.best_model_checkpoint
        ):
            self._record.pass_limits = self._ranks.gather_flat([self._pass_limit.tokens])
            self._record.save(folder)
            if not self.args.save_only_model:  # which asks for no random state
                self._epoch_order.save(folder)
            super()._save_checkpoint(*args, **kwargs)
        if self._to_push is not None:
            super()._push_from_checkpoint(self._to_push)
            self._to_push = None

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Note the checkpoint, which is pushed to the Hub once it is sealed."""
        self._to_push = checkpoint_folder

    def _load_from_checkpoint(self, resume_from_checkpoint: str, *args: Any, **kwargs: Any) -> None:
        """Load a checkpoint's weights, whatever names they have in there."""
        super()._load_from_checkpoint(resume_from_checkpoint, *args, **kwargs)
        self._load_renamed(Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        """Load the best checkpoint's weights, whatever names they have in there."""
        super()._load_best_model()
        self._load_renamed(Path(self.state.best_model_checkpoint))

    def _load_renamed(self, folder: Path) -> None:
        # What is sharded or an adapter is written and read with the names it has.
        sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
        if not sharded and not is_peft_model(self.model):
            load_renamed(self.model, folder)
