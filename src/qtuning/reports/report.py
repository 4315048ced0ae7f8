"""A report: one HTML file, and pictures for papers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..arguments import PruningArguments
from ..errors import UsageError
from .load import Source, load
from .material import Material
from .page import page
from .payload import payload_of


@dataclass(frozen=True)
class Report:
    """What ``qtuning.report`` gives.

    Attributes:
        material: The decisions, and what is known beside them.
        html: The page, which needs nothing else.
    """

    material: Material
    html: str = field(repr=False)

    def save(self, path: str | Path) -> Path:
        """Write the page.

        Raises:
            UsageError: It is there already, or cannot be written.
        """
        path = Path(path)
        if path.exists():
            raise UsageError(f"{path}: is there already; name another, or remove it")
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            temporary.write_text(self.html, encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            raise UsageError(f"{path}: cannot be written ({error})") from error
        return path

    def save_figures(self, folder: str | Path, kind: str = "png") -> list[Path]:
        """Draw the pictures as files; ``kind`` is "png", "svg" or "pdf".

        Raises:
            UsageError: matplotlib is not installed, or there is nothing to draw.
        """
        from .figures import draw

        return draw(self.material, Path(folder), kind)

    def show(self, height: int = 900) -> Any:
        """Show the page in a notebook.

        Args:
            height: Of the frame, in pixels.

        Returns:
            An ``IPython.display.HTML``, which shows itself as the last value of a cell.

        Raises:
            UsageError: This is not a notebook: IPython is not installed.
        """
        try:
            from IPython.display import HTML
        except ImportError as error:
            raise UsageError("show() is for notebooks; elsewhere save(path) and open it") from error
        return HTML(_framed(self.html, height))

    def _repr_html_(self) -> str:
        return _framed(self.html, 900)


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
            ``prune`` returned them.
        output: HTML file to write; None writes nothing.
        rows: For a run: its data, or their scores, by ``sample_id`` or ``id``, for the texts.
        against: Other decisions on the same data, or scores by another model: what they decide
            differently.
        pool_size: Rows of scores that compete with each other; None is all.
        seed: Seed of random pruners.
        **pruning: Fields of ``PruningArguments``: how to decide on scores.

    Raises:
        UsageError: Unusable input or arguments.

    Example:
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
    made = Report(material, page(payload_of(material)))
    if output is not None:
        made.save(output)
    return made


def _framed(html: str, height: int) -> str:
    """The page in a frame that may run its own script and nothing else."""
    escaped = html.replace("&", "&amp;").replace('"', "&quot;")
    return (
        f'<iframe srcdoc="{escaped}" sandbox="allow-scripts allow-modals" '
        f'style="width: 100%; height: {height}px; border: 0"></iframe>'
    )
