"""A bar for whatever keeps the terminal waiting; on a pipe it writes nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

Tick = Callable[[int, int], None]
"""Told how much is done, and of how much."""


@contextmanager
def waiting_for(what: str) -> Iterator[Tick]:
    """A bar while the block runs; it only moves to and fro until it is told how far the work is."""
    console = Console()
    columns = (TextColumn("     {task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(what, total=None)

        def tick(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield tick
