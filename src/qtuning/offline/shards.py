"""Shards: finished parts of an output file, each written atomically, and their merge."""

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import UsageError, first_line
from ..io.arrow_rows import rows_of, table_of
from ..io.tables import check_parquet, read_parquet
from .origin import Origin, check_same_origin, read_origin, with_origin


class Shards:
    """The shards of an output file; any process may write any shard, in any order.

    Attributes:
        output: The file that the shards are merged into.
        folder: The folder of the shards until then, in the same folder as ``output``.
    """

    def __init__(self, output: Path, origin: Origin) -> None:
        """Find existing shards, and check their origin.

        Raises:
            UsageError: The output or its shards hold scores of another origin.
        """
        self.output, self._origin = output, origin
        self.folder = output.with_name(f"{output.name}.parts")
        for path in (output, *sorted(self.folder.glob("*.parquet"))[:1]):
            if path.is_file():
                check_same_origin(read_origin(_schema(path), path), origin, path)

    @property
    def done(self) -> bool:
        """Whether the output exists."""
        return self.output.is_file()

    def has(self, number: int) -> bool:
        """Whether shard ``number`` is finished."""
        return self._path(number).is_file()

    def write(self, number: int, table: pa.Table) -> None:
        """Write shard ``number`` atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(number)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        pq.write_table(table.cast(with_origin(table.schema, self._origin)), temporary)
        _sync(temporary)
        temporary.replace(path)

    def merge(self, n: int) -> None:
        """Write shards 0 to ``n - 1`` to the output in order, and delete the shards.

        Raises:
            UsageError: A column is of one type in a shard and of another in the next.
        """
        paths = [self._path(number) for number in range(n)]
        try:
            schema = pa.unify_schemas([_schema(path) for path in paths])
        except pa.ArrowException as error:
            raise UsageError(
                f"{self.folder}: the rows change their types from part to part "
                f"({first_line(error)}); mend the data, and remove the folder"
            ) from error
        schema = schema.with_metadata(_schema(paths[0]).metadata)
        temporary = self.output.with_name(f".{self.output.name}.tmp")
        with pq.ParquetWriter(temporary, schema) as writer:
            for table in _tables(paths):
                writer.write_table(_in_types(table, schema))
        _sync(temporary)
        temporary.replace(self.output)
        for path in self.folder.iterdir():
            path.unlink()
        self.folder.rmdir()

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.parquet"


def _in_types(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table in the types of a schema, whose structs may have more keys."""
    try:
        return table.cast(schema)
    except pa.ArrowException:
        return table_of(list(rows_of(table)), schema)


def _tables(paths: list[Path]) -> Iterator[pa.Table]:
    """The tables of files, read one at a time, so memory does not grow with their number."""
    for path in paths:
        yield read_parquet(path, advice="remove it")


def _schema(path: Path) -> pa.Schema:
    return check_parquet(path, "remove it")


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
