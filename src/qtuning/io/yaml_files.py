"""Read YAML files of unknown origin: plain data only, and nothing that names code."""

from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ..errors import UsageError
from .paths import path_of

_LARGEST = 2**20
_MOST_NODES = 100_000
_OURS = ("qtuning.pruners.", "qtuning.weighters.")
# Keys by which transformers, peft or TRL would run code that a file names, or unpickle.
_RUN_CODE = {
    *("trust_remote_code", "env", "use_kernels", "kernel_config", "allow_all_kernels"),
    *("code_revision", "custom_generate", "weights_only", "use_safetensors"),
    *("megatron_config", "megatron_core", "auto_map", "auto_mapping"),
}


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a repeated key, since YAML would silently keep the last value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        node_of_key: dict[Hashable, yaml.Node] = {}
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            name = self.construct_object(key, deep=True)
            if not isinstance(name, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {name!r} is not text", key.start_mark
                )
            if name in node_of_key:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{name} is there twice", key.start_mark
                )
            node_of_key[name] = key
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def read_yaml(path: Path, option: str) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Args:
        path: The file.
        option: The option that named the file, for messages.

    Raises:
        UsageError: The file cannot be read, is too large, holds no mapping or a key twice, or its
            aliases stand for too many values.
    """
    path = path_of(path, option)
    try:
        if path.stat().st_size > _LARGEST:
            raise UsageError(f"{option} {path}: larger than {_LARGEST:,} bytes; is it a config?")
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # a subclass of SafeLoader
        _check_size(content, path, option)
    except UsageError:
        raise
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        why = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise UsageError(f"{option} {path}: the config cannot be read ({why})") from error
    if not isinstance(content, dict):
        raise UsageError(f"{option} {path}: the config must be a mapping of options to values")
    return content


def _check_size(content: Any, path: Path, option: str) -> None:
    """Check the number of values, with those that aliases repeat.

    Aliases let some hundred bytes stand for billions of values, or for a cycle.

    Raises:
        UsageError: The content stands for too many values.
    """
    n_left = _MOST_NODES
    stack = [content]
    while stack:
        n_left -= 1
        if n_left < 0:
            raise UsageError(
                f"{option} {path}: stands for more than {_MOST_NODES:,} values by its aliases"
            )
        one = stack.pop()
        if isinstance(one, dict):
            stack += one.values()
        elif isinstance(one, list | set | tuple):
            stack += one


def refuse_code(config: Mapping[str, Any], path: Path, allow: str) -> None:
    """Refuse a config file that names code to run; only the command line may do that.

    Args:
        config: The content of the file.
        path: The path of the file, for messages.
        allow: What to do instead, for messages.

    Raises:
        UsageError: The file names code to run.
    """
    for key, value in entries(config):
        runs = (
            (key in _RUN_CODE and value not in (None, False))
            or (key.endswith("_implementation") and "/" in str(value))
            or names_own_code(key, value)
        )
        if runs:
            raise UsageError(f"{path}: {key} would run code that a file names; {allow}")


def names_own_code(key: str, value: Any) -> bool:
    """Whether a key and its value name a pruner or weighter of the user's, ``module:name``."""
    name = str(value)
    names_method = key.endswith("_pruner") or key == "token_weight"
    return names_method and ":" in name and not name.startswith(_OURS)


def entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Keys and values of a mapping and of all mappings and lists within it, depth first."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key), inner
            yield from entries(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from entries(inner)
