"""Checks of what weighters return: the weighter of a user may return anything."""

from torch import Tensor

from ..errors import UsageError
from .protocols import Weighed


def checked_weights(made: object, n: int, step: int, *, before: bool) -> Weighed:
    """What a weighter returned for ``n`` tokens, if only as weights; values are not looked at.

    Args:
        made: What the weighter returned.
        n: Number of tokens.
        step: The optimizer step about to be taken, for messages.
        before: Whether the weighter was called before the training forward.

    Raises:
        UsageError: The weighter returned another type, or tensors of another shape, or what it
            cannot have before the training forward or within the loss.
    """
    weighed = Weighed(made) if isinstance(made, Tensor) else made
    if isinstance(weighed, Weighed):
        parts = [weighed.weights] + ([] if weighed.losses is None else [weighed.losses])
        if before and weighed.losses is not None:
            raise UsageError(
                f"step {step}: token_weight returned losses, and reads nothing of the training "
                "forward: add nll to its needs"
            )
        if weighed.masks and not before:
            raise UsageError(
                f"step {step}: token_weight returned a mask, by whose sum the loss is divided "
                "before it is known, since it reads the training forward: leave masks out, or read "
                "the model before training alone"
            )
        if all(isinstance(part, Tensor) and part.shape == (n,) for part in parts):
            return weighed
    raise UsageError(
        f"step {step}: token_weight must return a tensor of shape ({n},) or a Weighed of such, got "
        f"{' '.join(repr(made).split())[:80]}"
    )
