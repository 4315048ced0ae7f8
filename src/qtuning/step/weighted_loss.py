"""The training loss where tokens are weighted, by the user, a sample pruner or a token weighter."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..arguments import PruningArguments
from ..core.head_loss import summed_nll
from ..core.ratio import share
from ..core.stats import IGNORE_INDEX
from ..core.token_loss import token_losses
from ..errors import UsageError
from ..examples.example import BASE_NLL, BASE_TAIL_MASS, SAMPLES, BatchSamples
from ..io.weights import LOSS_WEIGHT
from ..pruners.protocols import BASE
from ..ranks import Ranks
from ..signals.forward import Projection, model_projection
from ..weighters.checked import checked_weights
from ..weighters.protocols import (
    BASE_TAIL,
    ENTROPY,
    FORWARD,
    N_TOP,
    NLL,
    TOP,
    TokenBatch,
    TokenWeighter,
)
from .factors import BAD_WEIGHTS, NO_WEIGHT
from .moment import Moment


@dataclass
class WeightedLoss:
    """Summed NLL of kept answer tokens, each times its factors, and what it was made of.

    Attributes:
        weighter: The token weighter; None if there is none.
        args: The pruning arguments.
        ranks: The data-parallel ranks.
        check: Checks once that the model's head is known, see ``Scorer.check``.
        log_entropy: Whether to sum up the entropy of the predictions where there is a weighter.
    """

    weighter: TokenWeighter | None
    args: PruningArguments
    ranks: Ranks
    check: Callable[[PreTrainedModel, Tensor], None]
    log_entropy: bool = False
    _moment: Moment = field(default_factory=lambda: Moment(1, 0))
    _sums: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read off the weighter what the forward must give."""
        needs = frozenset() if self.weighter is None else self.weighter.needs
        self._needs, self._late = needs, bool(needs & FORWARD)
        self._entropy = self.weighter is not None and (self.log_entropy or ENTROPY in needs)

    def begin(self, moment: Moment) -> None:
        """Begin a step."""
        # Where the epoch of a stream ends within an accumulation, a step has no end.
        self._moment, self._sums = moment, []

    def of_batch(
        self, model: PreTrainedModel, wrapped: nn.Module, inputs: dict[str, Any]
    ) -> Tensor:
        """The loss of a collated micro-batch, in nats, not divided by anything.

        Args:
            model: The bare model, its weights not sharded.
            wrapped: The model as DDP wrapped it; its hooks must run in a forward.
            inputs: A batch of ``Labels.collate_to_train`` on the model's device. What the model is
                not given is taken out of it.

        Returns:
            A scalar.

        Raises:
            UsageError: The weighter returned weights of another number or type.
        """
        columns = {key: inputs.pop(key, None) for key in (LOSS_WEIGHT, BASE_NLL, BASE_TAIL_MASS)}
        samples: BatchSamples = inputs.pop(SAMPLES)
        self.check(model, inputs["input_ids"][:1, :8])
        forward = model_projection(model, wrapped, inputs)
        device = forward.hidden.device
        labels = inputs["labels"].to(device)
        keep = labels[:, 1:] != IGNORE_INDEX
        there = {
            key: values[:, 1:].to(device) for key, values in columns.items() if values is not None
        }
        return self.of_forward(forward, labels, keep, there, samples)

    def of_forward(
        self,
        forward: Projection,
        labels: Tensor,
        keep: Tensor,
        columns: Mapping[str, Tensor],
        samples: BatchSamples,
    ) -> Tensor:
        """The loss of the kept tokens of a forward, in nats, not divided by anything.

        Args:
            forward: Hidden states with their graph, and the head.
            labels: Token ids, ``(B, L)``, on the device of the hidden states.
            keep: Which labels are kept, ``(B, L-1)`` bool.
            columns: ``LOSS_WEIGHT``, and what else the weighter reads of each label, ``(B, L-1)``.
            samples: The samples of the batch.

        Returns:
            A scalar.

        Raises:
            UsageError: The weighter returned weights of another number or type.
        """
        factors = columns.get(LOSS_WEIGHT)
        if not self._late and not self._entropy:
            return summed_nll(
                forward.hidden, forward.weight, labels, keep, token_weights=factors, **forward.head
            )
        gold = labels[:, 1:][keep]
        losses = token_losses(
            forward.hidden[:, :-1][keep],
            forward.weight,
            gold,
            entropy=self._entropy,
            top=N_TOP if TOP in self._needs else 0,
            **forward.head,
        )
        nll = losses.nll
        chosen = {key: values[keep] for key, values in columns.items()}
        weights = torch.ones_like(nll)
        per_token = nll
        if self.weighter is not None and self._late:
            tokens = TokenBatch(
                token_ids=gold,
                lengths=samples.lengths,
                sample_ids=samples.names,
                step=self._moment.step,
                progress=self._moment.progress,
                nll=nll.detach() if NLL in self._needs else None,
                entropy=losses.entropy if ENTROPY in self._needs else None,
                top=losses.top,
                base_nll=chosen[BASE_NLL] if BASE in self._needs else None,
                base_tail=chosen[BASE_TAIL_MASS] if BASE_TAIL in self._needs else None,
            )
            with torch.no_grad():
                made = checked_weights(
                    self.weighter(tokens, self.args), len(tokens), self._moment.step, before=False
                )
                weights = made.weights.to(nll)
            per_token = weights * nll
            if made.losses is not None:  # reported, while the gradient stays
                per_token = made.losses.detach().to(nll) + (per_token - per_token.detach())
        self._note(weights, losses.entropy)
        if factors is not None:
            per_token = per_token * chosen[LOSS_WEIGHT]
        return per_token.sum()

    def _note(self, weights: Tensor, entropy: Tensor | None) -> None:
        """Add up a micro-batch on the device, for which nobody waits."""
        is_bad = ~((weights >= 0) & weights.isfinite()).all()
        spread = weights.new_zeros(()) if entropy is None else entropy.sum()
        n = weights.new_tensor(len(weights))
        self._sums.append(torch.stack([n, weights.sum(), spread, is_bad.to(n)]).double())

    def finish(self) -> tuple[float | None, float | None]:
        """End a step before the optimizer's; every rank must call it.

        Returns:
            The mean of the weights that the weighter gave the step's kept tokens, and their mean
            entropy in nats; None for what this loss has not computed.

        Raises:
            UsageError: A weight is negative or not finite, or all are 0; raised on every rank.
        """
        if self.weighter is None:
            return None, None
        sums = [0.0] * 4
        if self._sums:
            sums = torch.stack([one.to(self._sums[0].device) for one in self._sums]).sum(0).tolist()
        self._sums = []
        if not self._late and not self._entropy:
            return None, None
        n, weight, entropy, bad = map(sum, zip(*self.ranks.gather_flat([sums]), strict=True))
        if bad:
            raise UsageError(f"step {self._moment.step}: {BAD_WEIGHTS}")
        if n and not weight:
            raise UsageError(f"step {self._moment.step}: {NO_WEIGHT}")
        return (
            share(weight, n) if self._late and n else None,
            share(entropy, n) if self._entropy and n else None,
        )
