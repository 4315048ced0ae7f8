"""Data to train on or to score: files that are not what they say, rows that cannot be used."""

import gzip
import json
import re

import pytest

from .. import tiny

GOOD = "".join(json.dumps(row) + "\n" for row in tiny.rows(6))


def with_row(**changes: object) -> str:
    return GOOD + json.dumps({**tiny.rows(1)[0], **changes}) + "\n"


FILES = {
    "empty": ("d.jsonl", "", "the file is empty"),
    "blank lines": ("d.jsonl", "\n\n\n", "no rows|cannot be read"),
    "UTF-16": ("d.jsonl", GOOD.encode("utf-16"), "not UTF-8"),
    "Latin-1": (
        "d.jsonl",
        GOOD.encode() + b'{"prompt": "\xe9", "completion": "a"}\n',
        "line 7",
    ),
    "NUL": ("d.jsonl", GOOD.encode() + b"\0\0\0\n", "line 7"),
    "no JSON": ("d.jsonl", GOOD + "prompt,completion\n", "line 7"),
    "an array a line": ("d.jsonl", GOOD + "[1, 2]\n", "line 7.*not a JSON object"),
    "an array of arrays": ("d.json", "[[1], [2]]", r"entry 1: \[1\] is not a JSON object"),
    "a number": ("d.json", "5", "."),
    "null": ("d.json", "null", "line 1: null is not a JSON object"),
    "null for a row": ("d.jsonl", GOOD + "null\n", "line 7: null is not a JSON object"),
    "half a character inside": (
        "d.jsonl",
        b'{"messages": [{"role": "\xffuser", "content": "a"}]}\n',
        "line 1: not UTF-8 .invalid start byte at byte 25",
    ),
    "null and more": ("d.jsonl", "nulll", "line 1: Extra data at column 5"),
    "null after a byte order mark": ("d.jsonl", b"\xef\xbb\xbf null", "line 1: null is not"),
    "null in an array": ("d.json", "[null]", "entry 1: null is not a JSON object"),
    "cut off JSON": ("d.json", '[{"prompt": "a", "completion": "b"}, {"pro', "line 1"),
    "deep JSON": ("d.jsonl", "[" * 100_000 + "\n", "line 1: nested"),
    "binary": ("d.jsonl", bytes(range(256)) * 50, "not UTF-8|line 1"),
    "PDF": ("d.csv", b"%PDF-1.7\n\xff\xfe\x00", "line 2: not UTF-8"),
    "ragged CSV": ("d.csv", "prompt,completion\na,b\nc,d,e,f\n", "line 3: 4 cells where .* 2;"),
    "a cell too many in the first row": (
        "d.csv",
        "prompt,completion\na,b,c\n",
        "line 2: 3 cells where the first line has 2; put quotes",
    ),
    "a cell too few": ("d.csv", "prompt,completion\na,b\nc\n", "line 3: 1 cells where"),
    "text behind a quote": ("d.csv", 'prompt,completion\na,"b" c\n', "line 2: ',' expected"),
    "a column twice": ("d.csv", "text,text\na,b\n", "several columns are called text"),
    "CSV without rows": ("d.csv", "prompt,completion\n", "no rows"),
    "quote that stays open": ("d.csv", 'prompt,completion\na,"b\nc,d\n', "line 3: unexpected end"),
    "no gzip": ("d.jsonl.gz", GOOD, "cannot be read|not UTF-8|line 1"),
    "cut off gzip": ("d.jsonl.gz", gzip.compress(GOOD.encode())[:-12], "cannot be read"),
    "text as Parquet": ("d.parquet", GOOD, "cannot be read"),
    "another kind": ("d.pkl", b"\x80\x04.", "not one of .jsonl"),
    "no known column": ("d.jsonl", '{"question": "a"}\n', "no column to train on"),
    "a number for a prompt": (
        "d.jsonl",
        '{"prompt": 1, "completion": "a"}\n',
        "row 1: prompt is",
    ),
    "null for a completion": ("d.jsonl", with_row(completion=None), "row 7: completion is empty"),
    "a list for text": ("d.jsonl", '{"text": ["a"]}\n', "row 1: text is a list"),
    "types that change": (
        "d.jsonl",
        with_row(completion={"a": 1}),
        "row 7: completion is an object, not text|completion mixes text with lists or objects",
    ),
    "no messages": ("d.jsonl", '{"messages": []}\n', "row 1: messages has no messages"),
    "text for messages": ("d.jsonl", '{"messages": "a"}\n', "not a list of messages"),
    "numbers for messages": ("d.jsonl", '{"messages": [1]}\n', "message 1 is a number"),
    "no role": ("d.jsonl", '{"messages": [{"content": "a"}]}\n', "message 1 has no role"),
    "no content": ("d.jsonl", '{"messages": [{"role": "user"}]}\n', "message 1 has no content"),
    "unknown speaker": (
        "d.jsonl",
        '{"conversations": [{"from": "cat", "value": "a"}]}\n',
        "is from 'cat'",
    ),
    "a speaker that is an object": (
        "d.jsonl",
        '{"conversations": [{"from": {"human": 1}, "value": "a"}]}\n',
        "message 1 has an object for its role",
    ),
    "a key twice": (
        "d.jsonl",
        '{"prompt": "a", "prompt": "b", "completion": "c"}\n',
        "line 1: the key 'prompt' is there twice",
    ),
    "half a character": (
        "d.jsonl",
        GOOD + '{"prompt": "\\ud800", "completion": "a"}\n',
        r"line 7: '\\ud800' is half of a character",
    ),
    "half a character in a turn": (
        "d.jsonl",
        '{"messages": [{"role": "user", "content": "\\udc00", "x": 1}, {"role": "user"}]}\n',
        r"line 1: '\\udc00' is half of a character",
    ),
    "deep": (
        "d.jsonl",
        GOOD + '{"prompt": "a", "completion": "b", "x": ' + "[" * 201 + "]" * 201 + "}\n",
        "line 7: nested more than 60 levels deep",
    ),
    "ids for tokens": ("d.jsonl", '{"input_ids": ["a"]}\n', "input_ids"),
    "ids that are none": ("d.jsonl", '{"input_ids": [5, 10000000]}\n', "input_ids"),
    "ids below zero": ("d.jsonl", '{"input_ids": [5, -1]}\n', "input_ids"),
    "labels that are no ids": (
        "d.jsonl",
        '{"input_ids": [5, 6], "labels": [5, 100]}\n',
        "labels has 100",
    ),
    "labels below zero": ("d.jsonl", '{"input_ids": [5, 6], "labels": [5, -7]}\n', "labels has -7"),
    "labels of another length": (
        "d.jsonl",
        '{"input_ids": [5, 6], "labels": [5]}\n',
        "labels",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_files(refuses_to_train, tmp_path, name) -> None:
    file, content, said = FILES[name]
    path = tmp_path / file
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    assert re.search(said, refuses_to_train("--max_steps", "1", dataset_name=path))


@pytest.mark.parametrize("name", ["UTF-16", "no JSON", "no known column", "NUL", "deep JSON"])
def test_scoring_says_the_same(refuses, model, tmp_path, name) -> None:
    file, content, said = FILES[name]
    path = tmp_path / file
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    flags = ["--model_name_or_path", model, "--dataset_name", path]
    assert re.search(
        said, refuses("score", *flags, "--output", tmp_path / "s.parquet", leaves=True)
    )


def test_paths_that_are_no_data(refuses_to_train, tmp_path) -> None:
    loop = tmp_path / "loop.jsonl"
    loop.symlink_to(loop)
    nowhere = tmp_path / "nowhere.jsonl"
    nowhere.symlink_to(tmp_path / "none")
    empty = tmp_path / "empty"
    empty.mkdir()
    for path in (loop, nowhere, empty, "/dev/null", "./x\0y.jsonl", "/" + "x" * 5000, "~nobody/x"):
        refuses_to_train(dataset_name=path)


def test_lines_of_ten_megabytes(refuses_to_train, tmp_path) -> None:
    path = tmp_path / "long.jsonl"
    long = "x" * 10_000_000
    path.write_text(json.dumps({"question": long}) + "\n")
    assert len(refuses_to_train(dataset_name=path)) < 1000
    path.write_text(json.dumps({long: "a"}) + "\n")
    assert len(refuses_to_train(dataset_name=path)) < 1000
    path.write_text(f'{{"prompt": "a", "completion": "{long}\n')
    assert "line 1" in refuses_to_train(dataset_name=path)
