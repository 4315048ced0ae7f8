"""Counts of kept and pruned tokens of each kind (arXiv:2509.23873, figure 7)."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from ..core.seeds import seed_of
from ..errors import UsageError
from ..offline.origin import Origin
from ..offline.schema import DECISIONS, OF_RUNS, SCORED
from .token_kinds import KINDS, kinds_of
from .token_texts import answer_pieces

MOST_ROWS = 2000
_NOT_DATA = (*SCORED, *DECISIONS, *OF_RUNS)


def token_shares(table: pa.Table, origin: Origin | None) -> dict[str, Any] | None:
    """Count kept and pruned tokens by kind, over at most 2,000 random samples with pruned tokens.

    Args:
        table: Decisions; ``token_kept`` is null for rows of which all or no tokens are kept.
        origin: Origin of the scores, which names the tokenizer; None if not known.

    Returns:
        ``rows`` of name, kept and pruned, and a ``note``; None if no pruned token is known or the
        tokenizer cannot be loaded.
    """
    if origin is None or "token_kept" not in table.column_names:
        return None
    places = np.flatnonzero(table["token_kept"].is_valid().to_numpy())
    if not len(places):
        return None
    total = len(places)
    if total > MOST_ROWS:
        draw = np.random.default_rng(seed_of("kinds of tokens"))
        places = np.sort(draw.choice(places, MOST_ROWS, replace=False))
    sample_rows = table.take(places)
    rows = sample_rows.drop_columns(
        [name for name in _NOT_DATA if name in sample_rows.column_names]
    )
    try:
        pieces = answer_pieces(rows, origin)
    except UsageError:
        return None
    kept_counts: Counter[str] = Counter()
    pruned_counts: Counter[str] = Counter()
    for tokens, flags in zip(pieces, sample_rows["token_kept"].to_pylist(), strict=True):
        for kind, flag in zip(kinds_of(tokens), flags, strict=True):
            (kept_counts if flag else pruned_counts)[kind] += 1
    note = (
        f"Of {len(places):,} of {total:,} samples whose tokens were pruned; kinds by rules: see "
        "the documentation."
    )
    rows_of_kinds = [
        {"name": kind, "kept": kept_counts[kind], "pruned": pruned_counts[kind]}
        for kind in KINDS
        if kept_counts[kind] + pruned_counts[kind]
    ]
    return {"rows": rows_of_kinds, "note": note}
