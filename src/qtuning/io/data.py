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
# What reading raises, from datasets, pyarrow, pandas and the Hub's client (all of them subclasses
# of these). An empty JSON file gives StopIteration, a cut off .gz EOFError or zlib.error.
_READING = (
    OSError,
    ValueError,
    RuntimeError,
    StopIteration,
    EOFError,
    zlib.error,
    DatasetsError,
    # Of rows that the readers did not expect: a list for an object, a name that is there twice.
    *(TypeError, LookupError, AttributeError, AssertionError, MemoryError, pa.ArrowException),
)


def load_data(
    script_args: Any, dataset_args: Any, *, with_test: bool, chat: bool, text_field: str = "text"
) -> tuple[Rows, Rows | None]:
    """The training and the test data, in columns that TRL reads.

    Args:
        script_args: TRL's ``ScriptArguments``.
        dataset_args: TRL's ``DatasetMixtureConfig``; its data sets go first, as in ``trl sft``.
        with_test: Load the test split too.
        chat: The tokenizer has a chat template.
        text_field: TRL's ``dataset_text_field``.

    Raises:
        UsageError: Rows that is missing, unreadable, empty or in an unknown format.
    """
    where = _where(script_args, dataset_args)
    with _explained(where):
        splits = _load(script_args, dataset_args)
        chosen = [(script_args.dataset_train_split, take(splits, script_args, "train"))]
        if with_test:
            chosen.append((script_args.dataset_test_split, take(splits, script_args, "test")))
        train, *test = [
            to_trl(data, f"{where} [{split}]", chat=chat, text_field=text_field)
            for split, data in chosen
        ]
    return train, test[0] if test else None


def load_rows(script_args: Any, dataset_args: Any, kind: str) -> tuple[Rows, str]:
    """The rows of a split as they are, and what to call them in messages.

    Args:
        script_args: TRL's ``ScriptArguments``.
        dataset_args: TRL's ``DatasetMixtureConfig``.
        kind: "train" or "test": which of its splits.

    Raises:
        UsageError: Rows that is missing, unreadable or empty.
    """
    where = _where(script_args, dataset_args)
    with _explained(where):
        rows = take(_load(script_args, dataset_args), script_args, kind)
        if next(iter(rows), None) is None:
            raise UsageError(f"{where}: no rows; name a file or split that has some")
    split = vars(script_args)[f"dataset_{kind}_split"]
    return rows, f"{where} [{split}]"


def _where(script_args: Any, dataset_args: Any) -> str:
    """What to call the data in messages."""
    where = "the mixture in datasets:" if dataset_args.datasets else script_args.dataset_name
    if not where:
        raise UsageError("no data: give --dataset_name a file, a folder or a Hub id")
    return str(where)


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Turn what reading raises into UsageError; a stream is read when its first row is."""
    verbosity = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # we say what is wrong ourselves
    try:
        yield
    except UsageError:
        raise
    except _READING as error:
        raise UsageError(_explain(where, error)) from error
    finally:
        datasets.logging.set_verbosity(verbosity)


def _load(script_args: Any, dataset_args: Any) -> Splits:
    """All splits of the data by name."""
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
    """Whether ``name`` means this machine's disk rather than the Hub."""
    path_of(name, "--dataset_name")
    return name.startswith((".", "/", "~")) or name.endswith(tuple(BUILDERS)) or Path(name).exists()


def _load_file(path: Path, *, name: str | None, streaming: bool) -> Splits:
    builder = _builder(path)
    if builder is None:
        raise UsageError(f"--dataset_name {path}: not one of {', '.join(BUILDERS)}; convert it")
    if name is not None:
        raise UsageError(f"--dataset_config {name}: {path} is a single file; leave the option out")
    with path.open("rb"):  # a refusal is clearer here than from within datasets
        pass
    if path.stat().st_size == 0:
        raise UsageError(f"{path}: the file is empty")
    if builder == "parquet":
        check_parquet_rows(path)
    if builder == "json":
        check_json(path)
    return dict(datasets.load_dataset(builder, data_files=str(path), streaming=streaming))


def _builder(path: Path) -> str | None:
    """The reader of datasets that fits the file's suffix."""
    return next((b for suffix, b in BUILDERS.items() if path.name.endswith(suffix)), None)


def _load_saved(path: Path, *, streaming: bool) -> Splits:
    """A folder that ``save_to_disk`` wrote."""
    splits = {name or "train": data for name, data in load_saved(path).items()}
    return {k: d.to_iterable_dataset() for k, d in splits.items()} if streaming else splits


def take(splits: Splits, script_args: Any, kind: str) -> Rows:
    """The ``kind`` ("train" or "test") split, which may be a slice as ``train[:300]`` or a sum.

    Raises:
        UsageError: It is not there, or the slice is malformed.
    """
    option = f"--dataset_{kind}_split"
    spec: str = vars(script_args)[f"dataset_{kind}_split"]
    if spec in splits:
        return splits[spec]
    found = f"found: {', '.join(splits)}"
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
        raise UsageError(f"{option} {spec}: {first_line(error)} ({found}); {hint}") from error
    ranges = [(splits[part.splitname], range(part.from_, part.to)) for part in parts]
    # An empty range may start behind the end, which select refuses.
    taken = [data.select(rows if rows else []) for data, rows in ranges]
    return datasets.concatenate_datasets(taken) if len(taken) > 1 else taken[0]


_NO_ROWS = ("corresponds to no data", "at least one example when writing data")


def _explain(where: str, error: BaseException) -> str:
    """Say which line is bad if a JSON file is at fault, else what the reader said."""
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
    # datasets' ways of saying that a file has no rows
    if isinstance(error, StopIteration) or any(said in f"{error} {cause}" for said in _NO_ROWS):
        return f"{where}: no rows; name a file or split that has some"
    return f"{where}: cannot be read ({cause}); check that it is what its name says"


def _cause(error: BaseException) -> str:
    """What the innermost exception said; datasets wraps it in a general one."""
    while error.__cause__ is not None and isinstance(error, DatasetsError):
        error = error.__cause__
    return first_line(error)
