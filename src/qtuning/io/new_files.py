"""Text files that are written whole or not at all, and never in the place of another."""

from contextlib import suppress
from pathlib import Path

from ..errors import UsageError
from .checks import check_new


def write_new(path: str | Path, text: str) -> Path:
    """Write a text file that must not exist yet, and return its path.

    The text goes to a hidden file beside it, which is then renamed, so that no half of it is ever
    found under its name.

    Args:
        path: The file.
        text: What it holds, written as UTF-8.

    Raises:
        UsageError: The file exists already, its folder is missing, or it cannot be written.
    """
    path = Path(path)
    check_new(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # nor can it be removed, if its name is too long
            temporary.unlink(missing_ok=True)
        raise UsageError(
            f"{path}: cannot be written ({error.strerror}); make room or name another"
        ) from error
    return path
