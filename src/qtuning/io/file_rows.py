"""Builder of ``datasets`` that reads JSON and CSV files with every value as it is in the file.

Those of ``datasets`` itself make dates and numbers of text, take ``NA`` for an empty cell, and type
a column by the first ten megabytes. This one looks at all rows before it types a column. Caching,
streaming, downloads and shards are those of any builder.

``open`` is not ``Path.open`` here, since ``datasets`` lets it open compressed and remote files.
"""

import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import datasets
import pyarrow as pa
from datasets import Features
from datasets.fingerprint import Hasher

from ..errors import UsageError, first_line
from . import csv_files, json_files, json_types

logger = logging.getLogger(__name__)

Splits = dict[str, dict[str, Any]]
"""Arguments of ``FileRows._generate_tables`` by split: names and paths of files, and a key."""
Places = Iterator[tuple[str, Mapping[str, Any]]]
"""Rows, each with its place in the file."""

_ROWS_A_TABLE = 1000
_BYTES_A_TABLE = 4_000_000
"""A table ends after so many bytes of a file, for rows may be long."""
_ROWS_LOOKED_AT = 10_000
"""Rows of each file of a stream from elsewhere that are read before its columns get their types."""
_REFUSALS = (ValueError, OverflowError, TypeError, pa.ArrowException)


@dataclass
class FileRowsConfig(datasets.BuilderConfig):
    """What the files are.

    Attributes:
        kind: "json" or "csv".
        field: Of JSON files that are one object each, the key of the rows.
        separator: Of CSV files, what stands between two cells.
    """

    kind: str = "json"
    field: str | None = None
    separator: str = ","


class FileRows(datasets.ArrowBasedBuilder):
    """Builder of data sets from JSON and CSV files.

    A single JSON file that is an object with lists of rows gives a split for each list.
    """

    BUILDER_CONFIG_CLASS = FileRowsConfig

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo()

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        """Find the files of every split, and the type of every column.

        Raises:
            UsageError: A file cannot be read.
        """
        dl_manager.download_config.extract_on_the_fly = True
        given = self.config.data_files
        splits: Splits = {}
        for split, files in dl_manager.extract(dl_manager.download(given)).items():
            paths = [
                (str(name) if path == file else path, path)
                for name, file in zip(given[split], files, strict=True)
                for path in dl_manager.iter_files(file)
            ]
            splits[str(split)] = {
                "names": [name for name, _ in paths],
                "files": [path for _, path in paths],
                "field": self.config.field,
            }
        is_far = any("://" in str(name) for files in given.values() for name in files)
        self._streams = bool(dl_manager.is_streaming)
        limit = _ROWS_LOOKED_AT if self._streams and is_far else None
        splits, self.info.features = self._typed(splits, limit)
        return [datasets.SplitGenerator(name=name, gen_kwargs=of) for name, of in splits.items()]

    def _typed(self, splits: Splits, limit: int | None) -> tuple[Splits, Features]:
        """The splits, and the columns of all of their files.

        Args:
            splits: The splits that the files were given as.
            limit: Number of rows of each file to look at; None looks at all.
        """
        shape = json_types.Shape()
        row: Mapping[str, Any] = {}
        for parts in splits.values():
            for name, path in zip(parts["names"], parts["files"], strict=True):
                with open(path, "rb") as file:  # noqa: PTH123
                    if self.config.kind == "csv":
                        names = csv_files.csv_columns(file, name, self.config.separator)
                        shape.add(dict.fromkeys(names, ""))
                        continue
                    for place, row in islice(self._rows(file, name, parts["field"]), limit):
                        try:
                            shape.add(row)
                        except ValueError as error:
                            raise UsageError(f"{name}, {place}: {error}; mend it") from error
        first = next(iter(splits.values()))
        is_one = len(splits) == len(first["files"]) == shape.count == 1 and first["field"] is None
        keys = json_files.wrapped(row) if is_one else []
        if keys:
            return self._typed(json_files.fields_as_splits(keys, first), limit)
        types: dict[str, Any] = {}
        doubtful: dict[str, Any] = {}
        is_sample = limit is not None
        for column, values in shape.fields.items():
            try:
                types[column] = values.column(sampled=is_sample)
            except ValueError as error:
                raise UsageError(
                    f"{first['names'][0]}: {column} {error}; write it alike"
                ) from error
            if is_sample or values.may_change():
                doubtful[column] = types[column]
        self._doubtful = Features(doubtful)
        return splits, Features(types)

    def _rows(self, file: Any, name: str, field: str | None) -> Places:
        """The rows of a file with their places."""
        if self.config.kind == "csv":
            return csv_files.csv_rows(file, name, self.config.separator)
        lines = name.lower().removesuffix(".gz").endswith((".jsonl", ".ndjson"))
        return json_files.json_rows(file, name, lines=lines, field=field)

    def _generate_shards(
        self, names: Sequence[str], files: Sequence[str], field: str | None
    ) -> Iterator[str]:
        yield from names

    def _generate_tables(
        self, names: Sequence[str], files: Sequence[str], field: str | None
    ) -> Iterator[tuple[Any, pa.Table]]:
        """Read the rows in tables of a thousand, or fewer if they are long.

        Raises:
            UsageError: A file cannot be read, or a row does not fit the columns.
        """
        for number, (name, path) in enumerate(zip(names, files, strict=True)):
            with open(path, "rb") as file:  # noqa: PTH123
                rows = self._rows(file, name, field)
                part = 0
                while batch := _next_rows(rows, file):
                    yield (number, part), self._table(batch, name)
                    part += 1

    def _table(self, batch: Sequence[tuple[str, Mapping[str, Any]]], name: str) -> pa.Table:
        features = self.info.features
        for place, row in batch:
            new = sorted(row.keys() - features.keys())
            if new:
                raise UsageError(
                    f"{name}, {place}: {', '.join(new)[:80]} is a column that the first "
                    f"{_ROWS_LOOKED_AT:,} rows of the stream lack: take it out, or drop "
                    "--dataset_streaming"
                )
        try:
            self._check_json(batch, name)
            return json_types.to_table([row for _, row in batch], features)
        except _REFUSALS as error:
            for place, row in batch:
                why = _problem(row, features)
                if why is not None:
                    raise UsageError(f"{name}, {place}: {why}; mend it") from error
            raise

    def _check_json(self, batch: Sequence[tuple[str, Mapping[str, Any]]], name: str) -> None:
        """Say once which column of JSON objects does not give back what the file has."""
        for place, row in batch if "Json(" in repr(self._doubtful) else ():
            column = json_types.changed(row, self._doubtful)
            if column is not None and not self.info.description:
                self.info.description = (
                    f"{name}, {place}: {column} has a number that columns of JSON objects round "
                    "in this version of datasets: write it as text if its digits matter"
                )
                if self._streams:  # else the caller says it, also of data that are cached
                    logger.warning(self.info.description)


def _next_rows(rows: Places, file: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """The rows of the next table; empty at the end of the file that they are read from."""
    batch = []
    begin = file.tell()
    for one in rows:
        batch.append(one)
        if len(batch) == _ROWS_A_TABLE or file.tell() - begin > _BYTES_A_TABLE:
            break
    return batch


def _problem(row: Mapping[str, Any], features: Features) -> str | None:
    """Why a row does not fit the columns; None if it does."""
    for name, kind in features.items():
        column = Features({name: kind})
        try:
            json_types.changed(row, column)
            json_types.to_table([row], column)
        except UnicodeEncodeError as error:
            return f"{error.object[error.start]!r} is half of a character"
        except _REFUSALS as error:
            return f"{name} does not fit its column ({first_line(error)})"
    return None


def code_hash() -> str:
    """A hash of the code that reads files: what another version of it has cached is read anew."""
    sources = [inspect.getsource(module) for module in (csv_files, json_files, json_types)]
    return str(Hasher.hash([inspect.getsource(FileRows), datasets.__version__, *sources]))
