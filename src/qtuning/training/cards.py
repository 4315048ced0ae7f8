"""Say in the model card what was pruned, whichever program writes the card."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..io.json_files import read_object
from ..run.card import CARD, describe_run
from ..run.record import BUDGET_FILE, RunRecord
from ..run.settings import read_settings
from ..step.work import StepCounts

if TYPE_CHECKING:  # super() is a Trainer, since the mixin is combined with a Trainer class
    from transformers import Trainer as _Trainer
else:
    _Trainer = object


class CardMixin(_Trainer):
    """Adds to the model card of a ``Trainer`` subclass; a base of ``PruningMixin``."""

    _record: RunRecord

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write the card of the trainer class, with a section on pruning and the tag."""
        super().create_model_card(*args, **kwargs)
        if self.is_world_process_zero():
            self._record.describe_in(Path(vars(self.args)["output_dir"]) / CARD)


def describe_folder(folder: Path) -> None:
    """Write what a finished run pruned into the model card in its output folder.

    It is for programs that write the card by themselves after the run, such as LLaMA-Factory.

    Args:
        folder: The run's output folder, with the files that the record of the run left there.

    Raises:
        UsageError: A file of the record is damaged.
    """
    settings, budget = read_settings(folder), folder / BUDGET_FILE
    if settings is None or not budget.is_file():
        return
    counts = StepCounts()
    counts.load_state_dict(read_object(budget, "move it away to do without it"))
    describe_run(folder / CARD, settings, counts)
