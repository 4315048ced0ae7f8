"""Rows that occur twice, and prompts that have several answers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.ratio import share
from .findings import in_rows, repeated
from .result import Finding
from .tokens import Bools

Hashes = NDArray[np.uint64]

_MANY = 0.01
"""Share of repeated rows from which on they are a warning."""


def duplicate_rows(rows: Hashes) -> list[Finding]:
    """Rows that are equal to an earlier one.

    Args:
        rows: Hash of the tokens and labels of each row, ``(R,)``.
    """
    again = repeated(rows)
    return in_rows(
        "warning" if share(int(again.sum()), len(rows)) >= _MANY else "note",
        "rows-repeated",
        again,
        "equal to an earlier row",
        "leave them out, unless they shall weigh more",
    )


def duplicate_prompts(
    prompts: Hashes, answers: Hashes, known: Bools
) -> tuple[dict[str, Any], list[Finding]]:
    """Prompts that occur twice, and those with different answers.

    Args:
        prompts: Hash of the prompt of each row, ``(R,)``.
        answers: Hash of its answer, ``(R,)``.
        known: Whether the row has a prompt, ``(R,)``.

    Returns:
        Figures by name, and findings.
    """
    again = np.zeros(len(prompts), dtype=bool)
    differs = again.copy()
    pairs = prompts * np.uint64(0x9E3779B97F4A7C15) + answers  # wraps
    again[known] = repeated(prompts[known])
    differs[known] = again[known] & ~repeated(pairs[known])
    facts = {
        "prompts of an earlier row": int(again.sum()),
        "prompts of an earlier row with another answer": int(differs.sum()),
    }
    return facts, in_rows(
        "note",
        "prompts-with-other-answers",
        differs,
        "the prompt of an earlier row, with another answer",
        "fine for several good answers; look whether some contradict each other",
    )
