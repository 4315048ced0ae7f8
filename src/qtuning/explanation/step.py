"""One step of a run: its candidates, and the loss before, at and after it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UsageError
from ..io.json_files import finite
from ..run.train_log import LoggedLoss
from .history import BAD, History
from .losses import answer_losses
from .texts import Texts
from .visit import Visit, visits_at


@dataclass(frozen=True)
class Step:
    """An optimizer step and its candidates.

    Losses are means over answer tokens in nats, as the samples were scored before the step; NaN
    where they are not known.

    Attributes:
        step: The step, counted from 1.
        epoch: Epoch of its data, counted from 0.
        loss_candidates: Loss of all candidates.
        loss_kept: Loss of those that were kept.
        loss_kept_before: Loss of what was kept in the step before.
        loss_kept_after: Loss of what was kept in the step after.
        logged: The loss that was logged of this step, by itself or with others; None if none was.
        visits: The candidates, highest perplexity first.
    """

    step: int
    epoch: int
    loss_candidates: float
    loss_kept: float
    loss_kept_before: float
    loss_kept_after: float
    logged: LoggedLoss | None
    visits: tuple[Visit, ...]

    def to_dict(self) -> dict[str, Any]:
        """The step as plain data for JSON."""
        content = {name: finite(value) for name, value in vars(self).items() if name != "visits"}
        if self.logged is not None:
            content["logged"] = {k: finite(v) for k, v in self.logged._asdict().items()}
        decisions = [visit.decision for visit in self.visits]
        return {
            **content,
            "candidates": len(decisions),
            "kept": len(decisions) - decisions.count("dropped"),
            "filled": decisions.count("filled"),
            "rows": [visit.to_dict() for visit in self.visits],
        }


def step_of(
    history: History, number: int, logged: Sequence[LoggedLoss], texts: Texts | None, where: str
) -> Step:
    """A step of a run.

    Args:
        history: The visits of the run.
        number: The step, counted from 1.
        logged: The losses in the trainer's log; may be empty.
        texts: Texts of samples; None for none.
        where: Name of the run in messages.

    Raises:
        UsageError: The run has no such step.
    """
    places = history.of_steps(number, number)
    steps = history.steps
    if not len(places):
        gap = ", without this one" if steps[0] < number < steps[-1] else ""
        raise UsageError(
            f"no step {number} in {where}: its ledger has steps {steps[0]} to {steps[-1]}{gap}"
        )
    at = int(np.searchsorted(steps, number))
    kept = np.pad(answer_losses(history, history.kept), 1, constant_values=np.nan)
    ppl = history.ppl[places]
    # A bad loss is the highest, and one that is not known the lowest.
    is_unknown = np.isnan(ppl) & (history.place[places] != BAD)
    height = np.where(is_unknown, -np.inf, np.nan_to_num(ppl, nan=np.inf, posinf=np.inf))
    return Step(
        step=number,
        epoch=int(history.epoch[places[0]]),
        loss_candidates=float(answer_losses(history, np.ones_like(history.kept))[at]),
        loss_kept_before=float(kept[at]),
        loss_kept=float(kept[at + 1]),
        loss_kept_after=float(kept[at + 2]),
        logged=next((one for one in logged if one.first_step <= number <= one.step), None),
        visits=tuple(visits_at(history, places[np.argsort(-height, kind="stable")], texts)),
    )
