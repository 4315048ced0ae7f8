"""What the columns of a run are counted to be, in loops written for reading."""

import math
from collections.abc import Sequence
from itertools import groupby, pairwise
from statistics import median
from typing import Any

from qtuning.run.ledger import LedgerRow


def z_scores(losses: Sequence[float]) -> list[float]:
    """The robust z-score of each loss; NaN where there is none."""
    finite = [loss for loss in losses if math.isfinite(loss)]
    differences = [later - one for one, later in pairwise(finite)]
    scale = 0.0
    if differences:
        centre = median(differences)
        deviations = [abs(one - centre) for one in differences]
        scale = 1.482602218505602 * median(deviations) / math.sqrt(2)
        if scale == 0.0:
            mean = math.fsum(deviations) / len(deviations)
            scale = 1.2533141373155003 * mean / math.sqrt(2)
    found = []
    for place, loss in enumerate(losses):
        before = [one for one in losses[:place] if math.isfinite(one)][-25:]
        if not math.isfinite(loss):
            found.append(math.inf)
        elif len(before) < 5 or scale == 0.0:
            found.append(math.nan)
        else:
            found.append((loss - median(before)) / scale)
    return found


def is_bad(row: LedgerRow) -> bool:
    """Whether scoring gave a value that is NaN or infinite."""
    return any(v is not None and not math.isfinite(v) for v in (row.ppl, row.entropy))


def place(row: LedgerRow, step: Sequence[LedgerRow]) -> str:
    """Where a visit lies, in words, among those of its step."""
    if row.n_tokens == 0:
        return "no answer"
    if is_bad(row) and not row.kept:
        return "bad loss"
    if any(one.quadrant or one.filled for one in step):
        return f"Q{row.quadrant}" if row.quadrant else "band"
    sound = [one for one in step if one.n_tokens and not is_bad(one)]
    return "not pruned" if all(one.kept for one in sound) else "no plane"


def samples(rows: Sequence[LedgerRow]) -> dict[str, dict[str, Any]]:
    """Fate, path and counts of each sample by name, in the order of first visits."""
    steps = {number: list(step) for number, step in groupby(rows, lambda row: row.step)}
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        one = found.setdefault(row.sample_id, {"visits": 0, "kept": 0, "places": []})
        one["visits"] += 1
        one["kept"] += row.kept
        where = place(row, steps[row.step])
        if one["places"][-1:] != [where]:
            one["places"].append(where)
    for one in found.values():
        never, always = one["kept"] == 0, one["kept"] == one["visits"]
        one["fate"] = "never" if never else "always" if always else "flipping"
        places = one.pop("places")
        one["path"] = " > ".join(places[:8] + (["..."] if len(places) > 8 else []))
    return found


def next_scored(rows: Sequence[LedgerRow]) -> list[int]:
    """Place of the next visit that scored each row's sample; -1 for none."""
    return [
        next(
            (
                place
                for place, other in enumerate(rows)
                if other.sample_id == row.sample_id
                and other.step > row.step
                and other.scored
                and other.ppl is not None
                and math.isfinite(other.ppl)
            ),
            -1,
        )
        for row in rows
    ]


def answer_loss(rows: Sequence[LedgerRow]) -> float:
    """Mean NLL of the answer tokens of rows that were scored at their step."""
    known = [row for row in rows if row.scored and row.ppl and math.isfinite(row.ppl)]
    tokens = sum(row.n_tokens for row in known)
    total = math.fsum(row.n_tokens * math.log(row.ppl) for row in known if row.ppl)
    return total / tokens if tokens else math.nan
