"""Steps whose loss jumps: far above the median of the losses just before."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..io.json_files import finite
from .history import History
from .losses import Losses
from .robust import WINDOW, robust_scores
from .texts import Texts
from .visit import Visit, visits_at

THRESHOLD = 3.5
"""Lowest z-score of a spike (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993)."""


@dataclass(frozen=True)
class Spike:
    """A step whose loss jumps.

    Attributes:
        first_step: The first step that the loss is of: another one where not every step is logged.
        step: The last step that the loss is of.
        loss: Loss in nats a token; NaN or infinite if training was.
        usual: Median of the up to 25 losses before, in nats; NaN if there are none.
        score: Robust z-score of the loss; infinite if the loss is not finite.
        rows: The samples trained on, those that lift the loss most first.
        lifts: By how much each of them lifts the loss above ``usual``, in nats; NaN if not known.
    """

    first_step: int
    step: int
    loss: float
    usual: float
    score: float
    rows: tuple[Visit, ...]
    lifts: tuple[float, ...]

    @property
    def steps(self) -> str:
        """The step, or the first and the last step, in words."""
        return f"{self.step}" if self.first_step == self.step else f"{self.first_step}-{self.step}"

    def lifting(self, most: int) -> list[tuple[Visit, float]]:
        """The rows that lift the loss, and by how much; at most ``most``, and at least one."""
        rows = list(zip(self.rows, self.lifts, strict=True))
        return [row for row in rows if row[1] > 0.0][:most] or rows[:1]

    def to_dict(self) -> dict[str, Any]:
        """The spike as plain data for JSON."""
        return {
            "first_step": self.first_step,
            "step": self.step,
            "loss": finite(self.loss),
            "usual": finite(self.usual),
            "score": finite(self.score),
            "rows": [
                {**row.to_dict(), "lift": finite(lift)}
                for row, lift in zip(self.rows, self.lifts, strict=True)
            ],
        }


@dataclass(frozen=True)
class Spikes:
    """The steps of a run whose loss jumps.

    Attributes:
        losses: The losses that were looked at.
        threshold: Lowest z-score of a spike.
        spikes: The spikes, highest z-score first.
    """

    losses: Losses
    threshold: float
    spikes: tuple[Spike, ...]

    def to_dict(self) -> dict[str, Any]:
        """The spikes as plain data for JSON."""
        return {
            "source": self.losses.source,
            "losses": len(self.losses.step),
            "window": WINDOW,
            "threshold": self.threshold,
            "spikes": [spike.to_dict() for spike in self.spikes],
        }


def find_spikes(history: History, losses: Losses, threshold: float, texts: Texts | None) -> Spikes:
    """The steps whose loss jumps, with the samples that they trained on.

    Args:
        history: The visits of the run.
        losses: The losses of its steps.
        threshold: Lowest z-score of a spike.
        texts: Texts of samples; None for none.
    """
    scores, usual = robust_scores(losses.loss)
    is_spike = np.nan_to_num(scores, nan=-np.inf, posinf=np.inf) >= threshold
    order = np.argsort(-scores[is_spike], kind="stable")
    spikes = [
        _spike(history, losses, int(place), float(scores[place]), float(usual[place]), texts)
        for place in np.flatnonzero(is_spike)[order]
    ]
    return Spikes(losses, threshold, tuple(spikes))


def _spike(
    history: History, losses: Losses, at: int, score: float, usual: float, texts: Texts | None
) -> Spike:
    first, last = int(losses.first[at]), int(losses.step[at])
    places = history.of_steps(first, last)
    places = places[history.kept[places]]
    n_tokens = history.n_tokens[places]
    known = np.where(history.scored[places], history.loss[places], np.nan)
    lifts = n_tokens * (known - usual) / max(1, n_tokens[np.isfinite(known)].sum())
    order = np.argsort(-lifts, kind="stable")  # NaN last
    return Spike(
        first_step=first,
        step=last,
        loss=float(losses.loss[at]),
        usual=usual,
        score=score,
        rows=tuple(visits_at(history, places[order], texts)),
        lifts=tuple(lifts[order].tolist()),
    )
