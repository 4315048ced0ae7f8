"""Rows are made ready as for training: the same tokens, and sums that add up."""

import json
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, IterableDataset
from hypothesis import given, settings
from hypothesis import strategies as st

import qtuning
from qtuning import QTuningTrainer, UsageError
from qtuning.examples.labels import Labels
from qtuning.examples.prepare import ready_rows
from qtuning.examples.tokenising import Tokenising
from qtuning.inspection.inspect import inspect_rows
from qtuning.inspection.prepare import ModelSource
from qtuning.io.models import load_causal_lm, load_tokenizer

from .. import talks
from .made import config, inspected, pair, talk, tokens

PAIRS = [pair("a" * i, " b" * (i % 7)) for i in range(1, 24)]
ALPACA = [{"instruction": "Say it" * (i % 4 + 1), "output": "It" * i} for i in range(9)]
KINDS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "pairs": ("plain", PAIRS),
    "pairs beside a template": ("chat", PAIRS),
    "alpaca": ("plain", ALPACA),
    "alpaca as conversations": ("chat", ALPACA),
    "text": ("plain", [{"text": "word " * i} for i in range(1, 12)]),
    "messages": ("chat", [talk("Hi" * i, "Ho", "And", "So" * i) for i in range(1, 6)]),
    "calls": ("calls", talks.ROWS),
    "tokens": ("plain", [tokens([5] * 9 + [6] * i, [-100] * 9 + [6] * i) for i in range(7)]),
    "ids and names": ("plain", [{**row, "id": f"s{i}"} for i, row in enumerate(PAIRS)]),
}
LENGTHS = {"calls": 70, "alpaca as conversations": 40}
CUTS: list[dict[str, Any]] = [
    {},
    {"max_length": 20},
    {"max_length": 20, "truncation_mode": "keep_end"},
    {"max_length": 20, "completion_only_loss": False},
    {"max_length": None},
]


def trained(data, model, args):
    """Ids and labels of the rows that a trainer trains on."""
    tokenizer = load_tokenizer(str(model))
    rows = ready_rows(data, "the data", tokenizer, Tokenising.of(args))
    trainer = QTuningTrainer(
        load_causal_lm(str(model)), args, train_dataset=rows, processing_class=tokenizer
    )
    labels = Labels(trainer.data_collator)
    found = [(one["input_ids"], one["labels"]) for one in map(labels.of, trainer.train_dataset)]
    return [
        (ids, [label != -100 and place > 0 for place, label in enumerate(row)])
        for ids, row in found
        if any(label != -100 for label in row[1:])
    ]


@pytest.mark.parametrize("options", CUTS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_those_of_training(request, tmp_path, kind, options) -> None:
    name, rows = KINDS[kind]
    model, data = request.getfixturevalue(name), Dataset.from_list(rows)
    if kind == "calls":
        options = {**options, "assistant_only_loss": True}
    if options.get("max_length"):
        options = {**options, "max_length": LENGTHS.get(kind, 20)}
    args = config(tmp_path, **options)
    found, to_show = inspect_rows(data, "the data", ModelSource(str(model)), args)
    expected = trained(data, model, args)
    own = []
    for row in range(len(rows)):
        ids, answers = to_show.tokens.batch(row, row + 1).row(0)
        kept = to_show.cut.kept(len(ids))
        labels = answers[kept].tolist()
        if any(labels[1:]):
            own.append((ids[kept].tolist(), [False, *labels[1:]]))
    assert own == expected
    assert found.facts["rows"]["read"] == len(rows)
    assert found.facts["rows"]["trained on"] == len(expected)
    assert found.facts["tokens"]["input, total"] == sum(len(ids) for ids, _ in expected)
    assert found.facts["tokens"]["answer, total"] == sum(sum(answers) for _, answers in expected)
    shown = next(to_show.of([1]))
    if shown.trained and any(shown.trained):
        assert list(shown.trained) == own[0][1]


_TEXTS = st.text("ab c", max_size=30)


@settings(max_examples=25)
@given(
    st.lists(st.tuples(_TEXTS, _TEXTS), min_size=1, max_size=8),
    st.none() | st.integers(1, 40),
    st.sampled_from(["keep_start", "keep_end"]),
)
def test_sums_add_up(plain_model, folder, texts, max_length, mode) -> None:
    rows = [pair(prompt, completion) for prompt, completion in texts]
    options = {"max_length": max_length, "truncation_mode": mode}
    found = inspected(folder, rows, plain_model, **options)
    facts, tokens = found.facts["rows"], found.facts["tokens"]
    left_out = sum(n for name, n in facts.items() if name.startswith("left out"))
    assert facts["read"] == len(rows)
    assert facts["read"] == facts["trained on"] + left_out
    # A token a character, and one that ends the row.
    spans = []
    for prompt, completion in texts:
        whole = [False] * len(prompt) + [True] * (len(completion) + 1)
        cut = whole if max_length is None else whole[-max_length:]
        if mode == "keep_start":
            cut = whole[:max_length]
        spans.append((whole[:1] and [False, *whole[1:]], cut[:1] and [False, *cut[1:]]))
    kept = [cut for _, cut in spans if any(cut)]
    assert facts["trained on"] == len(kept)
    assert facts["left out, no answer tokens"] == sum(not any(whole) for whole, _ in spans)
    assert tokens["input, total"] == sum(map(len, kept))
    assert tokens["answer, total"] == sum(map(sum, kept))
    assert tokens["rows cut"] == sum(len(cut) < len(whole) for whole, cut in spans)
    assert tokens["input tokens cut away"] == sum(len(w) - len(c) for w, c in spans)
    assert tokens["answer tokens cut away"] == sum(sum(w) - sum(c) for w, c in spans)
    if kept:
        lengths = list(map(len, kept))
        assert tokens["input, median"] == np.median(lengths)
        assert tokens["input, 95th percentile"] == np.percentile(lengths, 95)
        assert tokens["input, longest"] == max(lengths)
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.fixture(scope="module")
def plain_model(plain):
    return plain


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("inspected")


def test_of_a_stream_the_first_rows_are_read(look, plain, monkeypatch) -> None:
    def rows():
        for i in range(50):
            yield pair(f"{i} =", f" {i}")

    monkeypatch.setattr("qtuning.inspection.prepare.STREAMED", 10)
    found = look(IterableDataset.from_generator(rows), plain)
    assert found.facts["rows"]["read"] == 10
    assert any("stream" in name for name in found.facts["rows"])
    assert not any("stream" in name for name in look(PAIRS, plain).facts["rows"])


def test_by_name_as_a_file(tmp_path, plain) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    found = qtuning.inspect(path, plain, config(tmp_path), eval_dataset=path, show=1)
    assert found.facts["rows"]["read"] == len(PAIRS)
    assert found.facts["evaluation"]["rows in both, exactly"] == len(PAIRS)
    assert len(found.shown) == 1
    assert qtuning.inspect(str(path), str(plain)).facts["rows"]["read"] == len(PAIRS)


def test_no_weights_are_read(look, plain, monkeypatch) -> None:
    monkeypatch.setattr("qtuning.inspection.prepare.load_causal_lm", pytest.fail)
    assert look(PAIRS, plain).facts["rows"]["read"] == len(PAIRS)


def test_the_model_is_loaded_where_it_is_asked_for(tmp_path, plain) -> None:
    data = Dataset.from_list(PAIRS)
    found = qtuning.inspect(data, plain, config(tmp_path), load_model=True)
    assert found.findings == qtuning.inspect(data, plain, config(tmp_path)).findings


def test_the_longest_rows(look, plain) -> None:
    rows = [pair("a" * n, " b") for n in (5, 30, 7, 30, 1, 2, 40)]
    table = look(rows, plain, max_length=35).tables["longest rows"]
    assert [row["row"] for row in table] == [7, 2, 4, 3, 1]
    assert (table[0]["tokens"], table[0]["kept"], table[0]["sample_id"]) == (43, 35, "6")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"messages": [{"role": "user", "content": None}]}], "row 1: messages message 1 has no"),
        ([{"a": "b"}], "no column to train on"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_refused(look, chat, rows, said) -> None:
    with pytest.raises(UsageError, match=said):
        look(rows, chat)


def test_a_folder_without_a_model(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"config\.json is missing"):
        qtuning.inspect(Dataset.from_list(PAIRS), tmp_path)
