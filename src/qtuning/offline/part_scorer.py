"""Score the parts of a data set with a model, as a training run would at its start."""

import functools
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from typing import Any, NamedTuple

import torch
from datasets import Dataset, Features, IterableDataset, Value
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import SFTTrainer

from ..examples.adapter import labels_of
from ..examples.candidate import ENTROPY_ALL
from ..examples.end_of_turn import end_of_turn_ids, turn_ends
from ..examples.example import SAMPLE_ID, Example, answer_positions
from ..examples.labels import Labels
from ..examples.pass_size import pass_size
from ..examples.pictures import as_stored, undecoded
from ..examples.prepare import prepared
from ..examples.turn_examples import of_turn
from ..examples.turns import Turn, take_turns
from ..io.formats import Rows
from ..io.image_rows import has_images
from ..io.models import load_causal_lm, load_tokenizer
from ..io.processors import load_processor
from ..io.weights import LOSS_WEIGHT
from ..signals.noisy_copies import Spread, score_noisy_copies
from ..signals.pass_limit import PassLimit
from ..signals.score_columns import ALONE
from ..signals.scorer import Scorer
from ..signals.to_device import to_device
from ..signals.without_image import score_blind
from ..signals.without_prompt import Alone, score_alone
from .ahead import Waiting, ahead
from .columns import ScoreColumns, ScoredRow
from .job import ROWS, ScoreJob
from .shards import Shards
from .source import Part, parts

logger = logging.getLogger(__name__)

Mine = Callable[[int], bool]


class _Answered(NamedTuple):
    """A tokenised row that has answer tokens.

    Attributes:
        place: Number of the row within its part, from 0.
        example: The row with its labels.
        answers: Positions of the answer tokens, ``(T,)``.
        ends: Which answer tokens end a turn, ``(T,)`` bool.
        weights: Users' weights of the answer tokens, ``(T,)``; None for 1.
        turns: The turns that they are of, where turns are scored.
    """

    place: int
    example: Example
    answers: Tensor
    ends: Tensor
    weights: Tensor | None
    turns: tuple[Turn, ...] = ()


class PartScorer:
    """A model that scores parts of a data set; TRL tokenises rows exactly as for training."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, job: ScoreJob
    ) -> None:
        """Score with a model that is loaded already; see ``of`` to load one."""
        self._model, self._tokenizer, self._job = model, tokenizer, job

    @classmethod
    def of(cls, job: ScoreJob) -> "PartScorer":
        """Load the model of a job, onto the GPU if there is one.

        Raises:
            UsageError: Model or tokenizer cannot be loaded.
        """
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
        waiting: Waiting | None = None,
    ) -> None:
        """Score the unfinished parts that ``mine`` selects, each into its shard.

        Args:
            data: The rows as loaded.
            shards: The shards to write.
            columns: The columns to write.
            mine: A function of a part's number: whether this process scores the part.
            told: Called with the number of rows whenever a part is finished.
            alone: Whether no other process of the group scores at the same time. TRL's preparation
                of rows waits for the whole group, so a process without a part of its own prepares
                the first part.
            waiting: Counts the time in which the model has no rows to score.

        Raises:
            UsageError: A row cannot be trained on.
        """
        waiting = Waiting() if waiting is None else waiting
        rows_a_part = self._job.rows_a_part
        processing: Any = self._tokenizer
        if has_images(data):
            data = undecoded(data)
            processing = load_processor(self._job.model, **self._job.source)

        @functools.cache  # the second call must agree, though a shard may have been written since
        def is_due(number: int) -> bool:
            return mine(number) and not shards.has(number)

        rows = _numbered(data, rows_a_part, is_due)
        if rows is None and not alone:
            rows = _numbered(data, rows_a_part, lambda number: number == 0)
        if rows is None:
            return
        job = self._job
        with ExitStack() as stack:
            with waiting():
                trainer = stack.enter_context(
                    prepared(
                        rows,
                        self._model,
                        processing,
                        job.tokenising,
                        where=job.where,
                        bf16=job.bf16,
                        processes=job.dataset_num_proc,
                        by_turn=job.by_turn,
                    )
                )
            waiting.begun()
            labels = labels_of(trainer, trainer.data_collator)
            scorer = self._scorer(trainer, labels)
            ready = self._ready(data, trainer, is_due)
            for part, answered in stack.enter_context(ahead(ready, waiting)):
                scored = self._scored(scorer, labels, trainer.model, answered, part.rows.num_rows)
                shards.write(part.number, columns.add(part.rows, part.names, scored))
                told(part.rows.num_rows)

    def _ready(
        self, data: Rows, trainer: SFTTrainer, is_due: Mine
    ) -> Generator[tuple[Part, list[_Answered]], None, None]:
        """Each part that is due, and those of its rows that have answer tokens.

        It alone uses the tokenizer, which two threads cannot share, once it has begun.
        """
        labels = labels_of(trainer, trainer.data_collator)
        ids = end_of_turn_ids(trainer.model, trainer.processing_class)
        examples = _Examples(iter(as_stored(trainer.train_dataset)))
        for part in parts(data, self._job.rows_a_part, is_due):
            first = part.number * self._job.rows_a_part
            answered = []
            for place, example in examples.below(first + part.rows.num_rows, first).items():
                labelled = labels.of({**example, SAMPLE_ID: part.names[place]})
                del labelled[SAMPLE_ID]
                answers = answer_positions(labelled["labels"])
                if len(answers):
                    ends = turn_ends(labelled, answers, ids)
                    said = labelled.pop(LOSS_WEIGHT, None)  # scores are not weighed
                    weights = None if said is None else torch.tensor(said)[answers]
                    turns: tuple[Turn, ...] = ()
                    if self._job.by_turn:
                        labelled, turns = take_turns(labelled, answers)
                    answered.append(_Answered(place, labelled, answers, ends, weights, turns))
            yield part, answered

    def _scorer(self, trainer: SFTTrainer, labels: Labels) -> Scorer:
        """The scorer with the collator, device and precision of a trainer."""
        device = trainer.args.device
        size = pass_size(trainer, ROWS, asked=self._job.batch_size)
        return Scorer(
            collate=labels.collate,
            to_device=functools.partial(to_device, device=device),
            autocast=trainer.accelerator.autocast,
            batch_size=size.batch_size,
            overhead=size.overhead,
            limit=PassLimit(),
            device_type=device.type,
            needs=frozenset({ENTROPY_ALL} if self._job.entropy_over == "all" else ()),
        )

    def _scored(
        self,
        scorer: Scorer,
        labels: Labels,
        model: PreTrainedModel,
        answered: list[_Answered],
        n: int,
    ) -> list[ScoredRow | None]:
        """Score ``n`` rows; None for a row without answer tokens."""
        examples = [(one.example, len(one.answers)) for one in answered]
        scores_in_order = scorer(model, model, examples)
        with_answers = [(one.example, one.answers) for one in answered]
        alone: list[Alone | None] = [None] * len(answered)
        of_turns: list[tuple[Tensor | None, ...]] = [()] * len(answered)
        if self._job.alone and self._job.by_turn:
            of_turns = _turns_alone(scorer, model, answered)
        if self._job.alone:
            alone = score_alone(scorer, model, model, with_answers)
            if answered and not any(alone):
                logger.warning(
                    f"{self._job.where}: {n:,} rows have no prompt, so their {ALONE} is empty; of "
                    "conversations, --assistant_only_loss makes the other turns the prompt"
                )
        blind: list[Alone | None] = [None] * len(answered)
        if self._job.without_images:
            blind = score_blind(scorer, labels, model, model, examples)
        spreads: list[Spread | None] = [None] * len(answered)
        if self._job.noise is not None:
            spreads = score_noisy_copies(scorer, model, with_answers, self._job.noise)
        rows: list[ScoredRow | None] = [None] * n
        for one, scores, other, sightless, spread, turns_alone in zip(
            answered, scores_in_order, alone, blind, spreads, of_turns, strict=True
        ):
            rows[one.place] = ScoredRow(
                scores,
                one.ends,
                None if other is None else other.nll,
                one.weights,
                spread,
                one.turns,
                turns_alone=turns_alone,
                nll_blind=None if sightless is None else sightless.nll,
            )
        return rows


def _turns_alone(
    scorer: Scorer, model: PreTrainedModel, answered: Sequence[_Answered]
) -> list[tuple[Tensor | None, ...]]:
    """NLL of the answer tokens of each row's turns, without what was said before them.

    Args:
        scorer: Runs the forward passes.
        model: The model.
        answered: Rows with answer tokens, and the turns that these are of.
    """
    examples = [
        (of_turn(one.example, answers), answers)
        for one in answered
        for answers in one.answers.split([turn.n_tokens for turn in one.turns])
    ]
    alone = iter(score_alone(scorer, model, model, examples))
    nlls = (None if one is None else one.nll for one in alone)
    return [tuple(islice(nlls, len(one.turns))) for one in answered]


class _Examples:
    """Tokenised examples in order, taken from an iterator row by row."""

    def __init__(self, examples: Iterator[Example]) -> None:
        self._examples = examples
        self._next: Example | None = next(examples, None)

    def below(self, end: int, first: int) -> dict[int, Example]:
        """The next examples of rows before ``end``, by their place counted from row ``first``."""
        examples = {}
        while self._next is not None and int(self._next[SAMPLE_ID]) < end:
            example = self._next
            examples[int(example.pop(SAMPLE_ID)) - first] = example
            self._next = next(self._examples, None)
        return examples


def _numbered(data: Rows, rows_a_part: int, is_due: Mine) -> Rows | None:
    """The rows of the parts that ``is_due`` selects, named by their number; None for no rows."""
    if isinstance(data, Dataset):
        numbers = [i for i in range(len(data)) if is_due(i // rows_a_part)]
        if not numbers:
            return None
        numbered_rows = data.select(numbers)
        if SAMPLE_ID in numbered_rows.column_names:
            numbered_rows = numbered_rows.remove_columns(SAMPLE_ID)
        return numbered_rows.add_column(SAMPLE_ID, list(map(str, numbers)))

    def rows() -> Iterator[dict[str, Any]]:
        for number, row in enumerate(data):
            if is_due(number // rows_a_part):
                yield {**row, SAMPLE_ID: str(number)}

    if next(islice(rows(), 1), None) is None:
        return None
    # Without its types a stream does not say which columns hold JSON, whose nulls are the user's.
    features = data.features and Features({**data.features, SAMPLE_ID: Value("string")})
    return IterableDataset.from_generator(rows, features=features)


def _on_device(model: PreTrainedModel) -> PreTrainedModel:
    """The model on the GPU if there is one, else on the CPU."""
    return model.to("cuda") if torch.cuda.is_available() else model
