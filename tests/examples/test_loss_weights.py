"""A user's weight stays with its token through reading, unpacking, pruning and any collator."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DataCollatorForLanguageModeling

from qtuning.errors import UsageError
from qtuning.examples.example import SAMPLES, packed_length, unpack
from qtuning.examples.labels import Labels
from qtuning.examples.loss_weights import take_weights
from qtuning.io.weights import LOSS_WEIGHT
from qtuning.step.candidates import candidates_of

from .test_example import KEEPERS, MAKERS, PAD, example, pruned, tokenizer


def weight_of(token: int) -> float:
    return 1.0 + token % 7


def weighed(row: dict) -> dict:
    return {**row, LOSS_WEIGHT: list(map(weight_of, row["input_ids"]))}


@pytest.mark.parametrize("mode", ["mask", "drop"])
@pytest.mark.parametrize(
    "name", [*KEEPERS, *(f"makes {name}" for name in MAKERS if name != "left")]
)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_weights_stand_at_their_labels_in_a_batch(name, mode, data) -> None:
    made = name.startswith("makes ")
    labels = Labels(MAKERS[name.removeprefix("makes ")] if made else KEEPERS[name])
    rows = data.draw(st.lists(example(labels=not made), min_size=1, max_size=4))
    # A spare row without weights may stand among others.
    ready = [labels.of(row if place == 2 else weighed(row)) for place, row in enumerate(rows)]
    examples = [pruned(one, data, mode) for one in ready]
    batch = labels.collate_to_train(examples)
    plain = labels.collate(examples)
    assert LOSS_WEIGHT not in plain
    assert batch.keys() == {*plain, LOSS_WEIGHT, SAMPLES}
    assert torch.equal(batch["labels"], plain["labels"])
    answers = batch["labels"][:, 1:] != -100
    assert batch[SAMPLES].lengths == [sum(y != -100 for y in one["labels"][1:]) for one in examples]
    found = batch[LOSS_WEIGHT][:, 1:][answers].split(batch[SAMPLES].lengths)
    for place, (values, one) in enumerate(zip(found, examples, strict=True)):
        kept = [y for y in one["labels"][1:] if y != -100]
        assert values.tolist() == [1.0 if place == 2 else weight_of(y) for y in kept]
    assert bool((batch[LOSS_WEIGHT][:, 1:][~answers] == 1.0).all())


def test_padding_that_predicts_is_refused() -> None:
    labels = Labels(MAKERS["left"])
    rows = [labels.of(weighed({"input_ids": ids})) for ids in ([5, 6, 7], [5, 6])]
    with pytest.raises(UsageError, match=r"4 labels .* 3 answer tokens.*pad on the right"):
        labels.collate_to_train(rows)


def test_a_batch_without_weights_is_as_ever() -> None:
    labels = Labels(KEEPERS["trl"])
    rows = [labels.of({"input_ids": [5, 6, 7], "labels": [-100, 6, 7]})]
    assert labels.collate_to_train(rows).keys() == labels.collate(rows).keys()


def test_packed_and_padded_rows_keep_the_weights_of_their_tokens() -> None:
    row = {"input_ids": [5, 6, 7, 8, 9], "labels": [-100, 6, -100, 8, 9], "seq_lengths": [2, 3]}
    row |= {LOSS_WEIGHT: [1.0, 0.5, 1.0, 2.0, 0.0], "sample_id": ["a", "b"]}
    assert [one[LOSS_WEIGHT] for one in unpack(row)] == [[1.0, 0.5], [1.0, 2.0, 0.0]]
    labels = Labels(KEEPERS["trl"])
    first, second = candidates_of(labels, [[row]], 1, packed_length)
    assert (first.loss_weight.tolist(), second.loss_weight.tolist()) == ([0.5], [2.0])
    assert second.example["labels"] == [-100, 8, -100], "a weight of 0 is no answer"
    assert LOSS_WEIGHT not in second.example
    assert (len(first.answers), len(second.answers)) == (1, 1)
    padded = {"input_ids": [PAD, 5, 6], "attention_mask": [0, 1, 1], LOSS_WEIGHT: [9.0, 1.0, 3.0]}
    makes = Labels(DataCollatorForLanguageModeling(tokenizer(), mlm=False))
    rest, weights = take_weights(makes.of(padded), "a")
    assert weights.tolist() == [3.0]
    assert rest["labels"] == [5, 6]
