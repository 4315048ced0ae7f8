"""The runner of a grid: runs the unfinished cells, several at a time if they fit."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from . import work
from .gpus import visible_gpus
from .grid import Budget, Cell, Data, Grid
from .key import cell_key, determined_by
from .made_with import made_with_here, refuse_mixed
from .needed import Needed
from .record_file import read_record, read_untrained
from .uninterrupted import uninterrupted
from .work import CELL, Running, Work

CELLS, BEFORE = "cells", "before"
_WORK = "work"


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
        self._needed = Needed(grid, folder / BEFORE)

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
        One with ``compute_of`` keeps as large a share of the samples as the other's compute, which
        includes its scoring, is of full training's: all, if that is more.
        """
        if cell.method.follows is None or cell.budget is None:
            return cell
        other = replace(cell, method=self.grid.methods[cell.method.follows])
        record = self.result(other)
        if record is None:
            return None
        if cell.method.compute_of is not None:
            compute = min(1.0, round(record["cost"]["compute"], 3))
            return replace(cell, budget=Budget(compute, cell.budget.token_ratio))
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
        total, started = len(todo), time.perf_counter()
        failed = self._run(todo)
        if total:
            self._say(f"{total} cells in {(time.perf_counter() - started) / 60:.1f} min")
        return failed

    def _run(self, todo: list[Cell]) -> list[Cell]:
        """Run cells, and before each of them what it needs; return the cells that failed."""
        running: dict[str, Running] = {}
        cell_of: dict[str, Cell] = {}
        failed: dict[str, Cell | None] = {}
        seconds_of_kind: dict[str, list[float]] = {}
        total = len(todo)
        try:
            while todo or running:
                while len(running) < self.jobs:
                    ready = self._next(todo, {*running, *failed})
                    if ready is None:
                        break
                    one, cell = ready
                    if cell is not None:
                        todo.remove(cell)
                        cell_of[one.key] = cell
                    with uninterrupted():  # a process that is not yet listed would go on alone
                        running[one.key] = self._start(one, list(running.values()))
                if not running:  # the remaining cells depend on what failed
                    break
                time.sleep(0.2)
                for job in [job for job in running.values() if job.process.poll() is not None]:
                    del running[job.work.key]
                    seconds = time.perf_counter() - job.started
                    if self._finish(job):
                        seconds_of_kind.setdefault(job.work.kind, []).append(seconds)
                    else:
                        failed[job.work.key] = cell_of.get(job.work.key)
                    left = self._left(todo, list(running.values()), seconds_of_kind)
                    n_running = sum(key in cell_of for key in running)
                    finished = total - len(todo) - n_running
                    self._say(f"[{finished}/{total}] {job.work.name} ({seconds:.0f} s){left}")
        finally:
            work.end_all(list(running.values()))
        return [*(cell for cell in failed.values() if cell is not None), *todo]

    def _next(self, todo: Sequence[Cell], taken: set[str]) -> tuple[Work, Cell | None] | None:
        """Return the next work, and its cell if it is one.

        Cells that wait for another cell's ratios, or for what runs or has failed, are skipped, and
        so are those whose key is running under another name; None if nothing is left to start.
        """
        for cell in todo:
            resolved = self.resolved(cell)
            if resolved is None:
                continue
            missing = [one for one in self._needed.of(resolved) if not one.done]
            if not missing:
                one = self._work(cell, resolved)
                if one.key not in taken:
                    return one, cell
            for one in missing:
                if one.key not in taken:
                    return one, None
        return None

    def _start(self, one: Work, running: Sequence[Running]) -> Running:
        slot = min(set(range(self.jobs)) - {job.slot for job in running})
        one.file.parent.mkdir(exist_ok=True)
        return work.start(one, self.folder / _WORK / one.key, slot, self.jobs)

    def _work(self, cell: Cell, resolved: Cell) -> Work:
        """Return the work of a cell, given the cell with its actual ratios."""
        determined = determined_by(resolved, self.grid)
        key = cell_key(determined)
        return Work(
            name=cell.name,
            kind=kind(cell),
            key=key,
            job=self._job(resolved),
            file=self._file(key),
            facts={
                "key": key,
                "cell": cell.name,
                "model": cell.model,
                "data": cell.data.name,
                "method": cell.method.name,
                "budget": None if cell.budget is None else asdict(cell.budget),
                "ratios": None if resolved.budget is None else asdict(resolved.budget),
                "seed": cell.seed,
                "determined_by": determined,
            },
        )

    def _job(self, cell: Cell) -> dict[str, Any]:
        ratios = {} if cell.budget is None else asdict(cell.budget)
        scores = self._needed.scores(cell)
        untrained = self._needed.untrained(cell)
        return {
            "does": CELL,
            "model": self.grid.models[cell.model],
            "data": asdict(cell.data),
            "train": cell.method.train,
            "training": self._training(cell.data),
            "pruning": {**cell.method.pruning, **ratios},
            "seed": cell.seed,
            "evaluation": dict(self.grid.evaluation),
            "before": {name: read_untrained(one.file) for name, one in untrained.items()},
            "scores": None if scores is None else str(*scores.keeps.values()),
            "share_of_rows": cell.share_of_rows,
        }

    def _training(self, data: Data) -> dict[str, Any]:
        return {**self.grid.training, **data.training}

    def _made_with(self, data: Data) -> dict[str, Any]:
        return made_with_here(data, self._training(data))

    def _finish(self, job: Running) -> bool:
        if not job.succeeded:
            self._say(f"FAILED {job.work.name}: {job.said_last()}")
            return False
        job.keep()
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

        def guess(of: str) -> float:
            return fmean(seconds_of_kind.get(of, all_seconds))

        now = time.perf_counter()
        left = sum(guess(kind(cell)) for cell in todo)
        left += sum(max(0.0, guess(job.work.kind) - (now - job.started)) for job in running)
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
