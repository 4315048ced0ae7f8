"""Read whatever holds decisions: scores, a pruned data set, or a run's output folder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from ..arguments import PruningArguments
from ..errors import UsageError
from ..pruners.pair import Pruners
from ..pruners.protocols import SCORES
from ..run.ledger import SCHEMA
from .export import with_decisions
from .prune import decide_offline
from .read import named, read_table
from .schema import OF_RUNS, TOKEN_SCORES, is_decided, typed_scores


def read_decided(
    source: Path | str | Dataset,
    args: PruningArguments | None = None,
    *,
    pool_size: int | None = None,
    seed: int = 42,
) -> pa.Table:
    """Read samples with their scores and with what was decided on them.

    Args:
        source: What ``qtuning.score`` or ``qtuning.prune`` returned; a file of ``qtuning score``; a
            file or ``datasets`` folder of ``qtuning prune``; a run's output folder, or the ledger
            in it.
        args: The rule by which mere scores are decided; None leaves them undecided.
        pool_size: Rows that compete with each other then, see ``decide_offline``.
        seed: Seed of random pruners then.

    Returns:
        ``sample_id``, ``ppl``, ``entropy`` (nats), ``n_tokens``; if decided ``kept``,
        ``quadrant`` (1 to 4, 0 for the middle band or none), ``filled``, and ``tokens_kept`` if
        known; of a ledger also ``epoch`` and ``step``, a row a visit; and all other columns.

    Raises:
        UsageError: Nothing is there, it cannot be read, it holds no scores, or the rule needs more
            than is there.
    """
    table = read_table(source)
    if set(table.column_names) != set(SCHEMA.names):  # not a ledger, so these are the user's own
        table = table.drop_columns([name for name in OF_RUNS if name in table.column_names])
    table = typed_scores(table, named(source))
    if args is not None and not is_decided(table):
        return _decide(table, args, pool_size, seed)
    return _with_tokens_kept(table) if is_decided(table) else table


def one_visit(table: pa.Table, epoch: int | None = None, where: str = "the ledger") -> pa.Table:
    """A row a sample: its last visit, or that of an epoch; a table without epochs as it is.

    Args:
        table: Of ``read_decided``.
        epoch: Counted from 0.
        where: What to call it in messages.

    Raises:
        UsageError: There is no such epoch.
    """
    if "epoch" not in table.column_names or "step" not in table.column_names:
        return table
    if epoch is not None:
        known = sorted(pc.unique(table["epoch"]).to_pylist())
        if epoch not in known:
            raise UsageError(
                f"--epoch {epoch}: {where} has epochs {', '.join(map(str, known)) or 'none'}"
            )
        table = table.filter(pc.equal(table["epoch"], epoch))
    last = {name: place for place, name in enumerate(table["sample_id"].to_pylist())}
    return table.take(pa.array(sorted(last.values()), pa.int64()))


def _decide(table: pa.Table, args: PruningArguments, pool_size: int | None, seed: int) -> pa.Table:
    """Without the scores of tokens only samples are decided on."""
    reads = SCORES in Pruners.of(args).token.needs and args.token_ratio < 1.0
    if reads and TOKEN_SCORES[0] not in table.column_names:
        whole = replace(args, token_ratio=1.0)
        found = decide_offline(table, whole, pool_size=pool_size, seed=seed)
        return with_decisions(table, found)
    found = decide_offline(table, args, pool_size=pool_size, seed=seed)
    return _with_tokens_kept(with_decisions(table, found))


def _with_tokens_kept(table: pa.Table) -> pa.Table:
    """Answer tokens kept of each row; where ``token_kept`` is null, all of a kept one."""
    if "tokens_kept" in table.column_names:
        return table
    keeps: list[Any] = [None] * table.num_rows
    if "token_kept" in table.column_names:
        keeps = table["token_kept"].to_pylist()
    columns = (table["kept"].to_pylist(), table["n_tokens"].to_pylist(), keeps)
    made = [
        0 if not kept else n if keep is None else sum(keep)
        for kept, n, keep in zip(*columns, strict=True)
    ]
    return table.append_column("tokens_kept", pa.array(made, pa.int64()))
