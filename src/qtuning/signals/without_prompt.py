"""NLL of answers without their prompts, which says what the prompts tell about the answers."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..examples.candidate import Candidate
from ..examples.example import Example, without_prompt
from ..pruners.protocols import WITHOUT_PROMPT
from .scorer import Scorer


class Alone(NamedTuple):
    """An answer scored without its prompt.

    Attributes:
        nll: NLL of its answer tokens in nats, ``(T,)`` float32.
        n_input: Input tokens of the pass.
    """

    nll: Tensor
    n_input: int


def score_alone(
    scorer: Scorer,
    model: PreTrainedModel,
    wrapped: nn.Module,
    examples: Sequence[tuple[Example, Tensor]],
    packed: int = 0,
) -> list[Alone | None]:
    """Score answers without their prompts, see ``without_prompt``; every rank must call it.

    Args:
        scorer: Runs the forward passes.
        model: The bare model.
        wrapped: The model as the trainer wrapped it.
        examples: Examples, each with the positions of its answer tokens, at least one.
        packed: Input tokens of the longest packed row that an example comes from.

    Returns:
        The scores of each answer; None for an example without a prompt.
    """
    alone = [(without_prompt(example, answers), len(answers)) for example, answers in examples]
    with_prompt = [(example, n) for example, n in alone if example is not None]
    scores = iter(replace(scorer, needs=frozenset())(model, wrapped, with_prompt, packed))
    return [
        None if example is None else Alone(next(scores).nll, len(example["input_ids"]))
        for example, _ in alone
    ]


def score_without_prompt(
    scorer: Scorer, model: PreTrainedModel, wrapped: nn.Module, scored: Sequence[Candidate]
) -> None:
    """Add ``extras["without_prompt"]`` to candidates; every rank must call it.

    Both values of a candidate without a prompt are NaN.

    Args:
        scorer: Runs the forward passes.
        model: The bare model.
        wrapped: The model as the trainer wrapped it.
        scored: Candidates with their NLL.
    """
    examples = [(candidate.example, candidate.answers) for candidate in scored]
    packed = max((candidate.packed for candidate in scored), default=0)
    for candidate, alone in zip(
        scored, score_alone(scorer, model, wrapped, examples, packed), strict=True
    ):
        if alone is None:
            candidate.extras[WITHOUT_PROMPT] = torch.full((2,), torch.nan, dtype=torch.float64)
            continue
        assert candidate.nll is not None
        pair = [alone.nll.double().mean(), candidate.nll.double().mean()]
        candidate.extras[WITHOUT_PROMPT] = torch.stack(pair)
        candidate.scored_tokens += alone.n_input
