"""A piece of work for a process of its own: a cell, or what cells need beforehand."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .gpus import VISIBLE, visible_gpus

CELL = "cell"
RESULT = "result.json"
_LOG = "log.txt"
_PATIENCE = 10.0  # seconds that a process has to end by itself


@dataclass(frozen=True)
class Work:
    """A piece of work.

    Attributes:
        name: Name in messages.
        kind: Work of the same kind takes about the same time.
        key: Hash of all that determines the result.
        job: What the process is told, see ``process.py``.
        file: The record, which is there once the work is done.
        facts: What the record says besides the result.
        keeps: Files that the process makes in its folder, and where they go before the record.
    """

    name: str
    kind: str
    key: str
    job: Mapping[str, Any]
    file: Path
    facts: Mapping[str, Any] = field(default_factory=dict)
    keeps: Mapping[str, Path] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether the record and all kept files are there."""
        return all(path.is_file() for path in (self.file, *self.keeps.values()))


@dataclass
class Running:
    """Work in its process, which is one of several that run at a time.

    Attributes:
        work: The work.
        folder: Folder of the process.
        process: The process.
        started: When it was started, by ``time.perf_counter``.
        slot: Its number among those that run at a time, from 0.
    """

    work: Work
    folder: Path
    process: subprocess.Popen[bytes]
    started: float
    slot: int

    @property
    def succeeded(self) -> bool:
        """Whether the process has ended with a result."""
        return not self.process.returncode and (self.folder / RESULT).is_file()

    def said_last(self) -> str:
        """The last line that the process said, and where all of it is."""
        log = self.folder / _LOG
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"{''.join(lines[-1:])} (all of it: {log})"

    def keep(self) -> None:
        """Write the record of a process that succeeded, whole or not at all; remove its folder."""
        for name, place in self.work.keeps.items():
            (self.folder / name).replace(place)
        result = json.loads((self.folder / RESULT).read_text(encoding="utf-8"))
        file = self.work.file
        temporary = file.with_name(f".{file.name}.tmp")
        # One line: indented, the metrics of single questions would take a line each.
        text = json.dumps({**self.work.facts, **result}, separators=(",", ":"))
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(file)
        shutil.rmtree(self.folder)


def start(work: Work, folder: Path, slot: int, jobs: int) -> Running:
    """Start the process of a piece of work; several share a GPU if there are more than GPUs.

    Args:
        work: The work.
        folder: Folder for the process; what an earlier one left there is deleted.
        slot: Its number among those that run at a time, from 0.
        jobs: How many run at a time.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    job = {**work.job, "threads": threads}
    (folder / "job.json").write_text(json.dumps(job, indent=1) + "\n", encoding="utf-8")
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": str(threads)}
    if gpus := visible_gpus():
        environment[VISIBLE] = gpus[slot % len(gpus)]
    command = [sys.executable, "-m", "qtuning.compare.process", str(folder / "job.json")]
    with (folder / _LOG).open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    return Running(work, folder, process, time.perf_counter(), slot)


def end_all(running: Sequence[Running]) -> None:
    """End processes and wait for them; one that does not end by itself is killed."""
    for one in running:
        one.process.terminate()
    deadline = time.perf_counter() + _PATIENCE
    while time.perf_counter() < deadline and any(one.process.poll() is None for one in running):
        time.sleep(0.05)
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()
