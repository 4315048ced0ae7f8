"""Checks of arguments that several commands share: output paths and sizes."""

from pathlib import Path

from ..errors import UsageError
from .paths import path_of


def check_output(output: Path, suffix: str | None = ".parquet") -> None:
    """Check the path of a file to write; the file may exist already.

    Args:
        output: The path.
        suffix: The suffix that the name must have; None for any.

    Raises:
        UsageError: The name has another suffix or is that of a folder, or its folder is missing.
    """
    path_of(output, "--output")
    if suffix is not None and output.suffix != suffix:
        raise UsageError(f"--output {output}: must end in {suffix}")
    if not output.parent.is_dir():
        raise UsageError(f"--output {output}: no folder {output.parent}")
    if output.is_dir():
        raise UsageError(f"--output {output}: is a folder; name a file")


def check_new(output: Path) -> None:
    """Check the path of a file or folder to create, which must not exist.

    Raises:
        UsageError: The path exists already, or its folder is missing.
    """
    path_of(output, "--output")
    if output.exists() or output.is_symlink():
        raise UsageError(f"--output {output}: is there already; name another, or remove it")
    if not output.parent.is_dir():
        raise UsageError(f"--output {output}: no folder {output.parent}")


def check_sizes(**sizes: int | None) -> None:
    """Check that sizes, by the name of their option, are at least 1, or None.

    Raises:
        UsageError: A size is below 1.
    """
    for name, value in sizes.items():
        if value is not None and value < 1:
            raise UsageError(f"--{name} must be at least 1, got {value}")
