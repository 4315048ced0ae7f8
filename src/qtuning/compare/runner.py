"""The runner of a grid: runs the unfinished cells, several at a time if they fit."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from .cell import RESULT
from .gpus import VISIBLE, visible_gpus
from .grid import Budget, Cell, Data, Grid
from .key import cell_key, determined_by
from .made_with import made_with_here, refuse_mixed
from .record_file import read_record
from .uninterrupted import uninterrupted

CELLS = "cells"
_WORK = "work"


@dataclass
class Running:
    """A cell in its process; ``resolved`` is the cell with its actual ratios."""

    cell: Cell
    resolved: Cell
    key: str
    process: subprocess.Popen[bytes]
    started: float
    device: int


class Runner:
    """A runner of a grid's cells that skips the cells with a result on disk.

    Every result is a file of its own, ``cells/<key>.json``, written whole. A killed call leaves
    only work folders behind, which the next run of their cells deletes.
    """

    def __init__(self, grid: Grid, folder: Path, jobs: int, say: Callable[[str], None]) -> None:
        """Prepare the output folder.

        Args:
            grid: The grid to run.
            folder: Output folder, created if it is missing.
            jobs: Number of cells that run at the same time.
            say: Function that prints a line of progress.
        """
        self.grid, self.folder, self.jobs, self._say = grid, folder, jobs, say
        (folder / CELLS).mkdir(parents=True, exist_ok=True)

    def result(self, cell: Cell) -> dict[str, Any] | None:
        """Return the record of a cell; None if the cell, or a cell it depends on, has not run."""
        resolved = self.resolved(cell)
        if resolved is None:
            return None
        path = self._file(cell_key(determined_by(resolved, self.grid)))
        if not path.is_file():
            return None
        return read_record(path)

    def by_name(self) -> dict[str, dict[str, Any]]:
        """Return all records by the name of their cell, whatever the cell's key is.

        Keys need the models and data, which a machine that only makes tables may not have. Of
        several records with the same name, the last one by key is returned.
        """
        files = sorted((self.folder / CELLS).glob("*.json"))
        records = [read_record(file) for file in files]
        return {record["cell"]: record for record in records}

    def resolved(self, cell: Cell) -> Cell | None:
        """Return the cell with its actual ratios; None if they depend on a cell that has not run.

        A method with ``tokens_of`` trains on as many answer tokens as the other method did: the
        token ratio is set accordingly. If it would exceed 1, the sample ratio is raised instead.
        """
        if cell.method.tokens_of is None or cell.budget is None:
            return cell
        other = replace(cell, method=self.grid.methods[cell.method.tokens_of])
        record = self.result(other)
        if record is None:
            return None
        share = record["cost"]["answer_tokens"]
        ratio = cell.budget.sample_ratio
        budget = Budget(ratio, round(share / ratio, 3))
        if share > ratio:
            budget = Budget(round(share, 3), 1.0)
        return replace(cell, budget=budget)

    def run(self) -> list[Cell]:
        """Run the cells without a result; return the cells that failed.

        Raises:
            UsageError: Cells would be mixed with finished ones that are made otherwise, see
                ``refuse_mixed``.
        """
        cells = self.grid.cells()
        found = [(cell, self.result(cell)) for cell in cells]
        todo = [cell for cell, record in found if record is None]
        if todo:
            done = [(cell, record) for cell, record in found if record is not None]
            refuse_mixed(done, self.folder, self._made_with)
        self._say(f"{len(cells)} cells, {len(cells) - len(todo)} done")
        failed: list[Cell] = []
        running: list[Running] = []
        seconds_of_kind: dict[str, list[float]] = {}
        started, total = time.perf_counter(), len(todo)
        try:
            while todo or running:
                while len(running) < self.jobs:
                    ready = self._next(todo, running)
                    if ready is None:
                        break
                    todo.remove(ready[0])
                    with uninterrupted():  # a process that is not yet listed would go on alone
                        running.append(self._start(*ready, running))
                if not running:  # the remaining cells depend on a cell that failed
                    failed += todo
                    break
                time.sleep(0.2)
                for job in [job for job in running if job.process.poll() is not None]:
                    running.remove(job)
                    if self._finish(job):
                        seconds_of_kind.setdefault(kind(job.cell), []).append(
                            time.perf_counter() - job.started
                        )
                    else:
                        failed.append(job.cell)
                    left = self._left(todo, running, seconds_of_kind)
                    finished = total - len(todo) - len(running)
                    self._say(f"[{finished}/{total}] {job.cell.name}{left}")
        finally:
            for job in running:
                job.process.terminate()
            for job in running:
                job.process.wait()
        if total:
            self._say(f"{total} cells in {(time.perf_counter() - started) / 60:.1f} min")
        return failed

    def _next(
        self, todo: Sequence[Cell], running: Sequence[Running]
    ) -> tuple[Cell, Cell, str] | None:
        """Return the next cell to run, the cell with its actual ratios, and the cell's key.

        Cells that wait for the ratios of another cell, and cells whose key is running under another
        name, are skipped; None if no cell is left.
        """
        running_keys = {job.key for job in running}
        for cell in todo:
            resolved = self.resolved(cell)
            if resolved is not None:
                key = cell_key(determined_by(resolved, self.grid))
                if key not in running_keys:
                    return cell, resolved, key
        return None

    def _start(self, cell: Cell, resolved: Cell, key: str, running: Sequence[Running]) -> Running:
        work = self.folder / _WORK / key
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        device = min(set(range(self.jobs)) - {job_running.device for job_running in running})
        gpus = visible_gpus()
        threads = None if gpus else max(1, (os.cpu_count() or 1) // self.jobs)
        job = {**self._job(resolved), "threads": threads}
        (work / "job.json").write_text(json.dumps(job, indent=1) + "\n", encoding="utf-8")
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
        if threads is not None:
            environment["OMP_NUM_THREADS"] = str(threads)
        else:
            environment[VISIBLE] = gpus[device % len(gpus)]
        command = [sys.executable, "-m", "qtuning.compare.cell", str(work / "job.json")]
        with (work / "log.txt").open("wb") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        return Running(cell, resolved, key, process, time.perf_counter(), device)

    def _job(self, cell: Cell) -> dict[str, Any]:
        ratios = {} if cell.budget is None else asdict(cell.budget)
        return {
            "model": self.grid.models[cell.model],
            "data": asdict(cell.data),
            "train": cell.method.train,
            "training": self._training(cell.data),
            "pruning": {**cell.method.pruning, **ratios},
            "seed": cell.seed,
            "evaluation": dict(self.grid.evaluation),
        }

    def _training(self, data: Data) -> dict[str, Any]:
        return {**self.grid.training, **data.training}

    def _made_with(self, data: Data) -> dict[str, Any]:
        return made_with_here(data, self._training(data))

    def _finish(self, job: Running) -> bool:
        work = self.folder / _WORK / job.key
        result = work / RESULT
        if job.process.returncode or not result.is_file():
            log = work / "log.txt"
            last_line = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            self._say(f"FAILED {job.cell.name}: {''.join(last_line)} (all of it: {log})")
            return False
        record = {
            "key": job.key,
            "cell": job.cell.name,
            "model": job.cell.model,
            "data": job.cell.data.name,
            "method": job.cell.method.name,
            "budget": None if job.cell.budget is None else asdict(job.cell.budget),
            "ratios": None if job.resolved.budget is None else asdict(job.resolved.budget),
            "seed": job.cell.seed,
            "determined_by": determined_by(job.resolved, self.grid),
            **json.loads(result.read_text(encoding="utf-8")),
        }
        file = self._file(job.key)
        temporary = file.with_name(f".{file.name}.tmp")
        # One line: indented, the metrics of single questions would take a line each.
        text = json.dumps(record, separators=(",", ":"))
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(file)
        shutil.rmtree(work)
        return True

    def _file(self, key: str) -> Path:
        return self.folder / CELLS / f"{key}.json"

    def _left(
        self,
        todo: Sequence[Cell],
        running: Sequence[Running],
        seconds_of_kind: dict[str, list[float]],
    ) -> str:
        """Return the time that is left as text, estimated from finished cells of the same kind."""
        if not seconds_of_kind or not (todo or running):
            return ""
        all_seconds = [seconds for times in seconds_of_kind.values() for seconds in times]

        def guess(cell: Cell) -> float:
            return fmean(seconds_of_kind.get(kind(cell), all_seconds))

        now = time.perf_counter()
        left = sum(map(guess, todo))
        left += sum(max(0.0, guess(job.cell) - (now - job.started)) for job in running)
        return f", about {left / self.jobs / 60:.0f} min left"


def kind(cell: Cell) -> str:
    """Return the kind of a cell: cells of the same kind take about the same time."""
    return f"{cell.model} {cell.data.name} {cell.method.name}"


def jobs_with_room(model_bytes: int) -> int:
    """Return how many cells fit: one per GPU; on the CPU one per two cores, as memory allows."""
    if gpus := visible_gpus():
        return len(gpus)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    # Weights, gradients, two moments of Adam, and the same amount again for activations.
    return max(1, min((os.cpu_count() or 1) // 2, memory // max(1, 8 * model_bytes)))
