"""A model to evaluate: a folder, a Hub id, a GGUF file, or a PEFT adapter on top of its base."""

from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..errors import UsageError
from ..io.extras import need
from ..io.json_files import read_object
from ..io.model_folder import check_safetensors
from ..io.models import check_model, load_causal_lm, load_tokenizer
from ..io.paths import path_of

_ADAPTER = "adapter_config.json"
# The errors of peft for a config or weights that it cannot use.
_ADAPTER_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    RuntimeError,
    LookupError,
    AttributeError,
    ImportError,
)


def load_evaluated(
    name: str, *, dtype: Any = "float32", **options: Any
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model and its tokenizer; for a PEFT adapter, its base model with the adapter.

    Args:
        name: Folder of a model or of an adapter, Hub id, or GGUF file.
        dtype: Type of the weights, as for ``load_causal_lm``.
        **options: ``revision`` and ``trust_remote_code``.

    Raises:
        UsageError: The model or the adapter is missing, cannot be read, or they do not fit.
    """
    adapter = path_of(name, "--model_name_or_path")
    is_adapter = (adapter / _ADAPTER).is_file() and not (adapter / "config.json").is_file()
    base = name
    if is_adapter:
        need(f"{name}: an adapter", "peft", "peft")
        try:
            base = str(read_object(adapter / _ADAPTER)["base_model_name_or_path"])
        except KeyError as error:
            raise UsageError(f"{adapter / _ADAPTER}: names no base model ({error})") from error
        if not (adapter / "adapter_model.safetensors").is_file():
            raise UsageError(f"{name}: no adapter_model.safetensors in the folder")
        check_safetensors(adapter / "adapter_model.safetensors")
    check_model(base)
    model = load_causal_lm(base, dtype=dtype, **options)
    tokenizer = load_tokenizer(base, **options)
    if is_adapter:
        from peft import PeftModel

        try:
            model = PeftModel.from_pretrained(model, str(adapter))
        except _ADAPTER_ERRORS as error:
            reason = " ".join(str(error).split())[:300]
            raise UsageError(f"{name}: the adapter does not fit its base ({reason})") from error
    return model, tokenizer
