"""A name for every sample, so that a decision can be traced back to the user's data."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset as TorchIterableDataset

from .example import SAMPLE_ID


def with_sample_ids(dataset: Any) -> Any:
    """The data set with a ``sample_id`` for each row.

    The id is the first of these that exists: the ``sample_id`` column, the ``id`` column, the row's
    number. Ids are set before rows are shuffled or dropped. A torch iterable data set is left as it
    is; its samples are named after their place in the run.
    """
    from datasets import Dataset, IterableDataset

    if isinstance(dataset, Dataset):
        if SAMPLE_ID in dataset.column_names:
            return dataset
        rows = dataset.with_format(None)
        ids = rows["id"] if "id" in rows.column_names else [None] * len(rows)
        names = [str(number if i is None else i) for number, i in enumerate(ids)]
        return dataset.add_column(SAMPLE_ID, names)
    if isinstance(dataset, IterableDataset):
        return dataset.map(_name_row, with_indices=True)
    if isinstance(dataset, TorchDataset) and not isinstance(dataset, TorchIterableDataset):
        return NamedRows(dataset)
    return dataset


def _name_row(row: Mapping[str, Any], number: int) -> dict[str, str]:
    """The ``sample_id`` column of a row."""
    candidates = (row.get(SAMPLE_ID), row.get("id"), number)
    name = next(value for value in candidates if value is not None)
    return {SAMPLE_ID: str(name.item() if isinstance(name, Tensor) else name)}


class NamedRows(TorchDataset[dict[str, Any]]):
    """A map-style torch data set with a ``sample_id`` in each row."""

    def __init__(self, dataset: Any) -> None:
        """Wrap the data set."""
        self._dataset = dataset

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._dataset)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """The row with its ``sample_id``."""
        row = dict(self._dataset[number])
        return {**row, **_name_row(row, number)}
