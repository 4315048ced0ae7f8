"""The answer's tokens as text."""

from collections.abc import Sequence

import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from ..examples.example import answer_positions
from ..io.models import load_tokenizer
from ..offline.origin import Origin
from ..offline.retokenise import tokenised

_BROKEN = "\ufffd"


def answer_pieces(rows: pa.Table, origin: Origin) -> list[list[str]]:
    """Text of each answer token of each row.

    Args:
        rows: The rows as they were loaded.
        origin: Where their scores are from.

    Raises:
        UsageError: The tokenizer is not there, or not the one of the scores.
    """
    tokenizer = load_tokenizer(origin["model_name"], revision=origin["revision"])
    found = []
    for example in tokenised(rows, origin):
        ids = example["input_ids"]
        found.append(
            pieces_of(tokenizer, [int(ids[p]) for p in answer_positions(example["labels"])])
        )
    return found


def pieces_of(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """Text of each token; one of several that make a character is shown with the last of them.

    Args:
        tokenizer: The tokenizer.
        ids: Token ids, ``(T,)``.
    """
    names = tokenizer.convert_ids_to_tokens(list(ids))
    pieces, waiting = [], 0
    for place, name in enumerate(names):
        text = str(tokenizer.decode(list(ids[place - waiting : place + 1])))
        if text.endswith(_BROKEN) and waiting < 3 and place + 1 < len(ids):
            pieces.append("")  # a part of a character
            waiting += 1
            continue
        # SentencePiece marks the space before a word, and decoding a lone word loses it.
        if str(name).startswith("▁") and not text.startswith(" "):
            text = f" {text}"
        pieces.append(text)
        waiting = 0
    return pieces
