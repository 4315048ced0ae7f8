"""One sample of a rank on its way through an optimizer step."""

from dataclasses import dataclass, field

from torch import Tensor

from ..core.stats import stats_of_one
from ..pruners.protocols import SAMPLE_EXTRAS
from ..step.decide import Row
from .batching import Example


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


def row_of(candidate: Candidate) -> Row:
    """The candidate as other ranks are told of it."""
    ppl = entropy = float("nan")
    if candidate.nll is not None and candidate.entropy is not None:
        stats = stats_of_one(candidate.nll, candidate.entropy)
        ppl, entropy = float(stats.ppl), float(stats.entropy)
    return Row(
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
