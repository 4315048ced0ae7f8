"""Load a model from a folder, a Hub id or a GGUF file; an adapter is merged into its base."""

import re
import struct
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from huggingface_hub.errors import StrictDataclassError

from ..errors import UsageError
from .adapters import Adapter, adapter_in, adapter_on_hub, merged
from .extras import need
from .model_folder import check_folder
from .paths import path_of
from .vision import auto_class, image_ids_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_WEIGHT_FILES = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
LOADING = (
    *(OSError, ValueError, RuntimeError, ImportError, LookupError, TypeError, AttributeError),
    *(AssertionError, ArithmeticError, MemoryError, struct.error, StrictDataclassError),
)
"""What transformers and its dependencies raise for files and names that they cannot use.

A truncated GGUF file raises ``struct.error``.
"""


def check_model(name: str, option: str = "--model_name_or_path") -> None:
    """Check the name of a model against the disk, so that a wrong name fails before loading.

    Args:
        name: A folder, of a model or of a PEFT adapter, a Hub id or a GGUF file.
        option: The option that named the model, for messages.

    Raises:
        UsageError: The path is missing, the folder holds no model, the file is not GGUF, or the
            base of an adapter is missing.
    """
    if not name.isprintable():
        raise UsageError(f"{option} {name!r}: has characters that no name of a model has")
    path = path_of(name, option)
    if path.is_dir():
        adapter = adapter_in(path, name)
        if adapter is None:
            check_folder(path, option)
        else:
            _check_base(adapter)
    elif path.exists():
        _check_gguf(path, option)
    elif name.startswith((".", "/", "~")) or name.endswith(_WEIGHT_FILES):
        raise UsageError(f"{option} {name}: no such file or folder")
    elif not _HUB_ID.fullmatch(name):
        raise UsageError(
            f"{option} {name}: neither a folder or file that is there nor a Hub id "
            "(organisation/model)"
        )


def _check_base(adapter: Adapter) -> None:
    """Check the base model of an adapter against the disk.

    Raises:
        UsageError: The base is missing, or its folder or file is damaged.
    """
    try:
        check_model(adapter.base, "base_model_name_or_path")
    except UsageError as error:
        raise adapter.without_base(error) from error


def find_adapter(name: str, revision: str | None = None) -> Adapter | None:
    """The PEFT adapter that a name stands for; None if it is the name of a whole model.

    Args:
        name: A folder, a Hub id or a GGUF file.
        revision: Branch, tag or commit on the Hub.

    Raises:
        UsageError: The adapter is damaged, or the package peft is missing.
    """
    path = path_of(name, "--model_name_or_path")
    if path.is_dir():
        return adapter_in(path, name, revision)
    return None if path.exists() else adapter_on_hub(name, revision)


def _check_gguf(path: Path, option: str) -> None:
    """Check that a file is GGUF, by its name and its first bytes.

    Raises:
        UsageError: The file is not GGUF or cannot be read, or the package gguf is missing.
    """
    if path.suffix != ".gguf":
        raise UsageError(f"{option} {path}: a file that is not .gguf; name the folder it is in")
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror}") from error
    if magic != b"GGUF":
        raise UsageError(
            f"{option} {path}: not a GGUF file (it starts with {magic!r}, "
            "not b'GGUF'); download it again"
        )
    need(f"{path}: reading GGUF", "gguf", "gguf")


def _source(name: str) -> tuple[str, dict[str, Any]]:
    """The first argument and the options by which ``from_pretrained`` finds a model."""
    path = Path(name).expanduser()
    if path.is_file():
        return str(path.parent), {"gguf_file": path.name}
    return (str(path) if path.is_dir() else name), {}


def load_tokenizer(
    name: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> "PreTrainedTokenizerBase":
    """Load the tokenizer of a model; a GGUF file contains one, with its chat template.

    An adapter without a tokenizer has that of its base.

    Args:
        name: A folder, of a model or of a PEFT adapter, a Hub id or a GGUF file.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Whether to run tokenizer code from the Hub.

    Raises:
        UsageError: The tokenizer is missing or damaged, or the Hub cannot be reached.
    """
    from transformers import AutoTokenizer

    check_model(name)
    adapter = find_adapter(name, revision)
    if adapter is not None and not adapter.has_tokenizer:
        try:
            return load_tokenizer(
                adapter.base, revision=adapter.revision, trust_remote_code=trust_remote_code
            )
        except UsageError as error:
            raise adapter.without_base(error) from error
    source, options = _source(name)
    with _TokenizerErrors(name):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            source, revision=revision or "main", trust_remote_code=trust_remote_code, **options
        )
    if options:
        _take_special_tokens(tokenizer)
    return tokenizer


class Vocabulary(NamedTuple):
    """What a model's config says about its tokens.

    Attributes:
        size: Number of its embeddings.
        ends: Ids at which it stops to generate, ascending.
        images: Ids that stand for parts of images.
    """

    size: int
    ends: tuple[int, ...]
    images: frozenset[int]


def read_vocabulary(
    name: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> Vocabulary:
    """The tokens of a model by its config, of an adapter by its base's; no weights are read.

    Args:
        name: A folder, of a model or of a PEFT adapter, a Hub id or a GGUF file.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Whether to run config code from the Hub.

    Raises:
        UsageError: The config is missing or damaged, or the Hub cannot be reached.
    """
    from transformers import AutoConfig, GenerationConfig

    check_model(name)
    adapter = find_adapter(name, revision)
    if adapter is not None:
        name, revision = adapter.base, adapter.revision
    source, options = _source(name)
    options["revision"] = revision or "main"
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code, **options)
        size = int(config.get_text_config().vocab_size)
    except LOADING as error:
        raise UsageError(f"{name}: cannot load the config ({first_words(error)})") from error
    ends = {*as_ids(getattr(config.get_text_config(), "eos_token_id", None))}
    if "gguf_file" not in options:
        try:
            generation = GenerationConfig.from_pretrained(source, revision=options["revision"])
            ends |= {*as_ids(generation.eos_token_id)}
        except LOADING:  # a model need not have one
            pass
    return Vocabulary(size, tuple(sorted(ends)), frozenset(image_ids_of(config)))


def as_ids(value: int | list[int] | None) -> list[int]:
    """Ids of the end tokens in a config, where they are one, several or none."""
    if value is None:
        return []
    return [value] if isinstance(value, int) else list(value)


class _TokenizerErrors(AbstractContextManager[None]):
    """Turns errors of loading a tokenizer within into a UsageError of one line.

    tokenizers, which is written in Rust, raises ``Exception`` itself, or a ``PanicException`` that
    cannot be imported. So both are recognised by their type.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        if isinstance(error, LOADING):
            raise UsageError(
                f"{self._name}: cannot load the tokenizer ({first_words(error)})"
            ) from error
        if error is not None and (kind is Exception or type(error).__name__ == "PanicException"):
            raise UsageError(
                f"{self._name}: its tokenizer is damaged ({first_words(error)})"
            ) from error


def _take_special_tokens(tokenizer: "PreTrainedTokenizerBase") -> None:
    """Set the special tokens of a tokenizer from the ids in the GGUF file.

    transformers 5.6 takes the end token for the start token.
    """
    for kind in ("bos_token", "eos_token", "unk_token", "pad_token"):
        token_id = tokenizer.init_kwargs.get(f"{kind}_id")
        if token_id is not None:
            tokenizer.add_special_tokens({kind: tokenizer.convert_ids_to_tokens(token_id)})


def load_causal_lm(
    name: str,
    *,
    dtype: str | torch.dtype | None = "float32",
    revision: str | None = None,
    trust_remote_code: bool = False,
    attn_implementation: str | None = None,
    **options: Any,
) -> "PreTrainedModel":
    """Load a model with its weights, from safetensors or GGUF only.

    Of a PEFT adapter the base is loaded, and the adapter merged into it.

    Args:
        name: A folder, of a model or of a PEFT adapter, a Hub id or a GGUF file.
        dtype: As TRL's ``ModelConfig.dtype``; "auto" is the dtype that the weights are stored in.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Whether to run model code from the Hub.
        attn_implementation: As in transformers.
        **options: More arguments of ``from_pretrained``.

    Raises:
        UsageError: The model is missing, damaged or incomplete, an option is not supported, the
            Hub cannot be reached, or an adapter does not fit its base.
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM

    check_model(name)
    if isinstance(dtype, str) and dtype != "auto":
        if dtype not in _DTYPES:
            raise UsageError(f"--dtype {dtype}: not one of auto, {', '.join(_DTYPES)}")
        dtype = _DTYPES[dtype]
    fixed_options = {"use_safetensors", "weights_only", "output_loading_info"} & options.keys()
    if fixed_options:
        raise UsageError(
            f"{name}: {fixed_options.pop()} is not for you to choose: weights are safetensors"
        )
    options |= {
        "trust_remote_code": trust_remote_code,
        "attn_implementation": attn_implementation,
    }
    adapter = find_adapter(name, revision)
    if adapter is not None:
        return merged(_base_of(adapter, {**options, "dtype": dtype}), adapter)
    source, gguf_options = _source(name)
    if gguf_options:
        options["quantization_config"] = _unpacked(name, options.get("quantization_config"))
    arguments = {
        key: value for key, value in {**options, **gguf_options}.items() if value is not None
    }
    try:
        kind: Any = AutoModelForCausalLM
        if not gguf_options:
            kind = auto_class(
                AutoConfig.from_pretrained(
                    source, revision=revision or "main", trust_remote_code=trust_remote_code
                )
            )
        model: PreTrainedModel
        model, loading_info = kind.from_pretrained(
            source,
            dtype=dtype,
            revision=revision or "main",
            use_safetensors=True,
            output_loading_info=True,
            **arguments,
        )
    except (*LOADING, SafetensorError) as error:
        raise UsageError(f"{name}: cannot load the model ({first_words(error)})") from error
    check_complete(name, loading_info)
    return _forget_packing(model) if gguf_options else model


def _base_of(adapter: Adapter, options: dict[str, Any]) -> "PreTrainedModel":
    """The base model of an adapter; ``options`` are those of ``load_causal_lm``.

    Raises:
        UsageError: The base cannot be loaded, or would be quantised.
    """
    if options.get("quantization_config") is not None:
        raise UsageError(
            f"{adapter.name}: an adapter is merged into full weights, not into quantised ones: "
            "drop --load_in_4bit and --load_in_8bit, or name a model with the adapter merged"
        )
    try:
        return load_causal_lm(adapter.base, revision=adapter.revision, **options)
    except UsageError as error:
        raise adapter.without_base(error) from error


def check_complete(name: str, loading_info: Mapping[str, Any]) -> None:
    """Check that all weights were in the files.

    transformers initialises missing weights at random, and only logs that.

    Args:
        name: The name of the model.
        loading_info: The loading info of ``from_pretrained``.

    Raises:
        UsageError: A weight is missing or of another shape.
    """
    names = sorted(map(str, (*loading_info["missing_keys"], *loading_info["mismatched_keys"])))
    if names:
        more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        raise UsageError(
            f"{name}: incomplete: {names[0]}{more} is not in the weights, or of another shape; "
            "download the model again"
        )


def _unpacked(name: str, quantisation: object) -> Any:
    """The quantisation config that makes transformers unpack the weights of a GGUF file.

    Newer versions of transformers keep the weights packed if a kernel is installed.

    Raises:
        UsageError: The user has asked for another quantisation.
    """
    if quantisation is not None:
        raise UsageError(
            f"{name}: a GGUF file is unpacked to full weights and cannot be quantised again; "
            "drop --load_in_4bit and --load_in_8bit, or name a folder"
        )
    try:
        from transformers import GgufConfig
    except ImportError:  # older versions of transformers always unpack
        return None
    return GgufConfig(dequantize=True)


def _forget_packing(model: "PreTrainedModel") -> "PreTrainedModel":
    """Remove the quantisation config from a model with full weights, and return the model.

    With a quantisation config the Trainer refuses to train, and ``save_pretrained`` to save.
    """
    if "quantization_config" in model.config.to_dict():
        model.hf_quantizer.remove_quantization_config(model)
    return model


def first_words(error: BaseException) -> str:
    """The first line of an error's message: transformers adds general advice after it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # huggingface_hub names the wrong field in the first line, and the reason in the second.
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1]) if lines else type(error).__name__
