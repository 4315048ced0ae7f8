"""NLL of answers without their prompts, which IFD compares with the usual one."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn
from transformers import PreTrainedModel

from ..examples.candidate import Candidate
from ..examples.example import without_prompt
from ..pruners.protocols import WITHOUT_PROMPT
from .scorer import Scorer


def score_without_prompt(
    scorer: Scorer, model: PreTrainedModel, wrapped: nn.Module, scored: Sequence[Candidate]
) -> None:
    """Add ``extras["without_prompt"]`` to candidates; every rank must call it.

    Of an answer of one token nothing is left to predict: both values are NaN.

    Args:
        scorer: Makes the passes.
        model: The bare model.
        wrapped: The model as the trainer wrapped it.
        scored: Candidates with their NLL.
    """
    longer = [c for c in scored if len(c.answers) > 1]
    alone = [(without_prompt(c.example, c.answers), len(c.answers) - 1) for c in longer]
    scores = replace(scorer, needs=frozenset())(model, wrapped, alone)
    for candidate in scored:
        candidate.extras[WITHOUT_PROMPT] = torch.full((2,), torch.nan)
    for candidate, one in zip(longer, scores, strict=True):
        assert candidate.nll is not None
        pair = [one.nll.double().mean(), candidate.nll[1:].double().mean()]
        candidate.extras[WITHOUT_PROMPT] = torch.stack(pair)
        candidate.scored_tokens += len(candidate.answers)
