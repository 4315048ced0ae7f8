"""A conversation of a run whose units were turns: what became of each of them."""

import re
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from .history import History
from .sample import Sample, sample_of
from .texts import Texts


@dataclass(frozen=True)
class Conversation:
    """The turns of a conversation.

    Attributes:
        sample_id: Name of the conversation.
        turns: Its turns with their visits, in the order of the conversation.
    """

    sample_id: str
    turns: tuple[Sample, ...]

    def to_dict(self) -> dict[str, Any]:
        """The conversation as plain data for JSON."""
        return {"sample_id": self.sample_id, "turns": [one.to_dict() for one in self.turns]}


def conversation_of(
    history: History, name: str, texts: Texts | None, where: str
) -> Conversation | None:
    """A conversation of a run; None if the run has no turns of that name.

    Args:
        history: The visits of the run.
        name: Name of the conversation.
        texts: Texts of turns; None for none.
        where: Name of the run in messages.
    """
    if history.kind is None:
        return None
    pattern = f"^{re.escape(name)}@[0-9]+$"
    names = history.names.filter(pc.match_substring_regex(history.names, pattern)).to_pylist()
    if not names:
        return None
    names.sort(key=lambda one: int(one.rpartition("@")[2]))
    return Conversation(name, tuple(sample_of(history, one, texts, where) for one in names))
