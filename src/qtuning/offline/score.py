"""Score a data set once: in this process, in those of ``accelerate launch``, or on Ray Data."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset

from ..errors import UsageError
from ..io.formats import columns_of
from ..io.models import load_causal_lm, load_tokenizer
from .columns import ScoreColumns
from .origin import Origin, origin_of
from .part_scorer import PartScorer, on_device
from .shards import Shards
from .source import Data

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class ScoreJob:
    """All that a process needs to score, as plain data.

    Attributes:
        model: A folder, a Hub id or a GGUF file.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Run model code from the Hub.
        where: What to call the data in messages.
        per_token: Write token statistics.
        float16: Those in float16.
        max_length: Tokens at which a row is cut.
        batch_size: Size of a forward pass, in rows as long as the longest of a part.
        rows_a_part: Rows that are sorted by length together, and written together.
        bf16: Autocast to bfloat16.
        assistant_only_loss: Of a conversation only assistant turns are answers.
        text_field: Column of plain text.
    """

    model: str
    revision: str | None = None
    trust_remote_code: bool = False
    where: str = "the data"
    per_token: bool = False
    float16: bool = False
    max_length: int = 1024
    batch_size: int = 8
    rows_a_part: int = 2048
    bf16: bool = False
    assistant_only_loss: bool = False
    text_field: str = "text"

    def _source(self) -> dict[str, Any]:
        return {"revision": self.revision, "trust_remote_code": self.trust_remote_code}

    def columns(self) -> ScoreColumns:
        """What is written."""
        return ScoreColumns(self.per_token, self.float16)

    def scorer(self) -> PartScorer:
        """The model, loaded."""
        options = self._source()
        tokenizer = load_tokenizer(self.model, **options)
        return PartScorer(on_device(load_causal_lm(self.model, **options)), tokenizer, self)

    def origin(self, data: Data) -> Origin:
        """What makes its scores."""
        options = self._source()
        fingerprint = data._fingerprint if isinstance(data, Dataset) else self.where
        return origin_of(
            self.model,
            self.revision,
            load_tokenizer(self.model, **options),
            fingerprint,
            max_length=self.max_length,
            dtype="bfloat16 autocast" if self.bf16 else "float32",
            text_field=self.text_field,
            assistant_only_loss=self.assistant_only_loss,
            per_token=self.per_token,
            float16=self.float16,
        )


def score(
    data: Data,
    output: Path,
    job: ScoreJob,
    *,
    engine: str = "local",
    workers: int = 2,
    told: Callable[[int], None] = lambda n: None,
) -> None:
    """Write the data with their scores; what is finished is not scored again.

    Args:
        data: The rows as loaded.
        output: The Parquet file.
        job: How to score.
        engine: One of ``ENGINES``.
        workers: Models that Ray holds at a time.
        told: Called with the number of rows whenever a part is done.

    Raises:
        UsageError: Unusable data, or an output of another origin.
    """
    job.columns().check(columns_of(data), job.where)
    shards = Shards(output, job.origin(data))
    if shards.done:
        return
    if engine == "ray":
        if not isinstance(data, Dataset):
            raise UsageError("--engine ray needs to know the rows: drop --dataset_streaming")
        from .ray_engine import score_on_ray

        score_on_ray(data, shards, job, workers, told)
        shards.merge(_parts(data, job.rows_a_part))
        return
    state = processes()
    rank, size = state.process_index, state.num_processes
    job.scorer()(
        data,
        shards,
        job.columns(),
        lambda number: number % size == rank,
        told,
        alone=size == 1,
    )
    state = processes()  # the trainer has made it anew
    state.wait_for_everyone()
    if state.is_main_process:
        shards.merge(_parts(data, job.rows_a_part))
    state.wait_for_everyone()


def processes() -> PartialState:
    """The processes of ``accelerate launch``.

    Without a GPU accelerate sees only one unless it is told that the CPU is meant.
    """
    return PartialState(cpu=not torch.cuda.is_available())


def _parts(data: Data, rows_a_part: int) -> int:
    """Number of parts; of a stream by reading it."""
    rows = len(data) if isinstance(data, Dataset) else sum(1 for _ in data)
    return -(-rows // rows_a_part)
