"""Everything that is found in tokens alone, without a look at the texts."""

from transformers import PreTrainedTokenizerBase

from ..examples.pieces import Pieces
from .duplicates import duplicate_rows
from .ends import end_findings
from .figures import Figures, Special
from .lengths import length_findings
from .result import Finding
from .tokens import Bools, TokenRows
from .vocabulary import vocabulary_findings

_MARKERS_OF = 20
"""Rows that are looked at for markers of the template."""


def token_findings(
    figures: Figures,
    rows: TokenRows,
    tokenizer: PreTrainedTokenizerBase,
    template: str | None,
    special: Special,
    *,
    longest: int | None,
    may_be_cut: Bools,
) -> list[Finding]:
    """What is found in tokens.

    Args:
        figures: Figures of the rows.
        rows: The rows.
        tokenizer: The tokenizer.
        template: The chat template in force; None if there is none.
        special: Ids that mean something.
        longest: Tokens at which a row is cut; None if none is.
        may_be_cut: Rows whose end may be missing since they are cut, ``(R,)``.
    """

    def name(token: int) -> str:
        return str(tokenizer.convert_ids_to_tokens(token))

    some = rows.batch(0, _MARKERS_OF)
    pieces = Pieces(tokenizer)
    texts = ["".join(pieces(some.row(i)[0].tolist())) for i in range(len(some))]
    return [
        *length_findings(figures, longest),
        *end_findings(figures, name, special.stops, may_be_cut),
        *vocabulary_findings(figures, tokenizer, template, texts, special.embeddings),
        *duplicate_rows(figures.hash),
    ]
