"""Mixtures of data sets: parts of all kinds, in one type each column."""

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from trl import DatasetMixtureConfig, ScriptArguments
from trl.scripts.utils import DatasetConfig

from qtuning.errors import UsageError
from qtuning.io.data import load_rows

from .loading import load_with, write

SAY = [{"role": "user", "content": "When?"}, {"role": "assistant", "content": "1969-07-20"}]
ARGUMENTS = {"city": "Oslo", "days": 2}
CALL = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": ARGUMENTS}}]},
]


def mixed(*parts: dict[str, Any], **options: Any) -> Any:
    mixture = DatasetMixtureConfig(datasets=[dict(part) for part in parts], **options)
    return load_rows(ScriptArguments(), mixture, "train")[0]


def refusal(*parts: dict[str, Any], **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        mixed(*parts, **options)
    return str(caught.value)


@pytest.fixture
def jsonl(tmp_path: Path) -> dict[str, Any]:
    rows = [{"prompt": f"p{i}", "completion": f"c{i}", "id": i} for i in range(10)]
    path = write(tmp_path / "data.jsonl", "\n".join(map(json.dumps, rows)))
    return {"path": "json", "data_files": str(path), "columns": ["prompt", "completion"]}


def test_rows_one_after_the_other_and_a_test_split(jsonl: dict[str, Any]) -> None:
    splits = []
    for _ in range(2):
        mixture = DatasetMixtureConfig(datasets=[jsonl, dict(jsonl)], test_split_size=0.25)
        train, test = load_with(ScriptArguments(), mixture, with_test=True)
        assert (len(train), len(test)) == (15, 5)
        prompts = [*train["prompt"], *test["prompt"]]
        assert sorted(prompts) == sorted([f"p{i}" for i in range(10)] * 2), "no row is in both"
        splits.append(train["prompt"])
    assert splits[0] == splits[1], "other processes, and the run when resumed, train on the same"
    assert mixed({**jsonl, "split": "train[:2]"}).to_list() == [
        {"prompt": "p0", "completion": "c0"},
        {"prompt": "p1", "completion": "c1"},
    ]
    assert list(mixed(jsonl, dict(jsonl), streaming=True))[10] == {
        "prompt": "p0",
        "completion": "c0",
    }


def test_messages_with_and_without_calls(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / "say.jsonl", json.dumps({"messages": SAY, "id": 1})),
        write(tmp_path / "call.jsonl", json.dumps({"messages": CALL, "id": "007"})),
    ]
    rows = mixed(*({"path": "json", "data_files": str(path)} for path in paths)).to_list()
    assert [row["id"] for row in rows] == ["1", "007"]
    call = rows[1]["messages"][1]
    assert call["tool_calls"][0]["function"]["arguments"] == ARGUMENTS
    if hasattr(datasets, "Json"):
        assert [row["messages"] for row in rows] == [SAY, CALL]


def test_nulls_of_parquet_do_not_become_the_users(tmp_path: Path) -> None:
    calls = [{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {"b": 2}}]
    turn = {"role": "assistant", "content": "", "tool_calls": calls}
    pq.write_table(pa.table({"messages": [[turn]]}), tmp_path / "a.parquet")
    say = write(tmp_path / "say.jsonl", json.dumps({"messages": SAY}))
    train, _ = load_with(
        ScriptArguments(),
        DatasetMixtureConfig(
            datasets=[{"path": str(tmp_path / "a.parquet")}, {"path": str(say)}]  # type: ignore[list-item]
        ),
        with_test=False,
    )
    read = [one["function"] for one in train[0]["messages"][0]["tool_calls"]]
    if hasattr(datasets, "Json"):
        assert read == calls
    assert train[1]["messages"][1]["content"] == "1969-07-20"


def test_a_single_column(tmp_path: Path) -> None:
    parts = [write(tmp_path / "a.csv", "text\n007\n"), write(tmp_path / "b.jsonl", '{"text": 7}')]
    assert mixed(*({"path": str(part)} for part in parts)).to_list() == [
        {"text": "007"},
        {"text": "7"},
    ]


def test_what_does_not_fit_together_is_named(tmp_path: Path, jsonl: dict[str, Any]) -> None:
    paths = [
        str(write(tmp_path / "say.jsonl", json.dumps({"messages": SAY}))),
        str(write(tmp_path / "call.jsonl", json.dumps({"messages": CALL}))),
    ]
    assert refusal(*({"path": path} for path in paths), streaming=True) == (
        f"datasets: column messages is of another type in {paths[1]} than in {paths[0]}: drop "
        "streaming, or leave it out by columns"
    )
    assert refusal({**jsonl, "columns": ["text"]}) == (
        "datasets, part 1: columns: no text in json, which has prompt, completion, id"
    )
    pq.write_table(pa.table({"id": pa.array([0], pa.date32())}), tmp_path / "dates.parquet")
    dates = {"path": str(tmp_path / "dates.parquet")}
    assert "column id is of another type in" in refusal({**jsonl, "columns": ["id"]}, dates)
    missing = {**jsonl, "data_files": "missing.jsonl"}
    assert "the mixture of datasets: cannot be loaded (Unable to find" in refusal(missing)


@pytest.mark.skipif(
    "fraction" not in DatasetConfig.__dataclass_fields__, reason="this TRL has no fractions"
)
def test_fractions(jsonl: dict[str, Any]) -> None:
    parts = [{**jsonl, "fraction": 3}, {**jsonl, "fraction": 1, "split": "train[:2]"}]
    assert mixed(*parts)["prompt"] == ["p0", "p1", "p2", "p3", "p4", "p5", "p0", "p1"]
    assert "fraction must be set for all parts" in refusal(parts[0], jsonl)
    assert "fraction: a stream" in refusal({**jsonl, "fraction": 1}, streaming=True)
