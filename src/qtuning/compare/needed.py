"""What cells need of the untrained model: computed once for each model and rows, before them."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..arguments import PruningArguments
from ..examples.tokenising import OPTIONS
from ..io.yaml_files import names_own_code
from ..pruners.protocols import SAMPLE_EXTRAS
from ..pruners.protocols import SCORES as READS_SCORES
from ..pruners.registry import resolve_sample_pruner
from .grid import Cell, Data, Grid
from .hashes import hash_of_model
from .key import cell_key, determined_by, determined_rows, with_hashes
from .made_with import made_with_here
from .other_rows import OtherRows
from .work import Work

UNTRAINED, SCORED = "untrained", "scores"
SCORES = "scores.parquet"
_PASS = (*OPTIONS, "bf16", "fp16", "use_cpu", "per_device_eval_batch_size")
"""Fields of ``QTuningConfig`` that determine a forward pass over rows; all others are left out."""


class Needed:
    """What cells need beforehand, in a folder of its own."""

    def __init__(self, grid: Grid, folder: Path) -> None:
        """Remember the folder.

        Args:
            grid: The grid of the cells.
            folder: Folder for the results; it need not exist.
        """
        self._grid, self._folder = grid, folder
        self._made: dict[str, Work] = {}

    def of(self, cell: Cell) -> list[Work]:
        """All that a cell needs."""
        scores = self.scores(cell)
        return [*self.untrained(cell).values(), *([] if scores is None else [scores])]

    def untrained(self, cell: Cell) -> dict[str, Work]:
        """The untrained model's NLL on other rows, by the name of the rows."""
        return {one.name: self._untrained(cell, one) for one in cell.data.forgetting}

    def scores(self, cell: Cell) -> Work | None:
        """The untrained model's scores of the training rows; None for a cell that reads none."""
        if not needs_scores(cell):
            return None
        name = f"{cell.model}, {cell.data.name}: {SCORED}"
        if name not in self._made:
            draw = ("train", "train_rows", "row_seed", "prompt_end", "shuffled")
            data = determined_by(cell, self._grid)["data"]
            rows = {key: data[key] for key in draw}
            job = {"data": asdict(cell.data)}
            self._made[name] = self._work(SCORED, name, cell, rows, job, keeps=SCORES)
        return self._made[name]

    def _untrained(self, cell: Cell, other: OtherRows) -> Work:
        name = f"{cell.model}, {other.name}: {UNTRAINED} (for {cell.data.name})"
        if name not in self._made:
            job = {"rows": asdict(other)}
            self._made[name] = self._work(UNTRAINED, name, cell, determined_rows(other), job)
        return self._made[name]

    def _work(
        self,
        does: str,
        name: str,
        cell: Cell,
        rows: Mapping[str, Any],
        job: Mapping[str, Any],
        keeps: str | None = None,
    ) -> Work:
        all_training = {**self._grid.training, **cell.data.training}
        training = {field: all_training[field] for field in _PASS if field in all_training}
        model = self._grid.models[cell.model]
        determined = {
            "does": does,
            "model": hash_of_model(model, with_template=True),
            "rows": rows,
            "training": with_hashes(training),
            "made_with": made_with_here(Data("rows", ()), training),
        }
        key = cell_key(determined)
        return Work(
            name=name,
            kind=name,
            key=key,
            job={"does": does, "model": model, "training": training, **job},
            file=self._folder / f"{key}.json",
            facts={"key": key, "name": name, "determined_by": determined},
            keeps={} if keeps is None else {keeps: self._folder / f"{key}.parquet"},
        )


def needs_scores(cell: Cell) -> bool:
    """Whether a cell reads scores that are made before training."""
    if cell.method.scored_before:
        return True
    if cell.method.data_ratio is None:
        return False
    pruner = cell.method.pruning.get("sample_pruner", PruningArguments.sample_pruner)
    if names_own_code("sample_pruner", pruner):
        return True  # what it reads is not known without running it
    return bool(resolve_sample_pruner(pruner).needs & {READS_SCORES, *SAMPLE_EXTRAS})
