"""Tokens by role: whose words they are, wherever the template puts them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtuning.inspection.roles import RoleCounts, Row, count_roles, written

from .. import talks, tiny
from .made import finding, pair, talk

TOKENIZER = tiny.tokenizer(chat=True)
CALLING = tiny.tokenizer()
CALLING.chat_template = talks.TEMPLATE


def table(found):
    (heading,) = [name for name in found.tables if name.startswith("tokens by role")]
    return heading, {row["role"]: row for row in found.tables[heading]}


def parts(row, tokenizer):
    """What each turn says, by the spans."""
    one = written(row, tokenizer, tokenizer.chat_template)
    assert one is not None
    return [(span.role, one.text[span.start : span.end]) for span in one.spans]


def test_by_role(look, calls) -> None:
    rows = [talk("Hi", "Hello", "And?", "So.", system="Be kind")]
    heading, roles = table(look(rows, calls, assistant_only_loss=True))
    assert heading == "tokens by role"
    assert {role: row["tokens"] for role, row in roles.items()} == {
        "system": 7,
        "user": 6,
        "assistant": 8,
        # <u> and the name, with a space, and <e>
        "template": 5 * 2 + len("system user assistant user assistant "),
    }
    assert {role: row["trained"] for role, row in roles.items()} == {
        **{"system": 0, "user": 0, "assistant": 8, "template": 2},
    }
    assert roles["assistant"]["share of its tokens"] == 1
    assert roles["assistant"]["share of trained tokens"] == 0.8


def test_what_is_cut_away_is_not_counted(look, chat) -> None:
    _, roles = table(look([talk("Hi", "Hello")], chat, max_length=len("<user Hi<<assistant H")))
    assert roles["assistant"]["tokens"] == 1
    assert roles["user"]["tokens"] == 2


def test_of_rows_without_a_template(look, plain) -> None:
    _, roles = table(look([pair("ab", "cde")], plain))
    assert {role: row["tokens"] for role, row in roles.items()} == {"answer": 4, "prompt": 2}
    _, roles = table(look([{"text": "abc"}], plain))
    assert roles["text"]["tokens"] == 4
    assert roles["text"]["trained"] == 3


@pytest.mark.parametrize(
    "texts",
    [
        ("user", "assistant"),
        ("a", "a", "a", "a"),
        (" ", "x"),
        ("<u>user a<e>", "b"),
        ("{{ m }}", "{% for %}"),
        ("0", "1"),
    ],
)
def test_contents_that_look_like_the_template(texts) -> None:
    said = [(role, text) for role, text in parts(talk(*texts), TOKENIZER)]
    roles = ("user", "assistant") * 2
    assert said == [one for one in zip(roles, texts, strict=False) if one[1].strip()]


@settings(max_examples=60)
@given(st.lists(st.text("use r<>{}", min_size=1, max_size=6), min_size=1, max_size=5))
def test_spans_hold_the_contents(texts) -> None:
    said = [text for _, text in parts(talk(*texts), TOKENIZER)]
    assert said == [text for text in texts if text.strip()]


@settings(max_examples=60)
@given(talks.talks())
def test_calls_are_the_assistants(case) -> None:
    turns, tools = case
    found = parts({"messages": turns, "tools": tools}, CALLING)
    for role, text in found:
        own = [turn for turn in turns if turn["role"] == role]
        names = [call["function"]["name"] for turn in own for call in turn.get("tool_calls", ())]
        contents = [turn["content"] for turn in own]
        assert text in contents or any(text.startswith(name) for name in names)
    assert sum(role == "assistant" for role, _ in found) == sum(
        turn["role"] == "assistant" for turn in turns
    )


def test_templates_that_trim_and_that_look_into_contents() -> None:
    trims = "{% for m in messages %}[{{ m['content'] | trim }}]{% endfor %}"
    looks = "{% for m in messages %}{{ m['content'].split('.')[-1] }}{% endfor %}"
    row = talk(" a.b ", "c.d")
    one = written(row, TOKENIZER, trims)
    assert one is not None
    assert [one.text[span.start : span.end] for span in one.spans] == ["a.b", "c.d"]
    assert written(row, TOKENIZER, looks) is None
    assert written(talk("\ue0000\ue001", "b"), TOKENIZER, trims) is None


def test_other_tokens_than_those_of_the_text_are_not_told_apart() -> None:
    counts = RoleCounts()
    ids = np.array([5, 6])
    row = Row(1, talk("a", "b"), ids, ids > 5, slice(0, 2))
    count_roles([row], TOKENIZER, TOKENIZER.chat_template, counts)
    assert (counts.rows, counts.unknown, counts.tokens) == (0, 1, {})


def test_of_many_rows_some_are_told_apart(look, chat, monkeypatch) -> None:
    monkeypatch.setattr("qtuning.inspection.inspect.ROLES_OF", 4)
    heading, roles = table(look([talk(f"Hi {i}", "Ho") for i in range(9)], chat))
    assert heading == "tokens by role, of 4 rows at equal distances"
    assert roles["assistant"]["tokens"] == 8


def test_what_is_not_written_is_found_in_tools_too(look, chat) -> None:
    """The tiny template writes all roles."""
    assert finding(look([talk("a", "b", system="c")], chat), "turns-not-written") is None
