"""The protocol of token weighters: what each receives and returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from ..arguments import PruningArguments
from ..pruners.protocols import BASE, OF_REFERENCE

NLL = "nll"
"""Need of a weighter: ``TokenBatch.nll`` of the training forward."""
ENTROPY = "entropy"
"""Need of a weighter: ``TokenBatch.entropy`` of the training forward."""
TOP = "top"
"""Need of a weighter: ``TokenBatch.top``, the highest logits of the training forward."""
BASE_TAIL = "base_tail"
"""Need of a weighter: ``TokenBatch.base_tail``. With ``BASE`` it is ``base_nll``."""

FORWARD = frozenset({NLL, ENTROPY, TOP})
"""Needs that the training forward meets. A weighter with one of them is called within the loss, any
other before the training forward."""
OF_BASE = frozenset({BASE, BASE_TAIL})
"""Needs that the model before training meets, or ``reference_model_name_or_path``, which scores
each sample once."""
FROM_REFERENCE = OF_REFERENCE | {BASE_TAIL}
"""Needs of pruners and weighters that a reference model meets."""
NEEDS = FORWARD | OF_BASE
"""All names that ``needs`` of a weighter may have."""
N_TOP = 20
"""Number of logits in ``TokenBatch.top``; fewer where the vocabulary is smaller."""


@dataclass(frozen=True)
class TokenBatch:
    """Kept answer tokens, sample after sample, without gradients; each tensor begins with ``T``.

    Within the loss these are the tokens of a micro-batch, before the forward those of all kept
    samples of a rank. What a weighter does not name in its ``needs`` is None.

    Attributes:
        token_ids: The tokens themselves, ``(T,)`` int64.
        lengths: Number of kept answer tokens of each sample; together T.
        sample_ids: Id of each sample.
        step: The optimizer step about to be taken, counted from 1.
        progress: Share of the training steps done, in [0, 1).
        nll: NLL in nats, ``(T,)`` float32.
        entropy: Entropy of the prediction in nats, ``(T,)`` float32.
        top: The 20 highest logits, highest first, ``(T, 20)`` float32.
        base_nll: NLL under the model before training in nats, ``(T,)`` float32.
        base_tail: Probability that the model before training gives to all tokens that it finds no
            more probable than this one, this one among them, ``(T,)`` float32.
    """

    token_ids: Tensor
    lengths: Sequence[int]
    sample_ids: Sequence[str]
    step: int
    progress: float = 0.0
    nll: Tensor | None = None
    entropy: Tensor | None = None
    top: Tensor | None = None
    base_nll: Tensor | None = None
    base_tail: Tensor | None = None

    def __len__(self) -> int:
        """Number of tokens T."""
        return len(self.token_ids)


@dataclass(frozen=True)
class Weighed:
    """What a weighter returns, where weights alone do not say it.

    Attributes:
        weights: Factor on the gradient of each token's NLL, ``(T,)``, finite and not negative.
        losses: Loss to report for each token in place of ``weights * nll``, ``(T,)``; its gradient
            is still that of the weighted NLL.
        masks: Whether the weights mask tokens, so that the loss is divided by their sum and not by
            the number of kept tokens; only before the forward, see ``FORWARD``.
    """

    weights: Tensor
    losses: Tensor | None = None
    masks: bool = False


@runtime_checkable
class TokenWeighter(Protocol):
    """Weighs the loss of each answer token; a pure function.

    Attributes:
        needs: What the weighter reads, by the constants of this module.
    """

    needs: frozenset[str]

    def __call__(self, tokens: TokenBatch, args: PruningArguments) -> Tensor | Weighed:
        """Weigh tokens: ``(T,)``, or a ``Weighed``."""
        ...


@runtime_checkable
class ReadsByOptions(Protocol):
    """A weighter whose options determine what it reads."""

    def reading(self, args: PruningArguments) -> TokenWeighter:
        """The weighter whose ``needs`` are what these arguments make it read."""
        ...
