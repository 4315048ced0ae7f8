"""Factors on the loss of kept tokens that are known before the training forward, put together.

The loss of a step is a weighted mean over its kept answer tokens. There are three factors: the
user's ``loss_weight``, the sample pruner's weight of a sample, and that of a token weighter which
does not read the training forward. The first two, and weights that mask tokens, are scaled so that
their mean is 1: then the number of kept tokens, by which the trainer divides, is their sum. Other
weights of tokens are not scaled: their methods divide by the number of tokens.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..core.ratio import share
from ..errors import UsageError
from ..examples.candidate import Candidate
from ..examples.example import (
    BASE_NLL,
    BASE_TAIL_MASS,
    SAMPLE_ID,
    Example,
    answers_of,
    gold_of,
    n_input_of,
)
from ..io.weights import LOSS_WEIGHT
from ..pruners.protocols import BASE, REFERENCE
from ..weighters.checked import checked_weights
from ..weighters.protocols import BASE_TAIL, FORWARD, TokenBatch, TokenWeighter
from .decide import Decision, Decisions
from .moment import Moment
from .work import Work


class Kept(NamedTuple):
    """A kept candidate of this rank.

    Attributes:
        candidate: The candidate.
        decision: The decision on it.
        keep: Which of its answer tokens are kept, ``(T,)`` bool.
    """

    candidate: Candidate
    decision: Decision
    keep: Tensor


def with_tokens(
    kept: Sequence[Kept], examples: Sequence[Example]
) -> tuple[list[Candidate], list[Example]]:
    """The kept units that have kept tokens, and the example of each.

    An answer that lost all its tokens gives no gradient, so it is in no forward.
    """
    pairs = [(k.candidate, e) for k, e in zip(kept, examples, strict=True) if bool(k.keep.any())]
    return [unit for unit, _ in pairs], [example for _, example in pairs]


class Factors(NamedTuple):
    """The factors on the kept tokens of one sample, each ``(K,)`` float64.

    Attributes:
        user: The user's; None is 1.
        weights: The token weighter's; None is 1.
        masks: Whether ``weights`` mask tokens.
    """

    user: Tensor | None = None
    weights: Tensor | None = None
    masks: bool = False

    @property
    def scaled(self) -> Tensor | None:
        """The factors by whose sum the loss is divided, ``(K,)``; None if all are 1."""
        return self.product if self.masks else self.user

    @property
    def product(self) -> Tensor | None:
        """The product of both, ``(K,)``; None if both are 1."""
        if self.user is None or self.weights is None:
            return self.user if self.weights is None else self.weights
        return self.user * self.weights

    def added_to(self, work: Work) -> Work:
        """What the sample cost, with the sums of its factors."""
        return work._replace(
            weight=_sum(self.scaled),
            token_weight=_sum(self.weights),
            factor=_sum(self.product),
        )


def _sum(values: Tensor | None) -> float | None:
    """The sum of factors; NaN if one is negative or not finite."""
    if values is None:
        return None
    is_good = bool(((values >= 0) & values.isfinite()).all())
    return float(values.sum()) if is_good else math.nan


def factors_of(
    kept: Sequence[Kept], weighter: TokenWeighter | None, args: PruningArguments, moment: Moment
) -> list[Factors]:
    """The factors on the kept tokens of each kept sample of this rank.

    Raises:
        UsageError: A user's weighter returned weights of another number or type.
    """
    users = [
        None if one.candidate.loss_weight is None else one.candidate.loss_weight[one.keep]
        for one in kept
    ]
    if weighter is None or weighter.needs & FORWARD or not kept:
        return [Factors(user) for user in users]
    lengths = [int(one.keep.sum()) for one in kept]
    ids = [gold_of(c.example, c.answers[keep]) for c, _, keep in kept]
    tokens = TokenBatch(
        token_ids=torch.cat(ids),
        lengths=lengths,
        sample_ids=[one.candidate.sample_id for one in kept],
        step=moment.step,
        progress=moment.progress,
        base_nll=_kept_extras(kept, REFERENCE) if BASE in weighter.needs else None,
        base_tail=_kept_extras(kept, BASE_TAIL) if BASE_TAIL in weighter.needs else None,
    )
    made = checked_weights(weighter(tokens, args), len(tokens), moment.step, before=True)
    parts = made.weights.double().split(lengths)
    return [Factors(user, weights, made.masks) for user, weights in zip(users, parts, strict=True)]


def _kept_extras(kept: Sequence[Kept], name: str) -> Tensor:
    return torch.cat([one.candidate.extras[name][one.keep] for one in kept])


def with_factors(
    examples: Sequence[Example],
    kept: Sequence[Kept],
    factors: Sequence[Factors],
    decisions: Decisions,
    work: Sequence[Work],
    weighter: TokenWeighter | None,
    step: int,
) -> tuple[list[Example], bool]:
    """The pruned examples of this rank with the columns that the weighted loss reads.

    Args:
        examples: The pruned examples.
        kept: The candidate that each of them was.
        factors: The factors on its kept tokens.
        decisions: The decisions on all ranks' candidates.
        work: What each of these cost, with the sums of its factors.
        weighter: The token weighter; None if there is none.
        step: The optimizer step about to be taken, for messages.

    Returns:
        The examples, and whether the loss of the step is weighted, on all ranks alike.

    Raises:
        UsageError: A weight is negative or not finite, or all are 0; raised on every rank.
    """
    kept_work = [(d, w) for d, w in zip(decisions.decided, work, strict=True) if d.kept]
    if weighter is None and all(d.weight == 1.0 and w.weight is None for d, w in kept_work):
        return list(examples), False
    n_kept = sum(cost.kept_tokens for _, cost in kept_work)
    weighted_tokens = sum(
        decision.weight * (cost.kept_tokens if cost.weight is None else cost.weight)
        for decision, cost in kept_work
    )
    if any(decision.weight < 0 for decision, _ in kept_work):
        weighted_tokens = math.nan
    check_sums(step, n_kept, weighted_tokens, [cost.token_weight for _, cost in kept_work])
    scale = share(n_kept, weighted_tokens)
    reads = frozenset() if weighter is None else weighter.needs
    weighed = []
    for example, sample, one in zip(examples, kept, factors, strict=True):
        at = answers_of(example)
        weight = sample.decision.weight * scale
        values = torch.full((len(at),), weight, dtype=torch.float64)
        for more in (one.user, one.weights):
            values = values if more is None else values * more
        columns = _base_columns(example, at, sample, reads) if reads & FORWARD else {}
        weighed.append(
            {
                **example,
                **columns,
                LOSS_WEIGHT: _column(example, at, values),
                SAMPLE_ID: sample.candidate.sample_id,
            }
        )
    return weighed, True


def check_sums(
    step: int, n_kept: int, weighted_tokens: float, token_weights: Sequence[float | None]
) -> None:
    """Check the sums of factors that ``Factors.added_to`` made.

    Args:
        step: The optimizer step about to be taken, for messages.
        n_kept: Number of kept tokens.
        weighted_tokens: Sum of the scaled factors over them.
        token_weights: Sum of the weighter's weights over each sample's; None without a weighter.

    Raises:
        UsageError: A weight is negative or not finite, or all are 0.
    """
    sums = [value for value in token_weights if value is not None]
    if not all(map(math.isfinite, [weighted_tokens, *sums])):
        raise UsageError(f"step {step}: {BAD_WEIGHTS}")
    if n_kept and (weighted_tokens == 0.0 or (sums and not any(sums))):
        raise UsageError(f"step {step}: {NO_WEIGHT}")


BAD_WEIGHTS = (
    "a weight of the loss is negative, NaN or infinite: mend the weighter or the weights, or set "
    "token_weight to none"
)
NO_WEIGHT = (
    "every kept token has weight 0 in the loss, so that nothing would be learnt: weigh some "
    "tokens more, keep more of them, or set token_weight to none"
)


def _column(example: Example, at: Tensor, values: Tensor) -> list[float]:
    """A column as long as the example's input ids, with values at its answer tokens, else 1."""
    column = torch.ones(n_input_of(example), dtype=torch.float64)
    column[at] = values.double()
    numbers: list[float] = column.tolist()
    return numbers


def _base_columns(
    example: Example, at: Tensor, kept: Kept, reads: frozenset[str]
) -> Mapping[str, list[float]]:
    """What a weighter that reads the training forward also reads of the model before training."""
    return {
        key: _column(example, at, kept.candidate.extras[extra][kept.keep])
        for need, extra, key in (
            (BASE, REFERENCE, BASE_NLL),
            (BASE_TAIL, BASE_TAIL, BASE_TAIL_MASS),
        )
        if need in reads
    }
