"""``qtuning compare``: run a grid of methods, and make tables and plots of it."""

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console

from ..compare.agreement import agreement_tables
from ..compare.differences import difference_tables
from ..compare.figures import Compared, Record, groups, lines
from ..compare.forgetting import forgetting_tables
from ..compare.grid import Cell, Grid, read_grid
from ..compare.made_with import refuse_mixed
from ..compare.marked import marked_tables
from ..compare.means import mean_groups, mean_tables
from ..compare.plots import draw
from ..compare.power import power_table
from ..compare.quadrants import quadrant_tables
from ..compare.rows import held_out_rows
from ..compare.runner import Runner, jobs_with_room
from ..compare.tables import csv_text, latex, markdown, tables
from ..compare.trained_on import trained_on_tables
from ..errors import UsageError
from ..evaluation.exact_match import check_questions
from ..evaluation.harness import check_tasks
from ..io.extras import need
from ..io.models import check_model

NAME = "results"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")


def run(argv: Sequence[str]) -> None:
    """Run the cells without a result, then write the tables and plots of all results.

    Raises:
        UsageError: The grid or an argument is unusable, a cell failed, or cells of a table are made
            with different devices, precisions or versions.
    """
    options = read_options(argv)
    grid = read_grid(options.config, own_code=options.own_code)
    if not options.tables_only:
        for name in grid.models.values():
            check_model(name)
        if any(data.lora is not None for data in grid.data.values()):
            need("lora", "peft", "peft")
        for data in grid.data.values():
            if data.exact_match is not None:
                check_questions(held_out_rows(data), data.exact_match.get("questions"))
    if not options.dry_run:
        need("compare", "eval,report", "scipy", "matplotlib")
    tasks = sorted({task for data in grid.data.values() for task in data.tasks})
    if tasks and not options.tables_only:
        folder = grid.evaluation.get("data_dir")
        check_tasks(tasks, None if folder is None else Path(folder))
    console = Console(soft_wrap=True, highlight=False, markup=False)
    output: Path = options.output_dir
    jobs = options.jobs or jobs_with_room(max(map(_bytes, grid.models.values())))
    try:
        runner = Runner(grid, output, jobs, console.print)
    except OSError as error:
        raise UsageError(f"--output_dir {output}: {error.strerror}") from error
    if options.dry_run:
        for cell in grid.cells():
            console.print(f"{'done' if runner.result(cell) else 'to do'}  {cell.name}")
        return
    failures: list[Cell] = []
    if options.tables_only:
        by_name = runner.by_name()
        cell_records = [(cell, by_name.get(cell.name)) for cell in grid.cells()]
    else:
        with _stopped_by_sigterm():
            failures = runner.run()
        cell_records = [(cell, runner.result(cell)) for cell in grid.cells()]
    done = [(cell, record) for cell, record in cell_records if record is not None]
    refuse_mixed(done, output)
    write(grid, done, output)
    console.print(f"{output / NAME}.md, .csv, .tex and PNGs")
    if failures:
        names = "; ".join(cell.name for cell in failures)
        raise UsageError(f"{len(failures)} cells failed, run the command again: {names}")


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM exit as Ctrl-C does in this context, so that the cells' processes end too."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    handler = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def write(grid: Grid, done: Sequence[tuple[Cell, Record]], folder: Path) -> None:
    """Write tables and plots of all finished cells; the same cells give the same files."""
    order = {name: place for place, name in enumerate(grid.data)}
    all_lines = sorted(lines(done), key=lambda line: (line.model, order[line.data.name]))
    means = mean_groups(all_lines, grid.means)
    comparisons: dict[str, Sequence[Compared]] = {**means, **groups(all_lines)}
    power = power_table(comparisons)
    with_data_ratio = frozenset(
        name for name, method in grid.methods.items() if method.data_ratio is not None
    )
    all_tables = [
        *mean_tables(means),
        *tables(all_lines),
        *forgetting_tables(all_lines),
        *trained_on_tables(all_lines, with_data_ratio),
        *difference_tables(comparisons, grid.references),
        *agreement_tables(all_lines, grid.references),
        *([power] if power else []),
        *quadrant_tables(all_lines),
        *marked_tables(all_lines),
    ]
    (folder / f"{NAME}.md").write_text(markdown(all_tables), encoding="utf-8")
    (folder / f"{NAME}.tex").write_text(latex(all_tables), encoding="utf-8")
    (folder / f"{NAME}.csv").write_text(csv_text(all_lines), encoding="utf-8")
    draw(all_lines, folder)


def read_options(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line of ``qtuning compare``."""
    parser = _Parser(prog="qtuning compare", description=(__doc__ or "").split(": ")[1])
    parser.add_argument("--config", type=Path, required=True, help="the grid, a YAML file")
    parser.add_argument("--output_dir", type=Path, required=True, help="for cells and tables")
    parser.add_argument(
        "--jobs", type=int, help="cells at a time; by default what there is room for"
    )
    parser.add_argument(
        "--own_code",
        action="store_true",
        help="let the grid name code to run: pruners of one's own, kernels, remote code",
    )
    parser.add_argument("--dry_run", action="store_true", help="list the cells")
    parser.add_argument(
        "--tables_only", action="store_true", help="run nothing, tell what is there"
    )
    options = parser.parse_args(argv)
    if options.jobs is not None and options.jobs < 1:
        raise UsageError(f"--jobs must be at least 1, got {options.jobs}")
    return options


def _bytes(model: str) -> int:
    """Return the size of a model's weights on this machine in bytes; 0 for a model on the Hub."""
    path = Path(model)
    files = [path] if path.is_file() else list(path.glob("*.safetensors"))
    return sum(file.stat().st_size for file in files)
