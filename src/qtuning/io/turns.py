"""One conversation, in whatever spelling, as a list of messages for a chat template.

What is read: ``role`` and ``content`` or ShareGPT's ``from`` and ``value``, each message by itself;
the aliases of roles in ``ROLES``, in any case; text, or a list of parts of text; tool calls as
OpenAI, Hugging Face and LLaMA-Factory write them. What would be trained on wrongly is refused.
Weights of messages are checked and left out; ``weights.weights_of_messages`` reads them.
"""

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from ..errors import UsageError
from .weights import OTHER_KEYS, WEIGHT_KEYS, message_weight

Turn = dict[str, Any]

ROLES = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "bot", "model"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function", "function_response", "ipython"), "tool"),
    "function_call": "assistant",
    "system": "system",
    "developer": "developer",
}
"""Names of the speakers that are read, in lower case, and the role that each becomes."""

_KEYS = (
    *("role", "from", "content", "value", "tool_calls", "function_call"),
    *WEIGHT_KEYS,
    *OTHER_KEYS,
)
OF_SYSTEM = ("system", "developer")
"""Roles, as they are read, of turns that a conversation may begin with before anybody asks."""
THOUGHTS = ("reasoning_content", "reasoning", "thinking")
"""Keys of what an assistant thinks before it answers, in the spellings of chat templates."""
_TEXT = ("text", "input_text", "output_text")
_PARTS = ("image", "images", "video", "audio", "image_url", "input_audio")


def messages_in(value: object) -> object:
    """A conversation as it is in a row, parsed if it is JSON text.

    Raises:
        ValueError: It begins like JSON, and is none.
    """
    is_text = isinstance(value, str) and value.lstrip().startswith("[")
    return parsed(str(value)) if is_text else value


def read_turns(
    value: object, *, filled: bool, calls: bool = True, lost: frozenset[str] = frozenset()
) -> list[Turn]:
    """A conversation as messages with ``role`` and ``content``, and what else they bring.

    Args:
        value: A list of messages, or JSON text of one.
        filled: Whether nulls in objects may come from Arrow, which fills up objects of differing
            keys with them; then they are taken out.
        calls: Whether the chat template prints calls of tools. If not, ShareGPT's calls, which are
            text, stay text, and others are refused.
        lost: Keys that the chat template does not print; messages that have them are refused.

    Raises:
        ValueError: The conversation cannot be read; the message says why, without the row.
    """
    value = messages_in(value)
    if not isinstance(value, list):
        raise ValueError(f"is {kind_of(value)}, not a list of messages")
    if not value:
        raise ValueError("has no messages")
    turns = []
    for number, message in enumerate(value, 1):
        try:
            turns.append(_turn(message, filled, calls, lost))
        except ValueError as error:
            raise ValueError(f"message {number} {error}") from error
    return turns


def is_talk(value: object) -> bool:
    """Whether a value is JSON text of a conversation, as cells of CSV may be."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return False
    try:
        messages = json.loads(value)
    except ValueError:
        return False
    return bool(messages) and all(
        isinstance(one, Mapping) and ("role" in one or "from" in one) for one in messages
    )


def read_tools(value: object, *, filled: bool) -> list[Any]:
    """The tools of a row as objects; empty for none.

    Args:
        value: A list of objects, JSON text of one, or None.
        filled: As in ``read_turns``.

    Raises:
        ValueError: The tools cannot be read; the message says why, without the row.
    """
    if isinstance(value, str) and value.strip():
        value = parsed(value)
    if not value:
        return []
    tools: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(tool, Mapping) for tool in tools):
        raise ValueError(f"is {kind_of(value)}, not a list of objects")
    return [
        # LLaMA-Factory has the function alone.
        {"type": "function", "function": tool}
        if set(tool) >= {"name"} and "function" not in tool
        else tool
        for tool in (without_nulls(tools) if filled else tools)
    ]


def without_nulls(value: Any) -> Any:
    """A value without the entries of objects that are null, at any depth."""
    if isinstance(value, Mapping):
        return {key: without_nulls(one) for key, one in value.items() if one is not None}
    return [without_nulls(one) for one in value] if isinstance(value, list) else value


def parsed(text: str) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: It is no JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError("is text, and no JSON") from error


def kind_of(value: object) -> str:
    """The type of a value, in the terms of JSON."""
    if value is None:
        return "empty"
    names = {str: "text", list: "a list", dict: "an object", bool: "a truth value"}
    names |= {bytes: "bytes", datetime: "a date", date: "a date"}
    return names.get(type(value), "a number")


def _turn(message: object, filled: bool, prints_calls: bool, lost: frozenset[str]) -> Turn:
    """A message of a conversation."""
    if not isinstance(message, Mapping):
        raise ValueError(f"is {kind_of(message)}, not an object with role and content")
    said = {key: value for key, value in message.items() if value is not None}
    speaker = said.get("role", said.get("from"))
    if speaker is None:
        raise ValueError("has no role")
    if not isinstance(speaker, str):
        raise ValueError(f"has {kind_of(speaker)} for its role")
    name = speaker.strip().lower()
    if name not in ROLES:
        raise ValueError(f"is from {speaker!r}, not from one of {', '.join(ROLES)}")
    message_weight(said)  # raises for what is not read
    for key in _PARTS:
        if said.get(key):
            raise ValueError(f"has {key}, and only text is trained")
    for key in sorted(lost & said.keys()):
        if said[key]:
            raise ValueError(
                f"has {key}, which the chat template does not print: name another one with "
                "chat_template_path, or take the key out"
            )
    content = _content(said.get("content", said.get("value")))
    calls = said.get("tool_calls") or said.get("function_call")
    if calls and not prints_calls:
        raise ValueError(
            "calls a tool, which the chat template does not print: name another one with "
            "chat_template_path"
        )
    if name == "function_call" and prints_calls and not calls:
        calls, content = content, None
    turn: Turn = {"role": ROLES[name]}
    if calls:
        turn |= {"content": content or "", "tool_calls": _calls(calls, filled)}
    elif content is None:
        raise ValueError("has no content")
    else:
        turn["content"] = content
    rest = {key: value for key, value in said.items() if key not in _KEYS}
    return turn | (without_nulls(rest) if filled else rest)


def _content(value: object) -> str | None:
    """The text of a message; None if it has none."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise ValueError(f"has {kind_of(value)} for its content")
    texts = []
    for part in value:
        text = part if isinstance(part, str) else None
        if isinstance(part, Mapping):
            known = without_nulls(part)
            text = known.get("text")
            kind = known.get("type", "text")
            if kind not in _TEXT or set(known) - {"type", "text"}:
                raise ValueError(f"has a part of type {kind}, and only text is trained")
        if not isinstance(text, str):
            raise ValueError("has a part without text")
        texts.append(text)
    return "".join(texts)


def _calls(value: Any, filled: bool) -> list[dict[str, Any]]:
    """Calls of tools as chat templates read them, their arguments as objects."""
    if isinstance(value, str):
        value = parsed(value)
    calls = value if isinstance(value, list) else [value]
    read = []
    for call in calls:
        if not isinstance(call, Mapping):
            raise ValueError(f"calls {kind_of(call)}, not an object with name and arguments")
        call = {key: one for key, one in call.items() if one is not None}
        function = call.pop("function", None)
        if function is None:
            function = {key: call.pop(key) for key in ("name", "arguments") if key in call}
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise ValueError("calls a tool without a name")
        arguments = function.get("arguments")
        if isinstance(arguments, str) and arguments.strip():
            arguments = parsed(arguments)
        arguments = without_nulls(arguments or {}) if filled else arguments or {}
        call.setdefault("type", "function")
        read.append({**call, "function": {**function, "arguments": arguments}})
    return read


def one_system(turns: list[Turn], system: object) -> list[Turn]:
    """A conversation that begins with the text of a ``system`` column.

    Raises:
        ValueError: The column holds no text, or the conversation begins with another system turn.
    """
    if system is None or system == "":
        return turns
    if not isinstance(system, str):
        raise ValueError(f"is {kind_of(system)}, not text")
    if turns[0]["role"] not in OF_SYSTEM:
        return [{"role": "system", "content": system}, *turns]
    if turns[0]["content"] != system:
        raise ValueError("differs from the system turn of the conversation")
    return turns


def refused(where: str, index: int, column: str, problem: object) -> UsageError:
    """The error for a row that cannot be trained on; rows are counted from 0 in ``index``."""
    return UsageError(f"{where}, row {index + 1}: {column} {problem}; mend the row or leave it out")
