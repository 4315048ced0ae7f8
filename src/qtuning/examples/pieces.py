"""The text of each token of a row."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

_BROKEN = "\ufffd"


class Pieces:
    """Texts of single tokens, by one tokenizer; what a token decodes to alone is remembered."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Texts by this tokenizer."""
        self._tokenizer = tokenizer
        self._alone: dict[int, str] = {}

    def __call__(self, ids: Sequence[int]) -> list[str]:
        """The text of each token; a character of several tokens is the last token's text.

        Args:
            ids: Token ids, ``(T,)``.

        Returns:
            Texts, ``(T,)``; empty for all but the last token of such a character.
        """
        pieces, waiting = [], 0
        for place in range(len(ids)):
            text = self._text(list(ids[place - waiting : place + 1]))
            if text.endswith(_BROKEN) and waiting < 3 and place + 1 < len(ids):
                pieces.append("")  # a part of a character
                waiting += 1
                continue
            pieces.append(text)
            waiting = 0
        return pieces

    def _text(self, ids: list[int]) -> str:
        """The text of a token, with the tokens before it that are parts of its character."""
        if len(ids) == 1 and ids[0] in self._alone:
            return self._alone[ids[0]]
        name, text = self._tokenizer.convert_ids_to_tokens(ids[-1]), self._tokenizer.decode(ids)
        # SentencePiece marks the space before a word; decoding a single token drops the space.
        space = str(name).startswith("▁") and not str(text).startswith(" ")
        text = f" {text}" if space else str(text)
        if len(ids) == 1:
            self._alone[ids[0]] = text
        return text
