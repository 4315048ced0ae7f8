"""A model's folder, looked at before anything of it is loaded: it may be damaged, or hostile."""

from pathlib import Path

from ..errors import UsageError
from .json_files import read_object
from .yaml_files import entries

_INDEX = "model.safetensors.index.json"
# What names an attention implementation; one with a slash is code from the Hub.
_IMPLEMENTATIONS = ("attn_implementation", "_attn_implementation", "experts_implementation")


def check_folder(path: Path, option: str) -> None:
    """See that a folder has config, whole safetensors, and nothing that would run code.

    Args:
        path: The folder.
        option: What named it, for messages.

    Raises:
        UsageError: Something is missing, damaged or unsafe.
    """
    where = f"{option} {path}"
    if not (path / "config.json").is_file():
        kind = "a PEFT adapter" if (path / "adapter_config.json").is_file() else "no model"
        raise UsageError(
            f"{where}: {kind}, config.json is missing; name a folder that save_pretrained wrote"
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
    """See that a file is whole, and how many tensors it has; none is read.

    Raises:
        UsageError: It is missing, cut off or something else.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), "pt") as opened:
            return len(opened.keys())
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{file}: damaged or cut off ({error}); download it again") from error


def _refuse_without_weights(path: Path, where: str) -> None:
    pickled = [
        file.name for kind in ("bin", "pt", "pth") for file in sorted(path.glob(f"*.{kind}"))
    ]
    if pickled:
        raise UsageError(
            f"{where}: only {pickled[0]}, which can run code when it is read; convert it to "
            "safetensors (save_pretrained of transformers writes them)"
        )
    raise UsageError(f"{where}: no *.safetensors weights in the folder")


def _check_config(path: Path) -> None:
    for key, value in entries(read_object(path)):
        if key in _IMPLEMENTATIONS and "/" in str(value):
            raise UsageError(
                f"{path}: {key} is {value!r}, which would load code from the Hub: remove it, or "
                "choose one with --attn_implementation"
            )


def _check_layers(config: Path, tensors: int) -> None:
    """Layers are made before weights are looked for: some millions of them take hours."""
    for key, value in entries(read_object(config)):
        if key == "num_hidden_layers" and isinstance(value, int) and value > tensors:
            raise UsageError(
                f"{config}: {key} is {value:,}, but the weights are {tensors:,} tensors; "
                "download it again"
            )


def _shards(index: Path) -> list[str]:
    names = read_object(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise UsageError(f"{index}: has no weight_map; download it again")
    found = sorted({str(name) for name in names.values()})
    for name in found:
        if set(name) & set("/\\\0"):
            raise UsageError(f"{index}: names {name!r}, which is not a file beside it")
        if not (index.parent / name).is_file():
            raise UsageError(f"{index.parent / name}: this shard is missing; download it again")
    return found
