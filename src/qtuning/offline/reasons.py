"""Why a sample is kept or dropped, in words: of scores, of pruned files and of a run's ledger."""

from ..core.plane import BAND, QUADRANT_NAMES

BAD = "NaN or infinite loss"
EMPTY = "no answer tokens"
BAND_OR_NO_PLANE = "middle band, or chosen without it"
"""Words for quadrant 0 where nobody knows whether there was a plane."""


def reason(kept: bool, filled: bool, why: str) -> str:
    """The reason of a decision, in words.

    Args:
        kept: Whether the sample is kept.
        filled: Whether it is kept only to fill the budget.
        why: What decided: the name of its quadrant, ``BAD``, ``EMPTY``, or other words.
    """
    if filled:
        return f"kept to fill the budget ({why})"
    return f"{'kept' if kept else 'dropped'}: {why}"


def why_of(quadrant: int, *, bad: bool = False, empty: bool = False) -> str:
    """What decided on a sample, in words.

    Args:
        quadrant: 1 to 4, or 0 for the middle band or a choice without the plane.
        bad: Whether its loss is NaN or infinite, so that it is never kept.
        empty: Whether it has no answer tokens, so that it is no candidate.
    """
    if empty:
        return EMPTY
    if bad:
        return BAD
    return BAND_OR_NO_PLANE if quadrant == BAND else QUADRANT_NAMES[quadrant]
