"""Load a model to train: a folder, a Hub id, or a GGUF file (which is unpacked to full weights)."""

import re
import struct
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub.errors import StrictDataclassError

from ..errors import UsageError
from .extras import need
from .model_folder import check_folder
from .paths import path_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_WEIGHT_FILES = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
# What transformers and those below it raise for files and names they cannot use; struct.error is a
# cut off GGUF.
_LOADING = (
    *(OSError, ValueError, RuntimeError, ImportError, LookupError, TypeError, AttributeError),
    *(AssertionError, ArithmeticError, MemoryError, struct.error, StrictDataclassError),
)


def check_model(name: str, option: str = "--model_name_or_path") -> None:
    """Look at what is on disk, so that a wrong name fails before anything is loaded.

    Raises:
        UsageError: A missing path, a folder that holds no model, or a file that is not GGUF.
    """
    if not name.isprintable():
        raise UsageError(f"{option} {name!r}: has characters that no name of a model has")
    path = path_of(name, option)
    if path.is_dir():
        check_folder(path, option)
    elif path.exists():
        _check_gguf(path, option)
    elif name.startswith((".", "/", "~")) or name.endswith(_WEIGHT_FILES):
        raise UsageError(f"{option} {name}: no such file or folder")
    elif not _HUB_ID.fullmatch(name):
        raise UsageError(
            f"{option} {name}: neither a folder or file that is there nor a Hub id "
            "(organisation/model)"
        )


def _check_gguf(path: Path, option: str) -> None:
    """A file must be GGUF, by its name and by its first bytes."""
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
    """The arguments by which ``from_pretrained`` finds the model."""
    path = Path(name).expanduser()
    if path.is_file():
        return str(path.parent), {"gguf_file": path.name}
    return (str(path) if path.is_dir() else name), {}


def load_tokenizer(
    name: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> "PreTrainedTokenizerBase":
    """The model's tokenizer; a GGUF file has one with its chat template.

    Raises:
        UsageError: It is not there, cannot be read, or the Hub cannot be reached.
    """
    from transformers import AutoTokenizer

    check_model(name)
    source, options = _source(name)
    with _TokenizerErrors(name):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            source, revision=revision or "main", trust_remote_code=trust_remote_code, **options
        )
    if options:
        _take_special_tokens(tokenizer)
    return tokenizer


class _TokenizerErrors(AbstractContextManager[None]):
    """Says in a line what is wrong with a tokenizer that is loaded within.

    tokenizers, which is Rust, raises ``Exception`` itself, and for what it did not expect a
    ``PanicException`` that cannot be imported. Both are known by their type only.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        if isinstance(error, _LOADING):
            raise UsageError(
                f"{self._name}: cannot load the tokenizer ({_brief(error)})"
            ) from error
        if error is not None and (kind is Exception or type(error).__name__ == "PanicException"):
            raise UsageError(f"{self._name}: its tokenizer is damaged ({_brief(error)})") from error


def _take_special_tokens(tokenizer: "PreTrainedTokenizerBase") -> None:
    """Give it those whose ids the GGUF file names: transformers 5.6 took the end for the start."""
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
    """The model with its weights, from safetensors or GGUF only.

    Args:
        name: A folder, a Hub id or a GGUF file.
        dtype: As TRL's ``ModelConfig.dtype``; "auto" is the one the weights are stored in.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Run model code from the Hub.
        attn_implementation: As in transformers.
        **options: More arguments of ``from_pretrained``.

    Raises:
        UsageError: It is not there, cannot be read, or the Hub cannot be reached.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    check_model(name)
    if isinstance(dtype, str) and dtype != "auto":
        if dtype not in _DTYPES:
            raise UsageError(f"--dtype {dtype}: not one of auto, {', '.join(_DTYPES)}")
        dtype = _DTYPES[dtype]
    ours = {"use_safetensors", "weights_only", "output_loading_info"} & options.keys()
    if ours:
        raise UsageError(f"{name}: {ours.pop()} is not for you to choose: weights are safetensors")
    source, where = _source(name)
    if where:
        options["quantization_config"] = _unpacked(name, options.get("quantization_config"))
    given = {key: value for key, value in {**options, **where}.items() if value is not None}
    try:
        model: PreTrainedModel
        model, told = AutoModelForCausalLM.from_pretrained(
            source,
            dtype=dtype,
            revision=revision or "main",
            trust_remote_code=trust_remote_code,
            attn_implementation=attn_implementation,
            use_safetensors=True,
            output_loading_info=True,
            **given,
        )
    except (*_LOADING, SafetensorError) as error:
        raise UsageError(f"{name}: cannot load the model ({_brief(error)})") from error
    _check_complete(name, told)
    return _forget_packing(model) if where else model


def _check_complete(name: str, told: Mapping[str, Any]) -> None:
    """Weights that are not in the files have been drawn at random, which transformers only logs."""
    absent = sorted(map(str, (*told["missing_keys"], *told["mismatched_keys"])))
    if absent:
        more = f" and {len(absent) - 1:,} more" if len(absent) > 1 else ""
        raise UsageError(
            f"{name}: incomplete: {absent[0]}{more} is not in the weights, or of another shape; "
            "download the model again"
        )


def _unpacked(name: str, asked: object) -> Any:
    """Have transformers unpack the weights; newer ones keep them packed if a kernel is there."""
    if asked is not None:
        raise UsageError(
            f"{name}: a GGUF file is unpacked to full weights and cannot be quantised again; "
            "drop --load_in_4bit and --load_in_8bit, or name a folder"
        )
    try:
        from transformers import GgufConfig
    except ImportError:  # an older one, which always unpacks
        return None
    return GgufConfig(dequantize=True)


def _forget_packing(model: "PreTrainedModel") -> "PreTrainedModel":
    """Take the mark of a quantised model off full weights.

    With it the Trainer refuses to train and ``save_pretrained`` to save.
    """
    if "quantization_config" in model.config.to_dict():
        model.hf_quantizer.remove_quantization_config(model)
    return model


def _brief(error: BaseException) -> str:
    """Its first sentence-like line: transformers' messages go on with general advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # huggingface_hub says in the first line that a field is wrong, and in the second how.
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1]) if lines else type(error).__name__
