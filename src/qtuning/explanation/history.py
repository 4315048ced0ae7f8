"""All visits of a run as columns of numbers, so that a million rows are counted in seconds."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..core.plane import BAND, Q1, Q2, Q3, Q4
from ..offline.reasons import reason, why_of
from .kinds import KindCount, kinds_of

NO_PLANE, UNPRUNED, BAD, EMPTY = 5, 6, 7, 8
"""Places of visits that are not on a plane: chosen without one, in a step in which nothing was
pruned, with a NaN or infinite loss, and without answer tokens."""
PLACE_LABELS = {
    BAND: "band",
    Q1: "Q1",
    Q2: "Q2",
    Q3: "Q3",
    Q4: "Q4",
    NO_PLANE: "no plane",
    UNPRUNED: "not pruned",
    BAD: "bad loss",
    EMPTY: "no answer",
}


@dataclass(frozen=True)
class History:
    """The visits of a run, each of one sample at one step, as columns ``(N,)`` in order of steps.

    Attributes:
        names: Name of each sample, ``(M,)``, in the order of their first visits.
        sample: Index of the visit's sample in ``names``.
        epoch: Epoch, counted from 0.
        step: Optimizer step, counted from 1.
        ppl: Perplexity of the answer; NaN if not known, NaN or inf of a bad loss.
        entropy: Mean answer entropy in nats; NaN if not known, NaN or inf of a bad loss.
        loss: Mean NLL of the answer in nats, the logarithm of ``ppl``; NaN if not finite.
        n_tokens: Number of answer tokens.
        tokens_kept: Number of answer tokens trained on.
        kept: Whether the sample was trained on.
        filled: Whether it was kept only to fill the budget.
        scored: Whether it was scored at this step; other scores are earlier ones.
        quadrant: Quadrant, 1 to 4, or 0.
        place: Quadrant, 1 to 4; 0 for the middle band; or one of ``NO_PLANE``, ``UNPRUNED``,
            ``BAD`` and ``EMPTY``.
        pruner: Name of the run's sample pruner; None if not known.
        kinds: The decisions by kind of turn; none where samples were pruned.
        kind: Kind of each visit's turn, see ``examples.turns.KINDS``; None of whole samples.
    """

    names: pa.Array
    sample: NDArray[np.int64]
    epoch: NDArray[np.int64]
    step: NDArray[np.int64]
    ppl: NDArray[np.float64]
    entropy: NDArray[np.float64]
    loss: NDArray[np.float64]
    n_tokens: NDArray[np.int64]
    tokens_kept: NDArray[np.int64]
    kept: NDArray[np.bool_]
    filled: NDArray[np.bool_]
    scored: NDArray[np.bool_]
    quadrant: NDArray[np.int64]
    place: NDArray[np.int64]
    pruner: str | None = None
    kinds: tuple[KindCount, ...] = ()
    kind: NDArray[np.object_] | None = None

    @classmethod
    def of(cls, ledger: pa.Table, pruner: str | None = None) -> "History":
        """The visits of a ledger.

        Args:
            ledger: At least one row, as ``read_ledger`` returns them, checked by ``typed_scores``.
            pruner: Name of the run's sample pruner; None if not known.
        """
        step = ledger["step"].to_numpy()
        if bool((np.diff(step) < 0).any()):  # no run writes it so
            ledger = ledger.take(np.argsort(step, kind="stable"))
        encoded = ledger["sample_id"].combine_chunks().dictionary_encode()
        ppl, entropy = _floats(ledger["ppl"]), _floats(ledger["entropy"])
        with np.errstate(divide="ignore", invalid="ignore"):
            loss = np.log(ppl)
        n_tokens = ledger["n_tokens"].to_numpy()
        columns = {
            "step": ledger["step"].to_numpy(),
            "kept": _bools(ledger["kept"]),
            "filled": _bools(ledger["filled"]),
            "quadrant": ledger["quadrant"].to_numpy().astype(np.int64),
        }
        # Only visits that were scored have values that are NaN or infinite, and not null.
        is_bad = _is_bad(ledger["ppl"], ppl) | _is_bad(ledger["entropy"], entropy)
        return cls(
            names=encoded.dictionary,
            sample=encoded.indices.to_numpy().astype(np.int64),
            epoch=ledger["epoch"].to_numpy(),
            ppl=ppl,
            entropy=entropy,
            loss=np.where(np.isfinite(loss), loss, np.nan),
            n_tokens=n_tokens,
            tokens_kept=ledger["tokens_kept"].to_numpy(),
            scored=_bools(ledger["scored"]),
            place=_places(is_bad=is_bad, is_empty=n_tokens == 0, **columns),
            pruner=pruner,
            kinds=kinds_of(ledger),
            kind=_kind(ledger),
            **columns,
        )

    def __len__(self) -> int:
        """Number of visits."""
        return len(self.sample)

    @cached_property
    def steps(self) -> NDArray[np.int64]:
        """The steps of the run, ``(S,)``, ascending."""
        return np.unique(self.step)

    def of_steps(self, first: int, last: int) -> NDArray[np.int64]:
        """Places of the visits at the steps from ``first`` to ``last``."""
        start, end = np.searchsorted(self.step, [first, last + 1])
        return np.arange(start, end)

    def by_step(self, values: NDArray[np.float64 | np.int64]) -> NDArray[np.float64]:
        """Sum of a value of each visit, ``(N,)``, over the visits of each step, ``(S,)``."""
        at = np.searchsorted(self.steps, self.step)
        return np.bincount(at, values, len(self.steps)).astype(np.float64)

    @cached_property
    def by_sample(self) -> NDArray[np.int64]:
        """Places of the visits, ``(N,)``, by sample, and those of a sample in order of steps."""
        return np.argsort(self.sample, kind="stable")

    @cached_property
    def next_scored(self) -> NDArray[np.int64]:
        """Place of the visit at which each visit's sample was scored next, ``(N,)``; -1 for none.

        It is one at a later step, and its score is finite.
        """
        n, order = len(self), self.by_sample
        sample, step = self.sample[order], self.step[order]
        counts = self.scored[order] & np.isfinite(self.loss[order])
        places = np.append(np.where(counts, np.arange(n), n), n)
        after = np.minimum.accumulate(places[::-1])[::-1][1:]  # the next that counts
        sample, step = np.append(sample, -1), np.append(step, -1)
        after = np.where(sample[after] == sample[:-1], after, n)
        # An id may stand twice in a step, where rows of the data share it.
        while bool((same := (step[after] == step[:-1])).any()):
            after[same] = after[after[same]]
        found = np.full(n, -1)
        found[order] = np.append(order, -1)[after]
        return found

    def reasons(self, visits: NDArray[np.int64]) -> list[str]:
        """Why the samples of some visits are kept or dropped, in words."""
        columns = zip(
            self.kept[visits].tolist(),
            self.filled[visits].tolist(),
            self.place[visits].tolist(),
            strict=True,
        )
        return [reason(kept, filled, self._why(place)) for kept, filled, place in columns]

    def _why(self, place: int) -> str:
        if place == BAND:
            return "middle band"
        if place == NO_PLANE:
            return "without the plane" if self.pruner is None else f"by {self.pruner}"
        if place == UNPRUNED:
            return "nothing was pruned in this step"
        return why_of(place, bad=place == BAD, empty=place == EMPTY)


def _places(
    *,
    step: NDArray[np.int64],
    quadrant: NDArray[np.int64],
    kept: NDArray[np.bool_],
    filled: NDArray[np.bool_],
    is_bad: NDArray[np.bool_],
    is_empty: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Quadrant or what stands for it, ``(N,)``, see ``History.place``.

    Quadrant 0 is the middle band only in steps that had a plane, which other visits show.
    """
    at = np.cumsum(np.diff(step, prepend=step[:1]) != 0)
    on_plane = np.bincount(at, (quadrant != BAND) | filled) > 0
    is_sound = ~is_bad & ~is_empty
    dropped = np.bincount(at, is_sound & ~kept) > 0
    place = np.where((quadrant == BAND) & ~on_plane[at], NO_PLANE, quadrant)
    place[~on_plane[at] & ~dropped[at]] = UNPRUNED
    place[is_bad & ~kept] = BAD
    place[is_empty] = EMPTY
    return place


def _kind(ledger: pa.Table) -> NDArray[np.object_] | None:
    if "kind" not in ledger.column_names:
        return None
    return np.array(ledger["kind"].to_pylist(), dtype=object)


def _is_bad(column: pa.ChunkedArray, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return ~_bools(column.is_null()) & ~np.isfinite(values)


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    values: NDArray[np.float64] = pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy()
    return values


def _bools(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    values: NDArray[np.bool_] = column.to_numpy(zero_copy_only=False).astype(bool)
    return values
