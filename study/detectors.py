"""How well scores tell faulty rows from right ones: AUC with intervals, and Q1 of the plane.

A cell, see ``study/faults.py``, has the scores of rows without faults, and of faulty versions of
some of them for each seed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from qtuning import select_samples
from qtuning.core.plane import Q1

Values = NDArray[np.float64]
REPEATS, FEWER_REPEATS = 1000, 200
LEVELS = (2.5, 97.5)
RATIO = 0.25
"""Sample ratio of the plane, qtuning's default."""
FLAGS = (
    *("flagged", "Q1 precision", "Q1 recall", "gain precision", "gain recall"),
    *("kept by q-tuning", "kept by ifd"),
)
"""The figures of ``Cell.flags``."""


class Scores(NamedTuple):
    """Scores of some rows, each ``(N,)``.

    Attributes:
        nll: Summed NLL of the answer after its prompt, in nats.
        alone: Summed NLL of the answer alone, in nats.
        n: Number of answer tokens.
        entropy: Mean entropy of the answer tokens, in nats.
    """

    nll: Values
    alone: Values
    n: Values
    entropy: Values

    @classmethod
    def of(cls, rows: Sequence[Sequence[float]]) -> "Scores":
        """The scores in the lists of a cell."""
        return cls(*np.array(rows, dtype=np.float64).T)


DETECTORS: Mapping[str, Callable[[Scores], Values]] = {
    "perplexity": lambda s: s.nll / s.n,
    "entropy": lambda s: s.entropy,
    "gain": lambda s: s.nll - s.alone,
    "gain a token": lambda s: (s.nll - s.alone) / s.n,
    "IFD ratio": lambda s: s.nll / s.alone,
}
"""By name, how suspect rows are: the higher the more, in an order that is all that counts."""


class Mean(NamedTuple):
    """A mean over seeds with its 95% interval, by a bootstrap over rows."""

    value: float
    low: float
    high: float


Part = tuple[NDArray[np.intp], NDArray[np.intp], Scores, Scores]
"""Of one seed: places of the faulty rows, ``(F,)``, of the right ones, ``(C,)``; their scores."""


class Cell:
    """The rows of a cell as arrays, and draws of rows for the bootstrap."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        """Read the content of a cell's file."""
        self.data, self.fault = str(content["data"]), str(content["fault"])
        clean, faulty = content["clean"], content["faulty"]
        names = list(dict.fromkeys([*clean, *(name for one in faulty.values() for name in one)]))
        place = {name: i for i, name in enumerate(names)}
        self.n_rows = len(names)
        self.parts: list[Part] = []
        for one in faulty.values():
            right = [name for name in clean if name not in one]
            at_faulty, at_right = (
                np.array([place[name] for name in some]) for some in (one, right)
            )
            bad, good = Scores.of(list(one.values())), Scores.of([clean[name] for name in right])
            self.parts.append((at_faulty, at_right, bad, good))

    def draws(self, repeats: int) -> Values:
        """How often each row is drawn, ``(repeats + 1, N)``; the first draw has each once."""
        draw = np.random.default_rng(0)
        counts = draw.multinomial(self.n_rows, np.full(self.n_rows, 1 / self.n_rows), repeats)
        return np.vstack([np.ones(self.n_rows), counts])

    def aucs(self) -> dict[str, Values]:
        """AUC of each detector, mean over seeds, ``(1 + REPEATS,)``: of all rows, and of draws."""
        draws = self.draws(REPEATS)
        means = {}
        for name, detector in DETECTORS.items():
            values = [
                auc(detector(bad), detector(good), draws[:, faulty], draws[:, right])
                for faulty, right, bad, good in self.parts
            ]
            means[name] = np.mean(values, axis=0)
        return means

    def flags(self, share: float) -> dict[str, Mean]:
        """What the plane at ``RATIO`` flags and keeps, beside gain and ``ifd``, mean over seeds.

        Precision and recall are those of Q1, and of as many rows of least gain; "kept" is the share
        of faulty rows in what the pruners keep.

        Args:
            share: Which part of the faulty rows is faulty; the others are without a fault.
        """
        draws = self.draws(FEWER_REPEATS).astype(int)
        figures = [[self._flags(part, share, counts) for part in self.parts] for counts in draws]
        values = np.nanmean(np.array(figures), axis=1)
        return {name: interval(values[:, i]) for i, name in enumerate(FLAGS)}

    def _flags(self, part: Part, share: float, counts: NDArray[np.int64]) -> tuple[float, ...]:
        faulty, right, bad, good = part
        n_bad = round(share * len(faulty))
        places = np.concatenate([faulty[:n_bad], right])
        scores = Scores(*(np.concatenate([b[:n_bad], g]) for b, g in zip(bad, good, strict=True)))
        drawn = np.repeat(np.arange(len(places)), counts[places])
        is_bad = drawn < n_bad
        mixed = Scores(*(column[drawn] for column in scores))
        ppl = torch.from_numpy(np.exp(DETECTORS["perplexity"](mixed)))
        plane = select_samples(ppl, torch.from_numpy(mixed.entropy), RATIO)
        in_q1 = plane.quadrant.numpy() == Q1
        least = np.zeros(len(drawn), dtype=bool)
        least[np.argsort(-DETECTORS["gain"](mixed), kind="stable")[: in_q1.sum()]] = True
        ratio = DETECTORS["IFD ratio"](mixed)
        order = np.argsort(-np.where(ratio > 1, -ratio, ratio), kind="stable")
        with np.errstate(invalid="ignore"):
            return (
                in_q1.mean(),
                *(x for hit in (in_q1, least) for x in (is_bad[hit].mean(), hit[is_bad].mean())),
                is_bad[plane.kept.numpy()].mean(),
                is_bad[order[: int(RATIO * len(order))]].mean(),
            )


def auc(bad: Values, good: Values, w_bad: Values, w_good: Values) -> Values:
    """The chance that a faulty row is more suspect than a right one, ties counted half, ``(B,)``.

    Args:
        bad: How suspect the faulty rows are, ``(F,)``.
        good: How suspect the right rows are, ``(C,)``.
        w_bad: How often each faulty row counts, ``(B, F)``.
        w_good: How often each right row counts, ``(B, C)``.
    """
    wins = (bad[:, None] > good).astype(float) + 0.5 * (bad[:, None] == good)
    total = w_bad.sum(1) * w_good.sum(1)
    value: Values = ((w_bad @ wins) * w_good).sum(1) / total
    return value


def interval(values: Values) -> Mean:
    """The first value, and the 95% interval of the others."""
    low, high = np.nanpercentile(values[1:], LEVELS)
    return Mean(float(values[0]), float(low), float(high))
