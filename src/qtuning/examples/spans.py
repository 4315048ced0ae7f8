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

from .blocks import block_owners, block_spans
from .encoding import encoded
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
    own, offsets = encoded(text, tokenizer)
    if own != list(ids):
        raise SpanError("its tokens are not those of the text that the chat template writes")
    if offsets is None:
        return dict(_by_prefixes(text, ends, own, tokenizer))
    return dict(_by_offsets(ends, offsets))


def turn_spans(
    row: Mapping[str, Any],
    ids: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
    template: str,
) -> list[range]:
    """The places of the tokens of each of the assistant's messages, in order.

    Where the template marks what is the assistant's, these are the tokens from a message's first
    mark to its last, none for a message without a mark; else, or where in doubt of which message a
    mark is, they are those of ``message_spans``.

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
    text, blocks = blocks_of(row, tokenizer, template)
    parts = block_spans(text, blocks, ids, tokenizer)
    owners = block_owners(row, text, blocks, tokenizer, template) if parts else []
    if not owners:
        every = message_spans(row, ids, tokenizer, template)
        return [every[place] for place in own]
    spans_of: dict[int, list[range]] = {}
    for owner, span in zip(owners, parts, strict=True):
        spans_of.setdefault(owner, []).append(span)
    return [
        range(spans_of[place][0].start, spans_of[place][-1].stop) if place in spans_of else range(0)
        for place in own
    ]


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
        part, _ = encoded(text[:end], tokenizer)
        if ids[: len(part)] != part:
            raise SpanError(f"a token reaches over the end of message {number}")
        yield number, len(part)
