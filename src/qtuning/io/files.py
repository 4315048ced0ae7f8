"""Find the files that a name stands for, and open them as data sets of ``datasets``."""

import glob
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import datasets
from datasets import DatasetBuilder

from ..errors import UsageError
from .file_rows import FileRows, code_hash
from .formats import Rows
from .paths import path_of
from .tables import check_parquet_rows, common_features, load_saved

logger = logging.getLogger(__name__)

Splits: TypeAlias = dict[str, Rows]

KINDS = {".jsonl": "json", ".ndjson": "json", ".json": "json", ".csv": "csv", ".tsv": "csv"}
"""Kinds of files of text by the end of their name; behind it may be ``.gz``, if compressed."""
SUFFIXES = (*KINDS, ".parquet", *(f"{suffix}.gz" for suffix in KINDS))
_MAGIC = "*?["
_OWN_OPTIONS = {"name", "version", "data_dir", "data_files", "description", "features"}


def is_local(name: str) -> bool:
    """Whether a name is one of files on this machine rather than a Hub id."""
    path_of(name, "--dataset_name")
    looks_so = name.startswith((".", "/", "~")) or name.lower().endswith(SUFFIXES)
    return looks_so or any(sign in name for sign in _MAGIC) or Path(name).exists()


def open_data(name: str, *, config: str | None, streaming: bool) -> Splits:
    """Open a file, files by a pattern, a folder or a Hub data set, with all splits by name.

    Args:
        name: The name, as ``--dataset_name`` gives it.
        config: Name of a config of the data set; None for the default.
        streaming: Whether to read rows as they are needed.

    Raises:
        UsageError: The files are missing, damaged or of an unknown kind.
    """
    if not is_local(name):
        return opened(datasets.load_dataset_builder(name, config), streaming)
    path = path_of(name, "--dataset_name")
    if path.is_dir():
        return _open_folder(path, config=config, streaming=streaming)
    found = [path] if path.exists() else [Path(one) for one in _matches(path)]
    if not found:
        raise UsageError(f"--dataset_name {name}: no such file or folder")
    if config is not None:
        raise UsageError(f"--dataset_config {config}: {name} is no data set with configs; drop it")
    return opened(_builder_of(found), streaming)


def _builder_of(paths: Sequence[Path]) -> DatasetBuilder:
    """The builder of a data set from files of one kind.

    Raises:
        UsageError: A file is of an unknown or of another kind, or empty.
    """
    kinds = {kind_of_file(path) for path in paths}
    if len(kinds) > 1:
        raise UsageError(f"{paths[0]}, {paths[-1]}: files of several kinds; name those of one kind")
    for path in paths:
        with path.open("rb"):  # an error here is clearer than one from within datasets
            pass
        if path.is_file() and path.stat().st_size == 0:
            raise UsageError(f"{path}: the file is empty")
    patterns = [glob.escape(str(path.absolute())) for path in paths]
    if kinds == {"parquet"}:
        return datasets.load_dataset_builder("parquet", data_files=patterns)
    tabs = [path.name.lower().removesuffix(".gz").endswith(".tsv") for path in paths]
    return FileRows(
        data_files={"train": patterns},
        dataset_name=next(iter(kinds)),
        hash=code_hash(),
        kind=next(iter(kinds)),
        separator="\t" if all(tabs) else ",",
    )


def kind_of_file(path: Path) -> str:
    """What a file is by its name: "json", "csv" or "parquet".

    Raises:
        UsageError: Its name ends in none of ``SUFFIXES``.
    """
    name = path.name.lower()
    if name.endswith(".parquet"):
        return "parquet"
    for suffix, kind in KINDS.items():
        if name.endswith((suffix, f"{suffix}.gz")):
            return kind
    raise UsageError(f"{path}: not one of {', '.join(SUFFIXES)}; convert it")


def _matches(path: Path) -> list[str]:
    """The files that a pattern stands for; as a shell's, ``*`` passes over hidden ones."""
    found = glob.glob(str(path), recursive=True)  # noqa: PTH207 (a pattern from any folder)
    return sorted(one for one in found if Path(one).is_file())


def _open_folder(path: Path, *, config: str | None, streaming: bool) -> Splits:
    """Open what ``save_to_disk`` wrote, or a folder of files."""
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        splits = {name or "train": data for name, data in load_saved(path).items()}
        return {k: d.to_iterable_dataset() for k, d in splits.items()} if streaming else splits
    builder = datasets.load_dataset_builder(str(path.absolute()), config)
    if not (path / "README.md").is_file():  # which may say what is to be read
        read = {str(file) for files in _data_files(builder).values() for file in files}
        unread = [file for file in _visible(path.absolute()) if str(file) not in read]
        if unread:
            logger.warning(
                f"{path}: not read: {', '.join(file.name for file in unread[:5])}; files of one "
                "kind are read, and of those the ones with a split's name, if there are some"
            )
    return opened(builder, streaming)


def _visible(folder: Path) -> list[Path]:
    """The files of data in a folder, without those that are hidden."""
    return [
        file
        for file in sorted(folder.rglob("*"))
        if file.name.lower().endswith(SUFFIXES)
        and file.is_file()
        and not any(part.startswith((".", "__")) for part in file.relative_to(folder).parts)
    ]


def _data_files(builder: DatasetBuilder) -> Mapping[str, Sequence[Any]]:
    return builder.config.data_files or {}


def opened(builder: DatasetBuilder, streaming: bool) -> Splits:
    """All splits of a builder by name, read by ours if the files are JSON or CSV.

    Args:
        builder: The builder that ``datasets`` takes for the files.
        streaming: Whether to read rows as they are needed.

    Raises:
        UsageError: A file is damaged, or files do not fit together.
    """
    builder = _with_common_features(_ours(builder))
    if not streaming:
        builder.download_and_prepare()
    splits = builder.as_streaming_dataset() if streaming else builder.as_dataset()
    if isinstance(builder, FileRows) and builder.info.description:
        logger.warning(builder.info.description)
    return dict(splits)


def _ours(builder: DatasetBuilder) -> DatasetBuilder:
    """The builder that reads the same JSON or CSV files with types as the files have them.

    A data set whose card asks for more options of the reader is left to that.
    """
    if builder.name not in ("json", "csv"):
        return builder
    options = vars(builder.config)
    defaults = vars(type(builder.config)())
    asked = {name for name, value in options.items() if value != defaults[name]}
    if asked - _OWN_OPTIONS - {"field", "sep", "delimiter"}:
        return builder
    return FileRows(
        dataset_name=builder.dataset_name,
        config_name=builder.config.name,
        base_path=builder.base_path,
        repo_id=builder.repo_id,
        token=builder.token,
        data_files=builder.config.data_files,
        hash=code_hash(),
        kind=builder.name,
        field=options.get("field"),
        separator=options.get("sep", ","),
    )


def _with_common_features(builder: DatasetBuilder) -> DatasetBuilder:
    """A builder of local Parquet files, which are checked, with the columns of all of them."""
    if builder.name != "parquet":
        return builder
    files = [Path(file) for files in _data_files(builder).values() for file in files]
    if not all(file.is_file() for file in files):
        return builder
    for file in files:
        check_parquet_rows(file)
    features = common_features(files)
    if features is None:
        return builder
    patterns = {
        split: [glob.escape(str(file)) for file in files]
        for split, files in _data_files(builder).items()
    }
    return datasets.load_dataset_builder("parquet", data_files=patterns, features=features)
