"""Decide on a scored data set, with any pruner that reads nothing but scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..core.plane import BAND, QUADRANT_NAMES, Selection
from ..errors import UsageError
from ..pruners.checked import checked_masks, checked_selection
from ..pruners.pair import Pruners
from ..pruners.protocols import QUADRANTS, SCORES, SamplePool, TokenPool, TokenSample


@dataclass(frozen=True)
class TableDecisions:
    """The decisions on each row, in the order of the scores.

    Attributes:
        kept: Whether each row is kept, ``(N,)`` bool.
        quadrant: Quadrant of each row, ``(N,)`` int64; 0 for the middle band, or for a choice
            without the plane.
        filled: Whether each row is kept only to fill the budget, ``(N,)`` bool.
        selections: The selection of each pool.
        token_keeps: Which answer tokens of a kept row are kept, ``(T,)`` bool, by the place of the
            row. Rows that keep all tokens have no entry.
    """

    kept: Tensor
    quadrant: Tensor
    filled: Tensor
    selections: Sequence[Selection]
    token_keeps: dict[int, Tensor]

    def reasons(self) -> list[str]:
        """Why each row is kept or not, in words."""
        names = {number: f"{name}" for number, name in QUADRANT_NAMES.items()}
        texts = []
        for kept, filled, quadrant in zip(
            self.kept.tolist(), self.filled.tolist(), self.quadrant.tolist(), strict=True
        ):
            where = names[quadrant] if quadrant != BAND else "middle band, or chosen without it"
            if filled:
                texts.append(f"kept to fill the budget ({where})")
            else:
                texts.append(f"{'kept' if kept else 'dropped'}: {where}")
        return texts


def decide_offline(
    scores: pa.Table, args: PruningArguments, *, pool_size: int | None = None, seed: int = 0
) -> TableDecisions:
    """Run the pruners of the arguments over a scored data set.

    Args:
        scores: A table of ``typed_scores`` with ``sample_id``, ``ppl``, ``entropy`` (nats) and
            ``n_tokens``; for token pruners that read scores also with ``token_nll`` and
            ``token_entropy`` (nats).
        args: The pruners and their budgets.
        pool_size: Rows that compete with each other, in the order of the data, as in a training
            run; None makes one pool of all rows.
        seed: Seed of random pruners.

    Raises:
        UsageError: A pruner needs more than scores, token scores are missing, or a user's pruner
            returned something else than decisions on the pool.
    """
    pruners = Pruners.of(args)
    check_works_from_scores(args, pruners)
    columns = {name: _tensor(scores[name]) for name in ("ppl", "entropy", "n_tokens")}
    names = scores["sample_id"].to_pylist()
    n = len(names)
    kept, filled = torch.zeros(n, dtype=torch.bool), torch.zeros(n, dtype=torch.bool)
    quadrant, side = torch.zeros(n, dtype=torch.int64), torch.zeros(n, dtype=torch.float64)
    selections = []
    candidates = (columns["n_tokens"] > 0).nonzero().squeeze(1)
    for group, members in enumerate(candidates.split(pool_size or max(1, n))):
        pool = SamplePool(
            ppl=columns["ppl"][members].double(),
            entropy=columns["entropy"][members].double(),
            n_tokens=columns["n_tokens"][members],
            sample_ids=[names[i] for i in members.tolist()],
            step=group + 1,
            seed=seed,
        )
        selection = checked_selection(pruners.sample(pool, args), len(pool))
        kept[members], filled[members] = selection.kept, selection.filled
        quadrant[members], side[members] = selection.quadrant, selection.side
        selections.append(selection)
    # As in training, rows with a NaN or infinite loss are never kept.
    is_finite = columns["ppl"].isfinite() & columns["entropy"].isfinite()
    kept &= is_finite
    filled &= is_finite
    decisions = TableDecisions(kept, quadrant, filled, selections, {})
    if args.token_ratio < 1.0:
        decisions.token_keeps.update(
            _token_keeps(scores, args, pruners, decisions, side, names, seed)
        )
    return decisions


def check_works_from_scores(args: PruningArguments, pruners: Pruners) -> None:
    """Refuse pruners that read more than scores and quadrants.

    Raises:
        UsageError: The sample pruner or the token pruner reads more.
    """
    for field, needs in (
        ("sample_pruner", pruners.sample.needs),
        ("token_pruner", pruners.token.needs),
    ):
        signals = needs - {SCORES, QUADRANTS}
        if signals:
            raise UsageError(
                f"{field} {vars(args)[field]} needs more than scores "
                f"({', '.join(sorted(signals))}): it works in training only"
            )


def _token_keeps(
    scores: pa.Table,
    args: PruningArguments,
    pruners: Pruners,
    decisions: TableDecisions,
    side: Tensor,
    names: Sequence[str],
    seed: int,
) -> dict[int, Tensor]:
    """Which answer tokens of kept rows are kept, by place; rows that keep all have no entry.

    Raises:
        UsageError: Token scores are missing, or a user's pruner returned other masks.
    """
    places = decisions.kept.nonzero().squeeze(1).tolist()
    reads_scores = SCORES in pruners.token.needs
    if reads_scores and "token_nll" not in scores.column_names:
        raise UsageError(
            f"token_pruner {args.token_pruner} reads token scores: score with --per_token, or set "
            "token_ratio to 1.0"
        )
    rows = scores.take(pa.array(places, pa.int64()))
    nll = _lists(rows["token_nll"]) if reads_scores else [None] * len(places)
    entropy = _lists(rows["token_entropy"]) if reads_scores else [None] * len(places)
    lengths = _tensor(rows["n_tokens"]).tolist()
    samples = [
        TokenSample(
            sample_id=names[place],
            nll=one_nll,
            entropy=one_entropy,
            protected=_protected(length, args),
            quadrant=int(decisions.quadrant[place]),
            filled=bool(decisions.filled[place]),
            side=float(side[place]),
        )
        for place, length, one_nll, one_entropy in zip(places, lengths, nll, entropy, strict=True)
    ]
    keeps = checked_masks(pruners.token(TokenPool(samples, step=1, seed=seed), args), lengths)
    return {p: keep for p, keep in zip(places, keeps, strict=True) if not bool(keep.all())}


def _protected(length: int, args: PruningArguments) -> Tensor:
    """A mask of the last answer token, which ends the turn: token ids are not on record."""
    protected = torch.zeros(length, dtype=torch.bool)
    protected[-1] = args.protect_eos
    return protected


def _tensor(column: pa.ChunkedArray) -> Tensor:
    """A column of numbers as a tensor; null becomes NaN."""
    if pa.types.is_floating(column.type):
        column = pc.fill_null(column.cast(pa.float64()), float("nan"))
    return torch.from_numpy(column.to_numpy().copy())


def _lists(column: pa.ChunkedArray) -> list[Any]:
    """A column of lists as float32 tensors, one for each row."""
    flat = column.combine_chunks()
    values = torch.from_numpy(
        flat.flatten().cast(pa.float32()).to_numpy(zero_copy_only=False).copy()
    )
    return list(values.split(pc.list_value_length(flat).to_pylist()))
