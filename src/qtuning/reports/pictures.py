"""Pictures of samples as a page shows them: small, encoded anew, and in the page itself."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from ..examples.pictures import UNREADABLE, unreadable
from ..io.image_rows import IMAGE_COLUMNS

SIDE = 160
"""Longest side of a picture in a page, in pixels."""
MOST_PIXELS = 50_000_000
"""Pixels of a picture beyond which it is not read."""
MOST_PICTURES = 4
"""Pictures of a sample that are shown."""


def shown_pictures(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """The pictures of a row, each ``{"src": a data URI}`` or ``{"said": why it is not shown}``.

    Nothing of the file goes into the page but pixels: each is drawn small, and encoded as JPEG.

    Args:
        row: A row of the data; a column ``images`` or ``image`` has paths, or bytes and paths.
    """
    values = [row[name] for name in IMAGE_COLUMNS if row.get(name) is not None]
    stored: Any = values[0] if values else []
    every = stored if isinstance(stored, list) else [stored]
    shown = [_shown(one) for one in every[:MOST_PICTURES]]
    if len(every) > MOST_PICTURES:
        shown.append({"said": f"{len(every) - MOST_PICTURES} more images"})
    return shown


def _shown(stored: Any) -> dict[str, str]:
    source: Any = {"path": stored} if isinstance(stored, str) else stored
    if not isinstance(source, Mapping) or not any(source.values()):
        return {"said": "image missing"}
    content, path = source.get("bytes"), source.get("path")
    if content is None and "://" in str(path):
        return {"said": "image not shown: it is not on this disk"}
    try:
        with Image.open(io.BytesIO(content) if content else Path(str(path))) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                return {"said": f"image not shown: {picture.width} x {picture.height} pixels"}
            picture.draft("RGB", (SIDE, SIDE))
            picture.thumbnail((SIDE, SIDE))
            small = picture.convert("RGB")
    except UNREADABLE as error:
        return {"said": f"image not shown: {unreadable(error)}"}
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=70)
    encoded = base64.b64encode(stream.getvalue()).decode("ascii")
    return {"src": f"data:image/jpeg;base64,{encoded}"}
