"""The two protocols: what a pruner is given and what it returns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..plane import Selection

if TYPE_CHECKING:
    from ..config import PruningArguments

SCORES = "scores"
"""In ``needs``: NLL and entropy from a scoring pass."""
QUADRANTS = "quadrants"
"""In ``needs`` of a token pruner: the EU plane of the sample stage, even at sample ratio 1.0."""


@dataclass(frozen=True)
class SamplePool:
    """The candidates that compete with each other, in the order of the data, on the CPU.

    The same on every rank and for every number of ranks.

    Attributes:
        ppl: Perplexity, ``(N,)`` float64; NaN if no scoring pass was asked for.
        entropy: Mean answer entropy in nats, ``(N,)`` float64; NaN likewise.
        n_tokens: Answer tokens, ``(N,)`` int64.
        sample_ids: Id of each sample.
        step: The optimizer step about to be taken, counted from 1.
        seed: The run's seed.
        group: Number of the pool within the step (``pool_scope="micro"`` has several).
    """

    ppl: Tensor
    entropy: Tensor
    n_tokens: Tensor
    sample_ids: Sequence[str]
    step: int
    seed: int
    group: int = 0

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
    """

    sample_id: str
    nll: Tensor | None
    entropy: Tensor | None
    protected: Tensor
    quadrant: int
    filled: bool
    side: float

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
        needs: Statistics it reads: empty, or ``{SCORES}``.
    """

    needs: frozenset[str]

    def __call__(self, pool: SamplePool, args: "PruningArguments") -> Selection | Tensor:
        """Return a ``Selection``, or just its ``kept`` mask, ``(N,)`` bool."""
        ...


@runtime_checkable
class TokenPruner(Protocol):
    """Decides which answer tokens of the kept samples keep their label.

    Attributes:
        needs: Statistics it reads: empty, ``{SCORES}`` or ``{SCORES, QUADRANTS}``.
    """

    needs: frozenset[str]

    def __call__(self, pool: TokenPool, args: "PruningArguments") -> list[Tensor]:
        """Return a keep mask, ``(T,)`` bool, for each sample of the pool."""
        ...


def seeded_generator(*key: int | str) -> torch.Generator:
    """A CPU generator whose seed depends on the key alone, on any machine and rank."""
    digest = blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
