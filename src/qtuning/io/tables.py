"""Read Parquet files and folders of ``save_to_disk`` after checking them.

A file may be broken or hostile: a Parquet file of some hundred bytes can stand for gigabytes of
rows, and readers of memory-mapped Arrow files crash on a bad offset.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import UsageError, first_line
from .json_files import read_object

if TYPE_CHECKING:
    from datasets import Dataset, Features

LARGEST = 256 * 2**20
"""Bytes of memory that any Parquet file may need."""
LARGEST_FACTOR = 200
"""Largest ratio of memory to file size, for files that need more than ``LARGEST``."""
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
        schema: The columns to read, which must be there, and the types to cast them to; None reads
            all columns in their own types.
        advice: What to do if the file cannot be read, for messages.

    Raises:
        UsageError: The file is broken, lacks a column, has one of another type, or would need too
            much memory.
    """
    names = check_parquet(path, advice).names
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise UsageError(f"{path}: several columns are called {', '.join(sorted(repeated))}")
    columns = [] if schema is None else schema.names
    missing = [name for name in columns if name not in names]
    if missing:
        raise UsageError(f"{path}: no column {', '.join(missing)}; {advice}")
    try:
        # Without partitioning=None, a folder named `a=b` in the path would add a column.
        table = pq.read_table(
            path, columns=columns or None, partitioning=None, page_checksum_verification=True
        )
        table.validate(full=True)
    except READING as error:
        raise _unreadable(path, error, advice) from error
    return table if schema is None else _cast(table, schema, path, advice)


def _cast(table: pa.Table, schema: pa.Schema, path: Path, advice: str) -> pa.Table:
    """Cast a table to a schema.

    Raises:
        UsageError: A column cannot be cast, or has nulls where the schema allows none.
    """
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
    """Check a Parquet file's footer and the size of its rows, and return its schema.

    Raises:
        UsageError: The file is broken, or its rows would need far more memory than its size
            explains.
    """
    try:
        metadata = pq.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
        size = path.stat().st_size
        n_bytes = _declared_bytes(metadata)
    except READING as error:
        raise _unreadable(path, error, advice) from error
    if n_bytes > max(LARGEST, LARGEST_FACTOR * size):
        raise UsageError(
            f"{path}: {size:,} bytes that say they are {n_bytes:,} uncompressed: not read, since "
            "it looks made to fill the memory; if it is sound, write it anew uncompressed"
        )
    return schema


def check_parquet_rows(path: Path) -> None:
    """Check a Parquet file and all of its rows; readers of rows do not check UTF-8.

    Raises:
        UsageError: The file is broken (see ``check_parquet``), or a text is not UTF-8.
    """
    check_parquet(path)
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                batch.validate(full=True)
    except READING as error:
        raise _unreadable(path, error, "mend it or write it anew") from error


def common_features(paths: Sequence[Path]) -> "Features | None":
    """The columns of all of several Parquet files; None if they have the same.

    A file is read with nulls in the columns that it lacks.

    Raises:
        UsageError: Two files have a column of types that do not fit together, or ``datasets`` has
            no such type.
    """
    from datasets import Features

    schemas = [_features(path) for path in paths]
    if all(schema == schemas[0] for schema in schemas):
        return None
    common = Features()
    first: dict[str, Path] = {}
    for path, schema in zip(paths, schemas, strict=True):
        for name, kind in schema.items():
            before = first.setdefault(name, path)
            try:
                common[name] = _common(common.get(name, kind), kind)
            except (pa.ArrowException, NotImplementedError) as error:
                raise UsageError(
                    f"{path}: column {name} is of another type than in {before}; write them alike, "
                    "or name one file"
                ) from error
    return common


def _features(path: Path) -> "Features":
    """The columns of a Parquet file."""
    from datasets import Features

    schema = pq.read_schema(path)
    for field in schema:
        try:
            Features.from_arrow_schema(pa.schema([field]))
        except (ValueError, NotImplementedError) as error:  # as for list views
            raise UsageError(
                f"{path}: column {field.name} is {field.type}, which datasets does not read; write "
                "it as another type"
            ) from error
    return Features.from_arrow_schema(schema)


def _common(one: Any, other: Any) -> Any:
    """The type of ``datasets`` that holds the values of two."""
    from datasets import Features

    if one == other:
        return one
    schemas = [pa.schema(Features({"column": kind}).arrow_schema) for kind in (one, other)]
    unified = pa.unify_schemas(
        [schema.remove_metadata() for schema in schemas], promote_options="permissive"
    )
    return Features.from_arrow_schema(unified)["column"]


def _declared_bytes(metadata: pq.FileMetaData) -> int:
    """A lower bound of the memory that the rows need, in bytes.

    Encodings store repeated values once, so the number of values counts as well as the size that
    the file declares.
    """
    total = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group)
        for place in range(rows.num_columns):
            column = rows.column(place)
            least_bytes = column.num_values * _WIDTHS.get(column.physical_type, 8)
            total += max(column.total_uncompressed_size, least_bytes)
    return total


def load_saved(path: Path) -> dict[str | None, "Dataset"]:
    """Load the data sets of a folder that ``save_to_disk`` wrote, by split.

    A folder of a single data set has no splits; the key is None.

    Raises:
        UsageError: The folder is broken, or names files outside itself.
    """
    from datasets import DatasetDict, load_from_disk

    try:
        for folder in _folders(path):
            for file in _arrow_files(folder):
                _check_arrow(file)
        data_sets = load_from_disk(str(path.absolute()))
        if isinstance(data_sets, DatasetDict):
            return {str(name): data.with_format(None) for name, data in data_sets.items()}
        return {None: data_sets.with_format(None)}
    except UsageError:
        raise
    except READING as error:
        raise UsageError(
            f"{path}: cannot be read as a saved data set ({first_line(error)}); {_ADVICE}"
        ) from error


def _folders(path: Path) -> Iterator[Path]:
    """The folders of all splits; the folder itself if it has no splits."""
    if not (path / "dataset_dict.json").is_file():
        yield path
        return
    for name in read_object(path / "dataset_dict.json", _ADVICE)["splits"]:
        yield path / _plain(name, path / "dataset_dict.json")


def _arrow_files(folder: Path) -> Iterator[Path]:
    """The Arrow files that the folder of a split names."""
    state = read_object(folder / "state.json", _ADVICE)
    read_object(folder / "dataset_info.json", _ADVICE)
    for key in ("_data_files", "_indices_data_files"):
        for file in state.get(key) or ():
            yield folder / _plain(file["filename"], folder / "state.json")


def _plain(name: Any, where: Path) -> str:
    """A file name, checked to have no path to another folder.

    Raises:
        UsageError: The name is not that of a file in the same folder.
    """
    if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\\0:"):
        raise UsageError(f"{where}: names {name!r}, which is not a file beside it; {_ADVICE}")
    return name


def _check_arrow(file: Path) -> None:
    """Check every offset and every text of an Arrow file; memory-mapped reading does not."""
    with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as reader:
        for batch in reader:
            batch.validate(full=True)


def _unreadable(path: Path, error: BaseException, advice: str) -> UsageError:
    return UsageError(f"{path}: cannot be read as Parquet ({first_line(error)}); {advice}")
