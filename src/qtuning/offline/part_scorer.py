"""Scores the parts of a data set with a model, as a training run would at its start."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from accelerate.utils import send_to_device
from datasets import Dataset, IterableDataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import SFTTrainer

from ..examples.example import SAMPLE_ID, Example, answer_positions
from ..examples.grouping import pass_overhead
from ..examples.labels import Labels
from ..examples.prepare import prepared
from ..io.formats import Rows
from ..io.models import load_causal_lm, load_tokenizer
from ..signals.scorer import Scorer, Scores
from .columns import ScoreColumns
from .job import ScoreJob
from .shards import Shards
from .source import parts

Mine = Callable[[int], bool]


class PartScorer:
    """A model that scores parts; rows are made ready by TRL exactly as for training."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, job: ScoreJob
    ) -> None:
        """Take the model as it is loaded."""
        self._model, self._tokenizer, self._job = model, tokenizer, job

    @classmethod
    def of(cls, job: ScoreJob) -> "PartScorer":
        """The model of a job, loaded, on the GPU if there is one."""
        tokenizer = load_tokenizer(job.model, **job.source)
        return cls(_on_device(load_causal_lm(job.model, **job.source)), tokenizer, job)

    def __call__(
        self,
        data: Rows,
        shards: Shards,
        columns: ScoreColumns,
        mine: Mine,
        told: Callable[[int], None],
        *,
        alone: bool = True,
    ) -> None:
        """Score the parts that are mine and not finished, each into its shard.

        Args:
            data: The rows as loaded.
            shards: Where parts go.
            columns: What is written.
            mine: Whether a part, by its number, is to be scored here.
            told: Called with the number of rows whenever a part is done.
            alone: Whether no other process of a group does so at the same time. TRL's preparation
                of rows waits for the whole group, so without a part of its own a process prepares
                the first.

        Raises:
            UsageError: Rows that cannot be trained on.
        """
        rows_a_part = self._job.rows_a_part

        @functools.cache  # asked twice, and a shard may have come in between
        def wanted(number: int) -> bool:
            return mine(number) and not shards.has(number)

        chosen = _numbered(data, rows_a_part, wanted)
        if chosen is None and not alone:
            chosen = _numbered(data, rows_a_part, lambda number: number == 0)
        if chosen is None:
            return
        job = self._job
        with prepared(
            chosen, self._model, self._tokenizer, job.tokenising, where=job.where, bf16=job.bf16
        ) as trainer:
            scorer = self._scorer(trainer)
            examples = _Ahead(iter(trainer.train_dataset))
            for part in parts(data, rows_a_part, wanted):
                first = part.number * rows_a_part
                own = examples.below(first + part.rows.num_rows, first)
                scores = self._scores(scorer, trainer, own, part.rows.num_rows)
                shards.write(part.number, columns.add(part.rows, part.names, scores))
                told(part.rows.num_rows)

    def _scorer(self, trainer: SFTTrainer) -> Scorer:
        device = trainer.args.device
        return Scorer(
            collate=Labels(trainer.data_collator).collate,
            to_device=functools.partial(send_to_device, device=device),
            autocast=trainer.accelerator.autocast,
            batch_size=self._job.batch_size,
            overhead=pass_overhead(device.type),
        )

    def _scores(
        self, scorer: Scorer, trainer: SFTTrainer, examples: dict[int, Example], n: int
    ) -> list[Scores | None]:
        """Of each of ``n`` rows; None without answer tokens."""
        labels = Labels(trainer.data_collator)
        read = {place: labels.of(example) for place, example in examples.items()}
        counted = {
            place: (example, len(answer_positions(example["labels"])))
            for place, example in read.items()
        }
        counted = {place: pair for place, pair in counted.items() if pair[1]}
        model = trainer.model
        found = scorer(model, model, list(counted.values()))
        scores: list[Scores | None] = [None] * n
        for place, one in zip(counted, found, strict=True):
            scores[place] = one
        return scores


class _Ahead:
    """Tokenised examples in order, with a look at the next one."""

    def __init__(self, examples: Iterator[Example]) -> None:
        self._examples = examples
        self._next: Example | None = next(examples, None)

    def below(self, end: int, first: int) -> dict[int, Example]:
        """Those of rows before ``end``, by place from ``first`` on."""
        found = {}
        while self._next is not None and int(self._next[SAMPLE_ID]) < end:
            example = self._next
            found[int(example.pop(SAMPLE_ID)) - first] = example
            self._next = next(self._examples, None)
        return found


def _numbered(data: Rows, rows_a_part: int, wanted: Mine) -> Rows | None:
    """The rows of the parts wanted, named by their number; None if there are none."""
    if isinstance(data, Dataset):
        numbers = [i for i in range(len(data)) if wanted(i // rows_a_part)]
        if not numbers:
            return None
        chosen = data.select(numbers)
        if SAMPLE_ID in chosen.column_names:
            chosen = chosen.remove_columns(SAMPLE_ID)
        return chosen.add_column(SAMPLE_ID, list(map(str, numbers)))

    def rows() -> Iterator[dict[str, Any]]:
        for number, row in enumerate(data):
            if wanted(number // rows_a_part):
                yield {**row, SAMPLE_ID: str(number)}

    if next(itertools.islice(rows(), 1), None) is None:
        return None
    return IterableDataset.from_generator(rows)


def _on_device(model: PreTrainedModel) -> PreTrainedModel:
    """On the GPU if there is one."""
    return model.to("cuda") if torch.cuda.is_available() else model
