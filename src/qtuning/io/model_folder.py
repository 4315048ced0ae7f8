"""Checks of a model's folder before anything is loaded: it may be damaged or hostile."""

from pathlib import Path

from ..errors import UsageError
from .json_files import read_object
from .yaml_files import entries

_INDEX = "model.safetensors.index.json"
# Keys whose value names an implementation; a value with a slash is code from the Hub.
_IMPLEMENTATIONS = ("attn_implementation", "_attn_implementation", "experts_implementation")


def check_folder(path: Path, option: str) -> None:
    """Check that a folder has a config, complete safetensors, and nothing that would run code.

    Args:
        path: The folder.
        option: The option that named the folder, for messages.

    Raises:
        UsageError: Config or weights are missing or damaged, or the config would load code.
    """
    where = f"{option} {path}"
    if not (path / "config.json").is_file():
        raise UsageError(
            f"{where}: no model, config.json is missing; name a folder that save_pretrained wrote"
        )
    _check_config(path / "config.json")
    files = sorted(path.glob("*.safetensors"))
    if not files:
        _refuse_without_weights(path, where)
    if (path / _INDEX).is_file() and not (path / "model.safetensors").is_file():
        files = [path / name for name in _shards(path / _INDEX)]
    _check_layers(path / "config.json", sum(map(check_safetensors, files)))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (path / name).is_file():
            read_object(path / name)


def check_safetensors(file: Path) -> int:
    """Check that a safetensors file is complete, and return its number of tensors.

    Only the header is read.

    Raises:
        UsageError: The file is missing, truncated, or not of this format.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), "pt") as tensors:
            return len(tensors.keys())
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{file}: damaged or cut off ({error}); download it again") from error


def _refuse_without_weights(path: Path, where: str) -> None:
    """Refuse a folder without safetensors.

    Raises:
        UsageError: Always; the message says whether there are pickled weights.
    """
    pickles = [
        file.name for kind in ("bin", "pt", "pth") for file in sorted(path.glob(f"*.{kind}"))
    ]
    if pickles:
        raise UsageError(
            f"{where}: only {pickles[0]}, which can run code when it is read; convert it to "
            "safetensors (save_pretrained of transformers writes them)"
        )
    raise UsageError(f"{where}: no *.safetensors weights in the folder")


def _check_config(path: Path) -> None:
    """Check that a config names no code of the Hub.

    Raises:
        UsageError: The config names code of the Hub, or cannot be read.
    """
    for key, value in entries(read_object(path)):
        if key in _IMPLEMENTATIONS and "/" in str(value):
            raise UsageError(
                f"{path}: {key} is {value!r}, which would load code from the Hub: remove it, or "
                "choose one with --attn_implementation"
            )


def _check_layers(config: Path, tensors: int) -> None:
    """Check that a model has no more layers than tensors.

    transformers creates all layers before it reads weights; millions of layers take hours.

    Raises:
        UsageError: The config has more layers than the weights have tensors.
    """
    for key, value in entries(read_object(config)):
        if key == "num_hidden_layers" and isinstance(value, int) and value > tensors:
            raise UsageError(
                f"{config}: {key} is {value:,}, but the weights are {tensors:,} tensors; "
                "download it again"
            )


def _shards(index: Path) -> list[str]:
    """Names of the weight files in an index.

    Raises:
        UsageError: The index is damaged, names a file of another folder, or a file is missing.
    """
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UsageError(f"{index}: has no weight_map; download it again")
    shards = sorted({str(name) for name in weight_map.values()})
    for name in shards:
        if set(name) & set("/\\\0"):
            raise UsageError(f"{index}: names {name!r}, which is not a file beside it")
        if not (index.parent / name).is_file():
            raise UsageError(f"{index.parent / name}: this shard is missing; download it again")
    return shards
