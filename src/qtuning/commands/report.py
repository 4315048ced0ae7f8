"""``qtuning report``: one HTML file that shows scores, a pruned data set, or a run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from ..arguments import PruningArguments
from ..errors import UsageError
from ..io.checks import check_new, check_sizes
from ..io.extras import need
from ..io.paths import path_of
from ..reports.report import report
from .parser import OneLineParser

KINDS = ("png", "svg", "pdf")


@dataclass
class ReportArguments:
    """Arguments of ``qtuning report``: what to show, and where to write."""

    source: Path | None = field(
        default=None,
        metadata={"help": "Scores, a pruned data set, or a run's output folder; may stand first."},
    )
    output: Path | None = field(default=None, metadata={"help": "The HTML file to write."})
    rows: Path | None = field(
        default=None,
        metadata={"help": "For a run: its data, or their scores, for the texts of the samples."},
    )
    against: Path | None = field(
        default=None,
        metadata={"help": "Other decisions on the same data, or scores by another model."},
    )
    pool_size: int | None = field(
        default=None, metadata={"help": "Rows of scores that compete with each other; all if not."}
    )
    figures: Path | None = field(
        default=None, metadata={"help": "Also draw pictures for papers into this folder."}
    )
    figure_format: str = field(
        default="png", metadata={"help": "Kind of the pictures.", "choices": KINDS}
    )
    seed: int = field(default=42, metadata={"help": "Seed of random pruners."})


def run(argv: Sequence[str]) -> None:
    """Write a report, and pictures on request; print the paths of the files.

    Raises:
        UsageError: An argument or an input is unusable, or the output exists already.
    """
    words = list(argv)
    if words and not words[0].startswith("-"):
        words.insert(0, "--source")
    parser = OneLineParser((ReportArguments, PruningArguments), prog="qtuning report")
    options, pruning = parser.parse_in_one_line(words)
    if options.source is None:
        raise UsageError("nothing to report: name scores, a pruned data set, or a run's folder")
    if options.output is None:
        raise UsageError("no output: give --output an HTML file")
    check_new(options.output)
    if options.pool_size is not None:
        check_sizes(pool_size=options.pool_size)
    if options.figures is not None:
        if path_of(options.figures, "--figures").is_file():
            raise UsageError(f"--figures {options.figures}: is a file; name a folder")
        need("--figures", "report", "matplotlib")
    result = report(
        options.source,
        rows=options.rows,
        against=options.against,
        pool_size=options.pool_size,
        seed=options.seed,
        **vars(pruning),
    )
    path = result.save(options.output)
    say = Console(soft_wrap=True, highlight=False, markup=False).print
    say(f"{path} ({len(result.html.encode()) / 1e6:.1f} MB): open it in a browser.")
    if options.figures is not None:
        for figure in result.save_figures(options.figures, options.figure_format):
            say(str(figure))
