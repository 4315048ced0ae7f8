"""How long the rows are, what is cut away, and which rows have nothing to train on."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.ratio import share
from .figures import Figures
from .findings import in_rows
from .result import Finding, Table
from .tokens import Ints


def row_facts(rows: Figures) -> dict[str, Any]:
    """How many rows are read, are trained on, and are left out by reason, which add up."""
    masked = rows.whole_answer == 0
    lost = (rows.whole_answer > 0) & ~rows.trained
    return {
        "read": len(rows),
        "trained on": int(rows.trained.sum()),
        "left out, no answer tokens": int((masked & ~rows.out_by_weight).sum()),
        **({"left out, by weight 0": out} if (out := int(rows.out_by_weight.sum())) else {}),
        "left out, the whole answer is cut away": int(lost.sum()),
    }


def token_facts(rows: Figures, longest: int | None) -> dict[str, Any]:
    """Tokens of input and answer of the rows that are trained on.

    Args:
        rows: Figures of the rows.
        longest: Tokens at which a row is cut; None if none is.
    """
    on = rows.trained
    answers = rows.answer[on]
    total = int(rows.length[on].sum())
    facts = {**_spread("input", rows.length[on]), **_spread("answer", answers)}
    facts["trained share"] = round(share(int(answers.sum()), total), 4)
    facts["maximal length"] = longest
    facts["rows cut"] = int((rows.length < rows.whole).sum())
    facts["input tokens cut away"] = int((rows.whole - rows.length).sum())
    facts["answer tokens cut away"] = int((rows.whole_answer - rows.answer).sum())
    return facts


def weight_facts(rows: Figures) -> dict[str, Any]:
    """The users' weights of rows; empty if all of them are 1."""
    weights = rows.weight[rows.trained]
    if not rows.unweighted.any() and (weights == 1).all():
        return {}
    facts: dict[str, Any] = {"rows with a weight": int(((rows.weight != 1) & rows.trained).sum())}
    if len(weights):
        facts |= {
            "mean of a row, lowest": round(float(weights.min()), 4),
            "mean of a row, highest": round(float(weights.max()), 4),
            "mean": round(float(np.average(weights, weights=rows.answer[rows.trained])), 4),
        }
    return {**facts, "tokens of weight 0": int(rows.unweighted.sum())}


def length_findings(rows: Figures, longest: int | None) -> list[Finding]:
    """Rows without an answer token, rows whose answers are cut, and answers of no or one token.

    Args:
        rows: Figures of the rows.
        longest: Tokens at which a row is cut; None if none is.
    """
    at = "" if longest is None else f" at {longest:,} tokens"
    answered = rows.whole_answer > 0
    lost = rows.answer < rows.whole_answer
    cut = rows.length < rows.whole
    if rows.trained.any():
        nothing = []
    else:
        why = "no row has an answer token left to train on"
        do = "look at the rows below, and at max_length, completion_only_loss, assistant_only_loss"
        nothing = [Finding("error", "nothing-trained", len(rows), (), why, do)]
    return [
        *nothing,
        *in_rows(
            "error",
            "labels-masked",
            ~answered & ~rows.out_by_weight,
            "no answer token, all labels are masked",
            "see whether their answers are empty, and whether the template marks the assistant's "
            "turns",
        ),
        *in_rows(
            "note",
            "out-by-weight",
            rows.out_by_weight,
            "no answer token, since what would be trained has weight 0",
            "leave the rows out, or give them a weight, unless that is what you mean",
        ),
        *in_rows(
            "error",
            "answers-lost",
            answered & ~rows.trained,
            f"the whole answer is cut away{at}",
            "raise max_length, or shorten their prompts",
        ),
        *in_rows(
            "warning",
            "answers-cut",
            rows.trained & lost,
            f"a part of the answer is cut away{at}",
            "raise max_length, or leave the rows out: they teach not to stop",
        ),
        *in_rows(
            "note",
            "prompts-cut",
            rows.trained & cut & ~lost,
            f"a part of the prompt is cut away{at}, and nothing of the answer",
            "raise max_length if the prompt matters",
        ),
        *in_rows(
            "warning",
            "answers-empty",
            answered & (rows.content == 0),
            "the answer is empty, but for its end",
            "leave them out, unless silence is the right answer",
        ),
        *in_rows(
            "note",
            "answers-of-one-token",
            rows.content == 1,
            "the answer is one token, and its end",
            "labels are fine; for words, see whether the answers are whole",
        ),
    ]


def longest_rows(rows: Figures, names: Sequence[str], number: int) -> Table:
    """The longest rows, before they are cut, longest first."""
    return [
        {
            "row": int(row) + 1,
            "sample_id": names[int(row)],
            "tokens": int(rows.whole[row]),
            "answer tokens": int(rows.whole_answer[row]),
            "kept": int(rows.length[row]),
        }
        for row in longest(rows, number)
    ]


def longest(rows: Figures, number: int) -> Ints:
    """The longest rows before they are cut, from 0; of equal ones the first."""
    order: Ints = np.argsort(-rows.whole, kind="stable")[:number]
    return order


def _spread(name: str, lengths: Ints) -> dict[str, Any]:
    if not len(lengths):
        return {f"{name}, total": 0}
    return {
        f"{name}, total": int(lengths.sum()),
        f"{name}, median": float(np.median(lengths)),
        f"{name}, 95th percentile": float(np.percentile(lengths, 95)),
        f"{name}, longest": int(lengths.max()),
    }
