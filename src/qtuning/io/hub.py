"""What goes wrong in pushing to the Hub, as errors of one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.errors import (  # type: ignore[attr-defined]
    HFValidationError,
    HTTPError,  # of whatever package the Hub's client is built on in this version
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from ..errors import UsageError, first_line

_REFUSALS = (HTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled)


def check_repo(option: str, repo_id: str) -> None:
    """See that the Hub may have a repository of that name.

    Raises:
        UsageError: The Hub has no such names.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UsageError(f"{option} {repo_id}: {first_line(error)}") from error


def public_name(name: str) -> str:
    """A name without the folders of this machine, if it is a path on it.

    Args:
        name: A path, a name on the Hub, or either with a split in brackets after it.
    """
    place, bracket, split = name.partition(" [")
    path = Path(place).expanduser()
    return path.name + bracket + split if path.is_absolute() or path.exists() else name


@contextmanager
def pushing(what: str, advice: str = "") -> Iterator[None]:
    """Turn what the Hub's client raises within into one line.

    Args:
        what: What is pushed, or where to, and by which option.
        advice: What else can be done, after the advice to log in.

    Raises:
        UsageError: The Hub cannot be reached, or refuses.
    """
    try:
        yield
    except _REFUSALS as error:
        raise UsageError(
            f"{what} ({first_line(error)}): log in with `hf auth login` or set HF_TOKEN{advice}"
        ) from error
