"""Packages that only some commands need: the extras of ``pip install 'qtuning[...]'``."""

from importlib import import_module

from ..errors import UsageError


def need(what: str, extra: str, *packages: str) -> None:
    """See that packages are there before work begins that needs them.

    Args:
        what: What needs them, for the message.
        extra: The extra, or several with commas, that installs them.
        packages: Names to import.

    Raises:
        UsageError: One cannot be imported.
    """
    for package in packages:
        try:
            import_module(package)
        except ImportError as error:
            raise UsageError(
                f"{what} needs {package} ({error}): pip install 'qtuning[{extra}]'"
            ) from error
