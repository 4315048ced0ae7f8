"""What the untrained model says, computed once for all cells: the process side of ``needed.py``."""

from pathlib import Path
from typing import Any

from ..evaluation.held_out import held_out
from ..examples.tokenising import Tokenising
from ..offline.job import ScoreJob
from ..offline.score import score
from ..precision import use_bf16
from ..training.config import QTuningConfig
from .cell import as_dataset, make_trainer
from .grid import Data
from .made_with import default_use_cpu
from .needed import SCORES
from .other_rows import OtherRows
from .rows import held_out_rows, training_rows


def untrained_nll(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Measure the NLL of the untrained model on other rows, as a cell does after training."""
    rows = held_out_rows(OtherRows.of(job["rows"]))
    data = Data("untrained", ())
    whole = {**job, "seed": 0, "pruning": {}, "share_of_rows": None, "scores": None}
    trainer = make_trainer(whole, data, rows, {"rows": rows}, folder / "run")
    return held_out(trainer, trainer.eval_dataset["rows"]).to_dict()


def scores_of_rows(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Score training rows with the untrained model, also without prompts, into a Parquet file."""
    config: Any = QTuningConfig(
        output_dir=str(folder / "run"), **{"use_cpu": default_use_cpu(), **job["training"]}
    )
    how = ScoreJob(
        model=job["model"],
        where="the training rows",
        alone=True,
        bf16=use_bf16(config.bf16, use_cpu=config.use_cpu, fp16=config.fp16),
        tokenising=Tokenising.of(config),
    )
    rows = as_dataset(training_rows(Data.of(job["data"])))
    score(rows, folder / SCORES, how)
    return {"rows": len(rows)}
