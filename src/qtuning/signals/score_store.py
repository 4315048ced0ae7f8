"""The last known scores of the samples, by name: what a step may use instead of a forward pass."""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from accelerate.logging import get_logger

from ..errors import UsageError
from ..examples.batching import SAMPLE_ID
from ..io.paths import path_of
from ..io.tables import check_parquet, read_parquet
from ..run.ledger import FOLDER, read_ledger
from ..step.decide import Row, RowExtras

logger = get_logger(__name__)

_ADVICE = "it must be a Parquet file of scores"
_NEEDED = ("sample_id", "ppl", "entropy", "n_tokens")
_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("ppl", pa.float64()),
        ("entropy", pa.float64()),
        ("n_tokens", pa.int64()),
        ("step", pa.int64()),
        ("extras", pa.map_(pa.string(), pa.list_(pa.float64()))),
    ]
)


_INITIAL = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("ppl", pa.float64()),
        pa.field("entropy", pa.float64()),
        pa.field("n_tokens", pa.int64(), nullable=False),
    ]
)


class Known(NamedTuple):
    """A sample's last known scores.

    Attributes:
        ppl: Perplexity.
        entropy: Mean answer entropy in nats.
        n_tokens: Answer tokens it had; with another number now the scores are of another text.
        step: The optimizer step that made them; 0 if they came from outside the run.
        extras: What else the sample pruner reads, see ``Row``.
    """

    ppl: float
    entropy: float
    n_tokens: int
    step: int
    extras: RowExtras = ()


class ScoreStore:
    """Last known scores; the same on every rank, since all of them see the same rows."""

    def __init__(
        self, known: Mapping[str, Known] | None = None, extras: frozenset[str] = frozenset()
    ) -> None:
        """Start empty, or from scores known already.

        Args:
            known: Those.
            extras: What the sample pruner reads beside perplexity and entropy; who lacks it is
                unknown.
        """
        self._known = dict(known or {})
        self._extras = extras

    def __len__(self) -> int:
        """Number of samples known."""
        return len(self._known)

    def of(self, row: Row) -> Known | None:
        """The scores of a candidate, None if unknown or of another text."""
        known = self._known.get(row.sample_id)
        if known is None or known.n_tokens != row.n_tokens:
            return None
        return known if self._extras <= dict(known.extras).keys() else None

    def learn(self, rows: Iterable[Row], step: int) -> None:
        """Take in what a step has scored; a loss that is not finite is not worth knowing."""
        for row in rows:
            if not row.scored:
                continue
            if math.isfinite(row.ppl) and math.isfinite(row.entropy):
                self._known[row.sample_id] = Known(
                    row.ppl, row.entropy, row.n_tokens, step, row.extras
                )
            else:
                self._known.pop(row.sample_id, None)

    def save(self, path: Path) -> None:
        """Write all of it to a Parquet file."""
        columns = list(zip(*self._known.values(), strict=True)) or [()] * len(Known._fields)
        arrays = [list(self._known), *map(list, columns)]
        table = pa.table(dict(zip(_SCHEMA.names, arrays, strict=True)), schema=_SCHEMA)
        pq.write_table(table, path)

    def load(self, path: Path) -> None:
        """Take what ``save`` wrote in place of what is known.

        Raises:
            UsageError: The file cannot be read.
        """
        self._known = {
            name: Known(ppl, entropy, n, step, tuple((key, tuple(some)) for key, some in extras))
            for name, ppl, entropy, n, step, extras in rows_of(
                read_parquet(path, schema=_SCHEMA, advice=_ADVICE)
            )
        }


def read_initial_scores(path: Path | str) -> dict[str, Known]:
    """Scores made before a run: a Parquet file of scores, or another run's output folder.

    A file has the columns ``sample_id``, ``ppl``, ``entropy`` (nats) and ``n_tokens``, by which
    scores of another text are told apart. Of a run's ledger the last scores of each sample count.

    Raises:
        UsageError: As ``check_initial_scores``, or it cannot be read.
    """
    path = check_initial_scores(path)
    if path.is_dir():
        table = read_ledger(path)
    else:
        table = read_parquet(path, schema=_INITIAL, advice=_ADVICE)
    return {
        str(name): Known(ppl, entropy, n_tokens, 0)
        for name, ppl, entropy, n_tokens in rows_of(table.select(_NEEDED))
        if _is_finite(ppl) and _is_finite(entropy)
    }


def check_some_known(known: Mapping[str, Known], dataset: Any, path: str) -> None:
    """See that the earlier scores are of these data, as far as their names tell.

    Raises:
        UsageError: Not one of the samples is in the data.
    """
    from datasets import Dataset

    if not isinstance(dataset, Dataset) or not len(dataset):
        return
    n = sum(name in known for name in dataset[SAMPLE_ID])
    if not n:
        raise UsageError(
            f"initial_scores {path}: none of its samples is in the training data: name scores of "
            "this data set, by the same sample_id or id column"
        )
    if n < len(dataset):
        logger.info(f"initial_scores {path}: {n:,} of {len(dataset):,} samples are known")


def check_initial_scores(path: Path | str) -> Path:
    """See that there are scores, without reading them.

    Raises:
        UsageError: Nothing is there, or neither a ledger nor a file with the columns wanted.
    """
    path = path_of(path, "initial_scores")
    if not path.exists():
        raise UsageError(f"initial_scores {path}: no such file or folder")
    if path.is_file():
        _check_columns(path)
    elif not (path / FOLDER).is_dir() and path.name != FOLDER:
        raise UsageError(
            f"initial_scores {path}: no ledger in the folder; name a run's output folder or a "
            "Parquet file of scores"
        )
    return path


def _check_columns(path: Path) -> None:
    found = check_parquet(path, _ADVICE).names
    missing = [name for name in _NEEDED if name not in found]
    if missing:
        raise UsageError(
            f"initial_scores {path}: no column {', '.join(missing)}; wanted are "
            f"{', '.join(_NEEDED)}, found {', '.join(found)}"
        )


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def rows_of(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """The rows of a table as tuples."""
    return zip(*(column.to_pylist() for column in table.columns), strict=True)
