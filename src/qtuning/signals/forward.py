"""Token statistics from a Hugging Face causal language model, without full logits.

The backbone runs as the model runs it, and our own head projects label positions only. TRL's fused
head is not used: it keeps tiles of logits in the compute dtype, which in bfloat16 was off by up to
0.05 nats, and is no faster (benchmarks/gpu-notes.md).
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from accelerate.utils import is_peft_model
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from ..core.places import AnswerPlaces
from ..core.stats import TokenStats, token_stats
from ..errors import UsageError

_NOT_FOR_THE_BACKBONE = ("labels", "shift_labels", "num_items_in_batch")


@dataclass(frozen=True)
class LogitShape:
    """How a model changes the product of hidden states and head before the softmax.

    Attributes:
        softcap: Soft cap of the logits, after the scale; None if there is none.
        scale: Factor on the logits.
    """

    softcap: float | None
    scale: float

    @classmethod
    def of(cls, model: PreTrainedModel) -> "LogitShape":
        """Read the shape from a model's config, in all spellings that transformers has."""
        config = model.config.get_text_config()

        def first(*keys: str) -> float | None:
            # Not from to_dict(), which lacks properties such as MiniCPM3's logits_scaling.
            values = (getattr(config, key, None) for key in keys)
            return next((value for value in values if value is not None), None)

        softcap = first("final_logit_softcapping", "logits_soft_cap") or None
        scale = first("logit_scale", "output_multiplier", "lm_head_multiplier")
        if scale is None and (divisor := first("logits_scaling")) is not None:
            # Granite and MiniCPM3 divide by logits_scaling, HyperCLOVA X multiplies by it.
            scale = divisor if config.model_type == "hyperclovax" else 1.0 / divisor
        return cls(softcap=softcap, scale=1.0 if scale is None else float(scale))


def causal_lm_of(model: PreTrainedModel) -> PreTrainedModel:
    """The causal language model inside a PEFT model; any other model unchanged."""
    return model.get_base_model() if is_peft_model(model) else model


@torch.no_grad()
def model_token_stats(
    model: PreTrainedModel, inputs: Mapping[str, Any], *, wrapped: nn.Module | None = None
) -> TokenStats:
    """Token statistics of a collated batch, padded or padding-free.

    Args:
        model: The bare model; may be a PEFT model.
        inputs: A batch on the model's device; ``labels`` is ``(B, L)``.
        wrapped: The model as FSDP or DeepSpeed wrapped it, whose hooks must run in a forward.

    Returns:
        ``TokenStats`` of shape ``(B, L-1)``.

    Raises:
        UsageError: The model has no backbone or no output embeddings of its own.
    """
    with projected(model, inputs, wrapped=wrapped) as projection:
        labels = inputs["labels"].to(projection.weight.device)
        return token_stats(projection.hidden, projection.weight, labels, **projection.head)


class Projection(NamedTuple):
    """The factors of a model's logits: hidden states and head.

    Attributes:
        hidden: Last hidden states, ``(B, L, D)``, on the head's device.
        weight: Weight of the head, ``(V, D)``.
        bias: Bias of the head, ``(V,)``.
        shape: How the model changes the product of hidden states and weight.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    shape: LogitShape

    def before(self, places: AnswerPlaces) -> Tensor:
        """Hidden states that predict the answer tokens at ``places``, ``(T, D)``."""
        return self.at(places.at)

    def at(self, index: Tensor) -> Tensor:
        """Hidden states at places of the flattened batch, ``(n, D)``, in memory of their own."""
        return self.hidden.flatten(0, 1)[index]

    @property
    def head(self) -> dict[str, Any]:
        """Keyword arguments of functions that take hidden states and weight."""
        return {
            "bias": self.bias,
            "softcap": self.shape.softcap,
            "logit_scale": self.shape.scale,
        }


@contextmanager
def projected(
    model: PreTrainedModel, inputs: Mapping[str, Any], *, wrapped: nn.Module | None = None
) -> Iterator[Projection]:
    """Context of a forward without gradients, in which a sharded head is whole.

    Args:
        model: The bare model; may be a PEFT model.
        inputs: A batch on the model's device; labels are not used.
        wrapped: The model as FSDP or DeepSpeed wrapped it, whose hooks must run in a forward.

    Raises:
        UsageError: The model has no backbone or no output embeddings of its own.
    """
    causal_lm = causal_lm_of(model)
    backbone, head = _parts(causal_lm)
    arguments = {k: v for k, v in inputs.items() if k not in _NOT_FOR_THE_BACKBONE}
    arguments["use_cache"] = False
    with torch.no_grad():
        if wrapped is None:
            hidden = backbone(**arguments)[0]
        else:
            hidden = _hidden_through(wrapped, causal_lm, backbone, arguments)
        with _whole(head) as (weight, bias):
            yield Projection(hidden.to(weight.device), weight, bias, LogitShape.of(causal_lm))


def model_projection(
    model: PreTrainedModel, wrapped: nn.Module, inputs: Mapping[str, Any]
) -> Projection:
    """Hidden states with their autograd graph, and the head, for a loss outside the model.

    Args:
        model: The bare model, its weights not sharded; may be a PEFT model.
        wrapped: The model as DDP wrapped it, whose hooks must run in a forward.
        inputs: A batch on the model's device; labels are not used.

    Raises:
        UsageError: The model has no backbone or no output embeddings of its own.
    """
    causal_lm = causal_lm_of(model)
    backbone, head = _parts(causal_lm)
    arguments = {k: v for k, v in inputs.items() if k not in _NOT_FOR_THE_BACKBONE}
    hidden = _hidden_through(wrapped, causal_lm, backbone, {**arguments, "use_cache": False})
    weight: Tensor = head.weight
    return Projection(hidden.to(weight.device), weight, head.bias, LogitShape.of(causal_lm))


@torch.no_grad()
def check_head(model: PreTrainedModel, input_ids: Tensor) -> None:
    """Compare the statistics with the model's own logits on a few tokens, ``(1, L)``.

    Otherwise, an architecture that changes its logits in a way that ``LogitShape`` does not know
    would be scored wrongly without an error.

    Args:
        model: The bare model; may be a PEFT model.
        input_ids: Token ids on the model's device, ``(1, L)``.

    Raises:
        UsageError: The NLLs differ by more than rounding explains.
    """
    stats = model_token_stats(model, {"input_ids": input_ids, "labels": input_ids})
    logits = model(input_ids=input_ids, use_cache=False).logits[:, :-1].double()
    nll = nn.functional.cross_entropy(logits[0], input_ids[0, 1:], reduction="none")
    # Logits rounded to half precision are off by up to half a nat; a missed scale is worse.
    if not torch.allclose(stats.nll[0].double(), nll, rtol=0.1, atol=0.6, equal_nan=True):
        raise UsageError(
            f"{type(causal_lm_of(model)).__name__} does something to its logits that is not "
            "known here, so its statistics would be wrong: please report the model"
        )


def _parts(causal_lm: PreTrainedModel) -> tuple[nn.Module, Any]:
    """Backbone and head of a model.

    Raises:
        UsageError: The model has no backbone or no output embeddings of its own.
    """
    backbone, head = causal_lm.base_model, causal_lm.get_output_embeddings()
    if backbone is causal_lm or head is None or causal_lm.config.is_encoder_decoder:
        raise UsageError(
            f"{type(causal_lm).__name__} cannot be scored: it must be a decoder-only causal "
            "language model with a backbone and a language model head"
        )
    return backbone, head


def _hidden_through(
    wrapped: nn.Module, causal_lm: PreTrainedModel, backbone: nn.Module, arguments: dict[str, Any]
) -> Tensor:
    """Last hidden states of a forward of the wrapped model, which makes as few logits as it can."""
    if "logits_to_keep" in inspect.signature(causal_lm.forward).parameters:
        arguments = {**arguments, "logits_to_keep": 1}
    with _outputs(backbone) as outputs:
        wrapped(**arguments)
    return outputs[0]


@contextmanager
def _outputs(backbone: nn.Module) -> Iterator[list[Tensor]]:
    """Last hidden states of the forwards of the backbone within the context."""
    outputs: list[Tensor] = []
    handle = backbone.register_forward_hook(lambda module, args, output: outputs.append(output[0]))
    try:
        yield outputs
    finally:
        handle.remove()


@contextmanager
def _whole(head: Any) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Whole weight and bias of the head, gathered if FSDP2 or ZeRO-3 has sharded the head."""
    weight, bias = head.weight, head.bias
    if isinstance(weight, DTensor):
        yield weight.full_tensor(), bias.full_tensor() if isinstance(bias, DTensor) else bias
    elif "ds_id" in vars(weight):
        import deepspeed

        shards = [weight] if bias is None else [weight, bias]
        with deepspeed.zero.GatheredParameters(shards):
            yield weight, bias
    else:
        yield weight, bias
