"""Take the split, or the slices of splits, that an option names."""

from typing import Any

import datasets
from datasets import IterableDataset

from ..errors import UsageError, first_line
from .files import Splits
from .formats import Rows


def take(splits: Splits, spec: str, *, option: str, hint: str | None = None) -> Rows:
    """The split that an option names, maybe a slice as ``train[:300]``, or a sum of slices.

    Args:
        splits: All splits by name.
        spec: What the option says.
        option: The option, for messages.
        hint: What to do if there is no such split; None advises to name one.

    Raises:
        UsageError: There is no such split, or the slice is malformed.
    """
    if spec in splits:
        return splits[spec]
    listing = f"found: {', '.join(splits)}"
    streaming = any(isinstance(data, IterableDataset) for data in splits.values())
    if streaming and "[" in spec:
        raise UsageError(f"{option} {spec}: a stream has no slices; drop --dataset_streaming")
    try:
        if streaming:
            raise ValueError("no such split")
        lengths: dict[str, Any] = {name: len(data) for name, data in splits.items()}
        parts = datasets.ReadInstruction.from_spec(spec).to_absolute(lengths)
    except (ValueError, AssertionError) as error:
        hint = hint or f"name one with {option}"
        raise UsageError(f"{option} {spec}: {first_line(error)} ({listing}); {hint}") from error
    ranges = [(splits[part.splitname], range(part.from_, part.to)) for part in parts]
    # An empty range may start after the last row, which select refuses.
    slices = [data.select(rows if rows else []) for data, rows in ranges]
    return datasets.concatenate_datasets(slices) if len(slices) > 1 else slices[0]
