"""NLL of answers without the images of their samples, which says what the images tell."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn
from transformers import PreTrainedModel

from ..examples.candidate import Candidate
from ..examples.example import n_input_of
from ..examples.labels import Labels
from ..pruners.protocols import WITHOUT_IMAGE
from .scorer import Scorer


def score_without_image(
    scorer: Scorer,
    labels: Labels,
    model: PreTrainedModel,
    wrapped: nn.Module,
    scored: Sequence[Candidate],
) -> None:
    """Add the extra ``WITHOUT_IMAGE`` to candidates; every rank must call it.

    The image tokens are taken out of the text, and nothing is put in their place. A candidate
    without images has NaN, and no second pass.

    Args:
        scorer: Runs the forward passes.
        labels: Reads examples.
        model: The bare model.
        wrapped: The model as the trainer wrapped it.
        scored: Candidates with their NLL.
    """
    without = [labels.without_images(candidate.example) for candidate in scored]
    pairs = [
        (example, len(candidate.answers))
        for example, candidate in zip(without, scored, strict=True)
        if example is not None
    ]
    scores = iter(replace(scorer, needs=frozenset())(model, wrapped, pairs))
    for example, candidate in zip(without, scored, strict=True):
        assert candidate.nll is not None
        if example is None:
            candidate.extras[WITHOUT_IMAGE] = torch.full((2,), torch.nan, dtype=torch.float64)
            continue
        nll = (next(scores).nll, candidate.nll)
        candidate.extras[WITHOUT_IMAGE] = torch.stack([one.double().mean() for one in nll])
        candidate.scored_tokens += n_input_of(example)
