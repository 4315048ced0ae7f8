"""Values come out of a file as they stand in it, whatever they look like, streamed or not."""

import csv
import gzip
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtuning.errors import UsageError
from qtuning.io import file_rows
from qtuning.io.file_rows import FileRows, code_hash

from .loading import load, refusal, rows_of, write

needs_json = pytest.mark.skipif(
    not hasattr(datasets, "Json"), reason="this datasets has no columns of JSON objects"
)

DATES = ["1969-07-20", "2001-09-11T08:46:00Z", "2020-01-01 00:00:00", "1999-12-31 23:59:59.999"]
LOOKALIKES = [
    *DATES,
    "00501",
    "4",
    "1e5",
    "NA",
    "None",
    "null",
    "NaN",
    "true",
    "",
    " ",
    "[]",
    '"4"',
]
TALK = [
    [{"role": "user", "content": f"When {n}?"}, {"role": "assistant", "content": date}]
    for n, date in enumerate(DATES)
]
# What no file of text holds: halves of characters; NUL, at which some readers of CSV end.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def table(rows: list[dict[str, Any]], separator: str) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=separator, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def files(folder: Path, rows: list[dict[str, Any]]) -> list[Path]:
    """Rows of texts as files of every kind that can be read."""
    contents = {
        "a.jsonl": lines(rows),
        "a.json": json.dumps(rows),
        "indented.json": json.dumps(rows, indent=2),
        "a.csv": table(rows, ","),
        "a.tsv": table(rows, "\t"),
        "data.json": json.dumps({"version": "1.0", "data": rows}),
    }
    paths = [write(folder / name, text) for name, text in contents.items()]
    for path in paths[:2]:
        packed = gzip.compress(path.read_bytes(), mtime=0)
        paths.append(write(folder / f"{path.name}.gz", packed))
    pq.write_table(pa.Table.from_pylist(rows), folder / "a.parquet")
    return [*paths, folder / "a.parquet"]


def test_texts_that_look_like_something_else(tmp_path: Path) -> None:
    rows = [{"id": text, "prompt": text, "completion": text} for text in LOOKALIKES]
    for path in files(tmp_path, rows):
        assert rows_of(path) == rows, path
        assert load(path)[0].to_list() == rows, path


@given(
    st.lists(
        st.fixed_dictionaries(
            {name: TEXTS | st.sampled_from(LOOKALIKES) for name in ("prompt", "completion")}
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=12)
def test_texts_of_any_kind_in_files_of_any_kind(rows: list[dict[str, str]]) -> None:
    with TemporaryDirectory() as folder:
        for path in files(Path(folder), rows):
            assert rows_of(path) == rows, path


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz"])
@pytest.mark.parametrize("dates", [DATES[:1], DATES])
def test_dates_as_answers(tmp_path: Path, name: str, dates: list[str]) -> None:
    rows = [{"prompt": "When?", "completion": date} for date in dates]
    talks = [{"messages": TALK[n]} for n in range(len(dates))]
    for number, data in enumerate((rows, talks)):
        text = json.dumps(data) if name == "a.json" else lines(data)
        content = gzip.compress(text.encode(), mtime=0) if name.endswith("gz") else text
        path = write(tmp_path / f"{number}{name}", content)
        for streaming in (False, True):
            assert list(load(path, streaming=streaming)[0]) == data


def test_cells_of_csv_are_text(tmp_path: Path) -> None:
    cells = "id,prompt,completion\n7,Sodium?,NA\n007,x,None\n,y,null\n1e3,z,4\n9,w,\n10,v,00501\n"
    assert rows_of(write(tmp_path / "a.csv", cells)) == [
        {"id": "7", "prompt": "Sodium?", "completion": "NA"},
        {"id": "007", "prompt": "x", "completion": "None"},
        {"id": "", "prompt": "y", "completion": "null"},
        {"id": "1e3", "prompt": "z", "completion": "4"},
        {"id": "9", "prompt": "w", "completion": ""},
        {"id": "10", "prompt": "v", "completion": "00501"},
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_ends_of_lines_in_csv(tmp_path: Path, end: str) -> None:
    text = f'\ufeffprompt,completion{end}a,"b\r\nc\rd\ne"{end}{end},"say ""x"", y"{end}'
    assert rows_of(write(tmp_path / "a.csv", text)) == [
        {"prompt": "a", "completion": "b\r\nc\rd\ne"},
        {"prompt": "", "completion": 'say "x", y'},
    ]


def test_cells_of_any_length(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    long = "x" * 300_000
    assert rows_of(write(tmp_path / "a.csv", f"text\n{long}\n")) == [{"text": long}]
    assert csv.field_size_limit() == limit, "it is one of the process"


@pytest.mark.parametrize(
    ("values", "read"),
    [
        ([1, 2], [1, 2]),
        ([2**60, -(2**63)], [2**60, -(2**63)]),
        ([2**70, 1], [str(2**70), "1"]),
        ([1, 2.5], [1.0, 2.5]),
        ([True, None], [True, None]),
        ([7, "007", None], ["7", "007", None]),
        ([None, None], [None, None]),
        ([[1], [], None], [[1], [], None]),
        ([["a"], ["b", None]], [["a"], ["b", None]]),
        ([{"a": 1, "b": None}, {"a": 2, "b": None}], [{"a": 1, "b": None}, {"a": 2, "b": None}]),
    ],
)
def test_columns_of_one_type(tmp_path: Path, values: list[Any], read: list[Any]) -> None:
    path = write(tmp_path / "a.jsonl", lines([{"text": "x", "more": one} for one in values]))
    rows = [row["more"] for row in rows_of(path)]
    assert rows == read
    assert [type(one) for one in rows] == [type(one) for one in read]


@needs_json
@pytest.mark.parametrize(
    "values",
    [
        [{"a": 1}, {"b": 1}],
        [{"a": 1}, {"a": 1.0}],
        [{"a": 1}, {"a": None}, {}],
        [{"a": "2020-01-01"}, {"a": ["2020-01-01"]}],
        [[{"role": "user", "content": "4"}], [{"role": "user", "content": ["4"]}], None],
        [["a", {"type": "text"}], ["4"]],
        [{"a": {"deep": [{"x": 1}, {"y": 2**63}]}}],
    ],
)
def test_objects_come_out_as_they_are(tmp_path: Path, values: list[Any]) -> None:
    path = write(tmp_path / "a.jsonl", lines([{"text": "x", "more": one} for one in values]))
    rows = [row["more"] for row in rows_of(path)]
    assert json.dumps(rows) == json.dumps(values)  # in which 1 is not 1.0


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXTS | st.sampled_from(DATES),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@needs_json
@given(st.lists(st.dictionaries(st.sampled_from("abc"), VALUES), min_size=1, max_size=4))
@settings(max_examples=60)
def test_rows_of_objects_of_any_kind(messages: list[dict[str, Any]]) -> None:
    """As a conversation, whose messages may each have other keys, and other values in them."""
    with TemporaryDirectory() as folder:
        rows = [{"messages": messages[:n]} for n in range(1, len(messages) + 1)]
        path = write(Path(folder) / "a.jsonl", lines(rows))
        assert json.dumps(rows_of(path), sort_keys=True) == json.dumps(rows, sort_keys=True)


def test_objects_where_datasets_has_no_columns_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are filled up with nulls if their types allow it, else they are JSON text."""
    monkeypatch.delattr(datasets, "Json", raising=False)
    turns = [{"role": "user", "content": "4"}, {"role": "assistant", "calls": [{"x": "1"}]}]
    rows = [{"messages": turns, "more": {"a": 1}}, {"messages": turns[:1], "more": {"a": "1"}}]
    assert rows_of(write(tmp_path / "a.jsonl", lines(rows))) == [
        {
            "messages": [
                {"role": "user", "content": "4", "calls": None},
                {"role": "assistant", "content": None, "calls": [{"x": "1"}]},
            ][:n],
            "more": text,
        }
        for n, text in ((2, '{"a": 1}'), (1, '{"a": "1"}'))
    ]
    path = write(tmp_path / "b.jsonl", lines([{"text": "x"}, {"text": {"a": 1}}]))
    assert refusal(path) == (
        f"{path}: text mixes text with lists or objects, which needs datasets 4.7 or newer; write "
        "it alike"
    )


@needs_json
@pytest.mark.parametrize("streaming", [False, True])
def test_numbers_that_columns_of_objects_round_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, streaming: bool
) -> None:
    rows: list[dict[str, Any]] = [{"text": "x", "more": {"b": 0.5}}, {"text": "x", "more": {}}]
    path = write(tmp_path / "exact.jsonl", lines(rows))
    list(load(path, streaming=streaming)[0])
    assert "round" not in caplog.text
    rows[1]["more"] = {"a": 1.123456789012345}
    path = write(tmp_path / "rounded.jsonl", lines(rows))
    for _ in range(2):  # the second time from the cache
        caplog.clear()
        list(load(path, streaming=streaming)[0])
        assert f"{path}, line 2: more has a number that columns of JSON obj" in caplog.text


@needs_json
def test_numbers_too_large_for_objects(tmp_path: Path) -> None:
    rows = [{"text": "x", "more": {"a": 1}}, {"text": "x", "more": {"b": 2**64}}]
    path = write(tmp_path / "a.jsonl", lines(rows))
    for streaming in (False, True):
        said = f"{path}, line 2: more does not fit its column (a number has more than 64 bits)"
        with pytest.raises(UsageError) as caught:
            list(load(path, streaming=streaming)[0])
        assert str(caught.value) == f"{said}; mend it"


def test_streams_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of them not all rows are read before the first: types are those of the first rows."""
    monkeypatch.setattr(file_rows, "_ROWS_LOOKED_AT", 3)
    turns = [{"role": "user", "content": "2020-01-01"}]
    alike = [{"id": n, "messages": turns} for n in range(4)]
    for last in ({"id": 4, "messages": [{"role": "user", "content": "x", "more": 1}]}, {"id": 5}):
        stream = streamed(lines([*alike, last]))
        read = [{**row, "messages": objects(row["messages"])} for row in stream]
        assert read == [*alike, {"messages": None, **last}]
    with pytest.raises(
        UsageError, match=r"a\.jsonl, line 5: more is a column that the first 3 rows"
    ):
        list(streamed(lines([*alike, {"more": 1}])))
    with pytest.raises(UsageError, match=r"a\.jsonl, line 5: id does not fit its column"):
        list(streamed(lines([*alike, {"id": "007"}])))


def streamed(text: str) -> datasets.IterableDataset:
    """The rows of a file in another file system."""
    with fsspec.filesystem("memory").open("/a.jsonl", "wb") as file:
        file.write(text.encode())
    builder = FileRows(data_files={"train": ["memory://a.jsonl"]}, hash=code_hash())
    stream: datasets.IterableDataset = builder.as_streaming_dataset()["train"]
    return stream


def objects(value: Any) -> Any:
    """Objects, which are JSON text where datasets has no columns for them."""
    return json.loads(value) if isinstance(value, str) else value
