"""What the candidates of a step cost: each of them, and their sum."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import NamedTuple

from .decide import Decisions


@dataclass
class StepCounts:
    """Counts of one optimizer step over all ranks, or their sum over a run.

    Tokens are those of the samples, without padding.

    Attributes:
        steps: Optimizer steps.
        samples: Candidates.
        kept_samples: Candidates trained on.
        answer_tokens: Answer tokens of all candidates.
        kept_answer_tokens: Answer tokens that gave a loss.
        input_tokens: Input tokens of all candidates: the forward and backward of a full run.
        scored_samples: Candidates that this step scored.
        scored_tokens: Input tokens of the scoring pass, forward only.
        trained_tokens: Input tokens trained on, forward and backward.
        bad_samples: Candidates whose loss was NaN or infinite in scoring.
        empty_samples: Samples without answer tokens.
        emptied_samples: Kept samples that lost all their answer tokens, so that they give no loss.
        scoring_seconds: Time in the scoring pass.
        selection_seconds: Time in deciding, including the exchange between ranks.
        collation_seconds: Time in making micro-batches.
        training_seconds: Time in forward and backward passes of training.
        total_seconds: Wall-clock time of training.
    """

    steps: int = 0
    samples: int = 0
    kept_samples: int = 0
    answer_tokens: int = 0
    kept_answer_tokens: int = 0
    input_tokens: int = 0
    scored_samples: int = 0
    scored_tokens: int = 0
    trained_tokens: int = 0
    bad_samples: int = 0
    empty_samples: int = 0
    emptied_samples: int = 0
    scoring_seconds: float = 0.0
    selection_seconds: float = 0.0
    collation_seconds: float = 0.0
    training_seconds: float = 0.0
    total_seconds: float = 0.0

    def add(self, other: "StepCounts") -> None:
        """Add another step's counts."""
        for field in fields(self):
            vars(self)[field.name] += vars(other)[field.name]

    def state_dict(self) -> dict[str, float]:
        """All counts, for a checkpoint."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Take the counts of a checkpoint."""
        vars(self).update(state)


class Work(NamedTuple):
    """What one candidate cost.

    Attributes:
        kept_tokens: Answer tokens that give a loss.
        trained_tokens: Input tokens trained on.
        scored_tokens: Input tokens of forward passes that had no backward.
        weight: Sum of the factors on the loss of the kept tokens by which the loss is divided, but
            for that of the sample; NaN if one is bad, None if all are 1.
        token_weight: Sum of the weights that a token weighter gave the kept tokens before the
            forward; NaN if one is bad, None without such a weighter.
        factor: Sum of both over the kept tokens, the user's weights times the weighter's; None if
            there are none.
    """

    kept_tokens: int = 0
    trained_tokens: int = 0
    scored_tokens: int = 0
    weight: float | None = None
    token_weight: float | None = None
    factor: float | None = None


def count(counts: StepCounts, decisions: Decisions, work: Sequence[Work]) -> None:
    """Add a step's candidates to ``counts``.

    Args:
        counts: The counts to add to.
        decisions: The decisions on all candidates.
        work: What each candidate cost, in the order of ``decisions``.
    """
    for row, decision, cost in zip(decisions.rows, decisions.decided, work, strict=True):
        counts.samples += row.n_tokens > 0
        counts.empty_samples += row.n_tokens == 0
        counts.kept_samples += decision.kept
        counts.emptied_samples += decision.kept and cost.kept_tokens == 0
        counts.answer_tokens += row.n_tokens
        counts.kept_answer_tokens += cost.kept_tokens
        counts.input_tokens += row.n_input
        counts.scored_samples += row.scored
        counts.scored_tokens += cost.scored_tokens
        counts.trained_tokens += cost.trained_tokens
    counts.bad_samples = len(decisions.bad)
