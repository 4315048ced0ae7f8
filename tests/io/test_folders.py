"""Folders, patterns and files of several lists: which files are read, and their columns."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from .loading import load, refusal, rows_of, write

ROW = {"prompt": "a", "completion": "2020-01-01"}
LINE = json.dumps(ROW) + "\n"


def both(folder: Path | str, *, streaming: bool) -> tuple[list[Any], list[Any]]:
    train, test = load(folder, True, streaming=streaming)
    return list(train), list(test)


def test_hidden_files_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "d" / "train.jsonl", LINE * 4)
    write(tmp_path / "d" / "._train.jsonl", b"\0\5\x16\7\0\2\0\0Mac OS X        \xb0\1")
    write(tmp_path / "d" / ".ipynb_checkpoints" / "train-checkpoint.jsonl", "{")
    write(tmp_path / "d" / "__MACOSX" / "train.jsonl", "{")
    assert rows_of(tmp_path / "d") == [ROW] * 4
    assert rows_of(f"{tmp_path}/d/*.jsonl") == [ROW] * 4
    assert caplog.text == ""


def test_files_that_are_not_read_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "d" / "train.jsonl", LINE)
    write(tmp_path / "d" / "more.jsonl", LINE)
    write(tmp_path / "d" / "train.csv", "prompt,completion\n")
    write(tmp_path / "d" / "notes.txt", "")
    load(tmp_path / "d")
    assert f"{tmp_path / 'd'}: not read: more.jsonl, train.csv; files of one kind" in caplog.text
    caplog.clear()
    card = "---\nconfigs:\n- config_name: default\n  data_files: more.jsonl\n---\n"
    write(tmp_path / "d" / "README.md", card)
    assert len(load(tmp_path / "d")[0]) == 1
    assert caplog.text == "", "the card says what is to be read"


@pytest.mark.parametrize("streaming", [False, True])
def test_files_of_different_columns(tmp_path: Path, streaming: bool) -> None:
    write(tmp_path / "j" / "train.jsonl", LINE)
    write(tmp_path / "j" / "test.jsonl", json.dumps({**ROW, "level": 3, "tags": {"a": 1}}))
    write(tmp_path / "c" / "train.csv", "prompt,completion\na,2020-01-01\n")
    write(tmp_path / "c" / "test.csv", "level,completion,prompt\n3,2020-01-01,a\n")
    (tmp_path / "p").mkdir()
    pq.write_table(
        pa.table({"prompt": ["a"], "completion": ["2020-01-01"]}), tmp_path / "p/a.parquet"
    )
    extra = pa.table({"level": [3], "completion": ["2020-01-01"], "prompt": ["a"]})
    pq.write_table(extra, tmp_path / "p" / "b.parquet")
    level = {"level": None}
    assert both(tmp_path / "j", streaming=streaming) == (
        [{**ROW, **level, "tags": None}],
        [{**ROW, "level": 3, "tags": {"a": 1}}],
    )
    assert both(tmp_path / "c", streaming=streaming) == (
        [{**ROW, **level}],
        [{**ROW, "level": "3"}],
    )
    for name in (tmp_path / "p", f"{tmp_path}/p/?.parquet"):
        assert list(load(name, streaming=streaming)[0]) == [{**ROW, **level}, {**ROW, "level": 3}]


def test_parquet_files_whose_objects_differ(tmp_path: Path) -> None:
    say = [{"role": "user", "content": "a"}]
    call = [{"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}]
    for name, messages in (("a", say), ("b", call)):
        pq.write_table(
            pa.table({"messages": [messages]}), write(tmp_path / "d" / f"{name}.parquet", "")
        )
    assert rows_of(tmp_path / "d") == [
        {"messages": [{**say[0], "tool_calls": None}]},
        {"messages": call},
    ]


def test_types_that_do_not_fit_together(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    pq.write_table(pa.table({"prompt": ["a"], "completion": ["a"]}), tmp_path / "d/a.parquet")
    pq.write_table(pa.table({"prompt": ["a"], "completion": [1]}), tmp_path / "d/b.parquet")
    assert refusal(tmp_path / "d") == (
        f"{tmp_path}/d/b.parquet: column completion is of another type than in "
        f"{tmp_path}/d/a.parquet; write them alike, or name one file"
    )


def test_a_key_that_comes_late(tmp_path: Path) -> None:
    """The reader of datasets looks at ten megabytes."""
    lines = json.dumps({"prompt": "x" * 1000, "completion": "y"}) + "\n"
    late = {"prompt": "a", "completion": "b", "source": {"url": "c"}}
    path = write(tmp_path / "a.jsonl", lines * 11_000 + json.dumps(late))
    rows = rows_of(path)
    assert (len(rows), rows[0]["source"], rows[-1]) == (11_001, None, late)


def test_patterns(tmp_path: Path) -> None:
    for number in (2, 1):
        write(tmp_path / "d" / f"part-{number}.jsonl", json.dumps({"text": f"{number}"}))
    write(tmp_path / "d" / "other.csv", "text\nx\n")
    assert rows_of(f"{tmp_path}/d/part-*.jsonl") == [{"text": "1"}, {"text": "2"}]
    assert rows_of(f"{tmp_path}/**/part-[2-9].jsonl") == [{"text": "2"}]
    none = f"{tmp_path}/d/none-*.jsonl"
    assert refusal(none) == f"--dataset_name {none}: no such file or folder"
    assert refusal(f"{tmp_path}/d/*").endswith("files of several kinds; name those of one kind")


@pytest.mark.parametrize("key", ["train", "data"])
@pytest.mark.parametrize("indent", [None, 1])
def test_files_that_are_one_object(tmp_path: Path, key: str, indent: int | None) -> None:
    content = {"version": "1.0", key: [ROW, {**ROW, "id": 1}], "test": [{**ROW, "id": 2}]}
    path = write(tmp_path / "a.json", json.dumps(content, indent=indent))
    ids = [{**ROW, "id": None}, {**ROW, "id": 1}]
    assert rows_of(path) == ids
    assert rows_of(path, train_split="test") == [{**ROW, "id": 2}]
    bad = write(tmp_path / "b.json", json.dumps({key: [ROW], "test": [ROW, {"prompt": "\ud800"}]}))
    assert refusal(bad) == f"{bad}, entry 2: '\\ud800' is half of a character; mend it"


def test_an_object_that_is_a_row(tmp_path: Path) -> None:
    talk = {"messages": [{"role": "user", "content": "a"}]}
    assert rows_of(write(tmp_path / "a.json", json.dumps(talk, indent=1))) == [talk]
    assert rows_of(write(tmp_path / "b.json", '["a", "2020-01-01"]')) == [
        {"text": "a"},
        {"text": "2020-01-01"},
    ]


def test_options_of_a_card(tmp_path: Path) -> None:
    card = "---\nconfigs:\n- config_name: default\n  data_files: a.{}\n  {}\n---\n"
    for kind, option, text in (
        ("csv", 'sep: ";"', "prompt;completion\na;2020-01-01\n"),
        ("json", "field: rows", json.dumps({"rows": [ROW]})),
        ("csv", "skiprows: 1", "a comment\nprompt,completion\na,2020-01-01\n"),
    ):
        write(tmp_path / kind / f"a.{kind}", text)
        write(tmp_path / kind / "README.md", card.format(kind, option))
        assert rows_of(tmp_path / kind) == [ROW], option
