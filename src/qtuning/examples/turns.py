"""Turns as units of pruning: which answer tokens of a conversation are of which turn.

Rows that are prepared from conversations have a column with a mark for each token (``TURN``): the
number of the assistant's turn and its kind. In rows that come as tokens each run of answer tokens
is taken for a turn.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from torch import Tensor

from ..io.turns import THOUGHTS
from .example import TURN, Example

UNKNOWN, ANSWER, THOUGHT_ANSWER = "turn", "answer", "thoughts+answer"
CALL, THOUGHT_CALL, WHOLE = "call", "thoughts+call", "conversation"
KINDS = (UNKNOWN, ANSWER, THOUGHT_ANSWER, CALL, THOUGHT_CALL, WHOLE)
"""Kinds of turns: of a row of tokens, so not known; answers without or with thoughts; calls of
tools without or with thoughts; and a conversation whose turns cannot be told apart."""
_SPAN = 16
"""More than there are kinds: mark = number x span + kind."""
NO_TURN = -1
"""Mark of a token of no turn of the assistant."""


class Turn(NamedTuple):
    """A turn of a conversation as the step prunes it.

    Attributes:
        number: The n-th message of the assistant, counted from 1; 0 is a whole conversation.
        kind: One of ``KINDS``.
        n_tokens: Number of its answer tokens.
    """

    number: int
    kind: str
    n_tokens: int


def mark(number: int, kind: str) -> int:
    """The mark of a token of a turn."""
    return number * _SPAN + KINDS.index(kind)


def kind_of(message: Mapping[str, Any]) -> str:
    """The kind of an assistant's message."""
    inline = "</think>" in str(message.get("content"))
    thinks = inline or any(message.get(key) for key in THOUGHTS)
    if message.get("tool_calls"):
        return THOUGHT_CALL if thinks else CALL
    return THOUGHT_ANSWER if thinks else ANSWER


def take_turns(example: Example, answers: Tensor) -> tuple[Example, tuple[Turn, ...]]:
    """The example without its column of marks, and the turns that its answer tokens are of.

    Args:
        example: A sample with labels; without marks each run of answer tokens is a turn.
        answers: Positions of the answer tokens, ``(T,)``.

    Returns:
        The example, and its turns in order: their ``n_tokens`` add up to T.
    """
    places: list[int] = answers.tolist()
    marks: Sequence[int] | None = example.get(TURN)
    rest = {key: value for key, value in example.items() if key != TURN}
    if marks is None:
        return rest, tuple(Turn(n, UNKNOWN, size) for n, size in enumerate(_runs(places), 1))
    groups = [(one, len(list(group))) for one, group in groupby(marks[place] for place in places)]
    return rest, tuple(Turn(one // _SPAN, KINDS[one % _SPAN], size) for one, size in groups)


def _runs(places: Sequence[int]) -> list[int]:
    """Lengths of the runs of neighbouring places."""
    if not places:
        return []
    breaks = [i for i, (a, b) in enumerate(pairwise(places), 1) if b != a + 1]
    ends = [0, *breaks, len(places)]
    return [end - start for start, end in pairwise(ends)]
