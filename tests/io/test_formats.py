from typing import Any

import pytest
from datasets import Dataset, IterableDataset
from trl import SFTConfig, SFTTrainer

from qtuning.errors import UsageError
from qtuning.io.formats import columns_of, find_format, to_trl
from qtuning.io.turns import without_nulls

from .. import device, talks, tiny

TALK = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
SHARE = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]


def first(rows: list[dict[str, Any]], chat: bool = True, **options: Any) -> dict[str, Any]:
    """The first row as TRL gets it, which must be the same when streamed."""
    data = Dataset.from_list(rows)
    made = to_trl(data, "x", chat=chat, **options)
    streamed = to_trl(data.to_iterable_dataset(), "x", chat=chat, **options)
    assert isinstance(made, Dataset)
    assert isinstance(streamed, IterableDataset)
    if not talks.ANY_OBJECTS:  # Arrow adds nulls, which TRL of that time takes out
        assert without_nulls(list(made)) == without_nulls(list(streamed))
        return dict(without_nulls(made[0]))
    assert list(made) == list(streamed)
    row: dict[str, Any] = made[0]
    return row


def refusal(rows: list[dict[str, Any]]) -> str:
    with pytest.raises(UsageError) as caught:
        to_trl(Dataset.from_list(rows), "x", chat=True)
    # A stream comes to the bad row later, and says the same.
    with pytest.raises(UsageError) as later:
        list(to_trl(Dataset.from_list(rows).to_iterable_dataset(), "x", chat=True))
    assert str(later.value) == str(caught.value)
    return str(caught.value)


def test_formats_that_trl_reads_stay_and_other_columns_too() -> None:
    for row in (
        {"input_ids": [1, 2], "labels": [-100, 2], "prompt": "p"},
        {"messages": TALK, "id": "a"},
        {"prompt": "p", "completion": "c", "source": 3},
        {"prompt": TALK[:1], "completion": TALK[1:]},
        {"text": "t", "id": 1},
    ):
        assert first([row]) == row


def test_first_known_format_wins_and_its_rivals_go() -> None:
    row = {
        "id": 7,
        "labels": 1,
        "text": "t",
        "instruction": "i",
        "output": "o",
        "prompt": "p",
        "completion": "c",
        "messages": TALK,
    }
    kept = {"id": 7, "instruction": "i", "output": "o"}
    assert first([row]) == {**kept, "messages": TALK}
    del row["messages"]
    assert first([row]) == {**kept, "prompt": "p", "completion": "c"}
    del row["completion"]
    assert first([row], chat=False) == {"id": 7, "prompt": "i\n\n", "completion": "o"}
    del row["output"]
    assert first([row]) == {"id": 7, "text": "t", "instruction": "i"}


def test_conversations_become_messages() -> None:
    assert first([{"conversations": TALK, "id": 1}]) == {"messages": TALK, "id": 1}
    assert first([{"conversations": SHARE, "id": 1}]) == {"messages": TALK, "id": 1}
    assert first([{"messages": SHARE}]) == {"messages": TALK}
    system = [{"from": "system", "value": "s"}]
    assert first([{"conversations": system + SHARE}])["messages"][0]["role"] == "system"
    assert first([{"prompt": SHARE[:1], "completion": SHARE[1:]}]) == {
        "prompt": TALK[:1],
        "completion": TALK[1:],
    }


def test_alpaca() -> None:
    rows = [
        {"instruction": "add", "input": "1 2", "output": "3", "id": 1},
        {"instruction": "hi", "input": "", "output": "ho", "id": 2},
        {"instruction": "hi", "input": None, "output": "ho", "id": 3},
    ]
    talks = list(to_trl(Dataset.from_list(rows), "x", chat=True))
    assert talks[0] == {
        "id": 1,
        "prompt": [{"role": "user", "content": "add\n\n1 2"}],
        "completion": [{"role": "assistant", "content": "3"}],
    }
    assert [talk["prompt"][0]["content"] for talk in talks[1:]] == ["hi", "hi"]
    texts = list(to_trl(Dataset.from_list(rows), "x", chat=False))
    assert [row["prompt"] for row in texts] == ["add\n\n1 2\n\n", "hi\n\n", "hi\n\n"]
    assert texts[0] == {"id": 1, "prompt": "add\n\n1 2\n\n", "completion": "3"}
    del rows[0]["input"]
    assert first(rows[:1], chat=False)["prompt"] == "add\n\n"


def test_another_text_field() -> None:
    assert first([{"body": "b", "text": "t"}], text_field="body") == {"body": "b"}


def test_unknown_columns_are_told_with_those_wanted() -> None:
    with pytest.raises(UsageError) as caught:
        find_format(["question", "answer"], "d.csv [train]", "body")
    message = str(caught.value)
    assert message.startswith("d.csv [train]: no column to train on among question, answer")
    assert "prompt and completion" in message
    assert "or body" in message


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ({"prompt": "p", "completion": "c"}, {"completion": None}, "completion is empty"),
        ({"text": "t"}, {"text": None}, "text is empty, not text"),
        ({"instruction": "i", "output": "o"}, {"output": None}, "output is empty"),
        ({"messages": TALK}, {"messages": []}, "messages has no messages"),
        ({"messages": TALK}, {"messages": None}, "messages is empty"),
        (
            {"messages": TALK},
            {"messages": [TALK[0], {"role": "assistant", "content": None}]},
            "messages message 2 has no content",
        ),
        ({"messages": TALK}, {"messages": [{"content": "a"}]}, "messages message 1 has no role"),
        (
            {"conversations": SHARE},
            {"conversations": [{"from": "narrator", "value": "a"}]},
            "conversations message 1 is from 'narrator', not from one of user, human",
        ),
        (
            {"conversations": SHARE},
            {"conversations": [{"from": "human", "value": None}]},
            "conversations message 1 has no content",
        ),
    ],
)
def test_bad_rows_are_numbered(good: dict[str, Any], bad: dict[str, Any], said: str) -> None:
    message = refusal([good, good, {**good, **bad}])
    assert message.startswith(f"x, row 3: {said}")
    assert message.endswith("; mend the row or leave it out")


def test_columns_of_the_wrong_type() -> None:
    assert "row 1: text is a number, not text" in refusal([{"text": 3}])
    assert "row 1: messages is text, not a list" in refusal([{"messages": "hello"}])
    assert "completion is text, not a list" in refusal([{"prompt": TALK[:1], "completion": "c"}])
    assert "row 1: input is a number" in refusal([{"instruction": "a", "input": 1, "output": "b"}])


def test_calls_of_tools_need_no_content() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}
    read = {"type": "function", "function": {"name": "f", "arguments": {}}}
    assert first([{"messages": [TALK[0], call]}])["messages"][1]["tool_calls"] == [read]


def test_rows_are_numbered_in_the_slice_and_empty_data_refused() -> None:
    data = Dataset.from_list([{"text": "a"}, {"text": "b"}, {"text": None}])
    with pytest.raises(UsageError, match="row 2: text"):
        to_trl(data.select([0, 2]), "x", chat=True)
    for empty in (data.select([]), data.to_iterable_dataset().take(0)):
        with pytest.raises(UsageError, match=r"^x: no rows"):
            to_trl(empty, "x", chat=True)


def test_columns_of_a_stream_without_features() -> None:
    stream = IterableDataset.from_generator(lambda: iter([{"text": "a"}]))
    assert columns_of(stream) == ["text"]
    assert list(to_trl(stream, "x", chat=True)) == [{"text": "a"}]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "row",
    [
        {"conversations": SHARE, "text": "x"},
        {"conversations": TALK},
        {"instruction": "hi", "output": "ho", "text": "x", "labels": 3},
        {"prompt": "hi", "completion": "ho", "text": "x"},
    ],
)
def test_trl_makes_the_right_tokens(row: dict[str, Any], stream: bool, tmp_path: Any) -> None:
    data: Any = Dataset.from_list([row, row])
    made = to_trl(data.to_iterable_dataset() if stream else data, "x", chat=True)
    how = {**device.arguments(), "report_to": [], "bf16": False, "max_steps": 1}
    args = SFTConfig(output_dir=str(tmp_path), **how)
    tokenizer = tiny.tokenizer(chat=True)
    trainer = SFTTrainer(tiny.llama(), args, train_dataset=made, processing_class=tokenizer)
    sample = next(iter(trainer.train_dataset))
    text = tokenizer.decode(sample["input_ids"]).replace(" ", "")
    if "prompt" in row:
        assert text == "hiho<eos>"
    else:
        assert text == "<u>userhi<e><u>assistantho<e>"
