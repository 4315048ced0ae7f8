"""Score on Ray Data: actors that hold the model score one part after another."""

from collections.abc import Callable
from typing import Any

from datasets import Dataset

from ..io.extras import need
from .job import ScoreJob
from .part_scorer import PartScorer
from .shards import Shards


class _Actor:
    """A Ray worker with the model; a call scores the parts of a batch."""

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
    data: Dataset, shards: Shards, job: ScoreJob, workers: int | None, told: Callable[[int], None]
) -> None:
    """Score all parts that are not finished; the shards are the same as those of one process.

    Args:
        data: The rows as loaded.
        shards: The shards to write, on a disk that all workers can reach.
        job: The job of scoring.
        workers: Number of actors at a time; None for one a GPU of the cluster, or else 2.
        told: Called with the number of rows of each finished part.

    Raises:
        UsageError: Ray is not installed.
    """
    need("--engine ray", "ray", "ray")
    import ray

    n = -(-len(data) // job.rows_a_part)
    numbers = [number for number in range(n) if not shards.has(number)]
    if not numbers:
        return
    if not ray.is_initialized():
        ray.init()
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if gpus:
        workers = min(workers or gpus, gpus)  # more would wait for a GPU for ever
    source = ray.data.from_items(
        [{"id": number} for number in numbers], override_num_blocks=len(numbers)
    )
    results = source.map_batches(
        _Actor,
        fn_constructor_args=(data, shards, job),
        batch_size=1,
        concurrency=min(workers or 2, len(numbers)),
        num_gpus=1 if gpus else None,
    )
    for row in results.iter_rows():
        first = int(row["id"]) * job.rows_a_part
        told(min(job.rows_a_part, len(data) - first))
