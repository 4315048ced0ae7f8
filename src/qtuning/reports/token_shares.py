"""How many tokens of each kind are kept and pruned (arXiv:2509.23873, figure 7)."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import UsageError
from ..offline.origin import Origin
from .token_kinds import KINDS, kinds_of
from .token_texts import answer_pieces

MOST_ROWS = 2000
_NOT_DATA = (
    *("token_nll", "token_entropy", "token_kept", "tokens_kept", "kept", "filled", "reason"),
    *("quadrant", "quadrant_name", "ppl", "entropy", "nll_sum", "n_tokens", "step"),
)


def token_shares(table: pa.Table, origin: Origin | None) -> dict[str, Any] | None:
    """Counts over the samples whose tokens were pruned, of many 2,000 at random.

    Args:
        table: With ``token_kept``: null where all of a row's tokens are kept, or none.
        origin: Where the scores are from: it names the tokenizer.

    Returns:
        ``rows`` of name, kept and pruned, and a ``note``; None where no token is known to be
        pruned, or the tokenizer is not at hand.
    """
    if origin is None or "token_kept" not in table.column_names:
        return None
    places = np.flatnonzero(table["token_kept"].is_valid().to_numpy())
    if not len(places):
        return None
    total = len(places)
    if total > MOST_ROWS:
        places = np.sort(np.random.default_rng(0).choice(places, MOST_ROWS, replace=False))
    chosen = table.take(places)
    rows = chosen.drop_columns([name for name in _NOT_DATA if name in chosen.column_names])
    try:
        pieces = answer_pieces(rows, origin)
    except UsageError:
        return None
    kept: Counter[str] = Counter()
    pruned: Counter[str] = Counter()
    for tokens, keeps in zip(pieces, chosen["token_kept"].to_pylist(), strict=True):
        for kind, keep in zip(kinds_of(tokens), keeps, strict=True):
            (kept if keep else pruned)[kind] += 1
    note = (
        f"Of {len(places):,} of {total:,} samples whose tokens were pruned; kinds by rules: see "
        "the documentation."
    )
    rows_of_kinds = [
        {"name": kind, "kept": kept[kind], "pruned": pruned[kind]}
        for kind in KINDS
        if kept[kind] + pruned[kind]
    ]
    return {"rows": rows_of_kinds, "note": note}
