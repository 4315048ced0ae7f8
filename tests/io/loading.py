"""Load data as the commands do, for tests."""

from pathlib import Path
from typing import Any

import pytest
from trl import DatasetMixtureConfig, ScriptArguments

from qtuning.errors import UsageError
from qtuning.io.data import load_rows
from qtuning.io.formats import to_trl


def load(name: Path | str | None, with_test: bool = False, **arguments: Any) -> tuple[Any, Any]:
    script_args = ScriptArguments(
        dataset_name=None if name is None else str(name),
        **{f"dataset_{key}": value for key, value in arguments.items()},
    )
    return load_with(script_args, DatasetMixtureConfig(), with_test=with_test)


def load_with(script_args: Any, dataset_args: Any, *, with_test: bool) -> tuple[Any, Any]:
    """The rows to train and to test on, as TRL reads them; None for no test."""
    kinds = ["train", "test"] if with_test else ["train"]
    named = [load_rows(script_args, dataset_args, kind) for kind in kinds]
    train, *test = [to_trl(rows, name, chat=False) for rows, name in named]
    return train, test[0] if test else None


def refusal(name: Path | str | None, **arguments: Any) -> str:
    with pytest.raises(UsageError) as caught:
        load(name, **arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows_of(name: Path | str, **arguments: Any) -> list[dict[str, Any]]:
    """The rows as they are loaded; those of a stream are the same, and are checked to be."""
    read = []
    for streaming in (False, True):
        script_args = ScriptArguments(
            dataset_name=str(name),
            dataset_streaming=streaming,
            **{f"dataset_{key}": value for key, value in arguments.items()},
        )
        rows, _ = load_rows(script_args, DatasetMixtureConfig(), "train")
        read.append([dict(row) for row in rows])
    assert read[0] == read[1]
    return read[0]
