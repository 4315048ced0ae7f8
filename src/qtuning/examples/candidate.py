"""One sample of a rank within an optimizer step, and what other ranks are told of it."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from ..core.stats import stats_of_one
from ..pruners.protocols import SAMPLE_EXTRAS
from .example import Example

RowExtras = tuple[tuple[str, tuple[float, ...]], ...]
"""Named statistics of one sample, sorted by name."""


class CandidateRow(NamedTuple):
    """One candidate as its rank tells the others.

    Attributes:
        micro: Number of its micro-batch within the step.
        sample_id: Its id.
        ppl: Perplexity; NaN if not scored.
        entropy: Mean answer entropy in nats; NaN if not scored.
        n_tokens: Answer tokens; 0 makes it no candidate.
        n_input: Input tokens.
        repeated: A repetition that the loader used to fill up an epoch's last batch.
        scored: Scored in this step; the scores of other rows are earlier ones, if any.
        extras: What else the sample pruner reads, by the name in its ``needs``.
    """

    micro: int
    sample_id: str
    ppl: float
    entropy: float
    n_tokens: int
    n_input: int
    repeated: bool
    scored: bool = False
    extras: RowExtras = ()

    @property
    def is_known(self) -> bool:
        """Whether it has scores, of this step or earlier, that a decision can be made from."""
        return math.isfinite(self.ppl) and math.isfinite(self.entropy)

    @property
    def is_bad(self) -> bool:
        """Whether its loss came out of scoring as NaN or infinite."""
        return self.scored and not self.is_known


@dataclass
class Candidate:
    """One sample of this rank.

    Attributes:
        example: The sample, from ``Labels.of``.
        sample_id: Its id.
        micro: Number of its micro-batch within the step.
        repeated: A repetition that the loader used to fill up an epoch's last batch.
        answers: Positions of its answer tokens, ``(T,)``.
        nll: Their NLL in nats, ``(T,)`` float32; None until it is scored.
        entropy: Their entropy in nats, likewise.
        extras: What else pruners read, by the name in their ``needs``.
        scored_tokens: Input tokens of the forward passes made to score it.
    """

    example: Example
    sample_id: str
    micro: int
    repeated: bool
    answers: Tensor
    nll: Tensor | None = None
    entropy: Tensor | None = None
    extras: dict[str, Tensor] = field(default_factory=dict)
    scored_tokens: int = 0


def row_of(candidate: Candidate) -> CandidateRow:
    """The candidate as other ranks are told of it."""
    ppl = entropy = float("nan")
    if candidate.nll is not None and candidate.entropy is not None:
        stats = stats_of_one(candidate.nll, candidate.entropy)
        ppl, entropy = float(stats.ppl), float(stats.entropy)
    return CandidateRow(
        micro=candidate.micro,
        sample_id=candidate.sample_id,
        ppl=ppl,
        entropy=entropy,
        n_tokens=len(candidate.answers),
        n_input=len(candidate.example["input_ids"]),
        repeated=candidate.repeated,
        scored=candidate.nll is not None,
        extras=tuple(
            (name, tuple(values.tolist()))
            for name, values in sorted(candidate.extras.items())
            if name in SAMPLE_EXTRAS
        ),
    )
