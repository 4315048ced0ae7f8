"""Stage 1, samples: run the sample pruner over one pool, of a run's step or of scored data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..core.plane import Selection
from ..pruners.checked import checked_selection
from ..pruners.protocols import SamplePool, SamplePruner
from .moment import Moment


@dataclass(frozen=True)
class PoolScores:
    """The scores of the candidates of one pool, in the order of the data, on the CPU.

    Attributes:
        ppl: Perplexity, ``(N,)`` float64; NaN if not scored.
        entropy: Mean answer entropy in nats, ``(N,)`` float64; NaN if not scored.
        n_tokens: Number of answer tokens, ``(N,)`` int64, at least 1.
        sample_ids: Id of each sample.
        bad: Whether the scores were made and one is NaN or infinite, ``(N,)`` bool.
        extras: Further statistics that the sample pruner reads, by name, ``(N, d)`` float64.
    """

    ppl: Tensor
    entropy: Tensor
    n_tokens: Tensor
    sample_ids: Sequence[str]
    bad: Tensor
    extras: Mapping[str, Tensor] = field(default_factory=dict)


def select(
    scores: PoolScores,
    pruner: SamplePruner,
    args: PruningArguments,
    moment: Moment,
    *,
    group: int = 0,
) -> Selection:
    """Run the sample pruner over one pool.

    The scores of a bad loss are NaN to the pruner, so that it takes no place from another sample;
    such a candidate is never kept, whether or not the pruner looks at scores.

    Args:
        scores: The scores of the candidates.
        pruner: The sample pruner.
        args: The pruning arguments.
        moment: Where the run stands.
        group: Number of the pool within the step.

    Raises:
        UsageError: A user's pruner did not return a decision for each candidate of the pool.
    """
    pool = SamplePool(
        ppl=scores.ppl.masked_fill(scores.bad, torch.nan),
        entropy=scores.entropy.masked_fill(scores.bad, torch.nan),
        n_tokens=scores.n_tokens,
        sample_ids=scores.sample_ids,
        step=moment.step,
        seed=moment.seed,
        group=group,
        progress=moment.progress,
        extras={
            name: values.masked_fill(scores.bad[:, None], torch.nan)
            for name, values in scores.extras.items()
        },
        memory=moment.memory,
    )
    selection = checked_selection(pruner(pool, args), len(pool))
    if not bool(scores.bad.any()):
        return selection
    is_sound = ~scores.bad.to(selection.kept.device)
    return replace(selection, kept=selection.kept & is_sound, filled=selection.filled & is_sound)
