"""Checks of what weighters return: the weighter of a user may return anything."""

from torch import Tensor

from ..errors import UsageError
from .protocols import Weighed


def checked_weights(made: object, n: int, step: int) -> Weighed:
    """What a weighter returned for ``n`` tokens, if only as weights; values are not looked at.

    Raises:
        UsageError: The weighter returned another type, or tensors of another shape.
    """
    weighed = Weighed(made) if isinstance(made, Tensor) else made
    if isinstance(weighed, Weighed):
        parts = [weighed.weights] + ([] if weighed.losses is None else [weighed.losses])
        if all(isinstance(part, Tensor) and part.shape == (n,) for part in parts):
            return weighed
    raise UsageError(
        f"step {step}: token_weight must return a tensor of shape ({n},) or a Weighed of such, got "
        f"{' '.join(repr(made).split())[:80]}"
    )
