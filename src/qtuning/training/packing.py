"""Packing that does not lose samples, their names and weights: TRL's, and a trainer's loader's."""

from typing import Any

from datasets import Dataset

from ..examples.bins import Bins, collator_of
from ..examples.example import SAMPLE_ID, TURN
from ..examples.packing import token_places, with_packed_ids, with_packed_tokens
from ..examples.turn_columns import TurnsMixin
from ..examples.weighing import uncut
from ..io.weights import LOSS_WEIGHT


class PackingMixin(TurnsMixin):
    """Packed samples of a ``Trainer`` subclass; a base of ``PruningMixin``.

    Attributes:
        bins: The bins that the trainer class' loader packs samples in, which its collator takes;
            set before training begins. None if there are none.
    """

    bins: Bins | None = None

    def sample_collator(self) -> Any:
        """The trainer's collator for rows and samples, also where its own takes bins."""
        return collator_of(self.data_collator, self.bins)

    def _prepare_dataset(
        self,
        dataset: Any,
        processing_class: Any,
        args: Any,
        packing: bool,
        formatting_func: Any,
        dataset_name: str,
    ) -> Any:
        """Prepare rows as ``SFTTrainer`` does; packed ones have names and weights of their samples.

        TRL tokenises, then packs the tokens, then their places in the same way.
        """
        prepare = super()._prepare_dataset
        if not packing or dataset_name != "train" or not isinstance(dataset, Dataset):
            return prepare(dataset, processing_class, args, packing, formatting_func, dataset_name)
        rows = prepare(dataset, processing_class, uncut(args), False, formatting_func, dataset_name)
        packed, places = (
            prepare(one, processing_class, args, True, None, dataset_name)
            for one in (rows, token_places(rows))
        )
        if "seq_lengths" not in packed.column_names:  # "wrapped", which is refused later
            return packed
        if LOSS_WEIGHT in rows.column_names:
            for name in ("labels", LOSS_WEIGHT):
                packed = with_packed_tokens(packed, places, rows, name)
        if TURN in rows.column_names:
            packed = with_packed_tokens(packed, places, rows, TURN)
        return with_packed_ids(packed, places, list(rows[SAMPLE_ID]), args.max_length)
