"""Runs the cells that are not done yet, several at a time where there is room."""

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

import torch

from .cell import RESULT
from .grid import Budget, Cell, Grid
from .key import cell_key, determined_by
from .record_file import read_record

CELLS = "cells"
_WORK = "work"


@dataclass
class Running:
    """A cell in its process; ``resolved`` is the cell with the ratios that it got."""

    cell: Cell
    resolved: Cell
    key: str
    process: subprocess.Popen[bytes]
    started: float
    device: int


class Runner:
    """Knows which cells are done, and runs the others.

    Every result is a file of its own, ``cells/<key>.json``, written whole; a call that is killed
    leaves nothing half done but a work folder, which is thrown away.
    """

    def __init__(self, grid: Grid, folder: Path, jobs: int, say: Callable[[str], None]) -> None:
        """Take what to run, where to write, how many at a time, and what to tell it with."""
        self.grid, self.folder, self.jobs, self._say = grid, folder, jobs, say
        (folder / CELLS).mkdir(parents=True, exist_ok=True)

    def result(self, cell: Cell) -> dict[str, Any] | None:
        """The record of a cell, None if it is not done or waits for another."""
        resolved = self.resolved(cell)
        if resolved is None:
            return None
        path = self._file(cell_key(determined_by(resolved, self.grid)))
        if not path.is_file():
            return None
        return read_record(path)

    def by_name(self) -> dict[str, dict[str, Any]]:
        """All records by the name of their cell, whatever determined them.

        For tables where the models and data are not at hand; where there are several of a name, the
        last of them by key.
        """
        files = sorted((self.folder / CELLS).glob("*.json"))
        records = [read_record(file) for file in files]
        return {record["cell"]: record for record in records}

    def resolved(self, cell: Cell) -> Cell | None:
        """The cell with its ratios: those of another's actual tokens, if it is to have as many.

        The token ratio is lowered, or where that would not do the sample ratio raised.
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
        """Run what is not done; returns the cells that failed."""
        cells = self.grid.cells()
        todo = [cell for cell in cells if self.result(cell) is None]
        self._say(f"{len(cells)} cells, {len(cells) - len(todo)} done")
        failed: list[Cell] = []
        running: list[Running] = []
        took: dict[str, list[float]] = {}
        started, total = time.perf_counter(), len(todo)
        try:
            while todo or running:
                while len(running) < self.jobs:
                    found = self._next(todo, running)
                    if found is None:
                        break
                    todo.remove(found[0])
                    running.append(self._start(*found, running))
                if not running:  # what is left waits for something that failed
                    failed += todo
                    break
                time.sleep(0.2)
                for one in [one for one in running if one.process.poll() is not None]:
                    running.remove(one)
                    if self._finish(one):
                        took.setdefault(kind(one.cell), []).append(
                            time.perf_counter() - one.started
                        )
                    else:
                        failed.append(one.cell)
                    left = self._left(todo, running, took)
                    done = total - len(todo) - len(running)
                    self._say(f"[{done}/{total}] {one.cell.name}{left}")
        finally:
            for one in running:
                one.process.terminate()
            for one in running:
                one.process.wait()
        if total:
            self._say(f"{total} cells in {(time.perf_counter() - started) / 60:.1f} min")
        return failed

    def _next(
        self, todo: Sequence[Cell], running: Sequence[Running]
    ) -> tuple[Cell, Cell, str] | None:
        """The first cell whose ratios are known and that nobody is running under another name.

        With it the cell with those ratios, and its key.
        """
        busy = {one.key for one in running}
        for cell in todo:
            resolved = self.resolved(cell)
            if resolved is not None:
                key = cell_key(determined_by(resolved, self.grid))
                if key not in busy:
                    return cell, resolved, key
        return None

    def _start(self, cell: Cell, resolved: Cell, key: str, running: Sequence[Running]) -> Running:
        work = self.folder / _WORK / key
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        device = min(set(range(self.jobs)) - {one.device for one in running})
        threads = None if torch.cuda.is_available() else max(1, (os.cpu_count() or 1) // self.jobs)
        job = {**self._job(resolved), "threads": threads}
        (work / "job.json").write_text(json.dumps(job, indent=1) + "\n", encoding="utf-8")
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
        if threads is not None:
            environment["OMP_NUM_THREADS"] = str(threads)
        else:
            environment["CUDA_VISIBLE_DEVICES"] = str(device % torch.cuda.device_count())
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
            "training": {**self.grid.training, **cell.data.training},
            "pruning": {**cell.method.pruning, **ratios},
            "seed": cell.seed,
            "evaluation": dict(self.grid.evaluation),
        }

    def _finish(self, one: Running) -> bool:
        work = self.folder / _WORK / one.key
        result = work / RESULT
        if one.process.returncode or not result.is_file():
            log = work / "log.txt"
            last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            self._say(f"FAILED {one.cell.name}: {''.join(last)} (all of it: {log})")
            return False
        record = {
            "key": one.key,
            "cell": one.cell.name,
            "model": one.cell.model,
            "data": one.cell.data.name,
            "method": one.cell.method.name,
            "budget": None if one.cell.budget is None else asdict(one.cell.budget),
            "ratios": None if one.resolved.budget is None else asdict(one.resolved.budget),
            "seed": one.cell.seed,
            "determined_by": determined_by(one.resolved, self.grid),
            **json.loads(result.read_text(encoding="utf-8")),
        }
        file = self._file(one.key)
        temporary = file.with_name(f".{file.name}.tmp")
        # One line: the metrics of single questions would be most of a long file.
        text = json.dumps(record, separators=(",", ":"))
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(file)
        shutil.rmtree(work)
        return True

    def _file(self, key: str) -> Path:
        return self.folder / CELLS / f"{key}.json"

    def _left(
        self, todo: Sequence[Cell], running: Sequence[Running], took: dict[str, list[float]]
    ) -> str:
        """The time that is left, guessed from cells alike."""
        if not took or not (todo or running):
            return ""
        everything = [seconds for some in took.values() for seconds in some]

        def guess(cell: Cell) -> float:
            return fmean(took.get(kind(cell), everything))

        now = time.perf_counter()
        left = sum(map(guess, todo))
        left += sum(max(0.0, guess(one.cell) - (now - one.started)) for one in running)
        return f", about {left / self.jobs / 60:.0f} min left"


def kind(cell: Cell) -> str:
    """Cells of a kind take about as long as each other."""
    return f"{cell.model} {cell.data.name} {cell.method.name}"


def jobs_with_room(model_bytes: int) -> int:
    """How many cells fit: one a GPU; on the CPU one for two cores, as memory allows."""
    if torch.cuda.is_available():
        return torch.cuda.device_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    # Weights, gradients, two moments of Adam, and as much again for activations.
    return max(1, min((os.cpu_count() or 1) // 2, memory // max(1, 8 * model_bytes)))
