"""Checks of arguments that several commands have."""

from pathlib import Path

from ..errors import UsageError


def check_output(output: Path) -> None:
    """See that a file of scores can be written.

    Raises:
        UsageError: It cannot.
    """
    if output.suffix != ".parquet":
        raise UsageError(f"--output {output}: must end in .parquet")
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
