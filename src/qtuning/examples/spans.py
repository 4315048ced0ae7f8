"""Which tokens of a row each message of its conversation has: what its rendering adds.

A chat template writes the conversation up to a message, and the conversation one message longer;
what the longer text has beyond the shorter one is that message's. Where the shorter text is not how
the longer one begins, the template rewrites earlier turns, and nothing is guessed: ``SpanError``
says why. The text's tokens are compared with the row's own, so that spans are never of another
text.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from transformers import PreTrainedTokenizerBase

from .templates import RENDERING, blocks_of, messages_of, one_line, rendered


class SpanError(ValueError):
    """Why the tokens of messages cannot be told, without the row."""


def message_spans(
    row: Mapping[str, Any],
    ids: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
    template: str,
) -> list[range]:
    """The places of each message's tokens; together they are all places, in order.

    The first message has what the template writes before it as well.

    Args:
        row: The row as TRL reads it, with ``messages``, or ``prompt`` and ``completion``.
        ids: The row's tokens before it is cut, ``(L,)``.
        tokenizer: The tokenizer.
        template: The chat template in force.

    Raises:
        SpanError: The spans cannot be told.
    """
    n = len(messages_of(row) or [])
    ends = message_ends(row, ids, tokenizer, template, range(1, n))
    places = [0, *(ends[number] for number in range(1, n)), len(ids)]
    return [range(start, end) for start, end in pairwise(places)]


def message_ends(
    row: Mapping[str, Any],
    ids: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    wanted: Collection[int],
) -> dict[int, int]:
    """The places at which messages end, of those that are wanted.

    Args:
        row: The row, as in ``message_spans``.
        ids: The row's tokens before it is cut, ``(L,)``.
        tokenizer: The tokenizer.
        template: The chat template in force.
        wanted: Numbers of messages, the first is 1.

    Returns:
        Number of tokens up to the end of each wanted message, by its number.

    Raises:
        SpanError: An end that is wanted cannot be told.
    """
    text, ends = text_ends(row, tokenizer, template, wanted)
    encoded, offsets = _encoded(text, tokenizer)
    if encoded != list(ids):
        raise SpanError("its tokens are not those of the text that the chat template writes")
    if offsets is None:
        return dict(_by_prefixes(text, ends, encoded, tokenizer))
    return dict(_by_offsets(ends, offsets))


def turn_spans(
    row: Mapping[str, Any],
    ids: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
    template: str,
) -> list[range]:
    """The places of the tokens of each of the assistant's messages, in order.

    Where the template marks what is the assistant's, and does so once a message, these are the
    tokens of the marked text; else they are those of ``message_spans``.

    Args:
        row: The row, as in ``message_spans``.
        ids: The row's tokens before it is cut, ``(L,)``.
        tokenizer: The tokenizer.
        template: The chat template in force.

    Raises:
        SpanError: The spans cannot be told.
    """
    messages = messages_of(row) or []
    own = [place for place, one in enumerate(messages) if one.get("role") == "assistant"]
    spans = _block_spans(row, ids, tokenizer, template)
    if len(spans) != len(own):
        every = message_spans(row, ids, tokenizer, template)
        spans = [every[place] for place in own]
    return spans


def _block_spans(
    row: Mapping[str, Any],
    ids: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
    template: str,
) -> list[range]:
    """The tokens of the parts that a template marks as the assistant's; none where in doubt."""
    text, blocks = blocks_of(row, tokenizer, template)
    if not blocks:
        return []
    encoded, offsets = _encoded(text, tokenizer)
    if offsets is None or encoded != list(ids):
        return []
    spans = []
    for start, end in blocks:
        inside = [i for i, (first, last) in enumerate(offsets) if first < end and last > start]
        spans.append(range(inside[0], inside[-1] + 1) if inside else range(0))
    overlap = any(a.stop > b.start for a, b in pairwise(spans))
    return [] if overlap or not all(spans) else spans


def text_ends(
    row: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    wanted: Collection[int],
) -> tuple[str, dict[int, int]]:
    """The text of a row, and where in it messages end; arguments as in ``message_ends``.

    Raises:
        SpanError: The template rewrites earlier turns, or raises for a part of the conversation.
    """
    messages = messages_of(row)
    if messages is None:
        raise SpanError("it is no conversation")
    rest = {key: row[key] for key in ("tools", "chat_template_kwargs") if row.get(key)}

    def text_of(number: int) -> str:
        try:
            return str(rendered({"messages": messages[:number], **rest}, tokenizer, template))
        except RENDERING as error:
            raise SpanError(
                f"the chat template does not write it up to message {number} alone "
                f"({one_line(error)})"
            ) from error

    text, ends, before = text_of(len(messages)), {}, 0
    for number in sorted(wanted):
        part = text_of(number)
        if not text.startswith(part) or len(part) < before:
            raise SpanError(
                f"the chat template writes message {number} otherwise when messages follow it"
            )
        ends[number] = before = len(part)
    return text, ends


def _encoded(
    text: str, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], list[tuple[int, int]] | None]:
    """Tokens of a text, and where in it each stands; None where the tokenizer does not say."""
    made = tokenizer(text, add_special_tokens=False, return_offsets_mapping=tokenizer.is_fast)
    return list(made["input_ids"]), made["offset_mapping"] if tokenizer.is_fast else None


def _by_offsets(
    ends: Mapping[int, int], offsets: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """The number of tokens up to each end in a text."""
    for number, end in ends.items():
        place = sum(last <= end for _, last in offsets)
        if any(first < end < last for first, last in offsets):
            raise SpanError(f"a token reaches over the end of message {number}")
        if any(last > end for _, last in offsets[:place]):
            raise SpanError(f"the tokens at the end of message {number} are not in order")
        yield number, place


def _by_prefixes(
    text: str, ends: Mapping[int, int], ids: list[int], tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[int, int]]:
    """The number of tokens up to each end in a text, by tokens of the text up to there."""
    for number, end in ends.items():
        part, _ = _encoded(text[:end], tokenizer)
        if ids[: len(part)] != part:
            raise SpanError(f"a token reaches over the end of message {number}")
        yield number, len(part)
