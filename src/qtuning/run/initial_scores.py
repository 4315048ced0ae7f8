"""Scores made before a run: a Parquet file of scores, or another run's output folder."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from accelerate.logging import get_logger

from ..arguments import PruningArguments
from ..errors import UsageError
from ..examples.candidate import ENTROPY_ALL, ENTROPY_ANSWER
from ..examples.example import SAMPLE_ID
from ..examples.names import sample_names
from ..io.paths import path_of
from ..io.tables import check_parquet, read_parquet
from ..signals.score_columns import check_columns, columns_for, extras_in
from ..signals.score_store import Known, rows_of
from .ledger import FOLDER, read_ledger
from .settings import read_settings

logger = get_logger(__name__)

_ADVICE = "it must be a Parquet file of scores"
_NEEDED = ("sample_id", "ppl", "entropy", "n_tokens")
_ANSWER = PruningArguments.entropy_over
_INITIAL = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("ppl", pa.float64()),
        pa.field("entropy", pa.float64()),
        pa.field("n_tokens", pa.int64(), nullable=False),
    ]
)


def read_initial_scores(
    path: Path | str,
    entropy_over: str = _ANSWER,
    *,
    pruner: object = "",
    needs: frozenset[str] = frozenset(),
) -> dict[str, Known]:
    """Read scores made before a run, by sample id.

    A Parquet file has the columns ``sample_id``, ``ppl``, ``entropy`` (nats) and ``n_tokens``; a
    sample with another number of tokens has another text. Of a run's ledger the last scores of
    each sample count.

    Args:
        path: A Parquet file of scores, or another run's output folder.
        entropy_over: The positions whose mean entropy is read: "answer" or "all".
        pruner: The sample pruner as the user named it, for messages.
        needs: What the sample pruner reads; its further statistics come from the file as well.

    Raises:
        UsageError: There are no scores (see ``check_initial_scores``), or they cannot be read.
    """
    path = check_initial_scores(path, entropy_over, pruner=pruner, needs=needs)
    columns: tuple[str, ...] = _NEEDED
    if path.is_dir():
        table = read_ledger(path)
    else:
        entropy = _entropy_column(check_parquet(path, _ADVICE).names, entropy_over)
        columns = tuple(entropy if name == "entropy" else name for name in _NEEDED)
        fields = [field.with_name(n) for field, n in zip(_INITIAL, columns, strict=True)]
        more = [name for name in columns_for(needs) if name not in columns]
        fields += [pa.field(name, pa.float64()) for name in more]
        table = read_parquet(path, schema=pa.schema(fields), advice=_ADVICE)
    extras = extras_in(table, needs)
    names = sorted(extras)
    return {
        str(name): Known(
            ppl, entropy, n_tokens, 0, tuple((need, extras[need][i].copy()) for need in names)
        )
        for i, (name, ppl, entropy, n_tokens) in enumerate(rows_of(table.select(columns)))
        if _is_finite(ppl) and _is_finite(entropy)
    }


def check_some_known(known: Mapping[str, Known], dataset: Any, path: str) -> None:
    """Check by sample ids that initial scores are of the training data.

    Args:
        known: The initial scores, by sample id.
        dataset: The training data; of a stream only the first row is looked at.
        path: The path of the scores, for messages.

    Raises:
        UsageError: None of the scored samples is in the training data.
    """
    from datasets import Dataset, IterableDataset

    if isinstance(dataset, IterableDataset):
        first = next(iter(dataset), None)
        if first is not None and first.get(SAMPLE_ID) not in known:
            logger.warning(
                f"initial_scores {path}: the first row of the stream is not among its samples, and "
                "samples that are not are scored anew; rows of a stream that are packed or have no "
                "sample_id or id column, have names of their own, which only another run's ledger "
                "knows"
            )
        return
    if not isinstance(dataset, Dataset) or not len(dataset):
        return
    names = sample_names(dataset)
    n = sum(name in known for name in names)
    if not n:
        raise UsageError(
            f"initial_scores {path}: none of its samples is in the training data: name scores of "
            "this data set, by the same sample_id or id column"
        )
    if n < len(names):
        logger.info(f"initial_scores {path}: {n:,} of {len(names):,} samples are known")


def check_initial_scores(
    path: Path | str,
    entropy_over: str = _ANSWER,
    *,
    pruner: object = "",
    needs: frozenset[str] = frozenset(),
) -> Path:
    """Check that a path holds scores, without reading them, and return it.

    Args:
        path: A Parquet file of scores, or another run's output folder.
        entropy_over: The positions whose mean entropy is wanted: "answer" or "all".
        pruner: The sample pruner as the user named it, for messages.
        needs: What the sample pruner reads.

    Raises:
        UsageError: The path does not exist, is neither a folder with a ledger nor a Parquet file
            with the columns of scores, has the entropy over other positions, or lacks what the
            sample pruner reads.
    """
    path = path_of(path, "initial_scores")
    if not path.exists():
        raise UsageError(f"initial_scores {path}: no such file or folder")
    if path.is_file():
        columns = _columns(path, entropy_over)
        check_columns(columns, pruner, needs, where=f"initial_scores {path}: ")
    elif not (path / FOLDER).is_dir() and path.name != FOLDER:
        raise UsageError(
            f"initial_scores {path}: no ledger in the folder; name a run's output folder or a "
            "Parquet file of scores"
        )
    else:
        settings = read_settings(path.parent if path.name == FOLDER else path) or {}
        other = settings.get("entropy_over", _ANSWER)
        if other != entropy_over:
            raise UsageError(
                f"initial_scores {path}: has the entropy over {other} positions, and entropy_over "
                f"is {entropy_over}: set entropy_over to {other}, or name other scores"
            )
        # A ledger has none of the further statistics.
        check_columns((), pruner, needs, where=f"initial_scores {path}: ")
    return path


def _entropy_column(names: Sequence[str], entropy_over: str) -> str:
    """Name of the column with the entropy over the positions asked for; it may be missing.

    Args:
        names: The columns of a file of scores, or of decisions on them.
        entropy_over: "answer" or "all".
    """
    if ENTROPY_ANSWER in names:  # decided by the other one, which is then called entropy
        return ENTROPY_ANSWER if entropy_over == _ANSWER else "entropy"
    return "entropy" if entropy_over == _ANSWER else ENTROPY_ALL


def _columns(path: Path, entropy_over: str) -> list[str]:
    """The columns of a Parquet file, those of scores among them.

    Raises:
        UsageError: The file is damaged or lacks a column.
    """
    names = check_parquet(path, _ADVICE).names
    entropy = _entropy_column(names, entropy_over)
    if entropy == ENTROPY_ALL and entropy not in names:
        raise UsageError(
            f"initial_scores {path}: no column {ENTROPY_ALL}, which entropy_over all reads: score "
            "with --entropy_over all"
        )
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise UsageError(
            f"initial_scores {path}: no column {', '.join(missing)}; wanted are "
            f"{', '.join(_NEEDED)}, found {', '.join(names)}"
        )
    return list(names)


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
