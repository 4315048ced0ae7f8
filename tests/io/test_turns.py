"""A conversation in any spelling is the same conversation; what is not read is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtuning.io.turns import ROLES, one_system, read_tools, read_turns

CALL = {"name": "area", "arguments": {"a": 5, "b": [1, {"c": "x"}]}}
READ_CALL = {"type": "function", "function": CALL}


def turn(message: dict[str, Any], **options: Any) -> dict[str, Any]:
    (read,) = read_turns([message], **{"filled": False, **options})
    return read


def refusal(message: object, **options: Any) -> str:
    with pytest.raises(ValueError, match="message 1") as caught:
        read_turns([message], **{"filled": False, **options})
    return str(caught.value)


@pytest.mark.parametrize(("alias", "role"), ROLES.items())
@pytest.mark.parametrize("spell", [str.lower, str.upper, str.title, " {} ".format])
def test_aliases_of_roles_are_read_in_any_case(alias, role, spell) -> None:
    if alias != "function_call":
        assert turn({"role": spell(alias), "content": "x"}) == {"role": role, "content": "x"}
        assert turn({"from": spell(alias), "value": "x"}) == {"role": role, "content": "x"}


contents = st.text(max_size=8)
roles = st.sampled_from(sorted(set(ROLES.values())))
talks = st.lists(st.tuples(roles, contents), min_size=1, max_size=5)


@st.composite
def spellings(draw, talk):
    """A conversation written in spellings that differ from message to message."""
    written = []
    for role, text in talk:
        alias = draw(
            st.sampled_from([a for a, r in ROLES.items() if r == role and "call" not in a])
        )
        alias = draw(st.sampled_from([alias, alias.upper(), alias.title()]))
        parts = [text[:3], text[3:]] if len(text) > 3 else [text]
        content = draw(
            st.sampled_from([text, [{"type": "text", "text": part} for part in parts], list(parts)])
        )
        keys = draw(st.sampled_from([("role", "content"), ("from", "value"), ("role", "value")]))
        message = dict(zip(keys, (alias, content), strict=True))
        if draw(st.booleans()):  # Arrow fills up with nulls
            message |= {"name": None, "tool_calls": None, "weight": None}
        written.append(message)
    return json.dumps(written) if draw(st.booleans()) else written


@given(data=st.data(), talk=talks)
def test_a_conversation_in_any_spelling_is_the_same(data, talk) -> None:
    read = read_turns(data.draw(spellings(talk)), filled=data.draw(st.booleans()))
    assert read == [{"role": role, "content": text} for role, text in talk]


CALLS = {
    "OpenAI's": {"tool_calls": [{"type": "function", "id": "1", "function": CALL}]},
    "arguments as text": {
        "tool_calls": [
            {
                "type": "function",
                "id": "1",
                "function": {**CALL, "arguments": json.dumps(CALL["arguments"])},
            }
        ]
    },
    "flat": {"tool_calls": [{"id": "1", **CALL}]},
    "as text": {"tool_calls": json.dumps([{"id": "1", **CALL}])},
}


@pytest.mark.parametrize("calls", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("content", [None, "", "I look."])
def test_calls_of_tools_in_any_spelling_are_the_same(calls, content) -> None:
    read = turn({"role": "assistant", "content": content, **calls})
    assert read == {
        "role": "assistant",
        "content": content or "",
        "tool_calls": [{"id": "1", **READ_CALL}],
    }


def test_calls_in_older_forms() -> None:
    expected = {"role": "assistant", "content": "", "tool_calls": [READ_CALL]}
    assert turn({"role": "assistant", "content": None, "function_call": CALL}) == expected
    assert turn({"from": "function_call", "value": json.dumps(CALL)}) == expected
    assert turn({"from": "observation", "value": "15"}) == {"role": "tool", "content": "15"}
    two = turn({"from": "function_call", "value": json.dumps([CALL, CALL])})
    assert two["tool_calls"] == [READ_CALL, READ_CALL]


def test_calls_that_the_template_does_not_print_stay_text_or_are_refused() -> None:
    text = json.dumps(CALL)
    read = turn({"from": "function_call", "value": text}, calls=False)
    assert read == {"role": "assistant", "content": text}
    said = refusal({"role": "assistant", "tool_calls": [CALL]}, calls=False)
    assert "message 1 calls a tool, which the chat template does not print" in said


def test_nulls_that_arrow_filled_in_are_taken_out_and_others_stay() -> None:
    arguments = {"city": "Oslo", "a": None, "deep": [{"x": None, "y": 1}]}
    message = {"role": "assistant", "tool_calls": [{"name": "f", "arguments": arguments}]}
    function = turn(message, filled=True)["tool_calls"][0]["function"]
    assert function["arguments"] == {"city": "Oslo", "deep": [{"y": 1}]}
    function = turn(message, filled=False)["tool_calls"][0]["function"]
    assert function["arguments"] == arguments


def test_what_else_a_message_says_stays() -> None:
    message = {"role": "tool", "content": "5C", "tool_call_id": "1", "name": "weather"}
    assert turn(message) == message
    assert turn({"role": "assistant", "content": "x", "weight": 0.5, "train": False}) == {
        "role": "assistant",
        "content": "x",
    }


BAD = [
    ("text", "is text, not an object with role and content"),
    ({"content": "x"}, "has no role"),
    ({"role": "narrator", "content": "x"}, "is from 'narrator', not from one of user, human"),
    ({"role": "user", "content": None}, "has no content"),
    ({"role": "user", "content": 3}, "has a number for its content"),
    ({"role": "user", "content": [{"type": "image"}]}, "has a part of type image, and only text"),
    ({"role": "user", "content": [{"type": "text"}]}, "has a part without text"),
    ({"role": "user", "content": "x", "images": ["a.png"]}, "has images, and only text"),
    ({"role": "assistant", "content": "x", "weight": -1}, "has weight -1, and a weight is a fin"),
    ({"role": "assistant", "content": "x", "loss_mask": 0}, "has loss_mask 0, which is not read"),
    ({"role": "assistant", "content": "x", "train_detail": [{"begin_offset": 0}]}, "has train_de"),
    ({"role": "assistant", "tool_calls": [{"arguments": {}}]}, "calls a tool without a name"),
    ({"from": "function_call", "value": "look!"}, "is text, and no JSON"),
]


@pytest.mark.parametrize(("message", "said"), BAD, ids=[said for _, said in BAD])
def test_what_would_be_trained_wrongly_is_refused_by_its_number(message, said) -> None:
    assert f"message 1 {said}" in refusal(message)


def test_thoughts_that_the_template_does_not_print_are_refused() -> None:
    message = {"role": "assistant", "content": "4", "thinking": "2 + 2", "reasoning": None}
    assert turn(message)["thinking"] == "2 + 2"
    lost = frozenset({"thinking", "reasoning"})
    assert "message 1 has thinking, which the chat template does not" in refusal(message, lost=lost)
    assert turn({**message, "thinking": ""}, lost=lost)["content"] == "4"


def test_parts_of_text_in_the_words_of_the_responses_format() -> None:
    parts = [{"type": "input_text", "text": "a"}, {"type": "output_text", "text": "b"}]
    assert turn({"role": "user", "content": parts}) == {"role": "user", "content": "ab"}


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "is empty, not a list"), ("hi", "is text, not a list"), ([], "has no messages")],
)
def test_what_is_no_conversation_is_refused(value, said) -> None:
    with pytest.raises(ValueError, match=said):
        read_turns(value, filled=False)


def test_tools_in_any_spelling_are_objects() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    for spelling in (
        [tool],
        json.dumps([tool]),
        [tool["function"]],
        json.dumps([tool["function"]]),
        tool["function"],
    ):
        assert read_tools(spelling, filled=False) == [tool]
    for nothing in (None, "", "[]", []):
        assert read_tools(nothing, filled=False) == []
    filled = [{"type": "function", "function": {"name": "f", "parameters": {}, "strict": None}}]
    assert read_tools(filled, filled=True) == [tool]
    with pytest.raises(ValueError, match="not a list of objects"):
        read_tools([3], filled=False)
    with pytest.raises(ValueError, match="no JSON"):
        read_tools("f(x)", filled=False)


def test_the_text_of_a_system_column_comes_first_and_once() -> None:
    talk = [{"role": "user", "content": "q"}]
    system = {"role": "system", "content": "s"}
    assert one_system(talk, "s") == [system, *talk]
    assert one_system([system, *talk], "s") == [system, *talk]
    for nothing in (None, ""):
        assert one_system(talk, nothing) == talk
    with pytest.raises(ValueError, match="differs from the system turn"):
        one_system([system, *talk], "another")
    with pytest.raises(ValueError, match="is a number, not text"):
        one_system(talk, 3)
