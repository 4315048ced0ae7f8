"""A name for every sample, so that a decision can be traced back to the user's data."""

import json
from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset as TorchIterableDataset

from ..errors import UsageError
from .example import SAMPLE_ID

_NAMES = (SAMPLE_ID, "id")


def with_sample_ids(dataset: Any) -> Any:
    """The data set with a ``sample_id`` for each row.

    The id is the first of these that is there and neither null nor empty: the ``sample_id`` column,
    the ``id`` column, the row's number. Ids are set before rows are shuffled or dropped. Packed
    rows that have a list of their samples' names keep it. A stream has no row
    numbers, since its order changes with epochs, workers and shards: there a row without an id is
    named after its content. A torch iterable data set is left as it is; its samples are named after
    their tokens.

    Raises:
        UsageError: A row of a stream has neither an id nor content that can be named.
    """
    from datasets import Dataset, IterableDataset, LargeList, List

    if isinstance(dataset, Dataset):
        if isinstance(dataset.features.get(SAMPLE_ID), List | LargeList):
            return dataset
        rows = dataset.with_format(None)
        ids = {name: rows[name] for name in _NAMES if name in rows.column_names}
        names = row_names(ids, range(len(rows)))
        if SAMPLE_ID not in ids:
            return dataset.add_column(SAMPLE_ID, names)
        if list(ids[SAMPLE_ID]) == names:
            return dataset
        return dataset.remove_columns(SAMPLE_ID).add_column(SAMPLE_ID, names)
    if isinstance(dataset, IterableDataset):
        return dataset.map(_name_streamed_row)
    if isinstance(dataset, TorchDataset) and not isinstance(dataset, TorchIterableDataset):
        return NamedRows(dataset)
    return dataset


def sample_names(dataset: Any) -> list[str]:
    """The names of all samples, those of packed rows one after the other.

    Args:
        dataset: A ``datasets.Dataset`` with a ``sample_id`` column.
    """
    names = dataset.with_format(None)[SAMPLE_ID]
    return [one for name in names for one in (name if isinstance(name, list) else [name])]


def row_names(ids: Mapping[str, Sequence[Any]], numbers: Sequence[int]) -> list[str]:
    """The name of each row: its ``sample_id``, else its ``id``, else its number.

    Null and empty text are no names.

    Args:
        ids: The columns of these names that the data have.
        numbers: Number of each row.
    """
    columns = [ids[name] for name in _NAMES if name in ids]
    rows = zip(*columns, numbers, strict=True)
    return [str(next(value for value in row if _is_name(value))) for row in rows]


def _is_name(value: Any) -> bool:
    """Whether a value names a row; those without a name must not share an empty one."""
    return value is not None and not (isinstance(value, str) and not value)


def take_name(example: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """An example from ``Labels.of`` without its ``sample_id``, and the name of the sample.

    A sample of a torch stream, or of a packed one, has no id and is named after its tokens.
    """
    rest = {key: value for key, value in example.items() if key != SAMPLE_ID}
    name = example.get(SAMPLE_ID)
    if name is None:
        name = content_name({key: rest[key] for key in ("input_ids", "labels")})
    return rest, str(name)


def content_name(row: Mapping[str, Any]) -> str:
    """A name that rows of equal content share, in any order and on any machine.

    Args:
        row: Text, numbers, bytes, arrays, images, and lists and dictionaries of these.

    Returns:
        24 hexadecimal digits.

    Raises:
        UsageError: A value is of another type.
    """
    content = json.dumps(row, default=_plain, sort_keys=True)
    return blake2b(content.encode(), digest_size=12).hexdigest()


def _plain(value: Any) -> Any:
    """A value that JSON lacks, as one that it has."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, date | time | timedelta | Decimal):
        return str(value)
    array = np.asarray(value)  # of numpy, or an image
    if array.dtype == object:
        raise UsageError(
            f"rows of a stream are named after their content, and {type(value).__name__} cannot "
            "be read: give the rows an id column"
        )
    return array.tolist() if array.dtype.kind in "biuf" else str(array)


def _name_streamed_row(row: Mapping[str, Any]) -> dict[str, str]:
    """The ``sample_id`` column of a row whose number is not known."""
    name = _own_name(row)
    return {SAMPLE_ID: content_name(row) if name is None else name}


def _own_name(row: Mapping[str, Any]) -> str | None:
    """The id that a row brings; None if it has none."""
    name = next((row[key] for key in _NAMES if _is_name(row.get(key))), None)
    return None if name is None else str(name.item() if isinstance(name, Tensor) else name)


class NamedRows(TorchDataset[dict[str, Any]]):
    """A map-style torch data set with a ``sample_id`` in each row, and all attributes it had."""

    def __init__(self, dataset: Any) -> None:
        """Wrap the data set."""
        self._dataset = dataset

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._dataset)

    def __getattr__(self, name: str) -> Any:
        """An attribute of the data set itself, such as the lengths that some trainers group by."""
        # Names of Python's own protocols change what a loader or a pickle does with the rows, so
        # they must be this class'; and before the data set is there, there is nothing to ask.
        if name.startswith("__") or "_dataset" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._dataset, name)

    def __getitem__(self, number: Any) -> Any:
        """The row with its ``sample_id``; what is asked for by name, as the data set has it."""
        if isinstance(number, str):
            return self._dataset[number]
        row = dict(self._dataset[number])
        name = _own_name(row)
        return {**row, SAMPLE_ID: str(number) if name is None else name}
