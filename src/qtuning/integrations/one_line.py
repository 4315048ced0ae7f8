"""Errors that end another program with one line, as they end the command."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import StoppedError, UsageError, print_error


@contextmanager
def ending_in_one_line() -> Iterator[None]:
    """Context in which what a user can put right is told in one line on stderr, not a traceback.

    Raises:
        SystemExit: With code 2 for a ``UsageError``, and the code of a ``StoppedError``.
    """
    try:
        yield
    except UsageError as error:
        print_error(error)
        raise SystemExit(2) from error
    except StoppedError as error:
        print_error(error)
        raise SystemExit(error.exit_code) from error
