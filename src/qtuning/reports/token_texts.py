"""Texts of single answer tokens."""

import pyarrow as pa

from ..examples.example import answer_positions
from ..examples.pieces import Pieces
from ..io.models import load_tokenizer
from ..offline.origin import Origin
from ..offline.retokenise import tokenised


def answer_pieces(rows: pa.Table, origin: Origin) -> list[list[str]]:
    """Return the text of each answer token of each row.

    Args:
        rows: The rows of the data, as they were scored.
        origin: Origin of the scores, which names the tokenizer.

    Raises:
        UsageError: The tokenizer cannot be loaded, or is not the tokenizer of the scores.
    """
    tokenizer = load_tokenizer(origin["model_name"], revision=origin["revision"])
    pieces = Pieces(tokenizer)
    return [
        pieces([int(example["input_ids"][p]) for p in answer_positions(example["labels"])])
        for example in tokenised(rows, origin)
    ]
