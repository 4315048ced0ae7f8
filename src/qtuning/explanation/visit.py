"""One visit of a sample: its scores, the decision on it, and its loss before and after."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..io.json_files import finite
from ..io.row_text import Text
from .history import History
from .texts import Texts

_COPIED = ("epoch", "step", "ppl", "entropy", "n_tokens", "tokens_kept", "quadrant", "scored")


@dataclass(frozen=True)
class Visit:
    """A candidate at a step, with what the run decided.

    Attributes:
        sample_id: Name of the sample; of a turn, with ``@<turn>`` behind it.
        epoch: Epoch, counted from 0.
        step: Optimizer step, counted from 1.
        ppl: Perplexity of the answer; NaN if not known, NaN or inf of a bad loss.
        entropy: Mean answer entropy in nats; NaN if not known, NaN or inf of a bad loss.
        n_tokens: Number of answer tokens.
        tokens_kept: Number of answer tokens trained on.
        quadrant: 1 to 4; 0 for the middle band or none.
        decision: ``"kept"``, ``"filled"`` (kept only to fill the budget) or ``"dropped"``.
        reason: Why, in words.
        scored: Whether the scores are of this step; others are of an earlier one.
        loss_before: Mean NLL of the answer before this step in nats; NaN if not known.
        loss_after: The same at the next visit that scored the sample; NaN if there is none.
        step_after: The step of that visit; None if there is none.
        text: Prompt and answer; None if not known.
        kind: What kind of turn it is; empty for a whole sample.
    """

    sample_id: str
    epoch: int
    step: int
    ppl: float
    entropy: float
    n_tokens: int
    tokens_kept: int
    quadrant: int
    decision: str
    reason: str
    scored: bool
    loss_before: float
    loss_after: float
    step_after: int | None
    text: Text | None = None
    kind: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The visit as plain data for JSON; NaN and infinity are None."""
        content = {name: finite(value) for name, value in vars(self).items()}
        if not self.kind:
            del content["kind"]
        return {**content, "text": text_as_dict(self.text)}


def text_as_dict(text: Text | None) -> dict[str, str] | None:
    """A text as plain data for JSON."""
    return None if text is None else {"prompt": text.prompt, "answer": text.answer}


def visits_at(
    history: History, places: NDArray[np.int64], texts: Texts | None = None
) -> list[Visit]:
    """The visits at some places of a history, in their order.

    Args:
        history: All visits of the run.
        places: Places of visits, ``(N,)``.
        texts: Texts of samples; None for none.
    """
    samples = history.sample[places]
    columns = {name: vars(history)[name][places].tolist() for name in _COPIED}
    after = history.next_scored[places]
    return [
        Visit(
            sample_id=name,
            decision="filled" if filled else "kept" if kept else "dropped",
            reason=reason,
            loss_before=float(history.loss[place]),
            loss_after=float(history.loss[later]) if later >= 0 else math.nan,
            step_after=int(history.step[later]) if later >= 0 else None,
            text=text,
            kind="" if history.kind is None else history.kind[place],
            **dict(zip(_COPIED, values, strict=True)),
        )
        for name, text, kept, filled, reason, place, later, values in zip(
            history.names.take(pa.array(samples)).to_pylist(),
            [None] * len(samples) if texts is None else texts.of(samples),
            history.kept[places].tolist(),
            history.filled[places].tolist(),
            history.reasons(places),
            places,
            after,
            zip(*columns.values(), strict=True),
            strict=True,
        )
    ]
