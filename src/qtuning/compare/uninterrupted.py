"""A stretch of code that signals to end the process do not interrupt."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back SIGTERM and Ctrl-C until the end of this context.

    The signals are not blocked, since a process started here would inherit that. In a thread other
    than the main one nothing is done: there no signal is handled.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        came.append(number)

    handlers = {
        number: signal.signal(number, remember) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number_that_came in came:
            signal.raise_signal(number_that_came)
