"""Rows of every format are read whole, or refused: no column is lost without a word."""

import json
import logging
from datetime import datetime
from typing import Any

import pytest
from datasets import Dataset, IterableDataset

from qtuning import UsageError
from qtuning.io.formats import to_trl
from qtuning.io.turns import without_nulls

from .. import talks

Q, A = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
S = {"role": "system", "content": "s"}
SHARE = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
TOOL = {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "string"}}}}
TOOLS = json.dumps([{"type": "function", "function": TOOL}])


def read(rows: list[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
    """The rows as TRL gets them, the same when streamed."""
    options = {"chat": True, **options}
    data = Dataset.from_list(rows)
    made = to_trl(data, "x", **options)
    streamed = to_trl(data.to_iterable_dataset(), "x", **options)
    assert isinstance(streamed, IterableDataset)
    columns = made.column_names
    rows = [{name: row.get(name) for name in columns} for row in streamed]
    if talks.ANY_OBJECTS:
        assert rows == made.to_list()
    else:  # Arrow adds nulls, which TRL of that time takes out
        assert without_nulls(rows) == without_nulls(made.to_list())
    return made.to_list()


@pytest.mark.parametrize(
    "tools", [TOOLS, json.dumps([TOOL]), [TOOL]], ids=["whole", "flat", "objects"]
)
@pytest.mark.parametrize("talk", [{"conversations": SHARE}, {"messages": [Q, A]}], ids=list)
def test_system_and_tools_of_a_conversation(talk, tools) -> None:
    (row,) = read([{**talk, "system": "s", "tools": tools, "id": "1"}])
    tools = row.pop("tools")  # TRL before 0.29 reads no text
    assert (json.loads(tools) if isinstance(tools, str) else tools) == json.loads(TOOLS)
    assert row == {"messages": [S, Q, A], "id": "1"}


def test_a_column_of_tools_without_any_goes() -> None:
    for nothing in ("", "[]", None):
        assert read([{"conversations": SHARE, "tools": nothing}]) == [{"messages": [Q, A]}]


def test_a_conversational_prompt_with_a_system_column() -> None:
    row = {"prompt": [Q], "completion": [A], "system": "s"}
    assert read([row]) == [{"prompt": [S, Q], "completion": [A]}]


def test_alpaca_with_system_and_history() -> None:
    row = {
        "instruction": "i",
        "input": "x",
        "output": "o",
        "system": "s",
        "history": [["q", "a"], ["q", "a"]],
    }
    asked, said = {"role": "user", "content": "i\n\nx"}, {"role": "assistant", "content": "o"}
    assert read([row]) == [{"prompt": [S, Q, A, Q, A, asked], "completion": [said]}]
    text = "s\n\nq\n\na\n\nq\n\na\n\ni\n\nx\n\n"
    assert read([row], chat=False) == [{"prompt": text, "completion": "o"}]
    cells = {**row, "history": json.dumps(row["history"])}  # as in a CSV
    assert read([cells], chat=False) == [{"prompt": text, "completion": "o"}]
    bare = {"instruction": "i", "input": None, "output": "o", "system": "", "history": []}
    assert read([bare], chat=False) == [{"prompt": "i\n\n", "completion": "o"}]


SPELLINGS = [
    [Q, A],
    [{"role": "human", "content": "q"}, {"role": "GPT", "content": "a"}],
    [{"role": "user", "content": [{"type": "text", "text": "q"}]}, A],
]


@pytest.mark.parametrize("first", range(3))
def test_the_order_of_rows_does_not_matter(first) -> None:
    """Arrow fills rows of one spelling up with the nulls of the others' keys."""
    talks = [SHARE, SPELLINGS[0], SPELLINGS[1]]
    rows = [{"conversations": talk} for talk in (*talks[first:], *talks[:first])]
    assert read(rows) == [{"messages": [Q, A]}] * 3


def test_calls_of_tools_keep_their_own_arguments() -> None:
    def row(name: str, **arguments: Any) -> dict[str, Any]:
        call = {"type": "function", "function": {"name": name, "arguments": arguments}}
        return {"messages": [Q, {"role": "assistant", "content": "", "tool_calls": [call]}]}

    rows = [row("f", city="Oslo"), row("g", a=1, b=[2])]
    for made in (read(rows), read(rows[::-1])[::-1]):
        if not talks.ANY_OBJECTS:  # Arrow adds nulls, which TRL of that time takes out
            made = without_nulls(made)
        functions = [one["messages"][1]["tool_calls"][0]["function"] for one in made]
        assert functions == [
            {"name": "f", "arguments": {"city": "Oslo"}},
            {"name": "g", "arguments": {"a": 1, "b": [2]}},
        ]


REFUSED = [
    ({"prompt": "p", "completion": "c", "system": "s"}, "system is not read beside a prompt"),
    ({"messages": [Q, A], "history": [["q", "a"]]}, "history is not read in this format"),
    ({"messages": [Q, A], "system_prompt": "s"}, "system_prompt is not read in this format"),
    ({"instruction": "i", "output": "o", "tools": TOOLS}, "tools is not read in this format"),
    ({"messages": [Q, A], "images": ["a.png"]}, "images is not read in this format"),
    ({"messages": [S, Q, A], "system": "t"}, "system differs from the system turn"),
    (
        {"instruction": "i", "output": "o", "history": [["q"]]},
        "history has an entry that is no pair",
    ),
    ({"conversations": SHARE, "tools": "f(x)"}, "tools is text, and no JSON"),
]


@pytest.mark.parametrize(("row", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_would_change_training_and_is_not_read_is_refused_by_its_row(row, said) -> None:
    columns = dict.fromkeys(row)
    good = {
        **columns,
        **{
            k: row[k]
            for k in row
            if k in ("messages", "conversations", "prompt", "completion", "instruction", "output")
        },
    }
    data = Dataset.from_list([good, row])
    with pytest.raises(UsageError, match=f"x, row 2: {said}"):
        to_trl(data, "x", chat=True)
    with pytest.raises(UsageError, match=f"x, row 2: {said}"):
        list(to_trl(data.to_iterable_dataset(), "x", chat=True))


def test_what_may_be_the_sample_in_other_words_is_named_once(caplog) -> None:
    rows = [{"messages": [Q, A], "text": "q a", "response": "a", "id": "1", "topic": "t"}] * 3
    with caplog.at_level(logging.WARNING):
        to_trl(Dataset.from_list(rows), "x", chat=True)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == "x: trained on are the columns messages; not read are text, response"


def test_a_column_of_text_that_is_named_and_not_read_is_told(caplog) -> None:
    rows = [{"prompt": "q", "completion": "a", "story": "s", "sample_weight": 1}]
    with caplog.at_level(logging.WARNING):
        to_trl(Dataset.from_list(rows), "x", chat=True, text_field="story")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith("not read are story, sample_weight")


def test_a_date_is_called_one() -> None:
    rows = Dataset.from_list([{"prompt": "q", "completion": datetime(2020, 1, 1)}])
    with pytest.raises(UsageError, match="row 1: completion is a date, not text"):
        to_trl(rows, "x", chat=True)


def test_a_conversation_without_an_assistant_is_refused_where_only_its_turns_are_trained() -> None:
    rows = Dataset.from_list([{"messages": [Q, A]}, {"messages": [Q]}])
    with pytest.raises(UsageError, match="row 2: messages has no assistant turn"):
        to_trl(rows, "x", chat=True, assistant=True)
    assert len(to_trl(rows, "x", chat=True)) == 2


def stream(*rows: dict[str, Any]) -> IterableDataset:
    """A stream that does not name its columns, whose rows have the keys that they have."""
    return IterableDataset.from_generator(lambda: iter(rows))


def test_rows_of_a_stream_may_lack_keys_of_the_first_row() -> None:
    made = list(
        to_trl(stream({"messages": [Q, A], "tools": TOOLS}, {"messages": [Q, A]}), "x", chat=True)
    )
    assert [row["messages"] for row in made] == [[Q, A]] * 2
    assert [bool(row["tools"]) for row in made] == [True, False]
    with pytest.raises(UsageError, match="x, row 2: messages is empty, not a list of messages"):
        list(to_trl(stream({"messages": [Q, A]}, {"text": "a"}), "x", chat=True))
    for good in ({"prompt": "p", "completion": "c"}, {"instruction": "p", "output": "c"}):
        *_, last = good
        lacking = {key: value for key, value in good.items() if key != last}
        with pytest.raises(UsageError, match=f"x, row 2: {last} is empty, not text"):
            list(to_trl(stream(good, lacking), "x", chat=True))


def test_rows_of_a_stream_may_have_keys_that_the_first_row_lacks() -> None:
    rows = stream({"messages": [Q, A]}, {"messages": [Q, A], "system": "s", "tools": TOOLS})
    first, second = to_trl(rows, "x", chat=True)
    assert (first["messages"], second["messages"]) == ([Q, A], [S, Q, A])
    assert second["tools"]
    rows = stream({"messages": [Q, A]}, {"messages": [Q, A], "images": ["a.png"]})
    with pytest.raises(UsageError, match="x, row 2: images is not read in this format"):
        list(to_trl(rows, "x", chat=True))


def test_a_prompt_may_be_json_text_of_a_conversation() -> None:
    row = {"prompt": json.dumps([Q]), "completion": json.dumps([A]), "system": "s"}
    assert read([row] * 2) == [{"prompt": [S, Q], "completion": [A]}] * 2
    for text in ("[1, 2]", "[]", '["role"]', '[{"a": 1}]', "[x"):
        plain = {"prompt": json.dumps([Q]), "completion": text}
        assert read([plain]) == [plain]


@pytest.mark.parametrize("place", [0, 1])
def test_text_among_conversations_is_refused_by_its_row(place) -> None:
    rows = [{"prompt": [Q], "completion": [A]}] * 2
    rows[place] = {"prompt": "q", "completion": "a"}
    said = ["prompt is a list, not text", "prompt is text, not a list of messages"][place]
    with pytest.raises(UsageError, match=f"x, row 2: {said}"):
        list(to_trl(stream(*rows), "x", chat=True))
