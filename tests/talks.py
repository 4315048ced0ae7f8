"""Conversations with tools in several spellings, and a tiny model whose template prints all."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
from hypothesis import strategies as st

from . import tiny

TEMPLATE = (
    "{% if tools %}<u>tools {{ tools | tojson }}<e>{% endif %}{% for m in messages %}"
    "<u>{{ m['role'] }} {% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}"
    "{% for call in m['tool_calls'] or [] %} call {{ call['function']['name'] }} "
    "{{ call['function']['arguments'] | tojson }}{% endfor %}<e>{% endgeneration %}"
    "{% else %}{{ m['content'] }}<e>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<u>assistant {% endif %}"
)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {key: {"type": kind} for key, kind in arguments.items()},
            },
        },
    }
    for name, arguments in (("weather", {"city": "string"}), ("add", {"a": "number", "b": "array"}))
]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def answer(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    """A turn that calls a tool, as OpenAI writes it."""
    function = {"name": name, "arguments": arguments}
    calls = [{"type": "function", "function": function}]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(text: str) -> dict[str, Any]:
    return {"role": "tool", "content": text}


ANY_OBJECTS = hasattr(datasets, "Json")
"""Whether columns hold objects of any keys and types, and TRL takes tools as JSON text.

The oldest versions do neither: datasets fills up objects with nulls, and refuses mixed types.
"""


# Rows whose calls have other keys, so that datasets makes JSON of them where it can.
ROWS: list[dict[str, Any]] = [
    {
        "messages": [user("In Oslo?"), call("weather", city="Oslo"), result("5"), answer("5 C.")],
        "tools": TOOLS,
    },
    {"messages": [user("1 + 2?"), call("add", a=1, b=[2]), result("3"), answer("3.")]},
    {"messages": [user("Hi"), answer("Ho"), user("And in Rome?"), call("weather", city="Rome")]},
    {"messages": [{"role": "system", "content": "Be kind"}, user("Hi"), answer("Ho")]},
]
if not ANY_OBJECTS:
    ROWS = [{"messages": row["messages"]} for row in ROWS]


def generated() -> Iterator[dict[str, Any]]:
    """``ROWS``, for a stream."""
    for row in ROWS:
        yield {**({"tools": None} if ANY_OBJECTS else {}), **row}


def save_model(folder: Path) -> Path:
    """A model folder whose template prints tools and calls."""
    tiny.llama().save_pretrained(folder)
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# No digits alone, which datasets reads as numbers in a column that has lists as well.
_TEXTS = st.text("abc xyz?!", min_size=1, max_size=6).map("t".__add__)
_VALUES = st.one_of(_TEXTS, st.integers(-9, 9), st.lists(st.integers(0, 9), max_size=2))
_CALLS = st.builds(
    lambda name, arguments: call(name, **arguments),
    st.sampled_from(["weather", "add"]),
    st.dictionaries(st.sampled_from("abc"), _VALUES, max_size=2),
)
_PLAIN = st.tuples(_TEXTS.map(user), _TEXTS.map(answer)).map(list)
_CALLING = st.tuples(_TEXTS.map(user), _CALLS, _TEXTS.map(result), _TEXTS.map(answer)).map(list)


@st.composite
def talks(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[Any]]:
    """A conversation, with or without a system turn, and its tools, which may be none."""
    turns = draw(st.lists(st.one_of(_PLAIN, _CALLING), min_size=1, max_size=2))
    system = draw(st.none() | _TEXTS)
    begin = [] if system is None else [{"role": "system", "content": system}]
    return [*begin, *(turn for part in turns for turn in part)], draw(st.sampled_from([[], TOOLS]))


@st.composite
def files(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The rows of a file: columns of one kind, and messages in spellings of their own."""
    column = draw(st.sampled_from(["messages", "conversations", "prompt"]))
    systems, texts = draw(st.booleans()), draw(st.booleans())
    rows = []
    for turns, tools in draw(st.lists(talks(), min_size=1, max_size=3)):
        row: dict[str, Any] = {"tools": json.dumps(tools) if texts else tools}
        if systems:
            row["system"] = turns[0]["content"] if turns[0]["role"] == "system" else ""
            turns = turns[turns[0]["role"] == "system" :]
        said = [draw(spelling(turn)) for turn in turns]
        if column == "prompt":
            rows.append({**row, "prompt": said[:-1], "completion": said[-1:]})
        else:
            rows.append({**row, column: said})
    return rows


@st.composite
def spelling(draw: st.DrawFn, turn: dict[str, Any]) -> dict[str, Any]:
    """A message as one of the trainers writes it."""
    calls = [one["function"] for one in turn.get("tool_calls", ())]
    kind = draw(st.sampled_from(["as it is", "ShareGPT", "alias", "parts", "text"]))
    if kind == "ShareGPT":
        names = {"user": "human", "assistant": "gpt", "tool": "observation"}
        if calls:
            return {"from": "function_call", "value": json.dumps(calls[0])}
        return {"from": names.get(turn["role"], turn["role"]), "value": turn["content"]}
    if kind == "alias":
        names = {"user": "Human", "assistant": "GPT", "tool": "function"}
        return {**turn, "role": names.get(turn["role"], turn["role"])}
    if kind == "parts" and not calls:
        return {**turn, "content": [{"type": "text", "text": turn["content"]}]}
    if kind == "text" and calls:
        function = {**calls[0], "arguments": json.dumps(calls[0]["arguments"])}
        return {**turn, "tool_calls": [{"type": "function", "function": function}]}
    return turn
