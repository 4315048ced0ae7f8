"""Score a data set: in this process, in those of ``accelerate launch``, or on Ray Data."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import PartialState
from datasets import Dataset
from rich.progress import Progress

from ..errors import UsageError
from ..examples.token_weights import has_weights
from ..io.formats import Rows, columns_of
from ..io.image_rows import has_images, placed
from ..precision import device_in_use, precision_line
from .ahead import Waiting
from .job import ScoreJob
from .part_scorer import PartScorer
from .shards import Shards

ENGINES = ("local", "ray")


def score(
    data: Rows,
    output: Path,
    job: ScoreJob,
    *,
    engine: str = "local",
    workers: int | None = None,
    told: Callable[[int], None] = lambda n: None,
) -> Waiting | None:
    """Write a data set with its scores; finished parts are not scored again.

    Args:
        data: The rows as loaded.
        output: The Parquet file to write.
        job: The job of scoring.
        engine: One of ``ENGINES``.
        workers: Number of models that Ray holds at a time; None for one a GPU, or else 2.
        told: Called with the number of rows whenever a part is finished.

    Returns:
        How long this process's model waited for rows; None where it scored nothing itself.

    Raises:
        UsageError: The data cannot be used, or the output holds scores of another origin.
    """
    with_images = has_images(data)
    if job.without_images and not with_images:
        raise UsageError(
            f"{job.where}: --without_images on data without a column images or image: leave it out"
        )
    if job.by_turn and with_images:
        raise UsageError(
            f"{job.where}: prune_unit turn on data with images: set prune_unit to sample"
        )
    if with_images:
        data = placed(data, job.where)  # scores are written, and read, in other folders
    job = replace(job, weighted=has_weights(data))
    job.columns().check(columns_of(data), job.where)
    shards = Shards(output, job.origin(data))
    if shards.done:
        return None
    if engine == "ray":
        if not isinstance(data, Dataset):
            raise UsageError("--engine ray needs to know the rows: drop --dataset_streaming")
        from .ray_engine import score_on_ray

        score_on_ray(data, shards, job, workers, told)
        shards.merge(_parts(data, job.rows_a_part))
        return None
    waiting = Waiting()
    state = processes()
    rank, size = state.process_index, state.num_processes
    PartScorer.of(job)(
        data,
        shards,
        job.columns(),
        lambda number: number % size == rank,
        told,
        alone=size == 1,
        waiting=waiting,
    )
    state = processes()  # the trainer has reset accelerate's state
    state.wait_for_everyone()
    if state.is_main_process:
        shards.merge(_parts(data, job.rows_a_part))
    state.wait_for_everyone()
    return waiting


def score_with_bar(
    data: Rows,
    output: Path,
    job: ScoreJob,
    *,
    progress: bool = True,
    engine: str = "local",
    workers: int | None = None,
) -> None:
    """Run ``score`` with a progress bar, between a line on the precision and one on waiting.

    Args:
        data: The rows as loaded.
        output: The Parquet file to write.
        job: The job of scoring.
        progress: Whether to print the lines and the bar.
        engine: One of ``ENGINES``.
        workers: Number of models that Ray holds at a time; None for one a GPU, or else 2.

    Raises:
        UsageError: The data cannot be used, or the output holds scores of another origin.
    """
    line = precision_line(device_in_use(), bf16=job.bf16) if progress else None
    if line is not None and processes().is_local_main_process:
        print(line)
    total = len(data) if isinstance(data, Dataset) else None
    with Progress(disable=not progress) as bars:
        bar = bars.add_task("scoring", total=total)
        waiting = score(
            data,
            output,
            job,
            engine=engine,
            workers=workers,
            told=lambda n: bars.advance(bar, n),
        )
    if progress and waiting is not None and processes().is_local_main_process:
        print(waiting)


def processes() -> PartialState:
    """The state of the processes of ``accelerate launch``.

    Without a GPU, accelerate sees several processes only with ``cpu=True``.
    """
    return PartialState(cpu=not torch.cuda.is_available())


def _parts(data: Rows, rows_a_part: int) -> int:
    """Number of parts of a data set; a stream is read to count its rows."""
    rows = len(data) if isinstance(data, Dataset) else sum(1 for _ in data)
    return -(-rows // rows_a_part)
