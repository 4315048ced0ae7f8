"""Turns in files of scores: a row stays a conversation, with the scores of its turns in a list.

Turns are decided on as rows of their own, and the decisions put together again by conversation:
what is dropped of one is masked as pruned tokens are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.plane import BAND
from ..errors import UsageError
from ..examples.candidate import unit_name
from ..signals.score_columns import ALONE, NLL_SUM
from .decisions import TableDecisions
from .schema import OF_TURNS_ALONE, TOKEN_SCORES, TURN_ENDS, TURN_SCORES


@dataclass(frozen=True)
class Units:
    """The turns of scored conversations.

    Attributes:
        table: A row for each turn, with the columns that decisions are made from.
        starts: Place of the first turn of each conversation, and the number of turns, ``(N + 1,)``.
        turns: Number and kind of each turn.
        lengths: Answer tokens of each turn, ``(U,)``.
    """

    table: pa.Table
    starts: NDArray[np.int64]
    turns: Sequence[Mapping[str, Any]]
    lengths: NDArray[np.int64]

    def pools(self, pool_size: int | None) -> list[int]:
        """Number of turns of each pool of so many conversations with answer tokens."""
        counts = np.diff(self.starts)
        counts = counts[counts > 0]
        size = pool_size or max(1, len(counts))
        return [int(counts[i : i + size].sum()) for i in range(0, len(counts), size)]


def units_of_table(scores: pa.Table, where: str) -> Units:
    """The turns of scored conversations, as rows of their own.

    Args:
        scores: A table of ``typed_scores``.
        where: The name of the scores in messages.

    Raises:
        UsageError: The scores are not of turns.
    """
    if TURN_SCORES not in scores.column_names:
        raise UsageError(
            f"{where}: prune_unit turn reads a column {TURN_SCORES}, which is missing: score with "
            "--prune_unit turn, or set prune_unit to sample"
        )
    lists = scores[TURN_SCORES].combine_chunks()
    starts = np.append(0, np.cumsum(pc.list_value_length(lists).to_numpy())).astype(np.int64)
    turns = lists.flatten().to_pylist()
    rows = np.repeat(np.arange(scores.num_rows), np.diff(starts))
    ids = scores["sample_id"].cast(pa.string()).to_pylist()
    names = [unit_name(ids[row], one["turn"]) for row, one in zip(rows, turns, strict=True)]
    lengths = np.array([one["n_tokens"] for one in turns], dtype=np.int64)
    columns = {
        "sample_id": pa.array(names, pa.string()),
        "ppl": pa.array([one["ppl"] for one in turns], pa.float64()),
        "entropy": pa.array([one["entropy"] for one in turns], pa.float64()),
        "n_tokens": pa.array(lengths),
    }
    if ALONE in scores.column_names:
        for name in (NLL_SUM, *OF_TURNS_ALONE):
            columns[name] = pa.array([one[name] for one in turns], pa.float64())
    ends = np.append(0, np.cumsum(lengths))
    if TURN_ENDS in scores.column_names:
        columns[TURN_ENDS] = _turn_ends(scores, ends)
    for name in TOKEN_SCORES:
        if name in scores.column_names:
            flat = pc.list_flatten(scores[name].combine_chunks())
            columns[name] = pa.ListArray.from_arrays(ends.astype(np.int32), flat)
    return Units(pa.table(columns), starts, turns, lengths)


def _turn_ends(scores: pa.Table, ends: NDArray[np.int64]) -> pa.Array:
    """The places of the tokens that end a turn, counted within each unit.

    Args:
        scores: The conversations.
        ends: Answer tokens of all conversations up to each turn, from 0, ``(U + 1,)``.
    """
    column = scores[TURN_ENDS].combine_chunks()
    first = np.append(0, np.cumsum(scores["n_tokens"].to_numpy()))
    row = pc.list_parent_indices(column).to_numpy()
    place = first[row] + pc.list_flatten(column).to_numpy()
    unit = np.searchsorted(ends, place, side="right") - 1
    offsets = np.append(0, np.cumsum(np.bincount(unit, minlength=len(ends) - 1)))
    values = pa.array((place - ends[unit]).astype(np.int32))
    return pa.ListArray.from_arrays(offsets.astype(np.int32), values)


def by_conversation(units: Units, found: TableDecisions) -> TableDecisions:
    """The decisions on turns as decisions on conversations, with those on the turns beside them.

    A conversation is kept if a turn of it is. Its quadrant is that of its only turn, else 0.

    Args:
        units: The turns.
        found: The decisions on them.
    """
    n = len(units.starts) - 1
    kept, filled, bad = (torch.zeros(n, dtype=torch.bool) for _ in range(3))
    quadrant = torch.full((n,), BAND)
    keeps: dict[int, Tensor] = {}
    told: list[list[dict[str, Any]]] = []
    reasons = found.reasons()
    for row, (start, end) in enumerate(pairwise(units.starts.tolist())):
        part = slice(start, end)
        of_turns = found.kept[part]
        kept[row], bad[row] = bool(of_turns.any()), bool(found.bad[part].any())
        filled[row] = bool(of_turns.any()) and bool(found.filled[part][of_turns].all())
        if end - start == 1:
            quadrant[row] = found.quadrant[start]
        masks = [_mask(units, found, unit) for unit in range(start, end)]
        if kept[row] and not all(bool(mask.all()) for mask in masks):
            keeps[row] = torch.cat(masks)
        told.append(
            [
                {
                    "turn": units.turns[unit]["turn"],
                    "kind": units.turns[unit]["kind"],
                    "kept": bool(found.kept[unit]),
                    "quadrant": int(found.quadrant[unit]),
                    "filled": bool(found.filled[unit]),
                    "tokens_kept": int(masks[unit - start].sum()),
                    "reason": reasons[unit],
                }
                for unit in range(start, end)
            ]
        )
    return replace(
        found,
        kept=kept,
        quadrant=quadrant,
        filled=filled,
        bad=bad,
        empty=torch.from_numpy(np.diff(units.starts) == 0),
        token_keeps=keeps,
        turns=told,
    )


def _mask(units: Units, found: TableDecisions, unit: int) -> Tensor:
    """Which answer tokens of a turn are kept."""
    n = int(units.lengths[unit])
    if not found.kept[unit]:
        return torch.zeros(n, dtype=torch.bool)
    return found.token_keeps.get(unit, torch.ones(n, dtype=torch.bool))
