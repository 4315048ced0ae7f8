"""Pixels of rows that a processor has read alone, kept for the batches that the rows come into."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Pixels = dict[str, Tensor]

MOST_BYTES = 2**30
"""Bytes of pixels that are kept; beyond them those kept longest are forgotten."""


class KeptPixels:
    """Joins what a processor has made of single rows to what it would make of them together.

    Not every processor's batch is its rows one after the other. So the first batch of several rows
    is made in both ways; unless they are equal, nothing is joined from then on.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        """Keep at most so many bytes."""
        self._most_bytes, self._bytes = most_bytes, 0
        self._kept: OrderedDict[int, tuple[Mapping[str, Any], Pixels]] = OrderedDict()
        self._joins: bool | None = None

    def keep(self, row: Mapping[str, Any], batch: Mapping[str, Any]) -> None:
        """Keep what a processor has made of a row alone.

        Args:
            row: The row, which is known again as this object.
            batch: What it has made, without the tokens.
        """
        if not all(isinstance(value, Tensor) and value.dim() for value in batch.values()):
            return
        size = _bytes_of(batch)
        if size > self._most_bytes:
            return
        _, before = self._kept.pop(id(row), (row, {}))
        self._kept[id(row)] = (row, dict(batch))
        self._bytes += size - _bytes_of(before)
        while self._bytes > self._most_bytes:
            _, (_, oldest) = self._kept.popitem(last=False)
            self._bytes -= _bytes_of(oldest)

    def joined(self, rows: Sequence[Mapping[str, Any]]) -> Pixels | None:
        """What the processor would make of rows together; None if that is not known.

        Args:
            rows: The rows, as they were given to ``keep``.
        """
        kept = [self._kept.get(id(row)) for row in rows]
        parts = [
            one[1] for one, row in zip(kept, rows, strict=True) if one is not None and one[0] is row
        ]
        if len(parts) < len(rows):
            return None
        first, *others = parts
        if not others:
            return first
        if self._joins is False or any(_shapes(one) != _shapes(first) for one in others):
            return None
        return {key: torch.cat([pixels[key] for pixels in parts]) for key in first}

    def is_sure(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Whether ``joined`` is known to be right for as many rows."""
        return len(rows) == 1 or self._joins is True

    def compare(self, joined: Pixels, together: Mapping[str, Any]) -> None:
        """Learn from a batch of several rows whether they may be joined."""
        self._joins = joined.keys() == together.keys() and all(
            value.dtype == together[key].dtype and torch.equal(value, together[key])
            for key, value in joined.items()
        )


def _shapes(pixels: Pixels) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """What must be equal for pixels to be joined: all but how many there are."""
    return {key: (value.shape[1:], value.dtype) for key, value in pixels.items()}


def _bytes_of(pixels: Mapping[str, Any]) -> int:
    return sum(value.nbytes for value in pixels.values())
