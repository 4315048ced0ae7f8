"""The probe set: a few fixed samples of the training data, scored at intervals over the run.

Their mean perplexity and mean entropy show how the model changes (arXiv:2509.23873, figure 8).
Scoring the probe set does not affect the training: it draws nothing from a global random state,
and does not change the model, its train or eval mode, or the order of the data.
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
from ..core.seeds import seeded_generator
from ..core.stats import stats_of_one
from ..errors import UsageError
from ..examples.candidate import ENTROPY_ALL
from ..examples.example import SAMPLE_ID, Example, answer_positions, packed_length, unpack
from ..examples.labels import Labels
from ..ranks import Ranks
from ..signals.scorer import Scorer
from .probe_rows import ProbeRow

PROBE_PPL, PROBE_ENTROPY = "pruning/probe_ppl", "pruning/probe_entropy"


class ProbeSample(NamedTuple):
    """A sample of the probe set.

    Attributes:
        name: The sample's name in the training set.
        example: Input ids and labels.
        n_tokens: Number of answer tokens, at least 1.
        packed: Input tokens of the packed row that the sample comes from; 0 if it was not packed.
    """

    name: str
    example: Example
    n_tokens: int
    packed: int = 0


def draw_probe(
    rows: Any, n: int, seed: int, labels: Labels, columns: Collection[str] | None = None
) -> list[ProbeSample]:
    """Draw the probe set: ``n`` samples with answer tokens, or all if there are fewer.

    Args:
        rows: A training set with a length, tokenised for training; packed rows are unpacked.
        n: Number of samples to draw.
        seed: The run's seed.
        labels: Reads the labels.
        columns: The columns that the collator receives; None for all.

    Raises:
        UsageError: No row has an answer token.
    """
    # Not the seed alone: the sampler of the first epoch draws by it, and the probe set would be the
    # rows that are trained on first.
    order = torch.randperm(len(rows), generator=seeded_generator(seed, "probe")).tolist()
    samples = list(islice(_samples(rows, order, labels, columns), n))
    if not samples:
        raise UsageError("probe_samples: no sample has answer tokens; raise max_length")
    return samples


def _samples(
    rows: Any, order: Sequence[int], labels: Labels, columns: Collection[str] | None
) -> Iterator[ProbeSample]:
    for place in order:
        row = {k: v for k, v in rows[place].items() if columns is None or k in columns}
        packed = packed_length(row)
        for sample in unpack(row):
            example = labels.of(sample)
            name = str(example.pop(SAMPLE_ID, place))
            n_tokens = len(answer_positions(example["labels"]))
            if n_tokens:
                yield ProbeSample(name, example, n_tokens, packed)


@dataclass(frozen=True)
class Probe:
    """Scores the probe set; every rank has all of it and scores a share.

    Attributes:
        samples: The probe set, the same on all ranks.
        scorer: Makes the scoring pass.
        ranks: The data-parallel ranks.
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
        """The probe that the pruning arguments ask for; None without ``probe_samples``.

        The scorer is used for perplexity and entropy only, of the positions of ``entropy_over``.

        Args:
            trainer: The trainer, its data tokenised.
            pruning: The pruning arguments.
            labels: Reads the labels.
            scorer: Scores with the model being trained.
            ranks: The data-parallel ranks.
            columns: The columns that the collator receives; None for all.

        Raises:
            UsageError: No sample has answer tokens.
        """
        n, seed = pruning.probe_samples, trainer.args.seed
        if not n:
            return None
        samples = draw_probe(trainer.train_dataset, n, seed, labels, columns)
        scorer = replace(scorer, needs=scorer.needs & {ENTROPY_ALL})
        return cls(samples, scorer, ranks, pruning.probe_steps)

    def is_due(self, step: int, last_step: int) -> bool:
        """Whether to score after ``step`` optimizer steps of ``last_step``.

        Nothing else matters, so a resumed run scores at the same steps as an uninterrupted one.
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
        samples_here = self.samples[rank::size]
        scores = self.scorer(
            model,
            wrapped,
            [(one.example, one.n_tokens) for one in samples_here],
            max((one.packed for one in samples_here), default=0),
        )
        rows = []
        for sample, (nll, entropy, extras) in zip(samples_here, scores, strict=True):
            stats = stats_of_one(nll, entropy)
            values = float(stats.ppl), float(extras.get(ENTROPY_ALL, stats.entropy))
            rows.append(ProbeRow(step, epoch, sample.name, *values, sample.n_tokens))
        shares = self.ranks.gather(rows)
        return [shares[place % size][place // size] for place in range(len(self.samples))]


def probe_metrics(rows: Sequence[ProbeRow]) -> dict[str, float]:
    """Mean perplexity and mean entropy (nats) of the rows; NaN and infinite ones are left out."""
    finite_rows = [row for row in rows if math.isfinite(row.ppl) and math.isfinite(row.entropy)]
    if not finite_rows:
        return {}
    return {
        PROBE_PPL: sum(row.ppl for row in finite_rows) / len(finite_rows),
        PROBE_ENTROPY: sum(row.entropy for row in finite_rows) / len(finite_rows),
    }
