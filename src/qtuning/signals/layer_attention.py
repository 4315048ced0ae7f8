"""The attention of a model's last layer, made anew from that layer's own input.

The forward pass keeps its fast kernel, which never holds attention weights; afterwards this one
layer's attention is run once more, sample by sample, in the eager implementation that returns them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..errors import UsageError


class LayerView(NamedTuple):
    """One sample in the last layer.

    Attributes:
        attention: Mean over the heads, ``(L, L)`` float32; row i is what position i looks at.
        hidden: Input of the layer's attention, ``(L, D)``.
    """

    attention: Tensor
    hidden: Tensor


class LastAttention:
    """Watches the last layer of a model while it is scored.

    Attributes:
        causal_lm: The causal language model, not wrapped.
    """

    def __init__(self, causal_lm: PreTrainedModel) -> None:
        """Find the layer.

        Raises:
            UsageError: It has none that is known here.
        """
        self._causal_lm = causal_lm
        self._module = _last_attention(causal_lm)
        self._seen: dict[str, Any] = {}
        self._viewing = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Remember the input of the layer's attention in every forward within."""

        def remember(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if not self._viewing:  # a view runs the same module
                self._seen = {"hidden_states": args[0], **kwargs} if args else kwargs

        handle = self._module.register_forward_pre_hook(remember, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()
            self._seen = {}

    @contextmanager
    def eager(self) -> Iterator[None]:
        """The eager implementation, for ``view``; the model's own comes back."""
        before = self._causal_lm.config._attn_implementation
        self._causal_lm.set_attn_implementation("eager")
        self._viewing = True
        try:
            yield
        finally:
            self._viewing = False
            self._causal_lm.set_attn_implementation(before)

    def view(self, row: int, own: Tensor) -> LayerView:
        """One sample of the last forward, within ``eager``.

        Args:
            row: Its row in the batch.
            own: Its positions in that row, ``(L,)``; no other is looked at.

        Raises:
            UsageError: The layer does not return its attention.
        """
        inputs = {
            name: _of_sample(value, row, own)
            for name, value in self._seen.items()
            if name in ("hidden_states", "position_embeddings", "position_ids")
        }
        hidden = inputs["hidden_states"]
        window = vars(self._module).get("sliding_window")
        mask = _causal_mask(own.shape[0], window, hidden)
        out = self._module(**inputs, attention_mask=mask)
        weights = out[1] if isinstance(out, tuple) and len(out) > 1 else None
        shape = (own.shape[0], own.shape[0])
        if not isinstance(weights, Tensor) or weights.ndim != 4 or weights.shape[2:] != shape:
            raise UsageError(
                f"{type(self._module).__name__} does not return its attention weights: choose a "
                "token pruner that does not read attention"
            )
        return LayerView(weights[0].float().mean(0), hidden[0])


def _last_attention(causal_lm: PreTrainedModel) -> nn.Module:
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


def _of_sample(value: Any, row: int, own: Tensor) -> Any:
    """The part of a batch-first tensor, or of a tuple of them, that belongs to a sample."""
    if isinstance(value, tuple):
        return tuple(_of_sample(part, row, own) for part in value)
    if not isinstance(value, Tensor):
        return value
    return value[min(row, value.shape[0] - 1)][own][None]  # one row may stand for all


def _causal_mask(length: int, window: int | None, like: Tensor) -> Tensor:
    """Additive mask, ``(1, 1, L, L)``."""
    place = torch.arange(length, device=like.device)
    ago = place[:, None] - place[None, :]
    hidden = ago < 0 if window is None else (ago < 0) | (ago >= window)
    mask = torch.zeros(length, length, dtype=like.dtype, device=like.device)
    return mask.masked_fill_(hidden, torch.finfo(like.dtype).min)[None, None]
