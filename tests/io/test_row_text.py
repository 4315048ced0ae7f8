"""Nothing in the data can do anything to the terminal."""

import json

import pytest

from qtuning.io.row_text import clean, columns_beside, first_words, text_columns, text_of


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "ask this"},
        {"prompt": [{"role": "user", "content": "ask this"}]},
        {
            "messages": [
                {"role": "system", "content": "be kind"},
                {"role": "user", "content": "ask this"},
            ]
        },
        {"conversations": [{"from": "human", "value": "ask this"}]},
        {"instruction": "ask this", "output": "no"},
        {"text": "ask this"},
        {"prompt": "", "text": "ask this"},
        {"prompt": None, "messages": [{"role": "user", "content": "ask this"}]},
    ],
)
def test_the_prompt_is_found_in_every_format(row):
    assert first_words(row) == "ask this"


@pytest.mark.parametrize("row", [{}, {"input_ids": [1]}, {"messages": []}, {"messages": [3]}])
def test_a_row_without_text_has_none(row):
    assert first_words(row) is None


@pytest.mark.parametrize("bad", ["\x1b[31m", "\x07", "\x9b", "\u202e", "\u200b", "\ud800", "\x00"])
def test_control_characters_are_replaced(bad):
    cleaned = clean(f"before{bad}after", 60)
    assert bad[0] not in cleaned
    assert cleaned.startswith("before\N{REPLACEMENT CHARACTER}")


def test_it_is_one_line_and_cut():
    assert clean(" two\n\tlines ", 60) == "two lines"
    assert clean("x" * 10_000, 20) == "x" * 19 + "…"
    assert clean("x" * 20, 20) == "x" * 20


ASKED = {"role": "user", "content": "ask this"}
CALLING = {
    "role": "assistant",
    "content": "I look",
    "tool_calls": [
        {"function": {"name": "f", "arguments": {"x": [1, "é"]}}},
        {"function": {"name": "g", "arguments": "{}"}},
    ],
}
CALLED = 'I look\nf({"x": [1, "é"]})\ng({})'


@pytest.mark.parametrize(
    ("row", "prompt", "answer"),
    [
        ({"messages": [ASKED, CALLING]}, "ask this", CALLED),
        ({"messages": [json.dumps(ASKED), json.dumps(CALLING)]}, "ask this", CALLED),
        ({"messages": json.dumps([ASKED, CALLING])}, "ask this", CALLED),
        ({"messages": [ASKED, CALLING, ASKED]}, "ask this", CALLED),
        ({"messages": [ASKED, ASKED]}, "user: ask this\n\nuser: ask this", ""),
        ({"messages": [{"from": "Human", "value": "ask this"}, CALLING]}, "ask this", CALLED),
        (
            {"messages": [ASKED, {"role": "assistant", "content": [{"text": "a"}, {"text": "b"}]}]},
            "ask this",
            "ab",
        ),
        (
            {"conversations": [ASKED, CALLING], "system": "be kind"},
            "system: be kind\n\nuser: ask this",
            CALLED,
        ),
        (
            {"prompt": [ASKED], "completion": [CALLING, {"role": "tool", "content": "1"}]},
            "ask this",
            f"assistant: {CALLED}\n\ntool: 1",
        ),
        (
            {"instruction": "i", "output": "o", "history": [["q", "r"]], "system": "s"},
            "system: s\n\nuser: q\n\nassistant: r\n\nuser: i",
            "o",
        ),
    ],
)
def test_rows_are_shown_as_they_are_read(row, prompt, answer):
    assert text_of(row, text_columns(list(row))) == (prompt, answer, 0)


@pytest.mark.parametrize(
    ("row", "prompt", "answer"),
    [
        ({"messages": [{"role": "nobody"}]}, "", '[{"role": "nobody"}]'),
        ({"messages": [None, "{"]}, "", '[null, "{"]'),
        ({"prompt": None, "completion": 3}, "", "3"),
        ({"instruction": "i", "input": "x", "output": None}, "i", ""),
    ],
)
def test_a_row_that_cannot_be_read_is_shown_as_it_is(row, prompt, answer):
    assert text_of(row, text_columns(list(row))) == (prompt, answer, 0)


def test_the_first_words_of_a_conversation_may_be_a_call():
    assert first_words({"messages": [CALLING]}) == " ".join(CALLED.split())
    assert first_words({"messages": [json.dumps(ASKED)]}) == "ask this"
    assert first_words({"prompt": "[1, 2] is what?"}) == "[1, 2] is what?"


def test_columns_beside_a_format_are_those_that_are_read():
    columns = ["id", "messages", "tools", "system", "input"]
    assert columns_beside(("messages",), columns) == ["system", "tools"]
    assert columns_beside(("text",), columns) == []
