"""What the config of a model tells: the class that loads it, and which of its tokens are images."""

from typing import Any


def auto_class(config: Any) -> Any:
    """The class of ``transformers`` that loads models of a config: with a language model head.

    Models that take images are of a class of their own, but for the few that are in both.
    """
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    )

    kind = type(config)
    is_vision = kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    if is_vision and kind not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return AutoModelForImageTextToText
    return AutoModelForCausalLM


def image_ids_of(config: Any) -> set[int]:
    """Token ids that stand for parts of images or videos, of a model's config."""
    names = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")
    return {value for name in names if isinstance(value := getattr(config, name, None), int)}
