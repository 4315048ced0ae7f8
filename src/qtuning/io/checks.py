"""Checks of arguments that several commands have."""

from pathlib import Path

from ..errors import UsageError
from .paths import path_of


def check_output(output: Path, suffix: str | None = ".parquet") -> None:
    """See that a file can be written; it may be there already.

    Raises:
        UsageError: It cannot.
    """
    path_of(output, "--output")
    if suffix is not None and output.suffix != suffix:
        raise UsageError(f"--output {output}: must end in {suffix}")
    if not output.parent.is_dir():
        raise UsageError(f"--output {output}: no folder {output.parent}")
    if output.is_dir():
        raise UsageError(f"--output {output}: is a folder; name a file")


def check_new(output: Path) -> None:
    """See that something new can be written.

    Raises:
        UsageError: Something is there, or no folder to write in.
    """
    path_of(output, "--output")
    if output.exists() or output.is_symlink():
        raise UsageError(f"--output {output}: is there already; name another, or remove it")
    if not output.parent.is_dir():
        raise UsageError(f"--output {output}: no folder {output.parent}")


def check_sizes(**sizes: int) -> None:
    """See that counts are counts; the names are those of the options.

    Raises:
        UsageError: One is below 1.
    """
    for name, value in sizes.items():
        if value < 1:
            raise UsageError(f"--{name} must be at least 1, got {value}")
