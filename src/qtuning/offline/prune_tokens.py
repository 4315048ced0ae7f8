"""Decide on the answer tokens of kept rows of a scored data set."""

import logging
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..pruners.protocols import SCORES, TokenPruner
from ..step.decide import Decision
from ..step.token_stage import keep_masks, token_sample
from .schema import TOKEN_SCORES, TURN_ENDS

logger = logging.getLogger(__name__)


class KeptRow(NamedTuple):
    """A row that is kept.

    Attributes:
        place: Its place in the table.
        sample_id: Id of the sample.
        step: Number of its pool, counted from 1: the step that a run would see it in.
        decision: The decision to keep it.
    """

    place: int
    sample_id: str
    step: int
    decision: Decision


def token_keeps(
    scores: pa.Table,
    kept: Sequence[KeptRow],
    pruner: TokenPruner,
    args: PruningArguments,
    seed: int,
    where: str,
) -> dict[int, Tensor]:
    """Which answer tokens of kept rows are kept, ``(T,)`` bool, by the place of the row.

    Args:
        scores: A table of ``typed_scores``, with what the pruner reads.
        kept: The kept rows, pool after pool.
        pruner: The token pruner.
        args: The pruning arguments.
        seed: Seed of random pruners.
        where: The name of the scores in messages.

    Returns:
        The masks; rows that keep all tokens have no entry.

    Raises:
        UsageError: A user's pruner returned other masks.
    """
    if not kept:
        return {}
    if args.protect_eos and TURN_ENDS not in scores.column_names:
        logger.warning(
            f"{where}: does not say which tokens end a turn (there is no column {TURN_ENDS}, which "
            "earlier versions did not write), so the last answer token of each row is protected "
            "instead; score again to protect the end of every turn"
        )
    names = [name for name in ("n_tokens", TURN_ENDS, *TOKEN_SCORES) if name in scores.column_names]
    rows = scores.select(names).take(pa.array([row.place for row in kept], pa.int64()))
    nll: Sequence[Tensor | None] = [None] * len(kept)
    entropy: Sequence[Tensor | None] = [None] * len(kept)
    if SCORES in pruner.needs:
        nll, entropy = (_lists(rows[name], pa.float32()) for name in TOKEN_SCORES)
    samples = [
        token_sample(row.sample_id, row.decision, ends, args, nll=one_nll, entropy=one_entropy)
        for row, ends, one_nll, one_entropy in zip(
            kept, _ends_turn(rows), nll, entropy, strict=True
        )
    ]
    keeps = []
    for step, members in groupby(range(len(kept)), key=lambda i: kept[i].step):
        pool = [samples[i] for i in members]
        keeps += keep_masks(pool, pruner, args, step=step, seed=seed)
    return {row.place: keep for row, keep in zip(kept, keeps, strict=True) if not bool(keep.all())}


def _ends_turn(rows: pa.Table) -> list[Tensor]:
    """Which answer tokens of each row end a turn, ``(T,)`` bool; where not known, the last."""
    lengths = rows["n_tokens"].to_pylist()
    flags = [torch.zeros(length, dtype=torch.bool) for length in lengths]
    if TURN_ENDS in rows.column_names:
        for row, ends in zip(flags, _lists(rows[TURN_ENDS], pa.int64()), strict=True):
            row[ends] = True
    else:
        for row in flags:
            row[-1] = True
    return flags


def _lists(column: pa.ChunkedArray, kind: pa.DataType) -> list[Tensor]:
    """A column of lists of numbers as tensors of a type, one for each row."""
    flat = column.combine_chunks()
    values = torch.from_numpy(flat.flatten().cast(kind).to_numpy(zero_copy_only=False).copy())
    return list(values.split(pc.list_value_length(flat).to_pylist()))
