"""A candidate: one sample of a rank within an optimizer step, and its row for the other ranks."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..core.stats import stats_of_one
from ..pruners.protocols import SAMPLE_EXTRAS
from .example import Example, n_input_of
from .turns import Turn

Vector = NDArray[np.floating[Any]]
"""A statistic that is sent and remembered, ``(d,)``: pickled, an array is as large as its numbers,
where a tensor brings 250 bytes and the whole storage that it is a view of."""
ENTROPY_ALL = "entropy_all"
"""Name of a sample's mean entropy over all its positions, ``(1,)`` in nats: of the statistic that
the scoring pass adds with ``entropy_over`` all, and of the column that ``qtuning score`` writes."""
ENTROPY_ANSWER = "entropy_answer"
"""Column of rows that were decided on by the entropy over all positions, which is their ``entropy``
then: the mean entropy over the answer, in nats."""
RowExtras = tuple[tuple[str, Vector], ...]
"""Named statistics of one sample, sorted by name."""


class CandidateRow(NamedTuple):
    """The statistics of one candidate that its rank sends to all ranks.

    Attributes:
        micro: Number of the sample's micro-batch within the step.
        sample_id: Id of the sample.
        ppl: Perplexity; NaN if not scored.
        entropy: Mean entropy in nats, over the answer, or with ``entropy_over`` all over all
            positions; NaN if not scored.
        n_tokens: Number of answer tokens; a sample without any is no candidate.
        n_input: Number of input tokens.
        repeated: Whether the loader repeated the sample to fill up an epoch's last batch.
        scored: Whether the sample was scored in this step; other rows may have earlier scores.
        extras: Further statistics that the sample pruner reads, by the name in its ``needs``.
        packed: Input tokens of the packed row that the sample comes from; 0 if it was not packed.
        turn: Number of the turn that the row is of, see ``Turn``; 0 if it is of a whole sample.
        kind: What kind of turn it is; empty for a whole sample.
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
    packed: int = 0
    turn: int = 0
    kind: str = ""

    @property
    def name(self) -> str:
        """Name of the unit, which no other row of the data has."""
        return unit_name(self.sample_id, self.turn)

    @property
    def is_known(self) -> bool:
        """Whether the row has finite scores, of this step or an earlier one."""
        return math.isfinite(self.ppl) and math.isfinite(self.entropy)

    @property
    def is_bad(self) -> bool:
        """Whether scoring in this step gave a NaN or infinite value."""
        return self.scored and not self.is_known


@dataclass
class Candidate:
    """One sample of this rank, with its scores.

    Attributes:
        example: The sample, from ``Labels.of``.
        sample_id: Id of the sample.
        micro: Number of the sample's micro-batch within the step.
        repeated: Whether the loader repeated the sample to fill up an epoch's last batch.
        answers: Positions of the answer tokens, ``(T,)``.
        packed: Input tokens of the packed row that the sample comes from; 0 if it was not packed.
        row: Place in the micro-batch of the row that the sample comes from.
        nll: NLL of the answer tokens in nats, ``(T,)`` float32; None until the sample is scored.
        entropy: Entropy of the answer tokens in nats, ``(T,)`` float32; None until then.
        extras: Further statistics that pruners read, by the name in their ``needs``.
        scored_tokens: Input tokens of the forward passes that scored the sample.
        loss_weight: The user's factor on the NLL of each answer token, ``(T,)`` float64; None if
            the row has none.
        turns: The turns that its answer tokens are of, in order; empty where samples are pruned.
        whole: Place among the rank's candidates of the one that this is a turn of; None if it is a
            whole sample.
        turn: The turn that it is; None for a whole sample, or a conversation without answers.
        leads: Whether the costs of the whole conversation are counted with this turn.
    """

    example: Example
    sample_id: str
    micro: int
    repeated: bool
    answers: Tensor
    packed: int = 0
    row: int = 0
    nll: Tensor | None = None
    entropy: Tensor | None = None
    extras: dict[str, Tensor] = field(default_factory=dict)
    scored_tokens: int = 0
    loss_weight: Tensor | None = None
    turns: tuple[Turn, ...] = ()
    whole: int | None = None
    turn: Turn | None = None
    leads: bool = True

    @property
    def name(self) -> str:
        """Name of the unit, which no other candidate of the data has."""
        return unit_name(self.sample_id, 0 if self.turn is None else self.turn.number)


def unit_name(sample_id: str, turn: int) -> str:
    """Name of a turn of a sample, or of a whole sample: turn 0."""
    return f"{sample_id}@{turn}" if turn else sample_id


def row_of(candidate: Candidate) -> CandidateRow:
    """The row of a candidate, which its rank sends to all ranks."""
    ppl = entropy = float("nan")
    if candidate.nll is not None and candidate.entropy is not None:
        stats = stats_of_one(candidate.nll, candidate.entropy)
        entropy_of_all = candidate.extras.get(ENTROPY_ALL, stats.entropy)
        ppl, entropy = float(stats.ppl), float(entropy_of_all)
    return CandidateRow(
        micro=candidate.micro,
        sample_id=candidate.sample_id,
        ppl=ppl,
        entropy=entropy,
        n_tokens=len(candidate.answers),
        n_input=n_input_of(candidate.example) if candidate.leads else 0,
        repeated=candidate.repeated,
        scored=candidate.nll is not None,
        extras=tuple(
            (name, values.numpy())
            for name, values in sorted(candidate.extras.items())
            if name in SAMPLE_EXTRAS
        ),
        packed=candidate.packed,
        turn=0 if candidate.turn is None else candidate.turn.number,
        kind="" if candidate.turn is None else candidate.turn.kind,
    )
