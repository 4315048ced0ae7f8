"""Bins: samples that a program packs when it loads them, as Axolotl's ``sample_packing`` does.

Its sampler makes bins of whole samples; its collator puts the samples of a bin one after the other
in a row, numbers the positions of each from 0, and pads. Between the two we read a bin as a row
packed by TRL's ``bfd``, so that the step unpacks both in one way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..core.stats import IGNORE_INDEX
from .example import SAMPLE_ID, Example, per_token, unpack


class Bins(NamedTuple):
    """The bins of a micro-batch.

    Attributes:
        length: Input tokens that a bin holds.
        rows: Bins that a micro-batch holds.
    """

    length: int
    rows: int


def as_rows(batch: Sequence[Example] | Sequence[Sequence[Example]]) -> list[Example]:
    """The rows of a loader's batch: of each bin one row with ``seq_lengths``; rows as they are.

    Args:
        batch: Rows, or bins: lists of the samples' rows, of which only per-token columns and
            ``sample_id`` are kept.
    """
    return [_joined(row) if isinstance(row, list) else row for row in batch]  # type: ignore[misc]


def _joined(samples: Sequence[Example]) -> Example:
    columns = list(per_token(samples[0]))
    row: Example = {
        name: [value for sample in samples for value in sample[name]] for name in columns
    }
    row["seq_lengths"] = [len(sample["input_ids"]) for sample in samples]
    if SAMPLE_ID in samples[0]:
        row[SAMPLE_ID] = [sample[SAMPLE_ID] for sample in samples]
    return row


@dataclass(frozen=True)
class BinCollator:
    """A program's collator of bins, for rows of ``as_rows`` and for samples.

    Rows become the bins that they were. Samples fill bins in the order given, so those that
    ``step.binning.deal_bins`` has put in bins come out in the same bins. The first label of a
    sample is taken off there: it would be predicted from the end of the sample before.

    Attributes:
        collator: The program's collator, which takes bins.
        length: Input tokens that a bin holds.
    """

    collator: Callable[[list[list[Example]]], dict[str, Any]]
    length: int

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """The batch of rows, or of samples."""
        if "seq_lengths" in examples[0]:
            return self.collator([unpack(row) for row in examples])
        bins: list[list[Example]] = []
        free = 0
        for example in examples:
            size = len(example["input_ids"])
            if not bins or size > free:
                bins.append([])
                free = self.length
            bins[-1].append({**example, "labels": [IGNORE_INDEX, *example["labels"][1:]]})
            free -= size
        return self.collator(bins)


def collator_of(collator: Any, bins: Bins | None) -> Any:
    """The collator for rows and samples, where a trainer's own takes bins; else its own."""
    return collator if bins is None else BinCollator(collator, bins.length)
