"""Checks of rows that are tokenised already: valid ids, and labels and masks of their length."""

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, IterableDataset

from ..errors import UsageError

_OF_A_LENGTH = ("labels", "attention_mask", "completion_mask", "assistant_masks")


def check_tokens(data: Dataset | IterableDataset, where: str) -> None:
    """Check that ``input_ids`` are token ids, and labels and masks as long; streams pass unchecked.

    Raises:
        UsageError: A column is no list of integers, has nulls or another length than
            ``input_ids``, or an id is negative.
    """
    if not isinstance(data, Dataset):
        return
    table = data.with_format("arrow").select_columns(
        [name for name in ("input_ids", *_OF_A_LENGTH) if name in data.column_names]
    )[:]
    for name in table.column_names:
        kind = table[name].type
        if not _is_list(kind) or not pa.types.is_integer(kind.value_type):
            raise UsageError(f"{where}: {name} must be lists of integers, and is {kind}; mend it")
        if table[name].null_count or pc.list_flatten(table[name]).null_count:
            raise UsageError(f"{where}: {name} is empty in some rows; mend it")
        lengths = pc.list_value_length(table[name])
        if not lengths.equals(pc.list_value_length(table["input_ids"])):
            raise UsageError(f"{where}: {name} has another length than input_ids; mend it")
    if (pc.min(pc.list_flatten(table["input_ids"])).as_py() or 0) < 0:
        raise UsageError(f"{where}: input_ids has ids below 0; mend it")


def check_vocabulary(data: Dataset | IterableDataset, size: int, where: str) -> None:
    """Check that all ids of tokenised rows are in the vocabulary; streams pass unchecked.

    Args:
        data: The rows; without ``input_ids`` nothing is checked.
        size: Number of token ids of the model.
        where: The name of the data in messages.

    Raises:
        UsageError: An id of ``input_ids`` or ``labels`` is outside the vocabulary.
    """
    if not isinstance(data, Dataset) or "input_ids" not in data.column_names:
        return
    for name in ("input_ids", "labels"):
        if name not in data.column_names:
            continue
        ids = pc.list_flatten(data.with_format("arrow").select_columns([name])[:][name])
        ids = ids.filter(pc.not_equal(ids, -100))  # positions without a label
        extremes = pc.min_max(ids).as_py()
        bad_ids = [one for one in extremes.values() if one is not None and not 0 <= one < size]
        if bad_ids:
            raise UsageError(
                f"{where}: {name} has {bad_ids[0]}, and the model has {size:,} tokens: "
                "tokenise with its own tokenizer"
            )


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))
