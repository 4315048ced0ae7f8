import gzip
import json
from pathlib import Path

import datasets
import pytest
from datasets import Dataset, DatasetDict

from qtuning.io.files import is_local, kind_of_file

from .loading import load, refusal, write

ROWS = [{"prompt": f"p{i}", "completion": f"c{i}", "id": i} for i in range(10)]
LINES = [json.dumps(row) for row in ROWS]


@pytest.fixture
def jsonl(tmp_path: Path) -> Path:
    return write(tmp_path / "data.jsonl", "\n".join(LINES))


def test_reads_every_kind_of_file(jsonl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = jsonl.parent
    rows = Dataset.from_list(ROWS)
    rows.to_csv(folder / "data.csv")
    rows.to_csv(folder / "data.tsv", sep="\t")
    rows.to_parquet(folder / "data.parquet")
    files = [
        jsonl,
        folder / "data.csv",
        folder / "data.tsv",
        folder / "data.parquet",
        write(folder / "DATA.JSONL", "\n".join(LINES)),
        write(folder / "data.ndjson", "\n".join(LINES)),
        write(folder / "a[1]*.jsonl", "\n".join(LINES)),
        write(folder / "data.json", json.dumps(ROWS)),
        write(folder / "lines.json", "\n".join(LINES)),
        write(folder / "pretty.json", json.dumps(ROWS, indent=1)),
        write(folder / "data.jsonl.gz", gzip.compress("\n".join(LINES).encode())),
        write(folder / "data.csv.gz", gzip.compress((folder / "data.csv").read_bytes())),
    ]
    for file in files:
        train, test = load(file)
        cells = [{**row, "id": str(row["id"])} for row in ROWS]
        assert train.to_list() == (cells if kind_of_file(file) == "csv" else ROWS), file
        assert test is None
    monkeypatch.setenv("HOME", str(folder))
    assert len(load("~/data.jsonl")[0]) == 10


@pytest.mark.parametrize(
    ("split", "ids"),
    [
        ("train[:3]", [0, 1, 2]),
        ("train[8:300]", [8, 9]),
        ("train[-1:]", [9]),
        ("train[:20%]", [0, 1]),
        ("train[:1]+train[4:5]", [0, 4]),
    ],
)
def test_slices_of_a_file(jsonl: Path, split: str, ids: list[int]) -> None:
    assert load(jsonl, train_split=split)[0]["id"] == ids


def test_one_file_can_give_both_splits(jsonl: Path) -> None:
    train, test = load(jsonl, True, train_split="train[:7]", test_split="train[7:]")
    assert (train["id"], test["id"]) == (list(range(7)), [7, 8, 9])


def test_saved_to_disk(tmp_path: Path) -> None:
    rows = Dataset.from_list(ROWS)
    rows.save_to_disk(tmp_path / "one")
    DatasetDict(train=rows, val=rows.select([3])).save_to_disk(tmp_path / "two")
    assert load(tmp_path / "one", train_split="train[:2]")[0]["id"] == [0, 1]
    train, test = load(tmp_path / "two", True, test_split="val")
    assert (len(train), test["id"]) == (10, [3])
    assert [row["id"] for row in load(tmp_path / "one", streaming=True)[0]] == list(range(10))


def test_folder_of_files(tmp_path: Path) -> None:
    write(tmp_path / "d" / "train.jsonl", "\n".join(LINES))
    write(tmp_path / "d" / "test.jsonl", LINES[5])
    train, test = load(tmp_path / "d", True, train_split="train[:4]")
    assert (len(train), test["id"]) == (4, [5])


def test_streaming(jsonl: Path) -> None:
    train, _ = load(jsonl, streaming=True)
    assert isinstance(train, datasets.IterableDataset)
    assert list(train) == ROWS
    message = refusal(jsonl, streaming=True, train_split="train[:3]")
    assert "train[:3]" in message
    assert "--dataset_streaming" in message
    assert "found: train" in refusal(jsonl, streaming=True, train_split="dev")


def test_what_is_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert all(map(is_local, ["./x", "/x", "~/x", "x.jsonl", "x.parquet", "folder"]))
    assert not any(map(is_local, ["org/name", "name", "org/name-v1.5"]))


@pytest.mark.parametrize("name", ["missing.jsonl", "./missing", "~/missing"])
def test_missing_path(name: str) -> None:
    assert refusal(name) == f"--dataset_name {name}: no such file or folder"


@pytest.mark.parametrize("streaming", [False, True])
def test_hub_that_cannot_be_reached(streaming: bool) -> None:
    message = refusal("org/nosuch", streaming=streaming)
    assert message.startswith("org/nosuch: cannot be loaded (Couldn't reach 'org/nosuch'")
    assert "check the name and the connection" in message


def test_no_name_and_other_kinds_of_file(tmp_path: Path, jsonl: Path) -> None:
    assert "--dataset_name" in refusal(None)
    message = refusal(write(tmp_path / "data.docx", "x"))
    assert "data.docx" in message
    assert ".jsonl" in message
    assert "--dataset_config main" in refusal(jsonl, config="main")


def test_splits_that_are_not_there(jsonl: Path) -> None:
    message = refusal(jsonl, train_split="dev[:3]")
    assert message.startswith("--dataset_train_split dev[:3]: ")
    assert "found: train" in message
    assert "--dataset_train_split train[x]" in refusal(jsonl, train_split="train[x]")
    assert refusal(jsonl, train_split="train[20:]").startswith(f"{jsonl} [train[20:]]: no rows")
    message = refusal(jsonl, with_test=True)
    assert message.startswith("--dataset_test_split test: ")
    assert "found: train" in message
    assert "name one with --dataset_test_split or turn --eval_strategy off" in message


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([LINES[0], '{"prompt": ', LINES[1]], "line 2: Expecting value at column"),
        ([*LINES[:2], '{"prompt": "a", "comp'], "line 3: Unterminated string"),
        ([LINES[0], "", '{"prompt"}'], "line 3: Expecting ':'"),
        ([LINES[0], "[1, 2]"], "line 2: [1, 2] is not a JSON object"),
        (["3", LINES[0]], "line 1: 3 is not a JSON object"),
        (['{"prompt": "caf\udce9"}', LINES[0]], "line 1: not UTF-8"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_malformed_jsonl(tmp_path: Path, lines: list[str], said: str, streaming: bool) -> None:
    content = "\n".join(lines).encode(errors="surrogateescape")
    for file in (
        write(tmp_path / "bad.jsonl", content),
        write(tmp_path / "bad.jsonl.gz", gzip.compress(content, mtime=0)),
    ):
        assert refusal(file, streaming=streaming).startswith(f"{file}, {said}")


def test_folders_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    assert "any data files); check" in refusal(tmp_path / "d")
    write(tmp_path / "d" / "a.jsonl", LINES[0])
    bad = write(tmp_path / "d" / "b.jsonl", LINES[0] + "\n{")
    assert refusal(tmp_path / "d").startswith(f"{bad}, line 2: ")


def test_malformed_json(tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.json", '[{"a": 1},\n{"a":}]')
    assert refusal(bad).startswith(f"{bad}, line 2: Expecting value at column 6")
    bad = write(tmp_path / "bad2.json", '[{"a": 1}, 3]')
    assert refusal(bad) == f"{bad}, entry 2: 3 is not a JSON object; mend it"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", ""),
        ("blank.jsonl", "\n\n"),
        ("objects.jsonl", "{}\n"),
        ("header.csv", "prompt,completion\n"),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0)),
        ("a.json", "[]"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_no_rows(tmp_path: Path, name: str, content: str | bytes, streaming: bool) -> None:
    file = write(tmp_path / name, content)
    message = refusal(file, streaming=streaming)
    assert message.startswith(str(file))
    assert "no rows" in message or "is empty" in message


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.parquet", "no parquet", "Parquet"),
        ("a.jsonl.gz", "no gzip", "gzip"),
        ("b.jsonl.gz", gzip.compress(b"{}" * 99, mtime=0)[:-20], "end-of-stream"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(
    tmp_path: Path, name: str, content: str | bytes, said: str
) -> None:
    file = write(tmp_path / name, content)
    message = refusal(file)
    assert message.startswith(f"{file}: cannot be read")
    assert said in message


def test_permission_denied(jsonl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", deny)  # to root nothing is denied
    assert refusal(jsonl) == f"{jsonl}: permission denied; make it readable"


def test_unknown_columns(tmp_path: Path) -> None:
    message = refusal(write(tmp_path / "a.jsonl", '{"question": "a", "answer": "b"}'))
    assert "a.jsonl [train]: no column to train on among question, answer" in message
