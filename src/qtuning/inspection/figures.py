"""Figures of each row, read off its tokens."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .tokens import Bools, Floats, Ints, Tokens

NO_END = -1


@dataclass(frozen=True)
class Special:
    """The ids of a tokenizer and its model that mean something.

    Attributes:
        ends: Ids that end a turn, see ``end_of_turn_ids``.
        stops: Ids at which the model stops to generate once it is trained and saved.
        bos: Id that begins a row; None if there is none.
        pad: Id that fills rows up; None if it is not known.
        embeddings: Number of the model's embeddings.
    """

    ends: tuple[int, ...]
    stops: frozenset[int]
    bos: int | None
    pad: int | None
    embeddings: int


@dataclass(frozen=True)
class Figures:
    """Figures of each of ``R`` rows; each array is ``(R,)``.

    Attributes:
        whole: Tokens before the row is cut at the maximal length.
        length: Tokens that are left of it.
        whole_answer: Answer tokens before the row is cut.
        answer: Answer tokens that are left.
        content: Answer tokens before the last token that ends a turn, without such; before the
            cut. Of an answer without an end, all of them.
        stretches: Stretches of answer tokens, as one for each trained turn; before the cut.
        ended: How many of these have a token that ends a turn.
        end: Id of the token that ends the last of them, or ``NO_END``.
        doubled_bos: Whether two tokens in a row begin the text.
        doubled_end: Whether two tokens in a row end a turn.
        beyond: Tokens that the model has no embedding for.
        weight: Mean of the users' weights of the answer tokens that are left; 1 for none.
        unweighted: Tokens of weight 0, before the cut.
        hash: Hash of tokens and answer tokens, before the cut.
    """

    whole: Ints
    length: Ints
    whole_answer: Ints
    answer: Ints
    content: Ints
    stretches: Ints
    ended: Ints
    end: Ints
    doubled_bos: Bools
    doubled_end: Bools
    beyond: Ints
    weight: Floats
    unweighted: Ints
    hash: NDArray[np.uint64]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.length)

    @property
    def trained(self) -> Bools:
        """Whether a row has an answer token left, so that it is trained on."""
        return self.answer > 0

    @property
    def out_by_weight(self) -> Bools:
        """Whether a row has no answer token before the cut, and tokens of weight 0."""
        out: Bools = (self.whole_answer == 0) & (self.unweighted > 0)
        return out


def figures_of(
    batches: Iterable[Tokens], special: Special, longest: int | None, *, keep_end: bool = False
) -> Figures:
    """The figures of all rows.

    Args:
        batches: The rows before they are cut.
        special: Ids that mean something.
        longest: Tokens at which a row is cut; None cuts nothing.
        keep_end: Whether the beginning is cut off rather than the end.
    """
    parts = [_of_batch(batch, special, batch.cut(longest, keep_end=keep_end)) for batch in batches]
    return Figures(
        **{one.name: np.concatenate([part[one.name] for part in parts]) for one in fields(Figures)}
    )


def _of_batch(rows: Tokens, special: Special, cut: Tokens) -> dict[str, NDArray[Any]]:
    ids, trained = rows.ids, rows.trained
    ends = np.isin(ids, special.ends)
    trained_ends = ends & trained
    last_end = _last_place(rows, trained_ends)
    after_end = rows.places > np.repeat(last_end, rows.lengths)
    after_end &= np.repeat(last_end >= 0, rows.lengths)
    # No stretch goes over from a row to the next, whose first token is never an answer token.
    begins = trained & ~np.concatenate(([False], trained[:-1]))
    stretch = np.cumsum(begins) - 1
    has_end = np.zeros(int(begins.sum()), dtype=bool)
    has_end[stretch[trained_ends]] = True
    row_of_stretch = rows.rows[begins]
    n = len(rows)
    stretches = np.bincount(row_of_stretch, minlength=n)
    last_stretch = np.cumsum(stretches) - 1
    ends_last = np.zeros(n, dtype=bool)
    some = stretches > 0
    ends_last[some] = has_end[last_stretch[some]]
    end = np.full(n, NO_END)
    end[ends_last] = ids[rows.starts[:-1][ends_last] + last_end[ends_last]]
    bos = np.zeros(len(ids), dtype=bool)
    if special.bos is not None and special.bos not in special.ends:
        bos = ids == special.bos
    twice = np.concatenate((ids[1:] == ids[:-1], [False]))[: len(ids)]
    twice &= np.concatenate((np.diff(rows.rows) == 0, [False]))[: len(ids)]
    return {
        "whole": rows.lengths,
        "length": cut.lengths,
        "whole_answer": rows.count(trained),
        "answer": cut.count(cut.trained),
        "content": rows.count(trained & ~ends & ~after_end),
        "stretches": stretches,
        "ended": np.bincount(row_of_stretch[has_end], minlength=n),
        "end": end,
        "doubled_bos": rows.count(twice & bos) > 0,
        "doubled_end": rows.count(twice & ends) > 0,
        "beyond": rows.count((ids >= special.embeddings) | (ids < 0)),
        "weight": cut.mean_weights(),
        "unweighted": rows.count(
            np.zeros(len(ids), dtype=bool) if rows.weights is None else rows.weights == 0
        ),
        "hash": np.array([hash_of(*map(_bytes, rows.row(i))) for i in range(n)], dtype=np.uint64),
    }


def hash_of(*parts: bytes) -> int:
    """A hash of 64 bits."""
    digest = blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return int.from_bytes(digest.digest(), "big")


def _bytes(values: NDArray[Any]) -> bytes:
    return values.tobytes()


def _last_place(rows: Tokens, which: Bools) -> Ints:
    """The place of the last marked token of each row, ``(R,)``; -1 if none is."""
    last = np.full(len(rows), -1)
    # Of several values for a place, numpy keeps the last one assigned.
    last[rows.rows[which]] = rows.places[which]
    return last
