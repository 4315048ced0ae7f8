"""What pruners return, checked: a user's own may return anything."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..core.plane import Selection
from ..errors import UsageError


def checked_selection(selection: object, n: int) -> Selection:
    """The selection that a sample pruner returned for ``n`` candidates; a mask becomes one.

    Raises:
        UsageError: A user's pruner returned something else.
    """
    if isinstance(selection, Tensor):
        selection = Selection.without_plane(selection.cpu())
    if isinstance(selection, Selection):
        parts = [selection.kept, selection.quadrant, selection.filled, selection.side]
        if selection.weight is not None:
            parts.append(selection.weight)
        if selection.kept.dtype == torch.bool and all(part.shape == (n,) for part in parts):
            return selection
    raise UsageError(
        f"the sample pruner must return a Selection or a bool tensor of shape ({n},), got "
        f"{' '.join(repr(selection).split())[:80]}"
    )


def checked_masks(masks: object, lengths: Sequence[int]) -> list[Tensor]:
    """The keep masks that a token pruner returned for samples of so many answer tokens each.

    Raises:
        UsageError: A user's pruner returned something else.
    """
    made: list[Any] = list(masks) if isinstance(masks, list | tuple) else [masks]
    sound = len(made) == len(lengths) and all(
        isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == (n,)
        for mask, n in zip(made, lengths, strict=True)
    )
    if not sound:
        shown = [tuple(m.shape) if isinstance(m, Tensor) else type(m).__name__ for m in made[:3]]
        raise UsageError(
            "the token pruner must return a bool tensor of shape (T,) for each sample of the "
            f"pool, got {shown}..."
        )
    return made
