"""Models next to the one being trained: a scorer in its place, and a reference."""

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from accelerate.utils import is_peft_model
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

from ..errors import UsageError
from ..io.models import load_causal_lm, load_tokenizer
from ..weighters.protocols import FROM_REFERENCE
from .forward import model_token_stats
from .scorer import evaluating

SCORER = "scorer_model_name_or_path"
REFERENCE_MODEL = "reference_model_name_or_path"
_N_TOKENS = 64
# Mean difference in nats of adapters that do nothing yet: of 0 in plain LoRA, while DoRA rounds. Of
# SmolLM2-135M in bfloat16 it is 0.08; with PiSSA it is 8, with OLoRA 4.
_ROUNDING, _ROUNDING_OF_HALF = 1e-3, 0.3


def load_other_model(trainer: Trainer, field: str, name: str | None) -> PreTrainedModel | None:
    """The model that an argument names, frozen, on the trainer's device; None without a name.

    Args:
        trainer: The trainer.
        field: ``SCORER`` or ``REFERENCE_MODEL``, for messages.
        name: Folder, Hub id or GGUF file.

    Raises:
        UsageError: The model cannot be loaded, or its tokenizer is not the trainer's.
    """
    if name is None:
        return None
    if isinstance(trainer.processing_class, PreTrainedTokenizerBase):
        check_same_tokenizer(field, name, trainer.processing_class)
    return _frozen(load_causal_lm(name, dtype="auto"), trainer)


def reference_model(
    trainer: Trainer, name: str | None, needs: frozenset[str]
) -> PreTrainedModel | None:
    """The reference model; None if nothing needs one, or if the trained model contains it.

    A PEFT model contains the model before training: itself without adapters. Any other model is
    copied.

    Args:
        trainer: The trainer, before training.
        name: Folder, Hub id or GGUF file; None takes the trainer's model before training.
        needs: Names that the pruners and the token weighter read.

    Raises:
        UsageError: The model cannot be loaded, its tokenizer is not the trainer's, or a PEFT model
            without adapters is not the model before training.
    """
    if not needs & FROM_REFERENCE:
        return None
    model = load_other_model(trainer, REFERENCE_MODEL, name)
    if model is not None:
        return model
    if is_peft_model(trainer.model):
        _check_base(trainer)
        return None
    snapshot = copy.deepcopy(trainer.model)
    # TRL's fused forward is bound to the original model, and would run the original.
    vars(snapshot).pop("forward", None)
    return _frozen(snapshot, trainer)


def _check_base(trainer: Trainer) -> None:
    """Check that the adapters of a PEFT model do nothing yet, by the NLL of a few tokens.

    PiSSA, OLoRA and others begin with adapters that act, and take what these do out of the base
    weights. Adapters that are loaded have learnt something. This must run before a checkpoint is
    loaded, and on a model that is not sharded.

    Raises:
        UsageError: The NLL with adapters and without differs by more than rounding.
    """
    model: PreTrainedModel = trainer.model
    vocabulary = model.config.get_text_config().vocab_size
    # Tokens that stand for images are at the end of a vocabulary.
    ids = torch.linspace(0, vocabulary // 2, _N_TOKENS, device=model.device).long()[None]
    inputs = {"input_ids": ids, "labels": ids}
    # Autocast would only round weights that are in full precision; other weights may need it.
    full = all(weight.dtype == torch.float32 for weight in model.parameters())
    autocast = nullcontext if full else trainer.accelerator.autocast
    with evaluating(model):
        with autocast():
            nll = model_token_stats(model, inputs).nll
        with without_adapters(model, autocast):
            nll_of_base = model_token_stats(model, inputs).nll
    difference = float((nll - nll_of_base).abs().nanmean())
    if difference > (_ROUNDING if full else _ROUNDING_OF_HALF):
        raise UsageError(
            "a pruner or weighter compares with the model before training, which this PEFT model "
            f"is not without its adapters (NLL differs by {difference:.2g} nats): they are trained "
            "already, or took something out of the base weights, as PiSSA and OLoRA do; name the "
            f"model before training, with adapters merged into it, as {REFERENCE_MODEL}"
        )


def _frozen(model: PreTrainedModel, trainer: Trainer) -> PreTrainedModel:
    """The model in eval mode, without gradients, on the trainer's device."""
    return model.requires_grad_(False).eval().to(trainer.args.device)


def check_same_tokenizer(field: str, name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that a model's tokenizer has the vocabulary of ``tokenizer``.

    Args:
        field: Name of the argument, for the message.
        name: Folder, Hub id or GGUF file of the model.
        tokenizer: Tokenizer of the model being trained.

    Raises:
        UsageError: The vocabularies differ, or the model's tokenizer cannot be loaded.
    """
    other_vocabulary, vocabulary = load_tokenizer(name).get_vocab(), tokenizer.get_vocab()
    if other_vocabulary != vocabulary:
        n_entries = len(other_vocabulary.items() ^ vocabulary.items())
        raise UsageError(
            f"{field} {name}: its tokenizer is another one ({n_entries:,} entries of the "
            "vocabularies differ); name a model of the same family"
        )


@contextmanager
def without_adapters(
    model: PreTrainedModel, autocast: Callable[[], AbstractContextManager[Any]]
) -> Iterator[None]:
    """Context of a PEFT model without its adapters, in the precision of ``autocast``."""
    with autocast(), model.disable_adapter():
        yield
