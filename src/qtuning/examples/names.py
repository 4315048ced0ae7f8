"""A name for every sample, so that a decision can be traced back to the user's data."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset as TorchIterableDataset

from .example import SAMPLE_ID


def with_sample_ids(dataset: Any) -> Any:
    """The data set with a ``sample_id`` for each row.

    The first of these that there is: its ``sample_id`` column, its ``id`` column, the row's
    number. It is taken before anything shuffles or drops rows. A torch iterable data set is left
    as it is; its samples are named after their place in the run.
    """
    from datasets import Dataset, IterableDataset

    if isinstance(dataset, Dataset):
        if SAMPLE_ID in dataset.column_names:
            return dataset
        plain = dataset.with_format(None)
        ids = plain["id"] if "id" in plain.column_names else [None] * len(plain)
        names = [str(number if i is None else i) for number, i in enumerate(ids)]
        return dataset.add_column(SAMPLE_ID, names)
    if isinstance(dataset, IterableDataset):
        return dataset.map(_name_row, with_indices=True)
    if isinstance(dataset, TorchDataset) and not isinstance(dataset, TorchIterableDataset):
        return NamedRows(dataset)
    return dataset


def _name_row(row: Mapping[str, Any], number: int) -> dict[str, str]:
    found = (row.get(SAMPLE_ID), row.get("id"), number)
    name = next(value for value in found if value is not None)
    return {SAMPLE_ID: str(name.item() if isinstance(name, Tensor) else name)}


class NamedRows(TorchDataset[dict[str, Any]]):
    """A map-style torch data set whose rows know their number."""

    def __init__(self, dataset: Any) -> None:
        """Wrap the data set."""
        self._dataset = dataset

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._dataset)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """The row, named."""
        row = dict(self._dataset[number])
        return {**row, **_name_row(row, number)}
