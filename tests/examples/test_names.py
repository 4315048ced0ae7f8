"""Every sample has a name that leads back to the user's data."""

import copy
import datetime
import json
import pickle

import numpy as np
import pytest
import torch
from datasets import Dataset, IterableDataset
from datasets.distributed import split_dataset_by_node
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset as TorchIterableDataset

from qtuning import UsageError
from qtuning.examples.names import content_name, sample_names, with_sample_ids

COLUMNS = {
    "the row's number": ({"x": [7, 8]}, ["0", "1"]),
    "id": ({"x": [7, 8], "id": ["u", "v"]}, ["u", "v"]),
    "id, a number": ({"x": [7, 8], "id": [30, 40]}, ["30", "40"]),
    "ids with gaps": ({"x": [7, 8], "id": ["u", None]}, ["u", "1"]),
    "sample_ids with gaps": (
        {"x": [7, 8], "id": ["u", None], "sample_id": [None, None]},
        ["u", "1"],
    ),
    "empty ids": ({"x": [7, 8], "id": ["", "v"], "sample_id": ["", ""]}, ["0", "v"]),
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
def test_rows_of_a_stream_are_named_by_their_ids_else_by_their_content(data, names):
    stream = with_sample_ids(Dataset.from_dict(data).to_iterable_dataset())
    assert isinstance(stream, IterableDataset)
    rows = Dataset.from_dict(data).to_list()
    named = [content_name(r) if n in "01" else n for r, n in zip(rows, names, strict=True)]
    assert [row["sample_id"] for row in stream] == named
    assert [row["x"] for row in stream] == data["x"]


def visits(stream, workers: int) -> list[tuple[str, str]]:
    loader = DataLoader(stream, batch_size=None, num_workers=workers)
    return [(row["sample_id"], row["text"]) for row in loader]


@pytest.mark.parametrize("with_ids", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_one_name_means_one_row_of_a_stream_in_every_order(workers, with_ids):
    """Epochs reshuffle, workers and ranks have their own shards; texts occur once."""
    rows = [{"text": f"row {i}", "id": i if i % 3 else None} for i in range(40)]
    if not with_ids:
        rows = [{"text": row["text"]} for row in rows]
    plain = Dataset.from_list(rows).to_iterable_dataset(num_shards=4)
    shuffled = plain.shuffle(seed=0, buffer_size=10)
    text_of: dict[str, str] = {}
    for stream in (
        with_sample_ids(plain),
        with_sample_ids(shuffled),
        *(with_sample_ids(plain).shard(num_shards=2, index=i) for i in range(2)),
        *(split_dataset_by_node(with_sample_ids(shuffled), i, 4) for i in range(4)),
    ):
        for epoch in range(2):
            stream.set_epoch(epoch)
            for name, text in visits(stream, workers):
                assert text_of.setdefault(name, text) == text
    assert sorted(text_of.values()) == sorted(row["text"] for row in rows)


plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text())
values = st.recursive(
    plain, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3)
)


@given(a=st.dictionaries(st.text(), values, max_size=4), b=st.dictionaries(st.text(), values))
def test_a_content_has_one_name_and_a_name_has_one_content(a, b):
    assert content_name(dict(reversed(a.items()))) == content_name(a)
    # JSON tells True from 1, and 1 from 1.0, which Python's == does not.
    assert (content_name(a) == content_name(b)) == (
        json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    )


def test_whatever_a_row_holds_has_a_name():
    held = {
        "bytes": b"a",
        "tensor": torch.ones(2),
        "array": np.ones(2),
        "number": np.int64(3),
        "day": datetime.date(2026, 1, 1),
        "moment": np.datetime64("2026-01-01T00:00"),
        "image": Image.new("RGB", (2, 2)),
    }
    names = {content_name({key: value}) for key, value in held.items()}
    assert len(names) == len(held)
    assert content_name({"image": Image.new("RGB", (2, 2), "red")}) not in names
    with pytest.raises(UsageError, match="give the rows an id column"):
        content_name({"x": object()})


@columns
def test_rows_of_a_torch_data_set_are_named_alike(data, names):
    rows = Dataset.from_dict(data).to_list()
    named = with_sample_ids(Rows(rows))
    assert len(named) == 2
    assert ids(named) == names
    assert rows == Dataset.from_dict(data).to_list(), "the user's rows are not changed"
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

    for one in (Stream(), [{"x": 1}], None):
        assert with_sample_ids(one) is one


@pytest.mark.parametrize("kind", ["data set", "stream", "torch data set"])
def test_an_id_that_is_a_tensor_is_named_by_its_value(kind):
    dataset = Dataset.from_dict({"id": [30]}).with_format("torch")
    if kind == "stream":
        dataset = dataset.to_iterable_dataset().with_format("torch")
    elif kind == "torch data set":
        dataset = Rows([{"id": torch.tensor(30)}])
    (row,) = list(with_sample_ids(dataset))[:1]
    assert row["sample_id"] == "30"


def test_packed_rows_keep_the_names_of_their_samples():
    rows = Dataset.from_dict({"input_ids": [[1, 2], [3]], "sample_id": [["a", "b"], ["c"]]})
    assert with_sample_ids(rows) is rows
    assert sample_names(rows) == ["a", "b", "c"]
    assert sample_names(with_sample_ids(rows.remove_columns("sample_id"))) == ["0", "1"]


class WithLengths(Rows):
    """A data set that a trainer asks for more than rows, as those of ms-swift."""

    lengths = (3, 1)

    def __getitem__(self, i):
        return self.lengths if i == "lengths" else self.rows[i]

    def __getitems__(self, places):
        raise AssertionError("the rows would have no names")


def test_other_data_sets_keep_their_attributes():
    named = with_sample_ids(WithLengths([{"x": 7}, {"x": 8, "id": "v"}]))
    assert named.lengths == named["lengths"] == (3, 1)
    assert named.rows is named._dataset.rows
    with pytest.raises(AttributeError, match="no attribute 'widths'"):
        _ = named.widths
    for copied in (copy.copy(named), pickle.loads(pickle.dumps(named))):
        assert ids(copied) == ["0", "v"]
    (batch,) = DataLoader(named, batch_size=2, collate_fn=list)
    assert [row["sample_id"] for row in batch] == ["0", "v"]
