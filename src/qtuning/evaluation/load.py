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
# What peft raises for a config or weights that it cannot use.
_ADAPTING = (OSError, ValueError, TypeError, RuntimeError, LookupError, AttributeError, ImportError)


def load_evaluated(
    name: str, *, dtype: Any = "float32", **options: Any
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer; of a PEFT adapter's folder the base that it names, with the adapter.

    Args:
        name: Folder, Hub id or GGUF file.
        dtype: Of the weights, as ``load_causal_lm``.
        **options: ``revision`` and ``trust_remote_code``.

    Raises:
        UsageError: It is not there, or cannot be read.
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
        except _ADAPTING as error:
            why = " ".join(str(error).split())[:300]
            raise UsageError(f"{name}: the adapter does not fit its base ({why})") from error
    return model, tokenizer
