"""Pictures of a row as a page shows them: small, encoded anew, and as text that a page holds."""

import base64
import functools
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ..io.image_rows import IMAGE_COLUMNS
from .pictures import UNREADABLE, unreadable

SIDE = 160
"""Longest side of a picture in a page, in pixels."""
MOST_PIXELS = 50_000_000
"""Pixels of a picture beyond which it is not read."""
MOST_PICTURES = 4
"""Pictures of a row that are shown."""
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "PPM", "ICO", "TGA", "JPEG2000")
"""Formats that are read: of pixels alone. Others may be programs, such as EPS, which are run."""


def shown_pictures(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """The pictures of a row: ``{"src": data URI, "alt": mode and size}``, or ``{"said": why not}``.

    Nothing of the file goes into the page but pixels: each is drawn small, and encoded as JPEG.

    Args:
        row: A row of the data; a column ``images`` or ``image`` has pictures, paths, or bytes and
            paths.
    """
    values = [row[name] for name in IMAGE_COLUMNS if row.get(name) is not None]
    stored: Any = values[0] if values else []
    every = stored if isinstance(stored, list) else [stored]
    shown = [_shown(one) for one in every[:MOST_PICTURES]]
    if len(every) > MOST_PICTURES:
        shown.append({"said": f"{len(every) - MOST_PICTURES} more images"})
    return shown


def kind_of(picture: Image.Image) -> str:
    """Mode and size of a picture in words, and its frames if it moves."""
    frames = frames_of(picture)
    moves = f", the first of {frames:,} frames" if frames > 1 else ""
    return f"{picture.mode}, {picture.width} x {picture.height} pixels{moves}"


def frames_of(picture: Image.Image) -> int:
    """Number of frames of a picture; those of most formats have one, and do not say so."""
    return int(getattr(picture, "n_frames", 1))


def _shown(stored: Any) -> dict[str, str]:
    if isinstance(stored, Image.Image):
        return _drawn(stored.copy())
    source: Any = {"path": stored} if isinstance(stored, str) else stored
    if not isinstance(source, Mapping) or not any(source.values()):
        return {"said": "image missing"}
    content, path = source.get("bytes"), source.get("path")
    if content is None and "://" in str(path):
        return {"said": "image not shown: it is not on this disk"}
    try:
        file = io.BytesIO(content) if content else Path(str(path))
        with Image.open(file, formats=_known_formats()) as picture:
            return _drawn(picture)
    except UNREADABLE as error:
        return {"said": f"image not shown: {unreadable(error)}"}


@functools.cache
def _known_formats() -> list[str]:
    """Those of the formats that this version of the image library reads."""
    Image.init()
    return [one for one in _FORMATS if one in Image.OPEN]


def _drawn(picture: Image.Image) -> dict[str, str]:
    """A picture that is read only now, drawn small."""
    if picture.width * picture.height > MOST_PIXELS:
        return {"said": f"image not shown: {picture.width} x {picture.height} pixels"}
    kind = kind_of(picture)
    picture.draft("RGB", (SIDE, SIDE))
    picture.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    _as_rgb(ImageOps.exif_transpose(picture)).save(stream, "JPEG", quality=70)
    encoded = base64.b64encode(stream.getvalue()).decode("ascii")
    return {"src": f"data:image/jpeg;base64,{encoded}", "alt": kind}


def _as_rgb(picture: Image.Image) -> Image.Image:
    """A picture in 8 bits: what is transparent is white, and more bits are spread over 8."""
    if picture.mode[0] in "IF":
        values = np.asarray(picture, dtype=np.float64)
        low, high = np.nanmin(values), np.nanmax(values)
        spread = np.nan_to_num((values - low) / ((high - low) or 1.0))
        return Image.fromarray((255 * spread).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        clear = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    return picture.convert("RGB")
