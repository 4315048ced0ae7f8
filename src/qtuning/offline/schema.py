"""The columns that scoring and pruning write: names, types and ranges, each in one place."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UsageError, first_line
from ..examples.candidate import ENTROPY_ALL, ENTROPY_ANSWER
from ..examples.turns import KINDS
from ..signals.score_columns import ALONE, NLL_SUM, NOISY, SELECTIVE, WITHOUT_IMAGES

TURN_ENDS = "turn_ends"
"""Column with the places of the answer tokens that end a turn, counted from 0 among the answer
tokens of a row. Files that earlier versions wrote do not have it."""
MEAN_WEIGHT = "mean_loss_weight"
"""Column that scoring adds to data with weights: the mean weight of the answer tokens; null in rows
without any. Tokens of weight 0 are no answer tokens."""
TOKEN_WEIGHTS = "token_loss_weight"
"""Column that scoring adds to data with weights with ``per_token``: the weight of each answer
token."""
TURN_SCORES = "turn_scores"
"""Column that scoring adds with ``prune_unit`` turn: for each turn its number, kind, answer tokens,
perplexity, mean entropy and summed NLL in nats; with ``alone`` also ``OF_TURNS_ALONE``."""
OF_TURNS_ALONE = (ALONE, SELECTIVE)
"""What the scores of a turn have of its answer tokens without what was said before; null without
``alone``, and where nothing was."""
TURN_DECISIONS = "turn_decisions"
"""Column that pruning adds with ``prune_unit`` turn: for each turn its number, kind, and what was
decided on it."""
SCORES = ("sample_id", "ppl", "entropy", NLL_SUM, "n_tokens", TURN_ENDS)
"""Columns that scoring adds to rows."""
TOKEN_SCORES = ("token_nll", "token_entropy")
"""Columns that scoring adds with ``per_token``: lists with a value in nats per answer token."""
_OF_ROWS = (ALONE, SELECTIVE, WITHOUT_IMAGES, ENTROPY_ALL, *NOISY)
SCORED = (*SCORES, *_OF_ROWS, *TOKEN_SCORES, MEAN_WEIGHT, TOKEN_WEIGHTS, TURN_SCORES)
"""All columns that scoring may add."""
DECISIONS = ("quadrant", "quadrant_name", "kept", "filled", "reason", "token_kept", TURN_DECISIONS)
"""Columns that pruning adds to scored rows."""
OF_RUNS = ("epoch", "step", "tokens_kept", "scored")
"""Columns of a run's ledger that scored and pruned files do not have."""

_NEEDED = ("sample_id", "ppl", "entropy", "n_tokens")
_DECIDED = ("kept", "quadrant", "filled")
LONGEST = 2**24
"""Largest number of answer tokens of a sample: masks of that length must fit into memory."""

TYPES: dict[str, pa.DataType] = {
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
    NLL_SUM: pa.float64(),
    **dict.fromkeys((*_OF_ROWS, ENTROPY_ANSWER, MEAN_WEIGHT), pa.float64()),
    TOKEN_WEIGHTS: pa.list_(pa.float32()),
    TURN_ENDS: pa.list_(pa.int32()),
    "token_nll": pa.list_(pa.float32()),
    "token_entropy": pa.list_(pa.float32()),
    "token_kept": pa.list_(pa.bool_()),
    TURN_SCORES: pa.list_(
        pa.struct(
            [
                ("turn", pa.int64()),
                ("kind", pa.string()),
                ("n_tokens", pa.int64()),
                ("ppl", pa.float64()),
                ("entropy", pa.float64()),
                (NLL_SUM, pa.float64()),
                *((name, pa.float64()) for name in OF_TURNS_ALONE),
            ]
        )
    ),
}
_RANGES = {
    "n_tokens": (0, LONGEST),
    "tokens_kept": (0, LONGEST),
    "quadrant": (0, 4),
    "epoch": (0, 2**31),
    "step": (0, 2**53),
}
_OF_TOKENS = (*TOKEN_SCORES, TOKEN_WEIGHTS, "token_kept")
# Rows without answer tokens have no perplexity and entropy, rows without a prompt or images no NLL
# without it, and rows that keep all tokens have no token_kept.
_MAY_BE_EMPTY = {"ppl", "entropy", *_OF_ROWS, ENTROPY_ANSWER, MEAN_WEIGHT, "token_kept"}


def is_decided(table: pa.Table) -> bool:
    """Whether a table has decisions as well as scores."""
    return set(_DECIDED) <= set(table.column_names)


def typed_scores(table: pa.Table, where: str) -> pa.Table:
    """Check a table of scores, and of decisions if it has some, and cast its columns.

    Args:
        table: A table of any origin.
        where: The name of the table in messages.

    Returns:
        The table with columns of scores and decisions in the types of the format, and all other
        columns unchanged.

    Raises:
        UsageError: A column is missing, of another type, or has values out of range.
    """
    names = table.column_names
    needed = (*_NEEDED, NLL_SUM) if {ALONE, WITHOUT_IMAGES} & set(names) else _NEEDED
    missing = [name for name in needed if name not in names]
    if missing:
        raise UsageError(
            f"{where}: no column {', '.join(missing)}; name a file of `qtuning score` or `qtuning "
            "prune`, or a run's output folder"
        )
    columns = [
        *needed,
        TURN_ENDS,
        TURN_SCORES,
        *_OF_ROWS,
        *TOKEN_SCORES,
        MEAN_WEIGHT,
        TOKEN_WEIGHTS,
    ]
    if is_decided(table):
        columns += [
            ENTROPY_ANSWER,
            *_DECIDED,
            *(name for name in OF_RUNS if name in TYPES),
            "token_kept",
        ]
    for name in columns:
        if name in names:
            column = _column(table[name], name, where)
            table = table.set_column(names.index(name), name, column)
    if TURN_ENDS in names:
        _check_turn_ends(table, where)
    if TURN_SCORES in names:
        _check_turns(table, where)
    _check_tokens(table, where, [n for n in _OF_TOKENS if n in columns])
    return table


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Cast a column; fields of its structs may be in any order, which older pyarrow refuses.

    Raises:
        ArrowException: The column is of another type.
    """
    if _is_list_of_structs(kind) and _is_list_of_structs(column.type):
        names, wanted = ([one.name for one in of.value_type] for of in (column.type, kind))
        if names != wanted and sorted(names) == sorted(wanted):
            column = pa.chunked_array([pa.array(column.to_pylist(), type=kind)])
    return column.cast(kind)


def _is_list_of_structs(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) and pa.types.is_struct(kind.value_type))


def _column(column: pa.ChunkedArray, name: str, where: str) -> pa.ChunkedArray:
    """Cast a column to its type, and check its range.

    Raises:
        UsageError: The column is of another type, or has nulls or values out of range.
    """
    try:
        if not _is_list_of_floats(column.type):  # float16 stays, at half the size
            column = _cast(column, TYPES[name])
        elif name not in (*TOKEN_SCORES, TOKEN_WEIGHTS):
            raise pa.ArrowInvalid("a list")
    except pa.ArrowException as error:
        raise UsageError(
            f"{where}: column {name} is not of its kind ({first_line(error)})"
        ) from error
    if column.null_count and name not in _MAY_BE_EMPTY:
        raise UsageError(f"{where}: column {name} is empty in some rows; score again")
    low, high = _RANGES.get(name, (None, None))
    if low is not None and len(column):
        extremes = pc.min_max(column).as_py()
        if extremes["min"] < low:
            raise UsageError(f"{where}: column {name} has {extremes['min']}, below {low}")
        if extremes["max"] > high:
            raise UsageError(f"{where}: column {name} has {extremes['max']}, above {high:,}")
    return column


def _is_list_of_floats(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) and pa.types.is_floating(kind.value_type))


def _check_turn_ends(table: pa.Table, where: str) -> None:
    """Check that the ends of turns are places among the answer tokens of their rows.

    Raises:
        UsageError: A place is missing, or is not among the answer tokens.
    """
    places = pc.list_flatten(table[TURN_ENDS])
    n_tokens = table["n_tokens"].take(pc.list_parent_indices(table[TURN_ENDS]))
    is_outside = pc.or_(pc.less(places, 0), pc.greater_equal(places, n_tokens))
    if places.null_count or pc.any(is_outside).as_py():
        raise UsageError(
            f"{where}: column {TURN_ENDS} names tokens that an answer does not have; score again"
        )


def _check_turns(table: pa.Table, where: str) -> None:
    """Check that the turns of each row have all of its answer tokens, and a sound number and kind.

    Raises:
        UsageError: They do not.
    """
    column = table[TURN_SCORES].combine_chunks()
    turns = column.flatten()
    row = pc.list_parent_indices(column).to_numpy()
    fields = [pc.struct_field(turns, name) for name in ("turn", "kind", "n_tokens")]
    is_sound = not any(values.null_count for values in (turns, *fields))
    if is_sound:
        n_tokens = fields[2].to_numpy()
        sums = np.bincount(row, n_tokens, table.num_rows)
        is_sound = bool(
            (sums == table["n_tokens"].to_numpy()).all()
            and (n_tokens > 0).all()
            and (fields[0].to_numpy() >= 0).all()
            and set(fields[1].to_pylist()) <= set(KINDS)
        )
    if not is_sound:
        raise UsageError(
            f"{where}: column {TURN_SCORES} does not tell the turns of each row; score again"
        )


def _check_tokens(table: pa.Table, where: str, names: Sequence[str]) -> None:
    """Check that lists of token scores have an entry for each answer token.

    Raises:
        UsageError: A list has another length or nulls, or one of the two columns is missing.
    """
    columns = [name for name in names if name in table.column_names]
    if len(set(TOKEN_SCORES) & set(columns)) == 1:
        present = next(name for name in TOKEN_SCORES if name in columns)
        other = next(name for name in TOKEN_SCORES if name not in columns)
        raise UsageError(f"{where}: has {present} without {other}; score again with --per_token")
    for name in columns:
        lengths = pc.list_value_length(table[name])
        n_differing = pc.sum(pc.not_equal(lengths, table["n_tokens"])).as_py()
        if n_differing:
            raise UsageError(
                f"{where}: {name} has another length than n_tokens in {n_differing:,} rows; score "
                "again"
            )
        if pc.sum(pc.list_flatten(table[name]).is_null()).as_py():
            raise UsageError(f"{where}: {name} is empty for some tokens; score again")
