"""Finished parts of an output, each whole or not there, and their union."""

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..io.tables import check_parquet, read_parquet
from .origin import Origin, check_same_origin, read_origin, with_origin


class Shards:
    """Shard i holds the rows from ``i * rows`` on, whoever wrote it and in whatever order.

    Attributes:
        output: The file that the shards become.
        folder: Where they are until then, beside it.
    """

    def __init__(self, output: Path, origin: Origin) -> None:
        """Look at what is there already.

        Raises:
            UsageError: Shards, or an output, of another origin.
        """
        self.output, self._origin = output, origin
        self.folder = output.with_name(f"{output.name}.parts")
        for path in (output, *sorted(self.folder.glob("*.parquet"))[:1]):
            if path.is_file():
                check_same_origin(read_origin(_schema(path), path), origin, path)

    @property
    def done(self) -> bool:
        """Whether the output is there."""
        return self.output.is_file()

    def has(self, number: int) -> bool:
        """Whether a shard is finished."""
        return self._path(number).is_file()

    def write(self, number: int, table: pa.Table) -> None:
        """Write a shard; it bears its name only when it is whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(number)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        pq.write_table(table.cast(with_origin(table.schema, self._origin)), temporary)
        _sync(temporary)
        temporary.replace(path)

    def merge(self, n: int) -> None:
        """Make the output of shards 0 to ``n - 1``, one after the other, and remove them."""
        paths = [self._path(number) for number in range(n)]
        schema = pa.unify_schemas([_schema(path) for path in paths])
        schema = schema.with_metadata(_schema(paths[0]).metadata)
        temporary = self.output.with_name(f".{self.output.name}.tmp")
        with pq.ParquetWriter(temporary, schema) as writer:
            for table in _tables(paths):
                writer.write_table(table.cast(schema))
        _sync(temporary)
        temporary.replace(self.output)
        for path in self.folder.iterdir():
            path.unlink()
        self.folder.rmdir()

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.parquet"


def _tables(paths: list[Path]) -> Iterator[pa.Table]:
    """One at a time: memory does not grow with their number."""
    for path in paths:
        yield read_parquet(path, advice="remove it")


def _schema(path: Path) -> pa.Schema:
    return check_parquet(path, "remove it")


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
