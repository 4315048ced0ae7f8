"""Decide on a scored data set, with any pruner that reads nothing but scores.

The decisions are those of a training run: each pool is a step, which the two stages of ``step/``
decide on.
"""

import logging
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..core.plane import Selection
from ..errors import UsageError
from ..examples.candidate import ENTROPY_ALL
from ..pruners.full import NoTokenPruning
from ..pruners.pair import Pruners
from ..pruners.protocols import OF_ALONE, OF_IMAGES, QUADRANTS, SCORES, PoolPlace
from ..signals.score_columns import check_columns, extras_in
from ..step.decide import Decision
from ..step.moment import Moment
from ..step.sample_stage import PoolScores, select
from .decisions import TableDecisions
from .prune_tokens import KeptRow, token_keeps
from .schema import TOKEN_SCORES
from .turns import by_conversation, units_of_table

logger = logging.getLogger(__name__)


def decide_offline(
    scores: pa.Table,
    args: PruningArguments,
    *,
    pool_size: int | None = None,
    seed: int = 42,
    where: str = "the scores",
    tokens_if_known: bool = False,
) -> TableDecisions:
    """Run the pruners of the arguments over a scored data set, as a run of one epoch over it would.

    Args:
        scores: A table of ``typed_scores`` with ``sample_id``, ``ppl``, ``entropy`` (nats) and
            ``n_tokens``; for sample pruners that compare an answer with itself alone also with
            ``nll_sum`` and ``nll_alone_sum`` (nats), or what else `qtuning score --alone` writes;
            with ``entropy_over`` all also with ``entropy_all`` (nats); for token pruners also with
            ``turn_ends``, and
            for those that read scores with ``token_nll`` and ``token_entropy`` (nats).
        args: The pruners and their budgets.
        pool_size: Rows that compete with each other, in the order of the data: those of a step.
            None makes one pool of all rows.
        seed: Seed of random pruners; that of the run.
        where: The name of the scores in messages.
        tokens_if_known: Decide on samples alone where the scores of tokens are missing.

    Raises:
        UsageError: A pruner needs more than scores, or weights samples; scores that it reads are
            missing; or a user's pruner returned something else than decisions on the pool.
    """
    if args.prune_unit == "turn":
        units = units_of_table(scores, where)
        sizes = units.pools(pool_size)
        found = _decide(units.table, args, sizes, seed, where, tokens_if_known)
        return by_conversation(units, found)
    return _decide(scores, args, pool_size, seed, where, tokens_if_known)


def _decide(
    scores: pa.Table,
    args: PruningArguments,
    pool_size: int | list[int] | None,
    seed: int,
    where: str,
    tokens_if_known: bool,
) -> TableDecisions:
    """Run the pruners over rows; arguments as in ``decide_offline``.

    Args:
        scores: The rows.
        args: The pruners and their budgets.
        pool_size: Rows of every pool; or of each one, where all rows have answer tokens.
        seed: Seed of random pruners.
        where: The name of the scores in messages.
        tokens_if_known: Decide on samples alone where the scores of tokens are missing.
    """
    pruners = Pruners.of(args)
    check_works_from_scores(args, pruners)
    tokens_known = SCORES not in pruners.token.needs or TOKEN_SCORES[0] in scores.column_names
    decides_tokens = tokens_known and not isinstance(pruners.token, NoTokenPruning)
    if not tokens_known and not tokens_if_known:
        raise UsageError(
            f"token_pruner {args.token_pruner} reads token scores: score with --per_token, or set "
            "token_ratio to 1.0"
        )
    extras = _extras(scores, args, pruners.sample.needs, where)
    names = scores["sample_id"].to_pylist()
    columns = ("ppl", _entropy_column(scores, args, where), "n_tokens")
    ppl, entropy, n_tokens = (_tensor(scores[name]) for name in columns)
    is_finite = ppl.isfinite() & entropy.isfinite()
    # As in a run, what neither pruner reads is not looked at.
    bad = ~is_finite & (n_tokens > 0) & pruners.score
    if SCORES not in pruners.sample.needs:
        ppl, entropy = torch.full_like(ppl, torch.nan), torch.full_like(entropy, torch.nan)
    kept, filled = torch.zeros_like(bad), torch.zeros_like(bad)
    quadrant = torch.zeros_like(n_tokens)
    selections: list[Selection] = []
    kept_rows: list[KeptRow] = []
    candidates = (n_tokens > 0).nonzero().squeeze(1)
    pools = candidates.split(pool_size or max(1, len(candidates))) if len(candidates) else ()
    memory: dict[str, Tensor] = {}
    for number, members in enumerate(pools):
        moment = Moment(number + 1, seed, number / len(pools), memory)
        pool = PoolScores(
            ppl=ppl[members],
            entropy=entropy[members],
            n_tokens=n_tokens[members],
            sample_ids=[names[i] for i in members.tolist()],
            bad=bad[members],
            extras={name: values[members] for name, values in extras.items()},
        )
        selection = select(pool, pruners.sample, args, moment)
        _check_unweighted(selection, args)
        kept[members], filled[members] = selection.kept, selection.filled
        quadrant[members] = selection.quadrant
        selections.append(selection)
        if decides_tokens:
            kept_rows += _kept_rows(members, selection, moment.step, names, pool.n_tokens)
    n_unseen = int((kept & ~is_finite).sum())
    if n_unseen:
        logger.warning(
            f"{where}: {n_unseen:,} of the kept rows have a NaN or infinite loss: neither pruner "
            "reads scores, so neither leaves them out"
        )
    keeps = token_keeps(scores, kept_rows, pruners.token, args, seed, where)
    return TableDecisions(
        kept,
        quadrant,
        filled,
        bad,
        n_tokens == 0,
        selections,
        keeps,
        tokens_known,
        args.entropy_over,
    )


def _kept_rows(
    members: Tensor, selection: Selection, step: int, names: Sequence[str], n_tokens: Tensor
) -> list[KeptRow]:
    """The kept rows of a pool, whose rows have the places ``members``, ``(N,)``.

    Args:
        members: Places of the pool's rows in the table.
        selection: The selection of the pool.
        step: Number of the pool, counted from 1.
        names: Sample id of each row of the table.
        n_tokens: Answer tokens of each row of the pool, ``(N,)``.
    """
    kept, of_pool = selection.kept, int(n_tokens.sum())
    return [
        KeptRow(
            row,
            names[row],
            step,
            Decision(True, quadrant, filled, side, pool=PoolPlace(0, place, of_pool)),
        )
        for place, row, quadrant, filled, side in zip(
            kept.nonzero().squeeze(1).tolist(),
            members[kept].tolist(),
            selection.quadrant[kept].tolist(),
            selection.filled[kept].tolist(),
            selection.side[kept].tolist(),
            strict=True,
        )
    ]


def check_works_from_scores(args: PruningArguments, pruners: Pruners) -> None:
    """Refuse what reads more than a file of scores can have, or weighs what it cannot hold.

    Raises:
        UsageError: The sample pruner or the token pruner reads more, or there is a token weighter.
    """
    if args.token_weight != "none":
        raise UsageError(
            f"token_weight {args.token_weight} weighs the loss of tokens, which rows on disk "
            "cannot hold: leave it out here, and give it to the training"
        )
    for field_name, needs, known in (
        ("sample_pruner", pruners.sample.needs, OF_ALONE | OF_IMAGES | {SCORES, QUADRANTS}),
        ("token_pruner", pruners.token.needs, {SCORES, QUADRANTS}),
    ):
        signals = needs - known
        if signals:
            raise UsageError(
                f"{field_name} {vars(args)[field_name]} needs more than scores "
                f"({', '.join(sorted(signals))}): it works in training only"
            )


def _entropy_column(scores: pa.Table, args: PruningArguments, where: str) -> str:
    """Name of the column with the entropy that decides.

    Raises:
        UsageError: The scores do not have it.
    """
    if args.entropy_over == "answer":
        return "entropy"
    if ENTROPY_ALL not in scores.column_names:
        raise UsageError(
            f"{where}: entropy_over all reads a column {ENTROPY_ALL}, which is missing: score with "
            "--entropy_over all, or set entropy_over to answer"
        )
    return ENTROPY_ALL


def _extras(
    scores: pa.Table, args: PruningArguments, needs: frozenset[str], where: str
) -> dict[str, Tensor]:
    """The further statistics of each row that the sample pruner reads, ``(N, d)``, by name.

    Raises:
        UsageError: The scores do not have them, or none of the rows has a prompt.
    """
    noisy = args.s_ifd_noisy
    check_columns(scores.column_names, args.sample_pruner, needs, noisy)
    extras = extras_in(scores, needs, noisy)
    lone = [name for name, values in extras.items() if np.isnan(values).all()]
    if len(scores) and OF_IMAGES & set(lone):
        raise UsageError(
            f"{where}: none of the rows has images, so sample_pruner {args.sample_pruner} has "
            "nothing to compare: choose another"
        )
    if len(scores) and lone:
        raise UsageError(
            f"{where}: none of the rows has a prompt, so sample_pruner {args.sample_pruner} has "
            "nothing to compare: choose another; of conversations, scoring with "
            "--assistant_only_loss makes the other turns the prompt"
        )
    return {name: torch.from_numpy(values) for name, values in extras.items()}


def _check_unweighted(selection: Selection, args: PruningArguments) -> None:
    """Refuse weights of samples that are not 1, which rows on disk cannot have.

    Raises:
        UsageError: A kept sample has such a weight.
    """
    if selection.weight is None:
        return
    if bool((selection.weight[selection.kept] != 1.0).any()):
        raise UsageError(
            f"sample_pruner {args.sample_pruner} weights the loss of samples, which rows on disk "
            "cannot hold: it works in training only"
        )


def _tensor(column: pa.ChunkedArray) -> Tensor:
    """A column of numbers as a tensor; null becomes NaN."""
    if pa.types.is_floating(column.type):
        column = pc.fill_null(column.cast(pa.float64()), float("nan"))
    return torch.from_numpy(column.to_numpy().copy())
