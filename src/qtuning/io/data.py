"""Load the data that TRL's ``ScriptArguments`` name: files, a folder or a Hub data set.

Every verb reads here, so that all of them see the same rows in the same types.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets import Dataset
from datasets.exceptions import DatasetsError

from ..errors import UsageError, first_line
from .files import Splits, open_data
from .formats import Rows
from .mixture import open_mixture
from .splits import take
from .token_ids import read_tokens

# The base classes of what reading raises, in datasets, pyarrow and the Hub's client. An
# empty file raises StopIteration, a truncated .gz EOFError or zlib.error.
_READING = (
    OSError,
    ValueError,
    RuntimeError,
    StopIteration,
    EOFError,
    zlib.error,
    DatasetsError,
    # Rows that readers do not expect: a list in place of an object, a name that occurs twice.
    *(TypeError, LookupError, AttributeError, AssertionError, MemoryError, pa.ArrowException),
)


def load_rows(script_args: Any, dataset_args: Any, kind: str) -> tuple[Rows, str]:
    """Load the rows of a split as they are, with a name for messages.

    Args:
        script_args: TRL's ``ScriptArguments``.
        dataset_args: TRL's ``DatasetMixtureConfig``.
        kind: "train" or "test": the split that ``script_args`` names for it is loaded.

    Raises:
        UsageError: The data are missing, unreadable or empty.
    """
    where = _where(script_args, dataset_args)
    with _explained(where):
        rows, name = _taken(_open(script_args, dataset_args), script_args, kind, where)
        if next(iter(rows), None) is None:
            raise UsageError(f"{name}: no rows; name a file or split that has some")
    return rows, name


def load_file(path: Path) -> Dataset:
    """Load all rows of a file.

    Raises:
        UsageError: The file is missing, damaged, of an unknown kind, or has several splits.
    """
    with _explained(str(path)):
        splits = open_data(str(path), config=None, streaming=False)
        if set(splits) != {"train"}:
            raise UsageError(f"{path}: has the splits {', '.join(splits)}; write one to a file")
        rows = splits["train"]
        assert isinstance(rows, Dataset)
    return rows


def _where(script_args: Any, dataset_args: Any) -> str:
    """The name of the data in messages.

    Raises:
        UsageError: No data are named.
    """
    where = "the mixture of datasets" if dataset_args.datasets else script_args.dataset_name
    if not where:
        raise UsageError("no data: give --dataset_name a file, a folder or a Hub id")
    return str(where)


def _open(script_args: Any, dataset_args: Any) -> Splits:
    """All splits of the data by name."""
    if dataset_args.datasets:
        return open_mixture(dataset_args)
    return open_data(
        script_args.dataset_name,
        config=script_args.dataset_config,
        streaming=script_args.dataset_streaming,
    )


def _taken(splits: Splits, script_args: Any, kind: str, where: str) -> tuple[Rows, str]:
    """The rows of the split for training or for testing, and their name in messages."""
    option = f"dataset_{kind}_split"
    spec: str = vars(script_args)[option]
    hint = f"name one with --{option}"
    if kind == "test":
        hint += " or turn --eval_strategy off"
    name = f"{where} [{spec}]"
    return read_tokens(take(splits, spec, option=f"--{option}", hint=hint), name), name


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Turn errors of reading within into UsageError.

    A stream is opened only when its first row is read, which must be within as well.
    """
    verbosity = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # the UsageError says it
    try:
        yield
    except UsageError:
        raise
    except _READING as error:
        raise _explanation(where, error) from error
    finally:
        datasets.logging.set_verbosity(verbosity)


_NO_ROWS = ("corresponds to no data", "at least one example when writing data")


def _explanation(where: str, error: BaseException) -> UsageError:
    """The error to tell for one of reading: ours, which datasets wraps, or the reader's words."""
    while error.__cause__ is not None and isinstance(error, DatasetsError):
        error = error.__cause__
    if isinstance(error, UsageError):
        return error
    path, cause = Path(where).expanduser(), first_line(error)
    if isinstance(error, PermissionError):
        return UsageError(f"{error.filename or where}: permission denied; make it readable")
    # datasets has several errors for a file without rows.
    if isinstance(error, StopIteration) or any(said in str(error) for said in _NO_ROWS):
        return UsageError(f"{where}: no rows; name a file or split that has some")
    if not path.exists():
        return UsageError(f"{where}: cannot be loaded ({cause}); check the name and the connection")
    return UsageError(f"{where}: cannot be read ({cause}); check that it is what its name says")
