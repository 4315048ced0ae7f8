"""Read tables of qtuning or of a user: Parquet, JSON Lines, ``datasets`` and ledgers."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset

from ..errors import UsageError, first_line
from ..io.arrow_rows import has_objects, json_array
from ..io.json_files import bad_line
from ..io.paths import path_of
from ..io.tables import load_saved, read_parquet
from ..run.ledger import FOLDER, read_ledger
from .origin import described, with_origin

_UNREADABLE = (
    OSError,
    ValueError,
    AttributeError,
    TypeError,
    RecursionError,
    pa.ArrowException,
)


def named(source: Path | str | Dataset) -> str:
    """The name of a source in messages: its path, or "the data set"."""
    return "the data set" if isinstance(source, Dataset) else str(source)


def read_table(source: Path | str | Dataset) -> pa.Table:
    """Read all rows of a table; a known origin of scores is in the metadata of its schema.

    Args:
        source: A Parquet or JSON Lines file, a folder of ``save_to_disk``, a data set in memory, a
            run's output folder, or the ledger in it.

    Raises:
        UsageError: The source is missing, of another kind, or cannot be read.
    """
    if isinstance(source, Dataset):
        return _of_data_set(source)
    path = path_of(source, "the data")
    if path.is_dir():
        return _read_folder(path)
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    readers: dict[str, Callable[[Path], pa.Table]] = {
        ".parquet": read_scores,
        ".jsonl": _read_jsonl,
    }
    if path.suffix not in readers:
        raise UsageError(f"{path}: neither .parquet nor .jsonl nor a folder")
    return readers[path.suffix](path)


def _of_data_set(data: Dataset) -> pa.Table:
    """The rows of a data set as a table."""
    table = data.with_format("arrow")[:].replace_schema_metadata()
    origin = described(data.info.description)
    return table if origin is None else table.cast(with_origin(table.schema, origin))


def _read_folder(path: Path) -> pa.Table:
    """Read a ledger, or a data set that ``save_to_disk`` wrote.

    Raises:
        UsageError: The folder is neither, has splits, or cannot be read.
    """
    if (path / FOLDER).is_dir() or path.name == FOLDER:
        return read_ledger(path)
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        data = load_saved(path).get(None)
        if data is None:
            raise UsageError(f"{path}: has splits; name the folder of one of them")
        return _of_data_set(data)
    raise UsageError(
        f"{path}: holds no decisions: name a run's output folder, or write them with `qtuning "
        "prune --with_dropped` as parquet, jsonl or datasets"
    )


def _read_jsonl(path: Path) -> pa.Table:
    """Read a JSON Lines file; the columns are the keys of all rows.

    Raises:
        UsageError: The file is not UTF-8 or not JSON Lines, or mixes types in a column.
    """
    try:
        rows = list(_json_rows(path))
        names = list(dict.fromkeys(name for row in rows for name in row))
        return pa.table({name: _column([row.get(name) for row in rows]) for name in names})
    except _UNREADABLE as error:  # not UTF-8, not JSON, not an object, or mixed types
        why = bad_line(path) or first_line(error)
        raise UsageError(f"{path}: cannot be read ({why}); mend it") from error


def _column(values: list[Any]) -> pa.Array:
    """A column of structs where objects agree in the types of their keys, else of JSON."""
    try:
        return pa.array(values)
    except pa.ArrowException:
        if any(map(has_objects, values)):
            return json_array(values)
        raise


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def read_scores(path: Path) -> pa.Table:
    """Read a Parquet file of scores.

    Raises:
        UsageError: The file is missing or cannot be read.
    """
    if not path_of(path, "the scores").is_file():
        raise UsageError(f"{path}: no such file; name the Parquet file that `qtuning score` wrote")
    return read_parquet(path, advice="score again")
