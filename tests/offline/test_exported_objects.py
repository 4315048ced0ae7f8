"""What `qtuning prune` writes has the objects of the data, and is read back to the same tokens."""

import json

import pyarrow.parquet as pq
import pytest
import yaml
from datasets import load_dataset, load_from_disk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trl import DatasetMixtureConfig, ScriptArguments

import qtuning
from qtuning.io.arrow_rows import rows_of
from qtuning.io.data import load_rows
from qtuning.io.turns import without_nulls
from qtuning.offline.file_formats import FORMATS
from qtuning.offline.origin import read_origin
from qtuning.offline.retokenise import tokenised

from .. import talks

pytestmark = pytest.mark.usefixtures("one_thread")
QUIET = {"bf16": False, "progress": False, "assistant_only_loss": True}
KEPT = {"sample_pruner": "full", "sample_ratio": 1.0, "token_ratio": 1.0}
READ = {
    "trl": "train.parquet",
    "llamafactory": "data.jsonl",
    "axolotl": "data.jsonl",
}
"""The file in the folder of a trainer's format."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return talks.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def scores(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores")
    data = talks.write(folder / "rows.jsonl", talks.ROWS)
    qtuning.score(data, model, output=folder / "s.parquet", **QUIET)
    return folder / "s.parquet"


def pruned(scores, folder, to):
    """The file or folder that holds all the rows in a format."""
    output = folder / {"jsonl": "o.jsonl", "parquet": "o.parquet"}.get(to, "o")
    qtuning.prune(scores, output=output, format=to, **KEPT)
    return output / READ[to] if to in READ else output


def tokens(path, scores):
    """Input ids and labels of the rows of a file, read as a user names it."""
    script_args = ScriptArguments(dataset_name=str(path))
    rows, _ = load_rows(script_args, DatasetMixtureConfig(), "train")
    origin = read_origin(pq.read_schema(scores), scores)
    if "labels" in rows.column_names:  # they say it already, and TRL asks for turns
        origin["assistant_only_loss"] = False
    read = tokenised(rows.with_format("arrow")[:], origin)
    return [(list(row["input_ids"]), list(row["labels"])) for row in read]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("name", ["jsonl", "trl"])
def test_json_lines_have_objects_as_they_were(scores, tmp_path, name):
    path = pruned(scores, tmp_path, name)
    if name == "trl":
        path = path.with_name("rows.jsonl")
    for row, before in zip(lines(path), talks.ROWS, strict=True):
        # The null content of a message is there or not, as datasets has it; a column always is.
        assert without_nulls(row["messages"]) == without_nulls(before["messages"])
        assert row.get("tools") == before.get("tools")


def test_the_scored_file_and_the_pruned_are_read_by_datasets(scores, tmp_path):
    files = [scores, pruned(scores, tmp_path, "parquet")]
    read = [load_dataset("parquet", data_files=str(file), split="train") for file in files]
    for data in (*read, load_from_disk(str(pruned(scores, tmp_path, "datasets")))):
        for row, before in zip(rows_of(data.with_format("arrow")[:]), talks.ROWS, strict=True):
            assert without_nulls(row["messages"]) == without_nulls(before["messages"])


def test_axolotl_finds_its_file_from_any_folder(scores, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    qtuning.prune(scores, output="out", format="axolotl", **KEPT)
    (entry,) = yaml.safe_load((tmp_path / "out" / "datasets.yaml").read_text())["datasets"]
    assert entry["path"] == str(tmp_path / "out" / "data.jsonl")


@pytest.mark.parametrize("to", FORMATS)
def test_every_format_is_read_back_to_the_same_tokens(scores, tmp_path, to):
    data = scores.with_name("rows.jsonl")
    wanted = tokens(data, scores)
    assert tokens(pruned(scores, tmp_path, to), scores) == wanted
    assert tokens(scores, scores) == wanted


@pytest.mark.slow
@pytest.mark.skipif(not talks.ANY_OBJECTS, reason="datasets reads no columns of mixed types")
@given(rows=talks.files(), to=st.sampled_from(FORMATS))
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_so_it_is_for_any_conversation_in_any_spelling(model, tmp_path_factory, rows, to):
    folder = tmp_path_factory.mktemp("rows")
    data = talks.write(folder / "rows.jsonl", rows)
    options = {**QUIET, "assistant_only_loss": "prompt" not in rows[0]}
    scores = folder / "s.parquet"
    qtuning.score(data, model, output=scores, **options)
    path = pruned(scores, folder, to)
    read, wanted = tokens(path, scores), tokens(data, scores)
    if to == "llamafactory" and "conversations" in lines(path)[0] and "prompt" in rows[0]:
        # Of a conversation its ShareGPT form does not say where the prompt ends.
        read, wanted = ([ids for ids, _ in some] for some in (read, wanted))
    assert read == wanted
