"""Weights of rows and messages are read in every spelling; others are refused with the row."""

import json
import math

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from qtuning import UsageError
from qtuning.io.formats import to_trl
from qtuning.io.token_ids import check_tokens, read_tokens
from qtuning.io.weights import (
    MESSAGE_WEIGHTS,
    WEIGHT_KEYS,
    message_weight,
    read_weight,
    token_weights,
)

from ..talks import answer, user

WEIGHTS = st.floats(0, 100, allow_nan=False)
BAD = [-1, -0.5, math.nan, math.inf, -math.inf, "heavy", [1], {"a": 1}, 10**400]
SPELLINGS = [
    ({"weight": 0}, 0.0),
    ({"weight": 2.5}, 2.5),
    ({"train": False}, 0.0),
    ({"train": True}, 1.0),
    ({"training": False}, 0.0),
    ({"trainable": False}, 0.0),
    ({"loss": False}, 0.0),
    ({"loss": 0.25}, 0.25),
    ({"loss_weight": 0.5}, 0.5),
    ({"weight": 0.5, "train": True, "loss": None}, 0.5),
    ({"weight": 0.5, "loss": 0.5}, 0.25),
    ({"weight": None, "train_detail": []}, 1.0),
    ({"loss_mask": 1}, 1.0),
]


@given(WEIGHTS)
def test_numbers_and_their_texts_are_weights(weight) -> None:
    assert read_weight(weight) == read_weight(repr(weight)) == weight
    assert read_weight(None) == read_weight("") == read_weight(True) == 1.0
    assert read_weight(False) == 0.0


@pytest.mark.parametrize("value", BAD, ids=lambda value: repr(value)[:9])
def test_what_is_no_weight_is_refused(value) -> None:
    with pytest.raises(ValueError, match="a weight is a finite number of at least 0"):
        read_weight(value)
    for key in WEIGHT_KEYS:
        with pytest.raises(ValueError, match=f"has {key} "):
            message_weight({"role": "assistant", key: value})


@pytest.mark.parametrize(("said", "weight"), SPELLINGS, ids=[str(said) for said, _ in SPELLINGS])
def test_messages_say_their_weight_as_each_trainer_spells_it(said, weight) -> None:
    assert message_weight({**answer("x"), **said}) == weight


@pytest.mark.parametrize(
    "said",
    [{"train_detail": [{"begin_offset": 0}]}, {"loss_mask": 0}, {"loss_scale": [1.0]}],
    ids=str,
)
def test_keys_that_are_not_understood_are_refused(said) -> None:
    with pytest.raises(ValueError, match="which is not read"):
        message_weight(said)


TALK = [user("a"), {**answer("b"), "weight": 0}, user("c"), {**answer("d"), "loss": 0.5}]
SHAREGPT = [
    {"from": "human", "value": "a"},
    {"from": "gpt", "value": "b", "weight": 0},
    {"from": "human", "value": "c"},
    {"from": "gpt", "value": "d", "weight": 0.5},
]
ALPACA = {"instruction": "a", "output": "b", "history": [["q", "r"]]}
FORMATS = {
    "messages": ({"messages": TALK}, [1, 0, 1, 0.5]),
    "times the row's": ({"messages": TALK, "loss_weight": 2}, [2, 0, 2, 1]),
    "as JSON text": ({"messages": json.dumps(TALK)}, [1, 0, 1, 0.5]),
    "ShareGPT": ({"conversations": SHAREGPT}, [1, 0, 1, 0.5]),
    "a system column": (
        {"messages": TALK, "system": "s", "loss_weight": 3},
        [3, 3, 0, 3, 1.5],
    ),
    "prompt and completion": ({"prompt": TALK[:3], "completion": TALK[3:]}, [1, 0, 1, 0.5]),
    "all alike": ({"messages": TALK[:1] + TALK[2:3], "loss_weight": 0.5}, [0.5]),
    "Alpaca": ({**ALPACA, "loss_weight": 0.5}, [0.5]),
    "texts": ({"prompt": "a", "completion": "b", "loss_weight": 0.5}, [0.5]),
    "text of a cell": ({"text": "a", "loss_weight": "0.5"}, [0.5]),
    "nothing said": ({"text": "a", "loss_weight": None}, None),
    "all 1": ({"messages": [user("a"), {**answer("b"), "weight": 1}], "loss_weight": 1}, None),
}


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("row", "weights"), FORMATS.values(), ids=FORMATS)
def test_every_format_is_read_with_its_weights(row, weights, stream, chat) -> None:
    rows = [row, {**row, "loss_weight": None}] if "loss_weight" in row else [row]
    data = Dataset.from_list([json.loads(json.dumps(one)) for one in rows])
    read = list(to_trl(data.to_iterable_dataset() if stream else data, "x", chat=chat))
    assert read[0].get(MESSAGE_WEIGHTS) == weights
    assert "loss_weight" not in read[0]
    columns = [read[0].get(name, []) for name in ("messages", "prompt", "completion")]
    turns = [turn for column in columns for turn in column if isinstance(turn, dict)]
    assert not any(set(WEIGHT_KEYS) & set(turn) for turn in turns)


def refusal(rows, *, stream=False, **options) -> str:
    data = Dataset.from_list(rows)
    with pytest.raises(UsageError) as caught:
        list(to_trl(data.to_iterable_dataset() if stream else data, "x", chat=True, **options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("stream", [False, True])
def test_bad_weights_are_refused_with_the_row(stream) -> None:
    good = {"messages": [user("a"), {**answer("b"), "weight": 1.0}], "loss_weight": 1.0}
    bad = {**good, "loss_weight": -1.0}
    assert "x, row 2: loss_weight is -1.0, and" in refusal([good, bad], stream=stream)
    bad = {**good, "messages": [user("a"), {**answer("b"), "weight": math.nan}]}
    said = refusal([good, bad], stream=stream)
    assert "x, row 2: messages message 2 has weight nan, and a weight is a finite" in said
    text = {"text": "a", "loss_weight": "much"}
    assert "x, row 1: loss_weight is 'much'" in refusal([text], stream=stream)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("column", ["weight", "train"])
@pytest.mark.parametrize("row", [{"text": "a"}, {"prompt": "a", "completion": "b"}], ids=str)
def test_a_weight_of_a_message_on_a_row_without_messages_is_refused(row, column, stream) -> None:
    for weight in (0, -2.5, "0.5"):
        rows = [{**row, column: type(weight)(1)}, {**row, column: weight}]
        said = refusal(rows, stream=stream)
        assert f"x, row 2: {column} is read in messages alone: call the weight of a" in said
    ones = Dataset.from_list([{**row, column: 1}, {**row, column: None}])
    assert len(list(to_trl(ones, "x", chat=True))) == 2
    texts = Dataset.from_list([{**row, column: "split A"}])
    assert len(list(to_trl(texts, "x", chat=True))) == 1


def test_data_of_which_nothing_would_be_trained_are_refused() -> None:
    said = "x: all that would be trained has weight 0"
    assert said in refusal([{"text": "a", "loss_weight": 0}])
    talk = {"messages": [user("a"), {**answer("b"), "train": False}]}
    assert said in refusal([talk], assistant=True)
    assert len(to_trl(Dataset.from_list([talk]), "x", chat=True)) == 1  # the question is trained
    pair = {"prompt": talk["messages"][:1], "completion": talk["messages"][1:]}
    assert said in refusal([pair])
    some = Dataset.from_list([{**talk, "loss_weight": weight} for weight in (0, 1)])
    assert len(to_trl(some, "x", chat=True)) == 2


TOKENS = {"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (-1.0, "loss_weight is -1.0"),
        ([1.0, math.nan, 1.0], "loss_weight has nan"),
        ([1.0, 1.0], "loss_weight has 2 weights for 3 tokens"),
    ],
    ids=str,
)
def test_weights_of_rows_of_tokens_are_checked(weight, said) -> None:
    data = Dataset.from_list([{**TOKENS, "loss_weight": weight}])
    with pytest.raises(UsageError, match=f"x, row 1: {said}"):
        check_tokens(data, "x")
    with pytest.raises(UsageError, match=f"x, row 1: {said}"):
        list(read_tokens(data.to_iterable_dataset(), "x"))


def test_rows_of_tokens_have_a_weight_or_one_a_token() -> None:
    for weight in (0.5, [0.5, 0.0, 2.0], None):
        data = Dataset.from_list([{**TOKENS, "loss_weight": weight}] * 2)
        check_tokens(data, "x")
        assert len(list(read_tokens(data.to_iterable_dataset(), "x"))) == 2
    assert token_weights(0.5, 2) == [0.5, 0.5]
    assert token_weights([0, 2], 2) == [0.0, 2.0]
    with pytest.raises(UsageError, match="x: all tokens have weight 0"):
        check_tokens(Dataset.from_list([{**TOKENS, "loss_weight": 0.0}]), "x")
