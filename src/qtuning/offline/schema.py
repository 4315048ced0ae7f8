"""The columns that scoring and deciding write: every name once, its type and its range."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UsageError, first_line

SCORES = ("sample_id", "ppl", "entropy", "nll_sum", "n_tokens")
"""What scoring adds to rows."""
TOKEN_SCORES = ("token_nll", "token_entropy")
"""What it adds with ``per_token``: lists of an entry an answer token, in nats."""
DECISIONS = ("quadrant", "quadrant_name", "kept", "filled", "reason", "token_kept")
"""What deciding adds to scored rows."""
OF_RUNS = ("epoch", "step", "tokens_kept", "scored")
"""What the ledger of a run has beside scores and decisions."""

_NEEDED = ("sample_id", "ppl", "entropy", "n_tokens")
_DECIDED = ("kept", "quadrant", "filled")
LONGEST = 2**24
"""Answer tokens of a sample at most; masks of that length are made."""

_TYPES = {
    "sample_id": pa.string(),
    "ppl": pa.float64(),
    "entropy": pa.float64(),
    "n_tokens": pa.int64(),
    "kept": pa.bool_(),
    "quadrant": pa.int64(),
    "filled": pa.bool_(),
    "tokens_kept": pa.int64(),
    "epoch": pa.int64(),
    "step": pa.int64(),
    "token_nll": pa.list_(pa.float32()),
    "token_entropy": pa.list_(pa.float32()),
    "token_kept": pa.list_(pa.bool_()),
}
_RANGES = {
    "n_tokens": (0, LONGEST),
    "tokens_kept": (0, LONGEST),
    "quadrant": (0, 4),
    "epoch": (0, 2**31),
    "step": (0, 2**53),
}
# Perplexity and entropy are not known of rows without answer tokens; tokens of a sample kept whole.
_MAY_BE_EMPTY = {"ppl", "entropy", "token_kept"}


def is_decided(table: pa.Table) -> bool:
    """Whether there are decisions beside the scores."""
    return set(_DECIDED) <= set(table.column_names)


def typed_scores(table: pa.Table, where: str) -> pa.Table:
    """See that scores, and decisions if there are some, are what they should be.

    Args:
        table: Read from who knows where.
        where: What to call it in messages.

    Returns:
        The table, its columns in the types that are promised; others as they are.

    Raises:
        UsageError: A column is missing, or has values that it cannot have.
    """
    names = table.column_names
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise UsageError(
            f"{where}: no column {', '.join(missing)}; name a file of `qtuning score` or `qtuning "
            "prune`, or a run's output folder"
        )
    wanted = [*_NEEDED, *TOKEN_SCORES]
    if is_decided(table):
        wanted += [*_DECIDED, *(name for name in OF_RUNS if name in _TYPES), "token_kept"]
    for name in wanted:
        if name in names:
            column = _column(table[name], name, where)
            table = table.set_column(names.index(name), name, column)
    _check_tokens(table, where, [n for n in (*TOKEN_SCORES, "token_kept") if n in wanted])
    return table


def _column(column: pa.ChunkedArray, name: str, where: str) -> pa.ChunkedArray:
    try:
        if not _is_list_of_floats(column.type):  # float16 stays, at half the size
            column = column.cast(_TYPES[name])
        elif name not in TOKEN_SCORES:
            raise pa.ArrowInvalid("a list")
    except pa.ArrowException as error:
        raise UsageError(
            f"{where}: column {name} is not of its kind ({first_line(error)})"
        ) from error
    if column.null_count and name not in _MAY_BE_EMPTY:
        raise UsageError(f"{where}: column {name} is empty in some rows; score again")
    least, most = _RANGES.get(name, (None, None))
    if least is not None and len(column):
        found = pc.min_max(column).as_py()
        if found["min"] < least:
            raise UsageError(f"{where}: column {name} has {found['min']}, below {least}")
        if found["max"] > most:
            raise UsageError(f"{where}: column {name} has {found['max']}, above {most:,}")
    return column


def _is_list_of_floats(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) and pa.types.is_floating(kind.value_type))


def _check_tokens(table: pa.Table, where: str, names: Sequence[str]) -> None:
    """Lists of tokens have an entry for each."""
    found = [name for name in names if name in table.column_names]
    if len(set(TOKEN_SCORES) & set(found)) == 1:
        there = next(name for name in TOKEN_SCORES if name in found)
        other = next(name for name in TOKEN_SCORES if name not in found)
        raise UsageError(f"{where}: has {there} without {other}; score again with --per_token")
    for name in found:
        lengths = pc.list_value_length(table[name])
        differing = pc.sum(pc.not_equal(lengths, table["n_tokens"])).as_py()
        if differing:
            raise UsageError(
                f"{where}: {name} has another length than n_tokens in {differing:,} rows; score "
                "again"
            )
        if pc.sum(pc.list_flatten(table[name]).is_null()).as_py():
            raise UsageError(f"{where}: {name} is empty for some tokens; score again")
