"""What a report is made of, and where it is from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from ..offline.diff import Agreement
from ..offline.origin import Origin


@dataclass(frozen=True)
class Material:
    """TableDecisions, and what is known beside them.

    Attributes:
        title: Headline of the report.
        table: One row for each decision: ``sample_id``, ``ppl``, ``entropy``, ``n_tokens``,
            ``quadrant``, ``kept``, ``filled``, ``tokens_kept``; in runs ``epoch`` and ``step``, in
            pools ``step``; ``token_kept``, ``token_nll``, ``token_entropy`` if known; columns of
            the user's.
        by_id: Rows of the same ``sample_id`` are visits of one sample.
        rows: Rows of the data by ``sample_id``, for the texts; None if they are in ``table``.
        how: How it was decided, in a few words.
        sample_ratio: Where the slider stands at first.
        token_ratio: Likewise.
        redecide: Whether the sliders make sense: all candidates are there.
        rho: Rank correlation of perplexity and entropy; None if not known.
        origin: Where the scores are from; None for a run.
        facts: Names and values for the head of the page.
        notes: Sentences for the head of the page.
        agreement: With other decisions on the same data; None if there are none.
        against: Their name.
        probe: ``step``, ``epoch``, ``ppl``, ``entropy`` of a probe set; None without one.
    """

    title: str
    table: pa.Table
    by_id: bool
    how: str
    sample_ratio: float
    token_ratio: float
    redecide: bool = True
    rows: pa.Table | None = None
    rho: float | None = None
    origin: Origin | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    agreement: Agreement | None = None
    against: str = ""
    probe: pa.Table | None = None
