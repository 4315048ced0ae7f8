"""The two protocols: what a pruner is given and what it returns."""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..core.plane import Selection

SCORES = "scores"
"""In ``needs``: NLL and entropy from a scoring pass. Everything below but ``HISTORY`` and
``WEIGHTS`` is had in that pass or beside it, and asks for ``SCORES`` as well."""
QUADRANTS = "quadrants"
"""In ``needs`` of a token pruner: the EU plane of the sample stage, even at sample ratio 1.0."""
HISTORY = "history"
"""Of a sample pruner: instead of ``SCORES``, those of the last step that trained on the sample."""
WEIGHTS = "weights"
"""Of a sample pruner: the loss of a sample is multiplied by its ``Selection.weight``."""
EL2N = "el2n"
"""Of a sample pruner: ``extras["el2n"]``, ``(N, 1)``: mean norm of the error vector."""
WITHOUT_PROMPT = "without_prompt"
"""Of a sample pruner: ``extras["without_prompt"]``, ``(N, 2)``: mean NLL of the answer tokens
without the prompt, and with it over the same tokens. A second, shorter scoring pass."""
LOGITS = "logits"
"""Of a sample pruner: ``extras["logits"]``, ``(N, 1 + 1024)``: nuclear norm and sketch of the
answer's logits."""
REFERENCE = "reference"
"""Of a token pruner: ``extras["reference"]``, NLL under the reference model; one must be named."""
BASE = "base"
"""Of a token pruner: ``extras["reference"]``, NLL under the reference model; the model as it was
before training unless one is named."""
PROMPT_ATTENTION = "prompt_attention"
"""Of a token pruner: attention that each answer token pays to the prompt in the last layer."""
RECEIVED_ATTENTION = "received_attention"
"""Of a token pruner: attention that each answer token receives from a later one, on average."""
RATER_ATTENTION = "rater_attention"
"""Of a token pruner: the same, from the later answer tokens that resemble the prompt."""
CONFIDENCE = "confidence"
"""Of a token pruner: ``extras["confidence"]``, ``(T, 2)``: chance of the most likely token, and
1 where that is the right one."""
STEPS = "steps"
"""Of a token pruner: ``extras["steps"]``, the reasoning step that each answer token belongs to."""

SAMPLE_EXTRAS = frozenset({EL2N, WITHOUT_PROMPT, LOGITS})
ATTENTION = frozenset({PROMPT_ATTENTION, RECEIVED_ATTENTION, RATER_ATTENTION})
NEEDS = SAMPLE_EXTRAS | ATTENTION | {SCORES, QUADRANTS, HISTORY, WEIGHTS, REFERENCE, BASE}
NEEDS |= {CONFIDENCE, STEPS}
"""All that a pruner may ask for."""


@dataclass(frozen=True)
class SamplePool:
    """The candidates that compete with each other, in the order of the data, on the CPU.

    The same on every rank and for every number of ranks.

    Attributes:
        ppl: Perplexity, ``(N,)`` float64; NaN if no scoring pass was asked for, or if it is not
            known (``HISTORY``).
        entropy: Mean answer entropy in nats, ``(N,)`` float64; NaN likewise.
        n_tokens: Answer tokens, ``(N,)`` int64.
        sample_ids: Id of each sample.
        step: The optimizer step about to be taken, counted from 1.
        seed: The run's seed.
        group: Number of the pool within the step (``pool_scope="micro"`` has several).
        progress: Share of the training steps done, in [0, 1).
        extras: What else was asked for, by the name in ``needs``, ``(N, d)`` float64.
        memory: What the pruner wants to remember from pool to pool, its own to change; part of a
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
        """A generator seeded by (seed, step, group): no global random state is touched."""
        return seeded_generator(self.seed, self.step, self.group)


@dataclass(frozen=True)
class TokenSample:
    """The answer tokens of one kept sample; per-token tensors are ``(T,)`` on the CPU.

    Attributes:
        sample_id: Id of the sample.
        nll: NLL in nats, float32; None if no scoring pass was asked for.
        entropy: Entropy in nats, float32; None likewise.
        protected: bool, tokens that keep their label whatever their score.
        quadrant: 1 to 4, 0 = none.
        filled: Kept only to reach the budget.
        side: P^ - E^ of the sample (see ``plane.Selection``).
        extras: What else was asked for, by the name in ``needs``, each ``(T,)``.
    """

    sample_id: str
    nll: Tensor | None
    entropy: Tensor | None
    protected: Tensor
    quadrant: int
    filled: bool
    side: float
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def n_tokens(self) -> int:
        """Number of answer tokens T."""
        return int(self.protected.shape[0])


@dataclass(frozen=True)
class TokenPool:
    """All kept samples of this rank in one step, so that a pruner may rank across samples.

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
        needs: What it reads, see the constants of this module; empty, or with ``SCORES`` or
            ``HISTORY`` among them.
    """

    needs: frozenset[str]

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection | Tensor:
        """Return a ``Selection``, or just its ``kept`` mask, ``(N,)`` bool."""
        ...


@runtime_checkable
class Needing(Protocol):
    """A pruner, or a plain function, that says what it reads.

    Attributes:
        needs: Names of the constants of this module.
    """

    needs: frozenset[str]


@runtime_checkable
class OwnBudget(Protocol):
    """A sample pruner that keeps a share of its own.

    Attributes:
        own_budget: What it keeps of a step's candidates, in words.
    """

    own_budget: str


@runtime_checkable
class TokenPruner(Protocol):
    """Decides which answer tokens of the kept samples keep their label.

    Attributes:
        needs: What it reads, see the constants of this module; empty, or with ``SCORES`` among
            them.
    """

    needs: frozenset[str]

    def __call__(self, pool: TokenPool, args: PruningArguments) -> list[Tensor]:
        """Return a keep mask, ``(T,)`` bool, for each sample of the pool."""
        ...


def seeded_generator(*key: int | str) -> torch.Generator:
    """A CPU generator whose seed depends on the key alone, on any machine and rank."""
    digest = blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
