"""How many bytes objects keep alive, and how many they are when ranks send them to each other."""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributed.distributed_c10d import _object_to_tensor, _tensor_to_object

_CPU = torch.device("cpu")


def sent(item: Any) -> tuple[int, Any]:
    """The bytes of an object on the wire, as all_gather_object pickles it, and what arrives."""
    message, size = _object_to_tensor(item, _CPU, None)
    return int(size), _tensor_to_object(message, int(size), None)


def held(*things: Any) -> int:
    """The bytes that objects keep alive, each counted once; of a view, all that it is a view of."""
    seen: set[Any] = set()

    def of(thing: Any) -> int:
        if id(thing) in seen or thing is None:
            return 0
        seen.add(id(thing))
        size = sys.getsizeof(thing)
        if isinstance(thing, Tensor):
            storage = thing.untyped_storage()
            is_new = storage.data_ptr() not in seen
            seen.add(storage.data_ptr())
            return size + storage.nbytes() * is_new
        if isinstance(thing, np.ndarray):
            return size + of(thing.base)
        if isinstance(thing, Mapping):
            return size + sum(of(part) for pair in thing.items() for part in pair)
        if isinstance(thing, list | tuple | set | frozenset):
            return size + sum(map(of, thing))
        if hasattr(thing, "__dict__"):
            return size + of(vars(thing))
        return size

    return sum(map(of, things))
