"""Parquet files and saved data sets: score files, pruned data, ledgers, data."""

import json
import re
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from qtuning.errors import UsageError
from qtuning.io.tables import check_parquet, read_parquet
from qtuning.signals.score_store import ScoreStore

from .. import tiny
from .conftest import score_table


def column(name, values):
    """The scores with a column replaced, or without it."""
    table = score_table()
    if values is None:
        return table.drop_columns([name])
    place = table.column_names.index(name)
    return table.set_column(place, name, values)


TABLES = {
    "no sample_id": (column("sample_id", None), "no column sample_id"),
    "no ppl": (column("ppl", None), "no column ppl"),
    "no n_tokens": (column("n_tokens", None), "no column n_tokens"),
    "text for ppl": (column("ppl", pa.array(["x"] * 8)), "column ppl is not of its kind"),
    "a list for entropy": (column("entropy", pa.array([[0.1]] * 8)), "column entropy is not"),
    "half a token": (column("n_tokens", pa.array([1.5] * 8)), "column n_tokens is not of its"),
    "tokens below zero": (column("n_tokens", pa.array([-1] * 8)), "column n_tokens .*below 0"),
    "tokens not known": (column("n_tokens", pa.array([None] * 8, pa.int64())), "n_tokens .*empty"),
    "names not known": (column("sample_id", pa.array([None] * 8, pa.string())), "sample_id .*emp"),
    "text for token_nll": (column("token_nll", pa.array(["x"] * 8)), "token_nll is not of its"),
    "short token_nll": (
        column("token_nll", pa.array([[0.5]] * 8, pa.list_(pa.float32()))),
        "token_nll .*n_tokens",
    ),
    "token_nll not known": (
        column("token_nll", pa.array([None] * 8, pa.list_(pa.float32()))),
        "token_nll is empty",
    ),
    "text for turn_ends": (column("turn_ends", pa.array(["x"] * 8)), "turn_ends is not of its"),
    "turn_ends in halves": (column("turn_ends", pa.array([[0.5]] * 8)), "turn_ends is not of its"),
    "turn_ends not known": (
        column("turn_ends", pa.array([None] * 8, pa.list_(pa.int32()))),
        "turn_ends is empty",
    ),
    "a turn's end not known": (
        column("turn_ends", pa.array([[None]] * 8, pa.list_(pa.int32()))),
        "turn_ends names tokens",
    ),
    "a turn ends before": (column("turn_ends", pa.array([[-1]] * 8)), "turn_ends names tokens"),
    "a turn ends after": (column("turn_ends", pa.array([[4]] * 8)), "turn_ends names tokens"),
    "no token_entropy": (column("token_entropy", None), "token_nll without token_entropy"),
}


@pytest.mark.parametrize("verb", ["prune", "report", "diff"])
@pytest.mark.parametrize("name", TABLES)
def test_scores_that_are_none(refuses, tmp_path, verb, name) -> None:
    table, expected = TABLES[name]
    path = tmp_path / "scores.parquet"
    pq.write_table(table, path)
    output = {"prune": "out.parquet", "report": "out.html", "diff": "out.json"}[verb]
    inputs = [path, path] if verb == "diff" else [path]
    said = refuses(verb, *inputs, "--sample_ratio", "0.5", "--output", tmp_path / output)
    assert str(path) in said
    assert re.search(expected, said), said


def test_two_columns_of_a_name(refuses, tmp_path) -> None:
    table = score_table()
    pq.write_table(table.append_column("ppl", table["ppl"]), tmp_path / "s.parquet")
    said = refuses("prune", tmp_path / "s.parquet", "--output", tmp_path / "out.parquet")
    assert "several columns are called ppl" in said


@pytest.mark.parametrize("cut", [0, 3, 100, -1, -8])
def test_a_score_file_that_is_cut_off(refuses, scores, tmp_path, cut) -> None:
    scores.write_bytes(scores.read_bytes()[:cut])
    said = refuses("prune", scores, "--output", tmp_path / "out.parquet")
    assert f"{scores}: cannot be read as Parquet" in said
    assert "score again" in said


def test_damaged_origin(refuses, tmp_path) -> None:
    for text in (b"[", b"[]", b"\xff", b"{}", b'{"model_name": 1}'):
        path = tmp_path / "s.parquet"
        pq.write_table(score_table().replace_schema_metadata({b"qtuning": text}), path)
        said = refuses("prune", path, "--format", "trl", "--output", tmp_path / "out")
        assert f"{path}: " in said
        assert "origin" in said


def bomb(path, n: int = 300_000_000):
    """Rows that are all alike: a few bytes of file for each billion of memory."""
    one = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array([1.0]))
    chunks = pa.chunked_array([one] * (n // 1000))
    with pq.ParquetWriter(path, pa.schema([("ppl", one.type)]), compression="zstd") as writer:
        writer.write_table(pa.table({"ppl": chunks}), row_group_size=n)


@pytest.fixture(scope="module")
def small_bomb(tmp_path_factory):
    path = tmp_path_factory.mktemp("bomb") / "bomb.parquet"
    bomb(path, 40_000_000)
    return path


def test_parquet_bomb(small_bomb, refuses, refuses_to_train, tmp_path) -> None:
    assert small_bomb.stat().st_size < 1_000_000
    copy = shutil.copy(small_bomb, tmp_path / "bomb.parquet")
    for said in (
        refuses("prune", copy, "--output", tmp_path / "out.parquet"),
        refuses("report", copy, "--output", tmp_path / "out.html"),
        refuses_to_train(dataset_name=copy),
        refuses_to_train(dataset_name=tmp_path),
    ):
        assert "made to fill the memory" in said


def test_what_compresses_well_is_no_bomb(tmp_path) -> None:
    path = tmp_path / "same.parquet"
    pq.write_table(pa.table({"text": ["the same text again"] * 100_000}), path)
    assert read_parquet(path).num_rows == 100_000
    assert check_parquet(path).names == ["text"]


@pytest.mark.parametrize("given", ["d.parquet", "."], ids=["file", "folder"])
def test_training_text_that_is_not_utf8(refuses_to_train, tmp_path, given) -> None:
    (tmp_path / "data").mkdir()
    bytes_ = pa.array([b"a", b"\xff"] * 20)
    text = pa.Array.from_buffers(pa.string(), len(bytes_), bytes_.buffers())
    pq.write_table(pa.table({"text": text}), tmp_path / "data" / "d.parquet")
    said = refuses_to_train(dataset_name=tmp_path / "data" / given)
    assert "d.parquet: cannot be read as Parquet (" in said


def saved(tmp_path):
    folder = tmp_path / "saved"
    Dataset.from_list(tiny.rows(50)).save_to_disk(str(folder))
    return folder, next(folder.glob("*.arrow"))


def test_arrow_file_with_bad_offsets(refuses, refuses_to_train, tmp_path) -> None:
    """Its reader takes the offsets as they are, and the process dies."""
    folder, file = saved(tmp_path)
    data = bytearray(file.read_bytes())
    offsets = pa.array([0, 5, 10], pa.int32())
    with pa.ipc.open_stream(file) as reader:
        names = reader.schema.names
        offsets = reader.read_next_batch().column(names.index("prompt")).buffers()[1].to_pybytes()
    place = bytes(data).index(offsets[:40])
    data[place + 8 : place + 12] = (2**30).to_bytes(4, "little")
    file.write_bytes(data)
    for said in (
        refuses_to_train(dataset_name=folder),
        refuses("report", folder, "--output", tmp_path / "out.html"),
    ):
        assert f"{folder}: cannot be read as a saved data set" in said


@pytest.mark.parametrize("cut", [0, 10, 400])
def test_arrow_file_that_is_cut_off(refuses_to_train, tmp_path, cut) -> None:
    folder, file = saved(tmp_path)
    file.write_bytes(file.read_bytes()[:cut])
    assert f"{folder}: " in refuses_to_train(dataset_name=folder)


@pytest.mark.parametrize("name", ["../rows.arrow", "/etc/passwd", "", "..", "a\0b", None, 3])
def test_saved_data_that_name_files_elsewhere(refuses_to_train, tmp_path, name) -> None:
    folder, _ = saved(tmp_path)
    state = json.loads((folder / "state.json").read_text())
    state["_data_files"] = [{"filename": name}]
    (folder / "state.json").write_text(json.dumps(state))
    assert "not a file beside it" in refuses_to_train(dataset_name=folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"_data_files": 1}', '{"_data_files": [1]}'])
@pytest.mark.parametrize("file", ["state.json", "dataset_info.json"])
def test_saved_data_with_damaged_descriptions(refuses_to_train, tmp_path, file, text) -> None:
    folder, _ = saved(tmp_path)
    (folder / file).write_text(text)
    if file == "dataset_info.json" and text.startswith("{"):
        return  # its fields are all optional
    assert str(folder) in refuses_to_train(dataset_name=folder)


@pytest.mark.parametrize("splits", ["..", ["../x"], [1], None, {"/": 1}])
def test_saved_splits_elsewhere(refuses_to_train, tmp_path, splits) -> None:
    folder, _ = saved(tmp_path)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
    assert str(folder) in refuses_to_train(dataset_name=folder)


def test_broken_ledger_and_initial_scores(refuses, refuses_to_train, rows, tmp_path) -> None:
    ledger = tmp_path / "run" / "ledger"
    ledger.mkdir(parents=True)
    (ledger / "part-000000.parquet").write_bytes(b"PAR1 nothing PAR1")
    assert "part-000000" in refuses("report", ledger.parent, "--output", tmp_path / "out.html")
    for path in (ledger.parent, ledger):
        said = refuses_to_train(dataset_name=rows, initial_scores=path, score_refresh=0.5)
        assert "part-000000" in said


@pytest.mark.parametrize("name", ["ppl", "n_tokens"])
def test_initial_scores_of_another_kind(refuses_to_train, rows, tmp_path, name) -> None:
    path = tmp_path / "s.parquet"
    pq.write_table(column(name, pa.array(["x"] * 8)), path)
    said = refuses_to_train(dataset_name=rows, initial_scores=path, score_refresh=0.5)
    assert f"{path}: " in said
    assert name in said


@pytest.mark.parametrize("pruner", ["gain-high", "q-tuning-gain", "s-ifd", "ifd"])
def test_initial_scores_without_answers_alone(refuses_to_train, rows, tmp_path, pruner) -> None:
    path = tmp_path / "s.parquet"
    pq.write_table(score_table(), path)
    settings = {"sample_pruner": pruner, "initial_scores": path, "score_refresh": 0.0}
    said = refuses_to_train(dataset_name=rows, **settings)
    assert f"{path}: sample_pruner {pruner} reads " in said
    assert "`qtuning score --alone`" in said


@pytest.mark.parametrize("name", ["nll_alone_sum", "nll_sum"])
def test_initial_scores_of_answers_alone_of_another_kind(
    refuses_to_train, rows, tmp_path, name
) -> None:
    table = score_table()
    path = tmp_path / "s.parquet"
    table = table.append_column("nll_alone_sum", table["ppl"])
    if name in table.column_names:
        table = table.drop_columns([name])
    pq.write_table(table.append_column(name, pa.array(["x"] * 8)), path)
    settings = {"sample_pruner": "gain-high", "initial_scores": path, "score_refresh": 0.0}
    said = refuses_to_train(dataset_name=rows, **settings)
    assert f"{path}: column {name} is not of its kind" in said


def test_scores_in_a_checkpoint_of_another_kind(tmp_path) -> None:
    path = tmp_path / "scores.parquet"
    pq.write_table(pa.table({"sample_id": ["a"], "ppl": ["x"]}), path)
    with pytest.raises(UsageError, match="no column entropy"):
        ScoreStore().load(path)
