"""Conversations that end without an answer."""

from .findings import in_rows
from .result import Finding
from .texts import Said
from .tokens import Bools

_ASKING = ("user", "tool", "system", "developer")


def is_unanswered(said: Said) -> bool:
    """Whether the last turn of a conversation is not the assistant's."""
    return bool(said.turns) and said.turns[-1][0] in _ASKING


def conversation_findings(unanswered: Bools) -> list[Finding]:
    """Conversations whose last turn nothing answers.

    Args:
        unanswered: What ``is_unanswered`` says of each row, ``(R,)``.
    """
    return in_rows(
        "warning",
        "unanswered",
        unanswered,
        "the last turn of the conversation is not the assistant's",
        "take the turn out, or see where its answer is",
    )
