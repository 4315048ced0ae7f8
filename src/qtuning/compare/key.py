"""The key of a cell: a hash of everything that determines its result."""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..run.ledger import FOLDER
from .grid import Cell, Grid, names_files

_RESULTS = "0.1.0.dev0"
"""The version of qtuning that determines results: part of every key.

Set it to the package's version when a change of the code changes results. A release without such a
change keeps this value, so that keys and results on disk stay valid.
"""
_MODEL_FILES = ("*.safetensors", "*.gguf", "*.json")
_SCORE_FILES = ("*.parquet", f"{FOLDER}/*.parquet")


def determined_by(cell: Cell, grid: Grid) -> dict[str, Any]:
    """Return the settings that determine a cell's result, with hashes of files instead of paths."""
    data = asdict(cell.data)
    data["train"] = [_hash_of_file(path) for path in cell.data.train]
    data["held_out"] = [_hash_of_file(path) for path in cell.data.held_out]
    data["training"] = {**grid.training, **cell.data.training}
    method = asdict(cell.method)
    for settings in (data, method):
        settings.pop("name")
    for field in ("score", "record"):  # they change what is reported of a run, not the run
        data.pop(field)
    method["pruning"] = {
        key: _hash_of_name(key, value) if names_files(key) and value is not None else value
        for key, value in cell.method.pruning.items()
    }
    method.pop("tokens_of")  # the cell's budget already reflects it
    evaluation = {key: value for key, value in grid.evaluation.items() if key != "data_dir"}
    evaluation["tasks"] = [_hash_of_task_data(task, grid.evaluation) for task in cell.data.tasks]
    return {
        "qtuning": _RESULTS,
        "model": _hash_of_model(grid.models[cell.model]),
        "data": data,
        "method": method,
        "budget": None if cell.budget is None else asdict(cell.budget),
        "seed": cell.seed if cell.method.train else None,
        "evaluation": evaluation,
    }


def cell_key(determined: Mapping[str, Any]) -> str:
    """Return the key of ``determined_by``'s settings: sixteen hexadecimal digits."""
    text = json.dumps(determined, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _hash_of_name(field: str, name: str) -> str:
    return _hash_of_scores(name) if field == "initial_scores" else _hash_of_model(name)


def _hash_of_model(name: str) -> str:
    """Return a hash of a model folder's files; for a model on the Hub, its name."""
    return _hash_of_files(name, _MODEL_FILES)


def _hash_of_scores(name: str) -> str:
    """Return a hash of a file of scores, or of the ledger in a run's output folder."""
    return _hash_of_files(name, _SCORE_FILES)


def _hash_of_files(name: str, patterns: Sequence[str]) -> str:
    folder = Path(name)
    if folder.is_file():
        return _hash_of_file(name)
    if not folder.is_dir():
        return name
    files = sorted(path for pattern in patterns for path in folder.glob(pattern))
    hashes = [f"{path.name} {_hash_of_file(str(path))}" for path in files]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:16]


def _hash_of_task_data(task: str, evaluation: Mapping[str, Any]) -> str:
    folder = evaluation.get("data_dir")
    if folder is None or not task.startswith("local_"):
        return task
    return f"{task} {_hash_of_file(str(Path(folder) / task.removeprefix('local_') / 'test.jsonl'))}"


@functools.cache
def _hash_of_file(name: str) -> str:
    path = Path(name)
    if not path.is_file():
        return name
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]
