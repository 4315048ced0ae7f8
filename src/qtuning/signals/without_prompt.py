"""NLL of answers without their prompts, which IFD compares with the NLL after the prompt."""

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

    An answer of one token has nothing to predict without its prompt: both of its values are NaN.

    Args:
        scorer: Runs the forward passes.
        model: The bare model.
        wrapped: The model as the trainer wrapped it.
        scored: Candidates with their NLL.
    """
    candidates = [c for c in scored if len(c.answers) > 1]
    examples = [(without_prompt(c.example, c.answers), len(c.answers) - 1) for c in candidates]
    packed = max((c.packed for c in candidates), default=0)
    scores = replace(scorer, needs=frozenset())(model, wrapped, examples, packed)
    for candidate in scored:
        candidate.extras[WITHOUT_PROMPT] = torch.full((2,), torch.nan)
    for candidate, one in zip(candidates, scores, strict=True):
        assert candidate.nll is not None
        pair = [one.nll.double().mean(), candidate.nll[1:].double().mean()]
        candidate.extras[WITHOUT_PROMPT] = torch.stack(pair)
        candidate.scored_tokens += len(candidate.answers)
