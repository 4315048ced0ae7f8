"""``qtuning.report``: one HTML file about decisions, and pictures for papers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..arguments import PruningArguments
from ..errors import UsageError
from ..io.new_files import write_new
from .load import Source, load
from .material import Material
from .page import page
from .payload import payload_of


@dataclass(frozen=True)
class Report:
    """A report of pruning decisions, as ``qtuning.report`` returns it.

    Attributes:
        material: The decisions, with their context.
        html: The page, which loads no other file.
    """

    material: Material
    html: str = field(repr=False)

    def save(self, path: str | Path) -> Path:
        """Write the page to a file, and return its path.

        Raises:
            UsageError: The file exists already, or cannot be written.
        """
        return write_new(path, self.html)

    def save_figures(self, folder: str | Path, kind: str = "png") -> list[Path]:
        """Draw the pictures into a folder, and return their paths.

        Args:
            folder: Folder of the pictures, created if it is missing.
            kind: Format of the pictures: "png", "svg" or "pdf".

        Raises:
            UsageError: matplotlib is not installed, or no candidate was scored.
        """
        from .figures import draw

        return draw(self.material, Path(folder), kind)

    def show(self, height: int = 900) -> Any:
        """Show the page in a notebook.

        Args:
            height: Height of the frame in pixels.

        Returns:
            An ``IPython.display.HTML``, which a notebook shows as the last value of a cell.

        Raises:
            UsageError: IPython is not installed, so the process is not a notebook.
        """
        try:
            from IPython.display import HTML
        except ImportError as error:
            raise UsageError("show() is for notebooks; elsewhere save(path) and open it") from error
        return HTML(_in_frame(self.html, height))

    def _repr_html_(self) -> str:
        return _in_frame(self.html, 900)


def report(
    source: Source,
    *,
    output: str | Path | None = None,
    rows: Source | None = None,
    against: Source | None = None,
    pool_size: int | None = None,
    seed: int = 42,
    **pruning: Any,
) -> Report:
    """Make a report of scores, a pruned data set, or a run.

    Args:
        source: Scores, pruned data, or the output folder of a run: as files, or as ``score`` and
            ``prune`` return them.
        output: HTML file to write; None writes nothing.
        rows: Data of a run, or their scores, by ``sample_id`` or ``id``, for the texts.
        against: Other decisions on the same data, or scores by another model; the report shows
            which samples they decide differently.
        pool_size: Rows of scores that compete with each other; None for all.
        seed: Seed of random pruners.
        **pruning: Fields of ``PruningArguments``, which decide on scores.

    Raises:
        UsageError: An input cannot be read or has no row with answer tokens, an argument has an
            invalid value, or the output exists already.

    Examples:
        >>> qtuning.report("scores.parquet", sample_ratio=0.25).save("report.html")
    """
    material = load(
        source,
        PruningArguments(**pruning),
        pool_size=pool_size,
        seed=seed,
        rows=rows,
        against=against,
    )
    result = Report(material, page(payload_of(material)))
    if output is not None:
        result.save(output)
    return result


def _in_frame(html: str, height: int) -> str:
    """Put a page into a frame that may run the page's script and open dialogs, nothing else."""
    escaped = html.replace("&", "&amp;").replace('"', "&quot;")
    return (
        f'<iframe srcdoc="{escaped}" sandbox="allow-scripts allow-modals" '
        f'style="width: 100%; height: {height}px; border: 0"></iframe>'
    )
