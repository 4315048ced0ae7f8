"""NLL of answers without their prompts, which says what the prompts tell about the answers."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..core.selective_ifd import selective_ifd
from ..examples.candidate import Candidate
from ..examples.example import Example, n_input_of, without_prompt
from ..pruners.protocols import S_IFD, WITHOUT_PROMPT
from .extras import Extras
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
        None if example is None else Alone(next(scores).nll, n_input_of(example))
        for example, _ in alone
    ]


def score_without_prompt(
    scorer: Scorer, model: PreTrainedModel, wrapped: nn.Module, scored: Sequence[Candidate]
) -> None:
    """Add the extras of ``OF_ALONE`` that pruners need to candidates; every rank must call it.

    All values of a candidate without a prompt are NaN.

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
        assert candidate.nll is not None
        candidate.extras |= _extras(candidate.nll, alone, scorer.needs)
        if alone is not None:
            candidate.scored_tokens += alone.n_input


def _extras(nll: Tensor, alone: Alone | None, needs: frozenset[str]) -> Extras:
    """The extras of ``OF_ALONE`` that pruners need, of one sample.

    Args:
        nll: NLL of its answer tokens in nats, ``(T,)``.
        alone: The answer without its prompt; None if it has no prompt.
        needs: Names that pruners need.
    """
    nll_alone = torch.full_like(nll, torch.nan) if alone is None else alone.nll
    extras: Extras = {}
    if WITHOUT_PROMPT in needs:
        pair = torch.stack([nll_alone.double().mean(), nll.double().mean()])
        extras[WITHOUT_PROMPT] = pair if alone is not None else torch.full_like(pair, torch.nan)
    if S_IFD in needs:
        extras[S_IFD] = selective_ifd(nll, nll_alone)[None]
    return extras
