"""NLL of answers without the images of their samples, which says what the images tell."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn
from transformers import PreTrainedModel

from ..examples.candidate import Candidate
from ..examples.example import Example, n_input_of
from ..examples.labels import Labels
from ..pruners.protocols import WITHOUT_IMAGE
from .scorer import Scorer
from .without_prompt import Alone


def score_blind(
    scorer: Scorer,
    labels: Labels,
    model: PreTrainedModel,
    wrapped: nn.Module,
    examples: Sequence[tuple[Example, int]],
) -> list[Alone | None]:
    """Score answers without the images of their examples; every rank must call it.

    The image tokens are taken out of the text, and nothing is put in their place.

    Args:
        scorer: Runs the forward passes.
        labels: Reads examples.
        model: The bare model.
        wrapped: The model as the trainer wrapped it.
        examples: Examples, each with the number of its answer tokens.

    Returns:
        The scores of each answer; None for an example without images, which has no second pass.
    """
    blind = [(labels.without_images(example), n) for example, n in examples]
    pairs = [(example, n) for example, n in blind if example is not None]
    scores = iter(replace(scorer, needs=frozenset())(model, wrapped, pairs))
    return [
        None if example is None else Alone(next(scores).nll, n_input_of(example))
        for example, _ in blind
    ]


def score_without_image(
    scorer: Scorer,
    labels: Labels,
    model: PreTrainedModel,
    wrapped: nn.Module,
    scored: Sequence[Candidate],
) -> None:
    """Add the extra ``WITHOUT_IMAGE`` to candidates; every rank must call it.

    A candidate without images has NaN.

    Args:
        scorer: Runs the forward passes.
        labels: Reads examples.
        model: The bare model.
        wrapped: The model as the trainer wrapped it.
        scored: Candidates with their NLL.
    """
    examples = [(candidate.example, len(candidate.answers)) for candidate in scored]
    for candidate, blind in zip(
        scored, score_blind(scorer, labels, model, wrapped, examples), strict=True
    ):
        assert candidate.nll is not None
        if blind is None:
            candidate.extras[WITHOUT_IMAGE] = torch.full((2,), torch.nan, dtype=torch.float64)
            continue
        nll = (blind.nll, candidate.nll)
        candidate.extras[WITHOUT_IMAGE] = torch.stack([one.double().mean() for one in nll])
        candidate.scored_tokens += blind.n_input
