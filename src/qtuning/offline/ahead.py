"""Values made ahead of their use by a thread, so that the model does not wait for its rows."""

import time
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Waiting:
    """How long the model waited for its rows, of the time since this was made.

    Attributes:
        seconds: Seconds of waiting so far.
        before: Those before the first rows were there, while all of them were tokenised.
    """

    def __init__(self) -> None:
        self._start, self.seconds, self.before = time.perf_counter(), 0.0, 0.0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Context whose time is waiting."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start

    def begun(self) -> None:
        """Note that the first rows are there."""
        self.before = self.seconds

    def __str__(self) -> str:
        """The share of waiting in the time so far, in a line."""
        whole = max(time.perf_counter() - self._start, 1e-9)
        before, between = self.before / whole, (self.seconds - self.before) / whole
        return (
            f"Of {whole:,.1f} s the model waited {before:.0%} while rows were tokenised "
            f"(dataset_num_proc), and {between:.0%} for rows between its passes."
        )


@contextmanager
def ahead(values: Generator[T, None, None], waiting: Waiting) -> Iterator[Iterator[T]]:
    """Context that makes one value while the one before it is in use.

    At its end nothing is left running: it waits for the value in the making, and closes the
    generator.

    Args:
        values: The values, of which the thread alone asks for the next one. What raises is raised
            in its turn, after the values before it.
        waiting: Counts the time in which the next value was not there yet.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="qtuning-ahead")
    end: Any = object()

    def made() -> Iterator[T]:
        coming: Future[T] = pool.submit(next, values, end)
        while True:
            with waiting():
                value = coming.result()
            if value is end:
                return
            coming = pool.submit(next, values, end)
            yield value

    try:
        yield made()
    finally:
        pool.shutdown(cancel_futures=True)
        values.close()
