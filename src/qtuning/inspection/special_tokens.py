"""Special tokens that are written in the text of rows, which the tokenizer does not tell apart."""

import re
from collections.abc import Iterable

from transformers import PreTrainedTokenizerBase

from .findings import in_rows
from .result import Finding
from .tokens import Bools


def pattern_of(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str] | None:
    """A pattern of all special tokens; None if there is none."""
    tokens = {str(one) for one in tokenizer.added_tokens_decoder.values() if one.special}
    tokens |= {str(token) for token in tokenizer.all_special_tokens}
    longest_first = sorted((one for one in tokens if one.strip()), key=lambda one: (-len(one), one))
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def special_findings(rows: Bools, tokens: Iterable[str], *, plain: bool) -> list[Finding]:
    """Rows with special tokens in their text.

    Args:
        rows: Whether a row has one, ``(R,)``.
        tokens: Which tokens are found.
        plain: Whether rows are plain text, in which they may be meant.
    """
    names = sorted(set(tokens))
    named = ", ".join(names[:5]) + (" and more" if len(names) > 5 else "")
    return in_rows(
        "note" if plain else "warning",
        "special-tokens-in-text",
        rows,
        f"special tokens stand in the text: {named}",
        "right if the text is meant to hold its own markers"
        if plain
        else "take them out: they end turns and begin others; text that has a template already "
        "is trained on as the column text",
    )
