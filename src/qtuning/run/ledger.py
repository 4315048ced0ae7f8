"""The ledger: a Parquet record of every pruning decision of a run, in small chunks.

A chunk gets its name only when it is complete, so the folder can be read during the run, and a
killed run loses no more than the rows still in its buffer. Only one process may write to it.
Other records with a row for each step, such as that of the probe set (``run/probe_rows.py``), are
written the same way, each with a schema and a folder of its own.
"""

from __future__ import annotations

import logging
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import accumulate, count
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qtuning.errors import UsageError
from qtuning.io.tables import check_parquet, read_parquet

logger = logging.getLogger(__name__)  # one process writes

FOLDER = "ledger"


class LedgerRow(NamedTuple):
    """The decision on one candidate sample at one optimizer step.

    `epoch` is counted from 0, `step` from 1 and never decreasing; `sample_id` is the
    sample's name in the training set; `ppl` is the perplexity of the answer and `entropy` the mean
    entropy in nats, over the positions of `entropy_over` (both None if not known; NaN or inf, from
    a bad loss, stay);
    `n_tokens` is the number of answer tokens; `quadrant` is 1 to 4, or 0 for the middle band or a
    pruner without the plane; `kept` is whether the sample is trained on, `filled` whether it is
    kept only to fill the budget; `tokens_kept` is the number of answer tokens trained on; `scored`
    is whether this step scored the sample, else its scores are of an earlier step.
    """

    epoch: int
    step: int
    sample_id: str
    ppl: float | None
    entropy: float | None
    n_tokens: int
    quadrant: int
    kept: bool
    filled: bool
    tokens_kept: int
    scored: bool


@dataclass(frozen=True)
class WideRow:
    """A row of the ledger of a run that has more columns.

    Where turns are pruned, `turn` is the number of the assistant's turn in the conversation, from
    1, and `kind` what kind of turn it is; turn 0 is a whole sample. Where tokens have weights,
    `loss_weight` is the mean factor on the loss of the kept tokens that was known before the
    training forward; None if none is kept.
    """

    row: LedgerRow
    more: Mapping[str, int | str | float | None]

    @property
    def step(self) -> int:
        """The optimizer step that the row belongs to."""
        return self.row.step

    def _asdict(self) -> dict[str, Any]:
        return {**self.row._asdict(), **self.more}


class StepRow(Protocol):
    """A row of any record with a step: a NamedTuple whose fields are the schema's."""

    @property
    def step(self) -> int:
        """The optimizer step that the row belongs to."""

    def _asdict(self) -> dict[str, Any]: ...


_TYPES = [
    *("int64", "int64", "string", "double", "double", "int64"),
    *("int8", "bool", "bool", "int64", "bool"),
]
SCHEMA = pa.schema(
    pa.field(name, pa.type_for_alias(alias), nullable=name in ("ppl", "entropy"))
    for name, alias in zip(LedgerRow._fields, _TYPES, strict=True)
)
"""The columns of every ledger."""
_WEIGHT = pa.field("loss_weight", pa.float64())
_TURN = (pa.field("turn", pa.int64()), pa.field("kind", pa.string()))
_MORE = (*_TURN, _WEIGHT)


def ledger_schema(*, weighs_tokens: bool, by_turn: bool) -> pa.Schema:
    """The columns of a ledger.

    Args:
        weighs_tokens: Whether tokens have weights before the training forward.
        by_turn: Whether turns are kept or dropped.
    """
    more = [*(_TURN if by_turn else ()), *([_WEIGHT] if weighs_tokens else [])]
    return pa.schema([*SCHEMA, *more])


@dataclass
class Ledger(AbstractContextManager["Ledger"]):
    """Writes the ledger of one run; make it with `start` or `resume`.

    Their options are the fields from `rows_per_chunk` on. Call `flush` before each checkpoint: a
    run resumed from the checkpoint never repeats the steps before it.
    """

    folder: Path
    step: int = 1  # rows of an earlier step are refused: `resume` relies on the order
    rows_per_chunk: int = 4096
    seconds_per_chunk: float = 30.0  # since the last chunk was written
    clock: Callable[[], float] = time.monotonic
    schema: pa.Schema = SCHEMA
    n_rows: int = 0  # including the rows in the buffer
    crc: int = 0  # CRC-32 of the bytes of all chunks, in order

    def __post_init__(self) -> None:
        self._written_at, self._closed = self.clock(), False
        self._buffer: pa.Table = self.schema.empty_table()
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / ".part-probe.tmp").touch()  # fails early in a read-only folder
            for leftover in self.folder.glob(".part-*.tmp"):
                leftover.unlink()
        self._next = max(_chunks(self.folder), default=-1) + 1

    @classmethod
    def start(cls, folder: Path, first_step: int = 1, **options: Any) -> Ledger:
        """Begin a new run's ledger; an older one is moved aside to `<folder>-1`, `-2`, ..."""
        if _chunks(folder):
            places = (folder.with_name(f"{folder.name}-{n}") for n in count(1))
            with writing(folder):
                folder.rename(next(place for place in places if not place.exists()))
        return cls(folder, first_step, **options)

    @classmethod
    def resume(
        cls,
        folder: Path,
        last_step: int,
        *,
        n_rows: int | None = None,
        crc: int | None = None,
        schema: pa.Schema = SCHEMA,
        **options: Any,
    ) -> Ledger:
        """Continue a ledger from the checkpoint after `last_step`.

        Later rows are deleted, since the resumed run repeats their steps. `n_rows` and `crc` are
        the `mark` at the checkpoint, if it is known: rows after it are not read, and may be
        damaged. If the ledger was moved away, an empty one begins.

        Raises:
            UsageError: Rows up to the checkpoint cannot be read, or some of them are missing.
        """
        chunks = list(_chunks(folder).values())
        # Compare checksums before reading: a damaged footer can crash the reader.
        if chunks and crc is not None and crc not in _checksums(chunks):
            raise UsageError(f"{folder} is not as it was written: {_advice(folder)}")
        rows_left = _rows_left(folder, chunks, last_step, n_rows, schema)
        # From the last chunk backwards: whenever the process dies, the rows left have no gap.
        for place, chunk in reversed(list(enumerate(chunks))):
            n_stay = rows_left[place] if place < len(rows_left) else 0
            with writing(folder):
                if not n_stay:
                    chunk.unlink()
                elif n_stay < pq.read_metadata(chunk).num_rows:
                    _write(_read(chunk, schema).slice(0, n_stay), chunk)
        crc = _checksums(_chunks(folder).values())[-1]
        return cls(folder, last_step + 1, schema=schema, n_rows=sum(rows_left), crc=crc, **options)

    def append(self, rows: Iterable[StepRow]) -> None:
        """Add rows to the buffer; write a chunk if it is full or old enough.

        Raises:
            ValueError: The ledger is closed, or the steps are not in order.
            UsageError: A chunk cannot be written.
        """
        rows = list(rows)
        steps = [self.step, *(row.step for row in rows)]
        if self._closed or steps != sorted(steps):
            raise ValueError(f"ledger {self.folder} closed, or steps not in order: {steps}")
        records = [row._asdict() for row in rows]
        table = pa.Table.from_pylist(records, self.schema).cast(self.schema)
        self._buffer, self.step = pa.concat_tables([self._buffer, table]), steps[-1]
        self.n_rows += table.num_rows
        seconds = self.clock() - self._written_at
        if self._buffer.num_rows >= self.rows_per_chunk or seconds >= self.seconds_per_chunk:
            self.flush()

    def flush(self) -> None:
        """Write the buffered rows to disk, so that they outlive the process."""
        if self._buffer.num_rows:
            chunk = self.folder / f"part-{self._next:06d}.parquet"
            with writing(self.folder):
                _write(self._buffer, chunk)
                self.crc = _checksums([chunk], self.crc)[-1]
            self._buffer, self._next = self.schema.empty_table(), self._next + 1
            self._written_at = self.clock()

    @property
    def mark(self) -> dict[str, int]:
        """Number of rows and checksum of a flushed ledger, kept in a checkpoint for `resume`."""
        return {"n_rows": self.n_rows, "crc": self.crc}

    def close(self) -> None:
        """Write the buffered rows; a closed ledger takes no more rows."""
        self.flush()
        self._closed = True

    def __exit__(self, *_: object) -> None:
        self.close()  # after an error too: the steps were taken


def read_ledger(folder: Path | str) -> pa.Table:
    """Read all rows of a run's ledger, in the order of the steps.

    Args:
        folder: The ledger's folder, or the run's output folder that contains it.

    Returns:
        A table with the columns of ``SCHEMA``: epoch, step, sample_id, ppl, entropy (nats),
        n_tokens, quadrant, kept, filled, tokens_kept, scored; turn and kind where turns
        were pruned; and loss_weight if the run's loss was weighted by tokens. A row is one
        candidate, or turn of it, at one step.

    Raises:
        UsageError: The folder has no ledger, or a chunk is damaged.
    """
    return read_record(Path(folder), FOLDER, SCHEMA)


def is_ledger(columns: Iterable[str]) -> bool:
    """Whether these are the columns of a run's ledger, and no others."""
    return set(columns) - {field.name for field in _MORE} == set(SCHEMA.names)


def by_unit(ledger: pa.Table) -> pa.Table:
    """A ledger whose ``sample_id`` names what was decided on: a turn has ``@<turn>`` behind it.

    Args:
        ledger: Rows of a ledger; without turns they are returned as they are.
    """
    if "turn" not in ledger.column_names:
        return ledger
    names, turns = ledger["sample_id"].cast(pa.string()), pc.fill_null(ledger["turn"], 0)
    of_turns = pc.binary_join_element_wise(names, turns.cast(pa.string()), "@")
    units = pc.if_else(pc.greater(turns, 0), of_turns, names)
    return ledger.set_column(ledger.column_names.index("sample_id"), "sample_id", units)


def read_record(folder: Path, name: str, schema: pa.Schema) -> pa.Table:
    """Read the record called `name`, from its own folder or the output folder that contains it.

    Raises:
        UsageError: The folder has no such record, or a chunk is damaged.
    """
    inner = folder / name
    chunks = _chunks(inner if inner.is_dir() else folder)
    if not chunks and not inner.is_dir() and not (folder.name == name and folder.is_dir()):
        raise UsageError(f"no {name} in {folder}: give a training run's output folder")
    tables = [schema.empty_table(), *(_read(c, schema) for c in chunks.values())]
    return pa.concat_tables(tables, promote_options="default")


def read_last(folder: Path, n_rows: int) -> pa.Table:
    """Read the last rows of a run's ledger, and no chunk before theirs.

    Args:
        folder: The ledger's folder.
        n_rows: The most rows to read.

    Raises:
        UsageError: A chunk is damaged.
    """
    table = SCHEMA.empty_table()
    for chunk in reversed(list(_chunks(folder).values())):
        if table.num_rows >= n_rows:
            break
        table = pa.concat_tables([_read(chunk, SCHEMA).select(SCHEMA.names), table])
    return table.slice(max(0, table.num_rows - n_rows))


def _chunks(folder: Path) -> dict[int, Path]:
    """Chunks by number, in ascending order; names do not sort beyond six digits."""
    path_of_number = {p.stem.removeprefix("part-"): p for p in folder.glob("part-*.parquet")}
    return dict(
        sorted((int(number), p) for number, p in path_of_number.items() if number.isdecimal())
    )


def _advice(folder: Path) -> str:
    return (
        f"put {folder} back as it was, resume from an earlier checkpoint by its name, or move the "
        "folder away to begin a new record"
    )


def _checksums(chunks: Iterable[Path], crc: int = 0) -> list[int]:
    """Running checksums: of no chunk, the first one, the first two, ..., starting from `crc`.

    Whole files are read, since Parquet's own checksums leave out headers and footers.
    """
    return list(
        accumulate(chunks, lambda so_far, c: zlib.crc32(c.read_bytes(), so_far), initial=crc)
    )


def _rows_left(
    folder: Path, chunks: list[Path], last_step: int, n_rows: int | None, schema: pa.Schema
) -> list[int]:
    """How many rows of each chunk a resumed run keeps; chunks with none at the end are left out.

    Raises:
        UsageError: Rows up to the checkpoint cannot be read, or some of them are missing.
    """
    sizes: list[int] = []
    for chunk in chunks:
        if sum(sizes) == n_rows:
            break
        table = _read(chunk, schema, _advice(folder))
        sizes.append(table.filter(pc.less_equal(table["step"], last_step)).num_rows)
        if sizes[-1] < table.num_rows:
            break
    if n_rows is None or sum(sizes) == n_rows:
        return sizes
    if chunks:
        raise UsageError(
            f"{folder} has {sum(sizes):,} rows up to step {last_step}, and had {n_rows:,} when the "
            f"checkpoint was written: {_advice(folder)}"
        )
    logger.warning(f"{folder} is gone: the record begins anew after step {last_step}")
    return sizes


def _read(
    chunk: Path, schema: pa.Schema, advice: str = "move it away to do without it"
) -> pa.Table:
    """The rows of a chunk, with the columns that only some ledgers have, where it has them."""
    names = check_parquet(chunk, advice).names
    fields = [field for field in schema if field not in _MORE]
    fields += [field for field in _MORE if field.name in names]
    return read_parquet(chunk, schema=pa.schema(fields), advice=advice)


def _write(table: pa.Table, chunk: Path) -> None:
    """Write a chunk atomically: a file with its name holds all of its rows."""
    temporary = chunk.with_name(f".{chunk.name}.tmp")
    try:
        with temporary.open("wb") as file:
            pq.write_table(table, file, write_page_checksum=True)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)  # the disk may be full
        raise
    temporary.replace(chunk)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn an OSError within into a UsageError that names the folder."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write in {folder}: {error}; make room or move it") from error
