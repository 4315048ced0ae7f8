"""Whether answers end with a token at which the model stops, in every turn or the last."""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from .figures import NO_END, Figures
from .findings import in_rows
from .result import Finding
from .tokens import Bools

Names = Callable[[int], str]


def end_facts(rows: Figures, name: Names) -> dict[str, Any]:
    """Which tokens end the answers, and in how many rows and turns they are trained on.

    Args:
        rows: Figures of the rows.
        name: The text of a token.
    """
    answered = rows.whole_answer > 0
    ends, counts = np.unique(rows.end[rows.end != NO_END], return_counts=True)
    several = answered & (rows.stretches > 1)
    all_end = rows.ended == rows.stretches
    last_only = (rows.ended == 1) & (rows.end != NO_END)
    facts: dict[str, Any] = {
        "end token": ", ".join(
            f"{name(int(end))} in {count:,}" for end, count in zip(ends, counts, strict=True)
        )
        or "none",
        "answers that end with it": int((answered & (rows.end != NO_END)).sum()),
        "answers": int(answered.sum()),
    }
    if several.any():
        facts |= {
            "rows of several trained turns": int(several.sum()),
            "of these, every turn ends with it": int((several & all_end).sum()),
            "of these, the last one only": int((several & last_only).sum()),
        }
    return facts


def end_findings(
    rows: Figures, name: Names, stops: Collection[int], may_be_cut: Bools
) -> list[Finding]:
    """Answers that teach no end, or another than the one at which generation stops.

    Args:
        rows: Figures of the rows.
        name: The text of a token.
        stops: Ids at which the model stops to generate.
        may_be_cut: Rows whose end may be missing since they are cut, ``(R,)``.
    """
    answered = (rows.whole_answer > 0) & ~may_be_cut
    ended = rows.end != NO_END
    several = answered & (rows.stretches > 1)
    found = []
    if answered.any() and not (answered & ended).any():
        found += in_rows(
            "error",
            "end-never-trained",
            answered,
            "no end token is trained in any answer, so that the model does not learn to stop",
            "name the token with eos_token, or mend the chat template",
        )
    else:
        found += in_rows(
            "warning",
            "end-missing",
            answered & ~ended,
            "the answer does not end with an end token, as others do",
            "end all answers alike: the model learns when to stop from this token",
        )
    found += in_rows(
        "warning",
        "earlier-ends-missing",
        several & ended & (rows.ended < rows.stretches),
        "of several trained turns, some do not end with an end token",
        "use a template that marks the end of each of the assistant's turns as its own",
    )
    others = ended & ~np.isin(rows.end, list(stops))
    if others.any() and stops:
        used = ", ".join(name(int(end)) for end in np.unique(rows.end[others]))
        at = ", ".join(name(stop) for stop in sorted(stops))
        found += in_rows(
            "warning",
            "end-not-stop",
            others,
            f"the answer ends with {used}, and the model stops to generate at {at}",
            f"set eos_token to {used}, so that the saved model stops there",
        )
    found += in_rows(
        "warning",
        "bos-doubled",
        rows.doubled_bos,
        "the token that begins a text stands there twice in succession",
        "take the token out of the text or of the template: the tokenizer adds it",
    )
    found += in_rows(
        "warning",
        "end-doubled",
        rows.doubled_end,
        "an end token stands there twice in succession",
        "take the token out of the text: the template or TRL adds it",
    )
    return found
