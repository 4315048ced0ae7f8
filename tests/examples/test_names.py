"""Every sample has a name that leads back to the user's data."""

import pytest
import torch
from datasets import Dataset, IterableDataset
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset as TorchIterableDataset

from qtuning.examples.names import with_sample_ids

COLUMNS = {
    "the row's number": ({"x": [7, 8]}, ["0", "1"]),
    "id": ({"x": [7, 8], "id": ["u", "v"]}, ["u", "v"]),
    "id, a number": ({"x": [7, 8], "id": [30, 40]}, ["30", "40"]),
    "sample_id": ({"x": [7, 8], "id": ["u", "v"], "sample_id": ["p", "q"]}, ["p", "q"]),
}
columns = pytest.mark.parametrize(("data", "names"), COLUMNS.values(), ids=COLUMNS)


class Rows(TorchDataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


def ids(dataset) -> list[str]:
    return [dataset[i]["sample_id"] for i in range(len(dataset))]


@columns
def test_rows_of_a_data_set_are_named_and_otherwise_unchanged(data, names):
    dataset = Dataset.from_dict(data)
    named = with_sample_ids(dataset)
    assert ids(named) == names
    kept = [column for column in dataset.column_names if column != "sample_id"]
    assert named.select_columns(kept)[:] == dataset.select_columns(kept)[:]


@columns
def test_rows_of_a_stream_are_named_alike(data, names):
    stream = with_sample_ids(Dataset.from_dict(data).to_iterable_dataset())
    assert isinstance(stream, IterableDataset)
    assert [row["sample_id"] for row in stream] == names
    assert [row["x"] for row in stream] == data["x"]


@columns
def test_rows_of_a_torch_data_set_are_named_alike(data, names):
    rows = Dataset.from_dict(data).to_list()
    named = with_sample_ids(Rows(rows))
    assert len(named) == 2
    assert ids(named) == names
    assert "sample_id" not in rows[0] or names == ["p", "q"], "the user's rows are not changed"
    loader = DataLoader(named, batch_size=2, collate_fn=list, num_workers=0)
    assert [row["sample_id"] for row in next(iter(loader))] == names


def test_names_follow_the_rows_when_these_are_shuffled_and_dropped_later():
    named = with_sample_ids(Dataset.from_dict({"x": list(range(20))}))
    moved = named.shuffle(seed=1).filter(lambda row: row["x"] % 3 == 0)
    assert moved["sample_id"][:] == [str(x) for x in moved["x"]]
    assert moved["x"][:] != sorted(moved["x"])


def test_naming_twice_changes_nothing_and_no_rows_are_no_problem():
    named = with_sample_ids(Dataset.from_dict({"x": [7, 8]}))
    assert with_sample_ids(named)[:] == named[:]
    assert len(with_sample_ids(Dataset.from_dict({"x": []}))) == 0


def test_a_torch_stream_and_anything_else_is_left_as_it_is():
    class Stream(TorchIterableDataset):
        def __iter__(self):
            return iter([{"x": 1}])

    for given in (Stream(), [{"x": 1}], None):
        assert with_sample_ids(given) is given


@pytest.mark.parametrize("kind", ["data set", "stream", "torch data set"])
def test_an_id_that_is_a_tensor_is_named_by_its_value(kind):
    dataset = Dataset.from_dict({"id": [30]}).with_format("torch")
    if kind == "stream":
        dataset = dataset.to_iterable_dataset().with_format("torch")
    elif kind == "torch data set":
        dataset = Rows([{"id": torch.tensor(30)}])
    (row,) = list(with_sample_ids(dataset))[:1]
    assert row["sample_id"] == "30"
