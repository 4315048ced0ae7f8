"""The reasoning steps of an answer, separated by blank lines, else by line ends."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def answer_steps(pieces: Sequence[str]) -> Tensor:
    """Number of the step that each answer token belongs to, from 0, ``(T,)`` int64.

    A step ends with the token that completes a blank line. In an answer without blank lines, a step
    ends with each token that ends a line.

    Args:
        pieces: The text of each token.
    """
    blank, lines = _ends(pieces, blank=True), _ends(pieces, blank=False)
    ends = torch.tensor(blank if any(blank[:-1]) else lines, dtype=torch.int64)
    return ends.cumsum(0) - ends


def _ends(pieces: Sequence[str], *, blank: bool) -> list[bool]:
    """Whether each token ends a line, or, with ``blank``, completes a blank line."""
    ends, open_line = [], True
    for piece in pieces:
        is_end = False
        for character in piece:
            if character == "\n":
                is_end = is_end or not blank or not open_line
                open_line = False
            elif not character.isspace():
                open_line = True
        ends.append(is_end)
    return ends


class StepReader:
    """Reads the steps of answers from token ids; each token id is decoded once."""

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        """Start without decoded tokens; ``decode`` is the tokenizer's."""
        self._decode = decode
        self._texts: dict[int, str] = {}

    def __call__(self, token_ids: Sequence[int]) -> Tensor:
        """``answer_steps`` of the answer tokens with these ids."""
        for token in token_ids:
            if token not in self._texts:
                self._texts[token] = self._decode([token])
        return answer_steps([self._texts[token] for token in token_ids])
