"""What TRL finds wrong with rows and options when it makes rows ready, as errors of the user's."""

from collections.abc import Iterator
from contextlib import contextmanager

from jinja2 import TemplateError

from ..errors import UsageError


@contextmanager
def preparing() -> Iterator[None]:
    """Around the making of a trainer, which tokenises the rows.

    Raises:
        UsageError: Options do not fit the data, or the chat template cannot be applied to them.
    """
    try:
        yield
    except UsageError:
        raise
    except (TemplateError, ArithmeticError, TypeError, LookupError) as error:
        raise UsageError(
            "the rows cannot be made ready: chat template, tokenizer and data do not fit together "
            f"({_one_line(error)})"
        ) from error
    except (ValueError, ImportError) as error:  # options that TRL finds not to fit the data
        raise UsageError(_one_line(error)) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
