"""The same conversations in other words, files and orders give the same tokens and labels."""

import csv
import gzip
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, IterableDataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trl import DatasetMixtureConfig, ScriptArguments

from qtuning.examples.labels import Labels
from qtuning.examples.prepare import prepared
from qtuning.examples.tokenising import Tokenising
from qtuning.io.arrow_rows import table_of
from qtuning.io.data import load_rows

from .. import talks, tiny

Tokens = list[tuple[list[int], list[int]]]

pytestmark = pytest.mark.skipif(
    not talks.ANY_OBJECTS, reason="datasets fills objects of other keys up with nulls"
)
SHORT = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def tokenizer() -> Any:
    made = tiny.tokenizer()
    made.chat_template = talks.TEMPLATE
    return made


MODEL, TOKENIZER = tiny.llama(), tokenizer()


def tokens(rows: Any, *, turns: bool = True) -> dict[str, tuple[list[int], list[int]]]:
    """Token ids and labels of rows by their id.

    Args:
        rows: The rows as loaded, or a list of them.
        turns: Whether all turns of the assistant are answers, rather than the completion.
    """
    data = Dataset(table_of(rows, None)) if isinstance(rows, list) else rows
    how = Tokenising(assistant_only_loss=turns, max_length=None)
    with prepared(data, MODEL, TOKENIZER, how, where="the rows", use_cpu=True) as trainer:
        labels = Labels(trainer.data_collator)
        made = {str(row["id"]): labels.of(dict(row)) for row in trainer.train_dataset}
    assert all(any(y != -100 for y in row["labels"]) for row in made.values())
    return {name: (list(row["input_ids"]), list(row["labels"])) for name, row in made.items()}


def only(found: dict[str, tuple[list[int], list[int]]]) -> tuple[list[int], list[int]]:
    """The tokens and labels that all rows have."""
    first, *others = found.values()
    assert all(one == first for one in others), found
    return first


@given(data=st.data(), talk=talks.talks())
@SHORT
def test_a_conversation_in_any_spelling_has_the_same_tokens_and_labels(data, talk) -> None:
    turns, tools = talk
    tools = tools or None

    def spelled() -> list[Any]:
        return [data.draw(talks.spelling(turn)) for turn in turns]

    has_system = turns[0]["role"] == "system"
    beside = {"system": turns[0]["content"]} if has_system else {"system": ""}
    inside = {"system": None}
    rows = [
        {"id": "as it is", "turns": turns, "tools": tools, **inside},
        {"id": "spelled", "turns": spelled(), "tools": tools, **inside},
        {"id": "beside", "turns": spelled()[has_system:], "tools": tools, **beside},
        {"id": "in both", "turns": spelled(), "tools": tools, **beside},
    ]
    wanted = None
    for column in ("messages", "conversations"):
        for text in (False, True):
            named = [
                {
                    "id": row["id"],
                    "system": row["system"],
                    column: json.dumps(row["turns"]) if text else row["turns"],
                    "tools": json.dumps(tools) if text and tools else tools,
                }
                for row in rows
            ]
            found = only(tokens(named))
            assert wanted in (None, found)
            wanted = found


@given(data=st.data(), talk=talks.talks())
@SHORT
def test_the_last_answer_alone_is_trained_of_prompts_in_any_spelling(data, talk) -> None:
    turns, tools = talk
    ids, labels = only(tokens([{"id": "0", "messages": turns, "tools": tools or None}]))
    last = max(i for i, y in enumerate(labels) if y == -100)
    wanted = (ids, [-100] * (last + 1) + labels[last + 1 :])

    has_system = turns[0]["role"] == "system"
    beside = turns[0]["content"] if has_system else None
    said = [data.draw(talks.spelling(turn)) for turn in turns]
    rows = [
        {"id": "0", "prompt": turns[:-1], "completion": turns[-1:], "system": ""},
        {"id": "1", "prompt": said[:-1], "completion": said[-1:], "system": None},
        {"id": "2", "prompt": said[has_system:-1], "completion": said[-1:], "system": beside},
    ]
    rows = [{**row, "tools": tools or None} for row in rows]
    cells = [
        {key: json.dumps(row[key]) for key in ("prompt", "completion")} | {"id": row["id"]}
        for row in rows[:2]
    ]
    assert only(tokens(rows, turns=False)) == wanted
    if not tools:
        assert only(tokens(cells, turns=False)) == wanted
    texts = [turn["content"] for turn in turns[has_system:]]
    if not tools and all(turn["role"] in ("system", "user", "assistant") for turn in turns):
        pairs = [list(pair) for pair in zip(texts[:-2:2], texts[1:-2:2], strict=True)]
        row = {"instruction": texts[-2], "output": texts[-1], "system": beside, "history": pairs}
        assert only(tokens([{"id": "0", **row}], turns=False)) == wanted


def write(rows: list[dict[str, Any]], folder: Path) -> dict[str, Path]:
    """The rows in files of every kind."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    paths = {
        name: folder / name
        for name in ("d.jsonl", "d.json", "d.jsonl.gz", "d.csv", "d.parquet", "saved")
    }
    paths["d.jsonl"].write_text(lines)
    paths["d.json"].write_text(json.dumps(rows, indent=1))
    paths["d.jsonl.gz"].write_bytes(gzip.compress(lines.encode()))
    with paths["d.csv"].open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(rows[0])
        for row in rows:
            table.writerow([v if isinstance(v, str) else json.dumps(v) for v in row.values()])
    # Columns of structs keep no order of keys, which templates print, and mix no types.
    objects = ("tool_calls", "parameters", "'type': 'text'")
    is_plain = not any(word in str(row) for row in rows for word in objects)
    columns = pa.Table.from_pylist(rows) if is_plain else table_of(rows, None)
    pq.write_table(columns, paths["d.parquet"])
    Dataset(columns).save_to_disk(paths["saved"])
    return paths


@given(rows=talks.files(), seed=st.integers(0, 99))
@SHORT
def test_order_kind_of_file_and_streaming_do_not_matter(tmp_path_factory, rows, seed) -> None:
    turns = "prompt" not in rows[0]
    rows = [{"id": f"n{i}", **row} for i, row in enumerate(rows)]
    wanted = tokens(rows, turns=turns)
    assert list(wanted) == [row["id"] for row in rows]
    shuffled = random.Random(seed).sample(rows, len(rows))
    folder = tmp_path_factory.mktemp("files")
    for name, path in write(shuffled, folder).items():
        for streaming in (False, True) if name in ("d.jsonl", "d.parquet") else (False,):
            script_args = ScriptArguments(dataset_name=str(path), dataset_streaming=streaming)
            read, _ = load_rows(script_args, DatasetMixtureConfig(), "train")
            assert isinstance(read, IterableDataset) == streaming
            found = tokens(read, turns=turns)
            assert list(found) == [row["id"] for row in shuffled], name
            assert found == wanted, name
