"""Rows of tokens as flat arrays, batch by batch, so that no row costs a Python loop."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, List
from numpy.typing import NDArray

from ..core.stats import IGNORE_INDEX
from ..io.weights import LOSS_WEIGHT

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

_ROWS = 2000
_MASKS = ("completion_mask", "assistant_masks")
_COLUMNS = ("input_ids", "labels", "attention_mask", "seq_lengths", *_MASKS, LOSS_WEIGHT)


@dataclass(frozen=True)
class Tokens:
    """Consecutive rows as tokens.

    Attributes:
        ids: Token ids of all rows, one after the other, ``(T,)``.
        trained: Whether a token is an answer token, ``(T,)``; a row's first token never is.
        starts: Where each row starts, and the end of the last one, ``(R+1,)``.
        weights: Users' weight of each token, ``(T,)``; None for 1.
    """

    ids: Ints
    trained: Bools
    starts: Ints
    weights: Floats | None = None

    @classmethod
    def of(cls, ids: Ints, trained: Bools, starts: Ints, weights: Floats | None = None) -> "Tokens":
        """Rows whose first tokens are no answer tokens, since nothing predicts them."""
        trained = trained.copy()
        trained[starts[:-1][np.diff(starts) > 0]] = False
        return cls(ids, trained, starts, weights)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1

    @property
    def lengths(self) -> Ints:
        """Tokens of each row, ``(R,)``."""
        return np.diff(self.starts)

    @property
    def rows(self) -> Ints:
        """The row of each token, ``(T,)``."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def places(self) -> Ints:
        """The place of each token in its row, from 0, ``(T,)``."""
        return np.arange(len(self.ids)) - np.repeat(self.starts[:-1], self.lengths)

    def count(self, which: Bools) -> Ints:
        """How many tokens of each row are among those marked, ``(R,)``.

        Args:
            which: The tokens that are marked, ``(T,)``.
        """
        totals = np.concatenate(([0], np.cumsum(which)))
        counts: Ints = totals[self.starts[1:]] - totals[self.starts[:-1]]
        return counts

    def mean_weights(self) -> Floats:
        """The mean weight of each row's answer tokens, ``(R,)``; 1 for none."""
        weights = np.ones(len(self.ids)) if self.weights is None else self.weights
        sums = np.bincount(self.rows, np.where(self.trained, weights, 0.0), minlength=len(self))
        counts = self.count(self.trained)
        means: Floats = np.ones(len(self))
        means[counts > 0] = sums[counts > 0] / counts[counts > 0]
        return means

    def row(self, number: int) -> tuple[Ints, Bools]:
        """Ids and answer tokens of a row, from 0."""
        of = slice(self.starts[number], self.starts[number + 1])
        return self.ids[of], self.trained[of]

    def cut(self, longest: int | None, *, keep_end: bool = False) -> "Tokens":
        """The rows without what lies beyond a length.

        Args:
            longest: Tokens at which a row is cut; None cuts nothing.
            keep_end: Whether the beginning is cut off rather than the end.
        """
        if longest is None or not (self.lengths > longest).any():
            return self
        kept = np.minimum(self.lengths, longest)
        first = np.repeat(self.lengths - kept, self.lengths) if keep_end else 0
        inside = (self.places >= first) & (self.places < first + longest)
        weights = None if self.weights is None else self.weights[inside]
        return Tokens.of(self.ids[inside], self.trained[inside], _starts(kept), weights)


@dataclass(frozen=True)
class TokenRows:
    """The rows of a data set that TRL has prepared; packed samples are rows of their own.

    Attributes:
        rows: Rows with ``input_ids``, and ``labels`` or the masks of older TRL.
        completion_only: Whether ``completion_mask`` is followed.
    """

    rows: Dataset
    completion_only: bool

    def batch(self, first: int, last: int) -> Tokens:
        """The rows from ``first`` to ``last``, which is left out."""
        return _tokens_of(self._arrow[first : min(last, len(self.rows))])

    def batches(self) -> Iterator[Tokens]:
        """All rows, in order."""
        for first in range(0, len(self.rows), _ROWS):
            yield self.batch(first, first + _ROWS)

    @cached_property
    def _arrow(self) -> Dataset:
        names = [name for name in _COLUMNS if name in self.rows.column_names]
        if not isinstance(self.rows.features.get(LOSS_WEIGHT), List):  # one a row
            names = [name for name in names if name != LOSS_WEIGHT]
        if not self.completion_only and "completion_mask" in names:
            names.remove("completion_mask")
        return self.rows.with_format("arrow").select_columns(names)


def _tokens_of(table: pa.Table) -> Tokens:
    """A batch of rows as flat arrays, without padding."""
    flat = {
        name: pc.list_flatten(table[name]).to_numpy()
        for name in table.column_names
        if name != "seq_lengths"
    }
    lengths = pc.list_value_length(table["input_ids"]).to_numpy().astype(np.int64)
    if "seq_lengths" in table.column_names:
        lengths = pc.list_flatten(table["seq_lengths"]).to_numpy().astype(np.int64)
    ids = flat["input_ids"].astype(np.int64)
    if "labels" in flat:
        trained = flat["labels"] != IGNORE_INDEX
    else:
        trained = np.ones(len(ids), dtype=bool)
        for name in set(_MASKS) & set(flat):
            trained &= flat[name].astype(bool)
    weights = flat.get(LOSS_WEIGHT)
    real = flat.get("attention_mask")
    if real is not None and not real.all():
        marked = Tokens(ids, trained, _starts(lengths))
        real = real.astype(bool)
        lengths, ids, trained = marked.count(real), ids[real], trained[real]
        weights = None if weights is None else weights[real]
    return Tokens.of(ids, trained, _starts(lengths), weights)


def _starts(lengths: Ints) -> Ints:
    return np.concatenate(([0], np.cumsum(lengths)))
