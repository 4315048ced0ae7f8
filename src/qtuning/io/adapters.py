"""PEFT adapters where a model is named: found, checked, and merged into their base."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from huggingface_hub.errors import HFValidationError

from ..errors import UsageError
from .extras import need
from .json_files import read_object
from .model_folder import check_safetensors
from .paths import path_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_TOKENIZER = "tokenizer_config.json"
_WHOLE = ("model.safetensors", "model.safetensors.index.json")
# The errors of peft for a config or weights that it cannot use.
_ERRORS = (
    *(OSError, ValueError, TypeError, RuntimeError, LookupError, AttributeError, ImportError),
    NotImplementedError,
)


class Adapter(NamedTuple):
    """An adapter where a model is named.

    Attributes:
        name: The folder or Hub id, as it was named.
        folder: The folder of its config and weights.
        base: Folder, Hub id or GGUF file of its base model.
        revision: Revision of the base on the Hub; None if none is named.
        has_tokenizer: Whether a tokenizer is saved beside the adapter.
    """

    name: str
    folder: Path
    base: str
    revision: str | None
    has_tokenizer: bool

    def without_base(self, why: object) -> UsageError:
        """The error of a base that cannot be loaded.

        Args:
            why: What is wrong with the base, which it names.
        """
        return UsageError(
            f"{self.name}: the base model of this adapter cannot be loaded: {why}; write where the "
            f"base is into {self.folder / CONFIG}"
        )


def is_adapter(folder: Path) -> bool:
    """Whether a folder has an adapter and no whole model."""
    has = {name: (folder / name).is_file() for name in (CONFIG, *_WHOLE)}
    return has[CONFIG] and not (
        (folder / "config.json").is_file() and any(has[name] for name in _WHOLE)
    )


def adapter_in(folder: Path, name: str, revision: str | None = None) -> Adapter | None:
    """The adapter of a folder, checked; None for a folder of anything else.

    Args:
        folder: The folder.
        name: The name of the adapter.
        revision: Revision of the base if the adapter names none.

    Raises:
        UsageError: The package peft is missing, config or weights are missing or damaged, or the
            config names no base, or an adapter.
    """
    if not is_adapter(folder):
        return None
    need(f"{name}: an adapter", "peft", "peft")
    config = read_object(folder / CONFIG)
    base = config.get("base_model_name_or_path")
    if not base or not isinstance(base, str):
        raise UsageError(f"{folder / CONFIG}: names no base model (base_model_name_or_path)")
    if is_adapter(path_of(base, f"{name}: its base model")):
        raise UsageError(
            f"{name}: its base {base} is an adapter as well: merge that one into its own base "
            f"(merge_and_unload of peft), and write where the result is into {folder / CONFIG}"
        )
    if not (folder / _WEIGHTS).is_file():
        raise UsageError(f"{name}: no {_WEIGHTS} in the folder")
    check_safetensors(folder / _WEIGHTS)
    own = config.get("revision")
    return Adapter(
        name,
        folder,
        base,
        own if isinstance(own, str) else revision,
        (folder / _TOKENIZER).is_file(),
    )


def adapter_on_hub(name: str, revision: str | None) -> Adapter | None:
    """The adapter of a Hub id, downloaded; None for an id of anything else.

    Args:
        name: The Hub id.
        revision: Branch, tag or commit.

    Raises:
        UsageError: As in ``adapter_in``.
    """
    config = _downloaded(name, CONFIG, revision)
    if config is None or any(_downloaded(name, file, revision) for file in _WHOLE):
        return None
    for file in (_WEIGHTS, _TOKENIZER):
        _downloaded(name, file, revision)
    return adapter_in(Path(config).parent, name)


def _downloaded(name: str, file: str, revision: str | None) -> str | None:
    """The path of a file of a Hub id on this machine; None if it cannot be had."""
    from transformers.utils import cached_file

    try:
        path: str | None = cached_file(
            name,
            file,
            revision=revision,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except (OSError, HFValidationError):
        return None
    return path


def merged(base: "PreTrainedModel", adapter: Adapter) -> "PreTrainedModel":
    """The base model with the adapter merged into its weights.

    So the adapter acts on every way through the model, also on a head that is read apart from it.

    Args:
        base: The base model, which is changed.
        adapter: The adapter.

    Raises:
        UsageError: The adapter does not fit the base, or cannot be merged into weights.
    """
    from peft import PeftConfig, PeftModel

    if any("ds_id" in vars(weight) for weight in base.parameters()):
        raise UsageError(
            f"{adapter.name}: an adapter cannot be merged into weights that DeepSpeed ZeRO-3 has "
            "sharded: merge it beforehand (merge_and_unload of peft), or train without ZeRO-3"
        )

    try:
        config = PeftConfig.from_pretrained(str(adapter.folder))
        if config.is_prompt_learning:
            raise UsageError(
                f"{adapter.name}: {config.peft_type.value} learns a prompt, which cannot be merged "
                "into the weights of its base: name an adapter such as LoRA, or a whole model"
            )
        with torch.random.fork_rng():  # peft draws weights, then reads them
            model: Any = PeftModel(base, config)
        _check_all_read(adapter, model.load_adapter(str(adapter.folder), "default"))
        _part_head(model.get_base_model())
        whole: PreTrainedModel = model.merge_and_unload(safe_merge=True)
    except UsageError:
        raise
    except _ERRORS as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"{adapter.name}: the adapter does not fit its base ({reason})") from error
    _say_whether_tied(whole)
    whole.requires_grad_(True)
    whole.name_or_path = whole.config.name_or_path = adapter.name
    return whole


def _check_all_read(adapter: Adapter, loaded: Any) -> None:
    """Check that all weights of the adapter had a place, and all places a weight.

    Raises:
        UsageError: Some had none, so that the adapter would act in part only.
    """
    for keys, what in (
        (loaded.missing_keys, "lacks"),
        (loaded.unexpected_keys, "has, and its base has no place for,"),
    ):
        if keys:
            raise UsageError(
                f"{adapter.name}: does not fit its base {adapter.base}: the adapter {what} "
                f"{keys[0]}{f' and {len(keys) - 1:,} more' if len(keys) > 1 else ''}"
            )


def _part_head(model: "PreTrainedModel") -> None:
    """Give the head weights of its own if it shares them with embeddings, and one has an adapter.

    Merging what one of them has learnt would change the other.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    ends: Mapping[str, Any] = {
        "in": model.get_input_embeddings(),
        "out": model.get_output_embeddings(),
    }
    if any(isinstance(end, BaseTunerLayer) for end in ends.values()):
        inner, head = (
            end.get_base_layer() if isinstance(end, BaseTunerLayer) else end
            for end in ends.values()
        )
        if head is not None and head.weight is inner.weight:
            head.weight = torch.nn.Parameter(head.weight.detach().clone())


def _say_whether_tied(model: "PreTrainedModel") -> None:
    """Have the config say that embeddings and head differ, where they do after a merge.

    Otherwise, the head would be lost when the model is saved and loaded.
    """
    head = model.get_output_embeddings()
    if head is not None and head.weight is not model.get_input_embeddings().weight:
        model.config.get_text_config().tie_word_embeddings = False
        model.config.tie_word_embeddings = False
