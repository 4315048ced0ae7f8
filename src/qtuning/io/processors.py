"""Load the processors of vision-language models."""

from typing import TYPE_CHECKING

from ..errors import UsageError
from .models import LOADING, check_model, find_adapter, first_words

if TYPE_CHECKING:
    from transformers import ProcessorMixin


def load_processor(
    name: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> "ProcessorMixin":
    """Load the processor of a vision-language model.

    Args:
        name: A folder, of a model or of a PEFT adapter, or a Hub id.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Whether to run code from the Hub.

    Raises:
        UsageError: The model has no processor, or it cannot be loaded.
    """
    from transformers import AutoProcessor, ProcessorMixin

    check_model(name)
    adapter = find_adapter(name, revision)
    if adapter is not None:
        name, revision = adapter.base, adapter.revision
    try:
        processor = AutoProcessor.from_pretrained(
            name, revision=revision or "main", trust_remote_code=trust_remote_code
        )
    except LOADING as error:
        raise UsageError(f"{name}: cannot load the processor ({first_words(error)})") from error
    if not isinstance(processor, ProcessorMixin):
        raise UsageError(
            f"{name}: has no processor of images, and the data have images: name a vision-language "
            "model, or remove the column"
        )
    return processor
