"""The training loss for sample pruners that weigh samples."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from ..core.head_loss import summed_nll
from ..core.stats import IGNORE_INDEX
from ..signals.forward import model_projection


def weighted_nll(
    model: PreTrainedModel, wrapped: nn.Module, inputs: Mapping[str, Any], weights: Tensor
) -> Tensor:
    """Summed NLL of a micro-batch's answer tokens, each times its weight, in nats.

    Args:
        model: The bare model, its weights not sharded.
        wrapped: The model as DDP wrapped it; its hooks must run in a forward.
        inputs: The collated micro-batch on the model's device; ``labels`` is ``(B, L)``.
        weights: Weight of each label, ``(B, L)``.

    Returns:
        The weighted sum, a scalar.
    """
    forward = model_projection(model, wrapped, inputs)
    labels = inputs["labels"].to(forward.hidden.device)
    return summed_nll(
        forward.hidden,
        forward.weight,
        labels,
        labels[:, 1:] != IGNORE_INDEX,
        token_weights=weights[:, 1:].to(forward.hidden.device),
        **forward.head,
    )
