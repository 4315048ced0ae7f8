"""Where the answer tokens of a batch stand, worked out on the host before anything is computed."""

from typing import NamedTuple

import torch
from torch import Tensor

from .stats import IGNORE_INDEX


class AnswerPlaces(NamedTuple):
    """The answer tokens of a collated batch, row after row.

    A boolean mask on a GPU would make the host wait to learn how many tokens it selects.

    Attributes:
        at: Place of the hidden state that predicts each token, in hidden states flattened to
            ``(B * L, D)``; ``(T,)`` int64.
        gold: The tokens themselves, ``(T,)`` int64.
    """

    at: Tensor
    gold: Tensor

    @classmethod
    def of(cls, labels: Tensor) -> "AnswerPlaces":
        """Find the answer tokens of labels that are on the host.

        Args:
            labels: Token ids, ``(B, L)``; -100 is ignored.
        """
        targets = labels[:, 1:]
        rows, columns = (targets != IGNORE_INDEX).nonzero(as_tuple=True)
        return cls(rows * labels.shape[1] + columns, targets[rows, columns])

    def check(self, vocabulary: int) -> None:
        """Check the tokens, which must be on the host.

        Args:
            vocabulary: Number of token ids that the model's head knows.

        Raises:
            ValueError: A token lies outside the vocabulary.
        """
        if not len(self.gold):
            return
        lowest, highest = map(int, self.gold.aminmax())
        if not 0 <= lowest <= highest < vocabulary:
            raise ValueError(f"labels must be -100 or lie in [0, {vocabulary})")

    def on(self, device: torch.device) -> "AnswerPlaces":
        """The same on a device; the host does not wait for the copy."""
        return AnswerPlaces(*(values.to(device, non_blocking=True) for values in self))
