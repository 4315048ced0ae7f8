"""The probe set: a fixed few samples of the training data, scored now and then over the run.

Mean perplexity and mean entropy of it show how the model changes (arXiv:2509.23873, figure 8). It
is no part of the training: it draws nothing from a global random state and leaves the model, its
modes and the order of the data as they are.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel, Trainer

from ..arguments import PruningArguments
from ..core.stats import stats_of_one
from ..errors import UsageError
from ..examples.example import SAMPLE_ID, Example, answer_positions, unpack
from ..examples.labels import Labels
from ..ranks import Ranks
from ..signals.scorer import Scorer
from .probe_rows import ProbeRow

PROBE_PPL, PROBE_ENTROPY = "pruning/probe_ppl", "pruning/probe_entropy"


class ProbeSample(NamedTuple):
    """A sample of the probe set.

    Attributes:
        name: Its name in the training set.
        example: Input ids and labels.
        n_tokens: Its answer tokens, at least 1.
    """

    name: str
    example: Example
    n_tokens: int


def draw_probe(
    rows: Any, n: int, seed: int, labels: Labels, columns: Collection[str] | None = None
) -> list[ProbeSample]:
    """Draw the probe set; all of the samples if there are no more than ``n``.

    Args:
        rows: A training set with a length, made ready for training; packed rows are unpacked.
        n: Samples wanted.
        seed: The run's.
        labels: Reads the labels.
        columns: Those that the collator is given; None for all.

    Raises:
        UsageError: No row has an answer token.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(rows), generator=generator).tolist()
    drawn = list(islice(_samples(rows, order, labels, columns), n))
    if not drawn:
        raise UsageError("probe_samples: no sample has answer tokens; raise max_length")
    return drawn


def _samples(
    rows: Any, order: Sequence[int], labels: Labels, columns: Collection[str] | None
) -> Iterator[ProbeSample]:
    for place in order:
        row = {k: v for k, v in rows[place].items() if columns is None or k in columns}
        for sample in unpack(row):
            example = labels.of(sample)
            name = str(example.pop(SAMPLE_ID, place))
            n_tokens = len(answer_positions(example["labels"]))
            if n_tokens:
                yield ProbeSample(name, example, n_tokens)


@dataclass(frozen=True)
class Probe:
    """Scores the probe set; every rank has all of it and scores a share.

    Attributes:
        samples: The probe set, the same on all ranks.
        scorer: Makes the pass.
        ranks: The other ranks.
        every: Optimizer steps from one visit to the next.
    """

    samples: Sequence[ProbeSample]
    scorer: Scorer
    ranks: Ranks
    every: int

    @classmethod
    def of(
        cls,
        trainer: Trainer,
        pruning: PruningArguments,
        labels: Labels,
        scorer: Scorer,
        ranks: Ranks,
        columns: Collection[str] | None,
    ) -> "Probe | None":
        """The probe that the pruning arguments ask for; ``columns`` as in ``draw_probe``.

        It uses the run's own scorer, but on the model being trained and for no more than perplexity
        and entropy.

        Raises:
            UsageError: No sample has answer tokens.
        """
        n, seed = pruning.probe_samples, trainer.args.seed
        if not n:
            return None
        samples = draw_probe(trainer.train_dataset, n, seed, labels, columns)
        scorer = replace(scorer, other_model=None, needs=frozenset())
        return cls(samples, scorer, ranks, pruning.probe_steps)

    def is_due(self, step: int, last_step: int) -> bool:
        """Whether to score after ``step`` optimizer steps of ``last_step``.

        It depends on nothing else, so a resumed run visits when an uninterrupted one does.
        """
        return step % self.every == 0 or step == last_step

    def __call__(
        self, model: PreTrainedModel, wrapped: nn.Module, *, step: int, epoch: float
    ) -> list[ProbeRow]:
        """Score the samples; every rank must call it and gets all rows, in the order drawn.

        Args:
            model: The bare model.
            wrapped: The model as the trainer wrapped it.
            step: Optimizer steps done.
            epoch: Epochs done.
        """
        rank, size = self.ranks.rank, self.ranks.size
        own = self.samples[rank::size]
        scores = self.scorer(model, wrapped, [(one.example, one.n_tokens) for one in own])
        rows = []
        for sample, (nll, entropy, _) in zip(own, scores, strict=True):
            stats = stats_of_one(nll, entropy)
            values = float(stats.ppl), float(stats.entropy)
            rows.append(ProbeRow(step, epoch, sample.name, *values, sample.n_tokens))
        shares = self.ranks.gather(rows)
        return [shares[place % size][place // size] for place in range(len(self.samples))]


def probe_metrics(rows: Sequence[ProbeRow]) -> dict[str, float]:
    """Mean perplexity and mean entropy in nats of a visit; bad losses are left out."""
    sound = [row for row in rows if math.isfinite(row.ppl) and math.isfinite(row.entropy)]
    if not sound:
        return {}
    return {
        PROBE_PPL: sum(row.ppl for row in sound) / len(sound),
        PROBE_ENTROPY: sum(row.entropy for row in sound) / len(sound),
    }
