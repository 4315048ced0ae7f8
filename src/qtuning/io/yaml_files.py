"""YAML that somebody else may have written: plain data only, and nothing that names code."""

from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ..errors import UsageError
from .paths import path_of

_LARGEST = 2**20
_MOST_NODES = 100_000
_OWN_PRUNERS = "qtuning.pruners."
# Keys by which transformers, peft or TRL would run code that a file names, or unpickle.
_RUN_CODE = {
    *("trust_remote_code", "env", "use_kernels", "kernel_config", "allow_all_kernels"),
    *("code_revision", "custom_generate", "weights_only", "use_safetensors"),
    *("megatron_config", "megatron_core", "auto_map", "auto_mapping"),
}


class _Loader(yaml.SafeLoader):
    """SafeLoader that does not let a key stand twice: the first one would be lost silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        found: dict[Hashable, yaml.Node] = {}
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            name = self.construct_object(key, deep=True)
            if not isinstance(name, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {name!r} is not text", key.start_mark
                )
            if name in found:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{name} is there twice", key.start_mark
                )
            found[name] = key
        made: dict[Any, Any] = super().construct_mapping(node, deep)
        return made


def read_yaml(path: Path, option: str) -> dict[str, Any]:
    """The mapping in a YAML file.

    Args:
        path: The file.
        option: What named it, for messages.

    Raises:
        UsageError: It cannot be read, is not a mapping, has a key twice, or becomes huge.
    """
    path = path_of(path, option)
    try:
        if path.stat().st_size > _LARGEST:
            raise UsageError(f"{option} {path}: larger than {_LARGEST:,} bytes; is it a config?")
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # a SafeLoader
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
    """Aliases let some hundred bytes stand for billions of values, or for themselves."""
    left = _MOST_NODES
    waiting = [content]
    while waiting:
        left -= 1
        if left < 0:
            raise UsageError(
                f"{option} {path}: stands for more than {_MOST_NODES:,} values by its aliases"
            )
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list | set | tuple):
            waiting += one


def refuse_code(config: Mapping[str, Any], path: Path, allow: str) -> None:
    """See that a file names no code to run: that is for the command line alone.

    Args:
        config: What is in it.
        path: Its name, for messages.
        allow: What to do instead.

    Raises:
        UsageError: It does.
    """
    for key, value in entries(config):
        runs = (
            (key in _RUN_CODE and value not in (None, False))
            or (key.endswith("_implementation") and "/" in str(value))
            or (key.endswith("_pruner") and ":" in str(value) and not _is_own(str(value)))
        )
        if runs:
            raise UsageError(f"{path}: {key} would run code that a file names; {allow}")


def _is_own(pruner: str) -> bool:
    return pruner.startswith(_OWN_PRUNERS)


def entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Keys and values of a mapping and of all that are in it."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key), inner
            yield from entries(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from entries(inner)
