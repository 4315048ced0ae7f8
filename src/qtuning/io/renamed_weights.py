"""Weights that transformers writes under other names than a model has for them."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open

from .models import check_complete

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_WEIGHTS = "model*.safetensors"


def load_renamed(model: "PreTrainedModel", folder: Path) -> None:
    """Load the weights of a folder if some have other names in there than in the model.

    A mixture of experts has the experts of a layer in one tensor, which ``save_pretrained`` writes
    one expert at a time, under the names of the Hub. ``from_pretrained`` reads these names; the
    trainer does not when it resumes or loads its best model, and goes on with the experts it has.

    Args:
        model: The model, whose weights are replaced.
        folder: A checkpoint with a config and weights in safetensors; without such weights
            nothing is done.

    Raises:
        UsageError: A weight of the model is not in the folder.
    """
    names: set[str] = set()
    for path in folder.glob(_WEIGHTS):
        with safe_open(path, "pt") as file:
            names |= set(file.keys())
    if names <= model.state_dict().keys():
        return
    dtypes = {weight.dtype for weight in model.parameters()}
    loaded, info = type(model).from_pretrained(
        folder,
        dtype=dtypes.pop() if len(dtypes) == 1 else torch.float32,  # which holds all others
        use_safetensors=True,
        output_loading_info=True,
    )
    check_complete(str(folder), info)
    model.load_state_dict(loaded.state_dict())
