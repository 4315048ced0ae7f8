"""The material of a report: decisions, and their origin and context."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from ..explanation.explain import Explanation
from ..offline.diff import Agreement
from ..offline.origin import Origin


@dataclass(frozen=True)
class Material:
    """Decisions on the samples of a data set, and the context that a report shows with them.

    Attributes:
        title: Headline of the report.
        table: One row for each decision: ``sample_id``, ``ppl``, ``entropy``, ``n_tokens``,
            ``quadrant``, ``kept``, ``filled``, ``tokens_kept``; in runs ``epoch`` and ``step``, in
            pools ``step``; ``turn_ends``, ``token_kept``, ``token_nll``, ``token_entropy``
            (nats) if known; and the columns of the user's data.
        by_id: Whether rows of the same ``sample_id`` are visits of one sample.
        rows: Rows of the data by ``sample_id``, for the texts; None if they are in ``table``.
        how: The rule of the decisions, in a few words.
        sample_ratio: Initial position of the slider of the sample ratio.
        token_ratio: Initial position of the slider of the token ratio.
        redecide: Whether the table has all candidates, so that sliders can decide again.
        rho: Rank correlation of perplexity and entropy; None if not known.
        origin: Origin of the scores: model, precision, length; None for a run without ``rows``.
        facts: Names and values for the head of the page.
        notes: Sentences for the head of the page.
        agreement: Agreement with other decisions on the same data; None without other decisions.
        against: Name of the other decisions; empty without other decisions.
        explanation: What the run's record tells of its steps and samples; None without a run.
        probe: ``step``, ``epoch``, ``ppl``, ``entropy`` of a probe set; None without a probe set.
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
    explanation: Explanation | None = None
