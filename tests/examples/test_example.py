"""Examples survive unpacking, pruning, dealing and any collator with exactly their own labels."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorForSeq2Seq,
    DataCollatorWithFlattening,
    default_data_collator,
)
from trl.data_utils import pack_dataset
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling as TrlCollator

from qtuning.errors import UsageError
from qtuning.examples.example import (
    RawBatch,
    answer_positions,
    nothing_to_train_on,
    prune_tokens,
    unpack,
    without_prompt,
)
from qtuning.examples.labels import Labels
from qtuning.examples.names import with_sample_ids

from .. import tiny

PAD, EOS = 0, 1


def tokenizer(side: str = "right", pad: str = "<pad>") -> Any:
    made = tiny.tokenizer()
    made.padding_side, made.pad_token = side, pad
    return made


# Collators that pad the labels an example brings.
KEEPERS = {
    "trl": TrlCollator(pad_token_id=PAD),
    "trl, multiples of 8": TrlCollator(pad_token_id=PAD, pad_to_multiple_of=8),
    "trl, padding-free": TrlCollator(pad_token_id=PAD, padding_free=True),
    "seq2seq, right": DataCollatorForSeq2Seq(tokenizer()),
    "seq2seq, left": DataCollatorForSeq2Seq(tokenizer("left")),
    "flattening": DataCollatorWithFlattening(),
}
# Collators that make labels anew from the input ids.
MAKERS = {
    "trl": TrlCollator(pad_token_id=PAD),
    "right": DataCollatorForLanguageModeling(tokenizer(), mlm=False),
    "left": DataCollatorForLanguageModeling(tokenizer("left"), mlm=False),
    "multiples of 8": DataCollatorForLanguageModeling(tokenizer(), mlm=False, pad_to_multiple_of=8),
    "pad is eos": DataCollatorForLanguageModeling(tokenizer(pad="<eos>"), mlm=False),
}


@st.composite
def example(draw: st.DrawFn, labels: bool = True) -> dict[str, Any]:
    """A prompt of at least one token, an answer, and perhaps an end-of-turn token."""
    prompt = draw(st.lists(st.integers(4, 98), min_size=1, max_size=6))
    answer = draw(st.lists(st.integers(4, 98), min_size=1, max_size=6))
    answer += [EOS] * draw(st.integers(0, 1))
    made: dict[str, Any] = {"input_ids": prompt + answer, "sample_id": "a"}
    if labels:
        made["labels"] = [-100] * len(prompt) + answer
    return made


def pruned(one: dict[str, Any], data: st.DataObject, mode: str) -> dict[str, Any]:
    answers = answer_positions(one["labels"])
    size = len(answers)
    keep = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    return prune_tokens(one, answers, torch.tensor(keep, dtype=torch.bool), mode)


def labels_in(batch: dict[str, Any], examples: Sequence[dict[str, Any]]) -> list[list[int]]:
    """Each example's labels as the batch has them; there are none beside them."""
    lengths = [len(one["input_ids"]) for one in examples]
    labels, inputs = batch["labels"], batch["input_ids"]
    assert labels.shape == inputs.shape
    if "attention_mask" in batch:
        assert bool((labels[batch["attention_mask"] == 0] == -100).all())
        own = batch["attention_mask"].bool()
        assert [x[m].tolist() for x, m in zip(inputs, own, strict=True)] == [
            one["input_ids"] for one in examples
        ]
        return [y[m].tolist() for y, m in zip(labels, own, strict=True)]
    assert labels.shape == (1, sum(lengths))
    return [part.tolist() for part in labels[0].split(lengths)]


@pytest.mark.parametrize("mode", ["mask", "drop"])
@pytest.mark.parametrize("name", KEEPERS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_labels_that_examples_bring_survive_the_collator(name, mode, data):
    labels = Labels(KEEPERS[name])
    examples = [
        pruned(labels.of(one), data, mode)
        for one in data.draw(st.lists(example(), min_size=1, max_size=4))
    ]
    batch = labels.collate(examples)
    assert labels_in(batch, examples) == [one["labels"] for one in examples]


@pytest.mark.parametrize("mode", ["mask", "drop"])
@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_labels_that_the_collator_makes_are_read_off_and_survive_it(name, mode, data):
    labels = Labels(MAKERS[name])
    rows = data.draw(st.lists(example(labels=False), min_size=1, max_size=4))
    examples = [labels.of(row) for row in rows]
    for row, one in zip(rows, examples, strict=True):
        ids = row["input_ids"]
        assert one["labels"] == [-100 if name == "pad is eos" and i == EOS else i for i in ids]
    assert labels_in(labels.collate(examples), rows) == [one["labels"] for one in examples]
    less = [pruned(one, data, mode) for one in examples]
    assert labels_in(labels.collate(less), less) == [one["labels"] for one in less]


def test_rows_of_one_length_survive_the_default_collator():
    labels = Labels(default_data_collator)
    rows = [{"input_ids": [5, 6, 7], "labels": [-100, -100, i]} for i in (7, -100)]
    batch = labels.collate([labels.of(row) for row in rows])
    assert batch["labels"].tolist() == [[-100, -100, 7], [-100, -100, -100]]


def test_own_labels_survive_a_collator_that_would_make_them_anew():
    labels = Labels(DataCollatorForLanguageModeling(tokenizer(), mlm=False))
    rows = [{"input_ids": [5, 6, 7], "labels": [-100, *y]} for y in ([-100, 7], [6, -100])]
    batch = labels.collate([labels.of(row) for row in rows])
    assert labels_in(batch, rows) == [row["labels"] for row in rows]


def test_padding_that_the_data_set_came_with_is_taken_off():
    labels = Labels(DataCollatorForLanguageModeling(tokenizer(), mlm=False))
    row = {"input_ids": [5, 6, 7, PAD, PAD], "attention_mask": [1, 1, 1, 0, 0]}
    one = labels.of(row)
    assert one["input_ids"] == one["labels"] == [5, 6, 7]
    assert labels.collate([one])["labels"].tolist() == [one["labels"]]


@pytest.mark.parametrize(
    "collator",
    [
        pytest.param(default_data_collator, id="gives none"),
        pytest.param(
            DataCollatorForSeq2Seq(tokenizer()),
            id="gives None",
        ),
    ],
)
def test_without_labels_anywhere_the_user_is_told_so(collator):
    with pytest.raises(UsageError, match="labels"):
        Labels(collator).of({"input_ids": [5, 6, 7]})


def test_labels_made_by_a_flattening_collator_are_written_over():
    labels = Labels(DataCollatorWithFlattening())
    one = labels.of({"input_ids": [5, 6, 7]})
    assert one["labels"] == [-100, 6, 7]
    pruned = {**one, "labels": [-100, -100, 7]}
    batch = labels.collate([one, pruned])
    assert batch["labels"].tolist() == [[-100, 6, 7, -100, -100, 7]]


def test_tensor_columns_become_lists_and_names_stay_out_of_the_collator():
    labels = Labels(TrlCollator(pad_token_id=PAD))
    row = {"input_ids": torch.tensor([5, 6]), "labels": torch.tensor([-100, 6]), "sample_id": "a"}
    one = labels.of(row)
    assert one == {"input_ids": [5, 6], "labels": [-100, 6], "sample_id": "a"}
    assert "sample_id" not in labels.collate([one])


@pytest.mark.parametrize("seed", range(3))
def test_unpacking_gives_back_the_samples_that_trl_packed(seed):
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 24, (30,), generator=draw).tolist()
    samples = [
        {"input_ids": [4 + i] * n, "labels": [-100] * (n // 2) + [4 + i] * (n - n // 2)}
        for i, n in enumerate(lengths)
    ]
    packed = with_sample_ids(pack_dataset(Dataset.from_list(samples), seq_length=16))
    assert len(packed) < len(samples)
    parts = [(row, unpack(packed[row])) for row in range(len(packed))]
    for row, unpacked in parts:
        names = [one.pop("sample_id") for one in unpacked]
        assert names == [f"{row}:{i}" for i in range(len(unpacked))]
    truncated = [{key: value[:16] for key, value in one.items()} for one in samples]
    back = [one for _, unpacked in parts for one in unpacked]
    assert sorted(back, key=lambda one: one["input_ids"][0]) == truncated


@pytest.mark.parametrize("column", ["completion_mask", "assistant_masks"])
def test_unpacking_keeps_the_masks_from_which_older_trl_makes_labels(column):
    row = {"input_ids": [5, 6, 7], column: [0, 1, 1], "seq_lengths": [2, 1]}
    assert [one.get(column) for one in unpack(row)] == [[0, 1], [1]]


def test_a_row_that_is_not_packed_is_one_sample_of_its_own():
    row = {"input_ids": [5, 6], "labels": [5, 6], "sample_id": "a"}
    assert unpack(row) == [row]
    assert unpack(row)[0] is not row
    assert RawBatch([row]).examples == [row]


@pytest.mark.parametrize("kind", [list, torch.tensor])
def test_answers_are_where_labels_are_except_at_the_never_predicted_first_token(kind):
    assert answer_positions(kind([3, -100, 5, 6])).tolist() == [2, 3]
    assert answer_positions(kind([-100, -100])).tolist() == []
    assert answer_positions(kind([7])).tolist() == []


@pytest.mark.parametrize("mode", ["mask", "drop"])
@pytest.mark.parametrize("tensors", [False, True])
@given(one=example(), data=st.data())
def test_pruning_takes_only_answer_tokens_and_leaves_the_rest_in_order(tensors, mode, one, data):
    n = len(one["input_ids"])
    one |= {"attention_mask": [1] * n, "position_ids": list(range(n))}
    one |= {"token_type_ids": list(range(n)), "other": ["x"] * (n + 1)}
    if tensors:
        one = {k: torch.tensor(v) if k != "other" and n == len(v) else v for k, v in one.items()}
    before = copy.deepcopy(one)
    answers = answer_positions(one["labels"])
    keep = data.draw(st.lists(st.booleans(), min_size=len(answers), max_size=len(answers)))
    less = prune_tokens(one, answers, torch.tensor(keep), mode)

    gone = {i for i, kept in zip(answers.tolist(), keep, strict=True) if not kept}
    left = [i for i in range(n) if i not in gone]
    if mode == "mask":
        expected = [-100 if i in gone else int(before["labels"][i]) for i in range(n)]
        assert [int(y) for y in less["labels"]] == expected
        assert all(less[key] is one[key] for key in one if key != "labels")
    else:
        for key in ("input_ids", "labels", "attention_mask", "token_type_ids"):
            assert [int(x) for x in less[key]] == [int(before[key][i]) for i in left]
        assert [int(x) for x in less["position_ids"]] == list(range(len(left)))
    assert (less["other"], less["sample_id"]) == (before["other"], before["sample_id"])
    assert one.keys() == before.keys()
    assert all(list(one[key]) == list(before[key]) for key in one)


def test_a_spare_row_has_two_tokens_and_no_label():
    n = {"input_ids": [5, 6, 7], "labels": [-100, 6, 7], "position_ids": [0, 1, 2]}
    spare = nothing_to_train_on({**n, "attention_mask": [1, 1, 1]})
    assert spare == {
        "input_ids": [5, 6],
        "labels": [-100, -100],
        "position_ids": [0, 1],
        "attention_mask": [1, 1],
    }
    assert nothing_to_train_on({"input_ids": [5], "labels": [5]})["input_ids"] == [5, 5]
    batch = Labels(KEEPERS["trl"]).collate([spare])
    assert batch["labels"].tolist() == [[-100, -100]]


@pytest.mark.parametrize("name", MAKERS)
def test_a_spare_row_stays_without_a_label_where_the_collator_makes_labels(name):
    labels = Labels(MAKERS[name])
    spare = nothing_to_train_on(labels.of({"input_ids": [5, 6, 7]}))
    assert bool((labels.collate([spare])["labels"] == -100).all())


# Answers without their prompts


def talk(labels: Sequence[int], **columns: Any) -> Any:
    example = {"input_ids": list(range(10, 10 + len(labels))), "labels": list(labels), **columns}
    return without_prompt(example, answer_positions(labels))


def test_an_answer_alone_stands_behind_the_token_before_it():
    found = talk([-100, -100, -100, 13, 14], position_ids=[0, 1, 2, 3, 4], name="a")
    assert found["input_ids"] == [12, 13, 14]
    assert found["labels"] == [-100, 13, 14]
    assert found["position_ids"] == [0, 1, 2]
    assert found["name"] == "a"


def test_of_several_turns_each_answer_stands_behind_the_token_before_it():
    found = talk([-100, -100, 12, 13, -100, -100, 16, -100])
    assert found["input_ids"] == [11, 12, 13, 15, 16]
    assert found["labels"] == [-100, 12, 13, -100, 16]


def test_answers_with_one_token_between_them_lose_nothing_but_the_prompt():
    assert talk([-100, -100, 12, -100, 14])["input_ids"] == [11, 12, 13, 14]


@pytest.mark.parametrize("labels", [[10, 11, 12], [-100, 11, 12], [-100, 11, -100, 13]])
def test_where_nothing_can_be_left_out_there_is_no_prompt(labels):
    assert talk(labels) is None


@given(st.lists(st.booleans(), min_size=2, max_size=30).filter(lambda flags: any(flags[1:])))
def test_an_answer_alone_has_all_its_labels_and_only_those(flags):
    labels = [10 + i if flag else -100 for i, flag in enumerate(flags)]
    found = talk(labels)
    wanted = [label for label in labels[1:] if label != -100]
    if found is None:
        return
    kept = answer_positions(found["labels"]).tolist()
    assert [found["labels"][i] for i in kept] == [found["input_ids"][i] for i in kept] == wanted
    # Each answer token is predicted behind the token that stood before it.
    assert all(found["input_ids"][i - 1] == found["input_ids"][i] - 1 for i in kept)
