"""Checks of what pruners return: the pruner of a user may return anything."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..core.plane import Selection
from ..errors import UsageError


def checked_selection(selection: object, n: int) -> Selection:
    """The selection of ``n`` candidates that a sample pruner returned, if only as a mask.

    Raises:
        UsageError: The pruner returned another type, or tensors of another shape or dtype.
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
    """The keep masks that a token pruner returned for samples of ``lengths`` answer tokens.

    Raises:
        UsageError: The pruner did not return one bool mask of the right shape per sample.
    """
    mask_list: list[Any] = list(masks) if isinstance(masks, list | tuple) else [masks]
    fits = len(mask_list) == len(lengths) and all(
        isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == (n,)
        for mask, n in zip(mask_list, lengths, strict=True)
    )
    if not fits:
        examples = [
            tuple(m.shape) if isinstance(m, Tensor) else type(m).__name__ for m in mask_list[:3]
        ]
        raise UsageError(
            "the token pruner must return a bool tensor of shape (T,) for each sample of the "
            f"pool, got {examples}..."
        )
    return mask_list
