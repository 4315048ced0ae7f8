"""Which samples of a run were never kept, always kept, or now one and then the other."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .history import PLACE_LABELS, History
from .kinds import KindCount

NEVER, ALWAYS, FLIPPING = "never", "always", "flipping"
FATES = (NEVER, ALWAYS, FLIPPING)
LONGEST_PATH = 8
"""Places of a path that are told; of a longer one the first, and that there are more."""
_BASE = len(PLACE_LABELS) + 1


@dataclass(frozen=True)
class QuadrantPath:
    """The samples of a run that went through the same quadrants.

    Attributes:
        path: The quadrants, such as ``"Q1 > Q3"``; a stay of several visits counts once.
        counts: Number of samples by fate: never kept, always kept, flipping.
        example: Name of the first of them.
    """

    path: str
    counts: tuple[int, int, int]
    example: str

    @property
    def samples(self) -> int:
        """Number of samples."""
        return sum(self.counts)


@dataclass(frozen=True)
class Summary:
    """The samples of a run by what became of them.

    Attributes:
        table: A row for each sample, in the order of first visits: ``sample_id``, ``visits``,
            ``kept`` (visits at which it was kept), ``fate`` (``"never"``, ``"always"`` or
            ``"flipping"``) and ``path``, the quadrants that it went through.
        paths: The samples by path, the path of most samples first.
        kinds: The decisions by kind of turn; none where samples were pruned.
    """

    table: pa.Table
    paths: tuple[QuadrantPath, ...]
    kinds: tuple[KindCount, ...] = ()

    def names(self, fate: str) -> pa.Array:
        """Names of the samples that are ``"never"`` kept, ``"always"`` kept or ``"flipping"``."""
        rows = self.table.filter(pc.equal(self.table["fate"].combine_chunks(), fate))
        return rows["sample_id"].combine_chunks()

    def count(self, fate: str) -> int:
        """Number of samples that are ``"never"`` kept, ``"always"`` kept or ``"flipping"``."""
        return sum(path.counts[FATES.index(fate)] for path in self.paths)

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain data for JSON."""
        return {
            "samples": self.table.num_rows,
            "visits": int(pc.sum(self.table["visits"]).as_py()),
            **{
                fate: {"samples": self.count(fate), "ids": self.names(fate).to_pylist()}
                for fate in FATES
            },
            "paths": [
                {
                    "path": one.path,
                    "samples": one.samples,
                    **dict(zip(FATES, one.counts, strict=True)),
                    "example": one.example,
                }
                for one in self.paths
            ],
            **({"kinds": [one.to_dict() for one in self.kinds]} if self.kinds else {}),
        }


def summary_of(history: History) -> Summary:
    """The samples of a run by what became of them."""
    n_samples = len(history.names)
    n_visits = np.bincount(history.sample, minlength=n_samples)
    n_kept = np.bincount(history.sample, history.kept, n_samples).astype(np.int64)
    fate = np.where(n_kept == 0, 0, np.where(n_kept == n_visits, 1, 2))
    codes, first, path = np.unique(_path_codes(history), return_index=True, return_inverse=True)
    counts = np.zeros((len(codes), len(FATES)), dtype=np.int64)
    np.add.at(counts, (path, fate), 1)
    texts = [_decoded(int(code)) for code in codes]
    table = pa.table(
        {
            "sample_id": history.names,
            "visits": n_visits,
            "kept": n_kept,
            "fate": pa.DictionaryArray.from_arrays(fate, list(FATES)),
            "path": pa.DictionaryArray.from_arrays(path, texts),
        }
    )
    order = np.argsort(-counts.sum(1), kind="stable")
    examples = history.names.take(pa.array(first)).to_pylist()
    paths = [QuadrantPath(texts[i], tuple(counts[i].tolist()), examples[i]) for i in order.tolist()]
    return Summary(table, tuple(paths), history.kinds)


def path_text(places: Iterable[int]) -> str:
    """The path through some places, in words; a stay of several visits counts once."""
    labels = [PLACE_LABELS[place] for place, _ in groupby(places)]
    more = ["..."] if len(labels) > LONGEST_PATH else []
    return " > ".join(labels[:LONGEST_PATH] + more)


def _path_codes(history: History) -> NDArray[np.int64]:
    """A number for the path of each sample, ``(M,)``: its places as digits, the first one lowest.

    A digit after those that are told says that there are more.
    """
    order = history.by_sample
    sample, place = history.sample[order], history.place[order]
    moves = (np.diff(sample, prepend=-1) != 0) | (np.diff(place, prepend=-1) != 0)
    sample, place = sample[moves], place[moves]
    starts = np.flatnonzero(np.diff(sample, prepend=-1) != 0)
    position = np.arange(len(sample)) - np.repeat(starts, np.diff(np.append(starts, len(sample))))
    digit = np.where(position < LONGEST_PATH, place + 1, 1)
    told = position <= LONGEST_PATH
    codes = np.zeros(len(history.names), dtype=np.int64)
    np.add.at(codes, sample[told], digit[told] * _BASE ** position[told])
    return codes


def _decoded(code: int) -> str:
    labels: list[str] = []
    while code:
        code, digit = divmod(code, _BASE)
        labels.append(PLACE_LABELS[digit - 1] if len(labels) < LONGEST_PATH else "...")
    return " > ".join(labels)
