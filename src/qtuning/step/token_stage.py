"""Stage 2, tokens: run the token pruner over kept samples, of a run's step or of scored data."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..pruners.checked import checked_masks
from ..pruners.protocols import TokenPool, TokenPruner, TokenSample
from .decide import Decision


def token_sample(
    sample_id: str,
    decision: Decision,
    ends_turn: Tensor,
    args: PruningArguments,
    *,
    nll: Tensor | None,
    entropy: Tensor | None,
    extras: Mapping[str, Tensor] | None = None,
) -> TokenSample:
    """A kept sample as the token pruner is given it.

    Args:
        sample_id: Id of the sample.
        decision: The decision to keep the sample.
        ends_turn: Which answer tokens end a turn, ``(T,)`` bool; with ``protect_eos`` these keep
            their label.
        args: The pruning arguments.
        nll: NLL of the answer tokens in nats, ``(T,)`` float32; None if not scored.
        entropy: Entropy of the answer tokens in nats, ``(T,)`` float32; None if not scored.
        extras: Further statistics that the token pruner reads, by name.
    """
    return TokenSample(
        sample_id=sample_id,
        nll=nll,
        entropy=entropy,
        protected=ends_turn if args.protect_eos else torch.zeros_like(ends_turn),
        quadrant=decision.quadrant,
        filled=decision.filled,
        side=decision.side,
        extras=extras or {},
        pool=decision.pool,
    )


def keep_masks(
    samples: Sequence[TokenSample],
    pruner: TokenPruner,
    args: PruningArguments,
    *,
    step: int,
    seed: int,
    gather: Callable[[list[float]], list[float]] = list,
) -> list[Tensor]:
    """Which answer tokens of each kept sample are kept, ``(T,)`` bool.

    Args:
        samples: The kept samples of one pool, from ``token_sample``.
        pruner: The token pruner.
        args: The pruning arguments.
        step: The optimizer step about to be taken, counted from 1.
        seed: The run's seed.
        gather: Gathers values from all ranks, see ``TokenPool``.

    Raises:
        UsageError: A user's pruner did not return a bool mask for each sample.
    """
    pool = TokenPool(samples, step=step, seed=seed, gather=gather)
    return checked_masks(pruner(pool, args), [sample.n_tokens for sample in samples])
