"""Whose words the tokens are, and how many of them are trained on."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..core.ratio import share
from ..examples.templates import RENDERING, messages_of, rendered
from ..io.turns import OF_SYSTEM
from .figures import Figures
from .findings import FIRST
from .result import Finding, Table
from .tokens import Bools, Ints

TEMPLATE = "template"
"""The role of what the chat template writes around and between the turns."""

_OPEN, _CLOSE = "\ue000", "\ue001"
_MARK = re.compile(f"{_OPEN}(\\d+){_CLOSE}")
_OTHERS = ("user", "tool", *OF_SYSTEM)


class Span(NamedTuple):
    """A part of a text that a turn says: where it starts and ends, and who says it."""

    start: int
    end: int
    role: str


class Written(NamedTuple):
    """What a chat template makes of a conversation.

    Attributes:
        text: The text.
        spans: Which parts of it the turns say, in order.
        missing: Roles of turns that it does not write.
    """

    text: str
    spans: tuple[Span, ...]
    missing: frozenset[str]


class Row(NamedTuple):
    """A row whose tokens are to be told apart.

    Attributes:
        number: Its number, from 1.
        columns: The row as TRL reads it.
        ids: Its tokens, before it is cut, ``(T,)``.
        trained: Whether each is an answer token, ``(T,)``.
        kept: What is left of them.
    """

    number: int
    columns: Mapping[str, Any]
    ids: Ints
    trained: Bools
    kept: slice


@dataclass
class RoleCounts:
    """Tokens and answer tokens by role.

    Attributes:
        tokens: Number of tokens.
        trained: Number of answer tokens.
        rows: Rows that are counted.
        unknown: Rows whose tokens could not be told apart.
        unwritten: Numbers of rows, from 1, with a turn that the template does not write, by its
            role.
    """

    tokens: dict[str, int] = field(default_factory=dict)
    trained: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    unknown: int = 0
    unwritten: dict[str, list[int]] = field(default_factory=dict)

    def add(self, roles: Sequence[str], of: Ints, trained: Bools) -> None:
        """Count a row: ``roles[of[t]]`` says token ``t``."""
        self.rows += 1
        counts = np.bincount(of, minlength=len(roles))
        answers = np.bincount(of[trained], minlength=len(roles))
        for role, n, m in zip(roles, counts.tolist(), answers.tolist(), strict=True):
            if n:
                self.tokens[role] = self.tokens.get(role, 0) + n
                self.trained[role] = self.trained.get(role, 0) + m

    def table(self) -> Table:
        """A row for each role, most trained tokens first."""
        total = sum(self.trained.values())
        return [
            {
                "role": role,
                "tokens": n,
                "trained": self.trained[role],
                "share of its tokens": round(share(self.trained[role], n), 4),
                "share of trained tokens": round(share(self.trained[role], total), 4),
            }
            for role, n in sorted(
                self.tokens.items(), key=lambda one: (-self.trained[one[0]], one[0])
            )
        ]


def count_roles(
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    counts: RoleCounts,
) -> None:
    """Count the tokens of conversations by role.

    Args:
        rows: The rows.
        tokenizer: The tokenizer.
        template: The chat template in force.
        counts: What they are added to.
    """
    all_written = [written(row.columns, tokenizer, template) for row in rows]
    encoded = _encoded([one.text for one in all_written if one is not None], tokenizer)
    for (number, _, ids, trained, kept), one in zip(rows, all_written, strict=True):
        own = None if one is None else next(encoded)
        if one is None or own is None or own[0] != ids.tolist():
            counts.unknown += 1
            continue
        for role in one.missing:
            counts.unwritten.setdefault(role, []).append(number)
        spans = one.spans
        roles = sorted({span.role for span in spans})
        of = _roles_of_tokens(np.array(own[1]).reshape(-1, 2), spans, roles)
        counts.add([*roles, TEMPLATE], of[kept], trained[kept])


def written(
    row: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, template: str
) -> Written | None:
    """What the model reads of a conversation, and which parts of it the turns say.

    The template writes the row once as it is, and once with marks for the contents. Where the
    marks, replaced by the contents, make up the same text, they say where the contents are.

    Args:
        row: The row as TRL reads it.
        tokenizer: The tokenizer.
        template: The chat template in force.

    Returns:
        What is written; None if it cannot be told which turn says what.
    """
    messages = messages_of(row) or []
    contents = [one["content"] if isinstance(one.get("content"), str) else "" for one in messages]
    if any(_OPEN in content for content in contents):
        return None
    marked = [
        {**one, "content": f"{_OPEN}{i}{_CLOSE}"} if content.strip() else one
        for i, (one, content) in enumerate(zip(messages, contents, strict=True))
    ]
    rest = {key: row[key] for key in ("tools", "chat_template_kwargs") if row.get(key)}
    try:
        text = rendered({"messages": messages, **rest}, tokenizer, template)
        skeleton = rendered({"messages": marked, **rest}, tokenizer, template)
    except RENDERING:  # a template that looks into the contents
        return None
    for said in (contents, [content.strip() for content in contents]):
        filled, places = _fill(str(skeleton), said)
        if filled == text:
            missing = {
                str(one["role"])
                for i, (one, content) in enumerate(zip(messages, contents, strict=True))
                if content.strip() and i not in places
            }
            return Written(text, tuple(_spans(text, messages, places)), frozenset(missing))
    return None


def role_findings(counts: RoleCounts, *, conversations: bool) -> list[Finding]:
    """Turns that are not written, and tokens of users, systems and tools that are trained on.

    Args:
        counts: Tokens by role.
        conversations: Whether the rows are conversations without a prompt of their own.
    """
    found = [
        Finding(
            "error",
            "turns-not-written",
            len(rows),
            tuple(rows[:FIRST]),
            f"{len(rows):,} of {counts.rows:,} rows: the chat template does not write the words of "
            f"a turn of the {role}",
            "name a template that does with chat_template_path, or take the turns out",
        )
        for role, rows in sorted(counts.unwritten.items())
    ]
    others = sum(counts.trained.get(role, 0) for role in _OTHERS)
    if not conversations or not others:
        return found
    part = share(others, sum(counts.trained.values()))
    return [
        *found,
        Finding(
            "warning",
            "others-trained",
            others,
            (),
            f"{part:.1%} of the trained tokens are not the assistant's words but those of users, "
            "systems or tools",
            "set assistant_only_loss, or make rows of prompt and completion",
        ),
    ]


def plain_table(rows: Figures) -> Table:
    """Tokens of prompts and answers of rows that are no conversations."""
    counts = RoleCounts()
    on = rows.trained
    total, answers = int(rows.length[on].sum()), int(rows.answer[on].sum())
    if (rows.length[on] - rows.answer[on] > 1).any():
        counts.tokens = {"prompt": total - answers, "answer": answers}
        counts.trained = {"prompt": 0, "answer": answers}
    else:
        counts.tokens, counts.trained = {"text": total}, {"text": answers}
    return counts.table()


def _fill(skeleton: str, contents: Sequence[str]) -> tuple[str, dict[int, tuple[int, int]]]:
    """A text with contents in the place of marks, and where each of them is, by its number."""
    text, last = "", 0
    places: dict[int, tuple[int, int]] = {}
    for mark in _MARK.finditer(skeleton):
        number = int(mark[1])
        text += skeleton[last : mark.start()]
        places.setdefault(number, (len(text), len(text) + len(contents[number])))
        text += contents[number]
        last = mark.end()
    return text + skeleton[last:], places


def _spans(
    text: str, messages: Sequence[Mapping[str, Any]], places: Mapping[int, tuple[int, int]]
) -> Iterator[Span]:
    """The parts of a text that turns say: their contents, then the tools that they call."""
    said = 0
    for number, turn in enumerate(messages):
        if number in places:
            start, end = places[number]
            if start < said:  # written in another order
                continue
            yield Span(start, end, turn["role"])
            said = end
        after = [places[i][0] for i in range(number + 1, len(messages)) if i in places]
        limit = min(after, default=len(text))
        start, end = -1, said
        for word in _words(turn.get("tool_calls") or []):
            place = text.find(word, end, limit)
            if place >= 0:
                start, end = (place if start < 0 else start), place + len(word)
        if start >= 0:
            yield Span(start, end, turn["role"])
            said = end


def _words(calls: Any) -> Iterator[str]:
    """The names and values in calls of tools, as text, in order."""
    if isinstance(calls, Mapping):
        names = [calls["name"]] if isinstance(calls.get("name"), str) else []
        values = [value for key, value in calls.items() if key not in ("name", "type", "id")]
        for value in (*names, *values):
            yield from _words(value)
    elif isinstance(calls, list):
        for value in calls:
            yield from _words(value)
    elif calls is not None and not isinstance(calls, bool) and str(calls):
        yield str(calls)


def _encoded(
    texts: list[str], tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[list[int], list[tuple[int, int]]] | None]:
    """Ids and offsets of each text; None from tokenizers that have no offsets."""
    for first in range(0, len(texts), 500):
        part = texts[first : first + 500]
        if not tokenizer.is_fast:
            yield from [None] * len(part)
            continue
        made = tokenizer(part, add_special_tokens=False, return_offsets_mapping=True)
        yield from zip(made["input_ids"], made["offset_mapping"], strict=True)


def _roles_of_tokens(offsets: Ints, spans: Sequence[Span], roles: Sequence[str]) -> Ints:
    """The place in ``roles`` of the role of each token, ``(T,)``; their number for no role."""
    none = np.full(len(offsets), len(roles))
    if not spans:
        return none
    starts, ends = (np.array(column) for column in list(zip(*spans, strict=True))[:2])
    of = np.array([roles.index(span.role) for span in spans])
    last = offsets[:, 1] - 1  # a token may begin with the space before a word
    span = np.searchsorted(starts, last, "right") - 1
    inside = (span >= 0) & (last < ends[span]) & (offsets[:, 1] > offsets[:, 0])
    result: Ints = np.where(inside, of[span], none)
    return result
