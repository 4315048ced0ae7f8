"""Paths from the names that a user gives."""

from pathlib import Path

from ..errors import UsageError


def path_of(name: str | Path, option: str) -> Path:
    """The path of a name, whether or not it exists.

    Args:
        name: The name; it may begin with ``~``.
        option: The option that gave the name, for messages.

    Raises:
        UsageError: No file can have this name: it is too long, or has characters that are not
            allowed.
    """
    if "\0" in str(name):
        raise UsageError(f"{option} {str(name)[:80]!r}: no name has a null byte; name another")
    try:
        path = Path(name).expanduser()
        path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"{option} {str(name)[:80]!r}: {_why(error)}; name another") from error
    return path


def _why(error: Exception) -> str:
    return str(error.strerror if isinstance(error, OSError) else error)
