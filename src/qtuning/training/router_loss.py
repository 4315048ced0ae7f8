"""The auxiliary loss of routers (mixture of experts), where micro-batches of a step are empty.

A pruned step has fewer forward passes than micro-batches, and the auxiliary loss is one term of
each pass. Its weight in the step stays that of ``n`` passes a rank: the mean, or the sum, that the
trainer class makes over all of them is that over the passes made.
"""

from typing import Any

from torch import Tensor
from transformers import PreTrainedModel, Trainer

from ..signals.forward import causal_lm_of


def is_in_model_loss(trainer: Trainer) -> bool:
    """Whether the model's own loss, which the trainer takes, has an auxiliary loss in it.

    Newer TRL adds the auxiliary loss itself, divided by ``current_gradient_accumulation_steps``.
    """
    return (
        bool(trainer.model.config.get_text_config().to_dict().get("output_router_logits"))
        and "router_aux_loss_coef" not in vars(trainer)
        and trainer.label_smoother is None
        and trainer.compute_loss_func is None
    )


def more_router_loss(model: PreTrainedModel, outputs: Any, ranks: int, weight: float) -> Tensor:
    """What to add to a training loss so that its auxiliary loss has another weight.

    Args:
        model: The bare model; may be a PEFT model.
        outputs: What its forward returned.
        ranks: Number of data-parallel ranks, by which the trainer multiplies the loss.
        weight: The wanted weight, as a multiple of that in ``outputs.loss``.

    Returns:
        A scalar.
    """
    causal_lm = causal_lm_of(model)
    places = (causal_lm, causal_lm.config.get_text_config())
    coefficient = next(
        vars(place)["router_aux_loss_coef"]
        for place in places
        if "router_aux_loss_coef" in vars(place)
    )
    extra: Tensor = (weight - 1.0) * ranks * coefficient * outputs["aux_loss"]
    return extra.to(outputs["loss"].device)
