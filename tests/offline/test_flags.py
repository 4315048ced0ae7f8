"""Exports of turns: what was dropped is flagged, and read back as not to be trained."""

import json
import logging

import pytest
from datasets import Dataset, load_from_disk

import qtuning
from qtuning import UsageError
from qtuning.examples.masked_prompts import TRL_MASKS_OTHERS
from qtuning.io.turns import messages_in
from qtuning.offline.flags import FLAGS, dropped_in

from .. import turned

SCORING = {"assistant_only_loss": True, "prune_unit": "turn", "progress": False, "bf16": False}
PRUNING = {"sample_ratio": 0.4, "token_ratio": 1.0, "prune_unit": "turn"}
SPEAKERS = {"user": "human", "assistant": "gpt"}


def as_messages(row):
    return row


def as_sharegpt(row):
    """ShareGPT's spelling; calls of tools stay as they are."""
    said = [
        {"from": SPEAKERS.get(one["role"], one["role"]), "value": one["content"]}
        for one in row["messages"]
    ]
    return {"id": row["id"], "conversations": said}


def as_pair(row):
    return {"id": row["id"], "prompt": row["messages"][:1], "completion": row["messages"][1:]}


def as_text(row):
    return {"id": row["id"], "messages": json.dumps(row["messages"])}


OLD = pytest.mark.skipif(TRL_MASKS_OTHERS, reason="older TRL masks no prompts and completions so")
SPELLINGS = [as_messages, as_sharegpt, pytest.param(as_pair, marks=OLD), as_text]


def rows_of(spelling):
    """Without calls and thoughts where the spelling has no place for them."""
    rows = turned.rows()
    if spelling is as_sharegpt:
        rows = [row for i, row in enumerate(rows) if i % 4 in (0, 3)]
    return [spelling(row) for row in rows]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return turned.save(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def scored(model):
    return qtuning.score(Dataset.from_list(turned.rows()), model, **SCORING)


def lines_of(path):
    return [json.loads(line) for line in path.open()]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_flagged_file_is_read_back_to_the_turns_that_were_kept(tmp_path, model, spelling) -> None:
    table = qtuning.score(Dataset.from_list(rows_of(spelling)), model, **SCORING)
    rows = qtuning.prune(table, output=tmp_path / "rows.jsonl", format="jsonl", **PRUNING)
    assert any(map(dropped_in, rows))
    lines = lines_of(tmp_path / "rows.jsonl")
    names = ("messages", "conversations", "prompt", "completion", "id")
    data = [{name: line[name] for name in names if name in line} for line in lines]
    again = qtuning.score(Dataset.from_list(data), model, **SCORING)
    for row, read in zip(rows, again, strict=True):
        kept = [one["turn"] for one in row["turn_decisions"] if one["kept"]]
        assert [one["turn"] for one in read["turn_scores"]] == kept
        n_kept = sum(one["tokens_kept"] for one in row["turn_decisions"])
        assert read["n_tokens"] == n_kept < row["n_tokens"] + (len(kept) == len(row["turn_scores"]))
    talks = [messages_in(line[name]) for line in data for name in line if name != "id"]
    flagged = [message for talk in talks for message in talk if "weight" in message]
    assert flagged
    assert all(message.items() >= FLAGS.items() for message in flagged)


def test_what_trainers_read_as_tokens_is_masked(tmp_path, scored) -> None:
    rows = qtuning.prune(scored, output=tmp_path / "lf", format="llamafactory", **PRUNING)
    qtuning.prune(scored, output=tmp_path / "trl", format="trl", **PRUNING)
    train = Dataset.from_parquet(str(tmp_path / "trl" / "train.parquet"))
    assert list(train["labels"]) == list(
        load_from_disk(tmp_path / "lf" / "tokenized")["train"]["labels"]
    )
    beside = lines_of(tmp_path / "trl" / "rows.jsonl")
    assert not any("turn_decisions" in line for line in beside)
    flags = [[m for m in line["messages"] if m.get("weight") == 0] for line in beside]
    assert list(map(len, flags)) == [len(dropped_in(row)) for row in rows]


def test_llamafactorys_form_has_no_row_of_which_a_turn_was_dropped(
    tmp_path, scored, caplog
) -> None:
    with caplog.at_level(logging.WARNING):
        rows = qtuning.prune(scored, output=tmp_path / "lf", format="llamafactory", **PRUNING)
    partly = [row["id"] for row in rows if dropped_in(row)]
    written = {line["id"] for line in lines_of(tmp_path / "lf" / "data.jsonl")}
    assert partly
    assert not written & set(partly)
    first = next(i for i, row in enumerate(rows, 1) if dropped_in(row))
    assert any(f"kept row {first}: turn " in record.message for record in caplog.records)


def test_rows_of_unknown_origin_are_flagged(tmp_path, scored) -> None:
    """A data set that lost its description, as one made of lists."""
    bare = Dataset.from_list(scored.to_list())
    rows = qtuning.prune(bare, output=tmp_path / "rows.jsonl", format="jsonl", **PRUNING)
    lines = lines_of(tmp_path / "rows.jsonl")
    flags = [sum("train" in m for m in line["messages"]) for line in lines]
    assert flags == [len(dropped_in(row)) for row in rows]


@pytest.mark.parametrize("to", ["parquet", "datasets"])
def test_formats_without_flags_say_so(tmp_path, scored, caplog, to) -> None:
    with caplog.at_level(logging.WARNING):
        rows = qtuning.prune(
            scored, output=tmp_path / "all", format=to, with_dropped=True, **PRUNING
        )
        assert not caplog.records
        rows = qtuning.prune(scored, output=tmp_path / "kept", format=to, **PRUNING)
    (told,) = (record.message for record in caplog.records)
    n = sum(map(bool, map(dropped_in, rows)))
    assert told.startswith(f"{n} of {len(rows)} kept rows have turns that were dropped")


def test_rows_of_tokens_cannot_be_flagged(tmp_path, model) -> None:
    ids = turned.tokenizer()("<u>a<e>bcd<e><u>ef<e>ghijk<e>")["input_ids"]
    labels = [-100, -100, -100, *ids[3:7], *[-100] * 4, *ids[11:]]
    data = Dataset.from_list([{"input_ids": ids, "labels": labels}] * 3)
    scored = qtuning.score(data, model, **{**SCORING, "assistant_only_loss": False})
    settings = {**PRUNING, "sample_ratio": 0.2, "sample_pruner": "longest"}
    with pytest.raises(UsageError, match=r"^--format jsonl: row 1 has turns .* no messages .*$"):
        qtuning.prune(scored, output=tmp_path / "rows.jsonl", format="jsonl", **settings)
    rows = qtuning.prune(scored, output=tmp_path / "trl", format="trl", **settings)
    train = Dataset.from_parquet(str(tmp_path / "trl" / "train.parquet"))
    for row, example in zip(rows, train, strict=True):
        n = sum(one["tokens_kept"] for one in row["turn_decisions"])
        assert sum(label != -100 for label in example["labels"][1:]) == n
