"""Read decisions from a pruned data set or a run's output folder, or make them from scores."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from ..arguments import PruningArguments
from ..errors import UsageError
from ..run.ledger import by_unit, is_ledger
from .export import with_decisions
from .prune import decide_offline
from .read import named, read_table
from .schema import OF_RUNS, is_decided, typed_scores


def read_decided(
    source: Path | str | Dataset,
    args: PruningArguments | None = None,
    *,
    pool_size: int | None = None,
    seed: int = 42,
) -> pa.Table:
    """Read samples with their scores and with the decisions on them.

    Args:
        source: The data set that ``qtuning.score`` or ``qtuning.prune`` returned; a file of
            ``qtuning score``; a file or ``datasets`` folder of ``qtuning prune``; a run's output
            folder, or the ledger in it.
        args: The pruning arguments that decide on scores without decisions; None adds no decisions.
        pool_size: With ``args``, rows that compete with each other, see ``decide_offline``.
        seed: With ``args``, seed of random pruners.

    Returns:
        A table with ``sample_id``, ``ppl``, ``entropy`` (nats) and ``n_tokens``; with decisions
        also ``kept``, ``quadrant`` (1 to 4, 0 for the middle band or none), ``filled``, and
        ``tokens_kept`` if known; of a ledger also ``epoch`` and ``step``, with a row for each
        visit of a sample, or turn of one; and all other columns of the source.

    Raises:
        UsageError: The source is missing, cannot be read or has no scores, or the pruners need
            more than the scores of the source.
    """
    table = read_table(source)
    if not is_ledger(table.column_names):  # in other sources they are columns of the user
        table = table.drop_columns([name for name in OF_RUNS if name in table.column_names])
    else:
        table = by_unit(table)
    table = typed_scores(table, named(source))
    if args is not None and not is_decided(table):
        return _decide(table, args, pool_size, seed, named(source))
    return _with_tokens_kept(table) if is_decided(table) else table


def one_visit(table: pa.Table, epoch: int | None = None, where: str = "the ledger") -> pa.Table:
    """Reduce a table of decisions to one row for each sample.

    Args:
        table: A table of ``read_decided``; without epochs it is returned as it is.
        epoch: The epoch whose visits are taken, counted from 0; None takes the last visit of each
            sample.
        where: The name of the table in messages.

    Raises:
        UsageError: The table has no such epoch.
    """
    if "epoch" not in table.column_names or "step" not in table.column_names:
        return table
    if epoch is not None:
        epochs = sorted(pc.unique(table["epoch"]).to_pylist())
        if epoch not in epochs:
            raise UsageError(
                f"--epoch {epoch}: {where} has epochs {', '.join(map(str, epochs)) or 'none'}"
            )
        table = table.filter(pc.equal(table["epoch"], epoch))
    last = {name: place for place, name in enumerate(table["sample_id"].to_pylist())}
    return table.take(pa.array(sorted(last.values()), pa.int64()))


def _decide(
    table: pa.Table, args: PruningArguments, pool_size: int | None, seed: int, where: str
) -> pa.Table:
    """Decide on scores; without token scores, only on samples."""
    decisions = decide_offline(
        table, args, pool_size=pool_size, seed=seed, where=where, tokens_if_known=True
    )
    decided = with_decisions(table, decisions)
    return _with_tokens_kept(decided) if decisions.tokens_known else decided


def _with_tokens_kept(table: pa.Table) -> pa.Table:
    """Add ``tokens_kept``, the number of answer tokens that each row keeps.

    A kept row whose ``token_kept`` is null keeps all of them.
    """
    if "tokens_kept" in table.column_names:
        return table
    keeps: list[Any] = [None] * table.num_rows
    if "token_kept" in table.column_names:
        keeps = table["token_kept"].to_pylist()
    columns = (table["kept"].to_pylist(), table["n_tokens"].to_pylist(), keeps)
    counts = [
        0 if not is_kept else n if keep is None else sum(keep)
        for is_kept, n, keep in zip(*columns, strict=True)
    ]
    return table.append_column("tokens_kept", pa.array(counts, pa.int64()))
