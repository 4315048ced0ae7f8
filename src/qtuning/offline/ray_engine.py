"""Scoring on Ray Data: parts are handed to actors that hold the model."""

from collections.abc import Callable
from typing import Any

from datasets import Dataset

from ..io.extras import need
from .job import ScoreJob
from .part_scorer import PartScorer
from .shards import Shards


class _Actor:
    """A worker with the model; scores the parts that it is handed."""

    def __init__(self, data: Dataset, shards: Shards, job: ScoreJob) -> None:
        self._data, self._shards, self._job = data, shards, job
        self._scorer = PartScorer.of(job)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        numbers = {int(number) for number in batch["id"]}
        self._scorer(
            self._data, self._shards, self._job.columns(), numbers.__contains__, lambda n: None
        )
        return batch


def score_on_ray(
    data: Dataset, shards: Shards, job: ScoreJob, workers: int, told: Callable[[int], None]
) -> None:
    """Score all parts that are not finished; the shards are the same as those of one process.

    Args:
        data: The rows as loaded.
        shards: Where parts go, on a disk that all workers see.
        job: How to score.
        workers: Actors at a time.
        told: Called with the number of rows of each finished part.

    Raises:
        UsageError: Ray is not installed.
    """
    need("--engine ray", "ray", "ray")
    import ray

    n = -(-len(data) // job.rows_a_part)
    left = [number for number in range(n) if not shards.has(number)]
    if not left:
        return
    source = ray.data.from_items([{"id": number} for number in left], override_num_blocks=len(left))
    done = source.map_batches(
        _Actor,
        fn_constructor_args=(data, shards, job),
        batch_size=1,
        concurrency=min(workers, len(left)),
    )
    for row in done.iter_rows():
        first = int(row["id"]) * job.rows_a_part
        told(min(job.rows_a_part, len(data) - first))
