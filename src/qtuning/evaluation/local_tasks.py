"""Benchmark tasks over local JSON Lines files, for machines without a hub.

The tasks are lm-evaluation-harness's own kind of YAML, in ``tasks/``; what they lack is where the
data lie.
"""

from collections.abc import Iterable
from pathlib import Path

import yaml

from ..errors import UsageError

FOLDER = Path(__file__).with_name("tasks")
PREFIX = "local_"


def local_tasks() -> dict[str, Path]:
    """Name of each local task, and its YAML."""
    return {f"{PREFIX}{path.stem}": path for path in sorted(FOLDER.glob("*.yaml"))}


def write_local_tasks(names: Iterable[str], data_dir: Path | None, folder: Path) -> None:
    """Write tasks that name their data into a folder that the harness then reads.

    Args:
        names: Names of ``local_tasks``.
        data_dir: Where ``<data set>/test.jsonl`` is.
        folder: To write to.

    Raises:
        UsageError: No such task, or its data are not there.
    """
    known = local_tasks()
    for name in names:
        if name not in known:
            raise UsageError(f"unknown task {name}; local tasks are {', '.join(known)}")
        if data_dir is None:
            raise UsageError(f"task {name} needs --data_dir, the folder with its data")
        task = yaml.safe_load(_without_functions(known[name]))
        files = {
            split: (data_dir / file).resolve()
            for split, file in task["dataset_kwargs"]["data_files"].items()
        }
        for path in files.values():
            if not path.is_file():
                raise UsageError(f"task {name}: no file {path}; point --data_dir at its folder")
        written = {
            "include": str(known[name]),
            "task": name,
            "dataset_kwargs": {"data_files": {split: str(path) for split, path in files.items()}},
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(written))


def _without_functions(path: Path) -> str:
    """The YAML as plain data: the harness's ``!function`` tag is left to the harness."""
    return path.read_text(encoding="utf-8").replace("!function ", "")
