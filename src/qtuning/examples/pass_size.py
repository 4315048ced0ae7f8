"""How large a scoring pass may be, and what a pass costs beside its tokens.

All follows from the configuration, never from the memory that is free at the moment: a resumed run
must make the same passes. On a CPU a scoring pass is as large as a training micro-batch.
"""

from collections.abc import Iterator
from typing import NamedTuple

from accelerate.utils import is_peft_model
from transformers import PretrainedConfig, PreTrainedModel, Trainer

CPU_OVERHEAD = 64
UNKNOWN_OVERHEAD = 512
_LAUNCHES = 7.7e10  # tokens times parameters that take as long as a layer's kernels to launch
_LEAST, _MOST = 256, 32768
_SAFETY = 0.75


class Shape(NamedTuple):
    """The sizes of a decoder that decide on memory and time.

    Attributes:
        layers: Number of layers.
        hidden: Values of a hidden state.
        intermediate: Values between the two products of an MLP, of all experts that see a token.
        vocabulary: Number of token ids.
    """

    layers: int
    hidden: int
    intermediate: int
    vocabulary: int

    @classmethod
    def of(cls, config: PretrainedConfig) -> "Shape | None":
        """Read the shape of a model; None if its config has no layers or hidden size."""
        text = config.get_text_config()

        def largest(key: str) -> int:
            # Not from to_dict(), which lacks aliases such as GPT-2's num_hidden_layers.
            value = getattr(text, key, None)
            values = value if isinstance(value, list | tuple) else [value]  # one for each layer
            return max((number for number in values if isinstance(number, int)), default=0)

        layers, hidden = largest("num_hidden_layers"), largest("hidden_size")
        if not layers or not hidden:
            return None
        expert = largest("moe_intermediate_size") or largest("intermediate_size") or 4 * hidden
        experts = max(1, largest("num_experts_per_tok"))
        intermediate = max(expert * experts, largest("intermediate_size"))
        return cls(layers, hidden, intermediate, largest("vocab_size"))

    @property
    def parameters(self) -> int:
        """About as many parameters as a token passes through, the head among them."""
        of_layer = 4 * self.hidden**2 + 3 * self.hidden * self.intermediate
        return self.layers * of_layer + self.vocabulary * self.hidden

    @property
    def kept_by_layer(self) -> int:
        """Values a token that a layer keeps for the backward, at the least.

        Inputs and outputs of both norms, queries, output of the attention; gate and up of the MLP.
        """
        return 6 * self.hidden + 2 * self.intermediate

    @property
    def at_work(self) -> int:
        """Values a token that the layer at work holds without gradients, at the most.

        Residual, a norm in float32, queries, keys and values before and after rotation; four of the
        MLP. The head needs less: hidden states of label positions, and a tile of fixed size.
        """
        return 8 * self.hidden + 4 * self.intermediate


class PassSize(NamedTuple):
    """How samples are grouped into passes.

    Attributes:
        batch_size: Size of a pass, in samples as long as the longest one.
        overhead: Fixed cost of a pass in tokens, see ``pass_overhead``.
    """

    batch_size: int
    overhead: int


def scoring_times(
    trained: Shape | None,
    scoring: Shape | None,
    device_type: str,
    *,
    recomputed: bool = False,
    offloaded: bool = False,
) -> float:
    """How many times the tokens of a training micro-batch a scoring pass may hold, at least 1.

    A training micro-batch holds at its peak what all layers keep for the backward, and the layer at
    work; with gradient checkpointing, of all layers but one the input alone. A scoring pass holds
    the layer at work only. The quotient of the two, times 3/4 for safety, is the result; both are
    in the same precision, so bytes a value do not matter. SmolLM2-1.7B, hidden states of h = 2,048
    values: 24 layers x 14 h + 24 h over 24 h = 15, times 3/4 = 11; with checkpointing 1.9.

    Measured at 1.7B in bfloat16 (benchmarks/gpu-notes.md): training held 2.9 MiB a token
    beside the 3.4 GiB of weights, where the sum above has 1.4; so 11 micro-batches of 8 x 1,024 at
    0.1 MB a token, or 0.2 in float32, are 9 to 17 GiB where training on one holds 24.

    Args:
        trained: The model that is trained; None if its shape is unknown.
        scoring: The model that scores; None if its shape is unknown.
        device_type: Type of the device; on "cpu" the result is 1.
        recomputed: Whether training recomputes activations (gradient checkpointing).
        offloaded: Whether training keeps activations on another device.
    """
    if device_type == "cpu" or trained is None or scoring is None:
        return 1.0
    held = trained.kept_by_layer + trained.at_work
    if recomputed and not offloaded:
        held += trained.layers * trained.hidden
    elif not offloaded:
        held += (trained.layers - 1) * trained.kept_by_layer
    return max(1.0, _SAFETY * held / scoring.at_work)


def pass_overhead(device_type: str, shape: Shape | None = None, *, adapters: bool = False) -> int:
    """The fixed cost of a pass over a model, in tokens that take the same time.

    It need not be exact. On a CPU, a pass of SmolLM2-135M costs 45 (forward) to 70 tokens (forward
    and backward, full fine-tuning). On a GPU it is the time in which the processor launches the
    kernels: it grows with the layers, and adapters double it (1.1 ms a layer at 135M without, 1.9
    at 1.7B with LoRA); a token takes time by the number of parameters. Their quotient gives 16,000
    tokens for SmolLM2-135M and 2,200 for 1.7B with LoRA, where 17,000 and 2,000 were the best
    (benchmarks/gpu-notes.md).

    Args:
        device_type: Type of the device.
        shape: The model; None if its shape is unknown.
        adapters: Whether the model has adapters beside its layers.
    """
    if device_type == "cpu":
        return CPU_OVERHEAD
    if shape is None:
        return UNKNOWN_OVERHEAD
    tokens = _LAUNCHES * shape.layers * (2 if adapters else 1) / shape.parameters
    return min(_MOST, max(_LEAST, round(tokens)))


def pass_size(
    trainer: Trainer,
    micro_batch: int,
    *,
    asked: int | None = None,
    other_model: PreTrainedModel | None = None,
) -> PassSize:
    """The size of scoring passes beside a trainer.

    Args:
        trainer: The trainer.
        micro_batch: Samples of a training micro-batch that fits the memory.
        asked: The size that the user asks for, in samples; None for the one that follows.
        other_model: The model that scores; None for the trainer's own.
    """
    device_type = trainer.args.device.type
    trained = Shape.of(trainer.model.config)
    scoring = trained if other_model is None else Shape.of(other_model.config)
    overhead = pass_overhead(
        device_type, scoring, adapters=other_model is None and is_peft_model(trainer.model)
    )
    times = scoring_times(
        trained,
        scoring,
        device_type,
        recomputed=any(_recomputes(trainer)),
        offloaded=bool(vars(trainer.args).get("activation_offloading")),  # TRL's
    )
    return PassSize(asked or int(times * micro_batch), overhead)


def _recomputes(trainer: Trainer) -> Iterator[bool]:
    """Whether each of the ways to recompute activations in the backward is in use."""
    yield bool(trainer.args.gradient_checkpointing)
    yield bool(trainer.model.is_gradient_checkpointing)
    if trainer.is_fsdp_enabled:
        yield bool(trainer.accelerator.state.fsdp_plugin.activation_checkpointing)
