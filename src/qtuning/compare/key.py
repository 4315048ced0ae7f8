"""The key of a cell: a hash of everything that determines its result."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..io.yaml_files import names_own_code
from .grid import Cell, Grid
from .grid_paths import names_file
from .hashes import hash_of_code, hash_of_file, hash_of_model, hash_of_scores
from .other_rows import OtherRows

_RESULTS = "0.1.0.dev0"
"""The version of qtuning that determines results: part of every key.

Set it to the package's version when a change of the code changes results. A release without such a
change keeps this value, so that keys and results on disk stay valid.
"""


_LATER: Mapping[str, Mapping[str, Any]] = {
    "data": {"forgetting": (), "exact_match": None},
    "method": {"scored_before": False, "data_ratio": None},
}
"""Fields that came later, and their defaults, which are left out: older cells keep their keys."""


def determined_by(cell: Cell, grid: Grid) -> dict[str, Any]:
    """Return the settings that determine a cell's result, with hashes of files instead of paths."""
    data = asdict(cell.data)
    data["train"] = [hash_of_file(path) for path in cell.data.train]
    data["held_out"] = [hash_of_file(path) for path in cell.data.held_out]
    data["training"] = with_hashes({**grid.training, **cell.data.training})
    method = asdict(cell.method)
    for settings in (data, method):
        settings.pop("name")
    for field in ("score", "record"):  # they change what is reported of a run, not the run
        data.pop(field)
    method["pruning"] = with_hashes(cell.method.pruning)
    for field in ("tokens_of", "compute_of"):  # the cell's budget already reflects them
        method.pop(field)
    for settings, defaults in ((data, _LATER["data"]), (method, _LATER["method"])):
        for field, default in defaults.items():
            if settings[field] == default:
                settings.pop(field)
    if cell.data.forgetting:
        data["forgetting"] = {rows.name: determined_rows(rows) for rows in cell.data.forgetting}
    evaluation = {key: value for key, value in grid.evaluation.items() if key != "data_dir"}
    evaluation["tasks"] = [_hash_of_task_data(task, grid.evaluation) for task in cell.data.tasks]
    return {
        "qtuning": _RESULTS,
        "model": hash_of_model(
            grid.models[cell.model], with_template=bool(evaluation.get("apply_chat_template"))
        ),
        "data": data,
        "method": method,
        "budget": None if cell.budget is None else asdict(cell.budget),
        "seed": cell.seed if cell.method.train else None,
        "evaluation": evaluation,
    }


def determined_rows(rows: OtherRows) -> dict[str, Any]:
    """Return what determines held-out rows, with a hash of their files and without their name."""
    plain = asdict(rows)
    plain.pop("name")
    plain["held_out"] = [hash_of_file(path) for path in rows.held_out]
    return plain


def cell_key(determined: Mapping[str, Any]) -> str:
    """Return the key of ``determined_by``'s settings: sixteen hexadecimal digits."""
    text = json.dumps(determined, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def with_hashes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of ``QTuningConfig`` with hashes of the files that they name."""
    return {field: _hashed(field, value) for field, value in settings.items()}


def _hashed(field: str, value: Any) -> Any:
    if names_own_code(field, value):
        return hash_of_code(value)
    if not names_file(field, value):
        return value
    if field == "initial_scores":
        return hash_of_scores(value)
    return hash_of_model(value, with_template=field == "chat_template_path")


def _hash_of_task_data(task: str, evaluation: Mapping[str, Any]) -> str:
    folder = evaluation.get("data_dir")
    if folder is None or not task.startswith("local_"):
        return task
    return f"{task} {hash_of_file(str(Path(folder) / task.removeprefix('local_') / 'test.jsonl'))}"
