"""The column of weights that prepared rows have, in every form of rows and by every option."""

import math

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from qtuning import QTuningConfig, QTuningTrainer, UsageError
from qtuning.examples.example import unpack
from qtuning.examples.prepare import ready_rows
from qtuning.examples.tokenising import Tokenising
from qtuning.io.arrow_rows import table_of
from qtuning.io.weights import LOSS_WEIGHT, MESSAGE_WEIGHTS

from .. import device, talks, tiny, weighed
from ..talks import answer, user
from .test_spans import REWRITES

_FIELDS = QTuningConfig.__dataclass_fields__


def tokenizer(template=talks.TEMPLATE):
    made = tiny.tokenizer()
    made.chat_template = template
    return made


TOKENIZER = tokenizer()


def trainer(rows, folder, *, stream=False, command=False, template=talks.TEMPLATE, **options):
    """A trainer of rows as a user hands them over, or as the commands make them ready."""
    data = rows if isinstance(rows, Dataset) else Dataset.from_list(rows)
    data = data.to_iterable_dataset() if stream else data
    made = tokenizer(template)
    options = {"max_length": None, "max_steps": 1, **options}
    quiet = {"bf16": False, "report_to": "none", "disable_tqdm": True}
    args = QTuningConfig(str(folder), **quiet, **options, **device.arguments())
    if command:
        data = ready_rows(data, "d.jsonl", made, Tokenising.of(args))
    return QTuningTrainer(tiny.llama(), args, train_dataset=data, processing_class=made)


def samples(found):
    """The samples that a trainer's loader would hand out, with weights and labels."""
    return [sample for row in found.train_dataset for sample in unpack(row)]


def labels_of(found, row):
    """Labels as the collator makes them."""
    keys = {"input_ids", "labels", "completion_mask", "assistant_masks"}
    return found.data_collator([{k: v for k, v in row.items() if k in keys}])["labels"][0].tolist()


ROUTES = [(stream, command) for stream in (False, True) for command in (False, True)]


@pytest.mark.parametrize(("stream", "command"), ROUTES)
@pytest.mark.parametrize("only", [False, True])
def test_messages_weigh_by_their_spans(tmp_path, stream, command, only) -> None:
    rows = weighed.rows()
    options = {"stream": stream, "command": command, "assistant_only_loss": only}
    found = trainer(rows, tmp_path, **options)
    plain = [[{k: m[k] for k in ("role", "content")} for m in row["messages"]] for row in rows]
    stock = trainer([{"messages": turns} for turns in plain], tmp_path, **options)
    expected = weighed.naive(TOKENIZER, plain[0], weighed.WEIGHTS)
    pairs = list(zip(found.train_dataset, stock.train_dataset, strict=True))
    assert len(pairs) == 4
    for i, (row, other) in enumerate(pairs):
        assert row["input_ids"] == other["input_ids"]
        weights = row.get(LOSS_WEIGHT) or [1.0] * len(row["input_ids"])
        assert weights == ([1.0] * len(weights) if i % 2 else expected)
        unmasked = labels_of(stock, other)
        masked = [y if w else -100 for y, w in zip(unmasked, weights, strict=True)]
        assert labels_of(found, row) == masked
        assert LOSS_WEIGHT not in other
        assert row["sample_id"] == f"r{i}"


def test_the_loader_hands_weights_to_the_step(tmp_path) -> None:
    found = trainer(weighed.rows(), tmp_path, per_device_train_batch_size=4)
    (batch,) = found.get_train_dataloader()
    assert all(len(one[LOSS_WEIGHT]) == len(one["input_ids"]) for one in batch.examples)
    assert found.args.remove_unused_columns
    found.train()


@pytest.mark.parametrize(("stream", "command"), ROUTES)
@pytest.mark.parametrize("keep_end", [False, True])
def test_rows_that_are_cut_keep_the_weights_of_what_is_left(
    tmp_path, stream, command, keep_end
) -> None:
    options = {"truncation_mode": "keep_end"} if keep_end else {}
    if not options.keys() <= _FIELDS.keys():
        pytest.skip("this version of TRL keeps the start alone")
    whole = weighed.naive(TOKENIZER, talks_of(weighed.TURNS), weighed.WEIGHTS)
    n = 31  # within the third message from the start, and within the second from the end
    found = trainer(
        weighed.rows(1), tmp_path, stream=stream, command=command, max_length=n, **options
    )
    (row,) = found.train_dataset
    assert row[LOSS_WEIGHT] == (whole[-n:] if keep_end else whole[:n])
    assert len(row["input_ids"]) == len(row["labels"]) == n


# Pieces of a stream have no names.
@pytest.mark.parametrize(
    ("stream", "strategy"), [(False, "bfd"), (True, "bfd"), (False, "bfd_split")]
)
def test_packed_samples_keep_their_weights(tmp_path, stream, strategy) -> None:
    pieces = {"bfd_split": 40, "bfd": 120}
    if strategy == "bfd_split" and "shuffle_dataset" not in _FIELDS:
        pytest.skip("this version of TRL does not split rows")
    options = {"packing": True, "packing_strategy": strategy, "max_length": pieces[strategy]}
    found = trainer(weighed.rows(), tmp_path, stream=stream, **options)
    whole = trainer(weighed.rows(), tmp_path)
    by_ids = {}
    for row in whole.train_dataset:
        size = pieces[strategy]
        for start in range(0, len(row["input_ids"]), size):
            part = slice(start, start + size)
            by_ids[tuple(row["input_ids"][part])] = (row["labels"][part], row[LOSS_WEIGHT][part])
    packed = samples(found)
    assert len(packed) == (8 if strategy == "bfd_split" else 4)
    for sample in packed:
        assert (sample["labels"], sample[LOSS_WEIGHT]) == by_ids[tuple(sample["input_ids"])]


def talks_of(turns):
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]


@pytest.mark.parametrize(("stream", "command"), ROUTES)
def test_prompts_and_completions_of_messages(tmp_path, stream, command) -> None:
    rows = [{"prompt": weighed.TURNS[:3], "completion": weighed.TURNS[3:]}] * 2
    found = trainer(rows, tmp_path, stream=stream, command=command)
    for row in found.train_dataset:
        plain = talks_of(weighed.TURNS)
        assert row[LOSS_WEIGHT] == weighed.naive(TOKENIZER, plain, weighed.WEIGHTS)
        trained = [
            w for y, w in zip(labels_of(found, row), row[LOSS_WEIGHT], strict=True) if y >= 0
        ]
        assert set(trained) <= {0.5, 1.0}
        assert 0.5 in trained


TEXTS = {
    "text": {"text": "some words"},
    "pair": {"prompt": "a", "completion": " b"},
    "alpaca": {"instruction": "a", "output": "b"},
    "tokens": {"input_ids": [5, 6, 7], "labels": [-100, 6, 7]},
}


@pytest.mark.parametrize("row", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("template", [talks.TEMPLATE, None], ids=["template", "no template"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_row_of_any_form_has_its_weight(tmp_path, row, template, stream) -> None:
    rows = [{**row, "loss_weight": 0.5}, {**row, "loss_weight": 2.0}, {**row, "loss_weight": 0.0}]
    found = trainer(rows, tmp_path, stream=stream, command=True, template=template)
    weights = [set(one[LOSS_WEIGHT]) for one in found.train_dataset]
    assert weights == [{0.5}, {2.0}, {0.0}]
    assert set(labels_of(found, list(found.train_dataset)[2])) == {-100}


def test_rows_of_tokens_have_weights_a_token(tmp_path) -> None:
    rows = [{**TEXTS["tokens"], "loss_weight": [1.0, 0.0, 0.25]}]
    found = trainer(rows, tmp_path, command=True)
    (row,) = found.train_dataset
    assert row[LOSS_WEIGHT] == [1.0, 0.0, 0.25]
    assert labels_of(found, row) == [-100, -100, 7]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("column", [[0.5, None, 1.0], [[0.5, 0.5, 0.5], None, [1.0, 1.0, 1.0]]])
def test_rows_may_say_nothing(tmp_path, stream, column) -> None:
    rows = [{**TEXTS["tokens"], "loss_weight": weight} for weight in column]
    for command in (False, True):
        found = trainer(rows, tmp_path, stream=stream, command=command)
        made = [row[LOSS_WEIGHT] or [1.0] * 3 for row in found.train_dataset]
        assert made == [[0.5] * 3, [1.0] * 3, [1.0] * 3]
        found.train()


def test_data_whose_weights_are_all_1_are_as_without(tmp_path) -> None:
    turns = [user("Hi"), {**answer("yes"), "weight": 1.0}]
    for rows in ([{"messages": turns}] * 2, [{"messages": turns, "loss_weight": 1.0}] * 2):
        for command in (False, True):
            found = trainer(rows, tmp_path, command=command)
            assert not {LOSS_WEIGHT, MESSAGE_WEIGHTS} & set(found.train_dataset.column_names)


def test_a_row_of_weight_0_is_an_empty_sample_that_is_counted(tmp_path, caplog) -> None:
    rows = [{"text": "a word or two", "loss_weight": weight} for weight in (1.0, 0.0, 0.5, 0.0)]
    found = trainer(rows, tmp_path, max_length=100, per_device_train_batch_size=4)
    assert "2 of 4 train samples have weight 0 in all that would be trained" in caplog.text
    found.train()
    assert found._record.counts.empty_samples == 2


def test_evaluation_rows_are_weighed_as_well(tmp_path) -> None:
    rows = Dataset.from_list(weighed.rows())
    found = QTuningTrainer(
        tiny.llama(),
        QTuningConfig(str(tmp_path), bf16=False, report_to="none", **device.arguments()),
        train_dataset=rows,
        eval_dataset=rows,
        processing_class=tokenizer(),
    )
    assert found.eval_dataset[0]["labels"] == found.train_dataset[0]["labels"]
    assert found.evaluate()["eval_loss"] > 0


@pytest.mark.parametrize("command", [False, True])
def test_a_template_that_rewrites_turns_is_refused_with_the_row(tmp_path, command) -> None:
    rows = [weighed.rows(2)[1], weighed.rows(1)[0]]
    where = "d.jsonl" if command else "the train data"
    with pytest.raises(UsageError) as caught:
        trainer(rows, tmp_path, command=command, template=REWRITES)
    said = str(caught.value)
    assert f"{where}, row 2: the tokens of its messages, whose weights differ, cannot be" in said
    assert "writes message 2 otherwise when messages follow it; name another template" in said
    alike = [{"messages": talks_of(weighed.TURNS), "loss_weight": 0.5}] * 2
    assert len(trainer(alike, tmp_path, command=command, template=REWRITES).train_dataset) == 2


def test_weights_that_python_hands_over_are_checked(tmp_path) -> None:
    bad = [{"messages": [user("a"), {**answer("b"), "weight": math.nan}]}]
    with pytest.raises(UsageError, match="the train data, row 1: has weight nan"):
        trainer(bad, tmp_path)
    with pytest.raises(UsageError, match=r"the train data, row 1: is -1\.0, and a weight"):
        trainer([{"text": "a", "loss_weight": -1.0}], tmp_path)
    with pytest.raises(UsageError, match="row 1: loss_weight has 1 weights for 3 tokens"):
        trainer([{**TEXTS["tokens"], "loss_weight": [1.0]}], tmp_path)
    with pytest.raises(UsageError, match=r"no sample has answer tokens .* or of weight 0"):
        trainer([{"text": "a", "loss_weight": 0.0}], tmp_path)


def test_a_packed_stream_must_say_weights_from_its_first_row_on(tmp_path) -> None:
    rows = weighed.rows(2)[::-1]
    with pytest.raises(UsageError, match="row 2 of the stream has a weight, and the first row"):
        list(trainer(rows, tmp_path, stream=True, packing=True, max_length=99).train_dataset)


@pytest.mark.parametrize(("stream", "command"), ROUTES)
def test_calls_of_tools_weigh_by_their_spans(tmp_path, stream, command) -> None:
    turns = [user("a"), {**talks.call("f", a=1), "content": ""}, talks.result("5"), answer("b")]
    weights = [1.0, 0.25, 1.0, 2.0]
    rows = [{"messages": [{**t, "weight": w} for t, w in zip(turns, weights, strict=True)]}]
    (row,) = trainer(rows, tmp_path, stream=stream, command=command).train_dataset
    assert row[LOSS_WEIGHT] == weighed.naive(TOKENIZER, turns, weights)


@pytest.mark.skipif(not talks.ANY_OBJECTS, reason="older datasets hold no objects of any keys")
@settings(max_examples=15)
@given(talk=talks.talks(), data=st.data())
def test_tool_calls_and_systems_weigh_by_their_spans(tmp_path_factory, talk, data) -> None:
    messages, _ = talk
    choices = st.sampled_from([0.0, 0.5, 1.0, 3.0])
    weights = data.draw(st.lists(choices, min_size=len(messages), max_size=len(messages)))
    weights[-1] = 2.0
    turns = [{**turn, "weight": w} for turn, w in zip(messages, weights, strict=True)]
    rows = Dataset(table_of([{"messages": turns}], None))  # arguments of any types
    (row,) = trainer(rows, tmp_path_factory.mktemp("out"), command=True).train_dataset
    read = [{**turn, "content": turn["content"] or ""} for turn in messages]
    assert row[LOSS_WEIGHT] == weighed.naive(TOKENIZER, read, weights)
