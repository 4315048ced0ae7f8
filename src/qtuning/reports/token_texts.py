"""Texts of single answer tokens."""

from collections.abc import Sequence

import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from ..examples.example import answer_positions
from ..io.models import load_tokenizer
from ..offline.origin import Origin
from ..offline.retokenise import tokenised

_BROKEN = "\ufffd"


def answer_pieces(rows: pa.Table, origin: Origin) -> list[list[str]]:
    """Return the text of each answer token of each row.

    Args:
        rows: The rows of the data, as they were scored.
        origin: Origin of the scores, which names the tokenizer.

    Raises:
        UsageError: The tokenizer cannot be loaded, or is not the tokenizer of the scores.
    """
    tokenizer = load_tokenizer(origin["model_name"], revision=origin["revision"])
    pieces = []
    for example in tokenised(rows, origin):
        ids = example["input_ids"]
        pieces.append(
            pieces_of(tokenizer, [int(ids[p]) for p in answer_positions(example["labels"])])
        )
    return pieces


def pieces_of(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """Return the text of each token; a character of several tokens is the last token's text.

    Args:
        tokenizer: The tokenizer.
        ids: Token ids, ``(T,)``.

    Returns:
        Texts, ``(T,)``; empty for all but the last token of such a character.
    """
    names = tokenizer.convert_ids_to_tokens(list(ids))
    pieces, waiting = [], 0
    for place, name in enumerate(names):
        text = str(tokenizer.decode(list(ids[place - waiting : place + 1])))
        if text.endswith(_BROKEN) and waiting < 3 and place + 1 < len(ids):
            pieces.append("")  # a part of a character
            waiting += 1
            continue
        # SentencePiece marks the space before a word; decoding a single token drops the space.
        if str(name).startswith("▁") and not text.startswith(" "):
            text = f" {text}"
        pieces.append(text)
        waiting = 0
    return pieces
