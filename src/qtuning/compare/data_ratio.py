"""Rows that are kept before training, and how many tokens all of them have.

A baseline that applies its ratio twice first keeps a share of the data by its rule, and then trains
on a random share of each step's candidates: so it has as many fewer steps.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import torch

from ..arguments import PruningArguments
from ..errors import UsageError
from ..examples.example import answer_positions, without_prompt
from ..examples.labels import Labels
from ..io.token_ids import vocabulary_of
from ..offline.prune import decide_offline
from ..offline.read import read_scores
from ..offline.schema import typed_scores
from ..training.trainer import QTuningTrainer


class RowSizes(NamedTuple):
    """Tokens of each training row, in the order of the rows, ``(N,)`` int.

    Attributes:
        input: Input tokens.
        answer: Answer tokens.
        alone: Input tokens of a pass over the answer without its prompt; 0 for a row without one.
    """

    input: Sequence[int]
    answer: Sequence[int]
    alone: Sequence[int]

    @classmethod
    def of(cls, trainer: QTuningTrainer) -> "RowSizes":
        """The sizes of the trainer's training rows, as it has tokenised them."""
        labels = Labels(trainer.data_collator, vocabulary_of(trainer.model))
        sizes = []
        for row in map(labels.of, trainer.train_dataset):
            answers = answer_positions(row["labels"])
            alone = without_prompt(row, answers) if len(answers) else None
            n_alone = 0 if alone is None else len(alone["input_ids"])
            sizes.append((len(row["input_ids"]), len(answers), n_alone))
        return cls(*zip(*sizes, strict=True))


def rows_to_keep(
    names: Sequence[str],
    sizes: RowSizes,
    args: PruningArguments,
    seed: int,
    scores: Path | None,
) -> list[int]:
    """Choose rows by a sample pruner's rule, of all of them as one pool.

    Args:
        names: Ids of the rows, ``(N,)``.
        sizes: Sizes of the rows, ``(N,)``.
        args: The sample pruner and its ratio.
        seed: Seed of random pruners.
        scores: File of scores of the rows; None for a pruner that reads none.

    Returns:
        Places of the kept rows, in ascending order.

    Raises:
        UsageError: The pruner needs more than scores, or the scores are of other rows.
    """
    if scores is None:
        unknown = pa.nulls(len(names), pa.float64())
        columns = {"sample_id": list(names), "ppl": unknown, "entropy": unknown}
        table = pa.table({**columns, "n_tokens": list(sizes.answer)})
    else:
        table = read_scores(scores)
        if table["sample_id"].to_pylist() != list(names):
            raise UsageError(f"{scores}: is of other rows; remove it, and they are scored again")
    decisions = decide_offline(typed_scores(table, "the training rows"), args, seed=seed)
    return [int(place) for place in torch.nonzero(decisions.kept).squeeze(1)]
