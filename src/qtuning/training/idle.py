"""Micro-batches that a pruned step leaves empty: those that are skipped, and those that are run."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from ..examples.example import NothingAnywhere, NothingHere, NothingToTrain


def marked(
    batches: Sequence[dict[str, Any]], skipped: int, idle: int, *, skips: bool
) -> list[dict[str, Any]]:
    """The collated micro-batches of a step, the empty ones marked by their class.

    Args:
        batches: The micro-batches, the empty ones first.
        skipped: How many are empty on all ranks.
        idle: How many are empty on this rank.
        skips: Whether those that are empty on all ranks need no forward pass.
    """
    anywhere = [
        # Without rows, so that nobody counts its tokens.
        NothingToTrain(
            {key: value[:0] if isinstance(value, Tensor) else value for key, value in batch.items()}
        )
        if skips
        else NothingAnywhere(batch)
        for batch in batches[:skipped]
    ]
    return [*anywhere, *map(NothingHere, batches[skipped:idle]), *batches[max(skipped, idle) :]]


@contextmanager
def nothing_added(metrics: Mapping[str, list[Any]]) -> Iterator[None]:
    """Context that takes away again what is appended to lists within it.

    Args:
        metrics: Lists by name; the mapping may get more of them.
    """
    lengths = {name: len(values) for name, values in metrics.items()}
    yield
    for name, values in metrics.items():
        del values[lengths.get(name, 0) :]
