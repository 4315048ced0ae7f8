"""Rows of other settings, on which a comparison measures what training has made a model forget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .grid_paths import file_path


@dataclass(frozen=True)
class OtherRows:
    """Held-out rows that a setting is not trained for.

    Attributes:
        name: Name in tables: that of the other setting, or of the file.
        held_out: JSON Lines files with ``prompt`` and ``completion``.
        held_out_rows: Number of rows, drawn by ``row_seed``; None for all.
        row_seed: Seed of the draw of rows.
        prompt_end: Text appended to every prompt.
    """

    name: str
    held_out: tuple[str, ...]
    held_out_rows: int | None = None
    row_seed: int = 0
    prompt_end: str = "\n"

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "OtherRows":
        """The rows of ``dataclasses.asdict``, also after a way through JSON."""
        return cls(**{**plain, "held_out": tuple(plain["held_out"])})


def other_rows(
    names: Sequence[str], own: OtherRows, settings: Mapping[str, OtherRows], grid_file: Path
) -> tuple[OtherRows, ...]:
    """Resolve ``forgetting`` of a data setting: names of other settings, or files.

    Of a file as many rows are drawn, in the same way, as of the setting's own held-out rows.

    Args:
        names: What ``forgetting`` lists.
        own: The setting's own held-out rows.
        settings: Held-out rows of all settings by name.
        grid_file: The grid's file, which paths are relative to.

    Raises:
        UsageError: An entry is the setting itself, a setting without held-out rows, or neither a
            setting nor a file; or two have the same name.
    """
    where = f"{grid_file}, data: {own.name}: forgetting"
    found = [_one(name, own, settings, grid_file, where) for name in names]
    found_names = [one.name for one in found]
    if len(set(found_names)) < len(found_names):
        raise UsageError(f"{where}: {', '.join(found_names)} has a name twice; name each once")
    return tuple(found)


def _one(
    name: str,
    own: OtherRows,
    settings: Mapping[str, OtherRows],
    grid_file: Path,
    where: str,
) -> OtherRows:
    if name == own.name:
        raise UsageError(f"{where}: {name} is the setting itself; name another one, or a file")
    if name in settings:
        if not settings[name].held_out:
            raise UsageError(f"{where}: {name} has no held_out rows; give it some, or name a file")
        return settings[name]
    path = Path(file_path(name, grid_file))
    if not path.suffix:
        others = ", ".join(one for one in settings if one != own.name) or "there is none"
        raise UsageError(
            f"{where}: {name} is no other setting ({others}) and no JSON Lines file; name one"
        )
    return replace(own, name=path.stem, held_out=(str(path),))
