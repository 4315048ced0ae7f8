"""The protocols of sample pruners and token pruners: what each receives and returns."""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..core.plane import Selection
from ..core.seeds import seeded_generator

SCORES = "scores"
"""Need of any pruner: NLL and entropy from a scoring pass. All needs below except ``HISTORY`` and
``WEIGHTS`` are met in or after that pass; a pruner with one of these needs ``SCORES`` as well."""
QUADRANTS = "quadrants"
"""Need of a token pruner: the Error-Uncertainty plane of stage 1, even at sample ratio 1.0."""
HISTORY = "history"
"""Need of a sample pruner: in place of ``SCORES``, the scores of a sample's last training step."""
WEIGHTS = "weights"
"""Need of a sample pruner: a loss that is multiplied by the sample's ``Selection.weight``."""
EL2N = "el2n"
"""Need of a sample pruner: ``extras["el2n"]``, ``(N, 1)``: mean norm of the error vector."""
WITHOUT_PROMPT = "without_prompt"
"""Need of a sample pruner: ``extras["without_prompt"]``, ``(N, 2)``: mean NLL of the answer tokens
without the prompt, and with it, in nats; NaN for a sample without a prompt. A second, shorter
scoring pass; offline, scores with ``--alone``."""
S_IFD = "s_ifd"
"""Need of a sample pruner: ``extras["s_ifd"]``, ``(N, 1)``: selective IFD of the answer, see
``core.selective_ifd``; NaN for a sample without a prompt. From the pass of ``WITHOUT_PROMPT``;
offline with ``s_ifd_noisy`` ``(N, 2)``: mean and deviation over noisy copies."""
WITHOUT_IMAGE = "without_image"
"""Need of a sample pruner: ``extras["without_image"]``, ``(N, 2)``: mean NLL of the answer tokens
without the sample's images, and with them, in nats; NaN for a sample without images. A second
scoring pass, over text alone."""
BASE_MEAN = "base_mean"
"""Need of a sample pruner: ``extras["base_mean"]``, ``(N, 1)``: mean NLL of the answer tokens in
nats under the reference model; without ``reference_model_name_or_path``, under the model before
training. That model scores every candidate once."""
LOGITS = "logits"
"""Need of a sample pruner: ``extras["logits"]``, ``(N, 1 + 1024)``: nuclear norm and sketch of the
answer's logits."""
REFERENCE = "reference"
"""Need of a token pruner: ``extras["reference"]``, ``(T,)``: NLL under the reference model in nats;
``reference_model_name_or_path`` must be set."""
BASE = "base"
"""Need of a token pruner: ``extras["reference"]``, ``(T,)``: NLL under the reference model in nats;
without ``reference_model_name_or_path``, under the model before training."""
PROMPT_ATTENTION = "prompt_attention"
"""Need of a token pruner: attention of each answer token to the prompt, last layer, ``(T,)``."""
RECEIVED_ATTENTION = "received_attention"
"""Need of a token pruner: mean attention of later tokens to each answer token, ``(T,)``."""
RATER_ATTENTION = "rater_attention"
"""Need of a token pruner: mean attention that each answer token receives from the later answer
tokens that resemble the prompt, ``(T,)``."""
CONFIDENCE = "confidence"
"""Need of a token pruner: ``extras["confidence"]``, ``(T, 2)``: probability of the most likely
token, and 1 where that is the right one, else 0."""
STEPS = "steps"
"""Need of a token pruner: ``extras["steps"]``, ``(T,)``: number of each token's reasoning step."""

SAMPLE_EXTRAS = frozenset({EL2N, WITHOUT_PROMPT, WITHOUT_IMAGE, S_IFD, LOGITS, BASE_MEAN})
OF_ALONE = frozenset({WITHOUT_PROMPT, S_IFD})
"""Needs that are met in a second scoring pass, over the answers without their prompts."""
OF_IMAGES = frozenset({WITHOUT_IMAGE})
"""Needs that are met in a second scoring pass, over the samples without their images."""
OF_REFERENCE = frozenset({REFERENCE, BASE, BASE_MEAN})
"""Needs of the reference model, or of the model before training."""
ATTENTION = frozenset({PROMPT_ATTENTION, RECEIVED_ATTENTION, RATER_ATTENTION})
NEEDS = SAMPLE_EXTRAS | ATTENTION | {SCORES, QUADRANTS, HISTORY, WEIGHTS, REFERENCE, BASE}
NEEDS |= {CONFIDENCE, STEPS}
"""All names that ``needs`` of a pruner may have."""


@dataclass(frozen=True)
class SamplePool:
    """The candidates that compete with each other, in the order of the data, on the CPU.

    A pool is the same on every rank and for every number of ranks.

    Attributes:
        ppl: Perplexity, ``(N,)`` float64; NaN without a scoring pass, or where it is not known
            (``HISTORY``).
        entropy: Mean entropy in nats, ``(N,)`` float64, over the answer, or with ``entropy_over``
            all over the whole sample; NaN where ``ppl`` is not known.
        n_tokens: Number of answer tokens, ``(N,)`` int64.
        sample_ids: Id of each sample.
        step: The optimizer step about to be taken, counted from 1.
        seed: The run's seed.
        group: Number of the pool within the step (``pool_scope="micro"`` has several).
        progress: Share of the training steps done, in [0, 1).
        extras: Further statistics, by the name in ``needs``, ``(N, d)`` float64.
        memory: Tensors that the pruner keeps from pool to pool and may change; part of a
            checkpoint.
    """

    ppl: Tensor
    entropy: Tensor
    n_tokens: Tensor
    sample_ids: Sequence[str]
    step: int
    seed: int
    group: int = 0
    progress: float = 0.0
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    memory: MutableMapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of candidates."""
        return len(self.sample_ids)

    def generator(self) -> torch.Generator:
        """A generator seeded by (seed, step, group), independent of the global random state."""
        return seeded_generator(self.seed, self.step, self.group)


class PoolPlace(NamedTuple):
    """Where a sample stands among the candidates that it competes with.

    Attributes:
        group: Number of the pool within the step.
        place: Place of the sample in the pool, in the order of the data.
        n_tokens: Answer tokens of all candidates of the pool, of dropped ones as well.
    """

    group: int = 0
    place: int = 0
    n_tokens: int = 0


@dataclass(frozen=True)
class TokenSample:
    """The answer tokens of one kept sample; per-token tensors are ``(T,)`` on the CPU.

    Attributes:
        sample_id: Id of the sample.
        nll: NLL in nats, float32; None without a scoring pass.
        entropy: Entropy in nats, float32; None without a scoring pass.
        protected: bool, tokens that keep their label whatever their score.
        quadrant: Quadrant of the sample, 1 to 4; 0 is none.
        filled: Whether the sample is kept only to reach the budget.
        side: P^ - E^ of the sample (see ``plane.Selection``).
        extras: Further statistics, by the name in ``needs``, each ``(T,)`` or ``(T, d)``.
        pool: Where the sample stands in its pool.
    """

    sample_id: str
    nll: Tensor | None
    entropy: Tensor | None
    protected: Tensor
    quadrant: int
    filled: bool
    side: float
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    pool: PoolPlace = field(default_factory=PoolPlace)

    @property
    def n_tokens(self) -> int:
        """Number of answer tokens T."""
        return int(self.protected.shape[0])


@dataclass(frozen=True)
class TokenPool:
    """All kept samples of one rank in one step, so that a pruner may rank across samples.

    Attributes:
        samples: The kept samples of this rank.
        step: The optimizer step about to be taken, counted from 1.
        seed: The run's seed.
        gather: Concatenates a list of floats over the ranks; every rank must call it.
    """

    samples: Sequence[TokenSample]
    step: int
    seed: int
    gather: Callable[[list[float]], list[float]] = list


@runtime_checkable
class SamplePruner(Protocol):
    """Decides which samples of a pool are trained on.

    Attributes:
        needs: What the pruner reads, by the constants of this module; empty, or with ``SCORES`` or
            ``HISTORY`` among them.
    """

    needs: frozenset[str]

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection | Tensor:
        """Select samples: a ``Selection``, or just its ``kept`` mask, ``(N,)`` bool."""
        ...


@runtime_checkable
class Needing(Protocol):
    """A pruner, or a plain function, that says what it reads.

    Attributes:
        needs: What the pruner reads, by the constants of this module.
    """

    needs: frozenset[str]


@runtime_checkable
class OwnBudget(Protocol):
    """A sample pruner that ignores the sample ratio and keeps a share of its own.

    Attributes:
        own_budget: What the pruner keeps of a step's candidates, in words.
    """

    own_budget: str


@runtime_checkable
class ChangingBudget(Protocol):
    """A sample pruner whose share of kept samples changes linearly over the run."""

    def budget(self, args: PruningArguments) -> tuple[float, float]:
        """Shares of the candidates kept at the beginning and at the end of the run."""
        ...


@runtime_checkable
class TokenPruner(Protocol):
    """Decides which answer tokens of the kept samples keep their label.

    Attributes:
        needs: What the pruner reads, by the constants of this module; empty, or with ``SCORES``
            among them.
    """

    needs: frozenset[str]

    def __call__(self, pool: TokenPool, args: PruningArguments) -> list[Tensor]:
        """Select tokens: a keep mask, ``(T,)`` bool, for each sample of the pool."""
        ...
