"""Checks of rows that are tokenised already: ids, and labels, masks and weights of their length."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Features, IterableDataset, LargeList, List
from torch import nn

from ..errors import UsageError
from .weights import LOSS_WEIGHT, token_weights

_OF_A_LENGTH = ("labels", "attention_mask", "completion_mask", "assistant_masks")


def read_tokens(data: Dataset | IterableDataset, where: str) -> Dataset | IterableDataset:
    """Rows whose ``input_ids``, labels and masks are plain lists, which is what TRL cuts and packs.

    Args:
        data: The rows; without ``input_ids`` they are returned as they are.
        where: The name of the data in messages.

    Returns:
        The rows. Those of a stream are checked as ``check_tokens`` does, each when it is read.
    """
    names = [name for name in ("input_ids", *_OF_A_LENGTH) if name in (data.column_names or ())]
    if "input_ids" not in names:
        return data
    features = Features({**(data.features or {})})
    plain = {
        name: List(features[name].feature)
        for name in (*names, LOSS_WEIGHT)
        if _is_special(features, name)
    }
    if plain:
        data = data.cast(Features({**features, **plain}))
    if isinstance(data, Dataset):
        return data
    check = _RowCheck(where, names)
    return data.map(check, with_indices=True, features=data.features)


def _is_special(features: Mapping[str, Any], name: str) -> bool:
    """Whether a column has lists of a fixed size, or large ones."""
    kind = features.get(name)
    return isinstance(kind, LargeList) or (isinstance(kind, List) and kind.length >= 0)


class _RowCheck:
    """Checks the rows of a stream one by one."""

    def __init__(self, where: str, names: list[str]) -> None:
        self._where, self._names = where, names

    def __call__(self, row: Mapping[str, Any], index: int) -> Mapping[str, Any]:
        """The row, checked.

        Raises:
            UsageError: As in ``check_tokens``.
        """
        problem = self._problem(row)
        if problem is not None:
            raise UsageError(
                f"{self._where}, row {index + 1}: {problem}; mend the row or leave it out"
            )
        return row

    def _problem(self, row: Mapping[str, Any]) -> str | None:
        for name in self._names:
            values = row[name]
            if not isinstance(values, list) or not all(type(one) is int for one in values):
                return f"{name} is no list of integers"
            if len(values) != len(row["input_ids"]):
                return f"{name} has another length than input_ids"
        if min(row["input_ids"], default=0) < 0:
            return "input_ids has ids below 0"
        return _wrong_weight(row.get(LOSS_WEIGHT), len(row["input_ids"]))


def check_tokens(data: Dataset | IterableDataset, where: str) -> None:
    """Check that ``input_ids`` are token ids, and labels and masks as long.

    Streams pass; their rows are checked as they are read, see ``read_tokens``.

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
    if LOSS_WEIGHT in data.column_names:
        lengths = pc.list_value_length(table["input_ids"]).to_pylist()
        _check_weights(data.with_format(None)[LOSS_WEIGHT], lengths, where)


def _check_weights(values: Sequence[Any], lengths: Sequence[int], where: str) -> None:
    """Check the weights of rows of tokens.

    Raises:
        UsageError: A row's weights are no finite numbers of at least 0, or not one a token; or
            those of all rows are 0.
    """
    heaviest = 0.0
    for index, (value, length) in enumerate(zip(values, lengths, strict=True)):
        problem = _wrong_weight(value, length)
        if problem is not None:
            raise UsageError(f"{where}, row {index + 1}: {problem}; mend the row or leave it out")
        heaviest = max([heaviest, *token_weights(value, length)])
    if heaviest == 0:
        raise UsageError(f"{where}: all tokens have weight 0; give some more")


def _wrong_weight(value: object, length: int) -> str | None:
    """What is wrong with the weights of a row of tokens; None for nothing."""
    try:
        token_weights(value, length)
    except ValueError as error:
        return f"{LOSS_WEIGHT} {error}"
    return None


def check_vocabulary(data: Dataset | IterableDataset, size: int, where: str) -> None:
    """Check that all ids of tokenised rows are in the vocabulary.

    Streams pass; their samples are checked as they come, by ``Labels.of``.

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
            raise outside_vocabulary(where, name, bad_ids[0], size)


def outside_vocabulary(where: str, name: str, token_id: int, size: int) -> UsageError:
    """The error of a token id that a model has no embedding for.

    Args:
        where: The name of the data or the sample.
        name: The column of the id.
        token_id: The id.
        size: Number of token ids of the model.
    """
    return UsageError(
        f"{where}: {name} has {token_id}, and the model has {size:,} tokens: use the model's own "
        "tokenizer, or resize its embeddings (resize_token_embeddings) and save it"
    )


def vocabulary_of(model: Any) -> int:
    """Number of token ids that a model has embeddings for, also under an adapter.

    Args:
        model: A model of transformers or peft.
    """
    for module in model.get_input_embeddings().modules():
        if isinstance(module, nn.Embedding):
            return module.num_embeddings
    size: int = model.config.get_text_config().vocab_size
    return size


def _is_list(kind: pa.DataType) -> bool:
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_kind(kind) for is_kind in kinds)
