"""Read tables of qtuning or of a user: files of data, ``datasets`` and ledgers."""

from pathlib import Path

import pyarrow as pa
from datasets import Dataset

from ..errors import UsageError
from ..io.data import load_file
from ..io.paths import path_of
from ..io.tables import load_saved, read_parquet
from ..run.ledger import FOLDER, read_ledger
from .origin import described, with_origin


def named(source: Path | str | Dataset) -> str:
    """The name of a source in messages: its path, or "the data set"."""
    return "the data set" if isinstance(source, Dataset) else str(source)


def read_table(source: Path | str | Dataset) -> pa.Table:
    """Read all rows of a table; a known origin of scores is in the metadata of its schema.

    Args:
        source: A file that can be trained on, as Parquet, JSON Lines or CSV; a folder of
            ``save_to_disk``, a data set in memory, a run's output folder, or the ledger in it.

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
    if path.suffix == ".parquet":
        return read_scores(path)
    return _of_data_set(load_file(path))


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


def read_scores(path: Path) -> pa.Table:
    """Read a Parquet file of scores.

    Raises:
        UsageError: The file is missing or cannot be read.
    """
    if not path_of(path, "the scores").is_file():
        raise UsageError(f"{path}: no such file; name the Parquet file that `qtuning score` wrote")
    return read_parquet(path, advice="score again")
