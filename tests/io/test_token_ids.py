"""Rows that are tokenised already: lists of every kind, and what is refused of them."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, List, Value

from qtuning.io.token_ids import check_tokens

from .loading import load, refusal, write

ROWS = [
    {"input_ids": [5, 6, 7, 2], "labels": [-100, 6, 7, 2]},
    {"input_ids": [5, 8, 9, 2], "labels": [-100, -100, 9, 2]},
]
LISTS = {
    "list": pa.list_(pa.int64()),
    "small": pa.list_(pa.int16()),
    "large": pa.large_list(pa.int32()),
    "fixed": pa.list_(pa.int32(), 4),
}


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("streaming", [False, True])
def test_kinds_of_lists(tmp_path: Path, kind: str, streaming: bool) -> None:
    columns = {name: pa.array([row[name] for row in ROWS], LISTS[kind]) for name in ROWS[0]}
    table = pa.table(columns).append_column("id", [["a", "b"]])
    pq.write_table(table, tmp_path / "d.parquet")
    Dataset.from_parquet(str(tmp_path / "d.parquet")).save_to_disk(tmp_path / "saved")
    for name in ("d.parquet", "saved"):
        rows, _ = load(tmp_path / name, streaming=streaming)
        assert list(rows) == [{**row, "id": name} for row, name in zip(ROWS, "ab", strict=True)]
        # TRL cuts and packs no other lists.
        number = Value(str(LISTS[kind].value_type))
        assert [rows.features[name] for name in ROWS[0]] == [List(number)] * 2


def test_lists_of_a_fixed_size_in_memory() -> None:
    columns = {name: pa.array([row[name] for row in ROWS], LISTS["fixed"]) for name in ROWS[0]}
    check_tokens(Dataset(pa.table(columns)), "the data")


@pytest.mark.skipif(not hasattr(pa, "list_view"), reason="this pyarrow has no list views")
def test_list_views(tmp_path: Path) -> None:
    """Neither datasets nor the cast of pyarrow, which loses values beside nulls, reads them."""
    table = pa.table({"input_ids": pa.array([[5, 6]], pa.list_view(pa.int32()))})
    try:
        pq.write_table(table, tmp_path / "d.parquet")
    except pa.ArrowNotImplementedError:
        pytest.skip("this pyarrow does not write list views")
    assert "d.parquet: column input_ids is list_view<" in refusal(tmp_path / "d.parquet")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"input_ids": [5, -1], "labels": [5, -1]}, "input_ids has ids below 0"),
        ({"input_ids": [5, 6], "labels": [5]}, "labels has another length than input_ids"),
        ({"input_ids": [5, 6], "labels": None}, "labels is no list of integers"),
        ({"input_ids": None, "labels": [5]}, "input_ids is no list of integers"),
        ({"input_ids": [5, None], "labels": [5, 6]}, "input_ids is no list of integers"),
    ],
)
def test_rows_of_a_stream_are_checked_when_they_are_read(
    tmp_path: Path, bad: dict[str, Any], said: str
) -> None:
    rows = [*ROWS, bad]
    path = write(tmp_path / "d.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    stream = iter(load(path, streaming=True)[0])
    assert [next(stream), next(stream)] == ROWS
    with pytest.raises(ValueError, match=f"row 3: {said}; mend the row or leave it out"):
        next(stream)
    assert str(path) in refusal(path)
