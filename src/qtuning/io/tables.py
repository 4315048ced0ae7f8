"""Parquet files and folders of ``save_to_disk``, looked at before they are read.

They may be broken, or made to do harm: a Parquet file of some hundred bytes can stand for gigabytes
of rows, and Arrow's memory-mapped files are trusted by their readers, which crash on a bad offset.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import UsageError, first_line
from .json_files import read_object

if TYPE_CHECKING:
    from datasets import Dataset

LARGEST = 256 * 2**20
"""Bytes that any Parquet file may become in memory."""
LARGEST_FACTOR = 200
"""So many times its own size a larger one may become."""
READING = (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException)
"""What readers of tables raise for files that they cannot use."""

_ADVICE = "save it anew"
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT96": 8}


def read_parquet(
    path: Path,
    *,
    schema: pa.Schema | None = None,
    advice: str = "it must be a whole Parquet file",
) -> pa.Table:
    """Read a Parquet file.

    Args:
        path: The file.
        schema: Its columns are read, which must be there, and cast; None is all as they are.
        advice: What to do if it cannot be read.

    Raises:
        UsageError: It is broken, lacks columns, or would become too large.
    """
    found = check_parquet(path, advice).names
    repeated = {name for name in found if found.count(name) > 1}
    if repeated:
        raise UsageError(f"{path}: several columns are called {', '.join(sorted(repeated))}")
    wanted = [] if schema is None else schema.names
    missing = [name for name in wanted if name not in found]
    if missing:
        raise UsageError(f"{path}: no column {', '.join(missing)}; {advice}")
    try:
        # Without partitioning=None, a folder named `a=b` on the way would make a column.
        table = pq.read_table(
            path, columns=wanted or None, partitioning=None, page_checksum_verification=True
        )
        table.validate(full=True)
    except READING as error:
        raise _unreadable(path, error, advice) from error
    return table if schema is None else _cast(table, schema, path, advice)


def _cast(table: pa.Table, schema: pa.Schema, path: Path, advice: str) -> pa.Table:
    columns = []
    for field in schema:
        try:
            columns.append(table[field.name].cast(field.type))
        except pa.ArrowException as error:
            raise UsageError(
                f"{path}: column {field.name} is not of its kind ({first_line(error)}); {advice}"
            ) from error
        if not field.nullable and columns[-1].null_count:
            raise UsageError(f"{path}: column {field.name} is empty in some rows; {advice}")
    return pa.table(columns, schema=schema)


def check_parquet(path: Path, advice: str = "it must be a whole Parquet file") -> pa.Schema:
    """See that a Parquet file is one, and of what size its rows are; return its schema.

    Raises:
        UsageError: It is broken, or its rows would take far more memory than its size explains.
    """
    try:
        found = pq.read_metadata(path)
        schema = found.schema.to_arrow_schema()
        size = path.stat().st_size
        declared = _declared_bytes(found)
    except READING as error:
        raise _unreadable(path, error, advice) from error
    if declared > max(LARGEST, LARGEST_FACTOR * size):
        raise UsageError(
            f"{path}: {size:,} bytes that say they are {declared:,} uncompressed: not read, since "
            "it looks made to fill the memory; if it is sound, write it anew uncompressed"
        )
    return schema


def check_parquet_rows(path: Path) -> None:
    """``check_parquet``, and that every text in it is UTF-8: readers of rows do not look.

    Raises:
        UsageError: It is not.
    """
    check_parquet(path)
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                batch.validate(full=True)
    except READING as error:
        raise _unreadable(path, error, "mend it or write it anew") from error


def _declared_bytes(found: pq.FileMetaData) -> int:
    """Bytes in memory at least: repeated values are stored once, whatever is declared."""
    total = 0
    for group in range(found.num_row_groups):
        rows = found.row_group(group)
        for place in range(rows.num_columns):
            column = rows.column(place)
            least = column.num_values * _WIDTHS.get(column.physical_type, 8)
            total += max(column.total_uncompressed_size, least)
    return total


def load_saved(path: Path) -> dict[str | None, "Dataset"]:
    """The data sets of a folder that ``save_to_disk`` wrote, by split; None is a lone one's name.

    Raises:
        UsageError: It is broken, or names files outside itself.
    """
    from datasets import DatasetDict, load_from_disk

    try:
        for folder in _folders(path):
            for file in _arrow_files(folder):
                _check_arrow(file)
        loaded = load_from_disk(str(path.absolute()))
        if isinstance(loaded, DatasetDict):
            return {str(name): data.with_format(None) for name, data in loaded.items()}
        return {None: loaded.with_format(None)}
    except UsageError:
        raise
    except READING as error:
        raise UsageError(
            f"{path}: cannot be read as a saved data set ({first_line(error)}); {_ADVICE}"
        ) from error


def _folders(path: Path) -> Iterator[Path]:
    if not (path / "dataset_dict.json").is_file():
        yield path
        return
    for name in read_object(path / "dataset_dict.json", _ADVICE)["splits"]:
        yield path / _plain(name, path / "dataset_dict.json")


def _arrow_files(folder: Path) -> Iterator[Path]:
    state = read_object(folder / "state.json", _ADVICE)
    read_object(folder / "dataset_info.json", _ADVICE)
    for key in ("_data_files", "_indices_data_files"):
        for file in state.get(key) or ():
            yield folder / _plain(file["filename"], folder / "state.json")


def _plain(name: Any, where: Path) -> str:
    """A name without a way to another folder."""
    if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\\0:"):
        raise UsageError(f"{where}: names {name!r}, which is not a file beside it; {_ADVICE}")
    return name


def _check_arrow(file: Path) -> None:
    """Every offset and every text must be sound; memory-mapped reading does not look."""
    with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as reader:
        for batch in reader:
            batch.validate(full=True)


def _unreadable(path: Path, error: BaseException, advice: str) -> UsageError:
    return UsageError(f"{path}: cannot be read as Parquet ({first_line(error)}); {advice}")
