"""The class that loads a model: of text, or of text with images."""

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
