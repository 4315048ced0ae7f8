"""Models beside the one being trained: one that scores in its place, one it is compared with."""

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from accelerate.utils import is_peft_model
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

from ..errors import UsageError
from ..io.models import load_causal_lm, load_tokenizer
from ..pruners.protocols import BASE, REFERENCE

SCORER = "scorer_model_name_or_path"
REFERENCE_MODEL = "reference_model_name_or_path"


def load_other_model(trainer: Trainer, field: str, name: str | None) -> PreTrainedModel | None:
    """The model that an argument names, frozen, on the trainer's device; None if it names none.

    Args:
        trainer: The trainer.
        field: ``SCORER`` or ``REFERENCE_MODEL``, for messages.
        name: Folder, Hub id or GGUF file.

    Raises:
        UsageError: It cannot be loaded, or its tokenizer is another one.
    """
    if name is None:
        return None
    if isinstance(trainer.processing_class, PreTrainedTokenizerBase):
        check_same_tokenizer(field, name, trainer.processing_class)
    return _frozen(load_causal_lm(name, dtype="auto"), trainer)


def reference_model(
    trainer: Trainer, name: str | None, needs: frozenset[str]
) -> PreTrainedModel | None:
    """The model to compare with; None if no pruner asks for it, or if it is inside the trained one.

    A PEFT model without its adapters is what it was before training; of any other a copy is made.

    Args:
        trainer: The trainer, before training.
        name: Of a reference model; None takes the model as it is.
        needs: What the pruners read.

    Raises:
        UsageError: As ``load_other_model``.
    """
    if not needs & {REFERENCE, BASE}:
        return None
    named = load_other_model(trainer, REFERENCE_MODEL, name)
    if named is not None or is_peft_model(trainer.model):
        return named
    copied = copy.deepcopy(trainer.model)
    # TRL's fused forward belongs to the model that it was made for, and would run that one.
    vars(copied).pop("forward", None)
    return _frozen(copied, trainer)


def _frozen(model: PreTrainedModel, trainer: Trainer) -> PreTrainedModel:
    return model.requires_grad_(False).eval().to(trainer.args.device)


def check_same_tokenizer(field: str, name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Token ids must mean the same to both models.

    Raises:
        UsageError: They do not.
    """
    theirs, ours = load_tokenizer(name).get_vocab(), tokenizer.get_vocab()
    if theirs != ours:
        differing = len(theirs.items() ^ ours.items())
        raise UsageError(
            f"{field} {name}: its tokenizer is another one ({differing:,} entries of the "
            "vocabularies differ); name a model of the same family"
        )


@contextmanager
def without_adapters(
    model: PreTrainedModel, autocast: Callable[[], AbstractContextManager[Any]]
) -> Iterator[None]:
    """A PEFT model as it was before training, in the precision of ``autocast``."""
    with autocast(), model.disable_adapter():
        yield
