"""The settings of a grid that name files, and their paths relative to the grid's file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..io.paths import path_of

_FILES = frozenset({"initial_scores", "accelerator_config", "deepspeed", "fsdp_config"})
_MODELS = "_name_or_path"
_TEMPLATE = "chat_template_path"


def names_file(field: str, value: Any) -> bool:
    """Whether a field of ``QTuningConfig`` has a value that names a file or a model.

    The configs of accelerate, DeepSpeed and FSDP are files, mappings, or mappings as JSON text.
    """
    is_field = field in _FILES or field == _TEMPLATE or field.endswith(_MODELS)
    is_mapping = isinstance(value, Mapping) or str(value).startswith("{")
    return is_field and value is not None and not is_mapping


def with_paths(settings: Mapping[str, Any], grid_file: Path) -> dict[str, Any]:
    """Settings with the files that they name as paths that hold in any working directory.

    Args:
        settings: Fields of ``QTuningConfig``.
        grid_file: The grid's file, which paths are relative to.

    Raises:
        UsageError: A name is not that of a file, or is ambiguous.
    """
    return {
        field: _resolved(field, str(value), grid_file) if names_file(field, value) else value
        for field, value in settings.items()
    }


def _resolved(field: str, name: str, grid_file: Path) -> str:
    return (file_path if field in _FILES else model_path)(name, grid_file)


def file_path(name: str, grid_file: Path) -> str:
    """Path of a file or folder, whether or not it is there.

    Raises:
        UsageError: No file can have this name.
    """
    where = str(grid_file)
    path = path_of(grid_file.parent / path_of(name, where), where)
    return str(path.resolve() if path.exists() else path.absolute())


def model_path(name: str, grid_file: Path) -> str:
    """Path of a model, or its name on the Hub if there is no such file or folder.

    Raises:
        UsageError: No file can have this name, or it is there only in the working directory, where
            a model would be loaded from instead of the Hub.
    """
    path = file_path(name, grid_file)
    if Path(path).exists() or name.startswith((".", "/", "~")):
        return path
    if Path(name).exists():
        raise UsageError(
            f"{grid_file}: {name} is in the working directory, and paths are relative to the "
            f"grid's file: write {Path(name).resolve()}"
        )
    return name
