"""TRL's trainer with users' weights: rows that it has made tokens of have a weight a token."""

import copy
from typing import TYPE_CHECKING, Any

from accelerate.logging import get_logger
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import SFTTrainer, pack_dataset

from ..errors import UsageError
from ..io.weights import LOSS_WEIGHT, MESSAGE_WEIGHTS
from .assistant_masks import check_assistant_masks
from .token_weights import EMPTIED, TokenWeights, WeightedLabels, with_message_weights

if TYPE_CHECKING:  # super() is a Trainer, since the mixin is combined with a Trainer class
    from trl import SFTTrainer as _Trainer
else:
    _Trainer = object

logger = get_logger(__name__)

_PACKED = ("input_ids", "labels", LOSS_WEIGHT)


class WeighingMixin(_Trainer):
    """Gives prepared rows their weights; acts in an ``SFTTrainer`` alone."""

    def _prepare_dataset(
        self,
        dataset: Any,
        processing_class: Any,
        args: Any,
        packing: bool,
        formatting_func: Any,
        dataset_name: str,
    ) -> Any:
        """Prepare rows as TRL does; those with weights have ``LOSS_WEIGHT`` and labels.

        TRL first makes tokens of whole rows, since messages are found in these, then cuts them.

        Raises:
            UsageError: A weight cannot be read, the tokens of a message cannot be told, or others
                than the assistant's would be trained.
        """
        prepare = super()._prepare_dataset
        is_dataset = isinstance(dataset, Dataset)
        where = f"the {dataset_name} data"
        if vars(args).get("assistant_only_loss"):
            tokenizer = tokenizer_of(processing_class)
            template = self._template(processing_class)
            dataset = check_assistant_masks(dataset, where, tokenizer, template)
        weighted = with_message_weights(dataset, where)
        is_packed_later = packing and is_dataset and "input_ids" in dataset.column_names
        if weighted is None or is_packed_later:
            if is_dataset and not is_packed_later and LOSS_WEIGHT in dataset.column_names:
                dataset = dataset.remove_columns(LOSS_WEIGHT)  # all weights are 1
            return prepare(dataset, processing_class, args, packing, formatting_func, dataset_name)
        if packing and not {LOSS_WEIGHT, MESSAGE_WEIGHTS} & set(next(iter(weighted))):
            weighted = weighted.map(_without_weights, with_indices=True)
            return prepare(weighted, processing_class, args, packing, formatting_func, dataset_name)
        rows = prepare(
            weighted, processing_class, uncut(args), False, formatting_func, dataset_name
        )
        tokenizer, template = tokenizer_of(processing_class), self._template(processing_class)
        weigh = TokenWeights(where, tokenizer, template, fills=is_dataset)
        in_processes = {"num_proc": args.dataset_num_proc} if is_dataset else {}
        rows = _plain(rows).map(weigh, with_indices=True, **_dropped(rows), **in_processes)
        if not packing:
            cut = copy.copy(args)
            vars(cut).update(use_liger_kernel=False)
            rows = prepare(rows, processing_class, cut, False, None, dataset_name)
        label = WeightedLabels(
            keep_end=vars(args).get("truncation_mode") == "keep_end",
            completion_only=vars(args).get("completion_only_loss") is not False,
            tells=is_dataset,
        )
        rows = _plain(rows).map(label, **in_processes)
        rows = _counted(rows, dataset_name) if is_dataset else rows
        return _packed(rows, args) if packing else rows

    def _template(self, processing_class: Any) -> str | None:
        """The chat template in force; newer TRL has some of its own that mark the answers."""
        template: str | None = vars(self).get("chat_template") or processing_class.chat_template
        return template


def uncut(args: Any) -> Any:
    """The training arguments under which TRL makes tokens of rows, and does no more to them.

    Args:
        args: TRL's training arguments; they stay as they are.
    """
    whole = copy.copy(args)
    # All that TRL does to rows that it does not pack, and to columns.
    vars(whole).update(max_length=None, shuffle_dataset=False, use_liger_kernel=False)
    return whole


class WeighedTrainer(WeighingMixin, SFTTrainer):
    """TRL's trainer, whose prepared rows have weights."""


def tokenizer_of(processing_class: Any) -> PreTrainedTokenizerBase:
    """The tokenizer of a processing class, which may be one itself."""
    if isinstance(processing_class, PreTrainedTokenizerBase):
        return processing_class
    tokenizer: PreTrainedTokenizerBase = processing_class.tokenizer
    return tokenizer


def _plain(rows: Any) -> Any:
    """Rows without the transform that older TRL reads them through; a stream as it is."""
    return rows.with_format(None) if isinstance(rows, Dataset) else rows


def _dropped(rows: Any) -> dict[str, list[str]]:
    """Which columns of a data set go when weights are made, since they change their type."""
    if not isinstance(rows, Dataset):
        return {}
    return {"remove_columns": [n for n in (LOSS_WEIGHT, MESSAGE_WEIGHTS) if n in rows.column_names]}


def _counted(rows: Dataset, name: str) -> Dataset:
    """The rows without ``EMPTIED``, of which the log says in how many nothing is left."""
    emptied = sum(rows[EMPTIED])
    if emptied:
        logger.warning(
            f"{emptied:,} of {len(rows):,} {name} samples have weight 0 in all that would be "
            "trained, and are out of the loss"
        )
    return rows.remove_columns(EMPTIED)


def _without_weights(row: dict[str, Any], index: int) -> dict[str, Any]:
    """A row of a stream, which must have no weight.

    Raises:
        UsageError: It has one.
    """
    if row.get(MESSAGE_WEIGHTS) is not None:
        raise UsageError(
            f"row {index + 1} of the stream has a weight, and the first row has none: with packing "
            "put a row with a weight other than 1 first, or leave out dataset_streaming"
        )
    return row


def _packed(rows: Any, args: Any) -> Any:
    """Rows packed as TRL does, which keeps no column but two."""
    rows = rows.map(_with_ones).select_columns(list(_PACKED))
    if vars(args).get("shuffle_dataset"):
        rows = rows.shuffle(seed=args.seed)
    return pack_dataset(rows, args.max_length, args.packing_strategy, {})


def _with_ones(row: dict[str, Any]) -> dict[str, Any]:
    """The three columns of a row, whose weights are 1 if it has none."""
    ids = row["input_ids"]
    weights = row.get(LOSS_WEIGHT)
    labels = row.get("labels")
    return {
        LOSS_WEIGHT: [1.0] * len(ids) if weights is None else weights,
        "labels": ids if labels is None else labels,
    }
