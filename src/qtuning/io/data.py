"""Load the data that TRL's ``ScriptArguments`` name: a file, a folder or a Hub data set."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import pyarrow as pa
from datasets import IterableDataset
from datasets.exceptions import DatasetsError

from ..errors import UsageError, first_line
from .formats import Rows, to_trl
from .json_files import bad_line, check_json
from .paths import path_of
from .tables import check_parquet_rows, load_saved

Splits: TypeAlias = dict[str, Rows]

BUILDERS = {
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".jsonl.gz": "json",
    ".json.gz": "json",
    ".csv.gz": "csv",
}
# The base classes of what reading raises, in datasets, pyarrow, pandas and the Hub's client. An
# empty JSON file raises StopIteration, a truncated .gz EOFError or zlib.error.
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


def load_data(
    script_args: Any, dataset_args: Any, *, with_test: bool, chat: bool, text_field: str = "text"
) -> tuple[Rows, Rows | None]:
    """Load the training and the test data, in columns that TRL reads.

    Args:
        script_args: TRL's ``ScriptArguments``.
        dataset_args: TRL's ``DatasetMixtureConfig``; its data sets go first, as in ``trl sft``.
        with_test: Whether to load the test split as well.
        chat: Whether the tokenizer has a chat template.
        text_field: TRL's ``dataset_text_field``.

    Returns:
        The training data, and the test data or None.

    Raises:
        UsageError: The data are missing, unreadable, empty or in an unknown format.
    """
    where = _where(script_args, dataset_args)
    with _explained(where):
        splits = _load(script_args, dataset_args)
        rows_of_splits = [(script_args.dataset_train_split, take(splits, script_args, "train"))]
        if with_test:
            rows_of_splits.append(
                (script_args.dataset_test_split, take(splits, script_args, "test"))
            )
        train, *test = [
            to_trl(data, f"{where} [{split}]", chat=chat, text_field=text_field)
            for split, data in rows_of_splits
        ]
    return train, test[0] if test else None


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
        rows = take(_load(script_args, dataset_args), script_args, kind)
        if next(iter(rows), None) is None:
            raise UsageError(f"{where}: no rows; name a file or split that has some")
    split = vars(script_args)[f"dataset_{kind}_split"]
    return rows, f"{where} [{split}]"


def _where(script_args: Any, dataset_args: Any) -> str:
    """The name of the data in messages.

    Raises:
        UsageError: No data are named.
    """
    where = "the mixture in datasets:" if dataset_args.datasets else script_args.dataset_name
    if not where:
        raise UsageError("no data: give --dataset_name a file, a folder or a Hub id")
    return str(where)


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
        raise UsageError(_explain(where, error)) from error
    finally:
        datasets.logging.set_verbosity(verbosity)


def _load(script_args: Any, dataset_args: Any) -> Splits:
    """Load all splits of the data by name.

    Raises:
        UsageError: The file or folder is missing, damaged or of an unknown kind.
    """
    if dataset_args.datasets:
        from trl import get_dataset

        return dict(get_dataset(dataset_args))
    name: str = script_args.dataset_name
    options = {"name": script_args.dataset_config, "streaming": script_args.dataset_streaming}
    if not is_local(name):
        return dict(datasets.load_dataset(name, **options))
    path = path_of(name, "--dataset_name")
    if not path.exists():
        raise UsageError(f"--dataset_name {name}: no such file or folder")
    if path.is_file():
        return _load_file(path, **options)
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        return _load_saved(path, streaming=script_args.dataset_streaming)
    for file in path.rglob("*"):
        if file.suffix == ".parquet":
            check_parquet_rows(file)
        elif _builder(file) == "json" and file.is_file():
            check_json(file)
    return dict(datasets.load_dataset(str(path), **options))


def is_local(name: str) -> bool:
    """Whether ``name`` is a path on this machine rather than a Hub id."""
    path_of(name, "--dataset_name")
    return name.startswith((".", "/", "~")) or name.endswith(tuple(BUILDERS)) or Path(name).exists()


def _load_file(path: Path, *, name: str | None, streaming: bool) -> Splits:
    """Load a single file.

    Raises:
        UsageError: The file is of an unknown kind, empty or damaged, or a config is named.
    """
    builder = _builder(path)
    if builder is None:
        raise UsageError(f"--dataset_name {path}: not one of {', '.join(BUILDERS)}; convert it")
    if name is not None:
        raise UsageError(f"--dataset_config {name}: {path} is a single file; leave the option out")
    with path.open("rb"):  # an error here is clearer than one from within datasets
        pass
    if path.stat().st_size == 0:
        raise UsageError(f"{path}: the file is empty")
    if builder == "parquet":
        check_parquet_rows(path)
    if builder == "json":
        check_json(path)
    return dict(datasets.load_dataset(builder, data_files=str(path), streaming=streaming))


def _builder(path: Path) -> str | None:
    """The name of the datasets builder that reads the file; None for an unknown suffix."""
    return next((b for suffix, b in BUILDERS.items() if path.name.endswith(suffix)), None)


def _load_saved(path: Path, *, streaming: bool) -> Splits:
    """Load a folder that ``save_to_disk`` wrote."""
    splits = {name or "train": data for name, data in load_saved(path).items()}
    return {k: d.to_iterable_dataset() for k, d in splits.items()} if streaming else splits


def take(splits: Splits, script_args: Any, kind: str) -> Rows:
    """The split that ``script_args`` names, maybe a slice as ``train[:300]``, or a sum of slices.

    Args:
        splits: All splits by name.
        script_args: TRL's ``ScriptArguments``.
        kind: "train" or "test".

    Raises:
        UsageError: There is no such split, or the slice is malformed.
    """
    option = f"--dataset_{kind}_split"
    spec: str = vars(script_args)[f"dataset_{kind}_split"]
    if spec in splits:
        return splits[spec]
    listing = f"found: {', '.join(splits)}"
    streaming = any(isinstance(data, IterableDataset) for data in splits.values())
    if streaming and "[" in spec:
        raise UsageError(f"{option} {spec}: a stream has no slices; drop --dataset_streaming")
    try:
        if streaming:
            raise ValueError("no such split")
        parts = datasets.ReadInstruction.from_spec(spec).to_absolute(
            {name: len(data) for name, data in splits.items()}
        )
    except (ValueError, AssertionError) as error:
        hint = f"name one with {option}"
        if kind == "test":
            hint += " or turn --eval_strategy off"
        raise UsageError(f"{option} {spec}: {first_line(error)} ({listing}); {hint}") from error
    ranges = [(splits[part.splitname], range(part.from_, part.to)) for part in parts]
    # An empty range may start after the last row, which select refuses.
    slices = [data.select(rows if rows else []) for data, rows in ranges]
    return datasets.concatenate_datasets(slices) if len(slices) > 1 else slices[0]


_NO_ROWS = ("corresponds to no data", "at least one example when writing data")


def _explain(where: str, error: BaseException) -> str:
    """The message for an error of reading: the bad line of a JSON file, else the reader's words."""
    path = Path(where).expanduser()
    if isinstance(error, PermissionError):
        return f"{error.filename or where}: permission denied; make it readable"
    if not path.exists():
        return f"{where}: cannot be loaded ({_cause(error)}); check the name and the connection"
    files = [path] if path.is_file() else sorted(path.rglob("*.json*"))
    for file in files:
        line = bad_line(file) if _builder(file) == "json" else None
        if line is not None:
            return f"{file}, {line}; mend it"
    cause = _cause(error)
    # datasets has several errors for a file without rows.
    if isinstance(error, StopIteration) or any(said in f"{error} {cause}" for said in _NO_ROWS):
        return f"{where}: no rows; name a file or split that has some"
    return f"{where}: cannot be read ({cause}); check that it is what its name says"


def _cause(error: BaseException) -> str:
    """The message of the innermost exception, which datasets wraps in general ones."""
    while error.__cause__ is not None and isinstance(error, DatasetsError):
        error = error.__cause__
    return first_line(error)
