"""Counts where the host would wait for a GPU, on the CPU."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_ALWAYS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "is_nonzero", "equal"}
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
_TO_HOST = {"cpu", "numpy", "tolist", "__array__"}


class OnDevice(Tensor):
    """Stands for a tensor on a GPU, as do all tensors computed from it.

    ``cpu`` and its like make ordinary tensors of it, whose use costs no waiting.
    """

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        named = [one for one in (*args[1:], *(kwargs or {}).values()) if isinstance(one, str)]
        # A device that is not named is that of another stand-in, which says "cpu" as well.
        to_host = name in _TO_HOST or (name == "to" and "cpu" in named)
        if to_host and Waits.now is not None:
            Waits.now.found[f"{name} to the host"] += 1
        made = super().__torch_function__(func, types, args, dict(kwargs or {}))
        if to_host and isinstance(made, Tensor):
            return made.as_subclass(Tensor)
        return made


class Waits(TorchDispatchMode):
    """Counts the operators on stand-ins that would make the host wait, within its context.

    Attributes:
        found: Their number, by name.
    """

    now: "Waits | None" = None

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __enter__(self) -> "Waits":
        Waits.now = self
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        Waits.now = None
        super().__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.split(".")[0]
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        masks = [one for one in tensors[1:] if one.dtype in (torch.bool, torch.uint8)]
        waits = name in _ALWAYS or (name in _INDEXING and masks)
        if waits and any(isinstance(one, OnDevice) for one in tensors):
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def on_device(value: Any) -> Any:
    """A batch whose tensors stand for tensors on a GPU, as ``send_to_device`` moves it."""
    if isinstance(value, Tensor):
        return value.as_subclass(OnDevice)
    if isinstance(value, Mapping):
        return {key: on_device(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return type(value)(*map(on_device, value))
    return value
