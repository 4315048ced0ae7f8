"""The decisions on the rows of a scored data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..arguments import PruningArguments
from ..core.plane import Selection
from .reasons import reason, why_of


@dataclass(frozen=True)
class TableDecisions:
    """The decisions on each row, in the order of the scores.

    Attributes:
        kept: Whether each row is kept, ``(N,)`` bool.
        quadrant: Quadrant of each row, ``(N,)`` int64; 0 for the middle band, or for a choice
            without the plane.
        filled: Whether each row is kept only to fill the budget, ``(N,)`` bool.
        bad: Whether each row is left out because its loss is NaN or infinite, ``(N,)`` bool.
        empty: Whether each row has no answer tokens, so that it is no candidate, ``(N,)`` bool.
        selections: The selection of each pool.
        token_keeps: Which answer tokens of a kept row are kept, ``(T,)`` bool, by the place of the
            row. Rows that keep all tokens have no entry.
        tokens_known: Whether tokens were decided on; False where the scores of tokens are missing.
        entropy_over: The option ``entropy_over``: whether ``entropy`` or ``entropy_all`` decided.
        turns: The decisions on the turns of each row; None where rows were decided on.
    """

    kept: Tensor
    quadrant: Tensor
    filled: Tensor
    bad: Tensor
    empty: Tensor
    selections: Sequence[Selection]
    token_keeps: dict[int, Tensor] = field(default_factory=dict)
    tokens_known: bool = True
    entropy_over: str = PruningArguments.entropy_over
    turns: Sequence[Sequence[Mapping[str, Any]]] | None = None

    @property
    def emptied(self) -> list[int]:
        """Places of the kept rows that keep none of their answer tokens."""
        return [place for place, keep in self.token_keeps.items() if not bool(keep.any())]

    def reasons(self) -> list[str]:
        """Why each row is kept or not, in words."""
        if self.turns is not None:
            counts = [(sum(one["kept"] for one in turns), len(turns)) for turns in self.turns]
            return [f"{n_kept} of {n} turns kept" for n_kept, n in counts]
        columns = (self.kept, self.filled, self.quadrant, self.bad, self.empty)
        return [
            reason(kept, filled, why_of(quadrant, bad=bad, empty=empty))
            for kept, filled, quadrant, bad, empty in zip(
                *(column.tolist() for column in columns), strict=True
            )
        ]
