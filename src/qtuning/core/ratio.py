"""Number of samples or tokens to keep at a ratio, and shares of a whole."""

import math

# floor(0.29 * 100) is 28 in binary floating point; the budget must be 29.
_ROUNDING = 1e-9


def keep_count(n: int, ratio: float) -> int:
    """Number to keep of ``n`` at a ratio: ``max(1, floor(ratio * n + 1e-9))`` (Algorithm 1).

    Args:
        n: Number of samples or tokens.
        ratio: Keep ratio in (0, 1].

    Raises:
        ValueError: The ratio is outside (0, 1].
    """
    if not 0.0 < ratio <= 1.0:
        raise ValueError(f"a keep ratio must lie in (0, 1], got {ratio}")
    return min(n, max(1, math.floor(ratio * n + _ROUNDING)))


def share(part: float, whole: float) -> float:
    """``part / whole``; 0 if ``whole`` is 0."""
    return part / whole if whole else 0.0
