"""Visits, the decisions that a report shows, as columns of numbers."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..core.seeds import seed_of

MOST_VISITS = 100_000
"""Highest number of decisions in a page."""


@dataclass(frozen=True)
class Visits:
    """Visits, each of one candidate at one step, as columns ``(N,)`` in order of epoch and step.

    Attributes:
        sample: Index of the sample in the list of names.
        epoch: Epoch, counted from 0.
        step: Step; candidates of the same step competed with each other.
        ppl: Perplexity; NaN if not known.
        entropy: Mean answer entropy in nats; NaN if not known.
        n_tokens: Number of answer tokens.
        quadrant: 1 to 4; 0 for the middle band or without the plane.
        kept: 1 if the sample was kept, else 0.
        filled: 1 if the sample was kept only to fill the budget, else 0.
        tokens_kept: Number of answer tokens trained on.
    """

    sample: NDArray[np.uint32]
    epoch: NDArray[np.int32]
    step: NDArray[np.int32]
    ppl: NDArray[np.float64]
    entropy: NDArray[np.float64]
    n_tokens: NDArray[np.uint32]
    quadrant: NDArray[np.uint8]
    kept: NDArray[np.uint8]
    filled: NDArray[np.uint8]
    tokens_kept: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.sample)

    @property
    def scored(self) -> bool:
        """Whether any perplexity and any entropy is known, so that there is a plane to draw."""
        return bool(np.isfinite(self.ppl).any() and np.isfinite(self.entropy).any())

    def take(self, places: NDArray[np.intp]) -> "Visits":
        """Return the visits at some places, ``(M,)``, in their order."""
        return Visits(**{name: values[places] for name, values in vars(self).items()})


def visits_of(table: pa.Table, *, by_id: bool) -> tuple[Visits, list[str], NDArray[np.intp]]:
    """Read the visits of a table of decisions.

    Args:
        table: ``sample_id``, ``ppl``, ``entropy``, ``n_tokens``, ``quadrant``, ``kept``, ``filled``
            and ``tokens_kept``; ``epoch`` and ``step`` if there are several.
        by_id: Whether rows of the same id are visits of one sample, as in a ledger; else each row
            is a sample of its own.

    Returns:
        The visits, the name of each sample, and the row of each sample's first visit. Rows without
        answer tokens are no candidates, and are left out.
    """
    rows = np.flatnonzero(table["n_tokens"].to_numpy() > 0)
    ids = table["sample_id"].cast(pa.string()).take(rows).combine_chunks()
    if by_id:
        encoded = ids.dictionary_encode()
        sample = encoded.indices.to_numpy().astype(np.uint32)
        names = [str(name) for name in encoded.dictionary.to_pylist()]
        first = rows[np.unique(sample, return_index=True)[1]]
    else:
        sample = np.arange(len(rows), dtype=np.uint32)
        names = [str(name) for name in ids.to_pylist()]
        first = rows
    zeros = np.zeros(len(rows), dtype=np.int32)

    def whole(name: str) -> NDArray[np.int32]:
        if name not in table.column_names:
            return zeros
        values: NDArray[np.int32] = table[name].to_numpy()[rows].astype(np.int32)
        return values

    visits = Visits(
        sample=sample,
        epoch=whole("epoch"),
        step=whole("step"),
        ppl=_floats(table["ppl"])[rows],
        entropy=_floats(table["entropy"])[rows],
        n_tokens=table["n_tokens"].to_numpy()[rows].astype(np.uint32),
        quadrant=table["quadrant"].to_numpy()[rows].astype(np.uint8),
        kept=table["kept"].to_numpy()[rows].astype(np.uint8),
        filled=table["filled"].to_numpy()[rows].astype(np.uint8),
        tokens_kept=table["tokens_kept"].to_numpy()[rows].astype(np.uint32),
    )
    in_order = np.lexsort((visits.step, visits.epoch))
    return visits.take(in_order), names, first


def thinned(visits: Visits, most: int) -> Visits:
    """Reduce visits to at most ``most``: whole steps at even distances, or random visits.

    Whole steps keep the candidates together that competed with each other. Visits are drawn at
    random, the same in every call, if a single step has more than ``most``.
    """
    if len(visits) <= most:
        return visits
    pools = np.flatnonzero(np.diff(visits.step, prepend=visits.step[0] - 1))
    sizes = np.diff(np.append(pools, len(visits)))
    if sizes.max() > most:
        draw = np.random.default_rng(seed_of("visits of a plane"))
        return visits.take(np.sort(draw.choice(len(visits), most, replace=False)))
    n_pools = int(len(pools) * most / len(visits))
    while True:
        pool_places = np.unique(np.linspace(0, len(pools) - 1, n_pools).round().astype(int))
        if sizes[pool_places].sum() <= most:
            break
        n_pools -= 1
    places = [np.arange(pools[i], pools[i] + sizes[i]) for i in pool_places]
    return visits.take(np.concatenate(places))


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    values: NDArray[np.float64] = pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy()
    return values
