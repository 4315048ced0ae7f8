"""What the command and the function have in common: a file of scores, with a progress bar."""

from pathlib import Path

from datasets import Dataset
from rich.progress import Progress

from .score import ScoreJob, score
from .source import Data


def score_to_file(
    data: Data,
    output: Path,
    job: ScoreJob,
    *,
    progress: bool = True,
    engine: str = "local",
    workers: int = 2,
) -> None:
    """``score.score``, told by a progress bar unless that is turned off.

    Raises:
        UsageError: See there.
    """
    total = len(data) if isinstance(data, Dataset) else None
    with Progress(disable=not progress) as bars:
        bar = bars.add_task("scoring", total=total)
        score(
            data,
            output,
            job,
            engine=engine,
            workers=workers,
            told=lambda n: bars.advance(bar, n),
        )
