"""Benchmark tasks over local JSON Lines files, for machines without access to the Hub.

The tasks are YAML files of lm-evaluation-harness, in the folder ``tasks``, without the paths of
their data: ``write_local_tasks`` adds the paths.
"""

from collections.abc import Iterable
from pathlib import Path

import yaml

from ..errors import UsageError

FOLDER = Path(__file__).with_name("tasks")
PREFIX = "local_"


def local_tasks() -> dict[str, Path]:
    """Return the YAML file of each local task by the task's name."""
    return {f"{PREFIX}{path.stem}": path for path in sorted(FOLDER.glob("*.yaml"))}


def write_local_tasks(names: Iterable[str], data_dir: Path | None, folder: Path) -> None:
    """Write local tasks with the paths of their data into a folder that the harness reads.

    Args:
        names: Names of tasks, from ``local_tasks``.
        data_dir: Folder with ``<data set>/test.jsonl``.
        folder: Folder to write to.

    Raises:
        UsageError: A task is unknown, ``data_dir`` is None, or the data of a task are missing.
    """
    yaml_files = local_tasks()
    for name in names:
        if name not in yaml_files:
            raise UsageError(f"unknown task {name}; local tasks are {', '.join(yaml_files)}")
        if data_dir is None:
            raise UsageError(f"task {name} needs --data_dir, the folder with its data")
        task = yaml.safe_load(_without_functions(yaml_files[name]))
        files = {
            split: (data_dir / file).resolve()
            for split, file in task["dataset_kwargs"]["data_files"].items()
        }
        for path in files.values():
            if not path.is_file():
                raise UsageError(f"task {name}: no file {path}; point --data_dir at its folder")
        task_with_data = {
            "include": str(yaml_files[name]),
            "task": name,
            "dataset_kwargs": {"data_files": {split: str(path) for split, path in files.items()}},
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(task_with_data))


def _without_functions(path: Path) -> str:
    """Return the YAML's text without ``!function`` tags, which only the harness can resolve."""
    return path.read_text(encoding="utf-8").replace("!function ", "")
