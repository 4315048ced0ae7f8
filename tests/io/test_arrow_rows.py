"""Objects in tables: as structs, which Arrow fills up with nulls, and as text of the type JSON."""

import datasets
import pyarrow as pa
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from qtuning.errors import UsageError
from qtuning.io.arrow_rows import has_objects, holds_objects, json_array, rows_of, table_of

with_json = pytest.mark.skipif(not hasattr(datasets, "Json"), reason="no type Json in datasets")

# Keys that no row has are no part of a struct, and an empty object has no keys at all.
_VALUES = st.recursive(
    st.integers(-9, 9) | st.text("ab/é\"'", max_size=3) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner),
    max_leaves=6,
)
_ROWS = st.lists(st.fixed_dictionaries({"a": _VALUES.map(lambda v: [{"k": v}])}), min_size=1)


def test_nulls_that_structs_add_are_taken_out():
    rows = [
        {"a": [{"x": 1, "deep": {"s": "t"}}]},
        {"a": [{"y": [{"p": 1}, {"q": 2}]}]},
        {"a": None},
    ]
    assert list(rows_of(pa.Table.from_pylist(rows))) == rows


def test_columns_stay_where_they_are_null():
    table = pa.table({"a": pa.array([None], pa.struct([("x", pa.int64())])), "b": [None]})
    assert list(rows_of(table)) == [{"a": None, "b": None}]


@with_json
def test_json_comes_out_as_it_was_with_its_own_nulls():
    features = datasets.Features({"a": [{"x": datasets.Json(), "y": datasets.Value("string")}]})
    rows = [{"a": [{"x": {"k": None, "n": [1, "2"]}}]}, {"a": [{"x": {"other": 1}, "y": "t"}]}]
    table = Dataset.from_list(rows, features=features).with_format("arrow")[:]
    assert list(rows_of(table)) == rows
    again = table_of(rows, table.schema)
    assert again.schema == table.schema
    assert again.to_pylist() == table.to_pylist()


@with_json
@given(rows=_ROWS)
def test_rows_of_any_objects_come_back_and_have_one_type(rows):
    table = table_of(rows, None)
    assert table.schema.types == [pa.json_()]
    assert list(rows_of(table)) == rows
    assert list(Dataset(table)) == rows


def test_columns_without_objects_have_their_own_types():
    table = table_of([{"n": 1, "t": ["x"]}, {"n": 2, "s": "y"}], None)
    assert table.schema.types == [pa.int64(), pa.list_(pa.string()), pa.string()]
    assert table.to_pylist()[1] == {"n": 2, "t": None, "s": "y"}


def test_bytes_within_objects_stay_bytes():
    row = {"image": {"bytes": b"\xff", "path": None}}
    assert table_of([row], None).to_pylist() == [row]


def test_columns_that_mix_types_are_refused():
    with pytest.raises(UsageError, match="column a: its values differ in type"):
        table_of([{"a": 1}, {"a": "x"}], None)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (pa.string(), False),
        (pa.list_(pa.float32()), False),
        (pa.struct([("x", pa.int64())]), True),
        (pa.large_list(pa.list_(pa.struct([("x", pa.int64())]))), True),
        (json_array([{}]).type, hasattr(datasets, "Json")),
    ],
)
def test_which_types_hold_objects(kind, expected):
    assert holds_objects(kind) is expected


@pytest.mark.parametrize(
    ("value", "expected"), [({}, True), ([[{}]], True), ([1, "x"], False), ("{}", False)]
)
def test_which_values_have_objects(value, expected):
    assert has_objects(value) is expected
