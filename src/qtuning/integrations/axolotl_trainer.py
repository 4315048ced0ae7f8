"""Axolotl's trainer that prunes; only ``QTuningPlugin`` loads this module."""

from pathlib import Path
from typing import Any

from axolotl.core.trainers import AxolotlTrainer
from transformers import Trainer

from ..examples.bins import Bins
from ..run.stopping import stop_on_signals
from ..training.mixin import PruningMixin
from .one_line import ending_in_one_line


class AnsweredTrainer(Trainer):
    """Keeps transformers' own answer to whether a model divides its loss by a number of tokens."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Construct the trainer, and note the answer."""
        super().__init__(*args, **kwargs)
        self.own_answer = self.model_accepts_loss_kwargs


class TokenMeanTrainer(AxolotlTrainer, AnsweredTrainer):
    """Axolotl's trainer with the loss as a mean over the tokens of a step.

    Axolotl asks the backbone, which never takes a number of tokens, and so averages the means of
    micro-batches: after pruning, these have very different numbers of tokens. ``AnsweredTrainer``
    stands between Axolotl's trainer and transformers' one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Construct Axolotl's trainer, and restore transformers' answer."""
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = self.own_answer


class QTuningAxolotlTrainer(PruningMixin, TokenMeanTrainer):
    """Axolotl's trainer with samples and tokens pruned at every optimizer step.

    What the user can put right ends the program in one line. SIGTERM and Ctrl-C end it after the
    step, with a checkpoint.
    """

    tag_names = ["axolotl", "q-tuning"]  # noqa: RUF012 - Axolotl's own way of tagging

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Construct the trainer; the arguments are those of Axolotl's."""
        with ending_in_one_line():
            super().__init__(*args, **kwargs)

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """Train as Axolotl does; the arguments are those of ``PruningMixin.train``.

        Under ``auto_resume_from_checkpoints``, it is the last whole checkpoint that is gone on
        with; Axolotl names the last one, which a killed run may not have written to its end.
        """
        if (
            isinstance(resume_from_checkpoint, str)
            and self.axolotl_cfg.auto_resume_from_checkpoints
        ):
            is_last = Path(resume_from_checkpoint).parent == Path(self.axolotl_cfg.output_dir)
            resume_from_checkpoint = is_last or resume_from_checkpoint
        with ending_in_one_line(), stop_on_signals(self):
            return super().train(resume_from_checkpoint, **kwargs)

    def _set_signature_columns_if_needed(self) -> None:
        """Set the columns of a row once; a second time, Axolotl fails on ``attention_mask``."""
        if self._signature_columns is None:
            super()._set_signature_columns_if_needed()

    def _create_multipack_sampler(self, *args: Any, **kwargs: Any) -> Any:
        """Axolotl's sampler of ``sample_packing``, whose bins kept samples are packed in again."""
        sampler = super()._create_multipack_sampler(*args, **kwargs)
        self.bins = Bins(sampler.batch_max_len, sampler.batch_size)
        return sampler
