"""Names and weights of packed samples: TRL packs the places of tokens as it packs the tokens.

TRL's packing keeps tokens and labels, and no other column. What it does depends on the lengths of
the rows and their order alone, so rows in which each token is replaced by its place come out in the
same shape, and say where each packed sample is from.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from .example import SAMPLE_ID

_SPAN = 1 << 32
"""More than the tokens of a row: place of a token = row x span + place in the row."""
_ROWS = 1000
ENDING_OF_PIECES = r"#[0-9]+$"
"""Regular expression of what the second and later pieces of a sample have behind its name."""


ENDING_OF_TURNS = r"@[0-9]+$"
"""Regular expression of what a turn of a sample has behind the sample's name."""


def token_places(rows: Dataset) -> Dataset:
    """Rows with the place of each token in ``input_ids`` and ``labels``, in place of the token.

    Args:
        rows: Tokenised rows.
    """
    return (
        rows.select_columns("input_ids")
        .with_format("arrow")
        .map(_places, batched=True, batch_size=_ROWS, with_indices=True)
        .with_format(None)
    )


def _places(tokens: pa.Table, rows: list[int]) -> pa.Table:
    lengths = pc.list_value_length(tokens["input_ids"]).to_numpy()
    ends = np.cumsum(lengths)
    starts = ends - lengths
    within = np.arange(ends[-1]) - np.repeat(starts, lengths)
    places = np.repeat(np.asarray(rows, np.int64) * _SPAN, lengths) + within
    lists = pa.ListArray.from_arrays(np.append(0, ends).astype(np.int32), places)
    return pa.table({"input_ids": lists, "labels": lists})


def with_packed_tokens(packed: Dataset, places: Dataset, rows: Dataset, name: str) -> Dataset:
    """Packed rows with a column that has a value for each token, which packing has left out.

    Args:
        packed: Rows packed by TRL.
        places: The rows of ``token_places``, packed likewise.
        rows: The rows before packing, with the column.
        name: The column; one of the packed rows is replaced.
    """
    values: Any = rows.with_format("arrow").select_columns([name])[:][name].combine_chunks()
    ends = np.cumsum(pc.list_value_length(values).to_numpy())
    starts = np.append(0, ends[:-1])
    of_tokens = pc.list_flatten(values)
    columns: Any = places.select_columns(["input_ids"]).with_format("arrow")
    lists = []
    for batch in columns.iter(_ROWS):
        ids = batch["input_ids"].combine_chunks()
        numbers, within = np.divmod(pc.list_flatten(ids).to_numpy(), _SPAN)
        lengths = np.append(0, np.cumsum(pc.list_value_length(ids).to_numpy()))
        taken = of_tokens.take(pa.array(starts[numbers] + within))
        lists += pa.ListArray.from_arrays(lengths.astype(np.int32), taken).to_pylist()
    if name in packed.column_names:
        packed = packed.remove_columns(name)
    return packed.add_column(name, lists)


def with_packed_ids(packed: Dataset, places: Dataset, names: list[str], max_length: int) -> Dataset:
    """Packed rows with a list of the names of their samples in ``sample_id``.

    Where packing has cut a sample into pieces, the first has the sample's name, the second
    ``<name>#2``, and so on.

    Args:
        packed: Rows packed by TRL.
        places: The rows of ``token_places``, packed likewise.
        names: Name of each row before packing.
        max_length: Tokens of a packed row, at which samples are cut.
    """
    column: list[list[str]] = []
    columns: Any = places.select_columns(["input_ids", "seq_lengths"]).with_format("arrow")
    for batch in columns.iter(_ROWS):
        lengths = pc.list_flatten(batch["seq_lengths"]).to_numpy()
        tokens = pc.list_flatten(batch["input_ids"]).to_numpy()
        numbers, within = np.divmod(tokens[np.cumsum(lengths) - lengths], _SPAN)
        pieces = zip(numbers.tolist(), (within // max_length).tolist(), strict=True)
        ids = [names[number] + (f"#{piece + 1}" if piece else "") for number, piece in pieces]
        ends = np.cumsum(pc.list_value_length(batch["seq_lengths"]).to_numpy()).tolist()
        column += [ids[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return packed.add_column(SAMPLE_ID, column)
