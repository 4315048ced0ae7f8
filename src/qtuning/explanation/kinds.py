"""The turns of a run by what they are: calls of tools, answers, and both with thoughts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ..core.ratio import share
from ..examples.turns import KINDS, THOUGHT_ANSWER, THOUGHT_CALL, UNKNOWN, WHOLE

_WORDS = {
    UNKNOWN: "turns",
    "answer": "answers",
    THOUGHT_ANSWER: "answers with thoughts",
    "call": "calls of tools",
    THOUGHT_CALL: "calls of tools with thoughts",
    WHOLE: "whole conversations",
}


@dataclass(frozen=True)
class KindCount:
    """The decisions on turns of one kind.

    Attributes:
        kind: One of ``examples.turns.KINDS``.
        visits: Number of decisions.
        kept: How many of them kept the turn.
        tokens: Answer tokens of the turns, each visit counted.
        tokens_kept: How many of them were trained on.
    """

    kind: str
    visits: int
    kept: int
    tokens: int
    tokens_kept: int

    @property
    def kept_share(self) -> float:
        """Share of the decisions that kept the turn."""
        return share(self.kept, self.visits)

    def to_dict(self) -> dict[str, Any]:
        """The counts as plain data for JSON."""
        return dict(vars(self))


def kinds_of(ledger: pa.Table) -> tuple[KindCount, ...]:
    """The decisions of a ledger by kind of turn; none of a run that pruned whole samples.

    Args:
        ledger: Rows of a ledger; those without answer tokens are not counted.
    """
    if "kind" not in ledger.column_names:
        return ()
    kind = np.array(ledger["kind"].to_pylist(), dtype=object)
    n_tokens = ledger["n_tokens"].to_numpy()
    kept = ledger["kept"].to_numpy(zero_copy_only=False).astype(bool)
    tokens_kept = ledger["tokens_kept"].to_numpy()
    counts = []
    for name in KINDS:
        chosen = (kind == name) & (n_tokens > 0)
        if chosen.any():
            sums = (chosen, kept[chosen], n_tokens[chosen], tokens_kept[chosen])
            counts.append(KindCount(name, *(int(values.sum()) for values in sums)))
    return tuple(counts)


def words_of_kind(kind: str) -> str:
    """What turns of a kind are called."""
    return _WORDS[kind]
