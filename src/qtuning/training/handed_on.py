"""Whether the ``compute_loss`` of a trainer class only hands on what it is given.

Our own loss, which weighs samples or belongs to one pass, may replace the plain loss of ``Trainer``
and ``SFTTrainer``. Many subclasses override ``compute_loss`` for the sake of an option that is off,
or to count tokens. What one of them does is seen by calling it.
"""

import copy
from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from transformers import Trainer
from trl import SFTTrainer

from ..core.stats import IGNORE_INDEX

_FAILS_ON_A_STAND_IN = (AttributeError, LookupError, TypeError, ValueError, RuntimeError)
"""What a ``compute_loss`` raises that uses more of its input, or of the result, than there is."""


def hands_on_loss(trainer: Trainer, compute_loss: MethodType) -> bool:
    """Whether a trainer class' ``compute_loss`` returns the loss of the stock class untouched.

    It is called once, on a copy of the trainer whose stock class notes down what it is given, with
    two tokens of which one is an answer. It hands on if the stock class is asked exactly once, for
    the same model, the same inputs and the same number of items, and its loss is what is returned.
    What the method does beside that, such as counting tokens, does not matter. The answer holds for
    the settings of this run; a method that decides by the data what to do can only be asked about
    these two tokens.

    Args:
        trainer: The trainer, constructed.
        compute_loss: The method of the trainer class, bound: what ``super().compute_loss`` is in
            the class that prunes.
    """
    own = compute_loss.__func__
    if own in (Trainer.compute_loss, SFTTrainer.compute_loss):
        return True
    tokens = torch.zeros((1, 2), dtype=torch.long, device=trainer.args.device)
    labels = tokens.clone()
    labels[:, 0] = IGNORE_INDEX
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": labels}
    before = {name: (value, value.clone()) for name, value in inputs.items()}
    n_items = torch.ones((), device=trainer.args.device)
    loss = torch.zeros((), device=trainer.args.device)
    asked: list[bool] = []

    def stock(
        self: Any,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        asked.append(
            model is trainer.model
            and num_items_in_batch is n_items
            and not return_outputs
            and inputs.keys() == before.keys()
            and all(
                inputs[name] is value and torch.equal(value, copied)
                for name, (value, copied) in before.items()
            )
        )
        return loss

    try:
        with torch.no_grad():
            result = own(_copy_above(trainer, stock), trainer.model, inputs, False, n_items)
    except _FAILS_ON_A_STAND_IN:
        return False
    return result is loss and asked == [True]


def _copy_above(trainer: Trainer, compute_loss: Callable[..., Any]) -> Any:
    """A shallow copy of a trainer, beneath whose own class stands another ``compute_loss``.

    The class between those of the trainer and the stock one is found by ``super()``.
    """
    stock = SFTTrainer if isinstance(trainer, SFTTrainer) else Trainer
    beneath = type("Beneath", (stock,), {"compute_loss": compute_loss})
    asked: Any = type("Asked", (type(trainer), beneath), {})
    made = object.__new__(asked)
    vars(made).update(vars(trainer), state=copy.copy(trainer.state))
    return made
