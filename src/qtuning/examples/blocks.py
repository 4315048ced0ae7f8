"""The parts of a conversation that its chat template marks as the assistant's, and whose they are.

A template may mark several parts of a message, as thoughts and answer or an end token, and leave
out others. What other roles say stands between the marks of the assistant's messages, and tells
which mark is of which message.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from transformers import PreTrainedTokenizerBase

from .encoding import encoded
from .templates import RENDERING, messages_of, rendered

_OTHER = "\ue000"
"""Text of a character for private use, which no conversation has."""


Blocks = Sequence[tuple[int, int]]
"""Where in a text the marked parts stand: first place and the one behind, in order."""


def block_spans(
    text: str, blocks: Blocks, ids: Sequence[int], tokenizer: PreTrainedTokenizerBase
) -> list[range]:
    """The tokens of each part that a template marks as the assistant's; none where in doubt.

    Args:
        text: The text of a conversation.
        blocks: The marked parts of it.
        ids: The row's tokens before it is cut, ``(L,)``.
        tokenizer: The tokenizer.
    """
    if not blocks:
        return []
    own, offsets = encoded(text, tokenizer)
    if offsets is None or own != list(ids):
        return []
    spans = []
    for start, end in blocks:
        inside = [i for i, (first, last) in enumerate(offsets) if first < end and last > start]
        spans.append(range(inside[0], inside[-1] + 1) if inside else range(0))
    overlap = any(a.stop > b.start for a, b in pairwise(spans))
    return [] if overlap or not all(spans) else spans


def block_owners(
    row: Mapping[str, Any],
    text: str,
    blocks: Blocks,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
) -> list[int]:
    """The place of the message that each marked part is of; none where in doubt.

    Args:
        row: The row as TRL reads it, a conversation.
        text: Its text.
        blocks: The marked parts of it.
        tokenizer: The tokenizer.
        template: The chat template in force.
    """
    messages = messages_of(row) or []
    own = [place for place, one in enumerate(messages) if one.get("role") == "assistant"]
    if len(blocks) == len(own) and _stand_between(messages, own, text, blocks):
        return own
    owners: list[int] = []
    start = 0
    for group, others in _groups(messages):
        end: int | None = len(text)
        if others:
            end = _place_of(others[0], row, text, tokenizer, template)
        if end is None:
            return []
        n = sum(start <= first and last <= end for first, last in blocks)
        if len(group) != 1 and len(group) != n:
            return []
        owners += group if len(group) == n else group * n
        start = end
    return owners if len(owners) == len(blocks) else []


def _stand_between(
    messages: Sequence[Mapping[str, Any]],
    own: Sequence[int],
    text: str,
    blocks: Blocks,
) -> bool:
    """Whether what others say between the assistant's messages stands between the marked parts.

    Args:
        messages: The conversation.
        own: Places of the assistant's messages.
        text: The text of the conversation.
        blocks: A marked part for each of these messages.
    """
    return all(
        str(one["content"]).strip() in text[before[1] : after[0]]
        for (first, before), (last, after) in pairwise(zip(own, blocks, strict=True))
        for one in messages[first + 1 : last]
        if _says(one)
    )


def _groups(messages: Sequence[Mapping[str, Any]]) -> Iterator[tuple[list[int], list[int]]]:
    """Places of the assistant's messages that stand together, and of what others say after them.

    Only messages of text count, and nothing follows the last group.
    """
    group: list[int] = []
    others: list[int] = []
    for place, one in enumerate(messages):
        if one.get("role") != "assistant":
            others += [place] if group and _says(one) else []
        elif others:
            yield group, others
            group, others = [place], []
        else:
            group.append(place)
    if group:
        yield group, []


def _says(message: Mapping[str, Any]) -> bool:
    """Whether a message is text of its own."""
    content = message.get("content")
    return isinstance(content, str) and bool(content.strip())


def _place_of(
    number: int,
    row: Mapping[str, Any],
    text: str,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
) -> int | None:
    """Where a message's words begin in the text of a conversation: where another word changes it.

    Args:
        number: The place of the message.
        row: The row.
        text: Its text.
        tokenizer: The tokenizer.
        template: The chat template in force.

    Returns:
        The place; None if something else changes as well.
    """
    messages = messages_of(row) or []
    said = str(messages[number]["content"]).strip()
    changed = [*messages]
    changed[number] = {**messages[number], "content": _OTHER}
    rest = {key: row[key] for key in ("tools", "chat_template_kwargs") if row.get(key)}
    try:
        other = str(rendered({"messages": changed, **rest}, tokenizer, template))
    except RENDERING:
        return None
    start = other.find(_OTHER)
    before, after = other[:start], other[start + 1 :]
    is_alone = start >= 0 and text.startswith(before) and text.endswith(after)
    return start if is_alone and text[start : len(text) - len(after)].strip() == said else None
