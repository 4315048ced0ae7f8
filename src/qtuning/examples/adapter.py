"""The adapter through which the examples of a trainer are read: of text, or of text with images."""

from typing import Any

from transformers import Trainer

from ..io.token_ids import vocabulary_of
from ..io.vision import image_ids_of
from .images import ImageLabels
from .labels import Labels
from .pixels import KeptPixels
from .processors import tokenizer_of


def has_image_data(trainer: Trainer) -> bool:
    """Whether the rows of a trainer have images, as TRL has seen; False for other trainers."""
    return bool(vars(trainer).get("_is_vision_dataset"))


def labels_of(
    trainer: Trainer, collator: Any, *, drops: bool = False, keeps: bool = False
) -> Labels:
    """The adapter of a trainer's examples.

    Args:
        trainer: The trainer.
        collator: Its collator of rows and samples.
        drops: Whether tokens will be dropped.
        keeps: Whether to keep the pixels of rows for the batches that they come into soon.
    """
    vocabulary = vocabulary_of(trainer.model)
    if not has_image_data(trainer):
        return Labels(collator, vocabulary)
    tokenizer = tokenizer_of(trainer.processing_class)
    padding = None if tokenizer is None else tokenizer.pad_token_id
    return ImageLabels(
        collator,
        image_ids_of(trainer.model.config),
        vocabulary,
        padding_id=padding or 0,
        drops=drops,
        kept=KeptPixels() if keeps else None,
    )
