"""TRL without its warnings, where they are told otherwise."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars


@contextmanager
def quiet(*, bars: bool) -> Iterator[None]:
    """Turn off warnings of TRL within.

    Args:
        bars: Whether progress bars are still shown.
    """
    trl = logging.getLogger("trl")
    level, shown = trl.level, not are_progress_bars_disabled()
    trl.setLevel(logging.ERROR)
    if not bars:
        disable_progress_bars()
    try:
        yield
    finally:
        trl.setLevel(level)
        if shown:
            enable_progress_bars()
