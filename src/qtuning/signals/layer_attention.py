"""The attention of a model's last layer, recomputed from that layer's input.

The forward pass keeps its fast kernel, which never holds attention weights. Afterwards the
attention of this one layer is run again, sample by sample, in the eager implementation, which
returns the weights.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..errors import UsageError


class LayerView(NamedTuple):
    """Attention and hidden states of one sample in the last layer.

    Attributes:
        attention: Mean over the heads, ``(L, L)`` float32; row i has position i's weights.
        hidden: Input of the layer's attention, ``(L, D)``.
    """

    attention: Tensor
    hidden: Tensor


class LastAttention:
    """Watches the last layer of a model while it is scored."""

    def __init__(self, causal_lm: PreTrainedModel) -> None:
        """Find the attention module of the last layer.

        Args:
            causal_lm: The causal language model, not wrapped.

        Raises:
            UsageError: The model has no such module under a known name.
        """
        self._causal_lm = causal_lm
        self._module = _last_attention(causal_lm)
        self._seen: dict[str, Any] = {}
        self._viewing = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Context in which every forward stores the input of the layer's attention."""

        def remember(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if not self._viewing:  # ``view`` runs the same module
                self._seen = {"hidden_states": args[0], **kwargs} if args else kwargs

        handle = self._module.register_forward_pre_hook(remember, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()
            self._seen = {}

    @contextmanager
    def eager(self) -> Iterator[None]:
        """Context of eager attention, for ``view``; the model's own implementation is restored."""
        implementation = self._causal_lm.config._attn_implementation
        self._causal_lm.set_attn_implementation("eager")
        self._viewing = True
        try:
            yield
        finally:
            self._viewing = False
            self._causal_lm.set_attn_implementation(implementation)

    def view(self, row: int, positions: Tensor) -> LayerView:
        """Attention and hidden states of one sample of the last forward; call it within ``eager``.

        Args:
            row: The sample's row in the batch.
            positions: The sample's positions in that row, ``(L,)``; no other position is read.

        Raises:
            UsageError: The layer does not return its attention.
        """
        inputs = {
            name: _of_sample(value, row, positions)
            for name, value in self._seen.items()
            if name in ("hidden_states", "position_embeddings", "position_ids")
        }
        hidden = inputs["hidden_states"]
        window = vars(self._module).get("sliding_window")
        mask = _causal_mask(positions.shape[0], window, hidden)
        output = self._module(**inputs, attention_mask=mask)
        weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        shape = (positions.shape[0], positions.shape[0])
        if not isinstance(weights, Tensor) or weights.ndim != 4 or weights.shape[2:] != shape:
            raise UsageError(
                f"{type(self._module).__name__} does not return its attention weights: choose a "
                "token pruner that does not read attention"
            )
        return LayerView(weights[0].float().mean(0), hidden[0])


def _last_attention(causal_lm: PreTrainedModel) -> nn.Module:
    """Attention module of the last layer.

    Raises:
        UsageError: The model has no such module under a known name.
    """
    layers = dict(causal_lm.base_model.named_children()).get("layers")
    if isinstance(layers, nn.ModuleList) and len(layers):
        children = dict(layers[-1].named_children())
        for name in ("self_attn", "attention"):
            if name in children:
                return children[name]
    raise UsageError(
        f"the attention of {type(causal_lm).__name__}'s last layer cannot be read: choose a token "
        "pruner that does not read attention"
    )


def _of_sample(value: Any, row: int, positions: Tensor) -> Any:
    """The part of a batch-first tensor, or of each tensor of a tuple, that belongs to a sample."""
    if isinstance(value, tuple):
        return tuple(_of_sample(part, row, positions) for part in value)
    if not isinstance(value, Tensor):
        return value
    return value[min(row, value.shape[0] - 1)][positions][None]  # one row may stand for all


def _causal_mask(length: int, window: int | None, like: Tensor) -> Tensor:
    """Additive causal mask, ``(1, 1, L, L)``, within a sliding window if there is one."""
    place = torch.arange(length, device=like.device)
    distance = place[:, None] - place[None, :]
    is_masked = distance < 0 if window is None else (distance < 0) | (distance >= window)
    mask = torch.zeros(length, length, dtype=like.dtype, device=like.device)
    return mask.masked_fill_(is_masked, torch.finfo(like.dtype).min)[None, None]
