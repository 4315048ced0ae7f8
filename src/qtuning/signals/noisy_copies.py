"""Selective IFD over copies of a sample with noise on their embeddings (arXiv:2506.01317).

The noise is that of NEFTune (arXiv:2310.05914): uniform in [-1, 1], times ``alpha / sqrt(L D)`` for
L tokens of D dimensions. A token has the same noise in the pass with the prompt and in the one
without. It depends on seed, copy and the sample's tokens alone, not on the batch, the rank or the
global random state.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..core.seeds import seeded_generator
from ..core.selective_ifd import selective_ifd
from ..examples.example import TOKEN_PLACES, Example
from ..examples.names import content_name
from .entropy_of_all import rows_and_positions
from .scorer import Scorer
from .without_prompt import score_alone

_NAME, _LENGTH = "_noise_name", "_noise_length"
_KEYS = (TOKEN_PLACES, _NAME, _LENGTH)


@dataclass(frozen=True)
class Noise:
    """How copies are made noisy.

    Attributes:
        copies: Number of copies, at least 1.
        alpha: Size of the noise, above 0; published is 5.
        seed: Seed of the draws.
    """

    copies: int
    alpha: float = 5.0
    seed: int = 0


class Spread(NamedTuple):
    """Selective IFD of one sample over its noisy copies.

    Attributes:
        mean: Mean over the copies.
        deviation: Standard deviation over the copies, that of the population.
    """

    mean: float
    deviation: float


def score_noisy_copies(
    scorer: Scorer,
    model: PreTrainedModel,
    examples: Sequence[tuple[Example, Tensor]],
    noise: Noise,
) -> list[Spread | None]:
    """Selective IFD of each sample over its noisy copies.

    Args:
        scorer: Runs the forward passes; the model's weights are not sharded.
        model: The bare model.
        examples: Examples, each with the positions of its answer tokens, at least one.
        noise: How copies are made noisy.

    Returns:
        Mean and deviation; None for an example without a prompt.
    """
    marked = [(_marked(example), answers) for example, answers in examples]
    counted = [(example, len(answers)) for example, answers in marked]
    of_copies: list[list[float]] = [[] for _ in examples]
    if examples:  # in a noisy pass it would see noise of another shape
        ids = torch.tensor([examples[0][0]["input_ids"][:8]], device=model.device)
        scorer.check(model, ids)
    for copy in range(noise.copies):
        embeddings = _NoisyEmbeddings(scorer, noise, copy)
        noisy_scorer = replace(scorer, collate=embeddings.collate, needs=frozenset())
        with embeddings.on(model.get_input_embeddings()):
            scores = noisy_scorer(model, model, counted)
            alone = score_alone(noisy_scorer, model, model, marked)
        for values, given, other in zip(of_copies, scores, alone, strict=True):
            if other is not None:
                values.append(float(selective_ifd(given.nll, other.nll)))
    return [_spread(torch.tensor(v, dtype=torch.float64)) if v else None for v in of_copies]


def _spread(values: Tensor) -> Spread:
    return Spread(float(values.mean()), float(values.std(correction=0)))


def _marked(example: Example) -> Example:
    """The example with what its noise depends on; a part of it keeps the places of its tokens."""
    ids = example["input_ids"]
    name = content_name({"input_ids": ids})
    return {**example, TOKEN_PLACES: list(range(len(ids))), _NAME: name, _LENGTH: len(ids)}


class _NoisyEmbeddings:
    """Adds noise to the embeddings of the batch that was collated last."""

    def __init__(self, scorer: Scorer, noise: Noise, copy: int) -> None:
        self._collate, self._noise, self._copy = scorer.collate, noise, copy
        self._rows: list[tuple[Example, int, Tensor]] = []

    def collate(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Collate marked examples, and remember where their tokens are."""
        plain = [{k: v for k, v in one.items() if k not in _KEYS} for one in examples]
        batch = self._collate(plain)
        places = rows_and_positions(batch, plain)
        self._rows = [(one, *place) for one, place in zip(examples, places, strict=True)]
        return batch

    @contextmanager
    def on(self, embeddings: nn.Module) -> Iterator[None]:
        """Context in which the module's output is noisy."""

        def add(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            noise = torch.zeros(output.shape, dtype=torch.float32)
            for example, row, positions in self._rows:
                noise[row, positions] = self._of(example, output.shape[-1])
            return output + noise.to(output)

        handle = embeddings.register_forward_hook(add)
        try:
            yield
        finally:
            handle.remove()

    def _of(self, example: Example, width: int) -> Tensor:
        """Noise of the tokens of a marked example, ``(L, D)`` float32."""
        length = example[_LENGTH]
        generator = seeded_generator(self._noise.seed, "noise", self._copy, example[_NAME])
        draw = 2.0 * torch.rand(length, width, generator=generator) - 1.0
        scale = self._noise.alpha / math.sqrt(length * width)
        return scale * draw[torch.tensor(example[TOKEN_PLACES])]
