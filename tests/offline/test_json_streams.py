"""Rows with calls of tools are scored alike as a stream, whose parts have objects of other keys."""

import datasets
import pyarrow.parquet as pq
import pytest
from datasets import IterableDataset

import qtuning
from qtuning.errors import UsageError
from qtuning.io.arrow_rows import rows_of
from qtuning.io.turns import without_nulls

from .. import talks
from .conftest import run_score

pytestmark = pytest.mark.usefixtures("one_thread")
QUIET = {"bf16": False, "progress": False, "assistant_only_loss": True, "rows_per_part": 1}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return talks.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return talks.write(tmp_path_factory.mktemp("rows") / "rows.jsonl", talks.ROWS)


def test_a_streamed_file_gives_the_same_rows_and_scores(model, data, tmp_path):
    tables = []
    for name, more in (("a", []), ("b", ["--dataset_streaming"])):
        output = tmp_path / f"{name}.parquet"
        options = ["--assistant_only_loss", "true", "--per_token", "--rows_per_part", "2", *more]
        assert run_score(model, data, output, *options) == 0
        tables.append(pq.read_table(output))
    whole, streamed = tables
    assert list(rows_of(streamed)) == list(rows_of(whole))
    if talks.ANY_OBJECTS:
        assert streamed.schema.types == whole.schema.types


def test_a_stream_that_does_not_say_its_types_is_scored_alike(model, data):
    stream = IterableDataset.from_generator(talks.generated)
    streamed = qtuning.score(stream, model, **QUIET)
    whole = qtuning.score(data, model, **QUIET)
    messages = (row["messages"] for row in rows_of(streamed.with_format("arrow")[:]))
    for read, row in zip(messages, talks.ROWS, strict=True):
        assert without_nulls(read) == without_nulls(row["messages"])
    for column in ("n_tokens", "turn_ends"):
        assert streamed[column] == whole[column]
    assert streamed["ppl"] == pytest.approx(whole["ppl"], rel=1e-6)


@pytest.mark.skipif(not talks.ANY_OBJECTS, reason="nulls cannot be told from absent keys")
def test_nulls_of_the_data_are_scored_in_a_stream_too(model, tmp_path):
    calls = [talks.call("add", a=None), talks.call("weather", city="Oslo")]
    rows = [{"messages": [talks.user("q"), one]} for one in calls]
    data = talks.write(tmp_path / "rows.jsonl", rows)
    whole = qtuning.score(data, model, **QUIET)
    loaded = datasets.load_dataset("json", data_files=str(data), split="train", streaming=True)
    streamed = qtuning.score(loaded, model, **QUIET)
    assert streamed["n_tokens"] == whole["n_tokens"]
    assert streamed["n_tokens"][0] == len(' call add {"a": null}') + 1


def test_a_column_whose_type_changes_from_part_to_part_is_refused(model):
    stream = IterableDataset.from_generator(changing)
    with pytest.raises(UsageError, match="the rows change their types from part to part"):
        qtuning.score(stream, model, **{**QUIET, "assistant_only_loss": False})


def changing():
    yield {"prompt": "a", "completion": "b", "more": 1}
    yield {"prompt": "a", "completion": "b", "more": "x"}
