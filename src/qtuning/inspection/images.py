"""An inspection of rows with images: what their pictures are, before a model is loaded.

Only the heads of pictures are read, not their pixels, and no text is made into tokens.
"""

import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from ..examples.pictures import UNREADABLE, as_stored, unreadable
from ..io.formats import Rows
from ..io.image_rows import IMAGE_COLUMNS, image_rows
from .findings import ordered
from .prepare import STREAMED, first_rows
from .result import Finding, Inspection, Level, Table

_HUGE = 50_000_000
"""Pixels from which on a picture costs more than it can tell."""
_FIRST = 5


@dataclass
class _Seen:
    """What is seen of the pictures, row after row.

    Attributes:
        kinds: Number of pictures by mode and size.
        n_of_row: Number of pictures of each row.
        rows_of: Numbers of the rows, from 1, by the name of what is found in them.
        first: Why the first picture that cannot be read cannot.
    """

    kinds: Counter[tuple[str, int, int]] = field(default_factory=Counter)
    n_of_row: list[int] = field(default_factory=list)
    rows_of: dict[str, list[int]] = field(default_factory=dict)
    first: str = ""

    def look(self, row: Mapping[str, Any]) -> None:
        """Look at the pictures of the next row."""
        number = len(self.n_of_row) + 1
        stored = next((row[name] for name in IMAGE_COLUMNS if name in row), None)
        pictures = stored if isinstance(stored, list) else [stored]
        self.n_of_row.append(len(pictures))
        found = {name for one in pictures if (name := self._of(one)) is not None}
        if _placeholders(row) not in (None, len(pictures)):
            found.add("placeholders-differ")
        for name in found:
            self.rows_of.setdefault(name, []).append(number)

    def _of(self, stored: Any) -> str | None:
        """The name of what is wrong with a picture; None if nothing is."""
        if stored is None or (isinstance(stored, dict) and not any(stored.values())):
            return "image-missing"
        picture = stored
        try:
            if isinstance(stored, dict):
                content = stored.get("bytes")
                picture = Image.open(io.BytesIO(content) if content else stored["path"])
            self.kinds[picture.mode, picture.width, picture.height] += 1
        except UNREADABLE as error:
            self.first = self.first or unreadable(error)
            return "image-unreadable"
        return "image-huge" if picture.width * picture.height > _HUGE else None


def inspect_images(data: Rows, where: str, model: str) -> Inspection:
    """Look at the pictures of rows with images.

    Args:
        data: The rows as loaded; of a stream the first are read.
        where: Their name in messages.
        model: Name of the model.

    Returns:
        Figures of the pictures, and what is wrong with them; no row is shown.

    Raises:
        UsageError: The columns are not those that TRL reads beside images.
    """
    seen = _Seen()
    for row in as_stored(image_rows(first_rows(data, STREAMED), where)):
        seen.look(row)
    without = [number for number, n in enumerate(seen.n_of_row, 1) if not n]
    facts = {
        "rows": {
            "read": len(seen.n_of_row),
            "with images": len(seen.n_of_row) - len(without),
            "most images of a row": max(seen.n_of_row, default=0),
        },
        "images": {
            "in all": sum(seen.n_of_row),
            "readable": seen.kinds.total(),
            "most pixels": max((w * h for _, w, h in seen.kinds), default=0),
        },
    }
    kinds: Table = [
        {"mode": mode, "width": width, "height": height, "images": n}
        for (mode, width, height), n in seen.kinds.most_common(_FIRST)
    ]
    told: tuple[tuple[Level, str, str, str], ...] = (
        ("error", "image-missing", "have a null in place of an image", "add it, or leave them out"),
        (
            "error",
            "image-unreadable",
            f"have an image that cannot be read (the first: {seen.first})",
            "mend it, or leave them out",
        ),
        (
            "error",
            "placeholders-differ",
            "have more or fewer placeholders than images",
            "give each image one part of type image",
        ),
        (
            "warning",
            "image-huge",
            f"have an image of more than {_HUGE:,} pixels",
            "make it smaller: most processors do, after they have read all of it",
        ),
        ("note", "no-image", "have no image", "they are trained as text"),
    )
    rows_of = {**seen.rows_of, **({"no-image": without} if without else {})}
    findings = [
        Finding(
            level,
            name,
            len(rows_of[name]),
            tuple(rows_of[name][:_FIRST]),
            f"{len(rows_of[name]):,} rows {what}",
            advice,
        )
        for level, name, what, advice in told
        if name in rows_of
    ]
    return Inspection(where, model, facts, {"commonest images": kinds}, ordered(findings), ())


def _placeholders(row: Mapping[str, Any]) -> int | None:
    """Number of placeholders of a row whose contents are in parts; None for contents of text."""
    turns = row.get("messages") or row.get("prompt")
    contents = [turn.get("content") for turn in turns] if isinstance(turns, list) else []
    if not any(isinstance(content, list) for content in contents):
        return None
    parts = [part for one in contents if isinstance(one, list) for part in one]
    return len([part for part in parts if part.get("type") == "image"])
